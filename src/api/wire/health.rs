//! Life and readiness as they stand on the wire.

use serde::{Deserialize, Serialize};

use crate::api::wire::Trouble;

/// `GET /v1/health/live` and `/v1/health/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it is.
    pub ok: bool,
    /// What is missing, as stable codes.
    pub missing: Vec<String>,
    /// What a person must look at, whether or not it keeps the daemon from its work.
    #[serde(default)]
    pub alarms: Vec<Trouble>,
}
