//! Looking for live values in text.
pub mod search;
pub mod tokens;
