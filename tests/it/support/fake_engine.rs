//! The daemon's API on a real Unix socket, with an engine behind it that answers what the test
//! says and remembers what it was asked.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rotord::api::{Acknowledge, Api, Audit, Handle, Reload, router};
use rotord::engine::command::{Actor, Command, Done, Envelope, Refusal};
use rotord::engine::desk::{self, Ask, DeskEnds, DeskHandle, Report, Verdict};
use rotord::engine::recognition::Recogniser;
use rotord::engine::scan::Scanner;
use rotord::engine::snapshot::{Alarm, Snapshot};
use rotord::http::limits::Limits;
use rotord::http::peer::PeerPolicy;
use rotord::http::server::serve;
use rotord::http::unix::{SocketSettings, UnixDoor};
use rotord::incident::alert::Finding;
use rotord::model::material::Material;
use rotord::model::time::{Clock, Steady, Timestamp};
use rotord::store::memory::MemoryStore;
use rotord::telemetry::metrics::Metrics;
use rotord::vault::auth::Status as Login;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::picture;

type Answer = Result<Done, Refusal>;
type Answers = Box<dyn Fn(&Command) -> Answer + Send>;
type Verdicts = Box<dyn Fn(&Finding) -> Verdict + Send>;

/// A command as it reached the engine.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Who asked.
    pub(crate) actor: Actor,
    /// What, printed.
    pub(crate) command: String,
    /// The value that came with it.
    pub(crate) value: Option<Vec<u8>>,
}

/// The daemon that is none.
pub(crate) struct Fake {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    stop: CancellationToken,
    asked: Arc<Mutex<Vec<Asked>>>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    tasks: JoinSet<()>,
    _dir: TempDir,
}

/// How a [`Fake`] differs from the usual.
pub(crate) struct Setup {
    /// What commands are answered.
    pub(crate) answers: Answers,
    /// What the listener grants.
    pub(crate) limits: Limits,
    /// Who may connect.
    pub(crate) policy: PeerPolicy,
    /// What is shown first.
    pub(crate) snapshot: Snapshot,
    /// What the desk shows.
    pub(crate) incidents: desk::Picture,
    /// How it stands with Vault.
    pub(crate) login: Login,
    /// The alarms that stand.
    pub(crate) alarms: Vec<Alarm>,
    /// What the desk makes of a finding.
    pub(crate) verdicts: Verdicts,
    /// What lies in Vault.
    pub(crate) store: Arc<MemoryStore>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            answers: Box::new(|_| Ok(Done { rotation: None, text: "it is done".into() })),
            limits: Limits::default(),
            policy: PeerPolicy::of_this_process(None).unwrap(),
            snapshot: picture::snapshot(),
            incidents: picture::incidents(),
            login: Login::Ok { expires_at: None },
            alarms: Vec::new(),
            verdicts: Box::new(|_| Verdict::default()),
            store: Arc::new(MemoryStore::new()),
        }
    }
}

/// A clock that stands at the picture's moment.
pub(crate) struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        picture::NOW
    }

    fn steady(&self) -> Steady {
        Steady(0)
    }
}

impl Fake {
    /// Starts with the usual setup.
    pub(crate) async fn start() -> Fake {
        Fake::start_with(Setup::default()).await
    }

    /// Starts with these answers to commands.
    pub(crate) async fn answering(answers: impl Fn(&Command) -> Answer + Send + 'static) -> Fake {
        Fake::start_with(Setup { answers: Box::new(answers), ..Setup::default() }).await
    }

    /// Starts.
    pub(crate) async fn start_with(setup: Setup) -> Fake {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("rotord.sock");
        let settings = SocketSettings { path: socket.clone(), mode: 0o660, group: None };
        let door = UnixDoor::open_for(&settings, setup.policy).await.unwrap();
        let (commands, asked_now) = mpsc::channel(4);
        let (reload, reload_now) = mpsc::channel(1);
        let (acknowledge, acknowledged) = mpsc::channel(1);
        let (_, alarms) = watch::channel(setup.alarms);
        let (snapshots, shown) = watch::channel(Arc::new(setup.snapshot));
        let recogniser = Recogniser::default();
        let (desk, ends) = DeskHandle::new();
        ends.picture.send_replace(Arc::new(setup.incidents));
        let clock: Arc<dyn Clock> = Arc::new(Stopped);
        let scanner =
            Scanner::new(setup.store, shown.clone(), recogniser.clone(), Arc::clone(&clock));
        let api = Api {
            handle: Handle { commands, snapshots: shown },
            desk,
            recogniser,
            scanner: Arc::new(scanner),
            reload,
            audit: Audit { alarms, acknowledge },
            metrics: Metrics::new("0.0.0", picture::NOW),
            login: watch::channel(setup.login).1,
            clock,
        };
        let stop = CancellationToken::new();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(door, router(api), setup.limits, stop.clone()));
        tasks.spawn(answer(asked_now, reload_now, acknowledged, setup.answers, Arc::clone(&asked)));
        tasks.spawn(answer_desk(ends, setup.verdicts, Arc::clone(&asked)));
        Fake { socket, stop, asked, snapshots, tasks, _dir: dir }
    }

    /// Shows another picture.
    pub(crate) fn show(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    /// Everything that reached the engine since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Stops listening, as the daemon does, and waits for the end of every task.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

async fn answer(
    mut commands: mpsc::Receiver<Envelope>,
    mut reloads: mpsc::Receiver<Reload>,
    mut acknowledged: mpsc::Receiver<Acknowledge>,
    answers: Answers,
    asked: Arc<Mutex<Vec<Asked>>>,
) {
    let remember = |actor, command, value| {
        asked.lock().unwrap().push(Asked { actor, command, value });
    };
    loop {
        tokio::select! {
            biased;
            Some(Envelope { actor, command, reply }) = commands.recv() => {
                remember(actor, format!("{command:?}"), value(&command));
                let _ = reply.send(answers(&command));
            }
            Some(Reload { actor, reply }) = reloads.recv() => {
                remember(actor, "Reload".into(), None);
                let text = "nothing changed".into();
                let _ = reply.send(Ok(Done { rotation: None, text }));
            }
            Some(Acknowledge { actor, reason, reply }) = acknowledged.recv() => {
                remember(actor, format!("Acknowledge {{ reason: {reason:?} }}"), None);
                let text = "1 break of the audit chain acknowledged".into();
                let _ = reply.send(Ok(Done { rotation: None, text }));
            }
            else => return,
        }
    }
}

/// A desk that does whatever people want, and judges findings as the test says.
async fn answer_desk(mut ends: DeskEnds, verdicts: Verdicts, asked: Arc<Mutex<Vec<Asked>>>) {
    loop {
        tokio::select! {
            biased;
            Some(Ask { actor, incident, wish, reason, reply }) = ends.asks.recv() => {
                let command = format!("{wish:?} {incident}: {reason}");
                asked.lock().unwrap().push(Asked { actor, command, value: None });
                let _ = reply.send(Ok(Done { rotation: None, text: "it is done".into() }));
            }
            Some(Report { alert, reply, .. }) = ends.reports.recv() => {
                let _ = reply.send(Ok(alert.findings.iter().map(&verdicts).collect()));
            }
            else => return,
        }
    }
}

fn value(command: &Command) -> Option<Vec<u8>> {
    let of = |material: &Material| material.value().map(|bytes| bytes.expose().to_vec());
    match command {
        Command::Adopt { material, .. } | Command::Provide { material, .. } => of(material),
        _ => None,
    }
}

/// A client of the socket.
pub(crate) fn client(socket: &Path) -> reqwest::Client {
    reqwest::Client::builder().unix_socket(socket).build().unwrap()
}
