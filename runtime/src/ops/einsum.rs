//! einsum: sums of products over named dimensions, from left to right, each pair of operands as one batched matrix product.

use super::join::explain;
use super::rules::ints;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The name of a dimension: a letter, or a number past the letters for one of an ellipsis, counted from the last.
type Label = u32;

/// Names of an ellipsis' dimensions start here.
const ELLIPSIS: Label = 1 << 24;

/// A tensor with a name for each dimension, no name twice.
struct Term {
    tensor: Tensor,
    labels: Vec<Label>,
}

impl Term {
    fn extent(&self, label: Label) -> Option<usize> {
        self.labels.iter().position(|&l| l == label).map(|d| self.tensor.shape()[d])
    }

    fn has(&self, label: Label) -> bool {
        self.labels.contains(&label)
    }

    /// The names of one operand; a name that comes twice stands for the diagonal.
    fn new(text: &str, tensor: &Tensor) -> Result<Term> {
        let count = text.replace("...", "").chars().count();
        let missing = tensor.rank().checked_sub(count);
        let fits = |n: usize| if text.contains("...") { Some(n) } else { (n == 0).then_some(0) };
        let Some(hidden) = missing.and_then(fits) else {
            return Err(Error::shape(format!(
                "'{text}' does not name the dimensions of {:?}",
                tensor.shape()
            )));
        };
        let mut term = Term { tensor: tensor.clone(), labels: names(text, hidden)? };
        while let Some((i, j)) = repeated(&term.labels) {
            let (a, b) = (term.tensor.shape()[i], term.tensor.shape()[j]);
            if a != b {
                return Err(Error::shape(format!("'{text}' takes the diagonal of extents {a} and {b}")));
            }
            term.tensor = term.tensor.diagonal(0, i as i64, j as i64)?;
            let label = term.labels.remove(j);
            term.labels.remove(i);
            term.labels.push(label);
        }
        Ok(term)
    }

    /// Summed over the names that are not to be kept.
    fn reduced(self, keep: impl Fn(Label) -> bool) -> Result<Term> {
        let over: Vec<i64> =
            (0..self.labels.len()).filter(|&d| !keep(self.labels[d])).map(|d| d as i64).collect();
        if over.is_empty() {
            return Ok(self);
        }
        let labels = self.labels.iter().copied().filter(|&l| keep(l)).collect();
        Ok(Term { tensor: self.tensor.sum(&over, false)?, labels })
    }

    /// The dimensions in this order, extents of 1 repeated to those of the other operand, grouped as `shape`.
    fn laid(&self, order: &[Label], other: &Term, shape: &[i64]) -> Result<Tensor> {
        let dims: Vec<i64> =
            order.iter().filter_map(|l| self.labels.iter().position(|o| o == l)).map(|d| d as i64).collect();
        let extents: Vec<usize> = order
            .iter()
            .map(|&l| match self.extent(l) {
                Some(1) => other.extent(l).unwrap_or(1),
                own => own.unwrap_or(1),
            })
            .collect();
        self.tensor.permute(&dims)?.expand(&extents)?.reshape(shape)
    }

    /// The product with another term, summed over the shared names that are not to be kept.
    fn times(self, other: Term, keep: impl Fn(Label) -> bool) -> Result<Term> {
        let a = self.reduced(|l| other.has(l) || keep(l))?;
        let b = other.reduced(|l| a.has(l) || keep(l))?;
        let mut extents = Vec::new();
        for &l in a.labels.iter().filter(|&&l| b.has(l)) {
            let (x, y) = (a.extent(l).unwrap_or(1), b.extent(l).unwrap_or(1));
            if x != y && x != 1 && y != 1 {
                return Err(Error::shape(format!("a name stands for extents {x} and {y}")));
            }
            extents.push((l, x.max(y)));
        }
        let shared = |kept: bool| -> Vec<Label> {
            extents.iter().map(|&(l, _)| l).filter(|&l| keep(l) == kept).collect()
        };
        let (batch, summed) = (shared(true), shared(false));
        let left: Vec<Label> = a.labels.iter().copied().filter(|&l| !b.has(l)).collect();
        let right: Vec<Label> = b.labels.iter().copied().filter(|&l| !a.has(l)).collect();
        let extent = |l: &Label| -> usize {
            let both = extents.iter().find(|(other, _)| other == l).map(|&(_, n)| n);
            both.or(a.extent(*l)).or(b.extent(*l)).unwrap_or(1)
        };
        let size = |labels: &[Label]| labels.iter().map(extent).product::<usize>() as i64;
        let (p, m, k, n) = (size(&batch), size(&left), size(&summed), size(&right));
        let x = a.laid(&[&batch[..], &left, &summed].concat(), &b, &[p, m, k])?;
        let y = b.laid(&[&batch[..], &summed, &right].concat(), &a, &[p, k, n])?;
        let labels = [&batch[..], &left, &right].concat();
        let shape: Vec<usize> = labels.iter().map(extent).collect();
        // A sum has widened whole numbers.
        let common = x.dtype().promote(y.dtype());
        Ok(Term { tensor: x.to(common)?.matmul(&y.to(common)?)?.reshape(&ints(&shape))?, labels })
    }
}

/// The places of a name that comes twice, in ascending order.
fn repeated(labels: &[Label]) -> Option<(usize, usize)> {
    (0..labels.len()).find_map(|j| labels[..j].iter().position(|l| *l == labels[j]).map(|i| (i, j)))
}

/// The names that a part of the equation gives, with `hidden` dimensions for its ellipsis.
fn names(text: &str, hidden: usize) -> Result<Vec<Label>> {
    let mut out = Vec::new();
    let (before, after) = text.split_once("...").unwrap_or((text, ""));
    for (i, part) in [before, after].into_iter().enumerate() {
        for c in part.chars() {
            if !c.is_ascii_alphabetic() {
                return Err(Error::value(format!("'{c}' in '{text}' names no dimension")));
            }
            out.push(c as Label);
        }
        if i == 0 {
            out.extend((0..hidden as Label).rev().map(|k| ELLIPSIS + k));
        }
    }
    Ok(out)
}

/// Names of the result where the equation gives none: the ellipsis, then the letters that come once, in their order.
fn implied(parts: &[Vec<Label>]) -> Vec<Label> {
    let all: Vec<Label> = parts.concat();
    let mut out: Vec<Label> = all.iter().copied().filter(|&l| l >= ELLIPSIS).collect();
    out.sort_unstable_by(|a, b| b.cmp(a));
    out.dedup();
    let mut once: Vec<Label> = all
        .iter()
        .copied()
        .filter(|l| *l < ELLIPSIS && all.iter().filter(|o| *o == l).count() == 1)
        .collect();
    once.sort_unstable();
    out.extend(once);
    out
}

fn evaluate(equation: &str, tensors: &[Tensor]) -> Result<Tensor> {
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (inputs, output) = match equation.split_once("->") {
        Some((inputs, output)) => (inputs.to_string(), Some(output.to_string())),
        None => (equation, None),
    };
    let texts: Vec<&str> = inputs.split(',').collect();
    if texts.len() != tensors.len() {
        let what = format!("the equation names {} operands, {} are given", texts.len(), tensors.len());
        return Err(Error::value(what));
    }
    let mut hidden = 0;
    for (text, tensor) in texts.iter().zip(tensors).filter(|(text, _)| text.contains("...")) {
        hidden = hidden.max(tensor.rank().saturating_sub(text.chars().count() - 3));
    }
    let mut terms =
        texts.iter().zip(tensors).map(|(text, t)| Term::new(text, t)).collect::<Result<Vec<_>>>()?;
    let given = || texts.iter().map(|text| names(text, if text.contains("...") { hidden } else { 0 }));
    let wanted = match &output {
        Some(text) => names(text, if text.contains("...") { hidden } else { 0 })?,
        None => implied(&given().collect::<Result<Vec<_>>>()?),
    };
    if repeated(&wanted).is_some() {
        return Err(Error::value("the result names a dimension twice"));
    }
    if let Some(&l) = wanted.iter().find(|&&l| !terms.iter().any(|t| t.has(l))) {
        let name = char::from_u32(l).unwrap_or('.');
        return Err(Error::value(format!("the result names '{name}', which no operand has")));
    }
    let mut terms = terms.drain(..);
    let mut total = terms.next().ok_or_else(|| Error::value("einsum needs at least one operand"))?;
    let mut rest: Vec<Term> = terms.collect();
    while !rest.is_empty() {
        let next = rest.remove(0);
        total = total.times(next, |l| wanted.contains(&l) || rest.iter().any(|t| t.has(l)))?;
    }
    let total = total.reduced(|l| wanted.contains(&l))?;
    let order: Vec<i64> =
        wanted.iter().filter_map(|l| total.labels.iter().position(|o| o == l)).map(|d| d as i64).collect();
    total.tensor.permute(&order)
}

impl Tensor {
    /// Sums of products over the dimensions that `equation` names and does not keep, such as "bij,bjk->bik"; "..." stands
    /// for leading dimensions that broadcast.
    #[track_caller]
    pub fn einsum(equation: &str, tensors: &[Tensor]) -> Result<Tensor> {
        let common = tensors.iter().map(Tensor::dtype).reduce(|a, b| a.promote(b));
        let tensors =
            tensors.iter().map(|t| t.to(common.unwrap_or(t.dtype()))).collect::<Result<Vec<_>>>()?;
        evaluate(equation, &tensors).map_err(explain("einsum"))
    }
}
