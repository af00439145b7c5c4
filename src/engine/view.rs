//! From the ledger to what readers see.

use std::iter;
use std::sync::Arc;

use crate::engine::ledger::Entry;
use crate::engine::managed::Managed;
use crate::engine::snapshot::{Planning, SecretView, Waiting};
use crate::engine::walk::Standing;
use crate::model::capability::OnLost;
use crate::model::id::{SecretName, TargetName};
use crate::model::policy::Kind;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::plan;
use crate::plan::facts::Initial;
use crate::rotation::decide::{Wait, Why};
use crate::rotation::phase::{Phase, Staging};
use crate::rotation::{Rotation, carried, evidence};

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
    let mut view = SecretView {
        name: name.clone(),
        kind: kind.unwrap_or(Kind::ApiKey),
        tags: managed.map(|managed| managed.tags.clone()).unwrap_or_default(),
        managed: managed.is_some(),
        unread: entry.unread,
        incarnation: stored.map(|stored| Arc::from(stored.record.incarnation.as_str())),
        waiting: waiting(name, entry, rotation.as_deref(), now),
        rotation,
        history: Arc::new(stored.map(|s| s.record.history.clone()).unwrap_or_default()),
        planning: managed.map(|managed| planning(entry, managed)),
        failures: entry.failures.iter().cloned().collect(),
    };
    let next_run = view.next_run(limits, now);
    if let Some(planning) = &mut view.planning {
        planning.next_run = next_run;
    }
    view
}

fn planning(entry: &Entry, managed: &Managed) -> Planning {
    Planning {
        cadence: Arc::clone(&managed.cadence),
        cadence_since: entry.cadence_since,
        initial: managed.initial,
        priority: managed.priority,
        after: managed.after.clone(),
        last_scheduled: entry.last_seen.as_ref().map(|stored| stored.record.last_scheduled),
        in_the_way: match &entry.standing {
            Standing::Absent | Standing::Known { .. } => None,
            Standing::Unknown { reason, .. } => Some(*reason),
            Standing::Unreadable { .. } => Some(Reason::ReconcileRequired),
            Standing::Foreign { .. } => Some(Reason::ForeignValue),
        },
        next_run: None,
    }
}

fn waiting(
    name: &SecretName,
    entry: &Entry,
    rotation: Option<&Rotation>,
    now: Timestamp,
) -> Waiting {
    if entry.managed.is_none() {
        return plain("unmanaged: in Vault, but not in the config");
    }
    match &entry.standing {
        Standing::Absent => absent(name, entry),
        Standing::Unknown { reason, text } => {
            let stuck = Some(*reason).filter(|_| entry.is_stuck());
            Waiting {
                // A driver's text begins with the code, Vault's does not.
                why: match text.strip_prefix(reason.code()) {
                    Some(_) => text.clone(),
                    None => format!("{reason}: {text}"),
                },
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
            remedy: Some(format!(
                "rotord adopt {name} < VALUE, or remove it: it is looked at again within minutes"
            )),
        },
        Standing::Known { .. } if entry.is_busy() => plain("under way"),
        Standing::Known { wait, .. } => known(name, wait, rotation, now),
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

fn known(name: &SecretName, wait: &Wait, rotation: Option<&Rotation>, now: Timestamp) -> Waiting {
    let why = match &wait.why {
        Why::Closed => "schedule".to_owned(),
        Why::Overlap => "the end of the overlap".to_owned(),
        Why::Propagation => "propagation".to_owned(),
        // The gate says so to destructive effects, and nobody else to anything.
        Why::Retry { reason: Reason::NoLease } => {
            "the last effects of the leader before: until they are over nothing is taken away"
                .to_owned()
        }
        Why::Retry { reason } => format!("the next try: {reason}"),
        Why::Evidence { targets } => format!("evidence of {}", lagging(targets, rotation)),
        Why::Held => "the end of the hold".to_owned(),
        Why::Settling => "the issuer to settle".to_owned(),
        Why::Human => "a person".to_owned(),
    };
    let remedy = wait.needs_human.map(|reason| remedy(name, reason, rotation));
    let until = rotation.map_or(wait.until, |rotation| until(rotation, wait, now));
    Waiting { why, until, needs_human: wait.needs_human, remedy }
}

/// The targets, each with what it met last, if anything.
fn lagging(targets: &[TargetName], rotation: Option<&Rotation>) -> String {
    let met = |name: &TargetName| {
        let target = rotation?.targets.get(name)?;
        let reason = target.trouble.last.map(|failure| failure.reason);
        reason.or_else(|| target.removed.then_some(Reason::TargetRemoved))
    };
    let words = targets.iter().map(|name| match met(name) {
        Some(reason) => format!("{name} ({reason})"),
        None => name.to_string(),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The end of what is waited for. The machine's own moment is the next one at which anything may
/// be different, which is not the same.
fn until(rotation: &Rotation, wait: &Wait, now: Timestamp) -> Option<Timestamp> {
    let outgoing = || rotation.outgoing.iter().filter_map(|outgoing| outgoing.earliest);
    let settled = || rotation.bound_targets().filter_map(|(_, t)| evidence::settles_at(t));
    match &wait.why {
        Why::Closed | Why::Human => None,
        Why::Overlap => outgoing().filter(|at| *at > now).min(),
        Why::Held => rotation.hold.as_ref().map(|hold| hold.until),
        Why::Propagation => settled().max().filter(|at| *at > now),
        Why::Evidence { targets } => {
            let asked = targets.iter().filter_map(|name| rotation.targets.get(name));
            asked.filter_map(|target| target.trouble.not_before).filter(|at| *at > now).min()
        }
        Why::Settling | Why::Retry { reason: Reason::NoLease } => wait.until,
        Why::Retry { .. } => {
            let leaving = rotation.leaving.values().map(|leaving| &leaving.trouble);
            let tries = iter::once(&rotation.trouble).chain(leaving);
            tries.filter_map(|trouble| trouble.not_before).filter(|at| *at > now).min()
        }
    }
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
        Reason::ChannelLeaked => channel_leaked(name, rotation),
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
        Reason::UnknownKey => format!(
            "is the key in use? rotord resolve {name} accept-key ID; or end it at the issuer, \
             then: rotord resolve {name} retry"
        ),
        Reason::IssuerFull => format!(
            "end a key there that nobody needs, then: rotord resolve {name} retry; or give this \
             rotation up: rotord resolve {name} abandon"
        ),
        _ => format!("mend the cause, then: rotord resolve {name} retry"),
    }
}

/// The new key must not go over the channel that leaked, so a person brings it to the service; or
/// it is another secret's push that waits, and the channel's own secret says what is in its way.
fn channel_leaked(name: &SecretName, rotation: Option<&Rotation>) -> String {
    match rotation.and_then(|r| Some((carried::needs_hand(r)?, r.newest()?))) {
        Some((target, version)) => format!(
            "give {version} to the service yourself (its value is in Vault, in material/{name}/{} \
             of rotord's own mount), then: rotord resolve {name} waive {target}",
            version.0
        ),
        None => format!(
            "see to it that the key of the channel is replaced, then: rotord resolve {name} retry"
        ),
    }
}

fn plain(why: &str) -> Waiting {
    Waiting { why: why.to_owned(), until: None, needs_human: None, remedy: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capability::Capabilities;
    use crate::model::failure::{Class, Failure};
    use crate::model::id::{RotationId, VersionId};
    use crate::model::policy::{Hold, Lane, Policy};
    use crate::model::target::{Level, Role, TargetTerms};
    use crate::model::time::Span;
    use crate::rotation::open::Opening;
    use crate::rotation::{Outgoing, Terms, Trigger};

    const NOW: Timestamp = Timestamp(1_795_348_800_000);

    fn hours(n: u64) -> Span {
        Span::from_secs(3600 * n)
    }

    /// In its overlap for four hours more, held for six, and looked at again in one.
    fn rotation() -> (SecretName, Rotation) {
        let terms = TargetTerms {
            role: Role::Both,
            propagation: hours(1),
            needs: Level::Acknowledged,
            unattested: false,
            keeps_history: false,
            observe_every: Some(hours(1)),
            place: None,
            recovery: None,
        };
        let (kind, capabilities) = (Kind::WebhookHmac, Capabilities::local());
        let mut rotation = Rotation::first(Opening {
            id: RotationId("r".into()),
            trigger: Trigger::MaxAge,
            lane: Lane::Routine,
            at: NOW,
            terms: Terms { kind, capabilities, policy: Policy::default() },
            targets: [("api".parse().unwrap(), terms)].into(),
        });
        let current = VersionId(2);
        rotation.phase = Phase::Overlap { current, switched_at: NOW - hours(20) };
        let earliest = Some(NOW + hours(4));
        rotation.outgoing = vec![Outgoing { version: VersionId(1), earliest, latest: None }];
        rotation.hold = Some(Hold {
            by: "alice".into(),
            reason: "migration".into(),
            at: NOW,
            until: NOW + hours(6),
            routine_only: false,
        });
        ("billing".parse().unwrap(), rotation)
    }

    fn said(rotation: &Rotation, name: &SecretName, why: Why) -> (String, Option<Timestamp>) {
        let wait = Wait { until: Some(NOW + hours(1)), why, needs_human: None };
        let waiting = known(name, &wait, Some(rotation), NOW);
        (waiting.why, waiting.until)
    }

    #[test]
    fn the_end_of_what_is_waited_for_is_not_the_next_look() {
        let (name, mut rotation) = rotation();
        let said = |rotation: &Rotation, why| said(rotation, &name, why);
        let overlap = ("the end of the overlap".to_owned(), Some(NOW + hours(4)));
        assert_eq!(said(&rotation, Why::Overlap), overlap);
        let held = ("the end of the hold".to_owned(), Some(NOW + hours(6)));
        assert_eq!(said(&rotation, Why::Held), held);
        assert_eq!(said(&rotation, Why::Closed).1, None);
        let api: TargetName = "api".parse().unwrap();
        let targets = vec![api.clone()];
        let behind = ("evidence of api".to_owned(), None);
        assert_eq!(said(&rotation, Why::Evidence { targets: targets.clone() }), behind);
        let failure = Failure { class: Class::Transient, reason: Reason::Unreachable };
        let target = rotation.targets.get_mut(&api).unwrap();
        target.trouble = target.trouble.met(failure, Lane::Routine, NOW);
        let (why, until) = said(&rotation, Why::Evidence { targets });
        assert_eq!(why, "evidence of api (unreachable)");
        assert_eq!(until, rotation.targets[&api].trouble.not_before);
    }

    #[test]
    fn the_wait_after_a_change_of_leader_is_called_by_its_name() {
        let (name, rotation) = rotation();
        let (why, until) = said(&rotation, &name, Why::Retry { reason: Reason::NoLease });
        assert!(why.starts_with("the last effects of the leader before"), "{why}");
        assert_eq!(until, Some(NOW + hours(1)));
    }

    #[test]
    fn who_is_asked_about_a_key_is_shown_both_ways_out() {
        let (name, rotation) = rotation();
        let shown = remedy(&name, Reason::UnknownKey, Some(&rotation));
        for command in ["rotord resolve billing accept-key ID", "rotord resolve billing retry"] {
            assert!(shown.contains(command), "{shown}");
        }
    }

    #[test]
    fn an_open_rotation_is_over_when_its_overlap_and_its_hold_are() {
        use crate::engine::opening::possible_from;

        let (_, mut rotation) = rotation();
        assert_eq!(possible_from(&rotation, NOW), Some(NOW + hours(6)));
        rotation.hold = None;
        assert_eq!(possible_from(&rotation, NOW), Some(NOW + hours(4)));
        // Before the Switch no date is set, but what is still to come takes its time.
        rotation.outgoing[0].earliest = None;
        rotation.phase = Phase::Switch { current: VersionId(2) };
        let overlap = rotation.terms.policy.overlap;
        assert_eq!(possible_from(&rotation, NOW), Some(NOW + overlap + hours(1)));
        rotation.phase = Phase::Admit { incoming: VersionId(2) };
        assert_eq!(possible_from(&rotation, NOW), Some(NOW + overlap + hours(2)));
    }
}
