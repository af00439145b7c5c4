//! Finding a secret that got out, in whatever form: as it is, in hexadecimal, in Base64 of any
//! kind (also inside of something that was encoded whole), escaped for a URL or for JSON, or only
//! the beginning of it.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// As much of the beginning as gives a secret away. Whatever holds more of it holds this.
const PREFIX: usize = 12;

/// Secrets to look for.
#[derive(Default)]
pub(crate) struct Needles {
    /// Every form by its first bytes, with the rest of it and what it is.
    forms: BTreeMap<[u8; PREFIX], Vec<(Vec<u8>, String)>>,
}

impl Needles {
    /// Looks for a value, too; `what` says in a failure which one it is, without showing it.
    pub(crate) fn add(&mut self, what: &str, value: &[u8]) {
        assert!(value.len() >= PREFIX, "{what} is too short to be looked for");
        let prefix = &value[..PREFIX];
        let hex = hex::encode(prefix);
        let escaped = percent_encode(prefix, NON_ALPHANUMERIC).to_string();
        self.form(what, "raw", prefix.to_vec());
        self.form(what, "hex", hex.to_uppercase().into_bytes());
        self.form(what, "hex", hex.into_bytes());
        self.form(what, "url", escaped.to_lowercase().into_bytes());
        self.form(what, "url", escaped.into_bytes());
        let text = str::from_utf8(value).ok().and_then(|text| text.get(..PREFIX));
        if let Some(text) = text {
            let quoted = serde_json::to_string(text).unwrap();
            let quoted = &quoted[1..quoted.len() - 1];
            self.form(what, "json", quoted.into());
            self.form(what, "json", quoted.replace('/', "\\/").into_bytes());
        }
        for before in 0..3 {
            self.form(what, "base64", inside(prefix, before, &STANDARD_NO_PAD));
            self.form(what, "base64", inside(prefix, before, &URL_SAFE_NO_PAD));
        }
    }

    /// A value as it is handed out, and the bytes that it stands for if it is `whsec_…`.
    pub(crate) fn add_text(&mut self, what: &str, value: &str) {
        self.add(what, value.as_bytes());
        if let Some(encoded) = value.strip_prefix("whsec_") {
            let bytes = STANDARD_NO_PAD.decode(encoded.trim_end_matches('=')).unwrap();
            self.add(&format!("{what}, its bytes"), &bytes);
            self.add(&format!("{what}, bare"), encoded.as_bytes());
        }
    }

    /// What stands in here, and in which form.
    pub(crate) fn found_in(&self, hay: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, window) in hay.windows(PREFIX).enumerate() {
            let first: &[u8; PREFIX] = window.try_into().unwrap();
            for (form, what) in self.forms.get(first).into_iter().flatten() {
                if hay[at..].starts_with(form) {
                    found.insert(what.clone());
                }
            }
        }
        found
    }

    fn form(&mut self, what: &str, kind: &str, form: Vec<u8>) {
        let first = form[..PREFIX].try_into().expect("no form is shorter than the value");
        self.forms.entry(first).or_default().push((form, format!("{what} ({kind})")));
    }
}

/// Base64 of the bytes as they look inside of a longer encoding, this many bytes from a border of
/// its groups of three; the characters that share bits with neighbours are left out.
fn inside(bytes: &[u8], before: usize, engine: &impl base64::Engine) -> Vec<u8> {
    let shifted = [&[0; 2][..before], bytes].concat();
    let encoded = engine.encode(&shifted);
    let from = (before * 8).div_ceil(6);
    let to = shifted.len() * 8 / 6;
    encoded.as_bytes()[from..to].to_vec()
}

#[test]
fn a_planted_value_is_found_in_every_form() {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    // Every escape has something to escape in the first bytes.
    let value = "p\"l/a\\n+t=\u{e9}d-value-0123456789";
    let mut needles = Needles::default();
    needles.add("planted", value.as_bytes());
    let json = serde_json::to_string(value).unwrap();
    let whole = format!("{{\"field\":{json}}}");
    let forms: Vec<Vec<u8>> = vec![
        value.into(),
        value.as_bytes()[..PREFIX].to_vec(),
        hex::encode(value).into_bytes(),
        hex::encode_upper(value).into_bytes(),
        STANDARD.encode(value).into_bytes(),
        STANDARD_NO_PAD.encode(value).into_bytes(),
        URL_SAFE.encode(value).into_bytes(),
        URL_SAFE_NO_PAD.encode(value).into_bytes(),
        STANDARD.encode(format!("x{value}")).into_bytes(),
        STANDARD.encode(format!("xy{value}")).into_bytes(),
        URL_SAFE.encode(format!("Authorization: Bearer {value}")).into_bytes(),
        percent_encode(value.as_bytes(), NON_ALPHANUMERIC).to_string().into_bytes(),
        percent_encode(value.as_bytes(), NON_ALPHANUMERIC).to_string().to_lowercase().into(),
        json.clone().into_bytes(),
        json.replace('/', "\\/").into_bytes(),
        whole.into_bytes(),
    ];
    for form in forms {
        let hay = [b"before it ", &form[..], b" after it"].concat();
        assert!(!needles.found_in(&hay).is_empty(), "{}", form.escape_ascii());
    }
    let almost = &value.as_bytes()[1..];
    assert_eq!(needles.found_in(almost), BTreeSet::new(), "found what is not there");
}

#[test]
fn the_bytes_behind_a_webhook_secret_are_looked_for_too() {
    let value = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let bytes = STANDARD_NO_PAD.decode(&value[6..]).unwrap();
    let mut needles = Needles::default();
    needles.add_text("key", value);
    let found = needles.found_in(hex::encode(bytes).as_bytes());
    assert_eq!(found, BTreeSet::from(["key, its bytes (hex)".to_owned()]));
}
