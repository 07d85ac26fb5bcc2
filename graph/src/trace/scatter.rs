//! Writing through a view: the base's new value from its old value and the view's new value.
//!
//! Decided on the layout that the view has over a dense base, not on the op that made it, so every view op is covered: a
//! rearrangement of all elements is undone; a run of consecutive elements is put between the elements before and after
//! it; anything else is placed through a constant table of positions.

use crate::ir::{Operand, ValueId};
use kernels::{Layout, Scalar};
use runtime::DeviceId;
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::ops;
use runtime::table::OpDef;
use runtime::tensor::Tensor;
use runtime::value::Host;

/// Where the operations of a write go.
pub(crate) trait Emit {
    /// Adds an op with one output.
    fn emit1(&mut self, op: &'static OpDef, operands: Vec<Operand>, origin: Origin) -> Result<ValueId>;
    /// Adds a tensor that nobody changes.
    fn constant(&mut self, tensor: Tensor, origin: Origin) -> ValueId;
    /// The device of a value.
    fn device_of(&self, value: ValueId) -> DeviceId;
}

fn ints(list: impl IntoIterator<Item = usize>) -> Operand {
    Operand::Host(Host::Ints(list.into_iter().map(|n| n as i64).collect()))
}

fn int(n: usize) -> Operand {
    Operand::Host(Host::Scalar(Scalar::Int(n as i64)))
}

/// The base (dense, with extents `dims`) after the view `layout` of it was replaced by `new`.
pub(crate) fn scatter(
    state: &mut impl Emit,
    base: ValueId,
    dims: &[usize],
    layout: &Layout,
    new: ValueId,
    origin: Origin,
) -> Result<ValueId> {
    let repeated = layout.shape.iter().zip(&layout.strides).any(|(&n, &s)| n > 1 && s == 0);
    if repeated {
        let message = "several elements of the target share one memory location";
        return Err(Error::new(ErrorKind::InPlace, message)
            .at(origin)
            .hint("write into a copy of the expanded view"));
    }
    let total: usize = dims.iter().product();
    let count = layout.numel();
    if count == 0 {
        return Ok(base);
    }
    let mut order: Vec<usize> = (0..layout.rank()).filter(|&d| layout.shape[d] != 1).collect();
    order.sort_by_key(|&d| std::cmp::Reverse(layout.strides[d]));
    let ordered = layout.permute(&order);
    if !ordered.is_contiguous() {
        return table(state, base, dims, layout, new, origin);
    }
    // In order of memory the view is one run: bring its elements into that order first.
    let unit = (0..layout.rank()).filter(|&d| layout.shape[d] == 1);
    let full_order: Vec<usize> = unit.chain(order.iter().copied()).collect();
    let in_order = full_order.iter().copied().eq(0..layout.rank());
    let run = if in_order {
        new
    } else {
        state.emit1(&ops::PERMUTE, vec![Operand::Value(new), ints(full_order)], origin)?
    };
    if count == total {
        return state.emit1(&ops::RESHAPE, vec![Operand::Value(run), ints(dims.iter().copied())], origin);
    }
    let run = state.emit1(&ops::RESHAPE, vec![Operand::Value(run), ints([count])], origin)?;
    let flat = state.emit1(&ops::RESHAPE, vec![Operand::Value(base), ints([total])], origin)?;
    let mut piece = |start: usize, end: usize| {
        state.emit1(&ops::SLICE, vec![Operand::Value(flat), int(0), int(start), int(end), int(1)], origin)
    };
    let mut parts = Vec::new();
    if layout.offset > 0 {
        parts.push(piece(0, layout.offset)?);
    }
    parts.push(run);
    if layout.offset + count < total {
        parts.push(piece(layout.offset + count, total)?);
    }
    let joined = state.emit1(&ops::CAT, vec![Operand::Values(parts), int(0)], origin)?;
    state.emit1(&ops::RESHAPE, vec![Operand::Value(joined), ints(dims.iter().copied())], origin)
}

/// Any view: for each element of the base, the position in the view that replaces it, or none.
fn table(
    state: &mut impl Emit,
    base: ValueId,
    dims: &[usize],
    layout: &Layout,
    new: ValueId,
    origin: Origin,
) -> Result<ValueId> {
    let total: usize = dims.iter().product();
    let (mut covered, mut from) = (vec![false; total], vec![0i64; total]);
    let mut index = vec![0usize; layout.rank()];
    for position in 0..layout.numel() {
        let at: isize = index.iter().zip(&layout.strides).map(|(&i, &s)| i as isize * s).sum();
        let at = (layout.offset as isize + at) as usize;
        covered[at] = true;
        from[at] = position as i64;
        for d in (0..index.len()).rev() {
            index[d] += 1;
            if index[d] < layout.shape[d] {
                break;
            }
            index[d] = 0;
        }
    }
    let device = state.device_of(new);
    let covered = Tensor::from_slice(&covered, dims)?.to_device(device)?;
    let from = Tensor::from_slice(&from, &[total])?.to_device(device)?;
    let (covered, from) = (state.constant(covered, origin), state.constant(from, origin));
    let flat = state.emit1(&ops::RESHAPE, vec![Operand::Value(new), ints([layout.numel()])], origin)?;
    let placed =
        state.emit1(&ops::INDEX_SELECT, vec![Operand::Value(flat), int(0), Operand::Value(from)], origin)?;
    let placed =
        state.emit1(&ops::RESHAPE, vec![Operand::Value(placed), ints(dims.iter().copied())], origin)?;
    state.emit1(
        &ops::WHERE,
        vec![Operand::Value(covered), Operand::Value(placed), Operand::Value(base)],
        origin,
    )
}
