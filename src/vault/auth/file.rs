//! Credentials that lie in files: read whole, and only from files that nobody else may read.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::model::material::SecretBytes;

/// Largest credential: a batch token with many policies has some 2 KiB.
const LEN_MAX: u64 = 16 * 1024;

/// The permission bits of everybody who is neither owner nor group.
const OTHERS: u32 = 0o007;

/// Why a file with a credential cannot be used. Never holds what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {what}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and the remedy.
    pub what: String,
}

/// What changes when a file is replaced or rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// How the file looks from outside.
pub(super) async fn stamp(path: &Path) -> Result<Stamp, FileError> {
    let metadata = tokio::fs::metadata(path).await.map_err(|error| fault(path, &error))?;
    Ok(Stamp::of(&metadata))
}

/// The credential without the white space around it.
pub(super) async fn read(path: &Path) -> Result<(SecretBytes, Stamp), FileError> {
    let mut file = File::open(path).await.map_err(|error| fault(path, &error))?;
    let metadata = file.metadata().await.map_err(|error| fault(path, &error))?;
    if !metadata.is_file() {
        return Err(fault(path, &"not a file"));
    }
    if metadata.mode() & OTHERS != 0 {
        return Err(fault(path, &"every user of this machine may read or change it: chmod o= it"));
    }
    if metadata.len() > LEN_MAX {
        return Err(fault(path, &"too large for a token or a secret id"));
    }
    // One byte more than there is, so that reading ends without growing the buffer.
    let length = usize::try_from(metadata.len()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length + 1);
    let limit = metadata.len();
    (&mut file).take(limit).read_to_end(&mut bytes).await.map_err(|error| fault(path, &error))?;
    let whole = SecretBytes::new(bytes);
    let credential = SecretBytes::new(whole.expose().trim_ascii().to_vec());
    if credential.is_empty() {
        return Err(fault(path, &"it is empty"));
    }
    Ok((credential, Stamp::of(&metadata)))
}

fn fault(path: &Path, what: &dyn std::fmt::Display) -> FileError {
    FileError { path: path.to_owned(), what: what.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    fn file(content: &str, mode: u32) -> (TempDir, PathBuf) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[tokio::test]
    async fn a_credential_is_read_without_the_white_space_around_it() {
        let (_dir, path) = file(" hunter2\n", 0o600);
        assert_eq!(read(&path).await.unwrap().0.expose(), b"hunter2");
        let (_dir, path) = file("hunter2", 0o440);
        assert_eq!(read(&path).await.unwrap().0.expose(), b"hunter2");
    }

    #[tokio::test]
    async fn a_file_that_others_may_read_or_change_is_refused_without_its_content() {
        for mode in [0o644, 0o604, 0o602] {
            let (_dir, path) = file("hunter2", mode);
            let error = read(&path).await.map(|_| ()).unwrap_err();
            assert!(error.what.contains("chmod"), "{mode:o}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_no_credential_is_refused() {
        let (dir, path) = file(" \n", 0o600);
        assert_eq!(read(&path).await.map(|_| ()).unwrap_err().what, "it is empty");
        assert!(read(dir.path()).await.is_err(), "a directory");
        assert!(read(&dir.path().join("missing")).await.is_err());
        let (_dir, path) = file(&"x".repeat(16 * 1024 + 1), 0o600);
        assert!(read(&path).await.map(|_| ()).unwrap_err().what.contains("too large"));
    }

    #[tokio::test]
    async fn a_replaced_file_has_another_stamp() {
        let (dir, path) = file("one", 0o600);
        let before = stamp(&path).await.unwrap();
        assert_eq!(before, read(&path).await.unwrap().1);
        let next = dir.path().join("next");
        fs::write(&next, "two").unwrap();
        fs::rename(&next, &path).unwrap();
        assert_ne!(before, stamp(&path).await.unwrap());
    }
}
