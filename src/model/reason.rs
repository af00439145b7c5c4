//! Reason codes: the stable words for why something failed, waits or needs a person.
//!
//! A code is the only part of an error that is stored, compared, counted or used as a label. The
//! text beside it is for people and may change.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident => $code:literal,)+) => {
        /// A stable code. The variants' documentation is their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[doc = $doc])+ #[serde(rename = $code)] $variant,)+
        }

        impl Reason {
            /// Every code there is, in the order of this file.
            pub const ALL: &[Reason] = &[$(Reason::$variant,)+];

            /// The code as text.
            pub const fn code(self) -> &'static str {
                match self { $(Reason::$variant => $code,)+ }
            }

            /// What the code means, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Reason::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

reasons! {
    /// The other side did not answer in time.
    TimedOut => "timed_out",
    /// No connection could be made.
    Unreachable => "unreachable",
    /// The other side said it cannot at the moment (5xx).
    Unavailable => "unavailable",
    /// The other side asked for less (429).
    Throttled => "throttled",
    /// The other side does not let us (401, 403).
    Denied => "denied",
    /// The other side does not know the thing any more.
    Gone => "gone",
    /// The other side refused the request as it is (4xx).
    Refused => "refused",
    /// The answer could not be understood.
    BadAnswer => "bad_answer",
    /// The answer was larger than the limit.
    AnswerTooLarge => "answer_too_large",
    /// The answer pointed elsewhere; redirects are never followed.
    Redirected => "redirected",
    /// The request may or may not have been carried out.
    Ambiguous => "ambiguous",
    /// Vault is sealed or not initialised.
    VaultSealed => "vault_sealed",
    /// Vault does not answer.
    VaultUnreachable => "vault_unreachable",
    /// The token lacks a capability.
    VaultDenied => "vault_denied",
    /// Another writer changed the record first.
    Conflict => "conflict",
    /// The record belongs to a higher epoch.
    Fenced => "fenced",
    /// The lease is not ours, or ends too soon.
    NoLease => "no_lease",
    /// Audit lines cannot be written, so nothing may be taken away.
    AuditUnwritable => "audit_unwritable",
    /// The audit chain was replaced, shortened or edited; an alarm until a person acknowledges it.
    AuditBroken => "audit_broken",
    /// The audit chain's head cannot be anchored in Vault, so a change of it could go unseen.
    AuditUnanchored => "audit_unanchored",
    /// A record cannot be read, has a newer schema, or went back in time.
    ReconcileRequired => "reconcile_required",
    /// The issuer's answer to a mint was lost and nothing can be looked up.
    PossibleOrphan => "possible_orphan",
    /// The issuer has a key with our mark that the record does not know; it may be in use.
    UnknownKey => "unknown_key",
    /// The issuer has no room for another key.
    IssuerFull => "issuer_full",
    /// The new key was tried and refused.
    ProbeRefused => "probe_refused",
    /// The old key was revoked and still works when tried.
    StillAccepted => "still_accepted",
    /// A value is too short, empty or monotonous.
    WeakValue => "weak_value",
    /// A value is that of another version.
    RepeatedValue => "repeated_value",
    /// Material that a record names is not in Vault.
    MaterialMissing => "material_missing",
    /// A value that rotord did not make is in the way.
    ForeignValue => "foreign_value",
    /// The target answers for another target or another environment.
    WrongIdentity => "wrong_identity",
    /// The target has a higher generation than we ever told it.
    GenerationAhead => "generation_ahead",
    /// The target answered with a lower generation than it was told.
    GenerationBehind => "generation_behind",
    /// The target's proof does not fit the version asked for.
    WrongProof => "wrong_proof",
    /// The target does not yet hold what it was told.
    NotYetApplied => "not_yet_applied",
    /// Not every instance of the target has answered.
    InstancesMissing => "instances_missing",
    /// The key that signs the push leaked, or there is none: nothing new goes over its channel.
    ChannelLeaked => "channel_leaked",
    /// A target of the rotation is no longer in the config; waive it by name.
    TargetRemoved => "target_removed",
    /// A hold keeps an exposed version alive past its deadline.
    HeldWhileExposed => "held_while_exposed",
    /// A hold is in force.
    Held => "held",
    /// The version was revoked before: there is nothing left to take away.
    AlreadyRevoked => "already_revoked",
    /// A person must provide the value.
    ValueNeeded => "value_needed",
    /// The issuer has no API: a person ends the key there, and `resolve NAME retry` confirms it.
    RevokeByHand => "revoke_by_hand",
    /// The lane or a limit has no room at the moment.
    Busy => "busy",
    /// A rotation is open already.
    RotationOpen => "rotation_open",
    /// Outside the windows in which routine rotations may start.
    OutsideWindow => "outside_window",
    /// Five versions are accepted already.
    TooManyVersions => "too_many_versions",
    /// The secret has no record yet and nothing says how to begin.
    NotAdopted => "not_adopted",
    /// The secret is in Vault but not in the config.
    Unmanaged => "unmanaged",
    /// The driver's own configuration is wrong.
    Misconfigured => "misconfigured",
    /// Inside a freeze: routine rotations start after it.
    Frozen => "frozen",
    /// Too many of the last routine rotations failed: only single ones are tried for now.
    BreakerOpen => "breaker_open",
    /// The last rotation was taken back a short while ago: the next one waits.
    Resting => "resting",
    /// A defect in rotord: an event came that the phase does not know.
    Defect => "defect",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}
