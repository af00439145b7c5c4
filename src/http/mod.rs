//! Everything inbound comes through here: sockets are accepted, bounded and told apart by peer.
//!
//! Decides who may connect, how long and how much they may talk, and how the listening ends. Must
//! not know what is asked for: it takes any router and serves it.

pub mod body;
pub mod limiter;
pub mod limits;
pub mod origin;
pub mod peer;
pub mod repeats;
pub mod room;
pub mod server;
pub mod tcp;
pub mod tls;
pub mod unix;
