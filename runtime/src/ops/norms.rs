//! Norms of matrices and what singular values tell: rank, condition, pseudo-inverse, least squares.

use super::equations::sides_of;
use crate::door::bind1;
use crate::error::{Error, Result};
use crate::infer::wrap_dim;
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;

/// Which norm of a matrix.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum MatrixNorm {
    /// The root of the sum of squares.
    Frobenius,
    /// The sum of singular values.
    Nuclear,
    /// 2, -2: largest, smallest singular value; 1, -1, inf, -inf: largest, smallest sum of a column or a row.
    Order(f64),
}

/// The rounding of a type.
fn epsilon(dtype: DType) -> f64 {
    if dtype == DType::F64 { f64::EPSILON } else { f32::EPSILON as f64 }
}

/// A tolerance that is given, or the default where neither is.
#[derive(Clone, Copy, Default)]
pub struct Tolerances<'a> {
    /// Absolute.
    pub absolute: Option<&'a Tensor>,
    /// Relative to the largest singular value.
    pub relative: Option<&'a Tensor>,
}

impl Tolerances<'_> {
    /// Both, one element for each matrix of `a`: by default the relative one is the larger extent times the rounding of
    /// the type, and 0 where an absolute one is given.
    fn of(&self, a: &Tensor) -> Result<(Tensor, Tensor)> {
        let (m, n) = sides_of(a)?;
        let batch = &a.shape()[..a.rank() - 2];
        let over = |t: &Tensor| t.to(a.dtype())?.expand(batch);
        let number = |v: f64| Tensor::full(batch, v, a.dtype(), a.device());
        let absolute = self.absolute.map_or_else(|| number(0.0), over)?;
        let default = m.max(n) as f64 * epsilon(a.dtype());
        let relative = match (self.relative, self.absolute) {
            (Some(given), _) => over(given)?,
            (None, None) => number(default)?,
            (None, Some(given)) => {
                let none = number(0.0)?;
                over(given)?.gt(0.0)?.select_where(&none, &number(default)?)?
            }
        };
        Ok((absolute, relative))
    }
}

impl Tensor {
    /// The singular values, in falling order.
    #[track_caller]
    pub fn linalg_svdvals(&self) -> Result<Tensor> {
        Ok(self.linalg_svd(false)?.1)
    }

    /// The eigenvalues of symmetric matrices, in rising order.
    #[track_caller]
    pub fn linalg_eigvalsh(&self, uplo: &str) -> Result<Tensor> {
        Ok(self.linalg_eigh(uplo)?.0)
    }

    /// A norm of the matrices in two dimensions.
    #[track_caller]
    pub fn linalg_matrix_norm(&self, ord: MatrixNorm, dims: [i64; 2], keepdim: bool) -> Result<Tensor> {
        let rank = self.rank();
        if rank < 2 {
            return Err(Error::shape(format!("expected matrices, at least two dimensions, got {self:?}")));
        }
        let [a, b] = [wrap_dim(dims[0], rank)?, wrap_dim(dims[1], rank)?];
        if a == b {
            return Err(Error::value(format!("the two dimensions of a matrix must differ, got {dims:?}")));
        }
        if !self.dtype().is_float() {
            return Err(Error::dtype(format!("a norm of {} is not defined", self.dtype())));
        }
        let singular = |reduce: &dyn Fn(&Tensor) -> Result<Tensor>| -> Result<Tensor> {
            let values = self.movedim(&[a as i64, b as i64], &[-2, -1])?.linalg_svdvals()?;
            let out = reduce(&values)?;
            if !keepdim {
                return Ok(out);
            }
            out.unsqueeze(a.min(b) as i64)?.unsqueeze(a.max(b) as i64)
        };
        let sums = |inner: usize, outer: usize, largest: bool| -> Result<Tensor> {
            let sums = self.abs()?.sum(&[inner as i64], true)?;
            let out =
                if largest { sums.amax(&[outer as i64], true)? } else { sums.amin(&[outer as i64], true)? };
            if keepdim { Ok(out) } else { out.squeeze(a.max(b) as i64)?.squeeze(a.min(b) as i64) }
        };
        match ord {
            MatrixNorm::Frobenius => {
                let dims = [a as i64, b as i64];
                let args = [Arg::Tensor(self), Arg::Float(2.0), Arg::Ints(&dims), Arg::Bool(keepdim)];
                bind1(&super::LINALG_VECTOR_NORM, &args)
            }
            MatrixNorm::Nuclear => singular(&|s| s.sum(&[-1], false)),
            MatrixNorm::Order(2.0) => singular(&|s| s.amax(&[-1], false)),
            MatrixNorm::Order(-2.0) => singular(&|s| s.amin(&[-1], false)),
            MatrixNorm::Order(1.0) => sums(a, b, true),
            MatrixNorm::Order(-1.0) => sums(a, b, false),
            MatrixNorm::Order(f64::INFINITY) => sums(b, a, true),
            MatrixNorm::Order(f64::NEG_INFINITY) => sums(b, a, false),
            MatrixNorm::Order(other) => Err(Error::value(format!("a matrix has no norm of order {other}"))),
        }
    }

    /// How many singular values (sizes of eigenvalues, where symmetric) are above the tolerance.
    #[track_caller]
    pub fn linalg_matrix_rank(&self, tolerances: Tolerances, hermitian: bool) -> Result<Tensor> {
        let (absolute, relative) = tolerances.of(self)?;
        let values = match hermitian {
            true => self.linalg_eigvalsh("L")?.abs()?,
            false => self.linalg_svdvals()?,
        };
        if values.shape()[values.rank() - 1] == 0 {
            return Tensor::zeros(&self.shape()[..self.rank() - 2], DType::I64, self.device());
        }
        let least = absolute.maximum(&relative.mul(&values.amax(&[-1], false)?)?)?;
        values.gt(&least.unsqueeze(-1)?)?.sum(&[-1], false)
    }

    /// The pseudo-inverses; singular values up to the tolerance count as zero.
    #[track_caller]
    pub fn linalg_pinv(&self, tolerances: Tolerances, hermitian: bool) -> Result<Tensor> {
        let (absolute, relative) = tolerances.of(self)?;
        if self.numel() == 0 {
            return self.mt()?.copy();
        }
        self.linalg_pinv_with(&absolute, &relative, hermitian)
    }

    /// The condition of matrices: the product of a norm of each and of its inverse, infinite where it is singular.
    #[track_caller]
    pub fn linalg_cond(&self, ord: MatrixNorm) -> Result<Tensor> {
        let (m, n) = sides_of(self)?;
        let batch = &self.shape()[..self.rank() - 2];
        if self.numel() == 0 {
            return Tensor::zeros(batch, self.dtype(), self.device());
        }
        if let MatrixNorm::Order(p) = ord
            && p.abs() == 2.0
        {
            let s = self.linalg_svdvals()?;
            let (most, least) = (s.select(-1, 0)?, s.select(-1, -1)?);
            return if p > 0.0 { most.div(&least) } else { least.div(&most) };
        }
        if m != n {
            return Err(Error::shape(format!("this condition needs square matrices, got {self:?}")));
        }
        let (inverse, code) = self.linalg_inv_ex(false)?;
        let of = |t: &Tensor| t.linalg_matrix_norm(ord, [-2, -1], false);
        of(self)?.mul(&of(&inverse)?)?.masked_fill(&code.ne(0i64)?, f64::INFINITY)
    }

    /// Products of three-dimensional vectors along `dim`; both operands broadcast.
    #[track_caller]
    pub fn linalg_cross(&self, other: &Tensor, dim: i64) -> Result<Tensor> {
        if self.rank() != other.rank() {
            return Err(Error::shape(format!("vectors of one rank are needed, got {self:?} and {other:?}")));
        }
        if self.size(dim)? != 3 || other.size(dim)? != 3 {
            return Err(Error::shape(format!(
                "dimension {dim} must have 3 elements, got {self:?} and {other:?}"
            )));
        }
        let turn = |t: &Tensor, by: i64| t.roll(&[by], &[dim]);
        let plus = turn(self, -1)?.mul(&turn(other, -2)?)?;
        plus.sub(&turn(self, -2)?.mul(&turn(other, -1)?)?)
    }

    /// The powers 0 to n - 1 of each element, in a new last dimension.
    #[track_caller]
    pub fn linalg_vander(&self, n: Option<i64>) -> Result<Tensor> {
        let Some(&last) = self.shape().last() else { return self.reshape(&[1])?.linalg_vander(n) };
        let n = n.unwrap_or(last as i64);
        if n < 1 {
            return Err(Error::value(format!("the number of powers must be positive, got {n}")));
        }
        let mut dims = self.shape().to_vec();
        dims.push(1);
        let x = if self.dtype().is_float() { self.clone() } else { self.to(DType::I64)? };
        let ones = Tensor::ones(&dims, x.dtype(), x.device())?;
        if n == 1 {
            return Ok(ones);
        }
        dims[self.rank()] = n as usize - 1;
        Tensor::cat(&[ones, x.unsqueeze(-1)?.expand(&dims)?.cumprod(-1)?], -1)
    }

    /// The least squares solution of A X = B by the pseudo-inverse, and A's rank.
    #[track_caller]
    pub fn linalg_lstsq(&self, b: &Tensor, tolerances: Tolerances) -> Result<(Tensor, Tensor)> {
        let (m, _) = sides_of(self)?;
        let vectors = b.rank() + 1 == self.rank();
        let right = if vectors { b.unsqueeze(-1)? } else { b.clone() };
        if sides_of(&right)?.0 != m {
            return Err(Error::shape(format!("{self:?} and {b:?} are no system of equations")));
        }
        let rank = self.detach()?.linalg_matrix_rank(tolerances, false)?;
        let x = self.linalg_pinv(tolerances, false)?.matmul(&right)?;
        Ok((if vectors { x.squeeze(-1)? } else { x }, rank))
    }
}
