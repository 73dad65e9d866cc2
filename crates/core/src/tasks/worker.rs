//! The worker: takes leases, runs tasks side by side, keeps leases alive, wakes up when there is work.

use super::runner::{Executed, Runner};
use crate::core::Core;
use crate::events::{Change, Event};
use crate::fail::fail_point;
use crate::ids::{HostId, TaskId};
use crate::ports::{Claim, Claimed, Progress, StoreError};
use crate::record::{Kind, Record};
use crate::tasks::{Task, TaskState};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A lease not renewed for this long may be taken by another. Renewed at a third of it, so two renewals in a row may
/// fail; takes long enough that hosts whose clocks differ by some seconds do not take each other's.
const LEASE: Duration = Duration::from_secs(15);
/// Without any news the store is asked for work this often.
const POLL: Duration = Duration::from_secs(5);
/// In maintenance, so often for tasks that have begun and wait.
const IN_MAINTENANCE: Duration = Duration::from_secs(1);
/// Progress within a step is written at most this often.
const PROGRESS_PAUSE: Duration = Duration::from_millis(300);

/// Runs the tasks of this process until it is told to stop.
#[derive(Clone)]
pub struct Worker {
    core: Core,
    runner: Runner,
    name: String,
    leases: Arc<Mutex<HashMap<TaskId, Lease>>>,
    slot_free: Arc<Notify>,
}

struct Lease {
    epoch: i64,
    lost: CancellationToken,
}

/// What became of a step's commit.
enum Recorded {
    /// The task as it is now and whether it shall be cancelled; its lease is still ours.
    Held(Box<Task>, bool),
    /// The task waits or has ended, and its lease was given back with the commit: whatever comes needs a new one.
    Released,
    /// A record has changed; the step must run again.
    Stale,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Worker({})", self.name)
    }
}

impl Worker {
    /// A worker of this name. The name must be unique among living processes and the same after a restart of this
    /// one: its former leases are given up at once.
    pub fn new(core: Core, name: String) -> Self {
        let runner = Runner::new(core.clone());
        Self { core, runner, name, leases: Arc::default(), slot_free: Arc::default() }
    }

    /// Works until `stop`: takes no new step then, lets running ones finish, and returns. Dropping it cuts steps
    /// off where they are; they are resumed at the next start.
    ///
    /// # Errors
    /// When the leases of the former process cannot be given up.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let left = self.core.store().disown(self.name.clone()).await?;
        if left > 0 {
            tracing::info!(tasks = left, "taking up tasks that were cut off");
        }
        let mut events = self.core.store().subscribe();
        let mut maintenance = self.core.maintenance_changes();
        let mut running = JoinSet::new();
        let mut renewal = tokio::time::interval(LEASE / 3);
        while !stop.is_cancelled() {
            let wait = self.fill(&mut running, &stop).await;
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.core.clock().sleep(wait) => {}
                () = self.slot_free.notified() => {}
                () = task_news(&mut events) => {}
                // The sender lives as long as core does.
                Ok(()) = maintenance.changed() => {}
                _ = renewal.tick() => self.renew().await,
                Some(ended) = running.join_next() => rethrow(ended),
            }
        }
        loop {
            tokio::select! {
                ended = running.join_next() => match ended { Some(ended) => rethrow(ended), None => return Ok(()) },
                _ = renewal.tick() => self.renew().await,
            }
        }
    }

    /// Claims as many tasks as there are free places; answers how long to wait when nothing happens.
    async fn fill(&self, running: &mut JoinSet<()>, stop: &CancellationToken) -> Duration {
        let free = self.core.settings().concurrency.saturating_sub(running.len());
        if free == 0 {
            return POLL;
        }
        let now = self.core.now();
        let maintenance = self.core.maintenance().is_some();
        let claim = Claim {
            worker: self.name.clone(),
            hosts: self.hosts(),
            now,
            until: now.plus(LEASE),
            limit: u32::try_from(free).unwrap_or(u32::MAX),
            begun: maintenance,
        };
        match self.core.store().claim(claim).await {
            Ok(claimed) => {
                let full = claimed.len() == free;
                for claimed in claimed {
                    self.begin(running, &claimed, stop.clone());
                }
                // What is due may be what may not begin.
                match (full, maintenance) {
                    (true, _) => POLL,
                    (false, true) => IN_MAINTENANCE,
                    (false, false) => self.until_due().await,
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot look for work");
                Duration::from_secs(1)
            }
        }
    }

    fn hosts(&self) -> Vec<HostId> {
        self.core.local_hosts().iter().map(|host| host.hypervisor.host()).collect()
    }

    async fn until_due(&self) -> Duration {
        match self.core.store().next_due(self.hosts()).await {
            Ok(Some(due)) => due.since(self.core.now()).clamp(Duration::from_millis(1), POLL),
            _ => POLL,
        }
    }

    fn begin(&self, running: &mut JoinSet<()>, claimed: &Claimed, stop: CancellationToken) {
        let task = match Task::from_document(&claimed.document) {
            Ok(task) => task,
            // Left leased and open: a newer version of hostler may understand it, and `doctor` shows it.
            Err(error) => return tracing::error!(error = error.chain(), "a task cannot be read"),
        };
        let lost = CancellationToken::new();
        let lease = Lease { epoch: claimed.epoch, lost: lost.clone() };
        if let Some(former) = self.leases().insert(task.id, lease) {
            // Our own lease ran out while the store did not answer. What ran under it writes nothing any more.
            former.lost.cancel();
        }
        let (worker, epoch, cancel) = (self.clone(), claimed.epoch, claimed.cancel_requested);
        running.spawn(async move {
            let id = task.id;
            tokio::select! {
                () = worker.steps(task, epoch, cancel, &stop) => {}
                () = lost.cancelled() => tracing::warn!(task.id = %id, "its lease went to another worker"),
            }
            worker.forget(id, epoch);
            worker.slot_free.notify_one();
        });
    }

    /// Forgets a lease, but not a later one on the same task.
    fn forget(&self, id: TaskId, epoch: i64) -> Option<Lease> {
        let mut leases = self.leases();
        leases.get(&id).is_some_and(|lease| lease.epoch == epoch).then(|| leases.remove(&id)).flatten()
    }

    fn leases(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, Lease>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Step after step until the task waits, ends, or the worker stops.
    async fn steps(&self, mut task: Task, epoch: i64, mut cancel: bool, stop: &CancellationToken) {
        loop {
            fail_point("task.before_step");
            let executed = match self.step(&mut task, epoch, cancel).await {
                Ok(executed) => executed,
                Err(error) => {
                    tracing::error!(task.id = %task.id, error = error.chain(), "a task cannot be carried out");
                    return;
                }
            };
            fail_point("task.before_commit");
            let goes_on = match self.commit(executed, epoch).await {
                Ok(Recorded::Held(next, cancel_requested)) => {
                    (task, cancel) = (*next, cancel_requested);
                    true
                }
                Ok(Recorded::Released) => false,
                Ok(Recorded::Stale) => match self.reread(task.id).await {
                    Some(fresh) => {
                        task = fresh;
                        task.state.is_open() && task.due <= self.core.now()
                    }
                    None => return,
                },
                Err(error) => {
                    return tracing::warn!(task.id = %task.id, %error, "a step could not be recorded");
                }
            };
            fail_point("task.after_commit");
            if !goes_on || stop.is_cancelled() {
                return;
            }
        }
    }

    /// Runs the step while its progress is written now and then. Both go on side by side: a step that stood still
    /// while its progress is written would keep what it holds of the store, and the writing may wait for just that.
    async fn step(&self, task: &mut Task, epoch: i64, cancel: bool) -> crate::Result<Executed> {
        let (report, reports) = watch::channel((0.0, String::new()));
        let progress = Progress::new(move |fraction, message| {
            report.send_replace((fraction, message.to_owned()));
        });
        let ended = CancellationToken::new();
        let before = task.clone();
        let step = async {
            let executed = self.runner.execute(&before, cancel, &progress).await;
            ended.cancel();
            executed
        };
        let (mut executed, ()) = tokio::join!(step, self.tell(task, epoch, reports, &ended));
        // Progress was committed meanwhile: the step's own commit builds on that version.
        if let Ok(executed) = &mut executed {
            executed.task.rev = task.rev;
            executed.task.progress = executed.task.progress.max(task.progress);
        }
        executed
    }

    /// Writes what a step reports until it has ended. A quick step never writes: its own commit tells more.
    async fn tell(
        &self,
        task: &mut Task,
        epoch: i64,
        mut reports: watch::Receiver<(f64, String)>,
        ended: &CancellationToken,
    ) {
        loop {
            let news = async {
                self.core.clock().sleep(PROGRESS_PAUSE).await;
                // Nobody shall take for queued what has been running for a while.
                task.state == TaskState::Queued || reports.changed().await.is_ok()
            };
            let Some(true) = ended.run_until_cancelled(news).await else { return };
            let (fraction, message) = reports.borrow_and_update().clone();
            self.record_progress(task, epoch, fraction, message).await;
        }
    }

    async fn record_progress(&self, task: &mut Task, epoch: i64, fraction: f64, message: String) {
        let mut shown = task.clone();
        shown.state = if task.state == TaskState::Queued { TaskState::Running } else { task.state };
        shown.progress = fraction.clamp(task.progress, 1.0);
        shown.message = message;
        let mut changes = self.core.changes();
        if changes.update(&shown).is_err() {
            return;
        }
        changes.commit.fence = Some(crate::ports::Fence { task: task.id, epoch, release: false });
        if let Ok(committed) = self.core.commit(changes).await {
            shown.rev = committed.stamps[0].rev;
            *task = shown;
        }
    }

    /// Commits what a step did, however long the store is away.
    async fn commit(&self, mut executed: Executed, epoch: i64) -> Result<Recorded, StoreError> {
        loop {
            match self.runner.commit(&mut executed, epoch).await {
                Ok(committed) => {
                    log_ended(&executed.task);
                    if executed.released {
                        return Ok(Recorded::Released);
                    }
                    return Ok(Recorded::Held(Box::new(executed.task), committed.cancel_requested));
                }
                Err(StoreError::Stale { .. }) => return Ok(Recorded::Stale),
                Err(error @ (StoreError::Unavailable(_) | StoreError::Full)) => {
                    tracing::warn!(task.id = %executed.task.id, %error, "waiting for the store");
                    self.core.clock().sleep(Duration::from_secs(1)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn reread(&self, id: TaskId) -> Option<Task> {
        let document = self.core.store().get(Kind::Task, id.0).await.ok()??;
        Task::from_document(&document).ok()
    }

    async fn renew(&self) {
        let leases: Vec<(TaskId, i64)> = self.leases().iter().map(|(id, lease)| (*id, lease.epoch)).collect();
        if leases.is_empty() {
            return;
        }
        match self.core.store().renew(leases.clone(), self.core.now().plus(LEASE)).await {
            Ok(lost) => {
                // A lease given back by a finished step is no longer in the map; what is there was taken from us.
                for (id, epoch) in leases.into_iter().filter(|(id, _)| lost.contains(id)) {
                    if let Some(lease) = self.forget(id, epoch) {
                        lease.lost.cancel();
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "cannot renew leases"),
        }
    }
}

fn log_ended(task: &Task) {
    let (id, kind, subject) = (task.id, task.kind.as_str(), task.subject_name.as_str());
    match task.state {
        TaskState::Done => tracing::info!(task.id = %id, kind, subject, "task done"),
        TaskState::Failed | TaskState::Cancelled => {
            tracing::warn!(task.id = %id, kind, subject, error = task.error.as_deref(), "task {}", task.state.word());
        }
        TaskState::Queued | TaskState::Running | TaskState::Undoing => {}
    }
}

/// Returns when something happened to a task, or when news may have been missed.
async fn task_news(events: &mut broadcast::Receiver<Arc<Event>>) {
    loop {
        match events.recv().await {
            Ok(event) if event.event.kind != Kind::Task => {}
            Ok(event) if matches!(event.event.change, Change::Updated | Change::Deleted) => {}
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// A panic in a step is a defect: the process ends rather than go on half-alive.
fn rethrow(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
