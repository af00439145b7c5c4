//! When the world misbehaves: the daemon stays up, says what is wrong, keeps what works, and goes
//! on by itself once it can.

use axum::http::StatusCode;
use http::Method;
use rotord::api::wire::{Detail, Status};
use serde_json::{Value, json};

use crate::live::places::{self, Places};
use crate::live::services::{Manner, Webhook};
use crate::support::bao::{Bao, Config, Storage};
use crate::support::daemon::{Daemon, Home};
use crate::support::fault_proxy::FaultProxy;
use crate::support::keys::Mode;
use crate::support::servers::{ADMIN, Server, key_service};

/// A secret of the key service, so that there are key ids to show.
struct Partner<'b> {
    places: Places<'b>,
    home: Home,
    _service: Server,
}

impl<'b> Partner<'b> {
    async fn new(bao: &'b Bao, vault: &str) -> Partner<'b> {
        let places = Places::new(bao).await;
        let home = Home::new();
        let service = key_service(Mode::Slots).await;
        home.put("admin", ADMIN);
        let config = format!(
            r#"
lease_ttl = "5s"

[issuers.keys]
type = "http"
preset = "rotord-demo-keys"
params = {{ address = "http://{}" }}
auth = {{ token = {{ file = "admin" }} }}

[secrets.partner]
kind = "api_key"
issuer = "keys"
initial = "generate"
overlap = "1s"

[secrets.partner.targets.document]
type = "vault_kv"
role = "signer"
mount = "{}"
path = "partner"
propagation = "10ms"
retry_horizon = "0s"
retire_unattested = true
"#,
            service.address, places.apps,
        );
        places.configure(&home, vault, &config).await;
        Partner { places, home, _service: service }
    }

    /// Waits until the daemon says what troubles it, with the key still on show.
    async fn names(&self, daemon: &Daemon, code: &str) {
        let troubled = |status: &Status| {
            status.daemon.trouble.as_ref().is_some_and(|trouble| trouble.code == code)
        };
        daemon.until(&format!("troubled by {code}"), troubled).await;
        let shown = daemon.until_secret("partner", "shown", |_| true).await;
        assert!(shown.secret.versions[0].key_id.is_some(), "{code}: {shown:?}");
        let (status, text) = daemon.call(Method::GET, "/v1/health/ready").await;
        assert!(status == 503 && text.contains(code), "{code}: {status} {text}");
        let (status, _) = daemon.call(Method::GET, "/v1/health/live").await;
        assert_eq!(status, 200, "{code}: not alive");
    }

    /// Asks for a rotation that cannot be; nothing happens then.
    async fn is_refused(&self, daemon: &Daemon) {
        let (status, text) = daemon.call(Method::POST, "/v1/secrets/partner/rotate?reason=x").await;
        assert_eq!(status, 503, "{text}");
    }

    /// Waits until it is well again, by itself, and rotates.
    async fn recovers(&self, daemon: &Daemon) {
        daemon.until("well again", |s| s.daemon.leader && s.daemon.trouble.is_none()).await;
        daemon.rotate("partner").await;
    }
}

#[tokio::test]
async fn a_vault_that_is_sealed_or_away() {
    let mut bao = Bao::with_config(Config { storage: Storage::Raft, tls: false }).await;
    let address = bao.address().to_string();
    let partner = Partner::new(&bao, &address).await;
    let Partner { home, .. } = &partner;
    let daemon = home.start().await;
    daemon.until_done("partner", None).await;

    bao.seal().await;
    partner.names(&daemon, "vault_sealed").await;
    partner.is_refused(&daemon).await;
    bao.unseal().await;
    partner.recovers(&daemon).await;
    let Partner { home, places, _service } = partner;
    let (state, apps) = (places.state, places.apps);

    bao.kill();
    let partner = Partner { home, places: Places { bao: &bao, state, apps }, _service };
    partner.names(&daemon, "vault_unreachable").await;
    partner.is_refused(&daemon).await;
    let Partner { home, places, _service } = partner;
    let (state, apps) = (places.state, places.apps);
    bao.start().await;
    let partner = Partner { home, places: Places { bao: &bao, state, apps }, _service };
    partner.recovers(&daemon).await;
}

#[tokio::test]
async fn a_vault_that_does_not_answer() {
    let bao = places::shared().await;
    let server = bao.address().socket_addrs(|| None).unwrap()[0];
    let proxy = FaultProxy::before(server).await;
    let partner = Partner::new(bao, &format!("http://{}", proxy.address)).await;
    let daemon = partner.home.start().await;
    daemon.until_done("partner", None).await;
    proxy.hold();
    partner.names(&daemon, "vault_unreachable").await;
    partner.is_refused(&daemon).await;
    proxy.let_go();
    partner.recovers(&daemon).await;
}

#[tokio::test]
async fn a_vault_that_denies() {
    let bao = places::shared().await;
    let partner = Partner::new(bao, bao.address().as_str()).await;
    let daemon = partner.home.start().await;
    daemon.until_done("partner", None).await;
    let policy = partner.places.policy().await;
    partner.places.set_policy("path \"none\" { capabilities = [\"deny\"] }").await;
    partner.names(&daemon, "vault_denied").await;
    partner.is_refused(&daemon).await;
    partner.places.set_policy(&policy).await;
    partner.recovers(&daemon).await;
}

/// A webhook secret with two services.
async fn hook(more: &str) -> (Home, Webhook, Places<'static>) {
    let places = Places::new(places::shared().await).await;
    let home = Home::new();
    let webhook = Webhook::new(&home).await;
    let targets = webhook.targets("hook").replace("channel =", &format!("{more}\nchannel ="));
    let config = format!(
        r#"
[channels.push]
key = {{ file = "channel.key" }}

[secrets.hook]
kind = "webhook_hmac"
issuer = {{ type = "generated" }}
initial = "generate"
overlap = "1s"
unsafe_overlap = true
{targets}"#
    );
    places.configure(&home, places.bao.address().as_str(), &config).await;
    (home, webhook, places)
}

/// What a service says that takes no push in.
fn ignored(said: &mut Value) {
    said["generation"] = json!(1);
    said["proof"] = Value::Null;
}

fn trouble_of<'d>(detail: &'d Detail, target: &str) -> Option<&'d str> {
    let found = detail.secret.targets_detail.iter().find(|t| t.name == target)?;
    Some(found.trouble.as_ref()?.last.as_ref()?.code.as_str())
}

#[tokio::test]
async fn a_target_that_misbehaves_keeps_the_old_version() {
    let (home, mut webhook, _places) = hook("timeout = \"500ms\"").await;
    let daemon = home.start().await;
    daemon.until_done("hook", None).await;
    webhook.start_traffic();
    let manners = [
        ("timed_out", Manner::Hangs),
        ("unavailable", Manner::Answers(StatusCode::BAD_GATEWAY)),
        ("denied", Manner::Answers(StatusCode::FORBIDDEN)),
        ("wrong_identity", Manner::says(|said| said["environment"] = json!("staging"))),
        ("generation_behind", Manner::says(ignored)),
        ("wrong_proof", Manner::says(|said| said["proof"] = json!("0".repeat(64)))),
    ];
    for (old, (code, manner)) in (1..).zip(manners) {
        webhook.receiver_answers(Some(manner));
        let id = daemon.order("/v1/secrets/hook/rotate?reason=test").await;
        let met = |detail: &Detail| trouble_of(detail, "api") == Some(code);
        let seen = daemon.until_secret("hook", &format!("met by {code}"), met).await;
        let summary = &seen.secret.summary;
        assert_eq!(summary.current.as_ref().unwrap().version, old, "{code}: it went on");
        assert_eq!(summary.rotation.as_ref().unwrap().phase, "admit", "{code}");
        webhook.receiver_answers(None);
        daemon.order("/v1/secrets/hook/resolve?how=retry").await;
        daemon.until_done("hook", Some(&id)).await;
    }
    let (good, bad) = webhook.counts().await;
    assert!(good > 0 && bad == 0, "{good} webhooks accepted, {bad} not");
}

#[tokio::test]
async fn a_receiver_that_restarted_empty_is_told_again() {
    let (home, webhook, places) = hook("observe_every = \"10s\"").await;
    let daemon = home.start().await;
    daemon.until_done("hook", None).await;
    let value = places.value("hook", 1).await.unwrap();
    assert_eq!(webhook.tried_with(&value).await, 204);
    webhook.restart_receiver(&home);
    assert_eq!(webhook.tried_with(&value).await, 401, "it has not forgotten");
    // A question that shows it, and a push that mends it.
    webhook.api.answered(2).await;
    assert_eq!(webhook.tried_with(&value).await, 204, "it was not told again");
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_rotation() {
    let (home, mut webhook, _places) = hook("timeout = \"1s\"").await;
    let mut daemon = home.start().await;
    daemon.until_done("hook", None).await;
    webhook.start_traffic();
    webhook.receiver_answers(Some(Manner::Hangs));
    let id = daemon.order("/v1/secrets/hook/rotate?reason=test").await;
    let pushing = |detail: &Detail| !detail.secret.under_way.is_empty();
    daemon.until_secret("hook", "pushing", pushing).await;
    let status = daemon.terminate().await;
    assert!(status.success(), "{status}: {}", home.read("log"));
    assert!(!home.path("rotord.sock").exists(), "it leaves its socket behind");

    webhook.receiver_answers(None);
    let daemon = home.start().await;
    daemon.until_done("hook", Some(&id)).await;
    let (good, bad) = webhook.counts().await;
    assert!(good > 0 && bad == 0, "{good} webhooks accepted, {bad} not");
}

#[tokio::test]
async fn a_second_process_on_the_same_state() {
    let (home, _webhook, _places) = hook("").await;
    let daemon = home.start().await;
    let second = home.rotord(&["run"]).await;
    assert_ne!(second.exit, 0);
    assert!(second.err.contains("another rotord"), "{}", second.err);
    daemon.until_done("hook", None).await;
}
