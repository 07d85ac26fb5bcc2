//! Factorisations of matrices: Cholesky, LU with its permutation, QR and its reflections.
//!
//! Gradients are the adjoints of the factors' own equations, solved by substitution with the factors themselves.

use super::matrices::{batch_of, extents, factor, lesser, matrix, sides, square};
use super::places::both;
use super::rules::{f32s, flag, i64s, wanted};
use crate::door::{bind, bind1};
use crate::error::{Error, ErrorKind, Origin, Result};
use crate::infer::{Dim, TensorType};
use crate::samples::{ErrorSamples, SampleArg, exact, host, matrices, tensor};
use crate::table::{Effect, Lower, OpDef, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::routines::Kind;
use smallvec::smallvec;

fn cholesky_gradient(c: &VjpContext) -> Result<Tensor> {
    let upper = flag(c.host(1)?)?;
    let turned = |t: &Tensor| if upper { t.mt() } else { Ok(t.clone()) };
    let (l, dl) = (turned(c.output(0)?)?, turned(c.dy()?)?);
    let inner = l.mt()?.matmul(&dl)?.tril(0)?;
    let inner = inner.add(&inner.tril(-1)?.mt()?)?.mul(0.5)?;
    let half = l.mt()?.linalg_solve_triangular(&inner, true, true, false)?;
    l.linalg_solve_triangular(&half, false, false, false)
}

/// The rows of matrices put where `rows` says they came from.
fn put_rows(t: &Tensor, rows: &Tensor) -> Result<Tensor> {
    let index = rows.unsqueeze(-1)?.expand(t.shape())?;
    t.zeros_like(None)?.scatter(-2, &index, t)
}

/// A = P L U. With the square part of L and U, what they change is the lower and the upper part of one matrix.
fn lu_gradient(c: &VjpContext) -> Result<Tensor> {
    let (lu, pivots, dy) = (c.output(0)?, c.output(1)?, c.dy()?);
    let rank = lu.rank();
    let (m, n) = (lu.shape()[rank - 2], lu.shape()[rank - 1]);
    let k = m.min(n) as i64;
    let rows = bind1(&LU_PERMUTATION, &[Arg::Tensor(pivots), Arg::Int(m as i64)])?;
    let part = |t: &Tensor, dim: i64, from: i64, n: i64| t.narrow(dim, from, n);
    let head = part(&part(lu, -2, 0, k)?, -1, 0, k)?;
    let (dl, du) = (part(dy, -1, 0, k)?.tril(-1)?, part(dy, -2, 0, k)?.triu(0)?);
    let (dl_head, du_head) = (part(&dl, -2, 0, k)?, part(&du, -1, 0, k)?);
    let (lower, upper) = (head.tril(-1)?, head.triu(0)?);
    // L's diagonal of ones changes nothing below the diagonal but the rows themselves.
    let from_l = lower.mt()?.matmul(&dl_head)?.add(&dl_head)?;
    let from_u = du_head.matmul(&upper.mt()?)?;
    let behind_l = |t: &Tensor| head.mt()?.linalg_solve_triangular(t, true, true, true);
    let before_u = |t: &Tensor| head.mt()?.linalg_solve_triangular(t, false, false, false);
    let square =
        |below: &Tensor, above: &Tensor| before_u(&behind_l(&below.tril(-1)?.add(&above.triu(0)?)?)?);
    let out = if m > n {
        let rest = m as i64 - k;
        let (l2, dl2) = (part(lu, -2, k, rest)?, part(&dl, -2, k, rest)?);
        let first = square(&from_l, &from_u.sub(&l2.mt()?.matmul(&dl2)?)?)?;
        Tensor::cat(&[first, before_u(&dl2)?], -2)?
    } else if m < n {
        let rest = n as i64 - k;
        let (u2, du2) = (part(lu, -1, k, rest)?, part(&du, -1, k, rest)?);
        let first = square(&from_l.sub(&du2.matmul(&u2.mt()?)?)?, &from_u)?;
        Tensor::cat(&[first, behind_l(&du2)?], -1)?
    } else {
        square(&from_l, &from_u)?
    };
    put_rows(&out, &rows)
}

/// The gradient through A = Q R where A has no more columns than rows.
fn qr_gradient_tall(q: &Tensor, r: &Tensor, dq: Option<&Tensor>, dr: Option<&Tensor>) -> Result<Tensor> {
    let mut inner = match dr {
        Some(dr) => dr.matmul(&r.mt()?)?,
        None => r.zeros_like(None)?,
    };
    if let Some(dq) = dq {
        inner = inner.sub(&q.mt()?.matmul(dq)?)?;
    }
    let upper = inner.triu(0)?;
    let symmetric = upper.add(&inner.triu(1)?.mt()?)?;
    let mut out = q.matmul(&symmetric)?;
    if let Some(dq) = dq {
        out = out.add(dq)?;
    }
    r.mt()?.linalg_solve_triangular(&out, false, false, false)
}

fn qr_gradient(c: &VjpContext) -> Result<Tensor> {
    let mode = qr_mode(c.host(1)?)?;
    let ty = c.input_dims(0)?;
    let (m, n) = (ty[ty.len() - 2], ty[ty.len() - 1]);
    if mode == "r" {
        return Err(
            Error::gradient("the gradient needs Q, which mode 'r' does not make").hint("use 'reduced'")
        );
    }
    if mode == "complete" && m > n {
        return Err(Error::gradient("the columns of a complete Q beyond those of A are not determined by A")
            .hint("use 'reduced'"));
    }
    let (q, r) = (c.output(0)?, c.output(1)?);
    let (dq, dr) = (c.cotangents[0].as_ref(), c.cotangents.get(1).and_then(Option::as_ref));
    if m >= n {
        return qr_gradient_tall(q, r, dq, dr);
    }
    // A = [A1 A2], R = [R1 R2]: Q and R1 come from A1 alone, and R2 = Q^T A2.
    let (m, rest) = (m as i64, (n - m) as i64);
    let (r1, r2) = (r.narrow(-1, 0, m)?, r.narrow(-1, m, rest)?);
    let Some(dr) = dr else {
        let first = qr_gradient_tall(q, &r1, dq, None)?;
        return Tensor::cat(&[first, r2.zeros_like(None)?], -1);
    };
    let (dr1, dr2) = (dr.narrow(-1, 0, m)?, dr.narrow(-1, m, rest)?);
    let through = q.matmul(&r2)?.matmul(&dr2.mt()?)?;
    let dq = match dq {
        Some(dq) => dq.add(&through)?,
        None => through,
    };
    let first = qr_gradient_tall(q, &r1, Some(&dq), Some(&dr1))?;
    Tensor::cat(&[first, q.matmul(&dr2)?], -1)
}

fn qr_mode(arg: Arg<'_>) -> Result<&str> {
    let mode = if arg.is_none() { "reduced" } else { arg.str()? };
    match mode {
        "reduced" | "complete" | "r" => Ok(mode),
        other => Err(Error::value(format!("mode must be 'reduced', 'complete' or 'r', got '{other}'"))),
    }
}

/// Back through the reflections one by one: each is undone in the cotangent, and gives its vector's and its factor's part.
fn householder_gradients(c: &VjpContext) -> Result<(Tensor, Tensor)> {
    let (packed, factors) = (c.input(0)?, c.input(1)?);
    let (m, n) = (packed.shape()[packed.rank() - 2], packed.shape()[packed.rank() - 1]);
    let k = factors.shape()[factors.rank() - 1];
    let eye = Tensor::eye(m, n, packed.dtype(), packed.device())?;
    let below = packed.tril(-1)?.add(&eye)?;
    let vector = |i: usize| below.narrow(-1, i as i64, 1);
    let scale = |i: usize| factors.narrow(-1, i as i64, 1)?.unsqueeze(-1);
    // products[i] is what reflection i is applied to.
    let mut products = vec![eye.expand(packed.shape())?];
    for i in (1..k).rev() {
        let (v, next) = (vector(i)?, &products[products.len() - 1]);
        let step = v.mul(&scale(i)?)?.matmul(&v.mt()?.matmul(next)?)?;
        let next = next.sub(&step)?;
        products.push(next);
    }
    let mut dy = c.dy()?.clone();
    let (mut vectors, mut scales) = (Vec::new(), Vec::new());
    for i in 0..k {
        let (v, tau, inner) = (vector(i)?, scale(i)?, &products[k - 1 - i]);
        let row = v.mt()?.matmul(inner)?;
        let through = dy.matmul(&row.mt()?)?;
        scales.push(v.mt()?.matmul(&through)?.neg()?.squeeze(-1)?);
        let of_vector = through.add(&inner.matmul(&dy.mt()?.matmul(&v)?)?)?;
        vectors.push(of_vector.mul(&tau)?.neg()?);
        dy = dy.sub(&v.mul(&tau)?.matmul(&v.mt()?.matmul(&dy)?)?)?;
    }
    if k == 0 {
        return Ok((packed.zeros_like(None)?, factors.zeros_like(None)?));
    }
    if k < n {
        let mut rest = packed.shape().to_vec();
        rest[packed.rank() - 1] = n - k;
        vectors.push(Tensor::zeros(&rest, packed.dtype(), packed.device())?);
    }
    Ok((Tensor::cat(&vectors, -1)?.tril(-1)?, Tensor::cat(&scales, -1)?))
}

/// Not square, a vector, a type without factorisations.
pub(super) fn square_errors(e: &mut ErrorSamples, more: &[SampleArg]) {
    let case = |first: SampleArg| std::iter::once(first).chain(more.iter().cloned()).collect::<Vec<_>>();
    e.case(ErrorKind::Shape, case(f32s(&[2, 3])));
    e.case(ErrorKind::Shape, case(f32s(&[3])));
    e.case(ErrorKind::DType, case(i64s(&[3, 3])));
}

/// Whether the type has factorisations.
pub(super) fn factorised(d: DType) -> bool {
    matches!(d, DType::F32 | DType::F64)
}

ops! {
    /// The Cholesky factor of symmetric positive definite matrices, of which one triangle is read, and per matrix 0 or
    /// the order of the first leading minor that is not positive.
    LINALG_CHOLESKY_EX = "linalg_cholesky_ex(Tensor self, *, bool upper=False, bool check_errors=False) -> (Tensor, Tensor)" {
        infer: |c| {
            let (t, _) = square(c, 0)?;
            Ok(smallvec![t.clone(), TensorType { dtype: DType::I32, shape: batch_of(t, &[]) }])
        },
        vjp: Vjp::Rule(Saves::OUTPUT, |c| Ok(smallvec![wanted(c, 0, || cholesky_gradient(c))?])),
        effect: Effect::Pure,
        cost: cost::per_input::<8>,
        lower: Lower::Steps(|s| {
            let (a, l, code) = (s.input(0)?, s.output(0), s.output(1));
            let kind = Kind::Cholesky { upper: flag(s.host(1)?)?, check: flag(s.host(2)?)? };
            let (_, n, _) = extents(&a);
            factor(s, kind, &[n], &[&a, &l, &code])
        }),
        samples: |s| {
            let d = s.dtype;
            if factorised(d) {
                s.case([matrices(d, &[3, 3], 4.0)]);
                s.case([matrices(d, &[2, 4, 4], 5.0), host(true), host(true)]);
                s.case([matrices(d, &[0, 0], 0.0)]);
                s.case([matrices(d, &[3, 0, 0], 0.0)]);
                s.case([matrices(d, &[9, 9], 12.0), host(false), host(true)]);
            }
        },
        errors: |e| {
            square_errors(e, &[]);
            e.case(ErrorKind::Value, [exact(DType::F32, &[2, 2], &[1.0, 0.0, 0.0, -1.0]), host(false), host(true)]);
        },
    }
    /// L below the diagonal and U above it, of matrices with rows exchanged; the exchanges (from 1); and per matrix 0 or
    /// the first zero on U's diagonal (from 1).
    LINALG_LU_FACTOR_EX = "linalg_lu_factor_ex(Tensor A, *, bool pivot=True, bool check_errors=False) -> (Tensor, Tensor, Tensor)" {
        infer: |c| {
            let t = matrix(c, 0)?;
            let (m, n) = sides(t);
            let codes = |rest: &[Dim]| TensorType { dtype: DType::I32, shape: batch_of(t, rest) };
            Ok(smallvec![t.clone(), codes(&[lesser(m, n)?]), codes(&[])])
        },
        vjp: Vjp::Rule(Saves { outputs: 3, ..Saves::NOTHING }, |c| Ok(smallvec![wanted(c, 0, || lu_gradient(c))?])),
        effect: Effect::Pure,
        cost: cost::per_input::<8>,
        lower: Lower::Steps(|s| {
            let (a, lu, pivots, code) = (s.input(0)?, s.output(0), s.output(1), s.output(2));
            let pivot = s.host(1)?;
            let pivot = pivot.is_none() || pivot.bool()?;
            let (_, m, n) = extents(&a);
            factor(s, Kind::Lu { pivot, check: flag(s.host(2)?)? }, &[m, n], &[&a, &lu, &pivots, &code])
        }),
        samples: |s| {
            let d = s.dtype;
            if factorised(d) {
                s.case([matrices(d, &[3, 3], 0.0)]);
                s.case([matrices(d, &[2, 4, 3], 0.0)]);
                s.case([matrices(d, &[3, 5], 0.0), host(true), host(true)]);
                s.case([matrices(d, &[2, 0, 0], 0.0)]);
                s.case([matrices(d, &[4, 4], 3.0), host(false)]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3])]);
            e.case(ErrorKind::DType, [i64s(&[3, 3])]);
            e.case(ErrorKind::Value, [exact(DType::F32, &[2, 2], &[1i64, 2, 2, 4]), host(true), host(true)]);
        },
    }
    /// The order of rows to which the exchanges of an LU factorisation lead: row i of P^T A is row `out[i]` of A.
    LU_PERMUTATION = "lu_permutation(Tensor pivots, int rows) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let m = usize::try_from(c.host(1)?.int()?).map_err(|_| Error::value("a negative number of rows"))?;
            if t.dtype != DType::I32 {
                return Err(Error::dtype(format!("pivots are int32, got {}", t.dtype)));
            }
            let Some((_, lead)) = t.shape.split_last() else {
                return Err(Error::shape("pivots have at least one dimension"));
            };
            let shape = lead.iter().copied().chain([Dim::constant(m)]).collect();
            Ok(smallvec![TensorType { dtype: DType::I64, shape }])
        },
        vjp: Vjp::Zero,
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Steps(|s| {
            let (pivots, out) = (s.input(0)?, s.output(0));
            let (shape, m) = (pivots.layout.shape.clone(), s.host(1)?.int()? as usize);
            let (k, batch) = (shape[shape.len() - 1], shape[..shape.len() - 1].iter().product());
            s.routine(Kind::Permutation, DType::F32, batch, &[k, m], &[&pivots, &out])
        }),
        samples: |s| if s.dtype == DType::I32 {
            s.case([exact(DType::I32, &[3], &[3i64, 3, 3]), host(3i64)]);
            s.case([exact(DType::I32, &[2, 2], &[1i64, 4, 2, 2]), host(4i64)]);
        },
        errors: |e| e.case(ErrorKind::DType, [i64s(&[3]), host(3i64)]),
    }
    /// Q with orthonormal columns and R upper triangular with A = Q R; as many columns of Q as the smaller extent of A
    /// ('reduced'), all ('complete'), or none ('r').
    LINALG_QR = "linalg_qr(Tensor A, str mode='reduced') -> (Tensor, Tensor)" {
        infer: |c| {
            let t = matrix(c, 0)?;
            let (mode, (m, n)) = (qr_mode(c.host(1)?)?, sides(t));
            let k = if mode == "complete" { m } else { lesser(m, n)? };
            let of = |shape| TensorType { dtype: t.dtype, shape };
            let q = if mode == "r" { smallvec![Dim::constant(0)] } else { batch_of(t, &[m, k]) };
            Ok(smallvec![of(q), of(batch_of(t, &[k, n]))])
        },
        vjp: Vjp::Rule(Saves { outputs: 3, ..Saves::NOTHING }, |c| Ok(smallvec![wanted(c, 0, || qr_gradient(c))?])),
        effect: Effect::Pure,
        cost: cost::per_input::<16>,
        lower: Lower::Steps(|s| {
            let (a, q, r) = (s.input(0)?, s.output(0), s.output(1));
            let with_q = qr_mode(s.host(1)?)? != "r";
            let ((_, m, n), (_, k, _)) = (extents(&a), extents(&r));
            factor(s, Kind::Qr { with_q }, &[m, n, k], &[&a, &q, &r])
        }),
        samples: |s| {
            let d = s.dtype;
            if factorised(d) {
                s.case([matrices(d, &[3, 3], 2.0)]);
                s.case([matrices(d, &[2, 4, 3], 2.0)]);
                s.case([matrices(d, &[3, 5], 2.0), host("reduced")]);
                s.case([matrices(d, &[3, 3], 2.0), host("complete")]);
            }
            // Columns beyond those of A have no gradient, and R alone has none: no samples of finite differences.
            if d == DType::F32 {
                s.case([matrices(d, &[5, 3], 2.0), host("complete")]);
                s.case([matrices(d, &[5, 3], 2.0), host("r")]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3])]);
            e.case(ErrorKind::DType, [i64s(&[3, 3])]);
            e.case(ErrorKind::Value, [f32s(&[3, 3]), host("full")]);
        },
    }
    /// QR as reflections: R on and above the diagonal, below it the reflections' vectors, and their factors.
    GEQRF = "geqrf(Tensor self) -> (Tensor, Tensor)" {
        infer: |c| {
            let t = matrix(c, 0)?;
            let (m, n) = sides(t);
            Ok(smallvec![t.clone(), TensorType { dtype: t.dtype, shape: batch_of(t, &[lesser(m, n)?]) }])
        },
        vjp: Vjp::None("a packed form has none in torch; linalg_qr has one"),
        effect: Effect::Pure,
        cost: cost::per_input::<8>,
        lower: Lower::Steps(|s| {
            let (a, out, factors) = (s.input(0)?, s.output(0), s.output(1));
            let (_, m, n) = extents(&a);
            factor(s, Kind::Geqrf, &[m, n], &[&a, &out, &factors])
        }),
        samples: |s| if factorised(s.dtype) {
            s.case([matrices(s.dtype, &[2, 4, 3], 0.0)]);
            s.case([matrices(s.dtype, &[3, 5], 0.0)]);
        },
        errors: |e| e.case(ErrorKind::Shape, [f32s(&[3])]),
    }
    /// The first columns of a product of reflections, given by vectors below the diagonal and factors.
    LINALG_HOUSEHOLDER_PRODUCT = "linalg_householder_product(Tensor input, Tensor tau) -> Tensor" {
        infer: |c| {
            let (t, tau) = (matrix(c, 0)?, c.tensor(1)?);
            let (m, n) = sides(t);
            if tau.dtype != t.dtype {
                return Err(Error::dtype(format!("expected operands of one type, got {} and {}", t.dtype, tau.dtype)));
            }
            let lead = tau.shape.split_last().map(|(k, lead)| (*k, lead));
            let fits = lead.is_some_and(|(k, lead)| {
                *lead == t.shape[..t.rank() - 2] && k.known().zip(n.known()).is_none_or(|(k, n)| k <= n)
            });
            if !fits {
                return Err(Error::shape(format!("factors {tau} do not fit vectors {t}")));
            }
            match m.known().zip(n.known()).is_none_or(|(m, n)| m >= n) {
                true => Ok(smallvec![t.clone()]),
                false => Err(Error::shape(format!("vectors {t} have more columns than rows"))),
            }
        },
        vjp: Vjp::Rule(Saves::INPUTS, |c| {
            let (packed, factors) = householder_gradients(c)?;
            Ok(smallvec![Some(packed), Some(factors)])
        }),
        effect: Effect::Pure,
        cost: cost::per_input::<8>,
        lower: Lower::Steps(|s| {
            let (a, tau, out) = (s.input(0)?, s.input(1)?, s.output(0));
            let (_, m, n) = extents(&a);
            let k = tau.layout.shape[tau.layout.rank() - 1];
            factor(s, Kind::Householder, &[m, n, k], &[&a, &tau, &out])
        }),
        samples: |s| if factorised(s.dtype) {
            let d = s.dtype;
            s.case([matrices(d, &[4, 3], 0.0), tensor(d, &[3], 0.0, 1.0)]);
            s.case([matrices(d, &[2, 4, 4], 0.0), tensor(d, &[2, 2], 0.0, 1.0)]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3, 4]), f32s(&[3])]);
            e.case(ErrorKind::Shape, [f32s(&[4, 3]), f32s(&[4])]);
            e.case(ErrorKind::DType, [f32s(&[4, 3]), tensor(DType::F64, &[3], 0.0, 1.0)]);
        },
    }
}

/// Three outputs of an op.
#[track_caller]
pub(super) fn three(op: &'static OpDef, args: &[Arg]) -> Result<(Tensor, Tensor, Tensor)> {
    let mut outputs = bind(op, args, Origin::caller())?.into_iter();
    match (outputs.next(), outputs.next(), outputs.next()) {
        (Some(first), Some(second), Some(third)) => Ok((first, second, third)),
        _ => Err(Error::internal("the op made fewer than three outputs")),
    }
}

impl Tensor {
    /// The Cholesky factor of these symmetric positive definite matrices; an error where one is not.
    #[track_caller]
    pub fn linalg_cholesky(&self, upper: bool) -> Result<Tensor> {
        Ok(both(&LINALG_CHOLESKY_EX, &[Arg::Tensor(self), Arg::Bool(upper), Arg::Bool(true)])?.0)
    }

    /// The Cholesky factor and per matrix 0 or the order of the first leading minor that is not positive.
    #[track_caller]
    pub fn linalg_cholesky_ex(&self, upper: bool, check_errors: bool) -> Result<(Tensor, Tensor)> {
        both(&LINALG_CHOLESKY_EX, &[Arg::Tensor(self), Arg::Bool(upper), Arg::Bool(check_errors)])
    }

    /// LU factors in one matrix, the exchanges of rows, and per matrix 0 or the first zero on U's diagonal.
    #[track_caller]
    pub fn linalg_lu_factor_ex(&self, pivot: bool, check_errors: bool) -> Result<(Tensor, Tensor, Tensor)> {
        three(&LINALG_LU_FACTOR_EX, &[Arg::Tensor(self), Arg::Bool(pivot), Arg::Bool(check_errors)])
    }

    /// The order of rows to which these exchanges (pivots) lead, for matrices of so many rows.
    #[track_caller]
    pub fn lu_permutation(&self, rows: usize) -> Result<Tensor> {
        bind1(&LU_PERMUTATION, &[Arg::Tensor(self), Arg::Int(rows as i64)])
    }

    /// Q and R: `mode` is "reduced", "complete" or "r".
    #[track_caller]
    pub fn linalg_qr(&self, mode: &str) -> Result<(Tensor, Tensor)> {
        both(&LINALG_QR, &[Arg::Tensor(self), Arg::Str(mode)])
    }

    /// QR as packed reflections and their factors.
    #[track_caller]
    pub fn geqrf(&self) -> Result<(Tensor, Tensor)> {
        both(&GEQRF, &[Arg::Tensor(self)])
    }

    /// The first columns of the product of packed reflections with these factors.
    #[track_caller]
    pub fn linalg_householder_product(&self, tau: &Tensor) -> Result<Tensor> {
        bind1(&LINALG_HOUSEHOLDER_PRODUCT, &[Arg::Tensor(self), Arg::Tensor(tau)])
    }
}
