//! torch's calls of sorting, choosing and writing by index.

use super::Entry;

pub(super) const FUNCTIONS: &[Entry] = &[];
