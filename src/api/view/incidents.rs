//! From incidents to what leaves the daemon.

use crate::api::wire::Why;
use crate::api::wire::brakes::{Brakes, OpenIncidents};
use crate::api::wire::incidents as wire;
use crate::engine::desk::{Picture, Told};
use crate::incident::record::{Incident, Sighting, State};
use crate::incident::report;
use crate::model::time::Timestamp;

/// All of them, newest first.
pub(in crate::api) fn list(picture: &Picture, told: &[Told], now: Timestamp) -> wire::Incidents {
    let guard = &picture.guard;
    wire::Incidents {
        now,
        guard: wire::Guard {
            floor: guard.limits.floor,
            exposures: guard.exposures,
            breaker: guard.limits.exposures,
            breaker_window: guard.limits.window,
            breaker_open: guard.open,
        },
        incidents: picture.incidents.values().rev().map(|one| incident(one, now)).collect(),
        notify: told.iter().map(recipient).collect(),
    }
}

/// What holds rotations back as a whole, and how many leaks are open.
pub(in crate::api) fn brakes(breaker_open: bool, picture: &Picture, now: Timestamp) -> Brakes {
    let mut open = OpenIncidents::default();
    for incident in picture.incidents.values() {
        open.open += u64::from(incident.is_open());
        open.waiting += u64::from(incident.is_waiting());
        open.overdue += u64::from(incident.is_overdue(now));
    }
    Brakes {
        breaker_open,
        alert_breaker_open: picture.guard.open,
        incidents: picture.ready.then_some(open),
    }
}

/// One of them in full.
pub(in crate::api) fn detail(one: &Incident, now: Timestamp) -> wire::IncidentDetail {
    wire::IncidentDetail {
        now,
        incident: incident(one, now),
        sightings: one.sightings.iter().map(sighting).collect(),
        more_sightings: one.more_sightings,
        targets: one
            .targets
            .iter()
            .map(|(name, mark)| wire::Leaving {
                name: name.to_string(),
                left_at: mark.left_at,
                waived_by: mark.waived_by.clone(),
            })
            .collect(),
        timeline: one
            .timeline
            .iter()
            .map(|moment| wire::Step { at: moment.at, text: report::step(&moment.what) })
            .collect(),
        missing: one.missing().iter().map(|missing| report::open_point(missing, one)).collect(),
    }
}

fn incident(one: &Incident, now: Timestamp) -> wire::Incident {
    let why = |code: &str, text: &str| Why { code: code.to_owned(), text: text.to_owned() };
    wire::Incident {
        id: one.id.to_string(),
        secret: one.secret.to_string(),
        version: one.version.0,
        stage: one.stage.to_string(),
        state: one.state.name().to_owned(),
        waits: match one.state {
            State::Waiting(wait) => Some(why(wait.code(), wait.meaning())),
            _ => None,
        },
        action: why(one.action.code(), one.action.meaning()),
        opened_at: one.opened_at,
        closed_at: one.closed_at,
        refused_at: one.refused_at(),
        exposure: one.exposure(one.closed_at.unwrap_or(now)),
        deadline: one.deadline,
        overdue: one.is_overdue(now),
        reports: one.reports(),
    }
}

fn sighting(one: &Sighting) -> wire::Sighting {
    wire::Sighting {
        source: one.source.to_string(),
        id: one.id.clone(),
        label: one.label.clone(),
        found_at: one.found_at.as_ref().map(ToString::to_string),
        claim: one.claim.as_str().to_owned(),
        proved: one.proved,
        at: one.at,
        last_at: one.last_at,
        times: one.times,
    }
}

fn recipient(told: &Told) -> wire::Recipient {
    wire::Recipient {
        name: told.name.clone(),
        waiting: told.waiting,
        delivered: told.delivered,
        undelivered: told.undelivered,
        failure: told.failure.clone(),
    }
}
