//! What a config names on this machine: whether files, credentials and groups are there and fit.
//!
//! The only part of `config` that looks at the machine beyond the config file itself. Reads no
//! file that holds a secret: what that is, only its user learns.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::problem::Problem;
use crate::config::reader::{Used, UsedThing};
use crate::http::peer::PeerPolicy;
use crate::net;

/// What the config relies on and cannot. Credentials are looked for only where there is a
/// credentials directory: away from its unit rotord cannot see them.
pub(super) fn check(used: &[Used], credentials: Option<&Path>) -> Vec<Problem> {
    used.iter().filter_map(|used| check_one(used, credentials)).collect()
}

fn check_one(used: &Used, credentials: Option<&Path>) -> Option<Problem> {
    let wrong = match &used.what {
        UsedThing::File { path, secret } => file(path, *secret),
        UsedThing::Authorities(path) => authorities(path),
        UsedThing::Credential(name) => credential(name, credentials),
        UsedThing::Group(name) => group(name),
    };
    let Wrong { what, remedy } = wrong.err()?;
    Some(Problem { at: used.at.clone(), what, remedy })
}

/// What is wrong with one of them.
struct Wrong {
    what: String,
    remedy: String,
}

fn wrong(what: impl Into<String>, remedy: impl Into<String>) -> Result<(), Wrong> {
    Err(Wrong { what: what.into(), remedy: remedy.into() })
}

fn file(path: &Path, secret: bool) -> Result<(), Wrong> {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        // Not by its name: whoever mistakes this for the place of the value wrote that.
        Err(error) => {
            let what = format!("the file cannot be looked at: {error}");
            return wrong(what, "create it, or correct the path");
        }
    };
    if !metadata.is_file() {
        return wrong(format!("{shown} is no file"), "name a regular file");
    }
    if secret && metadata.permissions().mode() & 0o007 != 0 {
        return wrong(
            format!("{shown} holds a secret, and everybody on this machine may use it"),
            format!("chmod o= {shown}"),
        );
    }
    Ok(())
}

/// Authorities are no secret: they can be read here, so that a broken file ends the start with
/// everything else that is wrong.
fn authorities(path: &Path) -> Result<(), Wrong> {
    file(path, false)?;
    let shown = path.display();
    match fs::read(path) {
        Err(error) => {
            wrong(format!("{shown} cannot be read: {error}"), "let rotord's user read it")
        }
        Ok(pem) if net::check_ca(&pem).is_err() => wrong(
            format!("{shown} holds no certificate in PEM"),
            "give it the authority's certificate, from BEGIN CERTIFICATE to END CERTIFICATE",
        ),
        Ok(_) => Ok(()),
    }
}

fn credential(name: &str, credentials: Option<&Path>) -> Result<(), Wrong> {
    if credentials.is_none_or(|directory| directory.join(name).is_file()) {
        return Ok(());
    }
    wrong(
        "the unit has no credential of this name",
        "add LoadCredential=NAME:/path to the unit, or correct the name",
    )
}

fn group(name: &str) -> Result<(), Wrong> {
    match PeerPolicy::of_this_process(Some(name)) {
        Ok(_) => Ok(()),
        Err(unknown) => {
            wrong(unknown.to_string(), "create it (groupadd --system NAME), or correct the name")
        }
    }
}
