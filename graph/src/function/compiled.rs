//! `CompiledFunction`: a graph as a `Callable`, with a backward of its own that is made when it is first needed.
//!
//! As a callable it is pure: new values of state are outputs like any other, after those that the caller returns. So it
//! can stand on a tape, be differentiated, and differentiated again; who calls it writes state back.
//!
//! The forward that keeps residuals, and the backward, are made for a set of wanted gradients; the backward also for the
//! set of cotangents that are there, so that no rule runs on zeros and sums are the same as on a tape. Where the backward
//! itself is recorded (second derivatives), residuals would hide how they came to be: then the gradients are computed by
//! another compiled function, from arguments and cotangents alone.
//!
//! A function with open extents has two recordings of its graph. Whatever is made of the one is made of the other too, and
//! both have to give one program (`open`).

use super::factors;
use super::runner::Runner;
use crate::compile::partition;
use crate::grad::{Joint, Position, Split, differentiable, joint, sources};
use crate::interpret;
use crate::ir::Graph;
use crate::open::Twin;
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
use std::borrow::Borrow;
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
    /// Where extents are open.
    twin: Option<Twin>,
    stateful: OnceLock<Runner>,
    plain: OnceLock<Runner>,
    forwards: Cache<Wanted, Forward>,
    backwards: Cache<Sought, Backward>,
    /// Of each result the arguments that it depends on.
    sources: OnceLock<Vec<u64>>,
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
    /// Which arguments and residuals the backward of all results reads.
    reads: Vec<bool>,
    /// Set once it is known that there is a backward, where extents are open.
    differentiable: OnceLock<()>,
}

/// A backward.
struct Backward {
    joint: Joint,
    /// The joint graph of the second recording, where extents are open.
    twin: Option<Joint>,
    runner: Runner,
    /// Which arguments and residuals it reads.
    reads: Vec<bool>,
    /// Which of its gradients are factors of a product.
    factored: Vec<bool>,
    again: OnceLock<Arc<CompiledFunction>>,
}

impl CompiledFunction {
    /// A function that computes a graph of tensors on a device.
    pub fn new(graph: Graph, options: Options, device: DeviceId) -> Result<Arc<CompiledFunction>> {
        CompiledFunction::make(graph, None, options, device)
    }

    /// A function that computes a graph for any extents of at least 2 that it was recorded with open, from its recordings for
    /// the two lists of types of `types_to_record`. An error where one program is not both, or has no gradient that is.
    ///
    /// Of a call for whose extents it is not right (a slice ends beyond them) its errors say so; then the caller has to
    /// compute what the graph does in another way.
    pub fn open(
        [first, second]: [Graph; 2],
        options: Options,
        device: DeviceId,
    ) -> Result<Arc<CompiledFunction>> {
        if !first.write_backs.is_empty() {
            return Err(Error::value("a graph with open extents writes state"));
        }
        let twin = Twin::new(&first, second)?;
        let made = CompiledFunction::make(first, Some(twin), options, device)?;
        made.plain()?;
        Ok(made)
    }

    fn make(
        graph: Graph,
        twin: Option<Twin>,
        options: Options,
        device: DeviceId,
    ) -> Result<Arc<CompiledFunction>> {
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
            twin,
            stateful: OnceLock::new(),
            plain: OnceLock::new(),
            forwards: Cache::new(),
            backwards: Cache::new(),
            sources: OnceLock::new(),
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

    /// Whether its extents are open and these arguments have some that it is for.
    pub fn is_open_for<T: Borrow<Tensor>>(&self, args: &[T]) -> bool {
        self.twin.as_ref().is_some_and(|twin| twin.takes(args))
    }

    /// The options it is compiled with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The runner that writes new state into the tensors passed for it.
    pub fn stateful(&self) -> Result<&Runner> {
        once(&self.stateful, || self.runner(&self.graph, |twin| Ok(twin.clone())))
    }

    fn plain(&self) -> Result<&Runner> {
        match self.graph.write_backs.is_empty() {
            true => self.stateful(),
            false => once(&self.plain, || Runner::new(&self.pure, &self.options, self.device)),
        }
    }

    /// A runner of a graph that was made of the (first) recording; `second` makes the same of the second one.
    fn runner(&self, graph: &Graph, second: impl FnOnce(&Graph) -> Result<Graph>) -> Result<Runner> {
        match &self.twin {
            None => Runner::new(graph, &self.options, self.device),
            Some(twin) => Runner::open([graph, &second(twin.second())?], &self.options, self.device),
        }
    }

    /// Runs the graph as it was recorded, node by node, through the door: it becomes part of another recording.
    pub(super) fn interpreted(&self, args: &[Tensor]) -> Result<Vec<Tensor>> {
        match &self.twin {
            None => interpret::run(&self.pure, args),
            Some(twin) => interpret::run(&twin.exact(&self.pure, args)?, args),
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
        let (_, split, _) = self.cut(&self.pure, wanted, given, Some(&self.forward(wanted)?.saved))?;
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

    /// A recording's joint graph cut in two, with these residuals, or with those that are best.
    fn cut(
        &self,
        recording: &Graph,
        wanted: &[bool],
        given: &[bool],
        saved: Option<&[Position]>,
    ) -> Result<(Joint, Split, Vec<Position>)> {
        let joint = joint(recording, self.device, wanted, given)?;
        let saved = match saved {
            Some(saved) => saved.to_vec(),
            None if self.options.recompute => partition::saved(&joint)?,
            None => joint.saved(),
        };
        let split =
            if self.options.recompute { partition::split(&joint, &saved)? } else { joint.split(&saved)? };
        Ok((joint, split, saved))
    }

    fn forward(&self, wanted: &[bool]) -> Result<Arc<Forward>> {
        self.forwards.get(wanted.to_vec(), |wanted| {
            let floats = self.floats();
            let (_, split, saved) = self.cut(&self.pure, wanted, &floats, None)?;
            let reads = reads(&split.backward);
            let second = |twin: &Graph| Ok(self.cut(twin, wanted, &floats, Some(&saved))?.1.forward);
            let runner = self.runner(&split.forward, second)?;
            Ok(Forward { runner, saved, reads, differentiable: OnceLock::new() })
        })
    }

    /// A forward for which there is a backward for all cotangents: with open extents that is not a matter of course.
    fn differentiable(&self, wanted: &[bool]) -> Result<Arc<Forward>> {
        let forward = self.forward(wanted)?;
        once(&forward.differentiable, || self.backward(wanted, &self.floats(), false).map(drop))?;
        Ok(forward)
    }

    fn backward(&self, wanted: &[bool], given: &[bool], factors: bool) -> Result<Arc<Backward>> {
        self.backwards.get((wanted.to_vec(), given.to_vec(), factors), |(wanted, given, factors)| {
            let saved = &self.forward(wanted)?.saved;
            let (joint, split, _) = self.cut(&self.pure, wanted, given, Some(saved))?;
            let whole = vec![false; split.backward.results().len()];
            let chosen = if *factors { None } else { Some(whole.as_slice()) };
            let reads = reads(&split.backward);
            let (backward, factored) = factors::factored(split.backward, chosen)?;
            let mut twin = None;
            let runner = self.runner(&backward, |second| {
                let (joint, split, _) = self.cut(second, wanted, given, Some(saved))?;
                twin = Some(joint);
                Ok(factors::factored(split.backward, Some(&factored))?.0)
            })?;
            Ok(Backward { joint, twin, runner, reads, factored, again: OnceLock::new() })
        })
    }

    /// Whether the backward reads one of arguments and residuals.
    fn reads_operand(&self, operand: usize, needs: u64, given: &[bool]) -> bool {
        let given: Vec<bool> =
            given.iter().zip(self.floats()).map(|(&given, float)| given && float).collect();
        // Where it cannot be made it is made for all cotangents.
        self.backward(&self.wanted(needs), &given, false).map_or(true, |backward| backward.reads[operand])
    }

    /// The backward for a recording, and arguments and cotangents to gradients as a function of its own. Where that cannot have
    /// open extents it is for those of these arguments.
    fn recorded(
        &self,
        args: &[Tensor],
        wanted: &[bool],
        given: &[bool],
    ) -> Result<(Arc<Backward>, Arc<CompiledFunction>)> {
        let made = self.backward(wanted, given, false).and_then(|b| Ok((b.clone(), self.again(&b)?)));
        match made {
            Err(_) if self.twin.is_some() => self.exact(args)?.recorded(args, wanted, given),
            made => made,
        }
    }

    fn again(&self, backward: &Backward) -> Result<Arc<CompiledFunction>> {
        let made = once(&backward.again, || {
            let (gradient, options) = (backward.joint.gradient(), self.options.clone());
            match &backward.twin {
                None => CompiledFunction::new(gradient, options, self.device),
                Some(twin) => {
                    let open = CompiledFunction::open([gradient, twin.gradient()], options, self.device)?;
                    open.differentiable(&open.wanted(u64::MAX))?;
                    Ok(open)
                }
            }
        });
        made.cloned()
    }

    /// The function for the extents of these arguments alone.
    fn exact(&self, args: &[Tensor]) -> Result<Arc<CompiledFunction>> {
        let graph = match &self.twin {
            None => self.pure.clone(),
            Some(twin) => twin.exact(&self.pure, args)?,
        };
        CompiledFunction::new(graph, self.options.clone(), self.device)
    }

    /// A cotangent for each result that may have one, zeros where there is none.
    fn all_cotangents(&self, args: &[Tensor], cotangents: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
        let floats = self.floats().into_iter().zip(cotangents).enumerate().filter(|(_, (float, _))| *float);
        let whole = floats.map(|(i, (_, cotangent))| match (cotangent, &self.twin) {
            (Some(cotangent), _) => Ok(cotangent.clone()),
            (None, twin) => {
                let ty = self.pure.tensor_type(self.pure.results()[i])?;
                let dims = match twin {
                    Some(twin) => twin.result_dims(&self.pure, i, args)?,
                    None => ty.constant_dims()?,
                };
                Tensor::zeros(&dims, ty.dtype, self.device)
            }
        });
        whole.collect()
    }

    fn check(&self, args: &[Tensor]) -> Result<()> {
        let params = self.graph.params();
        if let Some(twin) = &self.twin {
            return match twin.takes(args) {
                true => Ok(()),
                false => Err(Error::shape(format!("{} is not open for these extents", self.graph.name))),
            };
        }
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
            return Ok(self.interpreted(args)?.into());
        }
        self.check(args)?;
        self.plain()?.run(args)
    }

    fn run_with_residuals(&self, args: &[Tensor]) -> Result<(Outputs, Residuals)> {
        self.run_for_gradient(args, u64::MAX)
    }

    fn run_for_gradient(&self, args: &[Tensor], needs: u64) -> Result<(Outputs, Residuals)> {
        self.check(args)?;
        let forward = match self.twin {
            None => self.forward(&self.wanted(needs))?,
            Some(_) => self.differentiable(&self.wanted(needs))?,
        };
        let mut outputs = match any_traced(args) {
            true if self.twin.is_some() => return Err(Error::internal("open extents in a recording")),
            true => interpret::run(forward.runner.graph(), args)?.into(),
            false => forward.runner.run(args)?,
        };
        let residuals = outputs.drain(self.pure.results().len()..).collect();
        Ok((outputs, residuals))
    }

    fn reads(&self, arg: usize, needs: u64, given: Option<&[bool]>) -> bool {
        match given {
            None => self.forward(&self.wanted(needs)).map_or(true, |forward| forward.reads[arg]),
            Some(given) => self.reads_operand(arg, needs, given),
        }
    }

    fn reads_residual(&self, residual: usize, needs: u64, given: &[bool]) -> bool {
        self.reads_operand(self.graph.params().len() + residual, needs, given)
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn depends(&self, output: usize, needs: u64) -> bool {
        self.sources.get_or_init(|| sources(&self.pure))[output] & needs != 0
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
        let given_cotangents: Vec<Tensor> = cotangents
            .iter()
            .zip(&given)
            .filter(|(_, given)| **given)
            .filter_map(|(c, _)| c.clone())
            .collect();
        let tracked = args.iter().chain(&given_cotangents).any(|t| t.flags() & flags::TRACKED != 0);
        let recorded = door::in_scope() || (door::grad_enabled() && tracked);
        let later = ask.later.filter(|_| !recorded && !self.options.exact);
        let wanted = self.wanted(ask.needs);
        let (backward, gradients) = if recorded {
            let (backward, again) = self.recorded(args, &wanted, &given)?;
            let inputs: Vec<Tensor> = args.iter().cloned().chain(given_cotangents).collect();
            let gradients = match any_traced(&inputs) {
                true => again.interpreted(&inputs)?.into(),
                false => door::call(&(again as Arc<dyn Callable>), &inputs, Origin::caller())?,
            };
            (backward, gradients)
        } else {
            let mut inputs: Vec<Tensor> = args.iter().chain(residuals).cloned().collect();
            let backward = match self.backward(&wanted, &given, later.is_some()) {
                // There is one for all cotangents.
                Err(_) if self.twin.is_some() => {
                    inputs.extend(self.all_cotangents(args, cotangents)?);
                    self.backward(&wanted, &self.floats(), false)?
                }
                made => {
                    inputs.extend(given_cotangents);
                    made?
                }
            };
            let gradients = backward.runner.run(&inputs)?;
            (backward, gradients)
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

/// Which parameters a graph reads.
fn reads(graph: &Graph) -> Vec<bool> {
    let uses = graph.use_counts();
    graph.params().iter().map(|param| uses[param.0 as usize] > 0).collect()
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
