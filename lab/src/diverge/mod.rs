//! Where a mode parts from torch's eager mode: a function is made for its first inputs and called on others, with other
//! values and other shapes. For what differs: on which inputs, by how much, at which operation first, and which look of the
//! host was frozen that these inputs decide differently.

mod first;
mod inputs;
mod prepared;
mod report;
mod witness;

pub use first::{First, What};
pub use inputs::Variant;
pub use prepared::Prepared;

use crate::modes::{MODES, Mode, Staging};
use crate::program::{Entry, Generated};
use graph::passes::selected;
use graph::trace::{Changed, Mode as Tracing, Spec, Warning, changed, record};
use graph::{Options, PassSelection};
use runtime::testing::differences;
use runtime::{Error, Result, Tensor, door, interrupt};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use witness::{Events, Watched, watch};

/// What to look for.
pub struct Request {
    /// Modes by name.
    pub modes: Vec<String>,
    /// Bitwise passes only.
    pub exact: bool,
    /// What inputs are drawn with.
    pub seed: u64,
    /// Sets of other values.
    pub tries: usize,
}

/// Most turns of loops and calls of a run in eager mode: other values may make a program that does not end.
const TURNS: u64 = 1_000_000;

/// What was found.
pub struct Report {
    /// The program, whose lines are shown.
    pub entry: Entry,
    /// Names of the tensors in the arguments.
    pub names: Vec<String>,
    /// The inputs on which the modes were called.
    pub inputs: Vec<Variant>,
    /// Other shapes that eager refuses.
    pub refused: usize,
    /// Inputs on which eager does not end in time.
    pub endless: usize,
    /// For each mode.
    pub modes: Vec<Verdict>,
}

/// How one mode did.
pub struct Verdict {
    /// The mode.
    pub mode: &'static Mode,
    /// Whether results had to be the same bit for bit.
    pub bitwise: bool,
    /// Why the mode cannot run the program, where it cannot.
    pub refusal: Option<Error>,
    /// What differs, by cause.
    pub differing: Vec<Cause>,
}

/// Inputs whose results differ at one operation and because of the same looks.
pub struct Cause {
    /// The first operation that differs, on the first of the inputs; none where each of them by itself agrees.
    pub first: Option<First>,
    /// The pass after which the first of them differ, where each operation by itself agrees.
    pub pass: Option<&'static str>,
    /// What was frozen, in the order of the program; the first is the cause of those that follow from it.
    pub frozen: Vec<Changed>,
    /// Whether a trace differs though the host saw the same at every place that it looked at.
    pub unexplained: bool,
    /// The inputs, and how their results differ.
    pub inputs: Vec<(Variant, String)>,
}

/// Compares modes with torch's eager mode. The program has to run on the first inputs.
pub fn run(entry: &Entry, first: &Generated, request: &Request) -> Result<Report> {
    let modes = request.modes.iter().map(|name| Mode::named(name)).collect::<Result<Vec<_>>>()?;
    let modes: Vec<&'static Mode> = modes.into_iter().filter(|m| m.staging != Staging::Autograd).collect();
    if modes.is_empty() {
        return Err(Error::value("there is nothing to compare with torch")
            .hint("name other modes: --modes torch.trace,torch.script"));
    }
    let limited = Entry { step_limit: Some(entry.step_limit.unwrap_or(TURNS)), ..entry.clone() };
    let eager = Prepared::new(&MODES[0], &MODES[0].options(request.exact), &limited, first)?;
    let names = inputs::names(entry, first);
    let values = inputs::values(first, request.seed, request.tries);
    let shapes = inputs::shapes(&names, first, request.seed, values.len());
    let mut report =
        Report { entry: entry.clone(), names, inputs: Vec::new(), refused: 0, endless: 0, modes: Vec::new() };
    let mut expected = Vec::new();
    for variant in values.into_iter().chain(shapes) {
        stopped(entry)?;
        let tensors = inputs::make(first, &variant)?;
        match eager.call(&tensors) {
            Err(e) if variant.number == 0 => return Err(e),
            Err(e) if e.message().starts_with("step limit") => report.endless += 1,
            Err(_) if !variant.resized.is_empty() => report.refused += 1,
            outcome => {
                report.inputs.push(variant);
                expected.push((tensors, outcome));
            }
        }
    }
    for mode in modes {
        let verdict = judge(mode, entry, first, request, &report.inputs, &expected)?;
        report.modes.push(verdict);
    }
    Ok(report)
}

type Expected = (Vec<Tensor>, Result<Vec<Tensor>>);

fn judge(
    mode: &'static Mode,
    entry: &Entry,
    first: &Generated,
    request: &Request,
    variants: &[Variant],
    expected: &[Expected],
) -> Result<Verdict> {
    let mut verdict = Verdict { mode, bitwise: true, refusal: None, differing: Vec::new() };
    let options = mode.options(request.exact);
    let prepared = match Prepared::new(mode, &options, entry, first) {
        Ok(prepared) => prepared,
        Err(e) => {
            verdict.refusal = Some(e);
            return Ok(verdict);
        }
    };
    verdict.bitwise = prepared.bitwise;
    let mut keys: Vec<String> = Vec::new();
    for (variant, (tensors, want)) in variants.iter().zip(expected) {
        stopped(entry)?;
        let got = prepared.call(tensors);
        let Some(by) = differs(&prepared, want, &got) else { continue };
        let mut cause = locate(mode, entry, first, tensors)?;
        if cause.first.is_none() && want.is_ok() {
            cause.pass = guilty(mode, &options, entry, first, (tensors, want))?;
        }
        let key = cause.key();
        let at = keys.iter().position(|k| *k == key).unwrap_or_else(|| {
            keys.push(key);
            verdict.differing.push(cause);
            keys.len() - 1
        });
        verdict.differing[at].inputs.push((variant.clone(), by));
    }
    Ok(verdict)
}

fn stopped(entry: &Entry) -> Result<()> {
    match entry.stop.as_ref().is_some_and(|s| s.load(Ordering::Relaxed)) {
        true => Err(interrupt::stopped()),
        false => Ok(()),
    }
}

/// How results differ, in words; `None` where they do not.
fn differs(prepared: &Prepared, want: &Result<Vec<Tensor>>, got: &Result<Vec<Tensor>>) -> Option<String> {
    let (want, got) = match (want, got) {
        (Err(_), Err(_)) => return None,
        (Err(e), Ok(_)) => return Some(format!("it gives values where torch fails: {}", e.message())),
        (Ok(_), Err(e)) => return Some(format!("it fails: {}", e.message())),
        (Ok(want), Ok(got)) => (want, got),
    };
    if want.len() != got.len() {
        return Some(format!("it gives {} outputs, torch {}", got.len(), want.len()));
    }
    want.iter().zip(got).enumerate().find_map(|(i, (want, got))| {
        if want.tensor_type() != got.tensor_type() {
            return Some(format!("out{i} is {}, in torch {}", got.tensor_type(), want.tensor_type()));
        }
        let found = got.detach().and_then(|got| differences(&got, want, prepared.tolerance(want), true));
        match found {
            Err(e) => Some(format!("out{i} cannot be read: {}", e.message())),
            Ok(found) => found.first.map(|(at, g, w)| {
                let [g, w] = [g, w].map(|v| first::number(v, want.dtype()));
                let (at, count, total) = (at.as_slice(), found.mismatched, found.total);
                format!(
                    "out{i}{at:?} is {g}, in torch {w}; {count} of {total} elements differ, most by {:.3e}",
                    found.absolute.value
                )
            }),
        }
    })
}

/// The first operation that differs on these inputs, and what was frozen that they decide differently.
fn locate(mode: &'static Mode, entry: &Entry, first: &Generated, tensors: &[Tensor]) -> Result<Cause> {
    let copies = || tensors.iter().map(Tensor::copy).collect::<Result<Vec<_>>>();
    let program = || entry.bound(first.templates.clone());
    let none = Cause { first: None, pass: None, frozen: Vec::new(), unexplained: false, inputs: Vec::new() };
    let seeded = |function: &dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>| -> Result<Events> {
        runtime::random::manual_seed(0)?;
        Ok(watch(function, &copies()?))
    };
    match mode.staging {
        Staging::Trace => {
            let eager = seeded(&program())?;
            runtime::random::manual_seed(0)?;
            let watched = Watched::new(program(), &first.tensors)?;
            runtime::random::manual_seed(0)?;
            let other = watched.run(&copies()?);
            // A program that fails on these inputs leaves no looks to compare.
            let now = looks(program(), tensors);
            let frozen = now.as_ref().map(|now| changed(&watched.recording.warnings, now));
            let frozen = frozen.unwrap_or_default();
            let unexplained = now.is_ok() && frozen.is_empty();
            Ok(Cause { first: first::first(&eager, &other), frozen, unexplained, ..none })
        }
        Staging::Script => {
            let eager = seeded(&program())?;
            let plain = Options { passes: PassSelection::None, ..mode.options(true) };
            let scripted = script::scripted::script(entry.program.clone(), entry.function, plain)?;
            // With a witness in scope its regions run one operation at a time.
            let running = Entry { scripted: Some(Arc::new(scripted)), ..entry.clone() };
            let other = seeded(&running.bound(first.templates.clone()))?;
            Ok(Cause { first: first::first(&eager, &other), ..none })
        }
        // What these modes compile is made while the program runs, for the inputs at hand.
        Staging::Autograd | Staging::Tape | Staging::Function | Staging::Compile | Staging::Lazy => Ok(none),
    }
}

/// Where the host looks when a program is traced along these inputs.
fn looks(program: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>, tensors: &[Tensor]) -> Result<Vec<Warning>> {
    let specs: Vec<Spec> = tensors.iter().map(Spec::of).collect();
    runtime::random::manual_seed(0)?;
    let _no_grad = door::no_grad();
    Ok(record("looks", Tracing::Along, &specs, program)?.warnings)
}

/// The first pass after which results differ.
fn guilty(
    mode: &'static Mode,
    options: &Options,
    entry: &Entry,
    first: &Generated,
    (tensors, want): (&[Tensor], &Result<Vec<Tensor>>),
) -> Result<Option<&'static str>> {
    if mode.passes.is_none() {
        return Ok(None);
    }
    for pass in selected(options)? {
        let passes = PassSelection::StopAfter(pass.name.to_string());
        let prepared = Prepared::new(mode, &Options { passes, ..options.clone() }, entry, first)?;
        if differs(&prepared, want, &prepared.call(tensors)).is_some() {
            return Ok(Some(pass.name));
        }
    }
    Ok(None)
}

impl Cause {
    /// What two inputs have in common whose results differ for one reason.
    fn key(&self) -> String {
        let frozen: Vec<String> =
            self.frozen.iter().map(|c| format!("{:?} {}", c.frozen, c.origin)).collect();
        let first = self.first.as_ref().map(|f| format!("{} {} {}", f.origin, f.name, f.what.word()));
        format!("{first:?} {:?} {frozen:?}", self.pass)
    }
}

impl Report {
    /// Whether every mode gives what torch gives.
    pub fn agrees(&self) -> bool {
        self.modes.iter().all(|v| v.refusal.is_none() && v.differing.is_empty())
    }
}
