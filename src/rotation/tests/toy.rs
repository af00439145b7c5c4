//! A world small enough to be a value: one issuer, a few targets, a store, and the loop around the
//! machine. Everything happens at once and in order; whoever drives it puts the faults in.
//!
//! The loop is the engine's in what counts: the record is durable at intents and at waits, a crash
//! loses everything after that, and one command at a time comes in between.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::capability::{Capabilities, OldDies, OnLost, ValueFrom};
use crate::model::failure::{Class, Failure};
use crate::model::id::{KeyId, RotationId, TargetName, VersionId};
use crate::model::policy::{Kind, Lane, Policy, WhenFull};
use crate::model::reason::Reason;
use crate::model::target::{Level, Role, TargetTerms, Wanted};
use crate::model::time::{Span, Timestamp};
use crate::rotation::apply::apply;
use crate::rotation::decide::{Next, Wait, Why, decide};
use crate::rotation::effect::Effect;
use crate::rotation::event::{Event, Happening};
use crate::rotation::open::{CannotOpen, Opening};
use crate::rotation::phase::{Phase, Staging};
use crate::rotation::tests::canon::canon;
use crate::rotation::tests::check;
use crate::rotation::tests::replica::Former;
use crate::rotation::{Rotation, Terms, Trigger};

/// Steps after which a run that is not at rest has no end: the longest honest one has a tenth.
const STEPS_MAX: u32 = 5_000;

/// How long the loop is away after a crash.
const RESTART: Span = Span::from_secs(1);

/// How long it is away after an outage: longer than every deadline of the toy.
const OUTAGE: Span = Span::from_secs(500);

/// The issuer's side of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) version: VersionId,
    pub(super) alive: bool,
    /// When the issuer's own clock ends it.
    pub(super) dies_at: Option<Timestamp>,
    /// Whether it carries our mark.
    pub(super) marked: bool,
    pub(super) created_at: Option<Timestamp>,
}

/// What a target holds, and what its consumers may still use of what it held before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) wanted: Wanted,
    /// Until when something older may be in use.
    pub(super) before: Vec<(Wanted, Timestamp)>,
}

/// What can go wrong with one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Not done, and said so.
    Refused,
    /// Done, and nobody knows.
    Lied,
    /// Begun and not finished: minted but not saved. As `Lied` for everything else.
    Half,
    /// The loop dies before it starts.
    CrashBefore,
    /// The loop dies after it was done.
    CrashAfter,
    /// As `CrashBefore`, and nobody starts it again for a long time.
    Outage,
    /// Sent, and the loop is cut off; another replica takes over.
    TakenOver,
}

/// What a step was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Something was done or recorded.
    Moved,
    /// Time has passed, for this.
    Waited(Wait),
    /// Only somebody from outside can change anything.
    Rests(Wait),
}

#[derive(Clone, Debug)]
pub(super) struct Toy {
    pub(super) now: Timestamp,
    pub(super) rotation: Rotation,
    /// The record as it is in Vault.
    pub(super) saved: Rotation,
    /// Effects that were let through and not begun yet.
    pub(super) pending: Vec<Effect>,
    pub(super) policy: Policy,
    /// The targets that the config has.
    pub(super) config: BTreeMap<TargetName, TargetTerms>,
    pub(super) keys: BTreeMap<KeyId, Key>,
    pub(super) material: BTreeMap<VersionId, Option<KeyId>>,
    pub(super) held: BTreeMap<TargetName, Holding>,
    /// Targets that the promises speak of: those that stood where they should once.
    pub(super) joined: BTreeSet<TargetName>,
    /// Versions that were taken away by an exception.
    pub(super) forced: BTreeSet<VersionId>,
    /// Targets that were excused once: what they used then moves no date.
    pub(super) excused: BTreeSet<TargetName>,
    /// Until when each version was used by each signer.
    pub(super) used_until: BTreeMap<(VersionId, TargetName), Timestamp>,
    /// Whether new keys carry our mark and a date.
    pub(super) marks: bool,
    pub(super) dates: bool,
    /// How often each effect was ordered at this instant.
    pub(super) ordered: BTreeMap<(Effect, u64), u32>,
    pub(super) minted: u32,
    /// The replica that led before this one, while something of it may still happen.
    pub(super) former: Option<Former>,
    /// It has written after this one had read.
    pub(super) overtaken: bool,
    /// Nothing destructive starts before.
    pub(super) destructive_from: Timestamp,
    steps: u32,
    opened: u32,
    /// What happened, if somebody wants to read it.
    pub(super) trace: Option<Vec<String>>,
}

pub(super) fn remote(value: ValueFrom, old_dies: OldDies, on_lost: OnLost) -> Capabilities {
    Capabilities {
        value,
        capacity: Some(2),
        old_dies,
        on_lost,
        remote: true,
        probes: true,
        terminates: false,
        settle: Span::ZERO,
        exclusive: false,
    }
}

pub(super) fn target(role: Role) -> TargetTerms {
    TargetTerms {
        role,
        propagation: Span::from_secs(5),
        needs: Level::Acknowledged,
        unattested: false,
        keeps_history: role == Role::Both,
        observe_every: None,
        place: Some("there".to_owned()),
        recovery: None,
    }
}

pub(super) fn name(text: &str) -> TargetName {
    TargetName::new(text).expect("a name")
}

pub(super) fn failure(class: Class) -> Failure {
    let reason = if class == Class::Refused { Reason::Denied } else { Reason::Unavailable };
    Failure { class, reason }
}

/// Short times, so that deadlines, propagation and retries come in each other's way.
pub(super) fn policy() -> Policy {
    Policy {
        overlap: Span::from_secs(60),
        evidence_max_age: Span::from_secs(20),
        max_exposure: Span::from_secs(30),
        when_full: WhenFull::Contain,
        probes: 2,
        ..Policy::default()
    }
}

impl Toy {
    /// A secret whose first rotation has just been opened.
    pub(super) fn new(kind: Kind, capabilities: Capabilities) -> Toy {
        Toy::with(kind, capabilities, policy())
    }

    pub(super) fn with(kind: Kind, capabilities: Capabilities, policy: Policy) -> Toy {
        let now = Timestamp::from_seconds(1_800_000_000);
        let verifies = kind == Kind::WebhookHmac || !capabilities.remote;
        let api = if verifies { Role::Verifier } else { Role::Signer };
        let config =
            BTreeMap::from([(name("api"), target(api)), (name("worker"), target(Role::Both))]);
        let opening = Opening {
            id: RotationId("run-1".to_owned()),
            trigger: Trigger::Initial,
            lane: Lane::Routine,
            at: now,
            terms: Terms { kind, capabilities, policy: policy.clone() },
            targets: config.clone(),
        };
        let rotation = Rotation::first(opening);
        Toy {
            now,
            saved: rotation.clone(),
            rotation,
            pending: Vec::new(),
            policy,
            config,
            keys: BTreeMap::new(),
            material: BTreeMap::new(),
            held: BTreeMap::new(),
            joined: BTreeSet::new(),
            forced: BTreeSet::new(),
            excused: BTreeSet::new(),
            used_until: BTreeMap::new(),
            marks: true,
            dates: false,
            ordered: BTreeMap::new(),
            minted: 0,
            former: None,
            overtaken: false,
            destructive_from: now,
            steps: 0,
            opened: 1,
            trace: Some(Vec::new()),
        }
    }

    // ------------------------------------------------------------ the loop

    /// Runs without faults until nothing moves any more, or only in a circle in which a person is
    /// asked for, and says what is waited for.
    pub(super) fn run(&mut self) -> Wait {
        let mut seen = BTreeSet::new();
        loop {
            match self.step(Fault::None) {
                Step::Moved => {}
                Step::Rests(wait) => return wait,
                Step::Waited(wait) => {
                    if wait.needs_human.is_some() && !seen.insert(canon(self, false)) {
                        return wait;
                    }
                }
            }
        }
    }

    /// Runs without faults until the rotation stands where asked.
    pub(super) fn run_until(&mut self, stands: impl Fn(&Toy) -> bool) {
        while !(self.pending.is_empty() && stands(self)) {
            if let Step::Rests(_) = self.step(Fault::None) {
                assert!(stands(self), "at rest elsewhere\n{}", self.trace());
                return;
            }
        }
    }

    /// Lets whoever is at work finish, without faults.
    pub(super) fn step_through(&mut self) {
        while !self.pending.is_empty() {
            self.step(Fault::None);
        }
    }

    /// The effect that the next step carries out, if it is one: the place for a fault.
    pub(super) fn next_effect(&self) -> Option<&Effect> {
        self.pending.first()
    }

    /// One step: an effect, or one question to `decide` and its consequence.
    pub(super) fn step(&mut self, fault: Fault) -> Step {
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "no end after {STEPS_MAX} steps\n{}", self.trace());
        if !self.pending.is_empty() {
            let effect = self.pending.remove(0);
            self.carry_out(&effect, fault);
            check::always(self);
            return Step::Moved;
        }
        if self.plan() {
            return Step::Moved;
        }
        match decide(&self.rotation, self.now) {
            Next::Record(event) => self.take(event),
            Next::Do(effects) => return self.order(effects),
            Next::Wait(wait) => {
                if !self.save() {
                    return Step::Moved;
                }
                let Some(until) = wait.until else { return Step::Rests(wait) };
                self.pass(until);
                return Step::Waited(wait);
            }
        }
        Step::Moved
    }

    /// What the planner does about a leak: a version in use that leaked needs another one.
    fn plan(&mut self) -> bool {
        let r = &self.rotation;
        let leaked = r.current().is_some_and(|current| r.is_tainted(current));
        leaked && self.open(Lane::Emergency, Trigger::MaxAge).is_ok()
    }

    fn order(&mut self, mut effects: Vec<Effect>) -> Step {
        effects.retain(|effect| !self.is_too_fresh_for(effect));
        if effects.is_empty() {
            let until = self.destructive_from;
            self.pass(until);
            return Step::Waited(Wait {
                until: Some(until),
                why: Why::Propagation,
                needs_human: None,
            });
        }
        for effect in &effects {
            let told =
                effect.target().map(|target| self.rotation.targets[target].wanted.generation);
            let entry = (effect.clone(), told.map_or(0, |generation| generation.0));
            *self.ordered.entry(entry).or_default() += 1;
        }
        if effects.iter().any(Effect::needs_intent) {
            self.happen(Happening::Intended { effects: effects.clone() });
            if !self.save() {
                return Step::Moved;
            }
        }
        self.pending = effects;
        check::bounded(self);
        Step::Moved
    }

    fn carry_out(&mut self, effect: &Effect, fault: Fault) {
        if fault != Fault::None {
            self.note(|| format!("     {effect}: {fault:?}"));
        }
        let failed = |class| Happening::Failed { effect: effect.clone(), failure: failure(class) };
        match fault {
            Fault::None => {
                let outcome = self.execute(effect, true);
                self.happen(outcome);
            }
            Fault::Refused => self.happen(failed(Class::Transient)),
            Fault::Lied | Fault::Half => {
                self.execute(effect, fault == Fault::Lied);
                self.happen(failed(Class::Ambiguous));
            }
            Fault::CrashBefore => self.crash(RESTART),
            Fault::CrashAfter => {
                self.execute(effect, true);
                self.crash(RESTART);
            }
            Fault::Outage => self.crash(OUTAGE),
            Fault::TakenOver => self.take_over(effect),
        }
    }

    /// Everything that is not in Vault is forgotten. Whoever comes next sweeps what no record
    /// names.
    pub(super) fn crash(&mut self, away: Span) {
        self.overtaken = false;
        self.rotation = self.saved.clone();
        self.pending.clear();
        self.pass(self.now + away);
        let staging = match &self.rotation.phase {
            Phase::Stage { version, step } if *step != Staging::Preflight => Some(*version),
            _ => None,
        };
        let versions = &self.rotation.versions;
        self.material.retain(|v, _| versions.contains_key(v) || staging == Some(*v));
    }

    /// Lets time pass, with what it does by itself.
    pub(super) fn pass(&mut self, until: Timestamp) {
        self.now = until;
        self.former = self.former.take().filter(|former| former.until > until);
        check::note_use(self);
        self.ordered.clear();
        for key in self.keys.values_mut() {
            key.alive &= key.dies_at.is_none_or(|dies_at| dies_at > until);
        }
        for holding in self.held.values_mut() {
            holding.before.retain(|(_, ends)| *ends > until);
        }
    }

    pub(super) fn happen(&mut self, what: Happening) {
        let at = self.now;
        self.take(Event { at, what });
    }

    pub(super) fn take(&mut self, event: Event) {
        self.note(|| format!("{:?}", event.what));
        check::before(self, &event.what);
        if let Happening::Cut { forced } = &event.what {
            self.forced.insert(forced.version);
        }
        if let Happening::Waived { target, .. } = &event.what {
            self.joined.remove(target);
            self.excused.insert(target.clone());
        }
        if let Happening::TermsChanged { targets, .. } = &event.what {
            self.move_targets(targets);
            self.config = targets.iter().cloned().collect();
        }
        self.rotation = apply(self.rotation.clone(), event).unwrap_or_else(|illegal| {
            panic!("{illegal}\n{}", self.trace());
        });
        self.forced.extend(self.rotation.forced.iter().map(|forced| forced.version));
        check::after(self);
    }

    // ------------------------------------------------------------ what people do

    pub(super) fn open_next(&mut self, lane: Lane) {
        let opened = match lane {
            Lane::Routine => Trigger::Scheduled { instant: self.now },
            Lane::Emergency => {
                Trigger::Emergency { by: "test".to_owned(), reason: "leak".to_owned() }
            }
        };
        self.open(lane, opened).expect("may open");
    }

    pub(super) fn open(&mut self, lane: Lane, trigger: Trigger) -> Result<(), CannotOpen> {
        let opening = Opening {
            id: RotationId(format!("run-{}", self.opened + 1)),
            trigger,
            lane,
            at: self.now,
            terms: Terms { policy: self.policy.clone(), ..self.rotation.terms.clone() },
            targets: self.config.clone(),
        };
        self.rotation = self.rotation.next(opening)?;
        self.opened += 1;
        self.ordered.clear();
        self.note(|| format!("opened in the lane {lane:?}"));
        Ok(())
    }

    pub(super) fn taint(&mut self, version: VersionId) {
        self.happen(Happening::Tainted { version, by: "test".to_owned() });
    }

    /// The config has these targets from now on.
    pub(super) fn configure(&mut self, config: BTreeMap<TargetName, TargetTerms>) {
        let terms = self.rotation.terms.clone();
        let targets = config.into_iter().collect();
        self.happen(Happening::TermsChanged { terms, targets });
    }

    // ------------------------------------------------------------ what can be seen

    pub(super) fn saved_versions(&self) -> Vec<u64> {
        self.material.keys().map(|version| version.0).collect()
    }

    pub(super) fn alive_keys(&self) -> usize {
        self.keys.values().filter(|key| key.alive).count()
    }

    pub(super) fn has_issuer(&self) -> bool {
        self.rotation.terms.capabilities.remote
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        let seconds = self.now.since(Timestamp::from_seconds(1_800_000_000));
        let phase = self.rotation.phase.name();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("t+{seconds} {phase}: {}", line()));
        }
    }

    pub(super) fn trace(&self) -> String {
        let steps = self.trace.as_ref().map_or(String::new(), |trace| trace.join("\n"));
        format!("{steps}\nstands at {:#?}", self.rotation.phase)
    }
}
