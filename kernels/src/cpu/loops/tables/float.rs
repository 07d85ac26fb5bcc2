//! Kernels of the float types.
//!
//! Arithmetic is one IEEE operation per instruction, hence the same at every level; the functions of `cpu::math` may
//! use FMA inside and differ between levels within their error bound.

use crate::cpu::isa::Isa;
use crate::cpu::loops::kernel::{Kernel, kernel};
use crate::cpu::math::{Rare, Real};
use crate::loops::{BinaryOp, UnaryOp};

macro_rules! float_tables {
    ($unary:ident, $binary:ident, $t:ident) => {
        /// Functions of one value.
        pub(crate) fn $unary(op: UnaryOp, isa: Isa) -> Option<Kernel> {
            Some(match op {
                UnaryOp::Neg => kernel!(isa, |a: $t| -> $t { -a }),
                UnaryOp::Abs => kernel!(isa, |a: $t| -> $t { a.abs() }),
                UnaryOp::Sign => kernel!(isa, |a: $t| -> $t {
                    let one = (1.0 as $t).copysign(a);
                    if a == 0.0 || a.is_nan() { a } else { one }
                }),
                UnaryOp::Floor => kernel!(isa, |a: $t| -> $t { a.floor() }),
                UnaryOp::Ceil => kernel!(isa, |a: $t| -> $t { a.ceil() }),
                UnaryOp::Trunc => kernel!(isa, |a: $t| -> $t { a.trunc() }),
                UnaryOp::Round => kernel!(isa, |a: $t| -> $t { a.round_ties_even() }),
                UnaryOp::Sqrt => kernel!(isa, |a: $t| -> $t { a.sqrt() }),
                UnaryOp::Rsqrt => kernel!(isa, |a: $t| -> $t { 1.0 / a.sqrt() }),
                UnaryOp::Recip => kernel!(isa, |a: $t| -> $t { 1.0 / a }),
                UnaryOp::Exp => kernel!(isa, |a: $t| -> $t { Real::exp::<T>(a) }),
                UnaryOp::Exp2 => kernel!(isa, |a: $t| -> $t { Real::exp2::<T>(a) }),
                UnaryOp::Expm1 => kernel!(isa, |a: $t| -> $t { Real::expm1::<T>(a) }),
                UnaryOp::Log => kernel!(isa, |a: $t| -> $t { Real::log::<T>(a) }, is_odd => rare_log),
                UnaryOp::Log2 => kernel!(isa, |a: $t| -> $t { Real::log2::<T>(a) }, is_odd => rare_log2),
                UnaryOp::Log10 => kernel!(isa, |a: $t| -> $t { Real::log10::<T>(a) }, is_odd => rare_log10),
                UnaryOp::Log1p => kernel!(isa, |a: $t| -> $t { Real::log1p::<T>(a) }, is_odd_after_one => rare_log1p),
                UnaryOp::Sin => kernel!(isa, |a: $t| -> $t { Real::sin::<T>(a) }, is_far => rare_sin),
                UnaryOp::Cos => kernel!(isa, |a: $t| -> $t { Real::cos::<T>(a) }, is_far => rare_cos),
                UnaryOp::Tan => kernel!(isa, |a: $t| -> $t { Real::tan::<T>(a) }, is_far => rare_tan),
                UnaryOp::Atan => kernel!(isa, |a: $t| -> $t { Real::atan::<T>(a) }),
                UnaryOp::Tanh => kernel!(isa, |a: $t| -> $t { Real::tanh::<T>(a) }),
                UnaryOp::Erf => kernel!(isa, |a: $t| -> $t { Real::erf::<T>(a) }),
                UnaryOp::Erfc => kernel!(isa, |a: $t| -> $t { Real::erfc::<T>(a) }),
                UnaryOp::Sigmoid => kernel!(isa, |a: $t| -> $t { Real::sigmoid::<T>(a) }),
                UnaryOp::IsNan => kernel!(isa, |a: $t| -> u8 { a.is_nan() as u8 }),
                UnaryOp::IsInf => kernel!(isa, |a: $t| -> u8 { a.is_infinite() as u8 }),
                UnaryOp::Not | UnaryOp::BitNot | UnaryOp::Uniform => return None,
            })
        }

        /// Functions of two values.
        pub(crate) fn $binary(op: BinaryOp, isa: Isa) -> Option<Kernel> {
            Some(match op {
                BinaryOp::Add => kernel!(isa, |a: $t, b: $t| -> $t { a + b }),
                BinaryOp::Sub => kernel!(isa, |a: $t, b: $t| -> $t { a - b }),
                BinaryOp::Mul => kernel!(isa, |a: $t, b: $t| -> $t { a * b }),
                BinaryOp::Div => kernel!(isa, |a: $t, b: $t| -> $t { a / b }),
                BinaryOp::FloorDiv => kernel!(isa, |a: $t, b: $t| -> $t { (a / b).floor() }),
                BinaryOp::TruncDiv => kernel!(isa, |a: $t, b: $t| -> $t { (a / b).trunc() }),
                BinaryOp::Rem => kernel!(isa, |a: $t, b: $t| -> $t {
                    let r = a % b;
                    if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
                }),
                BinaryOp::Fmod => kernel!(isa, |a: $t, b: $t| -> $t { a % b }),
                BinaryOp::Pow => kernel!(isa, |a: $t, b: $t| -> $t { Real::pow::<T>(a, b) }),
                BinaryOp::Max => kernel!(isa, |a: $t, b: $t| -> $t { larger!(a, b) }),
                BinaryOp::Min => kernel!(isa, |a: $t, b: $t| -> $t { smaller!(a, b) }),
                BinaryOp::Atan2 => kernel!(isa, |a: $t, b: $t| -> $t { Real::atan2::<T>(a, b) }),
                BinaryOp::Eq => kernel!(isa, |a: $t, b: $t| -> u8 { (a == b) as u8 }),
                BinaryOp::Ne => kernel!(isa, |a: $t, b: $t| -> u8 { (a != b) as u8 }),
                BinaryOp::Lt => kernel!(isa, |a: $t, b: $t| -> u8 { (a < b) as u8 }),
                BinaryOp::Le => kernel!(isa, |a: $t, b: $t| -> u8 { (a <= b) as u8 }),
                BinaryOp::Gt => kernel!(isa, |a: $t, b: $t| -> u8 { (a > b) as u8 }),
                BinaryOp::Ge => kernel!(isa, |a: $t, b: $t| -> u8 { (a >= b) as u8 }),
                BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => return None,
            })
        }
    };
}

float_tables!(unary_f32, binary_f32, f32);
float_tables!(unary_f64, binary_f64, f64);
