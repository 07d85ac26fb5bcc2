//! What a run of a program does, operation by operation: an interpreter of the door that lets everything pass and hangs a
//! probe on each result.
//!
//! A probe is a region of its own that gives back what it is given. In an eager run it notes the values at once; under a
//! tracer it becomes a node of the graph, and notes them whenever the graph runs. So two runs are compared by what the
//! program asked for, whatever a recording made of writes and views.

use graph::trace::{Mode as Tracing, Recording, Spec, record};
use runtime::callable::{ArgGradients, Ask, Callable, Residuals};
use runtime::door::{self, Interpreter, Observe, Outputs};
use runtime::infer::{TensorType, Types};
use runtime::table::OpDef;
use runtime::{Arg, Error, Origin, Result, Tensor};
use std::sync::{Arc, Mutex, PoisonError};

/// Most bytes of results that are kept of a run.
const MOST_BYTES: usize = 256 << 20;

/// An operation that ran.
pub struct Event {
    /// Its name.
    pub name: Arc<str>,
    /// The line of the program.
    pub origin: Origin,
    /// Copies of its results; of a write, the tensor afterwards.
    pub results: Vec<Tensor>,
}

/// The operations of a run, in order.
#[derive(Default)]
pub struct Events {
    /// What ran.
    pub all: Vec<Event>,
    /// Why the run ended before its end.
    pub error: Option<Error>,
    bytes: usize,
}

impl Events {
    /// Whether results were left out because there were too many of them.
    pub fn is_cut(&self) -> bool {
        self.bytes > MOST_BYTES
    }
}

type Log = Arc<Mutex<Events>>;

struct Witness {
    log: Log,
}

struct Probe {
    name: Arc<str>,
    origin: Origin,
    log: Log,
}

fn lock(log: &Log) -> std::sync::MutexGuard<'_, Events> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a function does on these inputs, which it may overwrite.
pub fn watch(function: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>, inputs: &[Tensor]) -> Events {
    let log = Log::default();
    let outcome = {
        let _scope = door::enter(Arc::new(Witness { log: log.clone() }));
        function(inputs)
    };
    let mut events = std::mem::take(&mut *lock(&log));
    events.error = outcome.err();
    events
}

/// A trace of a function whose operations can be watched whenever it runs.
pub struct Watched {
    /// The graph, with its probes, and what was frozen.
    pub recording: Recording,
    log: Log,
}

impl Watched {
    /// Traces a function on these inputs.
    pub fn new(
        function: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
        inputs: &[Tensor],
    ) -> Result<Watched> {
        let log = Log::default();
        let specs: Vec<Spec> = inputs.iter().map(Spec::of).collect();
        let _no_grad = door::no_grad();
        let recording = record("watched", Tracing::Along, &specs, |traced| {
            let _scope = door::enter(Arc::new(Witness { log: log.clone() }));
            function(traced)
        })?;
        Ok(Watched { recording, log })
    }

    /// What the graph does on other inputs.
    pub fn run(&self, inputs: &[Tensor]) -> Events {
        *lock(&self.log) = Events::default();
        let run = |inputs: Vec<Tensor>| graph::interpret::run(&self.recording.graph, &inputs);
        let outcome = self.recording.bind(inputs).and_then(run);
        let mut events = std::mem::take(&mut *lock(&self.log));
        events.error = outcome.err();
        events
    }
}

impl Witness {
    fn note(&self, name: &str, results: &[Tensor], origin: Origin) -> Result<()> {
        if results.is_empty() {
            return Ok(());
        }
        let _no_grad = door::no_grad();
        let probe: Arc<dyn Callable> = Arc::new(Probe { name: name.into(), origin, log: self.log.clone() });
        door::call(&probe, results, origin).map(drop)
    }
}

impl Interpreter for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn bind(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<Outputs> {
        let results = door::bind(op, args, origin)?;
        self.note(op.name, &results, origin)?;
        Ok(results)
    }

    fn observe(&self, tensor: &Tensor, what: Observe, origin: Origin) -> Result<Tensor> {
        door::observe(tensor, what, origin)
    }

    fn mutate(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<()> {
        door::mutate(op, args, origin)?;
        match args.first() {
            Some(Arg::Tensor(target)) => self.note(op.name, std::slice::from_ref(*target), origin),
            _ => Ok(()),
        }
    }

    fn call(&self, callable: &Arc<dyn Callable>, args: &[Tensor], origin: Origin) -> Result<Outputs> {
        let results = door::call(callable, args, origin)?;
        self.note(callable.name(), &results, origin)?;
        Ok(results)
    }
}

impl Callable for Probe {
    fn name(&self) -> &str {
        "probe"
    }

    fn infer(&self, args: &[TensorType]) -> Result<Types> {
        Ok(args.iter().cloned().collect())
    }

    fn run(&self, args: &[Tensor]) -> Result<Outputs> {
        let bytes: usize = args.iter().map(|t| t.numel() * t.dtype().size()).sum();
        let cut = {
            let mut events = lock(&self.log);
            events.bytes += bytes;
            events.is_cut()
        };
        if !cut {
            let _outside = door::outside();
            // What is noted must outlive later writes.
            let results = args.iter().map(|t| t.detach()?.copy()).collect::<Result<_>>()?;
            lock(&self.log).all.push(Event { name: self.name.clone(), origin: self.origin, results });
        }
        Ok(args.iter().cloned().collect())
    }

    fn run_with_residuals(&self, args: &[Tensor]) -> Result<(Outputs, Residuals)> {
        Ok((self.run(args)?, Residuals::new()))
    }

    fn vjp(
        self: Arc<Self>,
        _: &[Tensor],
        _: &[Tensor],
        cotangents: &[Option<Tensor>],
        _: Ask,
    ) -> Result<ArgGradients> {
        Ok(cotangents.iter().cloned().collect())
    }
}
