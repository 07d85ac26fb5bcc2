//! The nodes of one block as units that grow into kernels.
//!
//! A node either *grows* (a loop program that fuses), is *free* (a view, a number, something made from nothing: it costs
//! nothing to make again, so every unit that reads it has its own copy), or stands *apart*. Edges between units go
//! through free nodes.

use crate::fused;
use crate::ir::{BlockId, Graph, HostEffect, NodeId, NodeKind, ValueId};
use crate::passes::moves::effect;
use runtime::table::Effect;
use std::collections::{HashMap, HashSet};

/// What a node can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Grows,
    Free,
    Apart,
}

/// One block's nodes, by position.
pub(super) struct Nodes<'g> {
    pub(super) graph: &'g Graph,
    pub(super) ids: Vec<NodeId>,
    pub(super) parts: Vec<Part>,
    /// Position of the node that makes a value.
    pub(super) maker: HashMap<ValueId, usize>,
    /// Positions of the nodes that read a value, directly or in their blocks.
    pub(super) readers: HashMap<ValueId, Vec<usize>>,
    /// Values that the block gives.
    pub(super) results: HashSet<ValueId>,
    /// For each node the nodes that are not free and whose values it needs, through free ones.
    pub(super) sources: Vec<Vec<usize>>,
}

/// Every value that a node reads, those in its blocks included.
pub(super) fn reads(graph: &Graph, id: NodeId) -> Vec<ValueId> {
    let node = graph.node(id);
    let inner: Vec<ValueId> = match node.kind {
        NodeKind::If | NodeKind::While | NodeKind::Host(_) => {
            node.blocks.iter().flat_map(|&b| graph.free_values(b)).collect()
        }
        NodeKind::Op(_)
        | NodeKind::Constant(_)
        | NodeKind::Fused
        | NodeKind::Call(_)
        | NodeKind::HostOp(_) => Vec::new(),
    };
    node.reads().chain(inner).collect()
}

fn part(graph: &Graph, id: NodeId) -> Part {
    let node = graph.node(id);
    if !fused::can_join(graph, node) {
        return Part::Apart;
    }
    match node.op() {
        None => Part::Free,
        Some(op) => match op.effect {
            Effect::View(_) | Effect::Read => Part::Free,
            Effect::Pure if node.reads().next().is_none() => Part::Free,
            Effect::Pure | Effect::Random => Part::Grows,
            Effect::Write => Part::Apart,
        },
    }
}

impl<'g> Nodes<'g> {
    pub(super) fn new(graph: &'g Graph, block: BlockId) -> Nodes<'g> {
        let block = graph.block(block);
        let ids = block.nodes.clone();
        let parts: Vec<Part> = ids.iter().map(|&id| part(graph, id)).collect();
        let mut nodes = Nodes {
            graph,
            parts,
            maker: HashMap::new(),
            readers: HashMap::new(),
            results: block.results.iter().copied().collect(),
            sources: Vec::with_capacity(ids.len()),
            ids,
        };
        // Nodes with an effect need those before them as if they read their values.
        let (mut changed, mut looked) = (None, Vec::new());
        for at in 0..nodes.ids.len() {
            let mut sources = Vec::new();
            match effect(graph, nodes.ids[at]) {
                HostEffect::None => {}
                HostEffect::Reads => {
                    sources.extend(changed);
                    looked.push(at);
                }
                HostEffect::Ordered => {
                    sources.extend(changed.replace(at));
                    sources.append(&mut looked);
                }
            }
            for value in reads(graph, nodes.ids[at]) {
                let list = nodes.readers.entry(value).or_default();
                if list.last() != Some(&at) {
                    list.push(at);
                }
                if let Some(&from) = nodes.maker.get(&value) {
                    match nodes.parts[from] {
                        Part::Free => sources.extend_from_slice(&nodes.sources[from]),
                        Part::Grows | Part::Apart => sources.push(from),
                    }
                }
            }
            sources.sort_unstable();
            sources.dedup();
            nodes.sources.push(sources);
            let outputs = &graph.node(nodes.ids[at]).outputs;
            nodes.maker.extend(outputs.iter().map(|&v| (v, at)));
        }
        nodes
    }

    pub(super) fn outputs(&self, at: usize) -> &'g [ValueId] {
        &self.graph.node(self.ids[at]).outputs
    }

    /// Whether somebody outside of these nodes (in ascending order) needs a value, perhaps through free nodes.
    pub(super) fn leaves(&self, value: ValueId, members: &[usize]) -> bool {
        self.results.contains(&value)
            || self.readers.get(&value).is_some_and(|readers| {
                readers.iter().any(|&reader| match self.parts[reader] {
                    Part::Free => self.outputs(reader).iter().any(|&v| self.leaves(v, members)),
                    Part::Grows | Part::Apart => members.binary_search(&reader).is_err(),
                })
            })
    }

    /// What a kernel of these members (in ascending order) is made of.
    pub(super) fn kernel(&self, members: &[usize]) -> KernelParts {
        let mut all: Vec<usize> = members.to_vec();
        let mut known: HashSet<usize> = members.iter().copied().collect();
        let mut inputs = Vec::new();
        let mut seen = HashSet::new();
        let mut at = 0;
        while at < all.len() {
            for value in self.graph.node(self.ids[all[at]]).reads() {
                match self.maker.get(&value) {
                    Some(&from) if self.parts[from] == Part::Free => {
                        if known.insert(from) {
                            all.push(from);
                        }
                    }
                    Some(from) if known.contains(from) => {}
                    Some(_) | None => {
                        if seen.insert(value) {
                            inputs.push(value);
                        }
                    }
                }
            }
            at += 1;
        }
        all.sort_unstable();
        inputs.sort_unstable();
        let outputs = members
            .iter()
            .flat_map(|&m| self.outputs(m))
            .copied()
            .filter(|&v| self.leaves(v, members))
            .collect();
        KernelParts { inputs, nodes: all, outputs }
    }
}

/// A kernel as values and nodes of the graph.
pub(super) struct KernelParts {
    pub(super) inputs: Vec<ValueId>,
    /// Positions of members and of the free nodes that they read, in order.
    pub(super) nodes: Vec<usize>,
    pub(super) outputs: Vec<ValueId>,
}

/// A set of nodes that becomes one kernel.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// Positions, ascending.
    pub(super) members: Vec<usize>,
    /// Whether it may grow.
    pub(super) grows: bool,
    /// What it costs alone.
    pub(super) cost: f64,
}

/// The units of a block in an order in which each comes after those that it needs. A merged unit has a new number.
pub(super) struct Units {
    pub(super) units: Vec<Option<Unit>>,
    /// The unit of each node that is not free.
    pub(super) of: Vec<Option<usize>>,
    /// Units in order; merging leaves holes.
    order: Vec<Option<usize>>,
    /// Place of each unit in the order.
    slots: Vec<usize>,
}

impl Units {
    /// One unit for each node that is not free, in the nodes' order.
    pub(super) fn new(nodes: &Nodes, mut unit: impl FnMut(usize) -> Unit) -> Units {
        let mut units = Units {
            units: Vec::new(),
            of: vec![None; nodes.ids.len()],
            order: Vec::new(),
            slots: Vec::new(),
        };
        for (at, part) in nodes.parts.iter().enumerate() {
            if *part != Part::Free {
                let number = units.units.len();
                units.of[at] = Some(number);
                units.order.push(Some(number));
                units.slots.push(number);
                units.units.push(Some(unit(at)));
            }
        }
        units
    }

    /// The units in order.
    pub(super) fn in_order(&self) -> Vec<usize> {
        self.order.iter().copied().flatten().collect()
    }

    /// The units whose values a unit reads.
    pub(super) fn before(&self, nodes: &Nodes, unit: usize) -> Vec<usize> {
        let Some(own) = &self.units[unit] else { return Vec::new() };
        let mut list: Vec<usize> =
            own.members.iter().flat_map(|&m| &nodes.sources[m]).filter_map(|&s| self.of[s]).collect();
        list.sort_unstable();
        list.dedup();
        list.retain(|&u| u != unit);
        list
    }

    /// The units that have to run before `later` and stand after `earlier`; `None` if one of them needs `earlier`.
    pub(super) fn between(&self, nodes: &Nodes, earlier: usize, later: usize) -> Option<HashSet<usize>> {
        let inside = |u: usize| self.slots[u] > self.slots[earlier];
        let mut stack = self.before(nodes, later);
        stack.retain(|&u| inside(u));
        let mut seen: HashSet<usize> = stack.iter().copied().collect();
        while let Some(unit) = stack.pop() {
            for before in self.before(nodes, unit) {
                if before == earlier {
                    return None;
                }
                if inside(before) && seen.insert(before) {
                    stack.push(before);
                }
            }
        }
        Some(seen)
    }

    /// Which of two units comes first.
    pub(super) fn sorted(&self, a: usize, b: usize) -> (usize, usize) {
        if self.slots[a] < self.slots[b] { (a, b) } else { (b, a) }
    }

    /// Makes one unit of two. Between them come first what the later one needs (`between`), then the merged unit, then
    /// everything else, so that the order stays valid.
    pub(super) fn merge(
        &mut self,
        earlier: usize,
        later: usize,
        between: &HashSet<usize>,
        merged: Unit,
    ) -> usize {
        let new = self.units.len();
        for &member in &merged.members {
            self.of[member] = Some(new);
        }
        self.units[earlier] = None;
        self.units[later] = None;
        self.units.push(Some(merged));
        let (from, to) = (self.slots[earlier], self.slots[later]);
        let inside: Vec<usize> =
            self.order[from..=to].iter().copied().flatten().filter(|&u| u != earlier && u != later).collect();
        let (needed, rest): (Vec<usize>, Vec<usize>) = inside.into_iter().partition(|u| between.contains(u));
        self.slots.push(0);
        let arranged: Vec<usize> = needed.into_iter().chain([new]).chain(rest).collect();
        for (slot, place) in (from..=to).enumerate() {
            self.order[place] = arranged.get(slot).copied();
            if let Some(&unit) = arranged.get(slot) {
                self.slots[unit] = place;
            }
        }
        new
    }
}
