//! Entry for fuzzing: the text of a config.

use crate::config::{keys, parse, socket_in};
use crate::model::fuzz::silent;

/// What is wrong stands at a line of the text with its remedy, is said in order and the same each
/// time, and a line that is no TOML is not repeated: anything may stand in it.
pub(crate) fn config(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let _ = socket_in(text, "rotord.toml");
    assert!(keys(text).keys().all(|key| !key.is_empty()));
    let first = parse(text, "rotord.toml");
    assert_eq!(first, parse(text, "rotord.toml"), "read twice");
    let Err(errors) = first else { return };
    assert!(!errors.problems.is_empty());
    assert!(errors.problems.is_sorted());
    let lines = text.matches('\n').count() + 1;
    for problem in &errors.problems {
        assert!(problem.at.line <= lines, "line {} of {lines}", problem.at.line);
        assert!(problem.at.line > 0 || problem.at.key.is_empty(), "{problem:?} is nowhere");
        assert!(!problem.what.is_empty() && !problem.remedy.is_empty(), "{problem:?}");
        if problem.what.starts_with("no TOML") {
            silent(&problem.in_file("rotord.toml"));
        }
    }
}
