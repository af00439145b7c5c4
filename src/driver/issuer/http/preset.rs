//! Where presets come from, and what is said when one cannot be used.
//!
//! Decides which text a preset's name means: a file of the installation first, then the one built
//! in. Knows nothing of what a preset says.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use thiserror::Error;

use crate::driver::issuer::http::spec::Spec;

/// Largest preset file: ten times the longest one built in.
const FILE_LEN_MAX: u64 = 64 * 1024;

macro_rules! builtin {
    ($($name:literal,)+) => {
        /// The presets built in: name and text.
        pub const BUILTIN: &[(&str, &str)] = &[$((
            $name,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/presets/", $name, ".toml")),
        ),)+];
    };
}

builtin! {
    "openbao-approle-custom-secret-id",
    "openbao-approle-secret-id",
    "rotord-demo-keys",
    "rotord-demo-keys-roll",
    "rotord-demo-keys-set",
}

/// A preset as it was found: its content, and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    /// Its content.
    pub spec: Spec,
    /// The file, or `built in`.
    pub origin: String,
}

impl Preset {
    /// Reads a preset's text. `origin` is named in errors.
    ///
    /// # Errors
    /// [`PresetError`] with line and column.
    pub fn parse(text: &str, origin: impl Into<String>) -> Result<Preset, PresetError> {
        let origin = origin.into();
        match toml::from_str(text) {
            Ok(spec) => Ok(Preset { spec, origin }),
            Err(error) => Err(PresetError {
                preset: "?".to_owned(),
                origin,
                problems: vec![Problem {
                    place: line_of(text, &error),
                    what: error.message().to_owned(),
                }],
            }),
        }
    }

    /// Finds a preset by name: `NAME.toml` in the directory of overrides, else the one built in.
    ///
    /// # Errors
    /// [`PresetError`] if there is none of that name, a file cannot be read, or it is no preset.
    pub fn find(name: &str, overrides: Option<&Path>) -> Result<Preset, PresetError> {
        let failed = |origin: &str, what: String| PresetError {
            preset: name.to_owned(),
            origin: origin.to_owned(),
            problems: vec![Problem { place: "preset".to_owned(), what }],
        };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(failed("config", "a preset's name has a-z, 0-9 and '-'".to_owned()));
        }
        let file = overrides.map(|dir| dir.join(format!("{name}.toml")));
        let preset = match file.as_deref().map(|file| (file, read_file(file))) {
            Some((file, Ok(Some(text)))) => Preset::parse(&text, file.display().to_string())?,
            Some((file, Err(error))) => {
                return Err(failed(&file.display().to_string(), error.to_string()));
            }
            None | Some((_, Ok(None))) => match BUILTIN.iter().find(|(known, _)| *known == name) {
                Some((_, text)) => Preset::parse(text, "built in")?,
                None => {
                    let known: Vec<_> = BUILTIN.iter().map(|(name, _)| *name).collect();
                    let known = known.join(", ");
                    return Err(failed("config", format!("there is none; built in are {known}")));
                }
            },
        };
        if preset.spec.preset != name {
            let found = &preset.spec.preset;
            let what = format!("the file calls itself {found:?}: name both the same");
            return Err(failed(&preset.origin, what));
        }
        Ok(preset)
    }
}

fn read_file(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut text = String::new();
    file.take(FILE_LEN_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_LEN_MAX {
        return Err(io::Error::other(format!("a preset has at most {FILE_LEN_MAX} bytes")));
    }
    Ok(Some(text))
}

fn line_of(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}", before.matches('\n').count() + 1)
}

/// One thing wrong with a preset or what the config fills into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Table and key, such as `mint.path`.
    pub place: String,
    /// What is wrong there, and what would be right.
    pub what: String,
}

/// Why an issuer cannot be made of a preset: everything that is wrong, at once.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct PresetError {
    /// The preset's name.
    pub preset: String,
    /// Where it came from.
    pub origin: String,
    /// What is wrong; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for PresetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "issuer preset {} ({}) cannot be used:", self.preset, self.origin)?;
        for Problem { place, what } in &self.problems {
            write!(f, "\n  {place}: {what}")?;
        }
        Ok(())
    }
}
