//! Every request that rotord makes of Vault, as data: what it is called, where it goes, whether it
//! changes something. A request that is not in this list does not exist.

use crate::model::material::SecretBytes;
use crate::vault::KvPath;
use crate::vault::document::Document;

/// One request.
pub(super) enum Order<'a> {
    /// One version of a document, or the newest.
    Read { at: &'a KvPath, version: Option<u64> },
    /// A whole document.
    Write { at: &'a KvPath, document: &'a Document, cas: u64 },
    /// A merge patch.
    Patch { at: &'a KvPath, patch: &'a Document, cas: u64 },
    /// The names below a path.
    List { at: &'a KvPath },
    /// Versions without content.
    Metadata { at: &'a KvPath },
    /// Contents to be destroyed.
    Destroy { at: &'a KvPath, versions: &'a [u64] },
    /// A path to be forgotten.
    DeleteMetadata { at: &'a KvPath },
    /// What the token may do at these API paths.
    Capabilities { paths: &'a [String] },
    /// Whether the node serves.
    Health,
    /// Whether the node is sealed.
    SealStatus,
    /// What Vault knows of the token.
    LookupSelf,
    /// More time for the token.
    RenewSelf,
    /// A token for a role.
    AppRoleLogin { mount: &'a str, role_id: &'a str, secret_id: &'a SecretBytes },
}

impl Order<'_> {
    /// Its kind.
    pub(super) fn verb(&self) -> Verb {
        match self {
            Order::Read { .. } => Verb::Read,
            Order::Write { .. } => Verb::Write,
            Order::Patch { .. } => Verb::Patch,
            Order::List { .. } => Verb::List,
            Order::Metadata { .. } => Verb::Metadata,
            Order::Destroy { .. } => Verb::Destroy,
            Order::DeleteMetadata { .. } => Verb::DeleteMetadata,
            Order::Capabilities { .. } => Verb::Capabilities,
            Order::Health | Order::SealStatus => Verb::Status,
            Order::LookupSelf => Verb::Lookup,
            Order::RenewSelf => Verb::Renew,
            Order::AppRoleLogin { .. } => Verb::Login,
        }
    }

    /// Where it goes, for people.
    pub(super) fn place(&self) -> String {
        match self {
            Order::Read { at, .. }
            | Order::Write { at, .. }
            | Order::Patch { at, .. }
            | Order::List { at }
            | Order::Metadata { at }
            | Order::Destroy { at, .. }
            | Order::DeleteMetadata { at } => at.to_string(),
            Order::Capabilities { .. } => "sys/capabilities-self".to_owned(),
            Order::Health => "sys/health".to_owned(),
            Order::SealStatus => "sys/seal-status".to_owned(),
            Order::LookupSelf => "auth/token/lookup-self".to_owned(),
            Order::RenewSelf => "auth/token/renew-self".to_owned(),
            Order::AppRoleLogin { mount, .. } => format!("auth/{mount}/login"),
        }
    }

    /// Whether a lost answer may hide an effect that somebody must look for. A token that was
    /// granted or prolonged unseen harms nobody.
    pub(super) fn changes(&self) -> bool {
        matches!(
            self,
            Order::Write { .. }
                | Order::Patch { .. }
                | Order::Destroy { .. }
                | Order::DeleteMetadata { .. }
        )
    }

    /// Whether it keeps the token alive, or gets another one.
    pub(super) fn is_about_token(&self) -> bool {
        matches!(self, Order::LookupSelf | Order::RenewSelf | Order::AppRoleLogin { .. })
    }

    /// Whether it is sent with the token. What works without one goes without one.
    pub(super) fn needs_token(&self) -> bool {
        !matches!(self, Order::Health | Order::SealStatus | Order::AppRoleLogin { .. })
    }
}

/// The kinds of request that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Read,
    Write,
    Patch,
    List,
    Metadata,
    Destroy,
    DeleteMetadata,
    Capabilities,
    Status,
    Lookup,
    Renew,
    Login,
}

impl Verb {
    /// All of them, in the order of their numbers.
    pub(super) const ALL: [Verb; 12] = [
        Verb::Read,
        Verb::Write,
        Verb::Patch,
        Verb::List,
        Verb::Metadata,
        Verb::Destroy,
        Verb::DeleteMetadata,
        Verb::Capabilities,
        Verb::Status,
        Verb::Lookup,
        Verb::Renew,
        Verb::Login,
    ];

    /// The stable word, fit for a label.
    pub(super) fn label(self) -> &'static str {
        match self {
            Verb::Read => "read",
            Verb::Write => "write",
            Verb::Patch => "patch",
            Verb::List => "list",
            Verb::Metadata => "metadata",
            Verb::Destroy => "destroy",
            Verb::DeleteMetadata => "delete_metadata",
            Verb::Capabilities => "capabilities",
            Verb::Status => "status",
            Verb::Lookup => "lookup",
            Verb::Renew => "renew",
            Verb::Login => "login",
        }
    }
}
