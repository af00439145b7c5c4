//! People: what they ask for while things go wrong, and how they answer when they are asked.

use std::sync::Arc;

use rotord::engine::command::{Command, Resolution};
use rotord::engine::snapshot::SecretView;
use rotord::model::capability::OnLost;
use rotord::model::id::{KeyId, SecretName, TargetName, VersionId};
use rotord::model::policy::Hold;
use rotord::model::reason::Reason;
use rotord::model::time::{Clock as _, Span};
use rotord::plan::facts::Initial;
use rotord::rotation::Rotation;
use rotord::rotation::phase::Phase;

use crate::sim::checkers::{self, orphan};
use crate::sim::issuer::{Manner, by_hand, end_by_hand, material};
use crate::sim::process::Process;
use crate::sim::setups::Setup;
use crate::sim::target;
use crate::sim::world::{World, state_of};

/// What a person asks for next, without having been asked.
pub(super) fn whim(world: &World, setup: &Setup) -> Command {
    let name = setup.name.clone();
    let reason = "sim".to_owned();
    match world.chance.below(12) {
        0..=2 => Command::Rotate { name, emergency: false, reason },
        3..=4 => Command::Rotate { name, emergency: true, reason },
        5 => {
            let at = world.clock.now();
            let until = at + Span::from_secs(60 + world.chance.below(1_800));
            let by = "sim".to_owned();
            let routine_only = world.chance.permille(500);
            Command::Hold { name, hold: Hold { by, reason, at, until, routine_only } }
        }
        6 => Command::Release { name },
        7 => Command::Resolve { name, how: Resolution::Abandon },
        8 => Command::Resolve { name, how: Resolution::Supersede },
        9 => {
            let target = setup.targets.keys().next().unwrap().clone();
            Command::Resolve { name, how: Resolution::Waive(target) }
        }
        // Where keys are looked after by hand, `retry` is a person's word that it was done.
        _ if setup.terms.capabilities.on_lost == OnLost::Manual => Command::Release { name },
        _ => Command::Resolve { name, how: Resolution::Retry },
    }
}

/// The answer to what status asks for: the very command that it shows, after having done what it
/// says has to be done first. None if nothing is asked.
pub(super) fn answer(world: &World, setup: &Setup, view: &SecretView) -> Option<Command> {
    checkers::deleted::shown(world, &setup.name, view);
    let reason = view.waiting.needs_human?;
    world.reached(format!("needs_human {reason}"));
    let name = &setup.name;
    if reason == Reason::ReconcileRequired && world.kv.peek(&state_of(name)).is_some() {
        // Whoever deleted it has brought it back.
        return Some(Command::Resolve { name: name.clone(), how: Resolution::Retry });
    }
    let rotation = view.rotation.as_deref();
    let remedy = view.waiting.remedy.as_deref().unwrap_or("nothing");
    let commands: Vec<&str> = remedy.split("rotord ").skip(1).collect();
    if commands.is_empty() {
        // A page to read: Vault or the disk is away, and no command brings it back.
        return None;
    }
    let command = world.chance.pick(&commands);
    let mut words = command.split([' ', ';']);
    let (verb, of) = (words.next()?, words.next()?);
    if of != name.as_str() {
        world.violate("P11 live", &format!("{name}: the remedy is for {of}: {remedy}"));
    }
    let name = name.clone();
    match (verb, words.next(), words.next()) {
        ("adopt" | "provide", ..) => Some(value(world, setup, rotation)),
        ("release", ..) => Some(Command::Release { name }),
        ("resolve", Some("waive"), Some(target)) => {
            let how = Resolution::Waive(TargetName::new(target).unwrap());
            Some(Command::Resolve { name, how })
        }
        ("resolve", Some("accept-key" | "retry"), _)
            if matches!(reason, Reason::PossibleOrphan | Reason::UnknownKey) =>
        {
            Some(look_at_keys(world, setup))
        }
        ("resolve", Some("retry"), _)
            if reason == Reason::RevokeByHand && is_held(world, &name) =>
        {
            Some(Command::Release { name })
        }
        ("resolve", Some("retry"), _) => {
            mend(world, setup, rotation, reason);
            Some(Command::Resolve { name, how: Resolution::Retry })
        }
        ("resolve", Some("abandon"), _) => {
            Some(Command::Resolve { name, how: Resolution::Abandon })
        }
        _ => {
            world.violate("P11 live", &format!("{name}: no command resolves it: {remedy}"));
            None
        }
    }
}

fn is_held(world: &World, name: &SecretName) -> bool {
    world.record(name).is_some_and(|record| world.is_held(&record))
}

/// A value that a person has: minted by hand, or in use since before.
fn value(world: &World, setup: &Setup, rotation: Option<&Rotation>) -> Command {
    let name = setup.name.clone();
    let version = match rotation.map(|rotation| &rotation.phase) {
        Some(Phase::Stage { version, .. }) => *version,
        _ => VersionId(1),
    };
    let capabilities = &setup.terms.capabilities;
    let (key, value) = match capabilities.remote {
        true => {
            // Whoever did not hear that their key was taken gives the same one again.
            let given = given_in_vain(world, &name);
            let (key, value) =
                given.unwrap_or_else(|| by_hand(world, &name, capabilities, version));
            (Some(key), value)
        }
        false => {
            let value = world.chance.value();
            world.state().values.push(value.clone());
            (None, value)
        }
    };
    let material = material(value);
    match rotation {
        None => Command::Adopt { name, material, key },
        Some(_) => Command::Provide { name, material, key },
    }
}

fn given_in_vain(world: &World, name: &SecretName) -> Option<(KeyId, Vec<u8>)> {
    let unnamed = match world.record(name) {
        Some(record) => orphan::unnamed(world, name, &record),
        None => world.state().secrets[name].keys.keys().cloned().map(KeyId).collect(),
    };
    let key = unnamed.into_iter().next()?;
    let value = world.state().secrets[name].keys[&key.0].value.clone();
    Some((key, value))
}

/// People end the keys that they made and that were never taken.
pub(super) fn tidy(world: &World, setup: &Setup) {
    let by_hand = setup.manner == Manner::ByHand || setup.initial == Initial::Adopt;
    if let Some(record) = world.record(&setup.name).filter(|_| by_hand) {
        for key in orphan::unnamed(world, &setup.name, &record) {
            let marked = world.state().secrets[&setup.name].keys[&key.0].mark.is_some();
            if !marked {
                end_by_hand(world, &setup.name, &key);
            }
        }
    }
}

/// A mint was lost, and only a person can tell which key is whose: one is said to be known, or
/// they are ended by hand.
fn look_at_keys(world: &World, setup: &Setup) -> Command {
    let name = setup.name.clone();
    let record = world.record(&name).unwrap();
    let mut unknown = orphan::unnamed(world, &name, &record);
    // Where there is room for few keys, nobody leaves one that is of no use.
    let room = setup.terms.capabilities.capacity.is_none();
    if room && world.chance.permille(500) && !unknown.is_empty() {
        let how = Resolution::AcceptKey(unknown.remove(0));
        return Command::Resolve { name, how };
    }
    for key in unknown {
        end_by_hand(world, &name, &key);
    }
    Command::Resolve { name, how: Resolution::Retry }
}

/// Does at the issuer what the reason asks a person to do.
fn mend(world: &World, setup: &Setup, rotation: Option<&Rotation>, reason: Reason) {
    let name = &setup.name;
    match (reason, rotation) {
        (Reason::RevokeByHand, Some(rotation)) => {
            let leaving = rotation.leaving.iter().filter(|(_, leaving)| !leaving.revoked);
            for (version, _) in leaving {
                if let Some(key) = &rotation.versions[version].key_id {
                    end_by_hand(world, name, key);
                }
            }
        }
        (Reason::IssuerFull, Some(_)) => {
            let record = world.record(name).unwrap();
            for key in orphan::unnamed(world, name, &record) {
                end_by_hand(world, name, &key);
            }
        }
        _ => {}
    }
}

/// Sends a command and notes the answer.
pub(super) async fn ask(world: &Arc<World>, process: &Process, command: Command) {
    world.note(&format!("asks: {}", describe(&command)));
    if let Command::Rotate { name, emergency: true, .. } = &command {
        let _ = world.record(name);
        world.state().exposures.entry(name.clone()).or_default();
    }
    let waives = match &command {
        Command::Resolve { name, how: Resolution::Waive(target) } => {
            Some((name.clone(), target.clone()))
        }
        _ => None,
    };
    let held = match &command {
        Command::Hold { name, hold } => Some((name.clone(), hold.clone())),
        Command::Release { name } => {
            // Whether or not the answer comes, it may be in force no more.
            world.state().held.remove(name);
            None
        }
        _ => None,
    };
    let answer = process.ask(command).await;
    if let (Some((name, target)), Some(Ok(_))) = (waives, &answer) {
        target::give_up(world, &name, &target);
    }
    if let Some((name, hold)) = held.filter(|_| matches!(answer, Some(Ok(_)))) {
        let mut state = world.state();
        state.held.insert(name, hold);
    }
    if let Some(Err(refusal)) = &answer {
        world.reached(format!("refused {}", refusal.reason));
    }
    let answer = answer.map(|a| a.map(|d| d.text).map_err(|r| r.text));
    world.note(&format!("answer: {answer:?}"));
}

fn describe(command: &Command) -> String {
    match command {
        Command::Adopt { name, key, .. } => format!("adopt {name} {key:?}"),
        Command::Provide { name, key, .. } => format!("provide {name} {key:?}"),
        other => format!("{other:?}"),
    }
}

/// Whether people have to take over the first value.
pub(super) fn is_to_adopt(setup: &Setup, view: &SecretView) -> bool {
    setup.initial == Initial::Adopt && view.waiting.needs_human == Some(Reason::NotAdopted)
}

/// Whether people make the keys of this secret.
pub(super) fn is_by_hand(setup: &Setup) -> bool {
    setup.manner == Manner::ByHand
}
