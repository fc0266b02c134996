//! An opened checkpoint directory: everything but its weights.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ivl_core::Vocab;
use ivl_core::vocab::{Role, TokenKind};
use serde_json::{Map, Value};

use super::other_format::missing;
use super::tensor_files::TensorFiles;
use crate::Error;
use crate::config::ModelConfig;
use crate::families::wrapped::text_model;
use crate::families::{Family, read_config};
use crate::files::read_json;
use crate::template::chat::ChatTemplate;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::configured_ids::{generation_config, ids};

/// An opened checkpoint: its configuration is read, its weights are not.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    json: Map<String, Value>,
    family: &'static Family,
    config: ModelConfig,
    other_head: Option<String>,
}

impl Checkpoint {
    /// Opens a directory that holds a `config.json`.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] if it holds none, and what [`read_config`] says about it.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("config.json");
        if !path.is_file() {
            return Err(missing(dir, "config.json"));
        }
        let mut checkpoint = Self::from_json(dir, read_json(&path)?)?;
        checkpoint.untie_other_head();
        Ok(checkpoint)
    }

    /// Where the files hold a head that is not the embedding, it is the head, whatever `tie_word_embeddings` says: then the
    /// configuration that is read, and written for models that start from this one, says so too.
    fn untie_other_head(&mut self) {
        self.other_head = if self.config.embedding.tied { self.find_other_head() } else { None };
        if self.other_head.is_some() {
            self.config.embedding.tied = false;
            self.json.insert("tie_word_embeddings".to_owned(), Value::Bool(false));
        }
    }

    /// The stored head that is another matrix than the embedding. Weights that cannot be opened are reported when they are loaded.
    fn find_other_head(&self) -> Option<String> {
        let files = TensorFiles::open(&self.dir).ok()?;
        let map = (self.family.weights)(&self.config);
        let stored = |parameter: &str| {
            let name = map.resolve(parameter).name;
            let short = name.strip_prefix(map.prefix()).unwrap_or(&name).to_owned();
            [name, short].into_iter().find(|name| files.shape(name).is_some())
        };
        let (embedding, head) = (stored("embedding.weight")?, stored("head.weight")?);
        (!files.are_equal(&embedding, &head)).then_some(head)
    }

    /// The tensor of a head that is used although the configuration says that the embedding is the head.
    pub(super) fn head_of_its_own(&self) -> Option<&str> {
        self.other_head.as_deref()
    }

    /// A directory with the configuration that it has or will have.
    pub(crate) fn from_json(dir: &Path, json: Map<String, Value>) -> Result<Self, Error> {
        let path = dir.join("config.json");
        let json = text_model(&json, &path)?.into_owned();
        let (family, config) = read_config(&json, &path)?;
        Ok(Self { dir: dir.to_owned(), json, family, config, other_head: None })
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

    /// `config.json`, or the configuration of the language model that it wraps; `tie_word_embeddings` is false if the files hold a
    /// head of their own.
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
            return Err(missing(&self.dir, "tokenizer.json"));
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
    /// tokenizers define and no text contains, are left out. [`Error::InvalidField`] as [`end_tokens`](Self::end_tokens).
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

    /// Tokens that end a text: `eos_token_id` of `generation_config.json` and `config.json`, and the tokenizer's own. A
    /// `generation_config.json` that cannot be read is a [note](Self::notes).
    ///
    /// # Errors
    /// [`Error::InvalidField`] for an id that is no number, or of which the model has no logit.
    pub fn end_tokens(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, Error> {
        let generation = generation_config(&self.dir).unwrap_or_default();
        let mut all: BTreeSet<u32> = tokenizer.eos_id().into_iter().collect();
        for (json, file) in [(&generation, "generation_config.json"), (&self.json, "config.json")] {
            let path = self.dir.join(file);
            for id in ids(json, "eos_token_id", &path)? {
                if id as usize >= self.config.vocab_size {
                    return Err(Error::InvalidField {
                        path,
                        field: "eos_token_id".to_owned(),
                        expected: format!("an id below {}, the number of logits", self.config.vocab_size),
                        got: id.to_string(),
                    });
                }
                all.insert(id);
            }
        }
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
