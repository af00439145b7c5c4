//! Keeping the lease, and saying so to the gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::gate::Leadership;
use crate::model::failure::{Class, Failure};
use crate::model::id::{Epoch, InstanceId};
use crate::model::reason::Reason;
use crate::model::time::{Clock, Span};
use crate::store::audit::{AuditSink, Entry, EntryKind};
use crate::store::lease::{Holder, Lease, Standing};
use crate::telemetry::metrics::Metrics;
use crate::vault::turns::{self, Urgency};

/// What the keeper of the lease needs.
pub struct Keeper {
    /// The lease.
    pub lease: Lease,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where leadership is published; while it is not ours, what is in the way.
    pub leadership: watch::Sender<Result<Leadership, Reason>>,
    /// Where it is published who leads, for people.
    pub leader: watch::Sender<Option<Holder>>,
    /// The highest epoch that any record was seen with.
    pub epoch_seen: Arc<AtomicU64>,
    /// What is counted.
    pub metrics: Metrics,
    /// Where it is written down who led when.
    pub audit: Box<dyn AuditSink>,
    /// Who we are there.
    pub instance: InstanceId,
}

impl Keeper {
    fn write_down(&mut self, what: String) {
        let line = Entry::new(self.clock.now(), &self.instance, EntryKind::Lease);
        self.audit.owe(line.note(what));
    }
}

/// Takes the lease as soon as it is free and renews it until told to stop; then gives it up. To be
/// stopped only when nothing of ours is on its way any more.
pub async fn keep(mut keeper: Keeper, stop: CancellationToken) {
    let mut led = false;
    // That of the lease we have, or had last.
    let mut epoch = None;
    loop {
        keeper.lease.saw(Epoch(keeper.epoch_seen.load(Ordering::Relaxed)));
        let mut in_the_way = Reason::NoLease;
        match turns::with(Urgency::Lease, keeper.lease.step()).await {
            Ok(Standing::Held { epoch }) => tracing::debug!(%epoch, "the lease is ours"),
            Ok(Standing::Waiting { holder }) => tracing::debug!(?holder, "another leads"),
            Err(error) => {
                tracing::warn!("the lease could not be renewed: {error}");
                in_the_way = of_vault(error.failure());
            }
        }
        let leadership = standing(&keeper);
        keeper.leader.send_if_modified(|known| {
            let news = known.as_ref() != keeper.lease.holder();
            *known = keeper.lease.holder().cloned();
            news
        });
        if leadership.is_some() != led {
            led = leadership.is_some();
            let change = if led { "taken" } else { "lost" };
            tracing::info!(epoch = ?leadership.map(|l| l.epoch), "lease {change}");
            keeper.metrics.lease_changed(change, led);
            epoch = leadership.map(|leadership| leadership.epoch).or(epoch);
            keeper.write_down(changed(change, epoch));
        }
        keeper.leadership.send_modify(|known| *known = leadership.ok_or(in_the_way));
        let pause = keeper.lease.due().since(keeper.clock.steady());
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause.max(Span(10)).to_std()) => {}
        }
    }
    keeper.leadership.send_modify(|known| *known = Err(Reason::NoLease));
    let released = turns::with(Urgency::Lease, keeper.lease.release()).await;
    if let Err(error) = &released {
        tracing::warn!("the lease could not be given up, others wait for its end: {error}");
    }
    if led {
        let change = if released.is_ok() { "given back" } else { "left to its end" };
        let counted = if released.is_ok() { "given_back" } else { "lost" };
        keeper.metrics.lease_changed(counted, false);
        keeper.write_down(changed(change, epoch));
    }
}

/// As the line says it: `taken, epoch 7`.
fn changed(change: &str, epoch: Option<Epoch>) -> String {
    epoch.map_or_else(|| change.to_owned(), |epoch| format!("{change}, epoch {epoch}"))
}

/// A write whose answer was lost shows no more than that Vault does not answer.
fn of_vault(failure: Failure) -> Reason {
    match failure.class {
        Class::Ambiguous => Reason::VaultUnreachable,
        _ => failure.reason,
    }
}

fn standing(keeper: &Keeper) -> Option<Leadership> {
    let epoch = keeper.lease.epoch()?;
    let now = keeper.clock.steady();
    let until = now.plus(keeper.lease.remaining());
    let destructive_from = now.plus(keeper.lease.destructive_in()?);
    Some(Leadership { epoch, until, destructive_from })
}
