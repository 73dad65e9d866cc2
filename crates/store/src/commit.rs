//! A commit as a list of statements.
//!
//! A [`Plan`] is made by whoever asks for the commit, so that the writer only runs it and looks at the results.
//! Each change of a record is one [`Part`]: one to a few statements with one block of parameters. Parts are joined
//! to texts of several statements that reach the database in one go, because each trip to the connection's thread
//! costs as much as a statement. Commits of the same shape share their text, and with it the prepared statements.
//!
//! PostgreSQL prepares one statement at a time, so there each part is one statement and goes by itself; and it has
//! no rowid, so its events get their `seq` together when a batch ends, and are no parts.

use crate::filter;
use crate::schema::{self, Write};
use crate::sql::{Bound, Draft, Engine, Sql};
use hostler_core::events::NewEvent;
use hostler_core::ids::TaskId;
use hostler_core::ports::{Alteration, Commit, Committed, Fence, Guard, Stamp, StoreError};
use hostler_core::record::{Document, Kind, Value};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, RwLock};
use uuid::Uuid;

/// At most this many parts go in one text for SQLite: it bounds the parameters and the number of shapes.
const PARTS: usize = 16;
/// Shapes kept; commits of the program have some dozens.
const SHAPES: usize = 512;

/// What one part of a commit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// The lease must be held.
    Hold,
    /// The lease must be held and is given back.
    Release,
    /// A record must be at this version, though it is not changed.
    Unchanged(Kind),
    /// The holder of a task is asked to cancel it, at once.
    Cancel,
    /// A new record that gets the next number of its kind.
    InsertNext(Kind),
    /// A new record that brings its number.
    InsertKept(Kind),
    /// A record as it shall be.
    Update(Kind),
    /// A record goes.
    Delete(Kind),
    /// Something is told.
    Event,
}

/// Whom a part is about, to say what went wrong and to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum About {
    /// The fence.
    Lease(TaskId),
    /// A record that must be as it was read.
    Unchanged(Kind, Uuid),
    /// The task to cancel.
    Cancel(TaskId),
    /// A changed record, with what is known of its stamp.
    Record(Kind, Uuid, Stamp),
    /// An event, by its place in the commit.
    Event(usize),
}

impl About {
    /// The record that answers to reads may differ in afterwards, in its body or in a column.
    pub(crate) fn changes(&self) -> Option<(Kind, Uuid)> {
        match self {
            Self::Record(kind, id, _) => Some((*kind, *id)),
            // It makes the task due.
            Self::Cancel(task) => Some((Kind::Task, task.0)),
            Self::Lease(_) | Self::Unchanged(..) | Self::Event(_) => None,
        }
    }
}

/// Some parts that go to the database together.
#[derive(Debug)]
pub(crate) struct Step {
    /// Their texts.
    pub(crate) shape: Arc<Shape>,
    /// Whom each part is about.
    pub(crate) parts: Vec<(Part, About)>,
    /// The values of all of them.
    pub(crate) values: Vec<Value>,
}

/// The texts of one list of parts.
#[derive(Debug)]
pub(crate) struct Shape {
    /// With the beginning of a transaction: [`ALONE`] statements before the first part.
    pub(crate) alone: Sql,
    /// With a savepoint that takes the place of the one before: [`AMONG`] statements before the first part.
    pub(crate) among: Sql,
    /// The parts alone.
    pub(crate) bare: Sql,
}

/// Statements before the parts in [`Shape::alone`].
pub(crate) const ALONE: usize = 1;
/// Statements before the parts in [`Shape::among`].
pub(crate) const AMONG: usize = 2;

/// A commit, ready to be run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What to run, in order.
    pub(crate) steps: Vec<Step>,
    /// What to tell once it is durable.
    pub(crate) events: Vec<NewEvent>,
    /// What must hold once the steps have run, with the statement that tells how much there is.
    pub(crate) guards: Vec<(Bound, Guard)>,
}

impl Plan {
    /// The plan of this commit.
    ///
    /// # Errors
    /// Failed, when a record's columns are not those of its table.
    pub(crate) fn new(engine: Engine, commit: Commit) -> Result<Self, StoreError> {
        let mut drafts = Vec::with_capacity(commit.alterations.len() + commit.events.len() + 2);
        drafts.extend(commit.fence.map(fence));
        drafts.extend(commit.unchanged.into_iter().map(unchanged));
        for alteration in commit.alterations {
            drafts.push(match alteration {
                Alteration::Insert(document) => insert(document)?,
                Alteration::Update(document) => update(document)?,
                Alteration::Delete { kind, id, rev } => delete(kind, id, rev),
            });
        }
        drafts.extend(commit.cancel.map(cancel));
        if engine == Engine::Sqlite {
            drafts.extend(commit.events.iter().enumerate().map(|(place, event)| tell(place, event)));
        }
        for event in &commit.events {
            schema::refuse_nul(event.kind, &event.body)?;
        }
        let guards = commit.guards.into_iter().map(guarded).collect::<Result<_, _>>()?;
        Ok(Self { steps: steps(engine, drafts), events: commit.events, guards })
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.events.is_empty()
    }
}

/// What one statement did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// The first column of its first row.
    pub(crate) answer: Option<i64>,
    /// How many rows it changed.
    pub(crate) changed: u64,
    /// SQLite: the rowid of what was inserted last, by it or before it.
    pub(crate) inserted: i64,
}

/// What the results of one part mean.
///
/// # Errors
/// What the commit is refused with.
pub(crate) fn read(
    part: Part,
    about: About,
    results: &[Outcome],
    committed: &mut Committed,
    seqs: &mut [i64],
) -> Result<(), StoreError> {
    let changed = results.first().map_or(0, |result| result.changed);
    let answer = results.iter().find_map(|result| result.answer);
    match about {
        About::Lease(task) => {
            committed.cancel_requested = answer.ok_or(StoreError::Fenced(task))? == 1;
        }
        About::Unchanged(kind, id) => {
            answer.ok_or(StoreError::Stale { kind, id })?;
        }
        About::Cancel(task) if changed == 0 => {
            return Err(StoreError::Stale { kind: Kind::Task, id: task.0 });
        }
        About::Cancel(_) => {}
        About::Record(kind, id, stamp) => {
            if matches!(part, Part::Update(_) | Part::Delete(_)) && changed == 0 {
                return Err(StoreError::Stale { kind, id });
            }
            committed.stamps.push(Stamp { number: answer.unwrap_or(stamp.number), rev: stamp.rev });
        }
        About::Event(place) => {
            // The table's key is its rowid. RETURNING would say the same at the price of a row.
            if let (Some(seq), Some(result)) = (seqs.get_mut(place), results.first()) {
                *seq = result.inserted;
            }
        }
    }
    Ok(())
}

/// A guard with the statement that answers how much there is.
fn guarded(guard: Guard) -> Result<(Bound, Guard), StoreError> {
    let filter = guard.filter.clone();
    let statement = match guard.column {
        Some(column) => filter::sum(guard.kind, column, filter)?,
        None => filter::count(guard.kind, filter)?,
    };
    Ok((statement, guard))
}

/// Whether a guard holds when there is so much.
///
/// # Errors
/// Exceeded.
pub(crate) fn hold(guard: &Guard, found: i64) -> Result<(), StoreError> {
    if found <= guard.at_most {
        return Ok(());
    }
    Err(StoreError::Exceeded { guard: Box::new(guard.clone()), found })
}

/// Shapes by their parts.
type Shapes = HashMap<(Engine, Box<[Part]>), Arc<Shape>>;

/// A part with its values.
type Drafted = (Part, About, Vec<Value>);

fn fence(fence: Fence) -> Drafted {
    let part = if fence.release { Part::Release } else { Part::Hold };
    (part, About::Lease(fence.task), vec![Value::Id(fence.task.0), Value::Int(fence.epoch)])
}

fn unchanged((kind, id, rev): (Kind, Uuid, i64)) -> Drafted {
    (Part::Unchanged(kind), About::Unchanged(kind, id), vec![Value::Id(id), Value::Int(rev)])
}

fn cancel(task: TaskId) -> Drafted {
    (Part::Cancel, About::Cancel(task), vec![Value::Id(task.0)])
}

fn insert(document: Document) -> Result<Drafted, StoreError> {
    let Document { kind, id, number, body, columns, .. } = document;
    schema::refuse_nul(kind, &body)?;
    let mut values = vec![Value::Id(id), Value::Text(body)];
    let part = if number == 0 {
        Part::InsertNext(kind)
    } else {
        values.push(Value::Int(number));
        Part::InsertKept(kind)
    };
    values.extend(schema::values(kind, columns)?);
    Ok((part, About::Record(kind, id, Stamp { number, rev: 1 }), values))
}

fn update(document: Document) -> Result<Drafted, StoreError> {
    let Document { kind, id, number, rev, body, columns } = document;
    schema::refuse_nul(kind, &body)?;
    let mut values = vec![Value::Id(id), Value::Text(body), Value::Int(rev)];
    values.extend(schema::values(kind, columns)?);
    Ok((Part::Update(kind), About::Record(kind, id, Stamp { number, rev: rev + 1 }), values))
}

fn delete(kind: Kind, id: Uuid, rev: i64) -> Drafted {
    let about = About::Record(kind, id, Stamp { number: 0, rev });
    (Part::Delete(kind), about, vec![Value::Id(id), Value::Int(rev)])
}

fn tell(place: usize, event: &NewEvent) -> Drafted {
    let values = vec![
        Value::Int(event.at.0),
        Value::from(event.kind.word()),
        Value::from(event.change.word()),
        Value::Id(event.subject),
        Value::from(event.owner.map(|owner| owner.0)),
        Value::from(event.body.as_str()),
    ];
    (Part::Event, About::Event(place), values)
}

fn steps(engine: Engine, drafts: Vec<Drafted>) -> Vec<Step> {
    let most = match engine {
        Engine::Sqlite => PARTS,
        Engine::Postgres => 1,
    };
    let mut steps = Vec::with_capacity(drafts.len() / most + 1);
    let mut drafts = drafts.into_iter().peekable();
    while drafts.peek().is_some() {
        let mut parts = Vec::with_capacity(PARTS);
        let mut values = Vec::with_capacity(64);
        for (part, about, more) in drafts.by_ref().take(most) {
            parts.push((part, about));
            values.extend(more);
        }
        let key: Vec<Part> = parts.iter().map(|(part, _)| *part).collect();
        steps.push(Step { shape: shape(engine, key.into()), parts, values });
    }
    steps
}

/// The texts for these parts, written once.
fn shape(engine: Engine, parts: Box<[Part]>) -> Arc<Shape> {
    static KNOWN: OnceLock<RwLock<Shapes>> = OnceLock::new();
    let known = KNOWN.get_or_init(RwLock::default);
    // A poisoned lock still guards a whole map: entries are only ever added complete, or all dropped.
    let key = (engine, parts);
    let found = known.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&key).cloned();
    found.unwrap_or_else(|| {
        let write = |prefix: &'static str| {
            let mut draft = Draft::new(prefix);
            let mut first = 1;
            for part in &key.1 {
                first += part.write(engine, &mut draft, first);
            }
            draft.text()
        };
        let shape = Arc::new(Shape {
            alone: write("BEGIN IMMEDIATE; "),
            among: write("RELEASE SAVEPOINT request; SAVEPOINT request; "),
            bare: write(""),
        });
        let mut known = known.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.len() >= SHAPES {
            known.clear();
        }
        known.insert(key, Arc::clone(&shape));
        shape
    })
}

impl Part {
    /// How many statements it is for SQLite.
    pub(crate) fn statements(self) -> usize {
        match self {
            Self::Hold
            | Self::Release
            | Self::Unchanged(_)
            | Self::Cancel
            | Self::Delete(_)
            | Self::Event => 1,
            Self::InsertNext(_) | Self::InsertKept(_) => 2,
            Self::Update(kind) => 1 + schema::groups(kind).count(),
        }
    }

    /// Writes the statements with parameters from `first` on; answers how many parameters there are.
    fn write(self, engine: Engine, draft: &mut Draft, first: usize) -> usize {
        const HELD: &str = " AND lease_owner IS NOT NULL";
        match self {
            Self::Hold => {
                draft.push("SELECT cancel FROM task WHERE id = ").parameter(first);
                draft.push(" AND lease_epoch = ").parameter(first + 1).push(HELD).push("; ");
                2
            }
            Self::Release => {
                draft
                    .push("UPDATE task SET lease_owner = NULL, lease_until = NULL WHERE id = ")
                    .parameter(first);
                draft.push(" AND lease_epoch = ").parameter(first + 1).push(HELD).push(" RETURNING cancel; ");
                2
            }
            Self::Unchanged(kind) => {
                draft.push("SELECT number FROM ").table(kind).push(" WHERE id = ").parameter(first);
                draft.push(" AND rev = ").parameter(first + 1).push("; ");
                2
            }
            Self::Cancel => {
                draft.push("UPDATE task SET cancel = 1, due = 0 WHERE id = ").parameter(first).push("; ");
                1
            }
            Self::InsertNext(kind) if engine == Engine::Postgres => {
                draft.push("WITH taken AS (");
                count_up(draft, kind);
                draft.push(" RETURNING next - 1 AS number) ");
                let used = write_insert(draft, kind, first, Number::Taken);
                draft.push(" RETURNING number; ");
                used
            }
            Self::InsertKept(kind) if engine == Engine::Postgres => {
                draft.push("WITH passed AS (");
                count_past(draft, kind, first + 2);
                draft.push(") ");
                let used = write_insert(draft, kind, first, Number::Brought);
                draft.push("; ");
                used
            }
            Self::InsertNext(kind) => {
                count_up(draft, kind);
                draft.push("; ");
                let used = write_insert(draft, kind, first, Number::Counted);
                draft.push(" RETURNING number; ");
                used
            }
            Self::InsertKept(kind) => {
                let used = write_insert(draft, kind, first, Number::Brought);
                draft.push("; ");
                count_past(draft, kind, first + 2);
                draft.push("; ");
                used
            }
            Self::Update(kind) if engine == Engine::Postgres => write_whole_update(draft, kind, first),
            Self::Update(kind) => write_update(draft, kind, first),
            Self::Delete(kind) => {
                draft.push("DELETE FROM ").table(kind).push(" WHERE id = ").parameter(first);
                draft.push(" AND rev = ").parameter(first + 1).push(" RETURNING number; ");
                2
            }
            Self::Event => {
                draft.push("INSERT INTO event (at, kind, change, subject, owner, body) VALUES (");
                parameters(draft, first, 6);
                draft.push("); ");
                6
            }
        }
    }
}

/// Takes the next number. First, so that with several writers it also locks the counter.
fn count_up(draft: &mut Draft, kind: Kind) {
    draft.push("UPDATE counter SET next = next + 1 WHERE kind = '").word(kind).push("'");
}

/// Lets the counter pass a number that was brought.
fn count_past(draft: &mut Draft, kind: Kind, number: usize) {
    draft.push("UPDATE counter SET next = ").parameter(number).push(" + 1 WHERE kind = '");
    draft.word(kind).push("' AND next <= ").parameter(number);
}

/// Where a new record's number comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    /// The third parameter.
    Brought,
    /// The counter, which the statement before has moved.
    Counted,
    /// The counter, which this statement moves as `taken`.
    Taken,
}

fn write_insert(draft: &mut Draft, kind: Kind, first: usize, number: Number) -> usize {
    let columns = schema::columns(kind);
    let leading = if number == Number::Brought { 3 } else { 2 };
    draft.push("INSERT INTO ").table(kind).push(" (id, body, number, rev");
    for column in columns {
        draft.push(", ").column(*column);
    }
    draft.push(if number == Number::Taken { ") SELECT " } else { ") VALUES (" });
    parameters(draft, first, leading);
    match number {
        Number::Brought => {}
        Number::Counted => {
            draft.push(", (SELECT next - 1 FROM counter WHERE kind = '").word(kind).push("')");
        }
        Number::Taken => {
            draft.push(", taken.number");
        }
    }
    draft.push(", 1, ");
    parameters(draft, first + leading, columns.len());
    draft.push(if number == Number::Taken { " FROM taken" } else { ")" });
    leading + columns.len()
}

/// All columns at once: PostgreSQL looks itself which of them have changed, and leaves the indexes alone if none has.
fn write_whole_update(draft: &mut Draft, kind: Kind, first: usize) -> usize {
    let columns = schema::columns(kind);
    draft.push("UPDATE ").table(kind).push(" SET rev = rev + 1, body = ").parameter(first + 1);
    for (column, number) in columns.iter().zip(first + 3..) {
        draft.push(", ").column(*column).push(" = ").parameter(number);
    }
    draft.push(" WHERE id = ").parameter(first).push(" AND rev = ").parameter(first + 2).push("; ");
    3 + columns.len()
}

fn write_update(draft: &mut Draft, kind: Kind, first: usize) -> usize {
    let columns = schema::columns(kind);
    let numbered = || columns.iter().zip(first + 3..);
    draft.push("UPDATE ").table(kind).push(" SET rev = rev + 1, body = ").parameter(first + 1);
    for (column, number) in numbered().filter(|(column, _)| column.write == Write::Always) {
        draft.push(", ").column(*column).push(" = ").parameter(number);
    }
    draft.push(" WHERE id = ").parameter(first).push(" AND rev = ").parameter(first + 2).push("; ");
    for group in schema::groups(kind) {
        let members = || numbered().filter(|(column, _)| column.write == Write::Group(group));
        draft.push("UPDATE ").table(kind).push(" SET ");
        for (place, (column, number)) in members().enumerate() {
            draft.push(if place > 0 { ", " } else { "" }).column(*column).push(" = ").parameter(number);
        }
        draft.push(" WHERE id = ").parameter(first).push(" AND (");
        for (place, (column, number)) in members().enumerate() {
            draft.push(if place > 0 { " OR " } else { "" });
            draft.column(*column).push(" IS DISTINCT FROM ").parameter(number);
        }
        draft.push("); ");
    }
    3 + columns.len()
}

fn parameters(draft: &mut Draft, first: usize, count: usize) {
    for number in first..first + count {
        if number > first {
            draft.push(", ");
        }
        draft.parameter(number);
    }
}
