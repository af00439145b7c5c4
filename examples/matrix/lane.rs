//! One secret with everything that lives on it: services, clients, two replicas of rotord, and a
//! proxy before each server that rotord speaks to.
//!
//! Decides how a rotation is ordered and followed to its end; must not know which fault it meets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rotord::api::wire::Detail;
use rustix::process::Signal;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::Fallible;
use crate::check::{Checker, Figures};
use crate::journal::EVERY;
use crate::processes::House;
use crate::proxy::{Held, Manner, Side, Then, Wire};
use crate::stage::{Common, REPLICAS, Replica, introduce, journal_of, staff};

/// The longest that a rotation takes here, restarts, outages and takeovers included; only a failure
/// waits for it.
const ENDS_WITHIN: Duration = Duration::from_secs(120);

/// How soon a command that was refused is given again.
const AGAIN: Duration = Duration::from_millis(100);

/// What is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A webhook secret: two services verify, one signs, and a document has it as well.
    Webhook,
    /// An API key: a service issues it, a client reads it from a document.
    Key,
}

impl Kind {
    /// The word for it, which is the secret's name as well.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Webhook => "webhook",
            Kind::Key => "key",
        }
    }
}

/// One secret and all that belongs to it.
pub(crate) struct Lane {
    pub(crate) kind: Kind,
    house: House,
    rotord: PathBuf,
    programs: Vec<&'static str>,
    servers: BTreeMap<&'static str, SocketAddr>,
    replicas: Vec<Replica>,
    /// Which replica leads, as far as this program has arranged it.
    leader: usize,
    checker: Checker,
    /// The version in use.
    version: u64,
    /// What a person was needed for.
    pub(crate) humans: Vec<String>,
}

impl Lane {
    /// Starts everything but the second replica, and waits until the first version is in use.
    pub(crate) async fn start(kind: Kind, number: usize, common: &Common<'_>) -> Fallible<Lane> {
        let mut house = House::open("rotord-matrix-")?;
        let (state, apps) = (format!("rotord-{number}"), format!("apps-{number}"));
        let (servers, programs) = staff(&mut house, kind, common, [&state, &apps]).await?;
        let journals = programs.iter().map(|program| house.path(&journal_of(program))).collect();
        let checker = Checker::new(journals, common.audit.to_owned(), &state);
        let mut replicas = Vec::new();
        for name in REPLICAS {
            replicas.push(Replica::new(&house, name, &servers).await?);
        }
        introduce(&house, kind, common, [&state, &apps], &replicas).await?;
        let mut lane = Lane {
            kind,
            house,
            rotord: common.rotord.to_owned(),
            programs,
            servers,
            replicas,
            leader: 0,
            checker,
            version: 0,
            humans: Vec::new(),
        };
        lane.start_replica(0).await?;
        lane.until_at(1).await?;
        lane.version = 1;
        Ok(lane)
    }

    /// Where its files are.
    fn dir(&self) -> PathBuf {
        self.house.path("")
    }

    /// A rotation that nothing happens to. Answers the requests that it took.
    pub(crate) async fn rotate(&mut self) -> Fallible<Vec<String>> {
        let wire = self.wire();
        drop(wire.arm(usize::MAX, Side::Before));
        let version = self.version + 1;
        self.order(version).await?;
        self.until_at(version).await?;
        self.version = version;
        Ok(wire.disarm())
    }

    /// A rotation whose `number`-th request is held. Meanwhile `fault` happens, and says what
    /// becomes of the request. False if the rotation ended before.
    pub(crate) async fn rotate_with(
        &mut self,
        number: usize,
        side: Side,
        fault: impl AsyncFnOnce(&mut Lane, &str) -> Fallible<Then>,
    ) -> Fallible<bool> {
        let version = self.version + 1;
        let wire = self.wire();
        let mut holding = wire.arm(number, side);
        let held = self.until_held(&mut holding, version).await?;
        let tripped = held.is_some();
        if let Some(held) = held {
            let then = fault(self, &held.what).await?;
            held.release(then);
            self.order(version).await?;
            self.until_at(version).await?;
        }
        wire.disarm();
        self.version = version;
        Ok(tripped)
    }

    /// Orders a rotation and waits until a request of it is held; none if it ends before.
    async fn until_held(
        &mut self,
        holding: &mut oneshot::Receiver<Held>,
        version: u64,
    ) -> Fallible<Option<Held>> {
        let rotating = async {
            self.order(version).await?;
            self.until_at(version).await
        };
        tokio::select! {
            biased;
            held = holding => Ok(Some(held?)),
            ended = rotating => ended.map(|()| None),
        }
    }

    /// Asks for a rotation until there is one, or its version is there already.
    async fn order(&mut self, version: u64) -> Fallible<()> {
        let secret = self.kind.name();
        let ordering = async {
            loop {
                let daemon = &self.replicas[self.leader].daemon;
                if let Some(detail) = daemon.detail(secret, None).await? {
                    let run = detail.secret.summary.rotation.as_ref();
                    let current = detail.secret.summary.current.as_ref();
                    let open = run.is_some_and(|run| run.phase != "closed");
                    let there = current.is_some_and(|current| current.version >= version);
                    // The picture of one that does not lead, or not yet, may be an old one.
                    let knows = detail.daemon.loaded && detail.daemon.leader;
                    if knows && (open || there || daemon.rotate(secret, "matrix").await?) {
                        return Ok(());
                    }
                }
                sleep(AGAIN).await;
            }
        };
        timeout(ENDS_WITHIN, ordering).await.map_err(|_| self.stuck("never begins", version))?
    }

    /// Waits until a version is in use and nothing is open.
    async fn until_at(&mut self, version: u64) -> Fallible<()> {
        let (secret, mut seen, mut resolved) = (self.kind.name(), None, false);
        let mut humans = Vec::new();
        let waiting = async {
            loop {
                let daemon = &self.replicas[self.leader].daemon;
                let Some(detail) = daemon.detail(secret, seen).await? else {
                    sleep(AGAIN).await;
                    continue;
                };
                seen = Some(detail.at);
                if is_done(&detail, version) {
                    return Ok(());
                }
                if let Some(why) = &detail.secret.summary.waiting.needs_human
                    && !resolved
                {
                    humans.push(why.code.clone());
                    resolved = daemon.resolve(secret, "retry").await?;
                }
            }
        };
        let waited = timeout(ENDS_WITHIN, waiting).await;
        self.humans.append(&mut humans);
        waited.map_err(|_| self.stuck("never gets to", version))?
    }

    fn stuck(&self, how: &str, version: u64) -> String {
        format!("{} {how} v{version}; its files: {}", self.kind.name(), self.dir().display())
    }

    /// What the checker has found since it was asked last; nothing is open now.
    pub(crate) async fn check(&mut self) -> Fallible<(Figures, Vec<String>)> {
        // Twice, so that what is counted now is written.
        sleep(2 * EVERY).await;
        Ok(self.checker.read()?)
    }

    /// Stops the clients first and the services then, and checks what they wrote at the end.
    pub(crate) async fn finish(&mut self) -> Fallible<(Figures, Vec<String>)> {
        for program in self.programs.clone().iter().rev() {
            let (status, _) = self.house.stop(program).await?;
            if !status.success() {
                return Err(format!("{program}: {status}").into());
            }
        }
        Ok(self.checker.read()?)
    }

    /// Ends everything; the files stay if they are wanted.
    pub(crate) async fn close(self, keep: bool) -> Fallible<Option<PathBuf>> {
        Ok(self.house.close(keep).await?)
    }

    /// `kill -9` of the rotord that leads, and a start.
    pub(crate) async fn crash(&mut self) -> Fallible<()> {
        self.house.kill(REPLICAS[self.leader]).await?;
        self.start_replica(self.leader).await
    }

    /// Starts the second replica.
    pub(crate) async fn stand_by(&mut self) -> Fallible<()> {
        self.start_replica(1).await
    }

    /// Stops the rotord that leads in the middle of what it does, longer than its lease lasts:
    /// until the other one has taken over and has finished the rotation. Then lets it go on.
    pub(crate) async fn pause(&mut self) -> Fallible<()> {
        let (paused, version) = (self.leader, self.version + 1);
        self.house.signal(REPLICAS[paused], Signal::STOP)?;
        self.leader = 1 - paused;
        self.order(version).await?;
        self.until_at(version).await?;
        self.house.signal(REPLICAS[paused], Signal::CONT)
    }

    /// Waits until the rotord that does not lead knows it.
    pub(crate) async fn until_stood_down(&self) -> Fallible<()> {
        let daemon = &self.replicas[1 - self.leader].daemon;
        let waiting = async {
            while daemon.leads(self.kind.name()).await? {
                sleep(AGAIN).await;
            }
            Ok(())
        };
        let waited = timeout(ENDS_WITHIN, waiting).await;
        waited.map_err(|_| self.stuck("has two leaders at", self.version))?
    }

    /// Has a server behave like this towards the rotord that leads, from now on.
    pub(crate) fn behave(&self, server: &str, manner: Manner) {
        self.replicas[self.leader].proxies[server].behave(manner);
    }

    /// Has a server be itself again, and rotord try again at once.
    pub(crate) async fn heal(&self, server: &str) -> Fallible<()> {
        self.behave(server, Manner::Straight(self.servers[server]));
        // Refused where nothing waits to be tried again.
        let _ = self.replicas[self.leader].daemon.resolve(self.kind.name(), "retry").await?;
        Ok(())
    }

    /// Where a program listens.
    pub(crate) fn server(&self, name: &str) -> SocketAddr {
        self.servers[name]
    }

    fn wire(&self) -> Wire {
        self.replicas[self.leader].wire.clone()
    }

    async fn start_replica(&mut self, replica: usize) -> Fallible<()> {
        let name = REPLICAS[replica];
        let config = self.house.path(name).join("rotord.toml");
        let arguments = ["run".into(), "--config".into(), config.into_os_string()];
        self.house.start(name, &self.rotord, arguments)?;
        self.replicas[replica].daemon.until_there().await
    }
}

fn is_done(detail: &Detail, version: u64) -> bool {
    let run = detail.secret.summary.rotation.as_ref();
    let current = detail.secret.summary.current.as_ref();
    run.is_some_and(|run| run.outcome.as_deref() == Some("done"))
        && current.is_some_and(|current| current.version == version)
}
