//! `login`, `logout`, `whoami` and `token`: coming in.

use crate::cli::args::{Global, Listing};
use crate::cli::client::keep_session;
use crate::cli::password::PasswordFrom;
use crate::cli::show::units;
use crate::cli::{Session, client};
use crate::failure::{Exit, Failure};
use crate::output;
use clap::{Args, Subcommand};
use hostler_doors::native::types::{LoggedIn, Login, Password, Token, TokenCreate, TokenCreated, Whoami};
use reqwest::Method;
use std::time::Duration;

/// Who logs in.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  hostler login --url https://hostler.example.org --login ann
  hostler machine list --url https://hostler.example.org")]
pub(in crate::cli) struct LoginCommand {
    /// Login name or e-mail address
    #[arg(long, short, default_value = "admin")]
    login: String,
    #[command(flatten)]
    password: PasswordFrom,
}

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TokenCommand {
    /// Make a token and print it; it is shown this once
    #[command(after_help = "\
Example:
  HOSTLER_TOKEN=$(hostler token create --description ci --lifetime 30d)")]
    Create {
        /// What it is for
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        /// It counts for this time, e.g. 30d [default: for ever]
        #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
        lifetime: Option<Duration>,
        /// It ends when it is not used for this time, e.g. 1h
        #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
        idle: Option<Duration>,
        /// The actions it is limited to: all, use, attach, alter, delete [default: what you may do]
        #[arg(long, value_name = "ACTION", value_delimiter = ',')]
        scope: Vec<String>,
    },
    /// List tokens
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        listing: Listing,
        /// Sessions instead: what people are logged in with
        #[arg(long)]
        sessions: bool,
    },
    /// End a token or a session at once
    Revoke {
        /// Its id or number
        token: String,
    },
}

pub(in crate::cli) async fn token(session: &Session, command: TokenCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        TokenCommand::Create { description, lifetime, idle, scope } => {
            let ask = TokenCreate {
                description,
                lifetime_s: lifetime.map(|time| time.as_secs()),
                idle_s: idle.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX)),
                scope: (!scope.is_empty()).then_some(scope),
                ..TokenCreate::default()
            };
            let created: TokenCreated = client.post(&["tokens"], &ask).await?;
            session.show.said(&created, &created.secret);
        }
        TokenCommand::List { listing, sessions } => {
            let path = if sessions { "sessions" } else { "tokens" };
            let tokens: Vec<Token> = client.list(&[path], &listing.query(), None).await?;
            session.show.list(&tokens, &["id", "description", "scope", "created", "used", "ends"], |token| {
                let time = |at: &Option<String>| at.as_deref().map_or_else(|| "never".into(), units::ago);
                vec![
                    token.id.to_string(),
                    units::plain(&token.description).to_string(),
                    token.scope.as_ref().map_or_else(|| "all".into(), |scope| scope.join(",")),
                    units::ago(&token.created_at),
                    time(&token.used_at),
                    time(&token.expires_at),
                ]
            });
        }
        TokenCommand::Revoke { token } => {
            client.send(client.request(Method::DELETE, &["tokens", &token])).await?;
            if !session.show.is_json() {
                output::line(format_args!("token {token} no longer counts"));
            }
        }
    }
    Ok(Exit::DONE)
}

pub(in crate::cli) async fn login(
    session: &Session,
    global: &Global,
    command: LoginCommand,
) -> Result<Exit, Failure> {
    let url = global.url.as_deref().ok_or_else(|| {
        Failure::usage("--url is missing: the server to log in to").hint("the local server needs no login")
    })?;
    let password = Password(command.password.read(&format!("password of {}", command.login))?);
    let ask = Login { login: command.login, password };
    let made: LoggedIn = session.client.post(&["login"], &ask).await?;
    keep_session(url, Some(made.secret))?;
    session.show.said(&made.account, format_args!("logged in as {}", units::plain(&made.account.login)));
    Ok(Exit::DONE)
}

/// Ends the session that was kept for the server; one that counts no longer is forgotten.
pub(in crate::cli) async fn logout(session: &Session, global: &Global) -> Result<Exit, Failure> {
    let client: &client::Client = &session.client;
    let ended = client.send(client.request(Method::POST, &["logout"])).await;
    if let Some(url) = &global.url {
        keep_session(url, None)?;
    }
    ended?;
    if !session.show.is_json() {
        output::line("logged out");
    }
    Ok(Exit::DONE)
}

pub(in crate::cli) async fn whoami(session: &Session) -> Result<Exit, Failure> {
    let whoami: Whoami = session.client.get(&["whoami"]).await?;
    session.show.one(&whoami, |whoami| {
        let account = &whoami.account;
        vec![
            ("login", account.login.clone()),
            ("email", account.email.clone()),
            ("name", units::plain(&account.full_name).to_string()),
            ("role", account.role.to_string()),
            ("scope", whoami.scope.as_ref().map_or_else(|| "all".into(), |scope| scope.join(","))),
            ("number", account.number.to_string()),
            ("id", account.id.to_string()),
        ]
    });
    Ok(Exit::DONE)
}
