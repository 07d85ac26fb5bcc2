//! Recording operations to run them later, together. What `lazy` and `compile` share: they differ in when the recorded
//! part ends and in what is kept of it.
//!
//! A `Recorder` is an interpreter of the door that runs nothing. An operation becomes a node of a `Program`, its outputs are
//! tensors over pending memory, and errors of types are raised at once, at the caller's line. When the part ends, a
//! `Backend` gets the nodes, the tensors they start from and the values that somebody still holds; everything else is never
//! computed. Who holds a value is known by counting handles of its memory: tensors, views, and what autograd keeps.
//!
//! Memory that programs write in place is a cell with one value at a time, as in a trace (`memory`); the end of the part
//! writes the last value back, so several writes cost one.

mod memory;
mod program;
mod recorder;

pub(crate) use memory::{ViewStep, is_tracked};
pub(crate) use program::Key;
pub use recorder::Why;
pub(crate) use recorder::{Backend, Looked, Recorder, Work, memory_of};
