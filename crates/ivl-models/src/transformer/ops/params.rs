//! Parameters of a layer, as operations read them.

use burn::module::Param;
use burn::tensor::{DType, Tensor};
use ivl_core::cache::KvFormat;
use ivl_kernels::{GroupedQueryAttention, Matrix, Normalization, PackedFormat};

use crate::config::{AttentionConfig, NormConfig};

/// `W` and `b` of `y = x W + b`.
#[derive(Clone, Copy)]
pub(in crate::transformer) struct LinearParams<'a> {
    /// Shape `[input, output]`.
    pub(in crate::transformer) weight: &'a Param<Tensor<2>>,
    /// Shape `[output]`.
    pub(in crate::transformer) bias: Option<&'a Param<Tensor<1>>>,
    /// A low-rank update of the weight.
    pub(in crate::transformer) low_rank: Option<LowRankParams<'a>>,
    /// The weight laid out for kernels.
    pub(in crate::transformer) packed: Option<&'a Matrix>,
}

/// `A`, `B` and `s` of the update `s A B`.
#[derive(Clone, Copy)]
pub(in crate::transformer) struct LowRankParams<'a> {
    /// `A`, shape `[input, rank]`.
    pub(in crate::transformer) down: &'a Param<Tensor<2>>,
    /// `B`, shape `[rank, output]`.
    pub(in crate::transformer) up: &'a Param<Tensor<2>>,
    /// `s`.
    pub(in crate::transformer) scale: f64,
    /// Whether only the first of every two rows of a batch is updated.
    pub(in crate::transformer) alternates: bool,
    /// `A` and `B` laid out for kernels.
    pub(in crate::transformer) packed: Option<[&'a Matrix; 2]>,
}

/// The format of cached keys and values of a layer whose keys come from this weight, unless another one is set: half precision where
/// products round activations to eight bits, single precision where they round nothing.
pub(in crate::transformer) fn kv_format_of(keys: Option<&Matrix>) -> KvFormat {
    KvFormat::Floats(match keys.map(Matrix::format) {
        Some(PackedFormat::Blocks(_)) => DType::F16,
        _ => DType::F32,
    })
}

/// Weights of a normalisation.
#[derive(Clone, Copy)]
pub(in crate::transformer) struct NormParams<'a> {
    /// Shape `[width]`.
    pub(in crate::transformer) weight: &'a Param<Tensor<1>>,
    /// Shape `[width]`.
    pub(in crate::transformer) bias: Option<&'a Param<Tensor<1>>>,
    /// Formula and epsilon.
    pub(in crate::transformer) config: NormConfig,
    /// Weight and bias as numbers for kernels.
    pub(in crate::transformer) packed: Option<&'a [Vec<f32>; 2]>,
}

/// A convolution of single channels.
#[derive(Clone, Copy)]
pub(in crate::transformer) struct FilterParams<'a> {
    /// Shape `[kernel, channels]`.
    pub(in crate::transformer) weight: &'a Param<Tensor<2>>,
    /// Shape `[channels]`.
    pub(in crate::transformer) bias: Option<&'a Param<Tensor<1>>>,
    /// Weight and bias as numbers for kernels.
    pub(in crate::transformer) packed: Option<&'a [Vec<f32>; 2]>,
}

/// `rate` and `bias` of the decay `exp(-exp(rate) softplus(x + bias))` of each head.
#[derive(Clone, Copy)]
pub(in crate::transformer) struct DecayParams<'a> {
    /// Shape `[heads]`.
    pub(in crate::transformer) rate: &'a Param<Tensor<1>>,
    /// Shape `[heads]`.
    pub(in crate::transformer) bias: &'a Param<Tensor<1>>,
    /// Both as numbers for kernels.
    pub(in crate::transformer) packed: Option<&'a [Vec<f32>; 2]>,
}

/// Scores of query heads that have no value.
#[derive(Debug, Clone, Copy)]
pub(in crate::transformer) struct SinkParams<'a> {
    /// Shape `[heads]`.
    pub(in crate::transformer) scores: &'a Param<Tensor<1>>,
    /// As numbers for kernels.
    pub(in crate::transformer) packed: Option<&'a [f32]>,
}

impl NormParams<'_> {
    /// Numbers that are normalised together.
    pub(super) fn width(&self) -> usize {
        self.weight.lazy_shape().dims::<1>()[0]
    }
}

/// Slopes of xIELU:
///
/// ```text
/// a_p x^2 + beta x                               where x > 0
/// a_n (exp(min(x, eps)) - 1 - x) + beta x        elsewhere
///
/// a_p = softplus(alpha_p), a_n = beta + softplus(alpha_n)
/// ```
///
/// Each has shape `[1]`. `beta` and `eps` are constants that checkpoints carry.
#[derive(Clone, Copy)]
pub(in crate::transformer) struct XIeluParams<'a> {
    pub(in crate::transformer) alpha_p: &'a Param<Tensor<1>>,
    pub(in crate::transformer) alpha_n: &'a Param<Tensor<1>>,
    pub(in crate::transformer) beta: &'a Param<Tensor<1>>,
    pub(in crate::transformer) eps: &'a Param<Tensor<1>>,
}

/// The kernel of a norm; `bias` is empty where it adds none.
pub(super) fn normalization<'a>(config: NormConfig, weight: &'a [f32], bias: &'a [f32]) -> Normalization<'a> {
    let offset = config.kind.offset();
    match config.kind.is_centered() {
        true => Normalization::Layer { weight, offset, bias },
        false => Normalization::Rms { weight, offset },
    }
}

/// The kernel of a layer without sinks.
pub(super) fn attention_kernel(config: &AttentionConfig, scale: f64) -> GroupedQueryAttention<'static> {
    let AttentionConfig { num_heads: heads, num_kv_heads: kv_heads, head_dim: dim, softcap, .. } = *config;
    let softcap = softcap.map(|cap| cap as f32);
    GroupedQueryAttention { heads, kv_heads, dim, scale: scale as f32, softcap, sinks: None }
}
