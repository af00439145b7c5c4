//! Plain stories without chance, and one thing that happens in them: at each boundary in turn, in
//! every way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rotord::model::id::{SecretName, VersionId};
use rotord::model::policy::OnLeak;
use rotord::model::version::Stage;
use rotord::rotation::Trigger;
use rotord::rotation::phase::Outcome;
use rotord::store::record::Record;

use crate::sim::THREADS;
use crate::sim::checkers::exposed::Exposures;
use crate::sim::faults::{self, Fault};
use crate::sim::scanner::Planned;
use crate::sim::scenario::{self, Fixed, Plot, Report};
use crate::sim::setups::{self, Setup};

fn tell(fixed: &Fixed, planned: BTreeMap<u64, Fault>, leaks: Planned) -> Report {
    scenario::run(Plot {
        seed: 7,
        fault_permille: 0,
        planned,
        leaks,
        bug: None,
        fixed: Some(fixed.clone()),
    })
}

/// Tells every case, each thread its own share.
fn share<T: Sync>(cases: &[T], tell: impl Fn(&T) + Sync) {
    let tell = &tell;
    thread::scope(|scope| {
        for at in 0..THREADS {
            scope.spawn(move || cases.iter().skip(at).step_by(THREADS).for_each(tell));
        }
    });
}

#[test]
fn one_fault_at_any_boundary_of_a_plain_rotation_changes_nothing_in_the_end() {
    let fixed = Fixed { setups: setups::plain(), rotations: 1 };
    let undisturbed = tell(&fixed, BTreeMap::new(), Planned::new());
    assert!(undisturbed.violations.is_empty(), "{:#?}", undisturbed.violations);
    let cases: Vec<(u64, Fault)> = (1..=undisturbed.troubled)
        .flat_map(|boundary| faults::ALL.map(|fault| (boundary, fault)))
        .collect();
    share(&cases, |(boundary, fault)| {
        let planned = BTreeMap::from([(*boundary, *fault)]);
        let Report { violations, trace, seen, .. } = tell(&fixed, planned, Planned::new());
        assert!(violations.is_empty(), "{fault:?} at {boundary}: {violations:#?}\n{trace}");
        assert!(!seen.contains("closed unwound"), "{fault:?} at {boundary}:\n{trace}");
    });
    println!("sim: boundaries={} faults={} violations=0", undisturbed.troubled, cases.len());
}

/// The process dies, and again at any moment after that: while the next one finds its way, too.
#[test]
fn two_crashes_at_any_boundaries_of_a_plain_rotation_change_nothing_in_the_end() {
    let fixed = Fixed { setups: setups::plain(), rotations: 1 };
    let undisturbed = tell(&fixed, BTreeMap::new(), Planned::new());
    let last = undisturbed.troubled;
    let ways = [Fault::CrashBefore, Fault::CrashAfter];
    let way = |boundary: u64| ways[usize::try_from(boundary % 2).unwrap()];
    let pairs: Vec<BTreeMap<u64, Fault>> = (1..=last)
        .flat_map(|one| (one + 1..=last).map(move |other| [one, other]))
        .map(|[one, other]| BTreeMap::from([(one, way(one + other)), (other, way(other / 2))]))
        .collect();
    let died_twice = AtomicU64::new(0);
    share(&pairs, |planned| {
        let Report { violations, trace, crashes, .. } =
            tell(&fixed, planned.clone(), Planned::new());
        assert!(violations.is_empty(), "{planned:?}: {violations:#?}\n{trace}");
        // Of two requests under way at the same time the first crash takes both.
        died_twice.fetch_add(crashes - 1, Ordering::Relaxed);
    });
    let died_twice = died_twice.into_inner();
    assert!(died_twice > last, "the second crash hardly ever comes: {died_twice}");
    println!("sim: boundaries={last} pairs={died_twice} violations=0");
}

/// One version leaks, alone or as the process dies: what was to be revoked is, and nothing else.
#[test]
fn one_leak_at_any_boundary_of_a_plain_rotation_revokes_what_it_must() {
    let mut cases = Vec::new();
    for on_leak in [OnLeak::KeepServing, OnLeak::Contain] {
        for setup in setups::plain() {
            let story = story(setup, on_leak);
            let undisturbed = tell(&story, BTreeMap::new(), Planned::new());
            assert!(undisturbed.violations.is_empty(), "{:#?}", undisturbed.violations);
            cases.extend((1..=undisturbed.troubled).map(|boundary| (story.clone(), boundary)));
        }
    }
    let seen: std::sync::Mutex<(BTreeSet<String>, u64)> = std::sync::Mutex::default();
    share(&cases, |(story, boundary)| {
        for version in (1..=VERSIONS).map(VersionId) {
            for fault in [Fault::None, Fault::CrashBefore, Fault::CrashAfter] {
                let Some(found) = leak(story, *boundary, version, fault) else { break };
                let mut seen = seen.lock().unwrap();
                seen.0.extend(found);
                seen.1 += 1;
            }
        }
    });
    let (seen, leaks) = seen.into_inner().unwrap();
    for on_leak in ["keep_serving", "contain"] {
        for stage in ["pending", "current", "previous"] {
            let what = format!("exposed {stage} {on_leak}");
            assert!(seen.contains(&what), "{what} does not occur");
        }
    }
    assert!(seen.contains("report refused already_revoked"), "no revoked version is reported");
    println!("sim: boundaries={} leaks={leaks} violations=0", cases.len());
}

/// The versions that a story has when nothing goes wrong, but for the last one.
const VERSIONS: u64 = 3;

fn story(mut setup: Setup, on_leak: OnLeak) -> Fixed {
    setup.terms.policy.on_leak = on_leak;
    Fixed { setups: vec![setup], rotations: 2 }
}

/// Has a version leak. None if there was no such version at that boundary; what was come through
/// otherwise.
fn leak(
    story: &Fixed,
    boundary: u64,
    version: VersionId,
    fault: Fault,
) -> Option<BTreeSet<String>> {
    let name: SecretName = story.setups[0].name.clone();
    let leaks = Planned::from([(boundary, vec![(name, version)])]);
    let planned = BTreeMap::from([(boundary, fault)]);
    let Report { violations, trace, seen, records, .. } = tell(story, planned, leaks);
    let (record, exposures) = records.first()?;
    if exposures.leaked.is_empty() {
        return None;
    }
    let case = format!("{version} leaks at {boundary}, {fault:?}");
    assert!(violations.is_empty(), "{case}: {violations:#?}\n{trace}");
    let ended = ended_well(record, exposures);
    assert_eq!(ended, Ok(()), "{case}\n{trace}");
    Some(seen)
}

/// Whether the newest version is in use, all others are revoked, and there are as many as people
/// and the leaks asked for.
fn ended_well(record: &Record, exposures: &Exposures) -> Result<(), String> {
    let rotation = &record.rotation;
    let current = rotation.current();
    let newest = rotation.versions.keys().next_back().copied();
    let revoked = rotation.at_stage(Stage::Revoked).count();
    if current.is_none() || current != newest || revoked + 1 != rotation.versions.len() {
        return Err(format!("in use: {current:?}, the newest: {newest:?}, revoked: {revoked}"));
    }
    let past = record.history.iter().map(|past| &past.trigger);
    let triggers = past.chain([&rotation.trigger]);
    let asked = triggers.filter(|t| !matches!(t, Trigger::Emergency { .. })).count();
    let expected = u64::try_from(asked).unwrap() + exposures.successors;
    let minted = u64::try_from(rotation.versions.len()).unwrap();
    if minted != expected {
        return Err(format!("{minted} versions came into being, and not {expected}"));
    }
    let unwound =
        |past: &rotord::store::record::Past| matches!(past.outcome, Some(Outcome::Unwound { .. }));
    match record.history.iter().find(|past| unwound(past)) {
        Some(past) => Err(format!("{} was taken back", past.id)),
        None => Ok(()),
    }
}

/// The write of a value hangs and lands when its version has leaked and is revoked already.
#[test]
fn a_value_that_lands_after_its_version_is_revoked_does_not_stay() {
    for setup in setups::plain() {
        let story = story(setup, OnLeak::KeepServing);
        let name = story.setups[0].name.clone();
        let undisturbed = tell(&story, BTreeMap::new(), Planned::new());
        let boundaries: Vec<u64> = (1..=undisturbed.troubled).collect();
        share(&boundaries, |boundary| {
            let soon = boundary + 1..boundary + 20;
            let leaks = soon.map(|at| (at, vec![(name.clone(), VersionId(2))])).collect();
            let planned = BTreeMap::from([(*boundary, Fault::Hang)]);
            let Report { violations, trace, .. } = tell(&story, planned, leaks);
            assert!(violations.is_empty(), "at {boundary}: {violations:#?}\n{trace}");
        });
    }
}

#[test]
fn a_thousand_reports_of_one_leak_are_one_rotation() {
    for setup in setups::plain() {
        let story = story(setup, OnLeak::KeepServing);
        let name = story.setups[0].name.clone();
        let leaked = |boundary: u64, times: usize| {
            let leaks = Planned::from([(boundary, vec![(name.clone(), VersionId(1)); times])]);
            tell(&story, BTreeMap::new(), leaks)
        };
        let in_use = |report: &Report| report.seen.contains("exposed current keep_serving");
        let boundary = (1..).find(|boundary| in_use(&leaked(*boundary, 1))).unwrap();
        let Report { violations, trace, records, .. } = leaked(boundary, 1_000);
        assert!(violations.is_empty(), "{violations:#?}\n{trace}");
        let (record, exposures) = &records[0];
        assert_eq!(exposures.successors, 1, "{trace}");
        assert_eq!(ended_well(record, exposures), Ok(()), "{trace}");
        let emergency = |trigger: &Trigger| matches!(trigger, Trigger::Emergency { .. });
        let emergencies = record.history.iter().filter(|past| emergency(&past.trigger)).count();
        assert_eq!(emergencies, 1, "{trace}");
    }
}
