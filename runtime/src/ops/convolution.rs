//! Convolution over any number of dimensions, plain and transposed: each is the other's gradient, so one op and one rule
//! give derivatives of any order.
//!
//! The plain one multiplies the weights with the input's windows, laid out as columns; a view serves where the windows
//! already lie so (kernels of one place). The transposed one multiplies the weights with the input and adds the windows
//! that this gives where they overlap.

use super::index::laid;
use super::product::{agree, one_type, push_product};
use super::rules::{f32s, flag, int_or, ints, one, wanted};
use super::view::extent;
use super::window::{framed, overlap, weighted, windows};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Origin, Result};
use crate::infer::{Dim, Infer, Shape, Types};
use crate::lower::{Steps, View};
use crate::samples::{Samples, host, none, tensor};
use crate::table::{Cost, Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::{DType, Dims};
use smallvec::{SmallVec, smallvec};

/// The numbers of a convolution, one for each dimension that the window slides along.
struct Slide {
    stride: Dims,
    padding: Dims,
    dilation: Dims,
    transposed: bool,
    output_padding: Dims,
    groups: usize,
}

/// One number for all `n` dimensions, or one for each, none below `least`.
pub(super) fn per_dim(what: &str, arg: Arg, n: usize, least: i64, default: i64) -> Result<Dims> {
    let list = if arg.is_none() { smallvec![default] } else { arg.ints()? };
    if list.len() != 1 && list.len() != n {
        let given = list.as_slice();
        return Err(Error::value(format!("{what} must be one number or {n}, got {given:?}")));
    }
    if let Some(low) = list.iter().find(|v| **v < least) {
        return Err(Error::value(format!("{what} must be at least {least}, got {low}")));
    }
    Ok((0..n).map(|d| list[if list.len() == 1 { 0 } else { d }] as usize).collect())
}

impl Slide {
    /// Of operands 3 to 8.
    fn read<'a>(host: impl Fn(usize) -> Result<Arg<'a>>, n: usize) -> Result<Slide> {
        let slide = Slide {
            stride: per_dim("stride", host(3)?, n, 1, 1)?,
            padding: per_dim("padding", host(4)?, n, 0, 0)?,
            dilation: per_dim("dilation", host(5)?, n, 1, 1)?,
            transposed: flag(host(6)?)?,
            output_padding: per_dim("output_padding", host(7)?, n, 0, 0)?,
            groups: int_or(host(8)?, 1)?.max(0) as usize,
        };
        if slide.groups == 0 {
            return Err(Error::value(format!("groups must be positive, got {}", int_or(host(8)?, 1)?)));
        }
        let wide = (0..n).find(|&d| slide.output_padding[d] >= slide.stride[d].max(slide.dilation[d]));
        match wide.filter(|_| slide.transposed) {
            Some(d) => Err(Error::value(format!(
                "output_padding {} must be smaller than stride {} or dilation {}",
                slide.output_padding[d], slide.stride[d], slide.dilation[d]
            ))
            .at_dim(d as isize)),
            None => Ok(slide),
        }
    }

    /// Places of the output along dimension `d`.
    fn places(&self, d: usize, input: usize, kernel: usize) -> Result<usize> {
        let reach = self.dilation[d] * kernel.saturating_sub(1) + 1;
        let frame = 2 * self.padding[d];
        let found = match self.transposed {
            true => ((input.max(1) - 1) * self.stride[d] + reach + self.output_padding[d]).checked_sub(frame),
            false => (input + frame).checked_sub(reach).map(|room| room / self.stride[d] + 1),
        };
        found.filter(|&n| n > 0 && kernel > 0 && input > 0).ok_or_else(|| {
            Error::shape(format!("a kernel of {reach} places does not fit into {input} with padding {frame}"))
                .at_dim(d as isize + 2)
        })
    }
}

fn infer_convolution(c: &Infer) -> Result<Types> {
    let dtype = one_type(c)?;
    let (x, w) = (c.tensor(0)?, c.tensor(1)?);
    if dtype == DType::Bool {
        return Err(Error::dtype("not defined for bool tensors"));
    }
    if x.rank() < 3 || x.rank() != w.rank() {
        return Err(Error::shape(format!(
            "expected an input [batch, channels, ...] and weights of the same rank, got {x} and {w}"
        )));
    }
    let n = x.rank() - 2;
    let slide = Slide::read(|i| c.host(i), n)?;
    let groups = Dim::constant(slide.groups);
    let divides = |d: Dim| d.known().is_none_or(|n| n.is_multiple_of(slide.groups));
    let (made, taken) = match slide.transposed {
        true => (w.shape[1].times(groups), w.shape[0]),
        false => (w.shape[0], w.shape[1].times(groups)),
    };
    if !agree(x.shape[1], taken) || !divides(made) || !divides(taken) {
        return Err(Error::shape(format!(
            "an input {x} does not fit weights {w} in {} groups: channels differ",
            slide.groups
        ))
        .at_dim(1));
    }
    if let Some(bias) = c.optional(2)?
        && !(bias.rank() == 1 && agree(bias.shape[0], made))
    {
        return Err(Error::shape(format!("a bias {bias} does not fit {made} output channels")));
    }
    let mut shape: Shape = smallvec![x.shape[0], made];
    for d in 0..n {
        shape.push(Dim::constant(slide.places(d, extent(x, d + 2)?, extent(w, d + 2)?)?));
    }
    one(dtype, shape)
}

/// Elements of the columns that are made at once: about the second-level cache.
const COLUMNS: usize = 1 << 20;
/// Most taps of a kernel of one channel that are summed one after the other.
const MOST_TAPS: usize = 64;
/// Columns that a product should have.
const WIDE: usize = 256;

/// Halves are computed in f32 from beginning to end, and rounded once.
fn lower_convolution(s: &mut Steps) -> Result<()> {
    let (x, w, out) = (s.input(0)?, s.input(1)?, s.output(0));
    let bias = if s.is_tensor(2) { Some(s.input(2)?) } else { None };
    let slide = Slide::read(|i| s.host(i), x.layout.rank() - 2)?;
    let wide = x.dtype.accumulator();
    if wide == x.dtype || out.layout.numel() == 0 {
        return convolve(s, x, w, bias, &out, &slide);
    }
    let mut widened = |v: View| -> Result<View> {
        let to = s.temp(wide, &v.layout.shape);
        s.copy(&v, &to)?;
        Ok(to)
    };
    let (x, w, bias) = (widened(x)?, widened(w)?, bias.map(widened).transpose()?);
    let result = s.temp(wide, &out.layout.shape);
    convolve(s, x, w, bias, &result, &slide)?;
    s.copy(&result, &out)
}

fn convolve(s: &mut Steps, x: View, w: View, bias: Option<View>, out: &View, slide: &Slide) -> Result<()> {
    if out.layout.numel() == 0 {
        return Ok(());
    }
    let (channels, made) = (x.layout.shape[1], out.layout.shape[1]);
    if channels == 0 || x.layout.shape[0] == 0 {
        return begin(s, bias.as_ref(), out);
    }
    let kernel: Dims = w.layout.shape[2..].into();
    let (taps, groups) = (kernel.iter().product::<usize>(), slide.groups);
    if !slide.transposed {
        let rows = laid(s, w, &[groups, made / groups, channels / groups * taps])?;
        let columns = View { layout: rows.layout.permute(&[0, 2, 1]), ..rows };
        return plain(s, x, columns, bias, out, slide, &kernel);
    }
    let columns = laid(s, w, &[groups, channels / groups, made / groups * taps])?;
    // A kernel of one place without stride or frame is the same both ways.
    let points = taps == 1 && slide.stride.iter().all(|n| *n == 1) && slide.padding.iter().all(|n| *n == 0);
    if points && out.layout.shape[2..] == x.layout.shape[2..] {
        return plain(s, x, columns, bias, out, slide, &kernel);
    }
    transposed(s, x, columns, &kernel, bias, out, slide)
}

/// The bias in every place, or zeros.
fn begin(s: &mut Steps, bias: Option<&View>, out: &View) -> Result<()> {
    let Some(bias) = bias else { return super::create::fill(s, out, 0i64) };
    let mut layout = bias.layout.clone();
    for _ in 2..out.layout.rank() {
        layout = layout.unsqueeze(layout.rank());
    }
    let layout = layout.broadcast_to(&out.layout.shape);
    let layout = layout.ok_or_else(|| Error::internal("the bias does not fit"))?;
    s.copy(&View { layout, ..bias.clone() }, out)
}

/// Weights [groups, inner, made] times windows [batch, groups, inner, places], transposed: places are rows, so that a bias
/// lies along the columns.
fn plain(
    s: &mut Steps,
    x: View,
    w: View,
    bias: Option<View>,
    out: &View,
    slide: &Slide,
    kernel: &[usize],
) -> Result<()> {
    let (batch, channels) = (x.layout.shape[0], x.layout.shape[1]);
    let (groups, inner, made) = (w.layout.shape[0], w.layout.shape[1], w.layout.shape[2]);
    let size: Dims = out.layout.shape[2..].into();
    let places: usize = size.iter().product();
    let x = framed(s, x, &slide.padding)?;
    let mut view = windows(&x, kernel, &size, &slide.stride, &slide.dilation);
    split_dim(&mut view, 1, groups, channels / groups);
    if channels == groups && groups > 1 && inner <= MOST_TAPS {
        let (mut out, mut bias) = (out.clone(), bias);
        split_dim(&mut out, 1, groups, made);
        if let Some(bias) = &mut bias {
            split_dim(bias, 0, groups, made);
        }
        return weighted(s, &view, &w, kernel, bias.as_ref(), &out);
    }
    // A bias of several groups, or one that is not dense, is there before the product is added to it.
    let dense = |b: &View| groups == 1 && (b.layout.strides[0] == 1 || made == 1);
    let (fused, before) = match bias {
        Some(bias) if dense(&bias) => (Some(bias), None),
        other => (None, other),
    };
    let whole = [batch, groups, made, places];
    let target = match out.layout.reshape(&whole) {
        Some(layout) => View { layout, ..out.clone() },
        None => s.temp(out.dtype, &whole),
    };
    if before.is_some() {
        let same = target.layout.reshape(&out.layout.shape).ok_or_else(no_view)?;
        begin(s, before.as_ref(), &View { layout: same, ..target.clone() })?;
    }
    let multiply = |s: &mut Steps, columns: &View, c: &View| {
        let turn = |v: &View| View { layout: v.layout.permute(&[0, 1, 3, 2]), ..v.clone() };
        push_product(s, &turn(columns), &w, &turn(c), fused.as_ref(), before.is_some());
    };
    if let Some(layout) = view.layout.reshape(&[batch, groups, inner, places]) {
        multiply(s, &View { layout, ..view }, &target);
    } else if places >= WIDE || batch == 1 || before.is_some() {
        let each = groups * inner * places;
        let count = (COLUMNS / each.max(1)).clamp(1, batch);
        let columns = s.temp(x.dtype, &[count, groups, inner, places]);
        for at in (0..batch).step_by(count) {
            let part = View { layout: view.layout.slice(0, at, count.min(batch - at), 1), ..view.clone() };
            let columns =
                View { layout: columns.layout.slice(0, 0, part.layout.shape[0], 1), ..columns.clone() };
            let layout = columns.layout.reshape(&part.layout.shape);
            s.copy(&part, &View { layout: layout.ok_or_else(no_view)?, ..columns.clone() })?;
            multiply(
                s,
                &columns,
                &View { layout: target.layout.slice(0, at, part.layout.shape[0], 1), ..target.clone() },
            );
        }
    } else {
        joined(s, &view, &w, fused.as_ref(), &target, [inner, made, places])?;
    }
    if target.slot != out.slot {
        let same = laid(s, target, &out.layout.shape)?;
        s.copy(&same, out)?;
    }
    Ok(())
}

fn no_view() -> Error {
    Error::internal("a dense view has every shape")
}

/// Dimension `dim` as an outer one of `outer` and an inner one of `inner` places.
fn split_dim(v: &mut View, dim: usize, outer: usize, inner: usize) {
    let stride = v.layout.strides[dim];
    v.layout.shape[dim] = outer;
    v.layout.strides[dim] = stride * inner as isize;
    v.layout.shape.insert(dim + 1, inner);
    v.layout.strides.insert(dim + 1, stride);
}

/// As `plain` where a sample has few places: columns of many samples side by side make one product.
fn joined(
    s: &mut Steps,
    view: &View,
    w: &View,
    bias: Option<&View>,
    target: &View,
    [inner, made, places]: [usize; 3],
) -> Result<()> {
    let (batch, groups) = (view.layout.shape[0], view.layout.shape[1]);
    let each = groups * inner * places;
    let count = (8 * COLUMNS / each.max(1)).max(WIDE.div_ceil(places)).clamp(1, batch);
    // The sample's dimension comes after the window's own ones.
    let slides = (view.layout.rank() - 3) / 2;
    let mut order: Dims = (1..3 + slides).collect();
    order.push(0);
    order.extend(3 + slides..view.layout.rank());
    let (columns, product) = (
        s.temp(view.dtype, &[groups, inner, count * places]),
        s.temp(view.dtype, &[groups, made, count * places]),
    );
    for at in (0..batch).step_by(count) {
        let count = count.min(batch - at);
        let part = View { layout: view.layout.slice(0, at, count, 1).permute(&order), ..view.clone() };
        let cut = |v: &View| View { layout: v.layout.slice(2, 0, count * places, 1), ..v.clone() };
        let (columns, product) = (cut(&columns), cut(&product));
        let layout = columns.layout.reshape(&part.layout.shape);
        s.copy(&part, &View { layout: layout.ok_or_else(no_view)?, ..columns.clone() })?;
        let turn = |v: &View| View { layout: v.layout.permute(&[0, 2, 1]), ..v.clone() };
        push_product(s, &turn(&columns), w, &turn(&product), bias, false);
        let layout = product.layout.reshape(&[groups, made, count, places]).ok_or_else(no_view)?;
        let target = View { layout: target.layout.slice(0, at, count, 1), ..target.clone() };
        s.copy(&View { layout: layout.permute(&[2, 0, 1, 3]), ..product }, &target)?;
    }
    Ok(())
}

/// Weights [groups, taken, made * taps] times the input, then windows added where they overlap.
fn transposed(
    s: &mut Steps,
    x: View,
    w: View,
    kernel: &[usize],
    bias: Option<View>,
    out: &View,
    slide: &Slide,
) -> Result<()> {
    let (batch, size) = (x.layout.shape[0], Dims::from_slice(&x.layout.shape[2..]));
    let places: usize = size.iter().product();
    let (groups, taken, rows) = (w.layout.shape[0], w.layout.shape[1], w.layout.shape[2]);
    let made = rows / kernel.iter().product::<usize>();
    let x = laid(s, x, &[batch, groups, taken, places])?;
    begin(s, bias.as_ref(), out)?;
    let count = (COLUMNS / (groups * rows * places).max(1)).clamp(1, batch);
    let columns = s.temp(x.dtype, &[count, groups, rows, places]);
    let turned = View { layout: w.layout.permute(&[0, 2, 1]), ..w };
    for at in (0..batch).step_by(count) {
        let count = count.min(batch - at);
        let part = |v: &View, at: usize| View { layout: v.layout.slice(0, at, count, 1), ..v.clone() };
        let columns = part(&columns, 0);
        push_product(s, &turned, &part(&x, at), &columns, None, false);
        let mut shape: Dims = smallvec![count, groups * made];
        shape.extend(kernel.iter().chain(&size).copied());
        let layout = columns.layout.reshape(&shape).ok_or_else(no_view)?;
        let windows = View { layout, ..columns };
        overlap(s, windows, &part(out, at), &slide.stride, &slide.dilation, &slide.padding)?;
    }
    Ok(())
}

fn work(c: &Infer, out: &Types) -> Cost {
    let count = |d: Dim| d.known().unwrap_or(1) as u64;
    let slides = Slide::read(|i| c.host(i), c.tensor(0).map_or(1, |t| t.rank().max(2) - 2));
    let (Ok(x), Ok(w), Ok(slide)) = (c.tensor(0), c.tensor(1), slides) else { return Cost::default() };
    let mut cost = cost::per_output::<2>(c, out);
    let places = if slide.transposed { count(x.numel()) * 2 } else { cost.flops };
    cost.flops = places * w.shape[1..].iter().map(|&d| count(d)).product::<u64>();
    cost
}

/// The gradient of weights whose windows slide over `input`, given the cotangent of what they made: a convolution of the
/// input with the cotangent in which batch and channels change places, and stride and dilation too.
fn weight_gradient(c: &VjpContext, input: &Tensor, made: &Tensor) -> Result<Tensor> {
    let kernel = c.input_dims(1)?;
    let groups = int_or(c.host(8)?, 1)?;
    let shape = ints(input.shape());
    let (batch, each) = (shape[0], shape[1] / groups);
    let mut split: SmallVec<[i64; 6]> = smallvec![batch, groups, each];
    split.extend(shape[2..].iter().copied());
    let mut order: SmallVec<[i64; 6]> = smallvec![2, 1, 0];
    order.extend(3..split.len() as i64);
    let mut joined: SmallVec<[i64; 6]> = smallvec![each, groups * batch];
    joined.extend(shape[2..].iter().copied());
    let by_channel = input.reshape(&split)?.permute(&order)?.reshape(&joined)?;
    let turned = made.transpose(0, 1)?;
    let args =
        [Arg::Tensor(&by_channel), Arg::Tensor(&turned), Arg::None, c.host(5)?, c.host(4)?, c.host(3)?];
    let found = bind1(&CONVOLUTION, &[&args[..], &[Arg::Bool(false), Arg::None, c.host(8)?]].concat())?;
    let mut found = found.transpose(0, 1)?;
    for (d, &n) in kernel.iter().enumerate().skip(2) {
        if found.shape()[d] != n {
            found = found.narrow(d as i64, 0, n as i64)?;
        }
    }
    Ok(found)
}

fn convolution_gradients(c: &VjpContext) -> Result<Gradients> {
    let dy = c.dy()?;
    let (x, w) = (c.input_dims(0)?, c.input_dims(1)?);
    let n = x.len() - 2;
    let slide = Slide::read(|i| c.host(i), n)?;
    let empty = x.iter().chain(&w).any(|n| *n == 0);
    let input = || -> Result<Tensor> {
        // What a plain convolution leaves over at the end.
        let rest = |d: usize| {
            let used = (dy.shape()[d + 2] - 1) * slide.stride[d] + slide.dilation[d] * (w[d + 2] - 1) + 1;
            (x[d + 2] + 2 * slide.padding[d]).saturating_sub(used) as i64
        };
        let more: SmallVec<[i64; 6]> = (0..n).map(|d| if slide.transposed { 0 } else { rest(d) }).collect();
        let weight = Arg::Tensor(c.input(1)?);
        let args = [Arg::Tensor(dy), weight, Arg::None, c.host(3)?, c.host(4)?, c.host(5)?];
        let last = [Arg::Bool(!slide.transposed), Arg::Ints(&more), c.host(8)?];
        let mut found = bind1(&CONVOLUTION, &[&args[..], &last].concat())?;
        for d in 2..n + 2 {
            if found.shape()[d] != x[d] {
                found = found.narrow(d as i64, 0, x[d] as i64)?;
            }
        }
        Ok(found)
    };
    let zeros = |i: usize| Tensor::zeros(&c.input_dims(i)?, dy.dtype(), dy.device());
    let mut out: Gradients = smallvec![
        wanted(c, 0, || if empty { zeros(0) } else { input() })?,
        wanted(c, 1, || match (empty, slide.transposed) {
            (true, _) => zeros(1),
            (false, true) => weight_gradient(c, dy, c.input(0)?),
            (false, false) => weight_gradient(c, c.input(0)?, dy),
        })?,
    ];
    if c.is_tensor(2) {
        let dims: SmallVec<[i64; 6]> = (0..dy.rank() as i64).filter(|d| *d != 1).collect();
        out.push(wanted(c, 2, || dy.sum(&dims, false))?);
    }
    Ok(out)
}

fn convolutions(s: &mut Samples) {
    let d = s.dtype;
    if d == DType::Bool {
        return;
    }
    let low = if d.is_float() { -1.0 } else { 0.0 };
    let t = |dims: &[usize]| tensor(d, dims, low, 2.0);
    let mut case =
        |x: &[usize], w: &[usize], bias: bool, numbers: [&[i64]; 3], more: Option<&[i64]>, groups: i64| {
            let made = if more.is_some() { w[1] * groups as usize } else { w[0] };
            let bias = if bias { t(&[made]) } else { none() };
            let [stride, padding, dilation] = numbers.map(host);
            let output_padding = more.map_or_else(none, host);
            s.case([
                t(x),
                t(w),
                bias,
                stride,
                padding,
                dilation,
                host(more.is_some()),
                output_padding,
                host(groups),
            ]);
        };
    case(&[2, 2, 5], &[3, 2, 3], true, [&[1], &[0], &[1]], None, 1);
    case(&[2, 2, 6], &[4, 1, 2], true, [&[2], &[1], &[1]], None, 2);
    case(&[1, 2, 4, 5], &[3, 2, 3, 2], true, [&[1], &[1], &[1]], None, 1);
    case(&[2, 3, 5, 4], &[6, 1, 3, 2], true, [&[1, 2], &[1], &[1]], None, 3);
    case(&[2, 1, 5, 6], &[2, 1, 2, 2], false, [&[2, 1], &[0, 1], &[1, 2]], None, 1);
    case(&[2, 3, 2, 3], &[2, 3, 1, 1], true, [&[1], &[0], &[1]], None, 1);
    case(&[1, 1, 3, 3, 4], &[2, 1, 2, 1, 2], true, [&[1, 1, 2], &[0], &[1]], None, 1);
    case(&[1, 2, 17, 17], &[3, 2, 3, 3], true, [&[1], &[1], &[1]], None, 1);
    case(&[2, 2, 3], &[2, 3, 3], true, [&[1], &[0], &[1]], Some(&[0]), 1);
    case(&[2, 2, 3], &[2, 2, 3], true, [&[2], &[1], &[1]], Some(&[1]), 2);
    case(&[1, 2, 2, 3], &[2, 2, 2, 3], false, [&[2, 1], &[0, 1], &[1, 2]], Some(&[1, 0]), 1);
    case(&[2, 3, 2, 2], &[3, 2, 1, 1], true, [&[1], &[0], &[1]], Some(&[0]), 1);
    case(&[0, 2, 4], &[3, 2, 3], true, [&[1], &[0], &[1]], None, 1);
    case(&[1, 1, 2, 2, 2], &[1, 1, 2, 2, 2], false, [&[2], &[0], &[1]], Some(&[0]), 1);
}

ops! {
    /// Windows of the input [batch, channels, ...] times weights [made, taken / groups, ...], as many as `stride` allows
    /// within a frame of `padding` zeros; or, transposed, weights [taken, made / groups, ...] times each element, added where
    /// windows overlap. Channels fall into groups that do not see each other.
    CONVOLUTION = "convolution(Tensor input, Tensor weight, Tensor? bias=None, int[] stride=1, int[] padding=0, int[] dilation=1, bool transposed=False, int[] output_padding=0, int groups=1) -> Tensor" {
        infer: infer_convolution,
        vjp: Vjp::Rule(Saves { inputs: 3, ..Saves::FACTORS }, convolution_gradients),
        effect: Effect::Pure,
        cost: work,
        lower: Lower::Steps(lower_convolution),
        samples: convolutions,
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[1, 2, 4]), f32s(&[3, 2, 5])]);
            e.case(ErrorKind::Shape, [f32s(&[1, 3, 4]), f32s(&[3, 2, 2])]);
            e.case(ErrorKind::Shape, [f32s(&[2, 4]), f32s(&[3, 2])]);
            e.case(ErrorKind::Shape, [f32s(&[1, 2, 4]), f32s(&[3, 2, 2]), f32s(&[2])]);
            e.case(ErrorKind::Value, [f32s(&[1, 2, 4]), f32s(&[3, 2, 2]), none(), host(0i64)]);
            e.case(ErrorKind::Value, [f32s(&[1, 2, 4]), f32s(&[3, 2, 2]), none(), host(1i64), host(-1i64)]);
            e.case(ErrorKind::DType, [f32s(&[1, 2, 4]), tensor(DType::F64, &[3, 2, 2], 0.0, 1.0)]);
        },
    }
}

/// How a window slides; a list holds one number for each dimension, or one for all.
#[derive(Clone, Copy, Debug)]
pub struct Sliding<'a> {
    /// Places from one window to the next.
    pub stride: &'a [i64],
    /// Places of zeros at either end: numbers, or "same" (as many outputs as inputs) or "valid" (none).
    pub padding: Arg<'a>,
    /// Places from one element of a window to the next.
    pub dilation: &'a [i64],
    /// Places that a transposed convolution appends to its output.
    pub output_padding: &'a [i64],
    /// Parts of the channels that do not see each other.
    pub groups: i64,
}

impl Default for Sliding<'_> {
    fn default() -> Self {
        Sliding { stride: &[1], padding: Arg::Ints(&[0]), dilation: &[1], output_padding: &[0], groups: 1 }
    }
}

/// A batch, made of one sample where there is none, and whether it was made.
pub(super) fn batched(x: &Tensor, n: usize) -> Result<(Tensor, bool)> {
    match x.rank() {
        r if r == n + 2 => Ok((x.clone(), false)),
        r if r == n + 1 => Ok((x.unsqueeze(0)?, true)),
        _ => {
            let what = format!(
                "expected an input of rank {} or, without a batch, {}, got {:?}",
                n + 2,
                n + 1,
                x.shape()
            );
            Err(Error::shape(what))
        }
    }
}

impl Tensor {
    /// Convolution over the last `n` dimensions with weights [made, taken / groups, ...]; the batch may be missing.
    #[track_caller]
    pub fn conv(&self, n: usize, weight: &Tensor, bias: Option<&Tensor>, how: Sliding) -> Result<Tensor> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("convolution").at(origin);
        if weight.rank() != n + 2 {
            let what = format!("expected weights of rank {}, got {:?}", n + 2, weight.shape());
            return Err(explain(Error::shape(what)));
        }
        let (mut x, single) = batched(self, n).map_err(explain)?;
        let mut padding: SmallVec<[i64; 6]> = smallvec![0; n];
        match how.padding {
            Arg::Str("valid") => {}
            Arg::Str("same") => {
                let stride = per_dim("stride", Arg::Ints(how.stride), n, 1, 1).map_err(explain)?;
                if stride.iter().any(|s| *s != 1) {
                    return Err(explain(Error::value("padding 'same' needs a stride of 1")));
                }
                let dilation = per_dim("dilation", Arg::Ints(how.dilation), n, 1, 1).map_err(explain)?;
                // An odd number of places has the larger half at the end.
                let mut odd: SmallVec<[i64; 6]> = smallvec![0; 2 * n];
                for d in 0..n {
                    let total = (dilation[d] * weight.shape()[d + 2].saturating_sub(1)) as i64;
                    padding[d] = total / 2;
                    odd[2 * (n - 1 - d) + 1] = total % 2;
                }
                if odd.iter().any(|p| *p > 0) {
                    x = x.pad(&odd, "constant", 0i64)?;
                }
            }
            Arg::Str(other) => {
                let what = format!("padding must be numbers, 'same' or 'valid', got {other:?}");
                return Err(explain(Error::value(what)));
            }
            numbers => padding = numbers.ints().map_err(explain)?,
        }
        let args =
            [Arg::Tensor(&x), Arg::Tensor(weight), bias.into(), Arg::Ints(how.stride), Arg::Ints(&padding)];
        let rest = [Arg::Ints(how.dilation), Arg::Bool(false), Arg::Ints(&[0]), Arg::Int(how.groups)];
        let y = bind1(&CONVOLUTION, &[&args[..], &rest].concat())?;
        if single { y.squeeze(0) } else { Ok(y) }
    }

    /// Transposed convolution over the last `n` dimensions with weights [taken, made / groups, ...]; the batch may be
    /// missing.
    #[track_caller]
    pub fn conv_transpose(
        &self,
        n: usize,
        weight: &Tensor,
        bias: Option<&Tensor>,
        how: Sliding,
    ) -> Result<Tensor> {
        let origin = Origin::caller();
        let (x, single) = batched(self, n).map_err(|e| e.in_op("convolution").at(origin))?;
        let args = [Arg::Tensor(&x), Arg::Tensor(weight), bias.into(), Arg::Ints(how.stride), how.padding];
        let rest =
            [Arg::Ints(how.dilation), Arg::Bool(true), Arg::Ints(how.output_padding), Arg::Int(how.groups)];
        let y = bind1(&CONVOLUTION, &[&args[..], &rest].concat())?;
        if single { y.squeeze(0) } else { Ok(y) }
    }
}
