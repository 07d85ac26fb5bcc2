//! Reductions that count or weigh: sums and means of what is a number, counts, variance with mean, vector norms.

use super::extrema::nonempty;
use super::places::both;
use super::reduction::{expand_over, expand_reduced, reduced_dims, reduction_errors, reduction_samples};
use super::rules::{
    Formula, chain, dtype_or, f32s, finish, flag, float_only, float_or, i64s, in_float32, methods, one,
    wanted, wide,
};
use super::statistics::{
    centred, combined, expand_variance, float_reduction_errors, freedom, infer_variance, lower_variance,
    reduce_to, variance_samples,
};
use crate::door::bind1;
use crate::error::{ErrorKind, Result};
use crate::infer::{Infer, Types, reduced, wrap_dims};
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, Samples, exact, host, none, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::{BinaryOp, Node, ReduceOp};
use smallvec::smallvec;

/// The operand with zeros for what is not a number, and whether each is one.
fn known(l: &mut Lowering, x: Node) -> (Node, Node) {
    let dtype = l.region.dtype(x);
    let zero = l.region.constant(0i64, dtype);
    let number = l.region.binary(BinaryOp::Eq, x, x);
    (l.region.select(number, x, zero), number)
}

/// Variance or deviation, and the mean.
fn lower_with_mean(l: &mut Lowering, root: bool) -> Result<()> {
    let mut spread = lower_variance(l)?;
    if root {
        spread = Formula::of(l).sqrt(spread);
    }
    finish(l, spread);
    let (dims, keepdim) = (reduced_dims(l)?, flag(l.host(3)?)?);
    let x = wide(l, 0)?;
    let dtype = l.region.dtype(x);
    let sum = l.region.reduce(ReduceOp::Sum, x, &dims, keepdim);
    let count = l.region.count(x, &dims, dtype);
    let mean = Formula::of(l).div(sum, count);
    finish(l, mean);
    Ok(())
}

fn infer_with_mean(c: &Infer) -> Result<Types> {
    let one = infer_variance(c)?;
    Ok(smallvec![one[0].clone(), one[0].clone()])
}

/// The gradient through the variance (or the deviation y) and the mean.
fn with_mean_gradient(c: &VjpContext, root: bool) -> Result<Gradients> {
    let cotangent = |i: usize| c.cotangents.get(i).and_then(Option::as_ref);
    Ok(smallvec![wanted(c, 0, || {
        let mut total: Option<Tensor> = None;
        if let Some(dy) = cotangent(0) {
            let slope = if root {
                let y = c.output(0)?;
                dy.div(&y.mul(freedom(c)?)?)?.masked_fill(&y.eq(0.0)?, 0.0)?
            } else {
                dy.mul(2.0 / freedom(c)?)?
            };
            total = Some(expand_variance(c, &slope)?.mul(&centred(c)?)?);
        }
        if let Some(dy) = cotangent(1) {
            let part = expand_variance(c, &dy.div(combined(c)?)?)?;
            total = Some(match total {
                Some(sum) => sum.add(&part)?,
                None => part,
            });
        }
        total.ok_or_else(|| crate::error::Error::internal("no cotangent"))
    })?])
}

/// self, ord, dim, keepdim.
fn infer_norm(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    float_only(t.dtype)?;
    let order = float_or(c.host(1)?, 2.0)?;
    let dims = c.dims(2, t.rank())?;
    if order.is_infinite() || order < 0.0 {
        nonempty(c, &dims)?;
    }
    one(t.dtype, reduced(&t.shape, &dims, flag(c.host(3)?)?))
}

fn lower_norm(l: &mut Lowering) -> Result<()> {
    let (order, keepdim) = (float_or(l.host(1)?, 2.0)?, flag(l.host(3)?)?);
    let x = wide(l, 0)?;
    let dims = wrap_dims(l.host(2)?, l.region.shape(x).len())?;
    let mut f = Formula::of(l);
    let size = f.abs(x);
    let (op, each) = if order == f64::INFINITY {
        (ReduceOp::Max, size)
    } else if order == f64::NEG_INFINITY {
        (ReduceOp::Min, size)
    } else if order == 0.0 {
        let (zero, one) = (f.number(0.0), f.number(1.0));
        let some = f.ne(x, zero);
        (ReduceOp::Sum, f.select(some, one, zero))
    } else if order == 1.0 {
        (ReduceOp::Sum, size)
    } else if order == 2.0 {
        (ReduceOp::Sum, f.mul(x, x))
    } else {
        let power = f.number(order);
        (ReduceOp::Sum, f.pow(size, power))
    };
    let sum = f.region.reduce(op, each, &dims, keepdim);
    let y = if order.is_infinite() || order == 0.0 || order == 1.0 {
        sum
    } else if order == 2.0 {
        f.sqrt(sum)
    } else {
        let power = f.number(1.0 / order);
        f.pow(sum, power)
    };
    finish(l, y);
    Ok(())
}

/// The slope of the norm; 0 where the norm is (torch's choice of subgradient). Ties of the largest share evenly. A norm
/// that was rounded to a narrow type is not raised to a power, which would multiply its error, but computed again.
fn norm_gradient(c: &VjpContext, dy: &Tensor, rounded: bool) -> Result<Tensor> {
    let order = float_or(c.host(1)?, 2.0)?;
    let x = c.input(0)?;
    let lay = |t: &Tensor| expand_over(c, t, c.host(2)?, flag(c.host(3)?)?);
    if order == 0.0 {
        return x.zeros_like(None);
    }
    if order == 1.0 {
        return lay(dy)?.mul(&x.sign()?);
    }
    let y = c.output(0)?;
    if order.is_infinite() {
        let ties = x.abs()?.eq(&lay(y)?)?.to(dy.dtype())?;
        let dims = wrap_dims(c.host(2)?, x.rank())?;
        let count = match dims.is_empty() {
            true => ties.clone(),
            false => ties.sum(&super::rules::ints(&dims), true)?,
        };
        return lay(dy)?.mul(&x.sign()?)?.mul(&ties)?.div(&count);
    }
    let again = match rounded && order != 2.0 {
        true => {
            Some(bind1(&LINALG_VECTOR_NORM, &[Arg::Tensor(x), Arg::Float(order), c.host(2)?, c.host(3)?])?)
        }
        false => None,
    };
    let y = again.as_ref().unwrap_or(y);
    // A norm of 0 must not spoil the gradient's own gradient: there x is 0 too.
    let none = y.eq(0.0)?;
    let held = y.masked_fill(&none, 1.0)?;
    if order == 2.0 {
        return lay(&dy.div(&held)?)?.mul(x);
    }
    let scale = dy.div(&held.pow(order - 1.0)?)?.masked_fill(&none, 0.0)?;
    let at_zero = x.eq(0.0)?;
    let size = x.abs()?.masked_fill(&at_zero, 1.0)?;
    let slope = size.pow(order - 1.0)?.mul(&x.sign()?)?;
    lay(&scale)?.mul(&slope)
}

fn norm_samples(s: &mut Samples) {
    let d = s.dtype;
    if !d.is_float() {
        return;
    }
    let t = |dims: &[usize]| tensor(d, dims, -2.0, 3.0);
    for order in [2.0, 1.0, 0.0, f64::INFINITY, f64::NEG_INFINITY, 3.0, 1.5, -1.0] {
        s.case([t(&[3, 4]), host(order), host(&[1i64]), host(false)]);
    }
    s.case([t(&[3, 4])]);
    s.case([t(&[2, 3, 4]), host(2i64), host(&[0i64, -1]), host(true)]);
    s.case([t(&[]), host(2.0), none(), host(false)]);
    s.case([t(&[0, 2]), host(2.0), host(0i64), host(false)]);
    s.case([t(&[70]), host(3.0), none(), host(true)]);
}

fn nan_samples(s: &mut Samples) {
    if s.dtype.is_float() {
        s.case([exact(s.dtype, &[2, 2], &[f64::NAN, 1.0, 2.0, 3.0]), host(1i64), host(false)]);
        s.case([exact(s.dtype, &[2], &[f64::NAN, 4.0])]);
    }
}

fn norm_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::DType, [i64s(&[2])]);
    e.case(ErrorKind::Index, [f32s(&[2]), host(2.0), host(&[1i64])]);
    e.case(ErrorKind::Shape, [f32s(&[0, 2]), host(f64::INFINITY), host(&[0i64])]);
}

ops! {
    /// Sum over dimensions of the elements that are numbers; integers and bool sum to i64.
    NANSUM = "nansum(Tensor self, int[]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor" {
        infer: |c| {
            let own = c.tensor(0)?.dtype;
            reduce_to(c, dtype_or(c.host(3)?, if own.is_float() { own } else { DType::I64 })?)
        },
        vjp: Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| {
            expand_reduced(c, dy)?.masked_fill(&c.input(0)?.isnan()?, 0.0)
        })),
        effect: Effect::Pure,
        cost: cost::per_input::<2>,
        lower: Lower::Loop(|l| {
            let (dims, keepdim, dtype) = (reduced_dims(l)?, flag(l.host(2)?)?, l.dtype(0));
            let x = l.operand(0, dtype)?;
            let (x, _) = known(l, x);
            let y = l.region.reduce(ReduceOp::Sum, x, &dims, keepdim);
            l.output(y);
            Ok(())
        }),
        samples: |s| {
            reduction_samples(s, 0.0, 3.0);
            nan_samples(s);
        },
        errors: reduction_errors,
    }
    /// Mean over dimensions of the elements that are numbers.
    NANMEAN = "nanmean(Tensor self, int[]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor" {
        infer: |c| {
            let dtype = dtype_or(c.host(3)?, c.tensor(0)?.dtype)?;
            float_only(dtype)?;
            reduce_to(c, dtype)
        },
        vjp: Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| {
            let unknown = c.input(0)?.isnan()?;
            let dims = wrap_dims(c.host(1)?, unknown.rank())?;
            let numbers = unknown.logical_not()?.to(dy.dtype())?;
            let count = match dims.is_empty() {
                true => numbers,
                false => numbers.sum(&super::rules::ints(&dims), true)?,
            };
            expand_reduced(c, dy)?.div(&count)?.masked_fill(&unknown, 0.0)
        })),
        effect: Effect::Pure,
        cost: cost::per_input::<3>,
        lower: Lower::Loop(|l| {
            let (dims, keepdim) = (reduced_dims(l)?, flag(l.host(2)?)?);
            let x = wide(l, 0)?;
            let (x, number) = known(l, x);
            let dtype = l.region.dtype(x);
            let number = l.region.cast(number, dtype);
            let sum = l.region.reduce(ReduceOp::Sum, x, &dims, keepdim);
            let count = l.region.reduce(ReduceOp::Sum, number, &dims, keepdim);
            let y = Formula::of(l).div(sum, count);
            finish(l, y);
            Ok(())
        }),
        samples: |s| if s.dtype.is_float() {
            reduction_samples(s, -2.0, 3.0);
            nan_samples(s);
        },
        errors: float_reduction_errors,
    }
    /// Number of elements over dimensions that are not zero.
    COUNT_NONZERO = "count_nonzero(Tensor self, int[]? dim=None) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            one(DType::I64, reduced(&t.shape, &c.dims(1, t.rank())?, false))
        },
        vjp: Vjp::Zero,
        effect: Effect::Pure,
        cost: cost::per_input::<2>,
        lower: Lower::Loop(|l| {
            let dims = reduced_dims(l)?;
            let truth = l.operand(0, DType::Bool)?;
            let each = l.region.cast(truth, DType::I64);
            let y = l.region.reduce(ReduceOp::Sum, each, &dims, false);
            l.output(y);
            Ok(())
        }),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 3.0);
            s.case([t(&[3, 4])]);
            s.case([t(&[2, 3, 4]), host(&[0i64, -1])]);
            s.case([t(&[]), none()]);
            s.case([t(&[0, 3]), host(0i64)]);
        },
        errors: reduction_errors,
    }
    /// Variance and mean over dimensions.
    VAR_MEAN = "var_mean(Tensor self, int[]? dim=None, Scalar? correction=None, bool keepdim=False) -> (Tensor, Tensor)" {
        infer: infer_with_mean,
        vjp: Vjp::Rule(Saves::inputs(1), |c| in_float32(c, |c| with_mean_gradient(c, false))),
        effect: Effect::Pure,
        cost: cost::per_input::<5>,
        lower: Lower::Loop(|l| lower_with_mean(l, false)),
        samples: variance_samples,
        errors: float_reduction_errors,
    }
    /// Standard deviation and mean over dimensions.
    STD_MEAN = "std_mean(Tensor self, int[]? dim=None, Scalar? correction=None, bool keepdim=False) -> (Tensor, Tensor)" {
        infer: infer_with_mean,
        vjp: Vjp::Rule(Saves { inputs: 1, ..Saves::OUTPUT }, |c| in_float32(c, |c| with_mean_gradient(c, true))),
        effect: Effect::Pure,
        cost: cost::per_input::<5>,
        lower: Lower::Loop(|l| lower_with_mean(l, true)),
        samples: variance_samples,
        errors: float_reduction_errors,
    }
    /// The norm of order `ord` over dimensions: (sum |x|^ord)^(1/ord), the largest or smallest |x| for infinite orders, the
    /// number of elements that are not zero for order 0.
    LINALG_VECTOR_NORM = "linalg_vector_norm(Tensor self, Scalar ord=2, int[]? dim=None, bool keepdim=False) -> Tensor" {
        infer: infer_norm,
        vjp: Vjp::Rule(Saves::BOTH, |c| {
            let rounded = c.input_type(0)?.dtype.is_narrow();
            in_float32(c, |c| chain(c, |dy| norm_gradient(c, dy, rounded)))
        }),
        effect: Effect::Pure,
        cost: cost::per_input::<3>,
        lower: Lower::Loop(lower_norm),
        samples: norm_samples,
        errors: norm_errors,
    }
}

methods! {
    reduction:
    /// Sum over `dims` (all if empty) of the elements that are numbers.
    nansum NANSUM;
    /// Mean over `dims` (all if empty) of the elements that are numbers.
    nanmean NANMEAN;
}

impl Tensor {
    /// Number of elements over `dims` (all if empty) that are not zero.
    #[track_caller]
    pub fn count_nonzero(&self, dims: &[i64]) -> Result<Tensor> {
        bind1(&COUNT_NONZERO, &[Arg::Tensor(self), Arg::Ints(dims)])
    }

    /// Variance and mean over `dims` (all if empty).
    #[track_caller]
    pub fn var_mean(&self, dims: &[i64], correction: f64, keepdim: bool) -> Result<(Tensor, Tensor)> {
        both(&VAR_MEAN, &[Arg::Tensor(self), Arg::Ints(dims), Arg::Float(correction), Arg::Bool(keepdim)])
    }

    /// Standard deviation and mean over `dims` (all if empty).
    #[track_caller]
    pub fn std_mean(&self, dims: &[i64], correction: f64, keepdim: bool) -> Result<(Tensor, Tensor)> {
        both(&STD_MEAN, &[Arg::Tensor(self), Arg::Ints(dims), Arg::Float(correction), Arg::Bool(keepdim)])
    }

    /// The vector norm of order `ord` over `dims` (all if empty).
    #[track_caller]
    pub fn norm(&self, ord: f64, dims: &[i64], keepdim: bool) -> Result<Tensor> {
        let args = [Arg::Tensor(self), Arg::Float(ord), Arg::Ints(dims), Arg::Bool(keepdim)];
        bind1(&LINALG_VECTOR_NORM, &args)
    }
}
