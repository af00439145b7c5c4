//! Three nodes of OpenBao on three addresses, behind something that balances between them; the one
//! that leads is killed while rotations are open. They wait, and end with the node that leads next.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use futures_util::future::join_all;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::live::places::Places;
use crate::support::bao::{Bao, Config, Storage};
use crate::support::daemon::Home;

/// Rotations that are open when the node is killed.
const SECRETS: usize = 12;

fn secret(n: usize) -> String {
    format!("hook-{n}")
}

fn secrets(apps: &str) -> String {
    let mut config = String::from("lease_ttl = \"5s\"\n");
    for n in 0..SECRETS {
        let name = secret(n);
        write!(
            config,
            r#"
[secrets.{name}]
kind = "webhook_hmac"
issuer = {{ type = "generated" }}
initial = "generate"
overlap = "2s"
unsafe_overlap = true

[secrets.{name}.targets.document]
type = "vault_kv"
role = "both"
mount = "{apps}"
path = "{name}"
propagation = "200ms"
retry_horizon = "1s"
retire_unattested = true
"#
        )
        .unwrap();
    }
    config
}

/// Hands every connection to the first node that takes it, as a balancer does that asks nobody how
/// they are.
async fn balance(nodes: Vec<SocketAddr>) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let nodes = nodes.clone();
            connections.spawn(async move {
                for node in nodes {
                    if let Ok(mut server) = TcpStream::connect(node).await {
                        copy_bidirectional(&mut client, &mut server).await.ok();
                        return;
                    }
                }
            });
        }
    });
    (address, task)
}

#[tokio::test]
async fn open_rotations_outlive_the_node_that_leads() {
    let mut leader = Bao::with_config(Config { storage: Storage::Raft, tls: false }).await;
    let second = leader.standby_at("127.0.0.2").await;
    let third = leader.standby_at("127.0.0.3").await;
    leader.until_voters(3).await;
    let nodes = [&leader, &second, &third];
    let nodes = nodes.map(|node| node.address().socket_addrs(|| None).unwrap()[0]);
    let (balancer, _balancing) = balance(nodes.to_vec()).await;

    let places = Places::new(&second).await;
    let home = Home::new();
    places.configure(&home, &format!("http://{balancer}"), &secrets(&places.apps)).await;
    let daemon = home.start().await;
    let names: Vec<String> = (0..SECRETS).map(secret).collect();
    join_all(names.iter().map(|name| daemon.until_done(name, None))).await;

    let orders = names
        .iter()
        .map(async |name| daemon.order(&format!("/v1/secrets/{name}/rotate?reason=test")).await);
    let rotations = join_all(orders).await;
    leader.kill();
    let killed = Instant::now();

    let rotated = names.iter().zip(&rotations).map(async |(name, rotation)| {
        let detail = daemon.until_done(name, Some(rotation)).await;
        (detail.secret.summary.current.unwrap().version, killed.elapsed())
    });
    let rotated = join_all(rotated).await;
    let first = rotated.iter().map(|(_, took)| took).min().unwrap();
    let last = rotated.iter().map(|(_, took)| took).max().unwrap();
    // Past the test harness, which keeps what tests print: `make proof` collects it.
    let _ = writeln!(
        io::stdout(),
        "raft: first_done_ms={} all_done_ms={}",
        first.as_millis(),
        last.as_millis()
    );
    for (name, (version, _)) in names.iter().zip(rotated) {
        assert_eq!(version, 2, "{name}");
        assert_eq!(places.values(name).await, [2], "{name}: the old value is gone");
        let document = places.document(name).await;
        let value = places.value(name, 2).await.unwrap();
        assert_eq!(document["current"], value, "{name}: what is read is what is kept");
    }
}
