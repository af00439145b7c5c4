//! How much may be under way at once. Every limit has a name and a reason; an emergency never
//! waits for a routine rotation's place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::policy::Lane;
use crate::model::time::Span;
use crate::vault::turns::{Room, Turn, Turns, Urgency};

/// Effects at one target host at once in an emergency, at least: a secret has one walk, so that
/// the generations of each target stay in order, and many leaks at once seldom spare a host.
const EMERGENCY_PER_TARGET: usize = 4;

/// The limits, as the config gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Secrets that are walked at once in the routine lane: enough to fill Vault's log sync, and
    /// no more, because beyond it only latency grows.
    pub walks: usize,
    /// As many more, kept free for emergencies.
    pub emergency_walks: usize,
    /// Effects under way at once, whatever they are about: each holds a connection and memory.
    pub effects: usize,
    /// Of these, kept free for emergencies.
    pub emergency_effects: usize,
    /// Effects at one target host at once, per lane: a dependent service is not to be flooded by
    /// the one that feeds it.
    pub per_target: usize,
    /// Effects at one issuer at once, per lane: issuers throttle early.
    pub per_issuer: usize,
    /// The longest that one effect may take. Together with a third of the lease's ttl, after which
    /// it is renewed, it must fit into what the lease is good for: an effect that could outlive
    /// the lease is not started.
    pub effect_timeout: Span,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            walks: 48,
            emergency_walks: 16,
            effects: 64,
            emergency_effects: 16,
            per_target: 4,
            per_issuer: 4,
            effect_timeout: Span::from_secs(8),
        }
    }
}

/// How urgent the work of a lane is.
pub(super) fn urgency(lane: Lane) -> Urgency {
    match lane {
        Lane::Routine => Urgency::Routine,
        Lane::Emergency => Urgency::Emergency,
    }
}

/// Whose place it is: an issuer's, or a target host's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Host<'a> {
    /// At an issuer.
    Issuer(&'a str),
    /// At a target host.
    Target(&'a str),
}

/// The places for effects, handed out.
pub(super) struct Places {
    effects: Turns,
    per_target: usize,
    per_issuer: usize,
    hosts: Mutex<BTreeMap<(Lane, String), Arc<Semaphore>>>,
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Places {
        Places {
            effects: Turns::new(Room {
                all: limits.effects,
                for_emergencies: limits.emergency_effects,
                for_lease: 0,
            }),
            per_target: limits.per_target,
            per_issuer: limits.per_issuer,
            hosts: Mutex::new(BTreeMap::new()),
        }
    }

    /// A place for one effect, among all effects. To be asked for last: whoever waits elsewhere
    /// must not keep it from others.
    pub(super) async fn effect(&self, lane: Lane) -> Turn {
        self.effects.take(urgency(lane)).await
    }

    /// A place at one issuer or target host. Each lane has its own there: what hangs in one does
    /// not hold up the other.
    pub(super) async fn at(&self, lane: Lane, host: Host<'_>) -> OwnedSemaphorePermit {
        let (key, places) = match (host, lane) {
            (Host::Issuer(host), _) => (format!("issuer {host}"), self.per_issuer),
            (Host::Target(host), Lane::Routine) => (format!("target {host}"), self.per_target),
            (Host::Target(host), Lane::Emergency) => {
                (format!("target {host}"), self.per_target.max(EMERGENCY_PER_TARGET))
            }
        };
        let places = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = || Arc::new(Semaphore::new(places.max(1)));
            Arc::clone(hosts.entry((lane, key)).or_insert_with(fresh))
        };
        let place = places.acquire_owned().await;
        place.expect("the semaphores of Places are never closed")
    }
}
