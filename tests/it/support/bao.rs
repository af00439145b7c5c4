//! A real OpenBao for tests: started on a free port of loopback, gone when the test is.
//!
//! A test that needs it fails without it; it never skips. The binary is `$ROTORD_BAO`, or the one
//! that `make tools` puts under `.tools/bao`. What the server does is read off its log.

use std::fs;
use std::io::{BufRead as _, BufReader, PipeReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use http::Method;
use rotord::model::material::SecretBytes;
use rotord::vault::client::Vault;
use rotord::vault::settings::Settings;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::support::clock::MachineClock;

const ROOT_TOKEN: &str = "root-of-this-test";

/// Where a server listens unless somebody wants it elsewhere.
const LOCALHOST: &str = "127.0.0.1";

/// Longest wait for a server to get ready: some ten times what a Raft node needs here.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Longest silence of the log after which the server is asked again all the same: not everything
/// that makes it ready is logged.
const SILENCE_MAX: Duration = Duration::from_millis(50);

/// Where a configured server keeps its data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// In memory: gone with the process.
    Memory,
    /// Raft on disk, one node: outlives the process.
    Raft,
}

/// How a server that is no dev server is set up. Its audit log is always on.
#[derive(Clone, Copy)]
pub(crate) struct Config {
    pub(crate) storage: Storage,
    pub(crate) tls: bool,
}

/// A running server, unsealed and with a root token.
pub(crate) struct Bao {
    address: Url,
    root_token: String,
    unseal_key: Option<String>,
    ca_pem: Option<Vec<u8>>,
    arguments: Vec<String>,
    dir: TempDir,
    process: Option<Child>,
    /// All that the server said so far; changes with every line.
    log: watch::Sender<String>,
}

impl Bao {
    /// The dev server that all tests of the process share. Use a mount of your own.
    pub(crate) async fn shared() -> &'static Bao {
        static SHARED: OnceCell<Bao> = OnceCell::const_new();
        SHARED.get_or_init(Bao::dev).await
    }

    /// A dev server of one's own: in memory, unsealed, plain HTTP.
    pub(crate) async fn dev() -> Bao {
        let port = free_port();
        let address = format!("http://127.0.0.1:{port}");
        let bao = Bao::new(&address, dev_arguments(port));
        bao.until_ready(&[200]).await;
        bao
    }

    /// A dev server behind TLS with a certificate that only [`Bao::settings`] trusts.
    pub(crate) async fn dev_tls() -> Bao {
        let port = free_port();
        let address = format!("https://127.0.0.1:{port}");
        let mut bao = Bao::unstarted(&address, dev_arguments(port));
        let dir = bao.dir.path().display().to_string();
        bao.arguments.extend(["-dev-tls".to_owned(), format!("-dev-tls-cert-dir={dir}")]);
        bao.spawn();
        bao.until_ready(&[200]).await;
        bao.ca_pem = Some(fs::read(bao.dir.path().join("vault-ca.pem")).expect("the server's CA"));
        bao
    }

    /// A server with a config file, initialised and unsealed with one key.
    pub(crate) async fn with_config(config: Config) -> Bao {
        let port = free_port();
        let scheme = if config.tls { "https" } else { "http" };
        let mut bao = Bao::unstarted(&format!("{scheme}://127.0.0.1:{port}"), Vec::new());
        if config.tls {
            bao.ca_pem = Some(certify(bao.dir.path()).await);
        }
        let dir = bao.dir.path();
        let node = Node { host: LOCALHOST, port, dir, audit: dir, join: "" };
        bao.configure(&config_file(config, &node));
        bao.spawn();
        bao.until_ready(&[501]).await;
        let shares = json!({"secret_shares": 1, "secret_threshold": 1});
        let keys = bao.ok(Method::POST, "sys/init", Some(shares)).await;
        bao.unseal_key = Some(text(&keys["keys"][0]));
        bao.root_token = text(&keys["root_token"]);
        bao.unseal().await;
        bao
    }

    /// A further node of a Raft cluster without TLS, unsealed and standing by.
    pub(crate) async fn standby(&self) -> Bao {
        self.standby_at(LOCALHOST).await
    }

    /// The same on another address of loopback.
    pub(crate) async fn standby_at(&self, host: &str) -> Bao {
        let port = free_port();
        let mut node = Bao::unstarted(&format!("http://{host}:{port}"), Vec::new());
        let leader = self.address.as_str().trim_end_matches('/');
        let join = format!(r#"retry_join {{ leader_api_addr = "{leader}" }}"#);
        let config = Config { storage: Storage::Raft, tls: false };
        // A node whose audit device differs from the cluster's serves no reads of its own.
        let (dir, audit) = (node.dir.path(), self.dir.path());
        let place = Node { host, port, dir, audit, join: &join };
        node.configure(&config_file(config, &place));
        node.spawn();
        node.unseal_key.clone_from(&self.unseal_key);
        node.root_token.clone_from(&self.root_token);
        // Until it has joined, it takes no keys.
        node.until_ready(&[503]).await;
        let key = json!({"key": node.unseal_key});
        node.poll("the join", async || {
            let answer = node.call(Method::POST, "sys/unseal", Some(key.clone())).await;
            answer.is_some_and(|(status, answer)| status == 200 && answer["sealed"] == false)
        })
        .await;
        node.until_ready(&[429]).await;
        node
    }

    /// Waits until so many nodes vote: until then the cluster does not outlive the one that leads.
    pub(crate) async fn until_voters(&self, expected: usize) {
        // A new node is to be there for ten seconds before it may vote.
        let settled = json!({ "server_stabilization_time": "1s" });
        self.ok(Method::POST, "sys/storage/raft/autopilot/configuration", Some(settled)).await;
        self.poll("the cluster", async || {
            let known = self.ok(Method::GET, "sys/storage/raft/configuration", None).await;
            let servers = known["data"]["config"]["servers"].as_array().expect("servers");
            servers.iter().filter(|server| server["voter"] == true).count() == expected
        })
        .await;
    }

    /// Kills the process at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            process.wait().expect("the server's watchdog");
        }
    }

    /// Starts a killed server again and unseals it.
    pub(crate) async fn start(&mut self) {
        self.spawn();
        self.until_ready(&[503]).await;
        self.unseal().await;
    }

    /// Seals the server.
    pub(crate) async fn seal(&self) {
        self.ok(Method::POST, "sys/seal", None).await;
        self.until_ready(&[503]).await;
    }

    /// Unseals a configured server and waits until it serves.
    pub(crate) async fn unseal(&self) {
        let key = self.unseal_key.as_deref().expect("a server with a config file");
        self.ok(Method::POST, "sys/unseal", Some(json!({"key": key}))).await;
        self.until_ready(&[200]).await;
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> &Url {
        &self.address
    }

    /// A certificate of the server's authority with its key, in one PEM.
    pub(crate) fn identity_pem(&self) -> Vec<u8> {
        let part = |name| fs::read(self.dir.path().join(name)).expect("a TLS server");
        [part("vault-cert.pem"), part("vault-key.pem")].concat()
    }

    /// The token that may do everything.
    pub(crate) fn root_token(&self) -> &str {
        &self.root_token
    }

    /// The audit log of a configured server, as far as it was written.
    pub(crate) fn audit_log(&self) -> String {
        fs::read_to_string(self.dir.path().join("audit.log")).expect("an audit log")
    }

    /// Settings of a client for this server.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::new(self.address.clone());
        settings.ca_pem = self.ca_pem.clone();
        settings
    }

    /// A client with the root token.
    pub(crate) fn vault(&self) -> Vault {
        self.vault_with(self.root_token(), &self.settings())
    }

    /// A client with this token and these settings.
    pub(crate) fn vault_with(&self, token: &str, settings: &Settings) -> Vault {
        let vault = Vault::new(settings, Arc::new(MachineClock::new())).expect("good settings");
        vault.set_token(SecretBytes::new(token.as_bytes().to_vec())).expect("a fit token");
        vault
    }

    /// A new KV v2 mount, ready to be written.
    pub(crate) async fn fresh_mount(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mount = format!("kv-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let kind = json!({"type": "kv", "options": {"version": "2"}});
        self.ok(Method::POST, &format!("sys/mounts/{mount}"), Some(kind)).await;
        let config = format!("{mount}/config");
        self.poll("the new mount", async || {
            self.call(Method::GET, &config, None).await.is_some_and(|(status, _)| status == 200)
        })
        .await;
        mount
    }

    /// Asks the API as root and takes nothing but success.
    pub(crate) async fn ok(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) =
            self.call(method.clone(), path, body).await.expect("an answer of the server");
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Asks the API as root; none if nobody answers.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Option<(u16, Value)> {
        let client = reqwest::Client::builder().no_proxy();
        let client = match &self.ca_pem {
            None if self.address.scheme() == "https" => {
                client.tls_danger_accept_invalid_certs(true)
            }
            None => client.tls_certs_only([]),
            Some(pem) => client
                .tls_certs_only(reqwest::Certificate::from_pem_bundle(pem).expect("a CA in PEM")),
        };
        let url = format!("{}v1/{path}", self.address);
        let mut call = client.build().expect("a client").request(method, url);
        if !self.root_token.is_empty() {
            call = call.header("x-vault-token", &self.root_token);
        }
        if let Some(body) = body {
            call = call.json(&body);
        }
        let answer = call.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or(Value::Null)))
    }

    fn configure(&mut self, text: &str) {
        let file = self.dir.path().join("config.hcl");
        fs::write(&file, text).expect("a config file");
        self.arguments = vec!["server".to_owned(), format!("-config={}", file.display())];
    }

    fn new(address: &str, arguments: Vec<String>) -> Bao {
        let mut bao = Bao::unstarted(address, arguments);
        bao.spawn();
        bao
    }

    fn unstarted(address: &str, arguments: Vec<String>) -> Bao {
        let dev = !arguments.is_empty();
        Bao {
            address: address.parse().expect("an address"),
            root_token: if dev { ROOT_TOKEN.to_owned() } else { String::new() },
            unseal_key: None,
            ca_pem: None,
            arguments,
            dir: TempDir::new().expect("a directory"),
            process: None,
            log: watch::Sender::default(),
        }
    }

    /// Starts the server under a shell that kills it as soon as our end of its pipe is closed:
    /// also when this process is killed and drops nothing.
    fn spawn(&mut self) {
        let (lines, log) = std::io::pipe().expect("a pipe");
        let process = Command::new("sh")
            .args(["-c", r#""$@" & read _; kill -9 $!; wait"#, "sh"])
            .arg(binary())
            .args(&self.arguments)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a pipe"))
            .stderr(log)
            .spawn()
            .expect("sh");
        self.process = Some(process);
        let log = self.log.clone();
        thread::spawn(move || listen(lines, &log));
    }

    async fn until_ready(&self, health: &[u16]) {
        self.poll("the server", async || {
            let answer = self.call(Method::GET, "sys/health", None).await;
            answer.is_some_and(|(status, _)| health.contains(&status))
        })
        .await;
    }

    /// Asks whenever the server has said something, until the answer is yes.
    async fn poll(&self, what: &str, ready: impl AsyncFn() -> bool) {
        let mut said = self.log.subscribe();
        let end = Instant::now() + READY_WITHIN;
        loop {
            said.mark_unchanged();
            if ready().await {
                return;
            }
            let now = Instant::now();
            assert!(now < end, "{what} did not get ready; its log:\n{}", *said.borrow());
            // Silence is an answer too.
            timeout_at(now + SILENCE_MAX, said.changed()).await.ok();
        }
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Takes down what the server says until it is gone.
fn listen(lines: PipeReader, log: &watch::Sender<String>) {
    for line in BufReader::new(lines).lines().map_while(Result::ok) {
        log.send_modify(|log| {
            log.push_str(&line);
            log.push('\n');
        });
    }
}

fn binary() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bao/bin/bao");
    let binary = std::env::var_os("ROTORD_BAO").map_or(installed, PathBuf::from);
    assert!(binary.exists(), "no OpenBao at {}: `make tools` installs it", binary.display());
    binary
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn dev_arguments(port: u16) -> Vec<String> {
    let root = format!("-dev-root-token-id={ROOT_TOKEN}");
    let listen = format!("-dev-listen-address=127.0.0.1:{port}");
    ["server", "-dev", "-dev-no-store-token", &root, &listen].map(str::to_owned).to_vec()
}

/// Puts a certificate and its key into the directory, made by a dev server that lives as long as
/// that takes. Answers the CA.
async fn certify(dir: &Path) -> Vec<u8> {
    let maker = Bao::dev_tls().await;
    for file in ["vault-cert.pem", "vault-key.pem"] {
        fs::copy(maker.dir.path().join(file), dir.join(file)).expect("a copy");
    }
    maker.ca_pem.clone().expect("a TLS server has a CA")
}

/// Where a server is, and what it writes where.
struct Node<'a> {
    host: &'a str,
    port: u16,
    dir: &'a Path,
    audit: &'a Path,
    join: &'a str,
}

fn config_file(config: Config, node: &Node<'_>) -> String {
    let Node { host, port, dir, audit, join } = node;
    let (dir, audit) = (dir.display(), audit.display());
    let storage = match config.storage {
        Storage::Memory => r#"storage "inmem" {}"#.to_owned(),
        Storage::Raft => {
            fs::create_dir(format!("{dir}/raft")).expect("a directory");
            // The multiplier makes elections take one second instead of five.
            format!(
                r#"
storage "raft" {{
    path = "{dir}/raft"
    node_id = "n{port}"
    performance_multiplier = "1"
    {join}
}}"#
            )
        }
    };
    let (scheme, tls) = match config.tls {
        false => ("http", "tls_disable = true".to_owned()),
        true => (
            "https",
            format!(
                r#"tls_cert_file = "{dir}/vault-cert.pem"
    tls_key_file = "{dir}/vault-key.pem""#
            ),
        ),
    };
    let cluster_port = free_port();
    format!(
        r#"
{storage}
listener "tcp" {{
    address = "{host}:{port}"
    cluster_address = "{host}:{cluster_port}"
    {tls}
}}
api_addr = "{scheme}://{host}:{port}"
cluster_addr = "https://{host}:{cluster_port}"
audit "file" "log" {{ options {{ file_path = "{audit}/audit.log" }} }}
"#
    )
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}
