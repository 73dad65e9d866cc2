//! `vmpooler.yaml` becomes hostler's configuration.
//!
//! The file is read as a tree with places (`yaml`), each section of it key by key (`section`). What has a counterpart goes
//! into a draft, and every key into the report: as what it was taken over, why not, what has to be seen to. The draft is
//! written as TOML, and checked as any configuration is before anybody gets it. Passwords are neither copied nor shown.

mod auth;
mod pools;
mod report;
mod section;
mod settings;
mod tokens;
mod yaml;

use crate::config;
use pools::{Templates, Usual};
pub(crate) use report::Report;
use section::Section;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
pub(crate) use tokens::{OldToken, tokens};
use toml::Value as Toml;
pub(crate) use yaml::MOST_BYTES;
use yaml::{Place, Wrong};

/// What a file became.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Imported {
    /// The configuration, TOML.
    pub(crate) config: String,
    /// What became of each part.
    pub(crate) report: Report,
}

/// Why a file became nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImportError {
    /// A file is wrong: which, where and why.
    Wrong { file: String, at: String },
    /// A name was given to a template that no pool has.
    NoTemplate(String),
    /// A further file cannot be read: which and why.
    Unread { file: String, why: String },
    /// The configuration would be refused.
    Refused(String),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong { file, at } => write!(f, "{file}:{at}"),
            Self::NoTemplate(name) => write!(f, "no pool has the template `{name}`"),
            Self::Unread { file, why } => write!(f, "cannot read {file}: {why}"),
            Self::Refused(why) => write!(f, "hostler would refuse this configuration: {why}"),
        }
    }
}

/// Settings in the order they are written in.
type Settings = Vec<(&'static str, Toml)>;

/// A pool as it will be written.
struct DraftPool {
    place: Place,
    name: String,
    settings: Settings,
}

impl DraftPool {
    fn set(&mut self, key: &'static str, value: impl Into<Toml>) {
        self.settings.push((key, value.into()));
    }

    fn number(&mut self, key: &'static str, value: u64) {
        // A number that TOML does not have is refused by the check in the end.
        self.set(key, i64::try_from(value).unwrap_or(i64::MAX));
    }
}

/// The configuration as far as it is read, and what is to be said of it.
#[derive(Default)]
struct Draft {
    vmpooler: Settings,
    keep: Settings,
    ldap: Vec<Settings>,
    pools: Vec<DraftPool>,
    report: Report,
}

impl Draft {
    /// Sets what `old` said.
    fn set(&mut self, table: &'static str, key: &'static str, value: impl Into<Toml>, old: &str) {
        let value = value.into();
        self.report.taken(old, format!("[{table}] {key} = {value}"));
        let settings = if table == "keep" { &mut self.keep } else { &mut self.vmpooler };
        settings.push((key, value));
    }

    fn number(&mut self, table: &'static str, key: &'static str, value: u64, old: &str) {
        self.set(table, key, i64::try_from(value).unwrap_or(i64::MAX), old);
    }

    fn written(&self, file: &str) -> String {
        let mut text =
            format!("# What `hostler import vmpooler` made of {}.\n", file.replace(char::is_control, "?"));
        let single = [("[vmpooler]", &self.vmpooler), ("[keep]", &self.keep)];
        let single = single.into_iter().filter(|(_, settings)| !settings.is_empty());
        let ldap = self.ldap.iter().map(|settings| ("[[ldap]]", settings));
        let pools = self.pools.iter().map(|pool| ("[[pool]]", &pool.settings));
        for (title, settings) in single.chain(ldap).chain(pools) {
            let _ = write!(text, "\n{title}\n");
            for (key, value) in settings {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text
    }
}

/// What `vmpooler.yaml` becomes, with these names for its templates. `further` reads the files that it names.
///
/// # Errors
/// No YAML, a value of the wrong type, or one that hostler refuses, with the place; a name for a template that is not there.
pub(crate) fn vmpooler(
    file: &str,
    text: &str,
    templates: &BTreeMap<String, String>,
    further: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Imported, ImportError> {
    let wrong = |wrong: Wrong| ImportError::Wrong { file: file.to_owned(), at: wrong.to_string() };
    let mut node = yaml::parse(text).map_err(wrong)?;
    for name in further_files(&node).map_err(wrong)? {
        let text = further(&name).map_err(|why| ImportError::Unread { file: name.clone(), why })?;
        let other = yaml::parse(&text);
        node.lay_over(
            other.map_err(|wrong| ImportError::Wrong { file: name.clone(), at: wrong.to_string() })?,
        );
    }
    let mut names = Templates::new(templates);
    let mut draft = Draft::default();
    read(&node, &mut names, &mut draft).map_err(wrong)?;
    if let Some(name) = names.unused().first() {
        return Err(ImportError::NoTemplate((*name).to_owned()));
    }
    names.tell(&mut draft.report);
    let config = draft.written(file);
    match config::refused(&config) {
        None => Ok(Imported { config, report: draft.report }),
        Some((Some(pool), why)) => {
            let place = draft.pools.get(pool).map(|pool| pool.place).unwrap_or_default();
            Err(wrong(Wrong::at(place, why)))
        }
        Some((None, why)) => Err(ImportError::Refused(why)),
    }
}

/// Names of the files in `:config: extra_config`.
fn further_files(node: &yaml::Node) -> Result<Vec<String>, Wrong> {
    let mut root = Section::of("", node)?;
    let Some(mut config) = root.section("config")? else { return Ok(Vec::new()) };
    let names = config.texts("extra_config")?;
    let names = names.iter().flat_map(|names| names.split(',')).map(|name| name.trim().to_owned());
    Ok(names.filter(|name| !name.is_empty()).collect())
}

fn read(node: &yaml::Node, templates: &mut Templates<'_>, draft: &mut Draft) -> Result<(), Wrong> {
    let mut root = Section::of("", node)?;
    let mut usual = Usual::default();
    let mut config = root.section("config")?.unwrap_or_else(|| Section::none("config"));
    let further = config.texts("extra_config")?;
    if !further.is_empty() {
        draft.report.taken("config.extra_config", "read, and laid over this file");
    }
    settings::config(&mut config, &mut usual, draft)?;
    if let Some(mut redis) = root.section("redis")? {
        settings::redis(&mut redis, draft)?;
    }
    auth::read(root.take("auth"), draft)?;
    if let Some(mut filters) = root.section("tagfilter")? {
        settings::tag_filters(&mut filters, draft)?;
    }
    if let Some(mut prometheus) = root.section("prometheus")? {
        settings::prometheus(&mut prometheus, draft)?;
    }
    settings::domains(&mut root, &mut usual, draft)?;
    match root.take("pools") {
        Some(node) => pools::read(node, &usual, templates, draft)?,
        None => {
            draft
                .report
                .due("pools", "there are none in this file: vmpooler would have read them from redis");
        }
    }
    for key in root.unread() {
        draft.report.left(key, settings::why_left_section(key));
    }
    always(draft);
    Ok(())
}

/// What holds whatever is in the file.
fn always(draft: &mut Draft) {
    let report = &mut draft.report;
    report.due(
        "address",
        "vmpooler listened on port 4567 of all addresses, hostler on 127.0.0.1:8889: set listen, and [tls]",
    );
    report.due(
        "environment",
        "variables such as VM_LIFETIME or LDAP_HOST, which win over the file, are not read",
    );
    report.different(
        "anonymous",
        "callers without a token may do what vmpooler let them: anonymous = \"full\", \"read\" or \"off\" in [vmpooler]",
    );
    report.different(
        "probe",
        "as with vmpooler a machine is ready when SSH answers; \"agent\" is hostler's usual",
    );
}

#[cfg(test)]
mod tests;
