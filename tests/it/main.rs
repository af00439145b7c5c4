//! The one integration binary: a list of modules, nothing else.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod api;
mod issuers;
mod key_client;
mod support;
mod systemd;
mod targets;
mod tidy;
mod vault;
