//! What the host sees of tensors, tensors made of host values, and writes that are no operation of their own.

use super::{Builtin, line};
use crate::value::{Value, tensor_of_list};
use eager::Autograd;
use runtime::error::{Error, Result};
use runtime::{Arg, DType, DeviceId, Origin, Scalar, Tensor, door, ops};

fn ints<T: Copy>(values: &[T], f: fn(T) -> i64) -> Value {
    Value::ints(values.iter().copied().map(f))
}

fn shape(a: &[Value]) -> Result<Value> {
    let t = a[0].tensor()?;
    t.observe_extent(None)?;
    Ok(ints(t.shape(), |n| n as i64))
}

/// The extent of a dimension.
fn size(a: &[Value]) -> Result<Value> {
    let (t, dim) = (a[0].tensor()?, a[1].int()?);
    let extent = t.size(dim)?;
    t.observe_extent(runtime::infer::wrap_dim(dim, t.rank()).ok())?;
    Ok(extent.into())
}

/// Number of elements.
fn count(a: &[Value]) -> Result<Value> {
    let t = a[0].tensor()?;
    t.observe_extent(None)?;
    Ok(t.numel().into())
}

fn strides(t: &Tensor) -> Vec<i64> {
    t.layout().strides.iter().map(|&s| s as i64).collect()
}

/// Nested lists of the elements; a tensor of rank 0 is a number.
fn nested(elements: &[Scalar], dims: &[usize]) -> Value {
    match dims.split_first() {
        None => elements.first().map_or(Value::None, |v| Value::from(*v)),
        Some((&n, rest)) => {
            let part: usize = rest.iter().product();
            Value::list((0..n).map(|i| nested(&elements[i * part..(i + 1) * part], rest)))
        }
    }
}

fn dtype(value: &Value) -> Result<Option<DType>> {
    match value {
        Value::None => Ok(None),
        Value::DType(dtype) => Ok(Some(*dtype)),
        other => Err(other.unexpected("a dtype")),
    }
}

/// `torch.tensor`, which copies, and `torch.as_tensor`, which does not where nothing changes.
fn made_of(a: &[Value], copies: bool) -> Result<Value> {
    let wanted = dtype(&a[1])?;
    let t = match &a[0] {
        Value::Tensor(t) => {
            let t = if copies { t.detach()?.copy()? } else { t.clone() };
            t.to(wanted.unwrap_or(t.dtype()))?
        }
        list => tensor_of_list(list, wanted)?,
    };
    match a.get(2).is_some_and(|on| matches!(on, Value::Bool(true))) {
        true => t.requires_grad_(true).map(Value::Tensor),
        false => Ok(Value::Tensor(t)),
    }
}

/// Writes `source`, which broadcasts, over the elements of a tensor; gives the tensor.
fn write(target: &Value, source: &Tensor) -> Result<Value> {
    let t = target.tensor()?;
    door::mutate(&ops::COPY, &[Arg::Tensor(t), Arg::Tensor(source)], Origin::caller())?;
    Ok(target.clone())
}

/// Random numbers of a tensor's type and shape, scaled and moved.
fn drawn(
    a: &[Value],
    draw: fn(&[usize], DType, DeviceId) -> Result<Tensor>,
    scale: f64,
    by: f64,
) -> Result<Value> {
    let t = a[0].tensor()?;
    let noise = draw(t.shape(), t.dtype(), t.device())?;
    write(&a[0], &noise.mul(scale)?.add(by)?)
}

fn to_device(t: &Tensor, device: DeviceId) -> Result<Value> {
    t.to_device(device).map(Value::Tensor)
}

fn device(value: &Value) -> Result<DeviceId> {
    match value {
        Value::Device(device) => Ok(*device),
        other => Err(other.unexpected("a device")),
    }
}

pub(super) const BUILTINS: &[Builtin] = &[
    line("Tensor.shape", "(self: Tensor) -> List[int]", |a, _| shape(a)),
    line("Tensor.size", "(self: Tensor) -> List[int]", |a, _| shape(a)),
    line("Tensor.size", "(self: Tensor, dim: int) -> int", |a, _| size(a)),
    line("Tensor.stride", "(self: Tensor) -> List[int]", |a, _| Ok(Value::ints(strides(a[0].tensor()?)))),
    line("Tensor.stride", "(self: Tensor, dim: int) -> int", |a, _| {
        let t = a[0].tensor()?;
        let at = runtime::infer::wrap_dim(a[1].int()?, t.rank())?;
        Ok(Value::Int(strides(t)[at]))
    }),
    line("Tensor.storage_offset", "(self: Tensor) -> int", |a, _| Ok(a[0].tensor()?.layout().offset.into())),
    line("Tensor.dim", "(self: Tensor) -> int", |a, _| Ok(a[0].tensor()?.rank().into())),
    line("Tensor.ndimension", "(self: Tensor) -> int", |a, _| Ok(a[0].tensor()?.rank().into())),
    line("Tensor.ndim", "(self: Tensor) -> int", |a, _| Ok(a[0].tensor()?.rank().into())),
    line("Tensor.numel", "(self: Tensor) -> int", |a, _| count(a)),
    line("Tensor.nelement", "(self: Tensor) -> int", |a, _| count(a)),
    line("torch.numel", "(input: Tensor) -> int", |a, _| count(a)),
    line("Tensor.__len__", "(self: Tensor) -> int", |a, _| match a[0].tensor()?.shape().first() {
        Some(&n) => {
            a[0].tensor()?.observe_extent(Some(0))?;
            Ok(n.into())
        }
        None => Err(Error::value("TypeError: len() of a 0-d tensor")),
    }),
    line("Tensor.item", "(self: Tensor) -> number", |a, _| Ok(a[0].tensor()?.item()?.into())),
    line("Tensor.tolist", "...", |a, _| {
        let t = a[0].tensor()?;
        Ok(nested(&t.to_scalars()?, t.shape()))
    }),
    line("Tensor.dtype", "(self: Tensor) -> dtype", |a, _| Ok(Value::DType(a[0].tensor()?.dtype()))),
    line("Tensor.device", "(self: Tensor) -> device", |a, _| Ok(Value::Device(a[0].tensor()?.device()))),
    line("Tensor.is_floating_point", "(self: Tensor) -> bool", |a, _| {
        Ok(Value::Bool(a[0].tensor()?.dtype().is_float()))
    }),
    line("Tensor.is_complex", "(self: Tensor) -> bool", |_, _| Ok(Value::Bool(false))),
    line("Tensor.is_cuda", "(self: Tensor) -> bool", |a, _| {
        Ok(Value::Bool(matches!(a[0].tensor()?.device(), DeviceId::Cuda(_))))
    }),
    line("Tensor.is_contiguous", "(self: Tensor) -> bool", |a, _| {
        Ok(Value::Bool(a[0].tensor()?.is_contiguous()))
    }),
    line("Tensor.element_size", "(self: Tensor) -> int", |a, _| Ok(a[0].tensor()?.dtype().size().into())),
    line("Tensor.itemsize", "(self: Tensor) -> int", |a, _| Ok(a[0].tensor()?.dtype().size().into())),
    line("dtype.is_floating_point", "(self: dtype) -> bool", |a, _| {
        Ok(Value::Bool(dtype(&a[0])?.is_some_and(DType::is_float)))
    }),
    line("device.type", "(self: device) -> str", |a, _| {
        let text = device(&a[0])?.to_string();
        Ok(Value::str(text.split(':').next().unwrap_or(&text)))
    }),
    line("torch.device", "(name: str) -> device", |a, _| DeviceId::parse(a[0].text()?).map(Value::Device)),
    line("torch.cuda.is_available", "() -> bool", |_, _| Ok(Value::Bool(DeviceId::Cuda(0).open().is_ok()))),
    line("Tensor.cpu", "(self: Tensor) -> Tensor", |a, _| to_device(a[0].tensor()?, DeviceId::Cpu)),
    line("Tensor.cuda", "(self: Tensor) -> Tensor", |a, _| to_device(a[0].tensor()?, DeviceId::Cuda(0))),
    line("Tensor.type_as", "(self: Tensor, other: Tensor) -> Tensor", |a, _| {
        a[0].tensor()?.to(a[1].tensor()?.dtype()).map(Value::Tensor)
    }),
    line("Tensor.type", "(self: Tensor, dtype: dtype) -> Tensor", |a, _| {
        let t = a[0].tensor()?;
        t.to(dtype(&a[1])?.unwrap_or(t.dtype())).map(Value::Tensor)
    }),
    line("torch.tensor", "...", |a, _| made_of(a, true)),
    line("torch.as_tensor", "...", |a, _| made_of(a, false)),
    line("torch.is_tensor", "(value: T) -> bool", |a, _| Ok(Value::Bool(matches!(a[0], Value::Tensor(_))))),
    line("torch.get_default_dtype", "() -> dtype", |_, _| Ok(Value::DType(DType::F32))),
    line("torch.manual_seed", "(seed: int) -> None", |a, _| {
        runtime::random::manual_seed(a[0].int()?).map(|()| Value::None)
    }),
    line("Tensor.copy_", "(self: Tensor, source: Tensor) -> Tensor", |a, _| write(&a[0], a[1].tensor()?)),
    line("Tensor.zero_", "(self: Tensor) -> Tensor", |a, _| {
        let t = a[0].tensor()?;
        write(&a[0], &Tensor::zeros(&[], t.dtype(), t.device())?)
    }),
    line("Tensor.uniform_", "(self: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor", |a, _| {
        let (low, high) = (a[1].float()?, a[2].float()?);
        if low > high {
            return Err(Error::value(format!("no numbers are between {low} and {high}")).in_op("uniform_"));
        }
        drawn(a, Tensor::rand, high - low, low)
    }),
    line("Tensor.normal_", "(self: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor", |a, _| {
        let (mean, std) = (a[1].float()?, a[2].float()?);
        if std < 0.0 {
            return Err(Error::value(format!("a standard deviation of {std}")).in_op("normal_"));
        }
        drawn(a, Tensor::randn, std, mean)
    }),
];
