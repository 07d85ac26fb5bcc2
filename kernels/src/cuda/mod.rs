//! CUDA source text, generated from the same programs that the CPU runs, and the arguments that a launch passes.
//!
//! Nothing here calls a driver: `source` turns a loop program into the text of one kernel, `LaunchPlan` turns a
//! geometry into that kernel's grid and argument block. One kernel serves every shape, since extents and strides are
//! arguments. `gemm` is the matrix product's text. `libraries` lists where the toolkit's libraries may lie.

mod emit;
pub mod gemm;
mod launch;
pub mod libraries;
mod maps;
mod rows;
mod streams;

pub use launch::{FAULT_BYTES, LaunchError, LaunchPlan, MAX_ARGUMENT_BYTES, MAX_RANK};
pub use streams::Class;

use crate::loops::Program;
use std::fmt::Write;
use streams::Streams;

/// The text that every kernel stands on; once in front of one or many kernels.
pub const PRELUDE: &str = include_str!("prelude.cuh");

/// The options under which the text means what the loop language says: no contraction, exact division and square root.
pub const COMPILE_OPTIONS: &[&str] = &[
    "--fmad=false",
    "--prec-div=true",
    "--prec-sqrt=true",
    "--ftz=false",
    "--std=c++17",
    "--disable-warnings",
];

/// One kernel's text; `PRELUDE` comes before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CudaSource {
    /// Definitions of the argument block and of the kernel.
    pub text: String,
    /// The kernel's name.
    pub entry: String,
    /// Dynamic shared memory to ask for at launch, in bytes.
    pub shared_bytes: u32,
    /// How the kernel's threads are laid over the points.
    pub class: Class,
}

impl CudaSource {
    /// A complete translation unit.
    pub fn unit(&self) -> String {
        format!("{PRELUDE}\n{}", self.text)
    }
}

/// The kernel of a verified program, named `name` (an identifier of C).
pub fn source(program: &Program, name: &str) -> CudaSource {
    let streams = Streams::of(program);
    let class = Class::of(program);
    let mut text = String::new();
    argument_block(&mut text, program, &streams, name);
    match class {
        Class::Map { .. } => maps::kernel(&mut text, program, &streams, name),
        Class::Rows { .. } => rows::kernel(&mut text, program, &streams, name),
    }
    CudaSource { text, entry: name.to_string(), shared_bytes: 0, class }
}

/// The struct that a kernel takes by value. `LaunchPlan` writes the same fields in the same order; every field lies at
/// a multiple of its size, so the layout has no gaps under any compiler.
fn argument_block(text: &mut String, program: &Program, streams: &Streams, name: &str) {
    let _ = write!(
        text,
        "struct Arguments_{name} {{
    i64 outer_points, inner_points, extent;
    void *fault;
    int outer_rank, inner_rank, narrow, vector, rows, threads, interleaved, unused;
    Axis axes[{rank}];
    i64 strides[{streams}][{rank}];
    i64 gathers[{accesses}][2];
    void *pointers[{accesses}];
    i64 params[{params}];
}};
",
        rank = MAX_RANK,
        streams = streams.len().max(1),
        accesses = program.accesses.len().max(1),
        params = program.params.len().max(1),
    );
}
