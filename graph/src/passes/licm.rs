//! What a loop computes alike in every turn is computed once, before the loop.
//!
//! A condition is tested at least once, so what only computes moves out of it, even if it may fail, unless the condition
//! acts before it. A body may never run. What moves out of it without further ado is harmless (`moves`), and not larger
//! than what it is made from, since a loop that reads it costs more than one that makes it. The rest, a product or a
//! gather, moves only where the first turn is sure and nothing acts before it: where the first condition is constant and
//! true, or else behind a guard, `if condition { the rest; the loop } else { the values that went in }`. The guard tests
//! once more than the loop did, so the condition must not act.
//!
//! What is made from nothing stays: every kernel that reads it makes it for itself. Behind a guard only one loop is left.

use super::Record;
use super::known::{Known, Turns};
use super::moves::{effect, is_harmless, is_movable, keeps_types};
use crate::ir::{BlockId, Graph, HostEffect, Node, NodeId, NodeKind, Operand, Type, ValueId};
use crate::options::Options;
use crate::rewrite::{Outcome, Rewrite, Visitor, keep_apart, rewrite};
use runtime::error::Result;
use std::collections::{HashMap, HashSet};

pub(super) fn run(graph: &Graph, _: &Options, record: &mut Record) -> Result<Graph> {
    let mut licm = Licm {
        known: Known::default(),
        order: HashMap::new(),
        moved: HashSet::new(),
        guards: HashMap::new(),
        open: HashSet::new(),
    };
    licm.block(graph, graph.body);
    let (next, changes) = rewrite(graph, &mut licm)?;
    record.changes = changes;
    keep_apart(graph, next)
}

struct Licm {
    known: Known,
    /// The nodes that stand in each block when all is moved.
    order: HashMap<BlockId, Vec<NodeId>>,
    moved: HashSet<NodeId>,
    /// For a loop what is computed between its guard and it.
    guards: HashMap<NodeId, Vec<NodeId>>,
    /// Loops whose guard is being made. A loop in a condition is visited twice, once for the condition's guard.
    open: HashSet<NodeId>,
}

impl Licm {
    /// Inner loops first: what leaves an inner loop may leave the outer one too.
    fn block(&mut self, graph: &Graph, block: BlockId) {
        let mut order = Vec::new();
        for &id in &graph.block(block).nodes {
            let node = graph.node(id);
            node.blocks.iter().for_each(|&inner| self.block(graph, inner));
            if let (NodeKind::While, &[test, body]) = (&node.kind, node.blocks.as_slice()) {
                self.pull(graph, id, test, body, &mut order);
            }
            order.push(id);
        }
        self.order.insert(block, order);
    }

    fn pull(&mut self, graph: &Graph, id: NodeId, test: BlockId, body: BlockId, order: &mut Vec<NodeId>) {
        let node = graph.node(id);
        let sure = Turns::new(graph, node).holds(0, &mut |v| self.known.item(graph, v)) == Some(true);
        let acts =
            |block: BlockId| graph.block(block).nodes.iter().any(|&n| effect(graph, n) != HostEffect::None);
        let guarded = !sure && !acts(test) && keeps_types(graph, node);
        let params = |b: BlockId| graph.block(b).params.iter().copied();
        let mut inside: HashSet<ValueId> = params(test).chain(params(body)).collect();
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        // Values that are computed behind the guard: what reads them stands there too.
        let mut late: HashSet<ValueId> = HashSet::new();
        let mut acted = false;
        for block in [test, body] {
            let mut stays = Vec::new();
            for &n in &self.order[&block] {
                let node = graph.node(n);
                let fixed = is_movable(graph, node)
                    && node.reads().all(|v| !inside.contains(&v))
                    && !from_nothing(node);
                let early = !node.reads().any(|v| late.contains(&v));
                let certain = !acted && (block == test || sure);
                if fixed && early && (certain || (is_harmless(graph, node) && !grows(graph, node))) {
                    before.push(n);
                } else if fixed && block == body && guarded && !acted {
                    behind.push(n);
                    late.extend(&node.outputs);
                } else {
                    acted |= effect(graph, n) == HostEffect::Ordered;
                    inside.extend(&node.outputs);
                    stays.push(n);
                }
            }
            self.order.insert(block, stays);
        }
        self.moved.extend(before.iter().chain(&behind));
        order.extend(before);
        // A guard for what costs nothing is no gain.
        let cheap = |n: &NodeId| is_harmless(graph, graph.node(*n));
        if behind.iter().all(cheap) {
            let back: Vec<NodeId> = behind.iter().chain(&self.order[&body]).copied().collect();
            behind.iter().for_each(|n| {
                self.moved.remove(n);
            });
            self.order.insert(body, back);
        } else {
            self.guards.insert(id, behind);
        }
    }
}

/// Whether a node makes elements from no tensor; numbers of rank 0 are as good as constants.
fn from_nothing(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Op(_)) && node.reads().next().is_none()
}

/// Whether an op's outputs are larger than the largest of its operands. Views have no size.
fn grows(graph: &Graph, node: &Node) -> bool {
    let bytes = |v: ValueId| graph.ty(v).tensor().and_then(|t| Some(t.numel().known()? * t.dtype.size()));
    let view = node.op().is_some_and(|op| matches!(op.effect, runtime::table::Effect::View(_)));
    let read = node.reads().filter_map(bytes).max().unwrap_or(0);
    !view && node.op().is_some() && node.outputs.iter().filter_map(|&v| bytes(v)).sum::<usize>() > read
}

impl Visitor for Licm {
    fn visit(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Outcome> {
        let node = rewrite.old.node(id);
        if self.moved.contains(&id) {
            let value = node.outputs.first().map_or(String::new(), |&v| rewrite.old.label(v));
            rewrite.changes.push(format!("{value} = {} is the same in every turn", node.kind.word()).into());
        }
        match self.guards.get(&id).cloned() {
            Some(behind) if self.open.insert(id) => {
                let values = self.guard(rewrite, id, &behind)?;
                self.open.remove(&id);
                Ok(Outcome::Replaced(values))
            }
            Some(_) | None => Ok(Outcome::Keep),
        }
    }

    fn order(&self, old: &Graph, block: BlockId) -> Vec<NodeId> {
        self.order.get(&block).unwrap_or(&old.block(block).nodes).clone()
    }
}

impl Licm {
    /// The loop behind a test of its first condition; gives what stands for its outputs.
    fn guard(&mut self, rewrite: &mut Rewrite, id: NodeId, behind: &[NodeId]) -> Result<Vec<ValueId>> {
        let old = rewrite.old;
        let node = old.node(id);
        let first = node.reads().map(|v| rewrite.map.get(v)).collect::<Result<Vec<_>>>()?;
        let test = node.blocks[0];
        old.block(test).params.iter().zip(&first).for_each(|(&p, &v)| rewrite.map.set(p, v));
        let sure = rewrite.straight(test, self)?;
        let turns = rewrite.new.begin(&[]);
        rewrite.list(behind, self)?;
        rewrite.list(&[id], self)?;
        let last = node.outputs.iter().map(|&v| rewrite.map.get(v)).collect::<Result<Vec<_>>>()?;
        rewrite.new.end(last);
        let none = rewrite.new.begin(&[]);
        rewrite.new.end(first);
        let types: Vec<Type> = node.outputs.iter().map(|&v| old.ty(v).clone()).collect();
        let operands = sure.into_iter().map(Operand::Value).collect();
        let made = rewrite.new.node(NodeKind::If, operands, vec![turns, none], &types, node.origin);
        Ok(rewrite.new.outputs(made).to_vec())
    }
}
