//! A simulated dependent service, with consumers that go on using what they read before for as
//! long as its propagation allows.

use std::sync::Arc;

use async_trait::async_trait;
use rotord::driver::error::DriverError;
use rotord::driver::target::{Order, Target};
use rotord::model::id::{SecretName, TargetName, VersionId};
use rotord::model::reason::Reason;
use rotord::model::target::{Level, Observation, Wanted};

use crate::sim::checkers;
use crate::sim::faults::Answer;
use crate::sim::world::{Holding, World};

pub(super) struct SimTarget {
    pub(super) world: Arc<World>,
    pub(super) secret: SecretName,
    pub(super) name: TargetName,
}

fn failed<T>(answer: Answer<T>) -> Result<T, DriverError> {
    match answer {
        Answer::Honest(done) => Ok(done),
        Answer::Refused | Answer::Lied => {
            Err(DriverError::transient(Reason::Unavailable, "simulated refusal"))
        }
        Answer::Lost => Err(DriverError::ambiguous(Reason::TimedOut, "simulated loss")),
    }
}

impl SimTarget {
    fn observation(&self) -> Result<Observation, DriverError> {
        let state = self.world.state();
        match state.secrets[&self.secret].services[&self.name].holds() {
            None => Err(DriverError::transient(Reason::NotYetApplied, "it holds nothing yet")),
            Some(holding) => Ok(Observation {
                generation: holding.generation,
                accepted: holding.accepted.clone(),
                current: holding.current,
                level: Level::Proved,
                by: "sim".to_owned(),
            }),
        }
    }

    /// Takes an order in, unless it has a higher generation already.
    fn take(world: &World, secret: &SecretName, name: &TargetName, wanted: &Wanted) {
        let line = format!(
            "{secret} {name} {} accepts {:?} uses {:?}",
            wanted.generation, wanted.accepted, wanted.current
        );
        world.change(&line, |state, now| {
            let truth = state.secrets.get_mut(secret).unwrap();
            let service = truth.services.get_mut(name).unwrap();
            if service.holds().is_some_and(|h| h.generation >= wanted.generation) {
                return;
            }
            service.holdings.push(Holding {
                since: now,
                generation: wanted.generation,
                accepted: wanted.accepted.clone(),
                current: wanted.current,
            });
        });
    }
}

#[async_trait]
impl Target for SimTarget {
    async fn push(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        checkers::audited::intent_of(&self.world, &self.secret, &["push"]);
        checkers::monotone::push(&self.world, &self.secret, &self.name, order.wanted);
        for (version, given) in order.given {
            let value = given.material.value().unwrap().expose();
            checkers::sole_copy::durable(&self.world, &self.secret, *version, value);
        }
        let what = format!("{} push {}", self.secret, self.name);
        self.world.called(what.clone());
        let (world, secret, name) =
            (Arc::clone(&self.world), self.secret.clone(), self.name.clone());
        let wanted = order.wanted.clone();
        let act = move || SimTarget::take(&world, &secret, &name, &wanted);
        failed(self.world.boundary(&what, act).await)?;
        self.observation()
    }

    async fn observe(&self, _order: &Order<'_>) -> Result<Observation, DriverError> {
        let what = format!("{} observe {}", self.secret, self.name);
        self.world.called(what.clone());
        failed(self.world.boundary(&what, || ()).await)?;
        self.observation()
    }

    async fn purge(&self, _order: &Order<'_>, revoked: &[VersionId]) -> Result<(), DriverError> {
        checkers::audited::intent_of(&self.world, &self.secret, &["purge"]);
        let what = format!("{} purge {} of {revoked:?}", self.secret, self.name);
        self.world.called(what.clone());
        failed(self.world.boundary(&what, || ()).await)
    }
}
