//! `ssh`: the system's own ssh, told where the machine is and what its host key must be.

use super::args::Ssh;
use super::state;
use crate::cli::Session;
use crate::failure::{Exit, Failure};
use hostler_doors::native::types::{Endpoint, Host, Machine};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

pub(in crate::cli) async fn ssh(session: &Session, ask: Ssh) -> Result<Exit, Failure> {
    let machine: Machine = session.client.get(&["machines", &ask.machine]).await?;
    let Some(endpoint) = &machine.ssh else {
        let failure =
            Failure::new(format!("machine {} has no way in by SSH: it is {}", machine.name, state(&machine)));
        return Err(failure.exit(Exit::CONFLICT).hint(format!("`hostler machine start {}`", machine.name)));
    };
    if session.client.is_remote() && endpoint.address.is_loopback() {
        let text = format!("machine {} can be reached by SSH only from its host", machine.name);
        return Err(Failure::new(text).hint("log in to that host and use hostler there"));
    }
    if endpoint.address.is_loopback() {
        let host: Host = session.client.get(&["hosts", &machine.host.to_string()]).await?;
        if !host.here {
            let text =
                format!("machine {} can be reached by SSH only from its host, {}", machine.name, host.name);
            let door = host.door.map(|door| format!(" (its hostler listens on {door})")).unwrap_or_default();
            let hint = format!("log in to {}{door} and use hostler there", host.name);
            return Err(Failure::new(text).exit(Exit::CONFLICT).hint(hint));
        }
    }
    let Some(key) = &machine.ssh_host_key else {
        let text = format!("the host key of machine {} is not known", machine.name);
        return Err(
            Failure::new(text).hint("without it somebody else could answer; look at its console instead")
        );
    };
    super::banner::wait_for_banner(endpoint).await;
    // Goes when the session ends, so nothing stale is ever trusted.
    let known = known_hosts(&machine.name, key)
        .map_err(|error| Failure::because("cannot write a file of known hosts", &error))?;
    run_ssh(arguments(&ask, &machine.name, endpoint, known.path())).await
}

fn known_hosts(name: &str, key: &str) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::with_prefix("hostler-known-hosts-")?;
    writeln!(file, "{name} {}", key.trim())?;
    file.flush()?;
    Ok(file)
}

fn arguments(ask: &Ssh, name: &str, endpoint: &Endpoint, known_hosts: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut option = |text: String| arguments.extend(["-o".into(), text.into()]);
    option("StrictHostKeyChecking=yes".into());
    option(format!("UserKnownHostsFile=\"{}\"", known_hosts.display()));
    option("GlobalKnownHostsFile=/dev/null".into());
    option("UpdateHostKeys=no".into());
    // Ports are used again by other machines; the name is not.
    option(format!("HostKeyAlias={name}"));
    if let Some(identity) = &ask.identity {
        arguments.extend(["-i".into(), identity.into()]);
    }
    arguments.extend(["-p".into(), endpoint.port.to_string().into()]);
    arguments.extend(["-l".into(), OsString::from(&ask.login)]);
    arguments.push(endpoint.address.to_string().into());
    arguments.extend(ask.arguments.iter().map(OsString::from));
    arguments
}

async fn run_ssh(arguments: Vec<OsString>) -> Result<Exit, Failure> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the user's own ssh needs the user's environment: agent, terminal"
    )]
    let command = std::process::Command::new("ssh");
    let mut command = tokio::process::Command::from(command);
    command.args(arguments).stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    // Ctrl-C is for ssh; we stay to remove our file.
    let interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
    let status = command
        .status()
        .await
        .map_err(|error| Failure::because("cannot run ssh", &error).hint("install an OpenSSH client"))?;
    drop(interrupts);
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(Exit(u8::try_from(code).unwrap_or(Exit::FAILED.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_trusts_the_known_key_of_this_machine_only() {
        let ask = Ssh {
            machine: "web".into(),
            login: "root".into(),
            identity: None,
            arguments: vec!["uname".into(), "-a".into()],
        };
        let endpoint = Endpoint { address: "127.0.0.1".parse().unwrap(), port: 2201 };
        let arguments = arguments(&ask, "web", &endpoint, Path::new("/tmp/k"));
        let line: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        assert_eq!(
            line.join(" "),
            "-o StrictHostKeyChecking=yes -o UserKnownHostsFile=\"/tmp/k\" -o GlobalKnownHostsFile=/dev/null \
             -o UpdateHostKeys=no -o HostKeyAlias=web -p 2201 -l root 127.0.0.1 uname -a"
        );
        let known = known_hosts("web", "ssh-ed25519 AAAA\n").unwrap();
        assert_eq!(std::fs::read_to_string(known.path()).unwrap(), "web ssh-ed25519 AAAA\n");
    }
}
