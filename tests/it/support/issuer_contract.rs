//! What every issuer must do, whatever it declares. Each implementation calls [`holds`] in one
//! line.
//!
//! The checks follow from the capabilities, as the route of a rotation does: an issuer cannot pass
//! by declaring less than it does, since what it declares is tried.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rotord::driver::issuer::{Issuer, Listed, Minted, Probe, Tag};
use rotord::model::capability::{OldDies, OnLost, ValueFrom};
use rotord::model::failure::Class;
use rotord::model::id::{KeyId, RotationId, SecretName, VersionId};
use rotord::model::material::{Material, SecretBytes};
use rotord::model::reason::Reason;
use rotord::model::time::Entropy;

/// An issuer under test, on an empty principal.
pub(crate) struct Subject {
    pub(crate) issuer: Arc<dyn Issuer>,
    /// Makes the next call's answer get lost after it was carried out.
    pub(crate) lose_next_answer: Box<dyn Fn() + Send + Sync>,
    /// Whether marks stand in the list.
    pub(crate) marks: bool,
}

/// Runs every check that fits the capabilities. The principal is empty again afterwards where
/// keys can be revoked.
pub(crate) async fn holds(subject: &Subject) {
    let issuer = subject.issuer.as_ref();
    let declared = issuer.capabilities().clone();
    assert_eq!(issuer.list().await, Ok(Vec::new()), "the principal is not empty");
    if !declared.remote {
        values_of_ours_are_fresh_and_strong(issuer);
        nothing_remote_is_pretended(issuer).await;
        return;
    }
    match declared.value {
        ValueFrom::Ours => {
            values_of_ours_are_fresh_and_strong(issuer);
            installing_twice_is_harmless(issuer).await;
        }
        ValueFrom::Theirs => values_of_theirs_are_fresh_and_strong(issuer).await,
    }
    match declared.old_dies {
        OldDies::OnRevoke => {
            both_live_until_one_is_revoked(subject).await;
            if let Some(capacity) = declared.capacity {
                a_full_issuer_says_so(issuer, capacity).await;
            }
        }
        OldDies::OnMint => minting_ends_the_old_key(issuer).await,
        OldDies::IssuerClock { .. } => {}
    }
    a_lost_answer_can_be_settled(subject).await;
}

/// A tag that no other call gets.
pub(crate) fn tag() -> Tag {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Tag {
        secret: SecretName::new("contract").unwrap(),
        rotation: RotationId(format!("20261122T031200Z-test-{number}")),
        run: "0011223344556677".to_owned(),
        version: VersionId(number),
    }
}

/// Mints the way a rotation does: with a value of ours where values are ours.
pub(crate) async fn mint(issuer: &dyn Issuer, tag: &Tag) -> Minted {
    let ours = match issuer.capabilities().value {
        ValueFrom::Ours => Some(issuer.make(&Random).unwrap()),
        ValueFrom::Theirs => None,
    };
    issuer.mint(tag, ours.as_ref()).await.unwrap()
}

/// The system's randomness.
pub(crate) struct Random;

impl Entropy for Random {
    fn fill(&self, buffer: &mut [u8]) {
        aws_lc_rs::rand::fill(buffer).unwrap();
    }
}

/// A copy of material that its owner gives away.
pub(crate) fn copy(material: &Material) -> Material {
    let copied = material
        .fields()
        .map(|(name, bytes)| (name.to_owned(), SecretBytes::new(bytes.expose().to_vec())));
    Material::from_fields(copied.collect())
}

fn text(material: &Material) -> String {
    material.value().unwrap().expose_str().unwrap().to_owned()
}

fn id(minted: &Minted) -> &KeyId {
    minted.key_id.as_ref().unwrap()
}

async fn probe(issuer: &dyn Issuer, minted: &Minted) -> Probe {
    issuer.probe(minted.key_id.as_ref(), &minted.material).await.unwrap()
}

async fn marked(issuer: &dyn Issuer, tag: &Tag) -> Vec<Listed> {
    let all = issuer.list().await.unwrap();
    all.into_iter().filter(|key| key.mark.as_deref() == Some(&tag.to_string())).collect()
}

fn values_of_ours_are_fresh_and_strong(issuer: &dyn Issuer) {
    let values: BTreeSet<String> = (0..50)
        .map(|_| {
            let material = issuer.make(&Random).unwrap();
            assert_eq!(material.check(), Ok(()));
            text(&material)
        })
        .collect();
    assert_eq!(values.len(), 50, "a value was made twice");
}

async fn nothing_remote_is_pretended(issuer: &dyn Issuer) {
    let material = issuer.make(&Random).unwrap();
    let minted = issuer.mint(&tag(), Some(&material)).await.unwrap();
    assert!(minted.material.value().unwrap().same(material.value().unwrap()));
    assert_eq!(minted.key_id, None);
    assert_eq!(issuer.list().await, Ok(Vec::new()));
    assert_eq!(issuer.revoke(&KeyId("none".to_owned())).await, Ok(()));
    assert!(issuer.probe(None, &material).await.is_err());
}

async fn values_of_theirs_are_fresh_and_strong(issuer: &dyn Issuer) {
    let mut values = BTreeSet::new();
    for _ in 0..3 {
        let minted = mint(issuer, &tag()).await;
        assert_eq!(minted.material.check(), Ok(()));
        assert!(values.insert(text(&minted.material)), "a value was minted twice");
        issuer.revoke(id(&minted)).await.unwrap();
    }
}

async fn installing_twice_is_harmless(issuer: &dyn Issuer) {
    let (tag, ours) = (tag(), issuer.make(&Random).unwrap());
    let first = issuer.mint(&tag, Some(&ours)).await.unwrap();
    let second = issuer.mint(&tag, Some(&ours)).await.unwrap();
    assert_eq!(first.key_id, second.key_id);
    assert!(second.material.value().unwrap().same(ours.value().unwrap()));
    assert_eq!(probe(issuer, &second).await, Probe::Works);
    assert_eq!(issuer.list().await.unwrap().len(), 1, "installing twice made two keys");
    issuer.revoke(id(&second)).await.unwrap();
}

async fn both_live_until_one_is_revoked(subject: &Subject) {
    let issuer = subject.issuer.as_ref();
    let (old_tag, new_tag) = (tag(), tag());
    let old = mint(issuer, &old_tag).await;
    let new = mint(issuer, &new_tag).await;
    assert_ne!(id(&old), id(&new));
    assert_eq!(probe(issuer, &old).await, Probe::Works);
    assert_eq!(probe(issuer, &new).await, Probe::Works);
    if subject.marks {
        let found = marked(issuer, &new_tag).await;
        assert_eq!(found.iter().map(|key| &key.key_id).collect::<Vec<_>>(), [id(&new)]);
    }

    issuer.revoke(id(&old)).await.unwrap();
    assert_eq!(probe(issuer, &old).await, Probe::Refused);
    assert_eq!(probe(issuer, &new).await, Probe::Works, "revoking one key ended another");
    issuer.revoke(id(&old)).await.expect("revoking a key that is gone succeeds");
    assert!(marked(issuer, &old_tag).await.is_empty());

    issuer.revoke(id(&new)).await.unwrap();
    let never = mint(issuer, &tag()).await;
    issuer.revoke(id(&never)).await.unwrap();
    assert_eq!(issuer.list().await, Ok(Vec::new()));
}

async fn a_full_issuer_says_so(issuer: &dyn Issuer, capacity: u32) {
    let mut keys = Vec::new();
    for _ in 0..capacity {
        keys.push(mint(issuer, &tag()).await);
    }
    let error = issuer.mint(&tag(), None).await.unwrap_err();
    assert_eq!((error.class, error.reason), (Class::Refused, Reason::IssuerFull), "{error}");
    for key in &keys {
        assert_eq!(probe(issuer, key).await, Probe::Works, "a refused mint ended a key");
    }
    issuer.revoke(id(&keys[0])).await.unwrap();
    keys[0] = mint(issuer, &tag()).await;
    for key in &keys {
        issuer.revoke(id(key)).await.unwrap();
    }
}

async fn minting_ends_the_old_key(issuer: &dyn Issuer) {
    let old = mint(issuer, &tag()).await;
    assert_eq!(probe(issuer, &old).await, Probe::Works);
    let new = mint(issuer, &tag()).await;
    assert_eq!(probe(issuer, &old).await, Probe::Refused);
    assert_eq!(probe(issuer, &new).await, Probe::Works);
    issuer.revoke(id(&old)).await.expect("the old key is gone: the wish is fulfilled");
    assert_eq!(probe(issuer, &new).await, Probe::Works, "revoking the old key ended the new one");
}

/// The way out of a lost answer that the issuer declares is walked to its end.
async fn a_lost_answer_can_be_settled(subject: &Subject) {
    let issuer = subject.issuer.as_ref();
    let declared = issuer.capabilities();
    let tag = tag();
    let ours = (declared.value == ValueFrom::Ours).then(|| issuer.make(&Random).unwrap());
    (subject.lose_next_answer)();
    let lost = issuer.mint(&tag, ours.as_ref()).await.unwrap_err();
    assert_eq!(lost.class, Class::Ambiguous, "{lost}");

    let settled = match declared.on_lost {
        OnLost::Repeat => issuer.mint(&tag, ours.as_ref()).await.unwrap(),
        OnLost::Sweep => {
            let orphans = marked(issuer, &tag).await;
            assert_eq!(orphans.len(), 1, "the lost key is not found by its mark");
            issuer.revoke(&orphans[0].key_id).await.unwrap();
            issuer.mint(&tag, ours.as_ref()).await.unwrap()
        }
        OnLost::AdoptThenRoll => {
            let orphans = marked(issuer, &tag).await;
            assert_eq!(orphans.len(), 1, "the lost key is not found by its mark");
            issuer.roll(&orphans[0].key_id, &tag).await.unwrap()
        }
        OnLost::Manual => return,
    };
    assert_eq!(probe(issuer, &settled).await, Probe::Works);
    assert_eq!(issuer.list().await.unwrap().len(), 1, "an orphan was left");
    issuer.revoke(id(&settled)).await.unwrap();
}
