//! Options of decoding, as the library takes them.

use anyhow::{Context, Result};
use ivl::core::decode::EndTokens;
use ivl::{GenerateConfig, SamplingConfig};

use crate::args::{Common, Decoding};

/// What can be checked before a model is loaded.
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
    let mut config = GenerateConfig::default()
        .max_new_tokens(options.max_new_tokens)
        .sampling(sampling)
        .seed(common.seed.unwrap_or(0))
        .stop_strings(options.stop.clone());
    if options.ignore_eos {
        config.end_tokens = EndTokens::none();
    }
    Ok(config)
}
