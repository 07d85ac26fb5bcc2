//! What a compiler made of a workload: the graph as it was recorded, what each pass did and why, the graph and the plan
//! that came out, and pictures of both graphs.

use crate::drivers::{Driver, Task, make, staged_function, traced_loss};
use crate::lazy::Deferred;
use crate::modes::{MODES, Mode, Staging, needs_text};
use graph::function::Runner;
use graph::picture::Format;
use graph::{Argument, Graph, Options, PassSelection, TraceOptions};
use models::workloads;
use runtime::{DType, DeviceId, Error, ErrorKind, Result, Tensor};
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

/// What to compile, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// The workload's name.
    pub workload: String,
    /// A mode that stages.
    pub mode: String,
    /// Bitwise passes only.
    pub exact: bool,
    /// Which passes run.
    pub passes: PassSelection,
}

/// One graph on its way through the compiler.
pub struct Stage {
    /// `step`, or `forward` and `backward` where the backward is derived from a traced forward.
    pub name: &'static str,
    /// As recorded, or as derived.
    pub recorded: Graph,
    /// After the passes.
    pub optimized: Graph,
    log: String,
    plan: String,
}

impl Stage {
    fn new(name: &'static str, recorded: Graph, runner: &Runner) -> Stage {
        let plan = match (runner.executable(), runner.fallback()) {
            (Some(executable), _) => executable.plan().to_string(),
            (None, reason) => format!("interpreted: {}\n", reason.unwrap_or("there is no plan")),
        };
        Stage { name, recorded, optimized: runner.graph().clone(), log: runner.log().to_string(), plan }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stage { name, recorded, optimized, log, plan } = self;
        writeln!(f, "# {name}: as recorded\n\n{recorded}\n# {name}: passes\n\n{log}")?;
        write!(f, "# {name}: optimised\n\n{optimized}\n# {name}: plan\n\n{plan}")
    }
}

/// Compiles a workload for the CPU and says what became of it.
pub fn run(request: &Request) -> Result<Vec<Stage>> {
    let workload = workloads::make(&request.workload, DType::F32)?;
    let mode = Mode::named(&request.mode)?;
    if mode.passes.is_none() {
        return Err(Error::value(format!("the mode '{}' makes no graphs", mode.name))
            .hint("torch.trace, tf.function and static do"));
    }
    let options = Options { passes: request.passes.clone(), ..mode.options(request.exact) };
    let inputs: Vec<Tensor> = workload.inputs.iter().map(|(_, t)| t.clone()).collect();
    let task = Task::of(&workload);
    match mode.staging {
        Staging::Trace | Staging::Compile => traced(task, &inputs, options),
        Staging::Lazy => {
            let mut driver = Deferred::new(options, make_eager(task)?);
            driver.step(&inputs)?;
            let graphs = driver.lazy().graphs();
            Ok(graphs.iter().map(|g| Stage::new("step", g.recorded.clone(), &g.runner)).collect())
        }
        Staging::Script => Err(needs_text(mode)),
        Staging::Function | Staging::Autograd | Staging::Tape => {
            let (function, _variables) = staged_function(task, options, Tensor::copy)?;
            let args: Vec<Argument> = inputs.iter().map(Argument::from).collect();
            let concrete = function.concrete(&args)?;
            let compiled = concrete.compiled();
            Ok(vec![Stage::new("step", compiled.graph().clone(), compiled.stateful()?)])
        }
    }
}

fn make_eager(task: Task) -> Result<Box<dyn Driver>> {
    make(&MODES[0], task, DeviceId::Cpu, true)
}

/// The forward and, where the task has one, the backward that is derived from it.
fn traced(task: Task, inputs: &[Tensor], options: Options) -> Result<Vec<Stage>> {
    let options = TraceOptions { compile: options, check: false, ..TraceOptions::default() };
    let (traced, args, wanted) = match task {
        Task::Forward(f) => {
            (graph::trace("forward", inputs, options, |x| f(x))?, inputs.to_vec(), vec![false; inputs.len()])
        }
        Task::Gradient(f, of) => {
            let traced = graph::trace("forward", inputs, options, move |x| Ok(vec![f(x)?]))?;
            (traced, inputs.to_vec(), (0..inputs.len()).map(|i| of.contains(&i)).collect())
        }
        Task::Train { loss, parameters, .. } => {
            let traced = traced_loss(loss, &parameters, inputs, options)?;
            let args: Vec<Tensor> = parameters.iter().chain(inputs).cloned().collect();
            let wanted = (0..args.len()).map(|i| i < parameters.len()).collect();
            (traced, args, wanted)
        }
    };
    let compiled = traced.compiled_for(&args)?;
    if !wanted.contains(&true) {
        return Ok(vec![Stage::new("forward", compiled.graph().clone(), compiled.stateful()?)]);
    }
    let (forward, backward) = compiled.gradient_graphs(&wanted, &[true])?;
    compiled.with_gradient(&wanted, &[true], |forward_runner, backward_runner| {
        vec![
            Stage::new("forward", forward, forward_runner),
            Stage::new("backward", backward, backward_runner),
        ]
    })
}

/// Writes two pictures for each stage into a folder and gives their paths.
pub fn write_pictures(stages: &[Stage], folder: &Path, format: Format) -> Result<Vec<PathBuf>> {
    let failed = |path: &Path, e: std::io::Error| {
        Error::new(ErrorKind::File, format!("cannot write {}: {e}", path.display()))
    };
    std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    let mut written = Vec::new();
    for stage in stages {
        for (which, graph) in [("recorded", &stage.recorded), ("optimised", &stage.optimized)] {
            let path = folder.join(format!("{}-{which}.{}", stage.name, format.extension()));
            std::fs::write(&path, format.draw(graph)).map_err(|e| failed(&path, e))?;
            written.push(path);
        }
    }
    Ok(written)
}

/// The whole text.
pub fn render(stages: &[Stage]) -> String {
    let mut out = String::new();
    for stage in stages {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{stage}");
    }
    out
}
