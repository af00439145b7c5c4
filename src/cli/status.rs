//! `rotord status`: all secrets in a line each, or everything about one.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::api::wire;
use crate::api::wire::brakes::{Brakes, OpenIncidents};
use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Out, detail, human, table};
use crate::engine::snapshot::ALIVE_WITHIN;
use crate::model::id::SecretName;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;

/// The daemon answers a watcher when there is news; redrawing faster than this reads badly.
const REDRAW_PAUSE: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  rotord status                             all secrets
  rotord status billing-webhook             versions, targets, evidence, history
  rotord status --watch                     redrawn whenever something changes
  rotord status --json | jq '.secrets[] | select(.waiting.needs_human)'";

/// Show where secrets, targets and rotations stand.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Status {
    /// One secret, in full.
    name: Option<SecretName>,
    /// The API's answer as it is (docs/api.md).
    #[arg(long)]
    json: bool,
    /// Go on, and show it again whenever it changes.
    #[arg(long)]
    watch: bool,
}

impl Status {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let redraws = self.watch && !self.json && std::io::stdout().is_terminal();
        let mut newer_than = None;
        loop {
            let (at, text) = self.look(daemon, newer_than).await?;
            if newer_than.is_none_or(|before| before != at) {
                if redraws {
                    write!(out, "\x1b[H\x1b[2J")?;
                }
                out.write_all(text.as_bytes())?;
                out.flush()?;
            }
            if !self.watch {
                return Ok(Exit::Ok);
            }
            newer_than = Some(at);
            tokio::time::sleep(REDRAW_PAUSE).await;
        }
    }

    /// The picture's moment and what it looks like.
    async fn look(
        &self,
        daemon: &Client,
        newer_than: Option<Timestamp>,
    ) -> Result<(Timestamp, String), CliError> {
        match &self.name {
            Some(name) => {
                let view = daemon.detail(name.as_str(), newer_than).await?;
                Ok((view.at, self.shown(&view, detail::text)?))
            }
            None => {
                let view = daemon.status(newer_than).await?;
                Ok((view.at, self.shown(&view, text)?))
            }
        }
    }

    fn shown<T: Serialize>(&self, view: &T, text: fn(&T) -> String) -> Result<String, CliError> {
        if !self.json {
            return Ok(text(view));
        }
        pretty(view)
    }
}

/// A view as JSON for people and programs: indented, a newline at the end.
pub(super) fn pretty<T: Serialize>(view: &T) -> Result<String, CliError> {
    let json = serde_json::to_string_pretty(view);
    Ok(json.map_err(|error| CliError::NotUnderstood(error.to_string()))? + "\n")
}

/// The table of all secrets. What waits for more than its schedule says so in a line below its
/// own, so that rows stay narrow.
fn text(view: &wire::Status) -> String {
    let now = view.now;
    let mut page = daemon(&view.daemon, now);
    if view.secrets.is_empty() {
        page.push_str("\nno secrets: name some in the config\n");
        return page;
    }
    let rows: Vec<_> = view.secrets.iter().map(|secret| row(secret, now)).collect();
    let header = ["NAME", "KIND", "PHASE", "CURRENT", "TARGETS", "NEXT RUN"];
    let mut lines = table::lines(header, &rows).into_iter();
    page.push('\n');
    page.extend(lines.next().map(|header| header + "\n"));
    for (line, secret) in lines.zip(&view.secrets) {
        page.push_str(&(line + "\n"));
        page.extend(waits(secret, now).map(|line| format!("  {line}\n")));
    }
    page.push_str(&footer(&view.secrets));
    page
}

/// How the daemon is, who leads if it does not, what keeps it from acting, and for how long what
/// it holds is good.
pub(super) fn daemon(daemon: &wire::Daemon, now: Timestamp) -> String {
    let role = match daemon.epoch {
        Some(epoch) => format!("leads (epoch {epoch})"),
        None => "stands by".into(),
    };
    let up = human::fine(now.since(daemon.started_at));
    let mut lines = vec![format!("{} {role}, up {up}", human::clean(&daemon.instance))];
    if !daemon.leader {
        lines.push(leader(daemon.led_by.as_ref(), now));
    }
    if !daemon.loaded {
        lines.push("LOADING: the records have not been read yet".into());
    }
    let token = &daemon.token;
    if let Some(wire::Trouble { code, text, since }) = &daemon.trouble {
        lines.push(format!("{code} since {}: {text}", human::dated(now, *since)));
    } else if let Some(wire::Trouble { code, text, since }) = &token.trouble {
        let since = human::dated(now, *since);
        lines.push(format!("the token is not renewed since {since}: {code}: {text}"));
    }
    if daemon.trouble.is_some() || token.trouble.is_some() {
        lines.extend(good_for("the lease is ours", daemon.lease_until, now));
        lines.extend(good_for("Vault's token is valid", token.until, now));
    }
    if let Some(from) = daemon.destructive_from.filter(|from| now < *from) {
        let from = human::dated_to_second(now, from);
        lines.push(format!("nothing is retired or revoked before {from}:"));
        lines.push("  effects of the leader before may still be on their way".into());
    }
    lines.push(braked(&daemon.brakes));
    lines.extend(daemon.alarms.iter().flat_map(|alarm| alarmed(alarm, now)));
    if now.since(daemon.turned_at) > ALIVE_WITHIN {
        let ago = human::fine_from(now, daemon.turned_at);
        lines.push(format!("STALLED: the engine last moved {ago}, this picture is old"));
    }
    lines.join("\n") + "\n"
}

/// What holds rotations back as a whole, and how many leaks are open.
fn braked(brakes: &Brakes) -> String {
    let breaker = match brakes.breaker_open {
        true => "BREAKER OPEN: too much failed, routine rotations are tried one by one",
        false => "breaker closed",
    };
    let alerts = match brakes.alert_breaker_open {
        true => "; ALERT BREAKER OPEN: alerts wait for a person",
        false => "",
    };
    let incidents = brakes.incidents.map(|OpenIncidents { open, waiting, overdue }| {
        let mut text = format!("; {} open", human::count(as_count(open), "incident"));
        for (number, what) in [(waiting, "for approval"), (overdue, "PAST THE DEADLINE")] {
            if number > 0 {
                text.push_str(&format!(", {number} {what}"));
            }
        }
        text
    });
    format!("{breaker}{alerts}{}", incidents.unwrap_or_default())
}

fn as_count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What a person must look at, and how.
fn alarmed(alarm: &wire::Trouble, now: Timestamp) -> Vec<String> {
    let wire::Trouble { code, text, since } = alarm;
    let (since, text) = (human::dated(now, *since), human::clean(text));
    let mut lines = vec![format!("ALARM {} since {since}: {text}", human::clean(code))];
    if code == Reason::AuditBroken.code() {
        let look = "  look: rotord audit verify; then rotord audit acknowledge --reason ...";
        lines.push(look.into());
    }
    lines
}

/// Whom to ask instead.
fn leader(leader: Option<&wire::LedBy>, now: Timestamp) -> String {
    let Some(wire::LedBy { instance, host, epoch, since }) = leader else {
        return "led by nobody, as far as can be seen from here".into();
    };
    let host = host.as_ref().map(|host| format!(" on {}", human::clean(host)));
    let (instance, host) = (human::clean(instance), host.unwrap_or_default());
    format!("led by {instance}{host} (epoch {epoch}) since {}", human::dated(now, *since))
}

/// `  the lease is ours until 12:00:11Z (in 11s)`, or that it is no longer so.
fn good_for(what: &str, until: Option<Timestamp>, now: Timestamp) -> Option<String> {
    Some(format!("  {what} until {}", human::dated_to_second(now, until?)))
}

fn row(secret: &wire::Summary, now: Timestamp) -> [String; 6] {
    let next = secret.next_run.map(|run| human::rough_from(now, run));
    [
        secret.name.clone(),
        secret.kind.clone(),
        phase(secret),
        secret.current.as_ref().map_or_else(dash, |current| {
            let leaked = if current.tainted { "!" } else { "" };
            format!("v{}{leaked} {}", current.version, human::rough(now.since(current.since)))
        }),
        targets(&secret.targets),
        next.unwrap_or_else(dash),
    ]
}

/// The phase, marked in an emergency, or what stands in its place while nothing is open.
pub(super) fn phase(secret: &wire::Summary) -> String {
    match &secret.rotation {
        _ if !secret.managed => "unmanaged".into(),
        None => "none".into(),
        Some(run) if run.phase == "closed" => "idle".into(),
        Some(run) if run.lane == "emergency" => format!("{}!", run.phase),
        Some(run) => run.phase.clone(),
    }
}

/// `2/3 proved`, with a star where some of it is assumed.
pub(super) fn targets(progress: &wire::Progress) -> String {
    if progress.total == 0 {
        return dash();
    }
    let star = if progress.assumed { "*" } else { "" };
    let evidence = progress.evidence.as_deref().unwrap_or_default();
    let counted = format!("{}/{} {evidence}{star}", progress.reached, progress.total);
    counted.trim_end().to_owned()
}

/// What a secret waits for, unless it is only its schedule.
fn waits(secret: &wire::Summary, now: Timestamp) -> Option<String> {
    let waiting = &secret.waiting;
    let why = human::clean(&waiting.why);
    if let Some(needs) = &waiting.needs_human {
        let remedy = waiting.remedy.as_deref().unwrap_or("rotord status NAME says more");
        return Some(format!("NEEDS A PERSON ({}): {}", needs.code, human::clean(remedy)));
    }
    if let Some(until) = secret.held_until {
        return Some(format!("held until {}; {why}", human::dated(now, until)));
    }
    if why == "schedule" {
        return None;
    }
    Some(match waiting.until {
        Some(until) => format!("waits: {why}, {}", human::fine_from(now, until)),
        None => format!("waits: {why}"),
    })
}

fn footer(secrets: &[wire::Summary]) -> String {
    let people = secrets.iter().filter(|s| s.waiting.needs_human.is_some()).count();
    let mut lines = format!("\n{}", human::count(secrets.len(), "secret"));
    match people {
        0 => {}
        1 => lines.push_str(", 1 needs a person"),
        n => lines.push_str(&format!(", {n} need a person")),
    }
    lines.push('\n');
    if secrets.iter().any(|s| s.targets.assumed) {
        lines.push_str("* assumed: nobody says so, the config takes propagation for evidence\n");
    }
    let exposed = |secret: &&wire::Summary| {
        phase(secret).ends_with('!') || secret.current.as_ref().is_some_and(|c| c.tainted)
    };
    if secrets.iter().any(|secret| exposed(&secret)) {
        lines.push_str("! leaked, or rotated in an emergency\n");
    }
    lines
}

fn dash() -> String {
    "-".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_rotations_back_is_one_line() {
        let quiet = Brakes { incidents: Some(OpenIncidents::default()), ..Brakes::default() };
        assert_eq!(braked(&Brakes::default()), "breaker closed");
        assert_eq!(braked(&quiet), "breaker closed; 0 incidents open");
        let incidents = Some(OpenIncidents { open: 3, waiting: 2, overdue: 1 });
        let line = braked(&Brakes { breaker_open: true, alert_breaker_open: true, incidents });
        assert!(
            line.starts_with("BREAKER OPEN") && line.contains("; ALERT BREAKER OPEN"),
            "{line}"
        );
        assert!(line.ends_with("3 incidents open, 2 for approval, 1 PAST THE DEADLINE"), "{line}");
    }
}
