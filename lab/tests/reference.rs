//! Every stored case of the operators in torch's eager mode. What differs is listed, each with its reason; a listed case
//! that passes fails this test.

use lab::reference::{File, Status};
use std::path::Path;

/// Cases that differ from PyTorch, and why.
const KNOWN: &[(&str, &str)] = &[
    ("floor_divide/25", "an integer divided by zero gives 0 here, an error in PyTorch"),
    ("remainder/25", "an integer modulo zero gives 0 here, an error in PyTorch"),
    ("fmod/25", "an integer modulo zero gives 0 here, an error in PyTorch"),
];

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference").join(name);
    let file = File::open(&path).unwrap();
    let mut bad = Vec::new();
    for case in &file.cases {
        let outcome = file.check_eager(case);
        let known = KNOWN.iter().find(|(id, _)| *id == case.id);
        match (outcome.status, known) {
            (Status::Pass, None) => {}
            (Status::Pass, Some(_)) => bad.push(format!("{} passes; take it off the list", case.id)),
            (_, Some(_)) => {}
            (status, None) => bad.push(format!("{} {}: {}", case.id, status.word(), outcome.message)),
        }
    }
    assert!(bad.is_empty(), "{} of {} cases:\n{}", bad.len(), file.cases.len(), bad.join("\n"));
}

#[test]
fn torch() {
    check("torch_ops.safetensors");
}

#[test]
fn torch_more() {
    check("torch_more.safetensors");
}

#[test]
fn tensorflow() {
    check("tensorflow_ops.safetensors");
}
