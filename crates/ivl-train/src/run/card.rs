//! The value card `ivl.json`: what a value is, and what it was made from.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::objective::connection::Connection;
use crate::run::report::EvalReport;

/// Name of the card in a value's directory.
pub const CARD: &str = "ivl.json";

/// The format that this version writes.
pub const FORMAT: u32 = 1;

/// What a value is, and what it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueCard {
    /// Version of this format.
    pub format: u32,
    /// How the value reads its input.
    pub connection: Connection,
    /// Bases it was trained on.
    pub bases: Vec<BaseCard>,
    /// Fingerprint of the value's own tokenizer.
    pub tokenizer: String,
    /// Regularisers and their weights.
    pub regularization: serde_json::Map<String, serde_json::Value>,
    /// The alpha to start from.
    pub alpha: f64,
    /// The chat template it was trained with.
    pub chat_template: Option<String>,
    /// SHA-256 of the training data.
    pub data: String,
    /// Rows of the training data.
    pub rows: usize,
    /// Optimizer steps.
    pub steps: usize,
    /// Learnt tokens seen.
    pub tokens: u64,
    /// Held-out losses at the end.
    pub evals: Vec<EvalCard>,
    /// Mean loss of the last step.
    pub train_loss: Option<f64>,
    /// What `ivl transfer` found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferCard>,
    /// The version of ivl that wrote it.
    pub ivl: String,
}

/// Where a value helps, by how much, and with which weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransferCard {
    /// In words.
    pub verdict: String,
    /// The recommended weight.
    pub alpha: f64,
    /// What the figures below are: `exact_match`, a share of right answers, or `loss`, nats a token.
    pub figure: String,
    /// SHA-256 of the questions.
    pub data: String,
    /// How many.
    pub questions: usize,
    /// Seeds of the value.
    pub seeds: usize,
    /// One for each base.
    pub bases: Vec<TransferBase>,
}

/// What a value does to one base, at the recommended weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransferBase {
    /// Which base.
    pub name: String,
    /// Whether the value was trained against it.
    pub trained_against: bool,
    /// `helps`, `unclear` or `harms`.
    pub effect: String,
    /// The base alone.
    pub alone: f64,
    /// With the value.
    pub with: Option<f64>,
    /// After a fine-tuning of its own.
    pub full: Option<f64>,
    /// By how much better than alone, with the ends of its 95% interval.
    pub gain: Option<[f64; 3]>,
    /// Share of the fine-tuning gap, with the ends of its 95% interval.
    pub recovered: Option<[f64; 3]>,
}

/// A base that a value was trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseCard {
    /// As named in the configuration.
    pub name: String,
    /// SHA-256 of its `config.json`.
    pub config: String,
    /// Fingerprint of its tokenizer.
    pub tokenizer: String,
}

/// A held-out loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalCard {
    /// Which base.
    pub base: String,
    /// Loss of the base alone.
    pub base_loss: f64,
    /// Loss with the value.
    pub loss: f64,
    /// KL divergence of the fused distribution from the base's, per token.
    #[serde(default)]
    pub kl: Option<f64>,
    /// Held-out tokens.
    pub tokens: usize,
}

impl EvalCard {
    /// The part of a report that a card keeps; none for a model trained by itself.
    pub fn new(report: &EvalReport) -> Option<Self> {
        let (base, base_loss) = (report.base.clone()?, report.base_loss?);
        Some(Self { base, base_loss, loss: report.loss, kl: report.kl, tokens: report.tokens })
    }
}

impl ValueCard {
    /// Reads the card of a directory, if it has one.
    ///
    /// # Errors
    /// [`Error::Io`] or [`ivl_models::Error::Json`] for a card that cannot be read, [`Error::InvalidSetting`] for one of a
    /// later format.
    pub fn read(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(CARD);
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = std::fs::read(&path).map_err(|source| Error::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let card: Self =
            serde_json::from_slice(&bytes).map_err(|source| ivl_models::Error::Json { path, source })?;
        if card.format > FORMAT {
            return Err(Error::InvalidSetting {
                name: "format",
                expected: "1: this card was written by a later version of ivl",
                got: card.format.to_string(),
            });
        }
        Ok(Some(card))
    }

    /// Writes the card, whole or not at all.
    ///
    /// # Errors
    /// [`ivl_models::Error::Io`].
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        Ok(ivl_models::write_bytes(&dir.join(CARD), &bytes)?)
    }
}
