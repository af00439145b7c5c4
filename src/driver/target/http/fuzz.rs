//! Entry for fuzzing: the reply of a service to a push, and to the question what it holds.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::driver::target::http::reply::{Expected, Said};
use crate::driver::target::http::wire::Kind;
use crate::driver::target::{Given, Nonce, Order};
use crate::model::fuzz::silent;
use crate::model::id::{Generation, RotationId, SecretName, TargetName, VersionId};
use crate::model::material::{Material, SecretBytes};
use crate::model::target::{Level, Wanted};
use crate::model::time::Timestamp;
use crate::signing::proof::Statement;

const ENVIRONMENT: &str = "prod";
const PROVED: VersionId = VersionId(3);

fn value() -> SecretBytes {
    SecretBytes::new(b"the value that only the service has".to_vec())
}

/// No reply that lags behind, runs ahead or lacks the right proof is believed.
pub(crate) fn reply(input: &[u8]) {
    let (secret, target) = (SecretName::new("billing"), TargetName::new("web"));
    let (secret, target) = (secret.expect("a name"), target.expect("a name"));
    let material = Material::single(value());
    let given =
        |version| (version, Given { material: &material, key_id: None, staged_at: Timestamp(0) });
    let accepted = vec![PROVED, VersionId(2)];
    let order = Order {
        secret: &secret,
        target: &target,
        rotation: &RotationId("r".to_owned()),
        given: &accepted.iter().copied().map(given).collect::<BTreeMap<_, _>>(),
        wanted: &Wanted { generation: Generation(7), accepted, current: Some(VersionId(2)) },
        prove: Some(PROVED),
        nonce: Nonce([7; 16]),
        now: Timestamp(0),
    };
    let body = SecretBytes::new(input.to_vec());
    for (kind, instance) in [(Kind::Push, Some("web-1")), (Kind::Observe, None)] {
        let expected = Expected {
            order: &order,
            kind,
            environment: ENVIRONMENT,
            instance,
            proof_field: None,
            place: "https://web.example",
        };
        match expected.judge(&body) {
            Ok(said) => believed(&expected, &said, input),
            Err(error) => silent(&error),
        }
        if let Some(error) = expected.explain(&body) {
            silent(&error);
        }
    }
}

fn believed(expected: &Expected<'_>, said: &Said, input: &[u8]) {
    let (seen, wanted) = (&said.seen, expected.order.wanted.generation);
    assert!(seen.generation <= wanted);
    assert!(expected.kind == Kind::Observe || seen.generation == wanted);
    assert!(expected.instance.is_none_or(|instance| instance == seen.by));
    let reply: Value = serde_json::from_slice(input).expect("what is believed is JSON");
    assert_eq!((&reply["target"], &reply["environment"]), (&"web".into(), &ENVIRONMENT.into()));
    let statement = Statement {
        target: "web",
        environment: ENVIRONMENT,
        instance: &seen.by,
        covers_all: said.covers_all,
        generation: seen.generation,
        accepted: &seen.accepted,
        current: seen.current,
        nonce: &expected.order.nonce.to_string(),
    };
    match reply["proof"].as_str() {
        None => assert_eq!(seen.level, Level::Acknowledged),
        Some(proof) => {
            let right = statement.prove(&value()).expect("plain parts");
            assert!(right.eq_ignore_ascii_case(proof), "a wrong proof is believed");
            assert_eq!(seen.level, Level::Proved);
        }
    }
}
