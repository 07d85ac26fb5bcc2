//! A compiled part of a program: it is staged for what its inputs are (element type, shape and device of tensors, host
//! values by value), and compiled with a backward of its own, which is made when it is first needed.
//!
//! Shapes are static: every new kind of inputs is another compilation, up to a limit. Beyond it a new kind takes the place of
//! the one that was not used for longest, once the compiled ones have earned it; until then the host runs calls of other
//! kinds, with the regions inside this one (docs/decisions/0016). Where the part cannot be staged the host runs it always,
//! and the region says why.

use super::perform::{Args, World};
use super::stage::Stage;
use crate::value::Value;
use graph::earned::Earned;
use graph::function::{CompiledFunction, invoke};
use graph::ir::{BlockId, Graph, NodeId, NodeKind, ValueId};
use graph::trace::{Mode, Source, Spec, record};
use graph::{Options, Type};
use runtime::device::DeviceId;
use runtime::door;
use runtime::error::{Error, Origin, Result};
use runtime::infer::TensorType;
use runtime::{Host, Tensor, origin};
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
#[derive(Clone, Debug)]
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
    /// Calls that the host ran because their kind was one too many and had not been earned.
    pub passed: u64,
    /// What was compiled, most recently used first.
    pub compiled: Vec<Arc<CompiledFunction>>,
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
            passed: state.kinds.passed(),
            compiled: state.kinds.kinds().iter().map(|k| k.compiled.clone()).collect(),
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
        let kind = {
            let mut state = self.state();
            state.calls += 1;
            if state.fallback.is_some() {
                return Ok(None);
            }
            match state.kinds.find(|kind| kind.fits(args)) {
                None if !state.kinds.pays() => {
                    state.kinds.pass();
                    return Ok(None);
                }
                found => found,
            }
        };
        let kind = match kind {
            Some(kind) => kind,
            None => match self.compile(args, options, world) {
                Ok(kind) => kind,
                Err(why) => {
                    self.state().fallback = Some(why.to_string());
                    return Ok(None);
                }
            },
        };
        let tensors: SmallVec<[Tensor; 8]> =
            kind.tensors.iter().map(|&i| args.get(i).tensor().cloned()).collect::<Result<_>>()?;
        let results = invoke(&kind.compiled, &kind.sources, &kind.written, &tensors, origin)?;
        let outputs = kind.outputs.iter().map(|output| match output {
            Output::Tensor(i) => Ok(Value::Tensor(results[*i].clone())),
            Output::Number(i) => results[*i].item().map(Value::from),
            Output::Host(host) => Ok(value_of(host)),
        });
        outputs.collect::<Result<_>>().map(Some)
    }

    /// Stages it for these inputs.
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
        let (mut keys, mut specs, mut tensors) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..self.inputs.len() {
            keys.push(match args.get(i) {
                Value::Tensor(t) => {
                    specs.push(Spec { example: None, ..Spec::of(t) });
                    tensors.push(i);
                    Key::Tensor(t.tensor_type(), t.device())
                }
                other => Key::Host(host_of(other)?),
            });
        }
        let outputs = RefCell::new(Vec::new());
        let counted = Cell::new(false);
        let _kept = origin::keep();
        let recording = record(&self.name, Mode::Staged, &specs, |traced| {
            let mut registers = vec![Value::None; self.graph.value_count()];
            for (i, &input) in self.inputs.iter().enumerate() {
                registers[input.0 as usize] = args.get(i).clone();
            }
            for (&i, tensor) in tensors.iter().zip(traced) {
                registers[self.inputs[i].0 as usize] = Value::Tensor(tensor.clone());
            }
            let stage = Stage::new(&self.graph, registers, world);
            stage.block(self.block)?;
            counted.set(stage.counted());
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
        let device = specs.first().map_or(DeviceId::Cpu, |s| s.device);
        if !recording.graph.write_backs.is_empty() {
            return Err(Error::internal("a region writes state"));
        }
        let compiled = CompiledFunction::new(recording.graph.clone(), options.clone(), device)?;
        let kind = Arc::new(Kind {
            keys,
            compiled,
            written: vec![false; recording.sources.len()],
            sources: recording.sources,
            tensors,
            outputs: outputs.into_inner(),
            counted: counted.get(),
        });
        self.state().kinds.keep(kind.clone());
        Ok(kind)
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

impl Kind {
    #[inline]
    fn fits(&self, args: Args) -> bool {
        self.keys.iter().enumerate().all(|(i, key)| match (key, args.get(i)) {
            (Key::Tensor(ty, device), Value::Tensor(t)) => *ty == *t && *device == t.device(),
            (Key::Tensor(..), _) | (Key::Host(_), Value::Tensor(_)) => false,
            (Key::Host(host), value) => host_of(value).is_ok_and(|h| h == *host),
        })
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
