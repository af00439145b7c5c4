//! The second act, told: what rotord has kept of the leak.
//!
//! Decides how the course of an incident reads.

use rotord::api::wire::incidents::IncidentDetail;
use rotord::model::time::Timestamp;

/// The course of an incident with the time from the alert to each step.
pub(crate) fn course(detail: &IncidentDetail) -> Vec<String> {
    let begun = detail.incident.opened_at;
    let line = |at: Timestamp, text: &str| {
        let after = at.since(begun).to_std().as_secs_f64();
        format!("    +{after:>6.3}s  {text}")
    };
    detail.timeline.iter().map(|step| line(step.at, &step.text)).collect()
}
