//! A comparison: workloads times modes, interleaved, judged against float64.

use crate::digits::{self, Outcome};
use crate::drivers::{Driver, Task, make};
use crate::measure::{self, Budget, Counts, Step};
use crate::modes::{MODES, Mode, needs_text};
use crate::program::{Entry, Generated};
use crate::record::{Record, is_valid};
use crate::{environment, table};
use indicatif::{ProgressBar, ProgressStyle};
use models::workloads;
use runtime::io::write_whole;
use runtime::{DType, DeviceId, Error, ErrorKind, Result, Tensor};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What to compare.
#[derive(Clone, Debug)]
pub struct Request {
    /// Within 20 seconds rather than 2 minutes.
    pub quick: bool,
    /// Bitwise passes only.
    pub exact: bool,
    /// Of a program, gradients too.
    pub grad: bool,
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

/// Compares the modes on a function of a program's text.
pub fn run_program(
    request: &Request,
    entry: &Entry,
    arguments: &Generated,
    stop: &AtomicBool,
) -> Result<Report> {
    let (context, mut report) = begin(request, 1, stop)?;
    let subject = program(&context, entry, arguments)?;
    report.records = one(&context, &subject)?;
    context.bar.finish_and_clear();
    Ok(report)
}

/// What the parts of a comparison of `count` workloads share, and an empty report.
fn begin<'a>(request: &'a Request, count: usize, stop: &'a AtomicBool) -> Result<(Context<'a>, Report)> {
    let device = request.device.open()?;
    let modes = choose_modes(&request.modes)?;
    let bar = ProgressBar::new(count as u64);
    if let Ok(style) = ProgressStyle::with_template("[{elapsed_precise}] {bar:24} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    let total = Duration::from_millis(if request.quick { 1800 } else { 16_000 });
    let budget =
        Budget { rounds: if request.quick { 40 } else { 200 }, sample: Duration::from_millis(4), total };
    let report = Report {
        records: Vec::new(),
        outcomes: Vec::new(),
        environment: environment::describe(&[device.describe()]),
        exact: request.exact,
    };
    Ok((Context { request, modes, stop, budget, bar }, report))
}

/// Runs a comparison; ends early, with what there is, when `stop` is set.
pub fn run(request: &Request, stop: &AtomicBool) -> Result<Report> {
    let names = choose_workloads(&request.workloads)?;
    let (mut context, mut report) = begin(request, names.len(), stop)?;
    // Those that were asked for by name are refused by name.
    match context.modes.iter().find(|m| m.needs_text() && !request.modes.is_empty()) {
        Some(mode) => return Err(needs_text(mode)),
        None => context.modes.retain(|m| !m.needs_text()),
    }
    for name in names {
        if context.stopped() {
            break;
        }
        if name == digits::NAME {
            let (records, outcomes) = digits::run(&mut context)?;
            report.records.extend(records);
            report.outcomes.extend(outcomes);
        } else {
            let subject = workload(&context, name)?;
            report.records.extend(one(&context, &subject)?);
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

/// What is compared: a task, its inputs, and the right answers.
struct Subject<'a> {
    name: String,
    /// The task as a mode runs it.
    task: Box<dyn Fn(&Mode) -> Result<Task> + 'a>,
    inputs: Vec<Tensor>,
    /// The numbers of the first steps, in float64.
    reference: Vec<f64>,
}

/// A workload, with its answers in float64.
fn workload(context: &Context, name: &str) -> Result<Subject<'static>> {
    context.progress(name, "float64", "reference");
    let double = workloads::make(name, DType::F64)?;
    let inputs: Vec<Tensor> = double.inputs.iter().map(|(_, t)| t.clone()).collect();
    let reference = answers(&mut *make(&MODES[0], Task::of(&double), DeviceId::Cpu, true)?, &inputs, None)?;
    let single = workloads::make(name, DType::F32)?;
    let inputs = single.inputs.iter().map(|(_, t)| context.place(t)).collect::<Result<_>>()?;
    let task = Task::of(&single);
    Ok(Subject { name: name.to_string(), task: Box::new(move |_| Ok(task.clone())), inputs, reference })
}

/// A function of a program with its arguments; its answers are those of torch's eager mode on inputs in float64.
fn program<'a>(context: &Context, entry: &'a Entry, arguments: &'a Generated) -> Result<Subject<'a>> {
    let name = Path::new(&entry.program.source.name).file_stem().unwrap_or_default().to_string_lossy();
    context.progress(&name, "float64", "reference");
    let places: Vec<usize> = entry.differentiable(arguments).into_iter().map(|(at, _)| at).collect();
    let wide = |t: &Tensor| if t.dtype().is_float() { t.to(DType::F64) } else { Ok(t.clone()) };
    let double = arguments.tensors.iter().map(wide).collect::<Result<Vec<_>>>()?;
    let (exact, grad, device) = (context.request.exact, context.request.grad, context.request.device);
    let task = move |mode: &Mode| -> Result<Task> {
        let function = entry.on(device)?.in_mode(mode, exact)?.bound(arguments.templates.clone());
        Ok(match grad {
            false => Task::Forward(Arc::new(function)),
            true => Task::Gradient(Arc::new(move |x| summed(&function(x)?)), places.clone()),
        })
    };
    let mut driver = make(&MODES[0], task(&MODES[0])?, DeviceId::Cpu, true)?;
    // A program that makes float32 tensors of its own may refuse float64 beside them; then eager is the judge.
    let reference = match answers(&mut *driver, &double, None) {
        Ok(reference) => reference,
        Err(_) => answers(&mut *driver, &arguments.tensors, None)?,
    };
    let inputs = arguments.tensors.iter().map(|t| context.place(t)).collect::<Result<_>>()?;
    Ok(Subject { name: name.into_owned(), task: Box::new(task), inputs, reference })
}

/// The sum of everything that is a float.
fn summed(outputs: &[Tensor]) -> Result<Tensor> {
    let mut total: Option<Tensor> = None;
    for t in outputs.iter().filter(|t| t.dtype().is_float()) {
        let sum = if t.rank() == 0 { t.clone() } else { t.sum(&[], false)? };
        total = Some(match total {
            None => sum,
            Some(total) => total.add(&sum)?,
        });
    }
    total.ok_or_else(|| Error::gradient("the program returns nothing that has a gradient"))
}

/// A subject in every mode. A mode that cannot express a program says why instead of a time.
fn one(context: &Context, subject: &Subject) -> Result<Vec<Record>> {
    let Subject { name, task, inputs, reference } = subject;
    let mut drivers = Vec::new();
    let mut records = Vec::new();
    for mode in &context.modes {
        context.progress(name, mode.name, "first call");
        let start = Instant::now();
        let mut driver = make(mode, task(mode)?, context.request.device, context.request.exact)?;
        let mut record = Record {
            workload: name.clone(),
            mode: mode.name,
            device: context.request.device.to_string(),
            threads: threads(),
            time: None,
            first_call: f64::NAN,
            break_even: None,
            retraces: 0,
            counts: Counts::default(),
            max_error: f64::NAN,
            valid: true,
            ledger: Vec::new(),
            failure: None,
        };
        match driver.step(inputs) {
            // What `torch` cannot do is the program's fault, what another mode cannot do is its own.
            Err(e) if !context.stopped() && (e.kind() == ErrorKind::Trace || mode.name != MODES[0].name) => {
                record.failure = Some(e.to_string());
                records.push(record);
                continue;
            }
            Err(e) => return Err(e),
            Ok(first) => {
                context.sync()?;
                record.first_call = start.elapsed().as_secs_f64();
                record.max_error =
                    largest_difference(&answers(&mut *driver, inputs, Some(first))?, reference);
            }
        }
        record.counts = measure::count(&mut || driver.step(inputs).map(drop))?;
        drivers.push((records.len(), driver));
        records.push(record);
    }
    context.progress(name, "all modes", "sampling in turn");
    let mut steps: Vec<Box<dyn Step>> = Vec::new();
    for (_, driver) in drivers.iter_mut() {
        let device = context.request.device;
        steps.push(Box::new(move || {
            driver.step(inputs)?;
            device.open()?.sync()
        }));
    }
    let mut borrowed: Vec<&mut dyn Step> = steps.iter_mut().map(|s| &mut **s as &mut dyn Step).collect();
    let times = measure::sample(&mut borrowed, context.budget, context.stop)?;
    drop(borrowed);
    drop(steps);
    for ((at, driver), time) in drivers.iter().zip(times) {
        records[*at].time = time;
        records[*at].retraces = driver.retraces();
    }
    judge(&mut records);
    Ok(records)
}

/// Fills in what refers to eager: validity and break-even.
pub(crate) fn judge(records: &mut [Record]) {
    let Some(eager) = records.iter().find(|r| r.mode == MODES[0].name).cloned() else { return };
    for record in records.iter_mut().filter(|r| r.failure.is_none()) {
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
        self.records.iter().all(|r| r.valid) && digits::agree(&self.outcomes) && agree
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
