//! Code for the CPU: vector math, the loop-program executor, the matrix product and the thread pool.

pub mod gemm;
pub mod isa;
pub mod loops;
mod math;
mod native;
pub mod registers;
pub mod threads;
