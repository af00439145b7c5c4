//! What a person does when something leaked: looks for it, and rotates many secrets at once. The
//! real binary on a real OpenBao.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

use crate::live::places::{self, Places};
use crate::support::daemon::{Daemon, Home, LONG, Ran};

/// A webhook key whose one document nobody acknowledges.
fn secret(name: &str, mount: &str, more: &str) -> String {
    format!(
        r#"
[secrets.{name}]
kind = "webhook_hmac"
issuer = {{ type = "generated" }}
initial = "generate"
overlap = "1s"
unsafe_overlap = true
{more}
[secrets.{name}.targets.document]
type = "vault_kv"
role = "both"
mount = "{mount}"
path = "team/{name}"
propagation = "100ms"
retry_horizon = "0s"
retire_unattested = true
"#
    )
}

/// Three secrets in use: two of a team, one of which comes after the other, and one that is not
/// theirs.
async fn three(places: &Places<'_>, home: &Home) -> Daemon {
    let config = [
        secret("pay-out", &places.apps, "tags = [\"pay\"]\npriority = 90\nafter = [\"pay-in\"]"),
        secret("pay-in", &places.apps, "tags = [\"pay\"]"),
        secret("other", &places.apps, ""),
    ];
    places.configure(home, places.bao.address().as_str(), &config.concat()).await;
    let daemon = home.start().await;
    for name in ["pay-out", "pay-in", "other"] {
        daemon.until_done(name, None).await;
    }
    daemon
}

fn lines(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn many_are_rotated_in_the_order_of_their_plan() {
    let places = Places::new(places::shared().await).await;
    let home = Home::new();
    let daemon = three(&places, &home).await;

    let asked = home.rotord(&["rotate", "--tag", "pay", "--emergency"]).await;
    assert_eq!(asked.exit, 4, "{asked:?}");
    let at = |name: &str| asked.out.find(name).unwrap();
    assert!(at("pay-in") < at("pay-out") && !asked.out.contains("other"), "{}", asked.out);
    assert!(asked.out.contains("after pay-in") && asked.out.contains("--yes"), "{}", asked.out);
    assert_eq!(places.values("pay-in").await, [1], "something was done unasked");

    let reason = ["--reason", "laptop stolen"];
    let arguments = [&["rotate", "--tag", "pay", "--emergency", "--yes"], &reason[..]].concat();
    let ran = home.rotord(&arguments).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.contains("rotate: rotated=2 waived=0 unknown=0 begun=0"), "{}", ran.out);
    for (name, versions) in [("pay-in", [2]), ("pay-out", [2]), ("other", [1])] {
        assert_eq!(places.values(name).await, versions, "{name}");
    }
    let detail = daemon.until_secret("pay-out", "closed", |_| true).await;
    let first = daemon.until_secret("pay-in", "closed", |_| true).await;
    let promoted = |detail: &rotord::api::wire::Detail| detail.secret.versions[0].promoted_at;
    assert!(promoted(&first) < promoted(&detail), "pay-out did not wait for pay-in");

    // What was begun before that moment is begun again, and what is newer is left alone.
    let since = first.secret.summary.current.unwrap().since.to_string();
    let again = [&arguments[..], &["--resume", since.as_str()]].concat();
    let ran = home.rotord(&again).await;
    assert!(ran.out.contains("rotated=2"), "{ran:?}");
    assert_eq!(places.values("pay-in").await, [2]);

    let nobody = home.rotord(&["rotate", "--match", "x*", "--emergency", "--yes"]).await;
    assert_eq!(nobody.exit, 3, "{nobody:?}");
}

#[tokio::test]
async fn what_cannot_be_rotated_is_named_and_the_command_fails() {
    let places = Places::new(places::shared().await).await;
    let home = Home::new();
    let adopted = secret("adopted", &places.apps, "").replace("\"generate\"", "\"adopt\"");
    let config = secret("pay-in", &places.apps, "") + &adopted;
    places.configure(&home, places.bao.address().as_str(), &config).await;
    let daemon = home.start().await;
    daemon.until_done("pay-in", None).await;

    let ran = home.rotord(&["rotate", "--all", "--emergency", "--yes"]).await;
    assert_eq!(ran.exit, 5, "{ran:?}");
    assert!(ran.out.contains("rotated=1 waived=0 unknown=1"), "{}", ran.out);
    assert!(ran.out.contains("adopted  unknown: adopted has no record yet"), "{}", ran.out);
    assert!(ran.out.contains("--resume 20"), "{}", ran.out);
}

#[tokio::test]
async fn a_scan_finds_live_values_however_they_are_written() {
    let places = Places::new(places::shared().await).await;
    let home = Home::new();
    let _daemon = three(&places, &home).await;
    let (mine, other) = (places.value("pay-in", 1).await.unwrap(), places.value("other", 1).await);
    let url: String =
        percent_encoding::utf8_percent_encode(&mine, percent_encoding::NON_ALPHANUMERIC)
            .to_string();
    std::fs::create_dir_all(home.path("tree/deep")).unwrap();
    home.put("tree/a.env", &format!("# config\nKEY={mine}\n"));
    home.put("tree/deep/b.log", &format!("GET /?key={url} 200\n\nx {}", other.unwrap()));
    home.put("tree/c.txt", &format!("KEY={}", &mine[..mine.len() - 1]));

    let tree = home.path("tree").display().to_string();
    let ran = home.rotord(&["scan", "--json", "--fail-on-match", &tree]).await;
    assert_eq!(ran.exit, 10, "{ran:?}");
    assert!(!ran.out.contains(&mine));
    let mut found: Vec<String> = lines(&ran)
        .iter()
        .filter(|line| line["path"].is_string())
        .map(|line| {
            let path = line["path"].as_str().unwrap().strip_prefix(&tree).unwrap();
            let place = format!("{path}:{}:{}", line["line"], line["column"]);
            let [secret, stage, written] = ["secret", "stage", "written"].map(|key| &line[key]);
            format!("{place} {secret} {} {stage} {written}", line["version"])
        })
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            r#"/a.env:2:5 "pay-in" 1 "current" "plain""#,
            r#"/deep/b.log:1:11 "pay-in" 1 "current" "url""#,
            r#"/deep/b.log:3:3 "other" 1 "current" "plain""#,
        ]
    );
    assert_eq!(lines(&ran).last().unwrap()["total"]["found"], 3);

    let none = home.rotord_given(&["scan", "-"], b"nothing of ours in here").await;
    assert_eq!(none.exit, 0, "{none:?}");
    assert!(none.out.contains("found=0"), "{}", none.out);
    let missing = home.rotord(&["scan", "/no/such/file"]).await;
    assert_eq!(missing.exit, 1, "{missing:?}");
}

#[tokio::test]
async fn a_line_of_a_stream_is_acted_on_while_the_stream_goes_on() {
    let places = Places::new(places::shared().await).await;
    let home = Home::new();
    let _daemon = three(&places, &home).await;
    let mut command = home.command(&["scan", "--act", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut scan = command.spawn().unwrap();
    let mut stream = scan.stdin.take().unwrap();
    let mut said = BufReader::new(scan.stdout.take().unwrap()).lines();
    let mut value = places.value("other", 1).await.unwrap();
    value.push('\n');
    stream.write_all(value.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while text.len() < 2 {
        let line = timeout(LONG, said.next_line()).await;
        text.push(line.unwrap_or_else(|_| panic!("nothing after {text:?}")).unwrap().unwrap());
    }
    assert_eq!(text[0], "-:1:1  other v1 (current)");
    assert!(text[1].contains("[incident ") && text[1].contains("rotation "), "{text:?}");
    drop(stream);
    let end = timeout(LONG, said.next_line()).await.unwrap().unwrap().unwrap();
    assert!(end.contains("found=1") && end.contains("not_acted=0"), "{end}");
    assert!(timeout(LONG, scan.wait()).await.unwrap().unwrap().success());
}
