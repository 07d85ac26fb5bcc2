//! Equality and order as Python's: numbers by value whatever their types, sequences element by element.

use super::dict::whole;
use super::objects::Within;
use super::{ClassKind, Object, Value};
use crate::syntax::CompareOp;
use runtime::error::{Error, Result};
use std::cmp::Ordering;
use std::rc::Rc;

/// An int beside a float, exactly: neither is rounded to the other's type.
fn int_float(a: i64, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    match whole(b.trunc()) {
        Some(t) => {
            Some(a.cmp(&t).then_with(|| 0.0f64.partial_cmp(&(b - b.trunc())).unwrap_or(Ordering::Equal)))
        }
        None => Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater }),
    }
}

fn as_int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(v) => Some(*v),
        Value::Bool(v) => Some(*v as i64),
        _ => None,
    }
}

/// The order of two numbers; `None` outside where one is no number, inside where one is not a number.
fn numbers(a: &Value, b: &Value) -> Option<Option<Ordering>> {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => Some(a.partial_cmp(b)),
        (Value::Float(a), b) => as_int(b).map(|b| int_float(b, *a).map(Ordering::reverse)),
        (a, Value::Float(b)) => as_int(a).map(|a| int_float(a, *b)),
        (a, b) => as_int(a).zip(as_int(b)).map(|(a, b)| Some(a.cmp(&b))),
    }
}

/// Whether they are one and the same.
pub fn is(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::None, Value::None) => true,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::Tensor(a), Value::Tensor(b)) => a.same(b),
        (Value::DType(a), Value::DType(b)) => a == b,
        (Value::Device(a), Value::Device(b)) => a == b,
        (Value::Tuple(a), Value::Tuple(b)) => Rc::ptr_eq(a, b),
        (Value::List(a), Value::List(b)) => Rc::ptr_eq(a, b),
        (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
        (Value::Object(a), Value::Object(b)) => Rc::ptr_eq(a, b),
        (Value::Iterator(a), Value::Iterator(b)) => Rc::ptr_eq(a, b),
        _ => false,
    }
}

/// Equality within containers: what is the same is equal even where `==` would deny it (a NaN), or ask for a truth.
fn same_or_equal(a: &Value, b: &Value) -> Result<bool> {
    Ok(is(a, b) || equals(a, b)?)
}

fn all_equal(a: &[Value], b: &[Value]) -> Result<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(b) {
        if !same_or_equal(a, b)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn objects_equal(a: &Rc<Object>, b: &Rc<Object>) -> Result<bool> {
    if Rc::ptr_eq(a, b) {
        return Ok(true);
    }
    let _within = Within::enter()?;
    match (a.shape.kind, b.shape.kind) {
        (ClassKind::Tuple, ClassKind::Tuple) => all_equal(&a.fields.borrow(), &b.fields.borrow()),
        (ClassKind::Data, ClassKind::Data) if a.shape.class == b.shape.class => {
            all_equal(&a.fields.borrow(), &b.fields.borrow())
        }
        _ => Ok(false),
    }
}

/// An operand of a tensor's comparison.
fn number_or_tensor(value: &Value) -> Option<runtime::Arg<'_>> {
    value.arg().filter(|_| value.scalar().is_some() || matches!(value, Value::Tensor(_)))
}

/// `a == b`. Tensors are compared by their one element; those of more have no truth.
pub fn equals(a: &Value, b: &Value) -> Result<bool> {
    if let Some(order) = numbers(a, b) {
        return Ok(order == Some(Ordering::Equal));
    }
    match (a, b) {
        (Value::Staged(_), _) | (_, Value::Staged(_)) => {
            Err(crate::autograph::unknown(a, "where the host compares"))
        }
        (Value::Tensor(t), other) | (other, Value::Tensor(t)) => match number_or_tensor(other) {
            Some(other) => super::truth_of(&t.eq(other)?),
            None => Ok(false),
        },
        (Value::Tuple(a), Value::Tuple(b)) => all_equal(a, b),
        (Value::List(a), Value::List(b)) => {
            if Rc::ptr_eq(a, b) {
                Ok(true)
            } else {
                all_equal(&a.borrow(), &b.borrow())
            }
        }
        (Value::Dict(a), Value::Dict(b)) => {
            let (a, b) = (a.borrow(), b.borrow());
            if a.len() != b.len() {
                return Ok(false);
            }
            for (key, value) in a.iter() {
                match b.get(key)? {
                    Some(other) if same_or_equal(value, other)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        (Value::Object(a), Value::Object(b)) => objects_equal(a, b),
        (Value::Object(a), Value::Tuple(b)) | (Value::Tuple(b), Value::Object(a))
            if a.shape.kind == ClassKind::Tuple =>
        {
            all_equal(&a.fields.borrow(), b)
        }
        (a, b) => Ok(is(a, b)),
    }
}

/// The order of two sequences: that of the first elements that differ, else of their lengths.
fn sequences(a: &[Value], b: &[Value], op: CompareOp) -> Result<bool> {
    for (x, y) in a.iter().zip(b) {
        if !same_or_equal(x, y)? {
            return compare(op, x, y);
        }
    }
    Ok(holds(op, Some(a.len().cmp(&b.len()))))
}

fn holds(op: CompareOp, order: Option<Ordering>) -> bool {
    match op {
        CompareOp::Lt => order == Some(Ordering::Less),
        CompareOp::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        CompareOp::Gt => order == Some(Ordering::Greater),
        CompareOp::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        CompareOp::Eq => order == Some(Ordering::Equal),
        CompareOp::Ne => order != Some(Ordering::Equal),
        CompareOp::Is | CompareOp::IsNot | CompareOp::In | CompareOp::NotIn => false,
    }
}

/// `a op b`.
pub fn compare(op: CompareOp, a: &Value, b: &Value) -> Result<bool> {
    match op {
        CompareOp::Is => return Ok(is(a, b)),
        CompareOp::IsNot => return Ok(!is(a, b)),
        CompareOp::In => return contains(b, a),
        CompareOp::NotIn => return Ok(!contains(b, a)?),
        CompareOp::Eq => return equals(a, b),
        CompareOp::Ne => return Ok(!equals(a, b)?),
        CompareOp::Lt | CompareOp::Le | CompareOp::Gt | CompareOp::Ge => {}
    }
    if let Some(order) = numbers(a, b) {
        return Ok(holds(op, order));
    }
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Ok(holds(op, Some(a.cmp(b)))),
        (Value::Tuple(a), Value::Tuple(b)) => sequences(a, b, op),
        (Value::List(a), Value::List(b)) => sequences(&a.borrow(), &b.borrow(), op),
        (Value::Object(x), Value::Object(y))
            if (x.shape.kind, y.shape.kind) == (ClassKind::Tuple, ClassKind::Tuple) =>
        {
            sequences(&x.fields.borrow(), &y.fields.borrow(), op)
        }
        (Value::Tensor(a), Value::Tensor(b)) => super::truth_of(&match op {
            CompareOp::Lt => a.lt(b)?,
            CompareOp::Le => a.le(b)?,
            CompareOp::Gt => a.gt(b)?,
            _ => a.ge(b)?,
        }),
        _ => Err(Error::value(format!(
            "TypeError: no order between '{}' and '{}'",
            a.type_name(),
            b.type_name()
        ))),
    }
}

/// `value in container`.
pub fn contains(container: &Value, value: &Value) -> Result<bool> {
    let any = |elements: &[Value]| {
        for element in elements {
            if same_or_equal(element, value)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    match container {
        Value::Dict(dict) => dict.borrow().contains(value),
        Value::Str(text) => Ok(text.contains(value.text()?)),
        Value::List(list) => any(&list.borrow()),
        Value::Tuple(values) => any(values),
        Value::Tensor(t) => {
            let value = number_or_tensor(value).ok_or_else(|| value.unexpected("a tensor or a number"))?;
            let equal = t.eq(value)?;
            Ok(equal.to_scalars()?.into_iter().any(runtime::Scalar::to_bool))
        }
        other => any(&super::Cursor::over(other)?.collect()?),
    }
}
