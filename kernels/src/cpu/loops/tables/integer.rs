//! Kernels of the integer types and of bool. Arithmetic wraps; whatever is divided by zero is zero.

use crate::cpu::isa::Isa;
use crate::cpu::loops::kernel::{Kernel, kernel};
use crate::loops::{BinaryOp, UnaryOp};

/// The divisions and the power, which the language defines for every operand.
trait Whole: Copy {
    fn sign(self) -> Self;
    fn absolute(self) -> Self;
    fn floor_div(self, by: Self) -> Self;
    fn trunc_div(self, by: Self) -> Self;
    fn floor_mod(self, by: Self) -> Self;
    fn trunc_mod(self, by: Self) -> Self;
    fn power(self, exponent: Self) -> Self;
}

/// base^exponent modulo 2^64; narrower types take the low bits, which depend on low bits alone.
#[inline(always)]
fn power_of_unsigned(mut base: u64, mut exponent: u64) -> u64 {
    let mut out = 1u64;
    while exponent != 0 {
        if exponent & 1 != 0 {
            out = out.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        exponent >>= 1;
    }
    out
}

macro_rules! whole_signed {
    ($($t:ty),*) => {$(
        impl Whole for $t {
            #[inline(always)]
            fn sign(self) -> $t { self.signum() }
            #[inline(always)]
            fn absolute(self) -> $t { self.wrapping_abs() }
            #[inline(always)]
            fn floor_div(self, by: $t) -> $t {
                if by == 0 { return 0 }
                let q = self.wrapping_div(by);
                if self.wrapping_rem(by) != 0 && (self < 0) != (by < 0) { q - 1 } else { q }
            }
            #[inline(always)]
            fn trunc_div(self, by: $t) -> $t { if by == 0 { 0 } else { self.wrapping_div(by) } }
            #[inline(always)]
            fn floor_mod(self, by: $t) -> $t {
                if by == 0 { return 0 }
                let r = self.wrapping_rem(by);
                if r != 0 && (r < 0) != (by < 0) { r + by } else { r }
            }
            #[inline(always)]
            fn trunc_mod(self, by: $t) -> $t { if by == 0 { 0 } else { self.wrapping_rem(by) } }
            #[inline(always)]
            fn power(self, exponent: $t) -> $t {
                match (exponent < 0, self) {
                    (false, _) => power_of_unsigned(self as i64 as u64, exponent as u64) as $t,
                    (true, 1) => 1,
                    (true, -1) => if exponent & 1 == 0 { 1 } else { -1 },
                    (true, _) => 0,
                }
            }
        }
    )*};
}
whole_signed!(i32, i64);

impl Whole for u8 {
    #[inline(always)]
    fn sign(self) -> u8 {
        (self != 0) as u8
    }
    #[inline(always)]
    fn absolute(self) -> u8 {
        self
    }
    #[inline(always)]
    fn floor_div(self, by: u8) -> u8 {
        self.checked_div(by).unwrap_or(0)
    }
    #[inline(always)]
    fn trunc_div(self, by: u8) -> u8 {
        self.checked_div(by).unwrap_or(0)
    }
    #[inline(always)]
    fn floor_mod(self, by: u8) -> u8 {
        self.checked_rem(by).unwrap_or(0)
    }
    #[inline(always)]
    fn trunc_mod(self, by: u8) -> u8 {
        self.checked_rem(by).unwrap_or(0)
    }
    #[inline(always)]
    fn power(self, exponent: u8) -> u8 {
        power_of_unsigned(self as u64, exponent as u64) as u8
    }
}

macro_rules! integer_tables {
    ($unary:ident, $binary:ident, $t:ident) => {
        /// Functions of one value.
        pub(crate) fn $unary(op: UnaryOp, isa: Isa) -> Option<Kernel> {
            Some(match op {
                UnaryOp::Neg => kernel!(isa, |a: $t| -> $t { a.wrapping_neg() }),
                UnaryOp::Abs => kernel!(isa, |a: $t| -> $t { a.absolute() }),
                UnaryOp::Sign => kernel!(isa, |a: $t| -> $t { a.sign() }),
                UnaryOp::BitNot => kernel!(isa, |a: $t| -> $t { !a }),
                UnaryOp::Uniform => {
                    kernel!(isa, |a: i32| -> f32 { (a as u32 >> 8) as f32 * (1.0 / 16777216.0) })
                }
                _ => return None,
            })
        }

        /// Functions of two values.
        pub(crate) fn $binary(op: BinaryOp, isa: Isa) -> Option<Kernel> {
            Some(match op {
                BinaryOp::Add => kernel!(isa, |a: $t, b: $t| -> $t { a.wrapping_add(b) }),
                BinaryOp::Sub => kernel!(isa, |a: $t, b: $t| -> $t { a.wrapping_sub(b) }),
                BinaryOp::Mul => kernel!(isa, |a: $t, b: $t| -> $t { a.wrapping_mul(b) }),
                BinaryOp::FloorDiv => kernel!(isa, |a: $t, b: $t| -> $t { a.floor_div(b) }),
                BinaryOp::TruncDiv => kernel!(isa, |a: $t, b: $t| -> $t { a.trunc_div(b) }),
                BinaryOp::Rem => kernel!(isa, |a: $t, b: $t| -> $t { a.floor_mod(b) }),
                BinaryOp::Fmod => kernel!(isa, |a: $t, b: $t| -> $t { a.trunc_mod(b) }),
                BinaryOp::Pow => kernel!(isa, |a: $t, b: $t| -> $t { a.power(b) }),
                BinaryOp::Max => kernel!(isa, |a: $t, b: $t| -> $t { a.max(b) }),
                BinaryOp::Min => kernel!(isa, |a: $t, b: $t| -> $t { a.min(b) }),
                BinaryOp::And => kernel!(isa, |a: $t, b: $t| -> $t { a & b }),
                BinaryOp::Or => kernel!(isa, |a: $t, b: $t| -> $t { a | b }),
                BinaryOp::Xor => kernel!(isa, |a: $t, b: $t| -> $t { a ^ b }),
                BinaryOp::Eq => kernel!(isa, |a: $t, b: $t| -> u8 { (a == b) as u8 }),
                BinaryOp::Ne => kernel!(isa, |a: $t, b: $t| -> u8 { (a != b) as u8 }),
                BinaryOp::Lt => kernel!(isa, |a: $t, b: $t| -> u8 { (a < b) as u8 }),
                BinaryOp::Le => kernel!(isa, |a: $t, b: $t| -> u8 { (a <= b) as u8 }),
                BinaryOp::Gt => kernel!(isa, |a: $t, b: $t| -> u8 { (a > b) as u8 }),
                BinaryOp::Ge => kernel!(isa, |a: $t, b: $t| -> u8 { (a >= b) as u8 }),
                BinaryOp::Div | BinaryOp::Atan2 => return None,
            })
        }
    };
}

integer_tables!(unary_u8, binary_u8, u8);
integer_tables!(unary_i32, binary_i32, i32);
integer_tables!(unary_i64, binary_i64, i64);

/// Functions of two truth values: sums are "or", products "and", and false < true.
pub(crate) fn binary_bool(op: BinaryOp, isa: Isa) -> Option<Kernel> {
    match op {
        BinaryOp::Add | BinaryOp::Or | BinaryOp::Max => binary_u8(BinaryOp::Or, isa),
        BinaryOp::Mul | BinaryOp::And | BinaryOp::Min => binary_u8(BinaryOp::And, isa),
        BinaryOp::Xor => binary_u8(BinaryOp::Xor, isa),
        comparison if comparison.is_comparison() => binary_u8(comparison, isa),
        _ => None,
    }
}
