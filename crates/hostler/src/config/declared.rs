//! Where in a file a declared object stands that makes no sense.

use super::ConfigError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use toml::Spanned;

/// A declared object that makes no sense.
#[derive(Debug)]
pub(super) struct BadTable {
    /// The array it is in, `network` for instance.
    pub(super) table: &'static str,
    /// Which one, counted from 0.
    pub(super) place: usize,
    /// The property that makes none.
    pub(super) key: String,
    /// Its name, and what is wrong.
    pub(super) text: String,
}

/// As much of a file as it takes to know where properties stand.
type Tables = Vec<Spanned<BTreeMap<String, Spanned<toml::Value>>>>;

#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    network: Tables,
    #[serde(default)]
    pool: Tables,
}

impl BadTable {
    /// The same with its place in the file: the property's value, or the object when it has no such property.
    pub(super) fn in_file(self, path: &Path, source: &str) -> ConfigError {
        let places = toml::from_str::<Places>(source).ok();
        let tables = places.map(|places| if self.table == "pool" { places.pool } else { places.network });
        let table = tables.as_ref().and_then(|tables| tables.get(self.place));
        let Some(table) = table else {
            return ConfigError::new(format!("{}: {}", path.display(), self.text));
        };
        let span = table.get_ref().get(&self.key).map_or_else(|| table.span(), Spanned::span);
        ConfigError::at_place(path, source, span, &self.text)
    }
}
