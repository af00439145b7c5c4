//! Where a secret that rotord itself needs is to be found, and how it is fetched.
//!
//! Decides the three places a secret may come from; there is no fourth, above all no literal. The
//! value is read each time it is needed, so that it can be changed without a restart and is held
//! no longer than its use. Must not know what it is for.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use crate::driver::error::DriverError;
use crate::model::material::SecretBytes;
use crate::model::reason::Reason;
use crate::vault::{Kv, KvPath};

/// Largest secret that is read from a file, in bytes: a PEM bundle with its chain fits, a log file
/// named by mistake does not.
pub const FILE_LEN_MAX: usize = 64 * 1024;

/// Names one secret value without holding it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretRef {
    /// The content of a file, without the line break at its end.
    File(PathBuf),
    /// A systemd credential of the unit, by name (`LoadCredential=`, `LoadCredentialEncrypted=`).
    Credential(String),
    /// A text field of a document in Vault.
    Vault {
        /// The document.
        at: KvPath,
        /// The field.
        field: String,
    },
}

impl SecretRef {
    /// The document it is read from, if it lies in Vault.
    pub fn document(&self) -> Option<&KvPath> {
        match self {
            SecretRef::Vault { at, .. } => Some(at),
            SecretRef::File(_) | SecretRef::Credential(_) => None,
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::File(path) => write!(f, "file {}", path.display()),
            SecretRef::Credential(name) => write!(f, "credential {name}"),
            SecretRef::Vault { at, field } => write!(f, "field {field} of {at}"),
        }
    }
}

/// Fetches what a [`SecretRef`] names.
#[derive(Clone)]
pub struct Secrets {
    kv: Arc<dyn Kv>,
    credentials: Option<PathBuf>,
}

impl Secrets {
    /// A source over this Vault and the unit's credentials directory, if it has one
    /// (`$CREDENTIALS_DIRECTORY`, systemd.exec(5)).
    pub fn new(kv: Arc<dyn Kv>, credentials: Option<PathBuf>) -> Secrets {
        Secrets { kv, credentials }
    }

    /// The value.
    ///
    /// # Errors
    /// `misconfigured` if there is nothing, or nothing usable, at that place; Vault's own failures
    /// as they are. The text names the place.
    pub async fn fetch(&self, reference: &SecretRef) -> Result<SecretBytes, DriverError> {
        let value = match reference {
            SecretRef::File(path) => read_file(path).await?,
            SecretRef::Credential(name) => {
                let directory = self.credentials.as_deref();
                read_file(&credential_path(directory, name)?).await?
            }
            SecretRef::Vault { at, field } => self.read_vault(at, field).await?,
        };
        if value.is_empty() {
            return Err(unusable(format!("{reference} is empty")));
        }
        Ok(value)
    }

    async fn read_vault(&self, at: &KvPath, field: &str) -> Result<SecretBytes, DriverError> {
        let read = self.kv.read(at).await.map_err(|error| {
            let failure = error.failure();
            DriverError::new(failure.class, failure.reason, error.to_string())
        })?;
        let read = read.ok_or_else(|| unusable(format!("there is no document at {at}")))?;
        let malformed = |_| unusable(format!("the document at {at} is not a JSON object"));
        let fields: BTreeMap<String, &RawValue> =
            serde_json::from_slice(read.document.expose()).map_err(malformed)?;
        let value = fields
            .get(field)
            .ok_or_else(|| unusable(format!("the document at {at} has no field {field}")))?;
        serde_json::from_str::<String>(value.get())
            .map(|text| SecretBytes::new(text.into_bytes()))
            .map_err(|_| unusable(format!("the field {field} of {at} is not a text")))
    }
}

fn credential_path(directory: Option<&Path>, name: &str) -> Result<PathBuf, DriverError> {
    let directory = directory.ok_or_else(|| {
        unusable(format!(
            "credential {name} is wanted, but there is no credentials directory: start rotord as \
             a systemd unit with LoadCredential={name}:..."
        ))
    })?;
    Ok(directory.join(name))
}

async fn read_file(path: &Path) -> Result<SecretBytes, DriverError> {
    let told = |error: io::Error| unusable(format!("{} cannot be read: {error}", path.display()));
    let file = File::open(path).await.map_err(told)?;
    // Allocated at its full size, so that no half-read copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_LEN_MAX + 1));
    file.take(FILE_LEN_MAX as u64 + 1).read_to_end(&mut bytes).await.map_err(told)?;
    if bytes.len() > FILE_LEN_MAX {
        return Err(unusable(format!("{} is larger than {FILE_LEN_MAX} bytes", path.display())));
    }
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    Ok(SecretBytes::new(text.to_vec()))
}

fn unusable(text: String) -> DriverError {
    DriverError::refused(Reason::Misconfigured, text)
}
