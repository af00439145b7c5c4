//! A world small enough to be a value: one issuer, two targets, a store. Everything in it happens
//! at once and in order; faults are put in by whoever drives it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::capability::{Capabilities, OldDies, OnLost, ValueFrom};
use crate::model::failure::{Class, Failure};
use crate::model::fingerprint::Fingerprint;
use crate::model::id::{KeyId, RotationId, TargetName, VersionId};
use crate::model::policy::{Kind, Lane, Policy, WhenFull};
use crate::model::reason::Reason;
use crate::model::target::{Level, Observation, Role, TargetTerms, Wanted};
use crate::model::time::{Span, Timestamp};
use crate::rotation::apply::apply;
use crate::rotation::decide::{Next, decide};
use crate::rotation::effect::Effect;
use crate::rotation::event::{Event, Happening, KeySeen};
use crate::rotation::open::Opening;
use crate::rotation::{Rotation, Terms, Trigger};

/// Steps after which a run that is not at rest has no end.
const STEPS_MAX: usize = 400;

/// The issuer's side of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) version: u64,
    pub(super) alive: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Toy {
    pub(super) rotation: Rotation,
    pub(super) now: Timestamp,
    pub(super) keys: BTreeMap<String, Key>,
    pub(super) material: BTreeMap<u64, Option<String>>,
    pub(super) held: BTreeMap<TargetName, Wanted>,
    minted: u32,
    opened: u32,
    trace: Vec<String>,
}

pub(super) fn remote(value: ValueFrom, old_dies: OldDies, on_lost: OnLost) -> Capabilities {
    Capabilities {
        value,
        capacity: Some(2),
        old_dies,
        on_lost,
        remote: true,
        probes: true,
        terminates: false,
        settle: Span::ZERO,
        exclusive: false,
    }
}

fn target(role: Role) -> TargetTerms {
    TargetTerms {
        role,
        propagation: Span::from_secs(5),
        needs: Level::Acknowledged,
        unattested: false,
        keeps_history: role == Role::Both,
        observe_every: None,
    }
}

impl Toy {
    pub(super) fn new(kind: Kind, capabilities: Capabilities) -> Toy {
        let now = Timestamp::from_seconds(1_800_000_000);
        let opening = opening(1, now, Lane::Routine, kind, capabilities);
        Toy {
            rotation: Rotation::first(opening),
            now,
            keys: BTreeMap::new(),
            material: BTreeMap::new(),
            held: BTreeMap::new(),
            minted: 0,
            opened: 1,
            trace: Vec::new(),
        }
    }

    /// Decides, does and records until nothing is left to do, jumping over every wait.
    pub(super) fn run(&mut self) {
        for _ in 0..STEPS_MAX {
            if !self.step() {
                return;
            }
        }
        panic!("no end after {STEPS_MAX} steps\n{}", self.trace());
    }

    /// One question to `decide` and its consequence; false if there is nothing to wait for.
    pub(super) fn step(&mut self) -> bool {
        match decide(&self.rotation, self.now) {
            Next::Record(event) => self.take(event),
            Next::Do(effects) => {
                self.happen(Happening::Intended { effects: effects.clone() });
                for effect in effects {
                    let outcome = self.execute(&effect);
                    self.happen(outcome);
                }
            }
            Next::Wait(wait) => match wait.until {
                Some(until) => self.now = until,
                None => return false,
            },
        }
        true
    }

    pub(super) fn happen(&mut self, what: Happening) {
        let at = self.now;
        self.take(Event { at, what });
    }

    pub(super) fn open_next(&mut self, lane: Lane) {
        self.opened += 1;
        let kind = self.rotation.terms.kind;
        let capabilities = self.rotation.terms.capabilities.clone();
        let opening = opening(self.opened, self.now, lane, kind, capabilities);
        self.rotation = self.rotation.next(opening).expect("may open");
    }

    pub(super) fn saved(&self) -> impl Iterator<Item = u64> {
        self.material.keys().copied()
    }

    pub(super) fn alive_keys(&self) -> usize {
        self.keys.values().filter(|key| key.alive).count()
    }

    pub(super) fn has_issuer(&self) -> bool {
        self.rotation.terms.capabilities.remote
    }

    pub(super) fn trace(&self) -> String {
        self.trace.join("\n")
    }

    fn take(&mut self, event: Event) {
        let seconds = event.at.since(self.rotation.opened_at);
        self.trace.push(format!("t+{seconds} {:?}: {:?}", self.rotation.phase, event.what));
        self.rotation = apply(self.rotation.clone(), event).unwrap_or_else(|illegal| {
            panic!("{illegal}\n{}", self.trace());
        });
    }

    /// Does what the effect orders and answers with its outcome.
    pub(super) fn execute(&mut self, effect: &Effect) -> Happening {
        match effect {
            Effect::List => self.listed(),
            Effect::Make { version } => self.save(*version, None),
            Effect::Mint { version } => {
                let key = self.mint(*version);
                self.save(*version, Some(key))
            }
            Effect::LookUp { version } => match self.material.get(&version.0) {
                Some(key) => staged(*version, key.clone()),
                None => self.listed(),
            },
            Effect::Roll { key, version } => {
                self.keys.insert(key.0.clone(), Key { version: version.0, alive: true });
                self.save(*version, Some(key.0.clone()))
            }
            Effect::Place { version } => {
                let name = format!("own-{}", version.0);
                if self.rotation.terms.capabilities.old_dies == OldDies::OnMint {
                    self.kill_all();
                }
                self.keys.insert(name.clone(), Key { version: version.0, alive: true });
                Happening::Placed { version: *version, key: Some(KeyId(name)) }
            }
            Effect::Sweep { key } => {
                self.kill(&key.0);
                Happening::Swept { key: key.clone() }
            }
            Effect::Probe { version } | Effect::Refute { version } => {
                let works = self.keys.values().any(|k| k.version == version.0 && k.alive);
                Happening::Probed { version: *version, works }
            }
            Effect::Push { target } | Effect::Observe { target } => self.tell(effect, target),
            Effect::Revoke { version } => {
                let key = self.rotation.versions[version].key_id.clone().expect("has a key");
                self.kill(&key.0);
                Happening::Revoked { version: *version }
            }
            Effect::Terminate { version } => Happening::Terminated { version: *version },
            Effect::Purge { target } => {
                let versions = self.rotation.targets[target].to_purge.iter().copied().collect();
                Happening::Purged { target: target.clone(), versions }
            }
            Effect::Forget { version } => {
                self.material.remove(&version.0);
                Happening::Forgotten { version: *version }
            }
        }
    }

    fn tell(&mut self, effect: &Effect, name: &TargetName) -> Happening {
        if matches!(effect, Effect::Push { .. }) {
            let wanted = self.rotation.targets[name].wanted.clone();
            for version in &wanted.accepted {
                assert!(
                    self.material.contains_key(&version.0),
                    "push without {version}\n{}",
                    self.trace()
                );
            }
            self.held.insert(name.clone(), wanted);
        }
        match self.held.get(name) {
            None => Happening::Failed {
                effect: effect.clone(),
                failure: Failure { class: Class::Transient, reason: Reason::NotYetApplied },
            },
            Some(held) => Happening::Seen {
                target: name.clone(),
                observation: Observation {
                    generation: held.generation,
                    accepted: held.accepted.clone(),
                    current: held.current,
                    level: Level::Proved,
                    by: "toy".to_owned(),
                },
            },
        }
    }

    fn mint(&mut self, version: VersionId) -> String {
        if self.rotation.terms.capabilities.old_dies == OldDies::OnMint {
            self.kill_all();
        }
        self.minted += 1;
        let name = format!("key-{}", self.minted);
        self.keys.insert(name.clone(), Key { version: version.0, alive: true });
        name
    }

    fn save(&mut self, version: VersionId, key: Option<String>) -> Happening {
        let key = self.material.entry(version.0).or_insert(key).clone();
        staged(version, key)
    }

    fn listed(&self) -> Happening {
        let alive: BTreeSet<_> = self.keys.iter().filter(|(_, key)| key.alive).collect();
        let seen = alive.into_iter().map(|(name, key)| KeySeen {
            key: KeyId(name.clone()),
            marked: Some(VersionId(key.version)),
            created_at: None,
        });
        Happening::Listed { keys: seen.collect() }
    }

    fn kill(&mut self, name: &str) {
        if let Some(key) = self.keys.get_mut(name) {
            key.alive = false;
        }
    }

    fn kill_all(&mut self) {
        self.keys.values_mut().for_each(|key| key.alive = false);
    }
}

fn staged(version: VersionId, key: Option<String>) -> Happening {
    let mut fingerprint = [0; 16];
    fingerprint[..8].copy_from_slice(&version.0.to_be_bytes());
    Happening::Staged { version, key: key.map(KeyId), fingerprint: Fingerprint(fingerprint) }
}

fn opening(n: u32, at: Timestamp, lane: Lane, kind: Kind, capabilities: Capabilities) -> Opening {
    let verifies = kind == Kind::WebhookHmac || !capabilities.remote;
    let roles = match verifies {
        true => [("api", Role::Verifier), ("worker", Role::Both)],
        false => [("api", Role::Signer), ("worker", Role::Both)],
    };
    let name = |text: &str| TargetName::new(text).expect("a name");
    let policy = Policy { when_full: WhenFull::Contain, ..Policy::default() };
    let trigger = match lane {
        Lane::Routine => Trigger::Scheduled { instant: at },
        Lane::Emergency => Trigger::Emergency { by: "test".to_owned(), reason: "leak".to_owned() },
    };
    Opening {
        id: RotationId(format!("run-{n}")),
        trigger,
        lane,
        at,
        terms: Terms { kind, capabilities, policy },
        targets: roles.into_iter().map(|(text, role)| (name(text), target(role))).collect(),
    }
}
