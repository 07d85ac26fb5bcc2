//! exp and what is made of it.
//!
//! x = n ln(2) + r with |r| <= ln(2) / 2 (Cody and Waite: ln(2) in two parts, so that n times the first is exact), and
//! e^x = 2^n e^r. The polynomial gives e^r - 1 with a small relative error even near 0, so expm1, tanh and sigmoid
//! need no second one.

use super::{ROUND, at_least, at_most, exp_less_one, exponent, fma};
use crate::cpu::isa::Target;

/// ln(2) with nine significant bits, and the rest.
pub(in crate::cpu) const LN2: [f32; 2] = [0.693_359_375, -2.121_944_4e-4];

/// n as `exponent` and `scaled` take it, and e^r - 1.
#[inline(always)]
fn reduced<T: Target>(x: f32, bias: f32) -> (u32, f32) {
    let sum = fma::<T>(x, std::f32::consts::LOG2_E, ROUND + bias);
    let n = sum - (ROUND + bias);
    let r = fma::<T>(n, -LN2[1], fma::<T>(n, -LN2[0], x));
    (sum.to_bits(), exp_less_one::<T>(r))
}

/// (1 + p) * 2^k for |k| up to 252 out of the bits of k + ROUND + 254: in two steps of half the exponent, so that the
/// result may be denormal or infinite.
#[inline(always)]
fn scaled<T: Target>(p: f32, bits: u32) -> f32 {
    let half = bits >> 1;
    let some = exponent(half);
    fma::<T>(p, some, some) * exponent(bits.wrapping_sub(half))
}

#[inline(always)]
pub(super) fn exp<T: Target>(x: f32) -> f32 {
    let (bits, p) = reduced::<T>(at_most(at_least(x, -104.0), 89.0), 254.0);
    scaled::<T>(p, bits)
}

#[inline(always)]
pub(super) fn exp2<T: Target>(x: f32) -> f32 {
    let x = at_most(at_least(x, -151.0), 129.0);
    let sum = x + (ROUND + 254.0);
    let r = (x - (sum - (ROUND + 254.0))) * std::f32::consts::LN_2;
    let p = exp_less_one::<T>(r);
    scaled::<T>(p, sum.to_bits())
}

#[inline(always)]
pub(super) fn expm1<T: Target>(x: f32) -> f32 {
    // Half the scale, because 2^128 is not a number but e^88.7 - 1 is.
    let (bits, p) = reduced::<T>(at_most(at_least(x, -18.0), 89.0), 126.0);
    let half = exponent(bits);
    let y = 2.0 * fma::<T>(half, p, half - 0.5);
    if x.abs() < 1e-20 { x } else { y }
}

/// (e^2a - 1) / (e^2a + 1): e^2a - 1 keeps its digits near 0, and the quotient adds two roundings.
#[inline(always)]
pub(super) fn tanh<T: Target>(x: f32) -> f32 {
    // tanh(10) is 1 to the last place.
    let (bits, p) = reduced::<T>(at_most(2.0 * x.abs(), 20.0), 127.0);
    let scale = exponent(bits);
    let y = fma::<T>(scale, p, scale - 1.0);
    (y / (y + 2.0)).copysign(x)
}

/// By e^-|x|, which cannot overflow, so that the lower tail keeps its digits.
#[inline(always)]
pub(super) fn sigmoid<T: Target>(x: f32) -> f32 {
    let (bits, p) = reduced::<T>(at_least(-x.abs(), -104.0), 254.0);
    let e = scaled::<T>(p, bits);
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}
