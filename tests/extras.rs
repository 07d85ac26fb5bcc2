//! torch's autograd beyond gradients of operations, beside what PyTorch stored in `tests/reference/extras.json`: functions
//! of one's own, hooks, checkpoints, the search for NaN, what may be walked again, what must not be written, what is unused.
//! Each behaviour has the name of its function in `tests/reference/make_extras.py`, and does the same.

#[path = "extras/functions.rs"]
mod functions;
#[path = "extras/graphs.rs"]
mod graphs;
#[path = "extras/hooks.rs"]
mod hooks;

use serde_json::Value as Json;
use std::collections::BTreeMap;
use trifold::torch::{Autograd as _, GradOptions, grad};
use trifold::{Error, ErrorKind, Result, Tensor};

/// What a behaviour comes to.
enum Outcome {
    /// Numbers; `None` where there is no gradient.
    Values(Vec<Option<f64>>),
    /// What a search for NaN says: operation, operand, and whether it names the line of the forward.
    Nan(Option<(String, u64, bool)>),
}

type Behaviour = (&'static str, fn() -> Result<Outcome>);

/// Where we are not PyTorch, and why.
const APART: &[(&str, &str)] = &[(
    "graph_that_saved_a_number_walked_twice",
    "PyTorch makes a tensor of the number 3 and gives it up; here it stays a number, and the graph can be walked again",
)];

/// What can be taken apart into numbers.
trait Numbers {
    fn put(&self, out: &mut Vec<Option<f64>>);
}

impl Numbers for Tensor {
    fn put(&self, out: &mut Vec<Option<f64>>) {
        let plain = self.detach().and_then(|t| t.to_f64_vec()).expect("a tensor in memory");
        out.extend(plain.into_iter().map(Some));
    }
}

impl Numbers for f64 {
    fn put(&self, out: &mut Vec<Option<f64>>) {
        out.push(Some(*self));
    }
}

impl Numbers for bool {
    fn put(&self, out: &mut Vec<Option<f64>>) {
        out.push(Some(*self as u8 as f64));
    }
}

impl Numbers for usize {
    fn put(&self, out: &mut Vec<Option<f64>>) {
        out.push(Some(*self as f64));
    }
}

impl<T: Numbers> Numbers for Option<T> {
    fn put(&self, out: &mut Vec<Option<f64>>) {
        match self {
            Some(value) => value.put(out),
            None => out.push(None),
        }
    }
}

impl<T: Numbers> Numbers for Vec<T> {
    fn put(&self, out: &mut Vec<Option<f64>>) {
        self.iter().for_each(|v| v.put(out));
    }
}

/// Numbers of all parts, in order.
fn flat(parts: &[&dyn Numbers]) -> Result<Outcome> {
    let mut out = Vec::new();
    parts.iter().for_each(|p| p.put(&mut out));
    Ok(Outcome::Values(out))
}

fn vector(values: &[f64]) -> Tensor {
    Tensor::from_slice(values, &[values.len()]).expect("values fill their shape")
}

fn leaf(values: &[f64]) -> Tensor {
    vector(values).requires_grad_(true).expect("a float")
}

fn total(t: &Tensor) -> Result<Tensor> {
    t.sum(&[], false)
}

type Gradients = Result<Vec<Option<Tensor>>>;

fn gradients(outputs: &[&Tensor], inputs: &[&Tensor]) -> Gradients {
    grad(outputs, inputs, GradOptions::default())
}

/// Gradients after which the graph can be walked again.
fn retaining(outputs: &[&Tensor], inputs: &[&Tensor]) -> Gradients {
    grad(outputs, inputs, GradOptions { retain_graph: Some(true), ..GradOptions::default() })
}

/// Gradients that can be differentiated.
fn creating(outputs: &[&Tensor], inputs: &[&Tensor]) -> Gradients {
    grad(outputs, inputs, GradOptions { create_graph: true, ..GradOptions::default() })
}

/// Gradients, none where an input is not used.
fn unused(outputs: &[&Tensor], inputs: &[&Tensor]) -> Gradients {
    grad(outputs, inputs, GradOptions { allow_unused: true, ..GradOptions::default() })
}

/// The one gradient of several that there are.
fn one(gradients: Vec<Option<Tensor>>) -> Tensor {
    gradients.into_iter().next().flatten().expect("a gradient")
}

/// PyTorch's kind of an error, by ours and a word of the message.
const KINDS: &[(&str, ErrorKind, &str)] = &[
    ("freed", ErrorKind::Gradient, "second time"),
    ("overwritten", ErrorKind::InPlace, "modified by an in-place operation"),
    ("leaf in place", ErrorKind::InPlace, "leaf tensor that requires grad"),
    ("unused", ErrorKind::Gradient, "do not depend on input"),
    ("no history", ErrorKind::Gradient, "does not require grad"),
    ("several elements", ErrorKind::Gradient, "only for tensors of one element"),
    ("shape", ErrorKind::Gradient, "gradient"),
    ("count", ErrorKind::Gradient, "gradients for"),
    ("once", ErrorKind::Gradient, "once-differentiable"),
    ("leaf only", ErrorKind::Gradient, "only a leaf"),
    ("no floats", ErrorKind::Gradient, "floating-point"),
];

fn is_kind(error: &Error, kind: &str) -> bool {
    let known = KINDS.iter().find(|(name, ..)| *name == kind);
    known.is_some_and(|(_, of, word)| error.kind() == *of && error.message().contains(word))
}

/// What is wrong with an outcome, if anything.
fn judge(stored: &Json, outcome: Result<Outcome>) -> Option<String> {
    if let Some(kind) = stored["error"].as_str() {
        return match outcome {
            Err(e) if is_kind(&e, kind) => None,
            Err(e) => Some(format!("another error than '{kind}': {e}")),
            Ok(_) => Some(format!("no error, but PyTorch says: {}", stored["message"])),
        };
    }
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(e) => return Some(e.to_string()),
    };
    match outcome {
        Outcome::Values(values) => {
            let want: Vec<Option<f64>> = stored["values"].as_array()?.iter().map(Json::as_f64).collect();
            let near = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() <= 1e-14 + 1e-13 * b.abs(),
                (a, b) => a == b,
            };
            let same = values.len() == want.len() && values.iter().zip(&want).all(near);
            (!same).then(|| format!("{values:?} instead of {want:?}"))
        }
        Outcome::Nan(found) => {
            let want = stored["op"].as_str().map(|op| {
                (
                    op.to_string(),
                    stored["operand"].as_u64().expect("a place"),
                    stored["line"] == Json::Bool(true),
                )
            });
            (found != want).then(|| format!("{found:?} instead of {want:?}"))
        }
    }
}

fn stored() -> BTreeMap<String, Json> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/extras.json");
    let file: Json = serde_json::from_str(&std::fs::read_to_string(path).expect("the file")).expect("JSON");
    let behaviours = file["behaviours"].as_object().expect("behaviours");
    behaviours.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn agree(behaviours: &[Behaviour]) {
    let stored = stored();
    let mut wrong = Vec::new();
    for (name, run) in behaviours {
        let what = judge(&stored[*name], run());
        match (APART.iter().find(|(apart, _)| apart == name), what) {
            (None, Some(what)) => wrong.push(format!("{name}: {what}")),
            (Some(_), None) => wrong.push(format!("{name} is as in PyTorch")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), behaviours.len(), wrong.join("\n"));
}

#[test]
fn functions_are_pytorchs() {
    agree(functions::BEHAVIOURS);
}

#[test]
fn hooks_are_pytorchs() {
    agree(hooks::BEHAVIOURS);
}

#[test]
fn graphs_are_pytorchs() {
    agree(graphs::BEHAVIOURS);
}

#[test]
fn every_stored_behaviour_is_compared() {
    let all = functions::BEHAVIOURS.iter().chain(hooks::BEHAVIOURS).chain(graphs::BEHAVIOURS);
    let mut names: Vec<&str> = all.map(|(name, _)| *name).collect();
    names.sort_unstable();
    let stored = stored();
    assert_eq!(names, stored.keys().map(String::as_str).collect::<Vec<_>>());
}
