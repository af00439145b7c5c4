//! One secret in full: what `rotord status NAME` prints.

use crate::api::wire;
use crate::cli::human::{self, clean, dated};
use crate::cli::{status, table};
use crate::model::time::Timestamp;

/// Everything that is known of a secret, section by section; empty sections are left out.
pub(super) fn text(view: &wire::Detail) -> String {
    let now = view.now;
    let secret = &view.secret;
    let mut page = status::daemon(&view.daemon, now);
    page.push('\n');
    page.push_str(&head(secret, now));
    section(&mut page, "", versions(&secret.versions, now));
    section(&mut page, "", targets(&secret.targets_detail, now));
    section(&mut page, "Outgoing", outgoing(&secret.outgoing, now));
    section(&mut page, "Under way", secret.under_way.iter().map(|e| clean(e)).collect());
    section(&mut page, "Forced", secret.forced.iter().map(forced).collect());
    section(&mut page, "Last failures", failures(&secret.failures, now));
    section(&mut page, "History", history(&secret.history));
    page
}

fn section(page: &mut String, title: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    page.push('\n');
    let indent = if title.is_empty() { "" } else { "  " };
    if !title.is_empty() {
        page.push_str(&format!("{title}:\n"));
    }
    for line in lines {
        page.push_str(&format!("{indent}{line}\n"));
    }
}

fn head(secret: &wire::Secret, now: Timestamp) -> String {
    let summary = &secret.summary;
    let mut lines = vec![("secret", format!("{} ({})", summary.name, summary.kind))];
    if !summary.tags.is_empty() {
        lines.push(("tags", summary.tags.join(", ")));
    }
    lines.push(("phase", status::phase(summary)));
    if let Some(run) = &summary.rotation {
        lines.push(("rotation", rotation(run, now)));
    }
    if summary.targets.total > 0 {
        let wire::Progress { reached, total, .. } = summary.targets;
        lines.push(("targets", format!("{reached} of {total} have what they must")));
    }
    lines.push(("waits for", waits(&summary.waiting, now)));
    if let Some(needs) = &summary.waiting.needs_human {
        lines.push(("PERSON", format!("{}: {}", needs.code, needs.text)));
        lines.extend(summary.waiting.remedy.clone().map(|remedy| ("try", remedy)));
    }
    if let Some(hold) = &secret.hold {
        let free = if hold.routine_only { ", emergencies are free of it" } else { "" };
        let wire::Hold { by, reason, until, .. } = hold;
        lines.push(("held", format!("until {} by {by}: {reason}{free}", dated(now, *until))));
    }
    if let Some(policy) = &secret.policy {
        let wire::Policy { overlap, on_leak, max_exposure, .. } = policy;
        let leak = format!("on a leak {on_leak}, exposed for {max_exposure} at most");
        lines.push(("policy", format!("overlap {overlap}; {leak}")));
    }
    lines.extend(runs(&secret.next_runs, now).map(|runs| ("next run", runs)));
    lines.into_iter().map(|(key, text)| format!("{key:<10} {}\n", clean(&text))).collect()
}

fn runs(runs: &[Timestamp], now: Timestamp) -> Option<String> {
    let (first, rest) = runs.split_first()?;
    let rest: Vec<_> = rest.iter().map(|run| human::rough_from(now, *run)).collect();
    let then = if rest.is_empty() { "" } else { ", then " };
    Some(format!("{}{then}{}", dated(now, *first), rest.join(", ")))
}

fn rotation(run: &wire::Run, now: Timestamp) -> String {
    let ended = match (&run.outcome, run.possible_orphan) {
        (Some(outcome), true) => format!(", {outcome}; a key may be left at the issuer: look"),
        (Some(outcome), false) => format!(", {outcome}"),
        (None, _) => String::new(),
    };
    let incoming = run.incoming.map(|version| format!(", brings in v{version}"));
    let opened = human::fine_from(now, run.opened_at);
    let wire::Run { id, trigger, lane, .. } = run;
    format!("{id} ({trigger}, {lane}), opened {opened}{}{ended}", incoming.unwrap_or_default())
}

fn waits(waiting: &wire::Waiting, now: Timestamp) -> String {
    match waiting.until {
        Some(until) => format!("{}, until {}", waiting.why, dated(now, until)),
        None => waiting.why.clone(),
    }
}

fn versions(versions: &[wire::Version], now: Timestamp) -> Vec<String> {
    if versions.is_empty() {
        return Vec::new();
    }
    let moment = |at: Option<Timestamp>| at.map_or_else(|| "-".into(), human::minute);
    let rows: Vec<_> = versions
        .iter()
        .map(|version| {
            let taint = version.taint.as_ref();
            let leaked = |taint: &wire::Taint| {
                format!("{} by {}", human::fine_from(now, taint.at), taint.by)
            };
            [
                format!("v{}", version.version),
                version.stage.clone(),
                version.key_id.clone().unwrap_or_else(|| "-".into()),
                moment(version.promoted_at),
                moment(version.revoked_at),
                taint.map_or_else(|| "-".into(), leaked),
            ]
        })
        .collect();
    table::lines(["VERSION", "STAGE", "KEY ID", "IN USE SINCE", "REVOKED", "TAINTED"], &rows)
}

/// A row for each target; one that lags, fails or was excused says why in a line below.
fn targets(targets: &[wire::Target], now: Timestamp) -> Vec<String> {
    if targets.is_empty() {
        return Vec::new();
    }
    let rows: Vec<_> = targets.iter().map(|target| target_row(target, now)).collect();
    let mut lines =
        table::lines(["TARGET", "ROLE", "WANTED", "SEEN", "EVIDENCE", "AGE", "BY"], &rows)
            .into_iter();
    let mut all: Vec<String> = lines.next().into_iter().collect();
    for (line, target) in lines.zip(targets) {
        all.push(line);
        all.extend(remarks(target, now).map(|remark| format!("  {remark}")));
    }
    all
}

fn target_row(target: &wire::Target, now: Timestamp) -> [String; 7] {
    let mark = match (target.reached, target.assumed) {
        (true, true) => " (assumed)",
        (true, false) => "",
        (false, _) => " (behind)",
    };
    let level = target.evidence.as_ref().map_or("none", |evidence| &evidence.level);
    let age = target.evidence.as_ref().map(|evidence| human::rough(now.since(evidence.at)));
    [
        target.name.clone(),
        target.role.clone(),
        holding(Some(&target.wanted)),
        holding(target.seen.as_ref()),
        format!("{level}{mark}"),
        age.unwrap_or_else(|| "-".into()),
        target.evidence.as_ref().map_or_else(|| "-".into(), |evidence| evidence.by.clone()),
    ]
}

/// The version in use first, the others in brackets: `v8 (v7)`.
fn holding(holding: Option<&wire::Holding>) -> String {
    let Some(holding) = holding else { return "-".into() };
    let others: Vec<u64> =
        holding.accepted.iter().copied().filter(|v| Some(*v) != holding.current).collect();
    match (holding.current, &others[..]) {
        (Some(current), []) => format!("v{current}"),
        (Some(current), others) => format!("v{current} ({})", human::versions(others)),
        (None, others) => human::versions(others),
    }
}

fn remarks(target: &wire::Target, now: Timestamp) -> impl Iterator<Item = String> {
    let settles = target
        .settles_at
        .filter(|at| now < *at)
        .map(|at| format!("propagation until {}", dated(now, at)));
    let removed = target.removed.then(|| "not in the config any more: waive it by name".into());
    let waived = target.waived_by.as_ref().map(|by| format!("waived by {}", clean(by)));
    let trouble = target.trouble.as_ref().map(|trouble| fails(trouble, now));
    let all = [settles, removed, waived, trouble];
    all.into_iter().flatten()
}

/// A line for each version, and one below it for each target that it waits for.
fn outgoing(outgoing: &[wire::Outgoing], now: Timestamp) -> Vec<String> {
    let lines = |out: &wire::Outgoing| {
        let earliest = match out.earliest {
            Some(at) => format!("not before {}", dated(now, at)),
            None => "not before every signer has switched".into(),
        };
        let latest = out.latest.map(|at| format!(", at the latest {}", dated(now, at)));
        let latest = latest.unwrap_or_default();
        let mut lines = vec![format!("v{} ({}): {earliest}{latest}", out.version, out.progress)];
        lines.extend(out.lacking.iter().map(|lacking| format!("  {}", lacks(lacking, now))));
        lines.extend(out.trouble.as_ref().map(|trouble| format!("  {}", fails(trouble, now))));
        lines
    };
    outgoing.iter().flat_map(lines).collect()
}

/// `lacks worker (stored, needs acknowledged): unreachable, since ... (11m ago)`.
fn lacks(lacking: &wire::Lacking, now: Timestamp) -> String {
    let wire::Lacking { target, level, needs, code, since, until, .. } = lacking;
    let level = level.as_deref().unwrap_or("no evidence");
    let when = match (until, since) {
        (Some(until), _) => format!(", until {}", dated(now, *until)),
        (None, Some(since)) => format!(", since {}", dated(now, *since)),
        (None, None) => String::new(),
    };
    clean(&format!("lacks {target} ({level}, needs {needs}): {code}{when}"))
}

fn fails(trouble: &wire::Attempts, now: Timestamp) -> String {
    let last = trouble.last.as_ref().map_or("failed", |why| &why.code);
    let next = trouble.next_at.map(|at| format!(", next {}", human::fine_from(now, at)));
    let failures = human::count(usize::try_from(trouble.attempts).unwrap_or(usize::MAX), "failure");
    format!("{failures} in a row: {last}{}", next.unwrap_or_default())
}

fn forced(forced: &wire::Forced) -> String {
    let without = match &forced.targets_without_evidence[..] {
        [] => "every target had shown evidence".into(),
        some => format!("without evidence of {}", some.join(", ")),
    };
    format!("v{} by {} at {}, {without}", forced.version, forced.rule, human::minute(forced.at))
}

fn failures(failures: &[wire::Failure], now: Timestamp) -> Vec<String> {
    let line = |failure: &wire::Failure| {
        let ago = human::fine_from(now, failure.at);
        clean(&format!("{ago} {}: {}: {}", failure.effect, failure.code, failure.text))
    };
    failures.iter().map(line).collect()
}

fn history(history: &[wire::Past]) -> Vec<String> {
    let line = |past: &wire::Past| {
        let wire::Past { id, trigger, outcome, opened_at, closed_at, .. } = past;
        let took = human::fine(closed_at.since(*opened_at));
        let mut line =
            format!("{} {id} {trigger}, {outcome} after {took}", human::minute(*opened_at));
        for made in &past.forced {
            line.push_str(&format!("; forced {}", forced(made)));
        }
        if past.possible_orphan {
            line.push_str("; a key may be left at the issuer");
        }
        clean(&line)
    };
    history.iter().map(line).collect()
}
