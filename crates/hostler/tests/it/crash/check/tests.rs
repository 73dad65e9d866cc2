//! The checker sees what it must see.

use super::{Moment, check};
use crate::crash::found::{Found, Machine, Observed, Task, Volume};
use crate::crash::history::{Asked, Entry, Kind, Outcome};
use std::collections::BTreeMap;

fn create(request: &str, name: &str) -> Asked {
    let set = vec![("edit", request.to_owned()), ("vcpus", "1".to_owned())];
    Asked::Create { kind: Kind::Machine, request: request.into(), name: name.into(), set }
}

fn promised(id: &str, number: i64) -> Outcome {
    Outcome::Acknowledged { subject: id.into(), number, task: None }
}

fn entry(at: u64, asked: Asked, outcome: Outcome) -> Entry {
    Entry { began: at, ended: at + 1, asked, outcome }
}

fn machine(id: &str, number: i64, name: &str, request: &str) -> Machine {
    Machine {
        id: id.into(),
        number,
        name: name.into(),
        description: request.into(),
        labels: BTreeMap::from([("edit".into(), request.into())]),
        life: "present".into(),
        wanted: "on".into(),
        observed: Observed { power: "on".into() },
        vcpus: 1,
        ..Machine::default()
    }
}

fn label(name: &str, value: &str) -> Asked {
    Asked::Set { kind: Kind::Machine, subject: name.into(), field: "edit", value: value.into() }
}

fn delete(name: &str) -> Asked {
    Asked::Delete { kind: Kind::Machine, subject: name.into() }
}

/// A machine that was promised and is there.
fn good() -> (Vec<Entry>, Found) {
    let entries = vec![entry(1, create("r1", "web"), promised("a", 1))];
    let found = Found {
        machines: vec![machine("a", 1, "web", "r1")],
        real: true,
        processes: vec![(100, "a".into())],
        ..Found::default()
    };
    (entries, found)
}

#[track_caller]
fn flags(entries: &[Entry], found: &Found, part: &str) {
    let wrong = check(entries, found, Moment::Rest);
    assert!(wrong.iter().any(|text| text.contains(part)), "`{part}` is not among {wrong:?}");
}

#[track_caller]
fn peace(entries: &[Entry], found: &Found) {
    assert_eq!(check(entries, found, Moment::Rest), Vec::<String>::new());
}

#[test]
fn what_is_right_is_left_alone() {
    let (entries, found) = good();
    peace(&entries, &found);
}

#[test]
fn a_lost_machine_is_seen() {
    let (entries, mut found) = good();
    found.machines.clear();
    found.processes.clear();
    flags(&entries, &found, "was promised and is lost");
    // A deletion does not explain it: records of machines stay.
    let deleted = [entries[0].clone(), entry(3, delete("web"), promised("a", 1))];
    flags(&deleted, &found, "was promised and is lost");
    // Just after a restart only what is new is looked for.
    assert_eq!(check(&entries, &found, Moment::Work { fresh: 1 }), Vec::<String>::new());
    assert_eq!(check(&entries, &found, Moment::Work { fresh: 0 }).len(), 1);
}

#[test]
fn a_machine_that_went_without_being_asked_to_is_seen() {
    let (mut entries, mut found) = good();
    found.machines[0].life = "gone".into();
    found.machines[0].observed.power = "off".into();
    found.processes.clear();
    flags(&entries, &found, "nobody asked for that");
    entries.push(entry(3, delete("web"), Outcome::Refused { status: 409, code: "busy".into() }));
    flags(&entries, &found, "nobody asked for that");
    entries.push(entry(5, delete("web"), Outcome::Unknown));
    peace(&entries, &found);
}

#[test]
fn a_removal_that_was_promised_and_not_done_is_seen() {
    let (mut entries, found) = good();
    entries.push(entry(3, delete("web"), promised("a", 1)));
    flags(&entries, &found, "the removal of Machine a was promised");
}

#[test]
fn a_doubled_name_or_number_is_seen() {
    let (mut entries, mut found) = good();
    entries.push(entry(3, create("r2", "web"), Outcome::Unknown));
    found.machines.push(machine("b", 2, "web", "r2"));
    found.processes.push((101, "b".into()));
    flags(&entries, &found, "two machines are named web");
    found.machines[1].name = "other".into();
    found.machines[1].number = 1;
    flags(&entries, &found, "have the same number 1");
}

#[test]
fn one_request_that_made_two_machines_is_seen() {
    let (entries, mut found) = good();
    found.machines.push(machine("b", 2, "web2", "r1"));
    found.processes.push((101, "b".into()));
    flags(&entries, &found, "made more than one");
    let mut refused = entries;
    refused[0].outcome = Outcome::Refused { status: 409, code: "name_taken".into() };
    flags(&refused, &found, "was refused, but made");
}

#[test]
fn a_lost_edit_is_seen_unless_another_may_have_replaced_it() {
    let (mut entries, mut found) = good();
    entries.push(entry(3, label("web", "e1"), promised("a", 1)));
    flags(&entries, &found, "edit of machine web (a) is r1");
    found.machines[0].labels.insert("edit".into(), "e1".into());
    peace(&entries, &found);
    entries.push(entry(5, label("web", "e2"), Outcome::Unknown));
    peace(&entries, &found);
    found.machines[0].labels.insert("edit".into(), "e2".into());
    peace(&entries, &found);
    entries.push(entry(7, label("web", "e3"), promised("a", 1)));
    flags(&entries, &found, "edit of machine web (a) is e2");
}

#[test]
fn leftover_and_missing_processes_are_seen() {
    let (entries, mut found) = good();
    found.processes.push((101, "b".into()));
    flags(&entries, &found, "process 101 is left of machine b");
    found.processes = vec![(100, "a".into()), (101, "a".into())];
    flags(&entries, &found, "has two processes");
    found.processes.clear();
    flags(&entries, &found, "is on and has 0 processes");
}

#[test]
fn leftover_and_missing_files_are_seen() {
    let (entries, mut found) = good();
    found.on_disk.insert("machines", ["a".to_owned(), "b".to_owned()].into());
    flags(&entries, &found, "machines/b is left over");
    found.on_disk.insert("machines", ["a".to_owned()].into());
    found.on_disk.insert("volumes", [".making-x".to_owned()].into());
    flags(&entries, &found, "volumes/.making-x is left over");
    found.on_disk.clear();
    found.volumes.push(Volume { id: "v".into(), state: "present".into(), ..Volume::default() });
    flags(&entries, &found, "volumes/v is missing");
}

#[test]
fn open_lost_and_failed_tasks_are_seen() {
    let (mut entries, mut found) = good();
    let task = |id: &str, state: &str| Task {
        id: id.into(),
        kind: "x".into(),
        state: state.into(),
        ..Task::default()
    };
    entries[0].outcome = Outcome::Acknowledged { subject: "a".into(), number: 1, task: Some("t".into()) };
    flags(&entries, &found, "task t of");
    found.tasks.push(task("t", "running"));
    flags(&entries, &found, "has not ended");
    found.tasks[0].state = "failed".into();
    flags(&entries, &found, "has failed");
    found.tasks[0].state = "done".into();
    peace(&entries, &found);
    found.machines[0].task = Some("t".into());
    flags(&entries, &found, "a is held by task t");
}

#[test]
fn a_machine_that_is_not_as_its_last_task_left_it_is_seen() {
    let (entries, mut found) = good();
    let stop =
        Task { subject: "a".into(), kind: "machine.stop".into(), state: "done".into(), ..Task::default() };
    found.tasks.push(stop);
    flags(&entries, &found, "is on after machine.stop was done");
}

#[test]
fn a_volume_that_shrank_or_changed_hands_is_seen() {
    let (mut entries, mut found) = good();
    let set = vec![("size_mib", "4".to_owned())];
    let made = Asked::Create { kind: Kind::Volume, request: "v1".into(), name: "v1".into(), set };
    let field = |field, value: &str| Asked::Set {
        kind: Kind::Volume,
        subject: "v".into(),
        field,
        value: value.into(),
    };
    entries.push(entry(3, made, promised("v", 1)));
    entries.push(entry(5, field("size_mib", "9"), promised("v", 1)));
    entries.push(entry(7, field("machine", "web"), promised("v", 1)));
    let volume = |size_mib, machine: Option<&str>| Volume {
        id: "v".into(),
        number: 1,
        name: "v1".into(),
        size_mib,
        machine: machine.map(str::to_owned),
        state: "present".into(),
        task: None,
    };
    found.on_disk.insert("volumes", ["v".to_owned()].into());
    found.volumes = vec![volume(9, Some("a"))];
    peace(&entries, &found);
    found.volumes = vec![volume(4, Some("a"))];
    flags(&entries, &found, "volume v1 has 4 MiB");
    found.volumes = vec![volume(9, None)];
    flags(&entries, &found, "volume v1 is with None");
    found.volumes = vec![volume(9, Some("b"))];
    flags(&entries, &found, "volume v1 is with Some");
}

#[test]
fn a_machine_that_goes_off_must_have_been_asked_to() {
    let (entries, mut found) = good();
    let task = |number, kind: &str, state: &str| Task {
        number,
        subject: "a".into(),
        kind: kind.into(),
        state: state.into(),
        ..Task::default()
    };
    found.machines[0].observed.power = "off".into();
    found.processes.clear();
    found.problems.push("machine web is off although it should be on".into());
    found.tasks = vec![task(1, "machine.start", "done")];
    flags(&entries, &found, "is off after machine.start was done");
    flags(&entries, &found, "the doctor sees a problem");
    found.tasks.insert(0, task(0, "machine.stop", "cancelled"));
    peace(&entries, &found);
}
