//! Every event in every phase: which of them the machine takes, and where it stands afterwards.
//!
//! The outcome is kept in `tests/golden/rotation/transitions.txt`, so that a changed transition is
//! seen as a changed line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use rotord::model::capability::{Capabilities, OldDies, OnLost, ValueFrom};
use rotord::model::failure::{Class, Failure};
use rotord::model::fingerprint::Fingerprint;
use rotord::model::id::{Generation, KeyId, RotationId, TargetName, VersionId};
use rotord::model::policy::{Hold, Kind, Lane, Policy};
use rotord::model::reason::Reason;
use rotord::model::target::{Level, Observation, Role, TargetTerms};
use rotord::model::time::{Span, Timestamp};
use rotord::model::version::{Stage, Version};
use rotord::rotation::apply::{IllegalEvent, apply, legal};
use rotord::rotation::decide::{Next, decide};
use rotord::rotation::effect::Effect;
use rotord::rotation::event::{Event, Happening, KeySeen, Marked};
use rotord::rotation::evidence::Cleared;
use rotord::rotation::open::Opening;
use rotord::rotation::phase::{AfterUnwind, Outcome, Phase, Remains, Staging, UnwindReason};
use rotord::rotation::{Forced, ForcedRule, Leaving, Outgoing, Rotation, Terms, Trigger};

use serde_json::json;

use crate::support::golden;

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// Longer ago than any order is still on its way.
const LONG: Span = Span::from_secs(600);
/// On its way out.
const OLD: VersionId = VersionId(1);
/// Replaced by `NEW`, or to be.
const USED: VersionId = VersionId(2);
/// Brought in.
const NEW: VersionId = VersionId(3);

/// The events that mean something in certain phases only: `legal` names exactly these.
const OF_A_PHASE: [&str; 12] = [
    "listed",
    "staged",
    "number_taken",
    "placed",
    "swept",
    "trusted",
    "admitted",
    "promoted",
    "switched",
    "clear",
    "retired",
    "finished",
];

fn key(version: VersionId) -> KeyId {
    KeyId(format!("key-{}", version.0))
}

fn orphan() -> KeyId {
    KeyId("orphan".to_owned())
}

fn api() -> TargetName {
    TargetName::new("api").expect("a name")
}

fn target_terms() -> TargetTerms {
    TargetTerms {
        role: Role::Both,
        propagation: Span::from_secs(5),
        needs: Level::Acknowledged,
        unattested: false,
        keeps_history: true,
        observe_every: None,
        place: None,
        recovery: None,
    }
}

fn terms(phase: &Phase) -> Terms {
    let remote = |value, old_dies| Capabilities {
        value,
        capacity: Some(4),
        old_dies,
        on_lost: OnLost::Sweep,
        remote: true,
        probes: true,
        terminates: true,
        ..Capabilities::local()
    };
    let (kind, capabilities) = match phase {
        Phase::Retire { .. } => (Kind::WebhookHmac, Capabilities::local()),
        Phase::Install { .. } => (Kind::ApiKey, remote(ValueFrom::Ours, OldDies::OnMint)),
        Phase::Stage { step: Staging::Place | Staging::Make, .. } => {
            (Kind::ApiKey, remote(ValueFrom::Ours, OldDies::OnRevoke))
        }
        _ => (Kind::ApiKey, remote(ValueFrom::Theirs, OldDies::OnRevoke)),
    };
    Terms { kind, capabilities, policy: Policy::default() }
}

/// A rotation in that phase, with the versions that fit it.
pub(crate) fn standing(phase: Phase) -> Rotation {
    let opening = Opening {
        id: RotationId("run".to_owned()),
        trigger: Trigger::Manual { by: "ada".to_owned(), reason: "test".to_owned() },
        lane: Lane::Routine,
        at: NOW,
        terms: terms(&phase),
        targets: BTreeMap::from([(api(), target_terms())]),
    };
    let mut rotation = Rotation::first(opening);
    let used = match phase {
        Phase::Switch { .. }
        | Phase::Overlap { .. }
        | Phase::Retire { .. }
        | Phase::Revoke { .. }
        | Phase::Closed { .. } => NEW,
        _ => USED,
    };
    let saved = !matches!(&phase, Phase::Stage { step, .. } if *step != Staging::Place);
    for version in [OLD, USED, NEW].into_iter().filter(|version| saved || *version != NEW) {
        let mut known = Version::pending(Some(key(version)), Fingerprint([0; 16]), NOW);
        known.stage = match version {
            _ if version == used => Stage::Current,
            _ if version < used => Stage::Previous,
            _ => Stage::Pending,
        };
        rotation.versions.insert(version, known);
    }
    rotation.next_version = NEW.next();
    let leaving = match &phase {
        Phase::Revoke { .. } => Some(OLD),
        Phase::Unwind { version, .. } => *version,
        _ => None,
    };
    rotation.leaving.extend(leaving.map(|version| (version, Leaving::default())));
    let may_go = !matches!(phase, Phase::Overlap { .. } | Phase::Closed { .. });
    rotation.outgoing = [OLD, USED]
        .into_iter()
        .filter(|version| may_go && leaving != Some(*version))
        .map(|version| Outgoing { version, earliest: Some(NOW), latest: None })
        .collect();
    rotation.phase = phase;
    rotation
}

fn cleared() -> Cleared {
    let read = serde_json::from_value(json!({ "going": [OLD], "evidence": {}, "at": NOW }));
    read.expect("as it stands in a record")
}

fn forced() -> Forced {
    let rule = ForcedRule::Contain;
    Forced { version: OLD, rule, targets_without_evidence: vec![api()], at: NOW }
}

/// One of each phase, each step of Stage, and each thing that an unwinding may have left.
pub(crate) fn phases() -> Vec<(String, Phase)> {
    let before = || vec![key(OLD), key(USED)];
    let steps = [
        ("preflight", Staging::Preflight),
        ("sweep", Staging::Sweep { orphans: vec![orphan()] }),
        ("make", Staging::Make),
        ("mint", Staging::Mint { before: before() }),
        ("lost", Staging::Lost { before: before(), since: NOW - LONG, stuck: None }),
        ("roll", Staging::Roll { found: orphan(), before: before(), since: NOW - LONG }),
        ("place", Staging::Place),
    ];
    let left = [
        ("nothing", Remains::Nothing),
        ("unknown", Remains::Unknown),
        ("orphans", Remains::Orphans { orphans: vec![orphan()] }),
        ("unfindable", Remains::Unfindable),
    ];
    let then = AfterUnwind::Close { reason: UnwindReason::Abandoned };
    let mut phases: Vec<Phase> = Vec::new();
    phases.extend(steps.into_iter().map(|(_, step)| Phase::Stage { version: NEW, step }));
    phases.extend([
        Phase::Probe { incoming: NEW, good: 0, not_before: NOW },
        Phase::Admit { incoming: NEW },
        Phase::Install { incoming: NEW, doubtful: false },
        Phase::Promote { incoming: NEW },
        Phase::Switch { current: NEW },
        Phase::Overlap { current: NEW, switched_at: NOW },
        Phase::Retire { current: NEW, cleared: cleared() },
        Phase::Revoke { current: NEW, cleared: cleared() },
    ]);
    let unwinding = |remains| Phase::Unwind { version: Some(NEW), remains, then };
    phases.extend(left.into_iter().map(|(_, remains)| unwinding(remains)));
    phases.push(Phase::Closed { outcome: Outcome::Done, at: NOW });
    phases.into_iter().map(|phase| (name(&phase), phase)).collect()
}

fn name(phase: &Phase) -> String {
    let step = match phase {
        Phase::Stage { step, .. } => match step {
            Staging::Preflight => "/preflight",
            Staging::Sweep { .. } => "/sweep",
            Staging::Make => "/make",
            Staging::Mint { .. } => "/mint",
            Staging::Lost { stuck: None, .. } => "/lost",
            Staging::Lost { stuck: Some(_), .. } => "/stuck",
            Staging::Roll { .. } => "/roll",
            Staging::Place => "/place",
        },
        Phase::Unwind { remains, .. } => match remains {
            Remains::Nothing => "/nothing",
            Remains::Unknown => "/unknown",
            Remains::Orphans { .. } => "/orphans",
            Remains::Unfindable => "/unfindable",
        },
        Phase::Closed { outcome: Outcome::Done, .. } => "/done",
        Phase::Closed { outcome: Outcome::Unwound { .. }, .. } => "/unwound",
        _ => "",
    };
    format!("{}{step}", phase.name())
}

fn hold() -> Hold {
    Hold {
        by: "ada".to_owned(),
        reason: "an audit".to_owned(),
        at: NOW,
        until: NOW + Span::from_secs(3600),
        routine_only: false,
    }
}

/// One of each event, about the version that the phases bring in.
fn happenings() -> Vec<Happening> {
    let seen = Observation {
        generation: Generation(1),
        accepted: vec![NEW],
        current: Some(NEW),
        level: Level::Proved,
        by: "api-1".to_owned(),
    };
    let failure = Failure { class: Class::Ambiguous, reason: Reason::TimedOut };
    let fingerprint = Fingerprint([3; 16]);
    let listed =
        [key(OLD), key(USED)].map(|key| KeySeen { key, marked: Marked::No, created_at: None });
    vec![
        Happening::Listed { keys: listed.to_vec() },
        Happening::Staged { version: NEW, key: Some(key(NEW)), fingerprint },
        Happening::NumberTaken { version: NEW },
        Happening::Placed { version: NEW, key: Some(key(NEW)) },
        Happening::Swept { key: orphan() },
        Happening::Probed { version: NEW, works: true },
        Happening::Seen { target: api(), observation: seen.clone() },
        Happening::Seen { target: api(), observation: Observation { current: Some(OLD), ..seen } },
        Happening::Revoked { version: NEW },
        Happening::Terminated { version: NEW },
        Happening::Purged { target: api(), versions: vec![OLD] },
        Happening::Forgotten { version: NEW },
        Happening::Failed { effect: Effect::Mint { version: NEW }, failure },
        Happening::Ahead { effect: Effect::Push { target: api() }, generation: Generation(9) },
        Happening::Intended { effects: vec![Effect::List] },
        Happening::Trusted,
        Happening::Admitted,
        Happening::Promoted,
        Happening::Switched,
        Happening::Clear { cleared: cleared() },
        Happening::Cut { forced: forced() },
        Happening::Retired,
        Happening::Finished,
        Happening::Tainted { version: USED, by: "alert".to_owned() },
        Happening::Held { hold: hold() },
        Happening::Released,
        Happening::Abandoned,
        Happening::Retried,
        Happening::Waived { target: api(), by: "ada".to_owned() },
        Happening::KeyAccepted { key: orphan() },
        Happening::TermsChanged {
            terms: terms(&Phase::Switch { current: NEW }),
            targets: vec![(api(), target_terms())],
        },
    ]
}

/// The event's name on the page: a signer that uses an old version is told from one that does not.
fn label(what: &Happening) -> &'static str {
    match what {
        Happening::Seen { observation, .. } if observation.current == Some(OLD) => "seen_with_old",
        what => what.name(),
    }
}

/// What becomes of an event, in a word: the next phase, or why there is none.
fn outcome(from: &str, result: &Result<Rotation, IllegalEvent>) -> String {
    match result {
        Ok(rotation) if name(&rotation.phase) == from => "stays".to_owned(),
        Ok(rotation) => format!("-> {}", name(&rotation.phase)),
        Err(IllegalEvent::Unknown { .. }) => "unknown".to_owned(),
        Err(IllegalEvent::Stranger { .. }) => "stranger".to_owned(),
        Err(IllegalEvent::Move(_)) => "no such move".to_owned(),
    }
}

/// The transitions that are a phase's own, as the table on `docs/lifecycle.md`.
pub(crate) fn table() -> String {
    let mut table = String::from("| In | Event | Then |\n| --- | --- | --- |\n");
    for (from, phase) in phases() {
        let mut by_next: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let events = happenings();
        let own = |what: &&Happening| {
            OF_A_PHASE.contains(&what.name()) || ["probed", "abandoned"].contains(&what.name())
        };
        for what in events.iter().filter(own) {
            let outcome = outcome(&from, &take(&phase, what));
            let next = outcome.strip_prefix("-> ").unwrap_or(&outcome);
            let counts = outcome != "unknown" && outcome != "stranger";
            let revoking = what.name() == "probed" && !matches!(phase, Phase::Probe { .. });
            if counts && !revoking {
                by_next.entry(next.to_owned()).or_default().push(what.name());
            }
        }
        for (next, events) in by_next {
            writeln!(table, "| {from} | {} | {next} |", events.join(", ")).unwrap();
        }
    }
    table
}

fn take(phase: &Phase, what: &Happening) -> Result<Rotation, IllegalEvent> {
    apply(standing(phase.clone()), Event { at: NOW, what: what.clone() })
}

#[test]
fn every_event_in_every_phase_has_the_outcome_on_the_page() {
    let mut page = String::from(
        "Every event in every phase, by what becomes of it. `stays`: taken in, same phase.\n\
         `unknown`: the phase does not know it. `stranger`: it names what is not there.\n",
    );
    for (from, phase) in phases() {
        let mut by_outcome: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let events = happenings();
        for what in &events {
            by_outcome.entry(outcome(&from, &take(&phase, what))).or_default().push(label(what));
        }
        writeln!(page, "\n{from}").unwrap();
        for (outcome, events) in by_outcome {
            let mut line = format!("  {outcome:<18}");
            for event in events {
                if line.len() + event.len() > 98 {
                    writeln!(page, "{}", line.trim_end()).unwrap();
                    line = " ".repeat(20);
                }
                write!(line, " {event}").unwrap();
            }
            writeln!(page, "{}", line.trim_end()).unwrap();
        }
    }
    golden::check("rotation/transitions.txt", &page);
}

#[test]
fn the_list_of_legal_events_says_what_the_table_does() {
    for (from, phase) in phases() {
        let said: BTreeSet<&str> = legal(&phase).split(", ").collect();
        let own = |what: &&Happening| OF_A_PHASE.contains(&what.name());
        let events = happenings();
        for what in events.iter().filter(own) {
            let taken = take(&phase, what).is_ok();
            assert_eq!(said.contains(what.name()), taken, "{} in {from}", what.name());
        }
    }
}

#[test]
fn what_is_decided_is_legal_and_the_same_when_asked_twice() {
    for (from, phase) in phases() {
        let events = happenings();
        let after = events.iter().filter_map(|what| take(&phase, what).ok());
        for rotation in after.chain([standing(phase.clone())]) {
            let next = decide(&rotation, NOW);
            assert_eq!(next, decide(&rotation, NOW), "asked twice in {from}");
            if let Next::Record(event) = next {
                let step = event.what.name();
                if let Err(illegal) = apply(rotation, event) {
                    panic!("{step} was decided after {from}: {illegal}");
                }
            }
        }
    }
}

#[test]
fn a_refused_event_names_the_phase_and_what_it_knows() {
    let refused = take(&Phase::Admit { incoming: NEW }, &Happening::Promoted).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "phase admit does not know the event promoted; it knows admitted"
    );
    let stranger = Happening::Waived {
        target: TargetName::new("nobody").expect("a name"),
        by: "ada".to_owned(),
    };
    let refused = take(&Phase::Admit { incoming: NEW }, &stranger).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the event waived names target nobody, which the rotation does not have"
    );
}
