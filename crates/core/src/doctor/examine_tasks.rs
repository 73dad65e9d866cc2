//! Tasks: those that do not get on, and those that never can.

use super::Finding;
use super::books::{Books, exists};
use super::repair::Repair;
use crate::core::Core;
use crate::error::Result;
use crate::ids::TaskId;
use crate::record::{Kind, Record};
use crate::tasks::{Task, work};
use uuid::Uuid;

impl Core {
    pub(super) async fn examine_tasks(&self, books: &Books, findings: &mut Vec<Finding>) -> Result<()> {
        for task in &books.tasks {
            let what = format!("task {} ({} of {})", task.id, task.kind, task.subject_name);
            if let Err(error) = work::decode(task) {
                let text = format!("{what} cannot be read, so nothing carries it out");
                let hint = "a newer hostler may understand it; until then what it holds stays as it is";
                findings.push(Finding::problem("task", text).because(error.chain()).hint(hint));
            } else if self.is_about_nothing(task).await? {
                let text = format!("{what} works on something that is no more");
                findings.push(Finding::problem("task", text).repair(Repair::EndTask { task: task.id }));
            } else if let Some(since) = task.host.and_then(|host| self.absent_since(host)) {
                let text = format!("{what} waits for its host, which has not been heard of since {since}");
                findings.push(Finding::warning("task", text).hint("start hostler on that host"));
            } else if task.attempt > 2 {
                let hint = format!("`hostler task show {}`; it goes on by itself, or cancel it", task.id);
                let text = format!("{what} has failed {} times", task.attempt);
                findings.push(Finding::warning("task", text).because(task.message.clone()).hint(hint));
            }
        }
        findings.push(Finding::ok("task", format!("{} tasks are open", books.tasks.len())));
        Ok(())
    }

    /// Whether an open task's subject has vanished.
    pub(super) async fn is_about_nothing(&self, task: &Task) -> Result<bool> {
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.word() == task.subject_kind) else {
            return Ok(false);
        };
        if exists(self, kind, task.subject).await? {
            return Ok(false);
        }
        // It may have ended together with its subject since it was read.
        Ok(self.find::<Task>(task.id.0).await?.is_some_and(|task| task.state.is_open()))
    }

    /// Whether a record is held, still and certainly, by a task that has ended or is not there.
    pub(super) async fn is_held_by_nobody(&self, kind: Kind, id: Uuid, holder: TaskId) -> Result<bool> {
        let ended = match self.store().get(Kind::Task, holder.0).await? {
            None => true,
            // One that cannot be read is reported for itself.
            Some(document) => Task::from_document(&document).is_ok_and(|task| !task.state.is_open()),
        };
        if !ended {
            return Ok(false);
        }
        let still = crate::query::Filter::eq("id", id).and(crate::query::Filter::eq("task", holder.0));
        Ok(self.store().count(kind, still).await? > 0)
    }
}
