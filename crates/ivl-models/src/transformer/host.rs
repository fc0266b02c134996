//! Tensors of the CPU backend as slices, for kernels.

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, Tensor, TensorData};

/// Whether tensors of a device lie in the memory of the host, where kernels read them: those of the CPU backend, without
/// autodiff.
pub fn is_host(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// The numbers of a tensor that nobody else holds: no copy, if it is contiguous.
pub(super) struct Numbers(TensorData);

impl Numbers {
    pub(super) fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        Self(tensor.into_data())
    }

    /// # Panics
    /// If they are not f32: a packed network computes in nothing else.
    pub(super) fn as_slice(&self) -> &[f32] {
        self.0.as_slice().expect("a packed network computes in f32")
    }

    /// # Panics
    /// If they are not f32: a packed network computes in nothing else.
    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        self.0.as_mut_slice().expect("a packed network computes in f32")
    }

    pub(super) fn into_tensor<const D: usize>(self, device: &Device) -> Tensor<D> {
        Tensor::from_data(self.0, (device, DType::F32))
    }
}

/// A tensor of these numbers.
pub(super) fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers, shape), (device, DType::F32))
}
