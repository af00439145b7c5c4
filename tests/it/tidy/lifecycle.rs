//! The tables on `docs/lifecycle.md`, taken from the code that decides them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rotord::model::capability::{Capabilities, OldDies, ValueFrom};
use rotord::model::failure::{Class, Failure};
use rotord::model::id::{Generation, VersionId};
use rotord::model::policy::{Kind, Lane, Policy};
use rotord::model::reason::Reason;
use rotord::model::target::{Evidence, Level, Observation, Role, TargetTerms, Wanted};
use rotord::model::time::{Span, Timestamp};
use rotord::rotation::evidence::is_reached;
use rotord::rotation::phase::{Phase, Staging};
use rotord::rotation::retry::{ATTEMPTS_BEFORE_HUMAN, Trouble};
use rotord::rotation::{TargetState, Terms, route};

const END: &str = "<!-- end -->";

/// Waits shown in the table of retries: the last one of the longest ladder repeats.
const WAITS_SHOWN: u32 = 8;

fn terms(kind: Kind, value: ValueFrom, old_dies: OldDies, remote: bool) -> Terms {
    let capabilities =
        Capabilities { value, old_dies, remote, probes: remote, ..Capabilities::local() };
    Terms { kind, capabilities, policy: Policy::default() }
}

/// The phases from durable material to Closed, in order.
fn walk(terms: &Terms) -> Vec<&'static str> {
    let version = VersionId(1);
    let now = Timestamp::default();
    let mut names = vec!["Stage"];
    let mut phase = route::after_saved(terms, version, now);
    loop {
        let (name, next) = match &phase {
            Phase::Stage { step: Staging::Place, .. } => {
                ("place", route::after_usable(terms, version, now))
            }
            Phase::Probe { .. } => ("Probe", route::after_trusted(terms, version)),
            Phase::Admit { .. } => ("Admit", route::after_admitted(terms, version)),
            Phase::Install { .. } => ("Install", Phase::Promote { incoming: version }),
            Phase::Promote { .. } => break,
            other => panic!("{} is no phase before Promote", other.name()),
        };
        names.push(name);
        phase = next;
    }
    names.extend(["Promote", "Switch", "Overlap"]);
    names.extend(route::targets_verify(terms).then_some("Retire"));
    names.extend(["Revoke", "Closed"]);
    names
}

fn table() -> String {
    let clock = OldDies::IssuerClock { grace: Span::from_secs(3600) };
    let rows = [
        ("webhook key made here", Kind::WebhookHmac, ValueFrom::Ours, OldDies::OnRevoke, false),
        ("key made here, put at an issuer", Kind::ApiKey, ValueFrom::Ours, OldDies::OnRevoke, true),
        ("key minted by the issuer", Kind::ApiKey, ValueFrom::Theirs, OldDies::OnRevoke, true),
        ("the issuer's clock ends the old one", Kind::ApiKey, ValueFrom::Theirs, clock, true),
        ("putting it there ends the old one", Kind::ApiKey, ValueFrom::Ours, OldDies::OnMint, true),
        ("minting ends the old one", Kind::ApiKey, ValueFrom::Theirs, OldDies::OnMint, true),
    ];
    let mut text = String::from("| The secret | Its route |\n| --- | --- |\n");
    for (what, kind, value, old_dies, remote) in rows {
        let route = walk(&terms(kind, value, old_dies, remote)).join(", ");
        writeln!(text, "| {what} | {route} |").unwrap();
    }
    text
}

/// The waits after the first, second, ... failure in a row, as `retry` gives them.
fn retries() -> String {
    let mut text = String::from("| Failure | Routine | Emergency |\n| --- | --- | --- |\n");
    let classes = [
        ("transient, ambiguous", Class::Transient),
        ("refused, gone", Class::Refused),
        ("throttled: 20 s", Class::Throttled(Span::from_secs(20))),
    ];
    for (name, class) in classes {
        let waits = |lane| {
            let failure = Failure { class, reason: Reason::Unavailable };
            let mut trouble = Trouble::default();
            let at = Timestamp::default();
            let mut waits: Vec<String> = Vec::new();
            loop {
                trouble = trouble.met(failure, lane, at);
                let wait = trouble.not_before.expect("a failure has a wait").since(at).to_string();
                if trouble.attempts > WAITS_SHOWN {
                    return format!("{} ...", waits.join(", "));
                }
                waits.push(wait);
            }
        };
        writeln!(text, "| {name} | {} | {} |", waits(Lane::Routine), waits(Lane::Emergency))
            .unwrap();
    }
    let told = format!("\nA person is told after {ATTEMPTS_BEFORE_HUMAN} failures in a row");
    writeln!(text, "{told}, and at once about what was refused or is gone.").unwrap();
    text
}

/// What each level of evidence is good for, at a target that signs and has been told to switch.
fn evidence() -> String {
    let levels = [
        (Level::Sent, "bytes left us"),
        (Level::Stored, "read back equal"),
        (Level::Applied, "its supervisor reloaded it or rolled it out"),
        (Level::Acknowledged, "the service says so itself"),
        (Level::Proved, "the service computed what only a holder of the new value can"),
        (Level::Observed, "the new one was seen in use and the old one quiet"),
    ];
    let mut text = String::from(
        "| Level | Shown by | Enough by default | Enough with `retire_unattested` |\n\
         | --- | --- | --- | --- |\n",
    );
    for (level, what) in levels {
        let enough = |needs| if reached(level, needs) { "yes" } else { "no" };
        let (strict, lax) = (enough(Level::Acknowledged), enough(Level::Stored));
        writeln!(text, "| {level} | {what} | {strict} | {lax} |").unwrap();
    }
    text
}

/// Whether a target that needs one level is reached by an observation of another.
fn reached(level: Level, needs: Level) -> bool {
    let wanted = Wanted {
        generation: Generation(3),
        accepted: vec![VersionId(2), VersionId(1)],
        current: Some(VersionId(2)),
    };
    let seen = Observation {
        generation: wanted.generation,
        accepted: wanted.accepted.clone(),
        current: wanted.current,
        level,
        by: "api-1".to_owned(),
    };
    let at = Timestamp::default();
    is_reached(&TargetState {
        terms: TargetTerms {
            role: Role::Signer,
            propagation: Span::ZERO,
            needs,
            unattested: needs < Level::Acknowledged,
            keeps_history: false,
            recovery: None,
            observe_every: None,
            place: None,
        },
        wanted,
        evidence: Some(Evidence { seen, at, since: at }),
        ahead: None,
        asked_at: None,
        trouble: Trouble::default(),
        waived_by: None,
        removed: false,
        to_purge: BTreeSet::new(),
    })
}

/// The page with what stands between a marker and the end of its part replaced.
pub(super) fn with_part(page: &str, part: &str, text: &str) -> String {
    let begin = format!("<!-- {part}: generated -->\n");
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no part {part}"));
    let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("{part} has no end"));
    format!("{before}{begin}{text}{END}{after}")
}

#[test]
fn the_page_shows_what_the_code_does() {
    let page = super::read("docs/lifecycle.md");
    let page = with_part(&page, "routes", &table());
    let page = with_part(&page, "transitions", &crate::transitions::table());
    let page = with_part(&page, "retries", &retries());
    let page = with_part(&page, "evidence", &evidence());
    super::same_as_file("docs/lifecycle.md", &page);
}
