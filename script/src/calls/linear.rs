//! torch's calls of linear algebra.

use super::{Call, Entry, bind, one};
use runtime::error::{Error, Result};
use runtime::ops::{MatrixNorm, Tolerances};
use runtime::{Arg, DType, Tensor};

fn pair((a, b): (Tensor, Tensor)) -> Vec<Tensor> {
    vec![a, b]
}

fn triple((a, b, c): (Tensor, Tensor, Tensor)) -> Vec<Tensor> {
    vec![a, b, c]
}

/// A norm's order as torch spells it; `None` where it is left out.
fn order(c: &Call, name: &str) -> Result<Option<MatrixNorm>> {
    Ok(Some(match c.arg(name)? {
        Arg::None => return Ok(None),
        Arg::Str("fro") => MatrixNorm::Frobenius,
        Arg::Str("nuc") => MatrixNorm::Nuclear,
        Arg::Str("inf") => MatrixNorm::Order(f64::INFINITY),
        Arg::Str("-inf") => MatrixNorm::Order(f64::NEG_INFINITY),
        Arg::Str(other) => return Err(Error::value(format!("there is no norm '{other}'"))),
        number => MatrixNorm::Order(number.float()?),
    }))
}

fn vector_norm(x: &Tensor, ord: f64, dim: Arg, keepdim: bool) -> Result<Vec<Tensor>> {
    bind("linalg_vector_norm", &[Arg::Tensor(x), Arg::Float(ord), dim, Arg::Bool(keepdim)])
}

fn matrix_norm(c: &Call) -> Result<Vec<Tensor>> {
    let dims = c.ints("dim")?;
    let dims = match dims[..] {
        [] => [-2, -1],
        [a, b] => [a, b],
        _ => return Err(Error::value(format!("a matrix has two dimensions, got {dims:?}"))),
    };
    let ord = order(c, "ord")?.unwrap_or(MatrixNorm::Frobenius);
    one(c.converted(c.parameters[0].name)?.linalg_matrix_norm(ord, dims, c.flag("keepdim", false)?))
}

/// `linalg.norm`: of vectors or of matrices, by the number of dimensions.
fn norm(c: &Call) -> Result<Vec<Tensor>> {
    let x = c.converted(c.parameters[0].name)?;
    let (dim, keepdim) = (c.arg("dim")?, c.flag("keepdim", false)?);
    let dims = c.ints("dim")?;
    let Some(ord) = order(c, c.parameters[1].name)? else {
        return vector_norm(&x, 2.0, dim, keepdim);
    };
    let rank = if dim.is_none() { x.rank() } else { dims.len() };
    if rank > 2 {
        return Err(Error::shape(format!("a norm is over one or two dimensions, not {rank}")));
    }
    match (ord, rank) {
        (MatrixNorm::Order(p), 0 | 1) => vector_norm(&x, p, dim, keepdim),
        (_, 2) => {
            let dims = if dim.is_none() { [-2, -1] } else { [dims[0], dims[1]] };
            one(x.linalg_matrix_norm(ord, dims, keepdim))
        }
        _ => Err(Error::shape(format!("this norm is of matrices, got {x:?} over {rank} dimensions"))),
    }
}

/// The older `torch.norm`: Frobenius over any dimensions, or of vectors.
fn old_norm(c: &Call) -> Result<Vec<Tensor>> {
    let x = c.converted("input")?;
    let (dim, keepdim) = (c.arg("dim")?, c.flag("keepdim", false)?);
    match order(c, "p")?.unwrap_or(MatrixNorm::Frobenius) {
        MatrixNorm::Frobenius => vector_norm(&x, 2.0, dim, keepdim),
        MatrixNorm::Order(p) => vector_norm(&x, p, dim, keepdim),
        MatrixNorm::Nuclear => {
            let dims = c.ints("dim")?;
            let dims = if dims.len() == 2 { [dims[0], dims[1]] } else { [-2, -1] };
            one(x.linalg_matrix_norm(MatrixNorm::Nuclear, dims, keepdim))
        }
    }
}

/// A tolerance as a tensor of the matrices' type.
fn tolerance(c: &Call, name: &str, like: &Tensor) -> Result<Option<Tensor>> {
    match c.arg(name)? {
        Arg::None => Ok(None),
        Arg::Tensor(t) => Ok(Some(t.clone())),
        number => Tensor::full(&[], number.float()?, like.dtype(), like.device()).map(Some),
    }
}

fn with_tolerances<T>(
    c: &Call,
    absolute: &str,
    relative: &str,
    run: impl FnOnce(&Tensor, Tolerances) -> Result<T>,
) -> Result<T> {
    let a = c.tensor(c.parameters[0].name)?;
    let (absolute, relative) = (tolerance(c, absolute, a)?, tolerance(c, relative, a)?);
    run(a, Tolerances { absolute: absolute.as_ref(), relative: relative.as_ref() })
}

fn matrix_rank(c: &Call) -> Result<Vec<Tensor>> {
    let hermitian = c.flag("hermitian", false)?;
    let absolute = if c.arg("tol")?.is_none() { "atol" } else { "tol" };
    with_tolerances(c, absolute, "rtol", |a, t| one(a.linalg_matrix_rank(t, hermitian)))
}

fn pinv(c: &Call) -> Result<Vec<Tensor>> {
    let hermitian = c.flag("hermitian", false)?;
    let relative = if c.arg("rcond")?.is_none() { "rtol" } else { "rcond" };
    with_tolerances(c, "atol", relative, |a, t| one(a.linalg_pinv(t, hermitian)))
}

fn lu_unpack(c: &Call) -> Result<Vec<Tensor>> {
    let (lu, pivots) = (c.tensor("LU_data")?, c.tensor("LU_pivots")?);
    let empty = || Tensor::zeros(&[0], lu.dtype(), lu.device());
    let (l, u) = match c.flag("unpack_data", true)? {
        true => lu.lu_parts()?,
        false => (empty()?, empty()?),
    };
    let p = match c.flag("unpack_pivots", true)? {
        true => {
            if pivots.dtype() != DType::I32 {
                return Err(Error::dtype(format!("pivots must be int32, got {}", pivots.dtype())));
            }
            pivots.lu_exchanges(lu.size(-2)?, lu.dtype())?
        }
        false => empty()?,
    };
    Ok(vec![p, l, u])
}

fn triangular_solve(c: &Call) -> Result<Vec<Tensor>> {
    let (b, a) = (c.tensor("b")?, c.tensor("A")?);
    let (upper, transpose) = (c.flag("upper", true)?, c.flag("transpose", false)?);
    let (lead, upper) = if transpose { (a.mt()?, !upper) } else { (a.clone(), upper) };
    let x = lead.linalg_solve_triangular(b, upper, true, c.flag("unitriangular", false)?)?;
    let batch = &x.shape()[..x.rank() - 2];
    let dims: Vec<usize> = batch.iter().chain(&a.shape()[a.rank() - 2..]).copied().collect();
    Ok(vec![x, a.expand(&dims)?.copy()?])
}

/// The first dimension of three elements, for `torch.cross` without one.
fn cross_dim(c: &Call) -> Result<i64> {
    let dim = c.arg("dim")?;
    if !dim.is_none() {
        return dim.int();
    }
    let x = c.tensor("input")?;
    let found = x.shape().iter().position(|&n| n == 3);
    found.map(|d| d as i64).ok_or_else(|| Error::shape(format!("no dimension of {x:?} has 3 elements")))
}

fn lstsq(c: &Call) -> Result<Vec<Tensor>> {
    let (a, b) = (c.tensor("A")?, c.tensor("B")?);
    let driver = c.str("driver", "gelsy")?;
    let relative = tolerance(c, "rcond", a)?;
    let tolerances = Tolerances { absolute: None, relative: relative.as_ref() };
    let (x, rank) = a.linalg_lstsq(b, tolerances)?;
    let (m, n) = (a.size(-2)?, a.size(-1)?);
    let none = |dtype| Tensor::zeros(&[0], dtype, a.device());
    // What torch returns for the drivers of LAPACK that it calls.
    let full = match driver {
        "gelsy" => false,
        "gels" => m > n,
        _ => m > n && rank.eq(n as i64)?.all(&[], false)?.item()?.to_bool(),
    };
    let residuals = match full {
        true => {
            let (x, b) = (if x.rank() < a.rank() { x.unsqueeze(-1)? } else { x.clone() }, b.clone());
            let b = if b.rank() < a.rank() { b.unsqueeze(-1)? } else { b };
            a.matmul(&x)?.sub(&b)?.square()?.sum(&[-2], false)?
        }
        false => none(a.dtype())?,
    };
    let rank = if driver == "gels" { none(DType::I64)? } else { rank };
    let values = match driver {
        "gelsd" | "gelss" => a.linalg_svdvals()?,
        _ => none(a.dtype())?,
    };
    Ok(vec![x, residuals, rank, values])
}

fn factor_ex(c: &Call) -> Result<Vec<Tensor>> {
    let (pivot, check) = (c.flag("pivot", true)?, c.flag("check_errors", false)?);
    Ok(triple(c.tensor("A")?.linalg_lu_factor_ex(pivot, check)?))
}

pub(super) const FUNCTIONS: &[Entry] = &[
    ("torch.linalg.cholesky", "A upper?", |c| one(c.tensor("A")?.linalg_cholesky(c.flag("upper", false)?))),
    ("torch.cholesky", "input upper?", |c| one(c.tensor("input")?.linalg_cholesky(c.flag("upper", false)?))),
    ("torch.linalg.cholesky_ex", "A upper? check_errors?", |c| {
        let (upper, check) = (c.flag("upper", false)?, c.flag("check_errors", false)?);
        Ok(pair(c.tensor("A")?.linalg_cholesky_ex(upper, check)?))
    }),
    ("torch.cholesky_solve", "B L upper?", |c| {
        one(c.tensor("B")?.cholesky_solve(c.tensor("L")?, c.flag("upper", false)?))
    }),
    ("torch.cholesky_inverse", "L upper?", |c| one(c.tensor("L")?.cholesky_inverse(c.flag("upper", false)?))),
    ("torch.linalg.qr", "A mode?", |c| Ok(pair(c.tensor("A")?.linalg_qr(c.str("mode", "reduced")?)?))),
    ("torch.qr", "input some?", |c| {
        let mode = if c.flag("some", true)? { "reduced" } else { "complete" };
        Ok(pair(c.tensor("input")?.linalg_qr(mode)?))
    }),
    ("torch.geqrf", "input", |c| Ok(pair(c.tensor("input")?.geqrf()?))),
    ("torch.linalg.householder_product", "A tau", |c| {
        one(c.tensor("A")?.linalg_householder_product(c.tensor("tau")?))
    }),
    ("torch.linalg.lu", "A pivot?", |c| Ok(triple(c.tensor("A")?.linalg_lu(c.flag("pivot", true)?)?))),
    ("torch.linalg.lu_factor", "A pivot?", |c| {
        let (lu, pivots, _) = c.tensor("A")?.linalg_lu_factor_ex(c.flag("pivot", true)?, true)?;
        Ok(vec![lu, pivots])
    }),
    ("torch.linalg.lu_factor_ex", "A pivot? check_errors?", factor_ex),
    ("torch.lu", "A pivot? get_infos?", |c| {
        let infos = c.flag("get_infos", false)?;
        let mut out = triple(c.tensor("A")?.linalg_lu_factor_ex(c.flag("pivot", true)?, !infos)?);
        out.truncate(if infos { 3 } else { 2 });
        Ok(out)
    }),
    ("torch.lu_unpack", "LU_data LU_pivots unpack_data? unpack_pivots?", lu_unpack),
    ("torch.linalg.lu_solve", "LU pivots B left? adjoint?", |c| {
        let (left, adjoint) = (c.flag("left", true)?, c.flag("adjoint", false)?);
        one(c.tensor("LU")?.linalg_lu_solve(c.tensor("pivots")?, c.tensor("B")?, left, adjoint))
    }),
    ("torch.lu_solve", "b LU_data LU_pivots", |c| {
        one(c.tensor("LU_data")?.linalg_lu_solve(c.tensor("LU_pivots")?, c.tensor("b")?, true, false))
    }),
    ("torch.linalg.solve", "A B left?", |c| {
        one(c.tensor("A")?.linalg_solve(c.tensor("B")?, c.flag("left", true)?))
    }),
    ("torch.linalg.solve_ex", "A B left? check_errors?", |c| {
        let (left, check) = (c.flag("left", true)?, c.flag("check_errors", false)?);
        Ok(pair(c.tensor("A")?.linalg_solve_vectors(c.tensor("B")?, left, check)?))
    }),
    ("torch.linalg.solve_triangular", "A B upper left? unitriangular?", |c| {
        let (upper, left) = (c.flag("upper", false)?, c.flag("left", true)?);
        let unit = c.flag("unitriangular", false)?;
        one(c.tensor("A")?.linalg_solve_triangular(c.tensor("B")?, upper, left, unit))
    }),
    ("torch.triangular_solve", "b A upper? transpose? unitriangular?", triangular_solve),
    ("torch.linalg.inv", "A", |c| one(c.tensor("A")?.linalg_inv())),
    ("torch.linalg.inv_ex", "A check_errors?", |c| {
        Ok(pair(c.tensor("A")?.linalg_inv_ex(c.flag("check_errors", false)?)?))
    }),
    ("torch.linalg.det", "A", |c| one(c.tensor("A")?.linalg_det())),
    ("torch.linalg.slogdet", "A", |c| Ok(pair(c.tensor("A")?.linalg_slogdet()?))),
    ("torch.logdet", "input", |c| one(c.tensor("input")?.logdet())),
    ("torch.linalg.eigh", "A UPLO?", |c| Ok(pair(c.tensor("A")?.linalg_eigh(c.str("UPLO", "L")?)?))),
    ("torch.linalg.eigvalsh", "A UPLO?", |c| one(c.tensor("A")?.linalg_eigvalsh(c.str("UPLO", "L")?))),
    ("torch.linalg.svd", "A full_matrices? driver?", |c| {
        Ok(triple(c.tensor("A")?.linalg_svd(c.flag("full_matrices", true)?)?))
    }),
    ("torch.svd", "input some? compute_uv?", |c| {
        let (u, s, vh) = c.tensor("input")?.linalg_svd(!c.flag("some", true)?)?;
        if c.flag("compute_uv", true)? {
            return Ok(vec![u, s, vh.mt()?]);
        }
        Ok(vec![u.zeros_like(None)?, s, vh.zeros_like(None)?.mt()?])
    }),
    ("torch.linalg.svdvals", "A driver?", |c| one(c.tensor("A")?.linalg_svdvals())),
    ("torch.linalg.pinv", "A rcond? hermitian? atol? rtol?", pinv),
    ("torch.pinverse", "input rcond?", |c| {
        let a = c.tensor("input")?;
        let relative = Tensor::full(&[], c.float("rcond", 1e-15)?, a.dtype(), a.device())?;
        one(a.linalg_pinv(Tolerances { absolute: None, relative: Some(&relative) }, false))
    }),
    ("torch.linalg.matrix_rank", "A tol? hermitian? atol? rtol?", matrix_rank),
    ("torch.linalg.cond", "A p?", |c| {
        one(c.tensor("A")?.linalg_cond(order(c, "p")?.unwrap_or(MatrixNorm::Order(2.0))))
    }),
    ("torch.linalg.matrix_norm", "A ord? dim? keepdim? dtype?", matrix_norm),
    ("torch.linalg.vector_norm", "x ord? dim? keepdim? dtype?", |c| {
        vector_norm(&c.converted("x")?, c.float("ord", 2.0)?, c.arg("dim")?, c.flag("keepdim", false)?)
    }),
    ("torch.linalg.norm", "A ord? dim? keepdim? dtype?", norm),
    ("torch.norm", "input p? dim? keepdim? out? dtype?", old_norm),
    ("torch.linalg.matrix_power", "A n", |c| one(c.tensor("A")?.linalg_matrix_power(c.int("n", 1)?))),
    ("torch.linalg.matrix_exp", "A", |c| one(c.tensor("A")?.linalg_matrix_exp())),
    ("torch.linalg.multi_dot", "tensors", |c| one(Tensor::linalg_multi_dot(&c.tensors("tensors")?))),
    ("torch.linalg.vander", "x N?", |c| {
        let n = c.arg("N")?;
        one(c.tensor("x")?.linalg_vander(if n.is_none() { None } else { Some(n.int()?) }))
    }),
    ("torch.vander", "x N? increasing?", |c| {
        let (x, n) = (c.tensor("x")?, c.arg("N")?);
        if x.rank() != 1 {
            return Err(Error::shape(format!("expected one dimension, got {x:?}")));
        }
        let count = if n.is_none() { x.numel() as i64 } else { n.int()? };
        if count < 0 {
            return Err(Error::value(format!("the number of powers must not be negative, got {count}")));
        }
        let powers = x.linalg_vander(Some(count.max(1)))?.narrow(-1, 0, count)?;
        one(if c.flag("increasing", false)? { Ok(powers) } else { powers.flip(&[-1]) })
    }),
    ("torch.linalg.cross", "input other dim?", |c| {
        one(c.tensor("input")?.linalg_cross(c.tensor("other")?, c.int("dim", -1)?))
    }),
    ("torch.cross", "input other dim?", |c| {
        one(c.tensor("input")?.linalg_cross(c.tensor("other")?, cross_dim(c)?))
    }),
    ("torch.linalg.vecdot", "x y dim?", |c| {
        one(c.tensor("x")?.mul(c.tensor("y")?)?.sum(&[c.int("dim", -1)?], false))
    }),
    ("torch.linalg.tensorinv", "A ind?", |c| one(c.tensor("A")?.linalg_tensorinv(c.int("ind", 2)?))),
    ("torch.linalg.tensorsolve", "A B dims?", |c| {
        one(c.tensor("A")?.linalg_tensorsolve(c.tensor("B")?, &c.ints("dims")?))
    }),
    ("torch.linalg.lstsq", "A B rcond? driver?", lstsq),
];
