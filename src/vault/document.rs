//! A JSON document on its way to or from Vault. It may hold secret values, so it cannot be
//! printed or cloned, and its bytes are wiped.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The JSON text of a document's `data`.
pub struct Document(Zeroizing<Vec<u8>>);

impl Document {
    /// Takes JSON text as it came.
    pub fn from_json(text: Vec<u8>) -> Document {
        Document(Zeroizing::new(text))
    }

    /// Takes JSON text that is being wiped already.
    pub(super) fn from_wiped(text: Zeroizing<Vec<u8>>) -> Document {
        Document(text)
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// The line and column of what cannot be written; never the value.
    pub fn encode(value: &impl Serialize) -> Result<Document, Malformed> {
        // Measured first: a buffer that grows leaves copies behind.
        let mut size = Size(0);
        serde_json::to_writer(&mut size, value).map_err(|error| Malformed::of(&error))?;
        let mut text = Zeroizing::new(Vec::with_capacity(size.0));
        serde_json::to_writer(&mut *text, value).map_err(|error| Malformed::of(&error))?;
        Ok(Document(text))
    }

    /// Reads the JSON as a value.
    ///
    /// # Errors
    /// The line and column of what does not fit; never the value, which serde's own text prints.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Malformed> {
        serde_json::from_slice(&self.0).map_err(|error| Malformed::of(&error))
    }

    /// The JSON text for the wire, still wiped.
    pub(super) fn into_wiped(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    /// The JSON text.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[document]")
    }
}

/// Counts what is written to it.
struct Size(usize);

impl io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a document is not what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unexpected content at line {line}, column {column}")]
pub struct Malformed {
    line: usize,
    column: usize,
}

impl Malformed {
    fn of(error: &serde_json::Error) -> Malformed {
        Malformed { line: error.line(), column: error.column() }
    }
}
