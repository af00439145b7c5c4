//! The client against servers that misbehave, each in one way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

/// A server that answers every connection with the same bytes and then closes it, or hangs.
struct Server {
    at: SocketAddr,
    asked: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

enum Then {
    Close,
    Hang,
}

impl Server {
    async fn start(answer: impl Into<Vec<u8>>, then: Then) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let answer = answer.into();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let mut request = [0u8; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                assert!(length > 0 || matches!(then, Then::Hang), "an empty request");
                stream.write_all(&answer).await.unwrap_or_default();
                if matches!(then, Then::Hang) {
                    open.push(stream);
                }
            }
        });
        Server { at, asked, _serving: serving }
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::new(format!("http://{}", self.at).parse().unwrap());
        settings.timeout = Span(400);
        settings.connect_timeout = Span(300);
        settings
    }

    async fn ask(&self, method: Method) -> Result<Answer, NetError> {
        Client::new(&self.settings()).unwrap().send(Request::new(method, "/x")).await
    }
}

fn answer(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn summary(result: Result<Answer, NetError>) -> (Class, Reason, bool) {
    let error = result.expect_err("an error");
    (error.failure.class, error.failure.reason, error.sent)
}

#[tokio::test]
async fn any_status_is_an_answer_with_its_headers_and_body() {
    let server = Server::start(answer("409 Conflict\r\nx-a: b", "hello"), Then::Close).await;
    let answer = server.ask(Method::POST).await.unwrap();
    assert_eq!(answer.status, 409);
    assert_eq!(answer.headers["x-a"], "b");
    assert_eq!(answer.body.expose(), b"hello");
}

#[tokio::test]
async fn not_modified_points_nowhere_and_is_an_answer() {
    let server = Server::start("HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n", Then::Close);
    let answer = server.await.ask(Method::GET).await.unwrap();
    assert_eq!(answer.status, 304);
    assert!(answer.success().is_err(), "it has no content");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::start(answer("200 OK", "stolen"), Then::Close).await;
    let head = format!("307 Temporary Redirect\r\nlocation: http://{}/x", other.at);
    let server = Server::start(answer(&head, ""), Then::Close).await;
    assert_eq!(summary(server.ask(Method::POST).await), (Class::Refused, Reason::Redirected, true));
    assert_eq!(server.asked.load(Ordering::Relaxed), 1);
    assert_eq!(other.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_answer_above_the_limit_is_cut_off() {
    let server = Server::start(answer("200 OK", &"x".repeat(70)), Then::Close).await;
    let mut settings = server.settings();
    settings.answer_max = 70;
    let client = Client::new(&settings).unwrap();
    assert!(client.send(Request::new(Method::GET, "/")).await.is_ok());
    settings.answer_max = 69;
    let client = Client::new(&settings).unwrap();
    assert_eq!(
        summary(client.send(Request::new(Method::GET, "/")).await),
        (Class::Refused, Reason::AnswerTooLarge, true)
    );
    assert_eq!(
        summary(client.send(Request::new(Method::POST, "/")).await),
        (Class::Ambiguous, Reason::AnswerTooLarge, true)
    );
}

#[tokio::test]
async fn silence_after_sending_may_hide_an_effect_unless_the_method_only_asks() {
    let server = Server::start("", Then::Hang).await;
    assert_eq!(summary(server.ask(Method::POST).await), (Class::Ambiguous, Reason::TimedOut, true));
    assert_eq!(summary(server.ask(Method::GET).await), (Class::Transient, Reason::TimedOut, true));
}

#[tokio::test]
async fn a_body_that_stops_half_way_is_a_time_out() {
    let server =
        Server::start("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", Then::Hang).await;
    assert_eq!(summary(server.ask(Method::PUT).await), (Class::Ambiguous, Reason::TimedOut, true));
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_from_one_that_never_stood() {
    let server =
        Server::start("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", Then::Close).await;
    assert_eq!(
        summary(server.ask(Method::POST).await),
        (Class::Ambiguous, Reason::Ambiguous, true)
    );
    assert_eq!(summary(server.ask(Method::GET).await), (Class::Transient, Reason::BadAnswer, true));

    let silent = Server::start("", Then::Close).await;
    assert_eq!(
        summary(silent.ask(Method::POST).await),
        (Class::Ambiguous, Reason::Ambiguous, true)
    );

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = Client::new(&Settings::new(format!("http://{closed}").parse().unwrap())).unwrap();
    assert_eq!(
        summary(client.send(Request::new(Method::POST, "/")).await),
        (Class::Transient, Reason::Unreachable, false)
    );
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_no_answer() {
    let server = Server::start("hunter2 is the password\r\n\r\n", Then::Close).await;
    let error = server.ask(Method::GET).await.unwrap_err();
    assert_eq!(error.failure.reason, Reason::BadAnswer);
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn a_429_carries_its_pause() {
    let server =
        Server::start(answer("429 Too Many Requests\r\nretry-after: 17", ""), Then::Close).await;
    assert_eq!(
        summary(server.ask(Method::POST).await),
        (Class::Throttled(Span::from_secs(17)), Reason::Throttled, true)
    );
}

#[tokio::test]
async fn a_tls_handshake_that_fails_sends_nothing() {
    let server = Server::start("not tls", Then::Close).await;
    let mut settings = server.settings();
    settings.base = format!("https://{}", server.at).parse().unwrap();
    let client = Client::new(&settings).unwrap();
    let (class, _, sent) = summary(client.send(Request::new(Method::POST, "/")).await);
    assert_eq!((class, sent), (Class::Transient, false));
}

#[tokio::test]
async fn errors_name_the_origin_and_nothing_of_the_path() {
    let server = Server::start(answer("500 Oops", "hunter2"), Then::Close).await;
    let client = Client::new(&server.settings()).unwrap();
    let answer = client.send(Request::new(Method::POST, "/hooks/hunter2?k=hunter2")).await.unwrap();
    let error = answer.success().unwrap_err();
    assert_eq!(error.to_string(), format!("http://{}: answered 500", server.at));
}

#[test]
fn settings_that_would_leak_or_contradict_themselves_are_refused() {
    let refused = |base: &str| Client::new(&Settings::new(base.parse().unwrap())).unwrap_err();
    assert!(matches!(refused("http://example.com"), SetupError::PlainHttp { .. }));
    assert!(matches!(refused("http://10.0.0.1"), SetupError::PlainHttp { .. }));
    assert!(matches!(refused("ftp://example.com"), SetupError::Scheme));
    assert!(matches!(refused("https://user:pw@example.com"), SetupError::Userinfo));
    assert!(matches!(refused("https://example.com/#f"), SetupError::QueryOrFragment));
    assert!(matches!(refused("https://example.com/?q"), SetupError::QueryOrFragment));

    let mut settings = Settings::new("https://example.com".parse().unwrap());
    settings.connect_timeout = settings.timeout;
    assert!(matches!(Client::new(&settings), Err(SetupError::Timeouts)));
    settings.connect_timeout = Span(1);
    settings.ca_pem = Some(b"hunter2".to_vec());
    assert!(matches!(Client::new(&settings), Err(SetupError::Ca)));
    settings.ca_pem = None;
    settings.identity_pem = Some(SecretBytes::new(b"hunter2".to_vec()));
    assert!(matches!(Client::new(&settings), Err(SetupError::Identity)));
}

#[test]
fn plain_http_is_for_loopback_or_by_name() {
    for base in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
        assert!(Client::new(&Settings::new(base.parse().unwrap())).is_ok(), "{base}");
    }
    let mut settings = Settings::new("http://example.com".parse().unwrap());
    settings.allow_http = true;
    assert!(Client::new(&settings).is_ok());
}
