//! QR by reflections, with LAPACK's signs: a reflection sends a column to minus its sign times its length.

use super::matrix::{Matrix, add_scaled, dot, norm, write};
use crate::routines::member::Member;

/// The columns of a matrix (as rows here) after the reflections: v below the diagonal, R on it and above, and the factors.
pub(super) struct Reflections {
    pub(super) columns: Matrix,
    pub(super) factors: Vec<f64>,
}

/// Column `k` without what lies above the diagonal, as a vector whose first element is one.
fn vector(columns: &Matrix, k: usize) -> Vec<f64> {
    let mut v = columns.row(k)[k..].to_vec();
    v[0] = 1.0;
    v
}

fn reflect(v: &[f64], factor: f64, column: &mut [f64]) {
    let by = factor * dot(v, column);
    add_scaled(column, -by, v);
}

/// Reflects the columns of a matrix, given as rows, into a triangle.
pub(super) fn reflections(mut columns: Matrix) -> Reflections {
    let (n, m) = (columns.rows, columns.columns);
    let mut factors = Vec::with_capacity(n.min(m));
    for k in 0..n.min(m) {
        let column = &mut columns.row_mut(k)[k..];
        let (head, tail) = (column[0], norm(&column[1..]));
        if tail == 0.0 {
            factors.push(0.0);
            continue;
        }
        let length = -norm(&[head, tail]).copysign(head);
        let factor = (length - head) / length;
        column[1..].iter_mut().for_each(|v| *v /= head - length);
        column[0] = length;
        factors.push(factor);
        let v = vector(&columns, k);
        for j in k + 1..n {
            reflect(&v, factor, &mut columns.row_mut(j)[k..]);
        }
    }
    Reflections { columns, factors }
}

impl Reflections {
    /// The first `count` columns of the product of the reflections, as rows.
    pub(super) fn product(&self, count: usize) -> Matrix {
        let m = self.columns.columns;
        let mut out = Matrix::zeros(count, m);
        (0..count.min(m)).for_each(|i| out.set(i, i, 1.0));
        for k in (0..self.factors.len()).rev() {
            if self.factors[k] != 0.0 {
                let v = vector(&self.columns, k);
                for j in 0..count {
                    reflect(&v, self.factors[k], &mut out.row_mut(j)[k..]);
                }
            }
        }
        out
    }
}

/// A -> Q (m x k), R (k x n) where k is the smaller extent, or m.
pub(crate) fn qr(member: &mut Member, m: usize, n: usize, k: usize, with_q: bool) {
    let found = reflections(Matrix::read(member, 0, m, n).transposed());
    if with_q {
        found.product(k).transposed().write(member, 1);
    }
    let mut r = Matrix::zeros(k, n);
    for j in 0..n {
        for i in 0..k.min(j + 1) {
            r.set(i, j, found.columns.at(j, i));
        }
    }
    r.write(member, 2);
}

/// A -> reflections below R, factors.
pub(crate) fn geqrf(member: &mut Member, m: usize, n: usize) {
    let found = reflections(Matrix::read(member, 0, m, n).transposed());
    found.columns.transposed().write(member, 1);
    write(member, 2, &found.factors);
}

/// Reflections (m x n), factors (k) -> the first n columns of their product.
pub(crate) fn householder(member: &mut Member, m: usize, n: usize, k: usize) {
    let columns = Matrix::read(member, 0, m, n).transposed();
    let factors = Matrix::read(member, 1, 1, k).data;
    Reflections { columns, factors }.product(n).transposed().write(member, 2);
}
