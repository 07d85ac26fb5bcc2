//! The kernels by instruction, lane type and level: a compiled program holds function pointers out of these tables.
//!
//! A lane type is what a value is while a program computes: bool is a byte of 0 or 1, f16 and bf16 are f32 values that
//! have been rounded.

/// The larger of two floats, NaN if either is: one `max` of the machine, which prefers its second operand, and a blend.
macro_rules! larger {
    ($a:expr, $b:expr) => {{
        let most = if $b > $a { $b } else { $a };
        if $b.is_nan() { $b } else { most }
    }};
}
/// As `larger`.
macro_rules! smaller {
    ($a:expr, $b:expr) => {{
        let least = if $b < $a { $b } else { $a };
        if $b.is_nan() { $b } else { least }
    }};
}

pub(crate) mod cast;
pub(crate) mod float;
pub(crate) mod fused;
pub(crate) mod half;
pub(crate) mod integer;
pub(crate) mod reduce;

use super::kernel::{Kernel, kernel};
use crate::cpu::isa::Isa;
use crate::dtype::DType;
use crate::loops::{BinaryOp, UnaryOp};

/// What a value is while a program computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    U8,
    I32,
    I64,
    F32,
    F64,
}

impl Lane {
    pub(crate) const fn of(dtype: DType) -> Lane {
        match dtype {
            DType::Bool | DType::U8 => Lane::U8,
            DType::I32 => Lane::I32,
            DType::I64 => Lane::I64,
            DType::F16 | DType::BF16 | DType::F32 => Lane::F32,
            DType::F64 => Lane::F64,
        }
    }

    /// Bytes of one lane.
    pub(crate) const fn size(self) -> usize {
        match self {
            Lane::U8 => 1,
            Lane::I32 | Lane::F32 => 4,
            Lane::I64 | Lane::F64 => 8,
        }
    }
}

/// Whether values of this type lie in memory as they lie in lanes.
pub(crate) const fn is_direct(dtype: DType) -> bool {
    !dtype.is_narrow()
}

/// The kernel of a function of one value of this type, where it is defined.
pub(crate) fn unary(op: UnaryOp, dtype: DType, isa: Isa) -> Option<Kernel> {
    op.result(dtype)?;
    match dtype {
        DType::Bool => (op == UnaryOp::Not).then(|| kernel!(isa, |a: u8| -> u8 { a ^ 1 })),
        DType::U8 => integer::unary_u8(op, isa),
        DType::I32 => integer::unary_i32(op, isa),
        DType::I64 => integer::unary_i64(op, isa),
        DType::F16 | DType::BF16 | DType::F32 => float::unary_f32(op, isa),
        DType::F64 => float::unary_f64(op, isa),
    }
}

/// The kernel of a function of two values of this type, where it is defined.
pub(crate) fn binary(op: BinaryOp, dtype: DType, isa: Isa) -> Option<Kernel> {
    op.result(dtype)?;
    match dtype {
        DType::Bool => integer::binary_bool(op, isa),
        DType::U8 => integer::binary_u8(op, isa),
        DType::I32 => integer::binary_i32(op, isa),
        DType::I64 => integer::binary_i64(op, isa),
        DType::F16 | DType::BF16 | DType::F32 => float::binary_f32(op, isa),
        DType::F64 => float::binary_f64(op, isa),
    }
}

/// The kernel of `Select` between values of one lane type.
pub(crate) fn select(lane: Lane, isa: Isa) -> Kernel {
    match lane {
        Lane::U8 => kernel!(isa, |p: u8, a: u8, b: u8| -> u8 { if p != 0 { a } else { b } }),
        Lane::I32 | Lane::F32 => kernel!(isa, |p: u8, a: u32, b: u32| -> u32 { if p != 0 { a } else { b } }),
        Lane::I64 | Lane::F64 => kernel!(isa, |p: u8, a: u64, b: u64| -> u64 { if p != 0 { a } else { b } }),
    }
}

/// The kernel that copies lanes.
pub(crate) fn copy(lane: Lane, isa: Isa) -> Kernel {
    match lane {
        Lane::U8 => kernel!(isa, |a: u8| -> u8 { a }),
        Lane::I32 | Lane::F32 => kernel!(isa, |a: u32| -> u32 { a }),
        Lane::I64 | Lane::F64 => kernel!(isa, |a: u64| -> u64 { a }),
    }
}

/// The kernel of `RandomBits` with this word: points, seed, offset.
pub(crate) fn random(stream: u8, isa: Isa) -> Kernel {
    macro_rules! word {
        ($w:literal) => {
            kernel!(isa, |point: i64, seed: i64, offset: i64| -> i32 {
                crate::philox::random_bits(seed, offset, point, $w) as i32
            })
        };
    }
    match stream & 3 {
        0 => word!(0),
        1 => word!(1),
        2 => word!(2),
        _ => word!(3),
    }
}

/// Whether an instruction's exact result may need rounding to a half type that its operands already have.
pub(crate) fn unary_rounds(op: UnaryOp) -> bool {
    use UnaryOp::*;
    !matches!(op, Neg | Abs | Sign | Floor | Ceil | Trunc | Round | Not | BitNot | IsNan | IsInf | Uniform)
}

/// As `unary_rounds`.
pub(crate) fn binary_rounds(op: BinaryOp) -> bool {
    !op.is_comparison() && !matches!(op, BinaryOp::Max | BinaryOp::Min)
}
