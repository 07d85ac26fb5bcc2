//! The program text: typed functions and classes in the subset of Python that TorchScript defined, so that the same file
//! runs here and in PyTorch.
//!
//! Text flows one way: `lex` (tokens) -> `parse` (the tree of `syntax`) -> `types` (names become slots, expressions get
//! types) -> `interpret`. Every stage reports all errors that it finds as `diagnostics`.

pub mod calls;
pub mod diagnostics;
pub mod syntax;
