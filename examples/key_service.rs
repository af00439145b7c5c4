//! A service that issues API keys and does work for whoever shows one.
//!
//! Stands for the vendor in the demo, and shows what rotord needs of one: keys that can be named
//! when they are made, listed without their values, tried and ended. The matching issuer presets
//! are `config/presets/rotord-demo-keys*.toml`.
//!
//! ```sh
//! echo "$(head -c 24 /dev/urandom | base64)" > admin-token
//! cargo run --example key_service -- --admin-token-file admin-token --mode slots
//! ```
//!
//! Prints one line, `{"listening":"127.0.0.1:40123"}`, and serves until it is stopped.

#[path = "shared/keys.rs"]
mod keys;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::keys::{Keys, Mode};

#[derive(Parser)]
#[command(about = "The API-key service of the demo")]
struct Arguments {
    /// File with the bearer token of whoever mints and ends keys.
    #[arg(long)]
    admin_token_file: PathBuf,
    /// How keys are minted.
    #[arg(long, value_enum, default_value = "slots")]
    mode: Mode,
    /// How many keys can live at once in slots mode.
    #[arg(long, default_value_t = 2)]
    capacity: usize,
    /// The address to listen at.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// The port; 0 for a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let token = std::fs::read_to_string(&arguments.admin_token_file)?;
    let keys = Keys::new(arguments.mode, arguments.capacity, token.trim(), now);
    let listener = TcpListener::bind(SocketAddr::new(arguments.address, arguments.port)).await?;
    announce(listener.local_addr()?);
    let mut stop = signal(SignalKind::terminate())?;
    axum::serve(listener, keys.router())
        .with_graceful_shutdown(async move {
            stop.recv().await;
        })
        .await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "whoever started the service reads its address here")]
fn announce(address: SocketAddr) {
    println!("{}", serde_json::json!({ "listening": address }));
}

#[expect(clippy::disallowed_methods, reason = "a service of its own, outside rotord's clock")]
fn now() -> DateTime<Utc> {
    Utc::now()
}
