//! What stands between rotord and the world: proxies that count rotord's requests and stop the
//! one that was asked for, on either side of it, until it was decided what becomes of it.
//!
//! Decides when a request is held; must not know why. One exchange per connection: `Connection:
//! close` is added, so that both ends agree where it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// More than any request or answer here is long.
const MESSAGE_MAX: usize = 1024 * 1024;

/// Longest wait for a client that is to give up.
const GIVES_UP_WITHIN: Duration = Duration::from_secs(20);

/// How long after its client gave up a late request arrives: the client has tried again by then.
const LATE_BY: Duration = Duration::from_millis(1500);

/// On which side of a request it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// It has not arrived.
    Before,
    /// It is carried out, and nobody has heard the answer.
    Unanswered,
    /// The answer was heard.
    Answered,
}

/// What becomes of a request that was held.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// It goes on.
    Forward,
    /// Its connection ends.
    Drop,
    /// This is answered, whatever has happened.
    Answer(u16),
    /// It arrives after its client has given up.
    Late,
}

/// A request that is held until somebody says what becomes of it.
pub(crate) struct Held {
    /// Whose it is, method and path.
    pub(crate) what: String,
    then: oneshot::Sender<Then>,
}

impl Held {
    /// Lets it go.
    pub(crate) fn release(self, then: Then) {
        // Its client may be dead, and its connection gone.
        let _ = self.then.send(then);
    }
}

/// Counts the requests of one rotord over all of its proxies.
#[derive(Clone, Default)]
pub(crate) struct Wire(Arc<Mutex<Counter>>);

#[derive(Default)]
struct Counter {
    /// Whose it is, method and path, of each request since it was asked last.
    seen: Vec<String>,
    armed: Option<Armed>,
}

struct Armed {
    left: usize,
    side: Side,
    held: oneshot::Sender<Held>,
}

impl Wire {
    /// Holds the `number`-th request from now on.
    pub(crate) fn arm(&self, number: usize, side: Side) -> oneshot::Receiver<Held> {
        let (held, holding) = oneshot::channel();
        let mut counter = self.counter();
        counter.seen.clear();
        counter.armed = Some(Armed { left: number, side, held });
        holding
    }

    /// Lets everything pass. Answers what has passed since it was armed.
    pub(crate) fn disarm(&self) -> Vec<String> {
        let mut counter = self.counter();
        counter.armed = None;
        std::mem::take(&mut counter.seen)
    }

    /// Counts a request; answers where to hold it, if it is the one.
    fn step(&self, line: &str) -> Option<(Side, oneshot::Sender<Held>)> {
        if is_upkeep(line) {
            return None;
        }
        let mut counter = self.counter();
        counter.seen.push(line.to_owned());
        let armed = counter.armed.as_mut()?;
        armed.left -= 1;
        if armed.left > 0 {
            return None;
        }
        counter.armed.take().map(|armed| (armed.side, armed.held))
    }

    fn counter(&self) -> MutexGuard<'_, Counter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What rotord asks Vault whether or not a rotation is open, at moments of its own.
fn is_upkeep(line: &str) -> bool {
    ["/data/lease", "/data/audit-head/", "/v1/auth/token/", "/sys/health"]
        .iter()
        .any(|part| line.contains(part))
}

/// How a proxy behaves when no request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It hands on to this server.
    Straight(SocketAddr),
    /// It takes requests and never answers.
    Hung,
    /// It ends every connection.
    Dead,
}

/// A proxy. It ends when it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    manner: watch::Sender<Manner>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// A proxy before a server, which goes by this name.
    pub(crate) async fn before(
        name: &'static str,
        server: SocketAddr,
        wire: Wire,
    ) -> io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (manner, mannered) = watch::channel(Manner::Straight(server));
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Line { name, wire, manner: mannered }));
        Ok(Proxy { address, manner, _task: task })
    }

    /// Behaves like this from now on.
    pub(crate) fn behave(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }
}

#[derive(Clone)]
struct Line {
    name: &'static str,
    wire: Wire,
    manner: watch::Receiver<Manner>,
}

async fn accept(listener: TcpListener, line: Line) {
    let mut connections = JoinSet::new();
    loop {
        // Descriptors may run out for a moment.
        let Ok((client, _)) = listener.accept().await else { continue };
        connections.spawn(exchange(client, line.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn exchange(mut client: TcpStream, line: Line) {
    let Some(request) = read_request(&mut client).await else { return };
    let Line { name, wire, mut manner } = line;
    let what = format!("{name} {}", first_line(&request));
    let held = wire.step(&what).map(|(side, held)| Stop { side, held, what });
    let now = *manner.borrow_and_update();
    match now {
        // Until it behaves otherwise, or the client gives up.
        Manner::Hung => {
            tokio::select! {
                _ = manner.changed() => {}
                () = gone(&mut client) => {}
            }
        }
        Manner::Dead => {}
        Manner::Straight(server) => {
            // Whoever of the two is gone has a right to be.
            let _ = carry(&mut client, server, &request, held).await;
        }
    }
}

/// Carries one request to the server and its answer back.
async fn carry(
    client: &mut TcpStream,
    server: SocketAddr,
    request: &[u8],
    mut stop: Option<Stop>,
) -> io::Result<()> {
    let side = stop.as_ref().map(|stop| stop.side);
    let mut ask = async |at: Side| match stop.take_if(|stop| stop.side == at) {
        None => Then::Forward,
        Some(stop) => stop.hold().await,
    };
    match ask(Side::Before).await {
        Then::Forward => {}
        Then::Drop => return Ok(()),
        Then::Answer(status) => return refuse(client, status).await,
        Then::Late => {
            // A client that never gives up is not late.
            let _ = timeout(GIVES_UP_WITHIN, gone(client)).await;
            sleep(LATE_BY).await;
        }
    }
    let mut upstream = TcpStream::connect(server).await?;
    upstream.write_all(request).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    match ask(Side::Unanswered).await {
        Then::Forward | Then::Late => {}
        Then::Drop => return Ok(()),
        Then::Answer(status) => return refuse(client, status).await,
    }
    client.write_all(&answer).await?;
    client.shutdown().await?;
    if side == Some(Side::Answered) {
        gone(client).await;
    }
    ask(Side::Answered).await;
    Ok(())
}

/// Where to hold a request, and whom to tell.
struct Stop {
    side: Side,
    held: oneshot::Sender<Held>,
    what: String,
}

impl Stop {
    async fn hold(self) -> Then {
        let (then, decided) = oneshot::channel();
        if self.held.send(Held { what: self.what, then }).is_err() {
            return Then::Forward;
        }
        decided.await.unwrap_or(Then::Drop)
    }
}

async fn refuse(client: &mut TcpStream, status: u16) -> io::Result<()> {
    let body = r#"{"errors":["the proxy says so"]}"#;
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    client.write_all(answer.as_bytes()).await
}

/// Waits until the other side has closed its connection.
async fn gone(client: &mut TcpStream) {
    let mut rest = [0; 256];
    while matches!(client.read(&mut rest).await, Ok(length) if length > 0) {}
}

fn first_line(request: &[u8]) -> String {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    line.trim_end_matches(" HTTP/1.1").to_owned()
}

async fn read_request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let head = loop {
        if let Some(at) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        read_more(client, &mut request, &mut buffer).await?;
    };
    let text = std::str::from_utf8(request.get(..head)?).ok()?.to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(Some(0), |length| length.parse().ok())?;
    while request.len() < head + 4 + length {
        read_more(client, &mut request, &mut buffer).await?;
    }
    request.splice(head..head, b"\r\nconnection: close".iter().copied());
    Some(request)
}

async fn read_more(client: &mut TcpStream, to: &mut Vec<u8>, buffer: &mut [u8]) -> Option<()> {
    match client.read(buffer).await {
        Ok(length) if length > 0 && to.len() < MESSAGE_MAX => {
            to.extend_from_slice(buffer.get(..length)?);
            Some(())
        }
        _ => None,
    }
}
