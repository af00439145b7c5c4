//! Values of ours in the texts that come along with an alert.
//!
//! Decides what of a place, a label or an id is not kept: whoever sends an alert has taken out what
//! it is about, and does not know our other values. Words that could be a key are looked up as a
//! clue is. Must not know what the alert leads to.

use crate::engine::desk::run::Recognise;
use crate::engine::scan::tokens::{self, LENGTH_MAX, Lengths};
use crate::incident::alert::{Alert, FoundAt};
use crate::model::clue::{Clue, Form, ValueDigest};
use crate::model::mask::Mask;
use crate::model::material::{SecretBytes, VALUE_LEN_MIN};

/// Words of one text that are looked up: a place is a line, and each look-up is two digests.
const WORDS_MAX: usize = 64;

/// Masks our values in every text of an alert.
pub(super) fn take_out(alert: &mut Alert, recogniser: &dyn Recognise) {
    let mut lengths = Lengths::default();
    (VALUE_LEN_MIN..=LENGTH_MAX).for_each(|length| lengths.allow(length));
    let ours = |text: &str| {
        let (bytes, mut looked_up, mut found) = (text.as_bytes(), 0, Vec::new());
        tokens::each(bytes, &lengths, |from, to| {
            let word = &bytes[from..to];
            looked_up += 1;
            if looked_up <= WORDS_MAX && is_ours(word, recogniser) {
                found.push(SecretBytes::new(word.to_vec()));
            }
        });
        (!found.is_empty()).then(|| Mask::of(&found))
    };
    if let Some(mask) = ours(&alert.id) {
        alert.id = mask.cover(&alert.id);
    }
    for finding in &mut alert.findings {
        if let Some(mask) = ours(&finding.label) {
            finding.label = mask.cover(&finding.label);
        }
        let Some(place) = &finding.found_at else { continue };
        if let Some(mask) = ours(place.as_str()) {
            finding.found_at = FoundAt::new(place.as_str(), &mask);
        }
    }
}

fn is_ours(word: &[u8], recogniser: &dyn Recognise) -> bool {
    let digest = ValueDigest::of_bytes(Form::Sha256, word);
    !recogniser.find(&Clue::Digest(digest)).is_empty()
}
