//! Leaves out what no result needs. Results that are new state count as needed; so do calls, whose inside may have
//! effects, and writes.

use super::Record;
use crate::ir::{BlockId, Graph, HostEffect, NodeId, NodeKind};
use crate::rewrite::{Outcome, Rewrite, Visitor, rewrite};
use runtime::error::Result;
use runtime::table::Effect;

pub(super) fn run(graph: &Graph, record: &mut Record) -> Result<Graph> {
    let mut live = Live { nodes: vec![false; graph.node_count()], values: vec![false; graph.value_count()] };
    live.block(graph, graph.body);
    let (next, changes) = rewrite(graph, &mut live)?;
    record.changes = changes;
    Ok(next)
}

struct Live {
    nodes: Vec<bool>,
    values: Vec<bool>,
}

impl Live {
    /// Marks from the end of a block, since users stand after what they use.
    fn block(&mut self, graph: &Graph, block: BlockId) {
        let block = graph.block(block);
        block.results.iter().for_each(|v| self.values[v.0 as usize] = true);
        for &id in block.nodes.iter().rev() {
            let node = graph.node(id);
            if !acts(graph, id) && !node.outputs.iter().any(|v| self.values[v.0 as usize]) {
                continue;
            }
            self.nodes[id.0 as usize] = true;
            node.reads().for_each(|v| self.values[v.0 as usize] = true);
            for &inner in &node.blocks {
                self.block(graph, inner);
            }
        }
    }
}

/// Whether a node does more than compute its outputs.
fn acts(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    match &node.kind {
        NodeKind::Call(_) => true,
        NodeKind::Op(op) => op.effect == Effect::Write,
        NodeKind::If | NodeKind::While => {
            node.blocks.iter().flat_map(|&b| &graph.block(b).nodes).any(|&inner| acts(graph, inner))
        }
        NodeKind::Host(call) => {
            call.effect() == HostEffect::Ordered
                || node.blocks.iter().flat_map(|&b| &graph.block(b).nodes).any(|&inner| acts(graph, inner))
        }
        NodeKind::Constant(_) | NodeKind::Fused | NodeKind::HostOp(_) => false,
    }
}

impl Visitor for Live {
    fn visit(&mut self, rewrite: &mut Rewrite, node: NodeId) -> Result<Outcome> {
        if self.nodes[node.0 as usize] {
            return Ok(Outcome::Keep);
        }
        let dropped = rewrite.old.node(node);
        let outputs: Vec<String> = dropped.outputs.iter().map(|v| format!("%{}", v.0)).collect();
        rewrite.changes.push(format!("{} = {} is not needed", outputs.join(", "), dropped.kind.word()));
        Ok(Outcome::Drop)
    }
}
