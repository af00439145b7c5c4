//! Every source there is, by what the config calls for: the only list of them.
//!
//! Decides which source a spec becomes. A spec is plain data, so that configs can be compared and
//! checked without making anything. Must not know where a spec was written down.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::driver::error::DriverError;
use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::intake::Source;
use crate::intake::aws_health::{self, AwsHealth};
use crate::intake::generic::{self, Generic};
use crate::intake::gitguardian::{self, GitGuardian};
use crate::intake::github::{self, GitHub};
use crate::intake::github_partner::{self, GitHubPartner};
use crate::intake::gitlab::{Hook, HookSettings, Revocation, RevocationSettings};
use crate::intake::listener::Named;
use crate::intake::poll::gitguardian::GitGuardianPoll;
use crate::intake::poll::github::GitHubPoll;
use crate::intake::poll::rounds;
use crate::intake::poll::{self, Poll};
use crate::intake::trufflehog::{self, TruffleHog};
use crate::intake::vault_radar::{self, VaultRadar};
use crate::model::clue::Form;
use crate::model::id::SourceName;
use crate::vault::KvPath;

/// A source that sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// Anybody, in our own format.
    Generic(generic::Settings),
    /// GitHub's webhook.
    GitHub(github::Settings),
    /// GitHub's partner programme, and whoever signs like it.
    GitHubPartner(Box<github_partner::Settings>),
    /// GitLab's token revocation API.
    GitLabRevocation(RevocationSettings),
    /// GitLab's webhook.
    GitLab(HookSettings),
    /// GitGuardian's webhook.
    GitGuardian(gitguardian::Settings),
    /// HCP Vault Radar's webhook.
    VaultRadar(vault_radar::Settings),
    /// AWS Health, over EventBridge.
    AwsHealth(aws_health::Settings),
    /// TruffleHog's verifier.
    TruffleHog(trufflehog::Settings),
}

/// A source that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollSpec {
    /// How.
    pub rounds: rounds::Settings,
    /// Whom.
    pub asked: AskedSpec,
}

/// Whom a poll asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskedSpec {
    /// GitHub's list of alerts.
    GitHub(poll::github::Settings),
    /// GitGuardian's list of incidents.
    GitGuardian(poll::gitguardian::Settings),
}

impl SourceSpec {
    /// The type as it stands in the config: also a label of metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            SourceSpec::Generic(_) => "generic",
            SourceSpec::GitHub(_) => "github",
            SourceSpec::GitHubPartner(_) => "github_partner",
            SourceSpec::GitLabRevocation(_) => "gitlab_revocation",
            SourceSpec::GitLab(_) => "gitlab",
            SourceSpec::GitGuardian(_) => "gitguardian",
            SourceSpec::VaultRadar(_) => "vault_radar",
            SourceSpec::AwsHealth(_) => "aws_health",
            SourceSpec::TruffleHog(_) => "trufflehog",
        }
    }

    /// The form in which it names values, if that one is too slow to be computed for nothing.
    pub fn slow_form(&self) -> Option<Form> {
        matches!(self, SourceSpec::GitGuardian(_)).then_some(Form::Hmsl)
    }

    /// The secrets that it needs.
    pub fn secrets(&self) -> Vec<&SecretRef> {
        let (keys, token) = match self {
            SourceSpec::Generic(settings) => (&settings.keys, None),
            SourceSpec::GitHub(settings) => (&settings.keys, Some(&settings.api.token)),
            SourceSpec::GitHubPartner(settings) => {
                return settings.token.iter().collect();
            }
            SourceSpec::GitLabRevocation(settings) => (&settings.tokens, None),
            SourceSpec::GitLab(settings) => (&settings.keys, None),
            SourceSpec::GitGuardian(settings) => (&settings.keys, None),
            SourceSpec::VaultRadar(settings) => (&settings.keys, None),
            SourceSpec::AwsHealth(settings) => (&settings.keys, None),
            SourceSpec::TruffleHog(settings) => (&settings.keys, None),
        };
        keys.iter().chain(token).collect()
    }

    /// The documents in Vault that it is read credentials from.
    pub fn reads(&self) -> impl Iterator<Item = &KvPath> + use<'_> {
        self.secrets().into_iter().filter_map(SecretRef::document)
    }

    fn make(&self, secrets: &Secrets) -> Result<Arc<dyn Source>, DriverError> {
        let secrets = secrets.clone();
        Ok(match self.clone() {
            SourceSpec::Generic(settings) => Arc::new(Generic::new(settings, secrets)),
            SourceSpec::GitHub(settings) => Arc::new(GitHub::new(settings, secrets)?),
            SourceSpec::GitHubPartner(settings) => {
                Arc::new(GitHubPartner::new(*settings, secrets)?)
            }
            SourceSpec::GitLabRevocation(settings) => Arc::new(Revocation::new(settings, secrets)),
            SourceSpec::GitLab(settings) => Arc::new(Hook::new(settings, secrets)),
            SourceSpec::GitGuardian(settings) => Arc::new(GitGuardian::new(settings, secrets)),
            SourceSpec::VaultRadar(settings) => Arc::new(VaultRadar::new(settings, secrets)),
            SourceSpec::AwsHealth(settings) => Arc::new(AwsHealth::new(settings, secrets)),
            SourceSpec::TruffleHog(settings) => Arc::new(TruffleHog::new(settings, secrets)),
        })
    }
}

impl PollSpec {
    /// The documents in Vault that it is read credentials from.
    pub fn reads(&self) -> impl Iterator<Item = &KvPath> {
        let token = match &self.asked {
            AskedSpec::GitHub(settings) => &settings.api.token,
            AskedSpec::GitGuardian(settings) => &settings.token,
        };
        token.document().into_iter()
    }

    /// Makes the poll.
    ///
    /// # Errors
    /// `misconfigured`, with what is wrong.
    pub fn make(&self, secrets: &Secrets) -> Result<Arc<dyn Poll>, DriverError> {
        match &self.asked {
            AskedSpec::GitHub(settings) => {
                Ok(Arc::new(GitHubPoll::new(settings.clone(), secrets.clone())?))
            }
            AskedSpec::GitGuardian(settings) => {
                Ok(Arc::new(GitGuardianPoll::new(settings.clone(), secrets.clone())?))
            }
        }
    }
}

/// The sources by name. A reload keeps those that stay the same, with what they have learned.
#[derive(Clone, Default)]
pub struct Sources(BTreeMap<SourceName, (SourceSpec, Arc<dyn Source>)>);

impl Sources {
    /// These sources, taking over from `self` what has not changed.
    ///
    /// # Errors
    /// What keeps each of them from being made.
    pub fn renewed(
        &self,
        specs: &BTreeMap<SourceName, SourceSpec>,
        secrets: &Secrets,
    ) -> Result<Sources, Vec<(SourceName, DriverError)>> {
        let mut faults = Vec::new();
        let mut made = BTreeMap::new();
        for (name, spec) in specs {
            let kept = self.0.get(name).filter(|(old, _)| old == spec);
            let source = kept.map_or_else(|| spec.make(secrets), |(_, kept)| Ok(Arc::clone(kept)));
            match source {
                Ok(source) => drop(made.insert(name.clone(), (spec.clone(), source))),
                Err(error) => faults.push((name.clone(), error)),
            }
        }
        if faults.is_empty() { Ok(Sources(made)) } else { Err(faults) }
    }

    /// The sources as the listener takes them.
    pub fn named(&self) -> Vec<Named> {
        let named = |(name, (spec, source)): (&SourceName, &(SourceSpec, Arc<dyn Source>))| Named {
            name: name.clone(),
            kind: spec.kind(),
            source: Arc::clone(source),
        };
        self.0.iter().map(named).collect()
    }
}
