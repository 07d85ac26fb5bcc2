//! Programs that write in place under autograd, beside what PyTorch stored in `tests/reference/inplace.json`: values,
//! gradients, and which it refuses, because a tensor that a gradient needs was written over or a leaf would be.

use lab::execute::execute;
use lab::modes::Mode;
use lab::program::{Entry, Template};
use runtime::{DType, Error, ErrorKind, Tensor};
use script::tree::Program;
use serde_json::Value as Json;
use std::path::Path;
use std::sync::Arc;

/// What PyTorch refuses and we do not.
const ALLOWED: &[(&str, &str)] = &[
    ("h.asinh_()", "PyTorch has no gradient for asinh in place; ours is that of asinh"),
    ("h.atanh_()", "PyTorch has no gradient for atanh in place; ours is that of atanh"),
    ("h.acosh_()", "PyTorch has no gradient for acosh in place; ours is that of acosh"),
];

struct Case {
    statements: String,
    entry: Entry,
    json: Json,
}

fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn cases() -> (Json, Vec<Case>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/inplace.json");
    let file: Json = serde_json::from_str(&std::fs::read_to_string(path).expect("the file")).expect("JSON");
    let cases = file["cases"].as_array().expect("cases").iter().map(|json| {
        let text = json["text"].as_str().expect("a text");
        let program = Program::parse("program.py", text).unwrap_or_else(|e| panic!("{text}\n{e}"));
        let entry = Entry::of(Arc::new(program), "forward").expect("forward");
        let statements = json["statements"].as_str().expect("statements").to_string();
        Case { statements, entry, json: json.clone() }
    });
    (file["about"].clone(), cases.collect())
}

fn vector(json: &Json) -> Tensor {
    let values = numbers(json);
    Tensor::from_slice(&values, &[values.len()]).expect("a vector")
}

/// To what PyTorch's own roundings leave: its slopes of hardsigmoid are float32, its trigamma is good to 1e-9.
fn close(got: &[f64], want: &[f64]) -> bool {
    let near = |(g, w): (&f64, &f64)| (g - w).abs() <= 1e-12 + 1e-7 * w.abs();
    got.len() == want.len() && got.iter().zip(want).all(near)
}

type Ran = Result<(Vec<f64>, Vec<Vec<f64>>), Error>;

fn run(case: &Case, about: &Json, mode: &Mode) -> Ran {
    let (x, w, cotangent) = (vector(&about["x"]), vector(&about["w"]), vector(&about["cotangent"]));
    assert_eq!(x.dtype(), DType::F64);
    let entry = case.entry.in_mode(mode, true)?;
    let function = entry.bound(vec![Template::Tensor(0), Template::Tensor(1)]);
    let flat = |args: &[Tensor]| Ok(vec![function(args)?[0].reshape(&[-1])?]);
    let (outputs, grads) = execute(mode, true, &flat, &[x, w], &[Some(cotangent)], &[0, 1])?;
    // No gradient is a gradient of zero: what flows nowhere is not told apart here.
    let grads = grads.into_iter().map(|g| g.map_or(Ok(vec![0.0; 4]), |g| g.to_f64_vec()));
    Ok((outputs[0].detach()?.to_f64_vec()?, grads.collect::<Result<_, _>>()?))
}

/// What is wrong with a run, if anything.
fn judge(case: &Case, ran: Ran, grads: &str) -> Option<String> {
    if case.json.get("fails").is_some() {
        return match ran {
            Err(e) if e.kind() == ErrorKind::InPlace => None,
            Err(e) => Some(format!("another error than PyTorch's: {e}")),
            Ok(_) => Some(format!("PyTorch refuses: {}", case.json["why"])),
        };
    }
    let (out, found) = match ran {
        Ok(ran) => ran,
        Err(e) => return Some(format!("{e}")),
    };
    let want = numbers(&case.json["out"]);
    if !close(&out, &want) {
        return Some(format!("values {out:?} instead of {want:?}"));
    }
    let wanted = case.json.get(grads).unwrap_or(&case.json["grads"]).as_array().expect("gradients");
    found.iter().zip(wanted).zip(["x", "w"]).find_map(|((got, want), name)| {
        let want = if want.is_null() { vec![0.0; 4] } else { numbers(want) };
        (!close(got, &want)).then(|| format!("gradient of {name}: {got:?} instead of {want:?}"))
    })
}

fn agrees(name: &str, refuses: bool, but: &[(&str, &str)]) {
    let (about, cases) = cases();
    assert!(cases.len() > 150);
    let mode = Mode::named(name).expect("a mode");
    let mut wrong = Vec::new();
    for case in &cases {
        if case.json.get("fails").is_some() && !refuses {
            continue;
        }
        let grads = if name == "torch.trace" { "trace_grads" } else { "grads" };
        let what = judge(case, run(case, &about, mode), grads);
        if but.iter().any(|(s, _)| *s == case.statements) {
            assert!(what.is_some(), "{} is as in PyTorch", case.statements);
        } else if let Some(what) = what {
            wrong.push(format!("{} ({}): {what}", case.statements, case.json["start"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {} in {name}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn torch_is_pytorch() {
    agrees("torch", true, ALLOWED);
}

#[test]
fn torch_script_is_pytorch() {
    agrees("torch.script", true, ALLOWED);
}

#[test]
fn lazy_is_pytorch() {
    agrees("lazy", true, ALLOWED);
}

/// What these make of writes in place has none: the graph is functional, so nothing that a gradient needs is written over.
#[test]
fn graphs_have_pytorchs_gradients_where_it_has_some() {
    agrees("torch.trace", false, &[]);
    agrees("torch.compile", false, &[]);
}
