//! The targets: each against the one contract, and each against what only it can meet.

mod channel;
mod http;
mod vault_kv;

use std::sync::Arc;

use async_trait::async_trait;
use rotord::driver::target::Target;
use rotord::driver::target::channel::Channel;
use rotord::model::id::SecretName;
use rotord::model::reason::Reason;
use rotord::model::time::Timestamp;
use rotord::vault::KvPath;

use crate::support::book::{Book, holds, wish};
use crate::support::clock::MachineClock;
use crate::support::kv_contract;
use crate::support::mem_kv::MemKv;
use crate::support::mem_target::MemTarget;
use crate::support::target_contract::{Bench, conforms};

#[tokio::test]
async fn the_kv_in_memory_keeps_the_contract_of_kv() {
    let kv = || MemKv::with_clock(Arc::new(MachineClock::new())).mounted_at(&["kv"]);
    kv_contract::all(&kv(), "kv").await;
    let kv = kv();
    let delete = async |at: &KvPath| _ = kv.soft_delete(at);
    kv_contract::a_soft_deleted_newest_version_is_not_absent(&kv, "kv", delete).await;
}

struct InMemory(MemTarget);

#[async_trait]
impl Bench for InMemory {
    fn target(&self) -> &dyn Target {
        &self.0
    }

    async fn accepts(&self, value: &str) -> bool {
        self.0.accepts(value)
    }

    async fn uses(&self, value: &str) -> bool {
        self.0.uses(value)
    }

    async fn lose(&self) {
        self.0.restart();
    }

    async fn keeps_trace(&self, value: &str) -> bool {
        self.0.accepts(value)
    }
}

#[tokio::test]
async fn memory_conforms() {
    conforms(Timestamp(0), || async { InMemory(MemTarget::default()) }).await;
}

#[tokio::test]
async fn rotord_takes_in_its_own_channel_keys_and_never_goes_back() {
    let channel = Channel::new(SecretName::new("push-channel").unwrap());
    let book = Book::new("push-channel", "rotord", Timestamp(0));
    let empty = book.observe(&channel, &wish(1, &[1], 1)).await.unwrap();
    assert_eq!(empty.generation.0, 0);
    let wanted = wish(2, &[2, 1], 2);
    assert!(holds(&book.push(&channel, &wanted).await.unwrap(), &wanted));
    assert!(holds(&book.observe(&channel, &wanted).await.unwrap(), &wanted));
    let stale = book.push(&channel, &wish(1, &[1], 1)).await.unwrap_err();
    assert_eq!(stale.reason, Reason::GenerationAhead);
}
