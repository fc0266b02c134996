//! How a model asks to be sampled: the settings of `generation_config.json`.

use serde_json::{Map, Value};

use super::open::Checkpoint;
use crate::tokenizer::configured_ids::generation_config;

/// Sampling settings of a checkpoint; `None` where it has none.
///
/// transformers samples only if `do_sample` is true. Without it the temperature and the cuts of the distribution are left
/// out; the repetition penalty also changes greedy decoding.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct SamplingDefaults {
    /// `temperature`; 1 where `do_sample` is true and no temperature is given.
    pub temperature: Option<f64>,
    /// `top_k`; 0 keeps all tokens.
    pub top_k: Option<usize>,
    /// `top_p`.
    pub top_p: Option<f64>,
    /// `min_p`.
    pub min_p: Option<f64>,
    /// `repetition_penalty`.
    pub repetition_penalty: Option<f64>,
}

impl SamplingDefaults {
    fn new(json: &Map<String, Value>) -> Self {
        let number = |field: &str| json.get(field).and_then(Value::as_f64);
        let within = |field: &str, low: f64, high: f64| number(field).filter(|x| (low..=high).contains(x));
        let repetition_penalty = within("repetition_penalty", 1e-3, 1e3);
        if json.get("do_sample").and_then(Value::as_bool) != Some(true) {
            return Self { repetition_penalty, ..Self::default() };
        }
        Self {
            temperature: Some(within("temperature", 0.0, 100.0).unwrap_or(1.0)),
            top_k: json.get("top_k").and_then(Value::as_u64).map(|k| k as usize),
            top_p: within("top_p", f64::MIN_POSITIVE, 1.0),
            min_p: within("min_p", 0.0, 1.0),
            repetition_penalty,
        }
    }

    /// Whether the checkpoint has no such setting.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Checkpoint {
    /// The sampling settings of `generation_config.json`. One that cannot be read is a [note](Self::notes).
    pub fn sampling_defaults(&self) -> SamplingDefaults {
        SamplingDefaults::new(&generation_config(self.path()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_count_where_the_model_samples() {
        let read = |json: Value| SamplingDefaults::new(json.as_object().expect("an object"));
        let all = json!({"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.0});
        let sampled = read(all);
        assert_eq!((sampled.temperature, sampled.top_k), (Some(0.6), Some(20)));
        assert_eq!((sampled.top_p, sampled.min_p), (Some(0.95), Some(0.0)));
        assert_eq!(read(json!({"do_sample": true})).temperature, Some(1.0));
        let greedy = read(json!({"temperature": 0.6, "top_k": 20, "repetition_penalty": 1.05}));
        assert_eq!((greedy.temperature, greedy.repetition_penalty), (None, Some(1.05)));
        assert!(read(json!({"eos_token_id": 2})).is_empty());
        // Values that no sampler takes are as good as absent.
        assert!(read(json!({"do_sample": true, "top_p": 7.0, "temperature": -1.0})).top_p.is_none());
    }
}
