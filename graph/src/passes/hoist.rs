//! What both sides of an `if` compute alike is computed once, before it.
//!
//! One side runs, so nothing is computed that would not be. What may fail moves too: it would fail on either side, and of
//! two failures another may be told first. Only a side that acts before it holds it back, since the act would be missing.
//! Draws are never merged, and what has an effect stays where it is.

use super::Record;
use super::cse::{Key, key};
use super::moves::{effect, is_harmless, is_movable};
use crate::ir::{BlockId, Graph, HostEffect, NodeId, NodeKind, ValueId};
use crate::options::Options;
use crate::rewrite::{Outcome, Rewrite, Visitor, keep_apart, rewrite};
use runtime::error::Result;
use std::collections::{HashMap, HashSet};

pub(super) fn run(graph: &Graph, _: &Options, record: &mut Record) -> Result<Graph> {
    let mut hoist = Hoist { order: HashMap::new(), twins: HashMap::new(), same: HashMap::new() };
    hoist.block(graph, graph.body)?;
    let (next, changes) = rewrite(graph, &mut hoist)?;
    record.changes = changes;
    keep_apart(graph, next)
}

#[derive(Default)]
struct Hoist {
    /// The nodes that stand in each block when all is moved.
    order: HashMap<BlockId, Vec<NodeId>>,
    /// For a moved node of a first side those of second sides that it stands for.
    twins: HashMap<NodeId, Vec<NodeId>>,
    /// Their outputs, as its.
    same: HashMap<ValueId, ValueId>,
}

impl Hoist {
    /// Inner nodes first: what leaves an inner `if` may leave the outer one too.
    fn block(&mut self, graph: &Graph, block: BlockId) -> Result<()> {
        let mut order = Vec::new();
        for &id in &graph.block(block).nodes {
            let node = graph.node(id);
            node.blocks.iter().try_for_each(|&inner| self.block(graph, inner))?;
            if let (NodeKind::If, &[first, second]) = (&node.kind, node.blocks.as_slice()) {
                self.pull(graph, first, second, &mut order)?;
            }
            order.push(id);
        }
        self.order.insert(block, order);
        Ok(())
    }

    /// Moves what two blocks have in common to the end of `order`, until they have nothing in common.
    fn pull(
        &mut self,
        graph: &Graph,
        first: BlockId,
        second: BlockId,
        order: &mut Vec<NodeId>,
    ) -> Result<()> {
        loop {
            let theirs: HashMap<Key, NodeId> =
                self.candidates(graph, second)?.into_iter().map(|(id, key)| (key, id)).collect();
            let mut taken = HashSet::new();
            for (id, key) in self.candidates(graph, first)? {
                let Some(&twin) = theirs.get(&key) else { continue };
                if !taken.insert(twin) {
                    continue;
                }
                taken.insert(id);
                order.push(id);
                let mut twins = self.twins.remove(&twin).unwrap_or_default();
                twins.push(twin);
                self.twins.entry(id).or_default().extend(twins);
                let outputs = graph.node(twin).outputs.iter().copied();
                self.same.extend(outputs.zip(graph.node(id).outputs.iter().copied()));
            }
            if taken.is_empty() {
                return Ok(());
            }
            for block in [first, second] {
                if let Some(list) = self.order.get_mut(&block) {
                    list.retain(|id| !taken.contains(id));
                }
            }
        }
    }

    /// The nodes of a block that could stand before it, with what they compute.
    fn candidates(&self, graph: &Graph, block: BlockId) -> Result<Vec<(NodeId, Key)>> {
        let find = |mut v: ValueId| {
            while let Some(&same) = self.same.get(&v) {
                v = same;
            }
            v
        };
        let list = &self.order[&block];
        let mut inside: HashSet<ValueId> = HashSet::new();
        let mut acted = false;
        let mut out = Vec::new();
        for &id in list {
            let node = graph.node(id);
            let ready = node.reads().all(|v| !inside.contains(&find(v)));
            if ready
                && is_movable(graph, node)
                && (!acted || is_harmless(graph, node))
                && let Some(key) = key(node, || Ok(node.operands.iter().map(|o| o.map(find)).collect()))?
            {
                out.push((id, key));
            }
            acted |= effect(graph, id) == HostEffect::Ordered;
            inside.extend(&node.outputs);
        }
        Ok(out)
    }
}

impl Visitor for Hoist {
    fn visit(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Outcome> {
        let Some(twins) = self.twins.get(&id) else { return Ok(Outcome::Keep) };
        let old = rewrite.old;
        let node = old.node(id);
        rewrite.new.copy(old, id, &mut rewrite.map)?;
        let made = node.outputs.iter().map(|&v| rewrite.map.get(v)).collect::<Result<Vec<_>>>()?;
        for &twin in twins {
            old.node(twin).outputs.iter().zip(&made).for_each(|(&v, &new)| rewrite.map.set(v, new));
        }
        let value = node.outputs.first().map_or(String::new(), |&v| rewrite.old.label(v));
        rewrite.changes.push(format!("{value} = {} is on both sides", node.kind.word()).into());
        Ok(Outcome::Replaced(made))
    }

    fn order(&self, old: &Graph, block: BlockId) -> Vec<NodeId> {
        self.order.get(&block).unwrap_or(&old.block(block).nodes).clone()
    }
}
