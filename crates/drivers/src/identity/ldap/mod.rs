//! LDAP directories (RFC 4511): a person is found and binds with their own password, or binds at once; lists come in
//! pages (RFC 2696).
//!
//! * Each call connects anew, encrypted by StartTLS or LDAPS; a server that does not encrypt is not talked to.
//! * An empty password is refused before it is sent: servers take it for an anonymous bind, which succeeds (RFC 4513,
//!   5.1.2).
//! * What people type is escaped in filters (RFC 4515) and names (RFC 4514).
//! * Referrals are not followed: they would carry a password to a server that nobody named.

mod connection;
mod entry;

use connection::{Connection, failure};
use entry::{Members, person, same_dn};
use hostler_core::ports::{Directory, DriverError, DriverErrorKind, Person};
use hostler_core::secret::Secret;
use ldap3::{Scope, SearchEntry, dn_escape, ldap_escape, parse_filter};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How a directory is asked.
#[derive(Clone, Debug)]
pub struct LdapConfig {
    /// Its name in the configuration.
    pub name: String,
    /// `ldaps://HOST[:PORT]` or `ldap://HOST[:PORT]`.
    pub url: String,
    /// Whether `ldap://` is encrypted before anything is said.
    pub start_tls: bool,
    /// Certificates of authorities, PEM; none means those of the system.
    pub ca_file: Option<PathBuf>,
    /// Who we are when we search; empty means nobody.
    pub bind_dn: String,
    /// Our password.
    pub bind_password: Option<Secret>,
    /// Names that people bind with at once, `{login}` in the place of theirs; empty means that they are searched.
    pub direct: Vec<String>,
    /// Where people are.
    pub bases: Vec<String>,
    /// Which entries are people.
    pub user_filter: String,
    /// What people may call themselves; the first is their login name.
    pub login_attributes: Vec<String>,
    /// Their e-mail address.
    pub email_attribute: String,
    /// Their name.
    pub name_attribute: String,
    /// What never changes.
    pub key_attribute: String,
    /// The groups of interest, by their DN.
    pub groups: Vec<String>,
    /// Entries in a page.
    pub page: i32,
    /// Patience with one answer.
    pub timeout: Duration,
}

/// Directories with more people are refused rather than kept in memory.
const MOST_PEOPLE: usize = 500_000;
/// Longest login name that a directory is asked for.
const LONGEST_LOGIN: usize = 254;

impl LdapConfig {
    /// What would only show when the directory is asked.
    ///
    /// # Errors
    /// What is wrong, beginning with the setting.
    pub fn check(&self) -> Result<(), String> {
        let url = reqwest::Url::parse(&self.url).map_err(|error| format!("url `{}`: {error}", self.url))?;
        if !matches!(url.scheme(), "ldap" | "ldaps") || url.host_str().is_none_or(str::is_empty) {
            return Err(format!("url `{}` must be ldap://HOST or ldaps://HOST", self.url));
        }
        if !url.username().is_empty() || !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err("url has more than a host and a port".to_owned());
        }
        if url.scheme() == "ldaps" && self.start_tls {
            return Err("start_tls is for ldap://; ldaps:// is encrypted already".to_owned());
        }
        if parse_filter(&self.user_filter).is_err() {
            return Err(format!(
                "user_filter `{}` is no filter, such as (objectClass=person)",
                self.user_filter
            ));
        }
        let named = [&self.email_attribute, &self.name_attribute, &self.key_attribute];
        for attribute in self.login_attributes.iter().chain(named) {
            let fits = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
            if attribute.is_empty() || !attribute.chars().all(fits) {
                return Err(format!("`{attribute}` is no name of an attribute"));
            }
        }
        if self.login_attributes.is_empty() {
            return Err("login_attributes must name one at least".to_owned());
        }
        let searches = self.direct.is_empty() || self.direct.iter().any(|pattern| !pattern.contains('='));
        if self.bases.is_empty() && (searches || !self.bind_dn.is_empty()) {
            return Err("bases must name one at least".to_owned());
        }
        if self.direct.iter().any(|pattern| pattern.matches("{login}").count() != 1) {
            return Err("direct needs {login} once in each pattern".to_owned());
        }
        if self.bind_dn.is_empty() != self.bind_password.is_none() {
            return Err("bind_dn and a password (bind_password_file or bind_password_variable) go together"
                .to_owned());
        }
        if !(1..=10_000).contains(&self.page) {
            return Err("page must be between 1 and 10000".to_owned());
        }
        Ok(())
    }

    fn attributes(&self) -> Vec<String> {
        let named = [&self.email_attribute, &self.name_attribute, &self.key_attribute];
        let mut all: Vec<String> = self.login_attributes.iter().chain(named).cloned().collect();
        all.push("memberOf".to_owned());
        all
    }

    /// Who may be meant by a login name. What was typed cannot leave its place in the filter.
    fn filter_for(&self, login: &str) -> String {
        let login = ldap_escape(login);
        let any: String = self.login_attributes.iter().map(|name| format!("({name}={login})")).collect();
        format!("(&{}(|{any}))", self.user_filter)
    }
}

/// An LDAP directory.
#[derive(Clone, Debug)]
pub struct LdapDirectory {
    config: Arc<LdapConfig>,
}

impl LdapDirectory {
    /// A directory that is asked like this.
    pub fn new(config: LdapConfig) -> Self {
        Self { config: Arc::new(config) }
    }
}

#[async_trait::async_trait]
impl Directory for LdapDirectory {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn address(&self) -> String {
        self.config.url.clone()
    }

    fn lists(&self) -> bool {
        self.config.direct.is_empty() || !self.config.bind_dn.is_empty()
    }

    async fn log_in(&self, login: &str, password: &Secret) -> Result<Option<Person>, DriverError> {
        let speakable = |text: &str| !text.is_empty() && !text.contains('\0');
        if !speakable(password.expose())
            || login.trim().is_empty()
            || login.len() > LONGEST_LOGIN
            || login.chars().any(char::is_control)
        {
            return Ok(None);
        }
        let (config, login, password) = (self.config.clone(), login.trim().to_owned(), password.clone());
        let patience = config.timeout * 4;
        guarded(patience, async move {
            if config.direct.is_empty() {
                search_then_bind(&config, &login, &password).await
            } else {
                bind_at_once(&config, &login, &password).await
            }
        })
        .await
    }

    async fn people(&self) -> Result<Vec<Person>, DriverError> {
        if !self.lists() {
            return Err(DriverError::unsupported("without bind_dn nobody may list this directory"));
        }
        let config = self.config.clone();
        guarded(config.timeout * 60, async move { everybody(&config).await }).await
    }

    async fn check(&self) -> Result<String, DriverError> {
        let config = self.config.clone();
        guarded(config.timeout * 2, async move { look(&config).await }).await
    }
}

/// Runs a conversation apart and not for ever: the library panics at some answers that make no sense, and a server must
/// not be able to end us.
async fn guarded<T: Send + 'static>(
    patience: Duration,
    talk: impl Future<Output = Result<T, DriverError>> + Send + 'static,
) -> Result<T, DriverError> {
    let mut apart = JoinSet::new();
    apart.spawn(talk);
    match tokio::time::timeout(patience, apart.join_next()).await {
        Err(_) | Ok(None) => Err(DriverError::timeout("the directory takes too long")),
        Ok(Some(Ok(said))) => said,
        Ok(Some(Err(_))) => {
            Err(DriverError::new(DriverErrorKind::Protocol, "the directory's answer makes no sense"))
        }
    }
}

async fn search_then_bind(
    config: &LdapConfig,
    login: &str,
    password: &Secret,
) -> Result<Option<Person>, DriverError> {
    let mut ours = Connection::bound(config).await?;
    let Some(entry) = find(config, &mut ours, login).await? else { return Ok(None) };
    // On a connection of its own, so that ours goes on with our rights.
    let mut theirs = Connection::open(config).await?;
    if !theirs.bind(&entry.dn, password).await? {
        return Ok(None);
    }
    let groups = groups_of(config, &mut ours, &entry).await?;
    Ok(Some(person(config, &entry, groups)))
}

async fn bind_at_once(
    config: &LdapConfig,
    login: &str,
    password: &Secret,
) -> Result<Option<Person>, DriverError> {
    for pattern in &config.direct {
        let is_dn = pattern.contains('=');
        // Names that are none have no way of escaping.
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !is_dn && !login.chars().all(plain) {
            continue;
        }
        let escaped = dn_escape(login);
        let name = pattern.replace("{login}", if is_dn { &escaped } else { login });
        let mut theirs = Connection::open(config).await?;
        if !theirs.bind(&name, password).await? {
            continue;
        }
        let found = if is_dn {
            theirs.search(&name, Scope::Base, &config.user_filter, &config.attributes()).await?.pop()
        } else {
            find(config, &mut theirs, login).await?
        };
        let Some(entry) = found else { return Ok(None) };
        let groups = groups_of(config, &mut theirs, &entry).await?;
        return Ok(Some(person(config, &entry, groups)));
    }
    Ok(None)
}

/// The one entry that is meant by a login name. Of two nobody can say which.
async fn find(
    config: &LdapConfig,
    connection: &mut Connection,
    login: &str,
) -> Result<Option<SearchEntry>, DriverError> {
    let filter = config.filter_for(login);
    let mut found: Vec<SearchEntry> = Vec::new();
    for base in &config.bases {
        for entry in connection.search(base, Scope::Subtree, &filter, &config.attributes()).await? {
            // Bases may overlap.
            if !found.iter().any(|other| same_dn(&other.dn, &entry.dn)) {
                found.push(entry);
            }
        }
    }
    if found.len() > 1 {
        tracing::warn!(directory = config.name, "a login name fits several entries: nobody is let in");
        return Ok(None);
    }
    Ok(found.pop())
}

/// Which groups of interest an entry is in: by its own words, or by the group's.
async fn groups_of(
    config: &LdapConfig,
    connection: &mut Connection,
    entry: &SearchEntry,
) -> Result<Vec<String>, DriverError> {
    let own = entry::values(entry, "memberOf");
    let dn = ldap_escape(&entry.dn);
    let uid = entry::values(entry, &config.login_attributes[0]).first().cloned().unwrap_or_default();
    let uid = ldap_escape(&uid);
    let filter = format!("(|(member={dn})(uniqueMember={dn})(memberUid={uid}))");
    let mut groups = Vec::new();
    for group in &config.groups {
        let is_in = own.iter().any(|name| same_dn(name, group))
            || match connection.search(group, Scope::Base, &filter, &["1.1".to_owned()]).await {
                Ok(found) => !found.is_empty(),
                Err(error) if error.kind == DriverErrorKind::Gone => false,
                Err(error) => return Err(error),
            };
        if is_in {
            groups.push(group.clone());
        }
    }
    Ok(groups)
}

async fn everybody(config: &LdapConfig) -> Result<Vec<Person>, DriverError> {
    let mut connection = Connection::bound(config).await?;
    let mut members = Vec::new();
    for group in &config.groups {
        let names = ["member", "uniqueMember", "memberUid"].map(str::to_owned);
        let found = connection.search(group, Scope::Base, "(objectClass=*)", &names).await;
        // Without it everybody would lose what it gives.
        let missing = || DriverError::refused(format!("the group {group} of the mapping is not there"));
        let entry = match found {
            Ok(mut found) => found.pop().ok_or_else(missing)?,
            Err(error) if error.kind == DriverErrorKind::Gone => return Err(missing()),
            Err(error) => return Err(error),
        };
        members.push((group, Members::of(&entry)));
    }
    let mut people = Vec::new();
    let mut seen = HashSet::new();
    let attributes = config.attributes();
    for base in &config.bases {
        let mut pages = connection.pages(base, &config.user_filter, &attributes, config.page);
        while let Some(page) = pages.next().await? {
            for entry in page {
                let own = entry::values(&entry, "memberOf");
                let uid = entry::values(&entry, &config.login_attributes[0]);
                let is_in = |(group, members): &&(&String, Members)| {
                    own.iter().any(|name| same_dn(name, group)) || members.have(&entry.dn, &uid)
                };
                let groups = members.iter().filter(is_in).map(|(group, _)| (*group).clone()).collect();
                let person = person(config, &entry, groups);
                if seen.insert(person.key.clone()) {
                    people.push(person);
                }
            }
            if people.len() > MOST_PEOPLE {
                return Err(DriverError::refused(format!("it has more than {MOST_PEOPLE} people")));
            }
        }
    }
    Ok(people)
}

async fn look(config: &LdapConfig) -> Result<String, DriverError> {
    let secured = match (config.url.starts_with("ldaps:"), config.start_tls) {
        (true, _) => "LDAPS",
        (false, true) => "StartTLS",
        (false, false) => "not encrypted",
    };
    if !config.direct.is_empty() && config.bind_dn.is_empty() {
        Connection::open(config).await?;
        return Ok(format!("{} answers ({secured}); people bind by themselves", config.url));
    }
    let mut connection = Connection::bound(config).await?;
    for (place, what) in config
        .bases
        .iter()
        .map(|base| (base, "base"))
        .chain(config.groups.iter().map(|group| (group, "group")))
    {
        let found = connection.search(place, Scope::Base, "(objectClass=*)", &["1.1".to_owned()]).await;
        match found {
            Ok(found) if !found.is_empty() => {}
            Err(error) if error.kind != DriverErrorKind::Gone => return Err(error),
            _ => {
                return Err(DriverError::refused(format!(
                    "the {what} {place} is not there, or not for us to see"
                )));
            }
        }
    }
    let who = if config.bind_dn.is_empty() { "nobody" } else { &config.bind_dn };
    let (bases, groups) = (config.bases.len(), config.groups.len());
    Ok(format!("{} answers ({secured}) as {who}: {bases} bases, {groups} groups", config.url))
}

/// A certificate file that cannot be used.
fn bad_ca(path: &std::path::Path, why: impl std::fmt::Display) -> DriverError {
    failure(DriverErrorKind::Refused, format!("ca_file {}: {why}", path.display()))
}
