//! The routes on `docs/lifecycle.md`, walked through the code that decides them.

use std::fmt::Write as _;

use rotord::model::capability::{Capabilities, OldDies, ValueFrom};
use rotord::model::id::VersionId;
use rotord::model::policy::{Kind, Policy};
use rotord::model::time::{Span, Timestamp};
use rotord::rotation::phase::{Phase, Staging};
use rotord::rotation::{Terms, route};

const BEGIN: &str = "<!-- routes: generated -->\n";
const END: &str = "<!-- end -->";

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

#[test]
fn the_page_shows_the_routes_that_the_code_takes() {
    let page = super::read("docs/lifecycle.md");
    let (before, rest) = page.split_once(BEGIN).expect("the page marks where the routes begin");
    let (_, after) = rest.split_once(END).expect("the page marks where the routes end");
    let table = table();
    super::same_as_file("docs/lifecycle.md", &format!("{before}{BEGIN}{table}{END}{after}"));
}
