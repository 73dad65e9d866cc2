//! The network keeper: bridges, rules and services of a host are as the records say, after a reboot, after a machine has
//! gone, and when something of them broke.

use super::news::relevant;
use crate::core::{Core, LocalHost};
use crate::events::{Change, Event};
use crate::ids::NetworkId;
use crate::machines::Life;
use crate::record::Kind;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// Without news everything is put right after this long.
const ROUND: Duration = Duration::from_secs(30);
/// News come in heaps; one round serves them all.
const GATHER: Duration = Duration::from_millis(200);
/// Before what broke is put right: at once first, then longer and longer while it keeps breaking.
const MENDING: Duration = Duration::from_millis(500);
const MENDING_MOST: Duration = Duration::from_secs(60);
/// What has held for so long is not counted as breaking again.
const HELD: Duration = Duration::from_secs(300);

/// Keeps the networks of one host.
pub struct NetworkKeeper {
    core: Core,
    local: LocalHost,
    /// When each network broke last, and how long was waited then.
    broken: HashMap<NetworkId, (crate::time::Timestamp, Duration)>,
    /// The failure of the last round, so that the log says it once.
    failure: Option<String>,
}

impl std::fmt::Debug for NetworkKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NetworkKeeper({})", self.local.switch.host())
    }
}

impl NetworkKeeper {
    /// A keeper for this host.
    pub fn new(core: Core, local: LocalHost) -> Self {
        Self { core, local, broken: HashMap::new(), failure: None }
    }

    /// Keeps networks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut news = self.core.store().subscribe();
        let mut breaks = self.local.switch.events();
        loop {
            self.round().await;
            let pause = tokio::select! {
                () = stop.cancelled() => return,
                () = self.core.clock().sleep(ROUND) => Duration::ZERO,
                () = relevant(&mut news, concerns) => GATHER,
                broken = next(&mut breaks) => self.patience(broken),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.core.clock().sleep(pause) => {}
            }
            // What is waiting in the queue was committed before the round that comes now.
            while news.try_recv().is_ok() {}
        }
    }

    /// Puts everything right once.
    pub async fn round(&mut self) {
        let failure = self.core.networks_settled(&self.local).await.err().map(|error| error.chain());
        if let Some(failure) = failure.as_ref().filter(|failure| self.failure.as_ref() != Some(failure)) {
            tracing::warn!(error = failure, "networks are not as they should be; trying again");
        }
        self.failure = failure;
    }

    /// How long to wait before a network that broke is put right.
    fn patience(&mut self, broken: Option<NetworkId>) -> Duration {
        let Some(network) = broken else { return GATHER };
        let now = self.core.now();
        let waited = match self.broken.get(&network) {
            Some((at, waited)) if now.since(*at) < HELD => (*waited * 2).min(MENDING_MOST),
            _ => MENDING,
        };
        self.broken.insert(network, (now, waited));
        waited
    }
}

/// Networks changed, or a machine has left the books.
fn concerns(event: &Event) -> bool {
    let gone = || event.event.body.contains(&format!("\"life\":\"{}\"", Life::Gone.word()));
    match event.event.kind {
        Kind::Network => true,
        Kind::Machine => event.event.change == Change::Deleted || gone(),
        _ => false,
    }
}

async fn next(breaks: &mut Receiver<NetworkId>) -> Option<NetworkId> {
    match breaks.recv().await {
        Ok(network) => Some(network),
        Err(RecvError::Lagged(_)) => None,
        Err(RecvError::Closed) => std::future::pending().await,
    }
}
