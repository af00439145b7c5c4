//! What the course of a rotation adds to an incident, and what is still open in it.
//!
//! Decides which steps become part of the time line, when the deadline counts as missed, and when
//! an incident is done by itself. The facts are told; must not know how they are found out.

use std::collections::BTreeMap;

use crate::incident::record::{Incident, Mark, State, Wait, What};
use crate::model::id::{RotationId, TargetName, VersionId};
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};

/// What is known of the secret at one moment, seen from the exposed version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The moment.
    pub at: Timestamp,
    /// When the version was marked as exposed.
    pub exposed_at: Option<Timestamp>,
    /// Until when it must be gone.
    pub deadline: Option<Timestamp>,
    /// The rotation that is open, and when it was opened.
    pub rotation: Option<(RotationId, Timestamp)>,
    /// The newer version in use, and since when.
    pub successor: Option<(VersionId, Timestamp)>,
    /// The targets, each with the moment since which it works without the version, and who
    /// excused it.
    pub targets: BTreeMap<TargetName, Mark>,
    /// Nobody accepts the version any more.
    pub refused: bool,
    /// When it was gone for good.
    pub revoked_at: Option<Timestamp>,
    /// A person is needed, and this is why.
    pub needs_human: Option<Reason>,
}

/// What news an incident has, for whoever tells people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    /// It was opened and is acted on.
    Opened,
    /// A person must agree.
    Waiting,
    /// A person agreed.
    Approved,
    /// The exposed version is still accepted past its deadline.
    DeadlinePassed,
    /// The rotation stands and waits for a person.
    NeedsHuman,
    /// Everything is settled.
    Done,
    /// A person ended it.
    Closed,
}

/// How much it matters that people hear of something soon; the greater, the more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// It tells of what is over or decided.
    Told,
    /// It tells of a leak that is acted on.
    New,
    /// Nothing goes on without a person.
    Asks,
    /// Harm is being done.
    Alarm,
}

/// Something that keeps an incident open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A person's word.
    Approval(Wait),
    /// The version does not count as exposed yet.
    Exposure,
    /// This target may still use or accept the version.
    Target(TargetName),
    /// Somebody still accepts the version.
    Refusal,
    /// The version's material is not deleted yet.
    Revocation,
}

impl News {
    /// Every kind there is.
    pub const ALL: [News; 7] = [
        News::Opened,
        News::Waiting,
        News::Approved,
        News::DeadlinePassed,
        News::NeedsHuman,
        News::Done,
        News::Closed,
    ];

    /// How much it matters that people hear of it soon.
    pub fn urgency(self) -> Urgency {
        match self {
            News::DeadlinePassed => Urgency::Alarm,
            News::NeedsHuman | News::Waiting => Urgency::Asks,
            News::Opened => Urgency::New,
            News::Approved | News::Done | News::Closed => Urgency::Told,
        }
    }

    /// The stable word.
    pub fn code(self) -> &'static str {
        match self {
            News::Opened => "opened",
            News::Waiting => "waiting",
            News::Approved => "approved",
            News::DeadlinePassed => "deadline_passed",
            News::NeedsHuman => "needs_human",
            News::Done => "done",
            News::Closed => "closed",
        }
    }
}

impl Incident {
    /// Takes in where things stand. Answers what people should hear of, in order; whether anything
    /// at all changed shows in the incident.
    pub fn follow(&mut self, facts: &Facts) -> Vec<News> {
        if !self.is_open() {
            return Vec::new();
        }
        let mut news = Vec::new();
        if self.state == State::Waiting(Wait::Vanished) && self.is_exposed() {
            // The record came back, out of a backup.
            self.state = State::Acting;
        }
        if let (Some(at), Some(deadline)) = (facts.exposed_at, facts.deadline) {
            self.expose(at.max(self.opened_at), deadline);
            if self.is_waiting() {
                // Somebody else had it marked: there is nothing left to agree to.
                self.state = State::Acting;
            }
        }
        if !self.is_exposed() {
            // It went its usual way while somebody was asked, or before it could be marked.
            if let Some(at) = facts.revoked_at {
                self.once(at.max(self.opened_at), What::Refused);
                self.once(at.max(self.opened_at), What::Revoked);
                news.push(self.finish(facts.at));
            } else if self.state == State::Acting {
                // It was decided, and the record does not take it.
                news.extend(self.look_at_trouble(facts));
            }
            return news;
        }
        self.follow_rotation(facts);
        self.follow_targets(facts);
        if facts.refused {
            self.once(facts.at, What::Refused);
        }
        if let Some(at) = facts.revoked_at {
            self.once(at, What::Refused);
            self.once(at, What::Revoked);
        }
        news.extend(self.look_at_trouble(facts));
        if self.missing().is_empty() {
            news.push(self.finish(facts.at));
        }
        news
    }

    fn finish(&mut self, at: Timestamp) -> News {
        self.state = State::Done;
        self.closed_at = Some(at);
        self.note(at, What::Done);
        News::Done
    }

    /// Notes what only a person can help.
    fn look_at_trouble(&mut self, facts: &Facts) -> Vec<News> {
        let mut news = Vec::new();
        if let Some(reason) = facts.needs_human {
            let what = What::NeedsHuman { reason };
            if !self.has(&what) {
                self.note(facts.at, what);
                news.push(News::NeedsHuman);
            }
        }
        news.extend(self.look_at_deadline(facts.at));
        news
    }

    /// Notes a deadline that has passed while somebody still accepts the version.
    fn look_at_deadline(&mut self, now: Timestamp) -> Option<News> {
        let overdue = self.deadline.is_some_and(|deadline| deadline < now);
        let refused = self.refused_at().is_some();
        if !overdue || refused || self.has(&What::DeadlinePassed) {
            return None;
        }
        self.note(now, What::DeadlinePassed);
        Some(News::DeadlinePassed)
    }

    fn follow_rotation(&mut self, facts: &Facts) {
        if let Some((id, at)) = &facts.rotation {
            self.once((*at).max(self.opened_at), What::Rotation { id: id.clone() });
        }
        if let Some((version, at)) = facts.successor {
            self.once(at.max(self.opened_at), What::Current { version });
        }
    }

    fn follow_targets(&mut self, facts: &Facts) {
        for (name, fact) in &facts.targets {
            let known = self.targets.get(name).cloned().unwrap_or_default();
            match (known.left_at, fact.left_at) {
                (None, Some(at)) => {
                    self.note(at.max(self.opened_at), What::Left { target: name.clone() });
                }
                (Some(_), None) => self.note(facts.at, What::Returned { target: name.clone() }),
                _ => {}
            }
            let left_at =
                fact.left_at.map(|at| known.left_at.unwrap_or_else(|| at.max(self.opened_at)));
            let waived_by = known.waived_by.or_else(|| fact.waived_by.clone());
            self.targets.insert(name.clone(), Mark { left_at, waived_by });
        }
        // A target that is gone from the secret owes nothing any more.
        self.targets.retain(|name, _| facts.targets.contains_key(name));
        if !self.targets.is_empty() && self.holding().next().is_none() {
            let last = self.targets.values().filter_map(|mark| mark.left_at).max();
            self.once(last.unwrap_or(facts.at), What::Everywhere);
        }
    }

    fn once(&mut self, at: Timestamp, what: What) {
        if !self.has(&what) {
            self.note(at, what);
        }
    }

    /// The targets that may still use or accept the version, waived ones apart.
    pub fn holding(&self) -> impl Iterator<Item = &TargetName> {
        let holds = |mark: &Mark| mark.left_at.is_none() && mark.waived_by.is_none();
        self.targets.iter().filter(move |(_, mark)| holds(mark)).map(|(name, _)| name)
    }

    /// What keeps it open, in the order in which it is to be dealt with.
    pub fn missing(&self) -> Vec<Missing> {
        if !self.is_open() {
            return Vec::new();
        }
        if let State::Waiting(wait) = self.state {
            return vec![Missing::Approval(wait)];
        }
        if !self.is_exposed() {
            return vec![Missing::Exposure];
        }
        let mut missing: Vec<Missing> = self.holding().cloned().map(Missing::Target).collect();
        if self.refused_at().is_none() {
            missing.push(Missing::Refusal);
        }
        if !self.has(&What::Revoked) {
            missing.push(Missing::Revocation);
        }
        missing
    }

    /// When nobody accepted the version any more.
    pub fn refused_at(&self) -> Option<Timestamp> {
        self.first(|what| *what == What::Refused)
    }

    /// How long the version was accepted after we learned of the leak; until now if it still is.
    pub fn exposure(&self, now: Timestamp) -> Span {
        self.refused_at().unwrap_or(now).since(self.opened_at)
    }

    /// Whether the version is still accepted although its deadline has passed.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.is_open()
            && self.refused_at().is_none()
            && self.deadline.is_some_and(|deadline| deadline < now)
    }
}
