//! Public SSH keys of accounts, given to the guests of their new machines.

use super::{Account, Caller, SshKey};
use crate::core::{Core, ListAsk, Page};
use crate::error::{Error, Result};
use crate::ids::{AccountId, SshKeyId};
use crate::ports::StoreError;
use crate::query::Filter;
use crate::record::Record;
use ssh_key::{HashAlg, PublicKey};
use uuid::Uuid;

/// Keys of one account, at most: as many as a machine takes.
const KEYS: u64 = 64;

/// A new key of an account.
#[derive(Clone, Debug, Default)]
pub struct SshKeyAsk {
    /// Whose, when not the caller's: for administrators only.
    pub account: Option<AccountId>,
    /// Unique among the account's; empty takes the key's comment.
    pub name: String,
    /// One line as in `authorized_keys`, without options.
    pub public_key: String,
}

/// The key without options, in one line, and its fingerprint; with the comment that came with it.
fn parsed(text: &str) -> Result<(PublicKey, String)> {
    let text = text.trim();
    let wrong = || Error::invalid("public_key", "this is not a public SSH key in one line, without options");
    if text.len() > 16_384 || text.chars().any(char::is_control) {
        return Err(wrong());
    }
    let key = PublicKey::from_openssh(text).map_err(|_| wrong())?;
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    Ok((key, fingerprint))
}

impl Core {
    /// Keeps a public SSH key of an account.
    ///
    /// # Errors
    /// Invalid, when it is no key or has no name. Conflict `name_taken`; `taken`, when the account has this key already.
    /// No capacity beyond 64. Denied, when it is for somebody else and the caller is no administrator. Not found, when
    /// there is no such account.
    pub async fn ssh_key_add(&self, caller: &Caller, ask: SshKeyAsk) -> Result<SshKey> {
        if caller.scope.is_some() {
            let text = "a token that is limited to some actions adds no SSH keys";
            return Err(self.deny(caller, "ssh_key.add", None, text).await);
        }
        let owner = ask.account.unwrap_or(caller.account);
        if owner != caller.account {
            self.administers(caller, "ssh_key.add", "add SSH keys of others").await?;
        }
        let (key, fingerprint) = parsed(&ask.public_key)?;
        let name = match ask.name.trim() {
            "" => key.comment().to_string(),
            name => name.to_owned(),
        };
        if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
            return Err(Error::invalid("name", "an SSH key's name has 1 to 100 characters"));
        }
        let own = || Filter::eq("account", owner.0);
        if self.store().count(SshKey::KIND, own()).await? >= KEYS {
            return Err(Error::no_capacity(format!("an account has at most {KEYS} SSH keys")));
        }
        let same = own().and(Filter::eq("fingerprint", fingerprint.as_str()));
        if self.store().count(SshKey::KIND, same).await? > 0 {
            return Err(Error::conflict("taken", format!("the key {fingerprint} is there already")));
        }
        let mut record = SshKey {
            id: SshKeyId(self.ids().uuid()),
            number: 0,
            rev: 0,
            account: owner,
            name,
            public_key: key.to_openssh().map_err(Error::internal)?,
            fingerprint,
            created_at: self.now(),
        };
        let account: Account = self.get(owner.0).await?;
        let mut changes = self.changes();
        changes.unchanged(&account);
        changes.insert(&record)?;
        self.deed_about(&mut changes, caller, "ssh_key.add", ("ssh_key", record.id.0, &record.name))?;
        let stamp = self.commit(changes).await?.stamps[0];
        record.stamp(stamp.number, stamp.rev);
        Ok(record)
    }

    /// The caller's keys; who sees everything sees everybody's.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn ssh_key_list(&self, caller: &Caller, mut ask: ListAsk) -> Result<Page<SshKey>> {
        if !caller.sees_everything() {
            ask.filter = ask.filter.and(Filter::eq("account", caller.account.0));
        }
        self.page(ask).await
    }

    /// Forgets a key, named by its id, its number, or its name among the caller's. Machines that have it keep it.
    ///
    /// # Errors
    /// Not found, also when it is another's and the caller is no administrator.
    pub async fn ssh_key_remove(&self, caller: &Caller, key: &str) -> Result<()> {
        let own = Filter::eq("account", caller.account.0);
        let found: Option<SshKey> = match (key.parse::<Uuid>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ if key.contains('\0') => None,
            _ => self.all(own.and(Filter::eq("name", key))).await?.pop(),
        };
        let theirs = |found: &SshKey| found.account == caller.account || caller.is_administrator();
        let found = found.filter(theirs).ok_or_else(|| Error::not_found("SSH key", key))?;
        if caller.scope.is_some() {
            let text = "a token that is limited to some actions removes no SSH keys";
            return Err(self.deny(caller, "ssh_key.remove", Some((SshKey::KIND, found.id.0)), text).await);
        }
        let mut changes = self.changes();
        changes.delete(&found);
        self.deed_about(&mut changes, caller, "ssh_key.remove", ("ssh_key", found.id.0, &found.name))?;
        match self.commit(changes).await {
            // Keys are never updated, so somebody else has removed it.
            Ok(_) | Err(StoreError::Stale { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The public keys of an account, as new machines of its get them.
    pub(crate) async fn ssh_keys_of(&self, account: AccountId) -> Result<Vec<String>> {
        let keys: Vec<SshKey> = self.all(Filter::eq("account", account.0)).await?;
        Ok(keys.into_iter().map(|key| key.public_key).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_line_without_options() {
        let line =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJiJqp2JGL4oVHFGBhYm4p8IiNE0VzJOmwPEk4hXk7tM ann@home";
        let (key, fingerprint) = parsed(line).unwrap();
        assert_eq!(key.comment().to_string(), "ann@home");
        assert!(fingerprint.starts_with("SHA256:"));
        let two = format!("{line}\n{line}");
        let options = format!("command=\"rm -rf /\" {line}");
        for wrong in ["", "ssh-ed25519", "ssh-ed25519 AAAA x", &two, &options] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
