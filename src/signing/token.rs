//! A shared token that travels with every request: GitLab's `X-Gitlab-Token` and its revocation
//! calls. Whoever reads one request can send others; it is taken where nothing better is offered.

use aws_lc_rs::digest::{SHA256, digest};

use crate::model::material::SecretBytes;
use crate::signing::Refusal;

/// Judges a token. Answers the place of the one it equals; every token is compared, whatever was
/// found before, by digests of one length, so that time tells neither content nor length.
///
/// # Errors
/// [`Refusal::BadSignature`].
pub fn verify(tokens: &[&SecretBytes], given: &[u8]) -> Result<usize, Refusal> {
    let given = digested(given);
    let mut found = None;
    for (place, token) in tokens.iter().enumerate() {
        let same = digested(token.expose()).same(&given);
        if same && found.is_none() {
            found = Some(place);
        }
    }
    found.ok_or(Refusal::BadSignature)
}

/// The token behind `Bearer `, or the text as it is: senders differ, and no token of ours begins
/// with that word.
pub fn without_bearer(header: &[u8]) -> &[u8] {
    const BEARER: &[u8] = b"bearer ";
    match header.split_at_checked(BEARER.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER) => token.trim_ascii(),
        _ => header.trim_ascii(),
    }
}

fn digested(bytes: &[u8]) -> SecretBytes {
    SecretBytes::new(digest(&SHA256, bytes).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_token_or_nothing() {
        let new = SecretBytes::new(b"token-of-this-quarter".to_vec());
        let old = SecretBytes::new(b"token-of-last-quarter".to_vec());
        assert_eq!(verify(&[&new, &old], b"token-of-this-quarter"), Ok(0));
        assert_eq!(verify(&[&new, &old], b"token-of-last-quarter"), Ok(1));
        let refused = Err(Refusal::BadSignature);
        for bad in [&b""[..], b"token-of-this-quarte", b"token-of-this-quarter ", b"\0"] {
            assert_eq!(verify(&[&new, &old], bad), refused);
        }
        assert_eq!(verify(&[], b"token-of-this-quarter"), refused);
    }

    #[test]
    fn the_word_before_a_token_may_be_there() {
        assert_eq!(without_bearer(b"abc"), b"abc");
        assert_eq!(without_bearer(b"Bearer abc"), b"abc");
        assert_eq!(without_bearer(b"bearer  abc "), b"abc");
        assert_eq!(without_bearer(b"Basic abc"), b"Basic abc");
        assert_eq!(without_bearer(b"Bearer"), b"Bearer");
    }
}
