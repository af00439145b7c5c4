//! What of a step is worth telling: a line in the audit chain, a count, a write of the record.

use crate::model::policy::Lane;
use crate::model::time::Span;
use crate::rotation::Rotation;
use crate::rotation::event::Happening;
use crate::telemetry::metrics::Metrics;

/// What is to be told of steps that are not durable yet: what never is was not.
#[derive(Default)]
pub(super) struct Untold {
    /// Lines of the audit chain.
    pub(super) lines: Vec<String>,
    /// What is counted.
    pub(super) counts: Vec<Count>,
}

/// One thing to count.
pub(super) enum Count {
    /// A rotation was opened.
    Started { trigger: &'static str, lane: Lane },
    /// It left a phase, so long after its opening.
    Left { phase: &'static str, took: Span },
    /// It was closed.
    Closed { trigger: &'static str, outcome: &'static str },
}

impl Count {
    /// Counts it.
    pub(super) fn add_to(self, metrics: &Metrics) {
        match self {
            Count::Started { trigger, lane } => metrics.rotation_started(trigger, lane),
            Count::Left { phase, took } => metrics.phase_ended(phase, took),
            Count::Closed { trigger, outcome } => metrics.rotation_closed(trigger, outcome),
        }
    }
}

/// What is said in the audit chain of a step that is no effect: promotions, exceptions, and what
/// people decided.
pub(super) fn noteworthy(what: &Happening) -> Option<String> {
    Some(match what {
        Happening::Promoted => "promoted".to_owned(),
        Happening::Clear { cleared } => {
            let (versions, targets) = (cleared.going(), cleared.evidence().keys());
            format!("cleared {versions:?} on the evidence of {:?}", targets.collect::<Vec<_>>())
        }
        Happening::Cut { forced } => format!(
            "forced {} by {:?}, without evidence of {:?}",
            forced.version, forced.rule, forced.targets_without_evidence
        ),
        Happening::Tainted { version, by } => format!("{version} is exposed, says {by}"),
        Happening::Held { hold } => format!("held until {} by {}", hold.until, hold.by),
        Happening::Released => "hold released".to_owned(),
        Happening::Waived { target, by } => format!("target {target} waived by {by}"),
        Happening::Abandoned => "abandoned".to_owned(),
        Happening::Finished => "finished".to_owned(),
        _ => return None,
    })
}

/// Whether the two differ only in when the same was seen again. That is worth knowing and not
/// worth a write.
pub(super) fn only_refreshes(before: &Rotation, after: &Rotation) -> bool {
    let mut after = after.clone();
    for (name, target) in &mut after.targets {
        let Some(old) = before.targets.get(name) else { return false };
        target.asked_at = old.asked_at;
        if let (Some(new), Some(old)) = (&mut target.evidence, &old.evidence) {
            new.at = old.at;
        }
    }
    after == *before
}
