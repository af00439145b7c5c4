//! What holds alerts back: a floor for each secret, and a breaker for all of them.
//!
//! Decides from the exposures so far whether one more acts by itself. A sender that has gone mad,
//! or a key of a source in wrong hands, must not be able to rotate a secret in a loop nor all of
//! them at once. Exposures that a person approved count for the floor and not for the breaker.

use std::collections::{BTreeMap, VecDeque};

use crate::incident::record::Incident;
use crate::model::id::SecretName;
use crate::model::time::{Span, Timestamp};
use crate::model::version::Stage;

/// Exposures that are remembered at most, whatever the window: the breaker's largest limit.
pub const BREAKER_MAX: u32 = 10_000;

/// The limits, as the config gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A secret is not rotated again for another alert before this has passed.
    pub floor: Span,
    /// So many exposures by alerts within [`Limits::window`] and a person must look.
    pub exposures: u32,
    /// The window of the breaker.
    pub window: Span,
}

impl Default for Limits {
    /// Ten minutes are longer than an emergency takes where everything answers. A leaked file may
    /// hold every secret of a team, which must not wait for anybody: five hundred is far above
    /// that, and below a whole company.
    fn default() -> Limits {
        let ten_minutes = Span::from_secs(600);
        Limits { floor: ten_minutes, exposures: 500, window: ten_minutes }
    }
}

/// What was exposed lately.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    limits: Limits,
    exposures: VecDeque<Timestamp>,
    rotated: BTreeMap<SecretName, Timestamp>,
}

impl Guard {
    /// Nothing exposed yet.
    pub fn new(limits: Limits) -> Guard {
        Guard { limits, ..Guard::default() }
    }

    /// What these incidents say was exposed: after a restart, or when another instance led before.
    pub fn recalled<'i>(
        limits: Limits,
        incidents: impl IntoIterator<Item = &'i Incident>,
    ) -> Guard {
        let acted = |incident: &'i Incident| Some((incident.acted_at()?, incident));
        let mut acted: Vec<_> = incidents.into_iter().filter_map(acted).collect();
        acted.sort_by_key(|(at, _)| *at);
        let mut guard = Guard::new(limits);
        for (at, incident) in acted {
            guard.exposed(&incident.secret, incident.stage, incident.is_by_alert(), at);
        }
        guard
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Notes an exposure; `by_alert` if no person approved it.
    pub fn exposed(&mut self, secret: &SecretName, stage: Stage, by_alert: bool, at: Timestamp) {
        if matches!(stage, Stage::Current | Stage::Pending) {
            let floor = self.limits.floor;
            self.rotated.retain(|_, last| at < *last + floor);
            let last = self.rotated.entry(secret.clone()).or_insert(at);
            *last = at.max(*last);
        }
        if by_alert {
            self.exposures.push_back(at);
            while self.exposures.len() > BREAKER_MAX as usize {
                self.exposures.pop_front();
            }
        }
    }

    /// Whether the secret was rotated for an alert a short while ago.
    pub fn within_floor(&self, secret: &SecretName, now: Timestamp) -> bool {
        self.rotated.get(secret).is_some_and(|last| now < *last + self.limits.floor)
    }

    /// Exposures by alerts within the window.
    pub fn count(&self, now: Timestamp) -> u32 {
        let recent = self.exposures.iter().rev().take_while(|at| now < **at + self.limits.window);
        u32::try_from(recent.count()).unwrap_or(u32::MAX)
    }

    /// Whether so many secrets were exposed by alerts lately that a person must look.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.count(now) >= self.limits.exposures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::decide::{Action, Doubt};
    use crate::incident::record::{Opening, Sighting};
    use crate::model::id::{IncidentId, VersionId};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn secret(name: &str) -> SecretName {
        SecretName::new(name).unwrap()
    }

    #[test]
    fn a_secret_has_peace_for_as_long_as_the_floor_says() {
        let mut guard = Guard::default();
        assert!(!guard.within_floor(&secret("a"), NOW));
        guard.exposed(&secret("a"), Stage::Current, true, NOW);
        guard.exposed(&secret("b"), Stage::Previous, true, NOW);
        assert!(guard.within_floor(&secret("a"), NOW + Span::from_secs(599)));
        assert!(!guard.within_floor(&secret("a"), NOW + Span::from_secs(600)));
        assert!(!guard.within_floor(&secret("b"), NOW), "nothing was made for it");
    }

    #[test]
    fn what_incidents_say_was_exposed_is_counted_in_its_order() {
        let at = |second| NOW + Span::from_secs(second);
        let opened = |name: &str, action, second| {
            Incident::open(Opening {
                id: IncidentId(name.to_owned()),
                secret: secret(name),
                version: VersionId(1),
                incarnation: None,
                stage: Stage::Current,
                action,
                at: at(second),
                sighting: Sighting::from_record(at(second)),
            })
        };
        let foreign = |mut incident: Incident| {
            incident.sightings[0].source = "github".parse().unwrap();
            incident
        };
        let exposed = |mut incident: Incident, second| {
            incident.expose(at(second), at(second + 900));
            incident
        };
        let asks = Action::Ask(Doubt::Policy);
        let mut approved = foreign(opened("d", asks, 3));
        approved.approve("alice", "checked", at(4)).unwrap();
        let all = [
            exposed(foreign(opened("a", Action::Rotate, 500)), 501),
            exposed(foreign(opened("b", Action::Rotate, 0)), 1),
            foreign(opened("decided", Action::Rotate, 502)),
            foreign(opened("waits", asks, 502)),
            exposed(approved, 5),
            exposed(foreign(opened("by-hand", Action::Join, 502)), 502),
            opened("lost", Action::Join, 503),
        ];
        let guard = Guard::recalled(Limits::default(), &all);
        assert_eq!(guard.count(at(504)), 4, "a, b, the decided and the lost one");
        assert_eq!(guard.count(at(600)), 4);
        assert_eq!(guard.count(at(601)), 3, "b is out of the window");
        assert!(guard.within_floor(&secret("d"), at(504)), "a person's word counts here");
        assert!(!guard.within_floor(&secret("waits"), at(504)));
    }

    #[test]
    fn the_breaker_opens_at_its_number_and_closes_with_time() {
        let limits = Limits { exposures: 3, ..Limits::default() };
        let mut guard = Guard::new(limits);
        for second in 0..3 {
            assert!(!guard.is_open(NOW + Span::from_secs(second)));
            let name = secret(&format!("s{second}"));
            guard.exposed(&name, Stage::Current, true, NOW + Span::from_secs(second));
            guard.exposed(&name, Stage::Current, false, NOW + Span::from_secs(second));
        }
        assert_eq!(guard.count(NOW + Span::from_secs(3)), 3, "approved ones do not count");
        assert!(guard.is_open(NOW + Span::from_secs(599)));
        assert!(!guard.is_open(NOW + Span::from_secs(600)));
    }
}
