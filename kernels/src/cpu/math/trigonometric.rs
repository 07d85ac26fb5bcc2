//! Sines, cosines, tangents and their inverses.
//!
//! The argument is reduced by k pi/2 (Cody and Waite, pi/2 in three parts); with FMA each step loses nothing but the
//! last place of its result, and without it the reduction is done in f64. Arguments beyond `NEAR` are rare and go to
//! the standard library, each for itself.

use super::{ROUND, ROUND64, fma, fma64, low_bits, low_bits64, poly, poly64};
use crate::cpu::isa::Target;
use std::f64::consts::{FRAC_PI_2, PI};

/// The largest argument of the fast reduction.
pub(super) const NEAR: f32 = 200_000.0;

/// pi/2 in three parts of an f32 each.
const HALF_PI: [f32; 3] = [1.570_796_4, -4.371_139e-8, -1.715_124_4e-15];
/// pi/2 in two parts, the first of 33 bits.
const HALF_PI64: [f64; 2] = [1.570_796_326_734_125_6, 6.077_100_506_506_192e-11];

/// sin(r) - r over r^3 and cos(r) - 1 + r^2 / 2 over r^4, in r^2, for |r| <= pi/4.
const SIN: [f32; 3] = [-0.166_666_552, 0.008_332_173_34, -0.000_195_166_562];
const COS: [f32; 3] = [0.041_666_645_6, -0.001_388_736_19, 2.443_773_16e-5];
const SIN64: [f64; 5] = [
    -0.16666666666631275,
    0.008333333325212675,
    -0.00019841263789785853,
    2.755535053467444e-06,
    -2.4761117885890974e-08,
];
const COS64: [f64; 5] = [
    0.04166666666660161,
    -0.0013888888878189202,
    2.4801580933649183e-05,
    -2.7555560127548507e-07,
    2.0647281408453763e-09,
];

/// atan(t) - t over t^3, in t^2, for 0 <= t <= 1.
const ATAN: [f32; 9] = [
    -0.333_333_015,
    0.199_986_383,
    -0.142_652_452,
    0.109_575_756,
    -0.084_194_541,
    0.058_234_442,
    -0.031_455_580_1,
    0.011_064_368_3,
    -0.001_827_195_64,
];
const ATAN64: [f64; 12] = [
    -0.3333333313025117,
    0.19999985335100687,
    -0.14285343380592105,
    0.11106370006538857,
    -0.09054955040840289,
    0.07515385375542735,
    -0.06068695154691828,
    0.044367079521083166,
    -0.026746141772212774,
    0.011911168818472175,
    -0.003377288098849488,
    0.00044920482980455523,
];

/// The number of the quarter turn, and the angle from its middle; x >= 0.
#[inline(always)]
fn quarter<T: Target>(x: f32) -> (i32, f32) {
    let sum = fma::<T>(x, std::f32::consts::FRAC_2_PI, ROUND);
    let n = sum - ROUND;
    let r = if T::FMA {
        let r = n.mul_add(-HALF_PI[0], x);
        n.mul_add(-HALF_PI[2], n.mul_add(-HALF_PI[1], r))
    } else {
        (x as f64 - n as f64 * HALF_PI64[0] - n as f64 * HALF_PI64[1]) as f32
    };
    (low_bits(sum), r)
}

/// sin(r + k pi/2).
#[inline(always)]
fn turned<T: Target>(k: i32, r: f32) -> f32 {
    let square = r * r;
    let sin = fma::<T>(r * square, poly::<T, 3>(square, SIN), r);
    let cos = fma::<T>(square * square, poly::<T, 3>(square, COS), fma::<T>(-0.5, square, 1.0));
    let value = if k & 1 == 0 { sin } else { cos };
    f32::from_bits(value.to_bits() ^ ((k as u32 & 2) << 30))
}

#[inline(always)]
pub(super) fn sin<T: Target>(x: f32) -> f32 {
    let (k, r) = quarter::<T>(x.abs());
    f32::from_bits(turned::<T>(k, r).to_bits() ^ (x.to_bits() & 0x8000_0000))
}

#[inline(always)]
pub(super) fn cos<T: Target>(x: f32) -> f32 {
    let (k, r) = quarter::<T>(x.abs());
    turned::<T>(k.wrapping_add(1), r)
}

#[inline(always)]
pub(super) fn tan<T: Target>(x: f32) -> f32 {
    let a = x.abs() as f64;
    let sum = a * std::f64::consts::FRAC_2_PI + ROUND64;
    let n = sum - ROUND64;
    let r = a - n * HALF_PI64[0] - n * HALF_PI64[1];
    let square = r * r;
    let sin = fma64::<T>(r * square, poly64::<T, 5>(square, SIN64), r);
    let cos = fma64::<T>(square * square, poly64::<T, 5>(square, COS64), fma64::<T>(-0.5, square, 1.0));
    let odd = low_bits64(sum) & 1 != 0;
    let value = (if odd { -cos } else { sin }) / (if odd { sin } else { cos });
    let value = value as f32;
    f32::from_bits(value.to_bits() ^ (x.to_bits() & 0x8000_0000))
}

#[inline(always)]
pub(super) fn atan<T: Target>(x: f32) -> f32 {
    let a = x.abs();
    let steep = a > 1.0;
    let t = (if steep { 1.0 } else { a }) / (if steep { a } else { 1.0 });
    let square = t * t;
    let p = fma::<T>(t * square, poly::<T, 9>(square, ATAN), t);
    // pi/2 is HALF_PI[0] + HALF_PI[1].
    (if steep { HALF_PI[0] - (p - HALF_PI[1]) } else { p }).copysign(x)
}

#[inline(always)]
pub(super) fn atan2<T: Target>(y: f32, x: f32) -> f32 {
    let (a, b) = (y.abs() as f64, x.abs() as f64);
    let steep = a > b;
    let (low, high) = if steep { (b, a) } else { (a, b) };
    let t = if low == high { (high != 0.0) as u8 as f64 } else { low / high };
    let square = t * t;
    let p = fma64::<T>(t * square, poly64::<T, 12>(square, ATAN64), t);
    let p = if steep { FRAC_PI_2 - p } else { p };
    let p = if x.is_sign_negative() { PI - p } else { p };
    // The comparisons above say nothing about NaN; the sum of the arguments does, except for opposite infinities.
    let p = if x.is_nan() | y.is_nan() { f64::NAN } else { p };
    (p as f32).copysign(y)
}
