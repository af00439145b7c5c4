//! The machine on plain data: a toy world answers what `decide` orders, and the promises are
//! looked at after every step.

mod canon;
mod carried;
mod check;
mod deadlines;
mod issuers;
mod leaks;
mod replica;
mod scripts;
mod search;
mod strangers;
mod targets;
mod toy;
mod unwinding;
mod world;

use crate::model::capability::{Capabilities, OldDies, OnLost, ValueFrom};
use crate::model::policy::{Kind, Lane};
use crate::model::time::Span;
use crate::rotation::phase::{Outcome, Phase};
use crate::rotation::tests::toy::{Toy, remote};

fn routes() -> Vec<(&'static str, Kind, Capabilities)> {
    let clock = OldDies::IssuerClock { grace: Span::from_secs(600) };
    vec![
        ("hmac ours", Kind::WebhookHmac, Capabilities::local()),
        ("hmac set", Kind::WebhookHmac, remote(ValueFrom::Ours, OldDies::OnMint, OnLost::Repeat)),
        ("key slots", Kind::ApiKey, remote(ValueFrom::Theirs, OldDies::OnRevoke, OnLost::Sweep)),
        ("key append", Kind::ApiKey, remote(ValueFrom::Ours, OldDies::OnRevoke, OnLost::Repeat)),
        ("key set", Kind::ApiKey, remote(ValueFrom::Ours, OldDies::OnMint, OnLost::Repeat)),
        ("key roll", Kind::ApiKey, remote(ValueFrom::Theirs, OldDies::OnMint, OnLost::Repeat)),
        ("key grace", Kind::ApiKey, remote(ValueFrom::Theirs, clock, OnLost::AdoptThenRoll)),
        ("key checked by targets", Kind::ApiKey, Capabilities::local()),
    ]
}

#[test]
fn every_route_ends_done_twice_and_leaves_one_version() {
    for (name, kind, capabilities) in routes() {
        let mut toy = Toy::new(kind, capabilities);
        toy.run();
        assert!(toy.rotation.is_closed(), "{name}: {:?}\n{}", toy.rotation.phase, toy.trace());
        toy.open_next(Lane::Routine);
        toy.run();
        let closed = matches!(toy.rotation.phase, Phase::Closed { outcome: Outcome::Done, .. });
        assert!(closed, "{name}: {:?}\n{}", toy.rotation.phase, toy.trace());
        assert_eq!(toy.rotation.current().map(|v| v.0), Some(2), "{name}\n{}", toy.trace());
        assert_eq!(toy.saved_versions(), vec![2], "{name}\n{}", toy.trace());
        assert_eq!(toy.alive_keys(), usize::from(toy.has_issuer()), "{name}\n{}", toy.trace());
    }
}

#[test]
fn a_leak_ends_the_exposed_version_on_every_route() {
    for (name, kind, capabilities) in routes() {
        let mut toy = Toy::new(kind, capabilities);
        toy.run();
        let current = toy.rotation.current().expect("closed with a current version");
        toy.taint(current);
        let began = toy.now;
        toy.run();
        assert!(toy.rotation.is_closed(), "{name}: {:?}\n{}", toy.rotation.phase, toy.trace());
        assert_eq!(toy.saved_versions(), vec![2], "{name}\n{}", toy.trace());
        let took = toy.now.since(began);
        assert!(took < Span::from_secs(60), "{name} took {took}\n{}", toy.trace());
    }
}
