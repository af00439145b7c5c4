//! Pushes over HTTP, against the example receiver and against receivers that misbehave.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::stream;
use rotord::driver::error::DriverError;
use rotord::driver::target::channel::Channel;
use rotord::driver::target::http::{Http, Reach, Settings, client_settings};
use rotord::driver::target::{Given, Target};
use rotord::model::failure::Class;
use rotord::model::id::{SecretName, VersionId};
use rotord::model::material::{Material, SecretBytes};
use rotord::model::reason::Reason;
use rotord::model::target::Level;
use rotord::model::time::Span;
use rotord::net::Client;
use rotord::signing::key::SigningKey;
use rotord::signing::standard::MessageId;
use rotord::signing::{headers, standard, xpi};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::book::{Book, holds, value, wish};
use crate::support::target_contract::{Bench, conforms};

#[path = "../../../examples/webhook_receiver.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "each example has the keyring as its own")]
mod webhook_receiver;
#[path = "../../../examples/webhook_sender.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "each example has the keyring as its own")]
mod webhook_sender;

use webhook_receiver::common::{Identity, Keyring, now};

const CHANNEL_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_CHANNEL_KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// How the service behaves.
#[derive(Clone)]
enum Manner {
    /// As the example does.
    Good,
    /// Takes it in, answers as the example does, then changes the answer.
    Twist(fn(&mut Value)),
    /// Takes it in and answers something else.
    Answers(u16, &'static str),
    /// Never answers.
    Hangs,
    /// Answers with a hundred megabytes.
    Floods,
    /// Points to where it is itself.
    Redirects,
}

/// A dependent service around the example's keyring.
struct Service {
    keyring: Mutex<Arc<Keyring>>,
    identity: Identity,
    manner: Mutex<Manner>,
    seen: Mutex<Vec<(HeaderMap, Bytes)>>,
    _key_file: NamedTempFile,
}

impl Service {
    fn new(instance: &str, covers_all: bool) -> Arc<Service> {
        let key_file = NamedTempFile::new().unwrap();
        std::fs::write(key_file.path(), CHANNEL_KEY).unwrap();
        let identity = Identity {
            target: "t".to_owned(),
            environment: "prod".to_owned(),
            instance: instance.to_owned(),
            covers_all,
            channel_key_file: key_file.path().to_owned(),
        };
        Arc::new(Service {
            keyring: Mutex::new(Arc::new(Keyring::new(identity.clone()).unwrap())),
            identity,
            manner: Mutex::new(Manner::Good),
            seen: Mutex::default(),
            _key_file: key_file,
        })
    }

    fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn restart(&self) {
        *self.keyring.lock().unwrap() = Arc::new(Keyring::new(self.identity.clone()).unwrap());
    }

    fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.lock().unwrap())
    }

    fn accepts(&self, value: &str) -> bool {
        let id = MessageId::new("m").unwrap();
        let signed = headers(&[key(value)], &id, now(), b"{}");
        self.keyring().verify(&header_map(&signed), b"{}").is_ok()
    }

    fn uses(&self, value: &str) -> bool {
        let id = MessageId::new("m").unwrap();
        let Some((_, signed)) = self.keyring().sign(&id, b"{}") else { return false };
        signed[2].1 == standard::sign(&[key(value)], &id, at_second(&signed[1].1), b"{}")
    }
}

fn at_second(text: &str) -> rotord::model::time::Timestamp {
    rotord::model::time::Timestamp::from_seconds(text.parse().unwrap())
}

fn key(text: &str) -> SigningKey {
    SigningKey::new(&SecretBytes::new(text.as_bytes().to_vec())).unwrap()
}

fn header_map(signed: &[(&'static str, String)]) -> HeaderMap {
    signed.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

async fn push(State(app): State<Arc<Service>>, headers: HeaderMap, body: Bytes) -> Response {
    app.seen.lock().unwrap().push((headers.clone(), body.clone()));
    let manner = app.manner.lock().unwrap().clone();
    let answer = app.keyring().receive(&headers, &body);
    match manner {
        Manner::Good => answer.into_response(),
        Manner::Twist(twist) => match answer {
            Ok((status, Json(reply))) => {
                let mut reply = serde_json::to_value(reply).unwrap();
                twist(&mut reply);
                (status, Json(reply)).into_response()
            }
            Err(status) => status.into_response(),
        },
        Manner::Answers(status, text) => {
            (StatusCode::from_u16(status).unwrap(), text).into_response()
        }
        Manner::Hangs => std::future::pending().await,
        Manner::Floods => {
            let chunk = Bytes::from(vec![b' '; 1 << 20]);
            let chunks = (0..100).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
            Body::from_stream(stream::iter(chunks)).into_response()
        }
        Manner::Redirects => {
            (StatusCode::TEMPORARY_REDIRECT, [("location", "/rotord")]).into_response()
        }
    }
}

/// One or several instances of a service, each on a port of its own, and the target that pushes
/// to them.
struct OnBench {
    services: Vec<Arc<Service>>,
    addresses: Vec<(String, String)>,
    target: Http,
    _serving: JoinSet<()>,
}

impl OnBench {
    /// One service that covers all.
    async fn single() -> OnBench {
        OnBench::start(vec![Service::new("t-0", true)], all).await
    }

    /// Several instances, listed.
    async fn listed(names: &[&str]) -> OnBench {
        OnBench::start(names.iter().map(|name| Service::new(name, false)).collect(), each).await
    }

    async fn start(services: Vec<Arc<Service>>, reach: Aim) -> OnBench {
        let mut serving = JoinSet::new();
        let mut addresses = Vec::new();
        for service in &services {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("http://{}/rotord", listener.local_addr().unwrap());
            let routes = Router::new().route("/rotord", post(push));
            let routes = routes.with_state(Arc::clone(service));
            serving.spawn(async move { axum::serve(listener, routes).await.unwrap() });
            addresses.push((service.identity.instance.clone(), address));
        }
        let target = Http::new(settings(reach(&addresses)), channel(&[CHANNEL_KEY])).unwrap();
        OnBench { services, addresses, target, _serving: serving }
    }

    fn service(&self) -> &Service {
        &self.services[0]
    }

    /// What a push meets when the service behaves so, and what asking meets.
    async fn meets(&self, manner: Manner) -> (DriverError, DriverError) {
        let wanted = wish(2, &[2, 1], 1);
        self.service().behave(manner);
        let pushed = book().push(&self.target, &wanted).await.unwrap_err();
        let asked = book().observe(&self.target, &wanted).await.unwrap_err();
        for error in [&pushed, &asked] {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("whsec_") && !shown.contains("gibberish"), "{shown}");
        }
        (pushed, asked)
    }
}

type Aim = fn(&[(String, String)]) -> Reach;

fn all(addresses: &[(String, String)]) -> Reach {
    Reach::All(client(&addresses[0].1))
}

fn each(addresses: &[(String, String)]) -> Reach {
    Reach::Each(addresses.iter().map(|(name, at)| (name.clone(), client(at))).collect())
}

fn client(address: &str) -> Client {
    let mut settings = client_settings(address.parse().unwrap());
    settings.timeout = Span(500);
    settings.connect_timeout = Span(400);
    Client::new(&settings).unwrap()
}

fn settings(reach: Reach) -> Settings {
    Settings { environment: "prod".to_owned(), reach, proof_field: None }
}

fn channel(keys: &[&str]) -> Arc<Channel> {
    let channel = Channel::new(SecretName::new("push-channel").unwrap());
    channel.replace(keys.iter().map(|text| key(text)).collect());
    Arc::new(channel)
}

fn book() -> Book {
    Book::new("s", "t", now())
}

#[async_trait]
impl Bench for OnBench {
    fn target(&self) -> &dyn Target {
        &self.target
    }

    async fn accepts(&self, value: &str) -> bool {
        self.services.iter().any(|service| service.accepts(value))
    }

    async fn uses(&self, value: &str) -> bool {
        self.services.iter().any(|service| service.uses(value))
    }

    async fn lose(&self) {
        self.service().restart();
    }

    async fn keeps_trace(&self, value: &str) -> bool {
        self.accepts(value).await
    }
}

#[tokio::test]
async fn a_service_conforms() {
    conforms(now(), OnBench::single).await;
}

#[tokio::test]
async fn a_service_of_three_instances_conforms() {
    conforms(now(), || OnBench::listed(&["t-0", "t-1", "t-2"])).await;
}

#[tokio::test]
async fn a_holder_of_the_new_version_proves_it() {
    let bench = OnBench::single().await;
    let wanted = wish(1, &[2, 1], 1);
    let pushed = book().push(&bench.target, &wanted).await.unwrap();
    assert_eq!((pushed.level, pushed.by.as_str()), (Level::Proved, "t-0"));
    bench.service().restart();
    let empty = book().observe(&bench.target, &wanted).await.unwrap();
    assert_eq!(empty.level, Level::Acknowledged, "nothing held, nothing proved");
    book().push(&bench.target, &wanted).await.unwrap();
    bench.service().behave(Manner::Twist(|reply| reply["proof"] = Value::Null));
    let unproved = book().observe(&bench.target, &wanted).await.unwrap();
    assert_eq!(unproved.level, Level::Acknowledged);
}

#[tokio::test]
async fn a_push_is_signed_in_both_schemes_and_asking_carries_no_value() {
    let bench = OnBench::single().await;
    let (book, wanted) = (book(), wish(7, &[2, 1], 2));
    book.push(&bench.target, &wanted).await.unwrap();
    book.push(&bench.target, &wanted).await.unwrap();
    book.observe(&bench.target, &wanted).await.unwrap();
    let seen = bench.service().seen.lock().unwrap().clone();
    let ids: Vec<&str> =
        seen.iter().map(|(head, _)| head["webhook-id"].to_str().unwrap()).collect();
    assert_eq!(ids[0], ids[1], "an attempt repeated has the same id");
    assert_ne!(ids[0], ids[2]);
    let (head, body) = &seen[0];
    let message = xpi::Message {
        timestamp: head["x-pi-timestamp"].to_str().unwrap(),
        signature: head["x-pi-signature"].to_str().unwrap(),
        body,
    };
    assert_eq!(xpi::verify(&[key(CHANNEL_KEY)], &message, now()), Ok(0));
    let told: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(told["type"], "rotord.push");
    assert_eq!(told["accepted"][0]["version"], 2);
    assert_eq!(told["accepted"][0]["fields"]["value"], value(2));
    assert_eq!(told["accepted"][0]["key_id"], "key-2");
    assert_eq!(told["prove"]["field"], "value");
    let asked: Value = serde_json::from_slice(&seen[2].1).unwrap();
    assert_eq!(asked["type"], "rotord.observe");
    assert!(!String::from_utf8_lossy(&seen[2].1).contains("whsec_"), "asking tells the secret");
}

#[tokio::test]
async fn a_version_of_several_fields_is_proved_by_the_one_configured() {
    let bench = OnBench::single().await;
    let text = |text: String| SecretBytes::new(text.into_bytes());
    let fields = [("id".to_owned(), text("AKIA".to_owned())), ("key".to_owned(), text(value(1)))];
    let material = Material::from_fields(fields.into());
    let given = Given { material: &material, key_id: None, staged_at: now() };
    let given = [(VersionId(1), given)].into();
    let (book, wanted) = (book(), wish(1, &[1], 1));
    let order = book.order(&wanted, &given);
    let error = bench.target.push(&order).await.unwrap_err();
    assert_eq!(error.reason, Reason::Misconfigured);
    assert!(error.text.contains("proof_field"), "{error}");
    let configured =
        Settings { proof_field: Some("key".to_owned()), ..settings(all(&bench.addresses)) };
    let target = Http::new(configured, channel(&[CHANNEL_KEY])).unwrap();
    let seen = target.push(&order).await.unwrap();
    let told: Value = serde_json::from_slice(&bench.service().seen.lock().unwrap()[0].1).unwrap();
    assert_eq!(told["prove"]["field"], "key");
    assert_eq!(told["accepted"][0]["fields"], json!({ "id": "AKIA", "key": value(1) }));
    assert_eq!(seen.level, Level::Proved);
}

#[tokio::test]
async fn the_channels_own_overlap_reaches_receivers_of_either_key() {
    let bench = OnBench::single().await;
    for keys in [[CHANNEL_KEY, OLD_CHANNEL_KEY], [OLD_CHANNEL_KEY, CHANNEL_KEY]] {
        let target = Http::new(settings(all(&bench.addresses)), channel(&keys)).unwrap();
        let pushed = book().push(&target, &wish(3, &[1], 1)).await.unwrap();
        assert_eq!(pushed.level, Level::Proved);
        let (head, _) = bench.service().seen.lock().unwrap().last().unwrap().clone();
        let signatures = head["webhook-signature"].to_str().unwrap().to_owned();
        assert_eq!(signatures.split(' ').filter(|one| one.starts_with("v1,")).count(), 2);
    }
}

#[tokio::test]
async fn a_channel_with_the_wrong_key_or_none_gets_nowhere() {
    let bench = OnBench::single().await;
    let aimed = |keys: &[&str]| Http::new(settings(all(&bench.addresses)), channel(keys)).unwrap();
    let error = book().push(&aimed(&[OLD_CHANNEL_KEY]), &wish(1, &[1], 1)).await.unwrap_err();
    assert_eq!((error.class, error.reason), (Class::Refused, Reason::Denied));
    let error = book().push(&aimed(&[]), &wish(1, &[1], 1)).await.unwrap_err();
    assert_eq!((error.class, error.reason), (Class::Transient, Reason::MaterialMissing));
    assert!(!bench.accepts(&value(1)).await);
}

// ---------------------------------------------------------------- receivers that misbehave

#[tokio::test]
async fn each_way_to_misbehave_has_a_reason_of_its_own() {
    use Class::{Refused, Transient};
    let cases: [(Manner, Class, Reason); 21] = [
        (Manner::Twist(|r| r["environment"] = json!("dev")), Refused, Reason::WrongIdentity),
        (Manner::Twist(|r| r["target"] = json!("u")), Refused, Reason::WrongIdentity),
        (Manner::Twist(|r| r["generation"] = json!(3)), Refused, Reason::GenerationAhead),
        (Manner::Twist(|r| r["proof"] = json!("00")), Refused, Reason::WrongProof),
        (Manner::Twist(|r| r["proof"] = json!("gibberish")), Refused, Reason::WrongProof),
        (Manner::Twist(|r| r["covers"] = json!("self")), Refused, Reason::WrongProof),
        (Manner::Twist(|r| r["instance"] = json!("t-1")), Refused, Reason::WrongProof),
        (Manner::Twist(|r| r["instance"] = json!("a\nb")), Refused, Reason::BadAnswer),
        (Manner::Twist(|r| r["accepted"] = json!([2, 2])), Refused, Reason::BadAnswer),
        (Manner::Twist(|r| r["accepted"] = json!("gibberish")), Refused, Reason::BadAnswer),
        (Manner::Answers(200, "gibberish"), Refused, Reason::BadAnswer),
        (Manner::Answers(204, ""), Refused, Reason::BadAnswer),
        (Manner::Answers(202, ""), Transient, Reason::NotYetApplied),
        (Manner::Answers(403, "gibberish"), Refused, Reason::Denied),
        (Manner::Answers(404, "gibberish"), Refused, Reason::Gone),
        (Manner::Answers(409, "gibberish"), Refused, Reason::Refused),
        (Manner::Answers(422, "gibberish"), Refused, Reason::Refused),
        (Manner::Answers(500, "gibberish"), Transient, Reason::Unavailable),
        (Manner::Answers(503, "gibberish"), Transient, Reason::Unavailable),
        (Manner::Floods, Refused, Reason::AnswerTooLarge),
        (Manner::Redirects, Refused, Reason::Redirected),
    ];
    let bench = OnBench::single().await;
    for (manner, class, reason) in cases {
        for error in <[DriverError; 2]>::from(bench.meets(manner).await) {
            assert_eq!((error.class, error.reason), (class, reason), "{error}");
        }
    }
}

#[tokio::test]
async fn a_receiver_that_never_answers_costs_the_time_out_and_no_more() {
    let bench = OnBench::single().await;
    let (pushed, asked) = bench.meets(Manner::Hangs).await;
    for error in [pushed, asked] {
        assert_eq!((error.class, error.reason), (Class::Transient, Reason::TimedOut), "{error}");
    }
    bench.service().behave(Manner::Good);
    let wanted = wish(2, &[2, 1], 1);
    let again = book().push(&bench.target, &wanted).await.unwrap();
    assert!(holds(&again, &wanted), "a push that timed out may simply be sent again");
}

#[tokio::test]
async fn a_receiver_that_asks_for_less_is_given_the_time() {
    let bench = OnBench::single().await;
    let (pushed, _) = bench.meets(Manner::Answers(429, "gibberish")).await;
    assert!(matches!(pushed.class, Class::Throttled(_)), "{pushed:?}");
    assert_eq!(pushed.reason, Reason::Throttled);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/rotord", listener.local_addr().unwrap());
    drop(listener);
    let target = Http::new(settings(Reach::All(client(&address))), channel(&[CHANNEL_KEY]));
    let error = book().push(&target.unwrap(), &wish(1, &[1], 1)).await.unwrap_err();
    assert_eq!((error.class, error.reason), (Class::Transient, Reason::Unreachable));
}

#[tokio::test]
async fn a_lower_generation_fails_a_push_and_is_the_truth_when_asked() {
    let bench = OnBench::single().await;
    bench.service().behave(Manner::Twist(|reply| {
        reply["generation"] = json!(1);
        reply["proof"] = Value::Null;
    }));
    let wanted = wish(2, &[2, 1], 1);
    let pushed = book().push(&bench.target, &wanted).await.unwrap_err();
    assert_eq!((pushed.class, pushed.reason), (Class::Transient, Reason::GenerationBehind));
    let seen = book().observe(&bench.target, &wanted).await.unwrap();
    assert_eq!(seen.generation.0, 1);
}

#[tokio::test]
async fn half_a_push_is_reported_as_what_it_is() {
    let bench = OnBench::single().await;
    bench.service().behave(Manner::Twist(|reply| {
        reply["accepted"] = json!([2]);
        reply["proof"] = Value::Null;
    }));
    let wanted = wish(2, &[2, 1], 2);
    let seen = book().push(&bench.target, &wanted).await.unwrap();
    assert_eq!(seen.accepted, [VersionId(2)]);
    assert!(!holds(&seen, &wanted));
}

#[tokio::test]
async fn a_receiver_of_another_environment_takes_nothing_in() {
    let bench = OnBench::single().await;
    let mut elsewhere = settings(all(&bench.addresses));
    elsewhere.environment = "staging".to_owned();
    let target = Http::new(elsewhere, channel(&[CHANNEL_KEY])).unwrap();
    let error = book().push(&target, &wish(1, &[1], 1)).await.unwrap_err();
    assert_eq!((error.class, error.reason), (Class::Refused, Reason::WrongIdentity));
    assert!(!bench.accepts(&value(1)).await);
}

// ---------------------------------------------------------------- several instances

#[tokio::test]
async fn every_listed_instance_must_answer() {
    let bench = OnBench::listed(&["t-0", "t-1", "t-2"]).await;
    let wanted = wish(1, &[1], 1);
    let seen = book().push(&bench.target, &wanted).await.unwrap();
    assert_eq!((seen.level, seen.by.as_str()), (Level::Proved, "t-0, t-1, t-2"));
    bench.services[1].behave(Manner::Answers(500, "gibberish"));
    let error = book().push(&bench.target, &wanted).await.unwrap_err();
    assert_eq!((error.class, error.reason), (Class::Transient, Reason::InstancesMissing));
    assert!(error.text.contains("t-1") && !error.text.contains("t-0"), "{error}");
    bench.services[1].behave(Manner::Answers(202, ""));
    let error = book().push(&bench.target, &wanted).await.unwrap_err();
    assert_eq!(error.reason, Reason::NotYetApplied, "the others are there, this one is on its way");
    bench.services[1].behave(Manner::Twist(|reply| reply["proof"] = json!("00")));
    let error = book().push(&bench.target, &wanted).await.unwrap_err();
    assert_eq!(error.reason, Reason::WrongProof, "one liar fails the push");
}

#[tokio::test]
async fn one_instance_that_lags_is_the_truth_about_all() {
    let bench = OnBench::listed(&["t-0", "t-1"]).await;
    let (book, wanted) = (book(), wish(2, &[2], 2));
    book.push(&bench.target, &wish(1, &[2, 1], 1)).await.unwrap();
    let alone = Http::new(settings(each(&bench.addresses[..1])), channel(&[CHANNEL_KEY])).unwrap();
    book.push(&alone, &wanted).await.unwrap();
    let seen = book.observe(&bench.target, &wanted).await.unwrap();
    assert_eq!((seen.generation.0, seen.current), (1, Some(VersionId(1))));
    assert!(seen.accepted.contains(&VersionId(1)), "t-1 still accepts it: {seen:?}");
}

#[tokio::test]
async fn an_instance_that_answers_under_another_name_is_not_the_one_asked() {
    let bench = OnBench::listed(&["t-0", "t-1"]).await;
    let mut swapped = bench.addresses.clone();
    swapped[1].1 = swapped[0].1.clone();
    let target = Http::new(settings(each(&swapped)), channel(&[CHANNEL_KEY])).unwrap();
    let error = book().push(&target, &wish(1, &[1], 1)).await.unwrap_err();
    assert_eq!(error.reason, Reason::WrongIdentity);
}

#[tokio::test]
async fn one_who_speaks_for_all_excuses_those_who_are_away() {
    let services = vec![Service::new("t-0", true), Service::new("t-1", true)];
    let bench = OnBench::start(services, each).await;
    bench.services[1].behave(Manner::Answers(500, ""));
    let seen = book().push(&bench.target, &wish(1, &[1], 1)).await.unwrap();
    assert_eq!(seen.by, "t-0");
}

#[tokio::test]
async fn a_lone_address_must_speak_for_all() {
    let bench = OnBench::start(vec![Service::new("t-0", false)], all).await;
    let error = book().push(&bench.target, &wish(1, &[1], 1)).await.unwrap_err();
    assert_eq!((error.class, error.reason), (Class::Refused, Reason::InstancesMissing));
}

#[tokio::test]
async fn settings_that_reach_nobody_are_refused() {
    let nobody = Http::new(settings(Reach::Each(Default::default())), channel(&[CHANNEL_KEY]));
    assert_eq!(nobody.unwrap_err().reason, Reason::Misconfigured);
}

// ---------------------------------------------------------------- the examples, end to end

/// Signed traffic between the two example services while rotord's pushes change their secret.
#[tokio::test]
async fn webhooks_pass_before_during_and_after_a_rotation_and_not_with_the_old_key_later() {
    let (receiver_service, sender_service) =
        (Service::new("receiver-0", true), Service::new("sender-0", true));
    let receiver = webhook_receiver::Receiver::new(receiver_service.identity.clone()).unwrap();
    let sender_identity = webhook_sender::common::Identity {
        target: "t".to_owned(),
        environment: "prod".to_owned(),
        instance: "sender-0".to_owned(),
        covers_all: true,
        channel_key_file: sender_service.identity.channel_key_file.clone(),
    };
    let sender = webhook_sender::Sender::new(sender_identity).unwrap();
    let mut serving = JoinSet::new();
    let mut addresses = Vec::new();
    for routes in [receiver.routes(), sender.routes()] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(format!("http://{}", listener.local_addr().unwrap()));
        serving.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    }
    let target = |at: &str| {
        let reach = Reach::All(client(&format!("{at}/rotord")));
        Http::new(settings(reach), channel(&[CHANNEL_KEY])).unwrap()
    };
    let (verifier, signer) = (target(&addresses[0]), target(&addresses[1]));
    let webhook = format!("{}/webhook", addresses[0]);
    let book = book();
    let steps: [(&Http, _); 6] = [
        (&verifier, wish(1, &[1], 1)),
        (&signer, wish(2, &[1], 1)),
        (&verifier, wish(3, &[2, 1], 1)), // admit
        (&signer, wish(4, &[2, 1], 2)),   // switch
        (&verifier, wish(5, &[2], 2)),    // retire
        (&signer, wish(6, &[1], 1)),      // a sender that went back is refused
    ];
    for (number, (target, wanted)) in (0..).zip(&steps) {
        book.push(*target, wanted).await.unwrap();
        sender.send(&webhook, number).await;
    }
    let get = async |path: &str| {
        let answer = reqwest::get(format!("{}{path}", addresses[0])).await.unwrap();
        serde_json::from_slice::<Value>(&answer.bytes().await.unwrap()).unwrap()
    };
    assert_eq!(get("/stats").await, json!({"accepted": {"1": 2, "2": 2}, "refused": {"401": 1}}));
    assert_eq!(get("/last").await["id"], "order_4");
    let sent = reqwest::get(format!("{}/stats", addresses[1])).await.unwrap();
    let sent: Value = serde_json::from_slice(&sent.bytes().await.unwrap()).unwrap();
    let expected = json!({
        "sent": { "v1/204": 2, "v1/401": 1, "v2/204": 2 },
        "without_key": 1,
    });
    assert_eq!(sent, expected);
}
