//! Pooling as methods: means are sums over counts, adaptive windows are chosen places, fractional ones follow a number
//! that is drawn.

use super::pooling::{
    ADAPTIVE_MAX_POOL, MAX_POOL, SUM_POOL, Span, Spans, even_cuts, longest, numbers, spans,
};
use super::rules::{float_only, ints};
use crate::door::{bind, bind1};
use crate::error::{Error, Origin, Result};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use smallvec::SmallVec;

/// How a pool's window slides; a list holds one number for each dimension, or one for all.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    /// Extents of the window.
    pub kernel: &'a [i64],
    /// Places from one window to the next; empty for the kernel's extents.
    pub stride: &'a [i64],
    /// Places of the frame at either end.
    pub padding: &'a [i64],
    /// Places from one element of a window to the next.
    pub dilation: &'a [i64],
    /// Whether a window may reach over the frame's end.
    pub ceil: bool,
}

impl Pool<'_> {
    /// Windows of these extents side by side.
    pub fn new(kernel: &[i64]) -> Pool<'_> {
        Pool { kernel, stride: &[], padding: &[0], dilation: &[1], ceil: false }
    }

    fn spans(&self, dims: &[usize]) -> Result<Spans> {
        spans(self.kernel, self.stride, self.padding, self.dilation, self.ceil, dims)
    }

    /// One number for each of `n` dimensions.
    pub(super) fn spelled(&self, n: usize) -> Result<[SmallVec<[i64; 6]>; 4]> {
        let stride = if self.stride.is_empty() { self.kernel } else { self.stride };
        Ok([
            numbers("kernel_size", self.kernel, n)?,
            numbers("stride", stride, n)?,
            numbers("padding", self.padding, n)?,
            numbers("dilation", self.dilation, n)?,
        ])
    }
}

/// An input with channels and maybe a batch, of which the batch alone may be empty.
fn check_input(x: &Tensor, n: usize) -> Result<()> {
    let fits = x.rank() == n + 1 || x.rank() == n + 2;
    let first = usize::from(x.rank() == n + 2);
    match fits && x.shape()[first..].iter().all(|n| *n > 0) {
        true => Ok(()),
        false => Err(Error::shape(format!(
            "expected an input of rank {} or {} that is empty in its batch at most, got {:?}",
            n + 1,
            n + 2,
            x.shape()
        ))),
    }
}

impl Tensor {
    /// The largest element of every window over the last `n` dimensions, and its place in them laid out as one.
    #[track_caller]
    pub fn max_pool(&self, n: usize, how: Pool) -> Result<(Tensor, Tensor)> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("max_pool").at(origin);
        let lead = self.rank().saturating_sub(n);
        how.spans(&self.shape()[lead..]).map_err(explain)?;
        check_input(self, n).map_err(explain)?;
        let [kernel, stride, padding, dilation] = how.spelled(n).map_err(explain)?;
        let lists = [&kernel, &stride, &padding, &dilation].map(|l| Arg::Ints(l));
        let args = [&[Arg::Tensor(self)], &lists[..], &[Arg::Bool(how.ceil)]].concat();
        let mut found = bind(&MAX_POOL, &args, origin)?;
        match (found.pop(), found.pop()) {
            (Some(places), Some(values)) => Ok((values, places)),
            _ => Err(Error::internal("max_pool has two outputs")),
        }
    }

    /// The mean of every window over the last `n` dimensions. The frame's places count as elements where `count_padding`;
    /// `divisor` stands for the number of elements where it is given.
    #[track_caller]
    pub fn avg_pool(&self, n: usize, how: Pool, count_padding: bool, divisor: Option<i64>) -> Result<Tensor> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("avg_pool").at(origin);
        if divisor == Some(0) {
            return Err(explain(Error::value("the divisor must not be zero")));
        }
        let lead = self.rank().saturating_sub(n);
        let dims = &self.shape()[lead..];
        let spans = how.spans(dims).map_err(explain)?;
        check_input(self, n).map_err(explain)?;
        if self.dtype() != DType::I64 {
            float_only(self.dtype()).map_err(explain)?;
        }
        let [kernel, stride, padding, dilation] = how.spelled(n).map_err(explain)?;
        let own = self.dtype();
        let x = self.to(own.accumulator())?;
        let lists = [&kernel, &stride, &padding, &dilation].map(|l| Arg::Ints(l));
        let sum = bind1(&SUM_POOL, &[&[Arg::Tensor(&x)], &lists[..], &[Arg::Bool(how.ceil)]].concat())?;
        let counts = match divisor {
            Some(n) => Tensor::full(&[], n, sum.dtype(), self.device())?,
            None => counts(&spans, dims, count_padding)?.to(sum.dtype())?.to_device(self.device())?,
        };
        match own.is_float() {
            true => sum.div(&counts)?.to(own),
            false => sum.div_mode(&counts, Some("trunc")),
        }
    }

    /// The largest elements of the last dimensions cut into `size` windows of nearly equal length, and their places.
    #[track_caller]
    pub fn adaptive_max_pool(&self, size: &[i64]) -> Result<(Tensor, Tensor)> {
        let mut found = bind(&ADAPTIVE_MAX_POOL, &[Arg::Tensor(self), Arg::Ints(size)], Origin::caller())?;
        match (found.pop(), found.pop()) {
            (Some(places), Some(values)) => Ok((values, places)),
            _ => Err(Error::internal("adaptive_max_pool has two outputs")),
        }
    }

    /// The means of the last dimensions cut into `size` windows of nearly equal length.
    #[track_caller]
    pub fn adaptive_avg_pool(&self, size: &[i64]) -> Result<Tensor> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("adaptive_avg_pool").at(origin);
        let own = self.dtype();
        float_only(own).map_err(explain)?;
        let dims = self.shape();
        even_cuts(|_| Ok(Arg::Ints(size)), dims).map_err(explain)?;
        let lead = dims.len() - size.len();
        let mut out = self.to(own.accumulator())?;
        for (d, &count) in size.iter().enumerate() {
            let (dim, n, count) = (lead + d, dims[lead + d], count as usize);
            if n == 0 {
                return Err(explain(Error::shape("no elements to pool").at_dim(dim as isize)));
            }
            out = even_means(&out, dim, n, count)?;
        }
        out.to(own)
    }
}

/// Places of the windows along a dimension [batch, channels, out, kernel] that a number of each channel decides.
fn drawn_places(sample: &Tensor, n: usize, out: usize, kernel: usize) -> Result<Tensor> {
    let device = sample.device();
    let last = (n - kernel) as f64;
    let steps = if out > 1 { last / (out as f64 - 1.0) } else { 0.0 };
    let each: Vec<f64> = (0..out).map(|o| o as f64).collect();
    let each = Tensor::from_slice(&each, &[out])?.to(sample.dtype())?.to_device(device)?;
    let sample = sample.unsqueeze(-1)?;
    let start = each.add(&sample)?.mul(steps)?.trunc()?.sub(&sample.mul(steps)?.trunc()?)?;
    // The last window ends with the input.
    let is_last: Vec<bool> = (0..out).map(|o| o + 1 == out).collect();
    let start = start.masked_fill(&Tensor::from_slice(&is_last, &[out])?.to_device(device)?, last)?;
    let taps: Vec<i64> = (0..kernel as i64).collect();
    start.to(DType::I64)?.unsqueeze(-1)?.add(&Tensor::from_slice(&taps, &[kernel])?.to_device(device)?)
}

impl Tensor {
    /// The largest element of each of `size` windows of extents `kernel`, which lie nearly evenly as `samples`
    /// [batch, channels, n] in [0, 1) decide (drawn where they are left out), and their places.
    #[track_caller]
    pub fn fractional_max_pool(
        &self,
        kernel: &[i64],
        size: &[i64],
        samples: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("fractional_max_pool").at(origin);
        let n = kernel.len();
        check_input(self, n).map_err(explain)?;
        float_only(self.dtype()).map_err(explain)?;
        let single = self.rank() == n + 1;
        let x = if single { self.unsqueeze(0)? } else { self.clone() };
        let dims = x.shape()[2..].to_vec();
        for d in 0..n {
            if kernel[d] < 1 || size.len() != n || size[d] < 1 || size[d] + kernel[d] - 1 > dims[d] as i64 {
                let what = format!("{size:?} windows of {kernel:?} do not fit into {dims:?}");
                return Err(explain(Error::shape(what).at_dim(d as isize)));
            }
        }
        let (batch, channels) = (x.shape()[0], x.shape()[1]);
        let wanted = [batch, channels, n];
        let samples = match samples {
            Some(t) if t.shape() == wanted => t.clone(),
            Some(t) => {
                let what = format!("samples {:?} are not {wanted:?}", t.shape());
                return Err(explain(Error::shape(what)));
            }
            None => Tensor::rand(&wanted, x.dtype(), x.device())?,
        };
        // A place in the dimensions laid out as one: [batch, channels, out.., kernel..].
        let mut place: Option<Tensor> = None;
        for d in 0..n {
            // The numbers of an image come in the order of its width and height, those of a volume in the dimensions' own.
            let which = if n == 2 { n - 1 - d } else { d };
            let sample = samples.select(2, which as i64)?;
            let own = drawn_places(&sample, dims[d], size[d] as usize, kernel[d] as usize)?;
            let mut shape: Vec<i64> = vec![batch as i64, channels as i64];
            shape.extend((0..n).map(|k| if k == d { size[d] } else { 1 }));
            shape.extend((0..n).map(|k| if k == d { kernel[d] } else { 1 }));
            let own = own.reshape(&shape)?;
            place = Some(match place {
                Some(place) => place.mul(dims[d] as i64)?.add(&own)?,
                None => own,
            });
        }
        let place = place.ok_or_else(|| Error::internal("a window without dimensions"))?;
        let flat =
            |t: &Tensor, lengths: &[i64]| t.reshape(&[&[batch as i64, channels as i64], lengths].concat());
        let (windows, taps) = (size.iter().product::<i64>(), kernel.iter().product::<i64>());
        let image = flat(&x, &[dims.iter().product::<usize>() as i64])?;
        let seen = image.detach()?.gather(2, &flat(&place, &[windows * taps])?)?;
        let best = flat(&seen, &[windows, taps])?.argmax(Some(-1), true)?;
        let best = flat(&place, &[windows, taps])?.gather(3, &best)?.squeeze(-1)?;
        let found = image.gather(2, &best)?;
        let mut shape = if single { vec![] } else { vec![batch as i64] };
        shape.push(channels as i64);
        shape.extend(size);
        Ok((found.reshape(&shape)?, best.reshape(&shape)?))
    }
}

/// The means of `count` windows of nearly equal length along `dim`.
fn even_means(x: &Tensor, dim: usize, n: usize, count: usize) -> Result<Tensor> {
    let mut shape = ints(x.shape());
    if count > 0 && n.is_multiple_of(count) {
        shape[dim] = count as i64;
        shape.insert(dim + 1, (n / count) as i64);
        return x.reshape(&shape)?.mean(&[dim as i64 + 1], false);
    }
    let taps = longest(n, count);
    let ends = |o: usize| (o * n / count, ((o + 1) * n).div_ceil(count));
    let windows = || (0..count).flat_map(|o| (0..taps).map(move |l| (o, l)));
    let places: Vec<i64> = windows().map(|(o, l)| (ends(o).0 + l).min(n - 1) as i64).collect();
    let beyond: Vec<bool> = windows().map(|(o, l)| ends(o).0 + l >= ends(o).1).collect();
    let lengths: Vec<f64> = (0..count).map(|o| (ends(o).1 - ends(o).0) as f64).collect();
    let device = x.device();
    shape[dim] = count as i64;
    shape.insert(dim + 1, taps as i64);
    let mut over: Vec<usize> = vec![1; shape.len()];
    over[dim..dim + 2].copy_from_slice(&[count, taps]);
    let each =
        x.index_select(dim as i64, &Tensor::from_slice(&places, &[places.len()])?.to_device(device)?)?;
    let each =
        each.reshape(&shape)?.masked_fill(&Tensor::from_slice(&beyond, &over)?.to_device(device)?, 0.0)?;
    over.remove(dim + 1);
    let lengths = Tensor::from_slice(&lengths, &over)?.to(x.dtype())?.to_device(device)?;
    each.sum(&[dim as i64 + 1], false)?.div(&lengths)
}

/// Number of elements of every window.
fn counts(spans: &[Span], dims: &[usize], padding: bool) -> Result<Tensor> {
    let each = |span: &Span, n: usize, o: usize| {
        let (start, frame) = ((o * span.stride) as i64 - span.padding as i64, span.padding as i64);
        let n = n as i64;
        let end = (start + span.kernel as i64).min(n + frame);
        if padding { end - start } else { end.min(n) - start.max(0) }
    };
    let mut out = vec![1i64];
    for (span, &n) in spans.iter().zip(dims) {
        out = out.iter().flat_map(|&c| (0..span.places).map(move |o| c * each(span, n, o))).collect();
    }
    let shape: Vec<usize> = spans.iter().map(|s| s.places).collect();
    Tensor::from_slice(&out, &shape)
}
