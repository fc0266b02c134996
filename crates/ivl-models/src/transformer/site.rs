//! Where a layer computes.

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor};

/// The device of a layer, and the type of the activations that it reads.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) device: Device,
    pub(super) dtype: DType,
}

impl Site {
    /// That of a layer with this matrix. Kernels of the CPU compute in f32 whatever a packed matrix holds.
    pub(super) fn of(weight: &Param<Tensor<2>>, is_packed: bool) -> Self {
        let dtype = if is_packed { DType::F32 } else { weight.val().dtype() };
        Self { device: weight.lazy_device(), dtype }
    }

    /// Activations of another site. They move in f32 if the two compute in different types: not every device has every type.
    pub(super) fn bring<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        if x.dtype() == self.dtype {
            return x.to_device(&self.device);
        }
        x.cast(DType::F32).to_device(&self.device).cast(self.dtype)
    }
}
