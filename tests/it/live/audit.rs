//! The audit trail as an operator and an intruder meet it: written, verified, meddled with, and
//! what stands until a person has looked.

use std::fs;

use http::Method;
use rotord::api::wire::Status;
use serde_json::Value;

use crate::live::places::{self, Places};
use crate::support::daemon::{Home, Ran};

const SECRET: &str = r#"
lease_ttl = "5s"

[secrets.hello]
kind = "webhook_hmac"
issuer = { type = "generated" }
initial = "generate"
overlap = "1s"
clock_tolerance = "0s"

[secrets.hello.targets.app]
type = "vault_kv"
role = "both"
mount = "APPS"
path = "hello"
propagation = "10ms"
retry_horizon = "0s"
retire_unattested = true
"#;

struct Site {
    home: Home,
    places: Places<'static>,
}

impl Site {
    async fn new() -> Site {
        let bao = places::shared().await;
        let places = Places::new(bao).await;
        let home = Home::new();
        let config = SECRET.replace("APPS", &places.apps);
        places.configure(&home, bao.address().as_str(), &config).await;
        Site { home, places }
    }

    async fn verify(&self, more: &[&str]) -> Ran {
        self.home.rotord(&[&["audit", "verify"], more].concat()).await
    }

    fn lines(&self) -> Vec<String> {
        self.home.read("state/audit.jsonl").lines().map(str::to_owned).collect()
    }

    /// What lies at the anchor in Vault.
    async fn anchored(&self) -> Value {
        let id = self.home.read("state/instance-id");
        let path = format!("{}/data/audit-head/{}", self.places.state, id.trim());
        self.places.bao.ok(Method::GET, &path, None).await["data"]["data"].clone()
    }
}

fn has_alarm(status: &Status) -> bool {
    status.daemon.alarms.iter().any(|alarm| alarm.code == "audit_broken")
}

#[tokio::test]
async fn a_chain_is_written_verified_shortened_and_signed_off() {
    let site = Site::new().await;
    let mut daemon = site.home.start().await;
    daemon.until_done("hello", None).await;
    let shown = site.home.rotord(&["audit", "show", "--since", "1h"]).await;
    for part in ["lease: taken, epoch", "intent push app", "outcome push app: ok", "started"] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    let shown = site.home.rotord(&["audit", "show", "--secret", "hello"]).await;
    assert!(shown.out.contains("promoted") && !shown.out.contains("lease"), "{}", shown.out);
    let none = site.home.rotord(&["audit", "acknowledge", "--reason", "why not"]).await;
    assert_eq!(none.exit, 4, "{none:?}");
    assert_eq!(daemon.terminate().await.code(), Some(0));
    assert!(site.lines().last().unwrap().contains("given back"), "{:?}", site.lines());
    let whole = site.verify(&[]).await;
    assert_eq!(whole.exit, 0, "{whole:?}");
    assert!(whole.out.contains("lines after it, for which nobody vouches yet: 0"), "{whole:?}");

    let lines = site.lines();
    let kept = lines.len() / 2;
    let text: String = lines[..kept].iter().map(|line| format!("{line}\n")).collect();
    site.home.put("state/audit.jsonl", &text);
    assert_eq!(site.verify(&["--offline"]).await.exit, 0, "whole in itself");
    let cut = site.verify(&[]).await;
    assert_eq!(cut.exit, 1, "{cut:?}");
    let place = format!("audit.jsonl, line {kept}: the chain ends at {kept}");
    assert!(cut.out.contains(&place) && cut.out.contains("acknowledge"), "{cut:?}");
    let head = site.anchored().await;

    for _ in 0..2 {
        let mut daemon = site.home.start().await;
        let status = daemon.until("alarmed", has_alarm).await;
        assert!(status.daemon.alarms[0].text.contains("audit.broken."), "{status:?}");
        let (_, metrics) = daemon.call(Method::GET, "/metrics").await;
        assert!(metrics.contains(r#"rotord_audit_alarms{reason="audit_broken"} 1"#), "{metrics}");
        daemon.until("leads", |status| status.daemon.leader).await;
        daemon.rotate("hello").await;
        let (code, ready) = daemon.call(Method::GET, "/v1/health/ready").await;
        assert!(code == 200 && ready.contains("audit_broken"), "{ready}");
        assert_eq!(daemon.terminate().await.code(), Some(0));
    }
    let noted = site.anchored().await;
    assert_eq!(noted["breaches"][0]["breach"]["anchored"]["hash"], head["hash"]);
    assert!(noted["seq"].as_u64() > head["seq"].as_u64());
    let alarmed = site.verify(&["--json"]).await;
    assert_eq!(alarmed.exit, 5, "{alarmed:?}");
    let report: Value = serde_json::from_str(&alarmed.out).unwrap();
    assert_eq!((&report["whole"], &report["fault"]), (&Value::Bool(true), &Value::Null));

    let daemon = site.home.start().await;
    daemon.until("alarmed", has_alarm).await;
    let seen = site.home.rotord(&["audit", "acknowledge", "--reason", "a drill"]).await;
    assert_eq!(seen.exit, 0, "{seen:?}");
    daemon.until("calm", |status| !has_alarm(status)).await;
    let known = site.verify(&[]).await;
    assert!(known.exit == 0 && known.out.contains("a drill"), "{known:?}");
}

#[tokio::test]
async fn a_changed_line_is_named_and_a_file_that_takes_no_line_stops_every_effect() {
    let site = Site::new().await;
    let mut daemon = site.home.start().await;
    let done = daemon.until_done("hello", None).await;
    // Root may write where the mode says no; another thing in its place stops root too.
    let file = site.home.path("state/audit.jsonl");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let (code, refused) = daemon.call(Method::POST, "/v1/secrets/hello/rotate?reason=no").await;
    assert!(code == 503 && refused.contains("audit_unwritable"), "{code} {refused}");
    let status = daemon
        .until("unwritable", |status| {
            status.daemon.alarms.iter().any(|alarm| alarm.code == "audit_unwritable")
        })
        .await;
    assert!(status.daemon.alarms[0].text.contains("nothing is changed"), "{status:?}");
    let now = daemon.call(Method::GET, "/v1/status/hello").await.1;
    let now: Value = serde_json::from_str(&now).unwrap();
    let before = done.secret.summary.current.unwrap().version;
    assert_eq!(now["secret"]["current"]["version"], before);
    fs::remove_dir(&file).unwrap();
    // What was there is gone, and that is told.
    daemon.until("broken", has_alarm).await;
    daemon.rotate("hello").await;
    assert_eq!(daemon.terminate().await.code(), Some(0));

    let mut lines = site.lines();
    let at = lines.iter().position(|line| line.contains("promoted")).unwrap();
    lines[at] = lines[at].replace("promoted", "demoted");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    site.home.put("state/audit.jsonl", &text);
    for arguments in [&["--offline"][..], &[]] {
        let changed = site.verify(arguments).await;
        assert_eq!(changed.exit, 1, "{changed:?}");
        let place = format!("audit.jsonl, line {}: the line was changed", at + 1);
        assert!(changed.out.contains(&place), "{changed:?}");
    }
    let shown = site.home.rotord(&["audit", "show"]).await;
    assert!(shown.exit == 1 && shown.err.contains("the line was changed"), "{shown:?}");
}
