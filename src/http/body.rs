//! Reading a request's body: the only way in, with a cap on bytes.
//!
//! The time it may take is part of the listener's `answer_within`. A body may be a secret, so it
//! is gathered in one buffer that never grows and is wiped when it is dropped.

use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::http::room::{Places, Room};
use crate::model::material::SecretBytes;

/// Largest body that is a secret value: a certificate chain with its key, or a cloud's JSON key
/// file, is below 16 KiB.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Why a body could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// More bytes than the cap.
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    /// The connection ended, or what came was no body.
    #[error("the body did not arrive whole")]
    Broken,
    /// Too many large bodies are being read.
    #[error("there is no room for another large body")]
    NoRoom,
}

/// Reads a whole body of at most `max` bytes.
///
/// # Errors
/// [`BodyError::TooLarge`] as soon as it is known, before anything is read if the client announced
/// the length.
pub async fn read(body: Body, max: usize) -> Result<SecretBytes, BodyError> {
    let mut whole = Zeroizing::default();
    read_into(&mut whole, body, max).await?;
    Ok(SecretBytes::new(std::mem::take(&mut *whole)))
}

/// The same into memory that was used before, instead of what was in it.
///
/// # Errors
/// As [`read`]; what came until then is in the memory.
pub async fn read_into(
    whole: &mut Zeroizing<Vec<u8>>,
    mut body: Body,
    max: usize,
) -> Result<(), BodyError> {
    let announced = body.size_hint();
    if announced.lower() > max as u64 {
        return Err(BodyError::TooLarge(max));
    }
    let room = announced.exact().and_then(|n| usize::try_from(n).ok()).unwrap_or(max);
    if whole.capacity() < room {
        *whole = Zeroizing::new(Vec::with_capacity(room));
    }
    whole.clear();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > room - whole.len() {
            return Err(BodyError::TooLarge(max));
        }
        whole.extend_from_slice(data);
    }
    Ok(())
}

/// A body that was gathered, and the room it takes while it is held.
#[derive(Debug)]
pub struct Gathered {
    /// The bytes.
    pub bytes: SecretBytes,
    _room: Vec<Places>,
}

/// Bytes of one place in the room for bodies.
pub const PLACE_BYTES: usize = 1024;

/// Bytes of a body that need no room: most alerts are smaller, and must get in however many large
/// ones there are. All connections together have a few MiB of these.
const FREE_BYTES: usize = 16 * 1024;

/// Reads a whole body of at most `max` bytes from somebody who may not be honest: memory is taken
/// for what came, never for what was announced, and beyond a little only while `room` has places
/// of [`PLACE_BYTES`] for it. What was outgrown is wiped.
///
/// # Errors
/// As [`read`], and [`BodyError::NoRoom`].
pub async fn gather(
    mut body: Body,
    max: usize,
    room: &Room,
    known: bool,
) -> Result<Gathered, BodyError> {
    if body.size_hint().lower() > max as u64 {
        return Err(BodyError::TooLarge(max));
    }
    let mut places = Vec::new();
    let mut whole = Zeroizing::new(Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        let Some(data) = frame.data_ref() else { continue };
        let len = whole.len() + data.len();
        if len > max {
            return Err(BodyError::TooLarge(max));
        }
        if len > whole.capacity() {
            let capacity = len.next_power_of_two().clamp(PLACE_BYTES, max);
            let more = capacity.saturating_sub(FREE_BYTES.max(whole.capacity()));
            if more > 0 {
                let wanted = u32::try_from(more.div_ceil(PLACE_BYTES)).unwrap_or(u32::MAX);
                places.push(room.try_enter(known, wanted).ok_or(BodyError::NoRoom)?);
            }
            let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
            larger.extend_from_slice(&whole);
            whole = larger;
        }
        whole.extend_from_slice(data);
    }
    Ok(Gathered { bytes: SecretBytes::new(std::mem::take(&mut *whole)), _room: places })
}

/// Whether there is nothing in the body: what a request that takes none must show.
pub fn is_empty(body: &Body) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures_util::stream;

    use super::*;

    fn in_pieces(pieces: &'static [&'static [u8]]) -> Body {
        let pieces = pieces.iter().map(|p| Ok::<_, std::io::Error>(Bytes::from_static(p)));
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_body_is_taken_whole_or_not_at_all() {
        let taken = read(in_pieces(&[b"abc", b"", b"def"]), 6).await.unwrap();
        assert_eq!(taken.expose(), b"abcdef");
        assert_eq!(read(Body::from("abcdef"), 6).await.unwrap().expose(), b"abcdef");
        for body in [in_pieces(&[b"abcdef", b"g"]), Body::from("abcdefg")] {
            assert_eq!(read(body, 6).await.unwrap_err(), BodyError::TooLarge(6));
        }
    }

    #[tokio::test]
    async fn a_body_takes_the_place_of_the_one_before() {
        let mut whole = Zeroizing::default();
        for text in ["abcdefgh", "ij", "", "klmnopqrstuv"] {
            read_into(&mut whole, Body::from(text), 12).await.unwrap();
            assert_eq!(whole.as_slice(), text.as_bytes());
        }
        read_into(&mut whole, in_pieces(&[b"ab", b"c"]), 12).await.unwrap();
        assert_eq!(whole.as_slice(), b"abc");
        let refused = read_into(&mut whole, in_pieces(&[b"abc", b"defghijklm"]), 12).await;
        assert_eq!(refused.unwrap_err(), BodyError::TooLarge(12));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_broken() {
        let pieces = [Ok(Bytes::from_static(b"abc")), Err(std::io::Error::other("gone"))];
        let body = Body::from_stream(stream::iter(pieces));
        assert_eq!(read(body, 6).await.unwrap_err(), BodyError::Broken);
    }

    #[tokio::test]
    async fn a_gathered_body_takes_room_for_what_came_and_gives_it_back() {
        let room = Room::new(80, 16);
        let in_kib = |kib: usize| {
            let piece = |_| Ok::<_, std::io::Error>(Bytes::from(vec![7; 1024]));
            Body::from_stream(stream::iter((0..kib).map(piece)))
        };
        let max = 64 * 1024;
        let large = gather(in_kib(64), max, &room, false).await.unwrap();
        assert!(large.bytes.expose().iter().all(|b| *b == 7) && large.bytes.len() == max);
        let small = gather(in_kib(16), max, &room, false).await.unwrap();
        assert_eq!(small.bytes.len(), 16 * 1024, "what is small always has room");
        let refused = gather(in_kib(64), max, &room, false).await;
        assert_eq!(refused.unwrap_err(), BodyError::NoRoom);
        assert!(gather(in_kib(32), max, &room, true).await.is_ok(), "who is known has a reserve");
        drop(large);
        assert!(gather(in_kib(64), max, &room, false).await.is_ok());
        for long in [in_kib(65), Body::from(vec![0; max + 1])] {
            let refused = gather(long, max, &room, false).await;
            assert_eq!(refused.unwrap_err(), BodyError::TooLarge(max));
        }
        assert!(gather(in_kib(64), max, &room, false).await.is_ok(), "all room was given back");
    }

    #[test]
    fn no_body_and_an_empty_body_are_the_same() {
        assert!(is_empty(&Body::empty()));
        assert!(is_empty(&Body::from("")));
        assert!(!is_empty(&Body::from("a")));
        assert!(!is_empty(&in_pieces(&[b"a"])));
    }
}
