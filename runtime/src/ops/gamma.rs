//! The gamma function's logarithm and that one's derivative.
//!
//! Small arguments are shifted up by the recurrence until Stirling's asymptotic series has every digit; arguments below one
//! half are reflected.

use super::rules::{Formula, chain, lower_exact, methods, no_numbers, to_float, unary_samples};
use super::unary::{types, unary};
use crate::error::{Error, Result};
use crate::table::{Effect, Lower, Saves, Vjp, cost, ops};
use crate::tensor::Tensor;
use kernels::loops::Node;
use std::f64::consts::PI;

/// Bernoulli's numbers B2, B4, ... B24.
pub(super) const BERNOULLI: [f64; 12] = [
    1.0 / 6.0,
    -1.0 / 30.0,
    1.0 / 42.0,
    -1.0 / 30.0,
    5.0 / 66.0,
    -691.0 / 2730.0,
    7.0 / 6.0,
    -3617.0 / 510.0,
    43867.0 / 798.0,
    -174611.0 / 330.0,
    854513.0 / 138.0,
    -236364091.0 / 2730.0,
];
/// log(2 pi) / 2.
const HALF_LOG_TAU: f64 = 0.918_938_533_204_672_8;
/// How far arguments of the logarithm are shifted up.
const NEAR: f64 = 8.0;
/// How far arguments of its derivatives are shifted up.
pub(super) const FAR: f64 = 10.0;

/// x less the nearest whole number.
pub(super) fn fraction(f: &mut Formula, x: Node) -> Node {
    let whole = f.round(x);
    f.sub(x, whole)
}

/// `direct` of the argument at or above one half, and that argument's mirror image below.
pub(super) fn mirrored(f: &mut Formula, x: Node) -> (Node, Node) {
    let (half, one) = (f.number(0.5), f.number(1.0));
    let below = f.lt(x, half);
    let mirror = f.sub(one, x);
    (below, f.select(below, mirror, x))
}

/// Stirling's series.
fn stirling(f: &mut Formula, w: Node) -> Node {
    let coefficients: Vec<f64> =
        (0..9).map(|k| BERNOULLI[k] / ((2 * k + 2) as f64 * (2 * k + 1) as f64)).collect();
    let (lower, log, inverse) = (f.shift(w, -0.5), f.log(w), f.recip(w));
    let main = f.mul(lower, log);
    let main = f.sub(main, w);
    let main = f.shift(main, HALF_LOG_TAU);
    let square = f.mul(inverse, inverse);
    let tail = f.polynomial(square, &coefficients);
    let tail = f.mul(tail, inverse);
    f.add(main, tail)
}

pub(super) fn lgamma(f: &mut Formula, [x]: [Node; 1]) -> Node {
    let (below, z) = mirrored(f, x);
    let near = f.number(NEAR);
    let is_near = f.lt(z, near);
    let shifted = f.shift(z, NEAR);
    let w = f.select(is_near, shifted, z);
    let far = stirling(f, w);
    let mut product = z;
    for k in 1..NEAR as usize {
        let factor = f.shift(z, k as f64);
        product = f.mul(product, factor);
    }
    let log = f.log(product);
    let shorter = f.sub(far, log);
    let direct = f.select(is_near, shorter, far);
    // log(pi / |sin(pi x)|) - lgamma(1 - x)
    let angle = fraction(f, x);
    let angle = f.scale(angle, PI);
    let sine = f.sin(angle);
    let sine = f.abs(sine);
    let log = f.log(sine);
    let sum = f.add(log, direct);
    let turned = f.neg(sum);
    let turned = f.shift(turned, PI.ln());
    let value = f.select(below, turned, direct);
    let (infinite, infinity) = (f.isinf(x), f.number(f64::INFINITY));
    f.select(infinite, infinity, value)
}

pub(super) fn digamma(f: &mut Formula, [x]: [Node; 1]) -> Node {
    let coefficients: Vec<f64> = (0..8).map(|k| BERNOULLI[k] / (2 * k + 2) as f64).collect();
    let (below, z) = mirrored(f, x);
    let far = f.number(FAR);
    let is_near = f.lt(z, far);
    let shifted = f.shift(z, FAR);
    let w = f.select(is_near, shifted, z);
    let (log, inverse) = (f.log(w), f.recip(w));
    let half = f.scale(inverse, 0.5);
    let square = f.mul(inverse, inverse);
    let tail = f.polynomial(square, &coefficients);
    let tail = f.mul(tail, square);
    let value = f.sub(log, half);
    let value = f.sub(value, tail);
    let mut steps = f.recip(z);
    for k in 1..FAR as usize {
        let next = f.shift(z, k as f64);
        let next = f.recip(next);
        steps = f.add(steps, next);
    }
    let shorter = f.sub(value, steps);
    let direct = f.select(is_near, shorter, value);
    // digamma(1 - x) - pi / tan(pi x); at a pole below 0 it is not a number, at 0 minus infinity with the sign of 0.
    let (zero, nan) = (f.number(0.0), f.number(f64::NAN));
    let angle = fraction(f, x);
    let pole = f.eq(angle, zero);
    let angle = f.scale(angle, PI);
    let tangent = f.tan(angle);
    let pi = f.number(PI);
    let cotangent = f.div(pi, tangent);
    let turned = f.sub(direct, cotangent);
    let turned = f.select(pole, nan, turned);
    let value = f.select(below, turned, direct);
    let (at_zero, inverse) = (f.eq(x, zero), f.recip(x));
    let inverse = f.neg(inverse);
    f.select(at_zero, inverse, value)
}

pub(super) fn trigamma(f: &mut Formula, x: Node) -> Node {
    let (below, z) = mirrored(f, x);
    let far = f.number(FAR);
    let is_near = f.lt(z, far);
    let shifted = f.shift(z, FAR);
    let w = f.select(is_near, shifted, z);
    let inverse = f.recip(w);
    let square = f.mul(inverse, inverse);
    let tail = f.polynomial(square, &BERNOULLI[..8]);
    let tail = f.mul(tail, square);
    let tail = f.shift(tail, 1.0);
    let tail = f.mul(tail, inverse);
    let half = f.scale(square, 0.5);
    let value = f.add(tail, half);
    let mut steps = f.number(0.0);
    for k in 0..FAR as usize {
        let next = f.shift(z, k as f64);
        let next = f.recip(next);
        let next = f.mul(next, next);
        steps = f.add(steps, next);
    }
    let longer = f.add(value, steps);
    let direct = f.select(is_near, longer, value);
    // (pi / sin(pi x))^2 - trigamma(1 - x)
    let angle = fraction(f, x);
    let angle = f.scale(angle, PI);
    let sine = f.sin(angle);
    let pi = f.number(PI);
    let ratio = f.div(pi, sine);
    let square = f.mul(ratio, ratio);
    let turned = f.sub(square, direct);
    f.select(below, turned, direct)
}

unary! {
    /// Logarithm of the size of the gamma function.
    LGAMMA lgamma "lgamma(Tensor self) -> Tensor" to_float 70 (numbers: 0.3, 9.0) no_numbers
        |l| lower_exact(l, lgamma)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.mul(&c.input(0)?.digamma()?)));
    /// The derivative of the gamma function's logarithm.
    DIGAMMA digamma "digamma(Tensor self) -> Tensor" to_float 90 (numbers: 0.3, 9.0) no_numbers
        |l| lower_exact(l, digamma)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.mul(&c.input(0)?.polygamma(1)?)));
}

impl Tensor {
    /// Logarithm of the gamma function of p dimensions.
    #[track_caller]
    pub fn mvlgamma(&self, p: i64) -> Result<Tensor> {
        if p < 1 {
            return Err(Error::value(format!("mvlgamma needs p >= 1, got {p}")).in_op("mvlgamma"));
        }
        let mut sum = self.lgamma()?;
        for i in 1..p {
            sum = sum.add(&self.sub(0.5 * i as f64)?.lgamma()?)?;
        }
        sum.add(p as f64 * (p as f64 - 1.0) / 4.0 * PI.ln())
    }
}
