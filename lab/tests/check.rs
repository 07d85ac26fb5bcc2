//! `check` as docs and reference files promise it: statuses, places of errors, summaries, JSON, host values as outputs.

use lab::modes::Mode;
use runtime::io::safetensors;
use runtime::{DeviceId, Tensor};
use serde_json::{Value, json};
use std::collections::HashMap;

fn file(name: &str, cases: Value, tensors: &[(&str, Tensor)]) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("trifold-check-{}-{name}", std::process::id()));
    let tensors: Vec<(&str, &Tensor)> = tensors.iter().map(|(n, t)| (*n, t)).collect();
    let metadata = HashMap::from([("cases".to_string(), cases.to_string())]);
    safetensors::write(&path, &tensors, &metadata).unwrap();
    path
}

fn matrix(last: f32) -> Tensor {
    Tensor::from_slice(&[1.0f32, 2.0, 3.0, last], &[2, 2]).unwrap()
}

#[test]
fn every_status_in_every_mode() {
    let cases = json!([
        {"id": "good", "call": "torch.neg", "args": ["$x"], "outputs": ["minus"]},
        {"id": "bad", "call": "torch.neg", "args": ["$x"], "outputs": ["x"]},
        {"id": "loose", "call": "torch.neg", "args": ["$x"], "outputs": ["x"], "rtol": 3, "atol": 0},
        {"id": "alien", "call": "torch.of_the_future", "args": ["$x"], "outputs": ["x"]},
        {"id": "refused", "call": "torch.matmul", "args": ["$x", "$row"], "error": "shape"},
        {"id": "other word", "call": "torch.matmul", "args": ["$x", "$row"], "error": "index"},
        {"id": "not refused", "call": "torch.neg", "args": ["$x"], "error": "shape"},
        {"id": "broken", "call": "torch.matmul", "args": ["$x", "$row"], "outputs": ["x"]},
    ]);
    let minus = Tensor::from_slice(&[-1.0f32, -2.0, -3.0, -4.0], &[2, 2]).unwrap();
    let row = Tensor::from_slice(&[1.0f32, 2.0, 3.0], &[3]).unwrap();
    let path = file("statuses", cases, &[("x", matrix(4.0)), ("minus", minus), ("row", row)]);
    let report =
        lab::check::run(std::slice::from_ref(&path), None, &["all".to_string()], DeviceId::Cpu).unwrap();
    assert!(!report.passed());
    let text = report.render();
    let json_path = path.with_extension("json");
    report.write_json(&json_path).unwrap();
    let rows: Value = serde_json::from_slice(&std::fs::read(&json_path).unwrap()).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 8 * lab::modes::MODES.len());
    // A call by itself is no program's text.
    let texts = lab::modes::MODES.iter().filter(|m| m.needs_text()).map(|m| m.name);
    for mode in texts {
        assert!(text.contains(&format!("{mode}: 0 passed, 0 failed, 8 unsupported")), "{text}");
    }
    for mode in Mode::of_functions().map(|m| m.name) {
        assert!(text.contains(&format!("{mode}: 3 passed, 4 failed, 1 unsupported")), "{text}");
        let row = |id: &str| rows.iter().find(|r| r["id"] == id && r["mode"] == mode).unwrap();
        for (id, status) in [
            ("good", "pass"),
            ("bad", "fail"),
            ("loose", "pass"),
            ("alien", "unsupported"),
            ("refused", "pass"),
            ("other word", "fail"),
            ("not refused", "fail"),
            ("broken", "error"),
        ] {
            assert_eq!(row(id)["status"], status, "{id} in {mode}");
        }
        assert_eq!((row("bad")["max_abs"].as_f64(), row("bad")["max_rel"].as_f64()), (Some(8.0), Some(2.0)));
        assert_eq!(row("bad")["where"], "output 0[1, 1]");
        assert_eq!(row("alien")["message"], "torch.of_the_future");
        let line = format!("bad {mode} fail: output 0[0, 0] is -1.0, expected 1.0");
        assert!(text.contains(&line), "{text}");
    }
    assert!(text.contains("(largest error 8.000e0 at output 0[1, 1])"), "{text}");
    std::fs::remove_file(path).unwrap();
    std::fs::remove_file(json_path).unwrap();
}

#[test]
fn host_values_and_gradients() {
    let cases = json!([
        {"id": "count", "call": "torch.numel", "args": ["$x"], "outputs": ["four"]},
        {"id": "sizes", "call": "torch.Tensor.size", "args": ["$x"], "outputs": ["sizes"]},
        {"id": "size", "call": "torch.Tensor.size", "args": ["$x", 1], "outputs": ["two"]},
        {"id": "square", "call": "torch.mul", "args": ["$x", "$x"], "outputs": ["squares"],
         "cotangents": ["ones"], "grads": {"x": "double"}},
    ]);
    let x = matrix(4.0);
    let tensors = [
        ("four", Tensor::scalar(4i64)),
        ("two", Tensor::scalar(2i64)),
        ("sizes", Tensor::from_slice(&[2i64, 2], &[2]).unwrap()),
        ("squares", x.mul(&x).unwrap()),
        ("double", x.mul(2.0).unwrap()),
        ("ones", x.ones_like(None).unwrap()),
        ("x", x),
    ];
    let path = file("hosts", cases, &tensors);
    let report =
        lab::check::run(std::slice::from_ref(&path), None, &["all".to_string()], DeviceId::Cpu).unwrap();
    assert!(report.passed(), "{}", report.render());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_mode_or_file_that_does_not_exist_is_an_error() {
    let path = std::path::PathBuf::from("no-such-file.safetensors");
    let error = lab::check::run(&[path], None, &["all".to_string()], DeviceId::Cpu).err().unwrap();
    assert!(error.message().contains("no-such-file"), "{error}");
    assert!(lab::check::run(&[], None, &["torch.dream".to_string()], DeviceId::Cpu).is_err());
}
