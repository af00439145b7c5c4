//! Alerts from outside: the listener's life, the sources behind it, and the polls.
//!
//! Decides when alerts are taken: from the first answer of Vault until the daemon is told to stop.
//! Before that everybody is asked to come again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::config::alerts::{AlertsConfig, ListenerConfig, TlsConfig};
use crate::config::locate::{Fault, locate};
use crate::daemon::{DaemonError, Pipes, Running};
use crate::driver::error::DriverError;
use crate::driver::secret_ref::Secrets;
use crate::engine::desk::DeskHandle;
use crate::engine::snapshot::Snapshot;
use crate::http::origin::Proxies;
use crate::http::server;
use crate::http::tcp::TcpDoor;
use crate::http::tls::Tls;
use crate::intake::guard::Guard;
use crate::intake::listener::{self, Intake};
use crate::intake::poll::book::Shelf;
use crate::intake::poll::rounds::{Daemon as Surroundings, Round, Rounds};
use crate::intake::registry::{PollSpec, SourceSpec, Sources};
use crate::model::clue::Form;
use crate::model::id::SourceName;
use crate::model::material::SecretBytes;
use crate::model::time::{Clock, Span};
use crate::vault::Kv;

/// How often it is looked whether this instance leads, by a poll that waits for that.
const LEAD_LOOK: Span = Span::from_secs(5);

/// What a reload may change of alerts.
pub(super) struct Alerts {
    open: Option<Open>,
    made: Made,
    polls: watch::Sender<BTreeMap<SourceName, PollSpec>>,
}

/// What a config says of sources, and they can all be made.
struct Made {
    sources: Sources,
    polls: BTreeMap<SourceName, PollSpec>,
}

impl Made {
    fn of(config: &Config, before: &Sources, secrets: &Secrets) -> Result<Made, Vec<Fault>> {
        let (specs, polls) = config
            .alerts
            .as_ref()
            .map_or_else(Default::default, |alerts| (alerts.sources.clone(), alerts.polls.clone()));
        let sources = before.renewed(&specs, secrets).map_err(faults)?;
        for (name, poll) in &polls {
            poll.make(secrets).map_err(|error| faults(vec![(name.clone(), error)]))?;
        }
        Ok(Made { sources, polls })
    }
}

/// The listener, as it stands open.
struct Open {
    intake: Arc<Intake>,
    guard: Arc<Guard>,
    tls: Option<Tls>,
}

impl Alerts {
    /// Opens the listener if the config has one. Nobody is believed, and nobody asked, until it
    /// [begins](Alerts::begin).
    ///
    /// # Errors
    /// [`DaemonError`] if a source cannot be made, the address is taken, or the certificate cannot
    /// be used.
    pub(super) async fn open(
        path: &Path,
        running: &Running,
        pipes: &Pipes,
        servers: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<Alerts, DaemonError> {
        let made = Made::of(&running.config, &Sources::default(), &running.context.secrets);
        let made = made.map_err(|faults| locate(path, faults))?;
        let config = running.config.alerts.as_ref();
        let open = match config.and_then(|alerts| alerts.listener.as_ref()) {
            None => None,
            Some(config) => Some(listen(config, running, &pipes.desk, servers, stop).await?),
        };
        let (polls, asked) = watch::channel(BTreeMap::new());
        servers.spawn(keep_polling(asked, Polling::of(running, pipes), stop.clone()));
        Ok(Alerts { open, made, polls })
    }

    /// Believes the sources from now on, and asks those that are asked.
    pub(super) fn begin(&self) {
        if let Some(open) = &self.open {
            open.intake.open(self.made.sources.named());
        }
        self.polls.send_replace(self.made.polls.clone());
    }

    /// Believes what another config says.
    ///
    /// # Errors
    /// Everything that keeps a source from being made, or the certificate from being exchanged;
    /// nothing is changed then.
    pub(super) async fn renew(
        &mut self,
        config: &Config,
        secrets: &Secrets,
    ) -> Result<(), Vec<Fault>> {
        let made = Made::of(config, &self.made.sources, secrets)?;
        let listener = config.alerts.as_ref().and_then(|alerts| alerts.listener.as_ref());
        if let Some((open, listener)) = self.open.as_ref().zip(listener) {
            if let Some((tls, config)) = open.tls.as_ref().zip(listener.tls.as_ref()) {
                renew_tls(tls, config, secrets).await?;
            }
            open.guard.believe(Proxies(listener.proxies.clone()));
        }
        self.made = made;
        self.begin();
        Ok(())
    }
}

/// The slow forms that the sources of a config send.
pub(super) fn slow_forms(config: Option<&AlertsConfig>) -> Vec<Form> {
    let sources = config.into_iter().flat_map(|alerts| alerts.sources.values());
    let forms: BTreeSet<_> = sources.filter_map(SourceSpec::slow_form).collect();
    forms.into_iter().collect()
}

async fn listen(
    config: &ListenerConfig,
    running: &Running,
    desk: &DeskHandle,
    servers: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<Open, DaemonError> {
    let tls = match &config.tls {
        None => None,
        Some(config) => {
            let chain = read(&config.chain).map_err(DaemonError::Part)?;
            let key = running.context.secrets.fetch(&config.key).await?;
            let tls = Tls::new(&chain, &key);
            Some(tls.map_err(|error| DaemonError::Part(format!("[alerts] tls: {error}")))?)
        }
    };
    let listener = TcpListener::bind(config.address).await.map_err(|error| {
        DaemonError::Part(format!("cannot listen for alerts at {}: {error}", config.address))
    })?;
    let Running { clock, entropy, metrics, .. } = running;
    let proxies = Proxies(config.proxies.clone());
    let guard = Arc::new(Guard::new(config.rates, proxies, Arc::clone(clock), metrics.clone()));
    let intake = Arc::new(Intake::new(
        Arc::new(desk.clone()),
        Arc::clone(&guard),
        Arc::clone(clock),
        Arc::clone(entropy),
        metrics.clone(),
    ));
    let keeper = Arc::clone(&guard);
    let door = TcpDoor::new(listener, tls.clone(), listener::shares(config.connections), keeper);
    let limits = listener::limits(config.connections);
    servers.spawn(server::serve(door, intake.router(), limits, stop.clone()));
    tracing::info!(address = %config.address, "alerts are taken in here once Vault answers");
    Ok(Open { intake, guard, tls })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

async fn renew_tls(tls: &Tls, config: &TlsConfig, secrets: &Secrets) -> Result<(), Vec<Fault>> {
    let fault = |what: String| {
        let keys = vec!["alerts".to_owned(), "tls".to_owned()];
        vec![Fault { keys, what, remedy: "correct the files; the old ones are shown on".into() }]
    };
    let chain = read(&config.chain).map_err(&fault)?;
    let key: Result<SecretBytes, _> = secrets.fetch(&config.key).await;
    let key = key.map_err(|error| fault(error.to_string()))?;
    tls.renew(&chain, &key).map_err(|error| fault(error.to_string()))
}

fn faults(wrong: Vec<(SourceName, DriverError)>) -> Vec<Fault> {
    let fault = |(name, error): (SourceName, DriverError)| Fault {
        keys: vec!["alerts".to_owned(), "source".to_owned()],
        what: format!("source {name}: {error}"),
        remedy: "correct its keys".to_owned(),
    };
    wrong.into_iter().map(fault).collect()
}

/// What polls are run with.
#[derive(Clone)]
struct Polling {
    around: Arc<Surroundings>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    kv: Arc<dyn Kv>,
    mount: String,
    secrets: Secrets,
    clock: Arc<dyn Clock>,
}

impl Polling {
    fn of(running: &Running, pipes: &Pipes) -> Polling {
        let (desk, snapshots) = (pipes.desk.clone(), pipes.snapshots.clone());
        Polling {
            around: Arc::new(Surroundings {
                desk,
                snapshots: snapshots.clone(),
                metrics: running.metrics.clone(),
            }),
            snapshots,
            kv: Arc::clone(&running.context.kv),
            mount: running.config.vault.mount.clone(),
            secrets: running.context.secrets.clone(),
            clock: Arc::clone(&running.clock),
        }
    }
}

/// Runs the polls that there are, and others from the moment when there are others.
async fn keep_polling(
    mut specs: watch::Receiver<BTreeMap<SourceName, PollSpec>>,
    with: Polling,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let mut running = JoinSet::new();
        let polls = specs.borrow_and_update().clone();
        for spec in polls.into_values() {
            running.spawn(poll_one(spec, with.clone()));
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            changed = specs.changed() => if changed.is_err() { stop.cancelled().await },
        }
        // A round that is cut off is read again: its cursor was not written.
        running.shutdown().await;
    }
}

/// Round after round, while this instance leads.
async fn poll_one(spec: PollSpec, with: Polling) {
    let name = spec.rounds.source.clone();
    let poll = match spec.make(&with.secrets) {
        Ok(poll) => poll,
        Err(error) => return tracing::error!(source = %name, "a poll cannot be made: {error}"),
    };
    let shelf = Shelf::new(Arc::clone(&with.kv), with.mount, &name);
    let mut rounds = Rounds::new(spec.rounds, poll, shelf, with.around);
    loop {
        let leads = with.snapshots.borrow().health.epoch.is_some();
        let pause = if leads {
            let round = rounds.round(with.clock.now()).await;
            let Round { reported, odd, settled, .. } = round;
            match &round.trouble {
                None => tracing::debug!(source = %name, reported, odd, settled, "polled"),
                Some(trouble) => tracing::warn!(source = %name, "poll: {trouble}"),
            }
            round.again_in
        } else {
            LEAD_LOOK
        };
        tokio::time::sleep(pause.to_std()).await;
    }
}
