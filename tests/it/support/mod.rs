//! What several integration tests stand on.

pub(crate) mod fake_engine;
pub(crate) mod picture;
