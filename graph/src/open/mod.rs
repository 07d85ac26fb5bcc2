//! Compiled code for inputs of any extents, for calls of ever new lengths (docs/decisions/0016).
//!
//! Nothing here is symbolic while a graph is made: it is recorded twice, each time with other primes for the extents that are
//! open, so every rule and every pass sees numbers. Then the primes are found again in the two results (`extent`), which must
//! be the same but for them. A graph in which an extent is not a factor of a number (1/n, n - 1) is refused.
//!
//! `calls` finds what differs between calls, and so what to record with. `signature` says what a call may pass, `program` is what runs: fused loops whose kernels know no extents anyway, views and
//! other ops, in a row. There is no plan: where things lie is decided at each call.

mod calls;
mod extent;
mod program;
mod signature;
mod twin;

pub use calls::{Call, Size, ToRecord, to_record};
pub(crate) use extent::{PRIMES, Primes};
pub(crate) use program::{OpenProgram, admit};
pub(crate) use twin::Twin;
