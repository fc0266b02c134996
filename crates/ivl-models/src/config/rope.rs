//! Rotary embedding of queries and keys.

use ivl_core::causal_lm::LengthDependence;

/// Rotary embedding of queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Rotated dimensions of each head; the rest passes through.
    pub dim: usize,
    /// Dimensions that turn together.
    pub pairing: RopePairing,
    /// Base of the frequencies.
    pub theta: f64,
    /// Extension to longer contexts.
    pub scaling: RopeScaling,
}

/// The dimensions of a head that a rotation turns together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairing {
    /// Dimension `i` with `i + dim / 2`.
    Half,
    /// Dimension `2 i` with `2 i + 1`.
    Interleaved,
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
    /// Pairs of which only the first turn, divided by a factor: the others are counted in the exponents of the frequencies.
    Proportional {
        /// Pairs that turn.
        pairs: usize,
        /// Divisor of their frequencies.
        factor: f64,
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

impl RopeScaling {
    /// A length at which the frequencies of all positions change, so that what was computed before it is void.
    pub fn switches_at(&self) -> Option<usize> {
        match self {
            Self::LongRope { original, .. } => Some(*original),
            _ => None,
        }
    }

    pub(super) fn length_dependence(&self) -> LengthDependence {
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
