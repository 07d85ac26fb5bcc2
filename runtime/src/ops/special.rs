//! Functions of one element that are formulas of simpler ones: inverse and hyperbolic trigonometry, angles, sinc, the
//! inverse error function; and tests of infinities and signs.
//!
//! Each formula is chosen so that it neither cancels near 0 nor overflows before its value does.

use super::rules::{
    Formula, chain, i64s, in_float32, lower_formula, lower_unary, methods, no_numbers, same_float, to_bool,
    to_float, unary_samples,
};
use super::unary::{lower_test, types, unary};
use crate::error::{ErrorKind, Result};
use crate::lower::Lowering;
use crate::samples::ErrorSamples;
use crate::table::{Effect, Lower, Saves, Vjp, cost, ops};
use crate::tensor::Tensor;
use kernels::loops::{BinaryOp, Node, UnaryOp};
use std::f64::consts::{FRAC_2_SQRT_PI, LN_2, PI};

/// Beyond this exponentials of the whole argument come near overflow, and 1 is lost beside their square.
const LARGE: f64 = 20.0;
/// Beyond this x^2 + 1 is x^2 in every type.
const HUGE: f64 = 1e9;

/// sqrt(1 - x^2) without cancellation near 1.
fn opposite(f: &mut Formula, x: Node) -> Node {
    let one = f.number(1.0);
    let (less, more) = (f.sub(one, x), f.add(one, x));
    let product = f.mul(less, more);
    f.sqrt(product)
}

/// e^|x| / 2 where |x| is large, by two factors that do not overflow before it does.
fn half_exponential(f: &mut Formula, size: Node) -> Node {
    let half = f.scale(size, 0.5);
    let root = f.exp(half);
    let product = f.scale(root, 0.5);
    f.mul(product, root)
}

fn sinh(f: &mut Formula, x: Node) -> Node {
    let (sign, size) = (f.sign(x), f.abs(x));
    let (one, large) = (f.number(1.0), f.number(LARGE));
    let grown = f.expm1(size);
    let beside = f.add(grown, one);
    let beside = f.div(grown, beside);
    let sum = f.add(grown, beside);
    let small = f.scale(sum, 0.5);
    let far = half_exponential(f, size);
    let is_far = f.gt(size, large);
    let value = f.select(is_far, far, small);
    f.mul(sign, value)
}

fn cosh(f: &mut Formula, x: Node) -> Node {
    let size = f.abs(x);
    let (half, large) = (f.number(0.5), f.number(LARGE));
    let grown = f.exp(size);
    let (up, down) = (f.mul(grown, half), f.div(half, grown));
    let small = f.add(up, down);
    let far = half_exponential(f, size);
    let is_far = f.gt(size, large);
    f.select(is_far, far, small)
}

/// `near`, or where x is huge log(2x).
fn or_logarithm(f: &mut Formula, x: Node, near: Node) -> Node {
    let huge = f.number(HUGE);
    let far = f.log(x);
    let two = f.number(LN_2);
    let far = f.add(far, two);
    let is_far = f.gt(x, huge);
    f.select(is_far, far, near)
}

/// sign(x) log1p(|x| + x^2 / (1 + sqrt(x^2 + 1))).
fn asinh(f: &mut Formula, x: Node) -> Node {
    let (sign, size, one) = (f.sign(x), f.abs(x), f.number(1.0));
    let square = f.mul(size, size);
    let more = f.add(square, one);
    let root = f.sqrt(more);
    let below = f.add(one, root);
    let rest = f.div(square, below);
    let sum = f.add(size, rest);
    let near = f.log1p(sum);
    let value = or_logarithm(f, size, near);
    f.mul(sign, value)
}

/// log1p(t + sqrt(t) sqrt(t + 2)) with t = x - 1; the root of t makes arguments below 1 not a number.
fn acosh(f: &mut Formula, x: Node) -> Node {
    let (one, two) = (f.number(1.0), f.number(2.0));
    let t = f.sub(x, one);
    let above = f.add(t, two);
    let (low, high) = (f.sqrt(t), f.sqrt(above));
    let product = f.mul(low, high);
    let sum = f.add(t, product);
    let near = f.log1p(sum);
    or_logarithm(f, x, near)
}

/// sign(x) log1p(2 |x| / (1 - |x|)) / 2.
fn atanh(f: &mut Formula, x: Node) -> Node {
    let (sign, size, one) = (f.sign(x), f.abs(x), f.number(1.0));
    let (double, rest) = (f.scale(size, 2.0), f.sub(one, size));
    let ratio = f.div(double, rest);
    let log = f.log1p(ratio);
    let half = f.scale(log, 0.5);
    f.mul(sign, half)
}

fn sinc(f: &mut Formula, x: Node) -> Node {
    let (zero, one) = (f.number(0.0), f.number(1.0));
    let angle = f.scale(x, PI);
    let sine = f.sin(angle);
    let ratio = f.div(sine, angle);
    let at_zero = f.eq(x, zero);
    f.select(at_zero, one, ratio)
}

/// A polynomial, coefficients from the constant up.
fn polynomial(f: &mut Formula, x: Node, coefficients: &[f64]) -> Node {
    let mut terms = coefficients.iter().rev();
    let mut sum = f.number(terms.next().copied().unwrap_or(0.0));
    for &c in terms {
        let (product, c) = (f.mul(sum, x), f.number(c));
        sum = f.add(product, c);
    }
    sum
}

/// A rational start (four digits) in the middle or the tail, then two steps of Newton's method: with erf in the middle,
/// with erfc in the tail, where 1 - |y| is exact.
fn erfinv(f: &mut Formula, y: Node) -> Node {
    const MIDDLE: [&[f64]; 2] = [
        &[0.886226899, -1.645349621, 0.914624893, -0.140543331],
        &[1.0, -2.118377725, 1.442710462, -0.329097515, 0.012229801],
    ];
    const TAIL: [&[f64]; 2] =
        [&[-1.970840454, -1.624906493, 3.429567803, 1.641345311], &[1.0, 3.543889200, 1.637067800]];
    let (sign, size, one, bound) = (f.sign(y), f.abs(y), f.number(1.0), f.number(0.7));
    let rest = f.sub(one, size);
    let square = f.mul(size, size);
    let (above, below) = (polynomial(f, square, MIDDLE[0]), polynomial(f, square, MIDDLE[1]));
    let middle = f.div(above, below);
    let middle = f.mul(size, middle);
    let half = f.scale(rest, 0.5);
    let log = f.log(half);
    let log = f.neg(log);
    let z = f.sqrt(log);
    let (above, below) = (polynomial(f, z, TAIL[0]), polynomial(f, z, TAIL[1]));
    let tail = f.div(above, below);
    let in_tail = f.gt(size, bound);
    let mut x = f.select(in_tail, tail, middle);
    for _ in 0..2 {
        let (erf, erfc) = (f.erf(x), f.erfc(x));
        let (from_middle, from_tail) = (f.sub(erf, size), f.sub(rest, erfc));
        let miss = f.select(in_tail, from_tail, from_middle);
        let exponent = f.mul(x, x);
        let exponent = f.neg(exponent);
        let slope = f.exp(exponent);
        let slope = f.scale(slope, FRAC_2_SQRT_PI);
        let step = f.div(miss, slope);
        x = f.sub(x, step);
    }
    let (infinity, at_one) = (f.number(f64::INFINITY), f.eq(size, one));
    let x = f.select(at_one, infinity, x);
    f.mul(sign, x)
}

/// Whether a float equals one of the infinities; nothing else does.
fn lower_infinity(l: &mut Lowering, which: f64) -> Result<()> {
    lower_test(l, |l, x| match l.region.dtype(x) {
        dtype if dtype.is_float() => {
            let infinity = l.region.constant(which, dtype);
            l.region.binary(BinaryOp::Eq, x, infinity)
        }
        _ => l.region.binary(BinaryOp::Ne, x, x),
    })
}

/// Negative, or a zero whose reciprocal is.
fn lower_signbit(l: &mut Lowering) -> Result<()> {
    lower_test(l, |l, x| {
        let dtype = l.region.dtype(x);
        let zero = l.region.constant(0i64, dtype);
        let below = l.region.binary(BinaryOp::Lt, x, zero);
        if !dtype.is_float() {
            return below;
        }
        let inverse = l.region.unary(UnaryOp::Recip, x);
        let (is_zero, falls) =
            (l.region.binary(BinaryOp::Eq, x, zero), l.region.binary(BinaryOp::Lt, inverse, zero));
        let negative_zero = l.region.binary(BinaryOp::And, is_zero, falls);
        l.region.binary(BinaryOp::Or, below, negative_zero)
    })
}

/// (pi x cos(pi x) - sin(pi x)) / (pi x^2), and 0 at 0.
fn sinc_slope(x: &Tensor) -> Result<Tensor> {
    let at_zero = x.eq(0.0)?;
    let x = x.masked_fill(&at_zero, 1.0)?;
    let angle = x.mul(PI)?;
    let above = angle.mul(&angle.cos()?)?.sub(&angle.sin()?)?;
    above.div(&angle.mul(&x)?)?.masked_fill(&at_zero, 0.0)
}

/// Integers are refused.
fn no_whole(e: &mut ErrorSamples) {
    e.case(ErrorKind::DType, [i64s(&[2])]);
}

unary! {
    /// What the integer part leaves, with the element's sign.
    FRAC frac "frac(Tensor self) -> Tensor" same_float 2 (floats: -3.0, 3.0) no_whole
        |l| lower_formula(l, |f, x| {
            let whole = f.trunc(x);
            f.sub(x, whole)
        })
        => Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| Ok(dy.clone())));
    /// The angle in [-pi/2, pi/2] whose sine is the element.
    ASIN asin "asin(Tensor self) -> Tensor" to_float 20 (floats: -0.95, 0.95) no_numbers
        |l| lower_formula(l, |f, x| {
            let other = opposite(f, x);
            f.atan2(x, other)
        })
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.mul(&c.input(0)?.square()?.neg()?.add(1.0)?.rsqrt()?)));
    /// The angle in [0, pi] whose cosine is the element.
    ACOS acos "acos(Tensor self) -> Tensor" to_float 20 (floats: -0.95, 0.95) no_numbers
        |l| lower_formula(l, |f, x| {
            let other = opposite(f, x);
            f.atan2(other, x)
        })
        => Vjp::Rule(Saves::INPUTS, |c| in_float32(c, |c| chain(c, |dy| {
            dy.mul(&c.input(0)?.square()?.neg()?.add(1.0)?.rsqrt()?)?.neg()
        })));
    /// Hyperbolic sine.
    SINH sinh "sinh(Tensor self) -> Tensor" to_float 30 (numbers: -3.0, 3.0) no_numbers
        |l| lower_formula(l, sinh)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.mul(&c.input(0)?.cosh()?)));
    /// Hyperbolic cosine.
    COSH cosh "cosh(Tensor self) -> Tensor" to_float 30 (numbers: -3.0, 3.0) no_numbers
        |l| lower_formula(l, cosh)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.mul(&c.input(0)?.sinh()?)));
    /// The number whose hyperbolic sine is the element.
    ASINH asinh "asinh(Tensor self) -> Tensor" to_float 30 (numbers: -3.0, 3.0) no_numbers
        |l| lower_formula(l, asinh)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.mul(&c.input(0)?.square()?.add(1.0)?.rsqrt()?)));
    /// The number whose hyperbolic cosine is the element; not a number below 1.
    ACOSH acosh "acosh(Tensor self) -> Tensor" to_float 30 (numbers: 1.5, 5.0) no_numbers
        |l| lower_formula(l, acosh)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.mul(&c.input(0)?.square()?.sub(1.0)?.rsqrt()?)));
    /// The number whose hyperbolic tangent is the element; not a number beyond 1.
    ATANH atanh "atanh(Tensor self) -> Tensor" to_float 20 (floats: -0.9, 0.9) no_numbers
        |l| lower_formula(l, atanh)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.div(&c.input(0)?.square()?.neg()?.add(1.0)?)));
    /// An angle in degrees as radians.
    DEG2RAD deg2rad "deg2rad(Tensor self) -> Tensor" to_float 1 (numbers: -180.0, 180.0) no_numbers
        |l| lower_formula(l, |f, x| f.scale(x, PI / 180.0))
        => Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| dy.mul(PI / 180.0)));
    /// An angle in radians as degrees.
    RAD2DEG rad2deg "rad2deg(Tensor self) -> Tensor" to_float 1 (numbers: -3.0, 3.0) no_numbers
        |l| lower_formula(l, |f, x| f.scale(x, 180.0 / PI))
        => Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| dy.mul(180.0 / PI)));
    /// sin(pi x) / (pi x), and 1 at 0.
    SINC sinc "sinc(Tensor self) -> Tensor" to_float 18 (numbers: -3.0, 3.0) no_numbers
        |l| lower_formula(l, sinc)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.mul(&sinc_slope(c.input(0)?)?)));
    /// 1 less the error function, accurate where that is near 1.
    ERFC erfc "erfc(Tensor self) -> Tensor" to_float 20 (numbers: -3.0, 3.0) no_numbers
        |l| lower_unary(l, UnaryOp::Erfc)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| {
            dy.mul(&c.input(0)?.square()?.neg()?.exp()?.mul(-FRAC_2_SQRT_PI)?)
        }));
    /// The number whose error function is the element; infinite at -1 and 1, not a number beyond.
    ERFINV erfinv "erfinv(Tensor self) -> Tensor" to_float 120 (floats: -0.95, 0.95) no_numbers
        |l| lower_formula(l, erfinv)
        => Vjp::Rule(Saves::OUTPUT, |c| chain(c, |dy| {
            dy.mul(&c.output(0)?.square()?.exp()?.mul(1.0 / FRAC_2_SQRT_PI)?)
        }));
    /// Whether the element is positive infinity.
    ISPOSINF isposinf "isposinf(Tensor self) -> Tensor" to_bool 1 (any: -1.0, 2.0) no_numbers
        |l| lower_infinity(l, f64::INFINITY) => Vjp::Zero;
    /// Whether the element is negative infinity.
    ISNEGINF isneginf "isneginf(Tensor self) -> Tensor" to_bool 1 (any: -1.0, 2.0) no_numbers
        |l| lower_infinity(l, f64::NEG_INFINITY) => Vjp::Zero;
    /// Whether the element is negative, negative zero included; what is not a number counts as positive.
    SIGNBIT signbit "signbit(Tensor self) -> Tensor" to_bool 3 (any: -1.0, 2.0) no_numbers
        lower_signbit => Vjp::Zero;
}
