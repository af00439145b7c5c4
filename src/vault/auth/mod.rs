//! How rotord proves to Vault who it is, and keeps being believed.
//!
//! Decides when to log in, when to renew, and what to do with a token that died. One [`Keeper`]
//! runs per process, so that a login never happens twice at once. It never logs a token, a role's
//! secret id or what a file holds.

mod file;
mod plan;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::failure::{Class, Failure};
use crate::model::material::SecretBytes;
use crate::model::reason::Reason;
use crate::model::time::{Entropy, Steady, Timestamp};
use crate::vault::answer::Answer;
use crate::vault::auth::file::{FileError, Stamp};
use crate::vault::auth::plan::{Lease, Plan, Task};
use crate::vault::client::{UnfitToken, Vault};
use crate::vault::error::VaultError;
use crate::vault::order::Order;
use crate::vault::wire::Token;

/// Who rotord is to Vault.
pub enum Auth {
    /// A token that was handed over. It is renewed as long as Vault lets it.
    Token(SecretBytes),
    /// A file that somebody else keeps a token in (a Vault agent, systemd). Read again when it
    /// changes and when the token dies.
    TokenFile(PathBuf),
    /// A role with a secret id in a file, read again at each login.
    AppRole {
        /// Where the method is mounted, e.g. `approle`.
        mount: String,
        /// The role's id. Not a secret by itself.
        role_id: String,
        /// The file that holds the secret id.
        secret_id_file: PathBuf,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auth::Token(_) => "token",
            Auth::TokenFile(_) => "token_file",
            Auth::AppRole { .. } => "approle",
        })
    }
}

/// Why there is no valid token. Texts name the file or the mount, and the remedy.
#[derive(Debug, Error)]
pub enum AuthError {
    /// The file with the token or the secret id cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Vault does not accept the role.
    #[error(
        "Vault refuses the login at auth/{mount} ({what}): check mount and role_id, and put a \
         new secret id into {}", file.display()
    )]
    Login {
        /// Where the method is mounted.
        mount: String,
        /// The file that the secret id came from.
        file: PathBuf,
        /// The status and a known reason.
        what: String,
    },
    /// The token that was handed over is dead, and nobody can get another.
    #[error("Vault does not know the token: it expired or was revoked; provide a new one")]
    Dead,
    /// What was handed over is no token.
    #[error(transparent)]
    Unfit(#[from] UnfitToken),
    /// Vault could not be asked, or its answer could not be used.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl AuthError {
    /// The class and the stable code.
    pub fn failure(&self) -> Failure {
        match self {
            AuthError::File(_) | AuthError::Unfit(_) => {
                Failure { class: Class::Refused, reason: Reason::Misconfigured }
            }
            AuthError::Login { .. } | AuthError::Dead => {
                Failure { class: Class::Refused, reason: Reason::VaultDenied }
            }
            AuthError::Vault(error) => error.failure(),
        }
    }

    /// Whether trying the same again may help.
    fn is_transient(&self) -> bool {
        matches!(self.failure().class, Class::Transient | Class::Throttled(_))
    }
}

/// How rotord stands with Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No login was tried yet.
    Starting,
    /// The token is valid.
    Ok {
        /// When it ends if it is not renewed; none if it never does.
        expires_at: Option<Timestamp>,
    },
    /// Logging in or renewing fails. A token that could not be renewed may still be valid.
    Failing {
        /// Since when.
        since: Timestamp,
        /// The last failure.
        failure: Failure,
        /// When the token ends that could not be renewed; none if there is none, or it never does.
        expires_at: Option<Timestamp>,
    },
}

/// Keeps the token of a [`Vault`] valid.
pub struct Keeper {
    vault: Arc<Vault>,
    auth: Auth,
    entropy: Arc<dyn Entropy>,
    status: watch::Sender<Status>,
    plan: Plan,
    stamp: Option<Stamp>,
}

impl Keeper {
    /// A keeper that has not logged in yet.
    pub fn new(vault: Arc<Vault>, auth: Auth, entropy: Arc<dyn Entropy>) -> Keeper {
        let plan = Plan::new(&auth);
        let (status, _) = watch::channel(Status::Starting);
        Keeper { vault, auth, entropy, status, plan, stamp: None }
    }

    /// How rotord stands with Vault, from now on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Logs in once. For commands that end soon, and for a daemon that would rather not start than
    /// start without Vault.
    ///
    /// # Errors
    /// [`AuthError`]; [`Keeper::keep`] would try again.
    pub async fn login(&mut self) -> Result<(), AuthError> {
        let at = self.vault.clock().steady();
        let lease = self.grant().await;
        self.conclude(at, lease.map(Some))?;
        tracing::info!(by = ?self.auth, "logged in to Vault");
        Ok(())
    }

    /// Keeps the token valid until the shutdown: renews it before two thirds of its life are over,
    /// and gets another when it cannot be renewed, was revoked, or its file changed.
    pub async fn keep(mut self, shutdown: CancellationToken) {
        loop {
            let (task, due) = self.plan.next(self.draw());
            let pause = due.since(self.vault.clock().steady());
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.vault.token_died(), if self.plan.has_token() => {
                    tracing::warn!("Vault does not know the token any more; getting another");
                    self.plan.lost();
                    continue;
                }
                () = tokio::time::sleep(pause.to_std()) => {}
            }
            let done = match task {
                Task::Look if !self.file_changed().await => continue,
                Task::Look | Task::Login => self.login().await,
                Task::Renew => self.renew().await,
            };
            if let Err(error) = done {
                tracing::warn!(%error, "the login to Vault cannot be kept valid");
            }
        }
    }

    async fn renew(&mut self) -> Result<(), AuthError> {
        let at = self.vault.clock().steady();
        let lease = self.more_time().await;
        self.conclude(at, lease)
    }

    /// Takes the outcome of an attempt into the plan and tells those who watch.
    fn conclude(
        &mut self,
        at: Steady,
        outcome: Result<Option<Lease>, AuthError>,
    ) -> Result<(), AuthError> {
        match outcome {
            Ok(lease) => {
                self.plan.succeeded(at, lease);
                let expires_at = self.plan.expires_at(self.vault.clock());
                self.status.send_replace(Status::Ok { expires_at });
                Ok(())
            }
            Err(error) => {
                self.plan.failed(at, error.is_transient());
                self.report(error.failure());
                Err(error)
            }
        }
    }

    fn report(&self, failure: Failure) {
        let now = self.vault.clock().now();
        let expires_at = self.plan.expires_at(self.vault.clock());
        self.status.send_modify(|status| {
            let since = match status {
                Status::Failing { since, .. } => *since,
                Status::Starting | Status::Ok { .. } => now,
            };
            *status = Status::Failing { since, failure, expires_at };
        });
    }

    /// Whether somebody has put another token into the file. One that is being replaced is not
    /// there for a moment; the token in use still works.
    async fn file_changed(&mut self) -> bool {
        self.plan.looked(self.vault.clock().steady());
        let Auth::TokenFile(path) = &self.auth else { return false };
        file::stamp(path).await.is_ok_and(|stamp| self.stamp != Some(stamp))
    }

    async fn grant(&mut self) -> Result<Lease, AuthError> {
        match &self.auth {
            Auth::Token(token) => {
                let copy = SecretBytes::new(token.expose().to_vec());
                self.adopt(copy).await
            }
            Auth::TokenFile(path) => {
                let (token, stamp) = file::read(path).await?;
                self.stamp = Some(stamp);
                self.adopt(token).await
            }
            Auth::AppRole { mount, role_id, secret_id_file } => {
                let (secret_id, _) = file::read(secret_id_file).await?;
                let order = Order::AppRoleLogin { mount, role_id, secret_id: &secret_id };
                let refused = |what| AuthError::Login {
                    mount: mount.clone(),
                    file: secret_id_file.clone(),
                    what,
                };
                let answer = self.vault.done(&order).await.map_err(|error| match error {
                    VaultError::Refused { what, .. } => refused(what),
                    VaultError::Denied { .. } => {
                        refused("403: nothing is mounted there".to_owned())
                    }
                    other => AuthError::Vault(other),
                })?;
                let granted = Granted::of(&order, &answer)?;
                let token = granted.auth.client_token.as_bytes().to_vec();
                self.vault.set_token(SecretBytes::new(token))?;
                Ok(granted.lease())
            }
        }
    }

    /// Takes over a token that somebody else got, if Vault knows it.
    async fn adopt(&self, token: SecretBytes) -> Result<Lease, AuthError> {
        let token = Token::new(token).ok_or(UnfitToken)?;
        let known = match self.vault.ask_as(&token, &Order::LookupSelf).await {
            Ok(answer) => Known::of(&answer)?,
            // It is valid, and may not ask about itself.
            Err(VaultError::Denied { .. }) => Known { ttl: 0, renewable: None },
            Err(VaultError::Unauthenticated) => return Err(AuthError::Dead),
            Err(error) => {
                // Until Vault can be asked again, requests shall say why, and not "no token".
                if !self.vault.has_token() {
                    self.vault.use_token(token);
                }
                return Err(error.into());
            }
        };
        self.vault.use_token(token);
        Ok(known.lease())
    }

    /// Asks for more time. `None` if there is none to be had, and the token must run out.
    async fn more_time(&self) -> Result<Option<Lease>, AuthError> {
        match self.vault.done(&Order::RenewSelf).await {
            Ok(answer) => Ok(Some(Granted::of(&Order::RenewSelf, &answer)?.lease())),
            Err(VaultError::Refused { .. } | VaultError::Denied { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn draw(&self) -> u8 {
        let mut byte = [0u8; 1];
        self.entropy.fill(&mut byte);
        byte[0]
    }
}

#[derive(Deserialize)]
struct Granted<'a> {
    #[serde(borrow)]
    auth: GrantedAuth<'a>,
}

#[derive(Deserialize)]
struct GrantedAuth<'a> {
    client_token: &'a str,
    lease_duration: u64,
    renewable: bool,
}

impl<'a> Granted<'a> {
    fn of(order: &Order<'_>, answer: &'a Answer) -> Result<Granted<'a>, VaultError> {
        answer
            .decode()
            .map_err(|error| VaultError::BadAnswer { path: order.place(), what: error.to_string() })
    }

    fn lease(&self) -> Lease {
        Lease::of_seconds(self.auth.lease_duration, self.auth.renewable)
    }
}

#[derive(Deserialize)]
struct Known {
    /// Seconds left; 0 for a token without end.
    ttl: u64,
    renewable: Option<bool>,
}

impl Known {
    fn of(answer: &Answer) -> Result<Known, VaultError> {
        #[derive(Deserialize)]
        struct Envelope {
            data: Known,
        }
        let envelope: Result<Envelope, _> = answer.decode();
        envelope.map(|envelope| envelope.data).map_err(|error| VaultError::BadAnswer {
            path: Order::LookupSelf.place(),
            what: error.to_string(),
        })
    }

    fn lease(&self) -> Lease {
        Lease::of_seconds(self.ttl, self.renewable.unwrap_or(false))
    }
}
