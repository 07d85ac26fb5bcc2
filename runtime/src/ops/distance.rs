//! Losses between tensors of one shape: mse_loss and binary_cross_entropy_with_logits. Each is one loop program, its mean
//! or sum included; gradients are ordinary tensor code.

use super::arithmetic::unbroadcast;
use super::loss::{Reduction, reduction};
use super::rules::{Formula, f32s, finish, float_only, i64s, one, wanted, wide};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, Shape, Types, broadcast};
use crate::lower::Lowering;
use crate::samples::{host, none, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::Dims;
use kernels::loops::{Node, ReduceOp};

/// Floats of one type whose shapes broadcast; the reduction is operand `at`.
pub(super) fn infer_distance(c: &Infer, at: usize) -> Result<Types> {
    let dtype = c.tensor(0)?.dtype;
    float_only(dtype)?;
    let mut shape = Shape::new();
    for t in c.all_tensors() {
        if t.dtype != dtype {
            return Err(Error::dtype(format!("expected operands of one type, got {dtype} and {}", t.dtype)));
        }
        shape = broadcast(&shape, &t.shape)?;
    }
    match reduction(c.host(at)?)? {
        Reduction::None => one(dtype, shape),
        Reduction::Mean | Reduction::Sum => one(dtype, Shape::new()),
    }
}

/// Rows to the result.
pub(super) fn reduced(l: &mut Lowering, rows: Node, at: usize) -> Result<()> {
    let how = reduction(l.host(at)?)?;
    let all: Dims = (0..l.region.shape(rows).len()).collect();
    let mut f = Formula::of(l);
    let y = match how {
        Reduction::None => rows,
        Reduction::Sum => f.region.reduce(ReduceOp::Sum, rows, &all, false),
        Reduction::Mean => {
            let dtype = f.dtype;
            let sum = f.region.reduce(ReduceOp::Sum, rows, &all, false);
            let count = f.region.count(rows, &all, dtype);
            f.div(sum, count)
        }
    };
    finish(l, y);
    Ok(())
}

/// The cotangent of each row.
pub(super) fn per_row(c: &VjpContext, at: usize) -> Result<Tensor> {
    let dy = c.dy()?;
    let mut shape = Shape::new();
    for i in 0..c.args.len() {
        if c.is_tensor(i) {
            shape = broadcast(&shape, &c.input_type(i)?.shape)?;
        }
    }
    let count: f64 = shape.iter().map(|d| d.known().unwrap_or(1) as f64).product();
    match reduction(c.host(at)?)? {
        Reduction::Mean => dy.mul(1.0 / count),
        Reduction::Sum | Reduction::None => Ok(dy.clone()),
    }
}

/// log(1 + e^-x) without overflow.
fn soft_minus(x: &Tensor) -> Result<Tensor> {
    x.neg()?.softplus(1.0, f64::INFINITY).and_then(|soft| {
        // Beyond 30 the logarithm is the argument to the last bit of f64.
        bind1(&super::WHERE, &[Arg::Tensor(&x.lt(-30.0)?), Arg::Tensor(&x.neg()?), Arg::Tensor(&soft)])
    })
}

fn bce_gradients(c: &VjpContext) -> Result<Gradients> {
    let (x, t) = (c.input(0)?, c.input(1)?);
    let plain = per_row(c, 4)?;
    let dy = if c.is_tensor(2) { plain.mul(c.input(2)?)? } else { plain.clone() };
    let positive = if c.is_tensor(3) { Some(c.input(3)?) } else { None };
    let mut out = Gradients::new();
    out.push(wanted(c, 0, || {
        // (1 - t) - (1 + (p - 1) t) sigmoid(-x)
        let falling = x.neg()?.sigmoid()?;
        let falling = match positive {
            Some(p) => falling.mul(&p.sub(1.0)?.mul(t)?.add(1.0)?)?,
            None => falling,
        };
        unbroadcast(c, 0, dy.mul(&t.neg()?.add(1.0)?.sub(&falling)?)?)
    })?);
    out.push(wanted(c, 1, || {
        let slope = match positive {
            Some(p) => p.sub(1.0)?.mul(&soft_minus(x)?)?.sub(x)?,
            None => x.neg()?,
        };
        unbroadcast(c, 1, dy.mul(&slope)?)
    })?);
    if c.is_tensor(2) {
        out.push(wanted(c, 2, || {
            let args = [Arg::Tensor(x), Arg::Tensor(t), Arg::None, c.arg(3)?, Arg::Str("none")];
            unbroadcast(c, 2, plain.mul(&bind1(&BCE_WITH_LOGITS, &args)?)?)
        })?);
    }
    if c.is_tensor(3) {
        let at = 2 + c.is_tensor(2) as usize;
        out.push(wanted(c, at, || unbroadcast(c, 3, dy.mul(t)?.mul(&soft_minus(x)?)?))?);
    }
    Ok(out)
}

fn lower_bce(l: &mut Lowering) -> Result<()> {
    let (x, t) = (wide(l, 0)?, wide(l, 1)?);
    let weight = if l.is_tensor(2) { Some(wide(l, 2)?) } else { None };
    let positive = if l.is_tensor(3) { Some(wide(l, 3)?) } else { None };
    let mut f = Formula::of(l);
    let (zero, one) = (f.number(0.0), f.number(1.0));
    let rest = f.sub(one, t);
    let linear = f.mul(rest, x);
    // log(1 + e^-x) = log1p(e^-|x|) + max(-x, 0)
    let size = f.abs(x);
    let size = f.neg(size);
    let tail = f.exp(size);
    let tail = f.log1p(tail);
    let minus = f.neg(x);
    let rise = f.max(minus, zero);
    let mut soft = f.add(tail, rise);
    if let Some(p) = positive {
        let extra = f.sub(p, one);
        let extra = f.mul(extra, t);
        let factor = f.add(one, extra);
        soft = f.mul(factor, soft);
    }
    let mut rows = f.add(linear, soft);
    if let Some(w) = weight {
        rows = f.mul(rows, w);
    }
    reduced(l, rows, 4)
}

ops! {
    /// Squared differences: each, their mean or their sum.
    MSE_LOSS = "mse_loss(Tensor self, Tensor target, str reduction='mean') -> Tensor" {
        infer: |c| infer_distance(c, 2),
        vjp: Vjp::Rule(Saves::INPUTS, |c| {
            let slope = per_row(c, 2)?.mul(&c.input(0)?.sub(c.input(1)?)?.mul(2.0)?)?;
            let mut out = Gradients::new();
            out.push(wanted(c, 0, || unbroadcast(c, 0, slope.clone()))?);
            out.push(wanted(c, 1, || unbroadcast(c, 1, slope.neg()?))?);
            Ok(out)
        }),
        effect: Effect::Pure,
        cost: cost::per_input::<3>,
        lower: Lower::Loop(|l| {
            let (a, b) = (wide(l, 0)?, wide(l, 1)?);
            let mut f = Formula::of(l);
            let difference = f.sub(a, b);
            let rows = f.mul(difference, difference);
            reduced(l, rows, 2)
        }),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let t = |dims: &[usize]| tensor(d, dims, -1.0, 2.0);
                for word in ["mean", "sum", "none"] {
                    s.case([t(&[3, 4]), t(&[3, 4]), host(word)]);
                    s.case([t(&[]), t(&[]), host(word)]);
                }
                s.case([t(&[0, 2]), t(&[0, 2]), host("none")]);
                s.case([t(&[70]), t(&[70])]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3]), f32s(&[4])]);
            e.case(ErrorKind::DType, [i64s(&[3]), i64s(&[3])]);
            e.case(ErrorKind::Value, [f32s(&[3]), f32s(&[3]), host("average")]);
        },
    }
    /// The cross entropy of truths and the logistic function of scores: each, their mean or their sum.
    BCE_WITH_LOGITS = "binary_cross_entropy_with_logits(Tensor self, Tensor target, Tensor? weight=None, Tensor? pos_weight=None, str reduction='mean') -> Tensor" {
        infer: |c| infer_distance(c, 4),
        vjp: Vjp::Rule(Saves::INPUTS, bce_gradients),
        effect: Effect::Pure,
        cost: cost::per_input::<25>,
        lower: Lower::Loop(lower_bce),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let t = |dims: &[usize]| tensor(d, dims, -3.0, 3.0);
                let truth = |dims: &[usize]| tensor(d, dims, 0.0, 1.0);
                for word in ["mean", "sum", "none"] {
                    s.case([t(&[3, 4]), truth(&[3, 4]), none(), none(), host(word)]);
                }
                s.case([t(&[3, 4]), truth(&[3, 4]), truth(&[4]), tensor(d, &[4], 0.5, 2.0), host("mean")]);
                s.case([t(&[]), truth(&[])]);
            }
        },
        errors: |e| e.case(ErrorKind::Shape, [f32s(&[3]), f32s(&[4])]),
    }
}

impl Tensor {
    /// Squared differences; `reduction` is "mean", "sum" or "none".
    #[track_caller]
    pub fn mse_loss(&self, target: &Tensor, reduction: &str) -> Result<Tensor> {
        bind1(&MSE_LOSS, &[Arg::Tensor(self), Arg::Tensor(target), Arg::Str(reduction)])
    }

    /// The cross entropy of truths and the logistic function of these scores.
    #[track_caller]
    pub fn binary_cross_entropy_with_logits(
        &self,
        target: &Tensor,
        weight: Option<&Tensor>,
        pos_weight: Option<&Tensor>,
        reduction: &str,
    ) -> Result<Tensor> {
        let args =
            [Arg::Tensor(self), Arg::Tensor(target), weight.into(), pos_weight.into(), Arg::Str(reduction)];
        bind1(&BCE_WITH_LOGITS, &args)
    }
}
