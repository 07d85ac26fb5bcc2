//! Programs through `lab::program`: made-up arguments, arguments of a file, every mode, what a trace froze.

use lab::modes::{MODES, Mode};
use lab::program::{Entry, RunRequest, from_file, generate, run};
use runtime::{DeviceId, Tensor};
use script::tree::Program;
use std::sync::Arc;

const TEXT: &str = "import torch
from torch import Tensor
from typing import List, Optional

def forward(x: Tensor, n: int, ys: List[Tensor], bias: Optional[Tensor] = None) -> Tensor:
    total = x * 2
    for i in range(n):
        total = total + ys[i % len(ys)] * i
    if bias is not None:
        total = total + bias
    return total.sum(dim=0)

def signed(x: Tensor) -> Tensor:
    if bool(x.sum() > 0):
        return x + 1
    return x - 1
";

fn entry(name: &str) -> Entry {
    Entry::of(Arc::new(Program::parse("program.py", TEXT).unwrap()), name).unwrap()
}

fn request(mode: &'static Mode, grad: bool) -> RunRequest {
    RunRequest { mode, exact: true, grad, device: DeviceId::Cpu }
}

#[test]
fn every_mode_gives_the_same_bits_and_gradients() {
    let entry = entry("forward");
    let arguments = generate(&entry, &[("x".into(), vec![4, 3]), ("ys".into(), vec![4, 3])]).unwrap();
    assert_eq!(arguments.tensors.len(), 4);
    let first = run(&entry, &arguments, &request(&MODES[0], true)).unwrap();
    let names: Vec<&str> = first.tensors.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["out0", "grad.x"]);
    assert_eq!(first.tensors[1].1.to_f64_vec().unwrap(), vec![2.0; 12]);
    for mode in &MODES[1..] {
        let other = run(&entry, &arguments, &request(mode, true)).unwrap();
        for ((name, a), (_, b)) in first.tensors.iter().zip(&other.tensors) {
            assert_eq!(a.to_f64_vec().unwrap(), b.to_f64_vec().unwrap(), "{name} in {}", mode.name);
        }
    }
}

#[test]
fn a_trace_names_the_line_of_the_branch_that_it_froze() {
    let entry = entry("signed");
    let arguments = generate(&entry, &[("x".into(), vec![2])]).unwrap();
    let traced = run(&entry, &arguments, &request(Mode::named("torch.trace").unwrap(), false)).unwrap();
    assert_eq!(traced.frozen.len(), 1, "{:?}", traced.frozen);
    assert!(traced.frozen[0].starts_with("program.py:14:"), "{}", traced.frozen[0]);
    assert!(traced.frozen[0].contains("branch"), "{}", traced.frozen[0]);
    let staged = run(&entry, &arguments, &request(Mode::named("tf.function").unwrap(), false)).unwrap();
    assert!(staged.frozen.is_empty(), "{:?}", staged.frozen);
}

#[test]
fn arguments_come_from_a_file_by_name() {
    let path = std::env::temp_dir().join(format!("trifold-arguments-{}.safetensors", std::process::id()));
    let x = Tensor::from_slice(&[3f32, -1.0], &[2]).unwrap();
    runtime::io::safetensors::write(&path, &[("x", &x)], &Default::default()).unwrap();
    let entry = entry("signed");
    let arguments = from_file(&entry, &path, None).unwrap();
    let out = run(&entry, &arguments, &request(&MODES[0], false)).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(out.tensors[0].1.to_f64_vec().unwrap(), [4.0, 0.0]);
    let missing = from_file(&Entry::of(entry.program.clone(), "forward").unwrap(), &path, None);
    assert!(missing.is_err());
}

#[test]
fn arguments_come_from_a_case_of_a_reference_file() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let entry = Entry::open(&folder.join("programs/lstm.py"), "forward").unwrap();
    let file = folder.join("tests/reference/programs.safetensors.gz");
    let first = from_file(&entry, &file, None).unwrap();
    let second = from_file(&entry, &file, Some("lstm/1")).unwrap();
    assert_ne!(first.tensors[0].shape(), second.tensors[0].shape());
    let Err(error) = from_file(&entry, &file, Some("lstm/99")) else { panic!("there is no such case") };
    assert!(error.to_string().contains("lstm/0"), "{error}");
}

#[test]
fn a_program_without_an_end_is_ended() {
    let text = "def forward(n: int) -> int:\n    while True:\n        n = (n + 1) % 7\n    return n\n";
    let mut entry = Entry::of(Arc::new(Program::parse("loop.py", text).unwrap()), "forward").unwrap();
    entry.step_limit = Some(1000);
    let error = entry.call(vec![script::value::Value::Int(1)]).unwrap_err();
    assert!(error.to_string().contains("step limit of 1000"), "{error}");
}
