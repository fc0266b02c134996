//! The shape of a model as metadata of a file that is written.
//!
//! What is written is read back before the file gets its name: a model that metadata cannot describe is refused there, so that
//! nothing has to be checked here.

use super::metadata_writer::MetadataWriter;
use super::rope_scaling::{FACTORS, LONG, SHORT, STILL, wavelength_factors};
use crate::config::{LayerKind, Mixer, ModelConfig, RopeConfig, RopeScaling};

/// Metadata below the name of an architecture, and the tensors that go with it.
pub(crate) struct ConfigMetadata<'a> {
    architecture: &'a str,
    metadata: &'a mut MetadataWriter,
    /// Divisors of rotary frequencies, by the names of their tensors.
    pub(crate) factors: Vec<(&'static str, Vec<f32>)>,
}

impl<'a> ConfigMetadata<'a> {
    pub(super) fn new(architecture: &'a str, metadata: &'a mut MetadataWriter) -> Self {
        Self { architecture, metadata, factors: Vec::new() }
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    pub(super) fn size(&mut self, name: &str, size: usize) {
        // Sizes of a configuration are below 2^28.
        self.metadata.size(&self.key(name), size as u32);
    }

    /// A size of each layer: one, if all are the same.
    fn sizes(&mut self, name: &str, sizes: impl Iterator<Item = usize>) {
        let sizes: Vec<i32> = sizes.map(|size| size as i32).collect();
        match sizes[..] {
            [first, ref rest @ ..] if rest.iter().all(|size| *size == first) => {
                self.size(name, first as usize);
            }
            _ => self.metadata.integers(&self.key(name), &sizes),
        }
    }

    /// What a factor on queries that grows with their position is, and the scaling that goes with it.
    pub(super) fn scaled_queries(&mut self, config: &ModelConfig) {
        if let Some(scale) = config.attention.query_scale {
            self.number("attention.temperature_scale", scale.beta);
        }
        let yarn = config.ropes().find_map(|rope| match &rope.scaling {
            RopeScaling::Yarn { factor, attention_factor, .. } if *factor > 1.0 => {
                Some((*factor, *attention_factor))
            }
            _ => None,
        });
        if let Some((factor, attention_factor)) = yarn {
            let logarithm = 0.1 * factor.ln();
            self.number(
                "rope.scaling.yarn_log_multiplier",
                ((logarithm + 1.0) / attention_factor - 1.0) / logarithm,
            );
        }
    }

    /// What layers read beside the residual stream, and the layers that read the keys of others.
    pub(super) fn layer_inputs(&mut self, config: &ModelConfig) {
        self.size("embedding_length_per_layer_input", config.layer_inputs.map_or(0, |inputs| inputs.width));
        let shared = config.layers.iter().filter(|layer| layer.keys.is_shared());
        self.size("attention.shared_kv_layers", shared.count());
    }

    pub(super) fn number(&mut self, name: &str, number: f64) {
        self.metadata.number(&self.key(name), number as f32);
    }

    pub(super) fn flag(&mut self, name: &str, flag: bool) {
        self.metadata.flag(&self.key(name), flag);
    }

    /// What nearly all architectures have. `context` is the context that `config.json` names, before any stretching.
    pub(super) fn write(&mut self, config: &ModelConfig, context: usize) {
        let attention = &config.attention;
        self.size("vocab_size", config.vocab_size);
        self.size("context_length", context);
        self.size("embedding_length", config.hidden_size);
        self.size("block_count", config.layers.len());
        let inner =
            |layer| config.mlp_of(layer).map_or(config.mlp.intermediate_size, |mlp| mlp.intermediate_size);
        self.sizes("feed_forward_length", config.layers.iter().map(inner));
        self.size("attention.head_count", attention.num_heads);
        let own = |layer| config.attention_of(layer);
        if !config.layers.iter().any(|layer| matches!(layer.mixer, Mixer::ShortConvolution(_))) {
            self.sizes("attention.head_count_kv", config.layers.iter().map(own).map(|own| own.num_kv_heads));
        }
        let of = |full: bool| config.layers.iter().find(|layer| (layer.kind == LayerKind::Full) == full);
        let [wide, sliding] = [true, false].map(|full| of(full).map_or(*attention, own).head_dim);
        self.size("attention.key_length", wide);
        self.size("attention.value_length", wide);
        if config.layers.iter().any(|layer| layer.key_heads.is_some()) {
            self.size("attention.key_length_swa", sliding);
            self.size("attention.value_length_swa", sliding);
        }
        let centered = config.norm.kind.is_centered();
        let eps = if centered { "layer_norm_epsilon" } else { "layer_norm_rms_epsilon" };
        self.number(&format!("attention.{eps}"), config.norm.eps);
        for (name, cap) in [
            ("attn_logit_softcapping", attention.softcap),
            ("final_logit_softcapping", config.embedding.softcap),
        ] {
            if let Some(cap) = cap {
                self.number(name, cap);
            }
        }
        let window = config.layers.iter().find_map(|layer| match layer.kind {
            LayerKind::Sliding { window } => Some(window),
            LayerKind::Full => None,
        });
        if let Some(window) = window {
            self.size("attention.sliding_window", window);
            let slides: Vec<bool> = config.layers.iter().map(|layer| layer.kind != LayerKind::Full).collect();
            if slides.contains(&false) {
                self.metadata.flags(&self.key("attention.sliding_window_pattern"), &slides);
            }
        }
        self.rotary(config);
        self.experts(config);
        self.recurrent_layers(config);
    }

    fn experts(&mut self, config: &ModelConfig) {
        let Some(experts) = &config.experts else { return };
        self.size("expert_count", experts.count);
        self.size("expert_used_count", experts.per_token);
        self.size("expert_feed_forward_length", experts.intermediate_size);
        if let Some(shared) = experts.shared {
            self.size("expert_shared_feed_forward_length", shared.intermediate_size);
        }
    }

    fn recurrent_layers(&mut self, config: &ModelConfig) {
        let attends: Vec<bool> = config.layers.iter().map(|layer| layer.mixer == Mixer::Attention).collect();
        match config.layers.iter().map(|layer| layer.mixer).find(|mixer| *mixer != Mixer::Attention) {
            Some(Mixer::DeltaNet(delta)) => {
                self.size("ssm.conv_kernel", delta.kernel);
                self.size("ssm.state_size", delta.key_dim);
                self.size("ssm.group_count", delta.key_heads);
                self.size("ssm.time_step_rank", delta.value_heads);
                self.size("ssm.inner_size", delta.value_heads * delta.value_dim);
                let recurrent: Vec<bool> = attends.iter().map(|attends| !attends).collect();
                self.metadata.flags(&self.key("attention.recurrent_layers"), &recurrent);
            }
            Some(Mixer::ShortConvolution(convolution)) => {
                self.size("shortconv.l_cache", convolution.kernel);
                let heads = attends
                    .iter()
                    .map(|attends| if *attends { config.attention.num_kv_heads as i32 } else { 0 });
                self.metadata.integers(&self.key("attention.head_count_kv"), &heads.collect::<Vec<_>>());
            }
            Some(Mixer::Attention) | None => {}
        }
    }

    /// The settings of the layers that see everything, and the theta of those with a window where they have their own.
    fn rotary(&mut self, config: &ModelConfig) {
        let of = |full: bool| {
            let mut layers = config.layers.iter().filter(|layer| (layer.kind == LayerKind::Full) == full);
            layers.find_map(|layer| layer.rope.clone())
        };
        let (full, sliding) = (of(true), of(false));
        if let Some(rope) = full.as_ref().or(sliding.as_ref()) {
            self.size("rope.dimension_count", rope.dim);
            self.number("rope.freq_base", rope.theta);
            self.scaling(rope);
        }
        if let (Some(full), Some(sliding)) = (&full, &sliding)
            && full != sliding
        {
            self.number("rope.freq_base_swa", sliding.theta);
            if sliding.dim != full.dim {
                self.size("rope.dimension_count_swa", sliding.dim);
            }
        }
    }

    fn scaling(&mut self, rope: &RopeConfig) {
        let text = |this: &mut Self, kind| this.metadata.text(&this.key("rope.scaling.type"), kind);
        match &rope.scaling {
            // llama.cpp has no scaling that grows with the text.
            RopeScaling::None | RopeScaling::Dynamic { .. } => {}
            RopeScaling::Linear { factor } => {
                text(self, "linear");
                self.number("rope.scaling.factor", *factor);
            }
            RopeScaling::ByWavelength { factor, low, high, original } => {
                let factors = wavelength_factors(rope.theta, rope.dim / 2, [*factor, *low, *high], *original);
                self.factors.push((FACTORS, factors));
            }
            RopeScaling::Proportional { pairs, factor } => {
                let divisor = |pair| if pair < *pairs { *factor as f32 } else { STILL };
                self.factors.push((FACTORS, (0..rope.dim / 2).map(divisor).collect()));
            }
            RopeScaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor, .. } => {
                text(self, "yarn");
                self.number("rope.scaling.factor", *factor);
                self.size("rope.scaling.original_context_length", *original);
                self.number("rope.scaling.yarn_beta_fast", *beta_fast);
                self.number("rope.scaling.yarn_beta_slow", *beta_slow);
                let usual = if *factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 };
                if (attention_factor - usual).abs() > 1e-6 {
                    self.number("rope.scaling.yarn_attn_factor", *attention_factor);
                }
            }
            RopeScaling::LongRope { short, long, original, attention_factor } => {
                let floats =
                    |factors: &[f64]| factors.iter().map(|&factor| factor as f32).collect::<Vec<_>>();
                if short == long && *attention_factor == 1.0 {
                    self.factors.push((FACTORS, floats(short)));
                    return;
                }
                text(self, "longrope");
                self.size("rope.scaling.original_context_length", *original);
                self.number("rope.scaling.attn_factor", *attention_factor);
                self.factors.push((LONG, floats(long)));
                self.factors.push((SHORT, floats(short)));
            }
        }
    }
}
