//! The highest state of replication that Vault has shown us: what makes our own writes readable
//! through every node.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::Deserialize;

/// Longest index that is kept: OpenBao's has 84 bytes, Vault Enterprise's some 150.
const INDEX_MAX: usize = 1024;

/// The highest index seen.
#[derive(Default)]
pub(super) struct Consistency {
    highest: Option<(HeaderValue, Option<Position>)>,
}

impl Consistency {
    /// Takes in the index of an answer. Answers overtake each other, so a lower index of the same
    /// cluster is dropped. One that cannot be read, or of another cluster, replaces what was there.
    pub(super) fn note(&mut self, index: &HeaderValue) {
        if index.len() > INDEX_MAX {
            return;
        }
        let position = Position::of(index);
        let lower = match (&self.highest, &position) {
            (Some((_, Some(before))), Some(now)) => {
                before.cluster == now.cluster && now.value < before.value
            }
            _ => false,
        };
        if !lower {
            self.highest = Some((index.clone(), position));
        }
    }

    /// What to send with the next request.
    pub(super) fn index(&self) -> Option<HeaderValue> {
        self.highest.as_ref().map(|(index, _)| index.clone())
    }
}

/// What OpenBao's index says: base64 of `{"cluster": id, "value": "number"}`.
struct Position {
    cluster: String,
    value: u64,
}

impl Position {
    fn of(index: &HeaderValue) -> Option<Position> {
        #[derive(Deserialize)]
        struct Text {
            cluster: String,
            value: String,
        }
        let json = STANDARD.decode(index.as_bytes()).ok()?;
        let text: Text = serde_json::from_slice(&json).ok()?;
        Some(Position { cluster: text.cluster, value: text.value.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(cluster: &str, value: u64) -> HeaderValue {
        let text = format!(r#"{{"cluster":"{cluster}","value":"{value}"}}"#);
        HeaderValue::from_str(&STANDARD.encode(text)).unwrap()
    }

    #[test]
    fn the_highest_index_wins_however_answers_overtake_each_other() {
        let mut seen = Consistency::default();
        assert_eq!(seen.index(), None);
        for value in [9, 100, 40] {
            seen.note(&index("a", value));
        }
        assert_eq!(seen.index(), Some(index("a", 100)));
    }

    #[test]
    fn another_cluster_starts_anew() {
        let mut seen = Consistency::default();
        seen.note(&index("a", 100));
        seen.note(&index("b", 3));
        assert_eq!(seen.index(), Some(index("b", 3)));
    }

    #[test]
    fn an_index_of_another_make_is_kept_as_it_came() {
        let mut seen = Consistency::default();
        let opaque = HeaderValue::from_static("djE6YTpiOmM=");
        seen.note(&opaque);
        assert_eq!(seen.index(), Some(opaque));
        seen.note(&HeaderValue::from_str(&"x".repeat(INDEX_MAX + 1)).unwrap());
        assert_ne!(seen.index().unwrap().len(), INDEX_MAX + 1);
    }
}
