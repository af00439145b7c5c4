//! The one loop: wake, gather, decide, gate, execute, record, publish.
//!
//! One task owns all state. Others send a [`command::Command`] and get a reply, or read the
//! immutable [`snapshot::Snapshot`]. The engine knows records and drivers; it must not know HTTP,
//! config text or the command line.

pub mod clock;
pub mod command;
pub mod snapshot;
