//! What comes next for each secret, worked out at the moment somebody asks.

use crate::api::view::why;
use crate::api::wire;
use crate::engine::snapshot::{SecretView, Snapshot};
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::plan::DueBecause;
use crate::plan::outlook::{Outlook, Run};

/// Runs that are shown of each secret.
pub(super) const RUNS_SHOWN: usize = 5;

/// What is planned for one secret.
pub(super) fn planned(snapshot: &Snapshot, view: &SecretView, now: Timestamp) -> wire::Planned {
    let open = view.rotation.as_deref().filter(|rotation| !rotation.is_closed());
    let name = view.name.to_string();
    let open = open.map(|rotation| rotation.id.to_string());
    let Some(outlook) = view.outlook(&snapshot.limits, now, RUNS_SHOWN) else {
        return wire::Planned {
            name,
            due: false,
            because: None,
            due_since: None,
            open,
            refused: Some(why(Reason::Unmanaged)),
            possible_at: None,
            next_runs: Vec::new(),
            runs: Vec::new(),
        };
    };
    let Outlook { due, refusal, runs } = outlook;
    // Whoever does not lead starts nothing, whatever the rules say.
    let refused = match &snapshot.health.trouble {
        Some((reason, _)) => Some(*reason),
        None => refusal.map(|refusal| refusal.reason),
    };
    wire::Planned {
        name,
        due: due.is_some(),
        because: due.map(|(because, _)| word(because).into()),
        due_since: due.map(|(_, since)| since),
        open,
        refused: refused.map(why),
        possible_at: refusal
            .and_then(|refusal| refusal.until)
            // What waits for a person does not end by itself.
            .filter(|at| now < *at && view.waiting.needs_human.is_none()),
        next_runs: runs.iter().map(|run| run.at).collect(),
        runs: runs.iter().map(run).collect(),
    }
}

fn run(run: &Run) -> wire::PlannedRun {
    wire::PlannedRun { at: run.at, because: word(run.because).into() }
}

/// As triggers are called in the status.
fn word(because: DueBecause) -> &'static str {
    match because {
        DueBecause::Leaked => "leaked",
        DueBecause::NeverIssued => "initial",
        DueBecause::TooOld => "max_age",
        DueBecause::Scheduled { .. } => "scheduled",
    }
}
