//! The value card: what a value is, and how it was trained.

use std::path::{Path, PathBuf};

use ivl_core::fusion::LearnedGate;
use serde::{Deserialize, Serialize};

use crate::base_card::BaseCard;
use crate::connection::Connection;
use crate::files::{read_json, write_bytes};
use crate::gate_card::GateCard;
use crate::gguf::Gguf;
use crate::{Error, FileError};

/// The description of a value and of its training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueCard {
    /// Version of this format.
    pub format: u32,
    /// How the value reads its input.
    pub connection: Connection,
    /// Bases it was trained on.
    pub bases: Vec<BaseCard>,
    /// The teacher whose predictions it was trained to reproduce; its losses are divergences from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<TeacherCard>,
    /// Fingerprint of the value's own tokenizer.
    pub tokenizer: String,
    /// Regularisers and their weights.
    pub regularization: serde_json::Map<String, serde_json::Value>,
    /// The recommended alpha.
    pub alpha: f64,
    /// The chat template it was trained with.
    pub chat_template: Option<String>,
    /// SHA-256 of the training data.
    pub data: String,
    /// Rows of the training data.
    pub rows: usize,
    /// Optimizer steps.
    pub steps: usize,
    /// Trained tokens seen.
    pub tokens: u64,
    /// Held-out losses at the end.
    pub evals: Vec<EvalCard>,
    /// Mean loss of the last step.
    pub train_loss: Option<f64>,
    /// The gate that multiplies the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateCard>,
    /// Results of `ivl transfer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferCard>,
    /// The version of ivl that wrote it.
    pub ivl: String,
}

/// Which bases a value helps, by how much, and at which alpha.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransferCard {
    /// The result in one sentence.
    pub verdict: String,
    /// The recommended alpha.
    pub alpha: f64,
    /// The kind of the figures below: `exact_match`, a share of correct answers, or `loss`, nats per token.
    pub figure: String,
    /// SHA-256 of the questions.
    pub data: String,
    /// Number of questions.
    pub questions: usize,
    /// Seeds of the value.
    pub seeds: usize,
    /// One entry for each base.
    pub bases: Vec<TransferBase>,
}

/// Effect of a value on one base, at the recommended alpha.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransferBase {
    /// Name of the base.
    pub name: String,
    /// Whether the value was trained against it.
    pub trained_against: bool,
    /// `helps`, `unclear` or `harms`.
    pub effect: String,
    /// Figure of the base without the value.
    pub alone: f64,
    /// Figure with the value.
    pub with: Option<f64>,
    /// Figure of the fully fine-tuned base.
    pub full: Option<f64>,
    /// Measured weight that is best on this base, with the ends of its 95% interval.
    #[serde(default)]
    pub alpha: Option<[f64; 3]>,
    /// Improvement over the base, with the ends of its 95% interval.
    pub gain: Option<[f64; 3]>,
    /// Share of the fine-tuning gap that is recovered, with the ends of its 95% interval.
    pub recovered: Option<[f64; 3]>,
}

/// The teacher of a distilled value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TeacherCard {
    /// As named in the configuration.
    pub name: String,
    /// The values that were added to it, and their weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<(String, f64)>,
    /// The temperature of the divergence.
    pub temperature: f64,
    /// The weight of the cross-entropy beside it.
    pub cross_entropy: f64,
}

/// A held-out loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalCard {
    /// Name of the base.
    pub base: String,
    /// Loss of the base without the value, in nats per token.
    pub base_loss: f64,
    /// Loss with the value, in nats per token.
    pub loss: f64,
    /// KL divergence of the fused distribution from the base's, in nats per token.
    #[serde(default)]
    pub kl: Option<f64>,
    /// Held-out tokens.
    pub tokens: usize,
}

impl ValueCard {
    /// Name of the card's file in a value's directory.
    pub const FILE: &str = "ivl.json";

    /// Key of the card, as JSON, in the metadata of a value's GGUF file.
    pub const GGUF_KEY: &str = "ivl.card";

    /// The format of a card without a gate.
    pub const FORMAT: u32 = 1;

    /// The format of a card with a gate: versions of ivl that know no gates refuse it, where they would ignore the field.
    pub const GATED_FORMAT: u32 = 2;

    /// The file of a value's card: `ivl.json` in a directory, `NAME.ivl.json` beside `NAME.gguf`.
    fn file_of(value: &Path) -> PathBuf {
        match value.is_file() {
            true => value.with_extension(Self::FILE),
            false => value.join(Self::FILE),
        }
    }

    /// Reads the card of a value, if it has one: that of a directory, or of a GGUF file, where the file beside it goes before the
    /// card in its metadata.
    ///
    /// # Errors
    /// [`Error::File`] for a card that cannot be read, [`Error::InvalidField`] for one of a later format, or with a gate that
    /// cannot be applied.
    pub fn read(value: &Path) -> Result<Option<Self>, Error> {
        let Some((card, path)) = Self::parse(value)? else { return Ok(None) };
        card.gate.as_ref().map(|gate| gate.gate(&path)).transpose()?;
        Ok(Some(card))
    }

    /// Reads the card of a value, and takes the gate out of what was read: one that this version of ivl cannot apply as well.
    ///
    /// # Errors
    /// As [`read`](Self::read), but for gates that cannot be applied.
    pub fn read_without_gate(value: &Path) -> Result<Option<(Self, Option<GateCard>)>, Error> {
        let Some((mut card, _)) = Self::parse(value)? else { return Ok(None) };
        let gate = card.gate.take();
        card.set_gate(None);
        Ok(Some((card, gate)))
    }

    /// The card of a value, and its file.
    fn parse(value: &Path) -> Result<Option<(Self, PathBuf)>, Error> {
        let path = Self::file_of(value);
        let card = if path.is_file() {
            read_json(&path)?
        } else if value.is_file() {
            let gguf = Gguf::open(value)?;
            let Some(text) = gguf.metadata().opt_text(Self::GGUF_KEY)? else { return Ok(None) };
            serde_json::from_str(text).map_err(|source| FileError::Json { path: value.to_owned(), source })?
        } else {
            return Ok(None);
        };
        Self::check_format(&card, &path)?;
        Ok(Some((card, path)))
    }

    fn check_format(card: &Self, path: &Path) -> Result<(), Error> {
        if card.format > Self::GATED_FORMAT {
            return Err(Error::InvalidField {
                path: path.to_owned(),
                field: "format".to_owned(),
                expected: format!("at most {}: a later version of ivl wrote this card", Self::GATED_FORMAT),
                got: card.format.to_string(),
            });
        }
        Ok(())
    }

    /// The gate that multiplies the value, if there is one; `value` is the place of the card.
    ///
    /// # Errors
    /// [`Error::InvalidField`] for a gate that cannot be applied. [`read`](Self::read) returns no such card.
    pub fn learned_gate(&self, value: &Path) -> Result<Option<LearnedGate>, Error> {
        self.gate.as_ref().map(|gate| gate.gate(&Self::file_of(value))).transpose()
    }

    /// Puts a gate into the card, or takes it out.
    pub fn set_gate(&mut self, gate: Option<GateCard>) {
        self.format = if gate.is_some() { Self::GATED_FORMAT } else { Self::FORMAT };
        self.gate = gate;
    }

    /// Writes the card into a directory or beside a GGUF file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    pub fn write(&self, value: &Path) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(self).expect("strings, numbers and lists of them serialise");
        Ok(write_bytes(&Self::file_of(value), &bytes)?)
    }
}
