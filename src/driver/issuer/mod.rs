//! The issuer's contract: what mints, finds, probes and revokes.

pub mod generated;
pub mod http;
pub mod manual;

#[cfg(any(test, fuzzing))]
pub(crate) use http::fuzz;

use std::fmt;

use async_trait::async_trait;

use crate::driver::error::DriverError;
use crate::model::capability::Capabilities;
use crate::model::id::{KeyId, RotationId, SecretName, VersionId};
use crate::model::material::{Material, SecretBytes};
use crate::model::time::{Entropy, Timestamp};

/// The mark under which a key is minted, so that it can be found again after a lost answer.
///
/// Its text form, `rotord:<secret>:<rotation>:<run>:<version>`, is what drivers write into a name,
/// description or metadata field at the issuer. It holds nothing secret, and at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The secret the key is for.
    pub secret: SecretName,
    /// The rotation that asked for it.
    pub rotation: RotationId,
    /// Which run under that name: hexadecimal digits that no other record and no later opening has.
    pub run: String,
    /// The version it will be.
    pub version: VersionId,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tag { secret, rotation, run, version } = self;
        write!(f, "rotord:{secret}:{rotation}:{run}:{version}")
    }
}

/// A mark as it was read back from an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The rotation that asked for the key.
    pub rotation: RotationId,
    /// Which run of it; older programs wrote none.
    pub run: Option<String>,
    /// The version it was to be.
    pub version: VersionId,
}

impl Mark {
    /// Reads a mark, if the text is one of this secret.
    pub fn read(text: &str, secret: &SecretName) -> Option<Mark> {
        let rest =
            text.strip_prefix("rotord:")?.strip_prefix(secret.as_str())?.strip_prefix(':')?;
        let (rest, version) = rest.rsplit_once(":v")?;
        let version = version.parse().ok().map(VersionId)?;
        let (rotation, run) = match rest.split_once(':') {
            Some((rotation, run)) => (rotation, Some(run.to_owned())),
            None => (rest, None),
        };
        Some(Mark { rotation: RotationId(rotation.to_owned()), run, version })
    }
}

/// A key as it came from a mint: the only moment the issuer shows the value.
#[derive(Debug)]
pub struct Minted {
    /// The issuer's id of the key; absent only where an issuer has none.
    pub key_id: Option<KeyId>,
    /// The value.
    pub material: Material,
}

/// A key as it stands in an issuer's list: never with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The issuer's id.
    pub key_id: KeyId,
    /// The text of its mark field, if the issuer has one and it is set.
    pub mark: Option<String>,
    /// When it was created, if the issuer says.
    pub created_at: Option<Timestamp>,
    /// When it was last used, if the issuer says.
    pub last_used_at: Option<Timestamp>,
}

/// What trying a key showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The issuer accepted it.
    Works,
    /// The issuer definitely refused it.
    Refused,
}

/// Mints, finds, probes and revokes the versions of one secret.
///
/// # Expected flow
/// `make` (values of ours) or `list`, then `mint`; `probe`; long after, `revoke` of the old key and
/// `probe` of it again, which must be [`Probe::Refused`]. After a crash: `list`, to find what a
/// lost `mint` left behind by its mark.
///
/// # Guarantees the driver gives
/// - `capabilities` never changes while the driver lives.
/// - `mint` under the same tag may be called twice; what a second call does is declared in
///   `on_lost`. With [`ValueFrom::Ours`](crate::model::capability::ValueFrom::Ours) a second call
///   with the same material is harmless and succeeds.
/// - `revoke` of a key that is gone succeeds: the wish is fulfilled.
/// - `probe` answers `Refused` only if the issuer judged the key itself; any doubt is an error.
/// - No method retries by itself and each ends within the driver's time-out.
///
/// # What it may assume
/// Everything destructive has passed the gate; the caller has written its intent.
///
/// # Cancellation
/// A dropped call counts as [`Class::Ambiguous`](crate::model::failure::Class::Ambiguous).
///
/// # Errors
/// [`DriverError`], whose text holds no secret and no part of an answer's body.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// What it declares about itself.
    fn capabilities(&self) -> &Capabilities;

    /// Makes a value, without IO. Only called if values are ours.
    fn make(&self, entropy: &dyn Entropy) -> Result<Material, DriverError>;

    /// Mints a key under the tag. `ours` is the value to install, where values are ours.
    async fn mint(&self, tag: &Tag, ours: Option<&Material>) -> Result<Minted, DriverError>;

    /// Every key of the principal, marked or not. Empty where there is no remote issuer.
    async fn list(&self) -> Result<Vec<Listed>, DriverError>;

    /// Takes a key that a lost `mint` left behind and gives it a new value under the same tag; the
    /// answer is the key as it then stands. Only called for `adopt_then_roll`.
    async fn roll(&self, found: &KeyId, tag: &Tag) -> Result<Minted, DriverError>;

    /// Tries a key the way a consumer would use it.
    async fn probe(
        &self,
        key_id: Option<&KeyId>,
        material: &Material,
    ) -> Result<Probe, DriverError>;

    /// Ends a key for good; disables it first where the issuer has that. An issuer without an API
    /// refuses with [`Reason::RevokeByHand`](crate::model::reason::Reason::RevokeByHand): a person
    /// ends the key and says so.
    async fn revoke(&self, key_id: &KeyId) -> Result<(), DriverError>;

    /// Ends the live sessions of a revoked key. Only called if `terminates` is declared.
    async fn terminate(&self, key_id: &KeyId) -> Result<(), DriverError>;
}

/// The same material once more, for a [`Minted`] whose value the caller brought along.
fn copy_of(material: &Material) -> Material {
    let copy = |bytes: &SecretBytes| SecretBytes::new(bytes.expose().to_vec());
    Material::from_fields(
        material.fields().map(|(name, bytes)| (name.to_owned(), copy(bytes))).collect(),
    )
}
