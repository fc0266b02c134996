//! The special tokens of a directory, wherever its files declare them.
//!
//! The order is that of transformers 5:
//!
//! 1. `tokenizer_config.json` names tokens by role (`bos_token`, .., and any other field that ends in `_token`), lists further ones
//!    (`extra_special_tokens`, once `additional_special_tokens`), and may hold tokens that `tokenizer.json` lacks
//!    (`added_tokens_decoder`).
//! 2. Without `added_tokens_decoder`, `special_tokens_map.json` goes before it, and `added_tokens.json` adds tokens.
//! 3. What none of them names is what the tokenizer's class assumes.
//!
//! Tokens that `tokenizer.json` lacks get the next ids, whatever ids the files give them. What is put around a text is what the
//! post-processor of `tokenizer.json` says: `add_bos_token` and `add_eos_token` change nothing.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::error::{TokenizerError, object};
use super::gguf::GgufTextFiles;

/// The roles that every tokenizer may name.
const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Defaults of the tokenizer classes of transformers: class, model types that imply it, tokens.
type ClassDefaults =
    (&'static [&'static str], &'static [&'static str], &'static [(&'static str, &'static str)]);
const CLASS_DEFAULTS: [ClassDefaults; 5] = [
    (
        &["LlamaTokenizer", "CodeLlamaTokenizer"],
        &["llama"],
        &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")],
    ),
    (
        &["GPT2Tokenizer", "CodeGenTokenizer"],
        &["gpt2", "phi"],
        &[("unk_token", "<|endoftext|>"), ("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>")],
    ),
    (
        &["GPTNeoXTokenizer"],
        &["gpt_neox"],
        &[
            ("unk_token", "<|endoftext|>"),
            ("bos_token", "<|endoftext|>"),
            ("eos_token", "<|endoftext|>"),
            ("pad_token", "<|padding|>"),
        ],
    ),
    (
        &["Qwen2Tokenizer"],
        &["qwen2", "qwen3"],
        &[("unk_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")],
    ),
    (
        &["GemmaTokenizer"],
        &["gemma", "gemma2"],
        &[
            ("unk_token", "<unk>"),
            ("bos_token", "<bos>"),
            ("eos_token", "<eos>"),
            ("pad_token", "<pad>"),
            ("mask_token", "<mask>"),
        ],
    ),
];

/// The special tokens that the files of a directory declare.
#[derive(Debug, Clone, Default)]
pub struct SpecialTokens {
    /// Text by role.
    named: BTreeMap<String, String>,
    /// From the class; `None` for a token that the vocabulary lacks.
    assumed: Vec<(&'static str, &'static str)>,
    /// Of `added_tokens_decoder`: how they are matched in a text goes before what `tokenizer.json` says.
    listed: Vec<AddedToken>,
    /// Further tokens that have to be in the vocabulary.
    required: Vec<AddedToken>,
}

impl SpecialTokens {
    /// Those of a directory, or of a GGUF file.
    ///
    /// # Errors
    /// [`TokenizerError::File`] or [`TokenizerError::Invalid`] for a file that is there and cannot be read.
    pub fn from_dir(dir: &Path) -> Result<Self, TokenizerError> {
        if let Some(files) = GgufTextFiles::of(dir)? {
            let mut tokens = Self::default();
            tokens.name(&files.tokenizer_config);
            return Ok(tokens);
        }
        let mut config = object(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
        let mut added: BTreeMap<u64, AddedToken> = BTreeMap::new();
        if let Some(listed) = config.get("added_tokens_decoder").and_then(Value::as_object) {
            let parse = |(id, token): (&String, &Value)| Some((id.parse().ok()?, added_token(token, false)?));
            added.extend(listed.iter().filter_map(parse));
        } else {
            // Older repositories. The map goes before the configuration.
            if let Some(map) = object(&dir.join("special_tokens_map.json"))? {
                config.extend(map);
            }
            let named: Vec<&str> = config.values().filter_map(content).collect();
            for (token, id) in object(&dir.join("added_tokens.json"))?.unwrap_or_default() {
                let special = named.contains(&token.as_str());
                added.extend(id.as_u64().map(|id| (id, AddedToken::from(token, special))));
            }
        }
        let mut tokens = Self { listed: added.into_values().collect(), ..Self::default() };
        let assumed = defaults(&config, dir)?;
        tokens.assumed = assumed.iter().filter(|(role, _)| !config.contains_key(*role)).copied().collect();
        tokens.name(&config);
        tokens.require_further(&config);
        Ok(tokens)
    }

    /// Tokens that a configuration names by role.
    fn name(&mut self, config: &Map<String, Value>) {
        for (role, value) in config {
            if (ROLES.contains(&role.as_str()) || role.ends_with("_token"))
                && let Some(token) = added_token(value, true)
            {
                self.named.insert(role.clone(), token.content.clone());
                self.require(token);
            }
        }
    }

    /// `extra_special_tokens`: a list, or an object of named ones; once `additional_special_tokens`.
    fn require_further(&mut self, config: &Map<String, Value>) {
        let given = |field: &str| {
            config.get(field).filter(|value| !value.is_null() && **value != Value::from([0; 0]))
        };
        match given("extra_special_tokens").or_else(|| given("additional_special_tokens")) {
            Some(Value::Array(list)) => {
                list.iter()
                    .filter_map(|value| added_token(value, true))
                    .for_each(|token| self.require(token));
            }
            Some(Value::Object(named)) => {
                for (role, value) in named {
                    if let Some(token) = added_token(value, true) {
                        self.named.insert(role.clone(), token.content.clone());
                        self.require(token);
                    }
                }
            }
            _ => {}
        }
    }

    fn require(&mut self, token: AddedToken) {
        match self.listed.iter_mut().find(|known| known.content == token.content) {
            Some(known) => known.special = true,
            None => self.required.push(token),
        }
    }

    /// Every token that is named or assumed, by role, as templates see them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = self.named.iter().map(|(role, token)| (role.as_str(), token.as_str()));
        named.chain(self.assumed.iter().copied())
    }

    /// The token of a role, such as `bos_token`.
    pub fn get(&self, role: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == role).map(|(_, token)| token)
    }

    /// Puts the tokens into a tokenizer that lacks them. Assumed tokens that it lacks are forgotten.
    pub(super) fn complete(&mut self, inner: &mut tokenizers::Tokenizer) -> tokenizers::Result<()> {
        let known = inner.get_added_tokens_decoder();
        let is_known = |token: &AddedToken| known.values().any(|other| other.content == token.content);
        let required = self.required.iter().filter(|token| !is_known(token));
        let tokens: Vec<AddedToken> = self.listed.iter().chain(required).cloned().collect();
        inner.add_tokens(tokens)?;
        self.assumed.retain(|(_, token)| inner.token_to_id(token).is_some());
        Ok(())
    }
}

/// The default of the tokenizer's class: that of `tokenizer_config.json`, else of the model's type.
fn defaults(
    config: &Map<String, Value>,
    dir: &Path,
) -> Result<&'static [(&'static str, &'static str)], TokenizerError> {
    let class =
        config.get("tokenizer_class").and_then(Value::as_str).map(|name| name.trim_end_matches("Fast"));
    let found = if let Some(class) = class {
        CLASS_DEFAULTS.iter().find(|(classes, ..)| classes.contains(&class))
    } else {
        let model = object(&dir.join("config.json"))?.unwrap_or_default();
        let model_type = model.get("model_type").and_then(Value::as_str).unwrap_or_default();
        CLASS_DEFAULTS.iter().find(|(_, types, _)| types.contains(&model_type))
    };
    Ok(found.map_or(&[], |(.., tokens)| tokens))
}

/// The text of a token that is written as a string or as an object.
fn content(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// A token that is written as a string or as an object; `special` if its place says so.
fn added_token(value: &Value, special: bool) -> Option<AddedToken> {
    let token = AddedToken::from(content(value)?, special);
    let Value::Object(fields) = value else { return Some(token) };
    let flag = |field: &str| fields.get(field).and_then(Value::as_bool);
    let special = special || flag("special").unwrap_or(false);
    let normalized = flag("normalized").unwrap_or(true);
    Some(
        token
            .single_word(flag("single_word").unwrap_or(false))
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false))
            .normalized(normalized)
            .special(special),
    )
}
