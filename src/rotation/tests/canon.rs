//! When two states are the same: equal in everything that can still make a difference. Moments
//! count only as distances from now, and not at all once nothing is waiting for them.
//!
//! Everything is taken apart by name, so that a new field has to be thought about here.

use std::hash::{Hash, Hasher};

use crate::model::target::{Evidence, Observation, Wanted};
use crate::model::time::{Span, Timestamp};
use crate::model::version::Version;
use crate::rotation::lookup::STILL_UNDER_WAY;
use crate::rotation::phase::{AfterUnwind, Outcome, Phase, Remains, Staging};
use crate::rotation::retry::{ATTEMPTS_BEFORE_HUMAN, Trouble};
use crate::rotation::tests::check;
use crate::rotation::tests::replica::Former;
use crate::rotation::tests::toy::{Holding, Key, Toy};
use crate::rotation::{Intent, Leaving, Outgoing, Rotation, TargetState, deadline};

/// From here on one more failure in a row changes nothing.
const ATTEMPTS_MAX: u32 = 2 * ATTEMPTS_BEFORE_HUMAN + 1;

/// A state as a number.
pub(super) type Canon = u128;

/// Multiplies and turns: quick even without optimisation, and wide enough that no two of a million
/// states meet.
struct Mix(u128);

impl Mix {
    fn word(&mut self, word: u64) {
        const ODD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        self.0 = (self.0 ^ u128::from(word)).wrapping_mul(ODD).rotate_left(41);
    }
}

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.word(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.word(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.word(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.word(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.word(n as u64);
    }

    fn finish(&self) -> u64 {
        unreachable!("the whole width is read")
    }
}

/// The number of a state. `vault` says whether a crash can still bring the saved record back.
pub(super) fn canon(toy: &Toy, vault: bool) -> Canon {
    let mut mix = Mix(1);
    let now = toy.now;
    rotation(&mut mix, &toy.rotation, now);
    if vault || toy.former.is_some() || toy.overtaken {
        rotation(&mut mix, &toy.saved, now);
    }
    if let Some(Former { wire, order, mind, until }) = &toy.former {
        wire.hash(&mut mix);
        rotation(&mut mix, order, now);
        if let Some(mind) = mind {
            rotation(&mut mix, mind, now);
        }
        ahead(&mut mix, Some(*until), now);
    }
    toy.overtaken.hash(&mut mix);
    ahead(&mut mix, Some(toy.destructive_from), now);
    toy.pending.hash(&mut mix);
    toy.material.hash(&mut mix);
    toy.joined.hash(&mut mix);
    toy.forced.hash(&mut mix);
    for outgoing in &toy.rotation.outgoing {
        if let Some(last) = check::last_use(toy, outgoing.version) {
            ago(&mut mix, last, now, toy.rotation.terms.policy.overlap);
        }
    }
    for (name, terms) in &toy.config {
        (name, &terms.place).hash(&mut mix);
    }
    for (id, Key { version, alive, dies_at, marked, created_at }) in &toy.keys {
        (id, version, alive, marked).hash(&mut mix);
        ahead(&mut mix, *dies_at, now);
        created_at.hash(&mut mix);
    }
    for (name, Holding { wanted, before }) in &toy.held {
        name.hash(&mut mix);
        wish(&mut mix, wanted);
        before.len().hash(&mut mix);
        for (older, ends) in before {
            wish(&mut mix, older);
            ahead(&mut mix, Some(*ends), now);
        }
    }
    mix.0
}

/// How long until a moment; a moment that has come is as good as none.
fn ahead(mix: &mut Mix, moment: Option<Timestamp>, now: Timestamp) {
    moment.map_or(0, |moment| moment.since(now).0).hash(mix);
}

/// How long ago a moment was, up to where it makes no difference any more.
fn ago(mix: &mut Mix, moment: Timestamp, now: Timestamp, max: Span) {
    now.since(moment).min(max.plus(Span(1))).0.hash(mix);
}

fn rotation(mix: &mut Mix, r: &Rotation, now: Timestamp) {
    let Rotation {
        id: _,
        trigger: _,
        lane,
        opened_at: _,
        terms,
        versions,
        next_version,
        generation,
        outgoing,
        leaving,
        targets,
        phase: standing,
        intent,
        trouble: met,
        hold,
        forced,
        known_keys,
    } = r;
    (*lane as u8, next_version, generation, known_keys).hash(mix);
    for (id, known) in versions {
        id.hash(mix);
        version(mix, known, now, terms.policy.max_exposure);
    }
    for Outgoing { version, earliest, latest } in outgoing {
        (version, earliest.is_some(), latest.is_some()).hash(mix);
        ahead(mix, *earliest, now);
        ahead(mix, *latest, now);
    }
    for (id, Leaving { revoked, refused, terminated, forgotten, trouble: met }) in leaving {
        (id, revoked, refused, terminated, forgotten).hash(mix);
        trouble(mix, met, now);
    }
    let max_age = terms.policy.evidence_max_age;
    let mut deadlines: Vec<Timestamp> = outgoing.iter().filter_map(|o| o.latest).collect();
    for (_, latest) in deadline::exposed_leaving(r) {
        deadlines.extend([latest, now - max_age]);
    }
    for (name, state) in targets {
        name.hash(mix);
        target(mix, state, now, max_age, &deadlines);
    }
    phase(mix, standing, now);
    if let Some(Intent { at: _, pending }) = intent {
        pending.hash(mix);
    }
    trouble(mix, met, now);
    if let Some(hold) = hold {
        hold.routine_only.hash(mix);
        ahead(mix, Some(hold.until), now);
    }
    for exception in forced {
        (exception.version, exception.rule as u8).hash(mix);
    }
}

fn version(mix: &mut Mix, version: &Version, now: Timestamp, exposure: Span) {
    let Version {
        stage,
        key_id,
        fingerprint: _,
        staged_at: _,
        promoted_at: _,
        revoked_at: _,
        taint,
    } = version;
    (stage, key_id, taint.is_some()).hash(mix);
    if let Some(taint) = taint {
        ago(mix, taint.at, now, exposure);
    }
}

fn target(mix: &mut Mix, t: &TargetState, now: Timestamp, max_age: Span, deadlines: &[Timestamp]) {
    let TargetState {
        terms,
        wanted,
        evidence,
        ahead: found,
        asked_at,
        trouble: met,
        waived_by,
        removed,
        to_purge,
    } = t;
    wish(mix, wanted);
    if let Some(Evidence { seen, at, since }) = evidence {
        let Observation { generation, accepted, current, level, by: _ } = seen;
        (generation, accepted, current, level).hash(mix);
        ago(mix, *at, now, max_age);
        ago(mix, *since, now, terms.propagation);
    }
    for deadline in deadlines {
        asked_at.is_some_and(|asked| asked >= *deadline).hash(mix);
    }
    if let (Some(asked), Some(every)) = (asked_at, terms.observe_every) {
        ahead(mix, Some(*asked + every), now);
    }
    trouble(mix, met, now);
    (waived_by.is_some(), removed, to_purge, found).hash(mix);
}

fn wish(mix: &mut Mix, wanted: &Wanted) {
    let Wanted { generation, accepted, current } = wanted;
    (generation, accepted, current).hash(mix);
}

fn trouble(mix: &mut Mix, trouble: &Trouble, now: Timestamp) {
    let Trouble { attempts, last, not_before, since: _ } = trouble;
    (attempts.min(&ATTEMPTS_MAX), last).hash(mix);
    ahead(mix, *not_before, now);
}

fn phase(mix: &mut Mix, phase: &Phase, now: Timestamp) {
    phase.name().hash(mix);
    match phase {
        Phase::Stage { version, step } => {
            version.hash(mix);
            staging(mix, step, now);
        }
        Phase::Probe { incoming, good, not_before } => {
            (incoming, good).hash(mix);
            ahead(mix, Some(*not_before), now);
        }
        Phase::Install { incoming, doubtful } => (incoming, doubtful).hash(mix),
        Phase::Admit { incoming } | Phase::Promote { incoming } => incoming.hash(mix),
        Phase::Switch { current } | Phase::Overlap { current, switched_at: _ } => current.hash(mix),
        Phase::Retire { current, cleared } | Phase::Revoke { current, cleared } => {
            (current, cleared.going()).hash(mix);
        }
        Phase::Unwind { version, remains, then } => {
            version.hash(mix);
            match remains {
                Remains::Nothing => 0_u8.hash(mix),
                Remains::Unknown => 1_u8.hash(mix),
                Remains::Unfindable => 2_u8.hash(mix),
                Remains::Orphans { orphans } => orphans.hash(mix),
            }
            matches!(then, AfterUnwind::StageAnother).hash(mix);
        }
        Phase::Closed { outcome, at: _ } => matches!(outcome, Outcome::Done).hash(mix),
    }
}

fn staging(mix: &mut Mix, step: &Staging, now: Timestamp) {
    match step {
        Staging::Preflight => 0_u8.hash(mix),
        Staging::Sweep { orphans } => (1_u8, orphans).hash(mix),
        Staging::Make => 2_u8.hash(mix),
        Staging::Mint { before } => (3_u8, before).hash(mix),
        Staging::Lost { before, since, stuck } => {
            (4_u8, before, stuck).hash(mix);
            ago(mix, *since, now, STILL_UNDER_WAY);
        }
        Staging::Roll { found, before, since: _ } => (5_u8, found, before).hash(mix),
        Staging::Place => 6_u8.hash(mix),
    }
}
