//! The secrets with which a source's messages are checked, as they stand when a message comes.
//!
//! Decides when they are fetched again. rotord rotates such secrets like any other, so a source has
//! a set of them: the one in use, and those before and after it while both are accepted. Must not
//! know how a message is signed.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::driver::error::DriverError;
use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::intake::Rejected;
use crate::model::failure::Class;
use crate::model::material::{SecretBytes, VALUE_LEN_MIN};
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};
use crate::signing::Refusal;

/// How long fetched secrets are used without asking again: what a rotation's propagation must
/// allow for, and how long a leaked one is believed after it was taken away.
pub const KEEP: Span = Span::from_secs(30);

/// Shortest time between two fetches. A message that no secret fits is checked once more against
/// fresh ones, for a sender that was quicker than we; forged ones must not reach Vault through us.
pub const FLOOR: Span = Span::from_secs(5);

/// The secrets of one source.
pub struct Keyring {
    places: Vec<SecretRef>,
    secrets: Secrets,
    held: ArcSwap<Held>,
    fetching: Mutex<()>,
}

/// What was found at each place, and when it was looked for.
#[derive(Default)]
struct Held {
    values: Vec<Option<Arc<SecretBytes>>>,
    asked_at: Option<Timestamp>,
}

impl Held {
    fn age(&self, now: Timestamp) -> Option<Span> {
        // A clock that was set back makes everything old rather than young.
        self.asked_at.map(|asked| if asked > now { KEEP } else { now.since(asked) })
    }

    fn values(&self) -> Vec<&SecretBytes> {
        self.values.iter().flatten().map(AsRef::as_ref).collect()
    }
}

impl Keyring {
    /// The secrets at these places: the one in use first. One that is absent is left out, as that
    /// before the first is.
    pub fn new(places: Vec<SecretRef>, secrets: Secrets) -> Keyring {
        Keyring { places, secrets, held: ArcSwap::default(), fetching: Mutex::default() }
    }

    /// Judges a message by the secrets of this moment; `verify` gets all of them.
    ///
    /// # Errors
    /// What `verify` says of it; [`Rejected::Unavailable`] as long as no secret could be fetched.
    pub async fn judge<T>(
        &self,
        at: Timestamp,
        verify: impl Fn(&[&SecretBytes]) -> Result<T, Refusal>,
    ) -> Result<T, Rejected> {
        self.fetch_if_older(at, KEEP).await;
        let judged = verify(&self.held.load().values());
        let judged = match judged {
            Err(Refusal::BadSignature) if self.fetch_if_older(at, FLOOR).await => {
                verify(&self.held.load().values())
            }
            judged => judged,
        };
        judged.map_err(|refusal| match refusal {
            Refusal::BadSignature if self.held.load().values().is_empty() => Rejected::Unavailable,
            Refusal::BadSignature => Rejected::Unauthenticated,
            Refusal::BadTimestamp | Refusal::OutOfTolerance => Rejected::Stale,
        })
    }

    /// Fetches unless it was done within `age`, or somebody else is at it and there is something to
    /// go on with. Says whether it did.
    async fn fetch_if_older(&self, now: Timestamp, age: Span) -> bool {
        let is_due = |held: &Held| held.age(now).is_none_or(|old| old >= age);
        if !is_due(&self.held.load()) {
            return false;
        }
        let has_some = !self.held.load().values().is_empty();
        let _fetching = match self.fetching.try_lock() {
            Ok(fetching) => fetching,
            Err(_) if has_some => return false,
            Err(_) => self.fetching.lock().await,
        };
        let before = self.held.load_full();
        if !is_due(&before) {
            return true;
        }
        let mut values = Vec::with_capacity(self.places.len());
        for (index, place) in self.places.iter().enumerate() {
            let old = before.values.get(index).cloned().flatten();
            values.push(match self.fetch(place).await {
                Ok(value) => Some(Arc::new(value)),
                Err(error) => self.keep_or_drop(index, old, &error),
            });
        }
        self.held.store(Arc::new(Held { values, asked_at: Some(now) }));
        true
    }

    async fn fetch(&self, place: &SecretRef) -> Result<SecretBytes, DriverError> {
        let value = self.secrets.fetch(place).await?;
        if value.len() < VALUE_LEN_MIN {
            let text = format!("{place} is shorter than {VALUE_LEN_MIN} bytes: it checks nothing");
            return Err(DriverError::refused(Reason::WeakValue, text));
        }
        Ok(value)
    }

    /// A place that cannot be read keeps what it had; one that has nothing usable any more has
    /// nothing.
    fn keep_or_drop(
        &self,
        index: usize,
        old: Option<Arc<SecretBytes>>,
        error: &DriverError,
    ) -> Option<Arc<SecretBytes>> {
        let gone = matches!(error.reason, Reason::Misconfigured | Reason::WeakValue)
            || error.class == Class::Gone;
        // Only the first must be there; those beside it come and go with each rotation.
        if index == 0 || !gone {
            tracing::warn!("a secret that alerts are checked with cannot be used: {error}");
        }
        old.filter(|_| !gone)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("places", &self.places).finish_non_exhaustive()
    }
}
