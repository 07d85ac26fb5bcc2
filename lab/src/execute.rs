//! One function of tensors in each mode, with the gradients that are asked for: what `check` and the suites of modes run.

use crate::drivers::{arguments_of, compile_options, tensors_of};
use crate::modes::{Mode, Staging};
use eager::{Autograd as _, GradOptions, GradientTape, TapeOptions, Unconnected};
use graph::CompiledFunction;
use graph::compile::compile;
use graph::lazy::{Lazy, LazyOptions};
use graph::trace::{Mode as Tracing, Recording, Spec, record};
use runtime::{DeviceId, Result, Tensor};
use std::cell::RefCell;

/// Outputs, and gradients of the inputs that were asked for; `None` where none flows.
pub type Results = (Vec<Tensor>, Vec<Option<Tensor>>);

/// A function of tensors.
pub type Program<'a> = &'a dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>;

/// Runs a function of tensors in some mode: outputs, and (for the cotangents that are given) gradients of the inputs whose
/// place is listed.
pub type Runner<'a> = dyn FnMut(Program<'_>, &[Tensor], &[Option<Tensor>], &[usize]) -> Result<Results> + 'a;

/// Runs a program in a mode. `exact` keeps its compiler to bitwise passes.
pub fn execute(
    mode: &Mode,
    exact: bool,
    program: Program,
    inputs: &[Tensor],
    cotangents: &[Option<Tensor>],
    wanted: &[usize],
) -> Result<Results> {
    match mode.staging {
        // What a scripted function computes hangs on tensors like anything else.
        Staging::Autograd | Staging::Script => autograd(program, inputs, cotangents, wanted),
        Staging::Tape => tape(program, inputs, cotangents, wanted),
        Staging::Trace => trace(mode, exact, program, inputs, cotangents, wanted),
        Staging::Compile => compiled(mode, exact, program, inputs, cotangents, wanted),
        Staging::Lazy => lazy(mode, exact, program, inputs, cotangents, wanted),
        Staging::Function => staged(mode, exact, program, inputs, cotangents, wanted),
    }
}

/// New leaves on the inputs' memory, of which the wanted ones require gradients.
fn leaves(inputs: &[Tensor], wanted: &[usize]) -> Result<Vec<Tensor>> {
    let leaf = |(i, t): (usize, &Tensor)| match wanted.contains(&i) {
        true => t.alias().requires_grad_(true),
        false => Ok(t.alias()),
    };
    inputs.iter().enumerate().map(leaf).collect()
}

/// The gradients of outputs hung on `leaves`.
fn gradients(
    outputs: &[Tensor],
    leaves: &[Tensor],
    cotangents: &[Option<Tensor>],
    wanted: &[usize],
) -> Result<Vec<Option<Tensor>>> {
    let (targets, seeds): (Vec<&Tensor>, Vec<Option<&Tensor>>) = outputs
        .iter()
        .zip(cotangents)
        .filter_map(|(y, c)| c.as_ref().filter(|_| y.requires_grad()).map(|c| (y, Some(c))))
        .unzip();
    if wanted.is_empty() || targets.is_empty() {
        return Ok(vec![None; wanted.len()]);
    }
    let sources: Vec<&Tensor> = wanted.iter().map(|&i| &leaves[i]).collect();
    let options = GradOptions { grad_outputs: Some(&seeds), allow_unused: true, ..GradOptions::default() };
    eager::grad(&targets, &sources, options)
}

/// torch's eager mode: leaves that require gradients, and `grad`.
pub fn autograd(
    program: Program,
    inputs: &[Tensor],
    cotangents: &[Option<Tensor>],
    wanted: &[usize],
) -> Result<Results> {
    let leaves = leaves(inputs, wanted)?;
    let outputs = program(&leaves)?;
    let gradients = gradients(&outputs, &leaves, cotangents, wanted)?;
    Ok((outputs, gradients))
}

/// Compiled by a first call on copies, and then run on the inputs: what is judged is what was compiled.
fn compiled(
    mode: &Mode,
    exact: bool,
    program: Program,
    inputs: &[Tensor],
    cotangents: &[Option<Tensor>],
    wanted: &[usize],
) -> Result<Results> {
    let compiled = compile("case", compile_options(mode, exact), |args| program(&tensors_of(args)?));
    let call = |inputs: &[Tensor]| compiled.call(&arguments_of(inputs));
    let copies = inputs.iter().map(Tensor::copy).collect::<Result<Vec<_>>>()?;
    autograd(&call, &copies, cotangents, wanted)?;
    autograd(&call, inputs, cotangents, wanted)
}

/// torch's eager mode with every operation deferred to the end, or to the next look.
fn lazy(
    mode: &Mode,
    exact: bool,
    program: Program,
    inputs: &[Tensor],
    cotangents: &[Option<Tensor>],
    wanted: &[usize],
) -> Result<Results> {
    let lazy = Lazy::new(LazyOptions { compile: mode.options(exact), ..LazyOptions::default() });
    let scope = lazy.enter();
    let results = autograd(program, inputs, cotangents, wanted)?;
    lazy.mark_step()?;
    drop(scope);
    Ok(results)
}

fn tape(
    program: Program,
    inputs: &[Tensor],
    cotangents: &[Option<Tensor>],
    wanted: &[usize],
) -> Result<Results> {
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
    exact: bool,
    program: Program,
    inputs: &[Tensor],
    cotangents: &[Option<Tensor>],
    wanted: &[usize],
) -> Result<Results> {
    let options = graph::TraceOptions { compile: mode.options(exact), check: false, ..Default::default() };
    let traced = graph::trace("case", inputs, options, program)?;
    let leaves = leaves(inputs, wanted)?;
    let outputs = traced.call(&leaves)?;
    let gradients = gradients(&outputs, &leaves, cotangents, wanted)?;
    Ok((outputs.iter().map(Tensor::alias).collect(), gradients))
}

/// A program and its tape as one graph.
pub(crate) struct Staged {
    pub(crate) recording: Recording,
    /// Arguments of the graph besides the inputs: the cotangents.
    seeds: Vec<Tensor>,
    /// How many results are outputs.
    outputs: usize,
    /// Which gradients there are.
    present: Vec<bool>,
}

/// Records program and tape together.
pub(crate) fn recorded(
    program: Program,
    inputs: &[Tensor],
    cotangents: &[Option<Tensor>],
    wanted: &[usize],
) -> Result<Staged> {
    let seeds: Vec<Tensor> = cotangents.iter().flatten().cloned().collect();
    let specs: Vec<Spec> =
        inputs.iter().chain(&seeds).map(|t| Spec { example: None, ..Spec::of(t) }).collect();
    let shape = RefCell::new((0, Vec::new()));
    let recording = record("case", Tracing::Staged, &specs, |traced| {
        let (inputs, seeds) = traced.split_at(inputs.len());
        let mut seeds = seeds.iter();
        let cotangents: Vec<Option<Tensor>> =
            cotangents.iter().map(|c| c.as_ref().and_then(|_| seeds.next().cloned())).collect();
        let (mut outputs, gradients) = tape(program, inputs, &cotangents, wanted)?;
        *shape.borrow_mut() = (outputs.len(), gradients.iter().map(Option::is_some).collect::<Vec<_>>());
        outputs.extend(gradients.into_iter().flatten());
        Ok(outputs)
    })?;
    let (outputs, present) = shape.into_inner();
    Ok(Staged { recording, seeds, outputs, present })
}

/// Program and tape staged together.
fn staged(
    mode: &Mode,
    exact: bool,
    program: Program,
    inputs: &[Tensor],
    cotangents: &[Option<Tensor>],
    wanted: &[usize],
) -> Result<Results> {
    let Staged { recording, seeds, outputs, present } = recorded(program, inputs, cotangents, wanted)?;
    let device = inputs.first().map_or(DeviceId::Cpu, Tensor::device);
    let compiled = CompiledFunction::new(recording.graph.clone(), mode.options(exact), device)?;
    let args: Vec<Tensor> = inputs.iter().chain(&seeds).cloned().collect();
    let mut results = compiled.stateful()?.run(&recording.bind(&args)?)?.into_vec();
    let mut gradients = results.split_off(outputs).into_iter();
    Ok((results, present.iter().map(|&p| if p { gradients.next() } else { None }).collect()))
}
