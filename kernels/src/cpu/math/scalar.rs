//! The elementary functions by the standard library, one point at a time.
use super::Real;
use crate::cpu::isa::Target;

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
                libm::erf(self as f64) as $t
            }
            fn erfc<T: Target>(self) -> Self {
                libm::erfc(self as f64) as $t
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
