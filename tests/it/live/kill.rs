//! `kill -9` on either side of every request of a rotation, and a restart: the rotation ends as if
//! nothing had happened, nobody is turned away meanwhile, and nothing is left over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use rotord::api::wire::Detail;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::live::issuers::alive;
use crate::live::places::{self, Places};
use crate::live::services::Webhook;
use crate::support::consumer::{Consumer, Counts, Places as Reads};
use crate::support::daemon::{Daemon, Home};
use crate::support::fault_proxy::{FaultProxy, Side, Tripwire};
use crate::support::keys::Mode;
use crate::support::servers::{ADMIN, key_service};

/// Rotations that are killed side by side; each takes its share of the requests. An odd number, so
/// that each meets both sides.
const LANES: usize = 15;

/// A daemon all of whose requests pass a wire that can kill it.
struct Bench {
    places: Places<'static>,
    home: Home,
    wire: Arc<Tripwire>,
    vault: FaultProxy,
    secret: &'static str,
}

impl Bench {
    async fn new(secret: &'static str) -> Bench {
        let places = Places::new(places::shared().await).await;
        let wire = Arc::<Tripwire>::default();
        let server = places.bao.address().socket_addrs(|| None).unwrap()[0];
        let vault = FaultProxy::with_tripwire(server, Arc::clone(&wire)).await;
        Bench { places, home: Home::new(), wire, vault, secret }
    }

    async fn configure(&self, rest: &str) {
        let vault = format!("http://{}", self.vault.address);
        self.places.configure(&self.home, &vault, rest).await;
    }

    /// Rotates again and again, killed on both sides of the requests of this lane, until the lane
    /// is beyond the last one. Answers how often the daemon was killed, and how it stands then.
    async fn kill_through(&self, lane: usize) -> (usize, Detail) {
        let mut daemon = self.home.start().await;
        let mut detail = daemon.until_done(self.secret, None).await;
        // Neighbours go to different lanes: what is slow to mend is slow on both of its sides.
        for (kills, point) in (lane..).step_by(LANES).enumerate() {
            let (number, side) = (point / 2 + 1, [Side::Before, Side::After][point % 2]);
            let version = detail.secret.summary.current.as_ref().unwrap().version + 1;
            self.wire.arm(daemon.id(), number, side);
            let rotating = async {
                self.order(&daemon).await;
                self.until_at(&daemon, version).await
            };
            let ended = tokio::select! {
                biased;
                () = self.wire.tripped() => None,
                ended = rotating => Some(ended),
            };
            self.wire.disarm();
            detail = match ended {
                Some(detail) => return (kills, detail),
                None => self.restarted(&mut daemon, version).await,
            };
            self.check(&detail, &format!("{side:?} request {number}")).await;
        }
        unreachable!("the numbers do not end")
    }

    async fn restarted(&self, daemon: &mut Daemon, version: u64) -> Detail {
        daemon.ended().await;
        self.nothing_is_used_that_is_not_saved().await;
        *daemon = self.home.start().await;
        let read = |detail: &Detail| detail.daemon.loaded && detail.daemon.leader;
        let seen = daemon.until_secret(self.secret, "read", read).await;
        let closed = seen.secret.summary.rotation.is_none_or(|run| run.phase == "closed");
        let current = seen.secret.summary.current.unwrap().version;
        // Killed before the command was durable, so whoever gave it got no answer.
        if closed && current < version {
            self.order(daemon).await;
        }
        self.until_at(daemon, version).await
    }

    async fn order(&self, daemon: &Daemon) {
        let path = format!("/v1/secrets/{}/rotate?reason=kill", self.secret);
        let (status, text) = daemon.call(Method::POST, &path).await;
        assert_eq!(status, 200, "{text}");
    }

    async fn until_at(&self, daemon: &Daemon, version: u64) -> Detail {
        let what = format!("done with v{version}");
        daemon
            .until_secret(self.secret, &what, |detail| {
                let run = detail.secret.summary.rotation.as_ref();
                let current = detail.secret.summary.current.as_ref();
                run.is_some_and(|run| run.outcome.as_deref() == Some("done"))
                    && current.is_some_and(|current| current.version == version)
            })
            .await
    }

    /// The newest value that a target was told, and the one it uses, lie in rotord's own mount as
    /// well. What is older may be revoked already.
    async fn nothing_is_used_that_is_not_saved(&self) {
        let document = self.places.document(self.secret).await;
        let current = document["current_version"].as_u64().unwrap();
        let versions = document["accepted_versions"].as_array().unwrap().iter();
        for (version, told) in versions.zip(document["accepted"].as_array().unwrap()) {
            let version = version.as_u64().unwrap();
            if version >= current {
                let saved = self.places.value(self.secret, version).await;
                assert_eq!(saved.as_deref(), told.as_str(), "v{version}: the only copy is there");
            }
        }
    }

    /// What holds after each rotation.
    async fn check(&self, detail: &Detail, when: &str) {
        let summary = &detail.secret.summary;
        let current = summary.current.as_ref().unwrap().version;
        let run = summary.rotation.as_ref().unwrap();
        assert!(!run.possible_orphan, "{when}: {run:?}");
        assert!(detail.secret.forced.is_empty(), "{when}: {:?}", detail.secret.forced);
        assert_eq!(self.places.values(self.secret).await, [current], "{when}: values kept");
        let document = self.places.document(self.secret).await;
        let value = self.places.value(self.secret, current).await.unwrap();
        assert_eq!(document["accepted"], serde_json::json!([value]), "{when}");
    }
}

fn secret_table(secret: &str, kind: &str, issuer: &str) -> String {
    format!(
        r#"
[secrets.{secret}]
kind = "{kind}"
issuer = {issuer}
initial = "generate"
overlap = "1s"
unsafe_overlap = true
probes = 1
"#
    )
}

async fn webhook_lane(lane: usize) -> usize {
    let bench = Bench::new("hook").await;
    let mut webhook = Webhook::new(&bench.home).await;
    let wired = async |address| FaultProxy::with_tripwire(address, Arc::clone(&bench.wire)).await;
    let api = wired(webhook.api.server.address).await;
    let signer = wired(webhook.signer.server.address).await;
    let config = format!(
        "[channels.push]\nkey = {{ file = \"channel.key\" }}\n{}{}\
         [secrets.hook.targets.document]\ntype = \"vault_kv\"\nrole = \"both\"\nmount = \"{}\"\n\
         path = \"hook\"\npropagation = \"10ms\"\nretry_horizon = \"0s\"\n\
         retire_unattested = true\n",
        secret_table("hook", "webhook_hmac", "{ type = \"generated\" }"),
        Webhook::targets_at("hook", api.address, signer.address),
        bench.places.apps,
    );
    bench.configure(&config).await;
    webhook.start_traffic();
    let (kills, _) = bench.kill_through(lane).await;
    let (good, bad) = webhook.counts().await;
    assert!(good > 0 && bad == 0, "{good} webhooks accepted, {bad} not");
    kills
}

#[tokio::test]
async fn a_webhook_secret_survives_a_kill_at_every_request() {
    let kills: usize = join_all((0..LANES).map(webhook_lane)).await.into_iter().sum();
    // From the command to the end: some twenty requests to Vault and three pushes, on both sides.
    assert!(kills >= 46, "only {kills} kills");
}

/// Uses the key all the time, as a program would, until it is told to stop.
async fn consume(mut consumer: Consumer, mut stop: watch::Receiver<bool>) -> Counts {
    let mut work = interval(Duration::from_millis(10));
    let mut read = interval(Duration::from_millis(20));
    work.set_missed_tick_behavior(MissedTickBehavior::Skip);
    read.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            _ = stop.changed() => return consumer.counts(),
            _ = read.tick() => drop(consumer.reread().await.unwrap()),
            _ = work.tick() => drop(consumer.work().await),
        }
    }
}

async fn key_lane(lane: usize) -> usize {
    let bench = Bench::new("partner").await;
    let service = key_service(Mode::Slots).await;
    let issuer = FaultProxy::with_tripwire(service.address, Arc::clone(&bench.wire)).await;
    bench.home.put("admin", ADMIN);
    let bao = bench.places.bao;
    let config = format!(
        "[issuers.keys]\ntype = \"http\"\npreset = \"rotord-demo-keys\"\n\
         params = {{ address = \"http://{}\" }}\nauth = {{ token = {{ file = \"admin\" }} }}\n{}\
         [secrets.partner.targets.document]\ntype = \"vault_kv\"\nrole = \"signer\"\n\
         mount = \"{}\"\npath = \"partner\"\nack_path = \"partner-ack\"\npropagation = \"10ms\"\n\
         retry_horizon = \"0s\"\n",
        issuer.address,
        secret_table("partner", "api_key", "\"keys\""),
        bench.places.apps,
    );
    bench.configure(&config).await;
    let consumer = Consumer::new(Reads {
        service: format!("http://{}", service.address),
        vault: bao.address().as_str().trim_end_matches('/').to_owned(),
        vault_token: bao.root_token().to_owned(),
        mount: bench.places.apps.clone(),
        path: "partner".to_owned(),
        ack_path: Some("partner-ack".to_owned()),
    });
    let (stop, stopping) = watch::channel(false);
    let mut using = JoinSet::new();
    using.spawn(consume(consumer.unwrap(), stopping));
    let (kills, detail) = bench.kill_through(lane).await;
    stop.send_replace(true);
    let counts = using.join_next().await.unwrap().unwrap();
    assert!(counts.accepted > 0, "nothing was done");
    assert_eq!((counts.rejected, counts.failed), (0, 0), "requests turned away");
    let recorded = detail.secret.versions[0].key_id.clone().unwrap();
    assert_eq!(alive(&service).await, [recorded], "alive at the issuer");
    kills
}

#[tokio::test]
async fn a_key_survives_a_kill_at_every_request() {
    let kills: usize = join_all((0..LANES).map(key_lane)).await.into_iter().sum();
    // Some twenty requests to Vault, and six to the issuer: list, mint, probe, revoke, refute.
    assert!(kills >= 46, "only {kills} kills");
}
