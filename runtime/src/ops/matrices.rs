//! What blocks of linear algebra share: shapes and types of batches of matrices, and matrices as operands of routines.

use crate::error::{Error, Result};
use crate::infer::{Dim, Infer, Shape, TensorType, broadcast};
use crate::lower::{Steps, View};
use crate::tensor::Tensor;
use kernels::DType;
use kernels::routines::Kind;

/// Tensor operand `i` as matrices of f32 or f64.
pub(super) fn matrix<'a>(c: &Infer<'a>, i: usize) -> Result<&'a TensorType> {
    let t = c.tensor(i)?;
    if t.rank() < 2 {
        return Err(Error::shape(format!("expected matrices, at least two dimensions, got {t}")));
    }
    match t.dtype {
        DType::F32 | DType::F64 => Ok(t),
        other => Err(Error::dtype(format!("factorisations take float32 or float64, got {other}"))),
    }
}

/// Tensor operand `i` as square matrices, and their extent.
pub(super) fn square<'a>(c: &Infer<'a>, i: usize) -> Result<(&'a TensorType, Dim)> {
    let t = matrix(c, i)?;
    let (rows, columns) = sides(t);
    match rows == columns {
        true => Ok((t, rows)),
        false => Err(Error::shape(format!("expected square matrices, got {t}"))),
    }
}

/// The extents of a matrix.
pub(super) fn sides(t: &TensorType) -> (Dim, Dim) {
    let rank = t.rank();
    (t.shape[rank - 2], t.shape[rank - 1])
}

/// The smaller of two extents.
pub(super) fn lesser(a: Dim, b: Dim) -> Result<Dim> {
    match (a.known(), b.known()) {
        (Some(x), Some(y)) => Ok(Dim::constant(x.min(y))),
        _ if a == b => Ok(a),
        _ => Err(Error::shape(format!("the smaller of {a} and {b} must be known"))),
    }
}

/// The extents before the last two, then these.
pub(super) fn batch_of(t: &TensorType, rest: &[Dim]) -> Shape {
    t.shape[..t.rank() - 2].iter().chain(rest).copied().collect()
}

/// Two operands of one type and one batch.
pub(super) fn same_batch(a: &TensorType, b: &TensorType) -> Result<()> {
    if a.dtype != b.dtype {
        return Err(Error::dtype(format!("expected operands of one type, got {} and {}", a.dtype, b.dtype)));
    }
    match a.shape[..a.rank() - 2] == b.shape[..b.rank() - 2] {
        true => Ok(()),
        false => Err(Error::shape(format!("the batches of {a} and {b} differ"))),
    }
}

/// The extents of a view of matrices: batch, rows, columns.
pub(super) fn extents(v: &View) -> (usize, usize, usize) {
    let (shape, rank) = (&v.layout.shape, v.layout.rank());
    (shape[..rank - 2].iter().product(), shape[rank - 2], shape[rank - 1])
}

/// The same matrices turned over.
pub(super) fn turned(v: &View) -> View {
    let rank = v.layout.rank();
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(rank - 2, rank - 1);
    View { layout: v.layout.permute(&order), ..v.clone() }
}

/// A routine on the matrices of one batch.
pub(super) fn factor(s: &mut Steps, kind: Kind, extents_of_one: &[usize], operands: &[&View]) -> Result<()> {
    let (batch, ..) = extents(operands[0]);
    s.routine(kind, operands[0].dtype, batch, extents_of_one, operands)
}

/// Two tensors of matrices with their batches broadcast.
pub(super) fn one_batch(a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor)> {
    let (of_a, of_b) = (a.tensor_type(), b.tensor_type());
    for t in [&of_a, &of_b] {
        if t.rank() < 2 {
            return Err(Error::shape(format!("expected matrices, at least two dimensions, got {t}")));
        }
    }
    let batch = broadcast(&of_a.shape[..of_a.rank() - 2], &of_b.shape[..of_b.rank() - 2])?;
    let over = |x: &Tensor, t: &TensorType| -> Result<Tensor> {
        let mut dims: Vec<usize> = batch.iter().map(|d| d.known().unwrap_or(1)).collect();
        dims.extend(&x.shape()[t.rank() - 2..]);
        if dims == x.shape() { Ok(x.clone()) } else { x.expand(&dims) }
    };
    Ok((over(a, &of_a)?, over(b, &of_b)?))
}

impl Tensor {
    /// Matrices with rows and columns exchanged, as a view.
    #[track_caller]
    pub fn mt(&self) -> Result<Tensor> {
        self.transpose(-2, -1)
    }
}
