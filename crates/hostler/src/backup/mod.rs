//! A backup: one file of lines of JSON that any later hostler can read, whatever the database.
//!
//! ```text
//! {"hostler_backup":1,"schema":2,"program":"0.1.0","made_at":"2026-11-23T01:00:00Z"}
//! {"file":"key","text":"…"}                             files of the data directory, see FILES
//! {"item":"record","kind":"machine","id":"…", … }       records, events, what is allotted next: see hostler_store::state
//! {"end":{"lines":1234,"sha256":"…"}}                   of all lines before this one
//! ```
//!
//! It holds what hostler knows: not the images and volumes, which are copied as files. It holds the key and the hashes
//! of passwords, so it is made for its owner's eyes only.

mod read;
mod write;

pub(crate) use read::{check, items};
pub(crate) use write::Writer;

use hostler_store::state::Item;
use serde::{Deserialize, Serialize};

/// The form of the file, as described above.
const FORMAT: u32 = 1;

/// What is kept of the data directory: the key, and which host it is.
pub(crate) const FILES: [&str; 2] = ["key", "host"];

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    hostler_backup: u32,
    /// The schema of the database it was made from.
    pub(crate) schema: i64,
    /// The version of the hostler that made it.
    pub(crate) program: String,
    /// When.
    pub(crate) made_at: String,
}

/// A file of the data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    /// Its name there.
    #[serde(rename = "file")]
    pub(crate) name: String,
    pub(crate) text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Last {
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    lines: u64,
    sha256: String,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Header(Header),
    File(File),
    Item(Box<Item>),
    Last(Last),
}

#[cfg(test)]
mod tests;
