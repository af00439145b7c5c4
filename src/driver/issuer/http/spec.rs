//! A REST issuer as data: the shape of a preset's text.
//!
//! Decides which keys a preset has; whether they make sense together is decided in `compile`.
//! Presets describe requests and where the answers keep things. There are no loops, conditions or
//! scripts: an issuer that needs more gets a driver of its own.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::driver::issuer::generated::{BYTES_DEFAULT, Format};
use crate::model::capability::{OldDies, OnLost, ValueFrom};
use crate::model::time::Span;

/// A whole preset, as its TOML has it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its name, as the config asks for it.
    pub preset: String,
    /// Counted up with every change, so that an override can be told from what it overrides.
    pub revision: u32,
    /// One sentence for the one who chooses.
    pub summary: String,
    /// Who makes the value.
    pub value: ValueFrom,
    /// How many keys can live at once; absent if there is no limit.
    pub capacity: Option<u32>,
    /// What ends an old key.
    pub old_dies: OldDies,
    /// The way out of a lost answer to `mint`.
    pub on_lost: OnLost,
    /// Whether every key of the principal is ours.
    #[serde(default)]
    pub exclusive: bool,
    /// How long a new key may take before it works everywhere.
    #[serde(default)]
    pub settle: Span,
    /// Scheme, host, port and the path before every request's. Only parameters may stand in it.
    pub base: String,
    /// What the config fills in.
    #[serde(default)]
    pub params: BTreeMap<String, Param>,
    /// How requests are authorised.
    pub auth: AuthSpec,
    /// How a value of ours is made; only with `value = "ours"`.
    pub generate: Option<Generate>,
    /// Makes a key, or installs a value of ours.
    pub mint: MintSpec,
    /// A second request after `mint`, for what its answer did not hold.
    pub read: Option<ReadSpec>,
    /// Every key of the principal.
    pub list: Option<ListSpec>,
    /// A new value for a key found after a lost answer.
    pub roll: Option<MintSpec>,
    /// The reversible step before `revoke`.
    pub disable: Option<EndSpec>,
    /// Ends a key.
    pub revoke: Option<EndSpec>,
    /// Ends the live sessions of a revoked key.
    pub terminate: Option<EndSpec>,
    /// Tries a key.
    pub verify: Option<VerifySpec>,
}

/// A parameter that a config may or must give.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// What it means, for the one who fills it in.
    pub about: String,
    /// Its value if the config gives none; without one the config must. Its JSON type (string,
    /// number, boolean) is the parameter's type; a parameter without a default is a string.
    pub default: Option<Value>,
}

/// How requests are authorised.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSpec {
    /// `header`, `bearer`, `basic` or `none`.
    pub kind: String,
    /// For `header`: the headers, by name.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// For `bearer`: the token; `{{auth.token}}` if absent.
    pub token: Option<String>,
    /// For `basic`: the user name.
    pub user: Option<String>,
    /// For `basic`: the password; `{{auth.password}}` if absent.
    pub password: Option<String>,
}

/// How a value of ours is made.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// How it is written.
    pub format: Format,
    /// How many random bytes it has.
    #[serde(default = "bytes_default")]
    pub bytes: usize,
}

fn bytes_default() -> usize {
    BYTES_DEFAULT
}

/// Recognises an answer: by its status, and if need be by its body.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a status such as 404, { status = 500, contains = \"...\" } or \
                 { status = 200, pointer = \"/ok\", equals = false }"
)]
pub enum Match {
    /// This status.
    Status(u16),
    /// This status with this body.
    Body(BodyMatch),
}

/// Recognises an answer by status and body. The body is looked at and never shown.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyMatch {
    /// The status.
    pub status: u16,
    /// Text that the body contains.
    pub contains: Option<String>,
    /// A JSON pointer to something in the body ...
    pub pointer: Option<String>,
    /// ... that equals this; without it, that is there at all.
    pub equals: Option<Value>,
}

/// How the next page of a list is found.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum PageSpec {
    /// `{{page}}` counts up from `start` until a page is empty.
    Number {
        /// The number of the first page.
        start: u64,
    },
    /// The `Link` header with `rel="next"` (RFC 8288).
    LinkHeader,
    /// The answer holds a cursor, which goes into the query of the next request.
    Cursor {
        /// Where the answer keeps it; absent, null or empty on the last page.
        next: String,
        /// The name it has in the query.
        query: String,
    },
}

/// A request without what is asked of its answer.
#[derive(Clone, Debug)]
pub struct CallSpec<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query, after `base`.
    pub path: &'a str,
    /// Headers of this request.
    pub headers: &'a BTreeMap<String, String>,
    /// A JSON body.
    pub json: Option<&'a Value>,
    /// A form body.
    pub form: Option<&'a BTreeMap<String, String>>,
}

macro_rules! section {
    ($(#[$doc:meta])* $type:ident { $($(#[$field_doc:meta])* $field:ident: $of:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $type {
            /// The method.
            pub method: String,
            /// Path and query, after `base`.
            pub path: String,
            /// Headers of this request, besides those of `[auth]`.
            #[serde(default)]
            pub headers: BTreeMap<String, String>,
            /// A JSON body.
            pub json: Option<Value>,
            /// A form body.
            pub form: Option<BTreeMap<String, String>>,
            /// What answers the request as wished.
            pub ok: Vec<Match>,
            $($(#[$field_doc])* pub $field: $of,)*
        }

        impl $type {
            /// The request in it.
            pub fn call(&self) -> CallSpec<'_> {
                CallSpec {
                    method: &self.method,
                    path: &self.path,
                    headers: &self.headers,
                    json: self.json.as_ref(),
                    form: self.form.as_ref(),
                }
            }
        }
    };
}

section! {
    /// `[mint]` and `[roll]`.
    MintSpec {
        /// The value is installed already: as good as `ok`. Only for values of ours.
        #[serde(default)]
        exists: Vec<Match>,
        /// A key with this mark was minted before: its answer was lost.
        #[serde(default)]
        conflict: Vec<Match>,
        /// No room for another key.
        #[serde(default)]
        full: Vec<Match>,
        /// An answer that looks like `ok` and is a refusal.
        #[serde(default)]
        refuse: Vec<Match>,
        /// Where the answer keeps the value.
        value: Option<String>,
        /// Where it keeps further fields of the material, by name.
        #[serde(default)]
        fields: BTreeMap<String, String>,
        /// Where it keeps the key's id.
        id: Option<String>,
    }
}

section! {
    /// `[read]`.
    ReadSpec {
        /// Where the answer keeps the value.
        value: Option<String>,
        /// Where it keeps the key's id.
        id: Option<String>,
    }
}

section! {
    /// `[list]`.
    ListSpec {
        /// What says that there is no key at all.
        #[serde(default)]
        empty: Vec<Match>,
        /// How the next page is found; absent if there is only one.
        page: Option<PageSpec>,
        /// Where the answer keeps the list.
        items: String,
        /// Where an item keeps the key's id; `""` if the item is the id.
        item_id: String,
        /// Where an item keeps the mark.
        mark: Option<String>,
        /// Where an item keeps the moment of its creation.
        created: Option<String>,
        /// Where an item keeps the moment of its last use.
        last_used: Option<String>,
        /// One more request per item, for what the list does not hold.
        detail: Option<DetailSpec>,
    }
}

section! {
    /// `[list.detail]`: its pointers are used in place of those of `[list]`.
    DetailSpec {
        /// The key went away since it was listed.
        #[serde(default)]
        gone: Vec<Match>,
        /// Where the answer keeps the mark.
        mark: Option<String>,
        /// Where it keeps the moment of its creation.
        created: Option<String>,
        /// Where it keeps the moment of its last use.
        last_used: Option<String>,
    }
}

section! {
    /// `[disable]`, `[revoke]` and `[terminate]`.
    EndSpec {
        /// The key is gone: the wish is fulfilled.
        #[serde(default)]
        gone: Vec<Match>,
        /// An answer that looks like `ok` and is a refusal.
        #[serde(default)]
        refuse: Vec<Match>,
    }
}

section! {
    /// `[verify]`.
    VerifySpec {
        /// Whether the request carries what `[auth]` says. A probe that shows the key itself
        /// does not.
        #[serde(default)]
        authorised: bool,
        /// What shows that the issuer judged the key and refused it.
        bad: Vec<Match>,
    }
}
