//! The daemon's own tables: `[vault]`, `[daemon]`, `[limits]`.
//!
//! Decides their keys, defaults and bounds. Must not know secrets, issuers or targets.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use thiserror::Error;
use url::Url;

use crate::config::place;
use crate::config::reader::{Entry, Section, UsedThing};
use crate::model::id::{KeyName, SecretName};
use crate::model::time::Span;
use crate::plan::budget::Budget;
use crate::store::lease;
use crate::telemetry::logs::{self, Format};
use crate::vault::auth::Auth;
use crate::vault::settings::{self, Settings};

/// Where Vault is and how rotord logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultConfig {
    /// The server, or what stands before its nodes.
    pub address: Url,
    /// Lets plain HTTP leave this machine.
    pub allow_http: bool,
    /// Hosts that a standby may point to, as `host` or `host:port`; no other is ever followed.
    pub standby_hosts: Vec<String>,
    /// The namespace, if the server has them.
    pub namespace: Option<String>,
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// rotord's own KV v2 mount.
    pub mount: String,
    /// How to log in.
    pub auth: AuthConfig,
    /// How long a connection may take.
    pub connect_timeout: Span,
    /// How long one request may take.
    pub request_timeout: Span,
}

impl VaultConfig {
    /// The client's settings, with the authorities of `ca_file` once they are read.
    pub fn settings(&self, ca_pem: Option<Vec<u8>>) -> Settings {
        Settings {
            address: self.address.clone(),
            allow_http: self.allow_http,
            namespace: self.namespace.clone(),
            ca_pem,
            timeout: self.request_timeout,
            connect_timeout: self.connect_timeout,
            redirect_hosts: self.standby_hosts.clone(),
        }
    }
}

/// How rotord logs in to Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthConfig {
    /// A token that something else keeps fresh.
    Token(SecretPlace),
    /// An AppRole.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// The role, which is no secret.
        role_id: String,
        /// The secret id.
        secret_id: SecretPlace,
    },
}

/// Where a login secret is found. It cannot lie in Vault, which it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// A file.
    File(PathBuf),
    /// A systemd credential of the unit.
    Credential(String),
}

impl SecretPlace {
    /// The file it is: a credential is one in the unit's credentials directory.
    fn file(&self, credentials: Option<&Path>) -> Result<PathBuf, NoCredentials> {
        match (self, credentials) {
            (SecretPlace::File(path), _) => Ok(path.clone()),
            (SecretPlace::Credential(name), Some(directory)) => Ok(directory.join(name)),
            (SecretPlace::Credential(name), None) => Err(NoCredentials { name: name.clone() }),
        }
    }
}

/// A login that needs a credential of the unit, outside of any unit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "Vault's login is the credential {name}, but there is no credentials directory: start rotord \
     as a systemd unit with LoadCredential={name}:/path, or name a file in [vault] auth"
)]
pub struct NoCredentials {
    /// The credential.
    pub name: String,
}

impl AuthConfig {
    /// The login as Vault's client takes it. `credentials` is the unit's credentials directory.
    ///
    /// # Errors
    /// [`NoCredentials`] if a credential is wanted and there is no such directory.
    pub fn login(&self, credentials: Option<&Path>) -> Result<Auth, NoCredentials> {
        Ok(match self {
            AuthConfig::Token(place) => Auth::TokenFile(place.file(credentials)?),
            AuthConfig::AppRole { mount, role_id, secret_id } => Auth::AppRole {
                mount: mount.clone(),
                role_id: role_id.clone(),
                secret_id_file: secret_id.file(credentials)?,
            },
        })
    }
}

/// The process itself. A change of any of it needs a restart, `log_level` and `allow_removal`
/// apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonConfig {
    /// Where the instance id and its lock lie.
    pub state_directory: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// The group whose members may use the socket, besides root and rotord's own user.
    pub socket_group: Option<String>,
    /// The permissions of the socket.
    pub socket_mode: u32,
    /// How a log line looks.
    pub log_format: Format,
    /// The log filter.
    pub log_level: String,
    /// How long leadership lasts without renewal.
    pub lease_ttl: Span,
    /// The key that values are recognised with: another id means another key.
    pub fingerprint_key: KeyName,
    /// The secrets that a reload may take out of management.
    pub allow_removal: BTreeSet<SecretName>,
}

/// How much may happen at the same time. See the constants of this module for the reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Effects in flight in total; a quarter of them is kept free for emergencies.
    pub effects: u32,
    /// Secrets that are worked on at once; a quarter of them is kept free for emergencies.
    pub walks: u32,
    /// Effects in flight for one target.
    pub per_target: u32,
    /// Effects in flight at one issuer.
    pub per_issuer: u32,
    /// Rotations on the move: open, and not waiting in their overlap.
    pub rotations: u32,
    /// Of these, room that routine rotations leave free for emergencies.
    pub emergency_reserve: u32,
}

impl Default for Limits {
    /// 64 requests saturate a Raft log on two cores, and more only wait in it. One push at a time
    /// keeps a target's generations in order. Issuers throttle early; four is below what any of
    /// them counts. What rotations need is the planner's to know.
    fn default() -> Limits {
        let Budget { moving_max, emergency_reserve, .. } = Budget::default();
        Limits {
            effects: 64,
            walks: 64,
            per_target: 1,
            per_issuer: 4,
            rotations: moving_max,
            emergency_reserve,
        }
    }
}

/// How Vault can be logged in to; the remedy where nothing is said.
const AUTH_FORMS: &str = "`{ token_file = \"...\" }`, `{ token_credential = \"...\" }` or \
                          `{ approle = { ... } }`";

/// Past a minute an operator has long seen the failure that a time-out only then admits.
const TIMEOUT_MAX: Span = Span::from_secs(60);
/// Below a tenth of a second, a busy machine times out on healthy answers.
const TIMEOUT_MIN: Span = Span(100);

/// A shorter lease than this is lost at every hiccup of Vault.
const LEASE_TTL_MIN: Span = Span::from_secs(5);

/// Reads `[vault]`.
pub(super) fn vault(s: &Section<'_>) -> Option<VaultConfig> {
    let allow_http = s.get("allow_http").and_then(Entry::flag).unwrap_or(false);
    let address = s
        .require("address", "the URL of the server, such as \"https://vault.example:8200\"")
        .and_then(|e| place::url(e, allow_http));
    let hosts = s.get("standby_hosts").and_then(Entry::list).unwrap_or_default();
    let standby_hosts = hosts.into_iter().filter_map(place::host).collect();
    let namespace = s.get("namespace").and_then(Entry::text).map(str::to_owned);
    let ca_file = s.get("ca_file").and_then(place::ca_file);
    let mount = s.get("mount").map_or_else(|| Some("rotord".to_owned()), place::mount);
    let auth = s.require("auth", AUTH_FORMS).and_then(|e| e.section(auth)?);
    let timeout = |key, default| {
        s.get(key).map_or(Some(default), |e| e.span(TIMEOUT_MIN, TIMEOUT_MAX)).unwrap_or(default)
    };
    let connect_timeout = timeout("connect_timeout", settings::CONNECT_TIMEOUT_DEFAULT);
    let request_timeout = timeout("request_timeout", settings::TIMEOUT_DEFAULT);
    if connect_timeout >= request_timeout {
        s.problem(
            "connect_timeout",
            format!("a connection may take {connect_timeout}, a whole request {request_timeout}"),
            "make `connect_timeout` shorter than `request_timeout`",
        );
    }
    Some(VaultConfig {
        address: address?,
        allow_http,
        standby_hosts,
        namespace,
        ca_file,
        mount: mount?,
        auth: auth?,
        connect_timeout,
        request_timeout,
    })
}

fn auth(s: &Section<'_>) -> Option<AuthConfig> {
    let (way, chosen) = s.exactly_one(&["token_file", "token_credential", "approle"])?;
    match way {
        "token_file" => Some(AuthConfig::Token(SecretPlace::File(place::secret_file(chosen)?))),
        "token_credential" => {
            Some(AuthConfig::Token(SecretPlace::Credential(place::credential(chosen)?)))
        }
        _ => chosen.section(approle)?,
    }
}

fn approle(s: &Section<'_>) -> Option<AuthConfig> {
    let mount = s.get("mount").map_or_else(|| Some("approle".to_owned()), place::mount);
    let role_id = s.require("role_id", "the id of the role").and_then(Entry::text);
    let secret_id = s.exactly_one(&["secret_id_file", "secret_id_credential"]);
    let secret_id = secret_id.and_then(|(way, chosen)| match way {
        "secret_id_file" => place::secret_file(chosen).map(SecretPlace::File),
        _ => place::credential(chosen).map(SecretPlace::Credential),
    });
    Some(AuthConfig::AppRole { mount: mount?, role_id: role_id?.to_owned(), secret_id: secret_id? })
}

/// Reads `[daemon]`; every key has a default.
pub(super) fn daemon(s: &Section<'_>) -> DaemonConfig {
    let defaults = DaemonConfig::default();
    let mode = s.get("socket_mode").and_then(socket_mode);
    let level = s.get("log_level").and_then(|entry| {
        let level = entry.clone().text()?;
        let checked = logs::check_filter(level);
        checked.map_err(|e| entry.problem("this is no log filter", e.to_string())).ok()?;
        Some(level.to_owned())
    });
    let names = s.get("allow_removal").and_then(Entry::list).unwrap_or_default();
    DaemonConfig {
        state_directory: s
            .get("state_directory")
            .and_then(|e| e.path())
            .unwrap_or(defaults.state_directory),
        socket: s.get("socket").and_then(|e| e.path()).unwrap_or(defaults.socket),
        socket_group: s.get("socket_group").and_then(group),
        socket_mode: mode.unwrap_or(defaults.socket_mode),
        log_format: s
            .get("log_format")
            .and_then(|e| e.one_of(&[("text", Format::Text), ("json", Format::Json)]))
            .unwrap_or(defaults.log_format),
        log_level: level.unwrap_or(defaults.log_level),
        lease_ttl: s
            .get("lease_ttl")
            .and_then(|e| e.span(LEASE_TTL_MIN, lease::TTL_MAX))
            .unwrap_or(defaults.lease_ttl),
        fingerprint_key: s
            .get("fingerprint_key")
            .and_then(|e| e.parsed("write a short id such as \"2\""))
            .unwrap_or(defaults.fingerprint_key),
        allow_removal: names
            .into_iter()
            .filter_map(|e| e.parsed("write the name of a secret"))
            .collect(),
    }
}

impl Default for DaemonConfig {
    fn default() -> DaemonConfig {
        DaemonConfig {
            state_directory: "/var/lib/rotord".into(),
            socket: "/run/rotord/rotord.sock".into(),
            socket_group: None,
            socket_mode: 0o660,
            log_format: Format::Text,
            log_level: "info".to_owned(),
            lease_ttl: lease::TTL,
            fingerprint_key: KeyName::new("1").expect("a digit is a name"),
            allow_removal: BTreeSet::new(),
        }
    }
}

impl DaemonConfig {
    /// Whether a running daemon can take over the other settings without a restart.
    pub(super) fn reloads_to(&self, other: &DaemonConfig) -> bool {
        let DaemonConfig { log_level, allow_removal, .. } = other.clone();
        DaemonConfig { log_level, allow_removal, ..self.clone() } == *other
    }
}

fn group(entry: Entry<'_>) -> Option<String> {
    let name = entry.clone().text()?;
    entry.uses(UsedThing::Group(name.to_owned()));
    Some(name.to_owned())
}

fn socket_mode(entry: Entry<'_>) -> Option<u32> {
    let mode = u32::from_str_radix(entry.clone().text()?, 8).ok().filter(|mode| mode & !0o770 == 0);
    if mode.is_none() {
        entry.problem(
            "these are no permissions, or they let everybody rotate secrets",
            "write them in octal with nothing for others: \"0660\" or \"0600\"",
        );
    }
    mode
}

/// Reads `[limits]`; every key has a default.
pub(super) fn limits(s: &Section<'_>) -> Limits {
    let defaults = Limits::default();
    let number = |key, default: u32, most: u32| {
        let read = s.get(key).and_then(|e| e.number(1, u64::from(most)));
        read.and_then(|n| u32::try_from(n).ok()).unwrap_or(default)
    };
    // More in flight than this only queues in Vault's log, or exhausts descriptors.
    let limits = Limits {
        effects: number("effects", defaults.effects, 1024),
        walks: number("walks", defaults.walks, 1024),
        per_target: number("per_target", defaults.per_target, 64),
        per_issuer: number("per_issuer", defaults.per_issuer, 64),
        rotations: number("rotations", defaults.rotations, 10_000),
        emergency_reserve: number("emergency_reserve", defaults.emergency_reserve, 10_000),
    };
    if limits.emergency_reserve >= limits.rotations {
        s.problem(
            "emergency_reserve",
            format!(
                "a reserve of {} leaves nothing of {} rotations for routine work",
                limits.emergency_reserve, limits.rotations
            ),
            "make `emergency_reserve` smaller than `rotations`",
        );
    }
    limits
}
