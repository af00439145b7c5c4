//! The report: a page in Markdown with a picture, the first draft of a post-mortem.
//!
//! Decides what a person reads in the morning: what leaked, where it was found, what was done and
//! when, who decided what, and what is open. Whatever others wrote (places, detectors, reasons,
//! names of people) stands in code marks and on one line, so that it is text and nothing else.

use std::fmt::Write as _;

use crate::incident::alert::Claim;
use crate::incident::progress::Missing;
use crate::incident::record::{Incident, Mark, Moment, Sighting, State, Wait, What};
use crate::incident::timeline::{self, after, short};
use crate::model::time::Timestamp;

/// The report as of a moment.
pub fn markdown(incident: &Incident, now: Timestamp) -> String {
    let mut page = Page(String::new());
    head(&mut page, incident, now);
    sightings(&mut page, incident);
    what_happened(&mut page, incident, now);
    targets(&mut page, incident);
    decisions(&mut page, incident);
    open(&mut page, incident);
    page.line("## For the post-mortem\n");
    page.line("- How did the value get there?");
    page.line(
        "- Who used it who should not have? (the issuer's and the services' logs, from when the",
    );
    page.line("  value was first to be seen at the place above)");
    page.line("- What keeps it from happening again?");
    page.0
}

/// One step of the time line as a line of plain text; whoever shows it makes it harmless.
pub fn step(what: &What) -> String {
    said(what, &str::to_owned)
}

/// One open point as a line of plain text.
pub fn open_point(missing: &Missing, incident: &Incident) -> String {
    lacks(missing, incident, &str::to_owned)
}

/// The page as it grows.
struct Page(String);

impl Page {
    fn line(&mut self, line: impl std::fmt::Display) {
        writeln!(self.0, "{line}").expect("writing to a String does not fail");
    }
}

fn head(page: &mut Page, incident: &Incident, now: Timestamp) {
    let Incident { id, secret, version, stage, .. } = incident;
    page.line(format_args!("# {version} of {} leaked\n", code(secret.as_str())));
    page.line(format_args!("{}\n", summary(incident, now)));
    page.line("| | |\n| --- | --- |");
    let mut row = |what: &str, text: String| page.line(format_args!("| {what} | {text} |"));
    row("Incident", code(&id.0));
    row("What leaked", format!("{version} of {}, then {stage}", code(secret.as_str())));
    row("Learned of it", incident.opened_at.to_string());
    row("What was decided", incident.action.meaning().to_owned());
    let moment = |at: Option<Timestamp>| match at {
        Some(at) => format!("{at} ({})", after(incident.opened_at, at)),
        None => "not yet".to_owned(),
    };
    row("Counts as exposed since", moment(incident.first(|w| *w == What::Exposed)));
    if let Some((version, at)) = successor(incident) {
        row("Replaced by", format!("{version}, current at {}", moment(Some(at))));
    }
    row("Used by no target since", moment(incident.first(|w| *w == What::Everywhere)));
    row("Accepted by nobody since", moment(incident.refused_at()));
    let so_far = if incident.refused_at().is_some() { "" } else { " and counting" };
    row("Exposure since we learned", format!("{}{so_far}", short(incident.exposure(now))));
    if let Some(deadline) = incident.deadline {
        let kept = match incident.has(&What::DeadlinePassed) {
            true => "missed",
            false if incident.refused_at().is_some() => "kept",
            false => "to come",
        };
        row("Deadline", format!("{} ({kept})", moment(Some(deadline))));
    }
    page.line("");
}

/// One sentence that says how it stands.
fn summary(incident: &Incident, now: Timestamp) -> String {
    match incident.state {
        State::Waiting(wait) => {
            format!("**Waits for a person**: {}. Nothing was done yet.", wait.meaning())
        }
        State::Acting if incident.is_overdue(now) => {
            "**Under way and past its deadline**: the version is still accepted.".to_owned()
        }
        State::Acting => "**Under way.**".to_owned(),
        State::Done => {
            let took = short(incident.exposure(now));
            format!("**Done**: accepted by nobody {took} after we learned of it.")
        }
        State::Closed => "**Closed by a person.**".to_owned(),
    }
}

fn successor(incident: &Incident) -> Option<(crate::model::id::VersionId, Timestamp)> {
    incident.timeline.iter().find_map(|moment| match moment.what {
        What::Current { version } => Some((version, moment.at)),
        _ => None,
    })
}

fn sightings(page: &mut Page, incident: &Incident) {
    page.line("## Where it was found\n");
    for sighting in &incident.sightings {
        page.line(format_args!("- {}", found(sighting)));
    }
    if incident.more_sightings > 0 {
        page.line(format_args!("- and {} more reports of other places", incident.more_sightings));
    }
    page.line("");
}

fn found(sighting: &Sighting) -> String {
    let Sighting { source, id, label, found_at, claim, proved, at, times, .. } = sighting;
    let place = found_at.as_ref().map_or_else(|| "no place named".to_owned(), |p| code(p.as_str()));
    let mut text = format!("{place}: reported by {} at {at}", code(source.as_str()));
    let mut add = |piece: String| text.push_str(&piece);
    if !label.is_empty() {
        add(format!(", as {}", code(label)));
    }
    if !id.is_empty() {
        add(format!(", its id {}", code(id)));
    }
    match claim {
        Claim::Public => add(", **public**".to_owned()),
        Claim::Asked => add(", which only asked about it".to_owned()),
        Claim::Withdrawn => add(", taken back by the source".to_owned()),
        Claim::Leaked => {}
    }
    if *times > 1 {
        add(format!(", {times} times until {}", sighting.last_at));
    }
    if !proved {
        add(", without proof of knowing the value".to_owned());
    }
    text
}

fn what_happened(page: &mut Page, incident: &Incident, now: Timestamp) {
    page.line("## What happened\n");
    page.line(timeline::svg(incident, now));
    for moment in &incident.timeline {
        let Moment { at, what } = moment;
        page.line(format_args!(
            "- {at} ({}): {}",
            after(incident.opened_at, *at),
            said(what, &code)
        ));
    }
    if incident.more_moments > 0 {
        page.line(format_args!("- {} more steps found no room here", incident.more_moments));
    }
    page.line("");
}

/// A step in words; `mark` is put around what others wrote.
fn said(what: &What, mark: &dyn Fn(&str) -> String) -> String {
    match what {
        What::Opened => "the first alert was accepted".to_owned(),
        What::Public => "a source says that everybody can read it".to_owned(),
        What::Asked { wait } => format!("a person is asked: {}", wait.meaning()),
        What::Approved { by, reason } => format!("{} agreed: {}", mark(by), mark(reason)),
        What::Exposed => "the version counts as exposed".to_owned(),
        What::Rotation { id } => format!("rotation {} answers it", mark(&id.0)),
        What::Current { version } => format!("{version} is current"),
        What::Left { target } => format!("{} works without it", mark(target.as_str())),
        What::Returned { target } => format!("{} was seen with it again", mark(target.as_str())),
        What::Waived { target, by, reason } => {
            format!("{} excused {}: {}", mark(by), mark(target.as_str()), mark(reason))
        }
        What::Everywhere => "no target that counts uses or accepts it".to_owned(),
        What::Refused => "nobody accepts it any more".to_owned(),
        What::DeadlinePassed => "**the deadline passed, it was still accepted**".to_owned(),
        What::NeedsHuman { reason } => {
            format!("the rotation waits for a person: `{reason}`, {}", reason.meaning().trim())
        }
        What::Revoked => "its material is deleted".to_owned(),
        What::Done => "everything is settled".to_owned(),
        What::Closed { by, reason } => format!("{} closed it: {}", mark(by), mark(reason)),
    }
}

fn targets(page: &mut Page, incident: &Incident) {
    if incident.targets.is_empty() {
        return;
    }
    page.line("## Targets\n\n| Target | Works without it since | After |\n| --- | --- | --- |");
    for (name, Mark { left_at, waived_by }) in &incident.targets {
        let (since, took) = match (left_at, waived_by) {
            (Some(at), _) => (at.to_string(), after(incident.opened_at, *at)),
            (None, Some(by)) => (format!("excused by {}", code(by)), "-".to_owned()),
            (None, None) => ("**not yet**".to_owned(), "-".to_owned()),
        };
        page.line(format_args!("| {} | {since} | {took} |", code(name.as_str())));
    }
    page.line("");
}

fn decisions(page: &mut Page, incident: &Incident) {
    page.line("## Who decided what\n");
    page.line(format_args!("- rotord: {}", incident.action.meaning()));
    let people = |what: &What| {
        matches!(what, What::Approved { .. } | What::Waived { .. } | What::Closed { .. })
    };
    for moment in incident.timeline.iter().filter(|moment| people(&moment.what)) {
        page.line(format_args!("- {}: {}", moment.at, said(&moment.what, &code)));
    }
    page.line("");
}

fn open(page: &mut Page, incident: &Incident) {
    page.line("## What is open\n");
    let missing = incident.missing();
    for missing in &missing {
        page.line(format_args!("- {}", lacks(missing, incident, &code)));
    }
    if missing.is_empty() {
        page.line("Nothing.");
    }
    page.line("");
}

fn lacks(missing: &Missing, incident: &Incident, mark: &dyn Fn(&str) -> String) -> String {
    let Incident { id, secret, .. } = incident;
    match missing {
        Missing::Approval(wait @ Wait::Vanished) => format!(
            "a person's word: {}: {}",
            wait.meaning(),
            mark(&format!("rotord incident close {id} --reason WHY"))
        ),
        Missing::Approval(wait) => format!(
            "a person's word ({}): {}, or {}",
            wait.meaning(),
            mark(&format!("rotord incident approve {id} --reason WHY")),
            mark(&format!("rotord incident close {id} --reason WHY"))
        ),
        Missing::Exposure => "the version could not be marked as exposed yet".to_owned(),
        Missing::Target(target) => format!(
            "{} may still hold it: {} says why",
            mark(target.as_str()),
            mark(&format!("rotord status {secret}"))
        ),
        Missing::Refusal => "it is still accepted somewhere".to_owned(),
        Missing::Revocation => "its material is not deleted yet".to_owned(),
    }
}

/// Text of others as code: no mark-up, no link, no line break, nothing that turns the reading
/// direction round.
fn code(text: &str) -> String {
    let harmless = |c: char| match c {
        '`' => '\'',
        '|' => '\u{a6}',
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => ' ',
        c if c.is_control() => ' ',
        c => c,
    };
    let text: String = text.trim().chars().map(harmless).collect();
    if text.is_empty() { "(nothing)".to_owned() } else { format!("`{text}`") }
}
