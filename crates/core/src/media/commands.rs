//! What callers may ask about media.

use super::tasks::{Delete, Make};
use super::{Medium, MediumState};
use crate::access::{Caller, Idempotency, Object, acts};
use crate::core::{Attempt, Core, ListAsk, Page, decided};
use crate::error::{Error, Result};
use crate::ids::MediumId;
use crate::machines::{Life, Machine, is_api_version};
use crate::ports::{ImageSource, StoreError};
use crate::query::{Filter, Select};
use crate::record::Kind;
use crate::tasks::{Accepted, Order, Task, Work, ordered};
use crate::templates::check_outside;
use crate::volumes::StoragePlace;

/// A medium to be made.
#[derive(Clone, Debug)]
pub struct MediumAsk {
    /// Its name, which no other medium has.
    pub name: String,
    /// Where its file comes from: a file of the host or an address.
    pub source: ImageSource,
    /// Words of the owner.
    pub description: String,
}

impl Core {
    /// Makes a medium by the task `medium.make`. Administrators only: it reads files of the host.
    ///
    /// # Errors
    /// Denied; invalid, for names and sources; conflict `name_taken`.
    pub async fn medium_make(
        &self,
        caller: &Caller,
        ask: &MediumAsk,
        idempotency: Option<&Idempotency>,
    ) -> Result<Accepted<Medium>> {
        self.administers(caller, "medium.make", "make media").await?;
        check_name(&ask.name)?;
        if ask.description.len() > 1024 {
            return Err(Error::invalid("description", "a description has at most 1024 bytes"));
        }
        check_outside(&ask.source)?;
        decided(async || {
            if let Some(replay) = self.replayed(caller, idempotency).await? {
                return Ok(self.accepted_before(&replay).await?);
            }
            self.medium_make_once(caller, ask, idempotency).await
        })
        .await
    }

    async fn medium_make_once(
        &self,
        caller: &Caller,
        ask: &MediumAsk,
        idempotency: Option<&Idempotency>,
    ) -> Result<Accepted<Medium>, Attempt> {
        let storage: StoragePlace = self.first().await?;
        let mut medium = Medium {
            id: MediumId(self.ids().uuid()),
            number: 0,
            rev: 0,
            name: ask.name.clone(),
            description: ask.description.clone(),
            owner: caller.account,
            storage: storage.id,
            source: ask.source.clone(),
            bytes: None,
            digest: None,
            state: MediumState::Creating,
            reason: None,
            task: None,
            created_at: self.now(),
        };
        let task = self.medium_task(caller, &medium, "medium.make", &Make::new(medium.id)).await?;
        medium.task = Some(task.id);
        let mut changes = self.changes();
        changes.insert(&medium)?;
        changes.insert(&task)?;
        self.owner_stays(caller.account, &mut changes).await?;
        if let Some(asked) = idempotency {
            changes.insert(&self.replay(caller, asked, medium.id.0, Some(task.id.0)))?;
        }
        match self.hand_over(caller, changes, medium, task).await {
            Err(StoreError::Taken { kind: Kind::Medium, .. }) => {
                let text = format!("there is a medium `{}` already", ask.name);
                Err(Error::conflict("name_taken", text).into())
            }
            Err(StoreError::Taken { kind: Kind::Replay, .. }) => Err(Attempt::Stale),
            other => Ok(other?),
        }
    }

    async fn medium_task<W: Work + serde::Serialize>(
        &self,
        caller: &Caller,
        medium: &Medium,
        kind: &'static str,
        work: &W,
    ) -> Result<Task> {
        let place: StoragePlace = self.get(medium.storage.0).await?;
        let order = Order {
            kind,
            owner: caller.account,
            subject: medium.id.0,
            subject_kind: "medium",
            subject_name: &medium.name,
            host: Some(place.host),
        };
        ordered(self, &order, work)
    }

    /// A medium by id, number or name. Everybody may use all of them.
    ///
    /// # Errors
    /// Not found.
    pub async fn medium_get(&self, _caller: &Caller, key: &str) -> Result<Medium> {
        self.medium_named(key).await
    }

    pub(crate) async fn medium_named(&self, key: &str) -> Result<Medium> {
        let found = match (key.parse::<MediumId>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id.0).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => self.select(Select::new(Filter::eq("name", key), 1)).await?.pop(),
        };
        found.ok_or_else(|| {
            Error::not_found("medium", key)
                .hint("`hostler medium list` shows what there is; `hostler medium import FILE` makes one")
        })
    }

    /// All media; everybody may use them.
    pub async fn medium_list(&self, _caller: &Caller, ask: ListAsk) -> Result<Page<Medium>> {
        self.page(ask).await
    }

    /// Removes a medium by the task `medium.delete`.
    ///
    /// # Errors
    /// Denied; not found; busy; conflict `in_use` while a machine has it in its drive.
    pub async fn medium_delete(&self, caller: &Caller, key: &str) -> Result<Accepted<Medium>> {
        let medium = self.medium_named(key).await?;
        self.may(caller, acts::MEDIUM_DELETE, Object::of(&medium), key).await?;
        decided(async || {
            let mut medium = self.medium_named(key).await?;
            if let Some(holder) = medium.task {
                return Err(Error::busy(format_args!("medium {}", medium.name), holder).into());
            }
            self.medium_unused(&medium).await?;
            let task = self.medium_task(caller, &medium, "medium.delete", &Delete::new(&medium)).await?;
            medium.task = Some(task.id);
            medium.state = MediumState::Deleting;
            let mut changes = self.changes();
            changes.update(&medium)?;
            changes.insert(&task)?;
            Ok(self.hand_over(caller, changes, medium, task).await?)
        })
        .await
    }

    /// No machine has it in its drive.
    pub(super) async fn medium_unused(&self, medium: &Medium) -> Result<()> {
        let machines: Vec<Machine> = self.all(Filter::ne("life", Life::Gone.word())).await?;
        let users: Vec<&str> = machines
            .iter()
            .filter(|machine| machine.medium == Some(medium.id))
            .map(|machine| machine.name.as_str())
            .collect();
        let Some(first) = users.first() else { return Ok(()) };
        let others = match users.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let text = format!("medium {} is in the drive of {first}{others}", medium.name);
        Err(Error::conflict("in_use", text).hint("eject it first"))
    }
}

fn check_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good = (1..=100).contains(&name.len())
        && name.chars().all(allowed)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !name.bytes().all(|c| c.is_ascii_digit())
        && name.parse::<MediumId>().is_err()
        && !is_api_version(name);
    if good {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    let text =
        format!("`{shown}` is not a medium's name: 1 to 100 of a-z, A-Z, 0-9, -, _ and ., and not a number");
    Err(Error::invalid("name", text))
}
