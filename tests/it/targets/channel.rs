//! What a channel signs while one of its own keys is known to have leaked.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use rotord::driver::target::Target as _;
use rotord::driver::target::channel::Channel;
use rotord::driver::target::http::{Http, Reach, Settings, client_settings};
use rotord::model::id::{SecretName, VersionId};
use rotord::model::material::SecretBytes;
use rotord::model::reason::Reason;
use rotord::model::target::Wanted;
use rotord::model::time::{Clock as _, Timestamp};
use rotord::net::Client;
use rotord::signing::key::SigningKey;
use rotord::signing::{standard, xpi};

use crate::support::book::{Book, value, wish};
use crate::support::clock::MachineClock;
use crate::support::servers::{Server, serve};

type Log = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

async fn take(State(log): State<Log>, headers: HeaderMap, body: Bytes) -> StatusCode {
    log.lock().unwrap().push((headers, body));
    StatusCode::SERVICE_UNAVAILABLE
}

/// A channel whose keys are versions of a secret, and a service that keeps all that it is sent.
struct Line {
    channel: Arc<Channel>,
    target: Http,
    log: Log,
    now: Timestamp,
    _server: Server,
}

impl Line {
    async fn new() -> Line {
        let log = Log::default();
        let router = Router::new().route("/rotord", post(take)).with_state(Arc::clone(&log));
        let server = serve(router).await;
        let address = format!("http://{}/rotord", server.address).parse().unwrap();
        let reach = Reach::All(Client::new(&client_settings(address)).unwrap());
        let channel = Arc::new(Channel::new(SecretName::new("push-key").unwrap()));
        let settings = Settings { environment: "prod".to_owned(), reach, proof_field: None };
        let target = Http::new(settings, Arc::clone(&channel)).unwrap();
        Line { channel, target, log, now: MachineClock::new().now(), _server: server }
    }

    /// rotord is told to sign with these.
    async fn told(&self, wanted: Wanted) {
        let book = Book::new("push-key", "rotord", self.now);
        book.push(self.channel.as_ref(), &wanted).await.unwrap();
    }

    fn leaked(&self, versions: &[u64]) {
        let versions: BTreeSet<VersionId> = versions.iter().copied().map(VersionId).collect();
        self.channel.distrust(&versions);
    }

    /// What a push of another secret meets.
    async fn push(&self) -> Reason {
        let book = Book::new("pay", "app", self.now);
        book.push(&self.target, &wish(1, &[7], 7)).await.unwrap_err().reason
    }

    async fn ask(&self) -> Reason {
        let book = Book::new("pay", "app", self.now);
        book.observe(&self.target, &wish(1, &[7], 7)).await.unwrap_err().reason
    }

    /// The versions of the channel's key that signed the last message, by either scheme.
    fn signers(&self) -> Vec<u64> {
        let log = self.log.lock().unwrap();
        let (headers, body) = log.last().expect("something was sent");
        let text = |name: &str| headers[name].to_str().unwrap();
        let signed = |version: &u64| {
            let key = SigningKey::new(&SecretBytes::new(value(*version).into_bytes())).unwrap();
            let message = standard::Message {
                id: text(standard::ID_HEADER),
                timestamp: text(standard::TIMESTAMP_HEADER),
                signature: text(standard::SIGNATURE_HEADER),
                body,
            };
            let short = xpi::Message {
                timestamp: text(xpi::TIMESTAMP_HEADER),
                signature: text(xpi::SIGNATURE_HEADER),
                body,
            };
            let keys = std::slice::from_ref(&key);
            standard::verify(keys, &message, self.now).is_ok()
                || xpi::verify(keys, &short, self.now).is_ok()
        };
        (1..=5).filter(signed).collect()
    }

    fn sent(&self) -> usize {
        self.log.lock().unwrap().len()
    }
}

#[tokio::test]
async fn a_key_that_leaked_carries_nothing_until_there_is_another() {
    let line = Line::new().await;
    assert_eq!(line.push().await, Reason::MaterialMissing, "nothing to sign with yet");
    line.leaked(&[1]);
    assert_eq!(line.push().await, Reason::MaterialMissing, "nor is it known what was in use");
    line.leaked(&[]);
    line.told(wish(1, &[1], 1)).await;
    assert_eq!(line.push().await, Reason::Unavailable);
    assert_eq!((line.sent(), line.signers()), (1, vec![1]));

    line.leaked(&[1]);
    assert_eq!(line.push().await, Reason::ChannelLeaked);
    line.told(wish(2, &[2, 1], 1)).await;
    assert_eq!(line.push().await, Reason::ChannelLeaked, "a pending one signs nothing yet");
    assert_eq!(line.sent(), 1, "a value went out");

    line.told(wish(3, &[2, 1], 2)).await;
    assert_eq!(line.push().await, Reason::Unavailable);
    assert_eq!((line.sent(), line.signers()), (2, vec![2]), "and the leaked one no more");
}

#[tokio::test]
async fn a_key_that_was_taken_away_at_once_carries_nothing_either() {
    let line = Line::new().await;
    line.told(wish(1, &[1], 1)).await;
    line.told(wish(2, &[], None)).await;
    line.leaked(&[]);
    assert_eq!(line.push().await, Reason::ChannelLeaked);
    assert_eq!(line.sent(), 0);
}

#[tokio::test]
async fn an_older_key_that_leaked_signs_no_more_beside_the_one_in_use() {
    let line = Line::new().await;
    line.told(wish(1, &[4, 3, 2], 4)).await;
    line.push().await;
    assert_eq!(line.signers(), [2, 3, 4]);
    line.leaked(&[2]);
    line.push().await;
    assert_eq!(line.signers(), [3, 4]);
}

#[tokio::test]
async fn asking_goes_on_because_it_tells_nothing() {
    let line = Line::new().await;
    line.told(wish(1, &[2, 1], 2)).await;
    line.leaked(&[2]);
    assert_eq!(line.ask().await, Reason::Unavailable);
    assert_eq!(line.signers(), [1, 2]);
    let (_, body) = line.log.lock().unwrap()[0].clone();
    assert!(!String::from_utf8_lossy(&body).contains(&value(7)), "asking tells the secret");
}
