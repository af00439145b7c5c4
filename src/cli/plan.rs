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
    let rows: Vec<_> = plan
        .secrets
        .iter()
        .map(|secret| [secret.name.clone(), verdict(secret), runs(&secret.next_runs, now)])
        .collect();
    let mut lines = table::lines(["NAME", "IF ROTATED NOW", "NEXT RUNS"], &rows).into_iter();
    let mut page: String = lines.next().map(|header| header + "\n").unwrap_or_default();
    for (line, secret) in lines.zip(&plan.secrets) {
        page.push_str(&(line + "\n"));
        page.extend(remarks(secret, now).map(|remark| format!("  {remark}\n")));
    }
    page
}

/// What a run of the schedule would meet at this moment.
fn verdict(secret: &wire::Planned) -> String {
    match (&secret.refused, secret.due) {
        (Some(why), true) => format!("due, refused: {}", why.code),
        (Some(why), false) => format!("refused: {}", why.code),
        (None, true) => "due, starts".into(),
        (None, false) => "would start".into(),
    }
}

/// `in 30d, 60d, 90d`: the first as it is seen from now, the others as far as they are away.
fn runs(runs: &[Timestamp], now: Timestamp) -> String {
    let Some((first, rest)) = runs.split_first() else { return "-".into() };
    let mut line = human::rough_from(now, *first);
    for run in rest {
        line.push_str(&format!(", {}", human::rough(run.since(now))));
    }
    line
}

/// Why a run would be refused, and when it would not be.
fn remarks(secret: &wire::Planned, now: Timestamp) -> impl Iterator<Item = String> {
    let open = secret.open.as_ref().map(|id| format!(": {}", human::clean(id)));
    let open = open.unwrap_or_default();
    let why = secret.refused.as_ref().map(|why| format!("{}{open}", human::clean(&why.text)));
    let possible = secret.possible_at.map(|at| format!("possible {}", human::dated(now, at)));
    [why, possible].into_iter().flatten()
}
