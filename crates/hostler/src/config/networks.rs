//! The networks that a file declares, and what is wrong with them.

use super::Config;
use super::declared::BadTable;
use hostler_core::error::ErrorKind;
use hostler_core::networks::NetworkAsk;

impl Config {
    /// The networks that are declared, as core wants them. They were checked before.
    pub fn networks(&self) -> Vec<NetworkAsk> {
        self.network.iter().cloned().filter_map(|network| network.try_into().ok()).collect()
    }

    /// The first declared network that makes no sense, or whose name another has.
    pub(super) fn check_networks(&self) -> Result<(), BadTable> {
        for (place, network) in self.network.iter().enumerate() {
            let bad = |key: &str, why: String| BadTable {
                table: "network",
                place,
                key: key.to_owned(),
                text: format!("network `{}`: {why}", network.name),
            };
            let checked = NetworkAsk::try_from(network.clone()).and_then(|ask| ask.check());
            if let Err(error) = checked {
                let key = match &error.kind {
                    ErrorKind::Invalid { field } => field.split('/').next().unwrap_or_default(),
                    _ => "",
                };
                return Err(bad(key, error.text.clone()));
            }
            if self.network[..place].iter().any(|other| other.name == network.name) {
                return Err(bad("name", "it is declared twice".to_owned()));
            }
        }
        Ok(())
    }
}
