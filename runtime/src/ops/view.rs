//! Views that change the shape or take a part, and the gradients of parts. A part's gradient is a tensor of zeros with the
//! cotangent written into the same part.

use super::rules::{chain, f32s, int_or, one, same};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Dim, Infer, Shape, TensorType, Types, wrap_dim};
use crate::lower::{Steps, View};
use crate::reverse::{Left, Part};
use crate::samples::{host, none, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::{Dims, Layout};
use smallvec::{SmallVec, smallvec};

/// The extents that a `reshape` asks for; one may be -1.
fn reshaped(t: &TensorType, sizes: &[i64]) -> Result<Shape> {
    let mut open = None;
    let mut known = Dim::ONE;
    let mut shape = Shape::new();
    for (i, &n) in sizes.iter().enumerate() {
        match (usize::try_from(n), open) {
            (Ok(n), _) => {
                known = known.times(Dim::constant(n));
                shape.push(Dim::constant(n));
            }
            (Err(_), None) if n == -1 => {
                open = Some(i);
                shape.push(Dim::ONE);
            }
            (Err(_), Some(_)) if n == -1 => {
                return Err(Error::value(format!("only one extent can be -1, got {sizes:?}")));
            }
            _ => return Err(Error::value(format!("invalid extent {n} in {sizes:?}")).at_dim(i as isize)),
        }
    }
    let total = t.numel();
    let misfit = || Error::shape(format!("{t} cannot take the shape {sizes:?}"));
    match open {
        Some(i) if known.is(0) => {
            Err(misfit().hint("-1 has no single value beside an extent of 0").at_dim(i as isize))
        }
        Some(i) => {
            shape[i] = total.over(known).ok_or_else(misfit)?;
            Ok(shape)
        }
        None if total.known().is_some() && total != known => Err(misfit()),
        None => Ok(shape),
    }
}

/// Start, number and step of the elements that a slice takes from `extent`, with Python's clamping.
fn span(start: Arg, end: Arg, step: Arg, extent: usize) -> Result<(usize, usize, usize)> {
    let n = extent as i64;
    let place = |arg: Arg, default: i64| -> Result<i64> {
        let at = int_or(arg, default)?;
        Ok(if at < 0 { at.saturating_add(n) } else { at }.clamp(0, n))
    };
    let (start, end, step) = (place(start, 0)?, place(end, n)?, int_or(step, 1)?);
    if step <= 0 {
        return Err(Error::value(format!("a slice's step must be positive, got {step}")));
    }
    let count = if end > start { (end - start + step - 1) / step } else { 0 };
    Ok((start as usize, count as usize, step as usize))
}

/// The dimension and the extent along it; a tensor of rank 0 has none.
pub(super) fn dim_of(t: &TensorType, dim: i64) -> Result<usize> {
    match t.rank() {
        0 => Err(Error::index("a tensor of rank 0 has no dimensions to take a part of")),
        rank => wrap_dim(dim, rank),
    }
}

pub(super) fn extent(t: &TensorType, dim: usize) -> Result<usize> {
    t.shape[dim].known().ok_or_else(|| {
        Error::shape(format!("the extent {} is not known yet", t.shape[dim])).at_dim(dim as isize)
    })
}

/// A place along an extent, counted from the end if negative.
fn wrap_index(index: i64, extent: usize, dim: usize) -> Result<usize> {
    let n = extent as i64;
    if index < -n || index >= n {
        return Err(Error::index(format!("index {index} is out of range for a dimension of size {n}"))
            .at_dim(dim as isize));
    }
    Ok((if index < 0 { index + n } else { index }) as usize)
}

/// The two dims of a diagonal.
pub(super) fn diagonal_dims(a: Arg, b: Arg, rank: usize) -> Result<(usize, usize)> {
    if rank < 2 {
        return Err(Error::index(format!("a diagonal needs two dimensions, rank {rank} has fewer")));
    }
    let (a, b) = (wrap_dim(int_or(a, 0)?, rank)?, wrap_dim(int_or(b, 1)?, rank)?);
    match a == b {
        true => Err(Error::value(format!("a diagonal needs two different dimensions, got {a} twice"))),
        false => Ok((a, b)),
    }
}

/// First row, first column and length of the diagonal that lies `offset` above the main one.
fn diagonal_span(rows: usize, columns: usize, offset: i64) -> (usize, usize, usize) {
    let (row, column) = ((-offset).max(0) as usize, offset.max(0) as usize);
    let length = rows.saturating_sub(row).min(columns.saturating_sub(column));
    if length == 0 { (0, 0, 0) } else { (row, column, length) }
}

pub(super) fn diagonal_layout(layout: &Layout, offset: i64, a: usize, b: usize) -> Layout {
    let (row, column, length) = diagonal_span(layout.shape[a], layout.shape[b], offset);
    let mut out = layout.clone();
    out.offset += row * layout.strides[a] as usize + column * layout.strides[b] as usize;
    for dim in [a.max(b), a.min(b)] {
        out.shape.remove(dim);
        out.strides.remove(dim);
    }
    out.shape.push(length);
    out.strides.push(layout.strides[a] + layout.strides[b]);
    out
}

/// Zeros everywhere, then the operand into a part of the output.
pub(super) fn lower_into_part(
    s: &mut Steps,
    part: impl FnOnce(&Steps, &Layout) -> Result<Layout>,
) -> Result<()> {
    let (dy, out) = (s.input(0)?, s.output(0));
    super::create::fill(s, &out, 0.0)?;
    let layout = part(s, &out.layout)?;
    if layout.numel() > 0 {
        s.copy(&dy, &View { layout, ..out })?;
    }
    Ok(())
}

/// The gradient of a view of every `step`-th place from `start` along `dim`: what `row` makes of the cotangent, there, and
/// zeros elsewhere.
fn part(
    c: &VjpContext,
    row: impl Fn(&Tensor) -> Result<Tensor>,
    dims: Dims,
    dim: usize,
    start: usize,
    step: usize,
) -> Result<Gradients> {
    if let (Some(later), 1, true) = (c.later, step, c.needs(0)) {
        later.leave(0, Left::Part(Part { gradient: row(c.dy()?)?, dims, dim, start }));
        return Ok(smallvec![None]);
    }
    chain(c, |dy| {
        let sizes = super::rules::ints(&dims);
        let places = [dim, start, step].map(|n| Arg::Int(n as i64));
        bind1(&SLICE_BACKWARD, &[Arg::Tensor(&row(dy)?), Arg::Ints(&sizes), places[0], places[1], places[2]])
    })
}

/// The type of a part's gradient: the cotangent's elements in the extents of operand 1.
fn infer_whole(c: &Infer) -> Result<Types> {
    let dims: Dims = c.host(1)?.extents()?;
    Ok(smallvec![TensorType::new(c.tensor(0)?.dtype, &dims)])
}

ops! {
    /// The elements in row-major order under another shape; a view where the layout allows it, else a copy.
    RESHAPE = "reshape(Tensor self, int[] shape) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            one(t.dtype, reshaped(t, &c.host(1)?.ints()?)?)
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| dy.reshape(&super::rules::ints(&c.input_dims(0)?)))),
        effect: Effect::View(0),
        cost: cost::free,
        lower: Lower::View(|v| Ok(v.layout.reshape(v.output)), None),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[2, 6]), host(&[3i64, 4])]);
            s.case([t(&[2, 3, 2]), host(&[-1i64])]);
            s.case([t(&[2, 6]), host(&[2i64, -1, 3])]);
            s.case([t(&[1]), host(&[] as &[i64])]);
            s.case([t(&[]), host(&[1i64, 1])]);
            s.case([t(&[0, 3]), host(&[3i64, 0])]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[6]), host(&[4i64])]);
            e.case(ErrorKind::Shape, [f32s(&[6]), host(&[-1i64, 4])]);
            e.case(ErrorKind::Value, [f32s(&[6]), host(&[-1i64, -1])]);
        },
    }
    /// A view of every `step`-th element along a dimension from `start` up to `end`, with Python's clamping.
    SLICE = "slice(Tensor self, int dim=0, int? start=None, int? end=None, int step=1) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let dim = dim_of(t, int_or(c.host(1)?, 0)?)?;
            let (_, count, _) = span(c.host(2)?, c.host(3)?, c.host(4)?, extent(t, dim)?)?;
            let mut out = t.clone();
            out.shape[dim] = Dim::constant(count);
            Ok(smallvec![out])
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| {
            let dims = c.input_dims(0)?;
            let dim = wrap_dim(int_or(c.host(1)?, 0)?, dims.len())?;
            let (start, _, step) = span(c.host(2)?, c.host(3)?, c.host(4)?, dims[dim])?;
            part(c, |dy| Ok(dy.clone()), dims, dim, start, step)
        }),
        effect: Effect::View(0),
        cost: cost::free,
        lower: Lower::View(
            |v| {
                let dim = wrap_dim(int_or(v.host(1)?, 0)?, v.layout.rank())?;
                let (start, count, step) = span(v.host(2)?, v.host(3)?, v.host(4)?, v.layout.shape[dim])?;
                Ok(Some(v.layout.slice(dim, start, count, step)))
            },
            None,
        ),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[5]), host(0i64), host(1i64), host(4i64), host(1i64)]);
            s.case([t(&[4, 5]), host(-1i64), none(), none(), host(2i64)]);
            s.case([t(&[4, 5]), host(0i64), host(-3i64), host(100i64), host(1i64)]);
            s.case([t(&[4, 5]), host(1i64), host(3i64), host(1i64), host(1i64)]);
            s.case([t(&[4, 0]), host(1i64), none(), none(), host(1i64)]);
        },
        errors: |e| {
            e.case(ErrorKind::Value, [f32s(&[4]), host(0i64), host(0i64), host(4i64), host(-1i64)]);
            e.case(ErrorKind::Index, [f32s(&[4]), host(1i64), host(0i64), host(4i64), host(1i64)]);
            e.case(ErrorKind::Index, [f32s(&[]), host(0i64), none(), none(), host(1i64)]);
        },
    }
    /// Zeros of `input_sizes` with the operand in every `step`-th place along `dim` from `start`; slice's gradient.
    SLICE_BACKWARD = "slice_backward(Tensor grad_output, int[] input_sizes, int dim, int start, int step) -> Tensor" {
        infer: |c| {
            let out = infer_whole(c)?;
            let dim = dim_of(&out[0], c.host(2)?.int()?)?;
            let (start, step) = (c.host(3)?.int()?, c.host(4)?.int()?);
            if start < 0 || step <= 0 {
                return Err(Error::value(format!("start {start} and step {step} are no slice")));
            }
            let dy = c.tensor(0)?;
            let count = if dy.rank() == out[0].rank() { extent(dy, dim)? as i64 } else { 0 };
            let others = (0..dy.rank()).all(|d| d == dim || dy.shape[d] == out[0].shape[d]);
            let inside = count == 0 || start + (count - 1) * step < extent(&out[0], dim)? as i64;
            if dy.rank() != out[0].rank() || !others || !inside {
                return Err(Error::shape(format!("{dy} is no slice of {}", out[0])));
            }
            Ok(out)
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| {
            let (dim, start, step) = (c.host(2)?.int()?, c.host(3)?.int()?, c.host(4)?.int()?);
            let dims = c.input_dims(0)?;
            let count = dims[wrap_dim(dim, dims.len())?] as i64;
            dy.slice(dim, Some(start), Some(start + count * step), step)
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(|s| lower_into_part(s, |s, layout| {
            let dim = wrap_dim(s.host(2)?.int()?, layout.rank())?;
            let (start, step) = (s.host(3)?.int()? as usize, s.host(4)?.int()? as usize);
            Ok(layout.slice(dim, start, s.input(0)?.layout.shape[dim], step))
        })),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3]), host(&[5i64]), host(0i64), host(1i64), host(1i64)]);
            s.case([t(&[4, 2]), host(&[4i64, 5]), host(-1i64), host(0i64), host(3i64)]);
            s.case([t(&[0, 5]), host(&[4i64, 5]), host(0i64), host(3i64), host(1i64)]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3]), host(&[5i64]), host(0i64), host(3i64), host(1i64)]);
            e.case(ErrorKind::Value, [f32s(&[3]), host(&[5i64]), host(0i64), host(0i64), host(0i64)]);
        },
    }
    /// A view of one place along a dimension, which vanishes.
    SELECT = "select(Tensor self, int dim, int index) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let dim = dim_of(t, c.host(1)?.int()?)?;
            let index = c.host(2)?.int()?;
            match t.shape[dim].known() {
                Some(n) => wrap_index(index, n, dim).map(|_| ())?,
                None if index >= 0 => {}
                None => return Err(Error::index(format!("index {index} needs a known extent")).at_dim(dim as isize)),
            }
            let mut out = t.clone();
            out.shape.remove(dim);
            Ok(smallvec![out])
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| {
            let dims = c.input_dims(0)?;
            let dim = wrap_dim(c.host(1)?.int()?, dims.len())?;
            let index = wrap_index(c.host(2)?.int()?, dims[dim], dim)?;
            part(c, |dy| dy.unsqueeze(dim as i64), dims, dim, index, 1)
        }),
        effect: Effect::View(0),
        cost: cost::free,
        lower: Lower::View(
            |v| {
                let dim = wrap_dim(v.host(1)?.int()?, v.layout.rank())?;
                Ok(Some(v.layout.select(dim, wrap_index(v.host(2)?.int()?, v.layout.shape[dim], dim)?)))
            },
            None,
        ),
        samples: |s| {
            let d = s.dtype;
            s.case([tensor(d, &[4, 3], 0.0, 9.0), host(0i64), host(2i64)]);
            s.case([tensor(d, &[2, 3, 4], 0.0, 9.0), host(-2i64), host(-1i64)]);
            s.case([tensor(d, &[4], 0.0, 9.0), host(0i64), host(0i64)]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[2]), host(0i64), host(2i64)]);
            e.case(ErrorKind::Index, [f32s(&[]), host(0i64), host(0i64)]);
        },
    }
    /// A view of a diagonal of two dimensions, which vanish; it becomes the last one.
    DIAGONAL = "diagonal(Tensor self, int offset=0, int dim1=0, int dim2=1) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let (a, b) = diagonal_dims(c.host(2)?, c.host(3)?, t.rank())?;
            let (_, _, length) = diagonal_span(extent(t, a)?, extent(t, b)?, int_or(c.host(1)?, 0)?);
            let mut shape: Shape = (0..t.rank()).filter(|&d| d != a && d != b).map(|d| t.shape[d]).collect();
            shape.push(Dim::constant(length));
            one(t.dtype, shape)
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| {
            let sizes = super::rules::ints(&c.input_dims(0)?);
            let places = [int_or(c.host(1)?, 0)?, int_or(c.host(2)?, 0)?, int_or(c.host(3)?, 1)?].map(Arg::Int);
            bind1(&DIAGONAL_BACKWARD, &[Arg::Tensor(dy), Arg::Ints(&sizes), places[0], places[1], places[2]])
        })),
        effect: Effect::View(0),
        cost: cost::free,
        lower: Lower::View(
            |v| {
                let (a, b) = diagonal_dims(v.host(2)?, v.host(3)?, v.layout.rank())?;
                Ok(Some(diagonal_layout(v.layout, int_or(v.host(1)?, 0)?, a, b)))
            },
            None,
        ),
        samples: |s| {
            let d = s.dtype;
            s.case([tensor(d, &[3, 4], 0.0, 9.0)]);
            s.case([tensor(d, &[3, 4], 0.0, 9.0), host(-1i64)]);
            s.case([tensor(d, &[2, 3, 4], 0.0, 9.0), host(1i64), host(0i64), host(-1i64)]);
            s.case([tensor(d, &[3, 3], 0.0, 9.0), host(5i64)]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[3])]);
            e.case(ErrorKind::Value, [f32s(&[3, 3]), host(0i64), host(1i64), host(-1i64)]);
        },
    }
    /// Zeros of `input_sizes` with the operand on a diagonal; diagonal's gradient.
    DIAGONAL_BACKWARD = "diagonal_backward(Tensor grad_output, int[] input_sizes, int offset, int dim1, int dim2) -> Tensor" {
        infer: |c| {
            let out = infer_whole(c)?;
            let dims = out[0].constant_dims()?;
            let (a, b) = diagonal_dims(c.host(3)?, c.host(4)?, dims.len())?;
            let part = diagonal_layout(&Layout::contiguous(&dims), c.host(2)?.int()?, a, b);
            let dy = c.tensor(0)?;
            match dy.constant_dims()? == part.shape {
                true => Ok(out),
                false => Err(Error::shape(format!("{dy} is no diagonal of {}", out[0]))),
            }
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| {
            dy.diagonal(c.host(2)?.int()?, c.host(3)?.int()?, c.host(4)?.int()?)
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(|s| lower_into_part(s, |s, layout| {
            let (a, b) = diagonal_dims(s.host(3)?, s.host(4)?, layout.rank())?;
            Ok(diagonal_layout(layout, s.host(2)?.int()?, a, b))
        })),
        samples: |s| {
            let d = s.dtype;
            s.case([tensor(d, &[3], 0.0, 9.0), host(&[3i64, 4]), host(0i64), host(0i64), host(1i64)]);
            s.case([tensor(d, &[3, 2], 0.0, 9.0), host(&[2i64, 3, 4]), host(1i64), host(0i64), host(-1i64)]);
        },
        errors: |e| e.case(ErrorKind::Shape, [f32s(&[4]), host(&[3i64, 4]), host(0i64), host(0i64), host(1i64)]),
    }
    /// The same elements, cut off from gradients.
    DETACH = "detach(Tensor self) -> Tensor" {
        infer: same,
        vjp: Vjp::Zero,
        effect: Effect::View(0),
        cost: cost::free,
        lower: Lower::View(|v| Ok(Some(v.layout.clone())), Some(|l| {
            let x = l.input(0)?;
            l.output(x);
            Ok(())
        })),
        samples: |s| s.case([tensor(s.dtype, &[2, 3], 0.0, 9.0)]),
        errors: |e| e.case(ErrorKind::Value, [host(1.0)]),
    }
}

impl Tensor {
    /// Under another shape; one extent may be -1. A view where the layout allows it, else a copy.
    #[track_caller]
    pub fn reshape(&self, shape: &[i64]) -> Result<Tensor> {
        bind1(&RESHAPE, &[Arg::Tensor(self), Arg::Ints(shape)])
    }

    /// Under another shape without a copy; an error where the layout does not allow it.
    #[track_caller]
    pub fn view(&self, shape: &[i64]) -> Result<Tensor> {
        let explain = |e: Error| e.in_op("view").at(crate::error::Origin::caller());
        let target = reshaped(&self.tensor_type(), shape).map_err(explain)?;
        let dims: Dims = target.iter().filter_map(|d| d.known()).collect();
        if self.layout().reshape(&dims).is_none() {
            let strides = self.layout().strides.as_slice();
            return Err(explain(
                Error::shape(format!(
                    "shape {:?} with strides {strides:?} has no view of shape {shape:?}",
                    self.shape()
                ))
                .hint("use reshape, which copies where it must"),
            ));
        }
        self.reshape(shape)
    }

    /// The dimensions from `start` to `end` (inclusive) as one.
    #[track_caller]
    pub fn flatten(&self, start: i64, end: i64) -> Result<Tensor> {
        let explain = |e: Error| e.in_op("flatten").at(crate::error::Origin::caller());
        let (a, b) =
            (wrap_dim(start, self.rank()).map_err(explain)?, wrap_dim(end, self.rank()).map_err(explain)?);
        if self.rank() == 0 {
            return self.reshape(&[1]);
        }
        if a > b {
            return Err(explain(Error::value(format!("the first dimension {a} comes after the last {b}"))));
        }
        let dims = self.shape();
        let mut shape: SmallVec<[i64; 6]> = dims[..a].iter().map(|&n| n as i64).collect();
        shape.push(dims[a..=b].iter().product::<usize>() as i64);
        shape.extend(dims[b + 1..].iter().map(|&n| n as i64));
        self.reshape(&shape)
    }

    /// Every `step`-th place along `dim` from `start` up to `end`, with Python's clamping.
    #[track_caller]
    pub fn slice(&self, dim: i64, start: Option<i64>, end: Option<i64>, step: i64) -> Result<Tensor> {
        bind1(&SLICE, &[Arg::Tensor(self), Arg::Int(dim), start.into(), end.into(), Arg::Int(step)])
    }

    /// `length` places along `dim` from `start`, which must exist.
    #[track_caller]
    pub fn narrow(&self, dim: i64, start: i64, length: i64) -> Result<Tensor> {
        let explain = |e: Error| e.in_op("narrow").at(crate::error::Origin::caller());
        let at = dim_of(&self.tensor_type(), dim).map_err(explain)?;
        let n = self.shape()[at] as i64;
        let from = if start < 0 { start + n } else { start };
        if from < 0 || length < 0 || from + length > n {
            let what = format!("{length} places from {start} are not within an extent of {n}");
            return Err(explain(Error::index(what).at_dim(at as isize)));
        }
        self.slice(dim, Some(from), Some(from + length), 1)
    }

    /// The place `index` along `dim`, which vanishes.
    #[track_caller]
    pub fn select(&self, dim: i64, index: i64) -> Result<Tensor> {
        bind1(&SELECT, &[Arg::Tensor(self), Arg::Int(dim), Arg::Int(index)])
    }

    /// The diagonal `offset` above the main one of two dimensions.
    #[track_caller]
    pub fn diagonal(&self, offset: i64, dim1: i64, dim2: i64) -> Result<Tensor> {
        bind1(&DIAGONAL, &[Arg::Tensor(self), Arg::Int(offset), Arg::Int(dim1), Arg::Int(dim2)])
    }

    /// The same elements, cut off from gradients (TensorFlow's `stop_gradient`).
    #[track_caller]
    pub fn detach(&self) -> Result<Tensor> {
        bind1(&DETACH, &[Arg::Tensor(self)])
    }
}
