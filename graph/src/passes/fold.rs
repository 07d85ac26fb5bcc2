//! What is computed from constants alone is computed now, by the kernels that would compute it later.

use super::Record;
use crate::ir::{Graph, NodeId, NodeKind, Operand, ValueId};
use crate::rewrite::{Outcome, Rewrite, Visitor, rewrite};
use runtime::error::Result;
use runtime::run;
use runtime::table::Effect;
use runtime::tensor::Tensor;
use runtime::value::Arg;
use std::collections::HashMap;

/// A result may have this many elements, or as many as the constants that it is made of: folding must not make a graph
/// hold what it could make from nothing.
const SMALL: usize = 64;

pub(super) fn run(graph: &Graph, record: &mut Record) -> Result<Graph> {
    let (next, changes) = rewrite(graph, &mut Fold { constants: HashMap::new() })?;
    record.changes = changes;
    Ok(next)
}

/// The constants so far, by their old values.
struct Fold {
    constants: HashMap<ValueId, Tensor>,
}

impl Visitor for Fold {
    fn visit(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Outcome> {
        let node = rewrite.old.node(id);
        if let NodeKind::Constant(tensor) = &node.kind {
            self.constants.insert(node.outputs[0], tensor.clone());
        }
        let Some(op) = node.op() else { return Ok(Outcome::Keep) };
        let foldable = match op.effect {
            Effect::Pure | Effect::View(_) => true,
            Effect::Random | Effect::Read | Effect::Write => false,
        };
        // An op without tensors makes its elements from nothing wherever it is fused into.
        if !foldable
            || node.reads().next().is_none()
            || !node.reads().all(|v| self.constants.contains_key(&v))
        {
            return Ok(Outcome::Keep);
        }
        let given: usize = node.reads().map(|v| self.constants[&v].numel()).sum();
        let size = |v: &ValueId| rewrite.old.ty(*v).tensor().and_then(|t| t.numel().known());
        let made = node.outputs.iter().map(size).sum::<Option<usize>>();
        if made.is_none_or(|made| made > given.max(SMALL)) {
            return Ok(Outcome::Keep);
        }
        let lists: Vec<Vec<Tensor>> = node
            .operands
            .iter()
            .map(|operand| operand.values().iter().map(|v| self.constants[v].clone()).collect())
            .collect();
        let args: Vec<Arg> = node
            .operands
            .iter()
            .zip(&lists)
            .map(|(operand, list)| match operand {
                Operand::Value(_) => Arg::Tensor(&list[0]),
                Operand::Values(_) => Arg::Tensors(list),
                Operand::Host(h) => h.as_arg(),
            })
            .collect();
        // An op that fails keeps its place: it has to fail when the graph runs, where its line is known.
        let Ok(outputs) = run::run(op, &args) else { return Ok(Outcome::Keep) };
        rewrite.changes.push(format!("%{} = {} of constants", node.outputs[0].0, op.name));
        self.constants.extend(node.outputs.iter().copied().zip(outputs.iter().cloned()));
        Ok(Outcome::Replaced(outputs.into_iter().map(|t| rewrite.new.constant(t, node.origin)).collect()))
    }
}
