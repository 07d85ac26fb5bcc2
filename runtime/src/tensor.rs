//! `Tensor`: one plain type with run-time dtype, rank and device. Cloning it copies a pointer.
//!
//! Its payload is storage on a device, storage that is still to be computed, or a traced value of some tracer. Every computation on it goes through the door.

use crate::device::{Device, DeviceId, RawBuffer};
use crate::door;
use crate::error::{Error, ErrorKind, Origin, Result};
use crate::infer::TensorType;
use crate::pending::Pending;
use crate::shared::{Shared, Weak};
use crate::slot::SlotCell;
use crate::value::Arg;
use kernels::{DType, Element, Layout};
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Memory of a device shared by a tensor and its views, with the version that in-place writes advance.
pub struct Storage {
    buffer: RawBuffer,
    device: &'static dyn Device,
    version: AtomicU32,
}

impl Storage {
    /// New memory with undefined contents.
    #[inline]
    pub fn new(device: &'static dyn Device, bytes: usize) -> Result<Shared<Storage>> {
        let buffer = device.alloc(bytes)?;
        Ok(Shared::new(Storage { buffer, device, version: AtomicU32::new(0) }))
    }

    /// Address of its first byte on its device.
    #[inline]
    pub fn pointer(&self) -> *mut u8 {
        self.buffer.pointer
    }

    /// Bytes asked for.
    pub fn bytes(&self) -> usize {
        self.buffer.bytes
    }

    /// Where it lies.
    #[inline]
    pub fn device(&self) -> &'static dyn Device {
        self.device
    }

    /// Number of in-place writes so far.
    #[inline]
    pub fn version(&self) -> u32 {
        self.version.load(Relaxed)
    }

    /// Notes an in-place write.
    #[inline]
    pub fn bump_version(&self) {
        self.version.fetch_add(1, Relaxed);
    }

    /// Takes the count of writes back to `version`, for an executor whose write was counted when it was asked for.
    pub fn restore_version(&self, version: u32) {
        self.version.store(version, Relaxed);
    }
}

impl Drop for Storage {
    #[inline]
    fn drop(&mut self) {
        self.device.free(self.buffer);
    }
}

/// What stands behind a tensor.
#[derive(Clone)]
pub enum Payload {
    /// Elements in memory.
    Storage(Shared<Storage>),
    /// Elements that an interpreter has deferred, in memory once it has settled them.
    Pending(Shared<Pending>),
    /// A value of a tracer that is recording.
    Traced(Traced),
}

/// A value of a tracer.
#[derive(Clone, Debug)]
pub struct Traced {
    /// Which tracer.
    pub tracer: u64,
    /// Which of its values.
    pub value: u32,
    /// The example's value, where the tracer runs along (trace); `None` where it only records (function).
    pub example: Option<Tensor>,
    /// The line that made it.
    pub origin: Origin,
}

/// The interpreter behind autograd slots; a static, so that a tensor can name it in one word.
pub type Engine = &'static dyn door::Interpreter;

/// A handle to an autograd slot.
pub type Slot = Shared<dyn AutogradSlot>;

/// What an autograd engine hangs on a tensor; opaque to the runtime. The engine that made it knows its type.
pub trait AutogradSlot: Any + Send + Sync {
    /// The interpreter that records operations on tensors with this slot.
    fn interpreter(&self) -> &'static Engine;
}

/// Bits of `Tensor::flags`.
pub mod flags {
    /// An autograd slot is attached.
    pub const TRACKED: u8 = 1;
    /// The payload is traced.
    pub const TRACED: u8 = 2;
    /// A view whose history follows in-place writes to its base.
    pub const VIEW: u8 = 4;
    /// The payload is pending.
    pub const PENDING: u8 = 8;
    /// One of several views that one call gave, or a view of one.
    pub const SIBLING: u8 = 16;
}

struct Inner {
    id: u64,
    dtype: DType,
    device: DeviceId,
    flags: AtomicU8,
    /// Whether the layout is contiguous, found out once.
    dense: bool,
    layout: Layout,
    numel: usize,
    payload: Payload,
    slot: SlotCell,
    /// The tensor that this one is a view of; never itself a view.
    base: Option<Tensor>,
}

/// An n-dimensional array.
#[derive(Clone)]
pub struct Tensor(Shared<Inner>);

thread_local! {
    static NEXT_ID: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}
static ID_BLOCK: AtomicU64 = AtomicU64::new(0);

/// A number that no other tensor has; threads take blocks of a million.
#[inline(always)]
fn next_id() -> u64 {
    let taken = NEXT_ID.try_with(|ids| {
        let (next, end) = ids.get();
        let (next, end) = if next == end { id_block() } else { (next, end) };
        ids.set((next + 1, end));
        next
    });
    taken.unwrap_or_else(|_| id_block().0)
}

#[cold]
fn id_block() -> (u64, u64) {
    let next = ID_BLOCK.fetch_add(1, Relaxed) << 20;
    (next, next + (1 << 20))
}

impl Tensor {
    /// A tensor over memory.
    #[inline]
    pub fn from_storage(storage: Shared<Storage>, dtype: DType, layout: Layout) -> Tensor {
        let dense = layout.is_contiguous();
        Tensor::from_parts(storage, dtype, layout, dense)
    }

    /// A tensor over memory whose layout is known to be contiguous or not.
    #[inline]
    pub(crate) fn from_parts(storage: Shared<Storage>, dtype: DType, layout: Layout, dense: bool) -> Tensor {
        let device = storage.device().id();
        Tensor(Shared::vacant().fill(Inner {
            id: next_id(),
            dtype,
            device,
            flags: AtomicU8::new(0),
            dense,
            numel: layout.numel(),
            layout,
            payload: Payload::Storage(storage),
            slot: SlotCell::new(),
            base: None,
        }))
    }

    /// A tensor of this type over new memory of the same device, with the extents of this dense one.
    #[inline(always)]
    pub(crate) fn dense_like(&self, storage: Shared<Storage>, dtype: DType) -> Tensor {
        let like = &*self.0;
        let mut tensor = Tensor(Shared::vacant().fill(Inner {
            id: next_id(),
            dtype,
            device: like.device,
            flags: AtomicU8::new(0),
            dense: true,
            numel: like.numel,
            layout: like.layout.clone(),
            payload: Payload::Storage(storage),
            slot: SlotCell::new(),
            base: None,
        }));
        if like.layout.offset != 0
            && let Some(inner) = tensor.0.get_mut()
        {
            inner.layout.offset = 0;
        }
        tensor
    }

    /// A tensor standing for a tracer's value of this type, which would lie so in memory (constant dimensions).
    pub fn from_traced(traced: Traced, dtype: DType, layout: Layout, device: DeviceId) -> Tensor {
        Tensor(Shared::vacant().fill(Inner {
            id: next_id(),
            dtype,
            device,
            flags: AtomicU8::new(flags::TRACED),
            dense: layout.is_contiguous(),
            numel: layout.numel(),
            layout,
            payload: Payload::Traced(traced),
            slot: SlotCell::new(),
            base: None,
        }))
    }

    /// A tensor over memory that is still to be computed.
    pub fn from_pending(pending: Shared<Pending>, dtype: DType, layout: Layout, device: DeviceId) -> Tensor {
        Tensor(Shared::vacant().fill(Inner {
            id: next_id(),
            dtype,
            device,
            flags: AtomicU8::new(flags::PENDING),
            dense: layout.is_contiguous(),
            numel: layout.numel(),
            layout,
            payload: Payload::Pending(pending),
            slot: SlotCell::new(),
            base: None,
        }))
    }

    /// New memory with undefined contents.
    pub fn empty(dims: &[usize], dtype: DType, device: DeviceId) -> Result<Tensor> {
        let bytes = dims.iter().try_fold(dtype.size(), |a, &b| a.checked_mul(b));
        let bytes = bytes.ok_or_else(|| {
            Error::new(
                ErrorKind::OutOfMemory,
                format!("a tensor of shape {dims:?} has more bytes than an address can count"),
            )
        })?;
        let storage = Storage::new(device.open()?, bytes)?;
        Ok(Tensor::from_storage(storage, dtype, Layout::contiguous(dims)))
    }

    /// A CPU tensor with these elements in row-major order.
    #[track_caller]
    pub fn from_slice<T: Element>(data: &[T], dims: &[usize]) -> Result<Tensor> {
        let n: usize = dims.iter().product();
        if n != data.len() {
            return Err(Error::shape(format!(
                "{} elements do not fill shape {dims:?} ({n} elements)",
                data.len()
            ))
            .in_op("from_slice")
            .at(Origin::caller()));
        }
        Tensor::from_bytes(bytemuck::cast_slice(data), dims, T::DTYPE)
    }

    /// A CPU tensor from the bytes of its elements in row-major order, native endianness.
    #[track_caller]
    pub fn from_bytes(data: &[u8], dims: &[usize], dtype: DType) -> Result<Tensor> {
        let tensor = Tensor::empty(dims, dtype, DeviceId::Cpu)?;
        if data.len() != tensor.numel() * dtype.size() {
            return Err(Error::shape(format!("{} bytes do not fill {dtype}{dims:?}", data.len()))
                .in_op("from_bytes")
                .at(Origin::caller()));
        }
        if dtype == DType::Bool && data.iter().any(|&b| b > 1) {
            return Err(Error::value("a bool element is neither 0 nor 1")
                .in_op("from_bytes")
                .at(Origin::caller()));
        }
        // SAFETY: the fresh storage has exactly this many bytes.
        unsafe { crate::cpu::CPU.copy_in(data, tensor.storage()?.pointer())? };
        Ok(tensor)
    }

    /// A CPU tensor of rank 0.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor::from_slice(&[value], &[]).expect("invariant: one element fills rank 0")
    }

    /// A number that tells this tensor from every other; clones share it.
    #[inline]
    pub fn id(&self) -> u64 {
        self.0.id
    }
    /// Element type.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }
    /// Where it lies.
    #[inline]
    pub fn device(&self) -> DeviceId {
        self.0.device
    }
    /// Extents and strides.
    #[inline]
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }
    /// Extents.
    #[inline]
    pub fn shape(&self) -> &[usize] {
        &self.0.layout.shape
    }
    /// Number of dimensions.
    #[inline]
    pub fn rank(&self) -> usize {
        self.0.layout.shape.len()
    }
    /// Number of elements.
    #[inline]
    pub fn numel(&self) -> usize {
        self.0.numel
    }
    /// Extent of dimension `dim`, which may be negative.
    pub fn size(&self, dim: i64) -> Result<usize> {
        let at = crate::infer::wrap_dim(dim, self.rank()).map_err(|e| e.in_op("size"))?;
        self.shape()
            .get(at)
            .copied()
            .ok_or_else(|| Error::index("a tensor of rank 0 has no dimensions").in_op("size"))
    }
    /// Whether the elements lie row-major without gaps.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.0.dense
    }
    /// Element type and extents.
    #[inline]
    pub fn tensor_type(&self) -> TensorType {
        TensorType::new(self.dtype(), self.shape())
    }
    /// What stands behind it.
    #[inline]
    pub fn payload(&self) -> &Payload {
        &self.0.payload
    }
    /// Its memory; an error for a traced tensor and for one whose elements are still to be computed.
    #[inline]
    pub fn storage(&self) -> Result<&Shared<Storage>> {
        match &self.0.payload {
            Payload::Storage(s) => Ok(s),
            Payload::Pending(p) => p.storage(),
            Payload::Traced(t) => Err(escaped(t)),
        }
    }
    /// The address of its first element; an error for a traced tensor.
    #[inline(always)]
    pub(crate) fn pointer(&self) -> Result<*mut u8> {
        let offset = self.0.layout.offset * self.0.dtype.size();
        Ok(self.storage()?.pointer().wrapping_add(offset))
    }
    /// The tracer's value behind it, if it is traced.
    #[inline]
    pub fn traced(&self) -> Option<&Traced> {
        match &self.0.payload {
            Payload::Traced(t) => Some(t),
            Payload::Storage(_) | Payload::Pending(_) => None,
        }
    }
    /// The memory behind it that is still to be computed, if it is.
    #[inline]
    pub fn pending(&self) -> Option<&Shared<Pending>> {
        match &self.0.payload {
            Payload::Pending(p) if p.is_open() => Some(p),
            Payload::Pending(_) | Payload::Storage(_) | Payload::Traced(_) => None,
        }
    }
    /// The bits of `flags`. A view of a tracked tensor is tracked: an in-place write through another view may have made
    /// its elements depend on something.
    #[inline]
    pub fn flags(&self) -> u8 {
        let own = self.0.flags.load(Relaxed);
        if own & (flags::VIEW | flags::PENDING) == 0 { own } else { self.more_flags(own) }
    }

    #[inline(never)]
    fn more_flags(&self, own: u8) -> u8 {
        let own = if self.pending().is_some() { own } else { own & !flags::PENDING };
        match &self.0.base {
            Some(base) if own & flags::VIEW != 0 => own | base.0.flags.load(Relaxed) & flags::TRACKED,
            _ => own,
        }
    }

    /// The tensor that this one is a view of, made by view ops with a gradient; never itself a view.
    #[inline]
    pub fn base(&self) -> Option<&Tensor> {
        self.0.base.as_ref()
    }

    /// This view as one of several that one call gave.
    pub(crate) fn sibling(self) -> Tensor {
        let bits = &self.0.flags;
        self.0.slot.with_lock(|| bits.store(bits.load(Relaxed) | flags::SIBLING, Relaxed));
        self
    }

    /// Lets the history of a view follow its base.
    pub fn follow_base(&self) {
        if self.0.base.is_some() {
            let bits = &self.0.flags;
            self.0.slot.with_lock(|| bits.store(bits.load(Relaxed) | flags::VIEW, Relaxed));
        }
    }
    /// In-place writes to its memory so far; 0 for traced tensors.
    #[inline]
    pub fn version(&self) -> u32 {
        match &self.0.payload {
            Payload::Storage(s) => s.version(),
            Payload::Pending(p) => p.version(),
            Payload::Traced(_) => 0,
        }
    }
    /// Whether both are the same tensor (not merely equal).
    pub fn same(&self, other: &Tensor) -> bool {
        self.0.same(&other.0)
    }
    /// A handle that does not keep the object alive.
    #[inline]
    pub fn downgrade(&self) -> WeakTensor {
        WeakTensor(self.0.downgrade())
    }
    /// Number of handles to this tensor object.
    pub fn handles(&self) -> usize {
        self.0.handles()
    }

    /// The autograd engine's slot.
    #[inline(always)]
    pub fn slot(&self) -> Option<Slot> {
        if self.flags() & flags::TRACKED == 0 {
            return None;
        }
        self.0.slot.get()
    }

    /// The interpreter that its autograd slot brings to the door.
    #[inline]
    pub fn engine(&self) -> Option<Engine> {
        if self.flags() & flags::TRACKED == 0 {
            return None;
        }
        self.0.slot.engine().or_else(|| self.base()?.engine())
    }

    /// Attaches, replaces or removes the autograd engine's slot.
    #[inline]
    pub fn set_slot(&self, slot: Option<Slot>) {
        let tracked = if slot.is_some() { flags::TRACKED } else { 0 };
        // Flags change nowhere else, so that a load and a store under the slot's lock do.
        let bits = &self.0.flags;
        self.0.slot.set(slot, || bits.store(bits.load(Relaxed) & !flags::TRACKED | tracked, Relaxed));
    }

    /// `set_slot` on a tensor that perhaps nobody else has seen yet, who then need not be kept out.
    #[inline(always)]
    pub fn attach_slot(&mut self, slot: Slot) {
        match self.0.get_mut() {
            Some(inner) => {
                *inner.flags.get_mut() |= flags::TRACKED;
                inner.slot.put(slot);
            }
            None => self.set_slot(Some(slot)),
        }
    }

    /// A view of this tensor: the same memory through another layout, and a memory of whose view it is.
    pub fn view_through(&self, layout: Layout) -> Result<Tensor> {
        let mut view = self.with_layout(layout)?;
        if let Some(inner) = view.0.get_mut() {
            inner.base = Some(self.base().unwrap_or(self).clone());
        }
        if door::grad_enabled() {
            view.follow_base();
        }
        let sibling = self.0.flags.load(Relaxed) & flags::SIBLING != 0;
        Ok(if sibling { view.sibling() } else { view })
    }

    /// The same memory seen through another layout; without slot, related to nothing. For executors.
    #[inline]
    pub fn with_layout(&self, layout: Layout) -> Result<Tensor> {
        if let Some(pending) = self.pending() {
            return Ok(Tensor::from_pending(pending.clone(), self.dtype(), layout, self.device()));
        }
        Ok(Tensor::from_storage(self.storage()?.clone(), self.dtype(), layout))
    }

    /// A new tensor object on the same memory without autograd history.
    pub fn alias(&self) -> Tensor {
        match &self.0.payload {
            Payload::Storage(s) => Tensor::from_storage(s.clone(), self.dtype(), self.layout().clone()),
            Payload::Pending(p) => {
                Tensor::from_pending(p.clone(), self.dtype(), self.layout().clone(), self.device())
            }
            Payload::Traced(t) => {
                Tensor::from_traced(t.clone(), self.dtype(), self.layout().clone(), self.device())
            }
        }
    }
}

/// A handle to a tensor object that does not keep it alive.
#[derive(Clone)]
pub struct WeakTensor(Weak<Inner>);

impl WeakTensor {
    /// The tensor, if somebody still holds it.
    #[inline]
    pub fn upgrade(&self) -> Option<Tensor> {
        self.0.upgrade().map(Tensor)
    }
}

impl fmt::Debug for Tensor {
    /// Type and payload; elements are shown by `Display`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tensor_type())?;
        match &self.0.payload {
            Payload::Traced(t) => write!(f, " traced %{}", t.value),
            Payload::Pending(p) if p.is_open() => f.write_str(" pending"),
            Payload::Pending(_) | Payload::Storage(_) => Ok(()),
        }
    }
}

impl<'a> From<&'a Tensor> for TensorType {
    fn from(t: &'a Tensor) -> TensorType {
        t.tensor_type()
    }
}

/// The error of a traced tensor that is used where its tracer is not recording.
#[cold]
pub fn escaped(traced: &Traced) -> Error {
    Error::new(ErrorKind::Trace, format!("traced value %{} has no elements here", traced.value)).hint(
        format!(
            "it was made at {} while tracing; return it from the traced function instead of keeping it",
            traced.origin
        ),
    )
}

/// Operand list for `bind` from tensors and host values.
pub type Args<'a, const N: usize> = [Arg<'a>; N];
