//! `torch.script`: a function of a program as a graph with its control flow, and the executor of such graphs.
//!
//! In the order of flow: `lower` makes the graph of a typed tree (calls of the program's functions become part of their
//! caller), the passes of the graph crate rewrite it, `carve` gathers tensor operations into regions, `code` writes what is
//! left as instructions on registers, and `run` executes them. `freeze` binds parameters to values before all that. A region is compiled when it is first reached, for what its
//! inputs are then, and is one operation with a backward of its own for a tape; all between regions goes through the door.

mod action;
mod aliases;
mod carve;
mod code;
mod freeze;
mod lower;
mod perform;
mod region;
mod run;
mod stage;

pub use action::{Action, Call};
pub use region::{Region, RegionReport};

use crate::interpret::Host;
use crate::tree::{FunctionId, Parameter, Program};
use crate::types::Type;
use crate::value::Value;
use code::Code;
use graph::passes::{PassLog, Record};
use graph::{Graph, Options, optimize, verify};
use perform::World;
use runtime::error::{Error, Result};
use runtime::{door, interrupt, origin};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A scripted function.
pub struct Scripted {
    program: Arc<Program>,
    function: FunctionId,
    options: Options,
    graph: Graph,
    /// What was done to the graph before its passes.
    done: Vec<Record>,
    ready: OnceLock<Ready>,
    /// The parameters that are not bound to values, by place.
    open: Vec<usize>,
    /// Whether it runs without gradients.
    inference: bool,
}

/// What runs: made when it is first asked for, as torch's executor does, so that scripting a program costs little where
/// few of its functions are called.
struct Ready {
    optimized: Arc<Graph>,
    log: PassLog,
    code: Code,
    /// How regions are compiled. Where the program writes in place a region keeps what eager rules keep: what it would compute
    /// again may have been written by then.
    options: Options,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("name", &self.graph.name).finish()
    }
}

/// Whether a graph has such a call.
fn any_call(graph: &Graph, is: impl Fn(&Call) -> bool) -> bool {
    graph.walk().into_iter().any(|id| match &graph.node(id).kind {
        graph::NodeKind::Host(call) => Call::of(call.as_ref()).is_some_and(&is),
        _ => false,
    })
}

/// Scripts a function of a program: torch.jit.script.
pub fn script(program: Arc<Program>, function: FunctionId, options: Options) -> Result<Scripted> {
    let graph = lower::lower(&program, function)?;
    verify(&graph)?;
    Ok(Scripted::new(program, function, options, graph))
}

impl Scripted {
    fn new(program: Arc<Program>, function: FunctionId, options: Options, graph: Graph) -> Scripted {
        let open = (0..graph.params().len()).collect();
        let (done, ready) = (Vec::new(), OnceLock::new());
        Scripted { program, function, options, graph, done, ready, open, inference: false }
    }

    /// From the graph to what runs.
    fn ready(&self) -> Result<&Ready> {
        if let Some(ready) = self.ready.get() {
            return Ok(ready);
        }
        // Whoever records the call does not record how it is made ready.
        let _outside = (door::outside(), door::no_grad());
        let graph = &self.graph;
        let writes = any_call(graph, |c| c.action.writes() || (c.action.trains() && !c.still));
        let (rewritten, mut log) = optimize(graph.clone(), &self.options)?;
        log.records.splice(0..0, self.done.iter().cloned());
        let (optimized, _) = carve::carve(&rewritten, writes)?;
        verify(&optimized)?;
        let optimized = Arc::new(optimized);
        let code = Code::of(&optimized)?;
        let options = Options { recompute: self.options.recompute && !writes, ..self.options.clone() };
        Ok(self.ready.get_or_init(|| Ready { optimized, log, code, options }))
    }

    /// Calls it with arguments for the parameters that are not bound. Those left out at the end take their defaults, and
    /// ints may stand for floats.
    pub fn call(&self, host: &mut Host, args: Vec<Value>) -> Result<Value> {
        let (given, wanted) = (args.len(), self.open.len());
        if given > wanted {
            let name = &self.graph.name;
            return Err(Error::value(format!("TypeError: {name}() takes {wanted} arguments, got {given}")));
        }
        let mut values: Vec<Value> = Vec::with_capacity(wanted);
        for (parameter, value) in self.parameters().zip(args) {
            values.push(match (&parameter.ty, value) {
                (Type::Float, Value::Int(v)) => Value::Float(v as f64),
                (_, value) => value,
            });
        }
        for &place in &self.open[given..] {
            values.push(self.program.default(host, self.function, place)?);
        }
        let _kept = origin::keep();
        let _limited = host.memory_limit.map(runtime::alloc::limit);
        let _no_grad = self.inference.then(door::no_grad);
        let loaded = self.program.loaded(host)?;
        host.tick()?;
        let _watched = interrupt::watch(host.stop.clone());
        let mut world = World { host, loaded, modes: Vec::new() };
        let ready = self.ready()?;
        run::run(&ready.code, &ready.options, values, &mut world)
    }

    /// The parameters that are not bound to values.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.open.iter().map(|&place| self.parameter(place))
    }

    fn parameter(&self, place: usize) -> &Parameter {
        &self.program.functions[self.function.0 as usize].parameters[place]
    }

    /// The program's text, as it is read again: torch's `code`.
    pub fn code(&self) -> String {
        self.program.code().text
    }

    /// The graph as it was lowered.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The graph after the passes, with its regions.
    pub fn optimized(&self) -> Result<&Graph> {
        Ok(&self.ready()?.optimized)
    }

    /// What the passes did.
    pub fn log(&self) -> Result<&PassLog> {
        Ok(&self.ready()?.log)
    }

    /// What the regions have done so far.
    pub fn regions(&self) -> Result<Vec<RegionReport>> {
        Ok(self.ready()?.code.regions.iter().map(Region::report).collect())
    }
}
