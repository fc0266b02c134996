//! State that every handler sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
        Self { catalog, engine, metrics, settings, keys, stopping: AtomicBool::new(false) }
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

    /// Runs work that takes longer than some microseconds outside the threads that answer HTTP. A panic in it is an error
    /// of the request.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let app = self.clone();
        tokio::task::spawn_blocking(move || work(&app)).await.unwrap_or_else(|_| {
            self.metrics.panicked();
            Err(ApiError::internal())
        })
    }
}
