//! Reports as the tools write them, around one value, and reports that are broken.

use aws_lc_rs::digest;

use super::*;
use crate::model::clue::{Form, ValueDigest};

const VALUE: &str = "rk_live_7Gh2kPq9Xw4ZtB1n";

fn text(text: impl Into<String>) -> SecretBytes {
    SecretBytes::new(text.into().into_bytes())
}

fn hex_of(algorithm: &'static digest::Algorithm, text: &str) -> String {
    hex::encode(digest::digest(algorithm, text.as_bytes()))
}

fn sha256(text: &str) -> String {
    hex_of(&digest::SHA256, text)
}

fn plain() -> Clue {
    Clue::Digest(ValueDigest::of(Form::Sha256, &text(VALUE)))
}

/// The one finding of a report, its tool, and the proof that the value is in none of it.
fn one(report: impl Into<String>) -> (Tool, Finding) {
    let mut report = read(&text(report)).unwrap();
    assert!(!format!("{report:?}").contains(VALUE));
    assert_eq!((report.findings.len(), report.skipped.as_slice()), (1, [].as_slice()));
    (report.tool.unwrap(), report.findings.remove(0))
}

fn place(finding: &Finding) -> &str {
    finding.found_at.as_ref().unwrap().as_str()
}

#[test]
fn gitleaks_json() {
    let (tool, finding) = one(format!(
        r#"[{{"RuleID":"generic-api-key","Description":"d","StartLine":7,"EndLine":7,
        "StartColumn":2,
        "EndColumn":9,"Match":"key={VALUE}","Secret":"{VALUE}","File":"src/a.env","SymlinkFile":"",
        "Commit":"c0ffee","Entropy":4.1,"Author":"a","Email":"e","Date":"d","Message":"m","Tags":[],
        "Fingerprint":"c0ffee:src/a.env:generic-api-key:7","New":1}}]"#
    ));
    assert_eq!((tool, finding.label.as_str()), (Tool::Gitleaks, "generic-api-key"));
    assert_eq!(place(&finding), "src/a.env:7 in commit c0ffee");
    assert!(finding.clues.contains(&plain()));
}

#[test]
fn gitleaks_csv_with_quoted_columns() {
    let (tool, finding) = one(format!(
        "RuleID,Commit,File,SymlinkFile,Secret,Match,StartLine,EndLine,StartColumn,EndColumn,\
         Author,\
         Message,Date,Email,Fingerprint,Tags\n\
         rule,,\"a, b.env\",,{VALUE},\"k=\"\"{VALUE}\"\"\",3,3,1,2,me,\"two\nlines\",d,e,f,\n"
    ));
    assert_eq!((tool, place(&finding)), (Tool::Gitleaks, "a, b.env:3"));
    assert!(finding.clues.contains(&plain()));
}

#[test]
fn gitleaks_sarif_has_the_value_in_its_snippet() {
    let (tool, finding) = one(format!(
        r#"{{"$schema":"s","version":"2.1.0","runs":[{{"tool":{{"driver":{{"name":"gitleaks",
        "rules":[]}}}},
        "results":[{{"message":{{"text":"t"}},"ruleId":"r","locations":[{{"physicalLocation":{{
        "artifactLocation":{{"uri":"a.env"}},"region":{{"startLine":4,
        "snippet":{{"text":"{VALUE}"}}}}}}}}],
        "partialFingerprints":{{"commitSha":"","author":""}}}}]}}]}}"#
    ));
    assert_eq!((tool, place(&finding)), (Tool::Gitleaks, "a.env:4"));
    assert!(finding.clues.contains(&plain()));
}

#[test]
fn trufflehog_lines_with_parts_and_log_lines_between() {
    let (tool, finding) = one(format!(
        "{{\"DetectorName\":\"AWS\",\"DetectorType\":2,\"Verified\":true,\
         \"Raw\":\"AKIAABCDEFGHIJKLMNOP\",\
         \"RawV2\":\"AKIAABCDEFGHIJKLMNOP:{VALUE}\",\"SecretParts\":{{\"key\":\"{VALUE}\"}},\
         \"SourceMetadata\":{{\"Data\":{{\"Git\":{{\"commit\":\"c0ffee\",\"file\":\"a.env\",\
         \"line\":9,\
         \"repository\":\"https://user:pw@host/r.git\",\"email\":\"e\",\
         \"timestamp\":\"t\"}}}}}}}}\n\n\
         {{\"level\":\"info-0\",\"ts\":\"t\",\"msg\":\"finished scanning\"}}\n"
    ));
    assert_eq!((tool, finding.label.as_str()), (Tool::TruffleHog, "AWS"));
    assert_eq!(place(&finding), "https://host/r.git a.env:9 in commit c0ffee");
    assert!(finding.clues.contains(&plain()));
    let id = Clue::Digest(ValueDigest::of(Form::Sha256, &text("AKIAABCDEFGHIJKLMNOP")));
    assert!(finding.clues.contains(&id));
}

/// Both outputs of the program in one file: the banner, its log in either form, and the findings.
#[test]
fn trufflehog_lines_are_read_whatever_stands_before_and_among_them() {
    let finding = format!(r#"{{"DetectorName":"A","Raw":"{VALUE}"}}"#);
    for before in [
        "\u{1f437} TruffleHog. Unearth your secrets.",
        "{\"level\":\"info-0\",\"logger\":\"trufflehog\",\"msg\":\"running source\"}",
        "{\"level\":\"error\",\"msg\":\"no logger\"}",
        "[INFO] docker pull",
        "RuleID is no column here",
        "{ no JSON",
    ] {
        let report = read(&text(format!("{before}\n{finding}\r\n{before}\n\n"))).unwrap();
        assert_eq!((report.findings.len(), report.other_lines), (1, 2), "{before}");
        assert_eq!((report.tool, report.skipped.len()), (Some(Tool::TruffleHog), 0));
        assert!(report.findings[0].clues.contains(&plain()));
    }
}

#[test]
fn trufflehog_lines_that_are_broken_are_named_and_no_log_alone_is_refused() {
    let whole = format!(r#"{{"DetectorName":"A","Raw":"{VALUE}"}}"#);
    let cut = &whole[..whole.len() - 4];
    let report = format!("{{\"DetectorName\":1,\"Raw\":\"{VALUE}\"}}\n{whole}\n{cut}");
    let report = read(&text(report)).unwrap();
    assert!(!format!("{report:?}").contains(&VALUE[..10]));
    let places: Vec<&str> = report.skipped.iter().map(|skipped| skipped.place.as_str()).collect();
    assert_eq!((places, report.findings.len()), (vec!["line 1", "line 3"], 1));
    for own in [
        "{\"level\":\"info-0\",\"logger\":\"trufflehog\",\"msg\":\"finished scanning\"}",
        "2026-11-22T03:12:00Z\tinfo-0\ttrufflehog\tfinished scanning\t{}",
        "\u{1f437} TruffleHog. Unearth your secrets. \u{1f437}",
    ] {
        let report = read(&text(own)).unwrap();
        assert_eq!((report.findings.len(), report.other_lines), (0, 1), "{own}");
    }
    for other in ["{\"level\":\"info\",\"msg\":\"x\"}", "trufflehog", "DetectorName"] {
        assert_eq!(read(&text(other)).unwrap_err(), ReportError::UnknownFormat, "{other}");
    }
}

#[test]
fn no_value_of_a_report_stands_in_a_text_of_it() {
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, VALUE);
    let url = VALUE.replace('_', "%5f");
    let places = [format!("a/{VALUE}.env"), format!("{encoded}/b"), format!("c?k={url}")];
    let gitleaks = |(secret, place): (&str, &String)| {
        format!(r#"{{"RuleID":"r-{VALUE}","Secret":"{secret}","File":"{place}"}}"#)
    };
    let secrets = ["REDACTED", "another-value", VALUE];
    let all: Vec<String> = secrets.into_iter().zip(&places).map(gitleaks).collect();
    let lines = places.iter().zip(secrets).map(|(place, secret)| {
        let metadata = format!(r#"{{"Data":{{"Git":{{"file":"{place}"}}}}}}"#);
        format!(r#"{{"DetectorName":"d {VALUE}","Raw":"{secret}","SourceMetadata":{metadata}}}"#)
    });
    let incidents = places.iter().zip(["rk_l********", "other-value", VALUE]);
    let incidents = incidents.map(|(place, secret)| {
        let incident = format!(r#"{{"type":"t {url}","occurrences":[{{"match":"{secret}"}}]}}"#);
        format!(r#"{{"filename":"{place}","incidents":[{incident}]}}"#)
    });
    let vulnerabilities = places.iter().zip(["", "other-value", VALUE]).map(|(place, secret)| {
        let location = format!(r#""location":{{"file":"{place}"}}"#);
        format!(r#"{{"name":"{VALUE}","raw_source_code_extract":"{secret}",{location}}}"#)
    });
    let results = places.iter().zip(["REDACTED", "other-value", VALUE]).map(|(place, secret)| {
        let region = format!(r#""region":{{"snippet":{{"text":"{secret}"}}}}"#);
        let physical = format!(r#"{{"artifactLocation":{{"uri":"{place}"}},{region}}}"#);
        format!(r#"{{"ruleId":"{VALUE}","locations":[{{"physicalLocation":{physical}}}]}}"#)
    });
    let joined = |all: Vec<String>| all.join(",");
    for report in [
        format!("[{}]", joined(all)),
        lines.collect::<Vec<_>>().join("\n"),
        format!(r#"{{"entities_with_incidents":[{}]}}"#, joined(incidents.collect())),
        format!(r#"{{"vulnerabilities":[{}]}}"#, joined(vulnerabilities.collect())),
        format!(
            r#"{{"runs":[{{"tool":{{"driver":{{"name":"gitleaks"}}}},"results":[{}]}}]}}"#,
            joined(results.collect())
        ),
    ] {
        let report = read(&text(report)).unwrap();
        assert_eq!((report.findings.len(), report.skipped.len()), (2, 1));
        let said = format!("{report:?}");
        for form in [VALUE, &VALUE[..20], &encoded[2..], &url] {
            assert!(!said.contains(form), "{form} in {said}");
        }
        assert!(said.contains("[secret]/b") && said.contains("a/[secret].env"), "{said}");
    }
}

#[test]
fn trufflehog_sarif_has_a_fingerprint_of_the_place() {
    let digest = sha256(&format!("Stripe:a.env:0:{}", sha256(VALUE)));
    let (tool, finding) = one(format!(
        r#"{{"runs":[{{"tool":{{"driver":{{"name":"TruffleHog"}}}},
        "results":[{{"ruleId":"Stripe","locations":
        [{{"physicalLocation":{{"artifactLocation":{{"uri":"a.env"}}}}}}],
        "partialFingerprints":{{"trufflehogFingerprint/v1":"{digest}"}}}}]}}]}}"#
    ));
    let mut bytes = [0; 32];
    hex::decode_to_slice(digest, &mut bytes).unwrap();
    assert_eq!(tool, Tool::TruffleHog);
    let prefix = "Stripe:a.env:0:".to_owned();
    assert_eq!(finding.clues, [Clue::Placed { prefix, digest: bytes }]);
}

#[test]
fn detect_secrets_baseline_with_an_audit() {
    let sha1 = hex_of(&digest::SHA1_FOR_LEGACY_USE_ONLY, VALUE);
    let mut report = read(&text(format!(
        r#"{{"version":"1.5.0","plugins_used":[{{"name":"x"}}],"filters_used":[],
        "results":{{"a.env":[
        {{"type":"Secret Keyword","filename":"a.env","hashed_secret":"{sha1}",
        "is_verified":false,"line_number":3}},
        {{"type":"Secret Keyword","filename":"a.env","hashed_secret":"{sha1}","is_secret":false}},
        {{"type":"Secret Keyword","filename":"a.env","hashed_secret":"nothing"}}]}},
        "generated_at":"t"}}"#
    )))
    .unwrap();
    let known = Clue::Digest(ValueDigest::of(Form::Sha1, &text(VALUE)));
    assert!(report.findings.iter().all(|finding| finding.clues == [known.clone()]));
    let claims: Vec<Claim> = report.findings.iter().map(|finding| finding.claim).collect();
    assert_eq!(claims, [Claim::Leaked, Claim::Withdrawn]);
    assert_eq!(report.skipped.remove(0).place, "finding 3 of a.env");
}

#[test]
fn ggshield_json_censored_and_scans_within_scans() {
    let sha = sha256(&format!("{VALUE},apikey"));
    let incident = format!(
        r#"{{"policy":"Secrets detection","type":"Generic","validity":"no_checker",
        "ignore_sha":"{sha}",
        "total_occurrences":1,"occurrences":[{{"match":"rk_l**************tB1n","type":"apikey",
        "line_start":5}}]}}"#
    );
    let (tool, finding) = one(format!(
        r#"{{"id":"x","type":"commit-range","scans":[{{"id":"y",
        "entities_with_incidents":[{{"mode":"m",
        "filename":"a.env","incidents":[{incident}]}}]}}],"total_incidents":1}}"#
    ));
    assert_eq!((tool, place(&finding)), (Tool::Ggshield, "a.env:5"));
    let known = Clue::Digest(ValueDigest::of(Form::Ggshield, &text(VALUE)));
    assert_eq!(finding.clues, [known]);
}

#[test]
fn ggshield_sarif() {
    let sha = sha256(&format!("{VALUE},apikey"));
    let (tool, finding) = one(format!(
        r#"{{"version":"2.1.0","runs":[{{"tool":{{"driver":{{"name":"ggshield"}}}},
        "results":[{{"ruleId":"Generic",
        "locations":[{{"physicalLocation":{{"artifactLocation":{{"uri":"a.env"}},
        "region":{{"startLine":2}}}}}}],
        "partialFingerprints":{{"secret/v1":"{sha}"}}}}]}}]}}"#
    ));
    assert_eq!((tool, place(&finding)), (Tool::Ggshield, "a.env:2"));
    assert_eq!(finding.clues, [Clue::Digest(ValueDigest::of(Form::Ggshield, &text(VALUE)))]);
}

#[test]
fn gitlab_report_with_value_and_digest() {
    let cve = format!("a.env:{}:Generic", sha256(VALUE));
    let (tool, finding) = one(format!(
        r#"{{"version":"15.1.4","vulnerabilities":[{{"id":"i","category":"secret_detection",
        "name":"API key",
        "cve":"{cve}","severity":"Critical","raw_source_code_extract":"{VALUE}",
        "scanner":{{"id":"gitleaks"}},
        "location":{{"file":"a.env","commit":{{"sha":"0000000"}},"start_line":6}},
        "identifiers":[{{"type":"gitleaks_rule_id","name":"n","value":"Generic"}}]}},
        {{"category":"dependency_scanning","cve":"x"}}]}}"#
    ));
    assert_eq!((tool, place(&finding)), (Tool::GitLab, "a.env:6"));
    assert_eq!((finding.label.as_str(), finding.clues), ("Generic", vec![plain()]));
}

#[test]
fn what_a_tool_has_hidden_is_skipped_and_said() {
    for hidden in ["REDACTED", "rk_live_7G...", "", "rk_l********************"] {
        let report =
            format!(r#"[{{"RuleID":"r","Secret":"{hidden}","File":"a.env","StartLine":1}}]"#);
        let report = read(&text(report)).unwrap();
        assert!(report.findings.is_empty(), "{hidden}");
        assert_eq!(report.skipped[0].place, "finding 1");
    }
}

#[test]
fn nothing_found_is_a_report_too() {
    for empty in ["[]", "[ \n]", "", " \n", "\u{feff}[]"] {
        let report = read(&text(empty)).unwrap();
        assert!(report.findings.is_empty() && report.tool.is_none());
    }
    let report = r#"{"runs":[{"tool":{"driver":{"name":"gitleaks"}},"results":null}]}"#;
    assert!(read(&text(report)).unwrap().findings.is_empty());
}

#[test]
fn what_is_no_report_is_refused_and_not_quoted() {
    for (wrong, error) in [
        (VALUE.to_owned(), ReportError::UnknownFormat),
        (format!(r#"{{"secret":"{VALUE}"}}"#), ReportError::UnknownFormat),
        (
            format!(r#"{{"runs":[{{"tool":{{"driver":{{"name":"{VALUE}"}}}}}}]}}"#),
            ReportError::UnknownTool,
        ),
    ] {
        assert_eq!(read(&text(wrong)).unwrap_err(), error);
        assert!(!error.to_string().contains(VALUE));
    }
    for (broken, line, what) in [
        (
            format!("[{{\"RuleID\":\"r\",\n\"Secret\":\"{VALUE}\""),
            2,
            "the report ends in the middle",
        ),
        (format!("[{{\"RuleID\":\"r\",\"Secret\":{VALUE}}}]"), 1, "this is no JSON"),
        ("[{\"RuleID\":\n\n7}]".to_owned(), 3, "a member is missing or of the wrong type"),
    ] {
        match read(&text(broken)).unwrap_err() {
            ReportError::Broken { line: at, what: said, .. } => {
                assert_eq!((at, said), (line, what))
            }
            other => panic!("{other}"),
        }
    }
}
