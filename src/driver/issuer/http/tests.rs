//! What is said of presets before anything is sent. What is sent, and what answers mean, is tested
//! against real servers in `tests/it/issuers.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::driver::issuer::Issuer;
use crate::driver::issuer::http::preset::{BUILTIN, Preset, PresetError, Problem};
use crate::driver::issuer::http::{Fixed, HttpIssuer, SecretSource, Settings};
use crate::model::capability::{OldDies, OnLost, ValueFrom};
use crate::model::material::SecretBytes;
use crate::model::time::Span;
use crate::net;

/// A preset with everything it needs; the tests break it piece by piece.
const WHOLE: &str = r#"
preset = "acme"
revision = 3
summary = "keys of acme"
value = "theirs"
capacity = 2
old_dies = "on_revoke"
on_lost = "sweep"
settle = "5s"
base = "https://api.{{param.site}}/v1"

[params]
site = { about = "the region", default = "acme.example" }
name = { about = "the account" }

[auth]
kind = "bearer"

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

fn settings(params: Value, auth: &[&str]) -> Settings {
    let secret = || Arc::new(SecretBytes::new(b"a-credential-of-the-test".to_vec()));
    let source = |name: &&str| -> (String, Arc<dyn SecretSource>) {
        ((*name).to_owned(), Arc::new(Fixed(secret())))
    };
    Settings {
        params: serde_json::from_value(params).unwrap(),
        auth: auth.iter().map(source).collect(),
        exclusive: None,
    }
}

fn make(text: &str, settings: Settings) -> Result<HttpIssuer, PresetError> {
    let preset = Preset::parse(text, "test")?;
    HttpIssuer::new(&preset, settings, |base| net::Client::new(&net::Settings::new(base.clone())))
}

fn problems(text: &str) -> Vec<Problem> {
    match make(text, settings(json!({"name": "a"}), &["token"])) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems,
    }
}

/// The places of what is wrong once `from` is replaced.
fn places(from: &str, to: &str) -> Vec<String> {
    assert!(WHOLE.contains(from), "{from:?} is not in the preset");
    problems(&WHOLE.replace(from, to)).into_iter().map(|problem| problem.place).collect()
}

#[test]
fn a_whole_preset_declares_what_it_says() {
    let issuer = make(WHOLE, settings(json!({"name": "a"}), &["token"])).unwrap();
    let declared = issuer.capabilities();
    assert_eq!(declared.value, ValueFrom::Theirs);
    assert_eq!(declared.capacity, Some(2));
    assert_eq!(declared.old_dies, OldDies::OnRevoke);
    assert_eq!(declared.on_lost, OnLost::Sweep);
    assert_eq!(declared.settle, Span::from_secs(5));
    assert!(declared.remote && declared.probes && !declared.terminates && !declared.exclusive);
    let own = Settings { exclusive: Some(true), ..settings(json!({"name": "a"}), &["token"]) };
    assert!(make(WHOLE, own).unwrap().capabilities().exclusive);
}

#[test]
fn every_preset_built_in_makes_an_issuer() {
    let values = BTreeMap::from([
        ("address", json!("https://bao.example.com:8200")),
        ("role", json!("app")),
        ("name", json!("app")),
    ]);
    for (name, _) in BUILTIN {
        let preset = Preset::find(name, None).unwrap();
        let declared = preset.spec.params.keys().map(String::as_str);
        let given: Value = declared
            .filter_map(|name| Some((name.to_owned(), values.get(name)?.clone())))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let issuer = HttpIssuer::new(&preset, settings(given, &["token"]), |base| {
            net::Client::new(&net::Settings::new(base.clone()))
        });
        assert!(issuer.is_ok(), "{}", issuer.err().unwrap());
    }
}

#[test]
fn everything_wrong_is_said_at_once_with_place_and_remedy() {
    let text = WHOLE.replace("/keys/{{key.id}}", "/keys/{{key.idd}}").replace("\"/id\"", "\"id\"");
    let given = settings(json!({"sight": "x", "site": 7}), &["tokn"]);
    let error = make(&text, given).err().unwrap();
    let shown = error.to_string();
    for part in [
        "issuer preset acme (test, revision 3)",
        "params.sight: the preset has no such parameter; there are name, site",
        "params.site: must be a string, not a number",
        "params.name: is missing: the account",
        "auth.token: is missing",
        "auth.tokn: the preset uses no credential of this name",
        "mint.id: \"id\" is no JSON pointer",
        "list.item_id: \"id\" is no JSON pointer",
        "revoke.path: {{key.idd}} has no meaning here; there are param.NAME, key.id",
    ] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
}

#[test]
fn unknown_keys_are_refused_with_their_line() {
    let text = WHOLE.replace("ok = [201]", "ok = [201]\nokay = [202]");
    let error = make(&text, Settings::default()).err().unwrap();
    assert_eq!(error.problems[0].place, "line 24");
    assert!(error.problems[0].what.contains("okay"), "{error}");
    let text = WHOLE.replace("ok = [201]", "ok = [\"201\"]");
    let error = make(&text, Settings::default()).err().unwrap();
    assert!(error.problems[0].what.contains("expected a status such as 404"), "{error}");
}

#[test]
fn requests_that_cannot_be_sent_are_refused() {
    assert_eq!(places("method = \"POST\"", "method = \"PO ST\""), ["mint.method"]);
    assert_eq!(places("path = \"/me\"", "path = \"me\""), ["verify.path"]);
    assert_eq!(places("path = \"/me\"", "path = \"//evil/me\""), ["verify.path"]);
    assert_eq!(places("Authorization =", "\"A B\" ="), ["verify.headers", "verify"]);
    let both = "form = { a = \"b\" }\nok = [201]";
    assert_eq!(places("ok = [201]", both), ["mint.form"]);
    assert_eq!(places("ok = [201]", "ok = []"), ["mint.ok"]);
    assert_eq!(places("ok = [201]", "ok = [2010]"), ["mint.ok"]);
    assert_eq!(places("ok = [201]", "ok = [{ status = 201, contains = \"\" }]"), ["mint.ok"]);
    assert_eq!(places("kind = \"bearer\"", "kind = \"sigv4\""), ["auth.kind", "auth.token"]);
    assert_eq!(places("https://api.", "http://api."), ["base"]);
    assert_eq!(places("https://api.", "ftp://api."), ["base"]);
    assert_eq!(places("https://api.", "https://x@api."), ["base"]);
    assert_eq!(places("https://api.{{param.site}}/v1", "nonsense"), ["base"]);
    assert_eq!(places("https://api.", "https://{{rotation.id}}."), ["base"]);
}

#[test]
fn combinations_that_would_lose_or_kill_a_key_are_refused() {
    let revoke = &WHOLE[WHOLE.find("[revoke]").unwrap()..WHOLE.find("[verify]").unwrap()];
    let list = &WHOLE[WHOLE.find("[list]").unwrap()..WHOLE.find("[revoke]").unwrap()];
    assert_eq!(places(revoke, ""), ["revoke", "on_lost"]);
    assert_eq!(places(list, ""), ["on_lost"]);
    assert_eq!(places("mark = \"/name\"\n", ""), ["on_lost"]);
    assert_eq!(places("on_lost = \"sweep\"", "on_lost = \"repeat\""), ["on_lost"]);
    assert_eq!(places("on_lost = \"sweep\"", "on_lost = \"adopt_then_roll\""), ["on_lost"]);
    assert_eq!(places("capacity = 2", "capacity = 1"), ["capacity"]);
    assert_eq!(places("value = \"/key\"\n", ""), ["mint.value"]);
    assert_eq!(places("id = \"/id\"\n\n[list]", "\n[list]"), ["mint.id"]);
    assert_eq!(places("/keys/{{key.id}}", "/keys"), ["revoke"]);
    assert_eq!(places("Bearer {{key.value}}", "x"), ["verify"]);
    assert_eq!(places("revision = 3", "revision = 0"), ["revision"]);
    let ours = ["generate", "mint", "mint.value"];
    assert_eq!(places("value = \"theirs\"", "value = \"ours\""), ours);
    let page = "page = { kind = \"number\", start = 1 }\nitems";
    assert_eq!(places("items", page), ["list.page"]);
}

#[test]
fn an_override_wins_and_must_bear_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("acme.toml", WHOLE);
    let found = Preset::find("acme", Some(dir.path())).unwrap();
    assert_eq!(found.spec.revision, 3);
    assert!(found.origin.ends_with("acme.toml"), "{}", found.origin);
    let built_in = Preset::find("rotord-demo-keys", Some(dir.path())).unwrap();
    assert_eq!(built_in.origin, "built in");
    write("rotord-demo-keys.toml", WHOLE);
    let error = Preset::find("rotord-demo-keys", Some(dir.path())).unwrap_err();
    assert!(error.to_string().contains("calls itself \"acme\""), "{error}");
    write("big.toml", &"#".repeat(70_000));
    let error = Preset::find("big", Some(dir.path())).unwrap_err();
    assert!(error.to_string().contains("at most"), "{error}");
    for name in ["", "../acme", "ACME", "none-of-this-name"] {
        assert!(Preset::find(name, Some(dir.path())).is_err(), "{name:?} was found");
    }
}
