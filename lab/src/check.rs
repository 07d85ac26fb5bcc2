//! `trifold check`: every case of reference files in every mode.

use crate::compare::write_whole;
use crate::modes::{MODES, Mode, Staging};
use crate::reference::{Case, File, Outcome, Runner, Status, eager_runner};
use eager::{Autograd as _, GradOptions, GradientTape, TapeOptions, Unconnected};
use graph::CompiledFunction;
use graph::trace::{Mode as Recording, Spec, record};
use indicatif::ProgressBar;
use runtime::{DeviceId, Result, Tensor};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What came of one case in one mode.
struct Row {
    id: String,
    mode: &'static str,
    outcome: Outcome,
}

/// What came of all cases.
pub struct Report {
    rows: Vec<Row>,
    modes: Vec<&'static Mode>,
}

type Outputs = (Vec<Tensor>, Vec<Option<Tensor>>);
type Program<'a> = &'a dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>;

/// Runs every case of the files in these modes (`all` for every mode).
pub fn run(files: &[PathBuf], modes: &[String], device: DeviceId) -> Result<Report> {
    device.open()?;
    let modes = if modes.iter().any(|m| m == "all") {
        MODES.iter().collect()
    } else {
        modes.iter().map(|n| Mode::named(n)).collect::<Result<Vec<_>>>()?
    };
    let mut report = Report { rows: Vec::new(), modes };
    for path in files {
        let file = File::open(path)?;
        let bar = ProgressBar::new((file.cases.len() * report.modes.len()) as u64);
        for case in &file.cases {
            for mode in report.modes.clone() {
                let outcome = check(&file, case, mode, device);
                report.rows.push(Row { id: case.id.clone(), mode: mode.name, outcome });
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
    }
    Ok(report)
}

/// One case in one mode.
pub fn check(file: &File, case: &Case, mode: &Mode, device: DeviceId) -> Outcome {
    let place = |tensors: &[Tensor]| tensors.iter().map(|t| t.to_device(device)).collect::<Result<Vec<_>>>();
    let mut run = |program: Program, inputs: &[Tensor], cotangents: &[Option<Tensor>], wanted: &[usize]| {
        let inputs = place(inputs)?;
        let cotangents = cotangents
            .iter()
            .map(|c| c.as_ref().map(|t| t.to_device(device)).transpose())
            .collect::<Result<Vec<_>>>()?;
        match mode.staging {
            Staging::Autograd => eager_runner(program, &inputs, &cotangents, wanted),
            Staging::Tape => tape(program, &inputs, &cotangents, wanted),
            Staging::Trace => trace(mode, program, &inputs, &cotangents, wanted),
            Staging::Function => staged(mode, program, &inputs, &cotangents, wanted),
        }
    };
    let runner: &mut Runner = &mut run;
    file.check(case, runner)
}

fn tape(
    program: Program,
    inputs: &[Tensor],
    cotangents: &[Option<Tensor>],
    wanted: &[usize],
) -> Result<Outputs> {
    if wanted.is_empty() {
        return Ok((program(inputs)?, Vec::new()));
    }
    let tape = GradientTape::with_options(TapeOptions { persistent: false, watch_accessed_variables: false });
    let inputs: Vec<Tensor> = inputs.iter().map(Tensor::alias).collect();
    wanted.iter().try_for_each(|&i| tape.watch(&inputs[i]))?;
    let outputs = program(&inputs)?;
    let (targets, seeds): (Vec<&Tensor>, Vec<Option<&Tensor>>) =
        outputs.iter().zip(cotangents).filter_map(|(y, c)| Some((y, Some(c.as_ref()?)))).unzip();
    let sources: Vec<&Tensor> = wanted.iter().map(|&i| &inputs[i]).collect();
    let gradients = tape.gradient_with(&targets, &sources, Some(&seeds), Unconnected::None)?;
    Ok((outputs, gradients))
}

fn trace(
    mode: &Mode,
    program: Program,
    inputs: &[Tensor],
    cotangents: &[Option<Tensor>],
    wanted: &[usize],
) -> Result<Outputs> {
    let options = graph::TraceOptions { compile: mode.options(false), check: false, ..Default::default() };
    let traced = graph::trace("case", inputs, options, program)?;
    let leaves = inputs
        .iter()
        .enumerate()
        .map(|(i, t)| if wanted.contains(&i) { t.alias().requires_grad_(true) } else { Ok(t.clone()) })
        .collect::<Result<Vec<_>>>()?;
    let outputs = traced.call(&leaves)?;
    if wanted.is_empty() {
        return Ok((outputs, Vec::new()));
    }
    let (targets, seeds): (Vec<&Tensor>, Vec<Option<&Tensor>>) =
        outputs.iter().zip(cotangents).filter_map(|(y, c)| Some((y, Some(c.as_ref()?)))).unzip();
    let sources: Vec<&Tensor> = wanted.iter().map(|&i| &leaves[i]).collect();
    let options = GradOptions { grad_outputs: Some(&seeds), allow_unused: true, ..GradOptions::default() };
    let gradients = eager::grad(&targets, &sources, options)?;
    Ok((outputs.iter().map(Tensor::alias).collect(), gradients))
}

/// Program and tape staged together.
fn staged(
    mode: &Mode,
    program: Program,
    inputs: &[Tensor],
    cotangents: &[Option<Tensor>],
    wanted: &[usize],
) -> Result<Outputs> {
    let seeds: Vec<Tensor> = cotangents.iter().flatten().cloned().collect();
    let specs: Vec<Spec> =
        inputs.iter().chain(&seeds).map(|t| Spec { example: None, ..Spec::of(t) }).collect();
    let shape = RefCell::new((0, Vec::new()));
    let recording = record("case", Recording::Staged, &specs, |traced| {
        let (inputs, seeds) = traced.split_at(inputs.len());
        let mut seeds = seeds.iter();
        let cotangents: Vec<Option<Tensor>> =
            cotangents.iter().map(|c| c.as_ref().and_then(|_| seeds.next().cloned())).collect();
        let (mut outputs, gradients) = tape(program, inputs, &cotangents, wanted)?;
        *shape.borrow_mut() = (outputs.len(), gradients.iter().map(Option::is_some).collect::<Vec<_>>());
        outputs.extend(gradients.into_iter().flatten());
        Ok(outputs)
    })?;
    let device = inputs.first().map_or(DeviceId::Cpu, Tensor::device);
    let compiled = CompiledFunction::new(recording.graph.clone(), mode.options(false), device)?;
    let args: Vec<Tensor> = inputs.iter().chain(&seeds).cloned().collect();
    let mut results = compiled.stateful()?.run(&recording.bind(&args)?)?.into_vec();
    let (count, present) = shape.into_inner();
    let mut gradients = results.split_off(count).into_iter();
    Ok((results, present.iter().map(|&p| if p { gradients.next() } else { None }).collect()))
}

impl Report {
    /// Whether nothing failed or errored.
    pub fn passed(&self) -> bool {
        self.rows.iter().all(|r| matches!(r.outcome.status, Status::Pass | Status::Unsupported))
    }

    /// A line for each case that failed and a summary for each mode.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for row in &self.rows {
            if row.outcome.status != Status::Pass {
                let Outcome { status, max_abs, message, .. } = &row.outcome;
                let _ = writeln!(
                    out,
                    "{} {} {}: {message} (largest error {max_abs:.3e})",
                    row.id,
                    row.mode,
                    status.word()
                );
            }
        }
        for mode in &self.modes {
            let count = |wanted: &[Status]| {
                let of_mode = self.rows.iter().filter(|r| r.mode == mode.name);
                of_mode.filter(|r| wanted.contains(&r.outcome.status)).count()
            };
            let failed = count(&[Status::Fail, Status::Error]);
            let (passed, unsupported) = (count(&[Status::Pass]), count(&[Status::Unsupported]));
            let _ =
                writeln!(out, "{}: {passed} passed, {failed} failed, {unsupported} unsupported", mode.name);
        }
        out
    }

    /// Writes a record for each case and mode.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let finite = |v: f64| if v.is_finite() { json!(v) } else { Value::Null };
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|r| {
                json!({
                    "id": r.id,
                    "mode": r.mode,
                    "status": r.outcome.status.word(),
                    "max_abs": finite(r.outcome.max_abs),
                    "max_rel": finite(r.outcome.max_rel),
                    "message": r.outcome.message,
                })
            })
            .collect();
        write_whole(path, format!("{:#}\n", json!(rows)).as_bytes())
    }
}
