//! Between values of programs and what the runtime takes: tensors, and arguments of torch's calls.

use super::{ClassKind, Value};
use crate::autograph;
use crate::calls;
use runtime::error::{Error, Result};
use runtime::{Arg, DType, DeviceId, Host, Scalar, Tensor};

/// A host number as a tensor of rank 0 with torch's default type for it.
pub fn tensor_of(number: Scalar) -> Result<Tensor> {
    let (arg, dtype) = match number {
        Scalar::Int(v) => (Arg::Int(v), DType::I64),
        Scalar::Float(v) => (Arg::Float(v), DType::F32),
        Scalar::Bool(v) => (Arg::Bool(v), DType::Bool),
    };
    Tensor::full(&[], arg, dtype, DeviceId::Cpu)
}

/// The extents and elements of nested lists; tensors within stand for their elements.
fn walk(value: &Value, depth: usize, dims: &mut Vec<usize>, out: &mut Vec<Scalar>, full: bool) -> Result<()> {
    let ragged = |expected: usize, found: usize| {
        Error::value(format!(
            "ValueError: expected sequence of length {expected} at dim {depth} (got {found})"
        ))
    };
    if let Some(number) = value.scalar() {
        out.push(number);
        return match dims.len() == depth {
            true => Ok(()),
            false => Err(Error::value(format!("TypeError: a number at dim {depth} beside sequences"))),
        };
    }
    if let Value::Tensor(t) = value {
        for (i, &n) in t.shape().iter().enumerate() {
            match dims.get(depth + i) {
                Some(&expected) if expected != n => return Err(ragged(expected, n)),
                Some(_) => {}
                None if full => return Err(ragged(0, n)),
                None => dims.push(n),
            }
        }
        out.extend(t.to_scalars()?);
        return Ok(());
    }
    let elements = value.elements().map_err(|_| value.unexpected("numbers or nested lists of numbers"))?;
    match dims.get(depth) {
        Some(&expected) if expected != elements.len() => return Err(ragged(expected, elements.len())),
        Some(_) => {}
        None if full => return Err(ragged(0, elements.len())),
        None => dims.push(elements.len()),
    }
    for (i, element) in elements.iter().enumerate() {
        walk(element, depth + 1, dims, out, full || i > 0)?;
    }
    Ok(())
}

/// A tensor of nested lists of numbers, of torch's type for them or of this one.
pub fn tensor_of_list(value: &Value, dtype: Option<DType>) -> Result<Tensor> {
    let (mut dims, mut numbers) = (Vec::new(), Vec::new());
    walk(value, 0, &mut dims, &mut numbers, false)?;
    let any = |f: fn(&Scalar) -> bool| numbers.iter().any(f);
    let natural = if numbers.is_empty() || any(|n| matches!(n, Scalar::Float(_))) {
        DType::F32
    } else if any(|n| matches!(n, Scalar::Int(_))) {
        DType::I64
    } else {
        DType::Bool
    };
    match natural {
        DType::Bool => {
            let all: Vec<bool> = numbers.iter().map(|n| n.to_bool()).collect();
            Tensor::from_slice(&all, &dims)?.to(dtype.unwrap_or(natural))
        }
        DType::I64 => {
            let all: Vec<i64> = numbers.iter().map(|n| n.to_i64()).collect();
            Tensor::from_slice(&all, &dims)?.to(dtype.unwrap_or(natural))
        }
        _ => {
            let all: Vec<f64> = numbers.iter().map(|n| n.to_f64()).collect();
            Tensor::from_slice(&all, &dims)?.to(dtype.unwrap_or(natural))
        }
    }
}

/// The values of these tensors, as arguments of a function.
pub fn from_tensors(tensors: &[Tensor]) -> Vec<Value> {
    tensors.iter().cloned().map(Value::Tensor).collect()
}

/// The tensors that a value consists of, in order: of tuples, lists, objects and dicts those of their elements; a host
/// number is a tensor of rank 0, a list of ints one of rank 1, and `None`, text and types are nothing.
pub fn flatten(value: &Value) -> Result<Vec<Tensor>> {
    let mut out = Vec::new();
    gather(value, &mut out)?;
    Ok(out)
}

fn gather(value: &Value, out: &mut Vec<Tensor>) -> Result<()> {
    match value {
        Value::Tensor(t) => out.push(t.clone()),
        Value::Int(_) | Value::Bool(_) => out.push(tensor_of(value.scalar().unwrap_or(Scalar::Int(0)))?),
        // Of the type that holds it without rounding.
        Value::Float(v) => out.push(Tensor::scalar(*v)),
        Value::Staged(t) => out.push(t.clone()),
        Value::None | Value::Str(_) | Value::DType(_) | Value::Device(_) | Value::Undefined => {}
        Value::Tuple(values) => values.iter().try_for_each(|v| gather(v, out))?,
        Value::List(list) => {
            let list = list.borrow();
            if let Some(ints) = autograph::ints(&list)? {
                out.push(ints);
                return Ok(());
            }
            match list
                .iter()
                .map(|v| if let Value::Int(n) = v { Some(*n) } else { None })
                .collect::<Option<Vec<_>>>()
            {
                Some(ints) => out.push(Tensor::from_slice(&ints, &[ints.len()])?),
                None => list.iter().try_for_each(|v| gather(v, out))?,
            }
        }
        Value::Dict(dict) => dict.borrow().iter().try_for_each(|(_, v)| gather(v, out))?,
        Value::Object(object) => {
            let _within = super::objects::Within::enter()?;
            object.fields.borrow().iter().try_for_each(|v| gather(v, out))?;
        }
        Value::Iterator(_) => {
            super::Cursor::over(value)?.collect()?.iter().try_for_each(|v| gather(v, out))?;
        }
    }
    Ok(())
}

impl Value {
    /// The argument of a torch call.
    pub fn to_call(&self) -> Result<calls::Value> {
        let host = |h| Ok(calls::Value::Host(h));
        match self {
            Value::Tensor(t) | Value::Staged(t) => Ok(calls::Value::Tensor(t.clone())),
            Value::Int(v) => host(Host::Scalar(Scalar::Int(*v))),
            Value::Float(v) => host(Host::Scalar(Scalar::Float(*v))),
            Value::Bool(v) => host(Host::Scalar(Scalar::Bool(*v))),
            Value::Str(v) => host(Host::Str(v.clone())),
            Value::DType(v) => host(Host::DType(*v)),
            Value::Device(v) => host(Host::Str(v.to_string().into())),
            Value::None => host(Host::None),
            Value::Tuple(values) => list_to_call(values),
            Value::List(values) => list_to_call(&values.borrow()),
            Value::Object(object) if object.shape.kind == ClassKind::Tuple => {
                list_to_call(&object.fields.borrow())
            }
            Value::Iterator(_) => list_to_call(&super::Cursor::over(self)?.collect()?),
            Value::Dict(_) | Value::Object(_) | Value::Undefined => {
                Err(self.unexpected("an argument of a tensor function"))
            }
        }
    }
}

fn list_to_call(values: &[Value]) -> Result<calls::Value> {
    let int = |v: &Value| if let Value::Int(n) = v { Some(*n) } else { None };
    Ok(match values.iter().map(int).collect::<Option<_>>() {
        Some(ints) => calls::Value::Host(Host::Ints(ints)),
        None => calls::Value::List(values.iter().map(Value::to_call).collect::<Result<_>>()?),
    })
}
