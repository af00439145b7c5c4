//! The head of the audit chain in Vault: when it is due, and that it never goes back.

use std::sync::Arc;

use rotord::model::id::InstanceId;
use rotord::model::time::{Span, Steady, Timestamp};
use rotord::store::StoreError;
use rotord::store::audit::anchor::{ANCHOR_EVERY, ANCHOR_LINES, Anchor};
use rotord::store::audit::{AuditSink, Entry, EntryKind, Head, MemoryAudit, Seq};
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
