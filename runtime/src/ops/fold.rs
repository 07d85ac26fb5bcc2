//! Windows as columns and back (F.unfold and F.fold), and the largest elements put back in their places (F.max_unpool).

use super::index::laid;
use super::pools::Pool;
use super::rules::{chain, f32s, ints, one};
use super::view::extent;
use super::window::{framed, overlap, windows};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Origin, Result};
use crate::infer::{Dim, Infer, TensorType, Types};
use crate::lower::{Steps, View};
use crate::samples::{host, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::{DType, Dims};
use smallvec::{SmallVec, smallvec};

/// Lists of one number for each dimension: kernel, dilation, padding, stride.
struct Columns {
    kernel: Dims,
    dilation: Dims,
    padding: Dims,
    stride: Dims,
    places: Dims,
}

impl Columns {
    /// Of the four operands from `at` on, over the last of `dims`.
    fn read<'a>(host: impl Fn(usize) -> Result<Arg<'a>>, at: usize, dims: &[usize]) -> Result<Columns> {
        let n = host(at)?.ints()?.len();
        let list = |i: usize, what: &str, least: i64| -> Result<Dims> {
            let found = host(at + i)?.ints()?;
            if found.len() != n || n == 0 || n > dims.len() {
                return Err(Error::shape(format!("{what} {:?} for a kernel of {n}", found.as_slice())));
            }
            match found.iter().find(|v| **v < least) {
                Some(low) => Err(Error::value(format!("{what} must be at least {least}, got {low}"))),
                None => Ok(found.iter().map(|&v| v as usize).collect()),
            }
        };
        let (kernel, dilation) = (list(0, "kernel_size", 1)?, list(1, "dilation", 1)?);
        let (padding, stride) = (list(2, "padding", 0)?, list(3, "stride", 1)?);
        let dims = &dims[dims.len() - n..];
        let places = (0..n)
            .map(|d| {
                let reach = dilation[d] * (kernel[d] - 1) + 1;
                let room = (dims[d] + 2 * padding[d]).checked_sub(reach);
                room.map(|room| room / stride[d] + 1).ok_or_else(|| {
                    let what = format!("no window of {reach} places fits into {}", dims[d]);
                    Error::shape(what).at_dim(d as isize)
                })
            })
            .collect::<Result<_>>()?;
        Ok(Columns { kernel, dilation, padding, stride, places })
    }

    fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// A view of columns [batch, channels * taps, places] with a dimension for each of the kernel's and places'.
    fn spread(&self, s: &mut Steps, v: View) -> Result<View> {
        let (batch, rows) = (v.layout.shape[0], v.layout.shape[1]);
        let mut shape: Dims = smallvec![batch, rows / self.taps()];
        shape.extend(self.kernel.iter().chain(&self.places).copied());
        laid(s, v, &shape)
    }
}

fn known(t: &TensorType) -> Result<Dims> {
    (0..t.rank()).map(|d| if d == 0 { Ok(t.shape[0].known().unwrap_or(1)) } else { extent(t, d) }).collect()
}

fn infer_im2col(c: &Infer) -> Result<Types> {
    let x = c.tensor(0)?;
    let n = c.host(1)?.ints()?.len();
    if x.rank() != n + 2 {
        return Err(Error::shape(format!("expected an input of rank {}, got {x}", n + 2)));
    }
    let columns = Columns::read(|i| c.host(i), 1, &known(x)?)?;
    let rows = x.shape[1].times(Dim::constant(columns.taps()));
    one(x.dtype, smallvec![x.shape[0], rows, Dim::constant(columns.places.iter().product())])
}

fn lower_im2col(s: &mut Steps) -> Result<()> {
    let (x, out) = (s.input(0)?, s.output(0));
    if out.layout.numel() == 0 {
        return Ok(());
    }
    let columns = Columns::read(|i| s.host(i), 1, &x.layout.shape)?;
    let x = framed(s, x, &columns.padding)?;
    let view = windows(&x, &columns.kernel, &columns.places, &columns.stride, &columns.dilation);
    if let Some(layout) = out.layout.reshape(&view.layout.shape) {
        return s.copy(&view, &View { layout, ..out });
    }
    let dense = s.temp(x.dtype, &view.layout.shape);
    s.copy(&view, &dense)?;
    let same = laid(s, dense, &out.layout.shape)?;
    s.copy(&same, &out)
}

/// columns, output_size, then as im2col.
fn infer_col2im(c: &Infer) -> Result<Types> {
    let (x, size) = (c.tensor(0)?, c.host(1)?.extents()?);
    if x.rank() != 3 {
        return Err(Error::shape(format!("expected columns [batch, rows, places], got {x}")));
    }
    let columns = Columns::read(|i| c.host(i), 2, &size)?;
    let (rows, places) = (extent(x, 1)?, columns.places.iter().product::<usize>());
    if columns.kernel.len() != size.len() || rows % columns.taps() != 0 || !x.shape[2].is(places) {
        return Err(Error::shape(format!(
            "columns {x} are not those of windows of {} elements in {places} places",
            columns.taps()
        )));
    }
    let mut shape: crate::infer::Shape = smallvec![x.shape[0], Dim::constant(rows / columns.taps())];
    shape.extend(size.iter().map(|&n| Dim::constant(n)));
    one(x.dtype, shape)
}

fn lower_col2im(s: &mut Steps) -> Result<()> {
    let (mut x, out) = (s.input(0)?, s.output(0));
    if out.layout.numel() == 0 {
        return Ok(());
    }
    let columns = Columns::read(|i| s.host(i), 2, &out.layout.shape)?;
    let wide = out.dtype.accumulator();
    let sum = if wide == out.dtype { out.clone() } else { s.temp(wide, &out.layout.shape) };
    super::create::fill(s, &sum, 0i64)?;
    if x.layout.numel() > 0 {
        if wide != x.dtype {
            let to = s.temp(wide, &x.layout.shape);
            s.copy(&x, &to)?;
            x = to;
        }
        let x = columns.spread(s, x)?;
        overlap(s, x, &sum, &columns.stride, &columns.dilation, &columns.padding)?;
    }
    if wide == out.dtype { Ok(()) } else { s.copy(&sum, &out) }
}

ops! {
    /// The windows over the last dimensions as columns [batch, channels * taps, places].
    IM2COL = "im2col(Tensor self, int[] kernel_size, int[] dilation, int[] padding, int[] stride) -> Tensor" {
        infer: infer_im2col,
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| {
            let size = ints(&c.input_dims(0)?[2..]);
            bind1(&COL2IM, &[Arg::Tensor(dy), Arg::Ints(&size), c.host(1)?, c.host(2)?, c.host(3)?, c.host(4)?])
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(lower_im2col),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[2, 2, 4, 5]), host(&[2i64, 3]), host(&[1i64, 1]), host(&[1i64, 0]), host(&[2i64, 1])]);
            s.case([t(&[1, 2, 6]), host(&[2i64]), host(&[2i64]), host(&[0i64]), host(&[1i64])]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[1, 1, 2]), host(&[3i64]), host(&[1i64]), host(&[0i64]), host(&[1i64])]);
            e.case(ErrorKind::Value, [f32s(&[1, 1, 2]), host(&[1i64]), host(&[1i64]), host(&[0i64]), host(&[0i64])]);
        },
    }
    /// Columns [batch, channels * taps, places] added where their windows lie; im2col's gradient.
    COL2IM = "col2im(Tensor self, int[] output_size, int[] kernel_size, int[] dilation, int[] padding, int[] stride) -> Tensor" {
        infer: infer_col2im,
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |h| {
            bind1(&IM2COL, &[Arg::Tensor(h), c.host(2)?, c.host(3)?, c.host(4)?, c.host(5)?])
        })),
        effect: Effect::Pure,
        cost: cost::per_input::<1>,
        lower: Lower::Steps(lower_col2im),
        samples: |s| {
            let d = s.dtype;
            if d != DType::Bool {
                let t = |dims: &[usize]| tensor(d, dims, 0.0, 5.0);
                let lists = |k, l, p, st| [host(k), host(l), host(p), host(st)];
                let [k, l, p, st] = lists(&[2i64, 3], &[1i64, 1], &[1i64, 0], &[2i64, 1]);
                s.case([t(&[2, 12, 9]), host(&[4i64, 5]), k, l, p, st]);
            }
        },
        errors: |e| e.case(ErrorKind::Shape, [
            f32s(&[1, 4, 5]), host(&[3i64, 3]), host(&[2i64, 2]), host(&[1i64, 1]), host(&[0i64, 0]), host(&[1i64, 1]),
        ]),
    }
}

/// One number for both dimensions of an image, or two.
fn pair(what: &str, list: &[i64]) -> Result<[i64; 2]> {
    match *list {
        [one] => Ok([one, one]),
        [a, b] => Ok([a, b]),
        _ => Err(Error::shape(format!("{what} must be one number or two, got {list:?}"))),
    }
}

impl Tensor {
    /// The windows of an image as columns (torch's F.unfold); the batch may be missing.
    #[track_caller]
    pub fn im2col(
        &self,
        kernel: &[i64],
        dilation: &[i64],
        padding: &[i64],
        stride: &[i64],
    ) -> Result<Tensor> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("im2col").at(origin);
        let lists =
            [("kernel_size", kernel), ("dilation", dilation), ("padding", padding), ("stride", stride)];
        let [k, l, p, st] = lists.map(|(what, list)| pair(what, list).map_err(explain));
        let (k, l, p, st) = (k?, l?, p?, st?);
        let (x, single) = super::convolution::batched(self, 2).map_err(explain)?;
        if x.shape()[1..].contains(&0) {
            return Err(explain(Error::shape(format!(
                "{:?} has no elements to make columns of",
                self.shape()
            ))));
        }
        let y =
            bind1(&IM2COL, &[Arg::Tensor(&x), Arg::Ints(&k), Arg::Ints(&l), Arg::Ints(&p), Arg::Ints(&st)])?;
        if single { y.squeeze(0) } else { Ok(y) }
    }

    /// Columns added where their windows lie in an image of this size (torch's F.fold); the batch may be missing.
    #[track_caller]
    pub fn col2im(
        &self,
        size: &[i64],
        kernel: &[i64],
        dilation: &[i64],
        padding: &[i64],
        stride: &[i64],
    ) -> Result<Tensor> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("col2im").at(origin);
        let lists = [
            ("output_size", size),
            ("kernel_size", kernel),
            ("dilation", dilation),
            ("padding", padding),
            ("stride", stride),
        ];
        let [z, k, l, p, st] = lists.map(|(what, list)| pair(what, list).map_err(explain));
        let lists = [z?, k?, l?, p?, st?];
        let single = self.rank() == 2;
        let x = if single { self.unsqueeze(0)? } else { self.clone() };
        let args: SmallVec<[Arg; 6]> =
            std::iter::once(Arg::Tensor(&x)).chain(lists.iter().map(|l| Arg::Ints(l))).collect();
        let y = bind1(&COL2IM, &args)?;
        if single { y.squeeze(0) } else { Ok(y) }
    }

    /// Channels dealt out: the first of every one of `groups` groups, then the second of every group, and so on.
    #[track_caller]
    pub fn channel_shuffle(&self, groups: i64) -> Result<Tensor> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("channel_shuffle").at(origin);
        if self.rank() < 3 {
            let what = format!("expected an input of rank 3 or more, got {:?}", self.shape());
            return Err(explain(Error::shape(what)));
        }
        if groups <= 0 {
            return Err(explain(Error::value(format!("groups must be positive, got {groups}"))));
        }
        let channels = self.shape()[1] as i64;
        if channels % groups != 0 {
            return Err(explain(Error::shape(format!("{channels} channels do not make {groups} groups"))));
        }
        self.unflatten(1, &[groups, channels / groups])?.transpose(1, 2)?.flatten(1, 2)
    }

    /// Zeros with each element at its place in the last `n` dimensions laid out as one; what `max_pool` left out is zero.
    /// Without a `size` the windows just fit.
    #[track_caller]
    pub fn max_unpool(&self, n: usize, places: &Tensor, how: Pool, size: Option<&[i64]>) -> Result<Tensor> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("max_unpool").at(origin);
        if places.dtype() != DType::I64 {
            return Err(explain(Error::dtype(format!("places must be int64, got {}", places.dtype()))));
        }
        if places.shape() != self.shape() || !(n + 1..=n + 2).contains(&self.rank()) {
            let what = format!(
                "expected an input of rank {} or {} and places of its shape, got {:?} and {:?}",
                n + 1,
                n + 2,
                self.shape(),
                places.shape()
            );
            return Err(explain(Error::shape(what)));
        }
        let lead = self.rank() - n;
        let [kernel, stride, padding, _] = how.spelled(n).map_err(explain)?;
        if let Some(low) = stride.iter().find(|v| **v <= 0) {
            return Err(explain(Error::value(format!("strides must be greater than zero, got {low}"))));
        }
        let fitting: SmallVec<[i64; 6]> = (0..n)
            .map(|d| (self.shape()[lead + d] as i64 - 1) * stride[d] + kernel[d] - 2 * padding[d])
            .collect();
        let size: SmallVec<[i64; 6]> = match size {
            None => fitting.clone(),
            Some(given) => SmallVec::from_slice(if given.len() == n + 2 { &given[2..] } else { given }),
        };
        let near = |d: usize| (size[d] - fitting[d]).abs() < stride[d] && size[d] >= 0;
        if size.len() != n || !(0..n).all(near) {
            let what = format!("output_size {:?} is not near {:?}", size.as_slice(), fitting.as_slice());
            return Err(explain(Error::shape(what)));
        }
        let mut whole: Dims = self.shape()[..lead].into();
        whole.push(size.iter().product::<i64>() as usize);
        let mut rows = ints(&self.shape()[..lead]);
        rows.push(self.shape()[lead..].iter().product::<usize>() as i64);
        let mut shape = ints(&self.shape()[..lead]);
        shape.extend(size);
        let zeros = Tensor::zeros(&whole, self.dtype(), self.device())?;
        zeros.scatter(-1, &places.reshape(&rows)?, &self.reshape(&rows)?)?.reshape(&shape)
    }

    /// The p-norm of every window over the last `n` dimensions: (sum x^p)^(1/p).
    #[track_caller]
    pub fn lp_pool(&self, n: usize, p: f64, how: Pool) -> Result<Tensor> {
        if p == 0.0 {
            let what = "the norm's order must not be zero";
            return Err(Error::value(what).in_op("lp_pool").at(Origin::caller()));
        }
        if p == f64::INFINITY {
            return Ok(self.abs()?.max_pool(n, how)?.0);
        }
        if p == f64::NEG_INFINITY {
            return self.abs()?.neg()?.max_pool(n, how)?.0.neg();
        }
        let [kernel, ..] = how.spelled(n)?;
        let mean = self.pow(p)?.avg_pool(n, how, true, None)?;
        let sum = mean.sign()?.mul(&mean.abs()?.relu()?)?.mul(kernel.iter().product::<i64>() as f64)?;
        sum.pow(1.0 / p)
    }
}
