//! From the ledger to what readers see.

use std::sync::Arc;

use crate::engine::ledger::{self, Entry};
use crate::engine::opening;
use crate::engine::snapshot::{SecretView, Waiting};
use crate::engine::walk::Standing;
use crate::model::capability::OnLost;
use crate::model::id::SecretName;
use crate::model::policy::{Kind, Lane};
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::plan::facts::Initial;
use crate::plan::{self, Ask};
use crate::rotation::Rotation;
use crate::rotation::decide::{Wait, Why};
use crate::rotation::phase::{Phase, Staging};

/// Runs of the schedule that are shown.
const RUNS_SHOWN: usize = 5;

/// One secret as readers see it.
pub(super) fn secret(
    name: &SecretName,
    entry: &Entry,
    limits: &plan::Limits,
    now: Timestamp,
) -> SecretView {
    let stored = entry.last_seen.as_ref();
    let rotation = stored.map(|stored| Arc::new(stored.record.rotation.clone()));
    let managed = entry.managed.as_deref();
    let kind = managed
        .map(|managed| managed.terms.kind)
        .or_else(|| rotation.as_ref().map(|rotation| rotation.terms.kind));
    let next_runs = managed
        .map(|managed| plan::upcoming(&managed.cadence, name, now, RUNS_SHOWN))
        .unwrap_or_default()
        .into_iter()
        .map(|run| run.starts_at)
        .collect();
    let refused = managed.and_then(|managed| {
        let facts = ledger::facts(name, entry, managed);
        let ask = Ask { lane: Lane::Routine, by_hand: false };
        plan::may_start(&facts, ask, limits, now).err().map(|refusal| refusal.reason)
    });
    let possible_at =
        rotation.as_ref().filter(|r| !r.is_closed()).and_then(|r| opening::possible_at(r));
    SecretView {
        name: name.clone(),
        kind: kind.unwrap_or(Kind::ApiKey),
        tags: managed.map(|managed| managed.tags.clone()).unwrap_or_default(),
        managed: managed.is_some(),
        waiting: waiting(name, entry, rotation.as_deref()),
        rotation,
        history: Arc::new(stored.map(|s| s.record.history.clone()).unwrap_or_default()),
        next_runs,
        refused,
        possible_at,
        failures: entry.failures.iter().cloned().collect(),
    }
}

fn waiting(name: &SecretName, entry: &Entry, rotation: Option<&Rotation>) -> Waiting {
    if entry.managed.is_none() {
        return plain("unmanaged: in Vault, but not in the config");
    }
    match &entry.standing {
        Standing::Absent => absent(name, entry),
        Standing::Unknown { reason, text } => {
            let stuck = Some(*reason).filter(|_| entry.is_stuck());
            Waiting {
                why: format!("{reason}: {text}"),
                until: None,
                needs_human: stuck,
                remedy: stuck.map(|_| "see docs/operating.md for the reason code".to_owned()),
            }
        }
        Standing::Unreadable { text } => Waiting {
            why: text.clone(),
            until: None,
            needs_human: Some(Reason::ReconcileRequired),
            remedy: Some("see docs/operating.md, \"A record that cannot be used\"".to_owned()),
        },
        Standing::Foreign { text } => Waiting {
            why: text.clone(),
            until: None,
            needs_human: Some(Reason::ForeignValue),
            remedy: Some(format!("rotord adopt {name} < VALUE, or remove it and restart rotord")),
        },
        Standing::Known { .. } if entry.busy => plain("under way"),
        Standing::Known { wait, .. } => known(name, wait, rotation),
    }
}

fn absent(name: &SecretName, entry: &Entry) -> Waiting {
    let initial = entry.managed.as_ref().map(|managed| managed.initial);
    if initial == Some(Initial::Generate) {
        return plain("its first rotation");
    }
    Waiting {
        why: "no record yet".to_owned(),
        until: None,
        needs_human: Some(Reason::NotAdopted),
        remedy: Some(format!("rotord adopt {name} < VALUE")),
    }
}

fn known(name: &SecretName, wait: &Wait, rotation: Option<&Rotation>) -> Waiting {
    let why = match &wait.why {
        Why::Closed => "schedule".to_owned(),
        Why::Overlap => "the end of the overlap".to_owned(),
        Why::Propagation => "propagation".to_owned(),
        Why::Retry { reason } => format!("the next try: {reason}"),
        Why::Evidence { targets } => {
            let names: Vec<&str> = targets.iter().map(|target| target.as_str()).collect();
            format!("evidence of {}", names.join(", "))
        }
        Why::Held => "the end of the hold".to_owned(),
        Why::Settling => "the issuer to settle".to_owned(),
        Why::Human => "a person".to_owned(),
    };
    let remedy = wait.needs_human.map(|reason| remedy(name, reason, rotation));
    let until = wait.until.filter(|_| wait.why != Why::Closed);
    Waiting { why, until, needs_human: wait.needs_human, remedy }
}

/// The command that helps, or the first of them.
fn remedy(name: &SecretName, reason: Reason, rotation: Option<&Rotation>) -> String {
    let lost = |rotation: &Rotation| {
        matches!(rotation.phase, Phase::Stage { step: Staging::Lost { .. }, .. })
    };
    match reason {
        Reason::ValueNeeded => format!("rotord provide {name} < VALUE"),
        Reason::HeldWhileExposed => format!("rotord release {name}"),
        Reason::TargetRemoved => {
            let removed = rotation.and_then(|rotation| {
                rotation.targets.iter().find(|(_, t)| t.removed && t.waived_by.is_none())
            });
            let target = removed.map_or("TARGET", |(target, _)| target.as_str());
            format!("rotord resolve {name} waive {target}")
        }
        Reason::PossibleOrphan
            if rotation.is_some_and(|r| r.terms.capabilities.on_lost == OnLost::Manual) =>
        {
            format!("rotord provide {name} < VALUE, or rotord resolve {name} abandon")
        }
        Reason::PossibleOrphan if rotation.is_some_and(lost) => {
            format!(
                "look at the issuer's keys, then: rotord resolve {name} accept-key ID; or end \
                 there what nobody knows, then: rotord resolve {name} retry"
            )
        }
        Reason::IssuerFull => format!(
            "end a key there that nobody needs, then: rotord resolve {name} retry; or give this \
             rotation up: rotord resolve {name} abandon"
        ),
        _ => format!("mend the cause, then: rotord resolve {name} retry"),
    }
}

fn plain(why: &str) -> Waiting {
    Waiting { why: why.to_owned(), until: None, needs_human: None, remedy: None }
}
