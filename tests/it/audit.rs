//! The head of the audit chain in Vault: when it is due, that it never goes back, and what becomes
//! of a chain that does not fit it.

use std::fs;
use std::sync::{Arc, Mutex};

use rotord::model::id::{InstanceId, VersionId};
use rotord::model::time::{Span, Steady, Timestamp};
use rotord::rotation::effect::Effect;
use rotord::store::StoreError;
use rotord::store::audit::anchor::{ANCHOR_EVERY, ANCHOR_LINES, Anchor, BREACHES_MAX};
use rotord::store::audit::breach::{Acknowledged, Breach};
use rotord::store::audit::file::FileAudit;
use rotord::store::audit::intents::Intents;
use rotord::store::audit::keeper::Keeper;
use rotord::store::audit::verify::verify;
use rotord::store::audit::{AuditError, AuditSink, Entry, EntryKind, Head, Line, MemoryAudit, Seq};
use rotord::vault::{Kv, KvPath};
use serde_json::json;

use crate::support::fault_kv::{Fate, FaultKv};
use crate::support::mem_kv::MemKv;

const AT: Timestamp = Timestamp(1_795_000_000_000);

struct World {
    mem: Arc<MemKv>,
    kv: Arc<FaultKv>,
    audit: MemoryAudit,
}

impl World {
    fn new() -> World {
        let mem = Arc::new(MemKv::default());
        let kv = Arc::new(FaultKv::over(mem.clone()));
        World { mem, kv, audit: MemoryAudit::default() }
    }

    fn anchor(&self) -> Anchor {
        Anchor::new(self.kv.clone(), "rotord", &writer())
    }

    /// The head after so many more lines.
    fn after(&mut self, lines: u64) -> Head {
        for _ in 0..lines {
            self.audit.append(Entry::new(AT, &writer(), EntryKind::Step)).unwrap();
        }
        self.audit.durable_head().unwrap()
    }
}

fn writer() -> InstanceId {
    InstanceId("a1".into())
}

fn at() -> KvPath {
    KvPath { mount: "rotord".into(), path: "audit-head/a1".into() }
}

#[tokio::test]
async fn it_is_due_after_a_while_or_many_lines_and_never_without_any() {
    let mut world = World::new();
    let mut anchor = world.anchor();
    let start = Steady(1_000);
    assert!(!anchor.is_due(Head::default(), start), "nothing to anchor");
    let head = world.after(1);
    assert!(anchor.is_due(head, start));
    anchor.put(head, AT, start).await.unwrap();
    assert!(!anchor.is_due(head, Steady(start.0 + ANCHOR_EVERY.0)), "nothing new");
    let head = world.after(ANCHOR_LINES - 1);
    assert!(!anchor.is_due(head, Steady(start.0 + ANCHOR_EVERY.0 - 1)));
    assert!(anchor.is_due(head, Steady(start.0 + ANCHOR_EVERY.0)));
    let head = world.after(1);
    assert!(anchor.is_due(head, start), "many lines");
}

#[tokio::test]
async fn it_costs_one_request_and_can_be_read_by_another_process() {
    let mut world = World::new();
    let mut anchor = world.anchor();
    assert_eq!(anchor.load().await.unwrap(), None);
    world.kv.take_requests();
    for _ in 0..3 {
        let head = world.after(2);
        anchor.put(head, AT, Steady(0)).await.unwrap();
        assert_eq!(world.kv.take_requests(), 1);
        anchor.put(head, AT, Steady(0)).await.unwrap();
        assert_eq!(world.kv.take_requests(), 0, "it is there already");
        assert_eq!(world.anchor().load().await.unwrap().map(|a| a.head()), Some(head));
        world.kv.take_requests();
    }
    let mut restarted = world.anchor();
    let head = world.after(1);
    restarted.put(head, AT, Steady(0)).await.unwrap();
    assert_eq!(world.anchor().load().await.unwrap().map(|a| a.head()), Some(head));
}

#[tokio::test]
async fn lost_answers_are_settled_by_what_is_there() {
    for fate in [Fate::AnswerLost, Fate::RequestLost, Fate::Late] {
        let mut world = World::new();
        let mut anchor = world.anchor();
        let head = world.after(3);
        world.kv.script_writes([fate]);
        let first = anchor.put(head, AT, Steady(0)).await;
        assert_eq!(first.is_ok(), fate != Fate::RequestLost, "{fate:?}");
        anchor.put(head, AT, Steady(0)).await.unwrap();
        assert_eq!(world.anchor().load().await.unwrap().map(|a| a.head()), Some(head), "{fate:?}");
    }
}

#[tokio::test]
async fn an_outage_is_not_met_with_more_requests() {
    let mut world = World::new();
    let mut anchor = world.anchor();
    let head = world.after(ANCHOR_LINES * 3);
    world.kv.script_writes([Fate::Unavailable]);
    anchor.put(head, AT, Steady(0)).await.unwrap_err();
    assert!(!anchor.is_due(head, Steady(ANCHOR_EVERY.0 - 1)));
    assert!(anchor.is_due(head, Steady(ANCHOR_EVERY.0)));
}

#[tokio::test]
async fn a_chain_that_lost_lines_does_not_hide_it() {
    let mut world = World::new();
    let head = world.after(5);
    world.anchor().put(head, AT, Steady(0)).await.unwrap();
    let shorter = Head { seq: Seq(3), ..head };
    let mut other = MemoryAudit::default();
    for _ in 0..5 {
        other.append(Entry::new(AT + Span(1), &writer(), EntryKind::Step)).unwrap();
    }
    for (lost, expected) in [(shorter, "tail was cut"), (other.head(), "rewritten")] {
        let error = world.anchor().put(lost, AT, Steady(0)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(
        world.anchor().load().await.unwrap().map(|a| a.head()),
        Some(head),
        "the proof is kept"
    );
}

#[tokio::test]
async fn a_document_that_is_no_head_is_an_error() {
    let world = World::new();
    world.mem.put(&at(), json!({"seq": "five"}));
    let error = world.anchor().load().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
    world.mem.soft_delete(&at());
    let error = world.anchor().load().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
    world.mem.delete_metadata(&at()).await.unwrap();
    assert_eq!(world.anchor().load().await.unwrap(), None);
}

// ------------------------------------------------------------ a chain that was meddled with

/// A chain on disk, with its keeper, as a process has them.
struct Kept {
    dir: tempfile::TempDir,
    world: World,
}

impl Kept {
    /// A chain of six lines that was anchored and left by its process.
    async fn anchored() -> (Kept, Head) {
        let kept = Kept { dir: tempfile::tempdir().unwrap(), world: World::new() };
        let (mut keeper, mut log) = kept.open().await;
        for number in 0..5 {
            let line = Entry::new(AT, &writer(), EntryKind::Step);
            log.append(line.note(format!("line {number}"))).unwrap();
        }
        let head = log.durable_head().unwrap();
        keeper.anchor.put(head, AT, Steady(0)).await.unwrap();
        (kept, head)
    }

    /// A process starts.
    async fn open(&self) -> (Keeper, FileAudit) {
        let mut keeper = Keeper::new(self.dir.path(), &writer(), self.world.anchor());
        let log = keeper.open(AT).await.unwrap();
        (keeper, log)
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("audit.jsonl")
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.file()).unwrap().lines().map(str::to_owned).collect()
    }

    fn put(&self, lines: &[String]) {
        fs::write(self.file(), lines.iter().map(|l| format!("{l}\n")).collect::<String>()).unwrap();
    }

    async fn alarms(&self) -> Vec<Breach> {
        let anchored = self.world.anchor().load().await.unwrap().unwrap();
        anchored.alarms().cloned().collect()
    }
}

/// Every way to meddle with a chain: its name, the fault, and how.
type Meddling = (&'static str, &'static str, fn(&Kept));

const MEDDLINGS: [Meddling; 5] = [
    ("shortened", "cut", |kept| kept.put(&kept.lines()[..3])),
    ("edited", "changed", |kept| {
        let mut lines = kept.lines();
        lines[2] = lines[2].replace("line 1", "line X");
        kept.put(&lines);
    }),
    ("edited at the end", "changed", |kept| {
        let mut lines = kept.lines();
        lines[5] = lines[5].replace("line 4", "line X");
        kept.put(&lines);
    }),
    ("replaced", "rewritten", |kept| {
        let dir = tempfile::tempdir().unwrap();
        let mut other = FileAudit::open(dir.path(), &writer(), AT).unwrap();
        for _ in 0..9 {
            other.append(Entry::new(AT, &writer(), EntryKind::Step).note("fine")).unwrap();
        }
        fs::copy(dir.path().join("audit.jsonl"), kept.file()).unwrap();
    }),
    ("removed", "cut", |kept| fs::remove_file(kept.file()).unwrap()),
];

#[tokio::test]
async fn a_chain_that_was_meddled_with_is_an_alarm_over_restarts_until_a_person_has_looked() {
    for (name, fault, meddle) in MEDDLINGS {
        let (kept, head) = Kept::anchored().await;
        meddle(&kept);
        let found = fs::read(kept.file()).ok();
        let (mut keeper, mut log) = kept.open().await;
        let alarms = kept.alarms().await;
        assert_eq!(alarms.len(), 1, "{name}");
        assert_eq!((alarms[0].fault.as_str(), alarms[0].anchored), (fault, head), "{name}");
        // What was found is kept, byte by byte, and the chain goes on behind what Vault knows.
        let aside = kept.dir.path().join(&alarms[0].set_aside).join("audit.jsonl");
        assert_eq!(fs::read(aside).ok(), found, "{name}");
        let first: Line = serde_json::from_str(&kept.lines()[0]).unwrap();
        assert_eq!((first.seq, first.entry.breach.as_deref()), (Seq(7), Some(&alarms[0])));
        // It is anchored further, and neither that nor restarts take the alarm away.
        let now = log.durable_head().unwrap();
        keeper.anchor.put(now, AT, Steady(9_000)).await.unwrap();
        verify(kept.dir.path(), Some(now)).unwrap();
        drop((keeper, log));
        let (mut keeper, _log) = kept.open().await;
        assert_eq!(kept.alarms().await, alarms, "{name}");
        let (by, reason) = ("ada".to_owned(), "restored".to_owned());
        let seen = Acknowledged { by, at: AT, reason };
        assert_eq!(keeper.anchor.acknowledge(&seen).await.unwrap(), 1, "{name}");
        assert!(kept.alarms().await.is_empty(), "{name}");
        let anchored = kept.world.anchor().load().await.unwrap().unwrap();
        assert_eq!(anchored.breaches[0].breach.anchored, head, "the old head is kept");
        assert_eq!(anchored.breaches[0].acknowledged.as_ref(), Some(&seen));
    }
}

#[tokio::test]
async fn meddling_is_found_while_the_process_runs() {
    for (name, _, meddle) in MEDDLINGS {
        let (kept, head) = Kept::anchored().await;
        let (mut keeper, log) = kept.open().await;
        let log = Mutex::new(log);
        assert_eq!(keeper.examine(&log, AT).await.unwrap(), None, "{name}");
        meddle(&kept);
        let ours = log.lock().unwrap().head();
        let breach = keeper.examine(&log, AT).await.unwrap().expect(name);
        // This process knows its chain further than Vault does.
        assert!(ours.seq > head.seq);
        assert_eq!(breach.anchored, ours, "{name}");
        let line = Entry::new(AT, &writer(), EntryKind::Step);
        log.lock().unwrap().append(line).unwrap();
        assert_eq!(keeper.examine(&log, AT).await.unwrap(), None, "{name}");
        assert_eq!(kept.alarms().await.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_break_that_vault_does_not_take_note_of_changes_no_file() {
    let (kept, _) = Kept::anchored().await;
    kept.put(&kept.lines()[..2]);
    let found = fs::read(kept.file()).unwrap();
    let mut keeper = Keeper::new(kept.dir.path(), &writer(), kept.world.anchor());
    kept.world.kv.script_writes([Fate::Unavailable]);
    keeper.open(AT).await.unwrap_err();
    assert_eq!(fs::read(kept.file()).unwrap(), found);
    assert_eq!(fs::read_dir(kept.dir.path()).unwrap().count(), 1);
    // Taken note of, and the answer lost: the next try finds it known.
    kept.world.kv.script_writes([Fate::AnswerLost]);
    keeper.open(AT).await.unwrap_err();
    keeper.open(AT).await.unwrap();
    assert_eq!(kept.alarms().await.len(), 1);
}

#[tokio::test]
async fn a_growing_file_that_was_moved_takes_no_line() {
    let (kept, _) = Kept::anchored().await;
    let (_keeper, mut log) = kept.open().await;
    fs::rename(kept.file(), kept.dir.path().join("elsewhere")).unwrap();
    let effect = Some(Effect::Revoke { version: VersionId(1) });
    let line = Entry { effect, ..Entry::new(AT, &writer(), EntryKind::Intent) };
    let error = log.append(line).unwrap_err();
    assert!(matches!(&error, AuditError::Broken { .. }), "{error}");
    assert!(log.durable_head().is_err());
}

#[tokio::test]
async fn an_intent_whose_outcome_a_crash_took_is_said_to_be_unknown() {
    let kept = Kept { dir: tempfile::tempdir().unwrap(), world: World::new() };
    let (_, mut log) = kept.open().await;
    let line = |kind, boundary, version| Entry {
        boundary: Some(boundary),
        effect: Some(Effect::Revoke { version: VersionId(version) }),
        ..Entry::new(AT, &writer(), kind)
    };
    log.append(line(EntryKind::Intent, 1, 1)).unwrap();
    log.append(line(EntryKind::Intent, 2, 2)).unwrap();
    log.append(line(EntryKind::Outcome, 1, 1)).unwrap();
    drop(log);
    for _ in 0..2 {
        drop(kept.open().await);
    }
    let lines: Vec<Line> =
        kept.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let unknown: Vec<&Line> =
        lines.iter().filter(|line| line.entry.kind == EntryKind::Unknown).collect();
    assert_eq!(unknown.len(), 1, "{lines:#?}");
    assert_eq!(unknown[0].entry.boundary, Some(2));
    assert!(unknown[0].entry.note.as_deref().unwrap().contains("line 3"), "{unknown:?}");
    let mut intents = Intents::default();
    lines.into_iter().for_each(|line| intents.take(line));
    assert!(intents.open().is_empty());
}

#[tokio::test]
async fn with_too_many_breaks_unseen_no_other_is_set_aside() {
    let (kept, _) = Kept::anchored().await;
    let breach = |resumed: u64| Breach {
        at: AT,
        fault: "cut".into(),
        file: "audit.jsonl".into(),
        line: 1,
        anchored: Head::default(),
        resumed: Seq(resumed),
        set_aside: "audit.broken".into(),
    };
    let mut anchor = kept.world.anchor();
    for number in 0..BREACHES_MAX as u64 {
        anchor.note(breach(100 + number)).await.unwrap();
    }
    let error = anchor.note(breach(1)).await.unwrap_err();
    assert!(error.to_string().contains("await a person"), "{error}");
    let seen = Acknowledged { by: "ada".into(), at: AT, reason: "seen".into() };
    assert_eq!(anchor.acknowledge(&seen).await.unwrap(), BREACHES_MAX);
    assert_eq!(anchor.acknowledge(&seen).await.unwrap(), 0);
    anchor.note(breach(1)).await.unwrap();
    assert_eq!(kept.alarms().await, [breach(1)]);
}
