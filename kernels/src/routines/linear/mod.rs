//! Factorisations of small and middling matrices, and what is solved with them, in f64.
//!
//! The algorithms are the textbook's backward stable ones. Inner loops run along rows, which lie densely; sums are formed
//! in eight lanes of fixed order, so that the compiler may use vectors and the bits never change.

mod cholesky;
mod exponential;
mod lu;
mod matrix;
mod qr;
mod spectral;
mod svd;

pub(super) use cholesky::{cholesky, triangular};
pub(super) use exponential::exponential;
pub(super) use lu::{inverse, lu, permutation, solve};
pub(super) use qr::{geqrf, householder, qr};
pub(super) use spectral::eigh;
pub(super) use svd::{pseudo_inverse, svd};
