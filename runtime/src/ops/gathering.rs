//! Reductions into the places that an index names: scatter_reduce and what is made of it.

use super::index::{at_least_one, cut, whole, within};
use super::rules::{f32s, one, wanted};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, Types, wrap_dim};
use crate::lower::{Steps, View};
use crate::samples::{SampleArg, exact, host, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::routines::{Kind, Reduction};
use smallvec::smallvec;

/// The reduction that operand `arg` names.
fn reduction(arg: Arg) -> Result<Reduction> {
    match arg.str()? {
        "sum" => Ok(Reduction::Sum),
        "prod" => Ok(Reduction::Prod),
        "mean" => Ok(Reduction::Mean),
        "amax" => Ok(Reduction::Max),
        "amin" => Ok(Reduction::Min),
        other => Err(Error::value(format!("reduce must be sum, prod, mean, amax or amin, got '{other}'"))),
    }
}

fn include(arg: Arg) -> Result<bool> {
    Ok(arg.is_none() || arg.bool()?)
}

/// self, dim, index, src, reduce, include_self.
fn infer_scatter_reduce(c: &Infer) -> Result<Types> {
    let (x, index, source) = (c.tensor(0)?, c.tensor(2)?, c.tensor(3)?);
    let dim = c.dim(1, x.rank())?;
    reduction(c.host(4)?)?;
    whole(index)?;
    if source.dtype != x.dtype {
        return Err(Error::dtype(format!("cannot scatter {} into {}", source.dtype, x.dtype)));
    }
    within(index, x, Some(dim))?;
    within(index, source, None)?;
    one(x.dtype, x.shape.clone())
}

fn lower_scatter_reduce(s: &mut Steps) -> Result<()> {
    let (x, index, source, out) = (
        at_least_one(s.input(0)?),
        at_least_one(s.input(2)?),
        at_least_one(s.input(3)?),
        at_least_one(s.output(0)),
    );
    let rank = x.layout.rank();
    let dim = wrap_dim(s.host(1)?.int()?, rank)?;
    let kind = Kind::ScatterReduce { reduction: reduction(s.host(4)?)?, include_self: include(s.host(5)?)? };
    s.copy(&x, &out)?;
    if index.layout.numel() == 0 {
        return Ok(());
    }
    let mut order: Vec<usize> = (0..rank).filter(|&d| d != dim).collect();
    order.push(dim);
    let rows = |v: &View| View { layout: v.layout.permute(&order), ..v.clone() };
    let mut trimmed = source.clone();
    for (d, &n) in index.layout.shape.iter().enumerate() {
        trimmed.layout = trimmed.layout.slice(d, 0, n, 1);
    }
    let places = s.temp(DType::I64, &rows(&index).layout.shape);
    s.copy(&rows(&index), &places)?;
    let (own, target) = (rows(&cut(&x, &index, dim)), rows(&cut(&out, &index, dim)));
    let (n, k) = (own.layout.shape[rank - 1], places.layout.shape[rank - 1]);
    let batch = own.layout.shape[..rank - 1].iter().product();
    s.routine(kind, x.dtype, batch, &[n, k], &[&own, &places, &rows(&trimmed), &target])
}

/// torch's gradients: an extremum is shared by all that equal it, and a single zero in a product gets the product of the
/// others.
fn scatter_reduce_gradients(c: &VjpContext) -> Result<Gradients> {
    let (dy, x, index, source) = (c.dy()?, c.input(0)?, c.input(2)?, c.input(3)?);
    let (dim, reduce, with_self) = (c.host(1)?.int()?, c.host(4)?, include(c.host(5)?)?);
    let dtype = x.dtype();
    let trimmed = |t: &Tensor| -> Result<Tensor> {
        let mut t = t.clone();
        for (d, &n) in index.shape().iter().enumerate() {
            t = t.narrow(d as i64, 0, n as i64)?;
        }
        Ok(t)
    };
    let read = |t: &Tensor| t.gather(dim, index);
    let source_used = trimmed(source)?;
    let again = |x: &Tensor, source: &Tensor| x.scatter_reduce(dim, index, source, reduce.str()?, with_self);
    let (of_self, of_source) = match reduction(reduce)? {
        Reduction::Sum => (dy.clone(), read(dy)?),
        Reduction::Mean => {
            let start = if with_self { dy.ones_like(None)? } else { dy.zeros_like(None)? };
            let count = start.scatter_add(dim, index, &source_used.ones_like(None)?)?;
            let each = dy.div(&count.masked_fill(&count.eq(0.0)?, 1.0)?)?;
            (each.clone(), read(&each)?)
        }
        Reduction::Prod => {
            let own = x.masked_fill(&x.eq(0.0)?, 1.0)?;
            let of_self = dy.mul(&again(&own, source)?)?.div(&own)?;
            let zero = source_used.eq(0.0)?;
            let zeros = read(&x.zeros_like(None)?.scatter_add(dim, index, &zero.to(dtype)?)?)?;
            let single = zero.logical_and(&zeros.eq(1.0)?)?;
            let without = again(x, &source_used.masked_fill(&single, 1.0)?)?;
            let result = c.output(0)?;
            let usual = read(&dy.mul(result)?)?.div(&source_used.masked_fill(&zero, 1.0)?)?;
            (of_self, single.select_where(&read(&dy.mul(&without)?)?, &usual)?)
        }
        Reduction::Max | Reduction::Min => {
            let result = c.output(0)?;
            let own = x.eq(result)?.to(dtype)?;
            let others = source_used.eq(&read(result)?)?.to(dtype)?;
            let each = dy.div(&own.scatter_add(dim, index, &others)?)?;
            (own.mul(&each)?, others.mul(&read(&each)?)?)
        }
    };
    let of_self = match with_self {
        true => of_self,
        false => of_self.scatter(dim, index, 0i64)?,
    };
    let of_source = wanted(c, 2, || {
        let mut out = of_source;
        let sizes = super::rules::ints(source.shape());
        if out.shape() != source.shape() {
            let mut whole = source.zeros_like(None)?;
            let places = index.shape().to_vec();
            whole = whole.put_corner(&out, &places)?;
            out = whole.reshape(&sizes)?;
        }
        Ok(out)
    })?;
    Ok(smallvec![wanted(c, 0, || Ok(of_self))?, None, of_source])
}

/// Exact i64 indices.
fn at(dims: &[usize], elements: &[i64]) -> SampleArg {
    exact(DType::I64, dims, elements)
}

ops! {
    /// A copy in which elements of `src` are reduced (sum, prod, mean, amax, amin) into those that the index names, together
    /// with what stood there or without it.
    SCATTER_REDUCE = "scatter_reduce(Tensor self, int dim, Tensor index, Tensor src, str reduce, *, bool include_self=True) -> Tensor" {
        infer: infer_scatter_reduce,
        vjp: Vjp::Rule(Saves { inputs: 13, ..Saves::OUTPUT }, scatter_reduce_gradients),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Steps(lower_scatter_reduce),
        samples: |s| {
            let d = s.dtype;
            if d == DType::Bool {
                return;
            }
            let t = |dims: &[usize]| tensor(d, dims, 1.0, 3.0);
            for how in ["sum", "prod", "mean", "amax", "amin"] {
                s.case([t(&[3, 4]), host(0i64), at(&[2, 4], &[0, 1, 2, 0, 0, 1, 2, 0]), t(&[2, 4]), host(how)]);
                s.case([t(&[2, 4]), host(-1i64), at(&[2, 3], &[3, 3, 1, 2, 2, 2]), t(&[3, 3]), host(how), host(false)]);
                s.case([t(&[3]), host(0i64), at(&[4], &[2, 2, 2, 0]), t(&[4]), host(how), host(true)]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[3]), host(0i64), at(&[1], &[3]), f32s(&[1]), host("sum")]);
            e.case(ErrorKind::Shape, [f32s(&[3]), host(0i64), at(&[2], &[0, 1]), f32s(&[1]), host("sum")]);
            e.case(ErrorKind::Value, [f32s(&[3]), host(0i64), at(&[1], &[0]), f32s(&[1]), host("median")]);
        },
    }
}

impl Tensor {
    /// A copy in which elements of `src` are reduced into those that the index names: "sum", "prod", "mean", "amax" or
    /// "amin", together with what stood there where `include_self`.
    #[track_caller]
    pub fn scatter_reduce(
        &self,
        dim: i64,
        index: &Tensor,
        src: &Tensor,
        reduce: &str,
        include_self: bool,
    ) -> Result<Tensor> {
        let (dim, reduce) = (Arg::Int(dim), Arg::Str(reduce));
        let args =
            [Arg::Tensor(self), dim, Arg::Tensor(index), Arg::Tensor(src), reduce, Arg::Bool(include_self)];
        bind1(&SCATTER_REDUCE, &args)
    }

    /// `scatter_reduce` of whole slices along `dim`, which an index of one dimension names.
    #[track_caller]
    pub fn index_reduce(
        &self,
        dim: i64,
        index: &Tensor,
        src: &Tensor,
        reduce: &str,
        include_self: bool,
    ) -> Result<Tensor> {
        if index.rank() > 1 {
            return Err(Error::shape(format!("an index of at most one dimension is needed, got {index:?}")));
        }
        let mut sizes = vec![1i64; src.rank()];
        let at = wrap_dim(dim, src.rank())?;
        match sizes.get_mut(at) {
            Some(n) if src.shape()[at] == index.numel() => *n = index.numel() as i64,
            None if index.numel() == 1 => {}
            _ => {
                return Err(Error::shape(format!(
                    "{src:?} does not fit an index {index:?} along dimension {dim}"
                )));
            }
        }
        let places = index.reshape(&sizes)?.expand(src.shape())?;
        self.scatter_reduce(dim, &places, src, reduce, include_self)
    }

    /// This tensor with a block in its first corner.
    fn put_corner(&self, block: &Tensor, extents: &[usize]) -> Result<Tensor> {
        let corner = |t: &Tensor| {
            extents.iter().enumerate().try_fold(t.clone(), |t, (d, &n)| t.narrow(d as i64, 0, n as i64))
        };
        self.scatter_through(block, &corner)
    }

    /// The reduction of consecutive segments along `axis`: of `lengths` elements each (which add up to all), or between
    /// `offsets`. Segments without elements hold `initial`, or what the reduction makes of nothing.
    #[track_caller]
    pub fn segment_reduce(
        &self,
        reduce: &str,
        lengths: Option<&Tensor>,
        offsets: Option<&Tensor>,
        axis: i64,
        initial: Option<f64>,
    ) -> Result<Tensor> {
        let how = match reduce {
            "max" => "amax",
            "min" => "amin",
            "sum" | "mean" | "prod" => reduce,
            other => {
                return Err(Error::value(format!(
                    "reduce must be sum, mean, prod, max or min, got '{other}'"
                )));
            }
        };
        let axis = wrap_dim(axis, self.rank())?;
        let ends = match (lengths, offsets) {
            (Some(lengths), None) => lengths.to(DType::I64)?.cumsum(-1)?,
            (None, Some(offsets)) => offsets.to(DType::I64)?.slice(-1, Some(1), None, 1)?,
            _ => return Err(Error::value("either lengths or offsets must be given")),
        };
        if ends.rank() != axis + 1 || ends.shape()[..axis] != self.shape()[..axis] {
            return Err(Error::shape(format!(
                "segments {ends:?} do not fit {self:?} along dimension {axis}"
            )));
        }
        let (n, segments) = (self.shape()[axis], ends.shape()[axis]);
        let mut dims = self.shape()[..=axis].to_vec();
        let points = Tensor::arange(0i64, n as i64, 1i64, Some(DType::I64), self.device())?.expand(&dims)?;
        let mut places = ends.contiguous()?.searchsorted(&points.contiguous()?, true)?;
        for _ in axis + 1..self.rank() {
            let last = places.rank() as i64;
            places = places.unsqueeze(last)?;
        }
        let places = places.expand(self.shape())?;
        dims.extend(&self.shape()[axis + 1..]);
        dims[axis] = segments;
        let nothing = match how {
            "amax" => f64::NEG_INFINITY,
            "amin" => f64::INFINITY,
            "prod" => 1.0,
            _ => 0.0,
        };
        let start = Tensor::full(&dims, initial.unwrap_or(nothing), self.dtype(), self.device())?;
        let dim = axis as i64;
        if how != "mean" {
            return start.scatter_reduce(dim, &places, self, how, true);
        }
        let ones = self.detach()?.ones_like(None)?;
        let count = start.zeros_like(None)?.scatter_add(dim, &places, &ones)?;
        let total = start.scatter_add(dim, &places, self)?;
        match initial {
            Some(_) => total.div(&count.clamp(1.0, None::<f64>)?),
            None => total.div(&count),
        }
    }
}
