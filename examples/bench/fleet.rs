//! The dependent services: in this process, on addresses of their own, with the keyring that the
//! example services have. They answer every push at once and honestly, and know when it came.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use rotord::model::id::VersionId;
use rotord::model::material::SecretBytes;
use rotord::signing::headers;
use rotord::signing::key::SigningKey;
use rotord::signing::standard::MessageId;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Fallible;
use crate::common::{Answer, Identity, Keyring};
use crate::processes::House;
use crate::scanner::{begin, now};

/// What every push is signed with.
pub(crate) const CHANNEL_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Services at most: the targets are spread over them, so that rotord's limit for one host is not
/// what is measured.
const SERVICES_MAX: usize = 300;

/// What a target of a secret does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Verifier,
    Signer,
    Both,
}

impl Role {
    /// Whether this change gave a target a version that fits.
    fn has(self, change: &Change, fits: impl Fn(VersionId) -> bool) -> bool {
        match self {
            Role::Verifier => change.accepted.iter().any(|version| fits(*version)),
            Role::Signer | Role::Both => change.current.is_some_and(fits),
        }
    }
}

/// All services.
pub(crate) struct Fleet {
    roles: Vec<Role>,
    names: Vec<String>,
    hosts: Vec<SocketAddr>,
    posts: Arc<Vec<Post>>,
    _serving: JoinSet<std::io::Result<()>>,
}

/// One target of one secret.
struct Post {
    keyring: Keyring,
    changes: watch::Sender<Vec<Change>>,
}

/// What a target held from a moment on.
struct Change {
    at: Instant,
    accepted: Vec<VersionId>,
    current: Option<VersionId>,
}

impl Change {
    fn now(keyring: &Keyring) -> Change {
        let (accepted, current) = keyring.holds();
        Change { at: begin(), accepted, current }
    }
}

impl Fleet {
    /// Services for so many secrets, each with targets of these roles.
    pub(crate) async fn start(house: &House, secrets: usize, roles: &[Role]) -> Fallible<Fleet> {
        let channel_key_file = house.write("channel-key", CHANNEL_KEY)?;
        let identity = |target: usize| Identity {
            target: target_name(target),
            environment: "bench".to_owned(),
            instance: "one".to_owned(),
            covers_all: true,
            channel_key_file: channel_key_file.clone(),
        };
        let posts: Vec<Post> = (0..secrets * roles.len())
            .map(|post| {
                let keyring = Keyring::new(identity(post % roles.len()))?;
                Ok(Post { keyring, changes: watch::Sender::default() })
            })
            .collect::<Fallible<_>>()?;
        let posts = Arc::new(posts);
        let router = Router::new().route("/{post}", post(push)).with_state(Arc::clone(&posts));
        let (mut serving, mut hosts) = (JoinSet::new(), Vec::new());
        for host in 0..posts.len().min(SERVICES_MAX) {
            let [low, high] = [(host % 250 + 1) as u8, (host / 250) as u8];
            let listener = TcpListener::bind((Ipv4Addr::new(127, 1, high, low), 0)).await?;
            hosts.push(listener.local_addr()?);
            serving.spawn(axum::serve(listener, router.clone()).into_future());
        }
        let names = (0..secrets).map(|secret| format!("s{secret:05}")).collect();
        Ok(Fleet { roles: roles.to_vec(), names, hosts, posts, _serving: serving })
    }

    /// Their tables in rotord's config.
    pub(crate) fn config(&self) -> String {
        let mut text = String::from("\n[channels.bench]\nkey = { file = \"channel-key\" }\n");
        for (secret, name) in self.names.iter().enumerate() {
            text += &secret_table(name, "2s");
            for (target, role) in self.roles.iter().enumerate() {
                let post = secret * self.roles.len() + target;
                let host = self.hosts[post % self.hosts.len()];
                let role = match role {
                    Role::Verifier => "role = \"verifier\"",
                    Role::Signer => "role = \"signer\"\nretry_horizon = \"0s\"",
                    Role::Both => "role = \"both\"\nretry_horizon = \"0s\"",
                };
                // Writing to a string cannot fail.
                let _ = write!(
                    text,
                    "[secrets.{name}.targets.{}]\ntype = \"http\"\n{role}\n\
                     url = \"http://{host}/{post}\"\nenvironment = \"bench\"\n\
                     channel = \"bench\"\nneeds = \"proved\"\n",
                    target_name(target),
                );
            }
        }
        text
    }

    /// The secrets' names.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The newest version of a secret that one of its targets holds.
    pub(crate) fn newest(&self, secret: usize) -> Option<VersionId> {
        self.of(secret).filter_map(|(_, post)| post.keyring.holds().1).max()
    }

    /// Forgets how a secret's targets changed so far, but for what they hold now.
    pub(crate) fn forget(&self, secret: usize) {
        for (_, post) in self.of(secret) {
            post.changes.send_modify(|changes| {
                let now = Change::now(&post.keyring);
                *changes = vec![now];
            });
        }
    }

    /// Waits until every target of a secret has a newer version than this one: verifiers accept it,
    /// signers use it. Answers when the last one had it.
    pub(crate) async fn until_newer(&self, secret: usize, than: VersionId) -> Fallible<Instant> {
        self.until_all(secret, |role, change| role.has(change, |version| version > than)).await
    }

    /// Waits until no target of a secret holds this version any more. Answers when the last one
    /// had dropped it.
    pub(crate) async fn until_gone(&self, secret: usize, old: VersionId) -> Fallible<Instant> {
        self.until_all(secret, |role, change| match role {
            Role::Signer => role.has(change, |version| version != old),
            Role::Verifier | Role::Both => !change.accepted.contains(&old),
        })
        .await
    }

    async fn until_all(
        &self,
        secret: usize,
        fits: impl Fn(Role, &Change) -> bool,
    ) -> Fallible<Instant> {
        let mut last = None;
        for (role, post) in self.of(secret) {
            let mut changes = post.changes.subscribe();
            let fits = |change: &&Change| fits(role, change);
            let changes = changes.wait_for(|changes| changes.iter().any(|c| fits(&c))).await?;
            let first = changes.iter().find(fits).map(|change| change.at);
            last = last.max(first);
        }
        Ok(last.ok_or("a secret without targets")?)
    }

    /// Uses a value as whoever found it would. Answers whether any verifier takes it.
    pub(crate) fn is_taken(&self, secret: usize, value: &SecretBytes) -> Fallible<bool> {
        let body = br#"{"type":"order.paid","number":0}"#;
        let key = SigningKey::new(value).map_err(|_| "a value that signs nothing")?;
        let mut signed = HeaderMap::new();
        for (name, value) in headers(&[key], &MessageId::new("bench_try")?, now(), body) {
            signed.insert(name, value.parse()?);
        }
        let verifiers = self.of(secret).filter(|(role, _)| *role != Role::Signer);
        let taken: Vec<bool> =
            verifiers.map(|(_, post)| post.keyring.verify(&signed, body).is_ok()).collect();
        Ok(taken.contains(&true))
    }

    fn of(&self, secret: usize) -> impl Iterator<Item = (Role, &Post)> {
        let first = secret * self.roles.len();
        self.roles.iter().copied().zip(&self.posts[first..])
    }
}

/// A webhook secret of the config, without its targets.
pub(crate) fn secret_table(name: &str, overlap: &str) -> String {
    format!(
        "\n[secrets.{name}]\nkind = \"webhook_hmac\"\nissuer = {{ type = \"generated\" }}\n\
         initial = \"generate\"\noverlap = \"{overlap}\"\nunsafe_overlap = true\n"
    )
}

fn target_name(target: usize) -> String {
    format!("t{target}")
}

async fn push(
    State(posts): State<Arc<Vec<Post>>>,
    Path(post): Path<usize>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let post = posts.get(post).ok_or(StatusCode::NOT_FOUND)?;
    let answer = post.keyring.receive(&headers, &body);
    let change = Change::now(&post.keyring);
    post.changes.send_if_modified(|changes| {
        let same = changes.last().is_some_and(|last| {
            (&last.accepted, last.current) == (&change.accepted, change.current)
        });
        if !same {
            changes.push(change);
        }
        !same
    });
    answer
}

/// How often each of some words was said.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Counts in words, such as `401: 12, 429: 3`.
pub(crate) fn in_words(counts: &Counts) -> String {
    let words: Vec<String> =
        counts.iter().map(|(what, count)| format!("{what}: {count}")).collect();
    words.join(", ")
}
