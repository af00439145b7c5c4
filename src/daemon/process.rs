//! What the process and its machine have to do with each other: signals, memory, names, folders.
//! Must not know what runs in the process.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The unit's credentials directory, as systemd names it.
pub fn credentials_directory() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "systemd says it in no other way")]
    let directory = std::env::var("CREDENTIALS_DIRECTORY").ok()?;
    Some(PathBuf::from(directory))
}

/// No core dumps and no debuggers of the same user: memory holds secrets.
pub fn harden() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!("core dumps could not be switched off: {error}");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!("this process could not be made undumpable: {error}");
    }
}

/// Turns signals into what they mean: TERM and INT stop, HUP reloads.
pub(super) fn watch_signals(
    stop: CancellationToken,
    hangup: Arc<Notify>,
) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangs_up = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                biased;
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangs_up.recv() => hangup.notify_one(),
            }
        }
        stop.cancel();
    })
}

/// What this machine calls itself.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Makes the state directory, for its owner alone, if it is not there.
pub(super) fn make_state_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}
