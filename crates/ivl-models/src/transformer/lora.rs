//! Low-rank adapters ([arXiv 2106.09685](https://arxiv.org/abs/2106.09685)).

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use half::f16;
use ivl_kernels::{Matrix, PackedFormat};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::lora_config::LoraConfig;
use super::ops::{LowRankParams, Numbers};
use super::unpacked_on_demand::{Hole, unpacked_on_demand};

/// A low-rank update of a projection: `scale * x A B`.
#[derive(Module, Debug)]
pub(crate) struct Lora {
    /// `A`, shape `[input, rank]`.
    pub down: Param<Tensor<2>>,
    /// `B`, shape `[rank, output]`; zero at first.
    pub up: Param<Tensor<2>>,
    #[module(skip)]
    scale: f64,
    /// Whether only the first of every two rows of a batch is updated; see
    /// [`Transformer::with_adapter_difference`](super::network::Transformer::with_adapter_difference).
    #[module(skip)]
    pub(super) alternates: bool,
    /// `A` and `B` laid out for the kernels of the CPU. The parameters are then unpacked from them when they are read.
    #[module(skip)]
    packed: Option<[Arc<Matrix>; 2]>,
}

impl Lora {
    pub(super) fn new(
        [input, output]: [usize; 2],
        config: &LoraConfig,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let bound = (input as f64).sqrt().recip();
        let down: Vec<f32> =
            (0..input * config.rank).map(|_| (bound * (2.0 * rng.random::<f64>() - 1.0)) as f32).collect();
        let down = Tensor::from_data(TensorData::new(down, [input, config.rank]), (device, DType::F32));
        Self {
            down: Param::from_tensor(down),
            up: Param::from_tensor(Tensor::zeros([config.rank, output], (device, DType::F32))),
            scale: config.alpha / config.rank as f64,
            alternates: false,
            packed: None,
        }
    }

    /// Lays `A` and `B` out for the kernels of the CPU, in half precision beside a weight that has no more. They are not trained from
    /// then on.
    pub(super) fn pack(&mut self, weight: PackedFormat) {
        self.packed = Some([&mut self.down, &mut self.up].map(|param| {
            let ([inputs, outputs], numbers) = (param.dims(), Numbers::of(param));
            let numbers = numbers.as_slice();
            let fits = || numbers.iter().all(|number| number.abs() <= f16::MAX.to_f32());
            let is_half = weight != PackedFormat::F32 && fits();
            let format = if is_half { PackedFormat::F16 } else { PackedFormat::F32 };
            let number = |input: usize, output: usize| numbers[input * outputs + output];
            let matrix = Arc::new(Matrix::new(format, [inputs, outputs], number));
            *param = unpacked_on_demand(matrix.clone(), Hole::of(param), false);
            matrix
        }));
    }

    pub(super) fn params(&self) -> LowRankParams<'_> {
        LowRankParams {
            down: &self.down,
            up: &self.up,
            scale: self.scale,
            alternates: self.alternates,
            packed: self.packed.as_ref().map(|[down, up]| [&**down, &**up]),
        }
    }

    /// `scale * A B`, shape `[input, output]`.
    pub(super) fn update(&self) -> Tensor<2> {
        self.down.val().matmul(self.up.val()) * self.scale
    }
}
