//! Words in a text that could be a value that is gone.
//!
//! Decides what a candidate looks like; must not know any value. Of a revoked version nothing is
//! left but keyed digests, so every candidate is digested: the fewer there are, the better. A
//! candidate is a run of the characters that keys are made of, has letters and digits, and has a
//! length that some version of a managed secret has.

/// Longest candidate: no key that is a single word is longer than a GitHub App's token.
pub const LENGTH_MAX: usize = 512;

/// The lengths that candidates may have.
#[derive(Clone, Debug)]
pub struct Lengths([bool; LENGTH_MAX + 1]);

impl Default for Lengths {
    fn default() -> Lengths {
        Lengths([false; LENGTH_MAX + 1])
    }
}

impl Lengths {
    /// Lets words of this length be candidates. Longer ones than any key never are.
    pub fn allow(&mut self, length: usize) {
        if let Some(allowed) = self.0.get_mut(length) {
            *allowed = true;
        }
    }

    /// The shortest length that candidates may have; none if none is allowed.
    fn shortest(&self) -> Option<usize> {
        self.0.iter().position(|allowed| *allowed)
    }

    /// Whether words of this length are candidates.
    pub fn allows(&self, length: usize) -> bool {
        self.0.get(length).copied().unwrap_or(false)
    }
}

/// Calls back with the place of every candidate: where it begins and ends. A run that is split by
/// `/`, `.`, `=`, `:` and the like is tried whole and in its parts.
///
/// A run in which the shortest candidate has no place is not read through: looked for is the last
/// byte that ends a run among as many as the shortest candidate has, and what is before it is
/// passed over.
pub fn each(text: &[u8], lengths: &Lengths, mut candidate: impl FnMut(usize, usize)) {
    let Some(shortest) = lengths.shortest() else { return };
    let ends = |byte: &u8| CLASS[usize::from(*byte)] == Class::None;
    // Always where a run begins, or might.
    let mut at = 0;
    while let Some(ahead) = text.get(at..at + shortest) {
        if let Some(last) = ahead.iter().rposition(ends) {
            at += last + 1;
            continue;
        }
        let rest = &text[at + shortest..];
        let end = at + shortest + rest.iter().position(ends).unwrap_or(rest.len());
        run(text, at, end, lengths, &mut candidate);
        at = end;
    }
}

/// One run of characters: as a whole, without the `=` of an assignment before it, and its parts.
fn run(
    text: &[u8],
    start: usize,
    end: usize,
    lengths: &Lengths,
    candidate: &mut impl FnMut(usize, usize),
) {
    // The end of a sentence, or of a place in a file, is not part of a key.
    let sentence = text[start..end].iter().rev().take_while(|byte| matches!(byte, b'.' | b':'));
    let end = end - sentence.count();
    let mut offer = |from: usize, to: usize| {
        if lengths.allows(to - from) && is_mixed(&text[from..to]) {
            candidate(from, to);
        }
    };
    offer(start, end);
    let mut part = start;
    for at in start..end {
        if CLASS[usize::from(text[at])] != Class::Joint {
            continue;
        }
        // What comes after `NAME=` or the last `/`, padding included.
        offer(at + 1, end);
        offer(part, at);
        part = at + 1;
    }
}

/// Letters and digits both: words of a language have none, numbers have no letters.
fn is_mixed(word: &[u8]) -> bool {
    word.iter().any(u8::is_ascii_digit) && word.iter().any(u8::is_ascii_alphabetic)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Not part of a key.
    None,
    /// Part of every kind of key.
    Plain,
    /// Part of some keys, and what stands between a key and something else.
    Joint,
}

const CLASS: [Class; 256] = {
    let mut class = [Class::None; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => Class::Plain,
            b'/' | b'+' | b'=' | b'.' | b':' | b'~' | b'%' => Class::Joint,
            _ => Class::None,
        };
        byte += 1;
    }
    class
};

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(text: &str, lengths: &[usize]) -> Vec<String> {
        let mut allowed = Lengths::default();
        lengths.iter().for_each(|length| allowed.allow(*length));
        let mut found = Vec::new();
        each(text.as_bytes(), &allowed, |from, to| found.push(text[from..to].to_owned()));
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn a_key_is_a_candidate_wherever_people_write_keys() {
        let key = "rk_0aB1cD2eF3gH4iJ5";
        for text in [
            "rk_0aB1cD2eF3gH4iJ5",
            "API_KEY=rk_0aB1cD2eF3gH4iJ5",
            "Authorization: Bearer rk_0aB1cD2eF3gH4iJ5\r\n",
            r#"{"key":"rk_0aB1cD2eF3gH4iJ5","other":1}"#,
            "https://host/path/rk_0aB1cD2eF3gH4iJ5/more?x=1",
            "https://user:rk_0aB1cD2eF3gH4iJ5@host/",
            "a,rk_0aB1cD2eF3gH4iJ5;b",
            "the key is rk_0aB1cD2eF3gH4iJ5.",
            "KEY=rk_0aB1cD2eF3gH4iJ5: leaked",
        ] {
            assert!(candidates(text, &[key.len()]).contains(&key.to_owned()), "{text}");
        }
    }

    #[test]
    fn joints_within_a_key_and_padding_belong_to_it() {
        let key = "whsec_aB3+/dE4fG5hI6jK7lM8nO9pQ0rS1tU2v==";
        for text in [key.to_owned(), format!("SECRET={key}"), format!("\"{key}\"")] {
            assert!(candidates(&text, &[key.len()]).contains(&key.to_owned()), "{text}");
        }
    }

    #[test]
    fn words_numbers_and_other_lengths_are_none() {
        let text = "configuration 1234567890123 at 03:12, abc123";
        assert_eq!(candidates(text, &[10, 14]), Vec::<String>::new());
        assert_eq!(candidates(text, &[6]), ["abc123"]);
        let long = format!("{}1", "a".repeat(LENGTH_MAX));
        assert_eq!(candidates(&long, &[LENGTH_MAX + 1]), Vec::<String>::new());
    }

    /// Every run read byte by byte gives the same candidates as runs that are passed over.
    #[test]
    fn nothing_that_could_be_a_candidate_is_passed_over() {
        let mut random = random(5);
        for _ in 0..2_000 {
            let mut lengths = Lengths::default();
            (0..1 + random() % 3).for_each(|_| lengths.allow(1 + random() as usize % 12));
            let text: Vec<u8> =
                (0..random() % 60).map(|_| b"abc123 \n/.="[random() as usize % 11]).collect();
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            let mut start = 0;
            for at in 0..=text.len() {
                if text.get(at).is_none_or(|byte| CLASS[usize::from(*byte)] == Class::None) {
                    run(&text, start, at, &lengths, &mut |from, to| expected.push((from, to)));
                    start = at + 1;
                }
            }
            each(&text, &lengths, |from, to| found.push((from, to)));
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(&text));
        }
    }

    /// Xorshift: the same numbers in every run.
    fn random(seed: u32) -> impl FnMut() -> u32 {
        let mut state = seed;
        move || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state >> 8
        }
    }

    /// A line of a hundred thousand joints must not cost its square.
    #[test]
    fn a_run_of_joints_is_not_offered_again_and_again() {
        let mut lengths = Lengths::default();
        lengths.allow(20);
        let text = "a1/".repeat(100_000);
        let mut offered = 0;
        each(text.as_bytes(), &lengths, |_, _| offered += 1);
        assert!(offered <= 2, "{offered}");
    }
}
