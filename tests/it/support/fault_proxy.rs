//! A proxy that does what networks and broken servers do, at the request of a test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::daemon::signal;

/// What happens to one exchange.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The request arrives and is carried out; the connection closes instead of the answer.
    LoseAnswer,
    /// The request arrives and is carried out; no answer comes, the connection stays.
    Hang,
    /// The request arrives and is carried out; half of the answer comes.
    CutAnswer,
    /// The request arrives and is carried out; this comes back, headers and all.
    Answer(String),
}

/// On which side of a request the client dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The request never arrives.
    Before,
    /// It is carried out, and nobody hears the answer.
    After,
}

/// Kills the client at a request, counted over all proxies that share it.
#[derive(Default)]
pub(crate) struct Tripwire {
    armed: Mutex<Option<Armed>>,
    tripped: watch::Sender<bool>,
}

struct Armed {
    process: u32,
    /// Requests up to the one that trips.
    left: usize,
    side: Side,
}

impl Tripwire {
    /// Kills this process at its `number`-th request from now on.
    pub(crate) fn arm(&self, process: u32, number: usize, side: Side) {
        self.tripped.send_replace(false);
        *self.armed.lock().unwrap() = Some(Armed { process, left: number, side });
    }

    /// Lets everything pass from now on.
    pub(crate) fn disarm(&self) {
        self.armed.lock().unwrap().take();
    }

    /// Waits until it trips.
    pub(crate) async fn tripped(&self) {
        let mut tripped = self.tripped.subscribe();
        let _ = tripped.wait_for(|tripped| *tripped).await.expect("the sender is here");
    }

    /// Counts a request; answers where it trips, if it does.
    fn step(&self, request: &[u8]) -> Option<(u32, Side)> {
        if is_upkeep(request) {
            return None;
        }
        let mut armed = self.armed.lock().unwrap();
        let here = armed.as_mut()?;
        here.left -= 1;
        if here.left > 0 {
            return None;
        }
        armed.take().map(|armed| (armed.process, armed.side))
    }

    fn spring(&self, process: u32) {
        self.tripped.send_replace(true);
        signal(process, rustix::process::Signal::KILL);
    }
}

/// What a daemon asks Vault whether or not a rotation is open, at moments of its own.
fn is_upkeep(request: &[u8]) -> bool {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    ["/data/lease ", "/data/audit-head/", "/v1/auth/token/"].iter().any(|part| line.contains(part))
}

/// A running proxy. It ends when it is dropped.
pub(crate) struct FaultProxy {
    pub(crate) address: SocketAddr,
    faults: Arc<Mutex<Vec<Fault>>>,
    open: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl FaultProxy {
    /// A proxy before a server; faithful until told otherwise.
    pub(crate) async fn before(server: SocketAddr) -> FaultProxy {
        FaultProxy::with_tripwire(server, Arc::default()).await
    }

    /// A proxy that kills its client when the wire trips.
    pub(crate) async fn with_tripwire(server: SocketAddr, wire: Arc<Tripwire>) -> FaultProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let faults: Arc<Mutex<Vec<Fault>>> = Arc::default();
        let (open, opened) = watch::channel(true);
        let line = Line { server, faults: Arc::clone(&faults), wire, opened };
        let mut task = JoinSet::new();
        task.spawn(accept(listener, line));
        FaultProxy { address, faults, open, _task: task }
    }

    /// Holds every request back from now on.
    pub(crate) fn hold(&self) {
        self.open.send_replace(false);
    }

    /// Lets everything through again.
    pub(crate) fn let_go(&self) {
        self.open.send_replace(true);
    }

    /// Spoils the next exchange; called twice, the next two.
    pub(crate) fn spoil(&self, fault: Fault) {
        self.faults.lock().unwrap().push(fault);
    }

    /// A handle that loses the next answer.
    pub(crate) fn loser(&self) -> Box<dyn Fn() + Send + Sync> {
        let faults = Arc::clone(&self.faults);
        Box::new(move || faults.lock().unwrap().push(Fault::LoseAnswer))
    }
}

/// What each exchange passes.
#[derive(Clone)]
struct Line {
    server: SocketAddr,
    faults: Arc<Mutex<Vec<Fault>>>,
    wire: Arc<Tripwire>,
    opened: watch::Receiver<bool>,
}

async fn accept(listener: TcpListener, line: Line) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        connections.spawn(exchange(client, line.clone()));
    }
}

/// One exchange per connection: `Connection: close` is added, so both ends agree where it ends.
async fn exchange(mut client: TcpStream, line: Line) {
    let Line { server, faults, wire, mut opened } = line;
    let Some(request) = read_request(&mut client).await else { return };
    // A proxy that is gone holds nothing back.
    let _ = opened.wait_for(|open| *open).await.is_ok();
    let killing = wire.step(&request);
    if let Some((process, Side::Before)) = killing {
        return wire.spring(process);
    }
    let fault = {
        let mut faults = faults.lock().unwrap();
        if faults.is_empty() { None } else { Some(faults.remove(0)) }
    };
    let mut upstream = TcpStream::connect(server).await.unwrap();
    upstream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await.unwrap();
    if let Some((process, _)) = killing {
        return wire.spring(process);
    }
    let answer = match fault {
        None => answer,
        Some(Fault::LoseAnswer) => return,
        Some(Fault::Hang) => {
            // Until the client gives up.
            let _ = client.read(&mut [0]).await;
            return;
        }
        Some(Fault::CutAnswer) => answer[..answer.len() - 10].to_vec(),
        Some(Fault::Answer(text)) => text.into_bytes(),
    };
    // The client may have gone away: that is its right.
    let _ = client.write_all(&answer).await;
}

async fn read_request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let head = loop {
        if let Some(at) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        match client.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => request.extend_from_slice(&buffer[..length]),
        }
    };
    let text = String::from_utf8(request[..head].to_vec()).unwrap().to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    while request.len() < head + 4 + length {
        match client.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => request.extend_from_slice(&buffer[..length]),
        }
    }
    request.splice(head..head, b"\r\nconnection: close".iter().copied());
    Some(request)
}
