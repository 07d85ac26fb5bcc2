//! How passes make the next graph: node by node, through the builder, nested blocks included.
//!
//! A visitor says for each node whether it is kept, replaced by values of the new graph, or left out. What a node reads
//! has been rewritten before it is visited.

use crate::build::{Builder, ValueMap};
use crate::ir::{BlockId, Graph, NodeId, NodeKind, Type, ValueId};
use runtime::error::Result;

/// What becomes of a node.
pub enum Outcome {
    /// It is copied.
    Keep,
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
    pub changes: Vec<String>,
}

/// Decides what becomes of each node.
pub trait Visitor {
    /// What becomes of this node of the old graph.
    fn visit(&mut self, rewrite: &mut Rewrite, node: NodeId) -> Result<Outcome>;
    /// A nested block begins.
    fn enter(&mut self) {}
    /// It ends.
    fn leave(&mut self) {}
}

/// The graph that a visitor makes of another, and what it changed.
pub fn rewrite(old: &Graph, visitor: &mut dyn Visitor) -> Result<(Graph, Vec<String>)> {
    let (new, map) = Builder::like(old);
    let mut rewrite = Rewrite { old, new, map, changes: Vec::new() };
    rewrite.nodes(old.body, visitor)?;
    let Rewrite { new, map, changes, .. } = rewrite;
    Ok((new.finish_like(old, &map)?, changes))
}

impl Rewrite<'_> {
    fn nodes(&mut self, block: BlockId, visitor: &mut dyn Visitor) -> Result<()> {
        let old = self.old;
        for &id in &old.block(block).nodes {
            match visitor.visit(self, id)? {
                Outcome::Keep => self.keep(id, visitor)?,
                Outcome::Replaced(values) => {
                    old.node(id).outputs.iter().zip(values).for_each(|(&o, v)| self.map.set(o, v));
                }
                Outcome::Drop => {}
            }
        }
        Ok(())
    }

    fn keep(&mut self, id: NodeId, visitor: &mut dyn Visitor) -> Result<()> {
        let old = self.old;
        let node = old.node(id);
        if !matches!(node.kind, NodeKind::If | NodeKind::While) {
            return self.new.copy(old, id, &mut self.map).map(|_| ());
        }
        let operands = node.operands.iter().map(|o| self.map.operand(o)).collect::<Result<_>>()?;
        let mut blocks = Vec::with_capacity(node.blocks.len());
        for &block in &node.blocks {
            visitor.enter();
            let new = self.open_like(block);
            self.nodes(block, visitor)?;
            let results = old.block(block).results.iter().map(|&v| self.map.get(v)).collect::<Result<_>>()?;
            self.new.end(results);
            blocks.push(new);
            visitor.leave();
        }
        let types: Vec<Type> = node.outputs.iter().map(|&v| old.ty(v).clone()).collect();
        let made = self.new.node(node.kind.clone(), operands, blocks, &types, node.origin);
        let outputs = self.new.outputs(made).to_vec();
        for (&from, to) in node.outputs.iter().zip(outputs) {
            self.new.rename(to, &old.value(from).name.clone());
            self.map.set(from, to);
        }
        Ok(())
    }

    /// Opens a block with the parameters of an old one.
    fn open_like(&mut self, block: BlockId) -> BlockId {
        let old = self.old;
        let params = &old.block(block).params;
        let types: Vec<Type> = params.iter().map(|&v| old.ty(v).clone()).collect();
        let new = self.new.begin(&types);
        let made = self.new.graph().block(new).params.clone();
        for (&from, to) in params.iter().zip(made) {
            self.new.rename(to, &old.value(from).name.clone());
            self.map.set(from, to);
        }
        new
    }
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
