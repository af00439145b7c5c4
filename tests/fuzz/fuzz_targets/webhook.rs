//! Hands libFuzzer's inputs to the entry of this name.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rotord::fuzz::webhook(input));
