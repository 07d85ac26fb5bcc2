//! The error function and its complement.

use super::{ROUND, at_most, exp_less_one, exp64, exponent, fma, poly, poly64};
use crate::cpu::isa::Target;

/// Below it a polynomial in x^2, above it e to a polynomial.
pub(in crate::cpu) const CUT: f32 = 0.921_875;

/// erf(x) / x - 1, in x^2, below the cut.
pub(in crate::cpu) const SMALL: [f32; 7] = [
    0.128_379_166,
    -0.376_126_349,
    0.112_836_957,
    -0.026_859_398_9,
    0.005_201_032_39,
    -0.000_814_270_345,
    8.370_097_2e-5,
];
const SMALL64: [f64; 9] = [
    0.12837916709528815,
    -0.3761263889898783,
    0.11283791541011443,
    -0.026866155069638895,
    0.00522388362079758,
    -0.0008545120714190737,
    0.00011990537799364586,
    -1.4150764455721481e-05,
    1.1284824178823285e-06,
];

/// log(erfc(x)) from the cut to 4.
pub(in crate::cpu) const LOG_ERFC: [f32; 8] = [
    6.689_759_9e-5,
    -1.129_013_66,
    -0.634_317_398,
    -0.107_268_699,
    0.024_508_092_6,
    -0.003_957_217_56,
    0.000_394_458_795,
    -1.801_170_58e-5,
];

/// erfc(x) e^(x^2) in 1 / (1 + x / 2), for 0.45 <= x <= 10.2.
const TAIL64: [f64; 12] = [
    1.550526122522347e-07,
    0.2820913505241905,
    0.28211366185041203,
    0.24701897498703057,
    0.1727569553669508,
    0.1098342460277342,
    -0.1178858646044772,
    0.26245897513223854,
    -0.6379918688334021,
    0.6521332484164861,
    -0.31191762133952927,
    0.059391387879580655,
];

/// 1 - e^(log erfc), where what the exponential loses is small against 1.
#[inline(always)]
pub(super) fn erf<T: Target>(x: f32) -> f32 {
    let square = x * x;
    let small = fma::<T>(x, poly::<T, 7>(square, SMALL), x);
    // erf(4) is 1 to the last place.
    let a = at_most(x.abs(), 4.0);
    let log = poly::<T, 8>(a, LOG_ERFC);
    let sum = fma::<T>(log, std::f32::consts::LOG2_E, ROUND + 127.0);
    let n = sum - (ROUND + 127.0);
    let r = fma::<T>(n, -std::f32::consts::LN_2, log);
    let e = exp_less_one::<T>(r) + 1.0;
    let large = fma::<T>(-e, exponent(sum.to_bits()), 1.0).copysign(x);
    if x.abs() < CUT { small } else { large }
}

#[inline(always)]
pub(super) fn erfc<T: Target>(x: f32) -> f32 {
    let x = x as f64;
    let square = x * x;
    let small = 1.0 - (x + x * poly64::<T, 9>(square, SMALL64));
    // erfc(10.2) is 0 in f32.
    let a = x.abs();
    let a = if 10.2 < a { 10.2 } else { a };
    let tail = exp64::<T>(-a * a) * poly64::<T, 12>(1.0 / (1.0 + 0.5 * a), TAIL64);
    let large = if x < 0.0 { 2.0 - tail } else { tail };
    (if a < 0.46 { small } else { large }) as f32
}
