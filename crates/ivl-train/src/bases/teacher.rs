//! The teacher of a distilled value, and its predictions for a batch.

use std::ops::Range;

use burn::tensor::DType;
use ivl_core::causal_lm::SelectedLogits;

use super::frozen_base::{BaseLogits, CachedLogits, Split};
use super::lm_logits::lm_logits;
use super::logit_cache::LogitCache;
use crate::Error;
use crate::data::batch::Batch;
use crate::objective::teacher_target::{TeacherPredictions, TeacherTarget};

/// A frozen model whose predictions the fused model is to reproduce.
#[derive(Clone)]
#[non_exhaustive]
pub struct Teacher {
    /// For reports.
    pub name: String,
    /// Where its logits come from.
    pub source: BaseLogits,
    /// Divides its logits and those of the fused model.
    pub temperature: f64,
    /// The number of ids, from 0 on, that it and all bases know; the logits beyond them are ignored.
    pub vocab: usize,
}

/// The predictions of a teacher at the trained positions of a batch, computed or read when rows of them are wanted.
pub(crate) struct TeacherForward<'a> {
    teacher: &'a Teacher,
    source: TeacherSource<'a>,
}

enum TeacherSource<'a> {
    Lm(Box<SelectedLogits<'a>>),
    Cached { cache: &'a LogitCache, cached: &'a CachedLogits, records: Vec<u64> },
}

impl Teacher {
    /// A teacher whose first `vocab` ids all bases know.
    pub fn new(name: impl Into<String>, source: BaseLogits, temperature: f64, vocab: usize) -> Self {
        Self { name: name.into(), source, temperature, vocab }
    }

    /// Reads a batch.
    ///
    /// # Errors
    /// [`Error::NotCached`] if there is no cache for these examples.
    pub(crate) fn forward(&self, batch: &Batch, split: Split) -> Result<TeacherForward<'_>, Error> {
        let source = match &self.source {
            BaseLogits::Lm(lm) => TeacherSource::Lm(Box::new(lm_logits(&**lm, batch, &batch.positions)?)),
            BaseLogits::Cached(cached) => {
                let cache = cached.of(split).ok_or_else(|| Error::NotCached {
                    base: self.name.clone(),
                    wanted: "for the held-out examples",
                })?;
                TeacherSource::Cached { cache, cached, records: cache.records(batch) }
            }
        };
        Ok(TeacherForward { teacher: self, source })
    }
}

impl TeacherForward<'_> {
    /// The predictions at some rows, for a model of so many logits.
    pub(crate) fn rows(&self, rows: Range<usize>, vocab: usize) -> TeacherTarget {
        let temperature = self.teacher.temperature;
        let predictions = match &self.source {
            TeacherSource::Lm(logits) => {
                let logits = logits.rows(rows).cast(DType::F32);
                let [n, size] = logits.dims();
                TeacherPredictions::Logits(logits.slice([0..n, 0..size.min(self.teacher.vocab)]))
            }
            TeacherSource::Cached { cache, cached, records } if cache.header().top_k == 0 => {
                // Log-probabilities at the temperature.
                let logits = cache.logits(&records[rows], &cached.device) * temperature;
                TeacherPredictions::Logits(logits)
            }
            TeacherSource::Cached { cache, records, .. } => {
                TeacherPredictions::TopTokens(cache.top_tokens(&records[rows]))
            }
        };
        TeacherTarget { predictions, temperature }.widened(vocab)
    }
}
