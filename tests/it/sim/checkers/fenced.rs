//! P7: no state write of a replica that lost a record's epoch succeeds, and no effect starts
//! without the lease; a destructive one only once nothing of a former holder can be on its way.

use rotord::model::id::{InstanceId, SecretName};
use rotord::model::time::{Span, Timestamp};
use rotord::vault::KvPath;

use crate::sim::process::TTL;
use crate::sim::seat::Seat;
use crate::sim::world::{World, state_of};

/// Who has the lease.
#[derive(Clone, Debug, Default)]
pub(in crate::sim) struct Lead {
    holder: Option<InstanceId>,
    /// It did not give it back: what it sent may still be on its way.
    former: Option<Timestamp>,
    ahead_ms: i64,
}

/// After a write of the lease.
pub(in crate::sim) fn lease_written(world: &World, seat: &Seat, at: &KvPath) {
    let holder = world.kv.look(at, "/holder");
    let holder = holder.and_then(|value| value.as_str().map(|id| InstanceId(id.to_owned())));
    let now = world.clock.truly();
    let mut state = world.state();
    let before = state.lead.clone();
    if holder == before.holder {
        return;
    }
    let taken_over = holder.is_some() && before.holder.is_some();
    let ahead_ms = if holder.is_some() { seat.clock.ahead_ms() } else { before.ahead_ms };
    let former = if taken_over { Some(now) } else { None };
    state.lead = Lead { holder: holder.clone(), former, ahead_ms };
    if holder.is_some() && ahead_ms > before.ahead_ms {
        // To whoever goes on with it, more time has passed than really has.
        state.set_forward_at = Some(now);
    }
    drop(state);
    if taken_over {
        world.reached("lease taken over");
    }
    let holder = holder.map_or_else(|| "nobody".to_owned(), |holder| holder.to_string());
    world.note(&format!("the lease is {holder}'s"));
}

/// Before an effect starts.
pub(in crate::sim) fn starts(world: &World, seat: &Seat, what: &str) {
    let lead = world.state().lead.clone();
    if lead.holder.as_ref() != Some(&seat.instance()) {
        let what = format!("{} starts {what}, and the lease is {:?}'s", seat.instance(), lead);
        world.violate("P7 fenced", &what);
    }
}

/// Before an effect starts that takes something away.
pub(in crate::sim) fn destroys(world: &World, seat: &Seat, what: &str) {
    starts(world, seat, what);
    let now = world.clock.truly();
    let former = world.state().lead.former;
    if former.is_some_and(|at| now < at + TTL) {
        let by = seat.instance();
        let what = format!("{by} takes {what} away so soon after {former:?}");
        world.violate("P7 fenced", &what);
    }
}

/// The epoch that a record bears, and which of its writes that is.
pub(in crate::sim) fn epoch(world: &World, name: &SecretName) -> (u64, u64) {
    let at = state_of(name);
    let epoch = world.kv.look(&at, "/epoch").and_then(|epoch| epoch.as_u64());
    (epoch.unwrap_or_default(), world.kv.newest(&at))
}

/// After a write of a record over one of that epoch.
pub(in crate::sim) fn state_written(
    world: &World,
    seat: &Seat,
    name: &SecretName,
    (before, revision): (u64, u64),
) {
    let (after, written) = epoch(world, name);
    let changed = written > revision;
    if after < before {
        let by = seat.instance();
        let what = format!("{name}: {by} writes under epoch {after} over epoch {before}");
        world.violate("P7 fenced", &what);
    }
    // Whoever takes a record over from another replica raises its epoch with the first write.
    let another = {
        let state = world.state();
        state.writes.get(&state_of(name)).is_some_and(|(by, _)| *by != seat.number)
    };
    if another && changed && after == before {
        let by = seat.instance();
        let what = format!("{name}: {by} takes it over under its epoch of before, {before}");
        world.violate("P7 fenced", &what);
    }
    if after > before && before > 0 {
        world.reached("record adopted");
    }
}

/// The longest that a replica's clock is off, when clocks are off at all.
pub(in crate::sim) const SKEW_MAX: Span = Span::from_secs(300);
