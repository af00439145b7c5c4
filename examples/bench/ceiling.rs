//! The raw ceiling: what OpenBao could do if whoever asks had nothing to decide. A bare client
//! sends what a real rotation sent, for many secrets at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::DateTime;
use futures_util::future::try_join_all;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::Fallible;
use crate::rig::FOLDER;
use crate::scanner::begin;
use crate::server::Server;

/// A silence of this many milliseconds in a rotation is its overlap.
const OVERLAP_MS: i64 = 1_500;

/// What is asked again and again without any rotation.
const UPKEEP: [&str; 3] = ["rotord/data/lease", "rotord/data/audit-head/", "rotord/metadata/state"];

/// The requests of one rotation, from version 1 to version 2 of `s00000`: before its overlap, and
/// after it.
pub(crate) struct Recorded {
    legs: [Vec<Request>; 2],
}

#[derive(Clone)]
struct Request {
    method: Method,
    path: String,
    body: Option<Value>,
}

/// Sends them.
pub(crate) struct Runner {
    http: Client,
    address: String,
    token: String,
    recorded: Recorded,
    secrets: usize,
    at_once: usize,
    /// The version that the next leg brings out.
    old: u64,
}

impl Recorded {
    /// Reads an audit log that holds a single rotation.
    pub(crate) fn of(lines: &[Value]) -> Fallible<Recorded> {
        let mut legs = [Vec::new(), Vec::new()];
        let mut last = None;
        let mut leg = 0;
        for line in lines.iter().filter(|line| line["type"] == "request") {
            let path = line["request"]["path"].as_str().unwrap_or_default();
            let ours = ["rotord/", "apps/"].iter().any(|mount| path.starts_with(mount));
            if !ours || UPKEEP.iter().any(|upkeep| path.starts_with(upkeep)) {
                continue;
            }
            let at = line["time"].as_str().unwrap_or_default();
            let at = DateTime::parse_from_rfc3339(at)?.timestamp_millis();
            if last.is_some_and(|last| at - last > OVERLAP_MS) {
                leg = 1;
            }
            last = Some(at);
            legs[leg].push(Request {
                method: method(line["request"]["operation"].as_str().unwrap_or_default())?,
                path: path.to_owned(),
                body: Some(line["request"]["data"].clone()).filter(|data| !data.is_null()),
            });
        }
        match legs.iter().all(|leg| !leg.is_empty()) {
            true => Ok(Recorded { legs }),
            false => Err("the recorded rotation has no overlap".into()),
        }
    }
}

fn method(operation: &str) -> Fallible<Method> {
    Ok(match operation {
        "read" => Method::GET,
        "create" | "update" => Method::POST,
        "patch" => Method::PATCH,
        "delete" => Method::DELETE,
        "list" => Method::from_bytes(b"LIST")?,
        other => return Err(format!("a recorded request is a {other}").into()),
    })
}

/// How often one rotation of the bare client's has written its record and its document so far.
#[derive(Clone, Copy)]
struct Writes {
    state: u64,
    document: u64,
}

/// A path of rotord's records, and one of the documents that programs read.
const STATE: &str = "rotord/data/state/";
const DOCUMENT: &str = "apps/data/";

impl Runner {
    /// A client that will do so many at once.
    pub(crate) fn new(
        server: &Server,
        http: Client,
        recorded: Recorded,
        secrets: usize,
        at_once: usize,
    ) -> Runner {
        let (address, token) = (server.address().to_owned(), server.root().to_owned());
        Runner { http, address, token, recorded, secrets, at_once, old: 1 }
    }

    /// How many requests the legs have.
    pub(crate) fn lengths(&self) -> [usize; 2] {
        self.recorded.legs.each_ref().map(Vec::len)
    }

    /// Makes what a rotation finds there: a record, a document, and the version in use.
    pub(crate) async fn prepare(&self) -> Fallible<()> {
        let filler = json!({ "data": { "fields": { "value": "x".repeat(64) } } });
        let state = self.recorded.legs[0].iter().find(|r| r.path.starts_with(STATE));
        let state =
            state.and_then(|request| request.body.clone()).ok_or("no record was written")?;
        let state = json!({ "data": state["data"] });
        self.each(async |name| {
            let paths = [
                (format!("{STATE}{name}"), &state),
                (format!("rotord/data/material/{name}/1"), &filler),
                (format!("{DOCUMENT}{FOLDER}/{name}"), &filler),
            ];
            for (path, body) in paths {
                self.send(Method::POST, &path, Some(body)).await?;
            }
            Ok(())
        })
        .await
    }

    /// Sends one leg of a rotation for every secret. Answers the seconds that it took.
    pub(crate) async fn leg(&mut self, leg: usize) -> Fallible<f64> {
        let begun = begin();
        let before = self.writes_before(leg);
        self.each(async |name| {
            let mut writes = before;
            for request in &self.recorded.legs[leg] {
                self.replay(request, &name, &mut writes).await?;
            }
            Ok(())
        })
        .await?;
        self.old += u64::try_from(leg)?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Does it for every secret, a few at once.
    async fn each(&self, what: impl AsyncFn(String) -> Fallible<()>) -> Fallible<()> {
        let next = AtomicUsize::new(0);
        let lane = async || {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= self.secrets {
                    return Fallible::Ok(());
                }
                what(format!("bare{n:05}")).await?;
            }
        };
        try_join_all((0..self.at_once).map(|_| lane())).await?;
        Ok(())
    }

    /// How often record and document were written when a leg begins: all secrets go the same way.
    fn writes_before(&self, leg: usize) -> Writes {
        let count = |leg: usize, path: &str| {
            let requests = self.recorded.legs[leg].iter();
            let written = requests.filter(|r| r.path.starts_with(path) && r.method != Method::GET);
            written.count() as u64
        };
        let of = |path: &str| {
            let [first, second] = [count(0, path), count(1, path)];
            1 + (self.old - 1) * (first + second) + if leg == 1 { first } else { 0 }
        };
        Writes { state: of(STATE), document: of(DOCUMENT) }
    }

    async fn replay(&self, request: &Request, name: &str, writes: &mut Writes) -> Fallible<()> {
        let path = request.path.replace("s00000", name);
        let path = match path.strip_suffix("/1") {
            Some(rest) => format!("{rest}/{}", self.old),
            None => match path.strip_suffix("/2") {
                Some(rest) => format!("{rest}/{}", self.old + 1),
                None => path,
            },
        };
        let counter = match &path {
            path if path.starts_with(STATE) => Some(&mut writes.state),
            path if path.starts_with(DOCUMENT) => Some(&mut writes.document),
            _ => None,
        };
        let mut body = request.body.clone();
        if let (Some(body), Some(counter), true) =
            (&mut body, counter, request.method != Method::GET)
        {
            body["options"]["cas"] = json!(*counter);
            *counter += 1;
        }
        if path.contains("/destroy/") {
            body = Some(json!({ "versions": [writes.document - 1] }));
        }
        self.send(request.method.clone(), &path, body.as_ref()).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Fallible<()> {
        let url = format!("{}/v1/{path}", self.address);
        let call = self.http.request(method.clone(), url).header("x-vault-token", &self.token);
        let kind = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let call = match body {
            Some(body) => call.header("content-type", kind).body(serde_json::to_vec(body)?),
            None => call,
        };
        let answer = call.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        match status.is_success() {
            true => Ok(()),
            false => Err(format!("the bare client's {method} {path}: {status} {text}").into()),
        }
    }
}
