//! Means, products, variances, log-sum-exp and running sums.

use super::reduction::{expand_reduced, reduced_dims, reduction_errors, reduction_samples};
use super::rules::{
    Formula, chain, dtype_or, f32s, finish, flag, float_of, float_only, float_or, i64s, in_float32, ints,
    methods, one, same_float, wanted, wide,
};
use crate::door::bind1;
use crate::error::{ErrorKind, Result};
use crate::infer::{Infer, Types, reduced, wrap_dim, wrap_dims};
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, Samples, exact, host, none, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::{Node, ReduceOp};
use smallvec::smallvec;

/// Shape after reducing operand 1's dims, keepdim at operand 2.
pub(super) fn reduce_to(c: &Infer, dtype: DType) -> Result<Types> {
    let t = c.tensor(0)?;
    let dims = c.dims(1, t.rank())?;
    one(dtype, reduced(&t.shape, &dims, flag(c.host(2)?)?))
}

/// dim, correction, keepdim.
pub(super) fn infer_variance(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    float_only(t.dtype)?;
    float_or(c.host(2)?, 1.0)?;
    let dims = c.dims(1, t.rank())?;
    one(t.dtype, reduced(&t.shape, &dims, flag(c.host(3)?)?))
}

/// The mean squared deviation, in the accumulation type.
pub(super) fn lower_variance(l: &mut Lowering) -> Result<Node> {
    let (dims, correction, keepdim) = (reduced_dims(l)?, float_or(l.host(2)?, 1.0)?, flag(l.host(3)?)?);
    let x = wide(l, 0)?;
    let dtype = l.region.dtype(x);
    let deviation = l.region.reduce(ReduceOp::Moment2, x, &dims, keepdim);
    let count = l.region.count(x, &dims, dtype);
    let mut f = Formula::of(l);
    let correction = f.number(correction);
    let freedom = f.sub(count, correction);
    let zero = f.number(0.0);
    let freedom = f.max(freedom, zero);
    Ok(f.div(deviation, freedom))
}

/// Number of elements that one output combines.
pub(super) fn combined(c: &VjpContext) -> Result<f64> {
    let dims = c.input_dims(0)?;
    Ok(wrap_dims(c.host(1)?, dims.len())?.iter().map(|&d| dims[d] as f64).product())
}

/// x - mean(x).
pub(super) fn centred(c: &VjpContext) -> Result<Tensor> {
    let x = c.input(0)?;
    let dims = wrap_dims(c.host(1)?, x.rank())?;
    if dims.is_empty() {
        return x.sub(x);
    }
    x.sub(&x.mean(&ints(&dims), true)?)
}

/// The divisor of a variance: the count less the correction.
pub(super) fn freedom(c: &VjpContext) -> Result<f64> {
    Ok((combined(c)? - float_or(c.host(2)?, 1.0)?).max(0.0))
}

/// A tensor of the reduced shape laid over the operand, for ops whose keepdim is operand 3.
pub(super) fn expand_variance(c: &VjpContext, t: &Tensor) -> Result<Tensor> {
    super::reduction::expand_over(c, t, c.host(1)?, flag(c.host(3)?)?)
}

pub(super) fn variance_samples(s: &mut Samples) {
    let d = s.dtype;
    if !d.is_float() {
        return;
    }
    let t = |dims: &[usize]| tensor(d, dims, -2.0, 3.0);
    s.case([t(&[3, 4])]);
    s.case([t(&[3, 4]), host(1i64), host(1i64), host(true)]);
    s.case([t(&[2, 3, 4]), host(&[0i64, -1]), host(0i64), host(false)]);
    s.case([t(&[700]), none(), host(2i64), host(false)]);
}

pub(super) fn float_reduction_errors(e: &mut ErrorSamples) {
    reduction_errors(e);
    e.case(ErrorKind::DType, [i64s(&[3])]);
}

/// dim, dtype: a running sum or product, of integers and bool as i64.
pub(super) fn infer_running(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    c.dim(1, t.rank())?;
    one(dtype_or(c.host(2)?, if t.dtype.is_float() { t.dtype } else { DType::I64 })?, t.shape.clone())
}

/// One element is its own running combination.
pub(super) fn lower_running(l: &mut Lowering, op: ReduceOp) -> Result<()> {
    let dtype = l.dtype(0);
    let x = l.operand(0, dtype)?;
    let rank = l.region.shape(x).len();
    let dim = wrap_dim(l.host(1)?.int()?, rank)?;
    let y = if rank == 0 { x } else { l.region.scan(op, x, dim) };
    l.output(y);
    Ok(())
}

/// The elements over the reduced dims in one last dimension, so that products of one dimension serve all.
fn flattened(x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    let kept: Vec<usize> = (0..x.rank()).filter(|d| !dims.contains(d)).collect();
    let order: Vec<i64> = kept.iter().chain(dims).map(|&d| d as i64).collect();
    let mut shape: Vec<i64> = kept.iter().map(|&d| x.shape()[d] as i64).collect();
    shape.push(dims.iter().map(|&d| x.shape()[d] as i64).product());
    x.permute(&order)?.reshape(&shape)
}

fn lower_prod_others(l: &mut Lowering) -> Result<()> {
    let x = wide(l, 0)?;
    let dim = l.region.shape(x).len().saturating_sub(1);
    let mut f = Formula::of(l);
    let (zero, one) = (f.number(0.0), f.number(1.0));
    // Without its zeros the product can be divided; one zero leaves a gradient to itself alone, two leave none.
    let is_zero = f.eq(x, zero);
    let filled = f.select(is_zero, one, x);
    let indicator = f.select(is_zero, one, zero);
    let product = f.region.reduce(ReduceOp::Prod, filled, &[dim], true);
    let zeros = f.region.reduce(ReduceOp::Sum, indicator, &[dim], true);
    let (none, single) = (f.eq(zeros, zero), f.eq(zeros, one));
    let at_zero = f.select(single, product, zero);
    let quotient = f.div(product, filled);
    let elsewhere = f.select(none, quotient, zero);
    let y = f.select(is_zero, at_zero, elsewhere);
    finish(l, y);
    Ok(())
}

/// With M = x beside itself n times and ones on the diagonal, the products of the others are the products of M's rows.
fn prod_others_gradient(c: &VjpContext) -> Result<Tensor> {
    let (dy, x) = (c.dy()?, c.input(0)?);
    let n = *x.shape().last().unwrap_or(&1);
    let diagonal = Tensor::eye(n, n, DType::Bool, x.device())?;
    let mut square: Vec<usize> = x.shape().to_vec();
    square.insert(square.len().saturating_sub(1), n);
    let rows = x.unsqueeze(-2)?.expand(&square)?.masked_fill(&diagonal, 1.0)?;
    let others = bind1(&PROD_OTHERS, &[Arg::Tensor(&rows)])?.masked_fill(&diagonal, 0.0)?;
    dy.unsqueeze(-1)?.mul(&others)?.sum(&[-2], false)
}

ops! {
    /// Mean over dimensions, of floats.
    MEAN = "mean(Tensor self, int[]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor" {
        infer: |c| {
            let dtype = dtype_or(c.host(3)?, c.tensor(0)?.dtype)?;
            float_only(dtype)?;
            reduce_to(c, dtype)
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| {
            let count = combined(c)?;
            expand_reduced(c, &dy.div(count)?)
        })),
        effect: Effect::Pure,
        cost: cost::per_input::<1>,
        lower: Lower::Loop(|l| {
            let (dims, keepdim) = (reduced_dims(l)?, flag(l.host(2)?)?);
            let x = wide(l, 0)?;
            let dtype = l.region.dtype(x);
            let sum = l.region.reduce(ReduceOp::Sum, x, &dims, keepdim);
            let count = l.region.count(x, &dims, dtype);
            let y = Formula::of(l).div(sum, count);
            finish(l, y);
            Ok(())
        }),
        samples: |s| if s.dtype.is_float() { reduction_samples(s, -2.0, 3.0) },
        errors: float_reduction_errors,
    }
    /// Product over dimensions; integers and bool multiply to i64.
    PROD = "prod(Tensor self, int[]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor" {
        infer: |c| {
            let own = c.tensor(0)?.dtype;
            reduce_to(c, dtype_or(c.host(3)?, if own.is_float() { own } else { DType::I64 })?)
        },
        vjp: Vjp::Rule(Saves::inputs(1), |c| chain(c, |dy| {
            let x = c.input(0)?;
            let dims = wrap_dims(c.host(1)?, x.rank())?;
            if dims.is_empty() {
                return Ok(dy.clone());
            }
            let flat = flattened(x, &dims)?;
            let others = bind1(&PROD_OTHERS, &[Arg::Tensor(&flat)])?;
            let kept: Vec<usize> = (0..x.rank()).filter(|d| !dims.contains(d)).collect();
            let order: Vec<usize> = kept.iter().chain(&dims).copied().collect();
            let mut inverse = vec![0i64; order.len()];
            order.iter().enumerate().for_each(|(to, &from)| inverse[from] = to as i64);
            let moved: Vec<i64> = order.iter().map(|&d| x.shape()[d] as i64).collect();
            expand_reduced(c, dy)?.mul(&others.reshape(&moved)?.permute(&inverse)?)
        })),
        effect: Effect::Pure,
        cost: cost::per_input::<1>,
        lower: Lower::Loop(|l| {
            let (dims, keepdim, dtype) = (reduced_dims(l)?, flag(l.host(2)?)?, l.dtype(0));
            let x = l.operand(0, dtype)?;
            // A product of truth values is true where all are.
            let op = if dtype == DType::Bool { ReduceOp::All } else { ReduceOp::Prod };
            let y = l.region.reduce(op, x, &dims, keepdim);
            l.output(y);
            Ok(())
        }),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.5, 2.0);
            s.case([t(&[3, 4])]);
            s.case([t(&[3, 4]), host(&[0i64]), host(true)]);
            s.case([t(&[2, 3, 4]), host(1i64), host(false)]);
            s.case([t(&[2, 3, 2]), host(&[0i64, -1]), host(false)]);
            s.case([t(&[]), none(), host(false)]);
            s.case([t(&[0, 3]), host(0i64), host(false)]);
            s.case([exact(d, &[2, 3], &[1i64, 0, 1, 0, 0, 1]), host(1i64), host(false)]);
        },
        errors: reduction_errors,
    }
    /// For each element the product of all others along the last dimension, zeros included; prod's gradient.
    PROD_OTHERS = "prod_others(Tensor self) -> Tensor" {
        infer: same_float,
        vjp: Vjp::Rule(Saves::INPUTS, |c| Ok(smallvec![wanted(c, 0, || prod_others_gradient(c))?])),
        effect: Effect::Pure,
        cost: cost::per_output::<6>,
        lower: Lower::Loop(lower_prod_others),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                s.case([tensor(d, &[3, 4], 0.5, 2.0)]);
                s.case([exact(d, &[3, 3], &[2.0, 0.0, 3.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0])]);
            }
        },
        errors: |e| e.case(ErrorKind::DType, [i64s(&[3])]),
    }
    /// Mean squared deviation from the mean, divided by the count less `correction`.
    VAR = "var(Tensor self, int[]? dim=None, Scalar? correction=None, bool keepdim=False) -> Tensor" {
        infer: infer_variance,
        vjp: Vjp::Rule(Saves::inputs(1), |c| in_float32(c, |c| chain(c, |dy| {
            expand_variance(c, dy)?.mul(&centred(c)?)?.mul(2.0 / freedom(c)?)
        }))),
        effect: Effect::Pure,
        cost: cost::per_input::<4>,
        lower: Lower::Loop(|l| {
            let y = lower_variance(l)?;
            finish(l, y);
            Ok(())
        }),
        samples: variance_samples,
        errors: float_reduction_errors,
    }
    /// Square root of the variance.
    STD = "std(Tensor self, int[]? dim=None, Scalar? correction=None, bool keepdim=False) -> Tensor" {
        infer: infer_variance,
        vjp: Vjp::Rule(Saves { inputs: 1, ..Saves::OUTPUT }, |c| in_float32(c, |c| chain(c, |dy| {
            let y = c.output(0)?;
            let slope = dy.div(&y.mul(freedom(c)?)?)?.masked_fill(&y.eq(0.0)?, 0.0)?;
            expand_variance(c, &slope)?.mul(&centred(c)?)
        }))),
        effect: Effect::Pure,
        cost: cost::per_input::<4>,
        lower: Lower::Loop(|l| {
            let variance = lower_variance(l)?;
            let y = Formula::of(l).sqrt(variance);
            finish(l, y);
            Ok(())
        }),
        samples: variance_samples,
        errors: float_reduction_errors,
    }
    /// Logarithm of the sum of exponentials over dimensions, safe for large elements.
    LOGSUMEXP = "logsumexp(Tensor self, int[] dim, bool keepdim=False) -> Tensor" {
        infer: |c| reduce_to(c, float_of(c.tensor(0)?.dtype)),
        vjp: Vjp::Rule(Saves { inputs: 1, ..Saves::OUTPUT }, |c| chain(c, |dy| {
            let y = expand_reduced(c, c.output(0)?)?;
            expand_reduced(c, dy)?.mul(&c.input(0)?.sub(&y)?.exp()?)
        })),
        effect: Effect::Pure,
        cost: cost::per_input::<12>,
        lower: Lower::Loop(|l| {
            let (dims, keepdim) = (reduced_dims(l)?, flag(l.host(2)?)?);
            let x = wide(l, 0)?;
            let mut f = Formula::of(l);
            let top = f.region.reduce(ReduceOp::Max, x, &dims, true);
            // An infinite maximum would give inf - inf.
            let infinite = f.isinf(top);
            let zero = f.number(0.0);
            let top = f.select(infinite, zero, top);
            let shifted = f.sub(x, top);
            let grown = f.exp(shifted);
            let sum = f.region.reduce(ReduceOp::Sum, grown, &dims, true);
            let log = f.log(sum);
            let mut y = f.add(log, top);
            if !keepdim {
                for &d in dims.iter().rev() {
                    y = f.region.squeeze(y, d);
                }
            }
            finish(l, y);
            Ok(())
        }),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let t = |dims: &[usize]| tensor(d, dims, -9.0, 9.0);
                s.case([t(&[3, 4]), host(0i64), host(false)]);
                s.case([t(&[2, 3, 4]), host(&[0i64, -1]), host(true)]);
                s.case([t(&[]), host(0i64), host(false)]);
                s.case([t(&[0, 2]), host(0i64), host(false)]);
            }
        },
        errors: reduction_errors,
    }
    /// Running sum along a dimension; integers and bool sum to i64.
    CUMSUM = "cumsum(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor" {
        infer: infer_running,
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| {
            if dy.rank() == 0 {
                return Ok(dy.clone());
            }
            let dim = c.host(1)?.int()?;
            dy.flip(&[dim])?.cumsum(dim)?.flip(&[dim])
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Loop(|l| lower_running(l, ReduceOp::Sum)),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 3.0);
            s.case([t(&[3, 4]), host(0i64)]);
            s.case([t(&[2, 3, 2]), host(-2i64)]);
            s.case([t(&[]), host(0i64)]);
            s.case([t(&[0, 2]), host(1i64)]);
            s.case([t(&[700]), host(0i64)]);
        },
        errors: |e| e.case(ErrorKind::Index, [f32s(&[3]), host(1i64)]),
    }
}

methods! {
    reduction:
    /// Mean over `dims` (all if empty).
    mean MEAN;
    /// Product over `dims` (all if empty).
    prod PROD;
    /// Logarithm of the sum of exponentials over `dims`.
    logsumexp LOGSUMEXP;
}

impl Tensor {
    /// Mean squared deviation over `dims` (all if empty), divided by the count less `correction`.
    #[track_caller]
    pub fn var(&self, dims: &[i64], correction: f64, keepdim: bool) -> Result<Tensor> {
        bind1(&VAR, &[Arg::Tensor(self), Arg::Ints(dims), Arg::Float(correction), Arg::Bool(keepdim)])
    }

    /// Square root of the variance.
    #[track_caller]
    pub fn std(&self, dims: &[i64], correction: f64, keepdim: bool) -> Result<Tensor> {
        bind1(&STD, &[Arg::Tensor(self), Arg::Ints(dims), Arg::Float(correction), Arg::Bool(keepdim)])
    }

    /// Running sum along `dim`.
    #[track_caller]
    pub fn cumsum(&self, dim: i64) -> Result<Tensor> {
        bind1(&CUMSUM, &[Arg::Tensor(self), Arg::Int(dim)])
    }
}
