//! Watching one rotation: a line whenever its phase, a target or its trouble changes.
//!
//! On a terminal the last line is rewritten with what is waited for; elsewhere there are only the
//! lines, so that a log of them reads the same.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::ValueEnum;
use http::StatusCode;
use tokio::time::{Instant, sleep};

use crate::api::wire;
use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Out, human};

/// The daemon answers when there is news; an engine that has news all the time is asked this often.
const ASK_PAUSE: Duration = Duration::from_millis(200);

/// How long a daemon may be away while we watch: a restart takes seconds.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// Pause before asking a daemon that was away again.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// How long a rotation that was acknowledged may be missing from the picture.
const APPEARS_WITHIN: Duration = Duration::from_secs(30);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Goal {
    /// The rotation's end: the old versions are gone.
    Closed,
    /// Every target uses the new version; the old one may still be accepted.
    Switched,
}

/// Watches the rotation until it reaches the goal, ends otherwise, or needs a person.
pub(super) async fn follow(
    daemon: &Client,
    name: &str,
    id: &str,
    goal: Goal,
    out: Out<'_>,
) -> Result<Exit, CliError> {
    let mut told = Told::new(out);
    let mut newer_than = None;
    let mut missing_since = Instant::now();
    loop {
        let view = patiently(daemon, name, newer_than).await?;
        newer_than = Some(view.at);
        match judge(&view.secret, id, goal) {
            Verdict::Missing if missing_since.elapsed() > APPEARS_WITHIN => {
                told.line(&view, &format!("rotation {id} is not to be seen"))?;
                return Ok(Exit::Unknown);
            }
            Verdict::Missing => {}
            Verdict::GoesOn => {
                missing_since = Instant::now();
                told.changes(&view)?;
            }
            Verdict::Ends(exit, words) => {
                if view.secret.summary.rotation.as_ref().is_some_and(|run| run.id == id) {
                    told.changes(&view)?;
                }
                told.line(&view, &words)?;
                return Ok(exit);
            }
        }
        sleep(ASK_PAUSE).await;
    }
}

/// Asks, and asks again while the daemon is away.
async fn patiently(
    daemon: &Client,
    name: &str,
    newer_than: Option<crate::model::time::Timestamp>,
) -> Result<wire::Detail, CliError> {
    let started = Instant::now();
    loop {
        match daemon.detail(name, newer_than).await {
            Err(error) if is_away(&error) && started.elapsed() < AWAY_MAX => {
                sleep(AWAY_PAUSE).await;
            }
            answer => return answer,
        }
    }
}

/// Whether this is what a daemon says that is being started again.
fn is_away(error: &CliError) -> bool {
    match error {
        CliError::NoDaemon(_) | CliError::Lost => true,
        CliError::Answer(status, _) => *status == StatusCode::SERVICE_UNAVAILABLE,
        _ => false,
    }
}

enum Verdict {
    Missing,
    GoesOn,
    Ends(Exit, String),
}

fn judge(secret: &wire::Secret, id: &str, goal: Goal) -> Verdict {
    let run = secret.summary.rotation.as_ref().filter(|run| run.id == id);
    let Some(run) = run else { return judge_by_history(secret, id) };
    if let Some(outcome) = &run.outcome {
        return ended(outcome, run.possible_orphan);
    }
    let waiting = &secret.summary.waiting;
    if let Some(needs) = &waiting.needs_human {
        let remedy =
            waiting.remedy.as_ref().map(|remedy| format!("\n  try: {}", human::clean(remedy)));
        let text = format!("needs a person: {} ({})", needs.code, needs.text);
        return Verdict::Ends(Exit::NeedsHuman, text + &remedy.unwrap_or_default());
    }
    let switched = matches!(run.phase.as_str(), "overlap" | "retire" | "revoke");
    if goal == Goal::Switched && switched {
        return Verdict::Ends(Exit::Ok, "every target uses the new version".into());
    }
    Verdict::GoesOn
}

/// Another rotation has followed: this one's end is history.
fn judge_by_history(secret: &wire::Secret, id: &str) -> Verdict {
    match secret.history.iter().find(|past| past.id == id) {
        None => Verdict::Missing,
        Some(past) if past.outcome == "superseded" => {
            let by = secret.summary.rotation.as_ref().map_or("another", |run| run.id.as_str());
            Verdict::Ends(Exit::Failed, format!("superseded by rotation {}", human::clean(by)))
        }
        Some(past) => ended(&past.outcome, past.possible_orphan),
    }
}

fn ended(outcome: &str, possible_orphan: bool) -> Verdict {
    match (outcome, possible_orphan) {
        ("done", _) => Verdict::Ends(Exit::Ok, "done: the old versions are gone".into()),
        (other, false) => {
            let text = format!("{}: the version before is still in use", human::clean(other));
            Verdict::Ends(Exit::Failed, text)
        }
        (other, true) => {
            let text =
                format!("{}: a key may be left at the issuer, look there", human::clean(other));
            Verdict::Ends(Exit::Failed, text)
        }
    }
}

/// What was said so far, so that only news is said.
struct Told<'a> {
    out: Out<'a>,
    terminal: bool,
    phase: Option<String>,
    targets: BTreeMap<String, String>,
}

impl<'a> Told<'a> {
    fn new(out: Out<'a>) -> Told<'a> {
        let terminal = std::io::stdout().is_terminal();
        Told { out, terminal, phase: None, targets: BTreeMap::new() }
    }

    fn changes(&mut self, view: &wire::Detail) -> Result<(), CliError> {
        let secret = &view.secret;
        let phase = secret.summary.rotation.as_ref().map(|run| run.phase.clone());
        if phase != self.phase {
            self.line(view, &format!("phase  {}", phase.as_deref().unwrap_or("none")))?;
            self.phase = phase;
        }
        for target in &secret.targets_detail {
            let words = standing(target);
            if self.targets.get(&target.name) != Some(&words) {
                self.line(view, &format!("target {} {words}", target.name))?;
                self.targets.insert(target.name.clone(), words);
            }
        }
        self.waits(view)
    }

    fn line(&mut self, view: &wire::Detail, words: &str) -> Result<(), CliError> {
        let erase = if self.terminal { "\r\x1b[K" } else { "" };
        let at = human::second_of_day(view.now);
        Ok(writeln!(self.out, "{erase}{at} {}", human::clean_lines(words))?)
    }

    /// Rewritten in place, on a terminal only.
    fn waits(&mut self, view: &wire::Detail) -> Result<(), CliError> {
        if !self.terminal {
            return Ok(());
        }
        let waiting = &view.secret.summary.waiting;
        let until = waiting.until.map(|until| format!(", {}", human::fine_from(view.now, until)));
        let why = human::clean(&waiting.why);
        write!(self.out, "\r\x1b[Kwaits for {why}{}", until.unwrap_or_default())?;
        Ok(self.out.flush()?)
    }
}

fn standing(target: &wire::Target) -> String {
    if let Some(by) = &target.waived_by {
        return format!("waived by {by}");
    }
    if let Some(trouble) = &target.trouble {
        let last = trouble.last.as_ref().map_or("unknown", |why| &why.code);
        return format!("fails: {last}");
    }
    match (&target.evidence, target.reached) {
        (Some(evidence), true) => {
            let assumed = if target.assumed { " (assumed)" } else { "" };
            format!("{}{assumed} by {}", evidence.level, evidence.by)
        }
        _ => "is behind".into(),
    }
}
