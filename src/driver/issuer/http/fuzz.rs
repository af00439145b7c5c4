//! Entries for fuzzing: the answers of an issuer, and the text of a preset.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use url::Url;

use crate::driver::error::DriverError;
use crate::driver::issuer::http::answer::{
    KEY_ID_LEN_MAX, Nature, any, key_id, unexpected, unusable,
};
use crate::driver::issuer::http::list::listed;
use crate::driver::issuer::http::mint::judge_mint;
use crate::driver::issuer::http::page::{Here, Next};
use crate::driver::issuer::http::pointer::Answered;
use crate::driver::issuer::http::preset::{BUILTIN, Preset, PresetError};
use crate::driver::issuer::http::{Fixed, HttpIssuer, SecretSource, Settings};
use crate::model::fuzz::{CANARY, answer, silent};
use crate::model::id::KeyId;
use crate::model::material::SecretBytes;
use crate::net::answer::Answer;
use crate::net::{self, Client, SetupError};

/// Where a page is asked for.
const PATH: &str = "/keys?limit=2";

/// A preset that uses what those built in do not.
const RICH: &str = r#"
preset = "rich"
revision = 1
summary = "every way to read an answer"
value = "theirs"
capacity = 2
old_dies = "on_revoke"
on_lost = "sweep"
base = "https://issuer.example/api"
auth = { kind = "bearer" }

[mint]
method = "POST"
path = "/keys"
json = { name = "{{rotation.tag}}" }
ok = [200, { status = 201, pointer = "/ok", equals = true }]
full = [{ status = 409, contains = "full" }]
conflict = [409]
refuse = [{ status = 200, pointer = "/error" }]
value = "/key |b64decode |trim"
fields = { secret = "/secret" }
id = "/id"

[list]
method = "GET"
path = "/keys"
ok = [200]
empty = [404]
items = "/keys"
item_id = "/id"
mark = "/name"
created = "/created_at"
last_used = "/last_used_at"
page = PAGE

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

const PAGES: [&str; 2] =
    ["{ kind = \"link-header\" }", "{ kind = \"cursor\", next = \"/next\", query = \"after\" }"];

/// Every issuer that answers are read for.
static ISSUERS: LazyLock<Vec<HttpIssuer>> = LazyLock::new(|| {
    let rich = PAGES.iter().map(|page| RICH.replace("PAGE", page));
    let built_in = BUILTIN.iter().map(|(_, text)| (*text).to_owned());
    let connect = |base: &Url| Client::new(&net::Settings::new(base.clone()));
    let issuer = |text: String| make(&text, connect).expect("a whole preset");
    built_in.chain(rich).map(issuer).collect()
});

fn make(
    text: &str,
    connect: impl FnOnce(&Url) -> Result<Client, SetupError>,
) -> Result<HttpIssuer, PresetError> {
    let preset = Preset::parse(text, "an input")?;
    let value = |name: &str| if name == "address" { "https://issuer.example" } else { "app" };
    let needed = preset.spec.params.iter().filter(|(_, param)| param.default.is_none());
    let token: Arc<dyn SecretSource> = Arc::new(Fixed(Arc::new(SecretBytes::new(vec![b't'; 16]))));
    let settings = Settings {
        params: needed.map(|(name, _)| (name.clone(), json!(value(name)))).collect(),
        auth: [("token".to_owned(), token)].into(),
        exclusive: None,
    };
    HttpIssuer::new(&preset, settings, connect)
}

/// What is wrong with a preset is said with its place, and nothing is wrong but the connection
/// that there is none to, or something is said.
pub(crate) fn preset(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Err(error) = make(text, |_| Err(SetupError::Scheme)) else { return };
    assert!(!error.problems.is_empty());
    for problem in &error.problems {
        assert!(!problem.place.is_empty() && !problem.what.is_empty(), "{error}");
    }
}

/// No part of an answer stands in an error, what is believed of a key is fit for a record, and no
/// page leads anywhere else.
pub(crate) fn reply(input: &[u8]) {
    let Some((status, headers, body)) = answer(input) else { return };
    let Some(answer) = Answer::made(status, headers, body) else { return };
    for issuer in ISSUERS.iter() {
        for error in [mint(issuer, &answer).err(), list(issuer, &answer).err()].iter().flatten() {
            silent(error);
        }
        if let Some(verify) = &issuer.compiled.verify {
            any(&verify.bad, &answer);
            any(&verify.ok, &answer);
        }
        let place = issuer.place(&issuer.compiled.mint.call);
        for nature in [Nature::Deed, Nature::Question] {
            silent(&unexpected(&answer, nature, &place));
        }
    }
}

fn mint(issuer: &HttpIssuer, answer: &Answer) -> Result<(), DriverError> {
    let mint = &issuer.compiled.mint;
    let place = issuer.place(&mint.call);
    judge_mint(mint, answer, &place)?;
    let answered = Answered::parse(answer.body.expose());
    let json = answered.as_ref().map_or(&Value::Null, Answered::value);
    if let Some(id) = &mint.id {
        fit(&key_id(id.text(json), Nature::Deed, &place)?);
    }
    let value = mint.value.as_ref().and_then(|value| value.secret(json));
    let material = issuer.material(mint, value, json)?;
    assert_eq!(material.check(), Ok(()));
    assert!(!format!("{material:?}").contains(CANARY));
    Ok(())
}

fn list(issuer: &HttpIssuer, answer: &Answer) -> Result<(), DriverError> {
    let Some(list) = &issuer.compiled.list else { return Ok(()) };
    let place = issuer.place(&list.call);
    let answered = Answered::parse(answer.body.expose())
        .ok_or_else(|| unusable(Nature::Question, &place, "it is no JSON"))?;
    let json = answered.value();
    let items = list.items.find(json).and_then(Value::as_array);
    for item in items.into_iter().flatten() {
        let id = key_id(list.item_id.text(item), Nature::Question, &place)?;
        fit(&listed(id, &list.facts, item, &place)?.key_id);
    }
    let items = items.map_or(0, Vec::len);
    let here = Here { base: &issuer.compiled.base, path: PATH, number: 1, items };
    if let Ok(Next::Path(next)) = list.paging.next(here, &answer.headers, json) {
        stays(here.base, &next);
    }
    Ok(())
}

fn fit(id: &KeyId) {
    assert!(!id.0.is_empty() && id.0.len() <= KEY_ID_LEN_MAX);
    assert!(!id.0.chars().any(char::is_control));
}

/// The next page lies where it says below the base.
fn stays(base: &Url, next: &str) {
    assert!(next.starts_with('/'), "{next}");
    let prefix = base.path().trim_end_matches('/');
    let whole = format!("{}{next}", base.as_str().trim_end_matches('/'));
    let url: Url = whole.parse().expect("a path below an address");
    let path = next.split('?').next().unwrap_or_default();
    assert_eq!((url.origin(), url.path()), (base.origin(), format!("{prefix}{path}").as_str()));
}
