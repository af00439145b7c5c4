//! From specs to drivers, and where the secrets of drivers come from.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rotord::config::{Config, parse};
use rotord::driver::registry::{ChannelSpec, Channels, Context, IssuerSpec, TargetSpec};
use rotord::driver::secret_ref::{FILE_LEN_MAX, SecretRef, Secrets};
use rotord::model::failure::Class;
use rotord::model::id::{SecretName, TargetName};
use rotord::model::reason::Reason;
use rotord::vault::KvPath;
use serde_json::json;

use crate::support::mem_kv::MemKv;

fn at(path: &str) -> KvPath {
    KvPath { mount: "kv".to_owned(), path: path.to_owned() }
}

fn context(kv: Arc<MemKv>, credentials: Option<PathBuf>, config: &Config) -> Context {
    let secrets = Secrets::new(Arc::clone(&kv) as _, credentials);
    let channels = Channels::default().renewed(&config.channels).unwrap();
    Context { kv, secrets, channels }
}

fn example() -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rotord.example.toml");
    let text = fs::read_to_string(path).unwrap();
    // There is no authority to read on this machine.
    let text: Vec<_> = text.lines().filter(|line| !line.starts_with("ca_file")).collect();
    parse(&text.join("\n"), "rotord.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_spec_of_the_example_becomes_a_driver() {
    let config = example();
    let context = context(Arc::default(), None, &config);
    let mut kinds = BTreeMap::new();
    for (name, secret) in &config.secrets {
        let issuer = context.issuer(name, &secret.issuer).unwrap();
        assert_eq!(Some(issuer.capabilities()), secret.issuer.capabilities().as_ref());
        for target in secret.targets.values() {
            context.target(&target.spec).map(drop).unwrap();
            let kind = match target.spec {
                TargetSpec::VaultKv(_) => "vault_kv",
                TargetSpec::Http(_) => "http",
                TargetSpec::Channel(_) => "channel",
            };
            *kinds.entry(kind).or_insert(0) += 1;
        }
    }
    assert_eq!(kinds, BTreeMap::from([("channel", 1), ("http", 2), ("vault_kv", 3)]));
}

#[test]
fn a_place_is_told_from_every_other_and_not_from_itself_spoken_to_otherwise() {
    let config = example();
    let targets = config.secrets.values().flat_map(|secret| secret.targets.values());
    let mut places = BTreeMap::new();
    for target in targets {
        assert_eq!(target.terms.place, Some(target.spec.place()));
        places.insert(target.spec.place(), ());
        let mut moved = target.spec.clone();
        match &mut moved {
            TargetSpec::VaultKv(settings) => {
                if let Some(acks) = &mut settings.acks {
                    acks.instances.insert("one-more".to_owned());
                    let place = TargetSpec::VaultKv(settings.clone()).place();
                    assert_ne!(place, target.spec.place(), "another instance must answer now");
                }
                settings.at.path.push('2');
            }
            TargetSpec::Http(spec) => {
                let mut patient = spec.clone();
                patient.timeout = patient.timeout.plus(patient.timeout);
                assert_eq!(TargetSpec::Http(patient).place(), target.spec.place());
                spec.environment.push('2');
            }
            TargetSpec::Channel(name) => name.push('2'),
        }
        assert_ne!(moved.place(), target.spec.place(), "{moved:?}");
    }
    assert_eq!(places.len(), 6, "two targets share a place");
}

#[test]
fn an_authority_that_cannot_be_read_is_named() {
    let mut config = example();
    let context = context(Arc::default(), None, &config);
    let crm = config.secrets.get_mut(&SecretName::new("crm-api").unwrap()).unwrap();
    let IssuerSpec::Http(spec) = &mut crm.issuer else { panic!("{:?}", crm.issuer) };
    spec.ca_file = Some("/nowhere/ca.pem".into());
    let error = context.issuer(&crm.name, &crm.issuer).map(drop).unwrap_err();
    assert_eq!((error.class, error.reason), (Class::Refused, Reason::Misconfigured));
    assert!(error.text.contains("/nowhere/ca.pem"), "{error}");
}

#[test]
fn a_target_without_its_channel_is_refused() {
    let mut config = example();
    config.channels.clear();
    let context = context(Arc::default(), None, &config);
    let hook = &config.secrets[&SecretName::new("billing-webhook").unwrap()];
    let sender = &hook.targets[&TargetName::new("sender").unwrap()];
    let error = context.target(&sender.spec).map(drop).unwrap_err();
    assert_eq!(error.reason, Reason::Misconfigured);
    assert!(error.text.contains("internal"), "{error}");
}

#[tokio::test]
async fn a_reload_keeps_the_channels_that_stay_and_makes_the_others_anew() {
    let kv = Arc::new(MemKv::default());
    kv.put(&at("push"), json!({"key": "a-signing-key-of-some-length"}));
    let secrets = Secrets::new(kv, None);
    let key = SecretRef::Vault { at: at("push"), field: "key".to_owned() };
    let fetched = ChannelSpec::Fetched { key: key.clone(), previous_key: None };
    let managed = ChannelSpec::Managed(SecretName::new("push-key").unwrap());
    let specs =
        BTreeMap::from([("stays".to_owned(), fetched), ("changes".to_owned(), managed.clone())]);
    let old = Channels::default().renewed(&specs).unwrap();
    old.fetch(&secrets).await.unwrap();

    let changed = ChannelSpec::Fetched { key: key.clone(), previous_key: Some(key) };
    let specs = BTreeMap::from([
        ("stays".to_owned(), specs["stays"].clone()),
        ("changes".to_owned(), changed),
        ("comes".to_owned(), managed),
    ]);
    let new = old.renewed(&specs).unwrap();
    assert!(Arc::ptr_eq(&old.get("stays").unwrap(), &new.get("stays").unwrap()));
    assert!(!Arc::ptr_eq(&old.get("changes").unwrap(), &new.get("changes").unwrap()));
    assert_eq!(new.get("comes").unwrap().secret().as_str(), "push-key");
}

#[tokio::test]
async fn a_channel_without_its_key_keeps_no_other_from_having_its_own() {
    let kv = Arc::new(MemKv::default());
    kv.put(&at("push"), json!({"key": "a-signing-key-of-some-length"}));
    let secrets = Secrets::new(kv, None);
    let fetched = |path: &str| ChannelSpec::Fetched {
        key: SecretRef::Vault { at: at(path), field: "key".to_owned() },
        previous_key: None,
    };
    let specs =
        BTreeMap::from([("a".to_owned(), fetched("missing")), ("b".to_owned(), fetched("push"))]);
    let channels = Channels::default().renewed(&specs).unwrap();
    let error = channels.fetch(&secrets).await.unwrap_err();
    assert!(error.text.contains("missing"), "{error}");
    assert!(!channels.get("a").unwrap().has_keys());
    assert!(channels.get("b").unwrap().has_keys());
}

#[tokio::test]
async fn a_channels_key_that_is_no_key_is_refused_without_being_shown() {
    let kv = Arc::new(MemKv::default());
    kv.put(&at("push"), json!({"key": "CANARY"}));
    let secrets = Secrets::new(kv, None);
    let key = SecretRef::Vault { at: at("push"), field: "key".to_owned() };
    let spec = ChannelSpec::Fetched { key, previous_key: None };
    let channels =
        Channels::default().renewed(&BTreeMap::from([("push".to_owned(), spec)])).unwrap();
    let error = channels.fetch(&secrets).await.unwrap_err();
    assert_eq!(error.reason, Reason::Misconfigured);
    assert!(error.text.contains("kv/push") && !error.text.contains("CANARY"), "{error}");
}

#[tokio::test]
async fn secrets_are_read_from_files_and_credentials_without_their_line_break() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = Secrets::new(Arc::new(MemKv::default()), Some(folder.path().to_owned()));
    for (content, value) in
        [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), ("s3cret", "s3cret"), ("a\n\n", "a\n")]
    {
        let path = folder.path().join("token");
        fs::write(&path, content).unwrap();
        for reference in [SecretRef::File(path), SecretRef::Credential("token".to_owned())] {
            let read = secrets.fetch(&reference).await.unwrap();
            assert_eq!(read.expose_str(), Some(value), "{reference}");
        }
    }
}

#[tokio::test]
async fn secrets_are_read_from_vault() {
    let kv = Arc::new(MemKv::default());
    kv.put(&at("app"), json!({"plain": "s3cret", "escaped": "a\"b\nü", "number": 7, "none": ""}));
    kv.put(&at("gone"), json!({"plain": "x"}));
    kv.soft_delete(&at("gone"));
    let secrets = Secrets::new(kv, None);
    let fetch = async |path: &str, field: &str| {
        let reference = SecretRef::Vault { at: at(path), field: field.to_owned() };
        secrets.fetch(&reference).await.map(|value| value.expose().to_vec())
    };
    assert_eq!(fetch("app", "plain").await.unwrap(), b"s3cret");
    assert_eq!(fetch("app", "escaped").await.unwrap(), "a\"b\nü".as_bytes());
    for (path, field, said) in [
        ("app", "number", "is not a text"),
        ("app", "none", "is empty"),
        ("app", "other", "has no field other"),
        ("nowhere", "plain", "no document at kv/nowhere"),
    ] {
        let error = fetch(path, field).await.unwrap_err();
        assert_eq!((error.class, error.reason), (Class::Refused, Reason::Misconfigured));
        assert!(error.text.contains(said), "{error}");
    }
    assert_eq!(fetch("gone", "plain").await.unwrap_err().class, Class::Gone);
}

#[tokio::test]
async fn files_that_cannot_be_a_secret_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = Secrets::new(Arc::new(MemKv::default()), None);
    let path = folder.path().join("secret");
    let file = SecretRef::File(path.clone());
    let refused = async |reference: &SecretRef, said: &str| {
        let error = secrets.fetch(reference).await.unwrap_err();
        assert_eq!(error.reason, Reason::Misconfigured);
        assert!(error.text.contains(said), "{error}");
    };
    refused(&file, "cannot be read").await;
    fs::write(&path, "\n").unwrap();
    refused(&file, "is empty").await;
    fs::write(&path, vec![b'x'; FILE_LEN_MAX + 1]).unwrap();
    refused(&file, "is larger than").await;
    refused(&SecretRef::Credential("token".to_owned()), "LoadCredential=token:").await;
}
