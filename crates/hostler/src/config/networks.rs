//! What is wrong with the networks that a file declares, and where in it.

use super::{Config, ConfigError};
use hostler_core::error::ErrorKind;
use hostler_core::networks::NetworkAsk;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use toml::Spanned;

/// A declared network that makes no sense.
#[derive(Debug)]
pub(super) struct BadNetwork {
    /// Which one, counted from 0.
    place: usize,
    /// The property that makes none.
    key: String,
    /// Its name, and what is wrong.
    pub(super) text: String,
}

impl Config {
    /// The networks that are declared, as core wants them. They were checked before.
    pub fn networks(&self) -> Vec<NetworkAsk> {
        self.network.iter().cloned().filter_map(|network| network.try_into().ok()).collect()
    }

    /// The first declared network that makes no sense, or whose name another has.
    pub(super) fn check_networks(&self) -> Result<(), BadNetwork> {
        for (place, network) in self.network.iter().enumerate() {
            let bad = |key: &str, why: String| BadNetwork {
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

/// As much of a file as it takes to know where a network's properties stand.
#[derive(Deserialize)]
struct Places {
    network: Vec<Spanned<BTreeMap<String, Spanned<toml::Value>>>>,
}

impl BadNetwork {
    /// The same with its place in the file: the property's value, or the network when it has no such property.
    pub(super) fn in_file(self, path: &Path, source: &str) -> ConfigError {
        let Ok(places) = toml::from_str::<Places>(source) else {
            return ConfigError::new(format!("{}: {}", path.display(), self.text));
        };
        let network = &places.network[self.place];
        let span = network.get_ref().get(&self.key).map_or_else(|| network.span(), Spanned::span);
        ConfigError::at_place(path, source, span, &self.text)
    }
}
