//! What must hold of a call for a recording to stand for it, and the words for what does not hold.

use crate::function::Argument;
use kernels::DType;
use runtime::DeviceId;
use runtime::door;
use runtime::tensor::{Tensor, flags};
use runtime::value::Host;
use std::fmt;

/// What is asked of one extent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// It is this.
    Is(usize),
    /// It is neither 0 nor 1, of which programs think differently.
    Any,
}

/// What is asked of one argument.
#[derive(Clone, PartialEq, Debug)]
pub enum Guard {
    /// A tensor of this kind.
    Tensor {
        /// Its element type.
        dtype: DType,
        /// Where it lies.
        device: DeviceId,
        /// Its extents.
        extents: Vec<Extent>,
        /// Its steps; none where it is dense.
        strides: Option<Vec<isize>>,
        /// Whether a gradient is recorded for it.
        requires_grad: bool,
    },
    /// A host value, which is this.
    Host(Host),
    /// A Variable, which is this.
    Variable(u64),
}

/// What is asked of a call.
#[derive(Clone, PartialEq, Debug)]
pub struct Guards {
    pub(super) args: Vec<Guard>,
    /// For each argument, the first with the same memory.
    aliases: Vec<Alias>,
    grad_mode: bool,
}

/// What does not hold.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Failure {
    Count { expected: usize, actual: usize },
    Kind { argument: usize, expected: Guard, actual: Guard },
    Size { argument: usize, dim: usize, expected: Extent, actual: usize },
    Aliases,
    GradMode { expected: bool },
}

fn requires_grad(tensor: &Tensor) -> bool {
    tensor.flags() & flags::TRACKED != 0
}

impl Guard {
    fn of(argument: &Argument) -> Guard {
        match argument {
            Argument::Tensor(t) => Guard::Tensor {
                dtype: t.dtype(),
                device: t.device(),
                extents: t.shape().iter().map(|&n| Extent::Is(n)).collect(),
                strides: (!t.is_contiguous()).then(|| t.layout().strides.to_vec()),
                requires_grad: requires_grad(t),
            },
            Argument::Host(h) => Guard::Host(h.clone()),
            Argument::Variable(v) => Guard::Variable(v.id()),
        }
    }

    fn failure(&self, at: usize, argument: &Argument) -> Option<Failure> {
        match (self, argument) {
            (Guard::Tensor { dtype, device, extents, strides, requires_grad: grad }, Argument::Tensor(t)) => {
                let same = *dtype == t.dtype()
                    && *device == t.device()
                    && extents.len() == t.rank()
                    && *grad == requires_grad(t);
                if !same {
                    return Some(self.unlike(at, argument));
                }
                for (dim, (&expected, &actual)) in extents.iter().zip(t.shape()).enumerate() {
                    let fits = match expected {
                        Extent::Is(n) => n == actual,
                        Extent::Any => actual > 1,
                    };
                    if !fits {
                        return Some(Failure::Size { argument: at, dim, expected, actual });
                    }
                }
                let steps = match strides {
                    None => t.is_contiguous(),
                    Some(strides) => !t.is_contiguous() && t.layout().strides[..] == strides[..],
                };
                (!steps).then(|| self.unlike(at, argument))
            }
            (Guard::Host(a), Argument::Host(b)) if a == b => None,
            (Guard::Variable(a), Argument::Variable(b)) if *a == b.id() => None,
            (Guard::Tensor { .. } | Guard::Host(_) | Guard::Variable(_), _) => {
                Some(self.unlike(at, argument))
            }
        }
    }

    #[cold]
    fn unlike(&self, argument: usize, actual: &Argument) -> Failure {
        Failure::Kind { argument, expected: self.clone(), actual: Guard::of(actual) }
    }
}

/// Whose memory an argument has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Alias {
    /// Its own.
    None,
    /// It is that argument once more.
    Same(usize),
    /// It looks at that argument's memory in another way, or with another history.
    Shares(usize),
}

fn aliases(args: &[Argument]) -> impl Iterator<Item = Alias> + '_ {
    let memory = |a: &Argument| match a {
        Argument::Tensor(t) => t.storage().ok().map(|s| s.address()),
        Argument::Host(_) | Argument::Variable(_) => None,
    };
    args.iter().enumerate().map(move |(i, a)| {
        let own = memory(a);
        match args[..i].iter().position(|b| own.is_some() && memory(b) == own) {
            None => Alias::None,
            Some(first) if is_same(&args[first], a) => Alias::Same(first),
            Some(first) => Alias::Shares(first),
        }
    })
}

/// Whether two arguments that share memory are one.
fn is_same(a: &Argument, b: &Argument) -> bool {
    let (Argument::Tensor(a), Argument::Tensor(b)) = (a, b) else { return false };
    let plain = !requires_grad(a) && !requires_grad(b);
    a.same(b) || (plain && a.dtype() == b.dtype() && a.layout() == b.layout())
}

impl Guards {
    /// What this call is.
    pub(super) fn of(args: &[Argument]) -> Guards {
        Guards {
            args: args.iter().map(Guard::of).collect(),
            aliases: aliases(args).collect(),
            grad_mode: door::grad_enabled(),
        }
    }

    /// What of these guards does not hold of a call.
    pub(super) fn failure(&self, args: &[Argument]) -> Option<Failure> {
        if self.args.len() != args.len() {
            return Some(Failure::Count { expected: self.args.len(), actual: args.len() });
        }
        if self.grad_mode != door::grad_enabled() {
            return Some(Failure::GradMode { expected: self.grad_mode });
        }
        let first =
            self.args.iter().zip(args).enumerate().find_map(|(i, (guard, arg))| guard.failure(i, arg));
        if first.is_some() {
            return first;
        }
        let same = aliases(args).eq(self.aliases.iter().copied());
        (!same).then_some(Failure::Aliases)
    }

    /// For each argument, the one that it is once more.
    pub(super) fn same(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        self.aliases.iter().map(|alias| if let Alias::Same(first) = alias { Some(*first) } else { None })
    }

    /// Whether two arguments look at the same memory in different ways.
    pub(super) fn shares(&self) -> bool {
        self.aliases.iter().any(|alias| matches!(alias, Alias::Shares(_)))
    }

    /// Whether two calls differ in extents alone, each of them neither 0 nor 1: which (argument, dimension).
    pub(super) fn differing(&self, other: &Guards) -> Option<Vec<(usize, usize)>> {
        if self.args.len() != other.args.len()
            || self.aliases != other.aliases
            || self.grad_mode != other.grad_mode
        {
            return None;
        }
        let mut found = Vec::new();
        for (i, (a, b)) in self.args.iter().zip(&other.args).enumerate() {
            let (Guard::Tensor { extents: x, .. }, Guard::Tensor { extents: y, .. }) = (a, b) else {
                if a == b {
                    continue;
                }
                return None;
            };
            let like = with_extents(a, y.clone());
            if x.len() != y.len() || like != *b {
                return None;
            }
            for (dim, (&x, &y)) in x.iter().zip(y).enumerate() {
                match (x, y) {
                    _ if x == y => {}
                    (Extent::Is(0 | 1), _) | (_, Extent::Is(0 | 1)) => return None,
                    _ => found.push((i, dim)),
                }
            }
        }
        Some(found)
    }

    /// The same, with these dimensions no longer asked for.
    pub(super) fn freed(&self, dims: &[(usize, usize)]) -> Guards {
        let mut freed = self.clone();
        for &(argument, dim) in dims {
            if let Some(Guard::Tensor { extents, .. }) = freed.args.get_mut(argument)
                && let Some(extent) = extents.get_mut(dim)
            {
                *extent = Extent::Any;
            }
        }
        freed
    }
}

fn with_extents(guard: &Guard, extents: Vec<Extent>) -> Guard {
    match guard {
        Guard::Tensor { dtype, device, strides, requires_grad, .. } => Guard::Tensor {
            dtype: *dtype,
            device: *device,
            extents,
            strides: strides.clone(),
            requires_grad: *requires_grad,
        },
        Guard::Host(_) | Guard::Variable(_) => guard.clone(),
    }
}

impl fmt::Display for Failure {
    /// torch's words, where it has words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Count { expected, actual } => {
                write!(f, "number of arguments mismatch. expected {expected}, actual {actual}")
            }
            Failure::Size { argument, dim, expected: Extent::Is(n), actual } => {
                write!(f, "argument {argument}: size mismatch at index {dim}. expected {n}, actual {actual}")
            }
            Failure::Size { argument, dim, expected: Extent::Any, actual } => {
                write!(
                    f,
                    "argument {argument}: size mismatch at index {dim}. expected 2 or more, actual {actual}"
                )
            }
            Failure::Aliases => f.write_str("other arguments share memory"),
            Failure::GradMode { expected } => {
                write!(f, "grad mode mismatch. expected {expected}, actual {}", !expected)
            }
            Failure::Kind { argument, expected, actual } => {
                write!(f, "argument {argument}: ")?;
                kinds(f, expected, actual)
            }
        }
    }
}

fn kinds(f: &mut fmt::Formatter<'_>, expected: &Guard, actual: &Guard) -> fmt::Result {
    match (expected, actual) {
        (
            Guard::Tensor { dtype: a, device: d, extents: x, requires_grad: g, .. },
            Guard::Tensor { dtype: b, device: e, extents: y, requires_grad: h, .. },
        ) => {
            if a != b {
                write!(f, "dtype mismatch. expected {a}, actual {b}")
            } else if d != e {
                write!(f, "device mismatch. expected {d}, actual {e}")
            } else if x.len() != y.len() {
                write!(f, "rank mismatch. expected {}, actual {}", x.len(), y.len())
            } else if g != h {
                write!(f, "requires_grad mismatch. expected {g}, actual {h}")
            } else {
                f.write_str("stride mismatch")
            }
        }
        (Guard::Host(a), Guard::Host(b)) => write!(f, "value mismatch. expected {a}, actual {b}"),
        (Guard::Variable(a), Guard::Variable(b)) => {
            write!(f, "another Variable. expected number {a}, actual {b}")
        }
        (Guard::Tensor { .. } | Guard::Host(_) | Guard::Variable(_), _) => {
            write!(f, "kind mismatch. expected {}, actual {}", word(expected), word(actual))
        }
    }
}

fn word(guard: &Guard) -> &'static str {
    match guard {
        Guard::Tensor { .. } => "a tensor",
        Guard::Host(_) => "a host value",
        Guard::Variable(_) => "a Variable",
    }
}
