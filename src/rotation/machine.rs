//! The two pure functions as one thing that can be handed to whoever runs them.
//!
//! The program runs [`Machine::default`] and nothing else. The simulator hands the engine machines
//! with one rule broken, to see that such a thing does not go unnoticed.

use crate::model::time::Timestamp;
use crate::rotation::Rotation;
use crate::rotation::apply::{IllegalEvent, apply};
use crate::rotation::decide::{Next, decide};
use crate::rotation::event::Event;

/// What decides about a rotation.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// What is to be done next: [`decide`].
    pub decide: fn(&Rotation, Timestamp) -> Next,
    /// What an event makes of it: [`apply`].
    pub apply: fn(Rotation, Event) -> Result<Rotation, IllegalEvent>,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine { decide, apply }
    }
}
