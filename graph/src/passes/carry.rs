//! A value that goes through an `if` or a `while` unchanged is the value that went in: an output that both sides of an `if`
//! give alike, and a carried value that every turn gives back as it was. It leaves the node, and the blocks read the value
//! of the outer scope, where the other passes see what it is.

use super::Record;
use crate::ir::{BlockId, Graph, NodeId, NodeKind, ValueId};
use crate::options::Options;
use crate::rewrite::{Outcome, Rewrite, Visitor, keep_apart, rewrite};
use runtime::error::{Error, Result};
use std::collections::HashMap;

pub(super) fn run(graph: &Graph, _: &Options, record: &mut Record) -> Result<Graph> {
    let mut carry = Carry { same: HashMap::new() };
    carry.block(graph, graph.body);
    let (next, changes) = rewrite(graph, &mut carry)?;
    record.changes = changes;
    keep_apart(graph, next)
}

struct Carry {
    /// Outputs and parameters, and the value from before the node that each of them always is.
    same: HashMap<ValueId, ValueId>,
}

impl Carry {
    fn find(&self, mut value: ValueId) -> ValueId {
        while let Some(&before) = self.same.get(&value) {
            value = before;
        }
        value
    }

    /// Inner nodes first: what they leave alone, the outer one may leave alone too.
    fn block(&mut self, graph: &Graph, block: BlockId) {
        for &id in &graph.block(block).nodes {
            let node = graph.node(id);
            node.blocks.iter().for_each(|&inner| self.block(graph, inner));
            let [first, second] = node.blocks.as_slice() else { continue };
            let (first, second) = (graph.block(*first), graph.block(*second));
            match node.kind {
                NodeKind::If => {
                    for (k, &output) in node.outputs.iter().enumerate() {
                        let given = self.find(first.results[k]);
                        let same_type = graph.ty(given) == graph.ty(output);
                        if same_type && given == self.find(second.results[k]) {
                            self.same.insert(output, given);
                        }
                    }
                }
                NodeKind::While => {
                    let init: Vec<ValueId> = node.reads().map(|v| self.find(v)).collect();
                    // One that never changes may be what another is set to in each turn.
                    let mut found = true;
                    while std::mem::take(&mut found) {
                        for (k, &init) in init.iter().enumerate() {
                            let given = self.find(second.results[k]);
                            let same_type = graph.ty(init) == graph.ty(second.params[k]);
                            let stays = same_type && (given == second.params[k] || given == init);
                            if stays && !self.same.contains_key(&node.outputs[k]) {
                                for value in [first.params[k], second.params[k], node.outputs[k]] {
                                    self.same.insert(value, init);
                                }
                                found = true;
                            }
                        }
                    }
                }
                NodeKind::Op(_)
                | NodeKind::Constant(_)
                | NodeKind::Fused
                | NodeKind::Call(_)
                | NodeKind::HostOp(_)
                | NodeKind::Host(_) => {}
            }
        }
    }
}

impl Visitor for Carry {
    fn visit(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Outcome> {
        let old = rewrite.old;
        let node = old.node(id);
        let kept: Vec<bool> = node.outputs.iter().map(|v| !self.same.contains_key(v)).collect();
        if kept.iter().all(|&k| k) {
            return Ok(Outcome::Keep);
        }
        let params = node.blocks.iter().flat_map(|&b| &old.block(b).params);
        for &value in node.outputs.iter().chain(params) {
            if self.same.contains_key(&value) {
                let before = self.find(value);
                let new = rewrite.map.find(before).ok_or_else(|| {
                    Error::internal(format!("%{} is not visible where %{} is", before.0, value.0))
                })?;
                rewrite.map.set(value, new);
            }
        }
        for (&output, _) in node.outputs.iter().zip(&kept).filter(|(_, kept)| !**kept) {
            let word = node.kind.word();
            rewrite.changes.push(
                format!(
                    "{} goes through the {word} unchanged: {}",
                    old.label(output),
                    old.label(self.find(output))
                )
                .into(),
            );
        }
        Ok(Outcome::KeepSome(kept))
    }
}
