//! What rotord's token must be allowed in Vault, path by path: read off the config.
//!
//! `docs/operating.md` tells how a policy is put in place; this says what has to be in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::config::Config;
use crate::intake::registry::{PollSpec, SourceSpec};
use crate::vault::KvPath;

/// The capabilities that each API path needs; paths as they stand in a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs(pub(super) BTreeMap<String, BTreeSet<&'static str>>);

/// A path at which the token may do less than is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) path: String,
    pub(super) missing: Vec<&'static str>,
}

/// What a document of our own needs that is written again and again.
const WRITTEN: [&str; 3] = ["create", "read", "update"];

impl Needs {
    /// Everything that this config makes rotord do.
    pub(super) fn of(config: &Config) -> Needs {
        let mut needs = Needs::default();
        needs.own(&config.vault.mount);
        for channel in config.channels.values() {
            channel.reads().for_each(|at| needs.read(at));
        }
        if let Some(alerts) = &config.alerts {
            let sources = alerts.sources.values().flat_map(SourceSpec::reads);
            sources.for_each(|at| needs.read(at));
            alerts.polls.values().flat_map(PollSpec::reads).for_each(|at| needs.read(at));
            if !alerts.polls.is_empty() {
                needs.add(format!("{}/data/poll/*", config.vault.mount), &WRITTEN);
            }
        }
        for secret in config.secrets.values() {
            secret.issuer.reads().for_each(|at| needs.read(at));
            for target in secret.targets.values() {
                target.spec.reads().for_each(|at| needs.read(at));
                target.spec.writes().for_each(|at| needs.write(at));
            }
        }
        for recipient in &config.notify {
            recipient.way.reads().for_each(|at| needs.read(at));
        }
        needs
    }

    /// rotord's own mount, and its own token.
    fn own(&mut self, mount: &str) {
        for path in ["state/*", "incident/*", "lease", "audit-head/*"] {
            self.add(format!("{mount}/data/{path}"), &WRITTEN);
        }
        // Written once and never over: not even a stolen token can put another value there.
        for path in ["material/*", "fingerprint-key/*"] {
            self.add(format!("{mount}/data/{path}"), &["create", "read"]);
        }
        for path in ["state", "incident"] {
            self.add(format!("{mount}/metadata/{path}"), &["list"]);
        }
        self.add(format!("{mount}/metadata/material/*"), &["delete", "list"]);
        // An incident whose time is over; one that is open is never deleted.
        self.add(format!("{mount}/metadata/incident/*"), &["delete"]);
        // The policy `default` has these three; a token need not have that policy.
        self.add("auth/token/lookup-self".into(), &["read"]);
        self.add("auth/token/renew-self".into(), &["update"]);
        self.add("sys/capabilities-self".into(), &["update"]);
    }

    fn read(&mut self, at: &KvPath) {
        self.add(format!("{}/data/{}", at.mount, at.path), &["read"]);
    }

    /// A document of the users': written, and its history purged of revoked values.
    fn write(&mut self, at: &KvPath) {
        let KvPath { mount, path } = at;
        self.add(format!("{mount}/data/{path}"), &["create", "patch", "read"]);
        self.add(format!("{mount}/metadata/{path}"), &["read"]);
        self.add(format!("{mount}/destroy/{path}"), &["update"]);
    }

    fn add(&mut self, path: String, capabilities: &[&'static str]) {
        self.0.entry(path).or_default().extend(capabilities);
    }

    /// What Vault's answer falls short of.
    pub(super) fn lacking(&self, held: &BTreeMap<String, Vec<String>>) -> Vec<Lack> {
        let lack = |(path, needed): (&String, &BTreeSet<&'static str>)| {
            let held: &[String] = held.get(path).map_or(&[], Vec::as_slice);
            let all = held.iter().any(|capability| capability == "root");
            let missing = |needed: &&&str| !all && !held.iter().any(|held| held == **needed);
            let missing: Vec<_> = needed.iter().filter(missing).copied().collect();
            (!missing.is_empty()).then(|| Lack { path: path.clone(), missing })
        };
        self.0.iter().filter_map(lack).collect()
    }

    /// The policy that grants exactly this, in Vault's language.
    pub(super) fn policy(&self) -> String {
        let mut policy = String::new();
        for (path, capabilities) in &self.0 {
            let list: Vec<String> = capabilities.iter().map(|c| format!("\"{c}\"")).collect();
            let list = list.join(", ");
            writeln!(policy, "path \"{path}\" {{\n  capabilities = [{list}]\n}}")
                .expect("writing to a String does not fail");
        }
        policy
    }

    /// The part that concerns these paths.
    pub(super) fn only(&self, lacks: &[Lack]) -> Needs {
        let concerned = |path: &String| lacks.iter().any(|lack| lack.path == *path);
        let some = self.0.iter().filter(|(path, _)| concerned(path));
        Needs(some.map(|(path, needed)| (path.clone(), needed.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs() -> Needs {
        let mut needs = Needs::default();
        needs.write(&KvPath { mount: "kv".into(), path: "app/key".into() });
        needs.read(&KvPath { mount: "kv".into(), path: "app/key".into() });
        needs
    }

    fn held(path: &str, capabilities: &[&str]) -> BTreeMap<String, Vec<String>> {
        let capabilities = capabilities.iter().map(|c| (*c).to_owned()).collect();
        BTreeMap::from([(path.to_owned(), capabilities)])
    }

    #[test]
    fn what_is_not_held_is_lacking() {
        let mut all = held("kv/data/app/key", &["read", "create"]);
        all.extend(held("kv/metadata/app/key", &["root"]));
        all.extend(held("kv/destroy/app/key", &["deny"]));
        let lacking = needs().lacking(&all);
        let lack = |path: &str, missing| Lack { path: path.into(), missing };
        assert_eq!(
            lacking,
            [lack("kv/data/app/key", vec!["patch"]), lack("kv/destroy/app/key", vec!["update"])]
        );
        assert_eq!(needs().lacking(&BTreeMap::new()).len(), 3);
    }

    #[test]
    fn the_remedy_names_the_lacking_paths_with_all_they_need() {
        let lacking = needs().lacking(&held("kv/data/app/key", &["create", "patch", "read"]));
        assert_eq!(
            needs().only(&lacking).policy(),
            "path \"kv/destroy/app/key\" {\n  capabilities = [\"update\"]\n}\n\
             path \"kv/metadata/app/key\" {\n  capabilities = [\"read\"]\n}\n"
        );
    }
}
