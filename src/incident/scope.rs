//! Many secrets at once: in which order, what it will break, and about how long it takes.
//!
//! Decides on what is known of each secret and on nothing else; whoever carries it out gives one
//! command for each secret, in this order. A secret that is declared to come `after` another one is
//! not begun before that one's new version is in use.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::SecretName;
use crate::model::time::Span;

/// What a rotation takes beside waiting for propagation: some requests to Vault, one or two to each
/// target, the probes.
const WORK: Span = Span::from_secs(2);

/// One secret of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: SecretName,
    /// Higher goes first.
    pub priority: u8,
    /// The secrets that must be in use before it is begun.
    pub after: Vec<SecretName>,
    /// How long its targets may use what they read before.
    pub propagation: Span,
}

/// The order: waves, and within each the greater priority first, then the name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Each wave is begun when the one before is in use.
    pub waves: Vec<Vec<SecretName>>,
    /// From the first command until every new version is in use, if nothing stands in the way.
    pub about: Span,
}

/// Puts the members in order; `at_once` of them are under way at a time. Names in `after` that are
/// no members are passed over. Members that wait for each other in a circle (the config does not
/// allow it) make up the last wave.
pub fn order(members: &[Member], at_once: usize) -> Order {
    let known: BTreeSet<&SecretName> = members.iter().map(|member| &member.name).collect();
    let mut left: BTreeMap<&SecretName, &Member> =
        members.iter().map(|member| (&member.name, member)).collect();
    let mut order = Order::default();
    while !left.is_empty() {
        let waits = |member: &Member| {
            member
                .after
                .iter()
                .any(|name| *name != member.name && known.contains(name) && left.contains_key(name))
        };
        let mut wave: Vec<&Member> = left.values().copied().filter(|m| !waits(m)).collect();
        if wave.is_empty() {
            wave = left.values().copied().collect();
        }
        wave.sort_by_key(|member| (u8::MAX - member.priority, &member.name));
        wave.iter().for_each(|member| {
            left.remove(&member.name);
        });
        order.about.0 += lasts(&wave, at_once).0;
        order.waves.push(wave.into_iter().map(|member| member.name.clone()).collect());
    }
    order
}

/// The first circle among the declarations, in their order: what a config is refused for.
pub fn circle(after: &BTreeMap<SecretName, Vec<SecretName>>) -> Option<Vec<SecretName>> {
    let mut safe = BTreeSet::new();
    for start in after.keys() {
        let mut path: Vec<&SecretName> = Vec::new();
        let mut next = vec![(start, 0)];
        while let Some((name, depth)) = next.pop() {
            path.truncate(depth);
            if let Some(begins) = path.iter().position(|on_path| *on_path == name) {
                return Some(path[begins..].iter().map(|name| (*name).clone()).collect());
            }
            if !safe.insert((start, name)) {
                continue;
            }
            path.push(name);
            next.extend(after.get(name).into_iter().flatten().map(|name| (name, depth + 1)));
        }
    }
    None
}

/// Rounds of as many as go at once, each as long as the work, and the longest wait at the end.
fn lasts(wave: &[&Member], at_once: usize) -> Span {
    let rounds = wave.len().div_ceil(at_once.max(1)) as u64;
    let longest = wave.iter().map(|member| member.propagation).max().unwrap_or_default();
    Span(WORK.0 * rounds + longest.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    fn member(text: &str, priority: u8, after: &[&str]) -> Member {
        let after = after.iter().map(|text| name(text)).collect();
        Member { name: name(text), priority, after, propagation: Span::from_secs(10) }
    }

    fn waves(members: &[Member]) -> Vec<Vec<String>> {
        let waves = order(members, 4).waves.into_iter();
        waves.map(|wave| wave.iter().map(ToString::to_string).collect()).collect()
    }

    #[test]
    fn the_greater_priority_goes_first_and_what_depends_goes_later() {
        let members = [
            member("b", 50, &[]),
            member("c", 90, &["a"]),
            member("a", 10, &[]),
            member("d", 50, &["c", "elsewhere"]),
            member("e", 90, &[]),
        ];
        assert_eq!(waves(&members), [vec!["e", "b", "a"], vec!["c"], vec!["d"]]);
        assert_eq!(waves(&[]), Vec::<Vec<String>>::new());
    }

    #[test]
    fn nobody_is_left_out_by_a_circle() {
        let members = [member("a", 1, &["b"]), member("b", 1, &["a"]), member("c", 1, &["c"])];
        assert_eq!(waves(&members), [vec!["c"], vec!["a", "b"]]);
    }

    #[test]
    fn a_circle_is_found_and_named() {
        let declared = |pairs: &[(&str, &[&str])]| {
            pairs
                .iter()
                .map(|(text, after)| (name(text), after.iter().map(|text| name(text)).collect()))
                .collect::<BTreeMap<_, Vec<_>>>()
        };
        let fine = declared(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[]), ("d", &["a", "b"])]);
        assert_eq!(circle(&fine), None);
        let wrong = declared(&[("a", &["b"]), ("b", &["x", "c"]), ("c", &["b"])]);
        assert_eq!(circle(&wrong), Some(vec![name("b"), name("c")]));
        assert_eq!(circle(&declared(&[("a", &["a"])])), Some(vec![name("a")]));
    }

    #[test]
    fn the_time_is_work_in_rounds_and_the_longest_wait() {
        let members: Vec<Member> = (0..9).map(|n| member(&format!("s{n}"), 50, &[])).collect();
        assert_eq!(order(&members, 4).about, Span::from_secs(3 * 2 + 10));
        assert_eq!(order(&members, 100).about, Span::from_secs(2 + 10));
    }
}
