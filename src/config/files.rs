//! The files and credentials that a config names: whether they are there and kept from others.
//!
//! The only part of `config` that looks at the machine beyond the config file itself. Reads no
//! content: what a secret is, only its user learns.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::problem::Problem;
use crate::config::reader::{Used, UsedThing};

/// What the config relies on and cannot. Credentials are looked for only where there is a
/// credentials directory: away from its unit rotord cannot see them.
pub(super) fn check(used: &[Used], credentials: Option<&Path>) -> Vec<Problem> {
    used.iter().filter_map(|used| check_one(used, credentials)).collect()
}

fn check_one(used: &Used, credentials: Option<&Path>) -> Option<Problem> {
    let problem =
        |what: String, remedy: String| Some(Problem { at: used.at.clone(), what, remedy });
    let (path, secret) = match &used.what {
        UsedThing::File { path, secret } => (path.as_path(), *secret),
        UsedThing::Credential(name) => {
            let there = credentials.is_none_or(|directory| directory.join(name).is_file());
            return if there {
                None
            } else {
                problem(
                    "the unit has no credential of this name".to_owned(),
                    "add LoadCredential=NAME:/path to the unit, or correct the name".to_owned(),
                )
            };
        }
    };
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            return problem(
                // Not by its name: whoever mistakes this for the place of the value wrote that.
                format!("the file cannot be looked at: {error}"),
                "create it, or correct the path".to_owned(),
            );
        }
    };
    if !metadata.is_file() {
        return problem(format!("{shown} is no file"), "name a regular file".to_owned());
    }
    if secret && metadata.permissions().mode() & 0o007 != 0 {
        return problem(
            format!("{shown} holds a secret, and everybody on this machine may use it"),
            format!("chmod o= {shown}"),
        );
    }
    None
}
