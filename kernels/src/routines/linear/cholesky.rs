//! Cholesky factors, and substitution in triangular systems.

use super::matrix::{Matrix, add_scaled, dot};
use crate::routines::Reason;
use crate::routines::member::Member;

/// A -> factor, code. Reads one triangle; the code is the order of the first leading minor that is not positive, or 0.
pub(crate) fn cholesky(member: &mut Member, n: usize, upper: bool, check: bool) -> Result<(), Reason> {
    let mut a = Matrix::read(member, 0, n, n);
    if upper {
        a = a.transposed();
    }
    let mut code = 0;
    'rows: for i in 0..n {
        for j in 0..i {
            let (row, other) = a.pair(i, j);
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let row = a.row_mut(i);
        let square = row[i] - dot(&row[..i], &row[..i]);
        if square > 0.0 {
            row[i] = square.sqrt();
        } else {
            code = i + 1;
            break 'rows;
        }
    }
    for i in 0..n {
        a.row_mut(i)[i + 1..].fill(0.0);
    }
    if upper {
        a = a.transposed();
    }
    a.write(member, 1);
    member.write::<i32>(2)[0] = code as i32;
    match check && code > 0 {
        true => Err(Reason::NotPositiveDefinite(code)),
        false => Ok(()),
    }
}

/// x := the solution of (upper or lower, perhaps with a diagonal of ones) a x = b, for rows b of x.
pub(super) fn substitute(a: &Matrix, x: &mut Matrix, upper: bool, unit: bool) {
    let n = a.rows;
    for step in 0..n {
        let i = if upper { n - 1 - step } else { step };
        let known = if upper { i + 1..n } else { 0..i };
        for j in known {
            let by = a.at(i, j);
            if by != 0.0 {
                let (row, other) = x.pair(i, j);
                add_scaled(row, -by, other);
            }
        }
        if !unit {
            let diagonal = a.at(i, i);
            x.row_mut(i).iter_mut().for_each(|v| *v /= diagonal);
        }
    }
}

/// A, B -> X.
pub(crate) fn triangular(member: &mut Member, n: usize, k: usize, upper: bool, unit: bool) {
    let (a, mut x) = (Matrix::read(member, 0, n, n), Matrix::read(member, 1, n, k));
    substitute(&a, &mut x, upper, unit);
    x.write(member, 2);
}
