//! Activations beyond one element and its numbers: a threshold with another value, relu6, a learned slope for each
//! channel, and the gated half.

use super::rules::{
    Formula, chain, f32s, finish, float_samples, i64s, methods, same_float, same_number, wanted, wide,
};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Dim, Infer, Types, wrap_dim};
use crate::lower::{Lowering, Steps, View};
use crate::samples::{host, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use smallvec::smallvec;

/// The dimension to be halved.
fn halved(c: &Infer) -> Result<(usize, Dim)> {
    let t = c.tensor(0)?;
    if t.rank() == 0 {
        return Err(Error::shape("a tensor of rank 0 has no halves"));
    }
    let dim = if c.host(1)?.is_none() { t.rank() - 1 } else { c.dim(1, t.rank())? };
    match t.shape[dim].known().is_some_and(|n| n % 2 == 1) {
        true => Err(Error::shape(format!("{t} cannot be halved along dimension {dim}")).at_dim(dim as isize)),
        false => {
            let half = t.shape[dim].over(Dim::constant(2));
            Ok((dim, half.ok_or_else(|| Error::internal("an even extent has a half"))?))
        }
    }
}

fn infer_glu(c: &Infer) -> Result<Types> {
    let mut out = same_float(c)?;
    let (dim, half) = halved(c)?;
    out[0].shape[dim] = half;
    Ok(out)
}

fn dim_or_last(arg: Arg, rank: usize) -> Result<usize> {
    if arg.is_none() { Ok(rank.saturating_sub(1)) } else { wrap_dim(arg.int()?, rank) }
}

fn lower_glu(s: &mut Steps) -> Result<()> {
    let (x, out) = (s.input(0)?, s.output(0));
    let dim = dim_or_last(s.host(1)?, x.layout.rank())?;
    let n = x.layout.shape[dim] / 2;
    let half = |at: usize| View { layout: x.layout.slice(dim, at, n, 1), ..x.clone() };
    let wide = x.dtype.accumulator();
    s.region(&[&half(0), &half(n)], &[&out], |r, nodes| {
        let (a, b) = (r.cast(nodes[0], wide), r.cast(nodes[1], wide));
        let mut f = Formula { region: r, dtype: wide };
        let gate = f.sigmoid(b);
        let y = f.mul(a, gate);
        Ok(smallvec![f.region.cast(y, x.dtype)])
    })
}

fn glu_gradient(c: &VjpContext, dy: &Tensor) -> Result<Tensor> {
    let x = c.input(0)?;
    let dim = dim_or_last(c.host(1)?, x.rank())?;
    let (at, n) = (dim as i64, (x.shape()[dim] / 2) as i64);
    let (a, b) = (x.narrow(at, 0, n)?, x.narrow(at, n, n)?);
    let gate = b.sigmoid()?;
    let left = dy.mul(&gate)?;
    let right = dy.mul(&a)?.sigmoid_backward(&gate)?;
    Tensor::cat(&[left, right], at)
}

/// One slope, or one for each place of dimension 1.
fn infer_prelu(c: &Infer) -> Result<Types> {
    let (x, weight) = (c.tensor(0)?, c.tensor(1)?);
    if weight.dtype != x.dtype {
        return Err(Error::dtype(format!(
            "expected operands of one type, got {} and {}",
            x.dtype, weight.dtype
        )));
    }
    let channels = if x.rank() > 1 { x.shape[1] } else { Dim::ONE };
    let fits = weight.numel().is(1) || (weight.rank() == 1 && weight.shape[0] == channels);
    match fits && weight.rank() <= 1 {
        true => same_float(c),
        false => Err(Error::shape(format!("slopes {weight} do not fit the channels of {x}"))),
    }
}

fn lower_prelu(l: &mut Lowering) -> Result<()> {
    let (x, mut weight) = (wide(l, 0)?, wide(l, 1)?);
    let rank = l.region.shape(x).len();
    if l.region.shape(weight).len() == 1 {
        match rank {
            0 => weight = l.region.squeeze(weight, 0),
            _ => {
                for _ in 2..rank {
                    let last = l.region.shape(weight).len();
                    weight = l.region.unsqueeze(weight, last);
                }
            }
        }
    }
    let mut f = Formula::of(l);
    let (zero, low) = (f.number(0.0), f.mul(weight, x));
    let positive = f.gt(x, zero);
    let y = f.select(positive, x, low);
    finish(l, y);
    Ok(())
}

/// Slopes laid over the channels.
fn over_channels(weight: &Tensor, rank: usize) -> Result<Tensor> {
    let mut shape = vec![1i64; rank.max(1)];
    match rank {
        0 => shape.clear(),
        1 => {}
        _ => shape[1] = -1,
    }
    weight.reshape(&shape)
}

fn prelu_gradients(c: &VjpContext) -> Result<Gradients> {
    let (dy, x, weight) = (c.dy()?, c.input(0)?, c.input(1)?);
    let positive = x.gt(0.0)?;
    Ok(smallvec![
        wanted(c, 0, || positive.select_where(dy, &dy.mul(&over_channels(weight, x.rank())?)?))?,
        wanted(c, 1, || {
            let each = dy.mul(x)?.masked_fill(&positive, 0.0)?;
            let mut shape = vec![1usize; x.rank()];
            if weight.numel() > 1 {
                shape[1] = weight.numel();
            }
            each.sum_to_size(&shape)?.reshape(&super::rules::ints(weight.shape()))
        })?,
    ])
}

ops! {
    /// The element where it is above the threshold, else the value.
    THRESHOLD = "threshold(Tensor self, Scalar threshold, Scalar value) -> Tensor" {
        infer: |c| {
            c.host(1)?.float()?;
            c.host(2)?.float()?;
            same_number(c)
        },
        vjp: Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.masked_fill(&c.input(0)?.le(c.host(1)?)?, 0.0))),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Map(|l| {
            let dtype = l.dtype(0);
            let (x, bound, value) = (l.operand(0, dtype)?, l.operand(1, dtype)?, l.operand(2, dtype)?);
            let low = l.region.binary(kernels::loops::BinaryOp::Le, x, bound);
            let y = l.region.select(low, value, x);
            l.output(y);
            Ok(())
        }),
        samples: |s| {
            let d = s.dtype;
            if d != DType::Bool {
                s.case([tensor(d, &[3, 4], 0.0, 5.0), host(2i64), host(7i64)]);
                s.case([tensor(d, &[0], 0.0, 5.0), host(2i64), host(7i64)]);
            }
            if d.is_float() {
                s.case([tensor(d, &[40], -3.0, 3.0), host(0.5), host(-1.5)]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::DType, [tensor(DType::Bool, &[2], 0.0, 1.0), host(0i64), host(1i64)]);
            e.case(ErrorKind::Value, [f32s(&[2]), host(0.5), host("low")]);
        },
    }
    /// The element held within [0, 6].
    RELU6 = "relu6(Tensor self) -> Tensor" {
        infer: same_float,
        vjp: Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| {
            let bounds = [0.0, 6.0].map(Arg::Float);
            bind1(&super::HARDTANH_BACKWARD, &[Arg::Tensor(dy), Arg::Tensor(c.input(0)?), bounds[0], bounds[1]])
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<2>,
        lower: Lower::Map(|l| super::rules::lower_formula(l, |f, x| {
            let (zero, six) = (f.number(0.0), f.number(6.0));
            let low = f.max(x, zero);
            f.min(low, six)
        })),
        samples: |s| float_samples(s, -3.0, 9.0),
        errors: |e| e.case(ErrorKind::DType, [i64s(&[2])]),
    }
    /// x where it is positive, else x times a slope, one for all or one for each channel (dimension 1).
    PRELU = "prelu(Tensor self, Tensor weight) -> Tensor" {
        infer: infer_prelu,
        vjp: Vjp::Rule(Saves::INPUTS, prelu_gradients),
        effect: Effect::Pure,
        cost: cost::per_output::<2>,
        lower: Lower::Loop(lower_prelu),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let t = |dims: &[usize]| tensor(d, dims, -2.0, 2.0);
                s.case([t(&[2, 3]), t(&[3])]);
                s.case([t(&[2, 3, 4]), t(&[3])]);
                s.case([t(&[2, 3, 4]), t(&[1])]);
                s.case([t(&[5]), t(&[1])]);
                s.case([t(&[]), t(&[])]);
                s.case([t(&[0, 2]), t(&[2])]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[2, 3]), f32s(&[2])]);
            e.case(ErrorKind::DType, [f32s(&[2, 3]), tensor(DType::F64, &[3], 0.0, 1.0)]);
        },
    }
    /// The first half along a dimension times the logistic function of the second.
    GLU = "glu(Tensor self, int? dim=None) -> Tensor" {
        infer: infer_glu,
        vjp: Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| glu_gradient(c, dy))),
        effect: Effect::Pure,
        cost: cost::per_output::<13>,
        lower: Lower::Steps(lower_glu),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let t = |dims: &[usize]| tensor(d, dims, -2.0, 2.0);
                s.case([t(&[3, 4])]);
                s.case([t(&[4, 3]), host(0i64)]);
                s.case([t(&[2, 6, 3]), host(-2i64)]);
                s.case([t(&[3, 0])]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[2, 3])]);
            e.case(ErrorKind::Shape, [f32s(&[])]);
            e.case(ErrorKind::Index, [f32s(&[2, 4]), host(2i64)]);
        },
    }
}

methods! {
    unary:
    /// The element held within [0, 6].
    relu6 RELU6;
}

methods! {
    pair:
    /// x where it is positive, else x times a slope: `other`, one for all or one for each channel (dimension 1).
    prelu PRELU;
}

impl Tensor {
    /// The element where it is above `threshold`, else `value`.
    #[track_caller]
    pub fn threshold<'a>(
        &'a self,
        threshold: impl Into<Arg<'a>>,
        value: impl Into<Arg<'a>>,
    ) -> Result<Tensor> {
        bind1(&THRESHOLD, &[Arg::Tensor(self), threshold.into(), value.into()])
    }

    /// The first half along `dim` times the logistic function of the second.
    #[track_caller]
    pub fn glu(&self, dim: i64) -> Result<Tensor> {
        bind1(&GLU, &[Arg::Tensor(self), Arg::Int(dim)])
    }
}
