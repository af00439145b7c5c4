//! Reading a request's body: the only way in, with a cap on bytes.
//!
//! The time it may take is part of the listener's `answer_within`. A body may be a secret, so it
//! is gathered in one buffer that never grows and is wiped when it is dropped.

use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use thiserror::Error;

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
}

/// Reads a whole body of at most `max` bytes.
///
/// # Errors
/// [`BodyError::TooLarge`] as soon as it is known, before anything is read if the client announced
/// the length.
pub async fn read(mut body: Body, max: usize) -> Result<SecretBytes, BodyError> {
    let announced = body.size_hint();
    if announced.lower() > max as u64 {
        return Err(BodyError::TooLarge(max));
    }
    let room = announced.exact().and_then(|n| usize::try_from(n).ok()).unwrap_or(max);
    let mut whole = zeroize::Zeroizing::new(Vec::with_capacity(room));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > room - whole.len() {
            return Err(BodyError::TooLarge(max));
        }
        whole.extend_from_slice(data);
    }
    Ok(SecretBytes::new(std::mem::take(&mut *whole)))
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
    async fn a_body_that_breaks_off_is_broken() {
        let pieces = [Ok(Bytes::from_static(b"abc")), Err(std::io::Error::other("gone"))];
        let body = Body::from_stream(stream::iter(pieces));
        assert_eq!(read(body, 6).await.unwrap_err(), BodyError::Broken);
    }

    #[test]
    fn no_body_and_an_empty_body_are_the_same() {
        assert!(is_empty(&Body::empty()));
        assert!(is_empty(&Body::from("")));
        assert!(!is_empty(&Body::from("a")));
        assert!(!is_empty(&in_pieces(&[b"a"])));
    }
}
