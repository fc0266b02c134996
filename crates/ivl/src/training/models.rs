//! The models of a run before a weight is read, and how texts become tokens for all of them.

use ivl_core::Vocab;
use ivl_models::{CascadeInput, ChatTemplate, Checkpoint, Tokenizer};
use ivl_train::{DataConfig, Encoder, Init, TrainConfig};
use serde_json::{Map, Value};

use super::base::{NamedBase, TrainingBase, bases_of, held_out_bases_of};
use super::teacher::TrainingTeacher;
use crate::error::{Error, Result};
use crate::open_checkpoint::OpenCheckpoint;

/// Configurations, tokenizers and the chat template of a run.
pub struct TrainingModels {
    /// The checkpoint that the value starts from.
    pub(super) source: OpenCheckpoint,
    /// The value's configuration, with what the run replaces in it.
    pub(super) json: Map<String, Value>,
    pub(super) checkpoint: Checkpoint,
    pub(super) value_vocab: Vocab,
    pub(super) bases: Vec<TrainingBase>,
    pub(super) held_out: Vec<TrainingBase>,
    pub(super) teacher: Option<TrainingTeacher>,
    pub(super) template: Option<ChatTemplate>,
    tokenizer: Tokenizer,
    max_length: usize,
    /// Logits of all models that read the run's tokens.
    logits: usize,
    data: DataConfig,
}

/// The name of what the value starts from: what the configuration names, else the first base.
pub(super) fn value_name(config: &TrainConfig) -> Option<&str> {
    let first = || bases_of(config).first().map(|base| base.name);
    config.value.model.as_deref().or_else(first)
}

/// Opens what the value starts from.
pub(super) fn open_value(config: &TrainConfig) -> Result<OpenCheckpoint> {
    let name = value_name(config).ok_or_else(|| Error::Settings {
        reason: "`value.model` is not set, and there is no base to start from".to_owned(),
    })?;
    OpenCheckpoint::open(name)
}

impl TrainingModels {
    /// Opens every model that a configuration names.
    ///
    /// # Errors
    /// Names that cannot be resolved, files that cannot be read, bases that do not fit the value.
    pub fn open(config: &TrainConfig) -> Result<Self> {
        let source = open_value(config)?;
        check_adapters(config, &source)?;
        check_floats(config, &source)?;
        let (json, checkpoint) = value_checkpoint(config, &source)?;
        let value_vocab = checkpoint.vocab(&source.tokenizer)?;
        let bases = open_bases(bases_of(config), &value_vocab)?;
        let held_out = open_bases(held_out_bases_of(config), &value_vocab)
            .map_err(|error| Error::Setting { key: "eval.bases", source: Box::new(error) })?;
        let teacher = TrainingTeacher::open(config, &value_vocab)?;
        let template = chat_template(config, teacher.as_ref(), bases.first(), &checkpoint)?;
        let same_tokens: Vec<&TrainingBase> =
            bases.iter().chain(&held_out).filter(|base| base.shares_tokens()).collect();
        let stride = config.value.connection.cascade_input().map_or(1, CascadeInput::stride);
        let longest = same_tokens.iter().map(|base| base.open.max_positions());
        let of_teacher = teacher.as_ref().map(|teacher| teacher.open.max_positions());
        let longest = longest.chain(of_teacher).fold(checkpoint.config().max_positions / stride, usize::min);
        // The tokenizer with the fewest tokens: then every id is known to all.
        let mut tokenizer = &source.tokenizer;
        for base in &same_tokens {
            if base.open.tokenizer.vocab().size() < tokenizer.vocab().size() {
                tokenizer = &base.open.tokenizer;
            }
        }
        if let Some(teacher) = &teacher
            && teacher.open.tokenizer.vocab().size() < tokenizer.vocab().size()
        {
            tokenizer = &teacher.open.tokenizer;
        }
        let logits = same_tokens.iter().map(|base| base.open.vocab.size());
        let logits = logits.chain(teacher.as_ref().map(|teacher| teacher.open.vocab.size()));
        let logits = logits.fold(value_vocab.size(), usize::min);
        let (tokenizer, max_length) = (tokenizer.clone(), config.data.max_length.min(longest));
        Ok(Self {
            source,
            json,
            checkpoint,
            value_vocab,
            bases,
            held_out,
            teacher,
            template,
            tokenizer,
            max_length,
            logits,
            data: config.data.clone(),
        })
    }

    /// The tokenizer of the run's texts.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The longest example in tokens: what the configuration says, and what all models can read.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The number of ids, from 0 on, for which all models that read the run's tokens have a logit.
    pub(super) fn shared_ids(&self) -> usize {
        self.logits
    }

    /// Turns rows into examples.
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder::new(&self.tokenizer, self.template.as_ref(), self.max_length)
            .with_data(&self.data)
            .with_logits(self.logits)
    }
}

/// Refuses adapters that adapt nothing, and adapters that are continued as adapters of another shape.
fn check_adapters(config: &TrainConfig, source: &OpenCheckpoint) -> Result<()> {
    let Some(wanted) = &config.value.lora else { return Ok(()) };
    let shape = source.checkpoint.config();
    let targets = wanted.targets_in(shape);
    if targets.is_empty() {
        let reason = format!(
            "`value.lora.targets` is {:?}, and `{}` has none of these projections",
            wanted.targets, source.name
        );
        return Err(Error::Settings { reason });
    }
    let Some(found) = source.adapters().map(|adapters| &adapters.config) else { return Ok(()) };
    if (wanted.rank, wanted.alpha) == (found.rank, found.alpha) && targets == found.targets_in(shape) {
        return Ok(());
    }
    let reason = format!(
        "`{}` holds adapters of rank {} with alpha {} on {:?}, and `value.lora` asks for rank {} with alpha {} on {:?}; \
         continue them as they are, or leave `value.lora` out to train all weights",
        source.name, found.rank, found.alpha, found.targets, wanted.rank, wanted.alpha, targets
    );
    Err(Error::Settings { reason })
}

/// Refuses to train all weights of a quantised checkpoint: their numbers are not those of the model that it was made from, and a user
/// who wants to train these says so by converting them.
fn check_floats(config: &TrainConfig, source: &OpenCheckpoint) -> Result<()> {
    match source.checkpoint.quantization() {
        Some(quantization) if config.value.init == Init::Checkpoint && config.value.lora.is_none() => {
            Err(Error::QuantizedValue { name: source.name.clone(), quantization: quantization.to_string() })
        }
        _ => Ok(()),
    }
}

fn open_bases(bases: Vec<NamedBase<'_>>, value_vocab: &Vocab) -> Result<Vec<TrainingBase>> {
    bases.into_iter().map(|base| TrainingBase::open(base, value_vocab)).collect()
}

/// The configuration of the value: that of its checkpoint, with overrides for a random start.
fn value_checkpoint(
    config: &TrainConfig,
    source: &OpenCheckpoint,
) -> Result<(Map<String, Value>, Checkpoint)> {
    let checkpoint = Checkpoint::open(&source.path)?;
    let mut json = checkpoint.json().clone();
    if config.value.overrides.is_empty() {
        return Ok((json, checkpoint));
    }
    json.extend(config.value.overrides.clone());
    let checkpoint = checkpoint
        .with_config(json.clone())
        .map_err(|error| Error::Setting { key: "value.overrides", source: Box::new(error.into()) })?;
    Ok((json, checkpoint))
}

fn chat_template(
    config: &TrainConfig,
    teacher: Option<&TrainingTeacher>,
    base: Option<&TrainingBase>,
    value: &Checkpoint,
) -> Result<Option<ChatTemplate>> {
    if let Some(path) = &config.data.chat_template {
        let template = ChatTemplate::from_file(path)?;
        return Ok(Some(template.with_special_tokens(value.tokenizer()?.special_tokens())));
    }
    // A teacher was tuned with the template that it has.
    if let Some(template) = teacher.map(TrainingTeacher::chat_template).transpose()?.flatten() {
        return Ok(Some(template));
    }
    match value.chat_template()? {
        Some(template) => Ok(Some(template)),
        None => Ok(base.map(|base| base.open.checkpoint.chat_template()).transpose()?.flatten()),
    }
}
