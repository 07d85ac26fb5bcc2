//! temporary
use super::Real;
use crate::cpu::isa::Target;

fn erfc_cf(x: f64) -> f64 {
    let mut t = 0.0f64;
    for k in (1..120).rev() {
        t = k as f64 / 2.0 / (x + t);
    }
    (-x * x).exp() / ((x + t) * std::f64::consts::PI.sqrt())
}
pub(super) fn erf64(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let a = x.abs();
    if a > 6.0 {
        return x.signum();
    }
    if a > 2.5 {
        return (1.0 - erfc_cf(a)).copysign(x);
    }
    let mut term = a;
    let mut sum = a;
    let mut n = 0.0;
    loop {
        n += 1.0;
        term *= -a * a / n;
        let d = term / (2.0 * n + 1.0);
        sum += d;
        if d.abs() < 1e-18 * sum.abs() || n > 200.0 {
            break;
        }
    }
    (sum * std::f64::consts::FRAC_2_SQRT_PI).copysign(x)
}
pub(super) fn erfc64(x: f64) -> f64 {
    if x > 2.5 { if x > 28.0 { 0.0 } else { erfc_cf(x) } } else { 1.0 - erf64(x) }
}
macro_rules! imp {
    ($t:ident) => {
        impl Real for $t {
            fn exp<T: Target>(self) -> Self {
                self.exp()
            }
            fn exp2<T: Target>(self) -> Self {
                self.exp2()
            }
            fn expm1<T: Target>(self) -> Self {
                self.exp_m1()
            }
            fn log<T: Target>(self) -> Self {
                self.ln()
            }
            fn log2<T: Target>(self) -> Self {
                self.log2()
            }
            fn log10<T: Target>(self) -> Self {
                self.log10()
            }
            fn log1p<T: Target>(self) -> Self {
                self.ln_1p()
            }
            fn sin<T: Target>(self) -> Self {
                self.sin()
            }
            fn cos<T: Target>(self) -> Self {
                self.cos()
            }
            fn tan<T: Target>(self) -> Self {
                self.tan()
            }
            fn atan<T: Target>(self) -> Self {
                self.atan()
            }
            fn tanh<T: Target>(self) -> Self {
                self.tanh()
            }
            fn erf<T: Target>(self) -> Self {
                erf64(self as f64) as $t
            }
            fn erfc<T: Target>(self) -> Self {
                erfc64(self as f64) as $t
            }
            fn sigmoid<T: Target>(self) -> Self {
                1.0 / (1.0 + (-self).exp())
            }
            fn pow<T: Target>(self, e: Self) -> Self {
                self.powf(e)
            }
            fn atan2<T: Target>(self, x: Self) -> Self {
                self.atan2(x)
            }
        }
    };
}
imp!(f32);
imp!(f64);
