//! The command line as a person meets it: the real binary, talking to an engine that the test
//! plays. What it prints is kept in `tests/golden/cli/`.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use rotord::engine::command::{Actor, Done, Refusal, RefusalKind};
use rotord::engine::snapshot::{Alarm, SecretView, Snapshot};
use rotord::http::peer::PeerPolicy;
use rotord::model::failure::{Class, Failure};
use rotord::model::id::{InstanceId, RotationId, VersionId};
use rotord::model::reason::Reason;
use rotord::model::target::Level;
use rotord::model::time::Span;
use rotord::model::version::Stage;
use rotord::rotation::phase::{Outcome, Phase, Staging, UnwindReason};
use rotord::store::record::Past;
use rotord::vault::auth::Status as Login;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::bao::Bao;
use crate::support::fake_engine::{Fake, Setup};
use crate::support::{golden, picture};

/// Longer than anything here takes; only a failure waits for it.
const LONG: Duration = Duration::from_secs(30);

/// Bytes that must not come out anywhere.
const CANARY: &str = "canary-6b1f0c9d-do-not-print";

fn rotord(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rotord"));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The command with the fake's socket, run to its end.
async fn run(fake: &Fake, arguments: &[&str]) -> Ran {
    let mut command = rotord(arguments);
    command.arg("--socket").arg(&fake.socket);
    ran(command.output()).await
}

/// The same with something on standard input.
async fn run_with_input(fake: &Fake, arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = rotord(arguments);
    command.arg("--socket").arg(&fake.socket);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).await.unwrap();
    drop(stdin);
    ran(child.wait_with_output()).await
}

async fn ran(output: impl Future<Output = std::io::Result<Output>>) -> Ran {
    let output = tokio::time::timeout(LONG, output).await.expect("it does not end").unwrap();
    Ran {
        exit: output.status.code().expect("it ended by itself"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// What a command left behind.
#[derive(Debug)]
struct Ran {
    exit: i32,
    out: String,
    err: String,
}

#[tokio::test]
async fn what_status_and_plan_print() {
    let fake = Fake::start().await;
    for (arguments, file) in [
        (&["status"][..], "cli/status.txt"),
        (&["status", "billing-webhook"], "cli/status-overlap.txt"),
        (&["status", "stripe-key"], "cli/status-needs-human.txt"),
        (&["status", "mail-key"], "cli/status-emergency.txt"),
        (&["status", "fresh-webhook"], "cli/status-fresh.txt"),
        (&["plan"], "cli/plan.txt"),
    ] {
        let ran = run(&fake, arguments).await;
        assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{arguments:?}");
        golden::check(file, &ran.out);
    }
}

#[tokio::test]
async fn the_tables_fit_into_80_columns() {
    let fake = Fake::start().await;
    for arguments in [&["status"][..], &["plan"]] {
        let ran = run(&fake, arguments).await;
        let widest = ran.out.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(widest.chars().count() <= 80, "{arguments:?}: {widest}");
    }
}

#[tokio::test]
async fn a_daemon_that_cannot_act_says_so_first() {
    let mut snapshot = picture::snapshot();
    snapshot.health.epoch = None;
    snapshot.health.lease_until = None;
    snapshot.health.leader.as_mut().unwrap().instance = InstanceId("rotord-2".into());
    snapshot.health.loaded = false;
    snapshot.health.turned_at = picture::NOW - Span::from_secs(95);
    snapshot.health.trouble = Some((Reason::VaultSealed, picture::NOW - Span::from_secs(120)));
    snapshot.secrets = Arc::default();
    let failure = Failure { class: Class::Transient, reason: Reason::VaultSealed };
    let since = picture::NOW - Span::from_secs(110);
    let expires_at = Some(picture::NOW + Span::from_secs(3000));
    let login = Login::Failing { since, failure, expires_at };
    let fake = Fake::start_with(Setup { snapshot, login, ..Setup::default() }).await;
    let ran = run(&fake, &["status"]).await;
    assert_eq!(ran.exit, 0);
    golden::check("cli/status-trouble.txt", &ran.out);
    let ran = run(&fake, &["plan"]).await;
    assert!(ran.out.contains("vault_sealed since"), "{ran:?}");
}

#[tokio::test]
async fn a_leader_says_how_long_it_waits_and_for_how_long_it_leads() {
    let mut snapshot = picture::snapshot();
    snapshot.health.destructive_from = Some(picture::NOW + Span::from_secs(22));
    snapshot.secrets = Arc::default();
    let fake = Fake::start_with(Setup { snapshot: snapshot.clone(), ..Setup::default() }).await;
    let ran = run(&fake, &["status"]).await;
    assert!(
        ran.out.contains(
            "nothing is retired or revoked before 12:00:22Z (in 22s):\n  effects of the leader \
             before may still be on their way\n"
        ),
        "{}",
        ran.out
    );
    snapshot.health.trouble = Some((Reason::VaultDenied, picture::NOW));
    fake.show(snapshot);
    let ran = run(&fake, &["status"]).await;
    assert!(ran.out.contains("  the lease is ours until 12:00:11Z (in 11s)\n"), "{}", ran.out);
}

#[tokio::test]
async fn an_alarm_says_since_when_it_stands_and_what_to_do_and_is_signed_off_with_a_reason() {
    let since = picture::NOW - Span::from_secs(3_700);
    let text = "the chain broke (cut at audit.jsonl, line 3)".to_owned();
    let alarms = vec![Alarm { reason: Reason::AuditBroken, since, text }];
    let mut snapshot = picture::snapshot();
    snapshot.secrets = Arc::default();
    let fake = Fake::start_with(Setup { snapshot, alarms, ..Setup::default() }).await;
    let ran = run(&fake, &["status"]).await;
    golden::check("cli/status-alarm.txt", &ran.out);
    let ran = run(&fake, &["audit", "acknowledge", "--reason", "restored, ticket 4711"]).await;
    assert_eq!((ran.exit, ran.out.contains("1 break")), (0, true), "{}", ran.err);
    let asked = fake.asked();
    assert_eq!(asked[0].command, r#"Acknowledge { reason: "restored, ticket 4711" }"#);
}

#[tokio::test]
async fn json_is_the_apis_answer() {
    let fake = Fake::start().await;
    for (arguments, field) in [
        (&["status", "--json"][..], "/secrets/0/name"),
        (&["status", "mail-key", "--json"], "/secret/versions/0/version"),
        (&["plan", "--json"], "/secrets/0/next_runs/4"),
    ] {
        let ran = run(&fake, arguments).await;
        let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert!(json.pointer(field).is_some(), "{arguments:?}: {json}");
    }
}

#[tokio::test]
async fn every_command_asks_for_what_its_arguments_say() {
    let fake = Fake::start().await;
    for (arguments, command) in [
        (&["rotate", "a"][..], r#"Rotate { name: a, emergency: false, reason: "" }"#),
        (
            &["rotate", "a", "--emergency", "--reason", "in a log & a mail"],
            r#"Rotate { name: a, emergency: true, reason: "in a log & a mail" }"#,
        ),
        (&["release", "a"], "Release { name: a }"),
        (&["resolve", "a", "retry"], "Resolve { name: a, how: Retry }"),
        (&["resolve", "a", "abandon"], "Resolve { name: a, how: Abandon }"),
        (&["resolve", "a", "supersede"], "Resolve { name: a, how: Supersede }"),
        (&["resolve", "a", "waive", "t"], "Resolve { name: a, how: Waive(t) }"),
        (&["resolve", "a", "accept-key", "K/1"], "Resolve { name: a, how: AcceptKey(K/1) }"),
        (&["reload"], "Reload"),
    ] {
        let ran = run(&fake, arguments).await;
        assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{arguments:?}");
        assert_eq!(fake.asked().remove(0).command, command);
    }
    let hold = ["hold", "a", "--until", "2026-12-01", "--reason", "freeze", "--routine-only"];
    assert_eq!(run(&fake, &hold).await.exit, 0);
    let asked = fake.asked().remove(0).command;
    assert!(asked.contains("until: 2026-12-01T00:00:00.000Z, routine_only: true"), "{asked}");
}

#[tokio::test]
async fn a_value_goes_to_the_daemon_and_nowhere_else() {
    let fake = Fake::start().await;
    let line = format!("{CANARY}\n");
    for (arguments, value) in [
        (&["adopt", "a"][..], CANARY),
        (&["adopt", "a", "--key-id", "K1", "--exact"], &line),
        (&["provide", "a", "--key-id", "K1"], CANARY),
    ] {
        let ran = run_with_input(&fake, arguments, line.as_bytes()).await;
        assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{arguments:?}");
        assert!(!format!("{ran:?}").contains(CANARY), "{ran:?}");
        let asked = fake.asked().remove(0);
        assert_eq!(asked.value.as_deref(), Some(value.as_bytes()), "{arguments:?}");
        assert!(!asked.command.contains(CANARY));
    }
}

#[tokio::test]
async fn a_value_that_is_refused_is_not_printed_either() {
    let fake = Fake::answering(|_| Err(refusal(RefusalKind::Invalid, Reason::WeakValue))).await;
    let large = CANARY.repeat(4000);
    for (arguments, input) in
        [(&["adopt", "a"][..], CANARY), (&["provide", "a"], CANARY), (&["adopt", "a"], &large)]
    {
        let ran = run_with_input(&fake, arguments, input.as_bytes()).await;
        assert_eq!(ran.exit, 2, "{ran:?}");
        assert!(!ran.err.is_empty() && !format!("{ran:?}").contains("canary"), "{ran:?}");
    }
    let nothing = run_with_input(&fake, &["adopt", "a"], b"").await;
    assert_eq!(nothing.exit, 2);
    assert!(nothing.err.contains("standard input"), "{}", nothing.err);
    let on_the_line = run(&fake, &["adopt", "a", CANARY]).await;
    assert_eq!(on_the_line.exit, 2, "a value in the arguments was taken");
}

fn refusal(kind: RefusalKind, reason: Reason) -> Refusal {
    let possible_at = Some(picture::NOW + Span::from_secs(3600));
    Refusal { kind, reason, possible_at, text: "this is in the way".into() }
}

#[tokio::test]
async fn every_refusal_has_its_exit_code() {
    for (kind, exit) in [
        (RefusalKind::NotFound, 3),
        (RefusalKind::Conflict, 4),
        (RefusalKind::Invalid, 2),
        (RefusalKind::Unavailable, 7),
    ] {
        let fake = Fake::answering(move |_| Err(refusal(kind, Reason::RotationOpen))).await;
        let ran = run(&fake, &["rotate", "mail-key"]).await;
        assert_eq!(ran.exit, exit, "{ran:?}");
        assert_eq!(ran.out, "");
        let text =
            "rotord: this is in the way (possible from 2026-11-22 13:00:00Z at the earliest)\n";
        assert_eq!(ran.err, text);
    }
}

#[tokio::test]
async fn a_secret_that_does_not_exist_is_told_from_a_name_that_is_none() {
    let fake = Fake::start().await;
    let unknown = run(&fake, &["status", "stripe-kye"]).await;
    assert_eq!(unknown.exit, 3);
    assert!(unknown.err.contains("did you mean stripe-key?"), "{}", unknown.err);
    let no_name = run(&fake, &["status", "../etc"]).await;
    assert_eq!(no_name.exit, 2, "{no_name:?}");
}

#[tokio::test]
async fn a_stranger_is_denied() {
    let policy = PeerPolicy::default();
    let fake = Fake::start_with(Setup { policy, ..Setup::default() }).await;
    let ran = run(&fake, &["status"]).await;
    assert_eq!(ran.exit, 8, "{ran:?}");
    assert!(ran.err.contains("may not command rotord"), "{}", ran.err);
}

#[tokio::test]
async fn a_daemon_that_sees_no_user_numbers_is_told_the_name() {
    let me = PeerPolicy::of_this_process(None).unwrap().users[1];
    let policy = PeerPolicy { unmapped: Some(me), ..PeerPolicy::default() };
    let fake = Fake::start_with(Setup { policy, ..Setup::default() }).await;
    let ran = run(&fake, &["rotate", "stripe-key"]).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    let user = nix::unistd::User::from_uid(me.into()).unwrap().expect("whoever runs tests");
    assert_eq!(fake.asked()[0].actor, Actor(format!("unmapped (says {})", user.name)));
}

#[tokio::test]
async fn without_a_daemon_every_command_says_so() {
    let mut fake = Fake::start().await;
    fake.stop().await;
    for arguments in [
        &["status"][..],
        &["status", "a", "--watch"],
        &["plan"],
        &["rotate", "a", "--wait"],
        &["release", "a"],
        &["reload"],
    ] {
        let ran = run(&fake, arguments).await;
        assert_eq!(ran.exit, 6, "{arguments:?}: {ran:?}");
        assert!(ran.err.contains("no daemon answers at"), "{}", ran.err);
        assert!(ran.err.contains(fake.socket.to_str().unwrap()), "{}", ran.err);
    }
}

#[tokio::test]
async fn every_help_page_has_an_example() {
    let mut pages = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = pages.pop() {
        let mut arguments = path.clone();
        arguments.push("--help".to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = ran(rotord(&arguments).output()).await;
        assert_eq!(ran.exit, 0, "{arguments:?}");
        assert!(ran.out.contains("Example"), "{arguments:?} has no example:\n{}", ran.out);
        seen += 1;
        pages.extend(commands(&ran.out).map(|name| [path.clone(), vec![name]].concat()));
    }
    let below = 5 + 3 + 6;
    assert_eq!(
        seen,
        1 + 16 + below,
        "the program, its commands, those of resolve, audit, incident"
    );
}

/// The names under `Commands:` in a help page.
fn commands(page: &str) -> impl Iterator<Item = String> {
    let lines = page.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
}

#[tokio::test]
async fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = ran(rotord(&["completions", shell]).output()).await;
        assert_eq!(ran.exit, 0);
        assert!(ran.out.contains("rotate") && ran.out.contains("emergency"), "{shell}");
    }
}

#[tokio::test]
async fn arguments_that_make_no_sense_are_a_usage_error() {
    for arguments in [
        &["rotte", "a"][..],
        &["rotate"],
        &["rotate", "a", "--wait=soon"],
        &["hold", "a", "--reason", "x"],
        &["resolve", "a", "waive"],
    ] {
        let ran = ran(rotord(arguments).output()).await;
        assert_eq!((ran.exit, ran.out.as_str()), (2, ""), "{arguments:?}");
        assert!(!ran.err.is_empty());
    }
}

/// A command that goes on, read line by line.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    text: String,
}

impl Running {
    fn start(fake: &Fake, arguments: &[&str]) -> Running {
        let mut command = rotord(arguments);
        command.arg("--socket").arg(&fake.socket).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines, text: String::new() }
    }

    /// Reads on until a line contains this.
    async fn until(&mut self, what: &str) {
        let mut found = false;
        while !found {
            let line = tokio::time::timeout(LONG, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no {what:?} after\n{}", self.text));
            let line = line.unwrap().unwrap_or_else(|| panic!("no {what:?} in\n{}", self.text));
            found = line.contains(what);
            self.text.push_str(&(line + "\n"));
        }
    }

    /// Reads to the end: everything printed, and the exit code.
    async fn end(mut self) -> (String, i32) {
        while let Some(line) =
            tokio::time::timeout(LONG, self.lines.next_line()).await.unwrap().unwrap()
        {
            self.text.push_str(&(line + "\n"));
        }
        let ended = tokio::time::timeout(LONG, self.child.wait()).await.unwrap().unwrap();
        (self.text, ended.code().unwrap())
    }
}

const RUN: &str = "20261122T120000Z-manual";

/// A fake whose `rotate` opens [`RUN`], and shows it in this phase.
async fn rotating(phase: Phase) -> Fake {
    let snapshot = picture::with(picture::emergency(RUN, phase, None), Span(1));
    let answers = Box::new(|_: &_| {
        let rotation = Some(RotationId(RUN.into()));
        Ok(Done { rotation, text: format!("rotation {RUN} of mail-key is open") })
    });
    Fake::start_with(Setup { snapshot, answers, ..Setup::default() }).await
}

fn staging() -> Phase {
    Phase::Stage { version: VersionId(5), step: Staging::Make }
}

fn switching() -> Phase {
    Phase::Switch { current: VersionId(5) }
}

fn closed(outcome: Outcome) -> Phase {
    Phase::Closed { outcome, at: picture::NOW }
}

#[tokio::test]
async fn waiting_shows_phases_and_targets_as_they_come() {
    let fake = rotating(staging()).await;
    let mut running = Running::start(&fake, &["rotate", "mail-key", "--emergency", "--wait"]);
    running.until("stage").await;
    fake.show(picture::with(picture::emergency(RUN, switching(), None), Span(2)));
    running.until("switch").await;
    let arrived = picture::emergency(RUN, switching(), Some(Level::Acknowledged));
    fake.show(picture::with(arrived, Span(3)));
    running.until("acknowledged").await;
    let done = picture::emergency(RUN, closed(Outcome::Done), Some(Level::Acknowledged));
    fake.show(picture::with(done, Span(4)));
    let (text, exit) = running.end().await;
    assert_eq!(exit, 0, "{text}");
    golden::check("cli/rotate-wait.txt", &text);
}

#[tokio::test]
async fn waiting_ends_where_it_was_told_to() {
    let overlap = Phase::Overlap { current: VersionId(5), switched_at: picture::NOW };
    let fake = rotating(overlap).await;
    let ran = run(&fake, &["rotate", "mail-key", "--wait=switched"]).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.contains("every target uses the new version"), "{}", ran.out);
}

#[tokio::test]
async fn waiting_ends_when_the_rotation_ends_otherwise() {
    let unwound = Outcome::Unwound { reason: UnwindReason::ProbeRefused, possible_orphan: true };
    let fake = rotating(closed(unwound)).await;
    let ran = run(&fake, &["rotate", "mail-key", "--wait"]).await;
    assert_eq!(ran.exit, 1, "{ran:?}");
    assert!(ran.out.contains("may be left at the issuer"), "{}", ran.out);
}

#[tokio::test]
async fn waiting_ends_when_another_rotation_takes_over() {
    let fake = rotating(staging()).await;
    let mut next = picture::emergency("20261122T120500Z-alert", switching(), None);
    let past = Past {
        id: RotationId(RUN.into()),
        trigger: next.rotation.as_ref().unwrap().trigger.clone(),
        opened_at: picture::NOW,
        closed_at: picture::NOW,
        outcome: None,
        forced: Vec::new(),
    };
    next.history = Arc::new(vec![past]);
    fake.show(picture::with(next, Span(2)));
    let ran = run(&fake, &["rotate", "mail-key", "--wait"]).await;
    assert_eq!(ran.exit, 1, "{ran:?}");
    assert!(ran.out.contains("superseded by rotation 20261122T120500Z-alert"), "{}", ran.out);
}

#[tokio::test]
async fn waiting_ends_when_a_person_is_needed() {
    let fake = rotating(staging()).await;
    let mut stuck = picture::emergency(RUN, staging(), None);
    stuck.waiting.needs_human = Some(Reason::IssuerFull);
    stuck.waiting.remedy = Some("rotord resolve mail-key retry".into());
    fake.show(picture::with(stuck, Span(2)));
    let ran = run(&fake, &["rotate", "mail-key", "--wait"]).await;
    assert_eq!(ran.exit, 5, "{ran:?}");
    assert!(ran.out.contains("issuer_full"), "{}", ran.out);
    assert!(ran.out.contains("try: rotord resolve mail-key retry"), "{}", ran.out);
}

#[tokio::test]
async fn watching_prints_again_when_something_changes() {
    let fake = Fake::start().await;
    let mut running = Running::start(&fake, &["status", "mail-key", "--watch"]);
    running.until("phase      switch").await;
    let done = picture::emergency(RUN, closed(Outcome::Done), None);
    fake.show(picture::with(done, Span(1)));
    running.until("phase      idle").await;
    running.child.kill().await.unwrap();
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let fake = Fake::start().await;
    let mut command = rotord(&["status", "--json", "--socket"]);
    command.arg(&fake.socket).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let ran = ran(child.wait_with_output()).await;
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""));
}

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/cli/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What a check printed, with the fixture called by its bare name.
async fn check(arguments: &[&str], name: &str) -> Ran {
    let path = fixture(name);
    let mut ran = ran(rotord(&[arguments, &["--config", &path]].concat()).output()).await;
    ran.out = ran.out.replace(&path, name);
    ran.err = ran.err.replace(&path, name);
    ran
}

#[tokio::test]
async fn a_good_config_is_fine_and_shows_what_is_dangerous() {
    let ran = check(&["check"], "good.toml").await;
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{ran:?}");
    golden::check("cli/check-good.txt", &ran.out);
}

#[tokio::test]
async fn a_bad_config_is_told_everything_at_once() {
    for command in ["check", "run"] {
        let ran = check(&[command], "bad.toml").await;
        assert_eq!((ran.exit, ran.out.as_str()), (78, ""), "{command}");
        golden::check("cli/check-bad.txt", &ran.err);
        let ran = check(&[command], "none.toml").await;
        assert_eq!(ran.exit, 78, "{command}: {ran:?}");
        assert!(ran.err.contains("cannot be read"), "{}", ran.err);
    }
}

#[tokio::test]
async fn the_policy_is_what_the_config_needs() {
    let ran = check(&["check", "--policy"], "good.toml").await;
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{ran:?}");
    golden::check("cli/check-policy.txt", &ran.out);
}

#[tokio::test]
async fn the_socket_is_the_configs_unless_told_otherwise() {
    let path = fixture("good.toml");
    let ran = ran(rotord(&["status", "--config", &path]).output()).await;
    assert_eq!(ran.exit, 6, "{ran:?}");
    assert!(ran.err.contains("rotord.sock") && !ran.err.contains("/run/"), "{}", ran.err);
}

/// A config for this server, with a token that may do what the policy says.
async fn with_policy(bao: &Bao, dir: &TempDir, name: &str, policy: &str) -> String {
    let body = json!({"policy": policy});
    bao.ok(Method::PUT, &format!("sys/policies/acl/{name}"), Some(body)).await;
    let body = json!({"policies": [name], "no_default_policy": true});
    let made = bao.ok(Method::POST, "auth/token/create", Some(body)).await;
    config_for(bao.address().as_str(), dir, made["auth"]["client_token"].as_str().unwrap())
}

fn config_for(address: &str, dir: &TempDir, token: &str) -> String {
    let file = dir.path().join("token");
    std::fs::write(&file, token).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = std::fs::read_to_string(fixture("good.toml")).unwrap();
    let config = config
        .replace("http://127.0.0.1:8200", address)
        .replace("token_credential = \"vault-token\"", "token_file = \"token\"");
    let path = dir.path().join("rotord.toml");
    std::fs::write(&path, config).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn online(config: &str) -> Ran {
    ran(rotord(&["check", "--online", "--config", config]).output()).await
}

#[tokio::test]
async fn online_the_printed_policy_is_enough_and_less_is_not() {
    let bao = Bao::shared().await;
    let dir = TempDir::new().unwrap();
    let config = config_for(bao.address().as_str(), &dir, "none yet");
    let policy = ran(rotord(&["check", "--policy", "--config", &config]).output()).await.out;

    let config = with_policy(bao, &dir, "cli-enough", &policy).await;
    let enough = online(&config).await;
    assert_eq!((enough.exit, enough.err.as_str()), (0, ""), "{enough:?}");
    assert!(enough.out.contains("may do what this config needs"), "{}", enough.out);

    let less = policy.replace("\"delete\", ", "").replace("kv/destroy", "kv/elsewhere");
    assert_ne!(less, policy);
    let config = with_policy(bao, &dir, "cli-less", &less).await;
    let lacking = online(&config).await;
    assert_eq!(lacking.exit, 8, "{lacking:?}");
    assert!(lacking.err.contains("lacks something at 3 of"), "{}", lacking.err);
    let (_, shown) = lacking.out.split_once("is accepted\n").unwrap();
    golden::check("cli/check-online.txt", shown);
}

#[tokio::test]
async fn online_a_vault_that_is_away_is_told_from_one_that_refuses() {
    let bao = Bao::shared().await;
    let dir = TempDir::new().unwrap();
    let refused = online(&config_for(bao.address().as_str(), &dir, "no-such-token")).await;
    assert_eq!(refused.exit, 8, "{refused:?}");
    assert!(!format!("{refused:?}").contains("no-such-token"), "{refused:?}");
    let empty = online(&config_for(bao.address().as_str(), &dir, "")).await;
    assert_eq!(empty.exit, 78, "{empty:?}");
    // Nobody listens on the port of a listener that was closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away = format!("http://127.0.0.1:{port}");
    let away = online(&config_for(&away, &dir, "no-such-token")).await;
    assert_eq!(away.exit, 7, "{away:?}");
}

#[tokio::test]
async fn what_incident_prints() {
    let fake = Fake::start().await;
    for (arguments, file) in [
        (&["incident", "list"][..], "cli/incident-list.txt"),
        (&["incident", "show", picture::ACTING], "cli/incident-show.txt"),
    ] {
        let ran = run(&fake, arguments).await;
        assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{arguments:?}");
        golden::check(file, &ran.out);
    }
    let ran = run(&fake, &["incident", "report", picture::ACTING]).await;
    assert!(ran.out.starts_with("# v8 of `mail-key` leaked\n"), "{}", ran.out);
    let ran = run(&fake, &["incident", "list", "--json"]).await;
    let list: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(list["incidents"][0]["id"], picture::ACTING);
}

#[tokio::test]
async fn what_people_decide_about_an_incident_reaches_the_desk() {
    let fake = Fake::start().await;
    let id = picture::WAITING;
    for (arguments, wish) in [
        (&["approve", id, "--reason", "ours"][..], "Approve"),
        (&["waive", id, "worker", "--reason", "off"], "Waive(worker)"),
        (&["close", id, "--reason", "a test"], "Close"),
    ] {
        let ran = run(&fake, &[&["incident"], arguments].concat()).await;
        assert_eq!((ran.exit, ran.out.as_str()), (0, "it is done\n"), "{ran:?}");
        let asked = fake.asked();
        assert!(asked[0].command.starts_with(&format!("{wish} {id}")), "{asked:?}");
        assert!(asked[0].actor.0.starts_with("uid:"), "{asked:?}");
    }
    let unknown = run(&fake, &["incident", "show", "20200101T000000Z-00000000"]).await;
    assert_eq!(unknown.exit, 3, "{unknown:?}");
    let wrong = run(&fake, &["incident", "show", "../lease"]).await;
    assert_ne!(wrong.exit, 0, "{wrong:?}");
    let mute = run(&fake, &["incident", "approve", id, "--reason", " "]).await;
    assert_eq!(mute.exit, 2, "a reason is needed: {mute:?}");
    assert_eq!(fake.asked().len(), 0);
}

/// These secrets and no others.
fn only(secrets: Vec<SecretView>, later: Span) -> Snapshot {
    let mut snapshot = picture::snapshot();
    snapshot.at = picture::NOW + later;
    let named = secrets.into_iter().map(|secret| (secret.name.clone(), Arc::new(secret)));
    snapshot.secrets = Arc::new(named.collect());
    snapshot
}

/// A secret whose emergency rotation `NAME-run` is in this phase.
fn running(name: &str, phase: Phase) -> SecretView {
    let mut view = picture::emergency(&format!("{name}-run"), phase, None);
    view.name = name.parse().unwrap();
    view
}

/// A fake that begins `NAME-run` when it is told to rotate NAME.
async fn rotating_many(secrets: Vec<SecretView>) -> Fake {
    let answers = Box::new(|command: &rotord::engine::command::Command| {
        let rotation = Some(RotationId(format!("{}-run", command.secret())));
        Ok(Done { rotation, text: "it is done".into() })
    });
    let snapshot = only(secrets, Span(1));
    Fake::start_with(Setup { snapshot, answers, ..Setup::default() }).await
}

fn overlap() -> Phase {
    Phase::Overlap { current: VersionId(5), switched_at: picture::NOW }
}

const MANY: [&str; 5] = ["rotate", "--all", "--emergency", "--yes", "--wait"];

#[tokio::test]
async fn of_many_each_waits_for_those_it_comes_after_and_for_nobody_else() {
    let mut after = running("after", closed(Outcome::Done));
    after.planning.as_mut().unwrap().after = vec!["quick".parse().unwrap()];
    let fake = rotating_many(vec![
        running("slow", switching()),
        running("quick", switching()),
        after.clone(),
    ])
    .await;
    let mut ran = Running::start(&fake, &MANY);
    ran.until("rotated 0 of 3").await;
    let asked: Vec<String> = fake.asked().into_iter().map(|asked| asked.command).collect();
    assert!(!asked.iter().any(|command| command.contains("name: after")), "{asked:?}");
    // The other one of the first wave is still switching.
    let quick = running("quick", overlap());
    fake.show(only(vec![running("slow", switching()), quick, after.clone()], Span(2)));
    ran.until("rotated 1 of 3").await;
    let done = ["slow", "quick"].map(|name| running(name, closed(Outcome::Done)));
    fake.show(only([done.to_vec(), vec![after]].concat(), Span(3)));
    let (text, exit) = ran.end().await;
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains("rotate: rotated=3 waived=0 unknown=0 begun=0 in_use=0"), "{text}");
}

#[tokio::test]
async fn a_run_that_is_taken_up_is_not_done_while_an_old_version_is_accepted() {
    let fake = rotating_many(vec![running("a", overlap())]).await;
    let since = ["--resume", "2026-11-22T11:30:00Z"];
    let peek = ["rotate", "--all", "--emergency", "--yes", "--no-wait"];
    let ran = run(&fake, &[&peek[..], &since].concat()).await;
    assert_eq!(ran.exit, 9, "{ran:?}");
    assert!(ran.out.contains("a  begun: rotation a-run, the old version is not gone"), "{ran:?}");
    assert!(ran.out.contains("rotated=0 waived=0 unknown=0 begun=1"), "{}", ran.out);

    let mut watched = Running::start(&fake, &[&MANY[..], &since].concat());
    watched.until("rotated 0 of 1").await;
    let mut done = running("a", closed(Outcome::Done));
    let mut rotation = (**done.rotation.as_ref().unwrap()).clone();
    rotation.versions.get_mut(&VersionId(4)).unwrap().stage = Stage::Revoked;
    done.rotation = Some(Arc::new(rotation));
    fake.show(only(vec![done], Span(2)));
    let (text, exit) = watched.end().await;
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains("rotate: rotated=1"), "{text}");
    assert_eq!(fake.asked().len(), 0, "it was rotated again");
    let again = run(&fake, &[&peek[..], &since].concat()).await;
    assert_eq!((again.exit, fake.asked().len()), (0, 0), "{again:?}");
}

#[tokio::test]
async fn what_was_not_begun_since_then_is_begun() {
    let fake = rotating_many(vec![running("a", closed(Outcome::Done))]).await;
    let newer = ["--resume", "2026-11-22T11:59:00Z"];
    let ran = run(&fake, &[&MANY[..], &newer].concat()).await;
    assert_eq!((ran.exit, fake.asked().len()), (0, 1), "older than that moment: {ran:?}");
    // Its rotation is over, and the version before still lives.
    let older = ["--resume", "2026-11-22T11:30:00Z"];
    let ran = run(&fake, &[&MANY[..], &older].concat()).await;
    assert_eq!((ran.exit, fake.asked().len()), (0, 1), "{ran:?}");
}

#[tokio::test]
async fn who_only_waits_for_the_switch_is_told_that_the_old_version_is_not_gone() {
    let fake = rotating_many(vec![running("a", overlap())]).await;
    let ran = run(&fake, &["rotate", "--all", "--emergency", "--yes", "--wait=switched"]).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.contains("rotated=0 waived=0 unknown=0 begun=0 in_use=1"), "{}", ran.out);
}

#[tokio::test]
async fn of_many_reports_none_is_handed_in_if_one_is_none() {
    let fake = Fake::start().await;
    let dir = TempDir::new().unwrap();
    let good = dir.path().join("good.json");
    let value = "rk_live_0123456789abcdefghij";
    let found = json!([{"RuleID": "a", "Secret": value, "File": "a.env", "StartLine": 1}]);
    std::fs::write(&good, found.to_string()).unwrap();
    let good = good.to_str().unwrap();
    let ran = run(&fake, &["alert", good]).await;
    assert!(ran.exit == 0 && ran.out.contains("findings=1"), "{ran:?}");
    let ran = run(&fake, &["alert", good, "/no/such/report"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (2, ""), "{ran:?}");
}
