//! What callers may ask about tasks.

use crate::access::Caller;
use crate::core::{Core, ListAsk, Page};
use crate::error::{Error, Result};
use crate::events::{Change, NewEvent};
use crate::ids::TaskId;
use crate::ports::Commit;
use crate::tasks::{Task, work};

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
        caller.may_use(task.owner, "task", key)?;
        Ok(self.shown_task(task))
    }

    /// The caller's tasks; an administrator sees everybody's.
    pub async fn task_list(&self, caller: &Caller, mut ask: ListAsk) -> Result<Page<Task>> {
        ask.filter = caller.visible().and(ask.filter);
        let mut page = self.page(ask).await?;
        page.items = page.items.into_iter().map(|task| self.shown_task(task)).collect();
        Ok(page)
    }

    /// Asks that a task stops where it is and undoes what it did. It does so between two steps, if it still can.
    ///
    /// # Errors
    /// Conflict `ended`, when it has ended already; `too_late`, when what it does cannot be taken back any more.
    pub async fn task_cancel(&self, caller: &Caller, key: &str) -> Result<Task> {
        let task = self.task_get(caller, key).await?;
        if !task.state.is_open() {
            let text = format!("task {} has ended already: it is {}", task.id, task.state.word());
            return Err(Error::conflict("ended", text));
        }
        if !work::decode(&task)?.cancellable() {
            let text = format!("task {} is past the point where it can be cancelled: {}", task.id, task.step);
            return Err(Error::conflict("too_late", text).hint("let it end"));
        }
        let event = NewEvent::about(&task, Change::CancelRequested, self.now());
        let commit =
            Commit { cancel: Some(task.id), events: event.into_iter().collect(), ..Commit::default() };
        self.store().commit(commit).await?;
        Ok(task)
    }
}
