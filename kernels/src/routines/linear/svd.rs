//! Singular values by one-sided rotations: the columns are turned until they are orthogonal; their lengths are the
//! singular values. Small singular values come out with small relative errors.

use super::matrix::{Matrix, add_scaled, dot, norm, write};
use super::qr::reflections;
use super::spectral::turn;
use crate::routines::Reason;
use crate::routines::member::Member;

/// As for eigenvalues.
const SWEEPS: usize = 60;

/// The singular vectors and values of A: columns of U as rows, values, rows of Vh.
fn thin(a: Matrix) -> Result<(Matrix, Vec<f64>, Matrix), Reason> {
    if !a.finite() {
        return Err(Reason::NotFinite);
    }
    let tall = a.rows >= a.columns;
    // Rows of `left` are the columns of the taller of A and its transpose.
    let (left, values, right) = orthogonalise(if tall { a.transposed() } else { a })?;
    Ok(if tall { (left, values, right) } else { (right, values, left) })
}

/// A -> U (m x m or m x k), S (k), Vh (n x n or k x n), where k is the smaller extent.
pub(crate) fn svd(member: &mut Member, m: usize, n: usize, full: bool) -> Result<(), Reason> {
    let (u, values, v) = thin(Matrix::read(member, 0, m, n))?;
    let count = if full { m.max(n) } else { m.min(n) };
    let (u, v) = if m >= n { (completed(u, &values, count), v) } else { (u, completed(v, &values, count)) };
    u.transposed().write(member, 1);
    write(member, 2, &values);
    v.write(member, 3);
    Ok(())
}

/// A, tolerances -> V S^-1 U^T without the singular values that count as zero.
pub(crate) fn pseudo_inverse(member: &mut Member, m: usize, n: usize) -> Result<(), Reason> {
    let (absolute, relative) = (Matrix::read(member, 1, 1, 1).data[0], Matrix::read(member, 2, 1, 1).data[0]);
    let (u, values, v) = thin(Matrix::read(member, 0, m, n))?;
    let least = values.first().map_or(0.0, |most| absolute.max(relative * most));
    let mut out = Matrix::zeros(n, m);
    for (k, &value) in values.iter().enumerate().filter(|(_, v)| **v > least) {
        // The vectors of the taller side are as long as the singular value.
        let by = 1.0 / value / value;
        for i in 0..n {
            let scaled = v.at(k, i) * by;
            add_scaled(out.row_mut(i), scaled, u.row(k));
        }
    }
    out.write(member, 3);
    Ok(())
}

/// Rows as long as the singular values, the values in falling order, and the rotations, by rows.
fn orthogonalise(mut rows: Matrix) -> Result<(Matrix, Vec<f64>, Matrix), Reason> {
    let k = rows.rows;
    let mut turns = Matrix::identity(k);
    let mut left = SWEEPS;
    loop {
        let mut rotated = false;
        for p in 0..k {
            for q in p + 1..k {
                let (x, y) = (rows.row(p), rows.row(q));
                let (a, b, off) = (dot(x, x), dot(y, y), dot(x, y));
                if off.abs() <= f64::EPSILON * (a * b).sqrt() || off.abs() < f64::MIN_POSITIVE {
                    continue;
                }
                rotated = true;
                let theta = (b - a) / (2.0 * off);
                let t = 1f64.copysign(theta) / (theta.abs() + theta.hypot(1.0));
                let (c, s) = (1.0 / t.hypot(1.0), t / t.hypot(1.0));
                turn(&mut rows, p, q, c, s);
                turn(&mut turns, p, q, c, s);
            }
        }
        if !rotated {
            break;
        }
        left -= 1;
        if left == 0 {
            return Err(Reason::NoConvergence);
        }
    }
    let lengths: Vec<f64> = (0..k).map(|i| norm(rows.row(i))).collect();
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by(|&i, &j| lengths[j].total_cmp(&lengths[i]));
    let mut sorted = (Matrix::zeros(k, rows.columns), Matrix::zeros(k, k));
    for (to, &from) in order.iter().enumerate() {
        sorted.0.row_mut(to).copy_from_slice(rows.row(from));
        sorted.1.row_mut(to).copy_from_slice(turns.row(from));
    }
    Ok((sorted.0, order.into_iter().map(|i| lengths[i]).collect(), sorted.1))
}

/// The rows at length one, and more orthogonal to them until there are `count`.
fn completed(rows: Matrix, values: &[f64], count: usize) -> Matrix {
    let length = rows.columns;
    let least = values.first().map_or(0.0, |most| most * f64::EPSILON * f64::EPSILON);
    let sound = values.iter().take_while(|v| **v > least && **v > 0.0).count();
    let mut out = Matrix::zeros(count, length);
    for (i, value) in values.iter().enumerate().take(sound) {
        let row = out.row_mut(i);
        row.copy_from_slice(rows.row(i));
        row.iter_mut().for_each(|v| *v /= value);
    }
    if sound < count {
        // Reflections that send the sound rows to axes send the other axes to what is missing.
        let head = Matrix { rows: sound, columns: length, data: out.data[..sound * length].to_vec() };
        let all = reflections(head).product(count);
        for i in sound..count {
            out.row_mut(i).copy_from_slice(all.row(i));
        }
    }
    out
}
