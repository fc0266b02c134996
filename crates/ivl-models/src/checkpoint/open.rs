//! An opened checkpoint: everything but its weights.

use std::collections::BTreeSet;
use std::path::Path;

use ivl_core::Vocab;
use ivl_core::vocab::{Role, TokenKind};
use serde_json::{Map, Value};

use super::gguf_directory::gguf_in;
use super::other_format::missing;
use super::source::{GgufModel, Source};
use super::tensor_files::TensorFiles;
use crate::Error;
use crate::config::ModelConfig;
use crate::families::wrapped::text_model;
use crate::families::{Family, WeightMap, read_config};
use crate::fields::Fields;
use crate::files::read_json;
use crate::gguf::Gguf;
use crate::quantization::Quantization;
use crate::template::chat::ChatTemplate;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::configured_ids::{generation_config, ids};

/// An opened checkpoint: its configuration is read, its weights are not.
#[derive(Debug)]
pub struct Checkpoint {
    source: Source,
    json: Map<String, Value>,
    family: &'static Family,
    config: ModelConfig,
    other_head: Option<String>,
    quantization: Option<Quantization>,
}

impl Checkpoint {
    /// Opens a GGUF file, or a directory that holds a `config.json` or one GGUF model.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] if it holds neither, what [`read_config`] says about the configuration, and what [`Gguf::open`] says
    /// about a file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path.is_file() {
            return Self::open_gguf(path);
        }
        if let Some(file) = gguf_in(path)? {
            return Self::open_gguf(&file);
        }
        let config = path.join("config.json");
        if !config.is_file() {
            return Err(missing(path, "config.json"));
        }
        let mut checkpoint = Self::from_json(path, read_json(&config)?)?;
        checkpoint.untie_other_head();
        Ok(checkpoint)
    }

    fn open_gguf(path: &Path) -> Result<Self, Error> {
        let model = GgufModel::open(path)?;
        let json = model.architecture.config(&model.gguf)?;
        Self::new(Source::Gguf(Box::new(model)), json)
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
        let files = self.tensors().ok()?;
        let map = self.weight_map();
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
        Self::new(Source::Directory(dir.to_owned()), json)
    }

    fn new(source: Source, json: Map<String, Value>) -> Result<Self, Error> {
        let json = text_model(&json, &source.config_path())?.into_owned();
        let path = source.config_path();
        let (family, config) = read_config(&json, &path)?;
        let quantization = Quantization::read(&Fields::new(&json, &path))?;
        Ok(Self { source, json, family, config, other_head: None, quantization })
    }

    /// The same files under another configuration, for a model of another shape with the same tokenizer.
    ///
    /// # Errors
    /// The result of [`read_config`].
    pub fn with_config(self, json: Map<String, Value>) -> Result<Self, Error> {
        Self::new(self.source, json)
    }

    /// The directory, or the GGUF file.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// The GGUF file, if it is one.
    pub fn gguf(&self) -> Option<&Gguf> {
        match &self.source {
            Source::Directory(_) => None,
            Source::Gguf(model) => Some(&model.gguf),
        }
    }

    /// Names and layout of the tensors in the files.
    pub(super) fn weight_map(&self) -> WeightMap {
        match &self.source {
            Source::Directory(_) => (self.family.weights)(&self.config),
            Source::Gguf(model) => model.architecture.weights(&self.config),
        }
    }

    /// `config.json`, or the configuration of the language model that it wraps, or what a GGUF file says in its place;
    /// `tie_word_embeddings` is false if the files hold a head of their own.
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
    /// [`Error::NotACheckpoint`] or [`Error::OtherFormat`] without a tokenizer that ivl reads, [`Error::Tokenizer`] for one that cannot
    /// be read.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        if self.gguf().is_some() {
            return Ok(Tokenizer::from_file(self.path())?);
        }
        Tokenizer::from_dir(self.path())?.ok_or_else(|| missing(self.path(), "tokenizer.json"))
    }

    /// The chat template, if there is one.
    ///
    /// # Errors
    /// [`Error::Chat`] for one that cannot be read.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, Error> {
        Ok(ChatTemplate::from_dir(self.path())?)
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
                dir: self.path().to_owned(),
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
        let generation = generation_config(self.path()).unwrap_or_default();
        let mut all: BTreeSet<u32> = tokenizer.eos_id().into_iter().collect();
        for (json, file) in [(&generation, "generation_config.json"), (&self.json, "config.json")] {
            let path = self.path().join(file);
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

    /// How the weights in the files are quantised, if `config.json` says that they are.
    pub fn quantization(&self) -> Option<&Quantization> {
        self.quantization.as_ref()
    }

    /// The tensors in the files, with the names that they have there. Quantised weights are put together from their parts.
    ///
    /// # Errors
    /// As [`TensorFiles::open`], and [`Error::QuantizedPart`] for parts of a quantised weight that do not fit.
    pub fn tensors(&self) -> Result<TensorFiles, Error> {
        match (&self.source, &self.quantization) {
            (Source::Directory(dir), Some(quantization)) => TensorFiles::open(dir)?.dequantized(quantization),
            (Source::Directory(dir), None) => TensorFiles::open(dir),
            (Source::Gguf(model), _) => Ok(TensorFiles::from_gguf(&model.gguf)),
        }
    }
}

fn all_control(vocab: &Vocab, size: usize) -> bool {
    vocab.iter().skip(size).flatten().all(|token| token.kind == TokenKind::Control)
}
