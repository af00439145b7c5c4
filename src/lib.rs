//! rotord rotates API keys and webhook HMAC secrets that live in HashiCorp Vault or OpenBao.
//!
//! The modules stand in layer order: each uses only those above it. `tests/it/tidy.rs` holds the
//! same order as data and fails when a module reaches down.

pub mod model;

pub mod incident;
pub mod plan;
pub mod rotation;
pub mod signing;

pub mod telemetry;

pub mod net;
pub mod vault;

pub mod driver;
pub mod store;

pub mod engine;

pub mod http;

pub mod api;
pub mod intake;
pub mod notify;

pub mod config;

pub mod daemon;

pub mod cli;

#[cfg(any(test, fuzzing))]
pub mod fuzz;
