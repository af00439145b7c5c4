//! Alerts, verdicts and scans as they stand on the wire.

use serde::{Deserialize, Serialize};

use crate::api::wire::Why;
use crate::incident::alert::Claim;
use crate::model::clue::{self, Form, ValueDigest};
use crate::model::id::KeyId;

/// `POST /v1/alerts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// The sender's own id of it: a file's name, a job's number.
    pub id: String,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What is known of the value: any one that fits is enough.
    pub clues: Vec<Clue>,
    /// The sender's word for the kind of value.
    #[serde(default)]
    pub label: String,
    /// Where it was found.
    #[serde(default)]
    pub found_at: Option<String>,
    /// What the sender says of it.
    #[serde(default = "leaked")]
    pub claim: Claim,
}

/// One thing known of a value. Digests are hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Clue {
    /// SHA-256 of the value.
    Sha256(String),
    /// SHA-1 of the value.
    Sha1(String),
    /// SHA-256 of `value,apikey`.
    Ggshield(String),
    /// GitGuardian's `hmsl_hash`.
    Hmsl(String),
    /// SHA-256 of the prefix and the hexadecimal SHA-256 of the value.
    Placed {
        /// What stands before the value's own digest.
        prefix: String,
        /// The digest.
        sha256: String,
    },
    /// The issuer's public id of the key.
    KeyId(String),
    /// A place in Vault's KV.
    Vault {
        /// Namespace, mount and path.
        path: String,
        /// KV's own version.
        version: Option<u64>,
    },
}

/// The answer to an alert: one verdict for each finding, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// The verdicts.
    pub verdicts: Vec<Verdict>,
}

/// What became of one finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The versions it is about: empty if it is none of ours.
    pub ours: Vec<Ours>,
    /// Why a sighting of a scan is not acted on, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
}

/// One version that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ours {
    /// The secret.
    pub secret: String,
    /// The version.
    pub version: u64,
    /// Where it stood when the alert came.
    pub stage: String,
    /// What is done; absent in a dry run.
    pub action: Option<String>,
    /// The same for people.
    pub text: Option<String>,
    /// The incident it belongs to.
    pub incident: Option<String>,
    /// The rotation that answers it.
    pub rotation: Option<String>,
}

/// `POST /v1/scans`: a scan has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Its number, for the paths below.
    pub scan: u64,
    /// Largest piece of text in bytes.
    pub piece_bytes_max: usize,
    /// How many bytes of each piece must stand again at the beginning of the next one.
    pub overlap: usize,
    /// How many versions are looked for.
    pub versions: usize,
    /// Versions that could not be read from Vault and are not looked for.
    pub unread: Vec<String>,
}

/// `POST /v1/scans/{scan}/pieces`: what was found in one piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// In the order of where they begin.
    pub found: Vec<Found>,
    /// There was more than is told.
    pub cut: bool,
}

/// One value of ours in a piece of text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Where it begins, in bytes from the beginning of the piece.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The secret.
    pub secret: String,
    /// The version.
    pub version: u64,
    /// Where the version stands now.
    pub stage: String,
    /// How it is written there: `plain`, `url`, `json`, `base64`, or `word` for a version that is
    /// gone.
    pub written: String,
}

/// `POST /v1/scans/{scan}/report`: have what was found in a scan judged as an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sightings {
    /// The sender's own id of it.
    pub id: String,
    /// What was seen where.
    pub sightings: Vec<Sighting>,
}

/// One value of ours at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sighting {
    /// The secret.
    pub secret: String,
    /// The version.
    pub version: u64,
    /// Where it was found.
    pub found_at: String,
}

impl From<&clue::Clue> for Clue {
    fn from(clue: &clue::Clue) -> Clue {
        match clue {
            clue::Clue::Digest(digest) => {
                let text = hex::encode(digest.expose());
                match digest.form {
                    Form::Sha256 => Clue::Sha256(text),
                    Form::Sha1 => Clue::Sha1(text),
                    Form::Ggshield => Clue::Ggshield(text),
                    Form::Hmsl => Clue::Hmsl(text),
                }
            }
            clue::Clue::Placed { prefix, digest } => {
                Clue::Placed { prefix: prefix.clone(), sha256: hex::encode(digest) }
            }
            clue::Clue::KeyId(KeyId(id)) => Clue::KeyId(id.clone()),
            clue::Clue::VaultPlace { path, version } => {
                Clue::Vault { path: path.clone(), version: *version }
            }
        }
    }
}

impl Clue {
    /// The clue, if its digest is one.
    pub fn read(&self) -> Option<clue::Clue> {
        let digest = |form, text| ValueDigest::parse(form, text).map(clue::Clue::Digest);
        match self {
            Clue::Sha256(text) => digest(Form::Sha256, text),
            Clue::Sha1(text) => digest(Form::Sha1, text),
            Clue::Ggshield(text) => digest(Form::Ggshield, text),
            Clue::Hmsl(text) => digest(Form::Hmsl, text),
            Clue::Placed { prefix, sha256 } => {
                let mut digest = [0; 32];
                hex::decode_to_slice(sha256, &mut digest).ok()?;
                Some(clue::Clue::Placed { prefix: prefix.clone(), digest })
            }
            Clue::KeyId(id) => Some(clue::Clue::KeyId(KeyId(id.clone()))),
            Clue::Vault { path, version } => {
                let path = path.trim_matches('/').to_owned();
                Some(clue::Clue::VaultPlace { path, version: *version })
            }
        }
    }
}

fn leaked() -> Claim {
    Claim::Leaked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::material::SecretBytes;

    #[test]
    fn a_clue_comes_back_as_it_was_sent() {
        let value = SecretBytes::new(b"rk_live_0123456789abcdef".to_vec());
        let mut clues: Vec<clue::Clue> = [Form::Sha256, Form::Sha1, Form::Ggshield, Form::Hmsl]
            .map(|form| clue::Clue::Digest(ValueDigest::of(form, &value)))
            .into();
        clues.push(clue::Clue::Placed { prefix: "r:u:1:".to_owned(), digest: [7; 32] });
        clues.push(clue::Clue::KeyId(KeyId("AKIA".to_owned())));
        clues.push(clue::Clue::VaultPlace { path: "kv/a".to_owned(), version: Some(2) });
        for clue in clues {
            let text = serde_json::to_string(&Clue::from(&clue)).unwrap();
            let back: Clue = serde_json::from_str(&text).unwrap();
            assert_eq!(back.read(), Some(clue), "{text}");
        }
        for wrong in [r#"{"sha256":"zz"}"#, r#"{"placed":{"prefix":"","sha256":"00"}}"#] {
            assert_eq!(serde_json::from_str::<Clue>(wrong).unwrap().read(), None);
        }
        assert!(serde_json::from_str::<Clue>(r#"{"md5":"00"}"#).is_err());
    }
}
