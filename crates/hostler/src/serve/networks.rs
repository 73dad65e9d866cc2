//! The networks that the configuration declares, at every start.

use hostler_core::Core;
use hostler_core::access::{Caller, Via};
use hostler_core::doctor::Finding;
use hostler_core::error::Error;
use hostler_core::networks::{Declared, NetworkAsk};

/// Sees to it that declared networks are there. What cannot be done keeps nothing else from working: it is said in the
/// log, and by the doctor until the next start.
pub(super) async fn declare(core: &Core, networks: &[NetworkAsk]) {
    if networks.is_empty() {
        return;
    }
    let caller = match core.local_administrator().await {
        Ok(caller) => caller.through(Via::ITSELF),
        Err(error) => {
            tracing::warn!(error = error.chain(), "declared networks are not looked at");
            return;
        }
    };
    for ask in networks {
        if let Some(finding) = declared(core, &caller, ask).await {
            core.doctor_note(finding);
        }
    }
}

/// What there is to say of one network that is not as declared.
async fn declared(core: &Core, caller: &Caller, ask: &NetworkAsk) -> Option<Finding> {
    let network = ask.name.as_str();
    let check = format!("network {network}");
    match core.network_declare(caller, ask).await {
        Ok(Declared::Made) => tracing::info!(network, "made a declared network"),
        Ok(Declared::Same) => {}
        Ok(Declared::Altered(properties)) => {
            tracing::info!(
                network,
                properties = properties.join(", "),
                "changed a network to what is declared"
            );
        }
        Ok(Declared::Differs(properties)) => {
            let properties = properties.join(", ");
            tracing::warn!(network, properties, "a network is not as declared, and cannot be changed");
            let text = format!("network {network} is not as the configuration declares it: {properties}");
            let hint = format!(
                "declare it as it is (`hostler network show {network}`), or remove it \
                 (`hostler network delete {network}`) and restart hostler, which makes it anew"
            );
            return Some(Finding::warning(&check, text).hint(hint));
        }
        Err(error) => {
            tracing::error!(network, error = error.chain(), "a declared network cannot be made");
            let text = format!("network {network} is declared, but cannot be made");
            let Error { text: cause, hint, .. } = error;
            let hint = hint.unwrap_or_else(|| "change its declaration or what is in its way".to_owned());
            let finding = Finding::problem(&check, text).because(cause);
            return Some(finding.hint(format!("{hint}; then restart hostler")));
        }
    }
    None
}
