//! torch's calls of sliding windows: convolution, pooling, interpolation, and normalisation over channels.

use super::Entry;

pub(super) const FUNCTIONS: &[Entry] = &[];
