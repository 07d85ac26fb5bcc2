//! The same elements moved, repeated, framed or seen through windows: roll, repeat, repeat_interleave, constant_pad_nd,
//! unfold; and padding that repeats elements, which is a choice of places along each dimension.

use super::rules::{chain, f32s, ints, one, same};
use super::view::{dim_of, extent};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Origin, Result};
use crate::infer::{Dim, Infer, TensorType, Types, wrap_dim};
use crate::lower::{Steps, View};
use crate::samples::{host, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::{Dims, Scalar};
use smallvec::{SmallVec, smallvec};

/// Shift along each dimension, in 0..extent.
fn shifts(shifts: Arg, dims: Arg, extents: &[usize]) -> Result<Dims> {
    let (shifts, dims) = (shifts.ints()?, dims.ints()?);
    if shifts.len() != dims.len() {
        let (a, b) = (shifts.as_slice(), dims.as_slice());
        return Err(Error::value(format!("shifts {a:?} and dims {b:?} differ in number")));
    }
    let mut out: Dims = smallvec![0; extents.len()];
    for (&shift, &dim) in shifts.iter().zip(&dims) {
        let dim = wrap_dim(dim, extents.len())?;
        if let Some(&n) = extents.get(dim).filter(|n| **n > 0) {
            out[dim] = (out[dim] as i64 + shift.rem_euclid(n as i64)).rem_euclid(n as i64) as usize;
        }
    }
    Ok(out)
}

/// Each shift cuts every block in two, which change places.
fn lower_roll(s: &mut Steps) -> Result<()> {
    let mut blocks = vec![(s.input(0)?, s.output(0))];
    let extents = blocks[0].0.layout.shape.clone();
    for (dim, shift) in shifts(s.host(1)?, s.host(2)?, &extents)?.into_iter().enumerate() {
        if shift == 0 {
            continue;
        }
        let rest = extents[dim] - shift;
        let part = |v: &View, at, n| View { layout: v.layout.slice(dim, at, n, 1), ..v.clone() };
        blocks = blocks
            .iter()
            .flat_map(|(x, y)| {
                [(part(x, 0, rest), part(y, shift, rest)), (part(x, rest, shift), part(y, 0, shift))]
            })
            .collect();
    }
    blocks.iter().try_for_each(|(x, y)| s.copy(x, y))
}

/// Repeats as non-negative extents, at least as many as there are dimensions.
fn repeats(arg: Arg, rank: usize) -> Result<Dims> {
    let repeats = arg.extents()?;
    match repeats.len() >= rank {
        true => Ok(repeats),
        false => Err(Error::shape(format!("{:?} repeats fewer than {rank} dimensions", repeats.as_slice()))),
    }
}

/// Extents [r0, d0, r1, d1, ...] of a repeated tensor.
fn interleaved(repeats: &[usize], dims: &[usize]) -> Dims {
    let missing = repeats.len() - dims.len();
    let own = |i: usize| if i < missing { 1 } else { dims[i - missing] };
    repeats.iter().enumerate().flat_map(|(i, &r)| [r, own(i)]).collect()
}

/// Dimension `dim` of a view as an outer one of `outer` and an inner one of `inner` places.
fn split_dim(v: &mut View, dim: usize, outer: usize, inner: usize) {
    let stride = v.layout.strides[dim];
    v.layout.shape[dim] = outer;
    v.layout.strides[dim] = stride * inner as isize;
    v.layout.shape.insert(dim + 1, inner);
    v.layout.strides.insert(dim + 1, stride);
}

/// A dimension of `n` places, every one the same element, before `dim`.
fn repeat_dim(v: &mut View, dim: usize, n: usize) {
    v.layout.shape.insert(dim, n);
    v.layout.strides.insert(dim, 0);
}

fn lower_repeat(s: &mut Steps) -> Result<()> {
    let (mut x, mut out) = (s.input(0)?, s.output(0));
    let repeats = repeats(s.host(1)?, x.layout.rank())?;
    while x.layout.rank() < repeats.len() {
        x.layout = x.layout.unsqueeze(0);
    }
    for d in (0..repeats.len()).rev() {
        let inner = x.layout.shape[d];
        repeat_dim(&mut x, d, repeats[d]);
        split_dim(&mut out, d, repeats[d], inner);
    }
    s.copy(&x, &out)
}

/// How often each element is repeated, and along which dimension.
fn interleave(repeats: Arg, dim: Arg, t: &TensorType) -> Result<(usize, usize)> {
    let n = repeats.int()?;
    let n = usize::try_from(n).map_err(|_| Error::value(format!("repeats must not be negative, got {n}")))?;
    Ok((n, dim_of(t, dim.int()?)?))
}

fn lower_repeat_interleave(s: &mut Steps) -> Result<()> {
    let (mut x, mut out) = (s.input(0)?, s.output(0));
    let n = s.host(1)?.int()? as usize;
    let dim = wrap_dim(s.host(2)?.int()?, x.layout.rank())?;
    let outer = x.layout.shape[dim];
    repeat_dim(&mut x, dim + 1, n);
    split_dim(&mut out, dim, outer, n);
    s.copy(&x, &out)
}

/// Places before and after each dimension, of a list that starts with the last one.
fn frame(pad: Arg, rank: usize) -> Result<SmallVec<[(i64, i64); 6]>> {
    let pad = pad.ints()?;
    if pad.len() % 2 == 1 || pad.len() > 2 * rank {
        return Err(Error::value(format!("{:?} is no padding for rank {rank}", pad.as_slice())));
    }
    let mut out: SmallVec<[(i64, i64); 6]> = smallvec![(0, 0); rank];
    for (i, pair) in pad.chunks(2).enumerate() {
        out[rank - 1 - i] = (pair[0], pair[1]);
    }
    Ok(out)
}

fn padded(n: usize, (before, after): (i64, i64), dim: usize) -> Result<usize> {
    usize::try_from(n as i64 + before + after).map_err(|_| {
        Error::shape(format!("padding ({before}, {after}) leaves less than nothing of {n} places"))
            .at_dim(dim as isize)
    })
}

fn infer_pad(c: &Infer) -> Result<Types> {
    let mut out = same(c)?;
    for (d, pair) in frame(c.host(1)?, out[0].rank())?.into_iter().enumerate() {
        if pair != (0, 0) {
            out[0].shape[d] = Dim::constant(padded(extent(&out[0], d)?, pair, d)?);
        }
    }
    if !c.host(2)?.is_none() && c.host(2)?.scalar().is_none() {
        return Err(Error::value(format!("the value must be a number, got {:?}", c.host(2)?)));
    }
    Ok(out)
}

/// The value everywhere, then what the frame leaves of the operand into its place.
fn lower_pad(s: &mut Steps) -> Result<()> {
    let (mut x, mut out) = (s.input(0)?, s.output(0));
    let value = s.host(2)?.scalar().unwrap_or(Scalar::Int(0));
    super::create::fill(s, &out, value)?;
    for (d, (before, after)) in frame(s.host(1)?, x.layout.rank())?.into_iter().enumerate() {
        let cut = |n: i64| (-n).max(0) as usize;
        let kept = x.layout.shape[d].saturating_sub(cut(before) + cut(after));
        if kept == 0 {
            return Ok(());
        }
        x.layout = x.layout.slice(d, cut(before), kept, 1);
        out.layout = out.layout.slice(d, before.max(0) as usize, kept, 1);
    }
    s.copy(&x, &out)
}

/// Number of windows.
fn windows(n: usize, size: i64, step: i64, dim: usize) -> Result<(usize, usize, usize)> {
    let (Ok(size), Ok(step)) = (usize::try_from(size), usize::try_from(step)) else {
        return Err(Error::value(format!("windows of size {size} and step {step}")));
    };
    if step == 0 {
        return Err(Error::value("windows need a positive step"));
    }
    match n.checked_sub(size) {
        Some(room) => Ok((room / step + 1, size, step)),
        None => {
            Err(Error::shape(format!("no window of size {size} fits into {n} places")).at_dim(dim as isize))
        }
    }
}

/// Elements that lie in several windows collect the cotangents of all.
fn unfold_gradient(c: &VjpContext, dy: &Tensor) -> Result<Tensor> {
    let dims = c.input_dims(0)?;
    let dim = wrap_dim(c.host(1)?.int()?, dims.len())?;
    let (count, size, step) = windows(dims[dim], c.host(2)?.int()?, c.host(3)?.int()?, dim)?;
    let places: Vec<i64> = (0..count).flat_map(|w| (0..size).map(move |i| (w * step + i) as i64)).collect();
    let index = Tensor::from_slice(&places, &[places.len()])?.to_device(dy.device())?;
    let mut order: Vec<i64> = (0..dims.len() as i64).collect();
    order.insert(dim + 1, dims.len() as i64);
    let mut flat = ints(&dims);
    flat[dim] = places.len() as i64;
    let source = dy.permute(&order)?.reshape(&flat)?;
    Tensor::zeros(&dims, dy.dtype(), dy.device())?.index_add(dim as i64, &index, &source, Arg::None)
}

ops! {
    /// The elements moved along dimensions; those that leave at one end come in at the other.
    ROLL = "roll(Tensor self, int[] shifts, int[] dims) -> Tensor" {
        infer: |c| {
            let rank = c.tensor(0)?.rank();
            let ones: Dims = smallvec![1; rank];
            shifts(c.host(1)?, c.host(2)?, &ones)?;
            same(c)
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| {
            let back: SmallVec<[i64; 6]> = c.host(1)?.ints()?.iter().map(|n| -n).collect();
            bind1(&ROLL, &[Arg::Tensor(dy), Arg::Ints(&back), c.host(2)?])
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(lower_roll),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[5]), host(&[2i64]), host(&[0i64])]);
            s.case([t(&[3, 4]), host(&[-1i64, 6]), host(&[0i64, -1])]);
            s.case([t(&[3, 4]), host(&[4i64]), host(&[1i64])]);
            s.case([t(&[0, 4]), host(&[1i64]), host(&[0i64])]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[3]), host(&[1i64]), host(&[1i64])]);
            e.case(ErrorKind::Value, [f32s(&[3]), host(&[1i64, 2]), host(&[0i64])]);
        },
    }
    /// Copies of the whole tensor side by side along each dimension.
    REPEAT = "repeat(Tensor self, int[] repeats) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let repeats = repeats(c.host(1)?, t.rank())?;
            let missing = repeats.len() - t.rank();
            let own = |i: usize| if i < missing { Dim::ONE } else { t.shape[i - missing] };
            one(t.dtype, repeats.iter().enumerate().map(|(i, &r)| own(i).times(Dim::constant(r))).collect())
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| {
            let dims = c.input_dims(0)?;
            let repeats = repeats(c.host(1)?, dims.len())?;
            let copies: SmallVec<[i64; 6]> = (0..repeats.len() as i64).map(|i| 2 * i).collect();
            if copies.is_empty() {
                return Ok(dy.clone());
            }
            let each = dy.reshape(&ints(&interleaved(&repeats, &dims)))?.sum(&copies, false)?;
            each.reshape(&ints(&dims))
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(lower_repeat),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3]), host(&[2i64])]);
            s.case([t(&[2, 3]), host(&[2i64, 1, 3])]);
            s.case([t(&[2, 3]), host(&[0i64, 2])]);
            s.case([t(&[]), host(&[2i64, 2])]);
            s.case([t(&[]), host(&[] as &[i64])]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[2, 3]), host(&[2i64])]);
            e.case(ErrorKind::Value, [f32s(&[2]), host(&[-1i64])]);
        },
    }
    /// Each element repeated in its place along a dimension.
    REPEAT_INTERLEAVE = "repeat_interleave(Tensor self, int repeats, int dim) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let (n, dim) = interleave(c.host(1)?, c.host(2)?, t)?;
            let mut shape = t.shape.clone();
            shape[dim] = shape[dim].times(Dim::constant(n));
            one(t.dtype, shape)
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| {
            let ty = c.input_type(0)?;
            let (n, dim) = interleave(c.host(1)?, c.host(2)?, &ty)?;
            let mut split = ints(&ty.constant_dims()?);
            split.insert(dim + 1, n as i64);
            dy.reshape(&split)?.sum(&[dim as i64 + 1], false)
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(lower_repeat_interleave),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3]), host(2i64), host(0i64)]);
            s.case([t(&[2, 3]), host(3i64), host(-2i64)]);
            s.case([t(&[2, 3]), host(0i64), host(1i64)]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[3]), host(2i64), host(1i64)]);
            e.case(ErrorKind::Value, [f32s(&[3]), host(-2i64), host(0i64)]);
        },
    }
    /// The tensor in a frame of one number; a negative width cuts off. Widths are pairs, the last dimension's first.
    CONSTANT_PAD_ND = "constant_pad_nd(Tensor self, int[] pad, Scalar value=0) -> Tensor" {
        infer: infer_pad,
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| {
            let back: SmallVec<[i64; 6]> = c.host(1)?.ints()?.iter().map(|n| -n).collect();
            bind1(&CONSTANT_PAD_ND, &[Arg::Tensor(dy), Arg::Ints(&back), Arg::Int(0)])
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(lower_pad),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3]), host(&[1i64, 2])]);
            s.case([t(&[2, 3]), host(&[1i64, 0, 2, 1]), host(1i64)]);
            s.case([t(&[2, 5]), host(&[-1i64, -2])]);
            s.case([t(&[2, 3]), host(&[2i64, -3]), host(1i64)]);
            s.case([t(&[0]), host(&[1i64, 1])]);
        },
        errors: |e| {
            e.case(ErrorKind::Value, [f32s(&[3]), host(&[1i64])]);
            e.case(ErrorKind::Value, [f32s(&[3]), host(&[1i64, 1, 1, 1])]);
            e.case(ErrorKind::Shape, [f32s(&[3]), host(&[-2i64, -2])]);
        },
    }
    /// A view of every window of `size` places that starts at a multiple of `step`; a window is a new last dimension.
    UNFOLD = "unfold(Tensor self, int dimension, int size, int step) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let dim = dim_of(t, c.host(1)?.int()?)?;
            let (count, size, _) = windows(extent(t, dim)?, c.host(2)?.int()?, c.host(3)?.int()?, dim)?;
            let mut shape = t.shape.clone();
            shape[dim] = Dim::constant(count);
            shape.push(Dim::constant(size));
            one(t.dtype, shape)
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| unfold_gradient(c, dy))),
        effect: Effect::View(0),
        cost: cost::free,
        lower: Lower::View(
            |v| {
                let dim = wrap_dim(v.host(1)?.int()?, v.layout.rank())?;
                let (size, step) = (v.host(2)?.int()?, v.host(3)?.int()?);
                let (count, size, step) = windows(v.layout.shape[dim], size, step, dim)?;
                let mut out = v.layout.clone();
                let stride = out.strides[dim];
                out.shape[dim] = count;
                out.strides[dim] = stride * step as isize;
                out.shape.push(size);
                out.strides.push(stride);
                Ok(Some(out))
            },
            None,
        ),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[7]), host(0i64), host(3i64), host(2i64)]);
            s.case([t(&[2, 5, 3]), host(1i64), host(2i64), host(1i64)]);
            s.case([t(&[4]), host(-1i64), host(4i64), host(9i64)]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3]), host(0i64), host(4i64), host(1i64)]);
            e.case(ErrorKind::Value, [f32s(&[3]), host(0i64), host(2i64), host(0i64)]);
            e.case(ErrorKind::Index, [f32s(&[3]), host(1i64), host(2i64), host(1i64)]);
        },
    }
}

/// The place that a padded dimension reads at `i`, which counts from the first place of the operand.
type Reader = fn(i64, i64) -> i64;

/// How far a mode can reach, and what it reads.
fn reader(mode: &str) -> Result<(fn(i64) -> i64, Reader)> {
    match mode {
        "reflect" => Ok((
            |n| n - 1,
            |i, n| {
                let i = i.abs();
                if i < n { i } else { 2 * (n - 1) - i }
            },
        )),
        "replicate" => Ok((|n| if n > 0 { i64::MAX } else { 0 }, |i, n| i.clamp(0, n - 1))),
        "circular" => Ok((|n| n, |i, n| i.rem_euclid(n))),
        other => Err(Error::value(format!(
            "mode must be 'constant', 'reflect', 'replicate' or 'circular', got {other:?}"
        ))),
    }
}

impl Tensor {
    /// The elements moved by `shifts` along `dims`; with no dims by one shift through the flattened tensor.
    #[track_caller]
    pub fn roll(&self, shifts: &[i64], dims: &[i64]) -> Result<Tensor> {
        if shifts.is_empty() {
            return Err(Error::value("there is no shift").in_op("roll").at(Origin::caller()));
        }
        if self.rank() == 0 && !dims.is_empty() {
            return Err(Error::index("rank 0 has no dimensions to roll").in_op("roll").at(Origin::caller()));
        }
        if dims.is_empty() && shifts.len() == 1 {
            let flat = self.reshape(&[-1])?;
            let rolled = bind1(&ROLL, &[Arg::Tensor(&flat), Arg::Ints(shifts), Arg::Ints(&[0])])?;
            return rolled.reshape(&ints(self.shape()));
        }
        bind1(&ROLL, &[Arg::Tensor(self), Arg::Ints(shifts), Arg::Ints(dims)])
    }

    /// Copies of the whole tensor side by side, `repeats` of them along each dimension.
    #[track_caller]
    pub fn repeat(&self, repeats: &[i64]) -> Result<Tensor> {
        bind1(&REPEAT, &[Arg::Tensor(self), Arg::Ints(repeats)])
    }

    /// `repeat` where leading repeats of 1 may be left out.
    #[track_caller]
    pub fn tile(&self, repeats: &[i64]) -> Result<Tensor> {
        let missing = self.rank().saturating_sub(repeats.len());
        let all: SmallVec<[i64; 6]> =
            std::iter::repeat_n(1, missing).chain(repeats.iter().copied()).collect();
        self.repeat(&all)
    }

    /// Each element repeated in its place along `dim`, or of the flattened tensor.
    #[track_caller]
    pub fn repeat_interleave(&self, repeats: i64, dim: Option<i64>) -> Result<Tensor> {
        match dim {
            Some(dim) => bind1(&REPEAT_INTERLEAVE, &[Arg::Tensor(self), Arg::Int(repeats), Arg::Int(dim)]),
            None => self.reshape(&[-1])?.repeat_interleave(repeats, Some(0)),
        }
    }

    /// Each element along `dim` (of the flattened tensor without one) repeated as often as `repeats` says at its place.
    /// The counts are looked at, so the length of the result is known.
    #[track_caller]
    pub fn repeat_interleave_each(&self, repeats: &Tensor, dim: Option<i64>) -> Result<Tensor> {
        let Some(dim) = dim else {
            return self.reshape(&[-1])?.repeat_interleave_each(repeats, Some(0));
        };
        let explain = |e: Error| e.in_op("repeat_interleave");
        if !matches!(repeats.dtype(), DType::I32 | DType::I64) {
            let what = format!("repeats must be int32 or int64, got {}", repeats.dtype());
            return Err(explain(Error::dtype(what)));
        }
        let n = self.size(dim)?;
        let counts = repeats.to_scalars()?;
        if repeats.rank() > 1 || !(counts.len() == n || counts.len() == 1) {
            let what = format!("{:?} repeats for {n} elements", repeats.shape());
            return Err(explain(Error::shape(what).at_dim(dim as isize)));
        }
        let mut places: Vec<i64> = Vec::new();
        for i in 0..n {
            let count = counts[i.min(counts.len() - 1)].to_i64();
            let count = usize::try_from(count)
                .map_err(|_| explain(Error::value(format!("repeats must not be negative, got {count}"))))?;
            places.extend(std::iter::repeat_n(i as i64, count));
        }
        let index = Tensor::from_slice(&places, &[places.len()])?.to_device(self.device())?;
        self.index_select(dim, &index)
    }

    /// `repeat_interleave_each` whose result has `total` places along `dim`, so that the host need not look at the repeats.
    #[track_caller]
    pub fn repeat_interleave_to(&self, repeats: &Tensor, dim: Option<i64>, total: i64) -> Result<Tensor> {
        let wrong = |found: usize| {
            let what = format!("repeats make {found} places, not the {total} that were asked for");
            Error::value(what).in_op("repeat_interleave")
        };
        let Some(dim) = dim else {
            return self.reshape(&[-1])?.repeat_interleave_to(repeats, Some(0), total);
        };
        let n = self.size(dim)?;
        let told = matches!(repeats.dtype(), DType::I32 | DType::I64)
            && [&[][..], &[1], &[n]].contains(&repeats.shape());
        if repeats.traced().is_none() || !told || total < 0 {
            let out = self.repeat_interleave_each(repeats, Some(dim))?;
            let found = out.size(dim)?;
            return if found as i64 == total { Ok(out) } else { Err(wrong(found)) };
        }
        // The first element whose copies end after a place is the one that stands there.
        let ends = repeats.to(DType::I64)?.expand(&[n])?.cumsum(0)?;
        let places = Tensor::arange(0i64, total, 1i64, Some(DType::I64), self.device())?;
        self.index_select(dim, &ends.searchsorted(&places, true)?)
    }

    /// Windows of `size` places along `dim`, one at every multiple of `step`, as a new last dimension.
    #[track_caller]
    pub fn unfold(&self, dim: i64, size: i64, step: i64) -> Result<Tensor> {
        if self.rank() == 0 {
            return self.unsqueeze(0)?.unfold(dim, size, step)?.select(0, 0);
        }
        bind1(&UNFOLD, &[Arg::Tensor(self), Arg::Int(dim), Arg::Int(size), Arg::Int(step)])
    }

    /// The tensor in a frame: of `value` ("constant"), of itself mirrored ("reflect"), of its outermost elements
    /// ("replicate") or of its other end ("circular"). Widths are pairs, the last dimension's first.
    #[track_caller]
    pub fn pad<'a>(&self, pad: &[i64], mode: &str, value: impl Into<Arg<'a>>) -> Result<Tensor> {
        if mode == "constant" {
            return bind1(&CONSTANT_PAD_ND, &[Arg::Tensor(self), Arg::Ints(pad), value.into()]);
        }
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("pad").at(origin);
        let (reach, read) = reader(mode).map_err(explain)?;
        let mut out = self.clone();
        for (d, (before, after)) in
            frame(Arg::Ints(pad), self.rank()).map_err(explain)?.into_iter().enumerate()
        {
            if (before, after) == (0, 0) {
                continue;
            }
            let (mut before, mut after, mut n) = (before, after, self.shape()[d] as i64);
            padded(n as usize, (before, after), d).map_err(explain)?;
            if mode == "circular" && before.min(after) < 0 {
                // What is cut off is not there to come in at the other end.
                let (start, end) = ((-before).max(0), n + after.min(0));
                out = out.slice(d as i64, Some(start), Some(end), 1)?;
                (before, after, n) = (before.max(0), after.max(0), (end - start).max(0));
            }
            if before.max(after) > reach(n) {
                let what = format!("padding ({before}, {after}) is too wide for {n} places in mode '{mode}'");
                return Err(explain(Error::shape(what).at_dim(d as isize)));
            }
            let length = padded(n as usize, (before, after), d).map_err(explain)? as i64;
            let places: Vec<i64> = (-before..length - before).map(|i| read(i, n)).collect();
            let index = Tensor::from_slice(&places, &[places.len()])?.to_device(self.device())?;
            out = out.index_select(d as i64, &index)?;
        }
        Ok(out)
    }
}
