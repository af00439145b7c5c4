//! How much may be under way at once. Every limit has a name and a reason; an emergency never
//! waits for a routine rotation's place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::policy::Lane;
use crate::model::time::Span;

/// The limits, as the config gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Secrets that are walked at once in the routine lane: enough to fill Vault's log sync, and
    /// no more, because beyond it only latency grows.
    pub walks: usize,
    /// The same, kept free for emergencies.
    pub emergency_walks: usize,
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
            per_target: 4,
            per_issuer: 4,
            effect_timeout: Span::from_secs(8),
        }
    }
}

/// The places, handed out.
pub(super) struct Places {
    routine: Arc<Semaphore>,
    emergency: Arc<Semaphore>,
    lanes: Mutex<BTreeMap<(Lane, String), Arc<Semaphore>>>,
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Places {
        Places {
            routine: Arc::new(Semaphore::new(limits.walks.max(1))),
            emergency: Arc::new(Semaphore::new(limits.emergency_walks.max(1))),
            lanes: Mutex::new(BTreeMap::new()),
        }
    }

    /// A place for one walk.
    pub(super) async fn walk(&self, lane: Lane) -> OwnedSemaphorePermit {
        let places = match lane {
            Lane::Routine => &self.routine,
            Lane::Emergency => &self.emergency,
        };
        let place = Arc::clone(places).acquire_owned().await;
        place.expect("the semaphores of Places are never closed")
    }

    /// One of `places` at one issuer or target host.
    pub(super) async fn at(&self, lane: Lane, host: &str, places: usize) -> OwnedSemaphorePermit {
        let places = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = || Arc::new(Semaphore::new(places.max(1)));
            Arc::clone(lanes.entry((lane, host.to_owned())).or_insert_with(fresh))
        };
        let place = places.acquire_owned().await;
        place.expect("the semaphores of Places are never closed")
    }
}
