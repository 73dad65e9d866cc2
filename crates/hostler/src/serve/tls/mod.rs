//! TLS for the TCP listener: a pair of files, read anew when they change, or one that we make ourselves.
//!
//! * [`pair`] reads a certificate with its key and makes the self-signed one.
//! * [`listener`] shakes hands, apart from accepting, each with a deadline.
//! * [`validity`] reads when a certificate runs out, for the doctor.
//! * [`keeper`] looks whether the files have changed. Open connections keep what they began with; a broken new pair
//!   changes nothing but what the log and `hostler doctor` say.

mod keeper;
mod listener;
mod pair;
mod validity;

pub(super) use keeper::Keeper;
pub(super) use listener::TlsListener;
pub(crate) use pair::fingerprint;

use crate::config;
use crate::failure::Failure;
use hostler_core::doctor::Finding;
use hostler_core::time::Timestamp;
use pair::Pair;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use validity::Validity;

/// A certificate that runs out within this time is worth a warning.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// What `[tls]` comes to: the files, and what is served of them now. Clones are one.
#[derive(Clone)]
pub(super) struct Tls {
    files: Files,
    served: Arc<Served>,
    config: Arc<ServerConfig>,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// Reads the pair; makes one first when that is asked for and there is none. None without TLS.
    pub(super) fn prepare(
        config: &config::Tls,
        data_dir: &Path,
        address: SocketAddr,
        host_name: &str,
    ) -> Result<Option<Self>, Failure> {
        let files = match named(config) {
            Some(files) => files,
            None if config.self_signed => own(config, data_dir, address, host_name)?,
            None => return Ok(None),
        };
        let pair = Pair::read(&files)
            .map_err(|failure| failure.hint("`hostler config check` tries what `[tls]` names"))?;
        let served = Arc::new(Served(RwLock::new(Arc::new(pair.0))));
        let mut config = ServerConfig::builder_with_provider(pair::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::because("cannot prepare TLS", &error))?
            .with_no_client_auth()
            .with_cert_resolver(served.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self { files, served, config: Arc::new(config) }))
    }

    /// What a client may pin: SHA-256 of the certificate that is served now.
    pub(super) fn fingerprint(&self) -> String {
        self.served.now().cert.first().map(|certificate| fingerprint(certificate)).unwrap_or_default()
    }

    /// What the doctor says of the certificate that is served now.
    fn finding(&self, now: Timestamp) -> Finding {
        let (file, fingerprint) = (self.files.certificate.display(), self.fingerprint());
        let text = format!("TLS with {file}, SHA-256 fingerprint {fingerprint}");
        let served = self.served.now();
        let Some(validity) = served.cert.first().and_then(|certificate| Validity::of(certificate)) else {
            return Finding::ok("tls", text);
        };
        let until = format!("it counts until {}", validity.until);
        let hint = "put a new one in its place; it is served without a restart";
        if now < validity.from {
            return Finding::problem("tls", text).because(format!("it counts only from {}", validity.from));
        }
        if now >= validity.until {
            return Finding::problem("tls", text).because(until).hint(hint);
        }
        if validity.until.since(now) < EXPIRES_SOON {
            return Finding::warning("tls", text).because(until).hint(hint);
        }
        Finding::ok("tls", text).because(until)
    }
}

/// Whether the files that `[tls]` names, if it names any, can be served.
pub(crate) fn check_tls(config: &config::Tls) -> Result<(), Failure> {
    named(config).map_or(Ok(()), |files| Pair::read(&files).map(drop))
}

fn named(config: &config::Tls) -> Option<Files> {
    Some(Files { certificate: config.certificate.clone()?, key: config.key.clone()? })
}

/// The pair below the data directory; made when either file is missing.
fn own(
    config: &config::Tls,
    data_dir: &Path,
    address: SocketAddr,
    host_name: &str,
) -> Result<Files, Failure> {
    let folder = data_dir.join("tls");
    let files = Files { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") };
    if !files.certificate.exists() || !files.key.exists() {
        let names =
            if config.names.is_empty() { usual_names(address, host_name) } else { config.names.clone() };
        pair::make(&files, &names)?;
        tracing::info!(certificate = %files.certificate.display(), ?names, "made a self-signed certificate");
    }
    Ok(files)
}

/// How this host is reached, as far as we can know.
fn usual_names(address: SocketAddr, host_name: &str) -> Vec<String> {
    let mut names = vec![host_name.to_owned(), "localhost".into(), "127.0.0.1".into(), "::1".into()];
    let ip = address.ip();
    if !ip.is_unspecified() && !ip.is_loopback() {
        names.push(ip.to_string());
    }
    names
}

/// What handshakes are answered with.
struct Served(RwLock<Arc<CertifiedKey>>);

impl Served {
    fn now(&self) -> Arc<CertifiedKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, pair: Pair) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair.0);
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Served")
    }
}
