//! Grouped-query attention.

use std::sync::Arc;

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use ivl_core::cache::{KvCache, KvFormat};

use super::linear::Linear;
use super::mask::Mask;
use super::norm::Norm;
use super::ops::{self, Activations, Numbers, PositionFactors, Rotation, SinkParams, kv_format_of};
use crate::config::{AttentionConfig, KeySource, ModelConfig, QkNorm};

/// What a layer knows of the positions that it reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encoding<'a> {
    /// Rotates queries and keys, if the layer does.
    pub(super) rotation: Option<&'a Rotation>,
    /// Multiplies rotated queries.
    pub(super) query_factors: Option<&'a PositionFactors>,
}

/// `softmax(scale * Q K^T) V` over the cached and the new positions, and the projections around it. Consecutive query heads
/// may share a key head. With a gate, the query projection has each head's query and then its gate, and the sigmoid of the gate
/// multiplies what the head has read. A layer without key projections reads the keys and values of an earlier layer.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    pub(super) query: Linear,
    /// None where keys and values are another layer's.
    pub(super) key: Option<Linear>,
    /// None where values are what the key projection gives, or another layer's.
    pub(super) value: Option<Linear>,
    pub(super) output: Linear,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    /// A score of each query head that takes its share of the weights and has no value, shape `[heads]`.
    sinks: Option<Param<Tensor<1>>>,
    /// The sinks as numbers for the kernels of the CPU.
    #[module(skip)]
    packed_sinks: Option<Arc<Vec<f32>>>,
    /// The format of the cache, if it is chosen.
    #[module(skip)]
    kv_format: Option<KvFormat>,
    #[module(skip)]
    config: AttentionConfig,
    #[module(skip)]
    scale: f64,
    /// Added to the mean square of values that are normalised.
    #[module(skip)]
    eps: f64,
}

impl Attention {
    pub(crate) fn new(config: &ModelConfig, layer: usize, device: &Device) -> Self {
        let (hidden, own) = (config.hidden_size, &config.layers[layer]);
        let attention = config.attention_of(own);
        let (heads, kv) =
            (attention.num_heads * attention.head_dim, attention.num_kv_heads * attention.head_dim);
        let norm = |all: usize| {
            attention.qk_norm.map(|norm| match norm {
                QkNorm::Head | QkNorm::RotatedHead => Norm::new(attention.head_dim, config.norm, device),
                QkNorm::AllHeads => Norm::new(all, config.norm, device),
            })
        };
        let queries = if attention.output_gate { 2 } else { 1 };
        let depth = if attention.scale_by_layer { (layer + 1) as f64 } else { 1.0 };
        let has_keys = !own.keys.is_shared();
        let key = || Linear::new(hidden, kv, attention.qkv_bias, device);
        Self {
            query: Linear::new(hidden, heads * queries, attention.qkv_bias, device),
            key: has_keys.then(key),
            value: (own.keys == KeySource::Projections).then(key),
            output: Linear::new(heads, hidden, attention.output_bias, device),
            query_norm: norm(heads),
            key_norm: norm(kv).filter(|_| has_keys),
            sinks: attention.sinks.then(|| Initializer::Zeros.init([attention.num_heads], device)),
            packed_sinks: None,
            kv_format: None,
            config: attention,
            scale: attention.scale / depth,
            eps: config.norm.eps,
        }
    }

    /// The projections.
    pub(super) fn linears(&self) -> impl Iterator<Item = &Linear> {
        [&self.query, &self.output].into_iter().chain(&self.key).chain(&self.value)
    }

    /// The norms of queries and keys.
    pub(super) fn norms_mut(&mut self) -> impl Iterator<Item = &mut Norm> {
        [&mut self.query_norm, &mut self.key_norm].into_iter().flatten()
    }

    /// From now on kernels of the CPU compute it, from the sinks that it has.
    pub(super) fn pack(&mut self) {
        let numbers = |sinks| Arc::new(Numbers::of(sinks).as_slice().to_vec());
        self.packed_sinks = self.sinks.as_ref().map(numbers);
    }

    /// The format of the cache where kernels of the CPU compute it.
    pub(super) fn kv_format(&self) -> KvFormat {
        let key = || self.key.as_ref().and_then(|key| key.packed.as_deref());
        self.kv_format.unwrap_or_else(|| kv_format_of(key()))
    }

    /// Chooses the format of the cache.
    pub(super) fn set_kv_format(&mut self, format: KvFormat) {
        self.kv_format = Some(format);
    }

    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    pub(super) fn forward(
        &self,
        x: &Activations,
        encoding: Encoding<'_>,
        mask: &Mask,
        cache: &mut KvCache,
    ) -> Activations {
        let AttentionConfig { num_heads, .. } = self.config;
        let (query, new) = self.project(x);
        Linear::expect_all([&self.output]);
        let (query, gate) = if self.config.output_gate {
            let [query, gate] = ops::parts(&query, num_heads);
            (query, Some(gate))
        } else {
            (query, None)
        };
        let query = self.encode_position(query, self.query_norm.as_ref(), encoding.rotation, num_heads);
        let query = match encoding.query_factors {
            Some(factors) => ops::scale_positions(factors, query),
            None => query,
        };
        let new = new.map(|[key, value]| self.keys_and_values(key, value, encoding.rotation));
        let packed = self.packed_sinks.as_deref().map(Vec::as_slice);
        let sinks = self.sinks.as_ref().map(|scores| SinkParams { scores, packed });
        let mixed = ops::attend(&self.config, self.scale, sinks, query, new, mask, (cache, self.kv_format()));
        let mixed = match gate {
            Some(gate) => ops::sigmoid_gate(gate, mixed),
            None => mixed,
        };
        self.output.forward(&mixed)
    }

    /// Says that this layer comes next; see [`ops::expect`].
    pub(super) fn expect(&self) {
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => Linear::expect_all([&self.query, key, value]),
            (Some(key), None) => Linear::expect_all([&self.query, key]),
            (None, _) => Linear::expect_all([&self.query]),
        }
    }

    /// Queries, and keys and values where they are not another layer's, as the projections give them.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, heads * head_dim]`
    fn project(&self, x: &Activations) -> (Activations, Option<[Activations; 2]>) {
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => {
                let [query, key, value] = Linear::forward_all([&self.query, key, value], x);
                (query, Some([key, value]))
            }
            (Some(key), None) => {
                let [query, key] = Linear::forward_all([&self.query, key], x);
                (query, Some([key.clone(), key]))
            }
            (None, _) => (self.query.forward(x), None),
        }
    }

    /// New keys and values as the cache keeps them.
    fn keys_and_values(
        &self,
        key: Activations,
        value: Activations,
        rotation: Option<&Rotation>,
    ) -> [Activations; 2] {
        let AttentionConfig { num_kv_heads, head_dim, value_norm, .. } = self.config;
        let key = self.encode_position(key, self.key_norm.as_ref(), rotation, num_kv_heads);
        let value = if value_norm { ops::unit_rms(value, head_dim, self.eps) } else { value };
        [key, value]
    }

    /// Queries or keys as they are compared: normalised and rotated to their positions, in the order of the model.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, seq, heads * head_dim]`
    fn encode_position(
        &self,
        x: Activations,
        norm: Option<&Norm>,
        rotation: Option<&Rotation>,
        heads: usize,
    ) -> Activations {
        let rotate = |x| match rotation {
            Some(rotation) => ops::rotate(rotation, heads, x),
            None => x,
        };
        match norm {
            Some(norm) if self.config.qk_norm == Some(QkNorm::RotatedHead) => norm.forward(&rotate(x)),
            Some(norm) => rotate(norm.forward(&x)),
            None => rotate(x),
        }
    }
}
