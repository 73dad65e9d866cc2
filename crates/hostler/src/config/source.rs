//! From files, variables and flags to one [`Config`].

use super::{Config, ConfigError, Listen};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Read when no other file is named, if it is there.
const USUAL_FILE: &str = "hostler.toml";
/// Begins the variables that stand for a setting by its dotted name.
const PREFIX: &str = "HOSTLER__";

/// What flags say; they win over everything.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<Listen>,
}

/// The variables of the environment that concern us, apart from the process so that tests can make them up.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, OsString>);

impl Variables {
    /// Those of this process.
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// A variable's value; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&OsString> {
        self.0.get(name).filter(|value| !value.is_empty())
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(all: I) -> Self {
        let named = all.into_iter().filter_map(|(name, value)| {
            let name = name.into().into_string().ok()?;
            Some((name, value.into()))
        });
        Self(named.collect())
    }
}

/// The configuration of this process, with its data directory decided.
///
/// # Errors
/// [`ConfigError`], which names the file with line and column, or the variable.
pub fn load(overrides: &Overrides, variables: &Variables) -> Result<(Config, PathBuf), ConfigError> {
    let mut table = read(overrides, variables)?;
    for (name, value) in variables.0.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        lay_over(&mut table, name, value)?;
    }
    let mut config = typed(&table).map_err(ConfigError::new)?;
    if let Some(listen) = variables.get("HOSTLER_LISTEN") {
        let text = listen.to_string_lossy();
        config.listen = text.parse().map_err(|why| ConfigError::new(format!("HOSTLER_LISTEN: {why}")))?;
    }
    if let Some(path) = variables.get("HOSTLER_DATA_DIR") {
        config.data_dir = Some(path.into());
    }
    if let Some(listen) = &overrides.listen {
        config.listen = listen.clone();
    }
    if let Some(path) = &overrides.data_dir {
        config.data_dir = Some(path.clone());
    }
    let checked = config.check().and_then(|()| config.check_together());
    checked.map_err(|(key, why)| ConfigError::new(format!("{key} {why}")))?;
    let data_dir = match &config.data_dir {
        Some(path) => path.clone(),
        None => usual_data_dir(variables)?,
    };
    let data_dir = std::path::absolute(&data_dir)
        .map_err(|error| ConfigError::new(format!("data_dir `{}`: {error}", data_dir.display())))?;
    Ok((config, data_dir))
}

fn read(overrides: &Overrides, variables: &Variables) -> Result<toml::Table, ConfigError> {
    let named = overrides.config.clone().or_else(|| variables.get("HOSTLER_CONFIG").map(PathBuf::from));
    let path = named.as_deref().unwrap_or(Path::new(USUAL_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => return Ok(toml::Table::new()),
        Err(error) => {
            let text = format!("cannot read the configuration {}: {error}", path.display());
            return Err(ConfigError::new(text));
        }
    };
    parse(path, &text)
}

/// A file's settings, checked by themselves.
pub(super) fn parse(path: &Path, text: &str) -> Result<toml::Table, ConfigError> {
    let config: Config = toml::from_str(text).map_err(|error| ConfigError::at(path, text, &error))?;
    config.check().map_err(|(key, why)| match span_of(text, key, config.wrong_element(key)) {
        Some(span) => ConfigError::at_place(path, text, span, &format!("{key} {why}")),
        None => ConfigError::new(format!("{}: {key} {why}", path.display())),
    })?;
    config.check_networks().map_err(|bad| bad.in_file(path, text))?;
    config.check_pools().map_err(|bad| bad.in_file(path, text))?;
    toml::from_str(text).map_err(|error| ConfigError::at(path, text, &error))
}

/// Why a configuration that was made here would be refused, if so; and which of its pools is to blame, if one is.
pub(crate) fn refused(text: &str) -> Option<(Option<usize>, String)> {
    let config: Config = match toml::from_str(text) {
        Ok(config) => config,
        Err(error) => return Some((None, error.message().to_owned())),
    };
    if let Err((key, why)) = config.check().and_then(|()| config.check_together()) {
        return Some((None, format!("{key} {why}")));
    }
    let pools = config.check_pools().err().map(|bad| (Some(bad.place), bad.text));
    pools.or_else(|| config.check_networks().err().map(|bad| (None, bad.text)))
}

/// Where a setting stands, by its dotted name; of several tables of one name the one at this place.
fn span_of(text: &str, key: &str, element: Option<usize>) -> Option<Range<usize>> {
    let parsed = DeTable::parse(text).ok()?;
    let (mut table, mut span) = (parsed.get_ref(), None);
    for part in key.split('.') {
        let (_, found) = table.iter().find(|(name, _)| name.get_ref().as_ref() == part)?;
        span = match (found.get_ref(), element) {
            (DeValue::Array(all), Some(place)) => Some(all.get(place)?.span()),
            _ => Some(found.span()),
        };
        if let DeValue::Table(inner) = found.get_ref() {
            table = inner;
        }
    }
    span
}

/// Sets what one `HOSTLER__SECTION__KEY` says. Its value is a TOML value where that fits the setting, else text.
fn lay_over(table: &mut toml::Table, name: &str, value: &OsString) -> Result<(), ConfigError> {
    let refused = |why: &str| ConfigError::new(format!("variable {name}: {why}"));
    let value = value.to_str().ok_or_else(|| refused("its value is not UTF-8"))?;
    let path: Vec<String> = name[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
    if path.iter().any(String::is_empty) {
        return Err(refused("name a setting as HOSTLER__SECTION__KEY"));
    }
    let text = toml::Value::String(value.to_owned());
    let as_toml = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
    let first = as_toml.and_then(|mut table| table.remove("value")).unwrap_or_else(|| text.clone());
    let mut reason = String::new();
    for candidate in [first, text] {
        let mut changed = table.clone();
        if !set(&mut changed, &path, candidate) {
            return Err(refused("this is no section"));
        }
        match typed(&changed) {
            Ok(_) => {
                *table = changed;
                return Ok(());
            }
            // The first reading is the likelier one: its refusal says more.
            Err(why) if reason.is_empty() => reason = why,
            Err(_) => {}
        }
    }
    Err(refused(&reason))
}

fn set(table: &mut toml::Table, path: &[String], value: toml::Value) -> bool {
    match path {
        [] => false,
        [key] => {
            table.insert(key.clone(), value);
            true
        }
        [section, rest @ ..] => {
            let inner = table.entry(section.clone()).or_insert_with(|| toml::Table::new().into());
            inner.as_table_mut().is_some_and(|inner| set(inner, rest, value))
        }
    }
}

fn typed(table: &toml::Table) -> Result<Config, String> {
    let config = Config::deserialize(table.clone()).map_err(|error| error.message().to_owned())?;
    config.check().map_err(|(key, why)| format!("{key} {why}"))?;
    config.check_networks().map_err(|bad| bad.text)?;
    config.check_pools().map_err(|bad| bad.text)?;
    Ok(config)
}

fn usual_data_dir(variables: &Variables) -> Result<PathBuf, ConfigError> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/hostler".into());
    }
    let share = variables.get("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(PathBuf::from(variables.get("HOME")?).join(".local/share"));
    let share = share.or_else(home).ok_or_else(|| {
        ConfigError::new("HOME is not set, so there is no usual place for the data: name one with --data-dir")
    })?;
    Ok(share.join("hostler"))
}
