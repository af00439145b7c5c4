//! Wiring and shutdown: from a config to a running process, and in order back to nothing.
//!
//! Decides what is started before what, and stopped after what. A Vault that is away does not keep
//! the process from starting: the socket is open first, and status says what is waited for.

mod alerts;
mod audit;
mod build;
mod desk;
mod duties;
mod first;
mod process;
mod reload;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sd_notify::NotifyState;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Acknowledge, Api, Handle, Reload};
use crate::config::locate::{Fault, locate};
use crate::config::problem::ConfigErrors;
use crate::config::{self, Config};
use crate::daemon::alerts::Alerts;
use crate::daemon::audit::{Alarms, Audited, Duty};
use crate::daemon::build::Built;
use crate::daemon::first::{first_contact, nothing_yet};
pub use crate::daemon::process::{credentials_directory, harden};
use crate::daemon::process::{host, make_state_directory, watch_signals};
use crate::daemon::reload::Reloader;
use crate::driver::error::DriverError;
use crate::driver::registry::{Channels, Context};
use crate::driver::secret_ref::Secrets;
use crate::engine::clock::{SystemClock, SystemEntropy};
use crate::engine::command::{Envelope, QUEUE_LEN};
use crate::engine::desk::{DeskEnds, DeskHandle};
use crate::engine::leader::{self, Keeper as LeaseKeeper};
use crate::engine::managed::Managed;
use crate::engine::recognition::Recogniser;
use crate::engine::scan::Scanner;
use crate::engine::snapshot::{Alarm, Snapshot};
use crate::engine::{Doors, Engine, Parts};
use crate::http::limits::Limits as HttpLimits;
use crate::http::server;
use crate::http::unix::{SocketError, SocketSettings, UnixDoor};
use crate::model::fingerprint::FingerprintKey;
use crate::model::reason::Reason;
use crate::model::time::{Clock, Entropy};
use crate::rotation::machine::Machine;
use crate::store::Store;
use crate::store::instance::{Instance, InstanceError};
use crate::store::kv::KvStore;
use crate::store::lease::{Lease, LeaseConfig};
use crate::telemetry::logs::{self, Logs};
use crate::telemetry::metrics::Metrics;
use crate::vault::Kv;
use crate::vault::auth::{Keeper as LoginKeeper, Status as Login};
use crate::vault::client::Vault;

/// What to do about a state directory that cannot be used.
const MAKE_STATE: &str = "make it for rotord's user: install -d -m 0700 -o rotord -g rotord PATH; \
                          or name another folder";

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

impl DaemonError {
    fn part(error: impl std::fmt::Display) -> DaemonError {
        DaemonError::Part(error.to_string())
    }
}

impl From<DriverError> for DaemonError {
    fn from(error: DriverError) -> DaemonError {
        DaemonError::part(error)
    }
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// [`DaemonError`] if it cannot start.
pub async fn run(path: &Path) -> Result<(), DaemonError> {
    let credentials = credentials_directory();
    let config = config::load(path, credentials.as_deref())?;
    let logs = logs::init(config.daemon.log_format, &config.daemon.log_level);
    let logs = logs.map_err(DaemonError::part)?;
    harden();
    for warning in &config.warnings {
        tracing::warn!("{}", warning.in_file(&path.display().to_string()));
    }
    let stop = CancellationToken::new();
    let mut signals = JoinSet::new();
    let hangup = Arc::new(tokio::sync::Notify::new());
    let watched = watch_signals(stop.clone(), Arc::clone(&hangup));
    signals.spawn(watched.map_err(DaemonError::part)?);
    let result = Daemon::open(path, config, credentials, logs).await?.run(stop, hangup).await;
    signals.shutdown().await;
    result
}

/// Everything that exists before Vault has answered once.
struct Daemon {
    path: PathBuf,
    config: Config,
    credentials: Option<PathBuf>,
    logs: Logs,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    instance: Instance,
    vault: Arc<Vault>,
    login: LoginKeeper,
    metrics: Metrics,
    door: UnixDoor,
}

impl Daemon {
    async fn open(
        path: &Path,
        config: Config,
        credentials: Option<PathBuf>,
        logs: Logs,
    ) -> Result<Daemon, DaemonError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::default());
        let wrong = |keys: &[&str], what: String, remedy: &str| {
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            DaemonError::Config(locate(path, vec![Fault { keys, what, remedy: remedy.to_owned() }]))
        };
        let state = &config.daemon.state_directory;
        let bad_state = |error: String| wrong(&["daemon", "state_directory"], error, MAKE_STATE);
        make_state_directory(state).map_err(|error| {
            bad_state(format!("{} is not there and cannot be made: {error}", state.display()))
        })?;
        let instance = Instance::open(state, entropy.as_ref()).map_err(|error| match error {
            InstanceError::Io { .. } => bad_state(error.to_string()),
            _ => DaemonError::part(error),
        })?;
        let ca_pem = config.vault.ca_file.as_deref().map(std::fs::read).transpose();
        let bad_ca = |error: io::Error| {
            wrong(&["vault", "ca_file"], error.to_string(), "let rotord's user read it")
        };
        let vault = Vault::new(&config.vault.settings(ca_pem.map_err(bad_ca)?), Arc::clone(&clock));
        let vault = vault.map_err(|error| {
            wrong(&["vault"], error.to_string(), "correct the address or what it names")
        })?;
        let vault = Arc::new(vault);
        let auth = config.vault.auth.login(credentials.as_deref()).map_err(|error| {
            wrong(
                &["vault", "auth"],
                error.to_string(),
                "correct the unit, or the way of the login",
            )
        })?;
        let login = LoginKeeper::new(Arc::clone(&vault), auth, Arc::clone(&entropy));
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), clock.now());
        let socket = SocketSettings {
            path: config.daemon.socket.clone(),
            mode: config.daemon.socket_mode,
            group: config.daemon.socket_group.clone(),
        };
        let door = UnixDoor::open(&socket).await.map_err(|error| match error {
            SocketError::Group(_) => {
                wrong(&["daemon", "socket_group"], error.to_string(), "name another")
            }
            _ => DaemonError::part(error),
        })?;
        let path = path.to_owned();
        Ok(Daemon {
            path,
            config,
            credentials,
            logs,
            clock,
            entropy,
            instance,
            vault,
            login,
            metrics,
            door,
        })
    }

    /// Socket first, then Vault, then the engine; and back in the opposite order.
    async fn run(
        self,
        stop: CancellationToken,
        hangup: Arc<tokio::sync::Notify>,
    ) -> Result<(), DaemonError> {
        let kv: Arc<dyn Kv> = Arc::<Vault>::clone(&self.vault);
        let secrets = Secrets::new(Arc::clone(&kv), self.credentials.clone());
        let channels = Channels::default().renewed(&self.config.channels)?;
        let context = Context { kv: Arc::clone(&kv), secrets, channels };
        // Made before anything runs, so that a config that cannot work ends the start.
        let built = build::all(&self.config, &context).map_err(|f| locate(&self.path, f))?;
        let mount = &self.config.vault.mount;
        let store = Arc::new(KvStore::new(kv, mount, Arc::clone(&self.entropy)));
        let (alarms, shown) = Alarms::new(self.metrics.clone());
        let first = nothing_yet(&self.clock, self.instance.id());
        let (pipes, ends) = pipes(first, context.channels.clone(), shown);
        let Daemon { path, config, credentials, logs, login, door, .. } = self;
        let Daemon { clock, entropy, instance, vault, metrics, .. } = self;
        let standing = login.status();
        let parts = Running { config, clock, entropy, instance, vault, metrics, context, standing };

        let served = CancellationToken::new();
        let mut servers = JoinSet::new();
        let alerts = Alerts::open(&path, &parts, &pipes, &mut servers, &stop).await?;
        let router = api::router(parts.api(&pipes, Arc::<KvStore>::clone(&store)));
        servers.spawn(server::serve(door, router, HttpLimits::local(), served.clone()));
        notify(&[NotifyState::Ready, NotifyState::Status("waiting for Vault")]);

        let out = CancellationToken::new();
        let mut duties = JoinSet::new();
        duties.spawn(login.keep(out.clone()));
        let ready = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            first = first_contact(&store, &parts, &ends.snapshots) => Some(first),
        };
        if let Some((fingerprints, log, keeper)) = ready {
            let reloader = Reloader {
                path,
                credentials,
                config: parts.config.clone(),
                logs,
                metrics: parts.metrics.clone(),
                context: parts.context.clone(),
                reloads: pipes.reloads.clone(),
                channels: ends.channels,
                alerts,
            };
            duties.spawn(reloader.serve(ends.asks, hangup, out.clone()));
            let duty = Duty::new(log, keeper, Arc::clone(&parts.clock), alarms);
            let audit = duty.sink();
            parts.start_duties(&mut duties, &pipes, (ends.desk, duty.sink()), &out);
            duties.spawn(duty.keep(ends.acknowledged, out.clone()));
            let doors = Doors {
                commands: ends.commands,
                reloads: ends.reloads,
                snapshots: ends.snapshots,
                turned: Box::new(|| notify(&[NotifyState::Watchdog])),
                stop,
            };
            let memory = Memory { store, fingerprints, recogniser: pipes.recogniser.clone() };
            parts.lead_and_run(built, memory, audit, doors).await;
        }
        out.cancel();
        while duties.join_next().await.is_some() {}
        served.cancel();
        while servers.join_next().await.is_some() {}
        tracing::info!("stopped");
        Ok(())
    }
}

/// The ends that everybody outside the engine holds.
struct Pipes {
    commands: mpsc::Sender<Envelope>,
    asks: mpsc::Sender<Reload>,
    reloads: mpsc::Sender<Vec<Managed>>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    desk: DeskHandle,
    recogniser: Recogniser,
    channels: watch::Receiver<Channels>,
    audit: api::Audit,
}

/// The ends that the engine and the reloader hold.
struct Ends {
    desk: DeskEnds,
    commands: mpsc::Receiver<Envelope>,
    asks: mpsc::Receiver<Reload>,
    reloads: mpsc::Receiver<Vec<Managed>>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    channels: watch::Sender<Channels>,
    acknowledged: mpsc::Receiver<Acknowledge>,
}

fn pipes(
    first: Arc<Snapshot>,
    channels: Channels,
    alarms: watch::Receiver<Vec<Alarm>>,
) -> (Pipes, Ends) {
    let (commands, commands_end) = mpsc::channel(QUEUE_LEN);
    let (asks, asks_end) = mpsc::channel(1);
    let (reloads, reloads_end) = mpsc::channel(1);
    let (snapshots_end, snapshots) = watch::channel(first);
    let (channels_end, channels) = watch::channel(channels);
    let (acknowledge, acknowledged) = mpsc::channel(1);
    let audit = api::Audit { alarms, acknowledge };
    let (desk, desk_end) = DeskHandle::new();
    let ends = Ends {
        desk: desk_end,
        commands: commands_end,
        asks: asks_end,
        reloads: reloads_end,
        snapshots: snapshots_end,
        channels: channels_end,
        acknowledged,
    };
    let recogniser = Recogniser::default();
    (Pipes { commands, asks, reloads, snapshots, channels, desk, recogniser, audit }, ends)
}

/// What lies in Vault and the engine remembers by.
struct Memory {
    store: Arc<KvStore>,
    fingerprints: FingerprintKey,
    recogniser: Recogniser,
}

/// What is shared by everything that runs.
struct Running {
    config: Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    instance: Instance,
    vault: Arc<Vault>,
    metrics: Metrics,
    context: Context,
    standing: watch::Receiver<Login>,
}

impl Running {
    fn api(&self, pipes: &Pipes, store: Arc<dyn Store>) -> Api {
        let (snapshots, clock) = (pipes.snapshots.clone(), Arc::clone(&self.clock));
        let scanner = Scanner::new(store, snapshots, pipes.recogniser.clone(), clock);
        let handle =
            Handle { commands: pipes.commands.clone(), snapshots: pipes.snapshots.clone() };
        Api {
            handle,
            desk: pipes.desk.clone(),
            recogniser: pipes.recogniser.clone(),
            scanner: Arc::new(scanner),
            reload: pipes.asks.clone(),
            audit: pipes.audit.clone(),
            metrics: self.metrics.clone(),
            clock: Arc::clone(&self.clock),
            login: self.standing.clone(),
        }
    }

    fn start_duties(
        &self,
        duties: &mut JoinSet<()>,
        pipes: &Pipes,
        (desk, audit): (DeskEnds, Audited),
        out: &CancellationToken,
    ) {
        self.start_desk(duties, desk, (pipes, audit), out);
        let (metrics, vault) = (self.metrics.clone(), Arc::clone(&self.vault));
        duties.spawn(duties::show(pipes.snapshots.clone(), metrics, vault, out.clone()));
        let (channels, secrets) = (pipes.channels.clone(), self.context.secrets.clone());
        duties.spawn(duties::refresh_channels(channels, secrets, out.clone()));
    }

    /// A channel without its key refuses pushes and says so; all others go on.
    async fn fetch_channels(&self) {
        let Context { channels, secrets, .. } = &self.context;
        if let Err(error) = channels.fetch(secrets).await {
            tracing::warn!(reason = %error.reason, "a channel has no key yet: {error}");
        }
    }

    /// Runs the engine under the lease, and gives the lease up when nothing is under way any more.
    async fn lead_and_run(&self, built: Built, memory: Memory, audit: Audited, doors: Doors) {
        let limits = build::limits(&self.config);
        let epoch_seen = Arc::new(AtomicU64::new(0));
        let (leadership, leads) = watch::channel(Err(Reason::NoLease));
        let (leader, led_by) = watch::channel(None);
        let config = LeaseConfig {
            mount: self.config.vault.mount.clone(),
            instance: self.instance.id().clone(),
            host: host(),
            ttl: self.config.daemon.lease_ttl,
            effect_timeout: limits.effect_timeout,
        };
        let (clock, entropy) = (Arc::clone(&self.clock), Arc::clone(&self.entropy));
        let lease = Lease::new(Arc::clone(&self.context.kv), clock, entropy, config);
        let keeper = LeaseKeeper {
            lease,
            clock: Arc::clone(&self.clock),
            leadership,
            leader,
            epoch_seen: Arc::clone(&epoch_seen),
            metrics: self.metrics.clone(),
            audit: Box::new(audit.clone()),
            instance: self.instance.id().clone(),
        };
        let given_up = CancellationToken::new();
        let mut leaders = JoinSet::new();
        leaders.spawn(leader::keep(keeper, given_up.clone()));
        let engine = Engine::new(Parts {
            store: memory.store,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            fingerprints: memory.fingerprints,
            recognition: build::recognition(&self.config),
            recogniser: memory.recogniser,
            audit: Box::new(audit),
            machine: Machine::default(),
            leadership: leads,
            leader: led_by,
            epoch_seen,
            instance: self.instance.id().clone(),
            limits,
            budget: built.budget,
            metrics: self.metrics.clone(),
            managed: built.managed,
        });
        notify(&[NotifyState::Status("running")]);
        engine.run(doors).await;
        notify(&[NotifyState::Stopping]);
        given_up.cancel();
        while leaders.join_next().await.is_some() {}
    }
}

/// Tells systemd, if it is there to be told.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("systemd could not be told: {error}");
    }
}
