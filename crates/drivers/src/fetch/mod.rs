//! Fetching files from addresses that tenants and administrators name.
//!
//! Such an address may lead into our own network, never answer, or never end. So only http and https are spoken; every
//! host, the first and each that a redirection names, is resolved once and connected to at the addresses that were
//! checked; size, silence and the whole time are bounded. What was fetched survives a broken connection and a restart of
//! ours: the next try goes on where the last one stopped, if the server still has the same version of the file.

mod addresses;
mod hop;
mod partial;
#[cfg(test)]
mod tests;

pub(crate) use partial::{Partial, forget};

use crate::durable::{blocking, io_failed};
use futures_util::future::BoxFuture;
use hostler_core::fail::fail_point;
use hostler_core::ports::{DriverError, DriverErrorKind, Progress};
use ipnet::IpNet;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, LAST_MODIFIED};
use reqwest::{Response, StatusCode};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// Written at once.
const PIECE: usize = 1 << 20;

/// What may be fetched, and how long that may take.
#[derive(Clone, Debug)]
pub struct FetchRules {
    /// Addresses that are not public and may be fetched from all the same.
    pub allow_addresses: Vec<IpNet>,
    /// An HTTP proxy that everything is fetched through; the environment is not asked for one.
    pub proxy: Option<String>,
    /// The whole of one try, redirections included.
    pub patience: Duration,
    /// How long a server may send nothing.
    pub stall: Duration,
    /// After so many bytes what came is made durable.
    pub kept_every: u64,
}

impl Default for FetchRules {
    fn default() -> Self {
        Self {
            allow_addresses: Vec::new(),
            proxy: None,
            patience: Duration::from_secs(4 * 3600),
            stall: Duration::from_secs(60),
            kept_every: 64 * MIB,
        }
    }
}

impl FetchRules {
    /// Whether a text is a prefix that `allow_addresses` may hold.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_prefix(text: &str) -> Result<(), String> {
        let wrong = |_| format!("`{text}` is not a prefix such as 10.0.0.0/8 or fd00::/8");
        let prefix: IpNet = text.parse().map_err(wrong)?;
        if prefix.addr() == prefix.network() {
            return Ok(());
        }
        Err(format!("`{text}` says more than its length: did you mean {}?", prefix.trunc()))
    }
}

/// Answers all addresses of a name.
pub(crate) type Resolver = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Fetches by the rules.
pub(crate) struct Fetcher {
    rules: FetchRules,
    resolver: Resolver,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Names are resolved as the host does it.
    pub(crate) fn new(rules: FetchRules) -> Self {
        let resolver: Resolver = Arc::new(|name| {
            Box::pin(async move {
                let found = tokio::net::lookup_host((name, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            })
        });
        Self::with_resolver(rules, resolver)
    }

    pub(crate) fn with_resolver(rules: FetchRules, resolver: Resolver) -> Self {
        // Only one provider is linked in, but it has to be chosen; an error means that somebody did already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { rules, resolver }
    }

    /// The whole file, kept at `place` until it is forgotten. A retryable error leaves there what came so far.
    pub(crate) async fn fetch(
        &self,
        url: &str,
        place: &Path,
        most: u64,
        progress: &Progress,
    ) -> Result<File, DriverError> {
        let (path, address) = (place.to_owned(), url.to_owned());
        let mut partial = blocking(move || Partial::open(&path, &address)).await?;
        let whole = tokio::time::timeout(self.rules.patience, async {
            while !partial.is_whole() {
                let before = partial.kept();
                match self.attempt(url, &mut partial, most, progress).await {
                    // It broke, but it went on: at once once more. Otherwise the task tries again later.
                    Err(error) if error.retryable && partial.kept() > before => {
                        tracing::info!(kept = partial.kept(), cause = %error, "going on with what was fetched");
                    }
                    other => other?,
                }
            }
            Ok(())
        });
        whole.await.unwrap_or_else(|_| {
            let text = format!("it took longer than {} s to fetch", self.rules.patience.as_secs_f64());
            Err(DriverError::refused(text))
        })?;
        blocking(move || partial.read()).await
    }

    async fn attempt(
        &self,
        url: &str,
        partial: &mut Partial,
        most: u64,
        progress: &Progress,
    ) -> Result<(), DriverError> {
        progress.report(0.0, "asking for the file");
        let response = hop::ask(url, partial.resumes_at(), &self.rules, &self.resolver).await?;
        let from = match response.status() {
            StatusCode::PARTIAL_CONTENT if continues(&response, partial) => partial.kept(),
            StatusCode::OK => {
                partial.begin(validator(response.headers()))?;
                0
            }
            // What we have fits nothing that the server has now.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if partial.kept() > 0 => {
                partial.begin(None)?;
                return Err(DriverError::new(
                    DriverErrorKind::Unreachable,
                    "the file changed while it was fetched",
                ));
            }
            status => return Err(unwilling(status)),
        };
        let total = response.content_length().map(|rest| from.saturating_add(rest));
        if let Some(total) = total {
            within(total, most)?;
        }
        self.receive(response, partial, Extent { from, total, most }, progress).await
    }

    /// Writes what comes. However it ends, what was written is noted.
    async fn receive(
        &self,
        mut response: Response,
        partial: &mut Partial,
        extent: Extent,
        progress: &Progress,
    ) -> Result<(), DriverError> {
        let mut file = partial.writer()?;
        if let Some(total) = extent.total {
            enough_space(&file, total - extent.from)?;
        }
        let (mut received, mut noted, mut buffer) = (extent.from, extent.from, Vec::with_capacity(PIECE));
        let ended = loop {
            let chunk = match tokio::time::timeout(self.rules.stall, response.chunk()).await {
                Err(_) => break Err(hop::silent(&self.rules)),
                Ok(Err(error)) => break Err(hop::broken(&error)),
                Ok(Ok(None)) => break Ok(()),
                Ok(Ok(Some(chunk))) => chunk,
            };
            within(received + (buffer.len() + chunk.len()) as u64, extent.most)?;
            buffer.extend_from_slice(&chunk);
            if buffer.len() >= PIECE {
                (file, received) = written(file, std::mem::take(&mut buffer), received).await?;
                progress.report(extent.part(received), &extent.told(received));
                if received - noted >= self.rules.kept_every {
                    partial.keep(&file, received, false)?;
                    fail_point("fetch.kept");
                    noted = received;
                }
            }
        };
        (file, received) = written(file, buffer, received).await?;
        let cut = ended.is_ok() && extent.total.is_some_and(|total| total != received);
        partial.keep(&file, received, ended.is_ok() && !cut)?;
        fail_point("fetch.kept");
        if cut {
            return Err(DriverError::new(
                DriverErrorKind::Unreachable,
                "the connection broke before the end",
            ));
        }
        ended
    }
}

/// Which part of the file is fetched.
#[derive(Clone, Copy, Debug)]
struct Extent {
    from: u64,
    total: Option<u64>,
    most: u64,
}

impl Extent {
    /// Without a total the end is not known: it goes towards the largest that may come.
    fn part(self, received: u64) -> f64 {
        let total = self.total.unwrap_or(self.most).max(1);
        (received as f64 / total as f64).min(1.0)
    }

    fn told(self, received: u64) -> String {
        match self.total {
            Some(total) => format!("fetched {} of {} MiB", received / MIB, total.div_ceil(MIB)),
            None => format!("fetched {} MiB", received / MIB),
        }
    }
}

async fn written(file: File, bytes: Vec<u8>, at: u64) -> Result<(File, u64), DriverError> {
    blocking(move || {
        partial::write_at(&file, &bytes, at)?;
        Ok((file, at + bytes.len() as u64))
    })
    .await
}

fn within(bytes: u64, most: u64) -> Result<(), DriverError> {
    if bytes <= most {
        return Ok(());
    }
    Err(DriverError::refused(format!("the file has more than the {} MiB that are allowed", most / MIB)))
}

fn enough_space(file: &File, needed: u64) -> Result<(), DriverError> {
    let system =
        rustix::fs::fstatvfs(file).map_err(|error| io_failed("cannot look at the storage", &error.into()))?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    if needed <= free {
        return Ok(());
    }
    let text =
        format!("the storage is full: {} MiB are needed, {} MiB are free", needed.div_ceil(MIB), free / MIB);
    Err(DriverError::new(DriverErrorKind::Exhausted, text))
}

/// Whether the answer begins where we stopped, in the same version.
fn continues(response: &Response, partial: &Partial) -> bool {
    let Some((at, known)) = partial.resumes_at() else { return false };
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let begins = range.is_some_and(|range| range.starts_with(&format!("bytes {at}-")));
    begins && validator(response.headers()).is_none_or(|now| now == known)
}

/// What names this version of the file: a strong ETag, else the date of its last change.
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    text(ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| text(LAST_MODIFIED))
}

fn unwilling(status: StatusCode) -> DriverError {
    let passing = status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
    let kind = if passing { DriverErrorKind::Unreachable } else { DriverErrorKind::Refused };
    DriverError::new(kind, format!("the server answers {status}"))
}
