//! Grouped-query attention: one forward for training, prefill and decoding.

use burn::module::Module;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{DType, Device, Tensor};
use ivl_core::cache::KvCache;

use super::host::{Numbers, Rows};
use super::mask::Mask;
use super::rope::Rotation;
use super::states::States;
use super::{Linear, Norm};
use crate::config::{AttentionConfig, ModelConfig};

/// `softmax(scale * Q K^T) V` over the cached and the new positions.
///
/// Query heads that share a key head are laid out as further queries of it, so that keys and values are never repeated.
#[derive(Module, Debug)]
pub struct Attention {
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) output: Linear,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    #[module(skip)]
    config: AttentionConfig,
    #[module(skip)]
    scale: f64,
}

impl Attention {
    pub(crate) fn new(config: &ModelConfig, layer: usize, device: &Device) -> Self {
        let (hidden, attention) = (config.hidden_size, config.attention);
        let (heads, kv) =
            (attention.num_heads * attention.head_dim, attention.num_kv_heads * attention.head_dim);
        let norm = || attention.qk_norm.then(|| Norm::new(attention.head_dim, config.norm, device));
        let depth = if attention.scale_by_layer { (layer + 1) as f64 } else { 1.0 };
        Self {
            query: Linear::new(hidden, heads, attention.qkv_bias, device),
            key: Linear::new(hidden, kv, attention.qkv_bias, device),
            value: Linear::new(hidden, kv, attention.qkv_bias, device),
            output: Linear::new(heads, hidden, attention.output_bias, device),
            query_norm: norm(),
            key_norm: norm(),
            config: attention,
            scale: attention.scale / depth,
        }
    }

    /// The norms of query and key heads.
    pub(super) fn norms_mut(&mut self) -> impl Iterator<Item = &mut Norm> {
        [&mut self.query_norm, &mut self.key_norm].into_iter().flatten()
    }

    pub(super) fn of(
        &self,
        x: &States,
        rotation: Option<&Rotation>,
        mask: &Mask,
        cache: &mut KvCache,
    ) -> States {
        match x {
            States::Device(x) => States::Device(self.forward(x.clone(), rotation, mask, cache)),
            States::Host(rows) => States::Host(rows.with(self.rows(rows, rotation, mask, cache))),
        }
    }

    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    fn forward(
        &self,
        x: Tensor<3>,
        rotation: Option<&Rotation>,
        mask: &Mask,
        cache: &mut KvCache,
    ) -> Tensor<3> {
        let AttentionConfig { num_heads, num_kv_heads, head_dim, .. } = self.config;
        let [batch, seq, _] = x.dims();
        let [query, key, value] = Linear::forward_all([&self.query, &self.key, &self.value], x);
        let heads = |x: Tensor<3>, heads: usize| x.reshape([batch, seq, heads, head_dim]);
        let placed = |norm: &Option<Norm>, x| {
            let x = match norm {
                Some(norm) => norm.forward(x),
                None => x,
            };
            match rotation {
                Some(rotation) => rotation.apply(x),
                None => x,
            }
        };
        let query = placed(&self.query_norm, heads(query, num_heads));
        let key = placed(&self.key_norm, heads(key, num_kv_heads));
        let value = heads(value, num_kv_heads);
        self.output.forward(self.mix([query, key, value], mask, cache))
    }

    /// # Shapes
    /// - queries: `[batch, seq, heads, head_dim]`
    /// - keys and values: `[batch, seq, kv_heads, head_dim]`
    /// - output: `[batch, seq, heads * head_dim]`
    fn mix(&self, [query, key, value]: [Tensor<4>; 3], mask: &Mask, cache: &mut KvCache) -> Tensor<3> {
        let [batch, seq, num_heads, head_dim] = query.dims();
        let num_kv_heads = self.config.num_kv_heads;
        let device = query.device();
        let (keys, values) = cache.append(key.swap_dims(1, 2), value.swap_dims(1, 2));
        let groups = num_heads / num_kv_heads;
        // [batch, seq, heads, dim] -> [batch, kv_heads, groups * seq, dim]
        let query = query.swap_dims(1, 2).reshape([batch, num_kv_heads, groups * seq, head_dim]);
        let options = AttentionModuleOptions {
            scale: Some(self.scale),
            softcap: self.config.softcap,
            is_causal: mask.is_causal(groups),
        };
        let all = keys.dims()[2];
        let hidden = mask.hidden(groups, &device);
        let hidden = hidden.map(|hidden| hidden.expand([batch, num_kv_heads, groups * seq, all]));
        let mixed = attention(query, keys, values, hidden, None, options);
        let mixed = mixed.reshape([batch, num_heads, seq, head_dim]).swap_dims(1, 2);
        mixed.reshape([batch, seq, num_heads * head_dim])
    }

    /// [`forward`](Self::forward) on the host, by kernels that read the cache where it lies.
    fn rows(&self, x: &Rows, rotation: Option<&Rotation>, mask: &Mask, cache: &mut KvCache) -> Vec<f32> {
        let AttentionConfig { num_heads: heads, num_kv_heads: kv_heads, head_dim: dim, softcap, .. } =
            self.config;
        let [query, key, value] = Linear::rows_all([&self.query, &self.key, &self.value], x, &x.numbers);
        let placed = |norm: &Option<Norm>, mut x: Vec<f32>, heads| {
            if let Some(norm) = norm {
                x = norm.rows(&x);
            }
            if let Some(rotation) = rotation {
                rotation.turn(&mut x, heads, dim);
            }
            x
        };
        let (query, key) = (placed(&self.query_norm, query, heads), placed(&self.key_norm, key, kv_heads));
        let softcap = softcap.map(|cap| cap as f32);
        let kernel =
            ivl_kernels::GroupedQueryAttention { heads, kv_heads, dim, scale: self.scale as f32, softcap };
        let (batch, device) = (x.batch, &x.device);
        let mut mixed = Vec::new();
        cache.extend_in_place([batch, kv_heads, x.seq, dim], device, DType::F32, |keys, values, len| {
            let (mut keys, mut values) = (Numbers::of(keys), Numbers::of(values));
            kernel.append(keys.as_mut_slice(), batch, len, &key);
            kernel.append(values.as_mut_slice(), batch, len, &value);
            mixed = kernel.attend(&query, keys.as_slice(), values.as_slice(), batch, &mask.seen(batch));
            (keys.into_tensor(device), values.into_tensor(device))
        });
        let [output] = Linear::rows_all([&self.output], x, &mixed);
        output
    }
}
