//! Windows that slide over a tensor, as lowering sees them: a frame around the input, the view of all windows, and its
//! transpose, windows added up where they overlap.

use crate::error::Result;
use crate::lower::{Steps, View};
use kernels::loops::BinaryOp;
use kernels::{Dims, Scalar};
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
