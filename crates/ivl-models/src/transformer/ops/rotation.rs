//! Tables of what depends on positions: the rotary embedding, and factors on queries.

use std::cell::OnceCell;

use burn::tensor::{DType, Device, Tensor, TensorData};
use ivl_kernels::{RotaryEmbedding, RotaryPairing};

use crate::config::RopePairing;

/// Cosines and sines at some positions: of all rows of a batch, or of one row if all are alike.
#[derive(Debug, Clone)]
pub(in crate::transformer) struct Rotation {
    /// Shape `[rows, seq, pairs]`.
    pub(super) cos: Vec<f32>,
    /// Shape `[rows, seq, pairs]`.
    pub(super) sin: Vec<f32>,
    rows: usize,
    pub(super) pairs: usize,
    pub(super) pairing: RopePairing,
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
        pairing: RopePairing,
        dtype: DType,
        device: &Device,
    ) -> Self {
        Self { cos, sin, rows, pairs, pairing, device: device.clone(), dtype, tensors: OnceCell::new() }
    }

    /// By the negative angles.
    pub(super) fn inverse(&self) -> Self {
        let sin = self.sin.iter().map(|sin| -sin).collect();
        Self { sin, cos: self.cos.clone(), device: self.device.clone(), tensors: OnceCell::new(), ..*self }
    }

    /// The rotation of `heads` heads, as kernels of the CPU compute it.
    pub(super) fn kernel(&self, heads: usize, dim: usize) -> RotaryEmbedding<'_> {
        let pairing = match self.pairing {
            RopePairing::Half => RotaryPairing::Half,
            RopePairing::Interleaved => RotaryPairing::Interleaved,
        };
        RotaryEmbedding { heads, dim, pairs: self.pairs, pairing, cos: &self.cos, sin: &self.sin }
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

/// A factor for each position: of all rows of a batch, or of one row if all are alike.
#[derive(Debug, Clone)]
pub(in crate::transformer) struct PositionFactors {
    /// Shape `[rows, seq]`.
    pub(super) factors: Vec<f32>,
    rows: usize,
    tensor: OnceCell<Tensor<3>>,
}

impl PositionFactors {
    /// # Shapes
    /// - `factors`: `[rows, seq]`
    pub(in crate::transformer) fn new(factors: Vec<f32>, rows: usize) -> Self {
        Self { factors, rows, tensor: OnceCell::new() }
    }

    /// The factors as a constant to multiply `x` with, shape `[rows, seq, 1]`. It is made once for all layers.
    pub(super) fn like(&self, x: &Tensor<3>) -> Tensor<3> {
        let tensor = self.tensor.get_or_init(|| {
            let shape = [self.rows, self.factors.len() / self.rows, 1];
            let factors = TensorData::new(self.factors.clone(), shape);
            Tensor::<3>::from_data(factors, (&x.device(), DType::F32)).cast(x.dtype())
        });
        tensor.clone()
    }
}
