//! From a recognised finding to what is done about it: one table.
//!
//! Whatever is done is done by marking a version as exposed; the planner and the phases of a
//! rotation do the rest, as they do for a person's emergency.

use serde::{Deserialize, Serialize};

use crate::incident::alert::Claim;
use crate::model::policy::OnLeak;
use crate::model::version::Stage;

/// What is known of one version that a finding fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Where the version stands.
    pub stage: Stage,
    /// Whether it counts as exposed already.
    pub tainted: bool,
    /// Whether the secret is in the config.
    pub managed: bool,
    /// What people decided for a leak of this secret.
    pub on_leak: OnLeak,
    /// What the source says.
    pub claim: Claim,
    /// Whether the finding shows knowledge of the value.
    pub proved: bool,
    /// Whether the source may act without that.
    pub trusted: bool,
    /// Whether the secret was rotated for an alert within its floor.
    pub within_floor: bool,
    /// Whether so many secrets were exposed by alerts lately that a person must look.
    pub breaker_open: bool,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// `current`: a new version is brought in, the exposed one goes at the latest at its deadline.
    Rotate,
    /// `previous`: it goes now; nothing is rotated.
    Retire,
    /// `pending`: it is dropped and another one minted.
    Remint,
    /// It counts as exposed already: the sighting is added to what is under way.
    Join,
    /// It was gone before: there is nothing to do.
    AlreadyRevoked,
    /// The source takes it back, or only asks about it: noted.
    Note,
    /// A person must agree first.
    Ask(Doubt),
}

/// Why a person must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// The alert names the version without proving that its sender knows the value.
    Unproved,
    /// The policy of the secret is `ask`.
    Policy,
    /// It was rotated for another alert a short while ago.
    Floor,
    /// Alerts came for too many secrets in a short while.
    Breaker,
    /// The secret is not in the config, so nothing can act on it.
    Unmanaged,
}

/// Decides. The first line that fits counts.
pub fn decide(case: &Case) -> Action {
    match case {
        Case { stage: Stage::Revoked, .. } => Action::AlreadyRevoked,
        Case { claim: Claim::Asked | Claim::Withdrawn, .. } => Action::Note,
        Case { tainted: true, .. } => Action::Join,
        Case { managed: false, .. } => Action::Ask(Doubt::Unmanaged),
        Case { proved: false, trusted: false, .. } => Action::Ask(Doubt::Unproved),
        Case { on_leak: OnLeak::Ask, .. } => Action::Ask(Doubt::Policy),
        Case { breaker_open: true, .. } => Action::Ask(Doubt::Breaker),
        // Taking an old version away makes nothing new and costs no signer anything.
        Case { stage: Stage::Previous | Stage::Retired, .. } => Action::Retire,
        Case { within_floor: true, .. } => Action::Ask(Doubt::Floor),
        Case { stage: Stage::Pending, .. } => Action::Remint,
        Case { stage: Stage::Current, .. } => Action::Rotate,
    }
}

impl Action {
    /// Whether the version is marked as exposed by it.
    pub fn exposes(self) -> bool {
        matches!(self, Action::Rotate | Action::Retire | Action::Remint)
    }

    /// What a person who agreed makes of it: the same table without the doubts.
    pub fn approved(case: &Case) -> Action {
        decide(&Case {
            trusted: true,
            on_leak: OnLeak::KeepServing,
            within_floor: false,
            breaker_open: false,
            ..*case
        })
    }
}

impl Action {
    /// The stable word.
    pub fn code(self) -> &'static str {
        match self {
            Action::Rotate => "rotate",
            Action::Retire => "retire",
            Action::Remint => "remint",
            Action::Join => "join",
            Action::AlreadyRevoked => "already_revoked",
            Action::Note => "note",
            Action::Ask(_) => "ask",
        }
    }

    /// For people.
    pub fn meaning(self) -> &'static str {
        match self {
            Action::Rotate => "a new version is brought in, the exposed one goes",
            Action::Retire => "the exposed version goes now; nothing is rotated",
            Action::Remint => "the pending version is dropped and another one made",
            Action::Join => "it counted as exposed already: added to what is under way",
            Action::AlreadyRevoked => "it was gone before: nothing to do",
            Action::Note => "the source takes it back, or only asks about it: noted",
            Action::Ask(doubt) => doubt.meaning(),
        }
    }
}

impl Doubt {
    /// The stable word.
    pub fn code(self) -> &'static str {
        match self {
            Doubt::Unproved => "unproved",
            Doubt::Policy => "policy",
            Doubt::Floor => "floor",
            Doubt::Breaker => "breaker",
            Doubt::Unmanaged => "unmanaged",
        }
    }

    /// For people.
    pub fn meaning(self) -> &'static str {
        match self {
            Doubt::Unproved => "the alert does not show that its sender knows the value",
            Doubt::Policy => "the policy of the secret is `ask`",
            Doubt::Floor => "the secret was rotated for another alert a short while ago",
            Doubt::Breaker => "alerts came for too many secrets in a short while",
            Doubt::Unmanaged => "the secret is not in the config, so nothing can act on it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Case = Case {
        stage: Stage::Current,
        tainted: false,
        managed: true,
        on_leak: OnLeak::KeepServing,
        claim: Claim::Leaked,
        proved: true,
        trusted: false,
        within_floor: false,
        breaker_open: false,
    };

    #[test]
    fn what_leaked_decides_what_happens() {
        for (stage, action) in [
            (Stage::Current, Action::Rotate),
            (Stage::Previous, Action::Retire),
            (Stage::Retired, Action::Retire),
            (Stage::Pending, Action::Remint),
            (Stage::Revoked, Action::AlreadyRevoked),
        ] {
            assert_eq!(decide(&Case { stage, ..PLAIN }), action, "{stage}");
            let contain = Case { stage, on_leak: OnLeak::Contain, ..PLAIN };
            assert_eq!(decide(&contain), action, "{stage}, contain");
        }
    }

    #[test]
    fn whoever_proves_nothing_decides_nothing() {
        for stage in [Stage::Pending, Stage::Current, Stage::Previous, Stage::Retired] {
            for on_leak in [OnLeak::KeepServing, OnLeak::Contain, OnLeak::Ask] {
                let unproved = Case { stage, on_leak, proved: false, ..PLAIN };
                assert_eq!(decide(&unproved), Action::Ask(Doubt::Unproved));
                assert!(!decide(&unproved).exposes());
                assert!(Action::approved(&unproved).exposes());
            }
        }
        assert_eq!(decide(&Case { proved: false, trusted: true, ..PLAIN }), Action::Rotate);
    }

    #[test]
    fn doubts_hold_back_what_makes_something_new() {
        let floor = Case { within_floor: true, ..PLAIN };
        assert_eq!(decide(&floor), Action::Ask(Doubt::Floor));
        assert_eq!(decide(&Case { stage: Stage::Previous, ..floor }), Action::Retire);
        let breaker = Case { breaker_open: true, ..PLAIN };
        assert_eq!(decide(&breaker), Action::Ask(Doubt::Breaker));
        assert_eq!(decide(&Case { on_leak: OnLeak::Ask, ..PLAIN }), Action::Ask(Doubt::Policy));
        assert_eq!(decide(&Case { managed: false, ..PLAIN }), Action::Ask(Doubt::Unmanaged));
    }

    #[test]
    fn what_is_known_already_is_only_noted() {
        assert_eq!(decide(&Case { tainted: true, ..PLAIN }), Action::Join);
        for claim in [Claim::Asked, Claim::Withdrawn] {
            assert_eq!(decide(&Case { claim, ..PLAIN }), Action::Note);
            assert_eq!(decide(&Case { claim, tainted: true, ..PLAIN }), Action::Note);
        }
        let gone = Case { stage: Stage::Revoked, claim: Claim::Withdrawn, ..PLAIN };
        assert_eq!(decide(&gone), Action::AlreadyRevoked);
    }
}
