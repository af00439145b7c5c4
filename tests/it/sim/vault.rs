//! The simulated Vault: the in-memory KV with faults in front of it.

use std::sync::Arc;

use async_trait::async_trait;
use rotord::vault::document::Document;
use rotord::vault::error::VaultError;
use rotord::vault::{Kv, KvPath, Metadata, Read};

use crate::sim::checkers;
use crate::sim::faults::Answer;
use crate::sim::world::World;

pub(super) struct SimVault {
    pub(super) world: Arc<World>,
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
    async fn call<T: Send + 'static>(
        &self,
        what: &str,
        path: &KvPath,
        act: impl Fn(&World) -> Result<T, VaultError> + Send + Sync + 'static,
    ) -> Result<T, VaultError> {
        if self.world.is_sealed() {
            return Err(VaultError::Sealed);
        }
        // Leadership has tests of its own; here it is only a reason to wait.
        if path.path == "lease" {
            return act(&self.world);
        }
        let line = format!("vault {what} {path}");
        let writes = matches!(what, "write" | "patch" | "destroy" | "delete");
        let (acting, text, place) = (Arc::clone(&self.world), line.clone(), path.clone());
        let act = move || {
            if !writes {
                return act(&acting);
            }
            acting.note(&text);
            let done = act(&acting);
            checkers::after_write(&acting, &place);
            checkers::after_change(&acting, acting.clock.truly());
            done
        };
        let answer = self.world.boundary(&line, act).await;
        let what = "simulated loss".to_owned();
        match answer {
            Answer::Honest(result) => result,
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
        self.call("read", at, move |world| at_once(world.kv.read(&path))).await
    }

    async fn read_version(&self, at: &KvPath, version: u64) -> Result<Option<Read>, VaultError> {
        let path = at.clone();
        self.call("read", at, move |world| at_once(world.kv.read_version(&path, version))).await
    }

    async fn write(&self, at: &KvPath, document: &Document, cas: u64) -> Result<u64, VaultError> {
        let (path, document) = (at.clone(), copy(document));
        self.call("write", at, move |world| at_once(world.kv.write(&path, &document, cas))).await
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
        let path = at.clone();
        self.call("delete", at, move |world| at_once(world.kv.delete_metadata(&path))).await
    }
}
