//! The matrix: a slice of it, and its checker held to journals in which something is wrong.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

#[path = "../../../examples/matrix/check.rs"]
mod check;

use check::{Checker, Figures};

/// SHA-256 of `one` and of `two`.
const ONE: &str = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
const TWO: &str = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3";

fn lines(path: &Path, lines: &[Value]) {
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

/// What OpenBao's audit log says of a value at this second of a minute.
fn stored(number: u64, value: &str, second: u64) -> Value {
    json!({
        "type": "response", "time": format!("2026-01-01T00:00:{second:02}.000000001Z"),
        "request": {
            "operation": "create", "path": format!("rotord-0/data/material/key/{number}"),
            "data": { "data": { "fields": { "value": STANDARD.encode(value) } } },
        },
    })
}

fn deleted(number: u64, second: u64) -> Value {
    json!({
        "type": "response", "time": format!("2026-01-01T00:00:{second:02}.000Z"),
        "request": {
            "operation": "delete", "path": format!("rotord-0/metadata/material/key/{number}"),
        },
    })
}

/// The milliseconds of that second.
fn at(second: u64) -> u64 {
    1_767_225_600_000 + second * 1_000
}

fn counted(what: &str, with: &str, status: u16, [from, to]: [u64; 2]) -> Value {
    json!({ "what": what, "with": with, "status": status, "count": 10,
            "from": at(from), "to": at(to) })
}

fn told(second: u64, generation: u64, current: u64, values: &[&str]) -> Value {
    let values: serde_json::Map<String, Value> =
        values.iter().enumerate().map(|(at, value)| (at.to_string(), json!(value))).collect();
    json!({ "what": "told", "at": at(second), "generation": generation, "current": current,
            "values": values })
}

/// A rotation as it should be: of a key that one service issues and of which another is told.
struct Story {
    client: Vec<Value>,
    issuer: Vec<Value>,
    service: Vec<Value>,
    audit: Vec<Value>,
}

impl Story {
    fn good() -> Story {
        let minted = |id, value, second| {
            let at = at(second);
            json!({ "what": "minted", "at": at, "id": id, "value": value })
        };
        Story {
            client: vec![counted("worked", "1", 200, [3, 9]), counted("worked", "2", 200, [9, 20])],
            issuer: vec![
                minted("key-1", ONE, 1),
                counted("used", ONE, 200, [3, 9]),
                minted("key-2", TWO, 7),
                counted("used", TWO, 200, [9, 20]),
                json!({ "what": "ended", "at": at(14), "id": "key-1" }),
            ],
            service: vec![
                told(3, 1, 1, &[ONE]),
                told(9, 2, 2, &[ONE, TWO]),
                told(12, 3, 2, &[TWO]),
            ],
            audit: vec![stored(1, "one", 2), stored(2, "two", 8), deleted(1, 15)],
        }
    }

    fn read(&self) -> (Figures, Vec<String>) {
        let dir = TempDir::new().unwrap();
        let names = ["client", "issuer", "service", "audit"];
        let [client, issuer, service, audit] = names.map(|name| dir.path().join(name));
        lines(&client, &self.client);
        lines(&issuer, &self.issuer);
        lines(&service, &self.service);
        lines(&audit, &self.audit);
        let mut checker = Checker::new(vec![client, issuer, service], audit, "rotord-0");
        let first = checker.read().unwrap();
        // Nothing is counted twice.
        assert_eq!(checker.read().unwrap(), (Figures::default(), Vec::new()));
        first
    }
}

const GOOD: Figures =
    Figures { requests: 20, rejected: 0, orphans: 0, sole_copies: 0, backwards: 0 };

#[test]
fn a_rotation_as_it_should_be_passes() {
    assert_eq!(Story::good().read(), (GOOD, Vec::new()));
}

#[test]
fn a_rejected_request_is_found_on_either_side() {
    let mut story = Story::good();
    story.client.push(counted("worked", "2", 401, [19, 20]));
    assert_eq!(story.read().0, Figures { requests: 30, rejected: 10, ..GOOD });
    let mut story = Story::good();
    story.client.push(counted("worked", "2", 0, [19, 20]));
    assert_eq!(story.read().0, Figures { requests: 30, rejected: 10, ..GOOD });
    let mut story = Story::good();
    story.service.push(counted("verified", "", 401, [19, 20]));
    assert_eq!(story.read().0, Figures { rejected: 10, ..GOOD });
}

#[test]
fn a_key_that_nobody_uses_is_found() {
    let mut story = Story::good();
    story.issuer.push(json!({ "what": "minted", "at": at(16), "id": "key-3", "value": "3" }));
    assert_eq!(story.read().0, Figures { orphans: 1, ..GOOD });
    let mut story = Story::good();
    story.issuer.retain(|line| line["what"] != "ended");
    assert_eq!(story.read().0, Figures { orphans: 1, ..GOOD });
}

#[test]
fn a_value_that_is_used_and_not_in_vault_is_found() {
    // Used before it was stored; stored never; deleted while in use; deleted while still accepted.
    let mut stories = [Story::good(), Story::good(), Story::good(), Story::good()];
    stories[0].audit[1] = stored(2, "two", 10);
    stories[1].audit.remove(1);
    stories[2].audit.push(deleted(2, 19));
    stories[3].audit[2] = deleted(1, 11);
    for (place, story) in stories.iter().enumerate() {
        let (figures, words) = story.read();
        assert!(figures.sole_copies > 0, "{place}: {words:?}");
        assert_eq!((figures.rejected, figures.orphans, figures.backwards), (0, 0, 0), "{place}");
    }
}

/// A write that OpenBao refused stored nothing.
#[test]
fn a_refused_write_counts_as_none() {
    let mut story = Story::good();
    story.audit[1]["error"] = json!("permission denied");
    assert!(story.read().0.sole_copies > 0);
}

#[test]
fn a_step_back_is_found() {
    let mut story = Story::good();
    story.client.push(counted("worked", "1", 200, [18, 18]));
    assert_eq!(story.read().0, Figures { requests: 30, backwards: 1, ..GOOD });
    let mut story = Story::good();
    story.service.push(told(20, 2, 2, &[TWO]));
    assert_eq!(story.read().0, Figures { backwards: 1, ..GOOD });
    let mut story = Story::good();
    story.service.push(told(20, 4, 1, &[TWO]));
    assert_eq!(story.read().0, Figures { backwards: 1, ..GOOD });
}

#[test]
fn what_is_no_line_of_a_journal_is_an_error() {
    let dir = TempDir::new().unwrap();
    let (journal, audit) = (dir.path().join("journal"), dir.path().join("audit"));
    fs::write(&journal, "no JSON\n").unwrap();
    fs::write(&audit, "").unwrap();
    let mut checker = Checker::new(vec![journal], audit, "rotord-0");
    checker.read().unwrap_err();
}

/// A few requests of a rotation, with a few of the faults: processes of their own, as in the whole.
#[tokio::test]
async fn a_slice_of_the_matrix_holds() {
    let rotord = Path::new(env!("CARGO_BIN_EXE_rotord"));
    let matrix = rotord.with_file_name("examples").join("matrix");
    assert!(matrix.exists(), "cargo build --profile ci --example matrix makes it");
    let dir = TempDir::new().unwrap();
    let figures = dir.path().join("matrix.json");
    let mut slice = Command::new(matrix);
    slice.arg("--quick").arg("--rotord").arg(rotord).arg("--json").arg(&figures);
    let said = slice.kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let figures: Value = serde_json::from_slice(&fs::read(figures).unwrap()).unwrap();
    let zero = ["rejected", "orphans", "sole_copies", "backwards"];
    assert!(zero.iter().all(|what| figures[what] == 0), "{said}");
    assert!(figures["runs"].as_u64().unwrap() >= 12, "{said}");
    assert!(figures["requests"].as_u64().unwrap() >= 1_000, "{said}");
    assert_eq!((&figures["cas"]["increments"], &figures["cas"]["lost"]), (&json!(1000), &json!(0)));
    assert_eq!(figures["held"], true, "{said}");
}
