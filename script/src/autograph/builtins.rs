//! What functions of the language do with values that are known when the graph runs. A function without a line here wants
//! the host's value, and says so.

use super::numbers::{self, binary, convert, extreme, item, kind, tensor};
use super::{loops, unknown};
use crate::syntax::{BinaryOp, CompareOp};
use crate::tree::Conversion;
use crate::value::{Cursor, Value};
use runtime::error::Result;
use runtime::{DType, Tensor};

/// What a function gives; none where the host's own function will do.
type Run = fn(&[Value]) -> Result<Option<Value>>;

const LINES: &[(&str, Run)] = &[
    ("Tensor.item", |a| traced(&a[0]).map(item).transpose()),
    ("Tensor.tolist", |a| traced(&a[0]).map(nested).transpose()),
    ("int", |a| converted(a, Conversion::TensorToInt)),
    ("float", |a| converted(a, Conversion::TensorToFloat)),
    ("bool", |a| converted(a, Conversion::TensorToBool)),
    ("abs", |a| match &a[0] {
        Value::Staged(t) => t.abs().map(|t| Some(Value::Staged(t))),
        _ => Ok(None),
    }),
    ("min", |a| folded(a, CompareOp::Lt)),
    ("max", |a| folded(a, CompareOp::Gt)),
    ("sum", |a| {
        let Some(all) = numbers_of(&a[0])? else { return Ok(None) };
        let start = a.get(1).cloned().unwrap_or(Value::Int(0));
        all.iter().try_fold(start, |sum, v| add(&sum, v)).map(Some)
    }),
    ("pow", |a| match a {
        [x, y] if numbers::either(x, y) => binary(BinaryOp::Pow, x, y).map(Some),
        _ => Ok(None),
    }),
    ("any", |a| quantified(&a[0], BinaryOp::Or)),
    ("all", |a| quantified(&a[0], BinaryOp::And)),
    ("range", loops::range),
    ("torch.tensor", made),
    ("torch.as_tensor", made),
    ("math.sqrt", |a| real(a, Tensor::sqrt)),
    ("math.exp", |a| real(a, Tensor::exp)),
    ("math.expm1", |a| real(a, Tensor::expm1)),
    ("math.log", |a| if a.len() == 1 { real(a, Tensor::log) } else { Ok(None) }),
    ("math.log2", |a| real(a, Tensor::log2)),
    ("math.log10", |a| real(a, Tensor::log10)),
    ("math.log1p", |a| real(a, Tensor::log1p)),
    ("math.sin", |a| real(a, Tensor::sin)),
    ("math.cos", |a| real(a, Tensor::cos)),
    ("math.tan", |a| real(a, Tensor::tan)),
    ("math.sinh", |a| real(a, Tensor::sinh)),
    ("math.cosh", |a| real(a, Tensor::cosh)),
    ("math.tanh", |a| real(a, Tensor::tanh)),
    ("math.atan", |a| real(a, Tensor::atan)),
    ("math.fabs", |a| real(a, Tensor::abs)),
    ("math.erf", |a| real(a, Tensor::erf)),
    ("math.floor", |a| whole(a, Tensor::floor)),
    ("math.ceil", |a| whole(a, Tensor::ceil)),
    ("math.trunc", |a| whole(a, Tensor::trunc)),
    ("math.isnan", |a| asked(a, Tensor::isnan)),
    ("math.isinf", |a| asked(a, Tensor::isinf)),
    ("math.isfinite", |a| asked(a, Tensor::isfinite)),
];

/// What a function of the language gives while a program is staged; none where the host's own function will do.
pub(crate) fn run(name: &str, args: &[Value]) -> Result<Option<Value>> {
    match LINES.iter().find(|(line, _)| *line == name) {
        Some((_, run)) => run(args),
        None => Ok(None),
    }
}

fn traced(value: &Value) -> Option<&Tensor> {
    match value {
        Value::Tensor(t) => Some(t).filter(|t| t.traced().is_some()),
        _ => None,
    }
}

fn converted(a: &[Value], conversion: Conversion) -> Result<Option<Value>> {
    a.first().map_or(Ok(None), |value| convert(conversion, value))
}

fn staged(a: &[Value]) -> Result<Option<Tensor>> {
    match a {
        [value @ Value::Staged(_), ..] => tensor(value, DType::F64).map(Some),
        _ => Ok(None),
    }
}

fn real(a: &[Value], f: fn(&Tensor) -> Result<Tensor>) -> Result<Option<Value>> {
    let Some(t) = staged(a)? else { return Ok(None) };
    f(&t).map(|t| Some(Value::Staged(t)))
}

fn whole(a: &[Value], f: fn(&Tensor) -> Result<Tensor>) -> Result<Option<Value>> {
    let Some(t) = staged(a)? else { return Ok(None) };
    f(&t)?.to(DType::I64).map(|t| Some(Value::Staged(t)))
}

fn asked(a: &[Value], f: fn(&Tensor) -> Result<Tensor>) -> Result<Option<Value>> {
    real(a, f)
}

/// The elements of something to go through, if one is known only when the graph runs and all are numbers.
fn numbers_of(values: &Value) -> Result<Option<Vec<Value>>> {
    let all = match values {
        Value::List(_) | Value::Tuple(_) => Cursor::over(values)?.collect()?,
        _ => return Ok(None),
    };
    let any = all.iter().any(|v| matches!(v, Value::Staged(_)));
    Ok((any && all.iter().all(|v| kind(v).is_some())).then_some(all))
}

fn add(a: &Value, b: &Value) -> Result<Value> {
    match numbers::either(a, b) {
        true => binary(BinaryOp::Add, a, b),
        false => crate::arithmetic::binary(BinaryOp::Add, a, b),
    }
}

fn folded(a: &[Value], op: CompareOp) -> Result<Option<Value>> {
    let all = match a {
        [one] => match numbers_of(one)? {
            Some(all) => all,
            None => return Ok(None),
        },
        several if several.iter().any(|v| matches!(v, Value::Staged(_))) => several.to_vec(),
        _ => return Ok(None),
    };
    let Some((first, rest)) = all.split_first() else { return Ok(None) };
    rest.iter().try_fold(first.clone(), |best, v| extreme(op, &best, v)).map(Some)
}

fn quantified(values: &Value, op: BinaryOp) -> Result<Option<Value>> {
    let Some(all) = numbers_of(values)? else { return Ok(None) };
    let mut truths = all.iter().map(|v| numbers::truth(v).map(Value::Staged));
    let Some(first) = truths.next() else { return Ok(None) };
    truths.try_fold(first?, |all, v| binary(op, &all, &v?)).map(Some)
}

/// `tolist`: numbers in lists of the tensor's extents.
fn nested(t: &Tensor) -> Result<Value> {
    match t.rank() {
        0 => item(t),
        _ => Ok(Value::list(t.unbind(0)?.iter().map(nested).collect::<Result<Vec<_>>>()?)),
    }
}

/// `torch.tensor` of numbers of which some are known when the graph runs.
fn made(a: &[Value]) -> Result<Option<Value>> {
    let mut kinds = Vec::new();
    if !holds_staged(&a[0], &mut kinds) {
        return Ok(None);
    }
    let any = |f: fn(&DType) -> bool| kinds.iter().any(f);
    let natural = match () {
        () if any(|d| d.is_float()) => DType::F32,
        () if any(|d| *d == DType::I64) => DType::I64,
        () => DType::Bool,
    };
    let dtype = match a.get(1) {
        Some(Value::DType(dtype)) => *dtype,
        _ => natural,
    };
    stacked(&a[0], dtype).map(|t| Some(Value::Tensor(t)))
}

/// Whether a staged number is in nested lists, and the kinds of all numbers there.
fn holds_staged(value: &Value, kinds: &mut Vec<DType>) -> bool {
    kinds.extend(kind(value));
    match value {
        Value::Staged(_) => true,
        Value::List(list) => list.borrow().iter().fold(false, |any, v| holds_staged(v, kinds) | any),
        Value::Tuple(parts) => parts.iter().fold(false, |any, v| holds_staged(v, kinds) | any),
        _ => false,
    }
}

fn stacked(value: &Value, dtype: DType) -> Result<Tensor> {
    match value {
        Value::List(_) | Value::Tuple(_) => {
            let parts: Vec<Tensor> =
                value.elements()?.iter().map(|v| stacked(v, dtype)).collect::<Result<_>>()?;
            Tensor::stack(&parts, 0)
        }
        Value::Tensor(_) => Err(unknown(value, "beside numbers in a list")),
        number => tensor(number, dtype),
    }
}

/// An element of a list that is chosen when the graph runs: of equal tensors or of numbers.
pub(crate) fn element(list: &[Value], at: &Tensor) -> Result<Value> {
    let index = [runtime::ops::Index::Places(at.clone())];
    let common = |kinds: &[DType]| match () {
        () if kinds.iter().any(|d| d.is_float()) => DType::F64,
        () if kinds.iter().all(|d| *d == DType::Bool) => DType::Bool,
        () => DType::I64,
    };
    if let Some(kinds) = list.iter().map(kind).collect::<Option<Vec<_>>>()
        && !kinds.is_empty()
    {
        let dtype = common(&kinds);
        let parts = list.iter().map(|v| tensor(v, dtype)).collect::<Result<Vec<_>>>()?;
        return Tensor::stack(&parts, 0)?.at(&index).map(Value::Staged);
    }
    let parts = list.iter().map(|v| v.tensor().cloned()).collect::<Result<Vec<_>>>();
    match parts {
        Ok(parts) if !parts.is_empty() && parts.iter().all(|t| t.tensor_type() == parts[0].tensor_type()) => {
            Tensor::stack(&parts, 0)?.at(&index).map(Value::Tensor)
        }
        _ => Err(unknown(
            &Value::Staged(at.clone()),
            "as the place of an element, unless all elements are numbers or tensors of one type",
        )),
    }
}
