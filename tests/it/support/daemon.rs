//! The real binary, in a directory of its own: started, asked over its socket, killed.
//!
//! Nothing here sleeps: a daemon says by itself that it is there (as systemd is told), and answers
//! a question for a newer picture when there is one.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use http::Method;
use rotord::api::wire::{Detail, Done, Status};
use rotord::model::time::Timestamp;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Longer than anything here takes on a machine that does ten other things; only a failure waits
/// for it.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A directory with a config, its credentials and its state.
pub(crate) struct Home {
    dir: TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A running `rotord run`. Killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    client: reqwest::Client,
    log: PathBuf,
}

impl Home {
    pub(crate) fn new() -> Home {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        Home { dir }
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that nobody else may read.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }

    /// A file's text; empty if there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs a command to its end.
    pub(crate) async fn rotord(&self, arguments: &[&str]) -> Ran {
        self.rotord_given(arguments, b"").await
    }

    /// Runs a command with something on standard input.
    pub(crate) async fn rotord_given(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not read may be gone already.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        let output = timeout(LONG, child.wait_with_output()).await.expect("it does not end");
        let output = output.unwrap();
        Ran {
            exit: output.status.code().expect("it ended by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts the daemon and waits until its socket is open.
    pub(crate) async fn start(&self) -> Daemon {
        let ready = self.path("ready.sock");
        let _ = fs::remove_file(&ready);
        let ear = UnixDatagram::bind(&ready).unwrap();
        let log = self.path("log");
        let lines = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = self.command(&["run"]);
        command.env("NOTIFY_SOCKET", &ready).stdin(Stdio::null()).stderr(lines);
        let mut child = command.spawn().unwrap();
        let client = reqwest::Client::builder()
            .unix_socket(self.path("rotord.sock"))
            .no_proxy()
            .tls_certs_only([]);
        let client = client.build().unwrap();
        let mut buffer = [0; 256];
        tokio::select! {
            heard = timeout(LONG, ear.recv(&mut buffer)) => {
                let length = heard.expect("it does not get ready").unwrap();
                assert!(buffer[..length].starts_with(b"READY=1"), "not what it says first");
            }
            ended = child.wait() => panic!("{:?}: {}", ended, self.read("log")),
        }
        Daemon { child, client, log }
    }

    /// A command that is not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rotord"));
        command.args(arguments).arg("--config").arg(self.path("rotord.toml"));
        command.current_dir(self.dir.path()).kill_on_drop(true);
        command
    }
}

impl Daemon {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it was not waited for")
    }

    /// Asks; a refusal is an answer too.
    pub(crate) async fn call(&self, method: Method, path: &str) -> (u16, String) {
        let url = format!("http://rotord{path}");
        let sent = timeout(LONG, self.client.request(method, url).send()).await;
        let answer = sent.expect("an answer in time");
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error:?}\n{}", self.log()));
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Gives a command and takes nothing but success. Answers the rotation it is about.
    pub(crate) async fn order(&self, path: &str) -> String {
        let (status, text) = self.call(Method::POST, path).await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str::<Done>(&text).unwrap().rotation.unwrap_or_default()
    }

    /// Waits until the picture of the daemon fits.
    pub(crate) async fn until(&self, what: &str, fits: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        let wait = async {
            loop {
                let status = self.newer(last.as_ref().map(|status: &Status| status.at)).await;
                if fits(&status) {
                    return status;
                }
                last = Some(status);
            }
        };
        let found = timeout(LONG, wait).await;
        found.unwrap_or_else(|_| panic!("never {what}: {last:#?}\n{}", self.log()))
    }

    /// Waits until the picture of one secret fits.
    pub(crate) async fn until_secret(
        &self,
        name: &str,
        what: &str,
        fits: impl Fn(&Detail) -> bool,
    ) -> Detail {
        let mut last = None;
        let mut seen = None;
        let path = format!("/v1/status/{name}");
        let wait = async {
            loop {
                seen = Some(self.newer(seen).await.at);
                // Not there yet while nothing was read.
                if let Some(detail) = self.get::<Detail>(&path).await {
                    if fits(&detail) {
                        return detail;
                    }
                    last = Some(detail);
                }
            }
        };
        let found = timeout(LONG, wait).await;
        found.unwrap_or_else(|_| panic!("{name} never {what}: {last:#?}\n{}", self.log()))
    }

    /// Waits until a secret's rotation of this id has ended well; any, if none is named.
    pub(crate) async fn until_done(&self, name: &str, rotation: Option<&str>) -> Detail {
        let what = format!("done with {}", rotation.unwrap_or("its rotation"));
        self.until_secret(name, &what, |detail| {
            let run = detail.secret.summary.rotation.as_ref();
            run.is_some_and(|run| {
                rotation.is_none_or(|id| run.id == id) && run.outcome.as_deref() == Some("done")
            })
        })
        .await
    }

    /// Rotates a secret and waits for the end.
    pub(crate) async fn rotate(&self, name: &str) -> Detail {
        let id = self.order(&format!("/v1/secrets/{name}/rotate?reason=test")).await;
        self.until_done(name, Some(&id)).await
    }

    /// Asks it to stop and waits for that.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        signal(self.id(), rustix::process::Signal::TERM);
        self.ended().await
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(LONG, self.child.wait()).await.expect("it does not end").unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    async fn newer(&self, than: Option<Timestamp>) -> Status {
        let path = match than {
            Some(moment) => format!("/v1/status?newer_than={moment}"),
            None => "/v1/status".to_owned(),
        };
        self.get(&path).await.expect("a status")
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        let (status, text) = self.call(Method::GET, path).await;
        match status {
            200 => Some(serde_json::from_str(&text).unwrap()),
            404 | 503 => None,
            _ => panic!("{path}: {status} {text}"),
        }
    }
}

/// Sends a signal to a process that was started here.
pub(crate) fn signal(process: u32, signal: rustix::process::Signal) {
    let id = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(id, signal).unwrap();
}
