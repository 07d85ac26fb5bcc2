//! What must not be written in place, whoever runs the write: torch's rules about memory and about views.

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{Payload, Tensor, flags};
use crate::value::Arg;
use kernels::Layout;

/// Refuses a write whose target shares some of its elements with another operand, though not all of them in the same places.
/// (torch: `assert_no_partial_overlap`; it too lets pass what is not dense, since that takes long to decide.)
pub(crate) fn check_overlap(args: &[Arg]) -> Result<()> {
    let Some((Arg::Tensor(target), rest)) = args.split_first() else { return Ok(()) };
    for other in rest.iter().flat_map(|a| a.tensors()) {
        if same_memory(target, other) && partly(target, other) {
            let message = format!(
                "the target {} and an operand {} share some of their elements",
                target.tensor_type(),
                other.tensor_type()
            );
            return Err(Error::new(ErrorKind::InPlace, message)
                .hint("write a copy of the operand: what is read would change while it is written"));
        }
    }
    Ok(())
}

/// Refuses a write with gradients to a view that has no history to write into: one that was made under `no_grad`, or one of
/// several that a call gave.
pub(crate) fn check_view(args: &[Arg]) -> Result<()> {
    let Some((&Arg::Tensor(target), rest)) = args.split_first() else { return Ok(()) };
    let Some(base) = target.base().filter(|_| target.dtype().is_float()) else { return Ok(()) };
    let tracked = |t: &Tensor| t.flags() & flags::TRACKED != 0;
    if !tracked(target) && !tracked(base) && !rest.iter().flat_map(|a| a.tensors()).any(tracked) {
        return Ok(());
    }
    let own = target.flags();
    if own & flags::VIEW == 0 {
        return Err(Error::new(ErrorKind::InPlace, "the target is a view that was made under no_grad")
            .hint("make the view outside of no_grad(), or write into a copy"));
    }
    if own & flags::SIBLING != 0 {
        let message = "the target is one of several views that one call gave (unbind, split, chunk)";
        return Err(Error::new(ErrorKind::InPlace, message)
            .hint("write to a view of its own (x[i], x.narrow(...)), or into a copy"));
    }
    Ok(())
}

fn same_memory(a: &Tensor, b: &Tensor) -> bool {
    match (a.payload(), b.payload()) {
        (Payload::Storage(a), Payload::Storage(b)) => a.same(b),
        (Payload::Pending(a), Payload::Pending(b)) => a.same(b),
        _ => false,
    }
}

/// Whether two tensors in one memory, both without gaps, share some elements but are not the same elements in the same order.
fn partly(a: &Tensor, b: &Tensor) -> bool {
    let (x, y) = (a.layout(), b.layout());
    if x == y || !is_dense(x) || !is_dense(y) {
        return false;
    }
    let bytes = |t: &Tensor| {
        let start = t.layout().offset * t.dtype().size();
        start..start + t.numel() * t.dtype().size()
    };
    let (a, b) = (bytes(a), bytes(b));
    // The same elements in another order.
    if a == b {
        return x.strides.iter().zip(&x.shape).filter(|(_, n)| **n > 1).ne(y
            .strides
            .iter()
            .zip(&y.shape)
            .filter(|(_, n)| **n > 1));
    }
    a.start < b.end && b.start < a.end
}

/// Whether a layout's elements lie one after the other, in whatever order of dimensions.
fn is_dense(layout: &Layout) -> bool {
    let mut steps: Vec<(isize, usize)> =
        layout.strides.iter().copied().zip(layout.shape.iter().copied()).filter(|(_, n)| *n != 1).collect();
    steps.sort_unstable();
    let mut next = 1;
    steps.into_iter().all(|(step, n)| {
        let fits = step == next;
        next *= n as isize;
        fits
    })
}
