//! Places within values: elements of lists, tuples, dicts, strings and tensors, and fields of objects.

use super::Machine;
use crate::autograph;
use crate::tree::{Expr, IndexPart};
use crate::value::{ClassKind, Value, missing, tensor_of_list};
use runtime::error::{Error, Result};
use runtime::ops::Index;
use runtime::{DType, Tensor};
use smallvec::SmallVec;

/// The entries of a tensor's index.
pub(crate) type Indices = SmallVec<[Index; 4]>;

impl<'p> Machine<'p, '_> {
    /// The index of a tensor.
    pub(super) fn index(&mut self, tensor: &Tensor, parts: &'p [IndexPart]) -> Result<Indices> {
        let mut out = Indices::new();
        for part in parts {
            out.push(match part {
                IndexPart::Int(e) => match self.eval(e)? {
                    Value::Int(i) => Index::At(i),
                    Value::Bool(on) => Index::Truth(on),
                    Value::Tensor(t) | Value::Staged(t) => Index::Places(t),
                    other => return Err(other.unexpected("an int")),
                },
                IndexPart::Slice { start, stop, step } => {
                    let [start, stop, step] = self.bounds(start, stop, step)?;
                    Index::Slice(start, stop, step.unwrap_or(1))
                }
                IndexPart::New => Index::New,
                IndexPart::Ellipsis => Index::Ellipsis,
                IndexPart::Tensor(e) => Index::Places(self.eval(e)?.tensor()?.clone()),
                IndexPart::List(e) => {
                    let places = tensor_of_list(&self.eval(e)?, None)?;
                    // A list without elements names no place, as integers do.
                    let places = if places.numel() == 0 { places.to(DType::I64)? } else { places };
                    Index::Places(places.to_device(tensor.device())?)
                }
            });
        }
        Ok(out)
    }

    /// Start, stop and step of a slice.
    pub(super) fn bounds(
        &mut self,
        start: &'p Option<Expr>,
        stop: &'p Option<Expr>,
        step: &'p Option<Expr>,
    ) -> Result<[Option<i64>; 3]> {
        let mut bound = |e: &'p Option<Expr>| match e {
            None => Ok(None),
            Some(e) => match self.eval(e)? {
                Value::None => Ok(None),
                value @ Value::Staged(_) => {
                    Err(autograph::unknown(&value, "as a bound of a slice, which decides a shape"))
                }
                Value::Tensor(t) => Ok(Some(t.item()?.to_i64())),
                other => other.int().map(Some),
            },
        };
        Ok([bound(start)?, bound(stop)?, bound(step)?])
    }
}

/// Whether what an index names is a copy and no view.
pub(crate) fn copies(index: &[Index]) -> bool {
    index.iter().any(|i| matches!(i, Index::Places(_) | Index::Truth(_)))
}

/// Writes a tensor or a number over elements of a tensor.
pub(crate) fn set_elements(tensor: &Tensor, index: &[Index], value: &Value) -> Result<()> {
    match value {
        Value::Tensor(t) => tensor.set_at(index, t),
        Value::Staged(t) => tensor.set_at(index, &autograph::like(t, tensor)?),
        other => {
            let number =
                other.scalar().and(other.arg()).ok_or_else(|| other.unexpected("a tensor or a number"))?;
            tensor.set_at(index, &Tensor::full(&[], number, tensor.dtype(), tensor.device())?)
        }
    }
}

/// A field of an object.
pub(crate) fn field(object: &Value, field: u32) -> Result<Value> {
    let Value::Object(object) = object else { return Err(object.unexpected("an object")) };
    let fields = object.fields.borrow();
    let value = fields.get(field as usize).cloned();
    value.ok_or_else(|| Error::internal(format!("a {} has no field {field}", object.shape.name)))
}

/// A place counted from the end where negative.
fn place(i: i64, n: usize, of: &str) -> Result<usize> {
    let at = if i < 0 { i + n as i64 } else { i };
    match usize::try_from(at) {
        Ok(at) if at < n => Ok(at),
        _ => Err(Error::index(format!("IndexError: {of} index {i} out of range (length {n})"))),
    }
}

/// `container[key]` of host values.
pub(crate) fn item(container: &Value, key: &Value) -> Result<Value> {
    match (container, key) {
        (Value::List(list), Value::Staged(at)) => return autograph::element(&list.borrow(), at),
        (Value::Tuple(parts), Value::Staged(at)) => return autograph::element(parts, at),
        _ => {}
    }
    match container {
        Value::List(list) => {
            let list = list.borrow();
            Ok(list[place(key.int()?, list.len(), "list")?].clone())
        }
        Value::Tuple(values) => Ok(values[place(key.int()?, values.len(), "tuple")?].clone()),
        Value::Dict(dict) => dict.borrow().at(key),
        Value::Str(text) => {
            let chars: Vec<char> = text.chars().collect();
            Ok(Value::str(chars[place(key.int()?, chars.len(), "string")?].to_string()))
        }
        Value::Object(object) if object.shape.kind == ClassKind::Tuple => {
            let fields = object.fields.borrow();
            Ok(fields[place(key.int()?, fields.len(), "tuple")?].clone())
        }
        Value::Tensor(t) => t.at(&[Index::At(key.int()?)]).map(Value::Tensor),
        Value::Iterator(lazy) => lazy.at(key.int()?),
        other => Err(Error::value(format!("TypeError: '{}' object is not subscriptable", other.type_name()))),
    }
}

/// `tensor.shape[dim]`.
pub(super) fn extent(tensor: &Tensor, dim: i64) -> Result<Value> {
    let at = place(dim, tensor.rank(), "list")?;
    tensor.observe_extent(Some(at))?;
    Ok(tensor.shape()[at].into())
}

/// `container[key] = value` of a list or dict.
pub(crate) fn set_item(container: &Value, key: Value, value: Value) -> Result<()> {
    match container {
        Value::List(list) => {
            let mut list = list.borrow_mut();
            let at = place(key.int()?, list.len(), "list assignment")?;
            list[at] = value;
            Ok(())
        }
        Value::Dict(dict) => dict.borrow_mut().insert(key, value),
        Value::Tensor(t) => set_elements(t, &[Index::At(key.int()?)], &value),
        other => Err(Error::value(format!(
            "TypeError: '{}' object does not support item assignment",
            other.type_name()
        ))),
    }
}

/// `del container[key]`.
pub(crate) fn delete(container: &Value, key: &Value) -> Result<()> {
    match container {
        Value::List(list) => {
            let mut list = list.borrow_mut();
            let at = place(key.int()?, list.len(), "list assignment")?;
            list.remove(at);
            Ok(())
        }
        Value::Dict(dict) => dict.borrow_mut().remove(key)?.map(|_| ()).ok_or_else(|| missing(key)),
        other => Err(Error::value(format!(
            "TypeError: '{}' object does not support item deletion",
            other.type_name()
        ))),
    }
}

/// The places that `start:stop:step` names among `n`.
fn sliced(n: usize, [start, stop, step]: [Option<i64>; 3]) -> Result<Vec<usize>> {
    let (n, step) = (n as i64, step.unwrap_or(1));
    if step == 0 {
        return Err(Error::value("ValueError: slice step cannot be zero"));
    }
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let bound = |given: Option<i64>, default: i64| match given {
        None => default,
        Some(i) => (if i < 0 { i.saturating_add(n) } else { i }).clamp(low, high),
    };
    let (mut at, stop) = match step > 0 {
        true => (bound(start, 0), bound(stop, n)),
        false => (bound(start, n - 1), bound(stop, -1)),
    };
    let mut out = Vec::new();
    while if step > 0 { at < stop } else { at > stop } {
        out.push(at as usize);
        at = at.saturating_add(step);
    }
    Ok(out)
}

/// `container[start:stop:step]` of a list, tuple or string.
pub(crate) fn slice(container: &Value, bounds: [Option<i64>; 3]) -> Result<Value> {
    let pick = |values: &[Value]| -> Result<Vec<Value>> {
        Ok(sliced(values.len(), bounds)?.into_iter().map(|i| values[i].clone()).collect())
    };
    match container {
        Value::List(list) => Ok(Value::list(pick(&list.borrow())?)),
        Value::Tuple(values) => Ok(Value::tuple(pick(values)?)),
        Value::Object(object) if object.shape.kind == ClassKind::Tuple => {
            Ok(Value::tuple(pick(&object.fields.borrow())?))
        }
        Value::Str(text) => {
            let chars: Vec<char> = text.chars().collect();
            let picked: String = sliced(chars.len(), bounds)?.into_iter().map(|i| chars[i]).collect();
            Ok(Value::str(picked))
        }
        other => Err(Error::value(format!("TypeError: '{}' object is not subscriptable", other.type_name()))),
    }
}
