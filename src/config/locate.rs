//! Finds the line of a key again, for what turns out to be wrong only when it is used.
//!
//! Decides nothing about what the keys mean. Nothing is kept for it while all goes well.

use std::fs;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::config::problem::{ConfigErrors, Place, Problem};
use crate::config::reader::Findings;

/// Something that is wrong, at a path of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The keys, from the outermost table on.
    pub keys: Vec<String>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// The faults as problems of this config file, each with the line of its key or of the innermost
/// table that is there.
pub fn locate(path: &Path, faults: Vec<Fault>) -> ConfigErrors {
    // One that cannot be read any more has no lines to show; what is wrong is said all the same.
    let text = fs::read_to_string(path).unwrap_or_default();
    let findings = Findings::new(&text, Path::new(""));
    let (document, _) = DeTable::parse_recoverable(&text);
    let problem = |Fault { keys, what, remedy }: Fault| {
        let line = line(document.get_ref(), &keys).map_or(0, |byte| findings.line(byte));
        Problem { at: Place { line, key: keys.join(".") }, what, remedy }
    };
    let mut problems: Vec<Problem> = faults.into_iter().map(problem).collect();
    problems.sort();
    ConfigErrors { file: path.display().to_string(), problems }
}

/// Where the key begins, or the last of its parents that is there.
fn line(document: &DeTable<'_>, keys: &[String]) -> Option<usize> {
    let mut table = Some(document);
    let mut found = None;
    for key in keys {
        let Some((name, value)) = table.and_then(|table| table.get_key_value(key.as_str())) else {
            break;
        };
        found = Some(name.span().start);
        table = match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => None,
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_the_line_of_its_key_or_of_what_is_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rotord.toml");
        fs::write(&path, "[daemon]\nsocket = \"s\"\n\n[secrets.a]\nkind = \"x\"\n").unwrap();
        let fault = |keys: &[&str]| Fault {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            what: "this is wrong".into(),
            remedy: "do that".into(),
        };
        for (keys, line) in [
            (&["daemon", "socket"][..], 2),
            (&["daemon", "state_directory"], 1),
            (&["secrets", "a", "targets", "b"], 4),
            (&["vault"], 0),
        ] {
            let errors = locate(&path, vec![fault(keys)]);
            assert_eq!(errors.problems[0].at, Place { line, key: keys.join(".") });
        }
        let text = locate(&path, vec![fault(&["secrets", "a"]), fault(&["daemon"])]).to_string();
        let both = text.find("daemon: this is wrong").zip(text.find("secrets.a: this is wrong"));
        assert!(both.is_some_and(|(first, second)| first < second), "{text}");
        let gone = locate(Path::new("/nonexistent/rotord.toml"), vec![fault(&["daemon"])]);
        assert_eq!(gone.problems[0].at.line, 0);
    }
}
