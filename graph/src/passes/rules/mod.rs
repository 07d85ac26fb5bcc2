//! Algebraic laws as data: one law a line, with a name and a numeric class.
//!
//! A law of arithmetic is a pattern and what stands for it. A law of views is a small function, because it computes
//! with dimensions. Each makes the term smaller: `Pattern::size` of the right side is below that of the left, so
//! simplifying ends. A law applies only where both sides have one type; whether its class is wanted decides the pass.

mod arithmetic;
mod pattern;
#[cfg(test)]
mod tests;
mod views;

pub use pattern::{Bindings, Built, Pattern, Sides};

use crate::ir::{Graph, NodeId, NodeKind, Operand, ValueId};
use crate::passes::Class;
use kernels::Scalar;
use runtime::infer::TensorType;
use runtime::table::OpDef;
use runtime::value::Host;
use std::collections::HashMap;
use std::sync::OnceLock;

/// An op and its operands, before it is a node.
#[derive(Clone, Debug)]
pub struct Term {
    /// The op.
    pub op: &'static OpDef,
    /// Its operands.
    pub operands: Vec<Operand>,
}

/// What stands for a term.
#[derive(Clone, Debug)]
pub enum Replacement {
    /// A value that is there.
    Value(ValueId),
    /// A smaller term of values that are there.
    Term(Term),
}

/// What laws see: a graph that grows, and who made its values.
pub struct Context<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The node that makes a value.
    pub makers: &'a HashMap<ValueId, NodeId>,
    /// Type of the term's result.
    pub ty: &'a TensorType,
}

/// Which element types a law is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// All.
    Always,
    /// Integers and truth values.
    Integers,
}

/// How a law is written.
pub enum Law {
    /// Left and right side.
    Sides(Pattern, Pattern),
    /// A function, for the ops with these names.
    Function(&'static [&'static str], fn(&Context, &Term) -> Option<Replacement>),
}

/// One law.
pub struct Rule {
    /// Its name in logs.
    pub name: &'static str,
    /// What it may do to numbers.
    pub class: Class,
    /// Where it holds.
    pub when: When,
    /// The law.
    pub law: Law,
}

/// Every law, by the name of the op on its left side.
pub fn all() -> &'static HashMap<&'static str, Vec<&'static Rule>> {
    static BY_OP: OnceLock<HashMap<&'static str, Vec<&'static Rule>>> = OnceLock::new();
    BY_OP.get_or_init(|| {
        let mut by_op: HashMap<&'static str, Vec<&'static Rule>> = HashMap::new();
        for rule in list() {
            match &rule.law {
                Law::Sides(Pattern::Op(name, _), _) => by_op.entry(name).or_default().push(rule),
                Law::Sides(Pattern::Any(_) | Pattern::Number(_), _) => {}
                Law::Function(names, _) => names.iter().for_each(|n| by_op.entry(n).or_default().push(rule)),
            }
        }
        by_op
    })
}

/// Every law, in the order of the files.
pub fn list() -> &'static [Rule] {
    static LIST: OnceLock<Vec<Rule>> = OnceLock::new();
    LIST.get_or_init(|| arithmetic::rules().into_iter().chain(views::rules()).collect())
}

impl Context<'_> {
    /// The op that makes a value, with its operands.
    pub fn term(&self, value: ValueId) -> Option<(&'static OpDef, &[Operand])> {
        let node = self.graph.node(*self.makers.get(&value)?);
        Some((node.op()?, &node.operands))
    }

    /// A value's tensor type.
    pub fn type_of(&self, value: ValueId) -> Option<&TensorType> {
        self.graph.ty(value).tensor()
    }

    /// The number that every element of an operand is: a host number, a filled tensor, a constant of one element, or a
    /// view of one of them.
    pub fn number(&self, operand: &Operand) -> Option<f64> {
        match operand {
            Operand::Host(Host::Scalar(v)) => Some(v.to_f64()),
            Operand::Host(_) | Operand::Values(_) => None,
            Operand::Value(v) => {
                let node = self.graph.node(*self.makers.get(v)?);
                match &node.kind {
                    NodeKind::Constant(t) if t.numel() == 1 => t.item().ok().map(Scalar::to_f64),
                    NodeKind::Op(op) if matches!(op.name, "full" | "full_like") => {
                        let Some(Operand::Host(Host::Scalar(v))) = node.operands.get(1) else { return None };
                        Some(v.to_f64())
                    }
                    NodeKind::Op(op) if matches!(op.effect, runtime::table::Effect::View(0)) => {
                        self.number(node.operands.first()?)
                    }
                    _ => None,
                }
            }
        }
    }
}
