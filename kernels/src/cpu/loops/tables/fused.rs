//! Two float operations in one pass over the tile, each still rounded on its own: (a op1 b) op2 c, and exp(a - b).
//!
//! What is saved is the trip of the intermediate value through the cache, which is most of the cost of a cheap
//! instruction. Nothing is contracted: the result has the bits of the two passes.

use super::Lane;
use crate::cpu::isa::Isa;
use crate::cpu::loops::kernel::{Kernel, kernel};
use crate::cpu::math::Real;
use crate::loops::{BinaryOp, UnaryOp};

/// On which side of the second operation the intermediate value stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Left,
    Right,
}

macro_rules! pairs {
    ($name:ident, $t:ident) => {
        fn $name(first: BinaryOp, second: BinaryOp, side: Side, isa: Isa) -> Option<Kernel> {
            use BinaryOp::{Add, Mul, Sub};
            use Side::{Left, Right};
            Some(match (first, second, side) {
                (Mul, Add, Left) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { a * b + c }),
                (Mul, Add, Right) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { c + a * b }),
                (Mul, Sub, Left) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { a * b - c }),
                (Mul, Sub, Right) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { c - a * b }),
                (Mul, Mul, Left) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { a * b * c }),
                (Mul, Mul, Right) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { c * (a * b) }),
                (Add, Add, Left) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { a + b + c }),
                (Add, Add, Right) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { c + (a + b) }),
                (Add, Sub, Left) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { a + b - c }),
                (Add, Sub, Right) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { c - (a + b) }),
                (Add, Mul, Left) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { (a + b) * c }),
                (Add, Mul, Right) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { c * (a + b) }),
                (Sub, Add, Left) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { a - b + c }),
                (Sub, Add, Right) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { c + (a - b) }),
                (Sub, Sub, Left) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { a - b - c }),
                (Sub, Sub, Right) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { c - (a - b) }),
                (Sub, Mul, Left) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { (a - b) * c }),
                (Sub, Mul, Right) => kernel!(isa, |a: $t, b: $t, c: $t| -> $t { c * (a - b) }),
                _ => return None,
            })
        }
    };
}

pairs!(pair_f32, f32);
pairs!(pair_f64, f64);

/// The kernel of two float operations, where there is one.
pub(crate) fn pair(first: BinaryOp, second: BinaryOp, side: Side, lane: Lane, isa: Isa) -> Option<Kernel> {
    match lane {
        Lane::F32 => pair_f32(first, second, side, isa),
        Lane::F64 => pair_f64(first, second, side, isa),
        Lane::U8 | Lane::I32 | Lane::I64 => None,
    }
}

/// The kernel of a function of the result of an operation, where there is one: the exponential of a softmax.
pub(crate) fn after(first: BinaryOp, second: UnaryOp, lane: Lane, isa: Isa) -> Option<Kernel> {
    match (first, second, lane) {
        (BinaryOp::Sub, UnaryOp::Exp, Lane::F32) => {
            Some(kernel!(isa, |a: f32, b: f32| -> f32 { Real::exp::<T>(a - b) }))
        }
        _ => None,
    }
}
