//! A server that answers as a test says and remembers what it was asked.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use url::Url;

use crate::support::servers::{Server, serve};

/// One request, as it came.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: String,
    /// Path and query.
    pub(super) place: String,
    pub(super) authorization: String,
    pub(super) if_none_match: Option<String>,
    pub(super) body: String,
}

/// An answer: status, headers, body.
pub(super) struct Told(pub(super) u16, pub(super) Vec<(&'static str, String)>, pub(super) String);

impl Told {
    pub(super) fn json(body: impl ToString) -> Told {
        Told(200, Vec::new(), body.to_string())
    }

    pub(super) fn status(status: u16) -> Told {
        Told(status, Vec::new(), String::new())
    }
}

type Answer = dyn Fn(&Call) -> Told + Send + Sync;

/// The server.
pub(super) struct Fake {
    calls: Arc<Mutex<Vec<Call>>>,
    answer: Arc<Mutex<Arc<Answer>>>,
    server: Server,
}

impl Fake {
    pub(super) async fn start(answer: impl Fn(&Call) -> Told + Send + Sync + 'static) -> Fake {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<Mutex<Arc<Answer>>> = Arc::new(Mutex::new(Arc::new(answer)));
        let (seen, told) = (Arc::clone(&calls), Arc::clone(&answer));
        let router = Router::new().fallback(move |request: Request| {
            let (seen, told) = (Arc::clone(&seen), Arc::clone(&told));
            async move {
                let call = read(request).await;
                seen.lock().unwrap().push(call.clone());
                let answer = Arc::clone(&told.lock().unwrap());
                respond(answer(&call))
            }
        });
        Fake { calls, answer, server: serve(router).await }
    }

    /// From now on it answers otherwise.
    pub(super) fn answers(&self, answer: impl Fn(&Call) -> Told + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    pub(super) fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.server.address).parse().unwrap()
    }

    /// What it was asked since the last time.
    pub(super) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

async fn read(request: Request) -> Call {
    let (head, body) = request.into_parts();
    let text = |name| Some(head.headers.get(name)?.to_str().unwrap().to_owned());
    let authorization = text("authorization").unwrap_or_default();
    let if_none_match = text("if-none-match");
    let place = head.uri.path_and_query().unwrap().to_string();
    let body: Bytes = to_bytes(body, 1 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Call { method: head.method.to_string(), place, authorization, if_none_match, body }
}

fn respond(Told(status, headers, body): Told) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body.into()).unwrap()
}
