//! What a seed sets up: secrets, their issuers and their services, and what they go through.

use std::collections::BTreeMap;

use rotord::model::capability::{Capabilities, OldDies, OnLost, ValueFrom};
use rotord::model::id::{SecretName, TargetName};
use rotord::model::policy::{Kind, OnLeak, Policy, WhenFull};
use rotord::model::target::{Level, Role, TargetTerms};
use rotord::model::time::Span;
use rotord::plan::cadence::Cadence;
use rotord::plan::facts::Initial;
use rotord::plan::schedule::Schedule;
use rotord::rotation::Terms;

use crate::sim::checkers::fenced;
use crate::sim::issuer::Manner;
use crate::sim::seat::SEATS;
use crate::sim::truth::{Service, Truth};
use crate::sim::world::World;

/// One configured secret of the scenario.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) name: SecretName,
    pub(super) terms: Terms,
    pub(super) manner: Manner,
    pub(super) targets: BTreeMap<TargetName, TargetTerms>,
    pub(super) cadence: Cadence,
    pub(super) initial: Initial,
}

/// What a seed goes through besides faults at boundaries and people who ask for things.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trials {
    /// Vault is sealed, the audit log is full, for minutes.
    pub(super) outages: bool,
    /// Services restart empty, go back, are dead for a long time.
    pub(super) unruly: bool,
    /// Targets come and go with the config.
    pub(super) reloads: bool,
    /// Somebody sets the wall clock.
    pub(super) clock_set: bool,
    /// At so many of a thousand boundaries something leaks.
    pub(super) leaks: u64,
    /// How many replicas there are.
    pub(super) replicas: usize,
    /// Machines are cut off, stand still, are killed, are upgraded: one, and not the others.
    pub(super) machines: bool,
    /// Somebody deletes a record, and brings it back.
    pub(super) meddling: bool,
    /// The machines' clocks differ, each by up to five minutes.
    pub(super) skew: bool,
    /// Standbys of Vault answer, and lag behind.
    pub(super) stale_reads: bool,
    /// Some of what is delayed arrives up to an hour later.
    pub(super) long_delays: bool,
}

impl Trials {
    pub(super) fn drawn(world: &World) -> Trials {
        let chance = &world.chance;
        Trials {
            outages: chance.permille(300),
            unruly: chance.permille(300),
            reloads: chance.permille(300),
            clock_set: chance.permille(150),
            leaks: *chance.pick(&[0, 3, 12, 40]),
            replicas: *chance.pick(&[1, 1, 1, 2, 2, SEATS]),
            machines: chance.permille(500),
            meddling: chance.permille(200),
            skew: chance.permille(200),
            stale_reads: chance.permille(300),
            long_delays: chance.permille(300),
        }
    }

    /// Has the world be so from here on.
    pub(super) fn begin(&self, world: &World) {
        let mut state = world.state();
        state.leak_permille = self.leaks;
        state.stale_reads = self.stale_reads;
        state.long_delays = self.long_delays;
        if self.skew {
            state.skew = fenced::SKEW_MAX;
            let most = i64::try_from(fenced::SKEW_MAX.0).unwrap();
            for seat in &world.seats {
                let by = world.chance.below(fenced::SKEW_MAX.0 * 2);
                seat.clock.set_ahead(i64::try_from(by).unwrap() - most);
            }
        }
    }
}

impl Setup {
    /// The same secret, rotated by hand only: what can come to rest.
    pub(super) fn without_schedule(&self) -> Setup {
        Setup { cadence: Cadence::default(), ..self.clone() }
    }
}

/// Two secrets that go through everything there is to a plain rotation: a webhook key, and an API
/// key that its issuer mints.
pub(super) fn plain() -> Vec<Setup> {
    let policy = Policy { overlap: Span::from_secs(120), probes: 2, ..Policy::default() };
    let keeps = |role, propagation, keeps_history| TargetTerms {
        role,
        propagation: Span::from_secs(propagation),
        needs: Level::Acknowledged,
        unattested: false,
        keeps_history,
        observe_every: None,
        place: None,
        recovery: None,
    };
    let issuer = Capabilities {
        value: ValueFrom::Theirs,
        capacity: Some(2),
        on_lost: OnLost::Sweep,
        remote: true,
        probes: true,
        exclusive: false,
        ..Capabilities::local()
    };
    let setup = |name: &str, kind, capabilities, roles: [Role; 2]| Setup {
        name: SecretName::new(name).unwrap(),
        terms: Terms { kind, capabilities, policy: policy.clone() },
        manner: Manner::Marks,
        targets: BTreeMap::from([
            (target_name(0), keeps(roles[0], 10, false)),
            (target_name(1), keeps(roles[1], 0, true)),
        ]),
        cadence: Cadence::default(),
        initial: Initial::Generate,
    };
    let roles = [Role::Verifier, Role::Signer];
    let webhook = setup("billing-webhook", Kind::WebhookHmac, Capabilities::local(), roles);
    vec![webhook, setup("stripe-key", Kind::ApiKey, issuer, [Role::Signer, Role::Both])]
}

/// One or two secrets of any kind.
pub(super) fn drawn(world: &World, trials: Trials) -> Vec<Setup> {
    let names = ["billing-webhook", "stripe-key"];
    let count = usize::try_from(1 + world.chance.below(2)).unwrap();
    names[..count].iter().map(|name| setup(world, name, trials)).collect()
}

fn setup(world: &World, name: &str, trials: Trials) -> Setup {
    let chance = &world.chance;
    let kind = *chance.pick(&[Kind::WebhookHmac, Kind::ApiKey, Kind::ApiKey, Kind::ApiKey]);
    let (capabilities, manner) = match kind {
        Kind::WebhookHmac => (Capabilities::local(), Manner::Marks),
        Kind::ApiKey => issuer(world, trials),
    };
    let targets_verify = kind == Kind::WebhookHmac || !capabilities.remote;
    let policy = Policy {
        overlap: Span::from_secs(120 + chance.below(900)),
        evidence_max_age: Span::from_secs(60 + chance.below(240)),
        on_leak: if chance.permille(200) { OnLeak::Contain } else { OnLeak::KeepServing },
        max_exposure: Span::from_secs(300 + chance.below(900)),
        when_full: *chance.pick(&[WhenFull::Ask, WhenFull::Contain]),
        probes: 2,
    };
    let roles: &[Role] = match targets_verify {
        true => &[Role::Verifier, Role::Signer, Role::Both],
        false => &[Role::Signer, Role::Both, Role::Signer],
    };
    let count = usize::try_from(2 + chance.below(2)).unwrap();
    let targets = roles[..count].iter().enumerate();
    let targets = targets.map(|(at, role)| (target_name(at), target(world, *role))).collect();
    let schedule = Schedule::parse("20 * * * *", "UTC").unwrap();
    let adopted = chance.permille(150);
    Setup {
        name: SecretName::new(name).unwrap(),
        terms: Terms { kind, capabilities, policy },
        manner,
        targets,
        cadence: Cadence { schedule: Some(schedule), ..Cadence::default() },
        initial: if adopted { Initial::Adopt } else { Initial::Generate },
    }
}

pub(super) fn target_name(at: usize) -> TargetName {
    TargetName::new(format!("t{at}")).unwrap()
}

fn target(world: &World, role: Role) -> TargetTerms {
    let propagation = *world.chance.pick(&[0, 0, 10, 60]);
    TargetTerms {
        role,
        propagation: Span::from_secs(propagation),
        needs: Level::Acknowledged,
        unattested: false,
        keeps_history: world.chance.permille(300),
        observe_every: world.chance.permille(300).then_some(Span::from_secs(600)),
        place: None,
        recovery: None,
    }
}

fn issuer(world: &World, trials: Trials) -> (Capabilities, Manner) {
    let chance = &world.chance;
    if chance.permille(200) {
        return (Capabilities::local(), Manner::Marks);
    }
    let grace = Span::from_secs(3_600);
    let capabilities = Capabilities {
        value: ValueFrom::Theirs,
        capacity: *chance.pick(&[None, Some(2), Some(3)]),
        old_dies: OldDies::OnRevoke,
        on_lost: OnLost::Manual,
        remote: true,
        probes: chance.permille(700),
        terminates: false,
        settle: Span::from_secs(chance.below(10)),
        exclusive: false,
    };
    // Whether an unmarked key is ours can be told by its age only: not where clocks are set.
    if !trials.clock_set && chance.permille(200) {
        let exclusive = chance.permille(500);
        let on_lost = *chance.pick(&[OnLost::Manual, OnLost::Sweep, OnLost::AdoptThenRoll]);
        return (Capabilities { on_lost, exclusive, ..capabilities }, Manner::Anonymous);
    }
    if chance.permille(100) {
        let by_hand = Capabilities { capacity: None, probes: false, ..capabilities };
        return (by_hand, Manner::ByHand);
    }
    let value = *chance.pick(&[ValueFrom::Ours, ValueFrom::Theirs, ValueFrom::Theirs]);
    let old_dies = *chance.pick(&[
        OldDies::OnRevoke,
        OldDies::OnRevoke,
        OldDies::OnMint,
        OldDies::IssuerClock { grace },
    ]);
    let on_lost = match value {
        ValueFrom::Ours => OnLost::Repeat,
        ValueFrom::Theirs if old_dies == OldDies::OnMint => OnLost::Repeat,
        ValueFrom::Theirs => *chance.pick(&[OnLost::Sweep, OnLost::AdoptThenRoll]),
    };
    (Capabilities { value, old_dies, on_lost, ..capabilities }, Manner::Marks)
}

/// Puts the secret's part into the world.
pub(super) fn introduce(world: &World, setup: &Setup) {
    let services = setup
        .targets
        .iter()
        .map(|(name, terms)| (name.clone(), Service::new(terms.role, terms.propagation)));
    let truth = Truth {
        kind: setup.terms.kind,
        has_issuer: setup.terms.capabilities.remote,
        dies_on_mint: setup.terms.capabilities.old_dies == OldDies::OnMint,
        keys: BTreeMap::new(),
        handed: BTreeMap::new(),
        services: services.collect(),
    };
    world.note(&format!("{setup:?}"));
    world.state().secrets.insert(setup.name.clone(), truth);
}
