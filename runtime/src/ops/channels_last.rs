//! TensorFlow's meaning of windows and segments: channels come last, a frame is called SAME or VALID, and what SAME adds is
//! larger at the end where it is odd (torch's numbers are the same at both ends, so a stride of 2 reads other places).

use super::pools::Pool;
use super::rules::ints;
use super::{Running, Sliding};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::{DType, Scalar};
use smallvec::{SmallVec, smallvec};

type Numbers = SmallVec<[i64; 6]>;

/// Places around an image.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// As many windows as places, over the stride, rounded up.
    Same,
    /// None.
    Valid,
    /// Before and after each dimension.
    Explicit(&'a [[i64; 2]]),
}

/// One number for each of `n` dimensions, of a list that may name batch and channels too.
fn each(list: &[i64], n: usize) -> Result<Numbers> {
    match list.len() {
        1 => Ok(smallvec![list[0]; n]),
        given if given == n => Ok(SmallVec::from_slice(list)),
        given if given == n + 2 => Ok(SmallVec::from_slice(&list[1..=n])),
        _ => Err(Error::value(format!("{list:?} is not one number for each of {n} dimensions"))),
    }
}

impl Frame<'_> {
    /// Places before and after each dimension.
    fn widths(
        &self,
        dims: &[usize],
        kernel: &[i64],
        stride: &[i64],
        dilation: &[i64],
    ) -> Result<Vec<[i64; 2]>> {
        if let Some(low) = stride.iter().chain(dilation).find(|v| **v <= 0) {
            return Err(Error::value(format!("strides and dilations must be positive, got {low}")));
        }
        match self {
            Frame::Valid => Ok(vec![[0, 0]; dims.len()]),
            Frame::Explicit(pairs) if pairs.len() == dims.len() => Ok(pairs.to_vec()),
            Frame::Explicit(pairs) if pairs.len() == dims.len() + 2 => Ok(pairs[1..=dims.len()].to_vec()),
            Frame::Explicit(pairs) => Err(Error::value(format!("{pairs:?} for {} dimensions", dims.len()))),
            Frame::Same => Ok((0..dims.len())
                .map(|d| {
                    let (n, reach) = (dims[d] as i64, (kernel[d] - 1) * dilation[d] + 1);
                    let places = (n + stride[d] - 1) / stride[d];
                    let total = ((places - 1) * stride[d] + reach - n).max(0);
                    [total / 2, total - total / 2]
                })
                .collect()),
        }
    }
}

/// The image with its channels second and a frame of `value` around it.
fn framed<'a>(x: &Tensor, widths: &[[i64; 2]], value: impl Into<Arg<'a>>) -> Result<Tensor> {
    let x = channels_second(x)?;
    match widths.iter().all(|w| *w == [0, 0]) {
        true => Ok(x),
        false => {
            let pad: Numbers = widths.iter().rev().flatten().copied().collect();
            x.pad(&pad, "constant", value)
        }
    }
}

fn channels_second(x: &Tensor) -> Result<Tensor> {
    if x.rank() < 3 {
        return Err(Error::shape(format!("expected an image [batch, ..., channels], got {:?}", x.shape())));
    }
    x.permute(&[&[0, x.rank() as i64 - 1][..], &(1..x.rank() as i64 - 1).collect::<Numbers>()].concat())
}

fn channels_last(x: &Tensor) -> Result<Tensor> {
    let mut order: Numbers = smallvec![0];
    order.extend(2..x.rank() as i64);
    order.push(1);
    x.permute(&order)
}

fn image_dims(x: &Tensor) -> &[usize] {
    x.shape().get(1..x.rank().saturating_sub(1)).unwrap_or(&[])
}

/// Convolution of [batch, ..., channels] with filters [..., channels / groups, made].
pub fn conv(
    x: &Tensor,
    filters: &Tensor,
    strides: &[i64],
    frame: Frame,
    dilations: &[i64],
) -> Result<Tensor> {
    let n = image_dims(x).len();
    let fits = filters.rank() == n + 2 && n > 0 && filters.shape()[n] > 0;
    if !fits || !x.shape()[n + 1].is_multiple_of(filters.shape()[n]) || x.shape()[n + 1] == 0 {
        let what = format!("filters {:?} do not fit an image {:?}", filters.shape(), x.shape());
        return Err(Error::shape(what));
    }
    let (strides, dilations) = (each(strides, n)?, each(dilations, n)?);
    let widths = frame.widths(image_dims(x), &ints(&filters.shape()[..n]), &strides, &dilations)?;
    let order: Numbers = [n as i64 + 1, n as i64].into_iter().chain(0..n as i64).collect();
    let groups = (x.shape()[n + 1] / filters.shape()[n]) as i64;
    let how = Sliding { stride: &strides, dilation: &dilations, groups, ..Sliding::default() };
    channels_last(&framed(x, &widths, 0i64)?.conv(n, &filters.permute(&order)?, None, how)?)
}

/// Convolution of each channel with filters [..., channels, multiplier] of its own.
pub fn depthwise_conv(
    x: &Tensor,
    filters: &Tensor,
    strides: &[i64],
    frame: Frame,
    dilations: &[i64],
) -> Result<Tensor> {
    let n = image_dims(x).len();
    if filters.rank() != n + 2 || n == 0 || filters.shape()[n] != x.shape()[n + 1] {
        let what = format!("filters {:?} do not fit an image {:?}", filters.shape(), x.shape());
        return Err(Error::shape(what));
    }
    let mut shape = ints(&filters.shape()[..n]);
    shape.extend([1, (filters.shape()[n] * filters.shape()[n + 1]) as i64]);
    conv(x, &filters.reshape(&shape)?, strides, frame, dilations)
}

/// The gradient of a convolution with filters [..., made, channels] by its image of extents `size`.
pub fn conv_transpose(
    x: &Tensor,
    filters: &Tensor,
    size: &[i64],
    strides: &[i64],
    frame: Frame,
) -> Result<Tensor> {
    let n = image_dims(x).len();
    if filters.rank() != n + 2 || n == 0 {
        let what = format!("filters {:?} do not fit an image {:?}", filters.shape(), x.shape());
        return Err(Error::shape(what));
    }
    let (size, strides) = (each(size, n)?, each(strides, n)?);
    let kernel = ints(&filters.shape()[..n]);
    let dims: Vec<usize> = size.iter().map(|&n| n.max(0) as usize).collect();
    let widths = frame.widths(&dims, &kernel, &strides, &smallvec::smallvec_inline![1; 6][..n])?;
    let order: Numbers = [n as i64 + 1, n as i64].into_iter().chain(0..n as i64).collect();
    let how = Sliding { stride: &strides, ..Sliding::default() };
    let whole = channels_second(x)?.conv_transpose(n, &filters.permute(&order)?, None, how)?;
    // The frame's part is cut off; where the windows end before the image does, zeros follow.
    let pad: Numbers = (0..n)
        .rev()
        .flat_map(|d| [-widths[d][0], size[d] + widths[d][0] - whole.shape()[d + 2] as i64])
        .collect();
    channels_last(&whole.pad(&pad, "constant", 0i64)?)
}

/// The largest element of every window; a frame's places never are.
pub fn max_pool(x: &Tensor, window: &[i64], strides: &[i64], frame: Frame) -> Result<Tensor> {
    let n = image_dims(x).len();
    let (window, strides) = (each(window, n)?, each(strides, n)?);
    let widths = frame.widths(image_dims(x), &window, &strides, &vec![1; n])?;
    let lowest = if x.dtype().is_float() {
        Arg::Float(f64::NEG_INFINITY)
    } else {
        Arg::Int(if x.dtype() == DType::I64 { i64::MIN } else { i64::from(i32::MIN) })
    };
    let pool = Pool { stride: &strides, ..Pool::new(&window) };
    channels_last(&framed(x, &widths, lowest)?.max_pool(n, pool)?.0)
}

/// The mean of every window; a frame's places do not count.
pub fn avg_pool(x: &Tensor, window: &[i64], strides: &[i64], frame: Frame) -> Result<Tensor> {
    let n = image_dims(x).len();
    let (window, strides) = (each(window, n)?, each(strides, n)?);
    let widths = frame.widths(image_dims(x), &window, &strides, &vec![1; n])?;
    let pool = Pool { stride: &strides, ..Pool::new(&window) };
    let wide = x.to(x.dtype().accumulator())?;
    let sums = |x: &Tensor| framed(x, &widths, 0i64)?.avg_pool(n, pool, true, Some(1));
    let mut one: Vec<usize> = vec![1];
    one.extend(image_dims(x));
    one.push(1);
    let counts = sums(&Tensor::ones(&one, wide.dtype(), x.device())?)?;
    channels_last(&sums(&wide)?.div(&counts)?)?.to(x.dtype())
}

/// Each channel of [batch, ..., channels] brought to mean 0 and variance 1, then scaled and shifted; with the means and
/// the unbiased variances of the batch while `training`, else with those given.
pub fn fused_batch_norm(
    x: &Tensor,
    scale: &Tensor,
    offset: &Tensor,
    given: (Option<&Tensor>, Option<&Tensor>),
    epsilon: f64,
    training: bool,
) -> Result<[Tensor; 3]> {
    let running = match training {
        true => Running { mean: None, variance: None, momentum: 0.0 },
        false => Running { mean: given.0, variance: given.1, momentum: 0.0 },
    };
    let image = channels_second(x)?;
    let [y, ..] = image.native_batch_norm(Some(scale), Some(offset), running, training, epsilon)?;
    let y = channels_last(&y)?;
    match (training, given) {
        (false, (Some(mean), Some(variance))) => Ok([y, mean.clone(), variance.clone()]),
        _ => {
            let still = x.detach()?;
            let dims: Numbers = (0..x.rank() as i64 - 1).collect();
            Ok([y, still.mean(&dims, false)?, still.var(&dims, 1.0, false)?])
        }
    }
}

/// TensorFlow 1's choice: a condition of one dimension chooses whole rows; it does not broadcast otherwise.
pub fn where_rows(condition: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let fits = condition.shape() == a.shape()
        || condition.rank() == 0
        || (condition.rank() == 1 && a.shape().first() == condition.shape().first());
    if a.shape() != b.shape() || !fits {
        let what =
            format!("{:?} does not choose between {:?} and {:?}", condition.shape(), a.shape(), b.shape());
        return Err(Error::shape(what));
    }
    let mut shape = ints(condition.shape());
    if condition.rank() == 1 {
        shape.resize(a.rank(), 1);
    }
    condition.reshape(&shape)?.select_where(a, b)
}

/// What is made of the rows of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segment {
    /// Their sum; of none 0.
    Sum,
    /// Their mean; of none 0.
    Mean,
    /// Their sum over the root of their number; of none 0.
    SqrtN,
    /// The largest; of none the type's least number.
    Max,
    /// The smallest; of none the type's greatest number.
    Min,
    /// Their product; of none 1.
    Prod,
}

/// The least finite number of a type, or the greatest.
fn extreme(dtype: DType, greatest: bool) -> Scalar {
    let (low, high) = match dtype {
        DType::Bool => (0, 1),
        DType::U8 => (0, i64::from(u8::MAX)),
        DType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        DType::I64 => (i64::MIN, i64::MAX),
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 => {
            let top = match dtype {
                DType::F16 => 65504.0,
                DType::BF16 => f64::from(half::bf16::MAX.to_f32()),
                DType::F64 => f64::MAX,
                _ => f64::from(f32::MAX),
            };
            return Scalar::Float(if greatest { top } else { -top });
        }
    };
    Scalar::Int(if greatest { high } else { low })
}

/// What is made of the rows of each of `count` segments; `ids`, whose shape the data's begins with, says whose row it is.
/// Rows of negative segments are left out.
pub fn unsorted_segment(data: &Tensor, ids: &Tensor, count: i64, how: Segment) -> Result<Tensor> {
    let lead = ids.rank();
    if data.rank() < lead || data.shape()[..lead] != *ids.shape() {
        let what = format!("segments {:?} do not fit data {:?}", ids.shape(), data.shape());
        return Err(Error::shape(what));
    }
    let rows = ids.numel() as i64;
    let rest = ints(&data.shape()[lead..]);
    let data = data.reshape(&[&[rows][..], &rest].concat())?;
    let ids = ids.reshape(&[rows])?;
    let segments = count.max(0) as usize;
    let over = |t: &Tensor| t.reshape(&[&[-1][..], &vec![1; rest.len()]].concat());
    let sum = |data: &Tensor| -> Result<Tensor> {
        let inside = ids.ge(0i64)?;
        let data = data.masked_fill(&over(&inside.logical_not()?)?, 0i64)?;
        let mut shape = vec![segments];
        shape.extend(rest.iter().map(|&n| n as usize));
        let zeros = Tensor::zeros(&shape, data.dtype(), data.device())?;
        zeros.index_add(0, &ids.clamp(0i64, Arg::None)?, &data, Arg::None)
    };
    let counts = || -> Result<Tensor> {
        let ones = Tensor::ones(&[rows as usize], data.dtype(), data.device())?;
        let ones = ones.masked_fill(&ids.lt(0i64)?, 0i64)?;
        let zeros = Tensor::zeros(&[segments], data.dtype(), data.device())?;
        over(&zeros.index_add(0, &ids.clamp(0i64, Arg::None)?, &ones, Arg::None)?.clamp(1i64, Arg::None)?)
    };
    // Rows of other segments become what changes nothing.
    let masked = |neutral: Scalar| -> Result<Tensor> {
        let numbers: Vec<i64> = (0..count.max(0)).collect();
        let numbers = Tensor::from_slice(&numbers, &[segments, 1])?.to_device(data.device())?;
        let own = ids.unsqueeze(0)?.eq(&numbers)?;
        let own = own.reshape(&[&[segments as i64, rows][..], &vec![1; rest.len()]].concat())?;
        let neutral = match neutral {
            Scalar::Float(v) => Tensor::full(&[], v, data.dtype(), data.device())?,
            Scalar::Int(v) => Tensor::full(&[], v, data.dtype(), data.device())?,
            Scalar::Bool(v) => Tensor::full(&[], v, data.dtype(), data.device())?,
        };
        own.select_where(&data.unsqueeze(0)?, &neutral)
    };
    match how {
        Segment::Sum => sum(&data),
        Segment::Mean => sum(&data)?.div(&counts()?),
        Segment::SqrtN => sum(&data)?.div(&counts()?.sqrt()?),
        Segment::Max => masked(extreme(data.dtype(), false))?.amax(&[1], false),
        Segment::Min => masked(extreme(data.dtype(), true))?.amin(&[1], false),
        Segment::Prod => masked(Scalar::Int(1))?.prod(&[1], false),
    }
}
