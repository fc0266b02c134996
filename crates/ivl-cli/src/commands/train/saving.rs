//! What a run leaves behind: an ordinary Hugging Face directory with a card.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ivl_models::transformer::LoraConfig;
use ivl_models::{ChatTemplate, CheckpointFile, FileKind, Transformer, ValueCard, save, save_adapters};
use ivl_train::{EvalReport, TrainConfig, Trained};
use serde_json::{Map, Value, json};

use super::parts::CardParts;

/// The card of what came out.
pub fn card(
    config: &TrainConfig,
    trained: &Trained,
    parts: CardParts,
    data: String,
    rows: usize,
) -> ValueCard {
    ValueCard {
        format: ValueCard::FORMAT,
        connection: config.value.connection,
        bases: parts.bases,
        tokenizer: parts.tokenizer,
        regularization: regularization(config),
        alpha: 1.0,
        chat_template: parts.template,
        data,
        rows,
        steps: trained.value_steps,
        tokens: trained.tokens,
        evals: trained.evals.iter().filter_map(EvalReport::card).collect(),
        train_loss: trained.last.as_ref().map(|last| last.loss),
        transfer: None,
        ivl: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Everything that was to keep the value from leaning on its bases.
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

/// What the value's directory holds besides its weights.
pub struct Saver {
    pub json: Map<String, Value>,
    pub source: PathBuf,
    pub template: Option<ChatTemplate>,
    /// Adapters, and the name of the model that they were trained on.
    pub lora: Option<(LoraConfig, String)>,
}

impl Saver {
    /// Writes the value's directory. `config.json` comes last: without it the directory is no checkpoint.
    pub fn save(&self, value: &Transformer, card: Option<&ValueCard>, output: &Path) -> Result<()> {
        for name in CheckpointFile::of_kind(FileKind::Tokenizer) {
            let from = self.source.join(name);
            if from.is_file() {
                let bytes =
                    std::fs::read(&from).with_context(|| format!("cannot read `{}`", from.display()))?;
                ivl_models::write_bytes(&output.join(name), &bytes)?;
            }
        }
        if let Some(template) = &self.template {
            ivl_models::write_bytes(&output.join("chat_template.jinja"), template.source().as_bytes())?;
        }
        if let Some(card) = card {
            card.write(output)?;
        }
        match &self.lora {
            Some((lora, base)) if !lora.merge => save_adapters(value, lora, base, &self.json, output)?,
            _ => save(&value.clone().merged(), &self.json, output)?,
        }
        Ok(())
    }
}
