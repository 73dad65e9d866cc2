//! Groups and who is in them.

use super::{Account, Caller, Grant, Group, Member, Origin, Quota};
use crate::core::{Attempt, Core, ListAsk, Page, decided};
use crate::error::{Error, Result};
use crate::ids::{GroupId, MemberId};
use crate::ports::StoreError;
use crate::query::{Filter, Select};
use crate::record::{Record, Value};
use uuid::Uuid;

/// A new group.
#[derive(Clone, Debug)]
pub struct GroupAsk {
    /// Unique name, 1 to 100 characters.
    pub name: String,
    /// Words of the administrator, at most 200 bytes.
    pub description: String,
}

/// What shall be different about a group; none leaves it.
#[derive(Clone, Debug, Default)]
pub struct GroupChange {
    /// The name.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
}

fn checked_name(text: &str) -> Result<String> {
    let name = text.trim();
    if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
        return Err(Error::invalid(
            "name",
            "a group's name has 1 to 100 characters and no control characters",
        ));
    }
    if name.parse::<i64>().is_ok() || name.parse::<Uuid>().is_ok() {
        let text = "a group's name is neither a number nor a UUID: those name groups in other ways";
        return Err(Error::invalid("name", text));
    }
    Ok(name.to_owned())
}

fn checked_description(text: &str) -> Result<String> {
    if text.len() > 200 || text.contains('\0') {
        return Err(Error::invalid("description", "a description has at most 200 characters"));
    }
    Ok(text.to_owned())
}

impl Core {
    /// The group with this id, number or name.
    ///
    /// # Errors
    /// Not found, also when the caller is neither in it nor sees everything.
    pub async fn group_get(&self, caller: &Caller, key: &str) -> Result<Group> {
        let found: Option<Group> = match (key.parse::<Uuid>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ if key.contains('\0') => None,
            _ => self.find_by("name", key).await?,
        };
        let visible = |group: &Group| caller.sees_everything() || caller.groups.contains(&group.id);
        found.filter(visible).ok_or_else(|| Error::not_found("group", key))
    }

    /// The groups that the caller is in; all, for who sees everything.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn group_list(&self, caller: &Caller, mut ask: ListAsk) -> Result<Page<Group>> {
        if !caller.sees_everything() {
            let own = caller.groups.iter().map(|group| Value::Id(group.0)).collect();
            ask.filter = ask.filter.and(Filter::In("id", own));
        }
        self.page(ask).await
    }

    /// Adds a group.
    ///
    /// # Errors
    /// Denied, unless an administrator asks. Invalid; conflict `name_taken`.
    pub async fn group_create(&self, caller: &Caller, ask: GroupAsk) -> Result<Group> {
        self.administers(caller, "group.create", "add groups").await?;
        let mut group = Group {
            id: GroupId(self.ids().uuid()),
            number: 0,
            rev: 0,
            name: checked_name(&ask.name)?,
            description: checked_description(&ask.description)?,
            origin: Origin::Local,
            created_at: self.now(),
        };
        let mut changes = self.changes();
        changes.insert(&group)?;
        self.deed_about(&mut changes, caller, "group.create", ("group", group.id.0, &group.name))?;
        let stamp = self.commit(changes).await?.stamps[0];
        group.stamp(stamp.number, stamp.rev);
        Ok(group)
    }

    /// Changes a group.
    ///
    /// # Errors
    /// Denied, unless an administrator asks. Not found; invalid; conflict `name_taken`.
    pub async fn group_change(&self, caller: &Caller, key: &str, change: GroupChange) -> Result<Group> {
        self.administers(caller, "group.change", "change groups").await?;
        let id = self.group_get(caller, key).await?.id;
        let name = change.name.as_deref().map(checked_name).transpose()?;
        let description = change.description.as_deref().map(checked_description).transpose()?;
        decided(|| async {
            let mut group: Group = self.get(id.0).await?;
            group.name = name.clone().unwrap_or(group.name);
            group.description = description.clone().unwrap_or(group.description);
            let mut changes = self.changes();
            changes.update(&group)?;
            self.deed_about(&mut changes, caller, "group.change", ("group", group.id.0, &group.name))?;
            let stamp = self.commit(changes).await?.stamps[0];
            group.stamp(stamp.number, stamp.rev);
            Ok::<_, Attempt>(group)
        })
        .await
    }

    /// Deletes a group with its grants and its quota. Nobody's account goes with it.
    ///
    /// # Errors
    /// Denied, unless an administrator asks. Not found.
    pub async fn group_delete(&self, caller: &Caller, key: &str) -> Result<()> {
        self.administers(caller, "group.delete", "delete groups").await?;
        let id = self.group_get(caller, key).await?.id;
        decided(|| async {
            let group: Group = self.find(id.0).await?.ok_or_else(|| Error::not_found("group", key))?;
            let mut changes = self.changes();
            changes.delete(&group);
            self.delete_all::<Member>(Filter::eq("in_group", id.0), &mut changes).await?;
            self.delete_all::<Grant>(Filter::eq("subject", id.0), &mut changes).await?;
            self.delete_all::<Quota>(Filter::eq("subject", id.0), &mut changes).await?;
            self.deed_about(&mut changes, caller, "group.delete", ("group", group.id.0, &group.name))?;
            self.commit(changes).await?;
            Ok::<_, Attempt>(())
        })
        .await
    }

    /// The accounts in a group.
    ///
    /// # Errors
    /// Not found, when the caller may not see the group.
    pub async fn member_list(&self, caller: &Caller, group: &str) -> Result<Vec<Account>> {
        let group = self.group_get(caller, group).await?;
        let members: Vec<Member> = self.all(Filter::eq("in_group", group.id.0)).await?;
        let keys = members.into_iter().map(|member| Value::Id(member.account.0)).collect();
        self.all(Filter::In("id", keys)).await
    }

    /// Puts an account into a group, if it is not in it already.
    ///
    /// # Errors
    /// Denied, unless an administrator asks. Not found. Conflict `vouched_elsewhere`, when a directory says who is in
    /// the group.
    pub async fn member_add(&self, caller: &Caller, group: &str, account: &str) -> Result<()> {
        let (group, account) = self.group_and_account(caller, group, account).await?;
        decided(|| async {
            let group: Group = self.get(group.id.0).await?;
            let account: Account = self.get(account.id.0).await?;
            let member = Member {
                id: MemberId(self.ids().uuid()),
                number: 0,
                rev: 0,
                group: group.id,
                account: account.id,
                created_at: self.now(),
            };
            let mut changes = self.changes();
            // Nobody joins a group that is deleted meanwhile.
            changes.unchanged(&group);
            changes.unchanged(&account);
            changes.insert(&member)?;
            self.deed_about(&mut changes, caller, "member.add", ("group", group.id.0, &group.name))?;
            match self.commit(changes).await {
                Ok(_) | Err(StoreError::Taken { .. }) => Ok::<_, Attempt>(()),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Takes an account out of a group, if it is in it.
    ///
    /// # Errors
    /// Denied, unless an administrator asks. Not found. Conflict `vouched_elsewhere`, when a directory says who is in
    /// the group.
    pub async fn member_remove(&self, caller: &Caller, group: &str, account: &str) -> Result<()> {
        let (group, account) = self.group_and_account(caller, group, account).await?;
        let place = Filter::eq("in_group", group.id.0).and(Filter::eq("account", account.id.0));
        let Some(member) = self.select::<Member>(Select::new(place, 1)).await?.pop() else { return Ok(()) };
        let mut changes = self.changes();
        changes.delete(&member);
        self.deed_about(&mut changes, caller, "member.remove", ("group", group.id.0, &group.name))?;
        match self.commit(changes).await {
            // Members are never updated, so somebody else has removed it.
            Ok(_) | Err(StoreError::Stale { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn group_and_account(
        &self,
        caller: &Caller,
        group: &str,
        account: &str,
    ) -> Result<(Group, Account)> {
        self.administers(caller, "member.change", "say who is in a group").await?;
        let group = self.group_get(caller, group).await?;
        if group.origin != Origin::Local {
            let text = format!("who is in {} is kept by who vouches for it", group.name);
            return Err(Error::conflict("vouched_elsewhere", text));
        }
        Ok((group, self.account_get(caller, account).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_groups_cannot_be_taken_for_something_else() {
        assert_eq!(checked_name(" Operators ").unwrap(), "Operators");
        let long = "x".repeat(101);
        for wrong in ["", " ", "7", "a\nb", "00000000-0000-0000-0000-000000000001", &long] {
            assert!(checked_name(wrong).is_err(), "{wrong:?}");
        }
    }
}
