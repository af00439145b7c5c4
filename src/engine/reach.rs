//! One call to the world: the places it needs, the last look at the lease, and its time-out.
//!
//! Decides how long a call waits and how long it may take; must not know what it is for.

use std::future::Future;

use tokio_util::sync::CancellationToken;

use crate::driver::error::DriverError;
use crate::engine::gate::Shut;
use crate::engine::limits::Host;
use crate::engine::world::World;
use crate::model::failure::{Class, Failure};
use crate::model::id::Generation;
use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::time::Span;
use crate::rotation::effect::Effect;
use crate::store::StoreError;
use crate::store::record::Record;

/// How long a question or a push that is on its way may still take when an emergency of the same
/// secret waits for it: services that are well answer within it.
pub(super) const HURRY_GRACE: Span = Span::from_secs(1);

/// Why a call did not succeed: the failure, and its text for people.
pub(super) struct Failed {
    pub(super) failure: Failure,
    pub(super) text: String,
    /// The generation that a target has, if that is why.
    pub(super) ahead: Option<Generation>,
}

impl Failed {
    pub(super) fn new(class: Class, reason: Reason, text: impl Into<String>) -> Failed {
        Failed { failure: Failure { class, reason }, text: text.into(), ahead: None }
    }
}

impl From<DriverError> for Failed {
    fn from(error: DriverError) -> Failed {
        Failed { failure: error.failure(), ahead: error.ahead, text: error.text }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Failed {
        Failed { failure: error.failure(), text: error.to_string(), ahead: None }
    }
}

impl From<Shut> for Failed {
    fn from(shut: Shut) -> Failed {
        Failed { failure: shut.failure(), text: shut.to_string(), ahead: None }
    }
}

/// Who calls: in which lane, what tells it to make way, and what for.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) lane: Lane,
    pub(super) hurry: &'a CancellationToken,
    /// The effect that the call carries out, and of which record; none before there is one.
    pub(super) order: Option<(&'a Record, &'a Effect)>,
}

impl World {
    /// Calls an issuer or a target.
    pub(super) async fn call<T>(
        &self,
        caller: Caller<'_>,
        host: Host<'_>,
        call: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, Failed> {
        self.reach(caller, Some(host), call).await
    }

    /// Calls the store for something that counts as an effect.
    pub(super) async fn keep<T>(
        &self,
        caller: Caller<'_>,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Failed> {
        self.reach(caller, None, call).await
    }

    async fn reach<T, E: Into<Failed>>(
        &self,
        caller: Caller<'_>,
        host: Option<Host<'_>>,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failed> {
        let waiting = async {
            let place = match host {
                Some(host) => Some(self.places.at(caller.lane, host).await),
                None => None,
            };
            (place, self.places.effect(caller.lane).await)
        };
        // Nothing was sent yet, so nothing is lost by making way.
        let _places = tokio::select! {
            biased;
            () = caller.hurry.cancelled() => return Err(made_way()),
            places = waiting => places,
        };
        let limit = self.limits.effect_timeout;
        // The wait for a place may have been long: what the gate saw then counts no more.
        match caller.order {
            Some((record, effect)) => self.gate.look(record, effect)?,
            None => drop(self.gate.leads_for(limit)?),
        }
        match tokio::time::timeout(limit.to_std(), call).await {
            Ok(result) => result.map_err(E::into),
            Err(_) => {
                let text = format!("no answer within {limit}");
                Err(Failed::new(Class::Ambiguous, Reason::TimedOut, text))
            }
        }
    }
}

/// Ends a call that may be repeated, some time after an emergency began to wait for it.
pub(super) async fn cut_short<T, W>(
    world: &World,
    waited_for: impl Future<Output = W>,
    call: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    let late = async {
        waited_for.await;
        world.pause(HURRY_GRACE).await;
    };
    tokio::select! {
        biased;
        result = call => result,
        () = late => Err(Failed::new(
            Class::Ambiguous,
            Reason::TimedOut,
            format!("no answer within {HURRY_GRACE} after an emergency began to wait for it"),
        )),
    }
}

fn made_way() -> Failed {
    Failed::new(Class::Transient, Reason::Busy, "made way for an emergency of the same secret")
}
