//! Tensor code around factorisations: solving by factors that are known, unpacking them, products and powers of matrices.

use super::matrices::one_batch;
use super::rules::ints;
use crate::door::bind1;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;

/// The extents of the matrices of a tensor that has at least two dimensions.
pub(super) fn sides_of(t: &Tensor) -> Result<(usize, usize)> {
    match t.shape() {
        [.., m, n] => Ok((*m, *n)),
        _ => Err(Error::shape(format!("expected matrices, at least two dimensions, got {t:?}"))),
    }
}

/// The extent of square matrices.
fn side_of(t: &Tensor) -> Result<usize> {
    match sides_of(t)? {
        (m, n) if m == n => Ok(n),
        _ => Err(Error::shape(format!("expected square matrices, got {t:?}"))),
    }
}

impl Tensor {
    /// The solution of A X = B, or of X A = B. A right-hand side of one dimension, or of A's extents without the last,
    /// holds vectors. An error where A is singular.
    #[track_caller]
    pub fn linalg_solve(&self, b: &Tensor, left: bool) -> Result<Tensor> {
        Ok(self.linalg_solve_vectors(b, left, true)?.0)
    }

    /// `linalg_solve` with a code per matrix; singular matrices are an error only where they are checked.
    #[track_caller]
    pub fn linalg_solve_vectors(
        &self,
        b: &Tensor,
        left: bool,
        check_errors: bool,
    ) -> Result<(Tensor, Tensor)> {
        side_of(self)?;
        let vectors = b.rank() == 1 || b.rank() + 1 == self.rank() && b.shape() == &self.shape()[..b.rank()];
        if !vectors {
            return self.linalg_solve_ex(b, left, check_errors);
        }
        if !left {
            return Err(Error::shape("vectors stand to the right of a matrix: X A = B takes matrices B"));
        }
        let (x, code) = self.linalg_solve_ex(&b.unsqueeze(-1)?, true, check_errors)?;
        Ok((x.squeeze(-1)?, code))
    }

    /// The solution of A X = B, where this is B and `factor` is A's Cholesky factor.
    #[track_caller]
    pub fn cholesky_solve(&self, factor: &Tensor, upper: bool) -> Result<Tensor> {
        let (b, factor) = one_batch(self, factor)?;
        bind1(&super::CHOLESKY_SOLVE, &[Arg::Tensor(&b), Arg::Tensor(&factor), Arg::Bool(upper)])
    }

    /// The inverse of a matrix whose Cholesky factor this is.
    #[track_caller]
    pub fn cholesky_inverse(&self, upper: bool) -> Result<Tensor> {
        let n = side_of(self)?;
        Tensor::eye(n, n, self.dtype(), self.device())?.cholesky_solve(self, upper)
    }

    /// L with ones on its diagonal, and U, of factors in one matrix.
    pub fn lu_parts(&self) -> Result<(Tensor, Tensor)> {
        let (m, n) = sides_of(self)?;
        let k = m.min(n);
        let lower = self.narrow(-1, 0, k as i64)?.tril(-1)?;
        let lower = lower.add(&Tensor::eye(m, k, self.dtype(), self.device())?)?;
        Ok((lower, self.narrow(-2, 0, k as i64)?.triu(0)?))
    }

    /// P of A = P L U, in this type, from pivots.
    pub fn lu_exchanges(&self, rows: usize, dtype: DType) -> Result<Tensor> {
        let order = self.lu_permutation(rows)?.unsqueeze(-2)?;
        let mut dims = order.shape().to_vec();
        let at = dims.len() - 2;
        dims[at] = rows;
        Tensor::zeros(&dims, dtype, self.device())?.scatter(-2, &order, 1i64)
    }

    /// P, L and U with A = P L U.
    #[track_caller]
    pub fn linalg_lu(&self, pivot: bool) -> Result<(Tensor, Tensor, Tensor)> {
        let (m, _) = sides_of(self)?;
        let (lu, pivots, _) = self.linalg_lu_factor_ex(pivot, false)?;
        let (l, u) = lu.lu_parts()?;
        let p = match pivot {
            true => pivots.lu_exchanges(m, self.dtype())?,
            false => Tensor::zeros(&[0], self.dtype(), self.device())?,
        };
        Ok((p, l, u))
    }

    /// The solution of A X = B (of X A = B unless `left`; of the transposed system where `adjoint`) for the factors of A.
    #[track_caller]
    pub fn linalg_lu_solve(&self, pivots: &Tensor, b: &Tensor, left: bool, adjoint: bool) -> Result<Tensor> {
        let n = side_of(self)?;
        if !left {
            return self.linalg_lu_solve(pivots, &b.mt()?, true, !adjoint)?.mt();
        }
        let order = pivots.lu_permutation(n)?.unsqueeze(-1)?.to(self.dtype())?;
        let (lu, b) = one_batch(self, b)?;
        let (_, order) = one_batch(&b, &order)?;
        let order = order.to(DType::I64)?.expand(b.shape())?;
        if adjoint {
            let half = lu.mt()?.linalg_solve_triangular(&b, false, true, false)?;
            let rows = lu.mt()?.linalg_solve_triangular(&half, true, true, true)?;
            return rows.zeros_like(None)?.scatter(-2, &order, &rows);
        }
        let half = lu.linalg_solve_triangular(&b.gather(-2, &order)?, false, true, true)?;
        lu.linalg_solve_triangular(&half, true, true, false)
    }

    /// The logarithms of the determinants; NaN where one is negative.
    #[track_caller]
    pub fn logdet(&self) -> Result<Tensor> {
        let (sign, log) = self.linalg_slogdet()?;
        log.masked_fill(&sign.eq(-1.0)?, f64::NAN)
    }

    /// The product of `n` copies, or of -n copies of the inverse.
    #[track_caller]
    pub fn linalg_matrix_power(&self, n: i64) -> Result<Tensor> {
        let side = side_of(self)?;
        if n == 0 {
            let eye = Tensor::eye(side, side, self.dtype(), self.device())?;
            return eye.expand(self.shape())?.copy();
        }
        let mut base = if n < 0 { self.linalg_inv()? } else { self.clone() };
        let (mut left, mut out) = (n.unsigned_abs(), None::<Tensor>);
        loop {
            if left & 1 == 1 {
                out = Some(match out {
                    Some(product) => product.matmul(&base)?,
                    None => base.clone(),
                });
            }
            left >>= 1;
            match (left, out) {
                (0, Some(product)) => return Ok(product),
                (_, product) => out = product,
            }
            base = base.matmul(&base)?;
        }
    }

    /// The product of matrices in the order of fewest multiplications; the first and the last may be vectors.
    #[track_caller]
    pub fn linalg_multi_dot(tensors: &[Tensor]) -> Result<Tensor> {
        let count = tensors.len();
        if count < 2 {
            return Err(Error::value(format!("a product of at least two matrices, got {count}")));
        }
        let ends = [0, count - 1];
        let fits = |(i, t): (usize, &Tensor)| t.rank() == 2 || t.rank() == 1 && ends.contains(&i);
        if let Some(bad) = tensors.iter().enumerate().position(|p| !fits(p)) {
            return Err(Error::shape(format!(
                "tensor {bad} must be a matrix (a vector at either end), got {:?}",
                tensors[bad]
            )));
        }
        let (row, column) = (tensors[0].rank() == 1, tensors[count - 1].rank() == 1);
        let mut all = tensors.to_vec();
        if row {
            all[0] = all[0].unsqueeze(0)?;
        }
        if column {
            all[count - 1] = all[count - 1].unsqueeze(1)?;
        }
        if let Some(i) = (1..count).find(|&i| all[i - 1].shape()[1] != all[i].shape()[0]) {
            return Err(Error::shape(format!("{:?} and {:?} do not multiply", all[i - 1], all[i])));
        }
        let mut extents: Vec<usize> = all.iter().map(|t| t.shape()[0]).collect();
        extents.push(all[count - 1].shape()[1]);
        let splits = cheapest(&extents);
        let mut out = chain(&all, &splits, 0, count - 1)?;
        if row {
            out = out.squeeze(0)?;
        }
        if column { out.squeeze(-1) } else { Ok(out) }
    }

    /// The inverse of a tensor as a map from its last dimensions to its first `ind`.
    #[track_caller]
    pub fn linalg_tensorinv(&self, ind: i64) -> Result<Tensor> {
        if ind <= 0 || ind as usize > self.rank() {
            return Err(Error::value(format!("ind must be positive and at most the rank, got {ind}")));
        }
        let (head, tail) = self.shape().split_at(ind as usize);
        let (m, n) = (head.iter().product::<usize>(), tail.iter().product::<usize>());
        if m != n {
            return Err(Error::shape(format!(
                "{self:?} is not square with its first {ind} dimensions as rows"
            )));
        }
        let dims: Vec<usize> = tail.iter().chain(head).copied().collect();
        self.reshape(&[m as i64, n as i64])?.linalg_inv()?.reshape(&ints(&dims))
    }

    /// X with tensordot(A, X) = B over all dimensions of X; `dims` of A move to its end first.
    #[track_caller]
    pub fn linalg_tensorsolve(&self, b: &Tensor, dims: &[i64]) -> Result<Tensor> {
        let ends: Vec<i64> = (0..dims.len() as i64).map(|i| i - dims.len() as i64).collect();
        let a = if dims.is_empty() { self.clone() } else { self.movedim(dims, &ends)? };
        let (head, tail) = a.shape().split_at(b.rank().min(a.rank()));
        let (m, n) = (head.iter().product::<usize>(), tail.iter().product::<usize>());
        if m != n || m != b.numel() {
            return Err(Error::shape(format!("{a:?} is no square system for {b:?}")));
        }
        let x = a.reshape(&[m as i64, n as i64])?.linalg_solve(&b.reshape(&[m as i64])?, true)?;
        x.reshape(&ints(tail))
    }
}

/// For each range of factors where to cut it, by the cost of multiplying matrices of these extents.
fn cheapest(extents: &[usize]) -> Vec<Vec<usize>> {
    let n = extents.len() - 1;
    let (mut cost, mut splits) = (vec![vec![0f64; n]; n], vec![vec![0; n]; n]);
    for length in 1..n {
        for i in 0..n - length {
            let j = i + length;
            cost[i][j] = f64::INFINITY;
            for k in i..j {
                let product = extents[i] as f64 * extents[k + 1] as f64 * extents[j + 1] as f64;
                let total = cost[i][k] + cost[k + 1][j] + product;
                if total < cost[i][j] {
                    (cost[i][j], splits[i][j]) = (total, k);
                }
            }
        }
    }
    splits
}

fn chain(all: &[Tensor], splits: &[Vec<usize>], i: usize, j: usize) -> Result<Tensor> {
    if i == j {
        return Ok(all[i].clone());
    }
    let k = splits[i][j];
    chain(all, splits, i, k)?.matmul(&chain(all, splits, k + 1, j)?)
}
