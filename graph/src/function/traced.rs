//! `trace`, as torch.jit.trace: the program runs once on example inputs and what it does becomes the function. Branches
//! and values that the host looked at are frozen, each reported with its line; the trace is then checked against the
//! program. Arguments of other shapes are taken where no recorded op depends on the example's sizes.

use super::{CompiledFunction, invoke, wrong_count};
use crate::interpret;
use crate::ir::{Graph, InputRole};
use crate::options::Options;
use crate::specialize::specialize;
use crate::trace::{Mode, Recording, Source, Spec, Warning, changed, record};
use runtime::door;
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::infer::TensorType;
use runtime::tensor::Tensor;
use std::sync::{Arc, Mutex, PoisonError};

/// How to trace.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// How to compile.
    pub compile: Options,
    /// Whether the program runs once more on the example, recorded and plain, and must agree. What it writes is put back, so
    /// that a draw of random numbers is the same draw.
    pub check: bool,
    /// Other inputs on which the trace must agree with the program, torch's `check_inputs`. Where it does not, the error
    /// names what the example froze.
    pub check_inputs: Vec<Vec<Tensor>>,
    /// Largest difference, relative to the larger of the value and 1, that the check lets pass.
    pub tolerance: f64,
}

impl Default for TraceOptions {
    fn default() -> TraceOptions {
        TraceOptions { compile: Options::default(), check: true, check_inputs: Vec::new(), tolerance: 1e-5 }
    }
}

/// A traced program.
pub struct TracedFunction {
    recording: Recording,
    written: Vec<bool>,
    options: Options,
    arguments: usize,
    compiled: Mutex<Vec<(Vec<TensorType>, Arc<CompiledFunction>)>>,
}

/// Traces `program` on example inputs.
#[track_caller]
pub fn trace(
    name: &str,
    examples: &[Tensor],
    options: TraceOptions,
    program: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
) -> Result<TracedFunction> {
    let specs: Vec<Spec> = examples.iter().map(Spec::of).collect();
    let _no_grad = door::no_grad();
    let recording = record(name, Mode::Along, &specs, &program)?;
    if options.check {
        let again = record(name, Mode::Along, &specs, &program)?;
        check_graphs(&recording.graph, &again.graph)?;
        let (expected, found) = both(&recording, examples, &program)?;
        check_values(&expected, &found?, options.tolerance)?;
    }
    for (i, inputs) in options.check_inputs.iter().enumerate() {
        let others = |e: Error| frozen(e, i, &recording, inputs, &program);
        let (expected, found) = both(&recording, inputs, &program)?;
        found.and_then(|found| check_values(&expected, &found, options.tolerance)).map_err(others)?;
    }
    let written = written(&recording.graph);
    Ok(TracedFunction {
        recording,
        written,
        options: options.compile,
        arguments: examples.len(),
        compiled: Mutex::default(),
    })
}

/// Which inputs get new values.
pub(super) fn written(graph: &Graph) -> Vec<bool> {
    (0..graph.inputs.len()).map(|i| graph.write_backs.iter().any(|(input, _)| *input == i)).collect()
}

/// What the program gives and what its graph gives for the same arguments, the values that they write among it. What the
/// program wrote is put back.
fn both(
    recording: &Recording,
    args: &[Tensor],
    program: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
) -> Result<(Vec<Tensor>, Result<Vec<Tensor>>)> {
    let copies = |tensors: &[Tensor]| tensors.iter().map(Tensor::copy).collect::<Result<Vec<_>>>();
    let graph = &recording.graph;
    let args = copies(args)?;
    let inputs = copies(&recording.bind(&args)?)?;
    let returned = program(&args).and_then(|returned| copies(&returned));
    let mut written = Vec::new();
    for &(input, _) in &graph.write_backs {
        let source = &recording.sources[input];
        let now = source.current(&args)?;
        written.push(now.copy()?);
        source.set(&now, &inputs[input], Origin::caller())?;
    }
    let found = interpret::run(graph, &inputs).map(|results| {
        let places = graph.returned().into_iter().chain(graph.write_backs.iter().map(|(_, result)| *result));
        places.map(|at| results[at].clone()).collect()
    });
    Ok((returned?.into_iter().chain(written).collect(), found))
}

/// An error of the trace on other inputs, with what was frozen that these inputs decide differently.
#[cold]
fn frozen(
    error: Error,
    number: usize,
    recording: &Recording,
    inputs: &[Tensor],
    program: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
) -> Error {
    let specs: Vec<Spec> = inputs.iter().map(Spec::of).collect();
    let found = record("again", Mode::Along, &specs, program);
    let found = found.map(|again| changed(&recording.warnings, &again.warnings)).unwrap_or_default();
    let message = format!("the trace is wrong for the check inputs {number}: {}", error.message());
    let error = Error::new(ErrorKind::Trace, message);
    match found.first() {
        Some(place) => error.hint(place.to_string()).at(place.origin),
        None => error,
    }
}

fn check_graphs(first: &Graph, second: &Graph) -> Result<()> {
    if first == second {
        return Ok(());
    }
    let (a, b) = (crate::print::canonical(first), crate::print::canonical(second));
    let differing = a.lines().zip(b.lines()).find(|(x, y)| x != y);
    let (x, y) = differing.unwrap_or(("the shorter trace ends", "the longer trace goes on"));
    let message = format!("two traces of the same program differ:\n    {}\n    {}", x.trim(), y.trim());
    Err(Error::new(ErrorKind::Trace, message).hint("the program is not a function of its inputs"))
}

fn check_values(expected: &[Tensor], found: &[Tensor], tolerance: f64) -> Result<()> {
    if expected.len() != found.len() {
        let message = format!("the program returns {} tensors, the trace {}", expected.len(), found.len());
        return Err(Error::new(ErrorKind::Trace, message));
    }
    for (i, (want, got)) in expected.iter().zip(found).enumerate() {
        if want.tensor_type() != got.tensor_type() {
            let (want, got) = (want.tensor_type(), got.tensor_type());
            return Err(Error::new(
                ErrorKind::Trace,
                format!("result {i} of the trace is a {got}, not a {want}"),
            ));
        }
        for (w, g) in want.to_f64_vec()?.into_iter().zip(got.to_f64_vec()?) {
            let equal = w == g || (w.is_nan() && g.is_nan());
            if !equal
                && (w - g).abs().partial_cmp(&(tolerance * w.abs().max(1.0)))
                    != Some(std::cmp::Ordering::Less)
            {
                let message = format!("result {i} of the trace has {g} where the program has {w}");
                return Err(Error::new(ErrorKind::Trace, message)
                    .hint("random draws and other state make a program differ from its trace"));
            }
        }
    }
    Ok(())
}

impl TracedFunction {
    /// Runs it.
    #[track_caller]
    pub fn call(&self, args: &[Tensor]) -> Result<Vec<Tensor>> {
        let origin = Origin::caller();
        if args.len() != self.arguments {
            return Err(wrong_count(&self.recording.graph.name, self.arguments, args.len()).at(origin));
        }
        let compiled = self.compiled_for(args).map_err(|e| e.at(origin))?;
        invoke(&compiled, &self.recording.sources, &self.written, args, origin)
    }

    /// The function compiled for arguments like these.
    pub fn compiled_for(&self, args: &[Tensor]) -> Result<Arc<CompiledFunction>> {
        let fits = |types: &[TensorType]| {
            types
                .iter()
                .zip(args)
                .all(|(ty, a)| ty.dtype == a.dtype() && ty.dims().as_deref() == Some(a.shape()))
        };
        let lock = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = lock().iter().find(|(types, _)| fits(types)) {
            return Ok(found.clone());
        }
        let recorded = &self.recording.graph;
        let types: Vec<TensorType> = args.iter().map(Tensor::tensor_type).collect();
        let mut all = types.clone();
        for &param in &recorded.params()[self.arguments..] {
            all.push(recorded.tensor_type(param)?.clone());
        }
        let device = args.first().map_or(self.state_device(), Tensor::device);
        let compiled = CompiledFunction::new(specialize(recorded, &all)?, self.options.clone(), device)?;
        lock().push((types, compiled.clone()));
        Ok(compiled)
    }

    fn state_device(&self) -> runtime::DeviceId {
        let held = self.recording.sources.iter().find_map(|s| match s {
            Source::Tensor(t) => Some(t.device()),
            Source::Variable(v) => Some(v.current().device()),
            Source::Argument(_) => None,
        });
        held.unwrap_or(runtime::DeviceId::Cpu)
    }

    /// What was frozen, with the lines that looked.
    pub fn warnings(&self) -> &[Warning] {
        &self.recording.warnings
    }

    /// What was recorded.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// The captured tensors, which the function reads anew at each call.
    pub fn captured(&self) -> Vec<Tensor> {
        let inputs = self.recording.inputs(InputRole::Captured).into_iter();
        let all = inputs.chain(self.recording.inputs(InputRole::State));
        all.filter_map(|i| match &self.recording.sources[i] {
            Source::Tensor(t) => Some(t.clone()),
            Source::Argument(_) | Source::Variable(_) => None,
        })
        .collect()
    }
}
