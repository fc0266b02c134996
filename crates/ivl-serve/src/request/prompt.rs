//! Prompts: text or token ids, each checked before anything is computed.

use ivl_core::Vocab;
use serde_json::Value;

use super::fields::{expected, ids};
use crate::api_error::ApiError;
use crate::catalog::Catalog;

/// Bytes for each token of the context that are tokenized first of a long text: most texts have fewer for a token.
const START_BYTES: usize = 16;

/// A prompt as tokens, with what echoing it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// Token ids, at least one.
    pub(crate) ids: Vec<u32>,
    /// The text that they stand for.
    pub(crate) text: String,
    /// Where in the text each token begins, in characters.
    pub(crate) offsets: Vec<usize>,
}

impl Prompt {
    /// A text, with the special tokens that the tokenizer adds or without.
    pub(crate) fn from_text(text: &str, special: bool, catalog: &Catalog) -> Result<Self, ApiError> {
        check_length(text, catalog)?;
        let encoded =
            catalog.tokenizer().encode_with_offsets(text, special).map_err(|_| cannot_tokenize())?;
        let size = catalog.vocab().size();
        if let Some((id, _)) = encoded.iter().find(|(id, _)| *id as usize >= size) {
            let token = catalog.tokenizer().id_to_token(*id).unwrap_or_default();
            let message = format!(
                "the prompt has the token {token:?} with id {id}, which the model cannot read: it has {size} ids"
            );
            return Err(ApiError::invalid("prompt", message));
        }
        let offsets = character_offsets(text, &encoded, catalog.vocab());
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

/// Refuses a text that is longer than the context before all of it is tokenized, which takes a hundred times its memory.
fn check_length(text: &str, catalog: &Catalog) -> Result<(), ApiError> {
    if text.len() > catalog.longest_text() {
        // A text of this size has more tokens than the context, whatever it says.
        let message =
            format!("the prompt has {} bytes, more than any text that fits into the context", text.len());
        let code = Some("context_length_exceeded");
        return Err(ApiError { code, ..ApiError::invalid("prompt", message) });
    }
    let start = catalog.context().saturating_mul(START_BYTES);
    if text.len() > start {
        let start = &text[..text.floor_char_boundary(start)];
        // Tokens at the cut may be others in the whole text.
        let whole_words = start.rfind(char::is_whitespace).map_or(start, |end| &start[..end]);
        let tokens = catalog.tokenizer().encode(whole_words, false).map_err(|_| cannot_tokenize())?.len();
        if tokens > catalog.context() + 16 {
            return Err(ApiError::too_long(tokens, catalog.context()));
        }
    }
    Ok(())
}

fn cannot_tokenize() -> ApiError {
    ApiError::invalid("prompt", "the prompt cannot be tokenized")
}

/// Where in the text each token begins, in characters. A token whose bytes stand where the one before it ends begins there,
/// whatever the offsets of the tokenizer say: some leave blanks out. Tokens that the tokenizer adds cover nothing and
/// begin where they stand.
fn character_offsets(text: &str, encoded: &[(u32, (usize, usize))], vocab: &Vocab) -> Vec<usize> {
    let mut offsets = Vec::with_capacity(encoded.len());
    let (mut end, mut counted, mut characters) = (0, 0, 0);
    for &(id, (from, to)) in encoded {
        let bytes = vocab.text_bytes(id);
        let (begins, ends) = match !bytes.is_empty() && text.as_bytes()[end..].starts_with(bytes) {
            true => (end, end + bytes.len()),
            false if to > from => (from.max(end), to.max(end)),
            false => (end, end),
        };
        let between = text.as_bytes().get(counted..begins).unwrap_or_default();
        characters += between.iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
        (counted, end) = (begins.max(counted), ends.min(text.len()));
        offsets.push(characters);
    }
    offsets
}

#[cfg(test)]
mod tests {
    use ivl_core::vocab::Token;

    use super::*;

    #[test]
    fn tokens_begin_where_their_text_does_whatever_the_tokenizer_trims() {
        let texts = ["ab", "   ", " c", "\u{fc}"].map(|text| Some(Token::text(text.as_bytes())));
        let vocab = Vocab::new(texts.into_iter().chain([Some(Token::control("<s>"))]).collect());
        // Offsets without blanks, as GPT-NeoX gives them.
        let trimmed = [(4, (0, 0)), (0, (0, 2)), (1, (5, 5)), (2, (6, 7)), (3, (7, 9))];
        assert_eq!(character_offsets("ab    c\u{fc}", &trimmed, &vocab), [0, 0, 2, 5, 7]);
        // A text that the tokenizer changed, where its own offsets are all there is.
        let lowered = [(0, (0, 2)), (2, (2, 4))];
        assert_eq!(character_offsets("AB C", &lowered, &vocab), [0, 2]);
    }
}
