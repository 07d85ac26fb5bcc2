//! What is computed from constants alone is computed now, by the kernels that would compute it later.
//!
//! Host numbers are constants like tensors: arithmetic on them becomes a literal, and an op that is given one has it as an
//! attribute, where that leaves the types of its outputs as they are.

use super::Record;
use crate::build::infer_op;
use crate::host::{self, Item};
use crate::interpret::Operands;
use crate::ir::{Graph, Node, NodeId, NodeKind, Operand, Type, ValueId};
use crate::options::Options;
use crate::rewrite::{Outcome, Rewrite, Visitor, rewrite};
use runtime::error::Result;
use runtime::run;
use runtime::table::{Effect, OpDef};
use runtime::value::Host;
use std::collections::HashMap;

/// A result may have this many elements, or as many as the constants that it is made of: folding must not make a graph
/// hold what it could make from nothing.
const SMALL: usize = 64;

pub(super) fn run(graph: &Graph, _: &Options, record: &mut Record) -> Result<Graph> {
    let (next, changes) = rewrite(graph, &mut Fold { constants: HashMap::new() })?;
    record.changes = changes;
    Ok(next)
}

/// The constants so far, by their old values.
struct Fold {
    constants: HashMap<ValueId, Item>,
}

impl Visitor for Fold {
    fn visit(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Outcome> {
        let node = rewrite.old.node(id);
        match &node.kind {
            NodeKind::Constant(tensor) => {
                self.constants.insert(node.outputs[0], Item::Tensor(tensor.clone()));
                Ok(Outcome::Keep)
            }
            NodeKind::HostOp(op) => self.host_op(rewrite, node, op),
            NodeKind::Op(op) => match op.effect {
                Effect::Pure | Effect::View(_) => self.op(rewrite, id, op),
                Effect::Random | Effect::Read | Effect::Write => Ok(Outcome::Keep),
            },
            NodeKind::Fused | NodeKind::If | NodeKind::While | NodeKind::Call(_) | NodeKind::Host(_) => {
                Ok(Outcome::Keep)
            }
        }
    }
}

impl Fold {
    /// Numbers and truths alone: a list of tensors is no constant of the host.
    fn host_op(&mut self, rewrite: &mut Rewrite, node: &Node, op: &'static host::HostOp) -> Result<Outcome> {
        let mut items = Vec::with_capacity(node.operands.len());
        for operand in &node.operands {
            match operand {
                Operand::Host(h) => items.push(Item::Host(h.clone())),
                Operand::Value(_) | Operand::Values(_) => {
                    for v in operand.values() {
                        let Some(item) = self.constants.get(v) else { return Ok(Outcome::Keep) };
                        items.push(item.clone());
                    }
                }
            }
        }
        // What fails keeps its place, as below.
        let Ok(Item::Host(number @ Host::Scalar(_))) = (op.run)(&items) else { return Ok(Outcome::Keep) };
        let literal =
            host::find("host.literal").filter(|_| host::type_of(&number) == *rewrite.old.ty(node.outputs[0]));
        self.constants.insert(node.outputs[0], Item::Host(number.clone()));
        match literal {
            Some(literal) if op.name != literal.name => {
                rewrite.changes.push(
                    format!("{} = {} of constants", rewrite.old.label(node.outputs[0]), op.name).into(),
                );
                let value = rewrite.new.host_op(literal, vec![Operand::Host(number)], node.origin)?;
                Ok(Outcome::Replaced(vec![value]))
            }
            Some(_) | None => Ok(Outcome::Keep),
        }
    }

    fn op(&mut self, rewrite: &mut Rewrite, id: NodeId, op: &'static OpDef) -> Result<Outcome> {
        let node = rewrite.old.node(id);
        if let Some(values) = self.with_numbers(rewrite, id, op)? {
            return Ok(Outcome::Replaced(values));
        }
        // An op without tensors makes its elements from nothing wherever it is fused into.
        if node.reads().next().is_none() {
            return Ok(Outcome::Keep);
        }
        let mut given = 0;
        for value in node.reads() {
            match self.constants.get(&value) {
                Some(Item::Tensor(tensor)) => given += tensor.numel(),
                Some(_) => {}
                None => return Ok(Outcome::Keep),
            }
        }
        let size = |v: &ValueId| rewrite.old.ty(*v).tensor().and_then(|t| t.numel().known());
        let made = node.outputs.iter().map(size).sum::<Option<usize>>();
        if made.is_none_or(|made| made > given.max(SMALL)) {
            return Ok(Outcome::Keep);
        }
        let operands = Operands::of(&node.operands, |v| Ok(self.constants[&v].clone()))?;
        // An op that fails keeps its place: it has to fail when the graph runs, where its line is known.
        let Ok(outputs) = run::run(op, &operands.args()) else { return Ok(Outcome::Keep) };
        rewrite
            .changes
            .push(format!("{} = {} of constants", rewrite.old.label(node.outputs[0]), op.name).into());
        let items = outputs.iter().cloned().map(Item::Tensor);
        self.constants.extend(node.outputs.iter().copied().zip(items));
        Ok(Outcome::Replaced(outputs.into_iter().map(|t| rewrite.new.constant(t, node.origin)).collect()))
    }

    /// The op with the host numbers that are known as attributes.
    fn with_numbers(
        &self,
        rewrite: &mut Rewrite,
        id: NodeId,
        op: &'static OpDef,
    ) -> Result<Option<Vec<ValueId>>> {
        let node = rewrite.old.node(id);
        let number = |operand: &Operand| match operand {
            Operand::Value(v) => match self.constants.get(v) {
                Some(Item::Host(h)) => Some(h.clone()),
                Some(_) | None => None,
            },
            Operand::Values(_) | Operand::Host(_) => None,
        };
        if !node.operands.iter().any(|o| number(o).is_some()) {
            return Ok(None);
        }
        let mut operands = Vec::with_capacity(node.operands.len());
        for operand in &node.operands {
            operands.push(match number(operand) {
                Some(h) => Operand::Host(h),
                None => rewrite.map.operand(operand)?,
            });
        }
        let same = |types: &[runtime::infer::TensorType]| {
            types.len() == node.outputs.len()
                && types
                    .iter()
                    .zip(&node.outputs)
                    .all(|(t, &v)| Type::Tensor(t.clone()) == *rewrite.old.ty(v))
        };
        let dynamic =
            operands.iter().flat_map(Operand::values).any(|&v| rewrite.new.graph().ty(v).tensor().is_none());
        if !dynamic && !infer_op(rewrite.new.graph(), op, &operands).is_ok_and(|types| same(&types)) {
            return Ok(None);
        }
        rewrite.changes.push(format!("{} is given numbers", op.name).into());
        let made = rewrite.new.copy_with(rewrite.old, id, operands, &mut rewrite.map)?;
        Ok(Some(rewrite.new.outputs(made).to_vec()))
    }
}
