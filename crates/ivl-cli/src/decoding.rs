//! Options of writing, as the library takes them.

use anyhow::{Context, Result};
use ivl_core::decode::{EndTokens, GenerateConfig, SamplingConfig};

use crate::args::{Common, Decoding};
use crate::compose::Composed;

/// What can be checked before a model is loaded. Nothing ends the text yet.
pub fn config(options: &Decoding, common: &Common) -> Result<GenerateConfig> {
    let bias = |text: &String| -> Result<(u32, f32)> {
        let parsed = text.split_once('=').and_then(|(id, bias)| Some((id.parse().ok()?, bias.parse().ok()?)));
        parsed.with_context(|| format!("--logit-bias is `{text}`, expected ID=NUMBER"))
    };
    let sampling = SamplingConfig::default()
        .temperature(options.temperature)
        .top_k(options.top_k)
        .top_p(options.top_p)
        .min_p(options.min_p)
        .repetition_penalty(options.repetition_penalty)
        .frequency_penalty(options.frequency_penalty)
        .presence_penalty(options.presence_penalty)
        .logit_bias(options.logit_bias.iter().map(bias).collect::<Result<_>>()?);
    sampling.validate()?;
    Ok(GenerateConfig::default()
        .max_new_tokens(options.max_new_tokens)
        .sampling(sampling)
        .seed(common.seed.unwrap_or(0))
        .end_tokens(EndTokens::none())
        .stop_strings(options.stop.clone()))
}

/// With the tokens that end a text of these models.
pub fn ending(config: GenerateConfig, options: &Decoding, composed: &Composed) -> GenerateConfig {
    let end_tokens = if options.ignore_eos { Vec::new() } else { composed.end_tokens.clone() };
    config.end_tokens(end_tokens)
}
