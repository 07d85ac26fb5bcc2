//! Matrix products: matmul for every rank, addmm, linear.

use super::rules::{Formula, f32s, float_or, i64s, in_float32, wanted};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Dim, Infer, Shape, TensorType, Types, broadcast};
use crate::lower::{Steps, View};
use crate::samples::{Samples, host, none, tensor};
use crate::table::{Cost, Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::cpu::gemm::{Activation, Gemm, MatrixGeometry};
use kernels::loops::Region;
use smallvec::{SmallVec, smallvec};

/// c = a b over the last two dimensions, leading ones broadcast; vectors are a row or a column.
fn lower_product(s: &mut Steps) -> Result<()> {
    let (mut a, mut b, mut c) = (s.input(0)?, s.input(1)?, s.output(0));
    let (row, column) = (a.layout.rank() == 1, b.layout.rank() == 1);
    let at = c.layout.rank();
    if column {
        b.layout = b.layout.unsqueeze(1);
        c.layout = c.layout.unsqueeze(at);
    }
    if row {
        a.layout = a.layout.unsqueeze(0);
        let at = c.layout.rank() - 1;
        c.layout = c.layout.unsqueeze(at);
    }
    push_product(s, &a, &b, &c, None, false);
    Ok(())
}

/// Leading dimensions of a and c as rows, where their layouts allow it, so that one product does for all.
fn as_rows(a: &View, c: &View) -> Option<(View, View)> {
    let flat = |v: &View| {
        let (rows, last) = v.layout.shape.split_at(v.layout.rank() - 1);
        let layout = v.layout.reshape(&[rows.iter().product(), last[0]])?;
        Some(View { layout, ..v.clone() })
    };
    let same_rows = a.layout.shape[..a.layout.rank() - 1] == c.layout.shape[..c.layout.rank() - 1];
    if same_rows { Some((flat(a)?, flat(c)?)) } else { None }
}

/// Appends the product of two views of rank >= 2, which may be added to what c holds; a bias lies along the columns. Both
/// are added before the sum is rounded.
pub(super) fn push_product(
    s: &mut Steps,
    a: &View,
    b: &View,
    c: &View,
    bias: Option<&View>,
    accumulate: bool,
) {
    if b.layout.rank() == 2
        && c.layout.rank() > 2
        && let Some((a, c)) = as_rows(a, c)
    {
        return push_product(s, &a, b, &c, bias, accumulate);
    }
    let rank = c.layout.rank();
    let batch = &c.layout.shape[..rank - 2];
    let operand = |v: &View| {
        let r = v.layout.rank();
        let strides = &v.layout.strides;
        let lead = v.layout.shape[..r - 2].iter().zip(strides);
        let mut steps: SmallVec<[isize; 6]> = smallvec![0; batch.len() - (r - 2)];
        steps.extend(lead.map(|(&n, &st)| if n == 1 { 0 } else { st }));
        MatrixGeometry { row_stride: strides[r - 2], col_stride: strides[r - 1], batch_strides: steps }
    };
    let (m, n) = (c.layout.shape[rank - 2], c.layout.shape[rank - 1]);
    let k = a.layout.shape[a.layout.rank() - 1];
    let gemm = Gemm {
        dtype: c.dtype,
        m,
        n,
        k,
        batch: batch.iter().copied().collect(),
        a: operand(a),
        b: operand(b),
        c: operand(c),
        accumulate,
        bias: bias.is_some(),
        rounds_once: c.dtype.is_narrow() && (bias.is_some() || accumulate),
        activation: Activation::None,
    };
    s.gemm(gemm, a, b, c, bias);
}

pub(super) fn one_type(c: &Infer) -> Result<DType> {
    let first = c.tensor(0)?.dtype;
    match c.all_tensors().find(|t| t.dtype != first) {
        Some(other) => {
            Err(Error::dtype(format!("expected operands of one type, got {first} and {}", other.dtype))
                .hint("convert one with `to`"))
        }
        None => Ok(first),
    }
}

/// Two dimensions that must be equal; a symbol is checked when the plan runs.
pub(super) fn agree(x: Dim, y: Dim) -> bool {
    x == y || x.known().is_none() || y.known().is_none()
}

fn infer_matmul(c: &Infer) -> Result<Types> {
    let dtype = one_type(c)?;
    let (a, b) = (c.tensor(0)?, c.tensor(1)?);
    let (ra, rb) = (a.rank(), b.rank());
    if ra == 0 || rb == 0 {
        return Err(Error::shape(format!("both operands need a dimension, got {a} and {b}")).hint("use mul"));
    }
    let (inner, outer) = (a.shape[ra - 1], b.shape[rb.saturating_sub(2)]);
    if !agree(inner, outer) {
        return Err(Error::shape(format!(
            "{a} and {b} do not multiply: the last dimension of the first ({inner}) must equal the second to last of the \
             second ({outer})"
        ))
        .at_dim(ra as isize - 1));
    }
    let mut shape = broadcast(&a.shape[..ra.saturating_sub(2)], &b.shape[..rb.saturating_sub(2)])?;
    if ra > 1 {
        shape.push(a.shape[ra - 2]);
    }
    if rb > 1 {
        shape.push(b.shape[rb - 1]);
    }
    Ok(smallvec![TensorType { dtype, shape }])
}

/// The first operand's leading dimensions as rows of a matrix.
fn rows(x: &Tensor) -> Result<Tensor> {
    match x.shape() {
        [_, _] => Ok(x.clone()),
        [rows @ .., last] => x.reshape(&[rows.iter().product::<usize>() as i64, *last as i64]),
        [] => Err(Error::internal("a row of rank 0")),
    }
}

fn matmul_gradients(c: &VjpContext) -> Result<Gradients> {
    let dy = c.dy()?;
    let (da, db) = (c.input_dims(0)?, c.input_dims(1)?);
    // Vectors take part as a row or a column, and the result has that dimension again.
    let mut whole = dy.clone();
    if db.len() == 1 {
        whole = whole.unsqueeze(-1)?;
    }
    if da.len() == 1 {
        whole = whole.unsqueeze(-2)?;
    }
    let left = || -> Result<Tensor> {
        let b = c.input(1)?;
        let b = if db.len() == 1 { b.unsqueeze(0)? } else { b.transpose(-2, -1)? };
        let product = whole.matmul(&b)?;
        if da.len() == 1 {
            return product.squeeze(-2)?.sum_to_size(&da);
        }
        product.sum_to_size(&da)
    };
    let right = || -> Result<Tensor> {
        let a = c.input(0)?;
        if db.len() == 2 && da.len() > 2 {
            return rows(a)?.transpose(0, 1)?.matmul(&rows(&whole)?);
        }
        let a = if da.len() == 1 { a.unsqueeze(1)? } else { a.transpose(-2, -1)? };
        let product = a.matmul(&whole)?;
        if db.len() == 1 {
            return product.squeeze(-1)?.sum_to_size(&db);
        }
        product.sum_to_size(&db)
    };
    Ok(smallvec![wanted(c, 0, left)?, wanted(c, 1, right)?])
}

fn infer_linear(c: &Infer) -> Result<Types> {
    let dtype = one_type(c)?;
    let (x, w) = (c.tensor(0)?, c.tensor(1)?);
    if x.rank() == 0 || w.rank() != 2 {
        return Err(Error::shape(format!(
            "linear takes an input of rank >= 1 and a matrix of weights, got {x} and {w}"
        )));
    }
    if !agree(x.shape[x.rank() - 1], w.shape[1]) {
        return Err(Error::shape(format!("an input {x} does not fit weights {w}: features differ"))
            .at_dim(x.rank() as isize - 1));
    }
    if let Some(bias) = c.optional(2)?
        && !(bias.rank() <= 1 && bias.shape.iter().all(|&d| d.is(1) || agree(d, w.shape[0])))
    {
        return Err(Error::shape(format!("a bias {bias} does not fit weights {w}")));
    }
    let mut shape: Shape = x.shape[..x.rank() - 1].into();
    shape.push(w.shape[0]);
    Ok(smallvec![TensorType { dtype, shape }])
}

/// Whether a view is n elements side by side.
fn is_dense_row(v: &View, n: usize) -> bool {
    v.layout.shape.as_slice() == [n] && (n <= 1 || v.layout.strides[0] == 1)
}

fn lower_linear(s: &mut Steps) -> Result<()> {
    let (mut x, mut w, mut y) = (s.input(0)?, s.input(1)?, s.output(0));
    w.layout = w.layout.permute(&[1, 0]);
    if x.layout.rank() == 1 {
        x.layout = x.layout.unsqueeze(0);
        y.layout = y.layout.unsqueeze(0);
    }
    if !s.is_tensor(2) {
        push_product(s, &x, &w, &y, None, false);
        return Ok(());
    }
    let n = w.layout.shape[1];
    let mut bias = s.input(2)?;
    if !is_dense_row(&bias, n) {
        let dense = s.temp(bias.dtype, &[n]);
        bias.layout =
            bias.layout.broadcast_to(&[n]).ok_or_else(|| Error::internal("the bias does not fit"))?;
        s.copy(&bias, &dense)?;
        bias = dense;
    }
    push_product(s, &x, &w, &y, Some(&bias), false);
    Ok(())
}

fn infer_addmm(c: &Infer) -> Result<Types> {
    let dtype = one_type(c)?;
    let (bias, a, b) = (c.tensor(0)?, c.tensor(1)?, c.tensor(2)?);
    float_or(c.host(3)?, 1.0)?;
    float_or(c.host(4)?, 1.0)?;
    if a.rank() != 2 || b.rank() != 2 || !agree(a.shape[1], b.shape[0]) {
        return Err(Error::shape(format!("addmm takes two matrices that multiply, got {a} and {b}")));
    }
    let shape: Shape = smallvec![a.shape[0], b.shape[1]];
    if broadcast(&bias.shape, &shape)? != shape {
        return Err(Error::shape(format!("{bias} does not broadcast to the product of {a} and {b}")));
    }
    Ok(smallvec![TensorType { dtype, shape }])
}

fn lower_addmm(s: &mut Steps) -> Result<()> {
    let (bias, a, b, c) = (s.input(0)?, s.input(1)?, s.input(2)?, s.output(0));
    lower_scaled_product(s, bias, a, b, c)
}

/// c = beta bias + alpha (a b), beta and alpha at operands 3 and 4.
pub(super) fn lower_scaled_product(s: &mut Steps, bias: View, a: View, b: View, c: View) -> Result<()> {
    let (beta, alpha) = (float_or(s.host(3)?, 1.0)?, float_or(s.host(4)?, 1.0)?);
    if beta == 1.0 && alpha == 1.0 && is_dense_row(&bias, c.layout.shape[c.layout.rank() - 1]) {
        push_product(s, &a, &b, &c, Some(&bias), false);
        return Ok(());
    }
    if beta == 1.0 && alpha == 1.0 && bias.layout.shape == c.layout.shape {
        s.copy(&bias, &c)?;
        push_product(s, &a, &b, &c, None, true);
        return Ok(());
    }
    let (dtype, wide) = (c.dtype, c.dtype.accumulator());
    // Narrow factors are widened, so that the product is not rounded before it is scaled.
    let widened = |s: &mut Steps, v: View| -> Result<View> {
        if !dtype.is_narrow() {
            return Ok(v);
        }
        let copy = s.temp(wide, &v.layout.shape);
        s.copy(&v, &copy)?;
        Ok(copy)
    };
    let (a, b) = (widened(s, a)?, widened(s, b)?);
    let product = s.temp(a.dtype, &c.layout.shape);
    push_product(s, &a, &b, &product, None, false);
    let scaled = |r: &mut Region, node, by: f64| {
        let node = r.cast(node, wide);
        let factor = if wide.is_float() { r.constant(by, wide) } else { r.constant(by as i64, wide) };
        Formula { region: r, dtype: wide }.mul(node, factor)
    };
    // torch does not read the operand where beta is 0, not even for NaN.
    if beta == 0.0 {
        return s.region(&[&product], &[&c], |r, n| {
            let y = scaled(r, n[0], alpha);
            Ok(smallvec![r.cast(y, dtype)])
        });
    }
    s.region(&[&product, &bias], &[&c], |r, n| {
        let (p, q) = (scaled(r, n[0], alpha), scaled(r, n[1], beta));
        let y = Formula { region: r, dtype: wide }.add(p, q);
        Ok(smallvec![r.cast(y, dtype)])
    })
}

/// Multiply-adds of a product whose first factor is operand 1.
pub(super) fn inner_cost(c: &Infer, out: &Types) -> Cost {
    let inner = c.tensor(1).ok().and_then(|t| t.shape.last()?.known()).unwrap_or(1) as u64;
    let mut cost = cost::per_output::<2>(c, out);
    cost.flops *= inner;
    cost
}

/// `t * factor` where the factor is an operand that may be left out.
pub(super) fn times(t: Tensor, factor: Arg) -> Result<Tensor> {
    if factor.is_none() { Ok(t) } else { t.mul(factor) }
}

fn products(s: &mut Samples) {
    let d = s.dtype;
    let t = |dims: &[usize]| tensor(d, dims, 0.0, 2.0);
    for (a, b) in [
        (&[3usize, 4][..], &[4usize, 5][..]),
        (&[4], &[4]),
        (&[3, 4], &[4]),
        (&[3], &[3, 4]),
        (&[2, 3, 4], &[4, 2]),
        (&[3, 4], &[2, 4, 2]),
        (&[2, 1, 3, 4], &[5, 4, 2]),
        (&[2, 3, 4], &[4]),
        (&[4], &[2, 4, 3]),
        (&[3, 0], &[0, 2]),
        (&[0, 3], &[3, 2]),
        (&[1, 1], &[1, 1]),
        (&[17, 33], &[33, 20]),
    ] {
        s.case([t(a), t(b)]);
    }
}

ops! {
    /// Matrix product: the last two dimensions multiply, leading ones broadcast; vectors are a row or a column.
    MATMUL = "matmul(Tensor self, Tensor other) -> Tensor" {
        infer: infer_matmul,
        vjp: Vjp::Rule(Saves::FACTORS, |c| {
            // A sum over a batch that one operand lacks wants more digits than the terms have.
            let batch = |i: usize| c.input_type(i).map(|t| t.shape[..t.rank().saturating_sub(2)].to_vec());
            let own = c.output_type(0)?.rank() > 2 && batch(0)? != batch(1)?;
            let vectors = c.input_type(0)?.rank() == 1 || c.input_type(1)?.rank() == 1;
            if own || vectors { in_float32(c, matmul_gradients) } else { matmul_gradients(c) }
        }),
        effect: Effect::Pure,
        cost: cost::product,
        lower: Lower::Steps(lower_product),
        samples: products,
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3, 4]), f32s(&[5, 2])]);
            e.case(ErrorKind::Shape, [f32s(&[]), f32s(&[3])]);
            e.case(ErrorKind::Shape, [f32s(&[2, 3, 4]), f32s(&[3, 4, 2])]);
            e.case(ErrorKind::DType, [f32s(&[3, 4]), tensor(DType::F64, &[4, 2], 0.0, 1.0)]);
        },
    }
    /// x w^T + bias over the last dimension of x.
    LINEAR = "linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor" {
        infer: infer_linear,
        vjp: Vjp::Rule(Saves { inputs: 3, ..Saves::FACTORS }, |c| {
            let (dy, dims) = (c.dy()?, c.input_dims(0)?);
            let mut out: Gradients = smallvec![
                wanted(c, 0, || dy.matmul(c.input(1)?))?,
                wanted(c, 1, || {
                    let x = c.input(0)?;
                    match dims.len() {
                        1 => dy.unsqueeze(1)?.matmul(&x.unsqueeze(0)?),
                        _ => rows(dy)?.transpose(0, 1)?.matmul(&rows(x)?),
                    }
                })?,
            ];
            if c.is_tensor(2) {
                out.push(wanted(c, 2, || dy.sum_to_size(&c.input_dims(2)?))?);
            }
            Ok(out)
        }),
        effect: Effect::Pure,
        cost: cost::product,
        lower: Lower::Steps(lower_linear),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 2.0);
            s.case([t(&[3, 4]), t(&[2, 4])]);
            s.case([t(&[3, 4]), t(&[2, 4]), t(&[2])]);
            s.case([t(&[2, 3, 4]), t(&[2, 4]), t(&[2])]);
            s.case([t(&[4]), t(&[2, 4]), t(&[2])]);
            s.case([t(&[0, 4]), t(&[2, 4]), t(&[2])]);
            s.case([t(&[20, 40]), t(&[33, 40]), t(&[33])]);
            s.case([t(&[3, 4]), t(&[2, 4]), none()]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3, 4]), f32s(&[2, 3])]);
            e.case(ErrorKind::Shape, [f32s(&[3, 4]), f32s(&[2, 4]), f32s(&[3])]);
        },
    }
    /// beta * self + alpha * (mat1 mat2); self broadcasts to the product.
    ADDMM = "addmm(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1) -> Tensor" {
        infer: infer_addmm,
        vjp: Vjp::Rule(Saves { inputs: 6, ..Saves::FACTORS }, |c| {
            let (dy, beta, alpha) = (c.dy()?, c.host(3)?, c.host(4)?);
            Ok(smallvec![
                wanted(c, 0, || times(dy.sum_to_size(&c.input_dims(0)?)?, beta))?,
                wanted(c, 1, || times(dy.matmul(&c.input(2)?.transpose(0, 1)?)?, alpha))?,
                wanted(c, 2, || times(c.input(1)?.transpose(0, 1)?.matmul(dy)?, alpha))?,
            ])
        }),
        effect: Effect::Pure,
        cost: inner_cost,
        lower: Lower::Steps(lower_addmm),
        samples: |s| {
            let d = s.dtype;
            if d == DType::Bool {
                return;
            }
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 2.0);
            s.case([t(&[3, 2]), t(&[3, 4]), t(&[4, 2])]);
            s.case([t(&[2]), t(&[3, 4]), t(&[4, 2])]);
            s.case([t(&[3, 1]), t(&[3, 4]), t(&[4, 2]), host(2i64), host(3i64)]);
            s.case([t(&[2]), t(&[3, 4]), t(&[4, 2]), host(0i64), host(1i64)]);
            s.case([t(&[]), t(&[0, 4]), t(&[4, 2])]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3]), f32s(&[3, 4]), f32s(&[4, 2])]);
            e.case(ErrorKind::DType, [i64s(&[2]), f32s(&[3, 4]), f32s(&[4, 2])]);
        },
    }
}

/// Operands of these ranks, or an error of the method.
#[track_caller]
fn ranks(op: &'static str, a: &Tensor, b: &Tensor, rank: usize) -> Result<()> {
    if a.rank() == rank && b.rank() == rank && (rank < 3 || a.shape()[0] == b.shape()[0]) {
        return Ok(());
    }
    let what = format!(
        "expected two tensors of rank {rank} and equal batch, got {:?} and {:?}",
        a.shape(),
        b.shape()
    );
    Err(Error::shape(what).in_op(op).at(crate::error::Origin::caller()))
}

impl Tensor {
    /// Matrix product over the last two dimensions, leading ones broadcast; vectors are a row or a column.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        bind1(&MATMUL, &[Arg::Tensor(self), Arg::Tensor(other)])
    }

    /// The product of two matrices.
    #[track_caller]
    pub fn mm(&self, other: &Tensor) -> Result<Tensor> {
        ranks("mm", self, other, 2)?;
        self.matmul(other)
    }

    /// The products of two batches of matrices.
    #[track_caller]
    pub fn bmm(&self, other: &Tensor) -> Result<Tensor> {
        ranks("bmm", self, other, 3)?;
        self.matmul(other)
    }

    /// self weight^T + bias over the last dimension.
    #[track_caller]
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        if weight.rank() == 1 && self.rank() > 0 {
            let product = self.matmul(weight)?;
            return bias.map_or(Ok(product.clone()), |b| product.add(b));
        }
        bind1(&LINEAR, &[Arg::Tensor(self), Arg::Tensor(weight), bias.into()])
    }

    /// beta * self + alpha * (a b).
    #[track_caller]
    pub fn addmm<'a>(
        &'a self,
        a: &'a Tensor,
        b: &'a Tensor,
        beta: impl Into<Arg<'a>>,
        alpha: impl Into<Arg<'a>>,
    ) -> Result<Tensor> {
        bind1(&ADDMM, &[Arg::Tensor(self), Arg::Tensor(a), Arg::Tensor(b), beta.into(), alpha.into()])
    }
}
