//! A certificate and its key: read from PEM files, or made.

use super::Files;
use crate::failure::Failure;
use crate::serve::write_private;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

/// A certificate with its chain, and the key that belongs to it.
#[derive(Debug)]
pub(super) struct Pair(pub(super) CertifiedKey);

impl Pair {
    /// Reads both files; the key must be the certificate's.
    pub(super) fn read(files: &Files) -> Result<Self, Failure> {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect).map_err(
                |error| Failure::because(format!("cannot read the certificate {certificate}"), &error),
            )?;
        if chain.is_empty() {
            return Err(Failure::new(format!("there is no certificate in {certificate}"))
                .cause("it must be PEM: -----BEGIN CERTIFICATE-----"));
        }
        let secret = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| Failure::because(format!("cannot read the key {key}"), &error))?;
        CertifiedKey::from_der(chain, secret, &provider()).map(Self).map_err(|error| {
            Failure::because(
                format!("the certificate {certificate} and the key {key} cannot be used"),
                &error,
            )
        })
    }
}

/// The one provider of cryptography that is linked in.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// SHA-256 of a certificate, in hexadecimal digits.
pub(crate) fn fingerprint(certificate: &[u8]) -> String {
    hex::encode(Sha256::digest(certificate))
}

/// Makes a certificate for these names, signed by itself, and its key. The key is written first: a crash in between
/// leaves no certificate, and the next start makes both anew.
///
/// It does not run out in our time: nobody would renew it, and who trusts it has pinned it.
pub(super) fn make(files: &Files, names: &[String]) -> Result<(), Failure> {
    let failed = |error: rcgen::Error| Failure::because("cannot make a self-signed certificate", &error);
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, names.first().map_or("hostler", String::as_str));
    subject.push(DnType::OrganizationName, "hostler");
    params.distinguished_name = subject;
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
    let certificate = params.self_signed(&key).map_err(failed)?;
    let folder = files.key.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| Failure::because(format!("cannot make {}", folder.display()), &error))?;
    write_private(&files.key, &key.serialize_pem())?;
    write_private(&files.certificate, &certificate.pem())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn files(folder: &Path) -> Files {
        Files { certificate: folder.join("tls/certificate.pem"), key: folder.join("tls/key.pem") }
    }

    #[test]
    fn what_is_made_can_be_read_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        make(&files, &["hostler.example".into(), "192.0.2.1".into()]).unwrap();
        let pair = Pair::read(&files).unwrap();
        assert_eq!(fingerprint(&pair.0.cert[0]).len(), 64);
        assert_eq!(std::fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_the_file_and_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (files(&folder.path().join("1")), files(&folder.path().join("2")));
        for one in [&first, &second] {
            make(one, &["localhost".into()]).unwrap();
        }
        let mixed = Files { certificate: first.certificate.clone(), key: second.key.clone() };
        let refused = Pair::read(&mixed).unwrap_err();
        assert!(refused.text.contains("cannot be used") && !refused.causes.is_empty(), "{refused:?}");
        let swapped = Files { certificate: first.key.clone(), key: first.certificate.clone() };
        assert!(Pair::read(&swapped).unwrap_err().text.starts_with("there is no certificate in"));
        let missing = Files { key: folder.path().join("none"), ..first.clone() };
        assert!(Pair::read(&missing).unwrap_err().text.starts_with("cannot read the key"));
        std::fs::write(&first.certificate, "-----BEGIN CERTIFICATE-----\nbroken").unwrap();
        assert!(Pair::read(&first).unwrap_err().text.starts_with("cannot read the certificate"));
    }
}
