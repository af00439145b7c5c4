//! The set-up of a lane: which programs there are, what they are told, and rotord's config.
//!
//! Decides who depends on a secret and in which way; must not know what happens to it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::Fallible;
use crate::daemon::Daemon;
use crate::lane::Kind;
use crate::processes::House;
use crate::programs::{ACKNOWLEDGEMENT, DOCUMENT};
use crate::proxy::{Proxy, Wire};
use crate::server::Server;

/// The two processes of rotord that look after each secret; the second one is started for the
/// cells that need it.
pub(crate) const REPLICAS: [&str; 2] = ["rotord-one", "rotord-two"];

/// The name of every OpenBao among the servers of a lane.
const OPENBAO: &str = "openbao";

/// A receiver that belongs to another environment; nobody sends there.
pub(crate) const STRAY: &str = "stray";

/// What pushes are signed with, and what the issuer believes; both protect nothing.
const CHANNEL_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ADMIN_TOKEN: &str = "the-admin-of-a-throw-away-service";

/// What all lanes have in common.
pub(crate) struct Common<'a> {
    pub(crate) server: &'a Server,
    /// OpenBao's audit log.
    pub(crate) audit: &'a Path,
    pub(crate) rotord: &'a Path,
    /// Milliseconds between two rounds of a client.
    pub(crate) every: u64,
}

/// One of the two replicas.
pub(crate) struct Replica {
    pub(crate) wire: Wire,
    pub(crate) proxies: BTreeMap<&'static str, Proxy>,
    pub(crate) daemon: Daemon,
}

impl Replica {
    /// A replica with a folder and proxies of its own; not started yet.
    pub(crate) async fn new(
        house: &House,
        name: &str,
        servers: &BTreeMap<&'static str, SocketAddr>,
    ) -> Fallible<Replica> {
        let folder = house.path(name);
        fs::create_dir_all(folder.join("state"))?;
        let wire = Wire::default();
        let mut proxies = BTreeMap::new();
        for (server, address) in servers {
            proxies.insert(*server, Proxy::before(server, *address, wire.clone()).await?);
        }
        Ok(Replica { wire, proxies, daemon: Daemon::new(folder.join("rotord.sock"))? })
    }
}

/// The servers that rotord speaks to, and the programs that write journals, in the order in which
/// they are started.
type Staff = (BTreeMap<&'static str, SocketAddr>, Vec<&'static str>);

/// Where a program writes its journal.
pub(crate) fn journal_of(program: &str) -> String {
    format!("{program}.jsonl")
}

/// Starts the programs that depend on a secret of this kind. `mounts` are rotord's own and the one
/// that programs read.
pub(crate) async fn staff(
    house: &mut House,
    kind: Kind,
    common: &Common<'_>,
    mounts: [&str; 2],
) -> Fallible<Staff> {
    for mount in mounts {
        common.server.mount(mount).await?;
    }
    house.write("channel-key", CHANNEL_KEY)?;
    house.write("admin-token", ADMIN_TOKEN)?;
    let mut crew = Crew { house, servers: BTreeMap::new(), programs: Vec::new() };
    let every = common.every.to_string();
    match kind {
        Kind::Webhook => {
            let mut to = Vec::new();
            for (name, environment) in
                [("receiver-a", "live"), ("receiver-b", "live"), (STRAY, "staging")]
            {
                crew.hire(name, "receiver", &identity(name, environment)).await?;
                if name != STRAY {
                    to.extend(["--to".into(), format!("http://{}/webhook", crew.servers[name])]);
                }
            }
            let mut arguments = identity("sender", "live");
            arguments.extend(["--every".into(), every]);
            arguments.extend(to);
            crew.hire("sender", "sender", &arguments).await?;
        }
        Kind::Key => {
            let admin = ["--admin-token-file".to_owned(), "admin-token".to_owned()];
            crew.hire("keys", "keys", &admin).await?;
            let [_, apps] = mounts;
            let token = client_token(common.server, apps).await?;
            crew.house.write("client-token", &token)?;
            let service = format!("http://{}", crew.servers["keys"]);
            let arguments = [
                ["--service", &service],
                ["--vault", common.server.address()],
                ["--vault-token-file", "client-token"],
                ["--mount", apps],
                ["--every", &every],
            ];
            crew.work("consumer", "consumer", &arguments.concat())?;
        }
    }
    let Crew { mut servers, programs, .. } = crew;
    servers.insert(OPENBAO, common.server.address().trim_start_matches("http://").parse()?);
    Ok((servers, programs))
}

/// A token that may read what the consumer reads and write its acknowledgement.
async fn client_token(server: &Server, apps: &str) -> Fallible<String> {
    let name = format!("client-of-{apps}");
    let policy = format!(
        "path \"{apps}/data/{DOCUMENT}\" {{ capabilities = [\"read\"] }}\n\
         path \"{apps}/data/{ACKNOWLEDGEMENT}\" {{ capabilities = [\"create\", \"update\"] }}"
    );
    server.policy(&name, &policy).await?;
    server.token(&name, "4h").await
}

fn identity(name: &str, environment: &str) -> Vec<String> {
    // The stray one takes itself for the first receiver, as a copied set-up would.
    let target = if name == STRAY { "receiver-a" } else { name };
    let instance = format!("{name}-0");
    ["--target", target, "--environment", environment, "--instance", &instance, "--covers-all"]
        .into_iter()
        .chain(["--channel-key-file", "channel-key"])
        .map(str::to_owned)
        .collect()
}

struct Crew<'a> {
    house: &'a mut House,
    servers: BTreeMap<&'static str, SocketAddr>,
    programs: Vec<&'static str>,
}

impl Crew<'_> {
    /// Starts a program that serves, and notes where.
    async fn hire(
        &mut self,
        name: &'static str,
        program: &str,
        arguments: &[String],
    ) -> Fallible<()> {
        self.work(name, program, arguments)?;
        let address = self.house.address_of(name).await?;
        self.servers.insert(name, address.trim_start_matches("http://").parse()?);
        Ok(())
    }

    /// Starts a program.
    fn work<A: AsRef<str>>(
        &mut self,
        name: &'static str,
        program: &str,
        arguments: &[A],
    ) -> Fallible<()> {
        let journal = journal_of(name);
        let own = ["play", program, "--journal", &journal];
        let all = own.into_iter().chain(arguments.iter().map(AsRef::as_ref));
        self.house.start(name, &std::env::current_exe()?, all)?;
        self.programs.push(name);
        Ok(())
    }
}

/// Writes the configs of both replicas, and gets a token that may do what they need and no more.
pub(crate) async fn introduce(
    house: &House,
    kind: Kind,
    common: &Common<'_>,
    mounts: [&str; 2],
    replicas: &[Replica],
) -> Fallible<()> {
    house.write("token", "not made yet")?;
    for (name, replica) in REPLICAS.iter().zip(replicas) {
        let at = |server: &str| format!("http://{}", replica.proxies[server].address);
        house.write(&format!("{name}/rotord.toml"), &config(kind, mounts, &at))?;
    }
    let config = house.path(REPLICAS[0]).join("rotord.toml");
    let mut check = house.command(common.rotord, "rotord-check")?;
    let policy = check.args(["check", "--policy", "--config"]).arg(config).output().await?;
    if !policy.status.success() {
        let said = String::from_utf8_lossy(&policy.stderr);
        return Err(format!("rotord refuses its config: {said}").into());
    }
    let name = format!("rotord-of-{}", mounts[0]);
    common.server.policy(&name, &String::from_utf8(policy.stdout)?).await?;
    house.write("token", &common.server.token(&name, "4h").await?)?;
    Ok(())
}

/// rotord's config. Time-outs and overlaps are as short as it allows, so that there are many
/// rotations; the order of things is that of any other config.
fn config(kind: Kind, [state, apps]: [&str; 2], at: &dyn Fn(&str) -> String) -> String {
    let (secret, openbao) = (kind.name(), at(OPENBAO));
    let (kind_named, issuer, more) = match kind {
        Kind::Webhook => ("webhook_hmac", "{ type = \"generated\" }", webhook(apps, at)),
        Kind::Key => ("api_key", "\"keys\"", key(apps, at)),
    };
    format!(
        r#"
[vault]
address = "{openbao}"
auth = {{ token_file = "../token" }}
mount = "{state}"
connect_timeout = "1s"
request_timeout = "2s"

[daemon]
state_directory = "state"
socket = "rotord.sock"
lease_ttl = "5s"
log_level = "debug"

[channels.push]
key = {{ file = "../channel-key" }}

[secrets.{secret}]
kind = "{kind_named}"
issuer = {issuer}
initial = "generate"
overlap = "1s"
unsafe_overlap = true
probes = 2
{more}"#
    )
}

/// Two services that verify, one that signs, and a document.
fn webhook(apps: &str, at: &dyn Fn(&str) -> String) -> String {
    let service = |target: &str, role: &str, more: &str| {
        let address = at(target);
        format!(
            r#"
[secrets.webhook.targets.{target}]
type = "http"
role = "{role}"
url = "{address}/rotord"
environment = "live"
channel = "push"
needs = "proved"
timeout = "1s"
{more}
"#
        )
    };
    let document = format!(
        r#"
[secrets.webhook.targets.document]
type = "vault_kv"
role = "both"
mount = "{apps}"
path = "webhook"
propagation = "10ms"
retry_horizon = "0s"
retire_unattested = true
"#
    );
    let verifiers = ["receiver-a", "receiver-b"].map(|name| service(name, "verifier", ""));
    let signer = service("sender", "signer", "retry_horizon = \"0s\"");
    verifiers.concat() + &signer + &document
}

/// A key service, and a document that its client reads.
fn key(apps: &str, at: &dyn Fn(&str) -> String) -> String {
    let address = at("keys");
    format!(
        r#"
[secrets.key.targets.document]
type = "vault_kv"
role = "signer"
mount = "{apps}"
path = "{DOCUMENT}"
ack_path = "{ACKNOWLEDGEMENT}"
propagation = "500ms"
retry_horizon = "0s"

[issuers.keys]
type = "http"
preset = "rotord-demo-keys"
params = {{ address = "{address}" }}
auth = {{ token = {{ file = "../admin-token" }} }}
timeout = "1s"
"#
    )
}
