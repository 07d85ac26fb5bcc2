//! Eigenvalues and eigenvectors of symmetric matrices by Jacobi's rotations: slower than reducing to three diagonals, and
//! as accurate as the matrix allows, also for small eigenvalues.

use super::matrix::{Matrix, write};
use crate::routines::Reason;
use crate::routines::member::Member;

/// Sweeps after which an iteration that has not ended never will; convergence is quadratic, after about eight.
const SWEEPS: usize = 60;

/// A -> eigenvalues in rising order, eigenvectors in columns. Reads one triangle.
pub(crate) fn eigh(member: &mut Member, n: usize, upper: bool) -> Result<(), Reason> {
    let mut a = Matrix::read(member, 0, n, n);
    for i in 0..n {
        for j in 0..i {
            let (kept, other) = if upper { ((j, i), (i, j)) } else { ((i, j), (j, i)) };
            let value = a.at(kept.0, kept.1);
            a.set(other.0, other.1, value);
        }
    }
    if !a.finite() {
        return Err(Reason::NotFinite);
    }
    // Rows of `vectors` are eigenvectors.
    let mut vectors = Matrix::identity(n);
    rotate_to_diagonal(&mut a, &mut vectors)?;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a.at(i, i).total_cmp(&a.at(j, j)));
    let values: Vec<f64> = order.iter().map(|&i| a.at(i, i)).collect();
    let mut sorted = Matrix::zeros(n, n);
    for (to, &from) in order.iter().enumerate() {
        sorted.row_mut(to).copy_from_slice(vectors.row(from));
    }
    write(member, 1, &values);
    sorted.transposed().write(member, 2);
    Ok(())
}

fn rotate_to_diagonal(a: &mut Matrix, vectors: &mut Matrix) -> Result<(), Reason> {
    let n = a.rows;
    // Far below the rounding of the largest element.
    let nothing = a.data.iter().fold(0.0f64, |m, v| m.max(v.abs())) * f64::EPSILON * 1e-4;
    for _ in 0..SWEEPS {
        let mut rotated = false;
        for p in 0..n {
            for q in p + 1..n {
                let off = a.at(p, q);
                let (first, last) = (a.at(p, p), a.at(q, q));
                // Beside both diagonal elements it is lost in rounding.
                if off.abs() <= nothing || off.abs() <= f64::EPSILON * 0.25 * (first * last).abs().sqrt() {
                    a.set(p, q, 0.0);
                    a.set(q, p, 0.0);
                    continue;
                }
                rotated = true;
                let theta = (last - first) / (2.0 * off);
                let t = 1f64.copysign(theta) / (theta.abs() + theta.hypot(1.0));
                let (c, s) = (1.0 / t.hypot(1.0), t / t.hypot(1.0));
                turn(a, p, q, c, s);
                for k in 0..n {
                    let (x, y) = (a.at(k, p), a.at(k, q));
                    a.set(k, p, c * x - s * y);
                    a.set(k, q, s * x + c * y);
                }
                a.set(p, p, first - t * off);
                a.set(q, q, last + t * off);
                a.set(p, q, 0.0);
                a.set(q, p, 0.0);
                turn(vectors, p, q, c, s);
            }
        }
        if !rotated {
            return Ok(());
        }
    }
    Err(Reason::NoConvergence)
}

/// Rows p and q turned by the angle of cosine c and sine s.
pub(super) fn turn(a: &mut Matrix, p: usize, q: usize, c: f64, s: f64) {
    let columns = a.columns;
    let (head, tail) = a.data.split_at_mut(q * columns);
    let (first, second) = (&mut head[p * columns..(p + 1) * columns], &mut tail[..columns]);
    for (x, y) in first.iter_mut().zip(second) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}
