//! Parameters that both kinds of completions share: model, values, sampling, limits.

use std::collections::HashSet;

use ivl_core::decode::{GenerateConfig, SamplingConfig};
use serde_json::Value;

use super::fields::{Fields, expected};
use crate::api_error::ApiError;
use crate::catalog::Catalog;
use crate::settings::Settings;

/// Stop strings of a request, and bytes of one.
const STOPS: (usize, usize) = (16, 1024);

/// Tokens that may be biased.
const BIASES: usize = 1024;

/// Fields that would change the answer and that this server does not support: they are refused, not ignored.
const UNSUPPORTED: [&str; 7] =
    ["tools", "functions", "grammar", "guided_json", "guided_regex", "suffix", "use_beam_search"];

/// A request apart from its prompts.
#[derive(Debug, Clone)]
pub(crate) struct CompletionParams {
    /// The name that the answer repeats.
    pub(crate) model: String,
    /// A weight for every value.
    pub(crate) weights: Vec<f64>,
    /// Whether to tell what the values changed.
    pub(crate) explain: bool,
    /// How to continue. The limit of new tokens is set when the prompt is known.
    pub(crate) config: GenerateConfig,
    /// The requested number of new tokens.
    pub(crate) max_tokens: Option<usize>,
    /// Continuations of each prompt.
    pub(crate) n: usize,
    /// Send pieces as they come.
    pub(crate) stream: bool,
    /// End a stream with the usage.
    pub(crate) include_usage: bool,
}

impl CompletionParams {
    pub(super) fn read(fields: &Fields, catalog: &Catalog, settings: &Settings) -> Result<Self, ApiError> {
        for name in UNSUPPORTED {
            if fields
                .get(name)
                .is_some_and(|value| *value != Value::Bool(false) && *value != Value::Array(vec![]))
            {
                return Err(ApiError::invalid(name, format!("`{name}` is not supported")));
            }
        }
        let format = fields.object("response_format")?;
        if format.is_some_and(|format| format.get("type").is_some_and(|kind| kind != "text")) {
            return Err(ApiError::invalid("response_format", "only `text` is supported"));
        }
        let ignore_end = fields.flag("ignore_eos")?;
        let stream = fields.flag("stream")?;
        let options = fields.object("stream_options")?;
        if options.is_some() && !stream {
            return Err(ApiError::invalid("stream_options", "`stream_options` is for `stream`: true alone"));
        }
        let model = fields.text("model")?;
        let (weights, explain) = values(fields, catalog, model)?;
        let limit = settings.max_tokens;
        let max_tokens = match fields.count("max_completion_tokens", 0, limit)? {
            Some(tokens) => Some(tokens),
            None => fields.count("max_tokens", 0, limit)?,
        };
        Ok(Self {
            model: model.unwrap_or(catalog.base()).to_owned(),
            weights,
            explain,
            config: GenerateConfig::default()
                .max_new_tokens(0)
                .sampling(sampling(fields, catalog)?)
                .seed(seed(fields)?)
                .end_tokens(if ignore_end { Vec::new() } else { catalog.end_tokens().to_vec() })
                .stop_strings(stops(fields)?),
            max_tokens,
            n: fields.count("n", 1, settings.max_choices.min(settings.max_rows))?.unwrap_or(1),
            stream,
            include_usage: options.map_or(Ok(false), |options| options.flag("include_usage"))?,
        })
    }
}

/// The weights requested by `model` and the extension field `ivl`, and whether to explain the changes.
///
/// `{"values": [{"id": .., "alpha": ..}], "explain": true}`: given values replace the one that the model's name stands for;
/// without an alpha they take their usual one.
pub(crate) fn values(
    fields: &Fields,
    catalog: &Catalog,
    model: Option<&str>,
) -> Result<(Vec<f64>, bool), ApiError> {
    let named = catalog.weights_of(model).ok_or_else(|| ApiError::no_model(model.unwrap_or_default()))?;
    let Some(ivl) = fields.object("ivl")? else { return Ok((named, false)) };
    let explain = ivl.flag("explain")?;
    let Some(list) = ivl.get("values") else { return Ok((named, explain)) };
    let list =
        list.as_array().ok_or_else(|| expected("ivl.values", "a list of objects with `id` and `alpha`"))?;
    let mut weights = vec![0.0; catalog.values().len()];
    let mut seen = HashSet::new();
    for entry in list {
        let entry = Fields::from_value(entry).ok_or_else(|| expected("ivl.values", "a list of objects"))?;
        let id = entry.text("id")?.ok_or_else(|| expected("ivl.values", "a list of objects with `id`"))?;
        let index = catalog.value_index(id).ok_or_else(|| {
            ApiError::invalid(
                "ivl.values",
                format!("there is no value `{id}` here; GET /v1/models lists them"),
            )
        })?;
        if !seen.insert(index) {
            return Err(ApiError::invalid("ivl.values", format!("the value `{id}` is given twice")));
        }
        let alpha =
            entry.number("alpha", -1e6, 1e6).map_err(|_| expected("ivl.values", "given a finite `alpha`"))?;
        weights[index] = alpha.unwrap_or(catalog.values()[index].alpha);
    }
    Ok((weights, explain))
}

fn sampling(fields: &Fields, catalog: &Catalog) -> Result<SamplingConfig, ApiError> {
    let vocab = catalog.vocab().size();
    let default = SamplingConfig::default();
    let top_p = fields.number("top_p", 0.0, 1.0)?.unwrap_or(default.top_p);
    // 0 and -1 keep all, as in vLLM.
    let top_k = match fields.get("top_k") {
        Some(value) if value.as_i64() == Some(-1) => 0,
        _ => fields.count("top_k", 0, usize::MAX)?.unwrap_or(default.top_k),
    };
    let repetition_penalty = fields.number("repetition_penalty", 1e-3, 1e3)?;
    let config = SamplingConfig::default()
        .temperature(fields.number("temperature", 0.0, 100.0)?.unwrap_or(1.0))
        .top_k(top_k)
        // A mass of 0 keeps the most probable token.
        .top_p(top_p.max(f64::MIN_POSITIVE))
        .min_p(fields.number("min_p", 0.0, 1.0)?.unwrap_or(default.min_p))
        .repetition_penalty(repetition_penalty.unwrap_or(default.repetition_penalty))
        .frequency_penalty(fields.number("frequency_penalty", -100.0, 100.0)?.unwrap_or(0.0))
        .presence_penalty(fields.number("presence_penalty", -100.0, 100.0)?.unwrap_or(0.0))
        .logit_bias(biases(fields, vocab)?);
    Ok(config)
}

/// `{"token id": bias}`.
fn biases(fields: &Fields, vocab: usize) -> Result<Vec<(u32, f32)>, ApiError> {
    let Some(value) = fields.get("logit_bias") else { return Ok(Vec::new()) };
    let wanted =
        || expected("logit_bias", "an object from token ids of the model to numbers from -100 to 100");
    let map = value.as_object().filter(|map| map.len() <= BIASES).ok_or_else(wanted)?;
    let bias = |(id, bias): (&String, &Value)| {
        let id = id.parse::<u32>().ok().filter(|&id| (id as usize) < vocab)?;
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias))?;
        Some((id, bias as f32))
    };
    map.iter().map(|pair| bias(pair).ok_or_else(wanted)).collect()
}

/// Any 64-bit number; a random one where none is given.
fn seed(fields: &Fields) -> Result<u64, ApiError> {
    match fields.get("seed") {
        None => Ok(rand::random()),
        Some(value) => value
            .as_u64()
            .or_else(|| value.as_i64().map(i64::cast_unsigned))
            .ok_or_else(|| expected("seed", "a whole number")),
    }
}

fn stops(fields: &Fields) -> Result<Vec<String>, ApiError> {
    let wanted = || {
        let (count, bytes) = STOPS;
        expected("stop", &format!("a string or a list of at most {count} strings of at most {bytes} bytes"))
    };
    let stop = |value: &Value| value.as_str().filter(|stop| stop.len() <= STOPS.1).map(str::to_owned);
    match fields.get("stop") {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= STOPS.0 => {
            list.iter().map(|value| stop(value).ok_or_else(wanted)).collect()
        }
        Some(value) => Ok(vec![stop(value).ok_or_else(wanted)?]),
    }
}
