//! From a preset and its parameters to requests that can be sent.
//!
//! Decides whether each key of a preset can be read: templates, pointers, headers, the base
//! address. Finds everything that is wrong, not only the first. Whether the parts fit together is
//! `check`'s business.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderName, Method};
use serde_json::Value;
use url::Url;

use crate::driver::issuer::generated::Generator;
use crate::driver::issuer::http::answer::{BodyTest, Matcher, Nature};
use crate::driver::issuer::http::page::Paging;
use crate::driver::issuer::http::parts::{
    AuthValue, Body, Call, Compiled, Detail, End, Facts, List, Mint, Read, Verify,
};
use crate::driver::issuer::http::pointer::Pointer;
use crate::driver::issuer::http::preset::Problem;
use crate::driver::issuer::http::spec::{
    AuthSpec, CallSpec, DetailSpec, EndSpec, ListSpec, Match, MintSpec, PageSpec, ReadSpec, Spec,
    VerifySpec,
};
use crate::driver::issuer::http::template::{JsonTemplate, Place, Scope, Template, escape};
use crate::model::capability::Capabilities;

const MINT: Scope = Scope { rotation: true, ours: true, auth: true, ..NOTHING };
const ROLL: Scope = Scope { key_id: true, ..MINT };
const READ: Scope = Scope { key_id: true, ours: true, ..NOTHING };
const LIST: Scope = Scope { page: true, ..NOTHING };
const DETAIL: Scope = Scope { key_id: true, ..NOTHING };
const END: Scope = DETAIL;
const VERIFY: Scope = Scope { key_id: true, key_fields: true, auth: true, ..NOTHING };
const NOTHING: Scope = Scope {
    auth: false,
    key_id: false,
    key_fields: false,
    ours: false,
    rotation: false,
    page: false,
};

/// Reads every part of a preset. What cannot be read is put into `problems`, and something
/// harmless into its place.
pub(super) struct Compiler<'a> {
    pub(super) params: BTreeMap<String, Value>,
    pub(super) auth_names: BTreeSet<String>,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Compiler<'_> {
    fn problem(&mut self, table: &str, key: &str, what: impl Into<String>) {
        let place = if key.is_empty() { table.to_owned() } else { format!("{table}.{key}") };
        self.problems.push(Problem { place, what: what.into() });
    }

    /// The base address: only parameters stand in it, and they as they are.
    pub(super) fn base(&mut self, text: &str) -> Option<Url> {
        let template = match Template::parse(text, Place::Plain, NOTHING, &self.params) {
            Ok(template) => template,
            Err(what) => {
                self.problem("base", "", what);
                return None;
            }
        };
        let base = template.fixed().and_then(|text| text.parse::<Url>().ok());
        // A missing parameter was reported already; what else an address must be, the client says.
        let params_fit = self.problems.is_empty();
        if base.is_none() && params_fit {
            self.problem("base", "", "is no address: expected one as https://api.example.com/v1");
        }
        base
    }

    pub(super) fn auth(&mut self, auth: &AuthSpec) -> Vec<(HeaderName, AuthValue)> {
        let scope = Scope { auth: true, ..NOTHING };
        let own = "authorization";
        match auth.kind.as_str() {
            "none" => Vec::new(),
            "header" => {
                if auth.headers.is_empty() {
                    self.problem("auth", "headers", "kind = \"header\" needs at least one header");
                }
                let headers = self.headers("auth", &auth.headers, scope);
                headers.into_iter().map(|(name, text)| (name, AuthValue::Text(text))).collect()
            }
            "bearer" => {
                let token = auth.token.as_deref().unwrap_or("{{auth.token}}");
                let text = self.template(("auth", "token"), &format!("Bearer {token}"), scope);
                vec![(HeaderName::from_static(own), AuthValue::Text(text))]
            }
            "basic" => {
                let user =
                    self.template(("auth", "user"), auth.user.as_deref().unwrap_or(""), scope);
                let password = auth.password.as_deref().unwrap_or("{{auth.password}}");
                let password = self.template(("auth", "password"), password, scope);
                vec![(HeaderName::from_static(own), AuthValue::Basic { user, password })]
            }
            other => {
                self.problem(
                    "auth",
                    "kind",
                    format!(
                        "{other:?} is not built in: there are header, bearer, basic and none. An \
                         issuer that signs its requests or fetches a token first needs a driver \
                         of its own"
                    ),
                );
                Vec::new()
            }
        }
    }

    pub(super) fn mint(&mut self, table: &'static str, mint: &MintSpec) -> Mint {
        let scope = if table == "roll" { ROLL } else { MINT };
        let fields = mint.fields.iter().filter_map(|(name, text)| {
            let pointer = self.pointer((table, "fields"), Some(text))?;
            Some((name.clone(), pointer))
        });
        let fields = fields.collect();
        Mint {
            call: self.call((table, Nature::Deed, true), mint.call(), scope),
            ok: self.wished(table, &mint.ok),
            exists: self.matchers((table, "exists"), &mint.exists),
            conflict: self.matchers((table, "conflict"), &mint.conflict),
            full: self.matchers((table, "full"), &mint.full),
            refuse: self.matchers((table, "refuse"), &mint.refuse),
            value: self.pointer((table, "value"), mint.value.as_deref()),
            fields,
            id: self.pointer((table, "id"), mint.id.as_deref()),
        }
    }

    pub(super) fn read(&mut self, read: &ReadSpec) -> Read {
        Read {
            call: self.call(("read", Nature::Question, true), read.call(), READ),
            ok: self.wished("read", &read.ok),
            value: self.pointer(("read", "value"), read.value.as_deref()),
            id: self.pointer(("read", "id"), read.id.as_deref()),
        }
    }

    pub(super) fn list(&mut self, list: &ListSpec) -> List {
        let whole = Pointer::parse("").expect("the empty pointer is legal");
        let texts = (list.mark.as_deref(), list.created.as_deref(), list.last_used.as_deref());
        List {
            call: self.call(("list", Nature::Question, true), list.call(), LIST),
            ok: self.wished("list", &list.ok),
            empty: self.matchers(("list", "empty"), &list.empty),
            paging: self.paging(list.page.as_ref()),
            items: self
                .pointer(("list", "items"), Some(&list.items))
                .unwrap_or_else(|| whole.clone()),
            item_id: self.pointer(("list", "item_id"), Some(&list.item_id)).unwrap_or(whole),
            facts: self.facts("list", texts),
            detail: list.detail.as_ref().map(|detail| self.detail(detail)),
        }
    }

    fn detail(&mut self, detail: &DetailSpec) -> Detail {
        let table = "list.detail";
        let texts =
            (detail.mark.as_deref(), detail.created.as_deref(), detail.last_used.as_deref());
        Detail {
            call: self.call((table, Nature::Question, true), detail.call(), DETAIL),
            ok: self.wished(table, &detail.ok),
            gone: self.matchers((table, "gone"), &detail.gone),
            facts: self.facts(table, texts),
        }
    }

    fn facts(
        &mut self,
        table: &str,
        (mark, created, last_used): (Option<&str>, Option<&str>, Option<&str>),
    ) -> Facts {
        Facts {
            mark: self.pointer((table, "mark"), mark),
            created: self.pointer((table, "created"), created),
            last_used: self.pointer((table, "last_used"), last_used),
        }
    }

    fn paging(&mut self, page: Option<&PageSpec>) -> Paging {
        match page {
            None => Paging::Single,
            Some(PageSpec::Number { start }) => Paging::Number { start: *start },
            Some(PageSpec::LinkHeader) => Paging::LinkHeader,
            Some(PageSpec::Cursor { next, query }) => {
                match self.pointer(("list", "page.next"), Some(next)) {
                    Some(next) => Paging::Cursor { next, query: query.clone() },
                    None => Paging::Single,
                }
            }
        }
    }

    pub(super) fn end(&mut self, table: &'static str, end: &EndSpec) -> End {
        End {
            call: self.call((table, Nature::Deed, true), end.call(), END),
            ok: self.wished(table, &end.ok),
            gone: self.matchers((table, "gone"), &end.gone),
            refuse: self.matchers((table, "refuse"), &end.refuse),
        }
    }

    pub(super) fn verify(&mut self, verify: &VerifySpec) -> Verify {
        if verify.bad.is_empty() {
            self.problem("verify", "bad", "name what shows that a key is refused, e.g. [401]");
        }
        Verify {
            call: self.call(("verify", Nature::Question, verify.authorised), verify.call(), VERIFY),
            ok: self.wished("verify", &verify.ok),
            bad: self.matchers(("verify", "bad"), &verify.bad),
        }
    }

    fn call(
        &mut self,
        (table, nature, authorised): (&'static str, Nature, bool),
        call: CallSpec<'_>,
        scope: Scope,
    ) -> Call {
        let method = call.method.parse::<Method>().ok().filter(|method| {
            method.as_str().bytes().all(|b| b.is_ascii_uppercase()) && *method != Method::CONNECT
        });
        if method.is_none() {
            let what =
                format!("{:?} is no method: GET, POST, PUT, PATCH, DELETE, LIST", call.method);
            self.problem(table, "method", what);
        }
        if !call.path.starts_with('/') || call.path.starts_with("//") {
            self.problem(table, "path", "starts with one '/', after which follows what base lacks");
        }
        let path = match Template::parse(call.path, Place::Url, scope, &self.params) {
            Ok(path) => path,
            Err(what) => {
                self.problem(table, "path", what);
                Template::nothing()
            }
        };
        let scope = Scope { page: false, ..scope };
        let body = match (call.json, call.form) {
            (Some(_), Some(_)) => {
                self.problem(table, "form", "a request has a json or a form body, not both");
                None
            }
            (Some(json), None) => self.json(table, json, scope),
            (None, Some(form)) => Some(self.form(table, form, scope)),
            (None, None) => None,
        };
        let headers = self.headers(table, call.headers, scope);
        let method = method.unwrap_or(Method::GET);
        Call { table, nature, authorised, method, path, headers, body }
    }

    fn json(&mut self, table: &str, json: &Value, scope: Scope) -> Option<Body> {
        match JsonTemplate::parse(json, scope, &self.params) {
            Ok(body) => {
                let templates = body.templates().into_iter();
                let names = templates.flat_map(|t| t.auth_names().map(str::to_owned));
                self.auth_names.extend(names);
                Some(Body::Json(body))
            }
            Err(problems) => {
                problems.into_iter().for_each(|what| self.problem(table, "json", what));
                None
            }
        }
    }

    fn form(&mut self, table: &str, form: &BTreeMap<String, String>, scope: Scope) -> Body {
        let mut fields = Vec::with_capacity(form.len());
        for (name, text) in form {
            match Template::parse(text, Place::Form, scope, &self.params) {
                Ok(template) => {
                    let name = escape(Place::Form, name).as_str().to_owned();
                    fields.push((name, self.noted(template)));
                }
                Err(what) => self.problem(table, "form", format!("{name}: {what}")),
            }
        }
        Body::Form(fields)
    }

    fn headers(
        &mut self,
        table: &str,
        headers: &BTreeMap<String, String>,
        scope: Scope,
    ) -> Vec<(HeaderName, Template)> {
        let mut read = Vec::with_capacity(headers.len());
        for (name, text) in headers {
            match name.parse::<HeaderName>() {
                Ok(header) => read.push((header, self.template((table, "headers"), text, scope))),
                Err(_) => self.problem(table, "headers", format!("{name:?} is no header name")),
            }
        }
        read
    }

    fn template(&mut self, (table, key): (&str, &str), text: &str, scope: Scope) -> Template {
        match Template::parse(text, Place::Plain, scope, &self.params) {
            Ok(template) => self.noted(template),
            Err(what) => {
                self.problem(table, key, what);
                Template::nothing()
            }
        }
    }

    fn noted(&mut self, template: Template) -> Template {
        self.auth_names.extend(template.auth_names().map(str::to_owned));
        template
    }

    fn pointer(&mut self, (table, key): (&str, &str), text: Option<&str>) -> Option<Pointer> {
        match Pointer::parse(text?) {
            Ok(pointer) => Some(pointer),
            Err(what) => {
                self.problem(table, key, what);
                None
            }
        }
    }

    fn wished(&mut self, table: &str, specs: &[Match]) -> Vec<Matcher> {
        if specs.is_empty() {
            self.problem(table, "ok", "name at least one status, such as [200]");
        }
        self.matchers((table, "ok"), specs)
    }

    fn matchers(&mut self, (table, key): (&str, &str), specs: &[Match]) -> Vec<Matcher> {
        let mut matchers = Vec::with_capacity(specs.len());
        for spec in specs {
            let matcher = match spec {
                Match::Status(status) => Matcher { status: *status, body: BodyTest::Any },
                Match::Body(body) => {
                    let test = match (&body.contains, &body.pointer) {
                        (Some(text), None) if !text.is_empty() && body.equals.is_none() => {
                            BodyTest::Contains(text.clone())
                        }
                        (None, Some(pointer)) => match self.pointer((table, key), Some(pointer)) {
                            Some(pointer) => BodyTest::At(pointer, body.equals.clone()),
                            None => continue,
                        },
                        _ => {
                            let what = "use { status, contains } or { status, pointer, equals }";
                            self.problem(table, key, what);
                            continue;
                        }
                    };
                    Matcher { status: body.status, body: test }
                }
            };
            if !(100..=599).contains(&matcher.status) {
                self.problem(table, key, format!("{} is no status", matcher.status));
            }
            matchers.push(matcher);
        }
        matchers
    }
}

/// Puts the parts together. `None` if anything at all is wrong; `problems` then says what.
pub(super) fn compile(spec: &Spec, compiler: &mut Compiler<'_>) -> Option<Compiled> {
    let generate = spec.generate.as_ref();
    let generator = generate.and_then(|generate| {
        Generator::new(generate.format.clone(), generate.bytes)
            .map_err(|error| compiler.problem("generate", "", error.to_string()))
            .ok()
    });
    let base = compiler.base(&spec.base);
    let compiled = Compiled {
        name: spec.preset.clone(),
        capabilities: Capabilities {
            value: spec.value,
            capacity: spec.capacity,
            old_dies: spec.old_dies,
            on_lost: spec.on_lost,
            remote: true,
            probes: spec.verify.is_some(),
            terminates: spec.terminate.is_some(),
            settle: spec.settle,
            exclusive: spec.exclusive,
        },
        generator,
        auth: compiler.auth(&spec.auth),
        mint: compiler.mint("mint", &spec.mint),
        read: spec.read.as_ref().map(|read| compiler.read(read)),
        list: spec.list.as_ref().map(|list| compiler.list(list)),
        roll: spec.roll.as_ref().map(|roll| compiler.mint("roll", roll)),
        disable: spec.disable.as_ref().map(|end| compiler.end("disable", end)),
        revoke: spec.revoke.as_ref().map(|end| compiler.end("revoke", end)),
        terminate: spec.terminate.as_ref().map(|end| compiler.end("terminate", end)),
        verify: spec.verify.as_ref().map(|verify| compiler.verify(verify)),
        base: base?,
    };
    Some(compiled)
}
