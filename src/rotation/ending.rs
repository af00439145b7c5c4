//! How a version ends: what its end consists of, what the issuer does by itself, and what is cut
//! without waiting for evidence.

use crate::model::capability::OldDies;
use crate::model::failure::{Class, Failure};
use crate::model::id::VersionId;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::model::version::{IllegalMove, Stage};
use crate::rotation::apply::IllegalEvent;
use crate::rotation::retry::Trouble;
use crate::rotation::{Forced, ForcedRule, Leaving, Rotation, deadline, route};

impl Rotation {
    /// Starts the end of a version, with what does not apply to it counted as done.
    pub(super) fn begin_leaving(&mut self, version: VersionId) {
        let capabilities = &self.terms.capabilities;
        let pending = self.versions.get(&version).is_some_and(|v| v.stage == Stage::Pending);
        let known = self.versions.get(&version).is_some_and(|v| v.key_id.is_some());
        let dies_alone = capabilities.old_dies == OldDies::OnMint && !pending;
        let to_revoke = capabilities.remote && known && !dies_alone;
        let to_refute = capabilities.remote && capabilities.probes && known;
        self.outgoing.retain(|outgoing| outgoing.version != version);
        self.leaving.entry(version).or_insert_with(|| Leaving {
            revoked: !to_revoke,
            refused: !to_revoke && !to_refute,
            terminated: !to_revoke || !capabilities.terminates,
            forgotten: false,
            trouble: Trouble::default(),
        });
    }

    /// The mint has just ended every older key: say so before anything else is done.
    pub(super) fn replaced_die(&mut self, at: Timestamp) {
        if !route::replaced_are_dead(&self.terms) {
            return;
        }
        let dead: Vec<VersionId> = self.outgoing.iter().map(|o| o.version).collect();
        for version in dead {
            let forced = deadline::forced(self, version, ForcedRule::DiesOnMint, at);
            self.forced.push(forced);
            self.begin_leaving(version);
        }
        // What was cut before, and what cannot be tried, died with them.
        if !self.terms.capabilities.probes {
            let mut cut: Vec<VersionId> = self.leaving.keys().copied().collect();
            cut.retain(|version| self.awaits_successor(*version));
            for version in cut {
                self.leaving.entry(version).and_modify(|leaving| leaving.refused = true);
            }
        }
    }

    pub(super) fn leaving_mut(
        &mut self,
        version: VersionId,
        event: &'static str,
    ) -> Result<&mut Leaving, IllegalEvent> {
        let what = || IllegalEvent::Stranger { event, what: format!("{version} as leaving") };
        self.leaving.get_mut(&version).ok_or_else(what)
    }

    /// The outcome of trying a revoked version: refused is what must be.
    pub(super) fn refuted(
        &mut self,
        version: VersionId,
        works: bool,
        at: Timestamp,
        event: &'static str,
    ) -> Result<(), IllegalEvent> {
        let lane = self.lane;
        let leaving = self.leaving_mut(version, event)?;
        if works {
            let failure = Failure { class: Class::Transient, reason: Reason::StillAccepted };
            leaving.trouble = leaving.trouble.met(failure, lane, at);
            return Ok(());
        }
        leaving.refused = true;
        leaving.trouble = Trouble::default();
        self.room_made();
        self.retire(version, at)?;
        Ok(())
    }

    /// Nobody accepts the version any more, if anybody did.
    pub(super) fn retire(&mut self, version: VersionId, at: Timestamp) -> Result<(), IllegalMove> {
        let stage = self.versions.get(&version).map(|v| v.stage);
        match stage {
            Some(Stage::Previous | Stage::Current) => {
                self.move_version(version, Stage::Retired, at)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn cut(&mut self, forced: Forced, at: Timestamp) -> Result<(), IllegalEvent> {
        let version = forced.version;
        let known = self.versions.get(&version).map(|v| v.stage);
        // Verifiers may have been told to drop it, while the issuer still has it.
        let ending = known == Some(Stage::Retired) && self.leaving.contains_key(&version);
        if !(ending || matches!(known, Some(Stage::Current | Stage::Previous))) {
            return Err(IllegalEvent::Stranger { event: "cut", what: version.to_string() });
        }
        self.forced.push(forced);
        self.begin_leaving(version);
        if known == Some(Stage::Current) && route::replaced_are_dead(&self.terms) {
            // It lives on until the next one is minted.
            self.leaving.entry(version).and_modify(|leaving| leaving.refused = false);
        }
        // Nobody is told to accept it from here on.
        self.move_version(version, Stage::Retired, at)?;
        self.room_made();
        Ok(())
    }

    /// A key at the issuer is gone, or about to go: a full issuer is asked anew.
    pub(super) fn room_made(&mut self) {
        if self.trouble.last.is_some_and(|failure| failure.reason == Reason::IssuerFull) {
            self.trouble = Trouble::default();
        }
    }

    /// Whether only a new version at the issuer can end this one, which was taken away already.
    pub(super) fn awaits_successor(&self, version: VersionId) -> bool {
        let pending = self.versions.get(&version).is_some_and(|v| v.stage == Stage::Pending);
        let works = self.leaving.get(&version).is_some_and(|leaving| !leaving.refused);
        works && !pending && route::kills_on_mint(&self.terms)
    }
}
