//! Elements by their order along one dimension: sort, topk, kthvalue, median, mode, and where values would be inserted.
//!
//! NaN is greater than every number, and equal elements keep their order, as in torch's stable sort. Every one of them
//! picks elements, so every gradient is a scatter to the places that were picked.

use super::extrema::{nonempty, share_of};
use super::index::at_least_one;
use super::places::both;
use super::rules::{f32s, flag, wanted};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Dim, Infer, TensorType, Types, reduced, wrap_dim};
use crate::lower::{Steps, View};
use crate::samples::{ErrorSamples, Samples, exact, host, none, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::routines::Kind;
use smallvec::smallvec;

/// The dimension of operand `i`, the last where it is left out.
fn dim_or_last(arg: Arg, rank: usize) -> Result<usize> {
    wrap_dim(if arg.is_none() { -1 } else { arg.int()? }, rank)
}

/// A view with a dimension moved to the end.
fn along(v: View, dim: usize) -> View {
    let v = at_least_one(v);
    let mut order: Vec<usize> = (0..v.layout.rank()).filter(|&d| d != dim).collect();
    order.push(dim);
    View { layout: v.layout.permute(&order), ..v }
}

/// A type with the extent of `dim` replaced, and that of its places.
fn with_places(t: &TensorType, dim: usize, extent: Option<Dim>) -> Types {
    let mut shape = t.shape.clone();
    if let (Some(extent), Some(d)) = (extent, shape.get_mut(dim)) {
        *d = extent;
    }
    smallvec![TensorType { dtype: t.dtype, shape: shape.clone() }, TensorType { dtype: DType::I64, shape }]
}

/// How many are chosen (operand 1), at most as many as there are.
fn chosen(c: &Infer, dim: usize, least: i64) -> Result<usize> {
    let (t, k) = (c.tensor(0)?, c.host(1)?.int()?);
    let n = t.shape.get(dim).map_or(Some(1), |d| d.known());
    match n {
        Some(n) if k < least || k > n as i64 => {
            Err(Error::index(format!("k = {k} is out of range for a dimension of size {n}"))
                .at_dim(dim as isize))
        }
        _ => Ok(k as usize),
    }
}

/// Runs a routine over the last dimension of operand 0, laid out so that the members are rows.
fn lower_rows(s: &mut Steps, dim: usize, kind: Kind, more: &[usize], outputs: &[View]) -> Result<()> {
    let x = along(s.input(0)?, dim);
    let n = x.layout.shape[x.layout.rank() - 1];
    let batch: usize = x.layout.shape[..x.layout.rank() - 1].iter().product();
    let mut extents = vec![n];
    extents.extend(more);
    let operands: Vec<&View> = std::iter::once(&x).chain(outputs).collect();
    s.routine(kind, x.dtype, batch, &extents, &operands)
}

/// The cotangent of the picked elements, scattered to their places (output 1) along `dim`.
fn back_to_places(c: &VjpContext, dim: i64) -> Result<Gradients> {
    Ok(smallvec![wanted(c, 0, || {
        let ty = c.input_type(0)?;
        let zeros = Tensor::zeros(&ty.constant_dims()?, ty.dtype, c.dy()?.device())?;
        zeros.scatter(dim, c.output(1)?, c.dy()?)
    })?])
}

/// The same where the dimension has gone, unless it was kept.
fn back_to_place(c: &VjpContext, dim: Arg, keepdim: Arg) -> Result<Gradients> {
    Ok(smallvec![wanted(c, 0, || {
        let (ty, dy, places) = (c.input_type(0)?, c.dy()?, c.output(1)?);
        let dims = ty.constant_dims()?;
        let dim = dim_or_last(dim, dims.len())? as i64;
        let zeros = Tensor::zeros(&dims, ty.dtype, dy.device())?;
        match flag(keepdim)? || dims.is_empty() {
            true => zeros.scatter(dim, places, dy),
            false => zeros.scatter(dim, &places.unsqueeze(dim)?, &dy.unsqueeze(dim)?),
        }
    })?])
}

/// An output of a reduction along `dim` as rows of one element.
fn kept(v: View, dim: usize, keepdim: bool) -> View {
    let rank_zero = v.layout.rank() == 0;
    let v = at_least_one(v);
    if keepdim || rank_zero {
        return along(v, dim);
    }
    let last = v.layout.rank();
    View { layout: v.layout.unsqueeze(last), ..v }
}

fn infer_picked(c: &Infer, dim: usize, keepdim: bool) -> Result<Types> {
    let t = c.tensor(0)?;
    let dims: kernels::Dims = if t.rank() == 0 { smallvec![] } else { smallvec![dim] };
    nonempty(c, &dims)?;
    let shape = reduced(&t.shape, &dims, keepdim);
    Ok(smallvec![
        TensorType { dtype: t.dtype, shape: shape.clone() },
        TensorType { dtype: DType::I64, shape }
    ])
}

/// self, dim, keepdim; without a dimension the median of all.
fn infer_median(c: &Infer) -> Result<Types> {
    let (t, dim) = (c.tensor(0)?, c.host(1)?);
    if !dim.is_none() {
        return infer_picked(c, c.dim(1, t.rank())?, flag(c.host(2)?)?);
    }
    if t.numel().is(0) {
        return Err(Error::shape("an empty tensor has no median"));
    }
    Ok(smallvec![TensorType::new(t.dtype, &[]), TensorType::new(DType::I64, &[])])
}

fn lower_median(s: &mut Steps, skip_nan: bool) -> Result<()> {
    let (value, place) = (s.output(0), s.output(1));
    if s.host(1)?.is_none() {
        let x = s.input(0)?;
        let n = x.layout.numel();
        return s.routine(Kind::Median { skip_nan }, x.dtype, 1, &[n], &[&x, &value, &place]);
    }
    let dim = wrap_dim(s.host(1)?.int()?, s.input(0)?.layout.rank())?;
    let keepdim = flag(s.host(2)?)?;
    let outputs = [kept(value, dim, keepdim), kept(place, dim, keepdim)];
    lower_rows(s, dim, Kind::Median { skip_nan }, &[], &outputs)
}

/// With a dimension the element that was picked gets the cotangent; of all elements those share it that are equal to
/// the median, as in torch.
fn median_gradients(c: &VjpContext) -> Result<Gradients> {
    if c.host(1)?.is_none() {
        return Ok(smallvec![wanted(c, 0, || share_of(c, c.output(0)?, c.dy()?))?]);
    }
    back_to_place(c, c.host(1)?, c.host(2)?)
}

fn median_samples(s: &mut Samples) {
    let d = s.dtype;
    if d == DType::Bool {
        return;
    }
    let t = |dims: &[usize]| tensor(d, dims, 0.0, 90.0);
    s.case([t(&[3, 4]), host(1i64)]);
    s.case([t(&[3, 5]), host(0i64), host(true)]);
    s.case([t(&[2, 3, 4]), host(-2i64), host(false)]);
    s.case([t(&[7])]);
    s.case([t(&[]), host(0i64)]);
    if d.is_float() {
        s.case([exact(d, &[5], &[1.0, f64::NAN, 3.0, 2.0, f64::NAN]), host(0i64)]);
        s.case([exact(d, &[2], &[f64::NAN, f64::NAN])]);
    }
}

fn picked_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::Index, [f32s(&[2, 3]), host(2i64)]);
    e.case(ErrorKind::Shape, [f32s(&[0]), host(0i64)]);
}

ops! {
    /// Elements in rising (or falling) order along a dimension, and where they stood; equal elements keep their order.
    SORT = "sort(Tensor self, int dim=-1, bool descending=False, *, bool stable=False) -> (Tensor, Tensor)" {
        infer: |c| {
            let t = c.tensor(0)?;
            Ok(with_places(t, dim_or_last(c.host(1)?, t.rank())?, None))
        },
        vjp: Vjp::Rule(Saves { outputs: 2, ..Saves::NOTHING }, |c| {
            let dim = c.host(1)?;
            back_to_places(c, if dim.is_none() { -1 } else { dim.int()? })
        }),
        effect: Effect::Pure,
        cost: cost::per_input::<8>,
        lower: Lower::Steps(|s| {
            let dim = dim_or_last(s.host(1)?, s.input(0)?.layout.rank())?;
            let outputs = [along(s.output(0), dim), along(s.output(1), dim)];
            lower_rows(s, dim, Kind::Sort { descending: flag(s.host(2)?)? }, &[], &outputs)
        }),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 90.0);
            s.case([t(&[3, 4])]);
            s.case([t(&[5, 4]), host(0i64), host(true)]);
            s.case([t(&[2, 3, 4]), host(-2i64), host(false), host(true)]);
            s.case([t(&[])]);
            s.case([t(&[2, 0]), host(1i64)]);
            s.case([exact(d, &[6], &[1i64, 0, 1, 0, 1, 0]), host(0i64), host(true)]);
            if d.is_float() {
                s.case([exact(d, &[6], &[1.0, f64::NAN, -0.0, 0.0, f64::NEG_INFINITY, f64::INFINITY])]);
            }
        },
        errors: |e| e.case(ErrorKind::Index, [f32s(&[2, 3]), host(2i64)]),
    }
    /// The k greatest (or least) elements along a dimension, in order, and where they stood.
    TOPK = "topk(Tensor self, int k, int dim=-1, bool largest=True, bool sorted=True) -> (Tensor, Tensor)" {
        infer: |c| {
            let t = c.tensor(0)?;
            let dim = dim_or_last(c.host(2)?, t.rank())?;
            let k = chosen(c, dim, 0)?;
            Ok(with_places(t, dim, Some(Dim::constant(k))))
        },
        vjp: Vjp::Rule(Saves { outputs: 2, ..Saves::NOTHING }, |c| {
            let dim = c.host(2)?;
            back_to_places(c, if dim.is_none() { -1 } else { dim.int()? })
        }),
        effect: Effect::Pure,
        cost: cost::per_input::<4>,
        lower: Lower::Steps(|s| {
            let dim = dim_or_last(s.host(2)?, s.input(0)?.layout.rank())?;
            let largest = s.host(3)?;
            let largest = largest.is_none() || largest.bool()?;
            let outputs = [along(s.output(0), dim), along(s.output(1), dim)];
            let k = s.host(1)?.int()? as usize;
            lower_rows(s, dim, Kind::Choose { largest }, &[k], &outputs)
        }),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 90.0);
            s.case([t(&[3, 4]), host(2i64)]);
            s.case([t(&[5, 4]), host(3i64), host(0i64), host(false)]);
            s.case([t(&[2, 3, 40]), host(3i64), host(1i64), host(true), host(false)]);
            s.case([t(&[70]), host(5i64)]);
            s.case([t(&[]), host(1i64)]);
            s.case([t(&[3]), host(0i64)]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[2, 3]), host(4i64)]);
            e.case(ErrorKind::Index, [f32s(&[2, 3]), host(-1i64)]);
            e.case(ErrorKind::Index, [f32s(&[2, 3]), host(1i64), host(2i64)]);
        },
    }
    /// The k-th smallest element (from 1) along a dimension, and where it stood.
    KTHVALUE = "kthvalue(Tensor self, int k, int dim=-1, bool keepdim=False) -> (Tensor, Tensor)" {
        infer: |c| {
            let dim = dim_or_last(c.host(2)?, c.tensor(0)?.rank())?;
            let types = infer_picked(c, dim, flag(c.host(3)?)?)?;
            chosen(c, dim, 1)?;
            Ok(types)
        },
        vjp: Vjp::Rule(Saves { outputs: 2, ..Saves::NOTHING }, |c| back_to_place(c, c.host(2)?, c.host(3)?)),
        effect: Effect::Pure,
        cost: cost::per_input::<4>,
        lower: Lower::Steps(|s| {
            let x = s.input(0)?;
            let dim = dim_or_last(s.host(2)?, x.layout.rank())?;
            let (k, keepdim) = (s.host(1)?.int()? as usize, flag(s.host(3)?)?);
            let mut shape = along(x.clone(), dim).layout.shape;
            let last = shape.len() - 1;
            shape[last] = k;
            let (values, places) = (s.temp(x.dtype, &shape), s.temp(DType::I64, &shape));
            lower_rows(s, dim, Kind::Choose { largest: false }, &[k], &[values.clone(), places.clone()])?;
            for (from, to) in [(values, s.output(0)), (places, s.output(1))] {
                let layout = from.layout.slice(last, k - 1, 1, 1);
                s.copy(&View { layout, ..from }, &kept(to, dim, keepdim))?;
            }
            Ok(())
        }),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 90.0);
            s.case([t(&[3, 4]), host(2i64)]);
            s.case([t(&[5, 4]), host(5i64), host(0i64), host(true)]);
            s.case([t(&[2, 3, 4]), host(1i64), host(1i64)]);
            s.case([t(&[]), host(1i64)]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[2, 3]), host(0i64)]);
            e.case(ErrorKind::Index, [f32s(&[2, 3]), host(4i64)]);
            e.case(ErrorKind::Index, [f32s(&[2, 3]), host(1i64), host(2i64)]);
        },
    }
    /// The lower median along a dimension (or of all elements), and where it stood; NaN if there is a NaN.
    MEDIAN = "median(Tensor self, int? dim=None, bool keepdim=False) -> (Tensor, Tensor)" {
        infer: infer_median,
        vjp: Vjp::Rule(Saves { outputs: 3, ..Saves::inputs(1) }, median_gradients),
        effect: Effect::Pure,
        cost: cost::per_input::<4>,
        lower: Lower::Steps(|s| lower_median(s, false)),
        samples: median_samples,
        errors: picked_errors,
    }
    /// The lower median of what is not NaN along a dimension (or of all elements), and where it stood.
    NANMEDIAN = "nanmedian(Tensor self, int? dim=None, bool keepdim=False) -> (Tensor, Tensor)" {
        infer: infer_median,
        vjp: Vjp::Rule(Saves { outputs: 3, ..Saves::inputs(1) }, median_gradients),
        effect: Effect::Pure,
        cost: cost::per_input::<4>,
        lower: Lower::Steps(|s| lower_median(s, true)),
        samples: median_samples,
        errors: picked_errors,
    }
    /// The most frequent element along a dimension (the smallest of several), and the last place where it stood.
    MODE = "mode(Tensor self, int dim=-1, bool keepdim=False) -> (Tensor, Tensor)" {
        infer: |c| {
            let dim = dim_or_last(c.host(1)?, c.tensor(0)?.rank())?;
            infer_picked(c, dim, flag(c.host(2)?)?)
        },
        vjp: Vjp::Rule(Saves { outputs: 2, ..Saves::NOTHING }, |c| back_to_place(c, c.host(1)?, c.host(2)?)),
        effect: Effect::Pure,
        cost: cost::per_input::<8>,
        lower: Lower::Steps(|s| {
            let dim = dim_or_last(s.host(1)?, s.input(0)?.layout.rank())?;
            let keepdim = flag(s.host(2)?)?;
            let outputs = [kept(s.output(0), dim, keepdim), kept(s.output(1), dim, keepdim)];
            lower_rows(s, dim, Kind::Mode, &[], &outputs)
        }),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 5.0);
            s.case([t(&[3, 4])]);
            s.case([t(&[5, 4]), host(0i64), host(true)]);
            s.case([t(&[]), none()]);
            s.case([exact(d, &[6], &[1i64, 0, 1, 0, 1, 1])]);
        },
        errors: picked_errors,
    }
    /// Where each value would be inserted into a sorted sequence: before equal elements, or after them.
    SEARCHSORTED = "searchsorted(Tensor sorted_sequence, Tensor self, bool right=False) -> Tensor" {
        infer: |c| {
            let (sorted, values) = (c.tensor(0)?, c.tensor(1)?);
            if sorted.dtype != values.dtype {
                return Err(Error::dtype(format!(
                    "the sequence holds {} and the values are {}",
                    sorted.dtype, values.dtype
                )));
            }
            let rank = sorted.rank();
            let fits = rank == 1 || rank > 1 && values.rank() == rank && sorted.shape[..rank - 1] == values.shape[..rank - 1];
            if !fits {
                return Err(Error::shape(format!(
                    "a sequence {sorted} must have one dimension, or all but the last of the values {values}"
                )));
            }
            Ok(smallvec![values.with_dtype(DType::I64)])
        },
        vjp: Vjp::Zero,
        effect: Effect::Pure,
        cost: cost::per_output::<8>,
        lower: Lower::Steps(|s| {
            let (sorted, values, out) = (s.input(0)?, s.input(1)?, s.output(0));
            let rank = sorted.layout.rank();
            let (n, all) = (sorted.layout.shape[rank - 1], values.layout.numel());
            let batch: usize = sorted.layout.shape[..rank - 1].iter().product();
            if batch == 0 {
                return Ok(());
            }
            let kind = Kind::Search { right: flag(s.host(2)?)? };
            s.routine(kind, sorted.dtype, batch, &[n, all / batch], &[&sorted, &values, &out])
        }),
        samples: |s| {
            let d = s.dtype;
            if d == DType::Bool {
                return;
            }
            s.case([exact(d, &[5], &[1i64, 3, 5, 5, 9]), exact(d, &[2, 3], &[3i64, 6, 9, 0, 5, 10])]);
            s.case([exact(d, &[5], &[1i64, 3, 5, 5, 9]), exact(d, &[4], &[3i64, 6, 5, 10]), host(true)]);
            s.case([exact(d, &[2, 2], &[1i64, 3, 5, 7]), exact(d, &[2, 3], &[3i64, 6, 0, 0, 5, 10])]);
            s.case([exact(d, &[3], &[1i64, 3, 5]), exact(d, &[], &[4i64])]);
            s.case([tensor(d, &[0], 0.0, 1.0), tensor(d, &[3], 0.0, 1.0)]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[2, 3]), f32s(&[3, 3])]);
            e.case(ErrorKind::DType, [f32s(&[3]), super::rules::i64s(&[3])]);
        },
    }
}

impl Tensor {
    /// Elements in rising (or falling) order along `dim`, and where they stood.
    #[track_caller]
    pub fn sort(&self, dim: i64, descending: bool) -> Result<(Tensor, Tensor)> {
        both(&SORT, &[Arg::Tensor(self), Arg::Int(dim), Arg::Bool(descending)])
    }

    /// The places of the elements in rising (or falling) order along `dim`.
    #[track_caller]
    pub fn argsort(&self, dim: i64, descending: bool) -> Result<Tensor> {
        Ok(self.detach()?.sort(dim, descending)?.1)
    }

    /// The k greatest (or least) elements along `dim`, in order, and where they stood.
    #[track_caller]
    pub fn topk(&self, k: i64, dim: i64, largest: bool) -> Result<(Tensor, Tensor)> {
        both(&TOPK, &[Arg::Tensor(self), Arg::Int(k), Arg::Int(dim), Arg::Bool(largest)])
    }

    /// The k-th smallest element (from 1) along `dim`, and where it stood.
    #[track_caller]
    pub fn kthvalue(&self, k: i64, dim: i64, keepdim: bool) -> Result<(Tensor, Tensor)> {
        both(&KTHVALUE, &[Arg::Tensor(self), Arg::Int(k), Arg::Int(dim), Arg::Bool(keepdim)])
    }

    /// The lower median along `dim` (of all elements if `None`), and where it stood.
    #[track_caller]
    pub fn median(&self, dim: Option<i64>, keepdim: bool) -> Result<(Tensor, Tensor)> {
        both(&MEDIAN, &[Arg::Tensor(self), dim.into(), Arg::Bool(keepdim)])
    }

    /// The lower median of what is not NaN along `dim` (of all elements if `None`), and where it stood.
    #[track_caller]
    pub fn nanmedian(&self, dim: Option<i64>, keepdim: bool) -> Result<(Tensor, Tensor)> {
        both(&NANMEDIAN, &[Arg::Tensor(self), dim.into(), Arg::Bool(keepdim)])
    }

    /// The most frequent element along `dim`, and the last place where it stood.
    #[track_caller]
    pub fn mode(&self, dim: i64, keepdim: bool) -> Result<(Tensor, Tensor)> {
        both(&MODE, &[Arg::Tensor(self), Arg::Int(dim), Arg::Bool(keepdim)])
    }

    /// Where each of `values` would be inserted into this sorted sequence: before equal elements, or after them.
    #[track_caller]
    pub fn searchsorted(&self, values: &Tensor, right: bool) -> Result<Tensor> {
        bind1(&SEARCHSORTED, &[Arg::Tensor(self), Arg::Tensor(values), Arg::Bool(right)])
    }
}
