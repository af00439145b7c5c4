//! The reader's own rules; what whole configs are refused for is in `tests/it/config.rs`.

use super::*;

const EXAMPLE: &str = include_str!("../../config/rotord.example.toml");

#[test]
fn the_example_is_right() {
    let config = parse(EXAMPLE, "rotord.example.toml").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.warnings, []);
}
