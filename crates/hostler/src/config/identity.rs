//! `[[ldap]]`, `[[oidc]]` and what groups outside mean here.

use super::{ConfigError, Variables};
use hostler_core::access::Role;
use hostler_core::access::outside::{Mapping, Rule};
use hostler_core::secret::Secret;
use hostler_drivers::identity::ldap::LdapConfig;
use hostler_drivers::identity::oidc::OidcConfig;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A directory whose people may come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ldap {
    /// Its name here; accounts are bound to it.
    pub name: String,
    /// `ldaps://HOST[:PORT]` or `ldap://HOST[:PORT]`.
    pub url: String,
    /// Whether `ldap://` is encrypted before anything is said.
    #[serde(default)]
    pub start_tls: bool,
    /// Whether passwords may travel unencrypted.
    #[serde(default)]
    pub plaintext: bool,
    /// Certificates of authorities; none means those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Who hostler is when it searches; empty means nobody.
    #[serde(default)]
    pub bind_dn: String,
    /// A file with its password, for hostler's eyes only.
    #[serde(default)]
    pub bind_password_file: Option<PathBuf>,
    /// A variable of the environment with its password.
    #[serde(default)]
    pub bind_password_variable: Option<String>,
    /// Names that people bind with at once; empty means that they are searched.
    #[serde(default)]
    pub direct: Vec<String>,
    /// Where people are.
    #[serde(default)]
    pub bases: Vec<String>,
    /// Which entries are people.
    #[serde(default = "usual::user_filter")]
    pub user_filter: String,
    /// What people may call themselves; the first is their login name.
    #[serde(default = "usual::login_attributes")]
    pub login_attributes: Vec<String>,
    /// Their e-mail address.
    #[serde(default = "usual::email_attribute")]
    pub email_attribute: String,
    /// Their name.
    #[serde(default = "usual::name_attribute")]
    pub name_attribute: String,
    /// What never changes.
    #[serde(default = "usual::key_attribute")]
    pub key_attribute: String,
    /// Role of people to whom no group gives another; none lets only members of `groups` in.
    #[serde(default)]
    pub role: Option<Role>,
    /// What groups give.
    #[serde(default)]
    pub groups: Vec<GroupRule>,
    /// Seconds between two rounds of synchronization; 0 means on demand only.
    #[serde(default = "usual::sync_s")]
    pub sync_s: u64,
    /// Whether synchronization makes accounts for people who have not come in yet.
    #[serde(default)]
    pub import: bool,
    /// Entries in a page.
    #[serde(default = "usual::page")]
    pub page: i32,
    /// Patience with one answer.
    #[serde(default = "usual::timeout_s")]
    pub timeout_s: u64,
}

/// An OpenID provider whose people may come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// Its name here, part of paths.
    pub name: String,
    /// What buttons call it; none means its name.
    #[serde(default)]
    pub title: Option<String>,
    /// Its issuer address, exactly as it says itself.
    pub issuer: String,
    /// What it calls us.
    pub client_id: String,
    /// A file with our password there, for hostler's eyes only.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// A variable of the environment with our password there.
    #[serde(default)]
    pub client_secret_variable: Option<String>,
    /// Where browsers reach us: `https://HOST`.
    pub public_url: String,
    /// Certificates of authorities; none means those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Asked for beside `openid`.
    #[serde(default = "usual::scopes")]
    pub scopes: Vec<String>,
    /// The claim with the login name.
    #[serde(default = "usual::login_claim")]
    pub login_claim: String,
    /// The claim with the groups.
    #[serde(default = "usual::groups_claim")]
    pub groups_claim: String,
    /// Role of people to whom no group gives another; none lets only members of `groups` in.
    #[serde(default)]
    pub role: Option<Role>,
    /// What groups give.
    #[serde(default)]
    pub groups: Vec<GroupRule>,
    /// Patience with one answer.
    #[serde(default = "usual::timeout_s")]
    pub timeout_s: u64,
}

/// What membership in a group outside gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRule {
    /// The group outside: its DN, or a value of a provider's claim.
    pub group: String,
    /// A role.
    #[serde(default)]
    pub role: Option<Role>,
    /// A group of ours.
    #[serde(default)]
    pub into: Option<String>,
}

mod usual {
    pub(super) fn user_filter() -> String {
        "(objectClass=person)".into()
    }
    pub(super) fn login_attributes() -> Vec<String> {
        vec!["uid".into()]
    }
    pub(super) fn email_attribute() -> String {
        "mail".into()
    }
    pub(super) fn name_attribute() -> String {
        "cn".into()
    }
    pub(super) fn key_attribute() -> String {
        "entryUUID".into()
    }
    pub(super) fn scopes() -> Vec<String> {
        ["profile", "email", "groups"].map(str::to_owned).to_vec()
    }
    pub(super) fn login_claim() -> String {
        "preferred_username".into()
    }
    pub(super) fn groups_claim() -> String {
        "groups".into()
    }
    pub(super) fn sync_s() -> u64 {
        3600
    }
    pub(super) fn page() -> i32 {
        500
    }
    pub(super) fn timeout_s() -> u64 {
        10
    }
}

impl Ldap {
    /// What a single value's type cannot say.
    ///
    /// # Errors
    /// What is wrong, with the name of the directory.
    pub(super) fn check(&self) -> Result<(), String> {
        let of = |why: String| format!("`{}`: {why}", self.name);
        check_name(&self.name)?;
        check_rules(&self.groups).map_err(of)?;
        if self.url.starts_with("ldap:") && !self.start_tls && !self.plaintext {
            return Err(of(
                "passwords would travel unencrypted: set start_tls, or ldaps://, or plaintext = true".into(),
            ));
        }
        if self.bind_password_file.is_some() && self.bind_password_variable.is_some() {
            return Err(of("bind_password_file and bind_password_variable cannot both be set".into()));
        }
        if !(1..=60).contains(&self.timeout_s) {
            return Err(of("timeout_s must be between 1 and 60".into()));
        }
        if self.sync_s != 0 && self.sync_s < 60 {
            return Err(of("sync_s must be 0 or at least 60".into()));
        }
        if self.role.is_none() && self.groups.is_empty() {
            return Err(of("nobody could come in: name a role for everybody, or groups".into()));
        }
        let named = self.bind_password_file.is_some() || self.bind_password_variable.is_some();
        self.with_password(named.then(|| Secret::new("x"))).check().map_err(of)
    }

    /// As the driver wants it, with the password.
    ///
    /// # Errors
    /// The password cannot be read, or everybody can read it.
    pub fn driver(&self, variables: &Variables) -> Result<LdapConfig, ConfigError> {
        let file = self.bind_password_file.as_deref();
        Ok(self.with_password(secret(file, self.bind_password_variable.as_deref(), variables)?))
    }

    /// What people of this directory become.
    pub fn mapping(&self) -> Mapping {
        mapping(self.role, &self.groups)
    }

    /// Between two rounds of synchronization.
    pub fn interval(&self) -> Option<Duration> {
        (self.sync_s > 0).then(|| Duration::from_secs(self.sync_s))
    }

    fn with_password(&self, bind_password: Option<Secret>) -> LdapConfig {
        LdapConfig {
            name: self.name.clone(),
            url: self.url.clone(),
            start_tls: self.start_tls,
            ca_file: self.ca_file.clone(),
            bind_dn: self.bind_dn.clone(),
            bind_password,
            direct: self.direct.clone(),
            bases: self.bases.clone(),
            user_filter: self.user_filter.clone(),
            login_attributes: self.login_attributes.clone(),
            email_attribute: self.email_attribute.clone(),
            name_attribute: self.name_attribute.clone(),
            key_attribute: self.key_attribute.clone(),
            groups: self.groups.iter().map(|rule| rule.group.clone()).collect(),
            page: self.page,
            timeout: Duration::from_secs(self.timeout_s),
        }
    }
}

impl Oidc {
    /// What a single value's type cannot say.
    ///
    /// # Errors
    /// What is wrong, with the name of the provider.
    pub(super) fn check(&self) -> Result<(), String> {
        let of = |why: String| format!("`{}`: {why}", self.name);
        check_name(&self.name)?;
        check_rules(&self.groups).map_err(of)?;
        if self.client_secret_file.is_some() && self.client_secret_variable.is_some() {
            return Err(of("client_secret_file and client_secret_variable cannot both be set".into()));
        }
        if !(1..=60).contains(&self.timeout_s) {
            return Err(of("timeout_s must be between 1 and 60".into()));
        }
        if self.role.is_none() && self.groups.is_empty() {
            return Err(of("nobody could come in: name a role for everybody, or groups".into()));
        }
        self.with_secret(None).check().map_err(of)
    }

    /// As the driver wants it, with our password there.
    ///
    /// # Errors
    /// The password cannot be read, or everybody can read it.
    pub fn driver(&self, variables: &Variables) -> Result<OidcConfig, ConfigError> {
        let file = self.client_secret_file.as_deref();
        Ok(self.with_secret(secret(file, self.client_secret_variable.as_deref(), variables)?))
    }

    /// What people of this provider become.
    pub fn mapping(&self) -> Mapping {
        mapping(self.role, &self.groups)
    }

    fn with_secret(&self, client_secret: Option<Secret>) -> OidcConfig {
        OidcConfig {
            name: self.name.clone(),
            title: self.title.clone().unwrap_or_else(|| self.name.clone()),
            issuer: self.issuer.clone(),
            client_id: self.client_id.clone(),
            client_secret,
            public_url: self.public_url.clone(),
            ca_file: self.ca_file.clone(),
            scopes: self.scopes.clone(),
            login_claim: self.login_claim.clone(),
            groups_claim: self.groups_claim.clone(),
            timeout: Duration::from_secs(self.timeout_s),
        }
    }
}

fn mapping(role: Option<Role>, groups: &[GroupRule]) -> Mapping {
    let rule =
        |rule: &GroupRule| Rule { group: rule.group.clone(), role: rule.role, into: rule.into.clone() };
    Mapping { role, rules: groups.iter().map(rule).collect() }
}

/// A name that can stand in paths and keys of records.
fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 32 || !name.chars().all(fits) {
        return Err(format!("name `{name}` must be 1 to 32 of a-z, 0-9 and -"));
    }
    Ok(())
}

fn check_rules(groups: &[GroupRule]) -> Result<(), String> {
    for rule in groups {
        if rule.group.is_empty() || (rule.role.is_none() && rule.into.as_deref().is_none_or(str::is_empty)) {
            return Err("each of groups needs a group, and a role or a group of ours (into)".to_owned());
        }
    }
    Ok(())
}

/// A secret from a file or from the environment; never from the configuration itself, which people show around.
fn secret(
    file: Option<&Path>,
    variable: Option<&str>,
    variables: &Variables,
) -> Result<Option<Secret>, ConfigError> {
    let text = match (file, variable) {
        (Some(path), _) => private(path)?,
        (None, Some(name)) => {
            let value = variables.get(name).and_then(|value| value.to_str());
            value
                .ok_or_else(|| ConfigError::new(format!("there is no variable {name} with a password")))?
                .to_owned()
        }
        (None, None) => return Ok(None),
    };
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        // An empty one would make us nobody, without a word.
        return Err(ConfigError::new("a password for people from outside is empty"));
    }
    Ok(Some(Secret::new(text)))
}

fn private(path: &Path) -> Result<String, ConfigError> {
    let refused = |why: String| ConfigError::new(format!("{}: {why}", path.display()));
    let meta = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?;
    if meta.mode() & 0o007 != 0 {
        return Err(refused("everybody may read it, and it holds a password: chmod o= it".to_owned()));
    }
    std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))
}
