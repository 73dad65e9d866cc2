//! Which values a field may have.
//!
//! An edit without an answer may have been made at any moment until the server died. So the value of an edit is
//! possible unless an acknowledged one began after its end: then that one, or a later one, has replaced it. One that a
//! task makes counts from when that is done.

use super::{Moment, machine};
use crate::crash::found::{Found, Volume};
use crate::crash::history::{Asked, Entry, Kind, Outcome};
use std::collections::BTreeSet;

pub(super) fn check(entries: &[Entry], found: &Found, moment: Moment) -> Vec<String> {
    let mut wrong = Vec::new();
    for machine in found.machines.iter().filter(|machine| machine.life != "gone") {
        let label = machine.labels.get("edit").cloned().unwrap_or_default();
        for (field, value) in [("edit", label), ("vcpus", machine.vcpus.to_string())] {
            let edits = Edits::of(
                entries,
                found,
                (Kind::Machine, &machine.name, &machine.id),
                &machine.description,
                field,
            );
            let possible = edits.possible();
            if edits.made && !possible.contains(value.as_str()) {
                let (name, id) = (&machine.name, &machine.id);
                wrong.push(format!(
                    "{field} of machine {name} ({id}) is {value}, but may only be {possible:?}"
                ));
            }
        }
    }
    for volume in &found.volumes {
        wrong.extend(size(entries, found, volume));
        wrong.extend(attached(entries, found, volume, moment));
    }
    wrong
}

/// The edits of one field of one object.
struct Edits<'a> {
    /// Whether we know how it was made.
    made: bool,
    first: Option<&'a str>,
    edits: Vec<(&'a Entry, &'a str)>,
    /// Tasks that have made their edits.
    done: BTreeSet<&'a str>,
}

impl<'a> Edits<'a> {
    fn of(
        entries: &'a [Entry],
        found: &'a Found,
        (kind, subject, id): (Kind, &str, &str),
        request: &str,
        field: &str,
    ) -> Self {
        let (mut made, mut first, mut edits) = (false, None, Vec::new());
        for entry in entries.iter().filter(|entry| entry.may_be_done()) {
            match &entry.asked {
                Asked::Create { kind: of, request: by, set, .. } if *of == kind && by == request => {
                    made = true;
                    first = set.iter().find(|(name, _)| *name == field).map(|(_, value)| value.as_str());
                }
                Asked::Set { kind: of, subject: named, field: what, value }
                    if *of == kind && *what == field =>
                {
                    let meant = match &entry.outcome {
                        Outcome::Acknowledged { subject, .. } => subject == id,
                        _ => named == subject,
                    };
                    if meant {
                        edits.push((entry, value.as_str()));
                    }
                }
                _ => {}
            }
        }
        let done =
            found.tasks.iter().filter(|task| task.state == "done").map(|task| task.id.as_str()).collect();
        Self { made, first, edits, done }
    }

    /// Whether it was promised and is no longer on its way: a task may still make it, or be cancelled.
    fn settled(&self, edit: &Entry) -> bool {
        match &edit.outcome {
            Outcome::Acknowledged { task: Some(task), .. } => self.done.contains(task.as_str()),
            _ => edit.promised().is_some(),
        }
    }

    fn possible(&self) -> BTreeSet<&'a str> {
        let acknowledged = || self.edits.iter().filter(|(edit, _)| self.settled(edit));
        let replaced = |edit: &Entry| acknowledged().any(|(later, _)| later.began > edit.ended);
        let left = self.edits.iter().filter(|(edit, _)| !replaced(edit)).map(|(_, value)| *value);
        // Any acknowledged edit of an object came after its creation.
        let first = self.first.filter(|_| acknowledged().next().is_none());
        left.chain(first).collect()
    }
}

/// A volume has the size that was asked for last; it never shrinks.
fn size(entries: &[Entry], found: &Found, volume: &Volume) -> Option<String> {
    let edits = Edits::of(entries, found, (Kind::Volume, &volume.id, &volume.id), &volume.name, "size_mib");
    if !edits.made {
        return None;
    }
    let mib = |text: &str| text.parse::<u64>().unwrap_or(0);
    let asked: BTreeSet<u64> =
        edits.edits.iter().map(|(_, value)| mib(value)).chain(edits.first.map(mib)).collect();
    let promised = edits.edits.iter().filter(|(edit, _)| edits.settled(edit)).map(|(_, value)| mib(value));
    let least = promised.chain(edits.first.map(mib)).max().unwrap_or(0);
    let (name, size) = (&volume.name, volume.size_mib);
    (size < least || !asked.contains(&size))
        .then(|| format!("volume {name} has {size} MiB; {least} were promised, {asked:?} were asked for"))
}

/// A volume is with the machine it was given to last, unless that is gone.
fn attached(entries: &[Entry], found: &Found, volume: &Volume, moment: Moment) -> Option<String> {
    let edits = Edits::of(entries, found, (Kind::Volume, &volume.id, &volume.id), &volume.name, "machine");
    if !edits.made {
        return None;
    }
    let mut possible = edits.possible();
    if !edits.edits.iter().any(|(edit, _)| edits.settled(edit)) {
        possible.insert("");
    }
    let holder = volume.machine.as_deref().map(|id| machine(found, id));
    let fine = match holder {
        Some(None) => false,
        Some(Some(machine)) => machine.life != "gone" && possible.contains(machine.name.as_str()),
        None if moment != Moment::Rest => true,
        None => {
            let gone =
                |name: &&str| found.machines.iter().any(|one| one.name == **name && one.life == "gone");
            possible.contains("") || possible.iter().any(gone)
        }
    };
    let name = &volume.name;
    (!fine).then(|| format!("volume {name} is with {:?}, but may only be with {possible:?}", volume.machine))
}
