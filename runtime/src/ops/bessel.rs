//! Bessel functions of orders 0 and 1, of both kinds, plain, modified and scaled; the spherical one; Airy's function.
//!
//! Each is one or two Chebyshev series in a variable in which it is smooth (`series.rs`), with its logarithm, exponential
//! or oscillation taken out.

use super::rules::{Formula, chain, lower_exact, methods, no_numbers, to_float, unary_samples};
use super::series::*;
use super::unary::{types, unary};
use crate::error::Result;
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use kernels::loops::Node;
use std::f64::consts::{FRAC_2_PI, FRAC_PI_4, LN_2};

/// Where the near series of I, J and Y end.
const EDGE: f64 = 8.0;
/// Where the near series of K end.
const K_EDGE: f64 = 2.0;
/// Where the middle series of Airy's function ends, and 2/3 of its power 3/2.
const AIRY_EDGE: (f64, f64) = (4.0, 16.0 / 3.0);

/// e^-|x| I(|x|) of order 0, or that of order 1 over |x| near and as it is far.
fn scaled_i(f: &mut Formula, size: Node, near: &[f64], far: &[f64], order: usize) -> Node {
    let t = f.scale(size, 2.0 / EDGE);
    let t = f.shift(t, -1.0);
    let mut close = f.series(t, near);
    if order == 1 {
        close = f.mul(close, size);
    }
    let (inverse, root) = (f.recip(size), f.sqrt(size));
    let t = f.scale(inverse, 2.0 * EDGE);
    let t = f.shift(t, -1.0);
    let wide = f.series(t, far);
    let wide = f.div(wide, root);
    let edge = f.number(EDGE);
    let is_near = f.le(size, edge);
    f.select(is_near, close, wide)
}

fn i0e(f: &mut Formula, [x]: [Node; 1]) -> Node {
    let size = f.abs(x);
    scaled_i(f, size, I0E_NEAR, I0E_FAR, 0)
}

fn i1e(f: &mut Formula, [x]: [Node; 1]) -> Node {
    let (size, sign) = (f.abs(x), f.sign(x));
    let value = scaled_i(f, size, I1E_NEAR, I1E_FAR, 1);
    f.mul(sign, value)
}

/// A scaled function times e^|x|.
fn grown(f: &mut Formula, x: Node, scaled: Node) -> Node {
    let size = f.abs(x);
    let growth = f.exp(size);
    f.mul(scaled, growth)
}

/// K of an order; scaled by e^x where `scaled`. Infinite at 0, not a number below.
fn k(f: &mut Formula, x: Node, order: usize, scaled: bool) -> Node {
    let square = f.mul(x, x);
    let t = f.scale(square, 2.0 / (K_EDGE * K_EDGE));
    let t = f.shift(t, -1.0);
    let log = f.log(x);
    let log = f.shift(log, -LN_2);
    let near = if order == 0 {
        let (i0, rest) = (f.series(t, I0_SMALL), f.series(t, K0_SMALL));
        let product = f.mul(log, i0);
        f.sub(rest, product)
    } else {
        let (i1, rest) = (f.series(t, I1_SMALL), f.series(t, K1_SMALL));
        let i1 = f.mul(i1, x);
        let (product, rest) = (f.mul(log, i1), f.div(rest, x));
        f.add(product, rest)
    };
    let (inverse, root) = (f.recip(x), f.sqrt(x));
    let t = f.scale(inverse, 2.0 * K_EDGE);
    let t = f.shift(t, -1.0);
    let far = f.series(t, if order == 0 { K0E_FAR } else { K1E_FAR });
    let far = f.div(far, root);
    let (near, far) = if scaled {
        let growth = f.exp(x);
        (f.mul(near, growth), far)
    } else {
        let down = f.neg(x);
        let decay = f.exp(down);
        (near, f.mul(far, decay))
    };
    let (edge, zero, infinity) = (f.number(K_EDGE), f.number(0.0), f.number(f64::INFINITY));
    let is_near = f.le(x, edge);
    let value = f.select(is_near, near, far);
    let at_zero = f.eq(x, zero);
    f.select(at_zero, infinity, value)
}

/// sqrt(2 / (pi x)) (P cos(angle) - Q sin(angle)), or of the second kind (P sin(angle) + Q cos(angle)).
fn oscillating(f: &mut Formula, x: Node, order: usize, second: bool) -> Node {
    let inverse = f.recip(x);
    let ratio = f.scale(inverse, EDGE);
    let square = f.mul(ratio, ratio);
    let t = f.add(square, square);
    let t = f.shift(t, -1.0);
    let (p, q) = if order == 0 { (P0_FAR, Q0_FAR) } else { (P1_FAR, Q1_FAR) };
    let (p, q) = (f.series(t, p), f.series(t, q));
    let q = f.mul(q, inverse);
    let angle = f.shift(x, -FRAC_PI_4 * (1 + 2 * order) as f64);
    let (sine, cosine) = (f.sin(angle), f.cos(angle));
    let (a, b) = if second { (f.mul(p, sine), f.mul(q, cosine)) } else { (f.mul(p, cosine), f.mul(q, sine)) };
    let wave = if second { f.add(a, b) } else { f.sub(a, b) };
    let amplitude = f.scale(inverse, FRAC_2_PI);
    let amplitude = f.sqrt(amplitude);
    f.mul(amplitude, wave)
}

fn near_variable(f: &mut Formula, x: Node) -> Node {
    let square = f.mul(x, x);
    let t = f.scale(square, 2.0 / (EDGE * EDGE));
    f.shift(t, -1.0)
}

fn j(f: &mut Formula, x: Node, order: usize) -> Node {
    let size = f.abs(x);
    let t = near_variable(f, size);
    let mut near = f.series(t, if order == 0 { J0_NEAR } else { J1_NEAR });
    if order == 1 {
        near = f.mul(near, size);
    }
    let far = oscillating(f, size, order, false);
    let edge = f.number(EDGE);
    let is_near = f.le(size, edge);
    let value = f.select(is_near, near, far);
    if order == 0 {
        return value;
    }
    let sign = f.sign(x);
    f.mul(sign, value)
}

/// Of the second kind: minus infinity at 0, not a number below.
fn y(f: &mut Formula, x: Node, order: usize) -> Node {
    let t = near_variable(f, x);
    let log = f.log(x);
    let near = if order == 0 {
        let (j0, rest) = (f.series(t, J0_NEAR), f.series(t, Y0_NEAR));
        let product = f.mul(log, j0);
        let product = f.scale(product, FRAC_2_PI);
        f.add(product, rest)
    } else {
        let (j1, rest) = (f.series(t, J1_NEAR), f.series(t, Y1_NEAR));
        let (j1, rest) = (f.mul(j1, x), f.mul(rest, x));
        let (product, inverse) = (f.mul(log, j1), f.recip(x));
        let product = f.sub(product, inverse);
        let product = f.scale(product, FRAC_2_PI);
        f.add(product, rest)
    };
    let far = oscillating(f, x, order, true);
    let (edge, zero, infinity) = (f.number(EDGE), f.number(0.0), f.number(f64::NEG_INFINITY));
    let is_near = f.le(x, edge);
    let value = f.select(is_near, near, far);
    let at_zero = f.eq(x, zero);
    f.select(at_zero, infinity, value)
}

/// sin(x) / x, 1 at 0 and 0 at the infinities.
fn spherical_j0(f: &mut Formula, [x]: [Node; 1]) -> Node {
    let (zero, one) = (f.number(0.0), f.number(1.0));
    let sine = f.sin(x);
    let ratio = f.div(sine, x);
    let (at_zero, infinite) = (f.eq(x, zero), f.isinf(x));
    let value = f.select(at_zero, one, ratio);
    f.select(infinite, zero, value)
}

fn airy(f: &mut Formula, [x]: [Node; 1]) -> Node {
    let (edge, whole) = AIRY_EDGE;
    let size = f.abs(x);
    let t = f.scale(x, 1.0 / edge);
    let middle = f.series(t, AIRY_MIDDLE);
    let root = f.sqrt(size);
    let z = f.mul(size, root);
    let z = f.scale(z, 2.0 / 3.0);
    let fourth = f.sqrt(root);
    let inverse = f.recip(z);
    let s = f.scale(inverse, whole);
    let t = f.add(s, s);
    let t = f.shift(t, -1.0);
    let above = f.series(t, AIRY_FAR);
    let down = f.neg(z);
    let decay = f.exp(down);
    let above = f.mul(above, decay);
    let above = f.div(above, fourth);
    let square = f.mul(s, s);
    let t = f.add(square, square);
    let t = f.shift(t, -1.0);
    let (p, q) = (f.series(t, AIRY_P), f.series(t, AIRY_Q));
    let q = f.mul(q, s);
    let angle = f.shift(z, FRAC_PI_4);
    let (sine, cosine) = (f.sin(angle), f.cos(angle));
    let (a, b) = (f.mul(p, sine), f.mul(q, cosine));
    let wave = f.sub(a, b);
    let below = f.div(wave, fourth);
    let below = f.scale(below, 1.0 / std::f64::consts::PI.sqrt());
    let (low, high) = (f.number(-edge), f.number(edge));
    let (is_low, is_high) = (f.lt(x, low), f.gt(x, high));
    let value = f.select(is_low, below, middle);
    f.select(is_high, above, value)
}

/// `at_zero` where the operand is 0, else `rule` of the operand; what stands at 0 must not spoil a second derivative.
fn beside_zero(x: &Tensor, at_zero: f64, rule: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let zero = x.eq(0.0)?;
    rule(&x.masked_fill(&zero, 1.0)?)?.masked_fill(&zero, at_zero)
}

/// The cotangent times a slope that is a function of the operand: in f32 for halves, because the terms of slopes cancel.
fn slope(c: &VjpContext, rule: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Gradients> {
    chain(c, |dy| {
        let dtype = dy.dtype().accumulator();
        dy.to(dtype)?.mul(&rule(&c.input(0)?.to(dtype)?)?)
    })
}

unary! {
    /// Modified Bessel function of the first kind, order 0.
    I0 i0 "i0(Tensor self) -> Tensor" to_float 190 (numbers: -3.0, 12.0) no_numbers
        |l| lower_exact(l, |f, [x]| {
            let scaled = i0e(f, [x]);
            grown(f, x, scaled)
        })
        => Vjp::Rule(Saves::INPUTS, |c| slope(c, Tensor::i1));
    /// i0 times e^-|x|.
    I0E i0e "i0e(Tensor self) -> Tensor" to_float 180 (numbers: -3.0, 12.0) no_numbers
        |l| lower_exact(l, i0e)
        => Vjp::Rule(Saves::INPUTS, |c| slope(c, |x| x.i1e()?.sub(&x.sign()?.mul(&x.i0e()?)?)));
    /// Modified Bessel function of the first kind, order 1.
    I1 i1 "i1(Tensor self) -> Tensor" to_float 190 (numbers: -3.0, 12.0) no_numbers
        |l| lower_exact(l, |f, [x]| {
            let scaled = i1e(f, [x]);
            grown(f, x, scaled)
        })
        => Vjp::Rule(Saves::INPUTS, |c| slope(c, |x| beside_zero(x, 0.5, |x| x.i0()?.sub(&x.i1()?.div(x)?))));
    /// i1 times e^-|x|.
    I1E i1e "i1e(Tensor self) -> Tensor" to_float 180 (numbers: -3.0, 12.0) no_numbers
        |l| lower_exact(l, i1e)
        => Vjp::Rule(Saves::INPUTS, |c| slope(c, |x| beside_zero(x, 0.5, |x| {
            x.i0e()?.sub(&x.i1e()?.mul(&x.sign()?.add(&x.reciprocal()?)?)?)
        })));
    /// Bessel function of the first kind, order 0.
    BESSEL_J0 bessel_j0 "bessel_j0(Tensor self) -> Tensor" to_float 170 (numbers: -12.0, 12.0) no_numbers
        |l| lower_exact(l, |f, [x]| j(f, x, 0))
        => Vjp::Rule(Saves::INPUTS, |c| slope(c, |x| x.bessel_j1()?.neg()));
    /// Bessel function of the first kind, order 1.
    BESSEL_J1 bessel_j1 "bessel_j1(Tensor self) -> Tensor" to_float 170 (numbers: -12.0, 12.0) no_numbers
        |l| lower_exact(l, |f, [x]| j(f, x, 1))
        => Vjp::Rule(Saves::INPUTS, |c| slope(c, |x| beside_zero(x, 0.5, |x| {
            x.bessel_j0()?.sub(&x.bessel_j1()?.div(x)?)
        })));
    /// Bessel function of the second kind, order 0; minus infinity at 0, not a number below.
    BESSEL_Y0 bessel_y0 "bessel_y0(Tensor self) -> Tensor" to_float 230 (numbers: 0.3, 12.0) no_numbers
        |l| lower_exact(l, |f, [x]| y(f, x, 0))
        => Vjp::Rule(Saves::INPUTS, |c| slope(c, |x| x.bessel_y1()?.neg()));
    /// Bessel function of the second kind, order 1; minus infinity at 0, not a number below.
    BESSEL_Y1 bessel_y1 "bessel_y1(Tensor self) -> Tensor" to_float 230 (numbers: 0.3, 12.0) no_numbers
        |l| lower_exact(l, |f, [x]| y(f, x, 1))
        => Vjp::Rule(Saves::INPUTS, |c| slope(c, |x| x.bessel_y0()?.sub(&x.bessel_y1()?.div(x)?)));
    /// Modified Bessel function of the second kind, order 0; infinite at 0, not a number below.
    BESSEL_K0 modified_bessel_k0 "modified_bessel_k0(Tensor self) -> Tensor" to_float 170 (numbers: 0.3, 9.0) no_numbers
        |l| lower_exact(l, |f, [x]| k(f, x, 0, false))
        => Vjp::Rule(Saves::INPUTS, |c| slope(c, |x| x.modified_bessel_k1()?.neg()));
    /// Modified Bessel function of the second kind, order 1; infinite at 0, not a number below.
    BESSEL_K1 modified_bessel_k1 "modified_bessel_k1(Tensor self) -> Tensor" to_float 170 (numbers: 0.3, 9.0) no_numbers
        |l| lower_exact(l, |f, [x]| k(f, x, 1, false))
        => Vjp::Rule(Saves::INPUTS, |c| slope(c, |x| {
            x.modified_bessel_k0()?.add(&x.modified_bessel_k1()?.div(x)?)?.neg()
        }));
    /// modified_bessel_k0 times e^x.
    SCALED_K0 scaled_modified_bessel_k0 "scaled_modified_bessel_k0(Tensor self) -> Tensor" to_float 180 (numbers: 0.3, 9.0) no_numbers
        |l| lower_exact(l, |f, [x]| k(f, x, 0, true))
        => Vjp::Rule(Saves::INPUTS, |c| slope(c, |x| {
            x.scaled_modified_bessel_k0()?.sub(&x.scaled_modified_bessel_k1()?)
        }));
    /// modified_bessel_k1 times e^x.
    SCALED_K1 scaled_modified_bessel_k1 "scaled_modified_bessel_k1(Tensor self) -> Tensor" to_float 180 (numbers: 0.3, 9.0) no_numbers
        |l| lower_exact(l, |f, [x]| k(f, x, 1, true))
        => Vjp::Rule(Saves::INPUTS, |c| slope(c, |x| {
            let k1 = x.scaled_modified_bessel_k1()?;
            k1.sub(&k1.div(x)?)?.sub(&x.scaled_modified_bessel_k0()?)
        }));
    /// Spherical Bessel function of the first kind, order 0: sin(x) / x.
    SPHERICAL_J0 spherical_bessel_j0 "spherical_bessel_j0(Tensor self) -> Tensor" to_float 20 (numbers: -9.0, 9.0) no_numbers
        |l| lower_exact(l, spherical_j0)
        => Vjp::Rule(Saves::INPUTS, |c| slope(c, |x| beside_zero(x, 0.0, |x| {
            x.cos()?.sub(&x.spherical_bessel_j0()?)?.div(x)
        })));
    /// Airy's function of the first kind.
    AIRY_AI airy_ai "airy_ai(Tensor self) -> Tensor" to_float 330 (numbers: -9.0, 9.0) no_numbers
        |l| lower_exact(l, airy)
        => Vjp::None("torch defines none for Airy's function");
}
