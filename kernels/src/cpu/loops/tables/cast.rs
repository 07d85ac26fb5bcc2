//! Kernels that convert between lane types, as torch's `to` does: a float becomes an integer by way of i64 (truncated,
//! saturated there, then wrapped), anything but zero becomes true, and whatever becomes a half is rounded once.

use super::half::{round_bf16_from, round_f16_from};
use crate::cpu::isa::Isa;
use crate::cpu::loops::kernel::{Kernel, kernel};
use crate::dtype::DType;

macro_rules! from_lane {
    ($name:ident, $t:ident, $to_int:ident, $is:expr) => {
        fn $name(to: DType, isa: Isa) -> Kernel {
            match to {
                DType::Bool => kernel!(isa, |a: $t| -> u8 { ($is)(a) as u8 }),
                DType::U8 => kernel!(isa, |a: $t| -> u8 { a as $to_int as u8 }),
                DType::I32 => kernel!(isa, |a: $t| -> i32 { a as $to_int as i32 }),
                DType::I64 => kernel!(isa, |a: $t| -> i64 { a as i64 }),
                DType::F16 => kernel!(isa, |a: $t| -> f32 { round_f16_from(a as f64) }),
                DType::BF16 => kernel!(isa, |a: $t| -> f32 { round_bf16_from(a as f64) }),
                DType::F32 => kernel!(isa, |a: $t| -> f32 { a as f32 }),
                DType::F64 => kernel!(isa, |a: $t| -> f64 { a as f64 }),
            }
        }
    };
}

from_lane!(from_u8, u8, u8, |a: u8| a != 0);
from_lane!(from_i32, i32, i32, |a: i32| a != 0);
from_lane!(from_i64, i64, i64, |a: i64| a != 0);
from_lane!(from_f32, f32, i64, |a: f32| a != 0.0);
from_lane!(from_f64, f64, i64, |a: f64| a != 0.0);

/// How one type becomes another.
pub(crate) enum Cast {
    /// The lanes are the same.
    Nothing,
    /// One pass, whose result is rounded already.
    Convert(Kernel),
}

/// The conversion from one type to another.
pub(crate) fn cast(from: DType, to: DType, isa: Isa) -> Cast {
    use DType::*;
    match (from, to) {
        (a, b) if a == b => Cast::Nothing,
        (Bool, U8) | (F16 | BF16, F32) => Cast::Nothing,
        (F32 | BF16, F16) => Cast::Convert(super::half::round_f16(isa)),
        (F32 | F16, BF16) => Cast::Convert(super::half::round_bf16(isa)),
        (Bool | U8, _) => Cast::Convert(from_u8(to, isa)),
        (I32, _) => Cast::Convert(from_i32(to, isa)),
        (I64, _) => Cast::Convert(from_i64(to, isa)),
        (F16 | BF16 | F32, _) => Cast::Convert(from_f32(to, isa)),
        (F64, _) => Cast::Convert(from_f64(to, isa)),
    }
}
