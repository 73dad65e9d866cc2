//! Commands that change a machine's power or remove it, and how they wait for their turn.
//!
//! A task holds a machine until it ends. Who asks for something meanwhile is refused, or has chosen to wait
//! ([`Busy::Queue`]): then the command is a task of its own at once, `queued`, of which nothing is decided yet. Those
//! that wait go in the order in which they were asked for. When one's turn comes it is decided as if it were asked for
//! then: it takes hold of the machine, or ends at once when there is nothing to do, or fails with what refuses it.
//!
//! Whoever ends the task that held the machine wakes the next one, after its commit; a process that dies in between
//! costs a few seconds, because those that wait look for themselves now and then.

use super::delete::Delete;
use super::power::{PowerWork, Ruling, Verb, ruling};
use super::{Life, Machine, Power};
use crate::access::{Caller, acts};
use crate::core::{Attempt, Changes, Core, decided};
use crate::error::{Error, Result};
use crate::ids::MachineId;
use crate::ports::{Alteration, StoreError};
use crate::query::{Filter, Select, Sort};
use crate::record::{Kind, Record};
use crate::tasks::{Accepted, Order, Outcome, Step, StepContext, StepError, Task, TaskState, Work, ordered};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What becomes of a command on a machine that another task holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Busy {
    /// It is refused.
    #[default]
    Refuse,
    /// It waits for its turn. Then there is always a task, one that is done already when there was nothing to do.
    Queue,
}

/// Without being woken, what waits looks for itself this often.
const LOOK: Duration = Duration::from_secs(5);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "turn", rename_all = "snake_case")]
pub(crate) enum Errand {
    /// The machine's power changes.
    Power { verb: Verb, force: bool },
    /// It is removed.
    Delete,
}

/// What an errand means for a machine as it is.
enum Decision {
    Nothing,
    Do(Box<dyn Work>),
}

impl Errand {
    fn kind(self) -> &'static str {
        match self {
            Self::Power { verb, .. } => verb.task_kind(),
            Self::Delete => "machine.delete",
        }
    }

    /// Decides, and makes the record say what is wanted now.
    fn decide(self, machine: &mut Machine) -> Result<Decision> {
        match self {
            Self::Power { verb, force } => {
                match ruling(machine.life, machine.wanted, machine.observed.power, verb)? {
                    Ruling::AlreadySo => Ok(Decision::Nothing),
                    Ruling::Do(wanted) => {
                        machine.wanted = wanted;
                        Ok(Decision::Do(Box::new(PowerWork::new(machine, verb, force))))
                    }
                }
            }
            Self::Delete if machine.life == Life::Gone => Ok(Decision::Nothing),
            Self::Delete => {
                machine.life = Life::Deleting;
                machine.wanted = Power::Off;
                Ok(Decision::Do(Box::new(Delete::new(machine.id))))
            }
        }
    }
}

/// An errand that waits for its turn, and then is what it waited for.
#[derive(Serialize, Deserialize)]
pub(crate) struct Turn {
    machine: MachineId,
    #[serde(flatten)]
    errand: Errand,
    #[serde(skip)]
    begun: Option<Box<dyn Work>>,
}

impl Turn {
    /// Whether a task's payload is that of one that waits.
    pub(crate) fn is_in(task: &Task) -> bool {
        task.payload.get("turn").is_some()
    }
}

#[async_trait::async_trait]
impl Work for Turn {
    fn step(&self) -> &'static str {
        self.begun.as_ref().map_or("turn", |work| work.step())
    }

    fn payload(&self) -> Result<serde_json::Value> {
        match &self.begun {
            Some(work) => work.payload(),
            None => serde_json::to_value(self).map_err(Error::internal),
        }
    }

    fn is_waiting(&self) -> bool {
        self.begun.is_none()
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let mut machine: Machine = core.get(self.machine.0).await?;
        let mut changes = core.changes();
        let before =
            core.first_waiting(self.machine).await?.filter(|first| first.number < context.task.number);
        let holder = machine.task.filter(|holder| *holder != context.task.id);
        if let Some(task) = holder.or(before.map(|first| first.id)) {
            let outcome =
                Outcome::Wait { until: changes.now().plus(LOOK), why: format!("waiting for task {task}") };
            return Ok(Step { outcome, changes, progress: 0.0 });
        }
        let outcome = match self.errand.decide(&mut machine)? {
            Decision::Nothing => Outcome::Done,
            Decision::Do(work) => {
                machine.hold(context.task.id)?;
                machine.updated_at = changes.now();
                changes.update(&machine)?;
                self.begun = Some(work);
                Outcome::Next
            }
        };
        Ok(Step { outcome, changes, progress: 0.0 })
    }

    /// Nothing was done.
    async fn undo(&mut self, context: &StepContext<'_>, _why: &str) -> Result<Changes, StepError> {
        Ok(context.core.changes())
    }

    async fn abandon(&self, context: &StepContext<'_>, _why: &str) -> Result<Changes, StepError> {
        Ok(context.core.changes())
    }
}

impl Core {
    /// Changes a machine's power by a task. `force` lets a stop or restart cut the power instead of asking the guest.
    ///
    /// # Errors
    /// Not found; busy; conflict `wrong_state`.
    pub async fn machine_power(
        &self,
        caller: &Caller,
        key: &str,
        verb: Verb,
        force: bool,
    ) -> Result<Accepted<Machine>> {
        self.machine_power_when(caller, key, verb, force, Busy::Refuse).await
    }

    /// The same, with a say in what becomes of it while another task holds the machine.
    ///
    /// # Errors
    /// As [`machine_power`](Self::machine_power).
    pub async fn machine_power_when(
        &self,
        caller: &Caller,
        key: &str,
        verb: Verb,
        force: bool,
        busy: Busy,
    ) -> Result<Accepted<Machine>> {
        decided(async || {
            let machine = self.machine_for(caller, verb.act(), key).await?;
            self.errand(caller, machine, Errand::Power { verb, force }, busy).await
        })
        .await
    }

    /// Removes a machine and its own volumes by the task `machine.delete`.
    ///
    /// # Errors
    /// Not found; busy while another task holds it.
    pub async fn machine_delete(&self, caller: &Caller, key: &str) -> Result<Accepted<Machine>> {
        self.machine_delete_when(caller, key, Busy::Refuse).await
    }

    /// The same, with a say in what becomes of it while another task holds the machine.
    ///
    /// # Errors
    /// As [`machine_delete`](Self::machine_delete).
    pub async fn machine_delete_when(
        &self,
        caller: &Caller,
        key: &str,
        busy: Busy,
    ) -> Result<Accepted<Machine>> {
        decided(async || {
            let machine = self.machine_for(caller, acts::MACHINE_DELETE, key).await?;
            self.errand(caller, machine, Errand::Delete, busy).await
        })
        .await
    }

    async fn errand(
        &self,
        caller: &Caller,
        mut machine: Machine,
        errand: Errand,
        busy: Busy,
    ) -> Result<Accepted<Machine>, Attempt> {
        if machine.life == Life::Gone && errand == Errand::Delete && busy == Busy::Refuse {
            return Ok(Accepted { record: machine, task: None });
        }
        let waits = match (machine.task, busy) {
            (Some(holder), Busy::Refuse) => {
                return Err(Error::busy(format_args!("machine {}", machine.name), holder).into());
            }
            (None, Busy::Refuse) => false,
            (Some(_), Busy::Queue) => true,
            (None, Busy::Queue) => self.first_waiting(machine.id).await?.is_some(),
        };
        if waits {
            return self.errand_waits(caller, machine, errand).await;
        }
        let as_read = machine.clone();
        match errand.decide(&mut machine)? {
            Decision::Do(work) => {
                let task = self.errand_task(caller, &machine, errand, work.as_ref())?;
                self.machine_handed_to(caller, machine, task).await
            }
            Decision::Nothing if busy == Busy::Refuse => Ok(Accepted { record: as_read, task: None }),
            Decision::Nothing => {
                let work = Turn { machine: machine.id, errand, begun: None };
                let mut task = self.errand_task(caller, &machine, errand, &work)?;
                task.state = TaskState::Done;
                task.progress = 1.0;
                (task.started_at, task.ended_at) = (Some(task.created_at), Some(task.created_at));
                self.errand_written(caller, as_read, task).await
            }
        }
    }

    /// Commits a task that waits. The machine is as it was read: whoever ends the task that holds it finds this one.
    async fn errand_waits(
        &self,
        caller: &Caller,
        machine: Machine,
        errand: Errand,
    ) -> Result<Accepted<Machine>, Attempt> {
        let work = Turn { machine: machine.id, errand, begun: None };
        let mut task = self.errand_task(caller, &machine, errand, &work)?;
        if let Some(holder) = machine.task {
            task.message = format!("waiting for task {holder}");
            task.due = task.due.plus(LOOK);
        }
        self.errand_written(caller, machine, task).await
    }

    /// Commits a task that does not hold the machine.
    async fn errand_written(
        &self,
        caller: &Caller,
        machine: Machine,
        mut task: Task,
    ) -> Result<Accepted<Machine>, Attempt> {
        let mut changes = self.changes();
        changes.unchanged(&machine);
        changes.insert(&task)?;
        let object = (Kind::Machine.word(), machine.id.0, machine.name.as_str());
        self.deed_about(&mut changes, caller, &task.kind, object)?;
        let stamp = self.commit(changes).await?.stamps[0];
        task.stamp(stamp.number, stamp.rev);
        Ok(Accepted { record: machine, task: Some(task) })
    }

    fn errand_task(
        &self,
        caller: &Caller,
        machine: &Machine,
        errand: Errand,
        work: &dyn Work,
    ) -> Result<Task> {
        let order = Order {
            kind: errand.kind(),
            owner: caller.account,
            subject: machine.id.0,
            subject_kind: Kind::Machine.word(),
            subject_name: machine.name.as_str(),
            host: Some(machine.host),
        };
        ordered(self, &order, work)
    }

    async fn machine_handed_to(
        &self,
        caller: &Caller,
        mut machine: Machine,
        task: Task,
    ) -> Result<Accepted<Machine>, Attempt> {
        machine.hold(task.id)?;
        machine.updated_at = task.created_at;
        let mut changes = self.changes();
        changes.update(&machine)?;
        changes.insert(&task)?;
        Ok(self.hand_over(caller, changes, machine, task).await?)
    }

    /// The first of the tasks that wait for their turn at a machine.
    async fn first_waiting(&self, machine: MachineId) -> Result<Option<Task>, StoreError> {
        let queued = Filter::eq("subject", machine.0).and(Filter::eq("state", TaskState::Queued.word()));
        let select = Select::new(queued, 100).ordered(Sort::ascending("number"));
        let documents = self.store().list(Kind::Task, select).await?;
        let tasks = documents.iter().filter_map(|document| Task::from_document(document).ok());
        Ok(tasks.into_iter().find(Turn::is_in))
    }

    /// Tells whoever waits for the machines that this commit of an ended task has let go of, that their turn has come.
    /// Best effort: what is missed here finds out by itself.
    pub(crate) async fn turns_come(&self, ended: &Task, written: &[Alteration]) {
        let freed = written.iter().filter_map(|alteration| match alteration {
            Alteration::Update(document) if document.kind == Kind::Machine => Some(MachineId(document.id)),
            _ => None,
        });
        let own = (ended.subject_kind == Kind::Machine.word()).then_some(MachineId(ended.subject));
        let mut machines: Vec<MachineId> = freed.chain(own).collect();
        machines.sort_unstable();
        machines.dedup();
        for machine in machines {
            if let Err(error) = self.turn_comes(machine).await {
                tracing::debug!(machine.id = %machine, %error, "whoever waits for it finds out later");
            }
        }
    }

    async fn turn_comes(&self, machine: MachineId) -> Result<(), StoreError> {
        let Some(mut task) = self.first_waiting(machine).await? else { return Ok(()) };
        let mut changes = self.changes();
        task.due = changes.now();
        changes.update(&task).map_err(|error| StoreError::Failed(error.chain()))?;
        self.commit(changes).await.map(drop)
    }
}
