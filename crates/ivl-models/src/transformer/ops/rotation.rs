//! Tables of the rotary position embedding.

use std::cell::OnceCell;

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Cosines and sines at some positions: of all rows of a batch, or of one row if all are alike.
#[derive(Debug, Clone)]
pub(in crate::transformer) struct Rotation {
    /// Shape `[rows, seq, pairs]`.
    pub(super) cos: Vec<f32>,
    /// Shape `[rows, seq, pairs]`.
    pub(super) sin: Vec<f32>,
    rows: usize,
    pub(super) pairs: usize,
    device: Device,
    dtype: DType,
    tensors: OnceCell<[Tensor<4>; 2]>,
}

impl Rotation {
    /// # Shapes
    /// - `cos` and `sin`: `[rows, seq, pairs]`
    pub(in crate::transformer) fn new(
        [cos, sin]: [Vec<f32>; 2],
        [rows, pairs]: [usize; 2],
        dtype: DType,
        device: &Device,
    ) -> Self {
        Self { cos, sin, rows, pairs, device: device.clone(), dtype, tensors: OnceCell::new() }
    }

    /// Cosines and sines, shape `[rows, seq, 1, pairs]`. They are made once for all layers, where an operation of Burn needs
    /// them.
    pub(super) fn tensors(&self) -> [Tensor<4>; 2] {
        let tensors = self.tensors.get_or_init(|| {
            [&self.cos, &self.sin].map(|numbers| {
                let shape = [self.rows, numbers.len() / (self.rows * self.pairs), 1, self.pairs];
                let data = TensorData::new(numbers.clone(), shape);
                Tensor::<4>::from_data(data, (&self.device, DType::F32)).cast(self.dtype)
            })
        });
        tensors.clone()
    }
}
