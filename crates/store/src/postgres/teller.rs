//! Tells subscribers of this process what any process has committed, in order and without gaps.
//!
//! Events have a dense `seq` in the order of commits, so whoever has told up to one knows what comes next. What this
//! process commits is told at once; when another was in between, the table is read first. `NOTIFY` says how far the
//! others have come; it may be lost with its connection, so the table is also read now and then.

use super::connect::{Server, patiently};
use super::reads::Readers;
use hostler_core::events::{Event, NewEvent};
use hostler_core::ports::StoreError;
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, broadcast, watch};
use tokio::time::{Instant, sleep_until};

/// How often the table is read although nobody said that there is anything.
const POLL: Duration = Duration::from_secs(2);
/// How long to wait for the server to let the listener in.
const CONNECT: Duration = Duration::from_secs(5);
/// How long answers wait until the events of their commit are told.
const PROMPT: Duration = Duration::from_secs(5);
/// Events read at once.
const PAGE: u32 = 1000;
/// So often in a row the table had news that nobody announced: the listener is deaf and begins anew.
const DEAF: u32 = 3;

/// Tells events.
#[derive(Debug)]
pub(super) struct Teller {
    /// The `seq` of the last event told.
    told: Mutex<i64>,
    events: broadcast::Sender<Arc<Event>>,
    /// Of its own; used by whoever holds `told`.
    reader: Readers,
}

impl Teller {
    /// Tells what comes after `told`.
    pub(super) fn new(told: i64, events: broadcast::Sender<Arc<Event>>, reader: Readers) -> Self {
        Self { told: Mutex::new(told), events, reader }
    }

    /// Who wants to be told.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// This process has committed these. They are told when this returns, unless the table cannot be read in time:
    /// then the listener tells them later.
    pub(super) async fn committed(&self, first: i64, events: Vec<NewEvent>) {
        if events.is_empty() {
            return;
        }
        if tokio::time::timeout(PROMPT, self.tell_committed(first, events)).await.is_err() {
            tracing::debug!("events will be told later: the table is not read in time");
        }
    }

    async fn tell_committed(&self, first: i64, events: Vec<NewEvent>) {
        let mut told = self.told.lock().await;
        if *told + 1 == first {
            for (seq, event) in (first..).zip(events) {
                *told = seq;
                self.tell(Event { seq, event });
            }
        } else if let Err(error) = self.read_on(&mut told).await {
            tracing::debug!(%error, "events will be told later");
        }
    }

    /// Tells what the table has more; answers how many events.
    async fn catch_up(&self) -> Result<u64, StoreError> {
        let mut told = self.told.lock().await;
        self.read_on(&mut told).await
    }

    async fn read_on(&self, told: &mut i64) -> Result<u64, StoreError> {
        let mut count = 0;
        loop {
            let page = self.reader.events_after(*told, PAGE).await?;
            let full = page.len() == PAGE as usize;
            for event in page {
                *told = event.seq;
                count += 1;
                self.tell(event);
            }
            if !full {
                return Ok(count);
            }
        }
    }

    fn tell(&self, event: Event) {
        // A failed send is a stream that nobody listens to.
        let _ = self.events.send(Arc::new(event));
    }

    /// Listens until `closing`.
    pub(super) async fn listen(self: Arc<Self>, server: Server, mut closing: watch::Receiver<bool>) {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT)
            .connect_lazy_with(server.options().clone().application_name("hostler listener"));
        tokio::select! {
            () = self.listen_always(&pool) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
        self.reader.close().await;
        pool.close().await;
    }

    async fn listen_always(&self, pool: &PgPool) {
        loop {
            let until = Instant::now() + POLL;
            if let Err(error) = self.listen_once(pool).await {
                tracing::warn!(%error, "news of other processes are only looked for every {POLL:?}");
            }
            // What was announced while nobody listened is in the table.
            sleep_until(until).await;
            if let Err(error) = self.catch_up().await {
                tracing::debug!(%error, "events cannot be read");
            }
        }
    }

    /// Listens on one connection until it breaks.
    async fn listen_once(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let listening = async {
            let mut listener = PgListener::connect_with(pool).await?;
            listener.listen("hostler").await?;
            Ok(listener)
        };
        let mut listener = patiently(listening).await?;
        let mut poll = tokio::time::interval(POLL);
        let mut unannounced = 0;
        loop {
            tokio::select! {
                heard = listener.try_recv() => {
                    let Some(heard) = heard? else {
                        tracing::debug!("the listener's connection broke");
                        return Ok(());
                    };
                    unannounced = 0;
                    // Most are of this process, and told already.
                    let last = heard.payload().parse().unwrap_or(i64::MAX);
                    if last > *self.told.lock().await {
                        self.look().await;
                    }
                }
                _ = poll.tick() => {
                    unannounced = if self.look().await > 0 { unannounced + 1 } else { 0 };
                    if unannounced == DEAF {
                        tracing::debug!("the listener is deaf");
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn look(&self) -> u64 {
        self.catch_up().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "events cannot be read");
            0
        })
    }
}
