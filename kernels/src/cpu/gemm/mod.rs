//! The matrix product on the CPU: c = a b, batched, of every element type and every layout.
//!
//! # The sum
//!
//! An element of the result is one fixed sum, whatever the shape, the layout, the instruction set or the number of
//! threads: k is cut into blocks of `BLOCK`; a block is a chain of fused multiply-adds in ascending order, starting
//! from zero; block sums are added in ascending order, starting from the first. Halves are widened, summed so in f32,
//! and rounded once. Integers wrap; a truth value is "any pair of two true ones".
//!
//! So a row of a product does not change when other rows join it, a transposed product has the same bits, and how the
//! work is cut is free to follow the machine. The price: vectors run along rows and columns of the result, never along
//! k; a dot product transposes in registers instead.
//!
//! After the sum, each rounded to the element type, so that a fused step has the bits of a separate one: the old value
//! of c (`accumulate`), the bias, the activation. Where old value and bias belong to the product itself
//! (`rounds_once`), they join the sum before it is rounded.

#[cfg(target_arch = "x86_64")]
mod dots;
mod element;
mod few;
mod launch;
mod machine;
mod pack;
mod part;
mod scratch;
#[cfg(test)]
mod tests;
mod transpose;
mod vector;

use crate::cpu::threads::Pool;
use crate::dtype::DType;
use crate::shape::{Dims, Strides};

/// Products that are summed in one chain.
pub const BLOCK: usize = 256;

/// How one matrix, or a batch of them, lies in its buffer; all steps in elements.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MatrixGeometry {
    /// Step from one row to the next.
    pub row_stride: isize,
    /// Step from one column to the next.
    pub col_stride: isize,
    /// Steps along the batch dimensions; 0 repeats the matrix.
    pub batch_strides: Strides,
}

impl MatrixGeometry {
    /// A single matrix.
    pub fn new(row_stride: isize, col_stride: isize) -> MatrixGeometry {
        MatrixGeometry { row_stride, col_stride, batch_strides: Strides::new() }
    }
}

/// A function of each finished element.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Activation {
    /// The element itself.
    None,
    /// 0 for elements below 0; NaN and -0 stay.
    Relu,
}

/// c[.., m, n] = a[.., m, k] b[.., k, n], then what `accumulate`, `bias` and `activation` ask for.
///
/// A plan keeps this value; pointers come with each call.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Gemm {
    /// Element type of all operands.
    pub dtype: DType,
    /// Rows of a and c.
    pub m: usize,
    /// Columns of b and c.
    pub n: usize,
    /// Columns of a, rows of b.
    pub k: usize,
    /// Extents of the batch; empty for one product.
    pub batch: Dims,
    /// Left operand.
    pub a: MatrixGeometry,
    /// Right operand.
    pub b: MatrixGeometry,
    /// Result; no two of its elements share a place.
    pub c: MatrixGeometry,
    /// Whether the product is added to what c holds.
    pub accumulate: bool,
    /// Whether a vector of n elements, side by side, is added to each row.
    pub bias: bool,
    /// Whether the old value and the bias are added to the sum in the type that it is summed in; otherwise the sum is
    /// rounded first. The same for types that are summed in themselves.
    pub rounds_once: bool,
    /// What happens last.
    pub activation: Activation,
}

impl Gemm {
    /// A single product of row-major dense matrices.
    pub fn dense(dtype: DType, m: usize, n: usize, k: usize) -> Gemm {
        Gemm {
            dtype,
            m,
            n,
            k,
            batch: Dims::new(),
            a: MatrixGeometry::new(k as isize, 1),
            b: MatrixGeometry::new(n as isize, 1),
            c: MatrixGeometry::new(n as isize, 1),
            accumulate: false,
            bias: false,
            rounds_once: false,
            activation: Activation::None,
        }
    }

    /// Computes the product. `bias` is not read unless the product has one.
    ///
    /// # Safety
    /// `a`, `b` and `bias` must be good for reading and `c` for writing all elements that the geometries reach, aligned
    /// for their type; c may overlap neither of them.
    pub unsafe fn run(&self, a: *const u8, b: *const u8, c: *mut u8, bias: *const u8, pool: &Pool) {
        // SAFETY: the same contract; the level is one that this processor has.
        unsafe { launch::run(self, machine::Level::best(), a, b, c, bias, pool) }
    }
}
