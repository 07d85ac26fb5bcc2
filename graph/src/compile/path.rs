//! One way through a program: compiled parts, what the host saw between them, and what came out.

use crate::defer::{Key, ViewStep};
use crate::earned::Earned;
use crate::function::{CompiledFunction, invoke};
use crate::ir::Graph;
use crate::open::{Call, to_record};
use crate::options::Options;
use crate::specialize::specialize;
use crate::trace::Source;
use runtime::DeviceId;
use runtime::door;
use runtime::error::{Error, Origin, Result};
use runtime::infer::TensorType;
use runtime::tensor::Tensor;
use runtime::value::{Arg, Host};
use runtime::variable::Variable;
use smallvec::SmallVec;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where memory comes from when a path is walked.
#[derive(Clone)]
pub(super) enum From {
    Argument(usize),
    /// A tensor of the surroundings.
    Captured(Tensor),
    /// What the Variable holds when the call begins.
    Variable(Variable),
    /// A result of a part: which part, which result.
    Made(usize, usize),
}

/// A tensor, found again: memory, and views of it.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) from: From,
    pub(super) views: Vec<ViewStep>,
}

/// The results of the parts that ran.
pub(super) type Made = Vec<Vec<Tensor>>;

/// What Variables held when the call began, where they may hold something else by now.
pub(super) type Start = [(Variable, Tensor)];

impl Place {
    pub(super) fn tensor(&self, args: &[Tensor], made: &[Vec<Tensor>], start: &Start) -> Result<Tensor> {
        let lost = || Error::internal("a recorded path names a tensor that it does not make");
        let mut tensor = match &self.from {
            From::Argument(i) => args.get(*i).cloned().ok_or_else(lost)?,
            From::Captured(t) => t.clone(),
            From::Variable(v) => match start.iter().find(|(known, _)| known.id() == v.id()) {
                Some((_, value)) => value.clone(),
                None => v.current(),
            },
            From::Made(part, i) => made.get(*part).and_then(|r| r.get(*i)).cloned().ok_or_else(lost)?,
        };
        for step in &self.views {
            let mut operands: SmallVec<[Arg; 4]> = SmallVec::new();
            operands.push(Arg::Tensor(&tensor));
            operands.extend(step.rest.iter().map(Host::as_arg));
            let view = door::bind(step.op, &operands, step.origin)?.pop().ok_or_else(lost)?;
            drop(operands);
            tensor = view;
        }
        Ok(tensor)
    }

    /// Whether both find the same, with the same numbers of the host on the way.
    pub(super) fn same(&self, other: &Place) -> bool {
        let from = match (&self.from, &other.from) {
            (From::Argument(a), From::Argument(b)) => a == b,
            (From::Made(a, i), From::Made(b, j)) => (a, i) == (b, j),
            (From::Variable(a), From::Variable(b)) => a.id() == b.id(),
            (From::Captured(a), From::Captured(b)) => equal(a, b),
            (From::Argument(_) | From::Made(..) | From::Variable(_) | From::Captured(_), _) => false,
        };
        let step = |(a, b): (&ViewStep, &ViewStep)| std::ptr::eq(a.op, b.op) && a.rest == b.rest;
        from && self.views.len() == other.views.len() && self.views.iter().zip(&other.views).all(step)
    }
}

/// Bytes up to which two captured tensors are compared by content.
const SMALL: usize = 4096;

/// Whether two tensors are one memory, or equal constants.
pub(super) fn equal(a: &Tensor, b: &Tensor) -> bool {
    let memory = |t: &Tensor| t.storage().ok().map(|s| s.address());
    if a.tensor_type() != b.tensor_type() {
        return false;
    }
    if memory(a) == memory(b) {
        return a.layout() == b.layout();
    }
    let _outside = door::outside();
    a.numel() * a.dtype().size() <= SMALL
        && a.to_bytes().is_ok_and(|bytes| b.to_bytes().is_ok_and(|other| bytes == other))
}

/// A part, compiled for the types that it has met.
pub(super) struct Code {
    pub(super) graph: Graph,
    /// Which of the part's inputs the graph takes.
    pub(super) used: Vec<usize>,
    written: Vec<bool>,
    device: DeviceId,
    options: Options,
    compiled: Mutex<Earned<Variant>>,
}

/// A part's code for inputs of these types, or with open extents.
struct Variant {
    types: Option<Vec<TensorType>>,
    compiled: Arc<CompiledFunction>,
}

/// A variant that was found.
pub(super) struct Ready {
    compiled: Arc<CompiledFunction>,
    open: bool,
}

impl Ready {
    fn of(variant: &Variant) -> Ready {
        Ready { compiled: variant.compiled.clone(), open: variant.types.is_none() }
    }
}

fn types_of(inputs: &[Tensor]) -> Vec<TensorType> {
    inputs.iter().map(Tensor::tensor_type).collect()
}

impl Variant {
    fn fits(&self, inputs: &[Tensor]) -> bool {
        match &self.types {
            Some(types) => types.iter().zip(inputs).all(|(ty, t)| *ty == *t),
            None => self.compiled.is_open_for(inputs),
        }
    }
}

impl Code {
    pub(super) fn new(graph: Graph, used: Vec<usize>, device: DeviceId, options: Options) -> Code {
        let written = (0..graph.inputs.len()).map(|i| graph.write_backs.iter().any(|(w, _)| *w == i));
        let written = written.collect();
        Code { graph, used, written, device, options, compiled: Mutex::default() }
    }

    fn variants(&self) -> MutexGuard<'_, Earned<Variant>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was compiled of it, most recently used first.
    pub(super) fn all(&self) -> Vec<Arc<CompiledFunction>> {
        self.variants().kinds().iter().map(|variant| variant.compiled.clone()).collect()
    }

    /// What was compiled of it for open extents, the last first.
    pub(super) fn open(&self) -> Vec<Arc<CompiledFunction>> {
        self.variants().open().iter().map(|variant| variant.compiled.clone()).collect()
    }

    /// The code for inputs of these types, made now if there may be more of it; `None` where they are for the host: there are as
    /// many variants as there may be, another one has not been earned, and none has open extents that are these.
    pub(super) fn ready(&self, inputs: &[Tensor]) -> Result<Option<Ready>> {
        let mut variants = self.variants();
        if let Some(variant) = variants.find(|variant| variant.fits(inputs)) {
            return Ok(Some(Ready::of(&variant)));
        }
        if variants.pays() {
            drop(variants);
            return self.keep(inputs).map(Some);
        }
        if let Some(variant) = variants.find_open(|variant| variant.fits(inputs)) {
            return Ok(Some(Ready::of(&variant)));
        }
        if !variants.pass() {
            return Ok(None);
        }
        let known = variants.kinds().iter().filter_map(|variant| variant.types.clone());
        let call = |types| Call { types, numbers: Vec::new() };
        let calls: Vec<Call> = known.chain([types_of(inputs)]).map(call).collect();
        drop(variants);
        if let Some(compiled) = self.open_for(&calls).filter(|compiled| compiled.is_open_for(inputs)) {
            self.variants().keep_open(Arc::new(Variant { types: None, compiled }));
        }
        Ok(self.variants().find_open(|variant| variant.fits(inputs)).map(|variant| Ready::of(&variant)))
    }

    /// Code for what differs between these calls; `None` where there can be none.
    fn open_for(&self, calls: &[Call]) -> Option<Arc<CompiledFunction>> {
        let [first, second] = to_record(calls)?.calls;
        let graphs =
            [specialize(&self.graph, &first.types).ok()?, specialize(&self.graph, &second.types).ok()?];
        CompiledFunction::open(graphs, self.options.clone(), self.device).ok()
    }

    /// Another variant, for inputs of these types.
    fn keep(&self, inputs: &[Tensor]) -> Result<Ready> {
        let types = types_of(inputs);
        let variant = Arc::new(Variant { compiled: self.exact(&types)?, types: Some(types) });
        self.variants().keep(variant.clone());
        Ok(Ready::of(&variant))
    }

    fn exact(&self, types: &[TensorType]) -> Result<Arc<CompiledFunction>> {
        CompiledFunction::new(specialize(&self.graph, types)?, self.options.clone(), self.device)
    }

    /// Runs it on the code that is ready, or on more: carries out write-backs, returns the other results, each with memory of
    /// its own.
    fn run(&self, ready: Option<Ready>, inputs: &[Tensor], origin: Origin) -> Result<Vec<Tensor>> {
        let ready = match ready {
            Some(ready) => ready,
            None => self.keep(inputs)?,
        };
        let sources: SmallVec<[Source; 16]> = (0..inputs.len()).map(Source::Argument).collect();
        let mut results = match invoke(&ready.compiled, &sources, &self.written, inputs, origin) {
            // It was not made for these extents after all, or fails in a way that other code can tell better.
            Err(_) if ready.open => {
                invoke(&self.exact(&types_of(inputs))?, &sources, &self.written, inputs, origin)?
            }
            results => results?,
        };
        let memory = |t: &Tensor| t.storage().map(|s| s.address());
        for i in 0..results.len() {
            let own = memory(&results[i])?;
            let recorded = results[i].flags() != 0;
            let seen = |t: &Tensor| memory(t).is_ok_and(|m| m == own);
            let shared = results[..i].iter().chain(inputs).any(seen)
                || (!recorded && results[i].storage()?.handles() > 1);
            if shared || !results[i].is_contiguous() || results[i].layout().offset != 0 {
                results[i] = results[i].copy()?;
            }
        }
        Ok(results)
    }
}

/// A part in its place.
pub(super) struct Part {
    pub(super) key: Key,
    pub(super) code: Arc<Code>,
    /// Where the graph's inputs are.
    pub(super) inputs: Vec<Place>,
    /// Whether it has a history. Where gradients end in it, it says so itself.
    pub(super) graded: bool,
}

impl Part {
    /// `Code::run`, in the grad mode in which the part was recorded, whatever it is where the part ends.
    pub(super) fn run(&self, ready: Option<Ready>, inputs: &[Tensor], origin: Origin) -> Result<Vec<Tensor>> {
        let _mode = if self.graded { door::enable_grad() } else { door::no_grad() };
        self.code.run(ready, inputs, origin)
    }

    /// What the graph takes, found again.
    pub(super) fn inputs(
        &self,
        args: &[Tensor],
        made: &[Vec<Tensor>],
        start: &Start,
    ) -> Result<SmallVec<[Tensor; 16]>> {
        self.inputs.iter().map(|place| place.tensor(args, made, start)).collect()
    }
}

/// What the host saw.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Seen {
    Truth(bool),
    Bytes(Vec<u8>),
}

impl Seen {
    pub(super) fn of(value: &Tensor, truth: bool) -> Result<Seen> {
        Ok(match truth {
            true => Seen::Truth(value.item()?.to_bool()),
            false => Seen::Bytes(value.to_bytes()?),
        })
    }
}

/// A result of a call.
#[derive(Clone)]
pub(super) enum Output {
    At(Place),
    /// Made by the host alone: the same numbers each time, in memory of their own.
    Fresh(Tensor),
}

/// One thing on the way.
pub(super) enum Step {
    Run(Arc<Part>),
    Look { place: Place, truth: bool, origin: Origin },
    End { outputs: Vec<Output>, variables: Vec<(Variable, Place)> },
}

/// A way through the program, by what the host saw.
pub(super) struct Path {
    pub(super) steps: Vec<Step>,
    pub(super) seen: Vec<Seen>,
}

/// How far a walk came.
pub(super) enum Walk {
    /// To the end.
    Done(Vec<Tensor>),
    /// Nowhere: the inputs have types that are left to the host.
    Passed,
    /// To a look that saw something new; what had run.
    Missed(Vec<(Arc<Part>, Vec<Tensor>)>),
}

/// Walks the paths along what the host would see.
pub(super) fn walk(paths: &[Arc<Path>], args: &[Tensor], origin: Origin) -> Result<Walk> {
    let mut seen: Vec<Seen> = Vec::new();
    let (mut ran, mut made): (Vec<Arc<Part>>, Made) = (Vec::new(), Vec::new());
    let Some(mut path) = paths.first() else { return Ok(Walk::Missed(Vec::new())) };
    let mut at = 0;
    loop {
        match path.steps.get(at) {
            Some(Step::Run(part)) => {
                let inputs = part.inputs(args, &made, &[])?;
                let ready = part.code.ready(&inputs)?;
                // A call whose first part is left to the host is the host's as a whole.
                if at == 0 && ready.is_none() {
                    return Ok(Walk::Passed);
                }
                made.push(part.run(ready, &inputs, origin)?);
                ran.push(part.clone());
            }
            Some(Step::Look { place, truth, .. }) => {
                seen.push(Seen::of(&place.tensor(args, &made, &[])?, *truth)?);
                match paths.iter().find(|p| p.seen.starts_with(&seen)) {
                    Some(next) => path = next,
                    None => return Ok(Walk::Missed(ran.into_iter().zip(made).collect())),
                }
            }
            Some(Step::End { outputs, variables }) => {
                let tensor = |output: &Output| match output {
                    Output::At(place) => place.tensor(args, &made, &[]),
                    Output::Fresh(tensor) => tensor.copy(),
                };
                let results = outputs.iter().map(tensor).collect::<Result<Vec<_>>>()?;
                // All values are found before a Variable changes, since one may be another's.
                let values = variables.iter().map(|(_, place)| place.tensor(args, &made, &[]));
                let values = values.collect::<Result<SmallVec<[Tensor; 4]>>>()?;
                for ((variable, _), value) in variables.iter().zip(values) {
                    variable.replace(value.alias())?;
                }
                return Ok(Walk::Done(results));
            }
            None => return Err(Error::internal("a path without an end")),
        }
        at += 1;
    }
}
