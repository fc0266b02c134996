//! The demonstrations of a run in tokens.

use std::path::PathBuf;

use ivl_train::{Dataset, Encoder, Examples, ObjectiveKind, SourceConfig, TrainConfig};

use super::events::{Reporter, TrainEvent};
use crate::error::Result;

/// The examples of a run, and fingerprints of how they were made from what.
pub(super) struct EncodedExamples {
    pub(super) train: Examples,
    pub(super) eval: Examples,
    /// Of `train` and of `eval`.
    pub(super) fingerprints: [String; 2],
    /// Of the training data.
    pub(super) data: String,
}

impl EncodedExamples {
    /// Tokenizes the data of a run, or finds the tokens of an earlier run.
    pub(super) fn new(
        config: &TrainConfig,
        encoder: &Encoder<'_>,
        data: &[Dataset; 2],
        reporter: &Reporter<'_>,
    ) -> Result<Self> {
        let [train_data, eval_data] = data;
        let train = encode(train_data, encoder, "data.train", config, reporter)?;
        let eval = encode(eval_data, encoder, "data.eval", config, reporter)?;
        let encoding = encoder.fingerprint()?;
        let fingerprints = [train_data, eval_data].map(|data| format!("{} {encoding}", data.fingerprint));
        Ok(Self { train, eval, fingerprints, data: train_data.fingerprint.clone() })
    }

    /// Rows of the training data.
    pub(super) fn rows(&self) -> usize {
        self.train.reports().iter().map(|report| report.rows).sum()
    }
}

/// Opens sources of a run: pairs of answers or demonstrations, as the objective wants.
pub(super) fn open_data(config: &TrainConfig, sources: &[SourceConfig]) -> Result<Dataset> {
    Ok(match config.objective {
        ObjectiveKind::Dpo => Dataset::open_pairs(sources)?,
        _ => Dataset::open(sources)?,
    })
}

/// Tokenizes a dataset; no sources give no examples. `setting` names the key of the configuration.
fn encode(
    dataset: &Dataset,
    encoder: &Encoder<'_>,
    setting: &'static str,
    config: &TrainConfig,
    reporter: &Reporter<'_>,
) -> Result<Examples> {
    if dataset.sources.is_empty() {
        return Ok(Examples::default());
    }
    let examples = tokenize(dataset, encoder, setting, config, reporter)?;
    let (reports, max_length) = (examples.reports().to_vec(), encoder.max_length());
    reporter.report(TrainEvent::Tokenized { setting, reports, max_length });
    Ok(examples)
}

/// Tokenizes a dataset, or finds its tokens from an earlier run.
pub(super) fn tokenize(
    dataset: &Dataset,
    encoder: &Encoder<'_>,
    setting: &'static str,
    config: &TrainConfig,
    reporter: &Reporter<'_>,
) -> Result<Examples> {
    let cache: PathBuf = config.data.cache.clone().unwrap_or_else(|| config.output.join("tokens"));
    let mut read = 0;
    let examples = Examples::encode(dataset, encoder, setting, &cache, &mut |rows| {
        read = rows;
        reporter.report(TrainEvent::Tokenizing { rows, done: false });
    })?;
    reporter.report(TrainEvent::Tokenizing { rows: read, done: true });
    Ok(examples)
}
