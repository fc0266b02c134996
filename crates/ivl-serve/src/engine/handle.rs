//! The engine as the rest of the server sees it: a place to send jobs to.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use ivl_core::RowWeighted;
use ivl_core::fusion::RowBytes;

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
        let row_bytes = models.lm.row_bytes();
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
        let needed = self.row_bytes.of(weights).times(texts).of(length);
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
