//! The house rules that a machine can check: layering, file headers and lengths, documented ops, what must not be said.

use std::fs;
use std::path::{Path, PathBuf};

/// The crates from the ground up; each may name only those before it.
const LAYERS: [&str; 7] = ["kernels", "runtime", "eager", "graph", "script", "models", "lab"];

/// Wings of equal rank, which never name each other.
const WINGS: (&str, &str) = ("eager", "graph");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(under: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut folders = vec![under.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if extensions.iter().any(|e| name.ends_with(e)) {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}

fn sources() -> Vec<(PathBuf, String)> {
    let read = |p: PathBuf| {
        let text = fs::read_to_string(&p).unwrap_or_default();
        (p, text)
    };
    files(root(), &[".rs"]).into_iter().map(read).collect()
}

fn report(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn crates_name_only_those_below() {
    let mut complaints = Vec::new();
    for (level, name) in LAYERS.iter().enumerate() {
        let manifest =
            fs::read_to_string(root().join(name).join("Cargo.toml")).expect("every crate has a manifest");
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or("");
        let dependencies = dependencies.split("\n[").next().unwrap_or("");
        for (other_level, other) in LAYERS.iter().enumerate() {
            let names_it = dependencies
                .lines()
                .any(|l| l.starts_with(&format!("{other}.")) || l.starts_with(&format!("{other} ")));
            let wing = (*name, *other) == WINGS || (*other, *name) == WINGS;
            if names_it && (other_level >= level || wing) {
                complaints.push(format!("{name} names {other}"));
            }
        }
    }
    report(complaints);
}

#[test]
fn files_have_a_contract_and_are_one_idea() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        if !text.trim_start().starts_with("//!") {
            complaints.push(format!("{}: no `//!` contract at the top", path.display()));
        }
        let lines = text.lines().count();
        if lines > 600 {
            complaints.push(format!("{}: {lines} lines", path.display()));
        }
    }
    report(complaints);
}

#[test]
fn nothing_is_left_undone() {
    let mut complaints = Vec::new();
    let marks = ["todo!(", "unimplemented!(", "dbg!(", "#[ignore", "FIXME", "TODO"];
    for (path, text) in sources() {
        if path.ends_with("tests/tidy.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|m| line.contains(m)) {
                complaints.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    report(complaints);
}

/// The executor launches kernels on addresses that the plan computed (docs/decisions/0007).
const EXECUTOR: &str = "graph/src/exec.rs";

#[test]
fn unsafe_stays_below() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        let inside = path.strip_prefix(root()).unwrap_or(&path);
        if ["kernels", "runtime"].iter().any(|c| inside.starts_with(c))
            || inside.ends_with("tidy.rs")
            || inside.ends_with(EXECUTOR)
        {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if code.contains("unsafe {") || code.contains("unsafe impl") || code.contains("unsafe fn") {
                complaints.push(format!("{}:{}: {}", inside.display(), number + 1, line.trim()));
            }
        }
    }
    report(complaints);
}

#[test]
fn every_op_is_documented_and_sampled() {
    let mut complaints = Vec::new();
    let mut names = std::collections::HashSet::new();
    for op in runtime::table::table() {
        if !names.insert(op.name) {
            complaints.push(format!("{}: the name is taken twice", op.name));
        }
        if op.doc.trim().len() < 10 || !op.doc.trim_end().ends_with('.') {
            complaints.push(format!("{}: its contract is not a sentence", op.name));
        }
        if !op.schema.contains(") ->") {
            complaints.push(format!("{}: schema '{}'", op.name, op.schema));
        }
        let sampled = runtime::DType::ALL.iter().any(|&d| {
            let mut samples = runtime::samples::Samples::new(d);
            (op.samples)(&mut samples);
            !samples.cases.is_empty()
        });
        if !sampled {
            complaints.push(format!("{}: no samples", op.name));
        }
    }
    assert!(names.len() >= 80, "the table has {} ops", names.len());
    report(complaints);
}

#[test]
fn the_page_of_ops_is_current() {
    let page = fs::read_to_string(root().join("docs/ops.md")).unwrap_or_default();
    let same = page == lab::listing::markdown();
    assert!(same, "docs/ops.md is not what the table says; run `cargo run -- ops --markdown`");
}
