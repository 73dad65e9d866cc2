//! Whom a client takes a server's word from: this computer's authorities, those in a file, or one certificate itself.

use crate::cli::args::Global;
use crate::failure::Failure;
use crate::serve::fingerprint;
use reqwest::{Certificate, ClientBuilder};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;

/// Who vouches for a server.
#[derive(Debug)]
pub(super) enum Trust {
    /// Whom this computer trusts.
    System,
    /// These only.
    Authorities(Vec<Certificate>),
    /// Nobody: it is this certificate, by its fingerprint.
    Pinned(String),
}

impl Trust {
    /// What the options and the environment say.
    pub(super) fn of(global: &Global) -> Result<Self, Failure> {
        match (&global.ca, &global.fingerprint) {
            (Some(_), Some(_)) => Err(Failure::usage("--ca and --fingerprint exclude each other")),
            (None, None) => Ok(Self::System),
            (None, Some(text)) => pinned(text),
            (Some(path), None) => {
                let shown = path.display();
                let pem = std::fs::read(path).map_err(|error| {
                    Failure::because(format!("cannot read the certificates {shown}"), &error)
                })?;
                let all = Certificate::from_pem_bundle(&pem).map_err(|error| {
                    Failure::because(format!("cannot read the certificates {shown}"), &error)
                })?;
                if all.is_empty() {
                    return Err(Failure::new(format!("there is no certificate in {shown}")));
                }
                Ok(Self::Authorities(all))
            }
        }
    }

    pub(super) fn applied(&self, builder: ClientBuilder) -> Result<ClientBuilder, Failure> {
        match self {
            Self::System => Ok(builder),
            Self::Authorities(all) => Ok(builder.tls_certs_only(all.iter().cloned())),
            Self::Pinned(wanted) => {
                let provider = Arc::new(ring::default_provider());
                let verifier = Arc::new(Pin { wanted: wanted.clone(), provider: provider.clone() });
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(|error| Failure::because("cannot make requests", &error))?
                    .dangerous()
                    .with_custom_certificate_verifier(verifier)
                    .with_no_client_auth();
                Ok(builder.tls_backend_preconfigured(config))
            }
        }
    }
}

/// A fingerprint as people paste it: in either case, with or without colons.
fn pinned(text: &str) -> Result<Trust, Failure> {
    let digits = text.replace(':', "").to_lowercase();
    if digits.len() == 64 && digits.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Ok(Trust::Pinned(digits));
    }
    Err(Failure::usage(format!("--fingerprint: `{text}` is no SHA-256 fingerprint"))
        .cause("it has 64 hexadecimal digits, with or without colons"))
}

/// Takes one certificate and no other. That the server has its key is checked as ever.
#[derive(Debug)]
struct Pin {
    wanted: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if fingerprint(certificate) == self.wanted {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_taken_as_people_paste_it() {
        let plain = "ab".repeat(32);
        let colons = "AB:".repeat(32);
        for text in [plain.as_str(), colons.trim_end_matches(':')] {
            assert!(matches!(pinned(text).unwrap(), Trust::Pinned(digits) if digits == plain), "{text}");
        }
        for wrong in ["", "ab", &"zz".repeat(32)] {
            assert!(pinned(wrong).is_err(), "{wrong}");
        }
    }
}
