//! What several tests need: real servers, and the suites that hold implementations to a contract.

pub(crate) mod bao;
pub(crate) mod book;
pub(crate) mod clock;
#[path = "../../../examples/shared/consumer.rs"]
pub(crate) mod consumer;
pub(crate) mod daemon;
pub(crate) mod fake_engine;
pub(crate) mod fault_kv;
pub(crate) mod fault_proxy;
pub(crate) mod golden;
pub(crate) mod house;
pub(crate) mod issuer_contract;
#[path = "../../../examples/shared/keys.rs"]
pub(crate) mod keys;
pub(crate) mod kv_contract;
pub(crate) mod mem_kv;
pub(crate) mod mem_target;
pub(crate) mod memory_issuer;
pub(crate) mod needle;
pub(crate) mod picture;
pub(crate) mod servers;
pub(crate) mod store_contract;
pub(crate) mod target_contract;
pub(crate) mod workbench;
