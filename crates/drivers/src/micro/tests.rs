//! Builds micro for real, boots it under QEMU without any acceleration, and uses it as hostler does.

use super::build;
use crate::guest::AgentLink;
use hostler_core::ports::{DriverErrorKind, GuestCommand, Identity, Progress};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};

/// Everything takes longer on a busy computer; nothing takes this long on a sane one.
const PATIENCE: Duration = Duration::from_secs(90);
const TOOLS: [&str; 5] = ["qemu-system-x86_64", "qemu-img", "mke2fs", "ssh", "ssh-keygen"];
/// Test vector 1 of RFC 8032: the seed of the host key.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
/// Its public half, as SSH writes it.
const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";

async fn output(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let Ok(output) = output else { return (false, format!("{output:?}")) };
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// The static agent, built as templates get it.
async fn agent() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (built, words) = output(&mut Command::new(root.join("scripts/build-agent"))).await;
    if built { Ok(root.join("target/agent/hostler-agent")) } else { Err(words) }
}

async fn what_is_missing() -> Option<String> {
    for tool in TOOLS {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
        if !places.into_iter().any(|place| place.join(tool).exists()) {
            return Some(format!("{tool} is not installed"));
        }
    }
    None
}

/// A machine of the test; QEMU dies with it.
struct Machine {
    qemu: Child,
    place: PathBuf,
    ssh_port: u16,
}

impl Machine {
    fn start(place: &Path, image: &Path, command_line: &str) -> Self {
        // Another program may take the port before QEMU does; then the test fails and says so.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ssh_port = free.local_addr().unwrap().port();
        drop(free);
        let file = |name: &str| place.join(name).display().to_string();
        let forward = format!("user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:{ssh_port}-:22");
        let qemu = Command::new("qemu-system-x86_64")
            .args([
                "-M",
                "q35",
                "-accel",
                "tcg",
                "-cpu",
                "max",
                "-m",
                "256",
                "-nodefaults",
                "-no-user-config",
            ])
            .args(["-display", "none", "-kernel"])
            .arg(image.join("vmlinux"))
            .arg("-initrd")
            .arg(image.join("initrd"))
            .args(["-append", command_line, "-serial", &format!("file:{}", file("console.log"))])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", file("qmp.sock"))])
            .args([
                "-device",
                "virtio-serial-pci",
                "-device",
                "virtserialport,chardev=agent,name=org.hostler.0",
            ])
            .args(["-chardev", &format!("socket,id=agent,path={},server=on,wait=off", file("agent.sock"))])
            .args(["-device", "virtio-rng-pci", "-netdev", &forward])
            .args(["-device", "virtio-net-pci,netdev=n0,mac=52:54:00:00:00:01"])
            .args(["-drive", &format!("if=virtio,format=qcow2,file={}", file("overlay.qcow2"))])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { qemu, place: place.to_owned(), ssh_port }
    }

    fn console(&self) -> String {
        std::fs::read_to_string(self.place.join("console.log")).unwrap_or_default()
    }

    /// The first bytes that the SSH server says.
    async fn banner(&self) -> String {
        loop {
            let mut stream = TcpStream::connect(("127.0.0.1", self.ssh_port)).await.unwrap();
            let mut banner = [0; 7];
            match stream.read_exact(&mut banner).await {
                Ok(_) => return String::from_utf8_lossy(&banner).into_owned(),
                // QEMU accepts before the guest does.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn ssh(&self, key: &Path, command: &str) -> (bool, String) {
        let known = self.place.join("known_hosts");
        std::fs::write(&known, format!("[127.0.0.1]:{} {HOST_KEY}\n", self.ssh_port)).unwrap();
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"])
            .args(["-o", "HostKeyAlgorithms=ssh-ed25519", "-o", "StrictHostKeyChecking=yes"])
            .args(["-o", &format!("UserKnownHostsFile={}", known.display()), "-i"])
            .arg(key)
            .args(["-p", &self.ssh_port.to_string(), "root@127.0.0.1", command]);
        output(&mut ssh).await
    }

    /// Presses the power button.
    async fn press_power_button(&self) {
        let mut monitor = UnixStream::connect(self.place.join("qmp.sock")).await.unwrap();
        let commands = b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"system_powerdown\"}";
        monitor.write_all(commands).await.unwrap();
        // Greeting and answers; the connection must live until QEMU has read the commands.
        let mut said = Vec::new();
        while String::from_utf8_lossy(&said).matches("\"return\"").count() < 2 {
            assert_ne!(monitor.read_buf(&mut said).await.unwrap(), 0);
        }
    }
}

fn identity(keys: Vec<String>) -> Identity {
    Identity {
        host_name: "sassy-mule".into(),
        machine_id: "0123456789abcdef0123456789abcdef".into(),
        mac: Some("52:54:00:12:34:56".into()),
        addresses: vec![],
        gateways: vec![],
        resolvers: vec![],
        domain: None,
        ssh_host_key: hex::decode(SEED).unwrap().try_into().unwrap(),
        authorized_keys: keys,
        entropy: [42; 32],
        time_ns: 2_000_000_000_000_000_000,
    }
}

fn command(argv: &[&str]) -> GuestCommand {
    let argv = argv.iter().map(|&word| word.to_owned()).collect();
    GuestCommand { argv, stdin: vec![], deadline: Duration::from_secs(30) }
}

async fn said(link: &mut AgentLink, argv: &[&str]) -> String {
    let output = link.run(&command(argv)).await.unwrap();
    assert_eq!(output.status, Some(0), "{argv:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn micro_is_built_boots_takes_an_identity_and_obeys_its_power_button() {
    let place = tempfile::tempdir().unwrap();
    let skipped = |why: &str| eprintln!("SKIPPED: micro is not tested: {why}");
    if let Some(why) = what_is_missing().await {
        return skipped(&why);
    }
    let agent = match agent().await {
        Ok(agent) => agent,
        Err(why) => return skipped(&format!("no static agent: {why}")),
    };
    let image = place.path().join("image");
    let seen = Arc::new(Mutex::new(vec![]));
    let fractions = Arc::clone(&seen);
    let progress = Progress::new(move |fraction, _| fractions.lock().unwrap().push(fraction));
    let clock = Instant::now();
    // The work directory lies beside the target directory's other caches, so that packages are fetched once.
    let work = agent.with_file_name("micro-test").join(format!("work-{}", std::process::id()));
    let built = build(&image, &agent, &work, &progress).await;
    let _ = std::fs::remove_dir_all(&work);
    let built = match built {
        Ok(built) => built,
        Err(error) if error.kind == DriverErrorKind::Refused && error.detail.contains("apt-get update") => {
            return skipped(&error.detail);
        }
        Err(error) => panic!("{error}"),
    };
    eprintln!("built in {:?}: {} MiB, {}", clock.elapsed(), built.bytes >> 20, built.digest);
    assert!(seen.lock().unwrap().is_sorted() && seen.lock().unwrap().last() == Some(&1.0));
    assert!(std::fs::read(image.join("vmlinux")).unwrap().starts_with(b"\x7fELF"));

    let backing = image.join("disk.qcow2");
    let mut overlay = Command::new("qemu-img");
    overlay.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]).arg(backing);
    let (made, words) = output(overlay.arg(place.path().join("overlay.qcow2")).arg("2G")).await;
    assert!(made, "{words}");
    let key = place.path().join("key");
    let (made, words) =
        output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key)).await;
    assert!(made, "{words}");
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();

    let clock = Instant::now();
    let mut machine = Machine::start(place.path(), &image, &built.command_line);
    let lived = tokio::time::timeout(2 * PATIENCE, live(&machine, clock, &key, public)).await;
    assert!(lived.is_ok(), "the machine takes too long; its console:\n{}", machine.console());
    let clock = Instant::now();
    machine.press_power_button().await;
    let ended = tokio::time::timeout(PATIENCE, machine.qemu.wait()).await;
    assert!(ended.is_ok_and(|status| status.unwrap().success()), "console:\n{}", machine.console());
    eprintln!("power button to end: {:?}", clock.elapsed());
    assert!(machine.console().contains("power off"), "{}", machine.console());
}

/// What happens to the machine between its start and its end.
async fn live(machine: &Machine, clock: Instant, key: &Path, public: String) {
    let socket = machine.place.join("agent.sock");
    let mut link = AgentLink::connect(&socket, PATIENCE).await.unwrap();
    eprintln!("start to agent: {:?}", clock.elapsed());
    let facts = link.facts(PATIENCE).await.unwrap();
    eprintln!("{facts:?}");
    assert_eq!((facts.agent.as_str(), facts.host_name.as_str()), ("hostler-agent", "micro"));
    assert!(facts.kernel.ends_with("-cloud-amd64") && facts.os.starts_with("hostler micro"));

    let clock = Instant::now();
    link.identify(&identity(vec![public])).await.unwrap();
    eprintln!("identity by DHCP: {:?}", clock.elapsed());
    assert!(machine.banner().await.starts_with("SSH-2.0"));
    eprintln!("identity and SSH banner: {:?}", clock.elapsed());
    let facts = link.facts(PATIENCE).await.unwrap();
    assert_eq!(facts.host_name, "sassy-mule");
    assert_eq!(facts.addresses["eth0"].first().unwrap().to_string(), "10.0.2.15", "{facts:?}");

    assert!(said(&mut link, &["/bin/busybox", "uname", "-a"]).await.starts_with("Linux sassy-mule "));
    assert_eq!(said(&mut link, &["cat", "/etc/machine-id"]).await, "0123456789abcdef0123456789abcdef\n");
    assert_eq!(said(&mut link, &["cat", "/sys/class/net/eth0/address"]).await, "52:54:00:12:34:56\n");
    assert!(said(&mut link, &["date", "+%s"]).await.starts_with("20000000"));
    // The machine's disk is twice the template's, and its file system has grown with it.
    let size: u64 = said(&mut link, &["stat", "-f", "-c", "%b", "/data"]).await.trim().parse().unwrap();
    assert!(size * 4096 > 1500 << 20, "{size} blocks");
    let nothing = link.run(&command(&["/no/such/program"])).await.unwrap_err();
    assert_eq!(nothing.kind, DriverErrorKind::Refused);

    let clock = Instant::now();
    let (logged_in, words) = machine.ssh(key, "cat /etc/hostname; touch /data/seen").await;
    assert!(logged_in && words.contains("sassy-mule"), "{words}");
    eprintln!("ssh and a command: {:?}", clock.elapsed());

    // The channel survives garbage, and another connection finds the agent as it was.
    drop(link);
    let mut rude = UnixStream::connect(&socket).await.unwrap();
    rude.write_all(b"\xff\xfe{\"id\":1,\n{\"id\":2,\"verb\":\"dance\"}\n{\"id\":3,").await.unwrap();
    drop(rude);
    let mut link = AgentLink::connect(&socket, PATIENCE).await.unwrap();
    let clock = Instant::now();
    link.ping(PATIENCE).await.unwrap();
    eprintln!("ping: {:?}", clock.elapsed());
    // Fixed addresses need no server, so they are the faster way.
    let clock = Instant::now();
    let addresses = vec![("10.0.2.15".parse().unwrap(), 24), ("fd00::15".parse().unwrap(), 64)];
    let fixed = Identity { addresses, gateways: vec!["10.0.2.2".parse().unwrap()], ..identity(vec![]) };
    link.identify(&fixed).await.unwrap();
    eprintln!("identity with fixed addresses: {:?}", clock.elapsed());
    let routes = said(&mut link, &["ip", "route"]).await;
    assert!(routes.contains("default via 10.0.2.2 dev eth0"), "{routes}");
    let facts = link.facts(PATIENCE).await.unwrap();
    assert!(facts.addresses["eth0"].contains(&"fd00::15".parse().unwrap()), "{facts:?}");
    assert!(machine.banner().await.starts_with("SSH-2.0"));
    let (logged_in, words) = machine.ssh(key, "true").await;
    assert!(!logged_in && words.contains("Permission denied"), "a key that was taken away: {words}");

    // After a reboot only the disk knows what was.
    let clock = Instant::now();
    link.reboot().await.unwrap();
    let mut link = loop {
        // The old agent may still answer, or take the question with it when it ends.
        match link.facts(Duration::from_millis(500)).await {
            Ok(facts) if facts.host_name == "micro" => break link,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    eprintln!("reboot to agent: {:?}", clock.elapsed());
    said(&mut link, &["test", "-e", "/data/seen"]).await;
}

#[test]
fn an_agent_that_wants_a_loader_is_refused() {
    let dynamic = std::env::current_exe().unwrap();
    let error = super::static_program(&dynamic).unwrap_err();
    assert!(
        error.kind == DriverErrorKind::Refused && error.detail.contains("scripts/build-agent"),
        "{error}"
    );
}
