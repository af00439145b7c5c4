//! Targets that receive a secret over a channel which that very secret signs.
//!
//! Decides when nothing new may go to them, and what then counts in their place. A key that leaked
//! must not carry its own successor: whoever has it could stand in the way. Must not know how
//! a push is signed; that nothing else travels over such a channel is the channel's own rule.

use crate::model::id::TargetName;
use crate::model::reason::Reason;
use crate::model::target::Recovery;
use crate::rotation::evidence::is_reached;
use crate::rotation::wanted::in_use;
use crate::rotation::{Rotation, TargetState};

/// Whether nothing new may be carried to the target: it hangs on the secret's own version in use,
/// and that one leaked, or there is none.
pub fn is_cut_off(rotation: &Rotation, target: &TargetState) -> bool {
    let signs = in_use(rotation).filter(|version| !rotation.is_tainted(*version));
    target.terms.recovery.is_some() && signs.is_none()
}

/// The first target that waits for a person: cut off, owed something, and nobody stands in for it.
pub fn needs_hand(rotation: &Rotation) -> Option<&TargetName> {
    let mut targets = rotation.bound_targets().filter(|(_, target)| !target.removed);
    let waits = |target: &TargetState| {
        let owed = target.wanted.generation.0 > 0 && !is_reached(target);
        owed && is_cut_off(rotation, target) && stand_in(rotation, target).is_none()
    };
    targets.find(|(_, target)| waits(target)).map(|(name, _)| name)
}

/// What a person is to be told, if one is waited for.
pub(super) fn complaint(rotation: &Rotation) -> Option<Reason> {
    needs_hand(rotation).map(|_| Reason::ChannelLeaked)
}

/// Whether the target passes, or is cut off and the one that brings the same to the same service
/// does in its place.
pub(super) fn passes(
    rotation: &Rotation,
    target: &TargetState,
    judge: impl Fn(&TargetState) -> bool,
) -> bool {
    judge(target) || (is_cut_off(rotation, target) && stand_in(rotation, target).is_some_and(judge))
}

/// The target that brings the same to the same service another way. One that was excused, or is
/// told less, shows nothing.
fn stand_in<'r>(rotation: &'r Rotation, target: &TargetState) -> Option<&'r TargetState> {
    let Some(Recovery::Over(name)) = &target.terms.recovery else { return None };
    let (_, other) = rotation.bound_targets().find(|(bound, _)| *bound == name)?;
    let same = other.wanted.accepted == target.wanted.accepted;
    (same && !other.removed && other.terms.recovery.is_none()).then_some(other)
}
