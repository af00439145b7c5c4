//! The real binary on a real server: rotations as an operator sees them.
//!
//! Everything is judged from outside: what the control socket says, what lies in Vault, and what
//! dependent services accept.

mod alerts;
mod audit;
mod channel;
mod incidents;
mod issuers;
mod kill;
mod leaks;
mod matrix;
mod operate;
pub(crate) mod places;
mod raft;
mod replicas;
pub(crate) mod services;
mod trouble;
