//! Copies in which a part is replaced, each part named the way a view names it; and views by strides.

use super::rules::{chain, f32s, int_or, ints};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Dim, TensorType};
use crate::samples::{host, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::{DType, Layout};
use smallvec::smallvec;

/// The places in flat memory that extents and steps name, in row-major order.
fn strided_places(size: &[i64], stride: &[i64], offset: i64, device: crate::DeviceId) -> Result<Tensor> {
    let mut places = Tensor::full(&[], offset, DType::I64, device)?;
    for (d, (&n, &step)) in size.iter().zip(stride).enumerate() {
        let mut shape = vec![1i64; size.len()];
        shape[d] = n;
        let along = Tensor::arange(0i64, n, 1i64, Some(DType::I64), device)?.mul(step)?.reshape(&shape)?;
        places = places.add(&along)?;
    }
    let dims: Vec<usize> = size.iter().map(|&n| n as usize).collect();
    places.expand(&dims)?.reshape(&[-1])
}

/// Extents, steps and first element of `as_strided` over `count` elements, if that is known.
fn strided(size: Arg, stride: Arg, offset: Arg, count: Option<usize>) -> Result<Layout> {
    let (size, stride) = (size.extents()?, stride.ints()?);
    if size.len() != stride.len() {
        return Err(Error::shape(format!("{} extents and {} strides", size.len(), stride.len())));
    }
    if let Some(step) = stride.iter().find(|s| **s < 0) {
        return Err(Error::value(format!("a stride must not be negative, got {step}")));
    }
    let offset = int_or(offset, 0)?;
    let offset = usize::try_from(offset)
        .map_err(|_| Error::value(format!("the offset must not be negative, got {offset}")))?;
    let layout = Layout { shape: size, strides: stride.iter().map(|&s| s as isize).collect(), offset };
    match count {
        Some(count) if layout.numel() > 0 && layout.end() > count => Err(Error::index(format!(
            "extents {:?} with strides {stride:?} from {offset} on need {} elements of {count}",
            layout.shape.as_slice(),
            layout.end()
        ))),
        _ => Ok(layout),
    }
}

ops! {
    /// A view of the row-major elements by extents, strides and the first element; elements may be shared. A tensor that
    /// does not lie row-major is copied first: what is seen never depends on how a tensor lies in memory, which differs
    /// between modes.
    AS_STRIDED = "as_strided(Tensor self, int[] size, int[] stride, int? storage_offset=None) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let layout = strided(c.host(1)?, c.host(2)?, c.host(3)?, t.numel().known())?;
            let shape = layout.shape.iter().map(|&n| Dim::constant(n)).collect();
            Ok(smallvec![TensorType { dtype: t.dtype, shape }])
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| chain(c, |dy| {
            let dims = c.input_dims(0)?;
            let (size, stride, offset) = (c.host(1)?.ints()?, c.host(2)?.ints()?, c.host(3)?);
            let offset = int_or(offset, 0)?;
            let places = strided_places(&size, &stride, offset, dy.device())?;
            let zeros = Tensor::zeros(&[dims.iter().product()], dy.dtype(), dy.device())?;
            zeros.scatter_add(0, &places, &dy.reshape(&[-1])?)?.reshape(&ints(&dims))
        })),
        effect: Effect::View(0),
        cost: cost::free,
        lower: Lower::View(|v| {
            if !v.layout.is_contiguous() {
                return Ok(None);
            }
            let layout = strided(v.host(1)?, v.host(2)?, v.host(3)?, None)?;
            Ok(Some(Layout { offset: layout.offset + v.layout.offset, ..layout }))
        }, None),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3, 4]), host(&[2i64, 2]), host(&[4i64, 1]), host(1i64)]);
            s.case([t(&[5]), host(&[3i64, 2]), host(&[1i64, 1])]);
            s.case([t(&[4]), host(&[2i64, 3]), host(&[1i64, 0])]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[3]), host(&[2i64, 2]), host(&[2i64, 1])]);
            e.case(ErrorKind::Shape, [f32s(&[3]), host(&[2i64]), host(&[2i64, 1])]);
            e.case(ErrorKind::Value, [f32s(&[3]), host(&[2i64]), host(&[-1i64])]);
        },
    }
}

impl Tensor {
    /// A view of the row-major elements by extents, strides and the first element.
    #[track_caller]
    pub fn as_strided(&self, size: &[i64], stride: &[i64], offset: Option<i64>) -> Result<Tensor> {
        bind1(&AS_STRIDED, &[Arg::Tensor(self), Arg::Ints(size), Arg::Ints(stride), offset.into()])
    }

    /// A copy in which `source` replaces what `view` takes out of a tensor of this shape. The places come from a view of
    /// the numbers of all places, so that every view is right here.
    pub fn scatter_through(
        &self,
        source: &Tensor,
        view: &dyn Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let count = self.numel() as i64;
        let all = Tensor::arange(0i64, count, 1i64, Some(DType::I64), self.device())?
            .reshape(&ints(self.shape()))?;
        let places = view(&all)?;
        if places.shape() != source.shape() {
            return Err(Error::shape(format!(
                "{source:?} does not fit into a place of shape {:?}",
                places.shape()
            )));
        }
        let source = source.to(self.dtype())?.reshape(&[-1])?;
        let flat = self.reshape(&[-1])?.scatter(0, &places.reshape(&[-1])?, &source)?;
        flat.reshape(&ints(self.shape()))
    }

    /// A copy in which `source` replaces the slice at `index` along `dim`.
    #[track_caller]
    pub fn select_scatter(&self, source: &Tensor, dim: i64, index: i64) -> Result<Tensor> {
        self.scatter_through(source, &|t| t.select(dim, index))
    }

    /// A copy in which `source` replaces every `step`-th slice from `start` to `end` along `dim`.
    #[track_caller]
    pub fn slice_scatter(
        &self,
        source: &Tensor,
        dim: i64,
        start: Option<i64>,
        end: Option<i64>,
        step: i64,
    ) -> Result<Tensor> {
        self.scatter_through(source, &|t| t.slice(dim, start, end, step))
    }

    /// A copy in which `source` replaces a diagonal.
    #[track_caller]
    pub fn diagonal_scatter(&self, source: &Tensor, offset: i64, dim1: i64, dim2: i64) -> Result<Tensor> {
        self.scatter_through(source, &|t| t.diagonal(offset, dim1, dim2))
    }

    /// A copy in which `source` replaces what `as_strided` shows of a dense tensor.
    #[track_caller]
    pub fn as_strided_scatter(
        &self,
        source: &Tensor,
        size: &[i64],
        stride: &[i64],
        offset: Option<i64>,
    ) -> Result<Tensor> {
        self.scatter_through(source, &|t| t.as_strided(size, stride, offset))
    }

    /// A copy in which elements of `source` replace those at places of the flattened tensor, or are added to them.
    #[track_caller]
    pub fn put(&self, index: &Tensor, source: &Tensor, accumulate: bool) -> Result<Tensor> {
        if index.numel() != source.numel() {
            return Err(Error::shape(format!("{source:?} does not fit an index {index:?}")));
        }
        let (index, source) = (index.reshape(&[-1])?, source.reshape(&[-1])?);
        let flat = self.reshape(&[-1])?.index_put(&[index], &source, accumulate)?;
        flat.reshape(&ints(self.shape()))
    }

    /// A copy in which the first elements of `source`, one after the other, stand where the mask is true.
    #[track_caller]
    pub fn masked_scatter(&self, mask: &Tensor, source: &Tensor) -> Result<Tensor> {
        if mask.dtype() != DType::Bool {
            return Err(Error::dtype(format!("a mask must be bool, got {}", mask.dtype())));
        }
        if source.dtype() != self.dtype() {
            return Err(Error::dtype(format!("cannot put {} into {}", source.dtype(), self.dtype())));
        }
        let both = Tensor::broadcast_tensors(&[self.clone(), mask.clone()])?;
        if both[0].numel() == 0 {
            return Ok(both[0].clone());
        }
        let (all, mask) = (&both[0], &both[1]);
        let order = mask.reshape(&[-1])?.to(DType::I64)?.cumsum(0)?.sub(1i64)?;
        // Places that are not written read the first element.
        let order = mask.reshape(&[-1])?.select_where(&order, 0i64)?;
        let flat = source.reshape(&[-1])?;
        if flat.numel() == 0 {
            // Reading anything at all is an error, unless nothing is to be read.
            return match mask.any(&[], false)?.item()?.to_bool() {
                true => Err(Error::shape("the mask selects more elements than the source has")),
                false => Ok(all.clone()),
            };
        }
        let read = flat.index_select(0, &order)?.reshape(&ints(all.shape()))?;
        mask.select_where(&read, all)
    }
}
