//! Servers inside the test's own process.

use std::net::SocketAddr;

use axum::Router;
use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::keys::{Keys, Mode};

/// The key service's admin token.
pub(crate) const ADMIN: &str = "admin-token-of-the-test";

/// A server that ends when the test does.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _task: JoinSet<()>,
}

/// Serves until the answer is dropped.
pub(crate) async fn serve(router: Router) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move { axum::serve(listener, router).await.unwrap() });
    Server { address, _task: task }
}

#[expect(clippy::disallowed_methods, reason = "the key service is a real server with a clock")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// The key service of the examples, with room for two keys.
pub(crate) async fn key_service(mode: Mode) -> Server {
    serve(Keys::new(mode, 2, ADMIN, now).router()).await
}
