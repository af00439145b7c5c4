//! Asking GitHub for what its webhooks lost, round after round.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rotord::engine::command::{Actor, Refusal, RefusalKind};
use rotord::engine::desk::{DeskHandle, Judged, Verdict};
use rotord::incident::alert::Alert;
use rotord::incident::decide::Action;
use rotord::intake::github::api::Scope;
use rotord::intake::poll::book::Shelf;
use rotord::intake::poll::github::{GitHubPoll, Settings as GitHubSettings};
use rotord::intake::poll::rounds::{
    Daemon, GO_ON_IN, PAGES_MAX, PAUSE_MAX, PAUSE_MIN, Round, Rounds, Settings, Surroundings,
};
use rotord::model::clue::Clue;
use rotord::model::id::{SecretName, SourceName, VersionId};
use rotord::model::reason::Reason;
use rotord::model::time::{Span, Timestamp};
use rotord::model::version::Stage;
use rotord::telemetry::metrics::Metrics;
use rotord::vault::KvPath;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::fake::{Call, Fake, Told};
use super::{CANARY, Log, THEN, Vault, assert_silent, digest_of, github};
use crate::support::picture;

const EVERY: Span = Span::from_secs(300);

/// The desk and the snapshot, as a test says.
#[derive(Default)]
struct Around {
    alerts: Mutex<Vec<Alert>>,
    ours: Mutex<Vec<Clue>>,
    revoked: Mutex<BTreeSet<VersionId>>,
    stepped_over: AtomicU64,
    away: Mutex<bool>,
}

impl Around {
    /// The ids of what was handed in since the last time.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.alerts.lock().unwrap()).into_iter().map(|a| a.id).collect()
    }
}

#[async_trait]
impl Surroundings for Around {
    async fn report(&self, actor: Actor, alert: Alert) -> Result<Vec<Verdict>, Refusal> {
        assert_eq!(actor.0, "poll of code-host");
        if *self.away.lock().unwrap() {
            let text = "send it again".to_owned();
            let (kind, reason) = (RefusalKind::Unavailable, Reason::NoLease);
            return Err(Refusal { kind, reason, possible_at: None, text });
        }
        let ours = self.ours.lock().unwrap();
        let judge = |clues: &[Clue]| {
            let known = clues.iter().any(|clue| ours.contains(clue));
            let judged = Judged {
                secret: SecretName::new("billing-key").unwrap(),
                version: VersionId(3),
                stage: Stage::Current,
                action: Action::Rotate,
                incident: None,
                rotation: None,
            };
            Verdict { ours: known.then_some(judged).into_iter().collect() }
        };
        let verdicts = alert.findings.iter().map(|finding| judge(&finding.clues)).collect();
        self.alerts.lock().unwrap().push(alert);
        Ok(verdicts)
    }

    fn is_revoked(&self, secret: &SecretName, version: VersionId) -> bool {
        assert_eq!(secret.as_str(), "billing-key");
        self.revoked.lock().unwrap().contains(&version)
    }

    fn stepped_over(&self, entries: u64) {
        self.stepped_over.fetch_add(entries, Ordering::Relaxed);
    }
}

struct Bench {
    vault: Vault,
    around: Arc<Around>,
    fake: Fake,
}

impl Bench {
    async fn new(answer: impl Fn(&Call) -> Told + Send + Sync + 'static) -> Bench {
        let vault = Vault::new(&[("token", "ghp_token-that-reads-alerts")]);
        Bench { vault, around: Arc::default(), fake: Fake::start(answer).await }
    }

    /// As after a restart.
    fn rounds(&self, scope: &str) -> Rounds {
        let settings = GitHubSettings {
            api: github::api(&self.fake),
            scope: Scope::new(scope).unwrap(),
            close: true,
        };
        let poll = GitHubPoll::new(settings, self.vault.secrets()).unwrap();
        let source = SourceName::new("code-host").unwrap();
        let shelf = Shelf::new(self.vault.kv.clone(), "rotord", &source);
        let settings =
            Settings { source, trusted: false, every: EVERY, look_back: Span::from_secs(3600) };
        Rounds::new(settings, Arc::new(poll), shelf, self.around.clone())
    }

    fn book() -> KvPath {
        KvPath { mount: "rotord".to_owned(), path: "poll/code-host".to_owned() }
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(THEN + seconds)
}

fn alert(number: u64, changed: i64, value: &str) -> Value {
    json!({
        "number": number, "state": "open", "secret": value, "secret_type": "rotord_key",
        "html_url": format!("https://github.com/o/h/security/secret-scanning/{number}"),
        "created_at": at(-1_000_000), "updated_at": at(changed), "validity": "unknown",
        "repository": { "full_name": "octo-org/hello" },
    })
}

fn page(alerts: &[Value], next: Option<&str>, etag: &str) -> Told {
    let mut headers = vec![("etag", format!("\"{etag}\""))];
    if let Some(next) = next {
        headers.push(("link", format!("<http://x.example/y?after={next}>; rel=\"next\"")));
    }
    Told(200, headers, json!(alerts).to_string())
}

fn quiet(again_in: Span) -> Round {
    Round { again_in, ..Round::default() }
}

#[tokio::test]
async fn a_round_reads_back_to_where_the_last_one_ended() {
    let bench = Bench::new(|call| match call.place.contains("after=") {
        false => page(&[alert(5, -10, "a"), alert(4, -20, "b")], Some("p2"), "v1"),
        true => page(&[alert(3, -3_600, "c"), alert(2, -3_601, "d")], Some("p3"), "w"),
    })
    .await;
    let mut rounds = bench.rounds("octo-org");
    let round = rounds.round(at(0)).await;
    assert_eq!(round, Round { reported: 3, ..quiet(EVERY) });
    let ids = ["octo-org/hello#5", "octo-org/hello#4", "octo-org/hello#3"];
    assert_eq!(bench.around.take(), ids, "an hour back and no further");
    let calls = bench.fake.take();
    assert_eq!(calls.len(), 2);
    assert!(calls[0].place.starts_with("/api/v3/orgs/octo-org/secret-scanning/alerts?state=open"));
    assert!(calls[1].place.ends_with("&after=p2"), "{}", calls[1].place);

    bench.fake.answers(|call| match call.if_none_match.as_deref() {
        Some("\"v1\"") => Told::status(304),
        other => panic!("{other:?}"),
    });
    let written = bench.vault.kv.newest(&Bench::book());
    let mut restarted = bench.rounds("octo-org");
    assert_eq!(restarted.round(at(300)).await, quiet(EVERY));
    assert_eq!(bench.vault.kv.newest(&Bench::book()), written, "nothing new, nothing written");

    bench.fake.answers(|call| match call.place.contains("after=") {
        false => page(&[alert(6, 310, "e"), alert(5, -10, "a")], Some("p2"), "v2"),
        true => page(&[alert(4, -20, "b")], Some("p3"), "w"),
    });
    assert_eq!(restarted.round(at(600)).await, Round { reported: 1, ..quiet(EVERY) });
    assert_eq!(bench.around.take(), ["octo-org/hello#6"], "what was seen is not reported again");
}

#[tokio::test]
async fn an_alert_of_the_same_moment_is_seen_once_and_none_is_missed() {
    let bench = Bench::new(|_| page(&[alert(1, -10, "a")], None, "v1")).await;
    let mut rounds = bench.rounds("octo-org/hello");
    rounds.round(at(0)).await;
    assert_eq!(bench.around.take(), ["octo-org/hello#1"]);
    bench.fake.answers(|_| page(&[alert(2, -10, "b"), alert(1, -10, "a")], None, "v2"));
    rounds.round(at(300)).await;
    assert_eq!(bench.around.take(), ["octo-org/hello#2"]);
    bench.fake.answers(|_| page(&[alert(2, -10, "b"), alert(1, -10, "a")], None, "v3"));
    rounds.round(at(600)).await;
    assert!(bench.around.take().is_empty());
    let calls = bench.fake.take();
    assert!(calls[0].place.starts_with("/api/v3/repos/octo-org/hello/secret-scanning/alerts?"));
}

#[tokio::test]
async fn a_long_list_is_read_over_several_rounds() {
    let bench = Bench::new(|call| {
        let before = call.place.split_once("after=").map_or(0, |(_, n)| n.parse::<u64>().unwrap());
        let number = 100 - before;
        let next = (before < 14).then(|| (before + 1).to_string());
        page(&[alert(number, -(before as i64), "a")], next.as_deref(), "v1")
    })
    .await;
    let mut rounds = bench.rounds("octo-org");
    let first = rounds.round(at(0)).await;
    assert_eq!(first, Round { reported: PAGES_MAX, ..quiet(GO_ON_IN) });
    let mut restarted = bench.rounds("octo-org");
    assert_eq!(restarted.round(at(1)).await, Round { reported: 5, ..quiet(EVERY) });
    let seen: BTreeSet<String> = bench.around.take().into_iter().collect();
    assert_eq!(seen.len(), 15, "each once");
    let book = bench.vault.kv.peek(&Bench::book()).unwrap();
    assert_eq!(book["cursor"]["since"], json!(at(0)));
}

#[tokio::test]
async fn a_list_that_leads_back_to_itself_ends() {
    let bench = Bench::new(|_| page(&[alert(1, -10, "a")], Some("p2"), "v1")).await;
    let round = bench.rounds("octo-org").round(at(0)).await;
    assert_eq!(round.again_in, EVERY);
    assert_eq!(bench.fake.take().len(), 2);
}

#[tokio::test]
async fn what_the_desk_cannot_take_comes_again() {
    let bench = Bench::new(|_| page(&[alert(1, -10, "a")], None, "v1")).await;
    let mut rounds = bench.rounds("octo-org");
    *bench.around.away.lock().unwrap() = true;
    let round = rounds.round(at(0)).await;
    assert_eq!((round.reported, round.again_in), (0, PAUSE_MIN));
    assert_eq!(bench.vault.kv.newest(&Bench::book()), 0);
    *bench.around.away.lock().unwrap() = false;
    assert_eq!(rounds.round(at(30)).await.reported, 1);
    assert_eq!(bench.around.take(), ["octo-org/hello#1"]);
}

#[tokio::test]
async fn an_odd_entry_is_told_and_the_rest_of_the_list_is_read() {
    let log = Log::listen();
    let mut hidden = alert(8, -10, "x");
    hidden["secret"] = Value::Null;
    let mut nowhere = alert(7, -10, "x");
    nowhere["repository"] = json!({ "full_name": "../admin" });
    let odd = [
        json!({ "number": CANARY, "updated_at": at(-9) }),
        json!([CANARY]),
        hidden,
        nowhere,
        json!({ "number": 6, "updated_at": CANARY, "secret": [CANARY] }),
    ];
    let bench = Bench::new(move |call| match call.place.contains("after=") {
        false => page(&[&odd[..], &[alert(5, -20, CANARY)]].concat(), Some("p2"), "v1"),
        true => page(&[json!(7), alert(4, -30, "d"), alert(3, -3_601, "e")], None, "v2"),
    })
    .await;
    let mut rounds = bench.rounds("octo-org");
    let round = rounds.round(at(0)).await;
    assert_eq!(round, Round { reported: 2, odd: 6, ..quiet(EVERY) });
    assert_eq!(bench.around.take(), ["octo-org/hello#5", "octo-org/hello#4"]);
    assert_eq!(bench.around.stepped_over.load(Ordering::Relaxed), 6);
    let said = log.text();
    for told in ["source=code-host entry=1\n", "octo-org/hello#8 is listed without its value"] {
        assert!(said.contains(told), "{told} in {said}");
    }
    assert_silent(&format!("{said} {round:?}"));
    bench.fake.take();
    let round = rounds.round(at(300)).await;
    assert_eq!((round.reported, round.trouble), (0, None), "the cursor went on");
    let none = bench.fake.take();
    assert_eq!(none[0].if_none_match.as_deref(), Some("\"v1\""), "most of the list was read");
}

#[tokio::test]
async fn a_list_without_values_is_asked_for_again_until_the_token_may_see_them() {
    let listed = Arc::new(Mutex::new(vec![alert(8, -10, "x"), alert(7, -20, "y")]));
    listed.lock().unwrap().iter_mut().for_each(|alert| alert["secret"] = Value::Null);
    let shown = Arc::clone(&listed);
    let bench = Bench::new(move |_| page(&shown.lock().unwrap(), None, "v1")).await;
    let mut rounds = bench.rounds("octo-org");
    let round = rounds.round(at(0)).await;
    assert_eq!((round.reported, round.again_in), (0, PAUSE_MIN));
    assert_eq!(bench.vault.kv.newest(&Bench::book()), 0, "the cursor stays");
    *listed.lock().unwrap() = vec![alert(8, -10, "x"), alert(7, -20, "y")];
    assert_eq!(rounds.round(at(30)).await.reported, 2);
    assert_eq!(bench.around.take(), ["octo-org/hello#8", "octo-org/hello#7"]);
}

#[tokio::test]
async fn a_list_of_odd_entries_only_is_asked_for_again() {
    let bench = Bench::new(|_| page(&[json!(7), json!(CANARY)], None, "v1")).await;
    let mut rounds = bench.rounds("octo-org");
    for now in [0, 300] {
        let round = rounds.round(at(now)).await;
        assert_eq!(round, Round { odd: 2, ..quiet(EVERY) });
    }
    assert!(bench.fake.take().iter().all(|call| call.if_none_match.is_none()));
}

#[tokio::test]
async fn failures_are_told_and_make_it_wait_longer() {
    let bench = Bench::new(|_| Told::status(500)).await;
    let mut rounds = bench.rounds("octo-org");
    let mut pauses = Vec::new();
    for n in 0..7 {
        let round = rounds.round(at(n)).await;
        assert!(round.trouble.unwrap().contains("answered 500"));
        pauses.push(round.again_in);
    }
    let doubled = (0..5).map(|n| PAUSE_MIN.times(1 << n));
    let expected: Vec<Span> = doubled.chain([PAUSE_MAX, PAUSE_MAX]).collect();
    assert_eq!(pauses, expected);
    for (headers, pause) in [
        (vec![("retry-after", "2000".to_owned())], Span::from_secs(2_000)),
        (vec![("x-ratelimit-remaining", "0".to_owned())], PAUSE_MAX),
    ] {
        bench.fake.answers(move |_| Told(403, headers.clone(), String::new()));
        assert_eq!(rounds.round(at(20)).await.again_in, pause);
    }
    bench.fake.answers(|_| page(&[], None, "v1"));
    assert_eq!(rounds.round(at(30)).await, quiet(EVERY));
    bench.fake.answers(|_| Told::status(401));
    let round = rounds.round(at(40)).await;
    assert_eq!(round.again_in, PAUSE_MIN, "a success begins the ladder anew");
}

#[tokio::test]
async fn an_alert_is_closed_once_its_version_is_revoked() {
    let bench =
        Bench::new(|_| page(&[alert(7, -10, CANARY), alert(8, -20, "x")], None, "v1")).await;
    bench.around.ours.lock().unwrap().push(digest_of(CANARY));
    let mut rounds = bench.rounds("octo-org");
    assert_eq!(rounds.round(at(0)).await, Round { reported: 2, ..quiet(EVERY) });
    bench.fake.take();

    let open = |call: &Call| match (call.method.as_str(), call.place.contains("hide_secret=true")) {
        ("GET", true) => Told::json(json!({ "number": 7, "state": "open" })),
        ("PATCH", _) => Told::json("{}"),
        _ => Told::status(304),
    };
    bench.fake.answers(open);
    assert_eq!(rounds.round(at(300)).await, quiet(EVERY), "it still works");
    bench.around.revoked.lock().unwrap().insert(VersionId(3));
    let mut restarted = bench.rounds("octo-org");
    bench.fake.take();
    assert_eq!(restarted.round(at(600)).await, Round { settled: 1, ..quiet(EVERY) });
    let calls = bench.fake.take();
    let closing = calls.last().unwrap();
    assert_eq!(closing.method, "PATCH");
    assert_eq!(closing.place, "/api/v3/repos/octo-org/hello/secret-scanning/alerts/7");
    let body: Value = serde_json::from_str(&closing.body).unwrap();
    assert_eq!(
        body,
        json!({
            "state": "resolved", "resolution": "revoked",
            "resolution_comment":
                "rotord: v3 of billing-key is revoked (seen 2026-11-22T03:22:00.000Z)",
        })
    );
    assert_eq!(restarted.round(at(900)).await, quiet(EVERY), "once");
}

#[tokio::test]
async fn what_a_person_closed_is_left_and_what_cannot_be_closed_does_not_block() {
    for (shown, patched, settled, calls) in [
        (Told::json(json!({ "state": "resolved" })), 500, 1, 1),
        (Told::status(404), 500, 0, 1),
        (Told::json(json!({ "state": "open" })), 422, 0, 2),
    ] {
        let bench = Bench::new(|_| page(&[alert(7, -10, CANARY)], None, "v1")).await;
        bench.around.ours.lock().unwrap().push(digest_of(CANARY));
        bench.around.revoked.lock().unwrap().insert(VersionId(3));
        let Told(status, _, body) = shown;
        bench.fake.answers(move |call| {
            match (call.method.as_str(), call.place.contains("hide_secret=true")) {
                ("GET", true) => Told(status, Vec::new(), body.clone()),
                ("PATCH", _) => Told::status(patched),
                _ => page(&[alert(7, -10, CANARY)], None, "v1"),
            }
        });
        let mut rounds = bench.rounds("octo-org");
        let round = rounds.round(at(0)).await;
        assert_eq!(round, Round { reported: 1, settled, ..quiet(EVERY) });
        assert_eq!(bench.fake.take().len(), 1 + calls);
        assert_eq!(bench.vault.kv.peek(&Bench::book()).unwrap()["awaited"], json!({}));
    }
}

#[tokio::test]
async fn closing_that_fails_for_now_is_tried_again() {
    let bench = Bench::new(|_| page(&[alert(7, -10, CANARY)], None, "v1")).await;
    bench.around.ours.lock().unwrap().push(digest_of(CANARY));
    let mut rounds = bench.rounds("octo-org");
    rounds.round(at(0)).await;
    bench.around.revoked.lock().unwrap().insert(VersionId(3));
    bench.fake.answers(|call| match call.place.contains("hide_secret=true") {
        true => Told::status(503),
        false => Told::status(304),
    });
    assert_eq!(rounds.round(at(300)).await.again_in, PAUSE_MIN);
    bench.fake.answers(|call| match call.place.contains("hide_secret=true") {
        true => Told::json(json!({ "state": "resolved" })),
        false => Told::status(304),
    });
    assert_eq!(rounds.round(at(330)).await.settled, 1);
}

#[tokio::test]
async fn a_book_that_cannot_be_read_stops_the_poll_and_is_not_begun_anew() {
    for broken in [json!({ "schema": 2, "cursor": { "since": at(0) }, "awaited": {} }), json!({})] {
        let bench = Bench::new(|_| page(&[alert(1, -10, "a")], None, "v1")).await;
        bench.vault.kv.put(&Bench::book(), broken.clone());
        let round = bench.rounds("octo-org").round(at(0)).await;
        assert!(round.trouble.unwrap().contains("rotord/poll/code-host"), "{broken}");
        assert_eq!(bench.vault.kv.peek(&Bench::book()), Some(broken));
        assert!(bench.fake.take().is_empty() && bench.around.take().is_empty());
    }
}

#[tokio::test]
async fn the_value_is_nowhere_afterwards() {
    let log = Log::listen();
    let bench = Bench::new(|_| page(&[alert(7, -10, CANARY)], None, "v1")).await;
    bench.around.ours.lock().unwrap().push(digest_of(CANARY));
    let mut rounds = bench.rounds("octo-org");
    let round = rounds.round(at(0)).await;
    let handed_in = format!("{:?}", bench.around.alerts.lock().unwrap());
    bench.fake.answers(|_| Told(200, Vec::new(), format!("[{{\"secret\":[\"{CANARY}\"]}}]")));
    let broken = rounds.round(at(300)).await;
    assert!(broken.trouble.is_some());
    let book = bench.vault.kv.contents_under("rotord", "poll/").concat();
    assert_silent(&format!("{round:?} {handed_in} {broken:?} {book} {}", log.text()));
}

#[test]
fn a_version_is_revoked_if_the_record_says_so_or_has_forgotten_it() {
    let mut view = picture::overlapping();
    let mut rotation = (**view.rotation.as_ref().unwrap()).clone();
    rotation.next_version = VersionId(9);
    view.rotation = Some(Arc::new(rotation));
    let (desk, _reports) = DeskHandle::new();
    let (_told, snapshots) = watch::channel(Arc::new(picture::with(view, Span::ZERO)));
    let metrics = Metrics::new("0", Timestamp(0));
    let daemon = Daemon { desk, snapshots, metrics: metrics.clone() };
    daemon.stepped_over(3);
    assert!(metrics.encode().contains("rotord_alert_entries_odd_total{by=\"poll\"} 3"));
    let billing = SecretName::new("billing-webhook").unwrap();
    let revoked = |version| daemon.is_revoked(&billing, VersionId(version));
    assert!(revoked(6), "a tombstone");
    assert!(revoked(3), "a tombstone that was dropped since");
    assert!(!revoked(7), "still accepted");
    assert!(!revoked(8), "in use");
    assert!(!revoked(9), "not made yet");
    for unknown in ["fresh-webhook", "nowhere"] {
        assert!(!daemon.is_revoked(&SecretName::new(unknown).unwrap(), VersionId(1)), "{unknown}");
    }
}
