//! Every driver there is, by what the config calls for: the only list of them.
//!
//! Decides which driver a spec becomes. A spec is plain data, so that configs can be compared and
//! checked without making anything. Must not know where a spec was written down.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest;
use serde_json::Value;
use url::Url;

use crate::driver::error::DriverError;
use crate::driver::issuer::Issuer;
use crate::driver::issuer::generated::{Generated, Generator};
use crate::driver::issuer::http::preset::{Preset, PresetError};
use crate::driver::issuer::http::{HttpIssuer, SecretSource, Settings};
use crate::driver::issuer::manual::Manual;
use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::driver::target::Target;
use crate::driver::target::channel::Channel;
use crate::driver::target::http::{self, Http, Reach};
use crate::driver::target::vault_kv::{self, VaultKv};
use crate::model::capability::Capabilities;
use crate::model::id::SecretName;
use crate::model::material::SecretBytes;
use crate::model::reason::Reason;
use crate::model::time::Span;
use crate::net::{self, Client, SetupError};
use crate::signing::key::SigningKey;
use crate::vault::{Kv, KvPath};

/// Bytes of a place's digest: enough that no two places of one config share one by chance.
const PLACE_LEN: usize = 8;

/// What mints the versions of a secret.
#[derive(Clone, Debug, PartialEq)]
pub enum IssuerSpec {
    /// rotord itself.
    Generated(Generator),
    /// A person.
    Manual {
        /// What the person is asked to do.
        instructions: String,
        /// How many keys can live at once; absent if there is no limit.
        capacity: Option<u32>,
    },
    /// A REST API that a preset describes.
    Http(Box<HttpIssuerSpec>),
}

/// A REST API that a preset describes.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpIssuerSpec {
    /// The preset.
    pub preset: Preset,
    /// What is filled into it.
    pub params: BTreeMap<String, Value>,
    /// The credentials that it names.
    pub auth: BTreeMap<String, SecretRef>,
    /// Whether every key of the principal is ours; the preset's word if absent.
    pub exclusive: Option<bool>,
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Lets plain HTTP leave this machine.
    pub allow_http: bool,
    /// Longest time of one request.
    pub timeout: Span,
}

/// What receives the versions of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetSpec {
    /// A document in a KV v2 mount that programs read.
    VaultKv(vault_kv::Settings),
    /// A service that takes signed pushes.
    Http(Box<HttpTargetSpec>),
    /// rotord itself, which signs pushes with the secret: the name of the channel.
    Channel(String),
}

/// A service that takes signed pushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTargetSpec {
    /// Where it is.
    pub reach: ReachSpec,
    /// What the service must call its environment.
    pub environment: String,
    /// The name of the channel that pushes are signed for.
    pub channel: String,
    /// The field of a version that proves it; without it the one that signs.
    pub proof_field: Option<String>,
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Lets plain HTTP leave this machine.
    pub allow_http: bool,
    /// Longest time of one push to one instance.
    pub timeout: Span,
}

/// Who answers for a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReachSpec {
    /// One address, which speaks for all instances.
    All(Url),
    /// Every instance by its name.
    Each(BTreeMap<String, Url>),
}

/// A channel: what pushes are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelSpec {
    /// The versions of a secret that rotord manages.
    Managed(SecretName),
    /// Keys that somebody else manages.
    Fetched {
        /// The key in use.
        key: SecretRef,
        /// The key before it, while receivers may still have only that one.
        previous_key: Option<SecretRef>,
    },
}

impl IssuerSpec {
    /// What an issuer of this spec declares about itself; `None` for a preset that does not pass
    /// [`HttpIssuerSpec::check`].
    pub fn capabilities(&self) -> Option<Capabilities> {
        match self {
            IssuerSpec::Generated(_) => Some(Capabilities::local()),
            IssuerSpec::Manual { capacity, .. } => Some(Manual::declares(*capacity)),
            IssuerSpec::Http(spec) => spec.check().ok(),
        }
    }
}

impl IssuerSpec {
    /// The documents in Vault that it is read credentials from.
    pub fn reads(&self) -> impl Iterator<Item = &KvPath> {
        let auth = match self {
            IssuerSpec::Http(spec) => Some(spec.auth.values()),
            IssuerSpec::Generated(_) | IssuerSpec::Manual { .. } => None,
        };
        auth.into_iter().flatten().filter_map(SecretRef::document)
    }
}

impl TargetSpec {
    /// The documents in Vault that it writes.
    pub fn writes(&self) -> impl Iterator<Item = &KvPath> {
        match self {
            TargetSpec::VaultKv(settings) => Some(&settings.at),
            TargetSpec::Http(_) | TargetSpec::Channel(_) => None,
        }
        .into_iter()
    }

    /// A digest of where it is and of whom it must be there: what was seen under one digest says
    /// nothing of what is under another. How it is spoken to is no part of it.
    pub fn place(&self) -> String {
        let parts: Vec<String> = match self {
            TargetSpec::VaultKv(settings) => {
                let fields = settings.fields.names().into_iter().cloned();
                let at = ["vault_kv".to_owned(), settings.at.to_string()];
                // Whoever must acknowledge now was not asked by what was seen before.
                let acks = settings.acks.iter().flat_map(|acks| {
                    let at = [acks.at.to_string()];
                    at.into_iter().chain(acks.instances.iter().cloned())
                });
                at.into_iter().chain(fields).chain(acks).collect()
            }
            TargetSpec::Http(spec) => {
                let at = ["http".to_owned(), spec.environment.clone()];
                at.into_iter().chain(spec.reach.addresses()).collect()
            }
            TargetSpec::Channel(name) => vec!["channel".to_owned(), name.clone()],
        };
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        hex::encode(&context.finish().as_ref()[..PLACE_LEN])
    }

    /// The documents in Vault that it only reads.
    pub fn reads(&self) -> impl Iterator<Item = &KvPath> {
        match self {
            TargetSpec::VaultKv(settings) => settings.acks.as_ref().map(|acks| &acks.at),
            TargetSpec::Http(_) | TargetSpec::Channel(_) => None,
        }
        .into_iter()
    }
}

impl ReachSpec {
    /// Who is asked where: names and addresses in turn.
    fn addresses(&self) -> Vec<String> {
        match self {
            ReachSpec::All(url) => vec![url.to_string()],
            ReachSpec::Each(urls) => {
                urls.iter().flat_map(|(name, url)| [name.clone(), url.to_string()]).collect()
            }
        }
    }
}

impl ChannelSpec {
    /// The documents in Vault that its keys are read from.
    pub fn reads(&self) -> impl Iterator<Item = &KvPath> {
        let (key, previous_key) = match self {
            ChannelSpec::Managed(_) => (None, None),
            ChannelSpec::Fetched { key, previous_key } => (Some(key), previous_key.as_ref()),
        };
        key.into_iter().chain(previous_key).filter_map(SecretRef::document)
    }
}

impl IssuerSpec {
    /// Whose limits it shares: issuers at the same address share one; any other has its own.
    pub fn lane(&self, secret: &SecretName) -> String {
        match self {
            IssuerSpec::Generated(_) | IssuerSpec::Manual { .. } => secret.to_string(),
            IssuerSpec::Http(spec) => {
                let address = spec.params.get("address").and_then(Value::as_str);
                address.map_or_else(|| secret.to_string(), str::to_owned)
            }
        }
    }
}

impl HttpIssuerSpec {
    /// Whether preset, parameters and credentials fit together, without reading or sending
    /// anything; answers what such an issuer declares.
    ///
    /// # Errors
    /// [`PresetError`] with everything that is wrong.
    pub fn check(&self) -> Result<Capabilities, PresetError> {
        let absent = |name: &String| (name.clone(), Arc::new(Absent) as Arc<dyn SecretSource>);
        let settings = self.settings(self.auth.keys().map(absent).collect());
        let issuer = HttpIssuer::new(&self.preset, settings, |base| self.client(base, None))?;
        Ok(issuer.capabilities().clone())
    }

    fn settings(&self, auth: BTreeMap<String, Arc<dyn SecretSource>>) -> Settings {
        Settings { params: self.params.clone(), auth, exclusive: self.exclusive }
    }

    fn client(&self, base: &Url, ca_pem: Option<Vec<u8>>) -> Result<Client, SetupError> {
        let settings = net::Settings {
            allow_http: self.allow_http,
            timeout: self.timeout,
            connect_timeout: connect_timeout(self.timeout),
            ca_pem,
            ..net::Settings::new(base.clone())
        };
        Client::new(&settings)
    }
}

/// What drivers are made with.
#[derive(Clone)]
pub struct Context {
    /// Vault, for documents.
    pub kv: Arc<dyn Kv>,
    /// Where drivers find the secrets that they need themselves.
    pub secrets: Secrets,
    /// What pushes are signed with.
    pub channels: Channels,
}

/// The channels by name. Targets share them, and a reload keeps those that stay the same, for the
/// keys of a managed one come by a push and are nowhere else in the process.
#[derive(Clone, Debug, Default)]
pub struct Channels(BTreeMap<String, (ChannelSpec, Arc<Channel>)>);

impl Channels {
    /// These channels, taking over from `self` what has not changed.
    ///
    /// # Errors
    /// `misconfigured` for a name that no secret could have.
    pub fn renewed(&self, specs: &BTreeMap<String, ChannelSpec>) -> Result<Channels, DriverError> {
        let renew = |(name, spec): (&String, &ChannelSpec)| {
            if let Some((_, kept)) = self.0.get(name).filter(|(old, _)| old == spec) {
                return Ok((name.clone(), (spec.clone(), Arc::clone(kept))));
            }
            let secret = match spec {
                ChannelSpec::Managed(secret) => secret.clone(),
                // Only named in errors: no secret of rotord's stands behind it.
                ChannelSpec::Fetched { .. } => SecretName::new(name.clone())
                    .map_err(|error| misconfigured(format!("channel {name:?}: {error}")))?,
            };
            Ok((name.clone(), (spec.clone(), Arc::new(Channel::new(secret)))))
        };
        specs.iter().map(renew).collect::<Result<_, _>>().map(Channels)
    }

    /// Fetches the keys that somebody else manages, at start and whenever they may have changed.
    ///
    /// # Errors
    /// What keeps a key from being fetched or used, the first of several. The channel keeps its old
    /// keys; all others have theirs renewed.
    pub async fn fetch(&self, secrets: &Secrets) -> Result<(), DriverError> {
        let mut fetched = Ok(());
        for (spec, channel) in self.0.values() {
            let ChannelSpec::Fetched { key, previous_key } = spec else { continue };
            match keys(secrets, [Some(key), previous_key.as_ref()]).await {
                Ok(keys) => channel.replace(keys),
                Err(error) => fetched = fetched.and(Err(error)),
            }
        }
        fetched
    }

    /// A channel by its name.
    ///
    /// # Errors
    /// `misconfigured` if there is none.
    pub fn get(&self, name: &str) -> Result<Arc<Channel>, DriverError> {
        let found = self.0.get(name).map(|(_, channel)| Arc::clone(channel));
        found.ok_or_else(|| misconfigured(format!("there is no channel {name:?}")))
    }
}

/// The keys that these references name.
async fn keys(
    secrets: &Secrets,
    references: [Option<&SecretRef>; 2],
) -> Result<Vec<SigningKey>, DriverError> {
    let mut keys = Vec::new();
    for reference in references.into_iter().flatten() {
        let bad = |bad| misconfigured(format!("{reference}: {bad}"));
        keys.push(SigningKey::new(&secrets.fetch(reference).await?).map_err(bad)?);
    }
    Ok(keys)
}

impl Context {
    /// Makes the issuer of a secret.
    ///
    /// # Errors
    /// `misconfigured`, with everything that is wrong.
    pub fn issuer(
        &self,
        secret: &SecretName,
        spec: &IssuerSpec,
    ) -> Result<Arc<dyn Issuer>, DriverError> {
        Ok(match spec {
            IssuerSpec::Generated(generator) => Arc::new(Generated::new(generator.clone())),
            IssuerSpec::Manual { instructions, capacity } => {
                Arc::new(Manual::new(secret.clone(), instructions.clone(), *capacity))
            }
            IssuerSpec::Http(spec) => Arc::new(self.http_issuer(spec)?),
        })
    }

    /// Makes a target.
    ///
    /// # Errors
    /// `misconfigured`, with what is wrong.
    pub fn target(&self, spec: &TargetSpec) -> Result<Arc<dyn Target>, DriverError> {
        Ok(match spec {
            TargetSpec::VaultKv(settings) => {
                Arc::new(VaultKv::new(Arc::clone(&self.kv), settings.clone())?)
            }
            TargetSpec::Http(spec) => Arc::new(self.http_target(spec)?),
            TargetSpec::Channel(name) => self.channels.get(name)?,
        })
    }

    fn http_target(&self, spec: &HttpTargetSpec) -> Result<Http, DriverError> {
        let ca_pem = spec.ca_file.as_deref().map(read_ca).transpose()?;
        let client = |url: &Url| {
            let settings = net::Settings {
                allow_http: spec.allow_http,
                timeout: spec.timeout,
                connect_timeout: connect_timeout(spec.timeout),
                ca_pem: ca_pem.clone(),
                ..http::client_settings(url.clone())
            };
            Client::new(&settings).map_err(|error| misconfigured(error.to_string()))
        };
        let reach = match &spec.reach {
            ReachSpec::All(url) => Reach::All(client(url)?),
            ReachSpec::Each(urls) => {
                let named = urls.iter().map(|(name, url)| Ok((name.clone(), client(url)?)));
                Reach::Each(named.collect::<Result<_, DriverError>>()?)
            }
        };
        let settings = http::Settings {
            environment: spec.environment.clone(),
            reach,
            proof_field: spec.proof_field.clone(),
        };
        Http::new(settings, self.channels.get(&spec.channel)?)
    }

    fn http_issuer(&self, spec: &HttpIssuerSpec) -> Result<HttpIssuer, DriverError> {
        let ca_pem = spec.ca_file.as_deref().map(read_ca).transpose()?;
        let bound = |(name, reference): (&String, &SecretRef)| {
            let secrets = self.secrets.clone();
            let bound = Bound { secrets, reference: reference.clone() };
            (name.clone(), Arc::new(bound) as Arc<dyn SecretSource>)
        };
        let settings = spec.settings(spec.auth.iter().map(bound).collect());
        HttpIssuer::new(&spec.preset, settings, |base| spec.client(base, ca_pem))
            .map_err(|error| misconfigured(error.to_string()))
    }
}

/// A connection gets the usual time, or half of what there is for all of it.
fn connect_timeout(timeout: Span) -> Span {
    net::CONNECT_TIMEOUT_DEFAULT.min(Span(timeout.0 / 2))
}

fn read_ca(path: &Path) -> Result<Vec<u8>, DriverError> {
    fs::read(path).map_err(|e| misconfigured(format!("{} cannot be read: {e}", path.display())))
}

fn misconfigured(text: String) -> DriverError {
    DriverError::refused(Reason::Misconfigured, text)
}

/// A credential as it is at the moment it is asked for.
struct Bound {
    secrets: Secrets,
    reference: SecretRef,
}

#[async_trait]
impl SecretSource for Bound {
    async fn read(&self) -> Result<Arc<SecretBytes>, DriverError> {
        self.secrets.fetch(&self.reference).await.map(Arc::new)
    }
}

/// A credential that only has a name, for an issuer that is checked and never used.
struct Absent;

#[async_trait]
impl SecretSource for Absent {
    async fn read(&self) -> Result<Arc<SecretBytes>, DriverError> {
        Err(misconfigured("an issuer made for a check was used".to_owned()))
    }
}
