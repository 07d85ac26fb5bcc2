//! What a tracer has recorded so far: the graph, the cells, what was captured, and the examples.

use super::cells::{Cell, Place, View};
use super::scatter::{Emit, scatter};
use super::tracer::Mode;
use super::{Source, Warning};
use crate::build::Builder;
use crate::host::Item;
use crate::interpret::Operands;
use crate::ir::{InputRole, Operand, Type, ValueId};
use kernels::Layout;
use runtime::device::DeviceId;
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::infer::TensorType;
use runtime::table::OpDef;
use runtime::tensor::Tensor;
use runtime::value::Arg;
use runtime::{door, ops};
use std::collections::{HashMap, HashSet};

/// What a tracer has recorded so far.
pub(super) struct State {
    pub(super) builder: Builder,
    pub(super) mode: Mode,
    pub(super) cells: Vec<Cell>,
    /// Cell of each input; the input's own value is its parameter.
    pub(super) inputs: Vec<(u32, Source)>,
    pub(super) places: HashMap<Place, u32>,
    pub(super) variables: HashMap<u64, u32>,
    pub(super) examples: HashMap<ValueId, Tensor>,
    pub(super) warnings: Vec<Warning>,
    /// What was computed under `no_grad`: gradients end where something else reads it.
    unrecorded: HashSet<ValueId>,
    /// Whether the `no_grad` that is in force was reported as forgotten.
    forgotten: bool,
    /// Cells that may be one memory: what a branch or loop gave, and what it may have handed through.
    links: Vec<(u32, u32)>,
    /// Cells that may have been written through another one.
    pub(super) stale: HashSet<u32>,
}

impl State {
    /// An empty graph.
    pub(super) fn new(name: &str, mode: Mode) -> State {
        State {
            builder: Builder::new(name),
            mode,
            cells: Vec::new(),
            inputs: Vec::new(),
            places: HashMap::new(),
            variables: HashMap::new(),
            examples: HashMap::new(),
            warnings: Vec::new(),
            unrecorded: HashSet::new(),
            forgotten: false,
            links: Vec::new(),
            stale: HashSet::new(),
        }
    }

    /// Whether what is recorded now has no history. A trace along an example forgets `no_grad`, as torch.jit.trace does.
    pub(super) fn is_quiet(&self) -> bool {
        self.mode == Mode::Staged && !door::grad_mode()
    }

    /// Notes which values have no history: those that are computed under `no_grad`, or of such values without being read by
    /// the program.
    pub(super) fn note(&mut self, values: &[ValueId], of_unrecorded: bool) {
        if of_unrecorded || self.is_quiet() {
            let graph = self.builder.graph();
            let float = |v: &&ValueId| matches!(graph.ty(**v), Type::Tensor(ty) if ty.dtype.is_float());
            self.unrecorded.extend(values.iter().filter(float));
        }
    }

    /// Whether a value has no history.
    pub(super) fn is_unrecorded(&self, value: ValueId) -> bool {
        self.unrecorded.contains(&value)
    }

    /// Warns of the first operation of each stretch under `no_grad` that a trace along an example takes for any other.
    pub(super) fn forget(&mut self, outputs: &[ValueId], origin: Origin) -> Result<()> {
        let float =
            |v: &&ValueId| matches!(self.builder.graph().ty(**v), Type::Tensor(ty) if ty.dtype.is_float());
        let first = outputs.iter().find(float).filter(|_| self.mode == Mode::Along && !door::grad_mode());
        if let Some(&first) = first.filter(|_| !self.forgotten) {
            let ty = self.builder.graph().tensor_type(first)?.clone();
            self.warnings.push(Warning::of_no_grad(ty, origin));
        }
        self.forgotten = first.is_some();
        Ok(())
    }

    /// `old` with other elements and its own history.
    pub(super) fn data(&mut self, old: ValueId, new: ValueId, origin: Origin) -> Result<ValueId> {
        let value = self.emit1(&ops::SET_DATA, vec![Operand::Value(old), Operand::Value(new)], origin)?;
        if !self.unrecorded.contains(&old) {
            self.unrecorded.remove(&value);
        }
        Ok(value)
    }

    pub(super) fn input(
        &mut self,
        ty: &TensorType,
        device: DeviceId,
        layout: Layout,
        source: Source,
        name: &str,
        example: Option<Tensor>,
    ) -> u32 {
        let role = match source {
            Source::Argument(_) => InputRole::Argument,
            Source::Tensor(_) | Source::Variable(_) => InputRole::Captured,
        };
        let value = self.builder.input(Type::Tensor(ty.clone()), role, name);
        if let Some(example) = example {
            self.examples.insert(value, example);
        }
        let cell = self.new_cell(Cell { value, version: 0, view: None, dtype: ty.dtype, layout, device });
        self.inputs.push((cell, source));
        cell
    }

    pub(super) fn new_cell(&mut self, cell: Cell) -> u32 {
        self.cells.push(cell);
        self.cells.len() as u32 - 1
    }

    /// Whether a value is that of a captured tensor or Variable.
    pub(super) fn is_captured(&self, value: ValueId) -> bool {
        let graph = self.builder.graph();
        let at = graph.params().iter().position(|&p| p == value);
        at.is_some_and(|i| !matches!(self.inputs[i].1, Source::Argument(_)))
    }

    /// Cell and parameter of each input.
    pub(super) fn captures(&self) -> Vec<(u32, ValueId)> {
        let params = self.builder.graph().params();
        self.inputs.iter().zip(params).map(|((cell, _), &param)| (*cell, param)).collect()
    }

    /// The input for a tensor of the surroundings, which lies so in this memory.
    pub(super) fn capture(
        &mut self,
        tensor: &Tensor,
        storage: usize,
        layout: &Layout,
        detached: bool,
    ) -> Result<u32> {
        let place = Place {
            storage,
            offset: layout.offset,
            shape: layout.shape.to_vec(),
            strides: layout.strides.to_vec(),
            dtype: tensor.dtype(),
            detached,
        };
        if let Some(&cell) = self.places.get(&place) {
            return Ok(cell);
        }
        let written = |cell: u32| self.cells[cell as usize].version > 0;
        if self.places.iter().any(|(p, &other)| p.storage == storage && written(other)) {
            return Err(shared());
        }
        let example = (self.mode == Mode::Along).then(|| tensor.clone());
        let ty = tensor.tensor_type();
        let source = Source::Tensor(tensor.clone());
        let cell = self.input(&ty, tensor.device(), layout.clone(), source, "", example);
        self.places.insert(place, cell);
        Ok(cell)
    }

    /// The present value of a cell; a view of a base that was written is taken anew.
    pub(super) fn read(&mut self, cell: u32) -> Result<ValueId> {
        // From the cell down to its base, then back up.
        let mut chain = vec![cell];
        while let Some(view) = &self.cells[chain[chain.len() - 1] as usize].view {
            chain.push(view.base);
        }
        for &at in chain.iter().rev() {
            let Some(view) = self.cells[at as usize].view.clone() else { continue };
            let base = &self.cells[view.base as usize];
            let (value, version) = (base.value, base.version);
            if view.seen != version {
                let value = self.emit1(view.op, view.operands(value), view.origin)?;
                let cell = &mut self.cells[at as usize];
                cell.value = value;
                cell.version += 1;
                cell.view = Some(View { seen: version, ..view });
            }
        }
        if chain.last().is_some_and(|root| self.stale.contains(root)) {
            return Err(handed_through());
        }
        let value = self.cells[cell as usize].value;
        if self.unrecorded.contains(&value) && door::grad_mode() {
            let detached = self.builder.op(&ops::DETACH, vec![Operand::Value(value)], None)?;
            return detached.first().copied().ok_or_else(|| Error::internal("a detach has no output"));
        }
        Ok(value)
    }

    /// Gives a cell another value, and the cells that it looks at.
    pub(super) fn write(&mut self, cell: u32, value: ValueId, origin: Origin) -> Result<()> {
        let (mut at, mut value) = (cell, value);
        loop {
            let written = &mut self.cells[at as usize];
            written.value = value;
            written.version += 1;
            let Some(view) = written.view.clone() else {
                self.outdate(at);
                return self.alone(at, origin);
            };
            let shape = written.layout.shape.clone();
            let base = &self.cells[view.base as usize];
            let (old, dims, dtype, version) =
                (base.value, base.layout.shape.clone(), base.dtype, base.version);
            let layout = view
                .layout(dtype, &Layout::contiguous(&dims), &shape)
                .ok_or_else(|| Error::internal("a dense tensor has no such view").in_op(view.op.name))?;
            let detached = std::ptr::eq(view.op, &ops::DETACH);
            value = scatter(self, old, &dims, &layout, value, origin)?;
            if detached {
                value = self.data(old, value, origin)?;
            }
            // The base's version is about to grow by one; this view has already seen it.
            self.cells[at as usize].view = Some(View { seen: version + 1, ..view.clone() });
            at = view.base;
        }
    }

    /// The cell whose memory a cell shows.
    pub(super) fn root(&self, mut cell: u32) -> u32 {
        while let Some(view) = &self.cells[cell as usize].view {
            cell = view.base;
        }
        cell
    }

    /// Notes that two cells may be one memory: reading one after the other was written is an error from then on.
    pub(super) fn link(&mut self, a: u32, b: u32) {
        let link = (self.root(a), self.root(b));
        if link.0 != link.1 && !self.links.contains(&link) {
            self.links.push(link);
        }
    }

    /// A cell was written: those that may be its memory are not known any more.
    fn outdate(&mut self, root: u32) {
        for &(a, b) in &self.links {
            if a == root || b == root {
                self.stale.insert(if a == root { b } else { a });
            }
        }
    }

    /// Whether a cell is an input's.
    pub(super) fn is_input(&self, cell: u32) -> bool {
        self.inputs.iter().any(|(input, _)| *input == cell)
    }

    /// An error where an input may have been written through another cell, so that its new value is not known.
    pub(super) fn check_inputs(&self) -> Result<()> {
        if self.inputs.iter().any(|(cell, _)| self.stale.contains(cell)) {
            Err(handed_through())
        } else {
            Ok(())
        }
    }

    /// A written capture must not share its memory with another capture: what that one would see is not tracked.
    fn alone(&self, cell: u32, origin: Origin) -> Result<()> {
        let place = |c: u32| self.places.iter().find(|(_, at)| **at == c).map(|(p, _)| p.storage);
        let Some(storage) = place(cell) else { return Ok(()) };
        if self.places.iter().any(|(p, &other)| p.storage == storage && other != cell) {
            return Err(shared().at(origin));
        }
        Ok(())
    }

    /// Adds an op; along an example, the op also runs.
    pub(super) fn emit(
        &mut self,
        op: &'static OpDef,
        operands: Vec<Operand>,
        origin: Origin,
    ) -> Result<Vec<ValueId>> {
        let example = match self.mode {
            Mode::Along => {
                let example = |v| self.examples.get(&v).cloned().map(Item::Tensor);
                let held = Operands::of(&operands, |v| {
                    example(v).ok_or_else(|| Error::internal("a value without example"))
                })?;
                Some(door::bind(op, &held.args(), origin)?)
            }
            Mode::Staged => None,
        };
        let of_unrecorded = operands.iter().flat_map(Operand::values).any(|v| self.unrecorded.contains(v));
        let outputs = self.builder.op(op, operands, Some(origin))?;
        self.note(&outputs, of_unrecorded);
        if let Some(example) = example {
            self.examples.extend(outputs.iter().copied().zip(example));
        }
        Ok(outputs)
    }

    pub(super) fn device(&self, cells: impl IntoIterator<Item = u32>, args: &[Arg]) -> Result<DeviceId> {
        if let Some(cell) = cells.into_iter().next() {
            return Ok(self.cells[cell as usize].device);
        }
        match args.last() {
            Some(Arg::Str(name)) => DeviceId::parse(name),
            _ => Ok(DeviceId::Cpu),
        }
    }
}

impl Emit for State {
    fn emit1(&mut self, op: &'static OpDef, operands: Vec<Operand>, origin: Origin) -> Result<ValueId> {
        let outputs = self.emit(op, operands, origin)?;
        outputs.first().copied().ok_or_else(|| Error::internal("no output").in_op(op.name))
    }

    fn constant(&mut self, tensor: Tensor, origin: Origin) -> ValueId {
        let value = self.builder.constant(tensor.clone(), Some(origin));
        if self.mode == Mode::Along {
            self.examples.insert(value, tensor);
        }
        value
    }

    /// The device of a value, as far as cells tell; constants go there.
    fn device_of(&self, value: ValueId) -> DeviceId {
        self.cells.iter().rev().find(|c| c.value == value).map_or(DeviceId::Cpu, |c| c.device)
    }
}

#[cold]
fn handed_through() -> Error {
    let message =
        "a tensor is read that was written under another name, if a branch or loop handed it through";
    Error::new(ErrorKind::Trace, message)
        .hint("a staged branch gives new tensors; write to a copy: 'y = y.clone()' before 'y.add_(...)'")
}

fn shared() -> Error {
    let message = "a captured tensor is written that shares its memory with another captured tensor";
    Error::new(ErrorKind::Trace, message).hint("make the view inside the traced function")
}
