//! The output of a run: an ordinary Hugging Face directory with a card.

use std::path::{Path, PathBuf};

use ivl_models::transformer::LoraConfig;
use ivl_models::{
    BaseCard, Checkpoint, TeacherCard, Transformer, ValueCard, save, save_adapters, write_bytes,
};
use ivl_train::{EvalReport, TrainConfig, Trained};
use serde_json::{Map, Value, json};

use super::base::TrainingBase;
use super::encoded_examples::EncodedExamples;
use super::inputs::TrainingInputs;
use super::models::{TrainingModels, value_name};
use super::teacher::TrainingTeacher;
use crate::error::Result;

/// The contents of a value's directory besides the weights; taken from the inputs before the run consumes them.
pub(super) struct ValueDirectory {
    /// `config.json`.
    json: Map<String, Value>,
    /// The checkpoint that the tokenizer comes from.
    source: PathBuf,
    /// The source of the chat template.
    template: Option<String>,
    /// Adapters, and the name of the model that they are trained on.
    lora: Option<(LoraConfig, String)>,
    /// The bases; empty for a model that is trained by itself, which has no card.
    bases: Vec<BaseCard>,
    teacher: Option<TeacherCard>,
    /// Fingerprint of the tokenizer.
    tokenizer: String,
    /// SHA-256 of the training data.
    data: String,
    /// Rows of the training data.
    rows: usize,
}

impl ValueDirectory {
    pub(super) fn new(config: &TrainConfig, inputs: &TrainingInputs) -> Self {
        Self::of(config, &inputs.models, &inputs.examples)
    }

    /// The contents for a run on these models and examples.
    pub(super) fn of(config: &TrainConfig, models: &TrainingModels, examples: &EncodedExamples) -> Self {
        Self {
            json: models.json.clone(),
            source: models.source.path.clone(),
            template: models.template.as_ref().map(|template| template.source().to_owned()),
            lora: config.value.lora.clone().zip(adapted_model(config, models)),
            bases: models.bases.iter().map(TrainingBase::card).collect(),
            teacher: models.teacher.as_ref().map(TrainingTeacher::card),
            tokenizer: models.value_vocab.fingerprint().to_owned(),
            data: examples.data.clone(),
            rows: examples.rows(),
        }
    }

    /// Writes the directory and returns its card. `config.json` comes last: without it the directory is no checkpoint.
    pub(super) fn write(&self, config: &TrainConfig, trained: &Trained) -> Result<Option<ValueCard>> {
        let output = &config.output;
        Checkpoint::open(&self.source)?.write_tokenizer(output)?;
        if let Some(template) = &self.template {
            write_bytes(&output.join("chat_template.jinja"), template.as_bytes())?;
        }
        let card = (!self.bases.is_empty()).then(|| self.card(config, trained));
        if let Some(card) = &card {
            card.write(output)?;
        }
        self.write_weights(&trained.value, output)?;
        Ok(card)
    }

    fn write_weights(&self, value: &Transformer, output: &Path) -> Result<()> {
        match &self.lora {
            Some((lora, base)) if !lora.merge => save_adapters(value, lora, base, &self.json, output)?,
            _ => save(&value.clone().merged(), &self.json, output)?,
        }
        Ok(())
    }

    fn card(&self, config: &TrainConfig, trained: &Trained) -> ValueCard {
        ValueCard {
            steps: trained.value_steps,
            tokens: trained.tokens,
            evals: trained.evals.iter().filter_map(EvalReport::card).collect(),
            train_loss: trained.last.as_ref().map(|last| last.loss),
            ..self.card_of_no_step(config)
        }
    }

    /// The card of a value before its first step; `None` for a model that is trained by itself.
    pub(super) fn empty_card(&self, config: &TrainConfig) -> Option<ValueCard> {
        (!self.bases.is_empty()).then(|| self.card_of_no_step(config))
    }

    fn card_of_no_step(&self, config: &TrainConfig) -> ValueCard {
        ValueCard {
            format: ValueCard::FORMAT,
            connection: config.value.connection,
            bases: self.bases.clone(),
            teacher: self.teacher.clone(),
            tokenizer: self.tokenizer.clone(),
            regularization: regularization(config),
            alpha: 1.0,
            chat_template: self.template.clone(),
            data: self.data.clone(),
            rows: self.rows,
            steps: 0,
            tokens: 0,
            evals: Vec::new(),
            train_loss: None,
            gate: None,
            transfer: None,
            ivl: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The model that adapters of a run adapt: that of the adapters which it continues, else what the value starts from.
fn adapted_model(config: &TrainConfig, models: &TrainingModels) -> Option<String> {
    match models.source.adapters() {
        Some(adapters) => Some(adapters.base.clone()),
        None => value_name(config).map(str::to_owned),
    }
}

/// Everything that keeps the value from leaning on its bases.
fn regularization(config: &TrainConfig) -> Map<String, Value> {
    let mut settings = match json!(config.regularization) {
        Value::Object(settings) => settings,
        _ => Map::new(),
    };
    if config.bases.len() > 1 {
        settings.insert("mixing".to_owned(), json!(config.mixing));
    }
    settings
}
