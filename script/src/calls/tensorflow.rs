//! TensorFlow's calls whose meaning is its own: windows with channels last, segments, the choice of rows.

use super::{Call, Entry, Value, one};
use runtime::error::{Error, Result};
use runtime::ops::channels_last::{self, Frame, Segment};
use runtime::{Host, Tensor};

/// A frame's name, or pairs of numbers.
fn framed<T>(c: &Call, then: impl FnOnce(Frame) -> Result<T>) -> Result<T> {
    match c.value("padding") {
        Some(Value::Host(Host::Str(name))) if &**name == "SAME" => then(Frame::Same),
        Some(Value::Host(Host::Str(name))) if &**name == "VALID" => then(Frame::Valid),
        Some(Value::List(list)) => {
            let pair = |v: &Value| match v {
                Value::Host(host) => match host.as_arg().ints()?[..] {
                    [before, after] => Ok([before, after]),
                    _ => Err(Error::value("a frame is pairs of numbers")),
                },
                other => Err(Error::value(format!("a frame is pairs of numbers, got {other:?}"))),
            };
            then(Frame::Explicit(&list.iter().map(pair).collect::<Result<Vec<_>>>()?))
        }
        other => Err(Error::value(format!("padding must be 'SAME', 'VALID' or pairs, got {other:?}"))),
    }
}

fn or_one(c: &Call, name: &str) -> Result<Vec<i64>> {
    let found = c.ints(name)?;
    Ok(if found.is_empty() { vec![1] } else { found })
}

fn conv(c: &Call) -> Result<Vec<Tensor>> {
    let (x, filters) = (c.tensor("input")?, c.tensor("filters")?);
    let (strides, dilations) = (or_one(c, "strides")?, or_one(c, "dilations")?);
    one(framed(c, |frame| channels_last::conv(x, filters, &strides, frame, &dilations)))
}

fn depthwise(c: &Call) -> Result<Vec<Tensor>> {
    let (x, filters) = (c.tensor("input")?, c.tensor("filter")?);
    let (strides, dilations) = (or_one(c, "strides")?, or_one(c, "dilations")?);
    one(framed(c, |frame| channels_last::depthwise_conv(x, filters, &strides, frame, &dilations)))
}

fn conv_transpose(c: &Call) -> Result<Vec<Tensor>> {
    let (x, filters, size) = (c.tensor("input")?, c.tensor("filters")?, c.ints("output_shape")?);
    let strides = or_one(c, "strides")?;
    one(framed(c, |frame| channels_last::conv_transpose(x, filters, &size, &strides, frame)))
}

type Pooling = fn(&Tensor, &[i64], &[i64], Frame) -> Result<Tensor>;

fn pool(c: &Call, pooling: Pooling) -> Result<Vec<Tensor>> {
    let (x, window, strides) = (c.tensor("input")?, c.ints("ksize")?, or_one(c, "strides")?);
    one(framed(c, |frame| pooling(x, &window, &strides, frame)))
}

fn fused_batch_norm(c: &Call) -> Result<Vec<Tensor>> {
    let given = (c.optional("mean")?, c.optional("variance")?);
    let (x, scale, offset) = (c.tensor("x")?, c.tensor("scale")?, c.tensor("offset")?);
    let (epsilon, training) = (c.float("epsilon", 1e-3)?, c.flag("is_training", true)?);
    Ok(channels_last::fused_batch_norm(x, scale, offset, given, epsilon, training)?.to_vec())
}

fn segment(c: &Call, how: Segment) -> Result<Vec<Tensor>> {
    let (data, ids) = (c.tensor("data")?, c.tensor("segment_ids")?);
    one(channels_last::unsorted_segment(data, ids, c.int("num_segments", 0)?, how))
}

const CONV: &str = "input filters strides padding data_format? dilations?";
const POOL: &str = "input ksize strides padding";
const SEGMENT: &str = "data segment_ids num_segments";

pub(super) const FUNCTIONS: &[Entry] = &[
    ("tf.nn.conv1d", CONV, conv),
    ("tf.nn.conv2d", CONV, conv),
    ("tf.nn.conv3d", CONV, conv),
    ("tf.nn.depthwise_conv2d", "input filter strides padding data_format? dilations?", depthwise),
    ("tf.nn.conv2d_transpose", "input filters output_shape strides padding", conv_transpose),
    ("tf.nn.max_pool1d", POOL, |c| pool(c, channels_last::max_pool)),
    ("tf.nn.max_pool2d", POOL, |c| pool(c, channels_last::max_pool)),
    ("tf.nn.max_pool3d", POOL, |c| pool(c, channels_last::max_pool)),
    ("tf.nn.avg_pool1d", POOL, |c| pool(c, channels_last::avg_pool)),
    ("tf.nn.avg_pool2d", POOL, |c| pool(c, channels_last::avg_pool)),
    ("tf.nn.avg_pool3d", POOL, |c| pool(c, channels_last::avg_pool)),
    (
        "tf.compat.v1.nn.fused_batch_norm",
        "x scale offset mean? variance? epsilon? data_format? is_training?",
        fused_batch_norm,
    ),
    ("tf.compat.v1.where", "condition x y", |c| {
        one(channels_last::where_rows(c.tensor("condition")?, c.tensor("x")?, c.tensor("y")?))
    }),
    ("tf.math.unsorted_segment_sum", SEGMENT, |c| segment(c, Segment::Sum)),
    ("tf.math.unsorted_segment_mean", SEGMENT, |c| segment(c, Segment::Mean)),
    ("tf.math.unsorted_segment_sqrt_n", SEGMENT, |c| segment(c, Segment::SqrtN)),
    ("tf.math.unsorted_segment_max", SEGMENT, |c| segment(c, Segment::Max)),
    ("tf.math.unsorted_segment_min", SEGMENT, |c| segment(c, Segment::Min)),
    ("tf.math.unsorted_segment_prod", SEGMENT, |c| segment(c, Segment::Prod)),
];
