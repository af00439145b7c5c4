//! Telling people: what is said, how often it is tried, and what one who is away costs the others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::engine::desk::{NOTICES_LEN, Notice, Told};
use crate::incident::alert::{Claim, FoundAt};
use crate::incident::decide::{Action, Doubt};
use crate::incident::progress::News;
use crate::incident::record::{Incident, Opening, Sighting};
use crate::model::id::{IncidentId, SecretName, SourceName, VersionId};
use crate::model::mask::Mask;
use crate::model::time::{Clock, Span, Steady, Timestamp};
use crate::model::version::Stage;
use crate::notify::command::Program;
use crate::notify::message::Message;
use crate::notify::{Board, Deliver, PAUSES, Reached, Undelivered, tell};
use crate::telemetry::metrics::Metrics;

const NOW: Timestamp = Timestamp(1_795_317_120_000);

fn notice(news: News, place: &str) -> Notice {
    let action = if news == News::Waiting { Action::Ask(Doubt::Unproved) } else { Action::Rotate };
    let incident = Incident::open(Opening {
        id: IncidentId("20261122T031200Z-7f3a91c2".to_owned()),
        secret: SecretName::new("stripe-key").unwrap(),
        version: VersionId(3),
        incarnation: None,
        stage: Stage::Current,
        action,
        at: NOW,
        sighting: Sighting {
            source: SourceName::new("github").unwrap(),
            id: String::new(),
            label: String::new(),
            found_at: FoundAt::new(place, &Mask::default()),
            claim: Claim::Leaked,
            proved: true,
            at: NOW,
            last_at: NOW,
            times: 1,
        },
    });
    Notice { news, incident: Arc::new(incident) }
}

fn json(message: &Message) -> serde_json::Value {
    serde_json::from_slice(message.body()).unwrap()
}

#[test]
fn a_message_says_what_happened_and_what_to_do() {
    let message = Message::of(&notice(News::Waiting, "https://git.example/a/.env"));
    let body = json(&message);
    assert_eq!(
        body["text"],
        "*stripe-key v3 leaked* (was current), found at `https://git.example/a/.env`: needs a \
         person: the alert does not show that its sender knows the value\n\
         `rotord incident approve 20261122T031200Z-7f3a91c2 --reason WHY`"
    );
    assert_eq!(body["type"], "rotord.incident.waiting");
    assert_eq!(body["timestamp"], "2026-11-22T03:12:00.000Z");
    assert_eq!(body["data"]["waits"], "unproved");
    assert_eq!(message.id.as_str(), "20261122T031200Z-7f3a91c2-waiting-2");
    assert!(message.body().len() < 20_000, "what Standard Webhooks allows");
}

#[test]
fn what_others_wrote_mentions_nobody_and_links_nowhere() {
    let message = Message::of(&notice(News::Opened, "<!channel> `x` @all <http://evil|click>"));
    let text = json(&message)["text"].as_str().unwrap().to_owned();
    for bad in ["<!channel>", "@all", "<http", "`x`"] {
        assert!(!text.contains(bad), "{text}");
    }
}

/// Virtual time, which jumps to the next timer.
struct PausedClock(tokio::time::Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        NOW + Span(self.steady().0)
    }

    fn steady(&self) -> Steady {
        Steady(u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

/// A recipient that fails as often as it is told, never takes some messages, and remembers what
/// arrived.
struct Scripted {
    failures: Mutex<usize>,
    never: Option<News>,
    arrived: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Deliver for Scripted {
    async fn deliver(&self, message: &Message) -> Result<(), Undelivered> {
        let mut failures = self.failures.lock().unwrap();
        let poison = self
            .never
            .is_some_and(|news| message.id.as_str().contains(&format!("-{}-", news.code())));
        if *failures > 0 || poison {
            *failures = failures.saturating_sub(1);
            return Err(Undelivered { text: "answered 503".to_owned(), after: None });
        }
        self.arrived.lock().unwrap().push(message.id.to_string());
        Ok(())
    }
}

struct Set {
    notices: mpsc::Sender<Notice>,
    told: watch::Receiver<Arc<Vec<Told>>>,
    arrived: Vec<Arc<Mutex<Vec<String>>>>,
    metrics: Metrics,
    tasks: tokio::task::JoinSet<()>,
    stop: CancellationToken,
}

/// Recipients that fail so often.
fn set(failures: &[usize]) -> Set {
    set_hearing(failures, None, None)
}

/// The same, where the first one is only told of some things, and nobody ever takes this news.
fn set_hearing(failures: &[usize], first: Option<BTreeSet<News>>, never: Option<News>) -> Set {
    let (told_in, told) = watch::channel(Arc::default());
    let (notices, notices_in) = mpsc::channel(NOTICES_LEN);
    let mut arrived = Vec::new();
    let mut reached: Vec<Reached> = Vec::new();
    for (at, failures) in failures.iter().enumerate() {
        let list = Arc::new(Mutex::new(Vec::new()));
        arrived.push(Arc::clone(&list));
        let scripted = Scripted { failures: Mutex::new(*failures), never, arrived: list };
        let events = first.clone().filter(|_| at == 0);
        reached.push(Reached { name: format!("r{at}"), means: Box::new(scripted), events });
    }
    let stop = CancellationToken::new();
    let metrics = Metrics::new("test", NOW);
    let clock = Arc::new(PausedClock(tokio::time::Instant::now()));
    let mut tasks = tokio::task::JoinSet::new();
    let board = Board::new(told_in, metrics.clone(), clock);
    tasks.spawn(tell(reached, board, notices_in, stop.clone()));
    Set { notices, told, arrived, metrics, tasks, stop }
}

async fn until(told: &mut watch::Receiver<Arc<Vec<Told>>>, is: impl Fn(&[Told]) -> bool) {
    let reached = told.wait_for(|told| is(told));
    let day = Duration::from_secs(24 * 3600);
    tokio::time::timeout(day, reached).await.expect("it never comes").unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_who_is_away_for_a_while_is_tried_again_and_delays_nobody() {
    let mut set = set(&[3, 0]);
    for news in [News::Opened, News::Done] {
        set.notices.send(notice(news, "a")).await.unwrap();
    }
    until(&mut set.told, |told| told.len() == 2 && told[1].delivered == 2).await;
    assert_eq!(set.told.borrow()[0].delivered, 0, "the other one is still tried");
    until(&mut set.told, |told| told[0].delivered == 2 && told[0].waiting == 0).await;
    assert_eq!(set.told.borrow()[0].failure, None);
    let all: Vec<BTreeSet<String>> =
        set.arrived.iter().map(|a| a.lock().unwrap().iter().cloned().collect()).collect();
    assert_eq!(all[0], all[1], "the same messages");
    set.stop.cancel();
    while set.tasks.join_next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn one_who_hears_of_some_things_only_is_told_nothing_else() {
    let hears = BTreeSet::from([News::Waiting, News::Done]);
    let mut set = set_hearing(&[0, 0], Some(hears), None);
    for news in News::ALL {
        set.notices.send(notice(news, "a")).await.unwrap();
    }
    until(&mut set.told, |told| told.len() == 2 && told[1].delivered == 7).await;
    until(&mut set.told, |told| told[0].delivered == 2 && told[0].waiting == 0).await;
    let heard = set.arrived[0].lock().unwrap().clone();
    assert!(heard[0].contains("-waiting-") && heard[1].contains("-done-"), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn what_never_arrives_is_given_up_and_shown() {
    let mut set = set(&[PAUSES.len() + 1]);
    set.notices.send(notice(News::Opened, "a")).await.unwrap();
    until(&mut set.told, |told| !told.is_empty() && told[0].undelivered == 1).await;
    assert_eq!(set.told.borrow()[0].failure.as_deref(), Some("answered 503"));
    set.notices.send(notice(News::Done, "a")).await.unwrap();
    until(&mut set.told, |told| told[0].delivered == 1).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_never_arrives_holds_up_no_other() {
    let mut set = set_hearing(&[0], None, Some(News::DeadlinePassed));
    set.notices.send(notice(News::DeadlinePassed, "a")).await.unwrap();
    until(&mut set.told, |told| !told.is_empty() && told[0].failure.is_some()).await;
    let began = tokio::time::Instant::now();
    for news in [News::Done, News::Opened, News::NeedsHuman] {
        set.notices.send(notice(news, "a")).await.unwrap();
    }
    until(&mut set.told, |told| told[0].delivered == 3).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let arrived = set.arrived[0].lock().unwrap().clone();
    for (id, news) in arrived.iter().zip([News::NeedsHuman, News::Opened, News::Done]) {
        assert!(id.contains(&format!("-{}-", news.code())), "the most urgent first: {arrived:?}");
    }
    until(&mut set.told, |told| told[0].undelivered == 1 && told[0].waiting == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_the_least_urgent() {
    let mut set = set(&[3]);
    for _ in 0..NOTICES_LEN + 9 {
        set.notices.send(notice(News::Done, "a")).await.unwrap();
    }
    set.notices.send(notice(News::DeadlinePassed, "a")).await.unwrap();
    until(&mut set.told, |told| !told.is_empty() && told[0].undelivered >= 8).await;
    until(&mut set.told, |told| told[0].delivered > 2).await;
    let arrived = set.arrived[0].lock().unwrap().clone();
    assert!(arrived[0].contains("-deadline_passed-"), "{arrived:?}");
    let text = set.metrics.encode();
    assert!(text.contains(r#"rotord_notices_total{result="dropped"}"#), "{text}");
    assert!(!text.contains(r#"rotord_notices_total{result="undelivered"}"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_and_what_finds_no_room_is_counted() {
    let mut set = set(&[usize::MAX]);
    for _ in 0..NOTICES_LEN + 50 {
        set.notices.send(notice(News::Opened, "a")).await.unwrap();
    }
    until(&mut set.told, |told| !told.is_empty() && told[0].undelivered >= 40).await;
    assert!(set.told.borrow()[0].waiting <= u64::try_from(NOTICES_LEN).unwrap() + 1);
}

#[tokio::test]
async fn a_program_gets_the_json_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let script = folder.path().join("tell");
    // A shell of the test's own: rotord itself starts none.
    let text =
        format!("#!/bin/sh\n{{ echo \"$*|$PATH_GIVEN|$HOME\"; cat; }} > {}\n", out.display());
    std::fs::write(&script, text).unwrap();
    let argv = ["/bin/sh", script.to_str().unwrap(), "a b", "$(x)"];
    let program = |argv: &[&str], timeout| Program {
        argv: argv.iter().map(ToString::to_string).collect(),
        timeout,
    };
    let message = Message::of(&notice(News::Opened, "a"));
    program(&argv, Span::from_secs(20)).deliver(&message).await.unwrap();
    let got = std::fs::read_to_string(&out).unwrap();
    let (line, body) = got.split_once('\n').unwrap();
    assert_eq!(line, "a b $(x)||", "no shell, no environment");
    assert_eq!(body.as_bytes(), message.body());
    let failing = program(&["/bin/false"], Span::from_secs(20)).deliver(&message).await;
    assert!(failing.unwrap_err().text.contains("ended with exit status: 1"));
    let missing = program(&["/nowhere/at/all"], Span::from_secs(20)).deliver(&message).await;
    assert!(missing.unwrap_err().text.contains("cannot be started"));
    let slow = program(&["/bin/sleep", "60"], Span(50)).deliver(&message).await;
    assert!(slow.unwrap_err().text.contains("did not end within 50ms"));
}
