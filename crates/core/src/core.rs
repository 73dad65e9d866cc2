//! The facade: everything a door may ask is a method here, spread over the domains' `commands.rs`.

use crate::access::Refusals;
use crate::access::outside::Outside;
use crate::access::{Passwords, Uses};
use crate::doctor::Notes;
use crate::error::{Error, Result};
use crate::events::{Change, NewEvent};
use crate::hosts::Absences;
use crate::ids::{HostId, StorageId};
use crate::maintenance::Known;
use crate::pools::{Book, PoolRules};
use crate::ports::{
    Alteration, Clock, Commit, Committed, DriverError, DriverErrorKind, Hypervisor, Ids, Storage, Store,
    StoreError, Switch,
};
use crate::query::{Cursor, Filter, Select, Sort};
use crate::record::{Record, Value};
use crate::secret::SealingKey;
use crate::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How long core waits for guests and keeps what has ended.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// For a guest's agent to answer after a start.
    pub boot_patience: Duration,
    /// For a guest to turn itself off when asked, before its power is cut.
    pub stop_patience: Duration,
    /// Records of removed machines are kept this long.
    pub keep_gone: Duration,
    /// Ended tasks are kept this long.
    pub keep_tasks: Duration,
    /// Events, and answers to idempotent requests, are kept this long.
    pub keep_events: Duration,
    /// The audit trail is kept this long.
    pub keep_deeds: Duration,
    /// Tasks that run at the same time in this process.
    pub concurrency: usize,
}

impl Default for Settings {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        Self {
            boot_patience: Duration::from_secs(300),
            stop_patience: Duration::from_secs(60),
            keep_gone: 24 * 7 * HOUR,
            keep_tasks: 24 * 30 * HOUR,
            keep_events: 24 * HOUR,
            keep_deeds: 24 * 365 * HOUR,
            concurrency: 8,
        }
    }
}

/// A host that this process acts on itself.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds drivers, which have nothing to show")]
pub struct LocalHost {
    /// Runs its machines.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// Keeps its images and volumes.
    pub storage: Arc<dyn Storage>,
    /// Makes its networks.
    pub switch: Arc<dyn Switch>,
}

/// What core is made of.
#[expect(missing_debug_implementations, reason = "holds drivers and a secret")]
pub struct Parts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids and secrets.
    pub ids: Arc<dyn Ids>,
    /// Hosts that this process acts on.
    pub hosts: Vec<LocalHost>,
    /// 256 bits kept beside the data, from which guests' host keys and the key for stored secrets derive.
    pub key: [u8; 32],
    /// Patience and retention.
    pub settings: Settings,
}

/// The domain's facade. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Core {
    parts: Arc<Parts>,
    /// Held while records of networks are read and switches are told.
    wiring: Arc<tokio::sync::Mutex<()>>,
    sealing: Arc<SealingKey>,
    absences: Arc<Absences>,
    refusals: Arc<Refusals>,
    notes: Arc<Notes>,
    maintenance: Arc<Known>,
    passwords: Arc<Passwords>,
    uses: Arc<Uses>,
    outside: Arc<Outside>,
    pool_rules: Arc<PoolRules>,
    book: Arc<Book>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Core")
    }
}

/// A list asked for by a caller; core adds what the caller may see.
#[derive(Clone, Debug)]
pub struct ListAsk {
    /// Which records.
    pub filter: Filter,
    /// In which order; empty means of creation.
    pub order: Vec<Sort>,
    /// Go on after this.
    pub after: Option<Cursor>,
    /// Leave out so many, the first.
    pub offset: u64,
    /// At most this many; a door sees to it that nobody asks for too many at once.
    pub limit: u32,
    /// Also say how many there are on all pages.
    pub counted: bool,
}

impl Default for ListAsk {
    fn default() -> Self {
        Self { filter: Filter::All, order: Vec::new(), after: None, offset: 0, limit: 100, counted: false }
    }
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The records.
    pub items: Vec<T>,
    /// Where the next page begins; none at the end.
    pub next: Option<Cursor>,
    /// How many there are on all pages, if that was asked.
    pub total: Option<u64>,
}

impl Core {
    /// Core over these parts.
    pub fn new(parts: Parts) -> Self {
        let sealing = Arc::new(SealingKey::derived(&parts.key));
        Self {
            parts: Arc::new(parts),
            wiring: Arc::default(),
            sealing,
            absences: Arc::default(),
            refusals: Arc::default(),
            notes: Arc::default(),
            maintenance: Arc::default(),
            passwords: Arc::default(),
            uses: Arc::default(),
            outside: Arc::default(),
            pool_rules: Arc::default(),
            book: Arc::default(),
        }
    }

    /// The same core, with people from outside.
    #[must_use]
    pub fn with_outside(self, outside: Outside) -> Self {
        Self { outside: Arc::new(outside), ..self }
    }

    /// The same core, with these rules for pools.
    #[must_use]
    pub fn with_pool_rules(self, rules: PoolRules) -> Self {
        Self { pool_rules: Arc::new(rules), ..self }
    }

    /// What holds for all pools.
    pub fn pool_rules(&self) -> &PoolRules {
        &self.pool_rules
    }

    /// What is known of pools between two reads.
    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    /// Who vouches for people from outside.
    pub(crate) fn outside(&self) -> &Outside {
        &self.outside
    }

    /// The database.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.parts.store
    }

    /// Time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.parts.clock
    }

    /// Patience and retention.
    pub fn settings(&self) -> &Settings {
        &self.parts.settings
    }

    /// Hosts that this process acts on.
    pub fn local_hosts(&self) -> &[LocalHost] {
        &self.parts.hosts
    }

    pub(crate) fn wiring(&self) -> &tokio::sync::Mutex<()> {
        &self.wiring
    }

    /// Hosts that have not been heard of lately.
    pub(crate) fn absences(&self) -> &Absences {
        &self.absences
    }

    pub(crate) fn notes(&self) -> &Notes {
        &self.notes
    }

    pub(crate) fn known_maintenance(&self) -> &Known {
        &self.maintenance
    }

    /// Hashes and verifies passwords, few at a time.
    pub(crate) fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// When credentials were last used, as far as not written.
    pub(crate) fn uses(&self) -> &Uses {
        &self.uses
    }

    /// How often callers were refused lately.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    pub(crate) fn ids(&self) -> &Arc<dyn Ids> {
        &self.parts.ids
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.parts.key
    }

    pub(crate) fn sealing(&self) -> &SealingKey {
        &self.sealing
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    pub(crate) fn host(&self, id: HostId) -> Result<&LocalHost> {
        let found = self.parts.hosts.iter().find(|host| host.hypervisor.host() == id);
        found.ok_or_else(|| Error::unavailable(format!("host {id} is not driven by this process")))
    }

    pub(crate) fn storage(&self, id: StorageId) -> Result<&LocalHost> {
        let found = self.parts.hosts.iter().find(|host| host.storage.id() == id);
        found.ok_or_else(|| Error::unavailable(format!("storage {id} is not driven by this process")))
    }

    /// A new set of changes, all at this moment.
    pub(crate) fn changes(&self) -> Changes {
        Changes { commit: Commit::default(), now: self.now() }
    }

    pub(crate) async fn commit(&self, mut changes: Changes) -> Result<Committed, StoreError> {
        let left = self.left_behind(&changes.commit.alterations).await?;
        changes.append(left);
        self.parts.store.commit(changes.commit).await
    }

    pub(crate) async fn find<R: Record>(&self, id: Uuid) -> Result<Option<R>> {
        let document = self.parts.store.get(R::KIND, id).await?;
        document.as_ref().map(R::from_document).transpose()
    }

    pub(crate) async fn get<R: Record>(&self, id: Uuid) -> Result<R> {
        self.find(id).await?.ok_or_else(|| Error::not_found(R::KIND.word(), id))
    }

    pub(crate) async fn find_by<R: Record>(
        &self,
        column: &'static str,
        value: impl Into<Value>,
    ) -> Result<Option<R>> {
        let document = self.parts.store.find(R::KIND, column, value.into()).await?;
        document.as_ref().map(R::from_document).transpose()
    }

    pub(crate) async fn select<R: Record>(&self, select: Select) -> Result<Vec<R>> {
        let documents = self.parts.store.list(R::KIND, select).await?;
        documents.iter().map(R::from_document).collect()
    }

    /// All records that match, read page by page.
    pub(crate) async fn all<R: Record>(&self, filter: Filter) -> Result<Vec<R>> {
        const PAGE: u32 = 1000;
        let mut all: Vec<R> = Vec::new();
        let mut select = Select::new(filter, PAGE);
        loop {
            let page: Vec<R> = self.select(select.clone()).await?;
            let last = page.len() < PAGE as usize;
            all.extend(page);
            select.after = all.last().map(|record| Cursor::after(record.key()));
            if last {
                return Ok(all);
            }
        }
    }

    pub(crate) async fn page<R: Record>(&self, ask: ListAsk) -> Result<Page<R>> {
        let total = match ask.counted {
            true => Some(self.parts.store.count(R::KIND, ask.filter.clone()).await?),
            false => None,
        };
        let (filter, order, after, offset) = (ask.filter, ask.order, ask.after, ask.offset);
        let select = Select { filter, order, after, offset, limit: ask.limit.saturating_add(1) };
        let mut documents = match ask.limit {
            0 => Vec::new(),
            _ => self.parts.store.list(R::KIND, select).await?,
        };
        let more = documents.len() > ask.limit as usize;
        documents.truncate(ask.limit as usize);
        let items = documents.iter().map(R::from_document).collect::<Result<_>>()?;
        let next = documents.pop().filter(|_| more).map(|last| {
            let values = last.columns.into_iter().map(|(_, value)| value).collect();
            Cursor { values, id: last.id }
        });
        Ok(Page { items, next, total })
    }
}

/// Changes being collected for one commit, with the events they cause.
#[derive(Clone, Debug)]
pub struct Changes {
    pub(crate) commit: Commit,
    now: Timestamp,
}

impl Changes {
    fn event<R: Record>(&mut self, record: &R, change: Change) {
        self.commit.events.extend(NewEvent::about(record, change, self.now));
    }

    pub(crate) fn insert<R: Record>(&mut self, record: &R) -> Result<()> {
        self.commit.alterations.push(Alteration::Insert(record.document()?));
        self.event(record, Change::Created);
        Ok(())
    }

    pub(crate) fn update<R: Record>(&mut self, record: &R) -> Result<()> {
        self.commit.alterations.push(Alteration::Update(record.document()?));
        self.event(record, Change::Updated);
        Ok(())
    }

    pub(crate) fn delete<R: Record>(&mut self, record: &R) {
        let (id, rev) = (record.key(), record.rev());
        self.commit.alterations.push(Alteration::Delete { kind: R::KIND, id, rev });
        self.event(record, Change::Deleted);
    }

    /// The commit fails as stale if this record has changed since it was read.
    pub(crate) fn unchanged<R: Record>(&mut self, record: &R) {
        self.commit.unchanged.push((R::KIND, record.key(), record.rev()));
    }

    /// Adds changes that were collected apart.
    pub(crate) fn append(&mut self, other: Self) {
        self.commit.alterations.extend(other.commit.alterations);
        self.commit.unchanged.extend(other.commit.unchanged);
        self.commit.guards.extend(other.commit.guards);
        self.commit.events.extend(other.commit.events);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }
}

/// Runs a command again when a record it read had changed by the time it committed.
///
/// Sixteen losses in a row mean that something writes without pause; that is answered as a conflict.
pub(crate) async fn decided<T, F>(mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T, Attempt>>,
{
    for _ in 0..16 {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(Attempt::Stale) => tokio::task::yield_now().await,
            Err(Attempt::Failed(error)) => return Err(error),
        }
    }
    Err(Error::conflict("changed_meanwhile", "it keeps changing; try again"))
}

/// Why an attempt at a command did not go through.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Something it read has changed; read and decide again.
    Stale,
    /// Refused or failed.
    Failed(Error),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for Attempt {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Stale { .. } => Self::Stale,
            other => Self::Failed(other.into()),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Stale { kind, .. } => Self::conflict(
                "changed_meanwhile",
                format!("the {} has changed meanwhile; try again", kind.word()),
            ),
            StoreError::Taken { kind, column } => {
                let text = format!("another {} has this {column} already", kind.word());
                Self::conflict(if column == "name" { "name_taken" } else { "taken" }, text)
            }
            StoreError::Exceeded { guard, found } => {
                let text = format!(
                    "{} are limited to {}: {} are in use and {} more are asked for",
                    guard.what,
                    guard.at_most,
                    found.saturating_sub(guard.asked),
                    guard.asked
                );
                Self::new(crate::error::ErrorKind::NoCapacity, "quota", text)
                    .hint("remove something, or ask an administrator for more")
            }
            StoreError::Full => Self::no_capacity("the disk that holds hostler's database is full")
                .hint("free some space there; nothing was changed"),
            StoreError::Unavailable(_) => Self::unavailable("the database does not answer").caused_by(error),
            StoreError::Fenced(_) | StoreError::Failed(_) => Self::internal(error),
        }
    }
}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        let text = error.detail.clone();
        match error.kind {
            DriverErrorKind::Gone | DriverErrorKind::Refused => Self::conflict("refused", text),
            DriverErrorKind::Unsupported => Self::unsupported(text),
            DriverErrorKind::Exhausted => Self::no_capacity(text),
            DriverErrorKind::Unreachable | DriverErrorKind::Timeout => Self::unavailable(text),
            DriverErrorKind::Protocol | DriverErrorKind::Internal => {
                Self::new(crate::error::ErrorKind::Internal, "driver_failed", text)
            }
        }
    }
}
