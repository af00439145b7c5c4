//! What stands in a text in place of a value.
//!
//! Decides in which ways of writing a value is found in somebody else's text: as it is, escaped as
//! in a URL or as in JSON, within Base64. Every text that comes along with a report passes here
//! before it is kept or shown, with all values of that report. Must not know what the text is for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::model::clue;
use crate::model::material::SecretBytes;

/// What stands where a value stood.
pub const MASK: &str = "[secret]";

/// A value with fewer bytes is masked as a whole word only: within words it would be a syllable.
const ANYWHERE_LEN_MIN: usize = 6;

/// The values that must not be in a text. Without values it leaves every text as it is.
#[derive(Default)]
pub struct Mask {
    values: Sorted,
    base64: Sorted,
}

/// Patterns in their order: those that begin alike are neighbours, so that all of them are compared
/// with a text at once.
#[derive(Default)]
struct Sorted(Vec<Pattern>);

struct Pattern {
    bytes: SecretBytes,
    /// Whether it counts as a whole word only.
    word: bool,
    /// Whether the character before it holds a part of the value; of Base64.
    before: bool,
    /// The same of the character after it.
    after: bool,
}

/// How a value is written in a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Url,
    Json,
    Base64,
}

impl Mask {
    /// A mask for these values: as they were written down, and as they were meant.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a SecretBytes>) -> Mask {
        let (mut plain, mut base64) = (Vec::new(), Vec::new());
        for value in values {
            for meant in clue::variants(value) {
                if meant.expose().trim_ascii().is_empty() {
                    continue;
                }
                let word = meant.len() < ANYWHERE_LEN_MIN;
                if !word {
                    base64.extend((0..3).map(|offset| in_base64(meant.expose(), offset)));
                }
                plain.push(Pattern { bytes: meant, word, before: false, after: false });
            }
        }
        Mask { values: Sorted::new(plain), base64: Sorted::new(base64) }
    }

    /// The text with [`MASK`] in place of every value.
    pub fn cover(&self, text: &str) -> String {
        let mut kept = String::with_capacity(text.len());
        let mut from = 0;
        for (start, end) in self.places(text) {
            kept.push_str(&text[from..start]);
            kept.push_str(MASK);
            from = end;
        }
        kept.push_str(&text[from..]);
        kept
    }

    /// Whether a value stands in the text.
    pub fn finds(&self, text: &str) -> bool {
        !self.places(text).is_empty()
    }

    /// Where values stand: in order, none touching the next.
    fn places(&self, text: &str) -> Vec<(usize, usize)> {
        let bytes = text.as_bytes();
        if self.values.0.is_empty() {
            return Vec::new();
        }
        // Without an escape a way of escaping is the plain one.
        let escaped = [(b'%', Way::Url), (b'\\', Way::Json)];
        let escaped = escaped.into_iter().filter(|(mark, _)| bytes.contains(mark));
        let ways: Vec<Way> = [Way::Plain].into_iter().chain(escaped.map(|(_, way)| way)).collect();
        let mut places: Vec<(usize, usize)> = Vec::new();
        for start in 0..bytes.len() {
            let values = ways.iter().filter_map(|way| self.values.longest(bytes, start, *way));
            let encoded = self.base64.longest(bytes, start, Way::Base64);
            for (from, to) in values.chain(encoded) {
                // A value that is no text may begin or end within a character.
                let from = (0..=from).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                let to = (to..bytes.len()).find(|at| text.is_char_boundary(*at));
                places.push((from, to.unwrap_or(bytes.len())));
            }
        }
        places.sort_unstable();
        let mut joined: Vec<(usize, usize)> = Vec::new();
        for (from, to) in places {
            match joined.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => joined.push((from, to)),
            }
        }
        joined
    }
}

impl Sorted {
    fn new(mut patterns: Vec<Pattern>) -> Sorted {
        patterns.sort_by(|a, b| a.bytes.expose().cmp(b.bytes.expose()));
        patterns.dedup_by(|later, kept| {
            let same = later.bytes.same(&kept.bytes);
            (kept.before, kept.after) =
                (kept.before | (same && later.before), kept.after | (same && later.after));
            same
        });
        Sorted(patterns)
    }

    /// The longest pattern that begins here in the text.
    fn longest(&self, text: &[u8], start: usize, way: Way) -> Option<(usize, usize)> {
        let (mut low, mut high) = (0, self.0.len());
        let (mut at, mut depth) = (start, 0);
        let mut found = None;
        while low < high {
            let Some(unit) = way.unit(text, at) else { break };
            at = unit.next;
            for byte in &unit.bytes[..unit.len] {
                let left = &self.0[low..high];
                let begin = left.partition_point(|pattern| pattern.bytes.expose()[depth] < *byte);
                let end = left.partition_point(|pattern| pattern.bytes.expose()[depth] <= *byte);
                (low, high, depth) = (low + begin, low + end, depth + 1);
                // What ends here stands before whatever goes on.
                let whole = self.0[low..high].first().filter(|p| p.bytes.len() == depth);
                if let Some(whole) = whole {
                    low += 1;
                    if !whole.word || is_word(text, start, at) {
                        found = Some(whole.reach(text, start, at));
                    }
                }
            }
        }
        found
    }
}

impl Pattern {
    /// The place with what around it holds a part of the value.
    fn reach(&self, text: &[u8], start: usize, mut end: usize) -> (usize, usize) {
        if self.after {
            end = Way::Base64.unit(text, end).map_or(end, |unit| unit.next);
            end += text[end..].iter().take_while(|byte| **byte == b'=').count();
        }
        (start.saturating_sub(usize::from(self.before)), end)
    }
}

/// What one sign of a text stands for.
struct Unit {
    bytes: [u8; 4],
    len: usize,
    /// Where the next sign is.
    next: usize,
}

impl Unit {
    fn byte(byte: u8, next: usize) -> Unit {
        Unit { bytes: [byte, 0, 0, 0], len: 1, next }
    }
}

impl Way {
    /// The sign at a place.
    fn unit(self, text: &[u8], at: usize) -> Option<Unit> {
        let plain = text.get(at).map(|byte| Unit::byte(*byte, at + 1));
        match self {
            Way::Plain => plain,
            Way::Url => of_url(text, at).or(plain),
            Way::Json => of_json(text, at).or(plain),
            Way::Base64 => {
                let mut unit = of_url(text, at).or_else(|| of_json(text, at)).or(plain)?;
                let byte = &mut unit.bytes[0];
                // The alphabet for URLs and names of files.
                match byte {
                    b'-' => *byte = b'+',
                    b'_' => *byte = b'/',
                    _ => {}
                }
                (byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')).then_some(unit)
            }
        }
    }
}

/// `%2F`
fn of_url(text: &[u8], at: usize) -> Option<Unit> {
    let [b'%', digits @ ..] = text.get(at..at + 3)? else { return None };
    let mut byte = [0];
    hex::decode_to_slice(digits, &mut byte).ok()?;
    Some(Unit::byte(byte[0], at + 3))
}

/// `\/`, `\n`, `\u002f`, and two of the last for what lies beyond sixteen bits.
fn of_json(text: &[u8], at: usize) -> Option<Unit> {
    let [b'\\', kind] = text.get(at..at + 2)? else { return None };
    let byte = match kind {
        b'"' | b'\\' | b'/' | b'\'' => *kind,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => {
            let codes = [code(text, at), code(text, at + 6)];
            let first =
                char::decode_utf16(codes.into_iter().map_while(|code| code)).next()?.ok()?;
            let mut bytes = [0; 4];
            let len = first.encode_utf8(&mut bytes).len();
            return Some(Unit { bytes, len, next: at + 6 * first.len_utf16() });
        }
        _ => return None,
    };
    Some(Unit::byte(byte, at + 2))
}

/// The sixteen bits of `\u002f`.
fn code(text: &[u8], at: usize) -> Option<u16> {
    let [b'\\', b'u', digits @ ..] = text.get(at..at + 6)? else { return None };
    let mut bytes = [0; 2];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(u16::from_be_bytes(bytes))
}

/// Whether nothing of a word stands right before or behind.
fn is_word(text: &[u8], start: usize, end: usize) -> bool {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    !text[..start].last().is_some_and(part) && !text.get(end).is_some_and(part)
}

/// What Base64 shows of a value behind so many bytes of something else: the signs that hold nothing
/// but the value, and whether those around them hold a part of it.
fn in_base64(value: &[u8], offset: usize) -> Pattern {
    let mut whole = Vec::with_capacity(offset + value.len());
    whole.resize(offset, 0);
    whole.extend_from_slice(value);
    let whole = SecretBytes::new(whole);
    let mut signs = vec![0; whole.len().div_ceil(3) * 4];
    let written = STANDARD_NO_PAD.encode_slice(whole.expose(), &mut signs);
    let bits = (offset * 8, whole.len() * 8);
    let pure = (bits.0.div_ceil(6), bits.1 / 6);
    signs.truncate(written.map_or(0, |len| len.min(pure.1)));
    signs.drain(..pure.0.min(signs.len()));
    let (before, after) = (!bits.0.is_multiple_of(6), !bits.1.is_multiple_of(6));
    Pattern { bytes: SecretBytes::new(signs), word: false, before, after }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    fn secret(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    fn covered(values: &[&str], text: &str) -> String {
        let values: Vec<SecretBytes> = values.iter().map(|value| secret(value)).collect();
        Mask::of(&values).cover(text)
    }

    #[test]
    fn a_value_is_found_however_it_is_written() {
        let value = "rk_a+b/c==\"\\\u{e9}\u{1f511}\n0123";
        let url =
            percent_encoding::percent_encode(value.as_bytes(), percent_encoding::NON_ALPHANUMERIC);
        let url = url.to_string();
        let json = serde_json::to_string(value).unwrap();
        for written in [
            value.to_owned(),
            url.to_lowercase(),
            url,
            json[1..json.len() - 1].replace('/', "\\/"),
            "rk_a\\u002bb\\u002Fc==\\u0022\\\\\\u00e9\\ud83d\\udd11\\u000a0123".to_owned(),
        ] {
            for place in ["log/{}/out", "{}", "a.env:{}", "https://host/x?k={}&b=1", "v{}w"] {
                let text = place.replace("{}", &written);
                assert_eq!(covered(&[value], &text), place.replace("{}", MASK), "{text}");
            }
        }
    }

    #[test]
    fn a_value_is_found_in_base64_whatever_stands_around_it() {
        for value in ["rk_live_0123456789", "rk_live_01234567?>", "rk_live_0123456~~~~"] {
            for before in ["", "k", "ke", "key", "key:"] {
                for after in ["", "\n", "ab", "abc"] {
                    let whole = format!("{before}{value}{after}");
                    for written in [STANDARD.encode(&whole), URL_SAFE.encode(&whole)] {
                        for written in [written.replace('/', "%2F").replace('+', "%2b"), written] {
                            let text = covered(&[value], &format!("data: {written}."));
                            assert!(text.contains(MASK), "{whole}: {text}");
                            // What is left shows nothing of the value, to the last bit.
                            let left: usize = text.len() - "data: .".len() - MASK.len();
                            assert!(left * 6 <= (before.len() + after.len()) * 8 + 24, "{text}");
                            let other = value.replace(['0', '~'], "x");
                            assert!(!covered(&[&other], &written).contains(MASK));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn base64_leaves_no_sign_that_holds_a_part_of_the_value() {
        let value = "rk_live_012345678Z";
        for (before, kept) in [("", ""), ("k", "a"), ("ke", "a2"), ("key", "a2V5")] {
            let written = STANDARD.encode(format!("{before}{value}"));
            assert_eq!(covered(&[value], &written), format!("{kept}{MASK}"), "{before}");
        }
    }

    #[test]
    fn a_value_that_came_quoted_or_escaped_is_meant_as_well() {
        for written in ["'rk_live_a/b'", " rk_live_a/b\n", "rk_live_a%2Fb", r"rk_live_a\/b"] {
            assert_eq!(covered(&[written], "x/rk_live_a/b:3"), "x/[secret]:3", "{written}");
        }
    }

    #[test]
    fn a_short_value_is_masked_as_a_word() {
        let text = "key in keys, monkey key_a a-key key";
        let masked = "[secret] in keys, monkey key_a a-[secret] [secret]";
        assert_eq!(covered(&["key"], text), masked);
        assert_eq!(covered(&["abcdef"], "xabcdefy"), "x[secret]y");
        assert_eq!(covered(&["ab%"], "ab%25 ab% ab%25x"), "[secret] [secret] ab%25x");
    }

    #[test]
    fn all_values_of_many_are_found_the_longest_of_them_first() {
        let values = ["rk_live_0001", "rk_live_0001_more", "0001_more_and", "other-value"];
        let text = "rk_live_0001_more_and/rk_live_0001/rk_live_0002/other-value";
        assert_eq!(covered(&values, text), "[secret]/[secret]/rk_live_0002/[secret]");
        assert_eq!(covered(&[], text), text);
        assert_eq!(covered(&["", "  "], text), text);
        let mask = Mask::of(&[secret("other-value")]);
        assert!(mask.finds(text) && !mask.finds("another value"));
    }

    #[test]
    fn bytes_that_are_no_text_never_cut_a_character() {
        let value = SecretBytes::new("\u{e9}abcdef\u{e9}".as_bytes()[1..9].to_vec());
        assert_eq!(Mask::of([&value]).cover("x\u{e9}abcdef\u{e9}y"), "x[secret]y");
    }
}
