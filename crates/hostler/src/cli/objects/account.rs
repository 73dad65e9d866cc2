//! `account`: who may come in.

use crate::cli::Session;
use crate::cli::args::Listing;
use crate::cli::password::PasswordFrom;
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use clap::{Subcommand, ValueEnum};
use hostler_doors::native::types::{Account, AccountCreate, AccountEdit, Password, Role, Whoami};
use reqwest::Method;

/// What an account may do in general.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum RoleWord {
    /// Everything
    Administrator,
    /// See everything, change nothing
    ReadOnly,
    /// Own objects, with the functions given to experienced customers
    AdvancedUser,
    /// Own objects
    User,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Administrator => Self::Administrator,
            RoleWord::ReadOnly => Self::ReadOnly,
            RoleWord::AdvancedUser => Self::AdvancedUser,
            RoleWord::User => Self::User,
        }
    }
}

/// What can be done with accounts.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AccountCommand {
    /// List accounts
    #[command(visible_alias = "ls")]
    List(Listing),
    /// Show an account
    Show {
        /// Id, number, login name or e-mail address
        account: String,
    },
    /// Add an account
    #[command(after_help = "\
Example:
  hostler account create ann --email ann@example.org --password-file ann.password")]
    Create {
        /// Login name
        login: String,
        /// E-mail address
        #[arg(long)]
        email: String,
        /// The person's name
        #[arg(long, default_value = "", hide_default_value = true)]
        full_name: String,
        /// What it may do in general
        #[arg(long, value_enum, default_value = "user")]
        role: RoleWord,
        /// Without a password: nobody can log in yet
        #[arg(long, conflicts_with = "password_file")]
        no_password: bool,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Change an account
    Change {
        /// Id, number, login name or e-mail address
        account: String,
        /// E-mail address
        #[arg(long)]
        email: Option<String>,
        /// The person's name
        #[arg(long)]
        full_name: Option<String>,
        /// What it may do in general
        #[arg(long, value_enum)]
        role: Option<RoleWord>,
    },
    /// Set a password; it ends the account's sessions
    Password {
        /// Id, number, login name or e-mail address [default: your own]
        account: Option<String>,
        #[command(flatten)]
        password: PasswordFrom,
        /// File with your present password, to change your own; - is standard input [default: ask on the terminal]
        #[arg(long, value_name = "FILE")]
        present_password_file: Option<std::path::PathBuf>,
    },
    /// Let an account come in again
    Enable {
        /// Id, number, login name or e-mail address
        account: String,
    },
    /// Let an account in no longer; its sessions, event streams and consoles end at once
    Disable {
        /// Id, number, login name or e-mail address
        account: String,
    },
    /// Delete an account that owns nothing
    #[command(visible_alias = "rm")]
    Delete {
        /// Id, number, login name or e-mail address
        account: String,
    },
}

pub(in crate::cli) async fn account(session: &Session, command: AccountCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        AccountCommand::List(listing) => {
            let accounts: Vec<Account> = client.list(&["accounts"], &listing.query(), None).await?;
            session.show.list(&accounts, &["number", "login", "email", "role", "enabled"], |account| {
                vec![
                    account.number.to_string(),
                    account.login.clone(),
                    account.email.clone(),
                    account.role.to_string(),
                    account.enabled.to_string(),
                ]
            });
        }
        AccountCommand::Show { account } => show(session, &client.get(&["accounts", &account]).await?),
        AccountCommand::Create { login, email, full_name, role, no_password, password } => {
            let password = match no_password {
                true => None,
                false => Some(Password(password.read(&format!("password of {login}"))?)),
            };
            let role = Some(role.into());
            let ask = AccountCreate { login, email, full_name, password, role, enabled: None };
            show(session, &client.post(&["accounts"], &ask).await?);
        }
        AccountCommand::Change { account, email, full_name, role } => {
            let role = role.map(Role::from);
            let edit = AccountEdit { email, full_name, role, ..AccountEdit::default() };
            show(session, &changed(session, &account, &edit).await?);
        }
        AccountCommand::Password { account, password, present_password_file } => {
            let own: Whoami = client.get(&["whoami"]).await?;
            let account = account.unwrap_or_else(|| own.account.id.to_string());
            let is_own =
                [own.account.id.to_string(), own.account.login, own.account.email].contains(&account);
            let present_password = match is_own && own.credential.is_some() {
                true => {
                    let from = PasswordFrom { password_file: present_password_file };
                    Some(Password(from.read("your present password")?))
                }
                false => None,
            };
            let password = Some(Password(password.read("new password")?));
            let edit = AccountEdit { password, present_password, ..AccountEdit::default() };
            let account = changed(session, &account, &edit).await?;
            session.show.said(&account, format_args!("{} has a new password", account.login));
        }
        AccountCommand::Enable { account } => enable(session, &account, true).await?,
        AccountCommand::Disable { account } => enable(session, &account, false).await?,
        AccountCommand::Delete { account } => {
            client.send(client.request(Method::DELETE, &["accounts", &account])).await?;
            if !session.show.is_json() {
                output::line(format_args!("the account {account} is deleted"));
            }
        }
    }
    Ok(Exit::DONE)
}

async fn changed(session: &Session, account: &str, edit: &AccountEdit) -> Result<Account, Failure> {
    let client = &session.client;
    client.json(client.request(Method::PATCH, &["accounts", account]).json(edit)).await
}

async fn enable(session: &Session, account: &str, enabled: bool) -> Result<(), Failure> {
    let edit = AccountEdit { enabled: Some(enabled), ..AccountEdit::default() };
    let account = changed(session, account, &edit).await?;
    let word = if enabled { "enabled" } else { "disabled" };
    session.show.said(&account, format_args!("{} is {word}", account.login));
    Ok(())
}

fn show(session: &Session, account: &Account) {
    session.show.one(account, |account| {
        vec![
            ("login", account.login.clone()),
            ("email", account.email.clone()),
            ("name", units::plain(&account.full_name).to_string()),
            ("role", account.role.to_string()),
            ("enabled", account.enabled.to_string()),
            ("origin", account.origin.clone()),
            ("created", units::ago(&account.created_at)),
            ("number", account.number.to_string()),
            ("id", account.id.to_string()),
        ]
    });
}
