//! A simulated dependent service, with consumers that go on using what they read before for as
//! long as its propagation allows.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rotord::driver::error::DriverError;
use rotord::driver::target::{Order, Target};
use rotord::model::id::{SecretName, TargetName, VersionId};
use rotord::model::reason::Reason;
use rotord::model::target::{Level, Observation, TargetTerms, Wanted};

use crate::sim::checkers;
use crate::sim::faults::Answer;
use crate::sim::planted::Bug;
use crate::sim::seat::Seat;
use crate::sim::truth::{Holding, Service};
use crate::sim::world::World;

pub(super) struct SimTarget {
    pub(super) world: Arc<World>,
    pub(super) seat: Arc<Seat>,
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
    async fn call(
        &self,
        what: &str,
        act: impl Fn() + Send + Sync + 'static,
    ) -> Result<(), DriverError> {
        let line = format!("{} {what} {}", self.secret, self.name);
        self.world.called(line.clone());
        self.seat.awake().await;
        if self.world.clock.truly() < self.seat.fate().no_services_until {
            let what = "simulated partition";
            return Err(DriverError::transient(Reason::Unreachable, what));
        }
        let dead_until = self.world.state().secrets[&self.secret].services[&self.name].dead_until;
        if self.world.clock.truly() < dead_until {
            return Err(DriverError::transient(Reason::Unreachable, "simulated death"));
        }
        failed(self.world.boundary(&self.seat, &line, act).await)
    }

    /// What it holds; nothing at all under generation 0.
    fn observation(&self) -> Observation {
        let state = self.world.state();
        let holding = state.secrets[&self.secret].services[&self.name].holds().cloned();
        let Holding { generation, accepted, current, .. } = holding.unwrap_or_default();
        Observation { generation, accepted, current, level: Level::Proved, by: "sim".to_owned() }
    }

    /// Takes an order in, unless it has a higher generation already.
    fn take(world: &World, secret: &SecretName, name: &TargetName, wanted: &Wanted) {
        let line = format!(
            "{secret} {name} {} accepts {:?} uses {:?}",
            wanted.generation, wanted.accepted, wanted.current
        );
        world.change(&line, |state, now| {
            let service = service(state.secrets.get_mut(secret).unwrap(), name);
            let held = service.holds();
            if held.is_some_and(|held| held.generation >= wanted.generation) {
                return;
            }
            // One that forgot what it was told takes an order in that was long overtaken.
            let by_itself =
                held.is_some_and(|held| held.by_itself) && wanted.generation < service.sent;
            service.holdings.push(Holding {
                since: now,
                generation: wanted.generation,
                accepted: wanted.accepted.clone(),
                current: wanted.current,
                by_itself,
            });
        });
    }
}

fn service<'a>(truth: &'a mut crate::sim::truth::Truth, name: &TargetName) -> &'a mut Service {
    truth.services.get_mut(name).unwrap()
}

#[async_trait]
impl Target for SimTarget {
    async fn push(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        checkers::audited::intent_of(&self.world, &self.seat, &self.secret, &["push"]);
        checkers::fenced::starts(&self.world, &self.seat, "a push");
        checkers::monotone::push(&self.world, &self.secret, &self.name, order.wanted);
        for (version, given) in order.given {
            let value = given.material.value().unwrap().expose();
            checkers::sole_copy::durable(&self.world, &self.secret, *version, value);
            let mut state = self.world.state();
            let truth = state.secrets.get_mut(&self.secret).unwrap();
            truth.handed.entry(*version).or_insert_with(|| value.to_vec());
        }
        let (world, secret, name) =
            (Arc::clone(&self.world), self.secret.clone(), self.name.clone());
        let wanted = order.wanted.clone();
        let told = self.call("push", move || SimTarget::take(&world, &secret, &name, &wanted));
        match (told.await, self.world.bug()) {
            (Ok(()), _) => Ok(self.observation()),
            (Err(_), Some(Bug::ValueInError)) => {
                let sent = order.given.values().next();
                let value = sent.map(|given| given.material.value().unwrap().expose().to_vec());
                let text = STANDARD.encode(value.unwrap_or_default());
                Err(DriverError::transient(Reason::Unavailable, format!("was sent {text}")))
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn observe(&self, _order: &Order<'_>) -> Result<Observation, DriverError> {
        self.call("observe", || ()).await?;
        Ok(self.observation())
    }

    async fn purge(&self, _order: &Order<'_>, revoked: &[VersionId]) -> Result<(), DriverError> {
        checkers::audited::intent_of(&self.world, &self.seat, &self.secret, &["purge"]);
        checkers::destroy::history(&self.world, &self.secret, revoked);
        checkers::fenced::destroys(&self.world, &self.seat, "a history");
        self.call("purge", || ()).await
    }
}

/// A service restarts and holds nothing any more.
pub(super) fn restart_empty(world: &World, secret: &SecretName, name: &TargetName) {
    world.change(&format!("{secret} {name} restarts empty"), |state, now| {
        let service = service(state.secrets.get_mut(secret).unwrap(), name);
        service.holdings.push(Holding { since: now, by_itself: true, ..Holding::default() });
    });
}

/// A service goes back to what it held before.
pub(super) fn revert(world: &World, secret: &SecretName, name: &TargetName) {
    world.change(&format!("{secret} {name} goes back"), |state, now| {
        let service = service(state.secrets.get_mut(secret).unwrap(), name);
        let before = service.holdings.iter().rev().nth(1).cloned();
        service.holdings.extend(before.map(|h| Holding { since: now, by_itself: true, ..h }));
    });
}

/// People say that rotord need not wait for a service: whatever it holds is its own affair, until
/// it is told something again.
pub(super) fn give_up(world: &World, secret: &SecretName, name: &TargetName) {
    let mut state = world.state();
    let service = service(state.secrets.get_mut(secret).unwrap(), name);
    if let Some(holding) = service.holdings.last_mut() {
        holding.by_itself = true;
    }
}

/// A service is set up anew, whether or not there was one of that name.
pub(super) fn install(world: &World, secret: &SecretName, name: &TargetName, terms: &TargetTerms) {
    let mut state = world.state();
    let services = &mut state.secrets.get_mut(secret).unwrap().services;
    let sent = services.get(name).map(|service| service.sent).unwrap_or_default();
    let service = Service { sent, ..Service::new(terms.role, terms.propagation) };
    services.insert(name.clone(), service);
}
