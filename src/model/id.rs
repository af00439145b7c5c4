//! Names and numbers that identify things. Decides which names are legal; knows no storage.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest name in bytes: it becomes one segment of a Vault path and a metric label.
pub const NAME_LEN_MAX: usize = 120;

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name cannot be empty")]
    Empty,
    /// Longer than [`NAME_LEN_MAX`].
    #[error("a name has at most {NAME_LEN_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// A character that would be special in a path, a URL or a shell.
    #[error(
        "{0:?} is not allowed in a name: use a-z, 0-9, '-', '_' and '.', starting with a letter \
         or digit"
    )]
    Character(char),
}

fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_LEN_MAX {
        return Err(NameError::TooLong(text.len()));
    }
    for (at, c) in text.chars().enumerate() {
        let plain = c.is_ascii_lowercase() || c.is_ascii_digit();
        if !(plain || (at > 0 && matches!(c, '-' | '_' | '.'))) {
            return Err(NameError::Character(c));
        }
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks the text and takes it as a name.
            ///
            /// # Errors
            /// [`NameError`] says which rule the text breaks.
            pub fn new(text: impl Into<String>) -> Result<$type, NameError> {
                let text = text.into();
                check_name(&text)?;
                Ok($type(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<$type, NameError> {
                $type::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<$type, NameError> {
                $type::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
    };
}

name!(
    /// The name of one managed credential, unique in a config.
    SecretName
);
name!(
    /// The name of a target, unique within its secret.
    TargetName
);
name!(
    /// The name of a source of alerts, unique in a config.
    SourceName
);

name!(
    /// The id of a fingerprint key: part of its path in Vault.
    KeyName
);

/// Highest number of this kind that is believed when it is read: nobody gets there by counting, and
/// the numbers after it are still to be given out.
pub const NUMBER_MAX: u64 = u64::MAX / 2;

macro_rules! number {
    ($(#[$doc:meta])* $type:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl $type {
            /// The number after this one.
            pub fn next(self) -> $type {
                $type(self.0 + 1)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!(concat!($prefix, "{}"), self.0))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number!(
    /// The number of one value of a secret: from 1, counted up, never reused.
    VersionId,
    "v"
);
number!(
    /// What a target is told carries a generation, monotone per target: a receiver refuses a
    /// lower one.
    Generation,
    "g"
);
number!(
    /// The fencing number in each record: raised by a new leader before it acts on the record.
    Epoch,
    "e"
);

macro_rules! text {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub String);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// The issuer's own, public id of a key (an access key id, an accessor, a token id).
    /// Never secret: it is shown in status so that a person can act at the issuer.
    KeyId
);
text!(
    /// The identity of one run that brings a version in. Derived from the secret and what set the
    /// run off (`20261122T031200Z-scheduled`), so that two replicas that see the same schedule make
    /// the same id.
    RotationId
);
text!(
    /// Names one incident: the moment it was opened and a few random characters
    /// (`20261122T031200Z-7f3a91c2`).
    IncidentId
);
text!(
    /// One process of rotord that may hold the lease; survives a restart of the same instance.
    InstanceId
);
text!(
    /// A random mark in each written document: what settles a write whose answer was lost.
    WriteId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_be_special_elsewhere_are_refused() {
        let bad = ["", "../x", "a/b", "A", "a b", ".a", "-a", "a%2f", "ä", "a\n"];
        for text in bad {
            assert!(SecretName::new(text).is_err(), "{text:?} was taken as a name");
        }
        assert!(SecretName::new("a".repeat(NAME_LEN_MAX)).is_ok());
        assert!(SecretName::new("a".repeat(NAME_LEN_MAX + 1)).is_err());
        assert!(SecretName::new("billing-webhook.v2_eu").is_ok());
    }
}
