//! The guarded client against a real TLS server.

use http::Method;
use rotord::model::failure::Class;
use rotord::model::material::SecretBytes;
use rotord::model::reason::Reason;
use rotord::net::request::Request;
use rotord::net::{Client, Settings};

use crate::support::bao::Bao;

#[tokio::test]
async fn a_server_is_trusted_by_the_configured_authority_only() {
    let server = Bao::dev_tls().await;
    let mut settings = Settings::new(server.address().clone());
    let health = || Request::new(Method::GET, "/v1/sys/health");

    settings.ca_pem = server.settings().ca_pem;
    let answer = Client::new(&settings).unwrap().send(health()).await.unwrap();
    assert_eq!(answer.status, 200);

    settings.identity_pem = Some(SecretBytes::new(server.identity_pem()));
    let answer = Client::new(&settings).unwrap().send(health()).await.unwrap();
    assert_eq!(answer.status, 200);

    settings.ca_pem = Bao::dev_tls().await.settings().ca_pem;
    let error = Client::new(&settings).unwrap().send(health()).await.unwrap_err();
    assert_eq!((error.failure.class, error.sent), (Class::Transient, false));
    assert_eq!(error.failure.reason, Reason::Unreachable);
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_secret_header_arrives_whole() {
    let server = Bao::shared().await;
    let client = Client::new(&Settings::new(server.address().clone())).unwrap();
    let token = SecretBytes::new(server.root_token().as_bytes().to_vec());
    let request = Request::new(Method::GET, "/v1/auth/token/lookup-self");
    let request = request.secret_header("x-vault-token", &token);
    assert_eq!(client.send(request).await.unwrap().status, 200);
}
