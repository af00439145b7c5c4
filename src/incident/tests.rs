//! Incidents on plain data: how they grow, when they end, and what their report says.

use std::collections::BTreeMap;

use crate::incident::alert::{Claim, FoundAt};
use crate::incident::decide::{Action, Doubt};
use crate::incident::progress::{Facts, Missing, News};
use crate::incident::record::{
    Incident, MOMENTS_MAX, Mark, NotNow, Opening, SIGHTINGS_MAX, Sighting, State, Wait, What,
    foreign, new_id, of_taint, parse_id, taint_by,
};
use crate::incident::report::markdown;
use crate::model::id::{IncidentId, RotationId, SecretName, SourceName, TargetName, VersionId};
use crate::model::mask::Mask;
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};
use crate::model::version::{Stage, Taint};

const NOW: Timestamp = Timestamp(1_795_316_720_000); // 2026-11-22T03:05:20Z

fn target(name: &str) -> TargetName {
    TargetName::new(name).unwrap()
}

fn sighting(place: &str) -> Sighting {
    Sighting {
        source: SourceName::new("github").unwrap(),
        id: "42".to_owned(),
        label: "acme_token".to_owned(),
        found_at: FoundAt::new(place, &Mask::default()),
        claim: Claim::Leaked,
        proved: true,
        at: NOW,
        last_at: NOW,
        times: 1,
    }
}

fn incident(action: Action) -> Incident {
    Incident::open(Opening {
        id: IncidentId("20261122T030520Z-7f3a91c2".to_owned()),
        secret: SecretName::new("stripe-key").unwrap(),
        version: VersionId(3),
        incarnation: None,
        stage: Stage::Current,
        action,
        at: NOW,
        sighting: sighting("https://host/acme/shop/blob/main/.env#L3"),
    })
}

fn facts(at: Timestamp) -> Facts {
    Facts {
        at,
        exposed_at: Some(NOW + Span(40)),
        deadline: Some(NOW + Span::from_secs(900)),
        rotation: Some((RotationId("20261122T030520Z-emergency".to_owned()), NOW + Span(40))),
        targets: BTreeMap::from([
            (target("api"), Mark::default()),
            (target("worker"), Mark::default()),
        ]),
        ..Facts::default()
    }
}

fn leaves(facts: &mut Facts, name: &str, at: Timestamp) {
    facts.targets.insert(target(name), Mark { left_at: Some(at), waived_by: None });
}

#[test]
fn the_same_place_is_counted_and_others_are_listed_up_to_a_bound() {
    let mut incident = incident(Action::Rotate);
    for _ in 0..999 {
        incident.join(sighting("https://host/acme/shop/blob/main/.env#L3"));
    }
    assert_eq!((incident.sightings.len(), incident.sightings[0].times), (1, 1_000));
    for fork in 0..SIGHTINGS_MAX + 20 {
        incident.join(sighting(&format!("https://host/fork-{fork}/.env")));
    }
    assert_eq!(incident.sightings.len(), SIGHTINGS_MAX);
    assert_eq!(incident.more_sightings, 21);
    assert_eq!(incident.reports(), 1_000 + 70);
    assert!(!incident.has(&What::Public));
    incident.join(Sighting { claim: Claim::Public, ..sighting("https://host/fork-3/.env") });
    assert!(incident.has(&What::Public), "graver news is kept of a known place too");
}

#[test]
fn a_rotation_that_goes_well_ends_the_incident_by_itself() {
    let mut incident = incident(Action::Rotate);
    assert_eq!(incident.missing(), [Missing::Exposure]);
    let mut facts = facts(NOW + Span(100));
    assert_eq!(incident.follow(&facts), []);
    let held = [Missing::Target(target("api")), Missing::Target(target("worker"))];
    assert_eq!(incident.missing()[..2], held);
    facts.successor = Some((VersionId(4), NOW + Span(120)));
    leaves(&mut facts, "api", NOW + Span(300));
    incident.follow(&facts);
    leaves(&mut facts, "worker", NOW + Span(280));
    facts.refused = true;
    facts.at = NOW + Span(400);
    incident.follow(&facts);
    assert_eq!(incident.missing(), [Missing::Revocation]);
    facts.revoked_at = Some(NOW + Span(500));
    facts.at = NOW + Span(500);
    assert_eq!(incident.follow(&facts), [News::Done]);
    assert_eq!((incident.state, incident.closed_at), (State::Done, Some(NOW + Span(500))));
    assert_eq!(incident.exposure(NOW + Span::from_secs(99)), Span(400));
    let before = incident.clone();
    assert_eq!(incident.follow(&facts), [], "what is done stays as it is");
    assert_eq!(incident, before);
}

#[test]
fn a_deadline_that_passes_is_told_once_and_stays_open() {
    let mut incident = incident(Action::Rotate);
    let late = facts(NOW + Span::from_secs(901));
    assert_eq!(incident.follow(&late), [News::DeadlinePassed]);
    assert_eq!(incident.follow(&facts(NOW + Span::from_secs(950))), []);
    assert!(incident.is_overdue(NOW + Span::from_secs(950)));
    let mut stuck = facts(NOW + Span::from_secs(960));
    stuck.needs_human = Some(Reason::HeldWhileExposed);
    assert_eq!(incident.follow(&stuck), [News::NeedsHuman]);
    assert_eq!(incident.follow(&stuck), []);
    // Gone in time is no alarm, however late somebody looks.
    let mut gone = facts(NOW + Span::from_secs(9_000));
    gone.refused = true;
    assert_eq!(self::incident(Action::Rotate).follow(&gone), []);
}

#[test]
fn what_is_decided_and_cannot_be_marked_has_a_deadline_all_the_same() {
    let mut incident = incident(Action::Rotate);
    incident.be_due(NOW + Span::from_secs(900));
    incident.be_due(NOW + Span::from_secs(1_900));
    let unmarked = |at| Facts { exposed_at: None, deadline: None, ..facts(at) };
    assert_eq!(incident.follow(&unmarked(NOW + Span::from_secs(900))), []);
    let late = NOW + Span::from_secs(901);
    let stands = Facts { needs_human: Some(Reason::ReconcileRequired), ..unmarked(late) };
    assert_eq!(incident.follow(&stands), [News::NeedsHuman, News::DeadlinePassed]);
    assert_eq!(incident.follow(&stands), [], "told once");
    assert!(incident.is_overdue(late) && incident.missing().contains(&Missing::Exposure));
}

#[test]
fn a_full_time_line_is_no_stream_of_news() {
    let mut incident = incident(Action::Rotate);
    let mut facts = facts(NOW + Span::from_secs(60));
    for n in 0..MOMENTS_MAX {
        leaves(&mut facts, &format!("t{n}"), NOW + Span::from_secs(50));
    }
    incident.follow(&facts);
    facts.needs_human = Some(Reason::IssuerFull);
    assert_eq!(incident.follow(&facts), [News::NeedsHuman]);
    assert_eq!(incident.follow(&facts), []);
}

#[test]
fn a_target_that_comes_back_with_it_opens_the_point_again() {
    let mut incident = incident(Action::Retire);
    let mut facts = facts(NOW + Span(100));
    leaves(&mut facts, "api", NOW + Span(90));
    incident.follow(&facts);
    assert_eq!(incident.holding().collect::<Vec<_>>(), [&target("worker")]);
    facts.targets.insert(target("api"), Mark::default());
    incident.follow(&facts);
    assert_eq!(incident.holding().count(), 2);
    assert!(incident.has(&What::Returned { target: target("api") }));
    for round in 0..1_000_u64 {
        facts.at = NOW + Span(200 + round);
        let left_at = (round % 2 == 0).then_some(facts.at);
        facts.targets.insert(target("api"), Mark { left_at, waived_by: None });
        incident.follow(&facts);
    }
    assert!(incident.timeline.len() <= MOMENTS_MAX && incident.more_moments > 0);
    facts.refused = true;
    facts.revoked_at = Some(facts.at);
    let at = facts.at;
    leaves(&mut facts, "api", at);
    leaves(&mut facts, "worker", at);
    assert_eq!(incident.follow(&facts), [News::Done], "a full time line keeps nothing open");
}

#[test]
fn what_waits_is_approved_or_closed_by_a_person_and_once_only() {
    let mut waiting = incident(Action::Ask(Doubt::Unproved));
    assert_eq!(waiting.missing(), [Missing::Approval(Wait::Doubt(Doubt::Unproved))]);
    let mut closed = waiting.clone();
    closed.close("alice", "a test value", NOW + Span(5)).unwrap();
    assert_eq!(closed.state, State::Closed);
    assert!(matches!(closed.approve("bob", "no", NOW), Err(NotNow::NotWaiting(..))));
    assert!(matches!(closed.close("bob", "again", NOW), Err(NotNow::Over(_, "closed"))));
    waiting.approve("alice", "I know the repository", NOW + Span(5)).unwrap();
    assert_eq!(waiting.missing(), [Missing::Exposure]);
    assert!(matches!(waiting.approve("bob", "me too", NOW), Err(NotNow::NotWaiting(_, "acting"))));
}

#[test]
fn a_waiting_incident_acts_once_somebody_else_had_the_version_marked() {
    let mut waiting = incident(Action::Ask(Doubt::Policy));
    waiting.follow(&facts(NOW + Span(10)));
    assert_eq!(waiting.state, State::Acting);
    assert!(waiting.is_exposed());
}

#[test]
fn a_waived_target_counts_no_more() {
    let mut incident = incident(Action::Rotate);
    let mut facts = facts(NOW + Span(100));
    leaves(&mut facts, "api", NOW + Span(90));
    incident.follow(&facts);
    let stranger = incident.waive(&target("nobody"), "alice", "gone", NOW);
    assert!(matches!(stranger, Err(NotNow::NoSuchTarget(..))));
    incident.waive(&target("worker"), "alice", "switched off", NOW + Span(200)).unwrap();
    facts.revoked_at = Some(NOW + Span(300));
    facts.at = NOW + Span(300);
    assert_eq!(incident.follow(&facts), [News::Done]);
}

#[test]
fn two_copies_that_changed_apart_lose_nothing() {
    let base = incident(Action::Rotate);
    let (mut ours, mut theirs) = (base.clone(), base);
    ours.join(sighting("https://host/fork/.env"));
    ours.follow(&facts(NOW + Span(50)));
    theirs.join(sighting("https://host/mirror/.env"));
    theirs.close("alice", "done by hand", NOW + Span(70)).unwrap();
    let mut merged = ours.clone();
    merged.merge(&theirs);
    assert_eq!(merged.sightings.len(), 3);
    assert_eq!(merged.state, State::Closed);
    assert!(merged.is_exposed() && merged.closed_at.is_some());
    let mut again = merged.clone();
    again.merge(&theirs);
    again.merge(&ours);
    assert_eq!(again, merged, "merging what is in it already changes nothing");
}

#[test]
fn an_id_is_fit_for_a_path_and_found_again_in_a_taint() {
    let id = new_id(NOW, [0x7f, 0x3a, 0x91, 0xc2]);
    assert_eq!(id.0, "20261122T030520Z-7f3a91c2");
    assert_eq!(parse_id(&id.0), Some(id.clone()));
    for bad in ["", "../lease", "a/b", "a b", &"a".repeat(41)] {
        assert_eq!(parse_id(bad), None, "{bad:?}");
    }
    let taint = |by: &str| Taint { at: NOW, by: by.to_owned() };
    assert_eq!(of_taint(&taint(&taint_by(&id))), Some(id));
    assert_eq!(of_taint(&taint("uid:1000(alice)")), None);
}

#[test]
fn an_incident_survives_the_way_through_json() {
    let mut incident = incident(Action::Ask(Doubt::Floor));
    incident.ask(Wait::Refused(Reason::Unmanaged), NOW + Span(1));
    incident.approve("alice", "sure", NOW + Span(2)).unwrap();
    let mut facts = facts(NOW + Span(3));
    facts.needs_human = Some(Reason::IssuerFull);
    incident.follow(&facts);
    let text = serde_json::to_string(&incident).unwrap();
    assert_eq!(serde_json::from_str::<Incident>(&text).unwrap(), incident);
}

#[test]
fn the_report_takes_what_others_wrote_for_text() {
    let evil = "<script>x</script>`](http://evil)\n# owned | **b** \u{202e}";
    let mut incident = incident(Action::Ask(Doubt::Unproved));
    incident.join(Sighting { label: foreign(evil), id: foreign(evil), ..sighting(evil) });
    incident.approve(evil, evil, NOW + Span(5)).unwrap();
    let page = markdown(&incident, NOW + Span(10));
    for line in page.lines().filter(|line| line.contains("script")) {
        // Outside of code marks nothing of it is left.
        let outside: String = line.split('`').step_by(2).collect();
        for bad in ["<", "script", "evil", "owned", "**b**"] {
            assert!(!outside.contains(bad), "{bad} in {line}");
        }
    }
    assert!(!page.contains('\u{202e}') && !page.lines().any(|line| line == "# owned"));
}

#[test]
fn the_picture_is_whole_whatever_stands_in_it() {
    let mut incident = incident(Action::Rotate);
    let mut facts = facts(NOW + Span::from_secs(3_600));
    for at in 0..40 {
        leaves(&mut facts, &format!("target-with-a-long-name-{at:02}.eu.example"), NOW + Span(at));
    }
    incident.follow(&facts);
    let picture = super::timeline::svg(&incident, NOW + Span::from_secs(3_600));
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
    assert_eq!(picture.matches("<rect").count(), 1 + 20 + 1 + 1, "{picture}");
    assert!(picture.contains("22 more targets") && picture.contains("deadline +15m"), "{picture}");
}
