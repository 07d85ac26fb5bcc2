//! What can be computed before the graph runs, on demand: values made from constants alone, and the turns of a loop whose
//! condition is. They are computed by the kernels that would compute them later, so what is known is what would be.

use crate::host::Item;
use crate::interpret::Operands;
use crate::ir::{Graph, Node, NodeId, NodeKind, Operand, Type, ValueId};
use runtime::run;
use runtime::table::Effect;
use std::collections::HashMap;

/// Tensors with more elements are not computed here: counters and conditions are small.
const SMALL: usize = 64;
/// How far a value may be from its constants.
const DEPTH: usize = 64;

/// The known values of a graph that may still grow.
#[derive(Default)]
pub(super) struct Known {
    makers: HashMap<ValueId, NodeId>,
    /// Nodes below this one are in `makers`.
    read: usize,
    items: HashMap<ValueId, Item>,
}

impl Known {
    /// The node that makes a value, in whatever block.
    pub(super) fn maker<'g>(&mut self, graph: &'g Graph, value: ValueId) -> Option<&'g Node> {
        for id in self.read..graph.node_count() {
            let id = NodeId(id as u32);
            self.makers.extend(graph.node(id).outputs.iter().map(|&v| (v, id)));
        }
        self.read = graph.node_count();
        self.makers.get(&value).map(|&id| graph.node(id))
    }

    /// The value, if it is known.
    pub(super) fn item(&mut self, graph: &Graph, value: ValueId) -> Option<Item> {
        self.within(graph, value, DEPTH)
    }

    /// The truth of a value, if it is known.
    pub(super) fn truth(&mut self, graph: &Graph, value: ValueId) -> Option<bool> {
        truth(&self.item(graph, value)?)
    }

    fn within(&mut self, graph: &Graph, value: ValueId, depth: usize) -> Option<Item> {
        if let Some(item) = self.items.get(&value) {
            return Some(item.clone());
        }
        if depth == 0 || !is_small(graph, value) {
            return None;
        }
        let node = self.maker(graph, value)?;
        let items = compute(graph, node, &mut |v| self.within(graph, v, depth - 1))?;
        self.items.extend(node.outputs.iter().copied().zip(items));
        self.items.get(&value).cloned()
    }
}

/// The truth of a one-element tensor or a host truth.
fn truth(item: &Item) -> Option<bool> {
    match item {
        Item::Tensor(t) => Some(t.item().ok()?.to_bool()),
        Item::Host(_) | Item::List(_) | Item::Tuple(_) | Item::Dict(_) => Some(item.scalar().ok()?.to_bool()),
    }
}

fn is_small(graph: &Graph, value: ValueId) -> bool {
    match graph.ty(value) {
        Type::Tensor(t) => t.numel().known().is_some_and(|n| n <= SMALL),
        Type::Int | Type::Float | Type::Bool => true,
        Type::AnyTensor
        | Type::Str
        | Type::List(_)
        | Type::Tuple(_)
        | Type::Dict(..)
        | Type::Optional(_)
        | Type::Object(_)
        | Type::None => false,
    }
}

/// The outputs of a node whose operands are known; `None` where one is not, or the node does more than compute, or fails:
/// what fails has to fail when the graph runs, where its line is known.
fn compute(graph: &Graph, node: &Node, get: &mut dyn FnMut(ValueId) -> Option<Item>) -> Option<Vec<Item>> {
    if !node.outputs.iter().all(|&v| is_small(graph, v)) {
        return None;
    }
    match &node.kind {
        NodeKind::Constant(tensor) => Some(vec![Item::Tensor(tensor.clone())]),
        NodeKind::HostOp(op) => {
            let mut items = Vec::with_capacity(node.operands.len());
            for operand in &node.operands {
                match operand {
                    Operand::Host(h) => items.push(Item::Host(h.clone())),
                    Operand::Value(_) | Operand::Values(_) => {
                        for &v in operand.values() {
                            items.push(get(v)?);
                        }
                    }
                }
            }
            Some(vec![(op.run)(&items).ok()?])
        }
        NodeKind::Op(op) if matches!(op.effect, Effect::Pure | Effect::View(_)) => {
            let mut items = HashMap::new();
            for value in node.reads() {
                items.insert(value, get(value)?);
            }
            let operands = Operands::of(&node.operands, |v| Ok(items[&v].clone())).ok()?;
            let outputs = run::run(op, &operands.args()).ok()?;
            Some(outputs.into_iter().map(Item::Tensor).collect())
        }
        NodeKind::Op(_)
        | NodeKind::Fused
        | NodeKind::If
        | NodeKind::While
        | NodeKind::Call(_)
        | NodeKind::Host(_) => None,
    }
}

/// A loop as far as it can be run before the graph runs. Only what its condition needs is computed.
pub(super) struct Turns<'a> {
    graph: &'a Graph,
    node: &'a Node,
    makers: HashMap<ValueId, NodeId>,
    /// What is known of each turn.
    turns: Vec<HashMap<ValueId, Item>>,
}

impl<'a> Turns<'a> {
    /// The turns of a `while` of this graph.
    pub(super) fn new(graph: &'a Graph, node: &'a Node) -> Turns<'a> {
        let nodes = node.blocks.iter().flat_map(|&b| &graph.block(b).nodes);
        let makers = nodes.flat_map(|&n| graph.node(n).outputs.iter().map(move |&v| (v, n))).collect();
        Turns { graph, node, makers, turns: Vec::new() }
    }

    /// How many there are; `None` where that is not known or they are more than `limit`. `outer` knows values from before
    /// the loop.
    pub(super) fn count(
        &mut self,
        limit: usize,
        outer: &mut dyn FnMut(ValueId) -> Option<Item>,
    ) -> Option<usize> {
        for turn in 0..=limit {
            if !self.holds(turn, outer)? {
                return Some(turn);
            }
        }
        None
    }

    /// Whether the condition is true before this turn.
    pub(super) fn holds(
        &mut self,
        turn: usize,
        outer: &mut dyn FnMut(ValueId) -> Option<Item>,
    ) -> Option<bool> {
        self.turns.resize_with(self.turns.len().max(turn + 1), HashMap::new);
        let asked = *self.graph.block(self.node.blocks[0]).results.first()?;
        truth(&self.item(turn, asked, DEPTH, outer)?)
    }

    fn item(
        &mut self,
        turn: usize,
        value: ValueId,
        depth: usize,
        outer: &mut dyn FnMut(ValueId) -> Option<Item>,
    ) -> Option<Item> {
        if let Some(item) = self.turns[turn].get(&value) {
            return Some(item.clone());
        }
        if depth == 0 || !is_small(self.graph, value) {
            return None;
        }
        let (graph, node) = (self.graph, self.node);
        let carried =
            node.blocks.iter().find_map(|&b| graph.block(b).params.iter().position(|&p| p == value));
        let item = match (carried, self.makers.get(&value)) {
            (Some(k), _) if turn == 0 => outer(node.operands.get(k)?.values().first().copied()?)?,
            (Some(k), _) => {
                let given = graph.block(node.blocks[1]).results[k];
                self.item(turn - 1, given, depth - 1, outer)?
            }
            (None, Some(&maker)) => {
                let maker = graph.node(maker);
                let items = compute(graph, maker, &mut |v| self.item(turn, v, depth - 1, outer))?;
                self.turns[turn].extend(maker.outputs.iter().copied().zip(items));
                self.turns[turn].get(&value).cloned()?
            }
            (None, None) => outer(value)?,
        };
        self.turns[turn].insert(value, item.clone());
        Some(item)
    }
}
