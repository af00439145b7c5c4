//! The accept loop: every connection is a task that is joined, counted and cut off in time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use futures_util::future::BoxFuture;
use http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Layer as _;
use tower_http::timeout::TimeoutLayer;

use crate::http::limits::Limits;

/// After an accept that failed for want of descriptors or memory: asking again at once would only
/// burn the processor until one is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Where connections come from.
pub trait Listener: Send + 'static {
    /// The stream of one connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Who is at the other end; handlers find it as an [`Extension`].
    type Peer: Clone + Send + Sync + 'static;

    /// The next connection.
    ///
    /// # Cancellation
    /// Dropping the future loses no connection.
    fn accept(&mut self)
    -> impl Future<Output = io::Result<Accepted<Self::Io, Self::Peer>>> + Send;
}

/// A connection before anything was said on it.
pub struct Accepted<Io, Peer> {
    /// The stream and who is at its other end: found out in the connection's own task, since
    /// looking a user up or agreeing on keys may take a while.
    pub greeting: BoxFuture<'static, io::Result<(Io, Peer)>>,
    /// Whether so many others are here that it must not be waited for long.
    pub is_hurried: bool,
}

impl Listener for TcpListener {
    type Io = TcpStream;
    type Peer = SocketAddr;

    async fn accept(&mut self) -> io::Result<Accepted<TcpStream, SocketAddr>> {
        let (io, from) = TcpListener::accept(self).await?;
        let greeting = Box::pin(std::future::ready(Ok((io, from))));
        Ok(Accepted { greeting, is_hurried: false })
    }
}

/// Serves until `stop`, then lets answers under way finish within the limit and returns. No task
/// of it is left.
pub async fn serve<L: Listener>(
    mut listener: L,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let timeout = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, limits.answer_within);
    let router = router.layer(timeout);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                note(ended);
                continue;
            }
            accepted = next(&mut listener, &slots) => accepted,
        };
        match accepted {
            Ok((slot, accepted)) => {
                let connection = Connection { limits, stop: stop.clone(), _slot: slot };
                connections.spawn(connection.run(accepted, router.clone()));
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                let _ = tokio::time::timeout(ACCEPT_PAUSE, stop.cancelled()).await;
            }
        }
    }
    drop(listener);
    let farewell = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.farewell, farewell).await.is_err() {
        tracing::info!(left = connections.len(), "connections are cut off");
        connections.shutdown().await;
    }
}

async fn next<L: Listener>(
    listener: &mut L,
    slots: &Arc<Semaphore>,
) -> io::Result<(OwnedSemaphorePermit, Accepted<L::Io, L::Peer>)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    Ok((slot, listener.accept().await?))
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a connection's task panicked; the others go on");
    }
}

/// A client that gave up before it was served.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

struct Connection {
    limits: Limits,
    stop: CancellationToken,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    async fn run<Io, Peer>(self, accepted: Accepted<Io, Peer>, router: Router)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        Peer: Clone + Send + Sync + 'static,
    {
        let limits = self.limits;
        let head_within =
            if accepted.is_hurried { limits.head_within_hurried } else { limits.head_within };
        let (io, peer) = match tokio::time::timeout(head_within, accepted.greeting).await {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(error)) => return tracing::debug!(%error, "a connection came to nothing"),
            Err(_) => return tracing::debug!("a connection came to nothing in time"),
        };
        let service = TowerToHyperService::new(Extension(peer).layer(router));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_within)
            .max_header_size(limits.head_bytes)
            .max_buf_size(limits.buffer_bytes)
            .serve_connection(TokioIo::new(io), service);
        let mut connection = std::pin::pin!(connection);
        let life = tokio::time::sleep(limits.connection_life);
        tokio::select! {
            _ = &mut connection => return,
            () = self.stop.cancelled() => {}
            () = life => {}
        }
        connection.as_mut().graceful_shutdown();
        // A client that does not read its answer has had its time.
        let _ = tokio::time::timeout(limits.farewell, connection).await;
    }
}
