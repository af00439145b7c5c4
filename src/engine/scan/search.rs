//! Many values searched for at once, in one pass over the text.
//!
//! Decides only where in some bytes a value stands; knows no secret by name. Every value is at
//! least [`VALUE_LEN_MIN`] bytes long, so wherever it stands, one of the eight-byte words that
//! begin at a multiple of eight lies wholly within it. Each value therefore is entered under eight
//! words, at eight neighbouring offsets, and of the text only every eighth word is looked up: first
//! in a bit map that fits into a processor's cache, and, rarely, in the table behind it.

use zeroize::Zeroize as _;

use crate::model::material::SecretBytes;

/// Length of a word, and the distance at which the text is looked at.
const WORD: usize = 8;

/// Shortest value that is searched for: below it no word at a multiple of eight need lie within.
pub const VALUE_LEN_MIN: usize = 2 * WORD - 1;

/// Bits in the map for each entry: one look-up in sixteen that has no reason goes on to the table.
const BITS_PER_ENTRY: usize = 16;

/// Spreads words over the map: a large odd number, the golden ratio of 64 bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// All values, ready to be searched for.
pub struct Search {
    values: Vec<SecretBytes>,
    /// A set bit for the hash of each word.
    map: Vec<u64>,
    /// Entries by the upper bits of their hash: those of bucket b are `starts[b]..starts[b + 1]`.
    starts: Vec<u32>,
    entries: Vec<Entry>,
    map_shift: u32,
    bucket_shift: u32,
    longest: usize,
}

/// One word of a value. The words are part of it, so they are wiped too.
#[derive(Clone, Copy)]
struct Entry {
    word: u64,
    value: u32,
    offset: u32,
}

/// A value that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Its place among the values given.
    pub value: usize,
}

impl Search {
    /// Prepares the search. Values shorter than [`VALUE_LEN_MIN`] are never found.
    pub fn new(values: Vec<SecretBytes>) -> Search {
        let mut entries = entries(&values);
        let bits = (entries.len() * BITS_PER_ENTRY).next_power_of_two().max(64).ilog2();
        let buckets = entries.len().next_power_of_two().max(2).ilog2();
        let (map_shift, bucket_shift) = (64 - bits, 64 - buckets);
        let mut map = vec![0u64; 1 << (bits - 6)];
        for entry in &entries {
            let bit = hash(entry.word) >> map_shift;
            map[(bit >> 6) as usize] |= 1 << (bit & 63);
        }
        entries.sort_unstable_by_key(|entry| hash(entry.word));
        let mut starts = vec![0u32; (1 << buckets) + 1];
        for entry in &entries {
            starts[(hash(entry.word) >> bucket_shift) as usize + 1] += 1;
        }
        for bucket in 1..starts.len() {
            starts[bucket] += starts[bucket - 1];
        }
        let longest = values.iter().map(SecretBytes::len).max().unwrap_or(0);
        Search { values, map, starts, entries, map_shift, bucket_shift, longest }
    }

    /// One of the values given.
    pub fn value(&self, place: usize) -> &SecretBytes {
        &self.values[place]
    }

    /// Length of the longest value: how much of one piece of text must be repeated at the beginning
    /// of the next, less one.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Calls back for every value in the text, in the order of where the words were seen. One that
    /// stands there several times is told of each time.
    pub fn each(&self, text: &[u8], mut found: impl FnMut(Found)) {
        if self.entries.is_empty() {
            return;
        }
        for (at, word) in text.chunks_exact(WORD).enumerate() {
            let word = u64::from_le_bytes(word.try_into().expect("chunks of eight"));
            let bit = hash(word) >> self.map_shift;
            if self.map[(bit >> 6) as usize] >> (bit & 63) & 1 == 1 {
                self.look_up(text, at * WORD, word, &mut found);
            }
        }
    }

    #[cold]
    fn look_up(&self, text: &[u8], at: usize, word: u64, found: &mut impl FnMut(Found)) {
        let bucket = (hash(word) >> self.bucket_shift) as usize;
        let range = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
        for entry in self.entries[range].iter().filter(|entry| entry.word == word) {
            let value = self.values[entry.value as usize].expose();
            let Some(start) = at.checked_sub(entry.offset as usize) else { continue };
            let end = start + value.len();
            if text.get(start..end) == Some(value) {
                found(Found { start, end, value: entry.value as usize });
            }
        }
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        for entry in &mut self.entries {
            entry.word.zeroize();
        }
    }
}

/// The eight words of each value that are looked for: of all runs of eight neighbours the one whose
/// words stand in the fewest other values, since beginnings (`whsec_`) are shared by many.
fn entries(values: &[SecretBytes]) -> Vec<Entry> {
    let words = |value: &SecretBytes| -> Vec<u64> {
        value.expose().windows(WORD).map(|window| word_at(window, 0)).collect()
    };
    let mut all: Vec<u64> = values.iter().flat_map(words).collect();
    all.sort_unstable();
    let shared = |word: &u64| {
        all.partition_point(|other| other <= word) - all.partition_point(|other| other < word)
    };
    let mut entries = Vec::with_capacity(values.len() * WORD);
    for (place, value) in values.iter().enumerate() {
        let words = words(value);
        let crowds: Vec<usize> = words.iter().map(shared).collect();
        let runs = crowds.windows(WORD).enumerate();
        let Some((base, _)) = runs.min_by_key(|(_, run)| run.iter().max().copied()) else {
            continue;
        };
        let value = u32::try_from(place).expect("fewer values than four billion");
        for (offset, word) in words.iter().enumerate().skip(base).take(WORD) {
            let offset = u32::try_from(offset).expect("a value is below 4 GiB");
            entries.push(Entry { word: *word, value, offset });
        }
    }
    all.zeroize();
    entries
}

fn word_at(bytes: &[u8], offset: usize) -> u64 {
    let word = bytes[offset..offset + WORD].try_into().expect("a slice of eight");
    u64::from_le_bytes(word)
}

fn hash(word: u64) -> u64 {
    (word ^ (word >> 29)).wrapping_mul(SPREAD)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn values(texts: &[&[u8]]) -> Vec<SecretBytes> {
        texts.iter().map(|text| SecretBytes::new(text.to_vec())).collect()
    }

    fn all(search: &Search, text: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        search.each(text, |one| found.push(one));
        found.sort();
        found
    }

    #[test]
    fn a_value_is_found_wherever_it_stands() {
        for length in VALUE_LEN_MIN..70 {
            let value: Vec<u8> = (0..length).map(|n| b'a' + (n * 7 % 23) as u8).collect();
            let search = Search::new(values(&[&value]));
            for start in 0..40 {
                for rest in 0..20 {
                    let mut text = vec![b'.'; start];
                    text.extend_from_slice(&value);
                    text.resize(start + length + rest, b'.');
                    let expected = Found { start, end: start + length, value: 0 };
                    assert_eq!(all(&search, &text), [expected], "{length} {start} {rest}");
                }
            }
        }
    }

    #[test]
    fn what_is_almost_a_value_is_none() {
        let value = b"rk_live_0123456789abcdefghij";
        let search = Search::new(values(&[value]));
        for at in 0..value.len() {
            let mut other = value.to_vec();
            other[at] ^= 1;
            assert_eq!(all(&search, &other), []);
        }
        assert_eq!(all(&search, &value[1..]), []);
        assert_eq!(all(&search, b""), []);
    }

    /// Against the plainest search there is, on texts of three letters, where everything overlaps.
    #[test]
    fn it_finds_what_the_plain_search_finds() {
        let mut rng = fastrand(7);
        for _ in 0..300 {
            let texts: BTreeSet<Vec<u8>> =
                (0..5).map(|n| (0..15 + n).map(|_| b'a' + rng() % 2).collect()).collect();
            let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
            let mut text: Vec<u8> = (0..200).map(|_| b'a' + rng() % 2).collect();
            text.extend_from_slice(texts[usize::from(rng()) % texts.len()]);
            let mut expected = Vec::new();
            for (value, bytes) in texts.iter().enumerate() {
                for start in 0..=text.len() - bytes.len() {
                    let end = start + bytes.len();
                    if &text[start..end] == *bytes {
                        expected.push(Found { start, end, value });
                    }
                }
            }
            expected.sort();
            assert_eq!(all(&Search::new(values(&texts)), &text), expected);
            assert!(!expected.is_empty());
        }
    }

    #[test]
    fn values_with_a_common_beginning_and_end_do_not_crowd_one_bucket() {
        let many: Vec<Vec<u8>> = (0..2_000u32)
            .map(|n| format!("whsec_{:032x}==", u128::from(n) * 0x1_0001_0001_0001).into_bytes())
            .collect();
        let slices: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
        let search = Search::new(values(&slices));
        let fullest = search.starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(fullest < 200, "{fullest} entries in one bucket");
        assert_eq!(all(&search, &many[1_234]).len(), 1);
    }

    #[test]
    fn nothing_to_search_for_finds_nothing() {
        assert_eq!(all(&Search::new(Vec::new()), b"anything at all, of some length"), []);
        let short = Search::new(values(&[b"too-short"]));
        assert_eq!(all(&short, b"here is too-short, it stands here"), []);
    }

    /// Xorshift: the same numbers in every run.
    fn fastrand(seed: u64) -> impl FnMut() -> u8 {
        let mut state = seed;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        }
    }
}
