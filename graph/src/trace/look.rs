//! Looks of the host at traced tensors: what each froze, where, and what it saw. Two recordings of one program on other
//! inputs look at the same places; where they saw something else, the first is wrong for the inputs of the second.

use kernels::{Dims, Scalar};
use runtime::door::Observe;
use runtime::error::{Origin, Result};
use runtime::infer::TensorType;
use runtime::tensor::Tensor;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// What a look of the host froze.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Frozen {
    /// A value became a constant.
    Value,
    /// A branch was chosen for good.
    Branch,
    /// The extent of a dimension, or the whole shape, became a constant: a trip count, a size, a factor.
    Extent(Option<usize>),
    /// No look: `no_grad` was in force, which a trace does not record, so that gradients flow where the program has none.
    History,
}

/// What the host saw.
#[derive(Clone, PartialEq, Debug)]
pub enum Seen {
    /// The elements.
    Elements(Arc<[Scalar]>),
    /// A truth.
    Truth(bool),
    /// The extent of one dimension.
    Extent(usize),
    /// All extents.
    Shape(Dims),
}

/// The host looked at a traced tensor; the graph has what it saw built in.
#[derive(Clone, PartialEq, Debug)]
pub struct Warning {
    /// What was frozen.
    pub frozen: Frozen,
    /// Its type.
    pub ty: TensorType,
    /// The line that looked.
    pub origin: Origin,
    /// What was seen.
    pub seen: Seen,
}

/// A place where two recordings of one program saw different things.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What the first froze there.
    pub frozen: Frozen,
    /// The line.
    pub origin: Origin,
    /// What the first saw, look by look.
    pub before: Vec<Seen>,
    /// What the second saw.
    pub after: Vec<Seen>,
}

impl Warning {
    /// The look at a tensor whose value is `example`.
    pub(super) fn of(what: Observe, ty: TensorType, example: &Tensor, origin: Origin) -> Result<Warning> {
        let (frozen, seen) = match what {
            Observe::Values => (Frozen::Value, Seen::Elements(example.to_scalars()?.into())),
            Observe::Truth => {
                (Frozen::Branch, Seen::Truth(example.to_scalars()?.first().is_some_and(|v| v.to_bool())))
            }
            Observe::Extent(dim) => {
                let shape = example.shape();
                let seen = dim.and_then(|d| shape.get(d)).map(|&n| Seen::Extent(n));
                (Frozen::Extent(dim), seen.unwrap_or_else(|| Seen::Shape(shape.into())))
            }
        };
        Ok(Warning { frozen, ty, origin, seen })
    }

    /// An operation under `no_grad` with a result of this type.
    pub(super) fn of_no_grad(ty: TensorType, origin: Origin) -> Warning {
        Warning { frozen: Frozen::History, ty, origin, seen: Seen::Truth(false) }
    }
}

impl Seen {
    /// Whether it is the same, for which a value that is no number is itself.
    fn same(&self, other: &Seen) -> bool {
        match (self, other) {
            (Seen::Elements(a), Seen::Elements(b)) => {
                let nan = |s: &Scalar| matches!(s, Scalar::Float(v) if v.is_nan());
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a == b || (nan(a) && nan(b)))
            }
            (a, b) => a == b,
        }
    }
}

/// The places where two recordings of one program saw different things, in the order of the first; places at which the
/// first did not look, because of what differed before, are left out.
pub fn changed(before: &[Warning], after: &[Warning]) -> Vec<Changed> {
    // A line says where; an extent of one dimension and one of another are two looks of it.
    let key = |w: &Warning| (w.frozen, w.origin.file(), w.origin.line(), w.origin.column());
    let mut places: Vec<Changed> = Vec::new();
    let mut known = HashMap::new();
    for warning in before {
        let at = *known.entry(key(warning)).or_insert_with(|| {
            let (frozen, origin) = (warning.frozen, warning.origin);
            places.push(Changed { frozen, origin, before: Vec::new(), after: Vec::new() });
            places.len() - 1
        });
        places[at].before.push(warning.seen.clone());
    }
    for warning in after {
        if let Some(&at) = known.get(&key(warning)) {
            places[at].after.push(warning.seen.clone());
        }
    }
    places.retain(|p| {
        p.before.len() != p.after.len() || p.before.iter().zip(&p.after).any(|(a, b)| !a.same(b))
    });
    places
}

impl Changed {
    /// The first look that saw something else: its number from 0, what it saw, what it sees. One of them is missing where
    /// one recording looked more often.
    pub fn first(&self) -> (usize, Option<&Seen>, Option<&Seen>) {
        let same = self.before.iter().zip(&self.after).take_while(|(a, b)| a.same(b)).count();
        (same, self.before.get(same), self.after.get(same))
    }

    /// What it is called. Whether a truth is that of a branch or of a loop's test is not known here.
    pub fn kind(&self) -> &'static str {
        match self.frozen {
            Frozen::Branch => "frozen truth",
            Frozen::Value => "baked value",
            Frozen::Extent(_) => "baked extent",
            Frozen::History => "forgotten no_grad",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        match self.frozen {
            Frozen::Value => write!(f, "a value was read and is a constant of the graph from now on")?,
            Frozen::Branch => {
                write!(f, "a truth was read: the branch that the example took is frozen into the graph")?;
            }
            Frozen::Extent(Some(dim)) => {
                write!(f, "the extent of dim {dim} was read and is a constant of the graph from now on")?;
            }
            Frozen::Extent(None) => {
                write!(f, "the shape was read and its extents are constants of the graph from now on")?;
            }
            Frozen::History => {
                write!(f, "no_grad is not recorded: gradients flow through what is computed under it")?;
            }
        }
        write!(f, " ({})", self.ty)
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, before, after) = self.first();
        let show = |seen: Option<&Seen>| seen.map_or("not looked at".to_string(), Seen::to_string);
        write!(
            f,
            "the {} at {}: {} when traced, {} now",
            self.kind(),
            self.origin,
            show(before),
            show(after)
        )?;
        if number > 0 {
            write!(f, " (look {} of {} then, of {} now)", number + 1, self.before.len(), self.after.len())?;
        }
        Ok(())
    }
}

/// Elements that are written out.
const SHOWN: usize = 4;

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seen::Elements(values) if values.len() == 1 => write!(f, "{}", values[0]),
            Seen::Elements(values) => {
                let shown: Vec<String> = values.iter().take(SHOWN).map(Scalar::to_string).collect();
                write!(f, "[{}{}]", shown.join(", "), if values.len() > SHOWN { ", ..." } else { "" })
            }
            Seen::Truth(truth) => write!(f, "{truth}"),
            Seen::Extent(n) => write!(f, "{n}"),
            Seen::Shape(dims) => write!(f, "{:?}", dims.as_slice()),
        }
    }
}
