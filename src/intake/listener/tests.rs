//! The listener over real sockets: who is answered, who is held back, and what is never said.

mod bodies;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::command::RefusalKind;
use crate::http::origin::Proxies;
use crate::http::server;
use crate::http::tcp::TcpDoor;
use crate::intake::guard::Rates;
use crate::intake::trial::{keys, secret};
use crate::intake::{Rejected, aws_health, gitguardian, trufflehog, vault_radar};
use crate::model::reason::Reason;
use crate::model::time::{Steady, Timestamp};
use crate::signing;

const TOKEN: &str = "the-token-of-every-source";
const VALUE: &str = "rk_live_0123456789abcdef";
const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// Wall time stands; steady time is the runtime's, real or virtual.
struct Standing(Instant);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn steady(&self) -> Steady {
        Steady(u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

struct Sevens;

impl Entropy for Sevens {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}

/// A desk that knows nothing, keeps what it is told, and may be away.
#[derive(Default)]
struct Desk {
    alerts: Mutex<Vec<Alert>>,
    refusals: AtomicUsize,
}

#[async_trait]
impl Judge for Desk {
    async fn report(&self, _: Actor, alert: Alert) -> Result<Vec<Verdict>, Refusal> {
        tokio::task::yield_now().await;
        let away = self
            .refusals
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if away.is_ok() {
            return Err(Refusal {
                kind: RefusalKind::Unavailable,
                reason: Reason::Busy,
                possible_at: None,
                text: "later".to_owned(),
            });
        }
        let verdicts = vec![Verdict::default(); alert.findings.len()];
        self.alerts.lock().unwrap().push(alert);
        Ok(verdicts)
    }

    fn leads(&self) -> bool {
        self.refusals.load(Ordering::Relaxed) == 0
    }
}

struct World {
    at: SocketAddr,
    intake: Arc<Intake>,
    desk: Arc<Desk>,
    metrics: Metrics,
    _served: JoinSet<()>,
}

async fn world(rates: Rates, proxies: &[&str]) -> World {
    let clock: Arc<dyn Clock> = Arc::new(Standing(Instant::now()));
    let metrics = Metrics::new("0", NOW);
    let proxies = Proxies(proxies.iter().map(|network| network.parse().unwrap()).collect());
    let guard = Arc::new(Guard::new(rates, proxies, Arc::clone(&clock), metrics.clone()));
    let desk = Arc::new(Desk::default());
    let judge: Arc<dyn Judge> = Arc::<Desk>::clone(&desk);
    let keeper = Arc::clone(&guard);
    let intake = Arc::new(Intake::new(judge, guard, clock, Arc::new(Sevens), metrics.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let door = TcpDoor::new(listener, None, shares(64), keeper);
    let mut served = JoinSet::new();
    let stop = CancellationToken::new();
    served.spawn(server::serve(door, intake.router(), limits(64), stop));
    World { at, intake, desk, metrics, _served: served }
}

/// A world with all sources, open.
async fn open_world(rates: Rates, proxies: &[&str]) -> World {
    let world = world(rates, proxies).await;
    world.intake.open(sources());
    world
}

fn sources() -> Vec<Named> {
    let (keys, secrets) = keys(&[TOKEN]);
    let all: Vec<(&'static str, Arc<dyn Source>)> = vec![
        ("gitguardian", {
            let settings = gitguardian::Settings { keys: keys.clone(), trusted: false };
            Arc::new(gitguardian::GitGuardian::new(settings, secrets.clone()))
        }),
        ("vault_radar", {
            let own = vault_radar::Own::default();
            let settings = vault_radar::Settings { keys: keys.clone(), trusted: false, own };
            Arc::new(vault_radar::VaultRadar::new(settings, secrets.clone()))
        }),
        ("aws_health", {
            let settings = aws_health::Settings { keys: keys.clone(), trusted: true };
            Arc::new(aws_health::AwsHealth::new(settings, secrets.clone()))
        }),
        ("trufflehog", {
            let settings = trufflehog::Settings {
                keys,
                report: true,
                live: StatusCode::OK,
                rotated: StatusCode::FORBIDDEN,
                unknown: StatusCode::NOT_FOUND,
            };
            Arc::new(trufflehog::TruffleHog::new(settings, secrets))
        }),
    ];
    let named = |(kind, source): (&'static str, Arc<dyn Source>)| {
        let name = SourceName::new(kind.replace('_', "-")).unwrap();
        Named { name, kind, source }
    };
    all.into_iter().map(named).collect()
}

/// What came back: the status, and everything as text.
struct Heard {
    status: u16,
    text: String,
}

impl Heard {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.text.lines().take_while(|line| !line.is_empty());
        lines.filter_map(|line| line.split_once(": ")).find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// Sends bytes as they are and reads to the end of the connection.
async fn raw(at: SocketAddr, bytes: &[u8]) -> Heard {
    let mut stream = TcpStream::connect(at).await.unwrap();
    // It may answer and hang up before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard).await;
    let text = String::from_utf8(heard).unwrap();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Heard { status, text }
}

fn request(path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("POST {path} HTTP/1.1\r\nhost: rotord\r\nconnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n{body}", body.len());
    text.into_bytes()
}

fn bearer() -> (&'static str, &'static str) {
    ("authorization", "Bearer the-token-of-every-source")
}

fn aws(id: &str, key: &str) -> String {
    let detail = json!({
        "service": "RISK", "eventTypeCode": "AWS_RISK_CREDENTIALS_EXPOSED",
        "affectedEntities": [{"entityValue": key}],
    });
    json!({"id": id, "source": "aws.health", "detail": detail}).to_string()
}

const ID: &str = "7bf73129-1428-4cd3-a780-95db273d1602";

fn guardian(body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let signature = signing::gitguardian::sign(&secret(TOKEN), "1790000000", body.as_bytes());
    let headers = [("gitguardian-signature", signature.as_str()), ("timestamp", "1790000000")];
    request("/alerts/gitguardian", &headers, &body)
}

fn counted(world: &World, line: &str) -> bool {
    world.metrics.encode().lines().any(|have| have == line)
}

#[tokio::test]
async fn everybody_is_asked_to_come_later_until_it_is_open() {
    let world = world(Rates::default(), &[]).await;
    for path in ["/alerts/aws-health", "/", "/alerts/none"] {
        let heard = raw(world.at, &request(path, &[bearer()], &aws(ID, "AKIA"))).await;
        assert_eq!((heard.status, heard.header("retry-after")), (503, Some("5")), "{path}");
    }
    world.intake.open(sources());
    let heard = raw(world.at, &request("/alerts/aws-health", &[bearer()], &aws(ID, "AKIA"))).await;
    assert_eq!((heard.status, heard.body()), (200, ""));
    let alerts = world.desk.alerts.lock().unwrap();
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0].source.as_str(), alerts[0].id.as_str()), ("aws-health", ID));
    assert!(alerts[0].trusted && alerts[0].at == NOW);
}

#[tokio::test]
async fn whatever_is_not_there_is_not_there_in_the_same_words() {
    let world = open_world(Rates::default(), &[]).await;
    let mut bodies = Vec::new();
    for path in [
        "/",
        "/alerts",
        "/alerts/",
        "/alerts/none",
        "/alerts/gitguardian/more",
        "/alerts/GitGuardian",
        "/v1/status",
    ] {
        let heard = raw(world.at, &request(path, &[], "{}")).await;
        assert_eq!(heard.status, 404, "{path}");
        bodies.push(heard.body().to_owned());
    }
    bodies.dedup();
    assert_eq!(bodies, [r#"{"error":"not_found","message":"there is nothing here"}"#]);
}

#[tokio::test]
async fn forged_broken_and_late_messages_are_told_apart_in_our_own_words() {
    let world = open_world(Rates::default(), &[]).await;
    let body = json!({"action": "incident_triggered", "incident": {"id": 1}}).to_string();
    let sign = |at: &str| signing::gitguardian::sign(&secret(TOKEN), at, body.as_bytes());
    let send = async |headers: &[(&str, &str)], body: &str| {
        let heard = raw(world.at, &request("/alerts/gitguardian", headers, body)).await;
        let told: Value = serde_json::from_str(heard.body()).unwrap();
        (heard.status, told["error"].as_str().unwrap().to_owned())
    };
    let (name, at) = ("gitguardian-signature", "1790000000");
    let is = |status: u16, word: &str| (status, word.to_owned());
    let right = sign(at);
    assert_eq!(send(&[("timestamp", at)], &body).await, is(401, "unauthenticated"));
    let changed = send(&[(name, &right), ("timestamp", at)], "{}").await;
    assert_eq!(changed, is(401, "unauthenticated"));
    let old = sign("1789999000");
    let late = send(&[(name, &old), ("timestamp", "1789999000")], &body).await;
    assert_eq!(late, is(400, "stale"));
    let twice = [(name, right.as_str()), (name, right.as_str()), ("timestamp", at)];
    assert_eq!(send(&twice, &body).await, is(401, "unauthenticated"), "which one counts?");
    let broken = signing::gitguardian::sign(&secret(TOKEN), at, b"{");
    let broken = send(&[(name, &broken), ("timestamp", at)], "{").await;
    assert_eq!(broken, is(400, "malformed"));
    assert!(world.desk.alerts.lock().unwrap().is_empty());
    for (outcome, n) in [("unauthenticated", 3), ("stale", 1), ("malformed", 1)] {
        let line = format!(
            "rotord_alert_requests_total{{source=\"gitguardian\",outcome=\"{outcome}\"}} {n}"
        );
        assert!(counted(&world, &line), "{line}");
    }
}

#[tokio::test]
async fn a_thousand_copies_are_one_alert_and_another_body_under_its_id_is_none() {
    let rates = Rates { per_address: 1_000, per_source: 100 };
    let world = open_world(rates, &[]).await;
    let message = request("/alerts/aws-health", &[bearer()], &aws(ID, "AKIA"));
    // No more at once than one address may have connections.
    for _ in 0..125 {
        let copies = (0..8).map(|_| raw(world.at, &message));
        for heard in futures_util::future::join_all(copies).await {
            assert_eq!(heard.status, 200, "{}", heard.text);
        }
    }
    assert_eq!(world.desk.alerts.lock().unwrap().len(), 1);
    let other = request("/alerts/aws-health", &[bearer()], &aws(ID, "AKIB"));
    let heard = raw(world.at, &other).await;
    assert_eq!(heard.status, 409, "{}", heard.text);
    // A source that was there before remembers; the desk was told once.
    world.intake.open(sources());
    assert_eq!(raw(world.at, &message).await.status, 200);
    assert_eq!(world.desk.alerts.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_read_beside_other_findings_is_counted() {
    let world = open_world(Rates::default(), &[]).await;
    let entities = json!([{"entityValue": "AKIA"}, VALUE, 7]);
    let detail = json!({
        "service": "RISK", "eventTypeCode": "AWS_RISK_CREDENTIALS_EXPOSED",
        "affectedEntities": entities,
    });
    let body = json!({"id": ID, "source": "aws.health", "detail": detail}).to_string();
    let message = request("/alerts/aws-health", &[bearer()], &body);
    for _ in 0..2 {
        assert_eq!(raw(world.at, &message).await.status, 200);
    }
    assert_eq!(world.desk.alerts.lock().unwrap()[0].findings.len(), 1);
    assert!(counted(&world, "rotord_alert_entries_odd_total{by=\"webhook\"} 2"), "once");
}

#[tokio::test]
async fn what_the_desk_could_not_take_is_to_be_sent_again() {
    let world = open_world(Rates::default(), &[]).await;
    world.desk.refusals.store(1, Ordering::Relaxed);
    let message = request("/alerts/aws-health", &[bearer()], &aws(ID, "AKIA"));
    let heard = raw(world.at, &message).await;
    assert_eq!((heard.status, heard.header("retry-after")), (503, Some("5")));
    assert_eq!(raw(world.at, &message).await.status, 200);
    assert_eq!(world.desk.alerts.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_balancer_learns_who_takes_alerts() {
    let world = open_world(Rates::default(), &[]).await;
    let ask = b"GET /leader HTTP/1.1\r\nhost: rotord\r\nconnection: close\r\n\r\n";
    assert_eq!(raw(world.at, ask).await.status, 200);
    world.desk.refusals.store(1, Ordering::Relaxed);
    assert_eq!(raw(world.at, ask).await.status, 503);
}

#[tokio::test]
async fn whoever_forges_is_told_when_to_come_again_and_delays_nobody() {
    let world = open_world(Rates::default(), &["127.0.0.1/32"]).await;
    let from = |address: &'static str| [("x-forwarded-for", address), bearer()];
    let message = |address, token| {
        let headers = [("x-forwarded-for", address), ("authorization", token)];
        request("/alerts/aws-health", &headers, &aws(ID, "AKIA"))
    };
    for _ in 0..10 {
        assert_eq!(raw(world.at, &message("2001:db8::1", "Bearer x")).await.status, 401);
    }
    let heard = raw(world.at, &message("2001:db8::ffff", "Bearer x")).await;
    assert_eq!((heard.status, heard.header("retry-after")), (429, Some("6")));
    let right = request("/alerts/aws-health", &from("2001:db8:0:1::1"), &aws(ID, "AKIA"));
    assert_eq!(raw(world.at, &right).await.status, 200, "another site");
    assert!(counted(&world, "rotord_alerts_held_back_total{by=\"failures\"} 1"));
    // Behind the address that was right, somebody forges: the right one is heard on.
    for _ in 0..30 {
        raw(world.at, &message("2001:db8:0:1::2", "Bearer x")).await;
    }
    assert_eq!(raw(world.at, &right).await.status, 200);
}

#[tokio::test]
async fn a_word_about_whom_one_speaks_for_counts_from_proxies_alone() {
    let world = open_world(Rates { per_address: 1, per_source: 100 }, &["192.0.2.0/24"]).await;
    let mut refused = 0;
    for n in 0..20 {
        let address = format!("198.51.100.{n}");
        let headers = [("x-forwarded-for", address.as_str()), bearer()];
        let heard = raw(world.at, &request("/alerts/aws-health", &headers, &aws(ID, "A"))).await;
        refused += usize::from(heard.status == 429);
    }
    assert!(refused >= 9, "all came from one address: {refused}");
}

#[tokio::test]
async fn a_source_has_its_own_rate_that_only_its_own_messages_use_up() {
    let world = open_world(Rates { per_address: 1_000, per_source: 1 }, &[]).await;
    let forged = request("/alerts/aws-health", &[("authorization", "Bearer x")], "{}");
    for _ in 0..9 {
        assert_eq!(raw(world.at, &forged).await.status, 401);
    }
    let right = request("/alerts/aws-health", &[bearer()], "{}");
    let mut taken = 0;
    let held = loop {
        let heard = raw(world.at, &right).await;
        if heard.status != 200 {
            break heard;
        }
        taken += 1;
    };
    assert!((10..15).contains(&taken), "ten seconds' worth at once: {taken}");
    assert_eq!((held.status, held.header("retry-after")), (429, Some("1")));
    let other = request("/alerts/trufflehog", &[bearer()], "{}");
    assert_eq!(raw(world.at, &other).await.status, 404, "which says that nothing is known");
}

/// Where log lines go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_value_in_any_body_is_nowhere() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let world = open_world(Rates { per_address: 1_000, per_source: 100 }, &[]).await;
    let mut said = String::new();
    let members = ["action", "id", "event_id", "event_type", "source", "origin", "matches"];
    let mut everywhere = serde_json::Map::new();
    members.iter().for_each(|name| drop(everywhere.insert((*name).to_owned(), VALUE.into())));
    let incident = json!({"id": VALUE, "hmsl_hash": VALUE, "validity": VALUE});
    let bodies = [
        Value::Object(everywhere.clone()),
        json!({"origin": VALUE, "matches": [{"value": VALUE}]}),
        json!({"action": "incident_triggered", "incident": incident}),
        json!({"action": "incident_triggered", "incident": VALUE}),
        json!({"rotord": {VALUE: [VALUE]}}),
        json!({"rotord": VALUE, VALUE: 1}),
        json!({"event_id": ID, "event_type": VALUE, "managed_locations": VALUE}),
        json!({"id": ID, "source": "aws.health", "detail": VALUE}),
        json!(VALUE),
    ];
    let at = "1790000000";
    for name in ["gitguardian", "vault-radar", "aws-health", "trufflehog", VALUE] {
        for body in &bodies {
            for text in [body.to_string(), format!("{body}{VALUE}")] {
                let guardian = signing::gitguardian::sign(&secret(TOKEN), at, text.as_bytes());
                let radar = signing::radar::sign(&secret(TOKEN), text.as_bytes());
                let right = [
                    ("gitguardian-signature", guardian.as_str()),
                    ("timestamp", at),
                    ("x-hcp-radar-signature", radar.as_str()),
                    bearer(),
                ];
                let wrong = [("timestamp", VALUE), ("authorization", VALUE)];
                for headers in [right.as_slice(), wrong.as_slice()] {
                    let path = format!("/alerts/{name}");
                    said += &raw(world.at, &request(&path, headers, &text)).await.text;
                }
            }
        }
    }
    said += &raw(world.at, &guardian(&bodies[1])).await.text;
    assert!(counted(
        &world,
        "rotord_alert_requests_total{source=\"trufflehog\",outcome=\"alert\"} 1"
    ));
    said += &world.metrics.encode();
    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let ours: String =
        logged.lines().filter(|line| line.contains("rotord::")).collect::<Vec<_>>().join("\n");
    assert!(ours.contains("an alert was taken in"), "{ours}");
    for text in [&said, &ours] {
        assert!(!text.contains(&VALUE[..12]), "{text}");
    }
}
