//! Holes, their escaping, and what is said of wrong ones.

use super::*;
use serde_json::json;

const ALL: Scope =
    Scope { auth: true, key_id: true, key_fields: true, ours: true, rotation: true, page: true };

fn params() -> BTreeMap<String, Value> {
    BTreeMap::from([
        ("site".to_owned(), json!("a b/c")),
        ("ttl".to_owned(), json!(60)),
        ("on".to_owned(), json!(true)),
        ("up".to_owned(), json!("..")),
    ])
}

fn read(text: &str, place: Place) -> Result<Template, String> {
    Template::parse(text, place, ALL, &params())
}

fn with_id(template: &Template, id: &str) -> Result<String, Unfilled> {
    let key_id = KeyId(id.to_owned());
    let filling = Filling { key_id: Some(&key_id), ..Filling::default() };
    template.render(filling).map(|text| text.as_str().to_owned())
}

#[test]
fn what_fills_a_hole_cannot_change_the_path() {
    let path = read("/keys/{{ key.id }}/x", Place::Url).unwrap();
    assert_eq!(with_id(&path, "a/b?c#d e%").unwrap(), "/keys/a%2Fb%3Fc%23d%20e%25/x");
    assert_eq!(with_id(&path, "a-b_c.d~e").unwrap(), "/keys/a-b_c.d~e/x");
    for id in ["", ".", ".."] {
        assert_eq!(with_id(&path, id), Err(Unfilled("key.id".to_owned())), "{id:?}");
    }
    let fixed = read("/{{param.site}}", Place::Url).unwrap();
    assert_eq!(fixed.fixed(), Some("/a%20b%2Fc"));
    assert!(read("/{{param.up}}/keys", Place::Url).is_err());
}

#[test]
fn secrets_stay_out_of_addresses() {
    for hole in ["auth.token", "key.value", "ours.value"] {
        let problem = read(&format!("/x?k={{{{{hole}}}}}"), Place::Url).unwrap_err();
        assert!(problem.contains("header or the body"), "{problem}");
    }
}

#[test]
fn what_has_no_meaning_is_named_with_what_has() {
    let narrow = Scope { key_id: true, ..Scope::default() };
    let parse = |text: &str| Template::parse(text, Place::Plain, narrow, &params());
    let problem = parse("{{rotation.tag}}").unwrap_err();
    assert!(problem.contains("rotation.tag") && problem.contains("key.id"), "{problem}");
    assert!(parse("{{param.sight}}").unwrap_err().contains("sight"));
    assert!(parse("{{key.id|upper}}").unwrap_err().contains("json"));
    assert!(parse("{{key.id").unwrap_err().contains("never closed"));
    assert!(parse("{{}}").is_err());
    assert!(parse("{{key.}}").is_err());
}

#[test]
fn json_keeps_its_types_and_escapes_its_strings() {
    let body = json!({
        "ttl": "{{param.ttl}}", "on": "{{param.on}}", "text": "{{param.ttl}}s", "n": null,
        "list": ["{{key.id}}", 1.5], "empty": {},
        "inner": "{\"mark\":{{key.id|json}}}",
    });
    let body = JsonTemplate::parse(&body, ALL, &params()).unwrap();
    let key_id = KeyId("a\"b\\\n".to_owned());
    let filling = Filling { key_id: Some(&key_id), ..Filling::default() };
    let text = body.render(filling).unwrap();
    let read: Value = serde_json::from_str(&text).unwrap();
    let inner: Value = serde_json::from_str(read["inner"].as_str().unwrap()).unwrap();
    assert_eq!(inner, json!({"mark": "a\"b\\\n"}));
    assert_eq!(read["ttl"], json!(60));
    assert_eq!(read["on"], json!(true));
    assert_eq!(read["text"], json!("60s"));
    assert_eq!(read["n"], Value::Null);
    assert_eq!(read["list"], json!(["a\"b\\\n", 1.5]));
    assert_eq!(read["empty"], json!({}));
}

#[test]
fn every_bad_string_of_a_body_is_found() {
    let body = json!({"a": ["{{nope}}"], "b": "{{param.nope}}"});
    let problems = JsonTemplate::parse(&body, ALL, &params()).unwrap_err();
    assert_eq!(problems.len(), 2);
    assert!(problems[0].starts_with("at /a/0: "), "{problems:?}");
    assert!(problems[1].starts_with("at /b: "), "{problems:?}");
}
