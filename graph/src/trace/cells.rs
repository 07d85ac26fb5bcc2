//! What tensor objects of a program stand for while it is traced: cells. A cell has one value at a time; a write gives it
//! another. A view is a cell too: it remembers the op that made it, reads its base again after the base was written, and
//! writes through to its base.
//!
//! Whether an op's result is a view of its operand is decided as eager decides it, on layouts: each cell has the layout
//! that its tensor would have in memory, so a reshape that would copy makes a new cell.

use crate::ir::{Operand, ValueId};
use kernels::{DType, Layout};
use runtime::device::DeviceId;
use runtime::error::Origin;
use runtime::lower::{self, LowerArg};
use runtime::table::OpDef;
use runtime::value::{Arg, Host};
use smallvec::SmallVec;

/// What identifies a tensor in memory.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) storage: usize,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<isize>,
    pub(super) dtype: DType,
    /// Whether gradients end on the way to it, which layouts do not tell: a detached tensor lies where its base lies.
    pub(super) detached: bool,
}

/// What a tensor object stands for.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// Its present value; for a view, its value when it was last read.
    pub(super) value: ValueId,
    /// Number of writes seen.
    pub(super) version: u32,
    /// Where it is a view.
    pub(super) view: Option<View>,
    /// Element type.
    pub(super) dtype: DType,
    /// The layout that it would have in memory.
    pub(super) layout: Layout,
    /// Where it lies.
    pub(super) device: DeviceId,
}

/// How a view was made.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// The cell it looks at.
    pub(super) base: u32,
    /// The op.
    pub(super) op: &'static OpDef,
    /// Its operands after the base: host values.
    pub(super) rest: Vec<Host>,
    /// The base's version when the value was read.
    pub(super) seen: u32,
    /// The line that made it.
    pub(super) origin: Origin,
}

impl View {
    /// The op's operands for a base value.
    pub(super) fn operands(&self, base: ValueId) -> Vec<Operand> {
        let mut operands = vec![Operand::Value(base)];
        operands.extend(self.rest.iter().cloned().map(Operand::Host));
        operands
    }

    /// The layout of the view over a base with this layout; `None` where eager would copy.
    pub(super) fn layout(&self, dtype: DType, base: &Layout, output: &[usize]) -> Option<Layout> {
        view_layout(self.op, &self.rest, dtype, base, output)
    }
}

/// The layout of a view op's result over a base with this layout; `None` where eager would copy.
pub(crate) fn view_layout(
    op: &'static OpDef,
    rest: &[Host],
    dtype: DType,
    base: &Layout,
    output: &[usize],
) -> Option<Layout> {
    let mut args: SmallVec<[LowerArg; 4]> = SmallVec::new();
    args.push(LowerArg::Tensor(dtype, base));
    args.extend(rest.iter().map(|h| LowerArg::Host(h.as_arg())));
    lower::view(op, &args, output).ok().flatten()
}

/// Host operands after the first.
pub(crate) fn hosts(args: &[Arg]) -> Option<Vec<Host>> {
    args.iter().skip(1).map(|&a| Host::of(a)).collect()
}
