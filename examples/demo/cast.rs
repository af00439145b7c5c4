//! Who plays: the programs of the demo, how each is started, and who is told what.
//!
//! Decides the set-up that somebody who introduces rotord would go through by hand, in that order.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Client;

use crate::Fallible;
use crate::openbao::{ACKNOWLEDGEMENT, APPS, DOCUMENT, OpenBao};
use crate::processes::{House, free_port, sibling};
use crate::scanner::Scanner;
use crate::screen::Screen;

/// The config, with names in double braces for what is known only now.
const CONFIG: &str = include_str!("../../config/demo.toml");

/// The policy and the role that rotord logs in with.
const ROLE: &str = "rotord";

/// Everybody, and where they are.
pub(crate) struct Cast {
    pub(crate) bao: OpenBao,
    pub(crate) sender: String,
    pub(crate) receivers: [String; 2],
    pub(crate) key_service: String,
    pub(crate) scanner: Scanner,
    pub(crate) rotord: Rotord,
}

/// The binary of rotord and its config.
pub(crate) struct Rotord {
    binary: PathBuf,
    config: String,
}

impl Cast {
    /// Starts all of them. rotord comes last: from then on there are secrets, and traffic.
    pub(crate) async fn start(house: &mut House, http: Client, screen: &Screen) -> Fallible<Cast> {
        let bao = OpenBao::start(house, http.clone()).await?;
        screen.prepared(&format!("OpenBao, in memory, at {}", bao.address()));

        house.write("admin-token", &fresh_key()?)?;
        house.write("channel-key", &fresh_key()?)?;
        let service = ["--admin-token-file", "admin-token", "--mode", "slots", "--capacity", "2"];
        house.start("key-service", &sibling("key_service")?, service)?;
        let key_service = house.address_of("key-service").await?;
        for receiver in ["receiver-a", "receiver-b"] {
            house.start(receiver, &sibling("webhook_receiver")?, identity(receiver))?;
        }
        let receivers =
            [house.address_of("receiver-a").await?, house.address_of("receiver-b").await?];
        let to = receivers.each_ref().map(|receiver| format!("{receiver}/webhook"));
        let [a, b] = &to;
        let sends = ["--every", "10ms", "--to", a, "--to", b];
        let sends = identity("sender").into_iter().chain(sends);
        house.start("sender", &sibling("webhook_sender")?, sends)?;
        let sender = house.address_of("sender").await?;
        house.write("client-token", &bao.client_token().await?)?;
        let reads = ["--vault", bao.address(), "--vault-token-file", "client-token"];
        let place = ["--mount", APPS, "--path", DOCUMENT, "--ack-path", ACKNOWLEDGEMENT];
        let works = ["--service", &key_service, "--work-every", "10", "--read-every", "250"];
        let all = reads.into_iter().chain(place).chain(works);
        house.start("client", &sibling("key_client")?, all)?;
        screen.prepared("sender, receiver-a, receiver-b, key service, client (examples/*.rs)");

        let scanner_key = fresh_key()?;
        house.write("scanner-key", &scanner_key)?;
        // Free a moment ago; rotord takes it before anything else here asks for a port.
        let alerts = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let scanner = Scanner::new(http, alerts, &scanner_key);
        let alerts = alerts.to_string();
        let (role_id, secret_id) = bao.role(ROLE).await?;
        house.write("secret-id", &secret_id)?;
        let known = [
            ("openbao", bao.address()),
            ("role_id", &role_id),
            ("key_service", &key_service),
            ("receiver_a", &receivers[0]),
            ("receiver_b", &receivers[1]),
            ("sender", &sender),
            ("alerts", &alerts),
        ];
        let filled = |text: String, (name, value): &(&str, &str)| {
            text.replace(&format!("{{{{{name}}}}}"), value)
        };
        let config = known.iter().fold(CONFIG.to_owned(), filled);
        let rotord = Rotord { binary: sibling("rotord")?, config };
        rotord.introduce(house, &bao, screen).await?;
        Ok(Cast { bao, sender, receivers, key_service, scanner, rotord })
    }
}

impl Rotord {
    /// Gives it the least it needs, and starts it.
    async fn introduce(&self, house: &mut House, bao: &OpenBao, screen: &Screen) -> Fallible<()> {
        house.write("rotord.toml", &self.config)?;
        let policy = self.run(house, &["check", "--policy"]).await?;
        bao.policy(ROLE, &policy).await?;
        let paths = policy.matches("path \"").count();
        screen.prepared(&format!(
            "a login for rotord: the {paths} paths of `rotord check --policy`, and no more"
        ));
        self.run(house, &["check", "--online"]).await?;
        screen.prepared("`rotord check --online`: nothing is missing");
        fs::create_dir(house.path("state"))?;
        house.start("rotord", &self.binary, ["run", "--config", "rotord.toml"])
    }

    /// Declares a change freeze, from now on.
    pub(crate) async fn freeze(&self, house: &House) -> Fallible<()> {
        let freeze = "\n[[freeze]]\nname = \"end of the demo\"\n\
                      from = 2020-01-01T00:00:00Z\nuntil = 2100-01-01T00:00:00Z\n";
        house.write("rotord.toml", &format!("{}{freeze}", self.config))?;
        self.run(house, &["reload"]).await?;
        Ok(())
    }

    /// Does what a person does at the command line. Answers what it printed.
    pub(crate) async fn run(&self, house: &House, arguments: &[&str]) -> Fallible<String> {
        let mut command = house.command(&self.binary, "rotord-commands")?;
        command.stderr(Stdio::piped());
        let done = command.args(arguments).args(["--config", "rotord.toml"]).output().await?;
        said(&arguments.join(" "), done)
    }
}

fn said(what: &str, done: Output) -> Fallible<String> {
    let text = String::from_utf8(done.stdout)?;
    let errors = String::from_utf8_lossy(&done.stderr);
    match done.status.success() {
        true => Ok(text),
        false => Err(format!("rotord {what}: {}\n{text}{errors}", done.status).into()),
    }
}

/// What a service of the examples is told about itself.
fn identity(target: &str) -> [&str; 9] {
    let key = ["--channel-key-file", "channel-key"];
    let [flag, file] = key;
    ["--target", target, "--environment", "demo", "--instance", target, "--covers-all", flag, file]
}

fn fresh_key() -> io::Result<String> {
    let mut bytes = [0; 32];
    let filled = aws_lc_rs::rand::fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the system has no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
