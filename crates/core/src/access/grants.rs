//! Granting actions on objects, and taking them back.

use super::rights::{Object, Standing, standing};
use super::{Account, Action, Caller, Grant, Group, Subject};
use crate::core::{Attempt, Changes, Core, decided};
use crate::error::{Error, Result};
use crate::ids::{AccountId, GrantId, GroupId};
use crate::ports::{Alteration, StoreError};
use crate::query::Filter;
use crate::record::{Kind, Record, Value};
use std::collections::BTreeSet;
use uuid::Uuid;

/// An object that actions are granted on, as it was found.
#[derive(Clone, Debug)]
struct Found {
    object: Object,
    rev: i64,
    name: String,
}

impl Found {
    fn new<R: Record>(record: &R) -> Self {
        let summary = record.summary().unwrap_or_default();
        let name = summary.get("name").and_then(|name| name.as_str()).unwrap_or_default().to_owned();
        Self { object: Object::of(record), rev: record.rev(), name }
    }
}

impl Core {
    /// The account or group of this key: its id or number; for an account also its login name or e-mail address, for a
    /// group its name. `word` is `account` or `group`.
    ///
    /// # Errors
    /// Not found; invalid for another word.
    pub async fn subject_named(&self, word: &str, key: &str) -> Result<Subject> {
        match word {
            "account" => {
                let found: Option<Account> = match (key.parse::<AccountId>(), key.parse::<i64>()) {
                    (Ok(id), _) => self.find(id.0).await?,
                    (_, Ok(number)) => self.find_by("number", number).await?,
                    _ if key.contains('@') => self.find_by("email", key.to_lowercase()).await?,
                    _ => self.find_by("login", key).await?,
                };
                Ok(Subject::Account(found.ok_or_else(|| Error::not_found("account", key))?.id))
            }
            "group" => {
                let found: Option<Group> = match (key.parse::<GroupId>(), key.parse::<i64>()) {
                    (Ok(id), _) => self.find(id.0).await?,
                    (_, Ok(number)) => self.find_by("number", number).await?,
                    _ => self.find_by("name", key).await?,
                };
                Ok(Subject::Group(found.ok_or_else(|| Error::not_found("group", key))?.id))
            }
            _ => Err(Error::invalid("kind", "a subject is an `account` or a `group`")),
        }
    }

    /// What is granted on an object, in the order in which it was first granted.
    ///
    /// # Errors
    /// Not found, also when the caller may not see the object.
    pub async fn grant_list(&self, caller: &Caller, kind: &str, key: &str) -> Result<Vec<Grant>> {
        let found = self.object_named(caller, kind, key).await?;
        self.all(Filter::eq("object", found.object.id)).await
    }

    /// Lets a subject do exactly these actions with an object, besides what it may do anyway; none takes everything
    /// back. Whoever holds an action may give and take that action, whoever holds `all` any; the owner holds all.
    ///
    /// # Errors
    /// Not found; denied for an action that the caller does not hold; conflict `last_all`, when nobody but
    /// administrators would hold `all` any more.
    pub async fn grant_set(
        &self,
        caller: &Caller,
        object: (&str, &str),
        subject: Subject,
        actions: &BTreeSet<Action>,
    ) -> Result<Option<Grant>> {
        decided(async || {
            let found = self.object_named(caller, object.0, object.1).await?;
            self.grant_set_once(caller, &found, subject, actions).await
        })
        .await
    }

    async fn grant_set_once(
        &self,
        caller: &Caller,
        found: &Found,
        subject: Subject,
        actions: &BTreeSet<Action>,
    ) -> Result<Option<Grant>, Attempt> {
        let grants: Vec<Grant> = self.all(Filter::eq("object", found.object.id)).await?;
        let old = grants.iter().find(|grant| grant.subject == subject);
        let before = old.map(|grant| grant.actions.clone()).unwrap_or_default();
        let changed: BTreeSet<Action> = before.symmetric_difference(actions).copied().collect();
        self.may_pass_on(caller, found.object, &changed).await?;
        if changed.is_empty() {
            return Ok(old.cloned());
        }
        if before.contains(&Action::All) && !actions.contains(&Action::All) {
            keeps_an_all(caller, found.object, &grants, subject)?;
        }
        let mut changes = self.changes();
        // Neither the object nor the subject may go meanwhile.
        changes.commit.unchanged.push((found.object.kind, found.object.id, found.rev));
        self.subject_unchanged(&mut changes, subject).await?;
        let granted = self.grant_written(caller, &mut changes, (found.object, subject), old, actions)?;
        let action = if granted.is_some() { "grant.set" } else { "grant.revoke" };
        let object = (found.object.kind.word(), found.object.id, found.name.as_str());
        self.deed_about(&mut changes, caller, action, object)?;
        match self.commit(changes).await {
            Err(StoreError::Taken { .. }) => Err(Attempt::Stale),
            Err(error) => Err(error.into()),
            Ok(committed) => Ok(granted.map(|mut grant| {
                grant.stamp(committed.stamps[0].number, committed.stamps[0].rev);
                grant
            })),
        }
    }

    /// Writes what a subject is granted from now on, as the first of these changes.
    fn grant_written(
        &self,
        caller: &Caller,
        changes: &mut Changes,
        (object, subject): (Object, Subject),
        old: Option<&Grant>,
        actions: &BTreeSet<Action>,
    ) -> Result<Option<Grant>> {
        let (actions, by) = (actions.clone(), caller.account);
        match old {
            Some(old) if actions.is_empty() => {
                changes.delete(old);
                Ok(None)
            }
            Some(old) => {
                let grant = Grant { actions, by, ..old.clone() };
                changes.update(&grant)?;
                Ok(Some(grant))
            }
            None => {
                let grant = Grant {
                    id: GrantId(self.ids().uuid()),
                    number: 0,
                    rev: 0,
                    object_kind: object.kind.word().to_owned(),
                    object: object.id,
                    subject,
                    actions,
                    by,
                    created_at: changes.now(),
                };
                changes.insert(&grant)?;
                Ok(Some(grant))
            }
        }
    }

    /// The caller holds every one of these actions.
    async fn may_pass_on(&self, caller: &Caller, object: Object, actions: &BTreeSet<Action>) -> Result<()> {
        let granted = self.granted(caller, object.id).await?;
        // That everybody may use what is shared is nobody's to pass on.
        let alone = Object { kind: Kind::Machine, ..object };
        for action in actions {
            if standing(caller, alone, &granted, *action) != Standing::May {
                let text = format!("you do not hold the action `{}` yourself", action.word());
                let error = Error::denied(text).hint("only who holds an action, or `all`, can pass it on");
                return Err(self.denied(caller, "grant.set", Some((object.kind, object.id)), error).await);
            }
        }
        Ok(())
    }

    pub(super) async fn subject_unchanged(&self, changes: &mut Changes, subject: Subject) -> Result<()> {
        match subject {
            Subject::Account(id) => changes.unchanged(&self.get::<Account>(id.0).await?),
            Subject::Group(id) => changes.unchanged(&self.get::<Group>(id.0).await?),
        }
        Ok(())
    }

    /// An object that the caller may see and that actions can be granted on.
    async fn object_named(&self, caller: &Caller, kind: &str, key: &str) -> Result<Found> {
        Ok(match kind {
            "machine" => Found::new(&self.machine_get(caller, key).await?),
            "volume" => Found::new(&self.volume_get(caller, key).await?),
            "network" => Found::new(&self.network_get(caller, key).await?),
            "template" => Found::new(&self.template_get(caller, key).await?),
            "medium" => Found::new(&self.medium_get(caller, key).await?),
            _ => {
                let text = "rights are granted on a machine, volume, network, template or medium";
                return Err(Error::invalid("object_kind", text));
            }
        })
    }

    /// The removal of what must not outlive the records that these alterations remove: grants on an object, grants to
    /// and limits of an account or a group.
    pub(crate) async fn left_behind(&self, alterations: &[Alteration]) -> Result<Changes, StoreError> {
        let mut changes = self.changes();
        let going: Vec<Value> = alterations.iter().filter_map(goes).map(Value::Id).collect();
        if going.is_empty() {
            return Ok(changes);
        }
        let either =
            |one, other| Filter::Or(vec![Filter::In(one, going.clone()), Filter::In(other, going.clone())]);
        let read = |error: Error| StoreError::Failed(error.chain());
        let known = |key: Uuid| {
            alterations.iter().any(|one| matches!(one, Alteration::Delete { id, .. } if *id == key))
        };
        for grant in self.all::<Grant>(either("object", "subject")).await.map_err(read)? {
            if !known(grant.id.0) {
                changes.delete(&grant);
            }
        }
        for quota in self.all::<super::Quota>(Filter::In("subject", going)).await.map_err(read)? {
            if !known(quota.id.0) {
                changes.delete(&quota);
            }
        }
        Ok(changes)
    }
}

/// The key of a record that rights hang on, if it goes with this alteration. A machine that is gone is kept for a while,
/// without its rights.
fn goes(alteration: &Alteration) -> Option<Uuid> {
    let hangs = |kind| {
        use Kind::{Account, Group, Machine, Medium, Network, Template, Volume};
        matches!(kind, Machine | Volume | Network | Template | Medium | Account | Group)
    };
    match alteration {
        Alteration::Delete { kind, id, .. } => hangs(*kind).then_some(*id),
        Alteration::Update(document) if document.kind == Kind::Machine => {
            let gone = ("life", Value::from(crate::machines::Life::Gone.word()));
            document.columns.contains(&gone).then_some(document.id)
        }
        Alteration::Update(_) | Alteration::Insert(_) => None,
    }
}

/// Somebody other than administrators holds `all` when this subject no longer does. An owner always holds it.
fn keeps_an_all(caller: &Caller, object: Object, grants: &[Grant], subject: Subject) -> Result<()> {
    let others =
        || grants.iter().any(|grant| grant.subject != subject && grant.actions.contains(&Action::All));
    if caller.is_administrator() || object.owner.is_some() || others() {
        return Ok(());
    }
    let text = "nobody else holds `all` on it, so that only an administrator may take it back";
    Err(Error::conflict("last_all", text))
}
