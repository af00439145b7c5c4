//! The keys with which pushes are signed, and rotord as a target of them.
//!
//! Decides which keys sign a message at any moment, and that none signs what carries values while
//! the key in use is one that leaked; must not know what is pushed. The keys are secrets that rotord
//! manages like any other, so it receives them as every dependent does: by a push, here within the
//! process. After a restart it holds none until it is told again.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;

use crate::driver::error::DriverError;
use crate::driver::target::{Order, Target};
use crate::model::id::{SecretName, VersionId};
use crate::model::reason::Reason;
use crate::model::target::{Level, Observation};
use crate::signing::key::SigningKey;

/// The keys of one channel over which secrets are pushed.
#[derive(Debug)]
pub struct Channel {
    secret: SecretName,
    held: ArcSwap<Held>,
    leaked: ArcSwap<BTreeSet<VersionId>>,
}

#[derive(Debug, Default)]
struct Held {
    /// The one in use first, then those before it.
    keys: Vec<SigningKey>,
    /// The versions that the keys are; none where somebody else manages them.
    versions: Vec<VersionId>,
    seen: Option<Observation>,
}

impl Held {
    /// The keys down to the first that leaked. Nobody is left out by that: every receiver has held
    /// the one in use since before it was used.
    fn trusted(&self, leaked: &BTreeSet<VersionId>) -> &[SigningKey] {
        let first = self.versions.iter().position(|version| leaked.contains(version));
        &self.keys[..first.unwrap_or(self.keys.len())]
    }
}

impl Channel {
    /// A channel whose keys are the versions of this secret; without keys until the first push
    /// to it or [`Channel::replace`].
    pub fn new(secret: SecretName) -> Channel {
        Channel { secret, held: ArcSwap::default(), leaked: ArcSwap::default() }
    }

    /// The secret whose versions sign here.
    pub fn secret(&self) -> &SecretName {
        &self.secret
    }

    /// Whether it has a key to sign with.
    pub fn has_keys(&self) -> bool {
        !self.held.load().keys.is_empty()
    }

    /// Takes other keys into use, newest first.
    pub fn replace(&self, keys: Vec<SigningKey>) {
        self.held.store(Arc::new(Held { keys, ..Held::default() }));
    }

    /// Signs a message that carries values.
    ///
    /// # Errors
    /// `channel_leaked` while the key in use is one that leaked, or was taken away without another
    /// in its place; `material_missing` if there is none yet.
    pub(super) fn sign_values<T>(
        &self,
        sign: impl FnOnce(&[SigningKey]) -> T,
    ) -> Result<T, DriverError> {
        let held = self.held.load();
        let leaked = self.leaked.load();
        let trusted = held.trusted(&leaked);
        if trusted.is_empty() && held.seen.is_some() {
            let text = format!(
                "the channel's key {} leaked: it carries nothing until it has another one",
                self.secret
            );
            return Err(DriverError::transient(Reason::ChannelLeaked, text));
        }
        self.sign(trusted, sign)
    }

    /// Signs a message that asks and carries no value: with every key, whatever became of it.
    ///
    /// # Errors
    /// `material_missing` if there is none.
    pub(super) fn sign_question<T>(
        &self,
        sign: impl FnOnce(&[SigningKey]) -> T,
    ) -> Result<T, DriverError> {
        self.sign(&self.held.load().keys, sign)
    }

    fn sign<T>(
        &self,
        keys: &[SigningKey],
        sign: impl FnOnce(&[SigningKey]) -> T,
    ) -> Result<T, DriverError> {
        if keys.is_empty() {
            let text = format!("the channel's key {} is not loaded yet", self.secret);
            return Err(DriverError::transient(Reason::MaterialMissing, text));
        }
        Ok(sign(keys))
    }

    fn holds(&self) -> Observation {
        self.held.load().seen.clone().unwrap_or_else(|| Observation {
            generation: Default::default(),
            accepted: Vec::new(),
            current: None,
            level: Level::Acknowledged,
            by: "rotord".to_owned(),
        })
    }

    /// What it holds, unless that is ahead of the order.
    fn holds_no_more_than(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        let held = self.holds();
        let wanted = order.wanted.generation;
        if held.generation <= wanted {
            return Ok(held);
        }
        let text = format!(
            "the channel {} has taken in {}, and was last told {wanted}",
            self.secret, held.generation
        );
        Err(DriverError::ahead(held.generation, text))
    }
}

#[async_trait]
impl Target for Channel {
    async fn push(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        let wanted = order.wanted;
        self.holds_no_more_than(order)?;
        let versions = signers(&wanted.accepted, wanted.current);
        let keys = versions.iter().map(|version| key_of(order, *version));
        let keys = keys.collect::<Result<_, _>>()?;
        let seen = Observation {
            generation: wanted.generation,
            accepted: wanted.accepted.clone(),
            current: wanted.current,
            level: Level::Acknowledged,
            by: "rotord".to_owned(),
        };
        self.held.store(Arc::new(Held { keys, versions, seen: Some(seen.clone()) }));
        Ok(seen)
    }

    fn distrust(&self, leaked: &BTreeSet<VersionId>) {
        self.leaked.store(Arc::new(leaked.clone()));
    }

    async fn observe(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        self.holds_no_more_than(order)
    }
}

/// The versions that sign: the one in use first, then those before it, newest first. A version
/// that is accepted but not in use yet signs nothing.
fn signers(accepted: &[VersionId], current: Option<VersionId>) -> Vec<VersionId> {
    let signing: BTreeSet<VersionId> =
        accepted.iter().copied().filter(|version| Some(*version) <= current).collect();
    signing.into_iter().rev().collect()
}

fn key_of(order: &Order<'_>, version: VersionId) -> Result<SigningKey, DriverError> {
    let value = order.given.get(&version).and_then(|given| given.material.value());
    let value = value.ok_or_else(|| {
        let text = format!("{version} of {} has no value to sign with", order.secret);
        DriverError::refused(Reason::MaterialMissing, text)
    })?;
    SigningKey::new(value).map_err(|bad| {
        DriverError::refused(Reason::WeakValue, format!("{version} of {}: {bad}", order.secret))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::driver::target::Nonce;
    use crate::model::id::{Generation, RotationId, TargetName};
    use crate::model::target::Wanted;
    use crate::model::time::Timestamp;

    #[test]
    fn the_one_in_use_signs_first_and_a_pending_one_not_at_all() {
        let v = VersionId;
        assert_eq!(signers(&[v(3), v(2), v(1)], Some(v(2))), [v(2), v(1)]);
        assert_eq!(signers(&[v(3), v(2)], Some(v(3))), [v(3), v(2)]);
        assert_eq!(signers(&[v(3)], None), []);
    }

    #[test]
    fn a_channel_without_keys_signs_nothing() {
        let channel = Channel::new(SecretName::new("push-channel").unwrap());
        for signed in [channel.sign_values(|_| ()), channel.sign_question(|_| ())] {
            assert_eq!(signed.unwrap_err().reason, Reason::MaterialMissing);
        }
    }

    #[tokio::test]
    async fn a_channel_that_is_ahead_says_how_far() {
        let channel = Channel::new(SecretName::new("push-channel").unwrap());
        let seen = Observation { generation: Generation(7), ..channel.holds() };
        channel.held.store(Arc::new(Held { seen: Some(seen), ..Held::default() }));
        let wanted = Wanted { generation: Generation(3), accepted: vec![], current: None };
        let order = Order {
            secret: &channel.secret,
            target: &TargetName::new("channel").unwrap(),
            rotation: &RotationId("r".to_owned()),
            wanted: &wanted,
            given: &BTreeMap::new(),
            prove: None,
            nonce: Nonce([0; 16]),
            now: Timestamp::default(),
        };
        for answer in [channel.push(&order).await, channel.observe(&order).await] {
            let error = answer.unwrap_err();
            assert_eq!((error.reason, error.ahead), (Reason::GenerationAhead, Some(Generation(7))));
        }
    }
}
