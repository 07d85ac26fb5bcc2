//! What the hardware does: element types, strided layouts, loop programs and the code that runs them.
//!
//! This crate knows no tensor, no gradient and no graph. Everything above it launches one of two things:
//! a loop program (`loops`), which covers every element-wise, reducing, gathering and row-wise computation,
//! or a matrix product (`cpu::gemm`, `cuda::gemm`).

pub mod cpu;
pub mod cuda;
pub mod dtype;
pub mod layout;
pub mod loops;
pub mod philox;
pub mod shape;

pub use dtype::{DType, Element, Scalar};
pub use layout::Layout;
pub use shape::{Dims, Strides};
