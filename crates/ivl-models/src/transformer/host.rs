//! Tensors of the CPU backend as numbers in memory, for kernels.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// The numbers of a tensor without other owners; not copied if it is contiguous.
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

    /// # Panics
    /// If they are not f32: a packed network computes in nothing else.
    fn into_vec(self) -> Vec<f32> {
        self.0.try_into_vec().expect("a packed network computes in f32")
    }

    pub(super) fn into_tensor<const D: usize>(self, device: &Device) -> Tensor<D> {
        Tensor::from_data(self.0, (device, DType::F32))
    }
}

/// A tensor of these numbers.
pub(super) fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers, shape), (device, DType::F32))
}

/// Hidden states in the memory of the host, `[batch, seq, width]`.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub(super) numbers: Vec<f32>,
    pub(super) batch: usize,
    pub(super) seq: usize,
    pub(super) device: Device,
}

impl Rows {
    pub(super) fn of(x: Tensor<3>) -> Self {
        let ([batch, seq, _], device) = (x.dims(), x.device());
        Self { numbers: Numbers::of(x).into_vec(), batch, seq, device }
    }

    /// Others at the same positions.
    pub(super) fn with(&self, numbers: Vec<f32>) -> Self {
        Self { numbers, batch: self.batch, seq: self.seq, device: self.device.clone() }
    }

    pub(super) fn into_tensor(self) -> Tensor<3> {
        let width = self.width();
        tensor(self.numbers, [self.batch, self.seq, width], &self.device)
    }

    /// Applies an element-wise operation of the backend to numbers.
    pub(super) fn by_backend(
        &self,
        numbers: &[f32],
        operation: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Vec<f32> {
        Numbers::of(operation(self.with(numbers.to_vec()).into_tensor())).into_vec()
    }

    fn width(&self) -> usize {
        self.numbers.len() / (self.batch * self.seq).max(1)
    }
}
