//! Numbers that are known when the graph runs, as tensors of rank 0: ints of 64 bits, floats of 64 bits, bools. What the
//! host does with ints and floats, tensor operations do here, with one difference: an int that overflows wraps around, and
//! a division of ints by zero gives what the tensor operation gives, since a graph has no exceptions.

use crate::arithmetic;
use crate::syntax::{BinaryOp, CompareOp};
use crate::tree::Conversion;
use crate::value::Value;
use runtime::error::{Error, Result};
use runtime::table::OpDef;
use runtime::{Arg, DType, DeviceId, Origin, Tensor, door};

/// What kind of number a value is, as the type of the tensor that stands for it.
pub(crate) fn kind(value: &Value) -> Option<DType> {
    match value {
        Value::Int(_) => Some(DType::I64),
        Value::Float(_) => Some(DType::F64),
        Value::Bool(_) => Some(DType::Bool),
        Value::Staged(t) => Some(t.dtype()),
        _ => None,
    }
}

/// Whether either is known only when the graph runs, and both are numbers.
pub(crate) fn either(a: &Value, b: &Value) -> bool {
    matches!((a, b), (Value::Staged(_), _) | (_, Value::Staged(_))) && kind(a).is_some() && kind(b).is_some()
}

/// The tensor of a number, of a type.
pub(crate) fn tensor(value: &Value, dtype: DType) -> Result<Tensor> {
    let full = |arg: Arg| Tensor::full(&[], arg, dtype, DeviceId::Cpu);
    match value {
        Value::Staged(t) if t.dtype() == dtype => Ok(t.clone()),
        Value::Staged(t) => t.to(dtype),
        Value::Int(v) => full(Arg::Int(*v)),
        Value::Float(v) => full(Arg::Float(*v)),
        Value::Bool(v) => full(Arg::Bool(*v)),
        other => Err(other.unexpected("a number")),
    }
}

/// The number that a tensor of one element holds, as `.item()` gives it: no gradient goes through it, and no later write
/// to the tensor is seen.
pub(crate) fn item(t: &Tensor) -> Result<Value> {
    if t.numel() != 1 {
        return Err(Error::value(format!(
            "a tensor of {} elements is no number; shape {:?}",
            t.numel(),
            t.shape()
        )));
    }
    let t = t.detach()?;
    let t = if t.rank() == 0 { t } else { t.reshape(&[])? };
    let dtype = match t.dtype() {
        DType::Bool => DType::Bool,
        d if d.is_float() => DType::F64,
        _ => DType::I64,
    };
    Ok(Value::Staged(if t.dtype() == dtype { t.copy()? } else { t.to(dtype)? }))
}

/// The truth of a number.
pub(crate) fn truth(value: &Value) -> Result<Tensor> {
    match value {
        Value::Staged(t) if t.dtype() == DType::Bool => Ok(t.clone()),
        Value::Staged(t) => t.ne(0i64),
        other => tensor(&Value::Bool(other.truth()?), DType::Bool),
    }
}

fn bind(op: &'static OpDef, a: &Tensor, b: &Tensor) -> Result<Value> {
    door::bind1(op, &[Arg::Tensor(a), Arg::Tensor(b)]).map(Value::Staged)
}

/// `a op b` of numbers, of which one is known when the graph runs.
pub(crate) fn binary(op: BinaryOp, a: &Value, b: &Value) -> Result<Value> {
    let (Some(x), Some(y)) = (kind(a), kind(b)) else {
        return Err(super::unknown(
            if matches!(a, Value::Staged(_)) { a } else { b },
            "beside what is no number",
        ));
    };
    let float = x.is_float() || y.is_float();
    let common = match op {
        BinaryOp::Div => DType::F64,
        _ if float => DType::F64,
        BinaryOp::And | BinaryOp::Or | BinaryOp::Xor if (x, y) == (DType::Bool, DType::Bool) => DType::Bool,
        // Whether an int to the power of an int is an int is known with the exponent's sign.
        BinaryOp::Pow if !matches!(b, Value::Int(0..) | Value::Bool(_)) => DType::F64,
        _ => DType::I64,
    };
    let op = arithmetic::elementwise(op)
        .ok_or_else(|| Error::value("TypeError: numbers have no matrix product"))?;
    bind(op, &tensor(a, common)?, &tensor(b, common)?)
}

/// `-a`.
pub(crate) fn negate(t: &Tensor) -> Result<Value> {
    let t = if t.dtype() == DType::Bool { t.to(DType::I64)? } else { t.clone() };
    t.neg().map(Value::Staged)
}

/// `not a`.
pub(crate) fn not(t: &Tensor) -> Result<Value> {
    truth(&Value::Staged(t.clone()))?.logical_not().map(Value::Staged)
}

/// A comparison of numbers, of which one is known when the graph runs; none where the host can tell.
pub(crate) fn compare(op: CompareOp, a: &Value, b: &Value) -> Result<Option<Value>> {
    if !either(a, b) {
        return Ok(None);
    }
    let float = [a, b].iter().any(|v| kind(v).is_some_and(DType::is_float));
    let common = if float { DType::F64 } else { DType::I64 };
    let (a, b) = (tensor(a, common)?, tensor(b, common)?);
    let holds = match op {
        CompareOp::Eq => a.eq(&b)?,
        CompareOp::Ne => a.ne(&b)?,
        CompareOp::Lt => a.lt(&b)?,
        CompareOp::Le => a.le(&b)?,
        CompareOp::Gt => a.gt(&b)?,
        CompareOp::Ge => a.ge(&b)?,
        CompareOp::Is | CompareOp::IsNot | CompareOp::In | CompareOp::NotIn => return Ok(None),
    };
    Ok(Some(Value::Staged(holds)))
}

/// Python's `min` and `max` of two numbers: the first one, unless the other is less (greater).
pub(crate) fn extreme(op: CompareOp, a: &Value, b: &Value) -> Result<Value> {
    let Some(Value::Staged(other)) = compare(op, b, a)? else {
        return Ok(if crate::value::compare(op, b, a)? { b.clone() } else { a.clone() });
    };
    let float = [a, b].iter().any(|v| kind(v).is_some_and(DType::is_float));
    let common = match (kind(a), kind(b)) {
        (Some(x), Some(y)) if x == y => x,
        _ if float => DType::F64,
        _ => DType::I64,
    };
    let (a, b) = (tensor(a, common)?, tensor(b, common)?);
    other.select_where(&b, &a).map(Value::Staged)
}

/// An implicit conversion of what is not known yet; none where the host can do it.
pub(crate) fn convert(conversion: Conversion, value: &Value) -> Result<Option<Value>> {
    let staged = match value {
        Value::Staged(_) => value.clone(),
        Value::Tensor(t) if t.traced().is_some() => match conversion {
            Conversion::TensorToBool
            | Conversion::TensorToInt
            | Conversion::TensorToFloat
            | Conversion::Truth => item(t)?,
            Conversion::IntToFloat
            | Conversion::BoolToInt
            | Conversion::NumberToTensor
            | Conversion::Unwrap
            | Conversion::ToInts => return Ok(None),
        },
        _ => return Ok(None),
    };
    let cast = |dtype| tensor(&staged, dtype).map(|t| Some(Value::Staged(t)));
    match conversion {
        Conversion::IntToFloat | Conversion::TensorToFloat => cast(DType::F64),
        Conversion::BoolToInt | Conversion::TensorToInt => cast(DType::I64),
        Conversion::TensorToBool | Conversion::Truth => truth(&staged).map(|t| Some(Value::Staged(t))),
        Conversion::NumberToTensor => {
            let dtype = default(&staged);
            Ok(Some(Value::Tensor(tensor(&staged, dtype)?)))
        }
        Conversion::Unwrap => Ok(Some(staged)),
        Conversion::ToInts => {
            Err(super::unknown(&staged, "as a size or a dimension, which decides the types of a graph"))
        }
    }
}

/// torch's type for a tensor of a host number.
pub(crate) fn default(value: &Value) -> DType {
    match kind(value) {
        Some(DType::F64) => DType::F32,
        Some(dtype) => dtype,
        None => DType::F32,
    }
}

/// A number that is known when the graph runs as an operand beside tensors of these types: as host numbers it does not
/// decide the result's type but for its kind.
pub(crate) fn weak(t: &Tensor, beside: impl Iterator<Item = DType>) -> Result<Tensor> {
    let rank = |d: DType| {
        if d == DType::Bool {
            0
        } else if d.is_float() {
            2
        } else {
            1
        }
    };
    let strongest = beside.max_by_key(|&d| (rank(d), d.size()));
    let own = t.dtype();
    let dtype = match strongest {
        Some(d) if rank(d) >= rank(own) => d,
        _ => default(&Value::Staged(t.clone())),
    };
    if dtype == own { Ok(t.clone()) } else { t.to(dtype) }
}

/// Writes of a number into the elements of a tensor: of its type.
pub(crate) fn like(t: &Tensor, target: &Tensor) -> Result<Tensor> {
    if t.dtype() == target.dtype() { Ok(t.clone()) } else { t.to(target.dtype()) }
}

/// Ends the run with `error` if a truth does not hold when the graph runs.
pub(crate) fn check(holds: &Tensor, error: Error) -> Result<()> {
    graph::trace::check(holds, error.at(Origin::caller()))
}
