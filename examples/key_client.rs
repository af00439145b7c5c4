//! A service that depends on an API key: it works with the key that stands in a Vault document,
//! and changes to the next one without a restart and without a rejected request.
//!
//! ```sh
//! cargo run --example key_client -- --service http://127.0.0.1:40123 \
//!     --vault http://127.0.0.1:8200 --vault-token-file token \
//!     --mount secret --path team/billing --ack-path team/billing-ack
//! ```
//!
//! Prints a line of JSON whenever it changes its key, and its counts when it is stopped with
//! SIGTERM. The part that other programs would copy is `shared/consumer.rs`.

#[path = "shared/consumer.rs"]
mod consumer;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::consumer::{Consumer, Places};

#[derive(Parser)]
#[command(about = "A user of an API key that rotord rotates")]
struct Arguments {
    /// Address of the key service.
    #[arg(long)]
    service: String,
    /// Address of Vault or OpenBao.
    #[arg(long)]
    vault: String,
    /// File with a token that may read the document and write the acknowledgement.
    #[arg(long)]
    vault_token_file: PathBuf,
    /// KV v2 mount of both documents.
    #[arg(long)]
    mount: String,
    /// The document that rotord writes.
    #[arg(long)]
    path: String,
    /// The document in which to acknowledge.
    #[arg(long)]
    ack_path: Option<String>,
    /// Milliseconds between two requests to the service.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    work_every: u64,
    /// Milliseconds between two looks at the document; the target's `propagation` is longer.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..))]
    read_every: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let trimmed = |text: String| text.trim().to_owned();
    let places = Places {
        service: arguments.service.trim_end_matches('/').to_owned(),
        vault: arguments.vault.trim_end_matches('/').to_owned(),
        vault_token: trimmed(std::fs::read_to_string(&arguments.vault_token_file)?),
        mount: arguments.mount,
        path: arguments.path,
        ack_path: arguments.ack_path,
    };
    let mut consumer = Consumer::new(places)?;
    let mut stop = signal(SignalKind::terminate())?;
    let mut work = interval(Duration::from_millis(arguments.work_every));
    let mut read = interval(Duration::from_millis(arguments.read_every));
    work.set_missed_tick_behavior(MissedTickBehavior::Skip);
    read.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        // One thing at a time: when the new key is acknowledged, no request with the old one is
        // under way.
        let look = tokio::select! {
            biased;
            _ = stop.recv() => break,
            _ = read.tick() => true,
            _ = work.tick() => consumer.work().await,
        };
        if look {
            match consumer.reread().await {
                Ok(None) => {}
                Ok(Some(version)) => say(&json!({ "using": version })),
                // Vault may be away for a while: the key in hand is still good.
                Err(error) => say(&json!({ "cannot_read": error.to_string() })),
            }
        }
    }
    say(&json!({ "counts": consumer.counts() }));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "whoever started the program follows it here")]
fn say(line: &Value) {
    println!("{line}");
}
