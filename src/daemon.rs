//! Wiring and shutdown.

use std::path::Path;

use thiserror::Error;

/// Why the daemon ended.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The config is wrong.
    #[error("{0}")]
    Config(String),
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// [`DaemonError`] if it cannot start or go on.
pub async fn run(config: &Path) -> Result<(), DaemonError> {
    Err(DaemonError::Config(format!("{} cannot be run yet", config.display())))
}
