//! What the hardware does: element types, strided layouts, loop programs and the code that runs them.
//!
//! This crate knows no tensor, no gradient and no graph. Everything above it launches one of three things:
//! a loop program (`loops`), which covers every element-wise, reducing, gathering and row-wise computation,
//! a matrix product (`cpu::gemm`, `cuda::gemm`), or a routine (`routines`): an order or a factorisation.

pub mod cpu;
pub mod cuda;
pub mod dtype;
pub mod layout;
pub mod loops;
pub mod philox;
pub mod routines;
pub mod shape;

pub use dtype::{DType, Element, Scalar};
pub use layout::Layout;
pub use shape::{Dims, Strides};
