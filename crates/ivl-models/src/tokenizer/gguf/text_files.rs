//! What the files of a Hugging Face directory would say about the tokens and templates of a GGUF file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::read::in_metadata;
use super::special_ids::{KEYS, SpecialIds};
use super::token_type::TokenType;
use crate::Error;
use crate::gguf::{Gguf, GgufMetadata};
use crate::tokenizer::TokenizerError;

/// Control tokens at which llama.cpp ends every generation, whatever the file says.
const ENDS: [&str; 10] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<EOT>",
];

/// Sampling settings in `general.sampling` and their names in a `generation_config.json`.
const SAMPLING: [(&str, &str); 5] = [
    ("general.sampling.temp", "temperature"),
    ("general.sampling.top_k", "top_k"),
    ("general.sampling.top_p", "top_p"),
    ("general.sampling.min_p", "min_p"),
    ("general.sampling.penalty_repeat", "repetition_penalty"),
];

/// The text files of a GGUF file.
#[derive(Debug)]
pub(crate) struct GgufTextFiles {
    /// Special tokens by role, as in `tokenizer_config.json`.
    pub(crate) tokenizer_config: Map<String, Value>,
    /// Ids that begin and end a text, and sampling settings, as in `generation_config.json`.
    pub(crate) generation_config: Map<String, Value>,
    /// The chat template, and that for tools.
    pub(crate) template: Option<(String, Option<String>)>,
}

impl GgufTextFiles {
    /// Those of a model; `None` for one that is no GGUF file.
    ///
    /// # Errors
    /// [`TokenizerError::Metadata`] for a file that cannot be read and for metadata of another type, [`TokenizerError::Gguf`] for ids
    /// that no token has.
    pub(crate) fn of(path: &Path) -> Result<Option<Self>, TokenizerError> {
        if !Gguf::is_named_so(path) || !path.is_file() {
            return Ok(None);
        }
        let read = || Self::read(Gguf::open(path)?.metadata());
        read().map(Some).map_err(in_metadata)
    }

    fn read(metadata: &GgufMetadata) -> Result<Self, Error> {
        let ids = SpecialIds::read(|key| metadata.opt_id(key))?;
        let is_sentencepiece = metadata.opt_text("tokenizer.ggml.model")? == Some("llama");
        let ids = if is_sentencepiece { ids.or_sentencepiece() } else { ids };
        let tokens = metadata.opt_array("tokenizer.ggml.tokens")?.map_or(0, |tokens| tokens.len());
        ids.check(tokens).map_err(|error| TokenizerError::gguf(metadata.path(), error))?;
        let names = names(metadata, &ids)?;
        let roles = ids.in_order().into_iter().zip(KEYS);
        let tokenizer_config =
            roles.filter_map(|(id, (_, role))| Some((role.to_owned(), json!(names.get(&id?)?)))).collect();
        Ok(Self {
            tokenizer_config,
            generation_config: generation_config(metadata, &ids)?,
            template: template(metadata)?,
        })
    }
}

/// The text of every special token.
fn names<'a>(metadata: &'a GgufMetadata, ids: &SpecialIds) -> Result<BTreeMap<u32, &'a str>, Error> {
    let wanted: BTreeSet<u32> = ids.in_order().into_iter().flatten().collect();
    let Some(texts) = metadata.opt_texts("tokenizer.ggml.tokens")? else { return Ok(BTreeMap::new()) };
    Ok((0..).zip(texts).filter(|(id, text)| wanted.contains(id) && !text.is_empty()).collect())
}

fn generation_config(metadata: &GgufMetadata, ids: &SpecialIds) -> Result<Map<String, Value>, Error> {
    let mut ends: BTreeSet<u32> = ids.ends().collect();
    if let (Some(texts), Some(types)) =
        (metadata.opt_texts("tokenizer.ggml.tokens")?, metadata.opt_integers("tokenizer.ggml.token_type")?)
    {
        let control = |number| TokenType::of(number) == Some(TokenType::Control);
        let named =
            (0..).zip(texts.zip(types)).filter(|(_, (text, number))| ENDS.contains(text) && control(*number));
        ends.extend(named.map(|(id, _)| id));
    }
    let mut config = Map::new();
    // The token of the file goes first: it is what ends a text.
    let first = ids.eos.into_iter().chain(ends.into_iter().filter(|id| Some(*id) != ids.eos));
    config.insert("eos_token_id".to_owned(), first.collect());
    for (id, field) in [(ids.bos, "bos_token_id"), (ids.padding, "pad_token_id")] {
        config.extend(id.map(|id| (field.to_owned(), id.into())));
    }
    for (key, field) in SAMPLING {
        let whole = |number: f64| if field == "top_k" { json!(number as u64) } else { json!(number) };
        config.extend(metadata.opt_number(key)?.map(|number| (field.to_owned(), whole(number))));
    }
    if config.get("temperature").and_then(Value::as_f64).is_some_and(|temperature| temperature > 0.0) {
        config.insert("do_sample".to_owned(), true.into());
    }
    Ok(config)
}

/// `tokenizer.chat_template`, and the variant for tools.
fn template(metadata: &GgufMetadata) -> Result<Option<(String, Option<String>)>, Error> {
    let text = |key: &str| metadata.opt_text(key).map(|text| text.map(str::to_owned));
    let tool_use = text("tokenizer.chat_template.tool_use")?;
    Ok(text("tokenizer.chat_template")?.map(|template| (template, tool_use)))
}
