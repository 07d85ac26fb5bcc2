//! The op table's blocks, one file for each family. A block is everything that is known of an op.

mod arithmetic;
mod movement;
mod product;
mod reduction;
mod state;

pub use arithmetic::*;
pub use movement::*;
pub use product::*;
pub use reduction::*;
pub(crate) use state::assign_now;
pub use state::*;

use crate::table::OpDef;

/// The lists of every file.
#[allow(unused_qualifications, reason = "every file has a list of this name")]
pub(crate) const LISTS: &[&[&OpDef]] =
    &[arithmetic::LIST, reduction::LIST, movement::LIST, product::LIST, state::LIST];
