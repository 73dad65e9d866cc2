//! Requests to the native HTTP API, over the unix socket or to a URL.

mod problem;
mod saved;
mod sse;
mod trust;
mod wait;

pub(super) use saved::keep as keep_session;
pub(super) use sse::{Feed, Message};
pub(super) use wait::finish;

use super::args::Global;
use crate::config::{self, Variables};
use crate::failure::{Exit, Failure};
use crate::socket::SocketPath;
use hostler_doors::native::types::Page;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use trust::Trust;

/// Objects asked for at a time.
const PAGE: usize = 500;

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
    /// Keeps the path of the socket alive; none when the server is asked by TCP.
    socket: Option<SocketPath>,
}

impl Client {
    /// To the server that the options and the environment name.
    pub(crate) fn new(global: &Global) -> Result<Self, Failure> {
        match &global.url {
            Some(url) => {
                let token = match token(global)? {
                    Some(token) => Some(token),
                    None => saved::secret(url)?,
                };
                Self::remote(url, token, &Trust::of(global)?)
            }
            None => {
                let (_, data_dir) = config::load(&global.overrides(None), &Variables::of_process())?;
                Self::local(&data_dir)
            }
        }
    }

    fn remote(url: &str, token: Option<String>, trust: &Trust) -> Result<Self, Failure> {
        let refused =
            |why: &str| Failure::usage(format!("--url: `{url}` is no address of a server")).cause(why);
        let base = Url::parse(&format!("{}/hostler/v1/", url.trim_end_matches('/')))
            .map_err(|error| refused(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(refused("it must begin with http:// or https://"));
        }
        if base.scheme() == "http" && !matches!(trust, Trust::System) {
            return Err(refused("with --ca or --fingerprint it must begin with https://"));
        }
        let http = trust.applied(builder())?.build();
        let http = http.map_err(|error| Failure::because("cannot make requests", &error))?;
        Ok(Self { http, base, token, socket: None })
    }

    fn local(data_dir: &Path) -> Result<Self, Failure> {
        let socket = reach(data_dir)?;
        let http = builder().unix_socket(socket.short()).build();
        let http = http.map_err(|error| Failure::because("cannot make requests", &error))?;
        let base = Url::parse("http://localhost/hostler/v1/")
            .map_err(|error| Failure::because("cannot make requests", &error))?;
        Ok(Self { http, base, token: None, socket: Some(socket) })
    }

    /// Whether the server may be on another computer.
    pub(crate) fn is_remote(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default();
        let loopback = host == "localhost" || host.starts_with("127.") || host == "[::1]";
        self.socket.is_none() && !loopback
    }

    /// A request to a path of the API: literal segments and names, each its own element.
    pub(crate) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.asking(method, path, &[])
    }

    /// A request with parameters.
    pub(crate) fn asking(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.iter().map(|name| segment(name)));
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request; an answer that is no success becomes a failure.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| unreachable(&error))?;
        if response.status().is_success() || response.status().as_u16() == 101 {
            return Ok(response);
        }
        Err(problem::failure(response).await)
    }

    /// Sends a request and reads the JSON that it is answered with.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let response = self.send(request).await?;
        let bytes = response.bytes().await.map_err(|error| unreachable(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::because("the server's answer makes no sense", &error)
                .hint("client and server may be of different versions")
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, Failure> {
        self.json(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, Failure> {
        self.json(self.request(Method::DELETE, path)).await
    }

    /// Objects of a list, page after page, until `limit` or the end.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        limit: Option<usize>,
    ) -> Result<Vec<T>, Failure> {
        let limit = limit.unwrap_or(usize::MAX);
        let mut items: Vec<T> = Vec::new();
        let mut after = None;
        while items.len() < limit {
            let mut query = query.to_vec();
            query.push(("limit", (limit - items.len()).min(PAGE).to_string()));
            query.extend(after.map(|after| ("after", after)));
            let request = self.asking(Method::GET, path, &query);
            let page: Page<T> = self.json(request).await?;
            items.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(items)
    }
}

/// A segment of a path. What a URL cannot have as one is quoted: no object is called so, and the server says that.
fn segment(name: &str) -> Cow<'_, str> {
    match name {
        "" | "." | ".." => format!("`{name}`").into(),
        _ => name.into(),
    }
}

fn builder() -> reqwest::ClientBuilder {
    let agent = concat!("hostler/", env!("CARGO_PKG_VERSION"));
    reqwest::Client::builder().user_agent(agent).connect_timeout(Duration::from_secs(10))
}

/// The socket of a data directory, if a server answers there.
fn reach(data_dir: &Path) -> Result<SocketPath, Failure> {
    let shown = data_dir.display();
    let connected = SocketPath::of(data_dir).and_then(|path| {
        std::os::unix::net::UnixStream::connect(path.short())?;
        Ok(path)
    });
    connected.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => {
            Failure::new(format!("no server is running on the data directory {shown}")).hint(
                "start one with `hostler serve`, or name another with --data-dir, or with --url and HOSTLER_TOKEN",
            )
        }
        ErrorKind::PermissionDenied => Failure::new(format!("you may not use the server on {shown}"))
            .exit(Exit::DENIED)
            .hint("only the server's own user and root need no token; use --url and HOSTLER_TOKEN"),
        _ => Failure::because(format!("cannot reach the server on {shown}"), &error),
    })
}

fn token(global: &Global) -> Result<Option<String>, Failure> {
    let Some(path) = &global.token_file else { return Ok(global.token.clone()) };
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::because(format!("cannot read the token file {}", path.display()), &error)
    })?;
    Ok(Some(text.trim().to_owned()))
}

fn unreachable(error: &reqwest::Error) -> Failure {
    let failure = Failure::because("the server does not answer", error);
    if failure.causes.iter().any(|cause| cause.contains("certificate")) {
        return failure.hint(
            "name who vouches for it with --ca, or its --fingerprint, which `hostler doctor` shows there",
        );
    }
    failure.hint("is it running? `hostler serve` starts one; its log says more")
}
