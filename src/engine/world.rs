//! What the engine's parts share: the store, the clock, the gate, the limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::gate::Gate;
use crate::engine::limits::{Limits, Places};
use crate::engine::recognition::{Recogniser, Settings};
use crate::model::fingerprint::FingerprintKey;
use crate::model::time::{Clock, Entropy, Span};
use crate::rotation::machine::Machine;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// Everything that a walk needs and does not own.
pub(super) struct World {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) fingerprints: Arc<FingerprintKey>,
    pub(super) recognition: Settings,
    pub(super) recogniser: Recogniser,
    pub(super) gate: Gate,
    pub(super) machine: Machine,
    pub(super) limits: Limits,
    pub(super) places: Places,
    /// The process is ending: walks come to their record and go no further.
    pub(super) stopping: AtomicBool,
    pub(super) metrics: Metrics,
}

impl World {
    /// Whether walks are to end at the next step.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Lets time pass.
    pub(super) async fn pause(&self, span: Span) {
        tokio::time::sleep(span.to_std()).await;
    }
}
