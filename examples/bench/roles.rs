//! OpenBao's own rotation: static roles of its database engine, on a PostgreSQL with its defaults.
//! One password a role; the old one is refused from the moment the new one is set, and nobody is
//! told.

use std::fmt::Write as _;
use std::path::Path;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::json;
use tokio::process::Command;

use crate::processes::free_port;
use crate::report::{Figure, Measured};
use crate::rig::Rig;
use crate::scanner::begin;
use crate::server::text;
use crate::{Bench, Fallible};

/// The administrator's password, on a server that is gone with the measure.
const PASSWORD: &str = "of-this-bench";

/// Roles whose old password is tried right after it was replaced.
const TRIED: usize = 20;

/// Brings a PostgreSQL up in the foreground, on disk, with its defaults. It does not run as root.
const POSTGRES: &str = r#"set -euo pipefail
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1) || true
[ -n "$bin" ] || { echo "no PostgreSQL: install the package postgresql"; exit 1; }
as=()
if [ "$(id -u)" = 0 ]; then
    chmod 711 .
    install -d -o postgres -g postgres -m 700 db
    as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
else
    mkdir -m 700 db
fi
chmod 644 password
"${as[@]}" "$bin/initdb" -D "$PWD/db/data" -U postgres -A scram-sha-256 \
    --pwfile="$PWD/password" >/dev/null
exec "${as[@]}" "$bin/postgres" -D "$PWD/db/data" -p "$1" -k "$PWD/db" -h 127.0.0.1 2>&1
"#;

pub(crate) async fn measure(bench: &Bench) -> Fallible<Measured> {
    let mut rig = Rig::open(bench).await?;
    let result = run(bench, &mut rig).await;
    rig.close(result).await
}

async fn run(bench: &Bench, rig: &mut Rig) -> Fallible<Measured> {
    let roles = bench.size(200, 5);
    let port = free_port()?;
    start(rig, port).await?;
    let names: Vec<String> = (0..roles).map(|n| format!("r{n:05}")).collect();
    let mut sql = String::new();
    for name in &names {
        writeln!(sql, "CREATE ROLE {name} LOGIN PASSWORD 'first';")?;
    }
    let sql = rig.house.write("roles.sql", &sql)?;
    if !logs_in(rig, port, ("postgres", PASSWORD), Some(&sql)).await? {
        return Err("the roles could not be made".into());
    }
    connect(rig, port, &names).await?;
    let mut figures = Vec::new();
    for (key, at_once) in [("one", 1), ("eight", 8)] {
        let begun = begin();
        rotate(rig, &names, at_once).await?;
        let rate = roles as f64 / begun.elapsed().as_secs_f64();
        figures.push(Figure::new(key, format!("static roles, {at_once} at once"), rate, "/s"));
    }
    let mut refused = 0_u32;
    for name in names.iter().take(TRIED) {
        let read = rig.server.read(&format!("database/static-creds/{name}")).await?;
        let old = text(&read.ok_or("a role without a password")?, "/data/password")?;
        rotate(rig, std::slice::from_ref(name), 1).await?;
        refused += u32::from(!logs_in(rig, port, (name, &old), None).await?);
    }
    let tried = roles.min(TRIED);
    figures.push(Figure::new(
        "refused",
        format!("of {tried} who log in with what they had read before"),
        f64::from(refused),
        "refused",
    ));
    Ok(Measured::new(
        "roles",
        format!(
            "{roles} static roles of OpenBao's database engine on PostgreSQL (Debian's package and \
             its defaults), `rotate-role` for each, as the root. The old password ends with the \
             new one: there is no overlap, and nobody is told."
        ),
        figures,
    ))
}

async fn start(rig: &mut Rig, port: u16) -> Fallible<()> {
    rig.house.write("password", PASSWORD)?;
    rig.house.write("postgres.sh", POSTGRES)?;
    let port = port.to_string();
    rig.house.start("postgres", "bash".as_ref(), ["postgres.sh", &port])?;
    let ready = |line: &str| line.contains("ready to accept connections").then_some(());
    rig.house.told("postgres", ready).await
}

/// Has OpenBao manage the passwords of these roles.
async fn connect(rig: &Rig, port: u16, names: &[String]) -> Fallible<()> {
    rig.server.put("sys/mounts/database", &json!({ "type": "database" })).await?;
    let url = format!(
        "postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{port}/postgres?sslmode=disable"
    );
    let config = json!({
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": url,
        "username": "postgres", "password": PASSWORD, "max_open_connections": 8,
    });
    rig.server.put("database/config/pg", &config).await?;
    for name in names {
        let role = json!({ "db_name": "pg", "username": name, "rotation_period": "24h" });
        rig.server.put(&format!("database/static-roles/{name}"), &role).await?;
    }
    Ok(())
}

async fn rotate(rig: &Rig, names: &[String], at_once: usize) -> Fallible<()> {
    let rotate = async |name: &String| -> Fallible<()> {
        rig.server.put(&format!("database/rotate-role/{name}"), &json!({})).await?;
        Ok(())
    };
    stream::iter(names).map(rotate).buffer_unordered(at_once).try_collect().await
}

/// Whether somebody may log in, and runs what they have to say.
async fn logs_in(
    rig: &Rig,
    port: u16,
    (user, password): (&str, &str),
    script: Option<&Path>,
) -> Fallible<bool> {
    let mut command: Command = rig.house.command("psql".as_ref(), "psql")?;
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", user, "-d", "postgres", "-q"]);
    command.env("PGPASSWORD", password);
    match script {
        Some(script) => command.arg("-f").arg(script),
        None => command.args(["-c", "SELECT 1"]),
    };
    Ok(command.output().await?.status.success())
}
