//! The seam to those who vouch for people: directories, which are asked with a name and a password, and providers,
//! which people log in at themselves.

use super::driver::DriverError;
use crate::secret::Secret;

/// Somebody as a directory or a provider describes them. Nothing in it is trusted to be well-formed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// What they are called there for ever: `entryUUID` of an entry, `sub` at a provider.
    pub key: String,
    /// Where the entry is; empty at a provider.
    pub dn: String,
    /// Their login name.
    pub login: String,
    /// Their e-mail address; may be empty.
    pub email: String,
    /// Their name, for people; may be empty.
    pub full_name: String,
    /// Those groups of theirs that the mapping speaks of, spelled as it does.
    pub groups: Vec<String>,
}

/// A directory of people, asked on their behalf. Each call connects anew and is bounded in time.
#[async_trait::async_trait]
pub trait Directory: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Its address, for people.
    fn address(&self) -> String;

    /// Whether it can list its people: not where only they themselves may read.
    fn lists(&self) -> bool;

    /// The person of this login name, if the password is theirs; none when either is wrong. An empty password is always
    /// wrong, whatever the directory makes of it.
    async fn log_in(&self, login: &str, password: &Secret) -> Result<Option<Person>, DriverError>;

    /// Everybody, or an error: never a part.
    async fn people(&self) -> Result<Vec<Person>, DriverError>;

    /// Connects and looks, and says in words what was found.
    async fn check(&self) -> Result<String, DriverError>;
}

/// What ties the answer of a provider to the browser that was sent there. All three are random.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Comes back with the answer.
    pub state: String,
    /// Comes back inside of the signed answer.
    pub nonce: String,
    /// Shown when the code is redeemed; the provider has seen only its hash (PKCE, RFC 7636).
    pub verifier: Secret,
}

/// An OpenID provider.
#[async_trait::async_trait]
pub trait Provider: Send + Sync {
    /// Its name in the configuration, part of paths.
    fn name(&self) -> &str;

    /// What buttons call it.
    fn title(&self) -> &str;

    /// Its issuer address, exactly.
    fn issuer(&self) -> &str;

    /// Whether the browser is to keep its cookie for encrypted connections.
    fn is_secure(&self) -> bool;

    /// The address at which a person logs in for this attempt.
    async fn begin(&self, attempt: &Attempt) -> Result<String, DriverError>;

    /// The person behind a code that came back. Refused when the code, or what is signed about it, is not good.
    async fn finish(&self, code: &str, attempt: &Attempt) -> Result<Person, DriverError>;

    /// Fetches what the provider says of itself, and says in words what was found.
    async fn check(&self) -> Result<String, DriverError>;
}
