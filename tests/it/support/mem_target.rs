//! A target in memory: the least that the contract asks for.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use rotord::driver::error::DriverError;
use rotord::driver::target::{Order, Target};
use rotord::model::id::{Generation, VersionId};
use rotord::model::target::{Level, Observation};

/// Takes in what it is pushed.
#[derive(Default)]
pub(crate) struct MemTarget {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    generation: Generation,
    accepted: Vec<VersionId>,
    current: Option<VersionId>,
    values: BTreeMap<VersionId, Vec<u8>>,
}

impl MemTarget {
    /// Starts again with nothing.
    pub(crate) fn restart(&self) {
        *self.held.lock().unwrap() = Held::default();
    }

    /// Whether it accepts a value.
    pub(crate) fn accepts(&self, value: &str) -> bool {
        self.held.lock().unwrap().values.values().any(|held| held == value.as_bytes())
    }

    /// Whether it uses a value.
    pub(crate) fn uses(&self, value: &str) -> bool {
        let held = self.held.lock().unwrap();
        let used = held.current.and_then(|current| held.values.get(&current));
        used.is_some_and(|used| used == value.as_bytes())
    }

    fn answer(held: &Held, order: &Order<'_>) -> Result<Observation, DriverError> {
        if held.generation > order.wanted.generation {
            return Err(DriverError::ahead(held.generation, "memory is ahead"));
        }
        Ok(Observation {
            generation: held.generation,
            accepted: held.accepted.clone(),
            current: held.current,
            level: Level::Acknowledged,
            by: "memory".to_owned(),
        })
    }
}

#[async_trait]
impl Target for MemTarget {
    async fn push(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        let mut held = self.held.lock().unwrap();
        Self::answer(&held, order)?;
        let value = |version: &VersionId| {
            let value = order.given[version].material.value().unwrap();
            (*version, value.expose().to_vec())
        };
        *held = Held {
            generation: order.wanted.generation,
            accepted: order.wanted.accepted.clone(),
            current: order.wanted.current,
            values: order.wanted.accepted.iter().map(value).collect(),
        };
        Self::answer(&held, order)
    }

    async fn observe(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        Self::answer(&self.held.lock().unwrap(), order)
    }
}
