//! What people decide in peace time: `[defaults]`, and the same keys in each secret.
//!
//! Decides keys, defaults and bounds of a policy and of the clock it is reckoned with. Must not
//! know which secret it is for.

use chrono_tz::Tz;

use crate::config::reader::{Entry, Section, nearest};
use crate::model::policy::{OnLeak, Policy, WhenFull};
use crate::model::time::Span;

/// What a secret has unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// How it is rotated.
    pub policy: Policy,
    /// How far the clocks of a signer and a verifier may be apart.
    pub clock_tolerance: Span,
    /// The zone in which its schedule is read.
    pub zone: Tz,
}

impl Default for Defaults {
    /// Five minutes is the tolerance that Standard Webhooks and its libraries use.
    fn default() -> Defaults {
        Defaults { policy: Policy::default(), clock_tolerance: Span::from_secs(300), zone: Tz::UTC }
    }
}

/// Nothing is accepted longer than a quarter of a year beside its successor.
const OVERLAP_MAX: Span = Span::from_secs(90 * 24 * 3600);
/// Evidence older than a day says little about now.
const EVIDENCE_MAX_AGE_MAX: Span = Span::from_secs(24 * 3600);
/// A leaked value that lives longer than a week was not contained at all.
const EXPOSURE_MAX: Span = Span::from_secs(7 * 24 * 3600);
/// Clocks that are further apart are broken, and must not pass for tolerable.
const TOLERANCE_MAX: Span = Span::from_secs(3600);
/// More good answers in a row prove nothing more.
const PROBES_MAX: u64 = 20;
/// The least of any span that is waited for: below it only clocks are measured.
const LEAST: Span = Span::from_secs(1);

/// Reads the policy keys of a table, over a base.
pub(super) fn read(s: &Section<'_>, base: &Defaults) -> Defaults {
    let span =
        |key, least, most, default| s.get(key).and_then(|e| e.span(least, most)).unwrap_or(default);
    let from = &base.policy;
    let leak =
        [("keep_serving", OnLeak::KeepServing), ("contain", OnLeak::Contain), ("ask", OnLeak::Ask)];
    let full = [("contain", WhenFull::Contain), ("ask", WhenFull::Ask)];
    let probes = s.get("probes").and_then(|e| e.number(1, PROBES_MAX));
    let policy = Policy {
        overlap: span("overlap", LEAST, OVERLAP_MAX, from.overlap),
        evidence_max_age: span(
            "evidence_max_age",
            LEAST,
            EVIDENCE_MAX_AGE_MAX,
            from.evidence_max_age,
        ),
        on_leak: s.get("on_leak").and_then(|e| e.one_of(&leak)).unwrap_or(from.on_leak),
        max_exposure: span("max_exposure", LEAST, EXPOSURE_MAX, from.max_exposure),
        when_full: s.get("when_full").and_then(|e| e.one_of(&full)).unwrap_or(from.when_full),
        probes: probes.and_then(|n| u32::try_from(n).ok()).unwrap_or(from.probes),
    };
    Defaults {
        policy,
        clock_tolerance: span("clock_tolerance", Span::ZERO, TOLERANCE_MAX, base.clock_tolerance),
        zone: s.get("zone").and_then(zone).unwrap_or(base.zone),
    }
}

fn zone(entry: Entry<'_>) -> Option<Tz> {
    let name = entry.clone().text()?;
    let zone = name.parse::<Tz>().ok();
    if zone.is_none() {
        let known = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
        let near = nearest(name, known)
            .map_or_else(String::new, |near| format!("did you mean \"{near}\"? "));
        entry.problem(
            "there is no time zone of that name",
            format!("{near}Write a name of the IANA database, such as \"Europe/Berlin\""),
        );
    }
    zone
}
