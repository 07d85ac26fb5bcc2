//! Running products and extrema along a dimension.

use super::places::both;
use super::rules::{chain, f32s, in_float32, wanted};
use super::statistics::{infer_running, lower_running};
use crate::door::bind1;
use crate::error::{ErrorKind, Result};
use crate::infer::{Infer, Types, wrap_dim};
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, Samples, exact, host, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::{BinaryOp, ReduceOp};
use smallvec::smallvec;

fn infer_placed(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    c.dim(1, t.rank())?;
    Ok(smallvec![t.clone(), t.with_dtype(DType::I64)])
}

/// The running extremum, and the running maximum of the places where the operand is it.
fn lower_placed(l: &mut Lowering, op: ReduceOp) -> Result<()> {
    let (x, dims) = (l.input(0)?, l.dims(0));
    if dims.is_empty() {
        let zero = l.region.constant(0i64, DType::I64);
        l.output(x);
        l.output(zero);
        return Ok(());
    }
    let dim = wrap_dim(l.host(1)?.int()?, dims.len())?;
    let values = l.region.scan(op, x, dim);
    // What is not a number is the extremum from there on, and equals nothing.
    let (same, unknown) = (l.region.binary(BinaryOp::Eq, x, values), l.region.binary(BinaryOp::Ne, x, x));
    let record = l.region.binary(BinaryOp::Or, same, unknown);
    let (place, nowhere) = (l.region.index(&dims, dim), l.region.constant(-1i64, DType::I64));
    let place = l.region.select(record, place, nowhere);
    let places = l.region.scan(ReduceOp::Max, place, dim);
    l.output(values);
    l.output(places);
    Ok(())
}

/// Each place collects the cotangents of the stretch for which it is the extremum.
fn at_places(c: &VjpContext) -> Result<Gradients> {
    Ok(smallvec![wanted(c, 0, || {
        let dy = c.dy()?;
        if dy.rank() == 0 {
            return Ok(dy.clone());
        }
        let zeros = Tensor::zeros(dy.shape(), dy.dtype(), dy.device())?;
        zeros.scatter_add(c.host(1)?.int()?, c.output(1)?, dy)
    })?])
}

/// With M = x beside itself n times and ones on the diagonal, row k of M's running products holds from k on what the
/// running products of x hold without factor k. This takes n^2 numbers and no division, so zeros are right in every order.
fn cumprod_gradient(c: &VjpContext, dy: &Tensor) -> Result<Tensor> {
    let x = c.input(0)?.to(dy.dtype())?;
    if x.rank() == 0 {
        return Ok(dy.clone());
    }
    let dim = c.host(1)?.int()?;
    let (x, dy) = (x.transpose(dim, -1)?, dy.transpose(dim, -1)?);
    let n = x.shape()[x.rank() - 1];
    let mut square = x.shape().to_vec();
    square.insert(square.len() - 1, n);
    let diagonal = Tensor::eye(n, n, DType::Bool, x.device())?;
    let rows = x.unsqueeze(-2)?.expand(&square)?.masked_fill(&diagonal, 1.0)?;
    let products = rows.cumprod(-1)?.triu(0)?;
    products.mul(&dy.unsqueeze(-2)?)?.sum(&[-1], false)?.transpose(dim, -1)
}

fn placed_samples(s: &mut Samples) {
    let d = s.dtype;
    let t = |dims: &[usize]| tensor(d, dims, 0.0, 90.0);
    s.case([t(&[3, 4]), host(0i64)]);
    s.case([t(&[2, 3, 4]), host(-2i64)]);
    s.case([t(&[]), host(0i64)]);
    s.case([t(&[0, 2]), host(1i64)]);
    s.case([t(&[70]), host(0i64)]);
    s.case([exact(d, &[5], &[1i64, 0, 1, 1, 0]), host(0i64)]);
}

fn no_dim(e: &mut ErrorSamples) {
    e.case(ErrorKind::Index, [f32s(&[3]), host(1i64)]);
}

ops! {
    /// Running product along a dimension; integers and bool multiply to i64.
    CUMPROD = "cumprod(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor" {
        infer: infer_running,
        vjp: Vjp::Rule(Saves::INPUTS, |c| in_float32(c, |c| chain(c, |dy| cumprod_gradient(c, dy)))),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Loop(|l| lower_running(l, ReduceOp::Prod)),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.5, 2.0);
            s.case([t(&[3, 4]), host(0i64)]);
            s.case([t(&[2, 3, 2]), host(-2i64)]);
            s.case([t(&[]), host(0i64)]);
            s.case([t(&[0, 2]), host(1i64)]);
            s.case([t(&[7]), host(0i64)]);
            s.case([exact(d, &[2, 4], &[1i64, 0, 1, 1, 0, 1, 0, 1]), host(1i64)]);
        },
        errors: no_dim,
    }
    /// Largest element so far along a dimension, and the place of the last that is it.
    CUMMAX = "cummax(Tensor self, int dim) -> (Tensor, Tensor)" {
        infer: infer_placed,
        vjp: Vjp::Rule(Saves { outputs: 2, ..Saves::NOTHING }, |c| in_float32(c, at_places)),
        effect: Effect::Pure,
        cost: cost::per_input::<4>,
        lower: Lower::Loop(|l| lower_placed(l, ReduceOp::Max)),
        samples: placed_samples,
        errors: no_dim,
    }
    /// Smallest element so far along a dimension, and the place of the last that is it.
    CUMMIN = "cummin(Tensor self, int dim) -> (Tensor, Tensor)" {
        infer: infer_placed,
        vjp: Vjp::Rule(Saves { outputs: 2, ..Saves::NOTHING }, |c| in_float32(c, at_places)),
        effect: Effect::Pure,
        cost: cost::per_input::<4>,
        lower: Lower::Loop(|l| lower_placed(l, ReduceOp::Min)),
        samples: placed_samples,
        errors: no_dim,
    }
}

impl Tensor {
    /// Running product along `dim`.
    #[track_caller]
    pub fn cumprod(&self, dim: i64) -> Result<Tensor> {
        bind1(&CUMPROD, &[Arg::Tensor(self), Arg::Int(dim)])
    }

    /// Largest element so far along `dim`, and the place of the last that is it.
    #[track_caller]
    pub fn cummax(&self, dim: i64) -> Result<(Tensor, Tensor)> {
        both(&CUMMAX, &[Arg::Tensor(self), Arg::Int(dim)])
    }

    /// Smallest element so far along `dim`, and the place of the last that is it.
    #[track_caller]
    pub fn cummin(&self, dim: i64) -> Result<(Tensor, Tensor)> {
        both(&CUMMIN, &[Arg::Tensor(self), Arg::Int(dim)])
    }
}
