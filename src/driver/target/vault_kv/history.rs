//! The document's KV history: which of its versions may hold a value of the secret, and their end.
//!
//! KV v2 keeps the last versions of a document (ten unless configured), so every value that was
//! ever written stays readable. Every version from `since` on was written by us or over a document
//! of ours; those but the newest are destroyed as soon as something in them was revoked. That needs
//! no material, which is gone by then, and two requests.

use crate::driver::error::DriverError;
use crate::driver::target::Order;
use crate::driver::target::vault_kv::content::{Content, Node, Owner};
use crate::driver::target::vault_kv::{Known, VaultKv, known_of, of_vault};
use crate::model::id::{Generation, VersionId};
use crate::model::reason::Reason;

/// Most KV versions that are read when a document with a history becomes ours. Ten are kept by
/// default; what lies further back is destroyed unread once an adopted value is revoked.
const HISTORY_READS_MAX: usize = 100;

/// What the history says of a document whose newest version does not bear our mark.
pub(super) enum Past {
    /// An older version is ours: somebody overwrote the document.
    Ours {
        /// Its `since`.
        since: u64,
        /// Its generation: the document must not go back behind it.
        generation: Generation,
    },
    /// We never wrote it. The first version that mentions a value of the order, or the next one
    /// if none does.
    Theirs(u64),
}

impl VaultKv {
    /// Looks through the history of a document that does not bear our mark: asked when a document
    /// becomes ours, and when somebody has overwritten it. At the first the values are at hand by
    /// which an adopted one is found in a person's own history; later they are not.
    pub(super) async fn past(
        &self,
        order: &Order<'_>,
        newest: u64,
        content: &Content<'_>,
    ) -> Result<Past, DriverError> {
        let mentioned = |node: &Node| order.given.values().any(|g| node.mentions(g.material));
        let mut first = if mentioned(&content.root) { newest } else { newest + 1 };
        let at = &self.settings.at;
        let Some(metadata) = self.kv.metadata(at).await.map_err(of_vault)? else {
            return Ok(Past::Theirs(first));
        };
        let older = metadata.versions.range(..newest).rev().filter(|(_, one)| !one.destroyed);
        for (count, (version, one)) in older.enumerate() {
            // What cannot be read may hold the value: a deleted version can be brought back.
            if count >= HISTORY_READS_MAX || one.deleted {
                first = *version;
                continue;
            }
            let read = self.kv.read_version(at, *version).await.map_err(of_vault)?;
            let Some(read) = read else { continue };
            let older = self.content(&read.document)?;
            match older.owner() {
                Owner::Rotord { secret, since } if secret == order.secret.as_str() => {
                    return Ok(Past::Ours { since, generation: older.generation() });
                }
                _ if mentioned(&older.root) => first = *version,
                _ => {}
            }
        }
        Ok(Past::Theirs(first))
    }

    /// Destroys every KV version that may hold a revoked value: all of ours but the newest.
    pub(super) async fn purge_history(
        &self,
        order: &Order<'_>,
        revoked: &[VersionId],
    ) -> Result<(), DriverError> {
        let at = &self.settings.at;
        let Some(metadata) = self.kv.metadata(at).await.map_err(of_vault)? else { return Ok(()) };
        let Some(known) = self.known_at(metadata.current_version, order).await? else {
            return Ok(());
        };
        if revoked.iter().any(|v| known.accepted.contains(v) || known.current == Some(*v)) {
            return Err(self.not_yet_pushed());
        }
        let going: Vec<u64> = metadata
            .versions
            .range(known.since..metadata.current_version)
            .filter(|(_, version)| !version.destroyed)
            .map(|(number, _)| *number)
            .collect();
        if going.is_empty() {
            return Ok(());
        }
        self.kv.destroy(at, &going).await.map_err(of_vault)
    }

    fn not_yet_pushed(&self) -> DriverError {
        let text = format!(
            "the newest version of {} is not the one that was pushed last; its history goes once \
             it is",
            self.settings.at
        );
        DriverError::transient(Reason::NotYetApplied, text)
    }

    /// The newest version, read only if it is another than the one that is known.
    async fn known_at(&self, newest: u64, order: &Order<'_>) -> Result<Option<Known>, DriverError> {
        if let Some(known) = self.known().filter(|known| known.kv_version == newest) {
            return Ok(Some(known));
        }
        let Some((kv_version, content)) = self.read().await? else { return Ok(None) };
        match content.owner() {
            Owner::Rotord { secret, since } => {
                self.check_owner(&secret, order)?;
                let known = known_of(&content, kv_version, since);
                self.remember(known.clone());
                Ok(Some(known))
            }
            Owner::Nobody | Owner::Somebody => Err(self.not_yet_pushed()),
        }
    }
}
