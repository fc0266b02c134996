//! Prompts: text or token ids, each checked before anything is computed.

use serde_json::Value;

use super::fields::{expected, ids};
use crate::api_error::ApiError;
use crate::catalog::Catalog;

/// A prompt as tokens, with what echoing it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// Token ids, at least one.
    pub(crate) ids: Vec<u32>,
    /// Their text.
    pub(crate) text: String,
    /// Where in the text each token begins, in characters.
    pub(crate) offsets: Vec<usize>,
}

impl Prompt {
    /// A text, with the special tokens that the tokenizer adds or without.
    pub(crate) fn from_text(text: &str, special: bool, catalog: &Catalog) -> Result<Self, ApiError> {
        let longest = catalog.longest_text();
        if text.len() > longest {
            // Not tokenized: a text of this size has more tokens than the context, whatever it says.
            let message =
                format!("the prompt has {} bytes, more than any text that fits into the context", text.len());
            let code = Some("context_length_exceeded");
            return Err(ApiError { code, ..ApiError::invalid("prompt", message) });
        }
        let encoded = catalog
            .tokenizer()
            .encode_with_offsets(text, special)
            .map_err(|_| ApiError::invalid("prompt", "the prompt cannot be tokenized"))?;
        let mut offsets = Vec::with_capacity(encoded.len());
        let (mut bytes, mut chars) = (0, 0);
        for &(_, (start, end)) in &encoded {
            // Offsets never go back, but for tokens that the tokenizer adds: they cover nothing and keep their place.
            if end > start && start > bytes {
                let between = text.as_bytes().get(bytes..start).unwrap_or_default();
                chars += between.iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
                bytes = start;
            }
            offsets.push(chars);
        }
        let ids = encoded.into_iter().map(|(id, _)| id).collect();
        Self { ids, text: text.to_owned(), offsets }.checked(catalog)
    }

    /// Token ids as they are.
    pub(crate) fn from_ids(ids: Vec<u32>, catalog: &Catalog) -> Result<Self, ApiError> {
        if ids.len() >= catalog.context() {
            return Err(ApiError::too_long(ids.len(), catalog.context()));
        }
        let mut bytes = Vec::new();
        let mut starts = Vec::with_capacity(ids.len());
        for &id in &ids {
            starts.push(bytes.len());
            bytes.extend_from_slice(catalog.vocab().text_bytes(id));
        }
        // A character counts where it begins.
        let mut chars = 0;
        let before: Vec<usize> = bytes
            .iter()
            .map(|byte| {
                chars += usize::from(byte & 0xC0 != 0x80);
                chars
            })
            .collect();
        let offsets = starts.iter().map(|&start| if start == 0 { 0 } else { before[start - 1] }).collect();
        let text = catalog.tokenizer().decode(&ids, true).unwrap_or_default();
        Self { ids, text, offsets }.checked(catalog)
    }

    fn checked(self, catalog: &Catalog) -> Result<Self, ApiError> {
        if self.ids.is_empty() {
            return Err(ApiError::invalid("prompt", "the prompt is empty: give at least one token"));
        }
        let size = catalog.vocab().size();
        if let Some(id) = self.ids.iter().find(|&&id| id as usize >= size) {
            let token = catalog.tokenizer().id_to_token(*id).unwrap_or_default();
            let message = format!(
                "the prompt has token {id} ({token:?}), of which the model has no logit: it has {size}"
            );
            return Err(ApiError::invalid("prompt", message));
        }
        if self.ids.len() >= catalog.context() {
            return Err(ApiError::too_long(self.ids.len(), catalog.context()));
        }
        Ok(self)
    }

    /// Refuses a prompt that a value in use cannot read.
    ///
    /// # Errors
    /// [`ApiError::invalid`] names the value.
    pub(crate) fn check_readable(&self, weights: &[f64], catalog: &Catalog) -> Result<(), ApiError> {
        catalog.check_readable(&self.text, weights).map_err(|message| ApiError::invalid("prompt", message))
    }

    /// The prompts of a completion: a string, strings, ids, or lists of ids.
    pub(crate) fn read_all(
        value: Option<&Value>,
        most: usize,
        catalog: &Catalog,
    ) -> Result<Vec<Self>, ApiError> {
        let wanted =
            || expected("prompt", "a string, a list of strings, a list of token ids, or a list of those");
        let value = value.ok_or_else(wanted)?;
        if let Some(text) = value.as_str() {
            return Ok(vec![Self::from_text(text, true, catalog)?]);
        }
        let list = value.as_array().filter(|list| !list.is_empty()).ok_or_else(wanted)?;
        if list[0].is_number() {
            return Ok(vec![Self::from_ids(ids(value).ok_or_else(wanted)?, catalog)?]);
        }
        if list.len() > most {
            return Err(expected("prompt", &format!("at most {most} prompts")));
        }
        let prompt = |value: &Value| match value.as_str() {
            Some(text) => Self::from_text(text, true, catalog),
            None => Self::from_ids(ids(value).ok_or_else(wanted)?, catalog),
        };
        list.iter().map(prompt).collect()
    }
}
