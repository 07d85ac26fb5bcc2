//! tf.function: a program that is staged whole the first time it meets a kind of arguments, and run as a plan from then on.
//!
//! The kind is the key of a cache: dtype and shape of tensors, *value* of host arguments, identity of Variables. A call
//! that finds no entry traces again, and the retrace log says which part of the key was new. Variables that the program
//! reads or assigns are inputs and results of the graph; their new values are written back when a run ends.

use crate::exec::{Bound, Executable};
use crate::ir::Graph;
use crate::options::Options;
use crate::passes::{PassLog, optimize};
use crate::plan::plan;
use crate::trace::{self, Mode, Source, Spec, Warning};
use runtime::device::DeviceId;
use runtime::door::{self, Outputs};
use runtime::error::{Error, Origin, Result};
use runtime::infer::TensorType;
use runtime::profile::{self, Bucket};
use runtime::value::Host;
use runtime::{Tensor, Variable};
use smallvec::SmallVec;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// An argument of a call.
#[derive(Clone, Debug)]
pub enum Argument {
    /// A tensor: an input of the graph.
    Tensor(Tensor),
    /// A host value: a constant of the graph, and part of the key.
    Host(Host),
    /// A Variable: captured by identity.
    Variable(Variable),
}

impl From<&Tensor> for Argument {
    fn from(tensor: &Tensor) -> Argument {
        Argument::Tensor(tensor.clone())
    }
}

impl Argument {
    /// The tensor, or an error that says what it is instead.
    pub fn tensor(&self) -> Result<&Tensor> {
        match self {
            Argument::Tensor(t) => Ok(t),
            other => Err(Error::value(format!("expected a tensor argument, got {other:?}"))),
        }
    }
}

/// What the key keeps of an argument.
#[derive(Clone, PartialEq, Eq, Debug)]
enum KeyPart {
    Tensor(TensorType, DeviceId),
    Host(Host),
    Variable(u64),
}

impl KeyPart {
    fn of(argument: &Argument) -> KeyPart {
        match argument {
            Argument::Tensor(t) => KeyPart::Tensor(t.tensor_type(), t.device()),
            Argument::Host(h) => KeyPart::Host(h.clone()),
            Argument::Variable(v) => KeyPart::Variable(v.id()),
        }
    }

    /// `matches` without making the key of the argument.
    fn matches(&self, argument: &Argument) -> bool {
        match (self, argument) {
            (KeyPart::Tensor(ty, device), Argument::Tensor(t)) => {
                ty.dtype == t.dtype()
                    && *device == t.device()
                    && ty.shape.len() == t.rank()
                    && ty.shape.iter().zip(t.shape()).all(|(d, &n)| d.is(n))
            }
            (KeyPart::Host(a), Argument::Host(b)) => a == b,
            (KeyPart::Variable(id), Argument::Variable(v)) => *id == v.id(),
            _ => false,
        }
    }
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyPart::Tensor(ty, device) => write!(f, "{ty} on {device}"),
            KeyPart::Host(value) => write!(f, "the value {value}"),
            KeyPart::Variable(id) => write!(f, "variable {id}"),
        }
    }
}

/// One trace and why it was made.
#[derive(Clone, PartialEq, Debug)]
pub struct Retrace {
    /// Number of the trace, from 0.
    pub number: usize,
    /// What differed from the nearest entry of the cache; empty for the first trace.
    pub reasons: Vec<String>,
    /// The line that called.
    pub origin: Origin,
    /// How long tracing and compiling took.
    pub time: Duration,
}

impl fmt::Display for Retrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.reasons.is_empty() { "the first call".to_string() } else { self.reasons.join("; ") };
        write!(f, "trace {} at {}: {why}", self.number, self.origin)
    }
}

/// A traced and compiled program for one key.
pub struct Concrete {
    key: Vec<KeyPart>,
    /// As it was recorded.
    pub recorded: Graph,
    /// As the passes left it.
    pub graph: Graph,
    /// What the passes did.
    pub log: PassLog,
    /// What the host froze while it was traced.
    pub warnings: Vec<Warning>,
    sources: Vec<Source>,
    executable: Arc<Executable>,
    bound: Mutex<Option<BoundState>>,
}

/// A run's buffers, fixed, with the state tensors that they belong to.
struct BoundState {
    bound: Bound,
    fixed: SmallVec<[Tensor; 8]>,
}

/// Tensors that a binding of a state tensor holds: one here, one in `Bound`.
const BINDING_HANDLES: usize = 2;

impl Concrete {
    /// The executable plan.
    pub fn executable(&self) -> &Arc<Executable> {
        &self.executable
    }

    /// Whether the plan writes new state into input `i`.
    fn written(&self, i: usize) -> bool {
        self.executable.plan().inputs[i].written
    }

    /// The tensor that stands for input `i` of a run; state that is written belongs to its Variable alone.
    fn input(&self, i: usize, args: &[Tensor], known: usize) -> Result<Tensor> {
        match &self.sources[i] {
            Source::Variable(variable) if self.written(i) => variable.exclusive(known),
            source => source.current(args),
        }
    }

    fn run(&self, args: &[Tensor]) -> Result<Outputs> {
        let inputs: SmallVec<[Tensor; 8]> =
            (0..self.sources.len()).map(|i| self.input(i, args, 0)).collect::<Result<_>>()?;
        self.executable.run(&inputs)
    }

    /// Runs with buffers bound once; binds again only where a Variable holds another tensor by now.
    fn run_bound(&self, args: &[Tensor]) -> Result<Outputs> {
        let mut slot = self.bound.lock().unwrap_or_else(|p| p.into_inner());
        let state = |i: &usize| !matches!(self.sources[*i], Source::Argument(_));
        if let Some(held) = &mut *slot {
            let mut fixed = held.fixed.iter();
            let mut fits = true;
            for i in (0..self.sources.len()).filter(state) {
                let now = self.input(i, args, BINDING_HANDLES)?;
                fits &= fixed.next().is_some_and(|f| f.same(&now));
            }
            if fits {
                return held.bound.run(args);
            }
        }
        *slot = None;
        let fixed: SmallVec<[Tensor; 8]> =
            (0..self.sources.len()).filter(state).map(|i| self.input(i, args, 0)).collect::<Result<_>>()?;
        let bound = self.executable.bind(&fixed)?;
        slot.insert(BoundState { bound, fixed }).bound.run(args)
    }
}

/// The program behind a function.
type Body = dyn Fn(&[Argument]) -> Result<Vec<Tensor>> + Send + Sync;

/// A staged program with its cache of traces.
pub struct Function {
    name: String,
    options: Options,
    bound: bool,
    body: Box<Body>,
    cache: Mutex<Vec<Arc<Concrete>>>,
    log: Mutex<Vec<Retrace>>,
}

impl Function {
    /// Stages `body`. Nothing is traced before the first call.
    pub fn new(
        name: &str,
        options: Options,
        body: impl Fn(&[Argument]) -> Result<Vec<Tensor>> + Send + Sync + 'static,
    ) -> Function {
        Function {
            name: name.to_string(),
            options,
            bound: false,
            body: Box::new(body),
            cache: Mutex::default(),
            log: Mutex::default(),
        }
    }

    /// Fixes buffers and state once, so that a call decides nothing (one call at a time).
    pub fn bound(mut self) -> Function {
        self.bound = true;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every trace made so far, and why.
    pub fn retraces(&self) -> Vec<Retrace> {
        self.log.lock().unwrap_or_else(|p| p.into_inner()).clone()
    }

    /// Calls it with tensors alone.
    #[track_caller]
    pub fn call_tensors(&self, args: &[Tensor]) -> Result<Outputs> {
        let args: SmallVec<[Argument; 4]> = args.iter().map(Argument::from).collect();
        self.call(&args)
    }

    /// Calls it: finds the trace for these arguments, or makes it, and runs its plan. While another tracer records, the
    /// program is recorded into that one instead.
    #[track_caller]
    pub fn call(&self, args: &[Argument]) -> Result<Outputs> {
        let origin = Origin::caller();
        if trace::is_tracing() {
            return Ok((self.body)(args)?.into_iter().collect());
        }
        let concrete = self.concrete(args, origin).map_err(|e| e.at(origin))?;
        let tensors: SmallVec<[Tensor; 4]> = args
            .iter()
            .filter_map(|a| match a {
                Argument::Tensor(t) => Some(t.clone()),
                Argument::Host(_) | Argument::Variable(_) => None,
            })
            .collect();
        self.check_not_recorded(&tensors).map_err(|e| e.at(origin))?;
        if self.bound { concrete.run_bound(&tensors) } else { concrete.run(&tensors) }.map_err(|e| e.at(origin))
    }

    /// A whole step is staged, its tape included. A tape around the call would see nothing of it: say so.
    fn check_not_recorded(&self, args: &[Tensor]) -> Result<()> {
        if door::in_scope() || args.iter().any(|t| t.flags() != 0 && door::grad_enabled()) {
            return Err(Error::gradient(format!("function '{}' is called while a tape records", self.name))
                .hint("put the tape inside the function, or trace the forward alone with `graph::trace_callable`"));
        }
        Ok(())
    }

    /// The compiled program for these arguments (TensorFlow's `get_concrete_function`).
    pub fn concrete(&self, args: &[Argument], origin: Origin) -> Result<Arc<Concrete>> {
        let _guard = profile::timed(Bucket::Guard);
        let mut cache = self.cache.lock().unwrap_or_else(|p| p.into_inner());
        let fits = |c: &&Arc<Concrete>| c.key.len() == args.len() && c.key.iter().zip(args).all(|(k, a)| k.matches(a));
        if let Some(found) = cache.iter().find(fits) {
            return Ok(found.clone());
        }
        let _plan = profile::timed(Bucket::Plan);
        let start = Instant::now();
        let key: Vec<KeyPart> = args.iter().map(KeyPart::of).collect();
        let reasons = nearest(&cache, &key);
        let made = Arc::new(self.compile(key, args)?);
        cache.push(made.clone());
        let number = cache.len() - 1;
        let retrace = Retrace { number, reasons, origin, time: start.elapsed() };
        self.log.lock().unwrap_or_else(|p| p.into_inner()).push(retrace);
        Ok(made)
    }

    fn compile(&self, key: Vec<KeyPart>, args: &[Argument]) -> Result<Concrete> {
        let specs: Vec<Spec> = args.iter().filter_map(|a| a.tensor().ok().map(Spec::of)).collect();
        let device = specs.first().map_or(DeviceId::Cpu, |s| s.device);
        let recording = trace::record(&self.name, Mode::Staged, &specs, |traced| {
            let mut traced = traced.iter();
            let staged: Vec<Argument> = args
                .iter()
                .map(|a| match (a, a.tensor().is_ok()) {
                    (_, true) => traced.next().map(Argument::from).ok_or_else(|| Error::internal("an argument is lost")),
                    (other, false) => Ok(other.clone()),
                })
                .collect::<Result<_>>()?;
            (self.body)(&staged)
        })?;
        let (graph, log) = optimize(recording.graph.clone(), &self.options)?;
        let executable = Arc::new(Executable::new(plan(&graph, &self.options, device)?)?);
        Ok(Concrete {
            key,
            recorded: recording.graph,
            graph,
            log,
            warnings: recording.warnings,
            sources: recording.sources,
            executable,
            bound: Mutex::new(None),
        })
    }
}

/// What keeps a key from being the entry of the cache that it is nearest to.
fn nearest(cache: &[Arc<Concrete>], key: &[KeyPart]) -> Vec<String> {
    let differences = |c: &Arc<Concrete>| -> Vec<String> {
        if c.key.len() != key.len() {
            return vec![format!("{} arguments instead of {}", key.len(), c.key.len())];
        }
        let pairs = c.key.iter().zip(key).enumerate().filter(|(_, (a, b))| a != b);
        pairs.map(|(i, (a, b))| format!("argument {i} is {b}, was {a}")).collect()
    };
    cache.iter().map(differences).min_by_key(Vec::len).unwrap_or_default()
}
