//! The stages of a `tokenizer.json`.

use serde::Deserialize;
use serde_json::Value;

/// Normalisation and pre-tokenization of a `tokenizer.json`, without its vocabulary, which the tokenizer itself reads once.
#[derive(Debug, Deserialize)]
pub(super) struct Stages {
    #[serde(default)]
    pub(super) normalizer: Value,
    #[serde(default)]
    pub(super) pre_tokenizer: Value,
    #[serde(default)]
    pub(super) post_processor: Value,
    #[serde(default)]
    pub(super) decoder: Value,
    #[serde(default)]
    pub(super) model: ModelFlags,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ModelFlags {
    #[serde(default)]
    pub(super) byte_fallback: Option<bool>,
}

/// All parts of some stages.
pub(super) fn parts<'a>(stages: &[&'a Value]) -> Vec<&'a Value> {
    let mut parts = Vec::new();
    for stage in stages {
        collect_parts(stage, &mut parts);
    }
    parts
}

/// The stages of a (possibly nested) pipeline.
fn collect_parts<'a>(stage: &'a Value, parts: &mut Vec<&'a Value>) {
    for list in ["decoders", "pretokenizers", "normalizers", "processors"] {
        for part in stage[list].as_array().into_iter().flatten() {
            collect_parts(part, parts);
        }
    }
    parts.push(stage);
}
