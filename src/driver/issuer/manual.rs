//! An issuer without an API: a person mints and ends the keys, rotord does the rest.
//!
//! Decides nothing but what the person is asked for. Every answer names the next step.

use async_trait::async_trait;

use crate::driver::error::DriverError;
use crate::driver::issuer::{Issuer, Listed, Minted, Probe, Tag};
use crate::model::capability::{Capabilities, OldDies, OnLost, ValueFrom};
use crate::model::id::{KeyId, SecretName};
use crate::model::material::Material;
use crate::model::reason::Reason;
use crate::model::time::{Entropy, Span};

/// The issuer of one secret whose keys are made and ended by hand.
pub struct Manual {
    secret: SecretName,
    instructions: String,
    capabilities: Capabilities,
}

impl Manual {
    /// `instructions` is what the person reads: where the key is made, and by whom. `capacity` is
    /// how many keys that place allows at once.
    pub fn new(secret: SecretName, instructions: String, capacity: Option<u32>) -> Manual {
        Manual { secret, instructions, capabilities: Manual::declares(capacity) }
    }

    /// What such an issuer declares about itself.
    pub fn declares(capacity: Option<u32>) -> Capabilities {
        Capabilities {
            value: ValueFrom::Theirs,
            capacity,
            old_dies: OldDies::OnRevoke,
            on_lost: OnLost::Manual,
            remote: true,
            probes: false,
            terminates: false,
            settle: Span::ZERO,
            exclusive: false,
        }
    }

    fn impossible(&self, what: &str) -> DriverError {
        let secret = &self.secret;
        DriverError::refused(
            Reason::Misconfigured,
            format!("the issuer of {secret} has no API, so a key cannot be {what}"),
        )
    }
}

#[async_trait]
impl Issuer for Manual {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn make(&self, _: &dyn Entropy) -> Result<Material, DriverError> {
        Err(self.impossible("made here"))
    }

    async fn mint(&self, _: &Tag, _: Option<&Material>) -> Result<Minted, DriverError> {
        let Manual { secret, instructions, .. } = self;
        Err(DriverError::refused(
            Reason::ValueNeeded,
            format!(
                "a person must mint the new key of {secret} ({instructions}) and give it on \
                 standard input to: rotord provide {secret}"
            ),
        ))
    }

    async fn list(&self) -> Result<Vec<Listed>, DriverError> {
        Ok(Vec::new())
    }

    async fn roll(&self, _: &KeyId, _: &Tag) -> Result<Minted, DriverError> {
        Err(self.impossible("rolled"))
    }

    async fn probe(&self, _: Option<&KeyId>, _: &Material) -> Result<Probe, DriverError> {
        Err(self.impossible("probed"))
    }

    /// Always refused with [`Reason::RevokeByHand`]: only the person knows when it is done. With
    /// this reason `resolve NAME retry` is that person's word, and nothing is asked here again.
    async fn revoke(&self, key_id: &KeyId) -> Result<(), DriverError> {
        let Manual { secret, instructions, .. } = self;
        Err(DriverError::refused(
            Reason::RevokeByHand,
            format!(
                "a person must end key {key_id} of {secret} at its issuer ({instructions}) and \
                 then confirm it with: rotord resolve {secret} retry"
            ),
        ))
    }

    async fn terminate(&self, _: &KeyId) -> Result<(), DriverError> {
        Err(self.impossible("cut off"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Class;
    use crate::model::id::{RotationId, VersionId};

    fn manual() -> Manual {
        let secret = SecretName::new("deploy-key").expect("legal");
        Manual::new(secret, "ask the vendor's support".to_owned(), Some(2))
    }

    #[tokio::test]
    async fn a_mint_asks_for_the_value_and_names_the_command() {
        let tag = Tag {
            secret: SecretName::new("deploy-key").expect("legal"),
            rotation: RotationId("r".to_owned()),
            run: "0".to_owned(),
            version: VersionId(1),
        };
        let error = manual().mint(&tag, None).await.expect_err("no API");
        assert_eq!((error.class, error.reason), (Class::Refused, Reason::ValueNeeded));
        assert!(error.text.contains("rotord provide deploy-key"), "{error}");
        assert!(error.text.contains("ask the vendor's support"), "{error}");
    }

    #[tokio::test]
    async fn a_revocation_names_the_key_and_the_way_to_finish() {
        let key_id = KeyId("ak-17".to_owned());
        let error = manual().revoke(&key_id).await.expect_err("no API");
        assert_eq!((error.class, error.reason), (Class::Refused, Reason::RevokeByHand));
        assert!(error.text.contains("ak-17"), "{error}");
        assert!(error.text.contains("rotord resolve deploy-key retry"), "{error}");
    }

    #[tokio::test]
    async fn nothing_is_pretended() {
        assert_eq!(manual().list().await, Ok(Vec::new()));
        let material = Material::from_fields(Default::default());
        let error = manual().probe(None, &material).await.expect_err("no API");
        assert_eq!(error.reason, Reason::Misconfigured);
        assert!(!manual().capabilities().probes);
    }
}
