//! What a source reports: an alert with its findings, free of secret bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::clue::Clue;
use crate::model::id::SourceName;
use crate::model::mask::Mask;
use crate::model::time::Timestamp;

/// Longest text about a place, in characters: a URL of a commit with a long path.
pub const FOUND_AT_MAX: usize = 300;

/// One inbound report, authenticated and freed of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Who reports: a source of the config, or the command line.
    pub source: SourceName,
    /// The source's own id of it (a delivery, an incident): for people, never for deduplication.
    pub id: String,
    /// Whether the config lets this source act without proof of knowledge.
    pub trusted: bool,
    /// When it was accepted.
    pub at: Timestamp,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is known of the value; any one that fits is enough.
    pub clues: Vec<Clue>,
    /// The source's word for the kind of value (a detector, a token type).
    pub label: String,
    /// Where it was found.
    pub found_at: Option<FoundAt>,
    /// What the source says of it.
    pub claim: Claim,
}

/// What a source says of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// It was seen where it should not be.
    Leaked,
    /// It was seen where everybody can read it.
    Public,
    /// Somebody who has the value asks about it, and says nothing of where it was seen: noted,
    /// nothing is done.
    Asked,
    /// It is no leak after all, or does not work any more: noted, nothing is done.
    Withdrawn,
}

impl Claim {
    /// The graver of two claims about the same.
    pub fn graver(self, other: Claim) -> Claim {
        match (self, other) {
            (Claim::Public, _) | (_, Claim::Public) => Claim::Public,
            (Claim::Leaked, _) | (_, Claim::Leaked) => Claim::Leaked,
            (Claim::Asked, _) | (_, Claim::Asked) => Claim::Asked,
            (Claim::Withdrawn, Claim::Withdrawn) => Claim::Withdrawn,
        }
    }

    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Claim::Leaked => "leaked",
            Claim::Public => "public",
            Claim::Asked => "asked",
            Claim::Withdrawn => "withdrawn",
        }
    }
}

/// Where something was found, as text for people: a URL, a file and line, a commit. Holds no
/// value: query, fragment and credentials of a URL are cut off, and values are masked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FoundAt(String);

impl FoundAt {
    /// Takes a text from a report; the mask is one for all values of the same report.
    pub fn new(text: &str, mask: &Mask) -> Option<FoundAt> {
        // What is cut off later may be a part of a value that would not be found any more.
        let text: String = without_credentials(&mask.cover(text.trim()))
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(FOUND_AT_MAX)
            .collect();
        (!text.is_empty()).then_some(FoundAt(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FoundAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for FoundAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A URL without what may carry a credential: user, query, fragment. Line marks of code hosts
/// (`#L12`) stay.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let line = rest.rsplit_once('#').map(|(_, mark)| mark).filter(|mark| is_line(mark));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_once('/').map_or((rest, None), |(h, p)| (h, Some(p)));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let path = path.map(|path| format!("/{path}")).unwrap_or_default();
    let line = line.map(|mark| format!("#{mark}")).unwrap_or_default();
    format!("{scheme}://{host}{path}{line}")
}

fn is_line(mark: &str) -> bool {
    mark.starts_with('L')
        && mark.len() <= 16
        && mark.chars().all(|c| c.is_ascii_digit() || matches!(c, 'L' | '-' | 'C'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::material::SecretBytes;
    use Claim::{Asked, Leaked, Public, Withdrawn};

    #[test]
    fn the_graver_claim_counts() {
        let all = [Public, Leaked, Asked, Withdrawn];
        for (at, graver) in all.into_iter().enumerate() {
            for other in &all[at..] {
                assert_eq!((graver.graver(*other), other.graver(graver)), (graver, graver));
            }
            let written = serde_json::to_value(graver).unwrap();
            assert_eq!(written, graver.as_str());
        }
    }

    #[test]
    fn a_place_never_carries_a_value() {
        let value = SecretBytes::new(b"rk_live_0123456789".to_vec());
        let mask = Mask::of([&value]);
        for (given, kept) in [
            ("https://user:pass@host/a/b?token=x#y", "https://host/a/b"),
            ("https://host/a/blob/main/b.env#L12-L14", "https://host/a/blob/main/b.env#L12-L14"),
            ("src/a.py:12", "src/a.py:12"),
            ("log/rk_live_0123456789/out", "log/[secret]/out"),
            ("https://host/?k=rk_live_0123456789", "https://host/"),
            ("https://host/rk%5Flive%5F0123456789/x", "https://host/[secret]/x"),
            ("k8s/cmtfbGl2ZV8wMTIzNDU2Nzg5.yaml", "k8s/[secret].yaml"),
            ("a\nb", "a b"),
        ] {
            assert_eq!(FoundAt::new(given, &mask).unwrap().as_str(), kept);
        }
        assert!(FoundAt::new("  ", &mask).is_none());
        let long = FoundAt::new(&"ä".repeat(1_000), &mask).unwrap();
        assert_eq!(long.as_str().chars().count(), FOUND_AT_MAX);
    }
}
