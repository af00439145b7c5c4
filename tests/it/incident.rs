//! Incidents outside of the engine: their reports, kept in `tests/golden/incident/`, and the places
//! where they lie.

use std::collections::BTreeMap;
use std::sync::Arc;

use rotord::incident::alert::{Claim, FoundAt};
use rotord::incident::decide::{Action, Doubt};
use rotord::incident::progress::Facts;
use rotord::incident::record::{Incident, Mark, Opening, Sighting};
use rotord::incident::report::markdown;
use rotord::model::id::{IncidentId, RotationId, SecretName, SourceName, TargetName, VersionId};
use rotord::model::mask::Mask;
use rotord::model::reason::Reason;
use rotord::model::time::{Span, Timestamp};
use rotord::model::version::Stage;
use rotord::store::incident::{Incidents, KvIncidents, MemoryIncidents};
use rotord::store::{Revision, StoreError};
use rotord::vault::error::VaultError;
use rotord::vault::{Kv, KvPath};
use serde_json::json;

use crate::support::bao::Bao;
use crate::support::fault_kv::{Fate, FaultKv};
use crate::support::golden;
use crate::support::mem_kv::MemKv;
use crate::support::store_contract::CountingEntropy;

/// 2026-11-22T03:12:00Z.
const NIGHT: Timestamp = Timestamp(1_795_317_120_000);

fn target(name: &str) -> TargetName {
    TargetName::new(name).unwrap()
}

/// An incident as it stands just after the alert that opened it.
fn incident(action: Action) -> Incident {
    Incident::open(Opening {
        id: IncidentId("20261122T031200Z-7f3a91c2".to_owned()),
        secret: SecretName::new("stripe-key").unwrap(),
        version: VersionId(3),
        incarnation: None,
        stage: Stage::Current,
        action,
        at: NIGHT,
        sighting: Sighting {
            source: SourceName::new("github").unwrap(),
            id: "acme/shop#17".to_owned(),
            label: "acme_token".to_owned(),
            found_at: FoundAt::new(
                "https://git.example/acme/shop/blob/5f2c/.env#L3",
                &Mask::default(),
            ),
            claim: Claim::Public,
            proved: !matches!(action, Action::Ask(_)),
            at: NIGHT,
            last_at: NIGHT,
            times: 1,
        },
    })
}

/// What is known some milliseconds after the alert.
fn facts(after: u64) -> Facts {
    Facts {
        at: NIGHT + Span(after),
        exposed_at: Some(NIGHT + Span(38)),
        deadline: Some(NIGHT + Span(38) + Span::from_secs(900)),
        rotation: Some((RotationId("20261122T031200Z-emergency".to_owned()), NIGHT + Span(41))),
        successor: Some((VersionId(4), NIGHT + Span(260))),
        targets: BTreeMap::from([
            (target("api"), Mark { left_at: Some(NIGHT + Span(480)), waived_by: None }),
            (target("checkout"), Mark { left_at: Some(NIGHT + Span(430)), waived_by: None }),
            (target("old-batch"), Mark::default()),
        ]),
        ..Facts::default()
    }
}

#[test]
fn the_report_of_one_that_is_done() {
    let mut incident = incident(Action::Rotate);
    let again = Sighting {
        source: SourceName::new("gitguardian").unwrap(),
        at: NIGHT + Span(90_000),
        ..incident.sightings[0].clone()
    };
    let mut facts = facts(500);
    incident.follow(&facts);
    incident.waive(&target("old-batch"), "uid:1000(alice)", "switched off", facts.at).unwrap();
    facts.refused = true;
    facts.at = NIGHT + Span(640);
    incident.follow(&facts);
    facts.revoked_at = Some(NIGHT + Span(700));
    facts.at = NIGHT + Span(700);
    incident.follow(&facts);
    incident.join(again);
    golden::check("incident/done.md", &markdown(&incident, NIGHT + Span::from_secs(21_000)));
}

#[test]
fn the_report_of_one_that_is_late() {
    let mut incident = incident(Action::Rotate);
    incident.follow(&facts(500));
    let mut late = facts(905_000);
    late.needs_human = Some(Reason::HeldWhileExposed);
    incident.follow(&late);
    golden::check("incident/late.md", &markdown(&incident, NIGHT + Span::from_secs(910)));
}

#[test]
fn the_report_of_one_that_waits() {
    let incident = incident(Action::Ask(Doubt::Unproved));
    golden::check("incident/waiting.md", &markdown(&incident, NIGHT + Span::from_secs(60)));
}

/// Every promise of whatever keeps incidents. It must be empty.
async fn holds(shelf: &dyn Incidents) {
    assert_eq!(shelf.list().await.unwrap(), []);
    let mut incident = incident(Action::Rotate);
    assert_eq!(shelf.load(&incident.id).await.unwrap(), None);
    let first = shelf.save(&incident, Revision::default()).await.unwrap();
    let (kept, revision) = shelf.load(&incident.id).await.unwrap().unwrap();
    assert_eq!(revision, first);
    assert!(!kept.write_id.0.is_empty(), "every write is marked");
    incident.write_id = kept.write_id.clone();
    assert_eq!(kept, incident);
    incident.follow(&facts(500));
    let second = shelf.save(&incident, first).await.unwrap();
    assert!(second > first);
    let mut rival = incident.clone();
    rival.close("alice", "x", NIGHT).unwrap();
    for over in [first, Revision::default()] {
        let error = shelf.save(&rival, over).await.unwrap_err();
        assert!(matches!(error, StoreError::Changed { .. }), "over {over}: {error}");
    }
    let (kept, _) = shelf.load(&incident.id).await.unwrap().unwrap();
    assert_eq!(kept.timeline, incident.timeline);
    let other = Incident { id: IncidentId("20251122T031200Z-00000000".to_owned()), ..incident };
    shelf.save(&other, Revision::default()).await.unwrap();
    assert_eq!(shelf.list().await.unwrap(), [other.id.clone(), kept.id.clone()], "oldest first");
    for _ in 0..2 {
        shelf.delete(&other.id).await.unwrap();
        assert_eq!(shelf.list().await.unwrap(), std::slice::from_ref(&kept.id));
        assert_eq!(shelf.load(&other.id).await.unwrap(), None);
    }
    shelf.save(&other, Revision::default()).await.unwrap();
}

fn kv_incidents(kv: Arc<dyn Kv>, mount: &str) -> KvIncidents {
    KvIncidents::new(kv, mount, &CountingEntropy::default())
}

#[tokio::test]
async fn incidents_in_memory_hold_the_contract() {
    holds(&MemoryIncidents::new()).await;
}

#[tokio::test]
async fn incidents_in_kv_hold_the_contract() {
    holds(&kv_incidents(Arc::new(MemKv::default()), "rotord")).await;
}

#[tokio::test]
async fn incidents_on_a_real_server_hold_the_contract() {
    let bao = Bao::shared().await;
    let mount = bao.fresh_mount().await;
    holds(&kv_incidents(Arc::new(bao.vault()), &mount)).await;
}

#[tokio::test]
async fn a_lost_answer_to_a_write_is_settled_by_reading_back() {
    let kv = Arc::new(FaultKv::over(Arc::new(MemKv::default())));
    let shelf = kv_incidents(kv.clone(), "rotord");
    let mut incident = incident(Action::Rotate);
    let mut revision = Revision::default();
    for (at, fate) in [Fate::AnswerLost, Fate::RequestLost, Fate::Late].into_iter().enumerate() {
        kv.script_writes([fate]);
        incident.deadline = Some(NIGHT + Span(u64::try_from(at).unwrap()));
        let next = shelf.save(&incident, revision).await.unwrap();
        assert_eq!(next, Revision(revision.0 + 1), "{fate:?}");
        revision = next;
    }
    kv.script_writes([Fate::AnswerLost]);
    kv.script_reads([Fate::Unavailable]);
    incident.deadline = None;
    let error = shelf.save(&incident, revision).await.unwrap_err();
    assert!(matches!(error, StoreError::Vault(VaultError::Ambiguous { .. })), "{error}");
    let settled = shelf.save(&incident, revision).await.unwrap();
    assert_eq!(settled, Revision(revision.0 + 1), "the same write again is its own");
}

#[tokio::test]
async fn what_is_no_incident_of_ours_is_left_alone() {
    let mem = Arc::new(MemKv::default());
    let shelf = kv_incidents(mem.clone(), "rotord");
    let incident = incident(Action::Rotate);
    shelf.save(&incident, Revision::default()).await.unwrap();
    let at = KvPath { mount: "rotord".into(), path: format!("incident/{}", incident.id) };
    let good = mem.peek(&at).unwrap();
    for (pointer, value) in [("schema", json!(2)), ("id", json!("x")), ("surprise", json!(1))] {
        let mut changed = good.clone();
        changed[pointer] = value;
        mem.put(&at, changed);
        let error = shelf.load(&incident.id).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }), "{pointer}: {error}");
    }
    mem.put(&at, good);
    mem.put(&KvPath { mount: "rotord".into(), path: "incident/not an id".into() }, json!({}));
    assert_eq!(shelf.list().await.unwrap(), [incident.id]);
}
