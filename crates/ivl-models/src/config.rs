//! The space of decoders that the one transformer covers: a product of small enums, so that a combination that makes no
//! sense cannot be written.

mod rope;

pub use rope::{RopeConfig, RopePairing, RopeScaling};

use std::sync::Arc;

use burn::tensor::DType;
use ivl_core::cache::{KvFormat, LayerShape, MOST_SNAPSHOTS};
use ivl_core::causal_lm::{CacheBytes, LengthDependence};

/// Everything that the forward pass needs to know about a model. Field names follow Hugging Face's `config.json` where
/// one exists there.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Rows of the embedding, which is the number of logits.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Longest context.
    pub max_positions: usize,
    /// Normalisation layers.
    pub norm: NormConfig,
    /// Feed-forward layers.
    pub mlp: MlpConfig,
    /// Feed-forward layers that are mixtures of experts, in the blocks that have them.
    pub experts: Option<ExpertsConfig>,
    /// How a block combines attention and feed-forward.
    pub wiring: Wiring,
    /// Multiplies what attention and feed-forward add to the residual stream.
    pub residual_scale: Option<f64>,
    /// Attention layers.
    pub attention: AttentionConfig,
    /// One entry for each block.
    pub layers: Vec<LayerConfig>,
    /// What each block reads of a token beside the residual stream.
    pub layer_inputs: Option<LayerInputsConfig>,
    /// Whether a number of each block multiplies what it gives to the next.
    pub scaled_blocks: bool,
    /// Token embedding and head.
    pub embedding: EmbeddingConfig,
}

/// Normalisation, computed in f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormConfig {
    /// Which formula.
    pub kind: NormKind,
    /// Added to the variance.
    pub eps: f64,
}

/// The formula of a normalisation layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `x / rms(x) * w`.
    Rms,
    /// `x / rms(x) * (1 + w)`.
    RmsUnitOffset,
    /// `(x - mean) / std * w + b`.
    Layer,
    /// `(x - mean) / std * (1 + w) + b`.
    LayerUnitOffset,
    /// `(x - mean) / std * w`.
    LayerWithoutBias,
}

impl NormKind {
    /// Added to the weights.
    pub fn offset(self) -> f32 {
        match self {
            Self::RmsUnitOffset | Self::LayerUnitOffset => 1.0,
            Self::Rms | Self::Layer | Self::LayerWithoutBias => 0.0,
        }
    }

    /// Whether the mean is subtracted.
    pub fn is_centered(self) -> bool {
        matches!(self, Self::Layer | Self::LayerUnitOffset | Self::LayerWithoutBias)
    }

    /// Whether biases are added.
    pub fn has_bias(self) -> bool {
        matches!(self, Self::Layer | Self::LayerUnitOffset)
    }
}

impl ModelConfig {
    /// The lengths of a text at which the position encoding changes.
    pub fn length_dependence(&self) -> LengthDependence {
        let all = self.ropes().map(|rope| rope.scaling.length_dependence());
        all.fold(LengthDependence::none(), |all, one| all.and(&one))
    }

    /// The rotary settings of the blocks, each once.
    pub fn ropes(&self) -> impl Iterator<Item = &RopeConfig> {
        let mut found: Vec<&RopeConfig> = Vec::new();
        for rope in self.layers.iter().filter_map(|layer| layer.rope.as_deref()) {
            if !found.contains(&rope) {
                found.push(rope);
            }
        }
        found.into_iter()
    }

    /// The attention of a block.
    pub fn attention_of(&self, layer: &LayerConfig) -> AttentionConfig {
        let heads = |KeyHeads { count, dim }| AttentionConfig {
            num_kv_heads: count,
            head_dim: dim,
            ..self.attention
        };
        layer.key_heads.map_or(self.attention, heads)
    }

    /// The dense feed-forward layer of a block, if it has one.
    pub fn mlp_of(&self, layer: &LayerConfig) -> Option<MlpConfig> {
        let intermediate_size = layer.intermediate_size.unwrap_or(self.mlp.intermediate_size);
        layer.feed_forward.is_dense().then_some(MlpConfig { intermediate_size, ..self.mlp })
    }

    /// What the layers keep of a text.
    pub fn cache_shapes(&self) -> impl Iterator<Item = LayerShape> {
        self.layers.iter().map(move |layer| match layer.mixer {
            Mixer::Attention if layer.keys.is_shared() => LayerShape::State { tail: None, memory: None },
            Mixer::Attention => {
                let AttentionConfig { num_kv_heads: heads, head_dim: dim, .. } = self.attention_of(layer);
                LayerShape::Keys { heads, dim }
            }
            Mixer::ShortConvolution(ShortConvolutionConfig { kernel, .. }) => {
                LayerShape::State { tail: Some([kernel - 1, self.hidden_size]), memory: None }
            }
            Mixer::DeltaNet(delta) => LayerShape::State {
                tail: Some([delta.kernel - 1, delta.channels()]),
                memory: Some([delta.value_heads, delta.key_dim, delta.value_dim]),
            },
        })
    }

    /// Bytes of cache of a network that keeps keys and values in `format` and reads `stride` positions for each token: keys and values for each
    /// token, and states with as many snapshots as a cache keeps.
    pub fn cache_bytes(&self, format: KvFormat, stride: usize) -> CacheBytes {
        let states: usize = self.cache_shapes().map(|shape| shape.state_numbers()).sum();
        let keys: usize = self.cache_shapes().map(|shape| shape.bytes_per_position(format)).sum();
        CacheBytes {
            per_text: (MOST_SNAPSHOTS + 1) * states * DType::F32.size(),
            per_position: stride * keys,
        }
    }

    /// Whether layers keep a state of the text in the place of keys and values.
    pub fn is_recurrent(&self) -> bool {
        self.layers.iter().any(|layer| layer.mixer != Mixer::Attention)
    }
}

/// Feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MlpConfig {
    /// Inner width.
    pub intermediate_size: usize,
    /// Non-linearity.
    pub activation: Activation,
    /// `down(act(gate(x)) * up(x))` if true, else `down(act(up(x)))`.
    pub gated: bool,
    /// Whether the projections have biases.
    pub bias: bool,
}

/// A mixture of experts: feed-forward layers of which a router chooses a few for each token, and adds their outputs by its
/// probabilities. Experts have the activation of [`MlpConfig`], and a gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertsConfig {
    /// Number of experts.
    pub count: usize,
    /// Experts that a token goes through: those of the highest probabilities.
    pub per_token: usize,
    /// Inner width of an expert.
    pub intermediate_size: usize,
    /// Whether the probabilities of the chosen experts are divided by their sum.
    pub renormalized: bool,
    /// Whether the router and the projections of experts have biases.
    pub bias: bool,
    /// Whether the router reads `x / rms(x) * w / sqrt(hidden_size)`, and a number of each expert multiplies its output.
    pub scaled_router: bool,
    /// An expert that every token goes through.
    pub shared: Option<SharedExpertConfig>,
}

/// An expert that every token goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedExpertConfig {
    /// Inner width.
    pub intermediate_size: usize,
    /// Whether `sigmoid(w x)` multiplies its output.
    pub gated: bool,
}

/// Non-linearity of the feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// Exact, with the error function.
    Gelu,
    /// The tanh approximation.
    GeluTanh,
    /// `x * sigmoid(1.702 x)`.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)^2`.
    Relu2,
    /// xIELU ([arXiv 2411.13010](https://arxiv.org/abs/2411.13010)), with trained slopes in each layer.
    XIelu,
    /// `(u + 1) g sigmoid(alpha g)` of a gate and what it multiplies, `g = min(gate, limit)` and `u` between `-limit` and `limit`.
    /// Layers that have it have a gate.
    ClampedSwiGlu {
        /// Steepness of the sigmoid.
        alpha: f64,
        /// Bound of both.
        limit: f64,
    },
}

/// How a block combines attention and feed-forward; drawn in `transformer/block.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// A norm before each, a residual around each.
    PreNorm,
    /// A norm before and after each, inside the residual.
    Sandwich,
    /// A norm after each, inside the residual.
    PostNorm,
    /// Both read the block's input and are added to it together.
    Parallel {
        /// One norm for both, or one each.
        shared_norm: bool,
    },
}

/// Attention layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionConfig {
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Width of each head.
    pub head_dim: usize,
    /// Biases of the query, key and value projections.
    pub qkv_bias: bool,
    /// Bias of the output projection.
    pub output_bias: bool,
    /// Normalisation of queries and keys.
    pub qk_norm: Option<QkNorm>,
    /// Whether each head of values is divided by its root mean square.
    pub value_norm: bool,
    /// Multiplies the scores; usually `head_dim^-1/2`.
    pub scale: f64,
    /// Whether the scale is also divided by the index of the layer, counted from one.
    pub scale_by_layer: bool,
    /// `cap * tanh(score / cap)`.
    pub softcap: Option<f64>,
    /// A factor on queries that grows with their position.
    pub query_scale: Option<QueryScale>,
    /// Whether each query head has a trained score that takes its share of the weights and has no value.
    pub sinks: bool,
    /// Whether the sigmoid of a second half of each head's query multiplies what the head has read, before the output projection.
    pub output_gate: bool,
}

/// Normalisation of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// Of each head, before it is rotated.
    Head,
    /// Of each head, after it is rotated.
    RotatedHead,
    /// Of all heads together, before they are rotated.
    AllHeads,
}

/// `1 + beta ln(1 + floor(position / original))`, which multiplies rotated queries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueryScale {
    /// Strength.
    pub beta: f64,
    /// Context of pre-training.
    pub original: usize,
}

impl QueryScale {
    /// The factor at a position.
    pub fn at(self, position: usize) -> f32 {
        (1.0 + self.beta * (1.0 + (position / self.original) as f64).ln()) as f32
    }
}

impl AttentionConfig {
    /// As many key heads as query heads and scores scaled by `head_dim^-1/2`, with no biases, norms or cap.
    pub fn multi_head(num_heads: usize, head_dim: usize) -> Self {
        Self {
            num_heads,
            num_kv_heads: num_heads,
            head_dim,
            qkv_bias: false,
            output_bias: false,
            qk_norm: None,
            value_norm: false,
            scale: (head_dim as f64).powf(-0.5),
            scale_by_layer: false,
            softcap: None,
            query_scale: None,
            sinks: false,
            output_gate: false,
        }
    }
}

/// How a block passes on what stands at earlier positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixer {
    /// Attention, in the shape of [`AttentionConfig`].
    Attention,
    /// A convolution over the last few positions.
    ShortConvolution(ShortConvolutionConfig),
    /// A gated delta network.
    DeltaNet(DeltaNetConfig),
}

/// A causal convolution of each channel, with gates before and after it: `C * conv(B * x)`, where `B`, `C` and `x` are projections
/// of the input, as wide as the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortConvolutionConfig {
    /// Positions that an output sees; at least 1.
    pub kernel: usize,
    /// Biases of projections and convolution.
    pub bias: bool,
}

/// A gated delta network ([arXiv 2412.06464](https://arxiv.org/abs/2412.06464)): each head keeps a matrix that maps keys to values, forgets
/// a share of it at each position, and corrects what the position's key recalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaNetConfig {
    /// Heads of queries and keys; divides `value_heads`.
    pub key_heads: usize,
    /// Heads of values, of which consecutive ones share a key head.
    pub value_heads: usize,
    /// Width of a query or key.
    pub key_dim: usize,
    /// Width of a value.
    pub value_dim: usize,
    /// Positions that the convolution of queries, keys and values sees; at least 1.
    pub kernel: usize,
}

impl DeltaNetConfig {
    /// Width of all queries, keys and values.
    pub fn channels(&self) -> usize {
        2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim
    }
}

/// What distinguishes a block from others.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerConfig {
    /// How it mixes positions.
    pub mixer: Mixer,
    /// The positions that it attends to, if it does.
    pub kind: LayerKind,
    /// How it rotates queries and keys, if it does. Blocks with the same settings share them.
    pub rope: Option<Arc<RopeConfig>>,
    /// Its key heads, where they are not those of [`AttentionConfig`].
    pub key_heads: Option<KeyHeads>,
    /// Where its keys and values come from.
    pub keys: KeySource,
    /// Its feed-forward layer.
    pub feed_forward: FeedForward,
    /// Inner width of its dense feed-forward layer, where it is not that of [`MlpConfig`].
    pub intermediate_size: Option<usize>,
}

impl LayerConfig {
    /// Attention to every earlier position, without rotation, and a dense feed-forward layer.
    pub const FULL: Self = Self {
        mixer: Mixer::Attention,
        kind: LayerKind::Full,
        rope: None,
        key_heads: None,
        keys: KeySource::Projections,
        feed_forward: FeedForward::Dense,
        intermediate_size: None,
    };
}

/// The key heads of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHeads {
    /// How many; divides the number of query heads.
    pub count: usize,
    /// Width of each, and of each query head.
    pub dim: usize,
}

/// Where a block that attends has its keys and values from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySource {
    /// A projection for each.
    Projections,
    /// One projection: its outputs are the values, and keys once they are normalised and rotated.
    OneProjection,
    /// The keys and values of an earlier block, by its index. It has as many key heads.
    Layer(usize),
}

impl KeySource {
    /// Whether they are an earlier block's.
    pub(crate) fn is_shared(self) -> bool {
        matches!(self, Self::Layer(_))
    }
}

/// A vector of each token for each block, which a gate of the residual stream lets in after the feed-forward layer:
///
/// ```text
/// p = (norm(W x / sqrt(hidden_size)) + sqrt(width) table[token]) / sqrt(2)      x: the embedded token
/// x = x + norm(W_o (act(W_g x) * p))                                            in each block, with its part of p
/// ```
///
/// Inputs that are no tokens have no vector in the table, and `p = norm(W x / sqrt(hidden_size))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerInputsConfig {
    /// Rows of the table.
    pub vocab_size: usize,
    /// Width of the vector of a block.
    pub width: usize,
}

/// The feed-forward layer of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForward {
    /// One for all tokens.
    Dense,
    /// A mixture of experts.
    Experts,
    /// Both, each with norms of its own; their outputs are added. Blocks have norms before and after the feed-forward layer.
    Both,
}

impl FeedForward {
    /// Whether there is one for all tokens.
    pub fn is_dense(self) -> bool {
        matches!(self, Self::Dense | Self::Both)
    }

    /// Whether there is a mixture of experts.
    pub fn has_experts(self) -> bool {
        matches!(self, Self::Experts | Self::Both)
    }
}

/// The positions that a block attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// Every earlier position.
    Full,
    /// The last `window` positions, the current one included.
    Sliding {
        /// Number of positions.
        window: usize,
    },
}

/// Token embedding and head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EmbeddingConfig {
    /// Multiplies the embeddings.
    pub scale: Option<f64>,
    /// A learned vector for each position is added to the token's.
    pub learned_positions: bool,
    /// The head is the transposed embedding.
    pub tied: bool,
    /// Bias of the head.
    pub head_bias: bool,
    /// Multiplies the logits.
    pub logit_scale: Option<f64>,
    /// `cap * tanh(logit / cap)`.
    pub softcap: Option<f64>,
}

impl EmbeddingConfig {
    /// Embeddings as they are stored, without positions, and a head with no bias, factor or cap.
    pub fn new(tied: bool) -> Self {
        Self {
            scale: None,
            learned_positions: false,
            tied,
            head_bias: false,
            logit_scale: None,
            softcap: None,
        }
    }
}
