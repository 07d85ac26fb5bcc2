//! The elements of a tensor as host values: every look at them passes the door.

use crate::device::DeviceId;
use crate::door::{self, Observe};
use crate::error::{Error, Origin, Result};
use crate::tensor::{Tensor, flags};
use kernels::{DType, Element, Scalar};

impl Tensor {
    /// Says that the host looks at the extent of a dimension, or at the shape as a whole: what a recorder that stands for
    /// other extents must know.
    #[inline]
    #[track_caller]
    pub fn observe_extent(&self, dim: Option<usize>) -> Result<()> {
        match self.flags() & (flags::TRACED | flags::PENDING) {
            0 => Ok(()),
            _ => door::observe(self, Observe::Extent(dim), Origin::caller()).map(drop),
        }
    }

    /// The elements as bytes in row-major order: looks at the values, so a tracer or a lazy mode has its say.
    #[track_caller]
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let origin = Origin::caller();
        let seen = door::observe(self, Observe::Values, origin)?;
        let dense = if seen.is_contiguous() { seen } else { crate::run::contiguous(&seen)? };
        let storage = dense.storage()?;
        let mut bytes = vec![0u8; dense.numel() * dense.dtype().size()];
        if !bytes.is_empty() {
            let start = dense.layout().offset * dense.dtype().size();
            // SAFETY: a contiguous tensor's elements lie inside its storage from its offset on.
            unsafe { storage.device().copy_out(storage.pointer().add(start), &mut bytes)? };
        }
        storage.device().sync().map_err(|e| e.at(origin))?;
        Ok(bytes)
    }

    /// The elements in row-major order; the type must be the tensor's.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if T::DTYPE != self.dtype() {
            return Err(Error::dtype(format!("the tensor holds {}, not {}", self.dtype(), T::DTYPE))
                .in_op("to_vec")
                .at(Origin::caller())
                .hint("convert with `to` first"));
        }
        let bytes = self.to_bytes()?;
        let size = size_of::<T>();
        // SAFETY: the bytes are initialised elements of type T (bool storage holds only 0 and 1); reads are unaligned.
        Ok((0..bytes.len() / size)
            .map(|i| unsafe { bytes.as_ptr().add(i * size).cast::<T>().read_unaligned() })
            .collect())
    }

    /// The elements converted to f64, in row-major order.
    #[track_caller]
    pub fn to_f64_vec(&self) -> Result<Vec<f64>> {
        Ok(self.to_scalars()?.into_iter().map(Scalar::to_f64).collect())
    }

    /// The elements as host numbers, in row-major order.
    #[track_caller]
    pub fn to_scalars(&self) -> Result<Vec<Scalar>> {
        #[track_caller]
        fn all<T: Element>(t: &Tensor) -> Result<Vec<Scalar>> {
            Ok(t.to_vec::<T>()?.into_iter().map(T::to_scalar).collect())
        }
        match self.dtype() {
            DType::Bool => all::<bool>(self),
            DType::U8 => all::<u8>(self),
            DType::I32 => all::<i32>(self),
            DType::I64 => all::<i64>(self),
            DType::F16 => all::<half::f16>(self),
            DType::BF16 => all::<half::bf16>(self),
            DType::F32 => all::<f32>(self),
            DType::F64 => all::<f64>(self),
        }
    }

    /// The single element of a one-element tensor, as a host number.
    #[track_caller]
    pub fn item(&self) -> Result<Scalar> {
        if self.numel() != 1 {
            return Err(Error::shape(format!(
                "item needs exactly one element, got shape {:?}",
                self.shape()
            ))
            .in_op("item")
            .at(Origin::caller()));
        }
        Ok(self.to_scalars()?[0])
    }

    /// The tensor on another device (itself if it is there already); not differentiable.
    #[track_caller]
    pub fn to_device(&self, device: DeviceId) -> Result<Tensor> {
        if device == self.device() {
            return Ok(self.clone());
        }
        let bytes = self.to_bytes()?;
        let out = Tensor::empty(self.shape(), self.dtype(), device)?;
        // SAFETY: the fresh storage has exactly this many bytes.
        unsafe { device.open()?.copy_in(&bytes, out.storage()?.pointer())? };
        Ok(out)
    }
}
