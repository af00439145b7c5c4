//! What cannot be seen from outside without waiting: bounds, queues and liveness, on a paused
//! clock. Everything else is tested over a real socket in `tests/it/api.rs`.

use std::collections::BTreeMap;

use axum::body::Body;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::api::health::{missing_for_life, missing_for_work};
use crate::engine::snapshot::{ALIVE_WITHIN, Alarm, Health};
use crate::http::peer::Identity;
use crate::model::id::InstanceId;
use crate::model::reason::Reason;
use crate::model::time::{Span, Steady, Timestamp};
use crate::store::memory::MemoryStore;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn steady(&self) -> Steady {
        Steady(0)
    }
}

fn healthy() -> Health {
    Health {
        instance: InstanceId("test".into()),
        started_at: NOW,
        turned_at: NOW,
        epoch: None,
        leader: None,
        lease_until: None,
        destructive_from: None,
        trouble: None,
        loaded: true,
        unread: 0,
        breaker_open: false,
    }
}

/// The other ends of an [`Api`].
struct Ends {
    commands: mpsc::Receiver<Envelope>,
    reload: mpsc::Receiver<Reload>,
    acknowledge: mpsc::Receiver<Acknowledge>,
    alarms: watch::Sender<Vec<Alarm>>,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

fn api(queue: usize) -> (Api, Ends) {
    let (commands, commands_end) = mpsc::channel(queue);
    let (reload, reload_end) = mpsc::channel(1);
    let (acknowledge, acknowledge_end) = mpsc::channel(1);
    let (alarms, alarms_shown) = watch::channel(Vec::new());
    let secrets = Arc::new(BTreeMap::new());
    let limits = crate::plan::Limits::default();
    let snapshot = Snapshot { at: NOW, health: healthy(), limits, secrets };
    let (snapshots_end, snapshots) = watch::channel(Arc::new(snapshot));
    let (desk, recogniser) = (DeskHandle::new().0, Recogniser::default());
    let clock: Arc<dyn Clock> = Arc::new(Stopped);
    let scanner = Scanner::new(
        Arc::new(MemoryStore::new()),
        snapshots.clone(),
        recogniser.clone(),
        Arc::clone(&clock),
    );
    let api = Api {
        handle: Handle { commands, snapshots },
        desk,
        recogniser,
        scanner: Arc::new(scanner),
        reload,
        audit: Audit { alarms: alarms_shown, acknowledge },
        metrics: Metrics::new("test", NOW),
        login: watch::channel(Login::Ok { expires_at: None }).1,
        clock,
    };
    let ends = Ends {
        commands: commands_end,
        reload: reload_end,
        acknowledge: acknowledge_end,
        alarms,
        snapshots: snapshots_end,
    };
    (api, ends)
}

async fn ask(api: Api, method: Method, path: &str) -> (StatusCode, String) {
    let identity = Identity::User { uid: 0, name: Some("root".into()) };
    let peer = Peer { identity, allowed: true };
    let request = Request::builder().method(method).uri(path).extension(peer);
    let request = request.body(Body::empty()).unwrap();
    let response = router(api).oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_leaves_the_outcome_unknown() {
    let (api, mut ends) = api(1);
    let (status, body) = ask(api, Method::POST, "/v1/secrets/a/rotate").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert!(body.contains("outcome_unknown") && body.contains("rotord status a"), "{body}");
    assert!(ends.commands.try_recv().is_ok(), "the command had been handed over");
}

#[tokio::test(start_paused = true)]
async fn before_the_records_are_read_a_command_is_refused_at_once() {
    let (api, mut ends) = api(1);
    for (trouble, code) in [(None, "starting"), (Some(Reason::VaultSealed), "vault_sealed")] {
        ends.snapshots.send_modify(|snapshot| {
            let trouble = trouble.map(|reason| (reason, NOW));
            let health = Health { loaded: false, trouble, ..healthy() };
            *snapshot = Arc::new(Snapshot { health, ..Snapshot::clone(snapshot) });
        });
        for path in ["/v1/secrets/a/rotate", "/v1/secrets/a/release", "/v1/reload"] {
            let started = tokio::time::Instant::now();
            let (status, body) = ask(api.clone(), Method::POST, path).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {body}");
            assert!(body.contains(code) && body.contains("try again"), "{path}: {body}");
            assert!(started.elapsed().is_zero(), "{path}");
        }
    }
    assert!(ends.commands.try_recv().is_err() && ends.reload.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_drops_the_question_leaves_the_outcome_unknown() {
    let (api, mut ends) = api(1);
    let dropped = async { drop(ends.commands.recv().await) };
    let ((status, _), ()) = tokio::join!(ask(api, Method::POST, "/v1/secrets/a/release"), dropped);
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_busy_and_a_closed_one_is_the_end() {
    let (api, ends) = api(1);
    let permit = api.handle.commands.clone().reserve_owned().await.unwrap();
    let (status, body) = ask(api.clone(), Method::POST, "/v1/secrets/a/rotate").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{body}");
    drop((permit, ends));
    let (status, body) = ask(api, Method::POST, "/v1/secrets/a/rotate").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("stopping"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_waits_for_news_gets_the_old_picture_in_the_end() {
    let (api, _ends) = api(1);
    let newer = format!("/v1/status?newer_than={NOW}");
    let started = tokio::time::Instant::now();
    let (status, body) = ask(api, Method::GET, &newer).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(started.elapsed().as_secs(), NEWER_WITHIN.as_secs());
}

#[tokio::test]
async fn a_request_without_a_peer_is_nobodys() {
    let (api, _ends) = api(1);
    for path in ["/v1/status", "/v1/health/live", "/metrics"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = router(api.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
    }
}

#[test]
fn alive_is_a_loop_that_turns() {
    let stalled = Health { turned_at: NOW - ALIVE_WITHIN - Span(1), ..healthy() };
    assert!(missing_for_life(&healthy(), NOW).is_empty());
    assert_eq!(missing_for_life(&stalled, NOW), ["loop_stalled"]);
    assert_eq!(missing_for_work(&stalled, NOW), ["loop_stalled"]);
}

#[test]
fn ready_is_a_replica_that_could_act_or_knows_who_does() {
    let with = |reason| Health { trouble: Some((reason, NOW)), ..healthy() };
    assert!(missing_for_work(&healthy(), NOW).is_empty());
    assert!(missing_for_work(&with(Reason::NoLease), NOW).is_empty());
    assert_eq!(missing_for_work(&with(Reason::VaultSealed), NOW), ["vault_sealed"]);
    let starting = Health { loaded: false, ..with(Reason::VaultUnreachable) };
    assert_eq!(missing_for_work(&starting, NOW), ["records_not_loaded", "vault_unreachable"]);
}

#[tokio::test]
async fn an_alarm_is_shown_and_only_a_chain_that_takes_no_line_keeps_from_work() {
    let alarm = |reason| Alarm { reason, since: NOW, text: "look".to_owned() };
    let (shown, ends) = api(1);
    ends.alarms.send_replace(vec![alarm(Reason::AuditBroken)]);
    let (status, body) = ask(shown.clone(), Method::GET, "/v1/health/ready").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(body.contains(r#""code":"audit_broken","text":"look","since":"#), "{body}");
    let (_, body) = ask(shown.clone(), Method::GET, "/v1/status").await;
    assert!(body.contains(r#""code":"audit_broken""#), "{body}");
    ends.alarms.send_replace(vec![alarm(Reason::AuditUnwritable)]);
    let (status, body) = ask(shown, Method::GET, "/v1/health/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains(r#""missing":["audit_unwritable"]"#), "{body}");
}

#[tokio::test]
async fn an_acknowledgement_needs_a_reason_and_carries_the_callers_name() {
    let (asking, mut ends) = api(1);
    let without = ask(asking.clone(), Method::POST, "/v1/audit/acknowledge?reason=%20").await;
    assert_eq!(without.0, StatusCode::UNPROCESSABLE_ENTITY);
    let answering = async {
        let Acknowledge { actor, reason, reply } = ends.acknowledge.recv().await.unwrap();
        assert_eq!((actor.0.as_str(), reason.as_str()), ("uid:0(root)", "restored"));
        let _ = reply.send(Ok(Done { rotation: None, text: "seen".into() }));
    };
    let path = "/v1/audit/acknowledge?reason=restored";
    let (answer, ()) = tokio::join!(ask(asking, Method::POST, path), answering);
    assert_eq!(answer.0, StatusCode::OK, "{}", answer.1);
}
