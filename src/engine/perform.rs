//! Effects ordered: the intent, the gate, what becomes of it, and the outcome.
//!
//! Decides in which order these come and what is waited for if the gate stays shut; must not know
//! how an effect is carried out.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::engine::execute::{Executed, Execution};
use crate::engine::gate::{Permit, Shut};
use crate::engine::snapshot::FailureView;
use crate::engine::walk::{Broken, Walk};
use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};
use crate::rotation::decide::{Wait, Why};
use crate::rotation::effect::Effect;
use crate::rotation::event::{Event, Happening};
use crate::store::Stored;

/// How soon the gate is asked again while a hold keeps it shut: what is not destructive may have
/// come up meanwhile.
const HELD_PAUSE: Span = Span::from_secs(60);

impl Walk {
    /// Orders the effects and takes in what becomes of them. Answers a wait if none of them may
    /// start yet.
    pub(super) async fn perform(
        &mut self,
        stored: &mut Stored,
        mut effects: Vec<Effect>,
    ) -> Result<Option<Wait>, Broken> {
        let at = self.world.clock.now();
        let mut later: Option<Wait> = None;
        effects.retain(|effect| {
            let shut = self.world.gate.stands_against(&stored.record, effect);
            if let Some(shut) = &shut {
                later = later.take().or_else(|| wait_for(shut, stored, at));
            }
            shut.is_none()
        });
        if effects.is_empty() {
            return Ok(later);
        }
        let name = self.managed.name.clone();
        self.materials.prepare(&self.world, &stored.record.rotation, &name, &effects).await?;
        let needs_intent = effects.iter().any(Effect::needs_intent);
        if needs_intent {
            let what = Happening::Intended { effects: effects.clone() };
            self.take(stored, Event { at, what })?;
            self.save(stored).await?;
        }
        // Fetched before the gate, which is to be the last thing before the effects themselves: an
        // intent line whose effect then cannot start would never get its outcome.
        let rotation = &stored.record.rotation;
        self.materials.prepare(&self.world, rotation, &self.managed.name, &effects).await?;
        let mut passed: Vec<(Effect, Permit)> = Vec::new();
        for effect in effects {
            match self.world.gate.pass(&stored.record, &effect).await {
                Ok(permit) => passed.push((effect, permit)),
                // Those that were announced are carried out; the rest meets the gate again.
                Err(shut) => match wait_for(&shut, stored, at) {
                    Some(wait) => later = Some(wait),
                    None if passed.is_empty() => return Err(shut.into()),
                    None => break,
                },
            }
        }
        if let Some(wait) = later.filter(|_| passed.is_empty()) {
            return Ok(Some(wait));
        }
        self.execute(stored, passed).await?;
        Ok(None)
    }

    async fn execute(
        &mut self,
        stored: &mut Stored,
        passed: Vec<(Effect, Permit)>,
    ) -> Result<(), Broken> {
        let world = Arc::clone(&self.world);
        let managed = Arc::clone(&self.managed);
        let effects: Vec<Effect> = passed.iter().map(|(effect, _)| effect.clone()).collect();
        let record = &stored.record;
        let (rotation, materials) = (&record.rotation, self.materials.saved());
        let others_done = CancellationToken::new();
        let execution = Execution {
            world: &world,
            managed: &managed,
            record,
            rotation,
            materials,
            hurry: &self.signals.hurry,
            others_done: &others_done,
        };
        // In an emergency a target that hangs does not keep the issuer's part waiting.
        let urgent = rotation.lane == Lane::Emergency;
        let execute = async |effect: &Effect| {
            let executed = execution.execute(effect).await;
            if urgent && effect.target().is_none() {
                others_done.cancel();
            }
            executed
        };
        let executed = join_all(effects.iter().map(execute)).await;
        let mut result = Ok(());
        for ((effect, permit), (executed, fresh)) in passed.into_iter().zip(executed) {
            if let Some((version, saved)) = fresh {
                self.materials.put(version, Arc::new(saved));
            }
            // Every outcome is taken in, whatever became of another.
            let taken = self.take_outcome(stored, effect, permit, executed).await;
            result = result.and(taken);
        }
        self.publish(stored);
        result
    }

    async fn take_outcome(
        &mut self,
        stored: &mut Stored,
        effect: Effect,
        permit: Permit,
        executed: Executed,
    ) -> Result<(), Broken> {
        let failure = executed.happening.failure();
        let failed = failure.map(|failure| failure.reason);
        let at = self.world.clock.now();
        if let (Some(reason), Some(text)) = (failed, executed.text) {
            let name = &self.managed.name;
            tracing::warn!(secret = %name, effect = %effect, reason = %reason, "{text}");
            self.failures.push(FailureView { effect: effect.to_string(), reason, text, at });
        }
        let took = self.world.gate.outcome(permit, &stored.record, &effect, failure).await;
        let result = failed.map_or("ok", Reason::code);
        self.world.metrics.effect_ended(effect.name(), result, took);
        self.take(stored, Event { at, what: executed.happening })
    }
}

/// What is waited for if the gate stays shut; none if that is not for time to open. It always lies
/// ahead: who looked again at once would find the same.
fn wait_for(shut: &Shut, stored: &Stored, now: Timestamp) -> Option<Wait> {
    let (until, why) = match shut {
        Shut::TakeoverWait(wait) => {
            (now + (*wait).max(Span(1)), Why::Retry { reason: Reason::NoLease })
        }
        // Its release is a command, and wakes the secret by itself.
        Shut::Held => {
            let ends = stored.record.rotation.hold.as_ref().map(|hold| hold.until);
            let latest = now + HELD_PAUSE;
            (ends.filter(|ends| *ends > now).map_or(latest, |ends| ends.min(latest)), Why::Held)
        }
        _ => return None,
    };
    Some(Wait { until: Some(until), why, needs_human: None })
}
