//! Scanners: they come across values where nobody should have put them, and report each until
//! somebody has taken the report in.
//!
//! A leak comes at a boundary, like a fault. What is reported is the value; which version of which
//! secret it is, is for rotord to find out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use rotord::engine::command::{Command, RefusalKind};
use rotord::engine::recognition::Hit;
use rotord::model::clue::Clue;
use rotord::model::id::{SecretName, VersionId};
use rotord::model::material::SecretBytes;
use rotord::model::version::Stage;
use rotord::vault::KvPath;

use crate::sim::fleet::Fleet;
use crate::sim::process::Process;
use crate::sim::world::World;

/// A source sends again after so long.
const AGAIN: Duration = Duration::from_secs(5);

/// A value that a scanner came across and that nobody has taken note of yet.
#[derive(Clone)]
pub(super) struct Leak {
    serial: u64,
    secret: SecretName,
    version: VersionId,
    value: Vec<u8>,
}

/// The versions that are to leak at given boundaries.
pub(super) type Planned = BTreeMap<u64, Vec<(SecretName, VersionId)>>;

impl World {
    /// What leaks at this boundary.
    pub(super) fn leak_at(&self, boundary: u64) {
        let planned = {
            let state = self.state();
            state.planned_leaks.get(&boundary).cloned()
        };
        match planned {
            Some(leaks) => all(self, leaks),
            None if self.faults_on() => {
                let rate = self.state().leak_permille;
                come_across(self, rate);
            }
            None => {}
        }
    }
}

/// In so many of a thousand cases something leaks.
pub(super) fn come_across(world: &World, permille: u64) {
    if permille > 0 && world.chance.permille(permille) {
        all(world, drawn(world));
    }
}

fn all(world: &World, leaks: Vec<(SecretName, VersionId)>) {
    for (secret, version) in leaks {
        leak(world, &secret, version);
    }
}

/// What leaks together: one version, reported more than once as often as not; two of one secret;
/// or what every secret has in use.
fn drawn(world: &World) -> Vec<(SecretName, VersionId)> {
    let names = world.names();
    let name = world.chance.pick(&names).clone();
    match world.chance.below(10) {
        0 => {
            world.reached("leak of everything");
            let current = |name: SecretName| {
                let current = world.record(&name)?.rotation.current()?;
                Some((name, current))
            };
            names.into_iter().filter_map(current).collect()
        }
        1 | 2 => {
            world.reached("leak of two versions");
            [version(world, &name), version(world, &name)].into_iter().flatten().collect()
        }
        3 | 4 => {
            world.reached("leak reported again");
            version(world, &name).map(|leaked| vec![leaked; 3]).unwrap_or_default()
        }
        _ => version(world, &name).into_iter().collect(),
    }
}

/// A version of a stage that the secret has some version in: there are ever more revoked ones.
fn version(world: &World, name: &SecretName) -> Option<(SecretName, VersionId)> {
    let record = world.record(name)?;
    let versions = &record.rotation.versions;
    let stages: BTreeSet<Stage> = versions.values().map(|version| version.stage).collect();
    let stages: Vec<Stage> = stages.into_iter().collect();
    let stage = (!stages.is_empty()).then(|| *world.chance.pick(&stages))?;
    let of_stage: Vec<VersionId> = record.rotation.at_stage(stage).collect();
    Some((name.clone(), *world.chance.pick(&of_stage)))
}

/// A value is out. Nothing leaks that is not there.
fn leak(world: &World, secret: &SecretName, version: VersionId) {
    let Some(value) = value_of(world, secret, version) else { return };
    world.note(&format!("{secret} {version} leaks"));
    let mut state = world.state();
    let watched = state.exposures.entry(secret.clone()).or_default();
    watched.leaked.insert(version);
    state.leaks_so_far += 1;
    let serial = state.leaks_so_far;
    state.leaks.push(Leak { serial, secret: secret.clone(), version, value });
    drop(state);
    world.leaked.notify_one();
}

/// The value as services were given it, or as it lies in Vault. A write that was held up may bring
/// another one there once the version is revoked, of which nobody knows.
fn value_of(world: &World, secret: &SecretName, version: VersionId) -> Option<Vec<u8>> {
    let handed = world.state().secrets[secret].handed.get(&version).cloned();
    let stage = world.record(secret)?.rotation.versions.get(&version)?.stage;
    if handed.is_some() || stage == Stage::Revoked {
        return handed;
    }
    let path = format!("material/{secret}/{}", version.0);
    let saved = world.kv.look(&KvPath { mount: "rotord".to_owned(), path }, "/fields/value")?;
    STANDARD.decode(saved.as_str()?).ok()
}

/// Reports what leaks to whichever replica takes it.
pub(super) async fn watch(world: &Arc<World>, fleet: &Fleet) {
    loop {
        let leaks = world.state().leaks.clone();
        if leaks.is_empty() {
            world.leaked.notified().await;
            continue;
        }
        let process = fleet.someone().await;
        let taken = join_all(leaks.iter().map(|leak| report(world, &process, leak))).await;
        if taken.contains(&false) {
            world.pass(AGAIN).await;
        }
    }
}

/// Reports one value; whether the source need not send it again.
async fn report(world: &Arc<World>, process: &Process, leak: &Leak) -> bool {
    let clues = Clue::of_value(&SecretBytes::new(leak.value.clone()));
    let hits: BTreeSet<Hit> = clues.iter().flat_map(|clue| process.recogniser.find(clue)).collect();
    let meant = Hit { secret: leak.secret.clone(), version: leak.version };
    if hits.iter().any(|hit| *hit != meant) {
        world.violate("recognition", &format!("{meant:?} was taken for {hits:?}"));
    }
    // What has just been read or written may not be in the index yet.
    let taken = !hits.is_empty() && expose(world, process, leak).await;
    if taken {
        world.state().leaks.retain(|other| other.serial != leak.serial);
    }
    taken
}

async fn expose(world: &Arc<World>, process: &Process, leak: &Leak) -> bool {
    let (name, version) = (leak.secret.clone(), leak.version);
    let (by, reason) = ("a scanner".to_owned(), "sim".to_owned());
    let answer =
        process.ask(Command::Expose { name, version, incarnation: None, by, reason }).await;
    let Some(answer) = answer else { return false };
    let place = format!("{} {}", leak.secret, leak.version);
    match answer {
        Ok(done) => {
            world.note(&format!("report of {place}: {}", done.text));
            let mut state = world.state();
            state.reported.insert((leak.secret.clone(), leak.version));
        }
        Err(refusal) => {
            world.note(&format!("report of {place}: refused, {refusal}"));
            world.reached(format!("report refused {}", refusal.reason));
            return refusal.kind != RefusalKind::Unavailable;
        }
    }
    true
}

/// Once everything is at rest.
pub(super) fn at_rest(world: &World) {
    let open: Vec<String> = {
        let state = world.state();
        state.leaks.iter().map(|leak| format!("{} {}", leak.secret, leak.version)).collect()
    };
    for leak in open {
        world.violate("P11 live", &format!("a report of {leak} is never taken in"));
    }
}
