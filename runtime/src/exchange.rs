//! Tensors to and from `ndarray`.

use crate::error::{Error, Result};
use crate::tensor::Tensor;
use kernels::Element;
use ndarray::{ArrayD, ArrayViewD, IxDyn};

impl<T: Element> TryFrom<ArrayViewD<'_, T>> for Tensor {
    type Error = Error;

    /// A copy of the elements; an error where memory is exhausted.
    fn try_from(array: ArrayViewD<'_, T>) -> Result<Tensor> {
        match array.as_slice() {
            Some(elements) => Tensor::from_slice(elements, array.shape()),
            None => Tensor::from_slice(&array.iter().copied().collect::<Vec<T>>(), array.shape()),
        }
    }
}

impl<T: Element> From<ArrayD<T>> for Tensor {
    /// A copy of the elements in row-major order, whatever the array's own. Panics only where memory is exhausted, as
    /// every `From` that allocates does; `try_from` of a view returns that as an error.
    fn from(array: ArrayD<T>) -> Tensor {
        Tensor::try_from(array.view()).expect("invariant: an array in memory fills its shape")
    }
}

impl<T: Element> TryFrom<&Tensor> for ArrayD<T> {
    type Error = Error;

    fn try_from(tensor: &Tensor) -> Result<ArrayD<T>> {
        tensor.to_ndarray()
    }
}

impl Tensor {
    /// The elements as an array in row-major order; the type must be the tensor's.
    #[track_caller]
    pub fn to_ndarray<T: Element>(&self) -> Result<ArrayD<T>> {
        let elements = self.detach()?.to_vec::<T>()?;
        ArrayD::from_shape_vec(IxDyn(self.shape()), elements)
            .map_err(|e| Error::shape(format!("an array cannot have shape {:?}: {e}", self.shape())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use kernels::DType;

    #[test]
    fn arrays_of_any_layout_and_type_come_back() {
        let rows = ArrayD::from_shape_vec(IxDyn(&[2, 3]), vec![1i64, 2, 3, 4, 5, 6]).unwrap();
        let turned = rows.clone().reversed_axes();
        for array in [rows, turned] {
            let tensor = Tensor::from(array.clone());
            assert_eq!((tensor.dtype(), tensor.shape()), (DType::I64, array.shape()));
            assert_eq!(ArrayD::<i64>::try_from(&tensor).unwrap(), array);
            let back = tensor.permute(&[1, 0]).unwrap().to_ndarray::<i64>().unwrap();
            assert_eq!(back, array.reversed_axes());
        }
        let halves = ArrayD::from_elem(IxDyn(&[]), half::bf16::ONE);
        assert_eq!(Tensor::from(halves.clone()).to_ndarray::<half::bf16>().unwrap(), halves);
        let empty = ArrayD::from_shape_vec(IxDyn(&[0, 3]), Vec::<bool>::new()).unwrap();
        assert_eq!(Tensor::from(empty).shape(), [0, 3]);
        assert_eq!(Tensor::scalar(1.0f32).to_ndarray::<f64>().unwrap_err().kind(), ErrorKind::DType);
    }
}
