//! The daemon as its operators handle it: what ends a start, what a reload takes, what a signal
//! does, and which values are taken in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use http::Method;
use rotord::api::wire::Status;
use rustix::process::Signal;

use crate::live::places::{self, Places};
use crate::support::daemon::{Daemon, Home, signal};

/// Where nobody answers.
const NOBODY: &str = "http://127.0.0.1:1";

const HELLO: &str = r#"
[secrets.hello]
kind = "webhook_hmac"
issuer = { type = "generated" }
initial = "generate"
overlap = "1s"
clock_tolerance = "0s"

[secrets.hello.targets.app]
type = "vault_kv"
role = "both"
mount = "APPS"
path = "hello"
propagation = "10ms"
retry_horizon = "0s"
retire_unattested = true
"#;

/// A config for a Vault that never answers.
fn alone(home: &Home, daemon: &str) {
    let config = format!(
        "[vault]\naddress = \"{NOBODY}\"\nauth = {{ token_file = \"token\" }}\n\n\
         [daemon]\nsocket = \"rotord.sock\"\n{daemon}\n{HELLO}"
    );
    home.put("rotord.toml", &config);
    home.put("token", "hvs.none");
}

#[tokio::test]
async fn what_the_config_names_and_is_not_there_ends_the_start_all_at_once() {
    let home = Home::new();
    home.put("ca.pem", "no certificate");
    alone(&home, "state_directory = \"made\"\nsocket_group = \"nobody-has-this-group\"");
    let text = home.read("rotord.toml").replace("[daemon]", "ca_file = \"ca.pem\"\n\n[daemon]");
    home.put("rotord.toml", &text);
    for command in ["run", "check"] {
        let ran = home.rotord(&[command]).await;
        assert_eq!(ran.exit, 78, "{ran:?}");
        assert!(ran.err.contains("rotord.toml:5: vault.ca_file:"), "{}", ran.err);
        assert!(ran.err.contains("holds no certificate in PEM"), "{}", ran.err);
        assert!(ran.err.contains("rotord.toml:10: daemon.socket_group:"), "{}", ran.err);
        assert!(ran.err.contains("2 problems in"), "{}", ran.err);
        assert!(!home.path("made").exists() && !home.path("rotord.sock").exists(), "started");
    }
}

#[tokio::test]
async fn the_state_directory_is_made_or_named_with_its_remedy() {
    let home = Home::new();
    alone(&home, "state_directory = \"deep/inside\"");
    let mut daemon = home.start().await;
    let mode = fs::metadata(home.path("deep/inside")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(daemon.terminate().await.success());
    home.put("file", "");
    alone(&home, "state_directory = \"file/inside\"");
    let ran = home.rotord(&["run"]).await;
    assert_eq!(ran.exit, 78, "{ran:?}");
    let place = "rotord.toml:7: daemon.state_directory:";
    assert!(ran.err.contains(place) && ran.err.contains("file/inside"), "{}", ran.err);
    assert!(ran.err.contains("install -d -m 0700"), "{}", ran.err);
}

#[tokio::test]
async fn before_vault_answers_everything_is_answered_and_a_signal_ends_it() {
    for ending in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        alone(&home, "state_directory = \"state\"");
        let mut daemon = home.start().await;
        let away = |status: &Status| {
            status.daemon.trouble.as_ref().is_some_and(|t| t.code == "vault_unreachable")
        };
        daemon.until("troubled", away).await;
        for (path, verb) in [("/v1/secrets/hello/rotate", "rotate"), ("/v1/reload", "reload")] {
            let (status, text) = daemon.call(Method::POST, path).await;
            assert_eq!(status, 503, "{verb}: {text}");
            assert!(text.contains("vault_unreachable") && text.contains("try again"), "{text}");
        }
        let ran = home.rotord(&["rotate", "hello"]).await;
        assert_eq!(ran.exit, 7, "{ran:?}");
        signal(daemon.id(), ending);
        assert!(daemon.ended().await.success(), "{ending:?}");
        assert!(!home.path("rotord.sock").exists(), "{ending:?}: the socket stays");
    }
}

#[tokio::test]
async fn a_start_does_not_warn_of_what_is_about_to_come() {
    let bao = places::shared().await;
    let places = Places::new(bao).await;
    let (home, mut daemon) = running(&places, "").await;
    assert!(daemon.terminate().await.success());
    let log = home.read("log");
    assert!(!log.contains(" WARN ") && !log.contains("ERROR"), "{log}");
}

/// A daemon that manages `hello`, and what else is named.
async fn running(places: &Places<'_>, rest: &str) -> (Home, Daemon) {
    let home = Home::new();
    let text = format!("{HELLO}{rest}").replace("APPS", &places.apps);
    places.configure(&home, places.bao.address().as_str(), &text).await;
    let daemon = home.start().await;
    daemon.until_done("hello", None).await;
    (home, daemon)
}

/// The same secret under another name.
fn another(name: &str) -> String {
    HELLO.replace("hello", name)
}

fn names(status: &Status) -> Vec<(&str, bool)> {
    status.secrets.iter().map(|secret| (secret.name.as_str(), secret.managed)).collect()
}

#[tokio::test]
async fn a_reload_is_taken_whole_or_refused_whole() {
    let bao = places::shared().await;
    let places = Places::new(bao).await;
    let (home, daemon) = running(&places, &another("second")).await;
    let good = home.read("rotord.toml");

    // Refused with everything that is wrong, and nothing of it is taken in.
    let bad = good.replace("overlap = \"1s\"", "overlap = \"0.5x\"")
        + &another("third").replace("APPS", &places.apps);
    home.put("rotord.toml", &bad);
    let ran = home.rotord(&["reload"]).await;
    assert_eq!(ran.exit, 2, "{ran:?}");
    let wrong = ["secrets.hello.overlap", "secrets.second.overlap", "2 problems in"];
    assert!(wrong.iter().all(|text| ran.err.contains(text)), "{}", ran.err);
    let status = daemon.until("the same as before", |_| true).await;
    assert_eq!(names(&status), [("hello", true), ("second", true)]);

    // A secret is not lost unasked.
    let end = good.find("[secrets.second]").unwrap();
    home.put("rotord.toml", &good[..end]);
    let ran = home.rotord(&["reload"]).await;
    assert!(ran.exit == 2 && ran.err.contains("second"), "{ran:?}");

    // By a signal: one is added, one is let go by name.
    let third = another("third").replace("APPS", &places.apps);
    let kept = good[..end].replace("[daemon]", "[daemon]\nallow_removal = [\"second\"]") + &third;
    home.put("rotord.toml", &kept);
    places.grant(&home).await;
    signal(daemon.id(), Signal::HUP);
    let wanted = [("hello", true), ("second", false), ("third", true)];
    daemon.until("reloaded", |status| names(status) == wanted).await;
    daemon.until_done("third", None).await;
    daemon.rotate("hello").await;
}

#[tokio::test]
async fn a_target_that_moves_is_followed_and_one_that_goes_is_asked_about() {
    let bao = places::shared().await;
    let places = Places::new(bao).await;
    let second = "\n[secrets.hello.targets.other]\ntype = \"vault_kv\"\nrole = \"both\"\n\
                  mount = \"APPS\"\npath = \"other\"\npropagation = \"10ms\"\n\
                  retry_horizon = \"0s\"\nretire_unattested = true\n";
    let (home, daemon) = running(&places, second).await;

    let moved = home.read("rotord.toml").replace("path = \"hello\"", "path = \"elsewhere\"");
    home.put("rotord.toml", &moved);
    places.grant(&home).await;
    let ran = home.rotord(&["reload"]).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.contains("1 changed"), "{ran:?}");
    daemon.rotate("hello").await;
    let read =
        bao.call(Method::GET, &format!("{}/data/elsewhere", places.apps), None).await.unwrap();
    assert_eq!(read.0, 200, "{read:?}");

    // Held, so that the rotation stays open while its target leaves.
    let hold = "/v1/secrets/hello/hold?until=1h&reason=test";
    daemon.order(hold).await;
    daemon.order("/v1/secrets/hello/rotate?reason=test").await;
    let open = |phase: &'static str| {
        move |detail: &rotord::api::wire::Detail| {
            detail.secret.summary.rotation.as_ref().is_some_and(|run| run.phase == phase)
        }
    };
    daemon.until_secret("hello", "in its overlap", open("overlap")).await;
    let end = moved.find("[secrets.hello.targets.other]").unwrap();
    home.put("rotord.toml", &moved[..end]);
    let ran = home.rotord(&["reload"]).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    let stuck = daemon
        .until_secret("hello", "asking about the target", |detail| {
            let needs = &detail.secret.summary.waiting.needs_human;
            needs.as_ref().is_some_and(|why| why.code == "target_removed")
        })
        .await;
    let remedy = stuck.secret.summary.waiting.remedy.unwrap();
    assert_eq!(remedy, "rotord resolve hello waive other");
    let lacking = &stuck.secret.outgoing[0].lacking;
    assert!(lacking.iter().any(|l| l.target == "other" && l.code == "target_removed"));

    // A second rotation is refused, and what is in its way is said.
    let ran = home.rotord(&["rotate", "hello"]).await;
    assert_eq!(ran.exit, 4, "{ran:?}");
    assert!(ran.err.contains("target_removed") && ran.err.contains("rotord status"), "{ran:?}");
    let waive: Vec<&str> = remedy.split(' ').skip(1).collect();
    assert_eq!(home.rotord(&waive).await.exit, 0);
    for says in ["the hold is released\n", "there was no hold\n"] {
        let ran = home.rotord(&["release", "hello"]).await;
        assert_eq!((ran.exit, ran.out.as_str()), (0, says), "{ran:?}");
    }
    daemon.until_done("hello", None).await;
}

#[tokio::test]
async fn a_signal_lets_what_is_under_way_come_to_its_record() {
    let bao = places::shared().await;
    let places = Places::new(bao).await;
    let (home, mut daemon) = running(&places, "").await;
    for signals in [&[Signal::TERM][..], &[Signal::TERM, Signal::TERM], &[Signal::INT]] {
        let id = daemon.order("/v1/secrets/hello/rotate?reason=test").await;
        for one in signals {
            signal(daemon.id(), *one);
        }
        assert!(daemon.ended().await.success(), "{signals:?}: {}", home.read("log"));
        assert!(!home.path("rotord.sock").exists(), "{signals:?}");
        daemon = home.start().await;
        daemon.until_done("hello", Some(&id)).await;
    }
    let log = home.read("log");
    assert_eq!(log.matches("stopped").count(), 3, "{log}");
}

#[tokio::test]
async fn values_that_are_none_are_refused_before_they_are_stored() {
    let bao = places::shared().await;
    let places = Places::new(bao).await;
    let manual = HELLO
        .replace("hello", "vendor")
        .replace("webhook_hmac", "api_key")
        .replace("clock_tolerance = \"0s\"\n", "")
        .replace("role = \"both\"", "role = \"signer\"")
        .replace("initial = \"generate\"\n", "")
        .replace("{ type = \"generated\" }", "{ type = \"manual\", instructions = \"ask them\" }");
    let (home, daemon) = running(&places, &manual).await;
    let material = format!("{}/metadata/material/vendor?list=true", places.state);
    let first: &[u8] = b"vendor-4f1d9b7a2c6e8035d1b9\n";
    let second: &[u8] = b"vendor-90ab3c5d7e1f2846a0c4\n";
    for (value, says) in [(&b""[..], "no value"), (b"\n", "no value"), (b"short\n", "")] {
        let ran = home.rotord_given(&["adopt", "vendor"], value).await;
        assert_eq!(ran.exit, 2, "{ran:?}");
        assert!(ran.err.contains(says) && !ran.err.contains("short\n"), "{ran:?}");
    }
    let (status, _) = bao.call(Method::GET, &material, None).await.unwrap();
    assert_eq!(status, 404, "something was stored");
    let ran = home.rotord_given(&["adopt", "vendor"], first).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    let ran = home.rotord_given(&["adopt", "vendor"], first).await;
    assert_eq!(ran.exit, 4, "adopted twice: {ran:?}");
    daemon.until_done("vendor", None).await;

    daemon.order("/v1/secrets/vendor/rotate?reason=test").await;
    daemon
        .until_secret("vendor", "asking for a value", |detail| {
            let needs = &detail.secret.summary.waiting.needs_human;
            needs.as_ref().is_some_and(|why| why.code == "value_needed")
        })
        .await;
    for (value, code) in [(&b""[..], "no value"), (b"short\n", ""), (first, "another version")] {
        let ran = home.rotord_given(&["provide", "vendor"], value).await;
        assert_eq!(ran.exit, 2, "{ran:?}");
        assert!(ran.err.contains(code), "{ran:?}");
    }
    let (_, kept) = bao.call(Method::GET, &material, None).await.unwrap();
    assert_eq!(kept["data"]["keys"].as_array().map(Vec::len), Some(1), "{kept}");
    let ran = home.rotord_given(&["provide", "vendor"], second).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    daemon
        .until_secret("vendor", "past its asking", |detail| {
            detail.secret.summary.waiting.needs_human.is_none()
                && detail.secret.summary.current.as_ref().is_some_and(|c| c.version == 2)
        })
        .await;
    let ran = home.rotord_given(&["provide", "vendor"], second).await;
    assert_eq!(ran.exit, 4, "nothing is asked for: {ran:?}");
}
