//! Who may ask how often: cheap questions before a signature is computed.
//!
//! Decides which callers are known (they have authenticated lately), which have tried too often
//! without, and which source has had enough. Everything it remembers lies in tables of one size,
//! and what it takes from a stranger is the stranger's own: a flood of forged alerts uses up the
//! tries of those who send it and nothing of a source.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;

use crate::http::limiter::{Lately, Limiter, Rate};
use crate::http::origin::{Origin, Proxies};
use crate::http::tcp::{Doorkeeper, Standing};
use crate::model::id::SourceName;
use crate::model::time::{Clock, Span};
use crate::telemetry::metrics::Metrics;

/// Callers whose rates are remembered: with 16 bytes each, 1 MiB for both tables.
const CALLERS: usize = 32 * 1024;

/// Callers that are remembered as known: scanners and platforms send from a few dozen addresses.
const KNOWN: usize = 4 * 1024;

/// How long a caller counts as known: a platform that sends every day has a new chance every day,
/// and an address that changed hands keeps nothing for long.
const KNOWN_FOR: Span = Span::from_secs(24 * 60 * 60);

/// Sources that are told apart: more than anybody configures.
const SOURCES: usize = 1024;

/// Requests without a right signature that a caller has in a minute. A person who sets a source up
/// needs a few, a guesser would need 2^128.
const FAILURES: Rate = Rate::new(10, Span::from_secs(60));

/// How much of a rate may come at once, in seconds' worth: a scan reports what it found in bursts.
const BURST_SECONDS: u32 = 10;

/// Largest permitted rate a second: what is remembered of repeats is sized for it.
pub const RATE_MAX: u32 = 100;

/// What the config permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Requests a second of one caller.
    pub per_address: u32,
    /// Authenticated requests a second of one source.
    pub per_source: u32,
}

impl Default for Rates {
    /// A platform sends a scan's findings one by one; tens a second are a lot of them.
    fn default() -> Rates {
        Rates { per_address: 50, per_source: RATE_MAX }
    }
}

/// Who held a request back, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// When to come again.
    pub after: Span,
    /// What was used up: a label.
    pub by: &'static str,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    origin: Origin,
    /// Whether it has authenticated lately.
    pub is_known: bool,
}

/// The guard.
pub struct Guard {
    requests: Limiter,
    failures: Limiter,
    sources: Limiter,
    known: Lately,
    proxies: ArcSwap<Proxies>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Guard {
    /// A guard who has seen nobody yet.
    pub fn new(rates: Rates, proxies: Proxies, clock: Arc<dyn Clock>, metrics: Metrics) -> Guard {
        let rate = |count: u32| {
            Rate::with_burst(count, Span::from_secs(1), count.saturating_mul(BURST_SECONDS))
        };
        Guard {
            requests: Limiter::new(rate(rates.per_address), CALLERS),
            failures: Limiter::new(FAILURES, CALLERS),
            sources: Limiter::new(rate(rates.per_source), SOURCES),
            known: Lately::new(KNOWN_FOR, KNOWN),
            proxies: ArcSwap::from_pointee(proxies),
            clock,
            metrics,
        }
    }

    /// Believes other proxies from now on.
    pub fn believe(&self, proxies: Proxies) {
        self.proxies.store(Arc::new(proxies));
    }

    /// Who asks, over this connection and with these headers. A proxy that does not say for whom
    /// it speaks speaks for itself.
    pub fn asker(&self, peer: IpAddr, headers: &HeaderMap) -> Asker {
        let client = self.proxies.load().client(peer, headers).unwrap_or(peer);
        let origin = Origin::of(client);
        Asker { origin, is_known: self.known.knows(origin, self.clock.steady()) }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// [`HeldBack`] if it is one too many, or its caller has failed to authenticate too often. One
    /// who is known is not held back for that: behind the same address others may guess.
    pub fn admit(&self, asker: Asker) -> Result<(), HeldBack> {
        let now = self.clock.steady();
        if !asker.is_known {
            let failures = self.failures.look(asker.origin, now);
            failures.map_err(|after| self.held_back(after, "failures"))?;
        }
        let counted = self.requests.take(asker.origin, now);
        counted.map_err(|after| self.held_back(after, "address"))
    }

    /// Counts a request that did not authenticate.
    pub fn failed(&self, asker: Asker) {
        // One more than are granted: it is held back already.
        let _ = self.failures.take(asker.origin, self.clock.steady());
    }

    /// Notes that a caller has shown who it is.
    pub fn proved(&self, asker: Asker) {
        self.known.note(asker.origin, self.clock.steady());
    }

    /// Whether a source may send another one; counts nothing, since anybody may ask in its name.
    ///
    /// # Errors
    /// [`HeldBack`].
    pub fn may_send(&self, source: &SourceName) -> Result<(), HeldBack> {
        let looked = self.sources.look(source.as_str(), self.clock.steady());
        looked.map_err(|after| self.held_back(after, "source"))
    }

    /// Counts an authenticated request of a source.
    ///
    /// # Errors
    /// [`HeldBack`].
    pub fn sent(&self, source: &SourceName) -> Result<(), HeldBack> {
        let counted = self.sources.take(source.as_str(), self.clock.steady());
        counted.map_err(|after| self.held_back(after, "source"))
    }

    /// Somebody was held back, and has to wait so long.
    pub fn held_back(&self, after: Span, by: &'static str) -> HeldBack {
        self.metrics.alert_held_back(by);
        HeldBack { after, by }
    }
}

impl Doorkeeper for Guard {
    fn standing(&self, address: IpAddr) -> Standing {
        if self.proxies.load().contain(address) {
            return Standing::Proxy;
        }
        match self.known.knows(Origin::of(address), self.clock.steady()) {
            true => Standing::Known,
            false => Standing::Stranger,
        }
    }

    fn turned_away(&self) {
        self.metrics.alert_held_back("connections");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::model::time::{Steady, Timestamp};

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }

        fn steady(&self) -> Steady {
            Steady(self.0.load(Ordering::Relaxed))
        }
    }

    fn guard(rates: Rates) -> (Guard, Arc<Hand>) {
        let clock = Arc::new(Hand::default());
        let proxies = Proxies(vec!["10.0.0.0/8".parse().unwrap()]);
        let metrics = Metrics::new("0", Timestamp(0));
        (Guard::new(rates, proxies, Arc::<Hand>::clone(&clock), metrics), clock)
    }

    fn asker(guard: &Guard, address: &str) -> Asker {
        guard.asker(address.parse().unwrap(), &HeaderMap::new())
    }

    #[test]
    fn whoever_forges_is_soon_not_even_listened_to() {
        let (guard, clock) = guard(Rates::default());
        let forger = asker(&guard, "192.0.2.1");
        for _ in 0..10 {
            guard.admit(forger).unwrap();
            guard.failed(forger);
        }
        let held = guard.admit(forger).unwrap_err();
        assert_eq!((held.after, held.by), (Span::from_secs(6), "failures"));
        assert_eq!(guard.admit(asker(&guard, "192.0.2.2")), Ok(()), "others are not held up");
        clock.0.store(6_000, Ordering::Relaxed);
        assert_eq!(guard.admit(forger), Ok(()));
        let text = guard.metrics.encode();
        assert!(text.contains("rotord_alerts_held_back_total{by=\"failures\"} 1"), "{text}");
    }

    #[test]
    fn whoever_was_right_lately_is_heard_though_others_forge_beside_it() {
        let (guard, clock) = guard(Rates::default());
        guard.proved(asker(&guard, "2001:db8::1"));
        let site = asker(&guard, "2001:db8::2");
        assert!(site.is_known);
        for _ in 0..100 {
            guard.failed(site);
        }
        assert_eq!(guard.admit(site), Ok(()));
        assert_eq!(guard.standing("2001:db8::3".parse().unwrap()), Standing::Known);
        clock.0.store(KNOWN_FOR.0, Ordering::Relaxed);
        assert_eq!(guard.standing("2001:db8::3".parse().unwrap()), Standing::Stranger);
        assert_eq!(guard.standing("10.1.1.1".parse().unwrap()), Standing::Proxy);
        guard.believe(Proxies::default());
        assert_eq!(guard.standing("10.1.1.1".parse().unwrap()), Standing::Stranger);
    }

    #[test]
    fn rates_hold_for_an_address_and_for_a_source() {
        let (guard, _) = guard(Rates { per_address: 1, per_source: 2 });
        let caller = asker(&guard, "192.0.2.1");
        let admitted = (0..100).take_while(|_| guard.admit(caller).is_ok()).count();
        assert_eq!(admitted, 10, "ten seconds' worth at once");
        assert_eq!(guard.admit(caller).unwrap_err().after, Span::from_secs(1));
        let source = SourceName::new("ci".to_owned()).unwrap();
        for _ in 0..1_000 {
            assert_eq!(guard.may_send(&source), Ok(()), "asking in its name costs it nothing");
        }
        let sent = (0..100).take_while(|_| guard.sent(&source).is_ok()).count();
        assert_eq!(sent, 20);
        assert_eq!(guard.may_send(&source).unwrap_err().by, "source");
    }
}
