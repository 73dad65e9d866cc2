//! Synchronization: accounts of a directory follow it, and are disabled when their person has gone.

use super::admit::{account_key, followed, presentable};
use super::{LinkedDirectory, failed};
use crate::access::{Account, Caller, Group, Member, Origin};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::ids::{AccountId, SettingId};
use crate::ports::{Person, StoreError};
use crate::query::Filter;
use crate::settings::Setting;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What a round of synchronization did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// People whom the directory has.
    pub people: usize,
    /// Accounts made.
    pub created: usize,
    /// Accounts brought up to date.
    pub changed: usize,
    /// Accounts disabled, because their person has gone or may no longer come in.
    pub disabled: usize,
    /// People who could not be followed, each a sentence; at most a hundred.
    pub refused: Vec<String>,
}

/// The last round, as all processes know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSync {
    /// When it began.
    pub at: Timestamp,
    /// What it did; none while it runs, or when it failed.
    pub synced: Option<Synced>,
    /// Why it failed.
    pub problem: Option<String>,
}

/// A directory as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryState {
    /// Its name in the configuration.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Whether it can be synchronized.
    pub lists: bool,
    /// The last round.
    pub last: Option<LastSync>,
}

/// Refusals kept in words.
const REFUSALS: usize = 100;

impl Core {
    /// Directories, with their last synchronization.
    ///
    /// # Errors
    /// Denied for anybody but administrators.
    pub async fn directory_list(&self, caller: &Caller) -> Result<Vec<DirectoryState>> {
        self.administers(caller, "directory.list", "look at directories").await?;
        let mut list = Vec::new();
        for linked in &self.outside().directories {
            let name = linked.directory.name();
            list.push(DirectoryState {
                name: name.to_owned(),
                address: linked.directory.address(),
                lists: linked.directory.lists(),
                last: self.last_sync(name).await?.map(|(_, last)| last),
            });
        }
        Ok(list)
    }

    /// Connects to a directory and says in words what was found.
    ///
    /// # Errors
    /// Not found; conflict with the cause in its text when it cannot be used.
    pub async fn directory_check(&self, caller: &Caller, name: &str) -> Result<String> {
        let linked = self.directory(caller, "directory.check", name).await?;
        let failure = |error| Error::conflict("directory_failed", format!("{name} cannot be used: {error}"));
        linked.directory.check().await.map_err(failure)
    }

    /// Synchronizes a directory now.
    ///
    /// # Errors
    /// Not found; unavailable when it does not answer; conflict when it has nobody at all.
    pub async fn directory_sync(&self, caller: &Caller, name: &str) -> Result<Synced> {
        let linked = self.directory(caller, "directory.sync", name).await?;
        // What is changed follows from whom the directory lists now, which is not one commit: the line comes before.
        self.note_deed(caller, "directory.sync", ("directory", name)).await?;
        self.follow_directory(linked).await
    }

    /// Synchronizes every directory that is due. One process does it for all: the first that writes down so.
    ///
    /// # Errors
    /// When the store does not answer. A directory that does not is written down and logged.
    pub async fn directories_follow(&self) -> Result<()> {
        for linked in &self.outside().directories {
            let Some(interval) = linked.interval.filter(|_| linked.directory.lists()) else { continue };
            let last = self.last_sync(linked.directory.name()).await?;
            if last.is_some_and(|(_, last)| self.now().since(last.at) < interval && last.at <= self.now()) {
                continue;
            }
            let directory = linked.directory.name();
            match self.follow_directory(linked).await {
                Ok(synced) => tracing::info!(
                    directory,
                    people = synced.people,
                    created = synced.created,
                    changed = synced.changed,
                    disabled = synced.disabled,
                    refused = synced.refused.len(),
                    "followed a directory"
                ),
                Err(error) => tracing::warn!(
                    directory,
                    error = error.chain(),
                    "cannot follow a directory; its accounts stay as they are"
                ),
            }
        }
        Ok(())
    }

    async fn follow_directory(&self, linked: &LinkedDirectory) -> Result<Synced> {
        let name = linked.directory.name();
        let begun = LastSync { at: self.now(), synced: None, problem: None };
        self.note_sync(name, &begun).await?;
        let followed = match linked.directory.people().await {
            Ok(people) => self.follow_people(linked, &people).await,
            Err(error) => Err(failed(&format!("the directory {name}"), &error)),
        };
        let end = match &followed {
            Ok(synced) => LastSync { synced: Some(synced.clone()), ..begun },
            Err(error) => LastSync { problem: Some(error.chain()), ..begun },
        };
        self.note_sync(name, &end).await?;
        followed
    }

    async fn follow_people(&self, linked: &LinkedDirectory, people: &[Person]) -> Result<Synced> {
        let name = linked.directory.name();
        let of_it = |account: &Account| matches!(&account.origin, Origin::Ldap { directory, .. } if directory == name);
        let mut known: Vec<Account> = self.all(Filter::All).await?;
        known.retain(of_it);
        if people.is_empty() && !known.is_empty() {
            let text = format!("the directory {name} has nobody at all; its accounts stay as they are");
            return Err(Error::conflict("directory_empty", text)
                .hint("look at bases and user_filter in [[ldap]] of the configuration"));
        }
        let known: HashMap<AccountId, Account> =
            known.into_iter().map(|account| (account.id, account)).collect();
        let groups = self.groups_of(&known).await?;
        let mut synced = Synced { people: people.len(), ..Synced::default() };
        let mut seen = HashSet::new();
        for person in people {
            let origin = linked.origin(person);
            let Some(id) = account_key(&origin) else { continue };
            let Some((role, wanted)) = linked.mapping.of(&person.groups) else { continue };
            seen.insert(id);
            let account = known.get(&id);
            if account.is_none() && !linked.import {
                continue;
            }
            let ours = linked.mapping.ours();
            let same = |account: &Account, person: &Person| {
                let has = groups.get(&id).into_iter().flatten().map(String::as_str);
                let has: BTreeSet<&str> = has.filter(|group| ours.contains(group)).collect();
                followed(account, &origin, person, role) == *account && has == wanted
            };
            let admitted = match presentable(person, name) {
                Ok(person) if account.is_some_and(|account| same(account, &person)) => continue,
                Ok(person) => self.admit(&linked.mapping, origin.clone(), &person).await,
                Err(error) => Err(error),
            };
            match admitted {
                Ok(_) if account.is_some() => synced.changed += 1,
                Ok(_) => synced.created += 1,
                Err(error) => refuse(&mut synced, person, error)?,
            }
        }
        for account in known.values().filter(|account| account.enabled && !seen.contains(&account.id)) {
            match self.dismiss(account.id).await {
                Ok(()) => {
                    tracing::info!(
                        directory = name,
                        account = account.login,
                        "disabled: its person has gone"
                    );
                    synced.disabled += 1;
                }
                Err(error) => {
                    let person = Person { dn: account.login.clone(), ..Person::default() };
                    refuse(&mut synced, &person, error)?;
                }
            }
        }
        Ok(synced)
    }

    /// Names of the groups of ours that each of these accounts is in.
    async fn groups_of(
        &self,
        known: &HashMap<AccountId, Account>,
    ) -> Result<HashMap<AccountId, Vec<String>>> {
        let groups: Vec<Group> = self.all(Filter::All).await?;
        let names: HashMap<_, _> = groups.into_iter().map(|group| (group.id, group.name)).collect();
        let mut of: HashMap<AccountId, Vec<String>> = HashMap::new();
        for member in self.all::<Member>(Filter::All).await? {
            if known.contains_key(&member.account)
                && let Some(name) = names.get(&member.group)
            {
                of.entry(member.account).or_default().push(name.clone());
            }
        }
        Ok(of)
    }

    async fn last_sync(&self, directory: &str) -> Result<Option<(Setting, LastSync)>> {
        let setting: Option<Setting> = self.find_by("name", setting_name(directory)).await?;
        // What cannot be read is as if it had never been: the next round writes it anew.
        Ok(setting.and_then(|setting| {
            let last = serde_json::from_value(setting.value.clone()).ok()?;
            Some((setting, last))
        }))
    }

    async fn note_sync(&self, directory: &str, last: &LastSync) -> Result<()> {
        let mut changes = self.changes();
        let value = serde_json::to_value(last).map_err(Error::internal)?;
        let name = setting_name(directory);
        match self.find_by::<Setting>("name", name.clone()).await? {
            Some(setting) => changes.update(&Setting { value, ..setting })?,
            None => {
                let (id, created_at) = (SettingId(self.ids().uuid()), changes.now());
                changes.insert(&Setting { id, number: 0, rev: 0, name, value, created_at })?;
            }
        }
        match self.commit(changes).await {
            Ok(_) => Ok(()),
            Err(StoreError::Stale { .. } | StoreError::Taken { .. }) => {
                let text = format!("the directory {directory} is being synchronized by somebody else");
                Err(Error::conflict("changed_meanwhile", text)
                    .hint("look again with `hostler directory list`"))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn setting_name(directory: &str) -> String {
    format!("directory.{directory}")
}

/// Notes somebody who cannot be followed. What is wrong with the store is no matter of one person.
fn refuse(synced: &mut Synced, person: &Person, error: Error) -> Result<()> {
    use crate::error::ErrorKind::{Conflict, Denied, Invalid};
    if !matches!(error.kind, Conflict | Denied | Invalid { .. }) {
        return Err(error);
    }
    if synced.refused.len() < REFUSALS {
        let who: String = person.dn.chars().filter(|c| !c.is_control()).take(200).collect();
        synced.refused.push(format!("{who}: {}", error.text));
    }
    Ok(())
}
