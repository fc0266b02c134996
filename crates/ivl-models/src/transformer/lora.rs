//! Low-rank adapters ([arXiv 2106.09685](https://arxiv.org/abs/2106.09685)).

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::ops::LowRankParams;
use super::{Block, Linear, Transformer};
use crate::config::ModelConfig;
use crate::transformer::parameters::parameter_shapes;

/// Which projections are adapted, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LoraConfig {
    /// Rank of the update: the usual 16.
    pub rank: usize,
    /// The update is scaled by `alpha / rank`: twice the rank, as is the custom.
    pub alpha: f64,
    /// Names of projections: all of them, which works best.
    pub targets: Vec<Projection>,
    /// Add the update to the weights when it is saved. Otherwise only adapters are saved, in the layout of PEFT: small, and
    /// the model that they were trained on shares its memory with them.
    pub merge: bool,
}

impl LoraConfig {
    /// Adapters of this rank on every projection, scaled by two.
    pub fn new(rank: usize) -> Self {
        Self { rank, alpha: 2.0 * rank as f64, targets: Projection::ALL.to_vec(), merge: false }
    }
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self::new(16)
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

    /// Its place in a block.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Query => "attention.query",
            Self::Key => "attention.key",
            Self::Value => "attention.value",
            Self::Output => "attention.output",
            Self::Gate => "mlp.gate",
            Self::Up => "mlp.up",
            Self::Down => "mlp.down",
        }
    }

    /// Whether a model has it.
    pub(crate) fn is_in(self, config: &ModelConfig) -> bool {
        self != Self::Gate || config.mlp.gated
    }
}

/// A low-rank update of a projection: `scale * x A B`.
#[derive(Module, Debug)]
pub(crate) struct Lora {
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

    pub(super) fn params(&self) -> LowRankParams<'_> {
        LowRankParams { down: &self.down, up: &self.up, scale: self.scale }
    }

    /// `scale * A B`, shape `[input, output]`.
    pub(super) fn update(&self) -> Tensor<2> {
        self.down.val().matmul(self.up.val()) * self.scale
    }
}

impl Transformer {
    /// Freezes every weight and adds adapters, the only trained parameters; at first they change nothing.
    #[must_use]
    pub fn with_lora(self, config: &LoraConfig, seed: u64) -> Self {
        let device = self.device();
        // Packed weights are frozen as they are; asking for them would unpack them.
        let mut net = if self.format().is_some() { self } else { self.no_grad() };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for (projection, linear) in net.projections_mut() {
            if config.targets.contains(&projection) {
                linear.lora = Some(Lora::new(linear.shape(), config, &mut rng, &device));
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

    /// Paths and shapes of all matrices of adapters.
    pub(crate) fn adapter_shapes(&self) -> Vec<(String, [usize; 2])> {
        let adapters = parameter_shapes(self).into_iter().filter(|(path, _)| path.contains(".lora."));
        adapters
            .filter_map(|(path, shape)| match shape[..] {
                [rows, columns] => Some((path, [rows, columns])),
                _ => None,
            })
            .collect()
    }

    /// Replaces the matrix of an adapter; `numbers` are row-major.
    ///
    /// # Panics
    /// If there are not as many numbers as the matrix has.
    pub(crate) fn set_adapter(&mut self, path: &str, numbers: Vec<f32>) {
        let dtype = self.dtype();
        let mut layers = path.split('.').skip(1).take(1).filter_map(|layer| layer.parse::<usize>().ok());
        let layer = layers.next().unwrap_or_default();
        let per_block = self.projections_mut().count() / self.config.layers.len().max(1);
        for (index, (projection, linear)) in self.projections_mut().enumerate() {
            let here = index / per_block == layer && path.contains(&format!(".{}.", projection.path()));
            if let Some(lora) = linear.lora.as_mut().filter(|_| here) {
                let matrix = if path.ends_with("down") { &mut lora.down } else { &mut lora.up };
                let (dims, device) = (matrix.dims(), matrix.val().device());
                let tensor = Tensor::<2>::from_data(TensorData::new(numbers, dims), (&device, DType::F32));
                *matrix = Param::initialized(matrix.id, tensor.cast(dtype));
                return;
            }
        }
    }

    pub(super) fn projections_mut(&mut self) -> impl Iterator<Item = (Projection, &mut Linear)> {
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

impl Block {
    /// The projections of the block.
    pub(super) fn projections(&self) -> impl Iterator<Item = (Projection, &Linear)> {
        let (attention, mlp) = (&self.attention, &self.mlp);
        let always = [
            (Projection::Query, &attention.query),
            (Projection::Key, &attention.key),
            (Projection::Value, &attention.value),
            (Projection::Output, &attention.output),
            (Projection::Up, &mlp.up),
            (Projection::Down, &mlp.down),
        ];
        always.into_iter().chain(mlp.gate.as_ref().map(|gate| (Projection::Gate, gate)))
    }
}

impl Linear {
    fn merge(&mut self) {
        if let Some(lora) = self.lora.take() {
            let weight = self.weight.val();
            let update = lora.update().cast(weight.dtype());
            self.weight = Param::initialized(self.weight.id, weight + update);
            // The packed weight is a copy without the update.
            self.packed = None;
        }
    }
}
