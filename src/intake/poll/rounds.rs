//! The rounds of a poll: read on, hand in what was found, close what is settled, write down where
//! it ended.
//!
//! Decides how much one round does and when the next one is due. An alert that the desk could not
//! take in ends the round before its page is written down: it comes again.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::driver::error::DriverError;
use crate::engine::command::{Actor, Refusal};
use crate::engine::desk::{DeskHandle, Verdict};
use crate::engine::snapshot::Snapshot;
use crate::incident::alert::Alert;
use crate::intake::poll::book::{Awaited, Book, Shelf};
use crate::intake::poll::{Page, Poll, Sighting, Told};
use crate::intake::{ODD_NAMED_MAX, Odd};
use crate::model::failure::Class;
use crate::model::id::{SecretName, SourceName, VersionId};
use crate::model::time::{Span, Timestamp};
use crate::model::version::Stage;
use crate::store::StoreError;
use crate::telemetry::metrics::Metrics;

/// Most pages of one round: five hundred alerts at fifty each; what is left comes in the next
/// round, a moment later.
pub const PAGES_MAX: usize = 10;

/// Pause before a round that goes on where the last one had to stop.
pub const GO_ON_IN: Span = Span::from_secs(5);

/// Most alerts that one round closes: each is two requests, and APIs allow some thousand an hour.
pub const SETTLED_MAX: usize = 50;

/// Pause after the first failure; each further one doubles it.
pub const PAUSE_MIN: Span = Span::from_secs(30);

/// Longest pause, so that a source that comes back is read within the quarter of an hour.
pub const PAUSE_MAX: Span = Span::from_secs(15 * 60);

/// What a poll asks of the rest.
#[async_trait]
pub trait Surroundings: Send + Sync {
    /// Hands an alert in.
    async fn report(&self, actor: Actor, alert: Alert) -> Result<Vec<Verdict>, Refusal>;

    /// Whether a version is revoked by now.
    fn is_revoked(&self, secret: &SecretName, version: VersionId) -> bool;

    /// Counts entries that were stepped over.
    fn stepped_over(&self, entries: u64);
}

/// The desk, the snapshot and the metrics.
pub struct Daemon {
    /// Where alerts go.
    pub desk: DeskHandle,
    /// Where versions are looked up.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// What is counted.
    pub metrics: Metrics,
}

#[async_trait]
impl Surroundings for Daemon {
    async fn report(&self, actor: Actor, alert: Alert) -> Result<Vec<Verdict>, Refusal> {
        self.desk.report(actor, alert).await
    }

    fn is_revoked(&self, secret: &SecretName, version: VersionId) -> bool {
        let snapshot = Arc::clone(&self.snapshots.borrow());
        let stage = snapshot.secrets.get(secret).and_then(|view| view.stage(version));
        stage == Some(Stage::Revoked)
    }

    fn stepped_over(&self, entries: u64) {
        self.metrics.alert_entries_odd("poll", entries);
    }
}

/// How a poll is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The source.
    pub source: SourceName,
    /// Whether it may act without proof of knowledge.
    pub trusted: bool,
    /// Time between two rounds.
    pub every: Span,
    /// How far back the very first round looks.
    pub look_back: Span,
}

/// The rounds of one source. Run by the leader alone: others would be refused by the desk.
pub struct Rounds {
    settings: Settings,
    poll: Arc<dyn Poll>,
    shelf: Shelf,
    around: Arc<dyn Surroundings>,
    failures: u32,
}

/// How a round ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Alerts that were handed in.
    pub reported: usize,
    /// Entries that could not be read and were stepped over.
    pub odd: usize,
    /// Alerts that were closed at the source.
    pub settled: usize,
    /// What ended it early: for people, no value in it.
    pub trouble: Option<String>,
    /// When the next one is due.
    pub again_in: Span,
}

/// What ends a round early.
struct Trouble {
    what: String,
    after: Option<Span>,
}

impl Rounds {
    /// The rounds of a source.
    pub fn new(
        settings: Settings,
        poll: Arc<dyn Poll>,
        shelf: Shelf,
        around: Arc<dyn Surroundings>,
    ) -> Rounds {
        Rounds { settings, poll, shelf, around, failures: 0 }
    }

    /// One round. Never fails: what went wrong is told, and sets the pause.
    pub async fn round(&mut self, now: Timestamp) -> Round {
        let mut round = Round::default();
        match self.try_round(now, &mut round).await {
            Ok(true) => (self.failures, round.again_in) = (0, GO_ON_IN),
            Ok(false) => (self.failures, round.again_in) = (0, self.settings.every),
            Err(trouble) => {
                round.again_in = pause(self.failures).max(trouble.after.unwrap_or(Span::ZERO));
                round.trouble = Some(trouble.what);
                self.failures = self.failures.saturating_add(1);
            }
        }
        round
    }

    /// Answers whether there is more to be had at once.
    async fn try_round(&self, now: Timestamp, round: &mut Round) -> Result<bool, Trouble> {
        let (mut book, mut revision) = match self.shelf.load().await? {
            Some(found) => found,
            None => (Book::new(now - self.settings.look_back), 0),
        };
        let mut more = true;
        for _ in 0..PAGES_MAX {
            let page = self.poll.page(&book.cursor).await?;
            more = page.more;
            self.step_over(&page.odd, round);
            if self.take(page, now, &mut book, round).await? {
                revision = self.shelf.save(&book, revision).await?;
            }
            if !more {
                break;
            }
        }
        if self.settle(now, &mut book, round).await? {
            self.shelf.save(&book, revision).await?;
        }
        Ok(more)
    }

    /// Says what of a page cannot be used.
    fn step_over(&self, odd: &[Odd], round: &mut Round) {
        for Odd { at, why } in odd.iter().take(ODD_NAMED_MAX) {
            tracing::warn!(source = %self.settings.source, entry = at + 1,
                "an entry of the list cannot be used and is stepped over: {why}");
        }
        round.odd += odd.len();
        self.around.stepped_over(odd.len() as u64);
    }

    /// Hands in what a page holds. Answers whether there is anything to write down.
    async fn take(
        &self,
        page: Page,
        now: Timestamp,
        book: &mut Book,
        round: &mut Round,
    ) -> Result<bool, Trouble> {
        let mut changed = book.cursor != page.next;
        for Sighting { id, findings } in page.sightings {
            let alert = Alert {
                source: self.settings.source.clone(),
                id: id.clone(),
                trusted: self.settings.trusted,
                at: now,
                findings,
            };
            let actor = Actor(format!("poll of {}", self.settings.source));
            let verdicts = self.around.report(actor, alert).await?;
            round.reported += 1;
            let ours = ours(&verdicts);
            if !ours.is_empty() {
                book.wait_for(id, ours);
                changed = true;
            }
        }
        book.cursor = page.next;
        Ok(changed)
    }

    /// Closes what is settled. Answers whether there is anything to write down.
    async fn settle(
        &self,
        now: Timestamp,
        book: &mut Book,
        round: &mut Round,
    ) -> Result<bool, Trouble> {
        let revoked = |awaited: &Awaited| self.around.is_revoked(&awaited.secret, awaited.version);
        let done: Vec<(String, Awaited)> = book
            .awaited
            .iter()
            .filter(|(_, versions)| versions.iter().all(revoked))
            .filter_map(|(id, versions)| Some((id.clone(), versions.first()?.clone())))
            .take(SETTLED_MAX)
            .collect();
        for (alert, Awaited { secret, version }) in &done {
            let told = Told { alert, secret, version: *version, at: now };
            match self.poll.settle(&told).await {
                Ok(()) => round.settled += 1,
                Err(error) if matches!(error.class, Class::Refused | Class::Gone) => {
                    tracing::warn!(source = %self.settings.source, alert = %alert,
                        "the alert cannot be closed at its source and is left to people: {error}");
                }
                // It stays in the book; what was closed before it may be told once more.
                Err(error) => return Err(error.into()),
            }
            book.awaited.remove(alert);
        }
        Ok(!done.is_empty())
    }
}

/// Every version that an alert fits, once.
fn ours(verdicts: &[Verdict]) -> Vec<Awaited> {
    let judged = verdicts.iter().flat_map(|verdict| &verdict.ours);
    let mut ours: Vec<Awaited> = judged
        .map(|judged| Awaited { secret: judged.secret.clone(), version: judged.version })
        .collect();
    ours.sort();
    ours.dedup();
    ours
}

/// The pause after so many failures in a row before this one.
fn pause(failures: u32) -> Span {
    PAUSE_MIN.times(1 << failures.min(10)).min(PAUSE_MAX)
}

impl From<DriverError> for Trouble {
    fn from(error: DriverError) -> Trouble {
        let after = match error.class {
            Class::Throttled(after) => Some(after),
            _ => None,
        };
        Trouble { what: error.to_string(), after }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble { what: error.to_string(), after: None }
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Trouble {
        Trouble { what: refusal.to_string(), after: None }
    }
}
