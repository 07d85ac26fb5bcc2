//! Which parts of a graph are compiled: runs of tensor operations and of host arithmetic on what they give, without a look
//! at a value, become the block of one `region` node.
//!
//! A part is gathered within one block of the graph. What stands between and does not depend on the part is done before it,
//! which is right since the part changes nothing; what writes to tensors, takes gradients or changes the grad mode ends it.
//! A host value from outside is part of what a region is compiled for, so one that differs in every turn of a loop stays
//! outside, with the operation that reads it. A value that leaves is a tensor or a number; containers and views of it are
//! made once more outside, so that whoever gets them gets what the host would have made. Constant tensors are copied in.

use super::action::{Action, Call, Part};
use super::aliases::Aliases;
use super::stage::is_look;
use crate::calls::Resolved;
use crate::tree::{Conversion, Returns};
use graph::build::{Builder, ValueMap};
use graph::ir::{BlockId, Graph, HostEffect, Node, NodeId, NodeKind, Type, ValueId};
use runtime::error::Result;
use std::collections::{HashMap, HashSet};

/// Least tensor operations of a region: one alone runs as fast by itself.
const LEAST: usize = 2;

/// Whether a call gives elements of its argument as they lie in memory, or lays them out anew: a region has the elements alone.
fn lays_out(call: &Resolved) -> bool {
    call.op().is_some() && call.views() || call.name.ends_with(".contiguous")
}

/// The graph with its regions, and how many there are.
pub(super) fn carve(graph: &Graph, writes: bool) -> Result<(Graph, u32)> {
    let (builder, map) = Builder::like(graph);
    let constants = constants(graph);
    let mut carver = Carver {
        graph,
        builder,
        map,
        writes,
        written: if writes { written(graph) } else { HashSet::new() },
        loops: loops(graph),
        users: users(graph),
        constants,
        regions: 0,
    };
    carver.block(graph.body)?;
    let regions = carver.regions;
    Ok((carver.builder.finish_like(graph, &carver.map)?, regions))
}

/// The nodes that make a tensor that never changes: a constant, of whatever type it is taken for.
fn constants(graph: &Graph) -> HashMap<ValueId, Vec<NodeId>> {
    let mut found: HashMap<ValueId, Vec<NodeId>> = HashMap::new();
    for id in graph.walk() {
        let node = graph.node(id);
        let mut made = match (&node.kind, action_of(node)) {
            (NodeKind::Constant(_), _) => Vec::new(),
            (_, Some(Action::Widen(_))) => match node.reads().next().and_then(|v| found.get(&v)) {
                Some(made) => made.clone(),
                None => continue,
            },
            _ => continue,
        };
        made.push(id);
        found.insert(node.outputs[0], made);
    }
    found
}

/// What shares memory with something that is written.
fn written(graph: &Graph) -> HashSet<ValueId> {
    let mut aliases = Aliases::of(graph);
    let values = (0..graph.value_count() as u32).map(ValueId);
    values.filter(|&v| aliases.written(graph, v).is_some()).collect()
}

/// For each value the loop in whose turns it is made, if any.
fn loops(graph: &Graph) -> Vec<Option<NodeId>> {
    fn walk(graph: &Graph, block: BlockId, within: Option<NodeId>, out: &mut Vec<Option<NodeId>>) {
        for &param in &graph.block(block).params {
            out[param.0 as usize] = within;
        }
        for &id in &graph.block(block).nodes {
            let node = graph.node(id);
            node.outputs.iter().for_each(|v| out[v.0 as usize] = within);
            let inner = if matches!(node.kind, NodeKind::While) { Some(id) } else { within };
            node.blocks.iter().for_each(|&b| walk(graph, b, inner, out));
        }
    }
    let mut out = vec![None; graph.value_count()];
    walk(graph, graph.body, None, &mut out);
    out
}

/// For each value the nodes that read it, themselves or in their blocks; `None` is a block's result.
fn users(graph: &Graph) -> Vec<Vec<Option<NodeId>>> {
    let mut out = vec![Vec::new(); graph.value_count()];
    let mut blocks = vec![graph.body];
    for id in graph.walk() {
        let node = graph.node(id);
        node.reads().for_each(|v| out[v.0 as usize].push(Some(id)));
        for &block in &node.blocks {
            graph.free_values(block).into_iter().for_each(|v| out[v.0 as usize].push(Some(id)));
            blocks.push(block);
        }
    }
    for block in blocks {
        graph.block(block).results.iter().for_each(|v| out[v.0 as usize].push(None));
    }
    out
}

struct Carver<'g> {
    graph: &'g Graph,
    builder: Builder,
    map: ValueMap,
    writes: bool,
    /// What shares memory with something that is written. A branch or loop that gives such a tensor has to give the one that it
    /// chose, no copy of it; and what it did not do must not be missed by a backward when the tensor has been written.
    written: HashSet<ValueId>,
    loops: Vec<Option<NodeId>>,
    users: Vec<Vec<Option<NodeId>>>,
    constants: HashMap<ValueId, Vec<NodeId>>,
    regions: u32,
}

/// The part that is being gathered.
#[derive(Default)]
struct Group {
    nodes: Vec<NodeId>,
    made: HashSet<ValueId>,
    /// Of those the truths that the host would look for.
    looks: HashSet<ValueId>,
}

impl Carver<'_> {
    fn block(&mut self, block: BlockId) -> Result<()> {
        let mut group = Group::default();
        for &id in &self.graph.block(block).nodes {
            let node = self.graph.node(id);
            if self.fits(node, &group) {
                group.nodes.push(id);
                group.made.extend(&node.outputs);
                if action_of(node).is_some_and(is_look) && self.of_tensor(node) {
                    group.looks.extend(&node.outputs);
                }
                continue;
            }
            let depends = node.reads().chain(node.blocks.iter().flat_map(|&b| self.graph.free_values(b)));
            let depends = { depends }.any(|v| group.made.contains(&v));
            if depends || self.ends(node) {
                self.close(&mut group)?;
            }
            self.plain(id)?;
        }
        self.close(&mut group)
    }

    /// A node that stays as it is, with whatever its blocks become.
    fn plain(&mut self, id: NodeId) -> Result<()> {
        let node = self.graph.node(id);
        if node.blocks.is_empty() || matches!(node.kind, NodeKind::Fused | NodeKind::Host(_)) {
            return self.builder.copy(self.graph, id, &mut self.map).map(|_| ());
        }
        let operands = node.operands.iter().map(|o| self.map.operand(o)).collect::<Result<_>>()?;
        let mut blocks = Vec::new();
        for &inner in &node.blocks {
            let old = self.graph.block(inner);
            let types: Vec<Type> = old.params.iter().map(|&v| self.graph.ty(v).clone()).collect();
            let new = self.builder.begin(&types);
            let params = self.builder.graph().block(new).params.clone();
            for (&from, to) in old.params.iter().zip(params) {
                self.map.set(from, to);
            }
            self.block(inner)?;
            let results = old.results.iter().map(|&v| self.map.get(v)).collect::<Result<_>>()?;
            blocks.push(self.builder.end(results));
        }
        let types: Vec<Type> = node.outputs.iter().map(|&v| self.graph.ty(v).clone()).collect();
        let made = self.builder.node(node.kind.clone(), operands, blocks, &types, node.origin);
        self.define(node, made);
        Ok(())
    }

    fn define(&mut self, node: &Node, made: NodeId) {
        let outputs = self.builder.outputs(made).to_vec();
        for (&from, to) in node.outputs.iter().zip(outputs) {
            self.map.set(from, to);
        }
    }

    /// Whether a node ends what is being gathered before it.
    fn ends(&self, node: &Node) -> bool {
        match &node.kind {
            NodeKind::If | NodeKind::While => true,
            NodeKind::Host(call) => match Call::of(call.as_ref()).map(|c| &c.action) {
                Some(action @ Action::Builtin(builtin)) => {
                    action.writes()
                        || (builtin.effect() == HostEffect::Ordered
                            && (builtin.name.starts_with("torch.") || builtin.name.starts_with("Tensor.")))
                }
                Some(
                    Action::GradMode(_)
                    | Action::EndGradMode
                    | Action::SetGrad
                    | Action::Raise(_)
                    | Action::Never,
                ) => true,
                Some(action) => action.writes(),
                None => true,
            },
            _ => false,
        }
    }

    /// Whether a node may be part of the group.
    fn fits(&self, node: &Node, group: &Group) -> bool {
        if matches!(node.kind, NodeKind::If | NodeKind::While) {
            return self.control_fits(node, group);
        }
        let Some(action) = action_of(node) else { return false };
        let inside = node.reads().any(|v| group.made.contains(&v));
        let fits = match action {
            Action::Torch { .. } | Action::Index(_) | Action::List => self.computable(action, node),
            action if is_look(action) && self.of_tensor(node) => inside && self.decides(node),
            Action::Builtin(builtin) => {
                builtin.is_fact() && node.reads().any(|v| *self.graph.ty(v) == Type::AnyTensor) && inside
            }
            Action::Convert(Conversion::NumberToTensor) => true,
            Action::Convert(Conversion::IntToFloat | Conversion::BoolToInt)
            | Action::Widen(_)
            | Action::Arithmetic(..)
            | Action::Negate
            | Action::Compare(_)
            | Action::Not
            | Action::Unpack
            | Action::Field(_, _, true)
            | Action::Item
            | Action::Object(_, _, true)
            | Action::Tuple => inside,
            _ => false,
        };
        fits && node.reads().all(|v| group.made.contains(&v) || self.enters(v, node))
    }

    /// Whether a computation with tensors can be compiled.
    fn computable(&self, action: &Action, node: &Node) -> bool {
        match action {
            Action::Torch { call, returns, .. } => {
                let draws = call.draws() && !is_still(node);
                let hidden = action.writes() || draws || self.writes && call.views();
                !hidden && !matches!(returns, Returns::Bool | Returns::TupleOf(_))
            }
            Action::Index(parts) => !self.writes && !parts.contains(&Part::List),
            // A list that nobody but torch's calls see.
            Action::List => node.outputs.iter().flat_map(|v| &self.users[v.0 as usize]).all(|user| {
                let user = user.map(|id| self.graph.node(id));
                matches!(user.and_then(action_of), Some(Action::Torch { .. }))
            }),
            _ => false,
        }
    }

    /// Whether a branch or loop may be part of the group: it hangs on tensors or its turns are counted by what the region
    /// is compiled for, and all of it can be staged.
    fn control_fits(&self, node: &Node, group: &Group) -> bool {
        let float = matches!(node.kind, NodeKind::If);
        let looks = match node.kind {
            NodeKind::While => node.blocks.iter().any(|&b| self.looks(b) || self.computes(b)),
            _ => node.reads().any(|v| group.looks.contains(&v)),
        };
        let mut reads = node.reads().chain(node.blocks.iter().flat_map(|&b| self.graph.free_values(b)));
        looks
            && node.outputs.iter().all(|&v| self.carries(v, float) && !self.written.contains(&v))
            && node.blocks.iter().all(|&b| self.stages(b))
            && reads.all(|v| !self.written.contains(&v) && (group.made.contains(&v) || self.enters(v, node)))
    }

    /// Whether a value may be a result of staged control flow. A float of the host is weak beside tensors and no tensor of
    /// its own in a loop.
    fn carries(&self, value: ValueId, float: bool) -> bool {
        match self.graph.ty(value) {
            Type::AnyTensor | Type::Int | Type::Bool => true,
            Type::Float => float,
            _ => false,
        }
    }

    /// Whether the host looks at a tensor's value somewhere in a block.
    fn looks(&self, block: BlockId) -> bool {
        self.graph.block(block).nodes.iter().any(|&id| {
            let node = self.graph.node(id);
            let looks = action_of(node).is_some_and(is_look) && self.of_tensor(node);
            looks || node.blocks.iter().any(|&b| self.looks(b))
        })
    }

    /// Whether a block computes with tensors.
    fn computes(&self, block: BlockId) -> bool {
        self.graph.block(block).nodes.iter().any(|&id| {
            let node = self.graph.node(id);
            matches!(action_of(node), Some(Action::Torch { .. }))
                || node.blocks.iter().any(|&b| self.computes(b))
        })
    }

    /// Whether a node's operand is a tensor.
    fn of_tensor(&self, node: &Node) -> bool {
        node.reads().any(|v| *self.graph.ty(v) == Type::AnyTensor)
    }

    /// Whether all of a block can be staged as part of a branch or loop.
    fn stages(&self, block: BlockId) -> bool {
        self.graph.block(block).nodes.iter().all(|&id| {
            let node = self.graph.node(id);
            match &node.kind {
                NodeKind::If | NodeKind::While => {
                    node.outputs.iter().all(|&v| self.carries(v, true) && !self.written.contains(&v))
                        && node.blocks.iter().all(|&b| self.stages(b))
                }
                NodeKind::HostOp(op) => op.name == "host.literal",
                NodeKind::Host(_) => action_of(node).is_some_and(|action| match action {
                    Action::Torch { .. } | Action::Index(_) | Action::List => self.computable(action, node),
                    Action::Builtin(builtin) => builtin.is_fact() || is_look(action),
                    Action::Convert(conversion) => {
                        !matches!(conversion, Conversion::Unwrap | Conversion::ToInts)
                    }
                    Action::Widen(_)
                    | Action::Arithmetic(..)
                    | Action::Negate
                    | Action::Compare(_)
                    | Action::Not
                    | Action::Unpack
                    | Action::Field(_, _, true)
                    | Action::Tuple => true,
                    _ => false,
                }),
                _ => false,
            }
        })
    }

    /// Whether a look is only for staged branches to choose by.
    fn decides(&self, node: &Node) -> bool {
        let users: Vec<_> = node.outputs.iter().flat_map(|v| &self.users[v.0 as usize]).collect();
        !users.is_empty()
            && users.iter().all(|user| {
                user.map(|id| self.graph.node(id)).is_some_and(|user| {
                    matches!(user.kind, NodeKind::If)
                        && user.reads().any(|v| node.outputs.contains(&v))
                        && user.blocks.iter().all(|&b| self.stages(b))
                })
            })
    }

    /// Whether a value may enter a region that stands where this node stands.
    fn enters(&self, value: ValueId, node: &Node) -> bool {
        let plain = |ty: &Type| match ty {
            Type::Int | Type::Float | Type::Bool | Type::Str | Type::None => true,
            Type::Object(name) => matches!(&**name, "dtype" | "number"),
            _ => false,
        };
        let ty = match self.graph.ty(value) {
            Type::Optional(inner) => &**inner,
            ty => ty,
        };
        if matches!(ty, Type::AnyTensor) {
            return true;
        }
        let here = node.outputs.first().and_then(|v| self.loops[v.0 as usize]);
        plain(ty) && (here.is_none() || self.loops[value.0 as usize] != here)
    }

    /// Whether a value can leave a region: what holds others, or shares memory, is made again outside.
    fn leaves(&self, id: NodeId, value: ValueId) -> bool {
        let node = self.graph.node(id);
        let view = match &node.kind {
            NodeKind::Host(call) => match Call::of(call.as_ref()).map(|c| &c.action) {
                Some(Action::Torch { call, .. }) => lays_out(call),
                Some(Action::Index(_)) => true,
                _ => false,
            },
            _ => false,
        };
        let ty = self.graph.ty(value);
        !view && matches!(ty, Type::AnyTensor | Type::Int | Type::Float | Type::Bool)
    }

    fn close(&mut self, group: &mut Group) -> Result<()> {
        let Group { nodes, made, .. } = std::mem::take(group);
        if self.worth(&nodes) < LEAST {
            return nodes.into_iter().try_for_each(|id| self.plain(id));
        }
        let members: HashSet<NodeId> = nodes.iter().copied().collect();
        let maker: HashMap<ValueId, NodeId> =
            nodes.iter().flat_map(|&id| self.graph.node(id).outputs.iter().map(move |&v| (v, id))).collect();
        // What leaves as it is, and what is made once more outside, from the last to the first.
        let mut wanted: HashSet<ValueId> = made
            .iter()
            .filter(|v| self.users[v.0 as usize].iter().any(|u| u.is_none_or(|id| !members.contains(&id))))
            .copied()
            .collect();
        let (mut leaving, mut again) = (Vec::new(), Vec::new());
        for &id in nodes.iter().rev() {
            let node = self.graph.node(id);
            let asked: Vec<ValueId> = node.outputs.iter().filter(|v| wanted.contains(v)).copied().collect();
            if asked.is_empty() {
                continue;
            }
            // Parts of a container: the container is taken apart once more only if it is made once more.
            let parts = matches!(&node.kind, NodeKind::Host(c)
                if matches!(Call::of(c.as_ref()).map(|c| &c.action), Some(Action::Unpack)))
                && node.reads().any(|v| maker.get(&v).is_some_and(|&m| self.shares(m)));
            if !parts && asked.iter().all(|&v| self.leaves(id, v)) {
                leaving.extend(asked);
            } else {
                again.push(id);
                wanted.extend(node.reads().filter(|v| made.contains(v)));
            }
        }
        leaving.reverse();
        again.reverse();
        let outside: HashSet<NodeId> = again.iter().copied().collect();
        let needed: Vec<NodeId> = self.needed(&nodes, &leaving);
        let inside: Vec<NodeId> = needed.iter().filter(|id| !outside.contains(id)).copied().collect();
        if self.worth(&inside) < LEAST {
            return nodes.into_iter().try_for_each(|id| self.plain(id));
        }
        let origin = self.graph.node(needed[0]).origin;
        let block = self.builder.begin(&[]);
        let mut inner = self.map.clone();
        // A constant of the region is one to its passes; from outside it would be any tensor.
        let mut seen = HashSet::new();
        for &id in &needed {
            let node = self.graph.node(id);
            let read = node.reads().chain(node.blocks.iter().flat_map(|&b| self.graph.free_values(b)));
            for &constant in read.filter_map(|v| self.constants.get(&v)).flatten() {
                if seen.insert(constant) {
                    self.builder.copy(self.graph, constant, &mut inner)?;
                }
            }
        }
        // Where the host has to run it, bodies of loops are regions again.
        let outer = std::mem::replace(&mut self.map, inner);
        needed.iter().try_for_each(|&id| self.plain(id))?;
        let inner = std::mem::replace(&mut self.map, outer);
        let results = leaving.iter().map(|&v| inner.get(v)).collect::<Result<_>>()?;
        self.builder.end(results);
        let types: Vec<Type> = leaving.iter().map(|&v| self.graph.ty(v).clone()).collect();
        let call = Call::new(Action::Region(self.regions), self.writes);
        self.regions += 1;
        let made = self.builder.node(NodeKind::Host(call), Vec::new(), vec![block], &types, origin);
        for (&from, to) in leaving.iter().zip(self.builder.outputs(made).to_vec()) {
            self.map.set(from, to);
        }
        again.into_iter().try_for_each(|id| self.builder.copy(self.graph, id, &mut self.map).map(|_| ()))
    }

    /// The nodes of a group that these values need.
    fn needed(&self, nodes: &[NodeId], values: &[ValueId]) -> Vec<NodeId> {
        let mut wanted: HashSet<ValueId> = values.iter().copied().collect();
        let mut out = Vec::new();
        for &id in nodes.iter().rev() {
            let node = self.graph.node(id);
            if node.outputs.iter().any(|v| wanted.contains(v)) {
                wanted.extend(node.reads());
                wanted.extend(node.blocks.iter().flat_map(|&b| self.graph.free_values(b)));
                out.push(id);
            }
        }
        out.reverse();
        out
    }

    /// How many tensor operations nodes are; a loop is as many as make a region.
    fn worth(&self, nodes: &[NodeId]) -> usize {
        let each = nodes.iter().map(|&id| match &self.graph.node(id).kind {
            NodeKind::While => LEAST,
            NodeKind::If => 1,
            _ => usize::from(matches!(action_of(self.graph.node(id)), Some(Action::Torch { .. }))),
        });
        each.sum()
    }

    /// Whether what a node gives shares memory with its operand.
    fn shares(&self, id: NodeId) -> bool {
        match &self.graph.node(id).kind {
            NodeKind::Host(call) => match Call::of(call.as_ref()).map(|c| &c.action) {
                Some(Action::Torch { call, returns, .. }) => lays_out(call) || *returns == Returns::List,
                _ => false,
            },
            _ => false,
        }
    }
}

/// Whether a node's call may draw in general, and does not here.
fn is_still(node: &Node) -> bool {
    matches!(&node.kind, NodeKind::Host(call) if Call::of(call.as_ref()).is_some_and(|c| c.still))
}

/// What a node of the host does.
fn action_of(node: &Node) -> Option<&Action> {
    match &node.kind {
        NodeKind::Host(call) => Call::of(call.as_ref()).map(|c| &c.action),
        _ => None,
    }
}
