//! exp and what is made of it.
//!
//! x = n ln(2) + r with |r| <= ln(2) / 2 (Cody and Waite: ln(2) in two parts, so that n times the first is exact), and
//! e^x = 2^n e^r. The polynomial gives e^r - 1 with a small relative error even near 0, so expm1, tanh and sigmoid
//! need no second one.

use super::{ROUND, at_least, at_most, exp_less_one, fma, low_bits, power_of_two};
use crate::cpu::isa::Target;

/// ln(2) with nine significant bits, and the rest.
const LN2: [f32; 2] = [0.693_359_375, -2.121_944_4e-4];

/// n, and e^r - 1.
#[inline(always)]
fn reduced<T: Target>(x: f32) -> (i32, f32) {
    let sum = fma::<T>(x, std::f32::consts::LOG2_E, ROUND);
    let n = sum - ROUND;
    let r = fma::<T>(n, -LN2[1], fma::<T>(n, -LN2[0], x));
    (low_bits(sum), exp_less_one::<T>(r))
}

/// (1 + p) * 2^k for |k| up to 252: in two steps, so that the result may be denormal or infinite.
#[inline(always)]
fn scaled<T: Target>(p: f32, k: i32) -> f32 {
    let half = k >> 1;
    let some = power_of_two(half);
    fma::<T>(p, some, some) * power_of_two(k.wrapping_sub(half))
}

#[inline(always)]
pub(super) fn exp<T: Target>(x: f32) -> f32 {
    let (n, p) = reduced::<T>(at_most(at_least(x, -104.0), 89.0));
    scaled::<T>(p, n)
}

#[inline(always)]
pub(super) fn exp2<T: Target>(x: f32) -> f32 {
    let x = at_most(at_least(x, -151.0), 129.0);
    let sum = x + ROUND;
    let r = (x - (sum - ROUND)) * std::f32::consts::LN_2;
    let p = exp_less_one::<T>(r);
    scaled::<T>(p, low_bits(sum))
}

#[inline(always)]
pub(super) fn expm1<T: Target>(x: f32) -> f32 {
    let (n, p) = reduced::<T>(at_most(at_least(x, -18.0), 89.0));
    // Half the scale, because 2^128 is not a number but e^88.7 - 1 is.
    let half = power_of_two(n.wrapping_sub(1));
    let y = 2.0 * fma::<T>(half, p, half - 0.5);
    if x.abs() < 1e-20 { x } else { y }
}

/// (e^2a - 1) / (e^2a + 1): e^2a - 1 keeps its digits near 0, and the quotient adds two roundings.
#[inline(always)]
pub(super) fn tanh<T: Target>(x: f32) -> f32 {
    // tanh(10) is 1 to the last place.
    let (n, p) = reduced::<T>(at_most(2.0 * x.abs(), 20.0));
    let scale = power_of_two(n);
    let y = fma::<T>(scale, p, scale - 1.0);
    (y / (y + 2.0)).copysign(x)
}

/// By e^-|x|, which cannot overflow, so that the lower tail keeps its digits.
#[inline(always)]
pub(super) fn sigmoid<T: Target>(x: f32) -> f32 {
    let (n, p) = reduced::<T>(at_least(-x.abs(), -104.0));
    let e = scaled::<T>(p, n);
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}
