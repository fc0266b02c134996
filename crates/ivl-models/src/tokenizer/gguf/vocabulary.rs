//! The tokenizer of a GGUF file as its metadata has it, checked.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::error::GgufTokenizerError;
use super::merges::Merge;
use super::special_ids::SpecialIds;
use super::token_type::TokenType;
use crate::tokenizer::error::MOST_TOKENS;
use crate::tokenizer::padding::is_padding;
use crate::tokenizer::unchecked::LONGEST_PIECE;

/// Bytes of the longest token.
const LONGEST_TOKEN: usize = 1 << 14;

/// Bytes of the longest token whose splits are searched for merges.
const LONGEST_MERGED: usize = 1 << 10;

/// `tokenizer.ggml.model`: how tokens are found in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenModel {
    /// `llama`: SentencePiece's merges of letters, with bytes for letters without a token.
    SentencePiece,
    /// `gpt2`: merges of bytes, each written as a letter.
    ByteLevel,
    /// `gemma4`: merges of letters, which the file lists.
    Gemma4,
    /// `t5`: the most probable sequence of tokens.
    Unigram,
}

impl TokenModel {
    const NAMES: [(&'static str, Self); 4] = [
        ("llama", Self::SentencePiece),
        ("gpt2", Self::ByteLevel),
        ("gemma4", Self::Gemma4),
        ("t5", Self::Unigram),
    ];

    pub(super) fn of(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, model)| *model)
    }

    /// Whether a space is written as `▁`.
    pub(super) fn marks_spaces(self) -> bool {
        self != Self::ByteLevel
    }
}

impl fmt::Display for TokenModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, model)| model == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// The tokenizer of a GGUF file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GgufVocabulary {
    pub(super) model: TokenModel,
    /// `tokenizer.ggml.pre`; means something only for [`TokenModel::ByteLevel`].
    pub(super) pre: Option<String>,
    /// `general.architecture`: files of Gemma and Phi-3 leave out what it implies.
    pub(super) architecture: String,
    /// The text of every id.
    pub(super) tokens: Vec<String>,
    /// As long as `tokens`.
    pub(super) types: Vec<TokenType>,
    /// As long as `tokens`, or empty.
    pub(super) scores: Vec<f32>,
    /// In their order; empty if the file leaves them to the scores.
    pub(super) merges: Vec<Merge>,
    /// SentencePiece's table of normalization; may be empty.
    pub(super) charsmap: Vec<u8>,
    /// Whether a text is given a space before it.
    pub(super) adds_space: bool,
    /// Whether blanks at the ends of a text and repeated ones are dropped.
    pub(super) removes_blanks: bool,
    /// Whether a text begins with the beginning-of-text token.
    pub(super) adds_bos: bool,
    /// Whether a text ends with the end-of-text token.
    pub(super) adds_eos: bool,
    pub(super) ids: SpecialIds,
}

impl GgufVocabulary {
    /// Refuses what no tokenizer can be made of.
    pub(super) fn checked(self) -> Result<Self, GgufTokenizerError> {
        let count = self.tokens.len();
        for (key, got) in
            [("tokenizer.ggml.token_type", self.types.len()), ("tokenizer.ggml.scores", self.scores.len())]
        {
            let is_optional = key == "tokenizer.ggml.scores" && !self.needs_scores();
            if got != count && !(got == 0 && is_optional) {
                return Err(GgufTokenizerError::Length { key, got, expected: count });
            }
        }
        if let Some((id, &got)) = self.scores.iter().enumerate().find(|(_, score)| !score.is_finite()) {
            return Err(GgufTokenizerError::Score { id, got });
        }
        self.check_tokens()?;
        self.ids.check(count)?;
        self.check_merges()?;
        self.check_added()?;
        Ok(self)
    }

    fn check_tokens(&self) -> Result<(), GgufTokenizerError> {
        if self.tokens.is_empty() || self.tokens.len() > MOST_TOKENS as usize {
            return Err(GgufTokenizerError::TokenCount { got: self.tokens.len(), limit: MOST_TOKENS });
        }
        let limit = match self.model {
            TokenModel::Unigram => LONGEST_PIECE,
            _ if self.derives_merges() => LONGEST_MERGED,
            _ => LONGEST_TOKEN,
        };
        let mut owners: HashMap<&str, u32> = HashMap::with_capacity(self.tokens.len());
        for (token, id) in self.tokens.iter().zip(0u32..) {
            if token.len() > limit {
                return Err(GgufTokenizerError::TokenLength { id: id as usize, got: token.len(), limit });
            }
            if is_padding(token) {
                continue;
            }
            if let Some(first) = owners.insert(token, id) {
                return Err(GgufTokenizerError::DuplicateToken { token: token.clone(), first, second: id });
            }
        }
        Ok(())
    }

    fn check_merges(&self) -> Result<(), GgufTokenizerError> {
        let known: HashSet<&str> =
            self.tokens.iter().map(String::as_str).filter(|token| !is_padding(token)).collect();
        for (index, (left, right)) in self.merges.iter().enumerate() {
            let joined = format!("{left}{right}");
            if let Some(missing) =
                [left, right, &joined].into_iter().find(|part| !known.contains(part.as_str()))
            {
                let merge = format!("{left} {right}");
                return Err(GgufTokenizerError::Merge { index, merge, missing: missing.clone() });
            }
        }
        let lists = matches!(self.model, TokenModel::ByteLevel | TokenModel::Gemma4);
        if lists && self.merges.is_empty() { Err(GgufTokenizerError::NoMerges) } else { Ok(()) }
    }

    fn check_added(&self) -> Result<(), GgufTokenizerError> {
        for (adds, flag, id, key) in [
            (self.adds_bos, "tokenizer.ggml.add_bos_token", self.ids.bos, "tokenizer.ggml.bos_token_id"),
            (self.adds_eos, "tokenizer.ggml.add_eos_token", self.ids.eos, "tokenizer.ggml.eos_token_id"),
        ] {
            if adds && id.is_none() {
                return Err(GgufTokenizerError::NothingToAdd { flag, key });
            }
        }
        Ok(())
    }

    /// Whether merges come from the vocabulary.
    pub(super) fn derives_merges(&self) -> bool {
        self.model == TokenModel::SentencePiece && self.merges.is_empty()
    }

    fn needs_scores(&self) -> bool {
        self.model == TokenModel::Unigram || self.derives_merges() && !self.is_gemma()
    }

    /// Whether it is a tokenizer of the first three Gemma families. Their converters overwrite the scores of added tokens, so that
    /// only the order of the tokens is that of the merges; they write runs of spaces as spaces.
    pub(super) fn is_gemma(&self) -> bool {
        self.model == TokenModel::SentencePiece && self.architecture.starts_with("gemma")
    }

    /// Whether it is the tokenizer of Phi-3, whose control tokens take the blanks after them.
    pub(super) fn is_phi3(&self) -> bool {
        self.model == TokenModel::SentencePiece && self.architecture == "phi3"
    }

    /// The token of an id.
    pub(super) fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(String::as_str)
    }
}
