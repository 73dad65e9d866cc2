//! Reading everything, as it is at one moment.

use super::item::{self, Counts};
use super::raw::Connection;
use super::{Item, Place, StateError};
use crate::schema::{self, Type};
use crate::sql::{Bound, Draft};
use crate::{postgres, sqlite};
use hostler_core::ports::StoreError;
use hostler_core::record::{Kind, Value};
use std::collections::VecDeque;
use uuid::Uuid;

/// Rows read at once.
const PAGE: i64 = 500;

/// What is read next.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// Records of the kind at this place in [`Kind::ALL`], after this one.
    Records(usize, Option<Uuid>),
    /// Events after this one.
    Events(i64),
    /// What is allotted next.
    Counters,
    /// Nothing.
    End,
}

/// Everything that a database holds at one moment: others may go on writing.
#[derive(Debug)]
pub struct Source {
    connection: Connection,
    counts: Counts,
    next: Next,
    ready: VecDeque<Item>,
}

impl Source {
    /// Opens the database and takes hold of this moment.
    ///
    /// # Errors
    /// Open, Older; and `InUse`, when `alone` is asked for and somebody serves it (only a server can tell).
    pub async fn open(place: &Place, alone: bool) -> Result<Self, StateError> {
        let mut connection = match place {
            Place::File(path) => Connection::Sqlite(Box::new(sqlite::read_state(path).await?)),
            Place::Server(address) => {
                let opened = postgres::open_state(address, false, alone).await?;
                Connection::Postgres(Box::new(opened.ok_or_else(|| StateError::InUse(place.to_string()))?))
            }
        };
        let found = connection.number(Draft::new("SELECT MAX(version) FROM schema_version").finish()).await?;
        let known = sqlite::newest();
        if found < known {
            return Err(StateError::Older { database: place.to_string(), found, known });
        }
        connection
            .command(match place {
                Place::File(_) => "BEGIN",
                Place::Server(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            })
            .await?;
        let mut counts = Counts::new();
        for kind in Kind::ALL {
            let mut draft = Draft::new("SELECT COUNT(*) FROM ");
            draft.table(kind);
            counts.insert(kind.word().to_owned(), count(&mut connection, draft.finish()).await?);
        }
        let events = count(&mut connection, Draft::new("SELECT COUNT(*) FROM event").finish()).await?;
        counts.insert("event".to_owned(), events);
        Ok(Self { connection, counts, next: Next::Records(0, None), ready: VecDeque::new() })
    }

    /// How many records of each kind, and events, will come.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The next item; none at the end.
    ///
    /// # Errors
    /// Store.
    pub async fn next(&mut self) -> Result<Option<Item>, StateError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            match self.next {
                Next::Records(place, after) => match Kind::ALL.get(place) {
                    Some(kind) => self.records(*kind, place, after).await?,
                    None => self.next = Next::Events(i64::MIN),
                },
                Next::Events(after) => self.events(after).await?,
                Next::Counters => self.counters().await?,
                Next::End => return Ok(None),
            }
        }
    }

    /// Lets go of the database.
    pub async fn close(self) {
        self.connection.close().await;
    }

    async fn records(&mut self, kind: Kind, place: usize, after: Option<Uuid>) -> Result<(), StateError> {
        let mut draft = Draft::new("SELECT id, number, rev, body");
        let mut types = vec![Type::Id, Type::Int, Type::Int, Type::Text];
        for column in schema::columns(kind) {
            draft.push(", ").column(*column);
            types.push(column.holds);
        }
        if kind == Kind::Task {
            draft.push(", lease_epoch, cancel");
            types.extend([Type::Int, Type::Int]);
        }
        draft.push(" FROM ").table(kind);
        if let Some(after) = after {
            draft.push(" WHERE id > ").bind(Value::Id(after));
        }
        draft.push(" ORDER BY id LIMIT ").bind(Value::Int(PAGE));
        let rows = self.connection.rows(draft.finish(), &types).await?;
        let mut last = None;
        for row in rows {
            let item = record(kind, row)?;
            if let Item::Record { id, .. } = &item {
                last = Some(*id);
            }
            self.ready.push_back(item);
        }
        self.next = if last.is_some() { Next::Records(place, last) } else { Next::Records(place + 1, None) };
        Ok(())
    }

    async fn events(&mut self, after: i64) -> Result<(), StateError> {
        let statement = crate::statements::events_after(after, u32::try_from(PAGE).unwrap_or(u32::MAX));
        let types = [Type::Int, Type::Int, Type::Text, Type::Text, Type::Id, Type::Id, Type::Text];
        self.next = Next::Counters;
        for row in self.connection.rows(statement, &types).await? {
            let [
                Value::Int(seq),
                Value::Int(at),
                Value::Text(kind),
                Value::Text(change),
                Value::Id(subject),
                owner,
                Value::Text(body),
            ] = <[Value; 7]>::try_from(row).map_err(|_| torn("event"))?
            else {
                return Err(torn("event").into());
            };
            let owner = if let Value::Id(owner) = owner { Some(owner) } else { None };
            self.next = Next::Events(seq);
            self.ready.push_back(Item::Event { seq, at, kind, change, subject, owner, body });
        }
        Ok(())
    }

    async fn counters(&mut self) -> Result<(), StateError> {
        let text = match self.connection {
            Connection::Postgres(_) => "SELECT kind, next FROM counter ORDER BY kind",
            // SQLite allots the position of events itself.
            Connection::Sqlite(_) => {
                "SELECT kind, next FROM counter UNION ALL SELECT 'event', COALESCE((SELECT seq FROM sqlite_sequence \
                 WHERE name = 'event'), 0) + 1 ORDER BY kind"
            }
        };
        for row in self.connection.rows(Draft::new(text).finish(), &[Type::Text, Type::Int]).await? {
            let [Value::Text(kind), Value::Int(next)] =
                <[Value; 2]>::try_from(row).map_err(|_| torn("counter"))?
            else {
                return Err(torn("counter").into());
            };
            self.ready.push_back(Item::Counter { kind, next });
        }
        self.next = Next::End;
        Ok(())
    }
}

fn record(kind: Kind, mut row: Vec<Value>) -> Result<Item, StoreError> {
    let lease = if kind == Kind::Task {
        match (row.pop(), row.pop()) {
            (Some(Value::Int(cancel)), Some(Value::Int(epoch))) => Some((epoch, cancel)),
            _ => return Err(torn(kind.word())),
        }
    } else {
        None
    };
    let columns = row.split_off(4.min(row.len()));
    let [Value::Id(id), Value::Int(number), Value::Int(rev), Value::Text(body)] =
        <[Value; 4]>::try_from(row).map_err(|_| torn(kind.word()))?
    else {
        return Err(torn(kind.word()));
    };
    let columns = item::named(kind, columns);
    Ok(Item::Record { kind: kind.word().to_owned(), id, number, rev, columns, lease, body })
}

fn torn(table: &str) -> StoreError {
    StoreError::Failed(format!("a row of {table} cannot be read"))
}

async fn count(connection: &mut Connection, statement: Bound) -> Result<u64, StoreError> {
    Ok(u64::try_from(connection.number(statement).await?).unwrap_or(0))
}
