//! Every file of the corpus through its entry, and every entry with all that belongs to it.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use super::ENTRIES;

/// What a corpus may hold: it is read by every run of the tests.
const FILES_MAX: usize = 40;
const BYTES_MAX: u64 = 300 * 1024;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// The files in a folder, in order.
fn within(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_input_of_the_corpus_is_read_as_it_should_be() {
    let mut broken = Vec::new();
    for (name, entry) in ENTRIES {
        for path in within(&folder().join("corpus").join(name)) {
            let input = fs::read(&path).unwrap();
            let inputs = [&input[..], &input[..input.len() / 2]];
            // Caught, so that one run names everything that is broken.
            if catch_unwind(|| inputs.iter().for_each(|input| entry(input))).is_err() {
                broken.push(path);
            }
        }
        entry(&[]);
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_entry_has_its_program_and_its_corpus_and_nothing_else_has() {
    let names: BTreeSet<String> = ENTRIES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let of = |part: &str| within(&folder().join(part)).iter().map(stem).collect::<BTreeSet<_>>();
    assert_eq!(of("corpus"), names);
    assert_eq!(of("fuzz_targets"), names);
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let programs = manifest["bin"].as_array().unwrap();
    let named = |bin: &toml::Value| {
        let name = bin["name"].as_str().unwrap();
        assert_eq!(bin["path"].as_str(), Some(format!("fuzz_targets/{name}.rs").as_str()));
        name.to_owned()
    };
    assert_eq!(programs.iter().map(named).collect::<BTreeSet<_>>(), names);
    for name in names {
        let program = folder().join("fuzz_targets").join(&name).with_extension("rs");
        let text = fs::read_to_string(program).unwrap();
        let call =
            format!("libfuzzer_sys::fuzz_target!(|input: &[u8]| rotord::fuzz::{name}(input));");
        assert!(text.ends_with(&format!("\n{call}\n")), "{name}.rs does not end with {call}");
    }
}

#[test]
fn the_corpus_is_there_and_small() {
    let mut bytes = 0;
    for (name, _) in ENTRIES {
        let files = within(&folder().join("corpus").join(name));
        assert!((1..=FILES_MAX).contains(&files.len()), "{name}: {} files", files.len());
        bytes += files.iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    }
    assert!(bytes <= BYTES_MAX, "{bytes} bytes in the corpus");
}
