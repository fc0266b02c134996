//! How tokens are chosen.

use ivl_core::decode::SamplingConfig;
use serde_json::Value;

use super::fields::{Fields, expected};
use crate::api_error::ApiError;
use crate::catalog::Catalog;

/// Tokens that may be biased.
const MOST_BIASES: usize = 1024;

/// Settings of a request; those that it does not name are the model's own, else those of the OpenAI API.
pub(super) fn sampling(fields: &Fields, catalog: &Catalog) -> Result<SamplingConfig, ApiError> {
    let (default, own) = (SamplingConfig::default(), catalog.sampling());
    let top_p = fields.number("top_p", 0.0, 1.0)?.or(own.top_p).unwrap_or(default.top_p);
    // 0 and -1 keep all, as in vLLM.
    let top_k = match fields.get("top_k") {
        Some(value) if value.as_i64() == Some(-1) => 0,
        _ => fields.count("top_k", 0, usize::MAX)?.or(own.top_k).unwrap_or(default.top_k),
    };
    let repetition_penalty = fields.number("repetition_penalty", 1e-3, 1e3)?.or(own.repetition_penalty);
    Ok(SamplingConfig::default()
        .temperature(fields.number("temperature", 0.0, 100.0)?.or(own.temperature).unwrap_or(1.0))
        .top_k(top_k)
        // A mass of 0 keeps the most probable token.
        .top_p(top_p.max(f64::MIN_POSITIVE))
        .min_p(fields.number("min_p", 0.0, 1.0)?.or(own.min_p).unwrap_or(default.min_p))
        .repetition_penalty(repetition_penalty.unwrap_or(default.repetition_penalty))
        .frequency_penalty(fields.number("frequency_penalty", -100.0, 100.0)?.unwrap_or(0.0))
        .presence_penalty(fields.number("presence_penalty", -100.0, 100.0)?.unwrap_or(0.0))
        .logit_bias(biases(fields, catalog.vocab().size())?))
}

/// `{"token id": bias}`.
fn biases(fields: &Fields, vocab: usize) -> Result<Vec<(u32, f32)>, ApiError> {
    let Some(value) = fields.get("logit_bias") else { return Ok(Vec::new()) };
    let wanted =
        || expected("logit_bias", "an object from token ids of the model to numbers from -100 to 100");
    let map = value.as_object().filter(|map| map.len() <= MOST_BIASES).ok_or_else(wanted)?;
    let bias = |(id, bias): (&String, &Value)| {
        let id = id.parse::<u32>().ok().filter(|&id| (id as usize) < vocab)?;
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias))?;
        Some((id, bias as f32))
    };
    map.iter().map(|pair| bias(pair).ok_or_else(wanted)).collect()
}

/// The seed of a request: any 64-bit number.
pub(super) fn seed(fields: &Fields) -> Result<Option<u64>, ApiError> {
    let Some(value) = fields.get("seed") else { return Ok(None) };
    let seed = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
    seed.map(Some).ok_or_else(|| expected("seed", "a whole number"))
}
