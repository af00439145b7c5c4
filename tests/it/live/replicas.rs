//! Two replicas of one rotord: one leads, the other says so; the leader is killed in the middle of
//! a rotation, and the other one brings it to its end.

use std::io::{self, Write as _};
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use crate::live::places::{self, Places};
use crate::support::daemon::{Home, signal};

/// How long the lease of a replica that shows no sign of life stays its own.
const TTL: Duration = Duration::from_secs(5);

const HOOK: &str = r#"
lease_ttl = "5s"

[secrets.hook]
kind = "webhook_hmac"
issuer = { type = "generated" }
initial = "generate"
overlap = "2s"
unsafe_overlap = true

[secrets.hook.targets.document]
type = "vault_kv"
role = "both"
mount = "APPS"
path = "hook"
propagation = "200ms"
retry_horizon = "1s"
retire_unattested = true
"#;

#[tokio::test]
async fn what_a_killed_leader_began_the_other_replica_ends() {
    let places = Places::new(places::shared().await).await;
    let homes = [Home::new(), Home::new()];
    for home in &homes {
        let config = HOOK.replace("APPS", &places.apps);
        places.configure(home, places.bao.address().as_str(), &config).await;
    }
    let [first, second] = &homes;
    let mut leading = first.start().await;
    leading.until_done("hook", None).await;
    let standby = second.start().await;
    let status = standby.until("told who leads", |status| status.daemon.led_by.is_some()).await;
    let leader = status.daemon.led_by.unwrap().instance;
    assert!(!status.daemon.leader);

    // Whoever asks the wrong one is told whom to ask, and nothing is begun.
    let (code, text) = standby.call(Method::POST, "/v1/secrets/hook/rotate?reason=test").await;
    assert_eq!(code, 503, "{text}");
    assert!(text.contains(&format!("ask {leader}")), "{text}");

    let rotation = leading.order("/v1/secrets/hook/rotate?reason=test").await;
    leading
        .until_secret("hook", "brought so far", |detail| {
            detail.secret.summary.current.as_ref().is_some_and(|current| current.version == 2)
        })
        .await;
    signal(leading.id(), rustix::process::Signal::KILL);
    let killed = Instant::now();
    leading.ended().await;

    let status = standby.until("the leader", |status| status.daemon.leader).await;
    let (leads, epoch) = (killed.elapsed(), status.daemon.epoch.unwrap());
    let detail = standby.until_done("hook", Some(&rotation)).await;
    // Past the test harness, which keeps what tests print: `make proof` collects it.
    let _ = writeln!(
        io::stdout(),
        "replicas: leads_ms={} done_ms={}",
        leads.as_millis(),
        killed.elapsed().as_millis()
    );
    assert!(leads >= TTL / 2, "nobody takes the lease of one that may live: {leads:?}");
    assert_eq!(detail.secret.summary.current.unwrap().version, 2);
    assert_eq!(places.values("hook").await, [2], "the old value is gone");

    // The one that comes back finds another one leading, and leaves it at that.
    let back = first.start().await;
    let status = back.until("told who leads", |status| status.daemon.led_by.is_some()).await;
    assert!(!status.daemon.leader);
    assert_eq!(status.daemon.led_by.unwrap().epoch, epoch);
}
