//! The columns of each kind's table, as core names them in [`Record::columns`](hostler_core::record::Record).
//!
//! This is the list of what may be named in a statement: a filter or a record with any other column is refused.

use hostler_core::ports::StoreError;
use hostler_core::record::{Kind, Value};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// Whole numbers, times, booleans.
    Int,
    /// Text.
    Text,
    /// Keys of records.
    Id,
}

/// When an update writes a column.
///
/// SQLite rewrites the index entries of every column named in an `UPDATE`, changed or not; with eight indexes that
/// is eight more pages in the log for each changed machine. So an update writes the columns that are in no index
/// at once, and those that are in one only where they differ, in groups that tend to change together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// In no index: always.
    Always,
    /// Indexed: with the others of this group, if any of them differs.
    Group(u8),
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name, the same in core, in a filter and in the table.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) holds: Type,
    /// Whether it may have no value.
    pub(crate) nullable: bool,
    /// When an update writes it.
    pub(crate) write: Write,
}

impl Column {
    const fn new(name: &'static str, holds: Type) -> Self {
        Self { name, holds, nullable: false, write: Write::Always }
    }

    const fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    const fn group(mut self, group: u8) -> Self {
        self.write = Write::Group(group);
        self
    }

    /// Whether this value may be compared with the column or kept in it.
    pub(crate) fn admits(&self, value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Int(_) => self.holds == Type::Int,
            Value::Text(_) => self.holds == Type::Text,
            Value::Id(_) => self.holds == Type::Id,
        }
    }
}

const fn int(name: &'static str) -> Column {
    Column::new(name, Type::Int)
}

const fn text(name: &'static str) -> Column {
    Column::new(name, Type::Text)
}

const fn id(name: &'static str) -> Column {
    Column::new(name, Type::Id)
}

/// The columns that every table has, but for the body, which nothing filters by.
const COMMON: [Column; 3] = [id("id"), int("number"), int("rev")];

/// The columns of this kind's table beside `id`, `number`, `rev` and `body`, in the order of the table.
pub(crate) fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Machine => {
            &const {
                [
                    text("name").group(0),
                    text("life").group(1),
                    text("wanted"),
                    text("observed").group(1),
                    id("owner").group(2),
                    id("cluster").group(0),
                    id("host").group(0),
                    id("template").group(0),
                    id("task").nullable().group(1),
                    int("vcpus"),
                    int("memory_mib"),
                    int("created_at"),
                    int("updated_at"),
                    text("title"),
                    text("domain"),
                    text("description"),
                    id("pool").nullable().group(4),
                    text("stock").nullable().group(2),
                    int("stocked_at").nullable().group(4),
                    int("lent_until").nullable().group(3),
                    int("borne_mib"),
                ]
            }
        }
        Kind::Template => {
            &const {
                [
                    text("name").group(0),
                    int("version").group(0),
                    text("state").group(0),
                    id("owner").group(0),
                    id("storage").group(0),
                    id("task").nullable().group(1),
                    int("created_at"),
                ]
            }
        }
        Kind::Volume => {
            &const {
                [
                    text("name").group(0),
                    id("owner").group(0),
                    id("storage").group(0),
                    id("template").nullable().group(0),
                    id("machine").nullable().group(1),
                    text("state").group(1),
                    id("task").nullable().group(1),
                    int("size_mib"),
                    int("created_at"),
                    id("golden").nullable().group(0),
                ]
            }
        }
        Kind::Medium => {
            &const {
                [
                    text("name").group(0),
                    id("owner").group(0),
                    id("storage").group(0),
                    text("state").group(1),
                    id("task").nullable().group(1),
                    int("created_at"),
                ]
            }
        }
        Kind::Snapshot => {
            &const {
                [
                    text("name").group(0),
                    id("owner").group(0),
                    id("machine").group(0),
                    text("state").group(1),
                    id("task").nullable().group(1),
                    int("created_at"),
                ]
            }
        }
        Kind::Storage => &const { [text("name").group(0), id("host").group(0), int("created_at")] },
        Kind::Network => &const { [text("name").group(0), id("cluster").group(0), int("created_at")] },
        Kind::Address => {
            &const {
                [
                    id("network").group(0),
                    text("ip").group(0),
                    id("machine").nullable().group(1),
                    id("owner").group(1),
                    int("created_at"),
                ]
            }
        }
        Kind::Host => &const { [text("name").group(0), id("cluster").group(0), int("created_at")] },
        Kind::Cluster => &const { [text("name").group(0), int("created_at")] },
        Kind::Account => {
            &const {
                [
                    text("login").group(0),
                    text("email").group(0),
                    text("role").group(0),
                    int("enabled"),
                    int("created_at"),
                ]
            }
        }
        Kind::Group => &const { [text("name").group(0), int("created_at")] },
        Kind::Member => &const { [id("in_group").group(0), id("account").group(0), int("created_at")] },
        Kind::Credential => {
            &const {
                [
                    id("account").group(0),
                    text("hash").group(0),
                    int("created_at"),
                    text("kind").group(0),
                    text("description"),
                    int("expires_at").nullable().group(1),
                    int("used_at").nullable(),
                ]
            }
        }
        Kind::SshKey => {
            &const {
                [
                    id("account").group(0),
                    text("name").group(0),
                    text("fingerprint").group(0),
                    int("created_at"),
                ]
            }
        }
        Kind::Grant => {
            &const {
                [
                    text("object_kind"),
                    id("object").group(0),
                    id("subject").group(0),
                    text("subject_kind"),
                    int("created_at"),
                ]
            }
        }
        Kind::Quota => &const { [id("subject").group(0), text("subject_kind"), int("created_at")] },
        Kind::Deed => {
            &const {
                [
                    id("account").nullable().group(0),
                    text("login"),
                    text("action").group(0),
                    id("object").nullable().group(0),
                    text("object_kind"),
                    text("door"),
                    text("outcome"),
                    int("created_at").group(0),
                ]
            }
        }
        Kind::Pool => &const { [text("name").group(0), int("created_at")] },
        Kind::Request => {
            &const { [text("key").group(0), text("state").group(1), id("owner").group(0), int("created_at")] }
        }
        Kind::Demand => &const { [text("pool").group(0), int("day").group(0), int("created_at")] },
        Kind::Golden => {
            &const {
                [
                    id("template").group(0),
                    id("host").group(0),
                    text("state").group(1),
                    id("task").nullable().group(1),
                    int("created_at"),
                ]
            }
        }
        Kind::Setting => &const { [text("name").group(0), int("created_at")] },
        Kind::Task => {
            &const {
                [
                    text("kind").group(0),
                    text("state").group(1),
                    int("open").group(1),
                    int("due").group(1),
                    id("host").nullable(),
                    id("owner").group(0),
                    id("subject").group(0),
                    int("created_at"),
                ]
            }
        }
        Kind::Replay => &const { [id("account").group(0), text("key").group(0), int("created_at").group(0)] },
    }
}

/// The groups of indexed columns that this kind has, see [`Write::Group`].
pub(crate) fn groups(kind: Kind) -> impl Iterator<Item = u8> {
    let last = columns(kind).iter().filter_map(|column| match column.write {
        Write::Always => None,
        Write::Group(group) => Some(group),
    });
    0..last.max().map_or(0, |group| group + 1)
}

/// The column of this name.
///
/// # Errors
/// Failed, when the kind has none: a mistake in core, and never text from outside.
pub(crate) fn column(kind: Kind, name: &str) -> Result<Column, StoreError> {
    let all = COMMON.iter().chain(columns(kind));
    all.copied().find(|column| column.name == name).ok_or_else(|| unknown(kind, name))
}

/// The values of a record in the order of [`columns`].
///
/// # Errors
/// Failed, when a column is missing, unknown or of another type: a mistake in core.
pub(crate) fn values(kind: Kind, mut given: Vec<(&'static str, Value)>) -> Result<Vec<Value>, StoreError> {
    let columns = columns(kind);
    let mut values = Vec::with_capacity(columns.len());
    for (place, column) in columns.iter().enumerate() {
        // Core gives them in the order of the table, so the first place looked at is the right one.
        let at_place = given.get(place).is_some_and(|(name, _)| *name == column.name);
        let found =
            if at_place { Some(place) } else { given.iter().position(|(name, _)| *name == column.name) };
        let Some((_, value)) = found.and_then(|place| given.get_mut(place)) else {
            return Err(StoreError::Failed(format!(
                "a {} was given without its {}",
                kind.word(),
                column.name
            )));
        };
        let value = std::mem::replace(value, Value::Null);
        if let Value::Text(text) = &value {
            refuse_nul(kind, text)?;
        }
        if !column.admits(&value) || (value == Value::Null && !column.nullable) {
            return Err(StoreError::Failed(format!(
                "{} cannot keep {value:?} as {}",
                kind.word(),
                column.name
            )));
        }
        values.push(value);
    }
    match given.iter().find(|(name, _)| !columns.iter().any(|column| column.name == *name)) {
        Some((name, _)) => Err(unknown(kind, name)),
        None => Ok(values),
    }
}

/// PostgreSQL's text cannot hold NUL, so nobody's does.
///
/// # Errors
/// Failed, when there is one: a mistake in core, which lets no such name in, and JSON has another way to write it.
pub(crate) fn refuse_nul(kind: Kind, text: &str) -> Result<(), StoreError> {
    if text.contains('\0') {
        return Err(StoreError::Failed(format!("text of a {} has a NUL in it", kind.word())));
    }
    Ok(())
}

fn unknown(kind: Kind, name: &str) -> StoreError {
    StoreError::Failed(format!("the table of {} has no column {name}", kind.word()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_in_the_order_of_the_table() {
        let created = ("created_at", Value::Int(1));
        let name = ("name", Value::from("here"));
        for given in [vec![name.clone(), created.clone()], vec![created.clone(), name.clone()]] {
            assert_eq!(values(Kind::Cluster, given).unwrap(), [Value::from("here"), Value::Int(1)]);
        }
        for wrong in [
            vec![name.clone()],
            vec![name.clone(), created.clone(), ("colour", Value::Int(1))],
            vec![("name", Value::Null), created.clone()],
            vec![("name", Value::Int(1)), created],
        ] {
            assert!(matches!(values(Kind::Cluster, wrong), Err(StoreError::Failed(_))));
        }
    }

    #[test]
    fn groups_leave_no_gap() {
        for kind in Kind::ALL {
            for group in groups(kind) {
                assert!(
                    columns(kind).iter().any(|column| column.write == Write::Group(group)),
                    "{kind:?} {group}"
                );
            }
        }
    }
}
