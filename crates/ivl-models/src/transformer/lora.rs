//! Low-rank adapters ([arXiv 2106.09685](https://arxiv.org/abs/2106.09685)).

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Linear, Transformer};

/// Which projections are adapted, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank of the update: the usual 16.
    pub rank: usize,
    /// The update is scaled by `alpha / rank`: twice the rank, as is the custom.
    pub alpha: f64,
    /// Names of projections: all of them, which works best.
    pub targets: Vec<Projection>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { rank: 16, alpha: 32.0, targets: Projection::ALL.to_vec() }
    }
}

/// A projection of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Projection {
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
}

impl Projection {
    /// Every projection of a block.
    pub const ALL: [Self; 7] =
        [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];
}

/// A low-rank update of a projection: `scale * x A B`.
#[derive(Module, Debug)]
pub struct Lora {
    /// `A`, shape `[input, rank]`.
    pub down: Param<Tensor<2>>,
    /// `B`, shape `[rank, output]`; zero at first.
    pub up: Param<Tensor<2>>,
    #[module(skip)]
    scale: f64,
}

impl Lora {
    fn new([input, output]: [usize; 2], config: &LoraConfig, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let bound = (input as f64).sqrt().recip();
        let down: Vec<f32> =
            (0..input * config.rank).map(|_| (bound * (2.0 * rng.random::<f64>() - 1.0)) as f32).collect();
        let down = Tensor::from_data(TensorData::new(down, [input, config.rank]), (device, DType::F32));
        Self {
            down: Param::from_tensor(down),
            up: Param::from_tensor(Tensor::zeros([config.rank, output], (device, DType::F32))),
            scale: config.alpha / config.rank as f64,
        }
    }

    /// # Shapes
    /// - `x`: `[n, input]`
    /// - output: `[n, output]`
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.down.val()).matmul(self.up.val()) * self.scale
    }

    /// `scale * A B`, shape `[input, output]`.
    pub(super) fn update(&self) -> Tensor<2> {
        self.down.val().matmul(self.up.val()) * self.scale
    }
}

impl Transformer {
    /// Freezes every weight and adds adapters, which alone are trained; at first they change nothing.
    #[must_use]
    pub fn with_lora(self, config: &LoraConfig, seed: u64) -> Self {
        let device = self.device();
        let mut net = self.no_grad();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for (projection, linear) in net.projections_mut() {
            if config.targets.contains(&projection) {
                linear.lora = Some(Lora::new(linear.weight.dims(), config, &mut rng, &device));
            }
        }
        net
    }

    /// The same network with its adapters added to the weights.
    #[must_use]
    pub fn merged(mut self) -> Self {
        for (_, linear) in self.projections_mut() {
            linear.merge();
        }
        self
    }

    fn projections_mut(&mut self) -> impl Iterator<Item = (Projection, &mut Linear)> {
        self.blocks.iter_mut().flat_map(|block| {
            let attention = &mut block.attention;
            let mlp = &mut block.mlp;
            let always = [
                (Projection::Query, &mut attention.query),
                (Projection::Key, &mut attention.key),
                (Projection::Value, &mut attention.value),
                (Projection::Output, &mut attention.output),
                (Projection::Up, &mut mlp.up),
                (Projection::Down, &mut mlp.down),
            ];
            always.into_iter().chain(mlp.gate.as_mut().map(|gate| (Projection::Gate, gate)))
        })
    }
}

impl Linear {
    fn merge(&mut self) {
        if let Some(lora) = self.lora.take() {
            let weight = self.weight.val();
            let update = lora.update().cast(weight.dtype());
            self.weight = Param::initialized(self.weight.id, weight + update);
        }
    }
}
