//! The chain: continued over restarts, mended after a crash, and every way of meddling found.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::file::{FILE_BYTES_MAX, FULL_FILES_MAX, FileAudit, files, newest};
use super::owed::{OWED_MAX, Owed};
use super::verify::{Fault, Verified, verify, verify_lines};
use super::*;
use crate::model::id::{KeyId, VersionId};

const AT: Timestamp = Timestamp(1_795_000_000_000);

fn instance() -> InstanceId {
    InstanceId("a1".into())
}

fn open(dir: &Path) -> FileAudit {
    FileAudit::open(dir, &instance(), AT).unwrap()
}

fn entry(note: &str) -> Entry {
    Entry::new(AT, &instance(), EntryKind::Step).note(note)
}

/// A chain of `count` lines in a directory, and its head.
fn chain(dir: &Path, count: usize) -> Head {
    let mut audit = open(dir);
    for number in 0..count {
        audit.append(entry(&format!("line {number}"))).unwrap();
    }
    audit.head()
}

fn lines(dir: &Path) -> Vec<String> {
    fs::read_to_string(newest(dir)).unwrap().lines().map(str::to_owned).collect()
}

fn rewrite(dir: &Path, lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(newest(dir), text).unwrap();
}

#[test]
fn a_line_is_what_the_documentation_shows() {
    let mut audit = MemoryAudit::default();
    audit
        .append(Entry {
            secret: Some(SecretName::new("billing").unwrap()),
            rotation: Some(RotationId("r1".into())),
            boundary: Some(12),
            effect: Some(Effect::Revoke { version: VersionId(3) }),
            failure: Some(Failure { class: Class::Refused, reason: Reason::Denied }),
            ..Entry::new(AT, &instance(), EntryKind::Outcome)
        })
        .unwrap();
    let (content, hash) = audit.lines()[0].split_once(",\"hash\":").unwrap();
    assert_eq!(
        content,
        concat!(
            r#"{"seq":1,"at":"2026-11-18T11:06:40.000Z","actor":"a1","kind":"outcome","#,
            r#""secret":"billing","rotation":"r1","boundary":12,"#,
            r#""effect":{"effect":"revoke","version":3},"#,
            r#""failure":{"class":"refused","reason":"denied"},"#,
            r#""prev":"0000000000000000000000000000000000000000000000000000000000000000""#,
        )
    );
    // The digest can be made with any tool from the text of the line alone.
    let mut context = Context::new(&SHA256);
    context.update(&[0; 32]);
    context.update(content.as_bytes());
    assert_eq!(hash, format!("\"{}\"}}", hex::encode(context.finish())));
}

#[test]
fn file_and_memory_write_the_same_lines() {
    let dir = tempfile::tempdir().unwrap();
    let (mut file, mut memory) = (open(dir.path()), MemoryAudit::default());
    for audit in [&mut file as &mut dyn AuditSink, &mut memory] {
        assert_eq!(audit.append(entry("one")).unwrap(), Seq(1));
        assert_eq!(audit.append(entry("two")).unwrap(), Seq(2));
    }
    assert_eq!(lines(dir.path()), memory.lines());
    assert_eq!(file.durable_head(), memory.durable_head());
}

#[test]
fn a_restart_continues_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let first = chain(dir.path(), 3);
    assert_eq!(open(dir.path()).head(), first);
    let head = chain(dir.path(), 2);
    assert_eq!(head.seq, Seq(5));
    let verified = verify(dir.path(), Some(first)).unwrap();
    assert_eq!(verified, Verified { first: Seq(1), head, after_anchor: 2, torn: false });
    let mode = fs::metadata(newest(dir.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_empty_chain_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let verified = verify(dir.path(), None).unwrap();
    assert_eq!(verified.head, Head::default());
    assert_eq!(open(dir.path()).head(), Head::default());
    assert_eq!(verify(dir.path(), None).unwrap(), verified);
}

#[test]
fn every_torn_end_is_cut_and_noted() {
    let dir = tempfile::tempdir().unwrap();
    let head = chain(dir.path(), 2);
    let whole = fs::read(newest(dir.path())).unwrap();
    let second = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
    for end in second + 1..whole.len() {
        fs::write(newest(dir.path()), &whole[..end]).unwrap();
        let audit = open(dir.path());
        assert_eq!(audit.head().seq, Seq(2), "cut at {end}");
        let verified = verify(dir.path(), None).unwrap();
        assert_eq!(verified.head, audit.head(), "cut at {end}");
        let note = lines(dir.path()).pop().unwrap();
        assert!(note.contains(&format!("cut {} bytes", end - second)), "{note}");
        // Lost lines that were anchored do not pass for a crash.
        let broken = verify(dir.path(), Some(head)).unwrap_err();
        assert!(matches!(broken.fault, Fault::Rewritten(Seq(2))), "{broken}");
    }
    fs::write(newest(dir.path()), &whole[..10]).unwrap();
    assert_eq!(open(dir.path()).head().seq, Seq(1));
    verify(dir.path(), None).unwrap();
}

#[test]
fn every_changed_byte_is_found_in_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let head = chain(dir.path(), 3);
    let good = fs::read(newest(dir.path())).unwrap();
    for at in 0..good.len() {
        let line = good[..at].iter().filter(|b| **b == b'\n').count() as u64 + 1;
        let mut bad = good.clone();
        bad[at] ^= [0x01, 0x20, 0x80][at % 3];
        fs::write(newest(dir.path()), &bad).unwrap();
        let broken = verify(dir.path(), Some(head)).unwrap_err();
        // A changed line end joins two lines, or makes two of one.
        let at_end = good[at] == b'\n' || bad[at] == b'\n';
        assert!(broken.line == line || at_end, "byte {at}: {broken}");
    }
}

#[test]
fn missing_exchanged_and_doubled_lines_are_found_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    chain(dir.path(), 6);
    let good = lines(dir.path());
    let found = |lines: &[String]| {
        rewrite(dir.path(), lines);
        verify(dir.path(), None).unwrap_err()
    };
    let mut missing = good.clone();
    missing.remove(2);
    let broken = found(&missing);
    assert_eq!(broken.line, 3);
    assert!(matches!(broken.fault, Fault::Order { expected: Seq(3), found: Seq(4) }));
    assert!(broken.to_string().contains("audit.jsonl, line 3"), "{broken}");
    let mut exchanged = good.clone();
    exchanged.swap(1, 2);
    assert_eq!(found(&exchanged).line, 2);
    let mut doubled = good.clone();
    doubled.insert(4, good[3].clone());
    assert_eq!(found(&doubled).line, 5);
    // A line of another chain, with the right number.
    let other = tempfile::tempdir().unwrap();
    open(other.path()).append(entry("foreign")).unwrap();
    chain(other.path(), 5);
    let mut grafted = good.clone();
    grafted[3] = lines(other.path())[3].clone();
    let broken = found(&grafted);
    assert!(matches!((broken.line, broken.fault), (4, Fault::Unlinked)));
}

#[test]
fn a_cut_tail_and_a_rewritten_chain_are_told_by_the_anchor() {
    let dir = tempfile::tempdir().unwrap();
    let head = chain(dir.path(), 5);
    let good = lines(dir.path());
    rewrite(dir.path(), &good[..3]);
    verify(dir.path(), None).unwrap();
    let broken = verify(dir.path(), Some(head)).unwrap_err();
    assert_eq!(broken.line, 3);
    assert!(matches!(broken.fault, Fault::Cut { found: Seq(3), anchored: Seq(5) }));
    fs::remove_file(newest(dir.path())).unwrap();
    let mut other = open(dir.path());
    for _ in 0..7 {
        other.append(entry("nothing happened")).unwrap();
    }
    verify(dir.path(), None).unwrap();
    let broken = verify(dir.path(), Some(head)).unwrap_err();
    assert!(matches!((broken.line, broken.fault), (5, Fault::Rewritten(Seq(5)))));
    fs::remove_file(newest(dir.path())).unwrap();
    let broken = verify(dir.path(), Some(head)).unwrap_err();
    assert!(matches!(broken.fault, Fault::Cut { found: Seq(0), .. }), "{broken}");
}

#[test]
fn lines_in_memory_are_verified_alike() {
    let mut audit = MemoryAudit::default();
    for _ in 0..4 {
        audit.append(entry("line")).unwrap();
    }
    let all: Vec<&str> = audit.lines().iter().map(String::as_str).collect();
    let head = audit.head();
    assert_eq!(verify_lines(all.iter().copied(), Some(head)).unwrap().head, head);
    let (line, fault) = verify_lines(all[..3].iter().copied(), Some(head)).unwrap_err();
    assert!(matches!((line, fault), (3, Fault::Cut { .. })));
    let (line, fault) = verify_lines(["{}", "rubbish"], None).unwrap_err();
    assert!(matches!((line, fault), (1, Fault::Malformed)));
}

#[test]
fn full_files_are_turned_over_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut audit = open(dir.path());
    let long = "x".repeat(NOTE_LEN_MAX);
    let a_line = audit.append(entry(&long)).map(|_| lines(dir.path())[0].len()).unwrap() as u64;
    // Files are stretched to just below their limit, so that each next line closes one.
    let mut anchored = Head::default();
    for _ in 0..FULL_FILES_MAX + 3 {
        let stuffing = FILE_BYTES_MAX - a_line;
        audit.pretend_len(stuffing);
        audit.append(entry(&long)).unwrap();
        anchored = audit.head();
    }
    assert_eq!(files(dir.path()).unwrap().len(), FULL_FILES_MAX + 1);
    let verified = verify(dir.path(), Some(anchored)).unwrap();
    assert_eq!((verified.first, verified.head), (Seq(4), anchored));
    // A restart right after a turn finds the end of the chain in the file before.
    fs::remove_file(newest(dir.path())).unwrap();
    assert_eq!(open(dir.path()).head().seq, Seq(anchored.seq.0 - 1));
    let gone = Head { seq: Seq(2), ..anchored };
    let broken = verify(dir.path(), Some(gone)).unwrap_err();
    assert!(matches!(broken.fault, Fault::BeginsLate(Seq(4))), "{broken}");
}

#[test]
fn a_turn_that_fails_leaves_the_file_in_place_and_is_made_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut audit = open(dir.path());
    audit.append(entry("one")).unwrap();
    audit.pretend_len(FILE_BYTES_MAX);
    let in_the_way = newest(dir.path()).with_extension("next");
    fs::create_dir(&in_the_way).unwrap();
    assert!(audit.append(entry("two")).is_err());
    assert_eq!(files(dir.path()).unwrap().len(), 1);
    fs::remove_dir(&in_the_way).unwrap();
    audit.append(entry("two")).unwrap();
    assert_eq!(files(dir.path()).unwrap().len(), 2);
    let verified = verify(dir.path(), Some(audit.head())).unwrap();
    assert_eq!((verified.first, verified.head.seq), (Seq(1), audit.head().seq));
}

#[test]
fn a_full_disk_is_told_and_breaks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    symlink("/dev/full", newest(dir.path())).unwrap();
    let mut audit = open(dir.path());
    let error = audit.append(entry("lost")).unwrap_err();
    assert!(matches!(&error, AuditError::Full { .. }), "{error}");
    assert!(error.to_string().contains("audit.jsonl"), "{error}");
    assert_eq!(error.failure().reason, Reason::AuditUnwritable);
    // A device cannot be mended by cutting it, so nothing more is written to it.
    audit.append(entry("lost")).unwrap_err();
    assert_eq!(audit.head(), Head::default());
}

#[test]
fn a_line_that_failed_half_way_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let mut audit = open(dir.path());
    audit.append(entry("before")).unwrap();
    audit.leave_half_a_line();
    audit.append(entry("after")).unwrap();
    let verified = verify(dir.path(), Some(audit.head())).unwrap();
    assert_eq!(verified.head.seq, Seq(2));
}

#[test]
fn a_chain_that_was_meddled_with_is_not_continued() {
    let dir = tempfile::tempdir().unwrap();
    chain(dir.path(), 2);
    let mut changed = lines(dir.path());
    changed[1] = changed[1].replace("line 1", "line X");
    rewrite(dir.path(), &changed);
    let error = FileAudit::open(dir.path(), &instance(), AT).unwrap_err();
    assert!(matches!(&error, AuditError::Broken { .. }), "{error}");
    assert!(error.to_string().contains("move it away"), "{error}");
    assert_eq!(lines(dir.path()), changed, "nothing was written");
}

#[test]
fn long_texts_are_cut_and_endless_names_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut audit = open(dir.path());
    audit.append(entry(&"\u{1}ü".repeat(NOTE_LEN_MAX))).unwrap();
    let effect = Effect::Sweep { key: KeyId("k".repeat(file::LINE_LEN_MAX)) };
    let error = audit.append(Entry { effect: Some(effect), ..entry("") }).unwrap_err();
    assert!(matches!(error, AuditError::Io { .. }), "{error}");
    assert_eq!(verify(dir.path(), None).unwrap().head, audit.head());
}

#[test]
fn intents_of_destructive_effects_are_durable() {
    let of = |kind, effect| Entry { effect: Some(effect), ..Entry::new(AT, &instance(), kind) };
    let revoke = Effect::Revoke { version: VersionId(1) };
    let make = Effect::Make { version: VersionId(1) };
    assert!(of(EntryKind::Intent, revoke.clone()).must_be_durable());
    assert!(!of(EntryKind::Outcome, revoke).must_be_durable());
    assert!(!of(EntryKind::Intent, make).must_be_durable());
}

#[test]
fn what_could_not_be_written_comes_before_any_other_line() {
    let dir = tempfile::tempdir().unwrap();
    let aside = dir.path().join("aside");
    let mut audit = open(dir.path());
    audit.append(entry("before")).unwrap();
    // As if the file could not be written: something else lies in its place.
    fs::rename(newest(dir.path()), &aside).unwrap();
    audit.owe(entry("first outcome"));
    audit.owe(entry("second outcome"));
    assert!(matches!(audit.append(entry("refused")), Err(AuditError::Broken { .. })));
    assert!(audit.durable_head().is_err(), "an anchor would vouch for less than is known");
    fs::rename(&aside, newest(dir.path())).unwrap();
    audit.append(entry("after")).unwrap();
    let notes: Vec<String> = lines(dir.path())
        .iter()
        .map(|line| serde_json::from_str::<Line>(line).unwrap().entry.note.unwrap())
        .collect();
    assert_eq!(notes, ["before", "first outcome", "second outcome", "after"]);
    assert_eq!(verify(dir.path(), None).unwrap().head, audit.head());
}

#[test]
fn lines_that_are_owed_are_bounded_and_their_loss_is_a_line() {
    let mut owed = Owed::default();
    for _ in 0..OWED_MAX + 3 {
        owed.add(entry("owed"));
    }
    let mut written = Vec::new();
    owed.pay(|entry| {
        written.push(entry.note.unwrap());
        Ok(())
    })
    .unwrap();
    assert_eq!(written.len(), OWED_MAX + 1);
    assert!(written.last().unwrap().starts_with("3 lines more"), "{:?}", written.last());
    assert!(owed.next().is_none());
}

#[test]
fn an_owed_line_that_is_too_long_does_not_stand_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let mut audit = open(dir.path());
    let effect = Effect::Sweep { key: KeyId("k".repeat(file::LINE_LEN_MAX)) };
    audit.owe(Entry { effect: Some(effect), ..entry("") });
    audit.append(entry("after")).unwrap();
    assert_eq!(audit.head().seq, Seq(2));
}

#[test]
fn a_line_that_is_being_written_is_no_fault_but_a_torn_full_file_is() {
    let dir = tempfile::tempdir().unwrap();
    let head = chain(dir.path(), 3);
    let mut file = fs::OpenOptions::new().append(true).open(newest(dir.path())).unwrap();
    std::io::Write::write_all(&mut file, b"{\"seq\":4,").unwrap();
    let verified = verify(dir.path(), Some(head)).unwrap();
    assert!(verified.torn && verified.head == head);
    fs::rename(newest(dir.path()), dir.path().join("audit.00000000000000000001.jsonl")).unwrap();
    let broken = verify(dir.path(), Some(head)).unwrap_err();
    assert!(matches!((broken.line, broken.fault), (4, Fault::Torn)));
}

#[test]
fn a_chain_whose_first_lines_are_gone_was_shortened() {
    let dir = tempfile::tempdir().unwrap();
    let head = chain(dir.path(), 4);
    rewrite(dir.path(), &lines(dir.path())[2..]);
    for anchored in [None, Some(head)] {
        let broken = verify(dir.path(), anchored).unwrap_err();
        assert!(matches!((broken.line, broken.fault), (1, Fault::BeginsLate(Seq(3)))));
    }
}

#[test]
fn a_break_told_by_the_chain_alone_vouches_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let head = chain(dir.path(), 4);
    let told = |anchored: Head| {
        let dir = tempfile::tempdir().unwrap();
        let mut audit = FileAudit::begin_behind(dir.path(), anchored).unwrap();
        let breach = Breach {
            at: AT,
            fault: "cut".into(),
            file: "audit.jsonl".into(),
            line: 1,
            anchored,
            resumed: anchored.next(),
            set_aside: "audit.broken".into(),
        };
        audit.append(Entry { breach: Some(Box::new(breach)), ..entry("") }).unwrap();
        dir
    };
    verify(told(head).path(), Some(head)).unwrap();
    for forged in [Head { seq: Seq(9), ..head }, Head { hash: LineHash([7; 32]), ..head }] {
        let broken = verify(told(forged).path(), Some(head)).unwrap_err();
        assert!(matches!(broken.fault, Fault::Unlinked), "{broken}");
    }
}
