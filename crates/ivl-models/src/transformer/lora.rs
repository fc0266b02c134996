//! Low-rank adapters ([arXiv 2106.09685](https://arxiv.org/abs/2106.09685)).

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::lora_config::LoraConfig;
use super::ops::LowRankParams;

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
        }
    }

    pub(super) fn params(&self) -> LowRankParams<'_> {
        LowRankParams { down: &self.down, up: &self.up, scale: self.scale, alternates: self.alternates }
    }

    /// `scale * A B`, shape `[input, output]`.
    pub(super) fn update(&self) -> Tensor<2> {
        self.down.val().matmul(self.up.val()) * self.scale
    }
}
