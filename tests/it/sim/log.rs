//! The log of the simulated program: every line of every level, kept to be searched for values.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::LevelFilter;

/// Bytes that are kept: a run writes a few hundred kilobytes.
const LOG_MAX: usize = 8 * 1024 * 1024;

/// Everything that was logged.
#[derive(Clone, Default)]
pub(super) struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    /// It is longer than anybody can read.
    pub(super) too_long: Arc<Notify>,
}

impl Log {
    /// Has this thread's log written here until the guard is dropped.
    pub(super) fn take_all(&self) -> DefaultGuard {
        let log = self.clone();
        let lines = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .without_time()
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(lines)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut log = self.lines.lock().unwrap();
        if log.len() < LOG_MAX {
            log.extend_from_slice(line);
        } else {
            self.too_long.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
