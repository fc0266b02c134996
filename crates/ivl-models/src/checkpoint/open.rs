//! An opened checkpoint directory: everything but its weights.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ivl_core::Vocab;
use ivl_core::vocab::{Role, TokenKind};
use serde_json::{Map, Value};

use super::tensor_files::TensorFiles;
use crate::Error;
use crate::config::ModelConfig;
use crate::families::{Family, read_config};
use crate::files::read_json;
use crate::template::chat::ChatTemplate;
use crate::tokenizer::Tokenizer;

/// An opened checkpoint: its configuration is read, its weights are not.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    json: Map<String, Value>,
    family: &'static Family,
    config: ModelConfig,
}

impl Checkpoint {
    /// Opens a directory that holds a `config.json`.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] if it holds none, and what [`read_config`] says about it.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("config.json");
        if !path.is_file() {
            return Err(Error::NotACheckpoint { dir: dir.to_owned(), expected: "config.json" });
        }
        Self::from_json(dir, read_json(&path)?)
    }

    /// A directory with the configuration that it has or will have.
    pub(crate) fn from_json(dir: &Path, json: Map<String, Value>) -> Result<Self, Error> {
        let (family, config) = read_config(&json, &dir.join("config.json"))?;
        Ok(Self { dir: dir.to_owned(), json, family, config })
    }

    /// The same directory under another configuration, for a model of another shape with the same tokenizer.
    ///
    /// # Errors
    /// The result of [`read_config`].
    pub fn with_config(self, json: Map<String, Value>) -> Result<Self, Error> {
        Self::from_json(&self.dir, json)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `config.json` as it stands.
    pub fn json(&self) -> &Map<String, Value> {
        &self.json
    }

    /// The family.
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] without a `tokenizer.json`, [`Error::Tokenizer`] for one that cannot be read.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        let path = self.dir.join("tokenizer.json");
        if !path.is_file() {
            return Err(Error::NotACheckpoint { dir: self.dir.clone(), expected: "tokenizer.json" });
        }
        Ok(Tokenizer::from_file(&path)?)
    }

    /// The chat template, if there is one.
    ///
    /// # Errors
    /// [`Error::Chat`] for one that cannot be read.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, Error> {
        Ok(ChatTemplate::from_dir(&self.dir)?)
    }

    /// The vocabulary of the model: the tokenizer's tokens, padded to the number of logits.
    ///
    /// # Errors
    /// [`Error::TokenizerMismatch`] if an ordinary token has no logit. Control tokens beyond the logits, which some
    /// tokenizers define and no text contains, are left out. [`Error::File`] as [`end_tokens`](Self::end_tokens).
    pub fn vocab(&self, tokenizer: &Tokenizer) -> Result<Vocab, Error> {
        let (mut vocab, size) = (tokenizer.vocab(), self.config.vocab_size);
        for id in self.end_tokens(tokenizer)? {
            vocab = vocab.with_role(Role::End, id);
        }
        let beyond =
            vocab.iter().enumerate().skip(size).find_map(|(id, token)| token.map(|token| (id, token)));
        match beyond {
            None => Ok(vocab.cut_to(size).padded_to(size)),
            Some((_, token)) if token.kind == TokenKind::Control && all_control(&vocab, size) => {
                Ok(vocab.cut_to(size))
            }
            Some((id, token)) => Err(Error::TokenizerMismatch {
                dir: self.dir.clone(),
                id: id as u32,
                token: String::from_utf8_lossy(&token.bytes).into_owned(),
                vocab_size: size,
            }),
        }
    }

    /// Tokens that end a text: `eos_token_id` of `generation_config.json` and `config.json`, and the tokenizer's own.
    ///
    /// # Errors
    /// [`Error::File`] for a `generation_config.json` that is not JSON.
    pub fn end_tokens(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, Error> {
        let path = self.dir.join("generation_config.json");
        let generation = if path.is_file() { read_json(&path)? } else { Map::new() };
        let ids = |json: &Map<String, Value>| -> Vec<u32> {
            match json.get("eos_token_id") {
                Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).map(|id| id as u32).collect(),
                Some(id) => id.as_u64().map(|id| id as u32).into_iter().collect(),
                None => Vec::new(),
            }
        };
        let all: BTreeSet<u32> =
            ids(&generation).into_iter().chain(ids(&self.json)).chain(tokenizer.eos_id()).collect();
        Ok(all.into_iter().collect())
    }

    /// The tensors in the files.
    ///
    /// # Errors
    /// As [`TensorFiles::open`].
    pub fn tensors(&self) -> Result<TensorFiles, Error> {
        TensorFiles::open(&self.dir)
    }
}

fn all_control(vocab: &Vocab, size: usize) -> bool {
    vocab.iter().skip(size).flatten().all(|token| token.kind == TokenKind::Control)
}
