//! `token` and `whoami`: who may come in.

use crate::cli::Session;
use crate::cli::args::Listing;
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use clap::Subcommand;
use hostler_doors::native::types::{Account, Token, TokenCreate, TokenCreated};
use reqwest::Method;
use std::time::Duration;

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
    },
    /// List tokens
    #[command(visible_alias = "ls")]
    List(Listing),
    /// End a token at once
    Revoke {
        /// Its id
        token: String,
    },
}

pub(in crate::cli) async fn token(session: &Session, command: TokenCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        TokenCommand::Create { description, lifetime } => {
            let ask = TokenCreate { description, lifetime_s: lifetime.map(|time| time.as_secs()) };
            let created: TokenCreated = client.post(&["tokens"], &ask).await?;
            session.show.said(&created, &created.secret);
        }
        TokenCommand::List(listing) => {
            let tokens: Vec<Token> = client.list(&["tokens"], &listing.query(), None).await?;
            session.show.list(&tokens, &["id", "description", "created", "ends"], |token| {
                let ends = token.expires_at.as_deref().map_or_else(|| "never".into(), units::ago);
                vec![token.id.to_string(), token.description.clone(), units::ago(&token.created_at), ends]
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

pub(in crate::cli) async fn whoami(session: &Session) -> Result<Exit, Failure> {
    let account: Account = session.client.get(&["account"]).await?;
    session.show.one(&account, |account| {
        vec![
            ("login", account.login.clone()),
            ("email", account.email.clone()),
            ("role", account.role.to_string()),
            ("number", account.number.to_string()),
            ("id", account.id.to_string()),
        ]
    });
    Ok(Exit::DONE)
}
