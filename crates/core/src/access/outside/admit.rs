//! A person from outside becomes an account, or the account they had follows them.

use super::{LinkedDirectory, Mapping};
use crate::access::accounts::{checked_email, checked_login, is_pillar};
use crate::access::{Account, Group, Member, Origin, Role};
use crate::core::{Attempt, Changes, Core, decided};
use crate::error::{Error, Result};
use crate::ids::{AccountId, GroupId, MemberId};
use crate::ports::{Person, StoreError};
use crate::query::Filter;
use crate::record::Kind;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

impl LinkedDirectory {
    pub(super) fn origin(&self, person: &Person) -> Origin {
        Origin::Ldap {
            directory: self.directory.name().to_owned(),
            key: person.key.clone(),
            dn: person.dn.clone(),
            gone: false,
        }
    }
}

/// The key of the account of somebody from outside; none for local accounts, whose key is by chance.
pub(super) fn account_key(origin: &Origin) -> Option<AccountId> {
    let parts = match origin {
        Origin::Local => return None,
        Origin::Ldap { directory, key, .. } => ["ldap", directory, key],
        Origin::Oidc { issuer, subject } => ["oidc", issuer, subject],
    };
    let mut hash = Sha256::new_with_prefix("hostler account from outside 1");
    for part in parts {
        // With its length, so that no two ways of cutting are one.
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let bytes = hash.first_chunk::<16>().copied().unwrap_or_default();
    Some(AccountId(uuid::Builder::from_custom_bytes(bytes).into_uuid()))
}

/// A person whose name and address are fit for an account.
///
/// # Errors
/// Invalid, with what is wrong.
pub(super) fn presentable(person: &Person, source: &str) -> Result<Person> {
    let mut person = person.clone();
    if person.key.is_empty() || person.key.len() > 255 {
        return Err(Error::invalid("key", format!("{source} does not say who this is in a way that lasts")));
    }
    person.login = checked_login(&person.login).map_err(|error| {
        let called: String = person.login.chars().filter(|c| !c.is_control()).take(80).collect();
        let text =
            format!("{source} calls this person `{called}`, which cannot be a login name: {}", error.text);
        Error::invalid("login", text).hint("the administrator can take the login name from something else")
    })?;
    if person.email.is_empty() {
        // An address is unique and wanted everywhere; this one is nobody's and can never be (RFC 2606).
        person.email = format!("{}@{source}.invalid", person.login.replace('@', "."));
    }
    person.email = checked_email(&person.email)?;
    if person.login.contains('@') && person.login != person.email {
        return Err(Error::invalid("login", "a login name with an @ is the account's own e-mail address"));
    }
    person.full_name = person.full_name.chars().filter(|c| !c.is_control()).take(50).collect();
    Ok(person)
}

impl Core {
    /// The account of a person for whom `origin` vouches, made or brought up to date.
    ///
    /// # Errors
    /// Denied when the mapping lets them not in, invalid when their name is no name, conflict when it is another's.
    pub(crate) async fn admit(&self, mapping: &Mapping, origin: Origin, person: &Person) -> Result<Account> {
        let source = match &origin {
            Origin::Ldap { directory, .. } => directory.clone(),
            Origin::Oidc { .. } | Origin::Local => "provider".to_owned(),
        };
        let person = presentable(person, &source)?;
        let (role, groups) = mapping.of(&person.groups).ok_or_else(|| {
            Error::denied(format!("{} is in no group that may come in", person.login))
                .hint("an administrator says in the configuration which groups may")
        })?;
        decided(|| self.admit_once(mapping, &origin, &person, role, &groups)).await
    }

    async fn admit_once(
        &self,
        mapping: &Mapping,
        origin: &Origin,
        person: &Person,
        role: Role,
        groups: &BTreeSet<&str>,
    ) -> Result<Account, Attempt> {
        let id = account_key(origin).ok_or_else(|| Error::internal("a local account from outside"))?;
        let taken = self.taken(id, person).await?;
        let mut changes = self.changes();
        match self.find::<Account>(id.0).await? {
            None if taken.is_some() => return Err(refused(taken.unwrap_or_default()).into()),
            None => {
                changes.insert(&newcomer(id, origin, person, role, &changes))?;
            }
            Some(known) => {
                let mut account = followed(&known, origin, person, role);
                if let Some(what) = taken {
                    tracing::warn!(
                        account = known.login,
                        what,
                        "a new name outside is another account's; it keeps the old"
                    );
                    account = Account { login: known.login.clone(), email: known.email.clone(), ..account };
                }
                if is_pillar(&known) && !is_pillar(&account) {
                    self.hold_another_administrator(&known, &mut changes).await?;
                }
                if account.role != known.role {
                    self.end_stays(id, None, &mut changes).await?;
                }
                if account != known {
                    changes.update(&account)?;
                }
            }
        }
        self.follow_groups(mapping, origin, id, groups, &mut changes).await?;
        match self.commit(changes).await {
            // Another first login of the same person was faster; its account is ours.
            Err(StoreError::Taken { kind: Kind::Account | Kind::Group | Kind::Member, .. }) => {
                Err(Attempt::Stale)
            }
            Err(error) => Err(error.into()),
            Ok(_) => self.get(id.0).await.map_err(Attempt::Failed),
        }
    }

    /// What of the person's name and address another account has, under either column: logins take both.
    async fn taken(&self, id: AccountId, person: &Person) -> Result<Option<&'static str>> {
        for (value, what) in [(&person.login, "login name"), (&person.email, "e-mail address")] {
            for column in ["login", "email"] {
                let other: Option<Account> = self.find_by(column, value.as_str()).await?;
                if other.is_some_and(|other| other.id != id) {
                    return Ok(Some(what));
                }
            }
        }
        Ok(None)
    }

    /// Puts the account into the groups that the mapping gives, and out of those that it speaks of and does not give.
    async fn follow_groups(
        &self,
        mapping: &Mapping,
        origin: &Origin,
        account: AccountId,
        wanted: &BTreeSet<&str>,
        changes: &mut Changes,
    ) -> Result<()> {
        let mut member: Vec<Member> = self.all(Filter::eq("account", account.0)).await?;
        let now = changes.now();
        for name in mapping.ours() {
            let group: Option<Group> = self.find_by("name", name).await?;
            let of = |group: &Group| member.iter().position(|member| member.group == group.id);
            let at = group.as_ref().and_then(of);
            let group = match (wanted.contains(name), at, group) {
                (true, Some(_), _) | (false, None, _) => continue,
                (false, Some(at), _) => {
                    changes.delete(&member.swap_remove(at));
                    continue;
                }
                (true, None, Some(group)) => group,
                (true, None, None) => {
                    let id = GroupId(self.ids().uuid());
                    let (name, origin) = (name.to_owned(), origin_of_group(origin));
                    let group = Group {
                        id,
                        number: 0,
                        rev: 0,
                        name,
                        description: String::new(),
                        origin,
                        created_at: now,
                    };
                    changes.insert(&group)?;
                    group
                }
            };
            let id = MemberId(self.ids().uuid());
            changes.insert(&Member { id, number: 0, rev: 0, group: group.id, account, created_at: now })?;
        }
        Ok(())
    }

    /// Disables an account whose person is gone, and ends what it is logged in with.
    ///
    /// # Errors
    /// Conflict for the last administrator.
    pub(super) async fn dismiss(&self, id: AccountId) -> Result<()> {
        decided(async || {
            let mut account: Account = self.get(id.0).await?;
            let mut changes = self.changes();
            if is_pillar(&account) {
                self.hold_another_administrator(&account, &mut changes).await?;
            }
            if let Origin::Ldap { gone, .. } = &mut account.origin {
                // Whom an administrator has disabled stays disabled when the person comes back.
                *gone |= account.enabled;
            }
            account.enabled = false;
            changes.update(&account)?;
            self.end_stays(id, None, &mut changes).await?;
            self.commit(changes).await?;
            Ok::<_, Attempt>(())
        })
        .await
    }
}

/// The account of somebody who was not here before.
fn newcomer(id: AccountId, origin: &Origin, person: &Person, role: Role, changes: &Changes) -> Account {
    Account {
        id,
        number: 0,
        rev: 0,
        login: person.login.clone(),
        email: person.email.clone(),
        full_name: person.full_name.clone(),
        password: None,
        role,
        enabled: true,
        origin: origin.clone(),
        created_at: changes.now(),
    }
}

/// The account as it is when it follows what is said of its person now.
pub(super) fn followed(known: &Account, origin: &Origin, person: &Person, role: Role) -> Account {
    let back = matches!(known.origin, Origin::Ldap { gone: true, .. });
    Account {
        login: person.login.clone(),
        email: person.email.clone(),
        full_name: person.full_name.clone(),
        role,
        enabled: known.enabled || back,
        origin: origin.clone(),
        ..known.clone()
    }
}

fn origin_of_group(origin: &Origin) -> Origin {
    match origin {
        Origin::Ldap { directory, .. } => {
            let (key, dn) = (String::new(), String::new());
            Origin::Ldap { directory: directory.clone(), key, dn, gone: false }
        }
        Origin::Oidc { issuer, .. } => Origin::Oidc { issuer: issuer.clone(), subject: String::new() },
        Origin::Local => Origin::Local,
    }
}

fn refused(what: &str) -> Error {
    Error::conflict("taken", format!("another account has this {what} already"))
        .hint("an administrator can rename that account; nothing was changed")
}
