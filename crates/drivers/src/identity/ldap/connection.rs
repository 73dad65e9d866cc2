//! One conversation with a server.

use super::{LdapConfig, bad_ca};
use hostler_core::ports::{DriverError, DriverErrorKind};
use hostler_core::secret::Secret;
use ldap3::controls::{ControlType, PagedResults, RawControl};
use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, ResultEntry, Scope, SearchEntry,
    SearchOptions, SearchResult,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Result codes of RFC 4511, appendix A.
const SIZE_LIMIT_EXCEEDED: u32 = 4;
const REFERRAL: u32 = 10;
const NO_SUCH_OBJECT: u32 = 32;
const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
const INVALID_CREDENTIALS: u32 = 49;
const BUSY: u32 = 51;
const UNAVAILABLE: u32 = 52;

/// A connection; dropping it ends it.
pub(super) struct Connection {
    ldap: Ldap,
    timeout: Duration,
    /// Moves what is sent and received.
    _driver: JoinSet<()>,
}

impl Connection {
    /// Connected, encrypted as configured, and nobody yet.
    pub(super) async fn open(config: &LdapConfig) -> Result<Self, DriverError> {
        let settings =
            LdapConnSettings::new().set_conn_timeout(config.timeout).set_starttls(config.start_tls);
        let settings = match &config.ca_file {
            Some(path) => settings.set_config(Arc::new(trusting(path)?)),
            None => settings,
        };
        let connecting = LdapConnAsync::with_settings(settings, &config.url);
        let late = |_| DriverError::timeout(format!("{} does not answer in time", config.url));
        let (connection, ldap) = tokio::time::timeout(config.timeout, connecting)
            .await
            .map_err(late)?
            .map_err(|error| said(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!(%error, "a connection to a directory broke");
            }
        });
        Ok(Self { ldap, timeout: config.timeout, _driver: driver })
    }

    /// Connected as the one that we are when we search.
    pub(super) async fn bound(config: &LdapConfig) -> Result<Self, DriverError> {
        let mut connection = Self::open(config).await?;
        if let Some(password) = &config.bind_password
            && !connection.bind(&config.bind_dn, password).await?
        {
            return Err(DriverError::refused(format!("the password of {} is wrong", config.bind_dn)));
        }
        Ok(connection)
    }

    /// Whether this name and password are good.
    pub(super) async fn bind(&mut self, dn: &str, password: &Secret) -> Result<bool, DriverError> {
        // Either of them empty would make it an anonymous bind, which succeeds.
        if dn.is_empty() || password.expose().is_empty() {
            return Ok(false);
        }
        let bound = self.ldap.with_timeout(self.timeout).simple_bind(dn, password.expose()).await;
        let bound = bound.map_err(|error| said(&error))?;
        match bound.rc {
            0 => Ok(true),
            INVALID_CREDENTIALS | INAPPROPRIATE_AUTHENTICATION | NO_SUCH_OBJECT => Ok(false),
            _ => Err(refusal(&bound)),
        }
    }

    /// Entries below a base; of searches that find many the first few.
    pub(super) async fn search(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[String],
    ) -> Result<Vec<SearchEntry>, DriverError> {
        let few = SearchOptions::new().sizelimit(3);
        let ldap = self.ldap.with_timeout(self.timeout).with_search_options(few);
        let SearchResult(found, result) =
            ldap.search(base, scope, filter, attributes).await.map_err(|error| said(&error))?;
        if result.rc != 0 && result.rc != SIZE_LIMIT_EXCEEDED {
            return Err(refusal(&result));
        }
        Ok(entries(found))
    }

    /// Everything below a base, page by page.
    pub(super) fn pages<'a>(
        &'a mut self,
        base: &'a str,
        filter: &'a str,
        attributes: &'a [String],
        size: i32,
    ) -> Pages<'a> {
        Pages { connection: self, base, filter, attributes, size, cookie: Some(Vec::new()) }
    }
}

/// A list that comes in pages (RFC 2696).
pub(super) struct Pages<'a> {
    connection: &'a mut Connection,
    base: &'a str,
    filter: &'a str,
    attributes: &'a [String],
    size: i32,
    /// Where the next page begins; none after the last.
    cookie: Option<Vec<u8>>,
}

impl Pages<'_> {
    /// The next page; none after the last. A list that the server cuts off is an error.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<SearchEntry>>, DriverError> {
        let Some(cookie) = self.cookie.take() else { return Ok(None) };
        let ask: RawControl = PagedResults { size: self.size, cookie }.into();
        let ldap = self.connection.ldap.with_timeout(self.connection.timeout).with_controls(ask);
        let found = ldap.search(self.base, Scope::Subtree, self.filter, self.attributes).await;
        let SearchResult(found, result) = found.map_err(|error| said(&error))?;
        if result.rc != 0 {
            return Err(refusal(&result));
        }
        let paged = result.ctrls.iter().find(|control| matches!(control.0, Some(ControlType::PagedResults)));
        let cookie = paged.map(|control| control.1.parse::<PagedResults>().cookie);
        self.cookie = cookie.filter(|cookie| !cookie.is_empty());
        Ok(Some(entries(found)))
    }
}

/// Entries alone: pointers to other servers are left where they are.
fn entries(found: Vec<ResultEntry>) -> Vec<SearchEntry> {
    let own = found.into_iter().filter(|entry| !entry.is_ref() && !entry.is_intermediate());
    own.map(SearchEntry::construct).collect()
}

/// TLS that trusts the authorities of a file and no others. Read for each connection, so that a new file counts.
fn trusting(path: &std::path::Path) -> Result<rustls::ClientConfig, DriverError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|why| bad_ca(path, why))? {
        let certificate = certificate.map_err(|why| bad_ca(path, why))?;
        roots.add(certificate).map_err(|why| bad_ca(path, why))?;
    }
    if roots.is_empty() {
        return Err(bad_ca(path, "there is no certificate in it"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| bad_ca(path, why))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

pub(super) fn failure(kind: DriverErrorKind, detail: String) -> DriverError {
    DriverError::new(kind, detail)
}

/// What kept a request from being answered.
fn said(error: &LdapError) -> DriverError {
    match error {
        LdapError::Timeout { .. } => DriverError::timeout("the directory does not answer in time"),
        LdapError::LdapResult { result } => refusal(result),
        LdapError::Io { source } => {
            failure(DriverErrorKind::Unreachable, format!("the directory cannot be reached: {source}"))
        }
        other => failure(DriverErrorKind::Unreachable, format!("the directory cannot be talked to: {other}")),
    }
}

/// What an answer other than yes means.
fn refusal(result: &LdapResult) -> DriverError {
    let text: String = result.text.chars().filter(|c| !c.is_control()).take(200).collect();
    let (kind, what) = match result.rc {
        NO_SUCH_OBJECT => (DriverErrorKind::Gone, "there is no such entry"),
        REFERRAL => (DriverErrorKind::Refused, "it points to another server, which is not followed"),
        SIZE_LIMIT_EXCEEDED => (DriverErrorKind::Refused, "it cuts its list off"),
        BUSY | UNAVAILABLE => (DriverErrorKind::Unreachable, "it is not ready"),
        _ => (DriverErrorKind::Refused, "it refuses"),
    };
    let text = if text.is_empty() { String::new() } else { format!(": {text}") };
    failure(kind, format!("the directory says that {what} (code {}){text}", result.rc))
}
