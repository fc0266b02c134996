//! Options of decoding, as the library takes them.

use std::hash::{BuildHasher, Hasher, RandomState};

use anyhow::{Context, Result};
use ivl::core::decode::EndTokens;
use ivl::models::SamplingDefaults;
use ivl::{GenerateConfig, SamplingConfig};

use crate::args::{Common, Decoding};
use crate::notes::note;

/// The configuration of a generation. An option that is not given is the model's, else that of greedy decoding.
pub fn config(options: &Decoding, model: &SamplingDefaults, common: &Common) -> Result<GenerateConfig> {
    let bias = |text: &String| -> Result<(u32, f32)> {
        let parsed = text.split_once('=').and_then(|(id, bias)| Some((id.parse().ok()?, bias.parse().ok()?)));
        parsed.with_context(|| format!("--logit-bias is `{text}`, expected ID=NUMBER"))
    };
    let sampling = SamplingConfig::default()
        .temperature(options.temperature.or(model.temperature).unwrap_or(0.0))
        .top_k(options.top_k.or(model.top_k).unwrap_or(0))
        .top_p(options.top_p.or(model.top_p).unwrap_or(1.0))
        .min_p(options.min_p.or(model.min_p).unwrap_or(0.0))
        .repetition_penalty(options.repetition_penalty.or(model.repetition_penalty).unwrap_or(1.0))
        .frequency_penalty(options.frequency_penalty)
        .presence_penalty(options.presence_penalty)
        .logit_bias(options.logit_bias.iter().map(bias).collect::<Result<_>>()?);
    sampling.validate()?;
    if sampling.temperature == 0.0 {
        note_idle_sampling(options, common);
    }
    let seed = common.seed.unwrap_or_else(|| if sampling.temperature > 0.0 { drawn_seed() } else { 0 });
    let mut config = GenerateConfig::default()
        .max_new_tokens(options.max_new_tokens)
        .sampling(sampling)
        .seed(seed)
        .stop_strings(options.stop.clone());
    if options.ignore_eos {
        config.end_tokens = EndTokens::none();
    }
    Ok(config)
}

/// Notes options that choose among tokens where the most probable one is taken.
fn note_idle_sampling(options: &Decoding, common: &Common) {
    let given = [
        ("--top-k", options.top_k.is_some_and(|k| k > 0)),
        ("--top-p", options.top_p.is_some_and(|p| p < 1.0)),
        ("--min-p", options.min_p.is_some_and(|p| p > 0.0)),
    ];
    for (option, _) in given.into_iter().filter(|(_, given)| *given && !common.quiet) {
        note(format_args!("note: {option} has no effect at temperature 0; give --temperature too"));
    }
}

/// A seed that differs from run to run. The standard library keys its hash maps with one.
fn drawn_seed() -> u64 {
    // Small enough for any JSON reader.
    RandomState::new().build_hasher().finish() >> 11
}

/// The sampling settings that a model asks for, in words.
pub fn described(model: &SamplingDefaults) -> String {
    let numbers = [
        ("temperature", model.temperature),
        ("top_k", model.top_k.map(|k| k as f64)),
        ("top_p", model.top_p),
        ("min_p", model.min_p),
        ("repetition_penalty", model.repetition_penalty),
    ];
    let given = numbers.into_iter().filter_map(|(name, number)| Some(format!("{name} {}", number?)));
    given.collect::<Vec<_>>().join(", ")
}
