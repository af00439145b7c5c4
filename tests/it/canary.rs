//! No secret gets out: the real binary at its most talkative, among services that repeat what they
//! were told wherever they can, and people who put secrets where none belong. Then everything that
//! it ever said is searched for every secret in every form.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use rotord::api::wire::Detail;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::live::places::{self, Places};
use crate::live::services::{CHANNEL_KEY, Manner, Stand, Webhook};
use crate::support::daemon::{Daemon, Home, Ran};
use crate::support::keys::{Keys, Mode};
use crate::support::needle::Needles;

/// The key service's admin token.
const ADMIN: &str = "N7xq2vRk-administrates-the-keys";
/// What people hand over, in its place and elsewhere.
const PASTED: &str = "pA9s/ted+\"b\\y=hand & kept-0123456789";
const PROVIDED: &str = "zW3provided-at-the-web-page-0123456789";
const REPEATED: &str = "kQ8wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww";
/// What stands in documents that somebody spoiled.
const SPOILED: &str = "vB5in-a-document-that-is-wrong-0123456789";
/// What somebody wrote into the config.
const LITERAL: &str = "hT4literal-in-the-config-0123456789";

/// Everything that came out, and everything that must not.
#[derive(Default)]
struct Watch {
    outputs: Vec<(String, Vec<u8>)>,
    needles: Needles,
}

impl Watch {
    fn heard(&mut self, from: impl Into<String>, what: impl AsRef<[u8]>) {
        self.outputs.push((from.into(), what.as_ref().to_vec()));
    }

    fn heard_of(&mut self, arguments: &[&str], ran: Ran) {
        self.heard(format!("rotord {arguments:?}"), ran.out + &ran.err);
    }

    /// Takes note of all values that lie in Vault now.
    async fn note_values(&mut self, places: &Places<'_>) {
        for secret in ["hook", "partner", "pasted"] {
            for version in places.values(secret).await {
                let Some(value) = places.value(secret, version).await else { continue };
                self.needles.add_text(&format!("{secret} v{version}"), &value);
            }
        }
    }

    fn found(&self) -> Vec<String> {
        let found = self.outputs.iter().flat_map(|(from, what)| {
            self.needles.found_in(what).into_iter().map(move |hit| format!("{from}: {hit}"))
        });
        found.collect()
    }
}

/// The key service, saying more than it should.
#[derive(Clone, Copy, PartialEq)]
enum Tongue {
    /// It fails, and repeats request and answer.
    Repeats,
    /// What is in its answer stands where nobody expects it.
    Misplaces,
    /// It points elsewhere, with everything in the address.
    Redirects,
}

/// To what it speaks like that: a method, and where the path begins.
type Speech = (Tongue, Method, &'static str);

struct KeyService {
    stand: Stand,
    good: Router,
    minted: Arc<Mutex<Vec<String>>>,
}

impl KeyService {
    async fn new() -> KeyService {
        let good = Keys::new(Mode::Slots, 2, ADMIN, chrono_now).router();
        let service =
            KeyService { stand: Stand::new(Router::new()).await, good, minted: Arc::default() };
        service.speaks(None);
        service
    }

    fn speaks(&self, speech: Option<Speech>) {
        let (good, minted) = (self.good.clone(), Arc::clone(&self.minted));
        let answer = move |request: Request| {
            answer(good.clone(), Arc::clone(&minted), speech.clone(), request)
        };
        self.stand.swap(Router::new().fallback(answer));
    }
}

#[expect(clippy::disallowed_methods, reason = "the key service is a real server with a clock")]
fn chrono_now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}

async fn answer(
    good: Router,
    minted: Arc<Mutex<Vec<String>>>,
    speech: Option<Speech>,
    request: Request,
) -> Response {
    let told = format!("{:?} {:?}", request.uri(), request.headers());
    let here = speech.filter(|(_, method, path)| {
        request.method() == method && request.uri().path().starts_with(path)
    });
    let answered = good.oneshot(request).await.unwrap();
    let (parts, body) = answered.into_parts();
    let body = to_bytes(body, 64 * 1024).await.unwrap();
    let said: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(key) = said["key"].as_str() {
        minted.lock().unwrap().push(key.to_owned());
    }
    let all = format!("{told} {said}");
    match here.map(|(tongue, ..)| tongue) {
        Some(Tongue::Repeats) => {
            (StatusCode::INTERNAL_SERVER_ERROR, [("x-echo", all.clone())], all).into_response()
        }
        Some(Tongue::Redirects) => {
            let to = format!("/elsewhere?{}", STANDARD.encode(all));
            (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
        }
        Some(Tongue::Misplaces) => {
            let key = &said["key"];
            let said = json!({ "id": { "of": key }, "key": [key], "generation": key });
            (StatusCode::CREATED, axum::Json(said)).into_response()
        }
        None => Response::from_parts(parts, Body::from(body)),
    }
}

fn config(places: &Places<'_>, webhook: &Webhook, keys: &KeyService) -> String {
    format!(
        r#"
[channels.push]
key = {{ file = "channel.key" }}

[issuers.keys]
type = "http"
preset = "rotord-demo-keys"
params = {{ address = "{keys}" }}
auth = {{ token = {{ file = "admin" }} }}

[issuers.portal]
type = "manual"
instructions = "make one at the portal"

[defaults]
overlap = "1s"

[secrets.hook]
kind = "webhook_hmac"
issuer = {{ type = "generated" }}
initial = "generate"
unsafe_overlap = true
{hook}
[secrets.partner]
kind = "api_key"
issuer = "keys"
initial = "generate"
[secrets.partner.targets.document]
type = "vault_kv"
role = "signer"
mount = "{apps}"
path = "partner"
propagation = "10ms"
retry_horizon = "0s"
retire_unattested = true

[secrets.pasted]
kind = "api_key"
issuer = "portal"
[secrets.pasted.targets.document]
type = "vault_kv"
role = "signer"
mount = "{apps}"
path = "pasted"
propagation = "10ms"
retry_horizon = "0s"
retire_unattested = true
"#,
        keys = keys.stand.url(""),
        hook = webhook.targets("hook"),
        apps = places.apps,
    )
}

/// Services that repeat what they were told.
async fn services_speak(daemon: &Daemon, webhook: &Webhook, keys: &KeyService, watch: &mut Watch) {
    let planted = |at: &'static str| Manner::says(move |said| said[at] = json!(SPOILED));
    let manners = [
        ("unavailable", Manner::Echoes(StatusCode::INTERNAL_SERVER_ERROR)),
        ("denied", Manner::Echoes(StatusCode::FORBIDDEN)),
        ("refused", Manner::Echoes(StatusCode::CONFLICT)),
        ("bad_answer", Manner::Echoes(StatusCode::OK)),
        ("bad_answer", planted("generation")),
        ("wrong_identity", planted("environment")),
        ("wrong_proof", planted("proof")),
    ];
    for (code, manner) in manners {
        webhook.receiver_answers(Some(manner));
        let id = met(daemon, "hook", code, watch).await;
        webhook.receiver_answers(None);
        daemon.order("/v1/secrets/hook/resolve?how=retry").await;
        daemon.until_done("hook", Some(&id)).await;
    }
    let speeches = [
        ("unavailable", (Tongue::Repeats, Method::GET, "/keys")),
        ("unavailable", (Tongue::Repeats, Method::POST, "/keys")),
        ("unavailable", (Tongue::Repeats, Method::GET, "/whoami")),
        ("unavailable", (Tongue::Repeats, Method::DELETE, "/keys/")),
        ("redirected", (Tongue::Redirects, Method::GET, "/whoami")),
        ("bad_answer", (Tongue::Misplaces, Method::POST, "/keys")),
    ];
    for (code, speech) in speeches {
        keys.speaks(Some(speech));
        let id = met(daemon, "partner", code, watch).await;
        keys.speaks(None);
        daemon.order("/v1/secrets/partner/resolve?how=retry").await;
        daemon.until_done("partner", Some(&id)).await;
    }
}

/// Rotates until that fails with this code.
async fn met(daemon: &Daemon, secret: &str, code: &str, watch: &mut Watch) -> String {
    let id = daemon.order(&format!("/v1/secrets/{secret}/rotate?reason=test")).await;
    let opened = |detail: &Detail| {
        let run = detail.secret.summary.rotation.as_ref().unwrap();
        let since = |at| at >= run.opened_at;
        run.id == id && detail.secret.failures.iter().any(|f| f.code == code && since(f.at))
    };
    let detail = daemon.until_secret(secret, &format!("met by {code}"), opened).await;
    watch.heard(code, format!("{detail:?}"));
    watch.heard(code, daemon.call(Method::GET, "/metrics").await.1);
    id
}

/// People who hand over values at the wrong time and in the wrong place.
async fn people_speak(home: &Home, daemon: &Daemon, watch: &mut Watch) {
    let given: [(&[&str], &str); 7] = [
        (&["adopt", "pasted"], REPEATED),
        (&["provide", "pasted"], PROVIDED),
        (&["adopt", "no-such-secret"], PASTED),
        (&["adopt", "hook"], PASTED),
        (&["adopt", "pasted", "--key-id", "k1"], PASTED),
        (&["adopt", "pasted", "--exact"], PASTED),
        (&["provide", "hook"], PROVIDED),
    ];
    for (arguments, input) in given {
        let ran = home.rotord_given(arguments, input.as_bytes()).await;
        watch.heard_of(arguments, ran);
    }
    // While the adoption is open a rotation by hand is refused.
    daemon.until_done("pasted", None).await;
    let by_hand = ["rotate", "pasted", "--reason", "by hand"];
    watch.heard_of(&by_hand, home.rotord(&by_hand).await);
    let asked = |detail: &Detail| detail.secret.summary.waiting.needs_human.is_some();
    daemon.until_secret("pasted", "asked for", asked).await;
    for (arguments, input) in [
        (&["provide", "pasted"][..], REPEATED.to_owned()),
        (&["provide", "pasted"], PASTED.to_owned()),
        (&["provide", "pasted"], PROVIDED.repeat(4_000)),
        (&["provide", "pasted"], format!("{PROVIDED}\n")),
    ] {
        watch.heard_of(arguments, home.rotord_given(arguments, input.as_bytes()).await);
    }
    let current = |detail: &Detail| {
        detail.secret.summary.current.as_ref().is_some_and(|current| current.version == 2)
    };
    daemon.until_secret("pasted", "at the provided value", current).await;
    let escaped =
        percent_encoding::percent_encode(PASTED.as_bytes(), percent_encoding::NON_ALPHANUMERIC);
    for path in [
        format!("/v1/secrets/pasted/adopt?value={escaped}"),
        format!("/v1/secrets/pasted/rotate?emergency={escaped}"),
        format!("/v1/secrets/pasted/hold?until={escaped}"),
        format!("/v1/secrets/{escaped}/rotate"),
        format!("/v1/status/{escaped}"),
    ] {
        for method in [Method::GET, Method::POST] {
            // The answer may repeat what its caller asked; the daemon's log may not.
            let (status, text) = daemon.call(method, &path).await;
            assert!((400..500).contains(&status), "{status} {text}");
        }
    }
}

/// Documents in Vault that somebody spoiled with values in wrong places.
async fn documents_are_wrong(places: &Places<'_>, daemon: &Daemon, watch: &mut Watch) {
    let wrong = json!({ "data": {
        "current": { "of": SPOILED }, "accepted": SPOILED, "generation": SPOILED,
        "accepted_versions": SPOILED, "current_version": SPOILED,
        "rotord": { "secret": SPOILED, "since": SPOILED },
    } });
    let at = format!("{}/data/partner", places.apps);
    places.bao.ok(Method::POST, &at, Some(wrong)).await;
    // Its history says that it was rotord's: it is mended, and what it held is not repeated.
    watch.heard("a wrong document", format!("{:?}", daemon.rotate("partner").await));
    let wrong = json!({ "data": {
        "rotation": [SPOILED], "fields": { "value": SPOILED }, "key": { "of": SPOILED },
    } });
    let current = places.values("hook").await[0];
    let at = format!("{}/data/material/hook/{current}", places.state);
    places.bao.ok(Method::POST, &at, Some(wrong)).await;
    daemon.order("/v1/secrets/hook/rotate?reason=test").await;
    let stuck = |detail: &Detail| {
        let waiting = &detail.secret.summary.waiting;
        waiting.needs_human.is_some() || waiting.why.contains("material")
    };
    let detail = daemon.until_secret("hook", "stopped by its material", stuck).await;
    watch.heard("wrong material", format!("{detail:?}"));
    let at = format!("{}/data/state/pasted", places.state);
    let wrong = json!({ "data": { "schema": SPOILED, "rotation": { "id": [SPOILED] } } });
    places.bao.ok(Method::POST, &at, Some(wrong)).await;
}

/// Configs with secrets in them, checked and reloaded.
async fn configs_are_wrong(home: &Home, daemon: &Daemon, watch: &mut Watch) {
    let good = home.read("rotord.toml");
    let spoil = |from: &str, to: String| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, &to, 1)
    };
    let literal = format!("key = \"{LITERAL}\"");
    for wrong in [
        spoil("key = { file = \"channel.key\" }", literal.clone()),
        spoil("key = { file = \"channel.key\" }", format!("key = \"{LITERAL}")),
        spoil("key = { file = \"channel.key\" }", format!("key = {LITERAL}")),
        spoil("key = { file = \"channel.key\" }", format!("{literal}\n{literal}")),
        spoil("key = { file = \"channel.key\" }", format!("key = {{ file = \"{LITERAL}\" }}")),
        spoil("token_file = \"token\"", format!("token = \"{LITERAL}\"")),
        spoil("http://", format!("http://user:{LITERAL}@")),
        spoil("overlap = \"1s\"", format!("overlap = \"{LITERAL}\"")),
        spoil("initial = \"generate\"", format!("initial = \"generate\"\nvalue = \"{LITERAL}\"")),
    ] {
        home.put("rotord.toml", &wrong);
        watch.heard_of(&["check"], home.rotord(&["check"]).await);
        watch.heard_of(&["check", "--policy"], home.rotord(&["check", "--policy"]).await);
        watch.heard_of(&["reload"], home.rotord(&["reload"]).await);
        let (_, text) = daemon.call(Method::POST, "/v1/reload").await;
        watch.heard("reload", text);
    }
    home.put("rotord.toml", &good);
}

/// What the daemon shows whoever asks, and what the machine shows of its process.
async fn everything_shown(home: &Home, daemon: &Daemon, watch: &mut Watch) {
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["status", "hook"],
        &["status", "partner"],
        &["status", "pasted", "--json"],
        &["plan"],
        &["plan", "--json"],
        &["check", "--online"],
        &["rotate", "partner", "--reason", "again"],
        &["resolve", "hook", "retry"],
    ] {
        watch.heard_of(arguments, home.rotord(arguments).await);
    }
    for path in ["/metrics", "/v1/status", "/v1/plan", "/v1/health/ready", "/v1/status/hook"] {
        watch.heard(path, daemon.call(Method::GET, path).await.1);
    }
    let process = format!("/proc/{}", daemon.id());
    watch.heard("cmdline", std::fs::read(format!("{process}/cmdline")).unwrap());
    match std::fs::read(format!("{process}/environ")) {
        Ok(environ) => watch.heard("environ", environ),
        // Nobody but root may look: as good as empty.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
}

#[tokio::test]
async fn no_secret_gets_out() {
    let places = Places::new(places::shared().await).await;
    let home = Home::new();
    let webhook = Webhook::new(&home).await;
    let keys = KeyService::new().await;
    home.put("admin", ADMIN);
    let config = config(&places, &webhook, &keys);
    places.configure(&home, places.bao.address().as_str(), &config).await;
    let talkative = home.read("rotord.toml").replace("\"debug\"", "\"trace\"");
    home.put("rotord.toml", &talkative);
    let mut watch = Watch::default();
    for (what, value) in [
        ("the admin token", ADMIN),
        ("the channel's key", CHANNEL_KEY),
        ("Vault's token", &home.read("token")),
        ("a value in a wrong document", SPOILED),
        ("a value in the config", LITERAL),
        ("a pasted value", PASTED),
        ("a provided value", PROVIDED),
        ("a weak value", REPEATED),
    ] {
        watch.needles.add_text(what, value);
    }

    let mut daemon = home.start().await;
    daemon.until_done("hook", None).await;
    daemon.until_done("partner", None).await;
    watch.note_values(&places).await;
    services_speak(&daemon, &webhook, &keys, &mut watch).await;
    watch.note_values(&places).await;
    people_speak(&home, &daemon, &mut watch).await;
    configs_are_wrong(&home, &daemon, &mut watch).await;
    documents_are_wrong(&places, &daemon, &mut watch).await;
    everything_shown(&home, &daemon, &mut watch).await;
    let status = daemon.terminate().await;
    assert!(status.success(), "{status}");
    for key in keys.minted.lock().unwrap().iter() {
        watch.needles.add_text("a minted key", key);
    }
    watch.heard("the log", home.read("log"));
    watch.heard("the audit log", home.read("state/audit.jsonl"));

    let files = ["admin", "channel.key", "token"].map(|file| home.read(file));
    let finds = |file: &String| !watch.needles.found_in(file.as_bytes()).is_empty();
    assert!(files.iter().all(finds), "the search does not find what is there");
    let (lines, audited) = (home.read("log").lines().count(), home.read("state/audit.jsonl"));
    assert!(lines > 100 && audited.lines().count() > 100, "it said too little to show anything");
    assert_eq!(watch.found(), Vec::<String>::new());
}
