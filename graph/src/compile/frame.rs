//! One run of the program by the host, with its parts compiled: the path that it takes is written down on the way.
//!
//! Where a walk had come some way before it saw something new, its parts have run already; the host catches up with them,
//! and gets their results instead of running them again.

use super::path::{Code, From, Made, Output, Part, Path, Place, Seen, Step};
use crate::defer::{Backend, Key, Looked, ViewStep, Work};
use crate::options::Options;
use indexmap::IndexMap;
use kernels::Layout;
use runtime::DeviceId;
use runtime::door::Observe;
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::ops;
use runtime::shared::Shared;
use runtime::tensor::{Storage, Tensor};
use runtime::variable::Variable;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts that were compiled, by what they are.
#[derive(Default)]
pub(super) struct Codes(Mutex<IndexMap<(DeviceId, Key), Arc<Code>>>);

impl Codes {
    /// In the order in which they were recorded.
    pub(super) fn all(&self) -> Vec<Arc<Code>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// A run on its way.
#[derive(Default)]
struct State {
    steps: Vec<Step>,
    seen: Vec<Seen>,
    made: Made,
    /// What a walk has run already.
    ahead: VecDeque<(Arc<Part>, Vec<Tensor>)>,
    /// Which result each memory is.
    results: HashMap<usize, (usize, usize)>,
    views: HashMap<usize, Vec<(Layout, Place)>>,
    /// Variables with what they held when they were first read.
    variables: Vec<(Variable, Tensor)>,
    assigned: Vec<Variable>,
    looked: Vec<(usize, Option<usize>)>,
    looked_inside: bool,
    effect: Option<String>,
}

/// What a run left.
pub(super) struct Finished {
    pub(super) path: Path,
    pub(super) results: Vec<Tensor>,
    /// Extents of arguments that the host looked at; none in a dimension stands for all of the argument's.
    pub(super) looked: Vec<(usize, Option<usize>)>,
    /// Whether it looked at extents of what was computed.
    pub(super) looked_inside: bool,
    /// What the host did that running the parts again does not repeat.
    pub(super) effect: Option<String>,
}

/// The backend of one run.
pub(super) struct Frame {
    name: String,
    options: Options,
    codes: Arc<Codes>,
    args: Vec<Tensor>,
    state: Mutex<State>,
}

impl Frame {
    pub(super) fn new(
        name: &str,
        options: &Options,
        codes: &Arc<Codes>,
        args: &[Tensor],
        ahead: Vec<(Arc<Part>, Vec<Tensor>)>,
    ) -> Frame {
        let state = State { ahead: ahead.into(), ..State::default() };
        Frame {
            name: name.to_string(),
            options: options.clone(),
            codes: codes.clone(),
            args: args.to_vec(),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn code(&self, work: &Work, key: &Key) -> Result<Arc<Code>> {
        let id = (work.device, key.clone());
        let lock = || self.codes.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = lock().get(&id) {
            return Ok(found.clone());
        }
        let (graph, used) = work.program.graph(&self.name, work.results, work.write_backs)?;
        let made = Arc::new(Code::new(graph, used, work.device, self.options.clone()));
        Ok(lock().entry(id).or_insert(made).clone())
    }

    /// Where the values of Variables go that were assigned, as memory; who holds it is no leak.
    pub(super) fn assigned(&self) -> Vec<usize> {
        let address = |v: &Variable| v.current().storage().map(|s| s.address());
        self.state().assigned.iter().filter_map(|v| address(v).ok()).collect()
    }

    /// Ends the run. An output is a place that is known, or a tensor in memory; with an origin it is detached from it.
    pub(super) fn finish(
        &self,
        outputs: Vec<(std::result::Result<Place, Tensor>, Option<Origin>)>,
    ) -> Result<Finished> {
        let mut state = self.state();
        let outputs = outputs
            .into_iter()
            .map(|(output, detached)| {
                let mut place = match output {
                    Ok(place) => place,
                    Err(tensor) => match state.place(&tensor)? {
                        // Nobody but the recording holds it: the host made it.
                        Place { from: From::Captured(t), views }
                            if views.is_empty() && tensor.storage()?.handles() == 1 =>
                        {
                            return Ok(Output::Fresh(t));
                        }
                        place => place,
                    },
                };
                place.views.extend(detached.map(|origin| ViewStep {
                    op: &ops::DETACH,
                    rest: Vec::new(),
                    origin,
                }));
                Ok(Output::At(place))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut variables = Vec::new();
        for variable in state.assigned.clone() {
            let place = state.place(&variable.current())?;
            variables.push((variable, place));
        }
        let results = outputs.iter().map(|output| match output {
            Output::At(place) => place.tensor(&self.args, &state.made, &state.variables),
            Output::Fresh(tensor) => tensor.copy(),
        });
        let results = results.collect::<Result<Vec<_>>>()?;
        state.steps.push(Step::End { outputs, variables });
        Ok(Finished {
            path: Path { steps: std::mem::take(&mut state.steps), seen: std::mem::take(&mut state.seen) },
            results,
            looked: std::mem::take(&mut state.looked),
            looked_inside: state.looked_inside,
            effect: state.effect.take(),
        })
    }
}

impl State {
    /// Where a tensor in memory comes from.
    fn place(&self, tensor: &Tensor) -> Result<Place> {
        let storage = tensor.storage()?.address();
        let layout = tensor.layout();
        let whole = tensor.is_contiguous() && layout.offset == 0;
        let views = self.views.get(&storage).into_iter().flatten();
        if let Some((_, place)) = views.clone().find(|(known, _)| known == layout) {
            return Ok(place.clone());
        }
        if let Some(&(part, result)) = self.results.get(&storage) {
            let known = self.made[part][result].layout();
            return match known == layout || (whole && known.shape == layout.shape) {
                true => Ok(Place { from: From::Made(part, result), views: Vec::new() }),
                false => Err(Error::internal("a view of a result whose making was not seen")),
            };
        }
        let held = |t: &Tensor| t.storage().is_ok_and(|s| s.address() == storage) && t.layout() == layout;
        if let Some((variable, _)) = self.variables.iter().find(|(_, value)| held(value)) {
            return Ok(Place { from: From::Variable(variable.clone()), views: Vec::new() });
        }
        Ok(Place { from: From::Captured(tensor.clone()), views: Vec::new() })
    }
}

/// The clone that `Arc` gives is the frame of the same run.
impl Backend for Arc<Frame> {
    fn run(&self, work: &Work) -> Result<Vec<Shared<Storage>>> {
        let key = work.program.key(work.results, work.write_backs);
        let (ahead, number) = {
            let mut state = self.state();
            (state.ahead.pop_front(), state.made.len())
        };
        let (part, results) = match ahead {
            Some((part, results)) if part.key == key => (part, results),
            Some((part, _)) if part.code.graph.write_backs.is_empty() => {
                self.state().ahead.clear();
                drop(part);
                self.run_new(work, key)?
            }
            Some(_) => {
                let message =
                    "the program did something else when it was run again, after it had written in place";
                return Err(Error::new(ErrorKind::Trace, message)
                    .hint("a compiled program must do the same for the same arguments and values"));
            }
            None => self.run_new(work, key)?,
        };
        let memory = results.iter().map(|t| t.storage().cloned()).collect::<Result<Vec<_>>>()?;
        let mut state = self.state();
        for (i, storage) in memory.iter().enumerate() {
            state.results.insert(storage.address(), (number, i));
        }
        state.made.push(results);
        state.steps.push(Step::Run(part));
        Ok(memory)
    }

    fn follows(&self) -> bool {
        true
    }

    fn looked(&self, at: Looked, value: &Tensor, what: Observe, origin: Origin) -> Result<()> {
        let mut state = self.state();
        let place = match at {
            Looked::Argument(i, views) => Place { from: From::Argument(i), views },
            Looked::Memory(tensor) => state.place(tensor)?,
        };
        let truth = what == Observe::Truth;
        let seen = Seen::of(value, truth)?;
        // What was looked at before is known, unless something ran since.
        let again = matches!(state.steps.last(), Some(Step::Look { place: last, truth: t, .. }) if last.same(&place) && *t == truth);
        if !again {
            state.steps.push(Step::Look { place, truth, origin });
            state.seen.push(seen);
        }
        Ok(())
    }

    fn settled(&self, at: Looked) -> Result<Tensor> {
        let state = self.state();
        let place = match at {
            Looked::Argument(i, views) => Place { from: From::Argument(i), views },
            Looked::Memory(tensor) => state.place(tensor)?,
        };
        place.tensor(&self.args, &state.made, &state.variables)
    }

    fn extent(&self, argument: Option<usize>, dim: Option<usize>) {
        let mut state = self.state();
        match argument {
            Some(argument) => state.looked.push((argument, dim)),
            None => state.looked_inside = true,
        }
    }

    fn effect(&self, what: &str, origin: Origin) {
        self.state().effect.get_or_insert_with(|| format!("{what} at {origin}"));
    }

    fn read(&self, variable: u64, value: &Tensor) {
        let mut state = self.state();
        let known = state.variables.iter().any(|(v, _)| v.id() == variable);
        let assigned = state.assigned.iter().any(|v| v.id() == variable);
        if let (false, false, Some(variable)) = (known, assigned, Variable::find(variable)) {
            state.variables.push((variable, value.clone()));
        }
    }

    fn assigned(&self, variable: u64) {
        let mut state = self.state();
        if !state.assigned.iter().any(|v| v.id() == variable)
            && let Some(variable) = Variable::find(variable)
        {
            state.assigned.push(variable);
        }
    }

    fn views(&self, base: &Tensor, views: Vec<(Layout, Vec<ViewStep>)>) -> Result<()> {
        let mut state = self.state();
        let place = state.place(base)?;
        let known = views.into_iter().map(|(layout, steps)| {
            let views = place.views.iter().cloned().chain(steps).collect();
            (layout, Place { from: place.from.clone(), views })
        });
        let known: Vec<_> = known.collect();
        let all = state.views.entry(base.storage()?.address()).or_default();
        for (layout, place) in known {
            if !all.iter().any(|(told, _)| *told == layout) {
                all.push((layout, place));
            }
        }
        Ok(())
    }
}

impl Frame {
    /// Runs a part that no walk has run.
    fn run_new(&self, work: &Work, key: Key) -> Result<(Arc<Part>, Vec<Tensor>)> {
        let code = self.code(work, &key)?;
        let inputs = {
            let state = self.state();
            let place = |&i: &usize| match work.arguments[i] {
                Some(argument) => Ok(Place { from: From::Argument(argument), views: Vec::new() }),
                None => state.place(&work.inputs[i]),
            };
            code.used.iter().map(place).collect::<Result<Vec<_>>>()?
        };
        let part = Arc::new(Part { key, code, inputs, graded: work.program.graded });
        let (made, start) = {
            let mut state = self.state();
            (std::mem::take(&mut state.made), state.variables.clone())
        };
        let inputs = part.inputs(&self.args, &made, &start);
        let results = inputs.and_then(|inputs| part.run(part.code.ready(&inputs)?, &inputs, work.origin));
        self.state().made = made;
        Ok((part, results?))
    }
}
