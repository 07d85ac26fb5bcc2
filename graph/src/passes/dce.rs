//! Leaves out what no result needs. Results that are new state count as needed; so do calls, whose inside may have
//! effects, and writes.
//!
//! It looks through regions: an output of an `if` or a `while` that nobody reads goes, and what only it needs inside goes
//! with it. A carried value is needed where its output is, or where a turn reads it for something that is needed: one that
//! only makes its own next value is not.

use super::{Record, moves};
use crate::ir::{BlockId, Graph, HostEffect, Node, NodeId, NodeKind, ValueId};
use crate::options::Options;
use crate::rewrite::{Outcome, Rewrite, Visitor, rewrite};
use runtime::error::Result;

pub(super) fn run(graph: &Graph, _: &Options, record: &mut Record) -> Result<Graph> {
    let mut live = Live { nodes: vec![false; graph.node_count()], values: vec![false; graph.value_count()] };
    live.block(graph, graph.body, &|_| true);
    let (next, changes) = rewrite(graph, &mut live)?;
    record.changes = changes;
    Ok(next)
}

struct Live {
    nodes: Vec<bool>,
    values: Vec<bool>,
}

impl Live {
    /// Marks from the end of a block, since users stand after what they use. Marks are only ever added.
    fn block(&mut self, graph: &Graph, block: BlockId, wanted: &dyn Fn(usize) -> bool) {
        let block = graph.block(block);
        let results = block.results.iter().enumerate().filter(|(i, _)| wanted(*i));
        results.for_each(|(_, v)| self.values[v.0 as usize] = true);
        for &id in block.nodes.iter().rev() {
            let node = graph.node(id);
            let acts = moves::effect(graph, id) == HostEffect::Ordered;
            if !acts && !node.outputs.iter().any(|&v| self.is(v)) {
                continue;
            }
            self.nodes[id.0 as usize] = true;
            match node.kind {
                NodeKind::If => {
                    let kept = self.kept(graph, node);
                    node.blocks.iter().for_each(|&inner| self.block(graph, inner, &|i| kept[i]));
                    node.reads().for_each(|v| self.values[v.0 as usize] = true);
                }
                NodeKind::While => self.turns(graph, node),
                NodeKind::Op(_)
                | NodeKind::Constant(_)
                | NodeKind::Fused
                | NodeKind::Call(_)
                | NodeKind::HostOp(_)
                | NodeKind::Host(_) => {
                    node.blocks.iter().for_each(|&inner| self.block(graph, inner, &|_| true));
                    node.reads().for_each(|v| self.values[v.0 as usize] = true);
                }
            }
        }
    }

    /// Marks what a loop needs, until a turn needs no more than the turn before it gives.
    fn turns(&mut self, graph: &Graph, node: &Node) {
        let mut kept = self.kept(graph, node);
        loop {
            self.block(graph, node.blocks[0], &|_| true);
            self.block(graph, node.blocks[1], &|i| kept[i]);
            let more = self.kept(graph, node);
            if more == kept {
                break;
            }
            kept = more;
        }
        let first = node.reads().zip(&kept).filter(|(_, kept)| **kept);
        first.for_each(|(v, _)| self.values[v.0 as usize] = true);
    }

    fn is(&self, value: ValueId) -> bool {
        self.values[value.0 as usize]
    }

    /// The outputs that are needed, by themselves or as a parameter of a block.
    fn kept(&self, graph: &Graph, node: &Node) -> Vec<bool> {
        let params =
            |i: usize| node.blocks.iter().any(|&b| graph.block(b).params.get(i).is_some_and(|&v| self.is(v)));
        (0..node.outputs.len()).map(|i| self.is(node.outputs[i]) || params(i)).collect()
    }
}

impl Visitor for Live {
    fn visit(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Outcome> {
        let old = rewrite.old;
        let node = old.node(id);
        let mut note = |values: &[ValueId]| {
            let values: Vec<String> = values.iter().map(|&v| old.label(v)).collect();
            rewrite
                .changes
                .push(format!("{} = {} is not needed", values.join(", "), node.kind.word()).into());
        };
        if !self.nodes[id.0 as usize] {
            note(&node.outputs);
            return Ok(Outcome::Drop);
        }
        if matches!(node.kind, NodeKind::If | NodeKind::While) {
            let kept = self.kept(rewrite.old, node);
            let unread: Vec<ValueId> =
                node.outputs.iter().zip(&kept).filter(|(_, kept)| !**kept).map(|(&v, _)| v).collect();
            if !unread.is_empty() {
                note(&unread);
                return Ok(Outcome::KeepSome(kept));
            }
        }
        Ok(Outcome::Keep)
    }
}
