//! Telling people: each recipient has its own queue, and each message in it its own pace.
//!
//! Decides what is said of an incident, to whom, how often it is tried and when it is given up. It
//! reads notices from the desk and nothing waits for it: a recipient that is away for a day costs
//! a bounded queue, and shows in `rotord incident list`. No value and no digest is ever told.

mod command;
mod message;
mod queue;
mod webhook;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::engine::desk::{Notice, Told};
use crate::incident::progress::News;
use crate::model::time::{Clock, Span, Steady};
use crate::notify::message::Message;
use crate::notify::queue::{Queue, Waiting};
use crate::telemetry::metrics::Metrics;
use crate::vault::KvPath;

/// Waits before the next attempts at one message: a restart, a deployment, an outage. After the
/// last one it is given up: news of an hour ago wakes nobody usefully, and the incident stays.
pub const PAUSES: [Span; 6] = [
    Span::from_secs(1),
    Span::from_secs(5),
    Span::from_secs(30),
    Span::from_secs(120),
    Span::from_secs(600),
    Span::from_secs(1_800),
];

/// How long a recipient rests after its first failure in a row and after each further one, whatever
/// waits: one that is away is not asked hundreds of times at once.
const RESTS: [Span; 2] = [Span::from_secs(1), Span::from_secs(5)];

/// How long a command may run unless the config says otherwise.
pub const COMMAND_TIMEOUT_DEFAULT: Span = Span::from_secs(10);

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Its name: in logs and in the status.
    pub name: String,
    /// How it is reached.
    pub way: Way,
    /// What it is told of; everything, if absent.
    pub events: Option<BTreeSet<News>>,
}

/// How a recipient is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A POST with JSON.
    Webhook {
        /// Where to.
        to: Address,
        /// The key it is signed with, if it is.
        key: Option<SecretRef>,
        /// Lets plain HTTP leave this machine.
        allow_http: bool,
        /// The only authorities to trust, in PEM; without it the system's.
        ca_file: Option<PathBuf>,
    },
    /// A program, started without a shell; the JSON comes on its standard input.
    Command {
        /// The program, by its absolute path, and its arguments.
        argv: Vec<String>,
        /// How long it may run.
        timeout: Span,
    },
}

/// Where a webhook goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A URL that is no secret.
    Plain(Url),
    /// A URL that lets whoever has it post: chat services hand these out.
    Secret(SecretRef),
}

impl Way {
    /// The documents in Vault that it needs.
    pub fn reads(&self) -> impl Iterator<Item = &KvPath> {
        let places = match self {
            Way::Webhook { to: Address::Secret(url), key, .. } => [Some(url), key.as_ref()],
            Way::Webhook { to: Address::Plain(_), key, .. } => [None, key.as_ref()],
            Way::Command { .. } => [None, None],
        };
        places.into_iter().flatten().filter_map(SecretRef::document)
    }
}

/// Why a message did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Undelivered {
    /// For people: no URL, no answer's body.
    text: String,
    /// How long the other side asks to be left alone.
    after: Option<Span>,
}

/// What brings a message to a recipient, once.
#[async_trait]
trait Deliver: Send + Sync {
    async fn deliver(&self, message: &Message) -> Result<(), Undelivered>;
}

/// What telling people needs.
pub struct Parts {
    /// Who is told.
    pub recipients: Vec<Recipient>,
    /// Fetches keys and addresses.
    pub secrets: Secrets,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
    /// Where it is shown how telling them goes.
    pub told: watch::Sender<Arc<Vec<Told>>>,
}

/// A recipient with what brings it messages.
struct Reached {
    name: String,
    means: Box<dyn Deliver>,
    events: Option<BTreeSet<News>>,
}

/// One recipient at work.
struct Desk {
    at: usize,
    means: Box<dyn Deliver>,
    queue: Arc<Queue>,
    board: Arc<Board>,
    /// Attempts that failed in a row, at whatever message.
    failures: usize,
    rests_until: Steady,
}

/// How telling everybody goes.
struct Board {
    all: Mutex<Vec<Told>>,
    told: watch::Sender<Arc<Vec<Told>>>,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

/// Tells everybody of every notice until told to stop. What waits then is lost: the incidents are
/// in Vault, and the next start tells what comes after it.
pub async fn run(parts: Parts, notices: mpsc::Receiver<Notice>, stop: CancellationToken) {
    let Parts { recipients, secrets, clock, metrics, told } = parts;
    let reached = |recipient: Recipient| {
        let means: Box<dyn Deliver> = match recipient.way {
            Way::Webhook { to, key, allow_http, ca_file } => Box::new(webhook::Webhook {
                to,
                key,
                allow_http,
                ca_file,
                secrets: secrets.clone(),
                clock: Arc::clone(&clock),
            }),
            Way::Command { argv, timeout } => Box::new(command::Program { argv, timeout }),
        };
        Reached { name: recipient.name, means, events: recipient.events }
    };
    let all = recipients.into_iter().map(reached).collect();
    tell(all, Board::new(told, metrics, clock), notices, stop).await;
}

async fn tell(
    reached: Vec<Reached>,
    mut board: Board,
    mut notices: mpsc::Receiver<Notice>,
    stop: CancellationToken,
) {
    let blank = |one: &Reached| Told { name: one.name.clone(), ..Told::default() };
    board.all = Mutex::new(reached.iter().map(blank).collect());
    let board = Arc::new(board);
    board.show();
    let mut desks = JoinSet::new();
    let mut queues = Vec::new();
    for (at, one) in reached.into_iter().enumerate() {
        let queue = Arc::new(Queue::default());
        queues.push((one.events, Arc::clone(&queue)));
        let (means, board) = (one.means, Arc::clone(&board));
        let desk = Desk { at, means, queue, board, failures: 0, rests_until: Steady::default() };
        desks.spawn(desk.work());
    }
    loop {
        let notice = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            notice = notices.recv() => notice,
        };
        let Some(notice) = notice else { break };
        let message = Arc::new(Message::of(&notice));
        for (at, (events, queue)) in queues.iter().enumerate() {
            if events.as_ref().is_some_and(|events| !events.contains(&notice.news)) {
                continue;
            }
            board.note(at, |told| told.waiting += 1);
            if queue.push(Arc::clone(&message), notice.news.urgency()) {
                board.lost(at, "dropped", "its queue is full, the least urgent notice made way");
            }
        }
    }
    // Somebody who is away must not hold up the end of the process.
    desks.shutdown().await;
}

impl Desk {
    /// One message at a time, the most urgent first. One that does not arrive waits for its next
    /// attempt and lets the others pass; the recipient has a short rest then.
    async fn work(mut self) {
        loop {
            let now = self.board.clock.steady();
            let next = match self.rests_until {
                until if now < until => Err(Some(until)),
                _ => self.queue.take(now),
            };
            match next {
                Ok(waiting) => self.bring(waiting).await,
                Err(None) => self.queue.came.notified().await,
                Err(Some(until)) => {
                    let pause = until.since(now).max(Span(1));
                    tokio::select! {
                        () = self.queue.came.notified() => {}
                        () = tokio::time::sleep(pause.to_std()) => {}
                    }
                }
            }
        }
    }

    async fn bring(&mut self, waiting: Waiting) {
        let Err(failed) = self.means.deliver(&waiting.message).await else {
            self.failures = 0;
            return self.board.arrived(self.at);
        };
        let now = self.board.clock.steady();
        let asked = failed.after.unwrap_or_default().min(PAUSES[PAUSES.len() - 1]);
        self.rests_until = now.plus(RESTS[self.failures.min(RESTS.len() - 1)].max(asked));
        self.failures += 1;
        match PAUSES.get(waiting.failures) {
            Some(pause) => {
                self.board.failed(self.at, &failed.text);
                self.queue.put_back(waiting, now.plus((*pause).max(asked)));
            }
            None => self.board.lost(self.at, "undelivered", &failed.text),
        }
    }
}

impl Board {
    fn new(told: watch::Sender<Arc<Vec<Told>>>, metrics: Metrics, clock: Arc<dyn Clock>) -> Board {
        Board { all: Mutex::default(), told, metrics, clock }
    }

    fn note(&self, at: usize, change: impl FnOnce(&mut Told)) {
        if let Some(told) = self.all.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at) {
            change(told);
        }
        self.show();
    }

    fn arrived(&self, at: usize) {
        self.metrics.notice("delivered");
        self.note(at, |told| {
            told.waiting = told.waiting.saturating_sub(1);
            told.delivered += 1;
            told.failure = None;
        });
    }

    fn failed(&self, at: usize, text: &str) {
        self.metrics.notice("failed");
        self.note(at, |told| told.failure = Some(text.to_owned()));
    }

    /// It is given up, and said so where somebody looks.
    fn lost(&self, at: usize, result: &'static str, text: &str) {
        self.metrics.notice(result);
        self.note(at, |told| {
            told.waiting = told.waiting.saturating_sub(1);
            told.undelivered += 1;
            told.failure = Some(text.to_owned());
            tracing::error!(recipient = %told.name, "people were not told: {text}");
        });
    }

    fn show(&self) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.told.send_replace(Arc::new(all));
    }
}
