//! Every stored value in every mode: PyTorch's OpInfo samples, further cases of PyTorch and TensorFlow. Prints how many
//! samples pass. What cannot pass stands in `tests/reference/skips.toml` with its reason; a skip that passes fails.
//!
//! A program of its own and no `#[test]`, so that `cargo test` prints the numbers. An argument selects files by a part of
//! their name; `--modes torch,static` selects modes.

use lab::check::check;
use lab::modes::{MODES, Mode};
use lab::reference::{Case, File, Outcome, Status};
use runtime::DeviceId;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// The list of what does not pass.
#[derive(Deserialize)]
struct Skips {
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    reason: String,
    /// Ids of cases, or what ids begin with and a `*`. One case of each must fail in one of the modes.
    #[serde(default)]
    cases: Vec<String>,
    /// Calls of which some cases fail. One of each must fail in one of the modes.
    #[serde(default)]
    calls: Vec<String>,
    /// The modes; none stands for all.
    #[serde(default)]
    modes: Vec<String>,
}

impl Skip {
    /// What of this entry speaks of the case in the mode.
    fn names(&self, case: &Case, mode: &Mode) -> Option<&str> {
        if !self.modes.is_empty() && !self.modes.iter().any(|m| m == mode.name) {
            return None;
        }
        let case_id = self.cases.iter().find(|id| match id.strip_suffix('*') {
            Some(start) => case.id.starts_with(start),
            None => **id == case.id,
        });
        case_id.or_else(|| self.calls.iter().find(|call| **call == case.call)).map(String::as_str)
    }
}

fn main() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    let asked = arguments.iter().position(|a| a == "--modes").and_then(|i| arguments.get(i + 1)).cloned();
    let modes: Vec<&Mode> =
        MODES.iter().filter(|m| asked.as_ref().is_none_or(|a| a.split(',').any(|n| n == m.name))).collect();
    let words: Vec<&String> =
        arguments.iter().filter(|a| !a.starts_with("--") && Some(*a) != asked.as_ref()).collect();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of reference files")
        .map(|entry| entry.expect("an entry").path())
        .filter(|p| {
            let name = p.to_string_lossy();
            (name.ends_with(".safetensors") || name.ends_with(".gz"))
                && !name.ends_with("mlp_steps.safetensors")
        })
        .filter(|p| {
            let name = p.file_name().unwrap_or_default().to_string_lossy();
            words.is_empty() || words.iter().any(|w| name.contains(w.as_str()))
        })
        .collect();
    files.sort();
    let text = std::fs::read_to_string(folder.join("skips.toml")).expect("the list of skips");
    let skips: Skips = toml::from_str(&text).expect("a list of skips");
    std::panic::set_hook(Box::new(|_| {}));
    let whole = words.is_empty() && asked.is_none();
    if run(&files, &modes, &skips.skip, whole) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A case's outcomes, one for each mode.
type Outcomes = Vec<Outcome>;

fn run(files: &[PathBuf], modes: &[&Mode], skips: &[Skip], whole: bool) -> bool {
    let start = Instant::now();
    let (mut failures, mut used) = (Vec::new(), BTreeSet::new());
    let (mut totals, mut calls) = (BTreeMap::<&str, [usize; 2]>::new(), BTreeSet::new());
    let (mut errors, mut panics) = ([0usize; 2], 0);
    println!("\nstored values, samples that pass in each mode:");
    for path in files {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs");
        let file =
            File::open(path).and_then(|f| f.with_programs(&programs)).unwrap_or_else(|e| panic!("{e}"));
        let fits = |mode: &&&Mode| file.of_programs() || !mode.needs_text();
        let modes: Vec<&Mode> = modes.iter().filter(fits).copied().collect();
        let outcomes = outcomes(&file, &modes);
        let mut passed = vec![0; modes.len()];
        for (case, row) in file.cases.iter().zip(&outcomes) {
            calls.insert(case.call.clone());
            for (i, (mode, outcome)) in modes.iter().zip(row).enumerate() {
                let pass = outcome.status == Status::Pass;
                passed[i] += usize::from(pass);
                panics += usize::from(outcome.message.starts_with("panic"));
                if case.error.is_some() {
                    errors[0] += usize::from(pass);
                    errors[1] += 1;
                }
                let skip = skips.iter().enumerate().find_map(|(k, s)| Some((k, s, s.names(case, mode)?)));
                match (pass, skip) {
                    (true, _) => {}
                    (false, Some((k, _, name))) => {
                        used.insert((k, name.to_string()));
                    }
                    (false, None) => failures.push(format!(
                        "{} in {} {}: {}",
                        case.id,
                        mode.name,
                        outcome.status.word(),
                        outcome.message.lines().next().unwrap_or_default()
                    )),
                }
            }
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('.').next().unwrap_or_default();
        let counts: Vec<String> =
            modes.iter().zip(&passed).map(|(mode, n)| format!("{} {n}", mode.name)).collect();
        println!("  {name:<18} {:>5} samples: {}", file.cases.len(), counts.join(", "));
        for (mode, n) in modes.iter().zip(&passed) {
            let total = totals.entry(mode.name).or_default();
            total[0] += n;
            total[1] += file.cases.len();
        }
    }
    if whole {
        for (k, skip) in skips.iter().enumerate() {
            for name in skip.cases.iter().chain(&skip.calls) {
                if !used.contains(&(k, name.clone())) {
                    failures.push(format!("{name} passes; take it off the list ({})", skip.reason));
                }
            }
        }
    }
    for (mode, [passed, all]) in &totals {
        println!("  {mode}: {passed} of {all} samples pass");
    }
    println!(
        "  {} calls, {} of {} error inputs refused as they should be, {panics} panics, {:.0} s",
        calls.len(),
        errors[0],
        errors[1],
        start.elapsed().as_secs_f64()
    );
    for failure in &failures {
        println!("FAILED {failure}");
    }
    failures.is_empty()
}

/// All cases in all modes, on as many threads as there are cores.
fn outcomes(file: &File, modes: &[&Mode]) -> Vec<Outcomes> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found: Vec<(usize, Outcomes)> = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = file.cases.get(i) else { return found };
            found.push((i, modes.iter().map(|mode| check(file, case, mode, DeviceId::Cpu)).collect()));
        }
    };
    let mut all: Vec<(usize, Outcomes)> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|h| h.join().expect("a thread of cases")).collect()
    });
    all.sort_by_key(|(i, _)| *i);
    all.into_iter().map(|(_, row)| row).collect()
}
