use super::*;
use crate::spawn::{Confinement, confined};

const BOUNDS: Bounds = Bounds { memory_bytes: 16 << 20, cpu_percent: 150, tasks: 4 };

/// The groups of this host, or none with a loud word about it.
fn real() -> Option<Groups> {
    let groups = Groups::default();
    if let Some(problem) = groups.problem() {
        eprintln!("SKIPPED: {problem}");
        return None;
    }
    Some(groups)
}

#[test]
fn version_2_gets_its_controllers_handed_down_and_its_bounds_written() {
    let world = tempfile::tempdir().unwrap();
    let top = world.path().join("system.slice/hostler.service");
    std::fs::create_dir_all(&top).unwrap();
    std::fs::write(top.join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
    let mounts =
        format!("proc /proc proc rw 0 0\ncgroup2 {} cgroup2 rw,nosuid 0 0\n", world.path().display());
    let own = "0::/system.slice/hostler.service/server\n";
    let groups = Groups::below(Hierarchy::among(&mounts, own).unwrap());
    assert_eq!(groups.problem(), None);
    let read = |name: &str| std::fs::read_to_string(top.join(name)).unwrap();
    assert_eq!(read("cgroup.subtree_control"), "+pids");
    // A file system of the kernel would have made this file with its directory.
    std::fs::create_dir_all(top.join("hostler/one")).unwrap();
    std::fs::write(top.join("hostler/one/cgroup.procs"), "").unwrap();
    assert_eq!(groups.make("one", BOUNDS).unwrap().len(), 1);
    assert_eq!(read("hostler/cgroup.subtree_control"), "+pids");
    assert_eq!(read("hostler/one/memory.max"), "16777216");
    assert_eq!(read("hostler/one/cpu.max"), "150000 100000");
    assert_eq!(read("hostler/one/pids.max"), "4");
}

#[test]
fn a_service_without_a_subgroup_has_its_machines_at_the_top() {
    let world = tempfile::tempdir().unwrap();
    std::fs::write(world.path().join("cgroup.controllers"), "memory\n").unwrap();
    let mounts = format!("cgroup2 {} cgroup2 rw 0 0\n", world.path().display());
    let found = Hierarchy::among(&mounts, "0::/system.slice/hostler.service\n").unwrap();
    assert_eq!(found.directories().collect::<Vec<_>>(), [world.path().join("hostler")]);
    let problem = Groups::below(found).problem().unwrap();
    assert!(problem.contains("no limits of cpu, pids"), "{problem}");
}

#[test]
fn version_1_is_used_where_version_2_has_no_controllers_and_none_where_neither_has() {
    let world = tempfile::tempdir().unwrap();
    for name in ["unified", "memory", "pids"] {
        std::fs::create_dir(world.path().join(name)).unwrap();
    }
    std::fs::write(world.path().join("unified/cgroup.controllers"), "hugetlb\n").unwrap();
    let at = world.path().display();
    let unified = format!("cgroup2 {at}/unified cgroup2 rw 0 0\n");
    let mounts =
        format!("{unified}cgroup {at}/memory cgroup rw,memory 0 0\ncgroup {at}/pids cgroup rw,pids 0 0\n");
    let found = Hierarchy::among(&mounts, "0::/\n").unwrap();
    let files: Vec<_> = found.settings(BOUNDS).into_iter().map(|(_, file, text)| (file, text)).collect();
    assert_eq!(files, [("memory.limit_in_bytes", "16777216".to_owned()), ("pids.max", "4".to_owned())]);
    assert!(Hierarchy::among(&unified, "").unwrap_err().contains("no controller"));
    assert!(Hierarchy::among("", "").unwrap_err().contains("no control groups"));
}

/// Runs a script in a group of its own and tells its exit code, none when it was killed.
fn run_in(groups: &Groups, name: &str, script: &str) -> Option<i32> {
    let entrances = groups.make(name, BOUNDS).unwrap();
    let mut command =
        confined(Path::new("/bin/sh"), Confinement { groups: entrances, ..Confinement::default() }).unwrap();
    let status = command.args(["-c", script]).stderr(std::process::Stdio::null()).status().unwrap();
    status.code()
}

#[test]
fn real_limits_hold_and_the_group_goes_at_the_end() {
    let Some(groups) = real() else { return };
    let name = format!("test-{}", std::process::id());
    let exists = |groups: &Groups| {
        groups.hierarchy().unwrap().directories().any(|directory| directory.join(&name).exists())
    };
    assert_eq!(run_in(&groups, &name, "exit 7"), Some(7));
    assert!(exists(&groups));
    // Four at once are allowed, the shell included; a fork too many ends the shell.
    assert_eq!(run_in(&groups, &name, "sleep 0 & sleep 0 & wait; exit 7"), Some(7));
    let many = "sleep 60 & sleep 60 & sleep 60 & sleep 60 & exit 7";
    assert_ne!(run_in(&groups, &name, many), Some(7));
    // 64 MiB in one piece are too much for 16.
    assert_ne!(run_in(&groups, &name, "head -c 67108864 /dev/zero | tail -c 60000000 >/dev/null"), Some(0));
    // Somebody lives here still: the group stays. Then it goes, also for the next server.
    groups.remove(&name);
    assert!(exists(&groups));
    end_all(&groups, &name);
    Groups::default().remove(&name);
    assert!(!exists(&groups));
}

/// Ends whoever is left in a group and waits for that.
fn end_all(groups: &Groups, name: &str) {
    use rustix::process::{Pid, Signal, kill_process};
    let directory = groups.hierarchy().unwrap().directories().next().unwrap().join(name);
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap();
        if text.is_empty() {
            return;
        }
        for pid in text.lines().filter_map(|pid| Pid::from_raw(pid.parse().unwrap())) {
            let _ = kill_process(pid, Signal::KILL);
        }
        assert!(std::time::Instant::now() < patience, "{text}");
        std::thread::yield_now();
    }
}
