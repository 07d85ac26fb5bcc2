//! Python's `math`: functions of floats whose poles and domains are errors, and whole numbers.

use super::{Builtin, line};
use crate::arithmetic;
use crate::value::{Cursor, Value};
use runtime::error::{Error, Result};

#[cold]
fn domain() -> Error {
    Error::value("ValueError: math domain error")
}

#[cold]
fn range() -> Error {
    Error::value("OverflowError: math range error")
}

/// What a function gives at `x`: a NaN out of a number is outside of its domain, and an infinity out of a finite number a
/// pole or an overflow.
fn checked(x: f64, y: f64, infinite: fn() -> Error) -> Result<Value> {
    if y.is_nan() && !x.is_nan() {
        return Err(domain());
    }
    if y.is_infinite() && x.is_finite() {
        return Err(infinite());
    }
    Ok(Value::Float(y))
}

/// A function that may overflow.
fn over(a: &[Value], f: fn(f64) -> f64) -> Result<Value> {
    let x = a[0].float()?;
    checked(x, f(x), range)
}

/// A function with poles.
fn pole(a: &[Value], f: fn(f64) -> f64) -> Result<Value> {
    let x = a[0].float()?;
    checked(x, f(x), domain)
}

/// A function that is defined everywhere.
fn all(a: &[Value], f: fn(f64) -> f64) -> Result<Value> {
    a[0].float().map(|x| Value::Float(f(x)))
}

fn two(a: &[Value]) -> Result<(f64, f64)> {
    Ok((a[0].float()?, a[1].float()?))
}

fn is(a: &[Value], f: fn(f64) -> bool) -> Result<Value> {
    a[0].float().map(|x| Value::Bool(f(x)))
}

/// A float that was rounded to a whole number, as an int.
fn whole(a: &[Value], f: fn(f64) -> f64) -> Result<Value> {
    match &a[0] {
        Value::Float(v) => arithmetic::truncated(f(*v)).map(Value::Int),
        other => other.int().map(Value::Int),
    }
}

fn power(a: &mut [Value]) -> Result<Value> {
    let (x, y) = two(a)?;
    let power = x.powf(y);
    if x == 0.0 && y < 0.0 || power.is_nan() && !x.is_nan() && !y.is_nan() {
        return Err(domain());
    }
    if power.is_infinite() && x.is_finite() && y.is_finite() {
        return Err(range());
    }
    Ok(Value::Float(power))
}

fn logarithm(a: &mut [Value]) -> Result<Value> {
    let Value::Float(x) = pole(a, f64::ln)? else { return Err(domain()) };
    let Value::Float(base) = pole(&a[1..], f64::ln)? else { return Err(domain()) };
    if base == 0.0 {
        return Err(Error::value("ZeroDivisionError: float division by zero"));
    }
    Ok(Value::Float(x / base))
}

fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn natural(v: u64) -> Result<Value> {
    i64::try_from(v)
        .map(Value::Int)
        .map_err(|_| Error::value("OverflowError: the result does not fit into 64 bits"))
}

fn not_negative(value: &Value, what: &str) -> Result<u64> {
    u64::try_from(value.int()?).map_err(|_| Error::value(format!("ValueError: {what} must be non-negative")))
}

/// The product of `from..=to`, divided on the way by 1, 2, ... where `divide`.
fn falling(n: u64, k: u64, divide: bool) -> Result<Value> {
    let mut product = 1u128;
    for i in 0..k {
        product = product
            .checked_mul((n - i) as u128)
            .map(|p| if divide { p / (i + 1) as u128 } else { p })
            .filter(|p| *p <= i64::MAX as u128 || divide && *p <= u128::from(u64::MAX))
            .ok_or_else(|| Error::value("OverflowError: the result does not fit into 64 bits"))?;
    }
    natural(u64::try_from(product).unwrap_or(u64::MAX))
}

fn integer_root(v: u64) -> u64 {
    let mut root = (v as f64).sqrt() as u64;
    while root.checked_mul(root).is_none_or(|s| s > v) {
        root -= 1;
    }
    while (root + 1).checked_mul(root + 1).is_some_and(|s| s <= v) {
        root += 1;
    }
    root
}

/// The sum of floats, rounded once: partial sums that do not overlap are kept apart (Shewchuk).
fn exact_sum(values: &[f64]) -> f64 {
    let mut parts: Vec<f64> = Vec::new();
    for &value in values {
        let mut x = value;
        let mut kept = 0;
        for i in 0..parts.len() {
            let mut y = parts[i];
            if x.abs() < y.abs() {
                std::mem::swap(&mut x, &mut y);
            }
            let high = x + y;
            let low = y - (high - x);
            if low != 0.0 {
                parts[kept] = low;
                kept += 1;
            }
            x = high;
        }
        parts.truncate(kept);
        parts.push(x);
    }
    // From the largest down; the first remainder decides ties.
    let Some(mut high) = parts.pop() else { return 0.0 };
    while let Some(y) = parts.pop() {
        let x = high;
        high = x + y;
        let low = y - (high - x);
        if low != 0.0 {
            if let Some(next) = parts.last()
                && (low < 0.0) == (*next < 0.0)
            {
                let twice = low * 2.0;
                let above = high + twice;
                if twice == above - high {
                    high = above;
                }
            }
            break;
        }
    }
    high
}

fn sum(a: &mut [Value]) -> Result<Value> {
    let values = Cursor::over(&a[0])?.collect()?.iter().map(Value::float).collect::<Result<Vec<f64>>>()?;
    if values.iter().all(|v| v.is_finite()) {
        let sum = exact_sum(&values);
        return if sum.is_finite() { Ok(Value::Float(sum)) } else { Err(range()) };
    }
    let sum: f64 = values.iter().sum();
    // Infinities of both signs have no sum.
    let nan = sum.is_nan() && !values.iter().any(|v| v.is_nan());
    if nan { Err(domain()) } else { Ok(Value::Float(sum)) }
}

fn close(a: &mut [Value]) -> Result<Value> {
    let (x, y) = two(a)?;
    let (relative, absolute) = (a[2].float()?, a[3].float()?);
    if relative < 0.0 || absolute < 0.0 {
        return Err(Error::value("ValueError: tolerances must be non-negative"));
    }
    if x == y || x.is_infinite() || y.is_infinite() {
        return Ok(Value::Bool(x == y));
    }
    let d = (y - x).abs();
    Ok(Value::Bool(d <= (relative * y).abs() || d <= (relative * x).abs() || d <= absolute))
}

fn remainder(a: &mut [Value]) -> Result<Value> {
    let (x, y) = two(a)?;
    if x.is_nan() || y.is_nan() {
        return Ok(Value::Float(f64::NAN));
    }
    if x.is_infinite() || y == 0.0 {
        return Err(domain());
    }
    Ok(Value::Float(libm::remainder(x, y)))
}

pub(super) const BUILTINS: &[Builtin] = &[
    line("math.sqrt", "(x: float) -> float", |a, _| over(a, f64::sqrt)),
    line("math.cbrt", "(x: float) -> float", |a, _| all(a, f64::cbrt)),
    line("math.exp", "(x: float) -> float", |a, _| over(a, f64::exp)),
    line("math.exp2", "(x: float) -> float", |a, _| over(a, f64::exp2)),
    line("math.expm1", "(x: float) -> float", |a, _| over(a, f64::exp_m1)),
    line("math.log", "(x: float) -> float", |a, _| pole(a, f64::ln)),
    line("math.log", "(x: float, base: float) -> float", |a, _| logarithm(a)),
    line("math.log2", "(x: float) -> float", |a, _| pole(a, f64::log2)),
    line("math.log10", "(x: float) -> float", |a, _| pole(a, f64::log10)),
    line("math.log1p", "(x: float) -> float", |a, _| pole(a, f64::ln_1p)),
    line("math.pow", "(x: float, y: float) -> float", |a, _| power(a)),
    line("math.sin", "(x: float) -> float", |a, _| over(a, f64::sin)),
    line("math.cos", "(x: float) -> float", |a, _| over(a, f64::cos)),
    line("math.tan", "(x: float) -> float", |a, _| over(a, f64::tan)),
    line("math.asin", "(x: float) -> float", |a, _| over(a, f64::asin)),
    line("math.acos", "(x: float) -> float", |a, _| over(a, f64::acos)),
    line("math.atan", "(x: float) -> float", |a, _| all(a, f64::atan)),
    line("math.atan2", "(y: float, x: float) -> float", |a, _| two(a).map(|(y, x)| Value::Float(y.atan2(x)))),
    line("math.sinh", "(x: float) -> float", |a, _| over(a, f64::sinh)),
    line("math.cosh", "(x: float) -> float", |a, _| over(a, f64::cosh)),
    line("math.tanh", "(x: float) -> float", |a, _| all(a, f64::tanh)),
    line("math.asinh", "(x: float) -> float", |a, _| all(a, libm::asinh)),
    line("math.acosh", "(x: float) -> float", |a, _| over(a, libm::acosh)),
    line("math.atanh", "(x: float) -> float", |a, _| pole(a, libm::atanh)),
    line("math.erf", "(x: float) -> float", |a, _| all(a, libm::erf)),
    line("math.erfc", "(x: float) -> float", |a, _| all(a, libm::erfc)),
    line("math.gamma", "(x: float) -> float", |a, _| match a[0].float()? {
        x if x == f64::NEG_INFINITY || x <= 0.0 && x.fract() == 0.0 => Err(domain()),
        x => checked(x, libm::tgamma(x), range),
    }),
    line("math.lgamma", "(x: float) -> float", |a, _| match a[0].float()? {
        x if x.is_infinite() => Ok(Value::Float(f64::INFINITY)),
        x if x <= 0.0 && x.fract() == 0.0 => Err(domain()),
        x => checked(x, libm::lgamma(x), range),
    }),
    line("math.degrees", "(x: float) -> float", |a, _| all(a, |x| x * (180.0 / std::f64::consts::PI))),
    line("math.radians", "(x: float) -> float", |a, _| all(a, |x| x * (std::f64::consts::PI / 180.0))),
    line("math.fabs", "(x: float) -> float", |a, _| all(a, f64::abs)),
    line("math.floor", "(x: int) -> int", |a, _| whole(a, f64::floor)),
    line("math.floor", "(x: float) -> int", |a, _| whole(a, f64::floor)),
    line("math.floor", "(x: number) -> int", |a, _| whole(a, f64::floor)),
    line("math.ceil", "(x: int) -> int", |a, _| whole(a, f64::ceil)),
    line("math.ceil", "(x: float) -> int", |a, _| whole(a, f64::ceil)),
    line("math.ceil", "(x: number) -> int", |a, _| whole(a, f64::ceil)),
    line("math.trunc", "(x: int) -> int", |a, _| whole(a, f64::trunc)),
    line("math.trunc", "(x: float) -> int", |a, _| whole(a, f64::trunc)),
    line("math.trunc", "(x: number) -> int", |a, _| whole(a, f64::trunc)),
    line("math.fmod", "(x: float, y: float) -> float", |a, _| match two(a)? {
        (x, y) if (x.is_infinite() || y == 0.0) && !x.is_nan() && !y.is_nan() => Err(domain()),
        (x, y) => Ok(Value::Float(x % y)),
    }),
    line("math.remainder", "(x: float, y: float) -> float", |a, _| remainder(a)),
    line("math.modf", "(x: float) -> Tuple[float, float]", |a, _| {
        let x = a[0].float()?;
        let fraction = if x.is_infinite() { 0.0f64.copysign(x) } else { x.fract().copysign(x) };
        Ok(Value::tuple([Value::Float(fraction), Value::Float(x.trunc())]))
    }),
    line("math.frexp", "(x: float) -> Tuple[float, int]", |a, _| {
        let (mantissa, exponent) = libm::frexp(a[0].float()?);
        Ok(Value::tuple([Value::Float(mantissa), Value::Int(exponent as i64)]))
    }),
    line("math.ldexp", "(x: float, i: int) -> float", |a, _| {
        let (x, i) = (a[0].float()?, a[1].int()?.clamp(-10_000, 10_000));
        checked(x, libm::ldexp(x, i as i32), range)
    }),
    line("math.copysign", "(x: float, y: float) -> float", |a, _| {
        two(a).map(|(x, y)| Value::Float(x.copysign(y)))
    }),
    line("math.hypot", "(*values: float)-> float", |a, _| {
        let mut all = a.iter().map(Value::float);
        let out = all.try_fold(0.0f64, |length, x| x.map(|x| length.hypot(x)))?;
        Ok(Value::Float(out))
    }),
    line("math.isnan", "(x: float) -> bool", |a, _| is(a, f64::is_nan)),
    line("math.isinf", "(x: float) -> bool", |a, _| is(a, f64::is_infinite)),
    line("math.isfinite", "(x: float) -> bool", |a, _| is(a, f64::is_finite)),
    line(
        "math.isclose",
        "(a: float, b: float, rel_tol: float = 1e-09, abs_tol: float = 0.0) -> bool",
        |a, _| close(a),
    ),
    line("math.fsum", "(values: Iterator[float]) -> float", |a, _| sum(a)),
    line("math.fsum", "(values: Iterator[int]) -> float", |a, _| sum(a)),
    line("math.prod", "(values: Iterator[int], start: int = 1) -> int", |a, _| product(a)),
    line("math.prod", "(values: Iterator[float], start: float = 1.0) -> float", |a, _| product(a)),
    line("math.gcd", "(*values: int) -> int", |a, _| {
        let out = a.iter().try_fold(0, |d, v| v.int().map(|v| gcd(d, v.unsigned_abs())))?;
        natural(out)
    }),
    line("math.lcm", "(*values: int) -> int", |a, _| {
        let mut out = 1u64;
        for value in a.iter() {
            let v = value.int()?.unsigned_abs();
            let step = if v == 0 { 0 } else { v / gcd(out, v) };
            out = out.checked_mul(step).ok_or_else(range)?;
        }
        natural(out)
    }),
    line("math.factorial", "(x: int) -> int", |a, _| {
        let n = not_negative(&a[0], "factorial() argument")?;
        falling(n, n.min(21), false)
    }),
    line("math.comb", "(n: int, k: int) -> int", |a, _| {
        let (n, k) = (not_negative(&a[0], "n")?, not_negative(&a[1], "k")?);
        if k > n { Ok(Value::Int(0)) } else { falling(n, k.min(n - k), true) }
    }),
    line("math.perm", "(n: int, k: int) -> int", |a, _| {
        let (n, k) = (not_negative(&a[0], "n")?, not_negative(&a[1], "k")?);
        if k > n { Ok(Value::Int(0)) } else { falling(n, k, false) }
    }),
    line("math.isqrt", "(n: int) -> int", |a, _| {
        natural(integer_root(not_negative(&a[0], "isqrt() argument")?))
    }),
];

fn product(a: &mut [Value]) -> Result<Value> {
    let mut product = a[1].clone();
    let mut cursor = Cursor::over(&a[0])?;
    while let Some(value) = cursor.next()? {
        product = arithmetic::binary(crate::syntax::BinaryOp::Mul, &product, &value)?;
    }
    Ok(product)
}
