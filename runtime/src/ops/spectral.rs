//! Eigenvalues, singular values, pseudo-inverses and exponentials of matrices.
//!
//! Eigenvectors are defined up to their sign (and singular vectors up to a common one); gradients are those of functions
//! that do not depend on it, and of distinct eigenvalues.

use super::factors::{factorised, square_errors, three};
use super::matrices::{batch_of, extents, factor, lesser, matrix, sides, square, turned};
use super::places::both;
use super::rules::{f32s, flag, i64s, wanted};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::TensorType;
use crate::samples::{exact, host, matrices, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::BinaryOp;
use kernels::routines::Kind;
use smallvec::smallvec;

/// Whether UPLO (operand 1) names the upper triangle.
fn upper(arg: Arg) -> Result<bool> {
    match if arg.is_none() { "L" } else { arg.str()? } {
        "L" | "l" => Ok(false),
        "U" | "u" => Ok(true),
        other => Err(Error::value(format!("UPLO must be 'L' or 'U', got '{other}'"))),
    }
}

/// x[.., j] - x[.., i] for row i and column j, with ones on the diagonal.
fn gaps(x: &Tensor) -> Result<Tensor> {
    let n = x.shape()[x.rank() - 1];
    let gaps = x.unsqueeze(-2)?.sub(&x.unsqueeze(-1)?)?;
    gaps.add(&Tensor::eye(n, n, x.dtype(), x.device())?)
}

fn eigh_gradient(c: &VjpContext) -> Result<Tensor> {
    let (values, vectors) = (c.output(0)?, c.output(1)?);
    let of_values = c.cotangents[0].as_ref().map(|d| d.diag_embed(0, -2, -1)).transpose()?;
    let of_vectors = match c.cotangents.get(1).and_then(Option::as_ref) {
        None => None,
        Some(d) => {
            let inner = vectors.mt()?.matmul(d)?.div(&gaps(values)?)?;
            // The lengths of eigenvectors are fixed.
            let own = inner.diagonal(0, -2, -1)?.diag_embed(0, -2, -1)?;
            Some(inner.sub(&own)?)
        }
    };
    let inner = match (of_values, of_vectors) {
        (Some(a), Some(b)) => a.add(&b)?,
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return Err(Error::internal("no cotangent")),
    };
    vectors.matmul(&inner)?.matmul(&vectors.mt()?)
}

/// What is not symmetric.
fn skew(x: &Tensor) -> Result<Tensor> {
    x.sub(&x.mt()?)
}

fn svd_gradient(c: &VjpContext) -> Result<Tensor> {
    let dims = c.input_dims(0)?;
    let (m, n) = (dims[dims.len() - 2], dims[dims.len() - 1]);
    let k = m.min(n) as i64;
    // Vectors beyond the smaller extent are any completion: they have no gradient.
    let u = c.output(0)?.narrow(-1, 0, k)?;
    let (s, vh) = (c.output(1)?, c.output(2)?.narrow(-2, 0, k)?);
    let cotangent = |i: usize| c.cotangents.get(i).and_then(Option::as_ref);
    let du = cotangent(0).map(|d| d.narrow(-1, 0, k)).transpose()?;
    let dvh = cotangent(2).map(|d| d.narrow(-2, 0, k)).transpose()?;
    let (row, column) = (s.unsqueeze(-2)?, s.unsqueeze(-1)?);
    let mut inner = match cotangent(1) {
        Some(ds) => ds.diag_embed(0, -2, -1)?,
        None => s.zeros_like(None)?.diag_embed(0, -2, -1)?,
    };
    if du.is_some() || dvh.is_some() {
        let squares = gaps(&s.square()?)?;
        if let Some(du) = &du {
            inner = inner.add(&skew(&u.mt()?.matmul(du)?)?.div(&squares)?.mul(&row)?)?;
        }
        if let Some(dvh) = &dvh {
            inner = inner.add(&skew(&vh.matmul(&dvh.mt()?)?)?.div(&squares)?.mul(&column)?)?;
        }
    }
    let mut out = u.matmul(&inner)?;
    if let (Some(du), true) = (&du, m as i64 > k) {
        let outside = du.div(&row)?;
        out = out.add(&outside.sub(&u.matmul(&u.mt()?.matmul(&outside)?)?)?)?;
    }
    out = out.matmul(&vh)?;
    if let (Some(dvh), true) = (&dvh, n as i64 > k) {
        let outside = dvh.div(&column)?;
        let outside = outside.sub(&outside.matmul(&vh.mt()?)?.matmul(&vh)?)?;
        out = out.add(&u.matmul(&outside)?)?;
    }
    Ok(out)
}

/// The derivative of a pseudo-inverse P of A whose rank does not change: -P dA P and two terms outside A's ranges.
fn pinv_gradient(c: &VjpContext) -> Result<Tensor> {
    let (a, p, d) = (c.input(0)?, c.output(0)?, c.dy()?.mt()?);
    let pt = p.mt()?;
    let (m, n) = (a.shape()[a.rank() - 2], a.shape()[a.rank() - 1]);
    if m <= n {
        let k = d.matmul(p)?;
        let kp = k.matmul(&pt)?;
        let out = p.matmul(&k)?.mt()?.neg()?.add(&kp)?;
        let out = out.sub(&a.matmul(p)?.matmul(&kp)?)?;
        out.add(&pt.matmul(p)?.matmul(&d.sub(&k.matmul(a)?)?)?)
    } else {
        let k = p.matmul(&d)?;
        let pk = pt.matmul(&k)?;
        let out = k.matmul(p)?.mt()?.neg()?;
        let out = out.add(&d.sub(&a.matmul(&k)?)?.matmul(p)?.matmul(&pt)?)?;
        out.add(&pk)?.sub(&pk.matmul(p)?.matmul(a)?)
    }
}

ops! {
    /// Eigenvalues in rising order and eigenvectors in columns of symmetric matrices, of which one triangle is read.
    LINALG_EIGH = "linalg_eigh(Tensor A, str UPLO='L') -> (Tensor, Tensor)" {
        infer: |c| {
            let (t, n) = square(c, 0)?;
            upper(c.host(1)?)?;
            Ok(smallvec![TensorType { dtype: t.dtype, shape: batch_of(t, &[n]) }, t.clone()])
        },
        vjp: Vjp::Rule(Saves { outputs: 3, ..Saves::NOTHING }, |c| Ok(smallvec![wanted(c, 0, || eigh_gradient(c))?])),
        effect: Effect::Pure,
        cost: cost::per_input::<64>,
        lower: Lower::Steps(|s| {
            let (a, values, vectors) = (s.input(0)?, s.output(0), s.output(1));
            let (_, n, _) = extents(&a);
            factor(s, Kind::Eigh { upper: upper(s.host(1)?)? }, &[n], &[&a, &values, &vectors])
        }),
        samples: |s| {
            let d = s.dtype;
            if factorised(d) {
                s.case([matrices(d, &[3, 3], 0.0)]);
                s.case([matrices(d, &[2, 4, 4], 0.0), host("U")]);
                s.case([matrices(d, &[1, 1], 0.0)]);
                s.case([matrices(d, &[0, 0], 0.0)]);
            }
        },
        errors: |e| {
            square_errors(e, &[]);
            e.case(ErrorKind::Value, [f32s(&[3, 3]), host("B")]);
            e.case(ErrorKind::Value, [exact(DType::F32, &[1, 1], &[f64::NAN])]);
        },
    }
    /// Singular values in falling order with their vectors: A = U diag(S) Vh; U and Vh are square where asked for.
    LINALG_SVD = "linalg_svd(Tensor A, bool full_matrices=True) -> (Tensor, Tensor, Tensor)" {
        infer: |c| {
            let t = matrix(c, 0)?;
            let full = c.host(1)?;
            let full = full.is_none() || full.bool()?;
            let (m, n) = sides(t);
            let k = lesser(m, n)?;
            let of = |rest: &[_]| TensorType { dtype: t.dtype, shape: batch_of(t, rest) };
            let (columns, rows) = if full { (m, n) } else { (k, k) };
            Ok(smallvec![of(&[m, columns]), of(&[k]), of(&[rows, n])])
        },
        vjp: Vjp::Rule(Saves { outputs: 7, ..Saves::NOTHING }, |c| Ok(smallvec![wanted(c, 0, || svd_gradient(c))?])),
        effect: Effect::Pure,
        cost: cost::per_input::<64>,
        lower: Lower::Steps(|s| {
            let (a, u, values, vh) = (s.input(0)?, s.output(0), s.output(1), s.output(2));
            let full = s.host(1)?;
            let full = full.is_none() || full.bool()?;
            let (_, m, n) = extents(&a);
            factor(s, Kind::Svd { full }, &[m, n], &[&a, &u, &values, &vh])
        }),
        samples: |s| {
            let d = s.dtype;
            if factorised(d) {
                s.case([matrices(d, &[3, 3], 0.0), host(false)]);
                s.case([matrices(d, &[2, 4, 3], 0.0), host(false)]);
                s.case([matrices(d, &[3, 5], 0.0), host(false)]);
                s.case([matrices(d, &[2, 2], 0.0)]);
            }
            // Completions have no gradient, therefore no finite differences.
            if d == DType::F32 {
                s.case([matrices(d, &[5, 3], 0.0), host(true)]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3])]);
            e.case(ErrorKind::DType, [i64s(&[3, 3])]);
            e.case(ErrorKind::Value, [exact(DType::F32, &[1, 2], &[f64::INFINITY, 0.0])]);
        },
    }
    /// Pseudo-inverses: singular values not above the greater of `atol` and `rtol` times the largest count as zero. The
    /// tolerances have one element for each matrix. Of symmetric matrices the lower triangle is read.
    LINALG_PINV = "linalg_pinv(Tensor A, Tensor atol, Tensor rtol, bool hermitian=False) -> Tensor" {
        infer: |c| {
            let t = matrix(c, 0)?;
            let (m, n) = sides(t);
            for i in [1, 2] {
                let tolerance = c.tensor(i)?;
                if tolerance.dtype != t.dtype || tolerance.shape[..] != t.shape[..t.rank() - 2] {
                    return Err(Error::shape(format!("a tolerance {tolerance} for each matrix of {t}")));
                }
            }
            if flag(c.host(3)?)? {
                square(c, 0)?;
            }
            Ok(smallvec![TensorType { dtype: t.dtype, shape: batch_of(t, &[n, m]) }])
        },
        vjp: Vjp::Rule(Saves { inputs: 1, ..Saves::OUTPUT }, |c| {
            Ok(smallvec![wanted(c, 0, || pinv_gradient(c))?, None, None])
        }),
        effect: Effect::Pure,
        cost: cost::per_input::<64>,
        lower: Lower::Steps(|s| {
            let (mut a, atol, rtol, out) = (s.input(0)?, s.input(1)?, s.input(2)?, s.output(0));
            let (_, m, n) = extents(&a);
            if flag(s.host(3)?)? {
                let whole = s.temp(a.dtype, &a.layout.shape);
                let shape = a.layout.shape.clone();
                s.region(&[&a, &turned(&a)], &[&whole], |r, nodes| {
                    let (row, column) = (r.index(&shape, shape.len() - 2), r.index(&shape, shape.len() - 1));
                    let lower = r.binary(BinaryOp::Ge, row, column);
                    Ok(smallvec![r.select(lower, nodes[0], nodes[1])])
                })?;
                a = whole;
            }
            factor(s, Kind::PseudoInverse, &[m, n], &[&a, &atol, &rtol, &out])
        }),
        samples: |s| {
            let d = s.dtype;
            if factorised(d) {
                let small = |dims: &[usize]| tensor(DType::F64, dims, 0.0, 0.0);
                let none = |dims: &[usize]| match small(dims) {
                    crate::samples::SampleArg::Tensor(t) => {
                        crate::samples::SampleArg::Tensor(crate::samples::TensorSample { dtype: d, ..t })
                    }
                    other => other,
                };
                s.case([matrices(d, &[3, 3], 0.0), none(&[]), none(&[])]);
                s.case([matrices(d, &[2, 4, 3], 0.0), none(&[2]), none(&[2])]);
                s.case([matrices(d, &[3, 5], 0.0), none(&[]), none(&[])]);
            }
        },
        errors: |e| e.case(ErrorKind::Shape, [f32s(&[3]), f32s(&[]), f32s(&[])]),
    }
    /// The exponentials of square matrices.
    LINALG_MATRIX_EXP = "linalg_matrix_exp(Tensor self) -> Tensor" {
        infer: |c| Ok(smallvec![square(c, 0)?.0.clone()]),
        // exp of [[A, D], [0, A]] has the derivative along D in its corner; its adjoint is that of the transposed.
        vjp: Vjp::Rule(Saves::inputs(1), |c| Ok(smallvec![wanted(c, 0, || {
            let (a, dy) = (c.input(0)?.mt()?, c.dy()?);
            let n = a.shape()[a.rank() - 1] as i64;
            let top = Tensor::cat(&[a.clone(), dy.clone()], -1)?;
            let bottom = Tensor::cat(&[a.zeros_like(None)?, a], -1)?;
            let whole = Tensor::cat(&[top, bottom], -2)?.linalg_matrix_exp()?;
            whole.narrow(-2, 0, n)?.narrow(-1, n, n)
        })?])),
        effect: Effect::Pure,
        cost: cost::per_input::<64>,
        lower: Lower::Steps(|s| {
            let (a, out) = (s.input(0)?, s.output(0));
            let (_, n, _) = extents(&a);
            factor(s, Kind::Exponential, &[n], &[&a, &out])
        }),
        samples: |s| if factorised(s.dtype) {
            s.case([matrices(s.dtype, &[3, 3], 0.0)]);
            s.case([matrices(s.dtype, &[2, 2, 2], -1.0)]);
            s.case([matrices(s.dtype, &[0, 0], 0.0)]);
        },
        errors: |e| square_errors(e, &[]),
    }
}

impl Tensor {
    /// Eigenvalues in rising order and eigenvectors in columns; `uplo` names the triangle that is read, "L" or "U".
    #[track_caller]
    pub fn linalg_eigh(&self, uplo: &str) -> Result<(Tensor, Tensor)> {
        both(&LINALG_EIGH, &[Arg::Tensor(self), Arg::Str(uplo)])
    }

    /// U, S and Vh with A = U diag(S) Vh.
    #[track_caller]
    pub fn linalg_svd(&self, full_matrices: bool) -> Result<(Tensor, Tensor, Tensor)> {
        three(&LINALG_SVD, &[Arg::Tensor(self), Arg::Bool(full_matrices)])
    }

    /// Pseudo-inverses, of symmetric matrices from the lower triangle; the tolerances have one element for each matrix.
    #[track_caller]
    pub fn linalg_pinv_with(&self, atol: &Tensor, rtol: &Tensor, hermitian: bool) -> Result<Tensor> {
        let args = [Arg::Tensor(self), Arg::Tensor(atol), Arg::Tensor(rtol), Arg::Bool(hermitian)];
        bind1(&LINALG_PINV, &args)
    }

    /// The exponentials of square matrices.
    #[track_caller]
    pub fn linalg_matrix_exp(&self) -> Result<Tensor> {
        if self.dtype().is_narrow() {
            return self.to(DType::F32)?.linalg_matrix_exp()?.to(self.dtype());
        }
        bind1(&LINALG_MATRIX_EXP, &[Arg::Tensor(self)])
    }
}
