//! Stacks in graphs: tensors whose first extent is the symbol `turns`, which loops push on and pop from.
//!
//! The symbol says only that the extent is not known before the graph runs; two stacks of one type need not be of one
//! height. A tensor of known extent goes on as a stack where a loop takes it; nothing else forgets an extent.

use runtime::infer::{Dim, TensorType};

/// The first extent of every stack.
pub(crate) fn turns() -> Dim {
    Dim::symbol("turns")
}

/// Whether it is the type of a stack.
pub(crate) fn is(ty: &TensorType) -> bool {
    ty.shape.first() == Some(&turns())
}

/// The type of a stack that this tensor is, its extent forgotten; rank 0 is none.
pub(crate) fn of(ty: &TensorType) -> Option<TensorType> {
    let mut stack = ty.clone();
    *stack.shape.first_mut()? = turns();
    Some(stack)
}

/// The type of a stack of such items.
pub(crate) fn with_items(ty: &TensorType) -> TensorType {
    let mut stack = ty.clone();
    stack.shape.insert(0, turns());
    stack
}
