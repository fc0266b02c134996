//! The configuration of low-rank adapters.

use serde::{Deserialize, Serialize};

use crate::config::{KeySource, LayerConfig, Mixer, ModelConfig};

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

    /// The targets that a model has, in the order of [`Projection::ALL`].
    pub fn targets_in(&self, config: &ModelConfig) -> Vec<Projection> {
        let is_in = |projection: &Projection| {
            self.targets.contains(projection)
                && config.layers.iter().any(|layer| projection.is_in(config, layer))
        };
        Projection::ALL.into_iter().filter(is_in).collect()
    }
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self::new(16)
    }
}

/// A projection of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Projection {
    /// Of attention; with the gate on what a head has read, where a model has one.
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
    /// The gates and the input of a short convolution.
    ConvolutionInput,
    ConvolutionOutput,
    /// Queries, keys and values of a gated delta network.
    DeltaMixed,
    DeltaGate,
    DeltaForget,
    DeltaStrength,
    DeltaOutput,
    /// The gate of the vectors that a block reads beside the residual stream, and the projection after it.
    LayerInputGate,
    LayerInputOutput,
}

impl Projection {
    /// Every projection of a block.
    pub const ALL: [Self; 16] = [
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Output,
        Self::Gate,
        Self::Up,
        Self::Down,
        Self::ConvolutionInput,
        Self::ConvolutionOutput,
        Self::DeltaMixed,
        Self::DeltaGate,
        Self::DeltaForget,
        Self::DeltaStrength,
        Self::DeltaOutput,
        Self::LayerInputGate,
        Self::LayerInputOutput,
    ];

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
            Self::ConvolutionInput => "convolution.input",
            Self::ConvolutionOutput => "convolution.output",
            Self::DeltaMixed => "delta.mixed",
            Self::DeltaGate => "delta.gate",
            Self::DeltaForget => "delta.forget",
            Self::DeltaStrength => "delta.strength",
            Self::DeltaOutput => "delta.output",
            Self::LayerInputGate => "layer_input.gate",
            Self::LayerInputOutput => "layer_input.output",
        }
    }

    /// Whether a layer of a model has it. Experts are not adapted.
    pub(crate) fn is_in(self, config: &ModelConfig, layer: &LayerConfig) -> bool {
        let is_dense = layer.feed_forward.is_dense();
        let attends = layer.mixer == Mixer::Attention;
        match self {
            Self::Query | Self::Output => attends,
            Self::Key => attends && !layer.keys.is_shared(),
            Self::Value => attends && layer.keys == KeySource::Projections,
            Self::LayerInputGate | Self::LayerInputOutput => config.layer_inputs.is_some(),
            Self::ConvolutionInput | Self::ConvolutionOutput => {
                matches!(layer.mixer, Mixer::ShortConvolution(_))
            }
            Self::DeltaMixed
            | Self::DeltaGate
            | Self::DeltaForget
            | Self::DeltaStrength
            | Self::DeltaOutput => matches!(layer.mixer, Mixer::DeltaNet(_)),
            Self::Up | Self::Down => is_dense,
            Self::Gate => config.mlp.gated && is_dense,
        }
    }
}
