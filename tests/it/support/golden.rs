//! Texts that are looked at once and then kept: a test compares, and shows both when they differ.

use std::path::Path;

/// Compares a text with `tests/golden/<name>`. With `UPDATE_GOLDEN=1` the file is written
/// instead, for a person to look at before it is committed.
#[track_caller]
pub(crate) fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{} differs; if the new one is right, run again with UPDATE_GOLDEN=1\n\
         --- kept\n{kept}--- now\n{text}",
        path.display()
    );
}
