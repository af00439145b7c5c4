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
        let mut unsent: Vec<(Effect, Shut)> = Vec::new();
        for effect in effects {
            match self.world.gate.pass(&stored.record, &effect).await {
                Ok(permit) => passed.push((effect, permit)),
                // Those that passed are carried out; the rest meets the gate again.
                Err(shut) => {
                    later = later.or_else(|| wait_for(&shut, stored, at));
                    unsent.push((effect, shut));
                }
            }
        }
        self.take_back(stored, &unsent, at)?;
        if !passed.is_empty() {
            self.execute(stored, passed).await?;
            return Ok(None);
        }
        match unsent.into_iter().find(|(_, shut)| wait_for(shut, stored, at).is_none()) {
            None => Ok(later),
            Some((_, shut)) => {
                // What was not sent is not to be taken for lost by whoever reads the record next.
                if needs_intent && self.world.gate.leads_for(Span::ZERO).is_ok() {
                    self.save(stored).await?;
                }
                Err(shut.into())
            }
        }
    }

    /// Takes what did not pass the gate out of the intent again: it was certainly not sent.
    fn take_back(
        &mut self,
        stored: &mut Stored,
        unsent: &[(Effect, Shut)],
        at: Timestamp,
    ) -> Result<(), Broken> {
        for (effect, shut) in unsent.iter().filter(|(effect, _)| effect.needs_intent()) {
            let (effect, failure) = (effect.clone(), shut.failure());
            self.take(stored, Event { at, what: Happening::Failed { effect, failure } })?;
        }
        Ok(())
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
        let hurry = &self.signals.hurry;
        // In an emergency a target that hangs does not keep the issuer's part waiting.
        let urgent = rotation.lane == Lane::Emergency;
        let execute = async |effect: &Effect| {
            let execution = Execution {
                world: &world,
                managed: &managed,
                record,
                rotation,
                effect,
                materials,
                hurry,
                others_done: &others_done,
            };
            let executed = execution.execute().await;
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
        let Executed { happening, text, ended } = executed;
        let failure = happening.failure();
        let failed = failure.map(|failure| failure.reason);
        let at = ended.at;
        if let (Some(reason), Some(text)) = (failed, text) {
            let name = &self.managed.name;
            tracing::warn!(secret = %name, effect = %effect, reason = %reason, "{text}");
            self.failures.push(FailureView { effect: effect.to_string(), reason, text, at });
        }
        self.world.gate.outcome(&permit, &stored.record, &effect, failure).await;
        let result = failure.map_or("ok", |failure| failure.class.name());
        self.world.metrics.effect_ended(effect.name(), result, permit.took(ended));
        self.take(stored, Event { at, what: happening })
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
