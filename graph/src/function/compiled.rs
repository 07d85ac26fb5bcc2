//! `CompiledFunction`: a graph as a `Callable`, with a backward of its own that is made when it is first needed.
//!
//! As a callable it is pure: new values of state are outputs like any other, after those that the caller returns. So it
//! can stand on a tape, be differentiated, and differentiated again; who calls it writes state back.
//!
//! The forward that keeps residuals, and the backward, are made for a set of wanted gradients; the backward also for the
//! set of cotangents that are there, so that no rule runs on zeros and sums are the same as on a tape. Where the backward
//! itself is recorded (second derivatives), residuals would hide how they came to be: then the gradients are computed by
//! another compiled function, from arguments and cotangents alone.

use super::factors;
use super::runner::Runner;
use crate::compile::partition;
use crate::grad::{Joint, Position, Split, differentiable, joint};
use crate::interpret;
use crate::ir::Graph;
use crate::options::Options;
use crate::rewrite::makers;
use runtime::callable::{ArgGradients, Ask, Callable, Residuals};
use runtime::device::DeviceId;
use runtime::door::{self, Outputs};
use runtime::error::{Error, Origin, Result};
use runtime::infer::{TensorType, Types};
use runtime::ops;
use runtime::reverse::{Left, Product};
use runtime::tensor::{Tensor, flags};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A graph, compiled when first run.
pub struct CompiledFunction {
    graph: Graph,
    pure: Graph,
    /// Of each write-back, whether it changes elements only and leaves the input's history alone.
    only_data: Vec<bool>,
    options: Options,
    device: DeviceId,
    stateful: OnceLock<Runner>,
    plain: OnceLock<Runner>,
    forwards: Cache<Wanted, Forward>,
    backwards: Cache<Sought, Backward>,
}

type Wanted = Vec<bool>;

/// What a backward is made for: wanted gradients, cotangents that are there, and whether products may stay factors.
type Sought = (Wanted, Vec<bool>, bool);

/// Made once for each key; making one does not block the others.
struct Cache<K, V>(Mutex<HashMap<K, Arc<V>>>);

impl<K: Hash + Eq, V> Cache<K, V> {
    fn new() -> Cache<K, V> {
        Cache(Mutex::new(HashMap::new()))
    }

    fn get(&self, key: K, make: impl FnOnce(&K) -> Result<V>) -> Result<Arc<V>> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = lock().get(&key) {
            return Ok(found.clone());
        }
        let made = Arc::new(make(&key)?);
        Ok(lock().entry(key).or_insert(made).clone())
    }
}

/// A forward that keeps residuals.
struct Forward {
    runner: Runner,
    saved: Vec<Position>,
    /// Which arguments the backward of all results reads.
    reads: Vec<bool>,
}

/// A backward.
struct Backward {
    joint: Joint,
    runner: Runner,
    /// Which of its gradients are factors of a product.
    factored: Vec<bool>,
    again: OnceLock<Arc<CompiledFunction>>,
}

impl CompiledFunction {
    /// A function that computes a graph of tensors on a device.
    pub fn new(graph: Graph, options: Options, device: DeviceId) -> Result<Arc<CompiledFunction>> {
        for &value in graph.params().iter().chain(graph.results()) {
            graph.tensor_type(value)?;
        }
        let pure = Graph { write_backs: Vec::new(), ..graph.clone() };
        Ok(Arc::new(CompiledFunction {
            only_data: only_data(&graph),
            graph,
            pure,
            options,
            device,
            stateful: OnceLock::new(),
            plain: OnceLock::new(),
            forwards: Cache::new(),
            backwards: Cache::new(),
        }))
    }

    /// The graph as it was recorded.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The graph without write-backs: every result is an output.
    pub fn pure_graph(&self) -> &Graph {
        &self.pure
    }

    /// Of each write-back, whether autograd does not see it: it was under `no_grad` or through `detach`.
    pub(super) fn only_data(&self) -> &[bool] {
        &self.only_data
    }

    /// The options it is compiled with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The runner that writes new state into the tensors passed for it.
    pub fn stateful(&self) -> Result<&Runner> {
        once(&self.stateful, || Runner::new(&self.graph, &self.options, self.device))
    }

    fn plain(&self) -> Result<&Runner> {
        match self.graph.write_backs.is_empty() {
            true => self.stateful(),
            false => once(&self.plain, || Runner::new(&self.pure, &self.options, self.device)),
        }
    }

    /// The runners of the forward and the backward for these wanted gradients and present cotangents.
    pub fn with_gradient<T>(
        &self,
        wanted: &[bool],
        given: &[bool],
        look: impl FnOnce(&Runner, &Runner) -> T,
    ) -> Result<T> {
        let forward = self.forward(wanted)?;
        let backward = self.backward(wanted, given, false)?;
        Ok(look(&forward.runner, &backward.runner))
    }

    /// The graphs of the forward that keeps residuals and of the backward, as they are before the passes.
    pub fn gradient_graphs(&self, wanted: &[bool], given: &[bool]) -> Result<(Graph, Graph)> {
        let saved = &self.forward(wanted)?.saved;
        let split = self.split(&joint(&self.pure, self.device, wanted, given)?, saved)?;
        Ok((split.forward, split.backward))
    }

    fn wanted(&self, needs: u64) -> Wanted {
        let params = self.graph.params().iter().enumerate();
        params.map(|(i, &v)| needs >> i.min(63) & 1 == 1 && differentiable(self.graph.ty(v))).collect()
    }

    /// Which results may have cotangents: floats. New values of state count, since a later call may read them.
    fn floats(&self) -> Vec<bool> {
        self.pure.results().iter().map(|&v| differentiable(self.pure.ty(v))).collect()
    }

    fn split(&self, joint: &Joint, saved: &[Position]) -> Result<Split> {
        if self.options.recompute { partition::split(joint, saved) } else { joint.split(saved) }
    }

    fn forward(&self, wanted: &[bool]) -> Result<Arc<Forward>> {
        self.forwards.get(wanted.to_vec(), |wanted| {
            let joint = joint(&self.pure, self.device, wanted, &self.floats())?;
            let saved = match self.options.recompute {
                true => partition::saved(&joint)?,
                false => joint.saved(),
            };
            let split = self.split(&joint, &saved)?;
            let uses = split.backward.use_counts();
            let reads = split.backward.params().iter().map(|param| uses[param.0 as usize] > 0).collect();
            Ok(Forward { runner: Runner::new(&split.forward, &self.options, self.device)?, saved, reads })
        })
    }

    fn backward(&self, wanted: &[bool], given: &[bool], factors: bool) -> Result<Arc<Backward>> {
        self.backwards.get((wanted.to_vec(), given.to_vec(), factors), |(wanted, given, factors)| {
            let saved = &self.forward(wanted)?.saved;
            let joint = joint(&self.pure, self.device, wanted, given)?;
            let backward = self.split(&joint, saved)?.backward;
            let (backward, factored) = match factors {
                true => factors::factored(backward)?,
                false => {
                    let whole = vec![false; backward.results().len()];
                    (backward, whole)
                }
            };
            let runner = Runner::new(&backward, &self.options, self.device)?;
            Ok(Backward { joint, runner, factored, again: OnceLock::new() })
        })
    }

    /// Arguments and cotangents to gradients, as a function of its own.
    fn again(&self, backward: &Backward) -> Result<Arc<CompiledFunction>> {
        let made = once(&backward.again, || {
            CompiledFunction::new(backward.joint.gradient(), self.options.clone(), self.device)
        });
        made.cloned()
    }

    fn check(&self, args: &[Tensor]) -> Result<()> {
        let params = self.graph.params();
        if args.len() != params.len() {
            return Err(Error::value(format!(
                "{} takes {} tensors, got {}",
                self.graph.name,
                params.len(),
                args.len()
            )));
        }
        for (i, (arg, &param)) in args.iter().zip(params).enumerate() {
            let wanted = self.graph.tensor_type(param)?;
            if arg.dtype() != wanted.dtype || wanted.dims().as_deref() != Some(arg.shape()) {
                let message =
                    format!("input {i} of {} is a {wanted}, got {}", self.graph.name, arg.tensor_type());
                return Err(Error::shape(message));
            }
        }
        Ok(())
    }
}

fn once<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}

fn any_traced(args: &[Tensor]) -> bool {
    args.iter().any(|t| t.flags() & flags::TRACED != 0)
}

impl Callable for CompiledFunction {
    fn name(&self) -> &str {
        &self.graph.name
    }

    fn infer(&self, args: &[TensorType]) -> Result<Types> {
        let params = self.graph.params();
        let fits = args.len() == params.len()
            && args.iter().zip(params).all(|(a, &p)| self.graph.ty(p).tensor() == Some(a));
        if !fits {
            return Err(Error::shape(format!(
                "the arguments are not what {} was compiled for",
                self.graph.name
            )));
        }
        self.pure.results().iter().map(|&v| self.pure.tensor_type(v).cloned()).collect()
    }

    fn run(&self, args: &[Tensor]) -> Result<Outputs> {
        if any_traced(args) {
            return Ok(interpret::run(&self.pure, args)?.into());
        }
        self.check(args)?;
        self.plain()?.run(args)
    }

    fn run_with_residuals(&self, args: &[Tensor]) -> Result<(Outputs, Residuals)> {
        self.run_for_gradient(args, u64::MAX)
    }

    fn run_for_gradient(&self, args: &[Tensor], needs: u64) -> Result<(Outputs, Residuals)> {
        self.check(args)?;
        let forward = self.forward(&self.wanted(needs))?;
        let mut outputs = match any_traced(args) {
            true => interpret::run(forward.runner.graph(), args)?.into(),
            false => forward.runner.run(args)?,
        };
        let residuals = outputs.drain(self.pure.results().len()..).collect();
        Ok((outputs, residuals))
    }

    fn reads(&self, arg: usize, needs: u64) -> bool {
        self.forward(&self.wanted(needs)).map_or(true, |forward| forward.reads[arg])
    }

    fn vjp(
        self: Arc<Self>,
        args: &[Tensor],
        residuals: &[Tensor],
        cotangents: &[Option<Tensor>],
        ask: Ask,
    ) -> Result<ArgGradients> {
        let given: Vec<bool> =
            cotangents.iter().zip(self.floats()).map(|(c, float)| float && c.is_some()).collect();
        let cotangents: Vec<Tensor> = cotangents
            .iter()
            .zip(&given)
            .filter(|(_, given)| **given)
            .filter_map(|(c, _)| c.clone())
            .collect();
        let tracked = args.iter().chain(&cotangents).any(|t| t.flags() & flags::TRACKED != 0);
        let recorded = door::in_scope() || (door::grad_enabled() && tracked);
        let later = ask.later.filter(|_| !recorded && !self.options.exact);
        let backward = self.backward(&self.wanted(ask.needs), &given, later.is_some())?;
        let gradients = if recorded {
            let inputs: Vec<Tensor> = args.iter().chain(&cotangents).cloned().collect();
            let again = self.again(&backward)?;
            match any_traced(&inputs) {
                true => interpret::run(again.pure_graph(), &inputs)?.into(),
                false => door::call(&(again as Arc<dyn Callable>), &inputs, Origin::caller())?,
            }
        } else {
            let inputs: Vec<Tensor> = args.iter().chain(residuals).chain(&cotangents).cloned().collect();
            backward.runner.run(&inputs)?
        };
        let mut results = gradients.into_iter();
        let mut factored = backward.factored.iter();
        let mut gradient = |arg: usize| match (later, factored.next()) {
            (Some(later), Some(true)) => {
                let (left, right) = results.next().zip(results.next())?;
                later.leave(arg, Left::Product(Product { left, right }));
                None
            }
            _ => results.next(),
        };
        let places = backward.joint.gradients.iter().enumerate();
        Ok(places.map(|(arg, at)| at.and_then(|_| gradient(arg))).collect())
    }
}

/// Of each write-back, whether its value has the history of its input: nothing was done to that but `set_data`.
fn only_data(graph: &Graph) -> Vec<bool> {
    if graph.write_backs.is_empty() {
        return Vec::new();
    }
    let makers = makers(graph);
    let keeps = |&(input, result): &(usize, usize)| {
        let mut value = graph.results()[result];
        while let Some(node) = makers[value.0 as usize].map(|id| graph.node(id))
            && node.op().is_some_and(|op| std::ptr::eq(op, &ops::SET_DATA))
        {
            value = node.operands[0].values()[0];
        }
        value == graph.params()[input]
    };
    graph.write_backs.iter().map(keeps).collect()
}
