//! Filling an empty database, all or nothing.

use super::item::{self, Counts};
use super::raw::Connection;
use super::{Item, Place, StateError};
use crate::schema;
use crate::sql::Draft;
use crate::{postgres, sqlite};
use hostler_core::record::{Kind, Value};

/// An empty database that is being filled. Dropped before [`Target::finish`] it stays empty.
#[derive(Debug)]
pub struct Target {
    connection: Connection,
    given: Counts,
}

impl Target {
    /// Opens the database, makes its tables if need be, and begins.
    ///
    /// # Errors
    /// Open; `InUse`, when somebody serves it (of a file only its directory's lock tells); `NotEmpty`.
    pub async fn open(place: &Place) -> Result<Self, StateError> {
        let mut connection = match place {
            Place::File(path) => Connection::Sqlite(Box::new(sqlite::write_state(path).await?)),
            Place::Server(address) => {
                let opened = postgres::open_state(address, true, true).await?;
                Connection::Postgres(Box::new(opened.ok_or_else(|| StateError::InUse(place.to_string()))?))
            }
        };
        connection
            .command(match place {
                Place::File(_) => "BEGIN IMMEDIATE",
                Place::Server(_) => "BEGIN",
            })
            .await?;
        let mut target = Self { connection, given: Counts::new() };
        for kind in Kind::ALL {
            target.given.insert(kind.word().to_owned(), 0);
        }
        target.given.insert("event".to_owned(), 0);
        for (_, found) in target.found().await? {
            if found > 0 {
                return Err(StateError::NotEmpty(place.to_string()));
            }
        }
        Ok(target)
    }

    /// Adds an item.
    ///
    /// # Errors
    /// Unfit, when it does not fit; Store.
    pub async fn put(&mut self, item: Item) -> Result<(), StateError> {
        *self.given.entry(item.table().to_owned()).or_default() += 1;
        match item {
            Item::Record { kind, id, number, rev, columns, lease, body } => {
                let kind = item::kind(&kind)?;
                let mut values = vec![Value::Id(id), Value::Int(number), Value::Int(rev), Value::Text(body)];
                values.extend(item::ordered(kind, columns)?);
                let mut draft = Draft::new("INSERT INTO ");
                draft.table(kind).push(" (id, number, rev, body");
                for column in schema::columns(kind) {
                    draft.push(", ").column(*column);
                }
                if let (Kind::Task, Some((epoch, cancel))) = (kind, lease) {
                    draft.push(", lease_epoch, cancel");
                    values.extend([Value::Int(epoch), Value::Int(cancel)]);
                }
                draft.push(") VALUES (").bind_all(values).push(")");
                self.connection.change(draft.finish()).await?;
            }
            Item::Event { seq, at, kind, change, subject, owner, body } => {
                item::kind(&kind)?;
                let values = [
                    Value::Int(seq),
                    Value::Int(at),
                    Value::Text(kind),
                    Value::Text(change),
                    Value::Id(subject),
                    owner.map_or(Value::Null, Value::Id),
                    Value::Text(body),
                ];
                let mut draft =
                    Draft::new("INSERT INTO event (seq, at, kind, change, subject, owner, body) VALUES (");
                draft.bind_all(values).push(")");
                self.connection.change(draft.finish()).await?;
            }
            Item::Counter { kind, next } => self.counter(kind, next).await?,
        }
        Ok(())
    }

    async fn counter(&mut self, kind: String, next: i64) -> Result<(), StateError> {
        if let (Connection::Sqlite(_), "event") = (&self.connection, kind.as_str()) {
            self.connection.command("DELETE FROM sqlite_sequence WHERE name = 'event'").await?;
            let mut draft = Draft::new("INSERT INTO sqlite_sequence (name, seq) VALUES ('event', ");
            draft.bind(Value::Int(next - 1)).push(")");
            self.connection.change(draft.finish()).await?;
            return Ok(());
        }
        let mut draft = Draft::new("UPDATE counter SET next = ");
        draft.bind(Value::Int(next)).push(" WHERE kind = ").bind(Value::Text(kind.clone()));
        match self.connection.change(draft.finish()).await? {
            1 => Ok(()),
            _ => Err(StateError::Unfit(format!("nothing counts {kind:?} here"))),
        }
    }

    /// Compares what is there with what was given, and keeps it, durably. Answers how many of each there are.
    ///
    /// # Errors
    /// Miscounted, Store; nothing is kept then.
    pub async fn finish(mut self) -> Result<Counts, StateError> {
        let found = self.found().await?;
        for (table, found) in &found {
            let given = self.given.get(table).copied().unwrap_or(0);
            if given != *found {
                return Err(StateError::Miscounted { table: table.clone(), given, found: *found });
            }
        }
        self.connection.command("COMMIT").await?;
        self.connection.close().await;
        Ok(found)
    }

    async fn found(&mut self) -> Result<Counts, StateError> {
        let mut found = Counts::new();
        for kind in Kind::ALL {
            let mut draft = Draft::new("SELECT COUNT(*) FROM ");
            draft.table(kind);
            let count = self.connection.number(draft.finish()).await?;
            found.insert(kind.word().to_owned(), u64::try_from(count).unwrap_or(0));
        }
        let events = self.connection.number(Draft::new("SELECT COUNT(*) FROM event").finish()).await?;
        found.insert("event".to_owned(), u64::try_from(events).unwrap_or(0));
        Ok(found)
    }
}
