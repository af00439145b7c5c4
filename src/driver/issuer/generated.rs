//! Values made here: the issuer of secrets that nobody else issues.
//!
//! Decides how a fresh value is drawn and written down; must not know what it is for. There is no
//! other side, so nothing is listed, probed or ended: a version dies when its material is deleted.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::driver::error::DriverError;
use crate::driver::issuer::{Issuer, Listed, Minted, Probe, Tag, copy_of};
use crate::model::capability::Capabilities;
use crate::model::id::KeyId;
use crate::model::material::{Material, SecretBytes};
use crate::model::reason::Reason;
use crate::model::time::Entropy;

/// Random bytes in a value unless the config says otherwise: the output size of HMAC-SHA256, which
/// a longer key does not make stronger.
pub const BYTES_DEFAULT: usize = 32;

/// Fewest random bytes: Standard Webhooks asks for at least 24 (192 bits).
pub const BYTES_MIN: usize = 24;

/// Most random bytes: Standard Webhooks allows 64, the block size of SHA-256, beyond which HMAC
/// hashes the key down.
pub const BYTES_MAX: usize = 64;

/// Longest prefix of a token: it only names the kind of token to a person and a scanner.
pub const PREFIX_LEN_MAX: usize = 24;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The largest multiple of 62 in a byte: bytes from here on are drawn again, so that no character
/// is likelier than another.
const BASE62_FAIR: u8 = 248;

/// Characters of a token's checksum: 32 bits need six in base 62.
const CHECKSUM_LEN: usize = 6;

/// How the random bytes are written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Format {
    /// Lower-case hexadecimal.
    Hex,
    /// Base64 with `+`, `/` and padding (RFC 4648 section 4).
    Base64,
    /// Base64 with `-` and `_`, without padding (RFC 4648 section 5).
    Base64Url,
    /// `whsec_` and padded base64: the form of Standard Webhooks
    /// (<https://github.com/standard-webhooks/standard-webhooks>).
    Whsec,
    /// A prefix, base62 and a checksum, so that scanners tell it from a look-alike offline: CRC-32
    /// (IEEE) of the random characters, in base62 (`0-9A-Za-z`), padded with `0` to six, as GitHub
    /// and npm write theirs
    /// (<https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/>).
    Token {
        /// What stands first, ending in `_`: `acme_`.
        prefix: String,
    },
}

/// Why a generator cannot be made as configured.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GeneratorError {
    /// Too few or too many random bytes.
    #[error(
        "bytes = {0}: a generated value has {BYTES_MIN} to {BYTES_MAX} random bytes \
         (default {BYTES_DEFAULT})"
    )]
    Bytes(usize),
    /// A prefix that a scanner or a person would misread.
    #[error(
        "prefix = {0:?}: use 2 to {PREFIX_LEN_MAX} letters, digits and '_', ending in '_', \
         for example \"acme_\""
    )]
    Prefix(String),
}

/// Draws values in one format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generator {
    format: Format,
    bytes: usize,
}

impl Generator {
    /// A generator of values with this many random bytes.
    ///
    /// # Errors
    /// [`GeneratorError`] names the setting and what it may be.
    pub fn new(format: Format, bytes: usize) -> Result<Generator, GeneratorError> {
        if !(BYTES_MIN..=BYTES_MAX).contains(&bytes) {
            return Err(GeneratorError::Bytes(bytes));
        }
        if let Format::Token { prefix } = &format {
            let plain = prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            let sized = (2..=PREFIX_LEN_MAX).contains(&prefix.len());
            if !(plain && sized && prefix.ends_with('_')) {
                return Err(GeneratorError::Prefix(prefix.clone()));
            }
        }
        Ok(Generator { format, bytes })
    }

    /// Draws a value.
    pub fn draw(&self, entropy: &dyn Entropy) -> SecretBytes {
        if let Format::Token { prefix } = &self.format {
            return self.draw_token(prefix, entropy);
        }
        let mut raw = Zeroizing::new(vec![0; self.bytes]);
        entropy.fill(&mut raw);
        let (prefix, text) = match &self.format {
            Format::Hex => ("", Zeroizing::new(hex::encode(&*raw))),
            Format::Base64 => ("", Zeroizing::new(STANDARD.encode(&*raw))),
            Format::Base64Url => ("", Zeroizing::new(URL_SAFE_NO_PAD.encode(&*raw))),
            Format::Whsec | Format::Token { .. } => {
                ("whsec_", Zeroizing::new(STANDARD.encode(&*raw)))
            }
        };
        let mut value = Vec::with_capacity(prefix.len() + text.len());
        value.extend_from_slice(prefix.as_bytes());
        value.extend_from_slice(text.as_bytes());
        SecretBytes::new(value)
    }

    fn draw_token(&self, prefix: &str, entropy: &dyn Entropy) -> SecretBytes {
        let wanted = base62_len(self.bytes);
        let mut value = Vec::with_capacity(prefix.len() + wanted + CHECKSUM_LEN);
        value.extend_from_slice(prefix.as_bytes());
        let mut raw = Zeroizing::new([0; BYTES_MAX]);
        let end = prefix.len() + wanted;
        while value.len() < end {
            entropy.fill(&mut *raw);
            let fair = raw.iter().filter(|byte| **byte < BASE62_FAIR);
            let missing = end - value.len();
            value.extend(fair.take(missing).map(|byte| BASE62[usize::from(byte % 62)]));
        }
        let checksum = checksum(&value[prefix.len()..]);
        value.extend_from_slice(&checksum);
        SecretBytes::new(value)
    }
}

/// How many base62 characters hold at least as much as this many bytes (5.954 bits each).
fn base62_len(bytes: usize) -> usize {
    (bytes * 8 * 1000).div_ceil(5954)
}

fn checksum(payload: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut rest = crc32fast::hash(payload) as usize;
    let mut text = [b'0'; CHECKSUM_LEN];
    for digit in text.iter_mut().rev() {
        *digit = BASE62[rest % 62];
        rest /= 62;
    }
    text
}

/// The issuer behind secrets whose only issuer is rotord.
pub struct Generated {
    generator: Generator,
    capabilities: Capabilities,
}

impl Generated {
    /// The issuer around a generator.
    pub fn new(generator: Generator) -> Generated {
        Generated { generator, capabilities: Capabilities::local() }
    }
}

#[async_trait]
impl Issuer for Generated {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn make(&self, entropy: &dyn Entropy) -> Result<Material, DriverError> {
        Ok(Material::single(self.generator.draw(entropy)))
    }

    async fn mint(&self, _: &Tag, ours: Option<&Material>) -> Result<Minted, DriverError> {
        let material = ours.ok_or_else(|| {
            DriverError::refused(Reason::Defect, "a generated value was to be minted without one")
        })?;
        Ok(Minted { key_id: None, material: copy_of(material) })
    }

    async fn list(&self) -> Result<Vec<Listed>, DriverError> {
        Ok(Vec::new())
    }

    async fn roll(&self, _: &KeyId, _: &Tag) -> Result<Minted, DriverError> {
        Err(no_other_side("rolled"))
    }

    async fn probe(&self, _: Option<&KeyId>, _: &Material) -> Result<Probe, DriverError> {
        Err(no_other_side("probed"))
    }

    async fn revoke(&self, _: &KeyId) -> Result<(), DriverError> {
        Ok(())
    }

    async fn terminate(&self, _: &KeyId) -> Result<(), DriverError> {
        Ok(())
    }
}

fn no_other_side(what: &str) -> DriverError {
    DriverError::refused(
        Reason::Misconfigured,
        format!("a generated value has no issuer outside rotord where it could be {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up from a start, so that a test knows every byte.
    struct Counting(std::sync::atomic::AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            for byte in buffer {
                *byte = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    fn draw(format: Format, bytes: usize, start: u8) -> String {
        let entropy = Counting(start.into());
        let value = Generator::new(format, bytes).expect("legal").draw(&entropy);
        value.expose_str().expect("text").to_owned()
    }

    fn token() -> Format {
        Format::Token { prefix: "acme_".to_owned() }
    }

    #[test]
    fn each_format_is_written_as_its_source_says() {
        let raw: Vec<u8> = (0..32).collect();
        assert_eq!(draw(Format::Hex, 32, 0), hex::encode(&raw));
        assert_eq!(draw(Format::Base64, 32, 0), STANDARD.encode(&raw));
        let url = draw(Format::Base64Url, 32, 0xf0);
        assert!(!url.contains(['+', '/', '=']), "{url}");
        assert_eq!(url.len(), 43);
        let whsec = draw(Format::Whsec, 24, 0);
        let key = STANDARD.decode(whsec.strip_prefix("whsec_").expect("prefix")).expect("base64");
        assert_eq!(key, raw[..24]);
    }

    #[test]
    fn the_checksum_is_the_one_that_github_writes() {
        // From a real, expired GitHub token, published by its owner together with its checksum:
        // https://gist.github.com/coolaj86/eb8cddfd3e4251258712dfed03e1f86d
        assert_eq!(&checksum(b"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"), b"0mLq17");
    }

    #[test]
    fn a_token_has_all_its_entropy_and_a_checksum_that_fits() {
        for bytes in [BYTES_MIN, BYTES_DEFAULT, BYTES_MAX] {
            let text = draw(token(), bytes, 7);
            let payload_and_sum = text.strip_prefix("acme_").expect("prefix");
            let (payload, sum) = payload_and_sum.split_at(payload_and_sum.len() - CHECKSUM_LEN);
            assert_eq!(sum.as_bytes(), checksum(payload.as_bytes()));
            assert!(62f64.log2() * payload.len() as f64 >= bytes as f64 * 8.0);
        }
        assert_eq!(base62_len(32), 43);
    }

    #[test]
    fn bytes_that_would_favour_a_character_are_drawn_again() {
        // 248..=255 are skipped; 0 is the next byte and the first character.
        assert!(draw(token(), 32, 248).starts_with("acme_0123456789ABC"));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for bytes in [0, BYTES_MIN - 1, BYTES_MAX + 1] {
            assert_eq!(Generator::new(Format::Hex, bytes), Err(GeneratorError::Bytes(bytes)));
        }
        for prefix in ["", "_a", "acme", "a b_", "_", "ä_", "aaaaaaaaaaaaaaaaaaaaaaaa_"] {
            let format = Format::Token { prefix: prefix.to_owned() };
            assert!(Generator::new(format, 32).is_err(), "{prefix:?} was taken as a prefix");
        }
    }

    #[test]
    fn formats_are_read_from_a_config() {
        #[derive(Deserialize)]
        struct Holder {
            format: Format,
        }
        let read = |text: &str| toml::from_str::<Holder>(text).map(|holder| holder.format);
        assert_eq!(read("format = \"base64_url\""), Ok(Format::Base64Url));
        assert_eq!(read("format = { token = { prefix = \"acme_\" } }"), Ok(token()));
        assert!(read("format = \"rot13\"").is_err());
        assert!(read("format = { token = { prefix = \"acme_\", x = 1 } }").is_err());
    }
}
