//! Logarithms: x = 2^k m with m between sqrt(1/2) and sqrt(2), and a polynomial in f = m - 1.

use super::{fma, poly};
use crate::cpu::isa::Target;

/// log(1 + f) - f + f^2 / 2 over f^3.
const LOG: [f32; 9] = [
    0.333_333_135,
    -0.250_000_089,
    0.200_021_192,
    -0.166_679_963,
    0.142_195_523,
    -0.124_055_9,
    0.118_881_628,
    -0.116_756_506,
    0.067_466_378_2,
];

/// ln(2) and log10(2) in two parts; multiples of the first by exponents are exact.
const LN2: [f32; 2] = [0.693_359_375, -2.121_944_4e-4];
const LOG10_2: [f32; 2] = [0.301_025_39, 4.605_039e-6];

/// The bits of sqrt(1/2).
const LOW: u32 = 0x3f35_04f3;

/// k and f of a normal positive number.
#[inline(always)]
fn split(x: f32) -> (f32, f32) {
    let bits = x.to_bits().wrapping_sub(LOW);
    ((bits as i32 >> 23) as f32, f32::from_bits((bits & 0x007f_ffff).wrapping_add(LOW)) - 1.0)
}

/// Whether `split` does not hold: zero, denormal, negative, infinite or NaN. By bits, which is one comparison.
#[inline(always)]
pub(super) fn is_odd(x: f32) -> bool {
    x.to_bits().wrapping_sub(0x0080_0000) >= 0x7f00_0000
}

/// log(1 + f) - f.
#[inline(always)]
fn rest<T: Target>(f: f32) -> f32 {
    let square = f * f;
    fma::<T>(-0.5, square, f * square * poly::<T, 9>(f, LOG))
}

#[inline(always)]
pub(super) fn log<T: Target>(x: f32) -> f32 {
    let (k, f) = split(x);
    let low = fma::<T>(k, LN2[1], rest::<T>(f));
    fma::<T>(k, LN2[0], f + low)
}

#[inline(always)]
pub(super) fn log2<T: Target>(x: f32) -> f32 {
    let (k, f) = split(x);
    fma::<T>(f + rest::<T>(f), std::f32::consts::LOG2_E, k)
}

#[inline(always)]
pub(super) fn log10<T: Target>(x: f32) -> f32 {
    let (k, f) = split(x);
    let low = fma::<T>(f + rest::<T>(f), std::f32::consts::LOG10_E, k * LOG10_2[1]);
    fma::<T>(k, LOG10_2[0], low)
}

/// By log(u) for u = 1 + x rounded, with x itself for f where u is near 1, and else a correction for the rounding.
#[inline(always)]
pub(super) fn log1p<T: Target>(x: f32) -> f32 {
    let u = 1.0 + x;
    let (k, f) = split(u);
    let near = k == 0.0;
    let lost = if u > 2.0 { 1.0 - (u - x) } else { x - (u - 1.0) };
    let f = if near { x } else { f };
    let correction = if near { 0.0 } else { lost / u };
    let low = fma::<T>(k, LN2[1], rest::<T>(f) + correction);
    let result = fma::<T>(k, LN2[0], f + low);
    if x.abs() < 1e-20 { x } else { result }
}
