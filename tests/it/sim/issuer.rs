//! A simulated issuer of any declared kind.

use std::sync::Arc;

use async_trait::async_trait;
use rotord::driver::error::DriverError;
use rotord::driver::issuer::{Issuer, Listed, Minted, Probe, Tag};
use rotord::model::capability::{Capabilities, OldDies, ValueFrom};
use rotord::model::failure::Class;
use rotord::model::id::{KeyId, SecretName};
use rotord::model::material::{Material, SecretBytes};
use rotord::model::reason::Reason;
use rotord::model::time::{Entropy, Timestamp};

use crate::sim::checkers;
use crate::sim::faults::Answer;
use crate::sim::world::{Key, State, World};

pub(super) struct SimIssuer {
    pub(super) world: Arc<World>,
    pub(super) secret: SecretName,
    pub(super) capabilities: Capabilities,
}

fn value_of(material: &Material) -> Vec<u8> {
    material.value().unwrap().expose().to_vec()
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

impl SimIssuer {
    async fn call<T: Send + 'static>(
        &self,
        what: &str,
        maybe_done: bool,
        act: impl Fn(&World, &mut State, Timestamp) -> T + Send + Sync + 'static,
    ) -> Result<T, DriverError> {
        let line = format!("{} issuer {what}", self.secret);
        self.world.called(line.clone());
        let world = Arc::clone(&self.world);
        let text = line.clone();
        let act = move || world.change(&text, |state, now| act(&world, state, now));
        failed(self.world.boundary(&line, act).await, maybe_done)
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
        Ok(Material::single(SecretBytes::new(value)))
    }

    async fn mint(&self, tag: &Tag, ours: Option<&Material>) -> Result<Minted, DriverError> {
        checkers::audited::intent_of(&self.world, &self.secret, &["mint", "place"]);
        let secret = self.secret.clone();
        let tag = tag.clone();
        let ours = ours.map(value_of);
        if let Some(value) = &ours {
            checkers::sole_copy::durable(&self.world, &secret, tag.version, value);
        }
        let mut fresh = vec![0; 32];
        self.world.chance.fill(&mut fresh);
        let capabilities = self.capabilities.clone();
        let (key, value) = self
            .call(&format!("mint {}", tag.version), true, move |_, state, now| {
                state.minted += 1;
                let serial = state.minted;
                // A value of theirs differs at every call.
                let mut value = ours.clone().unwrap_or_else(|| fresh.clone());
                if capabilities.value == ValueFrom::Theirs {
                    value[..8].copy_from_slice(&serial.to_be_bytes());
                }
                state.values.push(value.clone());
                let truth = state.secrets.get_mut(&secret).unwrap();
                if capabilities.old_dies == OldDies::OnMint {
                    truth.keys.values_mut().for_each(|key| key.alive = false);
                }
                let name = match capabilities.value {
                    ValueFrom::Ours => format!("own-{}", tag.version),
                    ValueFrom::Theirs => format!("key-{serial}"),
                };
                let mark = tag.to_string();
                let version = tag.version;
                let key = Key { value: value.clone(), mark, version, created_at: now, alive: true };
                truth.keys.insert(name.clone(), key);
                (KeyId(name), value)
            })
            .await?;
        Ok(Minted { key_id: Some(key), material: Material::single(SecretBytes::new(value)) })
    }

    async fn list(&self) -> Result<Vec<Listed>, DriverError> {
        let secret = self.secret.clone();
        self.call("list", false, move |_, state, _| {
            let truth = &state.secrets[&secret];
            truth
                .keys
                .iter()
                .filter(|(_, key)| key.alive)
                .map(|(name, key)| Listed {
                    key_id: KeyId(name.clone()),
                    mark: Some(key.mark.clone()),
                    created_at: Some(key.created_at),
                    last_used_at: None,
                })
                .collect()
        })
        .await
    }

    async fn roll(&self, found: &KeyId, tag: &Tag) -> Result<Minted, DriverError> {
        checkers::audited::intent_of(&self.world, &self.secret, &["roll"]);
        let mut fresh = vec![0; 32];
        self.world.chance.fill(&mut fresh);
        let (secret, found, tag) = (self.secret.clone(), found.clone(), tag.clone());
        let value = self
            .call(&format!("roll {found}"), true, move |_, state, now| {
                state.minted += 1;
                let mut value = fresh.clone();
                value[..8].copy_from_slice(&state.minted.to_be_bytes());
                state.values.push(value.clone());
                let mark = tag.to_string();
                let version = tag.version;
                let key = Key { value: value.clone(), mark, version, created_at: now, alive: true };
                state.secrets.get_mut(&secret).unwrap().keys.insert(found.0.clone(), key);
                (found.clone(), value)
            })
            .await?;
        let (found, value) = value;
        Ok(Minted { key_id: Some(found), material: Material::single(SecretBytes::new(value)) })
    }

    async fn probe(&self, _key: Option<&KeyId>, material: &Material) -> Result<Probe, DriverError> {
        let (secret, value) = (self.secret.clone(), value_of(material));
        self.call("probe", false, move |_, state, _| {
            let works = state.secrets[&secret].keys.values().any(|k| k.alive && k.value == value);
            if works { Probe::Works } else { Probe::Refused }
        })
        .await
    }

    async fn revoke(&self, key: &KeyId) -> Result<(), DriverError> {
        checkers::audited::intent_of(&self.world, &self.secret, &["revoke", "sweep"]);
        checkers::destroy::key(&self.world, &self.secret, key);
        let (secret, key) = (self.secret.clone(), key.clone());
        self.call(&format!("revoke {key}"), false, move |_, state, _| {
            if let Some(key) = state.secrets.get_mut(&secret).unwrap().keys.get_mut(&key.0) {
                key.alive = false;
            }
        })
        .await
    }

    async fn terminate(&self, _key: &KeyId) -> Result<(), DriverError> {
        Err(DriverError::new(Class::Refused, Reason::Defect, "not declared"))
    }
}
