//! What a rotation costs Vault: requests counted in the server's own audit log, and compared with
//! what docs/performance.md says.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::live::places::{self, Places};
use crate::support::daemon::Home;

/// The page that says what a rotation costs.
const PAGE: &str = include_str!("../../docs/performance.md");

/// What a request was for: a step of the rotation, or upkeep that goes on without one.
fn is_upkeep(path: &str, state: &str) -> bool {
    let upkeep = ["data/lease", "data/audit-head/"].map(|what| format!("{state}/{what}"));
    path.starts_with("auth/token/") || upkeep.iter().any(|start| path.starts_with(start))
}

/// A request as the page names it: the verb, and the path with the mounts called by their roles.
fn named(entry: &Value, places: &Places<'_>) -> Option<String> {
    let request = &entry["request"];
    let path = request["path"].as_str()?;
    let known = [(&places.state, "rotord"), (&places.apps, "apps")];
    let (rest, role) = known.iter().find_map(|(mount, role)| {
        path.strip_prefix(mount.as_str())?.strip_prefix('/').map(|rest| (rest, role))
    })?;
    Some(format!("{} {role}/{rest}", request["operation"].as_str()?))
}

#[tokio::test]
async fn a_webhook_secret_with_one_document() {
    let places = Places::new(places::shared().await).await;
    let home = Home::new();
    let config = format!(
        r#"
[secrets.hook]
kind = "webhook_hmac"
issuer = {{ type = "generated" }}
initial = "generate"
overlap = "3s"
unsafe_overlap = true

[secrets.hook.targets.document]
type = "vault_kv"
role = "both"
mount = "{}"
path = "hook"
propagation = "200ms"
retry_horizon = "1s"
retire_unattested = true
"#,
        places.apps
    );
    places.configure(&home, places.bao.address().as_str(), &config).await;
    let daemon = home.start().await;
    daemon.until_done("hook", None).await;
    let before = places.bao.audit_log().lines().count();
    daemon.rotate("hook").await;
    let log = places.bao.audit_log();

    let mut rotation = Vec::new();
    let mut upkeep: BTreeMap<String, u32> = BTreeMap::new();
    for line in log.lines().skip(before) {
        let entry: Value = serde_json::from_str(line).unwrap();
        if entry["type"] != "request" {
            continue;
        }
        let Some(request) = named(&entry, &places) else { continue };
        if is_upkeep(entry["request"]["path"].as_str().unwrap(), &places.state) {
            *upkeep.entry(request).or_default() += 1;
        } else {
            rotation.push(request);
        }
    }
    #[expect(clippy::print_stdout, reason = "the number is read from the test's output")]
    {
        println!("cost: hmac_vault_kv={} upkeep={}", rotation.len(), upkeep.values().sum::<u32>());
        rotation.iter().for_each(|request| println!("cost:   {request}"));
    }
    let documented = PAGE.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let number: usize = cells.next()?.parse().ok()?;
        Some((number, cells.next()?.trim_matches('`').to_owned()))
    });
    let (numbers, mut documented): (Vec<usize>, Vec<String>) = documented.unzip();
    assert!(numbers.into_iter().eq(1..=rotation.len()), "docs/performance.md has another number");
    // What is done at the same time is listed in an order of the page's own.
    documented.sort();
    rotation.sort();
    assert_eq!(rotation, documented, "docs/performance.md lists other requests");
}
