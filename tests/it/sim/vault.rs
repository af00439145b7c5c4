//! The simulated Vault: the in-memory KV with faults in front of it.

use std::sync::Arc;

use async_trait::async_trait;
use rotord::model::id::SecretName;
use rotord::model::time::Span;
use rotord::vault::document::Document;
use rotord::vault::error::VaultError;
use rotord::vault::{Kv, KvPath, Metadata, Read};

use crate::sim::checkers;
use crate::sim::faults::Answer;
use crate::sim::planted::Bug;
use crate::sim::seat::Seat;
use crate::sim::world::World;

/// How far a standby of Vault may be behind.
const LAG: Span = Span::from_secs(5);

pub(super) struct SimVault {
    pub(super) world: Arc<World>,
    /// Whose Vault it is.
    pub(super) seat: Arc<Seat>,
}

/// Runs a future that never waits: the in-memory KV does nothing but answer.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the in-memory KV waited"),
    }
}

impl SimVault {
    /// What a write names as the version it is over.
    fn cas(&self, at: &KvPath, named: u64) -> u64 {
        match self.world.bug() {
            Some(Bug::CheckAndSetDropped) if at.path != "lease" => self.world.kv.newest(at),
            _ => named,
        }
    }

    /// Whether a standby of Vault that lags behind may answer: it knows what its own client wrote,
    /// and not yet what others did.
    fn is_stale(&self, at: &KvPath) -> bool {
        let state = self.world.state();
        let Some((by, when)) = state.writes.get(at) else { return false };
        let recent = self.world.clock.truly() < *when + LAG;
        let stale = state.stale_reads && recent && *by != self.seat.number;
        drop(state);
        if stale {
            self.world.reached("trial stale read");
        }
        stale
    }

    async fn call<T: Send + 'static>(
        &self,
        what: &str,
        path: &KvPath,
        act: impl Fn(&World) -> Result<T, VaultError> + Send + Sync + 'static,
    ) -> Result<T, VaultError> {
        self.seat.awake().await;
        if self.world.is_sealed() {
            return Err(VaultError::Sealed);
        }
        if self.world.clock.truly() < self.seat.fate().no_vault_until {
            return Err(VaultError::Unavailable { what: "simulated partition".to_owned() });
        }
        // What comes of a lease that cannot be kept is simulated; its own faults have other tests.
        if path.path == "lease" {
            let done = act(&self.world);
            checkers::fenced::lease_written(&self.world, &self.seat, path);
            return done;
        }
        let line = format!("vault {what} {path}");
        let writes = matches!(what, "write" | "patch" | "destroy" | "delete");
        let (acting, text, place) = (Arc::clone(&self.world), line.clone(), path.clone());
        let seat = Arc::clone(&self.seat);
        let act = move || {
            if !writes {
                return act(&acting);
            }
            acting.note(&text);
            let secret = place.path.strip_prefix("state/");
            let secret = secret.map(|name| SecretName::new(name).unwrap());
            let epoch = secret.as_ref().map(|name| checkers::fenced::epoch(&acting, name));
            let done = act(&acting);
            if let (Some(name), Some(epoch)) = (&secret, epoch) {
                checkers::fenced::state_written(&acting, &seat, name, epoch);
            }
            if done.is_ok() {
                acting.wrote(&seat, &place);
            }
            checkers::after_write(&acting, &place);
            checkers::after_change(&acting, acting.clock.truly());
            done
        };
        let answer = self.world.boundary(&self.seat, &line, act).await;
        let what = "simulated loss".to_owned();
        match answer {
            Answer::Honest(result) => result,
            Answer::Refused if self.world.chance.permille(300) => {
                Err(VaultError::Throttled { after: Span::from_secs(2) })
            }
            Answer::Refused => Err(VaultError::Unavailable { what }),
            Answer::Lied | Answer::Lost if writes => {
                Err(VaultError::Ambiguous { path: path.to_string(), what })
            }
            Answer::Lied | Answer::Lost => Err(VaultError::Unavailable { what }),
        }
    }
}

fn copy(document: &Document) -> Document {
    Document::from_json(document.expose().to_vec())
}

#[async_trait]
impl Kv for SimVault {
    async fn read(&self, at: &KvPath) -> Result<Option<Read>, VaultError> {
        let path = at.clone();
        let stale = self.is_stale(at).then(|| self.world.kv.newest(at) - 1);
        self.call("read", at, move |world| match stale {
            Some(0) => Ok(None),
            Some(before) => at_once(world.kv.read_version(&path, before)),
            None => at_once(world.kv.read(&path)),
        })
        .await
    }

    async fn read_version(&self, at: &KvPath, version: u64) -> Result<Option<Read>, VaultError> {
        let path = at.clone();
        self.call("read", at, move |world| at_once(world.kv.read_version(&path, version))).await
    }

    async fn write(&self, at: &KvPath, document: &Document, cas: u64) -> Result<u64, VaultError> {
        let (path, document) = (at.clone(), copy(document));
        let cas = self.cas(at, cas);
        let written =
            self.call("write", at, move |world| at_once(world.kv.write(&path, &document, cas)));
        match (written.await, self.world.bug()) {
            (Err(VaultError::Ambiguous { .. }), Some(Bug::LostWriteTakenForDone)) => Ok(cas + 1),
            (written, _) => written,
        }
    }

    async fn patch(&self, at: &KvPath, patch: &Document, cas: u64) -> Result<u64, VaultError> {
        let (path, patch) = (at.clone(), copy(patch));
        self.call("patch", at, move |world| at_once(world.kv.patch(&path, &patch, cas))).await
    }

    async fn list(&self, at: &KvPath) -> Result<Vec<String>, VaultError> {
        let path = at.clone();
        self.call("list", at, move |world| at_once(world.kv.list(&path))).await
    }

    async fn metadata(&self, at: &KvPath) -> Result<Option<Metadata>, VaultError> {
        let path = at.clone();
        self.call("metadata", at, move |world| at_once(world.kv.metadata(&path))).await
    }

    async fn destroy(&self, at: &KvPath, versions: &[u64]) -> Result<(), VaultError> {
        let (path, versions) = (at.clone(), versions.to_vec());
        self.call("destroy", at, move |world| at_once(world.kv.destroy(&path, &versions))).await
    }

    async fn delete_metadata(&self, at: &KvPath) -> Result<(), VaultError> {
        checkers::destroy::material(&self.world, at);
        checkers::fenced::destroys(&self.world, &self.seat, &at.to_string());
        let path = at.clone();
        self.call("delete", at, move |world| at_once(world.kv.delete_metadata(&path))).await
    }
}
