//! Values that point somewhere: files, URLs, paths in Vault, secrets.
//!
//! Decides how each is written and what makes it unusable. A secret is only ever pointed at; a
//! literal one is refused, and nothing that could be one is quoted. Must not know what the thing
//! pointed at is for.

use std::path::PathBuf;

use url::{Host, Url};

use crate::config::reader::{Entry, Section, UsedThing};
use crate::driver::secret_ref::SecretRef;
use crate::vault::KvPath;

/// How a secret is pointed at; the remedy wherever somebody wrote the secret itself.
const REFERENCE_FORMS: &str = "point to it: { file = \"/path\" }, { credential = \"name\" } \
                               (of the systemd unit) or \
                               { mount = \"kv\", path = \"a/b\", field = \"c\" }";

/// A URL that names a host and nothing secret.
pub(super) fn url(entry: Entry<'_>, allow_http: bool) -> Option<Url> {
    let refuse = |what: &str, remedy: &str| {
        entry.problem(what, remedy);
        None
    };
    let Ok(url) = Url::parse(entry.clone().text()?) else {
        return refuse("this is no URL", "write it whole, such as \"https://host.example/path\"");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse(
            "the URL holds a user name or password",
            "take it out: a secret never stands in a URL or in the config",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("the URL has a query or a fragment", "end it before the `?` or `#`");
    }
    match url.scheme() {
        "https" => Some(url),
        "http" if allow_http || is_loopback(&url) => Some(url),
        "http" => refuse(
            "plain http would carry secrets in the clear",
            "use https, or set `allow_http = true` beside it if the way is protected otherwise",
        ),
        _ => refuse("the URL has another scheme than https", "use https"),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A host, with a port or without.
pub(super) fn host(entry: Entry<'_>) -> Option<String> {
    let text = entry.clone().text()?;
    let url = Url::parse(&format!("https://{text}/")).ok();
    let bare = url.is_some_and(|url| {
        url.path() == "/" && url.username().is_empty() && url.password().is_none()
    });
    if !bare || text.contains(['/', '?', '#']) {
        entry.problem("this is no host", "write \"vault-2.example\" or \"vault-2.example:8200\"");
        return None;
    }
    Some(text.to_owned())
}

/// A file of authorities; a relative path is taken from the config file's folder.
pub(super) fn ca_file(entry: Entry<'_>) -> Option<PathBuf> {
    let path = entry.path()?;
    entry.uses(UsedThing::Authorities(path.clone()));
    Some(path)
}

/// A file that holds a secret.
pub(super) fn secret_file(entry: Entry<'_>) -> Option<PathBuf> {
    let path = entry.path()?;
    entry.uses(UsedThing::File { path: path.clone(), secret: true });
    Some(path)
}

/// The name of a systemd credential: one segment of a path.
pub(super) fn credential(entry: Entry<'_>) -> Option<String> {
    let name = entry.clone().text()?;
    if name.contains('/') || name.starts_with('.') {
        entry.problem(
            "this is no name of a credential",
            "write the name from LoadCredential=, without a path",
        );
        return None;
    }
    entry.uses(UsedThing::Credential(name.to_owned()));
    Some(name.to_owned())
}

/// A pointer to a secret.
pub(super) fn secret(entry: Entry<'_>) -> Option<SecretRef> {
    if !entry.is_table() {
        entry.problem("a secret cannot stand in the config", REFERENCE_FORMS);
        return None;
    }
    entry.section(|s| {
        // All three are asked for, so that they are known wherever one of them is used.
        let (path, field) = (s.get("path"), s.get("field"));
        let (way, chosen) = s.exactly_one(&["file", "credential", "mount"])?;
        if way == "mount" {
            let path = path.or_else(|| s.require("path", "the path inside the mount"));
            let field = field.or_else(|| s.require("field", "the field that holds the value"));
            let (mount, path) = (mount(chosen), path.and_then(kv_path));
            let field = field.and_then(Entry::text);
            let at = KvPath { mount: mount?, path: path? };
            return Some(SecretRef::Vault { at, field: field?.to_owned() });
        }
        for (key, entry) in [("path", path), ("field", field)] {
            if let Some(entry) = entry {
                entry.problem(
                    format!("`{key}` belongs to a document in Vault, and here is a `{way}`"),
                    format!("take `{key}` or `{way}` away"),
                );
            }
        }
        match way {
            "file" => secret_file(chosen).map(SecretRef::File),
            _ => credential(chosen).map(SecretRef::Credential),
        }
    })?
}

/// Where a KV v2 engine is mounted.
pub(super) fn mount(entry: Entry<'_>) -> Option<String> {
    segments(entry, "a mount such as \"kv\" or \"team-a/kv\"")
}

/// A path inside a KV v2 mount.
pub(super) fn kv_path(entry: Entry<'_>) -> Option<String> {
    segments(entry, "a path such as \"billing/webhook\", without `data/` in front")
}

fn segments(entry: Entry<'_>, what: &str) -> Option<String> {
    let text = entry.clone().text()?;
    let bad = |segment: &str| {
        matches!(segment, "" | "." | "..")
            || segment
                .contains(|c: char| c.is_control() || c.is_whitespace() || "?#%*+".contains(c))
    };
    if text.split('/').any(bad) {
        entry.problem(
            "empty, dotted or special segments cannot be part of a path in Vault",
            format!("write {what}, without a slash at either end"),
        );
        return None;
    }
    Some(text.to_owned())
}

/// The place of a document, from the two keys that name it.
pub(super) fn kv_place(s: &Section<'_>) -> Option<KvPath> {
    let mount_at = s.require("mount", "where the KV v2 engine is mounted").and_then(mount);
    let path = s.require("path", "the path inside the mount").and_then(kv_path);
    Some(KvPath { mount: mount_at?, path: path? })
}
