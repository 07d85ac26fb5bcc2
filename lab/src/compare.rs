//! A comparison: workloads times modes, interleaved, judged against float64.

use crate::digits::{self, Outcome};
use crate::drivers::{Driver, Task, make};
use crate::measure::{self, Budget, Step};
use crate::modes::{MODES, Mode};
use crate::record::{Record, is_valid};
use crate::{environment, table};
use indicatif::{ProgressBar, ProgressStyle};
use models::workloads::{self, Workload};
use runtime::io::write_whole;
use runtime::{DType, DeviceId, Error, Result, Tensor};
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What to compare.
#[derive(Clone, Debug)]
pub struct Request {
    /// Within 20 seconds rather than 2 minutes.
    pub quick: bool,
    /// Bitwise passes only.
    pub exact: bool,
    /// Names of modes; all if empty.
    pub modes: Vec<String>,
    /// Names of workloads; the standard ones if empty.
    pub workloads: Vec<String>,
    /// Where to run.
    pub device: DeviceId,
}

/// The workloads of a comparison that names none.
const STANDARD: &[&str] = &[digits::NAME, "dispatch", "pointwise", "softmax_ln", "matmul"];

/// What the parts of a comparison share.
pub struct Context<'a> {
    /// What was asked.
    pub request: &'a Request,
    /// The modes that take part.
    pub modes: Vec<&'static Mode>,
    /// Set when the user wants to stop.
    pub stop: &'a AtomicBool,
    /// How long to sample each workload.
    pub budget: Budget,
    bar: ProgressBar,
}

impl Context<'_> {
    /// Shows what is being done; one tick of the bar.
    pub fn progress(&self, workload: &str, mode: &str, what: &str) {
        self.bar.set_message(format!("{workload} {mode}: {what}"));
        self.bar.tick();
    }

    /// Whether the user wants to stop.
    pub fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// A tensor on the comparison's device.
    pub fn place(&self, tensor: &Tensor) -> Result<Tensor> {
        tensor.to_device(self.request.device)
    }

    /// Waits for the device.
    pub fn sync(&self) -> Result<()> {
        self.request.device.open()?.sync()
    }
}

/// The result of a comparison.
pub struct Report {
    /// One row for each workload and mode.
    pub records: Vec<Record>,
    /// How the training on digits went.
    pub outcomes: Vec<Outcome>,
    environment: serde_json::Value,
    exact: bool,
}

/// Runs a comparison; ends early, with what there is, when `stop` is set.
pub fn run(request: &Request, stop: &AtomicBool) -> Result<Report> {
    let device = request.device.open()?;
    let modes = choose_modes(&request.modes)?;
    let names = choose_workloads(&request.workloads)?;
    let bar = ProgressBar::new(names.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("[{elapsed_precise}] {bar:24} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    let total = Duration::from_millis(if request.quick { 1800 } else { 16_000 });
    let budget =
        Budget { rounds: if request.quick { 40 } else { 200 }, sample: Duration::from_millis(4), total };
    let mut context = Context { request, modes, stop, budget, bar };
    let mut report = Report {
        records: Vec::new(),
        outcomes: Vec::new(),
        environment: environment::describe(&[device.describe()]),
        exact: request.exact,
    };
    for name in names {
        if context.stopped() {
            break;
        }
        if name == digits::NAME {
            let (records, outcomes) = digits::run(&mut context)?;
            report.records.extend(records);
            report.outcomes.extend(outcomes);
        } else {
            report.records.extend(one(&context, name)?);
        }
        context.bar.inc(1);
    }
    context.bar.finish_and_clear();
    Ok(report)
}

fn choose_modes(names: &[String]) -> Result<Vec<&'static Mode>> {
    if names.is_empty() {
        return Ok(MODES.iter().collect());
    }
    names.iter().map(|n| Mode::named(n)).collect()
}

fn choose_workloads(names: &[String]) -> Result<Vec<&'static str>> {
    let all: Vec<&'static str> =
        std::iter::once(digits::NAME).chain(workloads::WORKLOADS.iter().map(|(n, _)| *n)).collect();
    if names.is_empty() {
        return Ok(STANDARD.to_vec());
    }
    names
        .iter()
        .map(|n| {
            all.iter().copied().find(|w| w == n).ok_or_else(|| {
                Error::value(format!("unknown workload '{n}'")).hint(format!("workloads: {}", all.join(", ")))
            })
        })
        .collect()
}

/// Threads of the pool that CPU kernels use.
pub(crate) fn threads() -> usize {
    kernels::cpu::threads::global().threads()
}

/// Steps whose outputs are compared with float64; a training moves between them.
const CHECKED_STEPS: usize = 3;

fn inputs(workload: &Workload, context: &Context) -> Result<Vec<Tensor>> {
    workload.inputs.iter().map(|(_, t)| context.place(t)).collect()
}

/// The numbers of the first steps: outputs of a forward, losses and then parameters of a training.
fn answers(driver: &mut dyn Driver, inputs: &[Tensor], done: Option<Vec<Tensor>>) -> Result<Vec<f64>> {
    let mut out = Vec::new();
    let left = if driver.parameters()?.is_empty() { 1 } else { CHECKED_STEPS } - done.is_some() as usize;
    for t in done.iter().flatten() {
        out.extend(t.to_f64_vec()?);
    }
    for _ in 0..left {
        for t in driver.step(inputs)? {
            out.extend(t.to_f64_vec()?);
        }
    }
    for t in driver.parameters()? {
        out.extend(t.to_f64_vec()?);
    }
    Ok(out)
}

/// Largest difference; NaN where one side alone is NaN, or the lengths differ.
pub(crate) fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    if a.len() != b.len() {
        return f64::NAN;
    }
    a.iter().zip(b).fold(0.0, |worst: f64, (&x, &y)| match (x.is_nan(), y.is_nan()) {
        (true, true) => worst,
        (false, false) if x == y => worst,
        (false, false) if !worst.is_nan() => worst.max((x - y).abs()),
        _ => f64::NAN,
    })
}

/// One workload in every mode.
fn one(context: &Context, name: &'static str) -> Result<Vec<Record>> {
    context.progress(name, "float64", "reference");
    let double = workloads::make(name, DType::F64)?;
    let double_inputs: Vec<Tensor> = double.inputs.iter().map(|(_, t)| t.clone()).collect();
    let reference =
        answers(&mut *make(&MODES[0], Task::of(&double), DeviceId::Cpu, true)?, &double_inputs, None)?;
    let workload = workloads::make(name, DType::F32)?;
    let inputs = inputs(&workload, context)?;
    let mut drivers = Vec::new();
    let mut records = Vec::new();
    for mode in &context.modes {
        context.progress(name, mode.name, "first call");
        let start = Instant::now();
        let mut driver = make(mode, Task::of(&workload), context.request.device, context.request.exact)?;
        let first = driver.step(&inputs)?;
        context.sync()?;
        let first_call = start.elapsed().as_secs_f64();
        let error = largest_difference(&answers(&mut *driver, &inputs, Some(first))?, &reference);
        let counts = measure::count(&mut || driver.step(&inputs).map(drop))?;
        drivers.push(driver);
        records.push(Record {
            workload: name,
            mode: mode.name,
            device: context.request.device.to_string(),
            threads: threads(),
            time: None,
            first_call,
            break_even: None,
            retraces: 0,
            counts,
            max_error: error,
            valid: true,
            ledger: Vec::new(),
            failure: None,
        });
    }
    context.progress(name, "all modes", "sampling in turn");
    let mut steps: Vec<Box<dyn Step>> = Vec::new();
    for driver in drivers.iter_mut() {
        let (inputs, device) = (&inputs, context.request.device);
        steps.push(Box::new(move || {
            driver.step(inputs)?;
            device.open()?.sync()
        }));
    }
    let mut borrowed: Vec<&mut dyn Step> = steps.iter_mut().map(|s| &mut **s as &mut dyn Step).collect();
    let times = measure::sample(&mut borrowed, context.budget, context.stop)?;
    drop(borrowed);
    drop(steps);
    for (record, (time, driver)) in records.iter_mut().zip(times.into_iter().zip(&drivers)) {
        record.time = time;
        record.retraces = driver.retraces();
    }
    judge(&mut records);
    Ok(records)
}

/// Fills in what refers to eager: validity and break-even.
pub(crate) fn judge(records: &mut [Record]) {
    let Some(eager) = records.iter().find(|r| r.mode == MODES[0].name).cloned() else { return };
    for record in records {
        record.valid = is_valid(record.max_error, eager.max_error);
        if let (Some(time), Some(eager_time)) = (record.time, eager.time) {
            record.break_even =
                measure::break_even(record.first_call, time.median, eager.first_call, eager_time.median);
        }
    }
}

impl Report {
    /// Whether every row is valid and, under `--exact`, all trainings agree bit for bit.
    pub fn is_valid(&self) -> bool {
        let agree = !self.exact || self.outcomes.iter().all(|o| o.bit_equal);
        self.records.iter().all(|r| r.valid && r.failure.is_none()) && digits::agree(&self.outcomes) && agree
    }

    /// The terminal form.
    pub fn render(&self) -> String {
        let mut out = table::render(&self.records);
        if !self.outcomes.is_empty() {
            out += &digits::render(&self.outcomes);
        }
        let at = |key: &str| self.environment[key].as_str().unwrap_or("?").to_string();
        out += &format!("\n{} ({}), commit {}, {}\n", at("cpu"), at("isa"), at("commit"), at("date"));
        out
    }

    /// Writes the JSON form; the file appears whole or not at all.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let value = json!({
            "environment": self.environment,
            "results": self.records.iter().map(Record::to_json).collect::<Vec<_>>(),
            "trainings": self.outcomes.iter().map(Outcome::to_json).collect::<Vec<_>>(),
        });
        write_whole(path, format!("{value:#}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_notice_nan() {
        assert_eq!(largest_difference(&[1.0, f64::NAN], &[1.5, f64::NAN]), 0.5);
        assert!(largest_difference(&[1.0], &[f64::NAN]).is_nan());
        assert!(largest_difference(&[f64::NAN, 1.0], &[1.0, 1.0]).is_nan());
        assert!(largest_difference(&[1.0], &[1.0, 2.0]).is_nan());
        assert_eq!(largest_difference(&[f64::INFINITY], &[f64::INFINITY]), 0.0);
    }
}
