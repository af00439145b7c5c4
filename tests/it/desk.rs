//! The desk with the real engine behind it: from an alert to a rotation and an incident that ends
//! by itself.

mod rig;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rotord::engine::command::{Command, RefusalKind};
use rotord::engine::desk::Wish;
use rotord::incident::alert::Claim;
use rotord::incident::decide::{Action, Doubt};
use rotord::incident::guard::Limits;
use rotord::incident::progress::News;
use rotord::incident::record::{State, Wait, What, of_taint};
use rotord::incident::report;
use rotord::model::clue::Clue;
use rotord::model::id::{IncidentId, RotationId, SourceName, VersionId};
use rotord::model::policy::OnLeak;
use rotord::model::reason::Reason;
use rotord::model::time::Span;
use rotord::model::version::Stage;
use rotord::store::Store as _;
use rotord::store::incident::Incidents as _;
use tokio::task::JoinSet;

use rig::{Rig, World, alert, clue, key_clue, pass, secret, target};

const PLACE: &str = "https://git.example/acme/shop/.env";

async fn started(names: &[&str]) -> Rig {
    let world = World::of(names);
    names.iter().for_each(|name| world.knows(&clue(name), name, 1));
    world.start().await
}

async fn done(rig: &mut Rig) {
    rig.until(|rig| rig.picture().incidents.values().all(|i| i.state == State::Done)).await;
    // The last write comes after its pause.
    pass(2_000).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_only_asks_is_noted_as_that_and_changes_nothing() {
    let mut world = World::of(&["key"]);
    world.setups[0].on_leak = OnLeak::Ask;
    world.knows(&clue("key"), "key", 1);
    let rig = world.start().await;
    let asked = || {
        let mut asked = alert(clue("key"), "");
        asked.source = SourceName::new("detector").unwrap();
        asked.findings[0].claim = Claim::Asked;
        asked
    };
    let verdicts = rig.report(asked()).await.unwrap();
    assert_eq!(verdicts[0].ours[0].action, Action::Note);
    assert_eq!((rig.world.incidents().await, rig.world.rotations("key").await), (0, 1));
    rig.report(alert(clue("key"), PLACE)).await.unwrap();
    let verdicts = rig.report(asked()).await.unwrap();
    assert_eq!(verdicts[0].ours[0].action, Action::Note);
    let picture = rig.picture();
    let incident = picture.incidents.values().next().unwrap();
    let claims: Vec<Claim> = incident.sightings.iter().map(|sighting| sighting.claim).collect();
    assert_eq!(claims, [Claim::Leaked, Claim::Asked]);
    let page = report::markdown(incident, incident.opened_at);
    assert!(
        page.contains("`detector` at") && page.contains(", which only asked about it"),
        "{page}"
    );
    assert!(!page.contains("taken back"), "{page}");
}

/// Who reports one value cannot know the others: the desk does.
#[tokio::test(start_paused = true)]
async fn a_value_of_ours_stands_in_no_text_that_is_kept() {
    let other = "rk_live_0aB1cD2eF3gH4iJ5";
    let mut rig = started(&["key", "other"]).await;
    rig.world.knows(&clue(other), "other", 1);
    let mut seen = alert(clue("key"), &format!("https://git.example/{other}/blob/a.env#L3"));
    seen.id = format!("delivery {other}");
    seen.findings[0].label = format!("KEY={other}");
    seen.findings.push(alert(clue("nobody's"), &format!("log of {other}.")).findings.remove(0));
    rig.report(seen).await.unwrap();
    let said = format!("{:?} {}", rig.picture().incidents, rig.world.audit_lines());
    assert!(!said.contains(other), "{said}");
    for kept in ["git.example/[secret]/blob/a.env#L3", "delivery [secret]", "KEY=[secret]"] {
        assert!(said.contains(kept), "{kept} in {said}");
    }
    assert!(said.contains("log of [secret]."), "{said}");
    let notice = rig.notices.recv().await.unwrap();
    assert!(!format!("{notice:?}").contains(other));
}

#[tokio::test(start_paused = true)]
async fn an_alert_rotates_and_its_incident_ends_by_itself() {
    let mut rig = started(&["key"]).await;
    let verdicts = rig.report(alert(clue("key"), PLACE)).await.unwrap();
    let judged = verdicts[0].ours[0].clone();
    assert_eq!((judged.version, judged.stage), (VersionId(1), Stage::Current));
    assert_eq!(judged.action, Action::Rotate);
    assert!(judged.rotation.is_some());
    // Both are durable when it is answered.
    let stored = rig.world.store.load(&secret("key")).await.unwrap().unwrap();
    let taint = stored.record.rotation.taint_of(VersionId(1)).expect("it is exposed");
    assert_eq!(of_taint(taint), judged.incident);
    assert_eq!(Some(rig.world.only_incident().await.id), judged.incident);
    done(&mut rig).await;
    let incident = rig.world.only_incident().await;
    assert_eq!(incident.state, State::Done, "{incident:#?}");
    for what in [
        What::Exposed,
        What::Current { version: VersionId(2) },
        What::Everywhere,
        What::Left { target: target("api") },
        What::Refused,
        What::Revoked,
        What::Done,
    ] {
        assert!(incident.first(|known| *known == what).is_some(), "{what:?}: {incident:#?}");
    }
    assert_eq!(incident.sightings[0].found_at.as_ref().unwrap().as_str(), PLACE);
    let lines = rig.world.audit_lines();
    assert!(lines.contains("key v1: rotate"), "{lines}");
    let news = [rig.notices.recv().await, rig.notices.recv().await].map(|n| n.unwrap().news);
    assert_eq!(news, [News::Opened, News::Done]);
    let again = rig.report(alert(clue("key"), PLACE)).await.unwrap();
    assert_eq!(again[0].ours[0].action, Action::AlreadyRevoked);
    assert_eq!(rig.world.incidents().await, 1);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_value_itself_is_enough() {
    let mut rig = World::of(&["key"]).start().await;
    let saved = rig.world.store.material(&secret("key"), VersionId(1)).await.unwrap().unwrap();
    let clues = Clue::of_value(saved.material.value().unwrap());
    let mut alert = alert(clue("of nobody"), PLACE);
    alert.findings[0].clues.extend(clues);
    let verdicts = rig.report(alert).await.unwrap();
    assert_eq!(verdicts[0].ours[0].action, Action::Rotate);
    done(&mut rig).await;
    assert_eq!(rig.world.only_incident().await.version, VersionId(1));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_duplicates_at_once_are_one_rotation_and_one_incident() {
    let mut rig = started(&["key"]).await;
    let before = rig.world.rotations("key").await;
    let mut senders = JoinSet::new();
    for number in 0..1_000 {
        let desk = rig.desk.clone();
        let place = format!("https://git.example/fork-{}/.env", number % 100);
        let alert = alert(clue("key"), &place);
        senders.spawn(async move {
            desk.report(rotord::engine::command::Actor("source".into()), alert).await
        });
    }
    let mut counted = std::collections::BTreeMap::new();
    while let Some(answer) = senders.join_next().await {
        let verdicts = answer.unwrap().unwrap();
        *counted.entry(verdicts[0].ours[0].action).or_insert(0_u64) += 1;
    }
    assert_eq!(counted[&Action::Rotate], 1);
    // The last ones may come when everything is over.
    let late = counted.get(&Action::AlreadyRevoked).copied().unwrap_or(0);
    assert_eq!(counted[&Action::Join] + late, 999, "{counted:?}");
    done(&mut rig).await;
    assert_eq!(rig.world.rotations("key").await, before + 1);
    let incident = rig.world.only_incident().await;
    assert_eq!(incident.reports(), 1_000 - late);
    assert!(incident.sightings.len() <= 50, "{}", incident.sightings.len());
    let writes = rig.world.shelf.writes.load(Ordering::Relaxed);
    assert!(writes <= 6, "{writes} writes");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_is_counted_and_leaves_a_line() {
    let rig = started(&["key"]).await;
    let verdicts = rig.report(alert(clue("a stranger's"), PLACE)).await.unwrap();
    assert!(verdicts[0].ours.is_empty());
    assert_eq!(rig.world.incidents().await, 0);
    let lines = rig.world.audit_lines();
    assert!(lines.contains("of scanner, 1 found; 1 not ours https://git.example"), "{lines}");
    assert!(rig.world.metrics.encode().contains(r#"findings_total{action="unknown"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn an_alert_without_proof_waits_for_a_person() {
    let mut rig = started(&["key"]).await;
    rig.world.knows(&key_clue("key-1"), "key", 1);
    let before = rig.world.rotations("key").await;
    let verdicts = rig.report(alert(key_clue("key-1"), PLACE)).await.unwrap();
    assert_eq!(verdicts[0].ours[0].action, Action::Ask(Doubt::Unproved));
    pass(60_000).await;
    assert_eq!(rig.world.rotations("key").await, before, "nothing was done");
    let id = rig.world.only_incident().await.id;
    let empty = rig.ask(&id, Wish::Approve, " ").await.unwrap_err();
    assert_eq!(empty.kind, RefusalKind::Invalid);
    let answer = rig.ask(&id, Wish::Approve, "I know that repository").await.unwrap();
    assert!(answer.rotation.is_some(), "{answer:?}");
    let approved = rig.world.only_incident().await;
    let what = What::Approved { by: "alice".into(), reason: "I know that repository".into() };
    assert!(approved.first(|known| *known == what).is_some(), "durable when answered");
    let again = rig.ask(&id, Wish::Approve, "me too").await.unwrap_err();
    assert_eq!(again.kind, RefusalKind::Conflict);
    done(&mut rig).await;
    assert_eq!(rig.world.rotations("key").await, before + 1);
    assert!(rig.world.audit_lines().contains("approve: I know that repository"));
}

#[tokio::test(start_paused = true)]
async fn proof_that_comes_later_needs_no_person_any_more() {
    let mut rig = started(&["key"]).await;
    rig.world.knows(&key_clue("key-1"), "key", 1);
    rig.report(alert(key_clue("key-1"), PLACE)).await.unwrap();
    let verdicts = rig.report(alert(clue("key"), "elsewhere.txt:3")).await.unwrap();
    assert_eq!(verdicts[0].ours[0].action, Action::Rotate);
    done(&mut rig).await;
    let incident = rig.world.only_incident().await;
    assert_eq!((incident.sightings.len(), incident.action), (2, Action::Rotate));
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_asks_is_obeyed_and_a_person_may_say_no() {
    let mut world = World::of(&["key"]);
    world.setups[0].on_leak = OnLeak::Ask;
    world.knows(&clue("key"), "key", 1);
    let rig = world.start().await;
    let verdicts = rig.report(alert(clue("key"), PLACE)).await.unwrap();
    assert_eq!(verdicts[0].ours[0].action, Action::Ask(Doubt::Policy));
    let id = verdicts[0].ours[0].incident.clone().unwrap();
    rig.ask(&id, Wish::Close, "the value of the tests").await.unwrap();
    let closed = world.only_incident().await;
    assert_eq!(closed.state, State::Closed);
    assert!(!closed.is_exposed());
    let nobody = IncidentId("20200101T000000Z-00000000".into());
    let unknown = rig.ask(&nobody, Wish::Close, "x").await.unwrap_err();
    assert_eq!(unknown.kind, RefusalKind::NotFound);
    // The next alert is a new question.
    rig.report(alert(clue("key"), PLACE)).await.unwrap();
    assert_eq!(world.incidents().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_secret_has_a_floor_and_all_of_them_a_breaker() {
    let mut world = World::of(&["a", "b", "c", "d"]);
    world.limits = Limits { exposures: 3, ..Limits::default() };
    for name in ["a", "b", "c", "d"] {
        world.knows(&clue(name), name, 1);
    }
    world.knows(&clue("a2"), "a", 2);
    let mut rig = world.start().await;
    rig.report(alert(clue("a"), PLACE)).await.unwrap();
    done(&mut rig).await;
    let next = rig.report(alert(clue("a2"), PLACE)).await.unwrap();
    assert_eq!(next[0].ours[0].action, Action::Ask(Doubt::Floor));
    for name in ["b", "c"] {
        let verdicts = rig.report(alert(clue(name), PLACE)).await.unwrap();
        assert_eq!(verdicts[0].ours[0].action, Action::Rotate, "{name}");
    }
    let held = rig.report(alert(clue("d"), PLACE)).await.unwrap();
    assert_eq!(held[0].ours[0].action, Action::Ask(Doubt::Breaker));
    pass(20).await;
    let guard = rig.picture().guard;
    assert!(guard.open && guard.exposures == 3, "{guard:?}");
    pass(600_000).await;
    let id = held[0].ours[0].incident.clone().unwrap();
    rig.ask(&id, Wish::Approve, "checked").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_previous_version_goes_and_nothing_is_rotated() {
    let mut rig = started(&["key"]).await;
    let name = secret("key");
    let rotate = Command::Rotate { name, emergency: false, reason: "drill".into() };
    rig.command(rotate).await.unwrap();
    rig.until(|rig| {
        let snapshot = rig.snapshot();
        let rotation = snapshot.secrets[&secret("key")].rotation.clone().unwrap();
        rotation.phase.name() == "overlap"
    })
    .await;
    let before = rig.world.rotations("key").await;
    let verdicts = rig.report(alert(clue("key"), PLACE)).await.unwrap();
    assert_eq!(verdicts[0].ours[0].action, Action::Retire);
    done(&mut rig).await;
    assert_eq!(rig.world.rotations("key").await, before);
    assert!(rig.world.only_incident().await.exposure(rig::BEGIN) < Span::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_away_makes_the_alarm_go_off_and_can_be_waived() {
    let mut rig = started(&["key"]).await;
    *rig.world.setups[0].targets[&target("worker")].off.lock().unwrap() = true;
    rig.report(alert(clue("key"), PLACE)).await.unwrap();
    rig.until(|rig| {
        let incidents = rig.picture().incidents.clone();
        incidents
            .values()
            .any(|i| i.first(|w| *w == What::Left { target: target("api") }).is_some())
    })
    .await;
    let mut seen = Vec::new();
    rig.until(|rig| rig.picture().incidents.values().all(|i| i.refused_at().is_some())).await;
    pass(2_000).await;
    while let Ok(notice) = rig.notices.try_recv() {
        seen.push(notice.news);
    }
    let incident = rig.world.only_incident().await;
    let took = incident.refused_at().unwrap().since(incident.opened_at);
    assert!(took >= Span::from_secs(60), "it was cut at its deadline, not before: {took}");
    assert_eq!(incident.holding().collect::<Vec<_>>(), [&target("worker")]);
    assert_eq!(incident.state, State::Acting, "{seen:?}");
    let stranger = rig.ask(&incident.id, Wish::Waive(target("nobody")), "x").await.unwrap_err();
    assert_eq!(stranger.kind, RefusalKind::NotFound);
    rig.ask(&incident.id, Wish::Waive(target("worker")), "switched off for good").await.unwrap();
    done(&mut rig).await;
    let mark = rig.world.only_incident().await.targets[&target("worker")].clone();
    assert_eq!(mark.waived_by.as_deref(), Some("alice"));
}

#[tokio::test(start_paused = true)]
async fn a_hold_past_the_deadline_is_an_alarm() {
    let mut rig = started(&["key"]).await;
    let at = rig.world.clock.now();
    let hold = rotord::model::policy::Hold {
        by: "alice".into(),
        reason: "audit".into(),
        at,
        until: at + Span::from_secs(1_000),
        routine_only: false,
    };
    rig.command(Command::Hold { name: secret("key"), hold }).await.unwrap();
    rig.report(alert(clue("key"), PLACE)).await.unwrap();
    rig.until(|rig| {
        rig.picture()
            .incidents
            .values()
            .any(|i| i.first(|what| *what == What::DeadlinePassed).is_some())
    })
    .await;
    let text = rig.world.metrics.encode();
    assert!(text.contains("rotord_exposures_overdue_total{} 1"), "{text}");
    let reason = Reason::HeldWhileExposed;
    rig.until(|rig| {
        rig.picture()
            .incidents
            .values()
            .any(|i| i.first(|what| *what == What::NeedsHuman { reason }).is_some())
    })
    .await;
    rig.command(Command::Release { name: secret("key") }).await.unwrap();
    done(&mut rig).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_holds_up_no_rotation_and_is_made_up_for() {
    let mut rig = started(&["key"]).await;
    *rig.world.shelf.broken.lock().unwrap() = true;
    let verdicts = rig.report(alert(clue("key"), PLACE)).await.unwrap();
    assert_eq!(verdicts[0].ours[0].action, Action::Rotate, "the exposure is durable");
    rig.until(|rig| rig.picture().incidents.values().all(|i| i.state == State::Done)).await;
    assert_eq!(rig.world.incidents().await, 0);
    *rig.world.shelf.broken.lock().unwrap() = false;
    pass(30_000).await;
    assert_eq!(rig.world.only_incident().await.state, State::Done);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_cannot_be_kept_is_not_answered_as_if_it_were() {
    let rig = started(&["key"]).await;
    rig.world.knows(&key_clue("key-1"), "key", 1);
    *rig.world.shelf.broken.lock().unwrap() = true;
    let refusal = rig.report(alert(key_clue("key-1"), PLACE)).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Unavailable);
    *rig.world.shelf.broken.lock().unwrap() = false;
    pass(30_000).await;
    assert!(rig.report(alert(key_clue("key-1"), PLACE)).await.is_ok());
    assert_eq!(rig.world.incidents().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_where_it_was() {
    let rig = started(&["key", "other"]).await;
    let world = rig.world.clone();
    world.knows(&key_clue("other-1"), "other", 1);
    for target in world.setups[0].targets.values() {
        *target.off.lock().unwrap() = true;
    }
    rig.report(alert(clue("key"), PLACE)).await.unwrap();
    rig.report(alert(key_clue("other-1"), PLACE)).await.unwrap();
    rig.kill().await;
    for target in world.setups[0].targets.values() {
        *target.off.lock().unwrap() = false;
    }
    let mut rig = world.start().await;
    rig.until(|rig| rig.picture().incidents.values().any(|i| i.state == State::Done)).await;
    let states: Vec<State> = rig.picture().incidents.values().map(|i| i.state).collect();
    assert!(states.contains(&State::Waiting(Wait::Doubt(Doubt::Unproved))), "{states:?}");
    let verdicts = rig.report(alert(key_clue("other-1"), "second.txt")).await.unwrap();
    pass(2_000).await;
    let id = verdicts[0].ours[0].incident.clone().unwrap();
    let kept = world.shelf.load(&id).await.unwrap().unwrap().0;
    assert_eq!(kept.sightings.len(), 2, "it joins the one from before");
}

#[tokio::test(start_paused = true)]
async fn an_exposure_whose_incident_got_lost_gets_one_again() {
    let rig = started(&["key"]).await;
    let world = rig.world.clone();
    *world.shelf.broken.lock().unwrap() = true;
    for target in world.setups[0].targets.values() {
        *target.off.lock().unwrap() = true;
    }
    let verdicts = rig.report(alert(clue("key"), PLACE)).await.unwrap();
    let id = verdicts[0].ours[0].incident.clone().unwrap();
    rig.kill().await;
    *world.shelf.broken.lock().unwrap() = false;
    for target in world.setups[0].targets.values() {
        *target.off.lock().unwrap() = false;
    }
    let mut rig = World { ..world.clone() }.start().await;
    done(&mut rig).await;
    let incident = world.only_incident().await;
    assert_eq!((incident.id, incident.state), (id, State::Done));
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_takes_alerts() {
    let mut rig = started(&["key"]).await;
    rig.lead(None);
    rig.until(|rig| !rig.picture().ready).await;
    let refusal = rig.report(alert(clue("key"), PLACE)).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.reason), (RefusalKind::Unavailable, Reason::NoLease));
    rig.lead(Some(2));
    rig.until(|rig| rig.picture().ready).await;
    rig.report(alert(clue("key"), PLACE)).await.unwrap();
    done(&mut rig).await;
}

/// Version 3 of `key` is made by the one that leads, while the other one remembers version 1; what
/// it does about `busy` keeps it from reading `key` again when it takes over.
#[tokio::test(start_paused = true)]
async fn after_a_takeover_nothing_is_nobodys_before_the_records_are_read() {
    let mut world = World::of(&["busy", "key"]);
    world.walks = 1;
    let mut leader = world.start().await;
    let remembers = World { known: Arc::default(), ..world.clone() };
    let mut other = remembers.start().await;
    other.lead(None);
    other.until(|rig| !rig.picture().ready).await;
    let rotate = |name| Command::Rotate { name, emergency: false, reason: "drill".into() };
    for version in [2, 3] {
        leader.command(rotate(secret("key"))).await.unwrap();
        leader
            .until(|rig| {
                let rotation = rig.snapshot().secrets[&secret("key")].rotation.clone().unwrap();
                rotation.current() == Some(VersionId(version)) && rotation.is_closed()
            })
            .await;
    }
    *leader.world.setups[0].targets[&target("worker")].hung.lock().unwrap() = true;
    leader.command(rotate(secret("busy"))).await.unwrap();
    leader.kill().await;

    let leaked = alert(key_clue("key-3"), PLACE);
    other.lead(Some(2));
    other.until(|rig| rig.picture().ready).await;
    assert!(other.snapshot().secrets[&secret("key")].unread, "the test holds it up");
    let refusal = other.report(leaked.clone()).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Unavailable);
    assert!(refusal.text.contains("still to be read"), "{}", refusal.text);
    assert_eq!(other.world.incidents().await, 0);

    other.until(|rig| rig.snapshot().health.unread == 0).await;
    let verdicts = other.report(leaked).await.unwrap();
    assert_eq!(verdicts[0].ours[0].version, VersionId(3));
    let strange = other.report(alert(key_clue("key-77"), PLACE)).await.unwrap();
    assert!(strange[0].ours.is_empty(), "now it is nobody's");
}

#[tokio::test(start_paused = true)]
async fn what_a_source_takes_back_is_noted_and_what_a_person_exposed_is_joined() {
    let mut rig = started(&["key"]).await;
    let mut taken_back = alert(clue("key"), PLACE);
    taken_back.findings[0].claim = Claim::Withdrawn;
    let verdicts = rig.report(taken_back).await.unwrap();
    assert_eq!(verdicts[0].ours[0].action, Action::Note);
    assert_eq!(rig.world.incidents().await, 0);
    let name = secret("key");
    let done_by = rig.command(Command::Rotate { name, emergency: true, reason: "seen".into() });
    let rotation: Option<RotationId> = done_by.await.unwrap().rotation;
    pass(100).await;
    let verdicts = rig.report(alert(clue("key"), PLACE)).await.unwrap();
    let judged = &verdicts[0].ours[0];
    if judged.action != Action::AlreadyRevoked {
        assert_eq!((judged.action, &judged.rotation), (Action::Join, &rotation));
        done(&mut rig).await;
        assert_eq!(rig.world.only_incident().await.state, State::Done);
    }
}

/// The same processes and incidents, after the record of the secret was deleted and made anew.
fn anew(world: &World) -> World {
    let (shelf, clock) = (world.shelf.clone(), world.clock.clone());
    // The floor is the secret's, whatever its record.
    let limits = Limits { floor: Span::ZERO, ..Limits::default() };
    let anew = World { shelf, clock, limits, seed: 8, ..World::of(&["key"]) };
    anew.knows(&clue("key"), "key", 1);
    anew
}

#[tokio::test(start_paused = true)]
async fn a_version_of_a_record_made_anew_joins_no_incident_of_the_former_one() {
    let rig = started(&["key"]).await;
    for target in rig.world.setups[0].targets.values() {
        *target.off.lock().unwrap() = true;
    }
    let before = rig.report(alert(clue("key"), PLACE)).await.unwrap();
    let before = before[0].ours[0].incident.clone().unwrap();
    rig.ask(&before, Wish::Close, "nobody uses it").await.unwrap();
    let world = anew(&rig.world);
    rig.kill().await;
    let mut rig = world.start().await;
    let verdicts = rig.report(alert(clue("key"), PLACE)).await.unwrap();
    let judged = &verdicts[0].ours[0];
    assert_eq!((judged.version, judged.action), (VersionId(1), Action::Rotate));
    assert_ne!(judged.incident.as_ref(), Some(&before));
    rig.until(|rig| rig.picture().incidents.values().any(|i| i.state == State::Done)).await;
    let closed = world.shelf.load(&before).await.unwrap().unwrap().0;
    assert_eq!((closed.state, closed.reports()), (State::Closed, 1));
}

#[tokio::test(start_paused = true)]
async fn an_open_incident_of_a_former_record_says_so_and_only_a_person_ends_it() {
    let rig = started(&["key"]).await;
    rig.world.knows(&key_clue("key-1"), "key", 1);
    let before = rig.report(alert(key_clue("key-1"), PLACE)).await.unwrap();
    let before = before[0].ours[0].incident.clone().unwrap();
    let world = anew(&rig.world);
    rig.kill().await;
    let mut rig = world.start().await;
    let vanished = State::Waiting(Wait::Vanished);
    rig.until(|rig| rig.picture().incidents[&before].state == vanished).await;
    let asked = What::Asked { wait: Wait::Vanished };
    assert!(rig.picture().incidents[&before].first(|what| *what == asked).is_some());
    let rotations = world.rotations("key").await;
    for wish in [Wish::Approve, Wish::Waive(target("api"))] {
        let refusal = rig.ask(&before, wish, "go on").await.unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Conflict);
        assert!(refusal.text.contains("rotord incident close"), "{refusal}");
    }
    assert_eq!(world.rotations("key").await, rotations, "the new record was left alone");
    let verdicts = rig.report(alert(clue("key"), PLACE)).await.unwrap();
    assert_eq!(verdicts[0].ours[0].action, Action::Rotate);
    assert_ne!(verdicts[0].ours[0].incident.as_ref(), Some(&before));
    rig.ask(&before, Wish::Close, "it was revoked by hand").await.unwrap();
    done_or_closed(&mut rig).await;
}

async fn done_or_closed(rig: &mut Rig) {
    rig.until(|rig| rig.picture().incidents.values().all(|i| !i.is_open())).await;
}

#[tokio::test(start_paused = true)]
async fn the_breaker_counts_on_after_a_restart_and_counts_nothing_twice() {
    let mut world = World::of(&["a", "b", "c", "d"]);
    world.limits = Limits { exposures: 3, ..Limits::default() };
    for name in ["a", "b", "c", "d"] {
        world.knows(&clue(name), name, 1);
    }
    world.knows(&key_clue("c-1"), "c", 1);
    let mut rig = world.start().await;
    for name in ["a", "b"] {
        rig.report(alert(clue(name), PLACE)).await.unwrap();
    }
    // What a person agreed to does not count.
    let asked = rig.report(alert(key_clue("c-1"), PLACE)).await.unwrap();
    let asked = asked[0].ours[0].incident.clone().unwrap();
    rig.ask(&asked, Wish::Approve, "checked").await.unwrap();
    done(&mut rig).await;
    rig.kill().await;
    let mut rig = world.start().await;
    assert_eq!(rig.picture().guard.exposures, 2, "{:?}", rig.picture().guard);
    rig.lead(None);
    rig.until(|rig| !rig.picture().ready).await;
    rig.lead(Some(2));
    rig.until(|rig| rig.picture().ready).await;
    assert_eq!(rig.picture().guard.exposures, 2, "{:?}", rig.picture().guard);
    let third = rig.report(alert(clue("d"), PLACE)).await.unwrap();
    assert_eq!(third[0].ours[0].action, Action::Rotate);
    rig.kill().await;
    let rig = world.start().await;
    world.knows(&clue("c2"), "c", 2);
    let held = rig.report(alert(clue("c2"), PLACE)).await.unwrap();
    assert_eq!(held[0].ours[0].action, Action::Ask(Doubt::Breaker));
}

#[tokio::test(start_paused = true)]
async fn the_rotation_that_is_named_is_the_one_that_acts() {
    let mut rig = started(&["key"]).await;
    rig.world.knows(&clue("key2"), "key", 2);
    let name = secret("key");
    let rotate = Command::Rotate { name, emergency: false, reason: "drill".into() };
    let routine = rig.command(rotate).await.unwrap().rotation.unwrap();
    rig.until(|rig| {
        let snapshot = rig.snapshot();
        let rotation = snapshot.secrets[&secret("key")].rotation.clone().unwrap();
        rotation.phase.name() == "overlap"
    })
    .await;
    let verdicts = rig.report(alert(clue("key2"), PLACE)).await.unwrap();
    let stored = rig.world.store.load(&secret("key")).await.unwrap().unwrap();
    let acting = stored.record.rotation.id.clone();
    assert_ne!(acting, routine);
    assert_eq!(verdicts[0].ours[0].rotation, Some(acting.clone()));
    done(&mut rig).await;
    let incident = rig.world.only_incident().await;
    let named = |id: RotationId| incident.first(|what| *what == What::Rotation { id: id.clone() });
    assert!(named(acting).is_some(), "{incident:#?}");
    assert!(named(routine).is_none(), "{incident:#?}");
}

#[tokio::test(start_paused = true)]
async fn incidents_that_were_over_for_long_are_deleted_and_open_ones_never() {
    let mut world = World::of(&["key"]);
    world.keep = Span::from_secs(86_400);
    world.knows(&key_clue("key-1"), "key", 1);
    world.knows(&clue("key"), "key", 1);
    let rig = world.start().await;
    // More than one portion.
    for _ in 0..20 {
        let verdicts = rig.report(alert(key_clue("key-1"), PLACE)).await.unwrap();
        let id = verdicts[0].ours[0].incident.clone().unwrap();
        rig.ask(&id, Wish::Close, "the value of the tests").await.unwrap();
    }
    let open = rig.report(alert(key_clue("key-1"), PLACE)).await.unwrap();
    let open = open[0].ours[0].incident.clone().unwrap();
    assert_eq!(world.incidents().await, 21);
    // Another process finds them again, whether or not it shows them.
    rig.kill().await;
    let mut rig = world.start().await;
    pass(80_000_000).await;
    pass(60_000).await;
    assert_eq!(world.incidents().await, 21, "not before their time");
    pass(7_000_000).await;
    rig.until(|rig| rig.picture().incidents.len() == 1).await;
    assert_eq!(world.only_incident().await.id, open);
    assert!(world.audit_lines().contains("over for 1day, deleted"), "{}", world.audit_lines());
}
