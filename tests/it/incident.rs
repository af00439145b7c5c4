//! The report of an incident as a person reads it: kept in `tests/golden/incident/`.

use std::collections::BTreeMap;

use rotord::incident::alert::{Claim, FoundAt};
use rotord::incident::decide::{Action, Doubt};
use rotord::incident::progress::Facts;
use rotord::incident::record::{Incident, Mark, Opening, Sighting};
use rotord::incident::report::markdown;
use rotord::model::id::{IncidentId, RotationId, SecretName, SourceName, TargetName, VersionId};
use rotord::model::reason::Reason;
use rotord::model::time::{Span, Timestamp};
use rotord::model::version::Stage;

use crate::support::golden;

/// 2026-11-22T03:12:00Z.
pub(crate) const NIGHT: Timestamp = Timestamp(1_795_317_120_000);

fn target(name: &str) -> TargetName {
    TargetName::new(name).unwrap()
}

/// An incident as it stands just after the alert that opened it.
pub(crate) fn incident(action: Action) -> Incident {
    Incident::open(Opening {
        id: IncidentId("20261122T031200Z-7f3a91c2".to_owned()),
        secret: SecretName::new("stripe-key").unwrap(),
        version: VersionId(3),
        stage: Stage::Current,
        action,
        at: NIGHT,
        sighting: Sighting {
            source: SourceName::new("github").unwrap(),
            id: "acme/shop#17".to_owned(),
            label: "acme_token".to_owned(),
            found_at: FoundAt::new("https://git.example/acme/shop/blob/5f2c/.env#L3", &[]),
            claim: Claim::Public,
            proved: !matches!(action, Action::Ask(_)),
            at: NIGHT,
            last_at: NIGHT,
            times: 1,
        },
    })
}

/// What is known some milliseconds after the alert.
pub(crate) fn facts(after: u64) -> Facts {
    Facts {
        at: NIGHT + Span(after),
        exposed_at: Some(NIGHT + Span(38)),
        deadline: Some(NIGHT + Span(38) + Span::from_secs(900)),
        rotation: Some((RotationId("20261122T031200Z-emergency".to_owned()), NIGHT + Span(41))),
        successor: Some((VersionId(4), NIGHT + Span(260))),
        targets: BTreeMap::from([
            (target("api"), Mark { left_at: Some(NIGHT + Span(480)), waived_by: None }),
            (target("checkout"), Mark { left_at: Some(NIGHT + Span(430)), waived_by: None }),
            (target("old-batch"), Mark::default()),
        ]),
        ..Facts::default()
    }
}

#[test]
fn the_report_of_one_that_is_done() {
    let mut incident = incident(Action::Rotate);
    let again = Sighting {
        source: SourceName::new("gitguardian").unwrap(),
        at: NIGHT + Span(90_000),
        ..incident.sightings[0].clone()
    };
    let mut facts = facts(500);
    incident.follow(&facts);
    incident.waive(&target("old-batch"), "uid:1000(alice)", "switched off", facts.at).unwrap();
    facts.refused = true;
    facts.at = NIGHT + Span(640);
    incident.follow(&facts);
    facts.revoked_at = Some(NIGHT + Span(700));
    facts.at = NIGHT + Span(700);
    incident.follow(&facts);
    incident.join(again);
    golden::check("incident/done.md", &markdown(&incident, NIGHT + Span::from_secs(21_000)));
}

#[test]
fn the_report_of_one_that_is_late() {
    let mut incident = incident(Action::Rotate);
    incident.follow(&facts(500));
    let mut late = facts(905_000);
    late.needs_human = Some(Reason::HeldWhileExposed);
    incident.follow(&late);
    golden::check("incident/late.md", &markdown(&incident, NIGHT + Span::from_secs(910)));
}

#[test]
fn the_report_of_one_that_waits() {
    let incident = incident(Action::Ask(Doubt::Unproved));
    golden::check("incident/waiting.md", &markdown(&incident, NIGHT + Span::from_secs(60)));
}
