//! One alert: which versions it is about, what is done about each, and what the audit line says.

use std::collections::BTreeMap;

use crate::engine::command::Refusal;
use crate::engine::desk::book::{Entry, Exposure, Meaning};
use crate::engine::desk::facts;
use crate::engine::desk::run::Desk;
use crate::engine::desk::settle::Waiter;
use crate::engine::desk::{Judged, Report, Verdict, away, words};
use crate::engine::snapshot::{CannotTell, Snapshot};
use crate::incident::alert::{Alert, Claim, Finding};
use crate::incident::decide::{Action, Case, decide};
use crate::incident::progress::News;
use crate::incident::record::{Incident, Opening, Sighting, State, Wait, foreign, new_id};
use crate::model::id::{IncidentId, RotationId, SecretName, VersionId};
use crate::model::policy::OnLeak;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::model::version::Stage;
use crate::store::Revision;
use crate::store::audit::EntryKind;

/// Places of unknown values that one audit line names: the rest is counted.
const PLACES_MAX: usize = 3;

/// Ids that are drawn before one that is taken is used: two in the same second are alike once in
/// four thousand million.
const DRAWS_MAX: usize = 8;

impl Desk {
    /// Judges an alert and has done what follows from it. It is answered once that is durable.
    pub(super) fn reported(&mut self, report: Report) {
        let Report { actor, mut alert, reply } = report;
        if !self.is_ready() {
            let _ = reply.send(Err(self.not_here()));
            return;
        }
        words::take_out(&mut alert, &*self.parts.recogniser);
        let snapshot = self.snapshot();
        let judge = |finding| self.finding(&alert, finding, &snapshot);
        // What is recognised is acted on, whatever cannot be told of the rest.
        let judged: Vec<_> = alert.findings.iter().map(judge).collect();
        let verdicts = match judged.into_iter().collect::<Result<Vec<Verdict>, CannotTell>>() {
            Ok(verdicts) => verdicts,
            Err(why) => {
                let Alert { source, id, findings, .. } = &alert;
                let (id, found) = (foreign(id), findings.len());
                let text =
                    format!("alert {id} of {source}, {found} found; to be sent again: {why}");
                self.owe(EntryKind::Alert, &actor.0, &text);
                let _ = reply.send(Err(Refusal { text: why.to_string(), ..away(Reason::NoLease) }));
                return;
            }
        };
        let mut waiter = Waiter { verdicts, missing: Vec::new(), reply };
        // It has come, whether or not it can be written down now; what follows from it has lines
        // of the engine's own.
        self.owe(EntryKind::Alert, &actor.0, &line(&alert, &waiter.verdicts));
        let ids = waiter.verdicts.iter().flat_map(|verdict| &verdict.ours);
        waiter.missing = ids.filter_map(|judged| judged.incident.clone()).collect();
        self.wait(waiter);
    }

    /// # Errors
    /// [`CannotTell`]: whose it is is not known yet, of all of it or a part.
    fn finding(
        &mut self,
        alert: &Alert,
        finding: &Finding,
        snapshot: &Snapshot,
    ) -> Result<Verdict, CannotTell> {
        // A version that several clues fit is known as well as the best of them says.
        let mut hits: BTreeMap<(SecretName, VersionId), bool> = BTreeMap::new();
        for clue in &finding.clues {
            for hit in self.parts.recogniser.find(clue) {
                *hits.entry((hit.secret, hit.version)).or_default() |= clue.proves_knowledge();
            }
        }
        if hits.is_empty() {
            if let Some(why) = snapshot.health.cannot_tell() {
                return Err(why);
            }
            self.parts.metrics.finding("unknown");
        }
        let judged = hits.into_iter().map(|((secret, version), proved)| {
            let view = snapshot.secrets.get(&secret);
            let incarnation = view.and_then(|view| view.incarnation.as_deref());
            let incarnation = incarnation.map(str::to_owned);
            let meaning = Meaning { secret, version, incarnation };
            let judged = self.version(alert, finding, (meaning, proved), snapshot)?;
            self.parts.metrics.finding(judged.action.code());
            Ok(judged)
        });
        let judged: Vec<Result<Judged, CannotTell>> = judged.collect();
        Ok(Verdict { ours: judged.into_iter().collect::<Result<_, _>>()? })
    }

    fn version(
        &mut self,
        alert: &Alert,
        finding: &Finding,
        (meaning, proved): (Meaning, bool),
        snapshot: &Snapshot,
    ) -> Result<Judged, CannotTell> {
        let mut case = self.case(&meaning, finding.claim, snapshot)?;
        case.proved = proved;
        case.trusted = alert.trusted;
        let action = decide(&case);
        let sighting = Sighting {
            source: alert.source.clone(),
            id: foreign(&alert.id),
            label: foreign(&finding.label),
            found_at: finding.found_at.clone(),
            claim: finding.claim,
            proved,
            at: alert.at,
            last_at: alert.at,
            times: 1,
        };
        let (action, incident) = self.act(&meaning, (case.stage, action), sighting);
        let rotation = incident.as_ref().and_then(|id| self.rotation(id, snapshot));
        let Meaning { secret, version, .. } = meaning;
        Ok(Judged { secret, version, stage: case.stage, action, incident, rotation })
    }

    /// What is known of a version, without what only an alert knows.
    ///
    /// # Errors
    /// [`CannotTell::Behind`].
    pub(super) fn case(
        &self,
        meaning: &Meaning,
        claim: Claim,
        snapshot: &Snapshot,
    ) -> Result<Case, CannotTell> {
        let (now, _) = self.now();
        let Meaning { secret, version, .. } = meaning;
        let view = snapshot.secrets.get(secret);
        let rotation = view.and_then(|view| view.rotation.as_deref());
        let marked = rotation.is_some_and(|rotation| rotation.is_tainted(*version));
        let under_way = |entry: &Entry| {
            let running = entry.exposure != Exposure::None;
            running || (entry.incident.is_open() && entry.incident.is_exposed())
        };
        let stage = view.map_or(Some(Stage::Revoked), |view| view.stage(*version));
        let stage = stage.ok_or(CannotTell::Behind)?;
        Ok(Case {
            stage,
            tainted: marked || self.book.about(meaning).is_some_and(under_way),
            managed: view.is_some_and(|view| view.managed),
            on_leak: rotation.map_or(OnLeak::Ask, |rotation| rotation.terms.policy.on_leak),
            claim,
            proved: true,
            trusted: false,
            within_floor: self.guard.within_floor(secret, now),
            breaker_open: self.guard.is_open(now),
        })
    }

    /// Does what was decided, and answers what became of that and which incident it is.
    fn act(
        &mut self,
        meaning: &Meaning,
        (stage, action): (Stage, Action),
        sighting: Sighting,
    ) -> (Action, Option<IncidentId>) {
        let known = self.book.about(meaning).map(|entry| &entry.incident);
        // Whoever closed an incident about an exposed version need not close it again.
        let joins = |incident: &Incident| incident.is_open() || incident.is_exposed();
        let known = known.filter(|incident| joins(incident));
        let known = known.map(|incident| (incident.id.clone(), incident.state));
        match (action, known) {
            (Action::AlreadyRevoked, _) | (Action::Note, None) => (action, None),
            (Action::Rotate | Action::Retire | Action::Remint, Some((id, state))) => {
                self.join(&id, sighting);
                match state {
                    State::Waiting(Wait::Doubt(_)) => {
                        self.change(&id, |incident| incident.resolve(action));
                        self.start(&id, true);
                        (action, Some(id))
                    }
                    // The engine could not: more alerts do not make it able to.
                    State::Waiting(Wait::Refused(_)) => (action, Some(id)),
                    _ => (Action::Join, Some(id)),
                }
            }
            (_, Some((id, _))) => {
                self.join(&id, sighting);
                (action, Some(id))
            }
            (_, None) => {
                let id = self.open(meaning, (stage, action), sighting);
                if action.exposes() {
                    self.start(&id, true);
                }
                (action, Some(id))
            }
        }
    }

    fn open(
        &mut self,
        meaning: &Meaning,
        (stage, action): (Stage, Action),
        sighting: Sighting,
    ) -> IncidentId {
        let (now, _) = self.now();
        let id = self.draw_id(now);
        let Meaning { secret, version, incarnation } = meaning.clone();
        let opening = Opening {
            id: id.clone(),
            secret,
            version,
            incarnation,
            stage,
            action,
            at: now,
            sighting,
        };
        let incident = Incident::open(opening);
        let news = if incident.is_waiting() { News::Waiting } else { News::Opened };
        self.book.insert(Entry::new(incident, Revision::default()));
        self.tell(&id, news);
        // A version that was marked by somebody else before is followed from here on.
        if action == Action::Join {
            self.look();
        }
        self.write(&id);
        id
    }

    /// An id that no incident at hand has.
    fn draw_id(&self, now: Timestamp) -> IncidentId {
        let draw = || {
            let mut random = [0; 4];
            self.parts.entropy.fill(&mut random);
            new_id(now, random)
        };
        let mut draws = (0..DRAWS_MAX).map(|_| draw());
        let free = draws.find(|id| self.book.get(id).is_none());
        free.unwrap_or_else(draw)
    }

    fn join(&mut self, id: &IncidentId, sighting: Sighting) {
        self.change(id, |incident| incident.join(sighting));
    }

    /// The rotation that deals with the leak. One that is open for something else is not it, and
    /// until the engine's picture knows of the leak, only the engine's answer tells which one is.
    pub(super) fn rotation(&self, id: &IncidentId, snapshot: &Snapshot) -> Option<RotationId> {
        let entry = self.book.get(id)?;
        let Incident { secret, version, .. } = &*entry.incident;
        let view = snapshot.secrets.get(secret);
        let view = view.filter(|view| !facts::is_of_another(&entry.incident, view));
        let shown = view.and_then(|view| view.rotation.as_deref());
        match shown {
            Some(open) if open.is_tainted(*version) && !open.is_closed() => {
                open.answers(*version).then(|| open.id.clone())
            }
            _ => entry.rotation.clone(),
        }
    }

    /// Changes an incident; written when it is due.
    pub(super) fn change<T>(
        &mut self,
        id: &IncidentId,
        act: impl FnOnce(&mut Incident) -> T,
    ) -> Option<T> {
        let (_, now) = self.now();
        self.book.change(id, now, act)
    }
}

/// What the audit chain keeps of an alert: who, how much, which of ours, and where the rest was.
fn line(alert: &Alert, verdicts: &[Verdict]) -> String {
    let Alert { source, id, findings, .. } = alert;
    let mut text = format!("alert {} of {source}, {} found", foreign(id), findings.len());
    let known: Vec<String> = verdicts
        .iter()
        .flat_map(|verdict| &verdict.ours)
        .take(PLACES_MAX)
        .map(|judged| format!("{} {}: {}", judged.secret, judged.version, judged.action.code()))
        .collect();
    if !known.is_empty() {
        text.push_str(&format!("; {}", known.join(", ")));
    }
    let unknown: Vec<&Finding> = findings
        .iter()
        .zip(verdicts)
        .filter(|(_, verdict)| verdict.ours.is_empty())
        .map(|(finding, _)| finding)
        .collect();
    if !unknown.is_empty() {
        let places = unknown.iter().filter_map(|finding| finding.found_at.as_ref());
        let places: Vec<String> = places.take(PLACES_MAX).map(ToString::to_string).collect();
        text.push_str(&format!("; {} not ours {}", unknown.len(), places.join(" ")));
    }
    text
}
