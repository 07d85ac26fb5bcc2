//! Vector math: elementary functions as straight-line scalar source that the compiler turns into vector code.

mod scalar;

use super::isa::Target;

/// The functions of the float types. Each is at most 2.5 ulp from the exact value over the whole range.
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
