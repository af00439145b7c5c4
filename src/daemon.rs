//! Wiring and shutdown.

use std::path::Path;

use thiserror::Error;

use crate::config;
use crate::config::problem::ConfigErrors;

/// Why the daemon did not start, or ended.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The config is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A part of it cannot be made.
    #[error("{0}")]
    Part(String),
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// [`DaemonError`] if it cannot start or go on.
pub async fn run(config: &Path) -> Result<(), DaemonError> {
    let _config = config::load(config, None)?;
    Err(DaemonError::Part("the engine is not wired yet".into()))
}
