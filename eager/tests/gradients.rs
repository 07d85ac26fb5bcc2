//! Every gradient of the op table: rules agree with finite differences in float64, first and second derivatives, on every
//! sample; no op stops a gradient silently.

use eager::testing::{GradcheckOptions, gradcheck_report, gradgradcheck_report};
use eager::{Autograd, GradOptions};
use runtime::error::ErrorKind;
use runtime::samples::{Made, SampleArg, Samples, make};
use runtime::table::{Effect, OpDef, Vjp, table};
use runtime::{Arg, DType, Origin, Result, Tensor, door};

const WEIGHTS: &str = "weights of classes are constants of a loss, as in torch";
const SLOPE: &str = "the slope of a piecewise linear function is flat in its argument";

const REFUSED: &str = "torch defines none; asking for it is an error that says so";

/// Float operands to which no gradient flows though the result depends on them (op, operand, why).
const CONSTANT: &[(&str, usize, &str)] = &[
    ("cross_entropy", 2, WEIGHTS),
    ("cross_entropy_backward", 3, WEIGHTS),
    ("nll_loss", 2, WEIGHTS),
    ("nll_loss_backward", 3, WEIGHTS),
    ("zeta", 0, REFUSED),
    ("igamma", 0, REFUSED),
    ("igammac", 0, REFUSED),
    ("set_data", 1, "elements come without their history"),
];

/// Float operands to which no gradient flows because it is zero, which finite differences check (op, operand, why).
const FLAT: &[(&str, usize, &str)] = &[
    ("threshold_backward", 1, SLOPE),
    ("hardtanh_backward", 1, SLOPE),
    ("hardsigmoid_backward", 1, SLOPE),
    ("leaky_relu_backward", 1, SLOPE),
    ("hardshrink_backward", 1, SLOPE),
    ("softshrink_backward", 1, SLOPE),
    ("nll_loss_backward", 1, "the gradient of a linear function"),
    ("hinge_embedding_loss", 1, "the target only says which of two distances counts"),
    ("copy", 0, "the old elements are overwritten"),
    ("linalg_pinv", 1, "a threshold for singular values"),
    ("linalg_pinv", 2, "a threshold for singular values"),
];

/// Operands of which one triangle is read; their gradient is that of symmetric matrices (as in torch).
const SYMMETRIC: &[&str] = &["linalg_cholesky_ex", "linalg_eigh"];

/// Operands of which the lower triangle is read, though their gradient is that of the whole product.
const LOWER: &[(&str, usize)] = &[("cholesky_solve", 1)];

/// Samples whose gradient is not that of finite differences (op, sample, why).
const DIFFERS: &[(&str, usize, &str)] = &[
    ("sort", 5, "the middle one of three equal elements stays where it is whichever of them moves"),
    ("mode", 3, "an element of several equal ones is named, and which changes with any of them"),
    ("linalg_det", 3, "the gradient of a singular matrix goes through its inverse"),
    ("set_data", 0, "the history is that of the elements which were replaced"),
];

/// Ops whose gradient is zero though their result is not constant nearby, and why.
const CUT: &[(&str, &str)] = &[("detach", "stopping gradients is what it is for")];

/// Any other operand whose gradient is missing is a failure, and so is a listed one that has a gradient.
fn listed(list: &[(&str, usize, &str)], op: &OpDef, operand: usize) -> bool {
    list.iter().any(|(name, at, _)| (*name, *at) == (op.name, operand))
}

/// Jacobians of at most so many elements are compared whole, larger ones along a random direction.
const WHOLE: usize = 400;

/// A sample of an op, made.
struct Case {
    op: &'static OpDef,
    sample: usize,
    made: Vec<Made>,
    /// Float elements are stated, which is done for ties: there a derivative lies between the one-sided ones.
    tied: bool,
}

/// Calls `f` with every float64 sample of every op that a gradient could flow through.
fn each_case(mut f: impl FnMut(&Case)) {
    for op in table() {
        if matches!(op.effect, Effect::Read | Effect::Write) {
            continue;
        }
        let mut samples = Samples::new(DType::F64);
        (op.samples)(&mut samples);
        for (sample, args) in samples.cases.iter().enumerate() {
            let tied = args
                .iter()
                .any(|a| matches!(a, SampleArg::Tensor(t) if t.exact.is_some() && t.dtype.is_float()));
            let case = Case { op, sample, made: make(args, 17 + sample as u64).unwrap(), tied };
            f(&case);
        }
    }
}

impl Case {
    /// The float64 tensors, lists flattened, each with its operand's place.
    fn floats(&self) -> Vec<(usize, Tensor)> {
        let all = self.made.iter().enumerate().flat_map(|(i, m)| match m {
            Made::Tensor(t) => vec![(i, t.clone())],
            Made::Tensors(list) => list.iter().map(|t| (i, t.clone())).collect(),
            Made::Host(_) => Vec::new(),
        });
        all.filter(|(_, t)| t.dtype() == DType::F64).collect()
    }

    /// The op with `floats` in the places of its float64 tensors.
    fn run(&self, floats: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut next = floats.iter();
        let mut swap =
            |t: &Tensor| if t.dtype() == DType::F64 { next.next().unwrap().clone() } else { t.clone() };
        let halves = |t: Tensor| t.add(&t.transpose(-2, -1)?)?.mul(0.5);
        let made: Vec<Made> = self
            .made
            .iter()
            .enumerate()
            .map(|(i, m)| match m {
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
        Ok(door::bind(self.op, &args, Origin::caller())?.into_iter().collect())
    }

    /// Whether finite differences make sense: everything is finite, and no output is coarser than float64.
    fn measurable(&self) -> bool {
        let finite = |t: &Tensor| t.to_f64_vec().unwrap().iter().all(|v| v.is_finite());
        let fine = |t: &Tensor| finite(t) && (t.dtype() == DType::F64 || !t.dtype().is_float());
        let floats: Vec<Tensor> = self.floats().into_iter().map(|(_, t)| t).collect();
        floats.iter().all(finite) && self.run(&floats).unwrap().iter().all(fine)
    }

    /// What the derivatives up to `order` do wrong.
    fn check(&self, order: usize) -> Result<Vec<String>> {
        let mut leaves = Vec::new();
        for (i, t) in self.floats() {
            let t = t.copy()?;
            leaves.push(if listed(CONSTANT, self.op, i) { t } else { t.requires_grad_(true)? });
        }
        if !leaves.iter().any(Autograd::requires_grad) {
            return Ok(Vec::new());
        }
        let inputs = leaves.iter().map(Tensor::numel).sum::<usize>();
        let outputs = self.run(&leaves)?.iter().map(Tensor::numel).sum::<usize>();
        let whole = GradcheckOptions { one_sided: self.tied, ..GradcheckOptions::default() };
        let fast = |entries: usize| GradcheckOptions { fast_mode: entries > WHOLE && !self.tied, ..whole };
        let mut found = gradcheck_report(|x| self.run(x), &leaves, fast(inputs * outputs))?;
        // Beside a tie the first derivative jumps, so that there is no second.
        if order == 2 && !self.tied {
            let again = fast((inputs + outputs) * inputs);
            found.extend(gradgradcheck_report(|x| self.run(x), &leaves, None, again)?);
        }
        Ok(found.iter().map(|m| format!("output {}, input {}: {}", m.output, m.input, m.message)).collect())
    }
}

#[test]
fn every_rule_agrees_with_finite_differences_twice() {
    let (mut bad, mut checked) = (Vec::new(), 0);
    each_case(|case| {
        let Case { op, sample, made, .. } = case;
        // The padding row of a table has no gradient though the result depends on it (torch).
        let padded = op.name.starts_with("embedding") && made.len() > 2 + usize::from(op.name != "embedding");
        if !matches!(op.vjp, Vjp::Rule(..)) || padded || !case.measurable() {
            return;
        }
        checked += 1;
        let differs = DIFFERS.iter().any(|(name, at, _)| (*name, *at) == (op.name, *sample));
        match case.check(2) {
            Ok(found) if differs => {
                if found.is_empty() {
                    bad.push(format!("{} sample {sample}: take it off the list", op.name));
                }
            }
            Ok(found) => bad.extend(found.iter().map(|what| format!("{} sample {sample}: {what}", op.name))),
            Err(e) => bad.push(format!("{} sample {sample}: {e}", op.name)),
        }
    });
    assert!(bad.is_empty(), "{} of {checked} cases:\n{}", bad.len(), bad.join("\n"));
}

/// The gradient of the sum of the float outputs for each operand alone; `None` where no output has a history.
fn alone(case: &Case, at: usize) -> Result<Option<Option<Tensor>>> {
    let leaves: Vec<Tensor> = case
        .floats()
        .iter()
        .enumerate()
        .map(|(k, (_, t))| if k == at { t.alias().requires_grad_(true) } else { Ok(t.alias()) })
        .collect::<Result<_>>()?;
    let outputs: Vec<Tensor> = case.run(&leaves)?.into_iter().filter(Autograd::requires_grad).collect();
    if outputs.is_empty() {
        return Ok(None);
    }
    let ones = outputs.iter().map(|t| t.ones_like(None)).collect::<Result<Vec<_>>>()?;
    let seeds: Vec<Option<&Tensor>> = ones.iter().map(Some).collect();
    let options = GradOptions { grad_outputs: Some(&seeds), allow_unused: true, ..GradOptions::default() };
    let ys: Vec<&Tensor> = outputs.iter().collect();
    Ok(Some(eager::grad(&ys, &[&leaves[at]], options)?.remove(0)))
}

#[test]
fn no_op_stops_a_gradient_silently() {
    let mut bad = Vec::new();
    each_case(|case| {
        let floats = case.floats();
        let outputs = case.run(&floats.iter().map(|(_, t)| t.clone()).collect::<Vec<_>>()).unwrap();
        let differentiable = outputs.iter().any(|t| t.dtype().is_float());
        let name = format!("{} sample {}", case.op.name, case.sample);
        for (at, (operand, _)) in floats.iter().enumerate() {
            match (&case.op.vjp, alone(case, at)) {
                (Vjp::Rule(..), Ok(None)) if !differentiable => {}
                (Vjp::Rule(..), Ok(Some(gradient))) => {
                    let without = listed(CONSTANT, case.op, *operand) || listed(FLAT, case.op, *operand);
                    match (gradient, without) {
                        (Some(_), false) | (None, true) => {}
                        (None, false) => bad.push(format!("{name}: no gradient for operand {operand}")),
                        (Some(_), true) => bad.push(format!("{name}: take operand {operand} off the list")),
                    }
                }
                (Vjp::Rule(..), Ok(None)) => bad.push(format!("{name}: no output has a history")),
                (Vjp::Zero, Ok(None)) => {}
                (Vjp::None(_), Ok(None)) if !differentiable => {}
                (Vjp::None(why), Err(e)) => {
                    if e.kind() != ErrorKind::Gradient || !e.message().contains(why) {
                        bad.push(format!("{name}: {e} does not say why"));
                    }
                }
                (Vjp::Zero | Vjp::None(_), Ok(_)) => bad.push(format!("{name}: has a gradient")),
                (Vjp::Rule(..), Err(e))
                    if e.kind() == ErrorKind::Gradient && listed(CONSTANT, case.op, *operand) => {}
                (_, Err(e)) => bad.push(format!("{name}: {e}")),
            }
        }
    });
    assert!(bad.is_empty(), "{} cases:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn what_has_a_zero_gradient_is_constant_nearby() {
    let (mut bad, mut checked) = (Vec::new(), 0);
    each_case(|case| {
        if !matches!(case.op.vjp, Vjp::Zero) || !case.measurable() {
            return;
        }
        if case.floats().is_empty() {
            return;
        }
        checked += 1;
        match case.check(1) {
            Ok(found) => match CUT.iter().find(|(name, _)| *name == case.op.name) {
                Some(_) if found.is_empty() => bad.push(format!("{}: take it off the list", case.op.name)),
                Some(_) => {}
                None => {
                    bad.extend(found.iter().map(|w| format!("{} sample {}: {w}", case.op.name, case.sample)))
                }
            },
            Err(e) => bad.push(format!("{} sample {}: {e}", case.op.name, case.sample)),
        }
    });
    assert!(bad.is_empty(), "{} of {checked} cases:\n{}", bad.len(), bad.join("\n"));
}
