//! From a scanner's report to an incident that is over, and people who were told: the real binary
//! on a real OpenBao.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use rotord::model::material::SecretBytes;
use rotord::model::time::Clock as _;
use rotord::signing::key::SigningKey;
use rotord::signing::standard;
use serde_json::Value;

use crate::live::places::{self, Places};
use crate::support::clock::MachineClock;
use crate::support::daemon::Home;
use crate::support::servers;

/// Longer than anything here takes; only a failure waits for it.
const LONG: Duration = Duration::from_secs(60);

/// The key of the webhook.
const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a chat service was sent, each checked with the key and refused once.
#[derive(Clone, Default)]
struct Chat(Arc<Mutex<Vec<(String, Value)>>>);

async fn take(State(chat): State<Chat>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let key = SigningKey::new(&SecretBytes::new(KEY.as_bytes().to_vec())).unwrap();
    let (id, timestamp) = (text(standard::ID_HEADER), text(standard::TIMESTAMP_HEADER));
    let signature = text(standard::SIGNATURE_HEADER);
    let message =
        standard::Message { id: &id, timestamp: &timestamp, signature: &signature, body: &body };
    let now = MachineClock::new().now();
    standard::verify(std::slice::from_ref(&key), &message, now).expect("it is signed");
    let mut got = chat.0.lock().unwrap();
    let first = got.is_empty();
    got.push((id, serde_json::from_slice(&body).unwrap()));
    // The first attempt meets a service that is just being restarted.
    if first { StatusCode::BAD_GATEWAY } else { StatusCode::OK }
}

fn config(mount: &str, program: &str) -> String {
    format!(
        r#"
[[notify]]
name = "chat"
type = "webhook"
url_secret = {{ file = "chat-url" }}
key = {{ file = "chat-key" }}

[[notify]]
name = "pager"
type = "command"
argv = ["/bin/sh", "{program}"]

[secrets.hook]
kind = "webhook_hmac"
issuer = {{ type = "generated" }}
initial = "generate"
overlap = "1h"
unsafe_overlap = true

[secrets.hook.targets.document]
type = "vault_kv"
role = "both"
mount = "{mount}"
path = "hook"
propagation = "100ms"
retry_horizon = "0s"
retire_unattested = true
"#
    )
}

#[tokio::test]
async fn a_report_becomes_a_rotation_an_incident_and_news_for_people() {
    let chat = Chat::default();
    let router = Router::new().route("/services/T0/B0", post(take)).with_state(chat.clone());
    let server = servers::serve(router).await;
    let places = Places::new(places::shared().await).await;
    let home = Home::new();
    home.put("chat-url", &format!("http://{}/services/T0/B0\n", server.address));
    home.put("chat-key", KEY);
    home.put("page.sh", "cat > \"$(dirname \"$0\")\"/paged\n");
    let program = home.path("page.sh").display().to_string();
    let rest = config(&places.apps, &program);
    places.configure(&home, places.bao.address().as_str(), &rest).await;
    let mut daemon = home.start().await;
    daemon.until_done("hook", None).await;
    let value = places.value("hook", 1).await.unwrap();
    let report = serde_json::json!([{
        "RuleID": "acme", "File": ".env", "StartLine": 3, "Secret": value, "Match": value,
        "Commit": "", "Fingerprint": ".env:acme:3",
    }]);
    home.put("report.json", &report.to_string());

    let ran = home.rotord(&["alert", "report.json"]).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    let over = async {
        loop {
            let ran = home.rotord(&["incident", "list", "--json"]).await;
            let list: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
            let told = &list["notify"];
            let done = list["incidents"][0]["state"] == "done";
            if done && told[0]["delivered"] == 2 && told[1]["delivered"] == 2 {
                return list;
            }
        }
    };
    let list = tokio::time::timeout(LONG, over).await.expect("it never ends");
    assert_eq!(list["incidents"].as_array().unwrap().len(), 1, "{list}");
    let id = list["incidents"][0]["id"].as_str().unwrap();
    let page = home.rotord(&["incident", "report", id]).await;
    assert!(page.out.contains("accepted by nobody") && page.out.contains(".env"), "{}", page.out);
    assert_eq!(places.values("hook").await, [2], "the leaked value is gone from Vault");

    let got = chat.0.lock().unwrap().clone();
    let types: Vec<&str> = got.iter().map(|(_, body)| body["type"].as_str().unwrap()).collect();
    let opened = "rotord.incident.opened";
    assert_eq!(types, [opened, opened, "rotord.incident.done"]);
    assert_eq!(got[0].0, got[1].0, "the same message again has the same id");
    assert!(home.read("paged").contains("rotord.incident.done"));

    // Another process reads what the first one left.
    assert!(daemon.terminate().await.success());
    let _daemon = home.start().await;
    let shown = async {
        loop {
            let ran = home.rotord(&["incident", "show", id]).await;
            if ran.exit == 0 {
                return ran;
            }
            assert_eq!(ran.exit, 7, "{ran:?}");
        }
    };
    let ran = tokio::time::timeout(LONG, shown).await.expect("it is never read");
    assert!(ran.out.contains("state      done"), "{}", ran.out);
    let everything = [home.read("log"), page.out, ran.out].concat();
    assert!(!everything.contains(&value) && !everything.contains("/services/T0"), "{everything}");
}
