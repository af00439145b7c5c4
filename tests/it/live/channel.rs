//! A channel whose own key leaked, with the real binary on a real OpenBao: every byte that is
//! pushed is kept, and none of a new value crosses under the key that leaked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use http::Method;
use rotord::model::material::SecretBytes;
use rotord::model::time::Timestamp;
use rotord::signing::key::SigningKey;
use rotord::signing::standard;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::live::places::{self, Places};
use crate::live::services::Stand;
use crate::live::services::webhook_receiver::Receiver;
use crate::live::services::webhook_receiver::common::Identity;
use crate::support::daemon::{Daemon, Home};

/// Longer than anything here takes; only a failure waits for it.
const LONG: Duration = Duration::from_secs(60);

/// More than any push is long.
const PUSH_MAX: usize = 64 * 1024;

/// The file from which the services read the channel's keys.
const KEYS: &str = "channel.key";

type Pushes = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// The example service, with a wire in front of it that keeps whatever comes.
async fn service(home: &Home, target: &str, pushes: &Pushes) -> Stand {
    let receiver = Receiver::new(Identity {
        target: target.to_owned(),
        environment: "live".to_owned(),
        instance: format!("{target}-0"),
        covers_all: true,
        channel_key_file: home.path(KEYS),
    });
    let (inside, pushes) = (receiver.unwrap().routes(), Arc::clone(pushes));
    let wire = move |request: Request| {
        let (inside, pushes) = (inside.clone(), Arc::clone(&pushes));
        async move {
            let (head, body) = request.into_parts();
            let body = to_bytes(body, PUSH_MAX).await.unwrap();
            pushes.lock().unwrap().push((head.headers.clone(), body.clone()));
            let answer: Result<Response, _> =
                inside.oneshot(Request::from_parts(head, Body::from(body))).await;
            answer
        }
    };
    Stand::new(Router::new().fallback(wire)).await
}

/// The key of the channel is told to its service over the channel itself, and in a document.
fn config(mount: &str, edge: &Stand, app: &Stand) -> String {
    format!(
        r#"
[channels.push]
secret = "push-key"

[secrets.push-key]
kind = "webhook_hmac"
issuer = {{ type = "generated" }}
initial = "generate"
overlap = "1s"
unsafe_overlap = true

[secrets.push-key.targets.rotord]
type = "channel"
channel = "push"

[secrets.push-key.targets.edge]
type = "http"
role = "verifier"
url = "{}"
environment = "live"
channel = "push"
recovery = "copy"

[secrets.push-key.targets.copy]
type = "vault_kv"
role = "verifier"
mount = "{mount}"
path = "push/key"
ack_path = "push/ack"
propagation = "0s"

[secrets.pay]
kind = "webhook_hmac"
issuer = {{ type = "generated" }}
initial = "generate"
overlap = "1s"
unsafe_overlap = true

[secrets.pay.targets.app]
type = "http"
role = "both"
url = "{}"
environment = "live"
channel = "push"
retry_horizon = "0s"
"#,
        edge.url("/rotord"),
        app.url("/rotord"),
    )
}

/// Takes over the document once it accepts so many versions, as the services' agent would, and says
/// so beside it.
async fn take_over(places: &Places<'_>, home: &Home, versions: &[u64]) {
    let at = format!("{}/data/push/key", places.apps);
    let there = async {
        loop {
            let (status, answer) = places.bao.call(Method::GET, &at, None).await.unwrap();
            let document = &answer["data"]["data"];
            if status == 200 && document["accepted_versions"] == json!(versions) {
                return document.clone();
            }
        }
    };
    let document = tokio::time::timeout(LONG, there).await.expect("it is never told");
    let keys: Vec<&str> =
        document["accepted"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    home.put(KEYS, &keys.join("\n"));
    let ack = json!({ "data": {
        "generation": document["generation"], "accepted": versions, "current": null,
    } });
    places.bao.ok(Method::POST, &format!("{}/data/push/ack", places.apps), Some(ack)).await;
}

/// The pushes so far that hold any of these values.
fn holding(pushes: &Pushes, values: &[String]) -> Vec<(HeaderMap, Bytes)> {
    let holds = |body: &Bytes| {
        let text = String::from_utf8_lossy(body);
        values.iter().any(|value| text.contains(value.as_str()))
    };
    pushes.lock().unwrap().iter().filter(|(_, body)| holds(body)).cloned().collect()
}

fn is_signed_with(value: &str, (headers, body): &(HeaderMap, Bytes)) -> bool {
    let key = SigningKey::new(&SecretBytes::new(value.as_bytes().to_vec())).unwrap();
    let text = |name: &str| headers[name].to_str().unwrap();
    let timestamp = text(standard::TIMESTAMP_HEADER);
    let message = standard::Message {
        id: text(standard::ID_HEADER),
        timestamp,
        signature: text(standard::SIGNATURE_HEADER),
        body,
    };
    let then = Timestamp::from_seconds(timestamp.parse().unwrap());
    standard::verify(&[key], &message, then).is_ok()
}

/// Both secrets in use for the first time: the channel's key comes by the document, then the
/// channel itself works.
async fn in_use(places: &Places<'_>, home: &Home) -> Daemon {
    let daemon = home.start().await;
    take_over(places, home, &[1]).await;
    daemon.until_done("push-key", None).await;
    daemon.until_done("pay", None).await;
    daemon
}

#[tokio::test]
async fn a_new_value_never_crosses_a_channel_under_the_key_that_leaked() {
    let places = Places::new(places::shared().await).await;
    let home = Home::new();
    home.put(KEYS, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let pushes = Pushes::default();
    let edge = service(&home, "edge", &pushes).await;
    let app = service(&home, "app", &pushes).await;
    let rest = config(&places.apps, &edge, &app);
    places.configure(&home, places.bao.address().as_str(), &rest).await;
    let daemon = in_use(&places, &home).await;
    let old = places.value("push-key", 1).await.unwrap();
    assert!(!holding(&pushes, std::slice::from_ref(&old)).is_empty(), "the channel was used");

    let leak = ["rotate", "push-key", "--emergency", "--reason", "in a log"];
    let ran = home.rotord(&leak).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    let ran = home.rotord(&["rotate", "pay", "--emergency", "--reason", "in the same log"]).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    let waits = |detail: &rotord::api::wire::Detail| {
        detail.secret.failures.iter().any(|failure| failure.code == "channel_leaked")
    };
    daemon.until_secret("pay", "waiting for its channel", waits).await;
    let (key, pay) = (places.value("push-key", 2).await, places.value("pay", 2).await);
    let new = [key.expect("made already"), pay.expect("made already")];
    assert!(holding(&pushes, &new).is_empty(), "it crossed the channel that leaked");

    take_over(&places, &home, &[2, 1]).await;
    let goes = async {
        take_over(&places, &home, &[2]).await;
        daemon.until_done("push-key", None).await;
        daemon.until_done("pay", None).await;
    };
    tokio::time::timeout(LONG, goes).await.expect("it does not go on by itself");
    assert_eq!(places.values("push-key").await, [2]);
    assert_eq!(places.values("pay").await, [2]);
    let crossed = holding(&pushes, &new);
    assert!(new.iter().all(|value| !holding(&pushes, std::slice::from_ref(value)).is_empty()));
    for push in &crossed {
        assert!(is_signed_with(&new[0], push), "not under the new key");
        assert!(!is_signed_with(&old, push), "under the key that leaked");
    }
    let log: Value = json!(home.read("log"));
    assert!(!log.as_str().unwrap().contains(&new[0]));
}
