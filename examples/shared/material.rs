//! The values of versions, as they lie in rotord's own mount: for whoever plays somebody that has
//! found one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rotord::model::material::SecretBytes;

use crate::Fallible;
use crate::server::{Server, text};

/// The value of a version, while rotord keeps it. Only root and rotord can read it.
pub(crate) async fn value(server: &Server, secret: &str, version: u64) -> Fallible<SecretBytes> {
    let found = server.read(&format!("rotord/data/material/{secret}/{version}")).await?;
    let found = found.ok_or_else(|| format!("{secret} v{version} is not in OpenBao"))?;
    let value = text(&found, "/data/data/fields/value")?;
    Ok(SecretBytes::new(STANDARD.decode(value)?))
}
