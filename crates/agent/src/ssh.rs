//! The SSH server's host key, and making the server use it.

use crate::{NAME, Place, base64, complain, files, sys};
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const KIND: &[u8] = b"ssh-ed25519";
const DROPBEAR: &str = "/usr/sbin/dropbear";
const DROPBEAR_KEY: &str = "/etc/dropbear/dropbear_ed25519_host_key";
const DROPBEAR_PID: &str = "/run/dropbear.pid";
const OPENSSH_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";

/// An ed25519 key, both halves.
pub(crate) struct Key {
    pub(crate) seed: [u8; 32],
    pub(crate) public: [u8; 32],
}

impl Key {
    fn private(&self) -> [u8; 64] {
        let mut both = [0; 64];
        both[..32].copy_from_slice(&self.seed);
        both[32..].copy_from_slice(&self.public);
        both
    }

    fn public_blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        string(&mut blob, KIND);
        string(&mut blob, &self.public);
        blob
    }

    /// As dropbear keeps its host keys.
    fn dropbear(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        string(&mut bytes, KIND);
        string(&mut bytes, &self.private());
        bytes
    }

    /// As OpenSSH keeps private keys (PROTOCOL.key), without a passphrase.
    fn openssh(&self) -> String {
        let mut private = Vec::new();
        // Two equal words tell a reader that decryption worked; ours is not encrypted, so any will do.
        let check = &self.public[..4];
        private.extend_from_slice(check);
        private.extend_from_slice(check);
        for part in [KIND, &self.public, &self.private(), b""] {
            string(&mut private, part);
        }
        let padding = private.len().next_multiple_of(8) - private.len();
        private.extend([1, 2, 3, 4, 5, 6, 7].iter().take(padding));

        let mut bytes = b"openssh-key-v1\0".to_vec();
        for part in [&b"none"[..], b"none", b""] {
            string(&mut bytes, part);
        }
        bytes.extend_from_slice(&1_u32.to_be_bytes());
        string(&mut bytes, &self.public_blob());
        string(&mut bytes, &private);

        let mut text = String::from("-----BEGIN OPENSSH PRIVATE KEY-----\n");
        let mut body = base64::encode(&bytes);
        while !body.is_empty() {
            let rest = body.split_off(body.len().min(70));
            text.push_str(&body);
            text.push('\n');
            body = rest;
        }
        text.push_str("-----END OPENSSH PRIVATE KEY-----\n");
        text
    }

    /// As in `.pub` files.
    fn public_line(&self) -> String {
        format!("ssh-ed25519 {}\n", base64::encode(&self.public_blob()))
    }
}

fn string(bytes: &mut Vec<u8>, part: &[u8]) {
    // Parts are keys and words, far below four gigabytes.
    bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or_default().to_be_bytes());
    bytes.extend_from_slice(part);
}

/// The SSH server that we keep running, on micro.
#[derive(Debug, Default)]
pub(crate) struct Server(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// Counts the identities; whoever keeps a server for an earlier one stops doing so.
    turn: u64,
    /// Its process, while it runs.
    process: Option<i32>,
}

impl Server {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the host key for every SSH server that this system has.
pub(crate) fn write_host_key(key: &Key) -> io::Result<()> {
    if Path::new(DROPBEAR_KEY).parent().is_some_and(Path::exists) {
        files::write(Path::new(DROPBEAR_KEY), &key.dropbear(), 0o600)?;
    }
    if Path::new(OPENSSH_KEY).parent().is_some_and(Path::exists) {
        files::write(Path::new(OPENSSH_KEY), key.openssh().as_bytes(), 0o600)?;
        files::write(Path::new(&format!("{OPENSSH_KEY}.pub")), key.public_line().as_bytes(), 0o644)?;
    }
    Ok(())
}

/// Makes the SSH server use its new key, or ends it where [`start`] will start it anew. Returns what the
/// administrator may have to do.
pub(crate) fn reload(place: Place, server: &Server) -> Option<String> {
    if place == Place::Micro {
        dropbear_end(server);
        return None;
    }
    if let Some(process) = running("/run/sshd.pid", "sshd") {
        // It starts itself anew and leaves open sessions alone.
        return sys::signal(process, libc::SIGHUP).err().map(|error| format!("sshd: {error}"));
    }
    if Path::new(OPENSSH_KEY).exists() && Path::new("/run/systemd/system").exists() {
        // Without any host key it did not start at boot; now it can.
        let started =
            Command::new("systemctl").args(["--no-block", "restart", "ssh"]).stdin(Stdio::null()).status();
        return started.err().map(|error| format!("systemctl restart ssh: {error}"));
    }
    running(DROPBEAR_PID, "dropbear").map(|_| "dropbear must be restarted to use its new host key".to_owned())
}

/// The process that a pid file names, if it still is that program.
fn running(pid_file: &str, program: &str) -> Option<i32> {
    let process: i32 = files::text(pid_file).parse().ok().filter(|&number| number > 1)?;
    is_running(process, program).then_some(process)
}

fn is_running(process: i32, program: &str) -> bool {
    files::text(format!("/proc/{process}/comm")) == program
}

/// Ends dropbear. Open sessions have processes of their own and stay.
fn dropbear_end(server: &Server) {
    let ours = {
        let mut kept = server.lock();
        kept.turn += 1;
        kept.process
    };
    // One that an agent before us started is known by its file only.
    if let Some(process) = ours.or_else(|| running(DROPBEAR_PID, "dropbear")) {
        let _ = sys::signal(process, libc::SIGTERM);
        for _ in 0..200 {
            if !is_running(process, "dropbear") {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let _ = fs::remove_file(DROPBEAR_PID);
}

/// Starts dropbear and keeps it running until the next [`reload`].
pub(crate) fn start(server: &Server) -> io::Result<()> {
    if !Path::new(DROPBEAR).exists() {
        return Ok(());
    }
    let turn = server.lock().turn;
    let server = Server(Arc::clone(&server.0));
    let keep = move || {
        while let Some(ended) = dropbear_run(&server, turn) {
            if let Err(error) = ended {
                complain(&format!("{NAME}: dropbear: {error}\n"));
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    };
    std::thread::Builder::new().name("dropbear".into()).spawn(keep)?;
    Ok(())
}

/// Runs dropbear until it ends; none when it is no longer this turn's to run.
fn dropbear_run(server: &Server, turn: u64) -> Option<io::Result<()>> {
    // Held while starting, so that it cannot be overlooked when it must end.
    let mut kept = server.lock();
    if kept.turn != turn {
        return None;
    }
    // In the foreground, so that its end is seen; messages to the console; no passwords, ever.
    let started = Command::new(DROPBEAR)
        .args(["-F", "-E", "-s", "-p", "22", "-P", DROPBEAR_PID, "-r", DROPBEAR_KEY])
        .stdin(Stdio::null())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return Some(Err(error)),
    };
    kept.process = i32::try_from(child.id()).ok();
    drop(kept);
    let ended = child.wait().map(drop);
    let mut kept = server.lock();
    if kept.process == i32::try_from(child.id()).ok() {
        kept.process = None;
    }
    Some(ended)
}

#[cfg(test)]
mod tests {
    use super::Key;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    /// Test vector 1 of RFC 8032, section 7.1.
    fn key() -> Key {
        let bytes = |text: &str| -> [u8; 32] {
            std::array::from_fn(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap())
        };
        Key {
            seed: bytes("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
            public: bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
        }
    }

    /// The public line that a program finds in a private key; none where it is not installed.
    fn public_line_by(program: &str, arguments: &[&str], private: &[u8]) -> Option<String> {
        let name = format!("hostler-agent-test-{program}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, private).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let output = Command::new(program).args(arguments).arg(&path).output();
        std::fs::remove_file(&path).unwrap();
        let output = output.ok()?;
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.starts_with("ssh-ed25519"))?;
        Some(line.split(' ').take(2).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn openssh_reads_its_key() {
        if let Some(line) = public_line_by("ssh-keygen", &["-y", "-f"], key().openssh().as_bytes()) {
            assert_eq!(line, key().public_line().trim());
        }
    }

    #[test]
    fn dropbear_reads_its_key() {
        if let Some(line) = public_line_by("dropbearkey", &["-y", "-f"], &key().dropbear()) {
            assert_eq!(line, key().public_line().trim());
        }
    }
}
