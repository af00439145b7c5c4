//! Entries for fuzzing: the reports of scanners, and what every source of alerts is sent.
//!
//! Sources that sign are sent what they believe: the key is known here. Those that fetch a key or
//! a value first are entered behind that.

use std::str;
use std::sync::LazyLock;

use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::incident::alert::{Claim, Finding};
use crate::intake::aws_health::{self, AwsHealth};
use crate::intake::generic::{self, Generic};
use crate::intake::gitguardian::{self, GitGuardian};
use crate::intake::github::api::{Repository, Shown};
use crate::intake::gitlab::{Hook, HookSettings, Revocation, RevocationSettings};
use crate::intake::reading::{FINDINGS_MAX, ID_MAX, LABEL_MAX, mask_of, parse};
use crate::intake::trial::{NOW, keys};
use crate::intake::trufflehog::{self, TruffleHog};
use crate::intake::vault_radar::{self, Own, VaultRadar};
use crate::intake::{Delivery, Odd, Received, Rejected, Source, github, github_partner, report};
use crate::model::clue::{Clue, Form, ValueDigest};
use crate::model::fuzz::{CANARY, silent};
use crate::model::material::SecretBytes;
use crate::signing;
use crate::signing::key::SigningKey;

const KEY: &str = "the-key-of-every-source-of-alerts";

/// What was found, and what could not be read.
type Read = (Vec<Finding>, Vec<Odd>);

/// Reports of scanners: a finding about a value never shows it, and neither does an error.
pub(crate) fn report(input: &[u8]) {
    match report::read(&SecretBytes::new(input.to_vec())) {
        Err(error) => silent(&error),
        Ok(report) => {
            assert!(report.tool.is_some() || report.findings.is_empty());
            harmless(&report.findings);
        }
    }
}

/// What sources are sent: the word for the source in the first line, the body behind it.
pub(crate) fn webhook(input: &[u8]) {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let body = SecretBytes::new(input[end + 1..].to_vec());
    let read = match str::from_utf8(&input[..end]) {
        Ok("github") => github::about(&body, false).map(|_| Read::default()),
        Ok("github_location") => github::about(&body, true).map(|_| Read::default()),
        Ok("github_shown") => shown(&body),
        Ok("github_partner") => github_partner::read(&body),
        Ok(kind) => match SOURCES.iter().find(|entry| entry.kind == kind) {
            Some(entry) => entry.receive(&body),
            None => return,
        },
        Err(_) => return,
    };
    match read {
        Err(rejected) => {
            assert!(matches!(rejected, Rejected::Malformed(_)), "it was signed: {rejected}");
            silent(&rejected);
        }
        Ok((findings, odd)) => {
            assert!(findings.len() + odd.len() <= FINDINGS_MAX);
            odd.iter().for_each(|odd| silent(&odd.why));
            harmless(&findings);
        }
    }
}

/// An alert as GitHub shows it when it is asked.
fn shown(body: &SecretBytes) -> Result<Read, Rejected> {
    let shown: Shown = parse(body)?;
    let repository = Repository::new("octo/app").expect("owner and name");
    let mask = mask_of(&shown.secret);
    let found = github::found(&shown, &repository, Claim::Leaked, None, &mask);
    Ok((found.into_iter().collect(), Vec::new()))
}

/// Findings of which one is about the mark do not show it, and their texts are short and of one
/// line. No digest of the mark is in the corpus: beside one a value in a text is its sender's.
fn harmless(findings: &[Finding]) {
    let canary = SecretBytes::new(CANARY.as_bytes().to_vec());
    let canary = Clue::Digest(ValueDigest::of(Form::Sha256, &canary));
    let is_known = findings.iter().any(|finding| finding.clues.contains(&canary));
    for Finding { label, found_at, .. } in findings {
        let place = found_at.as_ref().map_or("", |place| place.as_str());
        for text in [label.as_str(), place] {
            assert!(!text.chars().any(char::is_control), "{text:?}");
            if is_known {
                silent(&text);
            }
        }
        assert!(label.chars().count() <= LABEL_MAX, "{label}");
    }
}

/// A source, and how somebody who has its key sends to it.
struct Entry {
    kind: &'static str,
    source: Box<dyn Source>,
    rest: &'static str,
    sign: fn(&SecretBytes, &SecretBytes) -> Vec<(&'static str, String)>,
}

impl Entry {
    fn receive(&self, body: &SecretBytes) -> Result<Read, Rejected> {
        let key = SecretBytes::new(KEY.as_bytes().to_vec());
        let signed = (self.sign)(&key, body);
        let header = |(name, value): (&'static str, String)| {
            let value = HeaderValue::try_from(value).expect("a signature is plain");
            (HeaderName::from_static(name), value)
        };
        let headers: HeaderMap = signed.into_iter().map(header).collect();
        let (method, rest) = (&Method::POST, self.rest);
        let delivery = Delivery { method, rest, headers: &headers, body, at: NOW };
        let received = self.source.receive(&delivery).now_or_never().expect("nothing to wait for");
        Ok(match received? {
            Received::Nothing { .. } => Read::default(),
            Received::Alert(message) => {
                assert!(message.id.chars().count() <= ID_MAX, "{}", message.id);
                (message.findings, message.odd)
            }
        })
    }
}

fn entry<S: Source + 'static>(
    kind: &'static str,
    make: impl FnOnce(Vec<SecretRef>, Secrets) -> S,
    sign: fn(&SecretBytes, &SecretBytes) -> Vec<(&'static str, String)>,
) -> Entry {
    let (keys, secrets) = keys(&[KEY]);
    Entry { kind, source: Box::new(make(keys, secrets)), rest: "", sign }
}

fn bearer(_: &SecretBytes, _: &SecretBytes) -> Vec<(&'static str, String)> {
    vec![("authorization", format!("Bearer {KEY}"))]
}

fn xpi(key: &SecretBytes, body: &SecretBytes) -> Vec<(&'static str, String)> {
    let key = SigningKey::new(key).expect("it is long enough");
    let signature = signing::xpi::sign(&key, NOW, body.expose());
    vec![("x-pi-timestamp", NOW.seconds().to_string()), ("x-pi-signature", signature)]
}

fn hook(_: &SecretBytes, _: &SecretBytes) -> Vec<(&'static str, String)> {
    vec![("x-gitlab-token", KEY.to_owned()), ("x-gitlab-event", "Vulnerability Hook".to_owned())]
}

fn guardian(key: &SecretBytes, body: &SecretBytes) -> Vec<(&'static str, String)> {
    let at = NOW.seconds().to_string();
    let signature = signing::gitguardian::sign(key, &at, body.expose());
    vec![
        (signing::gitguardian::SIGNATURE_HEADER, signature),
        (signing::gitguardian::TIMESTAMP_HEADER, at),
    ]
}

fn radar(key: &SecretBytes, body: &SecretBytes) -> Vec<(&'static str, String)> {
    vec![(signing::radar::SIGNATURE_HEADER, signing::radar::sign(key, body.expose()))]
}

static SOURCES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let trusted = true;
    let own = Own {
        hosts: [("vault.example".to_owned(), vault_radar::PORT)].into(),
        namespace: None,
        mounts: ["kv".to_owned()].into(),
    };
    let token_types = vec!["rotord_key".to_owned()];
    let revocation =
        |tokens, s| Revocation::new(RevocationSettings { tokens, token_types, trusted }, s);
    let radar_of = |keys, s| VaultRadar::new(vault_radar::Settings { keys, trusted, own }, s);
    let truffle = |keys, s| {
        let (live, rotated, unknown) = (StatusCode::OK, StatusCode::GONE, StatusCode::NOT_FOUND);
        let settings = trufflehog::Settings { keys, report: true, live, rotated, unknown };
        TruffleHog::new(settings, s)
    };
    let revoke = entry("gitlab_revocation", revocation, bearer);
    vec![
        entry("generic", |keys, s| Generic::new(generic::Settings { keys, trusted }, s), xpi),
        Entry { rest: "/v1/revoke_tokens", ..revoke },
        entry("gitlab", |keys, s| Hook::new(HookSettings { keys, trusted }, s), hook),
        entry(
            "gitguardian",
            |keys, s| GitGuardian::new(gitguardian::Settings { keys, trusted }, s),
            guardian,
        ),
        entry("vault_radar", radar_of, radar),
        entry(
            "aws_health",
            |keys, s| AwsHealth::new(aws_health::Settings { keys, trusted }, s),
            bearer,
        ),
        entry("trufflehog", truffle, bearer),
    ]
});
