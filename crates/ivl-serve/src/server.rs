//! A server: socket, threads, and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use ivl_core::decode::Speculation;
use ivl_core::fusion::BaseLm;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::app::App;
use crate::catalog::Catalog;
use crate::engine::{Engine, Models};
use crate::error::Error;
use crate::listener::answer;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// A server that listens and whose engine is ready.
pub struct Server {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    engine: JoinHandle<()>,
}

impl Server {
    /// Takes the address, then starts the engine. `speculation` drafts tokens while a single text is being written.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] and [`Error::Open`] for settings, [`Error::Listen`] for an address that is in use,
    /// [`Error::System`] if the system refuses threads.
    pub fn bind(
        lm: impl Into<BaseLm>,
        speculation: Option<Speculation>,
        catalog: Catalog,
        settings: Settings,
    ) -> Result<Self, Error> {
        settings.validate()?;
        // HTTP takes some microseconds for each token. More threads than it needs would wake each other and compete for the
        // cores with those that compute; two answer each other's clients while one is busy.
        let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().div_ceil(8).max(2));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
            .map_err(|source| Error::System { what: "threads for the server", source })?;
        let wanted = SocketAddr::from((settings.host, settings.port));
        let refused = |source| Error::Listen { address: wanted.to_string(), source };
        let listener = runtime.block_on(TcpListener::bind(wanted)).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (catalog, metrics) = (Arc::new(catalog), Arc::new(Metrics::default()));
        let models = Models { lm: lm.into(), speculation };
        let (handle, engine) = Engine::start(models, catalog.clone(), metrics.clone(), &settings)?;
        let app = App::new(catalog, handle, metrics, settings);
        Ok(Self { runtime, listener, address, app: Arc::new(app), engine })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the process receives SIGTERM or SIGINT, then completes the requests in progress. A second signal, or
    /// the end of `drain_timeout`, drops them.
    ///
    /// # Errors
    /// [`Error::System`] if signals cannot be received.
    pub fn run_until_signalled(self) -> Result<(), Error> {
        let guard = self.runtime.enter();
        let signals = Signals::new()?;
        drop(guard);
        let (first, second) = signals.in_turn();
        self.run_until(first, second);
        Ok(())
    }

    /// Answers until `stop` is done, completes the requests in progress, and drops them when `stop_now` is done.
    pub fn run_until(self, stop: impl Future<Output = ()>, stop_now: impl Future<Output = ()>) {
        self.runtime.block_on(answer(self.listener, self.app.clone(), stop, stop_now));
        // The runtime drops the requests that are left, and with them the senders of jobs; then the engine ends.
        self.runtime.shutdown_timeout(std::time::Duration::from_millis(200));
        drop(self.app);
        let _ = self.engine.join();
    }
}

/// The signals that stop a process.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};
        let receive =
            |kind| signal(kind).map_err(|source| Error::System { what: "to tell of signals", source });
        Ok(Self {
            terminate: receive(SignalKind::terminate())?,
            interrupt: receive(SignalKind::interrupt())?,
        })
    }

    #[cfg(not(unix))]
    fn new() -> Result<Self, Error> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The first signal, and the one after it.
    fn in_turn(mut self) -> (impl Future<Output = ()>, impl Future<Output = ()>) {
        let (pass, passed) = tokio::sync::oneshot::channel();
        let first = async move {
            self.next().await;
            // The second may never be waited for.
            let _ = pass.send(self);
        };
        let second = async move {
            match passed.await {
                Ok(mut signals) => signals.next().await,
                Err(_) => std::future::pending().await,
            }
        };
        (first, second)
    }
}
