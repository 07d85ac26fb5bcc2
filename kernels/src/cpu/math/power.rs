//! a^b in f64 lanes: 2^(b log2(|a|)), with log2 to 2^-50, because its error is multiplied by up to 150.

use super::{EXP64, ROUND64, fma64, low_bits64, poly64, power_of_two64};
use crate::cpu::isa::Target;

/// log((1 + s) / (1 - s)) - 2 s over s^3, in s^2, for (1 + s) / (1 - s) between sqrt(1/2) and sqrt(2).
const LOG64: [f64; 6] = [
    0.666666666665872,
    0.4000000005227623,
    0.2857141712937078,
    0.22223371713366014,
    0.18123641598965154,
    0.16819833429332587,
];

/// The bits of sqrt(1/2).
const LOW: u64 = 0x3fe6_a09e_667f_3bcd;

/// log2 of a positive number.
#[inline(always)]
fn log2<T: Target>(x: f64) -> f64 {
    let bits = x.to_bits().wrapping_sub(LOW);
    // The exponent by the rounding trick: there is no vector conversion from i64 before AVX-512.
    let k = f64::from_bits(((bits as i64 >> 52).wrapping_add(ROUND64.to_bits() as i64)) as u64) - ROUND64;
    let f = f64::from_bits((bits & 0x000f_ffff_ffff_ffff).wrapping_add(LOW)) - 1.0;
    let s = f / (2.0 + f);
    let square = s * s;
    let log = fma64::<T>(s * square, poly64::<T, 6>(square, LOG64), 2.0 * s);
    fma64::<T>(log, std::f64::consts::LOG2_E, k)
}

#[inline(always)]
pub(super) fn pow<T: Target>(x: f32, y: f32) -> f32 {
    let a = x.abs() as f64;
    let w = y as f64 * log2::<T>(a);
    let w = if -160.0 > w { -160.0 } else { w };
    let w = if 130.0 < w { 130.0 } else { w };
    let sum = w + ROUND64;
    let r = (w - (sum - ROUND64)) * std::f64::consts::LN_2;
    let p = fma64::<T>(r * r, poly64::<T, 9>(r, EXP64), r);
    let scale = power_of_two64(low_bits64(sum));
    let result = fma64::<T>(scale, p, scale) as f32;

    let a = x.abs();
    let up = y > 0.0;
    let result = if a == 0.0 { if up { 0.0 } else { f32::INFINITY } } else { result };
    let result = if a == f32::INFINITY { if up { f32::INFINITY } else { 0.0 } } else { result };
    let whole = y.floor() == y;
    let odd = whole & ((y * 0.5).floor() != y * 0.5);
    let result = if odd & x.is_sign_negative() { -result } else { result };
    let undefined = (x < 0.0) & (a < f32::INFINITY) & !whole;
    let result = if undefined { f32::NAN } else { result };
    let result = if x.is_nan() | y.is_nan() { f32::NAN } else { result };
    let infinite = y.abs() == f32::INFINITY;
    if (y == 0.0) | (x == 1.0) | ((x == -1.0) & infinite) { 1.0 } else { result }
}
