//! Effects carried out: the driver is called, the answer becomes an event.
//!
//! Material is fetched here, lives in a [`Materials`] for the length of one walk, and never gets
//! into an event. What is decided here is only how an order is carried out, never whether.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::driver::error::DriverError;
use crate::driver::issuer::{Minted, Probe, Tag};
use crate::driver::target::{Given, Nonce, Order};
use crate::engine::gate::Ended;
use crate::engine::limits::Host;
use crate::engine::managed::{Managed, ManagedTarget};
use crate::engine::reach::{self, Caller, Failed};
use crate::engine::tags;
use crate::engine::world::World;
use crate::model::failure::Class;
use crate::model::id::{KeyId, SecretName, TargetName, VersionId};
use crate::model::material::Material;
use crate::model::reason::Reason;
use crate::model::target::Observation;
use crate::model::time::{Span, Timestamp};
use crate::rotation::Rotation;
use crate::rotation::effect::Effect;
use crate::rotation::event::{Happening, KeySeen};
use crate::store::record::Record;
use crate::store::{Placed, Saved, StoreError};

/// Tries at saving a value that exists nowhere else yet: about six seconds beside what Vault takes.
/// They go on under a lease that runs down meanwhile, since what is written once for one rotation
/// overwrites nothing. After that the value is given up and looked up at the issuer.
const SAVE_PAUSES: [Span; 5] = [Span(100), Span(300), Span(800), Span(1_600), Span(3_200)];

/// What came of one effect.
pub(super) struct Executed {
    /// The outcome.
    pub(super) happening: Happening,
    /// The failure's text, for people.
    pub(super) text: Option<String>,
    /// When it came back, whatever others took that were sent with it.
    pub(super) ended: Ended,
}

/// The material that one walk has in its hands.
#[derive(Default)]
pub(super) struct Materials {
    saved: BTreeMap<VersionId, Arc<Saved>>,
}

impl Materials {
    /// The material of a version, fetched once.
    pub(super) async fn get(
        &mut self,
        world: &World,
        name: &SecretName,
        version: VersionId,
    ) -> Result<Arc<Saved>, StoreError> {
        if let Some(saved) = self.saved.get(&version) {
            return Ok(Arc::clone(saved));
        }
        let found = world.store.material(name, version).await?;
        let saved = Arc::new(found.ok_or_else(|| StoreError::Unreadable {
            place: format!("the material of {name} {version}"),
            what: "it is not in Vault".to_owned(),
        })?);
        self.saved.insert(version, Arc::clone(&saved));
        Ok(saved)
    }

    /// Puts in what was just saved.
    pub(super) fn put(&mut self, version: VersionId, saved: Arc<Saved>) {
        self.saved.insert(version, saved);
    }
}

/// What one effect needs, read-only: those of one walk are under way all at once.
pub(super) struct Execution<'a> {
    pub(super) world: &'a World,
    pub(super) managed: &'a Managed,
    pub(super) record: &'a Record,
    pub(super) rotation: &'a Rotation,
    pub(super) effect: &'a Effect,
    pub(super) materials: &'a BTreeMap<VersionId, Arc<Saved>>,
    /// Set as soon as an emergency of this secret waits for the walk.
    pub(super) hurry: &'a CancellationToken,
    /// Set as soon as the rotation could go on, were it not for targets that have not answered.
    pub(super) others_done: &'a CancellationToken,
}

impl Materials {
    /// What was fetched so far.
    pub(super) fn saved(&self) -> &BTreeMap<VersionId, Arc<Saved>> {
        &self.saved
    }

    /// Fetches whatever these effects need, each version once, before any of them may start.
    pub(super) async fn prepare(
        &mut self,
        world: &World,
        rotation: &Rotation,
        name: &SecretName,
        effects: &[Effect],
    ) -> Result<(), StoreError> {
        let mut needed: Vec<VersionId> = Vec::new();
        for effect in effects {
            match effect {
                Effect::Push { target } | Effect::Observe { target } => {
                    let wanted = rotation.targets.get(target).map(|t| &t.wanted.accepted);
                    needed.extend(wanted.into_iter().flatten());
                }
                Effect::Place { version }
                | Effect::Probe { version }
                | Effect::Refute { version } => needed.push(*version),
                _ => {}
            }
        }
        for version in needed {
            match self.get(world, name, version).await {
                // What is not there is the effect's own failure, with a reason and a way out.
                Ok(_) | Err(StoreError::Unreadable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Execution<'_> {
    /// Carries out the effect. It always ends, and always with an outcome.
    pub(super) async fn execute(&self) -> (Executed, Option<(VersionId, Saved)>) {
        let effect = self.effect;
        let mut fresh = None;
        let carried_out = self.carry_out(effect, &mut fresh);
        let result = match effect {
            // Asked or told again, these do no harm.
            Effect::List | Effect::Probe { .. } => {
                reach::cut_short(self.world, self.hurry.cancelled(), carried_out).await
            }
            Effect::Push { .. } | Effect::Observe { .. } => {
                let waited_for = async {
                    tokio::select! {
                        biased;
                        () = self.hurry.cancelled() => {}
                        () = self.others_done.cancelled() => {}
                    }
                };
                reach::cut_short(self.world, waited_for, carried_out).await
            }
            _ => carried_out.await,
        };
        let ended = self.world.gate.ended();
        let executed = match result {
            Ok(happening) => Executed { happening, text: None, ended },
            Err(Failed { failure, text, ahead }) => {
                let effect = effect.clone();
                let happening = match ahead {
                    Some(generation) => Happening::Ahead { effect, generation },
                    None => Happening::Failed { effect, failure },
                };
                Executed { happening, text: Some(text), ended }
            }
        };
        (executed, fresh)
    }

    async fn carry_out(
        &self,
        effect: &Effect,
        fresh: &mut Option<(VersionId, Saved)>,
    ) -> Result<Happening, Failed> {
        match effect {
            Effect::List => self.list().await,
            Effect::Make { version } => self.make(*version, fresh).await,
            Effect::Mint { version } => {
                let tag = self.tag(*version);
                let minted = self.at_issuer(self.managed.issuer.mint(&tag, None)).await?;
                self.save_minted(*version, minted, fresh).await
            }
            Effect::Roll { key, version } => {
                let tag = self.tag(*version);
                let minted = self.at_issuer(self.managed.issuer.roll(key, &tag)).await?;
                self.save_minted(*version, minted, fresh).await
            }
            Effect::LookUp { version } => self.look_up(*version, fresh).await,
            Effect::Place { version } => {
                let tag = self.tag(*version);
                let saved = self.material(*version)?;
                let ours = Some(&saved.material);
                let minted = self.at_issuer(self.managed.issuer.mint(&tag, ours)).await?;
                Ok(Happening::Placed { version: *version, key: minted.key_id })
            }
            Effect::Sweep { key } => {
                self.at_issuer(self.managed.issuer.revoke(key)).await?;
                Ok(Happening::Swept { key: key.clone() })
            }
            Effect::Probe { version } | Effect::Refute { version } => self.probe(*version).await,
            Effect::Push { target } => self.tell(target, Telling::Push).await,
            Effect::Observe { target } => self.tell(target, Telling::Observe).await,
            Effect::Purge { target } => self.purge(target).await,
            Effect::Revoke { version } => {
                let key = self.key(*version)?;
                self.at_issuer(self.managed.issuer.revoke(&key)).await?;
                Ok(Happening::Revoked { version: *version })
            }
            Effect::Terminate { version } => {
                let key = self.key(*version)?;
                self.at_issuer(self.managed.issuer.terminate(&key)).await?;
                Ok(Happening::Terminated { version: *version })
            }
            Effect::Forget { version } => {
                let forget = self.world.store.forget_material(&self.managed.name, *version);
                self.world.keep(self.caller(), forget).await?;
                Ok(Happening::Forgotten { version: *version })
            }
        }
    }

    async fn list(&self) -> Result<Happening, Failed> {
        let listed = self.at_issuer(self.managed.issuer.list()).await?;
        let keys = listed.into_iter().map(|key| KeySeen {
            marked: tags::judge(self.record, key.mark.as_deref()),
            key: key.key_id,
            created_at: key.created_at,
        });
        Ok(Happening::Listed { keys: keys.collect() })
    }

    async fn make(
        &self,
        version: VersionId,
        fresh: &mut Option<(VersionId, Saved)>,
    ) -> Result<Happening, Failed> {
        let material = self.managed.issuer.make(self.world.entropy.as_ref())?;
        self.check(&material)
            .map_err(|reason| Failed::new(Class::Transient, reason, "the value made is not fit"))?;
        let saved = Saved { rotation: self.rotation.id.clone(), key: None, material };
        let name = &self.managed.name;
        let put = self.world.store.put_material(name, version, &saved);
        match self.world.keep(self.caller(), put).await? {
            Placed::Written => {
                let staged = self.staged(version, &saved);
                *fresh = Some((version, saved));
                Ok(staged)
            }
            Placed::OursAlready => self.staged_earlier(version, fresh).await,
            Placed::Taken => Ok(Happening::NumberTaken { version }),
        }
    }

    /// Saves a value that exists nowhere else. A value that is not fit, or cannot be saved, counts
    /// as lost: what the issuer made is then found and taken away by its mark.
    async fn save_minted(
        &self,
        version: VersionId,
        minted: Minted,
        fresh: &mut Option<(VersionId, Saved)>,
    ) -> Result<Happening, Failed> {
        let name = &self.managed.name;
        self.check(&minted.material).map_err(|reason| {
            Failed::new(Class::Ambiguous, reason, "the issuer's value is not fit to be stored")
        })?;
        let Minted { key_id: key, material } = minted;
        let saved = Saved { rotation: self.rotation.id.clone(), key, material };
        let mut pauses = SAVE_PAUSES.into_iter();
        loop {
            match self.world.store.put_material(name, version, &saved).await {
                Ok(Placed::Written) => break,
                Ok(Placed::OursAlready | Placed::Taken) => {
                    let text = "another value has the number already";
                    return Err(Failed::new(Class::Ambiguous, Reason::Conflict, text));
                }
                Err(error) => match pauses.next() {
                    Some(pause) => self.world.pause(pause).await,
                    None => {
                        let reason = error.failure().reason;
                        return Err(Failed::new(Class::Ambiguous, reason, error.to_string()));
                    }
                },
            }
        }
        let staged = self.staged(version, &saved);
        *fresh = Some((version, saved));
        Ok(staged)
    }

    async fn look_up(
        &self,
        version: VersionId,
        fresh: &mut Option<(VersionId, Saved)>,
    ) -> Result<Happening, Failed> {
        let read = self.world.store.material(&self.managed.name, version);
        match self.world.keep(self.caller(), read).await? {
            Some(saved) if saved.rotation == self.rotation.id => {
                let staged = self.staged(version, &saved);
                *fresh = Some((version, saved));
                Ok(staged)
            }
            Some(_) => Ok(Happening::NumberTaken { version }),
            None => self.list().await,
        }
    }

    async fn staged_earlier(
        &self,
        version: VersionId,
        fresh: &mut Option<(VersionId, Saved)>,
    ) -> Result<Happening, Failed> {
        let read = self.world.store.material(&self.managed.name, version);
        let found = self.world.keep(self.caller(), read).await?;
        let missing = || {
            let text = "material was there a moment ago and is gone";
            Failed::new(Class::Transient, Reason::MaterialMissing, text)
        };
        let saved = found.ok_or_else(missing)?;
        let staged = self.staged(version, &saved);
        *fresh = Some((version, saved));
        Ok(staged)
    }

    async fn probe(&self, version: VersionId) -> Result<Happening, Failed> {
        let saved = self.material(version)?;
        let key = self.rotation.versions.get(&version).and_then(|v| v.key_id.clone());
        let probing = self.managed.issuer.probe(key.as_ref(), &saved.material);
        let works = self.at_issuer(probing).await? == Probe::Works;
        Ok(Happening::Probed { version, works })
    }

    async fn tell(&self, name: &TargetName, telling: Telling) -> Result<Happening, Failed> {
        let target = self.target(name)?;
        let given = self.given(name)?;
        let order = self.order(name, &given)?;
        let observation: Observation = match telling {
            Telling::Push => self.at_target(target, target.driver.push(&order)).await?,
            Telling::Observe => self.at_target(target, target.driver.observe(&order)).await?,
        };
        Ok(Happening::Seen { target: name.clone(), observation })
    }

    async fn purge(&self, name: &TargetName) -> Result<Happening, Failed> {
        let target = self.target(name)?;
        let state = self.state(name)?;
        let versions: Vec<VersionId> = state.to_purge.iter().copied().collect();
        let given = BTreeMap::new();
        let order = self.order(name, &given)?;
        self.at_target(target, target.driver.purge(&order, &versions)).await?;
        Ok(Happening::Purged { target: name.clone(), versions })
    }

    // ------------------------------------------------------------ what an order is made of

    fn order<'o>(
        &'o self,
        name: &'o TargetName,
        given: &'o BTreeMap<VersionId, Given<'o>>,
    ) -> Result<Order<'o>, Failed> {
        let state = self.state(name)?;
        let mut nonce = [0; 16];
        self.world.entropy.fill(&mut nonce);
        Ok(Order {
            secret: &self.managed.name,
            target: name,
            rotation: &self.rotation.id,
            wanted: &state.wanted,
            given,
            prove: state.wanted.accepted.iter().max().copied(),
            nonce: Nonce(nonce),
            now: self.world.clock.now(),
        })
    }

    fn given(&self, name: &TargetName) -> Result<BTreeMap<VersionId, Given<'_>>, Failed> {
        let state = self.state(name)?;
        let mut given = BTreeMap::new();
        for id in &state.wanted.accepted {
            let saved = self.material(*id)?;
            let version = self.rotation.versions.get(id);
            let key_id = version.and_then(|v| v.key_id.as_ref());
            let staged_at = version.map_or_else(Timestamp::default, |v| v.staged_at);
            given.insert(*id, Given { material: &saved.material, key_id, staged_at });
        }
        Ok(given)
    }

    fn material(&self, version: VersionId) -> Result<&Saved, Failed> {
        self.materials.get(&version).map(Arc::as_ref).ok_or_else(|| {
            let text = format!("the material of {version} is not in Vault");
            Failed::new(Class::Refused, Reason::MaterialMissing, text)
        })
    }

    fn key(&self, version: VersionId) -> Result<KeyId, Failed> {
        let key = self.rotation.versions.get(&version).and_then(|v| v.key_id.clone());
        key.ok_or_else(|| {
            let text = format!("no issuer's key id is recorded for {version}");
            Failed::new(Class::Refused, Reason::Defect, text)
        })
    }

    fn state(&self, name: &TargetName) -> Result<&crate::rotation::TargetState, Failed> {
        self.rotation.targets.get(name).ok_or_else(|| gone(name))
    }

    fn target(&self, name: &TargetName) -> Result<&ManagedTarget, Failed> {
        self.managed.targets.get(name).ok_or_else(|| gone(name))
    }

    fn tag(&self, version: VersionId) -> Tag {
        tags::tag(self.record, version)
    }

    fn staged(&self, version: VersionId, saved: &Saved) -> Happening {
        let fingerprint = self.world.fingerprints.of(&saved.material);
        Happening::Staged { version, key: saved.key.clone(), fingerprint }
    }

    /// Refuses a value that is weak, or that another version has.
    fn check(&self, material: &Material) -> Result<(), Reason> {
        material.check().map_err(|_| Reason::WeakValue)?;
        let repeated = self.world.recogniser.is_repeated(self.record, material);
        if repeated { Err(Reason::RepeatedValue) } else { Ok(()) }
    }

    // ------------------------------------------------------------ lanes and time-outs

    fn caller(&self) -> Caller<'_> {
        let order = Some((self.record, self.effect));
        Caller { lane: self.rotation.lane, hurry: self.hurry, order }
    }

    async fn at_issuer<T>(
        &self,
        call: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, Failed> {
        self.world.call(self.caller(), Host::Issuer(&self.managed.issuer_lane), call).await
    }

    async fn at_target<T>(
        &self,
        target: &ManagedTarget,
        call: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, Failed> {
        self.world.call(self.caller(), Host::Target(&target.lane), call).await
    }
}

#[derive(Clone, Copy)]
enum Telling {
    Push,
    Observe,
}

fn gone(name: &TargetName) -> Failed {
    let text = format!("target {name} is not in the config any more");
    Failed::new(Class::Refused, Reason::TargetRemoved, text)
}
