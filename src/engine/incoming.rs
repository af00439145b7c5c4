//! What comes to the loop: walks that ended, commands, a new config.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::{Id, JoinError};

use crate::engine::Engine;
use crate::engine::command::{Command, Envelope, Refusal, RefusalKind};
use crate::engine::ledger::{self, COMMANDS_MAX, Entry, Turn, URGENT_COMMANDS_MAX};
use crate::engine::managed::{Managed, ManagedTarget};
use crate::engine::walk::{Progress, Standing, Task, Walked};
use crate::model::id::{SecretName, TargetName};
use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::time::Span;
use crate::plan::{self, Ask};
use crate::store::lease::Holder;

/// How soon a secret is looked at again whose walk has changed nothing and says that there is
/// something to do at once: nothing goes round hot, whatever two rules make of one record.
const STILL_PAUSE: Span = Span::from_secs(1);

impl Engine {
    pub(super) fn walked(&mut self, joined: Result<(Id, Walked), JoinError>) {
        let now = self.world.clock.now();
        // What it said on its way is older than where it left the secret.
        while let Ok(progress) = self.progress.1.try_recv() {
            self.progressed(progress);
        }
        let (id, walked) = match joined {
            Ok((id, walked)) => (id, Some(walked)),
            Err(error) => (error.id(), None),
        };
        let Some(at) = self.under_way.iter().position(|(task, _)| *task == id) else { return };
        let (_, name) = self.under_way.swap_remove(at);
        self.lanes.arrived();
        // A panic is a defect. The guards it held are free and the record says what was ordered,
        // so it is read again like after a crash.
        let (standing, failures) = match walked {
            Some(walked) => (walked.standing, walked.failures),
            None => {
                tracing::error!(secret = %name, "a walk broke off: a defect, please report it");
                let text = "a defect broke off its walk".to_owned();
                (Standing::Unknown { reason: Reason::Defect, text }, Vec::new())
            }
        };
        if let Standing::Unknown { reason, .. } = &standing {
            self.trouble(Some(*reason).filter(|r| is_ours(*r)));
        } else {
            self.trouble(None);
        }
        self.note_outcome(&name, &standing);
        let Some(entry) = self.ledger.get_mut(&name) else { return };
        entry.turn = Turn::Idle;
        entry.starting = None;
        let before = entry.durable.as_ref().map(|stored| stored.revision);
        entry.settle(standing, failures);
        if std::mem::take(&mut entry.doubted) {
            entry.doubt();
        }
        if std::mem::take(&mut entry.reloaded) {
            entry.look_again(now);
        }
        let moved = entry.durable.as_ref().map(|stored| stored.revision) != before;
        let waiting = entry.commands.pop_front();
        self.ledger.count(&name);
        self.recognise(&name);
        self.note_marks(&name, now);
        self.changed.insert(name.clone());
        match waiting {
            Some(envelope) => self.dispatch(name, envelope),
            None if self.forget_nothing(&name) => {}
            None => self.schedule(&name, now, if moved { Span(1) } else { STILL_PAUSE }),
        }
    }

    pub(super) fn progressed(&mut self, progress: Progress) {
        let Progress { name, stored, durable } = progress;
        if durable {
            self.note_opened(&name, &stored);
        }
        if let Some(entry) = self.ledger.get_mut(&name).filter(|entry| entry.is_busy()) {
            if durable {
                entry.durable = Some(stored.clone());
            }
            entry.last_seen = Some(stored);
            entry.unread &= !durable || entry.doubted;
            self.ledger.count(&name);
            if durable {
                self.recognise(&name);
            }
            self.changed.insert(name);
        }
    }

    /// Takes what is durable of a secret into the index that reports are looked up in, and to those
    /// who use it within this process.
    pub(super) fn recognise(&self, name: &SecretName) {
        let recogniser = &self.world.recogniser;
        let entry = self.ledger.get(name);
        match entry.and_then(|entry| Some((entry, entry.durable.as_ref()?))) {
            Some((Entry { standing: Standing::Absent, .. }, _)) | None => recogniser.remove(name),
            Some((entry, stored)) => {
                entry.managed.iter().for_each(|managed| managed.warn(&stored.record.rotation));
                let targets = entry.managed.iter().flat_map(|managed| &managed.targets);
                let document = |(name, target): (&TargetName, &ManagedTarget)| {
                    Some((name.clone(), target.driver.document()?.path))
                };
                recogniser.update(&stored.record, targets.filter_map(document).collect());
            }
        }
    }

    pub(super) fn command(&mut self, envelope: Envelope) {
        let name = envelope.command.secret().clone();
        let led_by;
        let refusal = match self.ledger.get(&name) {
            None => Some((RefusalKind::NotFound, Reason::Unmanaged, "no such secret")),
            Some(entry) if entry.managed.is_none() => Some((
                RefusalKind::Conflict,
                Reason::Unmanaged,
                "the secret is in Vault but not in the config",
            )),
            Some(_) if !self.health.loaded => Some((
                RefusalKind::Unavailable,
                Reason::VaultUnreachable,
                "the records have not been read yet: Vault does not answer",
            )),
            Some(_) if self.world.gate.leads_for(Span::ZERO).is_err() => {
                let reason = self.world.gate.why_not();
                led_by = self.led_by();
                let text = match reason {
                    Reason::NoLease => led_by.as_str(),
                    reason => reason.meaning().trim(),
                };
                Some((RefusalKind::Unavailable, reason, text))
            }
            Some(entry) if entry.commands.len() >= commands_max(&envelope.command) => Some((
                RefusalKind::Unavailable,
                Reason::Busy,
                "too many commands wait for this secret",
            )),
            Some(_) => None,
        };
        if let Some((kind, reason, text)) = refusal {
            let text = format!("{name}: {text}");
            let _ = envelope.reply.send(Err(Refusal { kind, reason, possible_at: None, text }));
            return;
        }
        self.take_on(name, envelope);
    }

    /// Whom to ask instead.
    fn led_by(&self) -> String {
        let leader = self.leader.borrow();
        let at = |host: &String| format!(", on {host}");
        match &*leader {
            Some(Holder { instance, host, .. }) => {
                let host = host.as_ref().map(at).unwrap_or_default();
                format!("this instance does not hold the lease: ask {instance}{host}")
            }
            None => "this instance does not hold the lease, and it knows of nobody who does: \
                     ask again in a moment"
                .to_owned(),
        }
    }

    /// Has a command carried out as soon as it can be. An emergency does not wait behind what the
    /// secret itself was to do: what is queued steps back, and what is under way comes to its
    /// record and makes way.
    fn take_on(&mut self, name: SecretName, envelope: Envelope) {
        let Some(entry) = self.ledger.get_mut(&name) else { return };
        let urgent = envelope.command.is_urgent();
        match &entry.turn {
            Turn::Idle => return self.dispatch(name, envelope),
            Turn::Queued { task, .. } if urgent && !task.is_urgent() => {
                let turn = std::mem::replace(&mut entry.turn, Turn::Idle);
                entry.starting = None;
                if let Turn::Queued { ticket, task } = turn {
                    self.lanes.leave(ticket);
                    if let Task::Command(other) = task {
                        entry.commands.push_front(other);
                    }
                }
                return self.dispatch(name, envelope);
            }
            Turn::Walking { lane: Lane::Routine, hurry } if envelope.command.is_emergency() => {
                hurry.cancel();
            }
            Turn::Queued { .. } | Turn::Walking { .. } => {}
        }
        let emergency = envelope.command.is_emergency();
        let ahead = entry.commands.iter().take_while(|other| other.command.is_urgent()).count();
        let at = if urgent { ahead } else { entry.commands.len() };
        entry.commands.insert(at, envelope);
        if emergency {
            self.hasten(&name);
        }
    }

    /// An emergency waits for what a secret is queued for, such as a hold that was asked for before
    /// it and binds it: that goes ahead in the emergency's lane, and the emergency right after it.
    fn hasten(&mut self, name: &SecretName) {
        let Some(entry) = self.ledger.get_mut(name) else { return };
        if let Turn::Queued { ticket, .. } = &mut entry.turn
            && ticket.lane() == Lane::Routine
        {
            self.lanes.leave(*ticket);
            *ticket = self.lanes.join(Lane::Emergency, name.clone());
        }
    }

    fn dispatch(&mut self, name: SecretName, envelope: Envelope) {
        let waits = self.ledger.get(&name).is_some_and(Entry::has_emergency);
        let emergency = waits || envelope.command.is_emergency();
        if matches!(envelope.command, Command::Rotate { emergency: false, .. })
            && let Err(refusal) = self.may_start_by_hand(&name)
        {
            let _ = envelope.reply.send(Err(refusal));
            let now = self.world.clock.now();
            return self.schedule(&name, now, Span(1));
        }
        let lane = if emergency { Lane::Emergency } else { self.lane_of(&name) };
        self.walk(&name, lane, Task::Command(envelope));
    }

    /// A secret has left the config while it waited for its place: nothing is done with it, and
    /// whoever asked for something is told.
    pub(super) fn left(&mut self, name: &SecretName, task: Task) {
        self.lanes.arrived();
        let Some(entry) = self.ledger.get_mut(name) else { return };
        entry.starting = None;
        let waiting = std::mem::take(&mut entry.commands);
        let asked = match task {
            Task::Command(envelope) => Some(envelope),
            Task::Start(_) | Task::GoOn | Task::LookAgain | Task::Mark => None,
        };
        for envelope in asked.into_iter().chain(waiting) {
            let text = format!("{name}: the secret has left the config");
            let (kind, reason) = (RefusalKind::Conflict, Reason::Unmanaged);
            let refusal = Refusal { kind, reason, possible_at: None, text };
            let _ = envelope.reply.send(Err(refusal));
        }
        let now = self.world.clock.now();
        self.note_marks(name, now);
        self.ledger.count(name);
        self.changed.insert(name.clone());
        self.forget_nothing(name);
    }

    /// Takes out what is neither in the config nor in Vault: status would show it for ever.
    fn forget_nothing(&mut self, name: &SecretName) -> bool {
        let nothing = self.ledger.get(name).is_some_and(Entry::is_nothing);
        if nothing {
            self.ledger.remove(name);
            self.recognise(name);
        }
        nothing
    }

    fn lane_of(&self, name: &SecretName) -> Lane {
        self.ledger.get(name).map_or(Lane::Routine, Entry::lane)
    }

    /// The planner's rules, for a person who asks for a routine rotation.
    fn may_start_by_hand(&self, name: &SecretName) -> Result<(), Refusal> {
        let Some(entry) = self.ledger.get(name) else { return Ok(()) };
        let Some(managed) = entry.managed.as_deref() else { return Ok(()) };
        if matches!(entry.standing, Standing::Unknown { .. }) {
            return Ok(()); // the walk reads it first and judges then
        }
        let facts = ledger::facts(name, entry, managed);
        let ask = Ask { lane: Lane::Routine, by_hand: true };
        let now = self.world.clock.now();
        plan::may_start(&facts, ask, &self.plan_limits(), now)
            .map_err(|refusal| not_now(name, entry, refusal))
    }

    /// Takes in the secrets of a new config. Nothing rotates because of it.
    pub(super) fn reload(&mut self, managed: Vec<Managed>) {
        let now = self.world.clock.now();
        let kept: BTreeSet<SecretName> = managed.iter().map(|m| m.name.clone()).collect();
        for name in self.ledger.names() {
            if !kept.contains(&name)
                && let Some(entry) = self.ledger.get_mut(&name)
            {
                entry.managed = None;
                self.forget_nothing(&name);
                self.changed.insert(name);
            }
        }
        for managed in managed {
            let name = managed.name.clone();
            let new = Arc::new(managed);
            match self.ledger.get_mut(&name) {
                Some(entry) => {
                    let same = entry.managed.as_ref().is_some_and(|old| old.cadence == new.cadence);
                    if !same {
                        entry.cadence_since = Some(now);
                    }
                    entry.managed = Some(new);
                    // A walk that is under way goes on under the terms it set out with.
                    entry.reloaded = entry.is_busy();
                    entry.look_again(now);
                }
                None => {
                    let text = "not read yet".to_owned();
                    let standing = Standing::Unknown { reason: Reason::NoLease, text };
                    let mut entry = Entry::new(Some(new), standing);
                    entry.cadence_since = Some(now);
                    self.ledger.insert(name.clone(), entry);
                }
            }
            self.ledger.wake_at(&name, Some(now));
            self.recognise(&name);
            self.changed.insert(name);
        }
    }
}

/// The planner's refusal, for people: what is in the way, and when it no longer is.
fn not_now(name: &SecretName, entry: &Entry, refusal: plan::Refusal) -> Refusal {
    let plan::Refusal { reason, until } = refusal;
    let refuse =
        |possible_at, text| Refusal { kind: RefusalKind::Conflict, reason, possible_at, text };
    let stuck = match &entry.standing {
        Standing::Known { wait, .. } => wait.needs_human,
        _ => None,
    };
    let open = entry.last_seen.as_ref().map(|stored| &stored.record.rotation);
    let Some(open) = open.filter(|_| reason == Reason::RotationOpen) else {
        let text = format!("{name}: {}", reason.meaning().trim().trim_end_matches('.'));
        return refuse(until, text);
    };
    let (id, phase) = (&open.id, open.phase.name());
    match stuck {
        // What waits for a person does not end by itself.
        Some(stuck) => refuse(
            None,
            format!(
                "{name}: rotation {id} is open and needs a person first ({stuck}): \
                 `rotord status {name}` names the command that helps"
            ),
        ),
        None => refuse(until, format!("{name}: rotation {id} is open, in its phase {phase}")),
    }
}

/// How many commands may wait before one like this is turned away.
fn commands_max(command: &Command) -> usize {
    COMMANDS_MAX + if command.is_urgent() { URGENT_COMMANDS_MAX } else { 0 }
}

/// Whether the reason speaks of Vault or the lease, and not of one secret.
fn is_ours(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::VaultSealed
            | Reason::VaultUnreachable
            | Reason::VaultDenied
            | Reason::NoLease
            | Reason::Throttled
            | Reason::AuditUnwritable
    )
}
