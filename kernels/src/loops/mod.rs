//! The loop language: what every kernel except the matrix product is written in.
//!
//! A `Program` says *what* is computed for each point of an iteration space; a `Geometry` says *where*: the extents of
//! the space and how each access steps through its buffer. One element-wise op and a fused region of fifty ops are the
//! same thing, a program of one instruction or of fifty, so fusing cannot change the meaning.
//!
//! `ir` defines both, `verify` checks them, `text` prints and parses them, `reference` is the executable definition,
//! `compose` builds one program out of a region of ops. The compilers are `cpu::loops` and `cuda::loops`.

mod arithmetic;
mod axes;
mod compose;
mod composed;
pub mod ir;
#[cfg(test)]
mod naive;
#[doc(hidden)]
pub mod random;
pub mod reference;
mod region;
mod sweeps;
pub mod text;
pub mod verify;

pub use arithmetic::Precision;
pub use composed::{BufferRef, Composed};
pub use ir::*;
pub use region::{Node, Region, Unfusible};
pub use sweeps::Sweeps;
pub use verify::{VerifyError, verify, verify_geometry};
