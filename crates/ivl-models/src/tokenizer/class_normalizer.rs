//! Normalisation that a tokenizer's class in transformers adds to its file.

use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::normalizers::{NFC, NormalizerWrapper};

use crate::files::read_json;

/// Classes of transformers 5 that compose letters and their marks (Unicode's NFC) whatever `tokenizer.json` says, as the tokenizers did
/// that their models were trained with.
const COMPOSING: [&str; 3] = ["Qwen2Tokenizer", "GPTNeoXTokenizer", "CohereTokenizer"];

/// The normalizer of the class that `tokenizer_config.json` names, for a `tokenizer.json` without one: files that were made by
/// conversion can lack it. A file that cannot be read is reported where its special tokens are.
pub(super) fn class_normalizer(dir: &Path) -> Option<NormalizerWrapper> {
    let config: Map<String, Value> = read_json(&dir.join("tokenizer_config.json")).ok()?;
    let class = config.get("tokenizer_class")?.as_str()?;
    let class = class.strip_suffix("Fast").unwrap_or(class);
    COMPOSING.contains(&class).then(|| NFC.into())
}
