//! The tables on `docs/alerts.md`, taken from the code that decides them.

use std::fmt::Write as _;

use rotord::incident::alert::Claim;
use rotord::incident::decide::{Action, Case, Doubt, decide};
use rotord::model::id::{RotationId, VersionId};
use rotord::model::policy::{Lane, OnLeak};
use rotord::model::time::Span;
use rotord::model::version::Stage;
use rotord::rotation::apply::apply;
use rotord::rotation::event::{Event, Happening};
use rotord::rotation::open::Opening;
use rotord::rotation::phase::Phase;
use rotord::rotation::{Outgoing, Rotation, Trigger};

use super::lifecycle::with_part;
use crate::transitions::{NOW, phases, standing};

const STAGES: [Stage; 5] =
    [Stage::Current, Stage::Previous, Stage::Retired, Stage::Pending, Stage::Revoked];

fn case(stage: Stage, on_leak: OnLeak) -> Case {
    Case {
        stage,
        tainted: false,
        managed: true,
        on_leak,
        claim: Claim::Leaked,
        proved: true,
        trusted: false,
        within_floor: false,
        breaker_open: false,
    }
}

/// What an alert that proves knowledge does, by what leaked and what people decided.
fn stages() -> String {
    let mut text = String::from(
        "| What leaked | `keep_serving` | `contain` | `ask` |\n| --- | --- | --- | --- |\n",
    );
    for stage in STAGES {
        let cells = [OnLeak::KeepServing, OnLeak::Contain, OnLeak::Ask]
            .map(|on_leak| decide(&case(stage, on_leak)))
            .map(|action| format!("`{}`", action.code()));
        writeln!(text, "| `{stage}` | {} |", cells.join(" | ")).unwrap();
    }
    text
}

/// What each action means.
fn actions() -> String {
    let mut text = String::from("| Action | Meaning |\n| --- | --- |\n");
    for action in [
        Action::Rotate,
        Action::Retire,
        Action::Remint,
        Action::Join,
        Action::AlreadyRevoked,
        Action::Note,
    ] {
        writeln!(text, "| `{}` | {} |", action.code(), action.meaning()).unwrap();
    }
    writeln!(text, "| `ask` | a person must agree first; why, is said below |").unwrap();
    text
}

/// What makes a person's word necessary: each doubt alone, by what leaked.
fn doubts() -> String {
    let with = |doubt: Doubt, stage| {
        let case = case(stage, OnLeak::KeepServing);
        decide(&match doubt {
            Doubt::Unproved => Case { proved: false, ..case },
            Doubt::Policy => Case { on_leak: OnLeak::Ask, ..case },
            Doubt::Floor => Case { within_floor: true, ..case },
            Doubt::Breaker => Case { breaker_open: true, ..case },
            Doubt::Unmanaged => Case { managed: false, ..case },
        })
    };
    let mut text = String::from(
        "| Doubt | When | `current` | `previous` | `pending` | `revoked` |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for doubt in [Doubt::Unproved, Doubt::Policy, Doubt::Floor, Doubt::Breaker, Doubt::Unmanaged] {
        let cells = [Stage::Current, Stage::Previous, Stage::Pending, Stage::Revoked]
            .map(|stage| format!("`{}`", with(doubt, stage).code()));
        let (code, when) = (doubt.code(), doubt.meaning());
        writeln!(text, "| `{code}` | {when} | {} |", cells.join(" | ")).unwrap();
    }
    text
}

/// A rotation in that phase and lane, with everything that was replaced on its way out: dated once
/// the switch is over, and gone when it is closed.
fn busy(phase: Phase, lane: Lane) -> Rotation {
    let mut rotation = standing(phase);
    rotation.lane = lane;
    let (phase, going) = (&rotation.phase, &rotation.leaving);
    let switched =
        matches!(phase, Phase::Overlap { .. } | Phase::Retire { .. } | Phase::Revoke { .. });
    let earliest = switched.then_some(NOW + Span::from_secs(3_600));
    let promoted = phase.has_promoted();
    let replaced = rotation.at_stage(Stage::Previous).chain(rotation.current());
    let replaced = replaced.filter(|v| !going.contains_key(v));
    let replaced = replaced.filter(|v| !promoted || Some(*v) != rotation.current());
    let outgoing = |version| Outgoing { version, earliest, latest: None };
    rotation.outgoing = replaced.map(outgoing).collect();
    if rotation.is_closed() {
        rotation.outgoing.clear();
        rotation.versions.retain(|_, version| version.stage == Stage::Current);
    }
    rotation
}

/// What becomes of a version of that stage that leaks now: read off the rotation before and after.
fn leak(before: &Rotation, stage: Stage) -> String {
    let going = |version: &VersionId| before.leaving.contains_key(version);
    let all: Vec<VersionId> = before.at_stage(stage).collect();
    let Some(version) = all.iter().copied().rfind(|version| !going(version)) else {
        return match all.is_empty() {
            true => "-".to_owned(),
            false => "is being taken away already".to_owned(),
        };
    };
    let what = Happening::Tainted { version, by: "alert".to_owned() };
    let after = apply(before.clone(), Event { at: NOW, what }).expect("a leak is always taken in");
    if before.phase != after.phase {
        return "taken back; another one is made".to_owned();
    }
    let mut parts = Vec::new();
    let promoted = after.is_closed() || after.phase.has_promoted();
    let rotation = match stage {
        Stage::Current if promoted => {
            parts.push("an emergency rotation is opened");
            let opening = Opening {
                id: RotationId("next".to_owned()),
                trigger: Trigger::Emergency { by: "alert".to_owned(), reason: String::new() },
                lane: Lane::Emergency,
                at: NOW,
                terms: after.terms.clone(),
                targets: Default::default(),
            };
            after.next(opening).expect("an emergency may follow")
        }
        _ => after,
    };
    if before.lane == Lane::Routine && parts.is_empty() && !rotation.is_closed() {
        parts.push("*hurried*");
    }
    if stage == Stage::Pending {
        parts.push("goes on, and is replaced as soon as it is current");
    }
    let outgoing = rotation.outgoing.iter().find(|outgoing| outgoing.version == version);
    match outgoing {
        Some(Outgoing { earliest: Some(earliest), .. }) if *earliest <= NOW => {
            parts.push("goes with the evidence");
        }
        Some(Outgoing { latest: Some(_), .. }) => {
            parts.push("goes with the evidence after the switch");
        }
        _ => {}
    }
    parts.join("; ")
}

/// What a leak does in every phase of a running rotation; phases in which it is the same share a
/// line.
fn running() -> String {
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for lane in [Lane::Routine, Lane::Emergency] {
        for (name, phase) in phases() {
            let rotation = busy(phase, lane);
            let cells = [Stage::Current, Stage::Previous, Stage::Pending]
                .map(|stage| leak(&rotation, stage))
                .join(" | ");
            let lane = if lane == Lane::Routine { "routine" } else { "emergency" };
            let row = format!("| {lane} | {cells} |");
            match rows.iter_mut().find(|(known, _)| *known == row) {
                Some((_, names)) => names.push(name),
                None => rows.push((row, vec![name])),
            }
        }
    }
    let mut text = String::from(
        "| Phase | Lane | `current` leaks | `previous` leaks | `pending` leaks |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for (row, names) in rows {
        writeln!(text, "| {} {row}", names.join(", ")).unwrap();
    }
    text
}

#[test]
fn the_page_of_alerts_shows_what_the_code_does() {
    let page = super::read("docs/alerts.md");
    let page = with_part(&page, "stages", &stages());
    let page = with_part(&page, "actions", &actions());
    let page = with_part(&page, "doubts", &doubts());
    let page = with_part(&page, "running", &running());
    super::same_as_file("docs/alerts.md", &page);
}
