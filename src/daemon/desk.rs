//! The desk and whoever tells people, made of a config and what the daemon has.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::daemon::audit::Audited;
use crate::daemon::{Pipes, Running};
use crate::engine::desk::{Desk, DeskEnds, NOTICES_LEN, Parts as DeskParts};
use crate::notify;
use crate::store::incident::KvIncidents;

impl Running {
    /// Starts the desk, and whoever tells people. Both end after the engine, which they ask.
    pub(super) fn start_desk(
        &self,
        duties: &mut JoinSet<()>,
        ends: DeskEnds,
        (pipes, audit): (&Pipes, Audited),
        out: &CancellationToken,
    ) {
        let (news, notices) = mpsc::channel(NOTICES_LEN);
        let told = ends.told.clone();
        let mount = &self.config.vault.mount;
        let store = KvIncidents::new(Arc::clone(&self.context.kv), mount, self.entropy.as_ref());
        let desk = DeskParts {
            store: Arc::new(store),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            audit: Box::new(audit),
            instance: self.instance.id().clone(),
            recogniser: Arc::new(pipes.recogniser.clone()),
            commands: pipes.commands.clone(),
            snapshots: pipes.snapshots.clone(),
            limits: self.config.incidents.limits,
            keep: self.config.incidents.keep,
            notices: news,
            metrics: self.metrics.clone(),
        };
        duties.spawn(Desk::new(desk, ends).run(out.clone()));
        let people = notify::Parts {
            recipients: self.config.notify.clone(),
            secrets: self.context.secrets.clone(),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            told,
        };
        duties.spawn(notify::run(people, notices, out.clone()));
    }
}
