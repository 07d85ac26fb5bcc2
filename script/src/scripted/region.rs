//! A compiled part of a program: it is staged for what its inputs are (element type, shape and device of tensors, host
//! values by value), and compiled with a backward of its own, which is made when it is first needed.
//!
//! Shapes are static first: every new kind of inputs is another compilation, up to a limit. Beyond it a new kind takes the
//! place of the one that was not used for longest, once the compiled ones have earned it. Until then extents that differed are
//! open: one compilation stands for all of them. Where there can be none the host runs the call, with the regions inside this
//! one (docs/decisions/0016). Where the part cannot be staged the host runs it always, and the region says why.

use super::perform::{Args, World};
use super::stage::Stage;
use crate::value::Value;
use graph::earned::Earned;
use graph::function::{CompiledFunction, invoke};
use graph::ir::{BlockId, Graph, NodeId, NodeKind, ValueId};
use graph::open::{Call, Size, ToRecord, to_record};
use graph::trace::{Mode, Source, Spec, record};
use graph::{Options, Type};
use runtime::device::DeviceId;
use runtime::door;
use runtime::error::{Error, Origin, Result};
use runtime::infer::TensorType;
use runtime::{Host, Scalar, Tensor, origin};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, PoisonError};

/// Most kinds if turns of loops were staged one by one: where counts differ from call to call, parts of a turn are compiled
/// once for all of them.
const MOST_COUNTED: usize = 3;

/// A part of a program that is compiled as one.
pub struct Region {
    name: String,
    graph: Arc<Graph>,
    block: BlockId,
    /// Values from outside.
    pub(super) inputs: Vec<ValueId>,
    /// Whether there is a loop in it.
    loops: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kinds: Earned<Kind>,
    /// Why the host runs it, where it always does.
    fallback: Option<String>,
    calls: u64,
}

/// What one input was compiled for.
#[derive(Clone, PartialEq, Debug)]
enum Key {
    Tensor(TensorType, DeviceId),
    /// A tensor whose extents the compiled function takes.
    Open(DeviceId),
    /// An integer that follows from the extent of a tensor; tensors are counted alone.
    Size(Size),
    Host(Host),
}

/// A region compiled for one kind of inputs.
struct Kind {
    keys: Vec<Key>,
    compiled: Arc<CompiledFunction>,
    sources: Vec<Source>,
    written: Vec<bool>,
    /// Which inputs are tensors.
    tensors: Vec<usize>,
    outputs: Vec<Output>,
    /// Whether turns of loops were staged one by one.
    counted: bool,
}

/// One output of a region.
#[derive(Clone, PartialEq, Debug)]
enum Output {
    /// This result of the compiled function.
    Tensor(usize),
    /// The number in this result.
    Number(usize),
    /// A number, which depends on what the region was compiled for alone.
    Host(Host),
}

/// What a region has done, for reports.
#[derive(Clone)]
pub struct RegionReport {
    /// Its name.
    pub name: String,
    /// How often it ran.
    pub calls: u64,
    /// For how many kinds of inputs it is compiled.
    pub kinds: usize,
    /// Why the host runs it one operation at a time, where it always does.
    pub fallback: Option<String>,
    /// Calls whose kind was one too many and had not been earned, and which code with open extents answered.
    pub opened: u64,
    /// Such calls that the host ran.
    pub passed: u64,
    /// What was compiled, most recently used first.
    pub compiled: Vec<Arc<CompiledFunction>>,
    /// What was compiled for open extents, the last first.
    pub open: Vec<Arc<CompiledFunction>>,
}

impl Region {
    pub(super) fn new(name: String, graph: Arc<Graph>, block: BlockId) -> Region {
        let inputs = graph.free_values(block);
        let mut nodes: Vec<NodeId> = graph.block(block).nodes.clone();
        let mut loops = false;
        while let Some(id) = nodes.pop() {
            let node = graph.node(id);
            loops |= matches!(node.kind, NodeKind::While);
            nodes.extend(node.blocks.iter().flat_map(|&b| &graph.block(b).nodes));
        }
        Region { name, graph, block, inputs, loops, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has done so far.
    pub fn report(&self) -> RegionReport {
        let state = self.state();
        RegionReport {
            name: self.name.clone(),
            calls: state.calls,
            kinds: state.kinds.kinds().len(),
            fallback: state.fallback.clone(),
            opened: state.kinds.opened(),
            passed: state.kinds.passed(),
            compiled: state.kinds.kinds().iter().map(|k| k.compiled.clone()).collect(),
            open: state.kinds.open().iter().map(|k| k.compiled.clone()).collect(),
        }
    }

    /// Runs it on its inputs; `None` where the host has to.
    pub(super) fn run(
        &self,
        args: Args,
        options: &Options,
        world: &mut World,
        origin: Origin,
    ) -> Result<Option<SmallVec<[Value; 4]>>> {
        // Another recording takes the operations themselves; where turns are counted the host takes them.
        if door::in_scope() || (self.loops && world.host.step_limit.is_some()) {
            return Ok(None);
        }
        let Some(kind) = self.kind(args, options, world) else { return Ok(None) };
        let tensors: SmallVec<[Tensor; 8]> =
            kind.tensors.iter().map(|&i| args.get(i).tensor().cloned()).collect::<Result<_>>()?;
        let results = match invoke(&kind.compiled, &kind.sources, &kind.written, &tensors, origin) {
            // It was not made for these extents after all, or fails in a way that the host can tell better.
            Err(_) if kind.is_open() => return Ok(None),
            results => results?,
        };
        let outputs = kind.outputs.iter().map(|output| match output {
            Output::Tensor(i) => Ok(Value::Tensor(results[*i].clone())),
            Output::Number(i) => results[*i].item().map(Value::from),
            Output::Host(host) => Ok(value_of(host)),
        });
        outputs.collect::<Result<_>>().map(Some)
    }

    /// What is compiled for these inputs, now or before; `None` where the host has to run them.
    fn kind(&self, args: Args, options: &Options, world: &mut World) -> Option<Arc<Kind>> {
        let pays = {
            let mut state = self.state();
            state.calls += 1;
            if state.fallback.is_some() {
                return None;
            }
            if let Some(kind) = state.kinds.find(|kind| kind.fits(args)) {
                return Some(kind);
            }
            let pays = state.kinds.pays();
            if !pays {
                if let Some(kind) = state.kinds.find_open(|kind| kind.fits(args)) {
                    return Some(kind);
                }
                if !state.kinds.pass() {
                    return None;
                }
            }
            pays
        };
        match pays {
            true => match self.compile(args, options, world) {
                Ok(kind) => Some(kind),
                Err(why) => {
                    self.state().fallback = Some(why.to_string());
                    None
                }
            },
            false => {
                if let Some(form) = self.open(args, options, world) {
                    self.state().kinds.keep_open(Arc::new(form));
                }
                self.state().kinds.find_open(|form| form.fits(args))
            }
        }
    }

    /// Compiles it for these inputs.
    fn compile(&self, args: Args, options: &Options, world: &mut World) -> Result<Arc<Kind>> {
        {
            // Whoever is left to the host from now on has its turns compiled.
            let state = self.state();
            let kinds = state.kinds.kinds();
            if kinds.len() >= MOST_COUNTED && kinds.iter().any(|kind| kind.counted) {
                let why = format!("{} was compiled for {MOST_COUNTED} kinds of inputs", self.name);
                return Err(Error::value(why));
            }
        }
        let keys = self.keys(args)?;
        let staged = self.stage(args, &call_of(&keys), world)?;
        let compiled = CompiledFunction::new(staged.graph.clone(), options.clone(), device_of(&keys))?;
        let kind = Arc::new(staged.kind(keys, compiled));
        self.state().kinds.keep(kind.clone());
        Ok(kind)
    }

    /// Compiles it for all extents of the dimensions that differ among the compiled kinds and these inputs, which are alike in
    /// all else; `None` where nothing differs or what is computed depends on the extents in other ways than by products.
    fn open(&self, args: Args, options: &Options, world: &mut World) -> Option<Kind> {
        let mut keys = self.keys(args).ok()?;
        let mut calls: Vec<Call> = {
            let state = self.state();
            let alike = state.kinds.kinds().iter().filter(|kind| {
                kind.keys.iter().zip(&keys).all(|(a, b)| match (a, b) {
                    (Key::Tensor(_, device), Key::Tensor(_, other)) => device == other,
                    (Key::Host(Host::Scalar(Scalar::Int(_))), Key::Host(Host::Scalar(Scalar::Int(_)))) => {
                        true
                    }
                    (a, b) => a == b,
                })
            });
            alike.map(|kind| call_of(&kind.keys)).collect()
        };
        calls.push(call_of(&keys));
        let ToRecord { calls: [first, second], sizes } = to_record(&calls)?;
        let first = self.stage(args, &first, world).ok()?;
        let second = self.stage(args, &second, world).ok()?;
        let arguments = |staged: &Staged| staged.sources.iter().all(|s| matches!(s, Source::Argument(_)));
        if first.outputs != second.outputs || first.decided || !arguments(&first) || !arguments(&second) {
            return None;
        }
        let graphs = [first.graph.clone(), second.graph];
        let compiled = CompiledFunction::open(graphs, options.clone(), device_of(&keys)).ok()?;
        let mut sizes = sizes.into_iter();
        for key in &mut keys {
            match key {
                Key::Tensor(_, device) => *key = Key::Open(*device),
                Key::Host(Host::Scalar(Scalar::Int(_))) => {
                    if let Some(size) = sizes.next().flatten() {
                        *key = Key::Size(size);
                    }
                }
                Key::Open(_) | Key::Size(_) | Key::Host(_) => {}
            }
        }
        Some(first.kind(keys, compiled)).filter(|form| form.fits(args))
    }

    /// What these inputs are of.
    fn keys(&self, args: Args) -> Result<Vec<Key>> {
        let key = |i| match args.get(i) {
            Value::Tensor(t) => Ok(Key::Tensor(t.tensor_type(), t.device())),
            other => host_of(other).map(Key::Host),
        };
        (0..self.inputs.len()).map(key).collect()
    }

    /// Records it for these inputs, with tensors of other types and other integers in the place of theirs.
    fn stage(&self, args: Args, call: &Call, world: &mut World) -> Result<Staged> {
        let tensors: Vec<usize> =
            (0..self.inputs.len()).filter(|&i| matches!(args.get(i), Value::Tensor(_))).collect();
        let spec = |(&i, ty): (&usize, &TensorType)| {
            let t = args.get(i).tensor()?;
            Ok(Spec { example: None, ty: ty.clone(), ..Spec::of(t) })
        };
        let specs: Vec<Spec> = tensors.iter().zip(&call.types).map(spec).collect::<Result<_>>()?;
        let outputs = RefCell::new(Vec::new());
        let (counted, decided) = (Cell::new(false), Cell::new(false));
        let _kept = origin::keep();
        let recording = record(&self.name, Mode::Staged, &specs, |traced| {
            let mut registers = vec![Value::None; self.graph.value_count()];
            let mut numbers = call.numbers.iter();
            for (i, &input) in self.inputs.iter().enumerate() {
                registers[input.0 as usize] = match args.get(i) {
                    Value::Int(n) => Value::Int(numbers.next().copied().unwrap_or(*n)),
                    other => other.clone(),
                };
            }
            for (&i, tensor) in tensors.iter().zip(traced) {
                registers[self.inputs[i].0 as usize] = Value::Tensor(tensor.clone());
            }
            let stage = Stage::new(&self.graph, registers, world);
            stage.block(self.block)?;
            counted.set(stage.counted());
            decided.set(stage.decided());
            let mut results = Vec::new();
            for &value in &self.graph.block(self.block).results {
                let output = match stage.get(value) {
                    Value::Tensor(t) => {
                        results.push(t);
                        match self.graph.ty(value) {
                            Type::Int | Type::Float | Type::Bool => Output::Number(results.len() - 1),
                            _ => Output::Tensor(results.len() - 1),
                        }
                    }
                    other => Output::Host(host_of(&other)?),
                };
                outputs.borrow_mut().push(output);
            }
            Ok(results)
        })?;
        if !recording.graph.write_backs.is_empty() {
            return Err(Error::internal("a region writes state"));
        }
        Ok(Staged {
            graph: recording.graph,
            sources: recording.sources,
            tensors,
            outputs: outputs.into_inner(),
            counted: counted.get(),
            decided: decided.get(),
        })
    }

    /// Types of its inputs and outputs, for readers.
    pub fn signature(&self) -> String {
        let show = |values: &[ValueId]| {
            let types: Vec<String> = values.iter().map(|&v| ty_of(&self.graph, v).to_string()).collect();
            types.join(", ")
        };
        format!("({}) -> ({})", show(&self.inputs), show(&self.graph.block(self.block).results))
    }
}

fn ty_of(graph: &Graph, value: ValueId) -> &Type {
    graph.ty(value)
}

/// The types of the tensors and the integers.
fn call_of(keys: &[Key]) -> Call {
    let mut call = Call { types: Vec::new(), numbers: Vec::new() };
    for key in keys {
        match key {
            Key::Tensor(ty, _) => call.types.push(ty.clone()),
            Key::Host(Host::Scalar(Scalar::Int(n))) => call.numbers.push(*n),
            Key::Open(_) | Key::Size(_) | Key::Host(_) => {}
        }
    }
    call
}

/// Where the first tensor is.
fn device_of(keys: &[Key]) -> DeviceId {
    let devices = keys.iter().filter_map(|key| match key {
        Key::Tensor(_, device) | Key::Open(device) => Some(*device),
        Key::Size(_) | Key::Host(_) => None,
    });
    devices.into_iter().next().unwrap_or(DeviceId::Cpu)
}

/// A recorded region.
struct Staged {
    graph: Graph,
    sources: Vec<Source>,
    tensors: Vec<usize>,
    outputs: Vec<Output>,
    counted: bool,
    decided: bool,
}

impl Staged {
    fn kind(self, keys: Vec<Key>, compiled: Arc<CompiledFunction>) -> Kind {
        let Staged { sources, tensors, outputs, counted, .. } = self;
        Kind { keys, compiled, written: vec![false; sources.len()], sources, tensors, outputs, counted }
    }
}

impl Kind {
    #[inline]
    fn fits(&self, args: Args) -> bool {
        let fits = self.keys.iter().enumerate().all(|(i, key)| match (key, args.get(i)) {
            (Key::Tensor(ty, device), Value::Tensor(t)) => *ty == *t && *device == t.device(),
            (Key::Open(device), Value::Tensor(t)) => *device == t.device(),
            (Key::Size(Size { tensor, dim, factor }), Value::Int(n)) => {
                let tensor = args.get(self.tensors[*tensor]).tensor().ok();
                let extent = tensor.and_then(|t| t.shape().get(*dim));
                extent.is_some_and(|&extent| extent as i64 * factor == *n)
            }
            (Key::Tensor(..) | Key::Open(_) | Key::Size(_), _) | (Key::Host(_), Value::Tensor(_)) => false,
            (Key::Host(host), value) => host_of(value).is_ok_and(|h| h == *host),
        });
        fits && (!self.is_open() || self.is_open_for(args))
    }

    /// Whether it is for any extents that its function takes.
    #[inline]
    fn is_open(&self) -> bool {
        self.keys.iter().any(|key| matches!(key, Key::Open(_)))
    }

    fn is_open_for(&self, args: Args) -> bool {
        let tensor = |source: &Source| match source {
            Source::Argument(i) => args.get(self.tensors[*i]).tensor().ok(),
            Source::Tensor(_) | Source::Variable(_) => None,
        };
        let tensors: Option<SmallVec<[&Tensor; 8]>> = self.sources.iter().map(tensor).collect();
        tensors.is_some_and(|tensors| self.compiled.is_open_for(&tensors))
    }
}

/// A host value that a region can be compiled for.
fn host_of(value: &Value) -> Result<Host> {
    Ok(match value {
        Value::None => Host::None,
        Value::Str(text) => Host::Str(text.clone()),
        Value::DType(dtype) => Host::DType(*dtype),
        other => match other.scalar() {
            Some(scalar) => Host::Scalar(scalar),
            None => return Err(other.unexpected("a number")),
        },
    })
}

/// A constant of a graph as a value.
pub(super) fn value_of(host: &Host) -> Value {
    match host {
        Host::None => Value::None,
        Host::Str(text) => Value::Str(text.clone()),
        Host::DType(dtype) => Value::DType(*dtype),
        Host::Scalar(scalar) => Value::from(*scalar),
        Host::Ints(ints) => Value::ints(ints.iter().copied()),
    }
}
