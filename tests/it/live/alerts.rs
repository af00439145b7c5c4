//! The alert listener of the real binary: when it takes alerts, and what a reload changes.

use http::Method;

use crate::live::places::{self, Places};
use crate::support::daemon::Home;
use crate::support::fault_proxy::FaultProxy;

const TOKEN: &str = "the-token-of-the-destination";

/// An address where nobody listens at the moment.
fn free_address() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn alerts(listen: std::net::SocketAddr, sources: &[&str]) -> String {
    let mut text = format!("\n[alerts]\nlisten = \"{listen}\"\n");
    for name in sources {
        text += &format!(
            "\n[[alerts.source]]\nname = \"{name}\"\ntype = \"aws_health\"\n\
             key = {{ file = \"alert-token\" }}\n"
        );
    }
    text
}

/// The status of a request to a source, and when to come again.
async fn asked(at: std::net::SocketAddr, name: &str, token: &str) -> (u16, Option<String>) {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let request = client.post(format!("http://{at}/alerts/{name}")).bearer_auth(token);
    let answer = request.body("{}").send().await.unwrap();
    let after = answer.headers().get("retry-after").map(|v| v.to_str().unwrap().to_owned());
    (answer.status().as_u16(), after)
}

#[tokio::test]
async fn alerts_are_taken_once_vault_was_reached_and_sources_come_and_go() {
    let bao = places::shared().await;
    let places = Places::new(bao).await;
    let server = bao.address().socket_addrs(|| None).unwrap()[0];
    let proxy = FaultProxy::before(server).await;
    let home = Home::new();
    home.put("alert-token", TOKEN);
    let at = free_address();
    let vault = format!("http://{}", proxy.address);
    places.configure(&home, &vault, &alerts(at, &["health"])).await;
    proxy.hold();
    let mut daemon = home.start().await;
    let after = Some("5".to_owned());
    assert_eq!(asked(at, "health", TOKEN).await, (503, after.clone()));
    assert_eq!(asked(at, "nobody", "x").await, (503, after));
    proxy.let_go();
    daemon.until("loaded", |status| status.daemon.trouble.is_none()).await;
    assert_eq!(asked(at, "health", TOKEN).await, (200, None), "an event that means nothing");
    assert_eq!(asked(at, "health", "somebody-else").await, (401, None));
    assert_eq!(asked(at, "more", TOKEN).await, (404, None));

    let config = home.read("rotord.toml");
    let more = alerts(at, &["health", "more"]).replacen("[alerts]", "", 1);
    let sources = &more[more.find("[[").unwrap()..];
    let base = &config[..config.find("[[alerts").unwrap()];
    home.put("rotord.toml", &format!("{base}{sources}"));
    let ran = home.rotord(&["reload"]).await;
    assert!(ran.exit == 0 && ran.out.contains("other sources of alerts"), "{ran:?}");
    assert!(!ran.out.contains("restart"), "{ran:?}");
    assert_eq!(asked(at, "more", TOKEN).await, (200, None));

    let elsewhere = home.read("rotord.toml").replace(&at.to_string(), &free_address().to_string());
    home.put("rotord.toml", &elsewhere);
    let ran = home.rotord(&["reload"]).await;
    assert!(ran.out.contains("a change of [alerts] needs a restart"), "{ran:?}");
    assert_eq!(asked(at, "more", TOKEN).await, (200, None), "it listens where it did");

    let (_, metrics) = daemon.call(Method::GET, "/metrics").await;
    let line = "rotord_alert_requests_total{source=\"aws_health\",outcome=\"unauthenticated\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    assert!(daemon.terminate().await.success());
    assert!(!home.read("log").contains(TOKEN));
    assert!(std::net::TcpStream::connect(at).is_err(), "nobody listens any more");
}

#[tokio::test]
async fn an_address_that_is_taken_ends_the_start() {
    let places = Places::new(places::shared().await).await;
    let home = Home::new();
    home.put("alert-token", TOKEN);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    places.configure(&home, "http://127.0.0.1:1", &alerts(at, &["health"])).await;
    let ran = home.rotord(&["run"]).await;
    assert_ne!(ran.exit, 0);
    assert!(ran.err.contains(&format!("cannot listen for alerts at {at}")), "{}", ran.err);
}
