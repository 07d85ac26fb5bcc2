//! One program in one mode: the same functions over tensors, driven the way the mode's system would drive them.

use crate::lazy::Deferred;
use crate::modes::{Mode, Staging};
use eager::{Autograd as _, GradOptions, GradientTape, Unconnected};
use graph::compile::{CompileOptions, CompiledProgram, compile};
use graph::{Argument, BoundFunction, Function, Options, TraceOptions, TracedFunction};
use models::optim::{Optimizer, Sgd, Step};
use models::workloads::{Program, Workload};
use runtime::{DeviceId, Error, Result, Tensor, Variable};
use std::sync::Arc;

/// Outputs from inputs.
pub type Forward = Arc<dyn Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + Sync>;

/// A scalar of tensors.
pub type Scalar = Arc<dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync>;

/// A workload's program and parameters, apart from its data.
#[derive(Clone)]
pub enum Task {
    /// Outputs from inputs; no gradients.
    Forward(Forward),
    /// A scalar and its gradients with respect to the inputs whose places are listed.
    Gradient(Scalar, Vec<usize>),
    /// A loss of parameters and inputs; a step is an SGD update.
    Train {
        /// The loss.
        loss: fn(&[Tensor], &[Tensor]) -> Result<Tensor>,
        /// Initial parameters.
        parameters: Vec<Tensor>,
        /// Learning rate.
        rate: f64,
    },
}

impl Task {
    /// The task of a workload.
    pub fn of(workload: &Workload) -> Task {
        match workload.program {
            Program::Forward(f) => Task::Forward(Arc::new(f)),
            Program::Gradient(f) => Task::Gradient(Arc::new(f), (0..workload.inputs.len()).collect()),
            Program::Train(loss, rate) => {
                let parameters = workload.parameters.iter().map(|(_, t)| t.clone()).collect();
                Task::Train { loss, parameters, rate }
            }
        }
    }
}

/// A task in a mode, ready to step.
pub trait Driver {
    /// One step: outputs of a forward; the scalar and the gradients; the loss before the update.
    fn step(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>>;
    /// The parameters as they are now; empty unless it trains.
    fn parameters(&self) -> Result<Vec<Tensor>> {
        Ok(Vec::new())
    }
    /// Traces beyond the first.
    fn retraces(&self) -> u64 {
        0
    }
}

/// The task in a mode on a device. Parameters are copied, so that every mode trains its own.
pub fn make(mode: &Mode, task: Task, device: DeviceId, exact: bool) -> Result<Box<dyn Driver>> {
    if mode.staging == Staging::Lazy {
        let eager = Mode { staging: Staging::Autograd, ..*mode };
        return Ok(Box::new(Deferred::new(mode.options(exact), make(&eager, task, device, exact)?)));
    }
    let place = |t: &Tensor| if t.device() == device { t.copy() } else { t.to_device(device) };
    Ok(match (mode.staging, task) {
        (Staging::Autograd | Staging::Script | Staging::Tape | Staging::Lazy, Task::Forward(f)) => {
            Box::new(EagerForward(f))
        }
        (Staging::Autograd | Staging::Script | Staging::Lazy, Task::Gradient(f, of)) => {
            Box::new(AutogradGradient(f, of))
        }
        (Staging::Tape, Task::Gradient(f, of)) => Box::new(TapeGradient(f, of)),
        (Staging::Autograd | Staging::Script | Staging::Lazy, Task::Train { loss, parameters, rate }) => {
            Box::new(Autograd::new(
                Box::new(loss),
                parameters.iter().map(place).collect::<Result<_>>()?,
                rate,
            )?)
        }
        (Staging::Tape, Task::Train { loss, parameters, rate }) => {
            Box::new(Tape { loss, variables: variables(&parameters, place)?, rate })
        }
        (Staging::Trace, task) => {
            Box::new(Trace { options: trace_options(mode, exact), task, place: device, made: None })
        }
        (Staging::Compile, Task::Forward(f)) => {
            let program = move |args: &[Argument]| f(&tensors_of(args)?);
            Box::new(CompiledForward(compile("forward", compile_options(mode, exact), program)))
        }
        (Staging::Compile, Task::Gradient(f, of)) => {
            let program = move |args: &[Argument]| Ok(vec![f(&tensors_of(args)?)?]);
            let compiled = compile("forward", compile_options(mode, exact), program);
            Box::new(AutogradGradient(Arc::new(move |x| first(compiled.call(&arguments_of(x))?)), of))
        }
        (Staging::Compile, Task::Train { loss, parameters, rate }) => {
            let parameters = parameters.iter().map(place).collect::<Result<Vec<_>>>()?;
            let count = parameters.len();
            let program = move |args: &[Argument]| {
                let tensors = tensors_of(args)?;
                let (parameters, inputs) = tensors.split_at(count);
                Ok(vec![loss(parameters, inputs)?])
            };
            let compiled = compile("loss", compile_options(mode, exact), program);
            let call = move |parameters: &[Tensor], inputs: &[Tensor]| {
                let all: Vec<Argument> = parameters.iter().chain(inputs).map(Argument::from).collect();
                first(compiled.call(&all)?)
            };
            Box::new(Autograd::new(Box::new(call), parameters, rate)?)
        }
        (Staging::Function, task) => staged(mode, task, exact, place)?,
    })
}

/// How `torch.compile` compiles here.
pub(crate) fn compile_options(mode: &Mode, exact: bool) -> CompileOptions {
    CompileOptions { compile: mode.options(exact), ..CompileOptions::default() }
}

/// How `torch.compile` compiles a program's text: extents that change become dynamic.
pub(crate) fn program_options(compile: Options) -> CompileOptions {
    CompileOptions { compile, dynamic: true, ..CompileOptions::default() }
}

/// The tensors of arguments that are tensors.
pub(crate) fn tensors_of(args: &[Argument]) -> Result<Vec<Tensor>> {
    args.iter().map(|a| a.tensor().cloned()).collect()
}

/// Tensors as arguments.
pub(crate) fn arguments_of(tensors: &[Tensor]) -> Vec<Argument> {
    tensors.iter().map(Argument::from).collect()
}

fn trace_options(mode: &Mode, exact: bool) -> TraceOptions {
    TraceOptions { compile: mode.options(exact), check: false, ..TraceOptions::default() }
}

fn variables(parameters: &[Tensor], place: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<Variable>> {
    parameters.iter().enumerate().map(|(i, t)| Variable::new(&place(t)?, &format!("parameter{i}"))).collect()
}

/// Operation by operation. Its inputs require no gradient, so that nothing is recorded but what the task itself asks for.
struct EagerForward(Forward);

impl Driver for EagerForward {
    fn step(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        (self.0)(inputs)
    }
}

/// torch.autograd.grad of a scalar; inputs that it does not depend on get zeros, as in every mode.
struct AutogradGradient(Scalar, Vec<usize>);

impl Driver for AutogradGradient {
    fn step(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut leaves: Vec<Tensor> = inputs.iter().map(Tensor::alias).collect();
        for &i in &self.1 {
            leaves[i] = leaves[i].requires_grad_(true)?;
        }
        let y = (self.0)(&leaves)?;
        let wanted: Vec<&Tensor> = self.1.iter().map(|&i| &leaves[i]).collect();
        // A scalar that depends on no leaf at all has no gradient to walk from.
        let scalars: &[&Tensor] = if y.requires_grad() { &[&y] } else { &[] };
        let options = GradOptions { materialize_grads: true, ..GradOptions::default() };
        let gradients = eager::grad(scalars, &wanted, options)?;
        Ok(std::iter::once(y.alias()).chain(gradients.into_iter().flatten()).collect())
    }
}

/// GradientTape's gradient of a scalar.
struct TapeGradient(Scalar, Vec<usize>);

impl Driver for TapeGradient {
    fn step(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        tape_gradient(&self.0, &self.1, inputs)
    }
}

fn tape_gradient(f: &Scalar, of: &[usize], inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let tape = GradientTape::new();
    of.iter().try_for_each(|&i| tape.watch(&inputs[i]))?;
    let y = f(inputs)?;
    let sources: Vec<&Tensor> = of.iter().map(|&i| &inputs[i]).collect();
    let gradients = tape.gradient_with(&[&y], &sources, None, Unconnected::Zero)?;
    Ok(std::iter::once(y).chain(gradients.into_iter().flatten()).collect())
}

/// A loss of parameters and inputs.
type Loss = Box<dyn Fn(&[Tensor], &[Tensor]) -> Result<Tensor>>;

/// torch: `loss.backward(); optimiser.step()`.
struct Autograd {
    loss: Loss,
    optimizer: Sgd<Tensor>,
}

impl Autograd {
    fn new(loss: Loss, parameters: Vec<Tensor>, rate: f64) -> Result<Autograd> {
        let leaves = parameters.iter().map(|t| t.requires_grad_(true)).collect::<Result<Vec<_>>>()?;
        Ok(Autograd { loss, optimizer: Sgd::new(leaves, rate) })
    }
}

impl Driver for Autograd {
    fn step(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.optimizer.zero_grad();
        let loss = (self.loss)(self.optimizer.parameters(), inputs)?;
        loss.backward()?;
        self.optimizer.step()?;
        Ok(vec![loss.alias()])
    }

    fn parameters(&self) -> Result<Vec<Tensor>> {
        self.optimizer.parameters().iter().map(|t| t.alias().copy()).collect()
    }
}

/// TensorFlow: a tape around the forward, then the Variables are updated.
struct Tape {
    loss: fn(&[Tensor], &[Tensor]) -> Result<Tensor>,
    variables: Vec<Variable>,
    rate: f64,
}

/// One step on Variables; staged or not, it is the same code.
fn tape_step(
    loss: fn(&[Tensor], &[Tensor]) -> Result<Tensor>,
    variables: &[Variable],
    rate: f64,
    inputs: &[Tensor],
) -> Result<Tensor> {
    let tape = GradientTape::new();
    let parameters = variables.iter().map(Variable::read).collect::<Result<Vec<_>>>()?;
    let value = loss(&parameters, inputs)?;
    tape.end();
    drop(parameters);
    let gradients = tape.gradient(&value, &variables.iter().collect::<Vec<_>>())?;
    drop(tape);
    Sgd::new(variables.to_vec(), rate).apply(&gradients)?;
    Ok(value)
}

impl Driver for Tape {
    fn step(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![tape_step(self.loss, &self.variables, self.rate, inputs)?])
    }

    fn parameters(&self) -> Result<Vec<Tensor>> {
        self.variables.iter().map(|v| v.current().copy()).collect()
    }
}

/// torch.jit.trace: the forward is recorded for the first inputs; gradients and updates are autograd's and eager's.
struct Trace {
    options: TraceOptions,
    task: Task,
    place: DeviceId,
    made: Option<Box<dyn Driver>>,
}

impl Trace {
    fn build(&self, inputs: &[Tensor]) -> Result<Box<dyn Driver>> {
        Ok(match self.task.clone() {
            Task::Forward(f) => {
                Box::new(TracedForward(graph::trace("forward", inputs, self.options.clone(), |x| f(x))?))
            }
            Task::Gradient(f, of) => {
                let traced = graph::trace("forward", inputs, self.options.clone(), move |x| Ok(vec![f(x)?]))?;
                Box::new(AutogradGradient(Arc::new(move |x| first(traced.call(x)?)), of))
            }
            Task::Train { loss, parameters, rate } => {
                let parameters =
                    parameters.iter().map(|t| t.to_device(self.place)?.copy()).collect::<Result<Vec<_>>>()?;
                let traced = traced_loss(loss, &parameters, inputs, self.options.clone())?;
                let call = move |parameters: &[Tensor], inputs: &[Tensor]| {
                    first(traced.call(&parameters.iter().chain(inputs).cloned().collect::<Vec<_>>())?)
                };
                Box::new(Autograd::new(Box::new(call), parameters, rate)?)
            }
        })
    }
}

/// The loss of a training recorded for these parameters and inputs, which it takes in this order.
pub fn traced_loss(
    loss: fn(&[Tensor], &[Tensor]) -> Result<Tensor>,
    parameters: &[Tensor],
    inputs: &[Tensor],
    options: TraceOptions,
) -> Result<TracedFunction> {
    let count = parameters.len();
    let all: Vec<Tensor> = parameters.iter().chain(inputs).cloned().collect();
    graph::trace("loss", &all, options, move |x| {
        let (parameters, inputs) = x.split_at(count);
        Ok(vec![loss(parameters, inputs)?])
    })
}

fn first(outputs: Vec<Tensor>) -> Result<Tensor> {
    outputs.into_iter().next().ok_or_else(|| Error::internal("no output"))
}

impl Driver for Trace {
    fn step(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let driver = match self.made.take() {
            Some(made) => made,
            None => self.build(inputs)?,
        };
        self.made.insert(driver).step(inputs)
    }

    fn parameters(&self) -> Result<Vec<Tensor>> {
        match (&self.made, &self.task) {
            (Some(made), _) => made.parameters(),
            (None, Task::Train { parameters, .. }) => Ok(parameters.clone()),
            (None, _) => Ok(Vec::new()),
        }
    }
}

/// A traced forward.
struct TracedForward(TracedFunction);

impl Driver for TracedForward {
    fn step(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.0.call(inputs)
    }
}

/// A compiled forward.
struct CompiledForward<F>(CompiledProgram<F>);

impl<F: Fn(&[Argument]) -> Result<Vec<Tensor>>> Driver for CompiledForward<F> {
    fn step(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.0.call(&arguments_of(inputs))
    }

    fn retraces(&self) -> u64 {
        self.0.recompiles().len().saturating_sub(1) as u64
    }
}

/// A whole step staged.
fn staged(
    mode: &Mode,
    task: Task,
    exact: bool,
    place: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Box<dyn Driver>> {
    let (function, variables) = staged_function(task, mode.options(exact), place)?;
    Ok(match mode.bound {
        true => Box::new(Staged { call: BoundFunction::new(function), variables }),
        false => Box::new(Staged { call: function, variables }),
    })
}

/// The function of a whole step, and the Variables that a training has; `place` makes their first values.
pub fn staged_function(
    task: Task,
    options: Options,
    place: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<(Function, Vec<Variable>)> {
    let tensors = tensors_of;
    Ok(match task {
        Task::Forward(f) => (graph::function("forward", options, move |args| f(&tensors(args)?)), vec![]),
        Task::Gradient(f, of) => {
            let step = move |args: &[Argument]| tape_gradient(&f, &of, &tensors(args)?);
            (graph::function("gradient", options, step), vec![])
        }
        Task::Train { loss, parameters, rate } => {
            let variables = variables(&parameters, place)?;
            let held = variables.clone();
            let step = move |args: &[Argument]| Ok(vec![tape_step(loss, &held, rate, &tensors(args)?)?]);
            (graph::function("train_step", options, step), variables)
        }
    })
}

/// What a staged driver calls.
trait Call {
    fn call(&self, args: &[Argument]) -> Result<Vec<Tensor>>;
    fn traces(&self) -> usize;
}

impl Call for Function {
    fn call(&self, args: &[Argument]) -> Result<Vec<Tensor>> {
        Function::call(self, args)
    }
    fn traces(&self) -> usize {
        Function::traces(self)
    }
}

impl Call for BoundFunction {
    fn call(&self, args: &[Argument]) -> Result<Vec<Tensor>> {
        BoundFunction::call(self, args)
    }
    fn traces(&self) -> usize {
        self.function().traces()
    }
}

struct Staged<C> {
    call: C,
    variables: Vec<Variable>,
}

impl<C: Call> Driver for Staged<C> {
    fn step(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let args: Vec<Argument> = inputs.iter().map(Argument::from).collect();
        self.call.call(&args)
    }

    fn parameters(&self) -> Result<Vec<Tensor>> {
        self.variables.iter().map(|v| v.current().copy()).collect()
    }

    fn retraces(&self) -> u64 {
        self.call.traces().saturating_sub(1) as u64
    }
}
