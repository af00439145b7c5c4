//! What all seeds together must have come through. Without it the simulator could test less and
//! less and nobody would notice.

use std::collections::BTreeSet;

/// Faults, phases with the steps of Stage (Promote lies within one write), triggers, ends, trials,
/// questions to people, refusals.
const MUST: &[&str] = &[
    "fault CrashBefore",
    "fault CrashAfter",
    "fault Refuse",
    "fault DoAndLose",
    "fault DoAndLie",
    "fault Twice",
    "fault Late",
    "phase stage preflight",
    "phase stage sweep",
    "phase stage make",
    "phase stage mint",
    "phase stage lost",
    "phase stage roll",
    "phase stage place",
    "phase probe",
    "phase admit",
    "phase install",
    "phase switch",
    "phase overlap",
    "phase retire",
    "phase revoke",
    "phase unwind",
    "closed done",
    "closed unwound",
    "forced contain",
    "forced max_exposure",
    "forced dies_on_mint",
    "forced issuer_clock",
    "trigger initial",
    "trigger adopted",
    "trigger scheduled",
    "trigger manual",
    "trigger emergency",
    "trigger repair",
    "trial sealed",
    "trial audit full",
    "audit unknown",
    "audit owed",
    "trial restarted empty",
    "trial went back",
    "trial dead",
    "trial target added",
    "trial target removed",
    "trial clock set forward",
    "trial clock set back",
    "needs_human value_needed",
    "needs_human revoke_by_hand",
    "needs_human not_adopted",
    "needs_human issuer_full",
    "needs_human possible_orphan",
    "needs_human target_removed",
    "needs_human held_while_exposed",
    "needs_human unreachable",
    "refused rotation_open",
    "refused vault_sealed",
    "refused audit_unwritable",
];

/// Whether the runs came through everything that they must.
pub(super) fn complete<'a>(seen: impl Iterator<Item = &'a String>) {
    let seen: BTreeSet<&str> = seen.map(String::as_str).collect();
    let missing: Vec<&&str> = MUST.iter().filter(|must| !seen.contains(**must)).collect();
    assert!(missing.is_empty(), "no seed comes through {missing:?}; they do through {seen:#?}");
}
