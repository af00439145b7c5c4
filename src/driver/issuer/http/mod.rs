//! Issuers with a REST API, described as data.
//!
//! Decides how a preset is carried out: which request each verb of an issuer becomes and what its
//! answer means. Knows no vendor; those are in `config/presets/`. The host is fixed when the
//! preset is loaded: no answer can send rotord, and its credential, anywhere else.
//!
//! ```text
//! preset (spec) -> compile, check -> HttpIssuer -> template -> net -> answer, pointer, page
//! ```
//!
//! Every answer is treated as secret: none is logged, and no part of one stands in an error. So a
//! preset need not list which fields are secret, and cannot forget one.

mod answer;
mod check;
mod compile;
mod exchange;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod list;
mod mint;
mod page;
mod parts;
mod pointer;
pub mod preset;
pub mod spec;
mod template;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use url::Url;

use crate::driver::error::DriverError;
use crate::driver::issuer::http::answer::{Nature, any, refusal, unexpected};
use crate::driver::issuer::http::compile::{Compiler, compile};
use crate::driver::issuer::http::parts::{Call, Compiled, End};
use crate::driver::issuer::http::preset::{Preset, PresetError, Problem};
use crate::driver::issuer::http::template::Filling;
use crate::driver::issuer::{Issuer, Listed, Minted, Probe, Tag};
use crate::model::capability::{Capabilities, OldDies};
use crate::model::id::KeyId;
use crate::model::material::{Material, SecretBytes};
use crate::model::reason::Reason;
use crate::model::time::Entropy;
use crate::net::{Client, SetupError};

/// Most pages of a list: with the usual hundred keys a page, more than any principal should have.
pub const PAGES_MAX: usize = 50;

/// Most keys of a list: at one detail request each, what fits into [`LIST_TIMEOUT`].
pub const KEYS_MAX: usize = 2_000;

/// Longest time for a whole list with its pages and details. Each request has its own, shorter
/// time-out from the client.
pub const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a credential of rotord at the issuer comes from. Asked before every request, so that a
/// credential that was rotated meanwhile is used at once.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// The credential as it is now.
    async fn read(&self) -> Result<Arc<SecretBytes>, DriverError>;
}

/// A credential that does not change while rotord runs.
pub struct Fixed(pub Arc<SecretBytes>);

#[async_trait]
impl SecretSource for Fixed {
    async fn read(&self) -> Result<Arc<SecretBytes>, DriverError> {
        Ok(Arc::clone(&self.0))
    }
}

/// What the config fills into a preset.
#[derive(Default)]
pub struct Settings {
    /// The preset's `[params]`.
    pub params: BTreeMap<String, Value>,
    /// The credentials that the preset names as `{{auth.NAME}}`.
    pub auth: BTreeMap<String, Arc<dyn SecretSource>>,
    /// Whether every key of the principal is ours; the preset's word if absent.
    pub exclusive: Option<bool>,
}

/// The issuer that a preset describes.
pub struct HttpIssuer {
    compiled: Compiled,
    auth: BTreeMap<String, Arc<dyn SecretSource>>,
    client: Client,
}

impl HttpIssuer {
    /// Checks the preset with its settings and makes the issuer. Sends nothing.
    ///
    /// `connect` makes the client for the preset's base address, with the time-outs and
    /// certificates of the installation.
    ///
    /// # Errors
    /// [`PresetError`] with everything that is wrong, each with table, key and remedy.
    pub fn new(
        preset: &Preset,
        settings: Settings,
        connect: impl FnOnce(&Url) -> Result<Client, SetupError>,
    ) -> Result<HttpIssuer, PresetError> {
        let mut problems = Vec::new();
        let spec = &preset.spec;
        let params = check::params(&spec.params, &settings.params, &mut problems);
        let auth_names = BTreeSet::new();
        let mut compiler = Compiler { params, auth_names, problems: &mut problems };
        let compiled = compile(spec, &mut compiler);
        let needed = compiler.auth_names;
        check_credentials(&needed, &settings.auth, &mut problems);
        let made = compiled.and_then(|mut compiled| {
            check::combination(spec, &compiled, &mut problems);
            let capabilities = &mut compiled.capabilities;
            capabilities.exclusive = settings.exclusive.unwrap_or(capabilities.exclusive);
            match connect(&compiled.base) {
                Ok(client) => Some((compiled, client)),
                Err(error) => {
                    problems.push(Problem { place: "base".to_owned(), what: error.to_string() });
                    None
                }
            }
        });
        match made {
            Some((compiled, client)) if problems.is_empty() => {
                Ok(HttpIssuer { compiled, auth: settings.auth, client })
            }
            _ => Err(PresetError {
                preset: spec.preset.clone(),
                origin: format!("{}, revision {}", preset.origin, spec.revision),
                problems,
            }),
        }
    }

    fn place(&self, call: &Call) -> String {
        format!("issuer preset {}, {}", self.compiled.name, call.table)
    }

    async fn end(&self, end: &End, key_id: &KeyId) -> Result<(), DriverError> {
        let filling = Filling { key_id: Some(key_id), ..Filling::default() };
        let answer = self.send(&end.call, filling).await?;
        let refused = any(&end.refuse, &answer);
        if !refused && (any(&end.gone, &answer) || any(&end.ok, &answer)) {
            return Ok(());
        }
        let place = self.place(&end.call);
        if refused { Err(refusal(&place)) } else { Err(unexpected(&answer, Nature::Deed, &place)) }
    }

    fn lacks(&self, table: &str) -> DriverError {
        DriverError::refused(
            Reason::Misconfigured,
            format!("issuer preset {} has no [{table}]", self.compiled.name),
        )
    }
}

#[async_trait]
impl Issuer for HttpIssuer {
    fn capabilities(&self) -> &Capabilities {
        &self.compiled.capabilities
    }

    fn make(&self, entropy: &dyn Entropy) -> Result<Material, DriverError> {
        let generator = self.compiled.generator.as_ref().ok_or_else(|| self.lacks("generate"))?;
        Ok(Material::single(generator.draw(entropy)))
    }

    async fn mint(&self, tag: &Tag, ours: Option<&Material>) -> Result<Minted, DriverError> {
        self.mint_with(&self.compiled.mint, None, (tag, ours)).await
    }

    async fn list(&self) -> Result<Vec<Listed>, DriverError> {
        let Some(list) = &self.compiled.list else { return Ok(Vec::new()) };
        let all = tokio::time::timeout(LIST_TIMEOUT, self.list_all(list)).await;
        all.unwrap_or_else(|_| {
            let place = self.place(&list.call);
            let text = format!("{place}: not done after {} seconds", LIST_TIMEOUT.as_secs());
            Err(DriverError::transient(Reason::TimedOut, text))
        })
    }

    async fn roll(&self, found: &KeyId, tag: &Tag) -> Result<Minted, DriverError> {
        let roll = self.compiled.roll.as_ref().ok_or_else(|| self.lacks("roll"))?;
        self.mint_with(roll, Some(found), (tag, None)).await
    }

    async fn probe(
        &self,
        key_id: Option<&KeyId>,
        material: &Material,
    ) -> Result<Probe, DriverError> {
        let verify = self.compiled.verify.as_ref().ok_or_else(|| self.lacks("verify"))?;
        let filling = Filling { key_id, key: Some(material), ..Filling::default() };
        let answer = self.send(&verify.call, filling).await?;
        if any(&verify.bad, &answer) {
            return Ok(Probe::Refused);
        }
        if any(&verify.ok, &answer) {
            return Ok(Probe::Works);
        }
        Err(unexpected(&answer, Nature::Question, &self.place(&verify.call)))
    }

    /// Where minting ends the old key and there is no `[revoke]`, it is ended already.
    async fn revoke(&self, key_id: &KeyId) -> Result<(), DriverError> {
        let Some(revoke) = &self.compiled.revoke else {
            return match self.compiled.capabilities.old_dies {
                OldDies::OnMint => Ok(()),
                OldDies::OnRevoke | OldDies::IssuerClock { .. } => Err(self.lacks("revoke")),
            };
        };
        if let Some(disable) = &self.compiled.disable {
            self.end(disable, key_id).await?;
        }
        self.end(revoke, key_id).await
    }

    async fn terminate(&self, key_id: &KeyId) -> Result<(), DriverError> {
        let terminate = self.compiled.terminate.as_ref().ok_or_else(|| self.lacks("terminate"))?;
        self.end(terminate, key_id).await
    }
}

fn check_credentials(
    needed: &BTreeSet<String>,
    given: &BTreeMap<String, Arc<dyn SecretSource>>,
    problems: &mut Vec<Problem>,
) {
    let mut problem = |name: &str, what: &str| {
        problems.push(Problem { place: format!("auth.{name}"), what: what.to_owned() });
    };
    for name in needed.iter().filter(|name| !given.contains_key(*name)) {
        problem(name, "is missing: say in the config where this credential is kept");
    }
    for name in given.keys().filter(|name| !needed.contains(*name)) {
        problem(name, "the preset uses no credential of this name: remove it or correct the name");
    }
}
