//! A compiled program: lists of decoded steps over numbered slots.
//!
//! A *slot* is where a value is found while a tile is computed: a pointer and whether it steps. A *buffer* is a piece
//! of scratch memory; several slots use one buffer at different times. Loads of contiguous data point their slot into
//! the tensor itself, and the last instruction before a store points its slot into the output, so neither costs a pass.

use super::kernel::Kernel;
use super::tables::reduce::Reducer;
use crate::cpu::native::Native;
use crate::dtype::{DType, Scalar};

/// Index of a slot.
pub(super) type SlotId = u16;
/// Index of a tile buffer, a row buffer or a reduction state, as the place of use says.
pub(super) type BufferId = u16;
/// No access, no slot.
pub(super) const NONE: u16 = u16::MAX;

/// One decoded instruction.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// A kernel over up to three slots. Absent operands repeat the first one.
    Compute {
        kernel: Kernel,
        args: [SlotId; 3],
        dst: SlotId,
        buffer: BufferId,
        direct: u16,
        round: Option<Kernel>,
    },
    /// A load without an index. With `copy` the slot does not point into the tensor, because a store may overwrite
    /// that before another store has read it; with `lines` it may point at the first of several lines that lie apart,
    /// because only reductions read it.
    Load { access: u16, dst: SlotId, buffer: BufferId, copy: bool, lines: bool },
    /// Adds a tile to a reduction.
    Reduce { reduction: u16, arg: SlotId },
    /// A store without an index that replaces.
    Store { access: u16, arg: SlotId },
    /// The result of a reduction. At row level only.
    Finish { reduction: u16, dst: SlotId, buffer: BufferId, round: Option<Kernel> },
    /// Many steps as machine code.
    Chain(u16),
    /// One of the others.
    Rare(Rare),
}

/// Neighbouring steps as one loop of machine code.
pub(super) struct Chain {
    pub(super) native: Native,
    pub(super) inputs: Vec<SlotId>,
    /// Values that other steps read: slot, buffer, and the access that may be written instead of it.
    pub(super) outputs: Vec<(SlotId, BufferId, u16)>,
    /// Reductions.
    pub(super) folds: Vec<u16>,
    /// The same one by one, for tiles of columns whose reductions lie side by side.
    pub(super) steps: Vec<Step>,
}

/// What few programs do, out of the way of what all do.
#[derive(Clone, Copy)]
pub(super) enum Rare {
    /// A load with an index, a mask or both (`NONE` where absent).
    Gather { access: u16, dst: SlotId, buffer: BufferId, index: SlotId, mask: SlotId },
    /// The coordinates that an affine view gives (`Index`, and the point numbers of `RandomBits`).
    Iota { view: u16, dst: SlotId, buffer: BufferId },
    /// Runs a scan over a tile.
    Scan { reduction: u16, arg: SlotId, dst: SlotId, buffer: BufferId, round: Option<Kernel> },
    /// A store with an index (`NONE` where absent) or one that adds.
    Scatter { access: u16, arg: SlotId, index: SlotId, add: bool },
    /// A value of the row, repeated for each point of a tile.
    Spread { arg: SlotId, dst: SlotId, buffer: BufferId, size: u8 },
}

/// One pass over the inner points of a row.
#[derive(Default)]
pub(super) struct Sweep {
    /// Once for each row, before the pass: results of the sweep before, and what follows from them.
    pub(super) rows: Vec<Step>,
    /// Once for each row, after `rows`: row values that the tiles need as vectors.
    pub(super) spreads: Vec<Step>,
    /// For each tile.
    pub(super) tiles: Vec<Step>,
    /// Reductions (and scans) that this pass feeds.
    pub(super) reductions: Vec<u16>,
    /// Estimated picoseconds for each point.
    pub(super) cost: u32,
}

/// All passes, in one of the two ways to treat values that a later pass needs again.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) sweeps: Vec<Sweep>,
    /// After the last pass: row values that remain, and the row stores.
    pub(super) last: Vec<Step>,
    /// Tile buffers in use at once.
    pub(super) buffers: usize,
}

/// One reduction or scan.
pub(super) struct Reduction {
    pub(super) reducer: Reducer,
    pub(super) scan: bool,
}

/// How a memory type moves to and from lanes.
#[derive(Clone, Copy)]
pub(super) struct Mover {
    /// Bytes of one element in memory.
    pub(super) size: usize,
    /// Bytes of one lane.
    pub(super) lane: usize,
    /// Memory to lanes, where they differ.
    pub(super) widen: Option<Kernel>,
    /// Lanes to memory, where they differ.
    pub(super) narrow: Option<Kernel>,
    /// Addition in lanes and the rounding after it, for `Combine::Add`.
    pub(super) add: Kernel,
    pub(super) round: Option<Kernel>,
    pub(super) written: bool,
}

/// A coordinate that steps like an access but points nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Affine {
    /// The coordinate along an axis, outer axes first.
    Axis(u32),
    /// The number of the point, row-major over all axes.
    Point,
}

/// A value that is known when the launch begins.
#[derive(Clone, Copy)]
pub(super) enum Uniform {
    Param { param: u16, dtype: DType, dst: SlotId, buffer: BufferId },
    Extent { dtype: DType, dst: SlotId, buffer: BufferId },
}

/// Sixteen equal lanes.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct Block(pub(super) [u8; 128]);

impl Block {
    /// Sixteen lanes of a host number, converted to the type as `to` does.
    pub(super) fn of(value: Scalar, dtype: DType) -> Block {
        let mut out = Block([0; 128]);
        out.fill(value, dtype);
        out
    }

    fn fill(&mut self, value: Scalar, dtype: DType) {
        use crate::dtype::Element;
        let mut put =
            |lane: &[u8]| self.0.chunks_exact_mut(lane.len()).take(16).for_each(|c| c.copy_from_slice(lane));
        match dtype {
            DType::Bool => put(&[value.to_bool() as u8]),
            DType::U8 => put(&u8::from_scalar(value).to_ne_bytes()),
            DType::I32 => put(&i32::from_scalar(value).to_ne_bytes()),
            DType::I64 => put(&i64::from_scalar(value).to_ne_bytes()),
            DType::F16 => put(&half::f16::from_scalar(value).to_f32().to_ne_bytes()),
            DType::BF16 => put(&half::bf16::from_scalar(value).to_f32().to_ne_bytes()),
            DType::F32 => put(&f32::from_scalar(value).to_ne_bytes()),
            DType::F64 => put(&f64::from_scalar(value).to_ne_bytes()),
        }
    }
}

/// What a program became. Everything is decided but extents, strides and addresses.
pub(super) struct Code {
    /// Values kept from pass to pass: needs a row (of one bundle) to fit into a tile.
    pub(super) kept: Plan,
    /// Values computed again in each pass that needs them; `None` where there is one pass, or nothing to compute again.
    pub(super) streamed: Option<Plan>,
    /// Once for each launch, on scalars.
    pub(super) head: Vec<Step>,
    pub(super) uniforms: Vec<Uniform>,
    /// Constants and the slots that hold them.
    pub(super) constants: Vec<(SlotId, Block)>,
    pub(super) reductions: Vec<Reduction>,
    pub(super) chains: Vec<Chain>,
    /// Whether a chain fetches the lines of an access ahead.
    pub(super) fetched: Vec<bool>,
    pub(super) movers: Vec<Mover>,
    pub(super) affines: Vec<Affine>,
    pub(super) slots: usize,
    /// Buffers for values of the row (and of the launch).
    pub(super) row_buffers: usize,
    /// Bytes of the widest lane of a tile.
    pub(super) lane: usize,
    /// No reductions: all axes are one space.
    pub(super) map: bool,
    /// Points must be visited in ascending order by one thread.
    pub(super) sequential: bool,
    /// A scan: a row cannot be cut between threads.
    pub(super) scans: bool,
}
