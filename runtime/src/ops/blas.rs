//! Products that are added to something: addmv, addr, baddbmm; and the product of vectors along one dimension that is
//! their similarity.

use super::arithmetic::{infer_broadcast_as, unbroadcast};
use super::product::{inner_cost, lower_scaled_product, one_type, times};
use super::rules::{Formula, f32s, finish, float_only, float_or, i64s, wanted, wide};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, Shape, TensorType, Types, broadcast, reduced, wrap_dim};
use crate::lower::{Lowering, Steps};
use crate::samples::{ErrorSamples, Samples, host, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::ReduceOp;
use smallvec::smallvec;

/// A product of operands 1 and 2 of these ranks, whose shape the first operand broadcasts to.
fn infer_added(c: &Infer, ranks: [usize; 2], what: &str) -> Result<Types> {
    let dtype = one_type(c)?;
    let (bias, a, b) = (c.tensor(0)?, c.tensor(1)?, c.tensor(2)?);
    float_or(c.host(3)?, 1.0)?;
    float_or(c.host(4)?, 1.0)?;
    let misfit = || Error::shape(format!("{what} takes factors that fit, got {a} and {b}"));
    if [a.rank(), b.rank()] != ranks {
        return Err(misfit());
    }
    let same =
        |x: crate::infer::Dim, y: crate::infer::Dim| x == y || x.known().is_none() || y.known().is_none();
    let (shape, fits): (Shape, bool) = match ranks {
        [1, 1] => (smallvec![a.shape[0], b.shape[0]], true),
        [2, 1] => (smallvec![a.shape[0]], same(a.shape[1], b.shape[0])),
        _ => (
            smallvec![a.shape[0], a.shape[1], b.shape[2]],
            same(a.shape[0], b.shape[0]) && same(a.shape[2], b.shape[1]),
        ),
    };
    if !fits {
        return Err(misfit());
    }
    match broadcast(&bias.shape, &shape)? == shape {
        true => Ok(smallvec![TensorType { dtype, shape }]),
        false => Err(Error::shape(format!("{bias} does not broadcast to the product of {a} and {b}"))),
    }
}

/// The vector takes part as a column.
fn lower_addmv(s: &mut Steps) -> Result<()> {
    let (mut bias, a, mut b, mut c) = (s.input(0)?, s.input(1)?, s.input(2)?, s.output(0));
    let layout = bias.layout.broadcast_to(&c.layout.shape);
    bias.layout = layout.ok_or_else(|| Error::internal("the vector does not fit"))?;
    for v in [&mut bias, &mut b, &mut c] {
        v.layout = v.layout.unsqueeze(1);
    }
    lower_scaled_product(s, bias, a, b, c)
}

/// beta * self + alpha * vec1 vec2^T; self is not read where beta is 0, not even for NaN (torch).
fn lower_addr(l: &mut Lowering) -> Result<()> {
    let dtype = l.dtype(0).accumulator();
    let (alone, scaled) = (float_or(l.host(3)?, 1.0)? == 0.0, !l.host(4)?.is_none());
    let (a, b) = (wide(l, 1)?, wide(l, 2)?);
    let a = l.region.unsqueeze(a, 1);
    let mut y = Formula { region: &mut *l.region, dtype }.mul(a, b);
    if scaled {
        let alpha = l.operand(4, dtype)?;
        y = Formula { region: &mut *l.region, dtype }.mul(alpha, y);
    }
    if !alone {
        let mut x = wide(l, 0)?;
        if !l.host(3)?.is_none() {
            let beta = l.operand(3, dtype)?;
            x = Formula { region: &mut *l.region, dtype }.mul(beta, x);
        }
        y = Formula { region: &mut *l.region, dtype }.add(x, y);
    }
    finish(l, y);
    Ok(())
}

/// x1, x2, dim, eps.
fn infer_similarity(c: &Infer) -> Result<Types> {
    let dtype = one_type(c)?;
    float_only(dtype)?;
    float_or(c.host(3)?, 1e-8)?;
    let whole = infer_broadcast_as(c, dtype)?;
    let rank = whole[0].rank();
    let dim = wrap_dim(super::rules::int_or(c.host(2)?, 1)?, rank)?;
    let dims: &[usize] = if rank == 0 { &[] } else { &[dim] };
    Ok(smallvec![TensorType { dtype, shape: reduced(&whole[0].shape, dims, false) }])
}

/// The product along the dimension over both lengths, which are not below eps.
fn lower_similarity(l: &mut Lowering) -> Result<()> {
    let eps = float_or(l.host(3)?, 1e-8)?;
    let (a, b) = (wide(l, 0)?, wide(l, 1)?);
    let mut f = Formula::of(l);
    let product = f.mul(a, b);
    let shape: kernels::Dims = f.region.shape(product).into();
    let dim = wrap_dim(super::rules::int_or(l.host(2)?, 1)?, shape.len())?;
    let dims: kernels::Dims = if shape.is_empty() { smallvec![] } else { smallvec![dim] };
    let (a, b) = (l.region.expand(a, &shape), l.region.expand(b, &shape));
    let mut f = Formula::of(l);
    let (aa, bb, least) = (f.mul(a, a), f.mul(b, b), f.number(eps));
    let dot = f.region.reduce(ReduceOp::Sum, product, &dims, false);
    let (aa, bb) =
        (f.region.reduce(ReduceOp::Sum, aa, &dims, false), f.region.reduce(ReduceOp::Sum, bb, &dims, false));
    let (aa, bb) = (f.sqrt(aa), f.sqrt(bb));
    let (aa, bb) = (f.max(aa, least), f.max(bb, least));
    let length = f.mul(aa, bb);
    let y = f.div(dot, length);
    finish(l, y);
    Ok(())
}

/// (other / |other| - y own / |own|) / |own|, lengths not below eps; the second term only where |own| is above it.
fn similarity_gradient(c: &VjpContext, dy: &Tensor, i: usize) -> Result<Tensor> {
    let (own, other) = (c.input(i)?, c.input(1 - i)?);
    let eps = float_or(c.host(3)?, 1e-8)?;
    let shape = kernels::shape::broadcast(own.shape(), other.shape())
        .map_err(|_| Error::internal("operands do not broadcast"))?;
    let rank = shape.len();
    let dim = wrap_dim(super::rules::int_or(c.host(2)?, 1)?, rank)? as i64;
    let length = |t: &Tensor| if rank == 0 { t.abs() } else { t.norm(2.0, &[dim], true) };
    let (own, other) = (own.expand(&shape)?, other.expand(&shape)?);
    let (raw, far) = (length(&own)?, length(&other)?.clamp(eps, Arg::None)?);
    let near = raw.clamp(eps, Arg::None)?;
    let unit = own.div(&near)?;
    let (y, dy) = match rank {
        0 => (c.output(0)?.clone(), dy.clone()),
        _ => (c.output(0)?.unsqueeze(dim)?, dy.unsqueeze(dim)?),
    };
    let back = unit.mul(&y)?.masked_fill(&raw.le(eps)?, 0.0)?;
    dy.mul(&other.div(&far)?.sub(&back)?)?.div(&near)
}

fn added_samples(s: &mut Samples, bias: &[usize], a: &[usize], b: &[usize]) {
    let d = s.dtype;
    if d == DType::Bool {
        return;
    }
    let t = |dims: &[usize]| tensor(d, dims, 0.0, 2.0);
    s.case([t(bias), t(a), t(b)]);
    s.case([t(&[]), t(a), t(b)]);
    s.case([t(bias), t(a), t(b), host(2i64), host(3i64)]);
    s.case([t(bias), t(a), t(b), host(0i64), host(1i64)]);
}

fn added_errors(e: &mut ErrorSamples, a: &[usize], b: &[usize]) {
    e.case(ErrorKind::Shape, [f32s(&[7, 7, 7]), f32s(a), f32s(b)]);
    e.case(ErrorKind::Shape, [f32s(&[]), f32s(&[2, 2, 2, 2]), f32s(b)]);
    e.case(ErrorKind::DType, [i64s(&[]), f32s(a), f32s(b)]);
}

ops! {
    /// beta * self + alpha * (mat vec); self broadcasts to the product.
    ADDMV = "addmv(Tensor self, Tensor mat, Tensor vec, *, Scalar beta=1, Scalar alpha=1) -> Tensor" {
        infer: |c| infer_added(c, [2, 1], "addmv"),
        vjp: Vjp::Rule(Saves { inputs: 6, ..Saves::FACTORS }, |c| {
            let (dy, beta, alpha) = (c.dy()?, c.host(3)?, c.host(4)?);
            Ok(smallvec![
                wanted(c, 0, || times(dy.sum_to_size(&c.input_dims(0)?)?, beta))?,
                wanted(c, 1, || times(dy.unsqueeze(1)?.mul(c.input(2)?)?, alpha))?,
                wanted(c, 2, || times(c.input(1)?.transpose(0, 1)?.matmul(dy)?, alpha))?,
            ])
        }),
        effect: Effect::Pure,
        cost: inner_cost,
        lower: Lower::Steps(lower_addmv),
        samples: |s| added_samples(s, &[3], &[3, 4], &[4]),
        errors: |e| added_errors(e, &[3, 4], &[4]),
    }
    /// beta * self + alpha * the outer product of two vectors; self broadcasts to it.
    ADDR = "addr(Tensor self, Tensor vec1, Tensor vec2, *, Scalar? beta=None, Scalar? alpha=None) -> Tensor" {
        infer: |c| infer_added(c, [1, 1], "addr"),
        vjp: Vjp::Rule(Saves { inputs: 6, ..Saves::FACTORS }, |c| {
            let (dy, beta, alpha) = (c.dy()?, c.host(3)?, c.host(4)?);
            Ok(smallvec![
                wanted(c, 0, || times(dy.sum_to_size(&c.input_dims(0)?)?, beta))?,
                wanted(c, 1, || times(dy.matmul(c.input(2)?)?, alpha))?,
                wanted(c, 2, || times(dy.transpose(0, 1)?.matmul(c.input(1)?)?, alpha))?,
            ])
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<4>,
        lower: Lower::Loop(lower_addr),
        samples: |s| added_samples(s, &[3, 4], &[3], &[4]),
        errors: |e| added_errors(e, &[3], &[4]),
    }
    /// beta * self + alpha * (batch1 batch2), matrix by matrix; self broadcasts to the products.
    BADDBMM = "baddbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) -> Tensor" {
        infer: |c| infer_added(c, [3, 3], "baddbmm"),
        vjp: Vjp::Rule(Saves { inputs: 6, ..Saves::FACTORS }, |c| {
            let (dy, beta, alpha) = (c.dy()?, c.host(3)?, c.host(4)?);
            Ok(smallvec![
                wanted(c, 0, || times(dy.sum_to_size(&c.input_dims(0)?)?, beta))?,
                wanted(c, 1, || times(dy.matmul(&c.input(2)?.transpose(1, 2)?)?, alpha))?,
                wanted(c, 2, || times(c.input(1)?.transpose(1, 2)?.matmul(dy)?, alpha))?,
            ])
        }),
        effect: Effect::Pure,
        cost: inner_cost,
        lower: Lower::Steps(|s| {
            let (bias, a, b, c) = (s.input(0)?, s.input(1)?, s.input(2)?, s.output(0));
            lower_scaled_product(s, bias, a, b, c)
        }),
        samples: |s| {
            added_samples(s, &[2, 3, 5], &[2, 3, 4], &[2, 4, 5]);
            added_samples(s, &[3, 1], &[2, 3, 4], &[2, 4, 5]);
        },
        errors: |e| added_errors(e, &[2, 3, 4], &[2, 4, 5]),
    }
    /// The product along a dimension over both lengths, which are not below eps.
    COSINE_SIMILARITY = "cosine_similarity(Tensor x1, Tensor x2, int dim=1, float eps=1e-08) -> Tensor" {
        infer: infer_similarity,
        vjp: Vjp::Rule(Saves::BOTH, |c| {
            let dy = c.dy()?;
            Ok(smallvec![
                wanted(c, 0, || unbroadcast(c, 0, similarity_gradient(c, dy, 0)?))?,
                wanted(c, 1, || unbroadcast(c, 1, similarity_gradient(c, dy, 1)?))?,
            ])
        }),
        effect: Effect::Pure,
        cost: cost::per_input::<6>,
        lower: Lower::Loop(lower_similarity),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let t = |dims: &[usize]| tensor(d, dims, -1.0, 2.0);
                s.case([t(&[3, 4]), t(&[3, 4])]);
                s.case([t(&[3, 4]), t(&[3, 4]), host(0i64), host(0.5)]);
                s.case([t(&[2, 3, 4]), t(&[1, 3, 4]), host(-1i64)]);
                s.case([t(&[2, 3]), t(&[3]), host(1i64)]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[2, 3]), f32s(&[2, 4])]);
            e.case(ErrorKind::Index, [f32s(&[3]), f32s(&[3])]);
            e.case(ErrorKind::DType, [i64s(&[2, 3]), i64s(&[2, 3])]);
        },
    }
}

macro_rules! added {
    ($($(#[$doc:meta])* $name:ident $op:ident;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name<'a>(
                &'a self,
                a: &'a Tensor,
                b: &'a Tensor,
                beta: impl Into<Arg<'a>>,
                alpha: impl Into<Arg<'a>>,
            ) -> Result<Tensor> {
                bind1(&$op, &[Arg::Tensor(self), Arg::Tensor(a), Arg::Tensor(b), beta.into(), alpha.into()])
            }
        )*}
    };
}

added! {
    /// beta * self + alpha * (a b), of a matrix and a vector.
    addmv ADDMV;
    /// beta * self + alpha * the outer product of two vectors.
    addr ADDR;
    /// beta * self + alpha * (a b), of batches of matrices.
    baddbmm BADDBMM;
}

impl Tensor {
    /// The product with `other` along `dim` over both lengths, which are not below `eps`.
    #[track_caller]
    pub fn cosine_similarity(&self, other: &Tensor, dim: i64, eps: f64) -> Result<Tensor> {
        let args = [Arg::Tensor(self), Arg::Tensor(other), Arg::Int(dim), Arg::Float(eps)];
        bind1(&COSINE_SIMILARITY, &args)
    }
}
