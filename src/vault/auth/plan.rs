//! When the token is looked after next. Pure: time and chance are arguments.

use crate::model::time::{Clock, Span, Steady, Timestamp};
use crate::vault::auth::Auth;

/// Shortest time between two attempts to log in or to renew, whatever happened between them.
const FLOOR: Span = Span::from_secs(1);

/// Pauses after failures; the last one stays. A restart of Vault takes seconds; one that is gone
/// for longer is asked twice a minute by each replica.
const BACK_OFF: [Span; 5] = [
    Span::from_secs(1),
    Span::from_secs(2),
    Span::from_secs(5),
    Span::from_secs(15),
    Span::from_secs(30),
];

/// How often a token file is looked at: an agent replaces it when the old token still has a third
/// of its life.
const LOOK_EVERY: Span = Span::from_secs(10);

/// How often a token without an end is checked.
const CHECK_EVERY: Span = Span::from_secs(24 * 3600);

/// What is to be done for the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Get a token, or check the one that was handed over.
    Login,
    /// Ask for more time.
    Renew,
    /// See whether the token's file has changed.
    Look,
}

/// How long a token lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// None if it never ends.
    ttl: Option<Span>,
    renewable: bool,
}

impl Lease {
    /// From Vault's own figures, in which zero seconds are for ever.
    pub(super) fn of_seconds(ttl: u64, renewable: bool) -> Lease {
        let ttl = (ttl > 0).then(|| Span(ttl.saturating_mul(1000)));
        Lease { ttl, renewable: renewable && ttl.is_some() }
    }
}

/// A token in use.
#[derive(Clone, Copy, Debug)]
struct Held {
    lease: Lease,
    granted_at: Steady,
    /// The life it was first granted.
    full: Option<Span>,
}

/// What the keeper knows and goes by.
#[derive(Debug)]
pub(super) struct Plan {
    /// Whether another token can be had by logging in.
    logs_in: bool,
    /// Whether a file is looked at.
    watches: bool,
    held: Option<Held>,
    failures: usize,
    last_attempt: Option<Steady>,
    last_look: Steady,
}

impl Plan {
    /// Before the first login.
    pub(super) fn new(auth: &Auth) -> Plan {
        Plan {
            logs_in: matches!(auth, Auth::AppRole { .. }),
            watches: matches!(auth, Auth::TokenFile(_)),
            held: None,
            failures: 0,
            last_attempt: None,
            last_look: Steady(0),
        }
    }

    /// Whether there is a token that was not yet seen dead.
    pub(super) fn has_token(&self) -> bool {
        self.held.is_some()
    }

    /// What to do next, and when. `draw` is a random byte that spreads replicas out.
    pub(super) fn next(&self, draw: u8) -> (Task, Steady) {
        let (task, due) = self.next_attempt(draw);
        let look = after(self.last_look, LOOK_EVERY);
        if self.watches && self.held.is_some() && look < due {
            return (Task::Look, look);
        }
        (task, due)
    }

    fn next_attempt(&self, draw: u8) -> (Task, Steady) {
        let earliest = match self.last_attempt {
            None => Steady(0),
            Some(last) => after(last, self.pause(draw)),
        };
        let Some(held) = &self.held else { return (Task::Login, earliest) };
        let Some(ttl) = held.lease.ttl else {
            return (Task::Login, after(held.granted_at, CHECK_EVERY).max(earliest));
        };
        let end = after(held.granted_at, ttl);
        if self.failures > 0 {
            let task =
                if earliest < end && held.lease.renewable { Task::Renew } else { Task::Login };
            return (task, earliest);
        }
        let (task, due) = if held.lease.renewable {
            (Task::Renew, refresh(held.granted_at, ttl, draw))
        } else if self.logs_in {
            (Task::Login, refresh(held.granted_at, ttl, draw))
        } else {
            (Task::Login, end)
        };
        (task, due.max(earliest))
    }

    fn pause(&self, draw: u8) -> Span {
        let Some(last) = self.failures.checked_sub(1) else { return FLOOR };
        let pause = BACK_OFF[last.min(BACK_OFF.len() - 1)];
        pause.plus(Span(pause.0 * u64::from(draw) / 1024))
    }

    /// An attempt worked. `None`: a renewal was refused for good.
    pub(super) fn succeeded(&mut self, at: Steady, lease: Option<Lease>) {
        self.last_attempt = Some(at);
        self.failures = 0;
        let before = self.held.take();
        self.held = match (lease, before) {
            (None, before) => self.without_more(before),
            (Some(lease), Some(before)) if before.lease.renewable => {
                let held = Held { lease, granted_at: at, full: before.full.max(lease.ttl) };
                // Vault grants less and less when a token nears the longest life it may have.
                if lease.ttl < held.full.map(|full| Span(full.0 / 2)) {
                    self.without_more(Some(held))
                } else {
                    Some(held)
                }
            }
            (Some(lease), _) => Some(Held { lease, granted_at: at, full: lease.ttl }),
        };
    }

    /// A token that gets no more time: replaced at once if that is possible, else used to its end.
    fn without_more(&self, held: Option<Held>) -> Option<Held> {
        let held = held.filter(|_| !self.logs_in)?;
        Some(Held { lease: Lease { renewable: false, ..held.lease }, ..held })
    }

    /// An attempt failed. Where repeating it cannot help, the token counts as lost.
    pub(super) fn failed(&mut self, at: Steady, transient: bool) {
        self.last_attempt = Some(at);
        self.failures = self.failures.saturating_add(1);
        let expired = self.held.is_some_and(|held| {
            held.lease.ttl.is_some_and(|ttl| after(held.granted_at, ttl) <= at)
        });
        if expired || !transient {
            self.held = None;
        }
    }

    /// Vault does not know the token any more.
    pub(super) fn lost(&mut self) {
        self.held = None;
    }

    /// The file was looked at.
    pub(super) fn looked(&mut self, at: Steady) {
        self.last_look = at;
    }

    /// When the token ends, by the wall clock.
    pub(super) fn expires_at(&self, clock: &dyn Clock) -> Option<Timestamp> {
        let held = self.held?;
        let gone = clock.steady().since(held.granted_at);
        Some(clock.now() - gone + held.lease.ttl?)
    }
}

/// Between a half and two thirds of a life.
fn refresh(granted_at: Steady, ttl: Span, draw: u8) -> Steady {
    let part = u64::from(draw) * (ttl.0 / 6) / 255;
    after(granted_at, Span(ttl.0 / 2 + part))
}

fn after(moment: Steady, span: Span) -> Steady {
    Steady(moment.0.saturating_add(span.0))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::material::SecretBytes;

    const HOUR: u64 = 3600;

    fn approle() -> Plan {
        Plan::new(&Auth::AppRole {
            mount: String::new(),
            role_id: String::new(),
            secret_id_file: PathBuf::new(),
        })
    }

    fn token() -> Plan {
        Plan::new(&Auth::Token(SecretBytes::new(Vec::new())))
    }

    fn seconds(seconds: u64) -> Steady {
        Steady(seconds * 1000)
    }

    #[test]
    fn the_first_login_is_at_once() {
        assert_eq!(approle().next(255), (Task::Login, Steady(0)));
        assert!(!approle().has_token());
    }

    #[test]
    fn a_renewal_falls_between_a_half_and_two_thirds_of_the_life() {
        let mut plan = approle();
        plan.succeeded(seconds(100), Some(Lease::of_seconds(HOUR, true)));
        assert_eq!(plan.next(0), (Task::Renew, seconds(100 + HOUR / 2)));
        assert_eq!(plan.next(255), (Task::Renew, seconds(100 + HOUR * 2 / 3)));
    }

    #[test]
    fn what_cannot_be_renewed_is_replaced_by_a_login_in_time() {
        let mut plan = approle();
        plan.succeeded(seconds(0), Some(Lease::of_seconds(HOUR, false)));
        assert_eq!(plan.next(0), (Task::Login, seconds(HOUR / 2)));
        let mut plan = token();
        plan.succeeded(seconds(0), Some(Lease::of_seconds(HOUR, false)));
        assert_eq!(plan.next(0), (Task::Login, seconds(HOUR)), "nobody can get another");
    }

    #[test]
    fn a_token_near_its_longest_life_is_replaced() {
        let mut plan = approle();
        plan.succeeded(seconds(0), Some(Lease::of_seconds(HOUR, true)));
        plan.succeeded(seconds(1800), Some(Lease::of_seconds(HOUR, true)));
        assert!(plan.has_token());
        plan.succeeded(seconds(3600), Some(Lease::of_seconds(HOUR / 2 - 1, true)));
        assert_eq!(plan.next(0), (Task::Login, seconds(3601)));

        let mut plan = token();
        plan.succeeded(seconds(0), Some(Lease::of_seconds(HOUR, true)));
        plan.succeeded(seconds(1800), Some(Lease::of_seconds(600, true)));
        assert_eq!(plan.next(0), (Task::Login, seconds(2400)), "used to its end");
    }

    #[test]
    fn a_refused_renewal_leads_to_a_login() {
        let mut plan = approle();
        plan.succeeded(seconds(0), Some(Lease::of_seconds(HOUR, true)));
        plan.succeeded(seconds(1800), None);
        assert_eq!(plan.next(0), (Task::Login, seconds(1801)));
    }

    #[test]
    fn failures_are_repeated_ever_more_slowly_and_never_hot() {
        let mut plan = approle();
        let mut now = Steady(0);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            plan.failed(now, true);
            let (task, due) = plan.next(0);
            assert_eq!(task, Task::Login);
            pauses.push(due.since(now));
            now = due;
        }
        assert_eq!(pauses[..5], BACK_OFF);
        assert_eq!(pauses[6], BACK_OFF[4]);
        assert!(plan.next(255).1 > plan.next(0).1, "replicas are spread out");
    }

    #[test]
    fn a_renewal_that_fails_is_tried_again_while_the_token_lives() {
        let mut plan = approle();
        plan.succeeded(seconds(0), Some(Lease::of_seconds(60, true)));
        plan.failed(seconds(30), true);
        assert_eq!(plan.next(0), (Task::Renew, seconds(31)));
        assert!(plan.has_token());
        plan.failed(seconds(60), true);
        assert!(!plan.has_token());
        assert_eq!(plan.next(0).0, Task::Login);
    }

    #[test]
    fn a_dead_token_is_replaced_at_once_but_not_twice_within_a_second() {
        let mut plan = approle();
        plan.succeeded(seconds(10), Some(Lease::of_seconds(HOUR, true)));
        plan.lost();
        assert_eq!(plan.next(0), (Task::Login, seconds(11)));
        plan.failed(seconds(11), false);
        plan.failed(seconds(12), false);
        plan.lost();
        assert_eq!(plan.next(0), (Task::Login, seconds(14)), "the back-off holds");
    }

    #[test]
    fn a_token_without_end_is_checked_now_and_then_and_not_hot() {
        let mut plan = token();
        plan.succeeded(seconds(0), Some(Lease::of_seconds(0, false)));
        assert_eq!(plan.next(0), (Task::Login, seconds(24 * HOUR)));
        plan.failed(seconds(24 * HOUR), true);
        assert_eq!(plan.next(0), (Task::Login, seconds(24 * HOUR + 1)));
    }

    #[test]
    fn a_token_file_is_looked_at_between_renewals() {
        let mut plan = Plan::new(&Auth::TokenFile(PathBuf::new()));
        assert_eq!(plan.next(0).0, Task::Login);
        plan.succeeded(seconds(5), Some(Lease::of_seconds(60, true)));
        plan.looked(seconds(5));
        assert_eq!(plan.next(0), (Task::Look, seconds(15)));
        plan.looked(seconds(30));
        assert_eq!(plan.next(0), (Task::Renew, seconds(35)));
    }
}
