//! torch's calls that read and write by index.

use super::{Call, Entry, Value, bind, one};
use runtime::error::{Error, Result};
use runtime::ops::Index;
use runtime::{Arg, DType, Host, Scalar, Tensor};

/// One entry of an index as reference files write it.
fn entry(value: &Value, device: runtime::DeviceId) -> Result<Index> {
    Ok(match value {
        Value::Tensor(t) => Index::Places(t.clone()),
        Value::Slice([start, stop, step]) => Index::Slice(*start, *stop, step.unwrap_or(1)),
        Value::Ellipsis => Index::Ellipsis,
        Value::Host(Host::Scalar(Scalar::Int(i))) => Index::At(*i),
        Value::Host(Host::Scalar(Scalar::Bool(b))) => Index::Truth(*b),
        Value::Host(Host::None) => Index::New,
        Value::Host(Host::Ints(list)) => {
            Index::Places(Tensor::from_slice(list, &[list.len()])?.to_device(device)?)
        }
        other => return Err(Error::index(format!("{other:?} is no index"))),
    })
}

fn entries(c: &Call, device: runtime::DeviceId) -> Result<Vec<Index>> {
    match c.given("index") {
        Some(Value::List(list)) => list.iter().map(|v| entry(v, device)).collect(),
        Some(Value::Host(Host::Ints(list))) => Ok(list.iter().map(|&i| Index::At(i)).collect()),
        Some(value) => Ok(vec![entry(value, device)?]),
        None => Err(Error::value("the index is missing")),
    }
}

/// What a number or a tensor stands for beside a tensor.
fn like(c: &Call, name: &str, x: &Tensor) -> Result<Tensor> {
    match c.arg(name)? {
        Arg::Tensor(t) => Ok(t.clone()),
        number => Tensor::full(&[], number, x.dtype(), x.device()),
    }
}

fn scatter(c: &Call) -> Result<Vec<Tensor>> {
    let (x, dim, index) = (c.tensor("input")?, c.int("dim", 0)?, c.tensor("index")?);
    let source = if c.value("src").is_some() { "src" } else { "value" };
    let reduce = match c.str("reduce", "")? {
        "" => {
            return bind("scatter", &[Arg::Tensor(x), Arg::Int(dim), Arg::Tensor(index), c.arg(source)?]);
        }
        "add" => "sum",
        "multiply" => "prod",
        other => return Err(Error::value(format!("reduce must be 'add' or 'multiply', got '{other}'"))),
    };
    let mut src = like(c, source, x)?;
    if src.rank() == 0 && index.rank() > 0 {
        src = src.expand(index.shape())?;
    }
    one(x.scatter_reduce(dim, index, &src, reduce, true))
}

pub(super) const FUNCTIONS: &[Entry] = &[
    ("torch.Tensor.__getitem__", "self index", |c| {
        let x = c.tensor("self")?;
        one(x.at(&entries(c, x.device())?))
    }),
    ("torch.Tensor.__setitem__", "self index value", |c| {
        let x = c.tensor("self")?.copy()?;
        x.set_at(&entries(c, x.device())?, &like(c, "value", &x)?)?;
        Ok(vec![x])
    }),
    ("torch.scatter", "input dim index src? value? reduce?", scatter),
    ("torch.scatter_reduce", "input dim index src reduce include_self?", |c| {
        let (dim, how) = (c.int("dim", 0)?, c.str("reduce", "sum")?);
        let (index, src) = (c.tensor("index")?, c.tensor("src")?);
        one(c.tensor("input")?.scatter_reduce(dim, index, src, how, c.flag("include_self", true)?))
    }),
    ("torch.index_reduce", "input dim index source reduce include_self?", |c| {
        let (dim, how) = (c.int("dim", 0)?, c.str("reduce", "prod")?);
        let (index, src) = (c.tensor("index")?, c.tensor("source")?);
        one(c.tensor("input")?.index_reduce(dim, index, src, how, c.flag("include_self", true)?))
    }),
    ("torch.segment_reduce", "data reduce lengths? indices? offsets? axis? unsafe? initial?", |c| {
        let initial = c.optional_float("initial")?;
        let (lengths, offsets) = (c.optional("lengths")?, c.optional("offsets")?);
        one(c.tensor("data")?.segment_reduce(
            c.str("reduce", "")?,
            lengths,
            offsets,
            c.int("axis", 0)?,
            initial,
        ))
    }),
    ("torch.index_put", "input indices values accumulate?", |c| {
        let (indices, values) = (c.tensors("indices")?, c.tensor("values")?);
        one(c.tensor("input")?.put_at(&indices, values, c.flag("accumulate", false)?))
    }),
    ("torch.put", "input index source accumulate?", |c| {
        one(c.tensor("input")?.put(c.tensor("index")?, c.tensor("source")?, c.flag("accumulate", false)?))
    }),
    ("torch.masked_scatter", "input mask source", |c| {
        one(c.tensor("input")?.masked_scatter(c.tensor("mask")?, c.tensor("source")?))
    }),
    ("torch.select_scatter", "input src dim index", |c| {
        one(c.tensor("input")?.select_scatter(c.tensor("src")?, c.int("dim", 0)?, c.int("index", 0)?))
    }),
    ("torch.Tensor.fill_diagonal", "self fill_value wrap?", |c| {
        let x = c.tensor("self")?;
        let [rows, columns] = *x.shape() else {
            return Err(Error::shape(format!("fill_diagonal is of a matrix, got {:?}", x.shape())));
        };
        if c.flag("wrap", false)? && rows > columns {
            return Err(Error::value("a diagonal does not begin anew below the matrix here")
                .hint("fill it in blocks of as many rows as there are columns"));
        }
        one(x.masked_fill(&Tensor::eye(rows, columns, DType::Bool, x.device())?, c.arg("fill_value")?))
    }),
    ("torch.slice_scatter", "input src dim? start? end? step?", |c| {
        let (start, end) = (c.optional_int("start")?, c.optional_int("end")?);
        let (src, dim) = (c.tensor("src")?, c.int("dim", 0)?);
        one(c.tensor("input")?.slice_scatter(src, dim, start, end, c.int("step", 1)?))
    }),
    ("torch.diagonal_scatter", "input src offset? dim1? dim2?", |c| {
        let (offset, dim1, dim2) = (c.int("offset", 0)?, c.int("dim1", 0)?, c.int("dim2", 1)?);
        one(c.tensor("input")?.diagonal_scatter(c.tensor("src")?, offset, dim1, dim2))
    }),
    ("torch.as_strided", "input size stride storage_offset?", |c| {
        let offset = c.optional_int("storage_offset")?;
        one(c.tensor("input")?.as_strided(&c.ints("size")?, &c.ints("stride")?, offset))
    }),
    ("torch.as_strided_scatter", "input src size stride storage_offset?", |c| {
        let (src, offset) = (c.tensor("src")?, c.optional_int("storage_offset")?);
        one(c.tensor("input")?.as_strided_scatter(src, &c.ints("size")?, &c.ints("stride")?, offset))
    }),
];
