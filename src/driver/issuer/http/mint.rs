//! Minting: a key is made, or a value of ours installed.
//!
//! Decides what is believed of the answer. From the moment the request is out, whatever cannot be
//! understood "may have happened".

use std::collections::BTreeMap;

use serde_json::Value;

use crate::driver::error::DriverError;
use crate::driver::issuer::http::HttpIssuer;
use crate::driver::issuer::http::answer::{Nature, any, key_id, refusal, unexpected, unusable};
use crate::driver::issuer::http::parts::Mint;
use crate::driver::issuer::http::pointer::Answered;
use crate::driver::issuer::http::template::Filling;
use crate::driver::issuer::{Minted, Tag, copy_of};
use crate::model::capability::ValueFrom;
use crate::model::id::KeyId;
use crate::model::material::{Material, SecretBytes, VALUE_FIELD};
use crate::model::reason::Reason;
use crate::net::answer::Answer;

impl HttpIssuer {
    /// Sends `mint` or `roll` and takes from the answer what the preset says is in it.
    pub(super) async fn mint_with(
        &self,
        mint: &Mint,
        found: Option<&KeyId>,
        (tag, ours): (&Tag, Option<&Material>),
    ) -> Result<Minted, DriverError> {
        let filling = Filling { tag: Some(tag), ours, key_id: found, ..Filling::default() };
        let place = self.place(&mint.call);
        let answer = self.send(&mint.call, filling).await?;
        let exists = any(&mint.exists, &answer);
        if !exists {
            judge_mint(mint, &answer, &place)?;
        }
        let answered = Answered::parse(answer.body.expose());
        let json = answered.as_ref().filter(|_| !exists).map_or(&Value::Null, Answered::value);
        let mut key_id = match &mint.id {
            Some(id) if !exists => Some(key_id(id.text(json), Nature::Deed, &place)?),
            _ => None,
        };
        let mut value = mint.value.as_ref().and_then(|value| value.secret(json));
        let theirs = self.compiled.capabilities.value == ValueFrom::Theirs;
        let lacks_id =
            key_id.is_none() && self.compiled.read.as_ref().is_some_and(|read| read.id.is_some());
        if lacks_id || (theirs && mint.value.is_none()) {
            let filling = Filling { key_id: key_id.as_ref(), ..filling };
            let (read_id, read_value) = self.read_back(filling).await?;
            key_id = key_id.or(read_id);
            value = value.or(read_value);
        }
        let material = match (theirs, ours) {
            (false, Some(ours)) => copy_of(ours),
            (false, None) => return Err(defect(&place)),
            (true, _) => self.material(mint, value, json)?,
        };
        Ok(Minted { key_id, material })
    }

    /// The second request: for what the mint's answer did not hold. Whatever goes wrong with it,
    /// the mint itself is done, so the error says "may have happened".
    async fn read_back(
        &self,
        filling: Filling<'_>,
    ) -> Result<(Option<KeyId>, Option<SecretBytes>), DriverError> {
        let Some(read) = &self.compiled.read else { return Ok((None, None)) };
        let place = self.place(&read.call);
        let after_mint = |error: DriverError| DriverError::ambiguous(error.reason, error.text);
        let answer = self.send(&read.call, filling).await.map_err(after_mint)?;
        if !any(&read.ok, &answer) {
            return Err(after_mint(unexpected(&answer, Nature::Deed, &place)));
        }
        let answered = Answered::parse(answer.body.expose());
        let json = answered.as_ref().map_or(&Value::Null, Answered::value);
        let id = match &read.id {
            Some(id) => Some(key_id(id.text(json), Nature::Deed, &place)?),
            None => None,
        };
        Ok((id, read.value.as_ref().and_then(|value| value.secret(json))))
    }

    pub(super) fn material(
        &self,
        mint: &Mint,
        value: Option<SecretBytes>,
        json: &Value,
    ) -> Result<Material, DriverError> {
        let place = self.place(&mint.call);
        let missing = |what: &str| unusable(Nature::Deed, &place, what);
        let value = value.ok_or_else(|| missing("it does not hold the value"))?;
        let mut fields = BTreeMap::from([(VALUE_FIELD.to_owned(), value)]);
        for (name, pointer) in &mint.fields {
            let bytes = pointer.secret(json);
            let bytes = bytes.ok_or_else(|| missing("it does not hold every field"))?;
            fields.insert(name.clone(), bytes);
        }
        let material = Material::from_fields(fields);
        // The key exists now and nothing may use it: it counts as lost, so that it is looked for
        // and taken away before another one is minted.
        material.check().map_err(|weak| {
            DriverError::ambiguous(Reason::WeakValue, format!("{place}: the issuer minted: {weak}"))
        })?;
        Ok(material)
    }
}

/// What the answer to a mint says, if it is not the wished one.
pub(super) fn judge_mint(mint: &Mint, answer: &Answer, place: &str) -> Result<(), DriverError> {
    if any(&mint.full, answer) {
        return Err(DriverError::refused(
            Reason::IssuerFull,
            format!("{place}: the issuer has no room for another key"),
        ));
    }
    if any(&mint.conflict, answer) {
        return Err(DriverError::ambiguous(
            Reason::Ambiguous,
            format!("{place}: a key with this mark exists, so an earlier answer was lost"),
        ));
    }
    if any(&mint.refuse, answer) {
        return Err(refusal(place));
    }
    if any(&mint.ok, answer) {
        return Ok(());
    }
    Err(unexpected(answer, Nature::Deed, place))
}

fn defect(place: &str) -> DriverError {
    DriverError::refused(Reason::Defect, format!("{place}: called without the value to install"))
}
