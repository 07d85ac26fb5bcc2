//! What scripting a program of 200 lines costs, by stage: parsing, checking, the graphs of all its
//! entries; and what their first calls add, which is the passes (torch.jit.script leaves them to the first call too).
//! The program is shipped ones behind each other, every function and class under a name of its own.

use criterion::{Criterion, criterion_group, criterion_main};
use graph::Options;
use script::diagnostics::SourceFile;
use script::tree::Program;
use std::hint::black_box;
use std::sync::Arc;

/// Their lines together, without blank ones, comments and documentation, are 200 or a few more.
const PROGRAMS: &[&str] = &[
    "attention",
    "lstm",
    "resnet_block",
    "beam_search",
    "rk45",
    "kmeans",
    "conjugate_gradient",
    "gru",
    "newton",
    "viterbi",
];
const LINES: usize = 200;

/// A program's text without its documentation and imports, and its own names with a suffix.
fn own(text: &str, suffix: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut quoted = false;
    for line in text.lines() {
        let marks = line.matches("\"\"\"").count();
        let skipped = quoted || marks > 0;
        quoted ^= marks % 2 == 1;
        let code = line.trim_start();
        let import = code.starts_with("import ") || code.starts_with("from ");
        if !skipped && !import && !code.is_empty() && !code.starts_with('#') {
            lines.push(line.to_string());
        }
    }
    let names: Vec<String> = lines
        .iter()
        .filter_map(|l| l.strip_prefix("def ").or(l.strip_prefix("class ")))
        .map(|l| l.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect();
    lines.into_iter().map(|line| renamed(&line, &names, suffix)).collect()
}

/// A line with the suffix behind each of these names, attributes excepted.
fn renamed(line: &str, names: &[String], suffix: usize) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        if end == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let attribute = out.ends_with('.');
        out.push_str(&rest[..end]);
        if !attribute && names.iter().any(|n| n == &rest[..end]) {
            out.push_str(&format!("_{suffix}"));
        }
        rest = &rest[end..];
    }
    out
}

fn text() -> String {
    let imports = "import math\nfrom typing import Dict, List, NamedTuple, Optional, Tuple\nimport torch\nimport torch.nn.functional as F\nfrom torch import Tensor\n";
    let mut lines: Vec<String> = imports.lines().map(str::to_string).collect();
    for (i, name) in PROGRAMS.iter().enumerate() {
        let path = format!("{}/programs/{name}.py", env!("CARGO_MANIFEST_DIR"));
        if lines.len() < LINES {
            lines.extend(own(&std::fs::read_to_string(path).expect("a shipped program"), i));
        }
    }
    lines.join("\n") + "\n"
}

fn scripting(c: &mut Criterion) {
    let text = text();
    let lines = text.lines().count();
    let source = || Arc::new(SourceFile::new("program.py", text.as_str()));
    let (module, _) = script::parse::parse(&text);
    let program = Arc::new(Program::parse("program.py", text.as_str()).expect("a program"));
    let entries: Vec<_> = (0..PROGRAMS.len()).filter_map(|i| program.find(&format!("forward_{i}"))).collect();
    let all = |program: &Arc<Program>, ready: bool| {
        for &entry in &entries {
            let scripted =
                script::scripted::script(program.clone(), entry, Options::default()).expect("a graph");
            if ready {
                scripted.optimized().expect("a graph after the passes");
            }
            black_box(scripted);
        }
    };
    let mut group = c.benchmark_group(format!("scripting {lines} lines"));
    group.bench_function("parse", |b| b.iter(|| script::parse::parse(black_box(&text))));
    group.bench_function("check", |b| b.iter(|| script::check::check(source(), black_box(&module))));
    group.bench_function("graphs", |b| b.iter(|| all(&program, false)));
    group.bench_function("graphs, and what first calls add", |b| b.iter(|| all(&program, true)));
    let whole = |ready: bool| {
        let program = Program::parse("program.py", black_box(text.as_str())).expect("a program");
        all(&Arc::new(program), ready);
    };
    group.bench_function("text to scripted", |b| b.iter(|| whole(false)));
    group.bench_function("text to the first calls", |b| b.iter(|| whole(true)));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(2));
    targets = scripting
}
criterion_main!(benches);
