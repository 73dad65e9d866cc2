//! The housekeeper: forgets what ended long ago, takes up what was left unfinished, lets go of what nobody holds.

use crate::access::{Caller, Deed, Replay, Role, Via};
use crate::core::Core;
use crate::error::{ErrorKind, Result};
use crate::machines::{Life, Machine};
use crate::media::Medium;
use crate::ports::StoreError;
use crate::query::{Compare, Filter, Select};
use crate::record::{Record, Value};
use crate::snapshots::Snapshot;
use crate::tasks::Task;
use crate::templates::Template;
use crate::time::Timestamp;
use crate::volumes::Volume;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(60);
/// Records handled at a time, so that no round holds up the store.
const PAGE: u32 = 200;

/// Keeps the installation tidy.
#[derive(Debug)]
pub struct Housekeeper {
    core: Core,
}

impl Housekeeper {
    /// A housekeeper for this core.
    pub fn new(core: Core) -> Self {
        Self { core }
    }

    /// Keeps house until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(error = error.chain(), "housekeeping failed; it goes on with the next round");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.core.clock().sleep(ROUND) => {}
            }
        }
    }

    /// One round.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn round(&self) -> Result<()> {
        let now = self.core.now();
        let settings = *self.core.settings();
        self.forget_machines(now.minus(settings.keep_gone)).await?;
        self.core.write_misses().await?;
        self.forget::<Task>("created_at", Some(Filter::eq("open", false)), now.minus(settings.keep_tasks))
            .await?;
        self.forget::<Replay>("created_at", None, now.minus(settings.keep_events)).await?;
        self.core.write_uses().await?;
        self.core.credentials_tidy(now).await?;
        self.forget::<Deed>("created_at", None, now.minus(settings.keep_deeds)).await?;
        while self.core.store().prune_events(now.minus(settings.keep_events), 1000).await? == 1000 {}
        self.let_go::<Machine>(|machine| machine.task, |machine| machine.let_go(Some(CUT_OFF.into())))
            .await?;
        self.let_go::<Snapshot>(|snapshot| snapshot.task, |snapshot| snapshot.let_go(Some(CUT_OFF.into())))
            .await?;
        self.let_go::<Template>(|template| template.task, |template| template.task = None).await?;
        self.let_go::<Medium>(|medium| medium.task, |medium| medium.task = None).await?;
        self.let_go::<Volume>(
            |volume| volume.task,
            |volume| {
                (volume.task, volume.growing_mib) = (None, None);
            },
        )
        .await?;
        self.unfinished_removals().await
    }

    /// Removes records of machines that have been gone for long; what those of pools tell of their days stays.
    async fn forget_machines(&self, end: Timestamp) -> Result<()> {
        let old =
            Filter::eq("life", Life::Gone.word()).and(Filter::Is("updated_at", Compare::Lt, end.0.into()));
        for machine in self.core.select::<Machine>(Select::new(old, PAGE)).await? {
            let mut changes = self.core.changes();
            self.core.told_on(&mut changes, &machine).await?;
            changes.delete(&machine);
            match self.core.commit(changes).await {
                Ok(_) | Err(StoreError::Stale { .. } | StoreError::Taken { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Removes records of a kind whose `column` lies before `end`.
    async fn forget<R: Record>(
        &self,
        column: &'static str,
        which: Option<Filter>,
        end: Timestamp,
    ) -> Result<()> {
        let old = Filter::Is(column, Compare::Lt, end.0.into());
        let old: Vec<R> = self.core.select(Select::new(which.unwrap_or(Filter::All).and(old), PAGE)).await?;
        for record in old {
            self.drop_record(&record).await?;
        }
        Ok(())
    }

    async fn drop_record<R: Record>(&self, record: &R) -> Result<()> {
        let mut changes = self.core.changes();
        changes.delete(record);
        match self.core.commit(changes).await {
            Ok(_) | Err(StoreError::Stale { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets go of records whose task has ended or is no longer known. Never needed unless rows were edited by hand.
    async fn let_go<R: Record + Clone>(
        &self,
        holder: impl Fn(&R) -> Option<crate::ids::TaskId>,
        release: impl Fn(&mut R),
    ) -> Result<()> {
        let held = Filter::Is("task", Compare::Ne, Value::Null);
        for record in self.core.select::<R>(Select::new(held, PAGE)).await? {
            let Some(id) = holder(&record) else { continue };
            let task: Option<Task> = self.core.find(id.0).await?;
            if task.is_some_and(|task| task.state.is_open()) {
                continue;
            }
            tracing::warn!(kind = R::KIND.word(), id = %record.key(), task.id = %id, "letting go of what an ended task held");
            let mut free = record.clone();
            release(&mut free);
            let mut changes = self.core.changes();
            changes.update(&free)?;
            match self.core.commit(changes).await {
                Ok(_) | Err(StoreError::Stale { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Machines that are to be removed and that no task holds are tried again.
    async fn unfinished_removals(&self) -> Result<()> {
        let filter = Filter::eq("life", Life::Deleting.word()).and(Filter::eq("task", Value::Null));
        for machine in self.core.select::<Machine>(Select::new(filter, PAGE)).await? {
            let owner = Caller {
                account: machine.owner,
                login: "hostler".into(),
                role: Role::User,
                groups: [].into(),
                credential: None,
                scope: None,
                via: Via::ITSELF,
                footing: None,
            };
            match self.core.machine_delete(&owner, &machine.id.to_string()).await {
                Ok(_) => tracing::info!(machine = %machine.name, "trying again to remove it"),
                Err(error) if matches!(error.kind, ErrorKind::Busy { .. } | ErrorKind::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

const CUT_OFF: &str = "the task that held it has ended without letting go";
