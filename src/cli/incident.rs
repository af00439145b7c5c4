//! `rotord incident`: what leaked, where it stands, and what a person decides about it.

use clap::{Args, Subcommand};

use crate::api::wire::incidents as wire;
use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::human::{clean, clean_lines, dated, fine, rough_from};
use crate::cli::status::pretty;
use crate::cli::{Out, table};

const EXAMPLES: &str = "\
Examples:
  rotord incident list                      what is open, and the last that are over
  rotord incident show 20261122T031200Z-7f3a91c2
  rotord incident approve 20261122T031200Z-7f3a91c2 --reason 'our repository'
  rotord incident close 20261122T031200Z-7f3a91c2 --reason 'a value of the tests'
  rotord incident report 20261122T031200Z-7f3a91c2 > post-mortem.md";

/// See and decide about leaks.
///
/// An incident is what rotord keeps of a leak: where the value was found, what was done, how far
/// each target is. One that waits needs `approve` or `close`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Incident {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All that are open, and the last that are over.
    #[command(after_help = "Example:\n  rotord incident list --open")]
    List(List),
    /// One in full: sightings, targets, time line, what is open.
    #[command(after_help = "Example:\n  rotord incident show 20261122T031200Z-7f3a91c2")]
    Show(Show),
    /// Agree that it is acted on: the version counts as exposed from then on.
    #[command(after_help = "Example:\n  rotord incident approve ID --reason 'our repository'")]
    Approve(Decide),
    /// Do without a target, which may still hold the version.
    #[command(
        after_help = "Example:\n  rotord incident waive ID old-batch --reason 'switched off'"
    )]
    Waive(Waive),
    /// End it: no leak, or dealt with by hand. A rotation that runs goes on.
    #[command(after_help = "Example:\n  rotord incident close ID --reason 'a value of the tests'")]
    Close(Decide),
    /// The report in Markdown: a post-mortem's first draft.
    #[command(after_help = "Example:\n  rotord incident report ID > post-mortem.md")]
    Report(Report),
}

#[derive(Debug, Args)]
struct List {
    /// Only those that are not over.
    #[arg(long)]
    open: bool,
    /// The API's answer as it is (docs/api.md).
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// The incident.
    id: String,
    /// The API's answer as it is (docs/api.md).
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Decide {
    /// The incident.
    id: String,
    /// Why: goes into the report and the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Args)]
struct Waive {
    /// The incident.
    id: String,
    /// The target.
    target: String,
    /// Why: goes into the report and the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Args)]
struct Report {
    /// The incident.
    id: String,
}

impl Incident {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let text = match self.what {
            What::List(List { open, json }) => {
                let mut view = daemon.incidents().await?;
                view.incidents.retain(|one| !open || one.closed_at.is_none());
                if json { pretty(&view)? } else { list(&view) }
            }
            What::Show(Show { id, json }) => {
                let view = daemon.incident(&id).await?;
                if json { pretty(&view)? } else { show(&view) }
            }
            What::Report(Report { id }) => daemon.incident_report(&id).await?,
            What::Approve(Decide { id, reason }) => {
                decided(daemon, (&id, "approve"), &[("reason", Some(&reason))]).await?
            }
            What::Close(Decide { id, reason }) => {
                decided(daemon, (&id, "close"), &[("reason", Some(&reason))]).await?
            }
            What::Waive(Waive { id, target, reason }) => {
                let params = [("target", Some(target.as_str())), ("reason", Some(&reason))];
                decided(daemon, (&id, "waive"), &params).await?
            }
        };
        out.write_all(text.as_bytes())?;
        Ok(Exit::Ok)
    }
}

async fn decided(
    daemon: &Client,
    (id, verb): (&str, &str),
    params: &[(&str, Option<&str>)],
) -> Result<String, CliError> {
    let done = daemon.incident_wish(id, verb, params).await?;
    Ok(clean(&done.text) + "\n")
}

fn list(view: &wire::Incidents) -> String {
    let now = view.now;
    let mut page = String::new();
    if view.guard.breaker_open {
        let wire::Guard { exposures, breaker_window, .. } = &view.guard;
        page.push_str(&format!(
            "THE ALERT BREAKER IS OPEN: {exposures} exposures within {breaker_window}; alerts wait \
             for a person\n\n"
        ));
    }
    if view.incidents.is_empty() {
        page.push_str("no incidents\n");
        return page;
    }
    let row = |one: &wire::Incident| {
        let leaked = format!("v{} {}", one.version, one.stage);
        let exposed = match (one.refused_at, one.overdue) {
            (Some(_), _) => fine(one.exposure),
            (None, true) => format!("{}!", fine(one.exposure)),
            (None, false) if one.closed_at.is_some() => "-".to_owned(),
            (None, false) => format!("{}...", fine(one.exposure)),
        };
        let opened = rough_from(now, one.opened_at);
        [one.id.clone(), one.secret.clone(), leaked, one.state.clone(), exposed, opened]
    };
    let rows: Vec<_> = view.incidents.iter().map(row).collect();
    let header = ["ID", "SECRET", "LEAKED", "STATE", "EXPOSED", "OPENED"];
    let mut lines = table::lines(header, &rows).into_iter();
    page.extend(lines.next().map(|line| line + "\n"));
    for (line, one) in lines.zip(&view.incidents) {
        page.push_str(&(line + "\n"));
        if let Some(waits) = &one.waits {
            let text = clean(&waits.text);
            page.push_str(&format!("  NEEDS A PERSON ({}): {text}\n", clean(&waits.code)));
        }
    }
    for to in &view.notify {
        let lost = to.undelivered;
        if let Some(failure) = to.failure.as_ref().filter(|_| lost > 0 || to.waiting > 0) {
            page.push_str(&format!(
                "notify {}: {} wait, {lost} were not delivered: {}\n",
                clean(&to.name),
                to.waiting,
                clean(failure)
            ));
        }
    }
    page
}

fn show(view: &wire::IncidentDetail) -> String {
    let now = view.now;
    let wire::Incident { id, secret, version, stage, state, .. } = &view.incident;
    let one = &view.incident;
    let mut page = format!("incident   {}\n", clean(id));
    let mut line = |key: &str, text: String| {
        page.push_str(&format!("{key:<10} {}\n", clean(&text)));
    };
    line("leaked", format!("v{version} of {secret}, then {stage}"));
    line("state", state.clone());
    if let Some(waits) = &one.waits {
        line("PERSON", format!("{}: {}", waits.code, waits.text));
    }
    line("decided", one.action.text.clone());
    line("opened", dated(now, one.opened_at));
    let counting = if one.refused_at.is_none() && one.closed_at.is_none() { " so far" } else { "" };
    line("exposed", format!("{}{counting}", fine(one.exposure)));
    if let Some(deadline) = one.deadline {
        let missed = if one.overdue { ", MISSED" } else { "" };
        line("deadline", format!("{}{missed}", dated(now, deadline)));
    }
    section(&mut page, "Found", view.sightings.iter().map(found).collect());
    if view.more_sightings > 0 {
        page.push_str(&format!("  and {} reports of other places\n", view.more_sightings));
    }
    let target = |target: &wire::Leaving| match (&target.left_at, &target.waived_by) {
        (_, Some(by)) => format!("{}: waived by {by}", target.name),
        (Some(at), None) => {
            format!("{}: works without it since {}", target.name, dated(now, *at))
        }
        (None, None) => format!("{}: may still hold it", target.name),
    };
    section(&mut page, "Targets", view.targets.iter().map(target).collect());
    let step = |step: &wire::Step| format!("{} {}", step.at, step.text);
    section(&mut page, "What happened", view.timeline.iter().map(step).collect());
    section(&mut page, "Open", view.missing.clone());
    page
}

fn found(sighting: &wire::Sighting) -> String {
    let place = sighting.found_at.as_deref().unwrap_or("no place named");
    let proved = if sighting.proved { "" } else { ", without proof" };
    let times =
        if sighting.times > 1 { format!(", {} times", sighting.times) } else { String::new() };
    let wire::Sighting { source, label, claim, .. } = sighting;
    format!("{place} ({source}, {label}, {claim}{proved}{times})")
}

fn section(page: &mut String, title: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    page.push_str(&format!("\n{title}:\n"));
    for line in lines {
        page.push_str(&format!("  {}\n", clean_lines(&line)));
    }
}
