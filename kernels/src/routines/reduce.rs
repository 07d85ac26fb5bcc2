//! Reductions into named places. Numbers are reduced in f64 (integers in i64, wrapping) and rounded once.

use super::member::Member;
use super::{Reason, Reduction};
use crate::dtype::{DType, Element, Scalar};
use bytemuck::AnyBitPattern;

/// x[n], places[k], source[k] -> out[n].
pub(super) fn scatter(member: &mut Member, how: Reduction, with_self: bool) -> Result<(), Reason> {
    match member.dtype(0) {
        DType::Bool => bits(member, how, with_self),
        DType::U8 => whole::<u8>(member, how, with_self),
        DType::I32 => whole::<i32>(member, how, with_self),
        DType::I64 => whole::<i64>(member, how, with_self),
        DType::F16 => real::<half::f16>(member, how, with_self),
        DType::BF16 => real::<half::bf16>(member, how, with_self),
        DType::F32 => real::<f32>(member, how, with_self),
        DType::F64 => real::<f64>(member, how, with_self),
    }
}

/// Reduces `source` into `start`; for each place what it holds and how many numbers that is.
fn reduce<T: Copy>(
    member: &Member,
    start: Vec<T>,
    source: impl Iterator<Item = T>,
    with_self: bool,
    combine: impl Fn(T, T) -> T,
) -> Result<Vec<(T, usize)>, Reason> {
    let mut out: Vec<(T, usize)> = start.into_iter().map(|v| (v, with_self as usize)).collect();
    let extent = out.len();
    let mut touched = vec![with_self; extent];
    for (&place, value) in member.read::<i64>(1).iter().zip(source) {
        let at = usize::try_from(place).ok().filter(|p| *p < extent);
        let at = at.ok_or(Reason::OutOfRange(place, extent))?;
        // The first number replaces what does not take part.
        out[at] = if touched[at] { (combine(out[at].0, value), out[at].1 + 1) } else { (value, 1) };
        touched[at] = true;
    }
    Ok(out)
}

fn real<T: Element + AnyBitPattern>(
    member: &mut Member,
    how: Reduction,
    with_self: bool,
) -> Result<(), Reason> {
    let number = |v: &T| v.to_scalar().to_f64();
    let start: Vec<f64> = member.read::<T>(0).iter().map(number).collect();
    let source = member.read::<T>(2).iter().map(number);
    let combine = |a: f64, b: f64| match how {
        Reduction::Sum | Reduction::Mean => a + b,
        Reduction::Prod => a * b,
        Reduction::Max if a.is_nan() || b.is_nan() => f64::NAN,
        Reduction::Min if a.is_nan() || b.is_nan() => f64::NAN,
        Reduction::Max => a.max(b),
        Reduction::Min => a.min(b),
    };
    let found = reduce(member, start, source, with_self, combine)?;
    for (out, (value, count)) in member.write::<T>(3).iter_mut().zip(found) {
        let value = if how == Reduction::Mean { value / count.max(1) as f64 } else { value };
        *out = T::from_scalar(Scalar::Float(value));
    }
    Ok(())
}

fn whole_number(a: i64, b: i64, how: Reduction) -> i64 {
    match how {
        Reduction::Sum | Reduction::Mean => a.wrapping_add(b),
        Reduction::Prod => a.wrapping_mul(b),
        Reduction::Max => a.max(b),
        Reduction::Min => a.min(b),
    }
}

fn whole<T: Element + AnyBitPattern>(
    member: &mut Member,
    how: Reduction,
    with_self: bool,
) -> Result<(), Reason> {
    let number = |v: &T| v.to_scalar().to_i64();
    // Each step wraps to the type, so that the mean is that of what the type can hold.
    let wrapped = |v: i64| T::from_scalar(Scalar::Int(v)).to_scalar().to_i64();
    let start: Vec<i64> = member.read::<T>(0).iter().map(number).collect();
    let source = member.read::<T>(2).iter().map(number);
    let found = reduce(member, start, source, with_self, |a, b| wrapped(whole_number(a, b, how)))?;
    for (out, (value, count)) in member.write::<T>(3).iter_mut().zip(found) {
        let value = if how == Reduction::Mean { value.div_euclid(count.max(1) as i64) } else { value };
        *out = T::from_scalar(Scalar::Int(value));
    }
    Ok(())
}

/// Truth values: sum, mean and maximum are `or`, product and minimum `and`.
fn bits(member: &mut Member, how: Reduction, with_self: bool) -> Result<(), Reason> {
    let start: Vec<i64> = member.bytes(0).iter().map(|&b| b as i64).collect();
    let source = member.bytes(2).iter().map(|&b| b as i64);
    let found = reduce(member, start, source, with_self, |a, b| whole_number(a, b, how).min(1))?;
    for (out, (value, _)) in member.bytes_mut(3).iter_mut().zip(found) {
        *out = value as u8;
    }
    Ok(())
}
