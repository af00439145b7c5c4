//! The JSON that leaves the daemon: views, never the stored types, converted by hand in `view`.
//!
//! Decides what others may rely on. Fields are only ever added; words (phases, stages, codes) are
//! plain strings here, so that an older reader understands a newer daemon. `docs/api.md` is the
//! same in prose.

pub mod alerts;
pub mod brakes;
mod health;
pub mod incidents;
pub mod scope;

use serde::{Deserialize, Serialize};

pub use crate::api::wire::health::Health;
use crate::model::time::{Span, Timestamp};

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's wall time when it answered.
    pub now: Timestamp,
    /// When the picture was taken.
    pub at: Timestamp,
    /// How the daemon is.
    pub daemon: Daemon,
    /// The secrets in order of their names.
    pub secrets: Vec<Summary>,
}

/// `GET /v1/status/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// The daemon's wall time when it answered.
    pub now: Timestamp,
    /// When the picture was taken.
    pub at: Timestamp,
    /// How the daemon is.
    pub daemon: Daemon,
    /// The secret.
    pub secret: Secret,
}

/// `GET /v1/plan`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The daemon's wall time when it answered.
    pub now: Timestamp,
    /// When the picture was taken.
    pub at: Timestamp,
    /// How the daemon is: nothing starts where it does not lead.
    pub daemon: Daemon,
    /// The secrets in order of their names.
    pub secrets: Vec<Planned>,
}

/// How the daemon itself is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// This process.
    pub instance: String,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// When its loop last turned.
    pub turned_at: Timestamp,
    /// Whether it holds the lease and so may act.
    pub leader: bool,
    /// The epoch it acts under, while it does.
    pub epoch: Option<u64>,
    /// Who leads, as it was seen last: this process or another.
    pub led_by: Option<LedBy>,
    /// Until when the lease is certainly its own if it cannot be renewed.
    pub lease_until: Option<Timestamp>,
    /// Before this moment nothing is taken away, while it is ahead.
    pub destructive_from: Option<Timestamp>,
    /// How it stands with Vault.
    pub token: Token,
    /// Whether all records were loaded once.
    pub loaded: bool,
    /// What keeps it from acting.
    pub trouble: Option<Trouble>,
    /// What a person must look at and that is about no single secret.
    #[serde(default)]
    pub alarms: Vec<Trouble>,
    /// What holds rotations back as a whole.
    #[serde(default)]
    pub brakes: brakes::Brakes,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedBy {
    /// The instance.
    pub instance: String,
    /// The machine it runs on, as it calls itself.
    pub host: Option<String>,
    /// The epoch it acts under.
    pub epoch: u64,
    /// Since when, by its own clock.
    pub since: Timestamp,
}

/// Vault's token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// When it ends if it is not renewed; none if it never does, or there is none yet.
    pub until: Option<Timestamp>,
    /// What keeps it from being got or renewed, while something does.
    pub trouble: Option<Trouble>,
}

/// A stable code, what it means, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The stable code.
    pub code: String,
    /// What it means.
    pub text: String,
    /// Since when.
    pub since: Timestamp,
}

/// A stable code and what it means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The stable code.
    pub code: String,
    /// What it means.
    pub text: String,
}

/// One secret in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// `webhook_hmac` or `api_key`.
    pub kind: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether the config has it; if not, it is only in Vault and never acted on.
    pub managed: bool,
    /// The rotation that is open, or the last one.
    pub rotation: Option<Run>,
    /// The version in use.
    pub current: Option<Current>,
    /// How far the targets are.
    pub targets: Progress,
    /// What the secret waits for.
    pub waiting: Waiting,
    /// Until when nothing of it may be taken away.
    pub held_until: Option<Timestamp>,
    /// When its next run starts.
    pub next_run: Option<Timestamp>,
}

/// The rotation that is open, or the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its identity.
    pub id: String,
    /// What set it off: `scheduled`, `manual`, `emergency`, ...
    pub trigger: String,
    /// `routine` or `emergency`.
    pub lane: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Its phase; `closed` if nothing is open.
    pub phase: String,
    /// The version that is being brought in, as long as it is not in use.
    pub incoming: Option<u64>,
    /// How it ended: `done` or `unwound`.
    pub outcome: Option<String>,
    /// Whether a key that nobody can find may be left at the issuer.
    pub possible_orphan: bool,
}

/// The version in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// Its number.
    pub version: u64,
    /// Since when it is in use.
    pub since: Timestamp,
    /// Whether it leaked.
    pub tainted: bool,
}

/// How far the targets are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Targets seen to hold what they must, as well attested as they must be.
    pub reached: u64,
    /// Targets that count.
    pub total: u64,
    /// The weakest evidence among those reached.
    pub evidence: Option<String>,
    /// Whether some of it is assumed because the config says so.
    pub assumed: bool,
}

/// What a secret waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// In words.
    pub why: String,
    /// Until when, if that is known.
    pub until: Option<Timestamp>,
    /// Why a person is needed, if one is.
    pub needs_human: Option<Why>,
    /// The command that helps, if a person is needed.
    pub remedy: Option<String>,
}

/// One secret with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// What `GET /v1/status` says of it.
    #[serde(flatten)]
    pub summary: Summary,
    /// The policy that the rotation was opened under.
    pub policy: Option<Policy>,
    /// Its versions, newest first.
    pub versions: Vec<Version>,
    /// The versions on their way out.
    pub outgoing: Vec<Outgoing>,
    /// Its targets in order of their names.
    pub targets_detail: Vec<Target>,
    /// The effects under way.
    pub under_way: Vec<String>,
    /// The exceptions that were made in this rotation.
    pub forced: Vec<Forced>,
    /// The hold, if there is one.
    pub hold: Option<Hold>,
    /// The last failures.
    pub failures: Vec<Failure>,
    /// The rotations before this one, newest first.
    pub history: Vec<Past>,
    /// When its next runs start.
    pub next_runs: Vec<Timestamp>,
}

/// The policy that a rotation was opened under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How long old and new are both accepted.
    pub overlap: Span,
    /// Oldest evidence on which a version may be taken away.
    pub evidence_max_age: Span,
    /// `keep_serving` or `contain`.
    pub on_leak: String,
    /// Longest time an exposed version may stay accepted.
    pub max_exposure: Span,
}

/// One value of a secret, without the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// `pending`, `current`, `previous`, `retired` or `revoked`.
    pub stage: String,
    /// The issuer's public id of it.
    pub key_id: Option<String>,
    /// When its material was durable.
    pub staged_at: Timestamp,
    /// When it came into use.
    pub promoted_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Set if it leaked.
    pub taint: Option<Taint>,
}

/// Why a version counts as exposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    /// Who or what said so.
    pub by: String,
    /// When we learned of it.
    pub at: Timestamp,
}

/// A version on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Its number.
    pub version: u64,
    /// Not before this moment; unknown until every signer has switched.
    pub earliest: Option<Timestamp>,
    /// At the latest at this moment, evidence or not.
    pub latest: Option<Timestamp>,
    /// How far it is. It waits for signers (`switching`), its date (`overlap`), a hold (`held`), or
    /// targets (`evidence`), or for nothing any more (`ready`); then `retiring`, `revoking`, and
    /// the last step done: `revoked`, `refused`, `terminated`, `forgotten`.
    pub progress: String,
    /// The targets that have not shown that they can do without it.
    pub lacking: Vec<Lacking>,
    /// What its end met, while that fails.
    pub trouble: Option<Attempts>,
}

/// A target that has not shown that it can do without a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    /// Its name.
    pub target: String,
    /// A reason code, or `behind`, `propagating`, `still_used`, `stale`.
    pub code: String,
    /// What that means.
    pub text: String,
    /// The level of what it has shown, if it has shown anything.
    pub level: Option<String>,
    /// The level that it must show.
    pub needs: String,
    /// Since when it fails; if it does not, when it was seen last.
    pub since: Option<Timestamp>,
    /// Until when it has to propagate, if it only has to.
    pub until: Option<Timestamp>,
}

/// One target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// `verifier`, `signer` or `both`.
    pub role: String,
    /// What it must hold.
    pub wanted: Holding,
    /// What it was last seen to hold.
    pub seen: Option<Holding>,
    /// How well that is known.
    pub evidence: Option<Evidence>,
    /// The level of evidence without which it has not moved.
    pub needs: String,
    /// Whether it was seen to hold what it must, as well attested as it must be.
    pub reached: bool,
    /// Whether that counts only because the config says so: shown as `assumed`.
    pub assumed: bool,
    /// When the last consumer of it has let go of what it read before.
    pub settles_at: Option<Timestamp>,
    /// Whether the config has it no more.
    pub removed: bool,
    /// Who excused it, if anybody.
    pub waived_by: Option<String>,
    /// What the last attempts met, while they fail.
    pub trouble: Option<Attempts>,
}

/// Versions that a target holds, or must.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The generation.
    pub generation: u64,
    /// The versions accepted.
    pub accepted: Vec<u64>,
    /// The version in use.
    pub current: Option<u64>,
}

/// How well something is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// `sent`, `stored`, `applied`, `acknowledged`, `proved` or `observed`.
    pub level: String,
    /// Who said so.
    pub by: String,
    /// When it was seen last.
    pub at: Timestamp,
    /// Since when it has been seen without a break.
    pub since: Timestamp,
}

/// Attempts that fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// How many in a row.
    pub attempts: u64,
    /// What the last one met.
    pub last: Option<Why>,
    /// When the next one comes.
    pub next_at: Option<Timestamp>,
    /// When the first one of the row failed.
    pub since: Option<Timestamp>,
}

/// A promise that was broken on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// The version that was taken away.
    pub version: u64,
    /// `contain`, `max_exposure`, `dies_on_mint` or `issuer_clock`.
    pub rule: String,
    /// The targets that had not shown that they can do without it.
    pub targets_without_evidence: Vec<String>,
    /// When.
    pub at: Timestamp,
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who placed it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Whether emergencies are free of it.
    pub routine_only: bool,
}

/// A failure for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The effect.
    pub effect: String,
    /// The stable code.
    pub code: String,
    /// What it said.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

/// A rotation that is history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Its identity.
    pub id: String,
    /// What had set it off.
    pub trigger: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ended.
    pub closed_at: Timestamp,
    /// `done`, `unwound` or `superseded`.
    pub outcome: String,
    /// Whether a key that nobody can find may be left at the issuer.
    pub possible_orphan: bool,
    /// The exceptions that were made.
    pub forced: Vec<Forced>,
}

/// What is planned for one secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// Whether a rotation is due.
    pub due: bool,
    /// Why it is: `leaked`, `initial`, `max_age` or `scheduled`.
    pub because: Option<String>,
    /// Since when it is.
    pub due_since: Option<Timestamp>,
    /// The rotation that is open, if one is.
    pub open: Option<String>,
    /// Why a rotation would be refused now, if it would.
    pub refused: Option<Why>,
    /// When it is possible again, if that is known; at the earliest.
    pub possible_at: Option<Timestamp>,
    /// When the next runs start.
    pub next_runs: Vec<Timestamp>,
    /// The same with what asks for each.
    pub runs: Vec<PlannedRun>,
}

/// A run that is to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedRun {
    /// When it starts: jitter, windows and freezes added.
    pub at: Timestamp,
    /// What asks for it: `leaked`, `initial`, `max_age` or `scheduled`.
    pub because: String,
}

/// The answer to a command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The rotation it is about, where there is one.
    pub rotation: Option<String>,
    /// One line for a person.
    pub text: String,
}

/// Every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// The stable code.
    pub code: String,
    /// What is in the way and what to do.
    pub text: String,
    /// When it may be possible, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub possible_at: Option<Timestamp>,
}
