//! A preset once it is read: what each verb of an issuer sends and what its answers mean.
//!
//! Decides nothing; it is what `compile` makes, `check` judges and the issuer carries out.

use http::{HeaderName, Method};
use url::Url;

use crate::driver::issuer::generated::Generator;
use crate::driver::issuer::http::answer::{Matcher, Nature};
use crate::driver::issuer::http::page::Paging;
use crate::driver::issuer::http::pointer::Pointer;
use crate::driver::issuer::http::template::{JsonTemplate, Template};
use crate::model::capability::Capabilities;

/// A preset whose parts can all be read.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) name: String,
    pub(super) capabilities: Capabilities,
    pub(super) generator: Option<Generator>,
    pub(super) base: Url,
    pub(super) auth: Vec<(HeaderName, AuthValue)>,
    pub(super) mint: Mint,
    pub(super) read: Option<Read>,
    pub(super) list: Option<List>,
    pub(super) roll: Option<Mint>,
    pub(super) disable: Option<End>,
    pub(super) revoke: Option<End>,
    pub(super) terminate: Option<End>,
    pub(super) verify: Option<Verify>,
}

/// What stands in a header that authorises.
#[derive(Debug)]
pub(super) enum AuthValue {
    Text(Template),
    Basic { user: Template, password: Template },
}

/// A request that can be sent.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) table: &'static str,
    pub(super) nature: Nature,
    pub(super) authorised: bool,
    pub(super) method: Method,
    pub(super) path: Template,
    pub(super) headers: Vec<(HeaderName, Template)>,
    pub(super) body: Option<Body>,
}

#[derive(Debug)]
pub(super) enum Body {
    Json(JsonTemplate),
    Form(Vec<(String, Template)>),
}

#[derive(Debug)]
pub(super) struct Mint {
    pub(super) call: Call,
    pub(super) ok: Vec<Matcher>,
    pub(super) exists: Vec<Matcher>,
    pub(super) conflict: Vec<Matcher>,
    pub(super) full: Vec<Matcher>,
    pub(super) refuse: Vec<Matcher>,
    pub(super) value: Option<Pointer>,
    pub(super) fields: Vec<(String, Pointer)>,
    pub(super) id: Option<Pointer>,
}

#[derive(Debug)]
pub(super) struct Read {
    pub(super) call: Call,
    pub(super) ok: Vec<Matcher>,
    pub(super) value: Option<Pointer>,
    pub(super) id: Option<Pointer>,
}

#[derive(Debug)]
pub(super) struct List {
    pub(super) call: Call,
    pub(super) ok: Vec<Matcher>,
    pub(super) empty: Vec<Matcher>,
    pub(super) paging: Paging,
    pub(super) items: Pointer,
    pub(super) item_id: Pointer,
    pub(super) facts: Facts,
    pub(super) detail: Option<Detail>,
}

#[derive(Debug)]
pub(super) struct Detail {
    pub(super) call: Call,
    pub(super) ok: Vec<Matcher>,
    pub(super) gone: Vec<Matcher>,
    pub(super) facts: Facts,
}

/// Where an item or its detail keeps what is known of a key.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) mark: Option<Pointer>,
    pub(super) created: Option<Pointer>,
    pub(super) last_used: Option<Pointer>,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) call: Call,
    pub(super) ok: Vec<Matcher>,
    pub(super) gone: Vec<Matcher>,
    pub(super) refuse: Vec<Matcher>,
}

#[derive(Debug)]
pub(super) struct Verify {
    pub(super) call: Call,
    pub(super) ok: Vec<Matcher>,
    pub(super) bad: Vec<Matcher>,
}
