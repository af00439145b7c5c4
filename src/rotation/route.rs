//! The order of the phases, as it follows from what the issuer declares.
//!
//! | value  | old dies     | route up to Switch                                         |
//! |--------|--------------|------------------------------------------------------------|
//! | ours   | on revoke    | Make, (Place), Probe, Admit, Promote                       |
//! | theirs | on revoke    | Preflight, Mint, Probe, Admit, Promote                     |
//! | ours   | on mint      | Preflight, Make, Admit (all targets hold both), Install, Promote |
//! | theirs | on mint      | targets asked first, Mint (the old one dies), Promote      |
//! | any    | issuer clock | as on revoke; the old one gets a deadline at the mint      |
//!
//! Admit is passed through where no target has to accept the new one first. No vendor is named
//! here and none may be.

use crate::model::capability::{Capabilities, OldDies, ValueFrom};
use crate::model::id::VersionId;
use crate::model::policy::Kind;
use crate::model::target::TargetTerms;
use crate::model::time::Timestamp;
use crate::rotation::Terms;
use crate::rotation::phase::{Phase, Staging};

/// Where Stage begins.
pub fn first_step(capabilities: &Capabilities) -> Staging {
    match (capabilities.remote, capabilities.value) {
        (true, _) => Staging::Preflight,
        (false, ValueFrom::Ours) => Staging::Make,
        (false, ValueFrom::Theirs) => Staging::Mint { before: Vec::new() },
    }
}

/// What follows when the material is durable.
pub fn after_saved(terms: &Terms, version: VersionId, at: Timestamp) -> Phase {
    let capabilities = &terms.capabilities;
    match (capabilities.value, capabilities.remote, capabilities.old_dies) {
        (ValueFrom::Ours, true, OldDies::OnMint) => Phase::Admit { incoming: version },
        (ValueFrom::Ours, true, _) => Phase::Stage { version, step: Staging::Place },
        _ => after_usable(terms, version, at),
    }
}

/// What follows when the new key exists wherever it is accepted by an issuer.
pub fn after_usable(terms: &Terms, version: VersionId, at: Timestamp) -> Phase {
    let capabilities = &terms.capabilities;
    let tries = capabilities.probes && terms.policy.probes > 0;
    // Where the old key has just died there is nothing to fall back to, so nothing to try first.
    if tries && !kills_on_mint(terms) {
        Phase::Probe { incoming: version, good: 0, not_before: at + capabilities.settle }
    } else {
        after_trusted(terms, version)
    }
}

/// What follows when the new key is trusted. Admit is left at once if nobody has to admit.
pub fn after_trusted(terms: &Terms, version: VersionId) -> Phase {
    match (terms.capabilities.value, kills_on_mint(terms)) {
        (ValueFrom::Theirs, true) => Phase::Promote { incoming: version },
        _ => Phase::Admit { incoming: version },
    }
}

/// What follows when every verifier accepts old and new.
pub fn after_admitted(terms: &Terms, version: VersionId) -> Phase {
    let capabilities = &terms.capabilities;
    let installs = capabilities.value == ValueFrom::Ours
        && capabilities.remote
        && capabilities.old_dies == OldDies::OnMint;
    if installs {
        Phase::Install { incoming: version, doubtful: false }
    } else {
        Phase::Promote { incoming: version }
    }
}

/// Whether it is the targets that accept or refuse a version, and not an issuer.
pub fn targets_verify(terms: &Terms) -> bool {
    terms.kind == Kind::WebhookHmac || !terms.capabilities.remote
}

/// Whether this target must hold the new version before anybody uses it.
pub fn admits(terms: &Terms, target: &TargetTerms) -> bool {
    let holds_both = terms.capabilities.value == ValueFrom::Ours && kills_on_mint(terms);
    holds_both || (target.role.verifies() && targets_verify(terms))
}

/// Whether bringing the new version to the issuer ends the old one there.
pub fn kills_on_mint(terms: &Terms) -> bool {
    terms.capabilities.remote && terms.capabilities.old_dies == OldDies::OnMint
}

/// Whether the issuer's own clock ends the old version once a new one is minted: there is no way
/// back to it, only on to another new one.
pub fn ends_by_clock(terms: &Terms) -> bool {
    terms.capabilities.remote && matches!(terms.capabilities.old_dies, OldDies::IssuerClock { .. })
}

/// Whether versions that are replaced are dead for everybody at that moment. A webhook key is not:
/// what it signed before is still on its way and verifiers go on accepting it.
pub fn replaced_are_dead(terms: &Terms) -> bool {
    kills_on_mint(terms) && terms.kind == Kind::ApiKey
}

/// Whether minting is the point of no return.
pub fn mint_is_final(terms: &Terms) -> bool {
    terms.capabilities.value == ValueFrom::Theirs && kills_on_mint(terms)
}
