//! Applies the laws of `rules` until none applies.
//!
//! Each node is simplified when it is made, from simplified operands; what a law makes is simplified in its turn, which ends
//! because every law makes a term smaller. A result of the graph is never replaced by a value that somebody else holds (an
//! input, another result): the caller may write into one of them and not expect to see it in the other.

use super::rules::{self, Context, Law, Replacement, Rule, Term, When};
use super::{Class, Record};
use crate::build::infer_op;
use crate::ir::{Graph, NodeId, NodeKind, Operand, ValueId};
use crate::options::Options;
use crate::rewrite::{Outcome, Rewrite, Visitor, makers, rewrite, view_base};
use runtime::error::{Origin, Result};
use runtime::infer::TensorType;
use std::collections::{HashMap, HashSet};

pub(super) fn bitwise(graph: &Graph, _: &Options, record: &mut Record) -> Result<Graph> {
    run(graph, record, Class::Bitwise)
}

pub(super) fn reassociating(graph: &Graph, _: &Options, record: &mut Record) -> Result<Graph> {
    run(graph, record, Class::Reassociating)
}

pub(super) fn approximating(graph: &Graph, _: &Options, record: &mut Record) -> Result<Graph> {
    run(graph, record, Class::Approximating)
}

fn run(graph: &Graph, record: &mut Record, class: Class) -> Result<Graph> {
    let made = makers(graph);
    let leaving = graph.returned().into_iter().map(|r| view_base(graph, &made, graph.results()[r])).collect();
    let mut algebra = Algebra { class, makers: HashMap::new(), leaving };
    let (next, changes) = rewrite(graph, &mut algebra)?;
    record.changes = changes;
    Ok(next)
}

struct Algebra {
    class: Class,
    /// Who makes the values of the new graph.
    makers: HashMap<ValueId, NodeId>,
    /// Old values whose memory leaves with a result.
    leaving: HashSet<ValueId>,
}

impl Visitor for Algebra {
    fn visit(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Outcome> {
        let node = rewrite.old.node(id);
        match &node.kind {
            // Laws are about tensors of known type: without it nobody can say that a smaller term has the same.
            NodeKind::Op(op)
                if let [output] = node.outputs.as_slice()
                    && let Some(ty) = rewrite.old.ty(*output).tensor().cloned() =>
            {
                let operands = node.operands.iter().map(|o| rewrite.map.operand(o)).collect::<Result<_>>()?;
                let may_alias = !self.leaving.contains(output);
                let term = Term { op, operands };
                if let Some(value) = self.simplify(rewrite, &term, &ty, may_alias, node.origin) {
                    return Ok(Outcome::Replaced(vec![value]));
                }
            }
            NodeKind::Op(_) | NodeKind::Constant(_) => {}
            NodeKind::Fused
            | NodeKind::If
            | NodeKind::While
            | NodeKind::Call(_)
            | NodeKind::HostOp(_)
            | NodeKind::Host(_) => {
                return Ok(Outcome::Keep);
            }
        }
        let made = rewrite.new.copy(rewrite.old, id, &mut rewrite.map)?;
        let outputs = rewrite.new.outputs(made).to_vec();
        self.makers.extend(outputs.iter().map(|&v| (v, made)));
        Ok(Outcome::Replaced(outputs))
    }
}

impl Algebra {
    /// The value that a law gives for a term; `None` where no law applies.
    fn simplify(
        &mut self,
        rewrite: &mut Rewrite,
        term: &Term,
        ty: &TensorType,
        may_alias: bool,
        origin: Option<Origin>,
    ) -> Option<ValueId> {
        let candidates = rules::all().get(term.op.name)?;
        let class = self.class;
        for rule in candidates.iter().filter(|r| r.class <= class && r.when.holds(ty)) {
            let Some(replacement) = self.apply(rewrite, rule, term, ty, origin) else { continue };
            let value = match replacement {
                Replacement::Value(value) => {
                    let same = rewrite.new.graph().ty(value).tensor() == Some(ty);
                    if !same || !may_alias {
                        continue;
                    }
                    value
                }
                Replacement::Term(smaller) => {
                    match infer_op(rewrite.new.graph(), smaller.op, &smaller.operands) {
                        Ok(types) if types.len() == 1 && types[0] == *ty => {}
                        Ok(_) | Err(_) => continue,
                    }
                    match self.simplify(rewrite, &smaller, ty, may_alias, origin) {
                        Some(value) => value,
                        None => self.add(rewrite, smaller, origin)?,
                    }
                }
            };
            rewrite.changes.push(format!("{}: {}", term.op.name, rule.name).into());
            return Some(value);
        }
        None
    }

    fn apply(
        &mut self,
        rewrite: &mut Rewrite,
        rule: &Rule,
        term: &Term,
        ty: &TensorType,
        origin: Option<Origin>,
    ) -> Option<Replacement> {
        let context = Context { graph: rewrite.new.graph(), makers: &self.makers, ty };
        match &rule.law {
            Law::Function(_, law) => law(&context, term),
            Law::Sides(left, right) => {
                let bindings = left.matches(&context, term)?;
                let built = right.build(&bindings, &mut |inner| self.add(rewrite, inner, origin))?;
                match built {
                    rules::Built::Term(term) => Some(Replacement::Term(term)),
                    rules::Built::Operand(Operand::Value(value)) => Some(Replacement::Value(value)),
                    rules::Built::Operand(Operand::Values(_) | Operand::Host(_)) => None,
                }
            }
        }
    }

    /// Makes a term; refuses one without tensors, which would have no shape to broadcast to.
    fn add(&mut self, rewrite: &mut Rewrite, term: Term, origin: Option<Origin>) -> Option<ValueId> {
        if term.operands.iter().all(|o| o.values().is_empty()) {
            return None;
        }
        let value = rewrite.new.op1(term.op, term.operands, origin).ok()?;
        let made = NodeId(rewrite.new.graph().node_count() as u32 - 1);
        self.makers.insert(value, made);
        Some(value)
    }
}

impl When {
    fn holds(self, ty: &TensorType) -> bool {
        match self {
            When::Always => true,
            When::Integers => !ty.dtype.is_float(),
        }
    }
}
