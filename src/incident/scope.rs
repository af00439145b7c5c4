//! Many secrets at once: in which order, what it will break, and about how long it takes.
//!
//! Decides on what is known of each secret and on nothing else; whoever carries it out gives one
//! command for each secret, when its turn has come ([`Turns`]). A secret that is declared to come
//! `after` others is not begun before their new versions are in use, and waits for nobody else.

use std::cmp::Reverse;
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
    /// In the first wave are those that wait for nobody, in each further one those that wait for
    /// some of the wave before, and of earlier ones. Nobody waits for a whole wave.
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
    let mut order = Order { waves: Vec::new(), about: lasts(members, at_once) };
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

/// How long it takes if each is begun as soon as it may be and one of `at_once` hands is free.
fn lasts(members: &[Member], at_once: usize) -> Span {
    let known: BTreeMap<&SecretName, &Member> = members.iter().map(|m| (&m.name, m)).collect();
    let turn = |member| {
        let Member { name, priority, after, .. }: &Member = member;
        Turn { name, priority: *priority, after: after.iter().collect() }
    };
    let mut turns = Turns::new(members.iter().map(turn).collect());
    let mut hands: BTreeSet<(Span, usize)> = (0..at_once.max(1)).map(|n| (Span::ZERO, n)).collect();
    let mut in_use: BTreeSet<(Span, &SecretName)> = BTreeSet::new();
    let mut now = Span::ZERO;
    loop {
        while let Some((_, hand)) = hands.first().copied().filter(|(free, _)| *free <= now) {
            let Some(name) = turns.take_next() else { break };
            hands.pop_first();
            hands.insert((now.plus(WORK), hand));
            in_use.insert((now.plus(WORK).plus(known[name].propagation), name));
        }
        let hand = hands.first().filter(|_| turns.has_next()).map(|(free, _)| *free);
        let arrives = in_use.first().map(|(at, _)| *at);
        match hand.into_iter().chain(arrives).min() {
            Some(next) => now = next,
            None if turns.untie() => continue,
            None => return now,
        }
        while let Some((at, name)) = in_use.first().copied().filter(|(at, _)| *at <= now) {
            in_use.remove(&(at, name));
            turns.free(name);
        }
    }
}

/// What is asked of [`Turns`].
#[derive(Clone, Debug)]
pub struct Turn<N> {
    /// Whose turn.
    pub name: N,
    /// Higher goes first.
    pub priority: u8,
    /// Those that it comes after; who has no turn is passed over.
    pub after: Vec<N>,
}

/// Whose turn it is: of those that wait for nobody any more the greatest priority, then the name.
#[derive(Clone, Debug)]
pub struct Turns<N> {
    ready: BTreeSet<(Reverse<u8>, N)>,
    /// Those that wait: their priority, and for whom.
    waiting: BTreeMap<N, (u8, BTreeSet<N>)>,
    followers: BTreeMap<N, Vec<N>>,
}

impl<N: Ord + Copy> Turns<N> {
    /// All of them, before the first.
    pub fn new(turns: Vec<Turn<N>>) -> Turns<N> {
        let known: BTreeSet<N> = turns.iter().map(|turn| turn.name).collect();
        let (ready, waiting, followers) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let mut all = Turns { ready, waiting, followers };
        for Turn { name, priority, after } in turns {
            let others = after.into_iter().filter(|other| *other != name && known.contains(other));
            let others: BTreeSet<N> = others.collect();
            if others.is_empty() {
                all.ready.insert((Reverse(priority), name));
                continue;
            }
            for other in &others {
                all.followers.entry(*other).or_default().push(name);
            }
            all.waiting.insert(name, (priority, others));
        }
        all
    }

    /// The next one; none if all that are left wait for somebody.
    pub fn take_next(&mut self) -> Option<N> {
        self.ready.pop_first().map(|(_, name)| name)
    }

    /// Whether it is somebody's turn.
    pub fn has_next(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether somebody waits.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Nobody waits for this one any more.
    pub fn free(&mut self, name: N) {
        for follower in self.followers.remove(&name).unwrap_or_default() {
            let Some((priority, others)) = self.waiting.get_mut(&follower) else { continue };
            others.remove(&name);
            if others.is_empty() {
                self.ready.insert((Reverse(*priority), follower));
                self.waiting.remove(&follower);
            }
        }
    }

    /// Makes it the turn of all that wait: for when nobody moves any more, because they wait for
    /// each other. Answers whether there were any.
    pub fn untie(&mut self) -> bool {
        let waiting = std::mem::take(&mut self.waiting);
        let ready = waiting.iter().map(|(name, (priority, _))| (Reverse(*priority), *name));
        self.ready.extend(ready);
        !waiting.is_empty()
    }
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

    #[test]
    fn the_time_is_that_of_the_longest_chain_and_not_of_the_slowest_of_each_wave() {
        let slow =
            |text, after| Member { propagation: Span::from_secs(90), ..member(text, 1, after) };
        let members = [slow("a", &[]), member("b", 1, &[]), slow("c", &["b"])];
        assert_eq!(order(&members, 4).about, Span::from_secs(2 + 10 + 2 + 90));
        let circle = [member("a", 1, &["b"]), member("b", 1, &["a"])];
        assert_eq!(order(&circle, 4).about, Span::from_secs(2 + 10));
    }

    #[test]
    fn a_turn_comes_when_those_before_are_free_whatever_others_do() {
        let turn =
            |name, priority, after: &[&'static str]| Turn { name, priority, after: after.to_vec() };
        let mut turns = Turns::new(vec![
            turn("a", 10, &[]),
            turn("b", 90, &["a"]),
            turn("c", 50, &["a", "e", "elsewhere"]),
            turn("d", 20, &[]),
            turn("e", 70, &["e"]),
        ]);
        assert_eq!([turns.take_next(), turns.take_next()], [Some("e"), Some("d")]);
        turns.free("e");
        assert_eq!([turns.take_next(), turns.take_next()], [Some("a"), None]);
        turns.free("a");
        turns.free("a");
        assert_eq!(
            [turns.take_next(), turns.take_next(), turns.take_next()],
            [Some("b"), Some("c"), None]
        );
        assert!(!turns.has_waiting() && !turns.untie());
    }

    #[test]
    fn those_that_wait_for_each_other_have_their_turn_in_the_end() {
        let turn = |name, priority, after| Turn { name, priority, after: vec![after] };
        let mut turns = Turns::new(vec![turn("a", 1, "b"), turn("b", 2, "a")]);
        assert_eq!(turns.take_next(), None);
        assert!(turns.has_waiting() && turns.untie());
        assert_eq!([turns.take_next(), turns.take_next()], [Some("b"), Some("a")]);
    }
}
