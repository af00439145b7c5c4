//! Configs as people write them: the example is complete, and what is wrong is said well.
//!
//! Each file in `tests/fixtures/config` is a config that is refused, and the file of the same name
//! in `tests/golden/config` is all that is said about it. `UPDATE_GOLDEN=1` writes the latter.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rotord::config::daemon::{AuthConfig, SecretPlace};
use rotord::config::diff::{Changes, diff};
use rotord::config::secret::Initial;
use rotord::config::{Config, keys, load, parse};
use rotord::driver::registry::{ChannelSpec, IssuerSpec, TargetSpec};
use rotord::model::id::{SecretName, TargetName};
use rotord::model::policy::{Kind, OnLeak};
use rotord::model::target::{Level, Role};
use rotord::model::time::Span;
use rotord::vault::auth::Auth;

fn root(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

fn example() -> String {
    fs::read_to_string(root("config/rotord.example.toml")).unwrap()
}

fn parsed(text: &str) -> Config {
    parse(text, "rotord.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn names(folder: &str) -> BTreeSet<String> {
    let files = fs::read_dir(root(folder)).unwrap().map(|file| file.unwrap().path());
    files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// A config with one secret that is right, for tests that change one thing.
const SMALL: &str = r#"
[vault]
address = "https://vault.example:8200"
auth = { token_file = "token" }

[secrets.pay]
kind = "webhook_hmac"
issuer = { type = "generated" }

[secrets.pay.targets.app]
type = "vault_kv"
role = "both"
mount = "kv"
path = "pay"
propagation = "5m"
retry_horizon = "1h"
ack_path = "pay-ack"
"#;

#[test]
fn what_is_wrong_is_said_all_at_once() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for name in names("tests/fixtures/config") {
        let text = fs::read_to_string(root(&format!("tests/fixtures/config/{name}.toml"))).unwrap();
        let errors = parse(&text, &format!("{name}.toml")).expect_err(&name);
        let said = format!("{errors}\n");
        assert!(!said.contains("CANARY"), "{name}: a value that may be secret was shown:\n{said}");
        let golden = root(&format!("tests/golden/config/{name}.txt"));
        if update {
            fs::write(&golden, &said).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != said {
            wrong.push(format!("{name} says:\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 takes it over", wrong.join("\n"));
    assert_eq!(names("tests/golden/config"), names("tests/fixtures/config"));
}

#[test]
fn the_example_names_every_key() {
    let text = example();
    let is_named = |key: &str| {
        text.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
                || line.contains(&format!(" {key} = "))
        })
    };
    let known = keys(&text);
    let missing: Vec<_> = known
        .iter()
        .filter(|(path, there)| !**there && !is_named(path.rsplit('.').next().unwrap()))
        .collect();
    assert!(missing.is_empty(), "not in the example: {missing:?}");
    assert!(known.len() > 100, "only {} keys were asked for", known.len());
}

#[test]
fn every_key_of_the_example_is_explained_where_it_comes_first() {
    let text = example();
    let mut explained = BTreeSet::new();
    let mut commented = false;
    for line in text.lines() {
        match line.split_once(" = ") {
            _ if line.starts_with('#') => commented = true,
            Some((key, _)) if commented => drop(explained.insert(key)),
            Some((key, _)) => assert!(explained.contains(key), "nothing explains: {line}"),
            None if line.is_empty() => commented = false,
            None => {}
        }
    }
}

/// README.md starts it step by step.
#[test]
fn the_minimal_config_has_nothing_wrong_with_it() {
    let config = parsed(&fs::read_to_string(root("config/minimal.toml")).unwrap());
    assert_eq!(config.warnings, []);
    assert_eq!(config.secrets.len(), 1);
}

#[test]
fn the_example_becomes_what_it_says() {
    let config = parsed(&example());
    assert_eq!(config.warnings, []);
    assert_eq!(config.vault.address.as_str(), "https://vault.example:8200/");
    let secret_id = SecretPlace::Credential("vault-secret-id".to_owned());
    assert!(
        matches!(&config.vault.auth, AuthConfig::AppRole { secret_id: s, .. } if *s == secret_id)
    );

    let told: Vec<&str> = config.notify.iter().map(|to| to.name.as_str()).collect();
    assert_eq!(told, ["ops-chat", "pager"]);
    let limits = config.incidents.limits;
    assert_eq!((limits.exposures, limits.floor), (500, Span::from_secs(600)));
    assert_eq!(config.incidents.keep, Span::from_secs(400 * 86_400));

    let hook = &config.secrets[&SecretName::new("billing-webhook").unwrap()];
    assert_eq!(
        (hook.kind, hook.initial, hook.priority),
        (Kind::WebhookHmac, Initial::Generate, 80)
    );
    assert_eq!(hook.policy.on_leak, OnLeak::Contain);
    assert_eq!(hook.policy.overlap, Span::from_secs(2 * 86_400));
    let cadence = &hook.cadence;
    assert_eq!(cadence.schedule.as_ref().unwrap().zone(), "America/New_York");
    assert_eq!((cadence.windows.len(), cadence.freezes.len()), (2, 1));
    let api = &hook.targets[&TargetName::new("api").unwrap()];
    assert_eq!((api.terms.role, api.terms.needs), (Role::Verifier, Level::Acknowledged));
    assert!(api.terms.keeps_history && !api.terms.unattested);
    let TargetSpec::VaultKv(settings) = &api.spec else { panic!("{:?}", api.spec) };
    assert_eq!(settings.fields.current, "webhook_secret");
    assert_eq!(settings.acks.as_ref().unwrap().at.to_string(), "kv/billing/webhook-ack");
    let sender = &hook.targets[&TargetName::new("sender").unwrap()];
    assert_eq!(sender.retry_horizon, Span::from_secs(28 * 3600));
    assert_eq!(sender.terms.observe_every, Some(Span::from_secs(60)));

    let crm = &config.secrets[&SecretName::new("crm-api").unwrap()];
    assert_eq!((crm.initial, crm.policy.overlap), (Initial::Adopt, Span::from_secs(86_400)));
    assert!(matches!(&crm.issuer, IssuerSpec::Http(spec) if spec.exclusive == Some(true)));
    let worker = &crm.targets[&TargetName::new("worker").unwrap()];
    assert!(worker.terms.unattested);
    assert_eq!(worker.terms.needs, Level::Stored);

    let push_key = SecretName::new("push-key").unwrap();
    assert_eq!(config.channels["edge"], ChannelSpec::Managed(push_key));
}

#[test]
fn defaults_reach_every_secret_that_says_nothing_else() {
    let text = format!("[defaults]\noverlap = \"3h\"\nprobes = 7\n{SMALL}");
    let config = parsed(&text);
    let hook = config.secrets.values().next().unwrap();
    assert_eq!((hook.policy.overlap, hook.policy.probes), (Span::from_secs(3 * 3600), 7));
}

#[test]
fn the_overlap_covers_retries_and_clocks_to_the_second() {
    let with = |overlap: &str| {
        let head = "issuer = { type = \"generated\" }";
        parse(&SMALL.replace(head, &format!("{head}\noverlap = {overlap:?}")), "rotord.toml")
    };
    with("1h 10m").unwrap();
    let errors = with("1h 9m 59s").unwrap_err();
    assert_eq!(errors.problems.len(), 1, "{errors}");
    assert!(errors.problems[0].remedy.contains("1h 10m"), "{errors}");
}

#[test]
fn unsafe_overlap_warns_instead_of_refusing() {
    let head = "issuer = { type = \"generated\" }";
    let lenient = format!("{head}\noverlap = \"10s\"\nschedule = \"*/5 * * * * *\"");
    let refused = SMALL.replace(head, &lenient);
    assert_eq!(parse(&refused, "rotord.toml").unwrap_err().problems.len(), 2);
    let config = parsed(&SMALL.replace(head, &format!("{lenient}\nunsafe_overlap = true")));
    let keys: Vec<_> = config.warnings.iter().map(|w| w.at.key.as_str()).collect();
    assert_eq!(keys, ["secrets.pay.overlap", "secrets.pay.schedule"]);
    assert!(config.warnings.iter().all(|w| w.remedy.contains("never in production")));
}

#[test]
fn a_cutover_passes_only_by_name() {
    let text = fs::read_to_string(root("tests/fixtures/config/cutover.toml")).unwrap();
    let cuts = text.replace("issuer = \"cuts\"", "issuer = \"cuts\"\nallow_cutover = true");
    let errors = parse(&cuts, "rotord.toml").unwrap_err();
    let about_key = errors.problems.iter().filter(|p| p.at.key.starts_with("secrets.key"));
    assert_eq!(about_key.count(), 0, "{errors}");
}

fn written(folder: &Path, mode: u32, token: &str) -> PathBuf {
    let path = folder.join("rotord.toml");
    fs::write(&path, SMALL.replace("token_file = \"token\"", token)).unwrap();
    fs::write(folder.join("token"), "hvs.x").unwrap();
    fs::set_permissions(folder.join("token"), fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn files_are_looked_for_beside_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), 0o640, "token_file = \"token\"");
    let config = load(&path, None).unwrap();
    let place = SecretPlace::File(folder.path().join("token"));
    assert_eq!(config.vault.auth, AuthConfig::Token(place));

    for (mode, token, said) in [
        (0o644, "token_file = \"token\"", "everybody on this machine may use it"),
        (0o600, "token_file = \"tokens\"", "cannot be looked at"),
        (0o600, "token_file = \".\"", "is no file"),
    ] {
        let path = written(folder.path(), mode, token);
        let errors = load(&path, None).unwrap_err();
        assert_eq!(errors.problems.len(), 1, "{errors}");
        assert!(errors.problems[0].what.contains(said), "{errors}");
        assert_eq!(
            (errors.problems[0].at.line, errors.problems[0].at.key.as_str()),
            (4, "vault.auth.token_file")
        );
    }
}

#[test]
fn credentials_are_looked_for_where_there_are_any() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), 0o600, "token_credential = \"vault-token\"");
    load(&path, None).unwrap();
    let errors = load(&path, Some(folder.path())).unwrap_err();
    assert!(errors.to_string().contains("LoadCredential=NAME:"), "{errors}");
    fs::write(folder.path().join("vault-token"), "x").unwrap();
    load(&path, Some(folder.path())).unwrap();
}

#[test]
fn a_login_is_a_file_wherever_it_comes_from() {
    let auth = parsed(&example()).vault.auth;
    let login = auth.login(Some(Path::new("/run/credentials/rotord.service"))).unwrap();
    let Auth::AppRole { secret_id_file, .. } = login else { panic!("{login:?}") };
    assert_eq!(secret_id_file, Path::new("/run/credentials/rotord.service/vault-secret-id"));
    let error = auth.login(None).unwrap_err().to_string();
    assert!(error.contains("LoadCredential=vault-secret-id:"), "{error}");
    let login = parsed(SMALL).vault.auth.login(None).unwrap();
    assert!(matches!(login, Auth::TokenFile(path) if path == Path::new("token")));
}

#[test]
fn the_client_is_set_as_the_config_says() {
    let vault = parsed(&example()).vault;
    let settings = vault.settings(Some(b"pem".to_vec()));
    assert_eq!(settings.redirect_hosts, ["vault-2.example", "vault-3.example:8200"]);
    assert_eq!(settings.namespace.as_deref(), Some("payments"));
    assert_eq!((settings.timeout, settings.ca_pem), (vault.request_timeout, Some(b"pem".to_vec())));
}

#[test]
fn missing_files_are_reported_with_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), 0o600, "token_file = \"nowhere\", x = 1");
    let errors = load(&path, None).unwrap_err();
    assert_eq!(errors.problems.len(), 2, "{errors}");
}

#[test]
fn a_config_that_cannot_be_read_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| load(&folder.path().join(name), None).unwrap_err().to_string();
    assert!(at("none.toml").contains("cannot be read"), "{}", at("none.toml"));
    fs::write(folder.path().join("binary.toml"), [0xff, 0xfe]).unwrap();
    assert!(at("binary.toml").contains("UTF-8"), "{}", at("binary.toml"));
    assert!(at("").contains("no file"), "{}", at(""));
}

#[test]
fn the_same_config_changes_nothing() {
    let config = parsed(&example());
    assert_eq!(diff(&config, &config.clone()).unwrap(), Changes::default());
}

#[test]
fn a_reload_names_what_it_changes() {
    let old = parsed(SMALL);
    let new = format!(
        "{}\n[daemon]\nlog_level = \"debug\"\n[limits]\neffects = 8\n{}",
        SMALL.replace("path = \"pay\"", "path = \"pay2\""),
        SMALL[SMALL.find("[secrets").unwrap()..].replace("pay", "other"),
    );
    let changes = diff(&old, &parsed(&new)).unwrap();
    let one = |name| BTreeSet::from([SecretName::new(name).unwrap()]);
    assert_eq!((changes.added, changes.changed), (one("other"), one("pay")));
    assert_eq!((changes.removed, changes.restart), (BTreeSet::new(), BTreeSet::from(["limits"])));
    let lease = format!("{SMALL}\n[daemon]\nlease_ttl = \"20s\"\n");
    assert_eq!(diff(&old, &parsed(&lease)).unwrap().restart, BTreeSet::from(["daemon"]));
}

#[test]
fn a_reload_takes_no_secret_away_unless_it_is_named() {
    let old = parsed(SMALL);
    let without = SMALL[..SMALL.find("[secrets").unwrap()].to_owned();
    let refused = diff(&old, &parsed(&without)).unwrap_err().to_string();
    assert!(refused.contains("pay") && refused.contains("allow_removal"), "{refused}");
    let allowed = format!("{without}\n[daemon]\nallow_removal = [\"pay\"]\n");
    let changes = diff(&old, &parsed(&allowed)).unwrap();
    assert_eq!(changes.removed, BTreeSet::from([SecretName::new("pay").unwrap()]));
    assert_eq!(changes.restart, BTreeSet::new());
}

#[test]
fn ten_thousand_secrets_are_read() {
    let secret = &SMALL[SMALL.find("[secrets").unwrap()..];
    let mut text = SMALL[..SMALL.find("[secrets").unwrap()].to_owned();
    let secret = secret.replace("issuer =", "schedule = \"0 3 * * *\"\noverlap = \"2h\"\nissuer =");
    for n in 0..10_000 {
        text.push_str(&secret.replace("pay", &format!("pay-{n}")));
    }
    assert_eq!(parsed(&text).secrets.len(), 10_000);
}

#[test]
fn whoever_cannot_be_told_is_refused_with_a_reason() {
    let base = fs::read_to_string(root("config/minimal.toml")).unwrap();
    let webhook = "name = \"a\"\ntype = \"webhook\"\n";
    let command = "name = \"a\"\ntype = \"command\"\n";
    for (table, says) in [
        ("type = \"webhook\"\nurl = \"https://h.example/\"".to_owned(), "name"),
        ("name = \"a\"\ntype = \"pigeon\"".to_owned(), "unknown word"),
        (webhook.to_owned(), "url"),
        (format!("{webhook}url = \"http://h.example/\""), "in the clear"),
        (format!("{webhook}url_secret = \"https://h.example/x\""), "cannot stand in the"),
        (format!("{command}argv = [\"page\"]"), "no program"),
        (format!("{command}argv = []"), "no program"),
        (format!("{command}argv = [\"/bin/x\"]\nshell = true"), "shell"),
    ] {
        let text = format!("{base}\n[[notify]]\n{table}\n");
        let errors = parse(&text, "rotord.toml").unwrap_err().to_string();
        assert!(errors.contains(says), "{table}: {errors}");
    }
}
