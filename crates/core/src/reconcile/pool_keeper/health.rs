//! Looks at machines that stand ready whether they still answer, and takes those out that do not.

use crate::core::Core;
use crate::error::Result;
use crate::ids::{MachineId, PoolId};
use crate::machines::{Machine, Observed};
use crate::pools::{Pool, PoolCounts, StockState};
use crate::query::{Cursor, Filter, Select};
use crate::time::Timestamp;
use std::collections::HashMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// Machines read, and asked, at a time.
const ARMFUL: u32 = 64;
const TOGETHER: u64 = 16;
/// A machine that did not answer so often in a row is taken out.
const MISSES: u32 = 2;

/// How far the round among a pool's machines has come.
#[derive(Debug)]
struct Turn {
    /// When some were looked at last.
    at: Timestamp,
    /// Where the next look begins; none at the first.
    next: Option<Cursor>,
}

/// Goes round among the machines that stand ready.
pub(super) struct Health {
    core: Core,
    turns: HashMap<PoolId, Turn>,
    /// Machines that did not answer, and how often in a row.
    silent: HashMap<MachineId, u32>,
}

impl Health {
    pub(super) fn new(core: Core) -> Self {
        Self { core, turns: HashMap::new(), silent: HashMap::new() }
    }

    pub(super) async fn run(&mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.core.clock().sleep(ROUND) => {}
            }
            let round = async {
                if let Err(error) = self.round().await {
                    tracing::debug!(error = error.chain(), "ready machines cannot be looked at");
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = round => {}
            }
        }
    }

    /// Looks at those that were seen to be off, and at some machines of each pool, so that each has its turn in its
    /// pool's interval.
    async fn round(&mut self) -> Result<()> {
        let counts = self.core.pool_counts().await?;
        if counts.iter().all(|counts| counts.ready == 0) {
            return Ok(());
        }
        let off =
            Filter::eq("observed", Observed::Off.word()).and(Filter::eq("stock", StockState::Ready.word()));
        let off: Vec<Machine> = self.core.select(Select::new(off, ARMFUL)).await?;
        for machine in off {
            self.judged(machine, Err("it is off".to_owned())).await?;
        }
        for counts in counts.iter().filter(|counts| counts.ready > 0 && counts.pool.spec.check_s > 0) {
            self.look(counts).await?;
        }
        Ok(())
    }

    async fn look(&mut self, counts: &PoolCounts) -> Result<()> {
        let pool = &counts.pool;
        let now = self.core.now();
        let pause = Duration::from_secs(pool.spec.check_s / counts.ready);
        let turn = self.turns.entry(pool.id).or_insert(Turn { at: now, next: None });
        if now.since(turn.at) < pause {
            return Ok(());
        }
        turn.at = now;
        let many = (counts.ready / pool.spec.check_s).clamp(1, TOGETHER);
        let ready = Filter::eq("pool", pool.id.0).and(Filter::eq("stock", StockState::Ready.word()));
        let mut select = Select::new(ready, u32::try_from(many).unwrap_or(1));
        select.after = turn.next.take();
        let machines: Vec<Machine> = self.core.select(select).await?;
        turn.next = machines.last().map(|last| Cursor::after(last.id.0));
        let looks = machines.into_iter().map(|machine| async {
            let answer = self.answers(pool, &machine).await;
            (machine, answer)
        });
        let looked = futures_util::future::join_all(looks.collect::<Vec<_>>()).await;
        for (machine, answer) in looked {
            self.judged(machine, answer).await?;
        }
        Ok(())
    }

    async fn answers(&self, pool: &Pool, machine: &Machine) -> std::result::Result<(), String> {
        if self.core.host(machine.host).is_err() {
            return Ok(());
        }
        match machine.observed.power {
            Observed::On => {}
            Observed::Unknown => return Ok(()),
            off @ (Observed::Off | Observed::Paused) => return Err(format!("it is {}", off.word())),
        }
        let (_, image) = self.core.image_of(machine).await.map_err(|error| error.text)?;
        if pool.spec.probe == crate::pools::Probe::Agent && !image.agent {
            return Ok(());
        }
        self.core.probed(machine, &pool.spec.probe).await.map_err(|error| error.detail)
    }

    async fn judged(&mut self, machine: Machine, answer: std::result::Result<(), String>) -> Result<()> {
        let Err(why) = answer else {
            self.silent.remove(&machine.id);
            return Ok(());
        };
        let misses = self.silent.entry(machine.id).or_default();
        *misses += 1;
        if *misses < MISSES {
            return Ok(());
        }
        self.silent.remove(&machine.id);
        tracing::warn!(machine = %machine.name, reason = why, "a ready machine has stopped answering");
        let reason = Some(format!("it stopped answering: {why}"));
        self.core.stock_dropped(machine, StockState::Failed, reason).await
    }
}
