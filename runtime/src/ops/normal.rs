//! Row-wise composites: softmax, log_softmax, layer_norm and their gradients. Each is one loop program, computed in the
//! accumulation type.

use super::rules::{
    Formula, chain, dtype_or, f32s, finish, float_only, float_or, i64s, ints, one, wanted, wide,
};
use crate::door::{bind, bind1};
use crate::error::{Error, ErrorKind, Origin, Result};
use crate::infer::{Dim, Infer, TensorType, Types, wrap_dim};
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, Samples, host, none, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::loops::{Node, ReduceOp};
use kernels::{DType, Dims};
use smallvec::smallvec;

/// dim, dtype.
fn infer_softmax(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    c.dim(1, t.rank())?;
    let dtype = dtype_or(c.host(2)?, t.dtype)?;
    float_only(dtype)?;
    one(dtype, t.shape.clone())
}

/// A cotangent and an output of one type, and the dimension.
fn infer_softmax_backward(c: &Infer) -> Result<Types> {
    let (dy, y) = (c.tensor(0)?, c.tensor(1)?);
    float_only(y.dtype)?;
    c.dim(2, y.rank())?;
    match dy == y {
        true => Ok(smallvec![y.clone()]),
        false => Err(Error::shape(format!("a cotangent of type {dy} for a value of type {y}"))),
    }
}

/// The dimension as a list; none for rank 0, which is one point.
fn row_dims(l: &Lowering, i: usize) -> Result<Dims> {
    let rank = l.region.shape(l.input(0)?).len();
    let dim = wrap_dim(l.host(i)?.int()?, rank)?;
    Ok(if rank == 0 { Dims::new() } else { smallvec![dim] })
}

/// A row less its maximum, and its exponentials.
pub(super) struct Shifted {
    /// The maximum.
    pub(super) top: Node,
    /// The row less the maximum.
    pub(super) low: Node,
    /// The exponentials of that.
    pub(super) grown: Node,
    /// Their sum.
    pub(super) sum: Node,
}

/// The exponentials of rows, safe for large elements.
pub(super) fn shifted(f: &mut Formula, x: Node, dims: &[usize]) -> Shifted {
    let top = f.region.reduce(ReduceOp::Max, x, dims, true);
    let low = f.sub(x, top);
    let grown = f.exp(low);
    let sum = f.region.reduce(ReduceOp::Sum, grown, dims, true);
    Shifted { top, low, grown, sum }
}

fn lower_softmax(l: &mut Lowering) -> Result<()> {
    let dims = row_dims(l, 1)?;
    let x = wide(l, 0)?;
    let mut f = Formula::of(l);
    let Shifted { sum, grown, .. } = shifted(&mut f, x, &dims);
    let y = f.div(grown, sum);
    finish(l, y);
    Ok(())
}

fn lower_log_softmax(l: &mut Lowering) -> Result<()> {
    let dims = row_dims(l, 1)?;
    let x = wide(l, 0)?;
    let mut f = Formula::of(l);
    let Shifted { low, sum, .. } = shifted(&mut f, x, &dims);
    let log = f.log(sum);
    let y = f.sub(low, log);
    finish(l, y);
    Ok(())
}

fn lower_softmax_backward(l: &mut Lowering) -> Result<()> {
    let dims = row_dims(l, 2)?;
    let (dy, y) = (wide(l, 0)?, wide(l, 1)?);
    let mut f = Formula::of(l);
    let product = f.mul(dy, y);
    let sum = f.region.reduce(ReduceOp::Sum, product, &dims, true);
    let less = f.sub(dy, sum);
    let dx = f.mul(y, less);
    finish(l, dx);
    Ok(())
}

fn lower_log_softmax_backward(l: &mut Lowering) -> Result<()> {
    let dims = row_dims(l, 2)?;
    let (dy, y) = (wide(l, 0)?, wide(l, 1)?);
    let mut f = Formula::of(l);
    let sum = f.region.reduce(ReduceOp::Sum, dy, &dims, true);
    let p = f.exp(y);
    let share = f.mul(p, sum);
    let dx = f.sub(dy, share);
    finish(l, dx);
    Ok(())
}

/// Sum over the row, kept; rank 0 is its own sum.
fn row_sum(x: &Tensor, dim: i64) -> Result<Tensor> {
    if x.rank() == 0 { Ok(x.clone()) } else { x.sum(&[dim], true) }
}

/// Number of trailing dimensions that are normalised.
pub(super) fn normalised(c: &Infer, i: usize, x: &TensorType) -> Result<usize> {
    let shape = c.host(i)?.extents()?;
    let at = x.rank().checked_sub(shape.len()).filter(|_| !shape.is_empty());
    let fits = |at: usize| x.shape[at..].iter().zip(&shape).all(|(d, &n)| d.is(n) || d.known().is_none());
    match at {
        Some(at) if fits(at) => Ok(shape.len()),
        _ => Err(Error::shape(format!("{x} does not end in the normalised shape {:?}", shape.as_slice()))),
    }
}

/// The shape of one mean per row: trailing dimensions of extent 1.
fn row_type(x: &TensorType, trailing: usize) -> TensorType {
    let mut out = x.with_dtype(x.dtype.accumulator());
    let rank = out.rank();
    out.shape[rank - trailing..].fill(Dim::ONE);
    out
}

/// Optional operand `i` must have the normalised shape.
pub(super) fn check_affine(c: &Infer, i: usize, x: &TensorType, trailing: usize) -> Result<()> {
    match c.optional(i)? {
        Some(w) if w.shape[..] != x.shape[x.rank() - trailing..] => {
            Err(Error::shape(format!("{w} does not have the normalised shape of {x}")))
        }
        Some(w) if w.dtype != x.dtype => {
            Err(Error::dtype(format!("expected operands of one type, got {} and {}", x.dtype, w.dtype)))
        }
        _ => Ok(()),
    }
}

fn infer_layer_norm(c: &Infer) -> Result<Types> {
    let x = c.tensor(0)?;
    float_only(x.dtype)?;
    let trailing = normalised(c, 1, x)?;
    check_affine(c, 2, x, trailing)?;
    check_affine(c, 3, x, trailing)?;
    float_or(c.host(4)?, 1e-5)?;
    let row = row_type(x, trailing);
    Ok(smallvec![x.clone(), row.clone(), row])
}

pub(super) fn trailing_dims(rank: usize, trailing: usize) -> Dims {
    (rank - trailing..rank).collect()
}

fn lower_layer_norm(l: &mut Lowering) -> Result<()> {
    let trailing = l.host(1)?.ints()?.len();
    let eps = float_or(l.host(4)?, 1e-5)?;
    let x = wide(l, 0)?;
    let weight = if l.is_tensor(2) { Some(wide(l, 2)?) } else { None };
    let bias = if l.is_tensor(3) { Some(wide(l, 3)?) } else { None };
    let dims = trailing_dims(l.region.shape(x).len(), trailing);
    let mut f = Formula::of(l);
    let dtype = f.dtype;
    let sum = f.region.reduce(ReduceOp::Sum, x, &dims, true);
    let count = f.region.count(x, &dims, dtype);
    let mean = f.div(sum, count);
    // Two passes over a row that lies in the cache are faster than Welford's one, and as accurate.
    let centred = f.sub(x, mean);
    let squares = f.mul(centred, centred);
    let squares = f.region.reduce(ReduceOp::Sum, squares, &dims, true);
    let variance = f.div(squares, count);
    let eps = f.number(eps);
    let variance = f.add(variance, eps);
    let rstd = f.rsqrt(variance);
    let mut y = f.mul(centred, rstd);
    if let Some(weight) = weight {
        y = f.mul(y, weight);
    }
    if let Some(bias) = bias {
        y = f.add(y, bias);
    }
    finish(l, y);
    finish(l, mean);
    finish(l, rstd);
    Ok(())
}

/// x, mean and rstd of a gradient op, and the dims that are normalised.
fn infer_norm_backward(c: &Infer) -> Result<(TensorType, usize)> {
    let (dy, x) = (c.tensor(0)?, c.tensor(1)?);
    float_only(x.dtype)?;
    let trailing = normalised(c, 4, x)?;
    let row = row_type(x, trailing);
    if dy != x || *c.tensor(2)? != row || *c.tensor(3)? != row {
        return Err(Error::shape(format!(
            "a cotangent of type {dy} and rows of type {} for {x}",
            c.tensor(2)?
        )));
    }
    Ok((x.clone(), trailing))
}

/// xhat = (x - mean) rstd.
fn standardised(f: &mut Formula, x: Node, mean: Node, rstd: Node) -> Node {
    let centred = f.sub(x, mean);
    f.mul(centred, rstd)
}

fn lower_layer_norm_backward(l: &mut Lowering) -> Result<()> {
    let trailing = l.host(4)?.ints()?.len();
    let (dy, x, mean, rstd) = (wide(l, 0)?, wide(l, 1)?, wide(l, 2)?, wide(l, 3)?);
    let weight = if l.is_tensor(5) { Some(wide(l, 5)?) } else { None };
    let dims = trailing_dims(l.region.shape(x).len(), trailing);
    let mut f = Formula::of(l);
    let dtype = f.dtype;
    let count = f.region.count(x, &dims, dtype);
    let xhat = standardised(&mut f, x, mean, rstd);
    let g = weight.map_or(dy, |w| f.mul(dy, w));
    let aligned = f.mul(g, xhat);
    let sum = f.region.reduce(ReduceOp::Sum, g, &dims, true);
    let along = f.region.reduce(ReduceOp::Sum, aligned, &dims, true);
    let level = f.div(sum, count);
    let slope = f.div(along, count);
    let drift = f.mul(xhat, slope);
    let left = f.sub(g, level);
    let left = f.sub(left, drift);
    let dx = f.mul(rstd, left);
    finish(l, dx);
    Ok(())
}

fn lower_layer_norm_affine(l: &mut Lowering) -> Result<()> {
    let trailing = l.host(4)?.ints()?.len();
    let (dy, x, mean, rstd) = (wide(l, 0)?, wide(l, 1)?, wide(l, 2)?, wide(l, 3)?);
    let leading: Dims = (0..l.region.shape(x).len() - trailing).collect();
    let mut f = Formula::of(l);
    let xhat = standardised(&mut f, x, mean, rstd);
    let aligned = f.mul(dy, xhat);
    let weight = f.region.reduce(ReduceOp::Sum, aligned, &leading, false);
    let bias = f.region.reduce(ReduceOp::Sum, dy, &leading, false);
    finish(l, weight);
    finish(l, bias);
    Ok(())
}

/// Mean over the last `trailing` dimensions, kept.
fn row_mean(x: &Tensor, trailing: usize) -> Result<Tensor> {
    let dims: Vec<i64> = (1..=trailing as i64).map(|d| -d).collect();
    x.mean(&dims, true)
}

fn layer_norm_gradients(c: &VjpContext) -> Result<Gradients> {
    let shape = c.host(1)?;
    let (x, mean, rstd) = (c.input(0)?, c.output(1)?, c.output(2)?);
    let trailing = shape.ints()?.len();
    let count: f64 = shape.ints()?.iter().map(|&n| n as f64).product();
    let mut out = Gradients::new();
    let dy = c.cotangents.first().and_then(Option::as_ref);
    out.push(wanted(c, 0, || {
        let mut dx = match dy {
            Some(dy) => bind1(
                &LAYER_NORM_BACKWARD,
                &[Arg::Tensor(dy), Arg::Tensor(x), Arg::Tensor(mean), Arg::Tensor(rstd), shape, c.arg(2)?],
            )?,
            None => x.zeros_like(None)?,
        };
        // The row statistics are outputs too; gradients of gradients come back through them.
        if let Some(Some(dmean)) = c.cotangents.get(1) {
            dx = dx.add(&dmean.div(count)?.to(x.dtype())?)?;
        }
        if let Some(Some(drstd)) = c.cotangents.get(2) {
            let cube = rstd.square()?.mul(rstd)?;
            let slope = drstd.mul(&cube)?.mul(-1.0 / count)?;
            dx = dx.add(&x.to(mean.dtype())?.sub(mean)?.mul(&slope)?.to(x.dtype())?)?;
        }
        Ok(dx)
    })?);
    let (weight, bias) = (c.is_tensor(2), c.is_tensor(3));
    let (need_weight, need_bias) = (weight && c.needs(1), bias && c.needs(1 + weight as usize));
    let affine = match dy {
        Some(dy) if need_weight && x.rank() > trailing => Some(bind(
            &LAYER_NORM_AFFINE,
            &[Arg::Tensor(dy), Arg::Tensor(x), Arg::Tensor(mean), Arg::Tensor(rstd), shape],
            Origin::caller(),
        )?),
        _ => None,
    };
    let flat = |t: &Tensor| t.sum_to_size(&shape.extents()?);
    if weight {
        out.push(match (need_weight, dy, &affine) {
            (true, _, Some(both)) => Some(both[0].clone()),
            (true, Some(dy), None) => {
                let xhat = x.to(mean.dtype())?.sub(mean)?.mul(rstd)?;
                Some(dy.mul(&xhat.to(dy.dtype())?)?)
            }
            _ => None,
        });
    }
    if bias {
        out.push(match (need_bias, dy, &affine) {
            (true, _, Some(both)) => Some(both[1].clone()),
            (true, Some(dy), None) => Some(flat(dy)?),
            _ => None,
        });
    }
    Ok(out)
}

/// The gradient of `LAYER_NORM_BACKWARD` by the rules of its formula.
fn layer_norm_second(c: &VjpContext) -> Result<Gradients> {
    let (h, dy, x, mean, rstd) = (c.dy()?, c.input(0)?, c.input(1)?, c.input(2)?, c.input(3)?);
    let trailing = c.host(4)?.ints()?.len();
    let (own, wide) = (x.dtype(), mean.dtype());
    let (h, dy, x) = (h.to(wide)?, dy.to(wide)?, x.to(wide)?);
    let weight = if c.is_tensor(5) { Some(c.input(5)?.to(wide)?) } else { None };
    let xhat = x.sub(mean)?.mul(rstd)?;
    let g = match &weight {
        Some(w) => dy.mul(w)?,
        None => dy.clone(),
    };
    let mean_of = |t: &Tensor| row_mean(t, trailing);
    let slope = mean_of(&g.mul(&xhat)?)?;
    // dx = rstd (g - mean(g) - xhat slope); k is the cotangent of the bracket.
    let k = h.mul(rstd)?;
    let k_slope = mean_of(&k.mul(&xhat)?)?;
    let dg = k.sub(&mean_of(&k)?)?.sub(&xhat.mul(&k_slope)?)?;
    let dxhat = k.mul(&slope)?.add(&g.mul(&k_slope)?)?.neg()?;
    let bracket = g.sub(&mean_of(&g)?)?.sub(&xhat.mul(&slope)?)?;
    let rows = |t: &Tensor| t.sum_to_size(&c.input_dims(2)?);
    let mut out: Gradients = smallvec![
        wanted(c, 0, || match &weight {
            Some(w) => dg.mul(w)?.to(own),
            None => dg.to(own),
        })?,
        wanted(c, 1, || dxhat.mul(rstd)?.to(own))?,
        wanted(c, 2, || rows(&dxhat.mul(rstd)?.neg()?))?,
        wanted(c, 3, || rows(&h.mul(&bracket)?.add(&dxhat.mul(&x.sub(mean)?)?)?))?,
    ];
    if c.is_tensor(5) {
        out.push(wanted(c, 4, || dg.mul(&dy)?.sum_to_size(&c.input_dims(5)?)?.to(own))?);
    }
    Ok(out)
}

/// The gradient of `LAYER_NORM_AFFINE`: both outputs are linear in dy, the first also in xhat.
fn layer_norm_affine_second(c: &VjpContext) -> Result<Gradients> {
    let (dy, x, mean, rstd) = (c.input(0)?, c.input(1)?, c.input(2)?, c.input(3)?);
    let (own, wide) = (x.dtype(), mean.dtype());
    let (dy, x) = (dy.to(wide)?, x.to(wide)?);
    let centred = x.sub(mean)?;
    let hw = c.cotangents.first().and_then(Option::as_ref).map(|h| h.to(wide)).transpose()?;
    let hb = c.cotangents.get(1).and_then(Option::as_ref).map(|h| h.to(wide)).transpose()?;
    let zero = || c.input(0)?.zeros_like(Some(wide));
    let rows = |t: &Tensor| t.sum_to_size(&c.input_dims(2)?);
    let dxhat = match &hw {
        Some(hw) => dy.mul(hw)?,
        None => zero()?,
    };
    Ok(smallvec![
        wanted(c, 0, || {
            let mut out = match &hw {
                Some(hw) => centred.mul(rstd)?.mul(hw)?,
                None => zero()?,
            };
            if let Some(hb) = &hb {
                out = out.add(hb)?;
            }
            out.to(own)
        })?,
        wanted(c, 1, || dxhat.mul(rstd)?.to(own))?,
        wanted(c, 2, || rows(&dxhat.mul(rstd)?.neg()?))?,
        wanted(c, 3, || rows(&dxhat.mul(&centred)?))?,
    ])
}

fn softmax_samples(s: &mut Samples) {
    let d = s.dtype;
    if d.is_float() {
        let t = |dims: &[usize]| tensor(d, dims, -3.0, 3.0);
        s.case([t(&[3, 4]), host(1i64)]);
        s.case([t(&[2, 3, 4]), host(1i64)]);
        s.case([t(&[2, 3]), host(-2i64)]);
        s.case([t(&[]), host(0i64)]);
        s.case([t(&[2, 0]), host(1i64)]);
        s.case([t(&[3, 700]), host(1i64)]);
        s.case([t(&[3, 4]), host(1i64), host(DType::F64)]);
    }
}

fn softmax_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::Index, [f32s(&[2, 3]), host(2i64)]);
    e.case(ErrorKind::DType, [i64s(&[2, 3]), host(1i64)]);
}

fn backward_samples(s: &mut Samples) {
    let d = s.dtype;
    if d.is_float() {
        s.case([tensor(d, &[3, 4], -1.0, 1.0), tensor(d, &[3, 4], -2.0, 0.0), host(1i64)]);
        s.case([tensor(d, &[2, 3, 4], -1.0, 1.0), tensor(d, &[2, 3, 4], -2.0, 0.0), host(0i64)]);
        s.case([tensor(d, &[], -1.0, 1.0), tensor(d, &[], -2.0, 0.0), host(0i64)]);
    }
}

fn backward_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::Shape, [f32s(&[2]), f32s(&[3]), host(0i64)]);
}

fn norm_backward_samples(s: &mut Samples, weight: bool) {
    let d = s.dtype;
    if d.is_float() {
        let t = |dims: &[usize]| tensor(d, dims, -1.0, 1.0);
        let row = |dims: &[usize]| tensor(d.accumulator(), dims, 0.5, 1.5);
        let case = [t(&[3, 8]), t(&[3, 8]), row(&[3, 1]), row(&[3, 1]), host(&[8i64])];
        s.case(case.clone());
        if weight {
            s.case(case.into_iter().chain([t(&[8])]));
        }
        s.case([t(&[2, 3, 4]), t(&[2, 3, 4]), row(&[2, 1, 1]), row(&[2, 1, 1]), host(&[3i64, 4])]);
    }
}

fn norm_backward_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::Shape, [f32s(&[2, 3]), f32s(&[2, 3]), f32s(&[2]), f32s(&[2, 1]), host(&[3i64])]);
}

ops! {
    /// Exponentials along a dimension, divided by their sum.
    SOFTMAX = "softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor" {
        infer: infer_softmax,
        vjp: Vjp::Rule(Saves::OUTPUT, |c| chain(c, |dy| {
            bind1(&SOFTMAX_BACKWARD, &[Arg::Tensor(dy), Arg::Tensor(c.output(0)?), c.host(1)?])
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<15>,
        lower: Lower::Loop(lower_softmax),
        samples: softmax_samples,
        errors: softmax_errors,
    }
    /// The gradient of softmax from its value y: y (dy - sum(dy y)).
    SOFTMAX_BACKWARD = "softmax_backward(Tensor grad_output, Tensor output, int dim) -> Tensor" {
        infer: infer_softmax_backward,
        vjp: Vjp::Rule(Saves::INPUTS, |c| {
            let (h, dy, y, dim) = (c.dy()?, c.input(0)?, c.input(1)?, c.host(2)?);
            Ok(smallvec![
                wanted(c, 0, || bind1(&SOFTMAX_BACKWARD, &[Arg::Tensor(h), Arg::Tensor(y), dim]))?,
                wanted(c, 1, || {
                    let dim = dim.int()?;
                    let left = h.mul(&dy.sub(&row_sum(&dy.mul(y)?, dim)?)?)?;
                    left.sub(&dy.mul(&row_sum(&h.mul(y)?, dim)?)?)
                })?,
            ])
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<4>,
        lower: Lower::Loop(lower_softmax_backward),
        samples: backward_samples,
        errors: backward_errors,
    }
    /// Logarithm of softmax, computed without taking the logarithm of a quotient.
    LOG_SOFTMAX = "log_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor" {
        infer: infer_softmax,
        vjp: Vjp::Rule(Saves::OUTPUT, |c| chain(c, |dy| {
            bind1(&LOG_SOFTMAX_BACKWARD, &[Arg::Tensor(dy), Arg::Tensor(c.output(0)?), c.host(1)?])
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<15>,
        lower: Lower::Loop(lower_log_softmax),
        samples: softmax_samples,
        errors: softmax_errors,
    }
    /// The gradient of log_softmax from its value y: dy - e^y sum(dy).
    LOG_SOFTMAX_BACKWARD = "log_softmax_backward(Tensor grad_output, Tensor output, int dim) -> Tensor" {
        infer: infer_softmax_backward,
        vjp: Vjp::Rule(Saves::INPUTS, |c| {
            let (h, dy, y, dim) = (c.dy()?, c.input(0)?, c.input(1)?, c.host(2)?.int()?);
            let p = y.exp()?;
            Ok(smallvec![
                wanted(c, 0, || h.sub(&row_sum(&h.mul(&p)?, dim)?))?,
                wanted(c, 1, || h.mul(&p)?.mul(&row_sum(dy, dim)?)?.neg())?,
            ])
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<12>,
        lower: Lower::Loop(lower_log_softmax_backward),
        samples: backward_samples,
        errors: backward_errors,
    }
    /// Rows of the trailing dimensions, each brought to mean 0 and variance 1, then scaled and shifted; also the mean and
    /// the reciprocal standard deviation of each row, in the accumulation type.
    LAYER_NORM = "layer_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, Tensor? bias=None, float eps=1e-05) -> (Tensor, Tensor, Tensor)" {
        infer: infer_layer_norm,
        vjp: Vjp::Rule(Saves { inputs: 0b101, outputs: 0b110, ..Saves::NOTHING }, layer_norm_gradients),
        effect: Effect::Pure,
        cost: cost::per_input::<9>,
        lower: Lower::Loop(lower_layer_norm),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let t = |dims: &[usize]| tensor(d, dims, -1.0, 2.0);
                s.case([t(&[3, 8]), host(&[8i64]), t(&[8]), t(&[8]), host(1e-5)]);
                s.case([t(&[3, 8]), host(&[8i64]), none(), none(), host(1e-5)]);
                s.case([t(&[2, 3, 4]), host(&[3i64, 4]), t(&[3, 4]), t(&[3, 4]), host(1e-3)]);
                s.case([t(&[2, 3, 4]), host(&[4i64]), t(&[4]), none(), host(1e-5)]);
                s.case([t(&[8]), host(&[8i64]), t(&[8]), t(&[8])]);
                s.case([t(&[0, 4]), host(&[4i64]), t(&[4]), t(&[4]), host(1e-5)]);
                s.case([t(&[2, 700]), host(&[700i64]), none(), none(), host(1e-5)]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3, 4]), host(&[3i64])]);
            e.case(ErrorKind::Shape, [f32s(&[3, 4]), host(&[4i64]), f32s(&[3])]);
            e.case(ErrorKind::DType, [i64s(&[3, 4]), host(&[4i64])]);
        },
    }
    /// The gradient of layer_norm with respect to its input, from the statistics of its rows.
    LAYER_NORM_BACKWARD = "layer_norm_backward(Tensor grad_output, Tensor input, Tensor mean, Tensor rstd, int[] normalized_shape, Tensor? weight=None) -> Tensor" {
        infer: |c| {
            let (x, trailing) = infer_norm_backward(c)?;
            check_affine(c, 5, &x, trailing)?;
            Ok(smallvec![x])
        },
        vjp: Vjp::Rule(Saves::INPUTS, layer_norm_second),
        effect: Effect::Pure,
        cost: cost::per_output::<10>,
        lower: Lower::Loop(lower_layer_norm_backward),
        samples: |s| norm_backward_samples(s, true),
        errors: norm_backward_errors,
    }
    /// The gradients of layer_norm with respect to weight and bias: sums over all rows.
    LAYER_NORM_AFFINE = "layer_norm_affine(Tensor grad_output, Tensor input, Tensor mean, Tensor rstd, int[] normalized_shape) -> (Tensor, Tensor)" {
        infer: |c| {
            let (x, trailing) = infer_norm_backward(c)?;
            if x.rank() == trailing {
                return Err(Error::shape(format!("{x} has no rows to sum over")));
            }
            let part = TensorType { dtype: x.dtype, shape: x.shape[x.rank() - trailing..].into() };
            Ok(smallvec![part.clone(), part])
        },
        vjp: Vjp::Rule(Saves::INPUTS, layer_norm_affine_second),
        effect: Effect::Pure,
        cost: cost::per_input::<5>,
        lower: Lower::Loop(lower_layer_norm_affine),
        samples: |s| norm_backward_samples(s, false),
        errors: norm_backward_errors,
    }
}

impl Tensor {
    /// Exponentials along `dim`, divided by their sum.
    #[track_caller]
    pub fn softmax(&self, dim: i64) -> Result<Tensor> {
        bind1(&SOFTMAX, &[Arg::Tensor(self), Arg::Int(dim)])
    }

    /// Logarithm of softmax.
    #[track_caller]
    pub fn log_softmax(&self, dim: i64) -> Result<Tensor> {
        bind1(&LOG_SOFTMAX, &[Arg::Tensor(self), Arg::Int(dim)])
    }

    /// Rows of the trailing dimensions `shape`, brought to mean 0 and variance 1, then scaled and shifted.
    #[track_caller]
    pub fn layer_norm(
        &self,
        shape: &[usize],
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<Tensor> {
        let shape = ints(shape);
        let args = [Arg::Tensor(self), Arg::Ints(&shape), weight.into(), bias.into(), Arg::Float(eps)];
        let mut outputs = bind(&LAYER_NORM, &args, Origin::caller())?;
        outputs.truncate(1);
        outputs.pop().ok_or_else(|| Error::internal("layer_norm made no output"))
    }
}
