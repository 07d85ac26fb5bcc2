//! Patterns: variables, numbers and ops, written with operators, so that a law reads as it is said.

use super::{Context, Term};
use crate::ir::{Operand, ValueId};
use kernels::Scalar;
use runtime::value::Host;

/// A shape of terms.
#[derive(Clone, PartialEq, Debug)]
pub enum Pattern {
    /// Any operand; the same one wherever the same variable stands.
    Any(u8),
    /// A number, or a tensor whose elements are all this number. Zeros of both signs are told apart.
    Number(f64),
    /// An op with these first operands; all further ones are left out or none.
    Op(&'static str, Vec<Pattern>),
}

/// What the variables of a match stand for.
pub type Bindings = [Option<Operand>; 4];

/// Two sides, as `law` takes them.
pub type Sides = (Pattern, Pattern);

/// The variables of laws.
pub(super) fn x() -> Pattern {
    Pattern::Any(0)
}
pub(super) fn y() -> Pattern {
    Pattern::Any(1)
}
pub(super) fn c() -> Pattern {
    Pattern::Any(2)
}

/// An op by name.
pub(super) fn op<const N: usize>(name: &'static str, operands: [Pattern; N]) -> Pattern {
    Pattern::Op(name, operands.to_vec())
}

macro_rules! operators {
    ($($trait:ident $method:ident $name:literal;)*) => {$(
        impl std::ops::$trait for Pattern {
            type Output = Pattern;
            fn $method(self, other: Pattern) -> Pattern { op($name, [self, other]) }
        }
        impl std::ops::$trait<f64> for Pattern {
            type Output = Pattern;
            fn $method(self, other: f64) -> Pattern { op($name, [self, Pattern::Number(other)]) }
        }
        impl std::ops::$trait<Pattern> for f64 {
            type Output = Pattern;
            fn $method(self, other: Pattern) -> Pattern { op($name, [Pattern::Number(self), other]) }
        }
    )*};
}

operators! {
    Add add "add";
    Sub sub "sub";
    Mul mul "mul";
    Div div "div";
}

impl std::ops::Neg for Pattern {
    type Output = Pattern;
    fn neg(self) -> Pattern {
        op("neg", [self])
    }
}

impl Pattern {
    /// Number of ops in it, with a view counting less than arithmetic. Laws make it smaller.
    pub fn size(&self) -> usize {
        match self {
            Pattern::Any(_) | Pattern::Number(_) => 0,
            Pattern::Op(_, operands) => 1 + operands.iter().map(Pattern::size).sum::<usize>(),
        }
    }

    /// The variables for which a term fits the pattern.
    pub fn matches(&self, context: &Context, term: &Term) -> Option<Bindings> {
        let mut bindings = Bindings::default();
        let Pattern::Op(name, operands) = self else { return None };
        let fits = *name == term.op.name && operands_match(operands, context, &term.operands, &mut bindings);
        fits.then_some(bindings)
    }

    fn matches_operand(&self, context: &Context, operand: &Operand, bindings: &mut Bindings) -> bool {
        match self {
            Pattern::Any(variable) => match &mut bindings[*variable as usize] {
                Some(bound) => bound == operand,
                free => {
                    *free = Some(operand.clone());
                    true
                }
            },
            Pattern::Number(wanted) => {
                context.number(operand).is_some_and(|found| found.to_bits() == wanted.to_bits())
            }
            Pattern::Op(name, operands) => match operand {
                Operand::Value(value) => context.term(*value).is_some_and(|(op, found)| {
                    op.name == *name && operands_match(operands, context, found, bindings)
                }),
                Operand::Values(_) | Operand::Host(_) => false,
            },
        }
    }

    /// The operand or term that the pattern describes, inner terms made by `make`.
    pub fn build(&self, bindings: &Bindings, make: &mut dyn FnMut(Term) -> Option<ValueId>) -> Option<Built> {
        Some(match self {
            Pattern::Any(variable) => Built::Operand(bindings[*variable as usize].clone()?),
            Pattern::Number(v) => Built::Operand(Operand::Host(Host::Scalar(Scalar::Float(*v)))),
            Pattern::Op(name, operands) => {
                let mut built = Vec::with_capacity(operands.len());
                for operand in operands {
                    built.push(match operand.build(bindings, make)? {
                        Built::Operand(operand) => operand,
                        Built::Term(term) => Operand::Value(make(term)?),
                    });
                }
                Built::Term(Term { op: runtime::table::find(name)?, operands: built })
            }
        })
    }
}

/// What a right side becomes.
pub enum Built {
    /// An operand that is there.
    Operand(Operand),
    /// A term to be made.
    Term(Term),
}

fn operands_match(
    patterns: &[Pattern],
    context: &Context,
    operands: &[Operand],
    bindings: &mut Bindings,
) -> bool {
    operands.len() >= patterns.len()
        && operands[patterns.len()..].iter().all(|o| matches!(o, Operand::Host(Host::None)))
        && patterns.iter().zip(operands).all(|(p, o)| p.matches_operand(context, o, bindings))
}
