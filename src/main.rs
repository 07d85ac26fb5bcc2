//! The `trifold` command.

use clap::{Args, Parser, Subcommand};
use graph::PassSelection;
use graph::picture::Format;
use lab::compare::{self, Request};
use lab::modes::Mode;
use lab::program::{self, Entry, Generated, RunRequest};
use lab::{diverge, explain, inspect};
use runtime::{Error, ErrorKind};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One tensor runtime, every way to run it.
#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compare: CompareArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Compare execution models: real digits and micro workloads (the default command), or a program's text.
    Compare(CompareArgs),
    /// Run a function of a program's text in one mode.
    Run(RunArgs),
    /// Run the cases of reference files in every mode and judge them.
    Check(CheckArgs),
    /// Save a program, with values for parameters of a function, to a file that runs wherever a program does.
    Save(SaveArgs),
    /// Show what a compiler makes of a workload: its graph, what each pass does, the plan, pictures.
    Graph(GraphArgs),
    /// Show what a mode's compiler makes of a program: each graph, what every pass did and why, the plan.
    Explain(ExplainArgs),
    /// Find where modes part from torch: a program on other values and shapes, the first operation that differs, what
    /// was frozen.
    Diverge(DivergeArgs),
    /// Show a program as torch.script has it: its text, or its graph.
    Code(CodeArgs),
    /// List the op table: signatures, element types, gradients, costs, contracts.
    Ops(OpsArgs),
}

/// Where a program's arguments come from.
#[derive(Args)]
struct ProgramArgs {
    /// The function to run.
    #[arg(long, default_value = "forward", visible_alias = "function")]
    entry: String,
    /// A safetensors file with a tensor for each parameter (host numbers are tensors of rank 0), or a reference file with
    /// cases of the program. Made up if left out.
    #[arg(long, value_name = "FILE")]
    args: Option<PathBuf>,
    /// Which case of a reference file; the program's first if left out.
    #[arg(long, value_name = "ID", requires = "args")]
    case: Option<String>,
    /// Shapes of arguments that are made up: `x=32,64`.
    #[arg(long, value_name = "NAME=DIMS", value_parser = parse_shape)]
    shape: Vec<(String, Vec<usize>)>,
    /// Most turns of loops and calls.
    #[arg(long, value_name = "N")]
    step_limit: Option<u64>,
}

#[derive(Args)]
struct RunArgs {
    /// The program.
    program: PathBuf,
    #[command(flatten)]
    arguments: ProgramArgs,
    /// The execution model.
    #[arg(long, default_value = "torch")]
    mode: String,
    /// Only passes that keep every bit.
    #[arg(long)]
    exact: bool,
    /// Also the gradients of the outputs' sum with respect to the arguments' floating-point tensors.
    #[arg(long)]
    grad: bool,
    /// Write outputs as out0, out1, ... and gradients as grad.NAME to this safetensors file; printed if left out.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
}

#[derive(Args)]
struct CompareArgs {
    /// A program whose function is compared; without one, the workloads.
    #[arg(conflicts_with = "workloads")]
    program: Option<PathBuf>,
    #[command(flatten)]
    arguments: ProgramArgs,
    /// End within 20 seconds.
    #[arg(long)]
    quick: bool,
    /// Only passes that keep every bit; all modes must then agree bit for bit.
    #[arg(long)]
    exact: bool,
    /// Of a program, also the gradients of its outputs' sum with respect to its tensors of floats.
    #[arg(long, conflicts_with = "workloads")]
    grad: bool,
    /// Modes, separated by commas; all if left out.
    #[arg(long, value_delimiter = ',')]
    modes: Vec<String>,
    /// Workloads, separated by commas; the standard ones if left out.
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    /// cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads of the CPU pool; all cores if left out.
    #[arg(long)]
    threads: Option<usize>,
    /// Write the results as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Args)]
struct CheckArgs {
    /// Modes, separated by commas, or `all`.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    modes: Vec<String>,
    /// cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Write a record for each case and mode as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The program whose functions the cases call, or the folder of the programs that they name.
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// Reference files, as they are or gzipped.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Args)]
struct SaveArgs {
    /// The program.
    program: PathBuf,
    /// The archive to write.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// The function whose parameters get values.
    #[arg(long, default_value = "forward")]
    entry: String,
    /// A parameter's value: JSON, or FILE.safetensors:TENSOR.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_setting)]
    set: Vec<(String, String)>,
    /// Parameters whose values are bound for good, separated by commas: what depends on them alone is computed once.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    freeze: Vec<String>,
}

#[derive(Args)]
struct CodeArgs {
    /// The program, or an archive.
    program: PathBuf,
    /// The function whose graph is shown.
    #[arg(long, default_value = "forward")]
    entry: String,
    /// The function's graph, of an archive with what is frozen in it.
    #[arg(long)]
    graph: bool,
    /// The graph after the passes, with its regions.
    #[arg(long, conflicts_with = "graph")]
    optimized: bool,
    /// Only passes that keep every bit.
    #[arg(long)]
    exact: bool,
}

#[derive(Args)]
struct GraphArgs {
    /// The workload.
    workload: String,
    /// A mode that makes graphs: torch.trace, tf.function or static.
    #[arg(long, default_value = "static")]
    mode: String,
    /// Only passes that keep every bit.
    #[arg(long)]
    exact: bool,
    /// Leave these passes out, separated by commas.
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["only", "stop_after"])]
    without: Vec<String>,
    /// Run these passes alone, separated by commas.
    #[arg(long, value_delimiter = ',', conflicts_with = "stop_after")]
    only: Vec<String>,
    /// Run the passes up to this one.
    #[arg(long)]
    stop_after: Option<String>,
    /// Write pictures of the graphs, as recorded and as optimised, into this folder as DOT text.
    #[arg(long, value_name = "FOLDER")]
    dot: Option<PathBuf>,
    /// The same, laid out as SVG.
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
}

#[derive(Args)]
struct ExplainArgs {
    /// The program.
    program: PathBuf,
    #[command(flatten)]
    arguments: ProgramArgs,
    /// A mode that makes graphs.
    #[arg(long, default_value = "static")]
    mode: String,
    /// Only passes that keep every bit.
    #[arg(long)]
    exact: bool,
    /// Also what computes the gradients of the arguments' floating-point tensors.
    #[arg(long)]
    grad: bool,
    /// Run the passes up to this one.
    #[arg(long, value_name = "PASS")]
    stop_after: Option<String>,
    /// Leave this pass out; may be given more than once.
    #[arg(long, value_name = "PASS", conflicts_with = "stop_after")]
    without: Vec<String>,
    /// Show the whole graph after every pass instead of what differs.
    #[arg(long)]
    all: bool,
    /// Write the graphs after the passes as pictures in DOT text: the first to this file, others beside it.
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
    /// The same, laid out as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print everything as JSON instead.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct DivergeArgs {
    /// The program.
    program: PathBuf,
    #[command(flatten)]
    arguments: ProgramArgs,
    /// The modes that are held against torch, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "torch.trace,torch.script")]
    modes: Vec<String>,
    /// Only passes that keep every bit; results must then be the same bit for bit.
    #[arg(long)]
    exact: bool,
    /// What the other inputs are drawn with.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How many sets of other values.
    #[arg(long, value_name = "N", default_value_t = 16)]
    tries: usize,
    /// Print everything as JSON instead.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct OpsArgs {
    /// Only ops whose name contains this.
    #[arg(default_value = "")]
    pattern: String,
    /// Write the whole table as Markdown to this file (docs/ops.md if none is given).
    #[arg(long, num_args = 0..=1, default_missing_value = "docs/ops.md", value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        None => run_compare(cli.compare),
        Some(Command::Compare(args)) => run_compare(args),
        Some(Command::Run(args)) => run_program(args),
        Some(Command::Check(args)) => run_check(args),
        Some(Command::Save(args)) => run_save(args),
        Some(Command::Graph(args)) => run_graph(args),
        Some(Command::Explain(args)) => run_explain(args),
        Some(Command::Diverge(args)) => run_diverge(args),
        Some(Command::Code(args)) => run_code(args),
        Some(Command::Ops(args)) => run_ops(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}

/// Exit status of a program that the user interrupted.
const INTERRUPTED: u8 = 130;

/// A flag that the first Ctrl-C sets, so that the step at hand is the last and a loop in it ends after its turn; the second
/// ends the process at once.
fn until_interrupted() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let handler = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
    });
    if let Err(error) = handler {
        eprintln!("warning: Ctrl-C cannot be caught: {error}");
    }
    // For as long as the process lives.
    std::mem::forget(runtime::interrupt::watch(Some(stop.clone())));
    stop
}

/// `x=32,64`.
fn parse_shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let (name, dims) = text.split_once('=').ok_or("write NAME=DIMS, as in x=32,64")?;
    let dims = dims.split(',').filter(|d| !d.is_empty()).map(|d| d.trim().parse::<usize>());
    Ok((name.to_string(), dims.collect::<Result<_, _>>().map_err(|e| format!("'{text}': {e}"))?))
}

/// `n=3`.
fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, as in n=3")?;
    Ok((name.to_string(), value.to_string()))
}

impl ProgramArgs {
    /// The function that is asked for. Errors of the text are drawn, in colours on a terminal.
    fn entry(&self, path: &Path, stop: &Arc<AtomicBool>) -> runtime::Result<Entry> {
        if script::archive::is_file(path) {
            let mut entry = Entry::open(path, &self.entry)?;
            entry.step_limit = self.step_limit;
            entry.stop = Some(stop.clone());
            return Ok(entry);
        }
        let loaded = script::load::load(path.display().to_string(), script::load::read(path)?);
        let text = loaded.render(std::io::stderr().is_terminal());
        let Some(program) = loaded.program else {
            eprint!("{text}");
            let count = loaded.diagnostics.iter().filter(|d| d.is_error()).count();
            return Err(Error::new(ErrorKind::Parse, format!("{}: {count} errors", path.display())));
        };
        eprint!("{text}");
        let mut entry = Entry::of(Arc::new(program), &self.entry)?;
        entry.step_limit = self.step_limit;
        entry.stop = Some(stop.clone());
        Ok(entry)
    }

    fn values(&self, entry: &Entry) -> runtime::Result<Generated> {
        match &self.args {
            Some(path) => program::from_file(entry, path, self.case.as_deref()),
            None => program::generate(entry, &self.shape),
        }
    }
}

fn run_program(args: RunArgs) -> runtime::Result<ExitCode> {
    let stop = until_interrupted();
    let device = runtime::DeviceId::parse(&args.device)?;
    let mode = Mode::named(&args.mode)?;
    let mut entry = args.arguments.entry(&args.program, &stop)?;
    entry.quiet = false;
    let arguments = args.arguments.values(&entry)?;
    let outcome =
        program::run(&entry, &arguments, &RunRequest { mode, exact: args.exact, grad: args.grad, device })?;
    for line in &outcome.frozen {
        eprintln!("warning: {line}");
    }
    match args.out {
        None => print!("{}", outcome.render()),
        Some(path) => outcome.write(&path)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run_compare(args: CompareArgs) -> runtime::Result<ExitCode> {
    let stop = until_interrupted();
    if let Some(threads) = args.threads {
        kernels::cpu::threads::set_threads(threads.max(1));
    }
    let request = Request {
        quick: args.quick,
        exact: args.exact,
        grad: args.grad,
        modes: args.modes,
        workloads: args.workloads,
        device: runtime::DeviceId::parse(&args.device)?,
    };
    let report = match args.program {
        None => compare::run(&request, &stop)?,
        Some(path) => {
            let entry = args.arguments.entry(&path, &stop)?;
            let arguments = args.arguments.values(&entry)?;
            compare::run_program(&request, &entry, &arguments, &stop)?
        }
    };
    print!("{}", report.render());
    if let Some(path) = args.json {
        report.write_json(&path)?;
        eprintln!("wrote {}", path.display());
    }
    Ok(match (stop.load(Ordering::Relaxed), report.is_valid()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}

fn run_check(args: CheckArgs) -> runtime::Result<ExitCode> {
    let device = runtime::DeviceId::parse(&args.device)?;
    let report = lab::check::run(&args.files, args.program.as_deref(), &args.modes, device)?;
    print!("{}", report.render());
    if let Some(path) = args.json {
        report.write_json(&path)?;
    }
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_save(args: SaveArgs) -> runtime::Result<ExitCode> {
    let contents = program::contents(&args.program, &args.entry, &args.set, &args.freeze)?;
    script::archive::save(&args.out, &contents)?;
    eprintln!("wrote {}", args.out.display());
    Ok(ExitCode::SUCCESS)
}

fn run_code(args: CodeArgs) -> runtime::Result<ExitCode> {
    let entry = Entry::open(&args.program, &args.entry)?;
    if !args.graph && !args.optimized {
        print!("{}", entry.program.code().text);
        return Ok(ExitCode::SUCCESS);
    }
    let running = entry.in_mode(Mode::named("torch.script")?, args.exact)?;
    if let Some(scripted) = &running.scripted {
        println!("{}", if args.graph { scripted.graph() } else { scripted.optimized()? });
    }
    Ok(ExitCode::SUCCESS)
}

fn run_ops(args: OpsArgs) -> runtime::Result<ExitCode> {
    match args.markdown {
        None => print!("{}", lab::listing::render(&args.pattern)),
        Some(path) => {
            runtime::io::write_whole(&path, lab::listing::markdown().as_bytes())?;
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_explain(args: ExplainArgs) -> runtime::Result<ExitCode> {
    let stop = until_interrupted();
    let mode = Mode::named(&args.mode)?;
    let passes = match args.stop_after {
        Some(name) => PassSelection::StopAfter(name),
        None if !args.without.is_empty() => PassSelection::Without(args.without),
        None => PassSelection::All,
    };
    let entry = args.arguments.entry(&args.program, &stop)?;
    let arguments = args.arguments.values(&entry)?;
    let request = explain::Request { mode, exact: args.exact, grad: args.grad, passes };
    let stages = explain::run(&entry, &arguments, &request)?;
    match args.json {
        true => println!("{:#}", explain::as_json(mode, &stages)),
        false => print!("{}", explain::render(&stages, args.all)),
    }
    for (path, format) in pictures(args.dot, args.svg) {
        for path in explain::write_pictures(&stages, &path, format)? {
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_diverge(args: DivergeArgs) -> runtime::Result<ExitCode> {
    let stop = until_interrupted();
    let entry = args.arguments.entry(&args.program, &stop)?;
    let arguments = args.arguments.values(&entry)?;
    let request =
        diverge::Request { modes: args.modes, exact: args.exact, seed: args.seed, tries: args.tries };
    let report = diverge::run(&entry, &arguments, &request)?;
    match args.json {
        true => println!("{:#}", report.to_json()),
        false => print!("{}", report.render()),
    }
    Ok(if report.agrees() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_graph(args: GraphArgs) -> runtime::Result<ExitCode> {
    let passes = match args.stop_after {
        Some(name) => PassSelection::StopAfter(name),
        None if !args.only.is_empty() => PassSelection::Only(args.only),
        None if !args.without.is_empty() => PassSelection::Without(args.without),
        None => PassSelection::All,
    };
    let request = inspect::Request { workload: args.workload, mode: args.mode, exact: args.exact, passes };
    let stages = inspect::run(&request)?;
    print!("{}", inspect::render(&stages));
    for (folder, format) in pictures(args.dot, args.svg) {
        for path in inspect::write_pictures(&stages, &folder, format)? {
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where pictures are wanted, and in which form.
fn pictures(dot: Option<PathBuf>, svg: Option<PathBuf>) -> impl Iterator<Item = (PathBuf, Format)> {
    let dot = dot.map(|path| (path, Format::Dot));
    dot.into_iter().chain(svg.map(|path| (path, Format::Svg)))
}
