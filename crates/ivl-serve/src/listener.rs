//! Connections: limits, time-outs, and an orderly end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use crate::api_error::ApiError;
use crate::app::App;
use crate::routes::router;
use crate::security::Peer;

/// How long to wait when the system has no more sockets to give.
const BREATH: Duration = Duration::from_millis(50);

/// Answers connections until `stop` is done, then lets those in progress end, until `stop_now` is done or the time for it is
/// over.
pub(crate) async fn answer(
    listener: TcpListener,
    app: Arc<App>,
    stop: impl Future<Output = ()>,
    stop_now: impl Future<Output = ()>,
) {
    let router = router(app.clone());
    let connections = Arc::new(Semaphore::new(app.settings.max_connections));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        // With all connections in use, new ones wait in the system's own queue.
        let next = async { (connections.clone().acquire_owned().await, listener.accept().await) };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = &mut stop => break,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let connection = connection(stream, peer, router.clone(), app.clone(), &graceful);
        tokio::spawn(async move {
            // A connection that breaks is the client's affair; its jobs end with it.
            let _ = connection.await;
            drop(permit);
        });
    }
    app.stop();
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(app.settings.drain_timeout) => {}
        () = stop_now => {}
    }
}

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    app: Arc<App>,
    graceful: &GracefulShutdown,
) -> impl Future<Output = Result<(), hyper::Error>> + use<> {
    // Without it, small answers wait for acknowledgements: about 40 ms for each call.
    let _ = stream.set_nodelay(true);
    let timeout = app.settings.client_timeout;
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(timeout));
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        let (router, app) = (router.clone(), app.clone());
        async move {
            // In a task of its own: a panic ends the request and not the connection.
            let task = Aborting(tokio::spawn(router.oneshot(request.map(Body::new))));
            let answer = task.await.unwrap_or_else(|| {
                app.metrics.panicked();
                ApiError::internal().into_response()
            });
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    graceful.watch(connection)
}

/// A task that is aborted when this handle is dropped: the request of a client that goes away ends.
struct Aborting<T>(JoinHandle<Result<T, Infallible>>);

impl<T> Future for Aborting<T> {
    /// `None` after a panic.
    type Output = Option<T>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<T>> {
        std::pin::Pin::new(&mut self.0).poll(context).map(|done| match done {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(never)) => match never {},
            Err(_) => None,
        })
    }
}

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
