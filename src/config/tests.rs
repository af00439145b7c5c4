//! The reader's own rules. What whole configs are refused for is in `tests/it/config.rs`.

use super::*;
use crate::model::time::Span;

/// Reads a document with one reader and answers what it read and what it found wrong.
fn reading<T>(text: &str, read: impl FnOnce(&Section<'_>) -> T) -> (T, Vec<String>) {
    let findings = Findings::new(text, Path::new("/etc/rotord"));
    let document = DeTable::parse(text).unwrap();
    let value = findings.read(document.get_ref(), read);
    let (problems, _) = findings.into_sorted();
    (value, problems.iter().map(|problem| problem.in_file("f")).collect())
}

#[test]
fn what_is_absent_is_no_problem_and_what_is_wrong_is_one() {
    let (span, problems) = reading("", |s| s.get("a").and_then(|e| e.span(Span(0), Span(9))));
    assert_eq!((span, problems.len()), (None, 0));
    let (span, problems) = reading("a = 1", |s| s.get("a").and_then(|e| e.span(Span(0), Span(9))));
    assert_eq!((span, problems.len()), (None, 1));
}

#[test]
fn keys_that_nobody_asked_for_are_refused_with_the_nearest_name() {
    let ((), problems) = reading("\nprpagation = 1\nzzz = 2", |s| {
        s.get("propagation");
        s.get("path");
    });
    assert_eq!(
        problems,
        [
            "f:2: prpagation: unknown key\n    did you mean `propagation`?",
            "f:3: zzz: unknown key\n    keys known here: `path` or `propagation`",
        ]
    );
}

#[test]
fn a_table_that_cannot_be_judged_is_not() {
    let ((), problems) = reading("a = 1\nb = 2", |s| s.judge_no_further());
    assert_eq!(problems, [""; 0]);
}

#[test]
fn places_point_into_lists_inline_tables_and_below() {
    let text = "[t]\nlist = [\n  1,\n  2,\n]\nmap = { x = 1, y = { z = 2 } }\n";
    let (places, _) = reading(text, |s| {
        s.section("t", |t| {
            let list = t.get("list").and_then(Entry::list).unwrap();
            let map = t.get("map").and_then(Entry::named).unwrap();
            let below = t.place("map.y.z");
            [list[1].at().clone(), map[0].1.at().clone(), below, t.place("map.no")]
        })
    });
    let places = places.unwrap().map(|place| format!("{}:{}", place.line, place.key));
    assert_eq!(places, ["4:t.list[1]", "6:t.map.x", "6:t.map.y.z", "6:t.map.no"]);
}

#[test]
fn numbers_are_read_in_every_form_of_toml() {
    for (text, number) in [("0x1F", Some(31)), ("1_0", Some(10)), ("-1", None), ("1.5", None)] {
        let text = format!("n = {text}");
        let (read, problems) = reading(&text, |s| s.get("n").and_then(|e| e.number(0, 99)));
        assert_eq!((read, problems.is_empty()), (number, number.is_some()), "{text}");
    }
}

#[test]
fn moments_need_their_offset() {
    let moment = |text: &str| reading(text, |s| s.get("m").and_then(Entry::moment)).0;
    let noon = moment("m = 2026-11-22T12:00:00+01:00").unwrap();
    assert_eq!(noon.to_string(), "2026-11-22T11:00:00.000Z");
    assert_eq!(moment("m = \"2026-11-22T11:00:00Z\""), Some(noon));
    for wrong in ["m = 2026-11-22T12:00:00", "m = 2026-11-22", "m = \"noon\"", "m = 12"] {
        assert_eq!(moment(wrong), None, "{wrong}");
    }
}

#[test]
fn a_wrong_type_is_named_without_its_value() {
    let (_, problems) =
        reading("a = [\"hunter2\"]", |s| s.get("a").and_then(Entry::text).map(str::to_owned));
    assert_eq!(
        problems,
        ["f:1: a: expected a text in quotes, found a list\n    write a text in quotes"]
    );
}

#[test]
fn relative_paths_start_in_the_folder_of_the_config() {
    let path = |text: &str| reading(text, |s| s.get("p").and_then(|e| e.path())).0.unwrap();
    assert_eq!(path("p = \"a/b\""), Path::new("/etc/rotord/a/b"));
    assert_eq!(path("p = \"/a/b\""), Path::new("/a/b"));
}
