//! Recording a program as a graph, by running it once with tensors that stand for values.
//!
//! Two kinds. *Along* an example (torch.jit.trace): every value has an example; when the host looks at one, the example
//! answers, and a warning says what was frozen. *Staged* (tf.function): there are no values; looking is an error that
//! names the line.
//!
//! What a program does to state becomes part of the graph's signature. A tensor in memory that the program meets is
//! captured by identity of storage and layout, a Variable by its own identity, each as one input; nothing is copied, no
//! constant is silently lost. Writes are functionalised: a tensor object stands for a cell, a write gives the cell another
//! value, views see it (`cells`), and at the end each captured cell that was written is a result to be written back.
//! Tracing itself changes nothing: writes take effect when the graph runs.

mod branch;
mod cells;
mod check;
mod insert;
mod look;
pub(crate) mod region;
mod scatter;
mod state;
mod tracer;

pub use branch::{Choice, cond, cond_with, while_loop};
pub(crate) use cells::{hosts, view_layout};
pub use check::check;
pub use look::{Changed, Frozen, Seen, Warning, changed};
pub(crate) use scatter::{Emit, scatter};
pub use tracer::{Active, Mode, Tracer, is_staging, is_tracing};

use crate::build::{Builder, ValueMap};
use crate::ir::{Graph, InputRole};
use crate::verify::verify;
use runtime::device::DeviceId;
use runtime::error::{Error, Origin, Result};
use runtime::infer::TensorType;
use runtime::shared::Shared;
use runtime::tensor::{Storage, Tensor};
use runtime::value::Arg;
use runtime::variable::Variable;
use runtime::{door, ops};

/// An argument of the program that is recorded.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its type.
    pub ty: TensorType,
    /// Where it lies.
    pub device: DeviceId,
    /// Its example; needed along an example, not looked at when staging.
    pub example: Option<Tensor>,
    /// A name for readers.
    pub name: String,
}

impl Spec {
    /// The type and device of a tensor, which is also the example.
    pub fn of(tensor: &Tensor) -> Spec {
        Spec {
            ty: tensor.tensor_type(),
            device: tensor.device(),
            example: Some(tensor.clone()),
            name: String::new(),
        }
    }
}

/// Where an input of a recorded graph comes from when it runs.
#[derive(Clone, Debug)]
pub enum Source {
    /// The caller's argument at this position.
    Argument(usize),
    /// This very tensor.
    Tensor(Tensor),
    /// The present value of this Variable.
    Variable(Variable),
}

impl Source {
    /// The tensor that the input is now.
    pub fn current(&self, args: &[Tensor]) -> Result<Tensor> {
        match self {
            Source::Argument(i) => {
                args.get(*i).cloned().ok_or_else(|| Error::value(format!("argument {i} is missing")))
            }
            Source::Tensor(t) => Ok(t.clone()),
            Source::Variable(v) => Ok(v.current()),
        }
    }

    /// Gives it a new value, which is written over the tensor that it is now.
    pub(crate) fn set(&self, now: &Tensor, value: &Tensor, origin: Origin) -> Result<()> {
        match self {
            Source::Variable(variable) => variable.assign(value),
            Source::Argument(_) | Source::Tensor(_) => {
                door::mutate(&ops::COPY, &[Arg::Tensor(now), Arg::Tensor(value)], origin)
            }
        }
    }
}

/// A recorded program.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The graph. Its first inputs are the arguments.
    pub graph: Graph,
    /// Where each input comes from.
    pub sources: Vec<Source>,
    /// What was frozen, in order.
    pub warnings: Vec<Warning>,
    /// The results for the examples, where there were examples.
    pub examples: Vec<Tensor>,
}

/// Records what `program` does with arguments like these and returns.
pub fn record(
    name: &str,
    mode: Mode,
    specs: &[Spec],
    program: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
) -> Result<Recording> {
    let tracer = Tracer::new(name, mode);
    let args = specs.iter().map(|spec| tracer.argument(spec)).collect::<Result<Vec<_>>>()?;
    let _mode = door::program_begins();
    let results = {
        let _active = tracer.activate();
        program(&args)?
    };
    let recording = tracer.finish(&results)?;
    drop((args, results, tracer));
    let recording = constants(recording)?.0;
    verify(&recording.graph)?;
    Ok(recording)
}

/// A tensor that nobody will change, as a constant of what is recorded on this thread; itself where nothing is.
#[track_caller]
pub fn constant(tensor: &Tensor) -> Result<Tensor> {
    match tracer::innermost() {
        Some(tracer) => tracer.constant(tensor, Origin::caller()),
        None => Ok(tensor.clone()),
    }
}

/// Captured tensors that nobody else holds any more can never change: they become constants of the graph. Says how many.
pub(crate) fn constants(recording: Recording) -> Result<(Recording, usize)> {
    let fixed: Vec<Option<Tensor>> =
        recording.sources.iter().zip(&recording.graph.inputs).map(fixed).collect();
    let count = fixed.iter().flatten().count();
    if count == 0 {
        return Ok((recording, 0));
    }
    let Recording { graph: old, sources, warnings, examples } = recording;
    let mut builder = Builder::new(old.name.clone());
    let mut map = ValueMap::new(&old);
    let mut kept = Vec::new();
    let mut position = vec![None; sources.len()];
    for (i, source) in sources.into_iter().enumerate() {
        let param = old.params()[i];
        if fixed[i].is_none() {
            let info = old.value(param);
            position[i] = Some(kept.len());
            kept.push(source);
            let new = builder.input(info.ty.clone(), old.inputs[i], &info.name);
            map.set(param, new);
        }
    }
    for (i, tensor) in fixed.into_iter().enumerate() {
        if let Some(tensor) = tensor {
            map.set(old.params()[i], builder.constant(tensor, None));
        }
    }
    let results = builder.inline(&old, &mut map)?;
    let moved = |(input, result): &(usize, usize)| position[*input].map(|i| (i, *result));
    let write_backs = old.write_backs.iter().filter_map(moved).collect();
    let graph = builder.finish(results, write_backs);
    Ok((Recording { graph, sources: kept, warnings, examples }, count))
}

fn fixed((source, role): (&Source, &InputRole)) -> Option<Tensor> {
    match (source, role, source_tensor(source)) {
        (Source::Tensor(tensor), InputRole::Captured, Some(storage)) => {
            let alone = tensor.handles() == 1 && storage.handles() == 1;
            alone.then(|| tensor.clone())
        }
        (Source::Tensor(_) | Source::Argument(_) | Source::Variable(_), _, _) => None,
    }
}

fn source_tensor(source: &Source) -> Option<&Shared<Storage>> {
    match source {
        Source::Tensor(tensor) => tensor.storage().ok(),
        Source::Argument(_) | Source::Variable(_) => None,
    }
}

impl Recording {
    /// Positions of the inputs with this role.
    pub fn inputs(&self, role: InputRole) -> Vec<usize> {
        (0..self.graph.inputs.len()).filter(|&i| self.graph.inputs[i] == role).collect()
    }

    /// The tensors of every input for these arguments.
    pub fn bind(&self, args: &[Tensor]) -> Result<Vec<Tensor>> {
        self.sources.iter().map(|s| s.current(args)).collect()
    }
}
