//! A checkpoint's tokenizer: text to ids, and the bytes of every id.

mod class_normalizer;
pub(crate) mod configured_ids;
mod error;
mod gguf;
mod marked_spaces;
mod offsets;
mod padding;
mod retokenize;
mod roles;
mod special_template;
mod special_tokens;
mod spelling;
mod stages;
mod unchecked;
mod vocabulary_files;

pub use error::TokenizerError;
pub(crate) use gguf::GgufTextFiles;
pub use gguf::{GgufTexts, GgufTokenizerError};
pub use offsets::Encoded;
pub use special_tokens::SpecialTokens;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ivl_core::Vocab;
use ivl_core::vocab::Token;

use class_normalizer::class_normalizer;
use configured_ids::ConfiguredIds;
use error::{MOST_TOKENS, read};
use gguf::{GgufVocabulary, tokenizer_beside};
use offsets::{trims, untrimmed};
use padding::is_padding;
use roles::{adds_space, changes_text, with_roles};
use spelling::Spelling;
use stages::{Stages, parts};
use vocabulary_files::read_directory;

use crate::gguf::Gguf;
use crate::guarded;

/// A fast tokenizer as `tokenizer.json` describes it. Which special tokens are added to a text is decided by its
/// post-processor; truncation and padding of the file are switched off.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocab: Vocab,
    special: SpecialTokens,
    /// Ids that begin and end a text by the model's configuration, for a tokenizer that names no such token.
    configured: ConfiguredIds,
    changes_text: bool,
    trims_offsets: bool,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, and the special tokens that the files beside it declare; see [`SpecialTokens`]. Of a GGUF file,
    /// reads the tokenizer in its metadata.
    ///
    /// # Errors
    /// [`TokenizerError`] names the file and what is wrong with it.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        if Gguf::is_named_so(path) {
            return Self::from_gguf(path);
        }
        let (inner, stages) = read_json(path)?;
        let dir = path.parent().unwrap_or(Path::new(""));
        Self::of(inner, &stages, dir, path)
    }

    /// Reads the tokenizer of a directory: `tokenizer.json`, or without it the vocabulary files of a class that ivl knows; `None` if the
    /// directory holds neither.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_dir(dir: &Path) -> Result<Option<Self>, TokenizerError> {
        let json = dir.join("tokenizer.json");
        if json.is_file() {
            return Self::from_file(&json).map(Some);
        }
        let Some((inner, stages, path)) = read_directory(dir)? else { return Ok(None) };
        Self::of(inner, &stages, dir, &path).map(Some)
    }

    /// The tokenizer of a GGUF file. A `tokenizer.json` in its directory is read in place of the lists of the file if both have the
    /// same tokens: it also says what the lists leave out.
    fn from_gguf(path: &Path) -> Result<Self, TokenizerError> {
        let vocabulary = GgufVocabulary::open(path)?;
        if let Some(json) = tokenizer_beside(path) {
            let (inner, stages) = read_json(&json)?;
            let beside = Self::of(inner, &stages, path, &json)?;
            if vocabulary.first_difference(&beside.vocab).is_none() {
                return Ok(beside);
            }
        }
        let built =
            guarded(|| vocabulary.build()).unwrap_or_else(|| Err(GgufTokenizerError::Build(gave_up())));
        let (inner, stages) = built.map_err(|error| TokenizerError::gguf(path, error))?;
        Self::of(inner, &stages, path, path)
    }

    /// A tokenizer with the special tokens of a model, a directory or a GGUF file; `path` is for errors.
    fn of(
        mut inner: tokenizers::Tokenizer,
        stages: &Stages,
        model: &Path,
        path: &Path,
    ) -> Result<Self, TokenizerError> {
        let invalid = |source| TokenizerError::Invalid { path: path.to_owned(), source };
        inner.with_truncation(None).map_err(invalid)?;
        inner.with_padding(None);
        let mut special = SpecialTokens::from_dir(model)?;
        special.complete(&mut inner).map_err(invalid)?;
        let spelling = Spelling::of(stages);
        let vocab = with_roles(
            vocab(&inner, &spelling, path)?,
            |role| special.get(role),
            |name| inner.token_to_id(name),
        );
        let adds_space =
            adds_space(&parts(&[&stages.normalizer, &stages.pre_tokenizer])) || spelling.begins_with_space();
        let vocab = vocab.with_added_space(adds_space).with_closing_space(spelling.ends_with_space());
        let changes_text = changes_text(&parts(&[&stages.normalizer]));
        let trims_offsets = trims(&parts(&[&stages.post_processor]));
        let configured = ConfiguredIds::from_dir(model);
        Ok(Self { inner, vocab, special, configured, changes_text, trims_offsets })
    }

    /// Ids of a text, with the special tokens that the post-processor adds or without.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = call(|| self.inner.encode_fast(text, add_special_tokens));
        Ok(encoding.map_err(TokenizerError::Encode)?.get_ids().to_vec())
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
        let encoding =
            call(|| self.inner.encode(text, add_special_tokens)).map_err(TokenizerError::Encode)?;
        if self.trims_offsets {
            return Ok(untrimmed(text, &encoding, &self.vocab));
        }
        Ok(encoding.get_ids().iter().copied().zip(encoding.get_offsets().iter().copied()).collect())
    }

    /// The text of ids.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`].
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TokenizerError> {
        call(|| self.inner.decode(ids, skip_special_tokens)).map_err(TokenizerError::Decode)
    }

    /// All that the tokenizer says about a text, with special tokens.
    pub(crate) fn encoding(&self, text: &str) -> Result<tokenizers::Encoding, TokenizerError> {
        call(|| self.inner.encode(text, true)).map_err(TokenizerError::Encode)
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

    /// The special tokens by role.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    /// A special token by its role, such as `bos_token` or `eos_token`.
    pub fn special_token(&self, role: &str) -> Option<&str> {
        self.special.get(role)
    }

    /// The beginning-of-text token: the tokenizer's, else that of the model's configuration.
    pub fn bos_id(&self) -> Option<u32> {
        let named = self.special_token("bos_token").and_then(|token| self.token_to_id(token));
        named.or_else(|| self.configured.bos.filter(|&id| self.vocab.token(id).is_some()))
    }

    /// The end-of-text token: the tokenizer's, else that of the model's generation settings or configuration.
    pub fn eos_id(&self) -> Option<u32> {
        let named = self.special_token("eos_token").and_then(|token| self.token_to_id(token));
        named.or_else(|| self.configured.eos.filter(|&id| self.vocab.token(id).is_some()))
    }
}

/// A call of the library, whose panics become errors: it has some at odd tokenizers, and where Oniguruma gives up a search.
fn call<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    guarded(run).unwrap_or_else(|| Err(gave_up()))
}

fn gave_up() -> Box<dyn std::error::Error + Send + Sync> {
    "the tokenizer's own settings do not fit each other or this text".into()
}

/// The tokenizer of a `tokenizer.json`, with the normalizer of its class where the file has none.
fn read_json(path: &Path) -> Result<(tokenizers::Tokenizer, Stages), TokenizerError> {
    let bytes = read(path)?;
    let invalid = |source| TokenizerError::Invalid { path: path.to_owned(), source };
    let mut stages: Stages = serde_json::from_slice(&bytes).map_err(|error| invalid(error.into()))?;
    unchecked::check(&bytes, &stages).map_err(|error| invalid(error.into()))?;
    let mut inner = call(|| tokenizers::Tokenizer::from_bytes(&bytes)).map_err(invalid)?;
    if stages.normalizer.is_null()
        && let Some(normalizer) = class_normalizer(path.parent().unwrap_or(Path::new("")))
    {
        stages.normalizer = serde_json::to_value(&normalizer).map_err(|error| invalid(error.into()))?;
        inner.with_normalizer(Some(normalizer)).map_err(invalid)?;
    }
    Ok((inner, stages))
}

/// A `tokenizer.json` in the directory of a GGUF file that is not used, since its tokens are others: its path, the first id that
/// differs, its token in the GGUF file, and that in the `tokenizer.json`.
///
/// # Errors
/// As [`Tokenizer::from_file`].
pub(crate) fn unused_tokenizer_beside(
    gguf: &Path,
) -> Result<Option<(PathBuf, u32, String, String)>, TokenizerError> {
    let Some(json) = tokenizer_beside(gguf).filter(|_| Gguf::is_named_so(gguf)) else { return Ok(None) };
    let (inner, stages) = read_json(&json)?;
    let beside = Tokenizer::of(inner, &stages, gguf, &json)?;
    let difference = GgufVocabulary::open(gguf)?.first_difference(&beside.vocab);
    Ok(difference.map(|(id, own, other)| (json, id, own, other)))
}

fn vocab(inner: &tokenizers::Tokenizer, spelling: &Spelling, path: &Path) -> Result<Vocab, TokenizerError> {
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
            _ if is_padding(name) => None,
            Some(added) if added.special => Some(Token::control(name)),
            _ => Some(spelling.token(name)),
        };
        tokens[id as usize] = token;
    }
    Ok(Vocab::new(tokens))
}
