//! The engine as the rest of the server sees it: a place to send jobs to.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use ivl_core::decode::Speculation;
use ivl_core::fusion::{BaseLm, RowBytes, RowWeighted};

use super::{Job, Rounds, Ticket};
use crate::{ApiError, Catalog, Error, Metrics, Settings};

/// Sends jobs to the thread that owns the models. When the last clone is dropped, the thread ends its work and stops.
#[derive(Debug, Clone)]
pub struct Engine {
    jobs: Sender<Job>,
    taken: Arc<AtomicUsize>,
    max_queue: usize,
    cache_bytes: usize,
    row_bytes: RowBytes,
}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::System`] if there is no thread to be had.
    pub fn start(
        lm: BaseLm,
        speculation: Option<Speculation>,
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
        settings: &Settings,
    ) -> Result<(Self, JoinHandle<()>), Error> {
        let row_bytes = lm.row_bytes();
        let (jobs, inbox) = channel();
        let rounds = Rounds::new((lm, speculation), catalog, metrics, settings, row_bytes.clone(), inbox);
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(|| rounds.run())
            .map_err(|source| Error::System { what: "a thread", source })?;
        let engine = Self {
            jobs,
            taken: Arc::default(),
            max_queue: settings.max_queue,
            cache_bytes: settings.cache_bytes,
            row_bytes,
        };
        Ok((engine, thread))
    }

    /// Takes a place in the queue.
    ///
    /// # Errors
    /// [`ApiError::busy`] if all are taken.
    pub fn ticket(&self, places: usize) -> Result<Ticket, ApiError> {
        Ticket::take(&self.taken, places, self.max_queue).ok_or_else(ApiError::busy)
    }

    /// Refuses a job that could never run.
    ///
    /// # Errors
    /// [`ApiError::invalid`] if its caches are larger than all the memory for caches.
    pub fn check_memory(&self, weights: &[f64], n: usize, length: usize) -> Result<(), ApiError> {
        let needed = self.row_bytes.of(weights).saturating_mul(n).saturating_mul(length);
        if needed <= self.cache_bytes {
            return Ok(());
        }
        let message = format!(
            "{n} texts of {length} tokens need {needed} bytes of cache, more than the {} of this server; lower \
             `max_tokens` or `n`",
            self.cache_bytes
        );
        Err(ApiError::invalid("max_tokens", message))
    }

    /// Sends a job.
    ///
    /// # Errors
    /// [`ApiError::stopping`] if the thread has ended.
    pub fn send(&self, job: Job) -> Result<(), ApiError> {
        self.jobs.send(job).map_err(|_| ApiError::stopping())
    }
}
