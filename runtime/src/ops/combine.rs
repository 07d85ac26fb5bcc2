//! Methods that make one tensor of several, or several of one: kron, block_diag, products and combinations of elements,
//! broadcasting together, parts of equal size.

use super::join::explain;
use crate::error::{Error, Result};
use crate::infer::{Dim, broadcast, wrap_dim};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;

impl Tensor {
    /// Every element of this tensor times the whole of the other, in its place: [a, b] and [c, d] give [a c, b d].
    #[track_caller]
    pub fn kron(&self, other: &Tensor) -> Result<Tensor> {
        let rank = self.rank().max(other.rank());
        let padded = |t: &Tensor| -> Vec<i64> {
            let missing = std::iter::repeat_n(1, rank - t.rank());
            missing.chain(t.shape().iter().map(|&n| n as i64)).collect()
        };
        let (own, others) = (padded(self), padded(other));
        let beside = |a: &[i64], first: bool| -> Vec<i64> {
            a.iter().flat_map(|&n| if first { [n, 1] } else { [1, n] }).collect()
        };
        let product = self.reshape(&beside(&own, true))?.mul(&other.reshape(&beside(&others, false))?)?;
        product.reshape(&own.iter().zip(&others).map(|(a, b)| a * b).collect::<Vec<_>>())
    }

    /// The sums of products over the last dimensions of both.
    #[track_caller]
    pub fn inner(&self, other: &Tensor) -> Result<Tensor> {
        if self.rank() == 0 || other.rank() == 0 {
            return self.mul(other);
        }
        self.tensordot(other, &[-1], &[-1])
    }

    /// The matrices (vectors as rows, numbers as 1 by 1) along the diagonal of a matrix of zeros.
    #[track_caller]
    pub fn block_diag(tensors: &[Tensor]) -> Result<Tensor> {
        let explain = explain("block_diag");
        let Some(first) = tensors.first() else {
            return Err(explain(Error::value("there is no tensor to arrange")));
        };
        if let Some(t) = tensors.iter().find(|t| t.rank() > 2) {
            return Err(explain(Error::shape(format!("{:?} is not a matrix", t.shape()))));
        }
        let blocks = tensors.iter().map(Tensor::at_least_2d).collect::<Result<Vec<_>>>()?;
        let width: usize = blocks.iter().map(|b| b.shape()[1]).sum();
        let mut left = 0;
        let mut rows = Vec::new();
        for block in &blocks {
            let columns = block.shape()[1];
            let zeros = |n| Tensor::zeros(&[block.shape()[0], n], block.dtype(), first.device());
            rows.push(Tensor::cat(&[zeros(left)?, block.clone(), zeros(width - left - columns)?], 1)?);
            left += columns;
        }
        Tensor::cat(&rows, 0)
    }

    /// Every choice of one element of each vector, one choice a row.
    #[track_caller]
    pub fn cartesian_prod(tensors: &[Tensor]) -> Result<Tensor> {
        if let Some(t) = tensors.iter().find(|t| t.rank() != 1) {
            return Err(explain("cartesian_prod")(Error::shape(format!("{:?} is not a vector", t.shape()))));
        }
        if let [only] = tensors {
            return Ok(only.clone());
        }
        let grids = Tensor::meshgrid(tensors, "ij")?;
        let flat = grids.iter().map(|g| g.reshape(&[-1])).collect::<Result<Vec<_>>>()?;
        Tensor::stack(&flat, 1)
    }

    /// The choices of `r` elements of a vector in their order, each a row; with `replacement` an element may come again.
    #[track_caller]
    pub fn combinations(&self, r: usize, replacement: bool) -> Result<Tensor> {
        let explain = explain("combinations");
        if self.rank() != 1 {
            return Err(explain(Error::shape(format!("{:?} is not a vector", self.shape()))));
        }
        if r == 0 {
            return Tensor::zeros(&[0], self.dtype(), self.device());
        }
        let n = self.numel();
        let (mut places, mut chosen) = (Vec::new(), Vec::new());
        choices(n, r, replacement, &mut chosen, &mut places);
        let rows = places.len() / r;
        let index = Tensor::from_slice(&places, &[rows, r])?.to_device(self.device())?;
        self.take(&index)
    }

    /// Vectors as columns and matrices as they are, side by side.
    #[track_caller]
    pub fn column_stack(tensors: &[Tensor]) -> Result<Tensor> {
        let column = |t: &Tensor| if t.rank() < 2 { t.reshape(&[-1, 1]) } else { Ok(t.clone()) };
        let columns = tensors.iter().map(column).collect::<Result<Vec<_>>>()?;
        Tensor::hstack(&columns)
    }

    /// The tensors as views of their common shape.
    #[track_caller]
    pub fn broadcast_tensors(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        let shapes: Vec<&[usize]> = tensors.iter().map(Tensor::shape).collect();
        let shape = Tensor::broadcast_shapes(&shapes)?;
        tensors.iter().map(|t| t.expand(&shape)).collect()
    }

    /// The shape that all of these broadcast to.
    #[track_caller]
    pub fn broadcast_shapes(shapes: &[&[usize]]) -> Result<Vec<usize>> {
        let dims = |shape: &[usize]| -> Vec<Dim> { shape.iter().map(|&n| Dim::constant(n)).collect() };
        let mut out = Vec::new();
        for shape in shapes {
            out = broadcast(&out, &dims(shape)).map_err(explain("broadcast_shapes"))?.to_vec();
        }
        Ok(out.iter().filter_map(|d| d.known()).collect())
    }

    /// The elements along a diagonal of a square matrix of zeros.
    #[track_caller]
    pub fn diagflat(&self, offset: i64) -> Result<Tensor> {
        self.reshape(&[-1])?.diag(offset)
    }

    /// Views of parts along `dim`: as many as `sections` says and as equal as can be, the first ones longer.
    #[track_caller]
    pub fn tensor_split(&self, sections: i64, dim: i64) -> Result<Vec<Tensor>> {
        let explain = explain("tensor_split");
        if self.rank() == 0 || sections <= 0 {
            return Err(explain(Error::value(format!(
                "{sections} sections of a tensor of shape {:?}",
                self.shape()
            ))));
        }
        let n = self.shape()[wrap_dim(dim, self.rank()).map_err(explain)?] as i64;
        let ends: Vec<i64> = (1..sections).map(|i| i * (n / sections) + i.min(n % sections)).collect();
        self.tensor_split_at(&ends, dim)
    }

    /// Views of the parts along `dim` between these places, which may be negative or past the end.
    #[track_caller]
    pub fn tensor_split_at(&self, places: &[i64], dim: i64) -> Result<Vec<Tensor>> {
        if self.rank() == 0 {
            return Err(explain("tensor_split")(Error::shape("rank 0 has nothing to split")));
        }
        let starts = std::iter::once(None).chain(places.iter().map(|&p| Some(p)));
        let ends = places.iter().map(|&p| Some(p)).chain([None]);
        starts.zip(ends).map(|(start, end)| Ok(self.slice(dim, start, end, 1)?.sibling())).collect()
    }

    /// Whether both have the same shape and elements, as a tensor of one truth value.
    #[track_caller]
    pub fn equal(&self, other: &Tensor) -> Result<Tensor> {
        if self.shape() != other.shape() {
            return Tensor::full(&[], false, DType::Bool, self.device());
        }
        self.eq(other)?.all(&[], false)
    }

    /// Whether every element is close to the other's, as `isclose` says.
    #[track_caller]
    pub fn allclose(&self, other: &Tensor, rtol: f64, atol: f64, equal_nan: bool) -> Result<Tensor> {
        self.isclose(other, rtol, atol, equal_nan)?.all(&[], false)
    }

    /// beta self + alpha times the sum of the batch's products. With beta 0 not even a NaN of this tensor counts.
    #[track_caller]
    pub fn addbmm(
        &self,
        a: &Tensor,
        b: &Tensor,
        beta: impl Into<Arg<'static>>,
        alpha: impl Into<Arg<'static>>,
    ) -> Result<Tensor> {
        let ([batch, n, k], [other, inner, m]) = (a.shape(), b.shape()) else {
            return Err(explain("addbmm")(Error::shape(format!(
                "{:?} and {:?} are no batches of matrices",
                a.shape(),
                b.shape()
            ))));
        };
        if (batch, k) != (other, inner) {
            return Err(explain("addbmm")(Error::shape(format!(
                "{:?} and {:?} do not multiply: batches {batch} and {other}, inner extents {k} and {inner}",
                a.shape(),
                b.shape()
            ))));
        }
        // The sum over the batch is a sum over longer rows.
        let long = (batch * k) as i64;
        let rows = a.permute(&[1, 0, 2])?.reshape(&[*n as i64, long])?;
        let columns = b.reshape(&[long, *m as i64])?;
        let own = self.expand(&[*n, *m])?;
        let (beta, alpha): (Arg, Arg) = (beta.into(), alpha.into());
        own.addmm(&rows, &columns, beta, alpha)
    }
}

/// Appends the rising choices of `r` of `n` places.
fn choices(n: usize, r: usize, again: bool, chosen: &mut Vec<usize>, out: &mut Vec<i64>) {
    if chosen.len() == r {
        out.extend(chosen.iter().map(|&i| i as i64));
        return;
    }
    let first = chosen.last().map_or(0, |&i| i + usize::from(!again));
    for i in first..n {
        chosen.push(i);
        choices(n, r, again, chosen, out);
        chosen.pop();
    }
}
