//! Secrets of a source that rotord itself rotates.

use rotord::intake::Rejected;
use rotord::intake::keyring::{FLOOR, KEEP, Keyring};
use rotord::model::material::SecretBytes;
use rotord::model::time::Timestamp;
use rotord::signing::token;

use super::{Log, THEN, Vault, assert_silent, field};

const OLD: &str = "the token of last quarter";
const NEW: &str = "the token of this quarter";

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(THEN + i64::try_from(seconds).unwrap())
}

async fn judge(keyring: &Keyring, seconds: u64, token: &str) -> Result<usize, Rejected> {
    keyring.judge(at(seconds), |tokens| token::verify(tokens, token.as_bytes())).await
}

fn keyring(vault: &Vault) -> Keyring {
    Keyring::new(vec![field("current"), field("previous")], vault.secrets())
}

#[tokio::test]
async fn old_and_new_are_believed_during_the_overlap_and_the_old_one_not_after_it() {
    let vault = Vault::new(&[("current", OLD)]);
    let keyring = keyring(&vault);
    assert_eq!(judge(&keyring, 0, OLD).await, Ok(0));
    assert_eq!(judge(&keyring, 0, NEW).await, Err(Rejected::Unauthenticated));

    vault.hold(&[("current", NEW), ("previous", OLD)]);
    let floor = FLOOR.0 / 1000;
    assert_eq!(judge(&keyring, floor, NEW).await, Ok(0), "a sender that was quicker than we");
    assert_eq!(judge(&keyring, floor, OLD).await, Ok(1));

    vault.hold(&[("current", NEW)]);
    let keep = KEEP.0 / 1000;
    assert_eq!(judge(&keyring, floor + keep - 1, OLD).await, Ok(1), "until it is asked again");
    assert_eq!(judge(&keyring, floor + keep, OLD).await, Err(Rejected::Unauthenticated));
    assert_eq!(judge(&keyring, floor + keep, NEW).await, Ok(0));
}

#[tokio::test]
async fn forged_messages_do_not_reach_vault() {
    let vault = Vault::new(&[("current", NEW), ("previous", OLD)]);
    let keyring = keyring(&vault);
    assert_eq!(judge(&keyring, 0, NEW).await, Ok(0));
    assert_eq!(vault.asked(), 2);
    for _ in 0..1_000 {
        assert_eq!(judge(&keyring, 4, "forged").await, Err(Rejected::Unauthenticated));
    }
    assert_eq!(vault.asked(), 0);
    for _ in 0..1_000 {
        assert_eq!(judge(&keyring, 5, "forged").await, Err(Rejected::Unauthenticated));
    }
    assert_eq!(vault.asked(), 2, "once every few seconds");
}

#[tokio::test]
async fn without_any_secret_nothing_can_be_judged() {
    let log = Log::listen();
    let vault = Vault::new(&[("current", "short"), ("other", NEW)]);
    let keyring = keyring(&vault);
    for token in ["short", NEW, ""] {
        assert_eq!(judge(&keyring, 0, token).await, Err(Rejected::Unavailable), "{token:?}");
    }
    assert!(log.text().contains("field current of kv/alerts/hook"), "{}", log.text());
    vault.hold(&[("current", NEW)]);
    assert_eq!(judge(&keyring, 5, NEW).await, Ok(0));
}

#[tokio::test]
async fn a_clock_that_was_set_back_keeps_nothing_for_longer() {
    let vault = Vault::new(&[("current", OLD)]);
    let keyring = keyring(&vault);
    assert_eq!(judge(&keyring, 100_000, OLD).await, Ok(0));
    vault.hold(&[("current", NEW)]);
    assert_eq!(judge(&keyring, 0, OLD).await, Err(Rejected::Unauthenticated));
    assert_eq!(judge(&keyring, 0, NEW).await, Ok(0));
}

#[tokio::test]
async fn a_keyring_shows_places_and_no_values() {
    let log = Log::listen();
    let canary = "rk_live_4eC39HqLyjWD as a secret of a hook";
    let vault = Vault::new(&[("current", canary)]);
    let keyring = keyring(&vault);
    assert_eq!(judge(&keyring, 0, canary).await, Ok(0));
    let one = SecretBytes::new(canary.as_bytes().to_vec());
    assert_silent(&format!("{keyring:?} {one:?} {}", log.text()));
}
