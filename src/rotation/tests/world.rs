//! The toy's issuer, targets and store: what each effect does there.

use crate::model::capability::OldDies;
use crate::model::failure::{Class, Failure};
use crate::model::fingerprint::Fingerprint;
use crate::model::id::{Generation, KeyId, TargetName, VersionId};
use crate::model::reason::Reason;
use crate::model::target::{Level, Observation, Recovery, TargetTerms, Wanted};
use crate::rotation::effect::Effect;
use crate::rotation::event::{Happening, KeySeen, Marked};
use crate::rotation::tests::check;
use crate::rotation::tests::toy::{Holding, Key, Toy};

impl Toy {
    /// Does what the effect orders and answers with its outcome. `whole`: what is minted is saved.
    /// What is told to the world is what the durable order says, whatever came to be known since.
    pub(super) fn execute(&mut self, effect: &Effect, whole: bool) -> Happening {
        check::may_start(self, effect);
        match effect {
            Effect::List => self.listed(),
            Effect::Make { version } => self.save_material(effect, *version, None),
            Effect::Mint { version } => {
                let key = self.mint(*version);
                self.save_minted(effect, *version, key, whole)
            }
            Effect::LookUp { version } => match self.material.get(version) {
                Some(key) => staged(*version, key.clone()),
                None => self.listed(),
            },
            Effect::Roll { key, version } => {
                let found = self.keys.get_mut(key).expect("rolls what it found");
                found.version = *version;
                self.save_minted(effect, *version, key.clone(), whole)
            }
            Effect::Place { version } => {
                let key = KeyId(format!("own-{}", version.0));
                self.bring_in(*version, key.clone());
                Happening::Placed { version: *version, key: Some(key) }
            }
            Effect::Sweep { key } => {
                self.kill(key);
                Happening::Swept { key: key.clone() }
            }
            Effect::Probe { version } | Effect::Refute { version } => {
                let works = self.keys.values().any(|k| k.version == *version && k.alive);
                Happening::Probed { version: *version, works }
            }
            Effect::Push { target } => {
                self.push(target);
                self.seen(effect, target)
            }
            Effect::Observe { target } => self.seen(effect, target),
            Effect::Revoke { version } => {
                let key = self.saved.versions[version].key_id.clone().expect("has a key");
                self.kill(&key);
                Happening::Revoked { version: *version }
            }
            Effect::Terminate { version } => Happening::Terminated { version: *version },
            Effect::Purge { target } => {
                let versions = self.saved.targets[target].to_purge.iter().copied().collect();
                Happening::Purged { target: target.clone(), versions }
            }
            Effect::Forget { version } => {
                self.material.remove(version);
                Happening::Forgotten { version: *version }
            }
        }
    }

    fn push(&mut self, name: &TargetName) {
        let wanted = self.saved.targets[name].wanted.clone();
        let ends = self.now + self.saved.targets[name].terms.propagation;
        match self.held.get_mut(name) {
            Some(holding) if holding.wanted != wanted => {
                let before = std::mem::replace(&mut holding.wanted, wanted);
                holding.before.push((before, ends));
            }
            Some(_) => {}
            None => {
                self.held.insert(name.clone(), Holding { wanted, before: Vec::new() });
            }
        }
        self.reach_same_service(name);
    }

    /// What one target brings is known to another one that ends at the same service, which only
    /// does not say so there.
    fn reach_same_service(&mut self, name: &TargetName) {
        let over = Some(Recovery::Over(name.clone()));
        let Wanted { accepted, current, .. } = self.saved.targets[name].wanted.clone();
        for (other, target) in &self.saved.targets {
            let Some(holding) = self.held.get_mut(other) else { continue };
            if target.terms.recovery == over {
                holding.wanted.accepted = accepted.clone();
                holding.wanted.current = current;
            }
        }
    }

    fn seen(&self, effect: &Effect, name: &TargetName) -> Happening {
        let Some(Holding { wanted, .. }) = self.held.get(name) else {
            let failure = Failure { class: Class::Transient, reason: Reason::NotYetApplied };
            return Happening::Failed { effect: effect.clone(), failure };
        };
        let Wanted { generation, accepted, current } = wanted.clone();
        let by = "toy".to_owned();
        let observation = Observation { generation, accepted, current, level: Level::Proved, by };
        Happening::Seen { target: name.clone(), observation }
    }

    /// What is at another place now has nothing there, and nobody reads it there yet.
    pub(super) fn move_targets(&mut self, config: &[(TargetName, TargetTerms)]) {
        for (name, terms) in config {
            if self.config.get(name).is_some_and(|old| old.place != terms.place) {
                self.held.remove(name);
                self.joined.remove(name);
            }
        }
    }

    /// A signer starts again with what it held before, uses the version before the current one,
    /// and is seen to. False if there is no such version, or somebody has dropped it.
    pub(super) fn fall_back(&mut self, target: &TargetName) -> bool {
        let used = self.rotation.outgoing.iter().map(|outgoing| outgoing.version).max();
        let kept = |used: &VersionId| {
            let mut held = self.held.values();
            held.all(|Holding { wanted, before }| {
                let all = before.iter().map(|(older, _)| older).chain([wanted]);
                all.map(|wanted| &wanted.accepted).all(|accepted| accepted.contains(used))
            })
        };
        let Some(used) = used.filter(kept) else { return false };
        let Some(holding) = self.held.get_mut(target) else { return false };
        if holding.wanted.current <= Some(used) {
            return false;
        }
        let generation = Generation(holding.wanted.generation.0 - 1);
        let accepted = holding.wanted.accepted.clone();
        holding.wanted = Wanted { generation, accepted, current: Some(used) };
        let outcome = self.execute(&Effect::Observe { target: target.clone() }, true);
        self.happen(outcome);
        self.save();
        true
    }

    fn mint(&mut self, version: VersionId) -> KeyId {
        self.minted += 1;
        let key = KeyId(format!("key-{}", self.minted));
        self.bring_in(version, key.clone());
        key
    }

    /// A key comes into being at the issuer, with what that does to the older ones.
    fn bring_in(&mut self, version: VersionId, key: KeyId) {
        let now = self.now;
        let others = self.keys.iter_mut().filter(|(id, _)| **id != key).map(|(_, key)| key);
        match self.rotation.terms.capabilities.old_dies {
            OldDies::OnMint => others.for_each(|key| key.alive = false),
            OldDies::IssuerClock { grace } => others.for_each(|key| {
                key.dies_at = Some(key.dies_at.map_or(now + grace, |dies| dies.min(now + grace)));
            }),
            OldDies::OnRevoke => {}
        }
        let created_at = self.dates.then_some(now);
        let marked = self.marks;
        let key_there = Key { version, alive: true, dies_at: None, marked, created_at };
        self.keys.insert(key, key_there);
    }

    fn save_minted(
        &mut self,
        effect: &Effect,
        version: VersionId,
        key: KeyId,
        whole: bool,
    ) -> Happening {
        if whole { self.save_material(effect, version, Some(key)) } else { self.listed() }
    }

    /// Material is written once. What was made is found again; what was minted by others is not it.
    fn save_material(
        &mut self,
        effect: &Effect,
        version: VersionId,
        key: Option<KeyId>,
    ) -> Happening {
        let saved = self.material.entry(version).or_insert_with(|| key.clone()).clone();
        if saved != key {
            let failure = Failure { class: Class::Ambiguous, reason: Reason::Conflict };
            return Happening::Failed { effect: effect.clone(), failure };
        }
        staged(version, saved)
    }

    fn listed(&self) -> Happening {
        let alive = self.keys.iter().filter(|(_, key)| key.alive);
        let seen = alive.map(|(id, key)| KeySeen {
            key: id.clone(),
            marked: match key.marked {
                true => Marked::Known { version: key.version },
                false => Marked::No,
            },
            created_at: key.created_at,
        });
        Happening::Listed { keys: seen.collect() }
    }

    pub(super) fn kill(&mut self, key: &KeyId) {
        if let Some(key) = self.keys.get_mut(key) {
            key.alive = false;
        }
    }
}

pub(super) fn staged(version: VersionId, key: Option<KeyId>) -> Happening {
    let mut fingerprint = [0; 16];
    fingerprint[..8].copy_from_slice(&version.0.to_be_bytes());
    Happening::Staged { version, key, fingerprint: Fingerprint(fingerprint) }
}
