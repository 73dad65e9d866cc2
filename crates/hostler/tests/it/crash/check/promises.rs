//! What was acknowledged is there, once; what was refused is not.

use super::{Moment, machine};
use crate::crash::found::{Found, Task};
use crate::crash::history::{Asked, Entry, Kind, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// What somebody may have ended.
struct Ends<'a> {
    deletions: Vec<&'a Entry>,
    cancelled: BTreeSet<&'a str>,
}

impl<'a> Ends<'a> {
    fn of(entries: &'a [Entry]) -> Self {
        let done = || entries.iter().filter(|entry| entry.may_be_done());
        let cancelled = |entry: &'a Entry| match &entry.asked {
            Asked::Cancel { task } => Some(task.as_str()),
            _ => None,
        };
        let deletions = done().filter(|entry| matches!(entry.asked, Asked::Delete { .. })).collect();
        Self { deletions, cancelled: done().filter_map(cancelled).collect() }
    }

    /// Whether somebody asked for the removal of an object.
    fn deletes(&self, of: Kind, named: &str, id: &str) -> bool {
        self.deletions.iter().any(|entry| match (&entry.asked, &entry.outcome) {
            (Asked::Delete { kind, .. }, Outcome::Acknowledged { subject, .. }) => {
                *kind == of && subject == id
            }
            (Asked::Delete { kind, subject }, _) => *kind == of && subject == named,
            _ => false,
        })
    }

    /// Whether the task that made it was cancelled or has failed; the latter is reported for itself.
    fn unmakes(&self, found: &Found, made: &Entry, id: &str) -> bool {
        let Outcome::Acknowledged { task: Some(task), .. } = &made.outcome else { return false };
        self.cancelled.contains(task.as_str())
            || found.tasks.iter().any(|task| task.subject == id && task.state == "failed")
    }
}

pub(super) fn check(entries: &[Entry], found: &Found, moment: Moment) -> Vec<String> {
    let mut wrong = Vec::new();
    let ends = Ends::of(entries);
    for (place, entry) in entries.iter().enumerate() {
        if let Outcome::Refused { status: 500.., code } = &entry.outcome {
            wrong.push(format!("{:?} was answered with a server error, {code}", entry.asked));
        }
        let Some(id) = entry.promised() else { continue };
        match &entry.asked {
            Asked::Create { kind, request, name, .. } => {
                let sought = match moment {
                    Moment::Work { fresh } => place >= fresh,
                    Moment::Rest => true,
                };
                match there(found, *kind, id) {
                    None if sought && !removed(&ends, found, entry, *kind, id) => {
                        wrong.push(format!("{kind:?} {name} ({id}, {request}) was promised and is lost"));
                    }
                    Some(what) if what != *request => {
                        wrong.push(format!("{kind:?} {id} was made for {request}, but is {what}"));
                    }
                    _ => {}
                }
                if *kind == Kind::Machine {
                    wrong.extend(machine_kept(&ends, found, entry, name, moment));
                }
            }
            Asked::Delete { kind, .. } => wrong.extend(deleted(found, *kind, id, moment)),
            Asked::Set { .. } | Asked::Power { .. } | Asked::Cancel { .. } => {}
        }
    }
    wrong.extend(once(entries, found));
    wrong
}

/// The request that an object says it was made for.
fn there(found: &Found, kind: Kind, id: &str) -> Option<String> {
    match kind {
        Kind::Machine => machine(found, id).map(|machine| machine.description.clone()),
        Kind::Volume => found.volumes.iter().find(|volume| volume.id == id).map(|volume| volume.name.clone()),
        Kind::Template => found
            .templates
            .iter()
            .find(|template| template.id == id)
            .map(|template| template.description.clone()),
    }
}

/// Whether a record may have gone.
fn removed(ends: &Ends<'_>, found: &Found, made: &Entry, kind: Kind, id: &str) -> bool {
    // Records of machines outlive their removal.
    kind != Kind::Machine && ends.deletes(kind, id, id)
        || kind == Kind::Volume && ends.unmakes(found, made, id)
}

fn machine_kept(ends: &Ends<'_>, found: &Found, made: &Entry, name: &str, moment: Moment) -> Option<String> {
    let id = made.promised()?;
    let machine = machine(found, id)?;
    if machine.name != name {
        return Some(format!("machine {id} was made as {name}, but is named {}", machine.name));
    }
    let explained = ends.deletes(Kind::Machine, name, id) || ends.unmakes(found, made, id);
    let said = machine.reason.as_deref().unwrap_or("no reason");
    (machine.life == "gone" && !explained && moment == Moment::Rest)
        .then(|| format!("machine {name} ({id}) is gone, but nobody asked for that: {said}"))
}

/// An acknowledged removal ends with the object gone, and does not go back in between.
fn deleted(found: &Found, kind: Kind, id: &str, moment: Moment) -> Option<String> {
    let state = match kind {
        Kind::Machine => machine(found, id).map(|machine| machine.life.clone())?,
        Kind::Volume => found.volumes.iter().find(|volume| volume.id == id)?.state.clone(),
        Kind::Template => found.templates.iter().find(|template| template.id == id)?.state.clone(),
    };
    let fine = state == "gone"
        || state == "deleting" && moment != Moment::Rest
        || found_in_use(found, kind, id, moment);
    (!fine).then(|| format!("the removal of {kind:?} {id} was promised, but it is {state}"))
}

/// A machine that was made from a template in the moment between the promise and its task keeps the template.
fn found_in_use(found: &Found, kind: Kind, id: &str, moment: Moment) -> bool {
    let refused = |task: &Task| {
        task.subject == id
            && task.kind == "template.delete"
            && task.error.as_deref().is_some_and(|error| error.contains("in use"))
    };
    // While work goes on only what lives is looked at, and tasks are not.
    kind == Kind::Template && (matches!(moment, Moment::Work { .. }) || found.tasks.iter().any(refused))
}

/// One request makes one object at most, and none when it was refused.
fn once(entries: &[Entry], found: &Found) -> Vec<String> {
    let mut made: BTreeMap<(Kind, &str), BTreeSet<&str>> = BTreeMap::new();
    for machine in &found.machines {
        made.entry((Kind::Machine, &machine.description)).or_default().insert(&machine.id);
    }
    for volume in &found.volumes {
        made.entry((Kind::Volume, &volume.name)).or_default().insert(&volume.id);
    }
    for template in &found.templates {
        made.entry((Kind::Template, &template.description)).or_default().insert(&template.id);
    }
    let mut refused: BTreeMap<(Kind, &str), bool> = BTreeMap::new();
    for entry in entries {
        let Asked::Create { kind, request, .. } = &entry.asked else { continue };
        let only = refused.entry((*kind, request)).or_insert(true);
        // The last answer counts: a key that was used is answered before anything else is looked at.
        *only = !entry.may_be_done();
        if let Some(id) = entry.promised() {
            made.entry((*kind, request)).or_default().insert(id);
        }
    }
    let mut wrong = Vec::new();
    for ((kind, request), only_refused) in refused {
        let objects = made.get(&(kind, request)).cloned().unwrap_or_default();
        if objects.len() > 1 {
            wrong.push(format!("the request {request} made more than one {kind:?}: {objects:?}"));
        }
        if only_refused && !objects.is_empty() {
            wrong.push(format!("the request {request} was refused, but made {kind:?} {objects:?}"));
        }
    }
    wrong
}
