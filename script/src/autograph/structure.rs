//! Values leaf by leaf: a branch chooses between the tensors and numbers of two values of one structure, a loop carries
//! those of one.

use super::numbers;
use super::state::is_same;
use crate::value::{ClassKind, Dict, Object, Value};
use runtime::error::Result;
use runtime::{DType, Tensor};
use std::cell::RefCell;
use std::rc::Rc;

/// Two values that no graph can choose between or carry on from one to the other: what differs, and what they are.
pub(super) struct Differ {
    pub(super) name: String,
    pub(super) values: [String; 2],
}

/// Why two values did not become one.
pub(super) enum Stop {
    Differ(Box<Differ>),
    Error(runtime::Error),
}

impl From<runtime::Error> for Stop {
    fn from(error: runtime::Error) -> Stop {
        Stop::Error(error)
    }
}

/// What a value is, for a reader of an error.
pub(super) fn described(value: &Value) -> String {
    match value {
        Value::Tensor(t) => t.tensor_type().to_string(),
        Value::Staged(_) => format!("a {}", value.type_name()),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
            format!("the {} {}", value.type_name(), value.repr())
        }
        Value::None => "None".to_string(),
        Value::Str(_) => format!("the str {}", value.repr()),
        Value::Tuple(parts) => format!("a tuple of {}", parts.len()),
        Value::List(list) => format!("a list of {}", list.borrow().len()),
        Value::Dict(dict) => format!("a dict of {}", dict.borrow().len()),
        Value::Object(object) => format!("a {}", object.shape.name),
        Value::Undefined => "without a value".to_string(),
        Value::DType(_) | Value::Device(_) | Value::Iterator(_) => value.repr(),
    }
}

/// What becomes of two leaves: both tensors, or both numbers of one kind.
pub(super) type Leaf<'a> = &'a mut dyn FnMut(&Value, &Value, &str) -> Result<Value, Stop>;

/// One value of the structure of two, leaf by leaf. With `keep`, what is the same in both stays as it is.
pub(super) fn zip(a: &Value, b: &Value, name: &str, keep: bool, leaf: Leaf) -> Result<Value, Stop> {
    let differ = || {
        let values = [described(a), described(b)];
        Err(Stop::Differ(Box::new(Differ { name: name.to_string(), values })))
    };
    let all = |a: &[Value], b: &[Value], leaf: Leaf| -> Result<Vec<Value>, Stop> {
        let each = a.iter().zip(b).enumerate();
        each.map(|(i, (a, b))| zip(a, b, &format!("{name}[{i}]"), keep, leaf)).collect()
    };
    if keep && is_same(a, b) {
        return Ok(a.clone());
    }
    if let (Some(x), Some(y)) = (numbers::kind(a), numbers::kind(b)) {
        return if x == y { leaf(a, b, name) } else { differ() };
    }
    match (a, b) {
        (Value::Tensor(x), Value::Tensor(y)) => {
            if x.tensor_type() == y.tensor_type() {
                leaf(a, b, name)
            } else {
                differ()
            }
        }
        (Value::Tuple(x), Value::Tuple(y)) if x.len() == y.len() => Ok(Value::Tuple(all(x, y, leaf)?.into())),
        (Value::List(x), Value::List(y)) if x.borrow().len() == y.borrow().len() => {
            let (x, y) = (x.borrow().clone(), y.borrow().clone());
            Ok(Value::list(all(&x, &y, leaf)?))
        }
        (Value::Dict(x), Value::Dict(y)) => {
            let entries = |d: &Dict| d.iter().map(|(k, v)| (k.clone(), v.clone())).collect::<Vec<_>>();
            let (x, y) = (entries(&x.borrow()), entries(&y.borrow()));
            let same_keys = x.len() == y.len() && x.iter().zip(&y).all(|((a, _), (b, _))| is_same(a, b));
            if !same_keys {
                return differ();
            }
            let mut dict = Dict::new();
            for ((key, x), (_, y)) in x.iter().zip(&y) {
                dict.insert(key.clone(), zip(x, y, &format!("{name}[{}]", key.repr()), keep, leaf)?)?;
            }
            Ok(Value::dict(dict))
        }
        (Value::Object(x), Value::Object(y)) if x.shape == y.shape && x.shape.kind != ClassKind::Plain => {
            let (from, to) = (x.fields.borrow().clone(), y.fields.borrow().clone());
            let mut fields = Vec::with_capacity(from.len());
            for ((a, b), field) in from.iter().zip(&to).zip(&x.shape.fields) {
                fields.push(zip(a, b, &format!("{name}.{field}"), keep, leaf)?);
            }
            Ok(Value::Object(Rc::new(Object { shape: x.shape.clone(), fields: RefCell::new(fields) })))
        }
        _ if is_same(a, b) => Ok(a.clone()),
        _ => differ(),
    }
}

/// Every tensor and number of a value, in the order of `zip`.
pub(super) fn leaves(value: &Value, out: &mut Vec<Value>) -> Result<(), Stop> {
    zip(value, value, "", false, &mut |leaf, _, _| {
        out.push(leaf.clone());
        Ok(leaf.clone())
    })
    .map(|_| ())
}

/// A value of the same structure with other leaves: tensors where there were tensors, staged numbers for numbers.
pub(super) fn rebuilt(value: &Value, tensors: &mut dyn Iterator<Item = Tensor>) -> Result<Value, Stop> {
    zip(value, value, "", false, &mut |leaf, _, _| {
        let missing = || runtime::Error::internal("fewer tensors than leaves");
        let tensor = tensors.next().ok_or_else(missing)?;
        Ok(if let Value::Tensor(_) = leaf { Value::Tensor(tensor) } else { Value::Staged(tensor) })
    })
}

/// The tensor of a leaf.
pub(super) fn tensor(leaf: &Value) -> Result<Tensor> {
    match leaf {
        Value::Tensor(t) => Ok(t.clone()),
        number => numbers::tensor(number, numbers::kind(number).unwrap_or(DType::F64)),
    }
}

/// A value of the same structure whose leaves are zero. Nobody reads it: a variable says so.
pub(super) fn filler(value: &Value) -> Result<Value, Stop> {
    zip(value, value, "", false, &mut |leaf, _, _| {
        Ok(match (leaf, numbers::kind(leaf)) {
            (Value::Tensor(t), _) => Value::Tensor(Tensor::zeros(t.shape(), t.dtype(), t.device())?),
            (_, Some(DType::Bool)) => Value::Bool(false),
            (_, Some(DType::I64)) => Value::Int(0),
            _ => Value::Float(0.0),
        })
    })
}
