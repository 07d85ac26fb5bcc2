//! Reductions that choose: largest, smallest, their places, any and all.

use super::reduction::{expand_reduced, reduced_dims, reduction_errors, reduction_samples};
use super::rules::{f32s, flag, methods, one, wanted};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, Types, reduced};
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, Samples, exact, host, none, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::ReduceOp;
use smallvec::smallvec;

/// An extremum of no elements does not exist.
pub(super) fn nonempty(c: &Infer, dims: &[usize]) -> Result<()> {
    let t = c.tensor(0)?;
    match dims.iter().find(|&&d| t.shape[d].is(0)) {
        Some(&d) => Err(Error::shape("there is no largest or smallest of no elements").at_dim(d as isize)),
        None => Ok(()),
    }
}

fn infer_extremum(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    let dims = c.dims(1, t.rank())?;
    nonempty(c, &dims)?;
    one(t.dtype, reduced(&t.shape, &dims, flag(c.host(2)?)?))
}

/// One dim, or the flattened tensor.
fn infer_place(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    if t.dtype == DType::Bool {
        return Err(Error::dtype("not defined for bool tensors"));
    }
    if !c.host(1)?.is_none() {
        c.dim(1, t.rank())?;
    }
    let dims = c.dims(1, t.rank())?;
    nonempty(c, &dims)?;
    one(DType::I64, reduced(&t.shape, &dims, flag(c.host(2)?)?))
}

/// torch keeps uint8 in `any` and `all`.
fn infer_truth(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    let dims = c.dims(1, t.rank())?;
    let dtype = if t.dtype == DType::U8 { DType::U8 } else { DType::Bool };
    one(dtype, reduced(&t.shape, &dims, flag(c.host(2)?)?))
}

fn lower_reduce(l: &mut Lowering, op: ReduceOp) -> Result<()> {
    let (dims, keepdim) = (reduced_dims(l)?, flag(l.host(2)?)?);
    let x = l.input(0)?;
    let y = l.region.reduce(op, x, &dims, keepdim);
    l.output(y);
    Ok(())
}

fn lower_truth(l: &mut Lowering, op: ReduceOp) -> Result<()> {
    let (dims, keepdim, dtype) = (reduced_dims(l)?, flag(l.host(2)?)?, l.dtype(0));
    let x = l.operand(0, DType::Bool)?;
    let y = l.region.reduce(op, x, &dims, keepdim);
    let y = l.region.cast(y, dtype);
    l.output(y);
    Ok(())
}

/// Elements that equal the extremum share the gradient evenly (torch).
pub(super) fn share_of(c: &VjpContext, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let x = c.input(0)?;
    let dims = crate::infer::wrap_dims(c.host(1)?, x.rank())?;
    let (y, dy) = (expand_reduced(c, y)?, expand_reduced(c, dy)?);
    let ties = x.eq(&y)?.to(dy.dtype())?;
    let count = ties.sum(&super::rules::ints(&dims), true)?;
    dy.mul(&ties)?.div(&if dims.is_empty() { ties } else { count })
}

fn share(c: &VjpContext) -> Result<Gradients> {
    Ok(smallvec![wanted(c, 0, || share_of(c, c.output(0)?, c.dy()?))?])
}

fn extremum_samples(s: &mut Samples) {
    reduction_samples(s, 0.0, 30.0);
    s.case([exact(s.dtype, &[4], &[1i64, 0, 1, 1]), none(), host(false)]);
}

fn extremum_errors(e: &mut ErrorSamples) {
    reduction_errors(e);
    e.case(ErrorKind::Shape, [f32s(&[0, 3]), host(&[0i64])]);
}

fn place_samples(s: &mut Samples) {
    let d = s.dtype;
    if d == DType::Bool {
        return;
    }
    let t = |dims: &[usize]| tensor(d, dims, 0.0, 90.0);
    s.case([t(&[3, 4])]);
    s.case([t(&[3, 4]), host(0i64), host(true)]);
    s.case([t(&[2, 3, 4]), host(-1i64), host(false)]);
    s.case([t(&[]), none(), host(false)]);
    s.case([t(&[70]), none(), host(true)]);
    s.case([exact(d, &[4], &[1i64, 0, 1, 0]), none(), host(false)]);
}

fn place_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::Index, [f32s(&[2, 3]), host(2i64)]);
    e.case(ErrorKind::Shape, [f32s(&[0])]);
}

fn truth_samples(s: &mut Samples) {
    let d = s.dtype;
    reduction_samples(s, 0.0, 2.0);
    s.case([tensor(d, &[0, 3], 0.0, 2.0), host(0i64), host(false)]);
    s.case([exact(d, &[40], &[1i64; 40]), none(), host(false)]);
    s.case([exact(d, &[40], &[0i64; 40]), none(), host(false)]);
}

macro_rules! reductions {
    ($($(#[doc = $doc:literal])+ $id:ident $schema:literal $infer:ident $lower:ident $op:ident
        $samples:ident $errors:ident => $vjp:expr;)*) => {
        ops! {$(
            $(#[doc = $doc])+
            $id = $schema {
                infer: $infer,
                vjp: $vjp,
                effect: Effect::Pure,
                cost: cost::per_input::<1>,
                lower: Lower::Loop(|l| $lower(l, ReduceOp::$op)),
                samples: $samples,
                errors: $errors,
            }
        )*}
    };
}

reductions! {
    /// Largest element over dimensions; not a number if any is not.
    AMAX "amax(Tensor self, int[] dim=(), bool keepdim=False) -> Tensor"
        infer_extremum lower_reduce Max extremum_samples extremum_errors => Vjp::Rule(Saves::BOTH, share);
    /// Smallest element over dimensions; not a number if any is not.
    AMIN "amin(Tensor self, int[] dim=(), bool keepdim=False) -> Tensor"
        infer_extremum lower_reduce Min extremum_samples extremum_errors => Vjp::Rule(Saves::BOTH, share);
    /// Place of the first largest element along one dimension, or in the flattened tensor.
    ARGMAX "argmax(Tensor self, int? dim=None, bool keepdim=False) -> Tensor"
        infer_place lower_reduce ArgMax place_samples place_errors => Vjp::Zero;
    /// Place of the first smallest element along one dimension, or in the flattened tensor.
    ARGMIN "argmin(Tensor self, int? dim=None, bool keepdim=False) -> Tensor"
        infer_place lower_reduce ArgMin place_samples place_errors => Vjp::Zero;
    /// Whether any element over dimensions is not zero.
    ANY "any(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor"
        infer_truth lower_truth Any truth_samples reduction_errors => Vjp::Zero;
    /// Whether every element over dimensions is not zero.
    ALL "all(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor"
        infer_truth lower_truth All truth_samples reduction_errors => Vjp::Zero;
}

methods! {
    reduction:
    /// Largest element over `dims` (all if empty).
    amax AMAX;
    /// Smallest element over `dims` (all if empty).
    amin AMIN;
    /// Whether any element over `dims` (all if empty) is not zero.
    any ANY;
    /// Whether every element over `dims` (all if empty) is not zero.
    all ALL;
}

impl Tensor {
    /// Place of the first largest element along `dim`, or in the flattened tensor.
    #[track_caller]
    pub fn argmax(&self, dim: Option<i64>, keepdim: bool) -> Result<Tensor> {
        bind1(&ARGMAX, &[Arg::Tensor(self), dim.into(), Arg::Bool(keepdim)])
    }

    /// Place of the first smallest element along `dim`, or in the flattened tensor.
    #[track_caller]
    pub fn argmin(&self, dim: Option<i64>, keepdim: bool) -> Result<Tensor> {
        bind1(&ARGMIN, &[Arg::Tensor(self), dim.into(), Arg::Bool(keepdim)])
    }
}
