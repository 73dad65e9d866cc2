//! Accounts: who there is, and what ends when one changes.
//!
//! There is always an enabled administrator: a commit that takes one away holds on to another, so that two
//! administrators who remove each other at the same time do not both succeed.

use super::{
    Account, Action, Caller, Credential, CredentialKind, Grant, Member, Origin, Quota, Role, SshKey,
};
use crate::core::{Attempt, Changes, Core, ListAsk, Page, decided};
use crate::error::{Error, Result};
use crate::ids::{AccountId, CredentialId};
use crate::machines::Machine;
use crate::media::Medium;
use crate::ports::{Guard, StoreError};
use crate::query::{Filter, Select};
use crate::record::{Kind, Record};
use crate::secret::Secret;
use crate::templates::Template;
use crate::volumes::Volume;
use uuid::Uuid;

/// A new account.
#[derive(Clone, Debug)]
pub struct AccountAsk {
    /// Unique login name, 1 to 64 letters, digits and `.`, `_`, `-`, `+`, `@`; kept in lower case.
    pub login: String,
    /// Unique e-mail address; kept in lower case.
    pub email: String,
    /// The person's name; may be empty.
    pub full_name: String,
    /// Its password; none means that no password lets it in.
    pub password: Option<Secret>,
    /// What it may do in general.
    pub role: Role,
    /// Whether it may come in.
    pub enabled: bool,
}

/// What shall be different about an account; none leaves it.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    /// The e-mail address.
    pub email: Option<String>,
    /// The person's name.
    pub full_name: Option<String>,
    /// What it may do in general: administrators only.
    pub role: Option<Role>,
    /// Whether it may come in: administrators only.
    pub enabled: Option<bool>,
    /// A new password.
    pub password: Option<Secret>,
    /// The password until now; an account that changes its own must give it.
    pub present_password: Option<Secret>,
}

impl AccountChange {
    /// Whether whoever came in before has to come in again.
    fn ends_sessions(&self, before: &Account) -> bool {
        self.password.is_some()
            || self.enabled == Some(false)
            || self.role.is_some_and(|role| role != before.role)
    }
}

pub(super) fn checked_login(text: &str) -> Result<String> {
    let login = text.to_lowercase();
    let fits = |c: char| c.is_alphanumeric() || "._-+@".contains(c);
    let wrong = |why: &str| Err(Error::invalid("login", why));
    if login.is_empty() || login.len() > 64 || !login.chars().all(fits) {
        return wrong("a login name has 1 to 64 letters, digits and . _ - + @");
    }
    if login.parse::<i64>().is_ok() || login.parse::<Uuid>().is_ok() {
        return wrong("a login name is neither a number nor a UUID: those name accounts in other ways");
    }
    Ok(login)
}

/// The address in lower case, if it can be one. What could end a header or a list of addresses cannot.
pub(crate) fn checked_email(text: &str) -> Result<String> {
    let email = text.to_lowercase();
    let fits = |c: char| !c.is_control() && !c.is_whitespace() && !"<>()[]\\,;:\"".contains(c);
    let parts = email.split_once('@');
    let whole = parts.is_some_and(|(local, domain)| {
        (1..=64).contains(&local.len()) && !domain.is_empty() && !domain.contains('@')
    });
    if email.len() > 254 || !whole || !email.chars().all(fits) {
        return Err(Error::invalid("email", "this is not an e-mail address of at most 254 characters"));
    }
    Ok(email)
}

fn checked_full_name(text: &str) -> Result<String> {
    if text.len() > 200 || text.chars().any(char::is_control) {
        return Err(Error::invalid(
            "full_name",
            "a name has at most 200 characters and no control characters",
        ));
    }
    Ok(text.trim().to_owned())
}

/// What keeps an account from being deleted.
fn owned(account: &Account) -> [(Kind, Filter); 4] {
    let owned = || Filter::eq("owner", account.id.0);
    [
        (Machine::KIND, owned().and(Filter::ne("life", "gone"))),
        (Volume::KIND, owned()),
        (Template::KIND, owned()),
        (Medium::KIND, owned()),
    ]
}

/// The commit fails when the account owns something by then.
fn gains_nothing(account: &Account, changes: &mut Changes) {
    let guards = owned(account).map(|(kind, filter)| {
        let what = format!("{} of {}", kind.word(), account.login);
        Guard { kind, column: None, filter, at_most: 0, asked: 0, what }
    });
    changes.commit.guards.extend(guards);
}

impl Core {
    /// The caller's own account.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn account_own(&self, caller: &Caller) -> Result<Account> {
        self.get(caller.account.0).await
    }

    /// The account with this id, number, login name or e-mail address.
    ///
    /// # Errors
    /// Not found, also when the caller may not see it: everybody sees themselves, administrators and those who only
    /// read see all.
    pub async fn account_get(&self, caller: &Caller, key: &str) -> Result<Account> {
        let found: Option<Account> = match (key.parse::<Uuid>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => self.account_named(key).await?,
        };
        let visible = |account: &Account| account.id == caller.account || caller.sees_everything();
        found.filter(visible).ok_or_else(|| Error::not_found("account", key))
    }

    /// The accounts that the caller may see.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn account_list(&self, caller: &Caller, mut ask: ListAsk) -> Result<Page<Account>> {
        if !caller.sees_everything() {
            ask.filter = ask.filter.and(Filter::eq("id", caller.account.0));
        }
        self.page(ask).await
    }

    /// Adds an account.
    ///
    /// # Errors
    /// Denied, unless an administrator asks. Invalid, for what cannot be a login name, an address, a name or a
    /// password. Conflict `taken`, when the login name or the address is another's; case makes no difference.
    pub async fn account_create(&self, caller: &Caller, ask: AccountAsk) -> Result<Account> {
        self.administers(caller, "account.create", "add accounts").await?;
        let (login, email) = (checked_login(&ask.login)?, checked_email(&ask.email)?);
        if login.contains('@') && login != email {
            return Err(Error::invalid(
                "login",
                "a login name with an @ is the account's own e-mail address",
            ));
        }
        let full_name = checked_full_name(&ask.full_name)?;
        let password = match &ask.password {
            Some(password) => Some(self.passwords().hash(password).await?),
            None => None,
        };
        let mut account = Account {
            id: AccountId(self.ids().uuid()),
            number: 0,
            rev: 0,
            login,
            email,
            full_name,
            password,
            role: ask.role,
            enabled: ask.enabled,
            origin: Origin::Local,
            created_at: self.now(),
        };
        let mut changes = self.changes();
        changes.insert(&account)?;
        self.deed_about(&mut changes, caller, "account.create", ("account", account.id.0, &account.login))?;
        let stamp = self.commit(changes).await?.stamps[0];
        account.stamp(stamp.number, stamp.rev);
        Ok(account)
    }

    /// Changes an account. A new role or password, or disabling it, ends its sessions, keys and tickets at once, but
    /// for the credential that the caller uses for it.
    ///
    /// # Errors
    /// Not found, when the caller may not see it. Denied, when it is another's or the role is to change, unless an
    /// administrator asks; when the present password is wrong. Conflict `last_administrator`; `taken`, when the address
    /// is another's; `vouched_elsewhere`, for the password of an account that a directory vouches for.
    pub async fn account_change(&self, caller: &Caller, key: &str, change: AccountChange) -> Result<Account> {
        let id = self.account_get(caller, key).await?.id;
        let object = Some((Account::KIND, id.0));
        let administers = caller.is_administrator() && caller.is_scoped_for(Action::All.word());
        if !administers && caller.scope.is_some() {
            let text = "a token that is limited to some actions changes no account";
            return Err(self.deny(caller, "account.change", object, text).await);
        }
        if !administers && (id != caller.account || change.role.is_some() || change.enabled.is_some()) {
            let text = "only an administrator may change other accounts, roles and who is enabled";
            return Err(self.deny(caller, "account.change", object, text).await);
        }
        let email = change.email.as_deref().map(checked_email).transpose()?;
        let full_name = change.full_name.as_deref().map(checked_full_name).transpose()?;
        let password = self.new_password(caller, id, &change).await?;
        decided(|| async {
            let before: Account = self.get(id.0).await?;
            let mut account = before.clone();
            account.email = email.clone().unwrap_or(account.email);
            account.full_name = full_name.clone().unwrap_or(account.full_name);
            account.role = change.role.unwrap_or(account.role);
            account.enabled = change.enabled.unwrap_or(account.enabled);
            account.password = password.clone().or(account.password);
            let mut changes = self.changes();
            changes.update(&account)?;
            if is_pillar(&before) && !is_pillar(&account) {
                self.hold_another_administrator(&before, &mut changes).await?;
            }
            if change.ends_sessions(&before) {
                self.end_stays(id, caller.credential, &mut changes).await?;
            }
            self.deed_about(
                &mut changes,
                caller,
                "account.change",
                ("account", account.id.0, &account.login),
            )?;
            let stamp = self.commit(changes).await?.stamps[0];
            account.stamp(stamp.number, stamp.rev);
            Ok::<_, Attempt>(account)
        })
        .await
    }

    /// The hash of the new password, if there is to be one and the caller may set it.
    async fn new_password(
        &self,
        caller: &Caller,
        id: AccountId,
        change: &AccountChange,
    ) -> Result<Option<String>> {
        let Some(password) = &change.password else { return Ok(None) };
        let account: Account = self.get(id.0).await?;
        if account.origin != Origin::Local {
            let text = format!("the password of {} is kept by who vouches for it", account.login);
            return Err(Error::conflict("vouched_elsewhere", text));
        }
        super::password::check_length(password.expose())?;
        // Over the unix socket nobody came in with a password, and the data could be changed anyway.
        let own = id == caller.account && caller.credential.is_some();
        if own && let Some(hash) = account.password {
            let present = change.present_password.as_ref();
            let present = present
                .ok_or_else(|| Error::invalid("present_password", "your present password is needed"))?;
            super::password::check_length(present.expose())?;
            if !self.passwords().verify(present, Some(hash)).await? {
                let object = Some((Account::KIND, id.0));
                return Err(self
                    .deny(caller, "account.change", object, "the present password is another")
                    .await);
            }
        }
        self.passwords().hash(password).await.map(Some)
    }

    /// Deletes an account with its credentials, SSH keys, grants, quota and places in groups.
    ///
    /// # Errors
    /// Denied, unless an administrator asks. Not found. Conflict `last_administrator`; `in_use`, while it owns
    /// machines, volumes, templates or media.
    pub async fn account_delete(&self, caller: &Caller, key: &str) -> Result<()> {
        self.administers(caller, "account.delete", "delete accounts").await?;
        let id = self.account_get(caller, key).await?.id;
        decided(|| async {
            let account: Account = self.find(id.0).await?.ok_or_else(|| Error::not_found("account", key))?;
            self.owns_nothing(&account).await?;
            let mut changes = self.changes();
            changes.delete(&account);
            gains_nothing(&account, &mut changes);
            if is_pillar(&account) {
                self.hold_another_administrator(&account, &mut changes).await?;
            }
            self.delete_all::<Credential>(Filter::eq("account", id.0), &mut changes).await?;
            self.delete_all::<Member>(Filter::eq("account", id.0), &mut changes).await?;
            self.delete_all::<SshKey>(Filter::eq("account", id.0), &mut changes).await?;
            self.delete_all::<Grant>(Filter::eq("subject", id.0), &mut changes).await?;
            self.delete_all::<Quota>(Filter::eq("subject", id.0), &mut changes).await?;
            self.deed_about(
                &mut changes,
                caller,
                "account.delete",
                ("account", account.id.0, &account.login),
            )?;
            match self.commit(changes).await {
                // It has gained something meanwhile: the next look says what.
                Err(StoreError::Exceeded { .. }) => Err(Attempt::Stale),
                other => Ok(other.map(drop)?),
            }
        })
        .await
    }

    async fn owns_nothing(&self, account: &Account) -> Result<()> {
        for (kind, filter) in owned(account) {
            let count = self.store().count(kind, filter).await?;
            if count > 0 {
                let text =
                    format!("{} still owns {count} objects of the kind {}", account.login, kind.word());
                return Err(
                    Error::conflict("in_use", text).hint("delete them first, or disable the account instead")
                );
            }
        }
        Ok(())
    }

    /// The commit fails unless an account, which is to own something, is still there.
    ///
    /// # Errors
    /// Unauthenticated, when it is no more.
    pub(crate) async fn owner_stays(&self, owner: AccountId, changes: &mut Changes) -> Result<()> {
        let account: Option<Account> = self.find(owner.0).await?;
        changes.unchanged(&account.ok_or_else(|| Error::unauthenticated("this account is no more"))?);
        Ok(())
    }

    /// The commit fails unless an enabled administrator other than this one stays as it is.
    pub(super) async fn hold_another_administrator(
        &self,
        one: &Account,
        changes: &mut Changes,
    ) -> Result<()> {
        let others = Filter::eq("role", Role::Administrator.word())
            .and(Filter::eq("enabled", true))
            .and(Filter::ne("id", one.id.0));
        let Some(other) = self.select::<Account>(Select::new(others, 1)).await?.pop() else {
            let text = format!("{} is the last enabled administrator", one.login);
            return Err(
                Error::conflict("last_administrator", text).hint("make somebody else an administrator first")
            );
        };
        changes.unchanged(&other);
        Ok(())
    }

    /// Ends sessions, keys and tickets of an account, but for what the caller came in with.
    pub(super) async fn end_stays(
        &self,
        id: AccountId,
        but: Option<CredentialId>,
        changes: &mut Changes,
    ) -> Result<()> {
        let kinds = [CredentialKind::Session, CredentialKind::Key, CredentialKind::Ticket];
        let kinds = kinds.into_iter().map(|kind| kind.word().into()).collect();
        let stays = Filter::eq("account", id.0).and(Filter::In("kind", kinds));
        for credential in self.all::<Credential>(stays).await? {
            if but != Some(credential.id) {
                changes.delete(&credential);
            }
        }
        Ok(())
    }

    /// All that match are deleted with this commit.
    pub(super) async fn delete_all<R: Record>(&self, filter: Filter, changes: &mut Changes) -> Result<()> {
        for record in self.all::<R>(filter).await? {
            changes.delete(&record);
        }
        Ok(())
    }
}

/// Whether it is one of those without whom nobody could repair anything.
pub(super) fn is_pillar(account: &Account) -> bool {
    account.role == Role::Administrator && account.enabled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_addresses_and_nothing_more() {
        assert_eq!(checked_email("Ann.Lee+x@Example.ORG").unwrap(), "ann.lee+x@example.org");
        assert_eq!(checked_email("admin@localhost").unwrap(), "admin@localhost");
        let long = format!("a@{}", "x".repeat(260));
        for wrong in [
            "",
            "ann",
            "@x",
            "a@",
            "a@b@c",
            "a b@c",
            "a@b\r\nBcc: x@y",
            "a@b\0",
            "a@b,c@d",
            "<a@b>",
            "a@b\u{85}",
            &long,
        ] {
            assert!(checked_email(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn login_names_cannot_be_taken_for_something_else() {
        assert_eq!(checked_login("Ann.Lee").unwrap(), "ann.lee");
        assert_eq!(checked_login("jörg").unwrap(), "jörg");
        let long = "x".repeat(65);
        for wrong in
            ["", "12", "a b", "a\n", "a:b", "a/b", "*", "00000000-0000-0000-0000-000000000001", &long]
        {
            assert!(checked_login(wrong).is_err(), "{wrong:?}");
        }
    }
}
