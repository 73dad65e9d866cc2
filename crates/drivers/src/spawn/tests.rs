use super::*;
use std::process::Stdio;

/// What a shell prints that runs this in the confinement.
fn shell(script: &str, confinement: Confinement) -> (bool, String) {
    let mut command = confined(Path::new("/bin/sh"), confinement).unwrap();
    let output = command.args(["-c", script]).stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).trim().to_owned())
}

/// A directory that other users may enter.
fn open_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    directory
}

fn may_fence() -> bool {
    let problem = landlock_problem();
    if let Some(problem) = &problem {
        assert!(std::env::var_os("CI").is_none(), "{problem}");
        eprintln!("SKIPPED: {problem}");
    }
    problem.is_none()
}

/// Whether tests can give a child another user.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root can give a child another user");
    }
    root
}

#[test]
fn a_child_reads_and_writes_where_it_may_and_nowhere_else() {
    if !may_fence() {
        return;
    }
    let directory = open_directory();
    let place = |name: &str| directory.path().join(name);
    for name in ["in", "out", "secret"] {
        std::fs::create_dir(place(name)).unwrap();
        std::fs::write(place(name).join("file"), name).unwrap();
    }
    let reach = || Reach { readable: vec![place("in")], writable: vec![place("out")] };
    let run = |script: &str| {
        let script = script.replace('@', &directory.path().to_string_lossy());
        shell(&script, Confinement { reach: Some(reach()), ..Confinement::default() })
    };
    assert_eq!(run("cat @/in/file"), (true, "in".into()));
    assert_eq!(run("echo -n new > @/out/new; cat @/out/new"), (true, "new".into()));
    for forbidden in
        ["cat @/secret/file", "cat @/out/../secret/file", "cat /etc/passwd", "echo > @/in/file", "ls @"]
    {
        let (done, told) = run(forbidden);
        assert!(!done && told.contains("Permission denied"), "{forbidden}: {told}");
    }
    assert_eq!(std::fs::read(place("in").join("file")).unwrap(), b"in");
}

#[test]
fn a_single_descriptor_can_be_all_that_a_child_may_read() {
    if !may_fence() {
        return;
    }
    use std::os::fd::AsRawFd;
    let directory = open_directory();
    std::fs::write(directory.path().join("file"), "given").unwrap();
    let file = std::fs::File::open(directory.path().join("file")).unwrap();
    let readable = vec![PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))];
    let reach = Some(Reach { readable, writable: Vec::new() });
    let mut command =
        confined(Path::new("/bin/cat"), Confinement { reach, ..Confinement::default() }).unwrap();
    // The path itself lies in /proc, which is not for the child to look at.
    let output = command.stdin(file).output().unwrap();
    assert_eq!(output.stdout, b"given");
}

#[test]
fn a_child_cannot_connect_unless_it_may() {
    if !may_fence() {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}", listener.local_addr().unwrap().port());
    for (network, connects) in [(true, true), (false, false)] {
        let mut command =
            confined(Path::new("/bin/bash"), Confinement { network, ..Confinement::default() }).unwrap();
        let output = command.args(["-c", &script]).output().unwrap();
        assert_eq!(output.status.success(), connects, "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn limits_hold_and_nothing_of_ours_is_inherited() {
    let limits = Limits { file_bytes: Some(4096), files: Some(17), ..Limits::default() };
    let leak = std::fs::File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let (_, told) = shell(
        "ulimit -f; ulimit -n; ulimit -c; ls /proc/self/fd | wc -l; env | sort; umask",
        Confinement { limits, ..Confinement::default() },
    );
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[..3], ["8", "17", "0"], "{told}");
    // Three, and the directory that is being listed.
    assert_eq!(lines[3].trim(), "4", "{told}");
    let environment: Vec<&str> =
        lines[4..].iter().copied().filter(|line| !line.starts_with("PWD=")).collect();
    assert_eq!(environment, ["LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "0077"], "{told}");
}

#[test]
fn what_is_to_be_inherited_keeps_its_number() {
    use std::os::fd::AsRawFd;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "given").unwrap();
    let file = std::fs::File::open(directory.path().join("file")).unwrap();
    // Not `<&N`: the shell reads descriptors of one digit only.
    let script = format!("cat /proc/self/fd/{}", file.as_raw_fd());
    let inherited = vec![file.into()];
    assert_eq!(shell(&script, Confinement { inherited, ..Confinement::default() }), (true, "given".into()));
}

#[test]
fn another_user_has_no_way_back() {
    if !is_root() {
        return;
    }
    let user = Some(User { uid: 1_900_000_001, gid: 1_900_000_000, groups: vec![36] });
    let confinement = Confinement { user, session: true, ..Confinement::default() };
    let wanted = "Uid|Gid|Groups|Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs";
    let (_, told) = shell(&format!("grep -E '^({wanted}):' /proc/self/status"), confinement);
    let field = |name: &str| {
        let line = told.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').unwrap().1.split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(field("Uid"), ["1900000001"; 4]);
    assert_eq!(field("Gid"), ["1900000000"; 4]);
    assert_eq!(field("Groups"), ["36"]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(field("NoNewPrivs"), ["1"]);
}
