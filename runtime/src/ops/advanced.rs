//! Elements named by several index tensors at once, and copies in which chosen places are replaced: take, index,
//! index_put, index_copy, index_fill, one_hot.
//!
//! Indices of the leading dimensions become one place in those dimensions laid out as one; an index out of range becomes
//! a place out of range, which the kernel refuses.

use super::index::{at_least_one, infer_index_add, laid, lay, whole};
use super::rules::{chain, f32s, flag, i64s, ints, one, wanted};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Dim, Infer, Shape, TensorType, Types, broadcast, wrap_dim};
use crate::lower::{Steps, View};
use crate::samples::{SampleArg, exact, host, list, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::loops::{BinaryOp, Combine, Node, Region};
use kernels::{DType, Dims};
use smallvec::{SmallVec, smallvec};

/// The place that indices into these extents name, counted from the end where negative.
fn place(r: &mut Region, indices: &[Node], extents: &[usize]) -> Node {
    let number = |r: &mut Region, n: usize| r.constant(n as i64, DType::I64);
    let zero = number(r, 0);
    let mut found: Option<(Node, Node)> = None;
    for (&index, &n) in indices.iter().zip(extents) {
        let (index, n) = (r.cast(index, DType::I64), number(r, n));
        let (negative, moved) = (r.binary(BinaryOp::Lt, index, zero), r.binary(BinaryOp::Add, index, n));
        let index = r.select(negative, moved, index);
        let (low, high) = (r.binary(BinaryOp::Ge, index, zero), r.binary(BinaryOp::Lt, index, n));
        let fits = r.binary(BinaryOp::And, low, high);
        found = Some(match found {
            None => (index, fits),
            Some((place, all)) => {
                let place = r.binary(BinaryOp::Mul, place, n);
                (r.binary(BinaryOp::Add, place, index), r.binary(BinaryOp::And, all, fits))
            }
        });
    }
    let (place, fits) = found.unwrap_or((zero, zero));
    let beyond = number(r, extents.iter().product());
    r.select(fits, place, beyond)
}

/// The leading dimensions that indices take the place of, and the shape of all indices.
fn indexed(t: &TensorType, indices: &[TensorType]) -> Result<(usize, Shape)> {
    if indices.is_empty() || indices.len() > t.rank() {
        return Err(Error::index(format!("{} indices for {t}", indices.len())));
    }
    let mut shape = Shape::new();
    for index in indices {
        whole(index)?;
        shape = broadcast(&shape, &index.shape)?;
    }
    Ok((indices.len(), shape))
}

fn infer_index(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    let (taken, mut shape) = indexed(t, c.tensors(1)?)?;
    shape.extend(t.shape[taken..].iter().copied());
    one(t.dtype, shape)
}

/// Rows of `x`, whose leading dimensions have these extents, at the places that the indices name.
fn lower_rows(s: &mut Steps, x: View, leading: usize, indices: &[View]) -> Result<()> {
    let out = s.output(0);
    let extents: Dims = x.layout.shape[..leading].into();
    let rest: Dims = x.layout.shape[leading..].into();
    let mut flat: Dims = smallvec![extents.iter().product()];
    flat.extend(rest.iter().copied());
    let x = laid(s, x, &flat)?;
    let inputs: SmallVec<[&View; 4]> = std::iter::once(&x).chain(indices).collect();
    s.region(&inputs, &[&out], |r, n| {
        let mut at = place(r, &n[1..], &extents);
        let rank = r.shape(at).len();
        if rank == 0 {
            at = r.unsqueeze(at, 0);
        }
        for _ in 0..rest.len() {
            let last = r.shape(at).len();
            at = r.unsqueeze(at, last);
        }
        let mut source = n[0];
        for _ in 1..rank {
            source = r.unsqueeze(source, 1);
        }
        let y = r.gather(source, 0, at);
        Ok(smallvec![if rank == 0 { r.squeeze(y, 0) } else { y }])
    })
}

/// A copy of x, laid out with its leading dimensions as one, in which rows are replaced by values or these are added.
fn lower_index_put(s: &mut Steps) -> Result<()> {
    let (x, values, out) = (s.input(0)?, s.input(2)?, s.output(0));
    let (indices, accumulate) = (s.inputs(1)?, flag(s.host(3)?)?);
    s.copy(&x, &out)?;
    let extents: Dims = x.layout.shape[..indices.len()].into();
    let rest: Dims = x.layout.shape[indices.len()..].into();
    let mut named: Dims = Dims::new();
    for index in &indices {
        named = kernels::shape::broadcast(&named, &index.layout.shape)
            .map_err(|_| Error::internal("indices do not broadcast"))?;
    }
    let count: usize = named.iter().product();
    if count * rest.iter().product::<usize>() == 0 {
        return Ok(());
    }
    let places = s.temp(DType::I64, &named);
    let inputs: SmallVec<[&View; 4]> = indices.iter().collect();
    s.region(&inputs, &[&places], |r, n| {
        let at = place(r, n, &extents);
        Ok(smallvec![r.expand(at, &named)])
    })?;
    let mut lines: Dims = smallvec![count];
    lines.extend(std::iter::repeat_n(1, rest.len()));
    let places = laid(s, places, &lines)?;
    let whole: Dims = named.iter().chain(&rest).copied().collect();
    let layout = values.layout.broadcast_to(&whole);
    let values = View { layout: layout.ok_or_else(|| Error::internal("values do not broadcast"))?, ..values };
    lines.truncate(1);
    lines.extend(rest.iter().copied());
    let values = laid(s, values, &lines)?;
    let mut flat: Dims = smallvec![extents.iter().product()];
    flat.extend(rest.iter().copied());
    let target = match out.layout.reshape(&flat) {
        Some(layout) => View { layout, ..out.clone() },
        None => {
            let dense = s.temp(out.dtype, &flat);
            let same = laid(s, dense.clone(), &x.layout.shape)?;
            s.copy(&x, &same)?;
            dense
        }
    };
    let mut region = Region::new();
    let at = region.input(DType::I64, &places.layout.shape);
    let value = region.input(values.dtype, &values.layout.shape);
    let combine = if accumulate { Combine::Add } else { Combine::Set };
    region.scatter_output(&flat, 0, at, value, combine);
    s.composed(&region, &[&places, &values], &[&target], smallvec![])?;
    if target.slot != out.slot {
        let same = laid(s, target, &x.layout.shape)?;
        s.copy(&same, &out)?;
    }
    Ok(())
}

fn infer_index_put(c: &Infer) -> Result<Types> {
    let (t, values) = (c.tensor(0)?, c.tensor(2)?);
    let (taken, mut shape) = indexed(t, c.tensors(1)?)?;
    shape.extend(t.shape[taken..].iter().copied());
    flag(c.host(3)?)?;
    if values.dtype != t.dtype {
        return Err(Error::dtype(format!("cannot put {} into {}", values.dtype, t.dtype)));
    }
    match broadcast(&values.shape, &shape)? == shape {
        true => Ok(smallvec![t.clone()]),
        false => Err(Error::shape(format!("{values} does not fit the places of shape {shape:?}"))),
    }
}

/// Zeros of x's shape with the cotangent added at the places.
fn put_back(c: &VjpContext, dims: &[usize], indices: &[Tensor], dy: &Tensor) -> Result<Tensor> {
    let zeros = Tensor::zeros(dims, c.input_type(0)?.dtype, dy.device())?;
    zeros.index_put(indices, dy, true)
}

fn infer_index_fill(c: &Infer) -> Result<Types> {
    let (x, index) = (c.tensor(0)?, c.tensor(2)?);
    c.dim(1, x.rank())?;
    whole(index)?;
    if index.rank() > 1 {
        return Err(Error::shape(format!("an index of at most one dimension is needed, got {index}")));
    }
    super::select::fits_into(c, 3, x.dtype)?;
    Ok(smallvec![x.clone()])
}

/// A copy of the first operand, then stores along a dimension of a source or one value (operand 3).
fn lower_index_store(s: &mut Steps) -> Result<()> {
    let (x, index, out) = (at_least_one(s.input(0)?), s.input(2)?, at_least_one(s.output(0)));
    let rank = x.layout.rank();
    let dim = wrap_dim(s.host(1)?.int()?, rank)?;
    s.copy(&x, &out)?;
    let rows = x.layout.numel() / x.layout.shape[dim].max(1);
    if index.layout.numel() * rows == 0 {
        return Ok(());
    }
    let mut region = Region::new();
    let at = region.input(index.dtype, &index.layout.shape);
    let at = lay(&mut region, at, dim, rank);
    let mut inputs = vec![index];
    let value = if s.is_tensor(3) {
        let mut source = s.input(3)?;
        if s.input(0)?.layout.rank() == 0 && source.layout.rank() == 0 {
            source = at_least_one(source);
        }
        let node = region.input(source.dtype, &source.layout.shape);
        inputs.push(source);
        region.cast(node, out.dtype)
    } else {
        let value = s.host(3)?.scalar().ok_or_else(|| Error::internal("no number to fill with"))?;
        region.constant(value, out.dtype)
    };
    region.scatter_output(&out.layout.shape, dim, at, value, Combine::Set);
    let inputs: Vec<&View> = inputs.iter().collect();
    s.composed(&region, &inputs, &[&out], smallvec![])
}

/// A one in the place that each class names.
fn lower_one_hot(s: &mut Steps) -> Result<()> {
    let (index, out) = (s.input(0)?, s.output(0));
    super::create::fill(s, &out, 0i64)?;
    if index.layout.numel() == 0 {
        return Ok(());
    }
    let last = out.layout.rank() - 1;
    let mut region = Region::new();
    let at = region.input(index.dtype, &index.layout.shape);
    let at = region.unsqueeze(at, last);
    let one = region.constant(1i64, out.dtype);
    region.scatter_output(&out.layout.shape, last, at, one, Combine::Set);
    s.composed(&region, &[&index], &[&out], smallvec![])
}

/// Exact i64 indices.
fn at(dims: &[usize], elements: &[i64]) -> SampleArg {
    exact(DType::I64, dims, elements)
}

ops! {
    /// Elements of the flattened tensor at the index, in the index's shape; negative places count from the end.
    TAKE = "take(Tensor self, Tensor index) -> Tensor" {
        infer: |c| {
            let (x, index) = (c.tensor(0)?, c.tensor(1)?);
            whole(index)?;
            one(x.dtype, index.shape.clone())
        },
        vjp: Vjp::Rule(Saves::inputs(2), |c| chain(c, |dy| {
            let dims = c.input_dims(0)?;
            let index = std::slice::from_ref(c.input(1)?);
            put_back(c, &[dims.iter().product()], index, dy)?.reshape(&ints(&dims))
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(|s| {
            let (x, index) = (s.input(0)?, s.input(1)?);
            let n = x.layout.numel();
            let x = laid(s, x, &[n])?;
            lower_rows(s, x, 1, &[index])
        }),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3, 4]), at(&[2, 2], &[0, 11, -1, 5])]);
            s.case([t(&[3]), at(&[], &[2])]);
            s.case([t(&[]), at(&[2], &[0, -1])]);
            s.case([t(&[3]), tensor(DType::I64, &[0], 0.0, 1.0)]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[2, 2]), at(&[1], &[4])]);
            e.case(ErrorKind::Index, [f32s(&[2, 2]), at(&[1], &[-5])]);
            e.case(ErrorKind::DType, [f32s(&[2, 2]), f32s(&[1])]);
        },
    }
    /// What index tensors of the leading dimensions name, broadcast; negative places count from the end.
    INDEX = "index(Tensor self, Tensor[] indices) -> Tensor" {
        infer: infer_index,
        vjp: Vjp::Rule(Saves::inputs(2), |c| chain(c, |dy| put_back(c, &c.input_dims(0)?, c.input_list(1)?, dy))),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(|s| {
            let (x, indices) = (s.input(0)?, s.inputs(1)?);
            lower_rows(s, x, indices.len(), &indices)
        }),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3, 4]), list([at(&[2], &[2, 0])])]);
            s.case([t(&[3, 4]), list([at(&[2], &[2, 0]), at(&[2], &[-1, 1])])]);
            s.case([t(&[3, 4, 2]), list([at(&[2, 1], &[2, 0]), at(&[3], &[3, 1, 0])])]);
            s.case([t(&[3, 4]), list([at(&[], &[1])])]);
            s.case([t(&[3, 4]), list([tensor(DType::I64, &[0], 0.0, 1.0)])]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[2, 2]), list([at(&[1], &[0]), at(&[1], &[2])])]);
            e.case(ErrorKind::Index, [f32s(&[2]), list([i64s(&[1]), i64s(&[1])])]);
            e.case(ErrorKind::Shape, [f32s(&[3, 3]), list([i64s(&[2]), i64s(&[3])])]);
            e.case(ErrorKind::DType, [f32s(&[2]), list([f32s(&[1])])]);
        },
    }
    /// A copy in which values replace what index tensors of the leading dimensions name (the last one wins), or are added
    /// to it.
    INDEX_PUT = "index_put(Tensor self, Tensor[] indices, Tensor values, bool accumulate=False) -> Tensor" {
        infer: infer_index_put,
        vjp: Vjp::Rule(Saves::inputs(2), |c| {
            let (dy, indices) = (c.dy()?, c.input_list(1)?);
            let at_values = 1 + indices.len();
            let mut out = Gradients::new();
            out.push(wanted(c, 0, || match flag(c.host(3)?)? {
                true => Ok(dy.clone()),
                false => dy.index_put(indices, &Tensor::zeros(&[], dy.dtype(), dy.device())?, false),
            })?);
            out.extend(indices.iter().map(|_| None));
            out.push(wanted(c, at_values, || dy.index(indices)?.sum_to_size(&c.input_dims(2)?))?);
            Ok(out)
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Steps(lower_index_put),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3, 4]), list([at(&[2], &[2, 0])]), t(&[2, 4])]);
            s.case([t(&[3, 4]), list([at(&[2], &[2, 0]), at(&[2], &[-1, 1])]), t(&[])]);
            s.case([t(&[3, 4, 2]), list([at(&[2, 1], &[2, 0]), at(&[3], &[3, 1, 0])]), t(&[3, 2])]);
            s.case([t(&[3]), list([at(&[], &[1])]), t(&[])]);
            if d != DType::Bool {
                s.case([t(&[3]), list([at(&[4], &[1, 1, 0, 1])]), t(&[4]), host(true)]);
                s.case([t(&[2, 3]), list([at(&[3], &[1, 1, 0])]), t(&[1, 3]), host(true)]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[2]), list([at(&[1], &[2])]), f32s(&[1])]);
            e.case(ErrorKind::Shape, [f32s(&[3]), list([i64s(&[2])]), f32s(&[3])]);
            e.case(ErrorKind::DType, [f32s(&[3]), list([i64s(&[2])]), i64s(&[2])]);
        },
    }
    /// A copy in which slices of `source` replace the places that an index of one dimension names; the last one wins.
    INDEX_COPY = "index_copy(Tensor self, int dim, Tensor index, Tensor source) -> Tensor" {
        infer: infer_index_add,
        vjp: Vjp::Rule(Saves::inputs(4), |c| {
            let (dy, dim, index) = (c.dy()?, c.host(1)?, c.input(2)?);
            Ok(smallvec![
                wanted(c, 0, || dy.index_fill(dim.int()?, index, 0i64))?,
                None,
                wanted(c, 2, || {
                    let part = dy.index_select(dim.int()?, index)?;
                    part.reshape(&ints(&c.input_dims(3)?))
                })?,
            ])
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(lower_index_store),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3, 4]), host(0i64), at(&[2], &[2, 0]), t(&[2, 4])]);
            s.case([t(&[3, 4]), host(-1i64), at(&[3], &[0, 3, 1]), t(&[3, 3])]);
            s.case([t(&[3]), host(0i64), at(&[1], &[1]), t(&[1])]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3, 2]), host(0i64), at(&[1], &[0]), f32s(&[1, 3])]);
            e.case(ErrorKind::Index, [f32s(&[3]), host(0i64), at(&[1], &[3]), f32s(&[1])]);
            e.case(ErrorKind::DType, [f32s(&[3]), host(0i64), at(&[1], &[0]), i64s(&[1])]);
        },
    }
    /// A copy with one value in every place that an index of one dimension names.
    INDEX_FILL = "index_fill(Tensor self, int dim, Tensor index, Tensor value) -> Tensor" {
        infer: infer_index_fill,
        vjp: Vjp::Rule(Saves::inputs(4), |c| {
            let (dy, dim, index) = (c.dy()?, c.host(1)?, c.input(2)?);
            let mut out: Gradients = smallvec![
                wanted(c, 0, || dy.index_fill(dim.int()?, index, 0i64))?,
                None,
            ];
            if c.is_tensor(3) {
                out.push(wanted(c, 2, || {
                    // A place that is named twice is filled once.
                    let chosen = dy.zeros_like(None)?.index_fill(dim.int()?, index, 1i64)?;
                    chosen.mul(dy)?.sum(&[], false)?.to(c.input_type(3)?.dtype)
                })?);
            }
            Ok(out)
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(lower_index_store),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3, 4]), host(0i64), at(&[2], &[2, 0]), host(1i64)]);
            s.case([t(&[3, 4]), host(-1i64), at(&[3], &[0, 3, 0]), t(&[])]);
            s.case([t(&[3]), host(0i64), at(&[], &[1]), host(true)]);
            s.case([t(&[3]), host(0i64), tensor(DType::I64, &[0], 0.0, 1.0), host(1i64)]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[3]), host(0i64), at(&[1], &[3]), host(1.0)]);
            e.case(ErrorKind::DType, [i64s(&[3]), host(0i64), at(&[1], &[0]), host(1.5)]);
            e.case(ErrorKind::Shape, [f32s(&[3]), host(0i64), at(&[1], &[0]), f32s(&[1])]);
        },
    }
    /// For each class a new last dimension of zeros with a one in the class's place, i64.
    ONE_HOT = "one_hot(Tensor self, int num_classes) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let n = c.host(1)?.int()?;
            if t.dtype != DType::I64 {
                return Err(Error::dtype(format!("classes must be int64, got {}", t.dtype)));
            }
            let n = usize::try_from(n).ok().filter(|n| *n > 0);
            let n = n.ok_or_else(|| Error::value("the number of classes must be positive"))?;
            let mut shape = t.shape.clone();
            shape.push(Dim::constant(n));
            one(DType::I64, shape)
        },
        vjp: Vjp::Zero,
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(lower_one_hot),
        samples: |s| if s.dtype == DType::I64 {
            s.case([at(&[3], &[0, 2, 1]), host(3i64)]);
            s.case([at(&[2, 2], &[0, 2, 1, 1]), host(5i64)]);
            s.case([at(&[], &[1]), host(2i64)]);
            s.case([tensor(DType::I64, &[0], 0.0, 1.0), host(2i64)]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [at(&[1], &[3]), host(3i64)]);
            e.case(ErrorKind::Index, [at(&[1], &[-1]), host(3i64)]);
            e.case(ErrorKind::DType, [f32s(&[1]), host(3i64)]);
            e.case(ErrorKind::Value, [at(&[1], &[0]), host(0i64)]);
        },
    }
}

impl Tensor {
    /// Elements of the flattened tensor at `index`.
    #[track_caller]
    pub fn take(&self, index: &Tensor) -> Result<Tensor> {
        bind1(&TAKE, &[Arg::Tensor(self), Arg::Tensor(index)])
    }

    /// What index tensors of the leading dimensions name, broadcast.
    #[track_caller]
    pub fn index(&self, indices: &[Tensor]) -> Result<Tensor> {
        bind1(&INDEX, &[Arg::Tensor(self), Arg::Tensors(indices)])
    }

    /// A copy in which `values` replace what index tensors of the leading dimensions name, or are added to it.
    #[track_caller]
    pub fn index_put(&self, indices: &[Tensor], values: &Tensor, accumulate: bool) -> Result<Tensor> {
        let args = [Arg::Tensor(self), Arg::Tensors(indices), Arg::Tensor(values), Arg::Bool(accumulate)];
        bind1(&INDEX_PUT, &args)
    }

    /// A copy in which slices of `source` replace the places that `index` names along `dim`.
    #[track_caller]
    pub fn index_copy(&self, dim: i64, index: &Tensor, source: &Tensor) -> Result<Tensor> {
        bind1(&INDEX_COPY, &[Arg::Tensor(self), Arg::Int(dim), Arg::Tensor(index), Arg::Tensor(source)])
    }

    /// A copy with `value` in every place that `index` names along `dim`.
    #[track_caller]
    pub fn index_fill<'a>(
        &'a self,
        dim: i64,
        index: &'a Tensor,
        value: impl Into<Arg<'a>>,
    ) -> Result<Tensor> {
        bind1(&INDEX_FILL, &[Arg::Tensor(self), Arg::Int(dim), Arg::Tensor(index), value.into()])
    }

    /// For each class of this i64 tensor a new last dimension of zeros with a one in the class's place.
    #[track_caller]
    pub fn one_hot(&self, num_classes: usize) -> Result<Tensor> {
        bind1(&ONE_HOT, &[Arg::Tensor(self), Arg::Int(num_classes as i64)])
    }
}
