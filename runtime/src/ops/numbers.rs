//! Common divisors and multiples, the neighbour of a number; and running sums of exponentials.

use super::arithmetic::{binary_errors, binary_gradients, infer_broadcast};
use super::pairs::pairs;
use super::rules::{Formula, f32s, finish, float_only, i64s, methods};
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, Types};
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, Samples, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, cost, ops};
use crate::tensor::Tensor;
use kernels::DType;
use kernels::loops::{BinaryOp, Node, UnaryOp};

/// torch takes no host numbers here.
fn tensors(c: &Infer) -> Result<Types> {
    c.tensor(0)?;
    c.tensor(1)?;
    infer_broadcast(c)
}

fn infer_whole(c: &Infer) -> Result<Types> {
    let out = tensors(c)?;
    match out[0].dtype.is_int() {
        true => Ok(out),
        false => Err(Error::dtype(format!("divisors are of integers, got {}", out[0].dtype))),
    }
}

/// Euclid's algorithm, as many steps as the longest chain of remainders in the type takes (Fibonacci's numbers).
fn divisor(l: &mut Lowering) -> Result<(Node, Node, Node)> {
    let dtype = l.dtype(0);
    let steps = if dtype == DType::U8 { 13 } else { dtype.size() * 12 };
    let (x, y) = (l.operand(0, dtype)?, l.operand(1, dtype)?);
    let (mut a, mut b) = (l.region.unary(UnaryOp::Abs, x), l.region.unary(UnaryOp::Abs, y));
    let zero = l.region.constant(0i64, dtype);
    for _ in 0..steps {
        let done = l.region.binary(BinaryOp::Eq, b, zero);
        // A remainder by 0 is 0 here, so that b stays where it is done.
        let rest = l.region.binary(BinaryOp::Rem, a, b);
        (a, b) = (l.region.select(done, a, b), rest);
    }
    Ok((x, y, a))
}

fn lower_lcm(l: &mut Lowering) -> Result<()> {
    let (x, y, divisor) = divisor(l)?;
    let part = l.region.binary(BinaryOp::TruncDiv, x, divisor);
    let product = l.region.binary(BinaryOp::Mul, part, y);
    let size = l.region.unary(UnaryOp::Abs, product);
    l.output(size);
    Ok(())
}

fn infer_floats(c: &Infer) -> Result<Types> {
    let out = tensors(c)?;
    float_only(out[0].dtype)?;
    Ok(out)
}

/// Half a unit in the last place of 1, the least positive number and the largest finite one.
fn grain(dtype: DType) -> (f64, f64, f64) {
    match dtype {
        DType::F16 => (2f64.powi(-11), 2f64.powi(-24), 65504.0),
        DType::BF16 => (2f64.powi(-8), 2f64.powi(-133), half::bf16::MAX.to_f64()),
        DType::F32 => (2f64.powi(-24), 2f64.powi(-149), f32::MAX as f64),
        DType::F64 | DType::Bool | DType::U8 | DType::I32 | DType::I64 => {
            (f64::EPSILON / 2.0, f64::from_bits(1), f64::MAX)
        }
    }
}

/// A little more than half a unit added in a wider type rounds to the next number; so it does in f64 itself.
fn lower_nextafter(l: &mut Lowering) -> Result<()> {
    let dtype = l.dtype(0);
    let (x, y) = (l.operand(0, DType::F64)?, l.operand(1, DType::F64)?);
    let (half, least, most) = grain(dtype);
    let f = &mut Formula { region: &mut *l.region, dtype: DType::F64 };
    let size = f.abs(x);
    let step = f.scale(size, half * (1.0 + 2.0 * half));
    let least = f.number(if dtype == DType::F64 { least } else { 0.75 * least });
    let step = f.max(step, least);
    let down = f.neg(step);
    let rises = f.gt(y, x);
    let step = f.select(rises, step, down);
    let next = f.add(x, step);
    let (most, sign) = (f.number(most), f.sign(x));
    let edge = f.mul(sign, most);
    let infinite = f.isinf(x);
    let next = f.select(infinite, edge, next);
    let same = f.eq(x, y);
    let next = f.select(same, y, next);
    let (no_x, no_y) = (f.isnan(x), f.isnan(y));
    let next = f.select(no_y, y, next);
    let next = f.select(no_x, x, next);
    finish(l, next);
    Ok(())
}

fn whole(s: &mut Samples) {
    let d = s.dtype;
    if d.is_int() {
        let low = if d == DType::U8 { 0.0 } else { -90.0 };
        for (a, b) in [
            (&[2usize, 3][..], &[2usize, 3][..]),
            (&[4, 1, 3], &[2, 1]),
            (&[], &[5]),
            (&[0], &[1]),
            (&[40], &[40]),
        ] {
            s.case([tensor(d, a, low, 99.0), tensor(d, b, low, 99.0)]);
        }
    }
}

fn floats(s: &mut Samples) {
    let d = s.dtype;
    if d.is_float() {
        for (a, b) in [(&[2usize, 3][..], &[2usize, 3][..]), (&[4, 1, 3], &[2, 1]), (&[], &[5]), (&[0], &[1])]
        {
            s.case([tensor(d, a, -3.0, 3.0), tensor(d, b, -3.0, 3.0)]);
        }
    }
}

fn no_fractions(e: &mut ErrorSamples) {
    e.case(ErrorKind::DType, [f32s(&[2]), f32s(&[2])]);
    e.case(ErrorKind::Shape, [i64s(&[2]), i64s(&[3])]);
}

fn no_whole(e: &mut ErrorSamples) {
    binary_errors(e);
    e.case(ErrorKind::DType, [i64s(&[2]), i64s(&[2])]);
}

pairs! {
    /// Greatest common divisor, not negative; that with 0 is the other's size.
    GCD gcd "gcd(Tensor self, Tensor other) -> Tensor" infer_whole 300 whole no_fractions
        |l| {
            let (_, _, divisor) = divisor(l)?;
            l.output(divisor);
            Ok(())
        }
        => Vjp::Zero;
    /// Least common multiple, not negative; that with 0 is 0.
    LCM lcm "lcm(Tensor self, Tensor other) -> Tensor" infer_whole 300 whole no_fractions
        lower_lcm => Vjp::Zero;
    /// The representable number next to self in the direction of other.
    NEXTAFTER nextafter "nextafter(Tensor self, Tensor other) -> Tensor" infer_floats 15 floats no_whole
        lower_nextafter
        => Vjp::Rule(Saves::INPUTS, |c| binary_gradients(
            c,
            |dy| dy.masked_fill(&c.input(0)?.eq(c.input(1)?)?, 0.0),
            |dy| dy.zeros_like(None),
        ));
}

impl Tensor {
    /// Logarithms of the running sums of exponentials along a dimension, by doubling steps of `logaddexp`: none overflows,
    /// and small terms before a large one keep their digits.
    #[track_caller]
    pub fn logcumsumexp(&self, dim: i64) -> Result<Tensor> {
        float_only(self.dtype()).map_err(|e| e.in_op("logcumsumexp"))?;
        let at = crate::infer::wrap_dim(dim, self.rank()).map_err(|e| e.in_op("logcumsumexp"))?;
        let Some(&length) = self.shape().get(at) else { return self.copy() };
        let (dim, mut sums, mut reach) = (at as i64, self.copy()?, 1);
        while reach < length {
            let k = reach as i64;
            let head = sums.slice(dim, None, Some(k), 1)?;
            let tail = sums.slice(dim, Some(k), None, 1)?;
            let before = sums.slice(dim, None, Some(length as i64 - k), 1)?;
            sums = Tensor::cat(&[head, tail.logaddexp(&before)?], dim)?;
            reach *= 2;
        }
        Ok(sums)
    }
}
