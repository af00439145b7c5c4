//! Bugs planted on purpose, one for each rule: the engine runs with a machine that breaks it, or
//! among parts that do. Every one must be found by some checker within a few seeds, or the checkers
//! check less than they say.
//!
//! Nothing of it is in the program: the engine is handed other functions and other parts, as it is
//! handed a clock.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rotord::engine::gate::Leadership;
use rotord::model::failure::Class;
use rotord::model::fingerprint::FingerprintKey;
use rotord::model::id::{Epoch, SecretName, VersionId};
use rotord::model::reason::Reason;
use rotord::model::target::{Evidence, Level, Observation};
use rotord::model::time::{Span, Steady, Timestamp};
use rotord::rotation::apply::{IllegalEvent, apply};
use rotord::rotation::decide::{Next, decide};
use rotord::rotation::effect::Effect;
use rotord::rotation::event::{Event, Happening};
use rotord::rotation::evidence::clear;
use rotord::rotation::machine::Machine;
use rotord::rotation::phase::{Phase, Staging};
use rotord::rotation::{Rotation, TargetState};
use rotord::store::audit::{AuditError, AuditSink, Entry, EntryKind, Head, Seq};
use rotord::store::kv::KvStore;
use rotord::store::record::Record;
use rotord::store::{Placed, Revision, Saved, Store, StoreError, Stored};

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// A push that was answered counts as evidence, and so does one that was not.
    PushTakenForEvidence,
    /// Consumers are taken to use what their service has just been told.
    NoPropagation,
    /// Signers are switched while verifiers are still being told.
    VerifierAfterSigner,
    /// The old version goes when its overlap is over, whatever targets have shown.
    RetireByTheClock,
    /// Evidence counts however old it is.
    StaleEvidence,
    /// A hold is acknowledged and not kept.
    HoldForgotten,
    /// A report of a leak is acknowledged and not kept.
    ReportForgotten,
    /// Another rotation gives a leaked version more time.
    DeadlineExtended,
    /// A mint whose answer was lost is simply ordered again.
    BlindSecondMint,
    /// A revocation that failed counts as done.
    FailedRevokeTakenForDone,
    /// What is on its way out is forgotten when another rotation begins.
    OutgoingForgotten,
    /// What a target must hold changes without a new generation.
    GenerationNotRaised,
    /// A target that forgot what it was told is left alone.
    NoReconvergence,
    /// What failed is tried again at once, without end.
    NoBackOff,
    /// A write whose answer was lost counts as done, unread.
    LostWriteTakenForDone,
    /// Writes overwrite whatever there is.
    CheckAndSetDropped,
    /// New material is used before it is saved.
    MaterialNotSaved,
    /// A record that was deleted counts as one that never was.
    DeletedTakenForAbsent,
    /// A new leader goes on under the epoch of the one before.
    EpochNotRaised,
    /// Whoever had the lease once goes on acting.
    LeaseNeverEnds,
    /// A new leader takes away at once.
    NoTakeoverWait,
    /// Effects begin without a line in the audit log.
    IntentLineDropped,
    /// What became of an effect is not written down.
    OutcomeLineDropped,
    /// An error's text says what was sent.
    ValueInError,
}

impl Bug {
    pub(super) const ALL: [Bug; 24] = [
        Bug::PushTakenForEvidence,
        Bug::NoPropagation,
        Bug::VerifierAfterSigner,
        Bug::RetireByTheClock,
        Bug::StaleEvidence,
        Bug::HoldForgotten,
        Bug::ReportForgotten,
        Bug::DeadlineExtended,
        Bug::BlindSecondMint,
        Bug::FailedRevokeTakenForDone,
        Bug::OutgoingForgotten,
        Bug::GenerationNotRaised,
        Bug::NoReconvergence,
        Bug::NoBackOff,
        Bug::LostWriteTakenForDone,
        Bug::CheckAndSetDropped,
        Bug::MaterialNotSaved,
        Bug::DeletedTakenForAbsent,
        Bug::EpochNotRaised,
        Bug::LeaseNeverEnds,
        Bug::NoTakeoverWait,
        Bug::IntentLineDropped,
        Bug::OutcomeLineDropped,
        Bug::ValueInError,
    ];

    /// The machine that breaks the rule; the real one if the rule is not a machine's.
    pub(super) fn machine(self) -> Machine {
        let real = Machine::default();
        match self {
            Bug::PushTakenForEvidence => Machine { apply: push_taken_for_evidence, ..real },
            Bug::NoPropagation => Machine { decide: no_propagation, ..real },
            Bug::VerifierAfterSigner => Machine { decide: verifier_after_signer, ..real },
            Bug::RetireByTheClock => Machine { decide: retire_by_the_clock, ..real },
            Bug::StaleEvidence => Machine { decide: stale_evidence, ..real },
            Bug::HoldForgotten => Machine { apply: hold_forgotten, ..real },
            Bug::ReportForgotten => Machine { apply: report_forgotten, ..real },
            Bug::DeadlineExtended => Machine { apply: deadline_extended, ..real },
            Bug::BlindSecondMint => Machine { decide: blind_second_mint, ..real },
            Bug::FailedRevokeTakenForDone => {
                Machine { apply: failed_revoke_taken_for_done, ..real }
            }
            Bug::OutgoingForgotten => Machine { apply: outgoing_forgotten, ..real },
            Bug::GenerationNotRaised => Machine { apply: generation_not_raised, ..real },
            Bug::NoReconvergence => Machine { apply: no_reconvergence, ..real },
            Bug::NoBackOff => Machine { decide: no_back_off, ..real },
            _ => real,
        }
    }

    /// What is told of leadership instead of what is so.
    pub(super) fn leadership(
        self,
        so: Result<Leadership, Reason>,
        had: &mut Option<Leadership>,
    ) -> Result<Leadership, Reason> {
        match (self, so) {
            (Bug::EpochNotRaised, Ok(held)) => Ok(Leadership { epoch: Epoch(1), ..held }),
            (Bug::NoTakeoverWait, Ok(held)) => {
                Ok(Leadership { destructive_from: Steady(0), ..held })
            }
            (Bug::LeaseNeverEnds, so) => {
                *had = so.ok().or(*had);
                let endless = |held| Leadership { until: Steady(u64::MAX), ..held };
                had.map(endless).ok_or(Reason::NoLease)
            }
            (_, so) => so,
        }
    }
}

// ---------------------------------------------------------------- machines

fn push_taken_for_evidence(rotation: Rotation, event: Event) -> Result<Rotation, IllegalEvent> {
    let Happening::Failed { effect: Effect::Push { target }, .. } = &event.what else {
        return apply(rotation, event);
    };
    let wanted = rotation.targets[target].wanted.clone();
    let observation = Observation {
        generation: wanted.generation,
        accepted: wanted.accepted,
        current: wanted.current,
        level: Level::Acknowledged,
        by: "the push".to_owned(),
    };
    let what = Happening::Seen { target: target.clone(), observation };
    apply(rotation, Event { what, ..event })
}

fn no_propagation(rotation: &Rotation, now: Timestamp) -> Next {
    let mut seen = rotation.clone();
    seen.targets.values_mut().for_each(|target| target.terms.propagation = Span::ZERO);
    decide(&seen, now)
}

fn verifier_after_signer(rotation: &Rotation, now: Timestamp) -> Next {
    match &rotation.phase {
        Phase::Admit { .. } => Next::Record(Event { at: now, what: Happening::Admitted }),
        _ => decide(rotation, now),
    }
}

/// The rotation if every target had just shown that it holds what it must.
fn as_if_shown(rotation: &Rotation, now: Timestamp) -> Rotation {
    let mut seen = rotation.clone();
    for target in seen.targets.values_mut() {
        let TargetState { wanted, .. } = &*target;
        let observation = Observation {
            generation: wanted.generation,
            accepted: wanted.accepted.clone(),
            current: wanted.current,
            level: Level::Proved,
            by: "nobody".to_owned(),
        };
        target.terms.propagation = Span::ZERO;
        target.evidence = Some(Evidence { seen: observation, at: now, since: now });
    }
    seen
}

fn retire_by_the_clock(rotation: &Rotation, now: Timestamp) -> Next {
    let over = rotation.outgoing.iter().filter(|outgoing| outgoing.is_over(now));
    let going: Vec<VersionId> = over.map(|outgoing| outgoing.version).collect();
    if matches!(rotation.phase, Phase::Overlap { .. })
        && !going.is_empty()
        && let Some(cleared) = clear(&as_if_shown(rotation, now), going, now)
    {
        return Next::Record(Event { at: now, what: Happening::Clear { cleared } });
    }
    decide(rotation, now)
}

fn stale_evidence(rotation: &Rotation, now: Timestamp) -> Next {
    let mut seen = rotation.clone();
    for evidence in seen.targets.values_mut().filter_map(|target| target.evidence.as_mut()) {
        evidence.at = now;
    }
    decide(&seen, now)
}

fn hold_forgotten(rotation: Rotation, event: Event) -> Result<Rotation, IllegalEvent> {
    match &event.what {
        Happening::Held { .. } => Ok(rotation),
        _ => apply(rotation, event),
    }
}

fn report_forgotten(rotation: Rotation, event: Event) -> Result<Rotation, IllegalEvent> {
    match &event.what {
        Happening::Tainted { .. } => Ok(rotation),
        _ => apply(rotation, event),
    }
}

fn deadline_extended(rotation: Rotation, event: Event) -> Result<Rotation, IllegalEvent> {
    let another = matches!(event.what, Happening::Promoted);
    let mut after = apply(rotation, event)?;
    let more = after.terms.policy.max_exposure;
    for outgoing in after.outgoing.iter_mut().filter(|_| another) {
        outgoing.latest = outgoing.latest.map(|latest| latest + more);
    }
    Ok(after)
}

fn blind_second_mint(rotation: &Rotation, now: Timestamp) -> Next {
    match &rotation.phase {
        Phase::Stage { version, step: Staging::Lost { .. } } => {
            Next::Do(vec![Effect::Mint { version: *version }])
        }
        _ => decide(rotation, now),
    }
}

fn failed_revoke_taken_for_done(
    rotation: Rotation,
    event: Event,
) -> Result<Rotation, IllegalEvent> {
    let version = match &event.what {
        Happening::Failed { effect: Effect::Revoke { version }, failure } => {
            (failure.class != Class::Refused).then_some(*version)
        }
        _ => None,
    };
    let Some(version) = version else { return apply(rotation, event) };
    let at = event.at;
    let revoked = apply(rotation, Event { what: Happening::Revoked { version }, ..event })?;
    if !revoked.terms.capabilities.probes {
        return Ok(revoked);
    }
    apply(revoked, Event { at, what: Happening::Probed { version, works: false } })
}

fn outgoing_forgotten(rotation: Rotation, event: Event) -> Result<Rotation, IllegalEvent> {
    let another = matches!(event.what, Happening::Staged { .. });
    let mut after = apply(rotation, event)?;
    if another {
        after.outgoing.clear();
    }
    Ok(after)
}

fn generation_not_raised(rotation: Rotation, event: Event) -> Result<Rotation, IllegalEvent> {
    let before: BTreeMap<_, _> = rotation
        .targets
        .iter()
        .filter(|(_, target)| target.wanted.generation.0 > 1)
        .map(|(name, target)| (name.clone(), target.wanted.generation))
        .collect();
    let mut after = apply(rotation, event)?;
    for (name, generation) in before {
        if let Some(target) = after.targets.get_mut(&name) {
            target.wanted.generation = generation;
        }
    }
    Ok(after)
}

fn no_reconvergence(rotation: Rotation, event: Event) -> Result<Rotation, IllegalEvent> {
    let Happening::Seen { target, observation } = &event.what else {
        return apply(rotation, event);
    };
    let known = rotation.targets.get(target).and_then(|state| state.evidence.as_ref());
    let known = known.filter(|known| observation.generation < known.seen.generation);
    let Some(known) = known.map(|known| known.seen.clone()) else {
        return apply(rotation, event);
    };
    let what = Happening::Seen { target: target.clone(), observation: known };
    apply(rotation, Event { what, ..event })
}

fn no_back_off(rotation: &Rotation, now: Timestamp) -> Next {
    let mut seen = rotation.clone();
    seen.trouble = Default::default();
    seen.targets.values_mut().for_each(|target| target.trouble = Default::default());
    seen.leaving.values_mut().for_each(|leaving| leaving.trouble = Default::default());
    decide(&seen, now)
}

// ---------------------------------------------------------------- parts

/// An audit log that loses lines.
pub(super) struct Forgetful<S>(pub(super) S, pub(super) Option<Bug>);

impl<S: AuditSink> AuditSink for Forgetful<S> {
    fn append(&mut self, entry: Entry) -> Result<Seq, AuditError> {
        match (self.1, entry.kind) {
            (Some(Bug::IntentLineDropped), EntryKind::Intent) => Ok(Seq(0)),
            _ => self.0.append(entry),
        }
    }

    fn owe(&mut self, entry: Entry) {
        match (self.1, entry.kind) {
            (Some(Bug::OutcomeLineDropped), EntryKind::Outcome) => {}
            _ => self.0.owe(entry),
        }
    }

    fn head(&self) -> Head {
        self.0.head()
    }

    fn durable_head(&mut self) -> Result<Head, AuditError> {
        self.0.durable_head()
    }
}

/// A store that takes what it should not for granted.
pub(super) struct Hasty(pub(super) KvStore, pub(super) Option<Bug>);

#[async_trait]
impl Store for Hasty {
    async fn list(&self) -> Result<Vec<SecretName>, StoreError> {
        self.0.list().await
    }

    async fn load(&self, name: &SecretName) -> Result<Option<Stored>, StoreError> {
        match (self.1, self.0.load(name).await) {
            (Some(Bug::DeletedTakenForAbsent), Err(StoreError::Unreadable { .. })) => Ok(None),
            (_, loaded) => loaded,
        }
    }

    async fn save(&self, record: &Record, over: Revision) -> Result<Revision, StoreError> {
        self.0.save(record, over).await
    }

    async fn put_material(
        &self,
        name: &SecretName,
        version: VersionId,
        saved: &Saved,
    ) -> Result<Placed, StoreError> {
        match self.1 {
            Some(Bug::MaterialNotSaved) => Ok(Placed::Written),
            _ => self.0.put_material(name, version, saved).await,
        }
    }

    async fn material(
        &self,
        name: &SecretName,
        version: VersionId,
    ) -> Result<Option<Saved>, StoreError> {
        self.0.material(name, version).await
    }

    async fn forget_material(
        &self,
        name: &SecretName,
        version: VersionId,
    ) -> Result<(), StoreError> {
        self.0.forget_material(name, version).await
    }

    async fn list_material(&self, name: &SecretName) -> Result<Vec<VersionId>, StoreError> {
        self.0.list_material(name).await
    }

    async fn fingerprint_key(&self, id: &str) -> Result<FingerprintKey, StoreError> {
        self.0.fingerprint_key(id).await
    }

    async fn old_fingerprint_key(&self, id: &str) -> Result<Option<FingerprintKey>, StoreError> {
        self.0.old_fingerprint_key(id).await
    }
}
