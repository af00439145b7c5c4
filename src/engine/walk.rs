//! One secret, from where it stands to where it has to wait: decide, gate, execute, record.
//!
//! A walk owns its secret while it runs; the engine starts no second one. It ends at the first
//! wait, or when the record cannot be written: then nothing it knows counts any more, and the next
//! walk reads the record again. That is all the recovery there is.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::driver::error::DriverError;
use crate::driver::issuer::Mark;
use crate::engine::command::{Command, Envelope, Resolution};
use crate::engine::execute::Materials;
use crate::engine::gate::Shut;
use crate::engine::limits::Host;
use crate::engine::managed::Managed;
use crate::engine::reach::{Caller, Failed};
use crate::engine::recollect::learn_keys;
use crate::engine::snapshot::FailureView;
use crate::engine::world::World;
use crate::engine::worth::{Count, Untold, noteworthy, only_refreshes};
use crate::engine::{commands, sweep};
use crate::model::failure::Failure;
use crate::model::id::{SecretName, TargetName};
use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::target::TargetTerms;
use crate::model::time::Span;
use crate::plan::Start;
use crate::rotation::Rotation;
use crate::rotation::decide::{Next, Wait, Why};
use crate::rotation::event::{Event, Happening};
use crate::rotation::phase::Phase;
use crate::store::{StoreError, Stored};
use crate::vault::turns::{self, Urgency};

/// Steps after which a walk yields its place even if it could go on: no secret may keep the
/// others waiting for ever, whatever its record says.
const STEPS_MAX: usize = 200;

/// How long a walk that has taken that many steps leaves its secret alone: nothing goes round hot.
const YIELD_PAUSE: Span = Span::from_secs(1);

/// What a walk is started for.
pub(super) enum Task {
    /// To go on.
    GoOn,
    /// To open a rotation that the planner asked for.
    Start(Start),
    /// To carry out a command.
    Command(Envelope),
    /// To see whether what was in the way of a first rotation still is.
    LookAgain,
    /// To make the marks that the record lacks.
    Mark,
}

impl Task {
    /// Whether it is more than routine: a leak, or a hold.
    pub(super) fn is_urgent(&self) -> bool {
        match self {
            Task::Start(start) => start.lane == Lane::Emergency,
            Task::Command(envelope) => envelope.command.is_urgent(),
            Task::GoOn | Task::LookAgain | Task::Mark => false,
        }
    }

    /// The lane of the rotation that it opens, if it opens one.
    pub(super) fn opens(&self) -> Option<Lane> {
        match self {
            Task::Start(start) => Some(start.lane),
            Task::Command(envelope) => match &envelope.command {
                urgent if urgent.is_emergency() => Some(Lane::Emergency),
                Command::Rotate { .. } => Some(Lane::Routine),
                _ => None,
            },
            Task::GoOn | Task::LookAgain | Task::Mark => None,
        }
    }

    /// Whether a person says with it that what lies in Vault counts, whatever was known before.
    fn takes_it_as_it_is(&self) -> bool {
        let Task::Command(envelope) = self else { return false };
        matches!(
            envelope.command,
            Command::Adopt { .. } | Command::Resolve { how: Resolution::Retry, .. }
        )
    }
}

/// Where a walk left its secret.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// There is no record.
    Absent,
    /// Durable, and waiting.
    Known { stored: Stored, wait: Wait },
    /// The record could not be read or written; what it says now is not known.
    Unknown { reason: Reason, text: String },
    /// The record is there and cannot be used before a person has looked.
    Unreadable { text: String },
    /// There is no record, and something of somebody else's is where its first version would go.
    Foreign { text: String },
}

/// The end of a walk.
pub(super) struct Walked {
    pub(super) standing: Standing,
    pub(super) failures: Vec<FailureView>,
}

/// A sign of life in between, for those who watch.
pub(super) struct Progress {
    pub(super) name: SecretName,
    pub(super) stored: Stored,
    /// It stands so in Vault, and not only in memory.
    pub(super) durable: bool,
}

/// What a walk tells the engine, and the engine it, on the way.
pub(super) struct Signals {
    pub(super) progress: mpsc::UnboundedSender<Progress>,
    /// An emergency of the same secret waits for the walk to end.
    pub(super) hurry: CancellationToken,
}

/// One secret under way.
pub(super) struct Walk {
    pub(super) world: Arc<World>,
    pub(super) managed: Arc<Managed>,
    pub(super) signals: Signals,
    pub(super) failures: Vec<FailureView>,
    /// The record as this process last read or wrote it.
    durable: Option<Stored>,
    pub(super) materials: Materials,
    /// Memory is ahead of Vault.
    dirty: bool,
    /// What is told of the steps once they are durable.
    untold: Untold,
}

/// Why a walk ends before it has to wait.
pub(super) enum Broken {
    /// The gate is shut, or Vault.
    Shut(Shut),
    /// The machine was told something it does not know: a defect, and the record is left alone.
    Defect(String),
}

impl From<Shut> for Broken {
    fn from(shut: Shut) -> Broken {
        Broken::Shut(shut)
    }
}

impl From<Failed> for Broken {
    fn from(failed: Failed) -> Broken {
        let Failure { class, reason } = failed.failure;
        Broken::Shut(Shut::Driver(DriverError::new(class, reason, failed.text)))
    }
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Broken {
        Broken::Shut(Shut::Store(error))
    }
}

impl Walk {
    pub(super) fn new(
        world: Arc<World>,
        managed: Arc<Managed>,
        signals: Signals,
        durable: Option<Stored>,
    ) -> Walk {
        let materials = Materials::default();
        Walk {
            world,
            managed,
            signals,
            failures: Vec::new(),
            durable,
            materials,
            dirty: false,
            untold: Untold::default(),
        }
    }

    /// Runs to the next wait. `known` is the record as the last walk left it.
    pub(super) async fn run(mut self, known: Option<Stored>, task: Task) -> Walked {
        if self.world.is_stopping() {
            let text = "the process is ending".to_owned();
            let standing = Standing::Unknown { reason: Reason::NoLease, text };
            return Walked { standing, failures: self.failures };
        }
        let standing = match self.walk(known, task).await {
            Ok(standing) => standing,
            Err(Broken::Shut(Shut::Store(StoreError::Unreadable { place, what }))) => {
                Standing::Unreadable { text: format!("{place} cannot be used: {what}") }
            }
            Err(Broken::Shut(shut)) => {
                tracing::warn!(secret = %self.managed.name, "the record is not known: {shut}");
                Standing::Unknown { reason: shut.failure().reason, text: shut.to_string() }
            }
            Err(Broken::Defect(text)) => Standing::Unreadable { text },
        };
        Walked { standing, failures: self.failures }
    }

    async fn walk(&mut self, known: Option<Stored>, task: Task) -> Result<Standing, Broken> {
        let fresh = known.is_none();
        let loaded = match known {
            Some(stored) => Some(stored),
            None => match self.read(&task).await {
                Ok(loaded) => loaded,
                Err(broken) => {
                    if let Task::Command(envelope) = task {
                        commands::turn_away(envelope, &broken);
                    }
                    return Err(broken);
                }
            },
        };
        if let Some(loaded) = &loaded {
            self.managed.warn(&loaded.record.rotation);
        }
        if loaded.is_none()
            && matches!(task, Task::LookAgain | Task::Start(_))
            && let Some(text) = self.foreign().await?
        {
            return Ok(Standing::Foreign { text });
        }
        let stored = match task {
            Task::GoOn | Task::LookAgain => loaded,
            Task::Mark => self.marked(loaded).await?,
            Task::Start(start) => self.start(loaded, start)?,
            Task::Command(envelope) => commands::carry_out(self, loaded, envelope).await?,
        };
        let Some(mut stored) = stored else { return Ok(Standing::Absent) };
        if fresh {
            self.sweep_unnamed(&mut stored).await?;
        }
        self.take_in_config(&mut stored)?;
        let was_open = !stored.record.rotation.is_closed();
        let wait = self.go_on(&mut stored).await?;
        if was_open && sweep::may_have_left_any(&stored.record.rotation) {
            self.sweep_unnamed(&mut stored).await?;
        }
        Ok(Standing::Known { stored, wait })
    }

    /// Reads the record, and holds it against what this process last read or wrote.
    async fn read(&self, task: &Task) -> Result<Option<Stored>, Broken> {
        let name = &self.managed.name;
        let found = self.world.store.load(name).await?;
        if let Some(found) = &found {
            learn_keys(&self.world, &found.record).await?;
        }
        let Some(durable) = self.durable.as_ref().filter(|_| !task.takes_it_as_it_is()) else {
            return Ok(found);
        };
        let what = match &found {
            None => "it is not there any more".to_owned(),
            Some(found) if found.revision < durable.revision => "it went back in time".to_owned(),
            // Not their write ids: that of a save of ours never comes back into memory.
            Some(found) => match found.record.follows(&durable.record) {
                Ok(()) => return Ok(Some(found.clone())),
                Err(fault) => fault.to_string(),
            },
        };
        let place = format!("the record of {name}");
        Err(StoreError::Unreadable { place, what }.into())
    }

    /// Decide, do, record, until there is something to wait for.
    async fn go_on(&mut self, stored: &mut Stored) -> Result<Wait, Broken> {
        for _ in 0..STEPS_MAX {
            if self.world.is_stopping() || self.signals.hurry.is_cancelled() {
                return self.make_way(stored).await;
            }
            let now = self.world.clock.now();
            match (self.world.machine.decide)(&stored.record.rotation, now) {
                Next::Record(event) => self.take(stored, event)?,
                Next::Do(effects) => {
                    if let Some(wait) = self.perform(stored, effects).await? {
                        self.save(stored).await?;
                        return Ok(wait);
                    }
                }
                Next::Wait(wait) => {
                    self.save(stored).await?;
                    return Ok(wait);
                }
            }
        }
        self.save(stored).await?;
        let until = self.world.clock.now() + YIELD_PAUSE;
        Ok(Wait { until: Some(until), why: Why::Propagation, needs_human: None })
    }

    /// Comes to the record and goes no further: the process is ending, or an emergency of this
    /// secret waits for that.
    async fn make_way(&mut self, stored: &mut Stored) -> Result<Wait, Broken> {
        turns::with(Urgency::Emergency, self.save(stored)).await?;
        let now = self.world.clock.now();
        Ok(Wait { until: Some(now), why: Why::Propagation, needs_human: None })
    }

    /// Takes an event into the rotation, in memory.
    pub(super) fn take(&mut self, stored: &mut Stored, event: Event) -> Result<(), Broken> {
        let before = &stored.record.rotation;
        let name = &self.managed.name;
        let what = event.what.name();
        let at = event.at;
        let noteworthy = noteworthy(&event.what);
        let leaked = matches!(event.what, Happening::Tainted { .. });
        let after = (self.world.machine.apply)(before.clone(), event).map_err(|illegal| {
            tracing::error!(secret = %name, rotation = %before.id, "{illegal}");
            Broken::Defect(format!("a defect: {illegal}; please report it"))
        })?;
        if before.phase.name() != after.phase.name() {
            tracing::info!(
                secret = %name, rotation = %before.id, event = what,
                from = before.phase.name(), to = after.phase.name(), "phase"
            );
            let took = at.since(before.opened_at);
            self.untold.counts.push(Count::Left { phase: before.phase.name(), took });
            if let Phase::Closed { outcome, .. } = &after.phase {
                let (trigger, outcome) = (after.trigger.name(), outcome.name());
                self.untold.counts.push(Count::Closed { trigger, outcome });
            }
        }
        self.untold.lines.extend(noteworthy);
        self.dirty |= !only_refreshes(before, &after);
        if leaked {
            self.managed.warn(&after);
        }
        stored.record.rotation = after;
        Ok(())
    }

    /// Makes memory durable, if it is ahead.
    pub(super) async fn save(&mut self, stored: &mut Stored) -> Result<(), Broken> {
        if self.dirty {
            self.recollect(&mut stored.record);
            self.world.gate.save(stored).await?;
            self.dirty = false;
            self.publish(stored);
        }
        let Untold { lines, counts } = std::mem::take(&mut self.untold);
        for line in lines {
            self.world.gate.step(&stored.record, &line).await;
        }
        counts.into_iter().for_each(|count| count.add_to(&self.world.metrics));
        Ok(())
    }

    /// A rotation was opened in memory.
    pub(super) fn opened(&mut self, rotation: &Rotation) {
        let (trigger, lane) = (rotation.trigger.name(), rotation.lane);
        self.untold.counts.push(Count::Started { trigger, lane });
        self.touch();
    }

    /// What was done in memory is not to be: nothing is told of it.
    pub(super) fn undone(&mut self) {
        self.untold = Untold::default();
        self.dirty = false;
    }

    /// Marks a record that was changed other than by an event: created, or given another rotation.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    pub(super) fn publish(&self, stored: &Stored) {
        let progress = Progress {
            name: self.managed.name.clone(),
            stored: stored.clone(),
            durable: !self.dirty,
        };
        // Nobody listening any more means that the engine is gone, and this walk with it.
        let _ = self.signals.progress.send(progress);
    }

    fn start(&mut self, loaded: Option<Stored>, start: Start) -> Result<Option<Stored>, Broken> {
        let opened = commands::open_planned(&self.world, &self.managed, loaded.clone(), start);
        match opened {
            Ok(stored) => {
                self.opened(&stored.record.rotation);
                Ok(Some(stored))
            }
            Err(refusal) => {
                tracing::info!(secret = %self.managed.name, reason = %refusal.reason, "{refusal}");
                Ok(loaded)
            }
        }
    }

    /// What a person put where a first version would go, if anything: it is never overwritten
    /// unasked. Each question passes the gate, and has its place and its time-out like any other.
    async fn foreign(&self) -> Result<Option<String>, Broken> {
        let caller = Caller { lane: Lane::Routine, hurry: &self.signals.hurry, order: None };
        for (name, target) in &self.managed.targets {
            self.world.gate.ask()?;
            let asked = target.driver.foreign();
            if self.world.call(caller, Host::Target(&target.lane), asked).await? {
                return Ok(Some(format!(
                    "target {name} holds a value that rotord did not put there"
                )));
            }
        }
        let secret = &self.managed.name;
        let ours = |mark: &String| Mark::read(mark, secret).is_some();
        self.world.gate.ask()?;
        let issuer = Host::Issuer(&self.managed.issuer_lane);
        let keys = self.world.call(caller, issuer, self.managed.issuer.list()).await?;
        let stranger = keys.iter().find(|key| !key.mark.as_ref().is_some_and(ours));
        Ok(stranger.map(|key| format!("the issuer has key {} already", key.key_id)))
    }

    /// Tells the rotation what the config says now, if that is something new.
    fn take_in_config(&mut self, stored: &mut Stored) -> Result<(), Broken> {
        let rotation = &stored.record.rotation;
        let targets = self.managed.target_terms();
        let terms = self.managed.terms.clone();
        let same_targets = rotation
            .targets
            .iter()
            .map(|(name, target)| (name, !target.removed))
            .eq(targets.keys().map(|name| (name, true)));
        let same_terms = !rotation.is_closed()
            || (rotation.terms == terms
                && rotation.targets.iter().all(|(n, t)| targets.get(n) == Some(&t.terms)));
        let same_place = |(name, terms): (&TargetName, &TargetTerms)| {
            rotation.targets.get(name).is_some_and(|target| target.terms.place == terms.place)
        };
        if same_targets && same_terms && targets.iter().all(same_place) {
            return Ok(());
        }
        let what = Happening::TermsChanged { terms, targets: targets.into_iter().collect() };
        self.take(stored, Event { at: self.world.clock.now(), what })
    }
}
