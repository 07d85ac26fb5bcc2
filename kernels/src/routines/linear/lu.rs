//! LU factors with rows exchanged, and what is solved with them.

use super::cholesky::substitute;
use super::matrix::{Matrix, add_scaled};
use crate::routines::Reason;
use crate::routines::member::Member;

/// A factored matrix: L below the diagonal, U above, and for each step the row (from 0) that came to its place.
struct Factors {
    lu: Matrix,
    pivots: Vec<usize>,
    /// The first zero on U's diagonal, from 1; 0 if there is none.
    code: usize,
}

fn factor(mut a: Matrix, pivot: bool) -> Factors {
    let steps = a.rows.min(a.columns);
    let (mut pivots, mut code) = (Vec::with_capacity(steps), 0);
    for k in 0..steps {
        let mut best = k;
        if pivot {
            for i in k + 1..a.rows {
                if a.at(i, k).abs() > a.at(best, k).abs() {
                    best = i;
                }
            }
        }
        pivots.push(best);
        a.swap_rows(k, best);
        let diagonal = a.at(k, k);
        if diagonal == 0.0 {
            code = if code == 0 { k + 1 } else { code };
            continue;
        }
        for i in k + 1..a.rows {
            let by = a.at(i, k) / diagonal;
            a.set(i, k, by);
            if by != 0.0 {
                let (row, other) = a.pair(i, k);
                add_scaled(&mut row[k + 1..], -by, &other[k + 1..]);
            }
        }
    }
    Factors { lu: a, pivots, code }
}

impl Factors {
    fn solve(&self, x: &mut Matrix) {
        for (k, &row) in self.pivots.iter().enumerate() {
            x.swap_rows(k, row);
        }
        substitute(&self.lu, x, false, true);
        substitute(&self.lu, x, true, false);
    }

    /// LU, pivots and code to operands from `i` on.
    fn write(&self, member: &mut Member, i: usize) {
        self.lu.write(member, i);
        for (out, &pivot) in member.write::<i32>(i + 1).iter_mut().zip(&self.pivots) {
            *out = pivot as i32 + 1;
        }
        member.write::<i32>(i + 2)[0] = self.code as i32;
    }

    fn verdict(&self, check: bool) -> Result<(), Reason> {
        match check && self.code > 0 {
            true => Err(Reason::Singular(self.code)),
            false => Ok(()),
        }
    }
}

/// A -> LU, pivots, code.
pub(crate) fn lu(member: &mut Member, m: usize, n: usize, pivot: bool, check: bool) -> Result<(), Reason> {
    let factors = factor(Matrix::read(member, 0, m, n), pivot);
    factors.write(member, 1);
    factors.verdict(check)
}

/// Pivots -> for each row of the product P A its row in A.
pub(crate) fn permutation(member: &mut Member, m: usize) {
    let mut rows: Vec<i64> = (0..m as i64).collect();
    for (k, &pivot) in member.read::<i32>(0).iter().enumerate() {
        // A pivot that no factorisation makes moves nothing.
        let from = usize::try_from(pivot).ok().and_then(|p| p.checked_sub(1)).filter(|p| *p < m);
        if let (Some(from), true) = (from, k < m) {
            rows.swap(k, from);
        }
    }
    member.write::<i64>(1).copy_from_slice(&rows);
}

/// A, B -> X, LU, pivots, code.
pub(crate) fn solve(member: &mut Member, n: usize, k: usize, check: bool) -> Result<(), Reason> {
    let (a, mut x) = (Matrix::read(member, 0, n, n), Matrix::read(member, 1, n, k));
    let factors = factor(a, true);
    factors.solve(&mut x);
    x.write(member, 2);
    factors.write(member, 3);
    factors.verdict(check)
}

/// A -> inverse, code.
pub(crate) fn inverse(member: &mut Member, n: usize, check: bool) -> Result<(), Reason> {
    let factors = factor(Matrix::read(member, 0, n, n), true);
    let mut x = Matrix::identity(n);
    factors.solve(&mut x);
    x.write(member, 1);
    member.write::<i32>(2)[0] = factors.code as i32;
    factors.verdict(check)
}

/// `factor` and `solve` for other routines.
pub(super) fn solved(a: Matrix, mut x: Matrix) -> Matrix {
    factor(a, true).solve(&mut x);
    x
}
