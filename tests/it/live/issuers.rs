//! One rotation through every kind of issuer: it closes, the old value is refused where it was
//! accepted and is nowhere in Vault any more, the new one is where it belongs.

use http::Method;
use rotord::api::wire::Detail;
use serde_json::{Value, json};

use crate::live::places::{self, Places};
use crate::live::services::{self, Webhook};
use crate::support::daemon::Home;
use crate::support::keys::Mode;
use crate::support::needle::Needles;
use crate::support::servers::{ADMIN, Server, key_service};

/// What every secret here has in common.
const COMMON: &str = r#"
initial = "generate"
overlap = "1s"
unsafe_overlap = true
"#;

/// A document that a program reads and nobody acknowledges.
fn document(secret: &str, mount: &str, role: &str) -> String {
    format!(
        r#"
[secrets.{secret}.targets.document]
type = "vault_kv"
role = "{role}"
mount = "{mount}"
path = "team/{secret}"
propagation = "100ms"
retry_horizon = "0s"
retire_unattested = true
"#
    )
}

/// Rotates a secret once after its first rotation. Answers the old value, the new one, and what
/// the daemon says at the end.
async fn rotated(places: &Places<'_>, home: &Home, secret: &str) -> (String, String, Detail) {
    let daemon = home.start().await;
    let first = daemon.until_done(secret, None).await;
    assert_eq!(first.secret.summary.current.unwrap().version, 1);
    let old = places.value(secret, 1).await.expect("the first value");
    let document = places.document(&format!("team/{secret}")).await;
    assert_eq!(document["current"], old, "the document is not at the first version");

    let detail = daemon.rotate(secret).await;
    let new = places.value(secret, 2).await.expect("the second value");
    assert_ne!(old, new);
    (old, new, detail)
}

/// What holds after every rotation, whatever the issuer.
async fn settled(places: &Places<'_>, secret: &str, (old, new, detail): &(String, String, Detail)) {
    let summary = &detail.secret.summary;
    assert_eq!(summary.current.as_ref().unwrap().version, 2);
    assert_eq!(summary.waiting.needs_human, None);
    assert!(!summary.rotation.as_ref().unwrap().possible_orphan);
    let stages: Vec<(u64, &str)> =
        detail.secret.versions.iter().map(|v| (v.version, v.stage.as_str())).collect();
    assert_eq!(stages, [(2, "current"), (1, "revoked")]);
    let document = places.document(&format!("team/{secret}")).await;
    assert_eq!(document["current"], *new);
    assert_eq!(document["accepted"], json!([new]));
    assert_eq!(document.get("previous"), None);
    assert_eq!(places.values(secret).await, [2]);

    let mut needles = Needles::default();
    needles.add_text("the new value", new);
    let held = places.traces(&needles).await;
    assert!(held.len() >= 2, "the search does not find what is there: {held:?}");
    let mut needles = Needles::default();
    needles.add_text("the revoked value", old);
    assert_eq!(places.traces(&needles).await, Vec::<String>::new());
}

#[tokio::test]
async fn values_made_here_are_verified_by_targets_whatever_their_kind() {
    for (secret, kind, format) in [
        ("hook", "webhook_hmac", r#"format = "whsec""#),
        ("token", "api_key", r#"format = "token", prefix = "acme_""#),
    ] {
        let places = Places::new(places::shared().await).await;
        let home = Home::new();
        let mut webhook = Webhook::new(&home).await;
        let config = format!(
            "[channels.push]\nkey = {{ file = \"channel.key\" }}\n\
             [secrets.{secret}]\nkind = \"{kind}\"\n\
             issuer = {{ type = \"generated\", {format} }}\n{COMMON}{}{}",
            webhook.targets(secret),
            document(secret, &places.apps, "both"),
        );
        places.configure(&home, places.bao.address().as_str(), &config).await;
        webhook.start_traffic();
        let ended = rotated(&places, &home, secret).await;
        settled(&places, secret, &ended).await;
        let (old, new, _) = &ended;
        assert_eq!(webhook.tried_with(old).await, 401, "{secret}: the old value is accepted");
        assert_eq!(webhook.tried_with(new).await, 204, "{secret}: the new value is not");
        let (good, bad) = webhook.counts().await;
        assert!(good > 0 && bad == 0, "{secret}: {good} webhooks accepted, {bad} not");
    }
}

/// A secret of the demo's key service, in a document.
async fn at_key_service(preset: &str, more: &str, params: &str, mode: Mode) -> Server {
    let places = Places::new(places::shared().await).await;
    let home = Home::new();
    let service = key_service(mode).await;
    home.put("admin", ADMIN);
    let address = service.address;
    let config = format!(
        "[issuers.keys]\ntype = \"http\"\npreset = \"{preset}\"\n\
         params = {{ address = \"http://{address}\"{params} }}\n\
         auth = {{ token = {{ file = \"admin\" }} }}\n\
         [secrets.partner]\nkind = \"api_key\"\nissuer = \"keys\"\n{more}{COMMON}{}",
        document("partner", &places.apps, "signer"),
    );
    places.configure(&home, places.bao.address().as_str(), &config).await;
    let ended = rotated(&places, &home, "partner").await;
    settled(&places, "partner", &ended).await;
    let (old, new, detail) = &ended;
    assert_eq!(whoami(&service, old).await, 401, "{preset}: the old key is accepted");
    assert_eq!(whoami(&service, new).await, 200, "{preset}: the new key is not");
    let alive = alive(&service).await;
    let recorded = detail.secret.versions[0].key_id.clone().unwrap();
    assert_eq!(alive, [recorded], "{preset}: alive at the issuer");
    service
}

async fn whoami(service: &Server, key: &str) -> u16 {
    let call = services::client().get(format!("http://{}/whoami", service.address));
    call.bearer_auth(key).send().await.unwrap().status().as_u16()
}

/// The ids of the keys that live at the key service.
pub(super) async fn alive(service: &Server) -> Vec<String> {
    let stats = services::get(&format!("http://{}/stats", service.address)).await;
    let keys = stats["keys"].as_object().unwrap().iter();
    keys.filter(|(_, key)| key["alive"] == true).map(|(id, _)| id.clone()).collect()
}

#[tokio::test]
async fn a_service_with_room_for_two_keys() {
    at_key_service("rotord-demo-keys", "", "", Mode::Slots).await;
}

#[tokio::test]
async fn a_service_that_ends_the_old_key_when_it_mints() {
    at_key_service("rotord-demo-keys-roll", "allow_cutover = true", "", Mode::Roll).await;
}

#[tokio::test]
async fn a_service_that_takes_our_value_for_its_one_key() {
    at_key_service("rotord-demo-keys-set", "", ", name = \"rotord\"", Mode::Set).await;
}

/// A secret id of an AppRole role on the same server.
async fn at_approle(preset: &str) {
    let places = Places::new(places::shared().await).await;
    let (bao, home) = (places.bao, Home::new());
    let mount = format!("approle-{}", places.state);
    let role = format!("auth/{mount}/role/worker");
    bao.ok(Method::POST, &format!("sys/auth/{mount}"), Some(json!({ "type": "approle" }))).await;
    bao.ok(Method::POST, &role, Some(json!({ "token_policies": "default" }))).await;
    let role_id = bao.ok(Method::GET, &format!("{role}/role-id"), None).await;
    home.put("admin", bao.root_token());
    let address = bao.address().as_str().trim_end_matches('/');
    let config = format!(
        "[issuers.role]\ntype = \"http\"\npreset = \"{preset}\"\n\
         params = {{ address = \"{address}\", mount = \"{mount}\", role = \"worker\" }}\n\
         auth = {{ token = {{ file = \"admin\" }} }}\n\
         [secrets.worker]\nkind = \"api_key\"\nissuer = \"role\"\n{COMMON}{}",
        document("worker", &places.apps, "signer"),
    );
    places.configure(&home, address, &config).await;
    let ended = rotated(&places, &home, "worker").await;
    settled(&places, "worker", &ended).await;
    let (old, new, detail) = &ended;
    let login = async |secret_id: &str| {
        let role_id = &role_id["data"]["role_id"];
        let wish: Value = json!({ "role_id": role_id, "secret_id": secret_id });
        let at = format!("auth/{mount}/login");
        bao.call(Method::POST, &at, Some(wish)).await.unwrap().0
    };
    assert_eq!(login(old).await, 400, "{preset}: the old secret id is accepted");
    assert_eq!(login(new).await, 200, "{preset}: the new secret id is not");
    let list = Method::from_bytes(b"LIST").unwrap();
    let alive = bao.ok(list, &format!("{role}/secret-id"), None).await;
    assert_eq!(alive["data"]["keys"], json!([detail.secret.versions[0].key_id]), "{preset}");
}

#[tokio::test]
async fn secret_ids_of_approle_made_by_the_server() {
    at_approle("openbao-approle-secret-id").await;
}

#[tokio::test]
async fn secret_ids_of_approle_made_here() {
    at_approle("openbao-approle-custom-secret-id").await;
}
