//! Numbers: conversions, rounding, the least and the greatest, sums and powers.

use super::{Builtin, line};
use crate::arithmetic;
use crate::syntax::{BinaryOp, CompareOp};
use crate::value::{self, Cursor, Value};
use runtime::error::{Error, Result};
use runtime::{Arg, Origin, Tensor, door, ops};

/// A number's text without underscores between digits, which Python allows there.
fn digits(text: &str) -> Option<String> {
    let text = text.trim();
    let bytes = text.as_bytes();
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_alphanumeric);
    let fits = (0..bytes.len()).all(|i| bytes[i] != b'_' || i > 0 && digit(i - 1) && digit(i + 1));
    fits.then(|| text.replace('_', ""))
}

fn int_of(value: &Value) -> Result<Value> {
    Ok(Value::Int(match value {
        Value::Float(v) => arithmetic::truncated(*v)?,
        Value::Str(text) => {
            let wrong = || {
                let text = value.repr();
                Error::value(format!("ValueError: invalid literal for int() with base 10: {text}"))
            };
            digits(text).and_then(|d| d.parse().ok()).ok_or_else(wrong)?
        }
        Value::Tensor(t) => return int_of(&t.item()?.into()),
        other => other.int()?,
    }))
}

fn float_of(value: &Value) -> Result<Value> {
    Ok(Value::Float(match value {
        Value::Str(text) => {
            let wrong =
                || Error::value(format!("ValueError: could not convert string to float: {}", value.repr()));
            digits(text).and_then(|d| d.parse().ok()).ok_or_else(wrong)?
        }
        Value::Tensor(t) => t.item()?.to_f64(),
        other => other.float()?,
    }))
}

fn absolute(value: &Value) -> Result<Value> {
    match value {
        Value::Float(v) => Ok(Value::Float(v.abs())),
        Value::Tensor(t) => t.abs().map(Value::Tensor),
        other => match other.int()? {
            v if v < 0 => arithmetic::negate(&Value::Int(v)),
            v => Ok(Value::Int(v)),
        },
    }
}

/// A float with so many digits after the point, the nearest one of that many; ties of the decimal value go to even.
fn rounded(v: f64, digits: i64) -> Result<f64> {
    if !v.is_finite() || digits > 323 {
        return Ok(v);
    }
    if digits < -308 {
        return Ok(0.0f64.copysign(v));
    }
    if digits >= 0 {
        let text = format!("{v:.*}", digits as usize);
        return text.parse().map_err(|_| Error::internal("a float's text reads as a float"));
    }
    // The decimal digits of a float are exact, so that the tie is known.
    let whole = format!("{:.0}", v.trunc().abs());
    let (drop, exact) = (digits.unsigned_abs() as usize, v.fract() == 0.0);
    let keep = whole.len().saturating_sub(drop);
    let (head, tail) = if drop > whole.len() { ("", "0") } else { whole.split_at(keep) };
    let half = format!("5{}", "0".repeat(tail.len().saturating_sub(1)));
    let odd = head.as_bytes().last().is_some_and(|d| (d - b'0') % 2 == 1);
    let up = tail > half.as_str() || tail == half && (!exact || odd);
    let head: f64 = if head.is_empty() { 0.0 } else { head.parse().unwrap_or(0.0) };
    let scale: f64 = format!("1e{drop}").parse().unwrap_or(f64::INFINITY);
    let magnitude = (head + up as u8 as f64) * scale;
    match magnitude.is_finite() {
        true => Ok(magnitude.copysign(v)),
        false => Err(Error::value("OverflowError: rounded value too large to represent")),
    }
}

/// An int rounded to a power of ten, ties to even.
fn rounded_int(v: i64, digits: i64) -> Result<Value> {
    if digits >= 0 {
        return Ok(Value::Int(v));
    }
    let Some(scale) = u32::try_from(-digits).ok().and_then(|d| 10i128.checked_pow(d)) else {
        return Ok(Value::Int(0));
    };
    let (low, rest) = ((v as i128).div_euclid(scale), (v as i128).rem_euclid(scale));
    let up = rest * 2 > scale || rest * 2 == scale && low % 2 != 0;
    let out = i64::try_from((low + up as i128) * scale);
    out.map(Value::Int).map_err(|_| Error::value("OverflowError: the rounded int does not fit into 64 bits"))
}

fn round(a: &mut [Value]) -> Result<Value> {
    let digits = match a.get(1) {
        None | Some(Value::None) => None,
        Some(n) => Some(n.int()?),
    };
    match (&a[0], digits) {
        (Value::Float(v), None) => arithmetic::truncated(v.round_ties_even()).map(Value::Int),
        (Value::Float(v), Some(digits)) => rounded(*v, digits).map(Value::Float),
        (other, digits) => rounded_int(other.int()?, digits.unwrap_or(0)),
    }
}

fn divmod(a: &mut [Value]) -> Result<Value> {
    match (&a[0], &a[1]) {
        (Value::Int(x), Value::Int(y)) => {
            let (q, r) = arithmetic::int_divmod(*x, *y)?;
            Ok(Value::tuple([Value::Int(q), Value::Int(r)]))
        }
        (x, y) => {
            let (q, r) = arithmetic::float_divmod(x.float()?, y.float()?)?;
            Ok(Value::tuple([Value::Float(q), Value::Float(r)]))
        }
    }
}

/// The first of the values that no other is `op` of.
fn extreme(op: CompareOp, values: &[Value], name: &str) -> Result<Value> {
    let Some((mut best, rest)) = values.split_first() else {
        return Err(Error::value(format!("ValueError: {name}() arg is an empty sequence")));
    };
    for value in rest {
        if value::compare(op, value, best)? {
            best = value;
        }
    }
    Ok(best.clone())
}

fn extreme_of(op: CompareOp, values: &Value, name: &str) -> Result<Value> {
    match values {
        Value::List(list) => extreme(op, &list.borrow(), name),
        other => extreme(op, &Cursor::over(other)?.collect()?, name),
    }
}

/// The sum of tensors, each added to what came before as `+` does.
fn sum_of_tensors(first: &Tensor, start: &Value, rest: &[Value]) -> Result<Value> {
    let start = start.arg().ok_or_else(|| start.unexpected("a number or a tensor"))?;
    let mut sum = door::bind1(&ops::ADD, &[Arg::Tensor(first), start])?;
    for value in rest {
        let Some(operand) = value.arg() else { return Err(value.unexpected("a tensor")) };
        sum = door::bind1(&ops::ADD, &[Arg::Tensor(&sum), operand])?;
    }
    Ok(Value::Tensor(sum))
}

fn sum(a: &mut [Value]) -> Result<Value> {
    let values = Cursor::over(&a[0])?.collect()?;
    let mut sum = a.get(1).cloned().unwrap_or(Value::Int(0));
    for (i, value) in values.iter().enumerate() {
        if let Value::Tensor(t) = value {
            return sum_of_tensors(t, &sum, &values[i + 1..]);
        }
        sum = arithmetic::binary(BinaryOp::Add, &sum, value)?;
    }
    Ok(sum)
}

/// `base ** exponent % modulus` without the power itself.
fn power_modulo(base: i64, mut exponent: i64, modulus: i64) -> Result<Value> {
    if modulus == 0 {
        return Err(Error::value("ValueError: pow() 3rd argument cannot be 0"));
    }
    if exponent < 0 {
        return Err(Error::value(
            "ValueError: a negative exponent needs an inverse, which pow does not look for",
        ));
    }
    let m = modulus as i128;
    let (mut power, mut square) = (1i128.rem_euclid(m.abs()), (base as i128).rem_euclid(m.abs()));
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = power * square % m.abs();
        }
        square = square * square % m.abs();
        exponent >>= 1;
    }
    // The result has the sign of the modulus.
    let result = if m < 0 && power != 0 { power + m } else { power };
    Ok(Value::Int(result as i64))
}

fn power(a: &mut [Value]) -> Result<Value> {
    arithmetic::binary(BinaryOp::Pow, &a[0], &a[1])
}

fn tensor_power(a: &mut [Value]) -> Result<Value> {
    let exponent = a[1].arg().ok_or_else(|| a[1].unexpected("a tensor or a number"))?;
    a[0].tensor()?.pow(exponent).map(Value::Tensor)
}

fn less(a: &mut [Value]) -> Result<Value> {
    extreme(CompareOp::Lt, a, "min")
}

fn greater(a: &mut [Value]) -> Result<Value> {
    extreme(CompareOp::Gt, a, "max")
}

/// An int in a base that is a power of two, with its prefix.
fn in_base(v: i64, prefix: &str, digits: String) -> Value {
    Value::str(format!("{}{prefix}{digits}", if v < 0 { "-" } else { "" }))
}

pub(super) const BUILTINS: &[Builtin] = &[
    line("int", "() -> int", |_, _| Ok(Value::Int(0))),
    line("int", "(x: int) -> int", |a, _| int_of(&a[0])),
    line("int", "(x: float) -> int", |a, _| int_of(&a[0])),
    line("int", "(x: bool) -> int", |a, _| int_of(&a[0])),
    line("int", "(x: number) -> int", |a, _| int_of(&a[0])),
    line("int", "(x: str) -> int", |a, _| int_of(&a[0])),
    line("int", "(x: Tensor) -> int", |a, _| int_of(&a[0])),
    line("float", "() -> float", |_, _| Ok(Value::Float(0.0))),
    line("float", "(x: float) -> float", |a, _| float_of(&a[0])),
    line("float", "(x: int) -> float", |a, _| float_of(&a[0])),
    line("float", "(x: bool) -> float", |a, _| float_of(&a[0])),
    line("float", "(x: number) -> float", |a, _| float_of(&a[0])),
    line("float", "(x: str) -> float", |a, _| float_of(&a[0])),
    line("float", "(x: Tensor) -> float", |a, _| float_of(&a[0])),
    line("bool", "(x: T) -> bool", |a, _| a[0].truth().map(Value::Bool)),
    line("str", "() -> str", |_, _| Ok(Value::str(""))),
    line("str", "(x: T) -> str", |a, _| Ok(Value::str(a[0].to_string()))),
    line("repr", "(x: T) -> str", |a, _| Ok(Value::str(a[0].repr()))),
    line("format", "(x: T, spec: str = '') -> str", |a, _| {
        value::format(&a[0], a[1].text()?).map(Value::str)
    }),
    line("hex", "(x: int) -> str", |a, _| {
        a[0].int().map(|v| in_base(v, "0x", format!("{:x}", v.unsigned_abs())))
    }),
    line("oct", "(x: int) -> str", |a, _| {
        a[0].int().map(|v| in_base(v, "0o", format!("{:o}", v.unsigned_abs())))
    }),
    line("bin", "(x: int) -> str", |a, _| {
        a[0].int().map(|v| in_base(v, "0b", format!("{:b}", v.unsigned_abs())))
    }),
    line("abs", "(x: int) -> int", |a, _| absolute(&a[0])),
    line("abs", "(x: bool) -> int", |a, _| absolute(&a[0])),
    line("abs", "(x: float) -> float", |a, _| absolute(&a[0])),
    line("abs", "(x: number) -> number", |a, _| absolute(&a[0])),
    line("abs", "(x: Tensor) -> Tensor", |a, _| absolute(&a[0])),
    line("round", "(x: int, ndigits: Optional[int] = None) -> int", |a, _| round(a)),
    line("round", "(x: float) -> int", |a, _| round(a)),
    line("round", "(x: float, ndigits: int) -> float", |a, _| round(a)),
    line("round", "(x: number) -> int", |a, _| round(a)),
    line("round", "(x: number, ndigits: int) -> number", |a, _| round(a)),
    line("divmod", "(a: int, b: int) -> Tuple[int, int]", |a, _| divmod(a)),
    line("divmod", "(a: float, b: float) -> Tuple[float, float]", |a, _| divmod(a)),
    line("min", "(a: int, b: int, *rest: int) -> int", |a, _| less(a)),
    line("min", "(a: float, b: float, *rest: float) -> float", |a, _| less(a)),
    line("min", "(a: number, b: number, *rest: number) -> number", |a, _| less(a)),
    line("min", "(a: T, b: T, *rest: T) -> T", |a, _| less(a)),
    line("min", "(values: Iterator[T]) -> T", |a, _| extreme_of(CompareOp::Lt, &a[0], "min")),
    line("max", "(a: int, b: int, *rest: int) -> int", |a, _| greater(a)),
    line("max", "(a: float, b: float, *rest: float) -> float", |a, _| greater(a)),
    line("max", "(a: number, b: number, *rest: number) -> number", |a, _| greater(a)),
    line("max", "(a: T, b: T, *rest: T) -> T", |a, _| greater(a)),
    line("max", "(values: Iterator[T]) -> T", |a, _| extreme_of(CompareOp::Gt, &a[0], "max")),
    line("sum", "(values: Iterator[int], start: int = 0) -> int", |a, _| sum(a)),
    line("sum", "(values: Iterator[bool], start: int = 0) -> int", |a, _| sum(a)),
    line("sum", "(values: Iterator[float], start: float = 0.0) -> float", |a, _| sum(a)),
    line("sum", "(values: Iterator[number], start: number = 0) -> number", |a, _| sum(a)),
    line("sum", "(values: Iterator[Tensor], start: number = 0) -> Tensor", |a, _| match sum(a)? {
        Value::Tensor(t) => Ok(Value::Tensor(t)),
        // Of no tensors at all.
        number => match number.scalar() {
            Some(number) => value::tensor_of(number).map(Value::Tensor),
            None => Err(number.unexpected("a number")),
        },
    }),
    line("sum", "(values: Iterator[Tensor], start: Tensor) -> Tensor", |a, _| {
        let values = Cursor::over(&a[0])?.collect()?;
        match values.split_first() {
            None => Ok(a[1].clone()),
            Some((first, rest)) => {
                // `start + first`, in that order.
                let Some(operand) = first.arg() else { return Err(first.unexpected("a tensor")) };
                let args = [Arg::Tensor(a[1].tensor()?), operand];
                let mut sum = door::bind(&ops::ADD, &args, Origin::caller())?;
                let sum = sum.pop().ok_or_else(|| Error::internal("a sum is a tensor"))?;
                match rest.split_first() {
                    None => Ok(Value::Tensor(sum)),
                    Some((next, rest)) => sum_of_tensors(&sum, next, rest),
                }
            }
        }
    }),
    line("pow", "(base: int, exp: int) -> number", |a, _| power(a)),
    line("pow", "(base: int, exp: int, mod: int) -> int", |a, _| {
        power_modulo(a[0].int()?, a[1].int()?, a[2].int()?)
    }),
    line("pow", "(base: float, exp: float) -> float", |a, _| power(a)),
    line("pow", "(base: number, exp: number) -> number", |a, _| power(a)),
    line("pow", "(base: Tensor, exp: Tensor) -> Tensor", |a, _| tensor_power(a)),
    line("pow", "(base: Tensor, exp: int) -> Tensor", |a, _| tensor_power(a)),
    line("pow", "(base: Tensor, exp: float) -> Tensor", |a, _| tensor_power(a)),
    line("pow", "(base: Tensor, exp: number) -> Tensor", |a, _| tensor_power(a)),
    line("float.is_integer", "(self: float) -> bool", |a, _| {
        a[0].float().map(|v| Value::Bool(v.is_finite() && v.fract() == 0.0))
    }),
    line("int.bit_length", "(self: int) -> int", |a, _| {
        a[0].int().map(|v| Value::Int(64 - v.unsigned_abs().leading_zeros() as i64))
    }),
];
