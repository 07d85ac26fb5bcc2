//! The main job: an MLP trained and evaluated on real handwritten digits in every mode, epoch by epoch in turn.

use crate::compare::{Context, judge, largest_difference, threads};
use crate::drivers::{Driver, Task, make};
use crate::measure::{self, Counts};
use crate::modes::{MODES, Mode};
use crate::record::Record;
use crate::statistics::summarize;
use comfy_table::{Cell, CellAlignment, Table, presets};
use models::mnist::Digits;
use models::workloads::{mlp_logits, mlp_loss, mlp_parameters};
use runtime::{DType, DeviceId, Error, Result, Tensor};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

/// Name of the workload in reports.
pub const NAME: &str = "mlp_digits";

/// Batch size.
const BATCH: usize = 64;
/// Learning rate of SGD.
const RATE: f64 = 0.1;
/// Steps that are timed together as one sample.
const CHUNK: usize = 10;
/// Steps whose losses are compared with float64 and among modes.
const CHECKED: usize = 3;
/// Passes over the training images.
const EPOCHS: u64 = 8;
/// Passes in a quick comparison.
const QUICK_EPOCHS: u64 = 2;

/// How the training went in one mode.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Mode.
    pub mode: &'static str,
    /// Passes over the training images.
    pub epochs: u64,
    /// Losses of the first three steps.
    pub first_losses: Vec<f64>,
    /// Loss of the last step.
    pub loss: f64,
    /// Share of the test images recognised.
    pub accuracy: f64,
    /// Whether every loss, every parameter and the accuracy equal the first mode's bit for bit.
    pub bit_equal: bool,
}

impl Outcome {
    /// The outcome in the JSON report.
    pub fn to_json(&self) -> Value {
        json!({
            "workload": NAME,
            "mode": self.mode,
            "epochs": self.epochs,
            "first_losses": self.first_losses,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "bit_equal": self.bit_equal,
        })
    }
}

/// Whether the first losses agree within 1e-5 relative and the accuracies within half a point.
pub fn agree(outcomes: &[Outcome]) -> bool {
    let Some(first) = outcomes.first() else { return true };
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-5 * b.abs();
    outcomes.iter().all(|o| {
        o.first_losses.iter().zip(&first.first_losses).all(|(&a, &b)| close(a, b))
            && (o.accuracy - first.accuracy).abs() <= 0.005
    })
}

/// The terminal form of the outcomes.
pub fn render(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["mode", "first loss", "third loss", "last loss", "test accuracy", "bits"]);
    for o in outcomes {
        let number = |v: Option<&f64>| v.map_or("-".into(), |v| format!("{v:.6}"));
        let bits = if o.bit_equal { "equal" } else { "close" };
        let mut row = vec![Cell::new(o.mode)];
        let cells = [
            number(o.first_losses.first()),
            number(o.first_losses.last()),
            number(Some(&o.loss)),
            percent(o.accuracy),
        ];
        row.extend(cells.into_iter().map(|c| Cell::new(c).set_alignment(CellAlignment::Right)));
        row.push(Cell::new(bits));
        table.add_row(row);
    }
    let epochs = outcomes.first().map_or(0, |o| o.epochs);
    let verdict = if agree(outcomes) { "" } else { "INVALID: the modes disagree\n" };
    format!("\ntrained on 4,000 digits for {epochs} epochs, tested on 1,000\n{table}\n{verdict}")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// One mode's training on its way.
struct Training {
    mode: &'static Mode,
    driver: Box<dyn Driver>,
    first_call: f64,
    counts: Counts,
    samples: Vec<f64>,
    losses: Vec<f64>,
}

type Batch = [Tensor; 2];

impl Training {
    fn start(context: &Context, mode: &'static Mode, batches: &[Batch]) -> Result<Training> {
        let task = Task::Train { loss: mlp_loss, parameters: parameters(DType::F32)?, rate: RATE };
        let start = Instant::now();
        let mut driver = make(mode, task, context.request.device, context.request.exact)?;
        let first = loss(driver.step(&batches[0])?)?;
        context.sync()?;
        let first_call = start.elapsed().as_secs_f64();
        let mut second = None;
        let counts = measure::count(&mut || {
            second = Some(loss(driver.step(&batches[1])?)?);
            Ok(())
        })?;
        let losses =
            std::iter::once(first).chain(second).map(|t| Ok(t.item()?.to_f64())).collect::<Result<_>>()?;
        Ok(Training { mode, driver, first_call, counts, samples: Vec::new(), losses })
    }

    /// Steps through batches, timing whole chunks; losses are read after the clock.
    fn train(&mut self, context: &Context, batches: &[Batch]) -> Result<()> {
        for chunk in batches.chunks(CHUNK) {
            let start = Instant::now();
            let losses = chunk.iter().map(|b| loss(self.driver.step(b)?)).collect::<Result<Vec<_>>>()?;
            context.sync()?;
            if chunk.len() == CHUNK {
                self.samples.push(start.elapsed().as_secs_f64() / CHUNK as f64);
            }
            for loss in losses {
                self.losses.push(loss.item()?.to_f64());
            }
        }
        Ok(())
    }

    /// Share of the test images whose largest logit is the label, computed in the training's own mode.
    fn accuracy(&self, context: &Context, images: &Tensor, labels: &Tensor) -> Result<f64> {
        let forward = Task::Forward(Arc::new(|inputs: &[Tensor]| {
            let (images, parameters) = inputs.split_last().ok_or_else(|| Error::internal("no inputs"))?;
            Ok(vec![mlp_logits(parameters, images)?.argmax(Some(-1), false)?])
        }));
        let mut driver = make(self.mode, forward, context.request.device, context.request.exact)?;
        let mut inputs = self.driver.parameters()?;
        inputs.push(images.clone());
        let found = driver.step(&inputs)?;
        let found = found.first().ok_or_else(|| Error::internal("no predictions"))?.to_vec::<i64>()?;
        let labels = labels.to_vec::<i64>()?;
        let right = found.iter().zip(&labels).filter(|(a, b)| a == b).count();
        Ok(right as f64 / labels.len() as f64)
    }
}

fn parameters(dtype: DType) -> Result<Vec<Tensor>> {
    Ok(mlp_parameters(dtype)?.into_iter().map(|(_, t)| t).collect())
}

fn loss(mut outputs: Vec<Tensor>) -> Result<Tensor> {
    outputs.pop().ok_or_else(|| Error::internal("a training step has no loss"))
}

/// Losses of the first steps in float64, by eager autograd on the CPU.
fn reference(digits: &Digits) -> Result<Vec<f64>> {
    let task = Task::Train { loss: mlp_loss, parameters: parameters(DType::F64)?, rate: RATE };
    let mut driver = make(&MODES[0], task, DeviceId::Cpu, true)?;
    let batches = digits.epoch(0, BATCH)?;
    batches
        .iter()
        .take(CHECKED)
        .map(|(x, y)| Ok(loss(driver.step(&[x.to(DType::F64)?, y.clone()])?)?.item()?.to_f64()))
        .collect()
}

/// Trains and evaluates in every mode. Ends early, with what there is, when the user stops.
pub fn run(context: &mut Context) -> Result<(Vec<Record>, Vec<Outcome>)> {
    let digits = Digits::load()?;
    context.progress(NAME, "float64", "reference");
    let reference = reference(&digits)?;
    let place = |(x, y): (Tensor, Tensor)| Ok([context.place(&x)?, context.place(&y)?]);
    let epochs = if context.request.quick { QUICK_EPOCHS } else { EPOCHS };
    let mut trainings: Vec<Training> = Vec::new();
    for epoch in 0..epochs {
        let batches: Vec<Batch> =
            digits.epoch(epoch, BATCH)?.into_iter().map(place).collect::<Result<_>>()?;
        for at in 0..context.modes.len() {
            if context.stopped() {
                break;
            }
            context.progress(NAME, context.modes[at].name, &format!("epoch {} of {epochs}", epoch + 1));
            if epoch == 0 {
                trainings.push(Training::start(context, context.modes[at], &batches)?);
            }
            let done = if epoch == 0 { 2 } else { 0 };
            trainings[at].train(context, &batches[done..])?;
        }
    }
    let (images, labels) = digits.test()?;
    let images = context.place(&images)?;
    let mut records = Vec::new();
    let mut outcomes = Vec::new();
    for training in &trainings {
        context.progress(NAME, training.mode.name, "evaluation");
        outcomes.push(outcome(
            &trainings[0],
            training,
            epochs,
            training.accuracy(context, &images, &labels)?,
        )?);
        records.push(record(context, training, &reference));
    }
    judge(&mut records);
    Ok((records, outcomes))
}

fn outcome(first: &Training, training: &Training, epochs: u64, accuracy: f64) -> Result<Outcome> {
    let bits = |t: &Training| -> Result<Vec<u64>> {
        let mut out: Vec<u64> = t.losses.iter().map(|v| v.to_bits()).collect();
        for parameter in t.driver.parameters()? {
            out.extend(parameter.to_f64_vec()?.into_iter().map(f64::to_bits));
        }
        Ok(out)
    };
    Ok(Outcome {
        mode: training.mode.name,
        epochs,
        first_losses: training.losses.iter().take(CHECKED).copied().collect(),
        loss: training.losses.last().copied().unwrap_or(f64::NAN),
        accuracy,
        bit_equal: bits(training)? == bits(first)?,
    })
}

fn record(context: &Context, training: &Training, reference: &[f64]) -> Record {
    Record {
        workload: NAME.to_string(),
        mode: training.mode.name,
        device: context.request.device.to_string(),
        threads: threads(),
        time: summarize(&training.samples),
        first_call: training.first_call,
        break_even: None,
        retraces: training.driver.retraces(),
        counts: training.counts,
        max_error: largest_difference(&training.losses[..CHECKED.min(training.losses.len())], reference),
        valid: true,
        ledger: Vec::new(),
        failure: None,
    }
}
