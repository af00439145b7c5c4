//! What of a step is worth telling: a line in the audit chain, a write of the record.

use crate::rotation::Rotation;
use crate::rotation::event::Happening;

/// What is said in the audit chain of a step that is no effect: promotions, exceptions, and what
/// people decided.
pub(super) fn noteworthy(what: &Happening) -> Option<String> {
    Some(match what {
        Happening::Promoted => "promoted".to_owned(),
        Happening::Clear { cleared } => {
            let (versions, targets) = (cleared.going(), cleared.evidence().keys());
            format!("cleared {versions:?} on the evidence of {:?}", targets.collect::<Vec<_>>())
        }
        Happening::Cut { forced } => format!(
            "forced {} by {:?}, without evidence of {:?}",
            forced.version, forced.rule, forced.targets_without_evidence
        ),
        Happening::Tainted { version, by } => format!("{version} is exposed, says {by}"),
        Happening::Held { hold } => format!("held until {} by {}", hold.until, hold.by),
        Happening::Released => "hold released".to_owned(),
        Happening::Waived { target, by } => format!("target {target} waived by {by}"),
        Happening::Abandoned => "abandoned".to_owned(),
        Happening::Finished => "finished".to_owned(),
        _ => return None,
    })
}

/// Whether the two differ only in when the same was seen again. That is worth knowing and not
/// worth a write.
pub(super) fn only_refreshes(before: &Rotation, after: &Rotation) -> bool {
    let mut after = after.clone();
    for (name, target) in &mut after.targets {
        let Some(old) = before.targets.get(name) else { return false };
        target.asked_at = old.asked_at;
        if let (Some(new), Some(old)) = (&mut target.evidence, &old.evidence) {
            new.at = old.at;
        }
    }
    after == *before
}
