//! Elements chosen by an index tensor: gather and scatter, rows of a table, and their gradients.
//!
//! Scattered sums are added in ascending order of the index's points, so that they are the same every time.

use super::rules::{chain, f32s, i64s, in_float32, int_or, one, wanted};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Dim, Infer, Shape, TensorType, Types, wrap_dim};
use crate::lower::{Lowering, Steps, View};
use crate::samples::{SampleArg, exact, host, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::{BinaryOp, Combine, Region};
use smallvec::smallvec;

/// An index must hold integers.
pub(super) fn whole(t: &TensorType) -> Result<()> {
    match t.dtype {
        DType::I32 | DType::I64 => Ok(()),
        // torch lets an empty index be of any whole type.
        DType::U8 if t.numel().is(0) => Ok(()),
        other => Err(Error::dtype(format!("an index must hold int32 or int64, got {other}"))),
    }
}

/// Vectors stand for rank 0, which torch counts as one element.
pub(super) fn at_least_one(mut v: View) -> View {
    if v.layout.rank() == 0 {
        v.layout = v.layout.unsqueeze(0);
    }
    v
}

/// The extents of `index` must not exceed those of `of` apart from `dim`.
pub(super) fn within(index: &TensorType, of: &TensorType, dim: Option<usize>) -> Result<()> {
    let fits = |d: usize| match (index.shape[d].known(), of.shape[d].known()) {
        (Some(a), Some(b)) => a <= b || Some(d) == dim,
        _ => true,
    };
    // Rank 0 counts as one element.
    if index.rank() != of.rank() && (of.rank() > 0 || index.rank() > 1) {
        return Err(Error::shape(format!("an index {index} must have the rank of {of}")));
    }
    match (0..index.rank().min(of.rank())).find(|&d| !fits(d)) {
        Some(d) => Err(Error::shape(format!("an index {index} is larger than {of}")).at_dim(d as isize)),
        None => Ok(()),
    }
}

fn infer_gather(c: &Infer) -> Result<Types> {
    let (x, index) = (c.tensor(0)?, c.tensor(2)?);
    let dim = c.dim(1, x.rank())?;
    whole(index)?;
    // Of nothing to find, torch asks no rank either.
    if !index.numel().is(0) {
        within(index, x, Some(dim))?;
    }
    one(x.dtype, index.shape.clone())
}

/// A view cut to the index's extents apart from `dim`.
pub(super) fn cut(v: &View, index: &View, dim: usize) -> View {
    let mut out = v.clone();
    for (d, &n) in index.layout.shape.iter().enumerate() {
        if d != dim {
            out.layout = out.layout.slice(d, 0, n, 1);
        }
    }
    out
}

fn lower_gather(s: &mut Steps) -> Result<()> {
    let (x, index, out) = (at_least_one(s.input(0)?), at_least_one(s.input(2)?), at_least_one(s.output(0)));
    let dim = wrap_dim(s.host(1)?.int()?, x.layout.rank())?;
    let x = cut(&x, &index, dim);
    s.region(&[&x, &index], &[&out], |r, n| {
        let at = r.cast(n[1], DType::I64);
        Ok(smallvec![r.gather(n[0], dim, at)])
    })
}

/// self, dim, index, src.
fn infer_scatter(c: &Infer) -> Result<Types> {
    let (x, index) = (c.tensor(0)?, c.tensor(2)?);
    let dim = c.dim(1, x.rank())?;
    whole(index)?;
    within(index, x, Some(dim))?;
    if let Ok(source) = c.tensor(3) {
        if source.dtype != x.dtype {
            return Err(Error::dtype(format!("cannot scatter {} into {}", source.dtype, x.dtype)));
        }
        within(index, source, None)?;
    } else if c.host(3)?.scalar().is_none() {
        return Err(Error::value(format!("expected a tensor or a number to scatter, got {:?}", c.host(3)?)));
    }
    Ok(smallvec![x.clone()])
}

/// A copy of the first operand, then stores at the places that the index names.
fn lower_scatter(s: &mut Steps, combine: Combine) -> Result<()> {
    let (x, index, out) = (at_least_one(s.input(0)?), at_least_one(s.input(2)?), at_least_one(s.output(0)));
    let dim = wrap_dim(s.host(1)?.int()?, x.layout.rank())?;
    s.copy(&x, &out)?;
    if index.layout.numel() == 0 {
        return Ok(());
    }
    let target = cut(&out, &index, dim);
    let mut region = Region::new();
    let at = region.input(index.dtype, &index.layout.shape);
    let at = region.cast(at, DType::I64);
    let mut inputs = vec![index.clone()];
    let value = if s.is_tensor(3) {
        let mut source = at_least_one(s.input(3)?);
        for (d, &n) in index.layout.shape.iter().enumerate() {
            source.layout = source.layout.slice(d, 0, n, 1);
        }
        let node = region.input(source.dtype, &source.layout.shape);
        inputs.push(source);
        node
    } else {
        let value = s.host(3)?.scalar().ok_or_else(|| Error::internal("no number to scatter"))?;
        region.constant(value, out.dtype)
    };
    region.scatter_output(&target.layout.shape, dim, at, value, combine);
    let inputs: Vec<&View> = inputs.iter().collect();
    s.composed(&region, &inputs, &[&target], smallvec![])
}

fn infer_index_select(c: &Infer) -> Result<Types> {
    let (x, index) = (c.tensor(0)?, c.tensor(2)?);
    let dim = c.dim(1, x.rank())?;
    whole(index)?;
    if index.rank() > 1 {
        return Err(Error::shape(format!("an index of at most one dimension is needed, got {index}")));
    }
    let mut shape = x.shape.clone();
    if x.rank() > 0 {
        shape[dim] = index.numel();
    }
    one(x.dtype, shape)
}

/// An index of one dimension laid along `dim` of a value of this rank.
pub(super) fn lay(
    region: &mut Region,
    index: kernels::loops::Node,
    dim: usize,
    rank: usize,
) -> kernels::loops::Node {
    let mut at = region.cast(index, DType::I64);
    if region.shape(at).is_empty() {
        at = region.unsqueeze(at, 0);
    }
    for _ in dim + 1..rank {
        let last = region.shape(at).len();
        at = region.unsqueeze(at, last);
    }
    for _ in 0..dim {
        at = region.unsqueeze(at, 0);
    }
    at
}

fn lower_index_select(l: &mut Lowering) -> Result<()> {
    let mut x = l.input(0)?;
    let index = l.input(2)?;
    let scalar = l.region.shape(x).is_empty();
    if scalar {
        x = l.region.unsqueeze(x, 0);
    }
    let rank = l.region.shape(x).len();
    let dim = wrap_dim(l.host(1)?.int()?, rank)?;
    let at = lay(l.region, index, dim, rank);
    let mut y = l.region.gather(x, dim, at);
    if scalar {
        y = l.region.squeeze(y, 0);
    }
    l.output(y);
    Ok(())
}

/// self, dim, index, source, alpha.
pub(super) fn infer_index_add(c: &Infer) -> Result<Types> {
    let (x, index, source) = (c.tensor(0)?, c.tensor(2)?, c.tensor(3)?);
    let dim = c.dim(1, x.rank())?;
    whole(index)?;
    if source.dtype != x.dtype {
        return Err(Error::dtype(format!("{} does not go into {}", source.dtype, x.dtype)));
    }
    let mut expected = x.shape.clone();
    if x.rank() > 0 {
        expected[dim] = index.numel();
    }
    match index.rank() <= 1 && source.shape == expected {
        true => Ok(smallvec![x.clone()]),
        false => Err(Error::shape(format!(
            "{source} does not fit {x} along dimension {dim} with an index {index}"
        ))),
    }
}

fn lower_index_add(s: &mut Steps) -> Result<()> {
    let (x, index, source, out) =
        (at_least_one(s.input(0)?), s.input(2)?, at_least_one(s.input(3)?), at_least_one(s.output(0)));
    let rank = x.layout.rank();
    let dim = wrap_dim(s.host(1)?.int()?, rank)?;
    s.copy(&x, &out)?;
    if source.layout.numel() == 0 {
        return Ok(());
    }
    let mut region = Region::new();
    let at = region.input(index.dtype, &index.layout.shape);
    let at = lay(&mut region, at, dim, rank);
    let mut value = region.input(source.dtype, &source.layout.shape);
    if let Some(alpha) = s.host(4)?.scalar() {
        let wide = source.dtype.accumulator();
        let (wider, alpha) = (region.cast(value, wide), region.constant(alpha, wide));
        let product = region.binary(BinaryOp::Mul, wider, alpha);
        value = region.cast(product, source.dtype);
    }
    region.scatter_output(&out.layout.shape, dim, at, value, Combine::Add);
    s.composed(&region, &[&index, &source], &[&out], smallvec![])
}

fn lower_embedding(l: &mut Lowering) -> Result<()> {
    let (mut table, mut at) = (l.input(0)?, l.input(1)?);
    let rank = l.region.shape(at).len();
    at = l.region.cast(at, DType::I64);
    at = l.region.unsqueeze(at, rank);
    if rank == 0 {
        at = l.region.unsqueeze(at, 0);
    }
    for _ in 1..rank {
        table = l.region.unsqueeze(table, 1);
    }
    let mut y = l.region.gather(table, 0, at);
    if rank == 0 {
        y = l.region.squeeze(y, 0);
    }
    l.output(y);
    Ok(())
}

/// A view with its elements laid out as `shape`, copied where the layout does not allow that.
pub(super) fn laid(s: &mut Steps, v: View, shape: &[usize]) -> Result<View> {
    if let Some(layout) = v.layout.reshape(shape) {
        return Ok(View { layout, ..v });
    }
    let dense = s.temp(v.dtype, &v.layout.shape);
    s.copy(&v, &dense)?;
    let layout = dense.layout.reshape(shape);
    Ok(View { layout: layout.ok_or_else(|| Error::internal("a dense view has every shape"))?, ..dense })
}

/// grad_output, indices, num_weights, padding_idx.
fn lower_embedding_backward(s: &mut Steps) -> Result<()> {
    let (dy, indices, out) = (s.input(0)?, s.input(1)?, s.output(0));
    super::create::fill(s, &out, 0.0)?;
    let n = indices.layout.numel();
    if dy.layout.numel() == 0 {
        return Ok(());
    }
    let columns = out.layout.shape[1];
    let (dy, indices) = (laid(s, dy, &[n, columns])?, laid(s, indices, &[n, 1])?);
    let padding = int_or(s.host(3)?, -1)?;
    let mut region = Region::new();
    let at = region.input(indices.dtype, &[n, 1]);
    let at = region.cast(at, DType::I64);
    let mut value = region.input(dy.dtype, &[n, columns]);
    if padding >= 0 {
        let (padding, zero) = (region.constant(padding, DType::I64), region.constant(0i64, dy.dtype));
        let padded = region.binary(BinaryOp::Eq, at, padding);
        value = region.select(padded, zero, value);
    }
    region.scatter_output(&out.layout.shape, 0, at, value, Combine::Add);
    s.composed(&region, &[&indices, &dy], &[&out], smallvec![])
}

/// Exact i64 indices.
fn at(dims: &[usize], elements: &[i64]) -> SampleArg {
    exact(DType::I64, dims, elements)
}

ops! {
    /// Elements at the index along a dimension; the result has the index's shape.
    GATHER = "gather(Tensor self, int dim, Tensor index) -> Tensor" {
        infer: infer_gather,
        vjp: Vjp::Rule(Saves::inputs(4), |c| in_float32(c, |c| chain(c, |dy| {
            let x = c.input_type(0)?;
            let zeros = Tensor::zeros(&x.constant_dims()?, x.dtype, dy.device())?;
            if dy.numel() == 0 {
                return Ok(zeros);
            }
            if x.rank() == 0 {
                return dy.sum(&[], false);
            }
            zeros.scatter_add(c.host(1)?.int()?, c.input(2)?, dy)
        }))),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(lower_gather),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3, 4]), host(1i64), at(&[3, 2], &[0, 3, 1, 1, 2, 0])]);
            s.case([t(&[3, 4]), host(0i64), at(&[2, 4], &[0, 1, 2, 0, 2, 1, 0, 2])]);
            s.case([t(&[3, 4]), host(-1i64), at(&[2, 1], &[3, 0])]);
            s.case([t(&[4]), host(0i64), at(&[4], &[3, 3, 0, 1])]);
            s.case([t(&[3, 4]), host(1i64), tensor(DType::I64, &[3, 0], 0.0, 1.0)]);
            s.case([t(&[2]), host(0i64), exact(DType::I32, &[1], &[1i64])]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[2]), host(0i64), at(&[1], &[2])]);
            e.case(ErrorKind::Shape, [f32s(&[2, 3]), host(0i64), at(&[2], &[0, 0])]);
            e.case(ErrorKind::DType, [f32s(&[2]), host(0i64), f32s(&[2])]);
        },
    }
    /// A copy in which elements of `src` (or a number) replace those that the index names; the last store wins.
    SCATTER = "scatter(Tensor self, int dim, Tensor index, Tensor src) -> Tensor" {
        infer: infer_scatter,
        vjp: Vjp::Rule(Saves::inputs(4), |c| {
            let (dy, dim, index) = (c.dy()?, c.host(1)?, c.input(2)?);
            let mut out: Gradients = smallvec![
                wanted(c, 0, || bind1(&SCATTER, &[Arg::Tensor(dy), dim, Arg::Tensor(index), Arg::Int(0)]))?,
                None,
            ];
            if c.is_tensor(3) {
                out.push(wanted(c, 2, || source_gradient(c, dy, dim.int()?, index))?);
            }
            Ok(out)
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(|s| lower_scatter(s, Combine::Set)),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3, 4]), host(0i64), at(&[2, 4], &[0, 1, 2, 0, 2, 0, 1, 1]), t(&[2, 4])]);
            s.case([t(&[2, 4]), host(-1i64), at(&[2, 2], &[3, 0, 1, 2]), t(&[3, 3])]);
            s.case([t(&[3]), host(0i64), at(&[1], &[2]), host(1i64)]);
            s.case([t(&[3]), host(0i64), tensor(DType::I64, &[0], 0.0, 1.0), t(&[0])]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[3]), host(0i64), at(&[1], &[3]), f32s(&[1])]);
            e.case(ErrorKind::DType, [f32s(&[3]), host(0i64), at(&[1], &[0]), tensor(DType::F64, &[1], 0.0, 1.0)]);
            e.case(ErrorKind::Shape, [f32s(&[3]), host(0i64), at(&[2], &[0, 1]), f32s(&[1])]);
        },
    }
    /// A copy in which elements of `src` are added to those that the index names.
    SCATTER_ADD = "scatter_add(Tensor self, int dim, Tensor index, Tensor src) -> Tensor" {
        infer: |c| {
            c.tensor(3)?;
            infer_scatter(c)
        },
        vjp: Vjp::Rule(Saves::inputs(4), |c| {
            let (dy, index) = (c.dy()?, c.input(2)?);
            Ok(smallvec![
                wanted(c, 0, || Ok(dy.clone()))?,
                None,
                wanted(c, 2, || source_gradient(c, dy, c.host(1)?.int()?, index))?,
            ])
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Steps(|s| lower_scatter(s, Combine::Add)),
        samples: |s| {
            let d = s.dtype;
            if d == DType::Bool {
                return;
            }
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3, 4]), host(0i64), at(&[2, 4], &[0, 1, 2, 0, 0, 1, 2, 0]), t(&[2, 4])]);
            s.case([t(&[2, 4]), host(-1i64), at(&[2, 2], &[3, 3, 1, 2]), t(&[3, 3])]);
            s.case([t(&[3]), host(0i64), at(&[4], &[2, 2, 2, 0]), t(&[4])]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[3]), host(0i64), at(&[1], &[3]), f32s(&[1])]);
            e.case(ErrorKind::Shape, [f32s(&[3]), host(0i64), at(&[2], &[0, 1]), f32s(&[1])]);
        },
    }
    /// The places that an index of one dimension names along a dimension.
    INDEX_SELECT = "index_select(Tensor self, int dim, Tensor index) -> Tensor" {
        infer: infer_index_select,
        vjp: Vjp::Rule(Saves::inputs(4), |c| chain(c, |dy| {
            let x = c.input_type(0)?;
            let zeros = Tensor::zeros(&x.constant_dims()?, x.dtype, dy.device())?;
            zeros.index_add(c.host(1)?.int()?, c.input(2)?, dy, Arg::None)
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Loop(lower_index_select),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3, 4]), host(0i64), at(&[2], &[2, 0])]);
            s.case([t(&[3, 4]), host(-1i64), at(&[3], &[1, 1, 3])]);
            s.case([t(&[2, 3, 4]), host(1i64), exact(DType::I32, &[2], &[2i64, 2])]);
            s.case([t(&[3, 4]), host(0i64), tensor(DType::I64, &[0], 0.0, 1.0)]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[3]), host(0i64), at(&[1], &[3])]);
            e.case(ErrorKind::Shape, [f32s(&[3]), host(0i64), at(&[1, 1], &[0])]);
            e.case(ErrorKind::DType, [f32s(&[3]), host(0i64), f32s(&[1])]);
        },
    }
    /// A copy in which alpha times slices of `source` are added at the places that the index names.
    INDEX_ADD = "index_add(Tensor self, int dim, Tensor index, Tensor source, *, Scalar? alpha=None) -> Tensor" {
        infer: infer_index_add,
        vjp: Vjp::Rule(Saves::inputs(4), |c| {
            let (dy, alpha) = (c.dy()?, c.host(4)?);
            Ok(smallvec![
                wanted(c, 0, || Ok(dy.clone()))?,
                None,
                wanted(c, 2, || {
                    let part = bind1(&INDEX_SELECT, &[Arg::Tensor(dy), c.host(1)?, Arg::Tensor(c.input(2)?)])?;
                    if alpha.is_none() { Ok(part) } else { part.mul(alpha) }
                })?,
            ])
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Steps(lower_index_add),
        samples: |s| {
            let d = s.dtype;
            if d == DType::Bool {
                return;
            }
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3, 4]), host(0i64), at(&[2], &[2, 2]), t(&[2, 4])]);
            s.case([t(&[3, 4]), host(1i64), at(&[2], &[0, 3]), t(&[3, 2]), host(2i64)]);
            s.case([t(&[3]), host(0i64), at(&[3], &[0, 0, 2]), t(&[3])]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3, 2]), host(0i64), at(&[1], &[0]), f32s(&[1, 3])]);
            e.case(ErrorKind::Index, [f32s(&[3]), host(0i64), at(&[1], &[3]), f32s(&[1])]);
        },
    }
    /// Rows of a table; the row `padding_idx` gets no gradient.
    EMBEDDING = "embedding(Tensor weight, Tensor indices, int padding_idx=-1) -> Tensor" {
        infer: |c| {
            let (table, indices) = (c.tensor(0)?, c.tensor(1)?);
            whole(indices)?;
            if table.rank() != 2 {
                return Err(Error::shape(format!("a table of rows must be a matrix, got {table}")));
            }
            let mut shape: Shape = indices.shape.clone();
            shape.push(table.shape[1]);
            one(table.dtype, shape)
        },
        vjp: Vjp::Rule(Saves::inputs(2), |c| chain(c, |dy| {
            let rows = Arg::Int(c.input_dims(0)?[0] as i64);
            bind1(&EMBEDDING_BACKWARD, &[Arg::Tensor(dy), Arg::Tensor(c.input(1)?), rows, c.host(2)?])
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Loop(lower_embedding),
        samples: |s| {
            let t = tensor(s.dtype, &[5, 3], 0.0, 9.0);
            s.case([t.clone(), at(&[4], &[0, 4, 4, 1])]);
            s.case([t.clone(), at(&[2, 3], &[0, 4, 4, 1, 2, 3])]);
            s.case([t.clone(), at(&[], &[2])]);
            s.case([t.clone(), tensor(DType::I64, &[0], 0.0, 1.0)]);
            s.case([t, exact(DType::I32, &[2], &[1i64, 2]), host(2i64)]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[3, 2]), at(&[2], &[0, 3])]);
            e.case(ErrorKind::DType, [f32s(&[3, 2]), f32s(&[3])]);
            e.case(ErrorKind::Shape, [f32s(&[3]), i64s(&[3])]);
        },
    }
    /// A table of zeros with the rows of a cotangent added at their indices; embedding's gradient.
    EMBEDDING_BACKWARD = "embedding_backward(Tensor grad_output, Tensor indices, int num_weights, int padding_idx=-1) -> Tensor" {
        infer: |c| {
            let (dy, indices) = (c.tensor(0)?, c.tensor(1)?);
            whole(indices)?;
            let rows = usize::try_from(c.host(2)?.int()?).map_err(|_| Error::value("a negative number of rows"))?;
            match dy.shape.split_last() {
                Some((&last, lead)) if *lead == indices.shape[..] => {
                    one(dy.dtype, smallvec![Dim::constant(rows), last])
                }
                _ => Err(Error::shape(format!("a cotangent {dy} does not fit indices {indices}"))),
            }
        },
        vjp: Vjp::Rule(Saves::inputs(2), |c| chain(c, |h| {
            let indices = c.input(1)?;
            let rows = bind1(&EMBEDDING, &[Arg::Tensor(h), Arg::Tensor(indices)])?;
            match int_or(c.host(3)?, -1)? {
                padding if padding >= 0 => rows.masked_fill(&indices.eq(padding)?.unsqueeze(-1)?, 0.0),
                _ => Ok(rows),
            }
        })),
        effect: Effect::Pure,
        cost: cost::per_input::<1>,
        lower: Lower::Steps(lower_embedding_backward),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                s.case([tensor(d, &[4, 3], -1.0, 1.0), at(&[4], &[0, 4, 4, 1]), host(5i64)]);
                s.case([tensor(d, &[2, 2, 3], -1.0, 1.0), at(&[2, 2], &[0, 4, 4, 1]), host(5i64), host(4i64)]);
            }
        },
        errors: |e| e.case(ErrorKind::Shape, [f32s(&[3, 2]), at(&[2], &[0, 1]), host(4i64)]),
    }
}

/// What the index read of the cotangent, in the place where it read from the source; zeros where it did not read.
fn source_gradient(c: &crate::table::VjpContext, dy: &Tensor, dim: i64, index: &Tensor) -> Result<Tensor> {
    let mut out = dy.gather(dim, index)?;
    let dims = c.input_dims(3)?;
    for (d, &n) in dims.iter().enumerate() {
        if out.shape()[d] != n {
            let mut sizes = super::rules::ints(out.shape());
            sizes[d] = n as i64;
            let places = [d as i64, 0, 1].map(Arg::Int);
            out = bind1(
                &super::SLICE_BACKWARD,
                &[Arg::Tensor(&out), Arg::Ints(&sizes), places[0], places[1], places[2]],
            )?;
        }
    }
    Ok(out)
}

impl Tensor {
    /// Elements at `index` along `dim`.
    #[track_caller]
    pub fn gather(&self, dim: i64, index: &Tensor) -> Result<Tensor> {
        bind1(&GATHER, &[Arg::Tensor(self), Arg::Int(dim), Arg::Tensor(index)])
    }

    /// A copy in which elements of `src`, a tensor or a number, replace those that the index names.
    #[track_caller]
    pub fn scatter<'a>(&'a self, dim: i64, index: &'a Tensor, src: impl Into<Arg<'a>>) -> Result<Tensor> {
        bind1(&SCATTER, &[Arg::Tensor(self), Arg::Int(dim), Arg::Tensor(index), src.into()])
    }

    /// A copy in which elements of `src` are added to those that the index names.
    #[track_caller]
    pub fn scatter_add(&self, dim: i64, index: &Tensor, src: &Tensor) -> Result<Tensor> {
        bind1(&SCATTER_ADD, &[Arg::Tensor(self), Arg::Int(dim), Arg::Tensor(index), Arg::Tensor(src)])
    }

    /// The places that `index` names along `dim`.
    #[track_caller]
    pub fn index_select(&self, dim: i64, index: &Tensor) -> Result<Tensor> {
        bind1(&INDEX_SELECT, &[Arg::Tensor(self), Arg::Int(dim), Arg::Tensor(index)])
    }

    /// A copy in which alpha times slices of `source` are added at the places that `index` names along `dim`.
    #[track_caller]
    pub fn index_add<'a>(
        &'a self,
        dim: i64,
        index: &'a Tensor,
        source: &'a Tensor,
        alpha: impl Into<Arg<'a>>,
    ) -> Result<Tensor> {
        let args = [Arg::Tensor(self), Arg::Int(dim), Arg::Tensor(index), Arg::Tensor(source), alpha.into()];
        bind1(&INDEX_ADD, &args)
    }

    /// Rows of this table at `indices`; the row `padding` gets no gradient.
    #[track_caller]
    pub fn embedding(&self, indices: &Tensor, padding: Option<i64>) -> Result<Tensor> {
        bind1(&EMBEDDING, &[Arg::Tensor(self), Arg::Tensor(indices), Arg::Int(padding.unwrap_or(-1))])
    }
}
