//! Element-wise functions of f32 as vector operations, bit for bit what the kernels of `cpu::loops` and `cpu::math` compute
//! on a processor with FMA.

use super::body::{Body, Node, Predicate, Rounding, Two, Value};
use crate::cpu::math::coefficients::{CUT, EXP, LN2, LOG_ERFC, ROUND, SMALL};
use crate::loops::{BinaryOp, UnaryOp};
use std::f32::consts::{LN_2, LOG2_E};

const SIGN: u32 = 0x8000_0000;

impl Body {
    /// A function of one value, where chains have it.
    pub(crate) fn unary(&mut self, op: UnaryOp, x: Value) -> Option<Value> {
        Some(match op {
            UnaryOp::Neg => self.with_bits(Two::Xor, x, SIGN),
            UnaryOp::Abs => self.with_bits(Two::And, x, !SIGN),
            UnaryOp::Floor => self.push(Node::Round(Rounding::Floor, x)),
            UnaryOp::Ceil => self.push(Node::Round(Rounding::Ceil, x)),
            UnaryOp::Trunc => self.push(Node::Round(Rounding::Trunc, x)),
            UnaryOp::Round => self.push(Node::Round(Rounding::Even, x)),
            UnaryOp::Sqrt => self.push(Node::Sqrt(x)),
            UnaryOp::Rsqrt => {
                let root = self.push(Node::Sqrt(x));
                self.reciprocal(root)
            }
            UnaryOp::Recip => self.reciprocal(x),
            UnaryOp::Exp => self.exp(x),
            UnaryOp::Tanh => self.tanh(x),
            UnaryOp::Sigmoid => self.sigmoid(x),
            UnaryOp::Erf => self.erf(x),
            UnaryOp::Sign
            | UnaryOp::Exp2
            | UnaryOp::Expm1
            | UnaryOp::Log
            | UnaryOp::Log2
            | UnaryOp::Log10
            | UnaryOp::Log1p
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Tan
            | UnaryOp::Atan
            | UnaryOp::Erfc
            | UnaryOp::Not
            | UnaryOp::BitNot
            | UnaryOp::IsNan
            | UnaryOp::IsInf
            | UnaryOp::Uniform => return None,
        })
    }

    /// A function of two values, where chains have it; a mask for a comparison.
    pub(crate) fn binary(&mut self, op: BinaryOp, a: Value, b: Value) -> Option<Value> {
        Some(match op {
            BinaryOp::Add => self.two(Two::Add, a, b),
            BinaryOp::Sub => self.two(Two::Sub, a, b),
            BinaryOp::Mul => self.two(Two::Mul, a, b),
            BinaryOp::Div => self.two(Two::Div, a, b),
            BinaryOp::Max => self.extremum(Two::Max, a, b),
            BinaryOp::Min => self.extremum(Two::Min, a, b),
            BinaryOp::Eq => self.push(Node::Compare(Predicate::Eq, a, b)),
            BinaryOp::Ne => self.push(Node::Compare(Predicate::Ne, a, b)),
            BinaryOp::Lt => self.push(Node::Compare(Predicate::Lt, a, b)),
            BinaryOp::Le => self.push(Node::Compare(Predicate::Le, a, b)),
            BinaryOp::Gt => self.push(Node::Compare(Predicate::Gt, a, b)),
            BinaryOp::Ge => self.push(Node::Compare(Predicate::Ge, a, b)),
            BinaryOp::FloorDiv
            | BinaryOp::TruncDiv
            | BinaryOp::Rem
            | BinaryOp::Fmod
            | BinaryOp::Pow
            | BinaryOp::Atan2
            | BinaryOp::And
            | BinaryOp::Or
            | BinaryOp::Xor => return None,
        })
    }

    /// `yes` where the mask is set.
    pub(crate) fn select(&mut self, mask: Value, yes: Value, no: Value) -> Value {
        self.push(Node::Blend { mask, yes, no })
    }

    fn with_bits(&mut self, op: Two, x: Value, bits: u32) -> Value {
        let bits = self.bits(bits);
        self.two(op, x, bits)
    }

    fn with_number(&mut self, op: Two, x: Value, number: f32) -> Value {
        let number = self.number(number);
        self.two(op, x, number)
    }

    fn reciprocal(&mut self, x: Value) -> Value {
        let one = self.number(1.0);
        self.two(Two::Div, one, x)
    }

    /// The larger (or smaller) of two numbers, NaN if either is.
    pub(super) fn extremum(&mut self, op: Two, a: Value, b: Value) -> Value {
        let most = self.two(op, b, a);
        let nan = self.push(Node::Compare(Predicate::Unordered, b, b));
        self.select(nan, b, most)
    }

    /// The number, or x where that is larger (`Max`) or smaller (`Min`) or NaN.
    fn bounded(&mut self, op: Two, x: Value, bound: f32) -> Value {
        let bound = self.number(bound);
        self.two(op, bound, x)
    }

    fn polynomial(&mut self, x: Value, coefficients: &[f32]) -> Value {
        let n = coefficients.len();
        let square = self.two(Two::Mul, x, x);
        let mut sums = [self.number(coefficients[n - 1]), self.number(coefficients[n - 2])];
        for i in (0..n - 2).rev() {
            let which = (n - 1 - i) % 2;
            let next = self.number(coefficients[i]);
            sums[which] = self.fma(sums[which], square, next);
        }
        let (even, odd) = if n % 2 == 1 { (sums[0], sums[1]) } else { (sums[1], sums[0]) };
        self.fma(odd, x, even)
    }

    fn exp_less_one(&mut self, r: Value) -> Value {
        let c = EXP.map(|c| self.number(c));
        let square = self.two(Two::Mul, r, r);
        let low = self.fma(r, c[1], c[0]);
        let high = self.fma(r, c[3], c[2]);
        let high = self.fma(square, c[4], high);
        let all = self.fma(square, high, low);
        self.fma(square, all, r)
    }

    /// The bits of the rounded quotient by ln(2) plus the bias, and e^r - 1 of the rest.
    fn reduced(&mut self, x: Value, bias: f32) -> (Value, Value) {
        let (log2e, round) = (self.number(LOG2_E), self.number(ROUND + bias));
        let sum = self.fma(x, log2e, round);
        let n = self.two(Two::Sub, sum, round);
        let (high, low) = (self.number(-LN2[0]), self.number(-LN2[1]));
        let r = self.fma(n, high, x);
        let r = self.fma(n, low, r);
        (sum, self.exp_less_one(r))
    }

    fn exponent(&mut self, bits: Value) -> Value {
        self.push(Node::Shift { left: true, by: 23, a: bits })
    }

    fn scaled(&mut self, p: Value, bits: Value) -> Value {
        let half = self.push(Node::Shift { left: false, by: 1, a: bits });
        let some = self.exponent(half);
        let rest = self.two(Two::SubInt, bits, half);
        let rest = self.exponent(rest);
        let y = self.fma(p, some, some);
        self.two(Two::Mul, y, rest)
    }

    fn exp(&mut self, x: Value) -> Value {
        let x = self.bounded(Two::Max, x, -104.0);
        let x = self.bounded(Two::Min, x, 89.0);
        let (bits, p) = self.reduced(x, 254.0);
        self.scaled(p, bits)
    }

    fn copysign(&mut self, magnitude: Value, sign: Value) -> Value {
        let magnitude = self.with_bits(Two::And, magnitude, !SIGN);
        let sign = self.with_bits(Two::And, sign, SIGN);
        self.two(Two::Or, magnitude, sign)
    }

    fn tanh(&mut self, x: Value) -> Value {
        let a = self.with_bits(Two::And, x, !SIGN);
        let double = self.with_number(Two::Mul, a, 2.0);
        let double = self.bounded(Two::Min, double, 20.0);
        let (bits, p) = self.reduced(double, 127.0);
        let scale = self.exponent(bits);
        let less = self.with_number(Two::Sub, scale, 1.0);
        let y = self.fma(scale, p, less);
        let more = self.with_number(Two::Add, y, 2.0);
        let quotient = self.two(Two::Div, y, more);
        self.copysign(quotient, x)
    }

    fn sigmoid(&mut self, x: Value) -> Value {
        let low = self.with_bits(Two::Or, x, SIGN);
        let low = self.bounded(Two::Max, low, -104.0);
        let (bits, p) = self.reduced(low, 254.0);
        let e = self.scaled(p, bits);
        let (zero, one) = (self.number(0.0), self.number(1.0));
        let negative = self.push(Node::Compare(Predicate::Lt, x, zero));
        let upper = self.select(negative, e, one);
        let lower = self.two(Two::Add, e, one);
        self.two(Two::Div, upper, lower)
    }

    fn erf(&mut self, x: Value) -> Value {
        let square = self.two(Two::Mul, x, x);
        let small = self.polynomial(square, &SMALL);
        let small = self.fma(x, small, x);
        let a = self.with_bits(Two::And, x, !SIGN);
        let a = self.bounded(Two::Min, a, 4.0);
        let log = self.polynomial(a, &LOG_ERFC);
        let (log2e, round) = (self.number(LOG2_E), self.number(ROUND + 127.0));
        let sum = self.fma(log, log2e, round);
        let n = self.two(Two::Sub, sum, round);
        let ln2 = self.number(-LN_2);
        let r = self.fma(n, ln2, log);
        let e = self.exp_less_one(r);
        let e = self.with_number(Two::Add, e, 1.0);
        let scale = self.exponent(sum);
        let one = self.number(1.0);
        let large = self.push(Node::MulAdd { a: e, b: scale, c: one, negative: true });
        let large = self.copysign(large, x);
        let magnitude = self.with_bits(Two::And, x, !SIGN);
        let cut = self.number(CUT);
        let near = self.push(Node::Compare(Predicate::Lt, magnitude, cut));
        self.select(near, small, large)
    }
}
