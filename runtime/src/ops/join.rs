//! Joining, turning around and cutting out: cat, stack, split, flip, tril, triu, contiguous.

use super::rules::{chain, f32s, int_or, one, same};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Origin, Result};
use crate::infer::{Dim, Infer, InferArg, TensorType, Types, promote, wrap_dim, wrap_dims};
use crate::lower::{Lowering, Steps, View};
use crate::samples::{ErrorSamples, Samples, host, list, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::loops::BinaryOp;

/// torch lets a tensor of shape [0] join anything.
fn is_nothing(t: &TensorType) -> bool {
    t.rank() == 1 && t.shape[0].is(0)
}

fn infer_cat(c: &Infer) -> Result<Types> {
    let list = c.tensors(0)?;
    let Some(first) = list.iter().find(|t| !is_nothing(t)).or(list.first()) else {
        return Err(Error::value("cat needs at least one tensor"));
    };
    if first.rank() == 0 {
        return Err(Error::shape("tensors of rank 0 cannot be joined").hint("use stack"));
    }
    let dim = wrap_dim(int_or(c.host(1)?, 0)?, first.rank())?;
    let mut shape = first.shape.clone();
    shape[dim] = Dim::constant(0);
    for t in list.iter().filter(|t| !is_nothing(t) || first.rank() == 1) {
        let fits = t.rank() == shape.len() && (0..shape.len()).all(|d| d == dim || t.shape[d] == shape[d]);
        if !fits {
            return Err(Error::shape(format!("{first} and {t} differ in more than dimension {dim}"))
                .at_dim(dim as isize));
        }
        shape[dim] = shape[dim].plus(t.shape[dim]);
    }
    one(promote(&[InferArg::Tensors(list.to_vec())])?, shape)
}

fn lower_cat(s: &mut Steps) -> Result<()> {
    let out = s.output(0);
    let dim = wrap_dim(int_or(s.host(1)?, 0)?, out.layout.rank())?;
    let mut at = 0;
    for part in s.inputs(0)? {
        if part.layout.rank() != out.layout.rank() || part.layout.shape[dim] == 0 {
            continue;
        }
        let length = part.layout.shape[dim];
        let target = View { layout: out.layout.slice(dim, at, length, 1), ..out.clone() };
        s.copy(&part, &target)?;
        at += length;
    }
    Ok(())
}

fn cat_gradients(c: &VjpContext) -> Result<Gradients> {
    let dy = c.dy()?;
    let dim = wrap_dim(int_or(c.host(1)?, 0)?, dy.rank())?;
    let mut at = 0;
    let mut out = Gradients::new();
    for (i, ty) in c.input_types(0)?.into_iter().enumerate() {
        let dims = ty.constant_dims()?;
        let length = if dims.len() == dy.rank() { dims[dim] as i64 } else { 0 };
        out.push(match c.needs(i) {
            true if dims.len() == dy.rank() => Some(dy.narrow(dim as i64, at, length)?.to(ty.dtype)?),
            true => Some(Tensor::zeros(&dims, ty.dtype, dy.device())?),
            false => None,
        });
        at += length;
    }
    Ok(out)
}

/// The input is read backwards through negative steps.
fn lower_flip(s: &mut Steps) -> Result<()> {
    let (mut x, out) = (s.input(0)?, s.output(0));
    let dims = flip_dims(s.host(1)?, x.layout.rank())?;
    for &d in &dims {
        let last = x.layout.shape[d].saturating_sub(1) as isize * x.layout.strides[d];
        x.layout.offset = (x.layout.offset as isize + last) as usize;
        x.layout.strides[d] = -x.layout.strides[d];
    }
    s.copy(&x, &out)
}

/// An empty list turns nothing around.
fn flip_dims(arg: Arg, rank: usize) -> Result<kernels::Dims> {
    match arg {
        Arg::Ints([]) => Ok(kernels::Dims::new()),
        other => wrap_dims(other, rank),
    }
}

/// The operand where column - row `keeps` the diagonal's number, else 0.
fn lower_triangle(l: &mut Lowering, keeps: BinaryOp) -> Result<()> {
    let (x, dims, dtype) = (l.input(0)?, l.dims(0), l.dtype(0));
    let rank = dims.len();
    let diagonal = int_or(l.host(1)?, 0)?;
    let (row, column) = (l.region.index(&dims, rank - 2), l.region.index(&dims, rank - 1));
    let above = l.region.binary(BinaryOp::Sub, column, row);
    let diagonal = l.region.constant(diagonal, kernels::DType::I64);
    let kept = l.region.binary(keeps, above, diagonal);
    let zero = l.region.constant(0i64, dtype);
    let y = l.region.select(kept, x, zero);
    l.output(y);
    Ok(())
}

fn infer_triangle(c: &Infer) -> Result<Types> {
    int_or(c.host(1)?, 0)?;
    match c.tensor(0)?.rank() {
        0 | 1 => Err(Error::shape("a triangle needs at least two dimensions")),
        _ => same(c),
    }
}

fn triangle_samples(s: &mut Samples) {
    let d = s.dtype;
    let t = |dims: &[usize]| tensor(d, dims, 1.0, 9.0);
    s.case([t(&[3, 4])]);
    s.case([t(&[2, 4, 3]), host(-1i64)]);
    s.case([t(&[3, 3]), host(1i64)]);
    s.case([t(&[1, 1]), host(5i64)]);
    s.case([t(&[0, 2])]);
}

fn triangle_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::Shape, [f32s(&[3])]);
}

ops! {
    /// Tensors one after another along a dimension, promoted to one type.
    CAT = "cat(Tensor[] tensors, int dim=0) -> Tensor" {
        infer: infer_cat,
        vjp: Vjp::Rule(Saves::NOTHING, cat_gradients),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(lower_cat),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([list([t(&[2, 3]), t(&[1, 3])])]);
            s.case([list([t(&[2, 3]), t(&[2, 1]), t(&[2, 0])]), host(-1i64)]);
            s.case([list([t(&[2])]), host(0i64)]);
            s.case([list([t(&[2, 3]), t(&[0])]), host(1i64)]);
            s.case([list([t(&[2]), tensor(kernels::DType::F32, &[2], 0.0, 1.0)])]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [list([f32s(&[2, 3]), f32s(&[3, 2])]), host(0i64)]);
            e.case(ErrorKind::Index, [list([f32s(&[2]), f32s(&[2])]), host(1i64)]);
            e.case(ErrorKind::Value, [list([])]);
        },
    }
    /// The elements in opposite order along dimensions.
    FLIP = "flip(Tensor self, int[] dims) -> Tensor" {
        infer: |c| {
            flip_dims(c.host(1)?, c.tensor(0)?.rank())?;
            same(c)
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| bind1(&FLIP, &[Arg::Tensor(dy), c.host(1)?]))),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(lower_flip),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[2, 3]), host(&[0i64])]);
            s.case([t(&[2, 3, 2]), host(&[-1i64, 0])]);
            s.case([t(&[70]), host(&[0i64])]);
            s.case([t(&[3]), host(&[] as &[i64])]);
            s.case([t(&[0, 2]), host(&[0i64])]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[3]), host(&[1i64])]);
            e.case(ErrorKind::Value, [f32s(&[3]), host(&[0i64, 0])]);
        },
    }
    /// The lower triangle of the last two dimensions, up to a diagonal; zeros above.
    TRIL = "tril(Tensor self, int diagonal=0) -> Tensor" {
        infer: infer_triangle,
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| bind1(&TRIL, &[Arg::Tensor(dy), c.host(1)?]))),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Loop(|l| lower_triangle(l, BinaryOp::Le)),
        samples: triangle_samples,
        errors: triangle_errors,
    }
    /// The upper triangle of the last two dimensions, from a diagonal on; zeros below.
    TRIU = "triu(Tensor self, int diagonal=0) -> Tensor" {
        infer: infer_triangle,
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| bind1(&TRIU, &[Arg::Tensor(dy), c.host(1)?]))),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Loop(|l| lower_triangle(l, BinaryOp::Ge)),
        samples: triangle_samples,
        errors: triangle_errors,
    }
}

/// An error of a method that is made of several ops.
#[track_caller]
pub(super) fn explain(op: &'static str) -> impl Fn(Error) -> Error + Copy {
    let origin = Origin::caller();
    move |e| e.in_op(op).at(origin)
}

impl Tensor {
    /// The tensors one after another along `dim`.
    #[track_caller]
    pub fn cat(tensors: &[Tensor], dim: i64) -> Result<Tensor> {
        bind1(&CAT, &[Arg::Tensors(tensors), Arg::Int(dim)])
    }

    /// The tensors side by side along a new dimension `dim`.
    #[track_caller]
    pub fn stack(tensors: &[Tensor], dim: i64) -> Result<Tensor> {
        let rank = tensors.first().map_or(0, Tensor::rank);
        let at = wrap_dim(dim, rank + 1).map_err(explain("stack"))? as i64;
        if let Some(other) = tensors.iter().find(|t| t.shape() != tensors[0].shape()) {
            let what = format!("shapes {:?} and {:?} differ", tensors[0].shape(), other.shape());
            return Err(explain("stack")(Error::shape(what)));
        }
        let rows = tensors.iter().map(|t| t.unsqueeze(at)).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&rows, at)
    }

    /// Views of `size` places each along `dim`; the last may be smaller.
    #[track_caller]
    pub fn split(&self, size: i64, dim: i64) -> Result<Vec<Tensor>> {
        let at = wrap_dim(dim, self.rank()).map_err(explain("split"))?;
        let n = self
            .shape()
            .get(at)
            .copied()
            .ok_or_else(|| explain("split")(Error::index("rank 0 cannot be split")))? as i64;
        if size < 0 || (size == 0 && n != 0) {
            return Err(explain("split")(Error::value(format!(
                "parts of size {size} do not fill an extent of {n}"
            ))));
        }
        if n == 0 {
            return Ok(vec![self.narrow(dim, 0, 0)?]);
        }
        let part = |i: i64| Ok(self.narrow(dim, i * size, size.min(n - i * size))?.sibling());
        (0..(n + size - 1) / size).map(part).collect()
    }

    /// Views of the given sizes along `dim`, which must fill it.
    #[track_caller]
    pub fn split_sizes(&self, sizes: &[i64], dim: i64) -> Result<Vec<Tensor>> {
        let at = wrap_dim(dim, self.rank()).map_err(explain("split"))?;
        let n = self.shape().get(at).copied().unwrap_or(0) as i64;
        if sizes.iter().any(|&s| s < 0) || sizes.iter().sum::<i64>() != n {
            return Err(explain("split")(Error::value(format!(
                "parts {sizes:?} do not fill an extent of {n}"
            ))));
        }
        let mut start = 0;
        sizes
            .iter()
            .map(|&size| {
                start += size;
                Ok(self.narrow(dim, start - size, size)?.sibling())
            })
            .collect()
    }

    /// At most `chunks` views of equal size along `dim`; the last may be smaller.
    #[track_caller]
    pub fn chunk(&self, chunks: i64, dim: i64) -> Result<Vec<Tensor>> {
        let at = wrap_dim(dim, self.rank()).map_err(explain("chunk"))?;
        if chunks <= 0 {
            return Err(explain("chunk")(Error::value(format!("cannot cut into {chunks} chunks"))));
        }
        let n = self.shape().get(at).copied().unwrap_or(0) as i64;
        self.split(((n + chunks - 1) / chunks).max(1), dim)
    }

    /// The elements in opposite order along `dims`.
    #[track_caller]
    pub fn flip(&self, dims: &[i64]) -> Result<Tensor> {
        bind1(&FLIP, &[Arg::Tensor(self), Arg::Ints(dims)])
    }

    /// The lower triangle of the last two dimensions, up to a diagonal.
    #[track_caller]
    pub fn tril(&self, diagonal: i64) -> Result<Tensor> {
        bind1(&TRIL, &[Arg::Tensor(self), Arg::Int(diagonal)])
    }

    /// The upper triangle of the last two dimensions, from a diagonal on.
    #[track_caller]
    pub fn triu(&self, diagonal: i64) -> Result<Tensor> {
        bind1(&TRIU, &[Arg::Tensor(self), Arg::Int(diagonal)])
    }

    /// Itself if its elements lie row-major without gaps, else a dense copy.
    #[track_caller]
    pub fn contiguous(&self) -> Result<Tensor> {
        if self.is_contiguous() { Ok(self.clone()) } else { self.copy() }
    }

    /// With the two dimensions of a matrix exchanged; vectors and rank 0 stay.
    #[track_caller]
    pub fn t(&self) -> Result<Tensor> {
        match self.rank() {
            0 | 1 => Ok(self.clone()),
            2 => self.permute(&[1, 0]),
            rank => Err(explain("t")(Error::shape(format!("t takes at most two dimensions, got {rank}")))),
        }
    }
}
