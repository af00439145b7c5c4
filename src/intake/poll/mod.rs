//! Asking a source for what its webhooks lost, and telling it what became of its alerts.
//!
//! Webhooks alone lose alerts: GitHub does not deliver again by itself, GitGuardian sends once.
//! So a source that can be asked is asked, from where the last round ended; and an alert about a
//! version that is revoked by now is closed there, since nobody else will.
//!
//! Decides what a round is, and how far it goes; what a source's API looks like is in its own file
//! behind [`Poll`], where the last round ended lies in Vault ([`book`]).

pub mod book;
pub mod gitguardian;
pub mod github;
pub mod rounds;

use async_trait::async_trait;

use crate::driver::error::DriverError;
use crate::incident::alert::Finding;
use crate::intake::Odd;
use crate::intake::poll::book::Cursor;
use crate::model::id::{SecretName, VersionId};
use crate::model::time::Timestamp;

/// A source that can be asked.
///
/// # Contract
/// - `page` answers what was reported or changed since the cursor's moment and is still open
///   there, what of it cannot be read ([`Page::odd`]), and the cursor for the next page. It changes
///   nothing, and asking again with the same cursor answers the same and perhaps more. No cursor
///   leads to a page that was read before.
/// - `settle` may be repeated, and changes nothing that a person has closed.
/// - Neither retries by itself, and each ends within its client's time-outs. Texts of errors hold
///   no value and nothing of an answer's body.
#[async_trait]
pub trait Poll: Send + Sync {
    /// One page of what there is since the cursor.
    ///
    /// # Errors
    /// [`DriverError`]: the round ends, and the next one begins with the same cursor.
    async fn page(&self, cursor: &Cursor) -> Result<Page, DriverError>;

    /// Tells the source that the version which one of its alerts is about is revoked.
    ///
    /// # Errors
    /// [`DriverError`]; of class `Refused` or `Gone` if telling it again would not help.
    async fn settle(&self, told: &Told<'_>) -> Result<(), DriverError>;
}

/// What one request found.
pub struct Page {
    /// The alerts, any order.
    pub sightings: Vec<Sighting>,
    /// Entries of the page that cannot be used: they are stepped over, and never hold up a round.
    pub odd: Vec<Odd>,
    /// Where to go on.
    pub next: Cursor,
    /// Whether there is more to be had at once.
    pub more: bool,
}

/// One alert of a source.
pub struct Sighting {
    /// The source's own id of it: by it the source is told what became of it. The same as the
    /// source's webhooks give in [`Message::id`](crate::intake::Message::id).
    pub id: String,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// What a source is told.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The alert: [`Sighting::id`].
    pub alert: &'a str,
    /// The secret.
    pub secret: &'a SecretName,
    /// The version that is revoked.
    pub version: VersionId,
    /// When that was seen.
    pub at: Timestamp,
}

impl Told<'_> {
    /// One line for people who look there. Names, no values.
    pub fn comment(&self) -> String {
        let Told { secret, version, at, .. } = self;
        format!("rotord: {version} of {secret} is revoked (seen {at})")
    }
}
