//! The models of a run before a weight is read, and how texts are written for all of them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use ivl_core::Vocab;
use ivl_models::{CascadeInput, ChatTemplate, Checkpoint, Tokenizer};
use ivl_train::{Encoder, TrainConfig};
use serde_json::{Map, Value};

use super::bases::{NamedBase, OpenBase, bases_of, held_out_bases_of};
use super::parts::{template, value_checkpoint, value_source};

/// What is small of every model: configurations, tokenizers, the chat template.
pub struct OpenModels {
    /// The directory that the value comes from.
    pub source: PathBuf,
    /// The value's configuration, with what the run replaces in it.
    pub json: Map<String, Value>,
    pub checkpoint: Checkpoint,
    pub value_vocab: Vocab,
    pub bases: Vec<OpenBase>,
    pub held_out: Vec<OpenBase>,
    pub template: Option<ChatTemplate>,
    tokenizer: Tokenizer,
    /// Most tokens of an example: what is asked for, and what all can read.
    pub max_length: usize,
}

impl OpenModels {
    pub fn open(config: &TrainConfig) -> Result<Self> {
        let source = value_source(config)?;
        let (json, checkpoint) = value_checkpoint(config, &source)?;
        let value_tokenizer = checkpoint.tokenizer()?;
        let value_vocab = checkpoint.vocab(&value_tokenizer)?;
        let open = |base: NamedBase<'_>| OpenBase::open(base, &value_vocab);
        let bases: Vec<OpenBase> = bases_of(config).into_iter().map(open).collect::<Result<_>>()?;
        let held_out = held_out_bases_of(config).into_iter().map(open);
        let held_out: Vec<OpenBase> = held_out.collect::<Result<_>>().context("in eval.bases")?;
        let template = template(config, bases.first().map(|base| &base.checkpoint), &checkpoint)?;
        let alike = || bases.iter().chain(&held_out).filter(|base| base.shares_tokens());
        let stride = config.value.connection.cascade_input().map_or(1, CascadeInput::stride);
        let longest = alike().map(OpenBase::max_positions);
        let longest = longest.fold(checkpoint.config().max_positions / stride, usize::min);
        // Whoever knows the fewest tokens tokenizes: then every id is known to all.
        let tokenizers = std::iter::once(&value_tokenizer).chain(alike().map(|base| &base.tokenizer));
        let tokenizer = tokenizers.min_by_key(|tokenizer| tokenizer.vocab().size());
        let tokenizer = tokenizer.unwrap_or(&value_tokenizer).clone();
        let max_length = config.data.max_length.min(longest);
        Ok(Self { source, json, checkpoint, value_vocab, bases, held_out, template, tokenizer, max_length })
    }

    /// The tokenizer of the run's texts.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Turns rows into examples.
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder::new(&self.tokenizer, self.template.as_ref(), self.max_length)
    }
}
