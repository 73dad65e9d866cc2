//! The pretended guest: a handful of commands, what it says of itself, what it prints while it boots.

use super::entry::Entry;
use super::pass;
use hostler_core::machines::Observed;
use hostler_core::ports::{CommandOutput, GuestCommand, GuestFacts};
use std::collections::BTreeMap;
use std::time::Duration;

/// Kernel release of every pretended guest and host.
pub(super) const KERNEL: &str = "6.1.0-sim";

/// TCP ports of services that every pretended guest runs.
const LISTENING: [u16; 4] = [22, 80, 443, 8080];

/// Output beyond this is cut, as the port promises.
const OUTPUT_LIMIT: usize = 256 * 1024;

/// What the guest says of itself.
pub(super) fn facts(entry: &Entry) -> GuestFacts {
    let mut addresses = BTreeMap::new();
    if !entry.addresses.is_empty() {
        addresses.insert("eth0".to_owned(), entry.addresses.clone());
    }
    GuestFacts {
        agent: "hostler-agent".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host_name: entry.host_name.clone(),
        os: "Simulated Linux".to_owned(),
        kernel: KERNEL.to_owned(),
        addresses,
    }
}

/// What the console has shown so far.
pub(super) fn console_log(entry: &Entry, booted: bool) -> String {
    let name = &entry.host_name;
    let mut log = format!(
        "[    0.000000] Linux version {KERNEL} (sim@hostler)\r\n\
         [    0.000000] Command line: console=ttyS0\r\n\
         [    0.004000] hostler-sim: start {} of {}\r\n",
        entry.generation, entry.id
    );
    if booted {
        log.push_str(&format!(
            "[    0.210000] systemd[1]: Hostname set to <{name}>.\r\n\
             [    0.380000] hostler-agent: ready\r\n\r\n\
             Simulated Linux {name} ttyS0\r\n\r\n{name} login: "
        ));
    }
    match (entry.power, &entry.reason) {
        (Observed::Off, None) => log.push_str("\r\n[    9.900000] reboot: Power down\r\n"),
        (Observed::Off, Some(reason)) => log.push_str(&format!("\r\n[    9.900000] {reason}\r\n")),
        _ => {}
    }
    log
}

/// Runs one of the few commands there are; every other one is not found, status 127 as a shell has it.
pub(super) async fn run(host_name: &str, command: &GuestCommand) -> CommandOutput {
    let program = command.argv.first().map_or("", String::as_str);
    let arguments = command.argv.get(1..).unwrap_or_default();
    match program.rsplit('/').next().unwrap_or_default() {
        "true" => ended(0, Vec::new(), ""),
        "false" => ended(1, Vec::new(), ""),
        "echo" => ended(0, format!("{}\n", arguments.join(" ")).into_bytes(), ""),
        "hostname" => ended(0, format!("{host_name}\n").into_bytes(), ""),
        "cat" if arguments.first().is_some_and(|file| file == "/proc/net/tcp") => ended(0, sockets(), ""),
        "cat" if arguments.is_empty() => ended(0, command.stdin.clone(), ""),
        // Whatever a script is told, it does.
        "sh" if arguments.first().is_some_and(|flag| flag == "-c") => ended(0, Vec::new(), ""),
        "sleep" => sleep(arguments, command.deadline).await,
        _ => ended(127, Vec::new(), &format!("{program}: not found\n")),
    }
}

/// The kernel's table of sockets: in each guest somebody listens on these ports.
fn sockets() -> Vec<u8> {
    let mut table = "  sl  local_address rem_address   st tx_queue rx_queue\n".to_owned();
    for (line, port) in LISTENING.iter().enumerate() {
        table.push_str(&format!("{line:4}: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000\n"));
    }
    table.into_bytes()
}

async fn sleep(arguments: &[String], deadline: Duration) -> CommandOutput {
    let asked = match arguments {
        [seconds] => seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        _ => None,
    };
    let Some(asked) = asked else { return ended(1, Vec::new(), "sleep: one number of seconds\n") };
    pass(asked.min(deadline)).await;
    if asked > deadline {
        return CommandOutput { status: None, timed_out: true, ..ended(0, Vec::new(), "") };
    }
    ended(0, Vec::new(), "")
}

fn ended(status: i32, mut stdout: Vec<u8>, stderr: &str) -> CommandOutput {
    let mut stderr = stderr.as_bytes().to_vec();
    let truncated = stdout.len() > OUTPUT_LIMIT || stderr.len() > OUTPUT_LIMIT;
    stdout.truncate(OUTPUT_LIMIT);
    stderr.truncate(OUTPUT_LIMIT);
    CommandOutput { status: Some(status), stdout, stderr, truncated, timed_out: false }
}

#[cfg(test)]
mod tests {
    use super::{OUTPUT_LIMIT, run};
    use hostler_core::ports::{CommandOutput, GuestCommand};
    use std::time::Duration;

    async fn output(argv: &[&str], stdin: Vec<u8>) -> CommandOutput {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        run("web-1", &GuestCommand { argv, stdin, deadline: Duration::from_secs(10) }).await
    }

    #[tokio::test]
    async fn knows_a_few_commands() {
        for (argv, status, stdout) in [
            (&["echo", "a", "b c"][..], 0, "a b c\n"),
            (&["/bin/hostname"], 0, "web-1\n"),
            (&["true"], 0, ""),
            (&["false"], 1, ""),
            (&["sleep", "soon"], 1, ""),
            (&["sleep", "-1"], 1, ""),
            (&["rm", "-rf", "/"], 127, ""),
            (&[], 127, ""),
        ] {
            let out = output(argv, Vec::new()).await;
            assert_eq!((out.status, out.stdout.as_slice()), (Some(status), stdout.as_bytes()), "{argv:?}");
            assert!(!out.truncated && !out.timed_out);
        }
        assert_eq!(output(&["nix"], Vec::new()).await.stderr, b"nix: not found\n");
    }

    #[tokio::test]
    async fn output_is_cut_at_the_limit() {
        let out = output(&["cat"], vec![b'x'; OUTPUT_LIMIT]).await;
        assert_eq!((out.stdout.len(), out.truncated), (OUTPUT_LIMIT, false));
        let out = output(&["cat"], vec![b'x'; OUTPUT_LIMIT + 1]).await;
        assert_eq!((out.stdout.len(), out.truncated), (OUTPUT_LIMIT, true));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_a_long_sleep() {
        let began = tokio::time::Instant::now();
        assert_eq!(output(&["sleep", "0.5"], Vec::new()).await.status, Some(0));
        assert_eq!(began.elapsed(), Duration::from_millis(500));
        let out = output(&["sleep", "60"], Vec::new()).await;
        assert_eq!((out.status, out.timed_out), (None, true));
        assert_eq!(began.elapsed(), Duration::from_millis(10_500));
    }
}
