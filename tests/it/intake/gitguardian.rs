//! Asking GitGuardian for incidents that its webhook lost, and closing what is settled.

use rotord::driver::error::DriverError;
use rotord::incident::alert::Claim;
use rotord::intake::poll::book::Cursor;
use rotord::intake::poll::gitguardian::{GitGuardianPoll, Settings};
use rotord::intake::poll::{Page, Poll, Told as Settled};
use rotord::model::clue::{Clue, Form, ValueDigest};
use rotord::model::failure::Class;
use rotord::model::id::{SecretName, VersionId};
use rotord::model::material::SecretBytes;
use rotord::model::time::Timestamp;
use serde_json::{Value, json};

use super::fake::{Call, Fake, Told};
use super::{CANARY, Log, THEN, Vault, assert_silent, field};

const TOKEN: &str = "gg-token-that-reads-incidents";
const HASH: &str = "743d9fde380b7064cc6a8d3071184fc47905cf7440e5615cd46c7b6cbfb46d47";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(THEN + seconds)
}

fn incident(id: u64, triggered: i64, status: &str) -> Value {
    json!({
        "id": id, "date": at(-100_000_000), "triggered_at": at(triggered), "status": status,
        "hmsl_hash": HASH, "secret_hash": "xxx", "validity": "valid", "severity": "high",
        "detector": {"name": "generic_high_entropy", "nature": "generic"},
        "gitguardian_url": format!("https://dashboard.gitguardian.com/workspace/1/incidents/{id}"),
        "public_exposure": {"source_publicly_visible": id == 2},
        "feedback_list": [{"answers": [{"text": CANARY}]}],
    })
}

fn page(incidents: &[Value], next: Option<&str>) -> Told {
    let link = |next| format!("<http://evil.example/v1/x?cursor={next}&per_page=9>; rel=\"next\"");
    let headers = next.map(|next| ("link", link(next))).into_iter().collect();
    Told(200, headers, json!(incidents).to_string())
}

async fn poll(answer: impl Fn(&Call) -> Told + Send + Sync + 'static) -> (GitGuardianPoll, Fake) {
    let fake = Fake::start(answer).await;
    let settings = Settings {
        base: fake.url("/exposed"),
        token: field("token"),
        ca_file: None,
        allow_http: false,
        close: true,
    };
    let secrets = Vault::new(&[("token", TOKEN)]).secrets();
    (GitGuardianPoll::new(settings, secrets).unwrap(), fake)
}

fn ids(page: &Page) -> Vec<&str> {
    page.sightings.iter().map(|sighting| sighting.id.as_str()).collect()
}

fn since(seconds: i64) -> Cursor {
    Cursor { since: at(seconds), mark: None }
}

#[tokio::test]
async fn a_walk_reads_every_page_and_the_next_begins_where_it_ended() {
    let (poll, fake) = poll(|call| match call.place.contains("cursor=") {
        false => page(&[incident(1, 10, "TRIGGERED"), incident(2, 30, "ASSIGNED")], Some("a%2Bb")),
        true => page(&[incident(3, 20, "IGNORED"), incident(4, 5, "TRIGGERED")], None),
    })
    .await;
    let first = poll.page(&since(0)).await.unwrap();
    assert_eq!((ids(&first), first.more), (vec!["1", "2"], true));
    let second = poll.page(&first.next).await.unwrap();
    assert_eq!((ids(&second), second.more), (vec!["4"], false), "one is closed already");
    assert_eq!(second.next.since, at(30));
    let finding = &first.sightings[1].findings[0];
    let value = SecretBytes::new(b"password".to_vec());
    assert_eq!(finding.clues, [Clue::Digest(ValueDigest::of(Form::Hmsl, &value))]);
    assert_eq!((finding.label.as_str(), finding.claim), ("generic_high_entropy", Claim::Public));
    assert_eq!(first.sightings[0].findings[0].claim, Claim::Leaked);

    let calls = fake.take();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.authorization == format!("Token {TOKEN}")));
    let list = "/exposed/v1/incidents/secrets?per_page=50&triggered_at_after=2026%2D11%2D22T";
    assert!(calls[0].place.starts_with(list), "{}", calls[0].place);
    assert!(calls[1].place.ends_with("&cursor=a%2Bb"), "{}", calls[1].place);

    fake.answers(|_| page(&[incident(2, 30, "ASSIGNED"), incident(5, 30, "TRIGGERED")], None));
    let third = poll.page(&second.next).await.unwrap();
    assert_eq!(ids(&third), ["5"], "of the same moment, and new");
    let fourth = poll.page(&third.next).await.unwrap();
    assert!(fourth.sightings.is_empty() && fourth.next == third.next);
}

#[tokio::test]
async fn a_page_that_leads_to_itself_or_nowhere_is_the_last() {
    let (poll, fake) = poll(|_| page(&[incident(1, 10, "TRIGGERED")], Some("same"))).await;
    let first = poll.page(&since(0)).await.unwrap();
    let second = poll.page(&first.next).await.unwrap();
    assert!(first.more && !second.more);
    fake.answers(|_| page(&[], Some("more")));
    assert!(!poll.page(&since(0)).await.unwrap().more);
    let odd = Cursor { since: at(0), mark: Some("not a mark".to_owned()) };
    fake.answers(|_| page(&[incident(1, 10, "TRIGGERED")], None));
    assert_eq!(ids(&poll.page(&odd).await.unwrap()), ["1"], "the walk begins again");
}

#[tokio::test]
async fn an_odd_entry_is_stepped_over() {
    let odd = [json!({"id": CANARY}), incident(1, 10, "TRIGGERED"), json!(CANARY)];
    let (poll, _fake) = poll(move |_| page(&odd, None)).await;
    let page = poll.page(&since(0)).await.unwrap();
    assert_eq!((ids(&page), page.next.since, page.more), (vec!["1"], at(10), false));
    assert_eq!(page.odd.iter().map(|odd| odd.at).collect::<Vec<_>>(), [0, 2]);
    assert_silent(&format!("{:?}", page.odd));
}

async fn settled(poll: &GitGuardianPoll, alert: &str) -> Result<(), DriverError> {
    let secret = SecretName::new("billing-key").unwrap();
    poll.settle(&Settled { alert, secret: &secret, version: VersionId(3), at: at(0) }).await
}

#[tokio::test]
async fn what_is_revoked_is_resolved_there_unless_a_person_did() {
    let (poll, fake) = poll(|call| match call.method.as_str() {
        "GET" => Told::json(incident(7, 0, "TRIGGERED")),
        _ => Told::json(incident(7, 0, "RESOLVED")),
    })
    .await;
    settled(&poll, "7").await.unwrap();
    let calls = fake.take();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1].place, "/exposed/v1/incidents/secrets/7/resolve");
    assert_eq!(calls[1].body, r#"{"secret_revoked":true}"#);
    fake.answers(|_| Told::json(incident(7, 0, "IGNORED")));
    settled(&poll, "7").await.unwrap();
    assert_eq!(fake.take().len(), 1, "a person closed it");
    assert_eq!(settled(&poll, "../7").await.unwrap_err().class, Class::Refused);
    fake.answers(|_| Told::status(404));
    assert_eq!(settled(&poll, "7").await.unwrap_err().class, Class::Gone);
}

#[tokio::test]
async fn answers_that_cannot_be_used_are_told_without_their_content() {
    let log = Log::listen();
    let broken = [
        Told::json(json!({"detail": CANARY})),
        Told::json(format!("[{CANARY}")),
        Told(401, Vec::new(), json!({"detail": CANARY}).to_string()),
        Told(302, vec![("location", "http://evil.example/".to_owned())], CANARY.to_owned()),
        Told(503, vec![("retry-after", "7".to_owned())], CANARY.to_owned()),
    ];
    for told in broken {
        let told = std::sync::Mutex::new(Some(told));
        let (poll, _fake) = poll(move |_| told.lock().unwrap().take().unwrap()).await;
        let Err(error) = poll.page(&since(0)).await else { panic!("it was read") };
        assert_silent(&error.to_string());
    }
    assert_silent(&log.text());
}
