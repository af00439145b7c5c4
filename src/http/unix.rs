//! The control socket: a file that exists with the right mode or not at all.
//!
//! A socket that somebody answers at is never taken over; one that nobody answers at is what a
//! killed daemon left behind and is replaced.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};

use crate::http::peer::{Mode, Peer, PeerPolicy, UnknownGroup};
use crate::http::server::{Accepted, Listener};

/// Where the socket is and who may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSettings {
    /// The file.
    pub path: PathBuf,
    /// Its mode: 0o660 lets the group in.
    pub mode: u32,
    /// Its group, whose members may use it; without one, root and the daemon's own user.
    pub group: Option<String>,
}

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// A living process listens there.
    #[error("another rotord answers at {}: stop it first, or set another socket", .0.display())]
    InUse(PathBuf),
    /// Something else has the name.
    #[error("{} exists and is no socket: remove it, or set another path", .0.display())]
    NotASocket(PathBuf),
    /// The settings name a group that is not there.
    #[error(transparent)]
    Group(#[from] UnknownGroup),
    /// The system said no.
    #[error("cannot listen at {}: {problem}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        problem: io::Error,
    },
}

/// A listening control socket. The file goes when this is dropped.
#[derive(Debug)]
pub struct UnixDoor {
    listener: UnixListener,
    policy: Arc<PeerPolicy>,
    path: PathBuf,
    inode: u64,
}

impl UnixDoor {
    /// Opens the socket, letting in whom the settings say.
    ///
    /// # Errors
    /// [`SocketError`]; nothing that existed has been touched then.
    pub async fn open(settings: &SocketSettings) -> Result<UnixDoor, SocketError> {
        let policy = PeerPolicy::of_this_process(settings.group.as_deref())?;
        UnixDoor::open_for(settings, policy).await
    }

    /// Opens the socket under a policy of the caller's.
    ///
    /// # Errors
    /// As [`UnixDoor::open`].
    pub async fn open_for(
        settings: &SocketSettings,
        policy: PeerPolicy,
    ) -> Result<UnixDoor, SocketError> {
        let path = &settings.path;
        refuse_if_taken(path).await?;
        let failed = |problem| SocketError::Io { path: path.clone(), problem };
        let (listener, inode) = create(path, settings.mode, policy.group).map_err(failed)?;
        Ok(UnixDoor { listener, policy: Arc::new(policy), path: path.clone(), inode })
    }
}

/// Makes the socket under a name beside its own, sets group and mode, and only then gives it its
/// name: nobody can connect in between.
fn create(path: &Path, mode: u32, group: Option<u32>) -> io::Result<(UnixListener, u64)> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let unfinished = PathBuf::from(name);
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unfinished)?;
    if let Some(group) = group {
        chown(&unfinished, None, Some(group))?;
    }
    std::fs::set_permissions(&unfinished, Permissions::from_mode(mode))?;
    let inode = std::fs::symlink_metadata(&unfinished)?.ino();
    std::fs::rename(&unfinished, path)?;
    Ok((listener, inode))
}

async fn refuse_if_taken(path: &Path) -> Result<(), SocketError> {
    use std::os::unix::fs::FileTypeExt as _;

    let failed = |problem| SocketError::Io { path: path.to_owned(), problem };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

impl Listener for UnixDoor {
    type Io = UnixStream;
    type Peer = Peer;

    async fn accept(&mut self) -> io::Result<Accepted<UnixStream, Peer>> {
        let (io, _) = self.listener.accept().await?;
        let credentials = io.peer_cred()?;
        let (policy, path) = (Arc::clone(&self.policy), self.path.clone());
        let greeting = async move {
            let look =
                move || policy.identify(credentials.uid(), credentials.gid(), mode_of(&path));
            let peer = tokio::task::spawn_blocking(look).await.map_err(io::Error::other)?;
            Ok((io, peer))
        };
        Ok(Accepted { greeting: Box::pin(greeting), is_hurried: false })
    }
}

/// To connect is to write. What cannot be looked at keeps nobody out.
fn mode_of(path: &Path) -> Mode {
    match std::fs::symlink_metadata(path) {
        Ok(file) if file.mode() & 0o002 == 0 => Mode::Closed,
        Ok(_) | Err(_) => Mode::OpenToAll,
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        // Only our own file: another daemon may have taken the name since.
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the control socket stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(path: PathBuf) -> SocketSettings {
        SocketSettings { path, mode: 0o660, group: None }
    }

    #[tokio::test]
    async fn the_file_has_its_mode_and_goes_with_the_door() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rotord.sock");
        let door = UnixDoor::open(&settings(path.clone())).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(door);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_living_socket_is_not_taken_and_a_dead_one_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rotord.sock");
        let living = UnixListener::bind(&path).unwrap();
        let refused = UnixDoor::open(&settings(path.clone())).await.unwrap_err();
        assert!(matches!(refused, SocketError::InUse(_)), "{refused}");
        assert!(UnixStream::connect(&path).await.is_ok());
        drop(living);
        let door = UnixDoor::open(&settings(path.clone())).await.unwrap();
        assert!(UnixStream::connect(&path).await.is_ok());
        drop(door);
    }

    #[tokio::test]
    async fn something_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rotord.sock");
        std::fs::write(&path, "precious").unwrap();
        let refused = UnixDoor::open(&settings(path.clone())).await.unwrap_err();
        assert!(matches!(refused, SocketError::NotASocket(_)), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_door_that_lost_its_name_leaves_the_new_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rotord.sock");
        let old = UnixDoor::open(&settings(path.clone())).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let new = UnixDoor::open(&settings(path.clone())).await.unwrap();
        drop(old);
        assert!(path.exists());
        drop(new);
    }
}
