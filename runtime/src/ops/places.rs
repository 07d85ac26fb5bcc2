//! Extrema with their places along one dimension, and both extrema at once.

use super::extrema::{nonempty, share_of};
use super::reduction::reduced_dims;
use super::rules::{f32s, flag, wanted};
use crate::door::bind;
use crate::error::{Error, ErrorKind, Origin, Result};
use crate::infer::{Infer, TensorType, Types, reduced, wrap_dim};
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, Samples, exact, host, none, tensor};
use crate::table::{Effect, Gradients, Lower, OpDef, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::ReduceOp;
use smallvec::smallvec;

/// Values and their places; the dimension is not optional.
fn infer_placed(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    c.dim(1, t.rank())?;
    let dims = c.dims(1, t.rank())?;
    nonempty(c, &dims)?;
    let shape = reduced(&t.shape, &dims, flag(c.host(2)?)?);
    Ok(smallvec![
        TensorType { dtype: t.dtype, shape: shape.clone() },
        TensorType { dtype: DType::I64, shape }
    ])
}

fn infer_both(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    if !c.host(1)?.is_none() {
        c.dim(1, t.rank())?;
    }
    let dims = c.dims(1, t.rank())?;
    nonempty(c, &dims)?;
    let each = TensorType { dtype: t.dtype, shape: reduced(&t.shape, &dims, flag(c.host(2)?)?) };
    Ok(smallvec![each.clone(), each])
}

/// Two reductions of one row.
fn lower_two(l: &mut Lowering, first: ReduceOp, second: ReduceOp) -> Result<()> {
    let (dims, keepdim) = (reduced_dims(l)?, flag(l.host(2)?)?);
    let x = l.input(0)?;
    for op in [first, second] {
        let y = l.region.reduce(op, x, &dims, keepdim);
        l.output(y);
    }
    Ok(())
}

/// The cotangent at the place of the extremum.
fn at_place(c: &VjpContext) -> Result<Gradients> {
    Ok(smallvec![wanted(c, 0, || {
        let (dy, places, ty) = (c.dy()?, c.output(1)?, c.input_type(0)?);
        let dims = ty.constant_dims()?;
        if dims.is_empty() {
            return Ok(dy.clone());
        }
        let dim = wrap_dim(c.host(1)?.int()?, dims.len())? as i64;
        let zeros = Tensor::zeros(&dims, ty.dtype, dy.device())?;
        match flag(c.host(2)?)? {
            true => zeros.scatter(dim, places, dy),
            false => zeros.scatter(dim, &places.unsqueeze(dim)?, &dy.unsqueeze(dim)?),
        }
    })?])
}

fn placed_samples(s: &mut Samples) {
    let d = s.dtype;
    let t = |dims: &[usize]| tensor(d, dims, 0.0, 90.0);
    s.case([t(&[3, 4]), host(1i64)]);
    s.case([t(&[3, 4]), host(0i64), host(true)]);
    s.case([t(&[2, 3, 4]), host(-2i64), host(false)]);
    s.case([t(&[]), host(0i64)]);
    s.case([t(&[70]), host(0i64), host(true)]);
    s.case([exact(d, &[4], &[1i64, 0, 1, 0]), host(0i64)]);
}

fn placed_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::Index, [f32s(&[2, 3]), host(2i64)]);
    e.case(ErrorKind::Shape, [f32s(&[0]), host(0i64)]);
}

ops! {
    /// Largest elements along a dimension and the places of the first of them.
    MAX = "max(Tensor self, int dim, bool keepdim=False) -> (Tensor, Tensor)" {
        infer: infer_placed,
        vjp: Vjp::Rule(Saves { outputs: 2, ..Saves::NOTHING }, at_place),
        effect: Effect::Pure,
        cost: cost::per_input::<2>,
        lower: Lower::Loop(|l| lower_two(l, ReduceOp::Max, ReduceOp::ArgMax)),
        samples: placed_samples,
        errors: placed_errors,
    }
    /// Smallest elements along a dimension and the places of the first of them.
    MIN = "min(Tensor self, int dim, bool keepdim=False) -> (Tensor, Tensor)" {
        infer: infer_placed,
        vjp: Vjp::Rule(Saves { outputs: 2, ..Saves::NOTHING }, at_place),
        effect: Effect::Pure,
        cost: cost::per_input::<2>,
        lower: Lower::Loop(|l| lower_two(l, ReduceOp::Min, ReduceOp::ArgMin)),
        samples: placed_samples,
        errors: placed_errors,
    }
    /// Smallest and largest element along one dimension, or of the whole tensor.
    AMINMAX = "aminmax(Tensor self, *, int? dim=None, bool keepdim=False) -> (Tensor, Tensor)" {
        infer: infer_both,
        vjp: Vjp::Rule(Saves { outputs: 3, ..Saves::INPUTS }, |c| Ok(smallvec![wanted(c, 0, || {
            let mut total: Option<Tensor> = None;
            for (i, dy) in c.cotangents.iter().enumerate() {
                let Some(dy) = dy else { continue };
                let part = share_of(c, c.output(i)?, dy)?;
                total = Some(match total {
                    Some(sum) => sum.add(&part)?,
                    None => part,
                });
            }
            total.ok_or_else(|| Error::internal("no cotangent"))
        })?])),
        effect: Effect::Pure,
        cost: cost::per_input::<2>,
        lower: Lower::Loop(|l| lower_two(l, ReduceOp::Min, ReduceOp::Max)),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 30.0);
            s.case([t(&[3, 4])]);
            s.case([t(&[3, 4]), host(0i64), host(true)]);
            s.case([t(&[2, 3, 4]), host(-1i64), host(false)]);
            s.case([t(&[]), none(), host(false)]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[2, 3]), host(2i64)]);
            e.case(ErrorKind::Shape, [f32s(&[0, 3])]);
        },
    }
}

/// Both outputs of an op.
#[track_caller]
pub(super) fn both(op: &'static OpDef, args: &[Arg]) -> Result<(Tensor, Tensor)> {
    let mut outputs = bind(op, args, Origin::caller())?.into_iter();
    match (outputs.next(), outputs.next()) {
        (Some(first), Some(second)) => Ok((first, second)),
        _ => Err(Error::internal("the op made fewer than two outputs")),
    }
}

impl Tensor {
    /// Largest elements along `dim` and the places of the first of them (torch's `max` with a dimension).
    #[track_caller]
    pub fn max_along(&self, dim: i64, keepdim: bool) -> Result<(Tensor, Tensor)> {
        both(&MAX, &[Arg::Tensor(self), Arg::Int(dim), Arg::Bool(keepdim)])
    }

    /// Smallest elements along `dim` and the places of the first of them (torch's `min` with a dimension).
    #[track_caller]
    pub fn min_along(&self, dim: i64, keepdim: bool) -> Result<(Tensor, Tensor)> {
        both(&MIN, &[Arg::Tensor(self), Arg::Int(dim), Arg::Bool(keepdim)])
    }

    /// Smallest and largest element along `dim`, or of the whole tensor.
    #[track_caller]
    pub fn aminmax(&self, dim: Option<i64>, keepdim: bool) -> Result<(Tensor, Tensor)> {
        both(&AMINMAX, &[Arg::Tensor(self), dim.into(), Arg::Bool(keepdim)])
    }
}
