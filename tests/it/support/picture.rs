//! A picture of five secrets at one moment, each in another situation: what status, plan and the
//! command line are shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use rotord::engine::desk;
use rotord::engine::snapshot::{FailureView, Health, Planning, SecretView, Snapshot, Waiting};
use rotord::incident::alert::{Claim, FoundAt};
use rotord::incident::decide::{Action, Doubt};
use rotord::incident::progress::Facts;
use rotord::incident::record::{self, Incident, Mark, Sighting};
use rotord::model::capability::Capabilities;
use rotord::model::failure::{Class, Failure};
use rotord::model::fingerprint::Fingerprint;
use rotord::model::id::{
    Epoch, Generation, IncidentId, InstanceId, KeyId, RotationId, TargetName, VersionId,
};
use rotord::model::mask::Mask;
use rotord::model::policy::{Hold, Kind, Lane, Policy};
use rotord::model::reason::Reason;
use rotord::model::target::{Evidence, Level, Observation, Role, TargetTerms, Wanted};
use rotord::model::time::{Span, Timestamp};
use rotord::model::version::{Stage, Taint, Version};
use rotord::plan::Limits;
use rotord::plan::cadence::Cadence;
use rotord::plan::facts::Initial;
use rotord::plan::schedule::Schedule;
use rotord::rotation::effect::Effect;
use rotord::rotation::open::Opening;
use rotord::rotation::phase::{Outcome, Phase, Staging};
use rotord::rotation::retry::Trouble;
use rotord::rotation::{
    Forced, ForcedRule, Intent, Outgoing, Rotation, TargetState, Terms, Trigger,
};
use rotord::store::lease::Holder;
use rotord::store::record::Past;

/// 2026-11-22T12:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp(1_795_348_800_000);

const MINUTE: Span = Span::from_secs(60);
const HOUR: Span = Span::from_secs(3600);
const DAY: Span = Span::from_secs(24 * 3600);

/// The whole picture.
pub(crate) fn snapshot() -> Snapshot {
    let secrets = [overlapping(), stuck(), leaked(), fresh(), unmanaged()];
    let secrets = secrets.into_iter().map(|s| (s.name.clone(), Arc::new(s))).collect();
    let limits = Limits::default();
    Snapshot { at: NOW, health: health(), limits, secrets: Arc::new(secrets) }
}

/// The picture with one secret replaced, taken `later` than [`NOW`].
pub(crate) fn with(secret: SecretView, later: Span) -> Snapshot {
    let mut picture = snapshot();
    let mut secrets = (*picture.secrets).clone();
    secrets.insert(secret.name.clone(), Arc::new(secret));
    picture.secrets = Arc::new(secrets);
    picture.at = NOW + later;
    picture
}

/// A leader without trouble.
pub(crate) fn health() -> Health {
    Health {
        instance: InstanceId("rotord-1".into()),
        started_at: NOW - DAY.times(9),
        turned_at: NOW - Span(400),
        epoch: Some(Epoch(12)),
        leader: Some(Holder {
            instance: InstanceId("rotord-1".into()),
            host: Some("host-a".into()),
            epoch: Epoch(12),
            since: NOW - DAY.times(9),
        }),
        lease_until: Some(NOW + Span::from_secs(11)),
        destructive_from: None,
        trouble: None,
        loaded: true,
        unread: 0,
        breaker_open: false,
    }
}

/// An HMAC secret in its overlap, with evidence of three kinds.
pub(crate) fn overlapping() -> SecretView {
    let phase = Phase::Overlap { current: VersionId(8), switched_at: NOW - HOUR.times(20) };
    let targets = [("api", Role::Verifier), ("legacy", Role::Both), ("sender", Role::Signer)];
    let mut rotation = rotation("20261121T031200Z-sched", Kind::WebhookHmac, phase, &targets);
    rotation.trigger = Trigger::Scheduled { instant: NOW - HOUR.times(33) };
    rotation.versions = BTreeMap::from([
        (VersionId(6), version(6, Stage::Revoked, DAY.times(60))),
        (VersionId(7), version(7, Stage::Previous, DAY.times(30))),
        (VersionId(8), version(8, Stage::Current, HOUR.times(32))),
    ]);
    let earliest = Some(NOW + HOUR.times(4));
    rotation.outgoing = vec![Outgoing { version: VersionId(7), earliest, latest: None }];
    tell(&mut rotation, &[8, 7], 8);
    see(&mut rotation, "api", Level::Proved, "api-1, api-2");
    see(&mut rotation, "legacy", Level::Stored, "read back");
    see(&mut rotation, "sender", Level::Acknowledged, "sender-0");
    let legacy = target(&mut rotation, "legacy");
    legacy.terms.unattested = true;
    legacy.terms.needs = Level::Stored;
    let mut view = view("billing-webhook", Kind::WebhookHmac, Some(rotation));
    view.tags = vec!["payments".into()];
    view.waiting = waiting("overlap", Some(NOW + HOUR.times(4)));
    view.planning = Some(planning(Cadence {
        schedule: Some(Schedule::parse("0 12 20 * *", "UTC").unwrap()),
        max_age: Some(DAY.times(30)),
        ..Cadence::default()
    }));
    view.history = Arc::new(vec![Past {
        id: RotationId("20261023T031200Z-sched".into()),
        trigger: Trigger::Scheduled { instant: NOW - DAY.times(30) },
        opened_at: NOW - DAY.times(30),
        closed_at: NOW - DAY.times(29),
        outcome: Some(Outcome::Done),
        forced: Vec::new(),
    }]);
    view
}

/// An API key whose issuer is full: a person is needed. A hold is on it as well.
pub(crate) fn stuck() -> SecretView {
    let step = Staging::Preflight;
    let phase = Phase::Stage { version: VersionId(3), step };
    let targets = [("shop", Role::Signer)];
    let mut rotation = rotation("20261122T110000Z-manual", Kind::ApiKey, phase, &targets);
    rotation.trigger = Trigger::Manual { by: "uid:1000(alice)".into(), reason: "test".into() };
    let mut current = version(2, Stage::Current, DAY.times(91));
    current.key_id = Some(KeyId("AKIA7EXAMPLE".into()));
    rotation.versions = BTreeMap::from([(VersionId(2), current)]);
    rotation.trouble = refused(Reason::IssuerFull);
    tell(&mut rotation, &[2], 2);
    see(&mut rotation, "shop", Level::Acknowledged, "shop-1");
    rotation.hold = Some(Hold {
        by: "uid:1000(alice)".into(),
        reason: "quarter end".into(),
        at: NOW - DAY,
        until: NOW + DAY.times(6),
        routine_only: true,
    });
    let mut view = view("stripe-key", Kind::ApiKey, Some(rotation));
    view.waiting = Waiting {
        why: "the issuer has no room for another key".into(),
        until: None,
        needs_human: Some(Reason::IssuerFull),
        remedy: Some("rotord resolve stripe-key retry".into()),
    };
    let max_age = Some(DAY.times(120));
    view.planning = Some(planning(Cadence { max_age, ..Cadence::default() }));
    view.failures = vec![FailureView {
        effect: "list".into(),
        reason: Reason::IssuerFull,
        text: "2 of 2 keys exist at the issuer and none of them is ours to delete".into(),
        at: NOW - MINUTE.times(3),
    }];
    view
}

/// An exposed API key that was cut off at its deadline, with one target behind.
pub(crate) fn leaked() -> SecretView {
    let phase = Phase::Switch { current: VersionId(5) };
    let targets = [("cron", Role::Signer), ("worker", Role::Signer)];
    let mut rotation = rotation("20261122T114500Z-alert", Kind::ApiKey, phase, &targets);
    rotation.trigger =
        Trigger::Emergency { by: "alert:github/1".into(), reason: "found in a repository".into() };
    rotation.lane = Lane::Emergency;
    let mut exposed = version(4, Stage::Previous, DAY.times(12));
    exposed.taint = Some(Taint { at: NOW - MINUTE.times(15), by: "alert:github/1".into() });
    exposed.key_id = Some(KeyId("key_04".into()));
    rotation.versions = BTreeMap::from([
        (VersionId(4), exposed),
        (VersionId(5), version(5, Stage::Current, MINUTE.times(13))),
    ]);
    let latest = Some(NOW + MINUTE.times(2));
    rotation.outgoing = vec![Outgoing { version: VersionId(4), earliest: None, latest }];
    rotation.intent = Some(Intent {
        at: NOW - Span::from_secs(2),
        pending: vec![Effect::Push { target: "worker".parse().unwrap() }],
    });
    tell(&mut rotation, &[5], 5);
    see(&mut rotation, "cron", Level::Observed, "issuer");
    target(&mut rotation, "worker").trouble = Trouble {
        attempts: 4,
        last: Some(Failure { class: Class::Transient, reason: Reason::Unreachable }),
        not_before: Some(NOW + Span::from_secs(5)),
        since: Some(NOW - MINUTE.times(11)),
    };
    rotation.forced = vec![Forced {
        version: VersionId(3),
        rule: ForcedRule::MaxExposure,
        targets_without_evidence: vec!["worker".parse().unwrap()],
        at: NOW - MINUTE.times(1),
    }];
    let mut view = view("mail-key", Kind::ApiKey, Some(rotation));
    view.waiting = waiting("target worker: unreachable", Some(NOW + Span::from_secs(5)));
    view
}

/// In the config, without a record.
pub(crate) fn fresh() -> SecretView {
    let mut view = view("fresh-webhook", Kind::WebhookHmac, None);
    view.waiting = Waiting {
        why: "no record yet".into(),
        until: None,
        needs_human: Some(Reason::NotAdopted),
        remedy: Some("rotord adopt fresh-webhook".into()),
    };
    view.planning.as_mut().unwrap().last_scheduled = None;
    view
}

/// In Vault, and in the config no more.
pub(crate) fn unmanaged() -> SecretView {
    let phase = Phase::Closed { outcome: Outcome::Done, at: NOW - DAY.times(200) };
    let mut rotation = rotation("20260506T120000Z-sched", Kind::ApiKey, phase, &[]);
    rotation.versions =
        BTreeMap::from([(VersionId(1), version(1, Stage::Current, DAY.times(201)))]);
    let mut view = view("retired-app", Kind::ApiKey, Some(rotation));
    view.managed = false;
    view.waiting = waiting("not in the config", None);
    view.planning = None;
    view
}

/// `leaked` as it goes on: the stages of an emergency rotation that `--wait` follows.
pub(crate) fn emergency(id: &str, phase: Phase, worker: Option<Level>) -> SecretView {
    let mut view = leaked();
    let mut rotation = (**view.rotation.as_ref().unwrap()).clone();
    rotation.id = RotationId(id.into());
    rotation.phase = phase;
    rotation.forced.clear();
    target(&mut rotation, "worker").trouble = Trouble::default();
    if let Some(level) = worker {
        see(&mut rotation, "worker", level, "worker-3");
    }
    view.rotation = Some(Arc::new(rotation));
    view.waiting = waiting("evidence", None);
    view
}

/// A secret with nothing special about it.
pub(crate) fn view(name: &str, kind: Kind, rotation: Option<Rotation>) -> SecretView {
    SecretView {
        name: name.parse().unwrap(),
        kind,
        tags: Vec::new(),
        managed: true,
        unread: false,
        incarnation: None,
        rotation: rotation.map(Arc::new),
        history: Arc::new(Vec::new()),
        waiting: waiting("schedule", None),
        planning: Some(planning(Cadence::default())),
        failures: Vec::new(),
    }
}

fn planning(cadence: Cadence) -> Planning {
    Planning {
        cadence: Arc::new(cadence),
        cadence_since: None,
        initial: Initial::Adopt,
        priority: 0,
        after: Vec::new(),
        last_scheduled: Some(NOW - DAY.times(30)),
        in_the_way: None,
        next_run: None,
    }
}

fn rotation(id: &str, kind: Kind, phase: Phase, targets: &[(&str, Role)]) -> Rotation {
    let terms = |role| TargetTerms {
        role,
        propagation: MINUTE,
        needs: Level::Acknowledged,
        unattested: false,
        keeps_history: false,
        recovery: None,
        observe_every: None,
        place: None,
    };
    let mut rotation = Rotation::first(Opening {
        id: RotationId(id.into()),
        trigger: Trigger::MaxAge,
        lane: Lane::Routine,
        at: NOW - HOUR,
        terms: Terms { kind, capabilities: Capabilities::local(), policy: Policy::default() },
        targets: targets.iter().map(|(name, role)| (name.parse().unwrap(), terms(*role))).collect(),
    });
    rotation.phase = phase;
    rotation
}

fn version(number: u8, stage: Stage, age: Span) -> Version {
    let mut version = Version::pending(None, Fingerprint([number; 16]), NOW - age);
    version.stage = stage;
    version.promoted_at = (stage != Stage::Pending).then(|| NOW - age + MINUTE);
    version.revoked_at = (stage == Stage::Revoked).then(|| NOW - DAY);
    version
}

/// Every target must hold this.
fn tell(rotation: &mut Rotation, accepted: &[u64], current: u64) {
    for target in rotation.targets.values_mut() {
        target.wanted = Wanted {
            generation: Generation(14),
            accepted: accepted.iter().copied().map(VersionId).collect(),
            current: Some(VersionId(current)),
        };
    }
}

/// The target was seen to hold what it must.
fn see(rotation: &mut Rotation, name: &str, level: Level, by: &str) {
    let target = target(rotation, name);
    let Wanted { generation, accepted, current } = target.wanted.clone();
    let seen = Observation { generation, accepted, current, level, by: by.into() };
    target.evidence = Some(Evidence { seen, at: NOW - MINUTE.times(2), since: NOW - HOUR });
}

fn target<'a>(rotation: &'a mut Rotation, name: &str) -> &'a mut TargetState {
    rotation.targets.get_mut(&name.parse::<TargetName>().unwrap()).unwrap()
}

fn refused(reason: Reason) -> Trouble {
    let failure = Failure { class: Class::Refused, reason };
    Trouble::default().met(failure, Lane::Routine, NOW - MINUTE.times(3))
}

fn waiting(why: &str, until: Option<Timestamp>) -> Waiting {
    Waiting { why: why.into(), until, needs_human: None, remedy: None }
}

/// The incident that waits for a person, and the one that is acted on.
pub(crate) const WAITING: &str = "20261122T114000Z-0badc0de";
pub(crate) const ACTING: &str = "20261122T115500Z-7f3a91c2";

/// What the desk shows: one incident that waits, and one under way.
pub(crate) fn incidents() -> desk::Picture {
    let asks = Action::Ask(Doubt::Unproved);
    let waiting = incident(WAITING, "stripe-key", asks, NOW - MINUTE.times(20));
    let mut acting = incident(ACTING, "mail-key", Action::Rotate, NOW - MINUTE.times(5));
    let at = acting.opened_at;
    let mark = |left_at| Mark { left_at, waived_by: None };
    acting.follow(&Facts {
        at: at + Span::from_secs(2),
        exposed_at: Some(at + Span(40)),
        deadline: Some(NOW + MINUTE.times(10)),
        rotation: Some((RotationId("20261122T115500Z-emergency".into()), at + Span(40))),
        successor: Some((VersionId(9), at + Span(300))),
        targets: [("api", mark(Some(at + Span(700)))), ("worker", mark(None))]
            .map(|(name, mark)| (name.parse().unwrap(), mark))
            .into(),
        ..Facts::default()
    });
    let both = [waiting, acting].map(|one| (one.id.clone(), Arc::new(one)));
    desk::Picture { at: NOW, ready: true, incidents: Arc::new(both.into()), ..Default::default() }
}

fn incident(id: &str, secret: &str, action: Action, at: Timestamp) -> Incident {
    Incident::open(record::Opening {
        id: IncidentId(id.into()),
        secret: secret.parse().unwrap(),
        version: VersionId(8),
        incarnation: None,
        stage: Stage::Current,
        action,
        at,
        sighting: Sighting {
            source: "github".parse().unwrap(),
            id: "acme/shop#17".into(),
            label: "acme_token".into(),
            found_at: FoundAt::new("https://git.example/acme/shop/.env#L3", &Mask::default()),
            claim: Claim::Leaked,
            proved: action == Action::Rotate,
            at,
            last_at: at,
            times: 3,
        },
    })
}
