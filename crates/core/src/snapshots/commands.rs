//! What callers may ask about snapshots.

use super::rules::{MOST, may_revert, may_take};
use super::{Remove, Revert, Snapshot, SnapshotState, SnapshotVolume, Take};
use crate::access::{Act, Action, Caller, Idempotency, Standing, acts};
use crate::core::{Attempt, Core, ListAsk, Page, decided};
use crate::error::{Error, Result};
use crate::ids::SnapshotId;
use crate::machines::{Life, Machine, Observed, Power};
use crate::ports::StoreError;
use crate::query::Filter;
use crate::record::Kind;
use crate::tasks::{Accepted, Order, Task, Work, ordered};
use serde::Serialize;

/// A snapshot to be taken.
#[derive(Clone, Debug)]
pub struct SnapshotAsk {
    /// Name for people.
    pub name: String,
    /// Words of the owner.
    pub description: String,
    /// Whether memory is kept, too; the machine must be on or paused then.
    pub memory: bool,
}

fn check_words(ask: &SnapshotAsk) -> Result<()> {
    if ask.name.is_empty() || ask.name.len() > 128 || ask.name.chars().any(char::is_control) {
        let text = "a snapshot's name has 1 to 128 bytes and no control characters";
        return Err(Error::invalid("name", text));
    }
    if ask.description.len() > 1024 {
        return Err(Error::invalid("description", "a description has at most 1024 bytes"));
    }
    Ok(())
}

impl Core {
    /// Takes a snapshot of a machine by the task `snapshot.take`. Disks are kept as they are at one moment, as after
    /// a power cut; with memory the machine stands still while it is saved, and nothing is lost.
    ///
    /// # Errors
    /// Invalid; not found; busy; conflict `wrong_state`, `no_disk`, `not_qcow2`; no capacity at 64 snapshots.
    pub async fn snapshot_take(
        &self,
        caller: &Caller,
        machine: &str,
        ask: &SnapshotAsk,
        idempotency: Option<&Idempotency>,
    ) -> Result<Accepted<Snapshot>> {
        check_words(ask)?;
        decided(async || {
            if let Some(replay) = self.replayed(caller, idempotency).await? {
                return Ok(self.accepted_before(&replay).await?);
            }
            self.snapshot_take_once(caller, machine, ask, idempotency).await
        })
        .await
    }

    async fn snapshot_take_once(
        &self,
        caller: &Caller,
        machine: &str,
        ask: &SnapshotAsk,
        idempotency: Option<&Idempotency>,
    ) -> Result<Accepted<Snapshot>, Attempt> {
        let mut machine = self.machine_for(caller, acts::SNAPSHOT_TAKE, machine).await?;
        free(&machine)?;
        let volumes = self.volumes_of(&machine).await?;
        may_take(&machine, &volumes, ask.memory)?;
        let taken = self.store().count(Kind::Snapshot, Filter::eq("machine", machine.id.0)).await?;
        if taken >= MOST {
            let text = format!("machine {} has {MOST} snapshots, which is all it can have", machine.name);
            return Err(Error::no_capacity(text).hint("delete one first").into());
        }
        let mut snapshot = Snapshot {
            id: SnapshotId(self.ids().uuid()),
            number: 0,
            rev: 0,
            name: ask.name.clone(),
            description: ask.description.clone(),
            owner: machine.owner,
            machine: machine.id,
            memory: ask.memory,
            volumes: SnapshotVolume::of(&volumes),
            vcpus: machine.vcpus,
            memory_mib: machine.memory_mib,
            state: SnapshotState::Creating,
            reason: None,
            task: None,
            created_at: self.now(),
        };
        let off = machine.observed.power == Observed::Off;
        let work = Take::new(snapshot.id, !off);
        let task = self.snapshot_task(caller, &snapshot, &machine, "snapshot.take", &work)?;
        snapshot.hold(task.id)?;
        machine.hold(task.id)?;
        machine.updated_at = task.created_at;
        let mut changes = self.changes();
        changes.insert(&snapshot)?;
        changes.insert(&task)?;
        changes.update(&machine)?;
        if let Some(asked) = idempotency {
            changes.insert(&self.replay(caller, asked, snapshot.id.0, Some(task.id.0)))?;
        }
        match self.hand_over(caller, changes, snapshot, task).await {
            Err(StoreError::Taken { kind: Kind::Replay, .. }) => Err(Attempt::Stale),
            other => Ok(other?),
        }
    }

    /// Takes a machine back to a snapshot by the task `snapshot.revert`; what it is now is lost. With memory it runs
    /// on from there; without, it must be off, or `force` cuts its power, and it stays off.
    ///
    /// # Errors
    /// Not found; busy; conflict `wrong_state`, `changed_since` when disks, CPUs or memory are not as they were.
    pub async fn snapshot_revert(
        &self,
        caller: &Caller,
        key: &str,
        force: bool,
    ) -> Result<Accepted<Snapshot>> {
        decided(async || {
            let (snapshot, mut machine) =
                self.snapshot_with_machine(caller, acts::SNAPSHOT_REVERT, key).await?;
            let volumes = self.volumes_of(&machine).await?;
            may_revert(&machine, &volumes, &snapshot, force)?;
            let work = Revert::new(&snapshot, &machine, &volumes);
            let task = self.snapshot_task(caller, &snapshot, &machine, "snapshot.revert", &work)?;
            machine.wanted = if snapshot.memory { Power::On } else { Power::Off };
            self.snapshot_handed_to(caller, snapshot, machine, task).await
        })
        .await
    }

    /// Removes a snapshot by the task `snapshot.remove`; the machine stays as it is.
    ///
    /// # Errors
    /// Not found; busy.
    pub async fn snapshot_remove(&self, caller: &Caller, key: &str) -> Result<Accepted<Snapshot>> {
        decided(async || {
            let (mut snapshot, machine) =
                self.snapshot_with_machine(caller, acts::SNAPSHOT_REMOVE, key).await?;
            if machine.life != Life::Present {
                let text =
                    format!("machine {} is {}; its snapshots go with it", machine.name, machine.life.word());
                return Err(Error::conflict("wrong_state", text).into());
            }
            let work = Remove::new(snapshot.id);
            let task = self.snapshot_task(caller, &snapshot, &machine, "snapshot.remove", &work)?;
            snapshot.state = SnapshotState::Deleting;
            self.snapshot_handed_to(caller, snapshot, machine, task).await
        })
        .await
    }

    /// One snapshot, by id or number.
    ///
    /// # Errors
    /// Not found, also when it is somebody else's.
    pub async fn snapshot_get(&self, caller: &Caller, key: &str) -> Result<Snapshot> {
        let snapshot = self.snapshot_named(key).await?;
        match self.standing(caller, snapshot.object(), Action::Use).await? {
            Standing::Unseen => Err(Error::not_found("snapshot", key)),
            Standing::Sees | Standing::May => Ok(snapshot),
        }
    }

    async fn snapshot_named(&self, key: &str) -> Result<Snapshot> {
        let found = match (key.parse::<SnapshotId>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id.0).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => None,
        };
        found.ok_or_else(|| Error::not_found("snapshot", key))
    }

    /// The snapshots of the machines that the caller may see.
    pub async fn snapshot_list(&self, caller: &Caller, mut ask: ListAsk) -> Result<Page<Snapshot>> {
        ask.filter = caller.visible_through_machine().and(ask.filter);
        self.page(ask).await
    }

    /// All snapshots of a machine, oldest first.
    pub(crate) async fn snapshots_of(&self, machine: &Machine) -> Result<Vec<Snapshot>> {
        self.all(Filter::eq("machine", machine.id.0)).await
    }

    /// A snapshot and its machine, neither held by a task.
    async fn snapshot_with_machine(
        &self,
        caller: &Caller,
        act: Act,
        key: &str,
    ) -> Result<(Snapshot, Machine)> {
        let snapshot = self.snapshot_get(caller, key).await?;
        self.may(caller, act, snapshot.object(), snapshot.machine).await?;
        if let Some(holder) = snapshot.task {
            return Err(Error::busy(format_args!("snapshot {}", snapshot.name), holder));
        }
        let machine: Machine = self.get(snapshot.machine.0).await?;
        free(&machine)?;
        Ok((snapshot, machine))
    }

    fn snapshot_task<W: Work + Serialize>(
        &self,
        caller: &Caller,
        snapshot: &Snapshot,
        machine: &Machine,
        kind: &'static str,
        work: &W,
    ) -> Result<Task> {
        let order = Order {
            kind,
            owner: caller.account,
            subject: snapshot.id.0,
            subject_kind: "snapshot",
            subject_name: &snapshot.name,
            host: Some(machine.host),
        };
        ordered(self, &order, work)
    }

    async fn snapshot_handed_to(
        &self,
        caller: &Caller,
        mut snapshot: Snapshot,
        mut machine: Machine,
        task: Task,
    ) -> Result<Accepted<Snapshot>, Attempt> {
        snapshot.hold(task.id)?;
        machine.hold(task.id)?;
        machine.updated_at = task.created_at;
        let mut changes = self.changes();
        changes.update(&snapshot)?;
        changes.insert(&task)?;
        changes.update(&machine)?;
        Ok(self.hand_over(caller, changes, snapshot, task).await?)
    }
}

fn free(machine: &Machine) -> Result<()> {
    match machine.task {
        Some(holder) => Err(Error::busy(format_args!("machine {}", machine.name), holder)),
        None => Ok(()),
    }
}
