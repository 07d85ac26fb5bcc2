//! Losses that are minus the logarithm of a likelihood: Poisson's and Gauss's.

use super::distance::infer_distance;
use super::regression::{WORDS, bounded, difference, gradients, lower_rows, misfits, two};
use super::rules::{Formula, f32s, flag, float_or, in_float32};
use crate::door::bind1;
use crate::error::{ErrorKind, Result};
use crate::samples::{host, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::loops::Node;
use std::f64::consts::{PI, TAU};

/// The numbers of poisson_nll_loss: whether x is a logarithm, whether Stirling's term counts, eps.
fn poisson(arg: impl Fn(usize) -> Result<Arg<'static>>) -> Result<(bool, bool, f64)> {
    let log = arg(2)?;
    Ok((log.is_none() || log.bool()?, flag(arg(3)?)?, float_or(arg(4)?, 1e-8)?))
}

/// A host operand that is no text, freed from its call.
fn plain(arg: Arg) -> Arg<'static> {
    match arg {
        Arg::Bool(b) => Arg::Bool(b),
        Arg::Int(n) => Arg::Int(n),
        Arg::Float(n) => Arg::Float(n),
        _ => Arg::None,
    }
}

fn poisson_rows(f: &mut Formula, x: Node, t: Node, (log, full, eps): (bool, bool, f64)) -> Node {
    let rows = if log {
        let (rate, cross) = (f.exp(x), f.mul(t, x));
        f.sub(rate, cross)
    } else {
        let eps = f.number(eps);
        let moved = f.add(x, eps);
        let log = f.log(moved);
        let cross = f.mul(t, log);
        f.sub(x, cross)
    };
    if !full {
        return rows;
    }
    // Stirling's approximation of log t!, which counts above 1.
    let (one, zero, log) = (f.number(1.0), f.number(0.0), f.log(t));
    let own = f.mul(t, log);
    let own = f.sub(own, t);
    let circle = f.scale(t, TAU);
    let circle = f.log(circle);
    let circle = f.scale(circle, 0.5);
    let term = f.add(own, circle);
    let small = f.le(t, one);
    let term = f.select(small, zero, term);
    f.add(rows, term)
}

fn poisson_value_slope(c: &VjpContext) -> Result<Tensor> {
    let (x, t) = (c.input(0)?, c.input(1)?);
    let (log, _, eps) = poisson(|i| Ok(plain(c.host(i)?)))?;
    if log { x.exp()?.sub(t) } else { t.div(&x.add(eps)?)?.neg()?.add(1.0) }
}

fn poisson_target_slope(c: &VjpContext) -> Result<Tensor> {
    let (x, t) = (c.input(0)?, c.input(1)?);
    let (log, full, eps) = poisson(|i| Ok(plain(c.host(i)?)))?;
    let slope = if log { x.neg()? } else { x.add(eps)?.log()?.neg()? };
    if !full {
        return Ok(slope);
    }
    let small = t.le(1.0)?;
    let held = t.masked_fill(&small, 1.0)?;
    let term = held.log()?.add(&held.reciprocal()?.mul(0.5)?)?;
    slope.add(&term.masked_fill(&small, 0.0)?)
}

/// The variance, not below eps.
fn variance(c: &VjpContext) -> Result<Tensor> {
    c.input(2)?.clamp(float_or(c.host(4)?, 1e-6)?, Arg::None)
}

fn gaussian_value_slope(c: &VjpContext) -> Result<Tensor> {
    difference(c)?.div(&variance(c)?)
}

ops! {
    /// Minus the logarithm of Poisson's probability of the target at rate self (or e^self), without its constant or with
    /// Stirling's approximation of it.
    POISSON_NLL_LOSS = "poisson_nll_loss(Tensor self, Tensor target, bool log_input=True, bool full=False, float eps=1e-08, str reduction='mean') -> Tensor" {
        infer: |c| {
            poisson(|i| Ok(plain(c.host(i)?)))?;
            infer_distance(c, 5)
        },
        vjp: Vjp::Rule(Saves::INPUTS, |c| gradients(c, 5, &[poisson_value_slope, poisson_target_slope])),
        effect: Effect::Pure,
        cost: cost::per_input::<30>,
        lower: Lower::Loop(|l| {
            let how = poisson(|i| Ok(plain(l.host(i)?)))?;
            lower_rows(l, 5, |f, n| poisson_rows(f, n[0], n[1], how))
        }),
        samples: |s| {
            two(s, -2.0, 2.0, (0.0, 4.0), &[host(true), host(false), host(1e-8)], &[]);
            two(s, 0.2, 3.0, (0.0, 4.0), &[host(false), host(true), host(1e-8)], &[]);
        },
        errors: misfits,
    }
    /// Half of log(var) + (self - target)^2 / var, the variance not below eps; with its constant where `full`.
    GAUSSIAN_NLL_LOSS = "gaussian_nll_loss(Tensor self, Tensor target, Tensor var, bool full=False, float eps=1e-06, str reduction='mean') -> Tensor" {
        infer: |c| {
            flag(c.host(3)?)?;
            bounded(c, 4, 1e-6, false)?;
            c.tensor(2)?;
            infer_distance(c, 5)
        },
        vjp: Vjp::Rule(Saves::INPUTS, |c| in_float32(c, |c| gradients(c, 5, &[
            gaussian_value_slope,
            |c| gaussian_value_slope(c)?.neg(),
            |c| {
                let v = variance(c)?;
                difference(c)?.square()?.div(&v)?.neg()?.add(1.0)?.div(&v)?.mul(0.5)
            },
        ]))),
        effect: Effect::Pure,
        cost: cost::per_input::<16>,
        lower: Lower::Loop(|l| {
            let (full, eps) = (flag(l.host(3)?)?, float_or(l.host(4)?, 1e-6)?);
            lower_rows(l, 5, |f, n| {
                let eps = f.number(eps);
                let v = f.max(n[2], eps);
                let apart = f.sub(n[0], n[1]);
                let square = f.mul(apart, apart);
                let (log, ratio) = (f.log(v), f.div(square, v));
                let sum = f.add(log, ratio);
                let half = f.scale(sum, 0.5);
                let constant = f.number(if full { 0.5 * (2.0 * PI).ln() } else { 0.0 });
                f.add(half, constant)
            })
        }),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let (t, v) = (|dims: &[usize]| tensor(d, dims, -1.0, 2.0), |dims: &[usize]| tensor(d, dims, 0.3, 2.0));
                for word in WORDS {
                    s.case([t(&[3, 4]), t(&[3, 4]), v(&[3, 4]), host(false), host(1e-6), host(word)]);
                }
                s.case([t(&[3, 4]), t(&[3, 4]), v(&[3, 1]), host(true)]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3]), f32s(&[3]), f32s(&[2])]);
            e.case(ErrorKind::Value, [f32s(&[3]), f32s(&[3]), f32s(&[3]), host(false), host(0.0)]);
        },
    }
}

impl Tensor {
    /// Minus the logarithm of Poisson's probability of the target at this rate (its logarithm where `log_input`).
    #[track_caller]
    pub fn poisson_nll_loss(
        &self,
        target: &Tensor,
        log_input: bool,
        full: bool,
        eps: f64,
        reduction: &str,
    ) -> Result<Tensor> {
        let (x, t) = (Arg::Tensor(self), Arg::Tensor(target));
        let (log_input, full) = (Arg::Bool(log_input), Arg::Bool(full));
        bind1(&POISSON_NLL_LOSS, &[x, t, log_input, full, Arg::Float(eps), Arg::Str(reduction)])
    }

    /// Minus the logarithm of the normal density of the target around this mean.
    #[track_caller]
    pub fn gaussian_nll_loss(
        &self,
        target: &Tensor,
        var: &Tensor,
        full: bool,
        eps: f64,
        reduction: &str,
    ) -> Result<Tensor> {
        // One variance for each row, as torch reads this shape.
        let by_row = var.shape() != self.shape()
            && self.shape().split_last().is_some_and(|(_, rows)| rows == var.shape());
        let var = if by_row { var.unsqueeze(-1)? } else { var.clone() };
        let (x, t, v) = (Arg::Tensor(self), Arg::Tensor(target), Arg::Tensor(&var));
        bind1(&GAUSSIAN_NLL_LOSS, &[x, t, v, Arg::Bool(full), Arg::Float(eps), Arg::Str(reduction)])
    }
}
