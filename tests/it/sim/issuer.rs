//! A simulated issuer of any declared kind, one without an API included.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rotord::driver::error::DriverError;
use rotord::driver::issuer::{Issuer, Listed, Minted, Probe, Tag};
use rotord::model::capability::{Capabilities, OldDies, ValueFrom};
use rotord::model::failure::Class;
use rotord::model::id::{KeyId, SecretName, VersionId};
use rotord::model::material::{Material, SecretBytes};
use rotord::model::reason::Reason;
use rotord::model::time::{Entropy, Span, Timestamp};

use crate::sim::checkers;
use crate::sim::faults::Answer;
use crate::sim::seat::Seat;
use crate::sim::truth::Key;
use crate::sim::world::{State, World};

/// What an issuer is like besides what it declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Keys bear a mark.
    Marks,
    /// Keys bear no mark: a lost one cannot be told from somebody else's.
    Anonymous,
    /// There is no API: people do everything.
    ByHand,
}

pub(super) struct SimIssuer {
    pub(super) world: Arc<World>,
    pub(super) seat: Arc<Seat>,
    pub(super) secret: SecretName,
    pub(super) capabilities: Capabilities,
    pub(super) manner: Manner,
}

fn value_of(material: &Material) -> Vec<u8> {
    material.value().unwrap().expose().to_vec()
}

pub(super) fn material(value: Vec<u8>) -> Material {
    Material::single(SecretBytes::new(value))
}

fn failed<T>(answer: Answer<T>, maybe_done: bool) -> Result<T, DriverError> {
    let reason = Reason::Unavailable;
    match answer {
        Answer::Honest(done) => Ok(done),
        Answer::Refused => Err(DriverError::transient(reason, "simulated refusal")),
        // What can have been done must be called so by a driver, whatever the issuer says.
        Answer::Lost => Err(DriverError::ambiguous(Reason::TimedOut, "simulated loss")),
        Answer::Lied if maybe_done => Err(DriverError::ambiguous(reason, "simulated lie")),
        Answer::Lied => Err(DriverError::transient(reason, "simulated lie")),
    }
}

/// A mint at the issuer: the new key, and what becomes of the older ones.
pub(super) fn mint(
    world: &World,
    secret: &SecretName,
    capabilities: &Capabilities,
    new: Key,
) -> KeyId {
    let line = format!("{secret} issuer mints {}", new.version);
    let name = world.change(&line, |state, now| {
        state.minted += 1;
        let serial = state.minted;
        let mut new = new;
        // A value of theirs differs at every call.
        let name = match capabilities.value {
            ValueFrom::Ours => format!("own-{}", new.version),
            ValueFrom::Theirs => {
                new.value[..8].copy_from_slice(&serial.to_be_bytes());
                format!("key-{serial}")
            }
        };
        new.created_at = now;
        state.values.push(new.value.clone());
        let truth = state.secrets.get_mut(secret).unwrap();
        for (_, key) in truth.keys.iter_mut().filter(|(old, _)| **old != name) {
            match capabilities.old_dies {
                OldDies::OnMint => key.revoked = true,
                OldDies::IssuerClock { grace } => {
                    key.dies_at = Some(key.dies_at.unwrap_or(now + grace).min(now + grace));
                }
                OldDies::OnRevoke => {}
            }
        }
        truth.keys.insert(name.clone(), new);
        name
    });
    KeyId(name)
}

impl SimIssuer {
    async fn call<T: Send + 'static>(
        &self,
        what: &str,
        maybe_done: bool,
        act: impl Fn(&Arc<World>, Timestamp) -> T + Send + Sync + 'static,
    ) -> Result<T, DriverError> {
        let line = format!("{} issuer {what}", self.secret);
        self.world.called(line.clone());
        self.seat.awake().await;
        if self.world.clock.truly() < self.seat.fate().no_services_until {
            let what = "simulated partition";
            return Err(DriverError::transient(Reason::Unreachable, what));
        }
        let world = Arc::clone(&self.world);
        let text = line.clone();
        let act = move || {
            let now = world.clock.truly();
            world.note(&text);
            act(&world, now)
        };
        failed(self.world.boundary(&self.seat, &line, act).await, maybe_done)
    }

    fn key(&self, value: Vec<u8>, tag: &Tag) -> Key {
        Key {
            value,
            mark: (self.manner == Manner::Marks).then(|| tag.to_string()),
            version: tag.version,
            created_at: Timestamp::default(),
            revoked: false,
            dies_at: None,
        }
    }
}

fn change_key(state: &mut State, secret: &SecretName, key: &KeyId, act: impl FnOnce(&mut Key)) {
    if let Some(key) = state.secrets.get_mut(secret).unwrap().keys.get_mut(&key.0) {
        act(key);
    }
}

#[async_trait]
impl Issuer for SimIssuer {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn make(&self, entropy: &dyn Entropy) -> Result<Material, DriverError> {
        let mut value = vec![0; 32];
        entropy.fill(&mut value);
        self.world.state().values.push(value.clone());
        Ok(material(value))
    }

    async fn mint(&self, tag: &Tag, ours: Option<&Material>) -> Result<Minted, DriverError> {
        checkers::audited::intent_of(&self.world, &self.seat, &self.secret, &["mint", "place"]);
        checkers::fenced::starts(&self.world, &self.seat, "a mint");
        if self.manner == Manner::ByHand {
            return Err(DriverError::refused(Reason::ValueNeeded, "a person must mint it"));
        }
        let ours = ours.map(value_of);
        if let Some(value) = &ours {
            checkers::sole_copy::durable(&self.world, &self.secret, tag.version, value);
        }
        let key = self.key(ours.clone().unwrap_or_else(|| self.world.chance.value()), tag);
        let (secret, capabilities) = (self.secret.clone(), self.capabilities.clone());
        // Without a mark a doubled request could not be told from somebody else's: such an issuer
        // takes the same request once.
        let once = self.manner == Manner::Anonymous;
        let done: Mutex<Option<(KeyId, Vec<u8>)>> = Mutex::default();
        let (id, value) = self
            .call(&format!("mint {}", tag.version), true, move |world, _| {
                let mut done = done.lock().unwrap();
                if let Some(done) = done.as_ref().filter(|_| once) {
                    return done.clone();
                }
                let id = mint(world, &secret, &capabilities, key.clone());
                if let OldDies::IssuerClock { grace } = capabilities.old_dies {
                    watch_deaths(world, &secret, grace);
                }
                let value = world.state().secrets[&secret].keys[&id.0].value.clone();
                *done = Some((id.clone(), value.clone()));
                (id, value)
            })
            .await?;
        Ok(Minted { key_id: Some(id), material: material(value) })
    }

    async fn list(&self) -> Result<Vec<Listed>, DriverError> {
        if self.manner == Manner::ByHand {
            return Ok(Vec::new());
        }
        let secret = self.secret.clone();
        self.call("list", false, move |world, now| {
            let state = world.state();
            let alive = state.secrets[&secret].keys.iter().filter(|(_, key)| key.is_alive(now));
            alive
                .map(|(name, key)| Listed {
                    key_id: KeyId(name.clone()),
                    mark: key.mark.clone(),
                    created_at: Some(key.created_at),
                    last_used_at: None,
                })
                .collect()
        })
        .await
    }

    async fn roll(&self, found: &KeyId, tag: &Tag) -> Result<Minted, DriverError> {
        checkers::audited::intent_of(&self.world, &self.seat, &self.secret, &["roll"]);
        checkers::fenced::starts(&self.world, &self.seat, "a roll");
        let key = self.key(self.world.chance.value(), tag);
        let (secret, found) = (self.secret.clone(), found.clone());
        let (found, value) = self
            .call(&format!("roll {found}"), true, move |world, now| {
                let line = format!("{secret} issuer rolls {found}");
                let value = world.change(&line, |state, _| {
                    state.minted += 1;
                    let mut key = Key { created_at: now, ..key.clone() };
                    key.value[..8].copy_from_slice(&state.minted.to_be_bytes());
                    let value = key.value.clone();
                    state.values.push(value.clone());
                    state.secrets.get_mut(&secret).unwrap().keys.insert(found.0.clone(), key);
                    value
                });
                (found.clone(), value)
            })
            .await?;
        Ok(Minted { key_id: Some(found), material: material(value) })
    }

    async fn probe(&self, _: Option<&KeyId>, given: &Material) -> Result<Probe, DriverError> {
        let (secret, value) = (self.secret.clone(), value_of(given));
        self.call("probe", false, move |world, now| {
            let state = world.state();
            let mut keys = state.secrets[&secret].keys.values();
            match keys.any(|key| key.is_alive(now) && key.value == value) {
                true => Probe::Works,
                false => Probe::Refused,
            }
        })
        .await
    }

    async fn revoke(&self, key: &KeyId) -> Result<(), DriverError> {
        checkers::audited::intent_of(&self.world, &self.seat, &self.secret, &["revoke", "sweep"]);
        if self.manner == Manner::ByHand {
            return Err(DriverError::refused(Reason::RevokeByHand, "a person must end it"));
        }
        checkers::destroy::key(&self.world, &self.secret, key);
        checkers::fenced::destroys(&self.world, &self.seat, &key.0);
        let (secret, key) = (self.secret.clone(), key.clone());
        self.call(&format!("revoke {key}"), false, move |world, _| {
            world.change(&format!("{secret} issuer ends {key}"), |state, _| {
                change_key(state, &secret, &key, |key| key.revoked = true);
            });
        })
        .await
    }

    async fn terminate(&self, _key: &KeyId) -> Result<(), DriverError> {
        Err(DriverError::new(Class::Refused, Reason::Defect, "not declared"))
    }
}

/// Has the checkers look at the world in the moment in which the issuer's clock ends keys.
fn watch_deaths(world: &Arc<World>, secret: &SecretName, grace: Span) {
    let (world_then, secret) = (Arc::clone(world), secret.clone());
    world.later(grace.to_std(), move || {
        world_then.change(&format!("{secret} issuer's clock"), |_, _| ());
    });
}

/// A person mints a key by hand and gives its id and value.
pub(super) fn by_hand(
    world: &World,
    secret: &SecretName,
    capabilities: &Capabilities,
    version: VersionId,
) -> (KeyId, Vec<u8>) {
    let key = Key {
        value: world.chance.value(),
        mark: None,
        version,
        created_at: Timestamp::default(),
        revoked: false,
        dies_at: None,
    };
    let id = mint(world, secret, capabilities, key);
    let value = world.state().secrets[secret].keys[&id.0].value.clone();
    (id, value)
}

/// A person ends a key by hand.
pub(super) fn end_by_hand(world: &World, secret: &SecretName, key: &KeyId) {
    world.change(&format!("{secret}: a person ends {key}"), |state, _| {
        change_key(state, secret, key, |key| key.revoked = true);
    });
}
