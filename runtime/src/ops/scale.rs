//! Normalising by groups: rms_norm over trailing dimensions, group_norm over the channels of a group. Each is one loop
//! program; gradients are ordinary tensor code.

use super::normal::{check_affine, normalised, trailing_dims};
use super::rules::{Formula, f32s, finish, float_only, float_or, i64s, ints, one, same_float, wanted, wide};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, Types};
use crate::lower::{Lowering, Steps, View};
use crate::samples::{host, none, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::loops::ReduceOp;
use kernels::{DType, Dims};
use smallvec::{SmallVec, smallvec};

/// The distance from 1 to the next number, torch's eps where none is given.
fn precision(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        DType::F64 => f64::EPSILON,
        DType::F32 | DType::Bool | DType::U8 | DType::I32 | DType::I64 => f64::from(f32::EPSILON),
    }
}

fn lower_rms_norm(l: &mut Lowering) -> Result<()> {
    let trailing = l.host(1)?.ints()?.len();
    let eps = float_or(l.host(3)?, precision(l.dtype(0)))?;
    let x = wide(l, 0)?;
    let weight = if l.is_tensor(2) { Some(wide(l, 2)?) } else { None };
    let dims = trailing_dims(l.region.shape(x).len(), trailing);
    let mut f = Formula::of(l);
    let dtype = f.dtype;
    let square = f.mul(x, x);
    let sum = f.region.reduce(ReduceOp::Sum, square, &dims, true);
    let (count, eps) = (f.region.count(x, &dims, dtype), f.number(eps));
    let mean = f.div(sum, count);
    let mean = f.add(mean, eps);
    let scale = f.rsqrt(mean);
    let mut y = f.mul(x, scale);
    if let Some(weight) = weight {
        y = f.mul(y, weight);
    }
    finish(l, y);
    Ok(())
}

/// With r = rsqrt(mean(x^2) + eps): dx = r (g - x r^2 mean(g x)).
fn rms_norm_gradients(c: &VjpContext) -> Result<Gradients> {
    let own = c.input(0)?.dtype();
    let wide = own.accumulator();
    let (dy, x) = (c.dy()?.to(wide)?, c.input(0)?.to(wide)?);
    let dims: SmallVec<[i64; 6]> = (1..=c.host(1)?.ints()?.len() as i64).map(|d| -d).collect();
    let eps = float_or(c.host(3)?, precision(own))?;
    let r = x.square()?.mean(&dims, true)?.add(eps)?.rsqrt()?;
    let mut out = Gradients::new();
    out.push(wanted(c, 0, || {
        let g = if c.is_tensor(2) { dy.mul(&c.input(2)?.to(wide)?)? } else { dy.clone() };
        let along = g.mul(&x)?.mean(&dims, true)?;
        g.sub(&x.mul(&r.square()?.mul(&along)?)?)?.mul(&r)?.to(own)
    })?);
    if c.is_tensor(2) {
        out.push(wanted(c, 1, || dy.mul(&x.mul(&r)?)?.sum_to_size(&c.input_dims(2)?)?.to(own))?);
    }
    Ok(out)
}

/// Number of groups that divides the channels.
fn groups(arg: Arg, channels: usize) -> Result<usize> {
    let n = arg.int()?;
    match usize::try_from(n) {
        Ok(n) if n > 0 && channels.is_multiple_of(n) => Ok(n),
        Ok(0) | Err(_) => Err(Error::value(format!("the number of groups must be positive, got {n}"))),
        Ok(n) => Err(Error::value(format!("{channels} channels do not make {n} groups"))),
    }
}

fn infer_group_norm(c: &Infer) -> Result<Types> {
    let x = c.tensor(0)?;
    float_only(x.dtype)?;
    float_or(c.host(4)?, 1e-5)?;
    let channels = match x.rank() {
        0 | 1 => return Err(Error::shape(format!("{x} has no dimension of channels"))),
        _ => super::view::extent(x, 1)?,
    };
    if channels == 0 || x.shape[2..].iter().any(|d| d.is(0)) {
        return Err(Error::value(format!("{x} has channels without elements")));
    }
    groups(c.host(1)?, channels)?;
    if let Some(d) = (1..x.rank()).find(|&d| x.shape[d].is(0)) {
        return Err(Error::shape(format!("{x} has nothing to normalise")).at_dim(d as isize));
    }
    for i in [2, 3] {
        match c.optional(i)? {
            Some(w) if w.dtype != x.dtype => {
                return Err(Error::dtype(format!(
                    "expected operands of one type, got {} and {}",
                    x.dtype, w.dtype
                )));
            }
            Some(w) if w.rank() != 1 || !w.shape[0].is(channels) => {
                return Err(Error::shape(format!("{w} does not fit the {channels} channels of {x}")));
            }
            _ => {}
        }
    }
    same_float(c)
}

/// Dimension 1 as groups and the channels of each.
fn grouped(mut v: View, groups: usize, dim: usize) -> View {
    let (n, stride) = (v.layout.shape[dim] / groups, v.layout.strides[dim]);
    v.layout.shape[dim] = groups;
    v.layout.strides[dim] = stride * n as isize;
    v.layout.shape.insert(dim + 1, n);
    v.layout.strides.insert(dim + 1, stride);
    v
}

fn lower_group_norm(s: &mut Steps) -> Result<()> {
    let (x, out) = (s.input(0)?, s.output(0));
    let groups = groups(s.host(1)?, x.layout.shape[1])?;
    let eps = float_or(s.host(4)?, 1e-5)?;
    let (dtype, wide) = (x.dtype, x.dtype.accumulator());
    let (x, out) = (grouped(x, groups, 1), grouped(out, groups, 1));
    let rank = x.layout.rank();
    let mut inputs = vec![x];
    for i in [2, 3] {
        if s.is_tensor(i) {
            let mut v = grouped(s.input(i)?, groups, 0);
            while v.layout.rank() < rank - 1 {
                v.layout = v.layout.unsqueeze(v.layout.rank());
            }
            inputs.push(v);
        }
    }
    let (weight, bias) = (s.is_tensor(2), s.is_tensor(3));
    let inputs: SmallVec<[&View; 4]> = inputs.iter().collect();
    s.region(&inputs, &[&out], |r, n| {
        let dims: Dims = (2..rank).collect();
        let x = r.cast(n[0], wide);
        let mut f = Formula { region: r, dtype: wide };
        let sum = f.region.reduce(ReduceOp::Sum, x, &dims, true);
        let count = f.region.count(x, &dims, wide);
        let mean = f.div(sum, count);
        let centred = f.sub(x, mean);
        let squares = f.mul(centred, centred);
        let squares = f.region.reduce(ReduceOp::Sum, squares, &dims, true);
        let (variance, eps) = (f.div(squares, count), f.number(eps));
        let variance = f.add(variance, eps);
        let rstd = f.rsqrt(variance);
        let mut y = f.mul(centred, rstd);
        if weight {
            let w = f.region.cast(n[1], wide);
            y = f.mul(y, w);
        }
        if bias {
            let b = f.region.cast(n[1 + weight as usize], wide);
            y = f.add(y, b);
        }
        Ok(smallvec![f.region.cast(y, dtype)])
    })
}

/// dx = rstd (g - mean(g) - xhat mean(g xhat)), means over a group.
fn group_norm_gradients(c: &VjpContext) -> Result<Gradients> {
    let own = c.input(0)?.dtype();
    let wide = own.accumulator();
    let (dy, x) = (c.dy()?.to(wide)?, c.input(0)?.to(wide)?);
    let (groups, shape) = (c.host(1)?.int()?, ints(x.shape()));
    let rows = [shape[0], groups, x.numel() as i64 / (shape[0] * groups).max(1)];
    let mean = |t: &Tensor| t.mean(&[2], true);
    let flat = x.reshape(&rows)?;
    let centred = flat.sub(&mean(&flat)?)?;
    let rstd = mean(&centred.square()?)?.add(float_or(c.host(4)?, 1e-5)?)?.rsqrt()?;
    let xhat = centred.mul(&rstd)?;
    let others: SmallVec<[i64; 6]> = (0..shape.len() as i64).filter(|d| *d != 1).collect();
    let mut out = Gradients::new();
    out.push(wanted(c, 0, || {
        let mut g = dy.clone();
        if c.is_tensor(2) {
            let mut channels: SmallVec<[i64; 6]> = smallvec![1; shape.len()];
            channels[1] = -1;
            g = g.mul(&c.input(2)?.to(wide)?.reshape(&channels)?)?;
        }
        let g = g.reshape(&rows)?;
        let bracket = g.sub(&mean(&g)?)?.sub(&xhat.mul(&mean(&g.mul(&xhat)?)?)?)?;
        rstd.mul(&bracket)?.reshape(&shape)?.to(own)
    })?);
    if c.is_tensor(2) {
        out.push(wanted(c, 1, || dy.mul(&xhat.reshape(&shape)?)?.sum(&others, false)?.to(own))?);
    }
    if c.is_tensor(3) {
        out.push(wanted(c, 1 + c.is_tensor(2) as usize, || dy.sum(&others, false)?.to(own))?);
    }
    Ok(out)
}

ops! {
    /// Rows of the trailing dimensions over the root of their mean square, then scaled.
    RMS_NORM = "rms_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, float? eps=None) -> Tensor" {
        infer: |c| {
            let x = c.tensor(0)?;
            float_only(x.dtype)?;
            let trailing = normalised(c, 1, x)?;
            check_affine(c, 2, x, trailing)?;
            float_or(c.host(3)?, 0.0)?;
            one(x.dtype, x.shape.clone())
        },
        vjp: Vjp::Rule(Saves::INPUTS, rms_norm_gradients),
        effect: Effect::Pure,
        cost: cost::per_input::<5>,
        lower: Lower::Loop(lower_rms_norm),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let t = |dims: &[usize]| tensor(d, dims, -1.0, 2.0);
                s.case([t(&[3, 8]), host(&[8i64])]);
                s.case([t(&[3, 8]), host(&[8i64]), t(&[8]), host(1e-5)]);
                s.case([t(&[2, 3, 4]), host(&[3i64, 4]), t(&[3, 4]), host(1e-3)]);
                s.case([t(&[8]), host(&[8i64]), none(), host(1e-5)]);
                s.case([t(&[0, 4]), host(&[4i64])]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3, 4]), host(&[3i64])]);
            e.case(ErrorKind::Shape, [f32s(&[3, 4]), host(&[4i64]), f32s(&[3])]);
            e.case(ErrorKind::DType, [i64s(&[3, 4]), host(&[4i64])]);
        },
    }
    /// The channels (dimension 1) of each group, with all that follows, brought to mean 0 and variance 1, then scaled and
    /// shifted by channel.
    GROUP_NORM = "group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float eps=1e-05) -> Tensor" {
        infer: infer_group_norm,
        vjp: Vjp::Rule(Saves::INPUTS, group_norm_gradients),
        effect: Effect::Pure,
        cost: cost::per_input::<9>,
        lower: Lower::Steps(lower_group_norm),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let t = |dims: &[usize]| tensor(d, dims, -1.0, 2.0);
                s.case([t(&[2, 4, 3]), host(2i64), t(&[4]), t(&[4]), host(1e-5)]);
                s.case([t(&[2, 4, 2, 3]), host(4i64)]);
                s.case([t(&[3, 6]), host(2i64), t(&[6])]);
                s.case([t(&[2, 4, 3]), host(1i64), none(), t(&[4]), host(1e-3)]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Value, [f32s(&[2, 4]), host(3i64)]);
            e.case(ErrorKind::Value, [f32s(&[2, 4]), host(0i64)]);
            e.case(ErrorKind::Shape, [f32s(&[4]), host(1i64)]);
            e.case(ErrorKind::Shape, [f32s(&[2, 4]), host(2i64), f32s(&[2])]);
            e.case(ErrorKind::DType, [i64s(&[2, 4]), host(2i64)]);
        },
    }
}

impl Tensor {
    /// Rows of the trailing dimensions `shape` over the root of their mean square, then scaled.
    #[track_caller]
    pub fn rms_norm(&self, shape: &[usize], weight: Option<&Tensor>, eps: Option<f64>) -> Result<Tensor> {
        let shape = ints(shape);
        bind1(&RMS_NORM, &[Arg::Tensor(self), Arg::Ints(&shape), weight.into(), eps.into()])
    }

    /// The channels of each group brought to mean 0 and variance 1, then scaled and shifted by channel.
    #[track_caller]
    pub fn group_norm(
        &self,
        num_groups: i64,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<Tensor> {
        let args = [Arg::Tensor(self), Arg::Int(num_groups), weight.into(), bias.into(), Arg::Float(eps)];
        bind1(&GROUP_NORM, &args)
    }
}
