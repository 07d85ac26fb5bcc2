//! torch's calls of sliding windows: convolution, pooling, interpolation, and normalisation over channels.

use super::{Call, Entry, Value, bind, one};
use runtime::error::{Error, Result};
use runtime::ops::{Pool, Running, Sliding, Target};
use runtime::{Arg, Host, Scalar, Tensor};

/// A convolution over the last `n` dimensions.
fn convolution(c: &Call, n: usize, transposed: bool) -> Result<Vec<Tensor>> {
    let default = Sliding::default();
    let list = |name: &str, none: &[i64]| -> Result<Vec<i64>> {
        let found = c.ints(name)?;
        Ok(if found.is_empty() { none.to_vec() } else { found })
    };
    let padding = c.arg("padding")?;
    let (stride, dilation) = (list("stride", default.stride)?, list("dilation", default.dilation)?);
    let output_padding = list("output_padding", default.output_padding)?;
    let how = Sliding {
        stride: &stride,
        padding: if padding.is_none() { Arg::Int(0) } else { padding },
        dilation: &dilation,
        output_padding: &output_padding,
        groups: c.int("groups", 1)?,
    };
    let (x, weight, bias) = (c.tensor("input")?, c.tensor("weight")?, c.optional("bias")?);
    one(if transposed { x.conv_transpose(n, weight, bias, how) } else { x.conv(n, weight, bias, how) })
}

/// A list of numbers, some of which may be left out; one number is a list of itself.
fn numbers(c: &Call, name: &str) -> Result<Vec<Option<f64>>> {
    let number = |host: &Host| match host {
        Host::None => Ok(None),
        Host::Scalar(Scalar::Int(v)) => Ok(Some(*v as f64)),
        Host::Scalar(Scalar::Float(v)) => Ok(Some(*v)),
        other => Err(Error::value(format!("{name} must hold numbers, got {other}"))),
    };
    match c.value(name) {
        None => Ok(Vec::new()),
        Some(Value::Host(Host::Ints(list))) => Ok(list.iter().map(|&v| Some(v as f64)).collect()),
        Some(Value::Host(host)) => Ok(vec![number(host)?]),
        Some(Value::List(list)) => list
            .iter()
            .map(|v| match v {
                Value::Host(host) => number(host),
                other => Err(Error::value(format!("{name} must hold numbers, got {other:?}"))),
            })
            .collect(),
        Some(other) => Err(Error::value(format!("{name} must be numbers, got {other:?}"))),
    }
}

/// The lists of a pool, and whether its windows may reach over the end.
struct Lists {
    kernel: Vec<i64>,
    stride: Vec<i64>,
    padding: Vec<i64>,
    dilation: Vec<i64>,
    ceil: bool,
}

impl Lists {
    fn read(c: &Call) -> Result<Lists> {
        let or = |name: &str, default: i64| -> Result<Vec<i64>> {
            let found = c.ints(name)?;
            Ok(if found.is_empty() { vec![default] } else { found })
        };
        Ok(Lists {
            kernel: c.ints("kernel_size")?,
            stride: c.ints("stride")?,
            padding: or("padding", 0)?,
            dilation: or("dilation", 1)?,
            ceil: c.flag("ceil_mode", false)?,
        })
    }

    fn pool(&self) -> Pool<'_> {
        Pool {
            kernel: &self.kernel,
            stride: &self.stride,
            padding: &self.padding,
            dilation: &self.dilation,
            ceil: self.ceil,
        }
    }
}

fn max_pool(c: &Call, n: usize, places: bool) -> Result<Vec<Tensor>> {
    let lists = Lists::read(c)?;
    let (values, found) = c.tensor("input")?.max_pool(n, lists.pool())?;
    Ok(if places || c.flag("return_indices", false)? { vec![values, found] } else { vec![values] })
}

fn avg_pool(c: &Call, n: usize) -> Result<Vec<Tensor>> {
    let lists = Lists::read(c)?;
    let divisor = c.arg("divisor_override")?;
    let divisor = if divisor.is_none() { None } else { Some(divisor.int()?) };
    one(c.tensor("input")?.avg_pool(n, lists.pool(), c.flag("count_include_pad", true)?, divisor))
}

fn lp_pool(c: &Call, n: usize) -> Result<Vec<Tensor>> {
    let lists = Lists::read(c)?;
    one(c.tensor("input")?.lp_pool(n, c.float("norm_type", 2.0)?, lists.pool()))
}

fn max_unpool(c: &Call, n: usize) -> Result<Vec<Tensor>> {
    let lists = Lists::read(c)?;
    let size = c.ints("output_size")?;
    let size = if size.is_empty() { None } else { Some(&size[..]) };
    one(c.tensor("input")?.max_unpool(n, c.tensor("indices")?, lists.pool(), size))
}

/// The extents that an adaptive pool of `n` dimensions asks for; one that is left out is the input's own.
fn adaptive_size(c: &Call, n: usize) -> Result<Vec<i64>> {
    let x = c.tensor("input")?;
    if x.rank() != n + 1 && x.rank() != n + 2 {
        let what = format!("expected an input of rank {} or {}, got {:?}", n + 1, n + 2, x.shape());
        return Err(Error::shape(what));
    }
    let mut size = numbers(c, "output_size")?;
    if size.len() == 1 {
        size = vec![size[0]; n];
    }
    if size.len() != n {
        return Err(Error::shape(format!("output_size must be {n} numbers, got {size:?}")));
    }
    let own = &x.shape()[x.rank() - n..];
    Ok(size.iter().zip(own).map(|(n, &own)| n.map_or(own as i64, |n| n as i64)).collect())
}

fn adaptive_max(c: &Call, n: usize, places: bool) -> Result<Vec<Tensor>> {
    let (values, found) = c.tensor("input")?.adaptive_max_pool(&adaptive_size(c, n)?)?;
    Ok(if places || c.flag("return_indices", false)? { vec![values, found] } else { vec![values] })
}

fn adaptive_avg(c: &Call, n: usize) -> Result<Vec<Tensor>> {
    one(c.tensor("input")?.adaptive_avg_pool(&adaptive_size(c, n)?))
}

/// Windows as many as `output_size` says, or that part of the input's extents that `output_ratio` says.
fn fractional(c: &Call, n: usize) -> Result<Vec<Tensor>> {
    let x = c.tensor("input")?;
    let spread = |list: Vec<i64>| if list.len() == 1 { vec![list[0]; n] } else { list };
    let (kernel, ratio) = (spread(c.ints("kernel_size")?), numbers(c, "output_ratio")?);
    let mut size = spread(c.ints("output_size")?);
    if size.is_empty() && ratio.is_empty() {
        return Err(Error::value("fractional_max_pool needs output_size or output_ratio"));
    }
    if size.is_empty() {
        let own = &x.shape()[x.rank().saturating_sub(n)..];
        let part = |d: usize| ratio[d % ratio.len()].unwrap_or(1.0);
        size = own.iter().enumerate().map(|(d, &n)| (n as f64 * part(d)) as i64).collect();
    }
    if kernel.len() != n || size.len() != n {
        return Err(Error::shape(format!(
            "kernel_size {kernel:?} and output_size {size:?} are not {n} numbers"
        )));
    }
    let (values, places) = x.fractional_max_pool(&kernel, &size, c.optional("_random_samples")?)?;
    Ok(if c.flag("return_indices", false)? { vec![values, places] } else { vec![values] })
}

fn running<'a>(c: &Call<'a>) -> Result<Running<'a>> {
    Ok(Running {
        mean: c.optional("running_mean")?,
        variance: c.optional("running_var")?,
        momentum: c.float("momentum", 0.1)?,
    })
}

fn batch_norm(c: &Call) -> Result<Vec<Tensor>> {
    let (weight, bias) = (c.optional("weight")?, c.optional("bias")?);
    let (training, eps) = (c.flag("training", false)?, c.float("eps", 1e-5)?);
    one(c.tensor("input")?.batch_norm(weight, bias, running(c)?, training, eps))
}

fn native_batch_norm(c: &Call) -> Result<Vec<Tensor>> {
    let (weight, bias) = (c.optional("weight")?, c.optional("bias")?);
    let (training, eps) = (c.flag("training", false)?, c.float("eps", 1e-5)?);
    Ok(c.tensor("input")?.native_batch_norm(weight, bias, running(c)?, training, eps)?.to_vec())
}

fn instance_norm(c: &Call) -> Result<Vec<Tensor>> {
    let (weight, bias) = (c.optional("weight")?, c.optional("bias")?);
    let (own, eps) = (c.flag("use_input_stats", true)?, c.float("eps", 1e-5)?);
    one(c.tensor("input")?.instance_norm_running(weight, bias, running(c)?, own, eps))
}

fn native_group_norm(c: &Call) -> Result<Vec<Tensor>> {
    let (weight, bias) = (c.optional("weight")?, c.optional("bias")?);
    let groups = c.int("group", 1)?.max(0) as usize;
    Ok(c.tensor("input")?.native_group_norm(weight, bias, groups, c.float("eps", 1e-5)?)?.to_vec())
}

fn interpolate(c: &Call, mode: &str, corners: Option<bool>) -> Result<Vec<Tensor>> {
    let (size, scale) = (numbers(c, "size")?, numbers(c, "scale_factor")?);
    let whole: Vec<i64> = size.iter().flatten().map(|&n| n as i64).collect();
    let factors: Vec<f64> = scale.into_iter().flatten().collect();
    let target = match (size.is_empty(), factors.is_empty()) {
        (false, true) => Target::Size(&whole),
        (true, false) => Target::Scale(&factors),
        _ => return Err(Error::value("exactly one of size and scale_factor must be given")),
    };
    if c.flag("antialias", false)? {
        return Err(Error::value("antialias is not supported").hint("blur with a convolution first"));
    }
    one(c.tensor("input")?.interpolate(target, mode, corners, c.flag("recompute_scale_factor", false)?))
}

fn channel_shuffle(c: &Call) -> Result<Vec<Tensor>> {
    one(c.tensor("input")?.channel_shuffle(c.int("groups", 1)?))
}

fn im2col(c: &Call) -> Result<Vec<Tensor>> {
    let lists = Lists::read(c)?;
    let stride = if lists.stride.is_empty() { vec![1] } else { lists.stride };
    one(c.tensor("input")?.im2col(&lists.kernel, &lists.dilation, &lists.padding, &stride))
}

fn col2im(c: &Call) -> Result<Vec<Tensor>> {
    let lists = Lists::read(c)?;
    let stride = if lists.stride.is_empty() { vec![1] } else { lists.stride };
    let size = c.ints("output_size")?;
    one(c.tensor("input")?.col2im(&size, &lists.kernel, &lists.dilation, &lists.padding, &stride))
}

fn grid_sample(c: &Call) -> Result<Vec<Tensor>> {
    let (mode, outside) = (c.str("mode", "bilinear")?, c.str("padding_mode", "zeros")?);
    one(c.tensor("input")?.grid_sample(c.tensor("grid")?, mode, outside, c.flag("align_corners", false)?))
}

/// aten's spelling, with numbers for the modes.
fn grid_sampler(c: &Call) -> Result<Vec<Tensor>> {
    let name = |which: &str, names: [&'static str; 3]| -> Result<&'static str> {
        let at = usize::try_from(c.int(which, 0)?).ok().and_then(|i| names.get(i).copied());
        at.ok_or_else(|| Error::value(format!("{which} must be 0, 1 or 2")))
    };
    let mode = name("interpolation_mode", ["bilinear", "nearest", "bicubic"])?;
    let outside = name("padding_mode", ["zeros", "border", "reflection"])?;
    one(c.tensor("input")?.grid_sample(c.tensor("grid")?, mode, outside, c.flag("align_corners", false)?))
}

const MAX_POOL: &str = "input kernel_size stride? padding? dilation? ceil_mode? return_indices?";
const MAX_POOL_PLAIN: &str = "input kernel_size stride? padding? dilation? ceil_mode?";
const AVG_POOL: &str = "input kernel_size stride? padding? ceil_mode? count_include_pad? divisor_override?";
const AVG_POOL1D: &str = "input kernel_size stride? padding? ceil_mode? count_include_pad?";
const LP_POOL: &str = "input norm_type kernel_size stride? ceil_mode?";
const UNPOOL: &str = "input indices kernel_size stride? padding? output_size?";
const FRACTIONAL: &str = "input kernel_size output_size? output_ratio? return_indices? _random_samples?";
const ADAPTIVE: &str = "input output_size";
const ADAPTIVE_MAX: &str = "input output_size return_indices?";
const NATIVE_BATCH: &str = "input weight bias? running_mean? running_var? training momentum eps";

const CONV: &str = "input weight bias? stride? padding? dilation? groups?";
const CONV_TRANSPOSE: &str = "input weight bias? stride? padding? output_padding? groups? dilation?";

pub(super) const FUNCTIONS: &[Entry] = &[
    ("torch.nn.functional.conv1d", CONV, |c| convolution(c, 1, false)),
    ("torch.nn.functional.conv2d", CONV, |c| convolution(c, 2, false)),
    ("torch.nn.functional.conv3d", CONV, |c| convolution(c, 3, false)),
    ("torch.conv1d", CONV, |c| convolution(c, 1, false)),
    ("torch.conv2d", CONV, |c| convolution(c, 2, false)),
    ("torch.conv3d", CONV, |c| convolution(c, 3, false)),
    ("torch.nn.functional.conv_transpose1d", CONV_TRANSPOSE, |c| convolution(c, 1, true)),
    ("torch.nn.functional.conv_transpose2d", CONV_TRANSPOSE, |c| convolution(c, 2, true)),
    ("torch.nn.functional.conv_transpose3d", CONV_TRANSPOSE, |c| convolution(c, 3, true)),
    ("torch.conv_transpose1d", CONV_TRANSPOSE, |c| convolution(c, 1, true)),
    ("torch.conv_transpose2d", CONV_TRANSPOSE, |c| convolution(c, 2, true)),
    ("torch.conv_transpose3d", CONV_TRANSPOSE, |c| convolution(c, 3, true)),
    ("torch.nn.functional.max_pool1d", MAX_POOL, |c| max_pool(c, 1, false)),
    ("torch.nn.functional.max_pool2d", MAX_POOL, |c| max_pool(c, 2, false)),
    ("torch.nn.functional.max_pool3d", MAX_POOL, |c| max_pool(c, 3, false)),
    ("torch.max_pool1d", MAX_POOL_PLAIN, |c| max_pool(c, 1, false)),
    ("torch.max_pool2d", MAX_POOL_PLAIN, |c| max_pool(c, 2, false)),
    ("torch.max_pool3d", MAX_POOL_PLAIN, |c| max_pool(c, 3, false)),
    ("torch.max_pool1d_with_indices", MAX_POOL_PLAIN, |c| max_pool(c, 1, true)),
    ("torch.nn.functional.avg_pool1d", AVG_POOL1D, |c| avg_pool(c, 1)),
    ("torch.nn.functional.avg_pool2d", AVG_POOL, |c| avg_pool(c, 2)),
    ("torch.nn.functional.avg_pool3d", AVG_POOL, |c| avg_pool(c, 3)),
    ("torch.avg_pool1d", AVG_POOL1D, |c| avg_pool(c, 1)),
    ("torch.nn.functional.lp_pool1d", LP_POOL, |c| lp_pool(c, 1)),
    ("torch.nn.functional.lp_pool2d", LP_POOL, |c| lp_pool(c, 2)),
    ("torch.nn.functional.lp_pool3d", LP_POOL, |c| lp_pool(c, 3)),
    ("torch.nn.functional.max_unpool1d", UNPOOL, |c| max_unpool(c, 1)),
    ("torch.nn.functional.max_unpool2d", UNPOOL, |c| max_unpool(c, 2)),
    ("torch.nn.functional.max_unpool3d", UNPOOL, |c| max_unpool(c, 3)),
    ("torch.nn.functional.fractional_max_pool2d", FRACTIONAL, |c| fractional(c, 2)),
    ("torch.nn.functional.fractional_max_pool3d", FRACTIONAL, |c| fractional(c, 3)),
    ("torch.nn.functional.adaptive_max_pool1d", ADAPTIVE_MAX, |c| adaptive_max(c, 1, false)),
    ("torch.nn.functional.adaptive_max_pool2d", ADAPTIVE_MAX, |c| adaptive_max(c, 2, false)),
    ("torch.nn.functional.adaptive_max_pool3d", ADAPTIVE_MAX, |c| adaptive_max(c, 3, false)),
    ("torch.adaptive_max_pool1d", ADAPTIVE, |c| adaptive_max(c, 1, true)),
    ("torch.nn.functional.adaptive_avg_pool1d", ADAPTIVE, |c| adaptive_avg(c, 1)),
    ("torch.nn.functional.adaptive_avg_pool2d", ADAPTIVE, |c| adaptive_avg(c, 2)),
    ("torch.nn.functional.adaptive_avg_pool3d", ADAPTIVE, |c| adaptive_avg(c, 3)),
    ("torch.adaptive_avg_pool1d", ADAPTIVE, |c| adaptive_avg(c, 1)),
    (
        "torch.nn.functional.batch_norm",
        "input running_mean running_var weight? bias? training? momentum? eps?",
        batch_norm,
    ),
    (
        "torch.batch_norm",
        "input weight bias running_mean running_var training momentum eps cudnn_enabled",
        batch_norm,
    ),
    ("torch.native_batch_norm", NATIVE_BATCH, native_batch_norm),
    (
        "torch.nn.functional.instance_norm",
        "input running_mean? running_var? weight? bias? use_input_stats? momentum? eps?",
        instance_norm,
    ),
    (
        "torch.instance_norm",
        "input weight bias running_mean running_var use_input_stats momentum eps cudnn_enabled",
        instance_norm,
    ),
    ("torch.native_layer_norm", "input normalized_shape weight bias eps", |c| {
        let (shape, eps) = (c.ints("normalized_shape")?, c.float("eps", 1e-5)?);
        let args = [Arg::Tensor(c.tensor("input")?), Arg::Ints(&shape), c.arg("weight")?, c.arg("bias")?];
        let found = bind("layer_norm", &[&args[..], &[Arg::Float(eps)]].concat())?;
        let own = found[0].dtype();
        found.iter().map(|t| t.to(own)).collect()
    }),
    ("torch.native_group_norm", "input weight bias N C HxW group eps", native_group_norm),
    ("torch.nn.functional.local_response_norm", "input size alpha? beta? k?", |c| {
        let x = c.tensor("input")?;
        let (alpha, beta, k) = (c.float("alpha", 1e-4)?, c.float("beta", 0.75)?, c.float("k", 1.0)?);
        one(x.local_response_norm(c.int("size", 1)?, alpha, beta, k))
    }),
    (
        "torch.nn.functional.interpolate",
        "input size? scale_factor? mode? align_corners? recompute_scale_factor? antialias?",
        |c| {
            let corners = c.arg("align_corners")?;
            let corners = if corners.is_none() { None } else { Some(corners.bool()?) };
            interpolate(c, c.str("mode", "nearest")?, corners)
        },
    ),
    ("torch.nn.functional.upsample_bilinear", "input size? scale_factor?", |c| {
        interpolate(c, "bilinear", Some(true))
    }),
    ("torch.nn.functional.upsample_nearest", "input size? scale_factor?", |c| {
        interpolate(c, "nearest", None)
    }),
    ("torch.nn.functional.unfold", "input kernel_size dilation? padding? stride?", im2col),
    ("torch.nn.functional.fold", "input output_size kernel_size dilation? padding? stride?", col2im),
    ("torch.nn.functional.grid_sample", "input grid mode? padding_mode? align_corners?", grid_sample),
    ("torch.grid_sampler", "input grid interpolation_mode padding_mode align_corners", grid_sampler),
    ("torch.grid_sampler_2d", "input grid interpolation_mode padding_mode align_corners", grid_sampler),
    ("torch.grid_sampler_3d", "input grid interpolation_mode padding_mode align_corners", grid_sampler),
    ("torch.constant_pad_nd", "input pad value?", |c| {
        let (pad, value) = (c.ints("pad")?, c.arg("value")?);
        one(c.tensor("input")?.pad(&pad, "constant", if value.is_none() { Arg::Int(0) } else { value }))
    }),
    ("torch.channel_shuffle", "input groups", channel_shuffle),
    ("torch.nn.functional.channel_shuffle", "input groups", channel_shuffle),
];
