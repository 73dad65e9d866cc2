//! What callers may ask about tasks.

use crate::access::{Action, Caller, Object, Standing};
use crate::core::{Core, ListAsk, Page};
use crate::error::{Error, Result};
use crate::events::{Change, NewEvent};
use crate::ids::TaskId;
use crate::machines::Machine;
use crate::media::Medium;
use crate::query::Filter;
use crate::record::Kind;
use crate::snapshots::Snapshot;
use crate::tasks::{Task, work};
use crate::templates::Template;
use crate::volumes::Volume;

impl Core {
    /// One task, by its id or number.
    ///
    /// # Errors
    /// Not found, also when it is somebody else's.
    pub async fn task_get(&self, caller: &Caller, key: &str) -> Result<Task> {
        let missing = || Error::not_found("task", key);
        let found = match (key.parse::<TaskId>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id.0).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => None,
        };
        let task: Task = found.ok_or_else(missing)?;
        self.sees_task(caller, &task, key).await?;
        Ok(self.shown_task(task))
    }

    /// The caller's tasks, and those of the objects that it sees.
    pub async fn task_list(&self, caller: &Caller, mut ask: ListAsk) -> Result<Page<Task>> {
        ask.filter = caller.visible_tasks().and(ask.filter);
        let mut page = self.page(ask).await?;
        page.items = page.items.into_iter().map(|task| self.shown_task(task)).collect();
        Ok(page)
    }

    async fn sees_task(&self, caller: &Caller, task: &Task, key: &str) -> Result<()> {
        if task.owner == caller.account || caller.sees_everything() {
            return Ok(());
        }
        let seen = Filter::eq("id", task.id.0).and(caller.visible_tasks());
        if self.store().count(Kind::Task, seen).await? == 0 {
            return Err(Error::not_found("task", key));
        }
        Ok(())
    }

    /// Whoever ordered a task may cancel it, and so may whoever may do everything with what it is about.
    async fn may_cancel(&self, caller: &Caller, task: &Task, key: &str) -> Result<()> {
        let subject = self.object_of(task).await?;
        let object = Object { owner: Some(task.owner), ..subject };
        if self.standing(caller, object, Action::All).await? == Standing::May {
            return Ok(());
        }
        if self.standing(caller, subject, Action::All).await? == Standing::May {
            return Ok(());
        }
        let error = Error::denied(format!("you may see task {key}, but not cancel it"));
        Err(self.denied(caller, "task.cancel", Some((Kind::Task, task.id.0)), error).await)
    }

    /// What rights on a task go by: what it is about, for a snapshot its machine.
    async fn object_of(&self, task: &Task) -> Result<Object> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == task.subject_kind);
        let found = match kind {
            Some(Kind::Machine) => self.find::<Machine>(task.subject).await?.as_ref().map(Object::of),
            Some(Kind::Volume) => self.find::<Volume>(task.subject).await?.as_ref().map(Object::of),
            Some(Kind::Template) => self.find::<Template>(task.subject).await?.as_ref().map(Object::of),
            Some(Kind::Medium) => self.find::<Medium>(task.subject).await?.as_ref().map(Object::of),
            Some(Kind::Snapshot) => self.find::<Snapshot>(task.subject).await?.as_ref().map(Snapshot::object),
            _ => None,
        };
        Ok(found.unwrap_or(Object { kind: Kind::Task, id: task.subject, owner: Some(task.owner) }))
    }

    /// Asks that a task stops where it is and undoes what it did. It does so between two steps, if it still can.
    ///
    /// # Errors
    /// Denied; conflict `ended`, when it has ended already; `too_late`, when what it does cannot be taken back any more.
    pub async fn task_cancel(&self, caller: &Caller, key: &str) -> Result<Task> {
        let task = self.task_get(caller, key).await?;
        self.may_cancel(caller, &task, key).await?;
        if !task.state.is_open() {
            let text = format!("task {} has ended already: it is {}", task.id, task.state.word());
            return Err(Error::conflict("ended", text));
        }
        if !work::decode(&task)?.cancellable() {
            let text = format!("task {} is past the point where it can be cancelled: {}", task.id, task.step);
            return Err(Error::conflict("too_late", text).hint("let it end"));
        }
        let event = NewEvent::about(&task, Change::CancelRequested, self.now());
        let mut changes = self.changes();
        let object = (task.subject_kind.as_str(), task.subject, task.subject_name.as_str());
        self.deed_about(&mut changes, caller, "task.cancel", object)?;
        changes.commit.cancel = Some(task.id);
        changes.commit.events.extend(event);
        self.commit(changes).await?;
        Ok(task)
    }
}
