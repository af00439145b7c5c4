//! What people want of an incident: that it is acted on, does without a target, or ends.
//!
//! Each wish needs a reason, is written to the audit chain under the name of who asked, and is
//! answered when what it did is durable.

use crate::engine::command::{Command, Done, Refusal, RefusalKind, Resolution};
use crate::engine::desk::run::{Desk, Landed};
use crate::engine::desk::settle::ask_engine;
use crate::engine::desk::{Ask, Wish, facts};
use crate::incident::alert::Claim;
use crate::incident::decide::Action;
use crate::incident::progress::News;
use crate::incident::record::{NotNow, Wait};
use crate::model::reason::Reason;
use crate::store::audit::EntryKind;

impl Desk {
    /// Carries out a wish, or says why not.
    pub(super) fn asked(&mut self, ask: Ask) {
        match self.check(&ask) {
            Err(refusal) => drop(ask.reply.send(Err(refusal))),
            Ok(()) => match ask.wish.clone() {
                Wish::Approve => self.approve(ask),
                Wish::Waive(target) => self.waive(ask, target),
                Wish::Close => self.close(ask),
            },
        }
    }

    fn check(&mut self, ask: &Ask) -> Result<(), Refusal> {
        if !self.is_ready() {
            return Err(self.not_here());
        }
        let snapshot = self.snapshot();
        let Some(entry) = self.book.get(&ask.incident) else {
            let text = format!(
                "there is no incident {} among those at hand: `rotord incident list` has them",
                ask.incident
            );
            return Err(refuse(RefusalKind::NotFound, Reason::Refused, text));
        };
        if ask.reason.trim().is_empty() {
            let text = "say why: the reason goes into the report".to_owned();
            return Err(refuse(RefusalKind::Invalid, Reason::Refused, text));
        }
        let view = snapshot.secrets.get(&entry.incident.secret);
        let vanished = view.is_some_and(|view| facts::is_of_another(&entry.incident, view));
        let wanted = match &ask.wish {
            Wish::Approve | Wish::Waive(_) if vanished && entry.incident.is_open() => {
                let id = &entry.incident.id;
                let text = format!(
                    "incident {id}: {}; `rotord incident close {id} --reason WHY`",
                    Wait::Vanished.meaning()
                );
                return Err(refuse(RefusalKind::Conflict, Reason::Refused, text));
            }
            Wish::Approve if !entry.incident.is_waiting() => {
                let (id, state) = (entry.incident.id.clone(), entry.incident.state.name());
                return Err(not_now(&NotNow::NotWaiting(id, state)));
            }
            _ if !entry.incident.is_open() => {
                let (id, state) = (entry.incident.id.clone(), entry.incident.state.name());
                return Err(not_now(&NotNow::Over(id, state)));
            }
            Wish::Waive(target) if !entry.incident.targets.contains_key(target) => {
                let (id, target) = (entry.incident.id.clone(), target.clone());
                return Err(not_now(&NotNow::NoSuchTarget(id, target)));
            }
            Wish::Approve => "approve".to_owned(),
            Wish::Waive(target) => format!("waive {target}"),
            Wish::Close => "close".to_owned(),
        };
        let note = format!("incident {} {wanted}: {}", ask.incident, ask.reason);
        self.audit(EntryKind::Command, &ask.actor.0, &note)
    }

    /// What a person agreed to is judged anew: the version may stand elsewhere by now.
    fn approve(&mut self, ask: Ask) {
        let Ask { actor, incident: id, reason, reply, .. } = ask;
        let Some(entry) = self.book.get(&id) else { return };
        let snapshot = self.snapshot();
        let case = match self.case(&entry.meaning(), Claim::Leaked, &snapshot) {
            Ok(case) => case,
            Err(why) => {
                let text = why.to_string();
                let _ = reply.send(Err(refuse(RefusalKind::Unavailable, Reason::NoLease, text)));
                return;
            }
        };
        let action = Action::approved(&case);
        if let Action::Ask(_) = action {
            let secret = &entry.incident.secret;
            let text = format!("{secret} is not in the config, so nothing can act on it: add it");
            let _ = reply.send(Err(refuse(RefusalKind::Conflict, Reason::Unmanaged, text)));
            return;
        }
        let (at, _) = self.now();
        let approved = self.change(&id, |incident| incident.approve(&actor.0, &reason, at));
        if let Some(Err(error)) = approved {
            let _ = reply.send(Err(not_now(&error)));
            return;
        }
        self.tell(&id, News::Approved);
        let Some(entry) = self.book.get_mut(&id) else { return };
        if action.exposes() {
            entry.approvers.push(reply);
            self.start(&id, false);
        } else {
            let text = format!("approved; {}", action.meaning());
            entry.people.push((reply, Done { rotation: None, text }));
            entry.seen = None;
            self.look();
        }
    }

    /// The rotation does without the target first; then the incident does.
    fn waive(&mut self, ask: Ask, target: crate::model::id::TargetName) {
        let Some(entry) = self.book.get(&ask.incident) else { return };
        let name = entry.incident.secret.clone();
        let command = Command::Resolve { name, how: Resolution::Waive(target) };
        let (commands, actor) = (self.parts.commands.clone(), ask.actor.clone());
        self.tasks.spawn(async move {
            let answer = ask_engine(&commands, actor, command).await;
            Landed::Waived(ask, answer)
        });
    }

    pub(super) fn waived(&mut self, ask: Ask, answer: Result<Done, Refusal>) {
        let Ask { actor, incident: id, wish, reason, reply } = ask;
        let Wish::Waive(target) = wish else { return };
        let done = match answer {
            Ok(done) => done,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let (at, _) = self.now();
        let waived = self.change(&id, |incident| incident.waive(&target, &actor.0, &reason, at));
        match (waived, self.book.get_mut(&id)) {
            (Some(Ok(())), Some(entry)) => {
                entry.people.push((reply, done));
                entry.seen = None;
                self.soon(&id);
                self.look();
            }
            (Some(Err(error)), _) => drop(reply.send(Err(not_now(&error)))),
            _ => drop(reply.send(Err(self.not_here()))),
        }
    }

    fn close(&mut self, ask: Ask) {
        let Ask { actor, incident: id, reason, reply, .. } = ask;
        let (at, _) = self.now();
        match self.change(&id, |incident| incident.close(&actor.0, &reason, at)) {
            Some(Ok(())) => {
                let text = format!("incident {id} is closed; a rotation that runs goes on");
                if let Some(entry) = self.book.get_mut(&id) {
                    entry.people.push((reply, Done { rotation: None, text }));
                }
                self.soon(&id);
                self.tell(&id, News::Closed);
            }
            Some(Err(error)) => drop(reply.send(Err(not_now(&error)))),
            None => drop(reply.send(Err(self.not_here()))),
        }
    }

    /// A person waits for the next write: no pause before it.
    fn soon(&mut self, id: &crate::model::id::IncidentId) {
        let (_, now) = self.now();
        if let Some(entry) = self.book.get_mut(id) {
            entry.write_from = now;
        }
    }
}

fn not_now(error: &NotNow) -> Refusal {
    let kind = match error {
        NotNow::NoSuchTarget(..) => RefusalKind::NotFound,
        NotNow::NotWaiting(..) | NotNow::Over(..) => RefusalKind::Conflict,
    };
    refuse(kind, Reason::Refused, error.to_string())
}

fn refuse(kind: RefusalKind, reason: Reason, text: String) -> Refusal {
    Refusal { kind, reason, possible_at: None, text }
}
