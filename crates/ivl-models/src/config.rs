//! The space of decoders that the one transformer covers: a product of small enums, so that a combination that makes no
//! sense cannot be written.

use burn::tensor::DType;
use ivl_core::causal_lm::LengthDependence;

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
    /// How positions enter.
    pub position: Position,
    /// Feed-forward layers.
    pub mlp: MlpConfig,
    /// How a block combines attention and feed-forward.
    pub wiring: Wiring,
    /// Attention layers.
    pub attention: AttentionConfig,
    /// One entry for each block.
    pub layers: Vec<LayerKind>,
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
}

/// How positions enter.
#[derive(Debug, Clone, PartialEq)]
pub enum Position {
    /// Rotary embedding of queries and keys.
    Rope(RopeConfig),
    /// A learned vector for each position, added to the token's.
    Learned,
}

/// Rotary embedding in the half-split form: dimension `i` is paired with `i + dim / 2`.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Rotated dimensions of each head; the rest passes through.
    pub dim: usize,
    /// Base of the frequencies.
    pub theta: f64,
    /// Extension to longer contexts.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are stretched for contexts longer than those of pre-training.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// NTK-aware: the base grows with the length once it exceeds the original one. Keys that were cached when the text was
    /// shorter keep their frequencies, as in the reference.
    Dynamic {
        /// Strength.
        factor: f64,
        /// Context of pre-training.
        original: usize,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, between them a ramp.
    ByWavelength {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths longer than `original / low` are divided.
        low: f64,
        /// Wavelengths shorter than `original / high` are kept.
        high: f64,
        /// Context of pre-training.
        original: usize,
    },
    /// YaRN ([arXiv 2309.00071](https://arxiv.org/abs/2309.00071)).
    Yarn {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Context of pre-training.
        original: usize,
        /// Rotations above which a frequency is kept.
        beta_fast: f64,
        /// Rotations below which a frequency is divided.
        beta_slow: f64,
        /// Whether the ends of the ramp are whole dimensions.
        truncate: bool,
        /// Scales cosine and sine.
        attention_factor: f64,
    },
    /// LongRoPE ([arXiv 2402.13753](https://arxiv.org/abs/2402.13753)): a divisor for each dimension, one set for
    /// contexts up to the original length and one beyond.
    LongRope {
        /// Divisors for short contexts.
        short: Vec<f64>,
        /// Divisors for long contexts.
        long: Vec<f64>,
        /// Context of pre-training.
        original: usize,
        /// Scales cosine and sine.
        attention_factor: f64,
    },
}

impl ModelConfig {
    /// The lengths of a text at which the position encoding changes.
    pub fn length_dependence(&self) -> LengthDependence {
        match &self.position {
            Position::Rope(rope) => rope.scaling.length_dependence(),
            Position::Learned => LengthDependence::none(),
        }
    }

    /// Bytes of keys and values for one position, in a network that computes in `dtype`.
    pub fn cache_bytes(&self, dtype: DType) -> usize {
        2 * self.layers.len() * self.attention.num_kv_heads * self.attention.head_dim * dtype.size()
    }
}

impl RopeScaling {
    /// A length at which the frequencies of all positions change, so that what was computed before it is void.
    pub fn switches_at(&self) -> Option<usize> {
        match self {
            Self::LongRope { original, .. } => Some(*original),
            _ => None,
        }
    }

    fn length_dependence(&self) -> LengthDependence {
        match self {
            Self::Dynamic { original, .. } => LengthDependence::changes_after(*original),
            Self::LongRope { original, .. } => LengthDependence::switches_at(*original),
            _ => LengthDependence::none(),
        }
    }

    /// Whether the frequencies depend on the length of the text.
    pub fn depends_on_length(&self) -> bool {
        matches!(self, Self::Dynamic { .. } | Self::LongRope { .. })
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

/// Non-linearity of the feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// How a block combines attention and feed-forward; drawn in `transformer/block.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// A norm before each, a residual around each.
    PreNorm,
    /// A norm before and after each, inside the residual.
    Sandwich,
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
    /// Normalisation of each query and key head.
    pub qk_norm: bool,
    /// Multiplies the scores; usually `head_dim^-1/2`.
    pub scale: f64,
    /// Whether the scale is also divided by the index of the layer, counted from one.
    pub scale_by_layer: bool,
    /// `cap * tanh(score / cap)`.
    pub softcap: Option<f64>,
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
            qk_norm: false,
            scale: (head_dim as f64).powf(-0.5),
            scale_by_layer: false,
            softcap: None,
        }
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
    /// The head is the transposed embedding.
    pub tied: bool,
    /// Bias of the head.
    pub head_bias: bool,
    /// `cap * tanh(logit / cap)`.
    pub softcap: Option<f64>,
}

impl EmbeddingConfig {
    /// Embeddings as they are stored, and a head with no bias or cap.
    pub fn new(tied: bool) -> Self {
        Self { scale: None, tied, head_bias: false, softcap: None }
    }
}
