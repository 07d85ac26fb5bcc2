//! What a mode's compiler makes of a program, step by step: each graph as it was recorded, what every pass did to it and for
//! which lines of the program, what was not fused and why, and the plan.
//!
//! The passes run here one at a time, on graphs whose values all have names, so that the texts before and after a pass
//! differ in what the pass did and in nothing else.

use crate::drivers::{arguments_of, program_options, tensors_of};
use crate::execute::{autograd, recorded};
use crate::modes::{Mode, Staging};
use crate::program::{Entry, Generated, Template};
use graph::compile::compile;
use graph::lazy::{Lazy, LazyOptions};
use graph::passes::{Record, selected};
use graph::picture::Format;
use graph::{
    Argument, Builder, CompiledFunction, Graph, Options, PassSelection, Plan, TraceOptions, Type, optimize,
    plan,
};
use runtime::{DeviceId, Error, ErrorKind, Result, Tensor};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What to explain.
pub struct Request {
    /// A mode that makes graphs.
    pub mode: &'static Mode,
    /// Bitwise passes only.
    pub exact: bool,
    /// Also what computes the gradients.
    pub grad: bool,
    /// Which passes run.
    pub passes: PassSelection,
}

/// One graph on its way through the compiler.
pub struct Stage {
    /// `forward`, `backward`, or the name of a region.
    pub name: String,
    /// As it was recorded or derived.
    pub recorded: Graph,
    /// The passes that ran, and the graph after each.
    pub passes: Vec<(Record, Graph)>,
    /// The plan, or why there is none.
    pub plan: std::result::Result<Plan, String>,
}

impl Stage {
    fn new(name: impl Into<String>, graph: &Graph, options: &Options) -> Result<Stage> {
        let recorded = Builder::named(graph.clone());
        let mut passes = Vec::new();
        let mut current = recorded.clone();
        for pass in selected(options)? {
            let only = PassSelection::Only(vec![pass.name.to_string()]);
            let (next, log) = optimize(current, &Options { passes: only, ..options.clone() })?;
            current = next;
            passes.extend(log.records.into_iter().map(|record| (record, current.clone())));
        }
        let outside = current.params().iter().chain(current.results());
        let plan = match outside.copied().all(|value| current.tensor_type(value).is_ok()) {
            true => plan(&current, options, DeviceId::Cpu).map_err(|e| e.to_string()),
            false => {
                Err("it holds values of the host, and runs as instructions; its regions have plans".into())
            }
        };
        Ok(Stage { name: name.into(), recorded, passes, plan })
    }

    /// The graph after the last pass.
    pub fn optimized(&self) -> &Graph {
        self.passes.last().map_or(&self.recorded, |(_, graph)| graph)
    }
}

/// Compiles a function of a program for the CPU and says what became of it.
pub fn run(entry: &Entry, arguments: &Generated, request: &Request) -> Result<Vec<Stage>> {
    let mode = request.mode;
    let options = Options { passes: request.passes.clone(), ..mode.options(request.exact) };
    selected(&options)?;
    let function = entry.in_mode(mode, request.exact)?.bound(arguments.templates.clone());
    let inputs = &arguments.tensors;
    let wanted: Vec<usize> = match request.grad {
        true => floats(arguments),
        false => Vec::new(),
    };
    // A part of a program has inputs of its own.
    let part = |name: &str, compiled: &CompiledFunction| {
        let floats = float_places(compiled.graph().params(), compiled.graph());
        forward_and_backward(name, compiled, if request.grad { &floats } else { &[] }, &options)
    };
    match mode.staging {
        Staging::Autograd | Staging::Tape => {
            Err(Error::value(format!("the mode '{}' makes no graphs", mode.name))
                .hint("torch.trace, torch.script, torch.compile, lazy, tf.function and static do"))
        }
        Staging::Trace => {
            let trace = TraceOptions { compile: options.clone(), check: false, ..TraceOptions::default() };
            let traced = graph::trace(&entry_name(entry), inputs, trace, function)?;
            let compiled = traced.compiled_for(inputs)?;
            forward_and_backward("", &compiled, &wanted, &options)
        }
        Staging::Script => {
            let running = entry.scripted_with(options.clone())?;
            let scripted = running.scripted.clone().ok_or_else(|| Error::internal("nothing was scripted"))?;
            running.bound(arguments.templates.clone())(inputs)?;
            let mut stages = vec![Stage::new("program", scripted.graph(), &options)?];
            for region in scripted.regions()? {
                for compiled in region.compiled.iter().rev() {
                    stages.extend(part(&region.name, compiled)?);
                }
            }
            Ok(stages)
        }
        Staging::Compile => {
            let program = |args: &[Argument]| function(&tensors_of(args)?);
            let how = program_options(options.clone());
            let compiled = compile(&entry_name(entry), how, program);
            compiled.call(&arguments_of(inputs))?;
            let mut stages = Vec::new();
            for (i, variants) in compiled.parts().iter().enumerate() {
                for compiled in variants {
                    stages.extend(part(&format!("part {i}"), compiled)?);
                }
            }
            Ok(stages)
        }
        Staging::Lazy => {
            let lazy = Lazy::new(LazyOptions { compile: options.clone(), ..LazyOptions::default() });
            let cotangents = cotangents(&function, inputs, &wanted)?;
            {
                let _scope = lazy.enter();
                let _results = autograd(&function, inputs, &cotangents, &wanted)?;
                lazy.mark_step()?;
            }
            let graphs = lazy.graphs();
            graphs
                .iter()
                .enumerate()
                .map(|(i, g)| Stage::new(format!("step {i}"), &g.recorded, &options))
                .collect()
        }
        Staging::Function => {
            let cotangents = cotangents(&function, inputs, &wanted)?;
            let staged = recorded(&function, inputs, &cotangents, &wanted)?;
            let name = if wanted.is_empty() { "forward" } else { "forward and gradients" };
            Ok(vec![Stage::new(name, &staged.recording.graph, &options)?])
        }
    }
}

fn entry_name(entry: &Entry) -> String {
    entry.program.functions[entry.function.0 as usize].name.to_string()
}

/// The tensors of floating-point numbers that are arguments themselves.
fn floats(arguments: &Generated) -> Vec<usize> {
    let places = arguments.templates.iter().filter_map(|t| match t {
        Template::Tensor(at) => Some(*at),
        _ => None,
    });
    places.filter(|&at| arguments.tensors[at].dtype().is_float()).collect()
}

fn float_places(values: &[graph::ValueId], graph: &Graph) -> Vec<usize> {
    let float = |v: graph::ValueId| matches!(graph.ty(v), Type::Tensor(t) if t.dtype.is_float());
    (0..values.len()).filter(|&i| float(values[i])).collect()
}

/// Ones for the floating-point outputs, where gradients are wanted.
fn cotangents(
    function: &dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
    wanted: &[usize],
) -> Result<Vec<Option<Tensor>>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let ones = |t: &Tensor| t.dtype().is_float().then(|| t.ones_like(None)).transpose();
    function(inputs)?.iter().map(ones).collect()
}

fn forward_and_backward(
    name: &str,
    compiled: &CompiledFunction,
    wanted: &[usize],
    options: &Options,
) -> Result<Vec<Stage>> {
    let named = |what: &str| if name.is_empty() { what.to_string() } else { format!("{name}: {what}") };
    let graph = compiled.graph();
    let given = float_places(graph.results(), graph);
    if wanted.is_empty() || given.is_empty() {
        return Ok(vec![Stage::new(named("forward"), graph, options)?]);
    }
    let flags =
        |places: &[usize], count: usize| (0..count).map(|i| places.contains(&i)).collect::<Vec<bool>>();
    let wanted = flags(wanted, graph.params().len());
    let given = flags(&given, graph.results().len());
    let (forward, backward) = compiled.gradient_graphs(&wanted, &given)?;
    Ok(vec![
        Stage::new(named("forward that keeps what the backward reads"), &forward, options)?,
        Stage::new(named("backward"), &backward, options)?,
    ])
}

/// The text. `whole` writes the graph after each pass instead of what differs.
pub fn render(stages: &[Stage], whole: bool) -> String {
    let mut out = String::new();
    for stage in stages {
        // Writing to a string cannot fail.
        let _ = stage.write(&mut out, whole);
    }
    out
}

impl Stage {
    fn write(&self, out: &mut String, whole: bool) -> std::fmt::Result {
        writeln!(out, "# {}: as recorded\n\n{}", self.name, self.recorded)?;
        let mut before = self.recorded.to_string();
        for (record, graph) in &self.passes {
            let after = graph.to_string();
            if after == before && record.why_not.is_empty() && !whole {
                continue;
            }
            let Record { pass, class, before: from, after: to, .. } = record;
            writeln!(out, "# {}: {pass} ({}), {from} nodes -> {to}\n", self.name, class.name())?;
            for (rule, (count, lines)) in fired(record) {
                let at = if lines.is_empty() { String::new() } else { format!("  # {}", lines.join(", ")) };
                writeln!(out, "  {count} x {rule}{at}")?;
            }
            record.why_not.iter().try_for_each(|why| writeln!(out, "  not fused: {why}"))?;
            match whole {
                true => writeln!(out, "\n{after}")?,
                false => writeln!(out, "\n{}", difference(&before, &after))?,
            }
            before = after;
        }
        match &self.plan {
            Ok(plan) => writeln!(out, "# {}: plan\n\n{plan}", self.name),
            Err(reason) => writeln!(out, "# {}: no plan: {reason}\n", self.name),
        }
    }
}

/// How often each rule was applied, and for which lines; what values are called is left out of a rule.
fn fired(record: &Record) -> BTreeMap<String, (usize, Vec<String>)> {
    let mut rules: BTreeMap<String, (usize, Vec<String>)> = BTreeMap::new();
    for change in &record.changes {
        let mut rule = String::new();
        let mut rest = change.what.as_str();
        while let Some(at) = rest.find('%') {
            rule.push_str(&rest[..at]);
            rule.push_str("%_");
            let name = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.');
            rest = rest[at + 1..].trim_start_matches(|c| !name(c));
        }
        rule.push_str(rest);
        let (count, lines) = rules.entry(rule).or_default();
        *count += 1;
        if let Some(origin) = change.origin {
            let line = format!("{}:{}", origin.file(), origin.line());
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    rules
}

/// Above this product of lines texts are not compared.
const COMPARED: usize = 4_000_000;

/// The lines that differ, with `-` and `+`, in order; `...` for those between.
fn difference(before: &str, after: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    if a.len() * b.len() > COMPARED {
        return after.to_string();
    }
    // Longest common subsequence, from the end.
    let mut common = vec![vec![0u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = match a[i] == b[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut skipped, mut out) = (0, 0, false, String::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j, skipped) = (i + 1, j + 1, true);
            continue;
        }
        if std::mem::take(&mut skipped) {
            out.push_str("  ...\n");
        }
        let removed = j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]);
        let (sign, line) = if removed { ('-', a[i]) } else { ('+', b[j]) };
        (i, j) = if removed { (i + 1, j) } else { (i, j + 1) };
        out.push(sign);
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// Everything as data.
pub fn as_json(mode: &Mode, stages: &[Stage]) -> serde_json::Value {
    let pass = |(record, graph): &(Record, Graph)| {
        let changes = record.changes.iter().map(
            |c| json!({ "what": c.what, "line": c.origin.map(|o| format!("{}:{}", o.file(), o.line())) }),
        );
        let why_not = record.why_not.iter().map(|w| {
            json!({ "producer": w.producer, "consumer": w.consumer, "category": w.category.name(), "reason": w.reason })
        });
        json!({
            "pass": record.pass,
            "class": record.class.name(),
            "before": record.before,
            "after": record.after,
            "nanoseconds": record.time.as_nanos() as u64,
            "changes": changes.collect::<Vec<_>>(),
            "why_not": why_not.collect::<Vec<_>>(),
            "graph": graph.to_string(),
        })
    };
    let planned = |stage: &Stage| match &stage.plan {
        Ok(plan) => json!({
            "launches": plan.launches(),
            "in_place": plan.in_place,
            "arena_bytes": plan.arena_bytes,
            "peak_bytes": plan.peak_bytes,
            "buffers": plan.buffers.len(),
            "text": plan.to_string(),
        }),
        Err(reason) => json!({ "none_because": reason }),
    };
    let stage = |s: &Stage| {
        json!({
            "name": s.name,
            "recorded": s.recorded.to_string(),
            "passes": s.passes.iter().map(pass).collect::<Vec<_>>(),
            "plan": planned(s),
        })
    };
    json!({ "mode": mode.name, "stages": stages.iter().map(stage).collect::<Vec<_>>() })
}

/// Writes the optimised graph of each stage as a picture: the first to this file, others beside it with their number. Gives
/// the paths.
pub fn write_pictures(stages: &[Stage], path: &Path, format: Format) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (i, stage) in stages.iter().enumerate() {
        let path = match i {
            0 => path.to_path_buf(),
            _ => {
                let part = |p: Option<&std::ffi::OsStr>| {
                    p.map_or(String::new(), |p| p.to_string_lossy().into_owned())
                };
                path.with_file_name(format!("{}-{i}.{}", part(path.file_stem()), part(path.extension())))
            }
        };
        std::fs::write(&path, format.draw(stage.optimized()))
            .map_err(|e| Error::new(ErrorKind::File, format!("cannot write {}: {e}", path.display())))?;
        written.push(path);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn only_lines_that_differ_are_shown() {
        assert_eq!(difference("a\nb\nc\n", "a\nx\nc\nd\n"), "  ...\n-b\n+x\n  ...\n+d\n");
        assert_eq!(difference("a\n", "a\n"), "");
    }
}
