//! Directories and providers on the wire.

use hostler_core::access::outside::{DirectoryState, ProviderListed, Synced};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A directory whose people may come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Directory {
    /// Its name in the configuration.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Whether it can be synchronized.
    pub lists: bool,
    /// When the last synchronization began; null before the first.
    #[schema(format = DateTime)]
    pub synced_at: Option<String>,
    /// What it did; null while it runs, and when it failed.
    pub synced: Option<DirectorySynced>,
    /// Why it failed.
    pub problem: Option<String>,
}

/// What was found at a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DirectoryChecked {
    /// In words.
    pub found: String,
}

/// What a synchronization did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DirectorySynced {
    /// People whom the directory has.
    pub people: usize,
    /// Accounts made.
    pub created: usize,
    /// Accounts brought up to date.
    pub changed: usize,
    /// Accounts disabled.
    pub disabled: usize,
    /// People who could not be followed, each a sentence; at most a hundred.
    pub refused: Vec<String>,
}

/// A provider that people may log in at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Provider {
    /// Its name, part of paths.
    pub name: String,
    /// What to call it.
    pub title: String,
    /// Where to send the browser.
    pub path: String,
}

impl From<Synced> for DirectorySynced {
    fn from(synced: Synced) -> Self {
        let Synced { people, created, changed, disabled, refused } = synced;
        Self { people, created, changed, disabled, refused }
    }
}

impl From<DirectoryState> for Directory {
    fn from(state: DirectoryState) -> Self {
        let (synced_at, synced, problem) = match state.last {
            Some(last) => (Some(last.at.to_string()), last.synced.map(DirectorySynced::from), last.problem),
            None => (None, None, None),
        };
        Self { name: state.name, address: state.address, lists: state.lists, synced_at, synced, problem }
    }
}

impl From<ProviderListed> for Provider {
    fn from(listed: ProviderListed) -> Self {
        let path = format!("/hostler/v1/login/oidc/{}", listed.name);
        Self { name: listed.name, title: listed.title, path }
    }
}
