//! Diagonals as vectors: diag_embed, trace.

use super::rules::{chain, f32s, int_or, ints, one};
use super::view::{diagonal_dims, diagonal_layout, extent, lower_into_part};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Dim, Infer, Shape, Types};
use crate::lower::{Steps, View};
use crate::samples::{host, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::ReduceOp;
use smallvec::smallvec;

/// The two dims of a new diagonal in a tensor of one more dimension; the last two where they are left out.
fn new_dims(a: Arg, b: Arg, rank: usize) -> Result<(usize, usize)> {
    diagonal_dims(Arg::Int(int_or(a, -2)?), Arg::Int(int_or(b, -1)?), rank)
}

fn infer_diag_embed(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    let Some(last) = t.rank().checked_sub(1) else {
        return Err(Error::shape("a tensor of rank 0 has no elements for a diagonal"));
    };
    let (a, b) = new_dims(c.host(2)?, c.host(3)?, t.rank() + 1)?;
    let side = Dim::constant(extent(t, last)? + int_or(c.host(1)?, 0)?.unsigned_abs() as usize);
    let mut others = t.shape[..last].iter();
    let shape: Shape = (0..t.rank() + 1)
        .map(|d| if d == a || d == b { Some(side) } else { others.next().copied() })
        .collect::<Option<_>>()
        .ok_or_else(|| Error::internal("dimensions of a diagonal"))?;
    one(t.dtype, shape)
}

fn infer_trace(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    match t.rank() {
        2 => one(if t.dtype.is_float() { t.dtype } else { DType::I64 }, Shape::new()),
        rank => Err(Error::shape(format!("a trace is of a matrix, got rank {rank}"))),
    }
}

fn lower_trace(s: &mut Steps) -> Result<()> {
    let (x, out) = (s.input(0)?, s.output(0));
    let diagonal = View { layout: diagonal_layout(&x.layout, 0, 0, 1), ..x };
    s.region(&[&diagonal], &[&out], |r, n| {
        let each = r.cast(n[0], out.dtype);
        Ok(smallvec![r.reduce(ReduceOp::Sum, each, &[0], false)])
    })
}

ops! {
    /// Zeros with the last dimension on a diagonal of two new ones.
    DIAG_EMBED = "diag_embed(Tensor self, int offset=0, int dim1=-2, int dim2=-1) -> Tensor" {
        infer: infer_diag_embed,
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| {
            let (a, b) = new_dims(c.host(2)?, c.host(3)?, dy.rank())?;
            dy.diagonal(int_or(c.host(1)?, 0)?, a as i64, b as i64)
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(|s| lower_into_part(s, |s, layout| {
            let (a, b) = new_dims(s.host(2)?, s.host(3)?, layout.rank())?;
            Ok(diagonal_layout(layout, int_or(s.host(1)?, 0)?, a, b))
        })),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3])]);
            s.case([t(&[2, 3]), host(1i64)]);
            s.case([t(&[2, 3]), host(-2i64), host(0i64), host(2i64)]);
            s.case([t(&[0])]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[])]);
            e.case(ErrorKind::Value, [f32s(&[3]), host(0i64), host(1i64), host(-1i64)]);
            e.case(ErrorKind::Index, [f32s(&[3]), host(0i64), host(2i64), host(0i64)]);
        },
    }
    /// Sum of a matrix's main diagonal; of integers and bool as i64.
    TRACE = "trace(Tensor self) -> Tensor" {
        infer: infer_trace,
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| {
            let dims = c.input_dims(0)?;
            let along = dy.expand(&[dims[0].min(dims[1])])?;
            let places = [0, 0, 1].map(Arg::Int);
            let args = [Arg::Tensor(&along), Arg::Ints(&ints(&dims)), places[0], places[1], places[2]];
            bind1(&super::DIAGONAL_BACKWARD, &args)
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Steps(lower_trace),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3, 3])]);
            s.case([t(&[2, 4])]);
            s.case([t(&[4, 1])]);
            s.case([t(&[0, 2])]);
        },
        errors: |e| e.case(ErrorKind::Shape, [f32s(&[3])]),
    }
}

impl Tensor {
    /// Zeros with the last dimension on the diagonal `offset` of two new ones.
    #[track_caller]
    pub fn diag_embed(&self, offset: i64, dim1: i64, dim2: i64) -> Result<Tensor> {
        bind1(&DIAG_EMBED, &[Arg::Tensor(self), Arg::Int(offset), Arg::Int(dim1), Arg::Int(dim2)])
    }

    /// A matrix with this vector on a diagonal, or the diagonal of this matrix.
    #[track_caller]
    pub fn diag(&self, diagonal: i64) -> Result<Tensor> {
        match self.rank() {
            1 => self.diag_embed(diagonal, 0, 1),
            2 => self.diagonal(diagonal, 0, 1),
            rank => Err(Error::shape(format!("diag takes a vector or a matrix, got rank {rank}"))
                .in_op("diag")
                .at(crate::error::Origin::caller())),
        }
    }

    /// Sum of a matrix's main diagonal.
    #[track_caller]
    pub fn trace(&self) -> Result<Tensor> {
        bind1(&TRACE, &[Arg::Tensor(self)])
    }
}
