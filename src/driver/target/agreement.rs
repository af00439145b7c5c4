//! What several instances of one target hold together.
//!
//! Decides how the words of many become one observation that never says more than the worst of
//! them: whoever reads it may act as if it were a single target.

use crate::model::id::VersionId;
use crate::model::target::{Observation, Wanted};

/// The lowest common truth of what instances said; `None` if nobody said anything.
///
/// A wanted version counts as accepted if *all* accept it, an unwanted one if *any* does; the
/// generation and the level are the lowest there are. So the result fits the wish only if every
/// instance does, and a version counts as dropped only once everybody has dropped it.
pub(super) fn lowest_common(wanted: &Wanted, seen: &[Observation]) -> Option<Observation> {
    let generation = seen.iter().map(|one| one.generation).min()?;
    let level = seen.iter().map(|one| one.level).min()?;
    let by: Vec<&str> = seen.iter().map(|one| one.by.as_str()).collect();
    Some(Observation {
        generation,
        accepted: accepted(wanted, seen),
        current: current(wanted, seen),
        level,
        by: by.join(", "),
    })
}

fn accepted(wanted: &Wanted, seen: &[Observation]) -> Vec<VersionId> {
    let mut known: Vec<VersionId> = seen.iter().flat_map(|one| one.accepted.clone()).collect();
    known.sort_unstable();
    known.dedup();
    let holds = |one: &Observation, version: &VersionId| one.accepted.contains(version);
    known.retain(|version| match wanted.accepted.contains(version) {
        true => seen.iter().all(|one| holds(one, version)),
        false => true,
    });
    known.reverse(); // newest first
    known
}

/// The version all use; where they differ, the oldest that is not the wanted one.
fn current(wanted: &Wanted, seen: &[Observation]) -> Option<VersionId> {
    seen.iter()
        .map(|one| one.current)
        .filter(|current| *current != wanted.current)
        .min()
        .unwrap_or(wanted.current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::Generation;
    use crate::model::target::Level;

    fn says(generation: u64, accepted: &[u64], current: Option<u64>) -> Observation {
        Observation {
            generation: Generation(generation),
            accepted: accepted.iter().copied().map(VersionId).collect(),
            current: current.map(VersionId),
            level: Level::Proved,
            by: format!("i{generation}"),
        }
    }

    fn together(wish: &Observation, seen: &[Observation]) -> (u64, Vec<u64>, Option<u64>) {
        let wanted = Wanted {
            generation: wish.generation,
            accepted: wish.accepted.clone(),
            current: wish.current,
        };
        let common = lowest_common(&wanted, seen).unwrap();
        let accepted = common.accepted.iter().map(|version| version.0).collect();
        (common.generation.0, accepted, common.current.map(|version| version.0))
    }

    #[test]
    fn those_who_agree_say_what_each_says() {
        let wish = says(5, &[3, 2], Some(3));
        let all = [says(5, &[3, 2], Some(3)), says(5, &[2, 3], Some(3))];
        assert_eq!(together(&wish, &all), (5, vec![3, 2], Some(3)));
    }

    #[test]
    fn one_who_lags_keeps_the_others_back() {
        let wish = says(5, &[3], Some(3));
        let all = [says(5, &[3], Some(3)), says(4, &[3, 2], Some(2))];
        assert_eq!(together(&wish, &all), (4, vec![3, 2], Some(2)));
    }

    #[test]
    fn half_a_wish_at_the_right_generation_does_not_add_up_to_a_whole_one() {
        let wish = says(5, &[3, 2], Some(3));
        let halves = [says(5, &[3], Some(3)), says(5, &[2], Some(3))];
        assert_eq!(together(&wish, &halves), (5, vec![], Some(3)));
    }

    #[test]
    fn one_who_does_not_say_what_it_uses_leaves_it_unknown() {
        let wish = says(5, &[3], Some(3));
        let all = [says(5, &[3], Some(3)), says(5, &[3], None)];
        assert_eq!(together(&wish, &all), (5, vec![3], None));
    }

    #[test]
    fn nobody_says_nothing() {
        let wanted = Wanted { generation: Generation(1), accepted: vec![], current: None };
        assert_eq!(lowest_common(&wanted, &[]), None);
    }
}
