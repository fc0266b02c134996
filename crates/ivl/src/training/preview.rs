//! Preview of a run's data before it runs.

use std::sync::Arc;

use ivl_train::{
    Batching, Dataset, Example, Examples, Filling, Format, OnError, Place, Plan, SourceReport, TrainConfig,
};

use super::encoded_examples::{open_data, tokenize};
use super::events::{Reporter, TrainEvent};
use super::models::TrainingModels;
use crate::error::{Error, Result};

/// The data of a run as it would be read: examples, and statistics of lengths and batches.
pub struct DataPreview<'a> {
    config: &'a TrainConfig,
    models: TrainingModels,
    dataset: Dataset,
    setting: &'static str,
}

/// A row as an example.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PreviewedExample {
    /// The place of the row.
    pub place: Place,
    /// The format of its source.
    pub format: Format,
    /// `chosen` or `rejected`, if it is an answer of a pair.
    pub side: Option<&'static str>,
    /// The example, cut to the longest length.
    pub example: Example,
    /// Its tokens before it was cut.
    pub length: usize,
}

impl PreviewedExample {
    /// Whether each token is trained on. The first token never is, since nothing precedes it.
    pub fn loss_mask(&self) -> Vec<bool> {
        self.example.loss_mask.iter().enumerate().map(|(index, &trained)| trained && index > 0).collect()
    }
}

/// Lengths of all examples, and how each way of batching fills its places.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DataStatistics {
    /// The longest example in tokens.
    pub max_length: usize,
    /// Counts of the rows of each source.
    pub reports: Vec<SourceReport>,
    /// Sorted lengths of all examples.
    pub lengths: Vec<u32>,
    /// Every way of batching, with what it fills and the steps it takes.
    pub batchings: Vec<(Batching, Filling, usize)>,
}

impl<'a> DataPreview<'a> {
    /// Opens the models and the training data of a configuration, or its held-out data.
    ///
    /// # Errors
    /// The reason.
    pub fn open(config: &'a TrainConfig, held_out: bool) -> Result<Self> {
        let models = TrainingModels::open(config)?;
        let (sources, setting) = match held_out {
            true => (&config.data.eval, "data.eval"),
            false => (&config.data.train, "data.train"),
        };
        if sources.is_empty() {
            return Err(Error::Settings { reason: format!("`{setting}` names no source") });
        }
        let dataset = open_data(config, sources)?;
        Ok(Self { config, models, dataset, setting })
    }

    /// The models of the run.
    pub fn models(&self) -> &TrainingModels {
        &self.models
    }

    /// The first `number` rows of every source; a pair gives two examples.
    ///
    /// # Errors
    /// Rows that cannot be read or encoded.
    pub fn examples(&self, number: usize) -> impl Iterator<Item = Result<PreviewedExample>> {
        let (encoder, max_length) = (self.models.encoder(), self.models.max_length());
        let rows = self
            .dataset
            .sources
            .iter()
            .flat_map(move |source| source.rows().take(number).map(move |row| (source.format(), row)));
        let skips = self.config.data.on_error == OnError::Skip;
        let encoded = rows.map(move |(format, row)| {
            let row = row?;
            let examples = encoder.encode_row(&row)?;
            Ok((format, row.place, examples))
        });
        // Rows that the run leaves out are left out here.
        let kept = encoded.filter(move |encoded: &Result<_, ivl_train::Error>| {
            !matches!(encoded, Err(error) if skips && error.is_about_a_row())
        });
        kept.flat_map(move |encoded| {
            let (format, place, examples) = match encoded {
                Ok(encoded) => encoded,
                Err(error) => return vec![Err(error.into())],
            };
            let sides = if format.is_paired() { [Some("chosen"), Some("rejected")] } else { [None; 2] };
            let preview = |(mut example, side): (Example, Option<&'static str>)| {
                let length = example.ids.len();
                example.truncate(max_length);
                Ok(PreviewedExample { place: place.clone(), format, side, example, length })
            };
            examples.into_iter().zip(sides).map(preview).collect()
        })
    }

    /// Tokenizes all rows and plans a run with them.
    ///
    /// # Errors
    /// Rows that cannot be read or encoded.
    pub fn statistics(&self, on_event: impl FnMut(TrainEvent)) -> Result<DataStatistics> {
        let (encoder, config) = (self.models.encoder(), self.config);
        let examples = tokenize(&self.dataset, &encoder, self.setting, config, &Reporter::new(on_event))?;
        Ok(DataStatistics::new(config, examples, encoder.max_length()))
    }
}

impl DataStatistics {
    fn new(config: &TrainConfig, examples: Examples, max_length: usize) -> Self {
        let mut lengths: Vec<u32> = examples.shapes().iter().map(|shape| shape.tokens).collect();
        lengths.sort_unstable();
        let (reports, examples) = (examples.reports().to_vec(), Arc::new(examples));
        let batchings = [Batching::Random, Batching::ByLength, Batching::Packed].map(|batching| {
            let mut data = config.data.clone();
            data.batching = batching;
            let plan = Plan::training(examples.clone(), &config.steps, &data, config.seed);
            (batching, plan.filling(), plan.steps())
        });
        Self { max_length, reports, lengths, batchings: batchings.to_vec() }
    }

    /// The length that a share of the examples does not exceed.
    pub fn quantile(&self, share: f64) -> u32 {
        let last = self.lengths.len().saturating_sub(1);
        self.lengths.get((share * last as f64).round() as usize).copied().unwrap_or(0)
    }
}
