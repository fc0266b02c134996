//! Grouped-query attention: one forward for training, prefill and decoding.

use burn::module::Module;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Tensor};
use ivl_core::KvCache;

use super::mask::Mask;
use super::rope::Rotation;
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

    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        rotation: Option<&Rotation>,
        mask: &Mask,
        cache: &mut KvCache,
    ) -> Tensor<3> {
        let AttentionConfig { num_heads, num_kv_heads, head_dim, .. } = self.config;
        let [batch, seq, _] = x.dims();
        let heads = |x: Tensor<3>, heads: usize| x.reshape([batch, seq, heads, head_dim]).swap_dims(1, 2);
        let normed = |norm: &Option<Norm>, x| match norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let query = normed(&self.query_norm, heads(self.query.forward(x.clone()), num_heads));
        let key = normed(&self.key_norm, heads(self.key.forward(x.clone()), num_kv_heads));
        let value = heads(self.value.forward(x), num_kv_heads);
        let turned = |x| match rotation {
            Some(rotation) => rotation.apply(x),
            None => x,
        };
        let query = turned(query);
        let (keys, values) = cache.append(turned(key), value);
        let groups = num_heads / num_kv_heads;
        // [batch, heads, seq, dim] -> [batch, kv_heads, groups * seq, dim]
        let query = query.reshape([batch, num_kv_heads, groups * seq, head_dim]);
        let options = AttentionModuleOptions {
            scale: Some(self.scale),
            softcap: self.config.softcap,
            is_causal: matches!(mask, Mask::Causal),
        };
        let hidden = match mask {
            Mask::Hidden(hidden) => {
                let keys = keys.dims()[2];
                Some(hidden.clone().expand([batch, num_kv_heads, groups * seq, keys]))
            }
            _ => None,
        };
        let mixed = attention(query, keys, values, hidden, None, options);
        let mixed = mixed.reshape([batch, num_heads, seq, head_dim]).swap_dims(1, 2);
        self.output.forward(mixed.reshape([batch, seq, num_heads * head_dim]))
    }
}
