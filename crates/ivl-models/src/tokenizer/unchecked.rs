//! The parts of a `tokenizer.json` that the `tokenizers` library takes on trust, checked before it reads them.
//!
//! At the values that are refused here, version 0.23 panics, reads text that is no UTF-8, or runs out of stack.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokenizers::normalizers::Precompiled;

use super::stages::{Stages, parts};

/// Bytes of the longest token of a unigram model: the library keeps a tree as deep as that, which it drops by recursion.
pub(super) const LONGEST_PIECE: usize = 1 << 12;

/// A value at which the library would fail.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unchecked {
    /// Merged text that is no token.
    #[error(
        "merge {index} joins {left:?} and {right:?} to a text that is longer than every token, expected a token of the vocabulary"
    )]
    Merge { index: usize, left: String, right: String },
    /// A part of a merge that cannot follow another.
    #[error(
        "the second part of merge {index} is {right:?}, expected one that begins with {prefix:?}, the `continuing_subword_prefix`"
    )]
    MergePrefix { index: usize, right: String, prefix: String },
    /// A token of a unigram model.
    #[error("a token has {got} bytes, expected at most {LONGEST_PIECE} in a tokenizer of type Unigram")]
    PieceLength { got: usize },
    /// A table of normalization that is no table.
    #[error("`precompiled_charsmap` cannot be read")]
    Charsmap(#[source] serde_json::Error),
    /// Pieces without letters.
    #[error("the pre-tokenizer `FixedLength` has `length` 0, expected 1 or more")]
    FixedLength,
    /// No JSON, or another type than the library expects.
    #[error("its `model` cannot be read")]
    Json(#[from] serde_json::Error),
}

/// Refuses a file whose reading or use would make the library panic.
pub(super) fn check(file: &[u8], stages: &Stages) -> Result<(), Unchecked> {
    for stage in parts(&[&stages.normalizer, &stages.pre_tokenizer]) {
        if stage["type"] == "Precompiled" {
            serde_json::from_str::<Precompiled>(&stage.to_string()).map_err(Unchecked::Charsmap)?;
        }
        if stage["type"] == "FixedLength" && stage["length"] == 0 {
            return Err(Unchecked::FixedLength);
        }
    }
    let File { model } = serde_json::from_slice(file)?;
    model.check()
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(default)]
    vocab: Longest,
    #[serde(borrow, default)]
    merges: Option<Vec<Merge<'a>>>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
}

impl Model<'_> {
    fn check(&self) -> Result<(), Unchecked> {
        if let Longest::Piece(got) = self.vocab
            && got > LONGEST_PIECE
        {
            return Err(Unchecked::PieceLength { got });
        }
        let Longest::Token(longest) = self.vocab else { return Ok(()) };
        let prefix = self.continuing_subword_prefix.as_deref().unwrap_or_default();
        for (index, Merge { left, right }) in self.merges.iter().flatten().enumerate() {
            let right_text = || right.to_string();
            let Some(rest) = right.strip_prefix(prefix) else {
                return Err(Unchecked::MergePrefix { index, right: right_text(), prefix: prefix.to_owned() });
            };
            if left.len() + rest.len() > longest {
                return Err(Unchecked::Merge { index, left: left.to_string(), right: right_text() });
            }
        }
        Ok(())
    }
}

/// Bytes of the longest token of a vocabulary.
enum Longest {
    /// Of an object of tokens and ids, as all models but Unigram have it.
    Token(usize),
    /// Of a list of tokens and scores, as Unigram has it.
    Piece(usize),
}

impl Default for Longest {
    fn default() -> Self {
        Self::Token(0)
    }
}

impl<'de> Deserialize<'de> for Longest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LongestVisitor)
    }
}

struct LongestVisitor;

impl<'de> Visitor<'de> for LongestVisitor {
    type Value = Longest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vocabulary: an object of tokens and ids, or a list of tokens and scores")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Longest, A::Error> {
        let mut longest = 0;
        while let Some((Text(token), _)) = map.next_entry::<Text<'de>, IgnoredAny>()? {
            longest = longest.max(token.len());
        }
        Ok(Longest::Token(longest))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Longest, A::Error> {
        let mut longest = 0;
        while let Some((Text(token), _)) = list.next_element::<(Text<'de>, IgnoredAny)>()? {
            longest = longest.max(token.len());
        }
        Ok(Longest::Piece(longest))
    }
}

/// A text that is borrowed from the file where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Two tokens that become one: a list of two, or a text with a space between.
struct Merge<'a> {
    left: Cow<'a, str>,
    right: Cow<'a, str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MergeVisitor)
    }
}

struct MergeVisitor;

impl<'de> Visitor<'de> for MergeVisitor {
    type Value = Merge<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a merge: a list of two tokens, or a text of two with a space between")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Merge<'de>, E> {
        let (left, right) = text.split_once(' ').unwrap_or((text, ""));
        Ok(Merge { left: left.into(), right: right.into() })
    }

    fn visit_str<E>(self, text: &str) -> Result<Merge<'de>, E> {
        let (left, right) = text.split_once(' ').unwrap_or((text, ""));
        Ok(Merge { left: left.to_owned().into(), right: right.to_owned().into() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merge<'de>, A::Error> {
        let next = |list: &mut A| list.next_element::<Text<'de>>();
        let (left, right) = (next(&mut list)?, next(&mut list)?);
        let (Some(Text(left)), Some(Text(right)), None) = (left, right, list.next_element::<IgnoredAny>()?)
        else {
            return Err(serde::de::Error::custom("a merge is no list of two tokens"));
        };
        Ok(Merge { left, right })
    }
}
