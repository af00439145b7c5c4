//! What one measure runs on: an OpenBao on disk and a rotord, each a process of its own, with the
//! login, the policy and the defaults of a first installation.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use axum::body::Bytes;
use reqwest::Client;
use rotord::api::wire::{Status, Summary};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::fleet::CHANNEL_KEY;
use crate::processes::House;
use crate::server::{Audit, Server};
use crate::{Bench, Fallible};

/// The policy and the role that rotord logs in with.
const ROLE: &str = "rotord";

/// The mount of the documents that programs read.
pub(crate) const APPS: &str = "apps";

/// The folder of the documents that programs read.
pub(crate) const FOLDER: &str = "team";

/// Nothing here takes longer on a machine that works; only a failure waits for it.
const ANYTHING_WITHIN: Duration = Duration::from_secs(900);

/// Between two looks at what changes by itself.
const LOOK: Duration = Duration::from_millis(200);

/// OpenBao, rotord, and their directory.
pub(crate) struct Rig {
    pub(crate) house: House,
    pub(crate) server: Server,
    binary: PathBuf,
    socket: Client,
    /// The part of the config that is the same for all measures.
    head: String,
}

/// What a command left behind.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// rotord's own numbers, at one moment.
pub(crate) struct Numbers(String);

impl Rig {
    /// An OpenBao, and no rotord yet.
    pub(crate) async fn open(bench: &Bench) -> Fallible<Rig> {
        let house = House::open("rotord-bench-")?;
        let audit = house.path("audit.log");
        Rig::with(bench, house, Audit::Hashed(&audit)).await
    }

    /// The same with an audit log that holds requests in full, to be replayed.
    pub(crate) async fn open_recorded(bench: &Bench) -> Fallible<Rig> {
        let house = House::open("rotord-bench-")?;
        let audit = house.path("audit.log");
        Rig::with(bench, house, Audit::Raw(&audit)).await
    }

    async fn with(bench: &Bench, mut house: House, audit: Audit<'_>) -> Fallible<Rig> {
        let server = Server::on_disk(&mut house, bench.http.clone(), audit).await?;
        for mount in ["rotord", APPS] {
            server.mount(mount).await?;
        }
        let socket = Client::builder().unix_socket(house.path("rotord.sock")).no_proxy();
        let socket = socket.timeout(crate::ANSWERED_WITHIN).tls_certs_only([]).build()?;
        Ok(Rig { house, server, binary: bench.rotord.clone(), socket, head: String::new() })
    }

    /// Ends all of it. The logs of what failed stay.
    pub(crate) async fn close<T>(self, result: Fallible<T>) -> Fallible<T> {
        let kept = self.house.close(result.is_err()).await?;
        match (result, kept) {
            (Err(why), Some(kept)) => Err(format!("{why}; logs: {}", kept.display()).into()),
            (result, _) => result,
        }
    }

    /// Gives rotord a config with these tables and what it needs to log in, and starts it.
    pub(crate) async fn start(&mut self, tables: &str) -> Fallible<()> {
        self.house.write("channel-key", CHANNEL_KEY)?;
        let (role_id, secret_id) = self.server.role(ROLE).await?;
        self.house.write("secret-id", &secret_id)?;
        self.head = format!(
            r#"
[vault]
address = "{}"
auth = {{ approle = {{ role_id = "{role_id}", secret_id_file = "secret-id" }} }}

[daemon]
state_directory = "state"
socket = "rotord.sock"
"#,
            self.server.address(),
        );
        self.house.write("rotord.toml", &format!("{}{tables}", self.head))?;
        std::fs::create_dir(self.house.path("state"))?;
        let policy = self.command(&["check", "--policy"]).await?;
        if !policy.status.success() {
            return Err(format!("rotord check --policy: {}", policy.err).into());
        }
        self.server.policy(ROLE, &folded(&policy.out)).await?;
        self.server.put("rotord/data/lease", &settled_lease()).await?;
        self.start_again().await
    }

    /// Starts rotord with what is there, and waits until it may do everything.
    pub(crate) async fn start_again(&mut self) -> Fallible<()> {
        self.house.start("rotord", &self.binary, ["run", "--config", "rotord.toml"])?;
        self.until_loaded().await
    }

    /// Waits until rotord leads, has read every record, and may do everything.
    pub(crate) async fn until_loaded(&self) -> Fallible<()> {
        self.until("rotord works", async || {
            let Ok(status) = self.status().await else { return Ok(false) };
            let daemon = status.daemon;
            let waits = daemon.destructive_from.is_some_and(|from| from > status.now);
            Ok(daemon.loaded && daemon.leader && !waits)
        })
        .await
    }

    /// Has rotord take in other tables.
    pub(crate) async fn reload(&self, tables: &str) -> Fallible<()> {
        self.house.write("rotord.toml", &format!("{}{tables}", self.head))?;
        let ran = self.command(&["reload"]).await?;
        if ran.status.success() { Ok(()) } else { Err(ran.err.into()) }
    }

    /// Runs a command of rotord to its end.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Fallible<Ran> {
        let mut command = self.house.command(&self.binary, "rotord-commands")?;
        let done = command.args(arguments).args(["--config", "rotord.toml"]).output().await?;
        let [out, err] = [done.stdout, done.stderr].map(String::from_utf8);
        Ok(Ran { status: done.status, out: out?, err: err? })
    }

    /// What stands at a path of the API, as it came.
    pub(crate) async fn get(&self, path: &str) -> Fallible<Bytes> {
        let answer = self.socket.get(format!("http://rotord/v1/{path}")).send().await?;
        Ok(answer.error_for_status()?.bytes().await?)
    }

    /// The whole status.
    async fn status(&self) -> Fallible<Status> {
        Ok(serde_json::from_slice(&self.get("status").await?)?)
    }

    /// Rotations of a schedule that have closed since rotord was started.
    pub(crate) async fn closed(&self) -> Fallible<f64> {
        let closed = "rotord_rotations_closed_total";
        Ok(self.numbers().await?.sum(closed, "trigger=\"scheduled\""))
    }

    /// Waits until so many of them have closed.
    pub(crate) async fn until_closed(&self, rotations: f64) -> Fallible<()> {
        self.until("all are closed", async || Ok(self.closed().await? >= rotations)).await
    }

    /// How many requests OpenBao has had so far, as its audit log says.
    pub(crate) fn requests(&self) -> Fallible<f64> {
        let log = std::fs::read(self.house.path("audit.log"))?;
        Ok(memchr::memmem::find_iter(&log, br#""type":"request""#).count() as f64)
    }

    /// Secrets with an open rotation.
    pub(crate) async fn rotating(&self) -> Fallible<usize> {
        let open = |secret: &&Summary| {
            secret.rotation.as_ref().is_some_and(|rotation| rotation.outcome.is_none())
        };
        Ok(self.status().await?.secrets.iter().filter(open).count())
    }

    /// OpenBao's audit log.
    pub(crate) fn audit_lines(&self) -> Fallible<Vec<Value>> {
        let log = std::fs::read_to_string(self.house.path("audit.log"))?;
        Ok(log.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    /// rotord's own numbers.
    pub(crate) async fn numbers(&self) -> Fallible<Numbers> {
        let answer = self.socket.get("http://rotord/metrics").send().await?;
        Ok(Numbers(answer.error_for_status()?.text().await?))
    }

    /// Waits until so many secrets are in use and nothing is open.
    pub(crate) async fn until_at_rest(&self, secrets: usize) -> Fallible<()> {
        self.until("every secret is at rest", async || {
            let numbers = self.numbers().await?;
            let idle = numbers.sum("rotord_secrets", "standing=\"idle\"");
            Ok(idle == secrets as f64 && numbers.sum("rotord_rotations_open", "") == 0.0)
        })
        .await
    }

    /// Looks until it is so.
    pub(crate) async fn until<F>(&self, what: &str, is_so: impl Fn() -> F) -> Fallible<()>
    where
        F: Future<Output = Fallible<bool>>,
    {
        let wait = timeout(ANYTHING_WITHIN, async {
            while !is_so().await? {
                sleep(LOOK).await;
            }
            Fallible::Ok(())
        });
        wait.await.map_err(|_| format!("not within {ANYTHING_WITHIN:?}: {what}"))?
    }

    /// How often each record was written, in the order of the names given.
    pub(crate) async fn record_writes(&self, names: &[String]) -> Fallible<Vec<u64>> {
        let mut writes = Vec::new();
        for name in names {
            let found = self.server.read(&format!("rotord/metadata/state/{name}")).await?;
            let found = found.ok_or_else(|| format!("{name} has no record"))?;
            let version = found.pointer("/data/current_version").and_then(|v| v.as_u64());
            writes.push(version.ok_or("a record without versions")?);
        }
        Ok(writes)
    }
}

/// What a replica leaves behind that led for long and stopped in order: nothing of a former leader
/// is on its way, so nobody has to wait before the first destructive effect.
fn settled_lease() -> Value {
    json!({ "data": {
        "schema": 1, "holder": null, "epoch": 1, "taken_at": "2026-01-01T00:00:00.000Z",
        "ttl": "15s", "settled": true, "write_id": "0",
    } })
}

impl Numbers {
    /// The sum over all lines of a metric whose labels contain this text.
    pub(crate) fn sum(&self, metric: &str, labels: &str) -> f64 {
        let of_it = |line: &&str| {
            let rest = line.strip_prefix(metric);
            rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(labels)
        };
        let value = |line: &str| line.rsplit_once(' ')?.1.parse::<f64>().ok();
        self.0.lines().filter(of_it).filter_map(value).sum()
    }
}

/// The policy with one rule for all documents of the folder in place of one for each: 10,000
/// documents have 30,000 rules, which is more than one entry of Raft may hold.
fn folded(policy: &str) -> String {
    let mut seen = std::collections::BTreeSet::new();
    let rules = policy.split_inclusive("}\n").map(|rule| {
        let path = rule.split('"').nth(1).unwrap_or_default();
        let folder = format!("/{FOLDER}/");
        match path.split_once(&folder) {
            Some((before, _)) if path.starts_with(APPS) => {
                rule.replace(path, &format!("{before}{folder}*"))
            }
            _ => rule.to_owned(),
        }
    });
    rules.filter(|rule| seen.insert(rule.clone())).collect()
}
