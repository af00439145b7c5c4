//! The door for callers from afar: TCP, with TLS or behind a proxy that has it.
//!
//! Decides who gets one of the connections when there are few: nobody gets more than a share, and
//! strangers leave some for callers who are known. Who is turned away is turned away at once,
//! before anything is read or computed. Must not know what makes a caller known.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::http::origin::Origin;
use crate::http::room::{Places, Room};
use crate::http::server::{Accepted, Listener};
use crate::http::tls::Tls;

/// How a caller stands with whoever keeps the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is known of it.
    Stranger,
    /// It has shown lately who it is.
    Known,
    /// A proxy of ours, which speaks for many.
    Proxy,
}

/// Whoever knows the callers.
pub trait Doorkeeper: Send + Sync + 'static {
    /// How the caller at this address stands.
    fn standing(&self, address: IpAddr) -> Standing;

    /// A connection was turned away: there was no room, or its caller had its share.
    fn turned_away(&self);
}

/// How many connections there are to share out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// In all.
    pub connections: usize,
    /// Of these, how many strangers leave free.
    pub reserve: usize,
    /// For one caller, unless it is a proxy of ours.
    pub per_caller: usize,
}

/// A listening socket for callers from afar.
pub struct TcpDoor {
    listener: TcpListener,
    tls: Option<Tls>,
    keeper: Arc<dyn Doorkeeper>,
    room: Room,
    held: Arc<Held>,
    per_caller: usize,
}

/// Who is at the other end, and its hold on the connection: the place is free again when the last
/// clone is gone.
#[derive(Clone)]
pub struct Caller {
    /// From where the connection comes.
    pub address: SocketAddr,
    _share: Arc<Share>,
}

impl TcpDoor {
    /// A door at a socket that listens already.
    pub fn new(
        listener: TcpListener,
        tls: Option<Tls>,
        shares: Shares,
        keeper: Arc<dyn Doorkeeper>,
    ) -> TcpDoor {
        TcpDoor {
            listener,
            tls,
            keeper,
            room: Room::new(shares.connections, shares.reserve),
            held: Arc::default(),
            per_caller: shares.per_caller,
        }
    }

    fn admit(&self, address: IpAddr) -> Option<Share> {
        let standing = self.keeper.standing(address);
        let origin = (standing != Standing::Proxy).then(|| Origin::of(address));
        if !self.held.has_room(origin, self.per_caller) {
            return None;
        }
        let place = self.room.try_enter(standing != Standing::Stranger, 1)?;
        self.held.add(origin);
        Some(Share { held: Arc::clone(&self.held), origin, _place: place })
    }
}

impl Listener for TcpDoor {
    type Io = Either<TcpStream, TlsStream<TcpStream>>;
    type Peer = Caller;

    async fn accept(&mut self) -> io::Result<Accepted<Self::Io, Caller>> {
        let (stream, address, share) = loop {
            let (stream, address) = self.listener.accept().await?;
            match self.admit(address.ip()) {
                Some(share) => break (stream, address, share),
                None => self.keeper.turned_away(),
            }
        };
        let tls = self.tls.as_ref().map(Tls::acceptor);
        let greeting = async move {
            // An answer is one small packet: nothing is gained by waiting for more.
            stream.set_nodelay(true)?;
            let stream = match tls {
                None => Either::Left(stream),
                Some(acceptor) => Either::Right(acceptor.accept(stream).await?),
            };
            Ok((stream, Caller { address, _share: Arc::new(share) }))
        };
        Ok(Accepted { greeting: Box::pin(greeting), is_hurried: self.room.is_crowded() })
    }
}

/// How many connections each caller has. As many entries as connections at most.
#[derive(Default)]
struct Held(Mutex<BTreeMap<Origin, usize>>);

impl Held {
    fn has_room(&self, origin: Option<Origin>, most: usize) -> bool {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        origin.is_none_or(|origin| held.get(&origin).is_none_or(|count| *count < most))
    }

    fn add(&self, origin: Option<Origin>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(origin) = origin {
            *held.entry(origin).or_default() += 1;
        }
    }

    fn remove(&self, origin: Option<Origin>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(origin) = origin else { return };
        if let Some(count) = held.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                held.remove(&origin);
            }
        }
    }
}

struct Share {
    held: Arc<Held>,
    origin: Option<Origin>,
    _place: Places,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held.remove(self.origin);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::version::{TLS12, TLS13};
    use tokio_rustls::rustls::{
        ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    };

    use super::*;
    use crate::model::material::SecretBytes;

    #[derive(Default)]
    struct Keeper(AtomicUsize);

    impl Doorkeeper for Keeper {
        fn standing(&self, address: IpAddr) -> Standing {
            match address.to_string().as_str() {
                "192.0.2.1" => Standing::Known,
                "192.0.2.2" => Standing::Proxy,
                _ => Standing::Stranger,
            }
        }

        fn turned_away(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn door() -> TcpDoor {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shares = Shares { connections: 8, reserve: 3, per_caller: 2 };
        TcpDoor::new(listener, None, shares, Arc::new(Keeper::default()))
    }

    #[tokio::test]
    async fn nobody_has_more_than_a_share_and_strangers_leave_some_free() {
        let door = door().await;
        let admit = |text: &str| door.admit(text.parse().unwrap());
        let (first, second) = (admit("198.51.100.1").unwrap(), admit("198.51.100.1").unwrap());
        assert!(admit("198.51.100.1").is_none());
        let site = (admit("2001:db8::1").unwrap(), admit("2001:db8::2").unwrap());
        assert!(admit("2001:db8::3").is_none());
        let other = admit("198.51.100.2").unwrap();
        assert!(admit("198.51.100.3").is_none(), "strangers' room is full");
        let known = (admit("192.0.2.1").unwrap(), admit("192.0.2.2").unwrap());
        let proxy = admit("192.0.2.2").unwrap();
        assert!(admit("192.0.2.2").is_none());
        drop((first, second, site, other, known, proxy));
        assert!(door.held.0.lock().unwrap().is_empty());
        let many: Vec<_> = (0..8).map(|_| admit("192.0.2.2")).collect();
        assert!(many.iter().all(Option::is_some), "a proxy speaks for many");
    }

    /// A certificate for `localhost`: its chain, its key, and itself.
    fn certificate() -> (String, SecretBytes, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = SecretBytes::new(made.signing_key.serialize_pem().into_bytes());
        (made.cert.pem(), key, made.cert.der().clone())
    }

    /// What the door shows to somebody who believes nobody but `root`.
    async fn greeted(
        door: &mut TcpDoor,
        at: SocketAddr,
        root: &CertificateDer<'static>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Option<ProtocolVersion>, ()> {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let client = async {
            let stream = TcpStream::connect(at).await.unwrap();
            connector.connect("localhost".try_into().unwrap(), stream).await
        };
        let server = async { door.accept().await.unwrap().greeting.await.map(drop) };
        let (client, _) = tokio::join!(client, server);
        client.map(|stream| stream.get_ref().1.protocol_version()).map_err(drop)
    }

    #[tokio::test]
    async fn a_certificate_is_exchanged_while_the_door_stays_open() {
        let (chain, key, first) = certificate();
        let tls = Tls::new(chain.as_bytes(), &key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let shares = Shares { connections: 8, reserve: 3, per_caller: 4 };
        let keeper = Arc::new(Keeper::default());
        let mut door = TcpDoor::new(listener, Some(tls.clone()), shares, keeper);
        let greeted_12 = greeted(&mut door, at, &first, &[&TLS12]).await;
        assert_eq!(greeted_12, Ok(Some(ProtocolVersion::TLSv1_2)));
        let greeted_13 = greeted(&mut door, at, &first, &[&TLS13]).await;
        assert_eq!(greeted_13, Ok(Some(ProtocolVersion::TLSv1_3)));
        let (chain, key, second) = certificate();
        assert!(tls.renew(b"", &key).is_err());
        assert!(greeted(&mut door, at, &first, &[&TLS13]).await.is_ok(), "the old one stays");
        tls.renew(chain.as_bytes(), &key).unwrap();
        assert!(greeted(&mut door, at, &first, &[&TLS13]).await.is_err());
        assert!(greeted(&mut door, at, &second, &[&TLS13]).await.is_ok());
        assert!(door.held.0.lock().unwrap().is_empty(), "every place was given back");
    }

    #[tokio::test]
    async fn who_is_turned_away_is_turned_away_at_once() {
        let mut door = door().await;
        let at = door.listener.local_addr().unwrap();
        let mut held = Vec::new();
        for _ in 0..2 {
            let client = TcpStream::connect(at).await.unwrap();
            held.push((door.accept().await.unwrap().greeting.await.unwrap(), client));
        }
        let third = TcpStream::connect(at).await.unwrap();
        let accepting = door.accept();
        let closed = async {
            let mut byte = [0];
            third.readable().await.unwrap();
            third.try_read(&mut byte).unwrap_or(0)
        };
        tokio::select! {
            _ = accepting => panic!("it was let in"),
            read = closed => assert_eq!(read, 0),
        }
        assert_eq!(held[0].0.1.address, held[0].1.local_addr().unwrap());
        held.pop();
        let _fourth = TcpStream::connect(at).await.unwrap();
        assert!(door.accept().await.unwrap().greeting.await.is_ok());
    }
}
