//! Dependent services inside the test's own process: the examples, served on ports that stay the
//! same when a service is restarted or swapped for one that misbehaves.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::support::daemon::Home;
use crate::support::servers::{Server, serve};

#[path = "../../../examples/webhook_receiver.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "each example has the keyring as its own")]
pub(crate) mod webhook_receiver;
#[path = "../../../examples/webhook_sender.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "each example has the keyring as its own")]
pub(crate) mod webhook_sender;

use webhook_receiver::Receiver;
use webhook_sender::Sender;

/// What every push is signed with.
pub(crate) const CHANNEL_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Longer than any call is waited for; only a failure takes so long.
const LONG: Duration = Duration::from_secs(60);

/// More than any reply to a push is long.
const REPLY_MAX: usize = 64 * 1024;

/// How often a webhook is sent.
const EVERY: Duration = Duration::from_millis(10);

/// A server whose insides can be changed while it listens.
pub(crate) struct Stand {
    pub(crate) server: Server,
    inside: Arc<Mutex<Router>>,
    calls: watch::Receiver<u64>,
}

impl Stand {
    pub(crate) async fn new(router: Router) -> Stand {
        let inside = Arc::new(Mutex::new(router));
        let (count, calls) = watch::channel(0);
        let shown = Arc::clone(&inside);
        let door = Router::new().fallback(move |request: Request| {
            let router = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let count = count.clone();
            async move {
                let answer = router.oneshot(request).await;
                count.send_modify(|calls| *calls += 1);
                answer
            }
        });
        Stand { server: serve(door).await, inside, calls }
    }

    /// Puts something else there.
    pub(crate) fn swap(&self, router: Router) {
        *self.inside.lock().unwrap_or_else(PoisonError::into_inner) = router;
    }

    /// Waits until it has answered this many more calls.
    pub(crate) async fn answered(&self, more: u64) {
        let mut calls = self.calls.clone();
        let goal = *calls.borrow() + more;
        let answered = calls.wait_for(|calls| *calls >= goal);
        let answered = timeout(LONG, answered).await.expect("it is not called any more");
        let _ = answered.expect("the stand is there");
    }

    /// Where it listens.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }
}

/// How a service answers pushes. Whatever else it does, it does as always.
#[derive(Clone)]
pub(crate) enum Manner {
    /// It takes the push in, and says something else than what is so.
    Says(Arc<dyn Fn(&mut Value) + Send + Sync>),
    /// It takes nothing in and answers this.
    Answers(StatusCode),
    /// It takes nothing in, and answers this with the push itself as the body.
    Echoes(StatusCode),
    /// It never answers.
    Hangs,
}

impl Manner {
    /// It says something else than what is so.
    pub(crate) fn says(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Manner {
        Manner::Says(Arc::new(change))
    }
}

/// A service that is its old self but for the answers to pushes.
fn mannered(good: Router, manner: Manner) -> Router {
    let pushed = good.clone();
    let answer = move |request: Request| {
        let (good, manner) = (pushed.clone(), manner.clone());
        async move {
            match manner {
                Manner::Hangs => std::future::pending().await,
                Manner::Answers(status) => (status, Json(Value::Null)).into_response(),
                Manner::Echoes(status) => (status, request.into_body()).into_response(),
                Manner::Says(change) => {
                    let answer = good.oneshot(request).await.unwrap();
                    let body = to_bytes(answer.into_body(), REPLY_MAX).await.unwrap();
                    let mut said = serde_json::from_slice(&body).unwrap();
                    change(&mut said);
                    Json(said).into_response()
                }
            }
        }
    };
    Router::new().route("/rotord", post(answer)).fallback_service(good)
}

/// One service that signs webhooks and one that verifies them.
pub(crate) struct Webhook {
    receiver: Mutex<Arc<Receiver>>,
    sender: Arc<Sender>,
    pub(crate) api: Stand,
    pub(crate) signer: Stand,
    traffic: JoinSet<()>,
}

impl Webhook {
    /// Both, without a secret yet. Their targets are called `api` and `sender`.
    pub(crate) async fn new(home: &Home) -> Webhook {
        home.put("channel.key", CHANNEL_KEY);
        let receiver = new_receiver(home);
        let sender = new_sender(home);
        Webhook {
            api: Stand::new(receiver.routes()).await,
            signer: Stand::new(sender.routes()).await,
            receiver: Mutex::new(receiver),
            sender,
            traffic: JoinSet::new(),
        }
    }

    /// Signed webhooks from now on, until the end.
    pub(crate) fn start_traffic(&mut self) {
        let (sender, to) = (Arc::clone(&self.sender), self.api.url("/webhook"));
        self.traffic.spawn(async move { sender.run(&[to], EVERY).await });
    }

    /// Starts the receiver again: it has forgotten everything.
    pub(crate) fn restart_receiver(&self, home: &Home) {
        let fresh = new_receiver(home);
        self.api.swap(fresh.routes());
        *self.receiver.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// Has the receiver answer pushes like this from now on; none is as it should.
    pub(crate) fn receiver_answers(&self, manner: Option<Manner>) {
        let good = self.receiver().routes();
        self.api.swap(match manner {
            Some(manner) => mannered(good, manner),
            None => good,
        });
    }

    fn receiver(&self) -> Arc<Receiver> {
        Arc::clone(&self.receiver.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Webhooks that were accepted, and those that were not, whatever became of them.
    pub(crate) async fn counts(&self) -> (u64, u64) {
        let stats = get(&self.signer.url("/stats")).await;
        let (mut good, mut bad) = (0, 0);
        for (how, count) in stats["sent"].as_object().unwrap() {
            let count = count.as_u64().unwrap();
            *(if how.ends_with("/204") { &mut good } else { &mut bad }) += count;
        }
        (good, bad)
    }

    /// The status with which the receiver answers a webhook signed with this value.
    pub(crate) async fn tried_with(&self, value: &str) -> u16 {
        use rotord::model::material::SecretBytes;
        use rotord::signing::key::SigningKey;
        use rotord::signing::standard::MessageId;

        let key = SigningKey::new(&SecretBytes::new(value.as_bytes().to_vec())).unwrap();
        let id = MessageId::new("tried".to_owned()).unwrap();
        let now = webhook_receiver::common::now();
        let call = client().post(self.api.url("/webhook")).body("{}");
        let headers = rotord::signing::headers(&[key], &id, now, b"{}");
        let call = headers.into_iter().fold(call, |call, (name, value)| call.header(name, value));
        call.send().await.unwrap().status().as_u16()
    }

    /// Their tables in a config, for a secret of this name.
    pub(crate) fn targets(&self, secret: &str) -> String {
        Webhook::targets_at(secret, self.api.server.address, self.signer.server.address)
    }

    /// The same, with something in between.
    pub(crate) fn targets_at(secret: &str, api: SocketAddr, signer: SocketAddr) -> String {
        format!(
            r#"
[secrets.{secret}.targets.api]
type = "http"
role = "verifier"
url = "http://{api}/rotord"
environment = "live"
channel = "push"

[secrets.{secret}.targets.sender]
type = "http"
role = "signer"
url = "http://{signer}/rotord"
environment = "live"
channel = "push"
retry_horizon = "1s"
"#
        )
    }
}

fn new_receiver(home: &Home) -> Arc<Receiver> {
    Receiver::new(webhook_receiver::common::Identity {
        target: "api".to_owned(),
        environment: "live".to_owned(),
        instance: "api-0".to_owned(),
        covers_all: true,
        channel_key_file: home.path("channel.key"),
    })
    .unwrap()
}

fn new_sender(home: &Home) -> Arc<Sender> {
    Sender::new(webhook_sender::common::Identity {
        target: "sender".to_owned(),
        environment: "live".to_owned(),
        instance: "sender-0".to_owned(),
        covers_all: true,
        channel_key_file: home.path("channel.key"),
    })
    .unwrap()
}

/// A client without a proxy and without authorities.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}

/// The JSON at an address.
pub(crate) async fn get(url: &str) -> Value {
    let answer = client().get(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{url}");
    answer.json().await.unwrap()
}
