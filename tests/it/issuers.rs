//! Issuers: the contract on every one of them, and REST issuers against servers that misbehave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::Method;
use rotord::driver::error::DriverError;
use rotord::driver::issuer::generated::{Format, Generated, Generator};
use rotord::driver::issuer::http::preset::{BUILTIN, Preset};
use rotord::driver::issuer::http::{Fixed, HttpIssuer, SecretSource, Settings};
use rotord::driver::issuer::{Issuer, Probe};
use rotord::model::capability::{Capabilities, OldDies, OnLost, ValueFrom};
use rotord::model::failure::Class;
use rotord::model::id::KeyId;
use rotord::model::material::{Material, SecretBytes};
use rotord::model::reason::Reason;
use rotord::model::time::Span;
use rotord::net;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::bao::Bao;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::issuer_contract::{self as contract, Subject, mint, tag};
use crate::support::keys::Mode;
use crate::support::memory_issuer::MemoryIssuer;
use crate::support::servers::{ADMIN, Server, key_service, serve};

/// For calls that no server will answer.
const IMPATIENT: Span = Span(300);

fn fixed(secret: &str) -> Arc<dyn SecretSource> {
    Arc::new(Fixed(Arc::new(SecretBytes::new(secret.as_bytes().to_vec()))))
}

fn http_issuer(preset: &Preset, params: Value, auth: Arc<dyn SecretSource>) -> HttpIssuer {
    http_issuer_within(net::TIMEOUT_DEFAULT, preset, params, auth)
}

fn http_issuer_within(
    timeout: Span,
    preset: &Preset,
    params: Value,
    auth: Arc<dyn SecretSource>,
) -> HttpIssuer {
    let settings = Settings {
        params: serde_json::from_value(params).unwrap(),
        auth: BTreeMap::from([("token".to_owned(), auth)]),
        exclusive: None,
    };
    let connect = |base: &url::Url| {
        let connect_timeout = Span(timeout.0 / 2);
        let defaults = net::Settings::new(base.clone());
        net::Client::new(&net::Settings { timeout, connect_timeout, ..defaults })
    };
    HttpIssuer::new(preset, settings, connect).map_err(|error| error.to_string()).unwrap()
}

fn demo_issuer(preset: &str, address: SocketAddr) -> HttpIssuer {
    let preset = Preset::find(preset, None).unwrap();
    let mut params = json!({ "address": format!("http://{address}") });
    if preset.spec.params.contains_key("name") {
        params["name"] = json!("billing");
    }
    http_issuer(&preset, params, fixed(ADMIN))
}

fn in_memory(value: ValueFrom, old_dies: OldDies, on_lost: OnLost) -> Subject {
    let capacity = (old_dies == OldDies::OnRevoke && value == ValueFrom::Theirs).then_some(2);
    let declared = Capabilities { remote: true, probes: true, ..Capabilities::local() };
    let declared = Capabilities { value, capacity, old_dies, on_lost, ..declared };
    let issuer = Arc::new(MemoryIssuer::new(declared));
    let losing = Arc::clone(&issuer);
    let lose_next_answer = Box::new(move || losing.lose_next_answer());
    Subject { issuer, lose_next_answer, marks: true }
}

#[tokio::test]
async fn the_contract_holds_for_every_kind_of_issuer_in_memory() {
    use {OldDies::*, OnLost::*, ValueFrom::*};
    contract::holds(&in_memory(Theirs, OnRevoke, Sweep)).await;
    contract::holds(&in_memory(Theirs, OnRevoke, AdoptThenRoll)).await;
    contract::holds(&in_memory(Theirs, OnMint, Repeat)).await;
    contract::holds(&in_memory(Ours, OnRevoke, Repeat)).await;
    contract::holds(&in_memory(Ours, OnMint, Repeat)).await;
}

#[tokio::test]
async fn the_contract_holds_for_generated_values() {
    let token = Format::Token { prefix: "acme_".to_owned() };
    for format in [Format::Hex, Format::Base64, Format::Base64Url, Format::Whsec, token] {
        let issuer = Arc::new(Generated::new(Generator::new(format, 32).unwrap()));
        let lose_next_answer = Box::new(|| {});
        contract::holds(&Subject { issuer, lose_next_answer, marks: false }).await;
    }
}

#[tokio::test]
async fn the_contract_holds_for_the_key_service_in_each_of_its_modes() {
    let modes = [
        (Mode::Slots, "rotord-demo-keys"),
        (Mode::Roll, "rotord-demo-keys-roll"),
        (Mode::Set, "rotord-demo-keys-set"),
    ];
    for (mode, preset) in modes {
        let service = key_service(mode).await;
        let proxy = FaultProxy::before(service.address).await;
        let issuer = Arc::new(demo_issuer(preset, proxy.address));
        let lose_next_answer = proxy.loser();
        contract::holds(&Subject { issuer, lose_next_answer, marks: mode != Mode::Set }).await;
    }
}

// ---------------------------------------------------------------- OpenBao's AppRole

/// An AppRole mount of one's own with a role `app`, and a token that may do no more than the
/// preset's opening comment asks for.
async fn approle(bao: &Bao, preset: &str) -> (String, String) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mount = format!("approle-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let post = async |path: &str, body: Value| bao.ok(Method::POST, path, Some(body)).await;
    post(&format!("sys/auth/{mount}"), json!({ "type": "approle" })).await;
    post(&format!("auth/{mount}/role/app"), json!({})).await;

    let (_, text) = BUILTIN.iter().find(|(name, _)| *name == preset).unwrap();
    let policy: String = text
        .lines()
        .filter_map(|line| line.strip_prefix("#   path "))
        .map(|rule| format!("path {rule}\n"))
        .collect::<String>()
        .replace("/M/", &format!("/{mount}/"))
        .replace("/R/", "/app/");
    assert!(policy.contains("/role/app/secret-id-accessor/destroy"), "{policy}");
    post(&format!("sys/policies/acl/{mount}"), json!({ "policy": policy })).await;
    let token = post("auth/token/create", json!({ "policies": [mount.as_str()] })).await;
    (mount, token["auth"]["client_token"].as_str().unwrap().to_owned())
}

fn approle_issuer(preset: &str, address: &str, (mount, token): (&str, &str)) -> HttpIssuer {
    let preset = Preset::find(preset, None).unwrap();
    let params = json!({ "address": address, "mount": mount, "role": "app" });
    http_issuer(&preset, params, fixed(token))
}

#[tokio::test]
async fn the_contract_holds_for_approle_with_no_more_rights_than_the_preset_names() {
    let bao = Bao::shared().await;
    for preset in ["openbao-approle-secret-id", "openbao-approle-custom-secret-id"] {
        let (mount, token) = approle(bao, preset).await;
        let server = *bao.address().socket_addrs(|| None).unwrap().first().unwrap();
        let proxy = FaultProxy::before(server).await;
        let address = format!("http://{}", proxy.address);
        let issuer = Arc::new(approle_issuer(preset, &address, (&mount, &token)));
        let lose_next_answer = proxy.loser();
        contract::holds(&Subject { issuer, lose_next_answer, marks: true }).await;
    }
}

#[tokio::test]
async fn a_secret_id_that_probes_as_working_logs_in() {
    let bao = Bao::shared().await;
    let preset = "openbao-approle-secret-id";
    let (mount, token) = approle(bao, preset).await;
    let address = bao.address().as_str().trim_end_matches('/');
    let issuer = approle_issuer(preset, address, (&mount, &token));
    let role_id = bao.ok(Method::GET, &format!("auth/{mount}/role/app/role-id"), None).await;
    let login = async |key: &Material| {
        let secret_id = key.value().unwrap().expose_str().unwrap();
        let body = json!({ "role_id": role_id["data"]["role_id"], "secret_id": secret_id });
        bao.call(Method::POST, &format!("auth/{mount}/login"), Some(body)).await.unwrap().0
    };
    let (old, new) = (mint(&issuer, &tag()).await, mint(&issuer, &tag()).await);
    issuer.revoke(&old.key_id.unwrap()).await.unwrap();
    // More often than the server lets a login fail before it locks the whole role out.
    for _ in 0..6 {
        assert_eq!(issuer.probe(None, &old.material).await, Ok(Probe::Refused));
    }
    assert_eq!(login(&new.material).await, 200, "probing the old one locked the role out");
    assert_eq!(issuer.probe(None, &new.material).await, Ok(Probe::Works));
    assert_eq!(login(&old.material).await, 400);
}

#[tokio::test]
async fn a_role_or_mount_that_is_not_there_is_no_empty_list_and_no_success() {
    let bao = Bao::shared().await;
    let preset = "openbao-approle-secret-id";
    let address = bao.address().as_str().trim_end_matches('/');
    let issuer = approle_issuer(preset, address, ("not-mounted", bao.root_token()));
    assert_eq!(issuer.list().await.unwrap_err().class, Class::Refused);
    assert_eq!(issuer.mint(&tag(), None).await.unwrap_err().class, Class::Refused);
    let key_id = KeyId("c355699b-0d08-9212-d0be-80330c8c9580".to_owned());
    assert_eq!(issuer.revoke(&key_id).await.unwrap_err().class, Class::Refused);
}

// ---------------------------------------------------------------- the key service, spoiled

#[tokio::test]
async fn a_list_tells_when_a_key_was_made_and_last_used() {
    let service = key_service(Mode::Slots).await;
    let issuer = demo_issuer("rotord-demo-keys", service.address);
    let minted = mint(&issuer, &tag()).await;
    let key = &issuer.list().await.unwrap()[0];
    assert!(key.created_at.is_some());
    assert_eq!(key.last_used_at, None, "a list or a mint is no use");
    issuer.probe(None, &minted.material).await.unwrap();
    assert_eq!(issuer.list().await.unwrap()[0].last_used_at, None, "a probe is no use");
    let base = format!("http://{}", service.address).parse().unwrap();
    let client = net::Client::new(&net::Settings::new(base)).unwrap();
    let bearer = format!("Bearer {}", minted.material.value().unwrap().expose_str().unwrap());
    let request =
        net::request::Request::new(Method::POST, "/work").header("authorization", &bearer);
    assert_eq!(client.send(request).await.unwrap().status, StatusCode::OK);
    assert!(issuer.list().await.unwrap()[0].last_used_at.is_some());
}

/// What a mint, a probe and a revocation make of one spoiled answer each.
async fn spoiled(fault: Fault) -> [DriverError; 3] {
    let service = key_service(Mode::Slots).await;
    let proxy = FaultProxy::before(service.address).await;
    let mut issuer = demo_issuer("rotord-demo-keys", proxy.address);
    let key = mint(&issuer, &tag()).await;
    if matches!(fault, Fault::Hang) {
        let preset = Preset::find("rotord-demo-keys", None).unwrap();
        let params = json!({ "address": format!("http://{}", proxy.address) });
        issuer = http_issuer_within(IMPATIENT, &preset, params, fixed(ADMIN));
    }
    proxy.spoil(fault.clone());
    let minting = issuer.mint(&tag(), None).await.unwrap_err();
    proxy.spoil(fault.clone());
    let probing = issuer.probe(None, &key.material).await.unwrap_err();
    proxy.spoil(fault);
    let revoking = issuer.revoke(&key.key_id.unwrap()).await.unwrap_err();
    for error in [&minting, &probing, &revoking] {
        assert!(error.text.starts_with("issuer preset rotord-demo-keys, "), "{error}");
        assert!(!error.text.contains("hunter2"), "a body got into an error: {error}");
    }
    [minting, probing, revoking]
}

fn answer(head: &str, body: &str) -> Fault {
    let length = body.len();
    Fault::Answer(format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}"))
}

fn classes(errors: &[DriverError; 3]) -> [Class; 3] {
    errors.each_ref().map(|error| error.class)
}

fn reasons(errors: &[DriverError; 3]) -> [Reason; 3] {
    errors.each_ref().map(|error| error.reason)
}

/// For what leaves open whether the request was carried out.
const IN_DOUBT: [Class; 3] = [Class::Ambiguous, Class::Transient, Class::Ambiguous];

#[tokio::test]
async fn a_deed_whose_answer_is_lost_may_have_been_done() {
    let hung = spoiled(Fault::Hang).await;
    assert_eq!(classes(&hung), IN_DOUBT);
    assert_eq!(reasons(&hung), [Reason::TimedOut; 3]);
    for fault in [Fault::LoseAnswer, Fault::CutAnswer, answer("garbage hunter2", "")] {
        let broken = spoiled(fault).await;
        assert_eq!(classes(&broken), IN_DOUBT, "{broken:?}");
    }
}

#[tokio::test]
async fn a_server_error_after_a_deed_leaves_it_open() {
    for status in ["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable"] {
        let failed = spoiled(answer(status, "hunter2")).await;
        assert_eq!(classes(&failed), IN_DOUBT);
        assert_eq!(reasons(&failed), [Reason::Unavailable; 3]);
    }
    let gave_up = spoiled(answer("408 Request Timeout", "")).await;
    assert_eq!(classes(&gave_up), IN_DOUBT);
    // A status nobody expects: done or not, nobody can tell.
    let strange = spoiled(answer("207 Multi-Status", "hunter2")).await;
    assert_eq!(classes(&strange), IN_DOUBT);
    assert_eq!(reasons(&strange), [Reason::BadAnswer; 3]);
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_read() {
    let huge = spoiled(answer("201 Created", &"x".repeat(300 * 1024))).await;
    assert_eq!(classes(&huge), [Class::Ambiguous, Class::Refused, Class::Ambiguous]);
    assert_eq!(reasons(&huge), [Reason::AnswerTooLarge; 3]);
}

#[tokio::test]
async fn what_the_issuer_refuses_was_not_done() {
    let elsewhere = "302 Found\r\nLocation: http://127.0.0.1:9/hunter2";
    for (status, reason) in [
        (elsewhere, Reason::Redirected),
        ("403 Forbidden", Reason::Denied),
        ("422 Unprocessable Content", Reason::Refused),
    ] {
        let refused = spoiled(answer(status, "hunter2")).await;
        assert_eq!(classes(&refused), [Class::Refused; 3], "{status}");
        assert_eq!(reasons(&refused), [reason; 3], "{status}");
    }
    let throttled = spoiled(answer("429 Too Many Requests\r\nRetry-After: 7", "")).await;
    assert_eq!(classes(&throttled), [Class::Throttled(Span::from_secs(7)); 3]);
}

#[tokio::test]
async fn a_wrong_credential_is_denied_and_not_taken_for_a_bad_key() {
    let service = key_service(Mode::Slots).await;
    let preset = Preset::find("rotord-demo-keys", None).unwrap();
    let params = json!({ "address": format!("http://{}", service.address) });
    let issuer = http_issuer(&preset, params, fixed("not-the-admin-token"));
    let denied = issuer.mint(&tag(), None).await.unwrap_err();
    assert_eq!((denied.class, denied.reason), (Class::Refused, Reason::Denied));
    assert_eq!(issuer.list().await.unwrap_err().reason, Reason::Denied);
    let key_id = KeyId("key-1".to_owned());
    assert_eq!(issuer.revoke(&key_id).await.unwrap_err().reason, Reason::Denied);
}

#[tokio::test]
async fn no_connection_means_nothing_happened() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let issuer = demo_issuer("rotord-demo-keys", port);
    let error = issuer.mint(&tag(), None).await.unwrap_err();
    assert_eq!((error.class, error.reason), (Class::Transient, Reason::Unreachable));
}

#[tokio::test]
async fn an_answer_without_what_was_minted_is_in_doubt_and_a_weak_value_refused() {
    let service = key_service(Mode::Slots).await;
    let proxy = FaultProxy::before(service.address).await;
    let issuer = demo_issuer("rotord-demo-keys", proxy.address);
    let mint_with = async |body: Value| {
        proxy.spoil(answer("201 Created", &body.to_string()));
        issuer.mint(&tag(), None).await.map(|_| ()).unwrap_err()
    };
    let long_id = "i".repeat(600);
    for unusable in [
        json!({}),
        json!({"id": "key-1"}),
        json!({"id": "", "key": "a-long-enough-value"}),
        json!({"id": long_id, "key": "a-long-enough-value"}),
        json!({"id": "key-1", "key": 17}),
        json!("hunter2"),
    ] {
        let error = mint_with(unusable).await;
        assert_eq!((error.class, error.reason), (Class::Ambiguous, Reason::BadAnswer), "{error}");
    }
    for weak in ["", "hunter2", "aaaaaaaaaaaaaaaaaaaaaaaa"] {
        let error = mint_with(json!({"id": "key-1", "key": weak})).await;
        assert_eq!((error.class, error.reason), (Class::Ambiguous, Reason::WeakValue), "{error}");
        assert!(!error.text.contains("hunter2"), "{error}");
    }
}

// ---------------------------------------------------------------- a server that does as told

/// What a request looked like: `POST /keys?x=1 body`, with the authorization.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// Answers every request with the next script line, and notes what came.
struct Script {
    server: Server,
    seen: Seen,
}

type Lines = Arc<Mutex<Vec<(u16, HeaderMap, String)>>>;

async fn script(lines: Vec<(u16, Value)>) -> Script {
    let lines = lines.into_iter().map(|(status, body)| (status, HeaderMap::new(), body));
    script_with(lines.map(|(status, headers, body)| (status, headers, body.to_string()))).await
}

async fn script_with(lines: impl Iterator<Item = (u16, HeaderMap, String)>) -> Script {
    let seen = Seen::default();
    let lines: Lines = Arc::new(Mutex::new(lines.collect()));
    let state = (Arc::clone(&seen), lines);
    let router = Router::new().fallback(any(play)).with_state(state);
    Script { server: serve(router).await, seen }
}

async fn play(State((seen, lines)): State<(Seen, Lines)>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 * 1024).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let authorization = parts.headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
    let shown = format!("{} {} {body}", parts.method, parts.uri).trim_end().to_owned();
    seen.lock().unwrap().push((shown, authorization));
    let mut lines = lines.lock().unwrap();
    assert!(!lines.is_empty(), "a request that the script does not expect");
    let (status, headers, body) = lines.remove(0);
    (StatusCode::from_u16(status).unwrap(), headers, body).into_response()
}

impl Script {
    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(request, _)| request.clone()).collect()
    }

    /// The issuer of a preset in which some text is replaced.
    fn issuer(&self, changes: &[(&str, &str)]) -> HttpIssuer {
        let mut text = SCRIPTED.to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from:?} is not in the preset");
            text = text.replace(from, to);
        }
        let preset = Preset::parse(&text, "test").unwrap();
        let params = json!({ "address": format!("http://{}/api", self.server.address) });
        http_issuer(&preset, params, fixed(ADMIN))
    }
}

const SCRIPTED: &str = r#"
preset = "scripted"
revision = 1
summary = "for tests"
value = "theirs"
old_dies = "on_revoke"
on_lost = "sweep"
base = "{{param.address}}"
params = { address = { about = "the server" } }
auth = { kind = "bearer" }

[mint]
method = "POST"
path = "/keys"
json = { name = "{{rotation.tag}}" }
ok = [201]
value = "/key"
id = "/id"

[list]
method = "GET"
path = "/keys"
ok = [200]
items = "/keys"
item_id = "/id"
mark = "/name"

[revoke]
method = "DELETE"
path = "/keys/{{key.id}}"
ok = [204]
gone = [404]

[verify]
method = "GET"
path = "/me"
headers = { Authorization = "Bearer {{key.value}}" }
ok = [200]
bad = [401]
"#;

const VALUE: &str = "a-value-of-the-issuer-0123456789";

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let page = |ids: &[u32]| {
        let keys: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
        json!({ "keys": keys })
    };
    let ids = |listed: Vec<rotord::driver::issuer::Listed>| {
        listed.into_iter().map(|key| key.key_id.0).collect::<Vec<_>>()
    };
    let numbered = script(vec![(200, page(&[1, 2])), (200, page(&[3])), (200, page(&[]))]).await;
    let issuer = numbered.issuer(&[(
        "path = \"/keys\"\nok = [200]",
        "path = \"/keys?p={{page}}\"\npage = { kind = \"number\", start = 1 }\nok = [200]",
    )]);
    assert_eq!(ids(issuer.list().await.unwrap()), ["1", "2", "3"]);
    let asked = ["GET /api/keys?p=1", "GET /api/keys?p=2", "GET /api/keys?p=3"];
    assert_eq!(numbered.requests(), asked);

    let mut first = page(&[1]);
    first["next"] = json!("c&1");
    let cursors = script(vec![(200, first), (200, page(&[2]))]).await;
    let cursor = "page = { kind = \"cursor\", next = \"/next\", query = \"after\" }\nitems";
    let issuer = cursors.issuer(&[("items", cursor)]);
    assert_eq!(ids(issuer.list().await.unwrap()), ["1", "2"]);
    assert_eq!(cursors.requests(), ["GET /api/keys", "GET /api/keys?after=c%261"]);
}

#[tokio::test]
async fn a_link_to_another_place_is_not_followed() {
    let link = |target: &str| {
        let value = format!("<{target}>; rel=\"next\"").parse().unwrap();
        HeaderMap::from_iter([(http::header::LINK, value)])
    };
    let body = || json!({ "keys": [{ "id": 1 }] }).to_string();
    let lines = [(200, link("/api/keys?p=2"), body()), (200, HeaderMap::new(), body())];
    let followed = script_with(lines.into_iter()).await;
    let paged = [("items", "page = { kind = \"link-header\" }\nitems")];
    assert_eq!(followed.issuer(&paged).list().await.unwrap().len(), 2);
    assert_eq!(followed.requests(), ["GET /api/keys", "GET /api/keys?p=2"]);

    let trap = script(vec![]).await;
    let elsewhere = format!("http://{}/api/keys", trap.server.address);
    for target in [elsewhere.as_str(), "/other"] {
        let lines = [(200, link(target), body())];
        let luring = script_with(lines.into_iter()).await;
        let error = luring.issuer(&paged).list().await.unwrap_err();
        assert_eq!((error.class, error.reason), (Class::Refused, Reason::Redirected));
    }
    assert!(trap.requests().is_empty(), "the credential went to another host");
}

#[tokio::test]
async fn a_list_without_end_is_an_error_and_not_a_short_list() {
    async fn more(Query(query): Query<BTreeMap<String, u64>>) -> String {
        let next = query.get("after").map_or(1, |n| n + 1);
        json!({ "keys": [{ "id": next }], "next": next.to_string() }).to_string()
    }
    let endless = serve(Router::new().fallback(any(more))).await;
    let endless = Script { server: endless, seen: Seen::default() };
    let cursor = "page = { kind = \"cursor\", next = \"/next\", query = \"after\" }\nitems";
    let error = endless.issuer(&[("items", cursor)]).list().await.unwrap_err();
    assert_eq!((error.class, error.reason), (Class::Refused, Reason::AnswerTooLarge));

    for unusable in [json!([]), json!({"keys": 7}), json!({"keys": [{"name": "no id"}]})] {
        let script = script(vec![(200, unusable)]).await;
        let error = script.issuer(&[]).list().await.unwrap_err();
        assert_eq!((error.class, error.reason), (Class::Transient, Reason::BadAnswer), "{error}");
    }
}

#[tokio::test]
async fn a_key_is_disabled_before_it_is_revoked() {
    let disable = "[disable]\nmethod = \"POST\"\npath = \"/keys/{{key.id}}/disable\"\n\
                   form = { a = \"x y\", b = \"{{key.id}}\" }\nok = [200]\ngone = [404]\n[revoke]";
    let both = script(vec![(200, json!({})), (204, json!(null))]).await;
    let issuer = both.issuer(&[("[revoke]", disable)]);
    issuer.revoke(&KeyId("a/b".to_owned())).await.unwrap();
    assert_eq!(
        both.requests(),
        ["POST /api/keys/a%2Fb/disable a=x%20y&b=a%2Fb", "DELETE /api/keys/a%2Fb"]
    );

    let stuck = script(vec![(500, json!({}))]).await;
    let issuer = stuck.issuer(&[("[revoke]", disable)]);
    issuer.revoke(&KeyId("k".to_owned())).await.unwrap_err();
    assert_eq!(stuck.requests().len(), 1, "revoked although disabling failed");
}

#[tokio::test]
async fn an_id_that_would_change_the_path_is_never_sent() {
    let nothing = script(vec![]).await;
    for id in ["", ".", ".."] {
        let error = nothing.issuer(&[]).revoke(&KeyId(id.to_owned())).await.unwrap_err();
        assert_eq!(error.class, Class::Refused, "{id:?}");
    }
    assert!(nothing.requests().is_empty());
}

#[tokio::test]
async fn answers_are_told_apart_by_what_a_preset_says_of_their_bodies() {
    let rules = "ok = [201]\nfull = [{ status = 400, contains = \"limit reached\" }]\n\
                 conflict = [409]\nrefuse = [{ status = 201, pointer = \"/ok\", equals = false }]";
    let lines = vec![
        (400, json!({ "error": "limit reached" })),
        (400, json!({ "error": "other" })),
        (409, json!({})),
        (201, json!({ "ok": false, "id": "k", "key": VALUE })),
        (201, json!({ "ok": true, "id": "k", "key": VALUE })),
    ];
    let script = script(lines).await;
    let issuer = script.issuer(&[("ok = [201]", rules)]);
    let mut answers = Vec::new();
    for _ in 0..4 {
        let error = issuer.mint(&tag(), None).await.unwrap_err();
        answers.push((error.class, error.reason));
    }
    assert_eq!(
        answers,
        [
            (Class::Refused, Reason::IssuerFull),
            (Class::Refused, Reason::Refused),
            (Class::Ambiguous, Reason::Ambiguous),
            (Class::Refused, Reason::Refused),
        ]
    );
    issuer.mint(&tag(), None).await.unwrap();
}

#[tokio::test]
async fn a_second_request_fetches_what_the_mint_did_not_show() {
    let read = "[read]\nmethod = \"GET\"\npath = \"/keys/{{key.id}}/secret\"\nok = [200]\n\
                value = \"/secret |b64decode |trim\"\n[list]";
    let changes = [("value = \"/key\"\n", "fields = { login = \"/login\" }\n"), ("[list]", read)];
    // "a-value-of-the-issuer-0123456789\n"
    let secret = json!({ "secret": "YS12YWx1ZS1vZi10aGUtaXNzdWVyLTAxMjM0NTY3ODkK" });
    let lines = vec![(201, json!({ "id": 7, "login": "app" })), (200, secret)];
    let two = script(lines).await;
    let minted = two.issuer(&changes).mint(&tag(), None).await.unwrap();
    assert_eq!(minted.key_id, Some(KeyId("7".to_owned())));
    assert_eq!(minted.material.value().unwrap().expose(), VALUE.as_bytes());
    assert_eq!(minted.material.field("login").unwrap().expose(), b"app");
    assert_eq!(two.requests()[1], "GET /api/keys/7/secret");

    // Whatever goes wrong now, the key exists.
    for status in [403, 404, 500] {
        let minted = (201, json!({ "id": 7, "login": "app" }));
        let half = script(vec![minted, (status, json!({}))]).await;
        let error = half.issuer(&changes).mint(&tag(), None).await.unwrap_err();
        assert_eq!(error.class, Class::Ambiguous, "{error}");
    }
}

/// A credential that is another one each time it is read.
struct Rotating(Mutex<u32>);

#[async_trait]
impl SecretSource for Rotating {
    async fn read(&self) -> Result<Arc<SecretBytes>, DriverError> {
        let mut count = self.0.lock().unwrap();
        *count += 1;
        Ok(Arc::new(SecretBytes::new(format!("credential-{count}").into_bytes())))
    }
}

#[tokio::test]
async fn credentials_are_read_afresh_and_probes_show_only_the_key() {
    let none = || (200, json!({ "keys": [] }));
    let script = script(vec![none(), none(), (200, json!({})), none()]).await;
    let preset = Preset::parse(SCRIPTED, "test").unwrap();
    let params = json!({ "address": format!("http://{}/api", script.server.address) });
    let issuer = http_issuer(&preset, params, Arc::new(Rotating(Mutex::new(0))));
    issuer.list().await.unwrap();
    issuer.list().await.unwrap();
    let key = Material::single(SecretBytes::new(VALUE.as_bytes().to_vec()));
    assert_eq!(issuer.probe(None, &key).await, Ok(Probe::Works));
    let shown: Vec<_> = script.seen.lock().unwrap().iter().map(|(_, a)| a.clone()).collect();
    let shown: Vec<_> = shown.iter().map(|authorization| authorization.as_deref()).collect();
    let key = format!("Bearer {VALUE}");
    let wanted = [Some("Bearer credential-1"), Some("Bearer credential-2"), Some(key.as_str())];
    assert_eq!(shown, wanted);

    let basic = self::script(vec![none()]).await;
    let auth = "auth = { kind = \"basic\", user = \"api\", password = \"{{auth.token}}\" }";
    let issuer = basic.issuer(&[("auth = { kind = \"bearer\" }", auth)]);
    issuer.list().await.unwrap();
    // base64 of "api:admin-token-of-the-test"
    let shown = basic.seen.lock().unwrap()[0].1.clone();
    assert_eq!(shown.as_deref(), Some("Basic YXBpOmFkbWluLXRva2VuLW9mLXRoZS10ZXN0"));
}
