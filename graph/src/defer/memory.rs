//! What tensors stand for while operations are deferred: cells. A cell is memory with one value at a time: promised memory,
//! memory that is there, or an argument. Tensors over it differ in layout; each layout other than the cell's own was made by
//! a view op, which is repeated when the cell was written since.

use super::program::Program;
use crate::ir::{Operand, ValueId};
use crate::trace::{Emit, scatter};
use kernels::{DType, Layout};
use runtime::DeviceId;
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::ops;
use runtime::pending::Pending;
use runtime::run;
use runtime::shared::{Shared, Weak};
use runtime::table::OpDef;
use runtime::tensor::{Payload, Tensor, flags};
use runtime::value::{Arg, Host};
use smallvec::SmallVec;
use std::collections::HashMap;

/// Whose memory a cell is.
pub(super) enum Held {
    /// Promised to whoever holds this.
    Promise(Weak<Pending>),
    /// In memory.
    Memory(Tensor),
    /// In memory, known to the program by a stand-in.
    Argument(Tensor, Shared<Pending>),
}

/// Memory with one value at a time.
pub(super) struct Cell {
    pub(super) held: Held,
    /// Its value, and the one that it came in with.
    pub(super) value: ValueId,
    pub(super) first: ValueId,
    pub(super) layout: Layout,
    pub(super) dtype: DType,
    pub(super) device: DeviceId,
    writes: u32,
    views: Vec<View>,
}

impl Cell {
    /// Whether it was written since it came in.
    pub(super) fn written(&self) -> bool {
        self.value != self.first
    }
}

/// A view op with its operands after the first.
#[derive(Clone, Debug)]
pub(crate) struct ViewStep {
    pub(crate) op: &'static OpDef,
    pub(crate) rest: Vec<Host>,
    pub(crate) origin: Origin,
}

/// A layout over a cell.
struct View {
    layout: Layout,
    /// What it is a view of: another view, or the cell itself.
    parent: Option<usize>,
    step: ViewStep,
    value: ValueId,
    /// The cell's writes when the value was taken.
    seen: u32,
    /// Whether gradients end on the way to it. A detached tensor has the memory and the layout of what it was made of; that
    /// it requires no gradient is what tells them apart.
    detached: bool,
}

/// Where a tensor is found: a cell, and the view of it.
pub(super) type Place = (usize, Option<usize>);

/// What is known of a tensor.
pub(super) enum Found {
    /// It is in a cell.
    At(Place),
    /// It was not met yet.
    New,
    /// Its memory was written through a cell with which it shares no layout.
    Clash,
}

/// The number of the first argument's stand-in; arguments are the first cells of every part. Promises have numbers below.
pub(super) const FIRST_ARGUMENT: u64 = 1 << 63;

/// What has been deferred, with the memory that it is about.
#[derive(Default)]
pub(super) struct State {
    pub(super) program: Program,
    pub(super) cells: Vec<Cell>,
    /// The cells of memory that is there.
    storages: HashMap<usize, SmallVec<[usize; 1]>>,
    /// Where the part runs.
    pub(super) device: Option<DeviceId>,
    /// Cell of each input.
    pub(super) sources: Vec<usize>,
    /// Added to a promise's number, so that numbers of different parts differ.
    pub(super) base: u64,
    /// What was known of memory in earlier parts, by its address: a tensor that is a view of it is met as one again.
    known: HashMap<usize, SmallVec<[Known; 1]>>,
}

/// What was known of memory: the tensor that its cell was about, and the views of that.
struct Known {
    base: Tensor,
    views: Vec<View>,
}

impl State {
    /// Where a tensor is.
    pub(super) fn find(&self, tensor: &Tensor) -> Found {
        if let Some(pending) = tensor.pending() {
            return match self.promised(pending, tensor.layout(), !is_tracked(tensor)) {
                Some(place) => Found::At(place),
                None => Found::Clash,
            };
        }
        let Ok(storage) = tensor.storage() else { return Found::New };
        let Some(cells) = self.storages.get(&storage.address()) else { return Found::New };
        for &at in cells {
            if self.cells[at].dtype == tensor.dtype()
                && let Some(place) = self.layout(at, tensor.layout(), !is_tracked(tensor))
            {
                return Found::At(place);
            }
        }
        if cells.iter().any(|&at| self.cells[at].written()) { Found::Clash } else { Found::New }
    }

    fn promised(&self, pending: &Shared<Pending>, layout: &Layout, detached: bool) -> Option<Place> {
        let at = match pending.number().checked_sub(FIRST_ARGUMENT) {
            Some(argument) => argument,
            None => pending.number().checked_sub(self.base)?,
        };
        let at = usize::try_from(at).ok().filter(|&at| at < self.cells.len())?;
        self.layout(at, layout, detached)
    }

    /// What has this layout over a cell; where both are there, the detached one or the other.
    fn layout(&self, at: usize, layout: &Layout, detached: bool) -> Option<Place> {
        let cell = &self.cells[at];
        let view = |detached: bool| {
            let found = cell.views.iter().position(|v| v.layout == *layout && v.detached == detached);
            found.map(|view| (at, Some(view)))
        };
        let attached = || (cell.layout == *layout).then_some((at, None)).or_else(|| view(false));
        if detached { view(true).or_else(attached) } else { attached().or_else(|| view(true)) }
    }

    /// The place of a tensor; one that was not met yet becomes an input.
    pub(super) fn place(&mut self, tensor: &Tensor) -> Result<Place> {
        match self.find(tensor) {
            Found::At(place) => Ok(place),
            Found::New => {
                let storage = tensor.storage()?;
                let address = storage.address();
                let Some((base, views)) = self.remembered(tensor)? else {
                    let at = self.input(Held::Memory(tensor.clone()), tensor.layout().clone())?;
                    self.storages.entry(address).or_default().push(at);
                    return Ok((at, None));
                };
                let layout = base.layout().clone();
                let at = self.input(Held::Memory(base), layout)?;
                self.cells[at].views = views;
                self.storages.entry(address).or_default().push(at);
                let lost = || Error::internal("a view that was remembered is none");
                self.layout(at, tensor.layout(), !is_tracked(tensor)).ok_or_else(lost)
            }
            Found::Clash => Err(Error::internal("a tensor of memory that was written elsewhere")),
        }
    }

    /// The memory of an earlier part of which a tensor is a view, with what is known to be a view of it.
    fn remembered(&mut self, tensor: &Tensor) -> Result<Option<(Tensor, Vec<View>)>> {
        let Some(all) = self.known.get_mut(&tensor.storage()?.address()) else { return Ok(None) };
        let shows = |known: &Known| {
            let view = || known.views.iter().any(|view| view.layout == *tensor.layout());
            known.base.dtype() == tensor.dtype() && (known.base.layout() == tensor.layout() || view())
        };
        let found = all.iter().position(shows).map(|found| all.swap_remove(found));
        Ok(found.map(|known| (known.base, known.views)))
    }

    /// A cell for memory that is there.
    pub(super) fn input(&mut self, held: Held, layout: Layout) -> Result<usize> {
        let (ty, device) = match &held {
            Held::Memory(t) | Held::Argument(t, _) => (t.tensor_type(), t.device()),
            Held::Promise(_) => return Err(Error::internal("what is promised is computed, not taken in")),
        };
        let dtype = ty.dtype;
        let value = self.program.input(ty);
        self.device.get_or_insert(device);
        self.sources.push(self.cells.len());
        self.cells.push(Cell {
            held,
            value,
            first: value,
            layout,
            dtype,
            device,
            writes: 0,
            views: Vec::new(),
        });
        Ok(self.cells.len() - 1)
    }

    /// A cell for a value that was computed.
    pub(super) fn promise(&mut self, held: Held, value: ValueId, device: DeviceId) -> Result<Layout> {
        let ty = self.program.ty(value);
        let (layout, dtype) = (Layout::contiguous(&ty.constant_dims()?), ty.dtype);
        let views = Vec::new();
        let cell =
            Cell { held, value, first: value, layout: layout.clone(), dtype, device, writes: 0, views };
        self.cells.push(cell);
        Ok(layout)
    }

    /// The present value at a place.
    pub(super) fn read(&mut self, (at, view): Place) -> Result<ValueId> {
        let Some(view) = view else { return Ok(self.cells[at].value) };
        let mut chain: SmallVec<[usize; 4]> = SmallVec::new();
        let mut next = Some(view);
        while let Some(i) = next {
            chain.push(i);
            next = self.cells[at].views[i].parent;
        }
        let writes = self.cells[at].writes;
        let mut value = self.cells[at].value;
        for &i in chain.iter().rev() {
            let known = &self.cells[at].views[i];
            if known.seen == writes {
                value = known.value;
                continue;
            }
            let mut operands = vec![Operand::Value(value)];
            operands.extend(known.step.rest.iter().cloned().map(Operand::Host));
            let (op, origin) = (known.step.op, known.step.origin);
            value = self.program.emit1(op, operands, origin)?;
            let known = &mut self.cells[at].views[i];
            (known.value, known.seen) = (value, writes);
        }
        Ok(value)
    }

    /// Notes that `value`, made by a view op of what is at a place, has this layout over the same memory.
    pub(super) fn view(&mut self, (at, parent): Place, layout: &Layout, step: ViewStep, value: ValueId) {
        let cell = &mut self.cells[at];
        let detached = is_detach(&step) || parent.is_some_and(|p| cell.views[p].detached);
        let own = !detached && cell.layout == *layout;
        if !own && !cell.views.iter().any(|v| v.layout == *layout && v.detached == detached) {
            let (layout, seen) = (layout.clone(), cell.writes);
            cell.views.push(View { layout, parent, step, value, seen, detached });
        }
    }

    /// Gives what is at a place another value, and with it the memory around.
    pub(super) fn write(&mut self, (at, view): Place, value: ValueId, origin: Origin) -> Result<()> {
        let cell = &self.cells[at];
        let (base, dims) = (cell.value, cell.layout.shape.clone());
        let whole = match view {
            None => value,
            Some(i) => {
                let layout = cell.views[i].layout.clone();
                let device = cell.device;
                let mut out = Emitter { program: &mut self.program, device, constants: Vec::new() };
                let whole = scatter(&mut out, base, &dims, &layout, value, origin)?;
                let constants = out.constants;
                for (tensor, value) in constants {
                    self.constant(tensor, value);
                }
                // A write through `detach` changes elements, not whose gradient flows where.
                if self.cells[at].views[i].detached { self.data(base, whole, origin)? } else { whole }
            }
        };
        let cell = &mut self.cells[at];
        cell.value = whole;
        cell.writes += 1;
        if let Some(i) = view {
            (cell.views[i].value, cell.views[i].seen) = (value, cell.writes);
        }
        Ok(())
    }

    /// `old` with other elements and its own history.
    pub(super) fn data(&mut self, old: ValueId, new: ValueId, origin: Origin) -> Result<ValueId> {
        self.program.emit1(&ops::SET_DATA, vec![Operand::Value(old), Operand::Value(new)], origin)
    }

    /// A tensor of a rule's own: an input whose value was given when it was asked for.
    fn constant(&mut self, tensor: Tensor, value: ValueId) {
        let (layout, dtype, device) = (tensor.layout().clone(), tensor.dtype(), tensor.device());
        self.sources.push(self.cells.len());
        let held = Held::Memory(tensor);
        self.cells.push(Cell {
            held,
            value,
            first: value,
            layout,
            dtype,
            device,
            writes: 0,
            views: Vec::new(),
        });
    }

    /// Whether memory may be written later instead of now: it is dense and whole, and nobody knows it in another form.
    pub(super) fn may_defer(&self, (at, _): Place) -> bool {
        match &self.cells[at].held {
            Held::Promise(_) => true,
            Held::Argument(tensor, _) => tensor.is_contiguous(),
            Held::Memory(tensor) => tensor.storage().is_ok_and(|storage| {
                let whole = tensor.numel() * tensor.dtype().size() == storage.bytes();
                let alone = self.storages.get(&storage.address()).is_none_or(|cells| cells.len() == 1);
                whole && alone && tensor.is_contiguous() && tensor.layout().offset == 0
            }),
        }
    }

    /// Counts a write where autograd looks for it.
    pub(super) fn bump(&self, target: &Tensor) -> Result<()> {
        match target.payload() {
            Payload::Pending(pending) if pending.is_open() => pending.bump_version(),
            Payload::Pending(_) | Payload::Storage(_) => target.storage()?.bump_version(),
            Payload::Traced(_) => return Err(Error::internal("a traced tensor in a deferred write")),
        }
        Ok(())
    }

    /// The tensor in memory that a stand-in of an argument stands for; its writes have been carried out.
    pub(super) fn stands_for(&self, pending: &Shared<Pending>, layout: &Layout) -> Result<Tensor> {
        let lost = || Error::internal("a deferred tensor has neither memory nor a cell");
        let (at, view) = self.promised(pending, layout, false).ok_or_else(lost)?;
        let Held::Argument(tensor, _) = &self.cells[at].held else { return Err(lost()) };
        let mut seen = tensor.alias();
        for step in self.steps(at, view) {
            let mut args: SmallVec<[Arg; 4]> = SmallVec::new();
            args.push(Arg::Tensor(&seen));
            args.extend(step.rest.iter().map(Host::as_arg));
            let made = run::run(step.op, &args)?.pop().ok_or_else(lost)?;
            drop(args);
            seen = made;
        }
        Ok(seen)
    }

    /// The view ops from a cell to a view of it that lead to the same memory; detaching does not lead elsewhere.
    fn steps(&self, at: usize, view: Option<usize>) -> Vec<ViewStep> {
        let views = &self.cells[at].views;
        let mut chain = Vec::new();
        let mut next = view;
        while let Some(i) = next {
            if !is_detach(&views[i].step) {
                chain.push(views[i].step.clone());
            }
            next = views[i].parent;
        }
        chain.reverse();
        chain
    }

    /// Every layout over a cell but its own, with the view ops that lead there.
    pub(super) fn views(&self, at: usize) -> Vec<(Layout, Vec<ViewStep>)> {
        let own = &self.cells[at].layout;
        let views = self.cells[at].views.iter().enumerate().filter(|(_, view)| view.layout != *own);
        views.map(|(i, view)| (view.layout.clone(), self.steps(at, Some(i)))).collect()
    }

    /// The argument that a stand-in is or looks at, with the view ops that lead there.
    pub(super) fn argument(&self, tensor: &Tensor) -> Option<(usize, Vec<ViewStep>)> {
        let (at, view) = self.promised(tensor.pending()?, tensor.layout(), false)?;
        matches!(self.cells[at].held, Held::Argument(..)).then(|| (at, self.steps(at, view)))
    }

    /// Forgets the part; arguments stay, with their views. So do the views of other memory, if they are to be `remembered`.
    pub(super) fn restart(&mut self, remembered: bool) -> Result<()> {
        let base = self.base + self.cells.len() as u64;
        let known = std::mem::take(&mut self.known);
        let old = std::mem::replace(self, State { base, known, ..State::default() });
        for cell in old.cells {
            let Cell { held, layout, dtype, views, .. } = cell;
            let views = views.into_iter().map(|v| View { seen: u32::MAX, ..v });
            let base = match held {
                Held::Argument(..) => {
                    let at = self.input(held, layout)?;
                    self.cells[at].views = views.collect();
                    continue;
                }
                _ if !remembered || views.len() == 0 => continue,
                Held::Memory(tensor) => tensor,
                Held::Promise(promise) => {
                    let Some(promise) = promise.upgrade() else { continue };
                    let Ok(storage) = promise.storage() else { continue };
                    Tensor::from_storage(storage.clone(), dtype, layout)
                }
            };
            let address = base.storage()?.address();
            self.known.entry(address).or_default().push(Known { base, views: views.collect() });
        }
        Ok(())
    }

    /// Whether a tensor in memory has a write that was not carried out.
    pub(super) fn is_written(&self, tensor: &Tensor) -> bool {
        let cells = tensor.storage().ok().and_then(|s| self.storages.get(&s.address()));
        cells.is_some_and(|cells| cells.iter().any(|&at| self.cells[at].written()))
    }
}

/// Adds the operations of a write through a view.
struct Emitter<'a> {
    program: &'a mut Program,
    device: DeviceId,
    constants: Vec<(Tensor, ValueId)>,
}

impl Emit for Emitter<'_> {
    fn emit1(&mut self, op: &'static OpDef, operands: Vec<Operand>, origin: Origin) -> Result<ValueId> {
        self.program.emit1(op, operands, origin)
    }

    fn constant(&mut self, tensor: Tensor, _: Origin) -> ValueId {
        let value = self.program.input(tensor.tensor_type());
        self.constants.push((tensor, value));
        value
    }

    fn device_of(&self, _: ValueId) -> DeviceId {
        self.device
    }
}

/// The error of a write to memory of which several elements are one.
#[cold]
pub(super) fn overlapping() -> Error {
    Error::new(ErrorKind::InPlace, "several elements of the target share one memory location")
        .hint("write into a contiguous copy instead of an expanded view")
}

fn is_detach(step: &ViewStep) -> bool {
    std::ptr::eq(step.op, &ops::DETACH)
}

/// Whether a gradient of the tensor is asked for.
pub(crate) fn is_tracked(tensor: &Tensor) -> bool {
    tensor.flags() & flags::TRACKED != 0
}
