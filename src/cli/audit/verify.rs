//! `rotord audit verify`: is every line as it was written, and is none missing?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::cli::audit::{credentials, load, show, unread};
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Out, human, online, status};
use crate::config::Config;
use crate::store::audit::anchor::{Anchor, Anchored};
use crate::store::audit::breach::{Breach, Noted};
use crate::store::audit::intents::Intents;
use crate::store::audit::verify::{Broken, Files, Verified};
use crate::store::audit::{Head, Line};
use crate::store::instance::Instance;
use crate::vault::Kv;

const EXAMPLES: &str = "\
Examples:
  rotord audit verify                       lines, order, and the head in Vault
  rotord audit verify --offline             lines and order alone: a cut tail goes unseen
  rotord audit verify --offline --directory /srv/shipped/rotord
  rotord audit verify --json | jq .fault

Exit codes:
  0 whole  1 broken  5 whole, and a person must look at something  7 Vault away
  8 the files, or the head in Vault, may not be read  78 config";

/// What a person does about a chain that does not hold.
const REMEDY: &str = "\
Leave the files as they are: they are the evidence. At its next start, and each hour, the daemon
sets them aside, remembers the break in Vault and goes on behind the line that Vault vouches for.
Compare with what you shipped elsewhere, find out who could write there, and then say so:
rotord audit acknowledge --reason '...'";

/// Check every line of the audit chain, and its head in Vault.
///
/// Reads the files of the state directory, oldest first, and names the first line that does not
/// hold. Vault is asked under the config's own login, whether or not the daemon runs: it alone
/// tells a chain that was cut or written anew. Run as root, or as the daemon's user.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    /// Do not ask Vault.
    #[arg(long)]
    offline: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    /// Another directory than the config's: lines that were shipped, or set aside.
    #[arg(long, value_name = "DIR", requires = "offline")]
    directory: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    /// Every line holds, and none is missing as far as is known.
    whole: bool,
    directory: PathBuf,
    /// The first line, where the chain is whole.
    first: Option<u64>,
    /// The last line that holds.
    last: Head,
    /// The last line has no end yet.
    unfinished: bool,
    /// Whether Vault was asked.
    asked_vault: bool,
    /// What Vault vouches for.
    anchored: Option<Anchored>,
    /// Effects that were announced, and nothing was said of their end.
    open_intents: Vec<Line>,
    /// Breaks that the lines tell of and Vault does not.
    untold_breaks: Vec<Breach>,
    fault: Option<Found>,
}

/// The first thing that is wrong.
#[derive(Debug, Serialize)]
struct Found {
    code: &'static str,
    file: PathBuf,
    line: u64,
    text: String,
    remedy: &'static str,
}

impl Verify {
    pub(super) async fn act(self, config: &Path, out: Out<'_>) -> Result<Exit, CliError> {
        let report = match self.directory {
            Some(directory) => Report::of(directory, None)?,
            None => {
                let config = load(config)?;
                // Before the files: they are never behind it.
                let anchored = if self.offline { None } else { Some(anchored(&config).await?) };
                Report::of(config.daemon.state_directory, anchored)?
            }
        };
        if self.json {
            out.write_all(status::pretty(&report)?.as_bytes())?;
        } else {
            report.print(out)?;
        }
        Ok(report.exit())
    }
}

/// What Vault vouches for of this machine's chain.
async fn anchored(config: &Config) -> Result<Option<Anchored>, CliError> {
    let writer = Instance::written(&config.daemon.state_directory);
    let writer = writer.map_err(|error| CliError::Unreadable(error.to_string()))?;
    let vault: Arc<dyn Kv> = online::logged_in(config, credentials().as_deref()).await?;
    let mut anchor = Anchor::new(vault, &config.vault.mount, &writer);
    anchor.load().await.map_err(|error| online::failed(error.failure(), &error))
}

impl Report {
    fn of(directory: PathBuf, asked: Option<Option<Anchored>>) -> Result<Report, CliError> {
        let mut intents = Intents::default();
        let mut told = Vec::new();
        let asked_vault = asked.is_some();
        let anchored = asked.flatten();
        let head = anchored.as_ref().map(Anchored::head);
        let files = Files::open(&directory);
        let checked = files.and_then(|files| {
            files.check(head, |_, line| {
                told.extend(line.entry.breach.as_deref().cloned());
                intents.take(line);
            })
        });
        let (verified, fault) = match checked {
            Ok(verified) => (Ok(verified), None),
            Err(broken) => match unread(&broken) {
                Some(error) => return Err(error),
                None => (Err(broken.good), Some(found(broken))),
            },
        };
        let known: Vec<Noted> = anchored.iter().flat_map(|a| a.breaches.clone()).collect();
        told.retain(|breach| !known.iter().any(|noted| noted.breach.resumed == breach.resumed));
        let torn = |verified: &Verified| verified.torn;
        Ok(Report {
            whole: fault.is_none(),
            directory,
            first: verified.as_ref().ok().map(|verified| verified.first.0),
            unfinished: verified.as_ref().is_ok_and(torn),
            last: verified.map_or_else(|good| good, |verified| verified.head),
            asked_vault,
            anchored,
            open_intents: intents.open().to_vec(),
            untold_breaks: if asked_vault { told } else { Vec::new() },
            fault,
        })
    }

    /// Whether lines lie there and Vault vouches for none.
    fn is_unanchored(&self) -> bool {
        self.asked_vault && self.anchored.is_none() && self.last.seq.0 > 0
    }

    fn exit(&self) -> Exit {
        let alarms = self.anchored.as_ref().map_or(0, |anchored| anchored.alarms().count());
        match () {
            () if !self.whole => Exit::Failed,
            () if alarms > 0 || !self.untold_breaks.is_empty() => Exit::NeedsHuman,
            () if self.is_unanchored() => Exit::NeedsHuman,
            () => Exit::Ok,
        }
    }

    fn print(&self, out: Out<'_>) -> Result<(), CliError> {
        let directory = self.directory.display();
        match &self.fault {
            Some(Found { file, line, text, .. }) => {
                writeln!(out, "BROKEN  {}, line {line}: {text}", file.display())?;
                writeln!(
                    out,
                    "        line {} of the chain is the last that holds",
                    self.last.seq
                )?;
            }
            None if self.last.seq.0 == 0 => writeln!(out, "{directory}: no line yet")?,
            None => {
                let (first, last) = (self.first.unwrap_or(1), self.last.seq);
                writeln!(out, "{directory}: lines {first} to {last} hold together")?;
            }
        }
        if self.unfinished {
            writeln!(out, "the last line is being written, or a crash tore it: no line is lost")?;
        }
        self.print_anchor(out)?;
        for intent in &self.open_intents {
            writeln!(out, "no outcome yet, or cut off: {}", show::text(intent))?;
        }
        for breach in &self.untold_breaks {
            writeln!(out, "ALARM   Vault knows nothing of this: {}", human::clean(&breach.text()))?;
        }
        if self.fault.is_some() {
            writeln!(out, "\n{REMEDY}")?;
        }
        Ok(())
    }

    fn print_anchor(&self, out: Out<'_>) -> Result<(), CliError> {
        let Some(anchored) = &self.anchored else {
            let why = match (self.asked_vault, self.is_unanchored()) {
                (false, _) => {
                    "Vault was not asked: a cut tail, or a chain written anew, is not seen"
                }
                (true, true) => {
                    "ALARM   Vault vouches for no line: not anchored yet, or removed there"
                }
                (true, false) => "Vault vouches for no line yet",
            };
            return Ok(writeln!(out, "{why}")?);
        };
        writeln!(out, "Vault vouches for line {}, anchored {}", anchored.seq, anchored.at)?;
        if self.whole {
            let after = self.last.seq.0.saturating_sub(anchored.seq.0);
            writeln!(out, "lines after it, for which nobody vouches yet: {after}")?;
        }
        for Noted { breach, acknowledged } in &anchored.breaches {
            let text = human::clean(&breach.text());
            match acknowledged {
                None => writeln!(out, "ALARM   since {}: {text}", breach.at)?,
                Some(seen) => {
                    let (by, why) = (human::clean(&seen.by), human::clean(&seen.reason));
                    writeln!(out, "known   {}: {text}; {by}: {why}", breach.at)?;
                }
            }
        }
        Ok(())
    }
}

fn found(broken: Broken) -> Found {
    let Broken { path, line, fault, .. } = broken;
    Found { code: fault.code(), file: path, line, text: fault.to_string(), remedy: REMEDY }
}
