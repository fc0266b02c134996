//! A tokenizer from the metadata of a GGUF file.

use std::path::Path;

use super::error::GgufTokenizerError;
use super::merges::Merge;
use super::pre_tokenizer::PreTokenizer;
use super::special_ids::SpecialIds;
use super::token_type::TokenType;
use super::vocabulary::{GgufVocabulary, TokenModel};
use crate::Error;
use crate::gguf::{Gguf, GgufMetadata, MetadataValue};
use crate::tokenizer::TokenizerError;

impl GgufVocabulary {
    /// Reads and checks a tokenizer.
    ///
    /// # Errors
    /// [`TokenizerError::Metadata`] for a file that cannot be read and for metadata of another type, [`TokenizerError::Gguf`] for
    /// values of which no tokenizer can be made.
    pub(crate) fn open(path: &Path) -> Result<Self, TokenizerError> {
        let read = || Self::read(Gguf::open(path)?.metadata());
        read().map_err(in_metadata)
    }

    fn read(metadata: &GgufMetadata) -> Result<Self, Error> {
        let in_file = |error| Error::from(TokenizerError::gguf(metadata.path(), error));
        let name = metadata.text("tokenizer.ggml.model")?;
        let model = TokenModel::of(name);
        let model = model.ok_or_else(|| in_file(GgufTokenizerError::Model { got: name.to_owned() }))?;
        let pre = metadata.opt_text("tokenizer.ggml.pre")?.map(str::to_owned);
        let tokens = tokens(metadata)?;
        let types = types(metadata, tokens.len()).map_err(|error| match error {
            Unreadable::Metadata(error) => error,
            Unreadable::Types(error) => in_file(error),
        })?;
        let ids = SpecialIds::read(|key| metadata.opt_id(key))?;
        let ids = if model == TokenModel::SentencePiece { ids.or_sentencepiece() } else { ids };
        let architecture = metadata.opt_text("general.architecture")?.unwrap_or_default().to_owned();
        let defaults = Defaults::of(model, pre.as_deref(), &architecture);
        let flag = |key: &str, default| metadata.opt_flag(key).map(|flag| flag.unwrap_or(default));
        let vocabulary = Self {
            model,
            pre,
            scores: scores(metadata)?,
            merges: merges(metadata)?,
            charsmap: charsmap(metadata)?,
            adds_space: flag("tokenizer.ggml.add_space_prefix", defaults.adds_space)?,
            removes_blanks: flag("tokenizer.ggml.remove_extra_whitespaces", false)?,
            adds_bos: flag("tokenizer.ggml.add_bos_token", defaults.adds_bos && ids.bos.is_some())?
                && model != TokenModel::Gemma4,
            adds_eos: flag("tokenizer.ggml.add_eos_token", model == TokenModel::Unigram)?,
            ids,
            architecture,
            tokens,
            types,
        };
        vocabulary.checked().map_err(in_file)
    }
}

/// The error of a tokenizer, from one of everything.
pub(super) fn in_metadata(error: Error) -> TokenizerError {
    match error {
        Error::Tokenizer(error) => error,
        other => TokenizerError::Metadata(Box::new(other)),
    }
}

/// What a file means that does not say it.
struct Defaults {
    adds_space: bool,
    adds_bos: bool,
}

impl Defaults {
    /// As llama.cpp has them, but for Gemma: the first three have no space before a text, and the template of the fourth writes the
    /// beginning-of-text token itself.
    fn of(model: TokenModel, pre: Option<&str>, architecture: &str) -> Self {
        match model {
            TokenModel::SentencePiece => {
                Self { adds_space: !architecture.starts_with("gemma"), adds_bos: true }
            }
            TokenModel::ByteLevel => {
                let adds_bos = pre.and_then(PreTokenizer::of).is_some_and(|pre| pre.adds_bos);
                Self { adds_space: false, adds_bos }
            }
            TokenModel::Gemma4 => Self { adds_space: false, adds_bos: false },
            TokenModel::Unigram => Self { adds_space: true, adds_bos: false },
        }
    }
}

fn tokens(metadata: &GgufMetadata) -> Result<Vec<String>, Error> {
    const KEY: &str = "tokenizer.ggml.tokens";
    let texts = metadata.opt_texts(KEY)?;
    let texts = texts
        .ok_or_else(|| Error::MissingField { path: metadata.path().to_owned(), field: KEY.to_owned() })?;
    Ok(texts.map(str::to_owned).collect())
}

enum Unreadable {
    Metadata(Error),
    Types(GgufTokenizerError),
}

/// Without types, every token is normal.
fn types(metadata: &GgufMetadata, tokens: usize) -> Result<Vec<TokenType>, Unreadable> {
    let numbers = metadata.opt_integers("tokenizer.ggml.token_type").map_err(Unreadable::Metadata)?;
    let Some(numbers) = numbers else { return Ok(vec![TokenType::Normal; tokens]) };
    numbers
        .enumerate()
        .map(|(id, got)| {
            TokenType::of(got).ok_or(Unreadable::Types(GgufTokenizerError::TokenType { id, got }))
        })
        .collect()
}

fn scores(metadata: &GgufMetadata) -> Result<Vec<f32>, Error> {
    Ok(metadata.opt_floats("tokenizer.ggml.scores")?.map(Iterator::collect).unwrap_or_default())
}

/// A merge is two tokens with a space between. The first may begin with a space of its own.
fn merges(metadata: &GgufMetadata) -> Result<Vec<Merge>, Error> {
    let Some(texts) = metadata.opt_texts("tokenizer.ggml.merges")? else { return Ok(Vec::new()) };
    let merge = |text: &str| {
        let at = text.char_indices().skip(1).find(|(_, letter)| *letter == ' ').map(|(at, _)| at);
        at.map_or((text.to_owned(), String::new()), |at| (text[..at].to_owned(), text[at + 1..].to_owned()))
    };
    Ok(texts.map(merge).collect())
}

fn charsmap(metadata: &GgufMetadata) -> Result<Vec<u8>, Error> {
    const KEY: &str = "tokenizer.ggml.precompiled_charsmap";
    let Some(array) = metadata.opt_array(KEY)? else { return Ok(Vec::new()) };
    let byte = |value| match value {
        // Stored as signed or unsigned bytes.
        MetadataValue::Integer(byte) if (-128..256).contains(&byte) => Some(byte as u8),
        _ => None,
    };
    array.iter().map(byte).collect::<Option<_>>().ok_or_else(|| metadata.invalid(KEY, "a list of bytes"))
}
