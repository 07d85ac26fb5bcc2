//! torch-qualified calls, as reference files name them, to operations of the runtime. A call whose parameters are an op's
//! operands is one line of `OPS`; what torch spells as one function and we as several is a line of `FUNCTIONS`.

use runtime::error::{Error, Result};
use runtime::{Arg, DType, DeviceId, Host, Origin, Scalar, Tensor, door, table};
use std::collections::HashMap;

/// One argument of a call.
#[derive(Clone, Debug)]
pub enum Value {
    /// A tensor of the file.
    Tensor(Tensor),
    /// Several values.
    List(Vec<Value>),
    /// A host value; an empty or all-integer list is `Host::Ints`.
    Host(Host),
    /// A slice: start, stop, step.
    Slice([Option<i64>; 3]),
}

/// A call's arguments by the names of torch's parameters.
pub struct Call<'a> {
    parameters: &'a [&'a str],
    values: HashMap<&'a str, &'a Value>,
}

impl<'a> Call<'a> {
    fn value(&self, name: &str) -> Option<&'a Value> {
        self.values.get(name).copied().filter(|v| !matches!(v, Value::Host(Host::None)))
    }

    fn tensor(&self, name: &str) -> Result<&'a Tensor> {
        self.optional(name)?.ok_or_else(|| Error::value(format!("the argument {name} is missing")))
    }

    fn optional(&self, name: &str) -> Result<Option<&'a Tensor>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Tensor(t)) => Ok(Some(t)),
            Some(other) => Err(Error::value(format!("{name} must be a tensor, got {other:?}"))),
        }
    }

    fn tensors(&self, name: &str) -> Result<Vec<Tensor>> {
        match self.value(name) {
            Some(Value::List(list)) => list
                .iter()
                .map(|v| match v {
                    Value::Tensor(t) => Ok(t.clone()),
                    other => Err(Error::value(format!("{name} must hold tensors, got {other:?}"))),
                })
                .collect(),
            other => Err(Error::value(format!("{name} must be a list of tensors, got {other:?}"))),
        }
    }

    fn arg(&self, name: &str) -> Result<Arg<'a>> {
        match self.value(name) {
            None => Ok(Arg::None),
            Some(Value::Tensor(t)) => Ok(Arg::Tensor(t)),
            Some(Value::Host(h)) => Ok(h.as_arg()),
            Some(other) => Err(Error::value(format!("{name} cannot be {other:?}"))),
        }
    }

    fn int(&self, name: &str, default: i64) -> Result<i64> {
        let arg = self.arg(name)?;
        if arg.is_none() { Ok(default) } else { arg.int() }
    }

    fn float(&self, name: &str, default: f64) -> Result<f64> {
        let arg = self.arg(name)?;
        if arg.is_none() { Ok(default) } else { arg.float() }
    }

    fn dtype(&self, default: DType) -> Result<DType> {
        let arg = self.arg("dtype")?;
        if arg.is_none() { Ok(default) } else { arg.dtype() }
    }

    fn str(&self, name: &str, default: &'a str) -> Result<&'a str> {
        let arg = self.arg(name)?;
        if arg.is_none() { Ok(default) } else { arg.str() }
    }

    /// The tensor converted first where a dtype is asked for.
    fn converted(&self, name: &str) -> Result<Tensor> {
        let x = self.tensor(name)?;
        x.to(self.dtype(x.dtype())?)
    }
}

/// Ops whose operands are torch's parameters in the same order: torch's name, the op, torch's parameters.
const OPS: &[(&str, &str, &str)] = &[
    ("torch.neg", "neg", "input"),
    ("torch.abs", "abs", "input"),
    ("torch.sign", "sign", "input"),
    ("torch.floor", "floor", "input"),
    ("torch.ceil", "ceil", "input"),
    ("torch.trunc", "trunc", "input"),
    ("torch.sqrt", "sqrt", "input"),
    ("torch.rsqrt", "rsqrt", "input"),
    ("torch.reciprocal", "reciprocal", "input"),
    ("torch.exp", "exp", "input"),
    ("torch.expm1", "expm1", "input"),
    ("torch.exp2", "exp2", "input"),
    ("torch.log", "log", "input"),
    ("torch.log1p", "log1p", "input"),
    ("torch.log2", "log2", "input"),
    ("torch.log10", "log10", "input"),
    ("torch.sin", "sin", "input"),
    ("torch.cos", "cos", "input"),
    ("torch.tan", "tan", "input"),
    ("torch.atan", "atan", "input"),
    ("torch.tanh", "tanh", "input"),
    ("torch.sigmoid", "sigmoid", "input"),
    ("torch.erf", "erf", "input"),
    ("torch.relu", "relu", "input"),
    ("torch.nn.functional.relu", "relu", "input"),
    ("torch.square", "square", "input"),
    ("torch.isnan", "isnan", "input"),
    ("torch.isinf", "isinf", "input"),
    ("torch.isfinite", "isfinite", "input"),
    ("torch.logical_not", "logical_not", "input"),
    ("torch.bitwise_not", "bitwise_not", "input"),
    ("torch.nn.functional.gelu", "gelu", "input approximate"),
    ("torch.nn.functional.silu", "silu", "input"),
    ("torch.add", "add", "input other alpha"),
    ("torch.sub", "sub", "input other alpha"),
    ("torch.mul", "mul", "input other"),
    ("torch.div", "div", "input other rounding_mode"),
    ("torch.floor_divide", "floor_divide", "input other"),
    ("torch.remainder", "remainder", "input other"),
    ("torch.fmod", "fmod", "input other"),
    ("torch.pow", "pow", "input exponent"),
    ("torch.maximum", "maximum", "input other"),
    ("torch.minimum", "minimum", "input other"),
    ("torch.atan2", "atan2", "input other"),
    ("torch.eq", "eq", "input other"),
    ("torch.ne", "ne", "input other"),
    ("torch.lt", "lt", "input other"),
    ("torch.le", "le", "input other"),
    ("torch.gt", "gt", "input other"),
    ("torch.ge", "ge", "input other"),
    ("torch.logical_and", "logical_and", "input other"),
    ("torch.logical_or", "logical_or", "input other"),
    ("torch.logical_xor", "logical_xor", "input other"),
    ("torch.bitwise_and", "bitwise_and", "input other"),
    ("torch.bitwise_or", "bitwise_or", "input other"),
    ("torch.bitwise_xor", "bitwise_xor", "input other"),
    ("torch.where", "where", "condition input other"),
    ("torch.clamp", "clamp", "input min max"),
    ("torch.Tensor.masked_fill", "masked_fill", "self mask value"),
    ("torch.addcmul", "addcmul", "input tensor1 tensor2 value"),
    ("torch.lerp", "lerp", "input end weight"),
    ("torch.sum", "sum", "input dim keepdim dtype"),
    ("torch.mean", "mean", "input dim keepdim dtype"),
    ("torch.prod", "prod", "input dim keepdim dtype"),
    ("torch.amax", "amax", "input dim keepdim"),
    ("torch.amin", "amin", "input dim keepdim"),
    ("torch.argmax", "argmax", "input dim keepdim"),
    ("torch.argmin", "argmin", "input dim keepdim"),
    ("torch.any", "any", "input dim keepdim"),
    ("torch.all", "all", "input dim keepdim"),
    ("torch.logsumexp", "logsumexp", "input dim keepdim"),
    ("torch.cumsum", "cumsum", "input dim dtype"),
    ("torch.reshape", "reshape", "input shape"),
    ("torch.unsqueeze", "unsqueeze", "input dim"),
    ("torch.Tensor.expand", "expand", "self size"),
    ("torch.permute", "permute", "input dims"),
    ("torch.select", "select", "input dim index"),
    ("torch.flip", "flip", "input dims"),
    ("torch.tril", "tril", "input diagonal"),
    ("torch.triu", "triu", "input diagonal"),
    ("torch.diagonal", "diagonal", "input offset dim1 dim2"),
    ("torch.matmul", "matmul", "input other"),
    ("torch.addmm", "addmm", "input mat1 mat2 beta alpha"),
    ("torch.nn.functional.linear", "linear", "input weight bias"),
    ("torch.nn.functional.mse_loss", "mse_loss", "input target reduction"),
    (
        "torch.nn.functional.binary_cross_entropy_with_logits",
        "binary_cross_entropy_with_logits",
        "input target weight pos_weight reduction",
    ),
    ("torch.gather", "gather", "input dim index"),
    ("torch.scatter", "scatter", "input dim index src"),
    ("torch.scatter_add", "scatter_add", "input dim index src"),
    ("torch.index_select", "index_select", "input dim index"),
    ("torch.index_add", "index_add", "input dim index source alpha"),
    ("torch.full_like", "full_like", "input fill_value dtype"),
    ("torch.Tensor.to", "to", "self dtype"),
];

/// A call that is several ops, or one whose operands differ from torch's.
type Function = fn(&Call) -> Result<Vec<Tensor>>;

fn one(t: Result<Tensor>) -> Result<Vec<Tensor>> {
    t.map(|t| vec![t])
}

fn extents(c: &Call) -> Result<Vec<usize>> {
    Ok(c.arg("size")?.extents()?.to_vec())
}

fn spread(c: &Call, op: &str) -> Result<Vec<Tensor>> {
    let unbiased = c.arg("unbiased")?;
    let correction = match (unbiased, c.arg("correction")?) {
        (Arg::Bool(unbiased), _) => Arg::Int(unbiased as i64),
        (_, correction) => correction,
    };
    bind(op, &[Arg::Tensor(c.tensor("input")?), c.arg("dim")?, correction, c.arg("keepdim")?])
}

fn index_one(x: &Tensor, dim: &mut i64, index: &Value) -> Result<Tensor> {
    match index {
        Value::Host(Host::Scalar(Scalar::Int(i))) => x.select(*dim, *i),
        Value::Host(Host::None) => {
            *dim += 1;
            x.unsqueeze(*dim - 1)
        }
        Value::Slice([start, stop, step]) => {
            *dim += 1;
            x.slice(*dim - 1, *start, *stop, step.unwrap_or(1))
        }
        other => Err(Error::value(format!("unsupported index {other:?}"))),
    }
}

fn getitem(c: &Call) -> Result<Vec<Tensor>> {
    let mut x = c.tensor("self")?.clone();
    let mut dim = 0;
    match c.values.get("index").copied() {
        Some(Value::List(list)) => {
            for index in list {
                x = index_one(&x, &mut dim, index)?;
            }
        }
        Some(Value::Host(Host::Ints(list))) => {
            for &i in list {
                x = x.select(dim, i)?;
            }
        }
        Some(index) => x = index_one(&x, &mut dim, index)?,
        None => return Err(Error::value("the index is missing")),
    }
    Ok(vec![x])
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

fn arange(c: &Call) -> Result<Vec<Tensor>> {
    let (a, b, step) = (c.arg("start")?, c.arg("end")?, c.arg("step")?);
    let (start, end) = if b.is_none() { (Arg::Int(0), a) } else { (a, b) };
    let step = if step.is_none() { Arg::Int(1) } else { step };
    bind("arange", &[start, end, step, c.arg("dtype")?])
}

const FUNCTIONS: &[(&str, &str, Function)] = &[
    ("torch.round", "input decimals", |c| {
        one(c.tensor("input")?.round_decimals(c.int("decimals", 0)? as i32))
    }),
    ("torch.nn.functional.softplus", "input beta threshold", |c| {
        one(c.tensor("input")?.softplus(c.float("beta", 1.0)?, c.float("threshold", 20.0)?))
    }),
    ("torch.var", "input dim unbiased keepdim correction", |c| spread(c, "var")),
    ("torch.std", "input dim unbiased keepdim correction", |c| spread(c, "std")),
    ("torch.Tensor.view", "self shape", |c| one(c.tensor("self")?.view(&c.arg("shape")?.ints()?))),
    ("torch.transpose", "input dim0 dim1", |c| {
        one(c.tensor("input")?.transpose(c.int("dim0", 0)?, c.int("dim1", 0)?))
    }),
    ("torch.t", "input", |c| one(c.tensor("input")?.t())),
    ("torch.squeeze", "input dim", squeeze),
    ("torch.flatten", "input start_dim end_dim", |c| {
        one(c.tensor("input")?.flatten(c.int("start_dim", 0)?, c.int("end_dim", -1)?))
    }),
    ("torch.narrow", "input dim start length", |c| {
        one(c.tensor("input")?.narrow(c.int("dim", 0)?, c.int("start", 0)?, c.int("length", 0)?))
    }),
    ("torch.Tensor.contiguous", "self", |c| one(c.tensor("self")?.contiguous())),
    ("torch.Tensor.__getitem__", "self index", getitem),
    ("torch.cat", "tensors dim", |c| one(Tensor::cat(&c.tensors("tensors")?, c.int("dim", 0)?))),
    ("torch.stack", "tensors dim", |c| one(Tensor::stack(&c.tensors("tensors")?, c.int("dim", 0)?))),
    ("torch.split", "tensor split_size_or_sections dim", split),
    ("torch.chunk", "input chunks dim", |c| c.tensor("input")?.chunk(c.int("chunks", 1)?, c.int("dim", 0)?)),
    ("torch.mm", "input mat2", |c| one(c.tensor("input")?.mm(c.tensor("mat2")?))),
    ("torch.bmm", "input mat2", |c| one(c.tensor("input")?.bmm(c.tensor("mat2")?))),
    ("torch.nn.functional.softmax", "input dim _stacklevel dtype", |c| {
        one(c.converted("input")?.softmax(c.int("dim", -1)?))
    }),
    ("torch.nn.functional.log_softmax", "input dim _stacklevel dtype", |c| {
        one(c.converted("input")?.log_softmax(c.int("dim", -1)?))
    }),
    ("torch.nn.functional.layer_norm", "input normalized_shape weight bias eps", |c| {
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
        "input target weight size_average ignore_index reduce reduction label_smoothing",
        |c| {
            let (weight, how) = (c.optional("weight")?, c.str("reduction", "mean")?);
            let (ignore, smooth) = (c.int("ignore_index", -100)?, c.float("label_smoothing", 0.0)?);
            one(c.tensor("input")?.cross_entropy(c.tensor("target")?, weight, how, ignore, smooth))
        },
    ),
    ("torch.nn.functional.nll_loss", "input target weight size_average ignore_index reduce reduction", |c| {
        let (weight, how) = (c.optional("weight")?, c.str("reduction", "mean")?);
        one(c.tensor("input")?.nll_loss(c.tensor("target")?, weight, how, c.int("ignore_index", -100)?))
    }),
    ("torch.nn.functional.embedding", "input weight padding_idx", |c| {
        let padding = c.arg("padding_idx")?;
        let padding = if padding.is_none() { None } else { Some(padding.int()?) };
        one(c.tensor("weight")?.embedding(c.tensor("input")?, padding))
    }),
    ("torch.nn.functional.dropout", "input p training", |c| {
        let training = c.arg("training")?;
        let training = training.is_none() || training.bool()?;
        one(c.tensor("input")?.dropout(c.float("p", 0.5)?, training))
    }),
    ("torch.zeros", "size dtype", |c| one(Tensor::zeros(&extents(c)?, c.dtype(DType::F32)?, DeviceId::Cpu))),
    ("torch.ones", "size dtype", |c| one(Tensor::ones(&extents(c)?, c.dtype(DType::F32)?, DeviceId::Cpu))),
    ("torch.full", "size fill_value dtype", |c| {
        bind("full", &[c.arg("size")?, c.arg("fill_value")?, c.arg("dtype")?])
    }),
    ("torch.zeros_like", "input dtype", |c| {
        let x = c.tensor("input")?;
        one(x.zeros_like(Some(c.dtype(x.dtype())?)))
    }),
    ("torch.ones_like", "input dtype", |c| {
        let x = c.tensor("input")?;
        one(x.ones_like(Some(c.dtype(x.dtype())?)))
    }),
    ("torch.arange", "start end step dtype", arange),
    ("torch.eye", "n m dtype", |c| {
        let (n, m) = (c.arg("n")?, c.arg("m")?);
        bind("eye", &[n, if m.is_none() { n } else { m }, c.arg("dtype")?])
    }),
    ("torch.linspace", "start end steps dtype", |c| {
        bind("linspace", &[c.arg("start")?, c.arg("end")?, c.arg("steps")?, c.arg("dtype")?])
    }),
];

fn bind(op: &str, args: &[Arg]) -> Result<Vec<Tensor>> {
    let op = table::find(op).ok_or_else(|| Error::internal(format!("no op is called {op}")))?;
    let given = args.iter().rposition(|a| !a.is_none()).map_or(0, |i| i + 1);
    Ok(door::bind(op, &args[..given], Origin::caller())?.into_iter().collect())
}

/// Whether the call is known.
pub fn is_known(call: &str) -> bool {
    OPS.iter().any(|(name, ..)| *name == call) || FUNCTIONS.iter().any(|(name, ..)| *name == call)
}

/// Runs a call; `None` where it is not known.
pub fn run(call: &str, args: &[Value], kwargs: &[(String, Value)]) -> Option<Result<Vec<Tensor>>> {
    if let Some((_, op, parameters)) = OPS.iter().find(|(name, ..)| *name == call) {
        let parameters: Vec<&str> = parameters.split(' ').collect();
        return Some(name_arguments(&parameters, args, kwargs).and_then(|c| {
            let operands = c.parameters.iter().map(|p| c.arg(p)).collect::<Result<Vec<_>>>()?;
            bind(op, &operands)
        }));
    }
    let (_, parameters, function) = FUNCTIONS.iter().find(|(name, ..)| *name == call)?;
    let parameters: Vec<&str> = parameters.split(' ').collect();
    Some(name_arguments(&parameters, args, kwargs).and_then(|c| function(&c)))
}

fn name_arguments<'a>(
    parameters: &'a [&'a str],
    args: &'a [Value],
    kwargs: &'a [(String, Value)],
) -> Result<Call<'a>> {
    if args.len() > parameters.len() {
        return Err(Error::value(format!("{} arguments for parameters {parameters:?}", args.len())));
    }
    let mut values: HashMap<&str, &Value> = parameters.iter().copied().zip(args).collect();
    for (name, value) in kwargs {
        if !parameters.contains(&name.as_str()) {
            return Err(Error::value(format!("unknown argument {name} beside {parameters:?}")));
        }
        values.insert(name, value);
    }
    Ok(Call { parameters, values })
}
