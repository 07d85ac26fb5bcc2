//! What torch.jit.trace makes of each program and what our trace makes of it: a trace of a program's first case is called on
//! all its cases, and gives what eager gives, something else, or an error. Where both are wrong they are wrong by the same
//! values. What is not so stands in `tests/reference/traces.toml` with its reason; an entry that is no difference fails.

use graph::TraceOptions;
use lab::program::Entry;
use lab::reference::{self, File};
use runtime::Tensor;
use runtime::testing::{CloseOptions, assert_close};
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

#[derive(Deserialize)]
struct Known {
    difference: Vec<Difference>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    #[allow(dead_code, reason = "for readers")]
    reason: String,
    /// What torch.jit.trace does, and what ours does.
    real: String,
    ours: String,
    /// Ids of cases, or beginnings of ids with a `*`.
    cases: Vec<String>,
}

/// Both wrong, by other values.
const OTHERWISE: &str = "differs otherwise";

fn close(got: &[Tensor], want: &[&Tensor]) -> bool {
    let options = CloseOptions { rtol: Some(1e-4), atol: Some(1e-5), equal_nan: true, ..Default::default() };
    got.len() == want.len()
        && got.iter().zip(want).all(|(g, w)| g.detach().is_ok_and(|g| assert_close(&g, w, options).is_ok()))
}

#[test]
fn a_trace_is_wrong_where_torch_jit_trace_is() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let archive =
        reference::archive(&folder.join("tests/reference/programs.safetensors.gz")).expect("the file");
    let cases: Vec<Json> = serde_json::from_str(&archive.metadata["cases"]).expect("cases");
    let tensors: HashMap<String, Tensor> = archive.tensors.iter().cloned().collect();
    let file = File::of(archive).expect("a reference file");
    let mut traces = HashMap::new();
    let mut found: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for case in &cases {
        let text = |key: &str| case[key].as_str().expect("text").to_string();
        let list = |key: &str| -> Vec<&Tensor> {
            let names = case[key].as_array().into_iter().flatten();
            names.map(|n| &tensors[n.as_str().expect("a name")]).collect()
        };
        let (id, program, real) = (text("id"), text("program"), text("trace"));
        let entry = Entry::open(&folder.join("programs").join(&program), "forward").expect("a program");
        let arguments = file.arguments(&entry, Some(&id)).expect("arguments");
        let copies = || arguments.tensors.iter().map(|t| t.copy().expect("a copy")).collect::<Vec<_>>();
        let traced = traces.entry(program).or_insert_with(|| {
            let options = TraceOptions { check: false, ..TraceOptions::default() };
            graph::trace("first", &copies(), options, entry.bound(arguments.templates.clone()))
        });
        let outputs = traced.as_ref().map_err(Clone::clone).and_then(|t| t.call(&copies()));
        let ours = match outputs {
            Err(_) => "error",
            Ok(got) if close(&got, &list("outputs")) => "same",
            Ok(got) if real == "differs" && !close(&got, &list("trace_outputs")) => OTHERWISE,
            Ok(_) => "differs",
        };
        *counts.entry((real.clone(), ours.to_string())).or_default() += 1;
        if real != ours {
            found.insert(id, (real, ours.to_string()));
        }
    }
    for ((real, ours), count) in &counts {
        println!("torch.jit.trace: {real}, here: {ours}: {count} cases");
    }
    let text = std::fs::read_to_string(folder.join("tests/reference/traces.toml")).expect("the list");
    let known: Known = toml::from_str(&text).expect("a list of differences");
    let names = |pattern: &str, id: &str| match pattern.strip_suffix('*') {
        Some(start) => id.starts_with(start),
        None => pattern == id,
    };
    let explains = |d: &Difference, id: &str, (real, ours): &(String, String)| {
        d.real == *real && d.ours == *ours && d.cases.iter().any(|p| names(p, id))
    };
    let unknown: Vec<_> =
        found.iter().filter(|(id, pair)| !known.difference.iter().any(|d| explains(d, id, pair))).collect();
    let stale: Vec<&String> = known
        .difference
        .iter()
        .flat_map(|d| d.cases.iter().map(move |p| (d, p)))
        .filter(|(d, p)| {
            !found.iter().any(|(id, (real, ours))| names(p, id) && d.real == *real && d.ours == *ours)
        })
        .map(|(_, p)| p)
        .collect();
    assert!(unknown.is_empty() && stale.is_empty(), "not listed: {unknown:#?}\nlisted, but none: {stale:?}");
}
