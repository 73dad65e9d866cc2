//! How results are shown: tables for people, the API's own JSON for programs.

pub(crate) mod units;

use super::args::Format;
use crate::output;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::io::IsTerminal;

/// Shows results in the form asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Show {
    format: Format,
}

impl Show {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether a program reads what we print.
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Many objects, one per row.
    pub(crate) fn list<T: Serialize>(self, items: &[T], columns: &[&str], row: impl Fn(&T) -> Vec<String>) {
        if self.is_json() {
            return output::json(&items);
        }
        let mut table = bare();
        table.set_header(columns.iter().map(|name| name.to_uppercase()));
        for item in items {
            table.add_row(row(item).iter().map(|cell| units::plain(cell)));
        }
        print(&table);
    }

    /// One object, one field per row; empty fields are left out.
    pub(crate) fn one<T: Serialize>(self, item: &T, fields: impl FnOnce(&T) -> Vec<(&'static str, String)>) {
        if self.is_json() {
            return output::json(item);
        }
        let mut table = bare();
        for (name, value) in fields(item).into_iter().filter(|(_, value)| !value.is_empty()) {
            table.add_row([name.to_owned(), units::plain(&value)]);
        }
        print(&table);
    }

    /// A sentence for people, or the object for programs.
    pub(crate) fn said(self, item: &impl Serialize, sentence: impl std::fmt::Display) {
        if self.is_json() { output::json(item) } else { output::line(sentence) }
    }
}

fn bare() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // A terminal wraps long cells; a pipe gets every row on one line.
    let terminal = std::io::stdout().is_terminal();
    let arrangement = if terminal { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
    table.set_content_arrangement(arrangement);
    table
}

fn print(table: &Table) {
    for line in table.lines() {
        // The first column needs no padding to its left, the last none to its right.
        let line = line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned();
        output::line(line);
    }
}
