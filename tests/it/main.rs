//! The one integration binary: a list of modules, nothing else.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod api;
mod audit;
mod bench;
mod canary;
mod cli;
mod config;
mod cost;
mod desk;
mod incident;
mod intake;
mod issuers;
mod key_client;
mod lanes;
mod lease;
mod live;
mod net;
mod orders;
mod recognition;
mod record;
mod registry;
mod sim;
mod store;
mod support;
mod systemd;
mod targets;
mod tidy;
mod transitions;
mod vault;
mod vault_auth;
mod waits;
mod warned;
