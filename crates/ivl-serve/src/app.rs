//! State that every handler sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use crate::api_error::ApiError;
use crate::catalog::Catalog;
use crate::engine::Engine;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) engine: Engine,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    /// Work outside the threads that answer HTTP: each piece of it may hold hundreds of megabytes.
    blocking: Arc<Semaphore>,
    stopping: AtomicBool,
}

impl App {
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        engine: Engine,
        metrics: Arc<Metrics>,
        settings: Settings,
    ) -> Self {
        let keys = Keys::new(&settings.api_keys);
        let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
        let blocking = Arc::new(Semaphore::new(cores));
        Self { catalog, engine, metrics, settings, keys, blocking, stopping: AtomicBool::new(false) }
    }

    /// Refuses new work from now on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Refuses new work once the server is shutting down.
    pub(crate) fn check_open(&self) -> Result<(), ApiError> {
        if self.is_stopping() { Err(ApiError::stopping()) } else { Ok(()) }
    }

    /// The error for a request whose engine no longer answers.
    pub(crate) fn engine_gone(&self) -> ApiError {
        if self.is_stopping() { ApiError::stopping() } else { ApiError::internal() }
    }

    /// Runs work that takes longer than some microseconds outside the threads that answer HTTP, a few pieces at once: the
    /// others wait, and do not start if their clients go away meanwhile. A panic in the work is an error of the request.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let app = self.clone();
        let permit = self.blocking.clone().acquire_owned().await.expect("the semaphore is never closed");
        let work = move || {
            let _permit = permit;
            work(&app)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
            self.metrics.panicked();
            Err(ApiError::internal())
        })
    }
}
