//! GitLab: the Token Revocation API that an instance calls ("we are the revoker"), and its webhook
//! about vulnerabilities (docs.gitlab.com, "Secret detection", "Webhook events").
//!
//! The first brings values, authenticated by a shared token. The second brings none: it says where
//! something was found, and a digest at best.

use async_trait::async_trait;
use http::{Method, StatusCode, header as names};
use serde::Deserialize;
use serde_json::json;

use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::engine::desk::Verdict;
use crate::incident::alert::{Claim, Finding, FoundAt};
use crate::intake::keyring::Keyring;
use crate::intake::reading::{
    Each, Raw, Text, bounded, finding, header, id_of, label_of, mask_of, parse,
};
use crate::intake::{Delivery, Message, Received, Rejected, Reply, Source, signed};
use crate::model::clue::{Clue, Form, ValueDigest};
use crate::model::mask::Mask;
use crate::signing::token;

/// Where GitLab asks which types it may send.
const TYPES_PATH: &str = "/v1/revocable_token_types";

/// Where GitLab sends values.
const REVOKE_PATH: &str = "/v1/revoke_tokens";

/// Most identifiers of one vulnerability that are looked at; reports have two or three.
const IDENTIFIERS_MAX: usize = 32;

/// What the revocation API needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationSettings {
    /// The tokens that GitLab may send as `Authorization`, the one in use first.
    pub tokens: Vec<SecretRef>,
    /// The types that GitLab may send, such as `gitleaks_rule_id_gitlab_rotord`: with none it
    /// sends nothing.
    pub token_types: Vec<String>,
    /// Whether it may act without proof of knowledge; every message of it has that.
    pub trusted: bool,
}

/// The revocation API.
#[derive(Debug)]
pub struct Revocation {
    keyring: Keyring,
    token_types: Vec<String>,
    trusted: bool,
}

/// What the webhook needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSettings {
    /// The hook's secret tokens and signing tokens (`whsec_...`), the one in use first.
    pub keys: Vec<SecretRef>,
    /// Whether it may act without proof of knowledge.
    pub trusted: bool,
}

/// The webhook.
#[derive(Debug)]
pub struct Hook {
    keyring: Keyring,
    trusted: bool,
}

#[derive(Deserialize)]
struct Record {
    token: Raw,
    #[serde(default, rename = "type")]
    kind: Text,
    #[serde(default)]
    location: Text,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    object_kind: Text,
    object_attributes: Attributes,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    id: Option<u64>,
    #[serde(default)]
    url: Text,
    #[serde(default)]
    state: Text,
    #[serde(default)]
    report_type: Text,
    #[serde(default)]
    cve: Text,
    #[serde(default)]
    identifiers: Each<Identifier>,
}

#[derive(Deserialize)]
struct Identifier {
    #[serde(default)]
    name: Text,
    #[serde(default)]
    external_id: Text,
}

impl Revocation {
    /// The API with these settings.
    pub fn new(settings: RevocationSettings, secrets: Secrets) -> Revocation {
        let RevocationSettings { tokens, token_types, trusted } = settings;
        Revocation { keyring: Keyring::new(tokens, secrets), token_types, trusted }
    }

    fn read(&self, delivery: &Delivery<'_>) -> Result<Received, Rejected> {
        let records: Each<Record> = parse(delivery.body)?;
        bounded(records.len())?;
        let known =
            |record: &Record| self.token_types.iter().any(|known| known == record.kind.as_str());
        // GitLab never repeats what is answered with 400. So one record that we can look up is
        // enough to take them all in, whatever its type: knowing more values harms nobody.
        if records.len() > 0 && !records.iter().any(known) {
            let text = "no record has a token of a type in /v1/revocable_token_types";
            return Err(Rejected::Malformed(text.to_owned()));
        }
        let mask = mask_of(records.iter().map(|record| &record.token));
        let findings: Vec<Finding> = records
            .iter()
            .map(|Record { token, kind, location }| {
                // Only what lies in public projects is ever sent.
                finding(token, kind.as_str(), location.as_str(), Claim::Public, &mask)
            })
            .collect();
        let id = format!("revoke_tokens of {}", findings.len());
        Ok(Received::Alert(Message { id, key: None, findings, odd: records.odd }))
    }
}

#[async_trait]
impl Source for Revocation {
    async fn receive(&self, delivery: &Delivery<'_>) -> Result<Received, Rejected> {
        let asked = match (delivery.method, delivery.rest) {
            (&Method::GET, TYPES_PATH) => true,
            (&Method::POST, REVOKE_PATH) => false,
            _ => return Err(Rejected::NoSuchEndpoint),
        };
        // The token may be any bytes, so it is not read as text.
        let mut given = delivery.headers.get_all(names::AUTHORIZATION).iter();
        let given = given.next().map_or(&[][..], |value| token::without_bearer(value.as_bytes()));
        self.keyring.judge(delivery.at, |tokens| token::verify(tokens, given)).await?;
        if asked {
            let body = Some(json!({ "types": self.token_types }));
            let reply = Reply { status: StatusCode::OK, body };
            return Ok(Received::Nothing { event: "revocable_token_types", reply });
        }
        self.read(delivery)
    }

    fn answer(&self, _: &Message, _: &[Verdict]) -> Reply {
        done()
    }

    fn trusted(&self) -> bool {
        self.trusted
    }
}

impl Hook {
    /// The webhook with these settings.
    pub fn new(settings: HookSettings, secrets: Secrets) -> Hook {
        let HookSettings { keys, trusted } = settings;
        Hook { keyring: Keyring::new(keys, secrets), trusted }
    }
}

#[async_trait]
impl Source for Hook {
    async fn receive(&self, delivery: &Delivery<'_>) -> Result<Received, Rejected> {
        if delivery.method != Method::POST || !delivery.rest.trim_matches('/').is_empty() {
            return Err(Rejected::NoSuchEndpoint);
        }
        let given = delivery.headers.get("x-gitlab-token");
        self.keyring
            .judge(delivery.at, |keys| {
                let by_token = given.map_or(Err(crate::signing::Refusal::BadSignature), |given| {
                    token::verify(keys, given.as_bytes()).map(|_| ())
                });
                signed::either(signed::by_standard(delivery, keys), by_token)
            })
            .await?;
        if header(delivery, "x-gitlab-event") != Some("Vulnerability Hook") {
            return Ok(nothing("other_event"));
        }
        let Event { object_kind, object_attributes } = parse(delivery.body)?;
        if object_kind.as_str() != "vulnerability" {
            return Ok(nothing("other_event"));
        }
        if object_attributes.report_type.as_str() != "secret_detection" {
            return Ok(nothing("other_report_type"));
        }
        Ok(Received::Alert(object_attributes.message(delivery)))
    }

    fn answer(&self, _: &Message, _: &[Verdict]) -> Reply {
        done()
    }

    fn trusted(&self) -> bool {
        self.trusted
    }
}

impl Attributes {
    fn message(&self, delivery: &Delivery<'_>) -> Message {
        let id = self.id.map_or_else(|| "vulnerability".to_owned(), |id| id.to_string());
        let key = header(delivery, "webhook-id").or_else(|| header(delivery, "idempotency-key"));
        let claim = match self.state.as_str() {
            "dismissed" | "resolved" => Claim::Withdrawn,
            _ => Claim::Leaked,
        };
        let label = self.identifiers.iter().next().map_or("", |first| first.name.as_str());
        let finding = Finding {
            clues: self.clues(),
            label: label_of(label, &Mask::default()),
            found_at: FoundAt::new(self.url.as_str(), &Mask::default()),
            claim,
        };
        Message { id: id_of(&id), key: key.map(id_of), findings: vec![finding], odd: Vec::new() }
    }

    /// The SHA-256 of the value stands in the middle of a report's `cve` (`path:digest:rule`), and
    /// so in an identifier of some analysers. A message without one is only noted.
    fn clues(&self) -> Vec<Clue> {
        let identifiers = self.identifiers.iter().take(IDENTIFIERS_MAX);
        let texts = identifiers.map(|identifier| identifier.external_id.as_str());
        let parts = texts.chain([self.cve.as_str()]).flat_map(|text| text.split(':'));
        let mut clues: Vec<Clue> = parts
            .filter_map(|part| ValueDigest::parse(Form::Sha256, part))
            .map(Clue::Digest)
            .collect();
        clues.sort();
        clues.dedup();
        clues
    }
}

fn nothing(event: &'static str) -> Received {
    Received::Nothing { event, reply: done() }
}

fn done() -> Reply {
    Reply { status: StatusCode::NO_CONTENT, body: None }
}
