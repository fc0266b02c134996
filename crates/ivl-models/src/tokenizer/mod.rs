//! A checkpoint's tokenizer: text to ids, and what bytes every id stands for.

mod retokenize;
mod roles;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ivl_core::Vocab;
use ivl_core::vocab::Token;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::FileError;
use crate::files::read_bounded;
use crate::tokenizer::roles::{adds_space, changes_text, with_roles};

/// Largest `tokenizer.json` that is read.
const LARGEST_FILE: u64 = 256 << 20;

/// Most ids that a vocabulary may span.
const MOST_TOKENS: u32 = 1 << 22;

/// Errors of a tokenizer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file does not describe a tokenizer.
    #[error("`{}` is not a Hugging Face tokenizer; expected the tokenizer.json of a fast tokenizer", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An id so large that a table of all ids would not fit in memory.
    #[error("token {token:?} in `{}` has id {id}, expected ids below {MOST_TOKENS}", path.display())]
    IdTooLarge {
        /// Which file.
        path: PathBuf,
        /// The token.
        token: String,
        /// Its id.
        id: u32,
    },
    /// Two tokens with one id.
    #[error("`{}` gives id {id} to both {first:?} and {second:?}; expected one token for each id", path.display())]
    DuplicateId {
        /// Which file.
        path: PathBuf,
        /// The id.
        id: u32,
        /// One token.
        first: String,
        /// The other.
        second: String,
    },
    /// A text could not be tokenized.
    #[error("cannot tokenize the text")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Ids could not be turned back into text.
    #[error("cannot decode the tokens")]
    Decode(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A token id and the bytes of the text, from and to, that it covers; control tokens cover none.
pub(crate) type Encoded = (u32, (usize, usize));

/// A fast tokenizer as `tokenizer.json` describes it. Which special tokens are added to a text is decided by its
/// post-processor; truncation and padding that the file may ask for are switched off.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocab: Vocab,
    special: HashMap<&'static str, String>,
    changes_text: bool,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, and the names of special tokens from the `tokenizer_config.json` beside it.
    ///
    /// # Errors
    /// [`TokenizerError`] names the file and what is wrong with it.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let bytes = read(path)?;
        let invalid = |source| TokenizerError::Invalid { path: path.to_owned(), source };
        let json: Stages = serde_json::from_slice(&bytes).map_err(|error| invalid(error.into()))?;
        let mut inner = tokenizers::Tokenizer::from_bytes(&bytes).map_err(invalid)?;
        inner.with_truncation(None).map_err(invalid)?;
        inner.with_padding(None);
        let vocab = vocab(&inner, &json, path)?;
        let config = path.with_file_name("tokenizer_config.json");
        let special: HashMap<&str, String> =
            if config.is_file() { special_tokens(&config)? } else { HashMap::new() };
        let declared = |field: &str| special.get(field).map(String::as_str);
        let vocab = with_roles(vocab, declared, |name| inner.token_to_id(name));
        let vocab = vocab.with_added_space(adds_space(&parts(&[&json.normalizer, &json.pre_tokenizer])));
        let changes_text = changes_text(&parts(&[&json.normalizer]));
        Ok(Self { inner, vocab, special, changes_text })
    }

    /// Ids of a text, with the special tokens that the post-processor adds or without.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode_fast(text, add_special_tokens).map_err(TokenizerError::Encode)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids of a text, each with the bytes that it covers.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode_with_offsets(
        &self,
        text: &str,
        add_special_tokens: bool,
    ) -> Result<Vec<Encoded>, TokenizerError> {
        let encoding = self.inner.encode(text, add_special_tokens).map_err(TokenizerError::Encode)?;
        Ok(encoding.get_ids().iter().copied().zip(encoding.get_offsets().iter().copied()).collect())
    }

    /// The text of ids.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`].
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TokenizerError> {
        self.inner.decode(ids, skip_special_tokens).map_err(TokenizerError::Decode)
    }

    /// All that the tokenizer says about a text, with special tokens.
    pub(crate) fn encoding(&self, text: &str) -> Result<tokenizers::Encoding, TokenizerError> {
        self.inner.encode(text, true).map_err(TokenizerError::Encode)
    }

    /// Whether a normalizer changes characters before they are cut into tokens.
    pub(crate) fn changes_text(&self) -> bool {
        self.changes_text
    }

    pub(crate) fn vocab_ref(&self) -> &Vocab {
        &self.vocab
    }

    /// All that decides which ids a text becomes, as the JSON of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        self.inner.to_string(false).map_err(TokenizerError::Encode)
    }

    /// The token of every id. Cheap enough to call where it is needed; not in a loop.
    pub fn vocab(&self) -> Vocab {
        self.vocab.clone()
    }

    /// The id of a token by its name in the file.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The name in the file of an id.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// A special token of `tokenizer_config.json`: `bos_token`, `eos_token`, `unk_token` or `pad_token`.
    pub fn special_token(&self, role: &str) -> Option<&str> {
        self.special.get(role).map(String::as_str)
    }

    /// The beginning-of-text token.
    pub fn bos_id(&self) -> Option<u32> {
        self.special_token("bos_token").and_then(|token| self.token_to_id(token))
    }

    /// The end-of-text token.
    pub fn eos_id(&self) -> Option<u32> {
        self.special_token("eos_token").and_then(|token| self.token_to_id(token))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    read_bounded(path, "a tokenizer", LARGEST_FILE)
}

/// The special tokens of a `tokenizer_config.json`, written as strings or as objects with `content`.
fn special_tokens(path: &Path) -> Result<HashMap<&'static str, String>, TokenizerError> {
    let json: Map<String, Value> = serde_json::from_slice(&read(path)?)
        .map_err(|error| TokenizerError::Invalid { path: path.to_owned(), source: error.into() })?;
    let named = |role: &'static str| {
        let token = json.get(role)?;
        let content = token.as_str().or_else(|| token.get("content")?.as_str())?;
        Some((role, content.to_owned()))
    };
    Ok(["bos_token", "eos_token", "unk_token", "pad_token"].into_iter().filter_map(named).collect())
}

/// How the tokens of a file spell their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// GPT-2: every byte is a printable letter.
    ByteLevel,
    /// SentencePiece: a space is `▁`; with byte fallback, `<0xNN>` is a byte.
    SentencePiece { byte_fallback: bool },
    /// As they stand.
    Plain,
}

impl Spelling {
    fn of(json: &Stages) -> Self {
        let parts = parts(&[&json.decoder, &json.pre_tokenizer, &json.normalizer]);
        let kind = |part: &&Value| part["type"].as_str().unwrap_or_default().to_owned();
        if parts.iter().any(|part| kind(part) == "ByteLevel") {
            return Self::ByteLevel;
        }
        let marks_spaces = |part: &&Value| {
            kind(part) == "Metaspace"
                || kind(part) == "Replace" && (part["pattern"]["String"] == "▁" || part["content"] == "▁")
        };
        let byte_fallback = json.model.byte_fallback == Some(true);
        if byte_fallback || parts.iter().any(marks_spaces) {
            return Self::SentencePiece { byte_fallback };
        }
        Self::Plain
    }

    /// A token of text.
    fn token(self, token: &str) -> Token {
        match (self, self.byte(token)) {
            (_, Some(byte)) => Token::byte(byte),
            _ => Token::text(self.bytes(token)),
        }
    }

    /// The byte that a token of byte fallback stands for.
    fn byte(self, token: &str) -> Option<u8> {
        let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
        let fallback = self == Self::SentencePiece { byte_fallback: true } && hex.len() == 2;
        fallback.then(|| u8::from_str_radix(hex, 16).ok()).flatten()
    }

    fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            // A token with any other letter stands for itself, as in the decoder of the reference.
            Self::ByteLevel => token
                .chars()
                .map(byte_of_letter)
                .collect::<Option<_>>()
                .unwrap_or_else(|| token.as_bytes().to_vec()),
            Self::SentencePiece { .. } => token.replace('▁', " ").into_bytes(),
            Self::Plain => token.as_bytes().to_vec(),
        }
    }
}

/// The normalisation and pre-tokenization of a `tokenizer.json`, without its vocabulary, which the tokenizer itself reads once.
#[derive(Debug, Deserialize)]
struct Stages {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    model: ModelFlags,
}

#[derive(Debug, Default, Deserialize)]
struct ModelFlags {
    #[serde(default)]
    byte_fallback: Option<bool>,
}

/// All parts of some stages.
fn parts<'a>(stages: &[&'a Value]) -> Vec<&'a Value> {
    let mut parts = Vec::new();
    for stage in stages {
        collect_parts(stage, &mut parts);
    }
    parts
}

/// The stages of a (possibly nested) pipeline.
fn collect_parts<'a>(stage: &'a Value, parts: &mut Vec<&'a Value>) {
    for list in ["decoders", "pretokenizers", "normalizers"] {
        for part in stage[list].as_array().into_iter().flatten() {
            collect_parts(part, parts);
        }
    }
    parts.push(stage);
}

/// The byte that a letter of GPT-2's alphabet encodes: printable Latin-1 stands for itself, the other 68 bytes, in order, for
/// the letters from U+0100 on.
fn byte_of_letter(letter: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(letter) {
        code @ 0..=0xff => Some(code as u8).filter(|&byte| printable(byte)),
        code => (0..=255u8).filter(|&byte| !printable(byte)).nth((code - 0x100) as usize),
    }
}

fn vocab(inner: &tokenizers::Tokenizer, json: &Stages, path: &Path) -> Result<Vocab, TokenizerError> {
    let spelling = Spelling::of(json);
    let special = inner.get_added_tokens_decoder();
    // An added token may take the id of one that the model had; no other two may share one.
    let mut names: Vec<(String, u32)> = inner.get_vocab(true).into_iter().collect();
    let added = |name: &str, id: u32| special.get(&id).is_some_and(|token| token.content == *name);
    names.sort_by(|a, b| (added(&a.0, a.1), &a.0).cmp(&(added(&b.0, b.1), &b.0)));
    let mut tokens: Vec<Option<Token>> = Vec::new();
    let mut owners: HashMap<u32, &str> = HashMap::with_capacity(names.len());
    for (name, id) in &names {
        let id = *id;
        if id >= MOST_TOKENS {
            return Err(TokenizerError::IdTooLarge { path: path.to_owned(), token: name.clone(), id });
        }
        if tokens.len() <= id as usize {
            tokens.resize(id as usize + 1, None);
        }
        if let Some(first) = owners.insert(id, name)
            && !added(name, id)
        {
            let [first, second] = [first, name].map(ToString::to_string);
            return Err(TokenizerError::DuplicateId { path: path.to_owned(), id, first, second });
        }
        let token = match special.get(&id) {
            Some(added) if added.special => Token::control(name),
            _ => spelling.token(name),
        };
        tokens[id as usize] = Some(token);
    }
    Ok(Vocab::new(tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpt2_letters_stand_for_all_bytes_once() {
        let mut bytes: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte_of_letter).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(byte_of_letter('Ġ'), Some(b' '));
        assert_eq!(byte_of_letter('Ċ'), Some(b'\n'));
        assert_eq!(byte_of_letter('▁'), None);
    }

    #[test]
    fn spellings_give_the_bytes_of_the_text() {
        let sentencepiece = Spelling::SentencePiece { byte_fallback: true };
        assert_eq!(sentencepiece.bytes("▁the"), b" the");
        assert_eq!(sentencepiece.token("<0x0A>"), Token::byte(b'\n'));
        assert_eq!(sentencepiece.token("<0xZZ>"), Token::text(*b"<0xZZ>"));
        assert_eq!(Spelling::SentencePiece { byte_fallback: false }.token("<0x0A>"), Token::text(*b"<0x0A>"));
        assert_eq!(Spelling::ByteLevel.bytes("Ġthe"), b" the");
        assert_eq!(Spelling::ByteLevel.bytes("a b"), b"a b", "an added token with a literal space");
        assert_eq!(Spelling::Plain.bytes("▁x"), "▁x".as_bytes());
    }
}
