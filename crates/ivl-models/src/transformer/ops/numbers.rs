//! The numbers of tensors in the memory of the host.

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData};

/// The numbers of a tensor: no copy, if it is contiguous and this is its only handle.
pub(in crate::transformer) struct Numbers(TensorData);

impl Numbers {
    pub(in crate::transformer) fn new<const D: usize>(tensor: Tensor<D>) -> Self {
        Self(tensor.into_data())
    }

    /// Those of a parameter, in f32 whatever its type.
    pub(in crate::transformer) fn of<const D: usize>(param: &Param<Tensor<D>>) -> Self {
        Self::new(param.val().cast(DType::F32))
    }

    /// # Panics
    /// If they are not f32: a packed network computes in nothing else.
    pub(in crate::transformer) fn as_slice(&self) -> &[f32] {
        self.0.as_slice().expect("a packed network computes in f32")
    }

    /// # Panics
    /// If they are not f32: a packed network computes in nothing else.
    pub(super) fn into_vec(self) -> Vec<f32> {
        self.0.try_into_vec().expect("a packed network computes in f32")
    }
}

/// A tensor of these numbers.
pub(in crate::transformer) fn host_tensor<const D: usize>(
    numbers: Vec<f32>,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers, shape), (device, DType::F32))
}
