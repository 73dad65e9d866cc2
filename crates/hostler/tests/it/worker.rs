//! The worker on a store that is slow or away: nothing is done without a lease, nothing stands still for good.

use crate::server::{DEADLINE, until};
use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use hostler_core::Core;
use hostler_core::core::{LocalHost, Parts, Settings};
use hostler_core::events::Event;
use hostler_core::ids::{HostId, TaskId};
use hostler_core::ports::{
    Claim, Claimed, Commit, Committed, DriverErrorKind, Store, StoreError, StoreFacts,
};
use hostler_core::query::{Filter, Select};
use hostler_core::record::{Document, Kind, Value};
use hostler_core::tasks::{Task, TaskState, Worker};
use hostler_core::time::Timestamp;
use hostler_sim::memory::{SeededIds, TestClock};
use hostler_sim::{Verb, World};
use hostler_store::SqliteStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What is the matter with the store.
#[derive(Debug)]
enum Trouble {
    /// The first read of a machine takes until progress is written, and that until the reader has gone on.
    Entangled { writing: Notify, gone_on: Notify, reads: AtomicU32 },
    /// The answer to each commit that gives a lease back takes longer than its task wants to wait.
    Late(TestClock),
    /// So many reads of machines are not answered.
    Away(AtomicU32),
}

/// The store of a world, in trouble.
struct Troubled {
    inner: Arc<SqliteStore>,
    trouble: Trouble,
    fenced: AtomicU32,
}

impl Troubled {
    fn new(world: &World, trouble: Trouble) -> Arc<Self> {
        Arc::new(Self { inner: world.store.clone(), trouble, fenced: AtomicU32::new(0) })
    }
}

#[async_trait]
impl Store for Troubled {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let fence = commit.fence;
        if let (Trouble::Entangled { writing, gone_on, .. }, Some(_), 1) =
            (&self.trouble, fence, commit.alterations.len())
        {
            writing.notify_one();
            gone_on.notified().await;
        }
        let done = self.inner.commit(commit).await;
        if let Trouble::Late(clock) = &self.trouble
            && fence.is_some_and(|fence| fence.release)
        {
            clock.advance(Duration::from_secs(1));
        }
        self.fenced.fetch_add(u32::from(matches!(done, Err(StoreError::Fenced(_)))), Ordering::Relaxed);
        done
    }

    async fn get(&self, kind: Kind, id: Uuid) -> Result<Option<Document>, StoreError> {
        match &self.trouble {
            Trouble::Entangled { writing, gone_on, reads }
                if kind == Kind::Machine && reads.fetch_add(1, Ordering::Relaxed) == 0 =>
            {
                writing.notified().await;
                // Another look at the future, as an answer from a server would need.
                tokio::task::yield_now().await;
                gone_on.notify_one();
            }
            Trouble::Away(left)
                if kind == Kind::Machine
                    && left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                        .is_ok() =>
            {
                return Err(StoreError::Unavailable("it is away".into()));
            }
            _ => {}
        }
        self.inner.get(kind, id).await
    }

    async fn find(
        &self,
        kind: Kind,
        column: &'static str,
        value: Value,
    ) -> Result<Option<Document>, StoreError> {
        self.inner.find(kind, column, value).await
    }

    async fn list(&self, kind: Kind, select: Select) -> Result<Vec<Document>, StoreError> {
        self.inner.list(kind, select).await
    }

    async fn count(&self, kind: Kind, filter: Filter) -> Result<u64, StoreError> {
        self.inner.count(kind, filter).await
    }

    async fn sum(&self, kind: Kind, column: &'static str, filter: Filter) -> Result<i64, StoreError> {
        self.inner.sum(kind, column, filter).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError> {
        self.inner.claim(claim).await
    }

    async fn renew(&self, leases: Vec<(TaskId, i64)>, until: Timestamp) -> Result<Vec<TaskId>, StoreError> {
        self.inner.renew(leases, until).await
    }

    async fn disown(&self, worker: String) -> Result<u64, StoreError> {
        self.inner.disown(worker).await
    }

    async fn next_due(&self, hosts: Vec<HostId>) -> Result<Option<Timestamp>, StoreError> {
        self.inner.next_due(hosts).await
    }

    async fn events_after(&self, seq: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.inner.events_after(seq, limit).await
    }

    async fn event_bounds(&self) -> Result<(i64, i64), StoreError> {
        self.inner.event_bounds().await
    }

    async fn prune_events(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.inner.prune_events(before, limit).await
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.inner.subscribe()
    }

    async fn recount(&self, mend: bool) -> Result<Vec<Kind>, StoreError> {
        self.inner.recount(mend).await
    }

    async fn facts(&self, thorough: bool) -> Result<StoreFacts, StoreError> {
        self.inner.facts(thorough).await
    }
}

/// Makes a machine in the world by a worker on this store, time passing as fast as it can; answers the ended task.
async fn made(world: &World, store: Arc<Troubled>) -> Result<Task> {
    let host = LocalHost {
        hypervisor: Arc::new(world.hypervisor.clone()),
        storage: Arc::new(world.storage.clone()),
        switch: Arc::new(world.switch.clone()),
    };
    let core = Core::new(Parts {
        store,
        clock: world.clock.clone(),
        ids: Arc::new(SeededIds::new(2)),
        hosts: vec![host],
        key: [7; 32],
        settings: Settings::default(),
    });
    world.core.machine_create(&world.admin, &World::machine("web"), None).await?;
    let stop = CancellationToken::new();
    let working = tokio::spawn(Worker::new(core, "worker".into()).run(stop.clone()));
    let ended = until("the end of a task", DEADLINE / 4, async || {
        world.clock.advance(Duration::from_millis(200));
        let task = world.last_task().await?;
        Ok((!task.state.is_open()).then_some(task))
    })
    .await;
    let ended = match ended {
        Ok(task) => task,
        Err(error) => return Err(error.context(format!("{:?}", world.last_task().await?))),
    };
    stop.cancel();
    // The worker sleeps by the same clock.
    until("the end of the worker", DEADLINE / 4, async || {
        world.clock.advance(Duration::from_secs(1));
        Ok(working.is_finished().then_some(()))
    })
    .await?;
    ensure!(ended.state == TaskState::Done, "{ended:?}");
    Ok(ended)
}

#[tokio::test]
async fn a_step_goes_on_while_its_progress_is_written() -> Result<()> {
    let world = World::with_template().await?;
    let (writing, gone_on) = (Notify::new(), Notify::new());
    let store = Troubled::new(&world, Trouble::Entangled { writing, gone_on, reads: AtomicU32::new(0) });
    made(&world, store.clone()).await?;
    let Trouble::Entangled { reads, .. } = &store.trouble else { unreachable!() };
    ensure!(reads.load(Ordering::Relaxed) > 1);
    Ok(())
}

#[tokio::test]
async fn what_waited_is_gone_on_with_under_a_new_lease_only() -> Result<()> {
    let world = World::with_template().await?;
    // The guest is slow: the task waits between its looks, and gives its lease back.
    world.faults.fail(Verb::GuestFacts, 5, DriverErrorKind::Timeout);
    let store = Troubled::new(&world, Trouble::Late(TestClock::clone(&world.clock)));
    made(&world, store.clone()).await?;
    ensure!(store.fenced.load(Ordering::Relaxed) == 0, "steps were run without a lease");
    Ok(())
}

#[tokio::test]
async fn a_store_that_was_away_is_found_soon_after_it_is_back() -> Result<()> {
    let world = World::with_template().await?;
    let store = Troubled::new(&world, Trouble::Away(AtomicU32::new(12)));
    let task = made(&world, store).await?;
    let (begun, ended) = (task.created_at, task.ended_at.context("it has ended")?);
    ensure!(ended.since(begun) < Duration::from_secs(30), "{:?}", ended.since(begun));
    Ok(())
}
