//! The measurements themselves: a small one runs, and says what it must. How long anything takes is
//! not judged here.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// The binary that cargo has built for this test: what is built beside it has the same profile.
const ROTORD: &str = env!("CARGO_BIN_EXE_rotord");

/// Builds the measurements where `cargo test --test it` has not.
fn built() -> std::path::PathBuf {
    let folder = Path::new(ROTORD).parent().unwrap();
    let profile = match folder.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["build", "--quiet", "--example", "bench", "--profile", profile]);
    cargo.arg("--target-dir").arg(folder.parent().unwrap());
    assert!(cargo.status().unwrap().success(), "the measurements do not build");
    folder.join("examples/bench")
}

#[test]
fn a_thousand_duplicates_in_small() {
    let dir = TempDir::new().unwrap();
    let json = dir.path().join("bench.json");
    let mut bench = Command::new(built());
    bench.current_dir(dir.path()).args(["--quick", "--only", "duplicates", "--rotord", ROTORD]);
    let ran = bench.arg("--json").arg(&json).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}{err}");
    let last = out.lines().last().unwrap();
    assert!(last.starts_with("bench: measures=1 figures=5 aims=4 met="), "{out}");

    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert!(report["machine"]["openbao"].as_str().unwrap().starts_with("OpenBao"), "{report}");
    let figures = report["measures"][0]["figures"].as_array().unwrap();
    let figure = |key: &str| {
        let found = figures.iter().find(|figure| figure["key"] == key);
        found.and_then(|figure| figure["value"].as_f64()).unwrap_or_else(|| panic!("no {key}"))
    };
    for (key, value) in
        [("rotations", 1.0), ("versions", 1.0), ("believed", 50.0), ("changed", 0.0)]
    {
        assert!((figure(key) - value).abs() < f64::EPSILON, "{key} is {}: {report}", figure(key));
    }
    assert!(out.contains("duplicates") && out.contains("new versions"), "{out}");
}
