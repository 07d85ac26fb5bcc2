//! torch's calls of linear algebra.

use super::Entry;

pub(super) const FUNCTIONS: &[Entry] = &[];
