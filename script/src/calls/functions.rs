//! Calls that torch spells as one function and we as several ops, or with other operands than torch's.

use super::{Call, Entry, Value, bind, one};
use runtime::error::{Error, Result};
use runtime::{Arg, DType, DeviceId, Host, Tensor};

fn extents(c: &Call) -> Result<Vec<usize>> {
    Ok(c.arg("size")?.extents()?.to_vec())
}

fn spread(c: &Call, op: &str) -> Result<Vec<Tensor>> {
    // The overload of all elements takes `unbiased` in the place of `dim`.
    let (dim, unbiased) = match c.arg("dim")? {
        unbiased @ Arg::Bool(_) => (Arg::None, unbiased),
        dim => (dim, c.arg("unbiased")?),
    };
    let correction = match (unbiased, c.arg("correction")?) {
        (Arg::Bool(unbiased), _) => Arg::Int(unbiased as i64),
        (_, correction) => correction,
    };
    bind(op, &[Arg::Tensor(c.tensor("input")?), dim, correction, c.arg("keepdim")?])
}

fn squeeze(c: &Call) -> Result<Vec<Tensor>> {
    let x = c.tensor("input")?;
    let dims: Vec<i64> = match c.arg("dim")? {
        Arg::None => (0..x.rank() as i64).collect(),
        Arg::Int(d) => return one(x.squeeze(d)),
        list => list.ints()?.to_vec(),
    };
    let mut places =
        dims.iter().map(|&d| runtime::infer::wrap_dim(d, x.rank())).collect::<Result<Vec<_>>>()?;
    places.sort_unstable();
    let mut out = x.clone();
    for &d in places.iter().rev() {
        out = if x.rank() == 0 { out } else { out.squeeze(d as i64)? };
    }
    Ok(vec![out])
}

fn split(c: &Call) -> Result<Vec<Tensor>> {
    let (x, dim) = (c.tensor("tensor")?, c.int("dim", 0)?);
    match c.arg("split_size_or_sections")? {
        Arg::Int(size) => x.split(size, dim),
        sizes => x.split_sizes(&sizes.ints()?, dim),
    }
}

/// The dimension of a softmax; where none is given, the one that torch takes (`_get_softmax_dim`, with a warning).
fn softmax_dim(c: &Call) -> Result<i64> {
    let without = if matches!(c.tensor("input")?.rank(), 0 | 1 | 3) { 0 } else { 1 };
    c.int("dim", without)
}

/// A loss of two tensors that is one op, whose operands end with the reduction.
fn loss(c: &Call, op: &str, between: &[&str]) -> Result<Vec<Tensor>> {
    let mut operands = vec![Arg::Tensor(c.tensor("input")?), c.arg("target")?];
    for name in between {
        operands.push(c.arg(name)?);
    }
    operands.push(c.arg("reduction")?);
    bind(op, &operands)
}

fn arange(c: &Call) -> Result<Vec<Tensor>> {
    let (a, b, step) = (c.number("start")?, c.number("end")?, c.number("step")?);
    let (start, end) = match (a.is_none(), b.is_none()) {
        (true, true) => return Err(Error::value("the argument end is missing")),
        (true, false) => (Arg::Int(0), b),
        (false, true) => (Arg::Int(0), a),
        (false, false) => (a, b),
    };
    let step = if step.is_none() { Arg::Int(1) } else { step };
    bind("arange", &[start, end, step, c.arg("dtype")?])
}

pub(super) const FUNCTIONS: &[Entry] = &[
    ("torch.round", "input decimals?", |c| {
        one(c.tensor("input")?.round_decimals(c.int("decimals", 0)? as i32))
    }),
    ("torch.nn.functional.softplus", "input beta? threshold?", |c| {
        one(c.tensor("input")?.softplus(c.float("beta", 1.0)?, c.float("threshold", 20.0)?))
    }),
    ("torch.var", "input dim? unbiased? keepdim? correction?", |c| spread(c, "var")),
    ("torch.std", "input dim? unbiased? keepdim? correction?", |c| spread(c, "std")),
    ("torch.Tensor.view", "self *shape", |c| one(c.tensor("self")?.view(&c.arg("shape")?.ints()?))),
    ("torch.transpose", "input dim0 dim1", |c| {
        one(c.tensor("input")?.transpose(c.int("dim0", 0)?, c.int("dim1", 0)?))
    }),
    ("torch.t", "input", |c| one(c.tensor("input")?.t())),
    ("torch.squeeze", "input dim?", squeeze),
    ("torch.flatten", "input start_dim? end_dim?", |c| {
        one(c.tensor("input")?.flatten(c.int("start_dim", 0)?, c.int("end_dim", -1)?))
    }),
    ("torch.narrow", "input dim start length", |c| {
        // A recorded start has no value to look at; the slices that it names are read by their places.
        if let Some(Value::Tensor(start)) = c.value("start")
            && start.traced().is_some()
        {
            let (x, dim, length) = (c.tensor("input")?, c.int("dim", 0)?, c.int("length", 0)?);
            return one(x.narrow_from(dim, start, length));
        }
        one(c.tensor("input")?.narrow(c.int("dim", 0)?, c.int("start", 0)?, c.int("length", 0)?))
    }),
    ("torch.Tensor.contiguous", "self", |c| one(c.tensor("self")?.contiguous())),
    ("torch.cat", "tensors dim?", |c| one(Tensor::cat(&c.tensors("tensors")?, c.int("dim", 0)?))),
    ("torch.stack", "tensors dim?", |c| one(Tensor::stack(&c.tensors("tensors")?, c.int("dim", 0)?))),
    ("torch.split", "tensor split_size_or_sections dim?", split),
    ("torch.chunk", "input chunks dim?", |c| c.tensor("input")?.chunk(c.int("chunks", 1)?, c.int("dim", 0)?)),
    ("torch.mm", "input mat2", |c| one(c.tensor("input")?.mm(c.tensor("mat2")?))),
    ("torch.bmm", "input mat2", |c| one(c.tensor("input")?.bmm(c.tensor("mat2")?))),
    ("torch.nn.functional.softmax", "input dim? _stacklevel? dtype?", |c| {
        one(c.converted("input")?.softmax(softmax_dim(c)?))
    }),
    ("torch.nn.functional.log_softmax", "input dim? _stacklevel? dtype?", |c| {
        one(c.converted("input")?.log_softmax(softmax_dim(c)?))
    }),
    ("torch.nn.functional.softmin", "input dim? _stacklevel? dtype?", |c| {
        // In torch too it is negated before it is converted, so that integers without sign wrap.
        let x = c.tensor("input")?;
        one(x.neg()?.to(c.dtype(x.dtype())?)?.softmax(softmax_dim(c)?))
    }),
    ("torch.softmax", "input dim dtype?", |c| one(c.converted("input")?.softmax(c.int("dim", 0)?))),
    ("torch.log_softmax", "input dim dtype?", |c| one(c.converted("input")?.log_softmax(c.int("dim", 0)?))),
    ("torch.nn.functional.layer_norm", "input normalized_shape weight? bias? eps?", |c| {
        let shape = c.arg("normalized_shape")?.extents()?;
        one(c.tensor("input")?.layer_norm(
            &shape,
            c.optional("weight")?,
            c.optional("bias")?,
            c.float("eps", 1e-5)?,
        ))
    }),
    (
        "torch.nn.functional.cross_entropy",
        "input target weight? ~size_average? ignore_index? ~reduce? reduction? label_smoothing?",
        |c| {
            let (weight, how) = (c.optional("weight")?, c.str("reduction", "mean")?);
            let (ignore, smooth) = (c.int("ignore_index", -100)?, c.float("label_smoothing", 0.0)?);
            one(c.tensor("input")?.cross_entropy(c.tensor("target")?, weight, how, ignore, smooth))
        },
    ),
    (
        "torch.nn.functional.nll_loss",
        "input target weight? ~size_average? ignore_index? ~reduce? reduction?",
        |c| {
            let (weight, how) = (c.optional("weight")?, c.str("reduction", "mean")?);
            one(c.tensor("input")?.nll_loss(c.tensor("target")?, weight, how, c.int("ignore_index", -100)?))
        },
    ),
    (
        "torch.nn.functional.embedding",
        "input weight padding_idx? ~max_norm? norm_type? ~scale_grad_by_freq? ~sparse?",
        |c| {
            let padding = c.arg("padding_idx")?;
            let padding = if padding.is_none() { None } else { Some(padding.int()?) };
            one(c.tensor("weight")?.embedding(c.tensor("input")?, padding))
        },
    ),
    ("torch.nn.functional.dropout", "input p? training?", |c| {
        let training = c.arg("training")?;
        let training = training.is_none() || training.bool()?;
        one(c.tensor("input")?.dropout(c.float("p", 0.5)?, training))
    }),
    ("torch.zeros", "*size dtype?", |c| {
        one(Tensor::zeros(&extents(c)?, c.dtype(DType::F32)?, DeviceId::Cpu))
    }),
    ("torch.ones", "*size dtype?", |c| one(Tensor::ones(&extents(c)?, c.dtype(DType::F32)?, DeviceId::Cpu))),
    // What torch leaves undefined is zero here.
    ("torch.empty", "*size dtype?", |c| {
        one(Tensor::zeros(&extents(c)?, c.dtype(DType::F32)?, DeviceId::Cpu))
    }),
    ("torch.empty_like", "input dtype?", |c| {
        let x = c.tensor("input")?;
        one(x.zeros_like(Some(c.dtype(x.dtype())?)))
    }),
    ("torch.full", "size fill_value dtype?", |c| {
        bind("full", &[c.arg("size")?, c.arg("fill_value")?, c.arg("dtype")?])
    }),
    ("torch.zeros_like", "input dtype?", |c| {
        let x = c.tensor("input")?;
        one(x.zeros_like(Some(c.dtype(x.dtype())?)))
    }),
    ("torch.ones_like", "input dtype?", |c| {
        let x = c.tensor("input")?;
        one(x.ones_like(Some(c.dtype(x.dtype())?)))
    }),
    ("torch.arange", "start? end? step? dtype?", arange),
    ("torch.eye", "n m? dtype?", |c| {
        let (n, m) = (c.arg("n")?, c.arg("m")?);
        bind("eye", &[n, if m.is_none() { n } else { m }, c.arg("dtype")?])
    }),
    ("torch.var_mean", "input dim? unbiased? keepdim? correction?", |c| spread(c, "var_mean")),
    ("torch.std_mean", "input dim? unbiased? keepdim? correction?", |c| spread(c, "std_mean")),
    ("torch.nn.functional.mse_loss", "input target ~size_average? ~reduce? reduction?", |c| {
        loss(c, "mse_loss", &[])
    }),
    ("torch.nn.functional.l1_loss", "input target ~size_average? ~reduce? reduction?", |c| {
        loss(c, "l1_loss", &[])
    }),
    ("torch.nn.functional.soft_margin_loss", "input target ~size_average? ~reduce? reduction?", |c| {
        loss(c, "soft_margin_loss", &[])
    }),
    (
        "torch.nn.functional.binary_cross_entropy",
        "input target weight? ~size_average? ~reduce? reduction?",
        |c| loss(c, "binary_cross_entropy", &["weight"]),
    ),
    (
        "torch.nn.functional.binary_cross_entropy_with_logits",
        "input target weight? ~size_average? ~reduce? reduction? pos_weight?",
        |c| loss(c, "binary_cross_entropy_with_logits", &["weight", "pos_weight"]),
    ),
    (
        "torch.nn.functional.hinge_embedding_loss",
        "input target margin? ~size_average? ~reduce? reduction?",
        |c| loss(c, "hinge_embedding_loss", &["margin"]),
    ),
    ("torch.nn.functional.smooth_l1_loss", "input target ~size_average? ~reduce? reduction? beta?", |c| {
        let (input, target) = (Arg::Tensor(c.tensor("input")?), c.arg("target")?);
        bind("smooth_l1_loss", &[input, target, c.arg("reduction")?, c.arg("beta")?])
    }),
    ("torch.nn.functional.kl_div", "input target ~size_average? ~reduce? reduction? log_target?", |c| {
        let log = c.flag("log_target", false)?;
        one(c.tensor("input")?.kl_div(c.tensor("target")?, c.str("reduction", "mean")?, log))
    }),
    (
        "torch.nn.functional.cosine_embedding_loss",
        "input1 input2 target margin? ~size_average? ~reduce? reduction?",
        |c| {
            let (margin, how) = (c.float("margin", 0.0)?, c.str("reduction", "mean")?);
            let (a, b) = (c.tensor("input1")?, c.tensor("input2")?);
            one(a.cosine_embedding_loss(b, c.tensor("target")?, margin, how))
        },
    ),
    (
        "torch.nn.functional.triplet_margin_loss",
        "anchor positive negative margin? p? eps? swap? ~size_average? ~reduce? reduction?",
        |c| {
            one(c.tensor("anchor")?.triplet_margin_loss(
                c.tensor("positive")?,
                c.tensor("negative")?,
                c.float("margin", 1.0)?,
                c.float("p", 2.0)?,
                c.float("eps", 1e-6)?,
                c.flag("swap", false)?,
                c.str("reduction", "mean")?,
            ))
        },
    ),
    ("torch.nn.functional.pairwise_distance", "x1 x2 p? eps? keepdim?", |c| {
        let (p, eps, keep) = (c.float("p", 2.0)?, c.float("eps", 1e-6)?, c.flag("keepdim", false)?);
        one(c.tensor("x1")?.pairwise_distance(c.tensor("x2")?, p, eps, keep))
    }),
    ("torch.nn.functional.normalize", "input p? dim? eps?", |c| {
        one(c.tensor("input")?.normalize(c.float("p", 2.0)?, c.int("dim", 1)?, c.float("eps", 1e-12)?))
    }),
    (
        "torch.nn.functional.scaled_dot_product_attention",
        "query key value attn_mask? dropout_p? is_causal? scale? enable_gqa?",
        |c| {
            let scale = c.arg("scale")?;
            let scale = if scale.is_none() { None } else { Some(scale.float()?) };
            let (key, value, causal) = (c.tensor("key")?, c.tensor("value")?, c.flag("is_causal", false)?);
            let mask = c.optional("attn_mask")?;
            one(c.tensor("query")?.scaled_dot_product_attention(key, value, mask, causal, scale))
        },
    ),
    ("torch.roll", "input shifts dims?", |c| {
        let x = c.tensor("input")?;
        one(x.roll(&c.ints("shifts")?, &c.ints("dims")?))
    }),
    ("torch.tile", "input *dims", |c| one(c.tensor("input")?.tile(&c.ints("dims")?))),
    ("torch.repeat_interleave", "input repeats? dim? output_size?", |c| {
        let dim = c.arg("dim")?;
        let dim = if dim.is_none() { None } else { Some(dim.int()?) };
        let x = c.tensor("input")?;
        one(match c.value("repeats") {
            // Without repeats the input counts, and the places are what is repeated.
            None => {
                let places = Tensor::arange(0i64, x.numel() as i64, 1i64, Some(DType::I64), x.device())?;
                places.repeat_interleave_each(x, Some(0))
            }
            Some(Value::Tensor(t)) if t.numel() != 1 => match c.optional_int("output_size")? {
                Some(total) => x.repeat_interleave_to(t, dim, total),
                None => x.repeat_interleave_each(t, dim),
            },
            Some(Value::Host(Host::Ints(list))) => {
                x.repeat_interleave_each(&Tensor::from_slice(list, &[list.len()])?, dim)
            }
            Some(_) => x.repeat_interleave(c.int("repeats", 1)?, dim),
        })
    }),
    ("torch.nn.functional.pad", "input pad mode? value?", |c| {
        one(c.tensor("input")?.pad(&c.ints("pad")?, c.str("mode", "constant")?, c.arg("value")?))
    }),
    ("torch.diag", "input diagonal?", |c| one(c.tensor("input")?.diag(c.int("diagonal", 0)?))),
    ("torch.movedim", "input source destination", |c| {
        one(c.tensor("input")?.movedim(&c.ints("source")?, &c.ints("destination")?))
    }),
    ("torch.swapaxes", "input axis0 axis1", |c| {
        one(c.tensor("input")?.transpose(c.int("axis0", 0)?, c.int("axis1", 0)?))
    }),
    ("torch.unflatten", "input dim sizes", |c| {
        one(c.tensor("input")?.unflatten(c.int("dim", 0)?, &c.ints("sizes")?))
    }),
    ("torch.unbind", "input dim?", |c| c.tensor("input")?.unbind(c.int("dim", 0)?)),
    ("torch.hstack", "tensors", |c| one(Tensor::hstack(&c.tensors("tensors")?))),
    ("torch.vstack", "tensors", |c| one(Tensor::vstack(&c.tensors("tensors")?))),
    ("torch.dstack", "tensors", |c| one(Tensor::dstack(&c.tensors("tensors")?))),
    ("torch.rot90", "input k? dims?", |c| {
        let dims = if c.value("dims").is_some() { c.ints("dims")? } else { vec![0, 1] };
        let [a, b] = dims[..] else {
            return Err(Error::value(format!("a turn is in two dims, got {dims:?}")));
        };
        one(c.tensor("input")?.rot90(c.int("k", 1)?, [a, b]))
    }),
    ("torch.fliplr", "input", |c| one(c.tensor("input")?.fliplr())),
    ("torch.flipud", "input", |c| one(c.tensor("input")?.flipud())),
    ("torch.meshgrid", "*tensors indexing?", |c| {
        Tensor::meshgrid(&c.tensors("tensors")?, c.str("indexing", "ij")?)
    }),
    ("torch.pixel_shuffle", "input upscale_factor", |c| {
        one(c.tensor("input")?.pixel_shuffle(c.int("upscale_factor", 1)?.max(0) as usize))
    }),
    ("torch.pixel_unshuffle", "input downscale_factor", |c| {
        one(c.tensor("input")?.pixel_unshuffle(c.int("downscale_factor", 1)?.max(0) as usize))
    }),
    ("torch.diff", "input n? dim? prepend? append?", |c| {
        let (x, n, dim) = (c.tensor("input")?, c.int("n", 1)?, c.int("dim", -1)?);
        let n = usize::try_from(n).map_err(|_| Error::value(format!("diff taken {n} times")))?;
        let parts: Vec<Tensor> =
            c.optional("prepend")?.into_iter().chain([x]).chain(c.optional("append")?).cloned().collect();
        let whole =
            if parts.len() > 1 && x.rank() > 0 && n > 0 { Tensor::cat(&parts, dim)? } else { x.clone() };
        one(whole.diff(n, dim))
    }),
    ("torch.take_along_dim", "input indices dim?", |c| {
        let dim = c.arg("dim")?;
        let dim = if dim.is_none() { None } else { Some(dim.int()?) };
        one(c.tensor("input")?.take_along_dim(c.tensor("indices")?, dim))
    }),
    ("torch.einsum", "equation *operands?", |c| {
        one(Tensor::einsum(c.str("equation", "")?, &c.tensors("operands")?))
    }),
    ("torch.outer", "input vec2", |c| one(c.tensor("input")?.outer(c.tensor("vec2")?))),
    ("torch.dot", "input tensor", |c| one(c.tensor("input")?.dot(c.tensor("tensor")?))),
    ("torch.mv", "input vec", |c| one(c.tensor("input")?.mv(c.tensor("vec")?))),
    ("torch.tensordot", "a b dims?", |c| {
        let ints = |v: &Value| match v {
            Value::Host(h) => h.as_arg().ints(),
            other => Err(Error::value(format!("dims must be ints, got {other:?}"))),
        };
        let (own, others) = match c.value("dims") {
            Some(Value::List(pairs)) if pairs.len() == 2 => (ints(&pairs[0])?, ints(&pairs[1])?),
            Some(Value::Host(Host::Ints(pair))) if pair.len() == 2 => {
                (pair[..1].iter().copied().collect(), pair[1..].iter().copied().collect())
            }
            None | Some(Value::Host(_)) => {
                let n = c.int("dims", 2)?;
                ((-n..0).collect(), (0..n).collect())
            }
            Some(other) => {
                return Err(Error::value(format!("dims must be an int or two lists, got {other:?}")));
            }
        };
        one(c.tensor("a")?.tensordot(c.tensor("b")?, &own, &others))
    }),
];
