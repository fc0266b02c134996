//! Tokenizers of directories without a `tokenizer.json`: a vocabulary and its merges, or a SentencePiece model. What the files leave
//! out is what the tokenizer's class in transformers 5 says; ivl reads the classes of [`CLASSES`], whose ids it gives exactly.

mod byte_level;
mod sentencepiece;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::error::{TokenizerError, object};
use super::marked_spaces;
use super::special_template::tokens_around;
use super::special_tokens::SpecialTokens;
use super::stages::{ModelFlags, Stages};

type Invalid = Box<dyn std::error::Error + Send + Sync>;

/// A class of tokenizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Merges of bytes, words as GPT-2 cuts them.
    Gpt2,
    /// Merges of bytes, words as Qwen2 cuts them.
    Qwen2,
    /// Merges of letters, of a SentencePiece model.
    Llama,
}

/// The classes that are read, and the model types whose tokenizer has a class where no file names one.
const CLASSES: [(&str, &[&str], Class); 3] = [
    ("GPT2Tokenizer", &["gpt2"], Class::Gpt2),
    ("Qwen2Tokenizer", &["qwen2", "qwen3"], Class::Qwen2),
    ("LlamaTokenizer", &["llama"], Class::Llama),
];

impl Class {
    fn of(dir: &Path, config: &Map<String, Value>) -> Result<Option<Self>, TokenizerError> {
        let find = |fits: &dyn Fn(&str, &[&str]) -> bool| {
            CLASSES.iter().find(|(name, types, _)| fits(name, types)).map(|(.., class)| *class)
        };
        if let Some(name) = config.get("tokenizer_class").and_then(Value::as_str) {
            return Ok(find(&|class, _| class == name.trim_end_matches("Fast")));
        }
        let model = object(&dir.join("config.json"))?.unwrap_or_default();
        let model_type = model.get("model_type").and_then(Value::as_str).unwrap_or_default();
        Ok(find(&|_, types| types.contains(&model_type)))
    }

    /// The files that it is read from.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Gpt2 | Self::Qwen2 => &["vocab.json", "merges.txt"],
            Self::Llama => &["tokenizer.model"],
        }
    }
}

/// The tokenizer of a directory, its stages and the first of its files; nothing if the directory does not hold the files of a class that
/// is read.
///
/// # Errors
/// [`TokenizerError::File`] and [`TokenizerError::Invalid`] for files that are there and cannot be read.
pub(super) fn read_directory(
    dir: &Path,
) -> Result<Option<(tokenizers::Tokenizer, Stages, PathBuf)>, TokenizerError> {
    let config = object(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
    let Some(class) = Class::of(dir, &config)? else { return Ok(None) };
    let paths: Vec<PathBuf> = class.files().iter().map(|file| dir.join(file)).collect();
    if !paths.iter().all(|path| path.is_file()) {
        return Ok(None);
    }
    let mut inner = match class {
        Class::Gpt2 | Class::Qwen2 => byte_level::read(&paths[0], &paths[1])?,
        Class::Llama => match sentencepiece::read(&paths[0])? {
            Some(inner) => inner,
            None => return Ok(None),
        },
    };
    let invalid = |source: Invalid| TokenizerError::Invalid { path: paths[0].clone(), source };
    // Special tokens that the class names are found whole in a text.
    let special = SpecialTokens::from_dir(dir)?;
    let known = special.iter().filter(|(_, token)| inner.token_to_id(token).is_some());
    let known: Vec<_> =
        known.map(|(_, token)| tokenizers::AddedToken::from(token.to_owned(), true)).collect();
    inner.add_tokens(known).map_err(invalid)?;
    let mut stages = class_stages(class, &config);
    stages.post_processor = post_processor(&config, &special, &inner);
    put(&mut inner, &stages).map_err(invalid)?;
    let first = paths[0].clone();
    Ok(Some((inner, stages, first)))
}

/// Normalisation, pre-tokenization and decoding of a class.
fn class_stages(class: Class, config: &Map<String, Value>) -> Stages {
    let flag = |field: &str| config.get(field).and_then(Value::as_bool);
    let bytes = |space: bool, regex: bool| json!({"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": regex});
    let space = flag("add_prefix_space");
    let (normalizer, pre_tokenizer, decoder) = match class {
        Class::Gpt2 => (Value::Null, bytes(space.unwrap_or(false), true), bytes(true, true)),
        Class::Qwen2 => {
            let split = json!({
                "type": "Split", "pattern": {"Regex": byte_level::QWEN2_WORDS}, "behavior": "Isolated", "invert": false,
            });
            let cuts = [split, bytes(space.unwrap_or(false), false)];
            (json!({"type": "NFC"}), json!({"type": "Sequence", "pretokenizers": cuts}), bytes(true, true))
        }
        Class::Llama => {
            let adds_space = space.unwrap_or(true);
            let scheme = match (adds_space, flag("legacy").unwrap_or(false)) {
                (false, _) => "never",
                (true, true) => "always",
                (true, false) => "first",
            };
            let cut =
                json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
            (Value::Null, cut, marked_spaces::decoder(adds_space))
        }
    };
    let model = ModelFlags { byte_fallback: (class == Class::Llama).then_some(true) };
    Stages { normalizer, pre_tokenizer, post_processor: Value::Null, decoder, model }
}

/// The tokens around a text: those that `add_bos_token` and `add_eos_token` ask for.
fn post_processor(
    config: &Map<String, Value>,
    special: &SpecialTokens,
    inner: &tokenizers::Tokenizer,
) -> Value {
    let token = |flag: &str, role: &str| {
        let is_added = config.get(flag).and_then(Value::as_bool).unwrap_or(false);
        let name = special.get(role).filter(|_| is_added)?;
        Some((name.to_owned(), inner.token_to_id(name)?))
    };
    tokens_around(token("add_bos_token", "bos_token"), token("add_eos_token", "eos_token"), [0, 1])
}

/// Puts the stages into a tokenizer.
fn put(inner: &mut tokenizers::Tokenizer, stages: &Stages) -> Result<(), Invalid> {
    fn stage<T: DeserializeOwned>(json: &Value) -> Result<Option<T>, Invalid> {
        Ok(if json.is_null() { None } else { Some(serde_json::from_value(json.clone())?) })
    }
    inner
        .with_normalizer(stage::<tokenizers::NormalizerWrapper>(&stages.normalizer)?)?
        .with_pre_tokenizer(stage::<tokenizers::PreTokenizerWrapper>(&stages.pre_tokenizer)?)
        .with_post_processor(stage::<tokenizers::PostProcessorWrapper>(&stages.post_processor)?)
        .with_decoder(stage::<tokenizers::DecoderWrapper>(&stages.decoder)?);
    Ok(())
}
