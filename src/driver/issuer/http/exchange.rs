//! One request and its answer.
//!
//! Decides how a call of a preset becomes bytes on the wire: credentials read afresh, holes filled,
//! headers marked sensitive. What the answer means is decided by whoever sent the call.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::driver::error::DriverError;
use crate::driver::issuer::http::HttpIssuer;
use crate::driver::issuer::http::answer::lost;
use crate::driver::issuer::http::parts::{AuthValue, Body, Call};
use crate::driver::issuer::http::template::{Filling, Unfilled};
use crate::model::material::SecretBytes;
use crate::model::reason::Reason;
use crate::net::answer::Answer;
use crate::net::request::Request;

impl HttpIssuer {
    /// Sends a call.
    pub(super) async fn send(
        &self,
        call: &Call,
        filling: Filling<'_>,
    ) -> Result<Answer, DriverError> {
        self.send_to(call, self.address(call, filling)?, filling).await
    }

    /// Sends a call to a path below the base, which was made from the call or found in an answer.
    pub(super) async fn send_to(
        &self,
        call: &Call,
        path: String,
        filling: Filling<'_>,
    ) -> Result<Answer, DriverError> {
        let mut auth = BTreeMap::new();
        for (name, source) in &self.auth {
            auth.insert(name.clone(), source.read().await?);
        }
        let filling = Filling { auth: Some(&auth), ..filling };
        let request = Request::new(call.method.clone(), path);
        let request = self.dress(request, call, filling);
        let request = request.map_err(|hole| self.unfilled(call, &hole))?;
        let sent = self.client.send(request).await;
        sent.map_err(|error| lost(&error, call.nature, &self.place(call)))
    }

    /// Path and query of a call, below the base.
    pub(super) fn address(&self, call: &Call, filling: Filling<'_>) -> Result<String, DriverError> {
        let path = call.path.render(filling).map_err(|hole| self.unfilled(call, &hole))?;
        Ok(path.as_str().to_owned())
    }

    /// Headers and body.
    fn dress(
        &self,
        mut request: Request,
        call: &Call,
        filling: Filling<'_>,
    ) -> Result<Request, Unfilled> {
        if call.authorised {
            for (name, value) in &self.compiled.auth {
                let text = match value {
                    AuthValue::Text(template) => template.render(filling)?,
                    AuthValue::Basic { user, password } => {
                        basic(&user.render(filling)?, &password.render(filling)?)
                    }
                };
                request = request.secret_header(name.as_str(), &bytes(text));
            }
        }
        for (name, template) in &call.headers {
            request = request.secret_header(name.as_str(), &bytes(template.render(filling)?));
        }
        Ok(match &call.body {
            None => request,
            Some(Body::Json(json)) => {
                request.body("application/json", bytes(json.render(filling)?))
            }
            Some(Body::Form(fields)) => {
                let mut parts = Vec::with_capacity(fields.len());
                for (at, (name, template)) in fields.iter().enumerate() {
                    let and = if at == 0 { "" } else { "&" };
                    let value = template.render(filling)?;
                    parts.push(joined(&[and, name, "=", value.as_str()]));
                }
                let parts: Vec<&str> = parts.iter().map(|part| part.as_str()).collect();
                request.body("application/x-www-form-urlencoded", bytes(joined(&parts)))
            }
        })
    }

    fn unfilled(&self, call: &Call, Unfilled(hole): &Unfilled) -> DriverError {
        DriverError::refused(
            Reason::Misconfigured,
            format!(
                "{}: {{{{{hole}}}}} cannot be filled in: it is missing, no text, or would change \
                 the request's address",
                self.place(call)
            ),
        )
    }
}

/// RFC 7617.
fn basic(user: &str, password: &str) -> Zeroizing<String> {
    let pair = joined(&[user, ":", password]);
    let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    joined(&["Basic ", &encoded])
}

/// The parts in one buffer that never grew, so that no copy of a secret is left behind.
fn joined(parts: &[&str]) -> Zeroizing<String> {
    let mut whole = Zeroizing::new(String::with_capacity(parts.iter().map(|p| p.len()).sum()));
    parts.iter().for_each(|part| whole.push_str(part));
    whole
}

fn bytes(mut text: Zeroizing<String>) -> SecretBytes {
    SecretBytes::new(std::mem::take(&mut *text).into_bytes())
}
