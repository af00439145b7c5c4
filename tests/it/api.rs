//! The API over a real Unix socket: what each path answers, who is let in, and what ends a client
//! that takes too much or too long.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::{Client, Method, Response, StatusCode};
use rotord::engine::command::{Actor, Done, Refusal, RefusalKind};
use rotord::engine::desk::{Judged, Verdict};
use rotord::http::limits::Limits;
use rotord::http::peer::{OPERATOR_HEADER, PeerPolicy};
use rotord::incident::decide::Action;
use rotord::model::id::{RotationId, VersionId};
use rotord::model::material::{Material, SecretBytes};
use rotord::model::reason::Reason;
use rotord::model::time::Span;
use rotord::model::version::Stage;
use rotord::plan::cadence::Cadence;
use rotord::plan::schedule::Schedule;
use rotord::rotation::phase::{Outcome, Phase};
use rotord::store::{Saved, Store as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::support::fake_engine::{Fake, Setup, client};
use crate::support::picture;

/// Longer than anything here takes; only a failure waits for it.
const LONG: Duration = Duration::from_secs(20);

/// The limits a test gives to see them reached.
const SHORT: Duration = Duration::from_millis(60);

async fn send(fake: &Fake, method: Method, path: &str) -> (StatusCode, Value) {
    let request = client(&fake.socket).request(method, format!("http://rotord{path}"));
    json(request.send().await.unwrap()).await
}

async fn json(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let body = response.bytes().await.unwrap();
    let value = serde_json::from_slice(&body);
    (status, value.unwrap_or_else(|_| panic!("no JSON: {body:?}")))
}

fn put_value(
    client: &Client,
    path: &str,
    value: impl Into<reqwest::Body>,
) -> reqwest::RequestBuilder {
    client
        .post(format!("http://rotord{path}"))
        .header("content-type", "application/octet-stream")
        .body(value)
}

#[tokio::test]
async fn status_shows_every_secret_and_the_daemon() {
    let fake = Fake::start().await;
    let (status, all) = send(&fake, Method::GET, "/v1/status").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(all["now"], "2026-11-22T12:00:00.000Z");
    assert_eq!(all["daemon"]["leader"], true);
    let names: Vec<_> = all["secrets"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
    assert_eq!(
        names,
        ["billing-webhook", "fresh-webhook", "mail-key", "retired-app", "stripe-key"]
    );
    let billing = &all["secrets"][0];
    assert_eq!(billing["rotation"]["phase"], "overlap");
    assert_eq!(billing["current"]["version"], 8);
    assert_eq!(billing["targets"]["reached"], 3);
    assert_eq!(billing["targets"]["evidence"], "stored");
    assert_eq!(billing["targets"]["assumed"], true);
    assert_eq!(all["secrets"][4]["waiting"]["needs_human"]["code"], "issuer_full");
}

#[tokio::test]
async fn status_of_one_secret_shows_what_is_known_of_it() {
    let fake = Fake::start().await;
    let (status, one) = send(&fake, Method::GET, "/v1/status/mail-key").await;
    assert_eq!(status, StatusCode::OK);
    let secret = &one["secret"];
    assert_eq!(secret["versions"][1]["taint"]["by"], "alert:github/1");
    assert_eq!(secret["outgoing"][0]["latest"], "2026-11-22T12:02:00.000Z");
    assert_eq!(secret["under_way"][0], "push worker");
    assert_eq!(secret["forced"][0]["rule"], "max_exposure");
    let worker = &secret["targets_detail"][1];
    assert_eq!(worker["reached"], false);
    assert_eq!(worker["trouble"]["last"]["code"], "unreachable");
    assert_eq!(worker["seen"], Value::Null);
}

#[tokio::test]
async fn a_fingerprint_is_nobodys_business() {
    let fake = Fake::start().await;
    for name in ["billing-webhook", "mail-key", "stripe-key"] {
        let (_, one) = send(&fake, Method::GET, &format!("/v1/status/{name}")).await;
        let text = one.to_string();
        assert!(!text.contains("fingerprint") && !text.contains("0707070707"), "{text}");
    }
}

#[tokio::test]
async fn every_field_is_in_the_documentation() {
    let fake = Fake::start().await;
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md"));
    let page = page.unwrap();
    let mut paths = vec!["/v1/status".to_owned(), "/v1/plan".into(), "/v1/health/ready".into()];
    paths.push("/v1/incidents".into());
    paths.push(format!("/v1/incidents/{}", picture::ACTING));
    for name in ["billing-webhook", "mail-key", "stripe-key"] {
        paths.push(format!("/v1/status/{name}"));
    }
    for path in paths {
        let (_, answer) = send(&fake, Method::GET, &path).await;
        let mut fields = Vec::new();
        keys(&answer, &mut fields);
        assert!(!fields.is_empty());
        for field in fields {
            assert!(page.contains(&format!("`{field}`")), "{path}: {field} is not in docs/api.md");
        }
    }
}

fn keys(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                into.push(key.clone());
                keys(value, into);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

#[tokio::test]
async fn the_plan_says_what_is_due_and_what_is_in_the_way() {
    let fake = Fake::start().await;
    let (status, plan) = send(&fake, Method::GET, "/v1/plan").await;
    assert_eq!(status, StatusCode::OK);
    let billing = &plan["secrets"][0];
    assert_eq!(billing["due"], false);
    assert_eq!(billing["open"], "20261121T031200Z-sched");
    assert_eq!(billing["refused"]["code"], "rotation_open");
    assert_eq!(billing["possible_at"], "2026-11-22T16:00:00.000Z");
    assert_eq!(billing["next_runs"].as_array().unwrap().len(), 5);
    let because: Vec<&str> = billing["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["because"].as_str().unwrap())
        .collect();
    assert_eq!(because, ["scheduled", "max_age", "scheduled", "max_age", "scheduled"]);
}

#[tokio::test]
async fn the_plan_is_worked_out_when_it_is_asked_for() {
    // Nothing has happened to the secret since its run was still an hour ahead.
    let mut view = picture::overlapping();
    let mut rotation = (**view.rotation.as_ref().unwrap()).clone();
    let at = picture::NOW - Span::from_secs(7200);
    rotation.phase = Phase::Closed { outcome: Outcome::Done, at };
    rotation.outgoing.clear();
    view.rotation = Some(Arc::new(rotation));
    let planning = view.planning.as_mut().unwrap();
    planning.cadence = Arc::new(Cadence {
        schedule: Some(Schedule::parse("30 11 * * *", "UTC").unwrap()),
        ..Cadence::default()
    });
    planning.next_run = Some(picture::NOW - Span::from_secs(1800));
    let snapshot = picture::with(view, Span::ZERO);
    let fake = Fake::start_with(Setup { snapshot, ..Setup::default() }).await;
    let (_, plan) = send(&fake, Method::GET, "/v1/plan").await;
    let billing = &plan["secrets"][0];
    assert_eq!((&billing["due"], &billing["because"]), (&true.into(), &"scheduled".into()));
    assert_eq!(billing["due_since"], "2026-11-22T11:30:00.000Z");
    assert_eq!(billing["refused"], Value::Null);
    assert_eq!(billing["next_runs"][0], "2026-11-22T12:00:00.000Z");
    let (_, status) = send(&fake, Method::GET, "/v1/status").await;
    assert_eq!(status["secrets"][0]["next_run"], "2026-11-22T12:00:00.000Z");
}

#[tokio::test]
async fn a_secret_that_does_not_exist_is_not_found_and_the_nearest_is_suggested() {
    let fake = Fake::start().await;
    let (status, error) = send(&fake, Method::GET, "/v1/status/stripe-kye").await;
    assert_eq!((status, &error["code"]), (StatusCode::NOT_FOUND, &Value::from("no_such_secret")));
    assert!(error["text"].as_str().unwrap().contains("did you mean stripe-key?"), "{error}");
    let (status, error) = send(&fake, Method::GET, "/v1/status/other").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(error["text"].as_str().unwrap().contains("rotord status"), "{error}");
    let fake = Fake::answering(|_| {
        let text = "not among ours".to_owned();
        let (kind, reason) = (RefusalKind::NotFound, Reason::Unmanaged);
        Err(Refusal { kind, reason, possible_at: None, text })
    })
    .await;
    let (status, error) = send(&fake, Method::POST, "/v1/secrets/mail-kye/rotate").await;
    assert_eq!((status, &error["code"]), (StatusCode::NOT_FOUND, &Value::from("no_such_secret")));
    assert!(error["text"].as_str().unwrap().contains("did you mean mail-key?"), "{error}");
}

#[tokio::test]
async fn before_the_records_are_read_no_name_is_called_unknown() {
    let mut snapshot = picture::snapshot();
    snapshot.health.loaded = false;
    let fake = Fake::start_with(Setup { snapshot, ..Setup::default() }).await;
    let (status, error) = send(&fake, Method::GET, "/v1/status/not-read-yet").await;
    let starting = (StatusCode::SERVICE_UNAVAILABLE, &Value::from("starting"));
    assert_eq!((status, &error["code"]), starting);
    let (status, _) = send(&fake, Method::GET, "/v1/status/mail-key").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn every_command_reaches_the_engine_with_the_callers_name() {
    let fake = Fake::answering(|_| {
        Ok(Done { rotation: Some(RotationId("r-1".into())), text: "opened".into() })
    })
    .await;
    let me = PeerPolicy::of_this_process(None).unwrap();
    let uid = me.users[1];
    let asked = [
        (
            "rotate?emergency=true&reason=it%20leaked",
            r#"Rotate { name: a, emergency: true, reason: "it leaked" }"#,
        ),
        ("rotate", r#"Rotate { name: a, emergency: false, reason: "" }"#),
        ("release", "Release { name: a }"),
        ("resolve?how=retry", "Resolve { name: a, how: Retry }"),
        ("resolve?how=abandon", "Resolve { name: a, how: Abandon }"),
        ("resolve?how=supersede", "Resolve { name: a, how: Supersede }"),
        ("resolve?how=waive&target=t1", "Resolve { name: a, how: Waive(t1) }"),
        ("resolve?how=accept_key&key_id=AK%2F1", "Resolve { name: a, how: AcceptKey(AK/1) }"),
    ];
    for (path, command) in asked {
        let (status, done) = send(&fake, Method::POST, &format!("/v1/secrets/a/{path}")).await;
        assert_eq!(status, StatusCode::OK, "{path}: {done}");
        assert_eq!(done, serde_json::json!({"rotation": "r-1", "text": "opened"}));
        let reached = fake.asked();
        assert_eq!(reached.len(), 1);
        assert_eq!(reached[0].command, command);
        let Actor(who) = &reached[0].actor;
        assert!(who.starts_with(&format!("uid:{uid}")), "{who}");
    }
}

#[tokio::test]
async fn a_hold_is_dated_and_signed_by_the_daemon() {
    let fake = Fake::start().await;
    let path = "/v1/secrets/a/hold?until=7d&reason=freeze&routine_only=true";
    let (status, _) = send(&fake, Method::POST, path).await;
    assert_eq!(status, StatusCode::OK);
    let asked = fake.asked().remove(0);
    let Actor(who) = asked.actor;
    assert_eq!(
        asked.command,
        format!(
            "Hold {{ name: a, hold: Hold {{ by: {who:?}, reason: \"freeze\", \
             at: 2026-11-22T12:00:00.000Z, until: 2026-11-29T12:00:00.000Z, \
             routine_only: true }} }}"
        )
    );
}

#[tokio::test]
async fn reload_reaches_whoever_reads_the_config() {
    let fake = Fake::start().await;
    let (status, done) = send(&fake, Method::POST, "/v1/reload").await;
    assert_eq!((status, &done["text"]), (StatusCode::OK, &Value::from("nothing changed")));
    assert_eq!(fake.asked().remove(0).command, "Reload");
}

#[tokio::test]
async fn a_wrong_request_is_told_where_it_is_wrong_and_never_reaches_the_engine() {
    let fake = Fake::start().await;
    let wrong = [
        ("/v1/secrets/A/rotate", "name: 'A'"),
        ("/v1/secrets/a/rotate?emergncy=true", "emergncy"),
        ("/v1/secrets/a/rotate?emergency=perhaps", "emergency"),
        ("/v1/secrets/a/rotate?reason=a%0Ab", "reason: one line"),
        ("/v1/secrets/a/hold?reason=x", "until"),
        ("/v1/secrets/a/hold?until=7d", "reason"),
        ("/v1/secrets/a/hold?until=soon&reason=x", "until: expected a moment"),
        ("/v1/secrets/a/resolve", "how"),
        ("/v1/secrets/a/resolve?how=pray", "pray"),
        ("/v1/secrets/a/resolve?how=waive", "target: which one"),
        ("/v1/secrets/a/resolve?how=waive&target=T", "target: 'T'"),
        ("/v1/secrets/a/resolve?how=accept_key", "key_id: which one"),
        ("/v1/secrets/a/resolve?how=retry&target=t", "target: belongs to"),
        ("/v1/secrets/a/release?now=1", "now"),
    ];
    for (path, place) in wrong {
        let (status, error) = send(&fake, Method::POST, path).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {error}");
        assert_eq!(error["code"], "bad_parameter", "{path}");
        assert!(error["text"].as_str().unwrap().contains(place), "{path}: {error}");
    }
    let body = client(&fake.socket).post("http://rotord/v1/secrets/a/rotate").body("reason=x");
    let (status, error) = json(body.send().await.unwrap()).await;
    assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &Value::from("bad_body")));
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn every_kind_of_refusal_has_its_status() {
    let kinds = [
        (RefusalKind::NotFound, 404, "rotation_open"),
        (RefusalKind::Conflict, 409, "rotation_open"),
        (RefusalKind::Invalid, 422, "rotation_open"),
        (RefusalKind::Unavailable, 503, "rotation_open"),
    ];
    for (kind, status, code) in kinds {
        let fake = Fake::answering(move |_| {
            Err(Refusal {
                kind,
                reason: Reason::RotationOpen,
                possible_at: Some(picture::NOW + Span::from_secs(60)),
                text: "wait for it".into(),
            })
        })
        .await;
        let (answered, error) = send(&fake, Method::POST, "/v1/secrets/mail-key/rotate").await;
        assert_eq!((answered.as_u16(), &error["code"]), (status, &Value::from(code)));
        assert_eq!(error["text"], "wait for it");
        assert_eq!(error["possible_at"], "2026-11-22T12:01:00.000Z");
    }
}

#[tokio::test]
async fn a_value_arrives_byte_for_byte_and_is_not_answered() {
    let fake = Fake::start().await;
    let value: Vec<u8> = (0..=255).collect();
    for (path, command) in [
        (
            "/v1/secrets/a/adopt?key_id=AK1",
            r#"Adopt { name: a, material: {"value"}, key: Some(AK1) }"#,
        ),
        ("/v1/secrets/a/provide", r#"Provide { name: a, material: {"value"}, key: None }"#),
    ] {
        let sent = put_value(&client(&fake.socket), path, value.clone()).send().await.unwrap();
        let (status, _) = json(sent).await;
        assert_eq!(status, StatusCode::OK);
        let asked = fake.asked().remove(0);
        assert_eq!(asked.command, command);
        assert_eq!(asked.value.as_deref(), Some(&value[..]));
    }
}

#[tokio::test]
async fn a_value_that_is_empty_too_large_or_wrapped_is_refused() {
    let fake = Fake::start().await;
    let path = "/v1/secrets/a/adopt";
    let client = client(&fake.socket);
    let announced = put_value(&client, path, vec![b'x'; 64 * 1024 + 1]);
    let pieces = [Ok::<_, std::io::Error>(vec![b'x'; 64 * 1024]), Ok(vec![b'x'; 1])];
    let pieces = futures_util::stream::iter(
        pieces.map(|piece| piece.map(|bytes| Frame::data(Bytes::from(bytes)))),
    );
    let streamed = put_value(&client, path, reqwest::Body::wrap(StreamBody::new(pieces)));
    let form = client.post(format!("http://rotord{path}")).body("value=hunter2");
    for (request, status, code) in [
        (announced, 413, "too_large"),
        (streamed, 413, "too_large"),
        (put_value(&client, path, ""), 400, "bad_body"),
        (form, 415, "bad_body"),
    ] {
        let (answered, error) = json(request.send().await.unwrap()).await;
        assert_eq!((answered.as_u16(), &error["code"]), (status, &Value::from(code)));
        assert!(!error.to_string().contains("hunter2"));
    }
    assert!(fake.asked().is_empty());
    let largest = put_value(&client, path, vec![b'x'; 64 * 1024]).send().await.unwrap();
    assert_eq!(largest.status(), StatusCode::OK);
}

#[tokio::test]
async fn asking_changes_nothing() {
    let fake = Fake::start().await;
    for path in ["rotate", "hold?until=1d&reason=x", "release", "adopt", "provide", "resolve"] {
        let (status, error) = send(&fake, Method::GET, &format!("/v1/secrets/a/{path}")).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(error["code"], "wrong_method");
    }
    let (status, _) = send(&fake, Method::GET, "/v1/reload").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    let (status, error) = send(&fake, Method::GET, "/v2/status").await;
    assert_eq!((status, &error["code"]), (StatusCode::NOT_FOUND, &Value::from("no_such_path")));
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn health_and_metrics_are_answered() {
    let fake = Fake::start().await;
    for path in ["/v1/health/live", "/v1/health/ready"] {
        let (status, health) = send(&fake, Method::GET, path).await;
        assert_eq!((status, &health["ok"]), (StatusCode::OK, &Value::Bool(true)), "{path}");
    }
    let mut sealed = picture::snapshot();
    sealed.health.trouble = Some((Reason::VaultSealed, picture::NOW));
    fake.show(sealed);
    let (status, health) = send(&fake, Method::GET, "/v1/health/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health["missing"][0], "vault_sealed");
    let scraped = client(&fake.socket).get("http://rotord/metrics").send().await.unwrap();
    assert!(scraped.headers()["content-type"].to_str().unwrap().starts_with("application/openm"));
    assert!(scraped.text().await.unwrap().ends_with("# EOF\n"));
}

#[tokio::test]
async fn whoever_the_policy_does_not_name_gets_nothing() {
    let policy = PeerPolicy::default();
    let fake = Fake::start_with(Setup { policy, ..Setup::default() }).await;
    for (method, path) in [
        (Method::GET, "/v1/status"),
        (Method::GET, "/v1/health/live"),
        (Method::GET, "/metrics"),
        (Method::GET, "/nowhere"),
        (Method::POST, "/v1/secrets/a/rotate"),
    ] {
        let (status, error) = send(&fake, method, path).await;
        assert_eq!((status, &error["code"]), (StatusCode::FORBIDDEN, &Value::from("denied")));
        assert!(error["text"].as_str().unwrap().contains("uid:"), "{error}");
    }
    assert!(fake.asked().is_empty());
}

/// Our own number stands for everybody whom a user namespace hides.
fn in_a_user_namespace() -> PeerPolicy {
    let me = PeerPolicy::of_this_process(None).unwrap().users[1];
    PeerPolicy { unmapped: Some(me), ..PeerPolicy::default() }
}

#[tokio::test]
async fn in_a_user_namespace_whoever_the_socket_lets_in_may_command() {
    let policy = in_a_user_namespace();
    let fake = Fake::start_with(Setup { policy, ..Setup::default() }).await;
    let rotate = || client(&fake.socket).post("http://rotord/v1/secrets/a/rotate");
    let named = rotate().header(OPERATOR_HEADER, "alice");
    let forged = rotate().header(OPERATOR_HEADER, "alice) uid:0(root");
    for (request, who) in
        [(named, "unmapped (says alice)"), (rotate(), "unmapped"), (forged, "unmapped")]
    {
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
        assert_eq!(fake.asked()[0].actor, Actor(who.into()));
    }
    fs::set_permissions(&fake.socket, Permissions::from_mode(0o666)).unwrap();
    let (status, error) = json(rotate().send().await.unwrap()).await;
    assert_eq!((status, &error["code"]), (StatusCode::FORBIDDEN, &Value::from("denied")));
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn a_name_in_a_header_changes_nothing_for_whom_the_kernel_names() {
    let fake = Fake::start().await;
    let request = client(&fake.socket).post("http://rotord/v1/secrets/a/rotate");
    request.header(OPERATOR_HEADER, "alice").send().await.unwrap();
    let Actor(who) = &fake.asked()[0].actor;
    assert!(who.starts_with("uid:") && !who.contains("alice"), "{who}");
}

#[tokio::test]
async fn a_reader_who_waits_for_news_is_answered_when_they_come() {
    let fake = Fake::start().await;
    let path = format!("/v1/status/mail-key?newer_than={}", picture::NOW);
    let asking = send(&fake, Method::GET, &path);
    let showing = async {
        tokio::task::yield_now().await;
        fake.show(picture::with(picture::leaked(), Span(1)));
    };
    let ((status, one), ()) = tokio::join!(asking, showing);
    assert_eq!((status, &one["at"]), (StatusCode::OK, &Value::from("2026-11-22T12:00:00.001Z")));
}

/// Sends a piece and reads to the end: the server must be the one that ends it.
async fn cut_off_after(fake: &Fake, piece: &[u8]) -> String {
    let mut stream = UnixStream::connect(&fake.socket).await.unwrap();
    stream.write_all(piece).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let ended = tokio::time::timeout(LONG, read).await.expect("the server keeps the connection");
    // A server that hangs up on bytes it has not read resets the connection.
    assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_client_that_dawdles_is_cut_off() {
    let limits = Limits { head_within: SHORT, answer_within: SHORT, ..Limits::default() };
    let fake = Fake::start_with(Setup { limits, ..Setup::default() }).await;
    let nothing = cut_off_after(&fake, b"").await;
    assert_eq!(nothing, "");
    let half_a_head = cut_off_after(&fake, b"GET /v1/status HTTP/1.1\r\nHost: ro").await;
    assert!(!half_a_head.contains("200 OK"), "{half_a_head}");
    let half_a_body = cut_off_after(
        &fake,
        b"POST /v1/secrets/a/adopt HTTP/1.1\r\nHost: rotord\r\n\
          Content-Type: application/octet-stream\r\nContent-Length: 9\r\n\r\nhalf",
    )
    .await;
    assert!(half_a_body.starts_with("HTTP/1.1 408"), "{half_a_body}");
    let idle_after_an_answer =
        cut_off_after(&fake, b"GET /v1/health/live HTTP/1.1\r\nHost: rotord\r\n\r\n").await;
    assert!(idle_after_an_answer.starts_with("HTTP/1.1 200"), "{idle_after_an_answer}");
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let fake = Fake::start().await;
    let head =
        format!("GET /v1/status HTTP/1.1\r\nHost: rotord\r\nX: {}\r\n\r\n", "x".repeat(9000));
    let answer = cut_off_after(&fake, head.as_bytes()).await;
    assert!(!answer.contains("200 OK"), "{answer}");
    let (status, _) = send(&fake, Method::GET, "/v1/health/live").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_their_turn() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let fake = Fake::start_with(Setup { limits, ..Setup::default() }).await;
    let mut first = UnixStream::connect(&fake.socket).await.unwrap();
    first.write_all(b"GET /v1/health/live HTTP/1.1\r\nHost: rotord\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    first.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let path = "/v1/health/live";
    let second = send(&fake, Method::GET, path);
    let mut second = std::pin::pin!(second);
    assert!(tokio::time::timeout(SHORT, &mut second).await.is_err(), "it was served at once");
    drop(first);
    let (status, _) = tokio::time::timeout(LONG, second).await.unwrap();
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn stopping_ends_every_connection_and_takes_the_socket_away() {
    let limits = Limits { farewell: SHORT, ..Limits::default() };
    let mut fake = Fake::start_with(Setup { limits, ..Setup::default() }).await;
    let mut idle = UnixStream::connect(&fake.socket).await.unwrap();
    idle.write_all(b"GET /v1/sta").await.unwrap();
    let (status, _) = send(&fake, Method::GET, "/v1/status").await;
    assert_eq!(status, StatusCode::OK);
    tokio::time::timeout(LONG, fake.stop()).await.expect("a connection keeps the daemon");
    assert!(!fake.socket.exists());
    let mut rest = Vec::new();
    tokio::time::timeout(LONG, idle.read_to_end(&mut rest)).await.unwrap().unwrap();
}

#[tokio::test]
async fn incidents_are_shown_newest_first_and_one_in_full() {
    let fake = Fake::start().await;
    let (status, list) = send(&fake, Method::GET, "/v1/incidents").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(list["incidents"][0]["id"], picture::ACTING);
    assert_eq!(list["incidents"][1]["waits"]["code"], "unproved");
    assert_eq!((&list["guard"]["floor"], &list["guard"]["breaker"]), (&"10m".into(), &500.into()));
    let path = format!("/v1/incidents/{}", picture::ACTING);
    let (status, one) = send(&fake, Method::GET, &path).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(one["incident"]["state"], "acting");
    let worker = serde_json::json!({ "name": "worker", "left_at": null, "waived_by": null });
    assert_eq!(one["targets"][1], worker);
    assert!(one["missing"][0].as_str().unwrap().contains("worker may still hold it"), "{one}");
    let report = client(&fake.socket).get(format!("http://rotord{path}/report")).send().await;
    let report = report.unwrap();
    assert_eq!(report.headers()["content-type"], "text/markdown; charset=utf-8");
    let (status, _) = send(&fake, Method::GET, "/v1/incidents/20200101T000000Z-00000000").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = send(&fake, Method::GET, "/v1/incidents/a%20b").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn nobody_decides_without_a_reason_or_where_nobody_leads() {
    let fake = Fake::start().await;
    let path = format!("/v1/incidents/{}", picture::WAITING);
    for wrong in ["approve", "approve?reason=", "close?reason=%20", "waive?reason=x"] {
        let (status, answer) = send(&fake, Method::POST, &format!("{path}/{wrong}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}: {answer}");
    }
    assert_eq!(fake.asked().len(), 0);
    let (status, _) = send(&fake, Method::GET, &format!("{path}/approve?reason=x")).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    let away = Setup { incidents: Default::default(), ..Setup::default() };
    let fake = Fake::start_with(away).await;
    for (method, path) in [
        (Method::GET, "/v1/incidents".to_owned()),
        (Method::GET, path.clone()),
        (Method::POST, format!("{path}/approve?reason=x")),
    ] {
        let (status, answer) = send(&fake, method, &path).await;
        let expected = (StatusCode::SERVICE_UNAVAILABLE, &"no_lease".into());
        assert_eq!((status, &answer["code"]), expected);
    }
}

/// A scan for the version in use of `mail-key`, which is [`IN_A_FILE`], whose desk knows of it or
/// not.
async fn scanning(is_known: bool) -> (Fake, String) {
    let setup = Setup {
        verdicts: Box::new(move |_| {
            let judged = Judged {
                secret: "mail-key".parse().unwrap(),
                version: VersionId(5),
                stage: Stage::Current,
                action: Action::Rotate,
                incident: None,
                rotation: None,
            };
            Verdict { ours: is_known.then_some(judged).into_iter().collect() }
        }),
        ..Setup::default()
    };
    let material = Material::single(SecretBytes::new(IN_A_FILE.as_bytes().to_vec()));
    let saved = Saved { rotation: RotationId("r".into()), key: None, material };
    let name = "mail-key".parse().unwrap();
    setup.store.put_material(&name, VersionId(5), &saved).await.unwrap();
    let fake = Fake::start_with(setup).await;
    let (status, begun) = send(&fake, Method::POST, "/v1/scans").await;
    assert_eq!((status, &begun["versions"]), (StatusCode::OK, &1.into()), "{begun}");
    let path = format!("/v1/scans/{}", begun["scan"]);
    (fake, path)
}

const IN_A_FILE: &str = "rk_live_0123456789abcdefghij";

async fn report(fake: &Fake, scan: &str, sightings: Value) -> Value {
    let body = serde_json::json!({ "id": "scan", "sightings": sightings });
    let request = client(&fake.socket).post(format!("http://rotord{scan}/report"));
    let request = request.body(body.to_string());
    let (status, mut answer) = json(request.send().await.unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["verdicts"].take()
}

#[tokio::test]
async fn a_sighting_that_is_no_longer_so_keeps_none_of_the_others() {
    let (fake, scan) = scanning(true).await;
    let sighting = |secret: &str, version: u64| {
        let found_at = "a.env:1";
        serde_json::json!({ "secret": secret, "version": version, "found_at": found_at })
    };
    let wrong = [("mail-key", 6), ("gone-key", 1), ("stripe-key", 2), ("No Name", 1)];
    let mut sightings: Vec<Value> = wrong.map(|(secret, v)| sighting(secret, v)).into();
    sightings.insert(2, sighting("mail-key", 5));
    let verdicts = report(&fake, &scan, sightings.into()).await;
    let verdicts_listed = verdicts.as_array().unwrap();
    let codes = verdicts_listed.iter().map(|v| v["why"]["code"].as_str().unwrap_or_default());
    let codes: Vec<&str> = codes.collect();
    assert_eq!(
        codes,
        ["not_in_scan", "not_in_scan", "", "not_in_scan", "bad_parameter"],
        "{verdicts}"
    );
    assert_eq!(verdicts[2]["ours"][0]["action"], "rotate");
    assert!(verdicts[0]["why"]["text"].as_str().unwrap().contains("v6 of mail-key"), "{verdicts}");
}

#[tokio::test]
async fn a_sighting_of_what_is_known_no_more_says_so() {
    let (fake, scan) = scanning(false).await;
    let sighting = serde_json::json!([{ "secret": "mail-key", "version": 5, "found_at": "a:1" }]);
    let verdicts = report(&fake, &scan, sighting).await;
    assert_eq!(verdicts[0]["why"]["code"], "forgotten", "{verdicts}");
}
