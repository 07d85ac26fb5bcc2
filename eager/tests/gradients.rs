//! First and second derivatives of every op's gradient rule against finite differences in float64, along random directions.

use eager::{Autograd, GradOptions};
use runtime::samples::{Made, SampleArg, Samples, make, tensor};
use runtime::table::{Effect, OpDef, Vjp, table};
use runtime::{Arg, DType, Origin, Result, Tensor, door};

/// Random numbers in the shape of a tensor.
fn like(t: &Tensor, seed: u64) -> Tensor {
    let SampleArg::Tensor(sample) = tensor(DType::F64, t.shape(), -1.0, 1.0) else { unreachable!() };
    sample.make(seed).unwrap()
}

/// Weights of classes, which are constants of a loss (as in torch).
const CONSTANT: &[(&str, usize)] =
    &[("cross_entropy", 2), ("cross_entropy_backward", 3), ("nll_loss", 2), ("nll_loss_backward", 3)];

/// Operands of which one triangle is read; their gradient is that of symmetric matrices (as in torch).
const SYMMETRIC: &[&str] = &["linalg_cholesky_ex", "linalg_eigh"];

/// Operands of which the lower triangle is read, though their gradient is that of the whole product.
const LOWER: &[(&str, usize)] = &[("cholesky_solve", 1)];

/// The operands of a case and the places of the float tensors among its flattened tensors.
struct Case {
    op: &'static OpDef,
    made: Vec<Made>,
}

impl Case {
    /// The float64 tensors, lists flattened.
    fn leaves(&self) -> Vec<Tensor> {
        let all = self.made.iter().enumerate().flat_map(|(i, m)| match m {
            Made::Tensor(_) if CONSTANT.contains(&(self.op.name, i)) => Vec::new(),
            Made::Tensor(t) => vec![t.clone()],
            Made::Tensors(list) => list.clone(),
            Made::Host(_) => Vec::new(),
        });
        all.filter(|t| t.dtype() == DType::F64).collect()
    }

    /// The sum of the float64 outputs times fixed random numbers; `None` where there is no such output.
    fn value(&self, leaves: &[Tensor]) -> Result<Option<Tensor>> {
        let mut next = leaves.iter();
        let mut swap =
            |t: &Tensor| if t.dtype() == DType::F64 { next.next().unwrap().clone() } else { t.clone() };
        let halves = |t: Tensor| t.add(&t.transpose(-2, -1)?)?.mul(0.5);
        let made: Vec<Made> = self
            .made
            .iter()
            .enumerate()
            .map(|(i, m)| match m {
                Made::Tensor(t) if CONSTANT.contains(&(self.op.name, i)) => Made::Tensor(t.clone()),
                Made::Tensor(t) if LOWER.contains(&(self.op.name, i)) => {
                    Made::Tensor(swap(t).tril(0).unwrap())
                }
                Made::Tensor(t) if SYMMETRIC.contains(&self.op.name) => {
                    Made::Tensor(halves(swap(t)).unwrap())
                }
                Made::Tensor(t) => Made::Tensor(swap(t)),
                Made::Tensors(list) => Made::Tensors(list.iter().map(&mut swap).collect()),
                Made::Host(h) => Made::Host(h.clone()),
            })
            .collect();
        let args: Vec<Arg> = made.iter().map(Made::as_arg).collect();
        let mut total: Option<Tensor> = None;
        for (i, y) in door::bind(self.op, &args, Origin::caller())?.iter().enumerate() {
            if y.dtype() == DType::F64 {
                let part = y.mul(&like(y, 90 + i as u64))?.sum(&[], false)?;
                total = Some(match total {
                    Some(sum) => sum.add(&part)?,
                    None => part,
                });
            }
        }
        Ok(total)
    }

    /// The gradients of `value` at `leaves`, zeros where none flow, as a function of the leaves where `again`.
    fn gradients(&self, leaves: &[Tensor], again: bool) -> Result<Option<(Vec<Tensor>, Vec<Tensor>)>> {
        let leaves = leaves.iter().map(|t| t.alias().requires_grad_(true)).collect::<Result<Vec<_>>>()?;
        let Some(total) = self.value(&leaves)?.filter(|t| t.requires_grad()) else { return Ok(None) };
        let inputs: Vec<&Tensor> = leaves.iter().collect();
        let options = GradOptions { create_graph: again, allow_unused: true, ..GradOptions::default() };
        let found = eager::grad(&[&total], &inputs, options)?;
        let each = found.into_iter().zip(&leaves);
        let filled = each
            .map(|(g, x)| g.map_or_else(|| x.detach()?.zeros_like(None), Ok))
            .collect::<Result<Vec<_>>>()?;
        Ok(Some((leaves, filled)))
    }
}

fn dot(a: &[Tensor], b: &[Tensor]) -> Result<f64> {
    let mut sum = 0.0;
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x.detach()?.to_f64_vec()?, y.detach()?.to_f64_vec()?);
        sum += x.iter().zip(&y).map(|(a, b)| a * b).sum::<f64>();
    }
    Ok(sum)
}

fn moved(leaves: &[Tensor], by: f64, along: &[Tensor]) -> Result<Vec<Tensor>> {
    leaves.iter().zip(along).map(|(x, v)| x.add(&v.mul(by)?)).collect()
}

fn close(analytic: f64, numeric: f64, tolerance: f64) -> bool {
    (analytic - numeric).abs() <= tolerance * (1.0 + analytic.abs() + numeric.abs())
}

/// What is wrong with a case's derivatives, if anything.
fn check(case: &Case) -> Result<Option<String>> {
    let leaves = case.leaves();
    let at =
        |x: &[Tensor]| -> Result<f64> { case.value(x)?.map_or(Ok(0.0), |t| t.item().map(|s| s.to_f64())) };
    if leaves.is_empty() || !at(&leaves)?.is_finite() {
        return Ok(None);
    }
    let Some((_, first)) = case.gradients(&leaves, false)? else { return Ok(None) };
    for seed in 0..2 {
        let v: Vec<Tensor> =
            leaves.iter().enumerate().map(|(i, x)| like(x, 1000 * seed + i as u64)).collect();
        let h = 1e-6;
        let numeric = (at(&moved(&leaves, h, &v)?)? - at(&moved(&leaves, -h, &v)?)?) / (2.0 * h);
        let analytic = dot(&first, &v)?;
        if !close(analytic, numeric, 1e-6) {
            return Ok(Some(format!("first derivative {analytic}, finite difference {numeric}")));
        }
        let u: Vec<Tensor> =
            leaves.iter().enumerate().map(|(i, x)| like(x, 7000 + 1000 * seed + i as u64)).collect();
        let slope =
            |x: &[Tensor]| -> Result<f64> { case.gradients(x, false)?.map_or(Ok(0.0), |(_, g)| dot(&g, &u)) };
        let h = 1e-5;
        let numeric = (slope(&moved(&leaves, h, &v)?)? - slope(&moved(&leaves, -h, &v)?)?) / (2.0 * h);
        let Some((own, first)) = case.gradients(&leaves, true)? else { continue };
        let mut total: Option<Tensor> = None;
        for (g, u) in first.iter().zip(&u) {
            if g.requires_grad() {
                let part = g.mul(u)?.sum(&[], false)?;
                total = Some(match total {
                    Some(sum) => sum.add(&part)?,
                    None => part,
                });
            }
        }
        let analytic = match total {
            None => 0.0,
            Some(total) => {
                let inputs: Vec<&Tensor> = own.iter().collect();
                let options = GradOptions { allow_unused: true, ..GradOptions::default() };
                let second = eager::grad(&[&total], &inputs, options)?;
                let pairs = second.into_iter().zip(&v).filter_map(|(g, v)| Some((g?, v.clone())));
                let (g, v): (Vec<Tensor>, Vec<Tensor>) = pairs.unzip();
                dot(&g, &v)?
            }
        };
        if !close(analytic, numeric, 1e-5) {
            return Ok(Some(format!("second derivative {analytic}, finite difference {numeric}")));
        }
    }
    Ok(None)
}

#[test]
fn every_rule_agrees_with_finite_differences_twice() {
    let mut bad = Vec::new();
    for op in table() {
        if !matches!(op.vjp, Vjp::Rule(..)) || matches!(op.effect, Effect::Read | Effect::Write) {
            continue;
        }
        let mut samples = Samples::new(DType::F64);
        (op.samples)(&mut samples);
        for (i, case) in samples.cases.iter().enumerate() {
            // Stated float elements are there for ties, where there is no derivative.
            let tied = case
                .iter()
                .any(|a| matches!(a, SampleArg::Tensor(t) if t.exact.is_some() && t.dtype.is_float()));
            let case = Case { op, made: make(case, 17 + i as u64).unwrap() };
            let large = case.leaves().iter().map(Tensor::numel).sum::<usize>() > 300;
            // The padding row of a table has no gradient though the result depends on it (torch).
            let padded =
                op.name.starts_with("embedding") && case.made.len() > 2 + usize::from(op.name != "embedding");
            if padded || (tied && !op.name.starts_with("prod")) || large {
                continue;
            }
            match check(&case) {
                Ok(None) => {}
                Ok(Some(what)) => bad.push(format!("{} sample {i}: {what}", op.name)),
                Err(e) => bad.push(format!("{} sample {i}: {e}", op.name)),
            }
        }
    }
    assert!(bad.is_empty(), "{} cases:\n{}", bad.len(), bad.join("\n"));
}
