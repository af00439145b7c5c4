//! Which instance this process is: an id in the state directory, under a lock for life.
//!
//! Decides that two processes never are the same instance: the one that holds the lease may take
//! it back at once after a restart, so a second one with its id would be a second leader.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::model::id::InstanceId;
use crate::model::time::Entropy;

/// The file in the state directory.
const FILE: &str = "instance-id";

/// Bytes of an id: enough that two installations never draw the same.
const ID_LEN: usize = 16;

/// Longest content of the file that is looked at.
const CONTENT_LEN_MAX: u64 = 256;

/// This process's identity, as long as the value lives.
#[derive(Debug)]
pub struct Instance {
    id: InstanceId,
    _lock: File,
}

/// Why this process has no identity.
#[derive(Debug, Error)]
pub enum InstanceError {
    /// Another process runs on the same state directory.
    #[error(
        "another rotord runs on {}: stop it, or give this one its own state directory",
        path.display()
    )]
    InUse {
        /// The locked file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("{} holds no instance id: remove it if no other rotord uses it", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("cannot use {}: {source}; the state directory must be writable", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl Instance {
    /// Takes the identity kept in a state directory; draws one at the first start. Blocks for a
    /// moment: meant for start-up.
    ///
    /// # Errors
    /// [`InstanceError`]; its text names the file and the remedy.
    pub fn open(state_dir: &Path, entropy: &dyn Entropy) -> Result<Instance, InstanceError> {
        let path = state_dir.join(FILE);
        let io = |source| InstanceError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(InstanceError::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(InstanceError::Io { path, source }),
        }
        let mut text = String::new();
        match (&file).take(CONTENT_LEN_MAX).read_to_string(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(InstanceError::Malformed { path });
            }
            Err(source) => return Err(InstanceError::Io { path, source }),
        }
        let kept = text.trim();
        // Empty: new, or the machine stopped before the first id was written.
        let id = if kept.is_empty() {
            draw(&mut file, entropy).map_err(io)?
        } else if is_id(kept) {
            kept.to_owned()
        } else {
            return Err(InstanceError::Malformed { path });
        };
        Ok(Instance { id: InstanceId(id), _lock: file })
    }

    /// The identity that is kept in a state directory, for whoever only looks: no lock is taken and
    /// none is drawn.
    ///
    /// # Errors
    /// [`InstanceError`], also if there is none yet.
    pub fn written(state_dir: &Path) -> Result<InstanceId, InstanceError> {
        let path = state_dir.join(FILE);
        let io = |source| InstanceError::Io { path: path.clone(), source };
        let file = File::open(&path).map_err(io)?;
        let mut text = String::new();
        file.take(CONTENT_LEN_MAX).read_to_string(&mut text).map_err(io)?;
        match text.trim() {
            kept if is_id(kept) => Ok(InstanceId(kept.to_owned())),
            _ => Err(InstanceError::Malformed { path }),
        }
    }

    /// The identity.
    pub fn id(&self) -> &InstanceId {
        &self.id
    }
}

fn is_id(text: &str) -> bool {
    text.len() == ID_LEN * 2 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn draw(file: &mut File, entropy: &dyn Entropy) -> io::Result<String> {
    let mut drawn = [0; ID_LEN];
    entropy.fill(&mut drawn);
    let id = hex::encode(drawn);
    file.rewind()?;
    file.set_len(0)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Counting(std::sync::atomic::AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            let next = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            buffer.fill(next);
        }
    }

    fn entropy() -> Counting {
        Counting(1.into())
    }

    #[test]
    fn the_id_survives_a_restart_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let entropy = entropy();
        let first = Instance::open(dir.path(), &entropy).unwrap().id().clone();
        assert_eq!(first.0, "01".repeat(ID_LEN));
        assert_eq!(*Instance::open(dir.path(), &entropy).unwrap().id(), first);
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_second_process_is_refused_until_the_first_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = Instance::open(dir.path(), &entropy()).unwrap();
        let error = Instance::open(dir.path(), &entropy()).unwrap_err();
        assert!(matches!(error, InstanceError::InUse { .. }));
        assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
        drop(first);
        assert!(Instance::open(dir.path(), &entropy()).is_ok());
    }

    #[test]
    fn a_file_that_holds_something_else_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for content in [&b"my notes"[..], &[0xff; 32], &[b'a'; 33]] {
            std::fs::write(&path, content).unwrap();
            let error = Instance::open(dir.path(), &entropy()).unwrap_err();
            assert!(matches!(error, InstanceError::Malformed { .. }), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn an_id_that_was_never_finished_is_drawn_again() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "\n").unwrap();
        assert!(Instance::open(dir.path(), &entropy()).is_ok());
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = Instance::open(Path::new("/nonexistent/rotord"), &entropy()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/rotord/instance-id"), "{error}");
    }
}
