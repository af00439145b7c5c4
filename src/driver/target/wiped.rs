//! JSON with secret values in it, written so that no copy stays behind.

use std::io::{self, Write};

use serde::Serialize;

use crate::driver::error::DriverError;
use crate::model::id::VersionId;
use crate::model::material::Material;
use crate::model::reason::Reason;

/// The JSON text of a value, in a vector that was never grown: growing one leaves its former
/// content in freed memory. It is measured first, and then written into its final place.
pub(super) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, DriverError> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value).map_err(|_| unwritable())?;
    let mut text = Vec::with_capacity(length.0);
    serde_json::to_writer(&mut text, value).map_err(|_| unwritable())?;
    Ok(text)
}

/// Refuses material that JSON cannot carry.
pub(super) fn check_text(version: VersionId, material: &Material) -> Result<(), DriverError> {
    match material.fields().find(|(_, bytes)| bytes.expose_str().is_none()) {
        None => Ok(()),
        Some((name, _)) => Err(DriverError::refused(
            Reason::Misconfigured,
            format!("field {name} of {version} is not text; provide it in base64"),
        )),
    }
}

fn unwritable() -> DriverError {
    DriverError::refused(Reason::Defect, "the value cannot be written as JSON")
}

struct Length(usize);

impl Write for Length {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0 += buffer.len();
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_fits_its_vector_exactly() {
        let text = to_json(&["a\"b\n".repeat(1000)]).unwrap();
        assert_eq!(text.len(), text.capacity());
        assert_eq!(text, serde_json::to_vec(&["a\"b\n".repeat(1000)]).unwrap());
    }
}
