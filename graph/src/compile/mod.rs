//! `compile`, as torch.compile: the first call records the program and compiles it, forward and backward; later calls for
//! which the guards hold run what was compiled, without the program.
//!
//! Where the host looks at a value the recorded part ends (a graph break): it is compiled and run, the program goes on with
//! the value, and what it saw becomes a guard of the rest. So a program is a tree: parts, and between them what was seen.
//! A value that was not seen before is a new branch: the program runs once more, and what has run already is not repeated.
//!
//! What running parts cannot repeat keeps the host in the loop: a program that prints, or writes a part of memory, runs each
//! time, with its parts compiled. A program that keeps tensors of its inside outside, or that is recorded too often, runs
//! eagerly. Each of this is said with its reason.
//!
//! A backward gets what the smallest cut of the joint graph gives it (`partition`). An extent that changed is no longer
//! guarded where the program did not look at it, and where the recordings for both extents are the same graph (`dynamic`).

mod dynamic;
mod frame;
mod guards;
pub(crate) mod partition;
mod path;

use crate::defer::{Recorder, Why, is_tracked};
use crate::function::{Argument, CompiledFunction};
use crate::options::Options;
use crate::trace::is_tracing;
use frame::{Codes, Finished, Frame};
use guards::{Failure, Guards};
use path::{From, Part, Path, Place, Step, Walk, walk};
use runtime::door::{self, Observe};
use runtime::error::{Origin, Result};
use runtime::tensor::Tensor;
use smallvec::SmallVec;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How to compile.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// How to compile parts.
    pub compile: Options,
    /// Kinds of calls that a program is recorded for; a program that needs more runs eagerly. Also the values that may be
    /// seen at one place.
    pub recompile_limit: usize,
    /// Whether an extent that changed stops being guarded. Sound where the program tells of its looks at extents, as the
    /// interpreter of programs does; a closure that decides by `shape()` does not.
    pub dynamic: bool,
}

impl Default for CompileOptions {
    fn default() -> CompileOptions {
        let compile = Options { recompute: true, ..Options::default() };
        CompileOptions { compile, recompile_limit: 8, dynamic: false }
    }
}

/// Operations of one part.
const LIMIT: usize = 100_000;

/// Why the program was recorded.
#[derive(Clone, Debug)]
pub struct Recompile {
    /// Which guard failed, against the recording that is most alike.
    pub why: String,
    /// How long it took, with the program's own run.
    pub took: Duration,
    /// The line that called.
    pub origin: Origin,
}

/// What is known for one kind of calls.
struct Entry {
    guards: Guards,
    how: How,
    looked: Vec<(usize, Option<usize>)>,
    looked_inside: bool,
}

/// How calls of a kind are answered.
#[derive(Clone)]
enum How {
    /// By walking paths.
    Paths(Arc<Vec<Arc<Path>>>),
    /// By the program with its parts compiled, because of this.
    Host(Arc<str>),
    /// By the program alone, because of this.
    Eager(Arc<str>),
}

/// A program that is compiled as it is called.
pub struct CompiledProgram<F> {
    name: String,
    program: F,
    options: CompileOptions,
    codes: Arc<Codes>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Most recently used first.
    entries: Vec<Entry>,
    log: Vec<Recompile>,
    breaks: Vec<String>,
    eager: Option<String>,
}

/// Compiles a program; nothing is recorded before the first call.
pub fn compile<F>(name: &str, options: CompileOptions, program: F) -> CompiledProgram<F>
where
    F: Fn(&[Argument]) -> Result<Vec<Tensor>>,
{
    CompiledProgram {
        name: name.to_string(),
        program,
        options,
        codes: Arc::default(),
        state: Mutex::default(),
    }
}

impl<F> CompiledProgram<F>
where
    F: Fn(&[Argument]) -> Result<Vec<Tensor>>,
{
    /// Runs the program, or what was compiled of it.
    #[track_caller]
    pub fn call(&self, args: &[Argument]) -> Result<Vec<Tensor>> {
        let origin = Origin::caller();
        // Another recorder, a tape or a tracer wants to see the operations.
        if door::in_scope() || is_tracing() {
            return (self.program)(args);
        }
        let mut tensors: SmallVec<[Tensor; 8]> = SmallVec::new();
        for arg in args {
            if let Argument::Tensor(t) = arg {
                tensors.push(if t.pending().is_some() {
                    door::observe(t, Observe::Values, origin)?
                } else {
                    t.clone()
                });
            }
        }
        let how = {
            let mut state = self.state();
            if state.eager.is_some() {
                drop(state);
                return (self.program)(args);
            }
            match state.entries.iter().position(|e| e.guards.failure(args).is_none()) {
                Some(at) => {
                    state.entries[..=at].rotate_right(1);
                    Some(state.entries[0].how.clone())
                }
                None => None,
            }
        };
        match how {
            None => self.first(args, &tensors, origin),
            Some(How::Eager(_)) => (self.program)(args),
            Some(How::Host(_)) => Ok(self.host(args, &tensors, Vec::new(), origin)?.results),
            Some(How::Paths(paths)) => match walk(&paths, &tensors, origin).map_err(|e| e.at(origin))? {
                Walk::Done(results) => Ok(results),
                Walk::Passed => (self.program)(args),
                Walk::Missed(ahead) => self.branch(args, &tensors, ahead, origin),
            },
        }
    }

    /// A call of a kind that was not met yet.
    fn first(&self, args: &[Argument], tensors: &[Tensor], origin: Origin) -> Result<Vec<Tensor>> {
        let why = {
            let mut state = self.state();
            let failures = state.entries.iter().filter_map(|e| e.guards.failure(args));
            let failures: Vec<String> = failures.map(|f: Failure| f.to_string()).collect();
            let why = if failures.is_empty() { "first call".to_string() } else { failures.join("; ") };
            if state.entries.len() >= self.options.recompile_limit {
                let limit = self.options.recompile_limit;
                state.eager =
                    Some(format!("recompile_limit of {limit} was reached; last reason: {}", failures[0]));
                drop(state);
                return (self.program)(args);
            }
            why
        };
        let start = Instant::now();
        let guards = Guards::of(args);
        if guards.shares() {
            let how = How::Eager("arguments look at the same memory in different ways".into());
            let mut state = self.state();
            state.entries.insert(0, Entry { guards, how, looked: Vec::new(), looked_inside: false });
            state.log.push(Recompile { why, took: start.elapsed(), origin });
            drop(state);
            return (self.program)(args);
        }
        let Ran { results, finished, escaped } = self.host(args, tensors, Vec::new(), origin)?;
        let mut state = self.state();
        self.note_breaks(&mut state, &finished.path);
        let how = match (&finished.effect, escaped) {
            (Some(effect), _) => How::Host(effect.as_str().into()),
            (None, true) => How::Eager("a tensor of the inside is kept outside of the call".into()),
            (None, false) => How::Paths(Arc::new(vec![Arc::new(finished.path)])),
        };
        let (looked, looked_inside) = (finished.looked, finished.looked_inside);
        let entry = Entry { guards, how, looked, looked_inside };
        let freed = match self.options.dynamic {
            true => dynamic::generalise(&state.entries, &entry),
            false => None,
        };
        let why = match freed {
            Some((at, general, dims)) => {
                state.entries.remove(at);
                state.entries.insert(0, general);
                format!("{why} ({dims} from now on)")
            }
            None => {
                state.entries.insert(0, entry);
                why
            }
        };
        state.log.push(Recompile { why, took: start.elapsed(), origin });
        Ok(results)
    }

    /// A call of a known kind in which the host sees something new.
    fn branch(
        &self,
        args: &[Argument],
        tensors: &[Tensor],
        ahead: Vec<(Arc<Part>, Vec<Tensor>)>,
        origin: Origin,
    ) -> Result<Vec<Tensor>> {
        let Ran { results, finished, escaped } = self.host(args, tensors, ahead, origin)?;
        let mut state = self.state();
        self.note_breaks(&mut state, &finished.path);
        let limit = self.options.recompile_limit;
        if let Some(entry) = state.entries.iter_mut().find(|e| e.guards.failure(args).is_none())
            && let How::Paths(paths) = &entry.how
        {
            entry.how = match (finished.effect, escaped) {
                (Some(effect), _) => How::Host(effect.into()),
                (None, true) => How::Eager("a tensor of the inside is kept outside of the call".into()),
                (None, false) if paths.len() >= limit => How::Host(
                    format!("recompile_limit of {limit} was reached by the values that the host saw").into(),
                ),
                (None, false) => {
                    let mut paths = paths.to_vec();
                    paths.push(Arc::new(finished.path));
                    How::Paths(Arc::new(paths))
                }
            };
        }
        Ok(results)
    }

    /// The program run by the host, with its parts compiled.
    fn host(
        &self,
        args: &[Argument],
        tensors: &[Tensor],
        ahead: Vec<(Arc<Part>, Vec<Tensor>)>,
        origin: Origin,
    ) -> Result<Ran> {
        let frame = Arc::new(Frame::new(&self.name, &self.options.compile, &self.codes, tensors, ahead));
        let recorder = Recorder::new(Box::new(frame.clone()), LIMIT);
        let outcome = self.recorded(args, tensors, &frame, &recorder, origin);
        let escaped = recorder.close()?;
        let assigned = frame.assigned();
        let escaped = escaped || recorder.held().iter().any(|memory| !assigned.contains(memory));
        let finished = outcome?;
        Ok(Ran { results: finished.results.clone(), finished, escaped })
    }

    fn recorded(
        &self,
        args: &[Argument],
        tensors: &[Tensor],
        frame: &Arc<Frame>,
        recorder: &Arc<Recorder>,
        origin: Origin,
    ) -> Result<Finished> {
        let results = {
            let mut tensors = tensors.iter();
            let mut given: Vec<Argument> = Vec::with_capacity(args.len());
            for (arg, same) in args.iter().zip(Guards::of(args).same()) {
                given.push(match (arg, same) {
                    (Argument::Host(_) | Argument::Variable(_), _) => arg.clone(),
                    (Argument::Tensor(tensor), same) => {
                        let tensor = tensors.next().unwrap_or(tensor);
                        let stand_in = recorder.argument(tensor)?;
                        stand_in.set_slot(tensor.slot());
                        same.map_or(Argument::Tensor(stand_in), |first| given[first].clone())
                    }
                });
            }
            let _scope = door::enter(recorder.clone());
            let results = (self.program)(&given);
            if results.is_err() {
                // What the program wrote before it failed is written.
                recorder.flush(Why::Barrier, origin)?;
            }
            results?
        };
        // What the inside recorded for gradients goes with the tensors that it hangs on.
        let outputs: Vec<(Tensor, bool)> = results.iter().map(|t| (t.alias(), is_tracked(t))).collect();
        drop(results);
        recorder.flush(Why::Barrier, origin)?;
        // Memory tells where a tensor comes from, but not that it was detached on the way.
        let graded = tensors.iter().any(is_tracked);
        let outputs = outputs.into_iter().map(|(t, has_grad)| {
            let detached = graded && !has_grad && t.dtype().is_float();
            let place = match recorder.argument_of(&t) {
                Some((argument, views)) => Ok(Place { from: From::Argument(argument), views }),
                None => Err(t),
            };
            (place, detached.then_some(origin))
        });
        frame.finish(outputs.collect())
    }

    fn note_breaks(&self, state: &mut State, path: &Path) {
        for step in &path.steps {
            if let Step::Look { truth, origin, .. } = step {
                let what = if *truth { "a truth was read" } else { "a value was read" };
                let line = format!("{origin}: {what}");
                if !state.breaks.contains(&line) {
                    state.breaks.push(line);
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the program was recorded, each time.
    pub fn recompiles(&self) -> Vec<Recompile> {
        self.state().log.clone()
    }

    /// Where recorded parts ended because the host looked, each once.
    pub fn graph_breaks(&self) -> Vec<String> {
        self.state().breaks.clone()
    }

    /// Why calls run the program instead of what was compiled, where they do.
    pub fn fallbacks(&self) -> Vec<String> {
        let state = self.state();
        let entries = state.entries.iter().filter_map(|e| match &e.how {
            How::Paths(_) => None,
            How::Host(why) => Some(format!("the host runs, parts are compiled: {why}")),
            How::Eager(why) => Some(format!("eager: {why}")),
        });
        entries.chain(state.eager.iter().map(|why| format!("eager: {why}"))).collect()
    }

    /// Graphs that were recorded.
    pub fn graphs(&self) -> usize {
        self.codes.all().len()
    }

    /// What was compiled of each recorded part with open extents.
    pub fn open_parts(&self) -> Vec<Vec<Arc<CompiledFunction>>> {
        self.codes.all().iter().map(|code| code.open()).collect()
    }

    /// What was compiled of each recorded part, for each kind of inputs.
    pub fn parts(&self) -> Vec<Vec<Arc<CompiledFunction>>> {
        self.codes.all().iter().map(|code| code.all()).collect()
    }
}

/// One run by the host.
struct Ran {
    results: Vec<Tensor>,
    finished: Finished,
    escaped: bool,
}
