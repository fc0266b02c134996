//! The engine as the rest of the server sees it: a place to send jobs to.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use ivl_core::causal_lm::token_tensor;
use ivl_core::fusion::DecodeBatch;
use ivl_core::vocab::{Token, TokenKind};
use ivl_core::{CausalLm, FusedLm};

use super::scheduler::{Models, Scheduler};
use super::{Client, EngineError, Job, QueueLimits, QueuePermit, QueuePlaces};
use crate::catalog::Catalog;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// Sends jobs to the thread that owns the models. When the last clone is dropped, the thread ends its work and stops.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    jobs: Sender<Job>,
    places: QueuePlaces,
    cache_bytes: usize,
    row_bytes: RowBytes,
}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::System`] if the system gives no thread.
    pub(crate) fn start(
        models: Models,
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
        settings: &Settings,
    ) -> Result<(Self, JoinHandle<()>), Error> {
        let row_bytes = RowBytes::measure(&models.lm);
        let (jobs, inbox) = channel();
        let scheduler = Scheduler::new(models, catalog, metrics, settings, row_bytes.clone(), inbox);
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(|| scheduler.run())
            .map_err(|source| Error::System { what: "a thread", source })?;
        let limits = QueueLimits { total: settings.max_queue, per_client: settings.max_client_queue() };
        let engine =
            Self { jobs, places: QueuePlaces::new(limits), cache_bytes: settings.cache_bytes, row_bytes };
        Ok((engine, thread))
    }

    /// Takes places in the queue.
    ///
    /// # Errors
    /// As [`QueuePlaces::take`].
    pub(crate) fn reserve(&self, client: &Client, places: usize) -> Result<QueuePermit, EngineError> {
        self.places.take(client, places)
    }

    /// Refuses a job that could never run.
    ///
    /// # Errors
    /// [`EngineError::TooLarge`] if its caches are larger than all the memory for caches.
    pub(crate) fn check_memory(
        &self,
        weights: &[f64],
        texts: usize,
        length: usize,
    ) -> Result<(), EngineError> {
        let needed = self.row_bytes.of(weights).saturating_mul(texts).saturating_mul(length);
        let available = self.cache_bytes;
        if needed <= available {
            Ok(())
        } else {
            Err(EngineError::TooLarge { texts, length, needed, available })
        }
    }

    /// Sends a job.
    ///
    /// # Errors
    /// [`EngineError::Stopped`] if the thread has ended.
    pub(crate) fn send(&self, job: Job) -> Result<(), EngineError> {
        self.jobs.send(job).map_err(|_| EngineError::Stopped)
    }
}

/// Bytes of cache that one position of one text takes: the base's, and each value's.
#[derive(Debug, Clone)]
pub(crate) struct RowBytes {
    base: usize,
    values: Vec<usize>,
}

impl RowBytes {
    /// Measured, since a [`CausalLm`] does not say: one token of text is read with each value.
    fn measure(lm: &FusedLm) -> Self {
        // Not the beginning of a text, of which a value with tokens of its own makes none or two.
        let text = |token: Option<&Token>| token.is_some_and(|token| token.kind == TokenKind::Text);
        let token = lm.vocab().iter().position(text).unwrap_or_default() as u32;
        let bytes = |weights: Vec<f64>| {
            let mut batch = DecodeBatch::new(lm, &[0], vec![weights]);
            lm.next_logits_rows(token_tensor(&[token], 1, &lm.device()), &mut batch);
            batch.bytes()
        };
        let none = vec![0.0; lm.values()];
        let base = bytes(none.clone());
        let with = |value: usize| {
            let mut weights = none.clone();
            weights[value] = 1.0;
            bytes(weights).saturating_sub(base)
        };
        Self { base, values: (0..lm.values()).map(with).collect() }
    }

    /// Bytes of a position under some weights.
    pub(crate) fn of(&self, weights: &[f64]) -> usize {
        let used = self.values.iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
        self.base + used.map(|(bytes, _)| bytes).sum::<usize>()
    }
}
