//! What the scalar functions of the loop language mean, in the plainest possible code.
//!
//! Floats are computed in f64 and rounded once to the type in which the language computes (f32 for halves and f32), then
//! to the declared type. For +, -, *, / and sqrt this gives the correctly rounded result, because f64 has more than
//! twice the digits; for the others it is as close as makes no difference.

use super::ir::{BinaryOp, UnaryOp};
use crate::dtype::{DType, Element, Scalar};

/// In which precision the reference interpreter computes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Precision {
    /// Every instruction rounds to its declared type: the language's definition.
    Declared,
    /// Float instructions of every type are computed in f64 and never rounded: what to measure errors against.
    Double,
}

impl Precision {
    /// The value as a number of the declared type.
    pub(super) fn round(self, dtype: DType, value: f64) -> f64 {
        match (self, dtype) {
            (Precision::Double, _) => value,
            (_, DType::F16) => half::f16::from_f32(value as f32).to_f64(),
            (_, DType::BF16) => half::bf16::from_f32(value as f32).to_f64(),
            (_, DType::F32) => value as f32 as f64,
            (_, DType::Bool | DType::U8 | DType::I32 | DType::I64 | DType::F64) => value,
        }
    }

    /// torch's `to`: floats truncate and saturate to i64, integers wrap, truth is "not zero".
    pub(super) fn convert(self, value: Scalar, dtype: DType) -> Scalar {
        if self == Precision::Double && dtype.is_float() {
            return Scalar::Float(value.to_f64());
        }
        match (dtype, value) {
            // Not through f64, which would round twice.
            (DType::F32, Scalar::Int(v)) => Scalar::Float(v as f32 as f64),
            (DType::Bool, v) => bool::from_scalar(v).to_scalar(),
            (DType::U8, v) => u8::from_scalar(v).to_scalar(),
            (DType::I32, v) => i32::from_scalar(v).to_scalar(),
            (DType::I64, v) => i64::from_scalar(v).to_scalar(),
            (DType::F16, v) => half::f16::from_scalar(v).to_scalar(),
            (DType::BF16, v) => half::bf16::from_scalar(v).to_scalar(),
            (DType::F32, v) => f32::from_scalar(v).to_scalar(),
            (DType::F64, v) => f64::from_scalar(v).to_scalar(),
        }
    }

    /// A function of one value of type `dtype`.
    pub(super) fn unary(self, op: UnaryOp, dtype: DType, x: Scalar) -> Scalar {
        match x {
            Scalar::Float(x) => self.float_unary(op, dtype, x),
            Scalar::Int(x) => integer_unary(op, dtype, x),
            Scalar::Bool(x) => Scalar::Bool(!x),
        }
    }

    /// A function of two values of type `dtype`.
    pub(super) fn binary(self, op: BinaryOp, dtype: DType, a: Scalar, b: Scalar) -> Scalar {
        match (a, b) {
            (Scalar::Float(a), Scalar::Float(b)) => self.float_binary(op, dtype, a, b),
            (Scalar::Bool(a), Scalar::Bool(b)) => Scalar::Bool(bool_binary(op, a, b)),
            (a, b) => integer_binary(op, dtype, a.to_i64(), b.to_i64()),
        }
    }

    fn float_unary(self, op: UnaryOp, dtype: DType, x: f64) -> Scalar {
        let compute = |v: f64| self.round(dtype.accumulator(), v);
        let y = match op {
            UnaryOp::Neg => -x,
            UnaryOp::Abs => x.abs(),
            UnaryOp::Sign if x == 0.0 || x.is_nan() => x,
            UnaryOp::Sign => 1f64.copysign(x),
            UnaryOp::Floor => x.floor(),
            UnaryOp::Ceil => x.ceil(),
            UnaryOp::Trunc => x.trunc(),
            UnaryOp::Round => x.round_ties_even(),
            UnaryOp::Sqrt => x.sqrt(),
            UnaryOp::Rsqrt => 1.0 / compute(x.sqrt()),
            UnaryOp::Recip => 1.0 / x,
            UnaryOp::Exp => x.exp(),
            UnaryOp::Exp2 => x.exp2(),
            UnaryOp::Expm1 => x.exp_m1(),
            UnaryOp::Log => x.ln(),
            UnaryOp::Log2 => x.log2(),
            UnaryOp::Log10 => x.log10(),
            UnaryOp::Log1p => x.ln_1p(),
            UnaryOp::Sin => x.sin(),
            UnaryOp::Cos => x.cos(),
            UnaryOp::Tan => x.tan(),
            UnaryOp::Atan => x.atan(),
            UnaryOp::Tanh => x.tanh(),
            UnaryOp::Erf => libm::erf(x),
            UnaryOp::Erfc => libm::erfc(x),
            // e^-|x| cannot overflow, which keeps the lower tail.
            UnaryOp::Sigmoid if x < 0.0 => x.exp() / (1.0 + x.exp()),
            UnaryOp::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            UnaryOp::IsNan => return Scalar::Bool(x.is_nan()),
            UnaryOp::IsInf => return Scalar::Bool(x.is_infinite()),
            UnaryOp::Not | UnaryOp::BitNot | UnaryOp::Uniform => f64::NAN,
        };
        Scalar::Float(self.round(dtype, compute(y)))
    }

    fn float_binary(self, op: BinaryOp, dtype: DType, a: f64, b: f64) -> Scalar {
        let compute = |v: f64| self.round(dtype.accumulator(), v);
        let y = match op {
            BinaryOp::Add => a + b,
            BinaryOp::Sub => a - b,
            BinaryOp::Mul => a * b,
            BinaryOp::Div => a / b,
            BinaryOp::FloorDiv => compute(a / b).floor(),
            BinaryOp::TruncDiv => compute(a / b).trunc(),
            BinaryOp::Rem => {
                let r = a % b;
                if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
            }
            BinaryOp::Fmod => a % b,
            BinaryOp::Pow => a.powf(b),
            BinaryOp::Max if a >= b || a.is_nan() => a,
            BinaryOp::Min if a <= b || a.is_nan() => a,
            BinaryOp::Max | BinaryOp::Min => b,
            BinaryOp::Atan2 => a.atan2(b),
            BinaryOp::Eq => return Scalar::Bool(a == b),
            BinaryOp::Ne => return Scalar::Bool(a != b),
            BinaryOp::Lt => return Scalar::Bool(a < b),
            BinaryOp::Le => return Scalar::Bool(a <= b),
            BinaryOp::Gt => return Scalar::Bool(a > b),
            BinaryOp::Ge => return Scalar::Bool(a >= b),
            BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => f64::NAN,
        };
        Scalar::Float(self.round(dtype, compute(y)))
    }
}

fn wrapped(dtype: DType, value: i64) -> Scalar {
    Scalar::Int(match dtype {
        DType::U8 => value as u8 as i64,
        DType::I32 => value as i32 as i64,
        DType::Bool | DType::I64 | DType::F16 | DType::BF16 | DType::F32 | DType::F64 => value,
    })
}

fn integer_unary(op: UnaryOp, dtype: DType, x: i64) -> Scalar {
    match op {
        UnaryOp::Neg => wrapped(dtype, x.wrapping_neg()),
        UnaryOp::Abs => wrapped(dtype, x.wrapping_abs()),
        UnaryOp::Sign => Scalar::Int(x.signum()),
        UnaryOp::BitNot => wrapped(dtype, !x),
        UnaryOp::Uniform => Scalar::Float((x as u32 >> 8) as f64 / 16_777_216.0),
        // Not defined for integers; the verifier has refused it.
        _ => Scalar::Int(x),
    }
}

fn integer_binary(op: BinaryOp, dtype: DType, a: i64, b: i64) -> Scalar {
    let remainder = |b: i64| if b == 0 { 0 } else { a.wrapping_rem(b) };
    let quotient = |b: i64| if b == 0 { 0 } else { a.wrapping_div(b) };
    let crosses = remainder(b) != 0 && (a < 0) != (b < 0);
    wrapped(
        dtype,
        match op {
            BinaryOp::Add => a.wrapping_add(b),
            BinaryOp::Sub => a.wrapping_sub(b),
            BinaryOp::Mul => a.wrapping_mul(b),
            BinaryOp::FloorDiv => quotient(b) - crosses as i64,
            BinaryOp::TruncDiv => quotient(b),
            BinaryOp::Rem => remainder(b) + if crosses { b } else { 0 },
            BinaryOp::Fmod => remainder(b),
            BinaryOp::Pow => integer_power(a, b),
            BinaryOp::Max => a.max(b),
            BinaryOp::Min => a.min(b),
            BinaryOp::And => a & b,
            BinaryOp::Or => a | b,
            BinaryOp::Xor => a ^ b,
            BinaryOp::Eq => return Scalar::Bool(a == b),
            BinaryOp::Ne => return Scalar::Bool(a != b),
            BinaryOp::Lt => return Scalar::Bool(a < b),
            BinaryOp::Le => return Scalar::Bool(a <= b),
            BinaryOp::Gt => return Scalar::Bool(a > b),
            BinaryOp::Ge => return Scalar::Bool(a >= b),
            // Not defined for integers; the verifier has refused them.
            BinaryOp::Div | BinaryOp::Atan2 => 0,
        },
    )
}

fn integer_power(mut base: i64, exponent: i64) -> i64 {
    if exponent < 0 {
        return match base {
            1 => 1,
            -1 => 1 - 2 * (exponent & 1),
            _ => 0,
        };
    }
    let (mut left, mut power) = (exponent, 1i64);
    while left > 0 {
        if left & 1 == 1 {
            power = power.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        left >>= 1;
    }
    power
}

fn bool_binary(op: BinaryOp, a: bool, b: bool) -> bool {
    match op {
        BinaryOp::Add | BinaryOp::Or | BinaryOp::Max => a | b,
        BinaryOp::Mul | BinaryOp::And | BinaryOp::Min => a & b,
        BinaryOp::Xor | BinaryOp::Ne => a != b,
        BinaryOp::Eq => a == b,
        BinaryOp::Lt => !a & b,
        BinaryOp::Le => !a | b,
        BinaryOp::Gt => a & !b,
        BinaryOp::Ge => a | !b,
        // Not defined for bool; the verifier has refused them.
        BinaryOp::Sub
        | BinaryOp::Div
        | BinaryOp::FloorDiv
        | BinaryOp::TruncDiv
        | BinaryOp::Rem
        | BinaryOp::Fmod
        | BinaryOp::Pow
        | BinaryOp::Atan2 => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_divide_as_python_does() {
        for a in [-7i64, -6, -1, 0, 5, 7] {
            for b in [-3i64, -1, 0, 2, 3] {
                let get = |op| integer_binary(op, DType::I64, a, b).to_i64();
                let (floor, rem) = (get(BinaryOp::FloorDiv), get(BinaryOp::Rem));
                if b == 0 {
                    assert_eq!((floor, rem), (0, 0));
                } else {
                    assert_eq!(floor, (a as f64 / b as f64).floor() as i64);
                    assert_eq!(floor * b + rem, a);
                    assert_eq!(get(BinaryOp::TruncDiv) * b + get(BinaryOp::Fmod), a);
                }
            }
        }
        assert_eq!(
            integer_binary(BinaryOp::TruncDiv, DType::I32, i32::MIN as i64, -1),
            Scalar::Int(i32::MIN as i64)
        );
        assert_eq!(integer_power(-1, -3), -1);
        assert_eq!(integer_binary(BinaryOp::Pow, DType::U8, 3, 6), Scalar::Int((729 % 256) as i64));
    }

    #[test]
    fn floats_round_to_their_declared_type() {
        let third = |dtype| {
            Precision::Declared.binary(BinaryOp::Div, dtype, Scalar::Float(1.0), Scalar::Float(3.0)).to_f64()
        };
        assert_eq!(third(DType::F32), (1f32 / 3.0) as f64);
        assert_eq!(third(DType::F16), half::f16::from_f32(1.0 / 3.0).to_f64());
        assert_eq!(third(DType::F64), 1.0 / 3.0);
        let nan = Precision::Declared.binary(
            BinaryOp::Max,
            DType::F32,
            Scalar::Float(1.0),
            Scalar::Float(f64::NAN),
        );
        assert!(nan.to_f64().is_nan());
    }
}
