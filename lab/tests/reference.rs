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

#[test]
fn a_damaged_file_is_an_error_that_names_it() {
    let whole =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/mlp_steps.safetensors"));
    let whole = whole.unwrap();
    let path = std::env::temp_dir().join(format!("trifold-damaged-{}.safetensors", std::process::id()));
    let mut changed = whole.clone();
    changed[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let cuts = [0, 1, 7, 8, 100, whole.len() / 2, whole.len() - 1].map(|n| whole[..n].to_vec());
    for bytes in cuts.into_iter().chain([changed]) {
        std::fs::write(&path, &bytes).unwrap();
        let error = File::open(&path).err().unwrap();
        assert_eq!(error.kind(), runtime::ErrorKind::File);
        assert!(error.message().contains("trifold-damaged"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
}
