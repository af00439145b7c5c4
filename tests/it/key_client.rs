//! The example's consumer through a rotation: real key service, real OpenBao, the real target.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rotord::driver::issuer::http::preset::Preset;
use rotord::driver::issuer::http::{Fixed, HttpIssuer, Settings};
use rotord::driver::issuer::{Issuer, Minted};
use rotord::driver::target::vault_kv::acks::Acks;
use rotord::driver::target::vault_kv::{self, Fields, VaultKv};
use rotord::driver::target::{Given, Nonce, Order, Target};
use rotord::model::id::{Generation, RotationId, SecretName, TargetName, VersionId};
use rotord::model::material::SecretBytes;
use rotord::model::target::{Level, Observation, Wanted};
use rotord::model::time::Timestamp;
use rotord::net;
use rotord::vault::KvPath;
use serde_json::json;

use crate::support::bao::Bao;
use crate::support::consumer::{Consumer, Counts, Places};
use crate::support::issuer_contract::{mint, tag};
use crate::support::keys::Mode;
use crate::support::servers::{ADMIN, Server, key_service};

struct Scene {
    service: Server,
    issuer: HttpIssuer,
    target: VaultKv,
    consumer: Consumer,
}

async fn scene() -> Scene {
    let bao = Bao::shared().await;
    let mount = bao.fresh_mount().await;
    let service = key_service(Mode::Slots).await;
    let address = format!("http://{}", service.address);
    let admin = Arc::new(SecretBytes::new(ADMIN.as_bytes().to_vec()));
    let settings = Settings {
        params: BTreeMap::from([("address".to_owned(), json!(address))]),
        auth: BTreeMap::from([("token".to_owned(), Arc::new(Fixed(admin)) as _)]),
        exclusive: None,
    };
    let preset = Preset::find("rotord-demo-keys", None).unwrap();
    let connect = |base: &url::Url| net::Client::new(&net::Settings::new(base.clone()));
    let at = |path: &str| KvPath { mount: mount.clone(), path: path.to_owned() };
    let document = vault_kv::Settings {
        at: at("billing"),
        fields: Fields::default(),
        acks: Some(Acks { at: at("billing-ack"), instances: BTreeSet::new() }),
    };
    let places = Places {
        service: address,
        vault: bao.address().as_str().trim_end_matches('/').to_owned(),
        vault_token: bao.root_token().to_owned(),
        mount: mount.clone(),
        path: "billing".to_owned(),
        ack_path: Some("billing-ack".to_owned()),
    };
    Scene {
        service,
        issuer: HttpIssuer::new(&preset, settings, connect).unwrap(),
        target: VaultKv::new(Arc::new(bao.vault()), document).unwrap(),
        consumer: Consumer::new(places).unwrap(),
    }
}

/// What a target is asked to do.
#[derive(Clone, Copy)]
enum Ask {
    Push,
    Observe,
}

impl Scene {
    /// Asks the target for these keys, newest first, of which the newest is to be used.
    async fn ask(&self, ask: Ask, generation: u64, keys: &[&Minted]) -> Observation {
        let newest = keys.len() as u64;
        let accepted: Vec<VersionId> = (1..=newest).rev().map(VersionId).collect();
        let given = keys.iter().map(|key| Given {
            material: &key.material,
            key_id: key.key_id.as_ref(),
            staged_at: Timestamp(1),
        });
        let given = accepted.iter().copied().zip(given).collect();
        let current = accepted.first().copied();
        let wanted = Wanted { generation: Generation(generation), accepted, current };
        let order = Order {
            secret: &SecretName::new("billing").unwrap(),
            target: &TargetName::new("document").unwrap(),
            rotation: &RotationId("20261122T031200Z-test".to_owned()),
            wanted: &wanted,
            given: &given,
            prove: current,
            nonce: Nonce([7; 16]),
            now: Timestamp(1),
        };
        let seen = match ask {
            Ask::Push => self.target.push(&order).await,
            Ask::Observe => self.target.observe(&order).await,
        };
        seen.unwrap()
    }

    fn counts(&self) -> (u64, u64) {
        let Counts { accepted, rejected, failed } = self.consumer.counts();
        assert_eq!(failed, 0);
        (accepted, rejected)
    }
}

#[tokio::test]
async fn the_consumer_changes_its_key_without_a_rejected_request() {
    let mut scene = scene().await;
    assert_eq!(scene.consumer.reread().await.unwrap(), None, "nothing was written yet");
    assert!(!scene.consumer.work().await);
    assert_eq!(scene.counts(), (0, 0), "it worked without a key");

    let old = mint(&scene.issuer, &tag()).await;
    scene.ask(Ask::Push, 1, &[&old]).await;
    assert_eq!(scene.consumer.reread().await.unwrap(), Some(1));
    scene.consumer.work().await;
    assert_eq!(scene.ask(Ask::Observe, 1, &[&old]).await.level, Level::Acknowledged);

    let new = mint(&scene.issuer, &tag()).await;
    let pushed = scene.ask(Ask::Push, 2, &[&new, &old]).await;
    assert!(pushed.level < Level::Acknowledged, "acknowledged before it was read");
    scene.consumer.work().await;
    assert_eq!(scene.consumer.reread().await.unwrap(), Some(2));
    let seen = scene.ask(Ask::Observe, 2, &[&new, &old]).await;
    assert_eq!((seen.level, seen.current), (Level::Acknowledged, Some(VersionId(2))));

    scene.issuer.revoke(old.key_id.as_ref().unwrap()).await.unwrap();
    assert!(!scene.consumer.work().await);
    assert_eq!(scene.consumer.reread().await.unwrap(), None);
    assert_eq!(scene.counts(), (3, 0));
}

#[tokio::test]
async fn a_key_that_is_ended_too_early_shows_in_both_counts() {
    let mut scene = scene().await;
    let key = mint(&scene.issuer, &tag()).await;
    scene.ask(Ask::Push, 1, &[&key]).await;
    scene.consumer.reread().await.unwrap();
    scene.consumer.work().await;
    scene.issuer.revoke(key.key_id.as_ref().unwrap()).await.unwrap();
    assert!(scene.consumer.work().await, "a rejection is a reason to look at once");
    assert_eq!(scene.counts(), (1, 1));

    let base = format!("http://{}", scene.service.address).parse().unwrap();
    let client = net::Client::new(&net::Settings::new(base)).unwrap();
    let stats = client.send(net::request::Request::new(http::Method::GET, "/stats")).await.unwrap();
    let stats: serde_json::Value = serde_json::from_slice(stats.body.expose()).unwrap();
    assert_eq!((&stats["accepted"], &stats["rejected"]), (&json!(1), &json!(1)));
    assert_eq!(stats["keys"]["key-1"], json!({ "alive": false, "accepted": 1, "rejected": 1 }));
}
