//! Arithmetic of the host as Python's, on ints of 64 bits: an overflow is an error, `//` and `%` round down, `/` gives a
//! float.

use crate::autograph;
use crate::syntax::BinaryOp;
use crate::value::Value;
use runtime::error::{Error, Result};
use runtime::ops;
use runtime::table::OpDef;

/// The op of the table that an operator is element by element; the matrix product is none.
pub(crate) fn elementwise(op: BinaryOp) -> Option<&'static OpDef> {
    Some(match op {
        BinaryOp::Add => &ops::ADD,
        BinaryOp::Sub => &ops::SUB,
        BinaryOp::Mul => &ops::MUL,
        BinaryOp::Div => &ops::DIV,
        BinaryOp::FloorDiv => &ops::FLOOR_DIVIDE,
        BinaryOp::Mod => &ops::REMAINDER,
        BinaryOp::Pow => &ops::POW,
        BinaryOp::And => &ops::BITWISE_AND,
        BinaryOp::Or => &ops::BITWISE_OR,
        BinaryOp::Xor => &ops::BITWISE_XOR,
        BinaryOp::Shl => &ops::BITWISE_LEFT_SHIFT,
        BinaryOp::Shr => &ops::BITWISE_RIGHT_SHIFT,
        BinaryOp::MatMul => return None,
    })
}

#[cold]
fn overflow(what: &str) -> Error {
    Error::value(format!("OverflowError: the result of {what} does not fit into an int of 64 bits"))
}

#[cold]
fn by_zero(what: &str) -> Error {
    Error::value(format!("ZeroDivisionError: {what} by zero"))
}

#[cold]
fn undefined(op: BinaryOp, a: &Value, b: &Value) -> Error {
    let (a, b) = (a.type_name(), b.type_name());
    Error::value(format!("TypeError: unsupported operand types for {}: '{a}' and '{b}'", op.symbol()))
}

/// The largest int up to which every int is a float.
const EXACT: u64 = 1 << 53;

/// `a / b` of ints, rounded once.
fn true_division(a: i64, b: i64) -> Result<f64> {
    if b == 0 {
        return Err(by_zero("division"));
    }
    let (x, y) = (a.unsigned_abs(), b.unsigned_abs());
    if x <= EXACT && y <= EXACT {
        return Ok(a as f64 / b as f64);
    }
    // At least 63 bits of the quotient, the last one of which says whether more follow: rounding those is exact.
    let shift = x.leading_zeros() + 63;
    let wide = (x as u128) << shift;
    let quotient = wide / y as u128 | !wide.is_multiple_of(y as u128) as u128;
    let magnitude = quotient as f64 * 0.5f64.powi(shift as i32);
    Ok(if (a < 0) == (b < 0) { magnitude } else { -magnitude })
}

/// `a // b` and `a % b` of ints.
pub(crate) fn int_divmod(a: i64, b: i64) -> Result<(i64, i64)> {
    if b == 0 {
        return Err(by_zero("integer division or modulo"));
    }
    let (quotient, rest) = a.checked_div(b).map(|q| (q, a % b)).ok_or_else(|| overflow("//"))?;
    Ok(if rest != 0 && (rest < 0) != (b < 0) { (quotient - 1, rest + b) } else { (quotient, rest) })
}

/// `a // b` and `a % b` of floats.
pub(crate) fn float_divmod(a: f64, b: f64) -> Result<(f64, f64)> {
    if b == 0.0 {
        return Err(by_zero("float floor division or modulo"));
    }
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest != 0.0 {
        if (b < 0.0) != (rest < 0.0) {
            rest += b;
            quotient -= 1.0;
        }
    } else {
        rest = 0.0f64.copysign(b);
    }
    if quotient == 0.0 {
        return Ok((0.0f64.copysign(a / b), rest));
    }
    // The quotient is whole but for rounding.
    let floor = quotient.floor();
    Ok((if quotient - floor > 0.5 { floor + 1.0 } else { floor }, rest))
}

/// `a ** b` of ints: an int, or a float where the exponent is negative.
pub(crate) fn int_power(a: i64, b: i64) -> Result<Value> {
    match b {
        0.. => {
            // Powers of 0, 1 and -1 exist for every exponent, others only for those of 32 bits.
            let power = match a {
                0 | 1 => Some(if b == 0 { 1 } else { a }),
                -1 => Some(if b % 2 == 0 { 1 } else { -1 }),
                _ => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
            };
            power.map(Value::Int).ok_or_else(|| overflow("**"))
        }
        _ => float_power(a as f64, b as f64).map(Value::Float),
    }
}

/// `a ** b` of floats.
pub(crate) fn float_power(a: f64, b: f64) -> Result<f64> {
    if a == 0.0 && b < 0.0 {
        return Err(Error::value("ZeroDivisionError: 0.0 cannot be raised to a negative power"));
    }
    if a < 0.0 && a.is_finite() && b.is_finite() && b.fract() != 0.0 {
        return Err(Error::value("ValueError: a negative number to a fractional power is complex"));
    }
    let power = a.powf(b);
    if power.is_infinite() && a.is_finite() && b.is_finite() {
        return Err(Error::value("OverflowError: the result of ** does not fit into a float"));
    }
    Ok(power)
}

/// Arithmetic of ints.
pub(crate) fn ints(op: BinaryOp, a: i64, b: i64) -> Result<Value> {
    let shift = || u32::try_from(b).map_err(|_| Error::value("ValueError: negative shift count"));
    let value = match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Sub => a.checked_sub(b),
        BinaryOp::Mul => a.checked_mul(b),
        BinaryOp::Div => return true_division(a, b).map(Value::Float),
        BinaryOp::FloorDiv => return int_divmod(a, b).map(|(q, _)| Value::Int(q)),
        BinaryOp::Mod if b == -1 => Some(0),
        BinaryOp::Mod => return int_divmod(a, b).map(|(_, r)| Value::Int(r)),
        BinaryOp::Pow => return int_power(a, b),
        BinaryOp::And => Some(a & b),
        BinaryOp::Or => Some(a | b),
        BinaryOp::Xor => Some(a ^ b),
        BinaryOp::Shl if b < 0 => return shift().map(|_| Value::None),
        BinaryOp::Shl if a == 0 => Some(0),
        BinaryOp::Shl => a.checked_shl(b.min(64) as u32).filter(|v| v >> b == a),
        BinaryOp::Shr if b < 0 => return shift().map(|_| Value::None),
        BinaryOp::Shr => Some(a >> b.min(63)),
        BinaryOp::MatMul => return Err(undefined(op, &Value::Int(a), &Value::Int(b))),
    };
    value.map(Value::Int).ok_or_else(|| overflow(op.symbol()))
}

/// Arithmetic of floats.
pub(crate) fn floats(op: BinaryOp, a: f64, b: f64) -> Result<Value> {
    Ok(Value::Float(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div if b == 0.0 => return Err(by_zero("float division")),
        BinaryOp::Div => a / b,
        BinaryOp::FloorDiv => float_divmod(a, b)?.0,
        BinaryOp::Mod => float_divmod(a, b)?.1,
        BinaryOp::Pow => float_power(a, b)?,
        BinaryOp::MatMul | BinaryOp::And | BinaryOp::Or | BinaryOp::Xor | BinaryOp::Shl | BinaryOp::Shr => {
            return Err(undefined(op, &Value::Float(a), &Value::Float(b)));
        }
    }))
}

/// `a op b` of host values: numbers by their types, strings, lists and tuples joined and repeated.
pub(crate) fn binary(op: BinaryOp, a: &Value, b: &Value) -> Result<Value> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => ints(op, *a, *b),
        (Value::Bool(a), Value::Bool(b)) => match op {
            BinaryOp::And => Ok(Value::Bool(*a & *b)),
            BinaryOp::Or => Ok(Value::Bool(*a | *b)),
            BinaryOp::Xor => Ok(Value::Bool(*a ^ *b)),
            _ => ints(op, *a as i64, *b as i64),
        },
        (Value::Float(a), Value::Float(b)) => floats(op, *a, *b),
        (Value::Int(_) | Value::Bool(_), Value::Int(_) | Value::Bool(_)) => ints(op, a.int()?, b.int()?),
        (
            Value::Int(_) | Value::Float(_) | Value::Bool(_),
            Value::Int(_) | Value::Float(_) | Value::Bool(_),
        ) => floats(op, a.float()?, b.float()?),
        (Value::Str(x), Value::Str(y)) if op == BinaryOp::Add => Ok(Value::str(format!("{x}{y}"))),
        (Value::List(x), Value::List(y)) if op == BinaryOp::Add => {
            Ok(Value::list(x.borrow().iter().chain(y.borrow().iter()).cloned()))
        }
        (Value::Tuple(x), Value::Tuple(y)) if op == BinaryOp::Add => {
            Ok(Value::tuple(x.iter().chain(y.iter()).cloned()))
        }
        (Value::Int(_) | Value::Bool(_), Value::Str(_) | Value::List(_) | Value::Tuple(_))
            if op == BinaryOp::Mul =>
        {
            repeated(b, a.int()?)
        }
        (Value::Str(_) | Value::List(_) | Value::Tuple(_), Value::Int(_) | Value::Bool(_))
            if op == BinaryOp::Mul =>
        {
            repeated(a, b.int()?)
        }
        (a, b) if autograph::either(a, b) => autograph::binary(op, a, b),
        _ => Err(undefined(op, a, b)),
    }
}

/// More elements than this are no intended repetition.
const MOST: usize = 1 << 32;

/// A string, list or tuple so many times; none for a negative count.
fn repeated(value: &Value, times: i64) -> Result<Value> {
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    let fits = |n: usize, size: usize| match n.checked_mul(times) {
        Some(all) if all <= MOST => runtime::alloc::ask(all.saturating_mul(size)),
        _ => Err(Error::value("MemoryError: a repetition of more than 2^32 elements")),
    };
    let all = |values: &[Value]| {
        let mut out = Vec::with_capacity(values.len() * times);
        (0..times).for_each(|_| out.extend_from_slice(values));
        out
    };
    match value {
        Value::Str(text) => {
            fits(text.len(), 1)?;
            Ok(Value::str(text.repeat(times)))
        }
        Value::List(list) => {
            let list = list.borrow();
            fits(list.len(), size_of::<Value>())?;
            Ok(Value::list(all(&list)))
        }
        Value::Tuple(values) => {
            fits(values.len(), size_of::<Value>())?;
            Ok(Value::tuple(all(values)))
        }
        other => Err(other.unexpected("a string, list or tuple")),
    }
}

/// `-a`.
pub(crate) fn negate(value: &Value) -> Result<Value> {
    match value {
        Value::Int(v) => v.checked_neg().map(Value::Int).ok_or_else(|| overflow("-")),
        Value::Bool(v) => Ok(Value::Int(-(*v as i64))),
        Value::Float(v) => Ok(Value::Float(-v)),
        other => {
            Err(Error::value(format!("TypeError: bad operand type for unary -: '{}'", other.type_name())))
        }
    }
}

/// The int that a float is cut to.
pub(crate) fn truncated(v: f64) -> Result<i64> {
    if v.is_nan() {
        return Err(Error::value("ValueError: cannot convert float NaN to integer"));
    }
    if v.is_infinite() {
        return Err(Error::value("OverflowError: cannot convert float infinity to integer"));
    }
    crate::value::whole(v.trunc()).ok_or_else(|| overflow("int()"))
}
