//! The static types of programs, how they are written, and which fits which.

use crate::tree::ClassId;
use std::fmt;
use std::sync::Arc;

/// A type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Type {
    /// `Tensor`.
    Tensor,
    /// `int`, of 64 bits.
    Int,
    /// `float`, of 64 bits.
    Float,
    /// `bool`.
    Bool,
    /// What `.item()` gives: an int, a float or a bool; `int(x)`, `float(x)` decide.
    Number,
    /// `str`.
    Str,
    /// `None`.
    None,
    /// `torch.dtype`.
    DType,
    /// `torch.device`.
    Device,
    /// `List[T]`.
    List(Arc<Type>),
    /// `Tuple[A, B]`.
    Tuple(Arc<[Type]>),
    /// `torch.return_types.max` and its like: a tuple whose elements also have names.
    Named(&'static [&'static str], Arc<[Type]>),
    /// `Dict[K, V]`.
    Dict(Arc<(Type, Type)>),
    /// `Optional[T]`.
    Optional(Arc<Type>),
    /// An object of a class of the program.
    Object(ClassId, Arc<str>),
    /// What `range`, `enumerate`, `zip`, `reversed`, `.items()` give: something to loop over, of these elements.
    Iterator(Arc<Type>),
    /// The type of what never ends normally.
    Never,
    /// What is known to be wrong already; it fits everything, so that one mistake is reported once.
    Unknown,
}

impl Type {
    /// `List[of]`.
    pub fn list(of: Type) -> Type {
        Type::List(Arc::new(of))
    }

    /// `Dict[key, value]`.
    pub fn dict(key: Type, value: Type) -> Type {
        Type::Dict(Arc::new((key, value)))
    }

    /// `Tuple[of...]`.
    pub fn tuple(of: impl Into<Arc<[Type]>>) -> Type {
        Type::Tuple(of.into())
    }

    /// `Optional[of]`; what is optional already stays so.
    pub fn optional(of: Type) -> Type {
        match of {
            Type::Optional(_) | Type::None | Type::Unknown => of,
            _ => Type::Optional(Arc::new(of)),
        }
    }

    /// Whether it is a host number.
    pub fn is_number(&self) -> bool {
        matches!(self, Type::Int | Type::Float | Type::Number | Type::Bool)
    }

    /// Whether a value of this type may stand where `wanted` is, as it is or through a conversion that always succeeds
    /// without a change of meaning (`int` where `float` is wanted is one, made explicit by the caller).
    pub fn fits(&self, wanted: &Type) -> bool {
        match (self, wanted) {
            (Type::Unknown | Type::Never, _) | (_, Type::Unknown) => true,
            (a, b) if a == b => true,
            (Type::None, Type::Optional(_)) => true,
            (Type::Optional(a), Type::Optional(b)) => a.fits(b),
            (a, Type::Optional(b)) => a.fits(b),
            (Type::List(a), Type::List(b)) => a == b || **a == Type::Unknown || **b == Type::Unknown,
            (Type::Dict(a), Type::Dict(b)) => {
                a.0.fits(&b.0) && a.1.fits(&b.1) && (a == b || a.0 == Type::Unknown)
            }
            (Type::Tuple(a) | Type::Named(_, a), Type::Tuple(b) | Type::Named(_, b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.fits(b))
            }
            (Type::Iterator(a), Type::Iterator(b)) => a.fits(b),
            _ => false,
        }
    }

    /// The least type that both fit; `None` if there is none.
    pub fn join(&self, other: &Type) -> Option<Type> {
        match (self, other) {
            (a, b) if a.fits(b) => Some(if *b == Type::Unknown { a.clone() } else { b.clone() }),
            (a, b) if b.fits(a) => Some(a.clone()),
            (Type::None, t) | (t, Type::None) => Some(Type::optional(t.clone())),
            (Type::Optional(a), b) | (b, Type::Optional(a)) => a.join(b).map(Type::optional),
            (Type::Tuple(a), Type::Tuple(b)) if a.len() == b.len() => {
                let parts: Option<Vec<Type>> = a.iter().zip(b.iter()).map(|(a, b)| a.join(b)).collect();
                parts.map(Type::tuple)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, of: &[Type]| {
            let parts: Vec<String> = of.iter().map(Type::to_string).collect();
            write!(f, "Tuple[{}]", if parts.is_empty() { "()".to_string() } else { parts.join(", ") })
        };
        match self {
            Type::Tensor => f.write_str("Tensor"),
            Type::Int => f.write_str("int"),
            Type::Float => f.write_str("float"),
            Type::Bool => f.write_str("bool"),
            Type::Number => f.write_str("number"),
            Type::Str => f.write_str("str"),
            Type::None => f.write_str("None"),
            Type::DType => f.write_str("torch.dtype"),
            Type::Device => f.write_str("torch.device"),
            Type::List(of) => write!(f, "List[{of}]"),
            Type::Tuple(of) | Type::Named(_, of) => list(f, of),
            Type::Dict(of) => write!(f, "Dict[{}, {}]", of.0, of.1),
            Type::Optional(of) => write!(f, "Optional[{of}]"),
            Type::Object(_, name) => f.write_str(name),
            Type::Iterator(of) => write!(f, "Iterator[{of}]"),
            Type::Never => f.write_str("Never"),
            Type::Unknown => f.write_str("unknown"),
        }
    }
}
