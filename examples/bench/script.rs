//! What people have today: a script that puts a new value into OpenBao and tells the service. No
//! overlap, no evidence, no record, nothing after a crash: only how fast that is.

use std::net::Ipv4Addr;
use std::process::Stdio;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::report::{Figure, Measured};
use crate::rig::{APPS, FOLDER, Rig};
use crate::scanner::begin;
use crate::server::binary;
use crate::{Bench, Fallible};

/// One rotation.
const SCRIPT: &str = r#"set -euo pipefail
value="whsec_$(head -c 32 /dev/urandom | base64)"
"$BAO" kv put -mount="$MOUNT" "$FOLDER/$1" current="$value" >/dev/null
curl -fsS -X POST --data-binary @- "$SERVICE/$1" <<<"$value"
"#;

pub(crate) async fn measure(bench: &Bench) -> Fallible<Measured> {
    let mut rig = Rig::open(bench).await?;
    let result = run(bench, &mut rig).await;
    rig.close(result).await
}

async fn run(bench: &Bench, rig: &mut Rig) -> Fallible<Measured> {
    let rotations = bench.size(200, 5);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let service = format!("http://{}", listener.local_addr()?);
    let router = Router::new().route("/{name}", post(async || StatusCode::NO_CONTENT));
    let mut serving = JoinSet::new();
    serving.spawn(axum::serve(listener, router).into_future());
    rig.house.write("rotate.sh", SCRIPT)?;
    let names: String = (0..rotations).map(|n| format!("s{n:05}\n")).collect();
    let names = rig.house.write("names", &names)?;
    let mut figures = Vec::new();
    for (key, at_once) in [("one", "1"), ("eight", "8")] {
        let mut command = rig.house.command("xargs".as_ref(), "script")?;
        command
            .args(["-P", at_once, "-n", "1", "bash", "rotate.sh"])
            .env("BAO", binary()?)
            .env("BAO_ADDR", rig.server.address())
            .env("BAO_TOKEN", rig.server.root())
            .env("SERVICE", &service)
            .env("MOUNT", APPS)
            .env("FOLDER", FOLDER)
            .stdin(Stdio::from(std::fs::File::open(&names)?));
        let begun = begin();
        let ended = command.status().await?;
        if !ended.success() {
            return Err(format!("the script failed: {ended}").into());
        }
        let rate = rotations as f64 / begun.elapsed().as_secs_f64();
        figures.push(Figure::new(key, format!("script, {at_once} at once"), rate, "/s"));
    }
    Ok(Measured::new(
        "script",
        format!(
            "{rotations} times `bao kv put` and `curl` in a bash script, as the root: a new value \
             in OpenBao, and one request to the service. It keeps no old value and waits for \
             nothing; rotord's whole rotations are under *rotations*."
        ),
        figures,
    ))
}
