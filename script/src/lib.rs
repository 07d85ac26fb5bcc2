//! The program text: typed functions and classes in the subset of Python that TorchScript defined, so that the same file
//! runs here and in PyTorch.
//!
//! Text flows one way: `lex` (tokens) -> `parse` (the tree of `syntax`) -> `check` (names become slots, expressions get
//! types: the `tree`) -> `interpret`, of which `autograph` stages what tensors decide while a function is recorded; `code` makes
//! text of the tree again, which an `archive` holds. Every stage reports all errors that it finds as `diagnostics`.

pub mod archive;
mod arithmetic;
mod autograph;
pub mod builtins;
pub mod calls;
pub mod check;
pub mod code;
pub mod diagnostics;
pub mod exits;
pub mod interpret;
mod lex;
mod liveness;
pub mod load;
pub mod parse;
pub mod scripted;
pub mod signature;
pub mod syntax;
pub mod tree;
pub mod types;
pub mod value;
