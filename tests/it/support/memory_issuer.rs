//! An issuer in memory that can be any kind of issuer: the first to pass the contract.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use rotord::driver::error::DriverError;
use rotord::driver::issuer::generated::{Format, Generator};
use rotord::driver::issuer::{Issuer, Listed, Minted, Probe, Tag};
use rotord::model::capability::{Capabilities, OldDies, ValueFrom};
use rotord::model::id::KeyId;
use rotord::model::material::Material;
use rotord::model::reason::Reason;
use rotord::model::time::Entropy;

use crate::support::issuer_contract::{Random, copy};

/// The issuer.
pub(crate) struct MemoryIssuer {
    capabilities: Capabilities,
    generator: Generator,
    keys: Mutex<Keys>,
    lose: AtomicBool,
}

#[derive(Default)]
struct Keys {
    alive: Vec<(Listed, Material)>,
    minted: u64,
}

impl MemoryIssuer {
    pub(crate) fn new(capabilities: Capabilities) -> MemoryIssuer {
        let generator = Generator::new(Format::Hex, 32).unwrap();
        let (keys, lose) = (Mutex::default(), AtomicBool::new(false));
        MemoryIssuer { capabilities, generator, keys, lose }
    }

    pub(crate) fn lose_next_answer(&self) {
        self.lose.store(true, Ordering::SeqCst);
    }

    fn answer(&self, minted: Minted) -> Result<Minted, DriverError> {
        if self.lose.swap(false, Ordering::SeqCst) {
            return Err(DriverError::ambiguous(Reason::TimedOut, "the answer was lost"));
        }
        Ok(minted)
    }
}

#[async_trait]
impl Issuer for MemoryIssuer {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn make(&self, entropy: &dyn Entropy) -> Result<Material, DriverError> {
        Ok(Material::single(self.generator.draw(entropy)))
    }

    async fn mint(&self, tag: &Tag, ours: Option<&Material>) -> Result<Minted, DriverError> {
        let mut keys = self.keys.lock().unwrap();
        let material = match (self.capabilities.value, ours) {
            (ValueFrom::Ours, Some(ours)) => copy(ours),
            (ValueFrom::Theirs, None) => self.make(&Random).unwrap(),
            _ => return Err(DriverError::refused(Reason::Defect, "a value too many or too few")),
        };
        let value = material.value().unwrap();
        let same = keys.alive.iter().find(|(_, other)| other.value().unwrap().same(value));
        if let Some((listed, _)) = same {
            return self.answer(Minted { key_id: Some(listed.key_id.clone()), material });
        }
        if self.capabilities.old_dies == OldDies::OnMint {
            keys.alive.clear();
        }
        if self.capabilities.capacity.is_some_and(|most| keys.alive.len() >= most as usize) {
            return Err(DriverError::refused(Reason::IssuerFull, "no room"));
        }
        keys.minted += 1;
        let key_id = KeyId(format!("key-{}", keys.minted));
        let mark = Some(tag.to_string());
        let listed = Listed { key_id: key_id.clone(), mark, created_at: None, last_used_at: None };
        keys.alive.push((listed, copy(&material)));
        self.answer(Minted { key_id: Some(key_id), material })
    }

    async fn list(&self) -> Result<Vec<Listed>, DriverError> {
        let keys = self.keys.lock().unwrap();
        Ok(keys.alive.iter().map(|(listed, _)| listed.clone()).collect())
    }

    async fn roll(&self, found: &KeyId, tag: &Tag) -> Result<Minted, DriverError> {
        self.revoke(found).await?;
        self.mint(tag, None).await
    }

    async fn probe(&self, _: Option<&KeyId>, material: &Material) -> Result<Probe, DriverError> {
        let keys = self.keys.lock().unwrap();
        let value = material.value().unwrap();
        let alive = keys.alive.iter().any(|(_, other)| other.value().unwrap().same(value));
        Ok(if alive { Probe::Works } else { Probe::Refused })
    }

    async fn revoke(&self, key_id: &KeyId) -> Result<(), DriverError> {
        self.keys.lock().unwrap().alive.retain(|(listed, _)| listed.key_id != *key_id);
        Ok(())
    }

    async fn terminate(&self, _: &KeyId) -> Result<(), DriverError> {
        Ok(())
    }
}
