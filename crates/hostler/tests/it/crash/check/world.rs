//! Records, processes and files agree with each other.

use crate::crash::found::{Found, Machine, Task};
use crate::crash::history::{Asked, Entry, Kind, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// No name twice among the living, no number twice ever, one process for a machine at most.
pub(super) fn unique(entries: &[Entry], found: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for machine in found.machines.iter().filter(|machine| machine.life != "gone") {
        if let Some(other) = names.insert(&machine.name, &machine.id).filter(|other| *other != machine.id) {
            wrong.push(format!("two machines are named {}: {other} and {}", machine.name, machine.id));
        }
    }
    let machines = found.machines.iter().map(|one| (Kind::Machine, one.number, one.id.as_str()));
    let volumes = found.volumes.iter().map(|one| (Kind::Volume, one.number, one.id.as_str()));
    let templates = found.templates.iter().map(|one| (Kind::Template, one.number, one.id.as_str()));
    let mut numbers: BTreeMap<(Kind, i64), &str> = BTreeMap::new();
    for (kind, number, id) in
        machines.chain(volumes).chain(templates).chain(entries.iter().filter_map(numbered))
    {
        if let Some(other) = numbers.insert((kind, number), id).filter(|other| *other != id) {
            wrong.push(format!("{kind:?} {other} and {id} have the same number {number}"));
        }
    }
    let mut processes: BTreeMap<&str, u32> = BTreeMap::new();
    for (pid, machine) in &found.processes {
        if let Some(other) = processes.insert(machine, *pid) {
            wrong.push(format!("machine {machine} has two processes, {other} and {pid}"));
        }
    }
    wrong
}

/// What an answer said of a number.
fn numbered(entry: &Entry) -> Option<(Kind, i64, &str)> {
    match (&entry.asked, &entry.outcome) {
        (Asked::Create { kind, .. }, Outcome::Acknowledged { subject, number, .. }) => {
            Some((*kind, *number, subject))
        }
        _ => None,
    }
}

pub(super) fn at_rest(entries: &[Entry], found: &Found) -> Vec<String> {
    let mut wrong = tasks(entries, found);
    wrong.extend(found.machines.iter().filter_map(|machine| power(machine, found)));
    wrong.extend(files(found));
    wrong.extend(found.strangers.iter().map(|stranger| format!("a process is left: {stranger}")));
    let leaving = leaving(found);
    let names = found.machines.iter().filter(|machine| leaving.contains(machine.id.as_str()));
    let excused: Vec<String> =
        names.map(|machine| format!("machine {} is off although", machine.name)).collect();
    for problem in &found.problems {
        if !excused.iter().any(|excuse| problem.contains(excuse)) {
            wrong.push(format!("the doctor sees a problem: {problem}"));
        }
    }
    let living: BTreeSet<&str> = living(found).collect();
    for (pid, machine) in found.processes.iter().filter(|(_, machine)| !living.contains(machine.as_str())) {
        wrong.push(format!("process {pid} is left of machine {machine}"));
    }
    wrong
}

/// Machines that may go off by themselves: their guests were asked to, and the task that asked was cancelled. A button
/// that was pressed cannot be released.
fn leaving(found: &Found) -> BTreeSet<&str> {
    let asked = |task: &&Task| matches!(task.kind.as_str(), "machine.stop" | "machine.restart");
    let cancelled = found.tasks.iter().filter(asked).filter(|task| task.state == "cancelled");
    cancelled.map(|task| task.subject.as_str()).collect()
}

fn living(found: &Found) -> impl Iterator<Item = &str> {
    found.machines.iter().filter(|machine| machine.life != "gone").map(|machine| machine.id.as_str())
}

/// Each promised task is known, each has ended, nothing is held.
fn tasks(entries: &[Entry], found: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    let leaving = leaving(found);
    let known: BTreeSet<&str> = found.tasks.iter().map(|task| task.id.as_str()).collect();
    for entry in entries {
        if let Outcome::Acknowledged { task: Some(task), .. } = &entry.outcome
            && !known.contains(task.as_str())
        {
            wrong.push(format!("task {task} of {:?} was promised and is lost", entry.asked));
        }
    }
    for task in &found.tasks {
        if matches!(task.state.as_str(), "queued" | "running" | "undoing") {
            wrong.push(format!("task {} ({}) has not ended: it is {}", task.id, task.kind, task.state));
        }
        // Nothing here makes a driver fail, so no task has a reason to.
        let off = task.error.as_ref().is_some_and(|error| error.ends_with("is off"));
        if task.state == "failed" && !(off && leaving.contains(task.subject.as_str())) {
            wrong.push(format!("task {} ({}) has failed: {:?}", task.id, task.kind, task.error));
        }
    }
    let machines = found.machines.iter().map(|one| (&one.id, &one.task, one.life.as_str()));
    let volumes = found.volumes.iter().map(|one| (&one.id, &one.task, one.state.as_str()));
    let templates = found.templates.iter().map(|one| (&one.id, &one.task, one.state.as_str()));
    for (id, task, state) in machines.chain(volumes).chain(templates) {
        if let Some(task) = task {
            wrong.push(format!("{id} is held by task {task}"));
        }
        if matches!(state, "creating" | "building" | "deleting") {
            wrong.push(format!("{id} is still {state}"));
        }
    }
    wrong
}

/// The last task that was carried out on a machine says how it is, and so do its processes.
fn power(machine: &Machine, found: &Found) -> Option<String> {
    let (name, power) = (&machine.name, machine.observed.power.as_str());
    let count = found.processes.iter().filter(|(_, id)| *id == machine.id).count();
    let runs = matches!(power, "on" | "paused") && machine.life != "gone";
    if found.real && count != usize::from(runs) {
        return Some(format!("machine {name} ({}) is {power} and has {count} processes", machine.id));
    }
    let last = found.tasks.iter().filter(|task| task.subject == machine.id).max_by_key(|task| task.number)?;
    if machine.life != "present" || last.state != "done" {
        return None;
    }
    let expected = match last.kind.as_str() {
        "machine.stop" => "off",
        "machine.pause" => "paused",
        "machine.create" if machine.wanted == "off" => "off",
        _ => "on",
    };
    let left = power == "off" && leaving(found).contains(machine.id.as_str());
    (power != expected && !left).then(|| {
        let said = machine.reason.as_deref().unwrap_or("no reason");
        format!("machine {name} ({}) is {power} after {} was done: {said}", machine.id, last.kind)
    })
}

/// What takes up space has a record, and the other way round.
fn files(found: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    let none = BTreeSet::new();
    let on_disk = |folder| found.on_disk.get(folder).unwrap_or(&none);
    let living: BTreeSet<&str> = living(found).collect();
    for id in on_disk("machines").iter().filter(|id| !living.contains(id.as_str())) {
        wrong.push(format!("machines/{id} is left over"));
    }
    let volumes =
        found.volumes.iter().filter(|volume| volume.state == "present").map(|volume| volume.id.clone());
    let templates = found.templates.iter().filter(|one| one.state == "ready").map(|one| one.id.clone());
    for (folder, known) in [("volumes", volumes.collect::<BTreeSet<_>>()), ("images", templates.collect())] {
        wrong.extend(on_disk(folder).difference(&known).map(|id| format!("{folder}/{id} is left over")));
        wrong.extend(known.difference(on_disk(folder)).map(|id| format!("{folder}/{id} is missing")));
    }
    wrong
}
