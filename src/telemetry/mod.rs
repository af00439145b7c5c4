//! What rotord says about itself while it runs: logs for people, metrics for machines.
//!
//! Decides what may leave the process as text. Only rotord's own events do: libraries that carry
//! tokens, bodies and paths have no voice here, whatever the configured filter says.

pub mod logs;
pub mod metrics;
