//! Compares what was promised with what is there. Pure, so that it can be shown to fail.
//!
//! [`promises`] holds the history against the records; [`fields`] finds the values that a field may have after edits
//! of which some got no answer; [`world`] holds records, processes and files against each other.

mod fields;
mod promises;
#[cfg(test)]
mod tests;
mod world;

use super::found::{Found, Machine};
use super::history::Entry;

/// When the comparison is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The server has just come back and goes on with its work. Of creations only those are looked for that were
    /// noted from this place of the history on.
    Work { fresh: usize },
    /// Every task has ended, and what was found is everything there is.
    Rest,
}

/// Everything that is wrong, each in a sentence.
pub(crate) fn check(entries: &[Entry], found: &Found, moment: Moment) -> Vec<String> {
    let mut wrong = promises::check(entries, found, moment);
    wrong.extend(fields::check(entries, found, moment));
    wrong.extend(world::unique(entries, found));
    if moment == Moment::Rest {
        wrong.extend(world::at_rest(entries, found));
    }
    wrong
}

fn machine<'a>(found: &'a Found, id: &str) -> Option<&'a Machine> {
    found.machines.iter().find(|machine| machine.id == id)
}
