//! `function`, as tf.function: a program is recorded when it is first called with arguments of a kind, with everything in
//! it (forward, tape, optimiser, Variables), and the recorded graph runs from then on.
//!
//! The kind of an argument is what the program could have looked at while it was recorded: element type, shape and device
//! of a tensor, the value of a host number or text, the identity of a Variable. Each new kind is a retrace, and the log
//! says which part of the key is new.

use super::traced::written;
use super::{CompiledFunction, invoke};
use crate::options::Options;
use crate::trace::{Mode, Recording, Spec, record};
use runtime::device::DeviceId;
use runtime::error::{Error, Origin, Result};
use runtime::infer::TensorType;
use runtime::profile::{self, Bucket};
use runtime::tensor::Tensor;
use runtime::value::Host;
use runtime::variable::Variable;
use smallvec::SmallVec;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An argument of a staged function.
#[derive(Clone, Debug)]
pub enum Argument {
    /// A tensor: another one of the same type runs the same graph.
    Tensor(Tensor),
    /// A host value: another value is another graph.
    Host(Host),
    /// A Variable: another one is another graph.
    Variable(Variable),
}

impl Argument {
    /// The tensor; an error for other arguments.
    pub fn tensor(&self) -> Result<&Tensor> {
        match self {
            Argument::Tensor(t) => Ok(t),
            Argument::Host(_) | Argument::Variable(_) => {
                Err(Error::value(format!("expected a tensor, got {self:?}")))
            }
        }
    }

    /// The Variable; an error for other arguments.
    pub fn variable(&self) -> Result<&Variable> {
        match self {
            Argument::Variable(v) => Ok(v),
            Argument::Host(_) | Argument::Tensor(_) => {
                Err(Error::value(format!("expected a Variable, got {self:?}")))
            }
        }
    }

    /// The host value; an error for other arguments.
    pub fn host(&self) -> Result<&Host> {
        match self {
            Argument::Host(h) => Ok(h),
            Argument::Tensor(_) | Argument::Variable(_) => {
                Err(Error::value(format!("expected a host value, got {self:?}")))
            }
        }
    }
}

impl From<&Tensor> for Argument {
    fn from(t: &Tensor) -> Argument {
        Argument::Tensor(t.clone())
    }
}

impl From<&Variable> for Argument {
    fn from(v: &Variable) -> Argument {
        Argument::Variable(v.clone())
    }
}

impl From<Host> for Argument {
    fn from(h: Host) -> Argument {
        Argument::Host(h)
    }
}

impl From<f64> for Argument {
    fn from(v: f64) -> Argument {
        Argument::Host(Host::Scalar(v.into()))
    }
}

impl From<i64> for Argument {
    fn from(v: i64) -> Argument {
        Argument::Host(Host::Scalar(v.into()))
    }
}

impl From<bool> for Argument {
    fn from(v: bool) -> Argument {
        Argument::Host(Host::Scalar(v.into()))
    }
}

/// One argument's part of the key.
#[derive(Clone, PartialEq, Debug)]
enum Kind {
    Tensor(TensorType, DeviceId),
    Host(Host),
    Variable(u64),
}

impl Kind {
    fn of(argument: &Argument) -> Kind {
        match argument {
            Argument::Tensor(t) => Kind::Tensor(t.tensor_type(), t.device()),
            Argument::Host(h) => Kind::Host(h.clone()),
            Argument::Variable(v) => Kind::Variable(v.id()),
        }
    }

    fn fits(&self, argument: &Argument) -> bool {
        match (self, argument) {
            (Kind::Tensor(ty, device), Argument::Tensor(t)) => {
                let same =
                    ty.shape.len() == t.rank() && ty.shape.iter().zip(t.shape()).all(|(d, &n)| d.is(n));
                ty.dtype == t.dtype() && same && *device == t.device()
            }
            (Kind::Host(a), Argument::Host(b)) => a == b,
            (Kind::Variable(a), Argument::Variable(b)) => *a == b.id(),
            (Kind::Tensor(..) | Kind::Host(_) | Kind::Variable(_), _) => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Tensor(ty, DeviceId::Cpu) => ty.fmt(f),
            Kind::Tensor(ty, device) => write!(f, "{ty} on {device}"),
            Kind::Host(h) => write!(f, "the value {h}"),
            Kind::Variable(id) => write!(f, "variable {id}"),
        }
    }
}

/// A graph for one kind of arguments.
pub struct Concrete {
    key: Vec<Kind>,
    recording: Recording,
    written: Vec<bool>,
    compiled: Arc<CompiledFunction>,
}

impl Concrete {
    /// What was recorded.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// The compiled function.
    pub fn compiled(&self) -> &Arc<CompiledFunction> {
        &self.compiled
    }

    /// Which inputs get new values.
    pub(super) fn written(&self) -> &[bool] {
        &self.written
    }

    /// Whether it is the graph for these arguments.
    pub(super) fn fits(&self, args: &[Argument]) -> bool {
        self.key.len() == args.len() && self.key.iter().zip(args).all(|(kind, arg)| kind.fits(arg))
    }
}

/// The tensors among arguments, in order.
pub(super) fn tensors_of(args: &[Argument]) -> SmallVec<[Tensor; 8]> {
    let tensor = |a: &Argument| match a {
        Argument::Tensor(t) => Some(t.clone()),
        Argument::Host(_) | Argument::Variable(_) => None,
    };
    args.iter().filter_map(tensor).collect()
}

/// Why the program was recorded (again).
#[derive(Clone, Debug)]
pub struct Retrace {
    /// Which part of the key is new, against the graph that is most alike.
    pub why: String,
    /// How long recording took, without compiling.
    pub took: Duration,
    /// The line that called.
    pub origin: Origin,
}

type Program = dyn Fn(&[Argument]) -> Result<Vec<Tensor>> + Send + Sync;

/// A program that is staged as a whole.
pub struct Function {
    name: String,
    program: Box<Program>,
    options: Options,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Most recently used first.
    concrete: Vec<Arc<Concrete>>,
    log: Vec<Retrace>,
}

/// Stages a program; nothing is recorded before the first call.
pub fn function(
    name: &str,
    options: Options,
    program: impl Fn(&[Argument]) -> Result<Vec<Tensor>> + Send + Sync + 'static,
) -> Function {
    Function { name: name.to_string(), program: Box::new(program), options, state: Mutex::default() }
}

impl Function {
    /// Runs the program, recording it first if there is no graph for arguments like these.
    #[track_caller]
    pub fn call(&self, args: &[Argument]) -> Result<Vec<Tensor>> {
        let origin = Origin::caller();
        let concrete = self.concrete_at(args, origin)?;
        let tensors = tensors_of(args);
        invoke(&concrete.compiled, &concrete.recording.sources, &concrete.written, &tensors, origin)
    }

    /// The graph for arguments like these, recorded if there is none.
    #[track_caller]
    pub fn concrete(&self, args: &[Argument]) -> Result<Arc<Concrete>> {
        self.concrete_at(args, Origin::caller())
    }

    fn concrete_at(&self, args: &[Argument], origin: Origin) -> Result<Arc<Concrete>> {
        {
            let _guard = profile::timed(Bucket::Guard);
            let mut state = self.state();
            if let Some(at) = state.concrete.iter().position(|c| c.fits(args)) {
                state.concrete[..=at].rotate_right(1);
                return Ok(state.concrete[0].clone());
            }
        }
        // The program runs without the lock: it may call this very function.
        let start = Instant::now();
        let concrete = Arc::new(self.record(args).map_err(|e| e.at(origin))?);
        let took = start.elapsed();
        let mut state = self.state();
        let why = why(&concrete.key, &state.concrete);
        state.log.push(Retrace { why, took, origin });
        state.concrete.insert(0, concrete.clone());
        Ok(concrete)
    }

    fn record(&self, args: &[Argument]) -> Result<Concrete> {
        let tensors = args.iter().filter_map(|a| match a {
            Argument::Tensor(t) => Some(t),
            Argument::Host(_) | Argument::Variable(_) => None,
        });
        let specs: Vec<Spec> = tensors.clone().map(|t| Spec { example: None, ..Spec::of(t) }).collect();
        let recording = record(&self.name, Mode::Staged, &specs, |traced| {
            let mut traced = traced.iter();
            let given: Vec<Argument> = args
                .iter()
                .map(|a| match (a, a) {
                    (Argument::Tensor(t), _) => Argument::Tensor(traced.next().unwrap_or(t).clone()),
                    (_, other) => other.clone(),
                })
                .collect();
            (self.program)(&given)
        })?;
        let device = match tensors.clone().next() {
            Some(first) => first.device(),
            None => recording.bind(&[])?.first().map_or(DeviceId::Cpu, Tensor::device),
        };
        let compiled = CompiledFunction::new(recording.graph.clone(), self.options.clone(), device)?;
        let written = written(&recording.graph);
        Ok(Concrete { key: args.iter().map(Kind::of).collect(), recording, written, compiled })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How often the program was recorded.
    pub fn traces(&self) -> usize {
        self.state().log.len()
    }

    /// Why, each time.
    pub fn retraces(&self) -> Vec<Retrace> {
        self.state().log.clone()
    }
}

/// What is new in a key, against the most alike of those before.
fn why(key: &[Kind], before: &[Arc<Concrete>]) -> String {
    let differing = |other: &Concrete| {
        let each = key.iter().zip(&other.key).enumerate();
        each.filter(|(_, (new, old))| new != old).map(|(i, _)| i).collect::<Vec<usize>>()
    };
    let nearest = before.iter().filter(|c| c.key.len() == key.len()).min_by_key(|c| differing(c).len());
    match (nearest, before.first()) {
        (None, None) => "first call".to_string(),
        (None, Some(other)) => format!("{} arguments instead of {}", key.len(), other.key.len()),
        (Some(nearest), _) => {
            let parts = differing(nearest).into_iter().map(|i| part(i, &nearest.key[i], &key[i]));
            parts.collect::<Vec<_>>().join("; ")
        }
    }
}

fn part(i: usize, old: &Kind, new: &Kind) -> String {
    let what = match (old, new) {
        (Kind::Tensor(a, d), Kind::Tensor(b, e)) => match (a.dtype == b.dtype, a.shape == b.shape, d == e) {
            (false, _, _) => "element type",
            (true, false, _) => "shape",
            (true, true, _) => "device",
        },
        (Kind::Host(_), Kind::Host(_)) => "value",
        (Kind::Variable(_), Kind::Variable(_)) => "identity",
        (Kind::Tensor(..) | Kind::Host(_) | Kind::Variable(_), _) => "kind",
    };
    format!("argument {i}: {what} changed from {old} to {new}")
}
