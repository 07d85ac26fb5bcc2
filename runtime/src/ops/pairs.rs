//! Two-operand functions that are formulas: lengths, sums of logarithms, products with logarithms, signs, extrema that
//! pass over what is not a number, scaling by powers of two, shifts.

use super::arithmetic::{
    binary_errors, binary_gradients, binary_samples, infer_broadcast, infer_broadcast_as, lower_binary,
};
use super::rules::{Formula, f32s, finish, float_of, float_only, i64s, in_float32, methods, wide};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, InferArg, Types, promote};
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, Samples, tensor};
use crate::table::{Effect, Lower, OpDef, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::{BinaryOp, Node};
use std::f64::consts::LN_2;

/// Floats only.
fn infer_floats(c: &Infer) -> Result<Types> {
    let out = infer_broadcast(c)?;
    float_only(out[0].dtype)?;
    Ok(out)
}

/// Integers as f32.
fn infer_to_float(c: &Infer) -> Result<Types> {
    infer_broadcast_as(c, float_of(promote(c.args)?))
}

/// Powers of two are floats, whatever the type of the exponents.
fn infer_ldexp(c: &Infer) -> Result<Types> {
    let (x, exponent) = (c.tensor(0)?, c.tensor(1)?);
    // A whole exponent moves a float's own exponent; it widens nothing.
    let power =
        if exponent.dtype.is_float() || !x.dtype.is_float() { float_of(exponent.dtype) } else { x.dtype };
    let powers = exponent.with_dtype(power);
    infer_broadcast_as(c, promote(&[InferArg::Tensor(x.clone()), InferArg::Tensor(powers)])?)
}

fn infer_step(c: &Infer) -> Result<Types> {
    let (x, values) = (c.tensor(0)?, c.tensor(1)?);
    match x.dtype == values.dtype {
        true => infer_broadcast(c),
        false => {
            Err(Error::dtype(format!("expected operands of one type, got {} and {}", x.dtype, values.dtype)))
        }
    }
}

fn infer_shift(c: &Infer) -> Result<Types> {
    let out = infer_broadcast(c)?;
    match out[0].dtype.is_int() {
        true => Ok(out),
        false => Err(Error::dtype(format!("shifts take integers, got {}", out[0].dtype))),
    }
}

/// A formula of both operands.
fn lower_pair(l: &mut Lowering, value: impl FnOnce(&mut Formula, Node, Node) -> Node) -> Result<()> {
    let (a, b) = (wide(l, 0)?, wide(l, 1)?);
    let y = value(&mut Formula::of(l), a, b);
    finish(l, y);
    Ok(())
}

/// The longer side times sqrt(1 + ratio^2), which overflows only where the value does.
fn hypot(f: &mut Formula, a: Node, b: Node) -> Node {
    let (zero, one, infinity) = (f.number(0.0), f.number(1.0), f.number(f64::INFINITY));
    let (a, b) = (f.abs(a), f.abs(b));
    let (long, short) = (f.max(a, b), f.min(a, b));
    let ratio = f.div(short, long);
    let square = f.mul(ratio, ratio);
    let sum = f.add(one, square);
    let root = f.sqrt(sum);
    let length = f.mul(long, root);
    let none = f.eq(long, zero);
    let length = f.select(none, zero, length);
    let (far_a, far_b) = (f.eq(a, infinity), f.eq(b, infinity));
    let far = f.or(far_a, far_b);
    f.select(far, infinity, length)
}

/// The larger plus `tail` of minus the distance; equal infinities are their own sum.
fn log_sum(f: &mut Formula, a: Node, b: Node, tail: impl FnOnce(&mut Formula, Node) -> Node) -> Node {
    let top = f.max(a, b);
    let distance = f.sub(a, b);
    let distance = f.abs(distance);
    let below = f.neg(distance);
    let more = tail(f, below);
    let sum = f.add(top, more);
    let (same, infinite) = (f.eq(a, b), f.isinf(a));
    let same = f.and(same, infinite);
    f.select(same, a, sum)
}

/// a times `log`, 0 where a is 0; not a number where b is not.
fn times_log(f: &mut Formula, a: Node, b: Node, log: Node) -> Node {
    let zero = f.number(0.0);
    let product = f.mul(a, log);
    let nothing = f.eq(a, zero);
    let value = f.select(nothing, zero, product);
    let unknown = f.ne(b, b);
    f.select(unknown, b, value)
}

/// The size of a with the sign of b, the sign of its reciprocal where it is zero.
fn copysign(f: &mut Formula, a: Node, b: Node) -> Node {
    let (zero, one) = (f.number(0.0), f.number(1.0));
    let size = f.abs(a);
    let turned = f.neg(size);
    let inverse = f.div(one, b);
    let (below, falls, is_zero) = (f.lt(b, zero), f.lt(inverse, zero), f.eq(b, zero));
    let negative_zero = f.and(is_zero, falls);
    let negative = f.or(below, negative_zero);
    f.select(negative, turned, size)
}

/// An extremum that takes the other operand where one is not a number.
fn lower_quiet(l: &mut Lowering, op: BinaryOp) -> Result<()> {
    if !l.dtype(0).is_float() {
        return lower_binary(l, op);
    }
    lower_pair(l, |f, a, b| {
        let chosen = f.region.binary(op, a, b);
        let (no_a, no_b) = (f.ne(a, a), f.ne(b, b));
        let chosen = f.select(no_b, a, chosen);
        f.select(no_a, b, chosen)
    })
}

fn lower_heaviside(l: &mut Lowering) -> Result<()> {
    let (x, values, dtype) = (l.input(0)?, l.input(1)?, l.dtype(0));
    let zero = l.region.constant(0i64, dtype);
    let (at_zero, above) = (l.region.binary(BinaryOp::Eq, x, zero), l.region.binary(BinaryOp::Gt, x, zero));
    let step = l.region.cast(above, dtype);
    let y = l.region.select(at_zero, values, step);
    l.output(y);
    Ok(())
}

/// 2^n wraps to 0 for counts that leave no bit, and is 0 for negative ones (torch).
fn lower_shift_left(l: &mut Lowering) -> Result<()> {
    let dtype = l.dtype(0);
    let (a, count) = (l.operand(0, dtype)?, l.operand(1, dtype)?);
    let two = l.region.constant(2i64, dtype);
    let power = l.region.binary(BinaryOp::Pow, two, count);
    let y = l.region.binary(BinaryOp::Mul, a, power);
    l.output(y);
    Ok(())
}

/// The quotient by 2^n rounded down; counts that leave no bit leave the sign.
fn lower_shift_right(l: &mut Lowering) -> Result<()> {
    let dtype = l.dtype(0);
    let (a, count) = (l.operand(0, dtype)?, l.operand(1, dtype)?);
    let bits = dtype.size() as i64 * 8 - i64::from(dtype != DType::U8);
    let number = |l: &mut Lowering, n: i64| l.region.constant(n, dtype);
    let (zero, one, two, bits) = (number(l, 0), number(l, 1), number(l, 2), number(l, bits));
    let power = l.region.binary(BinaryOp::Pow, two, count);
    let quotient = l.region.binary(BinaryOp::FloorDiv, a, power);
    let (enough, few) =
        (l.region.binary(BinaryOp::Ge, count, zero), l.region.binary(BinaryOp::Lt, count, bits));
    let inside = l.region.binary(BinaryOp::And, enough, few);
    let negative = l.region.binary(BinaryOp::Lt, a, zero);
    let ones = l.region.binary(BinaryOp::Sub, zero, one);
    let sign = l.region.select(negative, ones, zero);
    let y = l.region.select(inside, quotient, sign);
    l.output(y);
    Ok(())
}

/// dy times the logarithm of the second operand, 0 where the product is.
fn log_gradient(
    c: &VjpContext,
    dy: &Tensor,
    bound: f64,
    log: fn(&Tensor) -> Result<Tensor>,
    of_number: fn(f64) -> f64,
) -> Result<Tensor> {
    let nothing = c.input(0)?.eq(0.0)?;
    match c.arg(1)? {
        Arg::Tensor(b) => {
            let flat = nothing.logical_and(&b.le(bound)?)?;
            // Where the logarithm does not count it must not spoil its own gradient.
            let b = bind1(&super::WHERE, &[Arg::Tensor(&flat), Arg::Float(1.0), Arg::Tensor(b)])?;
            dy.mul(&log(&b)?)?.masked_fill(&flat, 0.0)
        }
        number => {
            let b = number.float()?;
            let slope = dy.mul(of_number(b))?;
            if b <= bound { slope.masked_fill(&nothing, 0.0) } else { Ok(slope) }
        }
    }
}

/// Where the first operand is the extremum.
fn first_wins(c: &VjpContext, compare: &'static OpDef) -> Result<Tensor> {
    let (a, b) = (c.arg(0)?, c.arg(1)?);
    let wins = bind1(compare, &[a, b])?;
    match b {
        Arg::Tensor(b) => wins.logical_or(&b.isnan()?),
        number if number.float()?.is_nan() => wins.logical_or(true),
        _ => Ok(wins),
    }
}

/// All of the cotangent to the operand that is the extremum, half where both are (torch).
fn quiet_gradient(c: &VjpContext, dy: &Tensor, compare: &'static OpDef, first: bool) -> Result<Tensor> {
    let wins = first_wins(c, compare)?;
    let own = dy.masked_fill(&if first { wins.logical_not()? } else { wins }, 0.0)?;
    let tie = bind1(&super::EQ, &[c.arg(0)?, c.arg(1)?])?;
    bind1(&super::WHERE, &[Arg::Tensor(&tie), Arg::Tensor(&dy.mul(0.5)?), Arg::Tensor(&own)])
}

fn minus(a: Arg, b: Arg) -> Result<Tensor> {
    bind1(&super::SUB, &[a, b])
}

/// dy a / b.
fn ratio(c: &VjpContext, dy: &Tensor, above: usize, below: &Tensor) -> Result<Tensor> {
    bind1(&super::MUL, &[Arg::Tensor(dy), c.arg(above)?])?.div(below)
}

fn floats(s: &mut Samples) {
    if s.dtype.is_float() {
        binary_samples(s, -3.0, 3.0);
    }
}

fn positive(s: &mut Samples) {
    if s.dtype != DType::Bool {
        binary_samples(s, 1.0, 5.0);
    }
}

fn numbers(s: &mut Samples) {
    if s.dtype != DType::Bool {
        binary_samples(s, if s.dtype == DType::U8 { 0.0 } else { -3.0 }, 3.0);
    }
}

fn tensors(s: &mut Samples) {
    let d = s.dtype;
    for (a, b) in [(&[2usize, 3][..], &[2usize, 3][..]), (&[4, 1, 3], &[2, 1]), (&[], &[3]), (&[0, 2], &[1])]
    {
        let t = |dims: &[usize]| tensor(d, dims, if d == DType::U8 { 0.0 } else { -2.0 }, 3.0);
        s.case([t(a), t(b)]);
    }
}

fn counts(s: &mut Samples) {
    if s.dtype.is_int() {
        binary_samples(s, 0.0, 7.0);
    }
}

fn no_whole(e: &mut ErrorSamples) {
    binary_errors(e);
    e.case(ErrorKind::DType, [i64s(&[2]), i64s(&[2])]);
}

fn no_fractions(e: &mut ErrorSamples) {
    e.case(ErrorKind::DType, [f32s(&[2]), f32s(&[2])]);
    e.case(ErrorKind::Shape, [i64s(&[2]), i64s(&[3])]);
}

fn mixed(e: &mut ErrorSamples) {
    binary_errors(e);
    e.case(ErrorKind::DType, [f32s(&[2]), i64s(&[2])]);
}

macro_rules! pairs {
    ($($(#[doc = $doc:literal])+ $id:ident $method:ident $schema:literal $infer:ident $flops:literal
        $samples:ident $errors:ident $lower:expr => $vjp:expr;)*) => {
        ops! {$(
            $(#[doc = $doc])+
            $id = $schema {
                infer: $infer,
                vjp: $vjp,
                effect: Effect::Pure,
                cost: cost::per_output::<$flops>,
                lower: Lower::Map($lower),
                samples: $samples,
                errors: $errors,
            }
        )*}
        methods! { binary: $($(#[doc = $doc])+ $method $id;)* }
    };
}
pub(super) use pairs;

pairs! {
    /// Length of the hypotenuse, sqrt(self^2 + other^2), without needless overflow.
    HYPOT hypot "hypot(Tensor self, Tensor other) -> Tensor" infer_floats 10 floats no_whole
        |l| lower_pair(l, hypot)
        => Vjp::Rule(Saves::BOTH, |c| binary_gradients(
            c,
            |dy| ratio(c, dy, 0, c.output(0)?),
            |dy| ratio(c, dy, 1, c.output(0)?),
        ));
    /// Logarithm of the sum of both operands' exponentials.
    LOGADDEXP logaddexp "logaddexp(Tensor self, Tensor other) -> Tensor" infer_floats 25 floats no_whole
        |l| lower_pair(l, |f, a, b| log_sum(f, a, b, |f, below| {
            let grown = f.exp(below);
            f.log1p(grown)
        }))
        => Vjp::Rule(Saves::INPUTS, |c| in_float32(c, |c| binary_gradients(
            c,
            |dy| dy.mul(&minus(c.arg(0)?, c.arg(1)?)?.sigmoid()?),
            |dy| dy.mul(&minus(c.arg(1)?, c.arg(0)?)?.sigmoid()?),
        )));
    /// Logarithm to base 2 of the sum of both operands' powers of two.
    LOGADDEXP2 logaddexp2 "logaddexp2(Tensor self, Tensor other) -> Tensor" infer_floats 25 floats no_whole
        |l| lower_pair(l, |f, a, b| log_sum(f, a, b, |f, below| {
            let grown = f.exp2(below);
            let log = f.log1p(grown);
            f.scale(log, 1.0 / LN_2)
        }))
        => Vjp::Rule(Saves::INPUTS, |c| in_float32(c, |c| binary_gradients(
            c,
            |dy| dy.mul(&minus(c.arg(0)?, c.arg(1)?)?.mul(LN_2)?.sigmoid()?),
            |dy| dy.mul(&minus(c.arg(1)?, c.arg(0)?)?.mul(LN_2)?.sigmoid()?),
        )));
    /// self * log(other), 0 where self is 0.
    XLOGY xlogy "xlogy(Tensor self, Tensor other) -> Tensor" infer_to_float 14 positive binary_errors
        |l| lower_pair(l, |f, a, b| {
            let log = f.log(b);
            times_log(f, a, b, log)
        })
        => Vjp::Rule(Saves::INPUTS, |c| binary_gradients(
            c,
            |dy| log_gradient(c, dy, 0.0, Tensor::log, f64::ln),
            |dy| ratio(c, dy, 0, c.input(1)?),
        ));
    /// self * log(1 + other), 0 where self is 0.
    XLOG1PY xlog1py "xlog1py(Tensor self, Tensor other) -> Tensor" infer_to_float 14 positive binary_errors
        |l| lower_pair(l, |f, a, b| {
            let log = f.log1p(b);
            times_log(f, a, b, log)
        })
        => Vjp::Rule(Saves::INPUTS, |c| binary_gradients(
            c,
            |dy| log_gradient(c, dy, -1.0, Tensor::log1p, f64::ln_1p),
            |dy| ratio(c, dy, 0, &c.input(1)?.add(1.0)?),
        ));
    /// The size of self with the sign of other; what is not a number counts as positive.
    COPYSIGN copysign "copysign(Tensor self, Tensor other) -> Tensor" infer_to_float 4 numbers binary_errors
        |l| lower_pair(l, copysign)
        => Vjp::Rule(Saves::BOTH, |c| binary_gradients(
            c,
            |dy| dy.mul(&c.output(0)?.sign()?.mul(&c.input(0)?.sign()?)?),
            |dy| dy.zeros_like(None),
        ));
    /// 0 below zero, 1 above, and at zero the second operand.
    HEAVISIDE heaviside "heaviside(Tensor self, Tensor values) -> Tensor" infer_step 2 tensors mixed
        lower_heaviside
        => Vjp::None("heaviside is a step function; torch defines none either");
    /// The larger element, or the other where one is not a number.
    FMAX fmax "fmax(Tensor self, Tensor other) -> Tensor" infer_broadcast 3 numbers binary_errors
        |l| lower_quiet(l, BinaryOp::Max)
        => Vjp::Rule(Saves::INPUTS, |c| binary_gradients(
            c,
            |dy| quiet_gradient(c, dy, &super::GE, true),
            |dy| quiet_gradient(c, dy, &super::GE, false),
        ));
    /// The smaller element, or the other where one is not a number.
    FMIN fmin "fmin(Tensor self, Tensor other) -> Tensor" infer_broadcast 3 numbers binary_errors
        |l| lower_quiet(l, BinaryOp::Min)
        => Vjp::Rule(Saves::INPUTS, |c| binary_gradients(
            c,
            |dy| quiet_gradient(c, dy, &super::LE, true),
            |dy| quiet_gradient(c, dy, &super::LE, false),
        ));
    /// self * 2^other.
    LDEXP ldexp "ldexp(Tensor self, Tensor other) -> Tensor" infer_ldexp 20 tensors binary_errors
        |l| lower_pair(l, |f, a, b| {
            let two = f.number(2.0);
            let power = f.pow(two, b);
            f.mul(a, power)
        })
        => Vjp::Rule(Saves::INPUTS, |c| {
            let scaled = |t: &Tensor| t.mul(&bind1(&super::POW, &[Arg::Float(2.0), c.arg(1)?])?);
            binary_gradients(c, scaled, |dy| scaled(&dy.mul(c.input(0)?)?)?.mul(LN_2))
        });
    /// Bits moved up by a number of places, zeros from below.
    BITWISE_LEFT_SHIFT bitwise_left_shift "bitwise_left_shift(Tensor self, Tensor other) -> Tensor"
        infer_shift 6 counts no_fractions lower_shift_left => Vjp::Zero;
    /// Bits moved down by a number of places, the sign from above.
    BITWISE_RIGHT_SHIFT bitwise_right_shift "bitwise_right_shift(Tensor self, Tensor other) -> Tensor"
        infer_shift 8 counts no_fractions lower_shift_right => Vjp::Zero;
}
