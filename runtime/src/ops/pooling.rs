//! The ops of pooling: the largest element, or the sum, of every window. Windows are products of their dimensions, so one dimension
//! is pooled at a time, the last one first; the first of equal elements in row-major order is found all the same.

use super::rules::{chain, f32s, flag, ints};
use super::view::extent;
use super::window::{add_tap, framed_with};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Dim, Infer, TensorType, Types};
use crate::lower::{Steps, View};
use crate::samples::{SampleArg, Samples, host, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::loops::{BinaryOp, Node, Region, UnaryOp};
use kernels::{DType, Dims, Scalar};
use smallvec::{SmallVec, smallvec};

/// The windows along one dimension.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    pub(super) dilation: usize,
    /// Number of windows.
    pub(super) places: usize,
}

/// Windows along every dimension of the kernel.
pub(super) type Spans = SmallVec<[Span; 3]>;

/// One number for all `n` dimensions, or one for each.
pub(super) fn numbers(what: &str, list: &[i64], n: usize) -> Result<SmallVec<[i64; 6]>> {
    match list.len() {
        1 => Ok(smallvec![list[0]; n]),
        given if given == n => Ok(SmallVec::from_slice(list)),
        _ => Err(Error::shape(format!("{what} must be one number or {n}, got {list:?}"))),
    }
}

/// The windows that operands (kernel, stride, padding, dilation, ceil_mode) cut out of `dims`. In `ceil` mode a window may
/// reach over the frame's end, but not start there.
pub(super) fn spans(
    kernel: &[i64],
    stride: &[i64],
    padding: &[i64],
    dilation: &[i64],
    ceil: bool,
    dims: &[usize],
) -> Result<Spans> {
    let n = dims.len();
    let stride = if stride.is_empty() { kernel } else { stride };
    let (kernel, stride) = (numbers("kernel_size", kernel, n)?, numbers("stride", stride, n)?);
    let (padding, dilation) = (numbers("padding", padding, n)?, numbers("dilation", dilation, n)?);
    (0..n)
        .map(|d| {
            let (k, s, p, l) = (kernel[d], stride[d], padding[d], dilation[d]);
            if k <= 0 {
                return Err(Error::value(format!("kernel_size must be greater than zero, got {k}")));
            }
            for (what, number, least) in [("stride", s, 1), ("dilation", l, 1), ("padding", p, 0)] {
                if number < least {
                    return Err(Error::value(format!("{what} must be at least {least}, got {number}")));
                }
            }
            let reach = i128::from(l) * i128::from(k - 1) + 1;
            if i128::from(p) > reach / 2 {
                return Err(Error::shape(format!(
                    "padding {p} is more than half of the window's {reach} places"
                )));
            }
            let room = dims[d] as i128 + 2 * i128::from(p) - reach + if ceil { i128::from(s) - 1 } else { 0 };
            let mut places = room.div_euclid(i128::from(s)) + 1;
            if ceil && (places - 1) * i128::from(s) >= dims[d] as i128 + i128::from(p) {
                places -= 1;
            }
            if places < 1 || i64::try_from(reach).is_err() {
                let what = format!("no window of {reach} places fits into {} with padding {p}", dims[d]);
                return Err(Error::shape(what).at_dim(d as isize));
            }
            let [kernel, stride, padding, dilation] = [k, s, p, l].map(|n| n as usize);
            Ok(Span { kernel, stride, padding, dilation, places: places as usize })
        })
        .collect()
}

/// The windows of operands 1 to 5 over `dims`, the last dimensions of which the kernel covers.
fn spans_of<'a>(host: impl Fn(usize) -> Result<Arg<'a>>, dims: &[usize]) -> Result<Spans> {
    let list = |i: usize, none: &[i64]| -> Result<SmallVec<[i64; 6]>> {
        let arg = host(i)?;
        if arg.is_none() { Ok(SmallVec::from_slice(none)) } else { arg.ints() }
    };
    let kernel = list(1, &[])?;
    let lead = dims.len().checked_sub(kernel.len()).filter(|_| !kernel.is_empty()).ok_or_else(|| {
        Error::shape(format!("a kernel of {} dimensions for a shape of {}", kernel.len(), dims.len()))
    })?;
    spans(&kernel, &list(2, &[])?, &list(3, &[0])?, &list(4, &[1])?, flag(host(5)?)?, &dims[lead..])
}

/// The first operand's type with the windows' numbers in place of the last dimensions.
fn pooled(c: &Infer) -> Result<TensorType> {
    let mut out = c.tensor(0)?.clone();
    if out.dtype == DType::Bool {
        return Err(Error::dtype("not defined for bool tensors"));
    }
    let n = c.host(1)?.ints()?.len().min(out.rank());
    let lead = out.rank() - n;
    let mut dims: Dims = smallvec![1; lead];
    for d in lead..out.rank() {
        dims.push(extent(&out, d)?);
    }
    for (d, span) in spans_of(|i| c.host(i), &dims)?.iter().enumerate() {
        out.shape[lead + d] = Dim::constant(span.places);
    }
    Ok(out)
}

/// How the windows along a dimension lie.
#[derive(Clone, Copy)]
pub(super) enum Cut {
    /// By stride.
    Slide(Span),
    /// The n elements in so many windows of nearly equal length.
    Even(usize),
}

/// The elements that take part at tap `l` of every window.
struct Taps {
    values: Vec<View>,
    places: Option<Vec<View>>,
    /// Whether a tap may be outside of its window or of the tensor.
    ragged: bool,
}

fn lowest(dtype: DType) -> Scalar {
    match dtype {
        DType::Bool | DType::U8 => Scalar::Int(0),
        DType::I32 => Scalar::Int(i64::from(i32::MIN)),
        DType::I64 => Scalar::Int(i64::MIN),
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 => Scalar::Float(f64::NEG_INFINITY),
    }
}

/// Each tap's elements as a view, of a copy in a frame where windows reach over the ends.
fn slide(s: &mut Steps, x: &View, dim: usize, span: Span, outside: Scalar) -> Result<(Vec<View>, bool)> {
    let reach = (span.places - 1) * span.stride + (span.kernel - 1) * span.dilation + 1;
    let n = x.layout.shape[dim];
    let ragged = span.padding > 0 || reach > n;
    let x = if ragged {
        let after = reach.saturating_sub(span.padding + n);
        framed_with(s, x, dim, span.padding, after, outside)?
    } else {
        x.clone()
    };
    let at = |l: usize| View {
        layout: x.layout.slice(dim, l * span.dilation, span.places, span.stride),
        ..x.clone()
    };
    Ok(((0..span.kernel).map(at).collect(), ragged))
}

/// Most elements of a window that even cuts make.
pub(super) fn longest(n: usize, out: usize) -> usize {
    (0..out).map(|o| ((o + 1) * n).div_ceil(out) - o * n / out).max().unwrap_or(1)
}

/// The first place of window `o`, and the one after its last, of `n` in `out` windows.
fn even_ends(r: &mut Region, o: Node, n: usize, out: usize) -> (Node, Node) {
    let number = |r: &mut Region, v: usize| r.constant(v as i64, DType::I64);
    let (many, count) = (number(r, n), number(r, out));
    let scaled = r.binary(BinaryOp::Mul, o, many);
    let first = r.binary(BinaryOp::FloorDiv, scaled, count);
    let more = number(r, n + out - 1);
    let above = r.binary(BinaryOp::Add, scaled, more);
    (first, r.binary(BinaryOp::FloorDiv, above, count))
}

/// The coordinate along `dim` in a value of this rank whose other extents are 1.
fn along(r: &mut Region, rank: usize, dim: usize, n: usize) -> Node {
    let mut shape: Dims = smallvec![1; rank];
    shape[dim] = n;
    r.index(&shape, dim)
}

fn even(s: &mut Steps, x: &View, dim: usize, out: usize) -> Result<Vec<View>> {
    let n = x.layout.shape[dim];
    let taps = longest(n, out);
    (0..taps)
        .map(|l| {
            let mut shape = x.layout.shape.clone();
            shape[dim] = out;
            let to = s.temp(x.dtype, &shape);
            s.region(&[x], &[&to], |r, nodes| {
                let o = along(r, shape.len(), dim, out);
                let (first, _) = even_ends(r, o, n, out);
                let (l, last) = (r.constant(l as i64, DType::I64), r.constant(n as i64 - 1, DType::I64));
                let at = r.binary(BinaryOp::Add, first, l);
                let at = r.binary(BinaryOp::Min, at, last);
                Ok(smallvec![r.gather(nodes[0], dim, at)])
            })?;
            Ok(to)
        })
        .collect()
}

/// Taps that one loop program looks at.
const TAPS: usize = 8;

/// The largest element of every window along `dim` and its place in the flattened last dimensions, `inner` of which lie
/// behind `dim`; later elements win where they are larger or NaN.
fn largest(
    s: &mut Steps,
    taps: &Taps,
    (dim, n, inner): (usize, usize, usize),
    cut: Cut,
    best: &View,
    place: &View,
) -> Result<()> {
    let shape = best.layout.shape.clone();
    for start in (0..taps.values.len()).step_by(TAPS) {
        let range = start..(start + TAPS).min(taps.values.len());
        let mut inputs: Vec<&View> = if start == 0 { Vec::new() } else { vec![best, place] };
        let first = inputs.len();
        inputs.extend(&taps.values[range.clone()]);
        let indices = inputs.len();
        if let Some(places) = &taps.places {
            inputs.extend(&places[range.clone()]);
        }
        s.region(&inputs, &[best, place], |r, nodes| {
            let number = |r: &mut Region, v: i64| r.constant(v, DType::I64);
            let o = along(r, shape.len(), dim, shape[dim]);
            let (origin, end) = match cut {
                Cut::Slide(span) => {
                    let step = number(r, span.stride as i64);
                    (r.binary(BinaryOp::Mul, o, step), number(r, n as i64))
                }
                Cut::Even(out) => even_ends(r, o, n, out),
            };
            let (zero, none) = (number(r, 0), number(r, -1));
            let mut found = (first > 0).then(|| (nodes[0], nodes[1]));
            for (k, l) in range.clone().enumerate() {
                let value = nodes[first + k];
                let shift = match cut {
                    Cut::Slide(span) => (l * span.dilation) as i64 - span.padding as i64,
                    Cut::Even(_) => l as i64,
                };
                let shift = number(r, shift);
                let row = r.binary(BinaryOp::Add, origin, shift);
                let (low, high) = (r.binary(BinaryOp::Ge, row, zero), r.binary(BinaryOp::Lt, row, end));
                let inside = r.binary(BinaryOp::And, low, high);
                let mut at = row;
                if taps.places.is_some() {
                    let inner = number(r, inner as i64);
                    let scaled = r.binary(BinaryOp::Mul, row, inner);
                    at = r.binary(BinaryOp::Add, scaled, nodes[indices + k]);
                }
                let Some((top, top_at)) = found else {
                    let at = if taps.ragged { r.select(inside, at, none) } else { at };
                    found = Some((value, at));
                    continue;
                };
                let mut take = r.binary(BinaryOp::Gt, value, top);
                if r.dtype(value).is_float() {
                    let nan = r.unary(UnaryOp::IsNan, value);
                    take = r.binary(BinaryOp::Or, take, nan);
                }
                if taps.ragged {
                    let unset = r.binary(BinaryOp::Lt, top_at, zero);
                    take = r.binary(BinaryOp::Or, take, unset);
                    take = r.binary(BinaryOp::And, take, inside);
                }
                found = Some((r.select(take, value, top), r.select(take, at, top_at)));
            }
            let (top, mut at) = found.ok_or_else(|| Error::internal("a window without taps"))?;
            if taps.ragged && range.end == taps.values.len() {
                at = r.binary(BinaryOp::Max, at, zero);
            }
            Ok(smallvec![r.expand(top, &shape), r.expand(at, &shape)])
        })?;
    }
    Ok(())
}

/// The largest elements and their places, for the cut of each of the last dimensions.
fn lower_largest(s: &mut Steps, cuts: &[Cut]) -> Result<()> {
    let (mut value, best, place) = (s.input(0)?, s.output(0), s.output(1));
    if best.layout.numel() == 0 {
        return Ok(());
    }
    let lead = value.layout.rank() - cuts.len();
    let (mut index, mut inner): (Option<View>, usize) = (None, 1);
    for (d, &cut) in cuts.iter().enumerate().rev() {
        let dim = lead + d;
        let n = value.layout.shape[dim];
        let mut shape = value.layout.shape.clone();
        shape[dim] = best.layout.shape[dim];
        let bottom = lowest(value.dtype);
        let (values, ragged) = match cut {
            Cut::Slide(span) => slide(s, &value, dim, span, bottom)?,
            Cut::Even(out) => (even(s, &value, dim, out)?, true),
        };
        let places = match (&index, cut) {
            (None, _) => None,
            (Some(index), Cut::Slide(span)) => Some(slide(s, index, dim, span, Scalar::Int(0))?.0),
            (Some(index), Cut::Even(out)) => Some(even(s, index, dim, out)?),
        };
        let taps = Taps { values, places, ragged };
        let (to, to_place) = if d == 0 {
            (best.clone(), place.clone())
        } else {
            (s.temp(value.dtype, &shape), s.temp(DType::I64, &shape))
        };
        largest(s, &taps, (dim, n, inner), cut, &to, &to_place)?;
        inner *= n;
        (value, index) = (to, Some(to_place));
    }
    Ok(())
}

/// Cotangents added at the places that their elements came from.
fn spread(c: &VjpContext, dims: usize) -> Result<Gradients> {
    let Some(Some(dy)) = c.cotangents.first() else { return Ok(smallvec![None]) };
    let x = c.input_dims(0)?;
    if !c.needs(0) {
        return Ok(smallvec![None]);
    }
    let lead = x.len() - dims;
    let mut flat: SmallVec<[i64; 6]> = ints(&x[..lead]);
    let mut whole = x[..lead].to_vec();
    whole.push(x[lead..].iter().product());
    flat.push(dy.shape()[lead..].iter().product::<usize>() as i64);
    let zeros = Tensor::zeros(&whole, dy.dtype(), dy.device())?;
    let added = zeros.scatter_add(-1, &c.output(1)?.reshape(&flat)?, &dy.reshape(&flat)?)?;
    Ok(smallvec![Some(added.reshape(&ints(&x))?)])
}

pub(super) fn even_cuts<'a>(
    host: impl Fn(usize) -> Result<Arg<'a>>,
    dims: &[usize],
) -> Result<SmallVec<[Cut; 3]>> {
    let out = host(1)?.ints()?;
    if out.is_empty() || out.len() >= dims.len() {
        return Err(Error::shape(format!("output_size {:?} for {} dimensions", out.as_slice(), dims.len())));
    }
    if let Some(low) = out.iter().find(|n| **n < 0) {
        return Err(Error::shape(format!("elements of output_size must not be negative, got {low}")));
    }
    let lead = dims.len() - out.len();
    let each = dims[lead..].iter().zip(&out);
    each.map(|(&n, &out)| {
        let out = out as usize;
        Ok(if out > 0 && n.is_multiple_of(out) {
            let kernel = n / out;
            Cut::Slide(Span { kernel, stride: kernel, padding: 0, dilation: 1, places: out })
        } else {
            Cut::Even(out)
        })
    })
    .collect()
}

fn infer_adaptive(c: &Infer) -> Result<Types> {
    let x = c.tensor(0)?;
    super::rules::float_only(x.dtype)?;
    let out = c.host(1)?.ints()?;
    even_cuts(|i| c.host(i), &Dims::from_elem(1, x.rank()))?;
    let lead = x.rank() - out.len();
    let mut best = x.clone();
    for (d, &n) in out.iter().enumerate() {
        if extent(x, lead + d)? == 0 {
            return Err(Error::shape(format!("{x} has no elements to pool")).at_dim((lead + d) as isize));
        }
        best.shape[lead + d] = Dim::constant(n as usize);
    }
    Ok(smallvec![best.clone(), best.with_dtype(DType::I64)])
}

/// Sums of windows, one dimension after the other, in the accumulation type.
fn lower_sum_pool(s: &mut Steps) -> Result<()> {
    let (mut x, out) = (s.input(0)?, s.output(0));
    if out.layout.numel() == 0 {
        return Ok(());
    }
    let spans = spans_of(|i| s.host(i), &x.layout.shape)?;
    let lead = x.layout.rank() - spans.len();
    let wide = x.dtype.accumulator();
    for (d, &span) in spans.iter().enumerate().rev() {
        let dim = lead + d;
        let (taps, _) = slide(s, &x, dim, span, Scalar::Int(0))?;
        let mut shape = x.layout.shape.clone();
        shape[dim] = span.places;
        let to = if d == 0 && wide == out.dtype { out.clone() } else { s.temp(wide, &shape) };
        for start in (0..taps.len()).step_by(TAPS) {
            let mut inputs: Vec<&View> = if start == 0 { Vec::new() } else { vec![&to] };
            inputs.extend(&taps[start..(start + TAPS).min(taps.len())]);
            s.region(&inputs, &[&to], |r, nodes| {
                let mut sum = r.cast(nodes[0], wide);
                for &tap in &nodes[1..] {
                    let tap = r.cast(tap, wide);
                    sum = r.binary(BinaryOp::Add, sum, tap);
                }
                Ok(smallvec![sum])
            })?;
        }
        x = to;
    }
    if x.slot != out.slot { s.copy(&x, &out) } else { Ok(()) }
}

/// grad_output, then as the sum's operands, the sizes last.
fn infer_sum_pool_backward(c: &Infer) -> Result<Types> {
    let dims = c.host(6)?.extents()?;
    let dy = c.tensor(0)?;
    let spans = spans_of(|i| c.host(i), &dims)?;
    let lead = dims.len() - spans.len();
    let fits = dy.rank() == dims.len()
        && (0..lead).all(|d| dy.shape[d].is(dims[d]))
        && spans.iter().enumerate().all(|(d, s)| dy.shape[lead + d].is(s.places));
    match fits {
        true => Ok(smallvec![TensorType::new(dy.dtype, &dims)]),
        false => Err(Error::shape(format!("a cotangent {dy} is no pool of {:?}", dims.as_slice()))),
    }
}

fn lower_sum_pool_backward(s: &mut Steps) -> Result<()> {
    let (mut from, out) = (s.input(0)?, s.output(0));
    let spans = spans_of(|i| s.host(i), &out.layout.shape)?;
    let lead = out.layout.rank() - spans.len();
    let wide = from.dtype.accumulator();
    if wide != from.dtype {
        let to = s.temp(wide, &from.layout.shape);
        s.copy(&from, &to)?;
        from = to;
    }
    for (d, span) in spans.iter().enumerate() {
        let dim = lead + d;
        let mut shape = from.layout.shape.clone();
        shape[dim] = out.layout.shape[dim];
        let last = d + 1 == spans.len() && wide == out.dtype;
        let to = if last { out.clone() } else { s.temp(wide, &shape) };
        super::create::fill(s, &to, 0i64)?;
        for k in 0..span.kernel {
            add_tap(s, &from, &to, dim, [span.stride, k * span.dilation, span.padding])?;
        }
        from = to;
    }
    if from.slot != out.slot { s.copy(&from, &out) } else { Ok(()) }
}

fn pools(s: &mut Samples, each: impl Fn(SampleArg, [&[i64]; 4], bool) -> Vec<SampleArg>) {
    let d = s.dtype;
    if d == DType::Bool {
        return;
    }
    let low = if d.is_float() { -9.0 } else { 0.0 };
    let t = |dims: &[usize]| tensor(d, dims, low, 9.0);
    s.case(each(t(&[2, 7]), [&[3], &[2], &[1], &[1]], false));
    s.case(each(t(&[1, 2, 6]), [&[2], &[], &[0], &[2]], true));
    s.case(each(t(&[2, 5, 6]), [&[2, 3], &[2, 2], &[1, 0], &[1, 1]], true));
    s.case(each(t(&[1, 2, 4, 5]), [&[2, 2], &[1, 1], &[0, 1], &[2, 1]], false));
    s.case(each(t(&[2, 3, 4, 3]), [&[2, 2, 2], &[1, 2, 1], &[1, 0, 1], &[1, 1, 1]], false));
    s.case(each(t(&[3, 20]), [&[19], &[1], &[0], &[1]], false));
    s.case(each(t(&[0, 5]), [&[2], &[], &[0], &[1]], false));
}

fn operands(x: SampleArg, lists: [&[i64]; 4], ceil: bool) -> Vec<SampleArg> {
    std::iter::once(x).chain(lists.map(host)).chain([host(ceil)]).collect()
}

ops! {
    /// The largest element of every window over the last dimensions (as many as `kernel_size` has), and its place in these
    /// dimensions laid out as one; what lies in the frame never is.
    MAX_POOL = "max_pool(Tensor self, int[] kernel_size, int[] stride=[], int[] padding=0, int[] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)" {
        infer: |c| {
            let best = pooled(c)?;
            Ok(smallvec![best.clone(), best.with_dtype(DType::I64)])
        },
        vjp: Vjp::Rule(Saves { outputs: 2, ..Saves::NOTHING }, |c| spread(c, c.host(1)?.ints()?.len())),
        effect: Effect::Pure,
        cost: cost::per_input::<4>,
        lower: Lower::Steps(|s| {
            let spans = spans_of(|i| s.host(i), &s.input(0)?.layout.shape)?;
            let cuts: SmallVec<[Cut; 3]> = spans.into_iter().map(Cut::Slide).collect();
            lower_largest(s, &cuts)
        }),
        samples: |s| pools(s, operands),
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[2, 3]), host(&[4i64])]);
            e.case(ErrorKind::Shape, [f32s(&[2, 9]), host(&[2i64]), host(&[1i64]), host(&[2i64])]);
            e.case(ErrorKind::Value, [f32s(&[2, 9]), host(&[2i64]), host(&[0i64])]);
            e.case(ErrorKind::Value, [f32s(&[2, 9]), host(&[2i64]), host(&[1i64]), host(&[-1i64])]);
            e.case(ErrorKind::Shape, [f32s(&[9]), host(&[2i64, 2])]);
            e.case(ErrorKind::DType, [tensor(DType::Bool, &[9], 0.0, 1.0), host(&[2i64])]);
        },
    }
    /// The largest elements of the last dimensions cut into `output_size` windows of nearly equal length, and their places.
    ADAPTIVE_MAX_POOL = "adaptive_max_pool(Tensor self, int[] output_size) -> (Tensor, Tensor)" {
        infer: infer_adaptive,
        vjp: Vjp::Rule(Saves { outputs: 2, ..Saves::NOTHING }, |c| spread(c, c.host(1)?.ints()?.len())),
        effect: Effect::Pure,
        cost: cost::per_input::<4>,
        lower: Lower::Steps(|s| {
            let cuts = even_cuts(|i| s.host(i), &s.input(0)?.layout.shape)?;
            lower_largest(s, &cuts)
        }),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let t = |dims: &[usize]| tensor(d, dims, -9.0, 9.0);
                s.case([t(&[2, 7]), host(&[3i64])]);
                s.case([t(&[2, 5, 6]), host(&[2i64, 3])]);
                s.case([t(&[1, 3, 4, 5]), host(&[3i64, 2, 4])]);
                s.case([t(&[2, 30]), host(&[1i64])]);
                s.case([t(&[2, 3]), host(&[5i64])]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[2, 3]), host(&[-1i64])]);
            e.case(ErrorKind::Shape, [f32s(&[2, 0]), host(&[2i64])]);
            e.case(ErrorKind::DType, [tensor(DType::I64, &[2, 9], 0.0, 1.0), host(&[2i64])]);
        },
    }
    /// The sum of every window over the last dimensions; the frame counts as zeros.
    SUM_POOL = "sum_pool(Tensor self, int[] kernel_size, int[] stride=[], int[] padding=0, int[] dilation=1, bool ceil_mode=False) -> Tensor" {
        infer: |c| Ok(smallvec![pooled(c)?]),
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| {
            let sizes = ints(&c.input_dims(0)?);
            let args = [Arg::Tensor(dy), c.host(1)?, c.host(2)?, c.host(3)?, c.host(4)?, c.host(5)?, Arg::Ints(&sizes)];
            bind1(&SUM_POOL_BACKWARD, &args)
        })),
        effect: Effect::Pure,
        cost: cost::per_input::<2>,
        lower: Lower::Steps(lower_sum_pool),
        samples: |s| pools(s, operands),
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[2, 3]), host(&[4i64])]);
            e.case(ErrorKind::DType, [tensor(DType::Bool, &[9], 0.0, 1.0), host(&[2i64])]);
        },
    }
    /// Each cotangent added in every place of its window; sum_pool's gradient.
    SUM_POOL_BACKWARD = "sum_pool_backward(Tensor grad_output, int[] kernel_size, int[] stride, int[] padding, int[] dilation, bool ceil_mode, int[] input_sizes) -> Tensor" {
        infer: infer_sum_pool_backward,
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |h| {
            bind1(&SUM_POOL, &[Arg::Tensor(h), c.host(1)?, c.host(2)?, c.host(3)?, c.host(4)?, c.host(5)?])
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<2>,
        lower: Lower::Steps(lower_sum_pool_backward),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let case = |dy: &[usize], lists: [&[i64]; 4], sizes: &[i64]| {
                    let mut args = operands(tensor(d, dy, -1.0, 1.0), lists, false);
                    args.push(host(sizes));
                    args
                };
                s.case(case(&[2, 4], [&[3], &[2], &[1], &[1]], &[2, 7]));
                s.case(case(&[2, 2, 3], [&[2, 2], &[2, 2], &[0, 0], &[1, 1]], &[2, 5, 6]));
            }
        },
        errors: |e| e.case(ErrorKind::Shape, operands(f32s(&[2, 3]), [&[3], &[2], &[1], &[1]], false).into_iter().chain([host(&[2i64, 7])])),
    }
}
