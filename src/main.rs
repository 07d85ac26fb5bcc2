//! The `trifold` command.
fn main() {}
