//! Systems of linear equations, inverses and determinants.

use super::factors::{factorised, square_errors};
use super::matrices::{batch_of, extents, factor, matrix, one_batch, same_batch, sides, square, turned};
use super::places::both;
use super::rules::{f32s, flag, wanted};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, TensorType, Types};
use crate::lower::{Steps, View};
use crate::samples::{ErrorSamples, exact, host, matrices, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::{BinaryOp, ReduceOp, UnaryOp};
use kernels::routines::Kind;
use smallvec::smallvec;

/// A true unless it is said to be false.
fn yes(arg: Arg) -> Result<bool> {
    Ok(arg.is_none() || arg.bool()?)
}

/// The right-hand side of operand 1 and whether A stands to the left of the unknown.
fn infer_system(c: &Infer, left: bool) -> Result<TensorType> {
    let ((a, n), b) = (square(c, 0)?, matrix(c, 1)?);
    same_batch(a, b)?;
    let (rows, columns) = sides(b);
    match n == if left { rows } else { columns } {
        true => Ok(b.clone()),
        false => Err(Error::shape(format!("{a} and {b} are no system of equations"))),
    }
}

/// A and B as the routines want them: X A = B is A^T X^T = B^T.
fn system(s: &Steps, left: bool) -> Result<(View, View, View, [usize; 2])> {
    let (a, b, x) = (s.input(0)?, s.input(1)?, s.output(0));
    let (a, b, x) = if left { (a, b, x) } else { (turned(&a), turned(&b), turned(&x)) };
    let (_, n, k) = extents(&b);
    Ok((a, b, x, [n, k]))
}

/// minus `x` times the transposed cotangent of the right-hand side, or the other way round.
fn of_matrix(d_rhs: &Tensor, x: &Tensor, left: bool) -> Result<Tensor> {
    match left {
        true => d_rhs.matmul(&x.mt()?)?.neg(),
        false => x.mt()?.matmul(d_rhs)?.neg(),
    }
}

fn triangular_gradients(c: &VjpContext) -> Result<Gradients> {
    let (upper, left, unit) = (flag(c.host(2)?)?, yes(c.host(3)?)?, flag(c.host(4)?)?);
    let (a, x, dy) = (c.input(0)?, c.output(0)?, c.dy()?);
    let d_rhs = a.mt()?.linalg_solve_triangular(dy, !upper, left, unit)?;
    let d_matrix = wanted(c, 0, || {
        let all = of_matrix(&d_rhs, x, left)?;
        let off = unit as i64;
        if upper { all.triu(off) } else { all.tril(-off) }
    })?;
    Ok(smallvec![d_matrix, Some(d_rhs)])
}

fn solve_gradients(c: &VjpContext) -> Result<Gradients> {
    let left = yes(c.host(2)?)?;
    let (a, x, dy) = (c.input(0)?, c.output(0)?, c.dy()?);
    let d_rhs = a.mt()?.linalg_solve_ex(dy, left, false)?.0;
    Ok(smallvec![wanted(c, 0, || of_matrix(&d_rhs, x, left))?, Some(d_rhs)])
}

/// What of A's LU factors a determinant is made of: the diagonal of U, and minus one for each exchange of rows.
fn diagonal_and_signs(s: &mut Steps) -> Result<(View, View)> {
    let a = s.input(0)?;
    let (batch, n, _) = extents(&a);
    let (lu, pivots, code) =
        (s.temp(a.dtype, &[batch, n, n]), s.temp(DType::I32, &[batch, n]), s.temp(DType::I32, &[batch]));
    factor(s, Kind::Lu { pivot: true, check: false }, &[n, n], &[&a, &lu, &pivots, &code])?;
    let mut layout = lu.layout.select(2, 0);
    layout.strides[1] = n as isize + 1;
    Ok((View { layout, ..lu }, pivots))
}

/// A view of a batch as one dimension; outputs are dense.
fn as_batch(v: View, batch: usize) -> Result<View> {
    let layout = v.layout.reshape(&[batch]).ok_or_else(|| Error::internal("an output is not dense"))?;
    Ok(View { layout, ..v })
}

fn lower_det(s: &mut Steps, with_log: bool) -> Result<()> {
    let (diagonal, pivots) = diagonal_and_signs(s)?;
    let (batch, n) = (diagonal.layout.shape[0], diagonal.layout.shape[1]);
    let first = as_batch(s.output(0), batch)?;
    let second = if with_log { Some(as_batch(s.output(1), batch)?) } else { None };
    let outputs: Vec<&View> = std::iter::once(&first).chain(&second).collect();
    let dtype = diagonal.dtype;
    s.region(&[&diagonal, &pivots], &outputs, |r, nodes| {
        let place = r.index(&[batch, n], 1);
        let one = r.constant(1i64, DType::I64);
        let place = r.binary(BinaryOp::Add, place, one);
        let pivot = r.cast(nodes[1], DType::I64);
        let kept = r.binary(BinaryOp::Eq, pivot, place);
        let (plus, minus) = (r.constant(1.0, dtype), r.constant(-1.0, dtype));
        let sign = r.select(kept, plus, minus);
        if !with_log {
            let factors = r.binary(BinaryOp::Mul, nodes[0], sign);
            return Ok(smallvec![r.reduce(ReduceOp::Prod, factors, &[1], false)]);
        }
        let own = r.unary(UnaryOp::Sign, nodes[0]);
        let signs = r.binary(BinaryOp::Mul, own, sign);
        let size = r.unary(UnaryOp::Abs, nodes[0]);
        let log = r.unary(UnaryOp::Log, size);
        Ok(smallvec![r.reduce(ReduceOp::Prod, signs, &[1], false), r.reduce(ReduceOp::Sum, log, &[1], false)])
    })
}

/// The solution of A^T X = diag(d), with a singular A moved off its singularity by the rounding of its type, as in torch:
/// the determinant is smooth there, and the gradient is that of a matrix near by.
fn through_determinant(c: &VjpContext, d: &Tensor) -> Result<Tensor> {
    let a = c.input(0)?;
    let n = a.shape()[a.rank() - 1];
    let nudged = {
        let (lu, pivots, _) = a.detach()?.linalg_lu_factor_ex(true, false)?;
        let least = if a.dtype() == DType::F64 { f64::EPSILON } else { f32::EPSILON as f64 };
        let zeros = lu.diagonal(0, -2, -1)?.eq(0.0)?;
        let moves = zeros.to(a.dtype())?.mul(least)?.diag_embed(0, -2, -1)?;
        let lower = lu.tril(-1)?.add(&Tensor::eye(n, n, a.dtype(), a.device())?)?;
        let rows = pivots.lu_permutation(n)?.unsqueeze(-1)?.expand(a.shape())?;
        let moved = lower.matmul(&moves)?;
        a.add(&moved.zeros_like(None)?.scatter(-2, &rows, &moved)?)?
    };
    let diagonal = d.unsqueeze(-1)?.expand(&a.shape()[..a.rank() - 1])?.diag_embed(0, -2, -1)?;
    Ok(nudged.mt()?.linalg_solve_ex(&diagonal, true, false)?.0)
}

/// B, factor, upper: the solution by two substitutions.
fn lower_cholesky_solve(s: &mut Steps) -> Result<()> {
    let (b, l, out, upper) = (s.input(0)?, s.input(1)?, s.output(0), flag(s.host(2)?)?);
    let l = if upper { turned(&l) } else { l };
    let (_, n, k) = extents(&b);
    let half = s.temp(b.dtype, &b.layout.shape);
    factor(s, Kind::Triangular { upper: false, unit: false }, &[n, k], &[&l, &b, &half])?;
    factor(s, Kind::Triangular { upper: true, unit: false }, &[n, k], &[&turned(&l), &half, &out])
}

/// The factor's gradient is that of A = L L^T, also above the diagonal (as in torch).
fn cholesky_solve_gradients(c: &VjpContext) -> Result<Gradients> {
    let (l, x, dy, upper) = (c.input(1)?, c.output(0)?, c.dy()?, flag(c.host(2)?)?);
    let d_rhs = dy.cholesky_solve(l, upper)?;
    let of_factor = wanted(c, 1, || {
        let half = d_rhs.matmul(&x.mt()?)?;
        let of_product = half.add(&half.mt()?)?;
        if upper { l.matmul(&of_product)?.neg() } else { of_product.matmul(l)?.neg() }
    })?;
    Ok(smallvec![Some(d_rhs), of_factor])
}

fn infer_det(c: &Infer) -> Result<Types> {
    let (t, _) = square(c, 0)?;
    Ok(smallvec![TensorType { dtype: t.dtype, shape: batch_of(t, &[]) }])
}

fn system_errors(e: &mut ErrorSamples) {
    square_errors(e, &[f32s(&[3, 1])]);
    e.case(ErrorKind::Shape, [f32s(&[3, 3]), f32s(&[2, 3])]);
    e.case(ErrorKind::DType, [f32s(&[3, 3]), tensor(DType::F64, &[3, 1], 0.0, 1.0)]);
    e.case(ErrorKind::Shape, [f32s(&[2, 3, 3]), f32s(&[3, 3])]);
}

ops! {
    /// The solution X of A X = B (or X A = B) for triangular A of the same batch, by substitution; only A's triangle is read.
    LINALG_SOLVE_TRIANGULAR = "linalg_solve_triangular(Tensor self, Tensor B, *, bool upper, bool left=True, bool unitriangular=False) -> Tensor" {
        infer: |c| Ok(smallvec![infer_system(c, yes(c.host(3)?)?)?]),
        vjp: Vjp::Rule(Saves { inputs: 1, ..Saves::OUTPUT }, triangular_gradients),
        effect: Effect::Pure,
        cost: cost::per_output::<8>,
        lower: Lower::Steps(|s| {
            let (upper, left, unit) = (flag(s.host(2)?)?, yes(s.host(3)?)?, flag(s.host(4)?)?);
            let (a, b, x, extents) = system(s, left)?;
            factor(s, Kind::Triangular { upper: upper == left, unit }, &extents, &[&a, &b, &x])
        }),
        samples: |s| {
            let d = s.dtype;
            if factorised(d) {
                let t = |dims: &[usize]| tensor(d, dims, -1.0, 1.0);
                s.case([matrices(d, &[3, 3], 3.0), t(&[3, 2]), host(true)]);
                s.case([matrices(d, &[2, 4, 4], 3.0), t(&[2, 4, 1]), host(false), host(true)]);
                s.case([matrices(d, &[3, 3], 3.0), t(&[2, 3]), host(true), host(false)]);
                s.case([matrices(d, &[3, 3], 3.0), t(&[2, 3]), host(false), host(false), host(true)]);
                s.case([matrices(d, &[0, 0], 0.0), t(&[0, 2]), host(true)]);
            }
        },
        errors: system_errors,
    }
    /// The solution X of A X = B (or X A = B) for square A of the same batch, and per matrix 0 or the first zero on the
    /// diagonal of A's U (from 1).
    LINALG_SOLVE_EX = "linalg_solve_ex(Tensor A, Tensor B, *, bool left=True, bool check_errors=False) -> (Tensor, Tensor)" {
        infer: |c| {
            let (a, _) = square(c, 0)?;
            let code = TensorType { dtype: DType::I32, shape: batch_of(a, &[]) };
            Ok(smallvec![infer_system(c, yes(c.host(2)?)?)?, code])
        },
        vjp: Vjp::Rule(Saves { inputs: 1, ..Saves::OUTPUT }, solve_gradients),
        effect: Effect::Pure,
        cost: cost::per_output::<16>,
        lower: Lower::Steps(|s| {
            let (left, check) = (yes(s.host(2)?)?, flag(s.host(3)?)?);
            let (a, b, x, sizes) = system(s, left)?;
            let ((batch, n, _), code) = (extents(&a), s.output(1));
            let (lu, pivots) = (s.temp(a.dtype, &[batch, n, n]), s.temp(DType::I32, &[batch, n]));
            factor(s, Kind::Solve { check }, &sizes, &[&a, &b, &x, &lu, &pivots, &code])
        }),
        samples: |s| {
            let d = s.dtype;
            if factorised(d) {
                let t = |dims: &[usize]| tensor(d, dims, -1.0, 1.0);
                s.case([matrices(d, &[3, 3], 3.0), t(&[3, 2])]);
                s.case([matrices(d, &[2, 4, 4], 3.0), t(&[2, 4, 1]), host(true), host(true)]);
                s.case([matrices(d, &[3, 3], 3.0), t(&[2, 3]), host(false)]);
                s.case([matrices(d, &[0, 0], 0.0), t(&[0, 2])]);
            }
        },
        errors: |e| {
            system_errors(e);
            e.case(ErrorKind::Value, [exact(DType::F32, &[2, 2], &[1i64, 2, 2, 4]), f32s(&[2, 1]), host(true), host(true)]);
        },
    }
    /// The solution X of A X = B for the Cholesky factor of A, of the same batch.
    CHOLESKY_SOLVE = "cholesky_solve(Tensor self, Tensor input2, bool upper=False) -> Tensor" {
        infer: |c| {
            let (b, (l, n)) = (matrix(c, 0)?, square(c, 1)?);
            same_batch(b, l)?;
            match sides(b).0 == n {
                true => Ok(smallvec![b.clone()]),
                false => Err(Error::shape(format!("{l} and {b} are no system of equations"))),
            }
        },
        vjp: Vjp::Rule(Saves { inputs: 2, ..Saves::OUTPUT }, cholesky_solve_gradients),
        effect: Effect::Pure,
        cost: cost::per_output::<16>,
        lower: Lower::Steps(lower_cholesky_solve),
        samples: |s| {
            let d = s.dtype;
            if factorised(d) {
                s.case([tensor(d, &[3, 2], -1.0, 1.0), matrices(d, &[3, 3], 3.0)]);
                s.case([tensor(d, &[2, 4, 1], -1.0, 1.0), matrices(d, &[2, 4, 4], 3.0)]);
            }
            // Finite differences would see the triangle that is not read.
            if d == DType::F32 {
                s.case([tensor(d, &[3, 2], -1.0, 1.0), matrices(d, &[3, 3], 3.0), host(true)]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[2, 3]), f32s(&[3, 3])]);
            e.case(ErrorKind::Shape, [f32s(&[3, 2]), f32s(&[3, 2])]);
            e.case(ErrorKind::DType, [tensor(DType::F64, &[3, 1], 0.0, 1.0), f32s(&[3, 3])]);
        },
    }
    /// The inverses of square matrices, and per matrix 0 or the first zero on the diagonal of its U (from 1).
    LINALG_INV_EX = "linalg_inv_ex(Tensor A, *, bool check_errors=False) -> (Tensor, Tensor)" {
        infer: |c| {
            let (a, _) = square(c, 0)?;
            Ok(smallvec![a.clone(), TensorType { dtype: DType::I32, shape: batch_of(a, &[]) }])
        },
        vjp: Vjp::Rule(Saves::OUTPUT, |c| Ok(smallvec![wanted(c, 0, || {
            let turned = c.output(0)?.mt()?;
            turned.matmul(c.dy()?)?.matmul(&turned)?.neg()
        })?])),
        effect: Effect::Pure,
        cost: cost::per_output::<16>,
        lower: Lower::Steps(|s| {
            let (a, x, code) = (s.input(0)?, s.output(0), s.output(1));
            let (_, n, _) = extents(&a);
            factor(s, Kind::Inverse { check: flag(s.host(1)?)? }, &[n], &[&a, &x, &code])
        }),
        samples: |s| if factorised(s.dtype) {
            s.case([matrices(s.dtype, &[3, 3], 3.0)]);
            s.case([matrices(s.dtype, &[2, 4, 4], 3.0), host(true)]);
            s.case([matrices(s.dtype, &[2, 0, 0], 0.0)]);
        },
        errors: |e| {
            square_errors(e, &[]);
            e.case(ErrorKind::Value, [exact(DType::F32, &[2, 2], &[1i64, 2, 2, 4]), host(true)]);
        },
    }
    /// The determinants of square matrices.
    LINALG_DET = "linalg_det(Tensor A) -> Tensor" {
        infer: infer_det,
        vjp: Vjp::Rule(Saves::BOTH, |c| Ok(smallvec![wanted(c, 0, || {
            through_determinant(c, &c.dy()?.mul(c.output(0)?)?)
        })?])),
        effect: Effect::Pure,
        cost: cost::per_input::<8>,
        lower: Lower::Steps(|s| lower_det(s, false)),
        samples: |s| if factorised(s.dtype) {
            s.case([matrices(s.dtype, &[3, 3], 0.0)]);
            s.case([matrices(s.dtype, &[2, 4, 4], 1.0)]);
            s.case([matrices(s.dtype, &[2, 0, 0], 0.0)]);
            s.case([exact(s.dtype, &[2, 2], &[1i64, 2, 2, 4])]);
        },
        errors: |e| square_errors(e, &[]),
    }
    /// The signs of the determinants of square matrices and the logarithms of their sizes.
    LINALG_SLOGDET = "linalg_slogdet(Tensor A) -> (Tensor, Tensor)" {
        infer: |c| {
            let one = infer_det(c)?;
            Ok(smallvec![one[0].clone(), one[0].clone()])
        },
        vjp: Vjp::Rule(Saves::inputs(1), |c| Ok(smallvec![wanted(c, 0, || {
            let a = c.input(0)?;
            match c.cotangents.get(1).and_then(Option::as_ref) {
                None => a.zeros_like(None),
                Some(d) => {
                    let diagonal = d.unsqueeze(-1)?.expand(&a.shape()[..a.rank() - 1])?.diag_embed(0, -2, -1)?;
                    Ok(a.mt()?.linalg_solve_ex(&diagonal, true, false)?.0)
                }
            }
        })?])),
        effect: Effect::Pure,
        cost: cost::per_input::<8>,
        lower: Lower::Steps(|s| lower_det(s, true)),
        samples: |s| if factorised(s.dtype) {
            s.case([matrices(s.dtype, &[3, 3], 0.0)]);
            s.case([matrices(s.dtype, &[2, 4, 4], 2.0)]);
            s.case([matrices(s.dtype, &[2, 0, 0], 0.0)]);
            s.case([exact(s.dtype, &[2, 2], &[1i64, 2, 2, 4])]);
        },
        errors: |e| square_errors(e, &[]),
    }
}

impl Tensor {
    /// The solution of A X = B (X A = B unless `left`) for these triangular A; batches broadcast.
    #[track_caller]
    pub fn linalg_solve_triangular(
        &self,
        b: &Tensor,
        upper: bool,
        left: bool,
        unitriangular: bool,
    ) -> Result<Tensor> {
        let (a, b) = one_batch(self, b)?;
        let flags = [upper, left, unitriangular].map(Arg::Bool);
        bind1(&LINALG_SOLVE_TRIANGULAR, &[Arg::Tensor(&a), Arg::Tensor(&b), flags[0], flags[1], flags[2]])
    }

    /// The solution of A X = B (X A = B unless `left`) and a code per matrix; batches broadcast.
    #[track_caller]
    pub fn linalg_solve_ex(&self, b: &Tensor, left: bool, check_errors: bool) -> Result<(Tensor, Tensor)> {
        let (a, b) = one_batch(self, b)?;
        both(&LINALG_SOLVE_EX, &[Arg::Tensor(&a), Arg::Tensor(&b), Arg::Bool(left), Arg::Bool(check_errors)])
    }

    /// The inverses and a code per matrix.
    #[track_caller]
    pub fn linalg_inv_ex(&self, check_errors: bool) -> Result<(Tensor, Tensor)> {
        both(&LINALG_INV_EX, &[Arg::Tensor(self), Arg::Bool(check_errors)])
    }

    /// The inverses; an error where a matrix is singular.
    #[track_caller]
    pub fn linalg_inv(&self) -> Result<Tensor> {
        Ok(self.linalg_inv_ex(true)?.0)
    }

    /// The determinants.
    #[track_caller]
    pub fn linalg_det(&self) -> Result<Tensor> {
        bind1(&LINALG_DET, &[Arg::Tensor(self)])
    }

    /// The signs of the determinants and the logarithms of their sizes.
    #[track_caller]
    pub fn linalg_slogdet(&self) -> Result<(Tensor, Tensor)> {
        both(&LINALG_SLOGDET, &[Arg::Tensor(self)])
    }
}
