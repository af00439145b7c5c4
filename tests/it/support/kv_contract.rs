//! The contract of [`Kv`], as a suite that every implementation passes: the real Vault, and the
//! simulated one that the engine is tested on.
//!
//! Each function takes a mount that it has for itself and panics at the first breach.

use rotord::vault::document::Document;
use rotord::vault::error::VaultError;
use rotord::vault::{Kv, KvPath};
use serde_json::{Value, json};

/// Every part that needs nothing but the verbs of [`Kv`].
pub(crate) async fn all(kv: &dyn Kv, mount: &str) {
    a_first_write_needs_cas_zero(kv, mount).await;
    a_lost_race_writes_nothing(kv, mount).await;
    what_was_written_is_read(kv, mount).await;
    a_patch_merges_and_removes(kv, mount).await;
    a_patch_of_a_moved_or_missing_document_is_a_conflict(kv, mount).await;
    an_older_version_can_be_read(kv, mount).await;
    a_destroyed_newest_version_is_not_absent(kv, mount).await;
    destroying_nothing_succeeds(kv, mount).await;
    forgetting_a_path_starts_its_counter_again(kv, mount).await;
    a_listing_shows_names_and_folders(kv, mount).await;
    metadata_tells_versions_and_fates(kv, mount).await;
    a_missing_mount_is_not_an_empty_one(kv).await;
    odd_names_and_texts_survive(kv, mount).await;
    a_document_of_very_many_parts_is_refused(kv, mount).await;
    paths_that_would_be_sent_as_others_are_refused(kv, mount).await;
}

/// Why records lie there as one text.
async fn a_document_of_very_many_parts_is_refused(kv: &dyn Kv, mount: &str) {
    let many = |parts: usize| vec!["part"; parts];
    let at = at(mount, "many");
    let refused = kv.write(&at, &document(json!({ "parts": many(1_000) })), 0).await;
    assert!(matches!(refused, Err(VaultError::Refused { .. })), "{refused:?}");
    assert!(kv.read(&at).await.unwrap().is_none(), "it was written all the same");
    assert_eq!(kv.write(&at, &document(json!({ "parts": many(900) })), 0).await.unwrap(), 1);
    let text = json!({ "json": json!(many(50_000)).to_string() });
    assert_eq!(kv.write(&at, &document(text.clone()), 1).await.unwrap(), 2);
    assert_eq!(content(kv, &at).await, (2, text));
}

async fn a_first_write_needs_cas_zero(kv: &dyn Kv, mount: &str) {
    let at = at(mount, "first");
    assert!(kv.read(&at).await.unwrap().is_none(), "a path nobody wrote is absent");
    conflict(kv.write(&at, &document(json!({"a": 1})), 1).await);
    assert_eq!(kv.write(&at, &document(json!({"a": 1})), 0).await.unwrap(), 1);
    conflict(kv.write(&at, &document(json!({"a": 2})), 0).await);
    assert_eq!(kv.write(&at, &document(json!({"a": 2})), 1).await.unwrap(), 2);
}

async fn a_lost_race_writes_nothing(kv: &dyn Kv, mount: &str) {
    let at = at(mount, "race");
    kv.write(&at, &document(json!({"by": "x"})), 0).await.unwrap();
    kv.write(&at, &document(json!({"by": "y"})), 1).await.unwrap();
    conflict(kv.write(&at, &document(json!({"by": "z"})), 1).await);
    assert_eq!(content(kv, &at).await, (2, json!({"by": "y"})));
    assert_eq!(kv.metadata(&at).await.unwrap().unwrap().current_version, 2);
}

async fn what_was_written_is_read(kv: &dyn Kv, mount: &str) {
    let at = at(mount, "read/back");
    for version in 1..=20u64 {
        let value = json!({"n": version.to_string()});
        assert_eq!(kv.write(&at, &document(value.clone()), version - 1).await.unwrap(), version);
        assert_eq!(content(kv, &at).await, (version, value), "right after the write");
    }
}

async fn a_patch_merges_and_removes(kv: &dyn Kv, mount: &str) {
    let at = at(mount, "patch");
    let before = json!({"keep": "k", "drop": "d", "deep": {"keep": [1, 2], "drop": true}});
    kv.write(&at, &document(before), 0).await.unwrap();
    let patch = json!({"drop": null, "new": "n", "deep": {"drop": null, "new": {}}, "no": null});
    assert_eq!(kv.patch(&at, &document(patch), 1).await.unwrap(), 2);
    let after = json!({"keep": "k", "new": "n", "deep": {"keep": [1, 2], "new": {}}});
    assert_eq!(content(kv, &at).await, (2, after));
}

async fn a_patch_of_a_moved_or_missing_document_is_a_conflict(kv: &dyn Kv, mount: &str) {
    let at = at(mount, "patch-conflict");
    let patch = || document(json!({"b": "c"}));
    conflict(kv.patch(&at, &patch(), 0).await);
    conflict(kv.patch(&at, &patch(), 3).await);
    assert!(kv.read(&at).await.unwrap().is_none(), "a refused patch creates nothing");
    kv.write(&at, &document(json!({"a": "b"})), 0).await.unwrap();
    kv.write(&at, &document(json!({"a": "c"})), 1).await.unwrap();
    conflict(kv.patch(&at, &patch(), 1).await);
    assert_eq!(content(kv, &at).await, (2, json!({"a": "c"})));
}

async fn an_older_version_can_be_read(kv: &dyn Kv, mount: &str) {
    let at = at(mount, "older");
    kv.write(&at, &document(json!({"v": "1"})), 0).await.unwrap();
    kv.write(&at, &document(json!({"v": "2"})), 1).await.unwrap();
    let first = kv.read_version(&at, 1).await.unwrap().expect("version 1");
    assert_eq!((first.version, first.document.decode().unwrap()), (1, json!({"v": "1"})));
    assert!(kv.read_version(&at, 3).await.unwrap().is_none(), "a version nobody wrote");
    assert!(kv.read_version(&at, 0).await.unwrap().is_none(), "there is no version 0");
    kv.destroy(&at, &[1]).await.unwrap();
    assert!(kv.read_version(&at, 1).await.unwrap().is_none(), "a destroyed version");
    assert_eq!(content(kv, &at).await, (2, json!({"v": "2"})));
}

/// A soft-deleted newest version is [`VaultError::Deleted`], and its number still counts. `Kv`
/// cannot soft-delete, so the caller says how.
pub(crate) async fn a_soft_deleted_newest_version_is_not_absent(
    kv: &dyn Kv,
    mount: &str,
    soft_delete: impl AsyncFnOnce(&KvPath),
) {
    let at = at(mount, "soft-deleted");
    kv.write(&at, &document(json!({"a": "b"})), 0).await.unwrap();
    soft_delete(&at).await;
    gone(kv.read(&at).await, 1);
    gone(kv.patch(&at, &document(json!({"a": "c"})), 1).await, 1);
    conflict(kv.write(&at, &document(json!({"a": "c"})), 0).await);
    assert!(kv.read_version(&at, 1).await.unwrap().is_none());
    let fate = kv.metadata(&at).await.unwrap().unwrap().versions[&1];
    assert!(fate.deleted && !fate.destroyed, "{fate:?}");
    assert_eq!(kv.write(&at, &document(json!({"a": "d"})), 1).await.unwrap(), 2);
    assert_eq!(content(kv, &at).await, (2, json!({"a": "d"})));
}

async fn a_destroyed_newest_version_is_not_absent(kv: &dyn Kv, mount: &str) {
    let at = at(mount, "destroyed");
    kv.write(&at, &document(json!({"a": "b"})), 0).await.unwrap();
    kv.write(&at, &document(json!({"a": "c"})), 1).await.unwrap();
    kv.destroy(&at, &[1, 2]).await.unwrap();
    gone(kv.read(&at).await, 2);
    conflict(kv.write(&at, &document(json!({"a": "d"})), 0).await);
    let versions = kv.metadata(&at).await.unwrap().unwrap().versions;
    assert!(versions.values().all(|version| version.destroyed), "{versions:?}");
    assert_eq!(kv.write(&at, &document(json!({"a": "d"})), 2).await.unwrap(), 3);
}

async fn destroying_nothing_succeeds(kv: &dyn Kv, mount: &str) {
    let absent = at(mount, "never-written");
    kv.destroy(&absent, &[1, 2]).await.unwrap();
    kv.destroy(&absent, &[]).await.unwrap();
    kv.delete_metadata(&absent).await.unwrap();
    assert!(kv.metadata(&absent).await.unwrap().is_none());

    let at = at(mount, "destroy-twice");
    kv.write(&at, &document(json!({"a": "b"})), 0).await.unwrap();
    kv.write(&at, &document(json!({"a": "c"})), 1).await.unwrap();
    kv.destroy(&at, &[1, 9]).await.unwrap();
    kv.destroy(&at, &[1]).await.unwrap();
    assert_eq!(content(kv, &at).await, (2, json!({"a": "c"})));
}

async fn forgetting_a_path_starts_its_counter_again(kv: &dyn Kv, mount: &str) {
    let at = at(mount, "forgotten");
    kv.write(&at, &document(json!({"a": "b"})), 0).await.unwrap();
    kv.write(&at, &document(json!({"a": "c"})), 1).await.unwrap();
    kv.delete_metadata(&at).await.unwrap();
    assert!(kv.read(&at).await.unwrap().is_none());
    assert!(kv.metadata(&at).await.unwrap().is_none());
    assert!(kv.read_version(&at, 1).await.unwrap().is_none());
    assert_eq!(kv.write(&at, &document(json!({"a": "d"})), 0).await.unwrap(), 1);
}

async fn a_listing_shows_names_and_folders(kv: &dyn Kv, mount: &str) {
    for path in ["list/b", "list/a", "list/c/x", "list/c/y/z", "list/a/under"] {
        kv.write(&at(mount, path), &document(json!({})), 0).await.unwrap();
    }
    assert_eq!(names(kv, &at(mount, "list")).await, ["a", "a/", "b", "c/"]);
    assert_eq!(names(kv, &at(mount, "list/c")).await, ["x", "y/"]);
    assert!(names(kv, &at(mount, "list/b")).await.is_empty(), "a document is no folder");
    assert!(names(kv, &at(mount, "list/nothing")).await.is_empty());
    assert!(names(kv, &at(mount, "")).await.contains(&"list/".to_owned()));
    kv.delete_metadata(&at(mount, "list/b")).await.unwrap();
    assert_eq!(names(kv, &at(mount, "list")).await, ["a", "a/", "c/"]);
}

async fn metadata_tells_versions_and_fates(kv: &dyn Kv, mount: &str) {
    let at = at(mount, "metadata");
    assert!(kv.metadata(&at).await.unwrap().is_none());
    for version in 0..3 {
        kv.write(&at, &document(json!({"a": "b"})), version).await.unwrap();
    }
    kv.destroy(&at, &[2]).await.unwrap();
    let metadata = kv.metadata(&at).await.unwrap().unwrap();
    assert_eq!(metadata.current_version, 3);
    let fates: Vec<_> =
        metadata.versions.iter().map(|(n, v)| (*n, v.deleted, v.destroyed)).collect();
    assert_eq!(fates, [(1, false, false), (2, false, true), (3, false, false)]);
    let times: Vec<_> = metadata.versions.values().map(|v| v.created_at).collect();
    assert!(times.is_sorted() && times[0].0 > 0, "{times:?}");
}

async fn a_missing_mount_is_not_an_empty_one(kv: &dyn Kv) {
    let at = at("no-such-mount", "a");
    let no_mount = |error: VaultError| matches!(error, VaultError::NoMount { .. });
    assert!(no_mount(kv.read(&at).await.unwrap_err()));
    assert!(no_mount(kv.read_version(&at, 1).await.unwrap_err()));
    assert!(no_mount(kv.write(&at, &document(json!({})), 0).await.unwrap_err()));
    assert!(no_mount(kv.patch(&at, &document(json!({})), 1).await.unwrap_err()));
    assert!(no_mount(kv.list(&at).await.unwrap_err()));
    assert!(no_mount(kv.metadata(&at).await.unwrap_err()));
    assert!(no_mount(kv.destroy(&at, &[1]).await.unwrap_err()));
    assert!(no_mount(kv.delete_metadata(&at).await.unwrap_err()));
}

/// Numbers above 2^53 are left out: Vault rounds them.
async fn odd_names_and_texts_survive(kv: &dyn Kv, mount: &str) {
    let odd = json!({
        "ü": "naïve \u{1f511} \"quoted\" back\\slash",
        "lines": "a\nb\tc\u{0}",
        "number": 9_007_199_254_740_991_u64,
        "nested": {"empty": {}, "list": [null, true, "x"], "": "empty name"},
    });
    for path in [
        "odd/with space",
        "odd/ünï",
        "odd/a?b#c",
        "odd/50%",
        "odd/a%2Fb",
        "odd/a+b:c@d,e;f=g",
        "odd/...",
        "odd/.hidden",
        "odd/UPPER",
        "odd/_-~!$&'()*[]{}|^`\"<>\\",
    ] {
        let at = at(mount, path);
        assert_eq!(kv.write(&at, &document(odd.clone()), 0).await.unwrap(), 1, "{path}");
        assert_eq!(content(kv, &at).await, (1, odd.clone()), "{path}");
        let name = path.strip_prefix("odd/").unwrap().to_owned();
        assert!(names(kv, &self::at(mount, "odd")).await.contains(&name), "{path}");
    }
}

async fn paths_that_would_be_sent_as_others_are_refused(kv: &dyn Kv, mount: &str) {
    for path in ["", "a/../b", "./a", "a/.", "a//b", "/a", "a/", "a\nb", "a\u{7f}"] {
        let at = at(mount, path);
        let refused = kv.write(&at, &document(json!({})), 0).await;
        assert!(matches!(refused, Err(VaultError::Refused { .. })), "{path:?}: {refused:?}");
    }
    for mount in ["", "..", "a/../b", "/a", "a/"] {
        let refused = kv.read(&at(mount, "a")).await.map(|_| ());
        assert!(matches!(refused, Err(VaultError::Refused { .. })), "{mount:?}: {refused:?}");
    }
}

fn at(mount: &str, path: &str) -> KvPath {
    KvPath { mount: mount.to_owned(), path: path.to_owned() }
}

fn document(value: Value) -> Document {
    Document::encode(&value).expect("a JSON value")
}

async fn content(kv: &dyn Kv, at: &KvPath) -> (u64, Value) {
    let read = kv.read(at).await.unwrap().unwrap_or_else(|| panic!("{at} is absent"));
    (read.version, read.document.decode().expect("a JSON document"))
}

async fn names(kv: &dyn Kv, at: &KvPath) -> Vec<String> {
    let mut names = kv.list(at).await.unwrap();
    names.sort();
    names
}

#[track_caller]
fn conflict(result: Result<u64, VaultError>) {
    assert!(matches!(result, Err(VaultError::Conflict { .. })), "not a conflict: {result:?}");
}

#[track_caller]
fn gone<T: std::fmt::Debug>(result: Result<T, VaultError>, number: u64) {
    match result {
        Err(VaultError::Deleted { version, .. }) => assert_eq!(version, number),
        other => panic!("not deleted: {other:?}"),
    }
}
