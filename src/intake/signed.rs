//! The two schemes in which anybody may sign for us, taken from a delivery's headers.

use crate::intake::Delivery;
use crate::intake::reading::header;
use crate::model::material::SecretBytes;
use crate::signing::key::SigningKey;
use crate::signing::{Refusal, standard, xpi};

/// Judges a delivery by Standard Webhooks. Header names in the form of Svix are not looked at.
///
/// # Errors
/// [`Refusal`]; headers that are not there are a bad signature.
pub(super) fn by_standard(delivery: &Delivery<'_>, keys: &[&SecretBytes]) -> Result<(), Refusal> {
    let given = (
        header(delivery, standard::ID_HEADER),
        header(delivery, standard::TIMESTAMP_HEADER),
        header(delivery, standard::SIGNATURE_HEADER),
    );
    let (Some(id), Some(timestamp), Some(signature)) = given else {
        return Err(Refusal::BadSignature);
    };
    let message = standard::Message { id, timestamp, signature, body: delivery.body.expose() };
    standard::verify(&signing(keys), &message, delivery.at).map(|_| ())
}

/// Judges a delivery by X-Pi.
///
/// # Errors
/// [`Refusal`]; headers that are not there are a bad signature.
pub(super) fn by_xpi(delivery: &Delivery<'_>, keys: &[&SecretBytes]) -> Result<(), Refusal> {
    let given = (header(delivery, xpi::TIMESTAMP_HEADER), header(delivery, xpi::SIGNATURE_HEADER));
    let (Some(timestamp), Some(signature)) = given else { return Err(Refusal::BadSignature) };
    let message = xpi::Message { timestamp, signature, body: delivery.body.expose() };
    xpi::verify(&signing(keys), &message, delivery.at).map(|_| ())
}

/// One that passes is enough; otherwise what a holder of the key did wrong is told before what
/// anybody could have done.
///
/// # Errors
/// [`Refusal`].
pub(super) fn either(one: Result<(), Refusal>, other: Result<(), Refusal>) -> Result<(), Refusal> {
    match (one, other) {
        (Ok(()), _) | (_, Ok(())) => Ok(()),
        (Err(Refusal::BadSignature), other) => other,
        (one, _) => one,
    }
}

/// What is no key (too short, broken base64 behind `whsec_`) signs nothing.
fn signing(keys: &[&SecretBytes]) -> Vec<SigningKey> {
    keys.iter().filter_map(|key| SigningKey::new(key).ok()).collect()
}
