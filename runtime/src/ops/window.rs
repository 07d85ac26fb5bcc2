//! Windows that slide over a tensor, as lowering sees them: a frame around the input, the view of all windows, and its
//! transpose, windows added up where they overlap.

use crate::error::{Error, Result};
use crate::lower::{Steps, View};
use kernels::loops::BinaryOp;
use kernels::{DType, Dims, Scalar};
use smallvec::smallvec;

/// The view itself, or a copy in a frame of `padding` zeros around the last dimensions.
pub(super) fn framed(s: &mut Steps, x: View, padding: &[usize]) -> Result<View> {
    if padding.iter().all(|n| *n == 0) {
        return Ok(x);
    }
    let lead = x.layout.rank() - padding.len();
    let mut shape: Dims = x.layout.shape.clone();
    for (d, &n) in padding.iter().enumerate() {
        shape[lead + d] += 2 * n;
    }
    let frame = s.temp(x.dtype, &shape);
    super::create::fill(s, &frame, 0i64)?;
    let mut inside = frame.clone();
    for (d, &n) in padding.iter().enumerate() {
        inside.layout = inside.layout.slice(lead + d, n, x.layout.shape[lead + d], 1);
    }
    s.copy(&x, &inside)?;
    Ok(frame)
}

/// A copy with `before` and `after` more places of `value` along one dimension.
pub(super) fn framed_with(
    s: &mut Steps,
    x: &View,
    dim: usize,
    before: usize,
    after: usize,
    value: Scalar,
) -> Result<View> {
    let mut shape = x.layout.shape.clone();
    shape[dim] += before + after;
    let frame = s.temp(x.dtype, &shape);
    let n = x.layout.shape[dim];
    for (start, count) in [(0, before), (before + n, after)] {
        if count > 0 {
            let part = View { layout: frame.layout.slice(dim, start, count, 1), ..frame.clone() };
            super::create::fill(s, &part, value)?;
        }
    }
    s.copy(x, &View { layout: frame.layout.slice(dim, before, n, 1), ..frame.clone() })?;
    Ok(frame)
}

/// Every window of a view: its leading dimensions, then the kernel's, then `size` places.
pub(super) fn windows(
    x: &View,
    kernel: &[usize],
    size: &[usize],
    stride: &[usize],
    dilation: &[usize],
) -> View {
    let lead = x.layout.rank() - kernel.len();
    let mut out = x.clone();
    out.layout.shape.truncate(lead);
    out.layout.strides.truncate(lead);
    for (numbers, steps) in [(kernel, dilation), (size, stride)] {
        for (d, &n) in numbers.iter().enumerate() {
            out.layout.shape.push(n);
            out.layout.strides.push(x.layout.strides[lead + d] * steps[d] as isize);
        }
    }
    out
}

/// Adds windows [.., kernel, places] to the places of `out` [.., extents] that they cover; what falls into the frame of
/// `padding` places is left out. One dimension at a time, the last one first, since the whole is their product.
pub(super) fn overlap(
    s: &mut Steps,
    mut from: View,
    out: &View,
    stride: &[usize],
    dilation: &[usize],
    padding: &[usize],
) -> Result<()> {
    let n = stride.len();
    let lead = out.layout.rank() - n;
    for d in (0..n).rev() {
        // The kernel's dimensions behind `d` are gone by now.
        let (tap, place) = (lead + d, lead + 2 * d + 1);
        let mut shape = from.layout.shape.clone();
        shape[place] = out.layout.shape[lead + d];
        shape.remove(tap);
        let into = if d == 0 {
            out.clone()
        } else {
            let into = s.temp(from.dtype, &shape);
            super::create::fill(s, &into, 0i64)?;
            into
        };
        for k in 0..from.layout.shape[tap] {
            let taken = View { layout: from.layout.select(tap, k), ..from.clone() };
            let numbers = [stride[d], k * dilation[d], padding[d]];
            add_tap(s, &taken, &into, place - 1, numbers)?;
        }
        from = into;
    }
    Ok(())
}

/// Adds element i along `dim` at i * stride + shift - padding, where that is inside.
pub(super) fn add_tap(
    s: &mut Steps,
    from: &View,
    into: &View,
    dim: usize,
    [stride, shift, padding]: [usize; 3],
) -> Result<()> {
    let (count, extent) = (from.layout.shape[dim], into.layout.shape[dim]);
    let first = padding.saturating_sub(shift).div_ceil(stride);
    let Some(last) = (extent + padding).checked_sub(shift + 1).map(|room| (room / stride + 1).min(count))
    else {
        return Ok(());
    };
    if first >= last {
        return Ok(());
    }
    let from = View { layout: from.layout.slice(dim, first, last - first, 1), ..from.clone() };
    let start = first * stride + shift - padding;
    let into = View { layout: into.layout.slice(dim, start, last - first, stride), ..into.clone() };
    s.region(&[&into, &from], &[&into], |r, n| Ok(smallvec![r.binary(BinaryOp::Add, n[0], n[1])]))
}

/// Taps that one loop program multiplies.
const TAPS: usize = 9;

/// Windows [batch, groups, 1, kernel.., places..] times weights [groups, taps, made], and a bias [groups, made]: a product
/// of one row would leave a vector unit idle, a sum over taps runs along the places.
pub(super) fn weighted(
    s: &mut Steps,
    view: &View,
    weights: &View,
    kernel: &[usize],
    bias: Option<&View>,
    out: &View,
) -> Result<()> {
    let behind = |v: &View| {
        let mut v = v.clone();
        for _ in kernel {
            v.layout = v.layout.unsqueeze(v.layout.rank());
        }
        v
    };
    let count: usize = kernel.iter().product();
    let mut taps = Vec::new();
    for tap in 0..count {
        let (mut element, mut rest) = (view.clone(), tap);
        for d in (0..kernel.len()).rev() {
            element.layout = element.layout.select(3 + d, rest % kernel[d]);
            rest /= kernel[d];
        }
        taps.push((element, behind(&View { layout: weights.layout.select(1, tap), ..weights.clone() })));
    }
    let bias = bias.map(behind);
    for (at, part) in taps.chunks(TAPS).enumerate() {
        let start = if at == 0 { bias.as_ref() } else { Some(out) };
        let mut inputs: Vec<&View> = part.iter().flat_map(|(x, w)| [x, w]).collect();
        inputs.extend(start);
        s.region(&inputs, &[out], |r, n| {
            // Without a fused multiply-add every tap would round twice in f32.
            let wide = if out.dtype == DType::F32 { DType::F64 } else { out.dtype };
            let mut sum = start.map(|_| r.cast(n[2 * part.len()], wide));
            for pair in n[..2 * part.len()].chunks(2) {
                let (x, w) = (r.cast(pair[0], wide), r.cast(pair[1], wide));
                let product = r.binary(BinaryOp::Mul, x, w);
                sum = Some(match sum {
                    Some(sum) => r.binary(BinaryOp::Add, sum, product),
                    None => product,
                });
            }
            let sum = sum.ok_or_else(|| Error::internal("a kernel without taps"))?;
            let sum = r.cast(sum, out.dtype);
            Ok(smallvec![r.expand(sum, &out.layout.shape)])
        })?;
    }
    Ok(())
}
