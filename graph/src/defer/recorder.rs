//! The interpreter that defers, and the end of a part.

use super::memory::{FIRST_ARGUMENT, Found, Held, State, ViewStep, overlapping};
use super::program::Program;
use crate::ir::{Operand, ValueId};
use crate::trace::{hosts, view_layout};
use kernels::Layout;
use runtime::DeviceId;
use runtime::callable::Callable;
use runtime::door::{self, Interpreter, Observe, Outputs};
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::ops;
use runtime::pending::Pending;
use runtime::profile::{self, Bucket};
use runtime::run;
use runtime::shared::{Shared, Weak};
use runtime::table::{Effect, Lower, OpDef, Vjp};
use runtime::tensor::{Storage, Tensor};
use runtime::value::{Arg, Host};
use smallvec::SmallVec;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a part ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The host looked at values.
    Values,
    /// The host looked at a truth.
    Truth,
    /// A step ended.
    Barrier,
    /// It had as many operations as are allowed.
    Limit,
    /// Memory was written that is known in several forms.
    Write,
    /// A region was called that runs by itself.
    Call,
    /// An operation on another device.
    Device,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Values => "a value was read",
            Why::Truth => "a truth was read",
            Why::Barrier => "the step ended",
            Why::Limit => "the limit of operations was reached",
            Why::Write => "memory was written that is known in several forms",
            Why::Call => "a region was called",
            Why::Device => "an operation on another device",
        })
    }
}

/// A part that is to run.
pub(crate) struct Work<'a> {
    pub(crate) program: &'a Program,
    /// One tensor for each input of the program.
    pub(crate) inputs: &'a [Tensor],
    /// For each input, the argument whose value it is.
    pub(crate) arguments: &'a [Option<usize>],
    pub(crate) results: &'a [ValueId],
    /// (input, result): the result is written over the input.
    pub(crate) write_backs: &'a [(usize, usize)],
    pub(crate) device: DeviceId,
    pub(crate) why: Why,
    pub(crate) origin: Origin,
}

/// What becomes of parts.
pub(crate) trait Backend: Send + Sync {
    /// Runs a part: carries out its write-backs, returns the memory of the other results in order, dense.
    fn run(&self, work: &Work) -> Result<Vec<Shared<Storage>>>;
    /// Whether it wants to be told of the rest.
    fn follows(&self) -> bool {
        false
    }
    /// The host looked at a tensor, which had these elements.
    fn looked(&self, at: Looked, value: &Tensor, what: Observe, origin: Origin) -> Result<()> {
        let _ = (at, value, what, origin);
        Ok(())
    }
    /// The host looked at an extent: of an argument as it came, or of something that was computed.
    fn extent(&self, argument: Option<usize>, dim: Option<usize>) {
        let _ = (argument, dim);
    }
    /// Something happened that running the recorded parts again does not repeat.
    fn effect(&self, what: &str, origin: Origin) {
        let _ = (what, origin);
    }
    /// A Variable was read, and had this value.
    fn read(&self, variable: u64, value: &Tensor) {
        let _ = (variable, value);
    }
    /// A Variable was assigned.
    fn assigned(&self, variable: u64) {
        let _ = variable;
    }
    /// A tensor that is not deferred any more, with the history that it has outside of the recording.
    fn settled(&self, at: Looked) -> Result<Tensor> {
        match at {
            Looked::Argument(..) => Err(Error::internal("an argument without its history")),
            Looked::Memory(tensor) => Ok(tensor.clone()),
        }
    }
    /// Layouts over memory, each with the view ops that lead there.
    fn views(&self, base: &Tensor, views: Vec<(Layout, Vec<ViewStep>)>) -> Result<()> {
        let _ = (base, views);
        Ok(())
    }
}

/// What the host looked at.
pub(crate) enum Looked<'a> {
    /// An argument, through these views.
    Argument(usize, Vec<ViewStep>),
    /// Memory that was made or met.
    Memory(&'a Tensor),
}

/// Defers operations until a part ends.
pub(crate) struct Recorder {
    me: std::sync::Weak<Recorder>,
    backend: Box<dyn Backend>,
    limit: usize,
    state: Mutex<State>,
    /// Promises that were kept, where the backend follows.
    kept: Mutex<Vec<Weak<Pending>>>,
}

impl Recorder {
    /// A recorder with nothing recorded. A part ends at `limit` operations.
    pub(crate) fn new(backend: Box<dyn Backend>, limit: usize) -> Arc<Recorder> {
        Arc::new_cyclic(|me| Recorder {
            me: me.clone(),
            backend,
            limit,
            state: Mutex::default(),
            kept: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn me(&self) -> Result<Arc<dyn Interpreter>> {
        let me = self.me.upgrade().ok_or_else(|| Error::internal("a recorder that is gone records"))?;
        Ok(me)
    }

    /// A stand-in for an argument. Arguments come before everything else.
    pub(crate) fn argument(&self, tensor: &Tensor) -> Result<Tensor> {
        let mut state = self.state();
        let number = FIRST_ARGUMENT + state.cells.len() as u64;
        let pending = Pending::new(self.me()?, number);
        let layout = match tensor.is_contiguous() {
            true => Layout::contiguous(tensor.shape()),
            false => tensor.layout().clone(),
        };
        state.input(Held::Argument(tensor.clone(), pending.clone()), layout.clone())?;
        Ok(Tensor::from_pending(pending, tensor.dtype(), layout, tensor.device()))
    }

    /// Operations that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state().program.nodes.len()
    }

    /// Ends the part.
    pub(crate) fn flush(&self, why: Why, origin: Origin) -> Result<()> {
        self.flush_state(&mut self.state(), why, origin)
    }

    fn flush_state(&self, state: &mut State, why: Why, origin: Origin) -> Result<()> {
        let (mut promises, mut results) = (Vec::new(), Vec::new());
        for (at, cell) in state.cells.iter().enumerate() {
            if let Held::Promise(promise) = &cell.held
                && let Some(pending) = promise.upgrade()
            {
                promises.push((at, pending));
                results.push(cell.value);
            }
        }
        let mut write_backs = Vec::new();
        for (input, &at) in state.sources.iter().enumerate() {
            if state.cells[at].written() {
                write_backs.push((input, results.len()));
                results.push(state.cells[at].value);
            }
        }
        let mut inputs = Vec::with_capacity(state.sources.len());
        let mut arguments = Vec::with_capacity(state.sources.len());
        for &at in &state.sources {
            let (tensor, argument) = match &state.cells[at].held {
                Held::Memory(tensor) => (tensor, None),
                Held::Argument(tensor, _) => (tensor, Some(at)),
                Held::Promise(_) => return Err(Error::internal("a promise is no input")),
            };
            inputs.push(tensor.clone());
            arguments.push(argument);
        }
        let outcome = match results.is_empty() {
            true => Ok(Vec::new()),
            false => {
                let (program, device) = (&state.program, state.device.unwrap_or(DeviceId::Cpu));
                let work = Work {
                    program,
                    inputs: &inputs,
                    arguments: &arguments,
                    results: &results,
                    write_backs: &write_backs,
                    device,
                    why,
                    origin,
                };
                // The writes were counted when they were asked for.
                let memory = write_backs.iter().filter(|(input, _)| arguments[*input].is_none());
                let written = memory.map(|&(input, _)| {
                    let storage = inputs[input].storage()?;
                    Ok((storage.clone(), storage.version()))
                });
                let written = written.collect::<Result<Vec<_>>>()?;
                let outcome = self.run(&work, promises.len());
                written.iter().for_each(|(storage, version)| storage.restore_version(*version));
                outcome
            }
        };
        let outcome = match outcome {
            Ok(memory) => {
                promises.iter().zip(memory).for_each(|((_, p), m)| p.settle(Ok(m)));
                match self.backend.follows() {
                    true => self.tell_views(state, &promises),
                    false => Ok(()),
                }
            }
            Err(why) => {
                promises.iter().for_each(|(_, p)| p.settle(Err(why.clone())));
                Err(why)
            }
        };
        state.restart(self.backend.follows())?;
        outcome
    }

    fn run(&self, work: &Work, promises: usize) -> Result<Vec<Shared<Storage>>> {
        let _outside = door::outside();
        let memory = self.backend.run(work)?;
        match memory.len() == promises {
            true => Ok(memory),
            false => {
                let message = format!("{} results where {promises} were promised", memory.len());
                Err(Error::internal(message))
            }
        }
    }

    fn tell_views(&self, state: &State, promises: &[(usize, Shared<Pending>)]) -> Result<()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(promises.iter().map(|(_, p)| p.downgrade()));
        drop(kept);
        for (at, cell) in state.cells.iter().enumerate() {
            let views = state.views(at);
            if views.is_empty() {
                continue;
            }
            match &cell.held {
                Held::Memory(tensor) => self.backend.views(tensor, views)?,
                Held::Promise(_) => {
                    if let Some((_, pending)) = promises.iter().find(|(promised, _)| *promised == at) {
                        let storage = pending.storage()?.clone();
                        let base = Tensor::from_storage(storage, cell.dtype, cell.layout.clone());
                        self.backend.views(&base, views)?;
                    }
                }
                Held::Argument(..) => {}
            }
        }
        Ok(())
    }

    /// The argument that a stand-in stands for, and the view ops that lead to it.
    pub(crate) fn argument_of(&self, tensor: &Tensor) -> Option<(usize, Vec<ViewStep>)> {
        self.state().argument(tensor)
    }

    /// The memory of promises that somebody still holds.
    pub(crate) fn held(&self) -> Vec<usize> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let address = |p: Shared<Pending>| p.storage().map(|s| s.address()).ok();
        kept.iter().filter_map(|p| p.upgrade().and_then(address)).collect()
    }

    /// Ends the life of the stand-ins. Says whether somebody holds one still; it has the argument's memory from now on.
    pub(crate) fn close(&self) -> Result<bool> {
        let mut state = self.state();
        let mut escaped = false;
        for cell in std::mem::take(&mut *state).cells {
            let Held::Argument(tensor, pending) = cell.held else { continue };
            if pending.handles() > 1 {
                escaped = true;
                let whole = tensor.is_contiguous() && tensor.layout().offset == 0;
                let memory = if whole { tensor.clone() } else { run::contiguous(&tensor)? };
                pending.settle(memory.storage().cloned());
            }
        }
        Ok(escaped)
    }

    /// Carries out the writes to a tensor in memory.
    fn settled(&self, tensor: &Tensor, origin: Origin) -> Result<()> {
        let mut state = self.state();
        if state.is_written(tensor) { self.flush_state(&mut state, Why::Values, origin) } else { Ok(()) }
    }

    fn looked(&self, at: Looked, value: &Tensor, what: Observe, origin: Origin) -> Result<()> {
        let _outside = door::outside();
        self.backend.looked(at, value, what, origin)
    }

    /// A write that is not deferred. What is not recorded by a part is recorded now, if somebody wants a history.
    fn write_now(&self, state: &State, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<()> {
        let _outside = door::outside();
        let _mode = (self.backend.follows() && door::grad_mode()).then(door::enable_grad);
        let settled = |t: &Tensor| {
            let argument = state.argument(t).map(|(argument, views)| Looked::Argument(argument, views));
            self.backend.settled(argument.unwrap_or(Looked::Memory(t)))
        };
        let settled = args.iter().map(|a| a.tensors().iter().map(settled).collect::<Result<Vec<_>>>());
        let settled = settled.collect::<Result<Vec<_>>>()?;
        door::mutate(op, &with_tensors(args, &settled), origin)
    }

    /// The tensors of other recorders among these are settled by them.
    fn foreign(&self, tensor: &Tensor, origin: Origin) -> Result<()> {
        match tensor.pending() {
            Some(pending) if !std::ptr::addr_eq(Arc::as_ptr(pending.owner()), self.me.as_ptr()) => {
                pending.owner().clone().observe(tensor, Observe::Values, origin).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Ends the part where it cannot go on with these operands.
    fn prepare(&self, state: &mut State, args: &[Arg], origin: Origin) -> Result<()> {
        for tensor in args.iter().flat_map(|a| a.tensors()) {
            self.foreign(tensor, origin)?;
            if let Some(device) = state.device
                && device != tensor.device()
            {
                self.flush_state(state, Why::Device, origin)?;
            }
            if let Found::Clash = state.find(tensor) {
                self.flush_state(state, Why::Write, origin)?;
            }
        }
        if state.program.nodes.len() >= self.limit {
            self.flush_state(state, Why::Limit, origin)?;
        }
        Ok(())
    }

    fn operands(&self, state: &mut State, args: &[Arg]) -> Result<Vec<Operand>> {
        let mut read = |t: &Tensor| {
            let place = state.place(t)?;
            state.read(place)
        };
        args.iter()
            .map(|&arg| {
                Ok(match arg {
                    Arg::Tensor(t) => Operand::Value(read(t)?),
                    Arg::Tensors(list) => Operand::Values(list.iter().map(&mut read).collect::<Result<_>>()?),
                    host => Operand::Host(Host::of(host).unwrap_or(Host::None)),
                })
            })
            .collect()
    }

    /// A tensor over promised memory.
    fn promise(&self, state: &mut State, value: ValueId, device: DeviceId) -> Result<Tensor> {
        let pending = Pending::new(self.me()?, state.base + state.cells.len() as u64);
        let dtype = state.program.ty(value).dtype;
        let layout = state.promise(Held::Promise(pending.downgrade()), value, device)?;
        Ok(Tensor::from_pending(pending, dtype, layout, device))
    }

    fn record(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<Outputs> {
        let mut state = self.state();
        let state = &mut *state;
        self.prepare(state, args, origin)?;
        let device = run::device_of(args)?;
        let operands = self.operands(state, args)?;
        let values = state.program.emit(op, operands, origin)?;
        state.device.get_or_insert(device);
        if let (Lower::View(..), Some(Arg::Tensor(base)), Some(rest)) = (&op.lower, args.first(), hosts(args))
        {
            let value = ValueId(values.start);
            let dims = state.program.ty(value).constant_dims()?;
            if let Some(layout) = view_layout(op, &rest, base.dtype(), base.layout(), &dims) {
                let place = state.place(base)?;
                let tensor = match (op.effect, &op.vjp) {
                    (Effect::View(_), Vjp::Rule(..)) => base.view_through(layout)?,
                    _ => base.with_layout(layout)?,
                };
                state.view(place, tensor.layout(), ViewStep { op, rest, origin }, value);
                return Ok(Outputs::from_buf([tensor]));
            }
        }
        values.map(|v| self.promise(state, ValueId(v), device)).collect()
    }

    /// The operands of an op that the program runs under `no_grad`, detached: the gradient of a part is made of the part
    /// alone, which must say where gradients end. That a tensor has no history now says nothing: what a rule kept has none.
    fn unrecorded(&self, op: &OpDef, args: &[Arg], origin: Origin) -> Result<Option<Vec<Vec<Tensor>>>> {
        let ends = |t: &Tensor| t.dtype().is_float();
        let any = || args.iter().flat_map(|a| a.tensors()).any(ends);
        if door::grad_mode() || !self.backend.follows() || std::ptr::eq(op, &ops::DETACH) || !any() {
            return Ok(None);
        }
        let detached = |t: &Tensor| match ends(t) {
            true => Ok(self.record(&ops::DETACH, &[Arg::Tensor(t)], origin)?.remove(0)),
            false => Ok(t.clone()),
        };
        let each = args.iter().map(|arg| arg.tensors().iter().map(detached).collect::<Result<Vec<_>>>());
        each.collect::<Result<Vec<_>>>().map(Some)
    }

    fn write(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<()> {
        let Some(Arg::Tensor(target)) = args.first().copied() else {
            return Err(Error::value("an in-place operation needs a tensor to write to"));
        };
        let mut state = self.state();
        let state = &mut *state;
        self.prepare(state, args, origin)?;
        run::device_of(args)?;
        let layout = target.layout();
        if layout.shape.iter().zip(&layout.strides).any(|(&n, &s)| n > 1 && s == 0) {
            return Err(overlapping());
        }
        let place = state.place(target)?;
        if !state.may_defer(place) {
            self.backend.effect("a write to a part of memory, or to memory in another order", origin);
            self.flush_state(state, Why::Write, origin)?;
            return self.write_now(state, op, args, origin);
        }
        let operands = self.operands(state, args)?;
        let value = state.program.emit1(op, operands, origin)?;
        let ty = state.program.ty(value);
        if *ty != target.tensor_type() {
            let message = format!("the result {ty} does not fit into {}", target.tensor_type());
            return Err(Error::new(ErrorKind::InPlace, message));
        }
        let value = match self.backend.follows() && !door::grad_mode() {
            true => {
                let old = state.read(place)?;
                state.data(old, value, origin)?
            }
            false => value,
        };
        state.write(place, value, origin)?;
        state.bump(target)
    }
}

/// Dense memory that nobody else sees.
pub(crate) fn memory_of(output: Tensor) -> Result<Shared<Storage>> {
    let own = output.storage()?.handles() == 1 && output.handles() == 1;
    let whole = output.is_contiguous() && output.layout().offset == 0;
    let output = if own && whole { output } else { run::contiguous(&output)? };
    Ok(output.storage()?.clone())
}

/// The operands with other tensors in their places.
fn with_tensors<'a>(args: &[Arg<'a>], tensors: &'a [Vec<Tensor>]) -> SmallVec<[Arg<'a>; 4]> {
    let each = args.iter().zip(tensors).map(|(arg, tensors)| match (arg, tensors.as_slice()) {
        (Arg::Tensor(_), [tensor]) => Arg::Tensor(tensor),
        (Arg::Tensors(_), list) => Arg::Tensors(list),
        (host, _) => *host,
    });
    each.collect()
}

fn any_traced(args: &[Arg]) -> bool {
    args.iter().flat_map(|a| a.tensors()).any(|t| t.traced().is_some())
}

impl Interpreter for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn bind(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<Outputs> {
        let _record = profile::timed(Bucket::Record);
        match op.effect {
            _ if any_traced(args) => door::bind(op, args, origin),
            Effect::Read => {
                let outputs = run::run(op, args)?;
                if let (Some(&Arg::Int(variable)), [value]) = (args.get(1), outputs.as_slice()) {
                    self.backend.read(variable as u64, value);
                }
                Ok(outputs)
            }
            Effect::Pure | Effect::View(_) | Effect::Random | Effect::Write => {
                match self.unrecorded(op, args, origin)? {
                    Some(tensors) => self.record(op, &with_tensors(args, &tensors), origin),
                    None => self.record(op, args, origin),
                }
            }
        }
    }

    fn observe(&self, tensor: &Tensor, what: Observe, origin: Origin) -> Result<Tensor> {
        match what {
            Observe::Extent(dim) => {
                let whole = self.argument_of(tensor).filter(|(_, views)| views.is_empty());
                self.backend.extent(whole.map(|(argument, _)| argument), dim);
                return Ok(tensor.clone());
            }
            Observe::Values => self.flush(Why::Values, origin)?,
            Observe::Truth => self.flush(Why::Truth, origin)?,
        }
        let Some(pending) = tensor.pending() else {
            tensor.storage()?;
            self.looked(Looked::Memory(tensor), tensor, what, origin)?;
            return Ok(tensor.clone());
        };
        let (value, at) = {
            let state = self.state();
            (state.stands_for(pending, tensor.layout())?, state.argument(tensor))
        };
        if let Some((argument, views)) = at {
            self.looked(Looked::Argument(argument, views), &value, what, origin)?;
        }
        Ok(value)
    }

    fn mutate(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<()> {
        let _record = profile::timed(Bucket::Record);
        match op.effect {
            _ if any_traced(args) => door::mutate(op, args, origin),
            // A Variable takes the deferred tensor as it is.
            Effect::Write => {
                run::run_in_place(op, args)?;
                if let Some(&Arg::Int(variable)) = args.get(2) {
                    self.backend.assigned(variable as u64);
                }
                Ok(())
            }
            Effect::Pure | Effect::View(_) | Effect::Random | Effect::Read => self.write(op, args, origin),
        }
    }

    fn call(&self, callable: &Arc<dyn Callable>, args: &[Tensor], origin: Origin) -> Result<Outputs> {
        if args.iter().any(|t| t.traced().is_some()) {
            return door::call(callable, args, origin);
        }
        self.backend.effect("a call of a region of its own", origin);
        self.flush(Why::Call, origin)?;
        let args: SmallVec<[Tensor; 8]> =
            args.iter().map(|t| door::observe(t, Observe::Values, origin)).collect::<Result<_>>()?;
        callable.run(&args)
    }

    fn settle(&self, tensor: &Tensor, origin: Origin) -> Result<()> {
        self.settled(tensor, origin)?;
        if self.backend.follows() {
            // The tensor may be a view that was made since the last part ended.
            let _outside = door::outside();
            self.tell_views(&self.state(), &[])?;
        }
        self.looked(Looked::Memory(tensor), tensor, Observe::Values, origin)
    }

    fn effect(&self, what: &str, origin: Origin) {
        self.backend.effect(what, origin);
    }
}
