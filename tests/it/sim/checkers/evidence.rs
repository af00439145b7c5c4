//! P4: nothing is taken away but on evidence. Here the evidence is held against the truth: no
//! consumer of any service may still be presenting the version.
//!
//! A service that went back to an older version by itself is excused for as long as evidence
//! counts as fresh: nobody can have seen it yet.

use rotord::model::id::VersionId;
use rotord::store::record::Record;

use crate::sim::checkers::continuity::PROPAGATION_MAX;
use crate::sim::world::World;

pub(in crate::sim) fn left(world: &World, record: &Record, version: VersionId) {
    let now = world.clock.truly();
    let rotation = &record.rotation;
    // What may still be on its way when the evidence has just been judged.
    let fresh = rotation.terms.policy.evidence_max_age.plus(PROPAGATION_MAX);
    let users: Vec<String> = {
        let state = world.state();
        if state.set_forward_at.is_some_and(|at| now < at + PROPAGATION_MAX) {
            return;
        }
        let services = state.secrets[&record.name].services.iter();
        services
            .filter(|(_, service)| {
                let strayed = service.in_use(now).any(|h| h.by_itself && now < h.since + fresh);
                service.presented(now).contains(&version) && !strayed
            })
            .filter(|(name, _)| {
                let target = rotation.targets.get(name);
                target.is_some_and(|target| target.waived_by.is_none())
            })
            .map(|(name, _)| name.to_string())
            .collect()
    };
    if !users.is_empty() {
        let name = &record.name;
        let what = format!("{name}: {version} is taken away while {} use it", users.join(", "));
        world.violate("P4 evidence", &what);
    }
}
