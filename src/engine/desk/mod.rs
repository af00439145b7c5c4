//! The desk: where alerts come in, whichever way they came, and incidents are kept.
//!
//! Decides which version of which secret a finding is about, has it judged, has the version marked
//! as exposed, and keeps the incident until everything in it is settled. Must not know how an alert
//! was sent or how people are told. It acts on secrets through the engine's commands alone.
//!
//! ```text
//!  reports ─→ find ─→ decide ─┬─ Expose ──→ engine ──→ record        answered when
//!  people ──→ approve, ... ───┘                           │          both are settled
//!             incident ──────────→ Vault                  │
//!                 ^── follow ←── snapshots ←──────────────┘
//! ```
//!
//! What is durable is the exposure: it names the incident, which is made anew from it if it got
//! lost. So the incident's own write never stands in the way of a rotation.

mod book;
mod facts;
mod judge;
mod keeping;
mod leading;
mod people;
mod run;
mod settle;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{mpsc, oneshot, watch};

pub use crate::engine::desk::run::{Desk, Parts, Recognise};

use crate::engine::command::{Actor, Done, Refusal, RefusalKind};
use crate::incident::alert::Alert;
use crate::incident::decide::Action;
use crate::incident::guard::Limits;
use crate::incident::progress::News;
use crate::incident::record::Incident;
use crate::model::id::{IncidentId, RotationId, SecretName, TargetName, VersionId};
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};
use crate::model::version::Stage;

/// Alerts that may wait for the desk at once: each answers within milliseconds, and a source that
/// gets `busy` sends again.
pub const DESK_QUEUE_LEN: usize = 256;

/// How long an alert waits for a place in that queue: a burst is over by then, and sources give us
/// ten seconds in all.
pub const DESK_QUEUE_WITHIN: Duration = Duration::from_secs(2);

/// Findings that the desk judges in one go: some milliseconds.
pub const PORTION_LEN: usize = 200;

/// Portions of one alert that are handed in at once: while what the first led to is written, the
/// next ones are judged.
const PORTIONS_AT_ONCE: usize = 4;

/// Wishes of people that may wait at once.
const ASKS_LEN: usize = 16;

/// Notices that may wait to be handed to those who tell people.
pub const NOTICES_LEN: usize = 256;

/// How long incidents that are over stay in Vault unless the config says otherwise: past a year,
/// like what revoked versions are recognised by.
pub const KEEP_DEFAULT: Span = Span::from_secs(400 * 24 * 3600);

/// Incidents that are over and stay in memory, newest first; older ones stay in Vault.
pub const OVER_KEPT: usize = 500;

/// An alert and where its answer goes.
#[derive(Debug)]
pub struct Report {
    /// Who brought it: the source, or a person at the command line.
    pub actor: Actor,
    /// The alert.
    pub alert: Alert,
    /// Where the answer goes: one verdict for each finding, in their order.
    pub reply: oneshot::Sender<Result<Vec<Verdict>, Refusal>>,
}

/// What became of one finding. Durable when it is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The versions it fits: none if the value is not one of ours, more than one if secrets share
    /// a value.
    pub ours: Vec<Judged>,
}

/// One version that a finding fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The secret.
    pub secret: SecretName,
    /// The version.
    pub version: VersionId,
    /// Where it stood when the alert came.
    pub stage: Stage,
    /// What is done.
    pub action: Action,
    /// The incident it belongs to; none if nothing is to be done.
    pub incident: Option<IncidentId>,
    /// The rotation that answers it, where one runs.
    pub rotation: Option<RotationId>,
}

/// What a person wants of an incident, with their reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Act on it.
    Approve,
    /// Do without this target.
    Waive(TargetName),
    /// End it, whatever is open.
    Close,
}

/// A wish and where its answer goes.
#[derive(Debug)]
pub struct Ask {
    /// Who asks.
    pub actor: Actor,
    /// Of which incident.
    pub incident: IncidentId,
    /// What.
    pub wish: Wish,
    /// Why, in their words.
    pub reason: String,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Done, Refusal>>,
}

/// Something that people should hear of.
#[derive(Clone, Debug)]
pub struct Notice {
    /// What.
    pub news: News,
    /// The incident as it then stood.
    pub incident: Arc<Incident>,
}

/// The desk as readers see it.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// When it was taken.
    pub at: Timestamp,
    /// Whether this instance leads and has read the incidents: only then it is complete.
    pub ready: bool,
    /// Those that are open, and the last ones that are not.
    pub incidents: Arc<BTreeMap<IncidentId, Arc<Incident>>>,
    /// What holds alerts back.
    pub guard: GuardView,
}

/// What holds alerts back, as it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardView {
    /// The limits of the config.
    pub limits: Limits,
    /// Exposures by alerts within the window.
    pub exposures: u32,
    /// Whether the breaker is open: alerts then wait for a person.
    pub open: bool,
}

/// How telling one recipient of notices goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Its name in the config.
    pub name: String,
    /// Notices that wait.
    pub waiting: u64,
    /// Notices that arrived.
    pub delivered: u64,
    /// Notices that were given up.
    pub undelivered: u64,
    /// Why the last attempt failed, unless it did not.
    pub failure: Option<String>,
}

/// How others reach the desk.
#[derive(Clone, Debug)]
pub struct DeskHandle {
    reports: mpsc::Sender<Report>,
    asks: mpsc::Sender<Ask>,
    picture: watch::Receiver<Arc<Picture>>,
    told: watch::Receiver<Arc<Vec<Told>>>,
}

/// The ends that the desk holds.
#[derive(Debug)]
pub struct DeskEnds {
    /// Alerts in.
    pub reports: mpsc::Receiver<Report>,
    /// Wishes in.
    pub asks: mpsc::Receiver<Ask>,
    /// Pictures out.
    pub picture: watch::Sender<Arc<Picture>>,
    /// How telling people goes, from whoever does that.
    pub told: watch::Sender<Arc<Vec<Told>>>,
}

impl DeskHandle {
    /// A handle, and the ends that the desk holds.
    pub fn new() -> (DeskHandle, DeskEnds) {
        let (reports, reports_end) = mpsc::channel(DESK_QUEUE_LEN);
        let (asks, asks_end) = mpsc::channel(ASKS_LEN);
        let (picture_end, picture) = watch::channel(Arc::default());
        let (told_end, told) = watch::channel(Arc::default());
        let ends =
            DeskEnds { reports: reports_end, asks: asks_end, picture: picture_end, told: told_end };
        (DeskHandle { reports, asks, picture, told }, ends)
    }

    /// Hands an alert in and waits for what became of it. A large one is handed in by portions,
    /// so that another one that comes meanwhile is judged between them.
    ///
    /// # Errors
    /// [`Refusal`] of kind `Unavailable` if it is not known to be durable, or the desk is busy: the
    /// source should send again, which is harmless in any case.
    pub async fn report(&self, actor: Actor, mut alert: Alert) -> Result<Vec<Verdict>, Refusal> {
        let mut left = std::mem::take(&mut alert.findings);
        let mut portions = Vec::new();
        loop {
            let later = left.split_off(left.len().min(PORTION_LEN));
            portions.push(Alert { findings: left, ..alert.clone() });
            left = later;
            if left.is_empty() {
                break;
            }
        }
        let portions = stream::iter(portions).map(|portion| self.hand_in(actor.clone(), portion));
        let verdicts: Vec<Vec<Verdict>> = portions.buffered(PORTIONS_AT_ONCE).try_collect().await?;
        Ok(verdicts.into_iter().flatten().collect())
    }

    async fn hand_in(&self, actor: Actor, alert: Alert) -> Result<Vec<Verdict>, Refusal> {
        let (reply, answer) = oneshot::channel();
        let place = tokio::time::timeout(DESK_QUEUE_WITHIN, self.reports.reserve()).await;
        let place = place.map_err(|_| away(Reason::Busy))?.map_err(|_| away(Reason::NoLease))?;
        place.send(Report { actor, alert, reply });
        answer.await.unwrap_or_else(|_| Err(away(Reason::NoLease)))
    }

    /// Hands a person's wish in. The answer comes over the wish's own channel.
    ///
    /// # Errors
    /// [`Refusal`] of kind `Unavailable` if it was not taken; nothing happened.
    pub fn ask(&self, ask: Ask) -> Result<(), Refusal> {
        self.asks.try_send(ask).map_err(|_| Refusal {
            kind: RefusalKind::Unavailable,
            reason: Reason::Busy,
            possible_at: None,
            text: "too many wishes wait already, this one was not taken: try again".to_owned(),
        })
    }

    /// The newest picture.
    pub fn picture(&self) -> Arc<Picture> {
        Arc::clone(&self.picture.borrow())
    }

    /// How telling people goes.
    pub fn told(&self) -> Arc<Vec<Told>> {
        Arc::clone(&self.told.borrow())
    }
}

pub(super) fn away(reason: Reason) -> Refusal {
    Refusal {
        kind: RefusalKind::Unavailable,
        reason,
        possible_at: None,
        text: format!("the alert may not have been taken in ({reason}): send it again"),
    }
}
