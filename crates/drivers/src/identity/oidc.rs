//! OpenID providers (OpenID Connect Core 1.0): authorization code with PKCE, discovery, keys fetched for each login.
//!
//! What is signed is verified by `openidconnect`: issuer, audience, times, nonce and one of the algorithms below. Our part
//! is HTTP, and to see to it that nothing is said unencrypted to a provider whose issuer address is encrypted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hostler_core::ports::{Attempt, DriverError, DriverErrorKind, Person, Provider};
use hostler_core::secret::Secret;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreJwsSigningAlgorithm, CoreProviderMetadata,
};
use openidconnect::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest, HttpResponse, IssuerUrl,
    Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenResponse,
};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How a provider is asked.
#[derive(Clone, Debug)]
pub struct OidcConfig {
    /// Its name in the configuration.
    pub name: String,
    /// What buttons call it.
    pub title: String,
    /// Its issuer address, exactly as it says itself.
    pub issuer: String,
    /// What it calls us.
    pub client_id: String,
    /// Our password there; none where we are a public client.
    pub client_secret: Option<Secret>,
    /// Where browsers reach us, without a path.
    pub public_url: String,
    /// Certificates of authorities, PEM; none means those of the system.
    pub ca_file: Option<PathBuf>,
    /// Asked for beside `openid`.
    pub scopes: Vec<String>,
    /// The claim with the login name.
    pub login_claim: String,
    /// The claim with the groups.
    pub groups_claim: String,
    /// Patience with one answer.
    pub timeout: Duration,
}

/// What is signed otherwise is not believed; `none` least of all, nor what is signed with a shared secret.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];
/// Answers that are longer are no answers.
const MOST_BYTES: usize = 1 << 20;
/// Beginning a login believes for so long what the provider said of itself; finishing one asks anew.
const REMEMBERED: Duration = Duration::from_secs(300);

impl OidcConfig {
    /// What would only show when somebody logs in.
    ///
    /// # Errors
    /// What is wrong, beginning with the setting.
    pub fn check(&self) -> Result<(), String> {
        for (setting, text) in [("issuer", &self.issuer), ("public_url", &self.public_url)] {
            let url = reqwest::Url::parse(text).map_err(|error| format!("{setting} `{text}`: {error}"))?;
            let host = url.host_str().unwrap_or_default();
            let here = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
            if url.scheme() != "https" && !(url.scheme() == "http" && here) {
                return Err(format!("{setting} must begin with https://"));
            }
            if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
                return Err(format!("{setting} has more than an address"));
            }
        }
        if self.client_id.is_empty() {
            return Err("client_id must not be empty".to_owned());
        }
        Ok(())
    }

    fn redirect(&self) -> String {
        format!("{}/hostler/v1/login/oidc/{}/callback", self.public_url.trim_end_matches('/'), self.name)
    }
}

/// An OpenID provider.
#[derive(Debug)]
pub struct OidcProvider {
    config: OidcConfig,
    known: Mutex<Option<(Instant, CoreProviderMetadata)>>,
}

/// Speaks HTTP with the provider.
#[derive(Clone, Debug)]
struct Http {
    client: reqwest::Client,
    issuer: String,
}

impl Http {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, DriverError> {
        if self.issuer.starts_with("https:") && request.uri().scheme_str() != Some("https") {
            return Err(DriverError::refused("it names an address that is not encrypted"));
        }
        let failed = |error: reqwest::Error| {
            let kind =
                if error.is_timeout() { DriverErrorKind::Timeout } else { DriverErrorKind::Unreachable };
            DriverError::new(kind, format!("{} cannot be reached: {}", self.issuer, error.without_url()))
        };
        let request = reqwest::Request::try_from(request).map_err(failed)?;
        let mut answer = self.client.execute(request).await.map_err(failed)?;
        let mut response = HttpResponse::new(Vec::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            response.body_mut().extend_from_slice(&chunk);
            if response.body().len() > MOST_BYTES {
                return Err(DriverError::new(DriverErrorKind::Protocol, "its answer is too long"));
            }
        }
        Ok(response)
    }
}

impl OidcProvider {
    /// A provider that is asked like this.
    pub fn new(config: OidcConfig) -> Self {
        Self { config, known: Mutex::default() }
    }

    fn http(&self) -> Result<Http, DriverError> {
        // A redirection could lead anywhere, ourselves included; none of these addresses needs one.
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(self.config.timeout);
        let builder = match &self.config.ca_file {
            None => builder,
            Some(path) => {
                let bad = |why: String| DriverError::refused(format!("ca_file {}: {why}", path.display()));
                let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
                let all =
                    reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| bad(error.to_string()))?;
                builder.tls_certs_only(all)
            }
        };
        let failed = |error| DriverError::internal(format!("cannot make a client: {error}"));
        Ok(Http { client: builder.build().map_err(failed)?, issuer: self.config.issuer.clone() })
    }

    /// What the provider says of itself, with its keys.
    async fn discover(&self) -> Result<CoreProviderMetadata, DriverError> {
        let issuer = IssuerUrl::new(self.config.issuer.clone());
        let issuer = issuer.map_err(|error| DriverError::refused(format!("issuer: {error}")))?;
        let call = calls(self.http()?);
        let found = CoreProviderMetadata::discover_async(issuer, &call).await;
        let found = found.map_err(|error| self.failure("what it says of itself cannot be used", &error))?;
        *self.known.lock().await = Some((Instant::now(), found.clone()));
        Ok(found)
    }

    /// Our own failure where there is one below, else what the library says.
    fn failure(&self, what: &str, error: &(dyn std::error::Error + 'static)) -> DriverError {
        let mut cause = Some(error);
        let mut text = String::new();
        while let Some(error) = cause {
            if let Some(ours) = error.downcast_ref::<DriverError>() {
                return ours.clone();
            }
            text = format!("{text}: {error}");
            cause = error.source();
        }
        DriverError::new(DriverErrorKind::Protocol, format!("{what}{text}"))
    }

    /// What the provider tells of the person beside what it signed; empty where it has nothing to tell.
    async fn told(
        &self,
        http: &Http,
        metadata: &CoreProviderMetadata,
        token: &str,
        subject: &str,
    ) -> Result<Map<String, Value>, DriverError> {
        let Some(url) = metadata.userinfo_endpoint() else { return Ok(Map::new()) };
        let mut request = HttpRequest::new(Vec::new());
        let bad =
            || DriverError::new(DriverErrorKind::Protocol, "what it tells of people cannot be asked for");
        *request.uri_mut() = url.url().as_str().parse().map_err(|_| bad())?;
        let bearer = format!("Bearer {token}").parse().map_err(|_| bad())?;
        request.headers_mut().insert(reqwest::header::AUTHORIZATION, bearer);
        let answer = http.call(request).await?;
        let told = serde_json::from_slice::<Map<String, Value>>(answer.body()).unwrap_or_default();
        // Said of somebody else it is not said of this person (OpenID Connect Core 1.0, 5.3.2).
        let same = answer.status().is_success() && told.get("sub").and_then(Value::as_str) == Some(subject);
        Ok(if same { told } else { Map::new() })
    }

    fn person(&self, subject: &str, claims: &Map<String, Value>) -> Person {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        // An address that nobody has checked is none.
        let checked = claims.get("email_verified").is_none_or(|value| *value == true || *value == "true");
        let groups = match claims.get(&self.config.groups_claim) {
            Some(Value::Array(groups)) => {
                groups.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(Value::String(group)) => vec![group.clone()],
            _ => Vec::new(),
        };
        Person {
            key: subject.to_owned(),
            dn: String::new(),
            login: text(&self.config.login_claim),
            email: if checked { text("email") } else { String::new() },
            full_name: text("name"),
            groups,
        }
    }
}

#[async_trait::async_trait]
impl Provider for OidcProvider {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn title(&self) -> &str {
        &self.config.title
    }

    fn issuer(&self) -> &str {
        &self.config.issuer
    }

    fn is_secure(&self) -> bool {
        self.config.public_url.starts_with("https:")
    }

    async fn begin(&self, attempt: &Attempt) -> Result<String, DriverError> {
        let known = self.known.lock().await.clone();
        let metadata = match known {
            Some((at, metadata)) if at.elapsed() < REMEMBERED => metadata,
            _ => self.discover().await?,
        };
        let address = metadata.authorization_endpoint().url();
        if self.config.issuer.starts_with("https:") && address.scheme() != "https" {
            return Err(DriverError::refused("people would log in at an address that is not encrypted"));
        }
        let redirect = RedirectUrl::new(self.config.redirect());
        let redirect = redirect.map_err(|error| DriverError::refused(format!("public_url: {error}")))?;
        let client =
            CoreClient::from_provider_metadata(metadata, ClientId::new(self.config.client_id.clone()), None)
                .set_redirect_uri(redirect);
        let (state, nonce) = (attempt.state.clone(), attempt.nonce.clone());
        let verifier = PkceCodeVerifier::new(attempt.verifier.expose().to_owned());
        let ask = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .add_scopes(self.config.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        Ok(ask.url().0.into())
    }

    async fn finish(&self, code: &str, attempt: &Attempt) -> Result<Person, DriverError> {
        let metadata = self.discover().await?;
        let http = self.http()?;
        let call = calls(http.clone());
        let redirect = RedirectUrl::new(self.config.redirect());
        let redirect = redirect.map_err(|error| DriverError::refused(format!("public_url: {error}")))?;
        let secret =
            self.config.client_secret.as_ref().map(|secret| ClientSecret::new(secret.expose().to_owned()));
        let id = ClientId::new(self.config.client_id.clone());
        let methods = metadata.token_endpoint_auth_methods_supported();
        let in_body = methods.is_some_and(|methods| {
            !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
                && methods.contains(&CoreClientAuthMethod::ClientSecretPost)
        });
        let auth = if in_body { AuthType::RequestBody } else { AuthType::BasicAuth };
        let client = CoreClient::from_provider_metadata(metadata.clone(), id, secret)
            .set_redirect_uri(redirect)
            .set_auth_type(auth);
        let ask = client.exchange_code(AuthorizationCode::new(code.to_owned()));
        let ask = ask.map_err(|error| self.failure("it redeems no codes", &error))?;
        let verifier = PkceCodeVerifier::new(attempt.verifier.expose().to_owned());
        let tokens = ask.set_pkce_verifier(verifier).request_async(&call).await;
        let tokens = tokens.map_err(|error| self.failure("the code is not good", &error))?;
        let refused = |why: &str| DriverError::refused(why.to_owned());
        let signed = tokens.id_token().ok_or_else(|| refused("it does not say who this is"))?;
        let verifier = client.id_token_verifier().set_allowed_algs(ALGORITHMS);
        let claims = signed
            .claims(&verifier, &Nonce::new(attempt.nonce.clone()))
            .map_err(|error| self.failure("what it says of the person is not good", &error))?;
        let subject = claims.subject().as_str().to_owned();
        let mut all = self.told(&http, &metadata, tokens.access_token().secret(), &subject).await?;
        // What is signed counts more. It was verified just now; here its other claims are read.
        all.extend(payload(&signed.to_string()));
        Ok(self.person(&subject, &all))
    }

    async fn check(&self) -> Result<String, DriverError> {
        let metadata = self.discover().await?;
        Ok(format!("{} answers, with {} keys", self.config.issuer, metadata.jwks().keys().len()))
    }
}

/// The provider's addresses as the library calls them.
fn calls(
    http: Http,
) -> impl Fn(HttpRequest) -> Pin<Box<dyn Future<Output = Result<HttpResponse, DriverError>> + Send>> {
    move |request| {
        let http = http.clone();
        Box::pin(async move { http.call(request).await })
    }
}

/// The claims of a token that was verified before.
fn payload(token: &str) -> Map<String, Value> {
    let middle = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    middle.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}
