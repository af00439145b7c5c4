//! `rotord plan`: what is due, what would start, what is in the way.

use clap::Args;

use crate::api::wire;
use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Out, human, status, table};
use crate::model::time::Timestamp;

const EXAMPLES: &str = "\
Examples:
  rotord plan                               what happens next, and what would be refused
  rotord plan --json | jq '.secrets[] | {name, next: .next_runs[0]}'";

/// Show what is due, what would be refused and why, and the next runs. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Plan {
    /// The API's answer as it is (docs/api.md).
    #[arg(long)]
    json: bool,
}

impl Plan {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let plan = daemon.plan().await?;
        let text = if self.json { status::pretty(&plan)? } else { text(&plan) };
        out.write_all(text.as_bytes())?;
        Ok(Exit::Ok)
    }
}

fn text(plan: &wire::Plan) -> String {
    let now = plan.now;
    let mut page = String::new();
    // A plan that nobody carries out says so first.
    if plan.daemon.trouble.is_some() || !plan.daemon.leader || !plan.daemon.loaded {
        page = status::daemon(&plan.daemon, now) + "\n";
    }
    if plan.secrets.is_empty() {
        return page + "no secrets: name some in the config\n";
    }
    let rows: Vec<_> = plan
        .secrets
        .iter()
        .map(|secret| [secret.name.clone(), verdict(secret), next(secret, now)])
        .collect();
    let mut lines = table::lines(["NAME", "IF ROTATED NOW", "NEXT RUN"], &rows).into_iter();
    page.extend(lines.next().map(|header| header + "\n"));
    for (line, secret) in lines.zip(&plan.secrets) {
        page.push_str(&(line + "\n"));
        page.extend(remarks(secret, now).map(|remark| format!("  {remark}\n")));
    }
    page
}

/// What a rotation would meet at this moment.
fn verdict(secret: &wire::Planned) -> String {
    match (&secret.refused, secret.due) {
        (Some(why), true) => format!("due, refused: {}", why.code),
        (Some(why), false) => format!("refused: {}", why.code),
        (None, true) => "due, starts".into(),
        (None, false) => "would start".into(),
    }
}

/// `in 30d (scheduled)`.
fn next(secret: &wire::Planned, now: Timestamp) -> String {
    let first = secret.runs.first();
    first.map_or_else(
        || "-".into(),
        |run| format!("{} ({})", human::rough_from(now, run.at), human::clean(&run.because)),
    )
}

/// `then in 60d, 90d, 100d (max_age)`: what asks for a run is named where it changes.
fn then(runs: &[wire::PlannedRun], now: Timestamp) -> Option<String> {
    let (first, rest) = runs.split_first()?;
    let mut because = &first.because;
    let mut words = Vec::new();
    for run in rest {
        let mut word = human::rough(run.at.since(now));
        if run.because != *because {
            word.push_str(&format!(" ({})", human::clean(&run.because)));
            because = &run.because;
        }
        words.push(word);
    }
    (!words.is_empty()).then(|| format!("then in {}", words.join(", ")))
}

/// Why it is due, why it would be refused and when it would not be, and what comes after.
fn remarks(secret: &wire::Planned, now: Timestamp) -> impl Iterator<Item = String> {
    let due = secret.because.as_ref().zip(secret.due_since).map(|(because, since)| {
        // What was due before there was a record is due from the beginning of time.
        match since == Timestamp::default() {
            true => format!("due: {}", human::clean(because)),
            false => format!("due since {}: {}", human::dated(now, since), human::clean(because)),
        }
    });
    let open = secret.open.as_ref().map(|id| format!(": {}", human::clean(id)));
    let open = open.unwrap_or_default();
    let why = secret.refused.as_ref().map(|why| format!("{}{open}", human::clean(&why.text)));
    let possible = secret
        .possible_at
        .map(|at| format!("possible from {} at the earliest", human::dated(now, at)));
    [due, why, possible, then(&secret.runs, now)].into_iter().flatten()
}
