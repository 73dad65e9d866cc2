//! What clients of pools asked and were answered, and what the books said in between.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a client asked for. Machines go by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// How many of which name.
    Checkout {
        wanted: Vec<(String, usize)>,
    },
    /// One field of a checkout gets a value; `tag:KEY` is a tag, `lifetime` its seconds.
    Change {
        machine: String,
        field: String,
        value: String,
    },
    Return {
        machine: String,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was promised. Of a checkout: each name that was asked for, and a machine.
    Acknowledged { lent: Vec<(String, String)> },
    /// It was refused: nothing may have changed.
    Refused { status: u16 },
    /// The server died before it answered: it was done by then, or never.
    Unknown,
}

/// One request. Moments are counted, not measured: `began` of a later request is greater than `ended` of an earlier one.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub began: u64,
    pub ended: u64,
    pub client: usize,
    pub asked: Asked,
    pub outcome: Outcome,
}

impl Entry {
    pub(super) fn may_be_done(&self) -> bool {
        !matches!(self.outcome, Outcome::Refused { .. })
    }

    pub(super) fn is_promised(&self) -> bool {
        matches!(self.outcome, Outcome::Acknowledged { .. })
    }
}

/// Where a machine of a pool is on its way. The order is the only one in which it may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Filling,
    Ready,
    Lent,
    Returned,
    Failed,
}

/// A machine of a pool in the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stock {
    pub pool: String,
    pub state: State,
    /// Whether its record is all that is left of it.
    pub gone: bool,
    /// Whose token it was lent with, once it was.
    pub client: Option<Result<usize, String>>,
    /// When it was lent, by the server's clock: machines of one checkout have the same.
    pub lent_at: i64,
    /// Fields of its checkout, as [`Asked::Change`] names them.
    pub fields: BTreeMap<String, String>,
}

/// The books at one moment between `began` and `ended`: all machines of pools, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    pub began: u64,
    pub ended: u64,
    pub stock: BTreeMap<String, Stock>,
}

/// Everything that happened.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub entries: Vec<Entry>,
    /// In their order; none overlaps another.
    pub looks: Vec<Look>,
}

/// Where clients and whoever looks at the books write it down.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<(u64, Record)>);

impl History {
    fn kept(&self) -> MutexGuard<'_, (u64, Record)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next moment.
    pub(super) fn moment(&self) -> u64 {
        let mut kept = self.kept();
        kept.0 += 1;
        kept.0
    }

    /// Notes the end of a request.
    pub(super) fn note(&self, began: u64, client: usize, asked: Asked, outcome: Outcome) {
        let mut kept = self.kept();
        kept.0 += 1;
        let ended = kept.0;
        kept.1.entries.push(Entry { began, ended, client, asked, outcome });
    }

    /// Notes a look that has just been had.
    pub(super) fn seen(&self, began: u64, stock: BTreeMap<String, Stock>) {
        let mut kept = self.kept();
        kept.0 += 1;
        let ended = kept.0;
        kept.1.looks.push(Look { began, ended, stock });
    }

    pub(super) fn record(&self) -> Record {
        self.kept().1.clone()
    }
}
