//! The values of programs while they run: what they are, how they compare, and how they read when they are printed.

mod convert;
mod dict;
mod format;
mod lazy;
mod objects;
mod order;
mod show;
mod text;

pub use convert::{flatten, from_tensors, tensor_of, tensor_of_list};
pub use dict::{Dict, Key};
pub(crate) use dict::{missing, whole};
pub use format::format;
pub use lazy::{Cursor, Lazy, Part};
pub use objects::{ClassKind, Object, Shape};
pub use order::{compare, contains, equals, is};
pub(crate) use text::float as float_text;

use crate::autograph;
use runtime::error::{Error, Result};
use runtime::{Arg, DType, DeviceId, Scalar, Tensor};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// A value. Lists, dicts and objects are shared and change in place, as Python's do. With a tag of a whole word it is copied
/// by words, not by the bytes of its smallest payload.
#[derive(Clone, Debug)]
#[repr(u64)]
pub enum Value {
    /// `None`.
    None,
    /// `int`.
    Int(i64),
    /// `float`.
    Float(f64),
    /// `bool`.
    Bool(bool),
    /// `str`.
    Str(Arc<str>),
    /// `Tensor`.
    Tensor(Tensor),
    /// `torch.dtype`.
    DType(DType),
    /// `torch.device`.
    Device(DeviceId),
    /// `Tuple`, and what a call returns with names.
    Tuple(Rc<[Value]>),
    /// `List`.
    List(Rc<RefCell<Vec<Value>>>),
    /// `Dict`, in the order of insertion.
    Dict(Rc<RefCell<Dict>>),
    /// An object of a class.
    Object(Rc<Object>),
    /// What `range`, `enumerate`, `zip`, `reversed` and a dict's methods give: something to loop over.
    Iterator(Rc<Lazy>),
    /// An int, a float or a bool that is known when the graph runs: a tensor of rank 0 of int64, float64 or bool. It is met
    /// while a program is staged, and only then.
    Staged(Tensor),
    /// What a variable holds before its first assignment, while a program is staged.
    Undefined,
}

impl Value {
    /// A string.
    pub fn str(text: impl Into<Arc<str>>) -> Value {
        Value::Str(text.into())
    }

    /// A list of these.
    pub fn list(values: impl IntoIterator<Item = Value>) -> Value {
        Value::List(Rc::new(RefCell::new(values.into_iter().collect())))
    }

    /// A tuple of these.
    pub fn tuple(values: impl IntoIterator<Item = Value>) -> Value {
        Value::Tuple(values.into_iter().collect())
    }

    /// A list of ints.
    pub fn ints(values: impl IntoIterator<Item = i64>) -> Value {
        Value::list(values.into_iter().map(Value::Int))
    }

    /// A dict.
    pub fn dict(entries: Dict) -> Value {
        Value::Dict(Rc::new(RefCell::new(entries)))
    }

    /// Something to loop over.
    pub fn iterator(lazy: Lazy) -> Value {
        Value::Iterator(Rc::new(lazy))
    }

    /// The name of its type as Python's `type(x).__name__` says it.
    pub fn type_name(&self) -> &str {
        match self {
            Value::None => "NoneType",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Bool(_) => "bool",
            Value::Str(_) => "str",
            Value::Tensor(_) => "Tensor",
            Value::DType(_) => "dtype",
            Value::Device(_) => "device",
            Value::Tuple(_) => "tuple",
            Value::List(_) => "list",
            Value::Dict(_) => "dict",
            Value::Object(object) => &object.shape.name,
            Value::Iterator(lazy) => lazy.type_name(),
            Value::Staged(t) if t.dtype() == DType::Bool => "bool",
            Value::Staged(t) if t.dtype().is_float() => "float",
            Value::Staged(_) => "int",
            Value::Undefined => "a variable without a value",
        }
    }

    /// The error of a value where another type is wanted: the checker was passed by.
    #[cold]
    pub fn unexpected(&self, wanted: &str) -> Error {
        if let Value::Staged(_) = self {
            return autograph::unknown(self, &format!("where the host wants {wanted}"));
        }
        Error::value(format!("TypeError: expected {wanted}, got {}", self.type_name()))
    }

    /// The int; a bool counts as 0 or 1.
    pub fn int(&self) -> Result<i64> {
        match self {
            Value::Int(v) => Ok(*v),
            Value::Bool(v) => Ok(*v as i64),
            other => Err(other.unexpected("an int")),
        }
    }

    /// The number as a float.
    pub fn float(&self) -> Result<f64> {
        match self {
            Value::Float(v) => Ok(*v),
            Value::Int(v) => Ok(*v as f64),
            Value::Bool(v) => Ok(*v as u8 as f64),
            other => Err(other.unexpected("a float")),
        }
    }

    /// The bool.
    pub fn bool(&self) -> Result<bool> {
        match self {
            Value::Bool(v) => Ok(*v),
            other => Err(other.unexpected("a bool")),
        }
    }

    /// The text.
    pub fn text(&self) -> Result<&str> {
        match self {
            Value::Str(v) => Ok(v),
            other => Err(other.unexpected("a str")),
        }
    }

    /// The tensor.
    pub fn tensor(&self) -> Result<&Tensor> {
        match self {
            Value::Tensor(v) => Ok(v),
            other => Err(other.unexpected("a Tensor")),
        }
    }

    /// The list.
    pub fn as_list(&self) -> Result<&RefCell<Vec<Value>>> {
        match self {
            Value::List(v) => Ok(v),
            other => Err(other.unexpected("a list")),
        }
    }

    /// The dict.
    pub fn as_dict(&self) -> Result<&Rc<RefCell<Dict>>> {
        match self {
            Value::Dict(v) => Ok(v),
            other => Err(other.unexpected("a dict")),
        }
    }

    /// The host number, of an int, a float or a bool.
    pub fn scalar(&self) -> Option<Scalar> {
        match self {
            Value::Int(v) => Some(Scalar::Int(*v)),
            Value::Float(v) => Some(Scalar::Float(*v)),
            Value::Bool(v) => Some(Scalar::Bool(*v)),
            _ => None,
        }
    }

    /// The operand that it is: a tensor, a number, text, a dtype or none. Lists need a place for their elements.
    pub fn arg(&self) -> Option<Arg<'_>> {
        Some(match self {
            Value::Tensor(v) => Arg::Tensor(v),
            Value::Int(v) => Arg::Int(*v),
            Value::Float(v) => Arg::Float(*v),
            Value::Bool(v) => Arg::Bool(*v),
            Value::Str(v) => Arg::Str(v),
            Value::DType(v) => Arg::DType(*v),
            Value::None => Arg::None,
            Value::Device(_)
            | Value::Tuple(_)
            | Value::List(_)
            | Value::Dict(_)
            | Value::Object(_)
            | Value::Iterator(_)
            | Value::Staged(_)
            | Value::Undefined => return None,
        })
    }

    /// The elements of a list, a tuple or a named tuple as they are now.
    pub fn elements(&self) -> Result<Vec<Value>> {
        match self {
            Value::Tuple(v) => Ok(v.to_vec()),
            Value::List(v) => Ok(v.borrow().clone()),
            Value::Object(v) if v.shape.kind == ClassKind::Tuple => Ok(v.fields.borrow().clone()),
            other => Err(other.unexpected("a list or a tuple")),
        }
    }

    /// The ints of a list or a tuple, or of one int.
    pub fn to_ints(&self) -> Result<Vec<i64>> {
        match self {
            Value::Int(v) => Ok(vec![*v]),
            Value::Tensor(t) => Ok(t.to_scalars()?.into_iter().map(Scalar::to_i64).collect()),
            other => other
                .elements()?
                .iter()
                .map(|v| match v {
                    Value::Tensor(t) => Ok(t.item()?.to_i64()),
                    other => other.int(),
                })
                .collect(),
        }
    }

    /// What `if` makes of it.
    pub fn truth(&self) -> Result<bool> {
        Ok(match self {
            Value::None => false,
            Value::Int(v) => *v != 0,
            Value::Float(v) => *v != 0.0,
            Value::Bool(v) => *v,
            Value::Str(v) => !v.is_empty(),
            Value::Tensor(t) => return truth_of(t),
            Value::Tuple(v) => !v.is_empty(),
            Value::List(v) => !v.borrow().is_empty(),
            Value::Dict(v) => !v.borrow().is_empty(),
            Value::Iterator(v) => v.truth(),
            Value::DType(_) | Value::Device(_) => true,
            Value::Staged(_) | Value::Undefined => {
                return Err(autograph::unknown(self, "where the host has to decide"));
            }
            Value::Object(v) => v.shape.kind != ClassKind::Tuple || !v.fields.borrow().is_empty(),
        })
    }
}

/// The truth of a tensor of one element, for a branch of the host.
pub(crate) fn truth_of(t: &Tensor) -> Result<bool> {
    if t.numel() != 1 {
        return Err(Error::value(format!(
            "the truth of a tensor with {} elements is not known; shape {:?}",
            t.numel(),
            t.shape()
        ))
        .hint("use .any() or .all()"));
    }
    let seen = runtime::door::observe(t, runtime::door::Observe::Truth, runtime::Origin::caller())?;
    Ok(seen.item()?.to_bool())
}

impl From<Scalar> for Value {
    fn from(scalar: Scalar) -> Value {
        match scalar {
            Scalar::Int(v) => Value::Int(v),
            Scalar::Float(v) => Value::Float(v),
            Scalar::Bool(v) => Value::Bool(v),
        }
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Value {
        Value::Tensor(tensor)
    }
}

impl From<Option<Tensor>> for Value {
    fn from(tensor: Option<Tensor>) -> Value {
        tensor.map_or(Value::None, Value::Tensor)
    }
}

impl From<i64> for Value {
    fn from(v: i64) -> Value {
        Value::Int(v)
    }
}

impl From<usize> for Value {
    fn from(v: usize) -> Value {
        Value::Int(v as i64)
    }
}

impl From<f64> for Value {
    fn from(v: f64) -> Value {
        Value::Float(v)
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Value {
        Value::Bool(v)
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Value {
        Value::str(v)
    }
}

impl From<String> for Value {
    fn from(v: String) -> Value {
        Value::str(v)
    }
}
