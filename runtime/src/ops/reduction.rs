//! Reductions over dimensions, and the sum that undoes broadcasting.

use crate::door::bind1;
use crate::error::{ErrorKind, Result};
use crate::infer::{TensorType, reduced};
use crate::lower::Lowering;
use crate::samples::{host, none, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::loops::ReduceOp;
use kernels::{DType, Dims};
use smallvec::smallvec;

/// The dims of operand 1 for the extents of operand 0.
fn dims(l: &Lowering) -> Result<Dims> {
    let x = l.input(0)?;
    crate::infer::wrap_dims(l.host(1)?, l.region.shape(x).len())
}

ops! {
    /// Sum over dimensions; integers and bool sum to i64.
    SUM = "sum(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let dims = c.dims(1, t.rank())?;
            let keepdim = !c.host(2)?.is_none() && c.host(2)?.bool()?;
            let dtype = if t.dtype.is_float() { t.dtype } else { DType::I64 };
            Ok(smallvec![TensorType { dtype, shape: reduced(&t.shape, &dims, keepdim) }])
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| {
            let ty = c.input_type(0)?;
            let dims = crate::infer::wrap_dims(c.host(1)?, ty.rank())?;
            let keepdim = !c.host(2)?.is_none() && c.host(2)?.bool()?;
            let mut dy = c.dy()?.clone();
            if !keepdim {
                for &d in &dims {
                    dy = dy.unsqueeze(d as i64)?;
                }
            }
            Ok(smallvec![Some(dy.expand(&ty.constant_dims()?)?)])
        }),
        effect: Effect::Pure,
        cost: cost::per_input::<1>,
        lower: Lower::Loop(|l| {
            let (dims, keepdim, dtype) = (dims(l)?, !l.host(2)?.is_none() && l.host(2)?.bool()?, l.dtype(0));
            let x = l.operand(0, dtype)?;
            let y = l.region.reduce(ReduceOp::Sum, x, &dims, keepdim);
            l.output(y);
            Ok(())
        }),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 3.0);
            s.case([t(&[3, 4])]);
            s.case([t(&[3, 4]), host(&[0i64]), host(true)]);
            s.case([t(&[2, 3, 4]), host(&[0i64, -1]), host(false)]);
            s.case([t(&[2, 3, 4]), host(1i64), host(false)]);
            s.case([t(&[]), none(), host(false)]);
            s.case([t(&[0, 3]), host(&[0i64]), host(false)]);
            s.case([t(&[5000]), none(), host(true)]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [tensor(DType::F32, &[2, 3], 0.0, 1.0), host(&[2i64])]);
            e.case(ErrorKind::Value, [tensor(DType::F32, &[2, 3], 0.0, 1.0), host(&[0i64, 0])]);
        },
    }
}

impl Tensor {
    /// Sum over `dims` (all if empty).
    #[track_caller]
    pub fn sum(&self, dims: &[i64], keepdim: bool) -> Result<Tensor> {
        bind1(&SUM, &[Arg::Tensor(self), Arg::Ints(dims), Arg::Bool(keepdim)])
    }

    /// The sum over every dimension that broadcasting from `dims` to this shape repeated.
    #[track_caller]
    pub fn sum_to_size(&self, dims: &[usize]) -> Result<Tensor> {
        if self.shape() == dims {
            return Ok(self.clone());
        }
        let missing = self.rank() - dims.len();
        let over: Vec<i64> = (0..self.rank())
            .filter(|&i| i < missing || (dims[i - missing] == 1 && self.shape()[i] != 1))
            .map(|i| i as i64)
            .collect();
        let mut out = if over.is_empty() { self.clone() } else { self.sum(&over, true)? };
        for _ in 0..missing {
            out = out.squeeze(0)?;
        }
        Ok(out)
    }
}
