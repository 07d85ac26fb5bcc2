//! Fusing: nodes whose lowerings compose into one region become one fused node, which is one kernel.
//!
//! Whether two nodes can be one kernel is not decided here: `Region::compose` says so, or why not. Here is decided what
//! is tried, in which order (the edge that moves most bytes first), and whether it pays (`cost`). A producer whose value
//! others need too stays computed once: the fused kernel has it as a further output. Views, numbers and what is made
//! from nothing are copied into every kernel that reads them.

mod cost;
mod units;
mod why;

pub use why::{Category, WhyNot};

use super::Record;
use crate::build::{Builder, ValueMap};
use crate::fused;
use crate::ir::{BlockId, Graph, NodeKind, Operand, Type, ValueId};
use crate::options::Options;
use crate::rewrite::Change;
use runtime::error::Result;
use runtime::table::Effect;
use std::collections::{HashMap, HashSet};
use units::{KernelParts, Nodes, Part, Unit, Units, reads};

/// Nodes of one kernel. Composing is linear in the region, so growing one by one is quadratic in this.
const NODES: usize = 64;
/// Buffers of one kernel, less than what a launch's broadcast bits can name.
const BUFFERS: usize = 24;
/// What a merged kernel may cost against the two that it replaces.
const SLACK: f64 = 1.0;

pub(super) fn run(graph: &Graph, _: &Options, record: &mut Record) -> Result<Graph> {
    let (builder, map) = Builder::like(graph);
    let mut fuse = Fuse { graph, builder, map, record };
    fuse.block(graph.body)?;
    let Fuse { builder, map, .. } = fuse;
    builder.finish_like(graph, &map)
}

struct Fuse<'g, 'r> {
    graph: &'g Graph,
    builder: Builder,
    map: ValueMap,
    record: &'r mut Record,
}

/// Why a pair was refused.
type Refusal = (Category, String);

impl Fuse<'_, '_> {
    /// Fuses the nodes of a block and adds them to the open block of the new graph.
    fn block(&mut self, block: BlockId) -> Result<()> {
        let nodes = Nodes::new(self.graph, block);
        let mut units = Units::new(&nodes, |at| {
            let members = vec![at];
            let grows = nodes.parts[at] == Part::Grows;
            let cost = if grows {
                compose(&nodes, &nodes.kernel(&members)).map_or(f64::INFINITY, |c| c.0)
            } else {
                0.0
            };
            Unit { members, grows: grows && cost.is_finite(), cost }
        });
        let mut refused = HashMap::new();
        grow(&nodes, &mut units, &mut refused);
        self.explain(&nodes, &units, &refused);
        let mut emitted = HashSet::new();
        for unit in units.in_order() {
            if let Some(unit) = &units.units[unit] {
                self.emit(&nodes, unit, &mut emitted)?;
            }
        }
        for value in self.graph.block(block).results.clone() {
            self.emit_free(&nodes, value, &mut emitted)?;
        }
        Ok(())
    }

    fn emit(&mut self, nodes: &Nodes, unit: &Unit, emitted: &mut HashSet<usize>) -> Result<()> {
        let parts = nodes.kernel(&unit.members);
        let made_from_nothing = |&at: &usize| {
            nodes.parts[at] == Part::Free
                && self.graph.node(nodes.ids[at]).op().is_some_and(|op| op.effect == Effect::Pure)
        };
        if unit.grows && (unit.members.len() > 1 || parts.nodes.iter().any(made_from_nothing)) {
            return self.emit_kernel(nodes, unit, &parts, emitted);
        }
        let (graph, at) = (self.graph, unit.members[0]);
        let id = nodes.ids[at];
        for value in reads(graph, id) {
            self.emit_free(nodes, value, emitted)?;
        }
        let node = graph.node(id);
        if !matches!(node.kind, NodeKind::If | NodeKind::While) {
            return self.builder.copy(graph, id, &mut self.map).map(|_| ());
        }
        let operands = node.operands.iter().map(|o| self.map.operand(o)).collect::<Result<_>>()?;
        let mut blocks = Vec::new();
        for &block in &node.blocks {
            let old = graph.block(block);
            let types: Vec<Type> = old.params.iter().map(|&v| graph.ty(v).clone()).collect();
            let new = self.builder.begin(&types);
            let params = self.builder.graph().block(new).params.clone();
            old.params.iter().zip(params).for_each(|(&from, to)| self.map.set(from, to));
            self.block(block)?;
            let results = old.results.iter().map(|&v| self.map.get(v)).collect::<Result<_>>()?;
            blocks.push(self.builder.end(results));
        }
        let types: Vec<Type> = node.outputs.iter().map(|&v| graph.ty(v).clone()).collect();
        let made = self.builder.node(node.kind.clone(), operands, blocks, &types, node.origin);
        self.name_outputs(&node.outputs, made);
        Ok(())
    }

    fn emit_kernel(
        &mut self,
        nodes: &Nodes,
        unit: &Unit,
        parts: &KernelParts,
        emitted: &mut HashSet<usize>,
    ) -> Result<()> {
        let graph = self.graph;
        for &input in &parts.inputs {
            self.emit_free(nodes, input, emitted)?;
        }
        let types = |values: &[ValueId]| values.iter().map(|&v| graph.ty(v).clone()).collect::<Vec<Type>>();
        let block = self.builder.begin(&types(&parts.inputs));
        let params = self.builder.graph().block(block).params.clone();
        let mut inner = ValueMap::new(graph);
        parts.inputs.iter().zip(params).for_each(|(&from, to)| inner.set(from, to));
        for &at in &parts.nodes {
            self.builder.copy(graph, nodes.ids[at], &mut inner)?;
        }
        let results = parts.outputs.iter().map(|&v| inner.get(v)).collect::<Result<_>>()?;
        self.builder.end(results);
        let operands =
            parts.inputs.iter().map(|&v| Ok(Operand::Value(self.map.get(v)?))).collect::<Result<Vec<_>>>()?;
        let origin = unit.members.last().and_then(|&at| graph.node(nodes.ids[at]).origin);
        let made = self.builder.node(NodeKind::Fused, operands, vec![block], &types(&parts.outputs), origin);
        self.name_outputs(&parts.outputs, made);
        let what = format!("one kernel: {}", fused::label(self.builder.graph(), block));
        self.record.changes.push(Change { what, origin });
        Ok(())
    }

    fn name_outputs(&mut self, old: &[ValueId], made: crate::ir::NodeId) {
        let outputs = self.builder.outputs(made).to_vec();
        for (&from, to) in old.iter().zip(outputs) {
            self.builder.rename(to, &self.graph.value(from).name.clone());
            self.map.set(from, to);
        }
    }

    /// Adds the free node that makes a value, and those before it, if they are not there yet.
    fn emit_free(&mut self, nodes: &Nodes, value: ValueId, emitted: &mut HashSet<usize>) -> Result<()> {
        let Some(&at) = nodes.maker.get(&value) else { return Ok(()) };
        if nodes.parts[at] != Part::Free || !emitted.insert(at) {
            return Ok(());
        }
        for before in reads(self.graph, nodes.ids[at]) {
            self.emit_free(nodes, before, emitted)?;
        }
        self.builder.copy(self.graph, nodes.ids[at], &mut self.map).map(|_| ())
    }

    fn explain(&mut self, nodes: &Nodes, units: &Units, refused: &HashMap<(usize, usize), Refusal>) {
        let name = |members: &[usize]| {
            let last = members.last().copied().unwrap_or(0);
            let value = nodes.outputs(last).first().map_or(String::new(), |&v| self.graph.label(v));
            format!("{value} {}", self.graph.node(nodes.ids[last]).kind.word())
        };
        for unit in units.in_order() {
            let Some(consumer) = &units.units[unit] else { continue };
            for before in units.before(nodes, unit) {
                let Some(producer) = &units.units[before] else { continue };
                let constant = |u: &Unit| {
                    u.members
                        .iter()
                        .all(|&m| matches!(self.graph.node(nodes.ids[m]).kind, NodeKind::Constant(_)))
                };
                if constant(producer) || constant(consumer) {
                    continue;
                }
                let (category, reason) = match [producer, consumer].iter().find(|u| !u.grows) {
                    Some(apart) => {
                        (Category::NotALoop, format!("{} is no loop program", name(&apart.members)))
                    }
                    None => match refused.get(&(before, unit)) {
                        Some(refusal) => refusal.clone(),
                        None => continue,
                    },
                };
                self.record.why_not.push(WhyNot {
                    producer: name(&producer.members),
                    consumer: name(&consumer.members),
                    category,
                    reason,
                });
            }
        }
    }
}

/// Cost of a kernel, or why there is none.
fn compose(nodes: &Nodes, parts: &KernelParts) -> Result<(f64, usize), Refusal> {
    let ids: Vec<_> = parts.nodes.iter().map(|&at| nodes.ids[at]).collect();
    let region = fused::region_of(nodes.graph, &parts.inputs, &ids, &parts.outputs)
        .map_err(|e| (Category::Other, e.message().to_string()))?;
    let composed = region.compose().map_err(|e| (Category::of(&e), e.to_string()))?;
    Ok((cost::of(&composed), composed.buffers().len()))
}

/// Merges units along edges, then units that read the same value, until nothing more can be merged.
fn grow(nodes: &Nodes, units: &mut Units, refused: &mut HashMap<(usize, usize), Refusal>) {
    loop {
        let mut merged = false;
        let mut edges = edges(nodes, units);
        edges.extend(siblings(nodes, units));
        // The largest value first; among equals in the order of the program.
        edges.sort_by_key(|&(bytes, a, b)| (std::cmp::Reverse(bytes), a, b));
        // Every merge changes what an edge saves, but seldom its rank: edges of merged units follow them, and the list
        // is made anew when it is used up.
        for (_, a, b) in edges {
            let (Some(a), Some(b)) = (current(units, nodes, a), current(units, nodes, b)) else { continue };
            if a == b {
                continue;
            }
            let (earlier, later) = units.sorted(a, b);
            if refused.contains_key(&(earlier, later)) {
                continue;
            }
            match attempt(nodes, units, earlier, later) {
                Ok((between, unit)) => {
                    units.merge(earlier, later, &between, unit);
                    merged = true;
                }
                Err(refusal) => {
                    refused.insert((earlier, later), refusal);
                }
            }
        }
        if !merged {
            return;
        }
    }
}

/// The unit in which a node is now.
fn current(units: &Units, nodes: &Nodes, at: usize) -> Option<usize> {
    debug_assert!(at < nodes.ids.len());
    units.of[at].filter(|&u| units.units[u].as_ref().is_some_and(|u| u.grows))
}

/// Edges between growing units as (bytes of the value, producer, consumer), nodes by position.
fn edges(nodes: &Nodes, units: &Units) -> Vec<(usize, usize, usize)> {
    let mut out = Vec::new();
    for (at, sources) in nodes.sources.iter().enumerate() {
        let Some(to) = current(units, nodes, at) else { continue };
        for &source in sources {
            if current(units, nodes, source).is_some_and(|from| from != to) {
                out.push((bytes(nodes, nodes.outputs(source)), source, at));
            }
        }
    }
    out
}

/// Pairs of growing units that read one value, each pair of neighbours once.
fn siblings(nodes: &Nodes, units: &Units) -> Vec<(usize, usize, usize)> {
    let mut out = Vec::new();
    let mut values: Vec<_> = nodes.readers.iter().collect();
    values.sort_unstable_by_key(|(v, _)| **v);
    for (&value, readers) in values {
        let mut growing = readers.iter().copied().filter(|&r| current(units, nodes, r).is_some());
        let Some(mut last) = growing.next() else { continue };
        for reader in growing {
            if current(units, nodes, last) != current(units, nodes, reader) {
                // Half of what an edge saves: one read instead of a write and a read.
                out.push((bytes(nodes, &[value]) / 2, last, reader));
            }
            last = reader;
        }
    }
    out
}

fn bytes(nodes: &Nodes, values: &[ValueId]) -> usize {
    let size =
        |&v: &ValueId| nodes.graph.ty(v).tensor().and_then(|t| Some(t.numel().known()? * t.dtype.size()));
    values.iter().filter_map(size).sum()
}

/// The merged unit and what has to run before it, or why not.
fn attempt(
    nodes: &Nodes,
    units: &Units,
    earlier: usize,
    later: usize,
) -> Result<(HashSet<usize>, Unit), Refusal> {
    let none = || (Category::Other, "the unit is gone".to_string());
    let (a, b) = match (&units.units[earlier], &units.units[later]) {
        (Some(a), Some(b)) => (a, b),
        _ => return Err(none()),
    };
    let between = units.between(nodes, earlier, later).ok_or_else(|| {
        (Category::Cycle, "something else that needs the first has to run before the second".to_string())
    })?;
    let mut members: Vec<usize> = a.members.iter().chain(&b.members).copied().collect();
    members.sort_unstable();
    let parts = nodes.kernel(&members);
    if parts.nodes.len() > NODES {
        return Err((Category::Size, format!("{} nodes in one kernel", parts.nodes.len())));
    }
    let (cost, buffers) = compose(nodes, &parts)?;
    if buffers > BUFFERS {
        return Err((Category::Size, format!("{buffers} buffers in one kernel")));
    }
    if cost > SLACK * (a.cost + b.cost) {
        let text = format!("{:.1} us together, {:.1} us apart", cost / 1e3, (a.cost + b.cost) / 1e3);
        return Err((Category::Work, text));
    }
    Ok((between, Unit { members, grows: true, cost }))
}
