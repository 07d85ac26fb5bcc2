//! Vector math: elementary functions as straight-line scalar source that the compiler turns into vector code.
//!
//! Each function is at most 2.5 ulp from the exact value over the whole range of its type, denormals, infinities, NaN
//! and signed zeros included. A function is one expression without branches, selects aside, so a loop over it becomes
//! vector code at every level; FMA is used where the level has it, so levels may differ within the bound. Polynomials
//! are minimax in relative error, made by `kernels/tools/minimax.py`.
//!
//! f32 functions that lose digits on the way (`pow`, `atan2`, `erfc`, `tan`) are computed in f64 lanes: half the speed
//! of f32 lanes and no case analysis of errors. f64 functions are the standard library's, one point at a time.

// Coefficients stand as the fit prints them, with the nine digits that every f32 needs.
#![allow(clippy::excessive_precision)]

mod error;
mod exponential;
mod logarithm;
mod power;
mod scalar;
#[cfg(test)]
mod tests;
mod trigonometric;

/// The constants of the functions that `cpu::native` makes code for.
pub(super) mod coefficients {
    pub(in crate::cpu) use super::error::{CUT, LOG_ERFC, SMALL};
    pub(in crate::cpu) use super::exponential::LN2;
    pub(in crate::cpu) use super::{EXP, ROUND};
}

use super::isa::Target;

/// The functions of the float types.
pub(crate) trait Real: Sized {
    fn exp<T: Target>(self) -> Self;
    fn exp2<T: Target>(self) -> Self;
    fn expm1<T: Target>(self) -> Self;
    fn log<T: Target>(self) -> Self;
    fn log2<T: Target>(self) -> Self;
    fn log10<T: Target>(self) -> Self;
    fn log1p<T: Target>(self) -> Self;
    fn sin<T: Target>(self) -> Self;
    fn cos<T: Target>(self) -> Self;
    fn tan<T: Target>(self) -> Self;
    fn atan<T: Target>(self) -> Self;
    fn tanh<T: Target>(self) -> Self;
    fn erf<T: Target>(self) -> Self;
    fn erfc<T: Target>(self) -> Self;
    fn sigmoid<T: Target>(self) -> Self;
    fn pow<T: Target>(self, exponent: Self) -> Self;
    fn atan2<T: Target>(self, x: Self) -> Self;
}

/// Operands that the straight-line functions leave out, because they are rare; each is done by the standard library.
pub(crate) trait Rare: Copy {
    /// Too large for the fast reduction by multiples of pi/2.
    fn is_far(self) -> bool;
    /// Without a logarithm, or denormal.
    fn is_odd(self) -> bool;
    /// As `is_odd`, of 1 + x.
    fn is_odd_after_one(self) -> bool;
    fn rare_sin(self) -> Self;
    fn rare_cos(self) -> Self;
    fn rare_tan(self) -> Self;
    fn rare_log(self) -> Self;
    fn rare_log2(self) -> Self;
    fn rare_log10(self) -> Self;
    fn rare_log1p(self) -> Self;
}

macro_rules! delegate {
    ($($name:ident = $path:path;)*) => {$(
        #[inline(always)]
        fn $name<T: Target>(self) -> f32 {
            $path(self)
        }
    )*};
}

impl Real for f32 {
    delegate! {
        exp = exponential::exp::<T>;
        exp2 = exponential::exp2::<T>;
        expm1 = exponential::expm1::<T>;
        tanh = exponential::tanh::<T>;
        sigmoid = exponential::sigmoid::<T>;
        log = logarithm::log::<T>;
        log2 = logarithm::log2::<T>;
        log10 = logarithm::log10::<T>;
        log1p = logarithm::log1p::<T>;
        sin = trigonometric::sin::<T>;
        cos = trigonometric::cos::<T>;
        tan = trigonometric::tan::<T>;
        atan = trigonometric::atan::<T>;
        erf = error::erf::<T>;
        erfc = error::erfc::<T>;
    }

    #[inline(always)]
    fn pow<T: Target>(self, exponent: f32) -> f32 {
        power::pow::<T>(self, exponent)
    }

    #[inline(always)]
    fn atan2<T: Target>(self, x: f32) -> f32 {
        trigonometric::atan2::<T>(self, x)
    }
}

macro_rules! rare {
    ($t:ident: $($name:ident = $function:ident;)*) => {$(
        fn $name(self) -> $t {
            (self as f64).$function() as $t
        }
    )*};
}
use rare;

impl Rare for f32 {
    #[inline(always)]
    fn is_far(self) -> bool {
        self.abs() > trigonometric::NEAR
    }

    #[inline(always)]
    fn is_odd(self) -> bool {
        logarithm::is_odd(self)
    }

    #[inline(always)]
    fn is_odd_after_one(self) -> bool {
        logarithm::is_odd(1.0 + self)
    }

    rare! { f32:
        rare_sin = sin;
        rare_cos = cos;
        rare_tan = tan;
        rare_log = ln;
        rare_log2 = log2;
        rare_log10 = log10;
        rare_log1p = ln_1p;
    }
}

/// a * b + c, rounded once where that is one instruction and twice elsewhere: only for use inside functions whose error
/// bound allows for either.
#[inline(always)]
fn fma<T: Target>(a: f32, b: f32, c: f32) -> f32 {
    if T::FMA { a.mul_add(b, c) } else { a * b + c }
}

/// As `fma`.
#[inline(always)]
fn fma64<T: Target>(a: f64, b: f64, c: f64) -> f64 {
    if T::FMA { a.mul_add(b, c) } else { a * b + c }
}

/// A polynomial with these coefficients, lowest first: even and odd powers by Horner's rule apart. The two chains run
/// side by side, and their length is what bounds the speed of a function.
#[inline(always)]
fn poly<T: Target, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let square = x * x;
    let mut sums = [coefficients[N - 1], coefficients[N - 2]];
    let mut i = N - 2;
    while i > 0 {
        i -= 1;
        let which = (N - 1 - i) % 2;
        sums[which] = fma::<T>(sums[which], square, coefficients[i]);
    }
    let (even, odd) = if N % 2 == 1 { (sums[0], sums[1]) } else { (sums[1], sums[0]) };
    fma::<T>(odd, x, even)
}

/// As `poly`.
#[inline(always)]
fn poly64<T: Target, const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
    let mut out = coefficients[N - 1];
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        out = fma64::<T>(out, x, coefficients[i]);
    }
    out
}

/// At least `low`, NaN kept (the order of the comparison is that of the machine's `max`).
#[inline(always)]
fn at_least(x: f32, low: f32) -> f32 {
    if low > x { low } else { x }
}

/// At most `high`, NaN kept.
#[inline(always)]
fn at_most(x: f32, high: f32) -> f32 {
    if high < x { high } else { x }
}

/// Added and subtracted, it rounds an f32 of magnitude below 2^22 to an integer, which stands in the low bits of the sum.
pub(in crate::cpu) const ROUND: f32 = 12_582_912.0;

/// As `ROUND`, for f64 below 2^51.
const ROUND64: f64 = 6_755_399_441_055_744.0;

/// The integer in the low bits of `x + ROUND`.
#[inline(always)]
fn low_bits(sum: f32) -> i32 {
    (sum.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32)
}

/// As `low_bits`.
#[inline(always)]
fn low_bits64(sum: f64) -> i64 {
    (sum.to_bits() as i64).wrapping_sub(ROUND64.to_bits() as i64)
}

/// 2^k for -126 <= k <= 127, out of the bits of k + 127 + ROUND, or of k + 127 and anything above the ninth bit.
#[inline(always)]
fn exponent(bits: u32) -> f32 {
    f32::from_bits(bits << 23)
}

/// 2^k for -1022 <= k <= 1023.
#[inline(always)]
fn power_of_two64(k: i64) -> f64 {
    f64::from_bits((k.wrapping_add(1023) << 52) as u64)
}

/// e^r - 1 - r over r^2, for |r| <= ln(2) / 2.
pub(in crate::cpu) const EXP: [f32; 5] =
    [0.499_999_97, 0.166_665_435, 0.041_667_200_6, 0.008_366_580_12, 0.001_388_251_32];

/// e^r - 1 for |r| <= ln(2) / 2, with a small relative error also near 0. The terms are summed as a tree: a chain would
/// be a fifth longer, and the length of the chain is what bounds the speed of the functions made of it.
#[inline(always)]
fn exp_less_one<T: Target>(r: f32) -> f32 {
    let square = r * r;
    let low = fma::<T>(r, EXP[1], EXP[0]);
    let high = fma::<T>(square, EXP[4], fma::<T>(r, EXP[3], EXP[2]));
    fma::<T>(square, fma::<T>(square, high, low), r)
}

/// As `EXP`, to 2^-49.
const EXP64: [f64; 9] = [
    0.49999999999999634,
    0.16666666666630214,
    0.041666666667107326,
    0.008333333362846447,
    0.0013888888764051971,
    0.00019841195633655832,
    2.480169638950202e-05,
    2.7630799876889844e-06,
    2.755414342691161e-07,
];

/// e^x for -700 <= x <= 700, to about 2^-49.
#[inline(always)]
fn exp64<T: Target>(x: f64) -> f64 {
    let sum = x * std::f64::consts::LOG2_E + ROUND64;
    let n = sum - ROUND64;
    // ln(2) in two parts, the first with trailing zeros so that its multiples are exact.
    let r = x - n * 0.693_147_180_369_123_8;
    let r = r - n * 1.908_214_929_270_587_7e-10;
    let p = fma64::<T>(r * r, poly64::<T, 9>(r, EXP64), r);
    let scale = power_of_two64(low_bits64(sum));
    fma64::<T>(scale, p, scale)
}
