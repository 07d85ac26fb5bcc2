//! Operands of ops: tensors, or typed host values. An attribute is a host value that happens to be constant.

use crate::error::{Error, Result};
use crate::infer::TensorType;
use crate::tensor::Tensor;
use kernels::{DType, Dims, Scalar};
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;

/// A borrowed operand, as `bind` takes it. With a tag of a whole word it is copied by words.
#[derive(Clone, Copy)]
#[repr(u64)]
pub enum Arg<'a> {
    /// A tensor.
    Tensor(&'a Tensor),
    /// A list of tensors.
    Tensors(&'a [Tensor]),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Text.
    Str(&'a str),
    /// A list of integers.
    Ints(&'a [i64]),
    /// An element type.
    DType(DType),
    /// Left out.
    None,
}

impl<'a> Arg<'a> {
    /// The integer (a bool counts as 0 or 1).
    pub fn int(&self) -> Result<i64> {
        match *self {
            Arg::Int(v) => Ok(v),
            Arg::Bool(v) => Ok(v as i64),
            _ => Err(Error::value(format!("expected an int, got {self:?}"))),
        }
    }
    /// The number as a float.
    pub fn float(&self) -> Result<f64> {
        match *self {
            Arg::Float(v) => Ok(v),
            Arg::Int(v) => Ok(v as f64),
            Arg::Bool(v) => Ok(v as u8 as f64),
            _ => Err(Error::value(format!("expected a float, got {self:?}"))),
        }
    }
    /// The truth value.
    pub fn bool(&self) -> Result<bool> {
        match *self {
            Arg::Bool(v) => Ok(v),
            Arg::Int(v) => Ok(v != 0),
            _ => Err(Error::value(format!("expected a bool, got {self:?}"))),
        }
    }
    /// The text.
    pub fn str(&self) -> Result<&'a str> {
        match *self {
            Arg::Str(v) => Ok(v),
            _ => Err(Error::value(format!("expected a string, got {self:?}"))),
        }
    }
    /// The list; one integer counts as a list of one.
    pub fn ints(&self) -> Result<SmallVec<[i64; 6]>> {
        match *self {
            Arg::Ints(v) => Ok(SmallVec::from_slice(v)),
            Arg::Int(v) => Ok(SmallVec::from_slice(&[v])),
            _ => Err(Error::value(format!("expected a list of ints, got {self:?}"))),
        }
    }
    /// The list as extents.
    pub fn extents(&self) -> Result<Dims> {
        let list = self.ints()?;
        list.iter()
            .map(|&n| {
                usize::try_from(n)
                    .map_err(|_| Error::value(format!("negative extent {n} in {:?}", list.as_slice())))
            })
            .collect()
    }
    /// The element type.
    pub fn dtype(&self) -> Result<DType> {
        match *self {
            Arg::DType(v) => Ok(v),
            _ => Err(Error::value(format!("expected a dtype, got {self:?}"))),
        }
    }
    /// The host number, for numeric operands.
    pub fn scalar(&self) -> Option<Scalar> {
        match *self {
            Arg::Int(v) => Some(Scalar::Int(v)),
            Arg::Float(v) => Some(Scalar::Float(v)),
            Arg::Bool(v) => Some(Scalar::Bool(v)),
            _ => None,
        }
    }
    /// Whether it is left out.
    pub fn is_none(&self) -> bool {
        matches!(self, Arg::None)
    }
    /// The tensors in it: none, one or a list.
    #[inline]
    pub fn tensors(&self) -> &'a [Tensor] {
        match *self {
            Arg::Tensor(t) => std::slice::from_ref(t),
            Arg::Tensors(t) => t,
            _ => &[],
        }
    }
}

macro_rules! arg_from {
    ($($type:ty => |$v:ident| $arg:expr;)*) => {$(
        impl<'a> From<$type> for Arg<'a> {
            fn from($v: $type) -> Arg<'a> { $arg }
        }
    )*};
}

arg_from! {
    &'a Tensor => |v| Arg::Tensor(v);
    &'a [Tensor] => |v| Arg::Tensors(v);
    &'a str => |v| Arg::Str(v);
    &'a [i64] => |v| Arg::Ints(v);
    i64 => |v| Arg::Int(v);
    i32 => |v| Arg::Int(v as i64);
    usize => |v| Arg::Int(v as i64);
    f64 => |v| Arg::Float(v);
    f32 => |v| Arg::Float(v as f64);
    bool => |v| Arg::Bool(v);
    DType => |v| Arg::DType(v);
}

impl<'a, T: Into<Arg<'a>>> From<Option<T>> for Arg<'a> {
    fn from(v: Option<T>) -> Arg<'a> {
        v.map_or(Arg::None, Into::into)
    }
}

impl<'a, const N: usize> From<&'a [i64; N]> for Arg<'a> {
    fn from(v: &'a [i64; N]) -> Arg<'a> {
        Arg::Ints(v)
    }
}

/// An owned host value: what IR operands, cache keys and tapes keep. Floats compare by bits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Host {
    /// A number or truth value.
    Scalar(Scalar),
    /// Text.
    Str(Arc<str>),
    /// A list of integers.
    Ints(SmallVec<[i64; 4]>),
    /// An element type.
    DType(DType),
    /// Left out.
    None,
}

impl Host {
    /// Borrowed, for `bind`.
    pub fn as_arg(&self) -> Arg<'_> {
        match self {
            Host::Scalar(Scalar::Int(v)) => Arg::Int(*v),
            Host::Scalar(Scalar::Float(v)) => Arg::Float(*v),
            Host::Scalar(Scalar::Bool(v)) => Arg::Bool(*v),
            Host::Str(v) => Arg::Str(v),
            Host::Ints(v) => Arg::Ints(v),
            Host::DType(v) => Arg::DType(*v),
            Host::None => Arg::None,
        }
    }

    /// The host value of an operand; `None` for tensors.
    pub fn of(arg: Arg) -> Option<Host> {
        Some(match arg {
            Arg::Tensor(_) | Arg::Tensors(_) => return None,
            Arg::Int(v) => Host::Scalar(Scalar::Int(v)),
            Arg::Float(v) => Host::Scalar(Scalar::Float(v)),
            Arg::Bool(v) => Host::Scalar(Scalar::Bool(v)),
            Arg::Str(v) => Host::Str(v.into()),
            Arg::Ints(v) => Host::Ints(SmallVec::from_slice(v)),
            Arg::DType(v) => Host::DType(v),
            Arg::None => Host::None,
        })
    }
}

impl fmt::Debug for Arg<'_> {
    /// In words, for messages: a tensor by its type, a host value as `Host` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arg::Tensor(t) => write!(f, "a tensor {}", t.tensor_type()),
            Arg::Tensors(list) => write!(f, "a list of {} tensors", list.len()),
            Arg::Str(text) => write!(f, "{text:?}"),
            Arg::Ints(list) => write!(f, "{list:?}"),
            Arg::Int(v) => write!(f, "{v}"),
            Arg::Float(v) => write!(f, "{v:?}"),
            Arg::Bool(v) => write!(f, "{v}"),
            Arg::DType(v) => write!(f, "the dtype {v}"),
            Arg::None => f.write_str("nothing"),
        }
    }
}

impl fmt::Display for Host {
    /// The text of IR operands: `1.5`, `3`, `true`, `"mean"`, `[0, 1]`, `f32`, `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Scalar(v) => write!(f, "{v}"),
            Host::Str(v) => write!(f, "{v:?}"),
            Host::Ints(v) => write!(f, "{:?}", v.as_slice()),
            Host::DType(v) => write!(f, "{v}"),
            Host::None => f.write_str("none"),
        }
    }
}

/// An owned operand as a tape keeps it for the gradient rule.
#[derive(Clone, Debug)]
pub enum Value {
    /// A tensor that the rule reads.
    Tensor(Tensor),
    /// A list of tensors that the rule reads.
    Tensors(Vec<Tensor>),
    /// A tensor of which the rule needs only the type.
    Type(TensorType),
    /// A list of which the rule needs only the types.
    Types(Vec<TensorType>),
    /// A tensor that was kept but cannot be read any more, and why (overwritten in place, freed).
    Lost(TensorType, Error),
    /// A host value.
    Host(Host),
}

impl Value {
    /// The types of the tensors in it, kept or not.
    pub fn types(&self) -> Vec<TensorType> {
        match self {
            Value::Tensor(t) => vec![t.tensor_type()],
            Value::Tensors(list) => list.iter().map(Tensor::tensor_type).collect(),
            Value::Type(t) | Value::Lost(t, _) => vec![t.clone()],
            Value::Types(list) => list.clone(),
            Value::Host(_) => Vec::new(),
        }
    }
}
