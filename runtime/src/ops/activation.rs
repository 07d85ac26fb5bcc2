//! Activations and their gradients. A composite and its gradient are one loop program each, computed in the accumulation
//! type; the gradient is an op of its own so that it can be differentiated again.

use super::rules::{
    Formula, chain, f32s, finish, float_only, float_samples, methods, pair_samples, same_float, wanted, wide,
};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, Types};
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, Samples, host, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::Node;
use smallvec::smallvec;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, SQRT_2};

/// 1 / sqrt(2 pi), the height of the normal density.
const DENSITY: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2 / 2.0;
/// sqrt(2 / pi), the slope in the tanh approximation of gelu.
const SLOPE: f64 = SQRT_2 * FRAC_2_SQRT_PI / 2.0;
/// The cubic coefficient in the tanh approximation of gelu.
const CUBIC: f64 = 0.044715;

/// Whether gelu is approximated by tanh.
fn by_tanh(arg: Arg) -> Result<bool> {
    match arg {
        Arg::None | Arg::Str("none") => Ok(false),
        Arg::Str("tanh") => Ok(true),
        other => Err(Error::value(format!("approximate must be 'none' or 'tanh', got {other:?}"))),
    }
}

/// A cotangent and a float tensor of one shape and type.
pub(super) fn infer_pair(c: &Infer) -> Result<Types> {
    let (dy, x) = (c.tensor(0)?, c.tensor(1)?);
    float_only(x.dtype)?;
    if dy != x {
        return Err(Error::shape(format!("a cotangent of type {dy} for a value of type {x}")));
    }
    Ok(smallvec![x.clone()])
}

/// tanh(SLOPE (x + CUBIC x^3)) and the derivative of its argument.
fn tanh_parts(f: &mut Formula, x: Node) -> (Node, Node) {
    let square = f.mul(x, x);
    let cubic = f.scale(square, CUBIC);
    let one = f.number(1.0);
    let factor = f.add(one, cubic);
    let argument = f.mul(x, factor);
    let argument = f.scale(argument, SLOPE);
    let slope = f.scale(square, 3.0 * CUBIC);
    let slope = f.add(one, slope);
    let slope = f.scale(slope, SLOPE);
    (f.tanh(argument), slope)
}

fn lower_gelu(l: &mut Lowering) -> Result<()> {
    let approximate = by_tanh(l.host(1)?)?;
    let x = wide(l, 0)?;
    let mut f = Formula::of(l);
    let inner = if approximate {
        tanh_parts(&mut f, x).0
    } else {
        let scaled = f.scale(x, FRAC_1_SQRT_2);
        f.erf(scaled)
    };
    let one = f.number(1.0);
    let doubled = f.add(one, inner);
    let half = f.scale(x, 0.5);
    let y = f.mul(half, doubled);
    finish(l, y);
    Ok(())
}

fn lower_gelu_backward(l: &mut Lowering) -> Result<()> {
    let approximate = by_tanh(l.host(2)?)?;
    let (dy, x) = (wide(l, 0)?, wide(l, 1)?);
    let mut f = Formula::of(l);
    let one = f.number(1.0);
    let derivative = if approximate {
        let (t, slope) = tanh_parts(&mut f, x);
        let left = f.add(one, t);
        let t2 = f.mul(t, t);
        let rest = f.sub(one, t2);
        let right = f.mul(rest, slope);
        let right = f.mul(x, right);
        let sum = f.add(left, right);
        f.scale(sum, 0.5)
    } else {
        let scaled = f.scale(x, FRAC_1_SQRT_2);
        let erf = f.erf(scaled);
        let doubled = f.add(one, erf);
        let below = f.scale(doubled, 0.5);
        let square = f.mul(x, x);
        let exponent = f.scale(square, -0.5);
        let density = f.exp(exponent);
        let density = f.scale(density, DENSITY);
        let slope = f.mul(x, density);
        f.add(below, slope)
    };
    let dx = f.mul(dy, derivative);
    finish(l, dx);
    Ok(())
}

/// The second derivative of gelu.
fn gelu_curvature(x: &Tensor, approximate: bool) -> Result<Tensor> {
    if !approximate {
        let square = x.square()?;
        return square.mul(-0.5)?.exp()?.mul(DENSITY)?.mul(&square.neg()?.add(2.0)?);
    }
    let square = x.square()?;
    let t = square.mul(CUBIC)?.add(1.0)?.mul(x)?.mul(SLOPE)?.tanh()?;
    let slope = square.mul(3.0 * CUBIC)?.add(1.0)?.mul(SLOPE)?;
    let bend = x.mul(6.0 * CUBIC * SLOPE)?;
    let rest = t.square()?.neg()?.add(1.0)?;
    let inner = bend.sub(&t.mul(&slope.square()?)?.mul(2.0)?)?;
    rest.mul(&slope.add(&inner.mul(x)?.mul(0.5)?)?)
}

fn lower_silu_backward(l: &mut Lowering) -> Result<()> {
    let (dy, x) = (wide(l, 0)?, wide(l, 1)?);
    let mut f = Formula::of(l);
    let s = f.sigmoid(x);
    let one = f.number(1.0);
    let rest = f.sub(one, s);
    let right = f.mul(x, rest);
    let right = f.add(one, right);
    let derivative = f.mul(s, right);
    let dx = f.mul(dy, derivative);
    finish(l, dx);
    Ok(())
}

/// x * beta, and whether it is above the threshold, with beta and threshold at operands `at` and `at + 1`.
fn softplus_parts(l: &mut Lowering, x: Node, at: usize) -> Result<(Node, Node, Node)> {
    let dtype = l.dtype(0).accumulator();
    let beta = l.operand(at, dtype)?;
    let threshold = l.operand(at + 1, dtype)?;
    let mut f = Formula::of(l);
    let scaled = f.mul(x, beta);
    let above = f.gt(scaled, threshold);
    Ok((scaled, above, beta))
}

fn lower_softplus(l: &mut Lowering) -> Result<()> {
    let x = wide(l, 0)?;
    let (scaled, above, beta) = softplus_parts(l, x, 1)?;
    let mut f = Formula::of(l);
    let grown = f.exp(scaled);
    let soft = f.log1p(grown);
    let soft = f.div(soft, beta);
    let y = f.select(above, x, soft);
    finish(l, y);
    Ok(())
}

fn lower_softplus_backward(l: &mut Lowering) -> Result<()> {
    let (dy, x) = (wide(l, 0)?, wide(l, 1)?);
    let (scaled, above, _) = softplus_parts(l, x, 2)?;
    let mut f = Formula::of(l);
    let s = f.sigmoid(scaled);
    let soft = f.mul(dy, s);
    let dx = f.select(above, dy, soft);
    finish(l, dx);
    Ok(())
}

fn pairs(s: &mut Samples) {
    pair_samples(s, -3.0, 3.0);
}

fn pair_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::Shape, [f32s(&[2]), f32s(&[3])]);
    e.case(ErrorKind::DType, [tensor(DType::I64, &[2], 0.0, 2.0), tensor(DType::I64, &[2], 0.0, 2.0)]);
}

fn float_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::DType, [tensor(DType::I64, &[2], 0.0, 2.0)]);
}

ops! {
    /// x times the normal distribution function of x, exactly or (`approximate` is "tanh") nearly.
    GELU = "gelu(Tensor self, *, str approximate='none') -> Tensor" {
        infer: |c| {
            by_tanh(c.host(1)?)?;
            same_float(c)
        },
        vjp: Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| {
            bind1(&GELU_BACKWARD, &[Arg::Tensor(dy), Arg::Tensor(c.input(0)?), c.host(1)?])
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<20>,
        lower: Lower::Map(lower_gelu),
        samples: |s| {
            float_samples(s, -3.0, 3.0);
            let d = s.dtype;
            if d.is_float() {
                s.case([tensor(d, &[40], -3.0, 3.0), host("tanh")]);
            }
        },
        errors: |e| {
            float_errors(e);
            e.case(ErrorKind::Value, [f32s(&[2]), host("sigmoid")]);
        },
    }
    /// The gradient of gelu: the cotangent times the derivative at `self`.
    GELU_BACKWARD = "gelu_backward(Tensor grad_output, Tensor self, *, str approximate='none') -> Tensor" {
        infer: |c| {
            by_tanh(c.host(2)?)?;
            infer_pair(c)
        },
        vjp: Vjp::Rule(Saves::INPUTS, |c| {
            let (h, dy, x) = (c.dy()?, c.input(0)?, c.input(1)?);
            Ok(smallvec![
                wanted(c, 0, || bind1(&GELU_BACKWARD, &[Arg::Tensor(h), Arg::Tensor(x), c.host(2)?]))?,
                wanted(c, 1, || h.mul(dy)?.mul(&gelu_curvature(x, by_tanh(c.host(2)?)?)?))?,
            ])
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<30>,
        lower: Lower::Map(lower_gelu_backward),
        samples: |s| {
            pairs(s);
            let d = s.dtype;
            if d.is_float() {
                s.case([tensor(d, &[40], -1.0, 1.0), tensor(d, &[40], -3.0, 3.0), host("tanh")]);
            }
        },
        errors: pair_errors,
    }
    /// x times the logistic function of x.
    SILU = "silu(Tensor self) -> Tensor" {
        infer: same_float,
        vjp: Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| {
            bind1(&SILU_BACKWARD, &[Arg::Tensor(dy), Arg::Tensor(c.input(0)?)])
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<13>,
        lower: Lower::Map(|l| {
            let x = wide(l, 0)?;
            let mut f = Formula::of(l);
            let s = f.sigmoid(x);
            let y = f.mul(x, s);
            finish(l, y);
            Ok(())
        }),
        samples: |s| float_samples(s, -3.0, 3.0),
        errors: float_errors,
    }
    /// The gradient of silu: the cotangent times the derivative at `self`.
    SILU_BACKWARD = "silu_backward(Tensor grad_output, Tensor self) -> Tensor" {
        infer: infer_pair,
        vjp: Vjp::Rule(Saves::INPUTS, |c| {
            let (h, dy, x) = (c.dy()?, c.input(0)?, c.input(1)?);
            Ok(smallvec![
                wanted(c, 0, || bind1(&SILU_BACKWARD, &[Arg::Tensor(h), Arg::Tensor(x)]))?,
                wanted(c, 1, || {
                    let s = x.sigmoid()?;
                    let slope = s.mul(&s.neg()?.add(1.0)?)?;
                    let bend = s.mul(-2.0)?.add(1.0)?.mul(x)?.add(2.0)?;
                    h.mul(dy)?.mul(&slope)?.mul(&bend)
                })?,
            ])
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<17>,
        lower: Lower::Map(lower_silu_backward),
        samples: pairs,
        errors: pair_errors,
    }
    /// log(1 + e^(beta x)) / beta, and x itself where beta x is above the threshold.
    SOFTPLUS = "softplus(Tensor self, Scalar beta=1, Scalar threshold=20) -> Tensor" {
        infer: same_float,
        vjp: Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| {
            bind1(&SOFTPLUS_BACKWARD, &[Arg::Tensor(dy), Arg::Tensor(c.input(0)?), c.host(1)?, c.host(2)?])
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<22>,
        lower: Lower::Map(lower_softplus),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                for dims in [&[2usize, 3][..], &[], &[0], &[37]] {
                    s.case([tensor(d, dims, -3.0, 3.0), host(1.0), host(20.0)]);
                    s.case([tensor(d, dims, -3.0, 3.0), host(2.0), host(2.5)]);
                }
            }
        },
        errors: |e| e.case(ErrorKind::DType, [tensor(DType::I64, &[2], 0.0, 2.0), host(1.0), host(20.0)]),
    }
    /// The gradient of softplus: the cotangent times the derivative at `self`.
    SOFTPLUS_BACKWARD = "softplus_backward(Tensor grad_output, Tensor self, Scalar beta, Scalar threshold) -> Tensor" {
        infer: infer_pair,
        vjp: Vjp::Rule(Saves::INPUTS, |c| {
            let (h, dy, x) = (c.dy()?, c.input(0)?, c.input(1)?);
            let (beta, threshold) = (c.host(2)?, c.host(3)?);
            Ok(smallvec![
                wanted(c, 0, || bind1(&SOFTPLUS_BACKWARD, &[Arg::Tensor(h), Arg::Tensor(x), beta, threshold]))?,
                wanted(c, 1, || {
                    let scaled = x.mul(beta)?;
                    let s = scaled.sigmoid()?;
                    let bend = s.mul(&s.neg()?.add(1.0)?)?.mul(beta)?;
                    let above = scaled.gt(threshold)?;
                    h.mul(dy)?.mul(&bend)?.masked_fill(&above, 0.0)
                })?,
            ])
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<15>,
        lower: Lower::Map(lower_softplus_backward),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let t = || tensor(d, &[37], -3.0, 3.0);
                s.case([t(), t(), host(1.0), host(20.0)]);
                s.case([t(), t(), host(2.0), host(2.5)]);
            }
        },
        errors: |e| e.case(ErrorKind::Shape, [f32s(&[2]), f32s(&[3]), host(1.0), host(20.0)]),
    }
    /// The gradient of sigmoid from its value: dy y (1 - y).
    SIGMOID_BACKWARD = "sigmoid_backward(Tensor grad_output, Tensor output) -> Tensor" {
        infer: infer_pair,
        vjp: Vjp::Rule(Saves::INPUTS, |c| {
            let (h, dy, y) = (c.dy()?, c.input(0)?, c.input(1)?);
            Ok(smallvec![
                wanted(c, 0, || h.sigmoid_backward(y))?,
                wanted(c, 1, || h.mul(dy)?.mul(&y.mul(-2.0)?.add(1.0)?))?,
            ])
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<3>,
        lower: Lower::Map(|l| {
            let (dy, y) = (wide(l, 0)?, wide(l, 1)?);
            let mut f = Formula::of(l);
            let one = f.number(1.0);
            let rest = f.sub(one, y);
            let slope = f.mul(rest, y);
            let dx = f.mul(dy, slope);
            finish(l, dx);
            Ok(())
        }),
        samples: |s| pair_samples(s, 0.05, 0.95),
        errors: pair_errors,
    }
    /// The gradient of tanh from its value: dy (1 - y^2).
    TANH_BACKWARD = "tanh_backward(Tensor grad_output, Tensor output) -> Tensor" {
        infer: infer_pair,
        vjp: Vjp::Rule(Saves::INPUTS, |c| {
            let (h, dy, y) = (c.dy()?, c.input(0)?, c.input(1)?);
            Ok(smallvec![
                wanted(c, 0, || h.tanh_backward(y))?,
                wanted(c, 1, || h.mul(dy)?.mul(&y.mul(-2.0)?))?,
            ])
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<3>,
        lower: Lower::Map(|l| {
            let (dy, y) = (wide(l, 0)?, wide(l, 1)?);
            let mut f = Formula::of(l);
            let one = f.number(1.0);
            let square = f.mul(y, y);
            let slope = f.sub(one, square);
            let dx = f.mul(dy, slope);
            finish(l, dx);
            Ok(())
        }),
        samples: |s| pair_samples(s, -0.95, 0.95),
        errors: pair_errors,
    }
    /// The cotangent where `self` is positive (or not a number), else 0.
    THRESHOLD_BACKWARD = "threshold_backward(Tensor grad_output, Tensor self) -> Tensor" {
        infer: infer_pair,
        vjp: Vjp::Rule(Saves::inputs(2), |c| {
            Ok(smallvec![wanted(c, 0, || c.dy()?.threshold_backward(c.input(1)?))?, None])
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Map(|l| {
            let (dy, x, dtype) = (l.input(0)?, l.input(1)?, l.dtype(0));
            let zero = l.region.constant(0.0, dtype);
            let closed = l.region.binary(kernels::loops::BinaryOp::Le, x, zero);
            let dx = l.region.select(closed, zero, dy);
            l.output(dx);
            Ok(())
        }),
        samples: pairs,
        errors: pair_errors,
    }
}

impl Tensor {
    /// x times the normal distribution function of x; `approximate` is "none" or "tanh".
    #[track_caller]
    pub fn gelu(&self, approximate: &str) -> Result<Tensor> {
        // The exact form takes no attribute, so that it runs on the direct path.
        if approximate == "none" {
            return bind1(&GELU, &[Arg::Tensor(self)]);
        }
        bind1(&GELU, &[Arg::Tensor(self), Arg::Str(approximate)])
    }

    /// log(1 + e^(beta x)) / beta, and x itself where beta x is above the threshold.
    #[track_caller]
    pub fn softplus(&self, beta: f64, threshold: f64) -> Result<Tensor> {
        bind1(&SOFTPLUS, &[Arg::Tensor(self), Arg::Float(beta), Arg::Float(threshold)])
    }
}

methods! {
    unary:
    /// x times the logistic function of x.
    silu SILU;
}

methods! {
    pair:
    /// `self`, a cotangent, times the derivative of sigmoid where its value is `other`.
    sigmoid_backward SIGMOID_BACKWARD;
    /// `self`, a cotangent, times the derivative of tanh where its value is `other`.
    tanh_backward TANH_BACKWARD;
    /// `self`, a cotangent, where `other` is positive, else 0.
    threshold_backward THRESHOLD_BACKWARD;
}
