//! `make demo`: a real OpenBao, a real rotord, two services that live on its secrets, and a screen
//! that says what happens. Leaves nothing running.
//!
//! ```text
//! main        this: the order of things, and the exit code
//! cast        who plays, and the set-up in the order of a first installation
//! play        the plot
//! leak        what is shown of the leaked key
//! story       what a rotation does, in few words
//! proof       old values, used again
//! report      the result
//! ```
//!
//! Exit codes: 0 if nobody was rejected, every planned rotation was done and no old value works; 1
//! otherwise; 130 if it was interrupted.

mod cast;
#[path = "../shared/daemon.rs"]
mod daemon;
mod leak;
#[path = "../shared/material.rs"]
mod material;
mod openbao;
mod play;
#[path = "../shared/processes.rs"]
mod processes;
mod proof;
mod report;
#[path = "../shared/scanner.rs"]
mod scanner;
mod screen;
#[path = "../shared/openbao.rs"]
mod server;
mod story;
mod traffic;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::Client;
use tokio::signal::ctrl_c;
use tokio::time::timeout;

use crate::cast::Cast;
use crate::play::Play;
use crate::processes::House;
use crate::report::Report;
use crate::screen::{Screen, Tone};

/// Whatever goes wrong here is told to a person, and ends the demo.
type Fallible<T> = Result<T, Box<dyn Error>>;

/// It takes a good minute; on a machine that is busy with other things somewhat more.
const DONE_WITHIN: Duration = Duration::from_secs(300);

/// Every server is on this machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let screen = Screen::open();
    let mut house = match House::open("rotord-demo-") {
        Ok(house) => house,
        Err(error) => return failed(&screen, &error.to_string()),
    };
    let done = tokio::select! {
        biased;
        _ = ctrl_c() => Ok(None),
        done = timeout(DONE_WITHIN, demo(&mut house, &screen)) => match done {
            Ok(done) => done.map(Some),
            Err(_) => Err("it takes too long".into()),
        },
    };
    let code = match &done {
        Ok(Some(true)) => ExitCode::SUCCESS,
        Ok(Some(false)) => ExitCode::FAILURE,
        Ok(None) => {
            screen.line("interrupted");
            ExitCode::from(130)
        }
        Err(why) => failed(&screen, &why.to_string()),
    };
    let keep = matches!(done, Ok(Some(false)) | Err(_));
    match house.close(keep).await {
        Ok(None) => code,
        Ok(Some(kept)) => {
            screen.line(&format!("everything was stopped; the logs are in {}", kept.display()));
            code
        }
        Err(error) => failed(&screen, &format!("something may be left behind: {error}")),
    }
}

async fn demo(house: &mut House, screen: &Screen) -> Fallible<bool> {
    let http = Client::builder().no_proxy().timeout(ANSWERED_WITHIN).tls_certs_only([]).build()?;
    let cast = Cast::start(house, http.clone(), screen).await?;
    let play = Play::new(house, &cast, http.clone(), screen);
    let before = play.run().await?;
    let report = Report::of(&play, before).await?;
    report.close(house, &cast, &http, screen).await
}

fn failed(screen: &Screen, why: &str) -> ExitCode {
    screen.toned(Tone::Bad, &format!("demo: failed: {why}"));
    ExitCode::FAILURE
}
