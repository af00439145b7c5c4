//! One secret's part of the world: the keys at its issuer and the services that hold it.

use std::collections::{BTreeMap, BTreeSet};

use rotord::model::id::{Generation, TargetName, VersionId};
use rotord::model::policy::Kind;
use rotord::model::target::Role;
use rotord::model::time::{Span, Timestamp};

/// One secret's part of the world.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    pub(super) kind: Kind,
    /// An issuer accepts the keys, and not the services each other's.
    pub(super) has_issuer: bool,
    /// Which versions die by themselves when another is minted.
    pub(super) dies_on_mint: bool,
    /// By the issuer's id; a rolled key keeps its id and gets another value.
    pub(super) keys: BTreeMap<String, Key>,
    /// The values that services were given, by version.
    pub(super) handed: BTreeMap<VersionId, Vec<u8>>,
    pub(super) services: BTreeMap<TargetName, Service>,
}

/// A key at an issuer.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) value: Vec<u8>,
    pub(super) mark: Option<String>,
    pub(super) version: VersionId,
    pub(super) created_at: Timestamp,
    pub(super) revoked: bool,
    /// When the issuer's own clock ends it.
    pub(super) dies_at: Option<Timestamp>,
}

/// What a service held from some moment on.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding {
    pub(super) since: Timestamp,
    pub(super) generation: Generation,
    pub(super) accepted: Vec<VersionId>,
    pub(super) current: Option<VersionId>,
    /// It came to this by itself: it restarted empty, or went back to what it held earlier.
    pub(super) by_itself: bool,
}

/// A dependent service as it is.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) role: Role,
    pub(super) propagation: Span,
    /// Oldest first; never empty once it was told something.
    pub(super) holdings: Vec<Holding>,
    /// The highest generation that was sent to it.
    pub(super) sent: Generation,
    /// It answers nobody until this moment.
    pub(super) dead_until: Timestamp,
}

impl Truth {
    /// The key at the issuer that services have as this version.
    pub(super) fn key_of(&self, version: VersionId) -> Option<&Key> {
        let value = self.handed.get(&version)?;
        self.keys.values().find(|key| key.value == *value)
    }
}

impl Key {
    pub(super) fn is_alive(&self, now: Timestamp) -> bool {
        !self.revoked && !self.has_died(now)
    }

    /// Whether the issuer's own clock has ended it.
    pub(super) fn has_died(&self, now: Timestamp) -> bool {
        self.dies_at.is_some_and(|at| at <= now)
    }
}

impl Service {
    pub(super) fn new(role: Role, propagation: Span) -> Service {
        Service {
            role,
            propagation,
            holdings: Vec::new(),
            sent: Generation::default(),
            dead_until: Timestamp::default(),
        }
    }

    pub(super) fn holds(&self) -> Option<&Holding> {
        self.holdings.last()
    }

    /// Everything that some consumer of it may be working with now: what it holds, and what it
    /// held within its propagation.
    pub(super) fn in_use(&self, now: Timestamp) -> impl Iterator<Item = &Holding> {
        let mut replaced_at = None;
        self.holdings.iter().rev().take_while(move |holding| {
            let used = replaced_at.is_none_or(|at: Timestamp| at + self.propagation > now);
            replaced_at = Some(holding.since);
            used
        })
    }

    /// Whether what it works with is of its own making, and nothing can be expected of it.
    pub(super) fn is_astray(&self, now: Timestamp) -> bool {
        self.in_use(now).any(|holding| holding.by_itself)
    }

    /// The versions that some consumer of it may be presenting now.
    pub(super) fn presented(&self, now: Timestamp) -> BTreeSet<VersionId> {
        if !self.role.signs() {
            return BTreeSet::new();
        }
        self.in_use(now).filter_map(|holding| holding.current).collect()
    }

    /// Whether every consumer of it certainly accepts the version now.
    pub(super) fn accepts(&self, version: VersionId, now: Timestamp) -> bool {
        self.in_use(now).all(|holding| holding.accepted.contains(&version))
    }
}
