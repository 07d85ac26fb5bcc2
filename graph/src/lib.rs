//! Deciding before: graphs, how they are made, and how they become functions.
//!
//! In the order of flow: `trace` records a program as a graph (`ir`, grown by `build`, written by `print`, read by `parse`,
//! checked by `verify`); `grad` makes the graph of its gradient; `interpret` runs it node by node and is the oracle of
//! everything that runs it faster; `function` keeps compiled graphs and decides when a new one is needed.
//!
//! `passes` make the next graph out of a graph; `plan` turns the last one into launches on buffers; `exec` runs plans.

pub mod build;
pub mod compile;
mod defer;
pub mod earned;
pub mod exec;
pub mod function;
pub mod fused;
pub mod grad;
pub mod host;
pub mod interpret;
pub mod ir;
pub mod lazy;
mod lex;
pub mod open;
pub mod options;
pub mod parse;
pub mod passes;
pub mod picture;
pub mod plan;
pub mod print;
pub mod rewrite;
mod same;
pub mod schema;
pub mod specialize;
mod stack;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod verify;

pub use build::{Builder, ValueMap};
pub use exec::{Bound, Executable};
pub use function::{
    Argument, BoundFunction, CompiledFunction, Function, TraceOptions, TracedFunction, function, trace,
};
pub use ir::{
    Block, BlockId, Graph, HostCall, HostEffect, InputRole, Node, NodeId, NodeKind, Operand, Type, ValueId,
    ValueInfo,
};
pub use options::{Memory, Options, PassSelection};
pub use parse::parse;
pub use passes::{PassLog, optimize};
pub use plan::{Plan, plan};
pub use verify::verify;
