//! Defaults of a family for fields that its `config.json` lacks: those of its configuration class in transformers 5.

use super::readers::{activation, num_layers};
use crate::Error;
use crate::config::{
    Activation, AttentionConfig, EmbeddingConfig, LayerConfig, MlpConfig, ModelConfig, NormConfig, NormKind,
    Wiring,
};
use crate::fields::Fields;

/// The defaults of a family whose fields have the names that most families use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_layers: usize,
    pub(super) num_heads: usize,
    /// Follows from the number of query heads.
    pub(super) num_kv_heads: DerivedSize,
    /// Follows from the hidden size and the number of heads.
    pub(super) head_dim: DerivedSize,
    pub(super) max_positions: usize,
    pub(super) activation: Activation,
    /// The field that names the activation.
    pub(super) activation_field: &'static str,
    pub(super) norm_eps: f64,
    /// The field of the number that is added to the variance.
    pub(super) norm_eps_field: &'static str,
    pub(super) tied: bool,
    pub(super) attention_bias: Bias,
    /// The field of the biases of attention.
    pub(super) attention_bias_field: &'static str,
    pub(super) mlp_bias: Bias,
    /// The field of the biases of the feed-forward layers.
    pub(super) mlp_bias_field: &'static str,
}

/// A size that may follow from others.
#[derive(Debug, Clone, Copy)]
pub(super) enum DerivedSize {
    /// Derived where the field is absent or null.
    Derived,
    /// Derived where the field is absent; transformers has no use for a null.
    DerivedIfAbsent,
    /// This where the field is absent, derived where it is null.
    DerivedIfNull(usize),
    /// This where the field is absent; a null is an error.
    Fixed(usize),
}

impl DerivedSize {
    /// The size that `field` gives, where `derived` follows from other fields.
    pub(super) fn read(
        self,
        fields: &Fields<'_>,
        field: &str,
        derived: impl FnOnce() -> Result<usize, Error>,
    ) -> Result<usize, Error> {
        match (self, fields.is_absent(field)) {
            (Self::Derived | Self::DerivedIfAbsent, true) => derived(),
            (Self::DerivedIfNull(size) | Self::Fixed(size), true) => Ok(size),
            (Self::Derived | Self::DerivedIfNull(_), false) => {
                fields.opt_size(field)?.map_or_else(derived, Ok)
            }
            (Self::DerivedIfAbsent | Self::Fixed(_), false) => fields.size(field),
        }
    }
}

/// Whether projections have biases.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bias {
    /// As a field says, or this where it is absent.
    Field(bool),
    /// Whatever any field says.
    Always,
    /// Whatever any field says.
    Never,
}

impl Bias {
    pub(super) fn read(self, fields: &Fields<'_>, field: &str) -> Result<bool, Error> {
        match self {
            Self::Field(default) => fields.flag_or(field, default),
            Self::Always => Ok(true),
            Self::Never => Ok(false),
        }
    }
}

/// The width of a head where the configuration does not give it, rounded down as transformers does for families that it does not
/// hold to a divisor. At least 1: rotation refuses odd widths anyway.
pub(super) fn rounded_head_dim(hidden: usize, heads: usize) -> usize {
    (hidden / heads).max(1)
}

impl Defaults {
    /// Reads a decoder with RMS norms before attention and gated feed-forward. The family puts in how positions enter, and what
    /// differs from this.
    pub(super) fn read(&self, fields: &Fields<'_>) -> Result<ModelConfig, Error> {
        let hidden_size = fields.size_or("hidden_size", self.hidden_size)?;
        let num_heads = fields.size_or("num_attention_heads", self.num_heads)?;
        let head_dim =
            self.head_dim.read(fields, "head_dim", || Ok(rounded_head_dim(hidden_size, num_heads)))?;
        let attention_bias = self.attention_bias.read(fields, self.attention_bias_field)?;
        Ok(ModelConfig {
            vocab_size: fields.size_or("vocab_size", self.vocab_size)?,
            hidden_size,
            max_positions: fields.size_or("max_position_embeddings", self.max_positions)?,
            norm: NormConfig {
                kind: NormKind::Rms,
                eps: fields.positive_or(self.norm_eps_field, self.norm_eps)?,
            },
            mlp: MlpConfig {
                intermediate_size: fields.size_or("intermediate_size", self.intermediate_size)?,
                activation: activation(fields, self.activation_field, self.activation)?,
                gated: true,
                bias: self.mlp_bias.read(fields, self.mlp_bias_field)?,
            },
            experts: None,
            wiring: Wiring::PreNorm,
            residual_scale: None,
            layer_inputs: None,
            scaled_blocks: false,
            attention: AttentionConfig {
                num_kv_heads: self.num_kv_heads.read(fields, "num_key_value_heads", || Ok(num_heads))?,
                qkv_bias: attention_bias,
                output_bias: attention_bias,
                ..AttentionConfig::multi_head(num_heads, head_dim)
            },
            layers: vec![LayerConfig::FULL; num_layers(fields, "num_hidden_layers", self.num_layers)?],
            embedding: EmbeddingConfig::new(fields.flag_or("tie_word_embeddings", self.tied)?),
        })
    }
}
