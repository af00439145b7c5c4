//! The client of Vault against a real OpenBao, and against servers that misbehave.

use http::Method;
use rotord::vault::KvPath;

use crate::support::bao::Bao;
use crate::support::kv_contract;

#[tokio::test]
async fn the_real_vault_keeps_the_contract_of_kv() {
    let bao = Bao::shared().await;
    let vault = bao.vault();
    kv_contract::all(&vault, &bao.fresh_mount().await).await;
}

#[tokio::test]
async fn a_soft_deleted_document_is_not_absent() {
    let bao = Bao::shared().await;
    let vault = bao.vault();
    let mount = bao.fresh_mount().await;
    kv_contract::a_soft_deleted_newest_version_is_not_absent(
        &vault,
        &mount,
        async |at: &KvPath| {
            bao.ok(Method::DELETE, &format!("{}/data/{}", at.mount, at.path), None).await;
        },
    )
    .await;
}
