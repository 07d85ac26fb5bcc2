//! Runs a typed tree as the eager host does: statement by statement, tensors through the door.

/// What a running program has of the world outside.
pub struct Host {}
