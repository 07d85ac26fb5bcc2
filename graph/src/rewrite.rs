//! How passes make the next graph: node by node, through the builder, nested blocks included.
//!
//! A visitor says for each node whether it is kept, replaced by values of the new graph, or left out. What a node reads
//! has been rewritten before it is visited.

use crate::build::{Builder, ValueMap};
use crate::ir::{BlockId, Graph, NodeId, NodeKind, Operand, Type, ValueId};
use runtime::error::{Origin, Result};
use std::fmt;

/// What becomes of a node.
pub enum Outcome {
    /// It is copied.
    Keep,
    /// An `if` or a `while` is copied with these outputs (and carried values) alone. Where the values stand that are left out
    /// and still read, its outputs and the parameters of its blocks, the visitor has said in the map.
    KeepSome(Vec<bool>),
    /// These values of the new graph stand for its outputs.
    Replaced(Vec<ValueId>),
    /// Nobody needs it.
    Drop,
}

/// A graph that is being rewritten.
pub struct Rewrite<'g> {
    /// The graph that is read.
    pub old: &'g Graph,
    /// The graph that grows.
    pub new: Builder,
    /// Where the old values are.
    pub map: ValueMap,
    /// What was changed, for the log.
    pub changes: Vec<Change>,
}

/// One thing that a pass changed.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// What: a rule and what it was applied to.
    pub what: String,
    /// The line of source of the node that changed.
    pub origin: Option<Origin>,
}

impl From<String> for Change {
    /// A change of the node that is being visited.
    fn from(what: String) -> Change {
        Change { what, origin: None }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Some(origin) => write!(f, "{}  # {}:{}", self.what, origin.file(), origin.line()),
            None => f.write_str(&self.what),
        }
    }
}

/// Decides what becomes of each node.
pub trait Visitor {
    /// What becomes of this node of the old graph.
    fn visit(&mut self, rewrite: &mut Rewrite, node: NodeId) -> Result<Outcome>;
    /// A nested block begins: block `which` of a node whose operands are rewritten.
    fn enter(&mut self, _rewrite: &mut Rewrite, _node: NodeId, _which: usize) -> Result<()> {
        Ok(())
    }
    /// It ends.
    fn leave(&mut self) {}
    /// The nodes that stand in a block, where a visitor moves some to other blocks.
    fn order(&self, old: &Graph, block: BlockId) -> Vec<NodeId> {
        old.block(block).nodes.clone()
    }
}

/// The graph that a visitor makes of another, and what it changed.
pub fn rewrite(old: &Graph, visitor: &mut dyn Visitor) -> Result<(Graph, Vec<Change>)> {
    let (new, map) = Builder::like(old);
    let mut rewrite = Rewrite { old, new, map, changes: Vec::new() };
    rewrite.nodes(old.body, visitor)?;
    let Rewrite { new, map, changes, .. } = rewrite;
    Ok((new.finish_like(old, &map)?, changes))
}

impl Rewrite<'_> {
    /// Visits the nodes of an old block; what becomes of them stands in the open block of the new graph.
    pub fn nodes(&mut self, block: BlockId, visitor: &mut dyn Visitor) -> Result<()> {
        let order = visitor.order(self.old, block);
        self.list(&order, visitor)
    }

    /// Visits these old nodes.
    pub fn list(&mut self, nodes: &[NodeId], visitor: &mut dyn Visitor) -> Result<()> {
        let old = self.old;
        for &id in nodes {
            let known = self.changes.len();
            let outcome = visitor.visit(self, id)?;
            let new = self.changes.iter_mut().skip(known).filter(|c| c.origin.is_none());
            new.for_each(|c| c.origin = old.node(id).origin);
            match outcome {
                Outcome::Keep => self.keep(id, visitor, None)?,
                Outcome::KeepSome(kept) => self.keep(id, visitor, Some(&kept))?,
                Outcome::Replaced(values) => {
                    old.node(id).outputs.iter().zip(values).for_each(|(&o, v)| self.map.set(o, v));
                }
                Outcome::Drop => {}
            }
        }
        Ok(())
    }

    /// Like `nodes`, and where the block's results are: a block that takes the place of the node that held it.
    pub fn straight(&mut self, block: BlockId, visitor: &mut dyn Visitor) -> Result<Vec<ValueId>> {
        self.nodes(block, visitor)?;
        self.old.block(block).results.iter().map(|&v| self.map.get(v)).collect()
    }

    fn keep(&mut self, id: NodeId, visitor: &mut dyn Visitor, kept: Option<&[bool]>) -> Result<()> {
        let old = self.old;
        let node = old.node(id);
        if !matches!(node.kind, NodeKind::If | NodeKind::While) {
            return self.new.copy(old, id, &mut self.map).map(|_| ());
        }
        let stays = |i: usize| kept.is_none_or(|kept| kept[i]);
        let carries = matches!(node.kind, NodeKind::While);
        let operands = (node.operands.iter().enumerate())
            .filter(|(i, _)| !carries || stays(*i))
            .map(|(_, o)| self.map.operand(o))
            .collect::<Result<_>>()?;
        let mut blocks = Vec::with_capacity(node.blocks.len());
        for (which, &block) in node.blocks.iter().enumerate() {
            visitor.enter(self, id, which)?;
            let new = self.open_like(block, &stays);
            self.nodes(block, visitor)?;
            let asked = carries && which == 0;
            let results = (old.block(block).results.iter().enumerate())
                .filter(|(i, _)| asked || stays(*i))
                .map(|(_, &v)| self.map.get(v))
                .collect::<Result<_>>()?;
            self.new.end(results);
            blocks.push(new);
            visitor.leave();
        }
        let outputs: Vec<ValueId> =
            (node.outputs.iter().enumerate()).filter(|(i, _)| stays(*i)).map(|(_, &v)| v).collect();
        let types: Vec<Type> = outputs.iter().map(|&v| old.ty(v).clone()).collect();
        let made = self.new.node(node.kind.clone(), operands, blocks, &types, node.origin);
        let made = self.new.outputs(made).to_vec();
        for (from, to) in outputs.into_iter().zip(made) {
            self.new.rename(to, &old.value(from).name.clone());
            self.map.set(from, to);
        }
        Ok(())
    }

    /// Opens a block with those parameters of an old one that stay.
    fn open_like(&mut self, block: BlockId, stays: &dyn Fn(usize) -> bool) -> BlockId {
        let old = self.old;
        let params: Vec<ValueId> = (old.block(block).params.iter().enumerate())
            .filter(|(i, _)| stays(*i))
            .map(|(_, &v)| v)
            .collect();
        let types: Vec<Type> = params.iter().map(|&v| old.ty(v).clone()).collect();
        let new = self.new.begin(&types);
        let made = self.new.graph().block(new).params.clone();
        for (from, to) in params.into_iter().zip(made) {
            self.new.rename(to, &old.value(from).name.clone());
            self.map.set(from, to);
        }
        new
    }
}

/// A result that was a tensor of its own stays one: where a pass has found that it is (a view of) an input or of another
/// result, it is copied, since the caller may write into one of them and not expect to see it in the other.
pub fn keep_apart(old: &Graph, new: Graph) -> Result<Graph> {
    let returned = old.returned();
    let bases = |graph: &Graph| {
        let made = makers(graph);
        returned.iter().map(|&r| view_base(graph, &made, graph.results()[r])).collect::<Vec<_>>()
    };
    let shares = |graph: &Graph, bases: &[ValueId], i: usize| {
        graph.params().contains(&bases[i]) || bases[..i].contains(&bases[i])
    };
    let (before, after) = (bases(old), bases(&new));
    let copied: Vec<usize> = (0..returned.len())
        .filter(|&i| shares(&new, &after, i) && !shares(old, &before, i))
        .map(|i| returned[i])
        .filter(|&r| new.ty(new.results()[r]).tensor().is_some())
        .collect();
    if copied.is_empty() {
        return Ok(new);
    }
    let (mut results, write_backs) = (new.results().to_vec(), new.write_backs.clone());
    let mut builder = Builder::resume(new);
    for r in copied {
        results[r] = builder.op1(&runtime::ops::CLONE, vec![Operand::Value(results[r])], None)?;
    }
    Ok(builder.finish(results, write_backs))
}

/// The value that a chain of view nodes starts from.
pub fn view_base(graph: &Graph, made_by: &[Option<NodeId>], mut value: ValueId) -> ValueId {
    while let Some(node) = made_by.get(value.0 as usize).copied().flatten()
        && let Some(op) = graph.node(node).op()
        && let runtime::table::Effect::View(operand) = op.effect
        && let Some(base) = graph.node(node).operands.get(operand).and_then(|o| o.values().first().copied())
    {
        value = base;
    }
    value
}

/// For each value the node that makes it; `None` for inputs and block parameters.
pub fn makers(graph: &Graph) -> Vec<Option<NodeId>> {
    let mut made = vec![None; graph.value_count()];
    for id in graph.walk() {
        graph.node(id).outputs.iter().for_each(|v| made[v.0 as usize] = Some(id));
    }
    made
}
