//! A login at a provider that others wrote: canaille, on loopback, driven through its pages as a browser would.

#![expect(
    clippy::disallowed_methods,
    reason = "starts a provider that the tests talk to, not one that hostler starts"
)]
#![expect(clippy::print_stderr, reason = "a skip must be seen")]

use crate::folder::Folder;
use crate::server::{DEADLINE, Program, Server};
use anyhow::{Context, Result, bail, ensure};
use reqwest::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, Response, Url};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const PASSWORD: &str = "correct horse battery staple";
const SECRET: &str = "a-secret-that-canaille-and-hostler-share";
/// What browsers would be sent back to; the test asks the server at the port that it really has.
const PUBLIC: &str = "http://127.0.0.1:9";
/// Pages on the way, at most.
const STEPS: usize = 20;

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/canaille/bin/canaille")
}

/// A provider with one person and one client.
struct Canaille {
    folder: Folder,
    port: u16,
}

impl Canaille {
    async fn start() -> Result<Self> {
        let folder = Folder::new()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let canaille = Self { folder, port };
        let key: BTreeMap<String, String> = serde_json::from_str(&canaille.told(&["jwk", "create", "rsa"])?)?;
        let key: Vec<String> = key.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
        let settings = format!(
            "SECRET_KEY = \"a secret of this test alone\"\nSERVER_NAME = \"127.0.0.1:{port}\"\n\
             PREFERRED_URL_SCHEME = \"http\"\n[CANAILLE]\nDATABASE = \"sql\"\n[CANAILLE_SQL]\n\
             DATABASE_URI = \"sqlite:///{}/canaille.sqlite\"\n[CANAILLE_OIDC]\nACTIVE_JWKS = [{{ {} }}]\n",
            canaille.folder.path().display(),
            key.join(", "),
        );
        std::fs::write(canaille.folder.path().join("canaille.toml"), settings)?;
        canaille.told(&["install"])?;
        let person = ["--user-name", "ada", "--family-name", "Lovelace", "--given-name", "Ada"];
        let person = person.iter().chain(&["--emails", "ada@example.org", "--password", PASSWORD]);
        canaille.told(&["create", "user"].iter().chain(person).copied().collect::<Vec<_>>())?;
        let back = format!("{PUBLIC}/hostler/v1/login/oidc/sso/callback");
        let mut client = vec!["create", "client", "--client-id", "hostler", "--client-secret", SECRET];
        // Its pages ask no further questions for a client of a domain that it trusts.
        client.extend(["--client-name", "hostler", "--client-uri", PUBLIC, "--redirect-uris", &back]);
        client.extend(["--grant-types", "authorization_code", "--response-types", "code"]);
        client.extend(["--scope", "openid", "--scope", "email", "--scope", "profile", "--scope", "groups"]);
        client.extend(["--token-endpoint-auth-method", "client_secret_basic"]);
        let made: Value = serde_json::from_str(&canaille.told(&client)?)?;
        let id = made["id"].as_str().context("a client has an id")?;
        // What its own page for new clients does: without an audience its tokens would be for nobody.
        canaille.told(&["set", "client", id, "--audience", id])?;
        canaille
            .command()
            .args(["run", "--bind", &format!("127.0.0.1:{port}")])
            .stdin(Stdio::null())
            .spawn()?;
        canaille.answers().await?;
        Ok(canaille)
    }

    fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends with the folder that it works in.
    fn command(&self) -> Command {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log"));
        let mut command = Command::new(program());
        command.current_dir(self.folder.path()).env_clear().stdout(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stderr(log.map_or_else(|_| Stdio::null(), Stdio::from));
        command
    }

    /// What one of its commands says.
    fn told(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command().args(arguments).stdout(Stdio::piped()).output()?;
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        ensure!(output.status.success(), "canaille {arguments:?}: {}", log());
        Ok(String::from_utf8(output.stdout)?)
    }

    async fn answers(&self) -> Result<()> {
        let address = format!("{}/.well-known/openid-configuration", self.issuer());
        let asked = async {
            let mut beat = tokio::time::interval(Duration::from_millis(50));
            while !reqwest::get(&address).await.is_ok_and(|answer| answer.status().is_success()) {
                beat.tick().await;
            }
        };
        tokio::time::timeout(DEADLINE, asked).await.context("canaille does not answer")
    }
}

/// What a browser does of its own accord: cookies and redirections.
struct Browser {
    client: Client,
    /// By port: that is how the two servers differ here.
    cookies: BTreeMap<u16, BTreeMap<String, String>>,
}

impl Browser {
    fn new() -> Result<Self> {
        let client =
            Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(DEADLINE).build()?;
        Ok(Self { client, cookies: BTreeMap::new() })
    }

    async fn ask(&mut self, address: &Url, form: Option<&[(&str, &str)]>) -> Result<Response> {
        let jar = self.cookies.entry(address.port_or_known_default().unwrap_or(0)).or_default();
        let carried: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = match form {
            Some(form) => {
                let written = Url::parse_with_params("http://form", form)?;
                let body = written.query().unwrap_or_default().to_owned();
                self.client
                    .post(address.clone())
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(body)
            }
            None => self.client.get(address.clone()),
        };
        let answer = request.header(COOKIE, carried.join("; ")).send().await?;
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                jar.insert(name.trim().to_owned(), value.to_owned());
            }
        }
        Ok(answer)
    }

    /// Follows redirections and fills in canaille's pages, from hostler's route to the address that leads back to it,
    /// which is answered at the port that the server really has.
    async fn log_in(&mut self, server: &Server, canaille: &Canaille) -> Result<Url> {
        let mut address: Url = format!("{}/hostler/v1/login/oidc/sso", server.url).parse()?;
        let mut form: Option<Vec<(&str, String)>> = None;
        for _ in 0..STEPS {
            let filled = form.take();
            let pairs: Option<Vec<(&str, &str)>> = filled
                .as_ref()
                .map(|form| form.iter().map(|(name, value)| (*name, value.as_str())).collect());
            let answer = self.ask(&address, pairs.as_deref()).await?;
            if let Some(next) = answer.headers().get(LOCATION) {
                address = address.join(next.to_str()?)?;
                if address.as_str().starts_with(PUBLIC) {
                    let query = address.query().unwrap_or_default();
                    return Ok(format!("{}{}?{query}", server.url, address.path()).parse()?);
                }
                continue;
            }
            let page = answer.error_for_status()?.text().await?;
            ensure!(address.as_str().starts_with(&canaille.issuer()), "{address}: {page}");
            let mut answers = vec![("csrf_token", value_of(&page, "csrf_token")?.to_owned())];
            match page.contains("name=\"password\"") {
                true => answers.push(("password", PASSWORD.to_owned())),
                false => answers.push(("login", "ada".to_owned())),
            }
            form = Some(answers);
        }
        bail!("the pages of canaille lead in a circle, now to {address}")
    }
}

impl Browser {
    /// Logs in and comes back to hostler; answers where that was and what hostler said.
    ///
    /// canaille makes the same access token for two logins of a person within one second, and fails over the second: then
    /// it is tried again.
    async fn come_in(&mut self, server: &Server, canaille: &Canaille) -> Result<(Url, Response)> {
        let mut beat = tokio::time::interval(Duration::from_millis(300));
        for _ in 0..STEPS {
            beat.tick().await;
            let back = self.log_in(server, canaille).await?;
            let answer = self.ask(&back, None).await?;
            if answer.status() != 401 {
                return Ok((back, answer));
            }
        }
        bail!("nobody comes in")
    }
}

/// The value of an input of a page.
fn value_of<'a>(page: &'a str, name: &str) -> Result<&'a str> {
    let input = page.split("<input").find(|input| input.contains(&format!("name=\"{name}\"")));
    let value = input.and_then(|input| input.split("value=\"").nth(1)?.split('"').next());
    value.with_context(|| format!("no {name} in the page"))
}

async fn hostler(canaille: &Canaille, folder: &Folder, claim: &str) -> Result<Server> {
    let (file, secret) = (folder.path().join("hostler.toml"), folder.path().join("secret"));
    std::fs::write(&secret, SECRET)?;
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let settings = format!(
        "[[oidc]]\nname = \"sso\"\nissuer = \"{}\"\nclient_id = \"hostler\"\nclient_secret_file = {secret:?}\n\
         public_url = \"{PUBLIC}\"\nlogin_claim = \"{claim}\"\nrole = \"user\"\n",
        canaille.issuer()
    );
    std::fs::write(&file, settings)?;
    let file = file.to_str().context("a path in UTF-8")?;
    Server::start(Program::Simulated, &folder.path().join("data"), &[("HOSTLER_CONFIG", file)]).await
}

#[tokio::test]
async fn a_person_logs_in_at_canaille_and_comes_in_here() -> Result<()> {
    if !program().is_file() {
        eprintln!("SKIPPED: nobody logged in at a provider: canaille is not installed by scripts/test");
        ensure!(std::env::var_os("CI").is_none(), "canaille has to be there");
        return Ok(());
    }
    // Another test may have chosen it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let canaille = Canaille::start().await?;
    let folder = Folder::new()?;
    // canaille prefers no name for people, so it has to be taken from something else; who is sent back learns that.
    let server = hostler(&canaille, &folder, "preferred_username").await?;
    let answer = Browser::new()?.come_in(&server, &canaille).await?.1;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status == 422 && text.contains("cannot be a login name"), "{status} {text}");
    server.stop().await?;

    let server = hostler(&canaille, &folder, "sub").await?;
    // Whoever only knows the address, and did not begin here, is not let in.
    let mut browser = Browser::new()?;
    let here = browser.log_in(&server, &canaille).await?;
    ensure!(Browser::new()?.ask(&here, None).await?.status() == 401);
    let (here, answer) = browser.come_in(&server, &canaille).await?;
    ensure!(answer.status() == 200, "{}", answer.text().await?);
    let emptied = answer.headers()[SET_COOKIE].to_str()?.to_owned();
    ensure!(emptied.starts_with("hostler_login=;") && emptied.contains("Max-Age=0"), "{emptied}");
    let come: Value = serde_json::from_str(&answer.text().await?)?;
    let account = &come["account"];
    ensure!(account["email"] == "ada@example.org" && account["role"] == "user", "{come}");
    let secret = come["secret"].as_str().context("a session has a secret")?;
    let whoami = browser.client.get(format!("{}/hostler/v1/whoami", server.url)).bearer_auth(secret);
    let whoami: Value = serde_json::from_str(&whoami.send().await?.error_for_status()?.text().await?)?;
    ensure!(whoami["account"]["id"] == account["id"], "{whoami}");

    // The same answer a second time: the cookie is used up, and the code, too.
    ensure!(browser.ask(&here, None).await?.status() == 401);
    // Logged in there already, the person comes back without a page, as the same account.
    let answer = browser.come_in(&server, &canaille).await?.1.error_for_status()?;
    let come: Value = serde_json::from_str(&answer.text().await?)?;
    ensure!(come["account"]["id"] == account["id"], "{come}");
    server.stop().await?;
    Ok(())
}
