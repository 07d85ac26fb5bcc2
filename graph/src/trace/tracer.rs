//! The tracer: an interpreter of the door that adds nodes instead of computing.

use super::cells::{Cell, View, hosts, view_layout};
use super::scatter::Emit;
use super::state::State;
use super::{Recording, Source, Spec, Warning};
use crate::build::Builder;
use crate::defer::is_tracked;
use crate::ir::{InputRole, NodeKind, Operand, Type, ValueId};
use crate::stack;
use kernels::{Dims, Layout};
use runtime::callable::Callable;
use runtime::device::DeviceId;
use runtime::door::{self, Interpreter, Observe, Outputs, Scope};
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::infer::TensorType;
use runtime::ops;
use runtime::profile::{self, Bucket};
use runtime::table::{Effect, OpDef};
use runtime::tensor::{Payload, Tensor, Traced};
use runtime::value::{Arg, Host};
use runtime::variable::Variable;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Whether there are examples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Along example values: looks are answered, with a warning.
    Along,
    /// Without values: looks are errors.
    Staged,
}

thread_local! {
    static ACTIVE: RefCell<Vec<Arc<Tracer>>> = const { RefCell::new(Vec::new()) };
}

/// Whether a tracer is recording on this thread.
pub fn is_tracing() -> bool {
    ACTIVE.with_borrow(|a| !a.is_empty())
}

/// The tracer that was last put to work on this thread.
pub(super) fn innermost() -> Option<Arc<Tracer>> {
    ACTIVE.with_borrow(|a| a.last().cloned())
}

/// Whether the program that runs on this thread is staged: its tensors have no values, and what decides by them is to be
/// passed to `cond` and `while_loop`.
pub fn is_staging() -> bool {
    innermost().is_some_and(|t| t.mode == Mode::Staged)
}

/// The tracer of this number, if it is recording on this thread.
pub(super) fn active(id: u64) -> Option<Arc<Tracer>> {
    ACTIVE.with_borrow(|a| a.iter().find(|t| t.id == id).cloned())
}

/// While it lives, the tracer counts as recording on this thread and sees every operation.
pub struct Active {
    id: u64,
    _scope: Scope,
}

impl Drop for Active {
    fn drop(&mut self) {
        ACTIVE.with_borrow_mut(|a| a.retain(|tracer| tracer.id != self.id));
    }
}

/// Records operations as nodes of one graph.
pub struct Tracer {
    id: u64,
    mode: Mode,
    me: Weak<Tracer>,
    state: Mutex<State>,
}

impl Tracer {
    /// A tracer with an empty graph.
    pub fn new(name: &str, mode: Mode) -> Arc<Tracer> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new_cyclic(|me| Tracer {
            id: NEXT.fetch_add(1, Relaxed),
            mode,
            me: me.clone(),
            state: Mutex::new(State::new(name, mode)),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its number, which its traced tensors carry.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether it has examples.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Records every operation of this thread until the guard drops.
    pub fn activate(self: &Arc<Self>) -> Active {
        ACTIVE.with_borrow_mut(|a| a.push(self.clone()));
        Active { id: self.id, _scope: door::enter(self.clone()) }
    }

    /// A constant of the graph.
    pub fn constant(&self, tensor: &Tensor, origin: Origin) -> Result<Tensor> {
        let mut state = self.state();
        let value = state.constant(tensor.clone(), origin);
        self.wrap(&mut state, value, tensor.device(), origin)
    }

    /// Nodes of the graph's body so far.
    pub(crate) fn body_nodes(&self) -> usize {
        self.state().builder.graph().main().nodes.len()
    }

    /// A tensor object for a value of the graph.
    pub(super) fn wrap(
        &self,
        state: &mut State,
        value: ValueId,
        device: DeviceId,
        origin: Origin,
    ) -> Result<Tensor> {
        let ty = state.builder.graph().tensor_type(value)?.clone();
        let layout = Layout::contiguous(&extents(&ty)?);
        state.note(&[value], false);
        let cell = state.new_cell(Cell { value, version: 0, view: None, dtype: ty.dtype, layout, device });
        Ok(self.tensor(state, cell, origin))
    }

    /// A new argument of the graph.
    #[track_caller]
    pub fn argument(&self, spec: &Spec) -> Result<Tensor> {
        let origin = Origin::caller();
        let mut state = self.state();
        let dims = extents(&spec.ty)?;
        let at = state.inputs.len();
        let example = match self.mode {
            Mode::Along => {
                Some(spec.example.clone().ok_or_else(|| Error::value("an argument without example"))?)
            }
            Mode::Staged => None,
        };
        let layout = Layout::contiguous(&dims);
        let cell = state.input(&spec.ty, spec.device, layout, Source::Argument(at), &spec.name, example);
        Ok(self.tensor(&state, cell, origin))
    }

    /// The tensor object that stands for a cell.
    fn tensor(&self, state: &State, cell: u32, origin: Origin) -> Tensor {
        let info = &state.cells[cell as usize];
        let example = state.examples.get(&info.value).cloned();
        let traced = Traced { tracer: self.id, value: cell, example, origin };
        Tensor::from_traced(traced, info.dtype, info.layout.clone(), info.device)
    }

    /// The cell of a tensor: its own, or that of a capture.
    pub(super) fn cell(&self, state: &mut State, tensor: &Tensor) -> Result<u32> {
        match tensor.payload() {
            Payload::Traced(traced) if traced.tracer == self.id => Ok(traced.value),
            Payload::Traced(traced) => match active(traced.tracer) {
                Some(other) => {
                    let (root, layout, detached) = other.memory(traced.value);
                    state.capture(tensor, root, &layout, detached)
                }
                None => Err(runtime::tensor::escaped(traced)),
            },
            Payload::Pending(pending) => {
                state.capture(tensor, pending.address(), tensor.layout(), !is_tracked(tensor))
            }
            Payload::Storage(storage) => {
                state.capture(tensor, storage.address(), tensor.layout(), !is_tracked(tensor))
            }
        }
    }

    /// Which memory a cell would have, by a number that no memory has, and how it would lie in it: tensors of one tracer
    /// that another captures share memory as views do. Also whether gradients end on the way to it.
    fn memory(&self, cell: u32) -> (usize, Layout, bool) {
        let state = self.state();
        let mut root = cell;
        let mut detached = state.is_unrecorded(state.cells[cell as usize].value);
        while let Some(view) = &state.cells[root as usize].view {
            root = view.base;
            detached |= std::ptr::eq(view.op, &ops::DETACH);
        }
        (!((self.id as usize) << 32 | root as usize), state.cells[cell as usize].layout.clone(), detached)
    }

    fn operands(&self, state: &mut State, args: &[Arg]) -> Result<Vec<Operand>> {
        let mut operands = Vec::with_capacity(args.len());
        for &arg in args {
            operands.push(match arg {
                Arg::Tensor(t) => {
                    let cell = self.cell(state, t)?;
                    Operand::Value(state.read(cell)?)
                }
                Arg::Tensors(list) => {
                    let mut values = Vec::with_capacity(list.len());
                    for t in list {
                        let cell = self.cell(state, t)?;
                        values.push(state.read(cell)?);
                    }
                    Operand::Values(values)
                }
                host => Operand::Host(Host::of(host).expect("invariant: tensors are handled above")),
            });
        }
        Ok(operands)
    }

    /// The cell of the Variable that an op of state names.
    fn variable(&self, state: &mut State, args: &[Arg], id_at: usize) -> Result<u32> {
        let id = match args.get(id_at) {
            Some(Arg::Int(id)) => *id as u64,
            _ => return Err(Error::internal("an op of state names no variable")),
        };
        if let Some(&cell) = state.variables.get(&id) {
            return Ok(cell);
        }
        let variable = Variable::find(id).ok_or_else(|| Error::value("the variable no longer exists"))?;
        let current = variable.current();
        let example = (self.mode == Mode::Along).then(|| current.clone());
        let layout = Layout::contiguous(current.shape());
        let name = variable.name().to_string();
        let ty = variable.tensor_type().clone();
        let cell = state.input(&ty, current.device(), layout, Source::Variable(variable), &name, example);
        state.builder.set_role(state.inputs.len() - 1, InputRole::State);
        state.variables.insert(id, cell);
        Ok(cell)
    }

    /// Ends recording; the results become the graph's.
    pub(crate) fn finish(&self, results: &[Tensor]) -> Result<Recording> {
        let mut state = self.state();
        let mut values = Vec::with_capacity(results.len());
        for result in results {
            let cell = self.cell(&mut state, result)?;
            values.push(state.read(cell)?);
        }
        state.check_inputs()?;
        let builder = std::mem::replace(&mut state.builder, Builder::new(""));
        let examples = values.iter().filter_map(|v| state.examples.get(v).cloned()).collect();
        let inputs = std::mem::take(&mut state.inputs);
        let mut finished = Finished { builder, values, write_backs: Vec::new(), sources: Vec::new() };
        finished.write_back(&inputs, &state.cells);
        let (variables, places) = (std::mem::take(&mut state.variables), std::mem::take(&mut state.places));
        drop((variables, places));
        state.examples.clear();
        finished.sources = inputs.into_iter().map(|(_, source)| source).collect();
        let graph = finished.builder.finish(finished.values, finished.write_backs);
        Ok(Recording {
            graph,
            sources: finished.sources,
            warnings: std::mem::take(&mut state.warnings),
            examples,
        })
    }
}

/// The extents that a tensor object of this type shows. What the program sees is constant, but for the stacks that
/// gradients of loops carry: those show as empty, and only `stack_push` and `stack_pop` ever take them.
fn extents(ty: &TensorType) -> Result<Dims> {
    match ty.shape.split_first() {
        Some((first, rest)) if *first == stack::turns() && rest.iter().all(|d| d.known().is_some()) => {
            Ok(ty.facts().1)
        }
        _ => ty.constant_dims(),
    }
}

struct Finished {
    builder: Builder,
    values: Vec<ValueId>,
    write_backs: Vec<(usize, usize)>,
    sources: Vec<Source>,
}

impl Finished {
    /// Every input whose cell has another value now is state; its value is a result.
    fn write_back(&mut self, inputs: &[(u32, Source)], cells: &[Cell]) {
        for (i, (cell, _)) in inputs.iter().enumerate() {
            let (first, last) = (self.builder.graph().params()[i], cells[*cell as usize].value);
            if first != last {
                self.builder.set_role(i, InputRole::State);
                self.write_backs.push((i, self.values.len()));
                self.values.push(last);
            }
        }
    }
}

impl Interpreter for Tracer {
    fn name(&self) -> &'static str {
        "tracer"
    }

    fn bind(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<Outputs> {
        let _record = profile::timed(Bucket::Record);
        let _mask = door::without_engines();
        let mut state = self.state();
        if op.effect == Effect::Read {
            let source = self.variable(&mut state, args, 1)?;
            // What was read does not change when the variable does: the read is a cell of its own.
            let read = Cell { version: 0, view: None, ..state.cells[source as usize].clone() };
            let cell = state.new_cell(read);
            return Ok(Outputs::from_buf([self.tensor(&state, cell, origin)]));
        }
        let operands = self.operands(&mut state, args)?;
        let first = args.iter().flat_map(|a| a.tensors()).next();
        let first = first.map(|t| self.cell(&mut state, t)).transpose()?;
        let device = state.device(first, args)?;
        let outputs = state.emit(op, operands, origin)?;
        state.forget(&outputs, origin)?;
        let mut tensors = Outputs::new();
        for value in outputs {
            let ty = state.builder.graph().tensor_type(value)?.clone();
            let dims = extents(&ty)?;
            let mut cell = Cell {
                value,
                version: 0,
                view: None,
                dtype: ty.dtype,
                layout: Layout::contiguous(&dims),
                device,
            };
            if let (Effect::View(0), Some(base), Some(rest)) = (op.effect, first, hosts(args)) {
                let info = &state.cells[base as usize];
                if let Some(layout) = view_layout(op, &rest, info.dtype, &info.layout, &dims) {
                    cell.layout = layout;
                    cell.view = Some(View { base, op, rest, seen: info.version, origin });
                }
            }
            let cell = state.new_cell(cell);
            tensors.push(self.tensor(&state, cell, origin));
        }
        Ok(tensors)
    }

    fn observe(&self, tensor: &Tensor, what: Observe, origin: Origin) -> Result<Tensor> {
        let mut state = self.state();
        let cell = self.cell(&mut state, tensor)?;
        let value = state.read(cell)?;
        let ty = tensor.tensor_type();
        let example = state.examples.get(&value).cloned();
        match (what, example) {
            (Observe::Extent(_), example) => {
                // Extents of a capture are the surroundings' own, which no call changes.
                if let Some(example) = example.filter(|_| !state.is_captured(value)) {
                    let warning = Warning::of(what, ty, &example, origin)?;
                    if state.warnings.last() != Some(&warning) {
                        state.warnings.push(warning);
                    }
                }
                Ok(tensor.clone())
            }
            (Observe::Values | Observe::Truth, Some(example)) => {
                state.warnings.push(Warning::of(what, ty, &example, origin)?);
                Ok(example)
            }
            (Observe::Values | Observe::Truth, None) => {
                let (what, hint) = match what {
                    Observe::Truth => ("the truth", "use `cond` or `while_loop`, or decide outside"),
                    Observe::Values | Observe::Extent(_) => (
                        "the values",
                        "compute with tensor operations, or return the tensor and read it outside",
                    ),
                };
                let message = format!("{what} of {ty} are not known while the function is staged");
                Err(Error::new(ErrorKind::Trace, message).hint(hint).at(origin))
            }
        }
    }

    fn mutate(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<()> {
        let _record = profile::timed(Bucket::Record);
        let _mask = door::without_engines();
        let mut state = self.state();
        if op.effect == Effect::Write {
            let target = self.variable(&mut state, args, 2)?;
            let Some(Arg::Tensor(new)) = args.get(1) else {
                return Err(Error::internal("an assignment without value").in_op(op.name));
            };
            let new = self.cell(&mut state, new)?;
            let value = state.read(new)?;
            return state.write(target, value, origin);
        }
        let Some(Arg::Tensor(target)) = args.first() else {
            return Err(Error::value("an in-place operation needs a tensor to write to").in_op(op.name));
        };
        let operands = self.operands(&mut state, args)?;
        let target_cell = self.cell(&mut state, target)?;
        let value = state.emit1(op, operands, origin)?;
        let ty = state.builder.graph().tensor_type(value)?.clone();
        if ty != target.tensor_type() {
            let message = format!("the result {ty} does not fit into {}", target.tensor_type());
            return Err(Error::new(ErrorKind::InPlace, message));
        }
        let value = match state.is_quiet() {
            true => {
                let old = state.read(target_cell)?;
                state.data(old, value, origin)?
            }
            false => value,
        };
        state.write(target_cell, value, origin)
    }

    fn call(&self, callable: &Arc<dyn Callable>, args: &[Tensor], origin: Origin) -> Result<Outputs> {
        let types: Vec<TensorType> = args.iter().map(Tensor::tensor_type).collect();
        let types = match callable.infer(&types) {
            Ok(types) => types,
            // A region whose types are not known before it runs is recorded by running it.
            Err(e) if e.kind() == ErrorKind::Trace => {
                let me = self.me.upgrade().expect("invariant: the door holds the tracer that it calls");
                let _scope = door::enter(me);
                return callable.run(args);
            }
            Err(e) => return Err(e),
        };
        let _mask = door::without_engines();
        let mut state = self.state();
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            let cell = self.cell(&mut state, arg)?;
            values.push(state.read(cell)?);
        }
        let device = match args.first() {
            Some(first) => first.device(),
            None => DeviceId::Cpu,
        };
        let examples: Option<Vec<Tensor>> = values.iter().map(|v| state.examples.get(v).cloned()).collect();
        let examples = match (self.mode, examples) {
            (Mode::Along, Some(args)) => Some(door::call(callable, &args, origin)?),
            (Mode::Along | Mode::Staged, _) => None,
        };
        let operands = values.into_iter().map(Operand::Value).collect();
        let graph_types: Vec<Type> = types.iter().cloned().map(Type::Tensor).collect();
        let node = state.builder.node(
            NodeKind::Call(callable.clone()),
            operands,
            Vec::new(),
            &graph_types,
            Some(origin),
        );
        let outputs = state.builder.outputs(node).to_vec();
        if let Some(examples) = examples {
            state.examples.extend(outputs.iter().copied().zip(examples));
        }
        let mut tensors = Outputs::new();
        for (value, ty) in outputs.into_iter().zip(types) {
            debug_assert_eq!(state.builder.graph().ty(value), &Type::Tensor(ty));
            tensors.push(self.wrap(&mut state, value, device, origin)?);
        }
        Ok(tensors)
    }
}
