//! People from outside: directories and OpenID providers vouch for them, and accounts follow.
//!
//! ```text
//!   name and password ─► Directory::log_in ─┐
//!   code of a provider ─► Provider::finish ─┼─► Person ─► Mapping ─► account, role, groups   (admit)
//!   every hour ─────────► Directory::people ┘      └─ whoever is missing is disabled         (sync)
//! ```
//!
//! * The key of an account derives from who vouches for it and what the person is called there for ever. So the same
//!   person finds the same account whatever they are renamed to, and two first logins at once make one account.
//! * A login name or e-mail address that another account has is refused, never taken over: a directory does not
//!   vouch for accounts of its neighbours.
//! * Local accounts never ask a directory, so one that is down keeps no local administrator out.
//! * A directory that cannot be read to its end, or has nobody at all, disables nobody.

mod admit;
mod mapping;
mod providers;
mod sync;

pub use mapping::{Mapping, Rule};
pub use providers::{Begun, ProviderAnswer, ProviderListed};
pub use sync::{DirectoryState, LastSync, Synced};

use super::{Account, Caller, Origin};
use crate::core::Core;
use crate::doctor::Finding;
use crate::error::{Error, Result};
use crate::ports::{Directory, DriverError, DriverErrorKind, Provider};
use crate::secret::Secret;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A directory, and what its people become here.
#[expect(missing_debug_implementations, reason = "holds a driver, which has nothing to show")]
pub struct LinkedDirectory {
    /// Asks it.
    pub directory: Arc<dyn Directory>,
    /// What its people become.
    pub mapping: Mapping,
    /// Between two rounds of synchronization; none means on demand only.
    pub interval: Option<Duration>,
    /// Whether synchronization makes accounts for people who have not come in yet.
    pub import: bool,
}

/// A provider, and what its people become here.
#[expect(missing_debug_implementations, reason = "holds a driver, which has nothing to show")]
pub struct LinkedProvider {
    /// Asks it.
    pub provider: Arc<dyn Provider>,
    /// What its people become.
    pub mapping: Mapping,
}

/// Everybody who vouches for people.
#[derive(Default)]
pub struct Outside {
    /// Asked in this order for names that no account has.
    pub directories: Vec<LinkedDirectory>,
    /// Offered in this order.
    pub providers: Vec<LinkedProvider>,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directories = self.directories.iter().map(|linked| linked.directory.name());
        let providers = self.providers.iter().map(|linked| linked.provider.name());
        f.debug_list().entries(directories).entries(providers).finish()
    }
}

impl Core {
    /// The account that a directory lets in by this name and password; none when no directory does.
    ///
    /// `found` is the account that has this name already, if there is one: a local one is nobody's business outside.
    ///
    /// # Errors
    /// Unavailable when a directory that would have to be asked does not answer; conflict when the person's name or
    /// e-mail address belongs to another account; denied when none of their groups may come in.
    pub(crate) async fn account_by_directory(
        &self,
        name: &str,
        password: &Secret,
        found: Option<&Account>,
    ) -> Result<Option<Account>> {
        let asked = |linked: &&LinkedDirectory| match found.map(|account| &account.origin) {
            None => true,
            Some(Origin::Ldap { directory, .. }) => directory == linked.directory.name(),
            Some(Origin::Local | Origin::Oidc { .. }) => false,
        };
        if password.expose().is_empty() {
            return Ok(None);
        }
        let mut silent = None;
        for linked in self.outside().directories.iter().filter(asked) {
            let directory = linked.directory.name();
            match linked.directory.log_in(name, password).await {
                Ok(Some(person)) => {
                    let origin = linked.origin(&person);
                    return self.admit(&linked.mapping, origin, &person).await.map(Some);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(directory, %error, "a directory cannot say who somebody is");
                    silent = Some(directory);
                }
            }
        }
        match silent {
            None => Ok(None),
            Some(directory) => Err(Error::unavailable(format!("the directory {directory} does not answer"))
                .hint("accounts of hostler itself can log in all the same; the log says what is wrong")),
        }
    }

    /// What the doctor says of everybody who vouches for people.
    pub(crate) async fn examine_outside(&self, findings: &mut Vec<Finding>) {
        for linked in &self.outside().directories {
            let name = linked.directory.name();
            findings.push(match linked.directory.check().await {
                Ok(text) => Finding::ok("directory", format!("{name}: {text}")),
                Err(error) => Finding::problem(
                    "directory",
                    format!("{name} at {} cannot be used", linked.directory.address()),
                )
                .because(error.to_string())
                .hint(
                    "accounts of hostler itself can log in all the same; see [[ldap]] of the configuration",
                ),
            });
        }
        for linked in &self.outside().providers {
            let name = linked.provider.name();
            findings.push(match linked.provider.check().await {
                Ok(text) => Finding::ok("provider", format!("{name}: {text}")),
                Err(error) => Finding::problem(
                    "provider",
                    format!("{name} at {} cannot be used", linked.provider.issuer()),
                )
                .because(error.to_string())
                .hint("passwords and directories work all the same; see [[oidc]] of the configuration"),
            });
        }
    }

    async fn directory(&self, caller: &Caller, action: &str, name: &str) -> Result<&LinkedDirectory> {
        self.administers(caller, action, "look at directories").await?;
        let found = self.outside().directories.iter().find(|linked| linked.directory.name() == name);
        found.ok_or_else(|| Error::not_found("directory", name))
    }
}

/// What is told of a failure of somebody outside.
fn failed(what: &str, error: &DriverError) -> Error {
    match error.kind {
        DriverErrorKind::Unreachable | DriverErrorKind::Timeout => {
            Error::unavailable(format!("{what} does not answer")).caused_by(error.clone())
        }
        DriverErrorKind::Unsupported => Error::unsupported(error.to_string()),
        _ => Error::conflict("outside_failed", format!("{what} cannot be used")).caused_by(error.clone()),
    }
}
