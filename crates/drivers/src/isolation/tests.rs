use super::*;
use hostler_core::ids::VolumeId;
use hostler_core::templates::ImageFormat;
use std::os::unix::fs::PermissionsExt;
use uuid::Uuid;

fn machine(number: u128) -> MachineId {
    MachineId(Uuid::from_u128(number))
}

/// Three numbers that no other test and nobody else uses.
fn three() -> UidRange {
    UidRange::parse("1900070000-1900070002").unwrap()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root can give a machine a user of its own");
    }
    root
}

#[test]
fn ranges_of_people_and_the_system_are_refused() {
    let range = UidRange::parse("1900000000-1900065535").unwrap();
    assert!(range.contains(1_900_000_000) && range.contains(1_900_065_535) && !range.contains(0));
    for bad in ["", "0-10", "1000-70000", "70000", "80000-70000", "70000-4294967295", "-1-70000", "a-b"] {
        assert!(UidRange::parse(bad).is_err(), "{bad}");
    }
    let passwd = "root:x:0:0::/:/bin/sh\nguest:x:1900000007:1::/:/bin/sh\nbroken\n";
    assert_eq!(range.taken_by(passwd), Some("guest".into()));
    assert_eq!(range.taken_by("root:x:0:0::/:/bin/sh\n"), None);
}

#[test]
fn a_container_must_have_the_whole_range() {
    assert!(maps("         0          0 4294967295\n", three()));
    assert!(!maps("         0     100000      65536\n", three()));
    assert!(!maps("0 0 1900070002\n", three()));
}

#[test]
fn no_two_machines_have_one_number_and_the_directory_is_the_record() {
    if !is_root() {
        return;
    }
    let world = tempfile::tempdir().unwrap();
    let layout = Layout::new(world.path());
    let settle =
        |isolation: &Isolation, id| isolation.settle(&layout, id, &[], false).map(|user| user.unwrap().uid);
    let first = Isolation::new(Some(three()));
    let uids: Vec<u32> = std::thread::scope(|scope| {
        let starting: Vec<_> = (1..=3)
            .map(|id| {
                scope.spawn({
                    let first = &first;
                    move || settle(first, machine(id))
                })
            })
            .collect();
        starting.into_iter().map(|start| start.join().unwrap().unwrap()).collect()
    });
    assert_eq!(BTreeSet::from_iter(uids.clone()).len(), 3, "{uids:?}");
    let found = layout.machine(machine(1)).metadata().unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (uids[0], 1_900_070_000, 0o700));
    assert!(settle(&first, machine(4)).unwrap_err().to_string().contains("is taken"));
    // Another server finds the numbers where they are, and a number is free when its directory has gone.
    let second = Isolation::new(Some(three()));
    assert_eq!(settle(&second, machine(2)).unwrap(), uids[1]);
    std::fs::remove_dir(layout.machine(machine(2))).unwrap();
    std::fs::remove_dir(layout.machine(machine(4))).unwrap();
    assert_eq!(settle(&second, machine(5)).unwrap(), uids[1]);
}

#[test]
fn a_machine_has_its_volumes_until_it_goes_and_images_stay_ours() {
    if !is_root() {
        return;
    }
    let world = tempfile::tempdir().unwrap();
    let layout = Layout::new(world.path());
    let template = layout.images().join(Uuid::from_u128(9).to_string());
    std::fs::set_permissions(world.path(), PermissionsExt::from_mode(0o700)).unwrap();
    for directory in [&template, &layout.volumes()] {
        make_private_directory(directory).unwrap();
    }
    std::fs::write(template.join("disk.qcow2"), "").unwrap();
    std::fs::set_permissions(template.join("disk.qcow2"), PermissionsExt::from_mode(0o440)).unwrap();
    let volume = VolumeId(Uuid::from_u128(8));
    let path = layout.volume(volume, ImageFormat::Qcow2);
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let seen = |path: &Path| {
        let found = path.metadata().unwrap();
        (found.uid(), found.gid(), found.mode() & 0o777)
    };

    let isolation = Isolation::new(Some(three()));
    let disks =
        [DiskSpec::new(volume, ImageFormat::Qcow2), DiskSpec::new(VolumeId(Uuid::nil()), ImageFormat::Raw)];
    let user = isolation.settle(&layout, machine(1), &disks, false).unwrap().unwrap();
    let gid = user.gid;
    assert_eq!(seen(&path), (user.uid, gid, 0o600));
    assert_eq!(seen(&template), (0, gid, 0o710));
    assert_eq!(seen(&template.join("disk.qcow2")), (0, gid, 0o440));
    for way in [layout.root().to_owned(), layout.volumes(), layout.images(), layout.machines()] {
        assert_eq!(seen(&way), (0, gid, 0o710), "{}", way.display());
    }
    isolation.reclaim(&layout, machine(1)).unwrap();
    assert_eq!(seen(&path), (0, rustix::process::getegid().as_raw(), 0o600));
}

#[test]
fn a_group_that_the_administrator_chose_keeps_its_rights() {
    if !is_root() {
        return;
    }
    let world = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(world.path(), None, Some(4)).unwrap();
    std::fs::set_permissions(world.path(), PermissionsExt::from_mode(0o750)).unwrap();
    share(world.path(), 1_900_070_000, 0o010).unwrap();
    let found = world.path().metadata().unwrap();
    assert_eq!((found.gid(), found.mode() & 0o777), (4, 0o751));
}
