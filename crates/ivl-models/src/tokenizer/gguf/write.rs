//! A tokenizer into the metadata of a GGUF file.

use super::error::GgufTokenizerError;
use super::special_ids::KEYS;
use super::vocabulary::{GgufVocabulary, TokenModel};
use crate::Tokenizer;
use crate::gguf::MetadataWriter;

/// All that a GGUF file says about texts: the tokens, the ends of texts and turns, the chat templates.
#[derive(Debug, Clone, Copy)]
pub struct GgufTexts<'a> {
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The number of logits; ids between the tokens and this number get names that no text has.
    pub vocab_size: usize,
    /// `general.architecture`: Gemma's readers order merges in a way of their own.
    pub architecture: &'a str,
    /// Tokens that end a text or a turn, beside the tokenizer's own.
    pub ends: &'a [u32],
    /// The chat template.
    pub template: Option<&'a str>,
    /// The chat template for tools.
    pub tool_template: Option<&'a str>,
}

impl GgufTexts<'_> {
    /// Writes the keys that begin with `tokenizer.`, and returns what the format has no place for, as sentences.
    ///
    /// # Errors
    /// [`GgufTokenizerError::Unwritable`] for a tokenizer that no reader of such files would understand.
    pub fn write(&self, writer: &mut MetadataWriter) -> Result<Vec<String>, GgufTokenizerError> {
        let (vocabulary, notes) =
            GgufVocabulary::of(self.tokenizer, self.architecture, self.vocab_size, self.ends)?;
        vocabulary.write(writer);
        if let Some(template) = self.template {
            writer.text("tokenizer.chat_template", template);
        }
        if let Some(template) = self.tool_template {
            writer.texts("tokenizer.chat_templates", &["tool_use"]);
            writer.text("tokenizer.chat_template.tool_use", template);
        }
        Ok(notes)
    }
}

impl GgufVocabulary {
    fn write(&self, writer: &mut MetadataWriter) {
        writer.text("tokenizer.ggml.model", &self.model.to_string());
        writer.text("tokenizer.ggml.pre", self.pre.as_deref().unwrap_or("default"));
        writer.texts("tokenizer.ggml.tokens", &self.tokens);
        if !self.scores.is_empty() {
            writer.numbers("tokenizer.ggml.scores", &self.scores);
        }
        let types: Vec<i32> = self.types.iter().map(|kind| kind.number()).collect();
        writer.integers("tokenizer.ggml.token_type", &types);
        if !self.merges.is_empty() {
            let merges: Vec<String> =
                self.merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
            writer.texts("tokenizer.ggml.merges", &merges);
        }
        for (id, (key, _)) in self.ids.in_order().into_iter().zip(KEYS) {
            if let Some(id) = id {
                writer.size(key, id);
            }
        }
        writer.flag("tokenizer.ggml.add_bos_token", self.adds_bos);
        writer.flag("tokenizer.ggml.add_eos_token", self.adds_eos);
        if self.model == TokenModel::SentencePiece {
            writer.flag("tokenizer.ggml.add_space_prefix", self.adds_space);
        }
    }
}
