//! Many values searched for at once, in one pass over the text.
//!
//! Decides only where in some bytes a value stands; knows no secret by name. The text is looked at
//! in strides: of every stride only the eight bytes at its beginning, a word, are looked up. A
//! value at least a stride and a word long (less one) covers such a word wherever it stands, so it
//! is entered under as many neighbouring words of its own as a stride has bytes. Short values have
//! a table of their own with a shorter stride and do not slow down the search for the others.
//!
//! The searchers for many patterns that crates have do not fit: aho-corasick's automaton for tens
//! of thousands of values is far larger than a processor's cache and reads every byte, and its
//! packed searcher (Teddy) takes some dozens of patterns. A shift table (Wu and Manber) skips as
//! far as this does at best, but each step waits for what the table said at the step before; here
//! the steps are known beforehand, so that the processor has many look-ups under way.

use crate::model::material::SecretBytes;

/// Length of a word.
const WORD: usize = 8;

/// Distances at which the text is looked at, the longest first. Keys have 32 characters and more,
/// so most values are in the first table; a longer stride would save little, since the text has to
/// come from memory anyhow, and would make the table larger than the processor's second cache.
const STRIDES: [usize; 3] = [STRIDE_MAX, 16, 8];
const STRIDE_MAX: usize = 24;

/// Shortest value that is searched for: below it no word at a multiple of the shortest stride need
/// lie within.
pub const VALUE_LEN_MIN: usize = STRIDES[2] + WORD - 1;

/// Bits in the filter for each entry: with two of them set for a word, about one look-up in fifty
/// that has no reason goes on to the table.
const BITS_PER_ENTRY: usize = 12;

/// Most words of the same hash with which a value may be in a table: each costs a comparison
/// wherever the word stands in a text. Where they are more, a shorter stride needs fewer words.
const CROWD_MAX: u8 = 8;

/// Spreads words: a large odd number, the golden ratio of 64 bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// All values, ready to be searched for.
pub struct Search {
    values: Vec<SecretBytes>,
    tables: Vec<Table>,
    longest: usize,
}

/// The values that are looked for at one stride. Says which value and where in it, not what: the
/// bytes themselves stand in the values only.
struct Table {
    stride: usize,
    /// Two set bits for each word, both in the same element, so that a look-up reads memory once.
    filter: Vec<u64>,
    filter_shift: u32,
    /// Entries by the upper bits of their hash: those of bucket b are `starts[b]..starts[b + 1]`.
    starts: Vec<u32>,
    bucket_shift: u32,
    entries: Vec<Entry>,
}

/// One word of a value.
#[derive(Clone, Copy, Default)]
struct Entry {
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
        let crowds = Crowds::of(&values);
        let mut members = STRIDES.map(|_| Vec::new());
        for (place, value) in values.iter().enumerate() {
            // The longest stride that it is long enough for and in which it is in no crowd.
            let runs = STRIDES.iter().enumerate().filter_map(|(table, stride)| {
                crowds.base(value, *stride).map(|(fullest, base)| (fullest, table, base))
            });
            let rank = |(fullest, table, _): &(u8, usize, usize)| match *fullest <= CROWD_MAX {
                true => (0, *table),
                false => (*fullest, *table),
            };
            if let Some((_, table, base)) = runs.min_by_key(rank) {
                members[table].push((place, base));
            }
        }
        let tables = STRIDES.iter().zip(members).filter(|(_, members)| !members.is_empty());
        let tables = tables.map(|(stride, members)| Table::new(*stride, &members, &values));
        let (tables, longest) = (tables.collect(), values.iter().map(SecretBytes::len).max());
        Search { values, tables, longest: longest.unwrap_or(0) }
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

    /// Calls back for every value in the text, in no order. One that stands there several times is
    /// told of each time.
    pub fn each(&self, text: &[u8], mut found: impl FnMut(Found)) {
        for table in &self.tables {
            for (step, word) in text.windows(WORD).step_by(table.stride).enumerate() {
                let hash = hash(word);
                if table.may_have(hash) {
                    table.look_up(&self.values, text, (step * table.stride, hash), &mut found);
                }
            }
        }
    }
}

impl Table {
    /// Of each member as many words as the stride has bytes, from its base on.
    fn new(stride: usize, members: &[(usize, usize)], values: &[SecretBytes]) -> Table {
        let count = members.len() * stride;
        let bits = (count * BITS_PER_ENTRY).next_power_of_two().max(64).ilog2();
        let buckets = count.next_power_of_two().ilog2();
        let (filter_shift, bucket_shift) = (64 - (bits - 5), 64 - buckets);
        let mut table = Table {
            stride,
            filter: vec![0; 1 << (bits - 5)],
            filter_shift,
            starts: vec![0; (1 << buckets) + 1],
            bucket_shift,
            entries: vec![Entry::default(); count],
        };
        let each = |mut enter: Box<dyn FnMut(u64, Entry) + '_>| {
            for (place, base) in members {
                let value = u32::try_from(*place).expect("fewer values than four billion");
                let words = values[*place].expose().windows(WORD).enumerate();
                for (offset, word) in words.skip(*base).take(stride) {
                    let offset = u32::try_from(offset).expect("a value is below 4 GiB");
                    enter(hash(word), Entry { value, offset });
                }
            }
        };
        // Where the buckets end, counted; then each is filled from its end on, so that in the end
        // this is where they begin.
        each(Box::new(|hash, _| {
            table.filter[(hash >> table.filter_shift) as usize] |= mask(hash);
            table.starts[(hash >> table.bucket_shift) as usize] += 1;
        }));
        let mut end = 0;
        for start in &mut table.starts {
            end += *start;
            *start = end;
        }
        each(Box::new(|hash, entry| {
            let start = &mut table.starts[(hash >> table.bucket_shift) as usize];
            *start -= 1;
            table.entries[*start as usize] = entry;
        }));
        table
    }

    fn may_have(&self, hash: u64) -> bool {
        let mask = mask(hash);
        self.filter[(hash >> self.filter_shift) as usize] & mask == mask
    }

    #[cold]
    fn look_up(
        &self,
        values: &[SecretBytes],
        text: &[u8],
        (at, hash): (usize, u64),
        found: &mut impl FnMut(Found),
    ) {
        let bucket = (hash >> self.bucket_shift) as usize;
        let range = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
        for Entry { value, offset } in &self.entries[range] {
            let place = *value as usize;
            let value = values[place].expose();
            let Some(start) = at.checked_sub(*offset as usize) else { continue };
            let end = start + value.len();
            if text.get(start..end) == Some(value) {
                found(Found { start, end, value: place });
            }
        }
    }
}

/// How many words of all values have the same hash: the more there are, the less is a word worth,
/// since beginnings (`whsec_`) are shared by many.
struct Crowds {
    counts: Vec<u8>,
    shift: u32,
}

impl Crowds {
    fn of(values: &[SecretBytes]) -> Crowds {
        let words: usize = values.iter().map(SecretBytes::len).sum();
        let bits = (words * 2).next_power_of_two().max(2).ilog2();
        let mut crowds = Crowds { counts: vec![0; 1 << bits], shift: 64 - bits };
        for word in values.iter().flat_map(|value| value.expose().windows(WORD)) {
            let count = &mut crowds.counts[(hash(word) >> crowds.shift) as usize];
            *count = count.saturating_add(1);
        }
        crowds
    }

    /// Of the runs of so many neighbouring words of a value the one whose fullest crowd is
    /// smallest: how full that is, and where the run begins. None if the value is too short.
    fn base(&self, value: &SecretBytes, run: usize) -> Option<(u8, usize)> {
        let words = value.expose().windows(WORD);
        let crowds: Vec<u8> =
            words.map(|word| self.counts[(hash(word) >> self.shift) as usize]).collect();
        let runs = crowds.windows(run).enumerate();
        runs.map(|(base, run)| (run.iter().max().copied().unwrap_or(0), base)).min()
    }
}

fn hash(word: &[u8]) -> u64 {
    let word = u64::from_le_bytes(word.try_into().expect("windows of eight"));
    let product = u128::from(word ^ SPREAD.rotate_left(32)).wrapping_mul(u128::from(SPREAD));
    (product >> 64) as u64 ^ product as u64
}

/// The bits of a hash in its element of the filter. Taken from its lower end: the upper one chooses
/// the element.
fn mask(hash: u64) -> u64 {
    1 << (hash & 63) | 1 << (hash >> 6 & 63)
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
                (0..5).map(|n| (0..15 + 7 * n).map(|_| b'a' + rng() % 2).collect()).collect();
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
        let buckets = search.tables.iter().flat_map(|table| table.starts.windows(2));
        let fullest = buckets.map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(fullest < 200, "{fullest} entries in one bucket");
        assert_eq!(all(&search, &many[1_234]).len(), 1);
    }

    /// A short value has a table of its own: the others are looked for as if it were not there.
    #[test]
    fn a_short_value_does_not_shorten_the_stride_for_the_others() {
        let long = [b"rk_live_0123456789abcdefghijklmnop".as_slice(); 3];
        let mut both = long.to_vec();
        both.push(b"short-value-0123");
        let strides = |texts: &[&[u8]]| -> Vec<(usize, usize)> {
            let search = Search::new(values(texts));
            search.tables.iter().map(|table| (table.stride, table.entries.len())).collect()
        };
        assert_eq!(strides(&long), [(STRIDE_MAX, 3 * STRIDE_MAX)]);
        assert_eq!(strides(&both), [(STRIDE_MAX, 3 * STRIDE_MAX), (8, 8)]);
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
