//! Commands carried out on one secret: what each changes in the record, and why it is refused.
//!
//! A command is answered when its change is durable, and not before.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::engine::command::{Actor, Command, Done, Envelope, Refusal, RefusalKind, Resolution};
use crate::engine::expose::{self, Exposure};
use crate::engine::gate::Shut;
use crate::engine::managed::Managed;
use crate::engine::opening;
use crate::engine::reach::{Caller, Failed};
use crate::engine::walk::{Broken, Walk};
use crate::engine::world::World;
use crate::model::failure::Failure;
use crate::model::id::{Generation, KeyId, SecretName, VersionId};
use crate::model::material::Material;
use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::plan::Start;
use crate::rotation::event::{Event, Happening};
use crate::rotation::open::{Adopted, CannotOpen};
use crate::rotation::phase::{Phase, Staging};
use crate::rotation::{Rotation, Trigger};
use crate::store::record::Record;
use crate::store::{Placed, Revision, Saved, Stored};

/// What a command made of the record.
type Changed = (Stored, Done);

/// Who asks for what, and when.
struct Asked<'a> {
    actor: &'a Actor,
    /// For the audit line.
    what: String,
    now: Timestamp,
}

impl Asked<'_> {
    /// Writes the audit line. Nothing that the command asks for is done before.
    async fn put_down(&self, walk: &Walk, record: &Record) -> Result<(), Shut> {
        walk.world.gate.command(record, &self.actor.0, &self.what).await
    }
}

/// Carries out a command, makes it durable and answers it. Answers the record as it then stands.
pub(super) async fn carry_out(
    walk: &mut Walk,
    loaded: Option<Stored>,
    envelope: Envelope,
) -> Result<Option<Stored>, Broken> {
    let Envelope { actor, command, reply } = envelope;
    let asked = Asked { actor: &actor, what: describe(&command), now: walk.world.clock.now() };
    // What brings a value writes its line before the value, the others before their change.
    let has_line = matches!(command, Command::Adopt { .. } | Command::Provide { .. });
    let (mut stored, done) = match change(walk, loaded.clone(), &asked, command).await {
        Ok(changed) => changed,
        Err(refusal) => {
            walk.undone();
            let _ = reply.send(Err(refusal));
            return Ok(loaded);
        }
    };
    let settled = async {
        if !has_line {
            asked.put_down(walk, &stored.record).await?;
        }
        walk.save(&mut stored).await
    };
    if let Err(broken) = settled.await {
        let _ = reply.send(Err(unavailable(&broken)));
        return Err(broken);
    }
    let _ = reply.send(Ok(done));
    Ok(Some(stored))
}

/// Answers a command that could not even be looked at.
pub(super) fn turn_away(envelope: Envelope, broken: &Broken) {
    let _ = envelope.reply.send(Err(unavailable(broken)));
}

/// Opens the rotation that the planner asked for.
pub(super) fn open_planned(
    world: &World,
    managed: &Managed,
    loaded: Option<Stored>,
    start: Start,
) -> Result<Stored, Refusal> {
    let now = world.clock.now();
    let (trigger, scheduled) = opening::planned_trigger(&start);
    let opening = opening::opening(managed, start.id, trigger, start.lane, now);
    let mut stored = match loaded {
        None => opening::first(world, managed, opening),
        Some(stored) => opening::next(stored, opening).map_err(|e| cannot_open(&e, None))?,
    };
    if let Some(instant) = scheduled {
        stored.record.last_scheduled = instant;
    }
    Ok(stored)
}

async fn change(
    walk: &mut Walk,
    loaded: Option<Stored>,
    asked: &Asked<'_>,
    command: Command,
) -> Result<Changed, Refusal> {
    let Asked { actor, now, .. } = *asked;
    let mut stored = match (&command, loaded) {
        (Command::Adopt { .. }, None) => return adopt(walk, command, asked).await,
        (Command::Adopt { name, .. }, Some(_)) => {
            let text = format!("{name} has a record already: rotate it, or provide a value");
            return Err(refuse(RefusalKind::Conflict, Reason::RotationOpen, text));
        }
        (_, None) => return Err(not_adopted(&walk.managed)),
        (_, Some(stored)) => stored,
    };
    let done = match command {
        Command::Rotate { emergency: false, reason, .. } => {
            let trigger = Trigger::Manual { by: actor.0.clone(), reason };
            open(walk, &mut stored, trigger, Lane::Routine, now)?
        }
        Command::Rotate { emergency: true, reason, .. } => {
            let exposure = Exposure { by: actor.0.clone(), reason };
            expose::current(walk, &mut stored, exposure, now)?
        }
        Command::Expose { version, incarnation, by, reason, .. } => {
            expose::same_record(&stored.record, incarnation.as_deref())?;
            let exposure = Exposure { by, reason };
            expose::expose(walk, &mut stored, version, exposure, now)?
        }
        Command::Hold { hold, .. } => {
            let until = hold.until;
            happen(walk, &mut stored, Happening::Held { hold }, now)?;
            done(&stored, format!("held until {until}"))
        }
        Command::Release { .. } => {
            let held = stored.record.rotation.hold.as_ref().is_some_and(|hold| now < hold.until);
            happen(walk, &mut stored, Happening::Released, now)?;
            let text = if held { "the hold is released" } else { "there was no hold" };
            done(&stored, text.to_owned())
        }
        Command::Provide { material, key, .. } => {
            provide(walk, &mut stored, material, key, asked).await?
        }
        Command::Resolve { how, .. } => resolve(walk, &mut stored, how, asked)?,
        Command::Adopt { .. } => unreachable!("answered above"),
    };
    Ok((stored, done))
}

pub(super) fn open(
    walk: &mut Walk,
    stored: &mut Stored,
    trigger: Trigger,
    lane: Lane,
    now: Timestamp,
) -> Result<Done, Refusal> {
    let kind = trigger.name();
    let id = opening::rotation_id(now, kind);
    let opening = opening::opening(&walk.managed, id, trigger, lane, now);
    let possible_at = opening::possible_from(&stored.record.rotation, now);
    let next = opening::next(stored.clone(), opening);
    *stored = next.map_err(|error| cannot_open(&error, possible_at))?;
    walk.opened(&stored.record.rotation);
    let version = opening::staging_version(&stored.record.rotation);
    Ok(done(stored, format!("rotation {} is open, bringing in {version}", rotation_id(stored))))
}

async fn provide(
    walk: &mut Walk,
    stored: &mut Stored,
    material: Material,
    key: Option<KeyId>,
    asked: &Asked<'_>,
) -> Result<Done, Refusal> {
    let now = asked.now;
    let mut version = asked_for(&stored.record.rotation)?;
    let fingerprint = walk.world.fingerprints.of(&material);
    check(walk, &stored.record, &material)?;
    let rotation = stored.record.rotation.id.clone();
    let saved = Arc::new(Saved { rotation, key: key.clone(), material });
    asked.put_down(walk, &stored.record).await.map_err(|shut| closed(&shut))?;
    // Under the number lies what was provided before and never came into the record.
    while !put(walk, version, &saved).await? {
        happen(walk, stored, Happening::NumberTaken { version }, now)?;
        version = asked_for(&stored.record.rotation)?;
    }
    walk.materials.put(version, saved);
    happen(walk, stored, Happening::Staged { version, key, fingerprint }, now)?;
    Ok(done(stored, format!("{version} is provided")))
}

/// The version whose value a person may give.
fn asked_for(rotation: &Rotation) -> Result<VersionId, Refusal> {
    match &rotation.phase {
        Phase::Stage { version, step: Staging::Mint { .. } | Staging::Lost { .. } } => Ok(*version),
        phase => {
            let text = format!("no value is asked for: the rotation is at {}", phase.name());
            Err(refuse(RefusalKind::Conflict, Reason::Refused, text))
        }
    }
}

async fn adopt(walk: &mut Walk, command: Command, asked: &Asked<'_>) -> Result<Changed, Refusal> {
    let Asked { actor, now, .. } = *asked;
    let Command::Adopt { material, key, .. } = command else {
        unreachable!("called for adopt only");
    };
    let weak = |error: crate::model::material::WeakMaterial| {
        refuse(RefusalKind::Invalid, Reason::WeakValue, error.to_string())
    };
    material.check().map_err(weak)?;
    let fingerprint = walk.world.fingerprints.of(&material);
    let trigger = Trigger::Adopted { by: actor.0.clone() };
    let id = opening::rotation_id(now, trigger.name());
    let saved = Arc::new(Saved { rotation: id.clone(), key: key.clone(), material });
    let opening = opening::opening(&walk.managed, id, trigger, Lane::Routine, now);
    let begun = |version| {
        let adopted = Adopted { version, key: key.clone(), fingerprint };
        Rotation::adopt(opening.clone(), adopted)
    };
    let mut version = VersionId(1);
    let mut record = opening::record(&walk.world, &walk.managed, begun(version), now);
    asked.put_down(walk, &record).await.map_err(|shut| closed(&shut))?;
    // Under the number lies what was to be adopted before and never came into a record.
    while !put(walk, version, &saved).await? {
        version = version.next();
        record.rotation = begun(version);
    }
    walk.materials.put(version, saved);
    walk.touch();
    let stored = Stored { record, revision: Revision::default() };
    let text = format!("adopted as {version}; targets are being brought to it");
    let done = done(&stored, text);
    Ok((stored, done))
}

fn resolve(
    walk: &mut Walk,
    stored: &mut Stored,
    how: Resolution,
    asked: &Asked<'_>,
) -> Result<Done, Refusal> {
    let Asked { actor, now, .. } = *asked;
    let by = actor.0.clone();
    let beyond = |stored: &Stored| out_of_reach(&stored.record.name, &stored.record.rotation);
    let text = match how {
        Resolution::Retry => {
            happen(walk, stored, Happening::Retried, now)?;
            format!("trying again now{}", beyond(stored))
        }
        Resolution::Abandon => {
            if !stored.record.rotation.may_unwind() {
                let phase = stored.record.rotation.phase.name();
                let text = format!(
                    "the point of no return has passed (phase {phase}): use `resolve supersede`"
                );
                return Err(refuse(RefusalKind::Conflict, Reason::Refused, text));
            }
            happen(walk, stored, Happening::Abandoned, now)?;
            "the new version is being taken back".to_owned()
        }
        Resolution::Supersede => {
            let Done { rotation, text } =
                open(walk, stored, Trigger::Repair { by }, Lane::Routine, now)?;
            return Ok(Done { rotation, text: format!("{text}{}", beyond(stored)) });
        }
        Resolution::Waive(target) => {
            if !stored.record.rotation.targets.contains_key(&target) {
                let text = format!("this rotation has no target {target}");
                return Err(refuse(RefusalKind::NotFound, Reason::Refused, text));
            }
            let text = format!("target {target} is waived for this rotation");
            happen(walk, stored, Happening::Waived { target, by }, now)?;
            text
        }
        Resolution::AcceptKey(key) => {
            let text = format!("key {key} is known and left alone");
            happen(walk, stored, Happening::KeyAccepted { key }, now)?;
            text
        }
    };
    Ok(done(stored, text))
}

/// The targets that no trying again helps: what they have is further ahead than the record's
/// counter may be raised to.
fn out_of_reach(secret: &SecretName, rotation: &Rotation) -> String {
    let left = rotation.targets.iter().filter(|(_, target)| !target.removed);
    let said = left.filter_map(|(name, target)| {
        let Generation(has) = target.ahead?;
        Some(format!(
            "; but target {name} has generation {has}, which is no count of this secret's pushes \
             (the record is at {}): nothing is written there before it is set to a lower one, \
             or `rotord resolve {secret} waive {name}`",
            rotation.generation.0
        ))
    });
    said.collect()
}

pub(super) fn happen(
    walk: &mut Walk,
    stored: &mut Stored,
    what: Happening,
    at: Timestamp,
) -> Result<(), Refusal> {
    walk.take(stored, Event { at, what }).map_err(|broken| unavailable(&broken))
}

/// Saves a value under a number, unless another one lies there: false, and it stays. A person
/// gave it and would have to give it again, so it makes way for nothing.
async fn put(walk: &Walk, version: VersionId, saved: &Saved) -> Result<bool, Refusal> {
    let hurry = CancellationToken::new();
    let caller = Caller { lane: Lane::Emergency, hurry: &hurry, order: None };
    let put = walk.world.store.put_material(&walk.managed.name, version, saved);
    match walk.world.keep(caller, put).await {
        Ok(Placed::Written) => Ok(true),
        Ok(Placed::OursAlready | Placed::Taken) => Ok(false),
        Err(Failed { failure, text, .. }) => {
            Err(refuse(RefusalKind::Unavailable, failure.reason, text))
        }
    }
}

fn check(walk: &Walk, record: &Record, material: &Material) -> Result<(), Refusal> {
    material
        .check()
        .map_err(|weak| refuse(RefusalKind::Invalid, Reason::WeakValue, weak.to_string()))?;
    if walk.world.recogniser.is_repeated(record, material) {
        let text = "the value is that of another version of this secret".to_owned();
        return Err(refuse(RefusalKind::Invalid, Reason::RepeatedValue, text));
    }
    Ok(())
}

fn rotation_id(stored: &Stored) -> &crate::model::id::RotationId {
    &stored.record.rotation.id
}

fn done(stored: &Stored, text: String) -> Done {
    Done { rotation: Some(stored.record.rotation.id.clone()), text }
}

pub(super) fn refuse(kind: RefusalKind, reason: Reason, text: String) -> Refusal {
    Refusal { kind, reason, possible_at: None, text }
}

fn not_adopted(managed: &Managed) -> Refusal {
    let name = &managed.name;
    let text = format!(
        "{name} has no record yet: `rotord adopt {name}` takes over the value in use, or set \
         initial = \"generate\""
    );
    refuse(RefusalKind::Conflict, Reason::NotAdopted, text)
}

fn cannot_open(error: &CannotOpen, possible_at: Option<Timestamp>) -> Refusal {
    let reason = match error {
        CannotOpen::Open(_) | CannotOpen::NotPromoted(_) => Reason::RotationOpen,
        CannotOpen::TooManyVersions => Reason::TooManyVersions,
    };
    Refusal { kind: RefusalKind::Conflict, reason, possible_at, text: error.to_string() }
}

fn closed(shut: &Shut) -> Refusal {
    let Failure { reason, .. } = shut.failure();
    refuse(RefusalKind::Unavailable, reason, shut.to_string())
}

fn unavailable(broken: &Broken) -> Refusal {
    match broken {
        Broken::Shut(shut) => closed(shut),
        Broken::Defect(text) => refuse(RefusalKind::Conflict, Reason::Defect, text.clone()),
    }
}

/// The command for the audit line: its name and what it names, never a value.
fn describe(command: &Command) -> String {
    match command {
        Command::Rotate { emergency, reason, .. } => {
            let lane = if *emergency { "emergency" } else { "routine" };
            format!("rotate ({lane}): {reason}")
        }
        Command::Expose { version, by, reason, .. } => {
            format!("expose {version}, says {by}: {reason}")
        }
        Command::Hold { hold, .. } => format!("hold until {}: {}", hold.until, hold.reason),
        Command::Release { .. } => "release".to_owned(),
        Command::Adopt { .. } => "adopt".to_owned(),
        Command::Provide { .. } => "provide".to_owned(),
        Command::Resolve { how, .. } => match how {
            Resolution::Retry => "resolve retry".to_owned(),
            Resolution::Abandon => "resolve abandon".to_owned(),
            Resolution::Supersede => "resolve supersede".to_owned(),
            Resolution::Waive(target) => format!("resolve waive {target}"),
            Resolution::AcceptKey(key) => format!("resolve accept-key {key}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capability::Capabilities;
    use crate::model::id::RotationId;
    use crate::model::policy::{Kind, Policy};
    use crate::model::target::{Level, Role, TargetTerms};
    use crate::model::time::Span;
    use crate::rotation::Terms;
    use crate::rotation::apply::apply;
    use crate::rotation::open::Opening;

    #[test]
    fn who_tries_again_is_told_what_no_trying_helps() {
        let terms = TargetTerms {
            role: Role::Both,
            propagation: Span::ZERO,
            needs: Level::Acknowledged,
            unattested: false,
            keeps_history: false,
            observe_every: None,
            place: None,
            recovery: None,
        };
        let (kind, capabilities) = (Kind::WebhookHmac, Capabilities::local());
        let rotation = Rotation::first(Opening {
            id: RotationId("r".into()),
            trigger: Trigger::MaxAge,
            lane: Lane::Routine,
            at: Timestamp::default(),
            terms: Terms { kind, capabilities, policy: Policy::default() },
            targets: [("api".parse().unwrap(), terms)].into(),
        });
        let retried = |ahead: u64| {
            let mut rotation = rotation.clone();
            let target = rotation.targets.values_mut().next().unwrap();
            target.ahead = Some(Generation(ahead));
            let event = Event { at: Timestamp::default(), what: Happening::Retried };
            out_of_reach(&"billing".parse().unwrap(), &apply(rotation, event).unwrap())
        };
        assert_eq!(retried(1_000_000), "", "that is stepped over");
        let said = retried(5_000_000);
        assert!(said.contains("target api has generation 5000000"), "{said}");
    }
}
