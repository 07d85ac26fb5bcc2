//! A loop whose turns can be counted before the graph runs, and are few, becomes straight code; one that makes no turn
//! disappears whatever its size. A counter is whatever the condition needs that is computed from constants: host integers,
//! tensors of rank 0, a product that doubles.
//!
//! The turns are copies of the body in order, so no number changes. A condition is left out with the loop, unless it does
//! more than compute.

use super::known::{Known, Turns};
use super::{Record, moves};
use crate::ir::{BlockId, Graph, HostEffect, NodeId, NodeKind, ValueId};
use crate::options::Options;
use crate::rewrite::{Outcome, Rewrite, Visitor, keep_apart, rewrite};
use runtime::error::Result;

pub(super) fn run(graph: &Graph, options: &Options, record: &mut Record) -> Result<Graph> {
    let mut unroll =
        Unroll { known: Known::default(), turns: options.unroll_turns, nodes: options.unroll_nodes };
    let (next, changes) = rewrite(graph, &mut unroll)?;
    record.changes = changes;
    keep_apart(graph, next)
}

struct Unroll {
    /// What is known of the new graph, so that inner loops see the turn of the outer one.
    known: Known,
    turns: usize,
    /// Nodes that may still be added.
    nodes: usize,
}

impl Visitor for Unroll {
    fn visit(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Outcome> {
        let old = rewrite.old;
        let node = old.node(id);
        // A tensor that goes on as a stack would have another type in each turn.
        if !matches!(node.kind, NodeKind::While) || !moves::keeps_types(old, node) {
            return Ok(Outcome::Keep);
        }
        let (graph, map) = (rewrite.new.graph(), &rewrite.map);
        let mut outer = |v: ValueId| self.known.item(graph, map.find(v)?);
        let Some(turns) = Turns::new(old, node).count(self.turns, &mut outer) else {
            return Ok(Outcome::Keep);
        };
        let (test, body) = (node.blocks[0], node.blocks[1]);
        let acts = old.block(test).nodes.iter().any(|&n| moves::effect(old, n) != HostEffect::None);
        let more = turns.saturating_sub(1) * (size(old, body) + if acts { size(old, test) } else { 0 });
        if more > self.nodes {
            let why = format!(
                "{turns} turns of {} nodes are not unrolled: {} more are allowed",
                size(old, body),
                self.nodes
            );
            rewrite.changes.push(why.into());
            return Ok(Outcome::Keep);
        }
        self.nodes -= more;
        rewrite.changes.push(format!("a loop of {turns} turns is straight code").into());
        let mut carried = node.reads().map(|v| rewrite.map.get(v)).collect::<Result<Vec<_>>>()?;
        let enter = |rewrite: &mut Rewrite, block: BlockId, carried: &[ValueId]| {
            old.block(block).params.iter().zip(carried).for_each(|(&p, &v)| rewrite.map.set(p, v));
        };
        for turn in 0..=turns {
            if acts {
                enter(rewrite, test, &carried);
                rewrite.nodes(test, self)?;
            }
            if turn < turns {
                enter(rewrite, body, &carried);
                carried = rewrite.straight(body, self)?;
            }
        }
        Ok(Outcome::Replaced(carried))
    }
}

/// Nodes of a block and of the blocks in it.
fn size(graph: &Graph, block: BlockId) -> usize {
    let inner = |&n: &NodeId| 1 + graph.node(n).blocks.iter().map(|&b| size(graph, b)).sum::<usize>();
    graph.block(block).nodes.iter().map(inner).sum()
}
