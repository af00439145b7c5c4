//! The incident: our durable answer to one alert or many about the same version of a secret.
//!
//! Decides what is kept of it and how it changes: a sighting joins, a person approves, waives or
//! closes, two copies become one. What the rotation's course adds to it is decided in
//! [`progress`](super::progress). Must not know where it lies, how a rotation runs or who is told.
//! It holds no value and no digest of one, and nothing in it grows without a bound.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::incident::alert::{Claim, FoundAt};
use crate::incident::decide::{Action, Doubt};
pub use crate::incident::moment::{Moment, What};
use crate::incident::progress::News;
use crate::model::id::{IncidentId, SecretName, SourceName, TargetName};
use crate::model::id::{VersionId, WriteId};
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::model::version::{Stage, Taint};

/// The schema this program writes. An incident with a newer one is left alone.
pub const SCHEMA: u32 = 1;

/// Places that are listed one by one: whoever cleans up needs each, and more than this is a
/// mirrored repository, where the number says enough.
pub const SIGHTINGS_MAX: usize = 50;

/// Steps of the time line that are kept: a rotation with a hundred targets fits twice.
pub const MOMENTS_MAX: usize = 250;

/// Longest foreign text besides a place, in characters: a source's id, a detector's name.
pub const FOREIGN_LEN_MAX: usize = 120;

/// Random characters of an id: several hundred incidents may be opened in the same second.
const ID_RANDOM_LEN: usize = 4;

/// What the `by` of a [`Taint`] starts with that an incident caused.
const TAINT_PREFIX: &str = "incident ";

/// What stands as the source of an incident that was made anew from the record of its secret.
const FROM_RECORD: &str = "record";

/// One incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// The shape of this document.
    pub schema: u32,
    /// Its identity.
    pub id: IncidentId,
    /// The mark of this very write; the store sets it.
    pub write_id: WriteId,
    /// The secret.
    pub secret: SecretName,
    /// The version that was found.
    pub version: VersionId,
    /// The mark of the record whose version it is: when a record is deleted and the secret adopted
    /// anew, its numbers start again. None where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// Where it stood when it was found.
    pub stage: Stage,
    /// What was decided when it was found.
    pub action: Action,
    /// When the first alert was accepted.
    pub opened_at: Timestamp,
    /// When everything was settled, or a person closed it.
    pub closed_at: Option<Timestamp>,
    /// Where it stands.
    pub state: State,
    /// Until when an exposed version must be gone; known once it counts as exposed.
    pub deadline: Option<Timestamp>,
    /// Where it was seen.
    pub sightings: Vec<Sighting>,
    /// Sightings at other places than those listed.
    pub more_sightings: u64,
    /// The targets that have to leave the version.
    pub targets: BTreeMap<TargetName, Mark>,
    /// What happened, in order.
    pub timeline: Vec<Moment>,
    /// Steps that found no room in the time line.
    pub more_moments: u64,
}

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A person must agree first, for this reason.
    Waiting(Wait),
    /// It is being acted on.
    Acting,
    /// Everything in it is settled.
    Done,
    /// A person ended it.
    Closed,
}

/// Why a person must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// The decision left it to a person.
    Doubt(Doubt),
    /// It was decided, and the engine could not carry it out.
    Refused(Reason),
    /// Its secret has another record now, so that nothing follows this version any more.
    Vanished,
}

/// One place where the version was seen, as one source tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sighting {
    /// Who reported it.
    pub source: SourceName,
    /// The source's own id of the first report.
    pub id: String,
    /// The source's word for the kind of value.
    pub label: String,
    /// The place.
    pub found_at: Option<FoundAt>,
    /// What the source says.
    pub claim: Claim,
    /// Whether the report showed knowledge of the value.
    pub proved: bool,
    /// When it was reported first.
    pub at: Timestamp,
    /// When it was reported last.
    pub last_at: Timestamp,
    /// How often.
    pub times: u64,
}

/// How far one target is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Since when it works without the version, as far as is known.
    pub left_at: Option<Timestamp>,
    /// Who excused it.
    pub waived_by: Option<String>,
}

/// Why a person's wish does not fit the incident. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotNow {
    /// It is not waiting for anybody.
    #[error("incident {0} waits for nobody: it is {1}")]
    NotWaiting(IncidentId, &'static str),
    /// It is settled.
    #[error("incident {0} is {1} already")]
    Over(IncidentId, &'static str),
    /// Not one of its targets.
    #[error("incident {0} knows no target {1}")]
    NoSuchTarget(IncidentId, TargetName),
}

/// What an incident is opened with.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Its identity.
    pub id: IncidentId,
    /// The secret.
    pub secret: SecretName,
    /// The version.
    pub version: VersionId,
    /// The mark of the record whose version it is.
    pub incarnation: Option<String>,
    /// Where it stands.
    pub stage: Stage,
    /// What was decided.
    pub action: Action,
    /// When.
    pub at: Timestamp,
    /// Where it was seen.
    pub sighting: Sighting,
}

impl Incident {
    /// A new incident: waiting if a person is to be asked, acting otherwise.
    pub fn open(opening: Opening) -> Incident {
        let Opening { id, secret, version, incarnation, stage, action, at, sighting } = opening;
        let mut incident = Incident {
            schema: SCHEMA,
            id,
            write_id: WriteId(String::new()),
            secret,
            version,
            incarnation,
            stage,
            action,
            opened_at: at,
            closed_at: None,
            state: State::Acting,
            deadline: None,
            sightings: Vec::new(),
            more_sightings: 0,
            targets: BTreeMap::new(),
            timeline: Vec::new(),
            more_moments: 0,
        };
        incident.note(at, What::Opened);
        incident.join(sighting);
        if let Action::Ask(doubt) = action {
            incident.ask(Wait::Doubt(doubt), at);
        }
        incident
    }

    /// Adds a sighting. The same place from the same source is counted, not listed again.
    pub fn join(&mut self, sighting: Sighting) {
        if sighting.claim == Claim::Public && !self.has(&What::Public) {
            self.note(sighting.at, What::Public);
        }
        let same = self.sightings.iter().position(|known| known.is_same_place(&sighting));
        match same {
            Some(at) => {
                let known = &mut self.sightings[at];
                known.times = known.times.saturating_add(sighting.times);
                known.last_at = known.last_at.max(sighting.last_at);
                known.proved |= sighting.proved;
                known.claim = known.claim.graver(sighting.claim);
            }
            None if self.sightings.len() < SIGHTINGS_MAX => self.sightings.push(sighting),
            None => self.more_sightings = self.more_sightings.saturating_add(sighting.times),
        }
    }

    /// The version counts as exposed from here on, and must be gone at the deadline.
    pub fn expose(&mut self, at: Timestamp, deadline: Timestamp) {
        self.deadline = Some(self.deadline.map_or(deadline, |known| known.min(deadline)));
        if !self.is_exposed() {
            self.note(at, What::Exposed);
        }
    }

    /// It is decided and cannot be marked yet: the deadline counts from now on all the same.
    pub fn be_due(&mut self, deadline: Timestamp) {
        self.deadline.get_or_insert(deadline);
    }

    /// A person is asked, for this reason.
    pub fn ask(&mut self, wait: Wait, at: Timestamp) {
        if self.state != State::Waiting(wait) {
            self.state = State::Waiting(wait);
            self.note(at, What::Asked { wait });
        }
    }

    /// The secret's record is another one than the incident is about. Answers whether that is news.
    pub fn vanish(&mut self, at: Timestamp) -> Option<News> {
        let news = self.is_open() && self.state != State::Waiting(Wait::Vanished);
        news.then(|| {
            self.ask(Wait::Vanished, at);
            News::Waiting
        })
    }

    /// A later alert left no doubt: it is acted on.
    pub fn resolve(&mut self, action: Action) {
        self.action = action;
        self.state = State::Acting;
    }

    /// A person agrees: it is acted on.
    ///
    /// # Errors
    /// [`NotNow`] if it waits for nobody.
    pub fn approve(&mut self, by: &str, reason: &str, at: Timestamp) -> Result<(), NotNow> {
        if !self.is_waiting() {
            return Err(NotNow::NotWaiting(self.id.clone(), self.state.name()));
        }
        self.state = State::Acting;
        self.note(at, What::Approved { by: foreign(by), reason: foreign(reason) });
        Ok(())
    }

    /// A person excuses a target.
    ///
    /// # Errors
    /// [`NotNow`] if there is no such target, or everything is over.
    pub fn waive(
        &mut self,
        target: &TargetName,
        by: &str,
        reason: &str,
        at: Timestamp,
    ) -> Result<(), NotNow> {
        self.still_open()?;
        let stranger = || NotNow::NoSuchTarget(self.id.clone(), target.clone());
        let mark = self.targets.get(target).ok_or_else(stranger)?;
        let (by, reason) = (foreign(by), foreign(reason));
        let mark = Mark { waived_by: Some(by.clone()), ..mark.clone() };
        self.targets.insert(target.clone(), mark);
        self.note(at, What::Waived { target: target.clone(), by, reason });
        Ok(())
    }

    /// A person ends it, whatever is open. What runs at the engine is not stopped by it.
    ///
    /// # Errors
    /// [`NotNow`] if it is over.
    pub fn close(&mut self, by: &str, reason: &str, at: Timestamp) -> Result<(), NotNow> {
        self.still_open()?;
        self.state = State::Closed;
        self.closed_at = Some(at);
        self.note(at, What::Closed { by: foreign(by), reason: foreign(reason) });
        Ok(())
    }

    /// One incident from two copies that changed apart, as where another writer was faster: nothing
    /// that either knows is lost, and the one that came further says where it stands.
    pub fn merge(&mut self, other: &Incident) {
        for theirs in &other.sightings {
            // Counted by both since they parted: the higher number is nearer to the truth.
            match self.sightings.iter_mut().find(|known| known.is_same_place(theirs)) {
                Some(known) => {
                    known.times = known.times.max(theirs.times);
                    known.last_at = known.last_at.max(theirs.last_at);
                    known.proved |= theirs.proved;
                    known.claim = known.claim.graver(theirs.claim);
                }
                None => self.join(theirs.clone()),
            }
        }
        self.more_sightings = self.more_sightings.max(other.more_sightings);
        for moment in &other.timeline {
            if !self.timeline.contains(moment) {
                self.note(moment.at, moment.what.clone());
            }
        }
        self.more_moments = self.more_moments.max(other.more_moments);
        for (name, theirs) in &other.targets {
            let mark = self.targets.entry(name.clone()).or_default();
            mark.left_at = mark.left_at.or(theirs.left_at);
            mark.waived_by = mark.waived_by.take().or_else(|| theirs.waived_by.clone());
        }
        self.incarnation = self.incarnation.take().or_else(|| other.incarnation.clone());
        if other.action.exposes() && !self.action.exposes() {
            self.action = other.action;
        }
        self.state = self.state.max(other.state);
        self.closed_at = self.closed_at.or(other.closed_at);
        self.deadline = self.deadline.into_iter().chain(other.deadline).min();
    }

    /// Adds a step to the time line.
    pub(super) fn note(&mut self, at: Timestamp, what: What) {
        if self.timeline.len() >= MOMENTS_MAX && !what.is_once() {
            self.more_moments = self.more_moments.saturating_add(1);
            return;
        }
        let place = self.timeline.partition_point(|known| known.at <= at);
        self.timeline.insert(place, Moment { at, what });
    }

    /// Whether the step stands in the time line.
    pub(super) fn has(&self, what: &What) -> bool {
        self.timeline.iter().any(|moment| moment.what == *what)
    }

    /// When a step happened first.
    pub fn first(&self, is: impl Fn(&What) -> bool) -> Option<Timestamp> {
        self.timeline.iter().find(|moment| is(&moment.what)).map(|moment| moment.at)
    }

    /// Whether the version counts as exposed because of it.
    pub fn is_exposed(&self) -> bool {
        self.has(&What::Exposed)
    }

    /// When it was acted on: when the version came to count as exposed or, if that was decided and
    /// is still to come, when it was reported last.
    pub fn acted_at(&self) -> Option<Timestamp> {
        let decided =
            self.state == State::Acting && (self.action != Action::Join || self.is_lost());
        let reported = self.sightings.iter().map(|sighting| sighting.last_at).max();
        self.first(|what| *what == What::Exposed).or_else(|| reported.filter(|_| decided))
    }

    /// Whether it was acted on because of alerts alone: no person agreed, and none had marked the
    /// version before.
    pub fn is_by_alert(&self) -> bool {
        let approved = self.first(|what| matches!(what, What::Approved { .. })).is_some();
        (self.action.exposes() || self.is_lost()) && !approved
    }

    /// Whether it was made anew from the record, because its own document got lost.
    fn is_lost(&self) -> bool {
        self.sightings.first().is_some_and(|sighting| sighting.source.as_str() == FROM_RECORD)
    }

    /// Whether it waits for a person's word.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    /// Whether something is still to come.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Waiting(_) | State::Acting)
    }

    /// How often it was reported.
    pub fn reports(&self) -> u64 {
        let listed = self.sightings.iter().map(|sighting| sighting.times).sum::<u64>();
        listed.saturating_add(self.more_sightings)
    }

    fn still_open(&self) -> Result<(), NotNow> {
        if self.is_open() { Ok(()) } else { Err(NotNow::Over(self.id.clone(), self.state.name())) }
    }
}

impl State {
    /// The state's name as it stands in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            State::Waiting(_) => "waiting",
            State::Acting => "acting",
            State::Done => "done",
            State::Closed => "closed",
        }
    }
}

impl Wait {
    /// The stable word.
    pub fn code(self) -> &'static str {
        match self {
            Wait::Doubt(doubt) => doubt.code(),
            Wait::Refused(reason) => reason.code(),
            Wait::Vanished => "vanished",
        }
    }

    /// For people.
    pub fn meaning(self) -> &'static str {
        match self {
            Wait::Doubt(doubt) => doubt.meaning(),
            Wait::Refused(reason) => reason.meaning().trim(),
            Wait::Vanished => {
                "the secret's record was deleted and another one made, so that nothing follows \
                 this version any more; see that nobody accepts it, then close the incident"
            }
        }
    }
}

impl Sighting {
    /// What stands in an incident that was made anew from the record of its secret.
    pub fn from_record(at: Timestamp) -> Sighting {
        Sighting {
            source: SourceName::new(FROM_RECORD).expect("a plain word is a name"),
            id: String::new(),
            label: String::new(),
            found_at: None,
            claim: Claim::Leaked,
            proved: true,
            at,
            last_at: at,
            times: 1,
        }
    }

    fn is_same_place(&self, other: &Sighting) -> bool {
        self.source == other.source && self.found_at == other.found_at && self.label == other.label
    }
}

/// The id of an incident that is opened at this moment.
pub fn new_id(at: Timestamp, random: [u8; ID_RANDOM_LEN]) -> IncidentId {
    let moment = at.to_utc().format("%Y%m%dT%H%M%SZ");
    IncidentId(format!("{moment}-{}", hex::encode(random)))
}

/// The text as an id, if it has the form of one: it becomes part of a path.
pub fn parse_id(text: &str) -> Option<IncidentId> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let fits = (1..=40).contains(&text.len()) && text.bytes().all(plain);
    fits.then(|| IncidentId(text.to_owned()))
}

/// What a version that counts as exposed because of an incident says of it.
pub fn taint_by(id: &IncidentId) -> String {
    format!("{TAINT_PREFIX}{id}")
}

/// The incident because of which a version counts as exposed; none if a person said so.
pub fn of_taint(taint: &Taint) -> Option<IncidentId> {
    parse_id(taint.by.strip_prefix(TAINT_PREFIX)?)
}

/// Text of others, bounded and on one line.
pub fn foreign(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(clean).take(FOREIGN_LEN_MAX).collect()
}
