//! Whether the parts of a preset make an issuer.
//!
//! Decides which combinations are safe: above all, that the way out of a lost answer which a
//! preset declares can really be walked.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::driver::issuer::http::page::Paging;
use crate::driver::issuer::http::parts::{Body, Call, Compiled};
use crate::driver::issuer::http::preset::Problem;
use crate::driver::issuer::http::spec::{Param, Spec};
use crate::driver::issuer::http::template::{Hole, Template};
use crate::model::capability::{OldDies, OnLost, ValueFrom};
use crate::model::material::VALUE_FIELD;

/// Fills in what the config gives, the defaults for the rest, and says what does not fit.
pub(super) fn params(
    declared: &BTreeMap<String, Param>,
    given: &BTreeMap<String, Value>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Value> {
    let mut problem = |name: &str, what: String| {
        problems.push(Problem { place: format!("params.{name}"), what });
    };
    for name in given.keys().filter(|name| !declared.contains_key(*name)) {
        let known: Vec<_> = declared.keys().map(String::as_str).collect();
        problem(name, format!("the preset has no such parameter; there are {}", known.join(", ")));
    }
    let mut filled = BTreeMap::new();
    for (name, param) in declared {
        let value = match (given.get(name), &param.default) {
            (Some(value), default) => {
                let wanted = default.as_ref().map_or("a string", kind);
                if kind(value) != wanted {
                    problem(name, format!("must be {wanted}, not {}", kind(value)));
                }
                value.clone()
            }
            (None, Some(default)) => default.clone(),
            (None, None) => {
                problem(name, format!("is missing: {}", param.about));
                // Something that every template can hold, so that the rest is checked too.
                Value::String("missing".to_owned())
            }
        };
        filled.insert(name.clone(), value);
    }
    filled
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Number(_) => "a number",
        Value::Bool(_) => "true or false",
        Value::Null | Value::Array(_) | Value::Object(_) => "a string, number or boolean",
    }
}

/// Everything that is wrong with how the parts fit together.
pub(super) fn combination(spec: &Spec, issuer: &Compiled, problems: &mut Vec<Problem>) {
    let mut problem = |place: &str, what: &str| {
        problems.push(Problem { place: place.to_owned(), what: what.to_owned() });
    };
    check_value(issuer, &mut problem);
    check_fate(spec, issuer, &mut problem);
    check_on_lost(issuer, &mut problem);
    check_calls(issuer, &mut problem);
}

fn check_value(issuer: &Compiled, problem: &mut impl FnMut(&str, &str)) {
    let is_ours = |hole: &Hole| matches!(hole, Hole::OursField(_));
    let sends_ours = mentions(&issuer.mint.call, is_ours);
    let reads_value =
        issuer.mint.value.is_some() || issuer.read.as_ref().is_some_and(|r| r.value.is_some());
    match issuer.capabilities.value {
        ValueFrom::Ours => {
            if issuer.generator.is_none() {
                problem("generate", "value = \"ours\" needs [generate] with a format");
            }
            if !sends_ours {
                problem("mint", "value = \"ours\" needs {{ours.value}} in the body or a header");
            }
            if reads_value || !issuer.mint.fields.is_empty() {
                problem("mint.value", "with value = \"ours\" the answer's value is not read");
            }
        }
        ValueFrom::Theirs => {
            let roll = issuer.roll.as_ref().map(|roll| &roll.call);
            let read = issuer.read.as_ref().map(|read| &read.call);
            let calls = [Some(&issuer.mint.call), roll, read];
            if issuer.generator.is_some() || calls.iter().flatten().any(|c| mentions(c, is_ours)) {
                problem("value", "[generate] and {{ours.value}} belong to value = \"ours\"");
            }
            if !reads_value {
                problem("mint.value", "say where the answer keeps the value, e.g. \"/key\"");
            }
            if !issuer.mint.exists.is_empty() {
                problem("mint.exists", "only a value of ours can be there already; see conflict");
            }
        }
    }
    let read_needs_id = |call| mentions(call, |hole: &Hole| *hole == Hole::KeyId);
    if issuer.mint.id.is_none() && issuer.read.as_ref().is_some_and(|r| read_needs_id(&r.call)) {
        problem("read", "{{key.id}} is known here only if mint.id says where it is");
    }
    if issuer.mint.fields.iter().any(|(name, _)| name == VALUE_FIELD) {
        problem("mint.fields", "the field \"value\" is named by mint.value");
    }
}

fn check_fate(spec: &Spec, issuer: &Compiled, problem: &mut impl FnMut(&str, &str)) {
    let has_id =
        issuer.mint.id.is_some() || issuer.read.as_ref().is_some_and(|read| read.id.is_some());
    if issuer.capabilities.old_dies == OldDies::OnRevoke {
        if issuer.revoke.is_none() {
            problem("revoke", "old_dies = \"on_revoke\" needs [revoke]");
        }
        if spec.capacity.is_some_and(|capacity| capacity < 2) {
            problem(
                "capacity",
                "two keys must be able to live at once, or old_dies is \"on_mint\"",
            );
        }
    }
    if (issuer.revoke.is_some() || issuer.disable.is_some()) && !has_id {
        problem("mint.id", "[revoke] needs the key's id: say where the answer keeps it");
    }
    if issuer.disable.is_some() && issuer.revoke.is_none() {
        problem("disable", "is the step before [revoke], which is missing");
    }
    if spec.revision == 0 {
        problem("revision", "counts from 1");
    }
}

fn check_on_lost(issuer: &Compiled, problem: &mut impl FnMut(&str, &str)) {
    let findable = issuer.list.as_ref().is_some_and(|list| {
        let facts = list.detail.as_ref().map_or(&list.facts, |detail| &detail.facts);
        facts.mark.is_some() || facts.created.is_some()
    });
    let in_vain = "the new key must be findable: [list] with mark or created";
    match issuer.capabilities.on_lost {
        OnLost::Repeat => {
            let theirs = issuer.capabilities.value == ValueFrom::Theirs;
            if theirs && issuer.capabilities.old_dies == OldDies::OnRevoke {
                problem("on_lost", "\"repeat\" would leave the lost key alive: use \"sweep\"");
            }
        }
        OnLost::Sweep => {
            if !findable {
                problem("on_lost", in_vain);
            }
            if issuer.revoke.is_none() {
                problem("on_lost", "\"sweep\" needs [revoke]");
            }
        }
        OnLost::AdoptThenRoll => {
            if !findable {
                problem("on_lost", in_vain);
            }
            if issuer.roll.is_none() {
                problem("on_lost", "\"adopt_then_roll\" needs [roll]");
            }
        }
        OnLost::Manual => {}
    }
}

fn check_calls(issuer: &Compiled, problem: &mut impl FnMut(&str, &str)) {
    if let Some(list) = &issuer.list {
        let numbered = matches!(list.paging, Paging::Number { .. });
        if numbered != mentions(&list.call, |hole| *hole == Hole::Page) {
            problem("list.page", "{{page}} stands in the path if and only if kind is \"number\"");
        }
        if let Some(detail) = &list.detail
            && !mentions(&detail.call, |hole| *hole == Hole::KeyId)
        {
            problem("list.detail", "{{key.id}} is missing: every item would get the same detail");
        }
    }
    let ends = [&issuer.disable, &issuer.revoke, &issuer.terminate];
    for end in ends.into_iter().flatten() {
        if !mentions(&end.call, |hole| *hole == Hole::KeyId) {
            problem(end.call.table, "{{key.id}} is missing: it would end more than one key");
        }
    }
    if let Some(verify) = &issuer.verify
        && !mentions(&verify.call, |hole| matches!(hole, Hole::KeyField(_)))
    {
        problem("verify", "{{key.value}} is missing: it would say nothing about the key");
    }
}

fn mentions(call: &Call, wanted: impl Fn(&Hole) -> bool + Copy) -> bool {
    let mut templates: Vec<&Template> = vec![&call.path];
    templates.extend(call.headers.iter().map(|(_, template)| template));
    match &call.body {
        Some(Body::Json(json)) => templates.extend(json.templates()),
        Some(Body::Form(form)) => templates.extend(form.iter().map(|(_, template)| template)),
        None => {}
    }
    templates.iter().any(|template| template.mentions(wanted))
}
