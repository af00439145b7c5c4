//! Whole scans: what is fetched, and that pieces hide nothing.

use super::*;
use crate::engine::recognition::tests::{key, recogniser, record};
use crate::engine::recognition::{Documents, Settings};
use crate::model::id::RotationId;
use crate::store::Saved;
use crate::store::memory::MemoryStore;

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

/// A scan for versions whose values these are; the recogniser knows the values of the record.
async fn scan(live: &[(&str, u64, &str)], known: &[&str]) -> Scan {
    let store = MemoryStore::new();
    for (secret, version, value) in live {
        let material = Material::single(SecretBytes::new(value.as_bytes().to_vec()));
        let saved = Saved { rotation: RotationId("r".into()), key: None, material };
        store.put_material(&name(secret), VersionId(*version), &saved).await.unwrap();
    }
    let recogniser = recogniser(Settings::default());
    recogniser.update(&record("a", &key("2"), known), Documents::new());
    let live = live.iter().map(|(secret, version, _)| (name(secret), VersionId(*version)));
    Scan::prepare(&store, recogniser, live.collect()).await.unwrap()
}

fn told(found: &[Match]) -> Vec<String> {
    let one = |m: &Match| format!("{}-{} {} {}", m.start, m.end, m.version, m.written.as_str());
    found.iter().map(one).collect()
}

const GONE: &str = "rk_live_0123456789abcdefghij";
const LIVE: &str = "rk_live_zyxwvutsrqponm987654";

#[tokio::test]
async fn a_version_that_is_gone_is_found_by_its_digest() {
    let scan = scan(&[("a", 2, LIVE)], &[GONE, LIVE]).await;
    let text = format!("KEY={GONE} {LIVE}");
    assert_eq!(told(&scan.look(text.as_bytes(), 0)), ["4-32 v1 word", "33-61 v2 plain"]);
    assert_eq!(told(&scan.look(text.as_bytes(), 32)), ["33-61 v2 plain"], "one was told of");
}

#[tokio::test]
async fn no_words_are_compared_if_every_version_that_is_known_is_searched_for() {
    let all = scan(&[("a", 1, GONE), ("a", 2, LIVE)], &[GONE, LIVE]).await;
    assert!(all.lengths.is_none());
    let text = format!("KEY={GONE} {LIVE}");
    assert_eq!(told(&all.look(text.as_bytes(), 0)), ["4-32 v1 plain", "33-61 v2 plain"]);
    assert_eq!(all.versions, 2);
}

#[tokio::test]
async fn a_version_that_cannot_be_read_is_named_and_still_found_as_a_word() {
    let store = MemoryStore::new();
    let material = Material::single(SecretBytes::new(LIVE.as_bytes().to_vec()));
    let saved = Saved { rotation: RotationId("r".into()), key: None, material };
    store.put_material(&name("a"), VersionId(2), &saved).await.unwrap();
    let recogniser = recogniser(Settings::default());
    recogniser.update(&record("a", &key("2"), &[GONE, LIVE]), Documents::new());
    let live = vec![(name("a"), VersionId(1)), (name("a"), VersionId(2))];
    let scan = Scan::prepare(&store, recogniser, live).await.unwrap();
    assert_eq!((scan.versions, &scan.unread), (1, &vec![(name("a"), VersionId(1))]));
    assert_eq!(told(&scan.look(GONE.as_bytes(), 0)), ["0-28 v1 word"]);
}

#[tokio::test]
async fn a_version_that_was_made_meanwhile_has_clues_once_it_was_found() {
    let scan = scan(&[("a", 1, LIVE)], &[LIVE, GONE]).await;
    let minted = (&name("a"), VersionId(2));
    assert_eq!(scan.clues(minted.0, minted.1), None);
    assert_eq!(told(&scan.look(GONE.as_bytes(), 0)), ["0-28 v2 word"]);
    let digest = ValueDigest::of_bytes(Form::Sha256, GONE.as_bytes());
    assert_eq!(scan.clues(minted.0, minted.1), Some(vec![Clue::Digest(digest)]));
    assert!(scan.clues(&name("a"), VersionId(1)).is_some(), "that it looks for from the start");
}

/// Random values, in a random text with values in it whole and in part, cut at random: what is
/// found is what the plainest search finds in the whole text.
#[tokio::test]
async fn pieces_of_any_size_give_what_the_plainest_search_finds_in_the_whole() {
    let mut random = random(9);
    let mut total = 0;
    for _ in 0..60 {
        let letters = 2 + random() % 6;
        let values: BTreeSet<String> = (0..1 + random() % 6)
            .map(|_| {
                let length = search::VALUE_LEN_MIN + random() % [5, 20, 90][random() % 3];
                (0..length).map(|_| char::from(b'a' + (random() % letters) as u8)).collect()
            })
            .collect();
        // Names, not versions, tell the values apart.
        let names: Vec<String> = (0..values.len()).map(|n| format!("s{n}")).collect();
        let live: Vec<(&str, u64, &str)> =
            names.iter().zip(&values).map(|(n, v)| (n.as_str(), 1, v.as_str())).collect();
        let scan = scan(&live, &[]).await;
        let mut text = String::new();
        while text.len() < 4_000 {
            let value = live[random() % live.len()].2;
            let (from, upto) = (random() % 4, value.len() - random() % 4);
            text.push_str(&value[if from == 3 { 1 } else { 0 }..upto]);
            let between = random() % 70;
            text.extend((0..between).map(|_| char::from(b'a' + (random() % letters) as u8)));
        }
        let expected = plainest(&live, text.as_bytes());
        let mut found = BTreeSet::new();
        let (mut at, mut seen) = (0, 0);
        while at + seen < text.len() {
            let more = 1 + random() % 1_500;
            let end = (at + seen + more).min(text.len());
            for one in scan.look(&text.as_bytes()[at..end], seen) {
                let place = (at + one.start, at + one.end, one.secret, one.written);
                assert!(found.insert(place), "told of twice");
            }
            let next = end.saturating_sub(scan.overlap()).max(at);
            (at, seen) = (next, end - next);
        }
        let plain = found.into_iter().filter(|one| one.3 == Written::Plain);
        let plain: BTreeSet<_> =
            plain.map(|(start, end, secret, _)| (start, end, secret)).collect();
        assert_eq!(plain, expected);
        total += expected.len();
    }
    assert!(total > 1_000, "{total} are too few to say anything");
}

fn plainest(live: &[(&str, u64, &str)], text: &[u8]) -> BTreeSet<(usize, usize, SecretName)> {
    let mut all = BTreeSet::new();
    for (secret, _, value) in live {
        for (start, window) in text.windows(value.len()).enumerate() {
            if window == value.as_bytes() {
                all.insert((start, start + value.len(), name(secret)));
            }
        }
    }
    all
}

/// Xorshift: the same numbers in every run.
fn random(seed: u64) -> impl FnMut() -> usize {
    let mut state = seed;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize
    }
}
