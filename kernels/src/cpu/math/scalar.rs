//! The elementary functions of f64 by the standard library, one point at a time.

use super::{Rare, Real, rare};
use crate::cpu::isa::Target;

macro_rules! library {
    ($($name:ident = $function:expr;)*) => {$(
        #[inline(always)]
        fn $name<T: Target>(self) -> f64 {
            ($function)(self)
        }
    )*};
}

impl Real for f64 {
    library! {
        exp = f64::exp;
        exp2 = f64::exp2;
        expm1 = f64::exp_m1;
        log = f64::ln;
        log2 = f64::log2;
        log10 = f64::log10;
        log1p = f64::ln_1p;
        sin = f64::sin;
        cos = f64::cos;
        tan = f64::tan;
        atan = f64::atan;
        tanh = f64::tanh;
        erf = libm::erf;
        erfc = libm::erfc;
    }

    /// By e^-|x|, which cannot overflow, so that the lower tail keeps its digits.
    #[inline(always)]
    fn sigmoid<T: Target>(self) -> f64 {
        let e = (-self.abs()).exp();
        (if self < 0.0 { e } else { 1.0 }) / (1.0 + e)
    }

    #[inline(always)]
    fn pow<T: Target>(self, exponent: f64) -> f64 {
        self.powf(exponent)
    }

    #[inline(always)]
    fn atan2<T: Target>(self, x: f64) -> f64 {
        f64::atan2(self, x)
    }
}

impl Rare for f64 {
    #[inline(always)]
    fn is_far(self) -> bool {
        false
    }

    #[inline(always)]
    fn is_odd(self) -> bool {
        false
    }

    #[inline(always)]
    fn is_odd_after_one(self) -> bool {
        false
    }

    rare! { f64:
        rare_sin = sin;
        rare_cos = cos;
        rare_tan = tan;
        rare_log = ln;
        rare_log2 = log2;
        rare_log10 = log10;
        rare_log1p = ln_1p;
    }
}
