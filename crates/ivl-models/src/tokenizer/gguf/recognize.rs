//! From a tokenizer to the lists of a GGUF file: which of its kinds a `tokenizer.json` is.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use super::error::GgufTokenizerError;
use super::merges::{Merge, merges_by_score, scores_of_merges};
use super::pre_tokenizer::PreTokenizer;
use super::special_ids::SpecialIds;
use super::token_type::TokenType;
use super::vocabulary::{GgufVocabulary, TokenModel};
use crate::Tokenizer;
use crate::tokenizer::stages::parts;

/// The parts of a `tokenizer.json` that have a place in a GGUF file.
#[derive(Deserialize)]
struct TokenizerJson {
    added_tokens: Vec<Added>,
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    vocab: Value,
    #[serde(default)]
    merges: Vec<Merge>,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
}

fn unwritable(what: &'static str, got: impl Into<String>, expected: impl Into<String>) -> GgufTokenizerError {
    GgufTokenizerError::Unwritable { what, got: got.into(), expected: expected.into() }
}

impl GgufVocabulary {
    /// The lists of a tokenizer, for a model with `size` logits, and what they do not say.
    pub(super) fn of(
        tokenizer: &Tokenizer,
        architecture: &str,
        size: usize,
        ends: &[u32],
    ) -> Result<(Self, Vec<String>), GgufTokenizerError> {
        let json = tokenizer.to_json().map_err(|error| GgufTokenizerError::Build(error.into()))?;
        let json: TokenizerJson =
            serde_json::from_str(&json).map_err(|error| GgufTokenizerError::Build(error.into()))?;
        let mut notes = json.lost_flags();
        let model = json.kind(architecture)?;
        let around = Around::of(tokenizer)?;
        let (tokens, types) = json.slots(model, tokenizer, size)?;
        let mut vocabulary = Self {
            model,
            pre: None,
            architecture: architecture.to_owned(),
            tokens,
            types,
            scores: Vec::new(),
            merges: json.model.merges.clone(),
            charsmap: Vec::new(),
            adds_space: false,
            removes_blanks: false,
            adds_bos: around.before.is_some(),
            adds_eos: around.after.is_some(),
            ids: ids(tokenizer, &around, ends, size, &mut notes),
        };
        if model == TokenModel::ByteLevel {
            vocabulary.pre = Some(json.pre()?.to_owned());
        } else {
            vocabulary.adds_space = json.adds_space(&mut notes)?;
        }
        if model == TokenModel::SentencePiece {
            vocabulary.score()?;
        }
        Ok((vocabulary.checked()?, notes))
    }

    /// Scores that bring the merges back. The merges themselves stay only where others than these would come first.
    fn score(&mut self) -> Result<(), GgufTokenizerError> {
        self.scores = scores_of_merges(&self.tokens, &self.merges);
        let order: Vec<f32> = (0..self.tokens.len()).map(|id| -(id as f32)).collect();
        let derived = merges_by_score(&self.tokens, if self.is_gemma() { &order } else { &self.scores });
        if derived == self.merges {
            self.merges.clear();
            return Ok(());
        }
        let is_text: HashSet<&str> = self
            .tokens
            .iter()
            .zip(&self.types)
            .filter(|(_, kind)| matches!(kind, TokenType::Normal | TokenType::Byte))
            .map(|(token, _)| token.as_str())
            .collect();
        // Added tokens are found before anything is merged.
        let of_text = |merges: &[Merge]| -> HashSet<Merge> {
            let parts = |(left, right): &&Merge| {
                let joined = format!("{left}{right}");
                [left, right, &joined].into_iter().all(|part| is_text.contains(part.as_str()))
            };
            merges.iter().filter(parts).cloned().collect()
        };
        let (derived, given) = (of_text(&derived), of_text(&self.merges));
        if derived == given {
            return Ok(());
        }
        Err(GgufTokenizerError::Merges { missing: derived.difference(&given).count(), merged: given.len() })
    }
}

impl TokenizerJson {
    fn kind(&self, architecture: &str) -> Result<TokenModel, GgufTokenizerError> {
        let model = &self.model;
        let expected = "BPE of bytes, or of letters with bytes for the rest";
        if model.kind != "BPE" {
            return Err(unwritable("the tokenizer's model", &model.kind, expected));
        }
        for (what, affix) in [
            ("the prefix of parts of words", &model.continuing_subword_prefix),
            ("the suffix of words", &model.end_of_word_suffix),
        ] {
            if let Some(affix) = affix.as_ref().filter(|affix| !affix.is_empty()) {
                return Err(unwritable(what, format!("{affix:?}"), "none"));
            }
        }
        let bytes = parts(&[&self.decoder]).iter().any(|part| part["type"] == "ByteLevel");
        match (bytes, model.byte_fallback) {
            (true, false) => Ok(TokenModel::ByteLevel),
            (false, true) if architecture == "gemma4" => Ok(TokenModel::Gemma4),
            (false, true) => Ok(TokenModel::SentencePiece),
            _ => Err(unwritable(
                "the tokenizer's model",
                "BPE of letters without bytes for the rest",
                expected,
            )),
        }
    }

    /// The name of how texts are cut.
    fn pre(&self) -> Result<&'static str, GgufTokenizerError> {
        let ignore_merges = self.model.ignore_merges;
        let known = PreTokenizer::recognize(&self.normalizer, &self.pre_tokenizer, ignore_merges);
        known.map(|known| known.names[0]).ok_or_else(|| {
            let got = format!(
                "{} after {}, with `ignore_merges` {ignore_merges}",
                self.pre_tokenizer, self.normalizer
            );
            let expected = format!("that of one of {}", PreTokenizer::all_names().join(", "));
            unwritable("the pre-tokenizer", got, expected)
        })
    }

    /// Whether a text is given a space before it, where spaces are `▁`.
    fn adds_space(&self, notes: &mut Vec<String>) -> Result<bool, GgufTokenizerError> {
        let is = |part: &Value, kind: &str| part["type"] == kind;
        let stages: Vec<&Value> = parts(&[&self.normalizer, &self.pre_tokenizer])
            .into_iter()
            .filter(|part| !part.is_null() && !is(part, "Sequence") && !is_space_split(part))
            .collect();
        match stages.as_slice() {
            [replace] if is_space_mark(replace) => Ok(false),
            [prepend, replace]
                if is(prepend, "Prepend") && prepend["prepend"] == "▁" && is_space_mark(replace) =>
            {
                Ok(true)
            }
            [metaspace] if is(metaspace, "Metaspace") && metaspace["split"] == false => {
                let adds = metaspace["prepend_scheme"] != "never";
                if adds {
                    notes.push(
                        "The tokenizer puts no space before a text that begins with one, nor after control tokens; readers of \
                         GGUF files do."
                            .to_owned(),
                    );
                }
                Ok(adds)
            }
            _ => Err(unwritable(
                "what is done before merges",
                format!("{} and {}", self.normalizer, self.pre_tokenizer),
                "only `▁` in place of spaces, with or without one before the text",
            )),
        }
    }

    /// Added tokens that are matched in a way that the format does not have.
    fn lost_flags(&self) -> Vec<String> {
        let lost = self.added_tokens.iter().filter(|token| token.single_word || token.lstrip || token.rstrip);
        let names: Vec<String> = lost.map(|token| format!("{:?}", token.content)).collect();
        if names.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "GGUF has no place for how the added tokens {} take blanks or only whole words; there, they match exactly.",
            names.join(", ")
        )]
    }

    /// Text and type of every id.
    fn slots(
        &self,
        model: TokenModel,
        tokenizer: &Tokenizer,
        size: usize,
    ) -> Result<(Vec<String>, Vec<TokenType>), GgufTokenizerError> {
        let vocab: BTreeMap<String, u32> = serde_json::from_value(self.model.vocab.clone())
            .map_err(|error| GgufTokenizerError::Build(error.into()))?;
        let mut slots: Vec<(String, TokenType)> =
            (0..size).map(|id| (format!("[PAD{id}]"), TokenType::Unused)).collect();
        for (token, id) in vocab {
            let is_byte = model.marks_spaces()
                && token
                    .strip_prefix("<0x")
                    .and_then(|rest| rest.strip_suffix('>'))
                    .is_some_and(|hex| hex.len() == 2 && u8::from_str_radix(hex, 16).is_ok());
            let kind = if is_byte { TokenType::Byte } else { TokenType::Normal };
            put(&mut slots, id, (token, kind), false)?;
        }
        for token in &self.added_tokens {
            let unknown = tokenizer.special_token("unk_token") == Some(&token.content);
            let kind = match (token.special, unknown && model == TokenModel::SentencePiece) {
                (_, true) => TokenType::Unknown,
                (true, false) => TokenType::Control,
                (false, false) => TokenType::UserDefined,
            };
            put(&mut slots, token.id, (token.content.clone(), kind), token.special)?;
        }
        Ok(slots.into_iter().unzip())
    }
}

/// Control tokens beyond the logits are left out, as they are where the model is loaded.
fn put(
    slots: &mut [(String, TokenType)],
    id: u32,
    slot: (String, TokenType),
    control: bool,
) -> Result<(), GgufTokenizerError> {
    let size = slots.len();
    match slots.get_mut(id as usize) {
        Some(place) => *place = slot,
        None if control => {}
        None => {
            let got = format!("{id}, that of {:?}", slot.0);
            return Err(unwritable(
                "the id of a token",
                got,
                format!("an id below {size}, the number of logits"),
            ));
        }
    }
    Ok(())
}

/// `▁` in place of every space.
fn is_space_mark(part: &Value) -> bool {
    part["type"] == "Replace" && part["pattern"]["String"] == " " && part["content"] == "▁"
}

/// A cut at spaces, of which none is left.
fn is_space_split(part: &Value) -> bool {
    part["type"] == "Split" && part["pattern"]["String"] == " "
}

/// The tokens that a tokenizer puts around a text.
struct Around {
    before: Option<u32>,
    after: Option<u32>,
}

impl Around {
    fn of(tokenizer: &Tokenizer) -> Result<Self, GgufTokenizerError> {
        let encode =
            |special| tokenizer.encode("a", special).map_err(|error| GgufTokenizerError::Build(error.into()));
        let (with, without) = (encode(true)?, encode(false)?);
        let found = (0..=1).find(|&from| with[from.min(with.len())..].starts_with(&without));
        let (before, after) = match found {
            Some(from) => (with[..from].to_vec(), with[from + without.len()..].to_vec()),
            None => (with.clone(), Vec::new()),
        };
        if before.len() > 1 || after.len() > 1 {
            let got = format!("{before:?} before and {after:?} after it");
            return Err(unwritable("what is put around a text", got, "at most one token on each side"));
        }
        Ok(Self { before: before.first().copied(), after: after.first().copied() })
    }
}

fn ids(
    tokenizer: &Tokenizer,
    around: &Around,
    ends: &[u32],
    size: usize,
    notes: &mut Vec<String>,
) -> SpecialIds {
    let role = |role: &str| tokenizer.special_token(role).and_then(|token| tokenizer.token_to_id(token));
    let eos = around.after.or_else(|| tokenizer.eos_id());
    let eos = eos.or_else(|| ends.first().copied());
    let mut others = ends.iter().copied().filter(|&end| Some(end) != eos);
    let inside = |id: Option<u32>| id.filter(|&id| (id as usize) < size);
    let ids = SpecialIds {
        bos: inside(around.before.or_else(|| tokenizer.bos_id())),
        eos: inside(eos),
        eot: inside(others.next()),
        eom: inside(others.next()),
        unknown: inside(role("unk_token")),
        padding: inside(role("pad_token")),
        separator: inside(role("sep_token")),
        mask: inside(role("mask_token")),
    };
    let left: Vec<String> = others.filter_map(|id| tokenizer.id_to_token(id)).collect();
    if !left.is_empty() {
        notes.push(format!(
            "GGUF names at most three tokens that end a text; {} are left out.",
            left.join(", ")
        ));
    }
    ids
}
