//! Runs one step of a task and decides what becomes of the task. Apart from the worker so that tests can run each
//! step twice, crash after any, and fail any.

use super::work::{self, Outcome, StepContext, StepError};
use crate::core::{Changes, Core};
use crate::error::Result;
use crate::ports::{Committed, Fence, Progress, StoreError};
use crate::tasks::{Task, TaskState};
use std::time::Duration;

/// Tries of a step before the task is undone; of an undoing before it is given up.
const TRIES: u32 = 6;
const UNDO_TRIES: u32 = 12;
/// Pause before a step that met a store which did not answer.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// A step that ran and is not committed yet.
#[derive(Debug)]
pub struct Executed {
    /// The task as it shall be.
    pub task: Task,
    /// Whether its commit gave the lease back.
    pub released: bool,
    changes: Changes,
}

impl Executed {
    fn new(task: Task, changes: Changes) -> Self {
        Self { task, released: false, changes }
    }
}

/// Runs steps.
#[derive(Clone, Debug)]
pub struct Runner {
    core: Core,
}

impl Runner {
    /// A runner for tasks of this core.
    pub fn new(core: Core) -> Self {
        Self { core }
    }

    /// Runs the task's current step against the world. Nothing is committed: calling it twice is what a crash in
    /// between looks like.
    ///
    /// # Errors
    /// Internal, when the row cannot be understood by this version of hostler.
    pub async fn execute(&self, task: &Task, cancel: bool, progress: &Progress) -> Result<Executed> {
        let mut task = task.clone();
        let mut work = work::decode(&task)?;
        let now = self.core.now();
        task.started_at.get_or_insert(now);
        if cancel && task.state != TaskState::Undoing && work.cancellable() {
            self.turn_back(&mut task, "cancelled", "it was cancelled");
            return Ok(Executed::new(task, self.core.changes()));
        }
        if task.state == TaskState::Undoing {
            return self.undo(task, work, progress).await;
        }
        task.state = TaskState::Running;
        let before = task.clone();
        let context = StepContext { core: &self.core, task: &before, progress };
        match work.run(&context).await {
            Ok(step) => {
                task.attempt = 0;
                task.progress = step.progress.clamp(task.progress, 1.0);
                task.payload = work.payload()?;
                task.step = work.step().to_owned();
                task.due = self.core.now();
                match step.outcome {
                    Outcome::Next => task.message.clear(),
                    Outcome::Wait { until, why } => {
                        (task.due, task.message) = (until, why);
                        if work.is_waiting() {
                            (task.state, task.started_at) = (TaskState::Queued, None);
                        }
                    }
                    Outcome::Done => self.end(&mut task, TaskState::Done),
                }
                Ok(Executed::new(task, step.changes))
            }
            Err(error) => Ok(self.failed(task, &error)),
        }
    }

    async fn undo(
        &self,
        mut task: Task,
        mut work: Box<dyn work::Work>,
        progress: &Progress,
    ) -> Result<Executed> {
        let before = task.clone();
        let context = StepContext { core: &self.core, task: &before, progress };
        let why = task.error.clone().unwrap_or_else(|| "it failed".into());
        let undone = work.undo(&context, &why).await;
        let ended = if task.error_code.as_deref() == Some("cancelled") {
            TaskState::Cancelled
        } else {
            TaskState::Failed
        };
        match undone {
            Ok(changes) => {
                self.end(&mut task, ended);
                Ok(Executed::new(task, changes))
            }
            Err(error)
                if task.attempt + 1 >= UNDO_TRIES
                    && !matches!(error, StepError::Store(_) | StepError::Stale) =>
            {
                let left = format!("{why}; what was done could not be undone: {}", words(&error));
                match work.abandon(&context, &left).await {
                    Ok(changes) => {
                        task.error = Some(left);
                        self.end(&mut task, TaskState::Failed);
                        Ok(Executed::new(task, changes))
                    }
                    Err(error) => Ok(self.again(task, &error)),
                }
            }
            Err(error) => Ok(self.again(task, &error)),
        }
    }

    /// Decides between another try and turning back.
    fn failed(&self, mut task: Task, error: &StepError) -> Executed {
        let retry = match error {
            StepError::Stale | StepError::Store(_) => true,
            StepError::Driver(error) => error.retryable && task.attempt + 1 < TRIES,
            StepError::Refused(_) => false,
        };
        if retry {
            return self.again(task, error);
        }
        let code = match error {
            StepError::Refused(error) => error.code,
            _ => "driver_failed",
        };
        self.turn_back(&mut task, code, &words(error));
        Executed::new(task, self.core.changes())
    }

    fn again(&self, mut task: Task, error: &StepError) -> Executed {
        let wait = match error {
            StepError::Stale => Duration::ZERO,
            // No failure of the step's: when the store is back, so are we.
            StepError::Store(StoreError::Unavailable(_) | StoreError::Full) => STORE_PAUSE,
            StepError::Driver(_) | StepError::Refused(_) | StepError::Store(_) => {
                task.attempt += 1;
                pause(task.attempt)
            }
        };
        task.due = self.core.now().plus(wait);
        if !matches!(error, StepError::Stale) {
            task.message = format!("{}; trying again", words(error));
        }
        Executed::new(task, self.core.changes())
    }

    fn turn_back(&self, task: &mut Task, code: &str, why: &str) {
        task.state = TaskState::Undoing;
        task.error = Some(why.to_owned());
        task.error_code = Some(code.to_owned());
        task.message = "undoing what was done".into();
        task.attempt = 0;
        task.due = self.core.now();
    }

    fn end(&self, task: &mut Task, state: TaskState) {
        task.state = state;
        task.ended_at = Some(self.core.now());
        task.message.clear();
        if state == TaskState::Done {
            task.progress = 1.0;
        }
    }

    /// Commits an executed step under its lease; the lease is given back when the task waits or has ended.
    ///
    /// # Errors
    /// As [`Store::commit`](crate::ports::Store::commit). After `Stale` the step must be executed again.
    pub async fn commit(&self, executed: &mut Executed, epoch: i64) -> Result<Committed, StoreError> {
        let mut changes = executed.changes.clone();
        let task = &mut executed.task;
        changes.update(task).map_err(|error| StoreError::Failed(error.chain()))?;
        let release = !task.state.is_open() || task.due > self.core.now();
        changes.commit.fence = Some(Fence { task: task.id, epoch, release });
        let written = if task.state.is_open() { Vec::new() } else { changes.commit.alterations.clone() };
        let committed = self.core.commit(changes).await?;
        // Decided before the commit: by its end, the time to wait may have passed.
        executed.released = release;
        if let Some(stamp) = committed.stamps.last() {
            (task.number, task.rev) = (stamp.number, stamp.rev);
        }
        if !task.state.is_open() {
            self.core.turns_come(task, &written).await;
        }
        Ok(committed)
    }
}

/// Pause before try number `attempt` (from 1): 0.2 s, doubled each time, at most a minute.
fn pause(attempt: u32) -> Duration {
    Duration::from_millis(200 << attempt.saturating_sub(1).min(8)).min(Duration::from_secs(60))
}

fn words(error: &StepError) -> String {
    match error {
        StepError::Driver(error) => error.detail.clone(),
        StepError::Refused(error) => error.text.clone(),
        StepError::Stale => "a record changed meanwhile".into(),
        StepError::Store(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_at_a_minute() {
        let pauses: Vec<u128> = [1, 2, 3, 9, 30].map(|attempt| pause(attempt).as_millis()).to_vec();
        assert_eq!(pauses, [200, 400, 800, 51_200, 51_200]);
    }
}
