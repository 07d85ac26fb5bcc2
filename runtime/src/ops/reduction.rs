//! Reductions over dimensions, and the sum that undoes broadcasting.

use super::rules::{chain, dtype_or, flag, methods, one};
use crate::error::{ErrorKind, Result};
use crate::infer::reduced;
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, Samples, host, none, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::loops::ReduceOp;
use kernels::{DType, Dims};
use smallvec::SmallVec;

/// The dims of operand 1 for the extents of operand 0.
pub(super) fn reduced_dims(l: &Lowering) -> Result<Dims> {
    let x = l.input(0)?;
    crate::infer::wrap_dims(l.host(1)?, l.region.shape(x).len())
}

/// A tensor of the shape after reducing `dims` laid over the first operand's shape again.
pub(super) fn expand_over(c: &VjpContext, t: &Tensor, dims: Arg, keepdim: bool) -> Result<Tensor> {
    let extents = c.input_dims(0)?;
    let mut out = t.clone();
    if !keepdim {
        for &d in &crate::infer::wrap_dims(dims, extents.len())? {
            out = out.unsqueeze(d as i64)?;
        }
    }
    if out.shape() == extents.as_slice() { Ok(out) } else { out.expand(&extents) }
}

/// `expand_over` where the dims are operand 1 and keepdim is operand 2.
pub(super) fn expand_reduced(c: &VjpContext, t: &Tensor) -> Result<Tensor> {
    expand_over(c, t, c.host(1)?, flag(c.host(2)?)?)
}

/// Every way to name dimensions: none, one, several, negative, kept; rank 0, empty, more than one block.
pub(super) fn reduction_samples(s: &mut Samples, low: f64, high: f64) {
    let d = s.dtype;
    let t = |dims: &[usize]| tensor(d, dims, low, high);
    s.case([t(&[3, 4])]);
    s.case([t(&[3, 4]), host(&[0i64]), host(true)]);
    s.case([t(&[2, 3, 4]), host(&[0i64, -1]), host(false)]);
    s.case([t(&[2, 3, 4]), host(1i64), host(false)]);
    s.case([t(&[]), none(), host(false)]);
    s.case([t(&[2, 0]), host(&[0i64]), host(false)]);
    s.case([t(&[3, 1]), host(-1i64), host(false)]);
    s.case([t(&[5000]), none(), host(true)]);
}

/// A dimension that does not exist, and one that is named twice.
pub(super) fn reduction_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::Index, [tensor(DType::F32, &[2, 3], 0.0, 1.0), host(&[2i64])]);
    e.case(ErrorKind::Value, [tensor(DType::F32, &[2, 3], 0.0, 1.0), host(&[0i64, 0])]);
}

ops! {
    /// Sum over dimensions; integers and bool sum to i64.
    SUM = "sum(Tensor self, int[]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let dims = c.dims(1, t.rank())?;
            let dtype = dtype_or(c.host(3)?, if t.dtype.is_float() { t.dtype } else { DType::I64 })?;
            one(dtype, reduced(&t.shape, &dims, flag(c.host(2)?)?))
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| expand_reduced(c, dy))),
        effect: Effect::Pure,
        cost: cost::per_input::<1>,
        lower: Lower::Loop(|l| {
            let (dims, keepdim, dtype) = (reduced_dims(l)?, flag(l.host(2)?)?, l.dtype(0));
            let x = l.operand(0, dtype)?;
            let y = l.region.reduce(ReduceOp::Sum, x, &dims, keepdim);
            l.output(y);
            Ok(())
        }),
        samples: |s| {
            reduction_samples(s, 0.0, 3.0);
            let d = s.dtype;
            s.case([tensor(d, &[0, 3], 0.0, 3.0), host(&[0i64]), host(false)]);
            s.case([tensor(d, &[2, 3], 0.0, 3.0), none(), host(false), host(DType::F64)]);
        },
        errors: reduction_errors,
    }
}

methods! {
    reduction:
    /// Sum over `dims` (all if empty).
    sum SUM;
}

impl Tensor {
    /// The sum over every dimension that broadcasting from `dims` to this shape repeated.
    #[track_caller]
    pub fn sum_to_size(&self, dims: &[usize]) -> Result<Tensor> {
        if self.shape() == dims {
            return Ok(self.clone());
        }
        let missing = self.rank().checked_sub(dims.len()).ok_or_else(|| {
            crate::error::Error::shape(format!(
                "{:?} does not come from {dims:?} by broadcasting",
                self.shape()
            ))
            .in_op("sum_to_size")
        })?;
        let fits = |i: usize| dims[i - missing] == 1 || dims[i - missing] == self.shape()[i];
        if let Some(bad) = (missing..self.rank()).find(|&i| !fits(i)) {
            let what = format!("{:?} does not come from {dims:?} by broadcasting", self.shape());
            return Err(crate::error::Error::shape(what).in_op("sum_to_size").at_dim(bad as isize));
        }
        let over: SmallVec<[i64; 6]> = (0..self.rank())
            .filter(|&i| i < missing || (dims[i - missing] == 1 && self.shape()[i] != 1))
            .map(|i| i as i64)
            .collect();
        // Repeated leading dimensions alone vanish in the reduction itself.
        if over.len() == missing && missing > 0 {
            return self.sum(&over, false);
        }
        let mut out = if over.is_empty() { self.clone() } else { self.sum(&over, true)? };
        for _ in 0..missing {
            out = out.squeeze(0)?;
        }
        Ok(out)
    }
}
