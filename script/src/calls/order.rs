//! torch's calls of order and choice: sorting, quantiles, searching, what is distinct, what is not zero.

use super::{Call, Entry, Value, bind, one};
use runtime::error::{Error, Result};
use runtime::ops::Bins;
use runtime::{Arg, DType, DeviceId, Host, Tensor};

/// An argument that is a tensor or a number, as a tensor of this type.
fn tensor_like(c: &Call, name: &str, dtype: DType, device: DeviceId) -> Result<Tensor> {
    match c.arg(name)? {
        Arg::Tensor(t) => Ok(t.clone()),
        number => Tensor::full(&[], number, dtype, device),
    }
}

/// The type of a number that becomes a tensor.
fn type_of(arg: Arg) -> DType {
    match arg {
        Arg::Tensor(t) => t.dtype(),
        Arg::Float(_) => DType::F32,
        Arg::Bool(_) => DType::Bool,
        _ => DType::I64,
    }
}

fn optional_int(c: &Call, name: &str) -> Result<Option<i64>> {
    let arg = c.arg(name)?;
    if arg.is_none() { Ok(None) } else { arg.int().map(Some) }
}

/// The median of all elements is one output, that along a dimension two.
fn median(c: &Call, op: &str) -> Result<Vec<Tensor>> {
    let mut out = bind(op, &[Arg::Tensor(c.tensor("input")?), c.arg("dim")?, c.arg("keepdim")?])?;
    if c.arg("dim")?.is_none() {
        out.truncate(1);
    }
    Ok(out)
}

fn quantile(c: &Call, skip_nan: bool) -> Result<Vec<Tensor>> {
    let x = c.tensor("input")?;
    let q = match c.arg("q")? {
        Arg::Tensor(q) => q.clone(),
        number => {
            let q = number.float()?;
            if !(0.0..=1.0).contains(&q) {
                return Err(Error::value(format!("q must lie in [0, 1], got {q}")));
            }
            Tensor::full(&[], q, x.dtype(), x.device())?
        }
    };
    let how = c.str("interpolation", "linear")?;
    one(x.quantile(&q, optional_int(c, "dim")?, c.flag("keepdim", false)?, how, skip_nan))
}

fn searchsorted(c: &Call, sorted: &str, values: &str) -> Result<Vec<Tensor>> {
    let sequence = c.tensor(sorted)?;
    let side = c.str("side", "")?;
    let right = c.flag("right", false)?;
    let right = match side {
        "" => right,
        "left" if right => return Err(Error::value("side is 'left' and right is true")),
        "left" => false,
        "right" => true,
        other => return Err(Error::value(format!("side must be 'left' or 'right', got '{other}'"))),
    };
    let sequence = match c.optional("sorter")? {
        Some(sorter) => {
            if sorter.shape() != sequence.shape() {
                return Err(Error::shape(format!("a sorter {sorter:?} for a sequence {sequence:?}")));
            }
            if sorter.dtype() != DType::I64 {
                return Err(Error::dtype(format!("a sorter must hold int64, got {}", sorter.dtype())));
            }
            sequence.gather(-1, sorter)?
        }
        None => sequence.clone(),
    };
    let number = !matches!(c.arg(values)?, Arg::Tensor(_));
    if number && sequence.rank() != 1 {
        return Err(Error::shape(format!("a number is searched in one dimension, got {sequence:?}")));
    }
    let values = tensor_like(c, values, sequence.dtype(), sequence.device())?;
    let places = sequence.searchsorted(&values, right)?;
    one(if c.flag("out_int32", false)? { places.to(DType::I32) } else { Ok(places) })
}

fn isin(c: &Call) -> Result<Vec<Tensor>> {
    let (a, b) = (c.arg("elements")?, c.arg("test_elements")?);
    let device = DeviceId::Cpu;
    let elements = tensor_like(c, "elements", type_of(a), device)?;
    let tests = tensor_like(c, "test_elements", type_of(b), device)?;
    one(elements.isin(&tests, c.flag("invert", false)?))
}

fn distinct(c: &Call, consecutive: bool) -> Result<Vec<Tensor>> {
    let (x, dim) = (c.tensor("input")?, optional_int(c, "dim")?);
    let found = if consecutive { x.unique_consecutive(dim)? } else { x.unique(dim)? };
    let mut out = vec![found.values];
    if c.flag("return_inverse", false)? {
        out.push(found.inverse);
    }
    if c.flag("return_counts", false)? {
        out.push(found.counts);
    }
    Ok(out)
}

/// Numbers of a list, or one number.
fn numbers(c: &Call, name: &str) -> Result<Vec<f64>> {
    match c.value(name) {
        None => Ok(Vec::new()),
        Some(Value::List(list)) => list
            .iter()
            .map(|v| match v {
                Value::Host(Host::Scalar(s)) => Ok(s.to_f64()),
                other => Err(Error::value(format!("{name} must hold numbers, got {other:?}"))),
            })
            .collect(),
        Some(_) => Ok(c.arg(name)?.ints()?.iter().map(|&n| n as f64).collect()),
    }
}

fn histogram(c: &Call) -> Result<Vec<Tensor>> {
    let x = c.tensor("input")?;
    let range = numbers(c, "range")?;
    let bins = match c.arg("bins")? {
        Arg::Tensor(edges) => Bins::Edges(edges),
        n => match range[..] {
            [] => Bins::Even(n.int()?, 0.0, 0.0),
            [low, high] => Bins::Even(n.int()?, low, high),
            _ => return Err(Error::value(format!("a range has two ends, got {range:?}"))),
        },
    };
    let (counts, edges) = x.histogram(bins, c.optional("weight")?, c.flag("density", false)?)?;
    Ok(vec![counts, edges])
}

fn histogramdd(c: &Call) -> Result<Vec<Tensor>> {
    let x = c.tensor("input")?;
    let (range, axes) = (numbers(c, "range")?, x.shape().last().copied().unwrap_or(0));
    let even = |d: usize, n: i64| match range.get(2 * d..2 * d + 2) {
        Some([low, high]) => Bins::Even(n, *low, *high),
        _ => Bins::Even(n, 0.0, 0.0),
    };
    if !range.is_empty() && range.len() != 2 * axes {
        return Err(Error::value(format!("{axes} ranges have {} ends, got {}", 2 * axes, range.len())));
    }
    let bins: Vec<Bins> = match c.value("bins") {
        Some(Value::List(list)) => list
            .iter()
            .map(|v| match v {
                Value::Tensor(edges) => Ok(Bins::Edges(edges)),
                other => Err(Error::value(format!("bins cannot be {other:?}"))),
            })
            .collect::<Result<_>>()?,
        Some(Value::Host(Host::Ints(counts))) => {
            counts.iter().enumerate().map(|(d, &n)| even(d, n)).collect()
        }
        _ => {
            let n = c.int("bins", 10)?;
            (0..axes).map(|d| even(d, n)).collect()
        }
    };
    let (counts, edges) = x.histogramdd(&bins, c.optional("weight")?, c.flag("density", false)?)?;
    Ok(std::iter::once(counts).chain(edges).collect())
}

pub(super) const FUNCTIONS: &[Entry] = &[
    ("torch.histogramdd", "input bins range? weight? density?", histogramdd),
    ("torch.sort", "input dim? descending? stable?", |c| {
        bind("sort", &[Arg::Tensor(c.tensor("input")?), c.arg("dim")?, c.arg("descending")?])
    }),
    ("torch.argsort", "input dim? descending? stable?", |c| {
        one(c.tensor("input")?.argsort(c.int("dim", -1)?, c.flag("descending", false)?))
    }),
    ("torch.msort", "input", |c| Ok(vec![c.tensor("input")?.sort(0, false)?.0])),
    ("torch.median", "input dim? keepdim?", |c| median(c, "median")),
    ("torch.nanmedian", "input dim? keepdim?", |c| median(c, "nanmedian")),
    ("torch.quantile", "input q dim? keepdim? interpolation?", |c| quantile(c, false)),
    ("torch.nanquantile", "input q dim? keepdim? interpolation?", |c| quantile(c, true)),
    ("torch.searchsorted", "sorted_sequence input out_int32? right? side? sorter?", |c| {
        searchsorted(c, "sorted_sequence", "input")
    }),
    ("torch.bucketize", "input boundaries out_int32? right? side? sorter?", |c| {
        let boundaries = c.tensor("boundaries")?;
        if boundaries.rank() != 1 {
            return Err(Error::shape(format!("boundaries must have one dimension, got {boundaries:?}")));
        }
        searchsorted(c, "boundaries", "input")
    }),
    ("torch.isin", "elements test_elements assume_unique? invert?", isin),
    ("torch.unique", "input sorted? return_inverse? return_counts? dim?", |c| distinct(c, false)),
    ("torch.unique_consecutive", "input return_inverse? return_counts? dim?", |c| distinct(c, true)),
    ("torch.nonzero", "input as_tuple?", |c| match c.flag("as_tuple", false)? {
        true => c.tensor("input")?.nonzero_tuple(),
        false => one(c.tensor("input")?.nonzero()),
    }),
    ("torch.argwhere", "input", |c| one(c.tensor("input")?.nonzero())),
    ("torch.masked_select", "input mask", |c| one(c.tensor("input")?.masked_select(c.tensor("mask")?))),
    ("torch.histc", "input bins? min? max?", |c| {
        one(c.tensor("input")?.histc(c.int("bins", 100)?, c.float("min", 0.0)?, c.float("max", 0.0)?))
    }),
    ("torch.bincount", "input weights? minlength?", |c| {
        one(c.tensor("input")?.bincount(c.optional("weights")?, c.int("minlength", 0)?))
    }),
    ("torch.histogram", "input bins? range? weight? density?", histogram),
];
