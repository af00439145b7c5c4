//! How long and how much a client may talk. Each number is a default; tests give shorter ones.

use std::time::Duration;

/// What one listener grants its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections served at once; more wait in the kernel's backlog.
    pub connections: usize,
    /// From the first moment of a connection, or the end of the last answer, to the last byte of
    /// the request's head. Also ends connections that are kept open and idle.
    pub head_within: Duration,
    /// The same where many others want in.
    pub head_within_hurried: Duration,
    /// Largest head in bytes.
    pub head_bytes: usize,
    /// Most bytes that wait between the connection and a handler.
    pub buffer_bytes: usize,
    /// From the head to the answer, body included.
    pub answer_within: Duration,
    /// Longest life of one connection: ends clients that never read their answers.
    pub connection_life: Duration,
    /// How long answers under way may take once the listener stops.
    pub farewell: Duration,
}

/// An operator, a dashboard and a scraper each hold one or two.
const CONNECTIONS: usize = 64;

/// A local client sends its head in one write; a far one in a round trip or two.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// A round trip or two to the other side of the earth, and nothing beyond that.
const HEAD_WITHIN_HURRIED: Duration = Duration::from_secs(1);

/// Our longest legal head (a name and a reason) is below 2 KiB; 8 KiB is what others allow.
const HEAD_BYTES: usize = 8 * 1024;

/// A few reads of a socket, and no more for each of hundreds of connections.
const BUFFER_BYTES: usize = 32 * 1024;

/// What lies in a Unix socket at most (`net.core.wmem_default`), in one read: scans send gigabytes.
const BUFFER_BYTES_LOCAL: usize = 256 * 1024;

/// The API waits for the engine at most 30 s; this leaves room for the body before it.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);

/// Long enough for a person who watches, short enough that nothing stays for ever.
const CONNECTION_LIFE: Duration = Duration::from_secs(600);

/// Shorter than systemd's patience, long enough for a command that the engine is carrying out.
const FAREWELL: Duration = Duration::from_secs(5);

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: CONNECTIONS,
            head_within: HEAD_WITHIN,
            head_within_hurried: HEAD_WITHIN_HURRIED,
            head_bytes: HEAD_BYTES,
            buffer_bytes: BUFFER_BYTES,
            answer_within: ANSWER_WITHIN,
            connection_life: CONNECTION_LIFE,
            farewell: FAREWELL,
        }
    }
}

impl Limits {
    /// What the control socket grants: few clients, all of this machine.
    pub fn local() -> Limits {
        Limits { buffer_bytes: BUFFER_BYTES_LOCAL, ..Limits::default() }
    }
}
