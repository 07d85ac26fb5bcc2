//! The normal distribution's functions: its area, that one's inverse and logarithm, the scaled complement of the error
//! function; entropies of elements.

use super::rules::{Formula, chain, lower_exact, methods, no_numbers, to_float, unary_samples};
use super::series::ERFCX as ERFCX_SERIES;
use super::unary::{types, unary};
use crate::table::{Effect, Lower, Saves, Vjp, cost, ops};
use kernels::loops::Node;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI, SQRT_2};

/// The pole of the variable in which e^(x^2) erfc(x) is a short series.
const MAP: f64 = 3.75;

/// e^(x^2) erfc(x) for x >= 0.
fn erfcx_above(f: &mut Formula, x: Node) -> Node {
    let (above, below) = (f.shift(x, -MAP), f.shift(x, MAP));
    let t = f.div(above, below);
    let value = f.series(t, ERFCX_SERIES);
    let double = f.add(x, x);
    let double = f.shift(double, 1.0);
    let value = f.div(value, double);
    // Of infinity the variable is a quotient of infinities.
    let (infinite, zero) = (f.isinf(x), f.number(0.0));
    f.select(infinite, zero, value)
}

fn erfcx(f: &mut Formula, [x]: [Node; 1]) -> Node {
    let size = f.abs(x);
    let value = erfcx_above(f, size);
    let square = f.mul(x, x);
    let grown = f.exp(square);
    let grown = f.add(grown, grown);
    let mirrored = f.sub(grown, value);
    let zero = f.number(0.0);
    let below = f.lt(x, zero);
    f.select(below, mirrored, value)
}

fn ndtr(f: &mut Formula, [x]: [Node; 1]) -> Node {
    let argument = f.scale(x, -FRAC_1_SQRT_2);
    let tail = f.erfc(argument);
    f.scale(tail, 0.5)
}

/// log(erfc(-x / sqrt 2) / 2); below -1 with the decay taken out.
fn log_ndtr(f: &mut Formula, [x]: [Node; 1]) -> Node {
    let (edge, argument) = (f.number(-1.0), f.scale(x, -FRAC_1_SQRT_2));
    let size = f.abs(argument);
    let scaled = erfcx_above(f, size);
    let scaled = f.scale(scaled, 0.5);
    let log = f.log(scaled);
    let square = f.mul(argument, argument);
    let below = f.sub(log, square);
    let turned = f.neg(argument);
    let rest = f.erfc(turned);
    let rest = f.scale(rest, -0.5);
    let above = f.log1p(rest);
    let infinite = f.isinf(x);
    let least = f.number(f64::NEG_INFINITY);
    let below = f.select(infinite, least, below);
    let is_below = f.lt(x, edge);
    f.select(is_below, below, above)
}

/// A start of three digits from the logarithm, then Newton's method on the logarithm of the area, in the lower half.
fn ndtri(f: &mut Formula, [p]: [Node; 1]) -> Node {
    let (half, zero, one) = (f.number(0.5), f.number(0.0), f.number(1.0));
    let is_upper = f.gt(p, half);
    let mirror = f.sub(one, p);
    let q = f.select(is_upper, mirror, p);
    let log = f.log(q);
    let t = f.scale(log, -2.0);
    let t = f.sqrt(t);
    let above = f.polynomial(t, &[2.515517, 0.802853, 0.010328]);
    let below = f.polynomial(t, &[1.0, 1.432788, 0.189269, 0.001308]);
    let ratio = f.div(above, below);
    let mut z = f.sub(ratio, t);
    for _ in 0..3 {
        let size = f.neg(z);
        let size = f.max(size, zero);
        let argument = f.scale(size, FRAC_1_SQRT_2);
        let scaled = erfcx_above(f, argument);
        let area = f.scale(scaled, 0.5);
        let area = f.log(area);
        let square = f.mul(argument, argument);
        let area = f.sub(area, square);
        let miss = f.sub(area, log);
        // area over density
        let step = f.scale(scaled, (PI / 2.0).sqrt());
        let step = f.mul(miss, step);
        z = f.sub(z, step);
        z = f.min(z, zero);
    }
    let least = f.number(f64::NEG_INFINITY);
    let empty = f.eq(q, zero);
    let z = f.select(empty, least, z);
    let turned = f.neg(z);
    let value = f.select(is_upper, turned, z);
    let (outside, unknown, nan) = (f.lt(q, zero), f.isnan(p), f.number(f64::NAN));
    let bad = f.or(outside, unknown);
    f.select(bad, nan, value)
}

/// -x log x, 0 at 0, minus infinity below.
fn entr(f: &mut Formula, [x]: [Node; 1]) -> Node {
    let (zero, least) = (f.number(0.0), f.number(f64::NEG_INFINITY));
    let log = f.log(x);
    let product = f.mul(x, log);
    let value = f.neg(product);
    let (at_zero, below) = (f.eq(x, zero), f.lt(x, zero));
    let value = f.select(at_zero, zero, value);
    f.select(below, least, value)
}

unary! {
    /// e^(x^2) erfc(x), which does not underflow where erfc does.
    ERFCX erfcx "erfcx(Tensor self) -> Tensor" to_float 100 (numbers: -2.0, 9.0) no_numbers
        |l| lower_exact(l, erfcx)
        => Vjp::Rule(Saves::BOTH, |c| chain(c, |dy| {
            dy.mul(&c.input(0)?.mul(c.output(0)?)?.mul(2.0)?.sub(FRAC_2_SQRT_PI)?)
        }));
    /// The area under the normal density below the element.
    NDTR ndtr "ndtr(Tensor self) -> Tensor" to_float 30 (numbers: -3.0, 3.0) no_numbers
        |l| lower_exact(l, ndtr)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| {
            dy.mul(&c.input(0)?.square()?.mul(-0.5)?.exp()?.mul(1.0 / (2.0 * PI).sqrt())?)
        }));
    /// Logarithm of ndtr, accurate far below 0.
    LOG_NDTR log_ndtr "log_ndtr(Tensor self) -> Tensor" to_float 150 (numbers: -9.0, 3.0) no_numbers
        |l| lower_exact(l, log_ndtr)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| {
            dy.div(&c.input(0)?.mul(-FRAC_1_SQRT_2)?.erfcx()?)?.mul(FRAC_2_SQRT_PI * FRAC_1_SQRT_2)
        }));
    /// The number below which this area of the normal density lies; infinite at 0 and 1, not a number outside.
    NDTRI ndtri "ndtri(Tensor self) -> Tensor" to_float 400 (floats: 0.05, 0.95) no_numbers
        |l| lower_exact(l, ndtri)
        => Vjp::Rule(Saves::OUTPUT, |c| chain(c, |dy| {
            dy.mul(&c.output(0)?.square()?.mul(0.5)?.exp()?.mul(PI.sqrt() * SQRT_2)?)
        }));
    /// Entropy of the element, -x log x; 0 at 0, minus infinity below.
    ENTR entr "entr(Tensor self) -> Tensor" to_float 15 (numbers: 0.25, 5.0) no_numbers
        |l| lower_exact(l, entr)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.mul(&c.input(0)?.log()?.add(1.0)?.neg()?)));
}
