//! The pools that the configuration declares, at every start.

use hostler_core::Core;
use hostler_core::access::Via;
use hostler_core::doctor::Finding;
use hostler_core::pools::{PoolDeclared, PoolSpec};

/// Sees to it that declared pools are there, and those go that are declared no more. What cannot be done keeps nothing
/// else from working.
pub(super) async fn declare(core: &Core, pools: &[PoolSpec]) {
    let caller = match core.local_administrator().await {
        Ok(caller) => caller.through(Via::ITSELF),
        Err(error) => {
            tracing::warn!(error = error.chain(), "declared pools are not looked at");
            return;
        }
    };
    for spec in pools {
        let pool = spec.name.as_str();
        match core.pool_declare(&caller, spec).await {
            Ok(PoolDeclared::Made) => tracing::info!(pool, "made a declared pool"),
            Ok(PoolDeclared::Same) => {}
            Ok(PoolDeclared::Altered(properties)) => {
                tracing::info!(
                    pool,
                    properties = properties.join(", "),
                    "changed a pool to what is declared"
                );
            }
            Err(error) => {
                tracing::error!(pool, error = error.chain(), "a declared pool cannot be made");
                let text = format!("pool {pool} is declared, but cannot be made");
                core.doctor_note(Finding::problem(&format!("pool {pool}"), text).because(error.text));
            }
        }
    }
    let names: Vec<&str> = pools.iter().map(|spec| spec.name.as_str()).collect();
    match core.pool_undeclared(&caller, &names).await {
        Ok(gone) => {
            for pool in gone {
                tracing::info!(pool, "emptying a pool that is declared no more");
            }
        }
        Err(error) => tracing::error!(error = error.chain(), "pools that are declared no more stay"),
    }
}
