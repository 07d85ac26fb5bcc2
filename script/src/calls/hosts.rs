//! torch's calls whose result is no tensor: a host number becomes a tensor of rank 0, a list of ints one of rank 1.

use super::{Call, Entry};
use runtime::error::Result;
use runtime::{Scalar, Tensor};

/// A host number as an output.
fn number(value: impl Into<Scalar>) -> Result<Vec<Tensor>> {
    Ok(vec![match value.into() {
        Scalar::Int(v) => Tensor::scalar(v),
        Scalar::Float(v) => Tensor::scalar(v),
        Scalar::Bool(v) => Tensor::scalar(v),
    }])
}

/// A list of ints as an output.
fn list(values: &[usize]) -> Result<Vec<Tensor>> {
    let values: Vec<i64> = values.iter().map(|&n| n as i64).collect();
    Ok(vec![Tensor::from_slice(&values, &[values.len()])?])
}

fn size(c: &Call) -> Result<Vec<Tensor>> {
    let x = c.tensor("self")?;
    match c.arg("dim")? {
        dim if dim.is_none() => list(x.shape()),
        dim => number(x.size(dim.int()?)? as i64),
    }
}

pub(super) const FUNCTIONS: &[Entry] = &[
    ("torch.numel", "input", |c| number(c.tensor("input")?.numel() as i64)),
    ("torch.Tensor.numel", "self", |c| number(c.tensor("self")?.numel() as i64)),
    ("torch.Tensor.dim", "self", |c| number(c.tensor("self")?.rank() as i64)),
    ("torch.Tensor.size", "self dim?", size),
    ("torch.is_floating_point", "input", |c| number(c.tensor("input")?.dtype().is_float())),
    ("torch.is_nonzero", "input", |c| number(c.tensor("input")?.detach()?.item()?.to_bool())),
];
