//! The desk: where alerts come in, whichever way they came, and incidents are kept.
//!
//! Decides which version of which secret a finding is about, has it judged, has the version marked
//! as exposed, and keeps the incident until everything in it is settled. Must not know how an alert
//! was sent or how people are told. It acts on secrets through the engine's commands alone.

use tokio::sync::{mpsc, oneshot};

use crate::engine::command::{Actor, Refusal, RefusalKind};
use crate::incident::alert::Alert;
use crate::incident::decide::Action;
use crate::model::id::{IncidentId, RotationId, SecretName, VersionId};
use crate::model::reason::Reason;
use crate::model::version::Stage;

/// Alerts that may wait for the desk at once: each answers within milliseconds, and a source that
/// gets `busy` sends again.
pub const DESK_QUEUE_LEN: usize = 256;

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

/// How others reach the desk.
#[derive(Clone, Debug)]
pub struct DeskHandle {
    reports: mpsc::Sender<Report>,
}

impl DeskHandle {
    /// A handle, and the end that the desk holds.
    pub fn new() -> (DeskHandle, mpsc::Receiver<Report>) {
        let (reports, end) = mpsc::channel(DESK_QUEUE_LEN);
        (DeskHandle { reports }, end)
    }

    /// Hands an alert in and waits for what became of it.
    ///
    /// # Errors
    /// [`Refusal`] of kind `Unavailable` if it could not be made durable, or the desk is busy:
    /// nothing happened and the source should send again.
    pub async fn report(&self, actor: Actor, alert: Alert) -> Result<Vec<Verdict>, Refusal> {
        let (reply, answer) = oneshot::channel();
        let report = Report { actor, alert, reply };
        self.reports.try_send(report).map_err(|_| away(Reason::Busy))?;
        answer.await.unwrap_or_else(|_| Err(away(Reason::NoLease)))
    }
}

fn away(reason: Reason) -> Refusal {
    Refusal {
        kind: RefusalKind::Unavailable,
        reason,
        possible_at: None,
        text: "the alert could not be taken in: send it again".to_owned(),
    }
}
